//! The read side of a node: what gRPC, pages and metrics see of its chains.
//!
//! The chain threads publish snapshots here; readers never touch a chain thread's own state. A
//! snapshot is immutable and cheap to clone; a watch channel tells when there is a newer one.

mod kept;
mod route;

pub use route::{Route, Routes};

use crate::mempool::Refused;
use kept::KeptStates;
use parking_lot::{Mutex, RwLock};
use skerry_execution::error::Rejection;
use skerry_execution::network::NetworkInfo;
use skerry_execution::views;
use skerry_storage::{ChainStore, StateTree, StoreError};
use skerry_types::amount::Amount;
use skerry_types::block::{BlockRef, Header};
use skerry_types::certificate::Certificate;
use skerry_types::genesis::Genesis;
use skerry_types::ids::{Address, ChainRef, Digest, Epoch, Height, View};
use skerry_types::light::{LightProof, SealProof};
use skerry_types::lookup::Lookup;
use skerry_types::message::MessageId;
use skerry_types::receipt::{Receipt, Subject};
use skerry_types::transaction::{CheckedTransaction, TransactionError};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};

/// A chain whose newest final block is older than this by its own time has stopped, or the node is
/// still catching up. Idle chains finalize twice a second.
const FINAL_AGE_MS_MAX: u64 = 15_000;

/// What a node knows of one chain at one moment.
#[derive(Clone)]
pub struct Snapshot {
    /// Newest final header; absent before the first block.
    pub finalized: Option<(Header, Certificate)>,
    /// The newest final block that was executed; its state is `state`.
    pub executed: BlockRef,
    /// The last working block at or below `executed`: nothing changed the state since.
    pub changed: BlockRef,
    /// State after `executed`.
    pub state: StateTree,
    /// The least gas price of the next block; on the beacon, which takes no transactions, without use.
    pub base_fee: Amount,
    /// The epoch whose committee is at work.
    pub epoch: Epoch,
    /// Consensus view, 0 on a follower.
    pub view: View,
    /// Transactions waiting.
    pub mempool: usize,
    /// Members of the committee that this node hears from, itself included, by weight.
    pub connected_weight: u128,
    /// Weight of a quorum.
    pub quorum: u128,
    /// Total weight of the committee.
    pub total_weight: u128,
    /// Why this node has stopped voting on the chain, if it has.
    pub stopped: Option<String>,
}

impl Snapshot {
    /// Height of the newest final block.
    pub fn final_height(&self) -> Height {
        self.finalized
            .as_ref()
            .map_or(Height::ZERO, |(header, _)| header.height)
    }

    /// Whether a quorum of the committee's weight is connected to this node.
    pub fn has_quorum(&self) -> bool {
        self.connected_weight >= self.quorum
    }

    /// Why the chain is not in step here at `now_ms`; nothing when it is.
    pub fn trouble(&self, now_ms: u64) -> Option<String> {
        if let Some(reason) = &self.stopped {
            return Some(format!("voting stopped: {reason}"));
        }
        if !self.has_quorum() {
            return Some(format!(
                "no quorum: weight {} of {} is connected, {} is needed",
                self.connected_weight, self.total_weight, self.quorum
            ));
        }
        let Some((header, _)) = &self.finalized else {
            return Some("no block is final yet".to_owned());
        };
        let age = now_ms.saturating_sub(header.time.get());
        let seconds = age / 1000;
        (age > FINAL_AGE_MS_MAX).then(|| format!("the newest final block is {seconds} s old"))
    }
}

/// A final, executed block as subscribers and lookups see it.
#[derive(Clone)]
pub struct ExecutedBlock {
    /// Its header.
    pub header: Header,
    /// Ids of its transactions, in order.
    pub transactions: Arc<Vec<Digest>>,
    /// Receipts: of inbound messages first, then of transactions, in order.
    pub receipts: Arc<Vec<Receipt>>,
    /// Where those of its transactions go whose bundles leave home.
    pub routes: Routes,
    /// Milliseconds (node's clock) at which it was final and executed here.
    pub at_ms: u64,
}

/// Why a transaction was not taken.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SubmitError {
    /// Its bytes are not an acceptable transaction.
    #[error(transparent)]
    Transaction(#[from] TransactionError),
    /// The state does not allow it.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// The mempool does not take it.
    #[error(transparent)]
    Mempool(#[from] Refused),
    /// It is in a final block; said to members only, which do not listen.
    #[error("the transaction is in a final block")]
    Settled,
    /// The node has too much to do; try again.
    #[error("the node is busy: {0} transactions are waiting to be checked")]
    Busy(usize),
    /// No peer of the sender's home shard is connected.
    #[error("no connection to {0}, the sender's home")]
    Unreachable(ChainRef),
}

/// A request to a chain thread.
pub enum Command {
    /// Check, take and spread transactions; answers one result each.
    Submit {
        /// The transactions.
        transactions: Vec<Arc<CheckedTransaction>>,
        /// Where the results go.
        reply: oneshot::Sender<Vec<Result<Digest, SubmitError>>>,
    },
}

/// Where a transaction stands on its home chain.
#[derive(Clone, Debug)]
pub enum HomeStatus {
    /// In this node's mempool.
    Received,
    /// In a notarized block that is not final yet.
    Included {
        /// The block.
        block: BlockRef,
    },
    /// In a final block, executed.
    Final {
        /// Its height.
        height: Height,
        /// What happened.
        receipt: Receipt,
    },
}

/// How many executed blocks a view keeps for subscribers that lag and for lookups before the
/// store has them.
const RECENT_BLOCKS: usize = 512;
/// Over how many blocks their mean time is taken.
const INTERVAL_BLOCKS: usize = 16;
/// How many receipts these blocks may have in all, so that big blocks do not fill the memory.
const RECENT_RECEIPTS: usize = 32_768;

#[derive(Default)]
struct Recent {
    blocks: VecDeque<Arc<ExecutedBlock>>,
    receipts: usize,
    transactions: Lookup<Digest, (Height, usize)>,
    messages: Lookup<MessageId, (Height, usize)>,
    included: Lookup<Digest, BlockRef>,
    received: Lookup<Digest, ()>,
}

impl Recent {
    fn block(&self, height: Height) -> Option<Arc<ExecutedBlock>> {
        let first = self.blocks.front()?.header.height;
        let offset = usize::try_from(height.get().checked_sub(first.get())?).ok()?;
        self.blocks
            .get(offset)
            .filter(|block| block.header.height == height)
            .cloned()
    }

    /// Adds a block; old ones are given up once the store has what is in them, which it has up to
    /// `committed`.
    fn add(&mut self, block: Arc<ExecutedBlock>, committed: Height) {
        let height = block.header.height;
        for (position, receipt) in block.receipts.iter().enumerate() {
            match receipt.subject {
                Subject::Transaction(id) => {
                    self.transactions.insert(id, (height, position));
                    self.included.remove(&id);
                    self.received.remove(&id);
                }
                Subject::Message { id, .. } => {
                    self.messages.insert(id, (height, position));
                }
            }
        }
        self.receipts = self.receipts.saturating_add(block.receipts.len());
        self.blocks.push_back(block);
        while self.blocks.len() > RECENT_BLOCKS || self.receipts > RECENT_RECEIPTS {
            let stored = |old: &Arc<ExecutedBlock>| old.header.height <= committed;
            if !self.blocks.front().is_some_and(stored) {
                break;
            }
            let Some(old) = self.blocks.pop_front() else {
                break;
            };
            self.receipts = self.receipts.saturating_sub(old.receipts.len());
            for receipt in old.receipts.iter() {
                match receipt.subject {
                    Subject::Transaction(id) => {
                        self.transactions.remove(&id);
                    }
                    Subject::Message { id, .. } => {
                        self.messages.remove(&id);
                    }
                }
            }
        }
    }
}

/// One chain, as readers see it.
pub struct ChainView {
    /// The chain.
    pub chain: ChainRef,
    /// Blocks, receipts and indexes on disk.
    pub store: Arc<ChainStore>,
    snapshot: RwLock<Arc<Snapshot>>,
    recent: RwLock<Recent>,
    changed: watch::Sender<u64>,
    commands: mpsc::Sender<Command>,
    states: Mutex<KeptStates>,
}

impl ChainView {
    /// A view that begins with `snapshot`.
    pub fn new(
        chain: ChainRef,
        store: Arc<ChainStore>,
        snapshot: Snapshot,
        commands: mpsc::Sender<Command>,
    ) -> Self {
        let states = KeptStates::new(snapshot.executed.height, snapshot.state.clone());
        Self {
            chain,
            store,
            snapshot: RwLock::new(Arc::new(snapshot)),
            recent: RwLock::default(),
            changed: watch::channel(0).0,
            commands,
            states: Mutex::new(states),
        }
    }

    /// The newest snapshot.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.read().clone()
    }

    /// Changes whenever anything here does: a new snapshot, or transactions included or received.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Where requests to the chain thread go.
    pub fn commands(&self) -> &mpsc::Sender<Command> {
        &self.commands
    }

    /// Replaces the snapshot.
    pub fn publish(&self, snapshot: Snapshot) {
        *self.snapshot.write() = Arc::new(snapshot);
        self.notify();
    }

    /// Adds a final, executed block, with the state after it.
    pub fn publish_block(&self, block: ExecutedBlock, state: &StateTree) {
        let header = &block.header;
        let attested = match self.chain {
            // The proofs of a beacon state start from the newest final header.
            ChainRef::Beacon => Some(header.report.block.height),
            shard => views::imported_record(state, shard, shard).map(|own| own.reported.height),
        };
        {
            let mut states = self.states.lock();
            states.add(header.height, state);
            states.prune(attested.unwrap_or(Height::ZERO));
        }
        let committed = self.store.stats().state_at;
        self.recent.write().add(Arc::new(block), committed);
        self.notify();
    }

    /// Notes transactions taken into the mempool.
    pub fn note_received(&self, ids: &[Digest]) {
        let mut recent = self.recent.write();
        for id in ids {
            recent.received.insert(*id, ());
        }
        drop(recent);
        self.notify();
    }

    /// Notes transactions that left the mempool without having been included.
    pub fn note_dropped(&self, ids: &[Digest]) {
        let mut recent = self.recent.write();
        for id in ids {
            recent.received.remove(id);
            recent.included.remove(id);
        }
        drop(recent);
        self.notify();
    }

    /// Notes transactions of a notarized block.
    pub fn note_included(&self, block: BlockRef, ids: &[Digest]) {
        let mut recent = self.recent.write();
        for id in ids {
            recent.included.insert(*id, block);
        }
        drop(recent);
        self.notify();
    }

    /// Notes that a notarized block was abandoned.
    pub fn note_abandoned(&self, block: &Digest) {
        self.recent
            .write()
            .included
            .retain(|_, included| included.digest != *block);
        self.notify();
    }

    fn notify(&self) {
        self.changed
            .send_modify(|version| *version = version.wrapping_add(1));
    }

    /// A recent final block, executed.
    pub fn recent_block(&self, height: Height) -> Option<Arc<ExecutedBlock>> {
        self.recent.read().block(height)
    }

    /// The mean time from one of the newest final blocks to the next; `None` before there are some.
    pub fn block_interval(&self) -> Option<Duration> {
        let recent = self.recent.read();
        let mut newest = recent.blocks.iter().rev().take(INTERVAL_BLOCKS);
        let last = &newest.next()?.header;
        let first = &newest.next_back()?.header;
        let blocks = last.height.above(first.height);
        let passed = last.time.get().saturating_sub(first.time.get());
        passed.checked_div(blocks).map(Duration::from_millis)
    }

    /// Whether a transaction waits, is included or became final lately: what is known without the
    /// disk.
    fn is_recent(&self, id: &Digest) -> bool {
        let recent = self.recent.read();
        recent.received.contains_key(id)
            || recent.included.contains_key(id)
            || recent.transactions.contains_key(id)
    }

    /// Where a transaction stands.
    pub fn transaction(&self, id: &Digest) -> Option<HomeStatus> {
        {
            let recent = self.recent.read();
            if let Some((height, position)) = recent.transactions.get(id) {
                let block = recent.block(*height)?;
                let receipt = block.receipts.get(*position)?.clone();
                return Some(HomeStatus::Final {
                    height: *height,
                    receipt,
                });
            }
            if let Some(block) = recent.included.get(id) {
                return Some(HomeStatus::Included { block: *block });
            }
            if recent.received.contains_key(id) {
                return Some(HomeStatus::Received);
            }
        }
        let location = self.store.transaction_location(id).ok().flatten()?;
        let receipt = self.store.receipt(location).ok().flatten()?;
        Some(HomeStatus::Final {
            height: location.height,
            receipt,
        })
    }

    /// What happened to a message here: height and receipt.
    pub fn message(&self, id: &MessageId) -> Option<(Height, Receipt)> {
        {
            let recent = self.recent.read();
            if let Some((height, position)) = recent.messages.get(id) {
                let block = recent.block(*height)?;
                return Some((*height, block.receipts.get(*position)?.clone()));
            }
        }
        let location = self.store.message_location(id).ok().flatten()?;
        Some((
            location.height,
            self.store.receipt(location).ok().flatten()?,
        ))
    }

    /// The state of a recent final height whose root is `root`.
    pub fn state_with_root(&self, root: &Digest) -> Option<StateTree> {
        self.states.lock().with_root(root)
    }
}

/// A node, as readers see it.
pub struct NodeView {
    /// What the network started from.
    pub genesis: Arc<Genesis>,
    /// What of it execution needs.
    pub info: Arc<NetworkInfo>,
    /// Its id.
    pub chain_id: Digest,
    /// For people: the node's name.
    pub name: String,
    /// The chains that this node follows.
    pub chains: BTreeMap<ChainRef, Arc<ChainView>>,
    /// Connected peers, kept by the node's router.
    pub peers: Arc<RwLock<Vec<PeerSummary>>>,
    /// Sends transactions to peers of a chain that this node does not follow.
    pub forward: Arc<dyn Fn(ChainRef, Vec<Arc<[u8]>>) -> bool + Send + Sync>,
}

/// A connected peer, for people.
#[derive(Clone, Debug)]
pub struct PeerSummary {
    /// Its network id.
    pub id: String,
    /// Which validator it is, if one.
    pub validator: Option<String>,
    /// The chains it follows.
    pub chains: Vec<ChainRef>,
}

/// Why a proof cannot be given now.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ProofUnavailable {
    /// The node follows neither the beacon nor the owner's shard.
    #[error("this node does not follow {0}")]
    NotFollowed(ChainRef),
    /// The beacon has not yet attested a state that this node holds.
    #[error("the beacon has not attested height {wanted} of {chain} yet")]
    NotAttested {
        /// The owner's shard.
        chain: ChainRef,
        /// The height wanted.
        wanted: Height,
    },
}

impl NodeView {
    /// The chain that an owner lives on.
    pub fn home(&self, owner: &Address) -> ChainRef {
        self.genesis.home(owner)
    }

    /// The view of a chain, if this node follows it.
    pub fn chain(&self, chain: ChainRef) -> Option<&Arc<ChainView>> {
        self.chains.get(&chain)
    }

    /// Hands transactions to their home chains; one result each, in order.
    pub async fn submit(
        &self,
        transactions: Vec<Arc<CheckedTransaction>>,
    ) -> Vec<Result<Digest, SubmitError>> {
        let count = transactions.len();
        let mut by_chain: BTreeMap<ChainRef, Vec<(usize, Arc<CheckedTransaction>)>> =
            BTreeMap::new();
        for (position, transaction) in transactions.into_iter().enumerate() {
            let home = self.home(&transaction.body().sender);
            let of_chain = by_chain.entry(home).or_default();
            of_chain.push((position, transaction));
        }
        let mut results = vec![Err(SubmitError::Busy(0)); count];
        for (chain, items) in by_chain {
            let (positions, transactions): (Vec<usize>, Vec<_>) = items.into_iter().unzip();
            let answers = match self.chains.get(&chain) {
                Some(view) => submit_to(view, transactions).await,
                None => self.forward_to(chain, &transactions),
            };
            for (position, answer) in positions.into_iter().zip(answers) {
                if let Some(slot) = results.get_mut(position) {
                    *slot = answer;
                }
            }
        }
        results
    }

    fn forward_to(
        &self,
        chain: ChainRef,
        transactions: &[Arc<CheckedTransaction>],
    ) -> Vec<Result<Digest, SubmitError>> {
        let wires = transactions.iter().map(|it| it.wire().clone());
        let is_sent = (self.forward)(chain, wires.collect());
        let answer = |it: &Arc<CheckedTransaction>| {
            let sent = is_sent.then(|| it.id());
            sent.ok_or(SubmitError::Unreachable(chain))
        };
        transactions.iter().map(answer).collect()
    }

    /// Whether a transaction waits, is included or became final lately on a followed chain.
    pub fn is_recent(&self, id: &Digest) -> bool {
        self.chains.values().any(|view| view.is_recent(id))
    }

    /// Where a transaction stands, on whichever followed chain knows it.
    pub fn transaction(&self, id: &Digest) -> Option<(ChainRef, HomeStatus)> {
        self.chains
            .values()
            .find_map(|view| Some((view.chain, view.transaction(id)?)))
    }

    /// The seals of consecutive epochs of the beacon from `from` on, with the committees that they
    /// name, at most `limit`.
    ///
    /// # Errors
    /// When the beacon's store cannot be read.
    pub fn seals(&self, from: Epoch, limit: usize) -> Result<Vec<SealProof>, StoreError> {
        match self.chain(ChainRef::Beacon) {
            Some(beacon) => seals_of(&beacon.store, from, limit),
            None => Ok(Vec::new()),
        }
    }

    /// A light proof of all records of `owner`, at the newest state that the beacon attested, which
    /// must be at least `at_least`.
    ///
    /// # Errors
    /// When the node lacks a chain, or the beacon has not come that far.
    pub fn proof(&self, owner: &Address, at_least: Height) -> Result<LightProof, ProofUnavailable> {
        let home = self.home(owner);
        let shard = self
            .chain(home)
            .ok_or(ProofUnavailable::NotFollowed(home))?;
        let beacon = self
            .chain(ChainRef::Beacon)
            .ok_or(ProofUnavailable::NotFollowed(ChainRef::Beacon))?;
        let missing = || ProofUnavailable::NotAttested {
            chain: home,
            wanted: at_least,
        };
        let (beacon_header, beacon_certificate) =
            beacon.snapshot().finalized.clone().ok_or_else(missing)?;
        let beacon_state = beacon
            .state_with_root(&beacon_header.report.result.state_root)
            .ok_or_else(missing)?;
        let record = views::shard_record(&beacon_state, home).ok_or_else(missing)?;
        let snapshot = shard.snapshot();
        // Idle blocks are not attested, and change nothing.
        let needed = if snapshot.executed.height >= at_least {
            at_least.min(snapshot.changed.height)
        } else {
            at_least
        };
        if record.reported.height < needed {
            return Err(missing());
        }
        let state = shard
            .state_with_root(&record.state_root)
            .ok_or_else(missing)?;
        Ok(LightProof {
            version: skerry_types::codec::Version,
            beacon_header,
            beacon_certificate,
            shard_record: beacon_state.prove_key(&views::shard_record_key(home)),
            owner: state.prove_owner(owner),
        })
    }
}

/// The seals of consecutive epochs in a store of the beacon from `from` on, with the committees that
/// they name, at most `limit`.
///
/// # Errors
/// When the store cannot be read.
pub fn seals_of(
    beacon: &ChainStore,
    from: Epoch,
    limit: usize,
) -> Result<Vec<SealProof>, StoreError> {
    let mut seals = Vec::new();
    let mut next = from.next();
    while seals.len() < limit
        && let Some(seal) = opening_seal(beacon, next)?
    {
        seals.push(seal);
        next = next.next();
    }
    Ok(seals)
}

/// The seal that opened an epoch, in a store of the beacon, with the committee that it names; none
/// where the store does not hold it.
///
/// # Errors
/// When the store cannot be read.
pub fn opening_seal(beacon: &ChainStore, epoch: Epoch) -> Result<Option<SealProof>, StoreError> {
    let Some(row) = beacon.epoch(epoch)? else {
        return Ok(None);
    };
    let header = beacon.header(&row.seal.digest)?;
    let certificate = beacon.certificate_at(row.seal.height)?;
    Ok(header
        .zip(certificate)
        .map(|(header, certificate)| SealProof {
            version: skerry_types::codec::Version,
            header,
            certificate,
            committee: row.committee,
        }))
}

async fn submit_to(
    view: &ChainView,
    transactions: Vec<Arc<CheckedTransaction>>,
) -> Vec<Result<Digest, SubmitError>> {
    let count = transactions.len();
    let (reply, answer) = oneshot::channel();
    let command = Command::Submit {
        transactions,
        reply,
    };
    if view.commands.try_send(command).is_err() {
        return vec![Err(SubmitError::Busy(view.commands.max_capacity())); count];
    }
    match answer.await {
        Ok(results) => results,
        Err(_) => vec![Err(SubmitError::Busy(count)); count],
    }
}
