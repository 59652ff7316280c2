//! The start: reads the configuration, binds the addresses, builds the service and spawns it.

use crate::address;
use crate::behaviour::{self, Behaviour};
use crate::config::{CHAINS_MAX, NetworkConfig};
use crate::error::NetworkError;
use crate::events::{NetworkEvents, event_channels};
use crate::handle::{NetworkHandle, Shared};
use crate::hello::Hello;
use crate::peers::DialPlan;
use crate::reputation::Reputation;
use crate::service::Service;
use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, Swarm};
use skerry_types::ids::ChainRef;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Instant, SystemTime};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Notices of control tasks that wait for the service.
const NOTICES_MAX: usize = 256;

/// Starts the service on `runtime`.
///
/// # Errors
/// When an address cannot be read or bound, too many chains are configured, or a transport cannot
/// be set up.
pub fn start(
    config: NetworkConfig,
    runtime: &tokio::runtime::Handle,
) -> Result<(NetworkHandle, NetworkEvents), NetworkError> {
    let _entered = runtime.enter();
    let follows: BTreeSet<ChainRef> = config.chains.iter().copied().collect();
    if follows.len() > CHAINS_MAX {
        return Err(NetworkError::TooManyChains {
            count: follows.len(),
        });
    }
    let local = config.identity.peer();
    let now = Instant::now();
    let topic = |chain: &ChainRef| behaviour::topic(&config.chain_id, *chain).hash();
    let topic_of: BTreeMap<_, _> = follows.iter().map(|chain| (*chain, topic(chain))).collect();
    let chain_of = topic_of
        .iter()
        .map(|(chain, topic)| (topic.clone(), *chain))
        .collect();
    let mut swarm = behaviour::swarm(&config, &chain_of)?;
    listen(&mut swarm, &config.listen)?;
    let external = config
        .external
        .iter()
        .map(|text| readable(text))
        .collect::<Result<_, _>>()?;
    let dials = DialPlan::new(local, &config.limits, &config.peers, now)?;
    let reputation = Reputation::new(&config.limits);
    let (events, receivers) = event_channels(&config.limits);
    let (command_sender, commands) = mpsc::channel(config.limits.commands_max.max(1));
    let (notice_sender, notices) = mpsc::channel(NOTICES_MAX);
    let (stopped_sender, stopped) = watch::channel(false);
    let stop = CancellationToken::new();
    let hello = Hello {
        protocol_version: config.protocol_version,
        chain_id: *config.chain_id.as_bytes(),
        session: session_number(),
        chains: follows.iter().copied().collect(),
        validator: config
            .validator
            .map(|proof| (proof.public_key, proof.signature)),
        addresses: Vec::new(),
    };
    let shared = Arc::new(Shared::new(local, follows, config.limits));
    let handle = NetworkHandle {
        shared: Arc::clone(&shared),
        commands: command_sender,
        stop: stop.clone(),
        stopped,
    };
    let service = Service {
        swarm,
        shared,
        events,
        outgoing: VecDeque::new(),
        connections: BTreeMap::new(),
        peers: BTreeMap::new(),
        generation: 0,
        dials,
        reputation,
        tasks: JoinSet::new(),
        notices,
        notice_sender,
        commands,
        told: watch::Sender::new(Arc::default()),
        hello,
        external,
        chain_of,
        topic_of,
        started: now,
        stop,
    };
    runtime.spawn(async move {
        service.run().await;
        // Nobody waiting for the end is no failure.
        let _ = stopped_sender.send(true);
    });
    Ok((handle, receivers))
}

fn readable(text: &str) -> Result<String, NetworkError> {
    let (address, _) = address::parse(text).ok_or_else(|| NetworkError::Address {
        address: text.to_owned(),
    })?;
    Ok(address.to_string())
}

fn listen(swarm: &mut Swarm<Behaviour>, addresses: &[String]) -> Result<(), NetworkError> {
    for text in addresses {
        let (address, _) = address::parse(text).ok_or_else(|| NetworkError::Address {
            address: text.clone(),
        })?;
        let failed = |source| NetworkError::Listen {
            address: text.clone(),
            source,
        };
        probe(&address).map_err(|error| failed(error.into()))?;
        swarm
            .listen_on(address)
            .map_err(|error| failed(error.into()))?;
    }
    Ok(())
}

/// Binds a TCP address and lets it go. libp2p listens with `SO_REUSEPORT`, so that a second node on
/// the same port would start without an error and take half of the first one's connections.
fn probe(address: &Multiaddr) -> std::io::Result<()> {
    let mut parts = address.iter();
    let ip: IpAddr = match parts.next() {
        Some(Protocol::Ip4(ip)) => ip.into(),
        Some(Protocol::Ip6(ip)) => ip.into(),
        _ => return Ok(()),
    };
    match parts.next() {
        Some(Protocol::Tcp(port)) => std::net::TcpListener::bind((ip, port)).map(drop),
        _ => Ok(()),
    }
}

/// A number that two runs of one node do not share: the start time in nanoseconds.
fn session_number() -> u64 {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
