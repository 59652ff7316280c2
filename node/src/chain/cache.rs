//! The verification cache: transactions whose form and signatures are known to be good.
//!
//! Keyed by wire hash, which covers keys and signatures, and bounded: the oldest give way. It says
//! nothing of nonce, fee or expiry, which are checked at every use. The chain's thread and its
//! workers share it, so that a transaction is verified once, whether it came by itself or in a
//! block first. Of a final one the hash is remembered for a while: under load, blocks overtake the
//! checks of what came by itself.
//!
//! Beside it the points of keys that have signed lately ([`KeyCache`]), which a batch of signatures
//! needs: whoever sends often is cheaper to check.

use parking_lot::Mutex;
use skerry_types::crypto::ed25519::{KnownKey, PublicKey};
use skerry_types::ids::Digest;
use skerry_types::lookup::Lookup;
use skerry_types::transaction::CheckedTransaction;
use std::collections::VecDeque;
use std::sync::Arc;

/// Most transactions remembered.
const CAPACITY: usize = 50_000;
/// Keys of a generation: of two, at some 250 bytes a key.
const KEYS_MAX: usize = 16_384;
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
pub(crate) struct SignatureCache {
    entries: Arc<Mutex<Entries>>,
    /// The points of keys.
    pub(crate) keys: KeyCache,
}

/// A handle to the keys of one chain whose points are known. Nothing depends on what it holds but
/// how long a check takes.
#[derive(Clone, Default)]
pub(crate) struct KeyCache(Arc<Mutex<Generations>>);

/// Keys that were used since the last change of generations, and those of the one before.
#[derive(Default)]
struct Generations {
    young: Lookup<PublicKey, KnownKey>,
    old: Lookup<PublicKey, KnownKey>,
}

impl Generations {
    /// What is known of a key; it is young then.
    fn find(&mut self, key: &PublicKey) -> Option<KnownKey> {
        if let Some(known) = self.young.get(key) {
            return Some(*known);
        }
        let known = self.old.remove(key)?;
        self.insert(known);
        Some(known)
    }

    fn insert(&mut self, known: KnownKey) {
        if self.young.len() >= KEYS_MAX {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(*known.key(), known);
    }
}

impl KeyCache {
    /// These keys with their points, each in its place; nothing for what is no key.
    pub(crate) fn find_all(&self, keys: &[PublicKey]) -> Vec<Option<KnownKey>> {
        let mut found: Vec<Option<KnownKey>> = {
            let mut generations = self.0.lock();
            keys.iter().map(|key| generations.find(key)).collect()
        };
        let mut new = Vec::new();
        for (key, found) in keys.iter().zip(&mut found) {
            if found.is_none() {
                *found = KnownKey::of(key);
                new.extend(*found);
            }
        }
        let mut generations = self.0.lock();
        for known in new {
            generations.insert(known);
        }
        found
    }
}

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
        let mut entries = self.entries.lock();
        for transaction in transactions {
            let hash = transaction.wire_hash();
            if !entries.known.contains_key(&hash) {
                entries.insert(hash, Known::Verified(transaction));
            }
        }
        entries.shrink();
    }

    /// Takes note of transactions that a final block made happen.
    pub(crate) fn settle<'b>(
        &self,
        transactions: impl IntoIterator<Item = &'b Arc<CheckedTransaction>>,
    ) {
        let mut entries = self.entries.lock();
        for transaction in transactions {
            entries.insert(transaction.wire_hash(), Known::Settled);
        }
        entries.shrink();
    }

    /// Those of `hashes` that are known, each in its place.
    pub(crate) fn get_all(&self, hashes: &[Digest]) -> Vec<Option<Known>> {
        let entries = self.entries.lock();
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
    use skerry_types::crypto::ed25519::SecretKey;
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
        assert_eq!(cache.entries.lock().order.len(), 2);
        cache.settle(std::slice::from_ref(&first));
        cache.insert([first]);
        assert_eq!(
            cache.get_all(&hashes),
            [known(&second), Some(Known::Settled)]
        );
        let entries = cache.entries.lock();
        let current = entries.order.iter().map(|place| entries.is_current(place));
        assert_eq!(current.collect::<Vec<_>>(), [false, true, true]);
    }

    #[test]
    fn the_oldest_give_way() {
        let cache = SignatureCache::default();
        let mut entries = cache.entries.lock();
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

    #[test]
    fn keys_in_use_outlive_those_that_are_not() {
        let cache = KeyCache::default();
        let key = |number: u32| {
            let mut seed = [0; 32];
            seed[..4].copy_from_slice(&number.to_le_bytes());
            SecretKey::from_seed(seed).public_key()
        };
        let (used, unused) = (key(0), key(1));
        // Not every string of bytes is a point.
        let wrong = (0..=u8::MAX).map(|byte| PublicKey([byte; 32]));
        let wrong = wrong
            .into_iter()
            .find(|key| KnownKey::of(key).is_none())
            .expect("half of all strings are none");
        let found = cache.find_all(&[used, wrong, unused]);
        assert_eq!(found, [KnownKey::of(&used), None, KnownKey::of(&unused)]);
        for _ in 0..2 {
            let full = KnownKey::of(&key(2)).expect("a key");
            let mut generations = cache.0.lock();
            generations.old = std::mem::take(&mut generations.young);
            assert!(generations.find(&used).is_some());
            generations.insert(full);
        }
        let generations = cache.0.lock();
        assert!(generations.young.contains_key(&used));
        assert!(!generations.young.contains_key(&unused) && !generations.old.contains_key(&unused));
    }
}
