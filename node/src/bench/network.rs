//! `skerry bench network`: lays out a network in a folder of its own, starts it as processes of
//! this binary, loads it, and stops it, whatever happened in between.
//!
//! Validator 0 of each shard's members only observes; all others take transactions. So every final
//! block that is counted comes from a validator that none of the load was given to.

use super::{BenchError, BenchReport, LoadArgs, Target, load_all, measure};
use crate::home::{self, Ports};
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
            load,
        }
    }
}

/// Starts, loads, prints and stops.
pub(super) async fn run(args: NetworkArgs) -> Result<BenchReport, BenchError> {
    if args.validators_per_shard < 2 {
        let text = "--validators-per-shard must be at least 2: one observes".to_owned();
        return Err(BenchError::Usage(text));
    }
    let signatures_per_s = measure::signature_rate();
    let (folder, temporary) = match &args.data_dir {
        Some(folder) => (folder.clone(), false),
        None => {
            let name = format!("skerry-bench-{}", std::process::id());
            (std::env::temp_dir().join(name), true)
        }
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
    if temporary && result.is_ok() {
        // What cannot be removed is left to the system's own cleaning.
        let _ = std::fs::remove_dir_all(&folder);
    }
    let runs = result?;
    let processors = measure::processors();
    let best = runs
        .iter()
        .map(|run| run.finalized_per_s)
        .fold(0.0, f64::max);
    let bound =
        signatures_per_s * measure::share(processors, 1) / f64::from(args.validators_per_shard);
    Ok(BenchReport {
        network: format!(
            "{} shards of {} validators, one process each, on this machine; {} % to another shard",
            args.shards, args.validators_per_shard, args.load.cross_share
        ),
        processors,
        signatures_per_s,
        share_of_signature_bound: Some(best / bound),
        runs,
    })
}

fn failed(error: impl std::fmt::Display) -> BenchError {
    BenchError::Network(error.to_string())
}

fn start(args: &NetworkArgs, folder: &Path) -> Result<Child, BenchError> {
    let validators = args.shards.saturating_mul(args.validators_per_shard);
    Command::new(std::env::current_exe().map_err(failed)?)
        .args(["devnet", "up", "--processes", "--no-gateway", "--json"])
        .arg("--end-with-stdin")
        .args(["--shards", &args.shards.to_string()])
        .args(["--validators", &validators.to_string()])
        .args(["--port-base", &args.port_base.to_string()])
        .args(["--load-accounts", &args.load.senders.to_string()])
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
    let target = timeout(READY_TIMEOUT, waiting)
        .await
        .map_err(|_| failed("the network is not ready in time"))??;
    load_all(&target, &args.load).await
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

/// Who observes and who takes transactions: the first member of each shard observes.
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
            .filter(|index| !observers.contains(index))
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
