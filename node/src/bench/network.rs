//! `skerry bench network`: lays out a network in a folder of its own, starts it as processes of
//! this binary, loads it, and stops it, whatever happened in between.
//!
//! Validator 0 of each shard's members only observes; all others take transactions. So every final
//! block that is counted comes from a validator that none of the load was given to. Where a shard
//! has one validator only, that one does both, and the report says so.
//!
//! The load comes from this process, the nodes are others: what it costs to offer the transfers and
//! to count them is told apart from what the nodes do.

use super::{BenchError, BenchReport, LoadArgs, Target, delay, load_all, measure};
use crate::devnet::ParameterArgs;
use crate::home::{self, NetworkPlan, Ports};
use skerry_proto::v1::BlockRef;
use skerry_sdk::client::Client;
use skerry_types::genesis::Genesis;
use skerry_types::ids::ChainRef;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

/// How long a network may take to be ready.
const READY_TIMEOUT: Duration = Duration::from_secs(120);
/// Final blocks of every chain before the load begins.
const READY_BLOCKS: u64 = 2;
const POLL_INTERVAL: Duration = Duration::from_millis(200);
/// How long it may take to stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);

/// Arguments of `skerry bench network`.
#[derive(Clone, Debug, clap::Args)]
pub struct NetworkArgs {
    /// Number of shards, a power of two
    #[arg(long, default_value_t = 1)]
    pub shards: u16,
    /// Validators of each shard
    #[arg(long, default_value_t = 4)]
    pub validators_per_shard: u16,
    /// First port of the layout
    #[arg(long, value_name = "PORT", default_value_t = 23_000)]
    pub port_base: u16,
    /// The network's folder [default: a new one, removed afterwards]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Milliseconds that everything between two validators takes, each way
    #[arg(long, value_name = "MS", default_value_t = 0)]
    pub delay_ms: u64,
    /// Validators that are killed before the load begins
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub dead: u16,
    /// What its genesis says
    #[command(flatten)]
    pub parameters: ParameterArgs,
    /// How it is loaded
    #[command(flatten)]
    pub load: LoadArgs,
}

impl NetworkArgs {
    /// The default network under this load.
    pub(super) fn with(load: LoadArgs) -> Self {
        Self {
            shards: 1,
            validators_per_shard: 4,
            port_base: 23_000,
            data_dir: None,
            delay_ms: 0,
            dead: 0,
            parameters: ParameterArgs::default(),
            load,
        }
    }

    fn validators(&self) -> u16 {
        self.shards.saturating_mul(self.validators_per_shard)
    }
}

/// Port of the relay in front of a validator.
const fn relay_port(base: u16, index: u16) -> u16 {
    base.saturating_add(400).saturating_add(index)
}

/// Starts, loads, prints and stops.
pub(super) async fn run(args: NetworkArgs) -> Result<BenchReport, BenchError> {
    check(&args)?;
    let bound = measure::signature_bound(args.validators_per_shard);
    let (folder, temporary) = match &args.data_dir {
        Some(folder) => (folder.clone(), false),
        None => {
            let name = format!("skerry-bench-{}", std::process::id());
            (std::env::temp_dir().join(name), true)
        }
    };
    let relays = delayed(&args, &folder).await?;
    let probe = match &relays {
        Some((alarms, _)) => Some(delay::probe(delay_of(&args), alarms).await?),
        None => None,
    };
    let mut devnet = start(&args, &folder)?;
    let interrupted = async {
        // Without signals only the end of the load stops it.
        match crate::start::stop_signal() {
            Ok(signal) => signal.await,
            Err(_) => std::future::pending().await,
        }
    };
    let result = tokio::select! {
        result = load(&args, &folder, &mut devnet) => result,
        () = interrupted => Err(BenchError::Network("interrupted".to_owned())),
    };
    stop(devnet).await;
    let apart = probe.map(|probe| probe.latency());
    drop(relays);
    if temporary && result.is_ok() {
        // What cannot be removed is left to the system's own cleaning.
        let _ = std::fs::remove_dir_all(&folder);
    }
    let runs = result?;
    let best = runs
        .iter()
        .map(|run| run.finalized_per_s)
        .fold(0.0, f64::max);
    Ok(BenchReport {
        network: format!(
            "{} shards of {} validators, {} of them dead, one process each, on this machine, {} ms \
             apart; {} % to another shard",
            args.shards, args.validators_per_shard, args.dead, args.delay_ms, args.load.cross_share
        ),
        observer_apart: has_observers(&args),
        apart,
        processors: measure::processors(),
        share_of_signature_bound: Some(best / bound.final_per_s),
        signature_bound: bound,
        runs,
    })
}

/// Refuses what leaves nobody to observe or to take transfers.
fn check(args: &NetworkArgs) -> Result<(), BenchError> {
    let refused = |text: &str| Err(BenchError::Usage(text.to_owned()));
    if args.validators_per_shard == 0 {
        return refused("--validators-per-shard must be at least 1");
    }
    if args.dead > 0 && args.dead >= args.validators_per_shard.saturating_sub(1) {
        return refused(
            "--dead must leave one validator that observes and one that takes transfers",
        );
    }
    Ok(())
}

/// Whether each shard has a validator that only observes: one alone has to take the transfers, too.
const fn has_observers(args: &NetworkArgs) -> bool {
    args.validators_per_shard > 1
}

fn failed(error: impl std::fmt::Display) -> BenchError {
    BenchError::Network(error.to_string())
}

const fn delay_of(args: &NetworkArgs) -> Duration {
    Duration::from_millis(args.delay_ms)
}

type Relays = (delay::Alarms, Vec<tokio::task::JoinSet<()>>);

/// Lays the network out such that every validator is reached through a relay, and starts those.
async fn delayed(args: &NetworkArgs, folder: &Path) -> Result<Option<Relays>, BenchError> {
    if args.delay_ms == 0 {
        return Ok(None);
    }
    if folder.join("genesis.json").exists() {
        let text = "--delay-ms needs a new --data-dir".to_owned();
        return Err(BenchError::Usage(text));
    }
    home::write_network(&NetworkPlan {
        name: "bench".to_owned(),
        shards: args.shards,
        validators: args.validators(),
        seats: None,
        host_template: None,
        port_base: args.port_base,
        load_accounts: args.load.senders,
        parameters: args.parameters.parameters(),
        out: folder.to_owned(),
    })?;
    let alarms = delay::Alarms::start()?;
    let mut relays = Vec::new();
    for index in 0..args.validators() {
        let file = folder.join(format!("v{index}/config.toml"));
        let mut text = std::fs::read_to_string(&file).map_err(failed)?;
        for other in 0..args.validators() {
            let (port, relay) = (
                Ports::validator(args.port_base, other).peers,
                relay_port(args.port_base, other),
            );
            text = text.replace(&format!("/tcp/{port}/p2p/"), &format!("/tcp/{relay}/p2p/"));
        }
        std::fs::write(&file, text).map_err(failed)?;
        let (from, to) = (
            relay_port(args.port_base, index),
            Ports::validator(args.port_base, index).peers,
        );
        relays.push(delay::relay(from, to, delay_of(args), alarms.clone()).await?);
    }
    Ok(Some((alarms, relays)))
}

fn start(args: &NetworkArgs, folder: &Path) -> Result<Child, BenchError> {
    let validators = args.validators();
    Command::new(std::env::current_exe().map_err(failed)?)
        .args(["devnet", "up", "--processes", "--no-gateway", "--json"])
        .arg("--end-with-stdin")
        .args(["--shards", &args.shards.to_string()])
        .args(["--validators", &validators.to_string()])
        .args(["--port-base", &args.port_base.to_string()])
        .args(["--load-accounts", &args.load.senders.to_string()])
        .args(args.parameters.to_args())
        .arg("--data-dir")
        .arg(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)
}

async fn load(
    args: &NetworkArgs,
    folder: &Path,
    devnet: &mut Child,
) -> Result<Vec<super::LoadReport>, BenchError> {
    let file = folder.join("genesis.json");
    let waiting = async {
        // The genesis is written last, so where it is the layout is whole.
        while !file.is_file() {
            check_running(devnet)?;
            sleep(POLL_INTERVAL).await;
        }
        let target = target(args, folder, Arc::new(home::read_genesis(&file)?));
        for url in target.rpcs.iter().chain(&target.observe) {
            let client = Client::new(url)?;
            while !is_live(&client).await {
                check_running(devnet)?;
                sleep(POLL_INTERVAL).await;
            }
        }
        // Their pids are written by now.
        Ok::<_, BenchError>(self::target(args, folder, target.genesis))
    };
    let mut target = timeout(READY_TIMEOUT, waiting)
        .await
        .map_err(|_| failed("the network is not ready in time"))??;
    kill(args, &mut target);
    load_all(&target, &args.load).await
}

/// Kills the last members of every shard, which neither observe nor take transfers then.
fn kill(args: &NetworkArgs, target: &mut Target) {
    let per_shard = args.validators_per_shard.max(1);
    let alive = per_shard.saturating_sub(args.dead);
    let is_dead = |index: u16| index.checked_rem(per_shard).unwrap_or(0) >= alive;
    let ports = |index| Ports::validator(args.port_base, index);
    let mut index = 0_u16;
    target.pids.retain(|pid| {
        let dies = is_dead(index);
        index = index.saturating_add(1);
        let pid = i32::try_from(*pid).ok();
        if let Some(pid) = pid
            .filter(|_| dies)
            .and_then(rustix::process::Pid::from_raw)
        {
            // One that has ended already is as dead.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
        !dies
    });
    for index in (0..args.validators()).filter(|index| is_dead(*index)) {
        let grpc = format!("http://127.0.0.1:{}", ports(index).grpc);
        let metrics = format!("http://127.0.0.1:{}/metrics", ports(index).http);
        target.rpcs.retain(|url| *url != grpc);
        target.metrics.retain(|url| *url != metrics);
    }
}

fn check_running(devnet: &mut Child) -> Result<(), BenchError> {
    match devnet.try_wait().map_err(failed)? {
        None => Ok(()),
        Some(status) => Err(failed(format!("the network ended with {status}"))),
    }
}

/// Whether a validator has seen every chain that it follows finalize.
async fn is_live(client: &Client) -> bool {
    client.node_status().await.is_ok_and(|status| {
        let height = |block: &Option<BlockRef>| block.as_ref().map_or(0, |block| block.height);
        status
            .chains
            .iter()
            .all(|chain| height(&chain.finalized) >= READY_BLOCKS)
    })
}

/// Who observes and who takes transactions: the first member of each shard observes, and takes none
/// where there are others.
fn target(args: &NetworkArgs, folder: &Path, genesis: Arc<Genesis>) -> Target {
    let mut observers = Vec::new();
    for chain in genesis
        .chains()
        .into_iter()
        .filter(|chain| *chain != ChainRef::Beacon)
    {
        let first = genesis
            .committee(chain)
            .and_then(|it| it.members.first().cloned());
        observers.extend(first.and_then(|member| u16::try_from(member.validator.get()).ok()));
    }
    let count = u16::try_from(genesis.validators.len()).unwrap_or(u16::MAX);
    let ports = |index| Ports::validator(args.port_base, index);
    let grpc = |index| format!("http://127.0.0.1:{}", ports(index).grpc);
    let pid = |index: u16| {
        let file = folder.join(format!("v{index}/node.pid"));
        std::fs::read_to_string(file)
            .ok()?
            .trim()
            .parse::<u32>()
            .ok()
    };
    Target {
        rpcs: (0..count)
            .filter(|index| !has_observers(args) || !observers.contains(index))
            .map(grpc)
            .collect(),
        observe: observers.iter().copied().map(grpc).collect(),
        metrics: (0..count)
            .map(|index| format!("http://127.0.0.1:{}/metrics", ports(index).http))
            .collect(),
        pids: (0..count).filter_map(pid).collect(),
        genesis,
    }
}

/// Asks the network to stop, so that it stops its nodes, and ends it when it does not.
async fn stop(mut devnet: Child) {
    let pid = devnet.id().and_then(|pid| i32::try_from(pid).ok());
    if let Some(pid) = pid.and_then(rustix::process::Pid::from_raw) {
        // It may be gone already.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    }
    if timeout(STOP_TIMEOUT, devnet.wait()).await.is_err() {
        let _ = devnet.kill().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(validators_per_shard: u16, dead: u16) -> NetworkArgs {
        NetworkArgs {
            validators_per_shard,
            dead,
            shards: 2,
            ..NetworkArgs::with(LoadArgs {
                senders: 2,
                ..LoadArgs::of_rate(1)
            })
        }
    }

    #[test]
    fn somebody_observes_and_somebody_takes_transfers() {
        for (validators, dead, fits) in [
            (0, 0, false),
            (1, 0, true),
            (1, 1, false),
            (2, 0, true),
            (2, 1, false),
            (4, 2, true),
            (4, 3, false),
        ] {
            let result = check(&args(validators, dead));
            assert_eq!(result.is_ok(), fits, "{validators} validators, {dead} dead");
        }
    }

    #[test]
    fn one_validator_of_a_shard_takes_transfers_and_is_observed() {
        for (per_shard, takes) in [(1, 2), (2, 2), (4, 6)] {
            let args = args(per_shard, 0);
            let folder = tempfile::tempdir().expect("a folder");
            let (genesis, _) = home::write_network(&NetworkPlan {
                name: "bench".to_owned(),
                shards: args.shards,
                validators: args.validators(),
                seats: None,
                host_template: None,
                port_base: args.port_base,
                load_accounts: 0,
                parameters: args.parameters.parameters(),
                out: folder.path().to_owned(),
            })
            .expect("a network");
            let target = target(&args, folder.path(), Arc::new(genesis));
            assert_eq!((target.observe.len(), target.rpcs.len()), (2, takes));
            let both = target.observe.iter().filter(|it| target.rpcs.contains(it));
            assert_eq!(both.count(), if has_observers(&args) { 0 } else { 2 });
        }
    }
}
