//! The verification cache: transactions whose form and signatures are known to be good.
//!
//! Keyed by wire hash, which covers keys and signatures, and bounded: the oldest give way. It says
//! nothing of nonce, fee or expiry, which are checked at every use. The chain's thread and its
//! workers share it, so that a transaction is verified once, whether it came by itself or in a
//! block first. Of a final one the hash is remembered for a while: under load, blocks overtake the
//! checks of what came by itself.

use parking_lot::Mutex;
use skerry_types::ids::Digest;
use skerry_types::lookup::Lookup;
use skerry_types::transaction::CheckedTransaction;
use std::collections::VecDeque;
use std::sync::Arc;

/// Most transactions remembered.
const CAPACITY: usize = 50_000;
/// Places in the order that are not worth a clean-up.
const MINIMUM: usize = 8_192;

/// What is known of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// It is good.
    Verified(Arc<CheckedTransaction>),
    /// It was in a final block, so it was good.
    Settled,
}

impl Known {
    /// The transaction, unless it is settled.
    pub(crate) fn verified(self) -> Option<Arc<CheckedTransaction>> {
        match self {
            Self::Verified(transaction) => Some(transaction),
            Self::Settled => None,
        }
    }
}

/// A handle to the cache of one chain.
#[derive(Clone, Default)]
pub(crate) struct SignatureCache(Arc<Mutex<Entries>>);

#[derive(Default)]
struct Entries {
    /// With the number of each insertion.
    known: Lookup<Digest, (u64, Known)>,
    order: VecDeque<(u64, Digest)>,
    inserted: u64,
}

impl Entries {
    fn insert(&mut self, hash: Digest, known: Known) {
        self.inserted = self.inserted.wrapping_add(1);
        self.known.insert(hash, (self.inserted, known));
        self.order.push_back((self.inserted, hash));
    }

    /// Whether a place in the order is still that of its transaction.
    fn is_current(&self, (number, hash): &(u64, Digest)) -> bool {
        self.known.get(hash).is_some_and(|(at, _)| at == number)
    }

    fn shrink(&mut self) {
        while self.known.len() > CAPACITY
            && let Some(oldest) = self.order.pop_front()
        {
            if self.is_current(&oldest) {
                self.known.remove(&oldest.1);
            }
        }
        // Places that were left are given up in bulk, when they are the most.
        if self.order.len() > self.known.len().saturating_mul(2).max(MINIMUM) {
            let mut order = std::mem::take(&mut self.order);
            order.retain(|place| self.is_current(place));
            self.order = order;
        }
    }
}

impl SignatureCache {
    /// Remembers transactions that were verified.
    pub(crate) fn insert(&self, transactions: impl IntoIterator<Item = Arc<CheckedTransaction>>) {
        let mut entries = self.0.lock();
        for transaction in transactions {
            let hash = transaction.wire_hash();
            if !entries.known.contains_key(&hash) {
                entries.insert(hash, Known::Verified(transaction));
            }
        }
        entries.shrink();
    }

    /// Takes note of the transactions of a final block.
    pub(crate) fn settle(&self, transactions: &[Arc<CheckedTransaction>]) {
        let mut entries = self.0.lock();
        for transaction in transactions {
            entries.insert(transaction.wire_hash(), Known::Settled);
        }
        entries.shrink();
    }

    /// Those of `hashes` that are known, each in its place.
    pub(crate) fn get_all(&self, hashes: &[Digest]) -> Vec<Option<Known>> {
        let entries = self.0.lock();
        hashes
            .iter()
            .map(|hash| entries.known.get(hash).map(|(_, known)| known.clone()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mempool::tests::{sketch, transaction};
    use skerry_types::crypto::hash::plain;

    #[test]
    fn what_is_verified_is_known_and_what_is_final_only_by_its_hash() {
        let cache = SignatureCache::default();
        let (first, second) = (transaction(sketch(1, 0, 1)), transaction(sketch(1, 1, 1)));
        let hashes = [second.wire_hash(), first.wire_hash()];
        cache.insert([first.clone()]);
        let known = |transaction: &Arc<_>| Some(Known::Verified(Arc::clone(transaction)));
        assert_eq!(cache.get_all(&hashes), [None, known(&first)]);
        cache.insert([first.clone(), second.clone()]);
        assert_eq!(cache.0.lock().order.len(), 2);
        cache.settle(std::slice::from_ref(&first));
        cache.insert([first]);
        assert_eq!(
            cache.get_all(&hashes),
            [known(&second), Some(Known::Settled)]
        );
        let entries = cache.0.lock();
        let current = entries.order.iter().map(|place| entries.is_current(place));
        assert_eq!(current.collect::<Vec<_>>(), [false, true, true]);
    }

    #[test]
    fn the_oldest_give_way() {
        let cache = SignatureCache::default();
        let mut entries = cache.0.lock();
        let hash = |number: u64| plain(&number.to_le_bytes());
        let count = u64::try_from(CAPACITY).expect("fits");
        for number in 0..count + 10 {
            entries.insert(hash(number), Known::Settled);
        }
        entries.shrink();
        assert_eq!(
            (entries.known.len(), entries.order.len()),
            (CAPACITY, CAPACITY)
        );
        assert!(!entries.known.contains_key(&hash(9)) && entries.known.contains_key(&hash(10)));
    }
}
