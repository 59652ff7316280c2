//! The chunks of a version are together its records, whatever their size, and hold against its root.

use crate::testing::{Numbers, changes, key, value};
use crate::tree::StateTree;
use skerry_types::codec::encode;
use skerry_types::crypto::hash::plain;
use skerry_types::ids::{Address, ModuleId};
use skerry_types::limits::{CHUNK_BYTES, CHUNK_BYTES_MAX};
use skerry_types::snapshot::{Chunk, Cursor};
use skerry_types::state::{ChangeSet, StateKey, Value};

type Rows = Vec<(StateKey, Vec<u8>)>;

/// All chunks, each verified, with where they end.
fn chunks(tree: &StateTree, bytes: usize) -> (Vec<Chunk>, Vec<Cursor>) {
    let (mut chunks, mut cursors) = (Vec::new(), Vec::<Cursor>::new());
    loop {
        let after = cursors.last();
        let chunk = tree.chunk(after, bytes).expect("a cursor of the tree");
        let next = chunk.verify(&tree.root(), after).expect("holds");
        chunks.push(chunk);
        match next {
            Some(cursor) => cursors.push(cursor),
            None => return (chunks, cursors),
        }
    }
}

fn rows(chunks: &[Chunk]) -> Rows {
    let rows = chunks.iter().flat_map(Chunk::rows);
    rows.map(|(key, value)| (key, value.to_vec())).collect()
}

fn all(tree: &StateTree) -> Rows {
    let rows = tree.iter();
    rows.map(|(key, value)| (key, value.to_vec())).collect()
}

/// A state whose owners have between one and some hundred records of different sizes.
fn some_state(seed: u64) -> StateTree {
    let mut numbers = Numbers(seed);
    let mut changes = Vec::new();
    for _ in 0..20 + numbers.below(40) {
        let owner = key(numbers.next(), 0).owner;
        let records = match numbers.below(8) {
            0 => numbers.below(150),
            _ => numbers.below(4),
        };
        for record in 0..records {
            let module = ModuleId::new(u16::try_from(record % 3).unwrap());
            let local = record
                .to_le_bytes()
                .repeat(1 + usize::from(record % 5 == 0));
            let length = usize::try_from(numbers.below(200)).unwrap();
            changes.push((
                StateKey::new(owner, module, local),
                Some(value(&vec![7_u8; length])),
            ));
        }
    }
    StateTree::empty().apply(&changes.into_iter().collect())
}

#[test]
fn chunks_of_any_size_are_together_the_state() {
    let (mut spanned, mut most) = (0, 0);
    for seed in 0..40 {
        let tree = some_state(seed);
        let mut numbers = Numbers(seed);
        for bytes in [
            0,
            60,
            1_000,
            1 + usize::try_from(numbers.below(20_000)).unwrap(),
        ] {
            let (chunks, cursors) = chunks(&tree, bytes);
            assert_eq!(rows(&chunks), all(&tree), "seed {seed}, {bytes} bytes");
            assert_eq!(
                tree.chunk_cursors(bytes),
                cursors,
                "seed {seed}, {bytes} bytes"
            );
            for pair in chunks.windows(2) {
                let [first, second] = pair else { continue };
                let ends = first.owners.last().map(|owner| owner.owner);
                let begins = second.owners.first().map(|owner| owner.owner);
                spanned += u64::from(ends == begins);
            }
            most = most.max(chunks.len());
        }
    }
    assert!(spanned > 100 && most > 100, "{spanned} {most}");
}

#[test]
fn a_chunk_is_as_large_as_asked_for_and_a_larger_record_goes_alone() {
    let tree = some_state(4);
    for bytes in [500, 5_000] {
        let (chunks, _) = chunks(&tree, bytes);
        for (at, chunk) in chunks.iter().enumerate() {
            let size = encode(&chunk.owners).len() - 4;
            assert!(size <= bytes || chunk.len() == 1, "{size} of {bytes}");
            // The next record would not have fitted, with or without a new owner.
            if let Some((key, value)) = chunks.get(at + 1).and_then(|it| it.rows().next()) {
                let is_same = chunk.owners.last().map(|it| it.owner) == Some(key.owner);
                let more = 10 + key.local.len() + value.len() + if is_same { 0 } else { 36 };
                assert!(size + more > bytes, "{size} + {more} of {bytes}");
            }
        }
    }
    let large = |number: u64| (key(number, 0), Some(Value::from(vec![1; 64 * 1024])));
    let tree = StateTree::empty().apply(&(0..30).map(large).collect());
    let (chunks, _) = chunks(&tree, 1_000);
    assert_eq!(chunks.len(), 30);
    let (chunks, _) = self::chunks(&tree, CHUNK_BYTES);
    assert_eq!(chunks.len(), 5, "seven fit");
    for chunk in &chunks {
        assert!(encode(chunk).len() <= CHUNK_BYTES_MAX);
    }
}

#[test]
fn the_empty_state_is_one_chunk() {
    let (chunks, cursors) = chunks(&StateTree::empty(), CHUNK_BYTES);
    assert_eq!((chunks, cursors.len()), (vec![Chunk::default()], 0));
    assert!(StateTree::empty().chunk_cursors(CHUNK_BYTES).is_empty());
}

#[test]
fn a_cursor_of_another_state_has_no_chunk() {
    let tree = some_state(7);
    let (_, cursors) = chunks(&tree, 300);
    let some = cursors[cursors.len() / 2];
    let strangers = [
        Cursor {
            owner: Address::new([9; 32]),
            ..some
        },
        Cursor {
            path: plain(b"no record"),
            ..some
        },
    ];
    for stranger in strangers {
        assert_eq!(tree.chunk(Some(&stranger), 300), None);
    }
    // The record goes, and with it the cursor; one that stays has other neighbours.
    let (record, _) = tree
        .iter()
        .find(|(key, _)| key.owner == some.owner && key.path() == some.path)
        .unwrap();
    let without = tree.apply(&ChangeSet::from([(record, None)]));
    assert_eq!(without.chunk(Some(&some), 300), None);
    let chunk = tree.chunk(Some(&cursors[0]), 300).unwrap();
    assert!(chunk.verify(&without.root(), Some(&cursors[0])).is_err());
}

#[test]
fn the_last_record_is_followed_by_nothing() {
    let tree = some_state(5);
    let (last, _) = tree.iter().last().unwrap();
    let cursor = Cursor {
        owner: last.owner,
        path: last.path(),
    };
    let chunk = tree.chunk(Some(&cursor), 300).unwrap();
    assert!(chunk.is_empty());
    assert_eq!(chunk.verify(&tree.root(), Some(&cursor)), Ok(None));
}

#[test]
fn a_kept_version_serves_the_same_chunks_whatever_comes_after_it() {
    let mut tree = some_state(3);
    let pinned = tree.for_keeping();
    let before = chunks(&tree, 700);
    for salt in 0..20 {
        tree = tree.apply(&changes(salt));
        let (first, _) = pinned.iter().nth(usize::try_from(salt).unwrap()).unwrap();
        tree = tree.apply(&ChangeSet::from([(first, None)]));
    }
    assert_ne!(tree.root(), pinned.root());
    assert_eq!(chunks(&pinned, 700), before);
}

#[test]
fn the_deepest_tree_is_cut_on_a_small_stack() {
    let owner = |last: u8| {
        let mut bytes = [0xff; 32];
        bytes[31] = last;
        StateKey::new(Address::new(bytes), ModuleId::new(1), *b"x")
    };
    let work = move || {
        let changes = [0xff, 0xfe].map(|last| (owner(last), Some(value(b"v"))));
        let tree = StateTree::empty().apply(&ChangeSet::from(changes));
        chunks(&tree, 0).0.len()
    };
    let handle = std::thread::Builder::new()
        .stack_size(256 * 1024)
        .spawn(work)
        .unwrap();
    assert_eq!(handle.join().unwrap(), 2);
}
