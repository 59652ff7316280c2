//! Drives one chain of a node: gives [`ChainNode`] its time, disk, network and processors.
//!
//! Each chain has six threads, so that no kind of work waits behind another: the chain itself,
//! which only steps; blocks (validation and execution); signatures of transactions; votes and
//! certificates; words, which anybody may say (batches, cross-links, evidence, newcomers); the
//! disk. All queues are bounded; what does not fit from the network is dropped and counted, since
//! every protocol here asks again.

use crate::beacon::BeaconFinal;
use crate::chain::jobs::{Job, Shared, TransactionsJob};
use crate::chain::proving::PROVING_MAX;
use crate::chain::{ChainNode, CommitRequest, Input, Note, Output, Peer};
use crate::snapshot::serve::Server;
use crate::view::{ChainView, Command, SubmitError};
use crate::votes::VoteWriter;
use crate::wire::kind::{FETCH_REPLY, VOTE};
use skerry_network::{Bytes, Frame, NetworkHandle, PeerKey};
use skerry_storage::{ChainStore, Commit, Durability, FinalizedEntry, StateEntry};
use skerry_types::block::Header;
use skerry_types::ids::{ChainRef, Digest, Epoch, TimeMs};
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::oneshot;

/// Inputs that wait for a chain's thread.
const INPUTS_MAX: usize = 4_096;
/// Jobs that wait for one of a chain's workers. A chain has fewer outstanding (its core bounds its
/// checks, `ingress` its submissions, the tree its blocks), so it never waits for a worker that in
/// turn waits for it. The queues are laid out in advance, so this is also memory.
const JOBS_MAX: usize = 4_096;
/// Words of others that wait to be checked; `chain/proving.rs` and `chain/evidence.rs` allow fewer.
const WORDS_MAX: usize = 4 * PROVING_MAX;
/// Transactions whose signatures are checked in one batch, where so many wait.
const BATCH_MAX: usize = 1_024;
/// Niceness of the threads that check transactions' signatures.
const SIGNATURES_NICE: i32 = 10;
/// Longest sleep of a chain's thread.
const SLEEP_MAX: Duration = Duration::from_secs(1);

/// The node's clock.
pub fn now_ms() -> TimeMs {
    let elapsed = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    TimeMs::new(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX))
}

/// What reaches a chain's thread.
pub enum Event {
    /// An input of the chain.
    Input(Input),
    /// A request of the node's API.
    Command(Command),
    /// End.
    Stop,
}

/// Where the inputs of all chains of a node go; filled while the node is put together.
#[derive(Clone, Default)]
pub struct Mailboxes {
    boxes: Arc<RwLock<BTreeMap<ChainRef, SyncSender<Event>>>>,
    /// News of peers that found no room, in order.
    late: Arc<Mutex<BTreeMap<ChainRef, VecDeque<Input>>>>,
    dropped: Arc<AtomicU64>,
}

impl Mailboxes {
    /// Adds a chain's.
    pub fn insert(&self, chain: ChainRef, sender: SyncSender<Event>) {
        self.boxes
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .insert(chain, sender);
    }

    /// Hands an input to a chain, or drops it when the chain has too much to do.
    pub fn offer(&self, chain: ChainRef, input: Input) {
        let boxes = self
            .boxes
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(sender) = boxes.get(&chain)
            && matches!(
                sender.try_send(Event::Input(input)),
                Err(TrySendError::Full(_))
            )
        {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Hands over that a peer has come or gone, which nobody says again: what finds no room waits until
    /// the chain looks for it. There is never more of it than there are peers.
    pub fn tell(&self, chain: ChainRef, news: Input) {
        let mut late = self.late.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = late.entry(chain).or_default();
        let found_room = waiting.is_empty();
        let Some(news) = (if found_room {
            self.hand(chain, news)
        } else {
            Some(news)
        }) else {
            return;
        };
        if let Input::PeerDown(gone) = &news {
            let before = waiting.len();
            waiting.retain(|it| !matches!(it, Input::PeerUp { peer, .. } if peer == gone));
            if waiting.len() < before {
                return;
            }
        }
        waiting.push_back(news);
    }

    /// The news of peers that found no room before.
    fn take_late(&self, chain: ChainRef) -> VecDeque<Input> {
        let mut late = self.late.lock().unwrap_or_else(PoisonError::into_inner);
        late.remove(&chain).unwrap_or_default()
    }

    /// Hands over an input between chains of this node; gives it back when there is no room.
    fn hand(&self, chain: ChainRef, input: Input) -> Option<Input> {
        let boxes = self
            .boxes
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        match boxes.get(&chain)?.try_send(Event::Input(input)) {
            Err(TrySendError::Full(Event::Input(input))) => Some(input),
            _ => None,
        }
    }

    /// The chains of this node.
    pub fn chains(&self) -> Vec<ChainRef> {
        let boxes = self
            .boxes
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        boxes.keys().copied().collect()
    }

    /// Inputs dropped so far.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

/// Numbers that the chains use for peers.
#[derive(Clone, Default)]
pub struct PeerNumbers {
    keys: Arc<RwLock<BTreeMap<u32, PeerKey>>>,
}

impl PeerNumbers {
    /// Gives a peer its number.
    pub fn insert(&self, number: u32, key: PeerKey) {
        self.keys
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .insert(number, key);
    }

    /// Forgets a number.
    pub fn remove(&self, number: u32) {
        self.keys
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .remove(&number);
    }

    fn get(&self, peer: Peer) -> Option<PeerKey> {
        let keys = self
            .keys
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        keys.get(&peer.0).copied()
    }
}

/// What a runner needs beside its chain.
pub struct RunnerParts {
    /// What jobs share.
    pub shared: Arc<Shared>,
    /// The chain's store.
    pub store: Arc<ChainStore>,
    /// Readers.
    pub view: Arc<ChainView>,
    /// The network.
    pub network: NetworkHandle,
    /// Names of peers.
    pub peers: PeerNumbers,
    /// The node's chains.
    pub mailboxes: Mailboxes,
    /// The vote log, on a validator.
    pub votes: Option<VoteWriter>,
    /// Counters of the chain.
    pub metrics: Arc<ChainMetrics>,
    /// Who serves those that join.
    pub snapshots: Server,
}

/// Counters that a runner keeps for `/metrics`.
#[derive(Debug, Default)]
pub struct ChainMetrics {
    /// Final blocks settled.
    pub blocks: AtomicU64,
    /// Transactions in them.
    pub transactions: AtomicU64,
    /// Nanoseconds in signature checks of transactions.
    pub signature_nanos: AtomicU64,
    /// Transactions whose signatures were checked.
    pub signatures: AtomicU64,
    /// Nanoseconds in validation and execution of blocks.
    pub block_nanos: AtomicU64,
    /// Nanoseconds in checks of votes, certificates and proofs.
    pub proof_nanos: AtomicU64,
    /// Nanoseconds at the disk.
    pub disk_nanos: AtomicU64,
    /// Proposals found invalid.
    pub invalid: AtomicU64,
    /// Valid proposals whose leader this node did not follow.
    pub withheld: AtomicU64,
}

/// A running chain.
pub struct Runner {
    sender: SyncSender<Event>,
    threads: Vec<JoinHandle<()>>,
}

impl Runner {
    /// Ends the chain and waits for its threads.
    pub fn stop(self) {
        // A full queue drains by itself; an error means that the thread is gone already.
        let _ = self.sender.send(Event::Stop);
        for thread in self.threads {
            let _ = thread.join();
        }
    }
}

/// Creates the queue of a chain, so that others can be given it before the chain runs.
pub fn mailbox() -> (SyncSender<Event>, Receiver<Event>) {
    sync_channel(INPUTS_MAX)
}

enum DiskJob {
    Store {
        digest: Digest,
        header: Arc<Header>,
        body: Arc<[u8]>,
    },
    Commit(CommitRequest),
}

struct Workers {
    blocks: SyncSender<Job>,
    signatures: SyncSender<TransactionsJob>,
    votes: SyncSender<Job>,
    words: SyncSender<Job>,
    disk: SyncSender<DiskJob>,
}

/// Starts a chain's threads.
///
/// # Errors
/// When the system gives no more threads.
pub fn start(
    node: ChainNode,
    sender: SyncSender<Event>,
    events: Receiver<Event>,
    parts: RunnerParts,
) -> std::io::Result<Runner> {
    let name = node.chain().folder();
    let mut threads = Vec::new();
    let worker = |kind: &str, most: usize, counter: fn(&ChainMetrics) -> &AtomicU64| {
        let (jobs, queue) = sync_channel::<Job>(most);
        let (back, shared, metrics) = (sender.clone(), parts.shared.clone(), parts.metrics.clone());
        let thread = std::thread::Builder::new()
            .name(format!("{name}-{kind}"))
            .spawn(move || run_jobs(&queue, &shared, &back, counter(&metrics)))?;
        Ok::<_, std::io::Error>((jobs, thread))
    };
    let (blocks, thread) = worker("blocks", JOBS_MAX, |metrics| &metrics.block_nanos)?;
    threads.push(thread);
    let (votes, thread) = worker("votes", JOBS_MAX, |metrics| &metrics.proof_nanos)?;
    threads.push(thread);
    let (words, thread) = worker("words", WORDS_MAX, |metrics| &metrics.proof_nanos)?;
    threads.push(thread);
    let (signatures, queue) = sync_channel::<TransactionsJob>(JOBS_MAX);
    let (back, shared, metrics) = (sender.clone(), parts.shared.clone(), parts.metrics.clone());
    threads.push(
        std::thread::Builder::new()
            .name(format!("{name}-signatures"))
            .spawn(move || {
                yield_to_others(SIGNATURES_NICE);
                run_signatures(&queue, &shared, &back, &metrics);
            })?,
    );
    let (disk, queue) = sync_channel::<DiskJob>(JOBS_MAX);
    let (back, store, metrics) = (sender.clone(), parts.store.clone(), parts.metrics.clone());
    threads.push(
        std::thread::Builder::new()
            .name(format!("{name}-disk"))
            .spawn(move || run_disk(&queue, &store, &back, &metrics))?,
    );
    let workers = Workers {
        blocks,
        signatures,
        votes,
        words,
        disk,
    };
    let back = sender.clone();
    threads.push(std::thread::Builder::new().name(name).spawn(move || {
        Driver {
            node,
            parts,
            workers,
            back,
            replies: BTreeMap::new(),
            next_tag: 0,
            waiting: VecDeque::new(),
        }
        .run(&events);
    })?);
    Ok(Runner { sender, threads })
}

/// Lowers the priority of the calling thread, so that taking in more work never delays what was
/// taken in. Where the system refuses, all threads are alike.
pub fn yield_to_others(niceness: i32) {
    if niceness > 0 {
        let _ = rustix::process::nice(niceness);
    }
}

fn run_jobs(
    queue: &Receiver<Job>,
    shared: &Shared,
    back: &SyncSender<Event>,
    nanos_spent: &AtomicU64,
) {
    while let Ok(job) = queue.recv() {
        let start = std::time::Instant::now();
        let done = job.run(shared);
        let nanos = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        nanos_spent.fetch_add(nanos, Ordering::Relaxed);
        if back.send(Event::Input(Input::Done(done))).is_err() {
            break;
        }
    }
}

/// Checks transactions; jobs that wait together are done together.
fn run_signatures(
    queue: &Receiver<TransactionsJob>,
    shared: &Shared,
    back: &SyncSender<Event>,
    metrics: &ChainMetrics,
) {
    while let Ok(job) = queue.recv() {
        let start = std::time::Instant::now();
        let mut count = job.incoming.len();
        let mut jobs = vec![job];
        while count < BATCH_MAX
            && let Ok(next) = queue.try_recv()
        {
            count = count.saturating_add(next.incoming.len());
            jobs.push(next);
        }
        let done = TransactionsJob::run_together(jobs, shared);
        let count = u64::try_from(count).unwrap_or(0);
        metrics.signatures.fetch_add(count, Ordering::Relaxed);
        let nanos = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        metrics.signature_nanos.fetch_add(nanos, Ordering::Relaxed);
        for done in done {
            if back.send(Event::Input(Input::Done(done))).is_err() {
                return;
            }
        }
    }
}

/// Carries out disk jobs in order; block bytes that wait together are made durable together.
fn run_disk(
    queue: &Receiver<DiskJob>,
    store: &ChainStore,
    back: &SyncSender<Event>,
    metrics: &ChainMetrics,
) {
    let mut waiting = None;
    while let Some(job) = waiting.take().or_else(|| queue.recv().ok()) {
        let start = std::time::Instant::now();
        let result = match job {
            DiskJob::Commit(request) => commit(store, &request),
            DiskJob::Store {
                digest,
                header,
                body,
            } => {
                let mut blocks = vec![(digest, header, body)];
                while let Ok(next) = queue.try_recv() {
                    match next {
                        DiskJob::Store {
                            digest,
                            header,
                            body,
                        } => {
                            blocks.push((digest, header, body));
                        }
                        commit @ DiskJob::Commit(_) => {
                            waiting = Some(commit);
                            break;
                        }
                    }
                }
                let rows: Vec<(Digest, &Header, &[u8])> = blocks
                    .iter()
                    .map(|(digest, header, body)| (*digest, &**header, &**body))
                    .collect();
                let stored = store.put_blocks(&rows, Durability::Synced);
                if stored.is_ok() {
                    for (digest, ..) in &blocks {
                        let _ = back.send(Event::Input(Input::Stored(*digest)));
                    }
                }
                stored
            }
        };
        let nanos = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        metrics.disk_nanos.fetch_add(nanos, Ordering::Relaxed);
        if let Err(error) = result {
            let _ = back.send(Event::Input(Input::DiskFailed(error.to_string())));
            return;
        }
    }
}

/// Records finality and states, as the chain asks.
///
/// # Errors
/// When the store fails; it is poisoned then.
pub fn commit(
    store: &ChainStore,
    request: &CommitRequest,
) -> Result<(), skerry_storage::StoreError> {
    let commit = Commit {
        finalized: request
            .finalized
            .iter()
            .map(|(block, certificate)| FinalizedEntry {
                digest: block.digest,
                height: block.height,
                certificate: certificate.clone(),
            })
            .collect(),
        states: request
            .states
            .iter()
            .map(|executed| StateEntry {
                block: executed.block,
                result: executed.result,
                changes: &executed.changes,
                receipts: &executed.receipts,
                outgoing: &executed.outgoing,
            })
            .collect(),
        epoch: request.epoch.as_deref().cloned(),
        seal: request.seal.as_deref().cloned(),
    };
    store.commit(&commit)
}

type Reply = oneshot::Sender<Vec<Result<Digest, SubmitError>>>;

struct Driver {
    node: ChainNode,
    parts: RunnerParts,
    workers: Workers,
    back: SyncSender<Event>,
    replies: BTreeMap<u64, Reply>,
    next_tag: u64,
    waiting: VecDeque<(ChainRef, Input)>,
}

impl Driver {
    fn run(mut self, events: &Receiver<Event>) {
        let mut outputs = Vec::new();
        self.node.step(now_ms(), Input::Tick, &mut outputs);
        self.carry_out(&mut outputs);
        loop {
            let now = now_ms();
            let wait = self.node.deadline().map_or(SLEEP_MAX, |deadline| {
                Duration::from_millis(deadline.above(now)).min(SLEEP_MAX)
            });
            let input = match events.recv_timeout(wait) {
                Ok(Event::Input(input)) => input,
                Ok(Event::Command(Command::Submit {
                    transactions,
                    reply,
                })) => {
                    self.next_tag = self.next_tag.wrapping_add(1);
                    self.replies.insert(self.next_tag, reply);
                    Input::Submit {
                        tag: self.next_tag,
                        transactions,
                    }
                }
                Ok(Event::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => Input::Tick,
            };
            self.node.step(now_ms(), input, &mut outputs);
            self.carry_out(&mut outputs);
            for news in self.parts.mailboxes.take_late(self.node.chain()) {
                self.node.step(now_ms(), news, &mut outputs);
                self.carry_out(&mut outputs);
            }
        }
    }

    fn carry_out(&mut self, outputs: &mut Vec<Output>) {
        // Who sees a block can read the state after it.
        let is_seen = |output: &Output| matches!(output, Output::Snapshot | Output::Block { .. });
        if outputs.iter().any(is_seen) {
            self.parts.view.publish(self.node.snapshot());
        }
        for output in outputs.drain(..) {
            match output {
                Output::Persist {
                    epoch,
                    position,
                    record,
                } => {
                    if let Some(votes) = &self.parts.votes {
                        votes.append(epoch, position, record, self.back.clone());
                    }
                }
                Output::Send {
                    peer,
                    chain,
                    epoch,
                    kind,
                    payload,
                    after,
                } => {
                    if let (Some(votes), VOTE..=FETCH_REPLY) = (&self.parts.votes, kind) {
                        votes.trace_send(chain, after, kind, &payload);
                    }
                    if let Some(key) = self.parts.peers.get(peer) {
                        let payload = Bytes::from_owner(payload);
                        // What is refused is asked for again by whoever needs it.
                        let _ = self.parts.network.send(
                            key,
                            Frame {
                                chain,
                                epoch: epoch.get(),
                                kind,
                                payload,
                            },
                        );
                    }
                }
                Output::Publish { topic, payload } => {
                    let payload = Bytes::from_owner(payload);
                    let _ = self.parts.network.publish(topic, payload);
                }
                Output::Work(job) => self.work(job),
                Output::Store {
                    digest,
                    header,
                    body,
                } => {
                    let _ = self.workers.disk.send(DiskJob::Store {
                        digest,
                        header,
                        body,
                    });
                }
                Output::Commit(request) => {
                    let _ = self.workers.disk.send(DiskJob::Commit(request));
                }
                Output::Local { chain, payload } => {
                    let kind = crate::wire::kind::BATCH_PUSH;
                    if chain != self.node.chain() {
                        let peer = Peer(u32::MAX);
                        self.parts.mailboxes.offer(
                            chain,
                            Input::Frame {
                                peer,
                                epoch: Epoch::ZERO,
                                kind,
                                payload,
                            },
                        );
                    }
                }
                Output::Reported(reported) => {
                    let chain = self.node.chain();
                    self.parts.snapshots.on_reported(chain, reported);
                }
                Output::Beacon(block) => self.tell_shards(&block),
                Output::Link(link) => self.tell_beacon(Input::Link(link)),
                Output::Ready(ready) => self.tell_beacon(Input::Ready(ready)),
                Output::Evidence(evidence) => self.tell_beacon(Input::Evidence(evidence)),
                Output::Claim(evidence) => self.tell_beacon(Input::Claim(evidence)),
                Output::Misbehaved { peer, how } => {
                    if let Some(key) = self.parts.peers.get(peer) {
                        self.parts.network.report(key, how);
                    }
                }
                Output::Lost(at) => self.tell_others(at),
                Output::Snapshot => {}
                Output::Block { block, state } => {
                    let metrics = &self.parts.metrics;
                    metrics.blocks.fetch_add(1, Ordering::Relaxed);
                    let count = u64::try_from(block.transactions.len()).unwrap_or(0);
                    metrics.transactions.fetch_add(count, Ordering::Relaxed);
                    self.parts.view.publish_block(*block, &state);
                }
                Output::Received(ids) => self.parts.view.note_received(&ids),
                Output::Included(block, ids) => self.parts.view.note_included(block, &ids),
                Output::Dropped(ids) => self.parts.view.note_dropped(&ids),
                Output::Abandoned(digest) => self.parts.view.note_abandoned(&digest),
                Output::Submitted { tag, results } => {
                    if let Some(reply) = self.replies.remove(&tag) {
                        let _ = reply.send(results);
                    }
                }
                Output::Note(note) => self.note(&note),
            }
        }
        self.hand_over();
    }

    fn work(&self, job: Job) {
        // Of an ended worker there is nothing to wait for: the node is ending.
        let _ = match job {
            Job::Transactions(job) => return drop(self.workers.signatures.send(job)),
            job @ (Job::Validate(_) | Job::Execute(_)) => self.workers.blocks.send(job),
            job @ Job::Consensus { .. } => self.workers.votes.send(job),
            job => self.workers.words.send(job),
        };
    }

    fn tell_shards(&mut self, block: &BeaconFinal) {
        for chain in self.parts.mailboxes.chains() {
            if !chain.is_beacon() {
                self.waiting
                    .push_back((chain, Input::Beacon(block.clone())));
            }
        }
    }

    fn tell_others(&mut self, lost_at: TimeMs) {
        for chain in self.parts.mailboxes.chains() {
            if chain != self.node.chain() {
                self.waiting.push_back((chain, Input::Lost(lost_at)));
            }
        }
    }

    fn tell_beacon(&mut self, news: Input) {
        self.waiting.push_back((ChainRef::Beacon, news));
    }

    /// News between the chains of a node are handed over in order, none left out; what finds no
    /// room waits for the next step.
    fn hand_over(&mut self) {
        while let Some((chain, input)) = self.waiting.pop_front() {
            if let Some(input) = self.parts.mailboxes.hand(chain, input) {
                self.waiting.push_front((chain, input));
                return;
            }
        }
    }

    fn note(&self, note: &Note) {
        let chain = self.node.chain();
        match note {
            Note::Stopped(reason) | Note::Mute(reason) => {
                tracing::error!(%chain, reason, "voting stopped");
            }
            Note::Speaks(epoch) => tracing::info!(%chain, %epoch, "voting goes on"),
            Note::Invalid { block, reason } => {
                self.parts.metrics.invalid.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(%chain, height = %block.height, reason, "invalid block");
            }
            Note::Withheld {
                block,
                proposer,
                reason,
            } => {
                self.parts.metrics.withheld.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(%chain, height = %block.height, %proposer, reason, "no vote for a leader");
            }
            Note::Fault(what) => tracing::warn!(%chain, what, "fault"),
            Note::Punished {
                validator,
                chain,
                epoch,
                slash,
            } => tracing::warn!(%validator, %chain, %epoch, %slash, "validator punished"),
        }
    }
}
