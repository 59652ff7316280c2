//! Proofs of the naive tree hold; any other statement or any changed byte does not.

use crate::tree::NaiveTree;
use proptest::prelude::*;
use skerry_types::codec::{decode, encode};
use skerry_types::ids::{Address, Digest, ModuleId};
use skerry_types::merkle::{
    Gap, KeyProof, Level, OwnerProof, PathProof, ProofError, leaf_hash, node_hash, root_of_sorted,
};
use skerry_types::state::StateKey;

fn owner(byte: u8) -> Address {
    Address::new([byte; 32])
}

fn key(owner_byte: u8, local: u8) -> StateKey {
    StateKey::new(owner(owner_byte), ModuleId::new(2), vec![local])
}

fn tree() -> NaiveTree {
    let mut tree = NaiveTree::default();
    for owner in [0x00, 0x01, 0x40, 0x80, 0xc0, 0xff] {
        for local in 0..5 {
            tree.put(key(owner, local), vec![owner, local]);
        }
    }
    tree
}

fn path(bytes: &[u8]) -> Digest {
    let mut all = [0; 32];
    all[..bytes.len()].copy_from_slice(bytes);
    Digest::new(all)
}

#[test]
fn empty_tree_is_zero_and_one_leaf_is_the_root() {
    assert_eq!(root_of_sorted(&[]), Digest::ZERO);
    let leaf = leaf_hash(Level::Upper, &path(&[1]), &path(&[2]));
    assert_eq!(root_of_sorted(&[(path(&[1]), leaf)]), leaf);
}

#[test]
fn leaves_that_share_a_prefix_meet_below_zero_siblings() {
    let (first, second) = (path(&[0b0000_0000]), path(&[0b0010_0000]));
    let leaf = |path| leaf_hash(Level::Lower, path, &Digest::ZERO);
    let (left, right) = (leaf(&first), leaf(&second));
    let split = node_hash(&left, &right);
    let expected = node_hash(&node_hash(&split, &Digest::ZERO), &Digest::ZERO);
    assert_eq!(root_of_sorted(&[(first, left), (second, right)]), expected);
}

#[test]
fn levels_do_not_share_leaf_hashes() {
    let (path, value) = (path(&[1]), path(&[2]));
    assert_ne!(
        leaf_hash(Level::Lower, &path, &value),
        leaf_hash(Level::Upper, &path, &value)
    );
}

#[test]
fn present_key_is_proven_with_its_value_and_no_other() {
    let (tree, key) = (tree(), key(0x40, 3));
    let proof = tree.prove_key(&key);
    assert_eq!(proof.verify(&tree.root(), &key), Ok(Some(&[0x40, 3][..])));
    let KeyProof::Present { lower, upper, .. } = proof else {
        panic!("present")
    };
    let forged = KeyProof::Present {
        value: vec![9],
        lower,
        upper,
    };
    assert!(matches!(
        forged.verify(&tree.root(), &key),
        Err(ProofError::Root { .. })
    ));
}

#[test]
fn proof_of_one_key_proves_no_other_key_owner_or_root() {
    let tree = tree();
    let proof = tree.prove_key(&key(0x40, 3));
    for other in [key(0x40, 4), key(0x80, 3), key(0x41, 3)] {
        assert!(proof.verify(&tree.root(), &other).is_err());
    }
    assert!(proof.verify(&path(&[1]), &key(0x40, 3)).is_err());
}

#[test]
fn absent_keys_and_owners_are_proven_absent() {
    let tree = tree();
    for absent in (0..40).map(|local| key(0x80, local)).skip(5) {
        let proof = tree.prove_key(&absent);
        assert!(matches!(proof, KeyProof::KeyAbsent { .. }));
        assert_eq!(proof.verify(&tree.root(), &absent), Ok(None));
    }
    for absent in (2..0x40).map(|owner| key(owner, 0)) {
        let proof = tree.prove_key(&absent);
        assert!(matches!(proof, KeyProof::OwnerAbsent { .. }));
        assert_eq!(proof.verify(&tree.root(), &absent), Ok(None));
    }
    let empty = NaiveTree::default();
    let proof = empty.prove_key(&key(1, 1));
    assert_eq!(proof.verify(&Digest::ZERO, &key(1, 1)), Ok(None));
}

#[test]
fn absence_of_what_is_present_cannot_be_proven() {
    let tree = tree();
    let (root, present) = (tree.root(), key(0x80, 1));
    // Every proof of absence of another key or owner, taken for this one.
    let others = (5..40)
        .map(|local| key(0x80, local))
        .chain((2..60).map(|owner| key(owner, 0)));
    for other in others {
        assert_ne!(
            tree.prove_key(&other).verify(&root, &present),
            Ok(None),
            "{other:?}"
        );
    }
    // The leaf itself as the obstacle.
    let KeyProof::Present {
        value,
        lower,
        upper,
    } = tree.prove_key(&present)
    else {
        panic!()
    };
    let value = skerry_types::merkle::value_hash(&value);
    let gap = Gap::Other {
        path: present.path(),
        value,
    };
    let owner_root = tree.owner_root(&present.owner);
    let forged = KeyProof::KeyAbsent {
        gap,
        lower,
        owner_root,
        upper,
    };
    assert!(matches!(
        forged.verify(&root, &present),
        Err(ProofError::Form(_))
    ));
}

#[test]
fn owner_proof_holds_all_records_and_fails_without_one() {
    let (tree, owner) = (tree(), owner(0xc0));
    let proof = tree.prove_owner(&owner);
    assert_eq!(proof.verify(&tree.root(), &owner).expect("holds").len(), 5);
    let OwnerProof::Present { entries, upper } = proof else {
        panic!("present")
    };
    for left_out in 0..entries.len() {
        let mut fewer = entries.clone();
        fewer.remove(left_out);
        let forged = OwnerProof::Present {
            entries: fewer,
            upper: upper.clone(),
        };
        assert!(forged.verify(&tree.root(), &owner).is_err());
    }
    let mut twice = entries.clone();
    twice.insert(0, entries[0].clone());
    let mut swapped = entries;
    swapped.swap(0, 1);
    for entries in [Vec::new(), twice, swapped] {
        let forged = OwnerProof::Present {
            entries,
            upper: upper.clone(),
        };
        assert!(matches!(
            forged.verify(&tree.root(), &owner),
            Err(ProofError::Form(_))
        ));
    }
}

#[test]
fn owner_without_records_is_proven_to_have_none() {
    let (tree, absent) = (tree(), owner(0x22));
    let proof = tree.prove_owner(&absent);
    assert_eq!(proof.verify(&tree.root(), &absent), Ok(&[][..]));
    assert!(proof.verify(&tree.root(), &owner(0x40)).is_err());
}

#[test]
fn proof_that_ends_below_the_compact_place_is_refused() {
    let mut tree = NaiveTree::default();
    tree.put(key(0x40, 1), vec![1]);
    let proof = tree.prove_key(&key(0x40, 1));
    let KeyProof::Present { value, lower, .. } = proof else {
        panic!("present")
    };
    let upper = PathProof::from_siblings(&[Digest::ZERO]);
    let forged = KeyProof::Present {
        value,
        lower,
        upper,
    };
    let answer = forged.verify(&tree.root(), &key(0x40, 1));
    assert!(matches!(answer, Err(ProofError::Form(_))), "{answer:?}");
}

#[test]
fn proof_deeper_than_a_path_is_refused() {
    let upper = PathProof::from_siblings(&[path(&[1]); 257]);
    let proof = KeyProof::OwnerAbsent {
        gap: Gap::Empty,
        upper,
    };
    let answer = proof.verify(&Digest::ZERO, &key(1, 1));
    assert!(matches!(answer, Err(ProofError::Form(_))), "{answer:?}");
}

/// No proof whose bytes differ in one bit from a good one proves anything.
pub(crate) fn check_flips<T>(proof: &T, holds: impl Fn(&T) -> bool)
where
    T: borsh::BorshSerialize + borsh::BorshDeserialize,
{
    let good = encode(proof);
    assert!(holds(proof));
    for position in 0..good.len() {
        for bit in 0..8 {
            let mut bytes = good.clone();
            bytes[position] ^= 1 << bit;
            let survives = decode::<T>(&bytes, usize::MAX).is_ok_and(|proof| holds(&proof));
            assert!(
                !survives,
                "bit {bit} of byte {position} of {} is unchecked",
                good.len()
            );
        }
    }
}

#[test]
fn every_flipped_bit_of_a_proof_makes_it_fail() {
    let tree = tree();
    let root = tree.root();
    for key in [key(0x40, 3), key(0x40, 77), key(0x22, 0)] {
        check_flips(&tree.prove_key(&key), |proof| {
            proof.verify(&root, &key).is_ok()
        });
    }
    for owner in [owner(0x01), owner(0x22)] {
        check_flips(&tree.prove_owner(&owner), |proof| {
            proof.verify(&root, &owner).is_ok()
        });
    }
}

proptest! {
    #[test]
    fn every_key_of_a_random_tree_is_proven_present_or_absent(
        entries in prop::collection::btree_map((any::<[u8; 2]>(), 0..4_u8), any::<u8>(), 0..40),
        asked in (any::<[u8; 2]>(), 0..4_u8),
    ) {
        let key = |(owner, local): ([u8; 2], u8)| {
            StateKey::new(Address::new(*path(&owner).as_bytes()), ModuleId::new(1), vec![local])
        };
        let mut tree = NaiveTree::default();
        for (at, value) in &entries {
            tree.put(key(*at), vec![*value]);
        }
        let root = tree.root();
        prop_assert_eq!(root, tree.root_by_definition());
        for at in entries.keys().copied().chain([asked]) {
            let expected = entries.get(&at).map(std::slice::from_ref);
            let proof = tree.prove_key(&key(at));
            prop_assert_eq!(proof.verify(&root, &key(at)), Ok(expected));
        }
    }
}
