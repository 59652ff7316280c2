//! Batches on their way: those that this chain sent, and those that wait to be included here.
//!
//! Two members of the source push each batch as soon as its state is reported by a final header. Who
//! obtains one tells its committee. What a member still misses [`RETRY_MS`] after it has heard of it, by
//! the beacon or by another member, it pulls: from those that told it, and from the source's followers,
//! in turns.

use crate::chain::Peer;
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
/// Most batches of one source that are asked for at a time.
pub const MISSING_MAX: usize = 64;
/// Most members that are remembered to have one of them.
const HOLDERS_MAX: usize = 4;
/// Most bytes of all batches that are kept, their proofs included. Each source that was heard of has an
/// equal share, so that none takes the room of the others; of each the first batch is kept in any case.
const POOL_BYTES_MAX: usize = 64 * 1024 * 1024;
/// The most that a batch takes with its proof, some lengths and ids beside it.
pub const BATCH_ROOM: usize = BATCH_BYTES_MAX
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
    /// Since when the present committee has been told of it.
    told_at: Option<TimeMs>,
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
    /// What is known to exist and is not here: the next one, and what members have told of.
    missing: BTreeMap<Sequence, Missing>,
}

#[derive(Debug, Clone, Default)]
struct Missing {
    ask_at: TimeMs,
    asked: u64,
    /// Members that have it.
    holders: Vec<Peer>,
}

impl Missing {
    /// Whom to ask next: a member that has it and a follower of the source in turns.
    fn holder(&self) -> Option<Peer> {
        let count = u64::try_from(self.holders.len()).unwrap_or(0);
        let turn = (self.asked / 2).checked_rem(count)?;
        let turn = usize::try_from(turn).ok()?;
        let of_members = self.asked.is_multiple_of(2);
        self.holders.get(turn).copied().filter(|_| of_members)
    }
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
    /// A member that has it; otherwise a follower of the source is asked.
    pub holder: Option<Peer>,
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
        source.missing.remove(&first);
        let waiting = Waiting {
            inbound,
            bytes,
            told_at: None,
        };
        source.batches.insert(first, waiting);
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

    /// A member has told, `now`, that it has a batch, which follows `cursor`.
    pub fn heard(
        &mut self,
        (source, first): (ChainRef, Sequence),
        (member, now): (Peer, TimeMs),
        cursor: Sequence,
    ) {
        let share = self.share();
        let held = self.sources.entry(source).or_default();
        if first < cursor || !held.wants(first, share) {
            return;
        }
        let is_full = held.missing.len() >= MISSING_MAX;
        if is_full && !held.missing.contains_key(&first) {
            // What comes first is needed first.
            match held.missing.last_key_value() {
                Some((last, _)) if first < *last => held.missing.pop_last(),
                _ => return,
            };
        }
        let missing = held.missing.entry(first).or_insert_with(|| Missing {
            ask_at: now.saturating_add(RETRY_MS),
            ..Missing::default()
        });
        if missing.holders.len() < HOLDERS_MAX && !missing.holders.contains(&member) {
            missing.holders.push(member);
        }
    }

    /// The batches that the present committee was not told of, in order; from `now` on it is.
    pub fn tell(&mut self, now: TimeMs) -> Vec<(ChainRef, Sequence)> {
        let mut told = Vec::new();
        for (source, held) in &mut self.sources {
            for (first, waiting) in &mut held.batches {
                if waiting.told_at.is_none() {
                    waiting.told_at = Some(now);
                    told.push((*source, *first));
                }
            }
        }
        told
    }

    /// All batches, in order, to be told again; since when they are told stays.
    pub fn held(&self) -> Vec<(ChainRef, Sequence)> {
        let sources = self.sources.iter();
        let batches = sources.flat_map(|(source, held)| {
            let firsts = held.batches.keys();
            firsts.map(|first| (*source, *first))
        });
        batches.collect()
    }

    /// Another committee begins: it was told of nothing.
    pub fn untell(&mut self) {
        for held in self.sources.values_mut() {
            for waiting in held.batches.values_mut() {
                waiting.told_at = None;
            }
        }
    }

    /// The batch of a channel, if the committee was told of it at `by` or before.
    pub fn told(&self, source: ChainRef, first: Sequence, by: TimeMs) -> Option<&Waiting> {
        let held = self.sources.get(&source)?;
        let waiting = held.batches.get(&first)?;
        (waiting.told_at? <= by).then_some(waiting)
    }

    /// The batch of a channel, for a member that lacks it.
    pub fn get(&self, source: ChainRef, first: Sequence) -> Option<&Arc<InboundBatch>> {
        let held = self.sources.get(&source)?;
        held.batches.get(&first).map(|waiting| &waiting.inbound)
    }

    /// What to ask for now, given the final cursors.
    pub fn pulls(&mut self, now: TimeMs, cursor: impl Fn(ChainRef) -> Sequence) -> Vec<Pull> {
        let mut pulls = Vec::new();
        let share = self.share();
        for (source, held) in &mut self.sources {
            let accepted = cursor(*source);
            let mut next = accepted;
            while let Some(waiting) = held.batches.get(&next) {
                next = waiting.inbound.batch.end();
            }
            let mut missing = std::mem::take(&mut held.missing);
            if next < held.announced {
                missing.entry(next).or_insert_with(|| Missing {
                    ask_at: now.saturating_add(RETRY_MS),
                    ..Missing::default()
                });
            }
            // What would not stay is asked for once there is room; what nobody told of, when it is
            // the next.
            missing.retain(|first, it| {
                let is_known = *first == next && next < held.announced || !it.holders.is_empty();
                is_known && *first >= accepted && held.wants(*first, share)
            });
            for (first, it) in &mut missing {
                if it.ask_at > now {
                    continue;
                }
                pulls.push(Pull {
                    source: *source,
                    first: *first,
                    attempt: it.asked,
                    holder: it.holder(),
                });
                it.asked = it.asked.saturating_add(1);
                it.ask_at = now.saturating_add(PULL_MS);
            }
            held.missing = missing;
        }
        pulls
    }

    /// When [`Self::pulls`] may next have something.
    pub fn deadline(&self) -> Option<TimeMs> {
        self.sources
            .values()
            .flat_map(|held| held.missing.values().map(|missing| missing.ask_at))
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

    fn seq(first: u64) -> Sequence {
        Sequence::new(first)
    }

    #[test]
    fn what_a_member_has_is_asked_of_it_and_of_the_source_in_turns() {
        let source = shard(2, 1);
        let (one, other) = (Peer(7), Peer(8));
        let mut pool = InboundPool::default();
        let mut now = TimeMs::ZERO;
        for member in [one, one, other] {
            pool.heard((source, seq(0)), (member, now), seq(0));
        }
        assert_eq!(pool.pulls(now, |_| seq(0)), [], "the push may still come");
        now = now.saturating_add(RETRY_MS);
        let mut holders = Vec::new();
        for _ in 0..4 {
            assert_eq!(pool.deadline(), Some(now));
            let pulls = pool.pulls(now, |_| seq(0));
            let [Pull { first, holder, .. }] = *pulls else {
                panic!("{pulls:?}");
            };
            assert_eq!(first, seq(0));
            holders.push(holder);
            assert_eq!(pool.pulls(now, |_| seq(0)), [], "it is on its way");
            now = now.saturating_add(PULL_MS);
        }
        assert_eq!(holders, [Some(one), None, Some(other), None]);
        pool.insert(batch(source, 0, 10));
        assert_eq!(pool.pulls(now, |_| seq(0)), []);
        assert_eq!(pool.deadline(), None);
    }

    #[test]
    fn words_of_members_take_bounded_room_and_the_next_comes_first() {
        let source = shard(2, 1);
        let mut pool = InboundPool::default();
        let told = (Peer(7), TimeMs::ZERO);
        pool.heard((source, seq(3)), told, seq(4));
        assert_eq!(pool.deadline(), None, "it was accepted before");
        let most = MISSING_MAX as u64;
        for first in (10..10 + 2 * most).rev() {
            pool.heard((source, seq(first)), told, seq(4));
        }
        let pulls = pool.pulls(TimeMs::new(RETRY_MS), |_| seq(4));
        let firsts: Vec<u64> = pulls.iter().map(|pull| pull.first.get()).collect();
        assert_eq!(firsts, (10..10 + most).collect::<Vec<u64>>());
        pool.heard((source, seq(9)), told, seq(4));
        let pulls = pool.pulls(TimeMs::new(RETRY_MS), |_| seq(20));
        assert!(pulls.is_empty(), "all others are on their way");
        // The last gave way to the ninth; what comes before the cursor is accepted.
        assert_eq!(pool.sources[&source].missing.len(), MISSING_MAX - 11);
    }

    #[test]
    fn a_committee_is_told_once_and_the_next_one_again() {
        let source = shard(2, 1);
        let mut pool = InboundPool::default();
        let told = |pool: &InboundPool, by| pool.told(source, seq(0), TimeMs::new(by)).is_some();
        pool.insert(batch(source, 0, 10));
        assert!(!told(&pool, 99));
        assert_eq!(pool.tell(TimeMs::new(5)), [(source, seq(0))]);
        assert_eq!(pool.tell(TimeMs::new(6)), []);
        assert_eq!(pool.held(), [(source, seq(0))]);
        assert!(!told(&pool, 4) && told(&pool, 5));
        pool.untell();
        assert!(!told(&pool, 99));
        assert_eq!(pool.tell(TimeMs::new(9)), [(source, seq(0))]);
        assert!(!told(&pool, 8) && told(&pool, 9));
    }
}
