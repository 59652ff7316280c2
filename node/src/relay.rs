//! Batches on their way: those that this chain sent, and those that wait to be included here.
//!
//! Two members of the source push each batch as soon as its state is reported by a final header;
//! what a destination still misses after [`RETRY_MS`] it pulls from the source's followers, one
//! after the other.

use skerry_execution::proofs::PATH_HEADERS_MAX;
use skerry_types::codec::encode;
use skerry_types::crypto::hash::{Purpose, hash_parts};
use skerry_types::ids::{ChainRef, Digest, MemberIndex, Sequence, TimeMs};
use skerry_types::limits::{
    BATCH_BYTES_MAX, BATCH_MESSAGES_MAX, CERTIFICATE_BYTES_MAX, HEADER_BYTES_MAX, PROOF_BYTES_MAX,
};
use skerry_types::message::{BatchProof, InboundBatch};
use std::collections::BTreeMap;
use std::sync::Arc;

/// How long a destination waits for the push before it pulls.
pub const RETRY_MS: u64 = 50;
/// How long it waits for the answer to a pull before it asks another.
pub const PULL_MS: u64 = 400;
/// How many seats push each batch.
const PUSHERS: u64 = 2;
/// Most batches kept for one source. Those that a block can hold first stay; the farthest are dropped and
/// pulled again later.
pub const BATCHES_PER_SOURCE_MAX: usize = 256;
/// Most bytes of all batches that are kept, their proofs included. Each source that was heard of has an
/// equal share, so that none takes the room of the others; of each the first batch is kept in any case.
const POOL_BYTES_MAX: usize = 64 * 1024 * 1024;
/// The most that a batch takes with its proof, some lengths and ids beside it.
const BATCH_ROOM: usize = BATCH_BYTES_MAX
    + 4 * BATCH_MESSAGES_MAX
    + (PATH_HEADERS_MAX + 1) * HEADER_BYTES_MAX
    + PROOF_BYTES_MAX
    + CERTIFICATE_BYTES_MAX
    + 1024;

/// Whether member `me` of a source committee of `members` pushes the batch of `root`.
pub fn is_pusher(root: &Digest, me: MemberIndex, members: usize) -> bool {
    let count = u64::try_from(members).unwrap_or(1).max(1);
    let start = hash_parts(Purpose::SEED, &[root.as_bytes()]).low_u64() % count;
    (0..PUSHERS.min(count)).any(|turn| (start + turn) % count == u64::from(me.get()))
}

/// A verified batch that waits to be included.
#[derive(Clone, Debug)]
pub struct Waiting {
    /// The batch with its proof.
    pub inbound: Arc<InboundBatch>,
    /// Bytes by which it lengthens a body: its messages, and a proof that may be longer than they.
    pub bytes: usize,
}

/// Verified batches from other chains that no final block here holds yet.
#[derive(Debug, Default)]
pub struct InboundPool {
    sources: BTreeMap<ChainRef, Source>,
}

#[derive(Debug, Default)]
struct Source {
    batches: BTreeMap<Sequence, Waiting>,
    /// What is known to have been sent.
    announced: Sequence,
    /// Since when something announced is missing, and how often it was asked for.
    missing: Option<Missing>,
}

#[derive(Debug, Clone, Copy)]
struct Missing {
    first: Sequence,
    ask_at: TimeMs,
    asked: u64,
}

/// A batch to ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pull {
    /// Where it comes from.
    pub source: ChainRef,
    /// Position of its first message.
    pub first: Sequence,
    /// How often it was asked for before; chooses whom to ask.
    pub attempt: u64,
}

impl Source {
    fn bytes(&self) -> usize {
        let bytes = self.batches.values().map(|waiting| waiting.bytes);
        bytes.fold(0, usize::saturating_add)
    }

    /// Whether the batch at `first` is not here and would stay: there is room for the largest, or it
    /// displaces one that is farther.
    fn wants(&self, first: Sequence, share: usize) -> bool {
        let Some((last, _)) = self.batches.last_key_value() else {
            return true;
        };
        let largest = self.bytes().saturating_add(BATCH_ROOM);
        let has_room = self.batches.len() < BATCHES_PER_SOURCE_MAX && largest <= share;
        !self.batches.contains_key(&first) && (has_room || first < *last)
    }

    /// Drops the farthest batches until the others have room.
    fn trim(&mut self, share: usize) {
        let is_too_much = |held: &Self| {
            held.batches.len() > BATCHES_PER_SOURCE_MAX
                || held.batches.len() > 1 && held.bytes() > share
        };
        while is_too_much(self) {
            self.batches.pop_last();
        }
    }
}

impl InboundPool {
    /// Bytes that each source may hold.
    fn share(&self) -> usize {
        let sources = self.sources.len().max(1);
        let even = POOL_BYTES_MAX.checked_div(sources).unwrap_or(0);
        even.max(2 * BATCH_ROOM)
    }

    /// Whether the batch of a channel is not here yet, and would stay.
    pub fn wants(&self, source: ChainRef, first: Sequence) -> bool {
        let held = self.sources.get(&source);
        held.is_none_or(|held| held.wants(first, self.share()))
    }

    /// Batches that it holds.
    pub fn count(&self) -> usize {
        self.sources.values().map(|held| held.batches.len()).sum()
    }

    /// Takes a verified batch; the farthest of a source that holds too much then are dropped.
    pub fn insert(&mut self, inbound: Arc<InboundBatch>) {
        let source = self.sources.entry(inbound.batch.source).or_default();
        source.announced = source.announced.max(inbound.batch.end());
        let (first, bytes) = (inbound.batch.first, encode(&*inbound).len());
        source.batches.insert(first, Waiting { inbound, bytes });
        // The first of a source takes some of what the others may hold.
        let share = self.share();
        for held in self.sources.values_mut() {
            held.trim(share);
        }
    }

    /// Notes that `source` has sent all messages below `end`.
    pub fn announce(&mut self, source: ChainRef, end: Sequence) {
        let source = self.sources.entry(source).or_default();
        source.announced = source.announced.max(end);
    }

    /// Takes back that `source` has sent anything from `end` on: it will never be proven.
    pub fn withdraw(&mut self, source: ChainRef, end: Sequence) {
        if let Some(held) = self.sources.get_mut(&source) {
            held.announced = held.announced.min(end);
        }
    }

    /// The batches of `source` that follow `cursor` without a gap, in order.
    pub fn contiguous(&self, source: ChainRef, cursor: Sequence) -> Vec<Waiting> {
        let mut next = cursor;
        let mut found = Vec::new();
        let held = self.sources.get(&source);
        while let Some(waiting) = held.and_then(|held| held.batches.get(&next)) {
            next = waiting.inbound.batch.end();
            found.push(waiting.clone());
        }
        found
    }

    /// Whether a block on a state with these cursors would have something to accept.
    pub fn has_work(&self, cursor: impl Fn(ChainRef) -> Sequence) -> bool {
        self.sources
            .iter()
            .any(|(source, held)| held.batches.contains_key(&cursor(*source)))
    }

    /// Sources that were heard of.
    pub fn sources(&self) -> Vec<ChainRef> {
        self.sources.keys().copied().collect()
    }

    /// Forgets what the final state has accepted.
    pub fn prune(&mut self, cursor: impl Fn(ChainRef) -> Sequence) {
        for (source, held) in &mut self.sources {
            let accepted = cursor(*source);
            held.batches.retain(|first, _| *first >= accepted);
        }
    }

    /// Forgets batches of a source whose proof counts for nothing any more.
    pub fn keep_proven(&mut self, source: ChainRef, counts: impl Fn(&BatchProof) -> bool) {
        if let Some(held) = self.sources.get_mut(&source) {
            held.batches.retain(|_, it| counts(&it.inbound.proof));
        }
    }

    /// What to ask for now, given the final cursors.
    pub fn pulls(&mut self, now: TimeMs, cursor: impl Fn(ChainRef) -> Sequence) -> Vec<Pull> {
        let mut pulls = Vec::new();
        let share = self.share();
        for (source, held) in &mut self.sources {
            let mut first = cursor(*source);
            while let Some(waiting) = held.batches.get(&first) {
                first = waiting.inbound.batch.end();
            }
            // What would not stay is asked for once there is room.
            if first >= held.announced || !held.wants(first, share) {
                held.missing = None;
                continue;
            }
            match &mut held.missing {
                Some(missing) if missing.first == first => {
                    if missing.ask_at <= now {
                        pulls.push(Pull {
                            source: *source,
                            first,
                            attempt: missing.asked,
                        });
                        missing.asked = missing.asked.saturating_add(1);
                        missing.ask_at = now.saturating_add(PULL_MS);
                    }
                }
                _ => {
                    let ask_at = now.saturating_add(RETRY_MS);
                    held.missing = Some(Missing {
                        first,
                        ask_at,
                        asked: 0,
                    });
                }
            }
        }
        pulls
    }

    /// When [`Self::pulls`] may next have something.
    pub fn deadline(&self) -> Option<TimeMs> {
        self.sources
            .values()
            .filter_map(|held| held.missing.map(|missing| missing.ask_at))
            .min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{genesis, inbound, shard};
    use skerry_execution::network::NetworkInfo;

    /// A batch of one message with a proof of at least this length.
    fn batch(source: ChainRef, first: u64, bytes: usize) -> Arc<InboundBatch> {
        let network = NetworkInfo::of(&genesis(2));
        let channel = (source, shard(2, 3));
        Arc::new(inbound(&network, channel, (first, vec![vec![7]]), bytes))
    }

    fn held(pool: &InboundPool, source: ChainRef) -> (usize, usize) {
        let held = &pool.sources[&source];
        (held.batches.len(), held.bytes())
    }

    #[test]
    fn the_next_batch_displaces_the_farthest_in_a_full_pool() {
        let (source, most) = (shard(2, 1), BATCHES_PER_SOURCE_MAX as u64);
        let mut pool = InboundPool::default();
        for first in 1..=most {
            assert!(pool.wants(source, Sequence::new(first)));
            pool.insert(batch(source, first, 10));
        }
        let [next, last, beyond] = [0, most, most + 1].map(Sequence::new);
        assert!(!pool.wants(source, beyond));
        assert!(pool.contiguous(source, next).is_empty());
        // It is asked for, too.
        pool.announce(source, beyond.next());
        let mut now = TimeMs::ZERO;
        assert_eq!(pool.pulls(now, |_| next), []);
        now = now.saturating_add(RETRY_MS);
        assert_eq!(pool.pulls(now, |_| next).len(), 1);
        assert!(pool.wants(source, next));
        pool.insert(batch(source, 0, 10));
        assert_eq!(held(&pool, source).0, BATCHES_PER_SOURCE_MAX);
        assert_eq!(pool.contiguous(source, next).len(), BATCHES_PER_SOURCE_MAX);
        assert!(!pool.wants(source, last), "it was the farthest");
        now = now.saturating_add(PULL_MS);
        assert_eq!(pool.pulls(now, |_| next), [], "it would not stay");
        pool.prune(|_| Sequence::new(1));
        assert!(pool.wants(source, last));
    }

    #[test]
    fn a_source_fills_its_share_of_the_bytes_and_takes_no_room_of_others() {
        let each = BATCH_ROOM;
        let (busy, other) = (shard(2, 1), shard(2, 2));
        let mut pool = InboundPool::default();
        pool.announce(other, Sequence::new(5));
        for first in 1..100 {
            if pool.wants(busy, Sequence::new(first)) {
                pool.insert(batch(busy, first, each));
            }
        }
        let (count, bytes) = held(&pool, busy);
        assert!(count > 20 && bytes <= POOL_BYTES_MAX / 2, "{bytes}");
        // The next of either still comes in.
        for source in [busy, other] {
            assert!(pool.wants(source, Sequence::ZERO));
            pool.insert(batch(source, 0, each));
            assert!(!pool.contiguous(source, Sequence::ZERO).is_empty());
        }
        assert!(held(&pool, busy).1 <= POOL_BYTES_MAX / 2);
        // One more source makes the shares smaller.
        pool.insert(batch(ChainRef::Beacon, 0, each));
        let bytes = [busy, other, ChainRef::Beacon].map(|source| held(&pool, source).1);
        assert!(bytes[0] <= POOL_BYTES_MAX / 3, "{bytes:?}");
        assert!(bytes[1] > each && bytes[2] > each, "{bytes:?}");
    }

    #[test]
    fn of_many_sources_each_holds_more_than_one_batch() {
        let mut pool = InboundPool::default();
        let sources: Vec<ChainRef> = (0..64).map(|bits| shard(6, bits)).collect();
        for source in &sources {
            pool.announce(*source, Sequence::new(9));
        }
        for source in &sources {
            for first in 0..4 {
                assert!(
                    pool.wants(*source, Sequence::new(first)),
                    "{source} {first}"
                );
                pool.insert(batch(*source, first, 10));
            }
        }
    }

    #[test]
    fn what_will_never_be_proven_is_asked_for_no_more() {
        let source = shard(2, 1);
        let mut pool = InboundPool::default();
        pool.announce(source, Sequence::new(5));
        pool.withdraw(source, Sequence::new(3));
        for (cursor, asked) in [(2, 1), (3, 0)] {
            let cursor = Sequence::new(cursor);
            pool.pulls(TimeMs::ZERO, |_| cursor);
            let pulls = pool.pulls(TimeMs::new(RETRY_MS), |_| cursor);
            assert_eq!(pulls.len(), asked, "{cursor}");
        }
    }

    #[test]
    fn what_counts_no_more_is_asked_for_again() {
        let source = shard(2, 1);
        let mut pool = InboundPool::default();
        pool.insert(batch(source, 0, 10));
        assert_eq!(pool.pulls(TimeMs::ZERO, |_| Sequence::ZERO), []);
        pool.keep_proven(source, |_| false);
        assert!(pool.wants(source, Sequence::ZERO));
        pool.pulls(TimeMs::ZERO, |_| Sequence::ZERO);
        let asked = pool.pulls(TimeMs::new(RETRY_MS), |_| Sequence::ZERO);
        assert_eq!(asked.len(), 1);
    }
}
