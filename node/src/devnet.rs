//! `skerry devnet up`: a whole network in one process, or in one process a node.
//!
//! Every node is a full one with its own peers over loopback and its own databases; only the
//! process, the RAM of the databases and the answers of signature checks are shared. An existing
//! folder is resumed.

use crate::assemble::{Node, Settings, start};
use crate::config::NodeConfig;
use crate::error::NodeError;
use crate::home::{self, NetworkPlan, Ports, faucet_port};
use crate::snapshot::run::JoinSettings;
use crate::start::{CACHE_BYTES, stop_asked};
use crate::view::ChainView;
use crate::votes::FirstUse;
use serde_json::json;
use skerry_storage::SharedCache;
use skerry_types::amount::Amount;
use skerry_types::crypto::scheme::SharedScheme;
use skerry_types::genesis::{Genesis, Parameters};
use skerry_types::ids::{Gas, Height};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

/// Parameters of a new development network that differ by what it is for.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct ParameterArgs {
    /// Seconds of an epoch, after which committees change; 0: the first one never ends
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub epoch_seconds: u64,
    /// Gas of a block; half of it is what the base fee aims at. A transfer is about 20,000
    #[arg(long, value_name = "GAS", default_value_t = Parameters::default().block_gas.get())]
    pub block_gas: u64,
    /// Gas of a block that is set aside for messages of other chains; half of --block-gas unless given
    #[arg(long, value_name = "GAS")]
    pub inbound_gas: Option<u64>,
    /// Lowest and first base fee of each shard, nsker per unit of gas; 0: there is none
    #[arg(long, value_name = "NSKER", default_value_t = Parameters::default().base_fee)]
    pub base_fee: Amount,
}

impl Default for ParameterArgs {
    fn default() -> Self {
        let Parameters {
            block_gas,
            base_fee,
            ..
        } = Parameters::default();
        Self {
            epoch_seconds: 0,
            block_gas: block_gas.get(),
            inbound_gas: None,
            base_fee,
        }
    }
}

impl ParameterArgs {
    /// The arguments that say the same.
    pub fn to_args(self) -> Vec<String> {
        let mut args: Vec<String> = [
            ("--epoch-seconds", self.epoch_seconds.to_string()),
            ("--block-gas", self.block_gas.to_string()),
            ("--base-fee", self.base_fee.to_string()),
        ]
        .into_iter()
        .flat_map(|(name, value)| [name.to_owned(), value])
        .collect();
        if let Some(gas) = self.inbound_gas {
            args.extend(["--inbound-gas".to_owned(), gas.to_string()]);
        }
        args
    }

    /// The parameters with everything else as usual.
    pub fn parameters(&self) -> Parameters {
        let inbound_gas = self.inbound_gas.unwrap_or(self.block_gas / 2);
        Parameters {
            epoch_ms: self.epoch_seconds.saturating_mul(1_000),
            block_gas: Gas::new(self.block_gas),
            inbound_gas: Gas::new(inbound_gas),
            base_fee: self.base_fee,
            ..Parameters::default()
        }
    }
}

/// Arguments of `skerry devnet up`.
#[derive(Clone, Debug, clap::Args)]
pub struct DevnetArgs {
    /// Number of shards: 1, 2, 4, … up to 64
    #[arg(long, default_value_t = 2)]
    pub shards: u16,
    /// Number of validators
    #[arg(long, default_value_t = 8)]
    pub validators: u16,
    /// Seats of each member of every shard, such as 3,3,2,1; one each unless given
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub seats: Option<Vec<u16>>,
    /// What the genesis fixes
    #[command(flatten)]
    pub parameters: ParameterArgs,
    /// gRPC port of the gateway; the other ports follow
    #[arg(long, value_name = "PORT", default_value_t = 50051)]
    pub port_base: u16,
    /// The network's folder; an existing network is resumed
    #[arg(long, value_name = "DIR", default_value = "skerry-devnet")]
    pub data_dir: PathBuf,
    /// Run each node in a process of its own
    #[arg(long)]
    pub processes: bool,
    /// Funded accounts for the load generator
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    pub load_accounts: u32,
    /// Run no gateway; the validators' own gRPC ports answer
    #[arg(long)]
    pub no_gateway: bool,
    /// End when standard input does: for a program that starts networks and must leave none behind
    #[arg(long)]
    pub end_with_stdin: bool,
}

enum Running {
    Nodes(Vec<Node>),
    Processes(Vec<Process>),
}

/// A node that is a process of its own.
struct Process {
    child: Child,
    /// Where its standard error goes.
    log: PathBuf,
}

/// Runs a network until SIGINT or SIGTERM; `ready` gets the ready line's object when every chain
/// has finalized two blocks more than it had at the start.
///
/// # Errors
/// When the network cannot be laid out or a node cannot start.
pub async fn up(args: DevnetArgs, ready: impl FnOnce(serde_json::Value)) -> Result<(), NodeError> {
    crate::start::init_logs();
    let stop = stop_asked(args.end_with_stdin)?;
    let genesis_file = args.data_dir.join("genesis.json");
    let (genesis, accounts) = if genesis_file.exists() {
        let genesis = home::read_genesis(&genesis_file)?;
        check_resumed(&args, &genesis)?;
        let accounts = home::funded_accounts(&args.data_dir, &genesis)?;
        (genesis, accounts)
    } else {
        home::write_network(&NetworkPlan {
            name: "devnet".to_owned(),
            shards: args.shards,
            validators: args.validators,
            seats: args.seats.clone(),
            host_template: None,
            port_base: args.port_base,
            load_accounts: args.load_accounts,
            parameters: args.parameters.parameters(),
            out: args.data_dir.clone(),
        })?
    };
    let names: Vec<String> = (0..genesis.validators.len())
        .map(|index| format!("v{index}"))
        .chain((!args.no_gateway).then(|| "rpc".to_owned()))
        .collect();
    let mut running = if args.processes {
        Running::Processes(spawn_all(&args.data_dir, &names)?)
    } else {
        tokio::select! {
            nodes = start_all(&args.data_dir, &names) => Running::Nodes(nodes?),
            () = stop.cancelled() => return Ok(()),
        }
    };
    let ports = if args.no_gateway {
        Ports::validator(args.port_base, 0)
    } else {
        Ports::gateway(args.port_base)
    };
    let grpc = format!("http://127.0.0.1:{}", ports.grpc);
    let waited = tokio::select! {
        result = wait_for_blocks(&mut running, &genesis, &grpc) => result,
        () = stop.cancelled() => Ok(()),
    };
    if waited.is_ok() && !stop.is_cancelled() {
        let faucet_address = format!("127.0.0.1:{}", faucet_port(args.port_base));
        let faucet = crate::faucet::FaucetArgs {
            rpc: grpc.clone(),
            key_file: args.data_dir.join("faucet/key.json"),
            listen: faucet_address.clone(),
            amount: crate::faucet::DEFAULT_AMOUNT.to_owned(),
        };
        let faucet_stop = stop.clone();
        let faucet = tokio::spawn(async move {
            if let Err(error) = crate::faucet::serve(faucet, faucet_stop.cancelled_owned()).await {
                tracing::error!(%error, "the faucet ended; the network goes on without it");
            }
        });
        ready(json!({
            "ready": true,
            "grpc": grpc,
            "metrics": format!("http://127.0.0.1:{}/metrics", ports.http),
            "faucet": format!("http://{faucet_address}"),
            "explorer": format!("http://127.0.0.1:{}/", ports.http),
            "chain_id": genesis.chain_id().to_string(),
            "genesis": genesis_file,
            "accounts": accounts,
        }));
        stop.cancelled().await;
        let _ = faucet.await;
    }
    match running {
        Running::Nodes(nodes) => stop_all(nodes).await,
        Running::Processes(children) => end_all(children).await,
    }
    waited
}

fn check_resumed(args: &DevnetArgs, genesis: &Genesis) -> Result<(), NodeError> {
    let other = |reason: String| NodeError::Content {
        path: args.data_dir.clone(),
        reason: format!("{reason}, or choose another folder"),
    };
    let shards = 1_u32 << genesis.shard_depth;
    let validators = genesis.validators.len();
    if shards != u32::from(args.shards) || validators != usize::from(args.validators) {
        return Err(other(format!(
            "it holds a network of {shards} shards and {validators} validators; start it with \
             --shards {shards} --validators {validators}"
        )));
    }
    let config = NodeConfig::read(&args.data_dir.join("v0/config.toml"))?;
    let layout = Ports::validator(args.port_base, 0).grpc;
    let port = config.grpc.listen.rsplit(':').next();
    let port = port
        .and_then(|port| port.parse::<u16>().ok())
        .unwrap_or(layout);
    if port != layout {
        let base = args.port_base.saturating_add(port).saturating_sub(layout);
        return Err(other(format!(
            "it was laid out for other ports; start it with --port-base {base}"
        )));
    }
    Ok(())
}

async fn start_all(folder: &Path, names: &[String]) -> Result<Vec<Node>, NodeError> {
    let cache = SharedCache::new(CACHE_BYTES);
    let scheme = Arc::new(SharedScheme::default());
    let mut starting = Vec::new();
    for name in names {
        let home = folder.join(name);
        let config = NodeConfig::read(&home.join("config.toml"))?;
        let settings = Settings {
            config,
            data: home.join("data"),
            cache: cache.clone(),
            scheme: scheme.clone(),
            first_use: FirstUse::No,
            // All of them have been away for as long.
            join: JoinSettings {
                above: Some(0),
                checkpoint: None,
            },
        };
        starting.push(tokio::spawn(start(settings)));
    }
    let mut nodes = Vec::new();
    let mut failed = None;
    for node in starting {
        match node.await {
            Ok(Ok(node)) => nodes.push(node),
            Ok(Err(error)) => failed = failed.or(Some(error)),
            Err(error) => failed = failed.or(Some(NodeError::Environment(error.to_string()))),
        }
    }
    match failed {
        None => Ok(nodes),
        Some(error) => {
            stop_all(nodes).await;
            Err(error)
        }
    }
}

async fn stop_all(nodes: Vec<Node>) {
    let mut stopping = tokio::task::JoinSet::new();
    for node in nodes {
        stopping.spawn(node.stop());
    }
    while stopping.join_next().await.is_some() {}
}

fn spawn_all(folder: &Path, names: &[String]) -> Result<Vec<Process>, NodeError> {
    let failed = |error: std::io::Error| NodeError::Environment(error.to_string());
    let binary = std::env::current_exe().map_err(failed)?;
    let mut children = Vec::new();
    for name in names {
        let home = folder.join(name);
        let log = home.join("node.log");
        let stderr = std::fs::File::options()
            .create(true)
            .append(true)
            .open(&log)
            .map_err(failed)?;
        let child = Command::new(&binary)
            // All of them began with the genesis, and nobody is there to give one a checkpoint.
            .args(["node", "start", "--end-with-stdin", "--snapshot-above", "0"])
            .arg("--home")
            .arg(&home)
            // Held open by this process: a node never outlives its network.
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(stderr)
            .spawn()
            .map_err(failed)?;
        let pid = child.id();
        std::fs::write(home.join("node.pid"), pid.to_string()).map_err(failed)?;
        children.push(Process { child, log });
    }
    Ok(children)
}

/// Waits for the first process that ends by itself, and gives what it left in its log.
async fn first_end(processes: &mut [Process]) -> NodeError {
    loop {
        for Process { child, log } in processes.iter_mut() {
            if let Ok(Some(status)) = child.try_wait() {
                let text = std::fs::read_to_string(&*log).unwrap_or_default();
                let lines: Vec<&str> = text.lines().collect();
                let last = lines.len().saturating_sub(LOG_LINES);
                let said = lines.get(last..).unwrap_or_default().join("\n");
                let log = log.display();
                return NodeError::Environment(format!(
                    "a node ended before the network was ready ({status}); its log {log} ends with\n\
                     {said}"
                ));
            }
        }
        tokio::time::sleep(CHILD_POLL).await;
    }
}

/// Asks the processes to end, and ends those that do not within ten seconds.
async fn end_all(processes: Vec<Process>) {
    let mut children: Vec<Child> = processes.into_iter().map(|it| it.child).collect();
    for child in &children {
        if let Some(pid) = i32::try_from(child.id())
            .ok()
            .and_then(rustix::process::Pid::from_raw)
        {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
    }
    for _ in 0..100 {
        if children
            .iter_mut()
            .all(|child| matches!(child.try_wait(), Ok(Some(_))))
        {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    for child in &mut children {
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// How often it is looked whether a process has ended.
const CHILD_POLL: Duration = Duration::from_millis(200);
/// Lines of its log that are shown then.
const LOG_LINES: usize = 4;

/// How many blocks every chain finalizes before the network counts as ready.
const READY_BLOCKS: u64 = 2;

async fn wait_for_blocks(
    running: &mut Running,
    genesis: &Genesis,
    grpc: &str,
) -> Result<(), NodeError> {
    match running {
        Running::Nodes(nodes) => {
            // All at once: each chain counts from its own height at the start.
            let mut waiting = tokio::task::JoinSet::new();
            for chain in genesis.chains() {
                let view = nodes.iter().rev().find_map(|node| node.view.chain(chain));
                if let Some(view) = view.cloned() {
                    let start = view.snapshot().final_height();
                    let target = Height::new(READY_BLOCKS).max(start.saturating_add(1));
                    waiting.spawn(wait_for_height(view, target));
                }
            }
            waiting.join_all().await;
            Ok(())
        }
        Running::Processes(processes) => tokio::select! {
            live = crate::cli::wait_until_live(grpc, genesis, READY_BLOCKS) => live,
            ended = first_end(processes) => Err(ended),
        },
    }
}

/// Waits until a chain has finalized a height.
async fn wait_for_height(view: Arc<ChainView>, target: Height) {
    let mut changes = view.subscribe();
    while view.snapshot().final_height() < target && changes.changed().await.is_ok() {}
}
