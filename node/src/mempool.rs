//! Transactions that wait for a block, of one shard.
//!
//! A sender's transactions form *streams*; in each the sequence numbers count by themselves. The
//! pool keeps every stream in order of sequence and two orders over all streams: of heads, the best
//! paid first, from which blocks are filled, and of tails, the worst paid first, from which room is
//! made. Only tails are evicted, so making room never opens a gap. What a tail is worth is the
//! lowest price from its stream's start to it, since nothing behind a badly paid transaction runs
//! before it; transactions behind a gap are worth less than all others.
//!
//! Pure and deterministic: next sequences, fees and heights are passed in, ties go by arrival, and
//! each operation costs the logarithm of the pool's size for each transaction that it touches. What
//! a transaction needs of the state (balance, authenticator) is checked before it gets here.

mod stream;

use self::stream::{Entry, Stream};
use skerry_types::amount::Amount;
use skerry_types::ids::{Address, Digest, Gas, Height};
use skerry_types::lookup::Lookup;
use skerry_types::transaction::CheckedTransaction;
use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::sync::Arc;

/// Bytes by which a transaction lengthens a body beyond its own: the length before it.
const LENGTH_PREFIX_BYTES: usize = 4;
/// How many transactions that do not fit what is left a selection looks at before it ends.
const SELECT_MISFITS_MAX: usize = 256;
/// How many transactions that cannot be included now a selection looks at before it ends. They do
/// not fill the block, so this must be large enough that nobody shuts others out with them.
const SELECT_REFUSED_MAX: usize = 20_000;
/// By which part of the old price a replacement must pay more: a tenth.
const REPLACEMENT_DIVISOR: u128 = 10;

/// How much the pool holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MempoolLimits {
    /// Most transactions in all.
    pub transactions_max: usize,
    /// Most wire bytes in all.
    pub bytes_max: usize,
    /// Most transactions of one sender, over all its streams.
    pub per_sender_max: usize,
    /// How far above the next sequence of its stream a transaction may lie.
    pub future_gap_max: u64,
}

impl Default for MempoolLimits {
    fn default() -> Self {
        Self {
            transactions_max: 20_000,
            bytes_max: 64 * 1024 * 1024,
            per_sender_max: 1_024,
            future_gap_max: 1_024,
        }
    }
}

/// A transaction that asks for a place, with what the state said of it when it was checked.
#[derive(Clone, Debug)]
pub struct Admitted {
    /// The transaction.
    pub transaction: Arc<CheckedTransaction>,
    /// Base units of `sker` that it will be charged.
    pub fee: Amount,
    /// Base units of `sker` that its sender holds.
    pub funds: Amount,
}

/// What became of an accepted transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inserted {
    /// It waits now.
    New,
    /// It waits now in the place of another with the same nonce.
    Replaced {
        /// Id of the one that it replaced.
        old: Digest,
    },
    /// It waited already.
    Known,
}

/// Why a transaction was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Its nonce was used.
    #[error("sequence {actual} was used, the next one is {expected}")]
    Stale {
        /// Next sequence of the stream.
        expected: u64,
        /// The transaction's.
        actual: u64,
    },
    /// Its nonce lies too far ahead to be kept.
    #[error("sequence {actual} is above {limit}; the next one is {expected}")]
    TooFarAhead {
        /// Next sequence of the stream.
        expected: u64,
        /// The transaction's.
        actual: u64,
        /// Highest sequence taken.
        limit: u64,
    },
    /// It pays less than the base fee.
    #[error("gas price {offered} is below the base fee {base_fee}")]
    BelowBaseFee {
        /// The base fee.
        base_fee: Amount,
        /// The transaction's price.
        offered: Amount,
    },
    /// Another transaction with its nonce waits, and it does not pay a tenth more than that one.
    #[error("a replacement must pay a gas price of {needed}, this pays {offered}")]
    ReplacementUnderpriced {
        /// Lowest price of a replacement.
        needed: Amount,
        /// The transaction's price.
        offered: Amount,
    },
    /// With it the fees of what waits would be more than its sender holds. A sender whose
    /// transactions cannot all be paid would fill the pool with what no block takes.
    #[error("the sender holds {funds} nsker, the fees of what waits would be {needed}")]
    Overdrawn {
        /// The fees of all that the sender has waiting, with this one's.
        needed: Amount,
        /// What the sender holds.
        funds: Amount,
    },
    /// The pool is full, and nothing in it is worth less.
    #[error("the mempool is full; the lowest gas price in it is {lowest}")]
    Full {
        /// Lowest price in the pool, which would have to be exceeded.
        lowest: Amount,
    },
    /// Too much of this sender waits already.
    #[error("{limit} transactions of this sender wait already")]
    SenderFull {
        /// Most transactions of one sender.
        limit: usize,
    },
}

/// What a block has room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Transactions.
    pub transactions: usize,
    /// Bytes of the body; each transaction takes its wire bytes and four of length.
    pub bytes: usize,
    /// Gas.
    pub gas: Gas,
    /// The block's base fee: what pays less waits.
    pub base_fee: Amount,
}

/// One stream of one sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct StreamKey {
    sender: Address,
    stream: u16,
}

/// Place of a stream among those that can be selected from: best price first, then oldest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct HeadKey {
    price: Reverse<Amount>,
    arrival: u64,
    key: StreamKey,
}

/// What a transaction is worth to the pool; the least worthy go first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Worth {
    ready: bool,
    price: Amount,
}

/// Place of a stream's last transaction in the order of eviction: among equals the newest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct TailKey {
    worth: Worth,
    arrival: Reverse<u64>,
    key: StreamKey,
}

/// Place of a transaction in the order of expiry: the last height at which it may be included, then
/// its arrival.
type Place = (Height, u64);

/// What one sender has waiting, over all its streams.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Held {
    count: usize,
    fees: Amount,
    streams: BTreeSet<u16>,
}

/// The waiting transactions of one shard.
#[derive(Debug)]
pub struct Mempool {
    limits: MempoolLimits,
    streams: Lookup<StreamKey, Stream>,
    ids: Lookup<Digest, (StreamKey, u64)>,
    /// Ids by the last height at which they may be included, then by arrival.
    expiries: BTreeMap<Place, Digest>,
    heads: BTreeSet<HeadKey>,
    tails: BTreeSet<TailKey>,
    senders: Lookup<Address, Held>,
    bytes: usize,
    arrivals: u64,
    dropped: BTreeSet<Digest>,
}

impl Mempool {
    /// An empty pool.
    pub fn new(limits: MempoolLimits) -> Self {
        Self {
            limits,
            streams: Lookup::default(),
            ids: Lookup::default(),
            expiries: BTreeMap::new(),
            heads: BTreeSet::new(),
            tails: BTreeSet::new(),
            senders: Lookup::default(),
            bytes: 0,
            arrivals: 0,
            dropped: BTreeSet::new(),
        }
    }

    /// Takes a transaction. `next_sequence` is the next one of its stream by the state.
    ///
    /// # Errors
    /// When the nonce or the price does not fit, the sender cannot pay for all that it has waiting,
    /// or there is no room that it is worth. A refused transaction changes nothing. What waits behind
    /// it in its stream gives way where only then it can be paid.
    pub fn insert(
        &mut self,
        admitted: Admitted,
        next_sequence: u64,
        base_fee: Amount,
    ) -> Result<Inserted, Refused> {
        let transaction = &admitted.transaction;
        if self.ids.contains_key(&transaction.id()) {
            return Ok(Inserted::Known);
        }
        let (sender, nonce) = (transaction.body().sender, transaction.body().nonce);
        let key = StreamKey {
            sender,
            stream: nonce.stream,
        };
        let offered = transaction.body().gas_price;
        if offered < base_fee {
            return Err(Refused::BelowBaseFee { base_fee, offered });
        }
        self.check_sequence(nonce.sequence, next_sequence)?;
        let old = self
            .streams
            .get(&key)
            .and_then(|stream| stream.get(nonce.sequence))
            .cloned();
        if let Some(old) = &old {
            let needed = replacement_price(old.price());
            if offered < needed {
                return Err(Refused::ReplacementUnderpriced { needed, offered });
            }
        }
        let behind = self.check_sender(key, &admitted, old.as_ref())?;
        if let Some(old) = &old {
            self.take_out(old);
        }
        let entry = Entry::new(admitted, self.arrivals);
        if let Err(refused) = self.make_room(key, &entry, next_sequence) {
            if let Some(old) = old {
                self.put_in(old, next_sequence);
            }
            return Err(refused);
        }
        self.arrivals = self.arrivals.saturating_add(1);
        self.dropped.remove(&entry.id());
        self.put_in(entry, next_sequence);
        if let Some(old) = &old {
            self.note_dropped(old.id());
        }
        for id in behind {
            self.remove(&id);
            self.note_dropped(id);
        }
        Ok(old.map_or(Inserted::New, |old| Inserted::Replaced { old: old.id() }))
    }

    /// Fills a block: in each stream by sequence without gap, across streams the better paid first,
    /// among equals the one that came first.
    ///
    /// `skip` knows the ids in unfinalized ancestors, `next` gives a stream's next sequence after
    /// them, `gas_of` gives a transaction's gas or `None` where it cannot be included now, which
    /// ends its stream for this block.
    pub fn select(
        &self,
        budget: Budget,
        skip: &dyn Fn(&Digest) -> bool,
        next: &dyn Fn(&Address, u16) -> u64,
        beacon_height: Height,
        gas_of: &dyn Fn(&CheckedTransaction) -> Option<Gas>,
    ) -> Vec<Arc<CheckedTransaction>> {
        let mut chosen = Vec::with_capacity(budget.transactions.min(self.len()));
        let (mut bytes_left, mut gas_left) = (budget.bytes, budget.gas.get());
        let (mut misfits, mut refused) = (0_usize, 0_usize);
        let mut heads = self.heads.iter().peekable();
        let mut candidates: BinaryHeap<Candidate<'_>> = BinaryHeap::new();
        while chosen.len() < budget.transactions
            && misfits < SELECT_MISFITS_MAX
            && refused < SELECT_REFUSED_MAX
        {
            // A head may be in an ancestor already; then what follows it is the candidate.
            if let Some(head) = heads.next_if(|head| {
                candidates
                    .peek()
                    .is_none_or(|best| best.order() < (head.price.0, Reverse(head.arrival)))
            }) {
                let stream = self.streams.get(&head.key);
                let next = || next(&head.key.sender, head.key.stream);
                candidates.extend(stream.and_then(|stream| Candidate::first(stream, skip, next)));
                continue;
            }
            let Some(candidate) = candidates.pop() else {
                break;
            };
            if candidate.entry.price() < budget.base_fee {
                // Hardly anything else pays more: only what stands behind one that was included.
                refused = refused.saturating_add(1);
                continue;
            }
            let transaction = &candidate.entry.transaction;
            let size = transaction.wire().len().saturating_add(LENGTH_PREFIX_BYTES);
            let is_current = beacon_height <= transaction.body().valid_until;
            let Some(gas) = gas_of(transaction).filter(|_| is_current) else {
                refused = refused.saturating_add(1);
                continue;
            };
            let left = bytes_left
                .checked_sub(size)
                .zip(gas_left.checked_sub(gas.get()));
            let Some(left) = left else {
                misfits = misfits.saturating_add(1);
                continue;
            };
            (bytes_left, gas_left) = left;
            chosen.push(Arc::clone(transaction));
            candidates.extend(candidate.following(skip));
        }
        chosen
    }

    /// Drops what a final block made useless: its transactions, and all with a sequence below the
    /// new next one of their stream. Returns how many were dropped.
    pub fn remove_final(
        &mut self,
        ids: &[Digest],
        next_sequences: impl IntoIterator<Item = (Address, u16, u64)>,
    ) -> usize {
        let before = self.len();
        for (sender, stream, next) in next_sequences {
            self.drop_stale(StreamKey { sender, stream }, next);
        }
        for id in ids {
            self.remove(id);
        }
        before.saturating_sub(self.len())
    }

    /// Whether a sender has anything waiting.
    pub fn has_of(&self, sender: &Address) -> bool {
        self.senders.contains_key(sender)
    }

    /// Drops the ends of a sender's streams until it can pay for all that it has waiting: it holds
    /// `funds` now. What nobody can pay for would stand before what others pay less for.
    pub fn hold_to(&mut self, sender: &Address, funds: Amount) {
        while let Some(held) = self.senders.get(sender).filter(|held| held.fees > funds) {
            let Some(stream) = held.streams.last().copied() else {
                return;
            };
            let sender = *sender;
            let stream = self.streams.get(&StreamKey { sender, stream });
            let Some(tail) = stream.and_then(Stream::tail).cloned() else {
                return;
            };
            self.take_out(&tail);
            self.note_dropped(tail.id());
        }
    }

    /// Drops what no block may include any more at `beacon_height`; returns the ids.
    pub fn drop_expired(&mut self, beacon_height: Height) -> Vec<Digest> {
        let mut expired = Vec::new();
        while let Some(((valid_until, _), id)) = self.expiries.first_key_value() {
            if *valid_until >= beacon_height {
                break;
            }
            let id = *id;
            self.remove(&id);
            expired.push(id);
        }
        expired
    }

    /// How much it holds.
    pub const fn limits(&self) -> MempoolLimits {
        self.limits
    }

    /// Whether a transaction waits here.
    pub fn contains(&self, id: &Digest) -> bool {
        self.ids.contains_key(id)
    }

    /// A waiting transaction.
    pub fn get(&self, id: &Digest) -> Option<&Arc<CheckedTransaction>> {
        self.entry(id).map(|entry| &entry.transaction)
    }

    /// Number of waiting transactions.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Wire bytes of all waiting transactions.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Ids that were pushed out or replaced by better paid transactions since the last call, so
    /// that their senders can be told.
    pub fn take_dropped(&mut self) -> Vec<Digest> {
        std::mem::take(&mut self.dropped).into_iter().collect()
    }

    fn entry(&self, id: &Digest) -> Option<&Entry> {
        let (key, sequence) = self.ids.get(id)?;
        self.streams.get(key)?.get(*sequence)
    }

    fn check_sequence(&self, actual: u64, expected: u64) -> Result<(), Refused> {
        let limit = expected.saturating_add(self.limits.future_gap_max);
        if actual < expected {
            return Err(Refused::Stale { expected, actual });
        }
        if actual > limit {
            return Err(Refused::TooFarAhead {
                expected,
                actual,
                limit,
            });
        }
        Ok(())
    }

    /// Bounds what one sender has waiting: in number, and by what it can pay for. `old` gives way, and
    /// so does, where that is not enough, what is returned: the end of the stream behind the newcomer,
    /// which would have to wait for it anyway.
    fn check_sender(
        &self,
        key: StreamKey,
        admitted: &Admitted,
        old: Option<&Entry>,
    ) -> Result<Vec<Digest>, Refused> {
        let (count, fees) = self
            .senders
            .get(&key.sender)
            .map_or((0, Amount::ZERO), |held| (held.count, held.fees));
        let limit = self.limits.per_sender_max;
        if old.is_none() && count >= limit {
            return Err(Refused::SenderFull { limit });
        }
        let freed = old.map_or(Amount::ZERO, |old| old.fee);
        let others = fees.get().saturating_sub(freed.get());
        let needed = Amount::new(others.saturating_add(admitted.fee.get()));
        let funds = admitted.funds;
        let mut excess = needed.get().saturating_sub(funds.get());
        let sequence = admitted.transaction.body().nonce.sequence;
        let stream = self.streams.get(&key).map_or(&[][..], Stream::entries);
        let mut behind = Vec::new();
        for entry in stream.iter().rev() {
            if excess == 0 || entry.sequence() <= sequence {
                break;
            }
            excess = excess.saturating_sub(entry.fee.get());
            behind.push(entry.id());
        }
        if excess > 0 {
            return Err(Refused::Overdrawn { needed, funds });
        }
        Ok(behind)
    }

    /// Evicts tails that are worth less than `entry` until it fits; if that is not enough, puts
    /// them back and refuses it.
    fn make_room(&mut self, key: StreamKey, entry: &Entry, next: u64) -> Result<(), Refused> {
        let worth = self.streams.get(&key).map_or_else(
            || Stream::new(next).worth_of(entry, next),
            |stream| stream.worth_of(entry, next),
        );
        let mut evicted = Vec::new();
        while self.len() >= self.limits.transactions_max
            || self.bytes.saturating_add(entry.bytes()) > self.limits.bytes_max
        {
            let lowest = self.tails.first().copied();
            let cheaper = lowest.filter(|lowest| lowest.worth < worth);
            let stream = cheaper.and_then(|lowest| self.streams.get(&lowest.key));
            let Some((tail, next)) = stream.and_then(|s| Some((s.tail()?.clone(), s.next())))
            else {
                for (entry, next) in evicted.into_iter().rev() {
                    self.put_in(entry, next);
                }
                return Err(Refused::Full {
                    lowest: lowest.map_or(Amount::ZERO, |lowest| lowest.worth.price),
                });
            };
            self.take_out(&tail);
            evicted.push((tail, next));
        }
        for (entry, _) in &evicted {
            self.note_dropped(entry.id());
        }
        Ok(())
    }

    /// Remembers what left for another's sake; no more ids than the pool may hold transactions.
    fn note_dropped(&mut self, id: Digest) {
        if self.dropped.len() < self.limits.transactions_max {
            self.dropped.insert(id);
        }
    }

    /// Adds an entry whose place is free.
    fn put_in(&mut self, entry: Entry, next: u64) {
        let key = key_of(&entry);
        self.bytes = self.bytes.saturating_add(entry.bytes());
        self.ids.insert(entry.id(), (key, entry.sequence()));
        self.expiries.insert(place_of(&entry), entry.id());
        let held = self.senders.get_or_insert_with(key.sender, Held::default);
        held.count = held.count.saturating_add(1);
        // Each sum was at most a balance when its last part was added.
        held.fees = Amount::new(held.fees.get().saturating_add(entry.fee.get()));
        held.streams.insert(key.stream);
        self.change_stream(key, next, |stream| {
            stream.set_next(next);
            stream.insert(entry);
        });
    }

    fn remove(&mut self, id: &Digest) {
        if let Some(entry) = self.entry(id).cloned() {
            self.take_out(&entry);
        }
    }

    fn take_out(&mut self, entry: &Entry) {
        self.forget(entry);
        self.change_stream(key_of(entry), 0, |stream| stream.remove(entry.sequence()));
    }

    fn drop_stale(&mut self, key: StreamKey, next: u64) {
        if !self.streams.contains_key(&key) {
            return;
        }
        let mut stale = Vec::new();
        self.change_stream(key, next, |stream| {
            stream.set_next(next);
            stale = stream.drain_below(next);
        });
        for entry in &stale {
            self.forget(entry);
        }
    }

    /// Takes an entry out of everything but its stream.
    fn forget(&mut self, entry: &Entry) {
        self.bytes = self.bytes.saturating_sub(entry.bytes());
        self.ids.remove(&entry.id());
        self.expiries.remove(&place_of(entry));
        let sender = entry.transaction.body().sender;
        if let Some(held) = self.senders.get_mut(&sender) {
            held.count = held.count.saturating_sub(1);
            held.fees = Amount::new(held.fees.get().saturating_sub(entry.fee.get()));
            if held.count == 0 {
                self.senders.remove(&sender);
            }
        }
    }

    /// Changes a stream and its places in the two orders; an empty one is dropped, an absent one
    /// begun at `next`.
    fn change_stream(&mut self, key: StreamKey, next: u64, change: impl FnOnce(&mut Stream)) {
        let stream = self.streams.get_or_insert_with(key, || Stream::new(next));
        let before = (head_key(key, stream), tail_key(key, stream));
        change(stream);
        let after = (head_key(key, stream), tail_key(key, stream));
        let is_empty = stream.tail().is_none();
        if before.0 != after.0 {
            before.0.map(|place| self.heads.remove(&place));
            self.heads.extend(after.0);
        }
        if before.1 != after.1 {
            before.1.map(|place| self.tails.remove(&place));
            self.tails.extend(after.1);
        }
        if is_empty {
            self.streams.remove(&key);
            if let Some(held) = self.senders.get_mut(&key.sender) {
                held.streams.remove(&key.stream);
            }
        }
    }
}

/// A transaction that could be selected next in its stream.
struct Candidate<'a> {
    entry: &'a Entry,
    position: usize,
    stream: &'a Stream,
}

impl<'a> Candidate<'a> {
    /// The first of a stream that no ancestor holds, if it is the stream's next one.
    fn first(
        stream: &'a Stream,
        skip: &dyn Fn(&Digest) -> bool,
        next: impl FnOnce() -> u64,
    ) -> Option<Self> {
        // Ids are asked first: most streams whose head was included have nothing behind it, and
        // looking up an id is cheaper than a read of the state.
        stream.entries().iter().find(|entry| !skip(&entry.id()))?;
        let next = next();
        let position = stream.position(next).ok()?;
        Self::at(stream, position, skip)
    }

    fn at(stream: &'a Stream, position: usize, skip: &dyn Fn(&Digest) -> bool) -> Option<Self> {
        let entry = stream.entries().get(position)?;
        (!skip(&entry.id())).then_some(Self {
            entry,
            position,
            stream,
        })
    }

    /// The next one of the stream, if there is no gap.
    fn following(&self, skip: &dyn Fn(&Digest) -> bool) -> Option<Self> {
        let following = Self::at(self.stream, self.position.saturating_add(1), skip)?;
        let gapless = self.entry.sequence().checked_add(1) == Some(following.entry.sequence());
        gapless.then_some(following)
    }

    fn order(&self) -> (Amount, Reverse<u64>) {
        (self.entry.price(), Reverse(self.entry.arrival))
    }
}

impl Ord for Candidate<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.order().cmp(&other.order())
    }
}
impl PartialOrd for Candidate<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl PartialEq for Candidate<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.order() == other.order()
    }
}
impl Eq for Candidate<'_> {}

fn place_of(entry: &Entry) -> Place {
    (entry.valid_until(), entry.arrival)
}

fn key_of(entry: &Entry) -> StreamKey {
    let body = entry.transaction.body();
    StreamKey {
        sender: body.sender,
        stream: body.nonce.stream,
    }
}

/// Streams whose first transaction lies behind a gap are not in the order of heads, so that
/// selecting does not cost anything for them.
fn head_key(key: StreamKey, stream: &Stream) -> Option<HeadKey> {
    let head = stream
        .entries()
        .first()
        .filter(|head| head.sequence() <= stream.next())?;
    Some(HeadKey {
        price: Reverse(head.price()),
        arrival: head.arrival,
        key,
    })
}

fn tail_key(key: StreamKey, stream: &Stream) -> Option<TailKey> {
    let tail = stream.tail()?;
    Some(TailKey {
        worth: stream.tail_worth()?,
        arrival: Reverse(tail.arrival),
        key,
    })
}

/// The least price that replaces a transaction of price `old`: a tenth more, rounded up.
fn replacement_price(old: Amount) -> Amount {
    let more = old.get().div_ceil(REPLACEMENT_DIVISOR).max(1);
    Amount::new(old.get().saturating_add(more))
}

#[cfg(test)]
pub(crate) mod tests;
