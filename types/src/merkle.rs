//! The two-level compact binary Merkle tree: its hashes, and the verification of its proofs.
//!
//! Upper tree: owners by their 32-byte id. Lower trees: an owner's keys by
//! [`StateKey::path`](crate::state::StateKey::path). In both, a subtree without leaves is zero, a
//! subtree with one leaf *is* that leaf, any other is the hash of its two halves; the bit of depth
//! `d` is bit `7 - d % 8` of byte `d / 8` of the path.
//!
//! - leaf = blake3(tag ‖ path ‖ value): 65 bytes; tag 0 in a lower tree, where the value is
//!   blake3 of the stored bytes; tag 1 in the upper tree, where it is the root of the owner's tree
//! - node = blake3(left ‖ right): 64 bytes

use crate::ids::{Address, Digest};
use crate::state::StateKey;
use borsh::{BorshDeserialize, BorshSerialize};

/// Bits of a path.
pub const PATH_BITS: u16 = 256;

/// Which of the two trees a leaf belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Level {
    /// An owner's keys.
    Lower = 0,
    /// Owners.
    Upper = 1,
}

/// Hash of a leaf.
pub fn leaf_hash(level: Level, path: &Digest, value: &Digest) -> Digest {
    let mut bytes = [level as u8; 65];
    let (_, rest) = bytes.split_at_mut(1);
    let (first, second) = rest.split_at_mut(32);
    first.copy_from_slice(path.as_bytes());
    second.copy_from_slice(value.as_bytes());
    crate::crypto::hash::plain(&bytes)
}

/// Hash of an inner node.
pub fn node_hash(left: &Digest, right: &Digest) -> Digest {
    let mut bytes = [0_u8; 64];
    let (first, second) = bytes.split_at_mut(32);
    first.copy_from_slice(left.as_bytes());
    second.copy_from_slice(right.as_bytes());
    crate::crypto::hash::plain(&bytes)
}

/// Hash of a stored value.
pub fn value_hash(value: &[u8]) -> Digest {
    crate::crypto::hash::plain(value)
}

/// The bit of `path` at `depth`; `false` goes left.
pub fn bit(path: &Digest, depth: u16) -> bool {
    let byte = path
        .as_bytes()
        .get(usize::from(depth / 8))
        .copied()
        .unwrap_or(0);
    byte & (0x80 >> (depth % 8)) != 0
}

/// Root of a compact tree over `leaves`, which are (path, leaf hash) strictly in order of path.
/// The naive definition, for small trees and as a specification.
pub fn root_of_sorted(leaves: &[(Digest, Digest)]) -> Digest {
    root_below(leaves, 0)
}

/// Root of the subtree at `depth` that holds all of `leaves`.
pub(crate) fn root_below(leaves: &[(Digest, Digest)], depth: u16) -> Digest {
    match leaves {
        [] => Digest::ZERO,
        [(_, leaf)] => *leaf,
        _ if depth >= PATH_BITS => Digest::ZERO,
        _ => {
            let middle = leaves.partition_point(|(path, _)| !bit(path, depth));
            let (left, right) = leaves.split_at(middle);
            let below = depth.saturating_add(1);
            node_hash(&root_below(left, below), &root_below(right, below))
        }
    }
}

/// Why a proof does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// Not the one form that a proof of this fact has.
    #[error("the proof is not canonical: {0}")]
    Form(&'static str),
    /// It leads to another root.
    #[error("the proof leads to root {actual}, not to {expected}")]
    Root {
        /// The root asked for.
        expected: Digest,
        /// The root it leads to.
        actual: Digest,
    },
}

/// Siblings on the way from the root down to where a path ends. A zero sibling takes one byte.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct PathProof {
    /// For each depth from the root down, whether the sibling is present (not zero).
    present: Vec<bool>,
    /// The siblings that are not zero, from the root down.
    siblings: Vec<Digest>,
}

impl PathProof {
    /// Packs siblings, from the root down.
    pub fn from_siblings(siblings: &[Digest]) -> Self {
        Self {
            present: siblings
                .iter()
                .map(|sibling| *sibling != Digest::ZERO)
                .collect(),
            siblings: siblings
                .iter()
                .filter(|sibling| **sibling != Digest::ZERO)
                .copied()
                .collect(),
        }
    }

    /// Depth at which the path ends.
    pub fn depth(&self) -> usize {
        self.present.len()
    }

    /// The root to which `terminal` at the end of `path` leads.
    ///
    /// # Errors
    /// When the proof is not in canonical form: a zero sibling sent, a count that does not match,
    /// a depth above 256, or a single leaf below where the compact tree would hold it.
    fn root(&self, path: &Digest, terminal: &Digest) -> Result<Digest, ProofError> {
        let depth = u16::try_from(self.present.len())
            .ok()
            .filter(|depth| *depth <= PATH_BITS)
            .ok_or(ProofError::Form("too deep"))?;
        let count = self.present.iter().filter(|present| **present).count();
        if count != self.siblings.len() || self.siblings.contains(&Digest::ZERO) {
            return Err(ProofError::Form("siblings do not match their bits"));
        }
        if self.present.last() == Some(&false) {
            return Err(ProofError::Form("ends below the place of the compact tree"));
        }
        let mut siblings = self.siblings.iter().rev();
        let mut hash = *terminal;
        for (level, present) in (0..depth).zip(&self.present).rev() {
            let sibling = if *present {
                siblings.next().copied()
            } else {
                None
            };
            let sibling = sibling.unwrap_or(Digest::ZERO);
            hash = if bit(path, level) {
                node_hash(&sibling, &hash)
            } else {
                node_hash(&hash, &sibling)
            };
        }
        Ok(hash)
    }
}

/// Where the path of something absent ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Gap {
    /// In an empty subtree.
    Empty,
    /// At the leaf of something else.
    Other {
        /// Its path.
        path: Digest,
        /// Its value.
        value: Digest,
    },
}

/// Checks that `path` is absent from the tree of `root`.
fn verify_gap(
    level: Level,
    root: &Digest,
    path: &Digest,
    proof: &PathProof,
    gap: &Gap,
) -> Result<(), ProofError> {
    let terminal = match gap {
        Gap::Empty => Digest::ZERO,
        Gap::Other { path: other, value } => {
            let depth = u16::try_from(proof.depth()).unwrap_or(u16::MAX);
            let shared = (0..depth).all(|level| bit(path, level) == bit(other, level));
            if other == path || !shared {
                return Err(ProofError::Form("the other leaf is not on the path"));
            }
            leaf_hash(level, other, value)
        }
    };
    check_root(root, proof.root(path, &terminal)?)
}

fn check_root(expected: &Digest, actual: Digest) -> Result<(), ProofError> {
    if *expected == actual {
        Ok(())
    } else {
        Err(ProofError::Root {
            expected: *expected,
            actual,
        })
    }
}

/// Proof of one key's value, or of its absence.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum KeyProof {
    /// The key has this value.
    Present {
        /// Stored bytes.
        value: Vec<u8>,
        /// Path in the owner's tree.
        lower: PathProof,
        /// Path of the owner.
        upper: PathProof,
    },
    /// The owner exists, the key does not.
    KeyAbsent {
        /// Where the key's path ends in the owner's tree.
        gap: Gap,
        /// Path in the owner's tree.
        lower: PathProof,
        /// Root of the owner's tree.
        owner_root: Digest,
        /// Path of the owner.
        upper: PathProof,
    },
    /// The owner has no keys.
    OwnerAbsent {
        /// Where the owner's path ends.
        gap: Gap,
        /// Path of the owner.
        upper: PathProof,
    },
}

impl KeyProof {
    /// The proven value of `key` in the state of `root`; `None` when it is proven absent.
    ///
    /// # Errors
    /// When the proof is not canonical or leads to another root.
    pub fn verify(&self, root: &Digest, key: &StateKey) -> Result<Option<&[u8]>, ProofError> {
        let owner = Digest::new(*key.owner.as_bytes());
        let path = key.path();
        match self {
            Self::Present {
                value,
                lower,
                upper,
            } => {
                let leaf = leaf_hash(Level::Lower, &path, &value_hash(value));
                let owner_root = lower.root(&path, &leaf)?;
                let leaf = leaf_hash(Level::Upper, &owner, &owner_root);
                check_root(root, upper.root(&owner, &leaf)?)?;
                Ok(Some(value))
            }
            Self::KeyAbsent {
                gap,
                lower,
                owner_root,
                upper,
            } => {
                verify_gap(Level::Lower, owner_root, &path, lower, gap)?;
                let leaf = leaf_hash(Level::Upper, &owner, owner_root);
                check_root(root, upper.root(&owner, &leaf)?)?;
                Ok(None)
            }
            Self::OwnerAbsent { gap, upper } => {
                verify_gap(Level::Upper, root, &owner, upper, gap)?;
                Ok(None)
            }
        }
    }
}

/// One record of an owner.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct OwnerEntry {
    /// The module.
    pub module: crate::ids::ModuleId,
    /// The local key.
    pub local: Vec<u8>,
    /// Stored bytes.
    pub value: Vec<u8>,
}

/// Proof of all records of an owner, complete: the owner's tree is rebuilt from them.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum OwnerProof {
    /// The owner has exactly these records, in order of path.
    Present {
        /// The records.
        entries: Vec<OwnerEntry>,
        /// Path of the owner.
        upper: PathProof,
    },
    /// The owner has no records.
    Absent {
        /// Where the owner's path ends.
        gap: Gap,
        /// Path of the owner.
        upper: PathProof,
    },
}

impl OwnerProof {
    /// The proven records of `owner` in the state of `root`.
    ///
    /// # Errors
    /// When the proof is not canonical or leads to another root.
    pub fn verify(&self, root: &Digest, owner: &Address) -> Result<&[OwnerEntry], ProofError> {
        let owner_path = Digest::new(*owner.as_bytes());
        match self {
            Self::Present { entries, upper } => {
                let leaves: Vec<(Digest, Digest)> = entries
                    .iter()
                    .map(|entry| {
                        let path = StateKey::new(*owner, entry.module, entry.local.clone()).path();
                        (
                            path,
                            leaf_hash(Level::Lower, &path, &value_hash(&entry.value)),
                        )
                    })
                    .collect();
                let ordered = leaves
                    .windows(2)
                    .all(|pair| matches!(pair, [first, second] if first.0 < second.0));
                if leaves.is_empty() || !ordered {
                    return Err(ProofError::Form("records are not in strict order of path"));
                }
                let leaf = leaf_hash(Level::Upper, &owner_path, &root_of_sorted(&leaves));
                check_root(root, upper.root(&owner_path, &leaf)?)?;
                Ok(entries)
            }
            Self::Absent { gap, upper } => {
                verify_gap(Level::Upper, root, &owner_path, upper, gap)?;
                Ok(&[])
            }
        }
    }
}
