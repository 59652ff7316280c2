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
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// How long a destination waits for the push before it pulls.
pub const RETRY_MS: u64 = 50;
/// How long it waits for the answer to a pull before it asks others, at most; a quarter of Δ where that
/// is shorter.
pub const PULL_MS: u64 = 400;
/// How many seats push each batch.
const PUSHERS: u64 = 2;
/// Most batches kept for one source. Those that a block can hold first stay; the farthest are dropped and
/// pulled again later.
pub const BATCHES_PER_SOURCE_MAX: usize = 256;
/// Most batches of one source that one member may be remembered to have: those that come first.
pub const TOLD_OF_MAX: usize = 16;
/// Most batches that one member is asked for at once: no more of what it sends is checked at a time.
const ASKED_OF_MAX: usize = 8;
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
    told: Told,
}

/// When the present committee was told of a batch. What counts is the second time: the first word may
/// have come before a member could hear it.
#[derive(Clone, Copy, Debug, Default)]
struct Told {
    first: Option<TimeMs>,
    again: Option<TimeMs>,
}

/// Verified batches from other chains that no final block here holds yet.
#[derive(Debug)]
pub struct InboundPool {
    sources: BTreeMap<ChainRef, Source>,
    /// How long it waits for the answer to a pull.
    pull_ms: u64,
    /// Whether there may be something to ask for that there was not before.
    changed: bool,
}

impl Default for InboundPool {
    fn default() -> Self {
        Self {
            sources: BTreeMap::new(),
            pull_ms: PULL_MS,
            changed: false,
        }
    }
}

#[derive(Debug, Default)]
struct Source {
    batches: BTreeMap<Sequence, Waiting>,
    /// What is known to have been sent.
    announced: Sequence,
    /// What is known to exist and is not here: the next one, and what members have told of.
    missing: BTreeMap<Sequence, Missing>,
}

/// A batch that is known of and not here.
#[derive(Debug, Clone, Default)]
struct Missing {
    ask_at: TimeMs,
    /// How often it was asked for.
    rounds: u32,
    /// How often a follower of the source was.
    followers_asked: u64,
    /// Members that say they have it, and were not asked since they said so.
    holders: VecDeque<Peer>,
    /// Those that were asked last, and may answer yet.
    asked: Vec<Peer>,
}

/// A batch to ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pull {
    /// Where it comes from.
    pub source: ChainRef,
    /// Position of its first message.
    pub first: Sequence,
    /// The members that are asked.
    pub holders: Vec<Peer>,
    /// How often a follower of the source was asked before, where one is asked: it chooses whom.
    pub follower: Option<u64>,
}

impl Missing {
    /// The members to ask now: one, and each time twice as many, so that some that do not answer delay
    /// it little. `asked` counts what is asked of each.
    fn ask(&mut self, asked: &mut BTreeMap<Peer, usize>) -> Vec<Peer> {
        let most = 1_usize << self.rounds.min(6);
        let mut chosen = Vec::new();
        self.holders.retain(|holder| {
            let of_one = asked.entry(*holder).or_default();
            let is_chosen = chosen.len() < most && *of_one < ASKED_OF_MAX;
            if is_chosen {
                *of_one = of_one.saturating_add(1);
                chosen.push(*holder);
            }
            !is_chosen
        });
        self.asked.clone_from(&chosen);
        chosen
    }
}

impl Source {
    fn bytes(&self) -> usize {
        let bytes = self.batches.values().map(|waiting| waiting.bytes);
        bytes.fold(0, usize::saturating_add)
    }

    /// Whether the batch at `first` is not here and would stay: there is room for the largest, or it
    /// displaces one that is farther.
    fn wants(&self, first: Sequence, share: usize) -> bool {
        self.wants_beside(self.bytes(), first, share)
    }

    /// [`Self::wants`], where the bytes that are held are known.
    fn wants_beside(&self, bytes: usize, first: Sequence, share: usize) -> bool {
        let Some((last, _)) = self.batches.last_key_value() else {
            return true;
        };
        let largest = bytes.saturating_add(BATCH_ROOM);
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
    /// A pool of a chain whose messages between members take Δ at most.
    pub fn new(delta_ms: u64) -> Self {
        let quarter = (delta_ms / 4).max(RETRY_MS);
        Self {
            pull_ms: PULL_MS.min(quarter),
            ..Self::default()
        }
    }

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

    /// Of how many batches of one source that are not here somebody tells, at most.
    pub fn told_of(&self) -> usize {
        let told = self.sources.values().map(|held| held.missing.len());
        told.max().unwrap_or(0)
    }

    /// Batches that it holds.
    pub fn count(&self) -> usize {
        self.sources.values().map(|held| held.batches.len()).sum()
    }

    /// Takes a verified batch; the farthest of a source that holds too much then are dropped.
    pub fn insert(&mut self, inbound: Arc<InboundBatch>) {
        self.changed = true;
        let source = self.sources.entry(inbound.batch.source).or_default();
        source.announced = source.announced.max(inbound.batch.end());
        let (first, bytes) = (inbound.batch.first, encode(&*inbound).len());
        source.missing.remove(&first);
        // Of two copies that were checked at once the first stays, and what was told of it.
        source.batches.entry(first).or_insert(Waiting {
            inbound,
            bytes,
            told: Told::default(),
        });
        // The first of a source takes some of what the others may hold.
        let share = self.share();
        for held in self.sources.values_mut() {
            held.trim(share);
        }
    }

    /// Notes that `source` has sent all messages below `end`.
    pub fn announce(&mut self, source: ChainRef, end: Sequence) {
        self.changed = true;
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
        self.changed = true;
        for (source, held) in &mut self.sources {
            let accepted = cursor(*source);
            held.batches.retain(|first, _| *first >= accepted);
        }
    }

    /// Forgets batches of a source whose proof counts for nothing any more.
    pub fn keep_proven(&mut self, source: ChainRef, counts: impl Fn(&BatchProof) -> bool) {
        self.changed = true;
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
        let names = |it: &Missing| it.holders.contains(&member) || it.asked.contains(&member);
        let is_named = held.missing.get(&first).is_some_and(names);
        if first < cursor || is_named || !held.wants(first, share) {
            return;
        }
        // Nobody's words take the room of another's.
        let theirs = held.missing.iter().filter(|(_, it)| names(it));
        let theirs: Vec<Sequence> = theirs.map(|(first, _)| *first).collect();
        if theirs.len() >= TOLD_OF_MAX {
            let last = theirs.last().filter(|last| first < **last);
            let Some(farthest) = last.and_then(|last| held.missing.get_mut(last)) else {
                return;
            };
            farthest.holders.retain(|holder| *holder != member);
            farthest.asked.retain(|holder| *holder != member);
            if farthest.holders.is_empty() && farthest.asked.is_empty() {
                theirs.last().map(|last| held.missing.remove(last));
            }
        }
        let missing = held.missing.entry(first).or_insert_with(|| Missing {
            ask_at: now.saturating_add(RETRY_MS),
            ..Missing::default()
        });
        if missing.rounds > 0 {
            // Others were asked and have not answered: this one is asked at once.
            missing.ask_at = missing.ask_at.min(now);
        }
        missing.holders.push_back(member);
        self.changed = true;
    }

    /// A peer is gone.
    pub fn forget(&mut self, peer: Peer) {
        for held in self.sources.values_mut() {
            for missing in held.missing.values_mut() {
                missing.holders.retain(|holder| *holder != peer);
            }
        }
    }

    /// The batches that the present committee was not told of, in order; at `now` it is, once.
    pub fn tell(&mut self, now: TimeMs) -> Vec<(ChainRef, Sequence)> {
        let mut told = Vec::new();
        for (source, held) in &mut self.sources {
            for (first, waiting) in &mut held.batches {
                if waiting.told.first.is_none() {
                    waiting.told.first = Some(now);
                    told.push((*source, *first));
                }
            }
        }
        told
    }

    /// All batches, in order, to be told again `now`.
    pub fn tell_again(&mut self, now: TimeMs) -> Vec<(ChainRef, Sequence)> {
        let mut told = Vec::new();
        for (source, held) in &mut self.sources {
            for (first, waiting) in &mut held.batches {
                waiting.told.first.get_or_insert(now);
                if waiting.told.first < Some(now) {
                    waiting.told.again.get_or_insert(now);
                }
                told.push((*source, *first));
            }
        }
        told
    }

    /// All batches, in order.
    pub fn held(&self) -> Vec<(ChainRef, Sequence)> {
        let sources = self.sources.iter();
        let batches = sources.flat_map(|(source, held)| {
            let firsts = held.batches.keys();
            firsts.map(|first| (*source, *first))
        });
        batches.collect()
    }

    /// Another committee begins: it was told of nothing, and has told of nothing.
    pub fn untell(&mut self) {
        self.changed = true;
        for held in self.sources.values_mut() {
            held.missing.clear();
            for waiting in held.batches.values_mut() {
                waiting.told = Told::default();
            }
        }
    }

    /// The batch of a channel, if the committee was told of it twice at `by` or before, and would keep
    /// it beside those that come before it.
    pub fn told(&self, source: ChainRef, first: Sequence, by: TimeMs) -> Option<&Waiting> {
        let held = self.sources.get(&source)?;
        let waiting = held.batches.get(&first)?;
        let before = held.batches.range(..first).map(|(_, it)| it.bytes);
        let before = before.fold(BATCH_ROOM, usize::saturating_add);
        let is_told = waiting.told.again? <= by;
        (is_told && before <= self.share()).then_some(waiting)
    }

    /// The batch of a channel, for a member that lacks it.
    pub fn get(&self, source: ChainRef, first: Sequence) -> Option<&Arc<InboundBatch>> {
        let held = self.sources.get(&source)?;
        held.batches.get(&first).map(|waiting| &waiting.inbound)
    }

    /// What to ask for now, given the final cursors.
    pub fn pulls(&mut self, now: TimeMs, cursor: impl Fn(ChainRef) -> Sequence) -> Vec<Pull> {
        let is_time = self.deadline().is_some_and(|at| at <= now);
        if !std::mem::take(&mut self.changed) && !is_time {
            return Vec::new();
        }
        let mut pulls = Vec::new();
        let mut asked: BTreeMap<Peer, usize> = BTreeMap::new();
        let (share, pull_ms) = (self.share(), self.pull_ms);
        for (source, held) in &mut self.sources {
            let accepted = cursor(*source);
            let mut next = accepted;
            while let Some(waiting) = held.batches.get(&next) {
                next = waiting.inbound.batch.end();
            }
            let mut missing = std::mem::take(&mut held.missing);
            let is_gap = |first: Sequence| first == next && next < held.announced;
            if is_gap(next) {
                missing.entry(next).or_insert_with(|| Missing {
                    ask_at: now.saturating_add(RETRY_MS),
                    ..Missing::default()
                });
            }
            let bytes = held.bytes();
            // What would not stay is asked for once there is room; what nobody has, when it is the
            // next that must be there.
            missing.retain(|first, it| {
                let is_known = is_gap(*first) || !it.holders.is_empty() || it.ask_at > now;
                is_known && *first >= accepted && held.wants_beside(bytes, *first, share)
            });
            for (first, it) in missing.iter_mut().filter(|(_, it)| it.ask_at <= now) {
                let holders = it.ask(&mut asked);
                let asks_follower = is_gap(*first) && (holders.is_empty() || it.rounds > 0);
                if holders.is_empty() && !asks_follower {
                    // All that have it are busy.
                    it.ask_at = now.saturating_add(RETRY_MS);
                    continue;
                }
                let follower = asks_follower.then_some(it.followers_asked);
                it.followers_asked += u64::from(asks_follower);
                it.rounds = it.rounds.saturating_add(1);
                it.ask_at = now.saturating_add(pull_ms);
                pulls.push(Pull {
                    source: *source,
                    first: *first,
                    holders,
                    follower,
                });
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

    /// Whom each round asks, where nobody answers.
    fn rounds(pool: &mut InboundPool, from: TimeMs, count: usize) -> Vec<(Vec<u32>, Option<u64>)> {
        let mut found = Vec::new();
        let mut now = from;
        for _ in 0..count {
            let pulls = pool.pulls(now, |_| seq(0));
            let [
                Pull {
                    holders, follower, ..
                },
            ] = &*pulls
            else {
                panic!("{pulls:?}");
            };
            found.push((holders.iter().map(|peer| peer.0).collect(), *follower));
            assert_eq!(pool.pulls(now, |_| seq(0)), [], "it is on its way");
            now = now.saturating_add(PULL_MS);
            assert_eq!(pool.deadline(), Some(now));
        }
        found
    }

    #[test]
    fn what_members_have_is_asked_of_ever_more_of_them_and_of_the_source() {
        let source = shard(2, 1);
        let mut pool = InboundPool::default();
        pool.announce(source, seq(1));
        for member in 0..9 {
            pool.heard((source, seq(0)), (Peer(member), TimeMs::ZERO), seq(0));
            pool.heard((source, seq(0)), (Peer(member), TimeMs::ZERO), seq(0));
        }
        assert_eq!(pool.pulls(TimeMs::ZERO, |_| seq(0)), [], "a push may come");
        let found = rounds(&mut pool, TimeMs::new(RETRY_MS), 5);
        let expected = [
            (vec![0], None),
            (vec![1, 2], Some(0)),
            (vec![3, 4, 5, 6], Some(1)),
            (vec![7, 8], Some(2)),
            (vec![], Some(3)),
        ];
        assert_eq!(found, expected);
        pool.insert(batch(source, 0, 10));
        assert_eq!(pool.deadline(), None);
    }

    #[test]
    fn who_tells_of_what_others_did_not_send_is_asked_at_once() {
        let source = shard(2, 1);
        let mut pool = InboundPool::default();
        let mut now = TimeMs::ZERO;
        pool.heard((source, seq(7)), (Peer(1), now), seq(0));
        now = now.saturating_add(RETRY_MS);
        assert_eq!(pool.pulls(now, |_| seq(0))[0].holders, [Peer(1)]);
        now = now.saturating_add(1);
        pool.heard((source, seq(7)), (Peer(1), now), seq(0));
        assert_eq!(pool.pulls(now, |_| seq(0)), [], "it was asked already");
        pool.heard((source, seq(7)), (Peer(2), now), seq(0));
        assert_eq!(pool.pulls(now, |_| seq(0))[0].holders, [Peer(2)]);
        // What nobody sends is forgotten, until somebody says again that it is there.
        now = now.saturating_add(PULL_MS);
        assert_eq!(pool.pulls(now, |_| seq(0)), []);
        assert_eq!(pool.deadline(), None);
        pool.heard((source, seq(7)), (Peer(1), now), seq(0));
        pool.forget(Peer(1));
        now = now.saturating_add(RETRY_MS);
        assert_eq!(pool.pulls(now, |_| seq(0)), [], "who has it is gone");
    }

    #[test]
    fn words_of_one_member_take_no_room_of_anothers_and_the_first_come_first() {
        let source = shard(2, 1);
        let mut pool = InboundPool::default();
        let (liar, other) = (Peer(7), Peer(8));
        pool.heard((source, seq(3)), (liar, TimeMs::ZERO), seq(4));
        assert_eq!(pool.deadline(), None, "it was accepted before");
        for first in (5..200).rev() {
            pool.heard((source, seq(first)), (liar, TimeMs::ZERO), seq(4));
        }
        for first in 300..400 {
            pool.heard((source, seq(first)), (other, TimeMs::ZERO), seq(4));
        }
        let mut now = TimeMs::new(RETRY_MS);
        let mut asked: BTreeMap<Peer, Vec<u64>> = BTreeMap::new();
        for _ in 0..3 {
            for pull in pool.pulls(now, |_| seq(4)) {
                let [holder] = *pull.holders else {
                    panic!("{pull:?}");
                };
                asked.entry(holder).or_default().push(pull.first.get());
            }
            now = now.saturating_add(RETRY_MS);
        }
        let most = TOLD_OF_MAX as u64;
        let firsts = |from: u64| (from..from + most).collect::<Vec<u64>>();
        assert_eq!(asked[&liar], firsts(5));
        assert_eq!(asked[&other], firsts(300));
    }

    #[test]
    fn a_committee_has_been_told_when_it_was_told_twice() {
        let source = shard(2, 1);
        let mut pool = InboundPool::default();
        let told = |pool: &InboundPool, by| pool.told(source, seq(0), TimeMs::new(by)).is_some();
        let only = [(source, seq(0))];
        pool.insert(batch(source, 0, 10));
        assert_eq!(pool.tell(TimeMs::new(5)), only);
        assert_eq!(pool.tell(TimeMs::new(6)), []);
        assert_eq!(pool.tell_again(TimeMs::new(5)), only);
        assert!(!told(&pool, 99), "that was the same moment");
        for at in [7, 9] {
            assert_eq!(pool.tell_again(TimeMs::new(at)), only);
        }
        assert!(!told(&pool, 6) && told(&pool, 7));
        // Another copy changes nothing.
        pool.insert(batch(source, 0, 10));
        assert_eq!(pool.tell(TimeMs::new(10)), []);
        assert!(told(&pool, 7));
        pool.untell();
        assert!(!told(&pool, 99));
        assert_eq!(pool.tell(TimeMs::new(12)), only);
    }

    #[test]
    fn what_a_pool_filled_in_order_would_not_keep_is_held_against_nobody() {
        let source = shard(2, 1);
        let mut pool = InboundPool::default();
        for first in 0..400 {
            if pool.wants(source, seq(first)) {
                pool.insert(batch(source, first, BATCH_ROOM));
            }
        }
        pool.insert(batch(source, 999, 10));
        let count = held(&pool, source).0 as u64;
        pool.tell(TimeMs::new(1));
        pool.tell_again(TimeMs::new(2));
        let told = |first| pool.told(source, seq(first), TimeMs::new(2)).is_some();
        assert!((0..count - 1).all(told), "{count}");
        assert!(!told(999));
    }
}
