//! Chunks of the naive tree hold one after the other; whatever else is in their place does not.

use crate::merkle::check_flips;
use crate::tree::NaiveTree;
use proptest::prelude::*;
use skerry_types::codec::encode;
use skerry_types::ids::{Address, Digest, ModuleId};
use skerry_types::limits::{CHUNK_BYTES, CHUNK_BYTES_MAX};
use skerry_types::merkle::OwnerEntry;
use skerry_types::snapshot::{Chunk, Cursor, Edges, OwnerRows, Sibling, SnapshotError};
use skerry_types::state::StateKey;

fn key(owner: u8, local: u8) -> StateKey {
    StateKey::new(Address::new([owner; 32]), ModuleId::new(2), vec![local])
}

/// Owners with one, few and many records, some next to each other.
fn tree() -> NaiveTree {
    let mut tree = NaiveTree::default();
    for (owner, count) in [
        (0x00, 1),
        (0x01, 9),
        (0x40, 2),
        (0x80, 1),
        (0x81, 1),
        (0xff, 5),
    ] {
        for local in 0..count {
            tree.put(key(owner, local), vec![owner, local]);
        }
    }
    tree
}

/// All chunks of so many records, each with the cursor that it follows.
fn chunks(tree: &NaiveTree, count: usize) -> Vec<(Option<Cursor>, Chunk)> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let chunk = tree.chunk(after.as_ref(), count);
        let next = chunk.verify(&tree.root(), after.as_ref()).expect("holds");
        all.push((after, chunk));
        match next {
            Some(cursor) => after = Some(cursor),
            None => return all,
        }
    }
}

fn rows(chunks: &[(Option<Cursor>, Chunk)]) -> Vec<(StateKey, Vec<u8>)> {
    let rows = chunks.iter().flat_map(|(_, chunk)| chunk.rows());
    rows.map(|(key, value)| (key, value.to_vec())).collect()
}

#[test]
fn chunks_of_any_size_are_together_the_state() {
    let tree = tree();
    let all = tree.all();
    for count in 1..=all.len() + 1 {
        let chunks = chunks(&tree, count);
        assert_eq!(rows(&chunks), all, "{count} records a chunk");
        assert_eq!(chunks.len(), all.len().div_ceil(count));
        let sizes = chunks.iter().map(|(_, chunk)| chunk.len());
        assert_eq!(sizes.max(), Some(count.min(all.len())));
    }
}

#[test]
fn every_flipped_bit_of_a_chunk_makes_it_fail() {
    let tree = tree();
    for count in [1, 4, 100] {
        for (after, chunk) in chunks(&tree, count) {
            check_flips(&chunk, |chunk| {
                chunk.verify(&tree.root(), after.as_ref()).is_ok()
            });
        }
    }
}

#[test]
fn a_chunk_holds_at_its_place_and_for_its_state_only() {
    let tree = tree();
    let mut other = tree.clone();
    other.put(key(0xee, 0), vec![1]);
    let chunks = chunks(&tree, 4);
    for (place, (_, chunk)) in chunks.iter().enumerate() {
        for (at, (after, _)) in chunks.iter().enumerate() {
            let verified = chunk.verify(&tree.root(), after.as_ref());
            assert_eq!(verified.is_ok(), place == at, "chunk {place} at {at}");
            let verified = chunk.verify(&other.root(), after.as_ref());
            assert!(verified.is_err(), "chunk {place} at {at} of another state");
        }
    }
}

/// Removes a record, and its owner with the last one.
fn remove(chunk: &mut Chunk, owner: usize, row: usize) -> OwnerEntry {
    let removed = chunk.owners[owner].rows.remove(row);
    if chunk.owners[owner].rows.is_empty() {
        chunk.owners.remove(owner);
    }
    removed
}

/// Every chunk that differs from a good one by a record left out, doubled, added, or moved.
fn forgeries(good: &Chunk) -> Vec<Chunk> {
    let mut forged = Vec::new();
    let mut forge = |change: &dyn Fn(&mut Chunk)| {
        let mut chunk = good.clone();
        change(&mut chunk);
        forged.push(chunk);
    };
    let new = || OwnerEntry {
        module: ModuleId::new(2),
        local: vec![0xaa],
        value: vec![7],
    };
    for owner in 0..good.owners.len() {
        let count = good.owners[owner].rows.len();
        for row in 0..count {
            forge(&|chunk| {
                remove(chunk, owner, row);
            });
            forge(&|chunk| {
                let doubled = chunk.owners[owner].rows[row].clone();
                chunk.owners[owner].rows.insert(row, doubled);
            });
            forge(&|chunk| chunk.owners[owner].rows[row].value.push(0));
            forge(&|chunk| chunk.owners[owner].rows[row].module = ModuleId::new(3));
            if row > 0 {
                forge(&|chunk| chunk.owners[owner].rows.swap(row - 1, row));
            }
            if owner > 0 {
                forge(&|chunk| {
                    let moved = remove(chunk, owner, row);
                    chunk.owners[owner - 1].rows.push(moved);
                });
            }
        }
        for row in 0..=count {
            forge(&|chunk| chunk.owners[owner].rows.insert(row, new()));
        }
        forge(&|chunk| {
            chunk.owners.remove(owner);
        });
        forge(&|chunk| chunk.owners[owner].rows.clear());
        forge(&|chunk| {
            let doubled = chunk.owners[owner].clone();
            chunk.owners.insert(owner, doubled);
        });
        if owner > 0 {
            forge(&|chunk| chunk.owners.swap(owner - 1, owner));
        }
    }
    for place in 0..=good.owners.len() {
        for byte in [0x00, 0x02, 0x41, 0x80, 0x90, 0xfe] {
            let owner = Address::new([byte; 32]);
            let rows = vec![new()];
            forge(&|chunk| {
                let rows = rows.clone();
                chunk.owners.insert(place, OwnerRows { owner, rows });
            });
        }
    }
    forge(&|chunk| chunk.lower.right.clear());
    forge(&|chunk| chunk.upper.right.clear());
    forge(&|chunk| chunk.lower.left.clear());
    forge(&|chunk| chunk.upper.left.clear());
    forge(&|chunk| std::mem::swap(&mut chunk.lower, &mut chunk.upper));
    forge(&|chunk| chunk.after = None);
    forge(&|chunk| chunk.after = Some(Digest::ZERO));
    forged.retain(|chunk| chunk != good);
    forged
}

#[test]
fn no_record_can_be_left_out_added_changed_or_moved() {
    let tree = tree();
    let mut count = 0;
    for size in [1, 3, 4, 100] {
        for (after, chunk) in chunks(&tree, size) {
            for forged in forgeries(&chunk) {
                let verified = forged.verify(&tree.root(), after.as_ref());
                assert!(
                    verified.is_err(),
                    "{after:?}: {forged:?} instead of {chunk:?}"
                );
                count += 1;
            }
        }
    }
    assert!(count > 500, "{count}");
}

#[test]
fn the_empty_state_is_one_empty_chunk_and_no_other_is_empty() {
    let empty = Chunk::default();
    assert_eq!(empty.verify(&Digest::ZERO, None), Ok(None));
    assert!(empty.is_empty());
    let tree = tree();
    assert!(matches!(
        empty.verify(&tree.root(), None),
        Err(SnapshotError::Root { .. })
    ));
    // What a server says that hides what follows, or wants to be asked for ever.
    for (after, _) in chunks(&tree, 4) {
        let nothing = tree.chunk(after.as_ref(), 0);
        assert!(nothing.verify(&tree.root(), after.as_ref()).is_err());
        let Some(cursor) = after else { continue };
        let good = tree.chunk(after.as_ref(), 4);
        let idle = Chunk {
            owners: Vec::new(),
            lower: Edges {
                right: good.lower.left.clone(),
                ..good.lower
            },
            upper: Edges {
                right: good.upper.left.clone(),
                ..good.upper
            },
            ..good
        };
        let verified = idle.verify(&tree.root(), Some(&cursor));
        assert!(
            matches!(verified, Err(SnapshotError::Form(_))),
            "{verified:?}"
        );
    }
}

#[test]
fn after_the_last_record_there_is_nothing() {
    let tree = tree();
    let (last, _) = tree.all().pop().expect("records");
    let cursor = Cursor {
        owner: last.owner,
        path: last.path(),
    };
    let chunk = tree.chunk(Some(&cursor), 10);
    assert!(chunk.is_empty());
    assert_eq!(chunk.verify(&tree.root(), Some(&cursor)), Ok(None));
}

#[test]
fn a_sibling_at_the_deepest_level_is_taken_and_none_is_below() {
    let owner = |last: u8| {
        let mut bytes = [0xff; 32];
        bytes[31] = last;
        StateKey::new(Address::new(bytes), ModuleId::new(1), *b"x")
    };
    let mut tree = NaiveTree::default();
    tree.put(owner(0xfe), vec![1]);
    tree.put(owner(0xff), vec![2]);
    let chunks = chunks(&tree, 1);
    let depths: Vec<u8> = chunks
        .iter()
        .flat_map(|(_, chunk)| chunk.upper.left.iter().chain(&chunk.upper.right))
        .map(|sibling| sibling.depth)
        .collect();
    assert_eq!(
        depths,
        [255],
        "right of the first; the second chunk has both"
    );
}

#[test]
fn edges_are_bounded_by_the_depth_of_the_tree() {
    let tree = tree();
    let good = tree.chunk(None, 3);
    let hash = Digest::new([1; 32]);
    let edges: [Vec<Sibling>; 5] = [
        // As many as a message holds.
        vec![Sibling { depth: 0, hash }; 15_000],
        // On both sides of the way.
        (0..=255).map(|depth| Sibling { depth, hash }).collect(),
        // Down to the deepest level, as far as the way allows it.
        (8..=255)
            .filter(|depth| depth % 8 == 7)
            .map(|depth| Sibling { depth, hash })
            .collect(),
        // An empty subtree told.
        vec![Sibling {
            depth: 0,
            hash: Digest::ZERO,
        }],
        good.upper.right.iter().rev().copied().collect(),
    ];
    for (at, edge) in edges.into_iter().enumerate() {
        for change in [
            |chunk: &mut Chunk, edge| chunk.upper.right = edge,
            |chunk: &mut Chunk, edge| chunk.lower.right = edge,
            |chunk: &mut Chunk, edge| chunk.upper.left = edge,
            |chunk: &mut Chunk, edge| chunk.lower.left = edge,
        ] {
            let mut forged = good.clone();
            change(&mut forged, edge.clone());
            let verified = forged.verify(&tree.root(), None);
            assert!(verified.is_err() || forged == good, "edge {at}");
        }
    }
    // The largest edges that there can be fit beside the records.
    let edge = || (0..=255).map(|depth| Sibling { depth, hash }).collect();
    let edges = || Edges {
        left: edge(),
        right: edge(),
    };
    let widest = Chunk {
        lower: edges(),
        upper: edges(),
        after: Some(hash),
        ..Chunk::default()
    };
    assert!(encode(&widest).len() + CHUNK_BYTES <= CHUNK_BYTES_MAX);
}

proptest! {
    #[test]
    fn chunks_of_a_random_state_are_together_the_state(
        entries in prop::collection::btree_map((any::<[u8; 2]>(), 0..4_u8), any::<u8>(), 0..60),
        count in 1..20_usize,
    ) {
        let mut tree = NaiveTree::default();
        for (([first, last], local), value) in &entries {
            // Owners meet near the root, and near the deepest level.
            let mut owner = [0; 32];
            (owner[0], owner[31]) = (first % 4, *last);
            let key = StateKey::new(Address::new(owner), ModuleId::new(1), vec![*local]);
            tree.put(key, vec![*value]);
        }
        prop_assert_eq!(rows(&chunks(&tree, count)), tree.all());
    }
}
