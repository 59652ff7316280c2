//! Which inbound batches belong into a block: what a leader embeds, and what a voter misses.
//!
//! Both go by the parent's state and the block's reference. They show which batches are *due*, and since
//! when they were cross-linked ([`skerry_execution::views::due`]). A leader embeds due batches in the
//! order of their cross-links, then by source, skipping only what it does not have, and stops where the
//! next finds no room; what else waits comes after, in turns. A voter that has told its committee of a
//! due batch long enough ago notarizes no block that leaves it out, unless what is there shows that the
//! leader had to stop before it. So a proposer cannot censor, and one that keeps the order is never
//! refused.
//!
//! Rules: DESIGN section 9, forced inclusion.

use crate::relay::{BATCH_ROOM, InboundPool, Waiting};
use crate::wire::BATCH_FRAME_BYTES_MAX;
use skerry_execution::fence::check_fence;
use skerry_execution::inbox::Accepted;
use skerry_execution::network::NetworkInfo;
use skerry_execution::outbox::within;
use skerry_execution::validate::{check_allowance, check_credit};
use skerry_execution::views::{self, DueRecord};
use skerry_types::beacon::{Facts, ShardRecord, SystemOperation};
use skerry_types::block::Body;
use skerry_types::codec::encode;
use skerry_types::ids::{ChainRef, Epoch, Height, Sequence, TimeMs};
use skerry_types::limits::{BATCH_BYTES_MAX, BODY_BYTES_MAX, INBOUND_BYTES_MAX};
use skerry_types::message::InboundBatch;
use skerry_types::state::StateRead;
use std::collections::BTreeMap;
use std::vec::IntoIter;

/// Most bytes of a body that inbound batches fill, proofs included: half of it.
pub const INBOUND_ROOM: usize = BODY_BYTES_MAX / 2;

// Whatever else waits, the next batch of a channel gets into a block.
const _: () = assert!(BATCH_FRAME_BYTES_MAX <= INBOUND_ROOM);
// A voter can tell from what is there whether the largest batch would have had room.
const _: () = assert!(BATCH_ROOM <= INBOUND_ROOM);

/// A block to be, as far as its inbound batches depend on it.
#[derive(Clone, Copy)]
pub struct Scene<'a> {
    /// The network.
    pub network: &'a NetworkInfo,
    /// The chain.
    pub chain: ChainRef,
    /// State after the parent.
    pub state: &'a dyn StateRead,
    /// Height of the beacon block that it refers to; on the beacon, of the parent.
    pub reference: Height,
    /// What that shows; on the beacon nothing, there the state says it.
    pub facts: Option<&'a Facts>,
}

/// In which order batches come: due ones by cross-link and source, then all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Due(Height, ChainRef),
    Other,
}

impl Scene<'_> {
    /// The epoch of `source` whose headers prove something in the block.
    fn open_epoch(&self, source: ChainRef) -> Option<Epoch> {
        match self.facts {
            Some(facts) => facts.open_epoch(source),
            None => views::open_epoch(self.state, self.chain, source),
        }
    }

    /// What the reference shows of a source; nothing of the beacon.
    fn record(&self, source: ChainRef) -> Option<ShardRecord> {
        match self.facts {
            Some(facts) => facts.shard(source).cloned(),
            None => views::known_record(self.state, self.chain, source),
        }
    }

    /// Whether the block may hold a batch, when it follows what was `accepted`; counts it there.
    fn admits(&self, inbound: &InboundBatch, accepted: &mut Accepted) -> bool {
        let source = inbound.batch.source;
        let is_open = self.open_epoch(source) == Some(inbound.proof.header.epoch);
        let record = self.record(source);
        // The fence of its source, if it has one, must let it in.
        let is_fenced_out = |record: &ShardRecord| check_fence(record, &inbound.proof).is_err();
        if !is_open || record.as_ref().is_some_and(is_fenced_out) {
            return false;
        }
        *accepted = accepted.after(self.network, &inbound.batch);
        let (network, flow) = (self.network, &accepted.flow);
        let is_known = match record {
            _ if self.chain.is_beacon() => {
                within(flow, &views::linked_to_beacon(self.state, source))
            }
            Some(record) => check_allowance(network, &record, self.chain, flow).is_ok(),
            None => true,
        };
        is_known && check_credit(network, self.state, (self.chain, source), accepted).is_ok()
    }

    /// Beacon height of the cross-link that showed a batch: by the marks of the parent's state, or by what
    /// the block's own reference shows. After a standstill nothing else knows it.
    fn linked_at(&self, due: &DueRecord, source: ChainRef, end: Sequence) -> Option<Height> {
        due.linked_at(end).or_else(|| {
            let record = self.facts?.shard(source)?;
            let mut channels = record.channels.iter();
            let summary = channels.find(|summary| summary.peer == self.chain)?;
            (end.get() <= summary.sent.messages).then_some(record.linked_at)
        })
    }

    fn rank(&self, due: &DueRecord, source: ChainRef, end: Sequence) -> Rank {
        match self.linked_at(due, source, end) {
            Some(linked_at) if views::is_due(linked_at, self.reference) => {
                Rank::Due(linked_at, source)
            }
            _ => Rank::Other,
        }
    }
}

/// The batches that a leader embeds; `take` says whether so many bytes more find room in the body.
pub fn choose(
    scene: &Scene<'_>,
    pool: &InboundPool,
    take: &mut dyn FnMut(usize) -> bool,
) -> Vec<InboundBatch> {
    let mut sources = pool.sources();
    // Whose turn it is among what is not due: beginning after the source of the last batch accepted, so
    // that a source that is busy keeps no other from its turn.
    let turns = views::turns(scene.state, scene.chain);
    let before = |source: &ChainRef| turns.is_some_and(|turns| *source < turns.accept);
    let first = sources.iter().filter(|source| before(source)).count();
    sources.rotate_left(first);
    let offers = sources.into_iter();
    let mut offers: Vec<Offer<'_>> = offers
        .map(|source| Offer::of(scene, pool, source))
        .collect();
    let mut chosen = Vec::new();
    let mut budget = Budget::default();
    loop {
        offers.retain(|offer| offer.next.is_some());
        // Of equals the first: who was served goes to the end.
        let ranks = (0_usize..).zip(&offers);
        let Some((position, _)) = ranks.min_by_key(|(position, offer)| (offer.rank, *position))
        else {
            break;
        };
        let mut offer = offers.remove(position);
        let Some(next) = offer.next.take() else {
            break;
        };
        budget.count(&next.inbound, next.bytes);
        if !budget.fits() || !take(next.bytes) {
            break;
        }
        chosen.push((*next.inbound).clone());
        offer.advance();
        offers.push(offer);
    }
    chosen
}

/// What is counted of the batches of a block.
#[derive(Clone, Copy, Default)]
struct Budget {
    /// Bytes of messages.
    messages: usize,
    /// Bytes of the body, proofs included.
    encoded: usize,
}

impl Budget {
    fn count(&mut self, inbound: &InboundBatch, encoded: usize) {
        let bytes = usize::try_from(inbound.batch.message_bytes()).unwrap_or(usize::MAX);
        self.messages = self.messages.saturating_add(bytes);
        self.encoded = self.encoded.saturating_add(encoded);
    }

    const fn fits(self) -> bool {
        self.messages <= INBOUND_BYTES_MAX && self.encoded <= INBOUND_ROOM
    }

    /// Whether any batch would have found room beside these, where so many bytes of the body were
    /// taken before.
    const fn has_room(self, before: usize) -> bool {
        let encoded = self.encoded.saturating_add(BATCH_ROOM);
        self.messages.saturating_add(BATCH_BYTES_MAX) <= INBOUND_BYTES_MAX
            && encoded <= INBOUND_ROOM
            && before.saturating_add(encoded) <= BODY_BYTES_MAX
    }
}

/// What a source has for the block to be.
struct Offer<'a> {
    scene: &'a Scene<'a>,
    source: ChainRef,
    due: DueRecord,
    /// The batches that follow the next one.
    waiting: IntoIter<Waiting>,
    /// Its counters after the batches so far.
    accepted: Accepted,
    next: Option<Waiting>,
    rank: Rank,
}

impl<'a> Offer<'a> {
    fn of(scene: &'a Scene<'a>, pool: &InboundPool, source: ChainRef) -> Self {
        let channel = views::inbound(scene.state, scene.chain, source);
        let waiting = pool.contiguous(source, channel.accepted_cursor());
        let mut offer = Self {
            scene,
            source,
            due: views::due(scene.state, scene.chain, source),
            waiting: waiting.into_iter(),
            accepted: Accepted::of(&channel),
            next: None,
            rank: Rank::Other,
        };
        offer.advance();
        offer
    }

    /// Goes on to the next batch, when the block may hold it.
    fn advance(&mut self) {
        let next = self.waiting.next();
        let accepted = &mut self.accepted;
        self.next = next.filter(|next| self.scene.admits(&next.inbound, accepted));
        if let Some(next) = &self.next {
            let end = next.inbound.batch.end();
            self.rank = self.scene.rank(&self.due, self.source, end);
        }
    }
}

/// A due batch that a block leaves out, and its leader must have had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Omission {
    /// Where it comes from.
    pub source: ChainRef,
    /// Position of its first message.
    pub first: Sequence,
    /// Beacon height of the cross-link that showed it.
    pub linked_at: Height,
}

/// A due batch that a body leaves out although this node told its committee of it at `told_by` or
/// before, and although nothing that is there says why: either something of a later rank is in, or
/// any batch would have found room.
pub fn omission(
    scene: &Scene<'_>,
    pool: &InboundPool,
    body: &Body,
    told_by: TimeMs,
) -> Option<Omission> {
    let mut channels: BTreeMap<ChainRef, (Accepted, Sequence, DueRecord)> = BTreeMap::new();
    for source in pool.sources() {
        let channel = views::inbound(scene.state, scene.chain, source);
        let due = views::due(scene.state, scene.chain, source);
        let at_start = (Accepted::of(&channel), channel.accepted_cursor(), due);
        channels.insert(source, at_start);
    }
    let mut budget = Budget::default();
    let mut last = None;
    for inbound in &body.inbound {
        budget.count(inbound, encode(inbound).len());
        let source = inbound.batch.source;
        let rank = match channels.get_mut(&source) {
            Some((accepted, cursor, due)) => {
                *cursor = inbound.batch.end();
                *accepted = accepted.after(scene.network, &inbound.batch);
                scene.rank(due, source, *cursor)
            }
            None => {
                let due = views::due(scene.state, scene.chain, source);
                scene.rank(&due, source, inbound.batch.end())
            }
        };
        last = last.max(Some(rank));
    }
    let has_room = budget.has_room(bytes_before(body));
    let missed = |(source, counted): (ChainRef, (Accepted, Sequence, DueRecord))| {
        let (mut accepted, first, due) = counted;
        let waiting = pool.told(source, first, told_by)?;
        let rank = scene.rank(&due, source, waiting.inbound.batch.end());
        let Rank::Due(linked_at, _) = rank else {
            return None;
        };
        let omitted = has_room || last > Some(rank);
        let omitted = omitted && scene.admits(&waiting.inbound, &mut accepted);
        omitted.then_some(Omission {
            source,
            first,
            linked_at,
        })
    };
    channels.into_iter().find_map(missed)
}

/// Bytes of a body that its leader has filled before it looks for batches.
fn bytes_before(body: &Body) -> usize {
    let system = body.system.iter();
    let evidence = system.filter(|operation| matches!(operation, SystemOperation::Evidence(_)));
    let before = Body {
        parent_votes: body.parent_votes.clone(),
        facts: body.facts.clone(),
        system: evidence.cloned().collect(),
        ..Body::default()
    };
    encode(&before).len()
}

#[cfg(test)]
mod tests;
