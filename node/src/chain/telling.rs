//! How the members of a committee tell each other of the batches that they hold, and whom they do not
//! follow: a leader that leaves out what it must have, or refers to a beacon block that is too old.
//!
//! Both are rules of voting, never of validity: who keeps them decides by what it has itself told and
//! seen, so that another may decide otherwise, and a block that a quorum follows is as good as any. A
//! leader hears of a batch within Δ, asks for it, and has it within 4Δ; so it has been told of what a
//! voter holds against it. All is told again after Δ, and every 4Δ while it waits, and a voter counts
//! from the second time: the first word may have come before a member could hear it. Whoever connects
//! is told at once. A leader that was away hears of all within 4Δ; a block of it before may be refused.
//!
//! Rules: DESIGN section 9, forced inclusion.

use super::blocks::Entry;
use super::{ChainNode, Output, Peer};
use crate::inclusion::{Omission, Scene, omission};
use crate::wire::{BatchesHeld, HELD_MAX, kind};
use skerry_consensus::output::To;
use skerry_execution::views;
use skerry_types::block::BlockKind;
use skerry_types::codec::{decode, encode};
use skerry_types::ids::{ChainRef, Epoch, Height, LogPosition, Sequence, TimeMs};
use std::collections::BTreeMap;

/// For how many Δ a leader must have known what a voter holds against it.
const NOTICE: u64 = 4;
/// By how many beacon blocks a reference may lie behind the newest that a voter saw final so long ago.
const REFERENCE_LAG_MAX: u64 = 2;
/// Largest list of batches that is decoded.
const HELD_BYTES_MAX: usize = 16 * 1024;

impl ChainNode {
    fn notice_ms(&self) -> u64 {
        let delta = self.shared.network.parameters.delta_ms;
        delta.saturating_mul(NOTICE)
    }

    /// Tells the committee of new batches, and again of all that wait: a member may have been away.
    pub(super) fn tell_batches(&mut self, out: &mut Vec<Output>) {
        if self.instance.voter.is_none() {
            return;
        }
        let mut told = self.inbound.tell(self.now);
        if !told.is_empty() {
            let soon = self
                .now
                .saturating_add(self.shared.network.parameters.delta_ms);
            self.tell_again_at = Some(self.tell_again_at.map_or(soon, |at| at.min(soon)));
        }
        if self.tell_again_at.is_some_and(|at| at <= self.now) {
            told = self.inbound.tell_again(self.now);
            let later = self.now.saturating_add(self.notice_ms());
            self.tell_again_at = Some(later).filter(|_| !told.is_empty());
        }
        for batches in told.chunks(HELD_MAX) {
            let batches = batches.to_vec();
            let payload: super::Payload = encode(&BatchesHeld { batches }).into();
            self.send_to(
                &self.instance,
                To::All,
                kind::BATCHES_HELD,
                &payload,
                LogPosition::ZERO,
                out,
            );
        }
    }

    /// When they are told again.
    pub(super) fn tell_again_deadline(&self) -> Option<TimeMs> {
        self.instance.voter.as_ref().and(self.tell_again_at)
    }

    /// Tells one that has just connected.
    pub(super) fn tell_peer(&self, peer: Peer, out: &mut Vec<Output>) {
        let key = self.peers.get(&peer).and_then(|state| state.key);
        let is_member = key.is_some_and(|key| self.instance.member(&key).is_some());
        if self.instance.voter.is_none() || !is_member {
            return;
        }
        for batches in self.inbound.held().chunks(HELD_MAX) {
            let batches = batches.to_vec();
            let payload = encode(&BatchesHeld { batches });
            self.send_peer(peer, kind::BATCHES_HELD, payload, out);
        }
    }

    /// A member says which batches it holds.
    pub(super) fn on_held(&mut self, peer: Peer, payload: &[u8]) {
        let key = self.peers.get(&peer).and_then(|state| state.key);
        let is_member = key.is_some_and(|key| self.instance.member(&key).is_some());
        if self.instance.voter.is_none() || !is_member {
            return;
        }
        let Ok(BatchesHeld { batches }) = decode(payload, HELD_BYTES_MAX) else {
            return;
        };
        let state = &self.tree.root().executed.state;
        // One lookup for each source, however many batches are named.
        let mut cursors: BTreeMap<ChainRef, Sequence> = BTreeMap::new();
        for (source, first) in batches {
            if source == self.chain || !self.shared.network.has(source) {
                continue;
            }
            let cursor = cursors.entry(source).or_insert_with(|| {
                let channel = views::inbound(state, self.chain, source);
                channel.accepted_cursor()
            });
            let told = (peer, self.now);
            self.inbound.heard((source, first), told, *cursor);
        }
    }

    /// A batch for a member that lacks it.
    pub(super) fn serve_held(
        &mut self,
        peer: Peer,
        (source, first): (ChainRef, Sequence),
        out: &mut Vec<Output>,
    ) {
        let key = self.peers.get(&peer).and_then(|state| state.key);
        let is_member = key.is_some_and(|key| self.instance.member(&key).is_some());
        if !is_member || !self.may_serve(peer) {
            return;
        }
        if let Some(inbound) = self.inbound.get(source, first) {
            let payload = encode(&**inbound);
            self.charge(peer, payload.len());
            self.send_peer(peer, kind::BATCH_PUSH, payload, out);
        }
    }

    /// The epoch by which a batch that waits here is proven; for the simulator's checks.
    pub fn proven_by(&self, source: ChainRef, first: Sequence) -> Option<Epoch> {
        let inbound = self.inbound.get(source, first)?;
        Some(inbound.proof.header.epoch)
    }

    /// Why this node does not follow a valid block's leader, if it does not.
    pub(super) fn withholds(&self, entry: &Entry) -> Option<String> {
        let header = &*entry.header;
        if header.kind != BlockKind::Working || entry.is_final {
            return None;
        }
        let told_by = entry.received_at.get().checked_sub(self.notice_ms())?;
        let told_by = TimeMs::new(told_by);
        if let Some(feed) = &self.feed
            && let Some(newest) = feed.newest_by(told_by)
            && is_stale(header.beacon.height, newest)
        {
            return Some(format!(
                "its beacon reference is {}, while {newest} has long been final",
                header.beacon.height
            ));
        }
        let work = entry.work.as_ref()?;
        let parent = self.tree.state_at(&header.parent)?;
        let imported = match (&work.body.facts, self.inbound.count()) {
            _ if self.chain.is_beacon() => None,
            (_, 0) => return None,
            (Some(_), _) => None,
            (None, _) => Some(views::imported_facts(
                &parent.state,
                &self.shared.network,
                self.chain,
            )),
        };
        let scene = Scene {
            network: &self.shared.network,
            chain: self.chain,
            state: &parent.state,
            reference: header.beacon.height,
            facts: work.body.facts.as_ref().or(imported.as_ref()),
        };
        let Omission {
            source,
            first,
            linked_at,
        } = omission(&scene, &self.inbound, &work.body, told_by)?;
        Some(format!(
            "it leaves out the batch of {source} at {first}, cross-linked at beacon height {linked_at}"
        ))
    }
}

/// Whether a reference is more than [`REFERENCE_LAG_MAX`] blocks older than `newest`.
fn is_stale(reference: Height, newest: Height) -> bool {
    reference.saturating_add(REFERENCE_LAG_MAX) < newest
}

#[cfg(test)]
mod tests;
