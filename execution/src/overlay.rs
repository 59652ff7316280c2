//! The state while a block executes: the parent's state, what the block changed, what the current
//! transaction changed.
//!
//! Every touched key gets a slot once; reads and writes after that go by slot number. The records
//! of an owner are found by one lookup of the owner and a short walk. Everything that was touched
//! can leave in order of key, whole or one owner at a time: so parts of a block that were executed
//! apart are put together ([`settle`]), and what a lane is done with goes on to the next.

use crate::error::CallError;
use crate::view::{encode_amount, read_amount};
use skerry_types::amount::Amount;
use skerry_types::ids::{Address, ModuleId};
use skerry_types::lookup::Lookup;
use skerry_types::state::{ChangeSet, StateKey, StateRead, Value};
use std::iter::Peekable;

/// Records of one owner that are found by walking; above that, by a lookup of the key.
const WALK_MAX: u32 = 8;
/// No record.
const NONE: u32 = u32::MAX;

/// Number of a touched key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SlotIndex(u32);

/// A touched key with what it held before and what it holds now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) key: StateKey,
    pub(crate) original: Option<Value>,
    pub(crate) value: Option<Value>,
}

/// A key that holds something else than before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    key: StateKey,
    before: Before,
    value: Option<Value>,
}

/// Longest value that is copied: an amount and a nonce are shorter.
const SHORT: usize = 22;

/// What a key held. Short values are copied, so that what held them can be given back by the thread
/// that has it in its cache.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Before {
    Nothing,
    Short(u8, [u8; SHORT]),
    Long(Value),
}

impl Before {
    fn of(value: Option<Value>) -> Self {
        let Some(value) = value else {
            return Self::Nothing;
        };
        let mut bytes = [0; SHORT];
        match (bytes.get_mut(..value.len()), u8::try_from(value.len())) {
            (Some(place), Ok(length)) => {
                place.copy_from_slice(&value);
                Self::Short(length, bytes)
            }
            _ => Self::Long(value),
        }
    }

    fn bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Nothing => None,
            Self::Short(length, bytes) => bytes.get(..usize::from(*length)),
            Self::Long(value) => Some(value),
        }
    }
}

/// An owner with touched keys.
struct Object {
    owner: Address,
    /// Its record that was touched last; the others follow from that.
    newest: u32,
    count: u32,
}

struct Record {
    entry: Entry,
    /// The owner's record that was touched before.
    previous: u32,
}

/// What was touched.
#[derive(Default)]
struct Table {
    index: Lookup<Address, u32>,
    objects: Vec<Object>,
    records: Vec<Record>,
    /// Records of owners with more than [`WALK_MAX`].
    many: Lookup<StateKey, u32>,
    /// The object that was looked for last.
    last: Option<u32>,
}

fn sort_from(changes: &mut [Change], start: usize) {
    if let Some(run) = changes.get_mut(start..)
        && run.len() > 1
    {
        run.sort_unstable_by(|left, right| left.key.cmp(&right.key));
    }
}

fn number(count: usize) -> u32 {
    // A block of 2^32 touched keys is out of reach by far: each costs gas.
    u32::try_from(count).unwrap_or(NONE)
}

fn at<T>(list: &[T], index: u32) -> Option<&T> {
    list.get(usize::try_from(index).ok()?)
}

fn at_mut<T>(list: &mut [T], index: u32) -> Option<&mut T> {
    list.get_mut(usize::try_from(index).ok()?)
}

impl Table {
    fn find(&self, key: &StateKey) -> Option<u32> {
        let object = *self.index.get(&key.owner)?;
        self.find_in(object, key.module, &key.local)
    }

    fn find_in(&self, object: u32, module: ModuleId, local: &[u8]) -> Option<u32> {
        let object = at(&self.objects, object)?;
        if object.count > WALK_MAX {
            let key = StateKey::new(object.owner, module, local);
            return self.many.get(&key).copied();
        }
        let mut next = object.newest;
        while let Some(record) = at(&self.records, next) {
            let key = &record.entry.key;
            if key.module == module && key.local == local {
                return Some(next);
            }
            next = record.previous;
        }
        None
    }

    /// The object of an owner, which is made first where there is none.
    fn object(&mut self, owner: &Address) -> u32 {
        if let Some(last) = self.last
            && at(&self.objects, last).is_some_and(|object| object.owner == *owner)
        {
            return last;
        }
        let objects = &mut self.objects;
        let object = *self.index.get_or_insert_with(*owner, || {
            objects.push(Object {
                owner: *owner,
                newest: NONE,
                count: 0,
            });
            number(objects.len().saturating_sub(1))
        });
        self.last = Some(object);
        object
    }

    fn push(&mut self, object: u32, entry: Entry) -> u32 {
        let index = number(self.records.len());
        let Some(object) = at_mut(&mut self.objects, object) else {
            return NONE;
        };
        let previous = object.newest;
        object.newest = index;
        object.count = object.count.saturating_add(1);
        let count = object.count;
        if count > WALK_MAX {
            self.many.insert(entry.key.clone(), index);
        }
        self.records.push(Record { entry, previous });
        if count == WALK_MAX.saturating_add(1) {
            let mut next = previous;
            while let Some(record) = at(&self.records, next) {
                self.many.insert(record.entry.key.clone(), next);
                next = record.previous;
            }
        }
        index
    }

    /// Takes all records of an owner; they are as if never touched then.
    fn take(&mut self, owner: &Address) -> Vec<Entry> {
        let object = self.index.get(owner).copied();
        let Some(object) = object.and_then(|object| at_mut(&mut self.objects, object)) else {
            return Vec::new();
        };
        let mut next = std::mem::replace(&mut object.newest, NONE);
        let count = std::mem::take(&mut object.count);
        let mut entries = Vec::new();
        while let Some(record) = at_mut(&mut self.records, next) {
            next = record.previous;
            if count > WALK_MAX {
                self.many.remove(&record.entry.key);
            }
            entries.push(record.entry.take());
        }
        entries
    }

    /// What changed, in order of key.
    fn into_sorted(mut self) -> Vec<Change> {
        // The first eight bytes of an owner tell nearly all apart, and numbers sort fast.
        let prefix = |owner: &Address| {
            let first = owner.as_bytes().first_chunk::<8>();
            u64::from_be_bytes(first.copied().unwrap_or_default())
        };
        let mut order: Vec<u128> = (0..)
            .zip(&self.objects)
            .filter(|(_, object)| object.count > 0)
            .map(|(index, object): (u32, _)| {
                (u128::from(prefix(&object.owner)) << 32) | u128::from(index)
            })
            .collect();
        order.sort_unstable();
        let mut changes: Vec<Change> = Vec::with_capacity(self.records.len());
        let mut start = 0;
        for packed in order {
            let object = u32::try_from(packed & u128::from(u32::MAX)).unwrap_or(NONE);
            let Some(object) = at(&self.objects, object) else {
                continue;
            };
            // Owners with one prefix are sorted together, once all of them are there.
            let begun = changes.get(start).map(|change| prefix(&change.key.owner));
            if begun.is_some_and(|begun| begun != prefix(&object.owner)) {
                sort_from(&mut changes, start);
                start = changes.len();
            }
            let mut next = object.newest;
            while let Some(record) = at_mut(&mut self.records, next) {
                next = record.previous;
                if record.entry.value != record.entry.original {
                    let Entry {
                        key,
                        original,
                        value,
                    } = record.entry.take();
                    let before = Before::of(original);
                    changes.push(Change { key, before, value });
                }
            }
        }
        sort_from(&mut changes, start);
        changes
    }
}

impl Entry {
    /// Leaves an empty one behind.
    fn take(&mut self) -> Self {
        let StateKey {
            owner,
            module,
            local,
        } = &mut self.key;
        Self {
            key: StateKey {
                owner: *owner,
                module: *module,
                local: std::mem::take(local),
            },
            original: self.original.take(),
            value: self.value.take(),
        }
    }
}

/// The parent's state with the changes of the block so far.
pub(crate) struct BlockOverlay<'a> {
    parent: &'a dyn StateRead,
    /// What parts of the block that are over have changed, each in order of key. Of a key that is in
    /// several, the last holds the value and the first what was before.
    below: Vec<Vec<Change>>,
    table: Table,
    /// Whether a call that only adds may have shown in which order it ran.
    shows_order: bool,
}

impl<'a> BlockOverlay<'a> {
    pub(crate) fn new(parent: &'a dyn StateRead) -> Self {
        Self {
            parent,
            below: Vec::new(),
            table: Table::default(),
            shows_order: false,
        }
    }

    /// Makes room for what so many transactions touch, as a rule.
    pub(crate) fn reserve(&mut self, transactions: usize) {
        let objects = transactions.saturating_mul(2);
        self.table.index.reserve(objects);
        self.table.objects.reserve(objects);
        self.table.records.reserve(transactions.saturating_mul(3));
    }

    /// The slot of a key, read from below when it is touched first.
    pub(crate) fn slot(&mut self, key: StateKey) -> SlotIndex {
        let object = self.table.object(&key.owner);
        match self.table.find_in(object, key.module, &key.local) {
            Some(index) => SlotIndex(index),
            None => self.touch(object, key),
        }
    }

    /// [`Self::slot`] of a key in parts, which is put together only when it is touched first.
    pub(crate) fn slot_at(&mut self, owner: &Address, module: ModuleId, local: &[u8]) -> SlotIndex {
        let object = self.table.object(owner);
        match self.table.find_in(object, module, local) {
            Some(index) => SlotIndex(index),
            None => self.touch(object, StateKey::new(*owner, module, local)),
        }
    }

    fn touch(&mut self, object: u32, key: StateKey) -> SlotIndex {
        let original = self.read_below(&key);
        let entry = Entry {
            key,
            value: original.clone(),
            original,
        };
        SlotIndex(self.table.push(object, entry))
    }

    fn read_below(&self, key: &StateKey) -> Option<Value> {
        for list in self.below.iter().rev() {
            if let Ok(index) = list.binary_search_by(|change| change.key.cmp(key)) {
                return list.get(index).and_then(|change| change.value.clone());
            }
        }
        self.parent.get(key)
    }

    pub(crate) fn value(&self, index: SlotIndex) -> Option<&Value> {
        at(&self.table.records, index.0)?.entry.value.as_ref()
    }

    pub(crate) fn set(&mut self, index: SlotIndex, value: Option<Value>) {
        if let Some(record) = at_mut(&mut self.table.records, index.0) {
            record.entry.value = value;
        }
    }

    pub(crate) fn get(&mut self, key: StateKey) -> Option<Value> {
        let index = self.slot(key);
        self.value(index).cloned()
    }

    pub(crate) fn put(&mut self, key: StateKey, value: Option<Value>) {
        let index = self.slot(key);
        self.set(index, value);
    }

    /// The state as it is now, for readers that keep nothing.
    pub(crate) fn as_state(&self) -> OverlayState<'_, 'a> {
        OverlayState(self)
    }

    /// What differs from the parent, in order of key.
    pub(crate) fn into_changes(self) -> ChangeSet {
        let mut lists = self.below;
        lists.push(self.table.into_sorted());
        lists.retain(|list| !list.is_empty());
        let room = lists
            .iter()
            .map(Vec::len)
            .fold(0_usize, usize::saturating_add);
        let mut changes = Vec::with_capacity(room);
        let mut lists: Vec<_> = lists
            .into_iter()
            .map(|list| list.into_iter().peekable())
            .collect();
        while let Some(first) = least(lists.iter_mut().map(Peekable::peek)) {
            let Some(Change { key, before, value }) = lists.get_mut(first).and_then(Iterator::next)
            else {
                break;
            };
            let (mut value, mut is_once) = (value, true);
            for later in lists.iter_mut().skip(first.saturating_add(1)) {
                if let Some(change) = later.next_if(|change| change.key == key) {
                    (value, is_once) = (change.value, false);
                }
            }
            if is_once || before.bytes() != value.as_deref() {
                changes.push((key, value));
            }
        }
        changes.into_iter().collect()
    }

    /// Whether a call that only adds may have shown in which order it ran: a sum was too large, or is
    /// so large that it might be with what others add; or a record was inserted, which fails where
    /// another has inserted it.
    pub(crate) const fn shows_order(&self) -> bool {
        self.shows_order
    }

    /// Notes [`Self::shows_order`].
    pub(crate) const fn note_order(&mut self) {
        self.shows_order = true;
    }

    /// Takes what was touched of an owner, for whoever goes on with it.
    pub(crate) fn take_owner(&mut self, owner: &Address) -> Vec<Entry> {
        self.table.take(owner)
    }

    /// Goes on with an owner where another left off.
    pub(crate) fn give(&mut self, entries: Vec<Entry>) {
        for entry in entries {
            let object = self.table.object(&entry.key.owner);
            self.table.push(object, entry);
        }
    }

    /// What changed, in order of key.
    pub(crate) fn into_sorted(self) -> Vec<Change> {
        self.table.into_sorted()
    }

    /// Goes on above what parts of the block have done to the state as it is here; see [`settle`].
    pub(crate) fn put_below(&mut self, parts: Vec<Vec<Change>>) {
        let own = std::mem::take(&mut self.table).into_sorted();
        self.below.push(own);
        self.below.extend(parts);
    }
}

/// Reads through an overlay.
pub(crate) struct OverlayState<'o, 'a>(&'o BlockOverlay<'a>);

impl StateRead for OverlayState<'_, '_> {
    fn get(&self, key: &StateKey) -> Option<Value> {
        match self.0.table.find(key) {
            Some(index) => self.0.value(SlotIndex(index)).cloned(),
            None => self.0.read_below(key),
        }
    }
}

/// Two parts of a block changed one record, and not by adding to an amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Contradiction;

/// Settles what several of the parts of a block changed that ran beside each other, each above the
/// same state: an amount that all of them added to. Each then has the sum.
///
/// # Errors
/// When it is no amount or the sum is too large: one would have seen what the other did.
pub(crate) fn settle(parts: &mut [Vec<Change>]) -> Result<(), Contradiction> {
    let mut places = vec![0_usize; parts.len()];
    let next = |parts: &[Vec<Change>], places: &[usize]| {
        let heads = parts.iter().zip(places);
        least(heads.map(|(part, place)| part.get(*place)))
    };
    while let Some(first) = next(parts, &places) {
        let at = |part: usize, place: usize| parts.get(part).and_then(|part| part.get(place));
        let Some(change) = places.get(first).and_then(|place| at(first, *place)) else {
            break;
        };
        // Those that have the key, too, have it next.
        let mut shared = Vec::new();
        for (part, place) in (0..).zip(&mut places).skip(first) {
            if at(part, *place).is_some_and(|other| other.key == change.key) {
                if part > first {
                    shared.push((part, *place));
                }
                *place = place.saturating_add(1);
            }
        }
        if shared.is_empty() {
            continue;
        }
        let before = amount(change.before.bytes())?;
        let mut sum = before;
        let own = places.get(first).map_or(0, |place| place.saturating_sub(1));
        shared.push((first, own));
        for (part, place) in &shared {
            let value = at(*part, *place).and_then(|change| change.value.as_deref());
            let added = amount(value)?.checked_sub(before).ok_or(Contradiction)?;
            sum = sum.checked_add(added).ok_or(Contradiction)?;
        }
        for (part, place) in shared {
            let change = parts.get_mut(part).and_then(|part| part.get_mut(place));
            if let Some(change) = change {
                change.value = encode_amount(sum);
            }
        }
    }
    Ok(())
}

fn amount(value: Option<&[u8]>) -> Result<Amount, Contradiction> {
    value.map_or(Ok(Amount::ZERO), |value| {
        read_amount(value).ok_or(Contradiction)
    })
}

/// The first of those whose key is least.
fn least<'c>(heads: impl Iterator<Item = Option<&'c Change>>) -> Option<usize> {
    let there = heads
        .enumerate()
        .filter_map(|(list, head)| Some((list, head?)));
    let least = there.min_by(|(_, left), (_, right)| left.key.cmp(&right.key));
    least.map(|(list, _)| list)
}

/// Changes of the current transaction, dropped when it fails.
#[derive(Default)]
pub(crate) struct Layer {
    /// At most one entry per slot; a handful, so a linear search beats a map.
    writes: Vec<(SlotIndex, Option<Value>)>,
}

/// Block and transaction changes together: what the executor itself reads and writes.
pub(crate) struct Layered<'v, 'a> {
    pub(crate) overlay: &'v mut BlockOverlay<'a>,
    pub(crate) layer: &'v mut Layer,
}

impl Layered<'_, '_> {
    pub(crate) fn slot(&mut self, key: StateKey) -> SlotIndex {
        self.overlay.slot(key)
    }

    pub(crate) fn value(&self, index: SlotIndex) -> Option<&Value> {
        match self
            .layer
            .writes
            .iter()
            .find(|(written, _)| *written == index)
        {
            Some((_, value)) => value.as_ref(),
            None => self.overlay.value(index),
        }
    }

    pub(crate) fn set(&mut self, index: SlotIndex, value: Option<Value>) {
        match self
            .layer
            .writes
            .iter_mut()
            .find(|(written, _)| *written == index)
        {
            Some((_, old)) => *old = value,
            None => self.layer.writes.push((index, value)),
        }
    }

    /// The sum of an amount and what it is added to.
    ///
    /// # Errors
    /// When it is too large, which the block remembers.
    pub(crate) fn sum(&mut self, held: Amount, more: Amount) -> Result<Amount, CallError> {
        held.checked_add(more).ok_or_else(|| {
            self.overlay.note_order();
            CallError::Overflow { what: "a balance" }
        })
    }

    /// Keeps the transaction's changes.
    pub(crate) fn commit(&mut self) {
        for (index, value) in self.layer.writes.drain(..) {
            self.overlay.set(index, value);
        }
    }

    /// Forgets the transaction's changes.
    pub(crate) fn revert(&mut self) {
        self.layer.writes.clear();
    }
}

#[cfg(test)]
mod tests;
