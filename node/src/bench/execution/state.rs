//! The state between blocks: a hash table in memory.
//!
//! No tree and no disk: what they cost is not part of these figures.

use skerry_types::ids::{Address, ModuleId};
use skerry_types::state::{ChangeSet, LocalKey, StateKey, StateRead, Value};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// A hash table whose keys are hashes mostly, and chosen by nobody.
pub(super) type Table<K, V> = HashMap<K, V, BuildHasherDefault<Folded>>;

/// Folds words into one. The standard hasher withstands chosen keys; here that would only be time
/// that is neither execution nor state.
#[derive(Default)]
pub(super) struct Folded(u64);

impl Folded {
    const fn fold(&mut self, word: u64) {
        let folded = self.0.rotate_left(5) ^ word;
        self.0 = folded.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

impl Hasher for Folded {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.fold(u64::from_le_bytes(*word));
        }
        if !rest.is_empty() {
            let mut word = [0; 8];
            for (to, from) in word.iter_mut().zip(rest) {
                *to = *from;
            }
            self.fold(u64::from_le_bytes(word));
        }
    }

    fn write_u16(&mut self, number: u16) {
        self.fold(number.into());
    }

    fn write_usize(&mut self, number: usize) {
        self.fold(u64::try_from(number).unwrap_or(u64::MAX));
    }

    fn finish(&self) -> u64 {
        // A product's high bits depend on all others; the table looks at both ends.
        self.0 ^ (self.0 >> 32)
    }
}

/// A chain's records, by owner: those of one lie together, as those of an account do in the plain
/// loop, and as an owner is looked for once in a node's tree.
#[derive(Default)]
pub(super) struct State(Table<Address, Records>);

struct Record {
    module: ModuleId,
    local: LocalKey,
    value: Value,
}

impl Record {
    fn is_of(&self, key: &StateKey) -> bool {
        self.module == key.module && self.local == key.local
    }
}

/// What an owner has.
#[derive(Default)]
struct Records {
    /// A nonce and two balances.
    here: [Option<Record>; 3],
    more: Vec<Record>,
}

impl Records {
    fn get(&self, key: &StateKey) -> Option<&Value> {
        let mut all = self.here.iter().flatten().chain(&self.more);
        all.find(|record| record.is_of(key))
            .map(|record| &record.value)
    }

    fn put(&mut self, key: StateKey, value: Value) {
        let mut all = self.here.iter_mut().flatten().chain(&mut self.more);
        if let Some(record) = all.find(|record| record.is_of(&key)) {
            record.value = value;
            return;
        }
        let StateKey { module, local, .. } = key;
        let record = Record {
            module,
            local,
            value,
        };
        match self.here.iter_mut().find(|place| place.is_none()) {
            Some(place) => *place = Some(record),
            None => self.more.push(record),
        }
    }

    fn remove(&mut self, key: &StateKey) {
        for place in &mut self.here {
            place.take_if(|record| record.is_of(key));
        }
        self.more.retain(|record| !record.is_of(key));
    }
}

impl State {
    pub(super) fn with_capacity(owners: usize) -> Self {
        Self(Table::with_capacity_and_hasher(
            owners,
            BuildHasherDefault::default(),
        ))
    }

    pub(super) fn put(&mut self, key: StateKey, value: Option<Value>) {
        match value {
            Some(value) => self.0.entry(key.owner).or_default().put(key, value),
            None => {
                if let Some(records) = self.0.get_mut(&key.owner) {
                    records.remove(&key);
                }
            }
        }
    }

    pub(super) fn apply(&mut self, changes: ChangeSet) {
        for (key, value) in changes {
            self.put(key, value);
        }
    }
}

impl StateRead for State {
    fn get(&self, key: &StateKey) -> Option<Value> {
        self.0.get(&key.owner)?.get(key).cloned()
    }
}
