//! The tree equals its definition, versions are independent, proofs hold and damaged ones do not.

use super::{StateTree, TreeBuilder};
use crate::error::StoreError;
use crate::testing::{Numbers, key, value};
use skerry_types::codec::{decode, encode};
use skerry_types::crypto::hash::plain;
use skerry_types::ids::{Address, Digest, ModuleId};
use skerry_types::limits::PROOF_BYTES_MAX;
use skerry_types::merkle::{
    Gap, KeyProof, Level, OwnerProof, leaf_hash, root_of_sorted, value_hash,
};
use skerry_types::state::{ChangeSet, StateKey, StateRead, Value};
use std::collections::BTreeMap;

type Model = BTreeMap<StateKey, Value>;

/// The definition of the root.
fn naive_root(model: &Model) -> Digest {
    let mut owners: BTreeMap<Address, Vec<(Digest, Digest)>> = BTreeMap::new();
    for (key, value) in model {
        let path = key.path();
        let leaf = leaf_hash(Level::Lower, &path, &value_hash(value));
        owners.entry(key.owner).or_default().push((path, leaf));
    }
    let leaves: Vec<(Digest, Digest)> = owners
        .into_iter()
        .map(|(owner, mut keys)| {
            keys.sort_unstable();
            let path = Digest::new(*owner.as_bytes());
            (path, leaf_hash(Level::Upper, &path, &root_of_sorted(&keys)))
        })
        .collect();
    root_of_sorted(&leaves)
}

fn rebuilt(model: &Model) -> StateTree {
    let mut builder = TreeBuilder::new();
    for (key, value) in model {
        builder.push(key.clone(), value.clone()).unwrap();
    }
    builder.finish()
}

fn apply_to_model(model: &mut Model, changes: &ChangeSet) {
    for (key, value) in changes {
        match value {
            Some(value) => model.insert(key.clone(), value.clone()),
            None => model.remove(key),
        };
    }
}

/// A key among few, so that changes meet; owners share prefixes of many lengths.
fn near_key(numbers: &mut Numbers) -> StateKey {
    let mut owner = [0x5a_u8; 32];
    let position = usize::try_from(numbers.below(256)).unwrap();
    if numbers.below(8) > 0 {
        owner[position / 8] ^= 0x80 >> (position % 8);
    }
    if numbers.below(2) == 0 {
        owner = *plain(&numbers.below(6).to_le_bytes()).as_bytes();
        (owner[0], owner[1]) = (0x5a, 0x5a);
    }
    let module = u16::try_from(numbers.below(3)).unwrap();
    let length = usize::try_from(numbers.below(3)).unwrap();
    StateKey::new(Address::new(owner), ModuleId::new(module), vec![7; length])
}

fn near_changes(numbers: &mut Numbers, count: u64) -> ChangeSet {
    (0..count)
        .map(|_| {
            let key = near_key(numbers);
            let bytes = vec![u8::try_from(numbers.below(4)).unwrap(); 5];
            (key, (numbers.below(3) > 0).then(|| value(&bytes)))
        })
        .collect()
}

/// Owners that meet at all depths around a table's, of which most are absent.
fn spread_key(numbers: &mut Numbers, count: u64) -> StateKey {
    let owner = *plain(&numbers.below(count).to_le_bytes()).as_bytes();
    StateKey::new(Address::new(owner), ModuleId::new(1), Vec::new())
}

#[test]
fn reads_through_the_table_equal_reads_from_the_root() {
    let mut numbers = Numbers(7);
    let (mut tree, mut model) = (StateTree::empty(), Model::new());
    let mut depths = std::collections::BTreeSet::new();
    // Up to some thousand owners, down to none, and up again.
    for (round, of_ten, blocks) in [(0, 9, 60), (1, 1, 60), (2, 0, 250), (3, 7, 60)] {
        for _ in 0..blocks {
            let changes: ChangeSet = (0..100)
                .map(|_| {
                    let number = u8::try_from(numbers.below(256)).unwrap();
                    let is_set = numbers.below(10) < of_ten;
                    let key = spread_key(&mut numbers, 4_000);
                    (key, is_set.then(|| value(&[number, round])))
                })
                .collect();
            tree = tree.apply(&changes);
            apply_to_model(&mut model, &changes);
            depths.insert(tree.top.as_ref().map(|top| top.depth()));
            let kept = tree.for_keeping();
            assert!(kept.top.is_none() && kept.root() == tree.root());
            for _ in 0..100 {
                let key = spread_key(&mut numbers, 5_000);
                assert_eq!(tree.get(&key), model.get(&key).cloned());
                assert_eq!(kept.get(&key), model.get(&key).cloned());
            }
        }
        let all = rebuilt(&model);
        assert_eq!((all.root(), all.len()), (tree.root(), tree.len()));
        for (key, value) in &model {
            assert_eq!(all.get(key).as_ref(), Some(value));
            assert_eq!(tree.get(key).as_ref(), Some(value));
        }
    }
    assert!(depths.len() > 3 && depths.contains(&None), "{depths:?}");
}

fn check_equal(tree: &StateTree, model: &Model, what: &str) {
    assert_eq!(tree.root(), naive_root(model), "{what}: naive");
    assert_eq!(tree.root(), rebuilt(model).root(), "{what}: rebuilt");
    assert_eq!(tree.len(), model.len() as u64, "{what}: count");
    let bytes: usize = model
        .iter()
        .map(|(key, value)| key.local.len() + value.len())
        .sum();
    assert_eq!(tree.bytes(), bytes as u64, "{what}: bytes");
    assert_eq!(
        tree.bytes(),
        rebuilt(model).bytes(),
        "{what}: bytes rebuilt"
    );
}

#[test]
fn incremental_equals_rebuilt_equals_naive() {
    for seed in 0..60 {
        let mut numbers = Numbers(seed);
        let (mut tree, mut model) = (StateTree::empty(), Model::new());
        for step in 0..25 {
            let count = 1 + numbers.below(40);
            let changes = near_changes(&mut numbers, count);
            tree = tree.apply(&changes);
            apply_to_model(&mut model, &changes);
            check_equal(&tree, &model, &format!("seed {seed} step {step}"));
        }
        let read: Model = tree
            .iter()
            .map(|(key, value)| (key, value.clone()))
            .collect();
        assert_eq!(read, model, "seed {seed}");
    }
}

#[test]
fn any_split_of_changes_gives_the_same_root() {
    let mut numbers = Numbers(3);
    let base = StateTree::empty().apply(&near_changes(&mut numbers, 60));
    let changes = near_changes(&mut numbers, 60);
    let at_once = base.apply(&changes).root();
    let mut one_by_one = base.clone();
    for (key, value) in changes.iter().rev() {
        one_by_one = one_by_one.apply(&ChangeSet::from([(key.clone(), value.clone())]));
    }
    assert_eq!(one_by_one.root(), at_once);
    assert_eq!(
        base.apply(&changes).apply(&changes).root(),
        at_once,
        "applying twice is once"
    );
}

#[test]
fn any_number_of_threads_gives_the_same_tree() {
    let changes = |salt: u64| -> ChangeSet {
        let mut numbers = Numbers(salt);
        (0..40_000)
            .map(|_| {
                let key = key(numbers.below(20_000), numbers.below(3));
                let bytes = numbers.next().to_le_bytes();
                (key, (numbers.below(4) > 0).then(|| value(&bytes)))
            })
            .collect()
    };
    let base = StateTree::empty().apply(&changes(1));
    let mut model: Model = base
        .iter()
        .map(|(key, value)| (key, value.clone()))
        .collect();
    apply_to_model(&mut model, &changes(2));
    for threads in [1, 2, 3, 8] {
        check_equal(
            &base.apply_with(&changes(2), threads),
            &model,
            &format!("{threads} threads"),
        );
    }
}

#[test]
fn deleting_everything_leaves_the_empty_tree() {
    let mut numbers = Numbers(9);
    let tree = StateTree::empty().apply(&near_changes(&mut numbers, 200));
    assert!(!tree.is_empty());
    let delete: ChangeSet = tree.iter().map(|(key, _)| (key, None)).collect();
    let empty = tree.apply(&delete);
    assert_eq!(
        (empty.root(), empty.len(), empty.bytes()),
        (Digest::ZERO, 0, 0)
    );
    assert_eq!(empty.iter().count(), 0);
}

#[test]
fn an_old_version_stays_as_it_was() {
    let mut numbers = Numbers(5);
    let mut versions: Vec<(StateTree, Model)> = vec![(StateTree::empty(), Model::new())];
    for _ in 0..20 {
        let (tree, mut model) = versions.last().cloned().unwrap();
        let changes = near_changes(&mut numbers, 30);
        let tree = tree.apply(&changes);
        apply_to_model(&mut model, &changes);
        versions.push((tree, model));
    }
    for (tree, model) in &versions {
        check_equal(tree, model, "old version");
        for (key, value) in model {
            assert_eq!(tree.get(key).as_ref(), Some(value));
        }
    }
}

#[test]
fn a_read_finds_exactly_what_was_written() {
    let mut numbers = Numbers(8);
    let mut model = Model::new();
    let changes = near_changes(&mut numbers, 150);
    apply_to_model(&mut model, &changes);
    let tree = StateTree::empty().apply(&changes);
    for _ in 0..2000 {
        let key = near_key(&mut numbers);
        assert_eq!(tree.get(&key), model.get(&key).cloned());
    }
}

#[test]
fn rows_out_of_order_are_refused() {
    let mut builder = TreeBuilder::new();
    let mut keys = [key(1, 0), key(1, 1)];
    keys.sort();
    let [first, second] = keys;
    builder.push(second.clone(), value(b"a")).unwrap();
    assert!(matches!(
        builder.push(second, value(b"a")),
        Err(StoreError::StateOrder)
    ));
    assert!(matches!(
        builder.push(first, value(b"a")),
        Err(StoreError::StateOrder)
    ));
}

#[test]
fn the_deepest_tree_is_updated_and_dropped_on_a_small_stack() {
    // Two owners that differ in the last bit only: a chain of 256 nodes.
    let owner = |last: u8| {
        let mut bytes = [0xff; 32];
        bytes[31] = last;
        StateKey::new(Address::new(bytes), ModuleId::new(1), *b"x")
    };
    let work = move || {
        let mut tree = StateTree::empty();
        for last in [0xff, 0xfe] {
            tree = tree.apply(&ChangeSet::from([(owner(last), Some(value(b"v")))]));
        }
        let proof = tree.prove_key(&owner(0xfe));
        assert_eq!(
            proof.verify(&tree.root(), &owner(0xfe)),
            Ok(Some(b"v".as_slice()))
        );
        tree.apply(&ChangeSet::from([(owner(0xff), None)])).root()
    };
    let handle = std::thread::Builder::new()
        .stack_size(256 * 1024)
        .spawn(work)
        .unwrap();
    let alone = StateTree::empty().apply(&ChangeSet::from([(owner(0xfe), Some(value(b"v")))]));
    assert_eq!(handle.join().unwrap(), alone.root());
}

/// Every byte of the encoded proof, every bit of it, flipped: no longer a proof of the same.
fn check_flips(bytes: &[u8], holds: impl Fn(&[u8]) -> bool) {
    assert!(holds(bytes));
    for position in 0..bytes.len() {
        for mask in [1, 2, 4, 8, 16, 32, 64, 128, 255] {
            let mut flipped = bytes.to_vec();
            flipped[position] ^= mask;
            assert!(!holds(&flipped), "byte {position} xor {mask}");
        }
    }
}

fn check_key(tree: &StateTree, key: &StateKey, expected: Option<&Value>) -> KeyProof {
    let proof = tree.prove_key(key);
    let expected = expected.map(|value| value.to_vec());
    check_flips(&encode(&proof), |bytes| {
        decode::<KeyProof>(bytes, PROOF_BYTES_MAX).is_ok_and(|proof| {
            proof
                .verify(&tree.root(), key)
                .is_ok_and(|value| value.map(<[u8]>::to_vec) == expected)
        })
    });
    proof
}

#[test]
fn every_form_of_key_proof_holds_and_no_damaged_one_does() {
    let mut seen = BTreeMap::new();
    for seed in 0..4 {
        let mut numbers = Numbers(seed);
        let mut model = Model::new();
        let changes = near_changes(&mut numbers, 12 + 20 * seed);
        apply_to_model(&mut model, &changes);
        let tree = StateTree::empty().apply(&changes);
        let absent: Vec<StateKey> = (0..30).map(|_| near_key(&mut numbers)).collect();
        for key in model.keys().chain(&absent) {
            let form = match check_key(&tree, key, model.get(key)) {
                KeyProof::Present { .. } => "present",
                KeyProof::KeyAbsent {
                    gap: Gap::Empty, ..
                } => "key absent, empty",
                KeyProof::KeyAbsent {
                    gap: Gap::Other { .. },
                    ..
                } => "key absent, other",
                KeyProof::OwnerAbsent {
                    gap: Gap::Empty, ..
                } => "owner absent, empty",
                KeyProof::OwnerAbsent {
                    gap: Gap::Other { .. },
                    ..
                } => "owner absent, other",
            };
            *seen.entry(form).or_insert(0) += 1;
        }
    }
    assert_eq!(seen.len(), 5, "{seen:?}");
}

#[test]
fn the_empty_tree_proves_absence() {
    let tree = StateTree::empty();
    check_key(&tree, &key(1, 1), None);
    let owner = key(1, 1).owner;
    assert_eq!(
        tree.prove_owner(&owner).verify(&Digest::ZERO, &owner),
        Ok([].as_slice())
    );
}

#[test]
fn both_forms_of_owner_proof_hold_and_no_damaged_one_does() {
    let mut numbers = Numbers(11);
    let changes = near_changes(&mut numbers, 60);
    let tree = StateTree::empty().apply(&changes);
    let mut seen = BTreeMap::new();
    for _ in 0..40 {
        let owner = near_key(&mut numbers).owner;
        let entries = tree.owner_entries(&owner);
        let proof = tree.prove_owner(&owner);
        let expected: Model = changes
            .iter()
            .filter(|(key, _)| key.owner == owner)
            .filter_map(|(key, value)| Some((key.clone(), value.clone()?)))
            .collect();
        let listed: Model = entries
            .iter()
            .map(|e| {
                (
                    StateKey::new(owner, e.module, e.local.clone()),
                    value(&e.value),
                )
            })
            .collect();
        assert_eq!(listed, expected, "complete");
        check_flips(&encode(&proof), |bytes| {
            decode::<OwnerProof>(bytes, PROOF_BYTES_MAX)
                .is_ok_and(|proof| proof.verify(&tree.root(), &owner) == Ok(entries.as_slice()))
        });
        *seen
            .entry(matches!(proof, OwnerProof::Present { .. }))
            .or_insert(0) += 1;
    }
    assert_eq!(seen.len(), 2);
}

#[test]
fn a_proof_against_another_version_fails() {
    let mut numbers = Numbers(2);
    let tree = StateTree::empty().apply(&near_changes(&mut numbers, 50));
    let (key, _) = tree.iter().next().unwrap();
    let changed = tree.apply(&ChangeSet::from([(key.clone(), Some(value(b"other")))]));
    assert!(tree.prove_key(&key).verify(&changed.root(), &key).is_err());
}
