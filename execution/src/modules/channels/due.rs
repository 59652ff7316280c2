//! What cross-links have shown as sent to a chain and the chain has not accepted: which batches are
//! *due*, and in which order.
//!
//! Whenever a chain learns that a source has sent more, it keeps a mark: up to where, and the beacon
//! height of the cross-link that shows it. So every copy of the state knows the same marks, whenever
//! its node was started, and who proposes and who votes agree on what is due in a block: the batches
//! below a mark whose cross-link lies [`DUE_AFTER`] beacon blocks or more before the block's
//! reference. A chain learns of cross-links by the facts that it imports; the beacon, by its own
//! records.
//!
//! Rules: DESIGN section 9, forced inclusion.

use super::state::{InboundState, due_key, inbound_key};
use crate::block::BlockContext;
use crate::modules::crosslinks;
use crate::overlay::BlockOverlay;
use crate::view::decode_record;
use borsh::{BorshDeserialize, BorshSerialize};
use skerry_types::beacon::Facts;
use skerry_types::codec::{self, Version};
use skerry_types::ids::{ChainRef, Height, Sequence};
use skerry_types::message::ChannelSummary;
use skerry_types::state::Value;

/// D: how many beacon blocks lie between a cross-link and the first reference at which what it shows
/// is due.
pub const DUE_AFTER: u64 = 2;
/// Most marks of one source. What is sent beyond them is as old as the last of them: it is due no later
/// for that.
pub const MARKS_MAX: usize = 64;

/// Up to where a cross-link shows messages as sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct DueMark {
    /// Beacon height of the cross-link; of what the beacon sends, of the reference that showed it.
    pub linked_at: Height,
    /// Position after the last message.
    pub end: Sequence,
}

/// The marks of one source that are not wholly accepted, in order; absent when there are none.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct DueRecord {
    /// Version byte.
    pub version: Version,
    /// Heights and positions rise.
    pub marks: Vec<DueMark>,
}

impl DueRecord {
    /// Beacon height of the cross-link that first showed a batch which ends at `end`, as far as this
    /// chain has learnt of it.
    pub fn linked_at(&self, end: Sequence) -> Option<Height> {
        let mut marks = self.marks.iter();
        let mark = marks.find(|mark| mark.end >= end)?;
        Some(mark.linked_at)
    }

    /// Whether the marks rise, and are not too many.
    pub(crate) fn is_sound(&self) -> bool {
        let rises = |pair: &[DueMark]| match pair {
            [one, next] => one.linked_at < next.linked_at && one.end < next.end,
            _ => true,
        };
        (1..=MARKS_MAX).contains(&self.marks.len()) && self.marks.windows(2).all(rises)
    }

    pub(super) fn note(&mut self, mark: DueMark) {
        let is_full = self.marks.len() >= MARKS_MAX;
        match self.marks.last_mut() {
            Some(last) if mark.end <= last.end => {}
            Some(last) if is_full || mark.linked_at <= last.linked_at => last.end = mark.end,
            _ => self.marks.push(mark),
        }
    }
}

/// Whether what was cross-linked at `linked_at` is due in a block that refers to the beacon's
/// `reference`.
pub fn is_due(linked_at: Height, reference: Height) -> bool {
    linked_at.saturating_add(DUE_AFTER) <= reference
}

/// On a shard: takes note of what imported facts show as sent to it.
pub(crate) fn note(overlay: &mut BlockOverlay<'_>, context: &BlockContext, facts: &Facts) {
    let here = context.chain;
    for record in facts.shards.iter().filter(|record| record.chain != here) {
        let link = (record.linked_at, &*record.channels);
        note_source(overlay, here, record.chain, link);
    }
    let link = (context.beacon.height, &*facts.beacon_channels);
    note_source(overlay, here, ChainRef::Beacon, link);
}

/// On the beacon: takes note of what its own records show as sent to it.
pub(crate) fn note_from_records(overlay: &mut BlockOverlay<'_>, context: &BlockContext) {
    for record in crosslinks::load_records(overlay, context).into_values() {
        let link = (record.linked_at, &*record.channels);
        note_source(overlay, ChainRef::Beacon, record.chain, link);
    }
}

fn note_source(
    overlay: &mut BlockOverlay<'_>,
    here: ChainRef,
    source: ChainRef,
    (linked_at, channels): (Height, &[ChannelSummary]),
) {
    let summary = channels.iter().find(|summary| summary.peer == here);
    let end = Sequence::new(summary.map_or(0, |summary| summary.sent.messages));
    let stored = overlay.get(inbound_key(here, source));
    let inbound = stored.and_then(|it| decode_record::<InboundState>(&it).ok());
    let accepted = inbound.unwrap_or_default().accepted_cursor();
    let key = due_key(here, source);
    let stored = overlay.get(key.clone());
    let before = stored.and_then(|it| decode_record::<DueRecord>(&it).ok());
    let before = before.unwrap_or_default();
    let mut record = before.clone();
    record.marks.retain(|mark| mark.end > accepted);
    if end > accepted {
        record.note(DueMark { linked_at, end });
    }
    if record != before {
        let value = (!record.marks.is_empty()).then(|| Value::from(codec::encode(&record)));
        overlay.put(key, value);
    }
}
