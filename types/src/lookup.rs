//! A map that is only looked into, never walked.
//!
//! Hash maps are banned from the code that the simulator runs, since the order in which they are
//! walked differs from run to run. Most maps of the mempool and the caches are never walked, and a
//! lookup in a tree of some ten thousand digests costs several times one in a hash map. This type
//! has no walk, so it has no order: [`Lookup::sorted`] is the only way to see all of it.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;

/// Values by key, without an order.
#[derive(Clone)]
pub struct Lookup<K, V> {
    map: HashMap<K, V>,
}

impl<K, V> Default for Lookup<K, V> {
    fn default() -> Self {
        Self {
            map: HashMap::new(),
        }
    }
}

impl<K: Ord + Eq + Hash + fmt::Debug, V: fmt::Debug> fmt::Debug for Lookup<K, V> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_map().entries(self.sorted()).finish()
    }
}

impl<K: Eq + Hash, V> Lookup<K, V> {
    /// Makes room for so many more keys.
    pub fn reserve(&mut self, keys: usize) {
        self.map.reserve(keys);
    }

    /// The value of a key.
    pub fn get<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.map.get(key)
    }

    /// The value of a key, to change it.
    pub fn get_mut<Q: Eq + Hash + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        self.map.get_mut(key)
    }

    /// The value of a key, which is made first where there is none.
    pub fn get_or_insert_with(&mut self, key: K, make: impl FnOnce() -> V) -> &mut V {
        self.map.entry(key).or_insert_with(make)
    }

    /// Sets a key's value and returns the old one.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        self.map.insert(key, value)
    }

    /// Removes a key and returns its value.
    pub fn remove<Q: Eq + Hash + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        self.map.remove(key)
    }

    /// Whether the key has a value.
    pub fn contains_key<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.map.contains_key(key)
    }

    /// Keeps what satisfies `keep`, which cannot tell in which order it is asked.
    pub fn retain(&mut self, keep: impl Fn(&K, &V) -> bool) {
        self.map.retain(|key, value| keep(key, value));
    }

    /// Number of keys.
    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// Whether there are no keys.
    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// Everything, in order of key.
    pub fn sorted(&self) -> Vec<(&K, &V)>
    where
        K: Ord,
    {
        let mut all: Vec<(&K, &V)> = self.map.iter().collect();
        all.sort_unstable_by_key(|(key, _)| *key);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::Lookup;

    #[test]
    fn everything_is_seen_in_order_of_key_alone() {
        let mut lookup = Lookup::default();
        for key in [5, 3, 9, 1, 7_u32] {
            assert_eq!(lookup.insert(key, key * 10), None);
        }
        assert_eq!(lookup.insert(3, 33), Some(30));
        assert_eq!(lookup.remove(&9), Some(90));
        lookup.retain(|key, _| *key != 1);
        *lookup.get_or_insert_with(2, || 19) += 1;
        let all: Vec<(u32, u32)> = lookup.sorted().into_iter().map(|(k, v)| (*k, *v)).collect();
        assert_eq!(all, [(2, 20), (3, 33), (5, 50), (7, 70)]);
        assert_eq!(format!("{lookup:?}"), "{2: 20, 3: 33, 5: 50, 7: 70}");
    }
}
