//! One chain of a node, as a state machine: consensus core, block tree, pools and relay together.
//!
//! [`ChainNode::step`] takes an input and pushes outputs; it has no clock, disk, socket or thread.
//! A node's runner and the simulator drive the same code: they carry out the outputs and feed the
//! results back as inputs. Reading from the chain's store is the only direct effect, since stored
//! blocks never change.
//!
//! | file | what it decides |
//! |---|---|
//! | `bounds.rs` | how much is held of what others sent, and how much may be |
//! | `blocks.rs` | which blocks are not settled yet, and their states |
//! | `jobs.rs` | pure computation that may run elsewhere |
//! | `instance.rs` | what belongs to one epoch's consensus |
//! | `epochs.rs` | how one instance follows another |
//! | `evidence.rs` | how contradictions reach the beacon |
//! | `history.rs` | whether the vote log knows what final blocks show of the own key |
//! | `consensus.rs` | what the core's outputs mean |
//! | `verify.rs` | when a block is checked, executed, acceptable |
//! | `finality.rs` | what a final block sets off |
//! | `ingress.rs` | how transactions get in |
//! | `messages.rs` | how batches and cross-links travel |
//! | `telling.rs` | what members tell each other of batches, and which leaders they do not follow |
//! | `linked.rs` | what is left to prove from once this shard is fenced |
//! | `proving.rs` | how much of what others say is checked at a time |
//! | `mute.rs` | when the own key signs nothing, since its history is not whole |
//! | `sync.rs` | how final blocks are caught up with |
//! | `throttle.rs` | how big blocks may be on this machine now |

mod blocks;
pub mod bounds;
pub(crate) mod cache;
mod consensus;
mod epochs;
mod evidence;
mod finality;
mod history;
mod ingress;
mod instance;
pub mod jobs;
mod linked;
mod messages;
mod mute;
pub mod proving;
mod sync;
mod telling;
mod throttle;
mod verify;

use crate::beacon::{
    Archive, BeaconFeed, BeaconFinal, BeaconPoint, FEED_LENGTH, LinkPool, ReadyPool,
};
use crate::committees::Committees;
use crate::evidence::EvidencePool;
use crate::mempool::{Mempool, MempoolLimits};
use crate::relay::InboundPool;
use crate::snapshot::check::Checkpoint;
use crate::view::{ExecutedBlock, SubmitError};
use crate::votes::key::KeyRecords;
use blocks::{BlockTree, Root};
use evidence::Accuser;
use instance::{Beginning, Instance};
use jobs::{Done, Executed, Incoming, Job, Shared};
use skerry_consensus::config::Parent;
use skerry_consensus::input::Input as Core;
use skerry_consensus::log::VoteRecord;
use skerry_consensus::output::To;
use skerry_consensus::replica::Replica;
use skerry_consensus::status::{Status, Tally};
use skerry_network::Misbehaviour;
use skerry_storage::{ChainStore, EpochRow, StateTree};
use skerry_types::amount::Amount;
use skerry_types::beacon::{CrossLink, Ready};
use skerry_types::block::{BlockRef, Header, Report};
use skerry_types::certificate::Certificate;
use skerry_types::committee::{Committee, genesis_digest};
use skerry_types::crypto::bls::{PublicKey, SecretKey};
use skerry_types::evidence::Evidence;
use skerry_types::genesis::Genesis;
use skerry_types::ids::{
    ChainRef, Digest, Epoch, Height, LogPosition, MemberIndex, TimeMs, ValidatorId, View,
};
use skerry_types::transaction::CheckedTransaction;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Bytes that are sent to any number of peers without copies.
pub type Payload = Arc<[u8]>;

/// A peer, by the number that the driver gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Peer(pub u32);

/// What a chain is given at its start.
pub struct Setup {
    /// The chain.
    pub chain: ChainRef,
    /// What the network started from.
    pub genesis: Arc<Genesis>,
    /// What jobs share: committees, scheme, parameters.
    pub shared: Arc<Shared>,
    /// Blocks and receipts.
    pub store: Arc<ChainStore>,
    /// The node's vote key; a follower has none.
    pub secret: Option<SecretKey>,
    /// This chain's records of the vote log, and those of the key, in order.
    pub log: Vec<VoteRecord>,
    /// Bounds of the mempool.
    pub mempool: MempoolLimits,
    /// Shards: what is known of the beacon at start (see [`beacon_points`]).
    pub beacon: Option<BeaconFeed>,
    /// The beacon: an epoch that the operator vouches for; it goes past it by no other seal.
    pub checkpoint: Option<Checkpoint>,
}

/// What happens to a chain.
pub enum Input {
    /// Time passed.
    Tick,
    /// A peer that follows this chain or another that matters to it connected.
    PeerUp {
        /// The peer.
        peer: Peer,
        /// The vote key that it proved to hold; none for a follower.
        key: Option<PublicKey>,
        /// The chains it follows.
        chains: Vec<ChainRef>,
    },
    /// A peer is gone.
    PeerDown(Peer),
    /// A frame for this chain.
    Frame {
        /// From whom.
        peer: Peer,
        /// The epoch whose consensus it belongs to; zero where it belongs to none.
        epoch: Epoch,
        /// Its kind.
        kind: u8,
        /// Its content.
        payload: Payload,
    },
    /// Gossip of this chain's topic.
    Gossip(Payload),
    /// An epoch's records of the vote log up to this position are durable.
    Durable {
        /// The epoch.
        epoch: Epoch,
        /// Position within this chain and epoch.
        position: LogPosition,
    },
    /// A job is done.
    Done(Done),
    /// A block's bytes are durable.
    Stored(Digest),
    /// The node's beacon chain has a new final block (shards only).
    Beacon(BeaconFinal),
    /// A verified final header of a shard (beacon only).
    Link(Arc<CrossLink>),
    /// This validator can take a seat of some chain that it was dealt (beacon only).
    Ready(Ready),
    /// Evidence that another chain of this node has verified (beacon only).
    Evidence(Arc<Evidence>),
    /// Evidence that another chain of this node heard of (beacon only).
    Claim(Arc<Evidence>),
    /// Transactions from this node's own API.
    Submit {
        /// Names the submission in [`Output::Submitted`].
        tag: u64,
        /// What to take.
        transactions: Vec<Arc<CheckedTransaction>>,
    },
    /// Another chain of this node has noticed, at this time, that the history of the vote key is
    /// not whole.
    Lost(TimeMs),
    /// The disk failed: vote no more.
    DiskFailed(String),
}

/// What a chain asks for, to be carried out in order.
pub enum Output {
    /// Append to the vote log; answer [`Input::Durable`] once it is synced.
    Persist {
        /// The epoch that it belongs to.
        epoch: Epoch,
        /// Position within this chain and epoch; zero for what is of the key.
        position: LogPosition,
        /// The record's bytes.
        record: Vec<u8>,
    },
    /// Send a frame.
    Send {
        /// To whom.
        peer: Peer,
        /// The chain that the frame is for; another than this one for relayed batches.
        chain: ChainRef,
        /// The epoch whose consensus it belongs to; zero where it belongs to none.
        epoch: Epoch,
        /// Its kind.
        kind: u8,
        /// Its content.
        payload: Payload,
        /// What must be durable in the vote log; already so when this is put out. For checking.
        after: LogPosition,
    },
    /// A batch for another chain, which this node may itself follow.
    Local {
        /// The destination.
        chain: ChainRef,
        /// The content of a batch frame.
        payload: Payload,
    },
    /// Publish on a chain's gossip topic: this chain's, or the beacon's.
    Publish {
        /// The topic.
        topic: ChainRef,
        /// The content.
        payload: Payload,
    },
    /// Compute; answer [`Input::Done`].
    Work(Job),
    /// Make a block's bytes durable; answer [`Input::Stored`].
    Store {
        /// Digest of the header.
        digest: Digest,
        /// The header.
        header: Arc<Header>,
        /// Canonical bytes of the body.
        body: Arc<[u8]>,
    },
    /// Record finality, and states whose report is final, in one step.
    Commit(CommitRequest),
    /// A final header reports a state that is this node's own: those that join may begin from it.
    Reported(Box<Reported>),
    /// For the node's shards: a new final beacon block.
    Beacon(BeaconFinal),
    /// For the node's beacon: a final header of this shard.
    Link(Arc<CrossLink>),
    /// For the node's beacon: this validator holds the chain's state.
    Ready(Ready),
    /// For the node's beacon: members contradicted themselves; verified.
    Evidence(Arc<Evidence>),
    /// For the node's beacon: the chain may have forked; to be verified.
    Claim(Arc<Evidence>),
    /// A peer has sent what no honest one sends: its reputation falls.
    Misbehaved {
        /// The peer.
        peer: Peer,
        /// What it did.
        how: Misbehaviour,
    },
    /// For the node's other chains: at this time it was noticed that the history of the vote key is
    /// not whole.
    Lost(TimeMs),
    /// Readers see a new state of the chain.
    Snapshot,
    /// Readers see a final, executed block, and can ask for proofs against the state after it.
    Block {
        /// The block.
        block: Box<ExecutedBlock>,
        /// The state after it.
        state: StateTree,
    },
    /// Transactions are in the mempool.
    Received(Vec<Digest>),
    /// Transactions are in a notarized block.
    Included(BlockRef, Vec<Digest>),
    /// Transactions left without being included.
    Dropped(Vec<Digest>),
    /// A block was abandoned.
    Abandoned(Digest),
    /// Answers [`Input::Submit`].
    Submitted {
        /// The submission.
        tag: u64,
        /// One result for each transaction.
        results: Vec<Result<Digest, SubmitError>>,
    },
    /// Something for the log of the node.
    Note(Note),
}

/// Something for the log of the node.
#[derive(Debug, Clone)]
pub enum Note {
    /// This node votes no more on the chain; for the operator.
    Stopped(String),
    /// The history of the vote key is not whole, so it signs nothing for now; why, and until when.
    Mute(String),
    /// The key may sign again, since a block of this epoch is final.
    Speaks(Epoch),
    /// A proposal broke a rule.
    Invalid {
        /// The block.
        block: BlockRef,
        /// The rule.
        reason: String,
    },
    /// A proposal is valid, and this node does not vote for it.
    Withheld {
        /// The block.
        block: BlockRef,
        /// Who proposed it.
        proposer: MemberIndex,
        /// What its leader should have done.
        reason: String,
    },
    /// A member broke a rule.
    Fault(String),
    /// A final beacon block punishes a validator.
    Punished {
        /// Whom.
        validator: ValidatorId,
        /// On which chain it contradicted itself.
        chain: ChainRef,
        /// In which epoch.
        epoch: Epoch,
        /// What that cost, in base units of `sker`.
        slash: Amount,
    },
}

/// A state, and the final header that reports it.
pub struct Reported {
    /// What the execution of the block gave.
    pub executed: Arc<Executed>,
    /// The header.
    pub header: Header,
    /// Headers after it up to the certified one; empty when the certificate is its own.
    pub path: Vec<Header>,
    /// The finalization.
    pub certificate: Certificate,
}

/// What one commit records.
#[derive(Default)]
pub struct CommitRequest {
    /// Newly final blocks, in order, with their own finalization where there is one.
    pub finalized: Vec<(BlockRef, Option<Certificate>)>,
    /// Executed blocks whose result a final header reports, in order.
    pub states: Vec<Arc<Executed>>,
    /// The epoch that begins.
    pub epoch: Option<Box<EpochRow>>,
    /// The link of a final seal.
    pub seal: Option<Box<CrossLink>>,
}

pub(crate) struct PeerState {
    pub(crate) key: Option<PublicKey>,
    pub(crate) chains: Vec<ChainRef>,
    pub(crate) finalized: Height,
    /// When all that it was given of final blocks is paid for.
    pub(crate) served_until: TimeMs,
}

struct Building {
    view: View,
    parent: Box<Parent>,
    idle_only: bool,
    since: TimeMs,
    again_at: TimeMs,
}

/// One chain of a node.
pub struct ChainNode {
    chain: ChainRef,
    shared: Arc<Shared>,
    store: Arc<ChainStore>,
    instance: Instance,
    /// The instance before it, for members that have not seen its seal final.
    sealed: Option<Instance>,
    /// The node's vote key.
    secret: Option<SecretKey>,
    /// Records of the vote log that belong to later instances, or say that there are some.
    log: Vec<VoteRecord>,
    /// Frames of an instance that has not begun here.
    early: epochs::Early,
    /// The committee that a peer names as next; believed when a seal does.
    offered: Option<Committee>,
    /// An epoch that the operator vouches for (beacon only).
    checkpoint: Option<Checkpoint>,
    /// The newest seal that was offered to the beacon.
    linked_seal: Option<Digest>,
    /// When the beacon was last reminded of what it has not linked.
    reminded_at: TimeMs,
    /// What newcomers to committees say (beacon only).
    ready: ReadyPool,
    /// What is to be punished (beacon only).
    evidence: EvidencePool,
    /// Evidence on its way into the pool.
    accusations: evidence::Accusations,
    /// When the own word was given, and for which epoch.
    readied: Option<(Epoch, TimeMs)>,
    /// The committees of all chains, for what comes from there.
    committees: Arc<Committees>,
    tree: BlockTree,
    genesis_report: Report,
    genesis_facts_root: Digest,
    feed: Option<BeaconFeed>,
    links: LinkPool,
    inbound: InboundPool,
    /// When the committee is told again of all batches that wait, if any do.
    tell_again_at: Option<TimeMs>,
    /// What is being checked of what others say.
    proving: proving::Proving,
    mempool: Mempool,
    cache: cache::SignatureCache,
    last_reported: Height,
    reporter: Option<linked::Provable>,
    /// What is left to prove from once this shard is fenced.
    linked: linked::Linked,
    peers: BTreeMap<Peer, PeerState>,
    submissions: BTreeMap<u64, Option<u64>>,
    next_tag: u64,
    /// Transactions whose signatures are being checked: of clients, of members.
    checking: ingress::Checking,
    rebroadcast: ingress::Rebroadcast,
    commit: finality::CommitQueue,
    sync: sync::Sync,
    stopped: Option<String>,
    mute: mute::Mute,
    /// Which of the own votes the log must know.
    known_votes: history::KnownVotes,
    last_working_time: TimeMs,
    snapshot_due: bool,
    now: TimeMs,
    /// Until when consensus waits for a quorum to be connected; over once it has begun.
    begin_at: Option<TimeMs>,
    throttle: throttle::Throttle,
}

/// Longest wait for a quorum before consensus begins.
const BEGIN_MS: u64 = 1_000;

impl ChainNode {
    /// Puts a chain together from its store, as it was left.
    ///
    /// # Errors
    /// When the store cannot be read, or does not agree with itself or with the vote log.
    pub fn new(setup: Setup, now: TimeMs) -> Result<Self, crate::error::NodeError> {
        let Setup {
            chain,
            genesis,
            shared,
            store,
            secret,
            log,
            mempool,
            beacon,
            checkpoint,
        } = setup;
        let (start, genesis_executed) = finality::load_root(&store, &genesis, chain)?;
        let newest = start.newest.as_ref();
        let (place, opened) = epochs::places(&store, &shared, &genesis, chain, newest)?;
        let mut committees = Committees::clone(&shared.committees);
        for place in opened.iter().chain([&place]) {
            committees.insert(place.committee.clone());
        }
        if chain.is_beacon() {
            let epoch = place.committee.instance().epoch;
            let root = start.root.header.as_ref();
            let executed = root.map_or(Epoch::ZERO, |header| header.epoch);
            for committee in epochs::earlier(&store, &shared, chain, (executed, epoch))? {
                committees.insert(committee);
            }
            let state = &start.root.executed.state;
            committees.advance(state, &shared.network, &*shared.scheme);
        }
        let genesis_report = Report {
            block: genesis_executed.block,
            result: genesis_executed.result,
        };
        let genesis_facts_root = genesis_executed
            .facts
            .as_ref()
            .map_or(Digest::ZERO, |facts| facts.root());
        let mut tree = BlockTree::new(start.root.clone(), None);
        for (header, body) in &start.blocks {
            tree.insert(header.digest(), header.clone(), body.clone(), now);
            if let Some(entry) = tree.get_mut(&header.digest()) {
                entry.stored = true;
            }
        }
        for block in &start.finalized {
            tree.finalize(*block, None);
        }
        if let Some((header, certificate)) = &start.newest {
            tree.finalize(header.block_ref(), Some(certificate.clone()));
        }
        let final_height = tree.final_block().height;
        let newest = start.newest.as_ref().map(|(header, _)| header);
        let mut mute = mute::Mute::restore(&KeyRecords::of(&log), chain, newest);
        let known_votes = history::KnownVotes::of(&log, chain);
        mute.suspect(secret.as_ref().and_then(|secret| {
            let own = (&*place.committee, &secret.public_key());
            known_votes.find_stored(&store, own, &*shared.scheme)
        }));
        let begin = |place: epochs::Place| {
            let epoch = place.committee.instance().epoch;
            let blocks = start.blocks.iter().map(|(header, _)| header);
            let blocks = blocks.filter(|it| it.height > final_height && it.epoch == epoch);
            Instance::new(Beginning {
                committee: place.committee,
                secret: secret.clone(),
                scheme: shared.scheme.clone(),
                delta_ms: shared.network.parameters.delta_ms,
                genesis: place.genesis,
                root: place.root,
                blocks: blocks.cloned().collect(),
                log: &log,
                voice: mute.voice(),
            })
        };
        let (instance, sealed) = match opened {
            None => (begin(place)?, None),
            Some(opened) => (begin(opened)?, Some(begin(place)?)),
        };
        let mut node = Self {
            chain,
            store,
            instance,
            sealed,
            secret,
            log,
            early: epochs::Early::default(),
            offered: None,
            checkpoint,
            linked_seal: None,
            reminded_at: now,
            ready: ReadyPool::default(),
            readied: None,
            evidence: EvidencePool::default(),
            accusations: evidence::Accusations::default(),
            committees: Arc::new(committees),
            tree,
            genesis_report,
            genesis_facts_root,
            feed: beacon,
            links: LinkPool::default(),
            inbound: InboundPool::new(shared.network.parameters.delta_ms),
            tell_again_at: None,
            proving: proving::Proving::default(),
            mempool: Mempool::new(mempool),
            cache: cache::SignatureCache::default(),
            last_reported: start.state_at,
            reporter: None,
            linked: linked::Linked::default(),
            peers: BTreeMap::new(),
            submissions: BTreeMap::new(),
            next_tag: 0,
            checking: ingress::Checking::default(),
            rebroadcast: ingress::Rebroadcast::default(),
            commit: finality::CommitQueue::new(start.state_at),
            sync: sync::Sync::new(now),
            stopped: None,
            mute,
            known_votes,
            last_working_time: TimeMs::ZERO,
            snapshot_due: true,
            now,
            begin_at: Some(now.saturating_add(BEGIN_MS)),
            throttle: throttle::Throttle::new(shared.network.parameters.delta_ms),
            shared,
        };
        node.commit.resume(&node.tree);
        node.reload_bodies();
        Ok(node)
    }

    /// The genesis result of the chain; what its first block reports.
    pub fn genesis_report(&self) -> Report {
        self.genesis_report
    }

    /// The chain.
    pub fn chain(&self) -> ChainRef {
        self.chain
    }

    /// Takes one input.
    pub fn step(&mut self, now: TimeMs, input: Input, out: &mut Vec<Output>) {
        self.now = self.now.max(now);
        match input {
            Input::Tick => self.instance.inputs.push_back(Core::Tick),
            Input::PeerUp { peer, key, chains } => self.on_peer_up(peer, key, chains, out),
            Input::PeerDown(peer) => {
                self.peers.remove(&peer);
                self.sync.on_peer_down(peer);
                self.inbound.forget(peer);
                self.snapshot_due = true;
            }
            Input::Frame {
                peer,
                epoch,
                kind,
                payload,
            } => self.on_frame(peer, (epoch, kind), &payload, out),
            Input::Gossip(payload) => self.on_gossip(&payload, out),
            Input::Durable { epoch, position } => {
                if let Some(instance) = self.instance_of(epoch) {
                    instance.on_durable(position);
                    self.release_held(out);
                }
            }
            Input::Done(done) => self.on_done(done, out),
            Input::Stored(digest) => self.on_stored(digest),
            Input::Beacon(block) => self.on_beacon(block),
            Input::Link(link) => self.links.insert_own(link),
            Input::Ready(ready) => self.on_own_ready(ready, out),
            Input::Evidence(evidence) => self.on_own_evidence(evidence, out),
            Input::Claim(evidence) => self.on_claim(Accuser::Rumour, evidence, out),
            Input::Submit { tag, transactions } => {
                let incoming = transactions.into_iter().map(Incoming::Decoded);
                self.on_submit(Some(tag), incoming.collect(), out);
            }
            Input::Lost(at) => self.on_lost(at, out),
            Input::DiskFailed(reason) => {
                self.stop(
                    format!("the disk failed: {reason}; restart after repair"),
                    out,
                );
            }
        }
        self.advance(out);
    }

    /// When [`Input::Tick`] is due at the latest.
    pub fn deadline(&self) -> Option<TimeMs> {
        if self.begin_at.is_some() {
            return self.begin_at;
        }
        [
            self.instance.replica.as_ref().and_then(Replica::deadline),
            self.build_deadline(),
            // Who has no seat includes nothing, and asks for nothing.
            self.instance
                .voter
                .as_ref()
                .and_then(|_| self.inbound.deadline()),
            self.tell_again_deadline(),
            Some(self.sync.deadline()),
            self.rebroadcast_deadline(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Everything that an input may have made possible, until nothing more is.
    fn advance(&mut self, out: &mut Vec<Output>) {
        if !self.begins() {
            return;
        }
        loop {
            self.run_replica(out);
            self.dispatch_validation(out);
            self.dispatch_execution(out);
            self.judge_notarized(out);
            self.answer_verifications(out);
            self.advance_final(out);
            self.open_next(out);
            self.mind_the_key(out);
            self.try_build(out);
            if self.instance.inputs.is_empty() {
                break;
            }
        }
        self.run_sealed(out);
        self.say_ready(out);
        self.remind_beacon(out);
        self.repeat_evidence(out);
        self.tell_batches(out);
        self.pull_batches(out);
        self.advance_sync(out);
        self.rebroadcast(out);
        if std::mem::take(&mut self.snapshot_due) {
            out.push(Output::Snapshot);
        }
    }

    /// Consensus begins when a quorum is connected, or after [`BEGIN_MS`].
    fn begins(&mut self) -> bool {
        if let Some(at) = self.begin_at {
            if self.now < at && self.connected_weight() < self.instance.committee.quorum() {
                return false;
            }
            self.begin_at = None;
            self.instance.inputs.push_front(Core::Tick);
        }
        true
    }

    /// Weight of the members that this node hears from, itself included.
    fn connected_weight(&self) -> u128 {
        self.peers
            .values()
            .filter(|peer| peer.chains.contains(&self.chain))
            .filter_map(|peer| self.instance.member(&peer.key?))
            .chain(self.instance.voter.as_ref().map(|(me, _)| *me))
            .collect::<std::collections::BTreeSet<_>>()
            .into_iter()
            .filter_map(|member| self.instance.committee.committee().member(member))
            .map(|member| u128::from(member.weight.get()))
            .sum()
    }

    /// Votes no more on this chain, but keeps following it.
    fn stop(&mut self, reason: String, out: &mut Vec<Output>) {
        if self.stopped.is_none() {
            out.push(Output::Note(Note::Stopped(reason.clone())));
            self.stopped = Some(reason);
            self.snapshot_due = true;
            self.instance.inputs.push_back(Core::StopVoting);
        }
    }

    fn report_of(&self, parent: &Digest) -> Option<(Report, Digest)> {
        if *parent == self.genesis_report.block.digest {
            return Some((self.genesis_report, self.genesis_facts_root));
        }
        self.tree
            .header(parent)
            .map(|header| (header.report, header.facts_root))
    }

    fn on_peer_up(
        &mut self,
        peer: Peer,
        key: Option<PublicKey>,
        chains: Vec<ChainRef>,
        out: &mut Vec<Output>,
    ) {
        let follows = chains.contains(&self.chain);
        self.peers.insert(
            peer,
            PeerState {
                key,
                chains,
                finalized: Height::ZERO,
                served_until: TimeMs::ZERO,
            },
        );
        if follows {
            self.send_status(peer, out);
            self.tell_peer(peer, out);
        }
        self.snapshot_due = true;
    }

    /// Sends to another member, over every connection that is known to be its.
    fn send_to(
        &self,
        instance: &Instance,
        to: To,
        kind: u8,
        payload: &Payload,
        after: LogPosition,
        out: &mut Vec<Output>,
    ) {
        let one = match to {
            To::All => None,
            To::One(member) => instance.key(member),
        };
        for (peer, state) in &self.peers {
            let Some(key) = &state.key else { continue };
            let matches = match to {
                To::All => instance.member(key).is_some(),
                To::One(_) => one.as_ref() == Some(key),
            };
            if matches && state.chains.contains(&self.chain) {
                let payload = payload.clone();
                out.push(Output::Send {
                    peer: *peer,
                    chain: self.chain,
                    epoch: instance.epoch(),
                    kind,
                    payload,
                    after,
                });
            }
        }
    }

    fn send_peer(&self, peer: Peer, kind: u8, payload: Vec<u8>, out: &mut Vec<Output>) {
        out.push(Output::Send {
            peer,
            chain: self.chain,
            epoch: Epoch::ZERO,
            kind,
            payload: payload.into(),
            after: LogPosition::ZERO,
        });
    }

    /// What readers see now.
    pub fn snapshot(&self) -> crate::view::Snapshot {
        let root = self.tree.root();
        crate::view::Snapshot {
            finalized: self
                .tree
                .final_header()
                .zip(self.tree.final_certificate())
                .map(|(header, certificate)| ((*header).clone(), certificate.clone())),
            executed: root.block,
            changed: root.executed.block,
            state: root.executed.state.clone(),
            base_fee: self.base_fee(),
            view: self.instance.view,
            mempool: self.mempool.len(),
            connected_weight: self.connected_weight(),
            epoch: self.instance.epoch(),
            quorum: self.instance.committee.quorum(),
            total_weight: self.instance.committee.committee().total_weight(),
            stopped: self.stopped.clone().or_else(|| self.mute_reason()),
        }
    }

    /// How often the replica of the present epoch took the ways that no healthy network needs.
    pub fn tally(&self) -> Tally {
        let replica = self.instance.replica.as_ref();
        replica.map(Replica::tally).unwrap_or_default()
    }

    /// The replica's own account of itself: the simulator shows it where a chain stands still.
    pub fn consensus_status(&self) -> Option<Status> {
        self.instance.replica.as_ref().map(Replica::status)
    }
}

/// The final beacon blocks that a shard can refer to at start: the beacon's start, and the newest
/// ones in its store.
///
/// # Errors
/// When the store cannot be read.
pub fn beacon_points(
    store: &ChainStore,
    start: &BeaconFinal,
) -> Result<Vec<BeaconPoint>, crate::error::NodeError> {
    let mut points = vec![BeaconPoint {
        block: start.block,
        epoch: start.epoch,
        facts_root: start.facts_root,
    }];
    let Some(newest) = store.finalized() else {
        return Ok(points);
    };
    let length = u64::try_from(FEED_LENGTH).unwrap_or(u64::MAX);
    let first = newest.height.saturating_sub(length).next();
    // Where the beacon was joined by snapshot, nothing is known of what lies below.
    let base = store.base()?.map_or(first, |base| base.block.height);
    let first = first.max(base);
    let headers = store.headers_from(first, FEED_LENGTH)?;
    points.extend(headers.iter().map(point_of));
    Ok(points)
}

fn point_of(header: &Header) -> BeaconPoint {
    BeaconPoint {
        block: header.block_ref(),
        epoch: header.epoch,
        facts_root: header.facts_root,
    }
}

/// The final beacon blocks of a store. One that cannot be read counts as absent: what refers to it is
/// not voted for.
pub fn beacon_archive(store: Arc<ChainStore>) -> Archive {
    Arc::new(move |height| {
        let header = store.header_at(height).ok().flatten();
        header.as_ref().map(point_of)
    })
}

/// The digest that stands for a chain's start.
pub(crate) fn start_of(shared: &Shared, chain: ChainRef) -> BlockRef {
    BlockRef {
        height: Height::ZERO,
        digest: genesis_digest(&shared.chain_id, chain),
    }
}

pub(crate) fn root_of(
    block: BlockRef,
    header: Option<Arc<Header>>,
    executed: Arc<Executed>,
) -> Root {
    Root {
        block,
        header,
        executed,
        entropy: Digest::ZERO,
    }
}
