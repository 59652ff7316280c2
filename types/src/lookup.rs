//! A map that is only looked into, never walked.
//!
//! Hash maps are banned from the code that the simulator runs, since the order in which they are
//! walked differs from run to run. Most maps of the mempool and the caches are never walked, and a
//! lookup in a tree of some ten thousand digests costs several times one in a hash map. This type
//! has no walk, so it has no order: [`Lookup::sorted`] is the only way to see all of it.
//!
//! A node looks up some forty keys for each transaction, most of them digests. So keys are hashed in a
//! multiplication for every 16 bytes (`Products`), by secrets of each map's own: who does not know
//! those finds no keys that meet.
//!
//! [`Numbers`] is the same for ids alone, in the order in which they came.

use crate::ids::Address;
use std::borrow::Borrow;
use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};

/// Values by key, without an order.
#[derive(Clone)]
pub struct Lookup<K, V> {
    map: HashMap<K, V, Secrets>,
}

impl<K, V> Default for Lookup<K, V> {
    fn default() -> Self {
        Self {
            map: HashMap::with_hasher(Secrets::default()),
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

/// What the hashes of one map depend on beside its keys.
#[derive(Clone, Copy, Debug)]
struct Secrets([u64; 4]);

impl Default for Secrets {
    fn default() -> Self {
        let random = RandomState::new();
        Self([0_u8, 1, 2, 3].map(|number| random.hash_one(number)))
    }
}

impl BuildHasher for Secrets {
    type Hasher = Products;

    #[inline]
    fn build_hasher(&self) -> Products {
        let Self([k, l, m, n]) = *self;
        Products {
            state: k,
            words: [l, m],
            last: n,
        }
    }
}

/// Folds a key into one word by products with secrets, as `wyhash` does.
struct Products {
    state: u64,
    words: [u64; 2],
    last: u64,
}

impl Products {
    #[inline]
    fn fold(&mut self, a: u64, b: u64) {
        let [l, m] = self.words;
        self.state = folded(a ^ l ^ self.state, b ^ m);
    }
}

impl Hasher for Products {
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        let (parts, rest) = bytes.as_chunks::<16>();
        for part in parts {
            let [a, b] = words(part);
            self.fold(a, b);
        }
        if !rest.is_empty() {
            let mut part = [0; 16];
            for (to, from) in part.iter_mut().zip(rest) {
                *to = *from;
            }
            let [a, b] = words(&part);
            self.fold(a, b);
        }
    }

    #[inline]
    fn write_u8(&mut self, number: u8) {
        self.write_u64(number.into());
    }

    #[inline]
    fn write_u16(&mut self, number: u16) {
        self.write_u64(number.into());
    }

    #[inline]
    fn write_u32(&mut self, number: u32) {
        self.write_u64(number.into());
    }

    #[inline]
    fn write_u64(&mut self, number: u64) {
        self.fold(number, 0);
    }

    #[inline]
    fn write_usize(&mut self, number: usize) {
        // The length before bytes; keys of a map have one length, as a rule.
        self.state ^= u64::try_from(number).unwrap_or(u64::MAX);
    }

    #[inline]
    fn finish(&self) -> u64 {
        folded(self.state, self.last)
    }
}

/// Ids numbered from 0 as they come.
///
/// A [`Lookup`] of numbers would do. An executor asks several times for each transaction, so here an
/// id is hashed in a few multiplications, by secrets that are drawn anew for each table, and a place
/// of the table is eight bytes: the table of a block stays in a core's cache.
#[derive(Clone, Debug)]
pub struct Numbers {
    ids: Vec<Address>,
    /// Half of an id's hash above its number and one; 0 is empty. A power of two, at least twice as
    /// many as there are ids.
    places: Vec<u64>,
    secrets: [u64; 6],
}

impl Default for Numbers {
    fn default() -> Self {
        let random = RandomState::new();
        Self {
            ids: Vec::new(),
            places: Vec::new(),
            secrets: [0_u8, 1, 2, 3, 4, 5].map(|number| random.hash_one(number)),
        }
    }
}

impl Numbers {
    /// Fewest places.
    const PLACES_MIN: usize = 64;

    /// Makes room for so many ids in all.
    pub fn reserve(&mut self, ids: usize) {
        self.ids.reserve(ids.saturating_sub(self.ids.len()));
        self.rehash(ids);
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// The id of a number.
    #[inline]
    pub fn id(&self, number: u32) -> Option<&Address> {
        self.ids.get(usize::try_from(number).ok()?)
    }

    /// The number of an id, if it has one.
    #[inline]
    pub fn find(&self, id: &Address) -> Option<u32> {
        self.seek(id, self.hash(id)).ok()
    }

    /// The number of an id, which is the next one when it has none; `None` when all are used.
    #[inline]
    pub fn number(&mut self, id: &Address) -> Option<u32> {
        let hash = self.hash(id);
        match self.seek(id, hash) {
            Ok(number) => Some(number),
            Err(place) => self.add(id, hash, place),
        }
    }

    fn add(&mut self, id: &Address, hash: u64, mut place: usize) -> Option<u32> {
        let number = u32::try_from(self.ids.len()).ok();
        let number = number.filter(|number| *number < u32::MAX)?;
        let ids = self.ids.len().saturating_add(1);
        if ids.saturating_mul(2) > self.places.len() {
            self.rehash(ids);
            place = self.seek(id, hash).err()?;
        }
        self.ids.push(*id);
        self.put(place, hash, number);
        Some(number)
    }

    fn put(&mut self, place: usize, hash: u64, number: u32) {
        if let Some(place) = self.places.get_mut(place) {
            *place = (hash & TAG) | u64::from(number).saturating_add(1);
        }
    }

    /// Makes places for so many ids, where there are too few.
    fn rehash(&mut self, ids: usize) {
        let count = ids.saturating_mul(2).max(Self::PLACES_MIN);
        let count = count.checked_next_power_of_two().unwrap_or(count);
        if count <= self.places.len() {
            return;
        }
        self.places.clear();
        self.places.resize(count, 0);
        let room = Vec::with_capacity(self.ids.capacity());
        for (number, id) in (0..).zip(std::mem::replace(&mut self.ids, room)) {
            let hash = self.hash(&id);
            if let Err(place) = self.seek(&id, hash) {
                self.put(place, hash, number);
            }
            self.ids.push(id);
        }
    }

    /// The number of an id, or the empty place where it belongs.
    #[inline]
    fn seek(&self, id: &Address, hash: u64) -> Result<u32, usize> {
        let mask = self.places.len().wrapping_sub(1);
        let mut place = usize::try_from(hash & !TAG).unwrap_or(0) & mask;
        // At least half of all places are empty, so this ends.
        while let Some(held) = self.places.get(place).copied().filter(|held| *held != 0) {
            if (held ^ hash) & TAG == 0 {
                let number = u32::try_from((held & !TAG).wrapping_sub(1));
                if let Some(number) = number.ok().filter(|number| self.id(*number) == Some(id)) {
                    return Ok(number);
                }
            }
            place = place.wrapping_add(1) & mask;
        }
        Err(place)
    }

    /// Products of an id's words with the secrets (as `wyhash` does): who does not know those finds
    /// no ids that meet.
    #[inline]
    fn hash(&self, id: &Address) -> u64 {
        let (first, second) = id.as_bytes().split_at(16);
        let [a, b] = words(first);
        let [c, d] = words(second);
        let [k, l, m, n, o, p] = self.secrets;
        let (left, right) = (folded(a ^ k, b ^ l), folded(c ^ m, d ^ n));
        folded(left ^ o, right ^ p)
    }
}

/// The half of a hash that is kept.
const TAG: u64 = !(u32::MAX as u64);

fn words(bytes: &[u8]) -> [u64; 2] {
    let word = |bytes: Option<&[u8; 8]>| u64::from_le_bytes(bytes.copied().unwrap_or_default());
    [word(bytes.first_chunk()), word(bytes.last_chunk())]
}

/// Both halves of a product, one on the other.
fn folded(left: u64, right: u64) -> u64 {
    let product = u128::from(left).wrapping_mul(right.into());
    let half = |product: u128| u64::try_from(product & u128::from(u64::MAX)).unwrap_or(0);
    half(product) ^ half(product >> u64::BITS)
}

#[cfg(test)]
mod tests {
    use super::{Lookup, Numbers, Secrets};
    use crate::ids::Address;
    use std::collections::BTreeSet;
    use std::hash::BuildHasher as _;

    #[test]
    fn ids_are_numbered_as_they_come() {
        let id = |number: u32| {
            let mut id = [0; 32];
            // Words that are equal but for one, and words that are zero.
            id[usize::try_from(number % 4).unwrap() * 8] = 1;
            id[28..].copy_from_slice(&number.to_be_bytes());
            Address::new(id)
        };
        let mut numbers = Numbers::default();
        assert_eq!(numbers.find(&id(0)), None);
        for round in 0..2 {
            for number in 0..5_000 {
                let known = (round == 1).then_some(number);
                assert_eq!(numbers.find(&id(number)), known);
                assert_eq!(numbers.number(&id(number)), Some(number));
                assert_eq!(numbers.id(number), Some(&id(number)));
            }
            numbers.reserve(20_000);
            assert_eq!(numbers.len(), 5_000);
        }
    }

    #[test]
    fn keys_that_differ_in_one_bit_are_spread() {
        let secrets = Secrets::default();
        let hash = |key: &[u8; 32]| secrets.hash_one(key);
        let mut low = BTreeSet::new();
        let mut high = BTreeSet::new();
        for at in 0..32_usize {
            for bit in 0..8 {
                let mut key = [0; 32];
                key[at] = 1 << bit;
                low.insert(hash(&key) & 0xffff);
                high.insert(hash(&key) >> 48);
            }
        }
        // Of 256 in 65,536 places half of one meets another, on average.
        assert!(low.len() > 240 && high.len() > 240, "{low:?} {high:?}");
        assert_ne!(Secrets::default().hash_one([0_u8; 32]), hash(&[0; 32]));
        let long = |bytes: &[u8]| secrets.hash_one(bytes);
        assert_ne!(long(&[0; 16]), long(&[0; 17]));
        assert_ne!(long(&[1; 3]), long(&[1; 4]));
    }

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
