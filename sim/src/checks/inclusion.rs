//! An honest member does not vote for a block that leaves out what it has told its committee of.
//!
//! What members tell is read off their frames, what is due off the states that they executed, and
//! when a proposal came at the earliest off its first frame: none of it off what the code under test
//! makes of these.

use super::{Broken, Place};
use crate::plan::{Fault, MILLI, Plan};
use skerry::wire::BatchesHeld;
use skerry_execution::views::{self, DueRecord, is_due};
use skerry_storage::StateTree;
use skerry_types::beacon::Facts;
use skerry_types::block::{BlockKind, Body, Header};
use skerry_types::codec::decode;
use skerry_types::consensus::Proposal;
use skerry_types::ids::{ChainRef, Digest, Epoch, Sequence};
use skerry_types::limits;
use std::collections::BTreeMap;

/// For how many Δ a voter must have told of a batch: four since the second time, which comes one after
/// the first, and one for the steps of its chain.
const NOTICE: u64 = 6;
/// By how much a clock that is set back makes a time seem shorter: from one end of the range to the other.
const SET_BACK: u64 = 800 * MILLI;
/// Bytes of a body below which any batch would have found room.
const SMALL: usize = 512 * 1024;

/// A batch, as a member told of it.
#[derive(Clone, Copy)]
struct Told {
    /// For the first time.
    at: u64,
    /// The epoch of the committee that was told.
    epoch: Epoch,
    /// That by which the batch was proven; proven anew, it is told of anew.
    proven_by: Option<Epoch>,
}

/// A proposal that leaves something out, maybe.
struct Proposed {
    at: u64,
    header: Header,
    /// Where what it embeds ends.
    ends: BTreeMap<ChainRef, u64>,
    facts: Option<Facts>,
}

/// What a state says of a source.
struct Source {
    cursor: u64,
    due: DueRecord,
    /// The epoch of it that proves something.
    open: Option<Epoch>,
}

/// What was seen of batches and proposals.
pub(super) struct Inclusion {
    notice: u64,
    told: BTreeMap<(usize, ChainRef, ChainRef, u64), Told>,
    proposed: BTreeMap<Digest, Proposed>,
    /// What it sends may be more than is granted or allowed: then it is rightly left out.
    captured: Option<ChainRef>,
    /// After each block: the sources that have marks.
    due: BTreeMap<Digest, BTreeMap<ChainRef, Source>>,
}

impl Inclusion {
    pub(super) fn new(plan: &Plan) -> Self {
        let delta_ms = plan.genesis.parameters.delta_ms;
        let notice = delta_ms.saturating_mul(NOTICE).saturating_mul(MILLI);
        let mut faults = plan.faults.iter();
        let set_back = faults.any(|(_, fault)| matches!(fault, Fault::ClockJump { .. }));
        Self {
            notice: notice.saturating_add(if set_back { SET_BACK } else { 0 }),
            told: BTreeMap::new(),
            proposed: BTreeMap::new(),
            captured: plan.captured.as_ref().map(|captured| captured.shard),
            due: BTreeMap::new(),
        }
    }

    /// A node executed a block.
    pub(super) fn on_executed(
        &mut self,
        chain: ChainRef,
        block: Digest,
        state: &StateTree,
        sources: &[ChainRef],
    ) {
        if self.due.contains_key(&block) {
            return;
        }
        let mut found = BTreeMap::new();
        for source in sources.iter().filter(|source| **source != chain) {
            let due = views::due(state, chain, *source);
            if !due.marks.is_empty() {
                let cursor = views::inbound(state, chain, *source).accepted_cursor();
                let of = Source {
                    cursor: cursor.get(),
                    due,
                    open: views::open_epoch(state, chain, *source),
                };
                found.insert(*source, of);
            }
        }
        self.due.insert(block, found);
    }

    /// An honest node tells its committee what it holds.
    pub(super) fn on_held(
        &mut self,
        (node, now): (usize, u64),
        (chain, epoch): Place,
        payload: &[u8],
        proven_by: &dyn Fn(ChainRef, Sequence) -> Option<Epoch>,
    ) {
        let held = decode::<BatchesHeld>(payload, limits::BODY_BYTES_MAX);
        for (source, first) in held.map(|held| held.batches).unwrap_or_default() {
            let told = Told {
                at: now,
                epoch,
                proven_by: proven_by(source, first),
            };
            let key = (node, chain, source, first.get());
            match self.told.get(&key) {
                Some(before) if (before.epoch, before.proven_by) == (epoch, told.proven_by) => {}
                _ => {
                    self.told.insert(key, told);
                }
            }
        }
    }

    /// A restarted node has told nobody of anything.
    pub(super) fn on_restart(&mut self, node: usize) {
        self.told.retain(|(other, ..), _| *other != node);
    }

    /// Somebody proposes.
    pub(super) fn on_proposal(&mut self, now: u64, proposal: &Proposal) {
        let digest = proposal.header.digest();
        let is_working = proposal.header.kind == BlockKind::Working;
        if !is_working || proposal.body.len() > SMALL || self.proposed.contains_key(&digest) {
            return;
        }
        let Ok(body) = decode::<Body>(&proposal.body, limits::BODY_BYTES_MAX) else {
            return;
        };
        let ends = body.inbound.iter();
        let ends = ends.map(|it| (it.batch.source, it.batch.end().get()));
        let proposed = Proposed {
            at: now,
            header: proposal.header.clone(),
            ends: ends.collect(),
            facts: body.facts,
        };
        self.proposed.insert(digest, proposed);
    }

    /// An honest node votes for a block; `proven_by` says by which epoch a batch that it holds is
    /// proven.
    pub(super) fn on_notarize(
        &self,
        node: usize,
        (chain, epoch): Place,
        digest: &Digest,
        proven_by: &dyn Fn(ChainRef, Sequence) -> Option<Epoch>,
    ) -> Broken {
        let Some(proposed) = self.proposed.get(digest) else {
            return Ok(());
        };
        let header = &proposed.header;
        let Some(due) = self.due.get(&header.report.block.digest) else {
            return Ok(());
        };
        for (source, of) in due.iter().filter(|it| Some(*it.0) != self.captured) {
            let first = *proposed.ends.get(source).unwrap_or(&of.cursor);
            let linked_at = of.due.linked_at(Sequence::new(first.saturating_add(1)));
            let is_due = linked_at.is_some_and(|at| is_due(at, header.beacon.height));
            let facts = proposed.facts.as_ref();
            let open = facts.map_or(of.open, |facts| facts.open_epoch(*source));
            // Of a closed epoch a proof is worth nothing: such a batch must be proven anew.
            let is_proven = proven_by(*source, Sequence::new(first)) == open;
            let told = self.told.get(&(node, chain, *source, first));
            let told = told
                .filter(|it| (it.epoch, it.proven_by) == (epoch, open))
                .map(|it| it.at)
                .filter(|at| at.saturating_add(self.notice) < proposed.at);
            if let Some(told) = told.filter(|_| is_due && is_proven) {
                return Err(format!(
                    "node {node} votes for block {} of {chain}, which leaves out the batch of \
                     {source} at {first}; it had told of it {} ms before",
                    header.height,
                    proposed.at.saturating_sub(told) / MILLI
                ));
            }
        }
        Ok(())
    }
}
