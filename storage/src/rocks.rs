//! The database of production: RocksDB. The only file that names it.
//!
//! One database per chain, one memory budget per process: all share a [`SharedCache`], to which
//! write buffers are charged too. A devnet opens some twenty databases in one process, so each is
//! kept small when idle: small arena blocks (every column holds at least one, and they count against
//! the budget), no statistics threads, one or two shared background threads, a short information
//! log. Batches are sorted before they are written; a synced write is one fdatasync of the
//! write-ahead log, which recovery replays up to the first torn record.

use crate::backend::{
    Backend, Batch, Counters, Direction, Durability, KeyRange, Operation, Visitor,
};
use crate::columns::Column;
use crate::error::StoreError;
use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, DB, DBCompressionType,
    DBRecoveryMode, LogLevel, Options, ReadOptions, WriteBatch, WriteBufferManager, WriteOptions,
};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Memory of all databases of a process when nothing else is asked for.
const CACHE_BYTES: usize = 256 * 1024 * 1024;
/// A column's write buffer; full ones become files.
const WRITE_BUFFER_BYTES: usize = 8 * 1024 * 1024;
/// What a write buffer grows by; the default of a megabyte, times columns times databases, would
/// fill the budget with nothing.
const ARENA_BYTES: usize = 64 * 1024;
/// When the write-ahead log is longer, the columns that hold it back are flushed.
const LOG_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Beyond every key.
const KEY_END: [u8; 256] = [u8::MAX; 256];

/// The memory that all databases of a process share: blocks read, and write buffers, which may take
/// a third of it.
#[derive(Clone)]
pub struct SharedCache {
    cache: Cache,
    buffers: WriteBufferManager,
}

impl Default for SharedCache {
    /// 256 MB.
    fn default() -> Self {
        Self::new(CACHE_BYTES)
    }
}

impl std::fmt::Debug for SharedCache {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let used = self.cache.get_usage();
        formatter
            .debug_struct("SharedCache")
            .field("used", &used)
            .finish_non_exhaustive()
    }
}

impl SharedCache {
    /// A budget of so many bytes.
    pub fn new(bytes: usize) -> Self {
        let cache = Cache::new_lru_cache(bytes);
        // Writers are never stalled for it: buffers are flushed early instead.
        let buffers = WriteBufferManager::new_write_buffer_manager_with_cache(
            bytes / 3,
            false,
            cache.clone(),
        );
        Self { cache, buffers }
    }

    /// Bytes in use, write buffers included.
    pub fn usage(&self) -> usize {
        self.cache.get_usage()
    }
}

/// One database.
pub struct RocksBackend {
    database: DB,
    path: PathBuf,
    read_only: bool,
    writes: AtomicU64,
    syncs: AtomicU64,
    bytes: AtomicU64,
    // Dropped after the database that uses it.
    _cache: SharedCache,
}

impl std::fmt::Debug for RocksBackend {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("RocksBackend")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl RocksBackend {
    /// Opens the database in a directory, which is made where there is none.
    ///
    /// # Errors
    /// [`StoreError::InUse`] when it is open already, here or in another process; when the directory
    /// cannot be used or the database is damaged.
    pub fn open(path: &Path, cache: &SharedCache) -> Result<Self, StoreError> {
        std::fs::create_dir_all(path).map_err(|source| StoreError::Directory {
            path: path.to_owned(),
            source,
        })?;
        let database = DB::open_cf_descriptors(&options(cache), path, columns(cache))
            .map_err(|error| open_error(path, &error))?;
        Ok(Self::new(database, path, cache, false))
    }

    /// Opens an existing database for reading only: for stopped directories, which it leaves
    /// untouched.
    ///
    /// # Errors
    /// When there is no database or it is damaged.
    pub fn open_read_only(path: &Path, cache: &SharedCache) -> Result<Self, StoreError> {
        let mut options = options(cache);
        options.create_if_missing(false);
        options.create_missing_column_families(false);
        let database = DB::open_cf_descriptors_read_only(&options, path, columns(cache), false)
            .map_err(|error| open_error(path, &error))?;
        Ok(Self::new(database, path, cache, true))
    }

    fn new(database: DB, path: &Path, cache: &SharedCache, read_only: bool) -> Self {
        Self {
            database,
            path: path.to_owned(),
            read_only,
            writes: AtomicU64::new(0),
            syncs: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            _cache: cache.clone(),
        }
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn family(&self, column: Column) -> Result<&ColumnFamily, StoreError> {
        self.database
            .cf_handle(column.name())
            .ok_or_else(|| StoreError::Database {
                doing: "looking for a column",
                message: format!("there is no column {column}"),
            })
    }
}

impl Backend for RocksBackend {
    fn get(&self, column: Column, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.database
            .get_cf(self.family(column)?, key)
            .map_err(failed("reading a row"))
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
        let mut options = ReadOptions::default();
        // The bounds also spare the iterator the tombstones beyond them.
        options.set_iterate_lower_bound(range.from.clone());
        if let Some(to) = &range.to {
            options.set_iterate_upper_bound(to.clone());
        }
        let mut rows = self
            .database
            .raw_iterator_cf_opt(self.family(column)?, options);
        match direction {
            Direction::Ascending => rows.seek_to_first(),
            Direction::Descending => rows.seek_to_last(),
        }
        while let Some((key, value)) = rows.item() {
            if visitor(key, value).is_break() {
                return Ok(());
            }
            match direction {
                Direction::Ascending => rows.next(),
                Direction::Descending => rows.prev(),
            }
        }
        rows.status().map_err(failed("reading a range"))
    }

    fn write(&self, batch: Batch, durability: Durability) -> Result<(), StoreError> {
        if self.read_only {
            return Err(StoreError::ReadOnly);
        }
        let mut writes = WriteBatch::default();
        for column in batch.cleared() {
            writes.delete_range_cf(self.family(*column)?, b"".as_slice(), KEY_END.as_slice());
        }
        for Operation { column, key, value } in batch.into_sorted() {
            let family = self.family(column)?;
            match value {
                Some(value) => writes.put_cf(family, key, value),
                None => writes.delete_cf(family, key),
            }
        }
        let size = u64::try_from(writes.size_in_bytes()).unwrap_or(u64::MAX);
        let synced = durability == Durability::Synced;
        let mut options = WriteOptions::default();
        options.set_sync(synced);
        self.database
            .write_opt(writes, &options)
            .map_err(failed("writing a batch"))?;
        self.writes.fetch_add(1, Ordering::Relaxed);
        self.syncs.fetch_add(u64::from(synced), Ordering::Relaxed);
        self.bytes.fetch_add(size, Ordering::Relaxed);
        Ok(())
    }

    fn counters(&self) -> Counters {
        Counters {
            writes: self.writes.load(Ordering::Relaxed),
            syncs: self.syncs.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
        }
    }
}

/// Options of the database as a whole.
fn options(cache: &SharedCache) -> Options {
    let mut options = column_options(cache, Column::Meta);
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.set_write_buffer_manager(&cache.buffers);
    // A torn tail was never acknowledged; damage before it ends the replay there, and the root that
    // is checked at start tells.
    options.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
    options.set_max_total_wal_size(LOG_BYTES_MAX);
    options.set_paranoid_checks(true);
    // The pool is shared by all databases of the process.
    options.set_max_background_jobs(2);
    options.set_max_open_files(256);
    options.set_skip_stats_update_on_db_open(true);
    options.set_stats_dump_period_sec(0);
    options.set_stats_persist_period_sec(0);
    options.set_keep_log_file_num(2);
    options.set_max_log_file_size(1024 * 1024);
    options.set_log_level(LogLevel::Warn);
    options
}

fn columns(cache: &SharedCache) -> Vec<ColumnFamilyDescriptor> {
    let describe =
        |column: Column| ColumnFamilyDescriptor::new(column.name(), column_options(cache, column));
    Column::ALL.into_iter().map(describe).collect()
}

fn column_options(cache: &SharedCache, column: Column) -> Options {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(&cache.cache);
    // Index and filter blocks count against the budget.
    table.set_cache_index_and_filter_blocks(true);
    table.set_pin_l0_filter_and_index_blocks_in_cache(true);
    table.set_block_size(16 * 1024);
    if column.is_looked_up() {
        table.set_bloom_filter(10.0, false);
    }
    let mut options = Options::default();
    options.set_block_based_table_factory(&table);
    options.set_write_buffer_size(WRITE_BUFFER_BYTES);
    options.set_max_write_buffer_number(4);
    options.set_arena_block_size(ARENA_BYTES);
    options.set_compression_type(DBCompressionType::Lz4);
    options.set_level_compaction_dynamic_level_bytes(true);
    options
}

fn failed(doing: &'static str) -> impl FnOnce(rocksdb::Error) -> StoreError {
    move |error| StoreError::Database {
        doing,
        message: error.into_string(),
    }
}

/// RocksDB tells a held lock only by its message: "lock hold by current process" within one,
/// "While lock file" between two.
fn open_error(path: &Path, error: &rocksdb::Error) -> StoreError {
    let message = error.to_string();
    if message.contains("lock hold by current process") || message.contains("While lock file") {
        StoreError::InUse {
            path: path.to_owned(),
        }
    } else {
        StoreError::Database {
            doing: "opening",
            message,
        }
    }
}

#[cfg(test)]
mod tests;
