//! What a leader puts into its block.
//!
//! Pure choice: given the parent, its state and what waits in the pools, [`choose`] says whether
//! to propose now, what kind of block, and with which body; or until when to wait.

use crate::beacon::{BeaconFeed, BeaconFinal, LinkPool, ReadyPool};
use crate::chain::jobs::Executed;
use crate::committees::Committees;
use crate::evidence::EvidencePool;
use crate::inclusion::{self, Scene};
use crate::mempool::{Budget, Mempool};
use crate::relay::InboundPool;
use skerry_execution::check::{self, AdmissionContext};
use skerry_execution::credit::Forecast;
use skerry_execution::network::NetworkInfo;
use skerry_execution::views;
use skerry_storage::StateTree;
use skerry_types::beacon::{CrossLink, SystemOperation};
use skerry_types::block::{BlockKind, BlockRef, Body, Header, NextCommittee, ParentVotes, Report};
use skerry_types::codec::encode;
use skerry_types::ids::{Address, ChainRef, Denom, Epoch, Gas, Height, TimeMs};
use skerry_types::limits;
use skerry_types::message::InboundBatch;
use skerry_types::transaction::CheckedTransaction;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A shard proposes at once when its parent's beacon reference is this many blocks old.
const REFERENCE_AGE_MAX: u64 = 40;

/// The part of Δ that a leader gathers transactions for at most: a fifth.
const GATHER_DIVISOR: u64 = 5;

/// What a leader looks at.
pub struct Situation<'a> {
    /// The chain.
    pub chain: ChainRef,
    /// Parameters.
    pub network: &'a NetworkInfo,
    /// The parent's header; absent at the start of the chain.
    pub parent: Option<&'a Header>,
    /// What the parent reports, or the genesis result.
    pub parent_report: Report,
    /// The last working block at or below the parent.
    pub last_working: BlockRef,
    /// Its result and state, once known.
    pub executed: Option<&'a Arc<Executed>>,
    /// The block whose result the newest final header reports.
    pub final_report: BlockRef,
    /// Header time of the last working block, for the beacon's pace.
    pub last_working_time: TimeMs,
    /// Beacon blocks, on a shard.
    pub feed: Option<&'a BeaconFeed>,
    /// The epoch that the block is of.
    pub epoch: Epoch,
    /// Cross-links, on the beacon.
    pub links: &'a LinkPool,
    /// Newcomers to committees that are ready, on the beacon.
    pub ready: &'a ReadyPool,
    /// What is to be punished, on the beacon.
    pub evidence: &'a EvidencePool,
    /// The committees that are known.
    pub committees: &'a Committees,
    /// Batches from other chains.
    pub inbound: &'a InboundPool,
    /// Transactions.
    pub mempool: &'a Mempool,
    /// Transactions whose signatures are being checked.
    pub checking: usize,
    /// Most transactions of a block that this machine can keep up with now.
    pub transactions_max: usize,
    /// Whether the core allows idle blocks only.
    pub idle_only: bool,
    /// When the leader became able to propose.
    pub since: TimeMs,
    /// Now.
    pub now: TimeMs,
    /// Signers of the parent's notarization.
    pub parent_votes: Option<ParentVotes>,
}

/// What to do.
#[derive(Debug)]
pub enum Choice {
    /// Propose this block.
    Propose(Box<Draft>),
    /// Nothing to do before this time, unless something arrives.
    Wait(TimeMs),
}

/// A block to be.
#[derive(Debug)]
pub struct Draft {
    /// Working, idle or seal.
    pub kind: BlockKind,
    /// What it reports.
    pub report: Report,
    /// The beacon block that it refers to; on the beacon, the parent.
    pub beacon: BlockRef,
    /// In a seal, the committee that it names.
    pub next: Option<NextCommittee>,
    /// Its body without transactions; empty for an idle block and a seal.
    pub body: Body,
    /// Its transactions.
    pub transactions: Vec<Arc<CheckedTransaction>>,
}

/// Decides.
pub fn choose(situation: &Situation<'_>) -> Choice {
    let idle_at = situation
        .since
        .saturating_add(situation.network.parameters.idle_interval_ms);
    let is_idle_time = situation.now >= idle_at;
    let Some(executed) = situation.executed else {
        // The result is not known yet: an idle block repeats the parent's report.
        return if is_idle_time {
            idle(situation, situation.parent_report)
        } else {
            Choice::Wait(idle_at)
        };
    };
    let report = Report {
        block: situation.last_working,
        result: executed.result,
    };
    let (network, chain) = (situation.network, situation.chain);
    let next = views::next_committee(&executed.state, network, chain, situation.epoch);
    if next.is_some() {
        // The epoch is over.
        return empty(situation, BlockKind::Seal, report, next);
    }
    if let Some(until) = gathering(situation).filter(|_| !is_idle_time) {
        return Choice::Wait(until.min(idle_at));
    }
    let working_at = earliest_working(situation);
    if !situation.idle_only
        && situation.now >= working_at
        && let Some(draft) = working(situation, executed, report, is_idle_time)
    {
        return Choice::Propose(Box::new(draft));
    }
    let unreported = situation.parent_report.block != situation.last_working;
    let not_final = situation.final_report != situation.last_working;
    if unreported || not_final || is_idle_time {
        return idle(situation, report);
    }
    let due = [working_at, epoch_end(situation, executed)];
    let sooner = due.into_iter().filter(|at| *at > situation.now).min();
    Choice::Wait(sooner.map_or(idle_at, |at| at.min(idle_at)))
}

/// Until when the leader waits for the transactions in check, when they are more than those that it
/// has: every block costs all members some milliseconds, however little is in it, so that under
/// load few large blocks finalize more than many small ones.
fn gathering(situation: &Situation<'_>) -> Option<TimeMs> {
    let delta = situation.network.parameters.delta_ms;
    let until = situation
        .since
        .saturating_add(delta.checked_div(GATHER_DIVISOR)?);
    let is_worth_it = !situation.idle_only
        && situation.checking > situation.mempool.len()
        && situation.mempool.len() < situation.transactions_max;
    (is_worth_it && situation.now < until).then_some(until)
}

/// Working beacon blocks keep a distance; shards do not.
fn earliest_working(situation: &Situation<'_>) -> TimeMs {
    if situation.chain.is_beacon() {
        let pace = situation.network.parameters.beacon_interval_ms;
        situation.last_working_time.saturating_add(pace)
    } else {
        TimeMs::ZERO
    }
}

fn parent_beacon(situation: &Situation<'_>) -> Option<BlockRef> {
    situation.parent.map(|parent| parent.beacon)
}

/// When the epoch of the beacon is to end; never on a shard, whose epochs follow its references.
fn epoch_end(situation: &Situation<'_>, executed: &Executed) -> TimeMs {
    let length = situation.network.parameters.epoch_ms;
    let never = TimeMs::new(u64::MAX);
    if !situation.chain.is_beacon() || length == 0 {
        return never;
    }
    let record = views::epoch(&executed.state, situation.chain);
    record.map_or(never, |record| record.started.saturating_add(length))
}

/// Whether the committees of the next epoch of the beacon are to be settled, or the epoch to end.
fn is_epoch_due(situation: &Situation<'_>, executed: &Executed) -> bool {
    let end = epoch_end(situation, executed);
    let length = situation.network.parameters.epoch_ms;
    let settle = end.saturating_sub(length.saturating_sub(views::settle_after(length)));
    let unsettled = || {
        let stage = views::Stage::Settled;
        views::seating(&executed.state, ChainRef::Beacon, stage).is_none()
    };
    situation.now >= end || situation.now >= settle && unsettled()
}

fn idle(situation: &Situation<'_>, report: Report) -> Choice {
    empty(situation, BlockKind::Idle, report, None)
}

/// A block without a body.
fn empty(
    situation: &Situation<'_>,
    kind: BlockKind,
    report: Report,
    next: Option<NextCommittee>,
) -> Choice {
    let beacon = match (situation.chain, situation.parent) {
        (ChainRef::Beacon, Some(parent)) => parent.block_ref(),
        (ChainRef::Shard(_), Some(parent)) => parent.beacon,
        (chain, None) => BlockRef {
            height: Height::ZERO,
            digest: if chain.is_beacon() {
                situation.parent_report.block.digest
            } else {
                skerry_types::committee::genesis_digest(
                    &situation.network.chain_id,
                    ChainRef::Beacon,
                )
            },
        },
    };
    Choice::Propose(Box::new(Draft {
        kind,
        report,
        beacon,
        next,
        body: Body::default(),
        transactions: Vec::new(),
    }))
}

fn working(
    situation: &Situation<'_>,
    executed: &Executed,
    report: Report,
    is_idle_time: bool,
) -> Option<Draft> {
    if situation.chain.is_beacon() {
        return beacon_working(situation, executed, report, is_idle_time);
    }
    let newest = situation.feed?.newest();
    let reference = parent_beacon(situation).map_or(Height::ZERO, |reference| reference.height);
    if newest.block.height < reference {
        // Just started: the facts of a recent beacon block are still to come.
        return None;
    }
    let age = newest.block.height.above(reference);
    let stored = views::facts_head(&executed.state, situation.chain).map(|head| head.root);
    let facts = newest
        .facts
        .as_deref()
        .filter(|_| stored != Some(newest.facts_root))
        .cloned();
    let mut body = Body {
        parent_votes: situation.parent_votes.clone(),
        facts,
        ..Body::default()
    };
    let mut room = Room::beside(&body)?;
    body.inbound = inbound(situation, executed, &mut room);
    let waiting = views::inbox_waiting(&executed.state, situation.network, situation.chain);
    let has_inbound = !body.inbound.is_empty() || waiting > 0;
    let transactions = transactions(situation, executed, newest, &room, has_inbound);
    // A chain's first state can be proven once a header reports it and the beacon links it.
    let is_fresh = situation.last_working.height == Height::ZERO;
    let age_max = if is_fresh { 1 } else { REFERENCE_AGE_MAX };
    let is_later = newest.epoch > situation.epoch;
    if !has_inbound && transactions.is_empty() && age < age_max && !is_later {
        return None;
    }
    Some(Draft {
        kind: BlockKind::Working,
        report,
        next: None,
        beacon: newest.block,
        body,
        transactions,
    })
}

fn beacon_working(
    situation: &Situation<'_>,
    executed: &Executed,
    report: Report,
    is_idle_time: bool,
) -> Option<Draft> {
    let mut body = Body {
        parent_votes: situation.parent_votes.clone(),
        ..Body::default()
    };
    let mut room = Room::beside(&body)?;
    // Evidence has room of its own: it comes first, and is bounded.
    let chain_id = situation.network.chain_id;
    let evidence = situation.evidence.due(&executed.state, chain_id);
    let evidence = evidence.into_iter().map(|it| (*it).clone());
    let evidence = evidence.map(|it| SystemOperation::Evidence(Box::new(it)));
    room.fill(&mut body.system, evidence);
    let has_evidence = !body.system.is_empty();
    body.inbound = inbound(situation, executed, &mut room);
    let record = |chain: ChainRef| views::shard_record(&executed.state, chain);
    let links = situation.links.newer_than(record);
    let is_seal = |link: &Arc<CrossLink>| link.header.kind == BlockKind::Seal;
    let is_due = is_epoch_due(situation, executed);
    // Other links, and words of newcomers, wait for the idle tick, so that the beacon's pace is not
    // the shards'.
    let waiting = views::inbox_waiting(&executed.state, situation.network, situation.chain);
    let has_inbound = !body.inbound.is_empty() || waiting > 0;
    let is_urgent = has_inbound || is_due || has_evidence || links.iter().any(is_seal);
    if !is_urgent && !is_idle_time {
        return None;
    }
    let ready = situation.ready.awaited(situation.committees);
    if !is_urgent && links.is_empty() && ready.is_empty() {
        return None;
    }
    let links = links.into_iter().map(|link| (*link).clone());
    let links = links.map(|link| SystemOperation::CrossLink(Box::new(link)));
    let ready = ready.into_iter().map(SystemOperation::Ready);
    room.fill(&mut body.system, links.chain(ready));
    let parent = situation
        .parent
        .map_or(situation.parent_report.block, Header::block_ref);
    Some(Draft {
        kind: BlockKind::Working,
        report,
        next: None,
        beacon: parent,
        body,
        transactions: Vec::new(),
    })
}

/// What is left of a body's bytes.
struct Room {
    left: usize,
}

impl Room {
    /// Beside what a body holds already; `None` when that alone is too long.
    fn beside(body: &Body) -> Option<Self> {
        let left = limits::BODY_BYTES_MAX.checked_sub(encode(body).len())?;
        Some(Self { left })
    }

    /// Takes `bytes`, if they are left.
    fn take(&mut self, bytes: usize) -> bool {
        let rest = self.left.checked_sub(bytes);
        self.left = rest.unwrap_or(self.left);
        rest.is_some()
    }

    /// Puts operations into a body, in order, as long as they fit and are not too many.
    fn fill(
        &mut self,
        system: &mut Vec<SystemOperation>,
        operations: impl IntoIterator<Item = SystemOperation>,
    ) {
        for operation in operations {
            let has_place = system.len() < limits::SYSTEM_OPERATIONS_MAX;
            if !has_place || !self.take(encode(&operation).len()) {
                return;
            }
            system.push(operation);
        }
    }
}

/// The batches of the block to be, which refers to the beacon's newest block.
fn inbound(situation: &Situation<'_>, executed: &Executed, room: &mut Room) -> Vec<InboundBatch> {
    let newest = situation.feed.map(BeaconFeed::newest);
    let own = situation
        .parent
        .map_or(Height::ZERO, |parent| parent.height);
    let scene = Scene {
        network: situation.network,
        chain: situation.chain,
        state: &executed.state,
        reference: newest.map_or(own, |newest| newest.block.height),
        facts: newest.and_then(|newest| newest.facts.as_deref()),
    };
    inclusion::choose(&scene, situation.inbound, &mut |bytes| room.take(bytes))
}

fn transactions(
    situation: &Situation<'_>,
    executed: &Executed,
    newest: &BeaconFinal,
    room: &Room,
    has_inbound: bool,
) -> Vec<Arc<CheckedTransaction>> {
    let height = situation
        .parent
        .map_or(Height::ZERO, |parent| parent.height)
        .next();
    let base_fee = views::base_fee(
        &executed.state,
        &situation.network.parameters,
        situation.chain,
        height,
    );
    let budget = Budget {
        transactions: situation
            .transactions_max
            .min(limits::BLOCK_TRANSACTIONS_MAX),
        bytes: room.left.min(limits::BODY_TRANSACTION_BYTES),
        gas: check::transactions_gas_max(situation.network, has_inbound),
        base_fee,
    };
    let state = &executed.state;
    let purses = RefCell::new(Purses::default());
    let mut forecast = Forecast::new(situation.network, situation.chain, state);
    if let Some(facts) = newest.facts.as_deref() {
        forecast.import(facts);
    }
    let forecast = RefCell::new(forecast);
    let admission = AdmissionContext {
        network: situation.network,
        chain: situation.chain,
        beacon_height: newest.block.height,
        base_fee,
    };
    situation.mempool.select(
        budget,
        &|_| false,
        &|sender, stream| views::next_nonce(state, sender, stream),
        newest.block.height,
        &|transaction: &CheckedTransaction| {
            let need = check::check_static(transaction, state, &admission).ok()?;
            // What has no credit would fail for its fee: it waits.
            let is_paid = purses.borrow_mut().pay(state, transaction, need.gas);
            let is_chosen = is_paid && forecast.borrow_mut().admits(transaction.body());
            is_chosen.then_some(need.near)
        },
    )
}

/// What the senders of a block's transactions have left for fees, so that nobody fills blocks with
/// transactions that cannot pay and are void.
#[derive(Default)]
struct Purses {
    left: BTreeMap<Address, u128>,
}

impl Purses {
    /// Takes fee and attached `sker` from the sender's purse; false when the fee is not there.
    fn pay(&mut self, state: &StateTree, transaction: &CheckedTransaction, gas: Gas) -> bool {
        let body = transaction.body();
        let left = self
            .left
            .entry(body.sender)
            .or_insert_with(|| views::balance(state, &body.sender, &Denom::SKER).get());
        let fee = body.gas_price.get().saturating_mul(u128::from(gas.get()));
        let Some(rest) = left.checked_sub(fee) else {
            return false;
        };
        let attached = body
            .bundle
            .assets
            .iter()
            .filter(|asset| asset.denom == Denom::SKER);
        let sent: u128 = attached.map(|asset| asset.amount.get()).sum();
        // What is attached and not there makes the transaction fail, and its fee is still charged.
        *left = rest.checked_sub(sent).unwrap_or(rest);
        true
    }
}

#[cfg(test)]
mod tests;
