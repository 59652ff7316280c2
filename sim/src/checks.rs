//! What must hold after every step, and what must hold at the end.
//!
//! | rule | looked at |
//! |---|---|
//! | no two final blocks at a height, over all nodes and restarts | each final block, each commit |
//! | a final block's parent is the final block below it | each final block |
//! | a vote is sent after the log that holds it was synced | each frame of an honest node |
//! | one notarize a view; never a nullify beside a finalize | each frame of an honest node |
//! | who notarizes has executed what is reported, with that result | each notarize that an honest node signs |
//! | a certificate has its weight, and its honest signers signed | each that an honest node forms, proposes on or commits |
//! | a skipped view was nullified by a quorum | each final block |
//! | one result for each final block | each commit |
//! | only what a final header reports is committed | each commit |
//! | nothing of an epoch follows its seal; a seal names the epoch that the chain has seen | each final block |
//! | a header proves something in the open epoch of its chain only | each final body |
//! | nobody takes a seat without having said that it is ready, nor more than the bound | each committed beacon state |
//! | who is not ready leaves its seat to the former holder | each committed beacon state |
//! | who says that it is ready holds what it knows to exist of the chain | each `ready` |
//! | what the keys of a closed epoch sign, or what was certified and is never final, proves nothing | each final body |
//! | nobody honest is slashed, nobody twice for one offence | each committed beacon state |
//! | batches follow each other without gap, each message runs once | each final body and receipt |
//! | who has told of a batch votes for no block that leaves it out | each vote |
//! | nobody honest stops, is accused, or proposes what is invalid | each note |
//! | a state that was taken over is the one that others executed | each join by snapshot |
//! | beside it lie a finalization, how the epoch began, and all batches not acknowledged | each join by snapshot |
//! | what was committed survives a crash | each restart |
//! | a key whose log was lost signs nothing before the next epoch but one | each vote, each `ready` |
//! | a batch is what its source sent, proven by what is final there, and no larger than it may be | each final body |
//! | a message that runs does so no later than was foretold | each receipt of seeds without other faults |
//! | who pays a neighbour is served in time, whatever comes from elsewhere | each receipt of such seeds with a crowded shard |
//! | what waits at a chain is within its window and its room for replies, and of value that is not linked only a part is taken | each committed state |
//! | the supply of each native denom is exact, and a shard holds what the beacon's books say | each committed beacon state, with the states that it links |

mod batches;
mod credit;
mod epochs;
mod inclusion;
mod mute;
mod offences;
mod protocol;
mod seats;
mod supply;

use crate::adversary::Sight;
use crate::counts::Counts;
use crate::disk::LogPlace;
use crate::plan::{Plan, SECOND};
use crate::times::Times;
use batches::Batches;
use credit::Credit;
use epochs::Epochs;
use inclusion::Inclusion;
use mute::Losses;
use offences::Offences;
use protocol::Protocol;
use seats::Linked;
use skerry::chain::jobs::Executed;
use skerry::wire::kind;
use skerry_consensus::log::{LogEntry, VoteRecord};
use skerry_execution::views;
use skerry_storage::StateTree;
use skerry_types::beacon::SystemOperation;
use skerry_types::block::{BlockKind, BlockRef, Body, ExecutionResult, Header};
use skerry_types::certificate::Certificate;
use skerry_types::codec::decode;
use skerry_types::consensus::{ConsensusMessage, FetchRequest};
use skerry_types::ids::{
    ChainRef, Digest, Epoch, Height, LogPosition, MemberIndex, Sequence, View,
};
use skerry_types::limits;
use skerry_types::receipt::{Receipt, Subject};
use skerry_types::vote::Statement;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use supply::{States, Supply};

/// An instance of consensus.
pub type Place = (ChainRef, Epoch);

/// How old a proposal is that comes late.
const LATE: u64 = SECOND / 2;

/// A broken rule.
pub type Broken = Result<(), String>;

#[derive(Clone, Debug, Default)]
struct Votes {
    notarize: Option<Digest>,
    nullify: bool,
    finalize: Option<Digest>,
}

/// What was seen of the whole network so far.
pub struct Checks {
    /// Virtual microseconds since the start.
    pub now: u64,
    /// When blocks were proposed, final and proven.
    pub times: Times,
    protocol: Protocol,
    finals: BTreeMap<(ChainRef, Height), Digest>,
    results: BTreeMap<(ChainRef, Height), (Digest, ExecutionResult)>,
    /// Where nodes joined by snapshot.
    bases: BTreeMap<(ChainRef, Height), (Digest, ExecutionResult)>,
    states: States,
    supply: Supply,
    credit: Credit,
    batches: Batches,
    votes: BTreeMap<(usize, Place, View), Votes>,
    unsynced: BTreeMap<(usize, LogPlace), Statement>,
    committed: BTreeMap<(usize, ChainRef), (Height, Height)>,
    /// Who proposed which block.
    honest_blocks: BTreeMap<Digest, usize>,
    /// When each node was started last.
    started: BTreeMap<usize, u64>,
    accepted: BTreeMap<(ChainRef, ChainRef), u64>,
    accepted_at: BTreeMap<(ChainRef, Height), Vec<(ChainRef, u64)>>,
    executed: BTreeMap<(ChainRef, ChainRef), u64>,
    views_nullified: BTreeSet<(Place, View)>,
    epochs: Epochs,
    inclusion: Inclusion,
    losses: Losses,
    offences: Offences,
    linked: Linked,
    chains: Vec<ChainRef>,
    /// Shards that slept through an epoch.
    slept: BTreeSet<ChainRef>,
}

impl Checks {
    /// Of a plan whose run begins.
    pub fn new(plan: &Plan) -> Self {
        Self {
            now: 0,
            times: Times::default(),
            protocol: Protocol::new(plan),
            finals: BTreeMap::new(),
            results: BTreeMap::new(),
            bases: BTreeMap::new(),
            states: States::new(),
            supply: Supply::new(plan),
            credit: Credit::new(plan),
            batches: Batches::new(plan),
            votes: BTreeMap::new(),
            unsynced: BTreeMap::new(),
            committed: BTreeMap::new(),
            honest_blocks: BTreeMap::new(),
            started: BTreeMap::new(),
            accepted: BTreeMap::new(),
            accepted_at: BTreeMap::new(),
            executed: BTreeMap::new(),
            views_nullified: BTreeSet::new(),
            epochs: Epochs::default(),
            inclusion: Inclusion::new(plan),
            losses: Losses::default(),
            offences: Offences::new(plan),
            linked: Linked::default(),
            chains: plan.genesis.chains(),
            slept: BTreeSet::new(),
        }
    }

    /// Somebody Byzantine sends a frame, at this time.
    pub fn on_foreign_frame(&mut self, (frame_kind, payload): (u8, &[u8]), at: u64) -> Broken {
        if frame_kind == kind::PROPOSAL
            && let Ok(ConsensusMessage::Proposal(proposal)) =
                decode(payload, limits::CONSENSUS_MESSAGE_BYTES_MAX)
        {
            self.protocol.on_header(&proposal.header)?;
            self.inclusion.on_proposal(at, &proposal);
            self.batches
                .on_lead(at, proposal.header.chain, proposal.view);
        }
        Ok(())
    }

    /// A node got the result of executing a block.
    pub fn on_executed(&mut self, node: usize, chain: ChainRef, executed: &Executed) {
        let (block, state) = (executed.block.digest, &executed.state);
        self.inclusion
            .on_executed(chain, block, state, &self.chains);
        self.batches.on_executed(self.now, &executed.outgoing);
        self.protocol
            .on_executed(node, executed.block, executed.result);
    }

    /// A node took over the state after a block from its peers: it must be what others executed. From
    /// now on it stands for the node's own execution.
    pub fn on_base(
        &mut self,
        node: usize,
        chain: ChainRef,
        block: BlockRef,
        result: ExecutionResult,
    ) -> Broken {
        let place = (chain, block.height);
        let base = *self.bases.entry(place).or_insert((block.digest, result));
        let known = self.results.get(&place).copied().unwrap_or(base);
        if (block.digest, result) != known || base != known {
            return Err(format!(
                "node {node} joins {chain} at {} with {result:?}, others have {known:?} and {base:?}",
                block.height
            ));
        }
        self.protocol.on_executed(node, block, result);
        self.on_committed(node, chain, block.height, block.height);
        Ok(())
    }

    /// Newest final height of a chain that anybody has seen.
    pub fn top(&self, chain: ChainRef) -> Height {
        let range = (chain, Height::ZERO)..=(chain, Height::new(u64::MAX));
        self.finals
            .range(range)
            .next_back()
            .map_or(Height::ZERO, |((_, height), _)| *height)
    }

    /// The epoch of the newest final block of a chain that anybody has seen.
    pub fn epoch(&self, chain: ChainRef) -> Epoch {
        let newest = self.finals.get(&(chain, self.top(chain)));
        let epoch = newest.and_then(|digest| self.protocol.epoch_of(digest));
        epoch.unwrap_or_default()
    }

    /// An honest node holds a block for final, by this certificate where it is its own.
    pub fn on_finalized(
        &mut self,
        node: usize,
        chain: ChainRef,
        block: BlockRef,
        certificate: Option<&Certificate>,
    ) -> Broken {
        if let Some(certificate) = certificate {
            let epoch = self.protocol.epoch_of(&block.digest);
            let epoch = epoch.ok_or_else(|| format!("nobody proposed {}", block.digest))?;
            self.protocol
                .check_certificate((chain, epoch), certificate)?;
        }
        self.protocol.on_top(node, chain, block.height);
        self.on_final(chain, block)
    }

    fn on_final(&mut self, chain: ChainRef, block: BlockRef) -> Broken {
        if let Some(epoch) = self.protocol.epoch_of(&block.digest) {
            self.losses.on_final(chain, epoch);
        }
        match self.finals.insert((chain, block.height), block.digest) {
            Some(other) if other != block.digest => Err(format!(
                "two final blocks of {chain} at height {}: {other} and {}",
                block.height, block.digest
            )),
            _ => Ok(()),
        }
    }

    /// A node settled a final block for its readers: the first time, its contents are looked at.
    /// Returns whether it is the first time.
    pub fn on_block(
        &mut self,
        chain: ChainRef,
        header: &Header,
        body: &dyn Fn(&Digest) -> Option<Arc<[u8]>>,
        counts: &mut Counts,
    ) -> Result<bool, String> {
        let block = header.block_ref();
        self.on_final(chain, block)?;
        if let Some(below) = header
            .height
            .previous()
            .filter(|below| *below > Height::ZERO)
            && self.finals.get(&(chain, below)) != Some(&header.parent)
        {
            return Err(format!(
                "final block {} of {chain} has another parent",
                header.height
            ));
        }
        if self.accepted_at.contains_key(&(chain, header.height)) {
            return Ok(false);
        }
        self.protocol.check_gap(header)?;
        self.epochs.on_header(header)?;
        match header.kind {
            BlockKind::Working => {
                counts.note("working blocks");
                let bytes = body(&block.digest)
                    .ok_or_else(|| format!("{chain} {}: no body is stored", header.height))?;
                let body: Body = decode(&bytes, limits::BODY_BYTES_MAX)
                    .map_err(|error| format!("{chain} {}: {error}", header.height))?;
                self.on_body(chain, header.height, &body, counts)?;
            }
            BlockKind::Idle => counts.note("idle blocks"),
            BlockKind::Seal => {
                counts.note("seals");
                counts.note(if chain.is_beacon() {
                    "epochs of the beacon ended"
                } else {
                    "epochs of shards ended"
                });
                let next = header.next.map(|next| next.epoch);
                if next.is_some_and(|next| next > header.epoch.next()) {
                    counts.note("epochs slept through");
                    self.slept.insert(chain);
                }
            }
        }
        let cursors = self
            .accepted
            .iter()
            .filter(|((to, _), _)| *to == chain)
            .map(|((_, from), cursor)| (*from, *cursor))
            .collect();
        self.accepted_at.insert((chain, header.height), cursors);
        Ok(true)
    }

    fn on_body(
        &mut self,
        chain: ChainRef,
        height: Height,
        body: &Body,
        counts: &mut Counts,
    ) -> Broken {
        if body.facts.is_some() {
            counts.note("facts imported");
        }
        self.epochs.on_body(chain, height, body)?;
        if chain.is_beacon() {
            self.offences.on_body(height, body);
        }
        for operation in &body.system {
            counts.note(match operation {
                SystemOperation::CrossLink(link) if link.header.kind == BlockKind::Seal => {
                    "seals included"
                }
                SystemOperation::CrossLink(_) => "cross-links included",
                SystemOperation::Ready(_) => "newcomers ready",
                SystemOperation::Evidence(_) => "evidence included",
            });
        }
        for inbound in &body.inbound {
            counts.note("batches accepted");
            if self.slept.contains(&chain) {
                counts.note("batches accepted after a sleep");
            }
            let batch = &inbound.batch;
            let cursor = self.accepted.entry((chain, batch.source)).or_default();
            if batch.first.get() != *cursor {
                return Err(format!(
                    "{chain} {height} accepts {} from {}, the cursor is {cursor}",
                    batch.first, batch.source
                ));
            }
            *cursor = batch.end().get();
            self.batches
                .on_accepted(&self.protocol, (chain, height), inbound)?;
            // What proves something must be final where it comes from.
            self.on_final(batch.source, inbound.proof.header.block_ref())?;
        }
        Ok(())
    }

    /// The receipts of a block that is settled for the first time.
    pub fn on_receipts(
        &mut self,
        chain: ChainRef,
        receipts: &[Receipt],
        counts: &mut Counts,
    ) -> Broken {
        for receipt in receipts {
            let Subject::Message { id, .. } = receipt.subject else {
                continue;
            };
            let cursor = self.executed.entry((chain, id.source)).or_default();
            if id.destination != chain || id.sequence.get() != *cursor {
                return Err(format!("{chain} runs message {id}, the cursor is {cursor}"));
            }
            *cursor = cursor.saturating_add(1);
            self.batches.on_ran(self.now, &id, counts)?;
        }
        Ok(())
    }

    /// A node asks its store to commit a state.
    pub fn on_state(
        &mut self,
        node: usize,
        chain: ChainRef,
        executed: &Executed,
        counts: &mut Counts,
    ) -> Broken {
        let block = executed.block;
        self.protocol.check_reported(
            &self.finals,
            (node, chain),
            block.digest,
            &executed.result,
        )?;
        if chain.is_beacon() {
            let states = self.states.get(&chain);
            let before = states.and_then(|states| states.range(..block.height).next_back());
            let before = before.map(|(_, state)| state);
            self.epochs.on_beacon_state(block.height, before)?;
            for committee in self.protocol.take_committees(&executed.state) {
                self.epochs.check_newcomers(&committee, counts)?;
                if let Some(before) = before {
                    seats::check_seats((before, &executed.state), &committee, counts)?;
                }
            }
            let place = (node, self.now);
            self.linked
                .on_beacon_state(place, &self.chains, &executed.state);
        }
        self.times.on_proven(self.now, chain, block.height);
        let found = (block.digest, executed.result);
        let base = self.bases.get(&(chain, block.height));
        if let Some(base) = base.filter(|base| **base != found) {
            return Err(format!(
                "{chain} {} was joined at with {base:?}, it is {found:?}",
                block.height
            ));
        }
        match self.results.insert((chain, block.height), found) {
            Some(other) if other != found => {
                return Err(format!(
                    "two results of {chain} {}: {other:?}, {found:?}",
                    block.height
                ));
            }
            Some(_) => return Ok(()),
            None => {}
        }
        counts.note("states committed");
        if chain.is_beacon() {
            let states = self.states.get(&chain);
            let before = states.and_then(|states| states.range(..block.height).next_back());
            let change = (before.map(|(_, state)| state), &executed.state);
            self.offences.on_state(block.height, change, counts)?;
        }
        if let Some(alarm) = executed.alarms.first() {
            return Err(format!("{chain} {}: alarm: {alarm}", block.height));
        }
        if executed.state.root() != executed.result.state_root {
            return Err(format!(
                "{chain} {}: the state has another root",
                block.height
            ));
        }
        for (source, cursor) in self
            .accepted_at
            .get(&(chain, block.height))
            .into_iter()
            .flatten()
        {
            let state = views::inbound(&executed.state, chain, *source);
            if state.accepted_cursor().get() != *cursor || state.executed_cursor().get() > *cursor {
                return Err(format!(
                    "{chain} {}: cursors of {source} are {} and {}, the blocks say {cursor}",
                    block.height,
                    state.accepted_cursor(),
                    state.executed_cursor()
                ));
            }
        }
        let place = (chain, block.height);
        self.credit.on_state(place, &executed.state, counts)?;
        self.states
            .entry(chain)
            .or_default()
            .insert(block.height, executed.state.clone());
        self.supply
            .on_state((chain, block.height), &self.states, counts)
    }

    /// A commit of a node is durable: heights of the newest final block and of the state.
    pub fn on_committed(&mut self, node: usize, chain: ChainRef, finalized: Height, state: Height) {
        let held = self.committed.entry((node, chain)).or_default();
        *held = (held.0.max(finalized), held.1.max(state));
    }

    /// A node came back with this much.
    pub fn on_restart(
        &mut self,
        node: usize,
        chain: ChainRef,
        finalized: Height,
        state: Height,
    ) -> Broken {
        self.protocol.on_top(node, chain, finalized);
        self.protocol.on_restart(node, chain, state);
        self.linked.on_restart(node);
        self.inclusion.on_restart(node);
        self.started.insert(node, self.now);
        let (final_before, state_before) = self
            .committed
            .get(&(node, chain))
            .copied()
            .unwrap_or_default();
        if finalized < final_before || state < state_before {
            return Err(format!(
                "node {node} lost durable blocks of {chain}: {finalized} and {state} are left of \
                 {final_before} and {state_before}"
            ));
        }
        Ok(())
    }

    /// A record goes to the vote log.
    ///
    /// # Errors
    /// When it is a vote that an honest node must not sign now.
    pub fn on_persist(
        &mut self,
        node: usize,
        is_honest: bool,
        at: LogPlace,
        bytes: &[u8],
        counts: &mut Counts,
    ) -> Broken {
        if let Ok(VoteRecord {
            entry: LogEntry::Vote(vote),
            ..
        }) = VoteRecord::decode(bytes)
        {
            self.unsynced.insert((node, at), vote.statement);
            if is_honest {
                let place = (at.chain, at.epoch);
                self.losses.on_vote(node, place, counts)?;
            }
            if let (true, Statement::Notarize { digest, .. }) = (is_honest, vote.statement) {
                self.protocol.on_notarize(node, digest)?;
            }
        }
        Ok(())
    }

    /// The vote log was synced up to a record.
    pub fn on_synced(&mut self, node: usize, at: LogPlace) {
        let first = LogPlace {
            position: LogPosition::ZERO,
            ..at
        };
        let range = (node, first)..=(node, at);
        let chain = at.chain;
        let keys: Vec<_> = self.unsynced.range(range).map(|(key, _)| *key).collect();
        for key in keys {
            if let Some(statement) = self.unsynced.remove(&key) {
                self.protocol.on_signed(node, (chain, at.epoch), statement);
            }
        }
    }

    /// A node lost its vote log.
    pub fn on_log_lost(&mut self, node: usize) {
        self.losses.on_lost(node);
    }

    /// Whether a node lost its vote log at some time.
    pub fn has_lost_log(&self, node: usize) -> bool {
        self.losses.has_lost(node)
    }

    /// A node lost what it had committed.
    pub fn on_data_lost(&mut self, node: usize) {
        self.committed.retain(|(other, _), _| *other != node);
    }

    /// Whether an honest node may sign something of an epoch of a chain, after what its disk lost.
    pub fn check_mute(&self, node: usize, place: Place) -> Broken {
        self.losses.check(node, place)
    }

    /// Headers were signed with the keys of an epoch that is closed, or are never final: they must never
    /// count.
    pub fn on_made(&mut self, headers: BTreeSet<Digest>) {
        self.epochs.on_made(headers);
    }

    /// What final blocks and states say of epochs.
    pub fn sight(&self) -> Sight {
        let mut open = self.epochs.open();
        let mut shards = Vec::new();
        let beacon = self.newest_state(ChainRef::Beacon);
        for chain in self.chains.iter().filter(|chain| !chain.is_beacon()) {
            if let Some(record) = beacon.and_then(|state| views::shard_record(state, *chain)) {
                open.insert((ChainRef::Beacon, *chain), record.epoch);
                shards.push(record);
            }
        }
        Sight {
            open,
            cursors: self.accepted.clone(),
            shards,
        }
    }

    /// An honest node that holds a chain up to `held` says that it is ready for a seat of it.
    pub fn check_ready(&self, node: usize, chain: ChainRef, held: Height) -> Broken {
        self.linked.check((node, self.now), chain, held)
    }

    /// The log as a restart found it.
    pub fn on_replayed(&mut self, node: usize, records: &[VoteRecord]) {
        self.unsynced.retain(|(other, ..), _| *other != node);
        for record in records {
            if let LogEntry::Vote(vote) = &record.entry {
                let place = (record.chain, record.epoch);
                self.protocol.on_signed(node, place, vote.statement);
            }
        }
    }

    /// An honest node sends a frame that its vote log must cover up to `after`; `proven_by` is of the
    /// batches that it holds.
    pub fn on_send(
        &mut self,
        node: usize,
        (chain, epoch): Place,
        frame: (u8, &[u8]),
        (after, synced): (LogPosition, LogPosition),
        proven_by: &dyn Fn(ChainRef, Sequence) -> Option<Epoch>,
        counts: &mut Counts,
    ) -> Broken {
        if after > synced {
            return Err(format!(
                "node {node} sends on {chain} what rests on position {after}, {synced} is synced"
            ));
        }
        if frame.0 == kind::BATCHES_HELD {
            let told = (node, self.now);
            self.inclusion
                .on_held(told, (chain, epoch), frame.1, proven_by);
        }
        let kinds = [
            kind::VOTE,
            kind::PROPOSAL,
            kind::CERTIFICATE,
            kind::FETCH_REQUEST,
        ];
        if !kinds.contains(&frame.0) {
            return Ok(());
        }
        let message: ConsensusMessage = decode(frame.1, limits::CONSENSUS_MESSAGE_BYTES_MAX)
            .map_err(|error| format!("node {node} sends an undecodable vote: {error}"))?;
        note_arm(&message, counts);
        let place = (chain, epoch);
        let statement = match &message {
            ConsensusMessage::Vote(vote) => {
                if Some(vote.signer) != self.protocol.member(place, node) {
                    return Err(format!("node {node} sends a vote of {}", vote.signer));
                }
                vote.statement
            }
            ConsensusMessage::Certificate(certificate) => {
                return self.protocol.check_certificate(place, certificate);
            }
            ConsensusMessage::Proposal(proposal) => {
                let digest = proposal.header.digest();
                self.honest_blocks.insert(digest, node);
                self.protocol.on_header(&proposal.header)?;
                self.times.on_proposed(self.now, digest, &proposal.header);
                self.inclusion.on_proposal(self.now, proposal);
                for certificate in proposal.parent.iter().chain(&proposal.finalization) {
                    self.protocol.check_certificate(place, certificate)?;
                }
                Statement::Notarize {
                    view: proposal.view,
                    digest,
                }
            }
            _ => return Ok(()),
        };
        if !self.protocol.has_signed(node, place, statement) {
            return Err(format!(
                "node {node} on {chain}: {statement:?} is sent and not durable"
            ));
        }
        let is_own = matches!(message, ConsensusMessage::Proposal(_));
        if let (Statement::Notarize { digest, .. }, false) = (statement, is_own) {
            self.inclusion
                .on_notarize(node, place, &digest, proven_by)?;
        }
        self.on_vote(node, place, statement)
    }

    fn on_vote(&mut self, node: usize, place: Place, statement: Statement) -> Broken {
        let chain = place.0;
        let view = statement.view();
        let votes = self.votes.entry((node, place, view)).or_default();
        let before = votes.clone();
        match statement {
            Statement::Notarize { digest, .. } => votes.notarize = Some(digest),
            Statement::Nullify { .. } => votes.nullify = true,
            Statement::Finalize { digest, .. } => votes.finalize = Some(digest),
        }
        if votes.nullify {
            self.views_nullified.insert((place, view));
        }
        let same = |one: Option<Digest>, other: Option<Digest>| {
            one.zip(other).is_none_or(|(one, other)| one == other)
        };
        let good = same(before.notarize, votes.notarize)
            && same(before.finalize, votes.finalize)
            && same(votes.notarize, votes.finalize)
            && !(votes.nullify && votes.finalize.is_some());
        if good {
            Ok(())
        } else {
            Err(format!(
                "node {node} on {chain} contradicts itself in view {view}: {before:?}, then \
                 {statement:?}"
            ))
        }
    }

    /// Which members of a chain's instances a node is.
    pub fn members(&self, node: usize, chain: ChainRef) -> BTreeSet<MemberIndex> {
        self.protocol.members(chain, node)
    }

    /// Whether this is a block that an honest leader has just proposed, at a time when the network was
    /// well and the leader up for so long. What comes late, as to one that was away, may be refused.
    pub fn must_be_followed(&self, digest: &Digest, well_at: u64, settled: u64) -> bool {
        let leader = self.honest_blocks.get(digest);
        let started = leader.map(|leader| self.started.get(leader).copied().unwrap_or(0));
        let proposed = self.times.proposed_at(digest);
        let ready = started.map(|started| started.max(well_at).saturating_add(settled));
        let is_new = |at: u64| self.now < at.saturating_add(LATE);
        ready
            .zip(proposed)
            .is_some_and(|(ready, at)| at > ready && is_new(at))
    }

    /// Whether an honest node sent this block as its proposal.
    pub fn is_honest_block(&self, digest: &Digest) -> bool {
        self.honest_blocks.contains_key(digest)
    }

    /// Views in which somebody honest gave up.
    pub fn nullified(&self) -> u64 {
        u64::try_from(self.views_nullified.len()).unwrap_or(u64::MAX)
    }

    /// The newest committed state of a chain.
    pub fn newest_state(&self, chain: ChainRef) -> Option<&StateTree> {
        self.states
            .get(&chain)?
            .last_key_value()
            .map(|(_, state)| state)
    }

    /// The message that took most of what was foretold: what it took, and that.
    pub fn slowest(&self) -> Option<(u64, u64)> {
        self.batches.slowest()
    }

    /// Every consistent cut was counted.
    pub fn check_all_counted(&self) -> Broken {
        self.supply.check_all_counted()
    }
}

/// Counts which arm of the protocol's rules a message belongs to.
fn note_arm(message: &ConsensusMessage, counts: &mut Counts) {
    match message {
        ConsensusMessage::Vote(vote) => counts.note(match vote.statement {
            Statement::Notarize { .. } => "notarize votes sent",
            Statement::Nullify { .. } => "nullify votes sent",
            Statement::Finalize { .. } => "finalize votes sent",
        }),
        ConsensusMessage::Certificate(certificate) => counts.note(match certificate.statement {
            Statement::Notarize { .. } => "notarizations sent",
            Statement::Nullify { .. } => "nullifications sent",
            Statement::Finalize { .. } => "finalizations sent",
        }),
        ConsensusMessage::Proposal(proposal) => {
            counts.note(match proposal.header.kind {
                BlockKind::Working => "working blocks proposed",
                BlockKind::Idle => "idle blocks proposed",
                BlockKind::Seal if proposal.view != proposal.header.view => "seals proposed again",
                BlockKind::Seal => "seals proposed",
            });
            let parent = proposal.parent.as_ref().map(Certificate::view);
            if proposal.view > parent.unwrap_or_default().next() {
                counts.note("proposals over skipped views");
            }
        }
        ConsensusMessage::Request(FetchRequest::View(_)) => counts.note("views fetched"),
        ConsensusMessage::Request(FetchRequest::Block(_)) => counts.note("blocks fetched"),
        ConsensusMessage::Reply(_) => {}
    }
}
