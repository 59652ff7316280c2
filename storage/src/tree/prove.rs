//! Proofs of keys and of owners, in the one canonical form that
//! [`skerry_types::merkle`] verifies.

use super::node::{Leaf, Link, Node};
use super::{StateTree, owner_path};
use skerry_types::ids::{Address, Digest};
use skerry_types::merkle::{Gap, KeyProof, OwnerProof, PathProof, bit};
use skerry_types::state::StateKey;

/// Where a path ends in a tree.
struct Descent<'a, L> {
    siblings: PathProof,
    /// The leaf at the path, or what stands in its place.
    end: Result<&'a L, Gap>,
}

/// Follows a path to its end.
fn descend<'a, L: Leaf>(root: &'a Link<L>, path: &Digest) -> Descent<'a, L> {
    let mut siblings = Vec::new();
    let mut link = root;
    let mut depth = 0_u16;
    loop {
        let end = match &link.node {
            Node::Empty => Err(Gap::Empty),
            Node::Leaf(leaf) if leaf.path() == path => Ok(leaf.as_ref()),
            Node::Leaf(leaf) => Err(Gap::Other {
                path: *leaf.path(),
                value: leaf.value(),
            }),
            Node::Inner(inner) => {
                let (next, sibling) = if bit(path, depth) {
                    (&inner.right, &inner.left)
                } else {
                    (&inner.left, &inner.right)
                };
                siblings.push(sibling.hash);
                link = next;
                depth = depth.saturating_add(1);
                continue;
            }
        };
        return Descent {
            siblings: PathProof::from_siblings(&siblings),
            end,
        };
    }
}

impl StateTree {
    /// The proof of a key's value or of its absence, against [`Self::root`].
    pub fn prove_key(&self, key: &StateKey) -> KeyProof {
        let owner = descend(&self.owners, &owner_path(&key.owner));
        let upper = owner.siblings;
        let owner = match owner.end {
            Ok(owner) => owner,
            Err(gap) => return KeyProof::OwnerAbsent { gap, upper },
        };
        let leaf = descend(&owner.keys, &key.path());
        let lower = leaf.siblings;
        match leaf.end {
            Ok(leaf) => KeyProof::Present {
                value: leaf.value.to_vec(),
                lower,
                upper,
            },
            Err(gap) => KeyProof::KeyAbsent {
                gap,
                lower,
                owner_root: owner.keys.hash,
                upper,
            },
        }
    }

    /// The proof of all records of an owner, or that it has none, against [`Self::root`].
    pub fn prove_owner(&self, owner: &Address) -> OwnerProof {
        let Descent {
            siblings: upper,
            end,
        } = descend(&self.owners, &owner_path(owner));
        match end {
            Ok(_) => OwnerProof::Present {
                entries: self.owner_entries(owner),
                upper,
            },
            Err(gap) => OwnerProof::Absent { gap, upper },
        }
    }
}
