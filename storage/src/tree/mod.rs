//! The state: a persistent two-level compact Merkle tree that holds the values in its leaves.
//!
//! It is the working copy in RAM and the commitment at once; hashes and proofs are those of
//! [`skerry_types::merkle`]. A [`StateTree`] never changes: [`StateTree::apply`] gives a new version
//! that shares every untouched node with the old one, so that each unfinalized block and each of the
//! last final ones can keep its own, and cloning costs three words. A subtree's shape and hash follow
//! from its leaves alone, never from the order in which they came.

mod node;
mod prove;
mod range;
mod top;
mod update;

#[cfg(test)]
mod tests;

use crate::error::StoreError;
use node::{KeyLeaf, Leaf, Link, Node, OwnerLeaf};
use skerry_types::ids::{Address, Digest};
use skerry_types::merkle::{OwnerEntry, bit};
use skerry_types::state::{ChangeSet, StateKey, StateRead, Value};
use std::sync::Arc;
use top::Top;
use update::{Edit, OwnerEdit, Tally};

/// One version of the state.
#[derive(Clone, Debug)]
pub struct StateTree {
    owners: Link<OwnerLeaf>,
    /// Where reads of a large state begin.
    top: Option<Arc<Top<OwnerLeaf>>>,
    keys: u64,
    bytes: u64,
}

impl Default for StateTree {
    fn default() -> Self {
        Self::empty()
    }
}

impl StateTree {
    /// The state without keys; its root is zero.
    pub const fn empty() -> Self {
        Self {
            owners: Link::empty(),
            top: None,
            keys: 0,
            bytes: 0,
        }
    }

    /// The root.
    pub const fn root(&self) -> Digest {
        self.owners.hash
    }

    /// Number of keys.
    pub const fn len(&self) -> u64 {
        self.keys
    }

    /// Whether there are no keys.
    pub const fn is_empty(&self) -> bool {
        self.keys == 0
    }

    /// Bytes of local keys and values.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The state after changes; this version stays as it is.
    ///
    /// Costs a hash and a node per changed path position: for 25,000 random keys of a million, some
    /// tens of milliseconds.
    #[must_use]
    pub fn apply(&self, changes: &ChangeSet) -> Self {
        self.apply_with(changes, update::threads())
    }

    fn apply_with(&self, changes: &ChangeSet, threads: usize) -> Self {
        let edits = update::edits_of(changes);
        let owners: Vec<OwnerEdit<'_>> = edits
            .chunk_by(|first, second| first.owner() == second.owner())
            .filter_map(OwnerEdit::new)
            .collect();
        let mut tally = Tally::default();
        let root = update::update(&self.owners, 0, &owners, threads, &mut tally);
        let keys = self
            .keys
            .saturating_add(tally.keys_added)
            .saturating_sub(tally.keys_removed);
        let bytes = self
            .bytes
            .saturating_add(tally.bytes_added)
            .saturating_sub(tally.bytes_removed);
        let top = match &self.top {
            Some(top) => top.updated(&root, keys, owners.iter().map(OwnerEdit::path)),
            None => Top::of(&root, keys),
        };
        Self {
            owners: root,
            top: top.map(Arc::new),
            keys,
            bytes,
        }
    }

    /// This version for proofs alone: what serves quick reads is left out, which is the greater
    /// part of what a version has to itself.
    #[must_use]
    pub fn for_keeping(&self) -> Self {
        Self {
            top: None,
            ..self.clone()
        }
    }

    fn owner(&self, owner: &Address) -> Option<&OwnerLeaf> {
        let path = owner_path(owner);
        let top = self.top.as_ref().and_then(|top| top.start(&path));
        let (start, depth) = top.unwrap_or((&self.owners.node, 0));
        leaf_at(seek(start, &path, depth, u16::MAX), &path)
    }

    /// All records of an owner in order of path, which is the order of an
    /// [`OwnerProof`](skerry_types::merkle::OwnerProof).
    pub fn owner_entries(&self, owner: &Address) -> Vec<OwnerEntry> {
        let entry = |leaf: &KeyLeaf| OwnerEntry {
            module: leaf.module,
            local: leaf.local.to_vec(),
            value: leaf.value.to_vec(),
        };
        self.owner(owner)
            .map(|owner| Leaves::of(&owner.keys).map(entry).collect())
            .unwrap_or_default()
    }

    /// All keys and values, by owner and in it by path. The version stays readable meanwhile.
    pub fn iter(&self) -> impl Iterator<Item = (StateKey, &Value)> {
        Leaves::of(&self.owners).flat_map(|owner| {
            let address = Address::new(*owner.path.as_bytes());
            Leaves::of(&owner.keys).map(move |leaf| {
                (
                    StateKey::new(address, leaf.module, leaf.local.clone()),
                    &leaf.value,
                )
            })
        })
    }
}

impl StateRead for StateTree {
    fn get(&self, key: &StateKey) -> Option<Value> {
        let owner = self.owner(&key.owner)?;
        let leaf = match &owner.keys.node {
            // An owner with one key: comparing the name is cheaper than hashing it.
            Node::Leaf(leaf) => {
                let same = leaf.module == key.module && *leaf.local == *key.local;
                same.then_some(leaf)?
            }
            _ => {
                let path = key.path();
                leaf_at(seek(&owner.keys.node, &path, 0, u16::MAX), &path)?
            }
        };
        Some(leaf.value.clone())
    }
}

/// Builds a tree from keys in order of [`StateKey::to_bytes`], as the database gives them; cheaper
/// than applying one large change set.
#[derive(Debug, Default)]
pub struct TreeBuilder {
    owners: Vec<Link<OwnerLeaf>>,
    current: Option<(StateKey, Vec<Link<KeyLeaf>>)>,
    keys: u64,
    bytes: u64,
}

impl TreeBuilder {
    /// Nothing pushed yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a key.
    ///
    /// # Errors
    /// [`StoreError::StateOrder`] when it does not come after the one before.
    pub fn push(&mut self, key: StateKey, value: Value) -> Result<(), StoreError> {
        let size = key.local.len().saturating_add(value.len());
        self.keys = self.keys.saturating_add(1);
        self.bytes = self
            .bytes
            .saturating_add(u64::try_from(size).unwrap_or(u64::MAX));
        let leaf = Link::leaf(KeyLeaf {
            path: key.path(),
            module: key.module,
            local: key.local.clone(),
            value,
        });
        match &mut self.current {
            Some((last, _)) if key <= *last => return Err(StoreError::StateOrder),
            Some((last, leaves)) if key.owner == last.owner => {
                leaves.push(leaf);
                *last = key;
            }
            _ => {
                self.close_owner();
                self.current = Some((key, vec![leaf]));
            }
        }
        Ok(())
    }

    /// The tree of all that was pushed.
    pub fn finish(mut self) -> StateTree {
        self.close_owner();
        let owners = update::build(&self.owners, 0);
        let top = Top::of(&owners, self.keys).map(Arc::new);
        StateTree {
            owners,
            top,
            keys: self.keys,
            bytes: self.bytes,
        }
    }

    fn close_owner(&mut self) {
        if let Some((last, mut leaves)) = self.current.take() {
            leaves.sort_by(|one, other| path_of(one).cmp(&path_of(other)));
            let keys = update::build(&leaves, 0);
            self.owners.push(Link::leaf(OwnerLeaf {
                path: owner_path(&last.owner),
                keys,
            }));
        }
    }
}

/// Place of an owner in the upper tree.
const fn owner_path(owner: &Address) -> Digest {
    Digest::new(*owner.as_bytes())
}

/// Path of a link that is a leaf.
fn path_of<L: Leaf>(link: &Link<L>) -> Option<&Digest> {
    match &link.node {
        Node::Leaf(leaf) => Some(leaf.path()),
        Node::Empty | Node::Inner(_) => None,
    }
}

/// Goes down a path from a node at `depth`, to a leaf, an end or the depth `limit`.
fn seek<'a, L>(start: &'a Node<L>, path: &Digest, mut depth: u16, limit: u16) -> &'a Node<L> {
    let mut node = start;
    while let Node::Inner(inner) = node
        && depth < limit
    {
        let half = if bit(path, depth) {
            &inner.right
        } else {
            &inner.left
        };
        node = &half.node;
        depth = depth.saturating_add(1);
    }
    node
}

/// The leaf that a node is, if it is that of `path`.
fn leaf_at<'a, L: Leaf>(node: &'a Node<L>, path: &Digest) -> Option<&'a L> {
    match node {
        Node::Leaf(leaf) => (leaf.path() == path).then_some(leaf.as_ref()),
        Node::Empty | Node::Inner(_) => None,
    }
}

/// The leaves of a subtree in order of path, by a stack of at most 257 links.
struct Leaves<'a, L> {
    stack: Vec<&'a Link<L>>,
}

impl<'a, L> Leaves<'a, L> {
    fn of(root: &'a Link<L>) -> Self {
        Self { stack: vec![root] }
    }

    /// From the leaf of a path on, or from the next one where there is none. Where the path leads
    /// to another leaf, that one comes too, whichever side of the path it is on.
    fn from_path(root: &'a Link<L>, path: &Digest) -> Self {
        let mut stack = Vec::new();
        let (mut link, mut depth) = (root, 0_u16);
        while let Node::Inner(inner) = &link.node {
            if bit(path, depth) {
                link = &inner.right;
            } else {
                stack.push(&inner.right);
                link = &inner.left;
            }
            depth = depth.saturating_add(1);
        }
        stack.push(link);
        Self { stack }
    }
}

impl<'a, L> Iterator for Leaves<'a, L> {
    type Item = &'a L;

    fn next(&mut self) -> Option<&'a L> {
        loop {
            match &self.stack.pop()?.node {
                Node::Empty => {}
                Node::Leaf(leaf) => return Some(leaf),
                Node::Inner(inner) => self.stack.extend([&inner.right, &inner.left]),
            }
        }
    }
}
