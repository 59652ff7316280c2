//! Keys of the state, reads from it, and sorted sets of changes to it.

use crate::ids::{Address, Digest, ModuleId};
use crate::short::ShortBytes;
use borsh::{BorshDeserialize, BorshSerialize};
use std::cell::RefCell;
use std::fmt;
use std::iter::{Flatten, Map};
use std::slice::Iter;
use std::vec::IntoIter;

/// A key of the state: an owner's, in a module, under a local name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct StateKey {
    /// The account or object.
    pub owner: Address,
    /// The module.
    pub module: ModuleId,
    /// The module's own name of the record.
    pub local: LocalKey,
}

impl StateKey {
    /// Puts a key together.
    pub fn new(owner: Address, module: ModuleId, local: impl Into<LocalKey>) -> Self {
        Self {
            owner,
            module,
            local: local.into(),
        }
    }

    /// Place in the owner's tree: plain blake3 of module (little-endian) and local key.
    pub fn path(&self) -> Digest {
        record_path(self.module, &self.local)
    }

    /// Bytes for an ordered store: owner, module big-endian, local key.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.local.len().saturating_add(34));
        bytes.extend_from_slice(self.owner.as_bytes());
        bytes.extend_from_slice(&self.module.get().to_be_bytes());
        bytes.extend_from_slice(&self.local);
        bytes
    }

    /// Reads [`Self::to_bytes`]; `None` when too short.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (owner, rest) = bytes.split_first_chunk::<32>()?;
        let (module, local) = rest.split_first_chunk::<2>()?;
        Some(Self {
            owner: Address::new(*owner),
            module: ModuleId::new(u16::from_be_bytes(*module)),
            local: local.into(),
        })
    }
}

/// Place of a record in its owner's tree: [`StateKey::path`].
///
/// It is the same with every owner, and nearly all records have one of a few names: the balance of
/// `sker`, the nonce of stream 0, the authenticator. Each thread remembers the places of some names,
/// since a transaction asks for a dozen.
pub fn record_path(module: ModuleId, local: &[u8]) -> Digest {
    let find = || {
        let mut bytes = Vec::with_capacity(local.len().saturating_add(2));
        bytes.extend_from_slice(&module.get().to_le_bytes());
        bytes.extend_from_slice(local);
        crate::crypto::hash::plain(&bytes)
    };
    PATHS.with(|paths| {
        let some = local.iter().take(1).chain(local.iter().rev().take(3));
        let at = some.fold(module.get(), |sum, byte| {
            sum.rotate_left(3) ^ u16::from(*byte)
        });
        let at = usize::from(at) % PATHS_KNOWN;
        let Ok(mut paths) = paths.try_borrow_mut() else {
            return find();
        };
        let Some(place) = paths.get_mut(at).filter(|_| local.len() <= LOCAL_BYTES) else {
            return find();
        };
        match place {
            Some((of, name, path)) if *of == module && **name == *local => *path,
            _ => {
                let path = find();
                *place = Some((module, local.into(), path));
                path
            }
        }
    })
}

/// How many places of names a thread remembers.
const PATHS_KNOWN: usize = 32;

thread_local! {
    static PATHS: RefCell<[Option<(ModuleId, LocalKey, Digest)>; PATHS_KNOWN]> =
        const { RefCell::new([const { None }; PATHS_KNOWN]) };
}

/// Bytes of a local key that lie in place.
const LOCAL_BYTES: usize = 38;

/// A module's own name of a record; that of a balance has 33 bytes.
pub type LocalKey = ShortBytes<LOCAL_BYTES>;

/// A value of the state; cheap to clone. An amount has 17 bytes, a nonce 9.
pub type Value = ShortBytes<22>;

/// Reads from one immutable state. There is no iteration: queues are counters, ordered sets pages.
pub trait StateRead: Sync {
    /// The value of a key, if it exists.
    fn get(&self, key: &StateKey) -> Option<Value>;
}

/// What a key holds from now on; `None` deletes it.
pub type Write = (StateKey, Option<Value>);

/// Changes to a state, at most one of each key, in order of key. Values are absolute, so applying a
/// change set twice is the same as once.
///
/// They lie in runs, since several threads make those of a block, each its own part of the keys. Where
/// one run ends and the next begins means nothing.
#[derive(Clone, Default)]
pub struct ChangeSet {
    runs: Vec<Vec<Write>>,
}

/// Walks a [`ChangeSet`].
pub type Writes<'c> = Map<Flatten<Iter<'c, Vec<Write>>>, fn(&Write) -> (&StateKey, &Option<Value>)>;

impl ChangeSet {
    /// Without changes.
    pub const fn new() -> Self {
        Self { runs: Vec::new() }
    }

    /// Of runs that follow each other in order of key, each in strict order of key itself.
    pub fn of_runs(runs: Vec<Vec<Write>>) -> Self {
        let mut set = Self { runs };
        set.runs.retain(|run| !run.is_empty());
        debug_assert!(
            set.runs.windows(2).all(|pair| match pair {
                [first, second] =>
                    first.last().map(|(key, _)| key) < second.first().map(|(key, _)| key),
                _ => true,
            }),
            "a run begins before the one before has ended"
        );
        set
    }

    /// Number of changed keys.
    pub fn len(&self) -> usize {
        let lengths = self.runs.iter().map(Vec::len);
        lengths.fold(0, usize::saturating_add)
    }

    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        self.runs.iter().all(Vec::is_empty)
    }

    /// What a key holds from now on, if it changes.
    pub fn get(&self, key: &StateKey) -> Option<&Option<Value>> {
        let run = self
            .runs
            .partition_point(|run| run.last().is_some_and(|(last, _)| last < key));
        let run = self.runs.get(run)?;
        let place = run.binary_search_by(|(own, _)| own.cmp(key)).ok()?;
        run.get(place).map(|(_, value)| value)
    }

    /// All changes, in order of key.
    pub fn iter(&self) -> Writes<'_> {
        self.runs.iter().flatten().map(|(key, value)| (key, value))
    }
}

impl fmt::Debug for ChangeSet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_map().entries(self).finish()
    }
}

impl PartialEq for ChangeSet {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other)
    }
}

impl Eq for ChangeSet {}

impl FromIterator<Write> for ChangeSet {
    /// In any order; of several changes of a key the last counts.
    fn from_iter<I: IntoIterator<Item = Write>>(writes: I) -> Self {
        let mut writes: Vec<Write> = writes.into_iter().collect();
        if !writes.is_sorted_by(|(first, _), (second, _)| first < second) {
            writes.sort_by(|(first, _), (second, _)| first.cmp(second));
            writes.dedup_by(|later, first| {
                let is_same = later.0 == first.0;
                if is_same {
                    std::mem::swap(later, first);
                }
                is_same
            });
        }
        Self::of_runs(vec![writes])
    }
}

impl<const N: usize> From<[Write; N]> for ChangeSet {
    fn from(writes: [Write; N]) -> Self {
        writes.into_iter().collect()
    }
}

impl IntoIterator for ChangeSet {
    type Item = Write;
    type IntoIter = Flatten<IntoIter<Vec<Write>>>;

    fn into_iter(self) -> Self::IntoIter {
        self.runs.into_iter().flatten()
    }
}

impl<'c> IntoIterator for &'c ChangeSet {
    type Item = (&'c StateKey, &'c Option<Value>);
    type IntoIter = Writes<'c>;

    fn into_iter(self) -> Writes<'c> {
        self.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::{ChangeSet, StateKey, Value, Write, record_path};
    use crate::crypto::hash::plain;
    use crate::ids::{Address, ModuleId};
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn key(number: u8) -> StateKey {
        StateKey::new(Address::new([number / 4; 32]), ModuleId::new(1), [number])
    }

    #[test]
    fn a_place_is_the_hash_of_the_name_whatever_was_asked_before() {
        let long = [7_u8; 100];
        for round in 0..2_u8 {
            for module in 0..3_u16 {
                for length in [0, 1, 3, 33, 38, 39, 100] {
                    for last in 0..40 {
                        let mut local = long[..length].to_vec();
                        if let Some(byte) = local.last_mut() {
                            *byte = last;
                        }
                        let mut bytes = module.to_le_bytes().to_vec();
                        bytes.extend_from_slice(&local);
                        let path = record_path(ModuleId::new(module), &local);
                        assert_eq!(path, plain(&bytes), "{round} {module} {length} {last}");
                    }
                }
            }
        }
    }

    proptest! {
        /// Whatever comes in which order, it is what a sorted map of the same is.
        #[test]
        fn a_change_set_is_a_sorted_map(list: Vec<(u8, Option<u8>)>, cut in 0..40_usize) {
            let writes = list.iter().map(|(number, value)| -> Write {
                (key(*number), value.map(|value| Value::from([value])))
            });
            let map: BTreeMap<StateKey, Option<Value>> = writes.clone().collect();
            let set: ChangeSet = writes.collect();
            prop_assert!(set.iter().eq(map.iter()));
            prop_assert_eq!(set.len(), map.len());
            prop_assert_eq!(set.is_empty(), map.is_empty());
            let mut first: Vec<Write> = map.clone().into_iter().collect();
            let second = first.split_off(cut.min(first.len()));
            let in_runs = ChangeSet::of_runs(vec![first, second]);
            prop_assert_eq!(&in_runs, &set);
            for number in 0..=u8::MAX {
                prop_assert_eq!(in_runs.get(&key(number)), map.get(&key(number)));
            }
            prop_assert!(in_runs.into_iter().eq(map));
        }
    }
}
