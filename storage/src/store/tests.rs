//! A commit happens as a whole or not at all, what was promised is durable, and every later start
//! finds a consistent prefix.

use super::{ChainStore, Location};
use crate::backend::{Backend, Batch as WriteBatch, Durability};
use crate::columns::{Column, meta};
use crate::commit::{Commit, CrashPoint, CrashPoints, FinalizedEntry, StateEntry};
use crate::error::StoreError;
use crate::memory::MemoryBackend;
use crate::rocks::{RocksBackend, SharedCache};
use crate::store::Identity;
use crate::testing::{
    Numbers, StopAt, changes, finalization, genesis, header, identity, key, message_id, outgoing,
    receipt, result, shard,
};
use crate::tree::StateTree;
use skerry_types::block::{BlockKind, BlockRef, Header};
use skerry_types::codec::encode;
use skerry_types::crypto::hash::plain;
use skerry_types::ids::{Digest, Height, Sequence};
use skerry_types::message::Batch;
use skerry_types::receipt::{Receipt, Subject};
use skerry_types::state::{ChangeSet, StateRead};
use std::ops::ControlFlow;
use std::sync::Arc;

/// A block with all that a commit needs of it.
#[derive(Clone)]
struct Step {
    header: Header,
    body: Vec<u8>,
    certified: bool,
    changes: ChangeSet,
    tree: StateTree,
    receipts: Vec<Receipt>,
    outgoing: Vec<Batch>,
}

impl Step {
    fn entry(&self) -> FinalizedEntry {
        let certificate = self.certified.then(|| finalization(&self.header));
        FinalizedEntry {
            digest: self.header.digest(),
            height: self.header.height,
            certificate,
        }
    }

    fn state(&self) -> StateEntry<'_> {
        StateEntry {
            block: self.header.block_ref(),
            result: result(&self.tree),
            changes: &self.changes,
            receipts: &self.receipts,
            outgoing: &self.outgoing,
        }
    }
}

fn transaction(height: u64, position: u64) -> Digest {
    plain(&[height.to_le_bytes(), position.to_le_bytes()].concat())
}

fn genesis_tree() -> StateTree {
    StateTree::empty().apply(&changes(0))
}

/// A chain: every third block idle, every second with its own certificate, the last with one.
fn chain(length: u64) -> Vec<Step> {
    let mut parent = genesis();
    let mut tree = genesis_tree();
    let mut steps = Vec::new();
    for height in 1..=length {
        let working = height % 3 != 0;
        let kind = if working {
            BlockKind::Working
        } else {
            BlockKind::Idle
        };
        let header = header(parent, kind, height);
        parent = header.block_ref();
        let changes = if working {
            changes(height)
        } else {
            ChangeSet::new()
        };
        tree = tree.apply(&changes);
        let transactions =
            (0..100).map(|at| receipt(Subject::Transaction(transaction(height, at)), false));
        let message = Subject::Message {
            id: message_id(height),
            origin: Digest::ZERO,
        };
        steps.push(Step {
            header,
            body: if working {
                vec![u8::try_from(height).unwrap(); 30]
            } else {
                Vec::new()
            },
            certified: height % 2 == 0 || height == length,
            changes,
            tree: tree.clone(),
            receipts: transactions.chain([receipt(message, false)]).collect(),
            outgoing: vec![outgoing(height * 10, 10)],
        });
    }
    steps
}

fn working(steps: &[Step]) -> impl Iterator<Item = &Step> {
    steps
        .iter()
        .filter(|step| step.header.kind == BlockKind::Working)
}

fn put(store: &ChainStore, steps: &[Step], durability: Durability) -> Result<(), StoreError> {
    for step in steps {
        store.put_block(&step.header.digest(), &step.header, &step.body, durability)?;
    }
    Ok(())
}

fn new_store(backend: &Arc<MemoryBackend>) -> ChainStore {
    let store = ChainStore::open(Arc::clone(backend) as Arc<dyn Backend>, identity()).unwrap();
    store
        .init_genesis(&changes(0), &result(&genesis_tree()))
        .unwrap();
    store
}

fn committed(backend: &Arc<MemoryBackend>, steps: &[Step]) -> ChainStore {
    let store = new_store(backend);
    put(&store, steps, Durability::Buffered).unwrap();
    let finalized = steps.iter().map(Step::entry).collect();
    store
        .commit(&Commit {
            finalized,
            states: working(steps).map(Step::state).collect(),
            ..Commit::default()
        })
        .unwrap();
    store
}

/// What a start must find whenever it comes: final blocks that link, and the state of one of them.
fn check_consistent(store: &ChainStore, steps: &[Step]) -> (u64, u64) {
    let loaded = store.load().unwrap();
    let finalized = loaded
        .finalized
        .as_ref()
        .map_or(0, |(header, _)| header.height.get());
    let (state_at, result) = loaded.state_at.unwrap();
    assert_eq!(loaded.tree.root(), result.state_root);
    let step = |height: u64| {
        height
            .checked_sub(1)
            .map(|at| &steps[usize::try_from(at).unwrap()])
    };
    let tree = step(state_at.height.get()).map_or_else(genesis_tree, |step| step.tree.clone());
    assert_eq!(loaded.tree.root(), tree.root());
    assert!(state_at.height.get() <= finalized);
    for step in steps {
        let height = step.header.height;
        let found = store.finalized_block(height).unwrap();
        assert_eq!(found.is_some(), height.get() <= finalized);
        if let Some(found) = found {
            assert_eq!(
                (&found.block.header, &found.block.body),
                (&step.header, &step.body)
            );
            let certified = found.path.last().unwrap_or(&found.block.header);
            assert_eq!(found.certificate, finalization(certified));
            assert!(
                found
                    .path
                    .iter()
                    .zip(&steps[usize::try_from(height.get()).unwrap()..])
                    .all(|(header, step)| *header == step.header)
            );
        }
        let has_state = step.header.kind == BlockKind::Working && height <= state_at.height;
        let receipts = store.receipts(height).unwrap();
        assert_eq!(
            receipts,
            if has_state {
                step.receipts.clone()
            } else {
                Vec::new()
            }
        );
        assert_eq!(
            store.result(&step.header.digest()).unwrap().is_some(),
            has_state
        );
        let position = 70;
        let id = transaction(height.get(), position.into());
        let location = store.transaction_location(&id).unwrap();
        assert_eq!(location, has_state.then_some(Location { height, position }));
        if let Some(location) = location {
            assert_eq!(
                store.receipt(location).unwrap().as_ref(),
                step.receipts.get(70)
            );
        }
    }
    let unreported: Vec<&Header> = working(steps)
        .map(|step| &step.header)
        .filter(|h| h.height > state_at.height && h.height.get() <= finalized)
        .collect();
    assert_eq!(
        loaded
            .unreported
            .iter()
            .map(|(header, _)| header)
            .collect::<Vec<_>>(),
        unreported
    );
    assert!(loaded.unreported.iter().all(|(_, body)| !body.is_empty()));
    assert!(
        loaded
            .unfinalized
            .iter()
            .all(|(header, _)| header.height.get() > finalized)
    );
    (finalized, state_at.height.get())
}

#[test]
fn what_is_committed_is_read_back() {
    let steps = chain(10);
    let store = committed(&Arc::new(MemoryBackend::new()), &steps);
    assert_eq!(check_consistent(&store, &steps), (10, 10));
    assert_eq!(
        store.genesis_result().unwrap(),
        Some(result(&genesis_tree()))
    );
    assert_eq!(store.headers_from(Height::new(4), 3).unwrap().len(), 3);
    let at = store.message_location(&message_id(4)).unwrap().unwrap();
    assert_eq!(
        at,
        Location {
            height: Height::new(4),
            position: 100
        }
    );
    assert_eq!(
        store.receipt(at).unwrap().as_ref(),
        steps[3].receipts.get(100)
    );
    assert_eq!(store.certificate_at(Height::new(3)).unwrap(), None);
    let (height, certificate) = store.certificate_from(Height::new(3)).unwrap().unwrap();
    assert_eq!(
        (height, certificate),
        (Height::new(4), finalization(&steps[3].header))
    );
    let stats = store.stats();
    assert_eq!(
        (stats.finalized, stats.state_at, stats.unfinalized),
        (Height::new(10), Height::new(10), 0)
    );
    assert_eq!(stats.counters.syncs, 3, "identity, genesis, commit");
}

#[test]
fn the_committed_state_is_shown_key_by_key() {
    let steps = chain(5);
    let store = committed(&Arc::new(MemoryBackend::new()), &steps);
    let mut shown = Vec::new();
    store
        .visit_state(&mut |key, value| {
            shown.push((key, value.to_vec()));
            ControlFlow::Continue(())
        })
        .unwrap();
    let mut expected: Vec<_> = steps[4]
        .tree
        .iter()
        .map(|(key, value)| (key, value.to_vec()))
        .collect();
    expected.sort();
    assert_eq!(shown, expected);
    assert_eq!(
        store.column_size(Column::State).unwrap().0,
        steps[4].tree.len()
    );
}

#[test]
fn a_crash_at_every_point_leaves_a_consistent_prefix() {
    let steps = chain(6);
    for point in CrashPoint::ALL {
        for (occurrence, seed) in (1..=4).flat_map(|n| (0..6).map(move |seed| (n, seed))) {
            let backend = Arc::new(MemoryBackend::new());
            let stop = Arc::new(StopAt::default());
            *stop.0.lock() = Some((point, occurrence));
            let durability = if seed % 2 == 0 {
                Durability::Synced
            } else {
                Durability::Buffered
            };
            let run = || -> Result<(), StoreError> {
                let points = Arc::clone(&stop) as Arc<dyn CrashPoints>;
                let disk = Arc::clone(&backend) as Arc<dyn Backend>;
                let store = ChainStore::open_with(disk, identity(), points)?;
                store.init_genesis(&changes(0), &result(&genesis_tree()))?;
                for pair in steps.chunks(2) {
                    put(&store, pair, durability)?;
                    let finalized = pair.iter().map(Step::entry).collect();
                    store.commit(&Commit {
                        finalized,
                        states: Vec::new(),
                        ..Commit::default()
                    })?;
                    let states = working(pair).map(Step::state).collect();
                    store.commit(&Commit {
                        finalized: Vec::new(),
                        states,
                        ..Commit::default()
                    })?;
                    store.prune_outgoing(shard(1), Sequence::new(20))?;
                }
                Ok(())
            };
            let outcome = run();
            assert!(
                matches!(&outcome, Ok(()) | Err(StoreError::Crashed(_))),
                "{outcome:?}"
            );
            backend.crash(seed);

            // The next start: what is there is consistent, and the chain can go on from it.
            *stop.0.lock() = None;
            let store = new_store(&backend);
            let (finalized, state_at) = check_consistent(&store, &steps);
            let rest = &steps[usize::try_from(finalized).unwrap()..];
            put(&store, rest, Durability::Synced).unwrap();
            let finalized = rest.iter().map(Step::entry).collect();
            let states = working(&steps)
                .filter(|step| step.header.height.get() > state_at)
                .map(Step::state)
                .collect();
            store
                .commit(&Commit {
                    finalized,
                    states,
                    ..Commit::default()
                })
                .unwrap();
            assert_eq!(
                check_consistent(&store, &steps),
                (6, 5),
                "{point:?} {occurrence} {seed}"
            );
        }
    }
}

#[test]
fn a_store_that_crashed_refuses_everything() {
    let backend = Arc::new(MemoryBackend::new());
    let stop = Arc::new(StopAt::default());
    let disk = Arc::clone(&backend) as Arc<dyn Backend>;
    let store = ChainStore::open_with(disk, identity(), Arc::clone(&stop) as _).unwrap();
    *stop.0.lock() = Some((CrashPoint::GenesisWritten, 1));
    let genesis = store.init_genesis(&changes(0), &result(&genesis_tree()));
    assert!(matches!(
        genesis,
        Err(StoreError::Crashed(CrashPoint::GenesisWritten))
    ));
    assert!(matches!(
        store.genesis_result(),
        Err(StoreError::Poisoned { .. })
    ));
}

#[test]
fn a_failed_write_closes_the_store_for_good() {
    let backend = Arc::new(MemoryBackend::new());
    let steps = chain(4);
    let store = committed(&backend, &steps[..2]);
    put(&store, &steps[2..], Durability::Buffered).unwrap();
    backend.fail_after(0);
    let commit = Commit {
        finalized: steps[2..].iter().map(Step::entry).collect(),
        states: vec![],
        ..Commit::default()
    };
    assert!(matches!(
        store.commit(&commit),
        Err(StoreError::Database { .. })
    ));
    assert_eq!(
        store.finalized().unwrap().height,
        Height::new(2),
        "not believed"
    );
    let digest = steps[0].header.digest();
    let poisoned = [
        store.commit(&commit),
        put(&store, &steps, Durability::Buffered),
        store.load().map(|_| ()),
        store.header(&digest).map(|_| ()),
        store.body(&digest).map(|_| ()),
        store.receipts(Height::new(1)).map(|_| ()),
        store.finalized_block(Height::new(1)).map(|_| ()),
        store.outgoing_from(shard(1), Sequence::ZERO, 9).map(|_| ()),
        store.prune_outgoing(shard(1), Sequence::ZERO).map(|_| ()),
        store
            .init_genesis(&changes(0), &result(&genesis_tree()))
            .map(|_| ()),
        store.visit_state(&mut |_, _| ControlFlow::Continue(())),
    ];
    for (at, outcome) in poisoned.into_iter().enumerate() {
        assert!(
            matches!(outcome, Err(StoreError::Poisoned { .. })),
            "{at}: {outcome:?}"
        );
    }
    backend.crash(1);
    assert_eq!(
        check_consistent(&new_store(&backend), &steps).0,
        2,
        "a restart recovers"
    );
}

#[test]
fn a_power_cut_loses_only_what_was_not_synced() {
    let steps = chain(8);
    let mut lost = 0;
    for seed in 0..50 {
        let backend = Arc::new(MemoryBackend::new());
        let store = committed(&backend, &steps[..2]);
        put(&store, &steps[2..4], Durability::Synced).unwrap();
        put(&store, &steps[4..], Durability::Buffered).unwrap();
        assert_eq!(backend.unsynced(), 4);
        drop(store);
        let dropped = backend.crash(seed);
        lost += dropped;
        let loaded = new_store(&backend).load().unwrap();
        let kept: Vec<Header> = loaded
            .unfinalized
            .into_iter()
            .map(|(header, _)| header)
            .collect();
        let expected: Vec<Header> = steps[2..8 - dropped]
            .iter()
            .map(|step| step.header.clone())
            .collect();
        assert_eq!(kept, expected, "seed {seed}");
    }
    assert!(lost > 50);
}

#[test]
fn storing_a_block_again_makes_it_durable() {
    let backend = Arc::new(MemoryBackend::new());
    let store = new_store(&backend);
    let steps = chain(1);
    put(&store, &steps, Durability::Buffered).unwrap();
    assert_eq!(backend.unsynced(), 1);
    put(&store, &steps, Durability::Synced).unwrap();
    assert_eq!(backend.unsynced(), 0);
    backend.crash(1);
    assert_eq!(new_store(&backend).load().unwrap().unfinalized.len(), 1);
}

#[test]
fn abandoned_siblings_go_when_their_height_is_final() {
    let backend = Arc::new(MemoryBackend::new());
    let steps = chain(6);
    let store = committed(&backend, &steps[..2]);
    let sibling = header(steps[1].header.block_ref(), BlockKind::Working, 99);
    let nephew = header(sibling.block_ref(), BlockKind::Working, 98);
    let grandnephew = header(nephew.block_ref(), BlockKind::Working, 97);
    for block in [&sibling, &nephew, &grandnephew] {
        store
            .put_block(&block.digest(), block, b"body", Durability::Synced)
            .unwrap();
    }
    put(&store, &steps[2..], Durability::Synced).unwrap();
    let finalized = steps[2..].iter().map(Step::entry).collect();
    store
        .commit(&Commit {
            finalized,
            states: Vec::new(),
            ..Commit::default()
        })
        .unwrap();
    for block in [&sibling, &nephew, &grandnephew] {
        assert_eq!(store.block(&block.digest()).unwrap(), None);
        assert_eq!(store.body(&block.digest()).unwrap(), None);
    }
    for step in &steps {
        assert!(store.block(&step.header.digest()).unwrap().is_some());
    }
    // A late sibling goes with the next commit; a final block stored again is left alone.
    store
        .put_block(&sibling.digest(), &sibling, b"body", Durability::Buffered)
        .unwrap();
    put(&store, &steps, Durability::Buffered).unwrap();
    assert_eq!(store.stats().unfinalized, 1);
    let states = working(&steps[2..]).map(Step::state).collect();
    store
        .commit(&Commit {
            finalized: Vec::new(),
            states,
            ..Commit::default()
        })
        .unwrap();
    assert_eq!(store.block(&sibling.digest()).unwrap(), None);
    assert_eq!(check_consistent(&store, &steps), (6, 5));
    drop(store);
    assert_eq!(check_consistent(&new_store(&backend), &steps), (6, 5));
}

#[test]
fn final_blocks_continue_the_chain() {
    let steps = chain(4);
    let store = new_store(&Arc::new(MemoryBackend::new()));
    put(&store, &steps[..3], Durability::Buffered).unwrap();
    let finalize = |entries: Vec<FinalizedEntry>| {
        store.commit(&Commit {
            finalized: entries,
            states: Vec::new(),
            ..Commit::default()
        })
    };
    let entry = |at: usize| FinalizedEntry {
        certificate: Some(finalization(&steps[at].header)),
        ..steps[at].entry()
    };
    assert!(matches!(
        finalize(vec![entry(1)]),
        Err(StoreError::FinalHeight { expected, actual })
            if (expected, actual) == (Height::new(1), Height::new(2))
    ));
    let uncertified = FinalizedEntry {
        certificate: None,
        ..entry(0)
    };
    assert!(matches!(
        finalize(vec![uncertified]),
        Err(StoreError::NoCertificate { .. })
    ));
    let mistaken = FinalizedEntry {
        certificate: entry(1).certificate,
        ..entry(0)
    };
    assert!(matches!(
        finalize(vec![mistaken]),
        Err(StoreError::CertificateStatement { .. })
    ));
    let orphan = header(
        BlockRef {
            height: Height::ZERO,
            ..steps[2].header.block_ref()
        },
        BlockKind::Idle,
        5,
    );
    store
        .put_block(&orphan.digest(), &orphan, b"", Durability::Buffered)
        .unwrap();
    let unlinked = FinalizedEntry {
        digest: orphan.digest(),
        height: orphan.height,
        certificate: Some(finalization(&orphan)),
    };
    assert!(matches!(
        finalize(vec![unlinked]),
        Err(StoreError::FinalParent { .. })
    ));
    finalize(vec![entry(0), entry(1), entry(2)]).unwrap();
    assert!(matches!(
        finalize(vec![entry(3)]),
        Err(StoreError::UnknownBlock { .. })
    ));
    assert_eq!(store.finalized().unwrap().height, Height::new(3));
}

#[test]
fn states_are_committed_in_order_and_only_of_final_blocks() {
    let steps = chain(5);
    let store = new_store(&Arc::new(MemoryBackend::new()));
    put(&store, &steps, Durability::Buffered).unwrap();
    let state = |entry: StateEntry<'_>| {
        store.commit(&Commit {
            finalized: Vec::new(),
            states: vec![entry],
            ..Commit::default()
        })
    };
    assert!(matches!(
        state(steps[0].state()),
        Err(StoreError::StateHeight { expected: None, .. })
    ));
    let finalized = steps.iter().map(Step::entry).collect();
    store
        .commit(&Commit {
            finalized,
            states: Vec::new(),
            ..Commit::default()
        })
        .unwrap();
    assert!(matches!(
        state(steps[1].state()),
        Err(StoreError::StateHeight { expected: Some(expected), .. }) if expected == Height::new(1)
    ));
    let other = BlockRef {
        digest: Digest::ZERO,
        ..steps[0].header.block_ref()
    };
    let mistaken = StateEntry {
        block: other,
        ..steps[0].state()
    };
    assert!(matches!(
        state(mistaken),
        Err(StoreError::StateBlock { .. })
    ));
    state(steps[0].state()).unwrap();
    assert!(state(steps[0].state()).is_err(), "once only");
    state(steps[1].state()).unwrap();
    assert_eq!(check_consistent(&store, &steps), (5, 2));
}

#[test]
fn a_void_copy_does_not_hide_the_transaction() {
    let mut steps = chain(2);
    let id = plain(b"repeated");
    let early = plain(b"first void, then good");
    let subject = |id| Subject::Transaction(id);
    steps[0].receipts = vec![
        receipt(subject(id), false),
        receipt(subject(id), true),
        receipt(subject(early), true),
    ];
    steps[1].receipts = vec![receipt(subject(id), true), receipt(subject(early), false)];
    let store = committed(&Arc::new(MemoryBackend::new()), &steps);
    let at = |height, position| {
        Some(Location {
            height: Height::new(height),
            position,
        })
    };
    assert_eq!(store.transaction_location(&id).unwrap(), at(1, 0));
    assert_eq!(store.transaction_location(&early).unwrap(), at(2, 1));
}

#[test]
fn sent_batches_are_found_by_any_message_until_pruned() {
    let steps = chain(4);
    let store = committed(&Arc::new(MemoryBackend::new()), &steps);
    let first = |batch: Option<Batch>| batch.map(|batch| batch.first.get());
    let with = |sequence| {
        first(
            store
                .outgoing_with(shard(1), Sequence::new(sequence))
                .unwrap(),
        )
    };
    assert_eq!(
        (with(9), with(10), with(19), with(20)),
        (None, Some(10), Some(10), Some(20))
    );
    assert_eq!(
        (with(29), with(30), with(40), with(50)),
        (Some(20), None, Some(40), None)
    );
    assert_eq!(
        first(store.outgoing(shard(1), Sequence::new(20)).unwrap()),
        Some(20)
    );
    assert_eq!(store.outgoing(shard(1), Sequence::new(21)).unwrap(), None);
    assert_eq!(store.outgoing(shard(0), Sequence::new(20)).unwrap(), None);
    assert_eq!(
        store
            .outgoing_from(shard(1), Sequence::new(11), 9)
            .unwrap()
            .len(),
        2
    );
    assert_eq!(
        store.prune_outgoing(shard(1), Sequence::new(29)).unwrap(),
        1
    );
    assert_eq!(
        (with(15), with(25)),
        (None, Some(20)),
        "one message of the second is unacknowledged"
    );
}

#[test]
fn a_damaged_state_is_noticed_at_start() {
    let backend = Arc::new(MemoryBackend::new());
    let steps = chain(2);
    drop(committed(&backend, &steps));
    let mut batch = WriteBatch::new();
    batch.put(
        Column::State,
        key(777, 0).to_bytes(),
        b"not from us".to_vec(),
    );
    backend.write(batch, Durability::Synced).unwrap();
    let error = new_store(&backend).load().unwrap_err();
    assert!(matches!(error, StoreError::StateRoot { height, .. } if height == Height::new(2)));
}

#[test]
fn another_network_chain_or_format_is_refused() {
    let backend = Arc::new(MemoryBackend::new());
    let disk = || Arc::clone(&backend) as Arc<dyn Backend>;
    assert!(matches!(
        ChainStore::open_read_only(disk()),
        Err(StoreError::NoGenesis)
    ));
    drop(new_store(&backend));
    for other in [
        Identity {
            chain: shard(1),
            ..identity()
        },
        Identity {
            chain_id: plain(b"other"),
            ..identity()
        },
    ] {
        assert!(matches!(
            ChainStore::open(disk(), other),
            Err(StoreError::Identity { .. })
        ));
    }
    assert_eq!(
        ChainStore::open_read_only(disk()).unwrap().identity(),
        identity()
    );
    let mut batch = WriteBatch::new();
    batch.put(
        Column::Meta,
        meta::FORMAT,
        encode(&(crate::columns::FORMAT + 1)),
    );
    backend.write(batch, Durability::Synced).unwrap();
    let error = ChainStore::open(disk(), identity()).unwrap_err();
    assert!(matches!(
        error,
        StoreError::Format { expected: crate::columns::FORMAT, actual } if actual == crate::columns::FORMAT + 1
    ));
}

#[test]
fn genesis_is_written_once() {
    let backend = Arc::new(MemoryBackend::new());
    let store = new_store(&backend);
    let tree = store
        .init_genesis(&changes(0), &result(&genesis_tree()))
        .unwrap();
    assert_eq!(tree.root(), genesis_tree().root());
    let other = StateTree::empty().apply(&changes(1));
    let error = store
        .init_genesis(&changes(1), &result(&other))
        .unwrap_err();
    assert!(
        matches!(error, StoreError::Genesis { .. }),
        "another genesis"
    );
    let error = store
        .init_genesis(&changes(1), &result(&genesis_tree()))
        .unwrap_err();
    assert!(
        matches!(error, StoreError::Genesis { .. }),
        "a result that is not that of the changes"
    );
}

#[test]
fn a_header_under_another_digest_is_refused() {
    let store = new_store(&Arc::new(MemoryBackend::new()));
    let header = header(genesis(), BlockKind::Idle, 1);
    let error = store
        .put_block(&Digest::ZERO, &header, b"", Durability::Buffered)
        .unwrap_err();
    assert!(matches!(error, StoreError::HeaderDigest { .. }));
}

#[test]
fn rocks_gives_back_after_reopening_what_memory_does() {
    let folder = tempfile::tempdir().unwrap();
    let cache = SharedCache::default();
    let steps = chain(9);
    let open =
        || -> Arc<dyn Backend> { Arc::new(RocksBackend::open(folder.path(), &cache).unwrap()) };
    let store = ChainStore::open(open(), identity()).unwrap();
    store
        .init_genesis(&changes(0), &result(&genesis_tree()))
        .unwrap();
    for (at, step) in steps.iter().enumerate() {
        put(&store, std::slice::from_ref(step), Durability::Synced).unwrap();
        let certified = FinalizedEntry {
            certificate: Some(finalization(&step.header)),
            ..step.entry()
        };
        let states = working(&steps[..at]).filter(|s| s.header.height.next() == step.header.height);
        let states = states.map(Step::state).collect();
        store
            .commit(&Commit {
                finalized: vec![certified],
                states,
                ..Commit::default()
            })
            .unwrap();
    }
    let syncs = store.stats().counters.syncs;
    assert_eq!(syncs, 2 + 2 * 9, "identity, genesis, and two per block");
    assert_eq!(check_consistent(&store, &steps), (9, 8));
    drop(store);
    let store = ChainStore::open(open(), identity()).unwrap();
    assert_eq!(check_consistent(&store, &steps), (9, 8));
    let tree = store.load().unwrap().tree;
    assert!(
        tree.iter()
            .all(|(key, value)| steps[7].tree.get(&key).as_ref() == Some(value))
    );
    drop(store);
    let backend = RocksBackend::open_read_only(folder.path(), &cache).unwrap();
    let store = ChainStore::open_read_only(Arc::new(backend)).unwrap();
    assert_eq!(check_consistent(&store, &steps), (9, 8));
}

#[test]
fn random_histories_with_power_cuts_never_go_back_behind_a_commit() {
    for seed in 0..40 {
        let mut numbers = Numbers(seed);
        let steps = chain(12);
        let backend = Arc::new(MemoryBackend::new());
        let mut store = new_store(&backend);
        let (mut finalized, mut state) = (0_usize, 0_usize);
        while state < 11 {
            if numbers.below(4) == 0 {
                drop(store);
                backend.crash(numbers.next());
                store = new_store(&backend);
                let found = check_consistent(&store, &steps);
                assert_eq!(found, (finalized as u64, state as u64), "seed {seed}");
            }
            let to = (finalized + usize::try_from(numbers.below(4)).unwrap()).min(12);
            put(&store, &steps[finalized..to], Durability::Buffered).unwrap();
            if to > finalized && steps[to - 1].certified {
                let entries = steps[finalized..to].iter().map(Step::entry).collect();
                store
                    .commit(&Commit {
                        finalized: entries,
                        states: Vec::new(),
                        ..Commit::default()
                    })
                    .unwrap();
                finalized = to;
            }
            let next = working(&steps[state..finalized]).next();
            if let Some(step) = next {
                let states = vec![step.state()];
                store
                    .commit(&Commit {
                        finalized: Vec::new(),
                        states,
                        ..Commit::default()
                    })
                    .unwrap();
                state = usize::try_from(step.header.height.get()).unwrap();
            }
        }
        assert_eq!(check_consistent(&store, &steps).1, 11, "seed {seed}");
    }
}
