//! What a database must do for us: atomic batches that are synced or not, and ordered reads.
//!
//! Two implementations: RocksDB, and a simulated disk in memory. The contract that both keep: a
//! batch becomes visible and durable as a whole; batches become durable in the order in which they
//! were written; when a synced write returns, it and everything written before it survive a power
//! cut; without a sync, a power cut may lose any suffix of what was written.

use crate::columns::Column;
use crate::error::StoreError;
use skerry_types::state::Value;
use std::ops::ControlFlow;

/// Whether a write survives a power cut when the call returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// It does, with everything written before it.
    Synced,
    /// Only once a later write is synced.
    Buffered,
}

/// Which way a visit goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the first key up.
    Ascending,
    /// From the last key down.
    Descending,
}

/// Keys from `from` (inclusive) to `to` (exclusive; without it, to the end).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRange {
    /// First key.
    pub from: Vec<u8>,
    /// First key beyond.
    pub to: Option<Vec<u8>>,
}

impl KeyRange {
    /// The whole column.
    pub const fn all() -> Self {
        Self {
            from: Vec::new(),
            to: None,
        }
    }

    /// From a key to the end of the column.
    pub fn starting_at(from: impl Into<Vec<u8>>) -> Self {
        Self {
            from: from.into(),
            to: None,
        }
    }

    /// From a key to below another.
    pub fn between(from: impl Into<Vec<u8>>, to: impl Into<Vec<u8>>) -> Self {
        Self {
            from: from.into(),
            to: Some(to.into()),
        }
    }

    /// All keys with a prefix.
    pub fn with_prefix(prefix: &[u8]) -> Self {
        // The first key beyond all of them: the prefix counted up by one, without trailing 255s.
        let mut to = prefix.to_vec();
        while to.last() == Some(&u8::MAX) {
            to.pop();
        }
        let beyond = to.last_mut().map(|last| *last = last.saturating_add(1));
        Self {
            from: prefix.to_vec(),
            to: beyond.map(|()| to),
        }
    }
}

/// Bytes of a value to write, shared with the state tree where they come from there.
#[derive(Clone, Debug)]
pub enum Bytes {
    /// The batch's own.
    Owned(Vec<u8>),
    /// Shared.
    Shared(Value),
}

impl AsRef<[u8]> for Bytes {
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Owned(bytes) => bytes,
            Self::Shared(bytes) => bytes,
        }
    }
}

/// One change of a batch.
#[derive(Clone, Debug)]
pub struct Operation {
    /// Where.
    pub column: Column,
    /// Under which key.
    pub key: Vec<u8>,
    /// The new value; `None` deletes.
    pub value: Option<Bytes>,
}

/// Changes that happen together or not at all. Of two for one key the later counts; clearing a column
/// comes before all else, whenever it was asked for.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    cleared: Vec<Column>,
    operations: Vec<Operation>,
}

impl Batch {
    /// Without changes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a row.
    pub fn put(&mut self, column: Column, key: impl Into<Vec<u8>>, value: Vec<u8>) {
        let value = Some(Bytes::Owned(value));
        self.operations.push(Operation {
            column,
            key: key.into(),
            value,
        });
    }

    /// Sets a row to shared bytes.
    pub fn put_shared(&mut self, column: Column, key: impl Into<Vec<u8>>, value: Value) {
        let value = Some(Bytes::Shared(value));
        self.operations.push(Operation {
            column,
            key: key.into(),
            value,
        });
    }

    /// Deletes a row, if it exists.
    pub fn delete(&mut self, column: Column, key: impl Into<Vec<u8>>) {
        self.operations.push(Operation {
            column,
            key: key.into(),
            value: None,
        });
    }

    /// Deletes all rows of a column that were there before this batch.
    pub fn clear(&mut self, column: Column) {
        self.cleared.push(column);
    }

    /// The columns to be cleared first.
    pub fn cleared(&self) -> &[Column] {
        &self.cleared
    }

    /// Whether nothing would change.
    pub fn is_empty(&self) -> bool {
        self.operations.is_empty() && self.cleared.is_empty()
    }

    /// The changes of single rows in order of column and key, which doubles the speed of RocksDB;
    /// changes of one key stay in the order in which they were made.
    pub fn into_sorted(mut self) -> Vec<Operation> {
        self.operations.sort_by(|one, other| {
            (one.column, one.key.as_slice()).cmp(&(other.column, other.key.as_slice()))
        });
        self.operations
    }
}

/// What a backend counted since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Batches written.
    pub writes: u64,
    /// Of these, synced: each costs one fdatasync of the log.
    pub syncs: u64,
    /// Bytes of keys and values in them.
    pub bytes: u64,
}

/// Sees one row of a visit; breaks to end it.
pub type Visitor<'a> = dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'a;

/// A database.
pub trait Backend: Send + Sync {
    /// The value of a row.
    ///
    /// # Errors
    /// When the database fails.
    fn get(&self, column: Column, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// Shows the rows of a range in order until the visitor breaks. What is written meanwhile may or
    /// may not be seen.
    ///
    /// # Errors
    /// When the database fails.
    fn visit(
        &self,
        column: Column,
        range: &KeyRange,
        direction: Direction,
        visitor: &mut Visitor<'_>,
    ) -> Result<(), StoreError>;

    /// Applies a batch as a whole.
    ///
    /// # Errors
    /// When the database fails; the caller must then assume nothing about the batch and stop.
    fn write(&self, batch: Batch, durability: Durability) -> Result<(), StoreError>;

    /// What was counted.
    fn counters(&self) -> Counters;
}

/// At most `limit` rows of a range.
///
/// # Errors
/// When the database fails.
pub fn scan(
    backend: &dyn Backend,
    column: Column,
    range: &KeyRange,
    direction: Direction,
    limit: usize,
) -> Result<Vec<(Vec<u8>, Vec<u8>)>, StoreError> {
    let mut rows = Vec::new();
    if limit == 0 {
        return Ok(rows);
    }
    backend.visit(column, range, direction, &mut |key, value| {
        rows.push((key.to_vec(), value.to_vec()));
        if rows.len() < limit {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    })?;
    Ok(rows)
}
