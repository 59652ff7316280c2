//! RocksDB keeps the backend's contract, across reopening too.

use super::{RocksBackend, SharedCache};
use crate::backend::{Backend, Batch, Direction, Durability, KeyRange, scan};
use crate::columns::Column;
use crate::error::StoreError;
use crate::memory::MemoryBackend;
use crate::testing::Numbers;

fn rows(backend: &dyn Backend, range: &KeyRange, direction: Direction) -> Vec<(Vec<u8>, Vec<u8>)> {
    scan(backend, Column::State, range, direction, usize::MAX).unwrap()
}

fn some_range(numbers: &mut Numbers) -> KeyRange {
    let mut bytes = || {
        let length = usize::try_from(numbers.below(3)).unwrap();
        vec![u8::try_from(250 + numbers.below(6)).unwrap(); length]
    };
    match bytes().len() {
        0 => KeyRange::with_prefix(&bytes()),
        1 => KeyRange::between(bytes(), bytes()),
        _ => KeyRange::starting_at(bytes()),
    }
}

#[test]
fn rocks_and_memory_give_the_same_answers() {
    let folder = tempfile::tempdir().unwrap();
    let cache = SharedCache::new(8 * 1024 * 1024);
    let mut rocks = RocksBackend::open(folder.path(), &cache).unwrap();
    let memory = MemoryBackend::new();
    let mut numbers = Numbers(1);
    for round in 0..40 {
        let mut batch = Batch::new();
        // Whatever its place in the batch, it comes first.
        if numbers.below(6) == 0 {
            batch.clear(Column::State);
        }
        for _ in 0..numbers.below(30) {
            let length = usize::try_from(1 + numbers.below(2)).unwrap();
            let key: Vec<u8> = (0..length)
                .map(|_| u8::try_from(250 + numbers.below(6)).unwrap())
                .collect();
            match numbers.below(3) {
                0 => batch.delete(Column::State, key),
                _ => batch.put(Column::State, key, numbers.next().to_le_bytes().to_vec()),
            }
        }
        let durability = if numbers.below(2) == 0 {
            Durability::Synced
        } else {
            Durability::Buffered
        };
        rocks.write(batch.clone(), durability).unwrap();
        memory.write(batch, durability).unwrap();
        for _ in 0..20 {
            let range = some_range(&mut numbers);
            for direction in [Direction::Ascending, Direction::Descending] {
                let (one, other) = (
                    rows(&rocks, &range, direction),
                    rows(&memory, &range, direction),
                );
                assert_eq!(one, other, "round {round} {range:?} {direction:?}");
            }
        }
        if round % 10 == 9 {
            drop(rocks);
            rocks = RocksBackend::open(folder.path(), &cache).unwrap();
        }
    }
    assert!(rocks.counters().writes == 0 && memory.counters().syncs > 5);
}

#[test]
fn columns_do_not_mix() {
    let folder = tempfile::tempdir().unwrap();
    let rocks = RocksBackend::open(folder.path(), &SharedCache::new(1024 * 1024)).unwrap();
    let mut batch = Batch::new();
    for column in Column::ALL {
        batch.put(column, *b"key", column.to_string().into_bytes());
    }
    rocks.write(batch, Durability::Synced).unwrap();
    for column in Column::ALL {
        assert_eq!(
            rocks.get(column, b"key").unwrap(),
            Some(column.to_string().into_bytes())
        );
    }
    assert_eq!(rocks.counters().syncs, 1);
}

#[test]
fn clearing_takes_the_old_rows_of_one_column_alone() {
    let folder = tempfile::tempdir().unwrap();
    let cache = SharedCache::new(1024 * 1024);
    let memory = MemoryBackend::new();
    let rocks = RocksBackend::open(folder.path(), &cache).unwrap();
    let key = |byte: u8| vec![byte; 162];
    let fill = |column: Column, value: &[u8]| {
        let mut batch = Batch::new();
        for byte in [0, 1, 128, 255] {
            batch.put(column, key(byte), value.to_vec());
        }
        batch
    };
    for column in [Column::State, Column::StateSecond] {
        let batch = fill(column, b"old");
        rocks.write(batch.clone(), Durability::Synced).unwrap();
        memory.write(batch, Durability::Synced).unwrap();
    }
    let mut batch = Batch::new();
    batch.put(Column::State, key(1), b"new".to_vec());
    batch.clear(Column::State);
    assert_eq!(batch.cleared(), [Column::State]);
    rocks.write(batch.clone(), Durability::Buffered).unwrap();
    memory.write(batch, Durability::Buffered).unwrap();
    let all = |backend: &dyn Backend, column| {
        let range = KeyRange::all();
        scan(backend, column, &range, Direction::Ascending, usize::MAX).unwrap()
    };
    drop(rocks);
    let rocks = RocksBackend::open(folder.path(), &cache).unwrap();
    for backend in [&rocks as &dyn Backend, &memory] {
        assert_eq!(all(backend, Column::State), [(key(1), b"new".to_vec())]);
        assert_eq!(all(backend, Column::StateSecond).len(), 4);
    }
    // A power cut takes the clearing back as a whole.
    let lost = (0..).find(|seed| {
        let cut = MemoryBackend::new();
        cut.write(fill(Column::State, b"old"), Durability::Synced)
            .unwrap();
        let mut batch = Batch::new();
        batch.clear(Column::State);
        cut.write(batch, Durability::Buffered).unwrap();
        let lost = cut.crash(*seed);
        assert_eq!(cut.rows(Column::State).len(), 4 * lost, "seed {seed}");
        lost == 1
    });
    assert!(lost.is_some());
}

#[test]
fn a_directory_in_use_is_named_as_such() {
    let folder = tempfile::tempdir().unwrap();
    let cache = SharedCache::default();
    let _open = RocksBackend::open(folder.path(), &cache).unwrap();
    let error = RocksBackend::open(folder.path(), &cache).unwrap_err();
    assert!(matches!(error, StoreError::InUse { .. }), "{error}");
    assert!(
        error.to_string().starts_with("data directory in use"),
        "{error}"
    );
}

#[test]
fn read_only_reads_what_was_written_and_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let cache = SharedCache::default();
    assert!(
        RocksBackend::open_read_only(folder.path(), &cache).is_err(),
        "no database"
    );
    let rocks = RocksBackend::open(folder.path(), &cache).unwrap();
    let mut batch = Batch::new();
    batch.put(Column::State, *b"key", b"value".to_vec());
    rocks.write(batch.clone(), Durability::Synced).unwrap();
    drop(rocks);
    let rocks = RocksBackend::open_read_only(folder.path(), &cache).unwrap();
    assert_eq!(
        rocks.get(Column::State, b"key").unwrap(),
        Some(b"value".to_vec())
    );
    let error = rocks.write(batch, Durability::Buffered).unwrap_err();
    assert!(matches!(error, StoreError::ReadOnly));
}
