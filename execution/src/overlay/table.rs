//! What was touched: a record for each key, found by its owner.
//!
//! A key gets its record once; reads and writes after that go by the record's number. The records of
//! an owner are found by one lookup of the owner and a short walk.

use super::SlotIndex;
use skerry_types::ids::{Address, ModuleId};
use skerry_types::lookup::{Lookup, Numbers};
use skerry_types::state::{LocalKey, StateKey, Value};

/// Records of one owner that are found by walking; above that, by a lookup of the key.
const WALK_MAX: u32 = 8;
/// No record.
const NONE: u32 = u32::MAX;

/// What of an owner was touched under one key: what it held before and what it holds now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) module: ModuleId,
    /// The owner's record that was touched before, in the table that it lies in.
    previous: u32,
    pub(crate) local: LocalKey,
    pub(crate) original: Option<Value>,
    pub(crate) value: Option<Value>,
}

impl Entry {
    /// Of a key that holds what it did before.
    pub(super) fn new(module: ModuleId, local: LocalKey, value: Option<Value>) -> Self {
        Self {
            module,
            previous: NONE,
            local,
            original: value.clone(),
            value,
        }
    }

    /// Whether it holds something else than before.
    pub(super) fn is_changed(&self) -> bool {
        self.value != self.original
    }
}

/// An owner with touched keys.
#[derive(Clone, Copy)]
struct Object {
    /// Its record that was touched last; the others follow from that.
    newest: u32,
    count: u32,
}

/// What was touched.
#[derive(Default)]
pub(super) struct Table {
    owners: Numbers,
    /// By number of the owner.
    objects: Vec<Object>,
    records: Vec<Entry>,
    /// Records of owners with more than [`WALK_MAX`].
    many: Lookup<StateKey, u32>,
    /// The object that was looked for last.
    last: Option<u32>,
}

fn at<T>(list: &[T], index: u32) -> Option<&T> {
    list.get(usize::try_from(index).ok()?)
}

fn at_mut<T>(list: &mut [T], index: u32) -> Option<&mut T> {
    list.get_mut(usize::try_from(index).ok()?)
}

impl Table {
    /// Makes room for what so many transactions touch, as a rule.
    pub(super) fn reserve(&mut self, transactions: usize) {
        let objects = transactions.saturating_mul(2);
        self.owners.reserve(objects);
        self.objects.reserve(objects);
        self.records.reserve(transactions.saturating_mul(3));
    }

    /// The object of an owner, which is made first where there is none.
    pub(super) fn object(&mut self, owner: &Address) -> u32 {
        if let Some(last) = self.last
            && self.owners.id(last) == Some(owner)
        {
            return last;
        }
        // A block of 2^32 touched owners is out of reach by far: each costs gas.
        let object = self.owners.number(owner).unwrap_or(NONE);
        if self.objects.len() < self.owners.len() {
            self.objects.push(Object {
                newest: NONE,
                count: 0,
            });
        }
        self.last = Some(object);
        object
    }

    /// The record of a key.
    pub(super) fn find(&self, key: &StateKey) -> Option<SlotIndex> {
        let object = self.owners.find(&key.owner)?;
        self.find_in(object, key.module, &key.local)
    }

    /// The record of an object's key.
    pub(super) fn find_in(
        &self,
        object: u32,
        module: ModuleId,
        local: &LocalKey,
    ) -> Option<SlotIndex> {
        let Object { count, newest } = *at(&self.objects, object)?;
        if count > WALK_MAX {
            let key = StateKey::new(*self.owners.id(object)?, module, local.clone());
            return self.many.get(&key).copied().map(SlotIndex);
        }
        let mut next = newest;
        while let Some(entry) = at(&self.records, next) {
            if entry.module == module && entry.local == *local {
                return Some(SlotIndex(next));
            }
            next = entry.previous;
        }
        None
    }

    pub(super) fn entry(&self, index: SlotIndex) -> Option<&Entry> {
        at(&self.records, index.0)
    }

    pub(super) fn entry_mut(&mut self, index: SlotIndex) -> Option<&mut Entry> {
        at_mut(&mut self.records, index.0)
    }

    /// Makes a record of an object.
    pub(super) fn push(&mut self, object: u32, mut entry: Entry) -> SlotIndex {
        let index = u32::try_from(self.records.len()).unwrap_or(NONE);
        let Some(held) = at_mut(&mut self.objects, object) else {
            return SlotIndex(NONE);
        };
        entry.previous = std::mem::replace(&mut held.newest, index);
        held.count = held.count.saturating_add(1);
        let count = held.count;
        self.records.push(entry);
        if count > WALK_MAX {
            self.index(object, index, count);
        }
        SlotIndex(index)
    }

    /// Makes the newest record of an object, or at first all of them, be found by their keys.
    fn index(&mut self, object: u32, newest: u32, count: u32) {
        let Some(owner) = self.owners.id(object) else {
            return;
        };
        let all = count == WALK_MAX.saturating_add(1);
        let mut next = newest;
        while let Some(entry) = at(&self.records, next) {
            let key = StateKey::new(*owner, entry.module, entry.local.clone());
            self.many.insert(key, next);
            next = if all { entry.previous } else { NONE };
        }
    }

    /// Takes all records of an owner; they are as if never touched then.
    pub(super) fn take(&mut self, owner: &Address) -> Vec<Entry> {
        let object = self.owners.find(owner);
        let Some(object) = object.and_then(|object| at_mut(&mut self.objects, object)) else {
            return Vec::new();
        };
        let mut next = std::mem::replace(&mut object.newest, NONE);
        let count = std::mem::take(&mut object.count);
        let mut entries = Vec::new();
        while let Some(entry) = at(&self.records, next) {
            if count > WALK_MAX {
                let key = StateKey::new(*owner, entry.module, entry.local.clone());
                self.many.remove(&key);
            }
            // The copy that stays behind is found by nobody.
            entries.push(entry.clone());
            next = entry.previous;
        }
        entries
    }

    pub(super) fn owner(&self, object: u32) -> Option<&Address> {
        self.owners.id(object)
    }

    /// The records of an object.
    pub(super) fn of_object(&self, object: u32) -> impl Iterator<Item = &Entry> {
        let mut next = at(&self.objects, object).map_or(NONE, |object| object.newest);
        std::iter::from_fn(move || {
            let entry = at(&self.records, next)?;
            next = entry.previous;
            Some(entry)
        })
    }

    /// How many records an object has.
    pub(super) fn count(&self, object: u32) -> usize {
        let count = at(&self.objects, object).map_or(0, |object| object.count);
        usize::try_from(count).unwrap_or(0)
    }

    /// All objects, in order of owner, each with the first eight bytes of the owner.
    pub(super) fn in_order(&self) -> Vec<(u64, u32)> {
        let with_records = (0..)
            .zip(&self.objects)
            .filter(|(_, object)| object.count > 0);
        let mut order: Vec<(u64, u32)> = with_records
            .map(|(object, _)| (self.owner(object).map_or(0, prefix), object))
            .collect();
        // Those bytes tell nearly all apart, and numbers sort fast.
        order.sort_unstable();
        for run in order.chunk_by_mut(|(left, _), (right, _)| left == right) {
            if run.len() > 1 {
                run.sort_unstable_by_key(|(_, object)| self.owner(*object));
            }
        }
        order
    }
}

/// The first eight bytes of an owner, which order as the owner does.
fn prefix(owner: &Address) -> u64 {
    let first = owner.as_bytes().first_chunk::<8>();
    u64::from_be_bytes(first.copied().unwrap_or_default())
}
