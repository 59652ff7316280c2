//! Chunks: consecutive records of one version with the proof that none is missing between them, in
//! the one canonical form that [`skerry_types::snapshot`] verifies.

use super::node::{KeyLeaf, Leaf, Link, Node, OwnerLeaf};
use super::{Leaves, StateTree, leaf_at, owner_path, seek};
use skerry_types::ids::{Address, Digest};
use skerry_types::merkle::{OwnerEntry, bit};
use skerry_types::snapshot::{Chunk, Cursor, OwnerRows, Sibling};

/// Encoded bytes of an owner without its records: id and their number.
const OWNER_BYTES: usize = 36;
/// Encoded bytes of a record without local key and value: module and both lengths.
const ROW_BYTES: usize = 10;

impl StateTree {
    /// The records after a cursor (without it, from the first one on), as many as fit into `bytes`
    /// encoded, but one at least where there is one; with the proof against [`Self::root`]. `None`
    /// when there is no record at the cursor, which is then of another state.
    ///
    /// All nodes cut a state into the same chunks for the same `bytes`: use
    /// [`CHUNK_BYTES`](skerry_types::limits::CHUNK_BYTES). Costs what the chunk holds and four paths
    /// of the tree, whatever the size of the state. A clone of a version keeps its chunks.
    pub fn chunk(&self, after: Option<&Cursor>, bytes: usize) -> Option<Chunk> {
        let mut chunk = Chunk::default();
        if let Some(cursor) = after {
            let owner = self.owner(&cursor.owner)?;
            let leaf = leaf_at(
                seek(&owner.keys.node, &cursor.path, 0, u16::MAX),
                &cursor.path,
            )?;
            chunk.after = Some(leaf.value());
            chunk.lower.left = edge(&owner.keys, &cursor.path, Side::Left);
            chunk.upper.left = edge(&self.owners, &owner.path, Side::Left);
        }
        let mut filling = Filling::new(bytes);
        let mut last = None;
        for (owner, leaf) in self.records_after(after) {
            let Some(fit) = filling.take(owner, leaf) else {
                break;
            };
            if fit == Fit::NewOwner {
                chunk.owners.push(OwnerRows {
                    owner: Address::new(*owner.path.as_bytes()),
                    rows: Vec::new(),
                });
            }
            if let Some(listed) = chunk.owners.last_mut() {
                listed.rows.push(OwnerEntry {
                    module: leaf.module,
                    local: leaf.local.to_vec(),
                    value: leaf.value.to_vec(),
                });
            }
            last = Some((owner, leaf));
        }
        if let Some((owner, leaf)) = last {
            chunk.lower.right = edge(&owner.keys, &leaf.path, Side::Right);
            chunk.upper.right = edge(&self.owners, &owner.path, Side::Right);
        }
        Some(chunk)
    }

    /// Where the chunks of [`Self::chunk`] end, all but the last one: with them, chunks can be asked
    /// for in any order and of many peers. Reads every key, but copies no value: for a state of a
    /// million keys, some tenths of a second.
    pub fn chunk_cursors(&self, bytes: usize) -> Vec<Cursor> {
        let mut cursors = Vec::new();
        let mut filling = Filling::new(bytes);
        let mut last = None;
        for (owner, leaf) in self.records_after(None) {
            if filling.take(owner, leaf).is_none() {
                cursors.extend(last);
                filling = Filling::new(bytes);
                // The first record fits always.
                let _ = filling.take(owner, leaf);
            }
            last = Some(Cursor {
                owner: Address::new(*owner.path.as_bytes()),
                path: leaf.path,
            });
        }
        cursors
    }

    /// All records after a cursor, in order of owner and path.
    fn records_after(
        &self,
        after: Option<&Cursor>,
    ) -> impl Iterator<Item = (&OwnerLeaf, &KeyLeaf)> {
        let cursor = after.copied();
        let owners = match cursor {
            Some(cursor) => Leaves::from_path(&self.owners, &owner_path(&cursor.owner)),
            None => Leaves::of(&self.owners),
        };
        owners.flat_map(move |owner| {
            let begun = cursor.filter(|cursor| owner_path(&cursor.owner) == owner.path);
            let leaves = match &begun {
                Some(cursor) => Leaves::from_path(&owner.keys, &cursor.path),
                None => Leaves::of(&owner.keys),
            };
            let is_new = move |leaf: &&KeyLeaf| begun.is_none_or(|begun| leaf.path > begun.path);
            leaves.filter(is_new).map(move |leaf| (owner, leaf))
        })
    }
}

/// How a record fits into a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fit {
    /// Beside others of its owner.
    SameOwner,
    /// As the first one of its owner.
    NewOwner,
}

/// What a chunk holds so far.
struct Filling {
    bytes: usize,
    bytes_max: usize,
    owner: Option<Digest>,
}

impl Filling {
    const fn new(bytes_max: usize) -> Self {
        Self {
            bytes: 0,
            bytes_max,
            owner: None,
        }
    }

    /// Takes a record, unless it does not fit beside those that were taken.
    fn take(&mut self, owner: &OwnerLeaf, leaf: &KeyLeaf) -> Option<Fit> {
        let is_same = self.owner == Some(owner.path);
        let (fit, head) = if is_same {
            (Fit::SameOwner, 0)
        } else {
            (Fit::NewOwner, OWNER_BYTES)
        };
        let row = ROW_BYTES
            .saturating_add(leaf.local.len())
            .saturating_add(leaf.value.len());
        let bytes = self.bytes.saturating_add(head).saturating_add(row);
        if bytes > self.bytes_max && self.owner.is_some() {
            return None;
        }
        (self.bytes, self.owner) = (bytes, Some(owner.path));
        Some(fit)
    }
}

/// A side of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Left,
    Right,
}

/// What lies on one side of the way down to a leaf.
fn edge<L: Leaf>(root: &Link<L>, path: &Digest, side: Side) -> Vec<Sibling> {
    let mut siblings = Vec::new();
    let (mut link, mut depth) = (root, 0_u8);
    while let Node::Inner(inner) = &link.node {
        let (next, sibling, is_on) = if bit(path, u16::from(depth)) {
            (&inner.right, &inner.left, Side::Left)
        } else {
            (&inner.left, &inner.right, Side::Right)
        };
        if is_on == side && sibling.hash != Digest::ZERO {
            siblings.push(Sibling {
                depth,
                hash: sibling.hash,
            });
        }
        link = next;
        // The deepest inner node stands at depth 255.
        depth = depth.saturating_add(1);
    }
    siblings
}

#[cfg(test)]
mod tests;
