//! How the parts of a node join. Its threads and tasks start here; the rest in `runner.rs`, `votes.rs`,
//! `snapshot/{run,serve}.rs`, and those of the network inside its crate.
//!
//! | part | owner | how it ends |
//! |---|---|---|
//! | worker of a join | `snapshot/run.rs` | when the join is over |
//! | HTTP server of a joining node | [`start`] | when the join is over, at the latest a second later |
//! | six threads a chain | [`crate::runner::Runner`] | `Stop`, then their queues close |
//! | forwarder of API requests, one a chain | [`Node`] | when its view is gone, or the node stops |
//! | vote log writer | [`Node`] | when the last chain is gone |
//! | network service | [`Node`] | `shutdown` |
//! | thread that serves snapshots | [`Node`] | `Stop` |
//! | two routers of network events | [`Node`] | when the network's channels close |
//! | gRPC and HTTP servers | [`Node`] | the stop token |

use crate::beacon::{BeaconFeed, BeaconFinal};
use crate::chain::jobs::Shared;
use crate::chain::{ChainNode, Input, Peer, Setup};
use crate::committees::Committees;
use crate::config::{Follow, NodeConfig};
use crate::error::NodeError;
use crate::evidence::Judge;
use crate::home;
use crate::http::HttpState;
use crate::mempool::MempoolLimits;
use crate::runner::{
    ChainMetrics, Event, Mailboxes, PeerNumbers, Runner, RunnerParts, mailbox, now_ms,
};
use crate::snapshot::pins::Pins;
use crate::snapshot::run::{JoinSettings, Parts, join};
use crate::snapshot::serve::Server;
use crate::view::{ChainView, Command, NodeView, PeerSummary};
use crate::votes::{FirstUse, VoteHistory, VoteWriter, begin_if_first, key::records_for};
use crate::wire::kind;
use parking_lot::RwLock;
use skerry_execution::network::NetworkInfo;
use skerry_execution::parallel::Workers;
use skerry_network::{
    Bytes, EventReceiver, Frame, HelloProof, Limits, NetworkConfig, NetworkEvent, NetworkHandle,
    NetworkKey, PeerKey,
};
use skerry_storage::{ChainStore, Identity, RocksBackend, SharedCache};
use skerry_types::codec::encode;
use skerry_types::crypto::bls::{PublicKey, SecretKey};
use skerry_types::crypto::scheme::{BlsScheme, VoteScheme};
use skerry_types::genesis::Genesis;
use skerry_types::ids::{ChainRef, Epoch};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Version of the peer protocol.
pub const PROTOCOL_VERSION: u32 = 1;
/// How long the server that answers while a node joins has to end.
const HTTP_ENDS: Duration = Duration::from_secs(1);
/// Connections of gRPC that wait to be taken.
const CONNECTIONS_WAITING_MAX: u32 = 1_024;
/// Requests of the API that wait for a chain.
const COMMANDS_MAX: usize = 256;

/// What a node is started with.
pub struct Settings {
    /// Its configuration.
    pub config: NodeConfig,
    /// Where its chains' databases lie.
    pub data: PathBuf,
    /// RAM that all databases of the process share.
    pub cache: SharedCache,
    /// How votes are signed and checked.
    pub scheme: Arc<dyn VoteScheme>,
    /// Whether a vote log that is missing may begin empty.
    pub first_use: FirstUse,
    /// When and how chains are joined by snapshot.
    pub join: JoinSettings,
}

/// A running node.
pub struct Node {
    /// What readers see.
    pub view: Arc<NodeView>,
    /// Where gRPC answers.
    pub grpc: SocketAddr,
    /// Where metrics and health answer.
    pub http: SocketAddr,
    /// Counters of the chains.
    pub metrics: BTreeMap<ChainRef, Arc<ChainMetrics>>,
    network: NetworkHandle,
    runners: Vec<Runner>,
    votes: Option<JoinHandle<()>>,
    snapshots: (Server, JoinHandle<()>),
    tasks: JoinSet<()>,
    stop: CancellationToken,
}

/// Puts a node together and starts it.
///
/// # Errors
/// When a file, a store, an address or the genesis cannot be used.
pub async fn start(settings: Settings) -> Result<Node, NodeError> {
    let Settings {
        config,
        data,
        cache,
        scheme,
        first_use,
        join: join_settings,
    } = settings;
    let checkpoint = join_settings.checkpoint;
    let genesis = Arc::new(home::read_genesis(&config.genesis)?);
    genesis.check(true)?;
    let chain_id = genesis.chain_id();
    let shared = shared_with(&genesis, scheme)?;
    let secret = load_validator(&config, &genesis)?;
    let key = secret.as_ref().map(SecretKey::public_key);
    let chains = chains_to_follow(&config, &genesis, key);
    let mut stores = BTreeMap::new();
    for chain in &chains {
        stores.insert(*chain, open_store(&data, &cache, chain_id, *chain)?);
    }
    // Before anybody is told of the key.
    let history = match (&config.validator, key) {
        (Some(files), Some(public_key)) => {
            let key = home::ValidatorIdentity {
                public_key,
                chain_id,
            };
            begin_if_first(&files.vote_log, first_use, &key, &genesis)?;
            Some(VoteHistory::open(&files.vote_log, &key, stores.clone())?)
        }
        _ => None,
    };
    let identity = NetworkKey::load_or_create(&config.network.key)?;
    let proof = secret
        .as_ref()
        .map(|secret| HelloProof::sign(secret, &chain_id, &identity.peer()));
    let (network, mut events) = skerry_network::start(
        NetworkConfig {
            chain_id,
            protocol_version: PROTOCOL_VERSION,
            listen: config.network.listen.clone(),
            peers: config.network.peers.clone(),
            external: config.network.external.clone(),
            chains: chains.clone(),
            identity,
            validator: proof,
            limits: Limits::default(),
        },
        &tokio::runtime::Handle::current(),
    )?;
    let progress = Arc::new(RwLock::new("asking peers how far they are".to_owned()));
    // Now, so that a port that is taken is noticed before a long join.
    let grpc_socket = reserve(&config.grpc.listen).await?;
    let (http_listener, joining_listener) = twice(listen(&config.http.listen).await?)?;
    let http = local_address(&http_listener)?;
    let joined_at = CancellationToken::new();
    let (shown, end) = (progress.clone(), joined_at.clone().cancelled_owned());
    let mut joining = tokio::spawn(async move {
        if let Err(error) = crate::http::serve_joining(shown, joining_listener, end).await {
            tracing::error!(%error, "the HTTP server ended");
        }
    });
    let joined = join(Parts {
        settings: join_settings,
        genesis: &genesis,
        shared: &shared,
        peers: peers_in(&config.network.peers),
        stores: &stores,
        network: &network,
        events: &mut events,
        progress,
    });
    let joined = joined.await;
    joined_at.cancel();
    if tokio::time::timeout(HTTP_ENDS, &mut joining).await.is_err() {
        // A request that was sent by half keeps nobody waiting.
        joining.abort();
    }
    let backlog = match joined {
        Ok(backlog) => backlog,
        Err(error) => {
            network.shutdown().await;
            return Err(error);
        }
    };
    let pins = Pins::new(shared.network.clone(), stores.clone());
    let (snapshots, snapshots_thread) = Server::start(pins, network.clone(), &config.name)
        .map_err(|error| NodeError::Environment(error.to_string()))?;
    let mailboxes = Mailboxes::default();
    let peer_numbers = PeerNumbers::default();
    let (votes, votes_thread, records) = match history {
        None => (None, None, Vec::new()),
        Some((history, records)) => {
            let (writer, thread) = VoteWriter::start(history, &config.name)
                .map_err(|error| NodeError::Environment(error.to_string()))?;
            (Some(writer), Some(thread), records)
        }
    };
    let beacon_start = beacon_start(&genesis, &shared);
    let stop = CancellationToken::new();
    let mut tasks = JoinSet::new();
    let mut views = BTreeMap::new();
    let mut runners = Vec::new();
    let mut metrics = BTreeMap::new();
    let mut ready = Vec::new();
    // The beacon comes first in the order of chains.
    let mut beacon_points = Vec::new();
    let beacon_store = stores.get(&ChainRef::Beacon).cloned();
    let archive = crate::chain::beacon_archive(
        beacon_store.ok_or(NodeError::UnknownChain(ChainRef::Beacon))?,
    );
    for (chain, store) in &stores {
        if chain.is_beacon() {
            beacon_points = crate::chain::beacon_points(store, &beacon_start)?;
        }
        let feed = (!chain.is_beacon())
            .then(|| BeaconFeed::new(beacon_points.clone(), beacon_start.clone(), archive.clone()));
        let node = ChainNode::new(
            Setup {
                chain: *chain,
                genesis: genesis.clone(),
                shared: shared.clone(),
                store: store.clone(),
                secret: secret.clone(),
                log: records_for(&records, *chain),
                mempool: MempoolLimits::default(),
                beacon: feed,
                checkpoint: checkpoint.filter(|_| chain.is_beacon()),
            },
            now_ms(),
        )?;
        let (sender, receiver) = mailbox();
        let (commands, requests) = mpsc::channel(COMMANDS_MAX);
        let view = Arc::new(ChainView::new(
            *chain,
            store.clone(),
            node.snapshot(),
            commands,
        ));
        mailboxes.insert(*chain, sender.clone());
        tasks.spawn(forward_commands(requests, sender.clone()));
        views.insert(*chain, view.clone());
        let counters = Arc::new(ChainMetrics::default());
        metrics.insert(*chain, counters.clone());
        ready.push((node, sender, receiver, store, view, counters));
    }
    for (node, sender, receiver, store, view, counters) in ready {
        let parts = RunnerParts {
            shared: shared.clone(),
            store: store.clone(),
            view,
            network: network.clone(),
            peers: peer_numbers.clone(),
            mailboxes: mailboxes.clone(),
            votes: votes.clone(),
            metrics: counters,
            snapshots: snapshots.clone(),
        };
        let runner = crate::runner::start(node, sender, receiver, parts)
            .map_err(|error| NodeError::Environment(error.to_string()))?;
        runners.push(runner);
    }
    let vote_syncs = votes.as_ref().map(VoteWriter::syncs);
    drop(votes);
    let peers = Arc::new(RwLock::new(Vec::new()));
    let view = Arc::new(NodeView {
        genesis: genesis.clone(),
        info: shared.network.clone(),
        chain_id,
        name: config.name.clone(),
        chains: views,
        peers: peers.clone(),
        forward: forwarder(network.clone()),
    });
    let router = Router {
        genesis,
        mailboxes: mailboxes.clone(),
        numbers: peer_numbers,
        known: Arc::default(),
        peers,
        snapshots: snapshots.clone(),
    };
    for event in backlog {
        router.take(event);
    }
    tasks.spawn(route(router.clone(), events.consensus));
    tasks.spawn(route(router, events.bulk));
    let grpc_listener = begin_listening(grpc_socket, &config.grpc.listen)?;
    let grpc = local_address(&grpc_listener)?;
    let (grpc_view, grpc_stop) = (view.clone(), stop.clone());
    tasks.spawn(async move {
        let stopped = async move { grpc_stop.cancelled().await };
        if let Err(error) = crate::grpc::serve(grpc_view, grpc_listener, stopped).await {
            tracing::error!(%error, "the gRPC server ended");
        }
    });
    let state = HttpState {
        view: view.clone(),
        metrics: metrics.clone(),
        network: network.clone(),
        mailboxes: mailboxes.clone(),
        cache: cache.clone(),
        stores: stores.clone(),
        vote_syncs: vote_syncs.clone(),
        snapshots: snapshots.metrics().clone(),
    };
    let http_stop = stop.clone();
    tasks.spawn(async move {
        let stopped = async move { http_stop.cancelled().await };
        if let Err(error) = crate::http::serve(state, http_listener, stopped).await {
            tracing::error!(%error, "the HTTP server ended");
        }
    });
    let votes = votes_thread;
    Ok(Node {
        view,
        grpc,
        http,
        metrics,
        network,
        runners,
        votes,
        snapshots: (snapshots, snapshots_thread),
        tasks,
        stop,
    })
}

impl Node {
    /// Stops everything in order and waits for it.
    pub async fn stop(mut self) {
        self.stop.cancel();
        self.network.shutdown().await;
        let runners = std::mem::take(&mut self.runners);
        let votes = self.votes.take();
        let (snapshots, thread) = self.snapshots;
        let joined = tokio::task::spawn_blocking(move || {
            for runner in runners {
                runner.stop();
            }
            snapshots.stop();
            if thread.join().is_err() {
                tracing::error!("the thread that serves snapshots panicked");
            }
            if votes.is_some_and(|votes| votes.join().is_err()) {
                tracing::error!("the thread of the vote log panicked");
            }
        });
        if let Err(error) = joined.await {
            tracing::error!(%error, "a chain's thread panicked");
        }
        self.tasks.shutdown().await;
    }
}

/// What the jobs of all chains share, for a genesis.
///
/// # Errors
/// When a committee of the genesis cannot be used.
pub fn shared(genesis: &Genesis) -> Result<Arc<Shared>, NodeError> {
    shared_with(genesis, Arc::new(BlsScheme))
}

/// [`shared`] with another scheme of votes.
///
/// # Errors
/// When a committee of the genesis cannot be used.
pub fn shared_with(
    genesis: &Genesis,
    scheme: Arc<dyn VoteScheme>,
) -> Result<Arc<Shared>, NodeError> {
    Ok(Arc::new(Shared {
        committees: Arc::new(Committees::genesis(genesis, &*scheme)?),
        scheme,
        chain_id: genesis.chain_id(),
        network: Arc::new(NetworkInfo::of(genesis)),
        judge: Judge::default(),
        workers: Workers::of_processors(
            std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
        ),
    }))
}

/// What the start of the beacon shows.
pub fn beacon_start(genesis: &Genesis, shared: &Shared) -> BeaconFinal {
    let facts = Arc::new(skerry_execution::genesis::genesis_facts(genesis));
    BeaconFinal {
        block: crate::chain::start_of(shared, ChainRef::Beacon),
        epoch: Epoch::ZERO,
        time: genesis.time,
        facts_root: facts.root(),
        facts: Some(facts),
        committees: shared.committees.clone(),
    }
}

/// The key of the validator that this node is.
fn load_validator(config: &NodeConfig, genesis: &Genesis) -> Result<Option<SecretKey>, NodeError> {
    let Some(files) = &config.validator else {
        return Ok(None);
    };
    let secret = home::read_validator_key(&files.key, genesis)?;
    let public = secret.public_key();
    let is_founder = genesis.validators.iter().any(|it| it.vote_key == public);
    // Where no epoch ends, nobody else ever gets a seat.
    if genesis.parameters.epoch_ms == 0 && !is_founder {
        let key = format!("{public:?}");
        return Err(NodeError::NotAValidator { key });
    }
    Ok(Some(secret))
}

fn chains_to_follow(
    config: &NodeConfig,
    genesis: &Genesis,
    key: Option<PublicKey>,
) -> Vec<ChainRef> {
    let seated = |chain: &ChainRef| {
        let committee = genesis.committee(*chain);
        let mut members = committee.iter().flat_map(|it| &it.members);
        members.any(|member| Some(member.public_key) == key)
    };
    genesis
        .chains()
        .into_iter()
        // Where committees change, any chain may be next.
        .filter(|chain| {
            let rotates = genesis.parameters.epoch_ms > 0 && key.is_some();
            chain.is_beacon() || rotates || config.follow == Follow::All || seated(chain)
        })
        .collect()
}

fn open_store(
    data: &Path,
    cache: &SharedCache,
    chain_id: skerry_types::ids::Digest,
    chain: ChainRef,
) -> Result<Arc<ChainStore>, NodeError> {
    let folder = data.join(chain.folder());
    let made = std::fs::create_dir_all(&folder).and_then(|()| {
        // A folder survives a power cut once those above it are synced.
        let above = [Some(data), data.parent()].into_iter().flatten();
        for folder in above.filter(|folder| !folder.as_os_str().is_empty()) {
            std::fs::File::open(folder)?.sync_all()?;
        }
        Ok(())
    });
    made.map_err(|source| NodeError::File {
        action: "cannot create",
        path: folder.clone(),
        source,
    })?;
    let backend = Arc::new(RocksBackend::open(&folder, cache)?);
    Ok(Arc::new(ChainStore::open(
        backend,
        Identity { chain_id, chain },
    )?))
}

async fn listen(address: &str) -> Result<TcpListener, NodeError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| NodeError::Listen {
            address: address.to_owned(),
            source,
        })
}

/// Takes an address without listening: who connects is refused until there is an answer.
///
/// # Errors
/// When the address means nothing, or somebody listens there.
async fn reserve(address: &str) -> Result<TcpSocket, NodeError> {
    let bind = |to: SocketAddr| {
        let socket = if to.is_ipv4() {
            TcpSocket::new_v4()
        } else {
            TcpSocket::new_v6()
        }?;
        // As for every listener: a node that is restarted gets its port back at once.
        socket.set_reuseaddr(true)?;
        socket.bind(to)?;
        Ok(socket)
    };
    let found = async {
        let mut failed = None;
        for to in tokio::net::lookup_host(address).await? {
            match bind(to) {
                Ok(socket) => return Ok(socket),
                Err(error) => failed = Some(error),
            }
        }
        Err(failed.unwrap_or_else(|| std::io::ErrorKind::AddrNotAvailable.into()))
    };
    found.await.map_err(|source| NodeError::Listen {
        address: address.to_owned(),
        source,
    })
}

fn begin_listening(socket: TcpSocket, address: &str) -> Result<TcpListener, NodeError> {
    let listening = socket.listen(CONNECTIONS_WAITING_MAX);
    listening.map_err(|source| NodeError::Listen {
        address: address.to_owned(),
        source,
    })
}

/// How many peers these addresses lead to; one peer may have several.
fn peers_in(addresses: &[String]) -> usize {
    let peer = |address: &String| {
        let (_, peer) = address.rsplit_once("/p2p/")?;
        Some(peer.to_owned())
    };
    let known: BTreeSet<String> = addresses.iter().filter_map(peer).collect();
    let unnamed = addresses.iter().filter(|it| peer(it).is_none()).count();
    known.len().saturating_add(unnamed)
}

/// One listener as two, for two servers that answer one after the other.
fn twice(listener: TcpListener) -> Result<(TcpListener, TcpListener), NodeError> {
    let halves = || {
        let first = listener.into_std()?;
        let second = first.try_clone()?;
        Ok((
            TcpListener::from_std(first)?,
            TcpListener::from_std(second)?,
        ))
    };
    halves().map_err(|source| NodeError::Listen {
        address: "the bound socket".to_owned(),
        source,
    })
}

fn local_address(listener: &TcpListener) -> Result<SocketAddr, NodeError> {
    listener.local_addr().map_err(|source| NodeError::Listen {
        address: "the bound socket".to_owned(),
        source,
    })
}

/// Carries the API's requests to a chain's thread.
async fn forward_commands(
    mut requests: mpsc::Receiver<Command>,
    sender: std::sync::mpsc::SyncSender<Event>,
) {
    while let Some(command) = requests.recv().await {
        // When the thread's queue is full the request is dropped, and its sender told so.
        let _ = sender.try_send(Event::Command(command));
    }
}

/// Sends transactions to peers of a chain that this node does not follow: to two of them, in case
/// that one is gone.
fn forwarder(
    network: NetworkHandle,
) -> Arc<dyn Fn(ChainRef, Vec<Arc<[u8]>>) -> bool + Send + Sync> {
    Arc::new(move |chain, wires| {
        let wires: Vec<&[u8]> = wires.iter().map(|wire| &**wire).collect();
        let payload = Bytes::from(encode(&wires));
        let kind = crate::wire::kind::TRANSACTIONS;
        let members = network
            .peers()
            .into_iter()
            .filter(|peer| peer.chains.contains(&chain));
        let mut sent = 0;
        for peer in members.take(2) {
            let frame = Frame {
                chain,
                epoch: 0,
                kind,
                payload: payload.clone(),
            };
            if matches!(
                network.send(peer.peer, frame),
                skerry_network::SendOutcome::Queued { .. }
            ) {
                sent += 1;
            }
        }
        sent > 0
    })
}

#[derive(Clone)]
struct Router {
    genesis: Arc<Genesis>,
    mailboxes: Mailboxes,
    numbers: PeerNumbers,
    known: Arc<RwLock<Known>>,
    peers: Arc<RwLock<Vec<PeerSummary>>>,
    snapshots: Server,
}

#[derive(Default)]
struct Known {
    numbers: BTreeMap<PeerKey, u32>,
    next: u32,
}

impl Router {
    fn connected(&self, peer: PeerKey, validator: Option<[u8; 48]>, chains: &[ChainRef]) {
        let number = {
            let mut known = self.known.write();
            known.next = known.next.wrapping_add(1);
            let number = known.next;
            known.numbers.insert(peer, number);
            number
        };
        self.numbers.insert(number, peer);
        let name = validator.and_then(|key| {
            let found = self.genesis.validators.iter().find(|v| v.vote_key.0 == key);
            found.map(|validator| validator.name.clone())
        });
        self.peers.write().push(PeerSummary {
            id: peer.to_string(),
            validator: name,
            chains: chains.to_vec(),
        });
        for chain in self.mailboxes.chains() {
            let key = validator.map(PublicKey);
            let chains = chains.to_vec();
            self.mailboxes.tell(
                chain,
                Input::PeerUp {
                    peer: Peer(number),
                    key,
                    chains,
                },
            );
        }
    }

    fn disconnected(&self, peer: PeerKey) {
        let id = peer.to_string();
        self.peers.write().retain(|summary| summary.id != id);
        let Some(number) = self.known.write().numbers.remove(&peer) else {
            return;
        };
        for chain in self.mailboxes.chains() {
            self.mailboxes.tell(chain, Input::PeerDown(Peer(number)));
        }
        self.numbers.remove(number);
    }

    fn frame(&self, peer: PeerKey, frame: Frame) {
        match frame.kind {
            kind::SNAPSHOT_REQUEST => {
                return self.snapshots.on_request(peer, frame.chain, frame.payload);
            }
            // Late: what was asked for is here.
            kind::SNAPSHOT_REPLY => return,
            _ => {}
        }
        let number = self.known.read().numbers.get(&peer).copied();
        if let Some(number) = number {
            let payload: Arc<[u8]> = Arc::from(&*frame.payload);
            let input = Input::Frame {
                peer: Peer(number),
                epoch: Epoch::new(frame.epoch),
                kind: frame.kind,
                payload,
            };
            self.mailboxes.offer(frame.chain, input);
        }
    }

    fn take(&self, event: NetworkEvent) {
        match event {
            NetworkEvent::PeerConnected {
                peer,
                validator,
                chains,
                ..
            } => {
                self.connected(peer, validator, &chains);
            }
            NetworkEvent::PeerDisconnected { peer } => self.disconnected(peer),
            NetworkEvent::Frame { peer, frame } => self.frame(peer, frame),
            NetworkEvent::Gossip { chain, payload, .. } => self.gossip(chain, &payload),
            NetworkEvent::Refused {
                address, reason, ..
            } => {
                tracing::warn!(address, %reason, "peer refused");
            }
            NetworkEvent::Listening { address } => tracing::info!(address, "listening"),
        }
    }

    fn gossip(&self, chain: ChainRef, payload: &Bytes) {
        let payload: Arc<[u8]> = Arc::from(&**payload);
        self.mailboxes.offer(chain, Input::Gossip(payload));
    }
}

async fn route(router: Router, mut events: EventReceiver) {
    while let Some(event) = events.recv().await {
        router.take(event);
    }
}
