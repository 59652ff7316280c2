//! `skerry bench`: floods a development network with pre-signed transfers and counts what becomes
//! final, read from the blocks of validators that took none of them. Four of its commands measure
//! execution by itself, without a network; the rest of this page is not about them.
//!
//! Everything is signed before the clock starts. Submissions go in batches to the validators of
//! each sender's home shard, at a steady rate whatever the network answers; a sender's next
//! transfer is offered when its last one was taken, and again at its next turn when it was not.
//! What counts is in final blocks: a transfer in its shard when its block is, one to another shard
//! when the destination's final block has executed the credit. Afterwards the balances and nonces
//! of all senders must be what the final transfers explain; where they are not, each is asked for
//! its outcome.
//!
//! | file | question it answers |
//! |---|---|
//! | `plan` | who sends what to whom; signs it |
//! | `drive` | offers it, at a rate |
//! | `observe` | what became final, when |
//! | `audit` | whether final means succeeded |
//! | `measure` | latencies, processor time, the machine's bound |
//! | `delay` | a network's delay, on one machine |
//! | `network` | `skerry bench network`: a network of its own, for one command |
//! | `execution` | `skerry bench transfers` and others: how fast blocks are executed |

mod audit;
mod delay;
mod drive;
mod execution;
mod measure;
mod network;
mod observe;
mod plan;

use self::execution::{ExecutionError, Workload};
use self::measure::{Latency, SignatureBound, Usage};
use crate::cli::{CliError, Exit, Output};
use crate::error::NodeError;
use crate::home;
use serde::Serialize;
use skerry_sdk::client::{Client, ClientError};
use skerry_types::genesis::Genesis;
use skerry_types::ids::ChainRef;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

pub use execution::{SizeArgs, SkewedArgs};
pub use network::NetworkArgs;

/// How long accepted transfers may take to become final after the load has ended.
const DRAIN_MAX: Duration = Duration::from_secs(60);
/// The drain ends earlier when nothing new was seen for this long.
const DRAIN_QUIET: Duration = Duration::from_secs(8);
/// Of the load's duration, what is left out at the beginning: one part in so many.
const WARM_UP_PARTS: u32 = 5;

/// Arguments of `skerry bench`. Without `--rpc` it is `skerry bench network` with its defaults.
#[derive(Clone, Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct BenchArgs {
    /// What to measure, when it is not an existing network
    #[command(subcommand)]
    pub command: Option<BenchCommand>,
    /// gRPC of a validator that takes transactions; several times for several
    #[arg(long = "rpc", value_name = "URL")]
    pub rpcs: Vec<String>,
    /// gRPC of a validator whose final blocks are counted; one for each shard, none of --rpc
    #[arg(long = "observe", value_name = "URL")]
    pub observe: Vec<String>,
    /// The network's genesis file, with accounts for load
    #[arg(long, value_name = "FILE")]
    pub genesis: Option<PathBuf>,
    /// Metrics of a validator, for the time it spends in signatures; several times for several
    #[arg(long = "metrics", value_name = "URL")]
    pub metrics: Vec<String>,
    /// How the network is loaded
    #[command(flatten)]
    pub load: LoadArgs,
}

/// What `skerry bench` loads, or executes.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum BenchCommand {
    /// Lay out a network, start it as processes, load it, print, and stop it
    Network(NetworkArgs),
    /// Execute transfers between any two of many accounts
    Transfers(SizeArgs),
    /// Execute transfers between accounts of which few do the most
    TransfersSkewed(SkewedArgs),
    /// Execute swaps in one pool of the exchange, in both directions
    OnePool(SizeArgs),
    /// Execute swaps in 100 pools, few of which have the most, and three transfers for seven swaps
    Pools(SizeArgs),
}

/// How a network is loaded.
#[derive(Clone, Debug, clap::Args)]
pub struct LoadArgs {
    /// Load accounts that send
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    pub senders: u32,
    /// Transfers offered per second; 0: as many as are taken. Several, as 1000,2000,4000, are
    /// tried one after the other
    #[arg(
        long,
        visible_alias = "rates",
        value_name = "TPS",
        value_delimiter = ',',
        default_value = "4000"
    )]
    pub rate: Vec<u32>,
    /// Seconds of load for each rate
    #[arg(long, value_name = "S", default_value_t = 20)]
    pub duration: u32,
    /// Per cent of the transfers that go to another shard
    #[arg(long, value_name = "PERCENT", default_value_t = 30,
        value_parser = clap::value_parser!(u8).range(..=100))]
    pub cross_share: u8,
    /// Where all that goes to another shard goes, by the shard's position; who lives there sends in its
    /// shard only [default: evenly to all others]
    #[arg(long, value_name = "N")]
    pub hot_shard: Option<usize>,
    /// Threads that sign beforehand
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub threads: usize,
    /// Transfers in one submission
    #[arg(long, value_name = "N", default_value_t = 200)]
    pub batch: usize,
    /// Submissions that wait for an answer, for each --rpc
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub in_flight: usize,
    /// Transfers signed for each rate, at most [default: the rate for all of its seconds; 200000
    /// for a rate of 0]
    #[arg(long, value_name = "N")]
    pub transactions: Option<u32>,
}

#[cfg(test)]
impl LoadArgs {
    /// A load of one rate, all else by default.
    fn of_rate(rate: u32) -> Self {
        Self {
            senders: 10_000,
            rate: vec![rate],
            duration: 20,
            cross_share: 0,
            hot_shard: None,
            threads: 1,
            batch: 200,
            in_flight: 8,
            transactions: None,
        }
    }
}

/// Why a benchmark gives no figures.
#[derive(Debug, thiserror::Error)]
enum BenchError {
    #[error("{0}")]
    Usage(String),
    #[error(transparent)]
    Node(#[from] NodeError),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("{0}")]
    Network(String),
    #[error(transparent)]
    Execution(#[from] ExecutionError),
}

impl From<BenchError> for CliError {
    fn from(error: BenchError) -> Self {
        match error {
            BenchError::Usage(text) => Self::new(Exit::Usage, "USAGE", text)
                .next("skerry bench --help, or skerry bench network for a network of its own"),
            BenchError::Node(error) => error.into(),
            BenchError::Client(error) => error.into(),
            BenchError::Network(text) => Self::new(Exit::Unreachable, "BENCH", text)
                .next("look into the nodes' logs, node.log in their homes"),
            BenchError::Execution(error) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                let made = Self::new(Exit::Failed, "BENCH_EXECUTION", error.to_string())
                    .next("report it with the command line: its seed makes the same blocks again");
                match cause {
                    Some(cause) => made.why(cause),
                    None => made,
                }
            }
        }
    }
}

/// What one rate gave.
#[derive(Clone, Debug, Serialize)]
pub struct LoadReport {
    /// Transfers per second asked for; 0 for as many as are taken.
    pub rate: u32,
    /// Per cent of them to another shard.
    pub cross_share: u8,
    /// Where all of those go; absent where they are spread evenly.
    pub hot_shard: Option<usize>,
    /// Distinct senders.
    pub senders: u32,
    /// Submissions of a transfer, repeated ones included.
    pub offered: u64,
    /// Of them per second.
    pub offered_per_s: f64,
    /// Transfers taken by a validator.
    pub accepted: u64,
    /// Submissions that were refused, by reason.
    pub rejected: BTreeMap<String, u64>,
    /// Transfers in final blocks.
    pub finalized: u64,
    /// Succeeded transfers that became final in the window, per second: credits at home, and at the
    /// destination for another shard.
    pub finalized_per_s: f64,
    /// Length of the window: the load without its beginning.
    pub window_s: f64,
    /// Proposal to final, for working blocks: from the header's time to the observer's news of it.
    pub finality: Latency,
    /// Longest time of the load without a working block becoming final, in milliseconds.
    pub pause_ms_max: f64,
    /// Submission to final, for transfers within a shard.
    pub in_shard: Latency,
    /// Submission to final credit at the destination, for transfers to another shard.
    pub cross_shard: Latency,
    /// Submission to final debit at home, for the same transfers.
    pub cross_shard_home: Latency,
    /// Final, executed, and failed: the fee was charged.
    pub failed: u64,
    /// Final and void: nothing happened.
    pub void: u64,
    /// Taken, and not final when the drain ended.
    pub lost: u64,
    /// Final at home, and not credited at the destination when the drain ended.
    pub uncredited: u64,
    /// Whether balances and nonces of all senders are what the final transfers explain.
    pub balances_exact: bool,
    /// From when the last transfer was offered until everything that was taken was final and credited,
    /// in seconds; absent where it never was.
    pub drained_s: Option<f64>,
    /// Working blocks seen final, over all shards.
    pub blocks: u64,
    /// Processor time and memory of the network, where it can be seen.
    pub usage: Option<Usage>,
}

/// What a benchmark gave.
#[derive(Clone, Debug, Serialize)]
pub struct BenchReport {
    /// What was loaded.
    pub network: String,
    /// What a small message takes through one of the relays that the delay is made with, one way,
    /// measured beside the load; absent without a delay. Nothing is nearer to a validator.
    pub apart: Option<Latency>,
    /// Whether finality is told by validators that took none of the transfers.
    pub observer_apart: bool,
    /// Processors of this machine.
    pub processors: usize,
    /// What this machine's checks of signatures allow, measured before the load.
    pub signature_bound: SignatureBound,
    /// Highest rate of the run by the machine's signature bound: each transfer is checked by every
    /// validator of its shard. Only where all of them run on this machine.
    pub share_of_signature_bound: Option<f64>,
    /// One for each rate.
    pub runs: Vec<LoadReport>,
}

impl fmt::Display for BenchReport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "{}", self.network)?;
        let apart = self.apart.as_ref();
        if let Some((p50, p99)) = apart.and_then(|it| it.p50_ms.zip(it.p99_ms)) {
            writeln!(
                formatter,
                "a small message takes {p50:.1} / {p99:.1} ms through a relay (p50/p99)"
            )?;
        }
        if !self.observer_apart {
            writeln!(
                formatter,
                "finality is told by the validators that took the transfers: there are no others"
            )?;
        }
        let bound = &self.signature_bound;
        writeln!(
            formatter,
            "{} processors, {:.0} signatures/s by one and {:.0} by all in batches: {:.0} transfers/s \
             at most",
            self.processors, bound.per_processor_s, bound.all_processors_s, bound.final_per_s
        )?;
        if let Some(share) = self.share_of_signature_bound {
            writeln!(
                formatter,
                "best rate / signature bound of the machine: {share:.3}"
            )?;
        }
        writeln!(
            formatter,
            "{:>8} {:>9} {:>9} | {:>21} | {:>21} | {:>8} {:>6} {:>6} {:>6} | {:>10} | {:>5} | {:>7}",
            "rate",
            "offered/s",
            "final/s",
            "in shard p50/p99 ms",
            "cross p50/p99 ms",
            "rejected",
            "failed",
            "void",
            "lost",
            "CPU (sig)",
            "load",
            "syncs/s"
        )?;
        for run in &self.runs {
            let pair = |latency: &Latency| match (latency.p50_ms, latency.p99_ms) {
                (Some(p50), Some(p99)) => format!("{p50:.0} / {p99:.0}"),
                _ => "-".to_owned(),
            };
            let usage = run.usage.as_ref().map_or_else(
                || "-".to_owned(),
                |usage| match usage.signature_share {
                    Some(share) => format!("{:.2} ({:.0}%)", usage.processors_used, share * 100.0),
                    None => format!("{:.2}", usage.processors_used),
                },
            );
            let load = run.usage.as_ref().map_or_else(
                || "-".to_owned(),
                |usage| format!("{:.2}", usage.load_processors_used),
            );
            let syncs = run.usage.as_ref().map_or_else(
                || "-".to_owned(),
                |usage| format!("{:.0}", usage.syncs_per_s),
            );
            writeln!(
                formatter,
                "{:>8} {:>9.0} {:>9.0} | {:>21} | {:>21} | {:>8} {:>6} {:>6} {:>6} | {usage:>10} | {load:>5} | {syncs:>7}",
                if run.rate == 0 {
                    "max".to_owned()
                } else {
                    run.rate.to_string()
                },
                run.offered_per_s,
                run.finalized_per_s,
                pair(&run.in_shard),
                pair(&run.cross_shard),
                run.rejected.values().sum::<u64>(),
                run.failed,
                run.void,
                run.lost.saturating_add(run.uncredited),
            )?;
        }
        for run in &self.runs {
            if let (Some(p50), Some(p99)) = (run.finality.p50_ms, run.finality.p99_ms) {
                writeln!(
                    formatter,
                    "rate {}: {} working blocks final {p50:.0} / {p99:.0} ms after their proposal \
                     (p50/p99)",
                    run.rate, run.finality.count
                )?;
            }
            writeln!(
                formatter,
                "rate {}: {:.0} ms at most without a final block; all that was taken was final {}",
                run.rate,
                run.pause_ms_max,
                match run.drained_s {
                    Some(seconds) => format!("{seconds:.1} s after the load"),
                    None => "never".to_owned(),
                }
            )?;
            if let Some(usage) = &run.usage {
                writeln!(
                    formatter,
                    "rate {}: the nodes held {} MB at the end, {} MB at most so far",
                    run.rate,
                    usage.resident_bytes / 1_000_000,
                    usage.resident_bytes_max / 1_000_000
                )?;
            }
            if !run.balances_exact {
                writeln!(
                    formatter,
                    "rate {}: balances are not those of the final transfers",
                    run.rate
                )?;
            }
            for (reason, count) in &run.rejected {
                writeln!(
                    formatter,
                    "rate {}: {count} rejected with {reason}",
                    run.rate
                )?;
            }
        }
        Ok(())
    }
}

/// Runs the benchmark.
///
/// # Errors
/// When the network cannot be started or reached, or an argument cannot be used.
pub async fn run(args: BenchArgs) -> Result<Output, CliError> {
    let BenchArgs {
        command,
        rpcs,
        observe,
        genesis,
        metrics,
        load,
    } = args;
    let report = match command {
        Some(BenchCommand::Network(args)) => network::run(args).await?,
        Some(BenchCommand::Transfers(size)) => {
            return execution::run(Workload::Transfers, size).await;
        }
        Some(BenchCommand::TransfersSkewed(SkewedArgs { skew, size })) => {
            return execution::run(Workload::TransfersSkewed { skew }, size).await;
        }
        Some(BenchCommand::OnePool(size)) => {
            return execution::run(Workload::OnePool, size).await;
        }
        Some(BenchCommand::Pools(size)) => return execution::run(Workload::Pools, size).await,
        None if rpcs.is_empty() => network::run(NetworkArgs::with(load)).await?,
        None => {
            let file =
                genesis.ok_or_else(|| BenchError::Usage("--genesis FILE is needed".to_owned()))?;
            let genesis = Arc::new(home::read_genesis(&file).map_err(BenchError::from)?);
            let network = format!("{} validators of {file:?}", genesis.validators.len());
            let target = Target {
                genesis,
                rpcs,
                observe,
                metrics,
                pids: Vec::new(),
            };
            if target.observe.iter().any(|url| target.rpcs.contains(url)) {
                let text = "--observe must not be one of --rpc".to_owned();
                return Err(BenchError::Usage(text).into());
            }
            let signature_bound = measure::signature_bound(1);
            let runs = load_all(&target, &load).await?;
            BenchReport {
                observer_apart: true,
                apart: None,
                network,
                processors: measure::processors(),
                signature_bound,
                share_of_signature_bound: None,
                runs,
            }
        }
    };
    let data = serde_json::to_value(&report).unwrap_or_default();
    Ok(Output::new(data, report.to_string()))
}

/// A running network.
struct Target {
    genesis: Arc<Genesis>,
    rpcs: Vec<String>,
    observe: Vec<String>,
    metrics: Vec<String>,
    /// Processes of its nodes, where they run on this machine.
    pids: Vec<u32>,
}

impl Target {
    /// The clients that follow each shard.
    async fn by_shard(
        &self,
        urls: &[String],
    ) -> Result<BTreeMap<ChainRef, Vec<Client>>, BenchError> {
        let mut found: BTreeMap<ChainRef, Vec<Client>> = BTreeMap::new();
        for url in urls {
            let client = Client::new(url)?;
            let info = client.node_info().await?;
            if info.chain_id != self.genesis.chain_id().to_string() {
                return Err(BenchError::Usage(format!(
                    "{url} is a node of {}",
                    info.network
                )));
            }
            for chain in info
                .chains
                .iter()
                .filter_map(|chain| chain.parse::<ChainRef>().ok())
            {
                if !chain.is_beacon() {
                    found.entry(chain).or_default().push(client.clone());
                }
            }
        }
        let shards = self.genesis.chains();
        match shards
            .iter()
            .find(|chain| !chain.is_beacon() && !found.contains_key(chain))
        {
            Some(chain) => Err(BenchError::Usage(format!(
                "none of {urls:?} follows {chain}"
            ))),
            None => Ok(found),
        }
    }
}

async fn load_all(target: &Target, args: &LoadArgs) -> Result<Vec<LoadReport>, BenchError> {
    let submit = target.by_shard(&target.rpcs).await?;
    let observe = target.by_shard(&target.observe).await?;
    let mut reports = Vec::new();
    for rate in &args.rate {
        reports.push(load_once(target, args, *rate, &submit, &observe).await?);
    }
    Ok(reports)
}

async fn load_once(
    target: &Target,
    args: &LoadArgs,
    rate: u32,
    submit: &BTreeMap<ChainRef, Vec<Client>>,
    observe: &BTreeMap<ChainRef, Vec<Client>>,
) -> Result<LoadReport, BenchError> {
    let plan = Arc::new(plan::prepare(&target.genesis, args, rate, observe).await?);
    tracing::info!(
        rate,
        transfers = plan.transfers.len(),
        "signed; the load begins"
    );
    let start = Instant::now();
    let seen = Arc::new(observe::Seen::new(&plan, start));
    let watching = observe::start(&target.genesis, &plan, &seen, observe).await?;
    let before = measure::sample(&target.pids, &target.metrics).await;
    let length = Duration::from_secs(args.duration.into());
    let begun = start.elapsed();
    let driven = drive::run(&plan, &seen, args, rate, length, submit).await;
    let ended = start.elapsed();
    let after = measure::sample(&target.pids, &target.metrics).await;
    let drained = drain(&seen, driven.accepted).await;
    drop(watching);
    let audit = audit::run(&plan, &seen, observe).await?;
    let window = begun + length / WARM_UP_PARTS..ended;
    let window_s = (window.end.saturating_sub(window.start)).as_secs_f64();
    let totals = seen.totals();
    let bad = audit.failed.saturating_add(audit.void);
    let succeeded = seen.done_within(&window).saturating_sub(bad);
    let seconds = (ended.saturating_sub(begun))
        .as_secs_f64()
        .max(f64::MIN_POSITIVE);
    Ok(LoadReport {
        rate,
        cross_share: args.cross_share,
        hot_shard: args.hot_shard,
        senders: plan.senders(),
        offered: driven.offered,
        offered_per_s: measure::float(driven.offered) / seconds,
        accepted: driven.accepted,
        rejected: driven.rejected,
        finalized: totals.finalized,
        finalized_per_s: measure::float(succeeded) / window_s.max(f64::MIN_POSITIVE),
        window_s,
        finality: seen.finality(),
        pause_ms_max: seen.pause_max(&(begun..ended)).as_secs_f64() * 1_000.0,
        in_shard: seen.latency(&window, observe::Which::InShard),
        cross_shard: seen.latency(&window, observe::Which::CrossCredit),
        cross_shard_home: seen.latency(&window, observe::Which::CrossHome),
        failed: audit.failed,
        void: audit.void,
        lost: driven.accepted.saturating_sub(totals.finalized),
        uncredited: totals.cross_finalized.saturating_sub(totals.credited),
        balances_exact: audit.exact,
        drained_s: drained.then(|| (seen.done_last().saturating_sub(begun + length)).as_secs_f64()),
        blocks: totals.blocks,
        usage: measure::usage(before, after),
    })
}

/// Waits until everything that was taken is final and credited, or nothing happens any more. Says
/// which.
async fn drain(seen: &observe::Seen, accepted: u64) -> bool {
    let deadline = Instant::now() + DRAIN_MAX;
    let mut last = (seen.totals(), Instant::now());
    while Instant::now() < deadline && last.1.elapsed() < DRAIN_QUIET {
        let totals = seen.totals();
        if totals.finalized >= accepted && totals.credited >= totals.cross_finalized {
            return true;
        }
        if (totals.finalized, totals.credited) != (last.0.finalized, last.0.credited) {
            last = (totals, Instant::now());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    false
}
