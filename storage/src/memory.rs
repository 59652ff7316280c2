//! A disk in memory for the simulator and for tests: the contract of [`Backend`], and power cuts.
//!
//! What is written is visible at once; what is not synced is remembered as undo records, so that
//! [`MemoryBackend::crash`] can take back a suffix of it, as a power cut does to a write-ahead log.
//! Batches are atomic and lost from the end only. The backend outlives the store that is opened over
//! it, as a disk outlives a process.

use crate::backend::{
    Backend, Batch, Counters, Direction, Durability, KeyRange, Operation, Visitor,
};
use crate::columns::Column;
use crate::error::StoreError;
use parking_lot::Mutex;
use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;

/// What a write replaced.
type Undo = Vec<(Column, Vec<u8>, Option<Vec<u8>>)>;

#[derive(Debug, Default)]
struct Disk {
    columns: BTreeMap<Column, BTreeMap<Vec<u8>, Vec<u8>>>,
    unsynced: VecDeque<Undo>,
    counters: Counters,
    writes_until_failure: Option<u64>,
}

/// A database in memory.
#[derive(Debug, Default)]
pub struct MemoryBackend {
    disk: Mutex<Disk>,
}

impl MemoryBackend {
    /// An empty disk.
    pub fn new() -> Self {
        Self::default()
    }

    /// A power cut: a suffix of the batches that were not synced is lost, how many is drawn from
    /// `seed`; gives their number. Whatever store was open over the disk must be dropped.
    pub fn crash(&self, seed: u64) -> usize {
        let mut disk = self.disk.lock();
        let choices = u64::try_from(disk.unsynced.len())
            .unwrap_or(u64::MAX)
            .saturating_add(1);
        let lost = mix(seed)
            .checked_rem(choices)
            .and_then(|lost| usize::try_from(lost).ok());
        let lost = lost.unwrap_or(0);
        for _ in 0..lost {
            let Some(undo) = disk.unsynced.pop_back() else {
                break;
            };
            for (column, key, before) in undo.into_iter().rev() {
                disk.set(column, key, before);
            }
        }
        disk.unsynced.clear();
        disk.writes_until_failure = None;
        lost
    }

    /// Lets `writes` more writes pass and every later one fail without effect, until
    /// [`Self::crash`]; as a full or broken disk does.
    pub fn fail_after(&self, writes: u64) {
        self.disk.lock().writes_until_failure = Some(writes);
    }

    /// Batches that a power cut may lose now.
    pub fn unsynced(&self) -> usize {
        self.disk.lock().unsynced.len()
    }

    /// All rows of a column, for comparisons.
    pub fn rows(&self, column: Column) -> BTreeMap<Vec<u8>, Vec<u8>> {
        self.disk
            .lock()
            .columns
            .get(&column)
            .cloned()
            .unwrap_or_default()
    }
}

impl Disk {
    /// Sets or deletes a row; gives what was there.
    fn set(&mut self, column: Column, key: Vec<u8>, value: Option<Vec<u8>>) -> Option<Vec<u8>> {
        let rows = self.columns.entry(column).or_default();
        match value {
            Some(value) => rows.insert(key, value),
            None => rows.remove(&key),
        }
    }
}

impl Backend for MemoryBackend {
    fn get(&self, column: Column, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self
            .disk
            .lock()
            .columns
            .get(&column)
            .and_then(|rows| rows.get(key).cloned()))
    }

    fn visit(
        &self,
        column: Column,
        range: &KeyRange,
        direction: Direction,
        visitor: &mut Visitor<'_>,
    ) -> Result<(), StoreError> {
        if range.to.as_ref().is_some_and(|to| *to <= range.from) {
            return Ok(());
        }
        // A visitor may read the store again, so the lock is held for one row at a time.
        let mut from = Bound::Included(range.from.clone());
        let mut to = range.to.clone().map_or(Bound::Unbounded, Bound::Excluded);
        loop {
            let disk = self.disk.lock();
            let Some(rows) = disk.columns.get(&column) else {
                return Ok(());
            };
            let mut rows = rows.range::<Vec<u8>, _>((from.as_ref(), to.as_ref()));
            let row = match direction {
                Direction::Ascending => rows.next(),
                Direction::Descending => rows.next_back(),
            };
            let Some((key, value)) = row.map(|(key, value)| (key.clone(), value.clone())) else {
                return Ok(());
            };
            drop(disk);
            if visitor(&key, &value).is_break() {
                return Ok(());
            }
            match direction {
                Direction::Ascending => from = Bound::Excluded(key),
                Direction::Descending => to = Bound::Excluded(key),
            }
            if let (Bound::Excluded(from), Bound::Excluded(to)) = (&from, &to)
                && from >= to
            {
                return Ok(());
            }
        }
    }

    fn write(&self, batch: Batch, durability: Durability) -> Result<(), StoreError> {
        let mut disk = self.disk.lock();
        if let Some(left) = &mut disk.writes_until_failure {
            *left = left.checked_sub(1).ok_or(StoreError::Database {
                doing: "writing a batch",
                message: "injected failure".to_owned(),
            })?;
        }
        let mut undo = Undo::new();
        for column in batch.cleared() {
            let rows = disk.columns.remove(column).unwrap_or_default();
            undo.extend(
                rows.into_iter()
                    .map(|(key, value)| (*column, key, Some(value))),
            );
        }
        for Operation { column, key, value } in batch.into_sorted() {
            let value = value.map(|value| value.as_ref().to_vec());
            let size = key.len().saturating_add(value.as_ref().map_or(0, Vec::len));
            let size = u64::try_from(size).unwrap_or(u64::MAX);
            disk.counters.bytes = disk.counters.bytes.saturating_add(size);
            let before = disk.set(column, key.clone(), value);
            undo.push((column, key, before));
        }
        disk.counters.writes = disk.counters.writes.saturating_add(1);
        match durability {
            Durability::Buffered => disk.unsynced.push_back(undo),
            Durability::Synced => {
                disk.counters.syncs = disk.counters.syncs.saturating_add(1);
                disk.unsynced.clear();
            }
        }
        Ok(())
    }

    fn counters(&self) -> Counters {
        self.disk.lock().counters
    }
}

/// One step of splitmix64: spreads a seed, whatever numbers seeds are.
pub(crate) const fn mix(seed: u64) -> u64 {
    let mut mixed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
