//! What a chain is, and does, from its genesis on: one pass over its heights that decides which
//! block each copy must hold, checks how the blocks hang together, executes them with the node's
//! own jobs, and compares every copy as it goes.

use super::Findings;
use super::copies::{ChainCopy, KnownCertificates};
use super::views::{EpochReport, Step, ViewCount};
use crate::chain::cache::SignatureCache;
use crate::chain::jobs::{Done, ExecuteJob, Executed, Job, Shared, ValidateJob, Work};
use crate::committees::Committees;
use crate::error::NodeError;
use skerry_execution::block::{BlockContext, fold_reveal};
use skerry_execution::supply::{Sums, check_records, count_batches};
use skerry_execution::validate::CheckedBody;
use skerry_execution::{genesis, views};
use skerry_storage::StateTree;
use skerry_types::block::{Block, BlockKind, BlockRef, ExecutionResult, Header, Report};
use skerry_types::committee::{Committee, VerifyingCommittee, genesis_digest};
use skerry_types::genesis::Genesis;
use skerry_types::ids::{ChainRef, Digest, Epoch, Height, Sequence, TimeMs, View};
use skerry_types::message::Batch;
use skerry_types::receipt::{Receipt, Status, Subject};
use skerry_types::vote::Statement;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// States that are kept, to step back to a consistent cut. Each shares all but its changes.
const STATES_KEPT: usize = 1_024;

/// A batch, as far as comparing channels needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BatchMark {
    /// Its first position.
    pub(super) first: Sequence,
    /// The position after its last.
    pub(super) end: Sequence,
    /// Its root.
    pub(super) root: Digest,
    /// The value in it; the sender's marks only.
    pub(super) value: Sums,
}

/// A chain, executed from its genesis to its newest final block.
pub(super) struct Replayed {
    pub(super) chain: ChainRef,
    pub(super) height: Height,
    pub(super) working: u64,
    pub(super) transactions: u64,
    pub(super) messages: u64,
    pub(super) certificates: u64,
    /// The newest states, oldest first, with the heights of their blocks.
    pub(super) states: VecDeque<(Height, StateTree)>,
    /// Batches sent, by destination.
    pub(super) sent: BTreeMap<ChainRef, Vec<BatchMark>>,
    /// Batches accepted, by source.
    pub(super) accepted: BTreeMap<ChainRef, Vec<BatchMark>>,
    /// What each final header shows; the start at height 0.
    shown: BTreeMap<Height, Shown>,
    /// All committees that the beacon had; the beacon's only.
    committees: Arc<Committees>,
    /// Ends of epochs.
    pub(super) seals: u64,
    /// Its epochs, with the views that brought no block.
    pub(super) epochs: Vec<EpochReport>,
}

/// A final header, as far as references to it need it.
#[derive(Clone, Copy)]
struct Shown {
    digest: Digest,
    epoch: Epoch,
    facts_root: Digest,
}

/// The block from which the next one goes on.
struct Parent {
    digest: Digest,
    time: TimeMs,
    beacon: BlockRef,
    report: Report,
    facts_root: Digest,
}

/// The last working block, executed.
struct Last {
    block: BlockRef,
    result: ExecutionResult,
    facts_root: Digest,
}

struct Replay<'a> {
    shared: &'a Shared,
    committee: Arc<VerifyingCommittee>,
    copies: &'a [&'a ChainCopy],
    beacon: Option<&'a Replayed>,
    found: &'a mut Findings,
    certificates: KnownCertificates,
    parent: Parent,
    last: Last,
    state: StateTree,
    /// Reveals since the last working block, folded.
    entropy: Digest,
    executed: BTreeSet<Digest>,
    /// Per copy, the newest block whose result one of its final headers reports.
    reported: Vec<Height>,
    /// Working blocks whose beacon reference no copy of the beacon reaches.
    unreferenced: u64,
    views: ViewCount,
    /// The first view in which the block at hand is known to have become final.
    final_view: Option<View>,
    out: Replayed,
}

/// Replays a chain and compares all its copies with it.
///
/// # Errors
/// When the genesis state cannot be made.
pub(super) fn replay(
    of: &Genesis,
    shared: &Shared,
    chain: ChainRef,
    copies: &[&ChainCopy],
    beacon: Option<&Replayed>,
    found: &mut Findings,
) -> Result<Replayed, NodeError> {
    let committee = shared
        .committees
        .of(chain, Epoch::ZERO)
        .ok_or(NodeError::UnknownChain(chain))?
        .clone();
    let made = genesis::genesis_changes(of, chain);
    let state = StateTree::empty().apply(&made.changes);
    let result = made.result(state.root());
    let facts_root = made
        .facts
        .as_ref()
        .map_or(Digest::ZERO, |facts| facts.root());
    for copy in copies {
        copy.check_genesis(&result, &state, found);
    }
    let start = BlockRef {
        height: Height::ZERO,
        digest: genesis_digest(&shared.chain_id, chain),
    };
    let beacon_start = BlockRef {
        height: Height::ZERO,
        digest: genesis_digest(&shared.chain_id, ChainRef::Beacon),
    };
    let report = Report {
        block: start,
        result,
    };
    let mut replay = Replay {
        shared,
        views: ViewCount::new(committee.committee(), of.time),
        final_view: None,
        committee,
        copies,
        beacon,
        found,
        certificates: KnownCertificates::default(),
        parent: Parent {
            digest: start.digest,
            time: TimeMs::ZERO,
            beacon: beacon_start,
            report,
            facts_root,
        },
        last: Last {
            block: start,
            result,
            facts_root,
        },
        state: state.clone(),
        entropy: Digest::ZERO,
        executed: BTreeSet::new(),
        reported: vec![Height::ZERO; copies.len()],
        unreferenced: 0,
        out: Replayed {
            chain,
            height: Height::ZERO,
            working: 0,
            transactions: 0,
            messages: 0,
            certificates: 0,
            states: VecDeque::from([(Height::ZERO, state)]),
            sent: BTreeMap::new(),
            accepted: BTreeMap::new(),
            shown: BTreeMap::from([(
                Height::ZERO,
                Shown {
                    digest: start.digest,
                    epoch: Epoch::ZERO,
                    facts_root,
                },
            )]),
            committees: beacon
                .map_or_else(|| shared.committees.clone(), |it| it.committees.clone()),
            seals: 0,
            epochs: Vec::new(),
        },
    };
    let top = copies
        .iter()
        .map(|copy| copy.height())
        .max()
        .unwrap_or(Height::ZERO);
    while replay.out.height < top {
        if !replay.step(replay.out.height.next()) {
            let height = replay.out.height;
            replay.found.note(format!(
                "{chain} is judged up to height {height} of {top} only"
            ));
            break;
        }
    }
    Ok(replay.finish())
}

impl Replay<'_> {
    /// One height; false when the chain cannot be followed further.
    fn step(&mut self, height: Height) -> bool {
        let Some(digest) = self.canonical(height) else {
            return false;
        };
        let Some(block) = self.block(height, &digest) else {
            return false;
        };
        let header = &block.header;
        self.check_place(header, height, &digest);
        self.check_report(header, height);
        self.note_reported(header);
        self.views.note(Step {
            height,
            view: header.view,
            time: header.time,
            is_working: header.kind == BlockKind::Working,
        });
        if let Some(reveal) = &header.reveal {
            self.entropy = fold_reveal(&self.entropy, reveal);
        }
        if header.kind == BlockKind::Working {
            let Some(executed) = self.execute(&block, digest) else {
                return false;
            };
            self.take(&executed, header);
            self.entropy = Digest::ZERO;
            for copy in self.copies {
                copy.check_executed(&executed, self.found);
            }
        } else if !block.body.is_empty() || header.body_root != Digest::ZERO {
            self.violation("body", height, "a block of this kind has no body");
        }
        self.parent = Parent {
            digest,
            time: header.time,
            beacon: header.beacon,
            report: header.report,
            facts_root: header.facts_root,
        };
        let shown = Shown {
            digest,
            epoch: header.epoch,
            facts_root: header.facts_root,
        };
        self.out.shown.insert(height, shown);
        self.out.height = height;
        header.kind != BlockKind::Seal || self.open_next(header, digest)
    }

    /// The committee that a seal names is the one whose votes count from here on.
    fn open_next(&mut self, seal: &Header, digest: Digest) -> bool {
        let (chain, height) = (self.out.chain, seal.height);
        self.views.seal(self.final_view.unwrap_or(seal.view));
        self.out.seals = self.out.seals.saturating_add(1);
        let network = &self.shared.network;
        let expected = views::next_committee(&self.state, network, chain, seal.epoch);
        if seal.next.is_none() || seal.next != expected || seal.report.block != self.last.block {
            let detail = format!("names {:?}, the state has {expected:?}", seal.next);
            self.violation("seal", height, detail);
        }
        let Some(next) = seal.next else {
            return false;
        };
        let seated = self.out.committees.seated(chain, next.epoch);
        let opened = seated.and_then(|committee| {
            let committee = Committee::clone(committee);
            let id = self.shared.chain_id;
            VerifyingCommittee::new(committee, id, digest, &*self.shared.scheme)
        });
        let Some(opened) = opened.map(Arc::new) else {
            let detail = format!("the committee of epoch {} is not known", next.epoch);
            self.found
                .note(format!("{chain} height {height}: {detail}"));
            return false;
        };
        Arc::make_mut(&mut self.out.committees).insert(opened.clone());
        self.views.open(opened.committee());
        self.committee = opened;
        true
    }

    fn violation(&mut self, rule: &'static str, height: Height, detail: impl Into<String>) {
        let place = format!("{} height {height}", self.out.chain);
        self.found.violation(rule, place, detail);
    }

    /// The digest of the one final block at a height. Copies that differ are a fork, the worst of
    /// all; certificates tell which side, if not both, is final.
    fn canonical(&mut self, height: Height) -> Option<Digest> {
        let mut holders: BTreeMap<Digest, Vec<String>> = BTreeMap::new();
        self.final_view = None;
        for copy in self.copies.iter().filter(|copy| copy.holds(height)) {
            let Some(digest) = copy.digest_at(height, self.found) else {
                continue;
            };
            holders.entry(digest).or_default().push(copy.dir.clone());
            if let Some(certificate) = copy.certificate_at(height, self.found) {
                let committee = &self.committee;
                let scheme = &*self.shared.scheme;
                let good = self.certificates.check(&certificate, || {
                    certificate.verify(committee, scheme).is_ok()
                });
                let finalizes = matches!(
                    certificate.statement,
                    Statement::Finalize { digest: of, .. } if of == digest
                );
                if good && finalizes {
                    let view = certificate.view();
                    self.final_view = Some(self.final_view.map_or(view, |first| first.min(view)));
                } else {
                    let detail = format!("the certificate of block {height} is not valid for it");
                    self.found.violation("finality", copy, detail);
                }
            }
        }
        if holders.len() > 1 {
            let detail: Vec<String> = holders
                .iter()
                .map(|(digest, dirs)| format!("{digest} in {}", dirs.join(", ")))
                .collect();
            self.violation("one final block at a height", height, detail.join("; "));
            return None;
        }
        holders.pop_first().map(|(digest, _)| digest)
    }

    /// The block's bytes, from the first copy that has them; every holder must have the same.
    fn block(&mut self, height: Height, digest: &Digest) -> Option<Block> {
        let mut first: Option<Block> = None;
        for copy in self.copies.iter().filter(|copy| copy.holds_body(height)) {
            let Some(stored) = self.found.read(copy, copy.store.block(digest)) else {
                continue;
            };
            match (&first, stored) {
                (_, None) => {
                    let detail = format!("the bytes of final block {height} are missing");
                    self.found.violation("no gap", copy, detail);
                }
                (None, Some(block)) if block.header.digest() == *digest => first = Some(block),
                (Some(known), Some(block)) if *known == block => {}
                (_, Some(_)) => {
                    let detail = format!("the bytes of final block {height} are not its own");
                    self.found.violation("bytes", copy, detail);
                }
            }
        }
        first
    }

    fn check_place(&mut self, header: &Header, height: Height, digest: &Digest) {
        let own = header.chain_id == self.shared.chain_id
            && header.chain == self.out.chain
            && header.epoch == self.committee.instance().epoch;
        if !own || header.height != height || header.parent != self.parent.digest {
            let detail = format!(
                "{digest} names {} epoch {} height {} parent {}, the parent is {}",
                header.chain, header.epoch, header.height, header.parent, self.parent.digest
            );
            self.violation("parent link", height, detail);
        }
        if header.time <= self.parent.time {
            let detail = format!("time {} is not above {}", header.time, self.parent.time);
            self.violation("time", height, detail);
        }
        self.check_reference(header, height);
    }

    /// The beacon reference: the parent on the beacon; in a shard a final beacon block, never below
    /// the parent's.
    fn check_reference(&mut self, header: &Header, height: Height) {
        let reference = header.beacon;
        let right = if self.out.chain.is_beacon() {
            reference.digest == header.parent && reference.height.next() == header.height
        } else {
            let kept = reference == self.parent.beacon;
            kept || (header.kind == BlockKind::Working
                && reference.height > self.parent.beacon.height)
        };
        let final_there = self
            .shown(&reference)
            .is_none_or(|shown| shown.digest == reference.digest);
        if !right || !final_there {
            let detail = format!("beacon reference {} {}", reference.height, reference.digest);
            self.violation("beacon reference", height, detail);
        }
    }

    /// What the replayed beacon holds at a reference's height.
    fn shown(&self, reference: &BlockRef) -> Option<Shown> {
        self.beacon
            .and_then(|beacon| beacon.shown.get(&reference.height).copied())
    }

    /// A header repeats its parent's report or reports the last working ancestor, whose result
    /// must be the one that the replay gives; a working block must do the latter.
    fn check_report(&mut self, header: &Header, height: Height) {
        let repeated =
            header.report == self.parent.report && header.facts_root == self.parent.facts_root;
        let may_repeat = header.kind == BlockKind::Idle;
        if repeated && (may_repeat || self.parent.report.block == self.last.block) {
            return;
        }
        let facts_root = if self.out.chain.is_beacon() {
            self.last.facts_root
        } else {
            Digest::ZERO
        };
        let expected = Report {
            block: self.last.block,
            result: self.last.result,
        };
        if header.report != expected || header.facts_root != facts_root {
            let detail = format!("reports {:?}, the replay gives {expected:?}", header.report);
            self.violation("reported result", height, detail);
        }
    }

    fn note_reported(&mut self, header: &Header) {
        for (copy, reported) in self.copies.iter().zip(&mut self.reported) {
            if copy.height() >= header.height {
                *reported = (*reported).max(header.report.block.height);
            }
        }
    }

    /// Validates and executes a working block. An invalid one is a violation, and is executed all
    /// the same to see what follows from it.
    fn execute(&mut self, block: &Block, digest: Digest) -> Option<Arc<Executed>> {
        let header = &block.header;
        let height = header.height;
        let reference = self
            .shown(&header.beacon)
            .filter(|_| !self.out.chain.is_beacon());
        let unknown = !self.out.chain.is_beacon() && reference.is_none();
        self.unreferenced = self.unreferenced.saturating_add(u64::from(unknown));
        let shown = reference.map_or((Epoch::ZERO, Digest::ZERO), |shown| {
            (shown.epoch, shown.facts_root)
        });
        let work = match self.work(block, digest, shown, unknown) {
            Ok(work) => work,
            Err(reason) => {
                self.violation("valid block", height, reason);
                match self.work(block, digest, shown, true) {
                    Ok(work) => work,
                    Err(_) => return None,
                }
            }
        };
        for inbound in &work.body.inbound {
            self.take_accepted(&inbound.batch, height);
        }
        let job = Job::Execute(Box::new(ExecuteJob {
            block: BlockRef { height, digest },
            context: self.context(header),
            work,
            parent: self.state.clone(),
        }));
        match job.run(self.shared) {
            Done::Executed(executed) => Some(executed),
            _ => None,
        }
    }

    fn context(&self, header: &Header) -> BlockContext {
        BlockContext {
            network: self.shared.network.clone(),
            chain: self.out.chain,
            height: header.height,
            time: header.time,
            beacon: header.beacon,
            entropy: self.entropy,
            instance: self.committee.instance().genesis,
        }
    }

    /// The decoded work of a block; checked unless `trusted`.
    fn work(
        &self,
        block: &Block,
        digest: Digest,
        shown: (Epoch, Digest),
        trusted: bool,
    ) -> Result<Arc<Work>, String> {
        let body = CheckedBody::decode(&block.header, &block.body);
        let job = Job::Validate(Box::new(ValidateJob {
            digest,
            header: Arc::new(block.header.clone()),
            body: body.map_err(|error| error.to_string())?,
            known: SignatureCache::default(),
            parent: self.state.clone(),
            shown,
            committees: self.out.committees.clone(),
            verified_links: BTreeSet::new(),
            trusted,
        }));
        match job.run(self.shared) {
            Done::Validated { result, .. } => result.map_err(|refusal| refusal.to_string()),
            _ => Err("the job gave another answer".to_owned()),
        }
    }

    /// Takes up what a block did.
    fn take(&mut self, executed: &Executed, header: &Header) {
        let height = header.height;
        for alarm in &executed.alarms {
            self.violation("alarm", height, alarm.as_str());
        }
        self.take_receipts(&executed.receipts, height);
        for batch in &executed.outgoing {
            self.take_sent(batch, height);
        }
        self.state = executed.state.clone();
        if self.out.chain.is_beacon() {
            let (network, scheme) = (&self.shared.network, &*self.shared.scheme);
            Arc::make_mut(&mut self.out.committees).advance(&self.state, network, scheme);
        }
        let facts_root = executed
            .facts
            .as_ref()
            .map_or(Digest::ZERO, |facts| facts.root());
        self.last = Last {
            block: executed.block,
            result: executed.result,
            facts_root,
        };
        self.out.working = self.out.working.saturating_add(1);
        self.out.states.push_back((height, executed.state.clone()));
        if self.out.states.len() > STATES_KEPT {
            self.out.states.pop_front();
        }
    }

    /// Exactly once: no transaction runs twice, no message is left out or executed again.
    fn take_receipts(&mut self, receipts: &[Receipt], height: Height) {
        let mut next: BTreeMap<ChainRef, Sequence> = BTreeMap::new();
        for receipt in receipts {
            match receipt.subject {
                Subject::Transaction(_) if matches!(receipt.status, Status::Void(_)) => {}
                Subject::Transaction(id) => {
                    self.out.transactions = self.out.transactions.saturating_add(1);
                    if !self.executed.insert(id) {
                        self.violation("exactly once", height, format!("transaction {id} again"));
                    }
                }
                Subject::Message { id, .. } => {
                    self.out.messages = self.out.messages.saturating_add(1);
                    let before = views::inbound(&self.state, self.out.chain, id.source);
                    let expected = *next.entry(id.source).or_insert(before.executed_cursor());
                    if id.destination != self.out.chain || id.sequence != expected {
                        let detail = format!("message {id}, the next is {expected}");
                        self.violation("exactly once", height, detail);
                    }
                    next.insert(id.source, id.sequence.next());
                }
            }
        }
    }

    fn take_sent(&mut self, batch: &Batch, height: Height) {
        let marks = self.out.sent.entry(batch.destination).or_default();
        let expected = marks.last().map_or(Sequence::ZERO, |mark| mark.end);
        marks.push(mark_of(batch, count_batches(std::iter::once(batch))));
        if batch.first != expected || batch.source != self.out.chain {
            let detail = format!(
                "batch from {} to {} begins at {}, the next is {expected}",
                batch.source, batch.destination, batch.first
            );
            self.violation("message cursors", height, detail);
        }
    }

    /// A batch counts only where its first position is the cursor: that is exactly-once.
    fn take_accepted(&mut self, batch: &Batch, height: Height) {
        let marks = self.out.accepted.entry(batch.source).or_default();
        let expected = marks.last().map_or(Sequence::ZERO, |mark| mark.end);
        marks.push(mark_of(batch, Sums::new()));
        if batch.first != expected || batch.destination != self.out.chain {
            let detail = format!(
                "a batch from {} to {} at {} was accepted, the cursor is {expected}",
                batch.source, batch.destination, batch.first
            );
            self.violation("message cursors", height, detail);
        }
    }

    /// What can only be judged at the end.
    fn finish(mut self) -> Replayed {
        let chain = self.out.chain;
        for (copy, reported) in self.copies.iter().zip(&self.reported) {
            let state_at = copy.state_height();
            // Of a base others' headers were seen that report it.
            let is_own = state_at > copy.base;
            if state_at > *reported && is_own && self.out.height >= copy.height() {
                let detail = format!(
                    "the state of block {state_at} is committed, final headers report up to \
                     {reported}"
                );
                self.found.violation("durability order", copy, detail);
            }
        }
        if self.unreferenced > 0 {
            let count = self.unreferenced;
            self.found.note(format!(
                "{count} blocks of {chain} refer to beacon blocks of which there is no copy; they \
                 were executed, but not validated"
            ));
        }
        let records: Vec<(skerry_types::state::StateKey, skerry_types::state::Value)> = self
            .state
            .iter()
            .map(|(key, value)| (key, value.clone()))
            .collect();
        let broken = check_records(records.iter().map(|(key, value)| (key, &**value)));
        for (key, reason) in broken {
            let detail = format!("{} of {:?}: {reason}", key.owner, key.module);
            self.violation("module invariant", self.out.height, detail);
        }
        self.out.certificates = u64::try_from(self.certificates.len()).unwrap_or(u64::MAX);
        self.out.epochs = self.views.finish();
        self.out
    }
}

pub(super) fn mark_of(batch: &Batch, value: Sums) -> BatchMark {
    BatchMark {
        first: batch.first,
        end: batch.end(),
        root: batch.root(),
        value,
    }
}
