//! The state while a block executes: the parent's state, what the block changed, what the current
//! transaction changed.
//!
//! Every touched key gets a slot once (`table.rs`); reads and writes after that go by slot number.
//! Everything that was touched can leave in order of key, or one owner at a time: so parts of a block
//! that were executed apart are put together (`layers.rs`), and what a lane is done with goes on to
//! the next.

mod layers;
mod table;
#[cfg(test)]
mod tests;

pub(crate) use self::layers::{Contradiction, Layers, Sorted};
pub(crate) use self::table::Entry;

use self::table::Table;
use crate::error::CallError;
use crate::view::{SHARED_SUM_MAX, decode_amount};
use skerry_types::amount::Amount;
use skerry_types::ids::{Address, ModuleId};
use skerry_types::state::{LocalKey, StateKey, StateRead, Value};

/// Number of a touched key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SlotIndex(u32);

/// The parent's state with the changes of the block so far.
pub(crate) struct BlockOverlay<'a> {
    parent: &'a dyn StateRead,
    /// What is over: first what was touched before the parts of the block that ran beside each other,
    /// then those parts.
    below: Vec<Sorted>,
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
        self.table.reserve(transactions);
    }

    /// The slot of a key, read from below when it is touched first.
    pub(crate) fn slot(&mut self, key: StateKey) -> SlotIndex {
        let object = self.table.object(&key.owner);
        match self.table.find_in(object, key.module, &key.local) {
            Some(index) => index,
            None => self.touch(object, key),
        }
    }

    /// [`Self::slot`] of a key in parts, which is put together only when it is touched first.
    pub(crate) fn slot_at(
        &mut self,
        owner: &Address,
        module: ModuleId,
        local: LocalKey,
    ) -> SlotIndex {
        let object = self.table.object(owner);
        match self.table.find_in(object, module, &local) {
            Some(index) => index,
            None => self.touch(object, StateKey::new(*owner, module, local)),
        }
    }

    fn touch(&mut self, object: u32, key: StateKey) -> SlotIndex {
        let original = self.read_below(&key);
        let StateKey { module, local, .. } = key;
        self.table.push(object, Entry::new(module, local, original))
    }

    fn read_below(&self, key: &StateKey) -> Option<Value> {
        let Some((lowest, beside)) = self.below.split_first() else {
            return self.parent.get(key);
        };
        let touched = beside.iter().filter_map(|part| part.entry(key));
        let changed = touched.filter(|entry| entry.is_changed());
        if changed.clone().next().is_some() {
            // What contradicts itself has no value. The end of the block finds it again and refuses all.
            return layers::sum(changed).unwrap_or_default();
        }
        match lowest.entry(key) {
            Some(entry) => entry.value.clone(),
            None => self.parent.get(key),
        }
    }

    pub(crate) fn value(&self, index: SlotIndex) -> Option<&Value> {
        self.table.entry(index)?.value.as_ref()
    }

    pub(crate) fn set(&mut self, index: SlotIndex, value: Option<Value>) {
        if let Some(entry) = self.table.entry_mut(index) {
            entry.value = value;
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

    /// All that was touched, to be put together.
    pub(crate) fn into_layers(self) -> Layers {
        let mut layers = self.below;
        layers.push(Sorted::new(self.table));
        Layers(layers)
    }

    /// What was changed.
    #[cfg(test)]
    pub(crate) fn into_changes(self) -> skerry_types::state::ChangeSet {
        let writes = self.into_layers().writes(0, 1);
        skerry_types::state::ChangeSet::of_runs(vec![writes.expect("its parts agree")])
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

    /// Goes on with an owner where another left off. What was added here meanwhile, as others may to
    /// a covered account, is added to that.
    pub(crate) fn give(&mut self, owner: &Address, entries: Vec<Entry>) {
        let object = self.table.object(owner);
        let is_new = self.table.count(object) == 0;
        for entry in entries {
            let held = if is_new {
                None
            } else {
                self.table.find_in(object, entry.module, &entry.local)
            };
            match held {
                None => {
                    self.table.push(object, entry);
                }
                Some(index) => self.join(index, entry),
            }
        }
    }

    /// Puts what another did with a key to what was done here.
    fn join(&mut self, index: SlotIndex, entry: Entry) {
        let Some(held) = self.table.entry(index).filter(|_| entry.is_changed()) else {
            return;
        };
        if !held.is_changed() {
            return self.set(index, entry.value);
        }
        let sum = layers::sum([held, &entry].into_iter());
        let is_small = |sum: &Option<Value>| {
            decode_amount(sum.as_ref()).is_ok_and(|amount| amount < SHARED_SUM_MAX)
        };
        match sum.ok().filter(is_small) {
            Some(sum) => self.set(index, sum),
            // Too large, or what plans make impossible.
            None => self.shows_order = true,
        }
    }

    /// What was touched, for whoever puts the parts of a block together.
    pub(crate) fn into_sorted(self) -> Sorted {
        Sorted::new(self.table)
    }

    /// Goes on above parts of the block that ran beside each other, above the state as it is here.
    pub(crate) fn put_below(&mut self, parts: Vec<Sorted>) {
        self.below
            .push(Sorted::new(std::mem::take(&mut self.table)));
        self.below.extend(parts);
    }
}

/// Reads through an overlay.
pub(crate) struct OverlayState<'o, 'a>(&'o BlockOverlay<'a>);

impl StateRead for OverlayState<'_, '_> {
    fn get(&self, key: &StateKey) -> Option<Value> {
        match self.0.table.find(key) {
            Some(index) => self.0.value(index).cloned(),
            None => self.0.read_below(key),
        }
    }
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
