//! The state while a block executes: the parent's state, what the block changed, what the current
//! transaction changed.
//!
//! Every touched key gets a slot once; reads and writes after that go by slot number. Keys are
//! found through small ordered maps chosen by the leading bits of the owner below the shard's
//! prefix, so that a lookup is short when owners are spread, never worse than one ordered map when
//! they are not, and the maps one after the other are in order of key already.

use skerry_types::ids::Address;
use skerry_types::state::{ChangeSet, StateKey, StateRead, Value};
use std::collections::BTreeMap;

/// Bits of the locality, below the shard's prefix, that choose a map.
const BUCKET_BITS: u32 = 10;
const BUCKETS: usize = 1 << BUCKET_BITS;

/// Number of a touched key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SlotIndex(usize);

struct Slot {
    /// In the parent's state.
    original: Option<Value>,
    /// Now.
    value: Option<Value>,
}

/// The parent's state with the changes of the block so far.
pub(crate) struct BlockOverlay<'a> {
    parent: &'a dyn StateRead,
    /// Length of the shard's prefix.
    depth: u8,
    buckets: Vec<BTreeMap<StateKey, SlotIndex>>,
    slots: Vec<Slot>,
}

fn bucket_of(owner: &Address, depth: u8) -> usize {
    let below = owner
        .locality()
        .0
        .checked_shl(u32::from(depth))
        .unwrap_or(0);
    usize::from(below >> (u16::BITS - BUCKET_BITS))
}

impl<'a> BlockOverlay<'a> {
    pub(crate) fn new(parent: &'a dyn StateRead, depth: u8) -> Self {
        let mut buckets = Vec::new();
        buckets.resize_with(BUCKETS, BTreeMap::new);
        Self {
            parent,
            depth,
            buckets,
            slots: Vec::new(),
        }
    }

    /// The slot of a key, read from the parent when it is touched first.
    pub(crate) fn slot(&mut self, key: StateKey) -> SlotIndex {
        let Some(bucket) = self.buckets.get_mut(bucket_of(&key.owner, self.depth)) else {
            // Unreachable: a bucket has as many bits as there are buckets.
            return SlotIndex(usize::MAX);
        };
        if let Some(index) = bucket.get(&key) {
            return *index;
        }
        let index = SlotIndex(self.slots.len());
        let value = self.parent.get(&key);
        self.slots.push(Slot {
            original: value.clone(),
            value,
        });
        bucket.insert(key, index);
        index
    }

    pub(crate) fn value(&self, index: SlotIndex) -> Option<&Value> {
        self.slots.get(index.0)?.value.as_ref()
    }

    pub(crate) fn set(&mut self, index: SlotIndex, value: Option<Value>) {
        if let Some(slot) = self.slots.get_mut(index.0) {
            slot.value = value;
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
        let mut slots = self.slots;
        let mut changes = Vec::with_capacity(slots.len());
        for (key, index) in self.buckets.into_iter().flatten() {
            if let Some(slot) = slots.get_mut(index.0)
                && slot.value != slot.original
            {
                changes.push((key, slot.value.take()));
            }
        }
        changes.into_iter().collect()
    }
}

/// Reads through an overlay.
pub(crate) struct OverlayState<'o, 'a>(&'o BlockOverlay<'a>);

impl StateRead for OverlayState<'_, '_> {
    fn get(&self, key: &StateKey) -> Option<Value> {
        let slot = self
            .0
            .buckets
            .get(bucket_of(&key.owner, self.0.depth))
            .and_then(|bucket| bucket.get(key));
        match slot {
            Some(index) => self.0.value(*index).cloned(),
            None => self.0.parent.get(key),
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
