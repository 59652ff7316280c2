//! `skerry node start`: one node until it is told to stop.

use crate::assemble::{Settings, start};
use crate::config::NodeConfig;
use crate::error::NodeError;
use crate::snapshot::check::Checkpoint;
use crate::snapshot::run::JoinSettings;
use crate::votes::FirstUse;
use skerry_storage::SharedCache;
use skerry_types::crypto::scheme::BlsScheme;
use std::path::PathBuf;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// RAM that the databases of one process share.
pub const CACHE_BYTES: usize = 256 * 1024 * 1024;

/// Arguments of `skerry node start`.
#[derive(Clone, Debug, clap::Args)]
pub struct StartArgs {
    /// The node's folder, with config.toml and keys
    #[arg(long, value_name = "DIR")]
    pub home: PathBuf,
    /// Where the chains' databases lie [default: HOME/data]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// The genesis file, instead of the configuration's
    #[arg(long, value_name = "FILE")]
    pub genesis: Option<PathBuf>,
    /// Address of gRPC, instead of the configuration's
    #[arg(long, value_name = "HOST:PORT")]
    pub grpc_listen: Option<String>,
    /// Address of metrics and health, instead of the configuration's
    #[arg(long, value_name = "HOST:PORT")]
    pub http_listen: Option<String>,
    /// Begin an empty vote log where there is none: for a key that no committee ever seated
    #[arg(long)]
    pub first_use: bool,
    /// Take the state over from peers when a chain lags by more than this many blocks, those held
    /// being lost; 0: never [default: 2000 where nothing is held, else 100000]
    #[arg(long, value_name = "BLOCKS")]
    pub snapshot_above: Option<u64>,
    /// An epoch of the beacon that a node which you trust has shown, where what this one has is too
    /// old to be trusted
    #[arg(long, value_name = "EPOCH:DIGEST")]
    pub checkpoint: Option<Checkpoint>,
    /// End when standard input does: for a program that starts nodes and must leave none behind
    #[arg(long)]
    pub end_with_stdin: bool,
}

/// Runs a node until SIGINT or SIGTERM, or the end of standard input where that was asked for.
///
/// # Errors
/// When it cannot start.
pub async fn run(args: StartArgs) -> Result<(), NodeError> {
    init_logs();
    let stop = stop_asked(args.end_with_stdin)?;
    let mut config = NodeConfig::read(&args.home.join("config.toml"))?;
    if let Some(genesis) = args.genesis {
        config.genesis = genesis;
    }
    if let Some(listen) = args.grpc_listen {
        config.grpc.listen = listen;
    }
    if let Some(listen) = args.http_listen {
        config.http.listen = listen;
    }
    let data = args.data_dir.unwrap_or_else(|| args.home.join("data"));
    let cache = SharedCache::new(CACHE_BYTES);
    let name = config.name.clone();
    let starting = start(Settings {
        config,
        data,
        cache,
        scheme: Arc::new(BlsScheme),
        first_use: if args.first_use {
            FirstUse::Yes
        } else {
            FirstUse::No
        },
        join: JoinSettings {
            above: args.snapshot_above,
            checkpoint: args.checkpoint,
        },
    });
    let node = tokio::select! {
        node = starting => node?,
        // Nothing was signed yet, and what is on the disk is whole at any time.
        () = stop.cancelled() => return Ok(()),
    };
    tracing::info!(name, grpc = %node.grpc, http = %node.http, "node is up");
    stop.cancelled().await;
    tracing::info!(name, "stopping");
    node.stop().await;
    Ok(())
}

/// Logs of the long-running commands go to standard error, at `info` unless `RUST_LOG` says
/// otherwise.
pub fn init_logs() {
    use std::io::IsTerminal as _;
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new("info,libp2p=warn,libp2p_gossipsub=error"));
    // A second call, as in a process that runs several nodes, changes nothing.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .try_init();
}

/// Cancelled at SIGINT or SIGTERM and, if `with_stdin`, when standard input ends, as it does when
/// the process that holds its other end is gone, however it ended.
///
/// # Errors
/// When the signals cannot be watched, or the system gives no more threads.
pub fn stop_asked(with_stdin: bool) -> Result<CancellationToken, NodeError> {
    let failed = |error: std::io::Error| NodeError::Environment(error.to_string());
    let stop = CancellationToken::new();
    if with_stdin {
        let ended = stop.clone();
        // A thread of its own: what waits in a read cannot be given up.
        std::thread::Builder::new()
            .name("stdin".to_owned())
            .spawn(move || {
                // An error ends it as well.
                let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
                tracing::info!("standard input has ended");
                ended.cancel();
            })
            .map_err(failed)?;
    }
    let signal = stop_signal()?;
    let signalled = stop.clone();
    tokio::spawn(async move {
        signal.await;
        tracing::info!("asked to stop by a signal");
        signalled.cancel();
    });
    Ok(stop)
}

/// Completes at SIGINT or SIGTERM, which from now on do nothing else.
///
/// # Errors
/// When the signals cannot be watched.
pub fn stop_signal() -> Result<impl Future<Output = ()> + Send, NodeError> {
    use tokio::signal::unix::{SignalKind, signal};
    let watch = |kind| signal(kind).map_err(|error| NodeError::Environment(error.to_string()));
    let mut interrupt = watch(SignalKind::interrupt())?;
    let mut terminate = watch(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}
