//! An import is finished or not begun, as far as anybody can tell who looks at what is stored; and
//! what it leaves is a store that had executed everything.

use super::{BaseBlock, BaseContext, BaseRow, Import, ImportProgress};
use crate::backend::{Backend, Batch as WriteBatch, Durability};
use crate::columns::{Column, StateColumn, meta};
use crate::commit::{Commit, CrashPoint, CrashPoints, FinalizedEntry, StateEntry};
use crate::error::StoreError;
use crate::memory::MemoryBackend;
use crate::rocks::{RocksBackend, SharedCache};
use crate::store::{ChainStore, EpochRow};
use crate::testing::{
    Numbers, StopAt, changes, finalization, genesis, header, identity, key, outgoing, receipt,
    result, shard, value,
};
use crate::tree::StateTree;
use skerry_types::block::{BlockKind, BlockRef, Header};
use skerry_types::committee::Committee;
use skerry_types::crypto::hash::plain;
use skerry_types::ids::{Digest, Epoch, Height, Sequence, TimeMs};
use skerry_types::receipt::Subject;
use skerry_types::snapshot::{Chunk, Cursor};
use skerry_types::state::ChangeSet;
use std::sync::Arc;

/// Small, so that what is written is synced on the way, too.
const BYTES: usize = 600;

/// What a peer serves.
struct Served {
    tree: StateTree,
    base: BaseRow,
    context: BaseContext,
}

fn epoch(number: u64) -> EpochRow {
    EpochRow {
        committee: Committee {
            chain: identity().chain,
            epoch: Epoch::new(number),
            seats: Vec::new(),
            members: Vec::new(),
            seed: Digest::ZERO,
        },
        seal: genesis(),
        time: TimeMs::new(number),
    }
}

/// A state at a height, with an idle block below it, an idle one above, and the working one that
/// reports it.
fn served(height: u64, salt: u64) -> Served {
    let mut numbers = Numbers(salt);
    let state: ChangeSet = (0..600)
        .map(|_| {
            let bytes = numbers.next().to_le_bytes();
            (
                key(numbers.below(200), numbers.below(9)),
                Some(value(&bytes)),
            )
        })
        .collect();
    let tree = StateTree::empty().apply(&state);
    let below = BlockRef {
        height: Height::new(height - 2),
        digest: plain(&salt.to_le_bytes()),
    };
    let history = header(below, BlockKind::Idle, salt);
    let working = header(history.block_ref(), BlockKind::Working, salt);
    let idle = header(working.block_ref(), BlockKind::Idle, salt);
    let reporting = header(idle.block_ref(), BlockKind::Working, salt);
    let base = BaseRow {
        block: working.block_ref(),
        result: result(&tree),
    };
    let certificate = Some(finalization(&reporting));
    let block = |header: Header, body: &[u8]| BaseBlock {
        header,
        body: body.to_vec(),
        certificate: None,
    };
    let blocks = vec![
        block(history, b""),
        block(working, b""),
        block(idle, b""),
        BaseBlock {
            certificate,
            ..block(reporting, b"reporting")
        },
    ];
    let context = BaseContext {
        genesis: result(&genesis_tree()),
        blocks,
        epochs: vec![epoch(3)],
        seals: Vec::new(),
        outgoing: vec![outgoing(salt, 4), outgoing(salt + 4, 2)],
        ends: Vec::new(),
    };
    Served {
        tree,
        base,
        context,
    }
}

fn genesis_tree() -> StateTree {
    StateTree::empty().apply(&changes(0))
}

fn open(backend: &Arc<MemoryBackend>) -> Arc<ChainStore> {
    let disk = Arc::clone(backend) as Arc<dyn Backend>;
    Arc::new(ChainStore::open(disk, identity()).unwrap())
}

/// A store with a genesis and one block.
fn with_history(backend: &Arc<MemoryBackend>) -> Arc<ChainStore> {
    let store = open(backend);
    store
        .init_genesis(&changes(0), &result(&genesis_tree()))
        .unwrap();
    let block = header(genesis(), BlockKind::Working, 1);
    let tree = genesis_tree().apply(&changes(1));
    let receipts = [receipt(Subject::Transaction(plain(b"old")), false)];
    store
        .put_block(&block.digest(), &block, b"old", Durability::Buffered)
        .unwrap();
    let abandoned = header(genesis(), BlockKind::Working, 2);
    let later = header(block.block_ref(), BlockKind::Working, 2);
    for waiting in [&abandoned, &later] {
        store
            .put_block(&waiting.digest(), waiting, b"old", Durability::Buffered)
            .unwrap();
    }
    store
        .commit(&Commit {
            finalized: vec![FinalizedEntry {
                digest: block.digest(),
                height: block.height,
                certificate: Some(finalization(&block)),
            }],
            states: vec![StateEntry {
                block: block.block_ref(),
                result: result(&tree),
                changes: &changes(1),
                receipts: &receipts,
                outgoing: &[outgoing(0, 3)],
            }],
            epoch: Some(epoch(1)),
            seal: None,
        })
        .unwrap();
    store
}

/// Takes the next chunk that the import needs.
fn step(import: &Import, served: &Served) -> Result<ImportProgress, StoreError> {
    let after = import.progress().cursor;
    let chunk = served.tree.chunk(after.as_ref(), BYTES).unwrap();
    let root = served.base.result.state_root;
    let next = chunk.verify(&root, after.as_ref()).unwrap();
    import.chunk(after.as_ref(), &chunk, next)
}

/// Imports to the end, from wherever an unfinished import stands.
fn import(store: &Arc<ChainStore>, served: &Served) -> Result<StateTree, StoreError> {
    let import = Import::begin(Arc::clone(store), &served.base)?;
    while !import.progress().is_complete {
        step(&import, served)?;
    }
    import.finish(&served.context)
}

/// What a finished import leaves, now and after a restart.
fn check_imported(store: &ChainStore, served: &Served) {
    let Served {
        tree,
        base,
        context,
    } = served;
    let [history, working, idle, reporting] = context.blocks.as_slice() else {
        panic!("four blocks")
    };
    let loaded = store.load().unwrap();
    assert_eq!(loaded.tree.root(), tree.root());
    assert_eq!(loaded.tree.len(), tree.len());
    assert_eq!(loaded.state_at, Some((base.block, base.result)));
    let certificate = finalization(&reporting.header);
    let newest = (reporting.header.clone(), certificate);
    assert_eq!(loaded.finalized, Some(newest));
    let unreported = [(reporting.header.clone(), b"reporting".to_vec())];
    assert_eq!(loaded.unreported, unreported, "to be executed again");
    assert!(loaded.unfinalized.is_empty());
    assert_eq!(store.base().unwrap(), Some(*base));
    assert_eq!(store.import_progress().unwrap(), None);
    assert_eq!(store.lowest().unwrap(), history.header.height);
    assert_eq!(store.genesis_result().unwrap(), Some(context.genesis));
    assert_eq!(store.epoch(Epoch::new(3)).unwrap(), Some(epoch(3)));
    assert_eq!(store.result(&base.block.digest).unwrap(), Some(base.result));
    for block in [history, working, idle, reporting] {
        let found = store.block_at(block.header.height).unwrap().unwrap();
        assert_eq!((&found.header, &found.body), (&block.header, &block.body));
    }
    assert_eq!(store.block_at(Height::new(1)).unwrap(), None);
    assert!(store.receipts(Height::new(1)).unwrap().is_empty());
    let old = store.transaction_location(&plain(b"old")).unwrap();
    assert_eq!(old, None);
    let first = context.outgoing[0].first;
    let sent = store.outgoing_from(shard(1), Sequence::ZERO, 9).unwrap();
    assert_eq!(sent, context.outgoing);
    assert_eq!(sent[0].first, first);
}

#[test]
fn an_import_leaves_a_store_that_had_executed_everything() {
    for has_history in [false, true] {
        let backend = Arc::new(MemoryBackend::new());
        let store = if has_history {
            with_history(&backend)
        } else {
            open(&backend)
        };
        let served = served(50, 7);
        let tree = import(&store, &served).unwrap();
        assert_eq!(tree.root(), served.tree.root());
        check_imported(&store, &served);
        assert_eq!(backend.unsynced(), 0);
        drop(store);
        let store = open(&backend);
        check_imported(&store, &served);
        assert_eq!(backend.rows(Column::State).len(), 0, "the old is gone");
        assert_eq!(backend.rows(Column::Receipts).len(), 0);
        assert_eq!(backend.rows(Column::Headers).len(), 4);
        assert_eq!(backend.rows(Column::Pending).len(), 1);

        // The chain goes on: the block above is executed, reported and committed.
        let reporting = &served.context.blocks[3].header;
        let next = header(reporting.block_ref(), BlockKind::Idle, 1);
        store
            .put_block(&next.digest(), &next, b"", Durability::Synced)
            .unwrap();
        let after = served.tree.apply(&changes(5));
        store
            .commit(&Commit {
                finalized: vec![FinalizedEntry {
                    digest: next.digest(),
                    height: next.height,
                    certificate: Some(finalization(&next)),
                }],
                states: vec![StateEntry {
                    block: reporting.block_ref(),
                    result: result(&after),
                    changes: &changes(5),
                    receipts: &[],
                    outgoing: &[],
                }],
                ..Commit::default()
            })
            .unwrap();
        drop(store);
        let store = open(&backend);
        assert_eq!(store.load().unwrap().tree.root(), after.root());
        assert_eq!(store.base().unwrap(), Some(served.base));
        let genesis = store
            .init_genesis(&changes(0), &result(&genesis_tree()))
            .unwrap();
        assert_eq!(genesis.root(), genesis_tree().root(), "known, not written");
        assert_eq!(store.load().unwrap().tree.root(), after.root());
    }
}

#[test]
fn imports_follow_each_other_and_take_turns() {
    let backend = Arc::new(MemoryBackend::new());
    let store = with_history(&backend);
    for (turn, height) in [50, 70, 90].into_iter().enumerate() {
        let served = served(height, height);
        import(&store, &served).unwrap();
        check_imported(&store, &served);
        let (used, other) = if turn % 2 == 0 {
            (Column::StateSecond, Column::State)
        } else {
            (Column::State, Column::StateSecond)
        };
        assert_eq!(store.state_column(), used);
        assert!(backend.rows(other).is_empty() && !backend.rows(used).is_empty());
    }
    assert_eq!(
        StateColumn::default().swapped().swapped(),
        StateColumn::First
    );
}

#[test]
fn an_unfinished_import_leaves_the_store_as_it_was() {
    let backend = Arc::new(MemoryBackend::new());
    let store = with_history(&backend);
    let served = served(50, 7);
    let import = Import::begin(Arc::clone(&store), &served.base).unwrap();
    for _ in 0..5 {
        step(&import, &served).unwrap();
    }
    let stands = import.progress();
    assert!(stands.chunks == 5 && !stands.is_complete && stands.rows > 20);
    drop(import);
    let check_old = |store: &ChainStore| {
        let loaded = store.load().unwrap();
        assert_eq!(loaded.tree.root(), genesis_tree().apply(&changes(1)).root());
        assert_eq!(loaded.state_at.unwrap().0.height, Height::new(1));
        assert_eq!(loaded.unfinalized.len(), 1);
        assert_eq!(store.base().unwrap(), None);
        assert_eq!(store.lowest().unwrap(), Height::new(1));
        assert_eq!(store.receipts(Height::new(1)).unwrap().len(), 1);
    };
    check_old(&store);
    assert_eq!(store.import_progress().unwrap(), Some(stands));
    store.abandon_import().unwrap();
    store.abandon_import().unwrap();
    check_old(&store);
    assert_eq!(store.import_progress().unwrap(), None);
    assert!(backend.rows(Column::StateSecond).is_empty());
}

#[test]
fn another_base_begins_anew_and_the_same_one_goes_on() {
    let backend = Arc::new(MemoryBackend::new());
    let store = with_history(&backend);
    let (first, second) = (served(50, 7), served(60, 8));
    let begin = |served: &Served| Import::begin(Arc::clone(&store), &served.base).unwrap();
    let import_first = begin(&first);
    step(&import_first, &first).unwrap();
    let stands = step(&import_first, &first).unwrap();
    assert_eq!(begin(&first).progress(), stands);
    let again = begin(&second);
    assert_eq!((again.progress().rows, again.progress().cursor), (0, None));
    assert!(backend.rows(Column::StateSecond).is_empty());
    import(&store, &second).unwrap();
    check_imported(&store, &second);
}

#[test]
fn chunks_are_taken_in_order_and_once() {
    let backend = Arc::new(MemoryBackend::new());
    let store = open(&backend);
    let served = served(50, 7);
    let import = Import::begin(Arc::clone(&store), &served.base).unwrap();
    let chunk = |after: Option<&Cursor>| -> (Chunk, Option<Cursor>) {
        let chunk = served.tree.chunk(after, BYTES).unwrap();
        let next = chunk.verify(&served.tree.root(), after).unwrap();
        (chunk, next)
    };
    let (first, one) = chunk(None);
    let (second, two) = chunk(one.as_ref());
    let skipped = import.chunk(one.as_ref(), &second, two);
    assert!(matches!(
        skipped,
        Err(StoreError::ImportOrder { expected: None, actual }) if actual == one
    ));
    import.chunk(None, &first, one).unwrap();
    assert!(import.chunk(None, &first, one).is_err(), "twice");
    assert!(matches!(
        import.finish(&served.context),
        Err(StoreError::ImportIncomplete { rows }) if rows == first.len() as u64
    ));
    let mut unsynced = Vec::new();
    while !import.progress().is_complete {
        step(&import, &served).unwrap();
        unsynced.push(backend.unsynced());
    }
    // A power cut costs some chunks, and none of a complete import.
    assert_eq!(unsynced.iter().max(), Some(&15), "{unsynced:?}");
    assert_eq!(unsynced.last(), Some(&0), "{unsynced:?}");
    let progress = import.progress();
    assert_eq!(progress.rows, served.tree.len());
    let bytes = served.tree.bytes() + 34 * served.tree.len();
    assert_eq!(progress.bytes, bytes);
    let more = import.chunk(None, &first, one);
    assert!(
        matches!(more, Err(StoreError::ImportOrder { .. })),
        "{more:?}"
    );
    import.finish(&served.context).unwrap();
    check_imported(&store, &served);
}

#[test]
fn nothing_is_imported_that_is_not_newer() {
    let backend = Arc::new(MemoryBackend::new());
    let store = with_history(&backend);
    let served = served(50, 7);
    import(&store, &served).unwrap();
    for height in [1, 49, 50] {
        let mut base = served.base;
        base.block.height = Height::new(height);
        let error = Import::begin(Arc::clone(&store), &base).unwrap_err();
        assert!(matches!(error, StoreError::ImportBelow { held, .. } if held == Height::new(50)));
    }
    check_imported(&store, &served);
}

#[test]
fn a_state_that_was_damaged_on_the_way_is_never_put_into_use() {
    let backend = Arc::new(MemoryBackend::new());
    let store = with_history(&backend);
    let served = served(50, 7);
    let import = Import::begin(Arc::clone(&store), &served.base).unwrap();
    while !import.progress().is_complete {
        step(&import, &served).unwrap();
    }
    let (row, bytes) = backend.rows(Column::StateSecond).pop_first().unwrap();
    let write = |value: Option<Vec<u8>>| {
        let mut batch = WriteBatch::new();
        match value {
            Some(value) => batch.put(Column::StateSecond, row.clone(), value),
            None => batch.delete(Column::StateSecond, row.clone()),
        }
        backend.write(batch, Durability::Synced).unwrap();
    };
    for damaged in [None, Some(b"other".to_vec())] {
        write(damaged);
        let error = import.finish(&served.context).unwrap_err();
        assert!(matches!(error, StoreError::StateRoot { height, .. } if height == Height::new(50)));
        let loaded = store.load().unwrap();
        assert_eq!(loaded.state_at.unwrap().0.height, Height::new(1));
    }
    write(Some(bytes));
    import.finish(&served.context).unwrap();
    check_imported(&store, &served);
}

#[test]
fn blocks_that_do_not_belong_to_the_base_are_refused() {
    type Change = fn(&mut BaseContext);
    let cases: [(&str, u64, Change); 9] = [
        ("there is none", 50, |it| it.blocks.clear()),
        ("it is not the child of the one before", 51, |it| {
            it.blocks.remove(2);
            it.blocks.truncate(3);
        }),
        ("it is not the child of the one before", 51, |it| {
            it.blocks[2].header.parent = Digest::ZERO;
        }),
        ("its certificate does not finalize it", 51, |it| {
            it.blocks[2].certificate = it.blocks[3].certificate.clone();
        }),
        ("it is not the base", 50, |it| {
            it.blocks.remove(0);
            it.blocks[0].header.time = TimeMs::new(999);
        }),
        ("it is not the base", 50, |it| {
            it.blocks.remove(0);
            it.blocks[0].header.kind = BlockKind::Idle;
        }),
        ("its body is missing", 52, |it| it.blocks[3].body.clear()),
        ("it is missing", 50, |it| {
            it.blocks.drain(..2);
        }),
        ("the last one has no finalization", 52, |it| {
            it.blocks[3].certificate = None;
        }),
    ];
    let backend = Arc::new(MemoryBackend::new());
    let store = with_history(&backend);
    let served = served(50, 7);
    let import = Import::begin(Arc::clone(&store), &served.base).unwrap();
    while !import.progress().is_complete {
        step(&import, &served).unwrap();
    }
    for (at, (expected, place, change)) in cases.into_iter().enumerate() {
        let mut context = served.context.clone();
        change(&mut context);
        match import.finish(&context) {
            Err(StoreError::ImportBlocks { height, reason }) => {
                // Where a block was taken out, the one behind it is wrong.
                let off = height.get().abs_diff(place);
                assert!(
                    reason == expected && off <= 1,
                    "case {at}: {height} {reason}"
                );
            }
            other => panic!("case {at}: {other:?}"),
        }
    }
    let mut context = served.context.clone();
    context.genesis = result(&served.tree);
    let error = import.finish(&context).unwrap_err();
    assert!(matches!(error, StoreError::Genesis { .. }));
    import.finish(&served.context).unwrap();
    check_imported(&store, &served);
}

#[test]
fn a_state_that_was_just_imported_is_not_read_again() {
    let backend = Arc::new(MemoryBackend::new());
    let store = open(&backend);
    let served = served(50, 7);
    import(&store, &served).unwrap();
    let mut batch = WriteBatch::new();
    batch.put(Column::StateSecond, key(777, 0).to_bytes(), vec![1]);
    backend.write(batch, Durability::Synced).unwrap();
    assert_eq!(store.load().unwrap().tree.root(), served.tree.root());
    assert!(matches!(store.load(), Err(StoreError::StateRoot { .. })));
}

const POINTS: [CrashPoint; 5] = [
    CrashPoint::ImportBegun,
    CrashPoint::ImportStaged,
    CrashPoint::ImportWritten,
    CrashPoint::ImportChecked,
    CrashPoint::ImportFinished,
];

#[test]
fn a_crash_at_every_point_of_an_import_leaves_the_old_state_or_the_new_one() {
    let served = served(50, 7);
    let old_root = genesis_tree().apply(&changes(1)).root();
    let (mut resumed, mut finished, mut lost) = (0, 0, 0);
    for point in POINTS {
        for (occurrence, seed) in (1..=20).flat_map(|n| (0..3).map(move |seed| (n, seed))) {
            let backend = Arc::new(MemoryBackend::new());
            drop(with_history(&backend));
            let stop = Arc::new(StopAt::default());
            *stop.0.lock() = Some((point, occurrence));
            let run = || -> Result<StateTree, StoreError> {
                let points = Arc::clone(&stop) as Arc<dyn CrashPoints>;
                let disk = Arc::clone(&backend) as Arc<dyn Backend>;
                let store = Arc::new(ChainStore::open_with(disk, identity(), points)?);
                import(&store, &served)
            };
            let outcome = run().map(|tree| tree.root());
            let what = format!("{point:?} {occurrence} {seed}: {outcome:?}");
            let is_crash = matches!(&outcome, Err(StoreError::Crashed(at)) if *at == point);
            assert!(is_crash || outcome.is_ok(), "{what}");
            lost += backend.crash(seed);

            // The next start.
            let store = open(&backend);
            let progress = store.import_progress().unwrap();
            if store.base().unwrap().is_some() {
                assert!(
                    point == CrashPoint::ImportFinished || outcome.is_ok(),
                    "{what}"
                );
                assert_eq!(progress, None, "{what}");
                finished += 1;
            } else {
                assert_eq!(store.load().unwrap().tree.root(), old_root, "{what}");
                assert_eq!(store.receipts(Height::new(1)).unwrap().len(), 1, "{what}");
                let rows = backend.rows(Column::StateSecond).len() as u64;
                let expected = progress.map_or(0, |progress| progress.rows);
                assert_eq!(rows, expected, "{what}: records and cursor go together");
                resumed += u64::from(rows > 0);
                import(&store, &served).unwrap();
            }
            check_imported(&store, &served);
            drop(store);
            check_imported(&open(&backend), &served);
        }
    }
    assert!(
        resumed > 50 && finished > 50 && lost > 50,
        "{resumed} {finished} {lost}"
    );
}

#[test]
fn a_write_that_fails_ends_the_import_until_a_restart() {
    let backend = Arc::new(MemoryBackend::new());
    let store = with_history(&backend);
    let served = served(50, 7);
    let stands = {
        let import = Import::begin(Arc::clone(&store), &served.base).unwrap();
        step(&import, &served).unwrap();
        backend.fail_after(0);
        assert!(matches!(
            step(&import, &served),
            Err(StoreError::Database { .. })
        ));
        assert!(matches!(
            step(&import, &served),
            Err(StoreError::Poisoned { .. })
        ));
        let finish = import.finish(&served.context);
        assert!(matches!(finish, Err(StoreError::Poisoned { .. })));
        assert!(store.abandon_import().is_err());
        import.progress()
    };
    assert_eq!(stands.chunks, 1, "not believed");
    drop(store);
    backend.crash(0);
    let store = open(&backend);
    import(&store, &served).unwrap();
    check_imported(&store, &served);
}

#[test]
fn rocks_imports_as_memory_does() {
    let folder = tempfile::tempdir().unwrap();
    let cache = SharedCache::default();
    let open = || {
        let backend = Arc::new(RocksBackend::open(folder.path(), &cache).unwrap());
        Arc::new(ChainStore::open(backend, identity()).unwrap())
    };
    let (first, second) = (served(50, 7), served(90, 8));
    let store = open();
    store
        .init_genesis(&changes(0), &result(&genesis_tree()))
        .unwrap();
    import(&store, &first).unwrap();
    check_imported(&store, &first);
    drop(store);
    let store = open();
    check_imported(&store, &first);
    {
        let import = Import::begin(Arc::clone(&store), &second.base).unwrap();
        step(&import, &second).unwrap();
    }
    drop(store);
    let store = open();
    assert_eq!(store.import_progress().unwrap().unwrap().chunks, 1);
    import(&store, &second).unwrap();
    drop(store);
    check_imported(&open(), &second);
    let backend = RocksBackend::open_read_only(folder.path(), &cache).unwrap();
    let store = ChainStore::open_read_only(Arc::new(backend)).unwrap();
    check_imported(&store, &second);
    assert_eq!(
        store.column_size(Column::StateSecond).unwrap(),
        (0, 0),
        "the first import's"
    );
    assert!(
        store
            .read::<u8>(Column::Meta, meta::STATE_IN)
            .unwrap()
            .is_some()
    );
}
