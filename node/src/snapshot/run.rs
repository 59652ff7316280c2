//! How a node joins before its chains begin: gives [`Join`] its time, its network and a worker.
//!
//! What peers send meanwhile for the chains is kept in bounds, oldest first to give way, so that a
//! node which has nothing to join loses no vote to the look around.

use super::check::{Checkpoint, TooOld, Trust};
use super::jobs::{Done, Job};
use super::join::{Failure, GaveUp, Input, Join, Note, Output, Place, Setup};
use super::{ABOVE_EMPTY, ABOVE_HELD};
use crate::chain::Peer;
use crate::chain::jobs::Shared;
use crate::error::NodeError;
use crate::runner::now_ms;
use crate::wire::kind;
use parking_lot::RwLock;
use skerry_network::{
    Bytes, Frame, Misbehaviour, NetworkEvent, NetworkEvents, NetworkHandle, PeerKey,
};
use skerry_storage::ChainStore;
use skerry_types::genesis::Genesis;
use skerry_types::ids::ChainRef;
use skerry_types::limits::CHUNK_BYTES;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;
use tokio::sync::mpsc;

/// Events for the chains that are kept while the node joins, and their bytes.
const BACKLOG_MAX: usize = 2_048;
const BACKLOG_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Chunks between two lines of the log.
const CHUNKS_PER_LINE: u64 = 16;

/// How a node joins.
#[derive(Clone, Copy, Debug, Default)]
pub struct JoinSettings {
    /// A chain joins by snapshot when a base lies more than this many heights above what it holds;
    /// 0: never. Where the operator does not say, [`ABOVE_EMPTY`] for a store that holds nothing,
    /// [`ABOVE_HELD`] for another: what it holds is lost by that.
    pub above: Option<u64>,
    /// An epoch that the operator vouches for.
    pub checkpoint: Option<Checkpoint>,
}

impl JoinSettings {
    fn above(&self, store: &ChainStore) -> u64 {
        let default = match store.finalized() {
            None => ABOVE_EMPTY,
            Some(_) => ABOVE_HELD,
        };
        self.above.unwrap_or(default)
    }
}

/// What a join works on.
pub struct Parts<'a> {
    /// How.
    pub settings: JoinSettings,
    /// What the network started from.
    pub genesis: &'a Arc<Genesis>,
    /// How votes are checked.
    pub shared: &'a Shared,
    /// Peers that the node is configured with.
    pub peers: usize,
    /// The databases; the beacon's among them.
    pub stores: &'a BTreeMap<ChainRef, Arc<ChainStore>>,
    /// The network.
    pub network: &'a NetworkHandle,
    /// What comes from it.
    pub events: &'a mut NetworkEvents,
    /// What is being done now, for people.
    pub progress: Arc<RwLock<String>>,
}

/// Joins those chains that lag; gives what came from the network for the chains: the peers that are
/// connected first.
///
/// # Errors
/// When the store fails, what is trusted is too old, or the operator vouches for what is not.
pub async fn join(parts: Parts<'_>) -> Result<Vec<NetworkEvent>, NodeError> {
    let Parts {
        settings,
        genesis,
        shared,
        peers,
        stores,
        network,
        events,
        progress,
    } = parts;
    let Some(beacon) = stores.get(&ChainRef::Beacon) else {
        return Ok(Vec::new());
    };
    // Also where nothing is joined: what is held must not contradict the checkpoint.
    let trust = Trust::new(genesis, beacon, &shared.scheme, settings.checkpoint)?;
    if settings.above == Some(0) {
        return Ok(Vec::new());
    }
    let places = stores.iter().map(|(chain, store)| Place {
        chain: *chain,
        store: store.clone(),
        above: settings.above(store),
    });
    let setup = Setup {
        places: places.collect(),
        trust,
        peers,
        chunk_bytes: CHUNK_BYTES,
    };
    let (jobs, queue) = sync_channel(1);
    let (back, mut done) = mpsc::channel(1);
    let thread = std::thread::Builder::new()
        .name("join".to_owned())
        .spawn(move || work(&queue, &back))
        .map_err(|error| NodeError::Environment(error.to_string()))?;
    let mut driver = Driver {
        join: Join::new(setup, now_ms()),
        network,
        jobs,
        peers: BTreeMap::new(),
        keys: BTreeMap::new(),
        next_peer: 0,
        backlog: VecDeque::new(),
        backlog_bytes: 0,
        progress,
        ended: None,
    };
    driver.step(Input::Tick);
    while driver.ended.is_none() {
        let sleep = driver.join.deadline().above(now_ms());
        let sleep = tokio::time::sleep(Duration::from_millis(sleep));
        let input = tokio::select! {
            event = events.consensus.recv() => driver.take(event)?,
            event = events.bulk.recv() => driver.take(event)?,
            done = done.recv() => driver.take_done(done),
            () = sleep => Some(Input::Tick),
        };
        if let Some(input) = input {
            driver.step(input);
        }
    }
    let Driver {
        jobs,
        peers,
        backlog,
        ended,
        ..
    } = driver;
    drop(jobs);
    // It waits for jobs only, and none is under way.
    drop(done);
    if thread.join().is_err() {
        tracing::error!("the thread that joins panicked");
    }
    match ended {
        Some(Err(failure)) => Err(error_of(failure)),
        _ => {
            let connected = peers.into_iter().map(|(peer, known)| {
                let Known {
                    validator,
                    chains,
                    configured,
                    ..
                } = known;
                NetworkEvent::PeerConnected {
                    peer,
                    validator,
                    chains,
                    configured,
                }
            });
            Ok(connected.chain(backlog).collect())
        }
    }
}

fn error_of(failure: Failure) -> NodeError {
    match failure {
        Failure::TooOld(TooOld { start, by }) => NodeError::TrustTooOld { start, by },
        Failure::Checkpoint(contradiction) => NodeError::Checkpoint(contradiction),
        Failure::Store(reason) => NodeError::Join(reason),
    }
}

fn work(queue: &Receiver<Box<Job>>, back: &mpsc::Sender<Done>) {
    while let Ok(job) = queue.recv() {
        if back.blocking_send(job.run()).is_err() {
            return;
        }
    }
}

/// A connected peer.
struct Known {
    number: Peer,
    validator: Option<[u8; 48]>,
    chains: Vec<ChainRef>,
    configured: bool,
}

struct Driver<'a> {
    join: Join,
    network: &'a NetworkHandle,
    jobs: SyncSender<Box<Job>>,
    peers: BTreeMap<PeerKey, Known>,
    keys: BTreeMap<Peer, PeerKey>,
    next_peer: u32,
    backlog: VecDeque<NetworkEvent>,
    backlog_bytes: usize,
    progress: Arc<RwLock<String>>,
    ended: Option<Result<(), Failure>>,
}

impl Driver<'_> {
    /// What an event of the network means here.
    fn take(&mut self, event: Option<NetworkEvent>) -> Result<Option<Input>, NodeError> {
        let ended = || NodeError::Environment("the network service has ended".to_owned());
        Ok(match event.ok_or_else(ended)? {
            NetworkEvent::PeerConnected {
                peer,
                validator,
                chains,
                configured,
            } => {
                self.next_peer = self.next_peer.wrapping_add(1);
                let number = Peer(self.next_peer);
                self.keys.insert(number, peer);
                let known = Known {
                    number,
                    validator,
                    chains: chains.clone(),
                    configured,
                };
                self.peers.insert(peer, known);
                Some(Input::PeerUp {
                    peer: number,
                    chains,
                    configured,
                })
            }
            NetworkEvent::PeerDisconnected { peer } => self.peers.remove(&peer).map(|known| {
                self.keys.remove(&known.number);
                Input::PeerDown(known.number)
            }),
            NetworkEvent::Frame { peer, frame } => {
                let is_ours = matches!(frame.kind, kind::SNAPSHOT_REQUEST | kind::SNAPSHOT_REPLY);
                if !is_ours {
                    self.keep(NetworkEvent::Frame { peer, frame });
                    return Ok(None);
                }
                self.peers.get(&peer).map(|known| Input::Frame {
                    peer: known.number,
                    chain: frame.chain,
                    kind: frame.kind,
                    payload: Arc::from(&*frame.payload),
                })
            }
            event @ (NetworkEvent::Gossip { .. }
            | NetworkEvent::Refused { .. }
            | NetworkEvent::Listening { .. }) => {
                self.keep(event);
                None
            }
        })
    }

    fn take_done(&mut self, done: Option<Done>) -> Option<Input> {
        if done.is_none() {
            let reason = "the worker has ended".to_owned();
            self.ended = Some(Err(Failure::Store(reason)));
        }
        done.map(Input::Done)
    }

    fn keep(&mut self, event: NetworkEvent) {
        let size = |event: &NetworkEvent| match event {
            NetworkEvent::Frame { frame, .. } => frame.payload.len(),
            NetworkEvent::Gossip { payload, .. } => payload.len(),
            _ => 0,
        };
        self.backlog_bytes = self.backlog_bytes.saturating_add(size(&event));
        self.backlog.push_back(event);
        while self.backlog.len() > BACKLOG_MAX || self.backlog_bytes > BACKLOG_BYTES_MAX {
            let Some(oldest) = self.backlog.pop_front() else {
                break;
            };
            self.backlog_bytes = self.backlog_bytes.saturating_sub(size(&oldest));
        }
    }

    fn step(&mut self, input: Input) {
        let mut outputs = Vec::new();
        self.join.step(now_ms(), input, &mut outputs);
        for output in outputs {
            match output {
                Output::Send {
                    peer,
                    chain,
                    kind,
                    payload,
                } => {
                    if let Some(key) = self.keys.get(&peer) {
                        let payload = Bytes::from_owner(payload);
                        let frame = Frame {
                            chain,
                            epoch: 0,
                            kind,
                            payload,
                        };
                        // What is refused is asked for again.
                        let _ = self.network.send(*key, frame);
                    }
                }
                Output::Work(job) => {
                    // At most one is under way, so there is room.
                    if self.jobs.try_send(job).is_err() {
                        let reason = "the worker has ended".to_owned();
                        self.ended = Some(Err(Failure::Store(reason)));
                    }
                }
                Output::Forged { peer, reason } => {
                    if let Some(key) = self.keys.get(&peer) {
                        tracing::warn!(peer = %key, reason, "a peer forges a snapshot");
                        // Once is an accident of no honest node.
                        self.network.report(*key, Misbehaviour::InvalidSignature);
                        self.network.report(*key, Misbehaviour::InvalidSignature);
                    }
                }
                Output::Undecodable { peer, reason } => {
                    if let Some(key) = self.keys.get(&peer) {
                        tracing::warn!(peer = %key, reason, "a peer answers what does not decode");
                        self.network.report(*key, Misbehaviour::InvalidMessage);
                    }
                }
                Output::Note(note) => self.note(&note),
                Output::Finished => self.ended = Some(Ok(())),
                Output::Failed(failure) => self.ended = Some(Err(failure)),
            }
        }
    }

    fn note(&self, note: &Note) {
        let text = match note {
            Note::Probed {
                answered,
                configured,
                wanted,
            } => {
                if configured < wanted {
                    tracing::warn!(
                        answered,
                        configured,
                        wanted,
                        "few of the configured peers say how far they are"
                    );
                }
                format!("{answered} peers have said how far they are")
            }
            Note::WaitsForPeers => {
                tracing::warn!("no peer is connected; an unfinished snapshot waits for them");
                "waiting for peers".to_owned()
            }
            Note::Begun {
                chain,
                height,
                resumed,
                given_up,
                history,
            } => {
                if let Some(given_up) = given_up {
                    tracing::warn!(%chain, %given_up, %height, "another base: beginning anew");
                }
                if *history > 0 {
                    tracing::warn!(
                        %chain,
                        history,
                        "blocks of so many heights go once the state is taken over"
                    );
                }
                tracing::info!(%chain, %height, resumed, "joining by snapshot");
                format!("{chain}: joining by snapshot at height {height}")
            }
            Note::Chunk {
                chain,
                chunks,
                bytes,
                peers,
            } => {
                if chunks.checked_rem(CHUNKS_PER_LINE) == Some(0) {
                    tracing::info!(%chain, chunks, bytes, peers, "taking over the state");
                }
                format!("{chain}: {chunks} chunks, {bytes} bytes, from {peers} peers")
            }
            Note::Joined { chain, block, .. } => {
                tracing::info!(%chain, height = %block.height, "joined by snapshot");
                format!("{chain}: joined at height {}", block.height)
            }
            Note::GaveUp { chain, why } => {
                if let GaveUp::TooOld(TooOld { start, by }) = why {
                    tracing::warn!(%chain, epoch = %start, age = %by, "what is trusted is too old");
                }
                let why = match why {
                    GaveUp::Unserved => "nobody serves a snapshot that can be taken over",
                    GaveUp::TooOld(_) => {
                        "what is trusted is older than bonds stay locked: set this machine's clock, \
                         or start with --checkpoint"
                    }
                    GaveUp::Batches => "more batches are on their way than a snapshot may have",
                };
                tracing::warn!(%chain, why, "going on by blocks");
                format!("{chain}: {why}; going on by blocks")
            }
        };
        *self.progress.write() = text;
    }
}
