//! Nodes of a compact binary Merkle tree, shared between versions.
//!
//! A link is a subtree with its hash; an inner node is its two links, so hashing a changed path
//! reads no sibling. Nodes never change: a new version is new nodes along the changed paths and the
//! old ones everywhere else. Depth is at most 256, so recursion, also that of dropping, is bounded.

use skerry_types::ids::{Digest, ModuleId};
use skerry_types::merkle::{Level, leaf_hash, node_hash, value_hash};
use skerry_types::state::{LocalKey, Value};
use std::sync::Arc;

/// What a leaf must say.
pub(super) trait Leaf {
    /// Which of the two trees.
    const LEVEL: Level;
    /// Its place.
    fn path(&self) -> &Digest;
    /// What its hash covers besides the path.
    fn value(&self) -> Digest;
}

/// A key of an owner.
#[derive(Debug)]
pub(super) struct KeyLeaf {
    pub(super) path: Digest,
    pub(super) module: ModuleId,
    pub(super) local: LocalKey,
    pub(super) value: Value,
}

impl Leaf for KeyLeaf {
    const LEVEL: Level = Level::Lower;
    fn path(&self) -> &Digest {
        &self.path
    }
    fn value(&self) -> Digest {
        value_hash(&self.value)
    }
}

/// An owner with its tree; the tree is never empty.
#[derive(Debug)]
pub(super) struct OwnerLeaf {
    pub(super) path: Digest,
    pub(super) keys: Link<KeyLeaf>,
}

impl Leaf for OwnerLeaf {
    const LEVEL: Level = Level::Upper;
    fn path(&self) -> &Digest {
        &self.path
    }
    fn value(&self) -> Digest {
        self.keys.hash
    }
}

/// A subtree.
#[derive(Debug)]
pub(super) struct Link<L> {
    /// Its hash.
    pub(super) hash: Digest,
    /// What it is.
    pub(super) node: Node<L>,
}

/// What a subtree is.
#[derive(Debug)]
pub(super) enum Node<L> {
    /// Without leaves; its hash is zero.
    Empty,
    /// One leaf.
    Leaf(Arc<L>),
    /// Two or more leaves.
    Inner(Arc<Inner<L>>),
}

/// The halves of a subtree with two or more leaves; one may be empty, not both, and not one beside
/// a single leaf.
#[derive(Debug)]
pub(super) struct Inner<L> {
    pub(super) left: Link<L>,
    pub(super) right: Link<L>,
}

impl<L> Clone for Node<L> {
    fn clone(&self) -> Self {
        match self {
            Self::Empty => Self::Empty,
            Self::Leaf(leaf) => Self::Leaf(Arc::clone(leaf)),
            Self::Inner(inner) => Self::Inner(Arc::clone(inner)),
        }
    }
}

impl<L> Clone for Link<L> {
    fn clone(&self) -> Self {
        Self {
            hash: self.hash,
            node: self.node.clone(),
        }
    }
}

impl<L: Leaf> Link<L> {
    /// Without leaves.
    pub(super) const fn empty() -> Self {
        Self {
            hash: Digest::ZERO,
            node: Node::Empty,
        }
    }

    /// One leaf.
    pub(super) fn leaf(leaf: L) -> Self {
        let hash = leaf_hash(L::LEVEL, leaf.path(), &leaf.value());
        Self {
            hash,
            node: Node::Leaf(Arc::new(leaf)),
        }
    }

    /// The compact subtree of two halves.
    pub(super) fn join(left: Self, right: Self) -> Self {
        match (&left.node, &right.node) {
            (Node::Empty, Node::Empty | Node::Leaf(_)) => right,
            (Node::Leaf(_), Node::Empty) => left,
            _ => {
                let hash = node_hash(&left.hash, &right.hash);
                Self {
                    hash,
                    node: Node::Inner(Arc::new(Inner { left, right })),
                }
            }
        }
    }
}
