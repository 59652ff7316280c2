//! One sender's waiting transactions of one stream, in order of sequence.
//!
//! A sorted vector: most streams hold one transaction, most others grow at their end and shrink at
//! their start, and a vector costs a fraction of a tree's memory. Every entry carries the lowest
//! price from the start of the stream to itself, which is what it is worth.

use super::{Admitted, Worth};
use skerry_types::amount::Amount;
use skerry_types::ids::{Digest, Height};
use skerry_types::transaction::CheckedTransaction;
use std::sync::Arc;

/// A waiting transaction.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// The transaction.
    pub(super) transaction: Arc<CheckedTransaction>,
    /// What it will be charged.
    pub(super) fee: Amount,
    /// Its place in the order of arrival at this pool.
    pub(super) arrival: u64,
    /// Lowest price from the start of the stream to here.
    floor: Amount,
}

impl Entry {
    pub(super) fn new(admitted: Admitted, arrival: u64) -> Self {
        let floor = admitted.transaction.body().gas_price;
        Self {
            transaction: admitted.transaction,
            fee: admitted.fee,
            arrival,
            floor,
        }
    }

    pub(super) fn id(&self) -> Digest {
        self.transaction.id()
    }

    pub(super) fn price(&self) -> Amount {
        self.transaction.body().gas_price
    }

    pub(super) fn sequence(&self) -> u64 {
        self.transaction.body().nonce.sequence
    }

    pub(super) fn valid_until(&self) -> Height {
        self.transaction.body().valid_until
    }

    pub(super) fn bytes(&self) -> usize {
        self.transaction.wire().len()
    }
}

/// The waiting transactions of one stream.
#[derive(Debug)]
pub(super) struct Stream {
    /// The next sequence by the state, as last heard.
    next: u64,
    entries: Vec<Entry>,
}

impl Stream {
    pub(super) const fn new(next: u64) -> Self {
        Self {
            next,
            entries: Vec::new(),
        }
    }

    pub(super) const fn next(&self) -> u64 {
        self.next
    }

    pub(super) fn set_next(&mut self, next: u64) {
        self.next = next;
    }

    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    pub(super) fn tail(&self) -> Option<&Entry> {
        self.entries.last()
    }

    /// Where `sequence` is, or where it would be put.
    pub(super) fn position(&self, sequence: u64) -> Result<usize, usize> {
        match self.entries.last() {
            Some(last) if last.sequence() < sequence => Err(self.entries.len()),
            _ => self
                .entries
                .binary_search_by_key(&sequence, Entry::sequence),
        }
    }

    pub(super) fn get(&self, sequence: u64) -> Option<&Entry> {
        self.entries.get(self.position(sequence).ok()?)
    }

    /// What the last transaction is worth.
    pub(super) fn tail_worth(&self) -> Option<Worth> {
        let tail = self.tail()?;
        let ready = self.is_gapless(self.next, self.entries.len(), tail.sequence());
        Some(Worth {
            ready,
            price: tail.floor,
        })
    }

    /// What `entry`, which is not in the stream, would be worth in its place.
    pub(super) fn worth_of(&self, entry: &Entry, next: u64) -> Worth {
        let (Ok(position) | Err(position)) = self.position(entry.sequence());
        let before = position
            .checked_sub(1)
            .and_then(|position| self.entries.get(position));
        let price = before.map_or(entry.price(), |before| before.floor.min(entry.price()));
        let ready = match entry.sequence().checked_sub(1) {
            Some(last) if last >= next => self.is_gapless(next, position, last),
            _ => true,
        };
        Worth { ready, price }
    }

    /// Whether the first `count` entries hold every sequence from `next` to `last`.
    fn is_gapless(&self, next: u64, count: usize, last: u64) -> bool {
        let Some(distance) = last.checked_sub(next) else {
            return true;
        };
        let (Ok(first) | Err(first)) = self.position(next);
        u64::try_from(count.saturating_sub(first)).ok() == distance.checked_add(1)
    }

    pub(super) fn insert(&mut self, entry: Entry) {
        if let Err(position) = self.position(entry.sequence()) {
            self.entries.insert(position, entry);
            self.set_floors(position);
        }
    }

    pub(super) fn remove(&mut self, sequence: u64) {
        if let Ok(position) = self.position(sequence) {
            self.entries.remove(position);
            self.set_floors(position);
        }
    }

    /// Takes out all entries below a sequence.
    pub(super) fn drain_below(&mut self, sequence: u64) -> Vec<Entry> {
        let (Ok(position) | Err(position)) = self.position(sequence);
        let drained = self.entries.drain(..position).collect();
        self.set_floors(0);
        drained
    }

    /// Sets the lowest prices anew from `position` on.
    fn set_floors(&mut self, position: usize) {
        let before = position
            .checked_sub(1)
            .and_then(|before| self.entries.get(before));
        let mut floor = before.map_or(Amount::MAX, |before| before.floor);
        for entry in self.entries.iter_mut().skip(position) {
            floor = floor.min(entry.price());
            entry.floor = floor;
        }
    }
}
