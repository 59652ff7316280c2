//! Chunks of a state: consecutive records, with the proof that they are all there are between two
//! points of the state that a root commits to.
//!
//! The records of a state have one order: by owner, and in it by path
//! ([`StateKey::path`]). A [`Cursor`] is the place of a record in it; a [`Chunk`] holds the records
//! that follow a cursor, or the first ones. Chunk after chunk, each checked as it comes, the whole
//! state is moved from a peer that nobody needs to trust; an owner with many records may span many
//! chunks.
//!
//! The proof is what lies beside the records in the two levels of the tree: the hashes of the
//! subtrees left of the first and right of the last one. Everything between is hashed from the
//! records, so one left out or added changes the root. A hash that stands beside a range covers only
//! paths outside of it, whatever its preimage; and left of the range there is nothing, or the record
//! at the cursor, whose leaf is hashed as such. The tree is compact, so the depth of every leaf
//! follows from the subtrees beside it and is not told.

use crate::codec::Version;
use crate::ids::{Address, Digest};
use crate::merkle::{
    Level, OwnerEntry, PATH_BITS, bit, leaf_hash, node_hash, root_below, value_hash,
};
use crate::state::{StateKey, record_path};
use borsh::{BorshDeserialize, BorshSerialize};

/// The place of a record in the order of a state: where a chunk ends and the next one goes on.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize,
)]
pub struct Cursor {
    /// Whose record.
    pub owner: Address,
    /// Its path in the owner's tree.
    pub path: Digest,
}

/// Records of one owner, in order of path; never none.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct OwnerRows {
    /// Whose.
    pub owner: Address,
    /// The records.
    pub rows: Vec<OwnerEntry>,
}

/// A subtree beside a range of leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Sibling {
    /// Depth of the node whose other half leads to the range.
    pub depth: u8,
    /// Its hash; never zero: an empty subtree is left out.
    pub hash: Digest,
}

/// All that lies beside a range of leaves in a tree, from the root down.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Edges {
    /// Left of its first leaf; depths strictly increase.
    pub left: Vec<Sibling>,
    /// Right of its last leaf; depths strictly increase.
    pub right: Vec<Sibling>,
}

/// Consecutive records of a state with the proof that none is missing. At most
/// [`CHUNK_BYTES_MAX`](crate::limits::CHUNK_BYTES_MAX) bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Chunk {
    /// Version byte.
    pub version: Version,
    /// Hash of the value of the record at the cursor; none in the first chunk.
    pub after: Option<Digest>,
    /// The records, in order of owner. The first owner is that of the cursor as long as some of its
    /// records are left.
    pub owners: Vec<OwnerRows>,
    /// In the tree of the cursor's owner, what lies left of the cursor; in the tree of the last
    /// owner, what lies right of its last record here.
    pub lower: Edges,
    /// In the tree of owners: left of the cursor's owner, right of the last one.
    pub upper: Edges,
}

/// Why a chunk does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// Not the one form that a chunk with these records has.
    #[error("the chunk is not canonical: {0}")]
    Form(&'static str),
    /// It leads to another state.
    #[error("the chunk leads to state root {actual}, not to {expected}")]
    Root {
        /// The root asked for.
        expected: Digest,
        /// The root it leads to.
        actual: Digest,
    },
}

/// Leaves as (path, hash), in order of path.
type Leaves = Vec<(Digest, Digest)>;

impl Chunk {
    /// Checks that the records are exactly those that follow the cursor `after` in the state of
    /// `root` (without it, the first ones), up to some point, which is given back: the cursor for
    /// the next chunk, or `None` when the state ends here. A state without records is one chunk
    /// without records; apart from that, no chunk that is followed by another is empty.
    ///
    /// `root` must be that of a real state, and `after` what an earlier chunk of it gave. Hashes a
    /// few times each record, and at most 256 levels of the tree above any owner.
    ///
    /// # Errors
    /// When the chunk is not in canonical form, or leads to another root.
    pub fn verify(
        &self,
        root: &Digest,
        after: Option<&Cursor>,
    ) -> Result<Option<Cursor>, SnapshotError> {
        let begin = match (after, &self.after) {
            (Some(cursor), Some(value)) => Some((cursor, value)),
            (None, None) => None,
            _ => return Err(SnapshotError::Form("begins where it was not asked to")),
        };
        if begin.is_none() && !(self.lower.left.is_empty() && self.upper.left.is_empty()) {
            return Err(SnapshotError::Form(
                "something lies before the first record",
            ));
        }
        let ends = self.lower.right.is_empty() && self.upper.right.is_empty();
        if self.owners.is_empty() && !ends {
            return Err(SnapshotError::Form("no record, and yet more follow"));
        }
        let (owners, end) = self.owner_leaves(begin)?;
        let actual = if owners.is_empty() {
            Digest::ZERO
        } else {
            range_root(&owners, &self.upper.left, &self.upper.right)?
        };
        if actual != *root {
            return Err(SnapshotError::Root {
                expected: *root,
                actual,
            });
        }
        Ok(end.filter(|_| !ends))
    }

    /// The leaves of the tree of owners that the records make, that of the cursor's owner first;
    /// and the place of the last record.
    fn owner_leaves(
        &self,
        begin: Option<(&Cursor, &Digest)>,
    ) -> Result<(Leaves, Option<Cursor>), SnapshotError> {
        let mut leaves = Leaves::with_capacity(self.owners.len().saturating_add(1));
        let mut end = None;
        let first = self.owners.first().map(|first| first.owner);
        if let Some((cursor, value)) = begin
            && first != Some(cursor.owner)
        {
            // Nothing is left of the owner: the cursor is the last of its leaves.
            let leaf = (cursor.path, leaf_hash(Level::Lower, &cursor.path, value));
            let root = range_root(&[leaf], &self.lower.left, &[])?;
            leaves.push(owner_leaf(&cursor.owner, &root));
        }
        let last = self.owners.len().saturating_sub(1);
        for (position, OwnerRows { owner, rows }) in self.owners.iter().enumerate() {
            let begin = begin.filter(|(cursor, _)| position == 0 && cursor.owner == *owner);
            let cursor = begin.map(|(cursor, value)| {
                let leaf = leaf_hash(Level::Lower, &cursor.path, value);
                (cursor.path, leaf)
            });
            let rows = rows.iter().map(|row| {
                let path = record_path(row.module, &row.local);
                (
                    path,
                    leaf_hash(Level::Lower, &path, &value_hash(&row.value)),
                )
            });
            let left: &[Sibling] = match begin {
                Some(_) => &self.lower.left,
                None => &[],
            };
            let right: &[Sibling] = if position == last {
                &self.lower.right
            } else {
                &[]
            };
            let new = rows.len();
            let records: Leaves = cursor.into_iter().chain(rows).collect();
            let Some((path, _)) = records.last().filter(|_| new > 0) else {
                return Err(SnapshotError::Form("an owner without records"));
            };
            end = Some(Cursor {
                owner: *owner,
                path: *path,
            });
            leaves.push(owner_leaf(owner, &range_root(&records, left, right)?));
        }
        Ok((leaves, end))
    }

    /// The records with their keys, in order.
    pub fn rows(&self) -> impl Iterator<Item = (StateKey, &[u8])> {
        self.owners.iter().flat_map(|OwnerRows { owner, rows }| {
            rows.iter().map(|row| {
                let key = StateKey::new(*owner, row.module, row.local.clone());
                (key, row.value.as_slice())
            })
        })
    }

    /// Number of records.
    pub fn len(&self) -> usize {
        self.owners.iter().map(|owner| owner.rows.len()).sum()
    }

    /// Whether there are no records.
    pub fn is_empty(&self) -> bool {
        self.owners.is_empty()
    }
}

/// The leaf of an owner in the upper tree.
fn owner_leaf(owner: &Address, root: &Digest) -> (Digest, Digest) {
    let path = Digest::new(*owner.as_bytes());
    (path, leaf_hash(Level::Upper, &path, root))
}

/// Root of a tree of which a range of consecutive leaves is known, and what lies beside it.
fn range_root(
    leaves: &[(Digest, Digest)],
    left: &[Sibling],
    right: &[Sibling],
) -> Result<Digest, SnapshotError> {
    let (Some((first, _)), Some((last, _))) = (leaves.first(), leaves.last()) else {
        return Err(SnapshotError::Form("a range without leaves"));
    };
    let ordered = leaves
        .windows(2)
        .all(|pair| matches!(pair, [first, second] if first.0 < second.0));
    if !ordered {
        return Err(SnapshotError::Form("records are not in strict order"));
    }
    check_edge(left, first, true)?;
    check_edge(right, last, false)?;
    below(leaves, left, right, 0)
}

/// Whether siblings stand in order, each on the side that `path` does not take where it goes `side`.
fn check_edge(edge: &[Sibling], path: &Digest, side: bool) -> Result<(), SnapshotError> {
    let ordered = edge
        .windows(2)
        .all(|pair| matches!(pair, [first, second] if first.depth < second.depth));
    let beside = |sibling: &Sibling| bit(path, u16::from(sibling.depth)) == side;
    if ordered && edge.iter().all(|it| beside(it) && it.hash != Digest::ZERO) {
        Ok(())
    } else {
        Err(SnapshotError::Form(
            "siblings do not stand beside the range",
        ))
    }
}

/// The subtree at `depth` that holds `leaves`, which are never none, and what lies beside them in it.
/// Goes down at most [`PATH_BITS`] levels.
fn below(
    leaves: &[(Digest, Digest)],
    left: &[Sibling],
    right: &[Sibling],
    depth: u16,
) -> Result<Digest, SnapshotError> {
    if left.is_empty() && right.is_empty() {
        return Ok(root_below(leaves, depth));
    }
    if depth >= PATH_BITS {
        return Err(SnapshotError::Form("siblings below the deepest level"));
    }
    let deeper = depth.saturating_add(1);
    let (zeros, ones) = leaves.split_at(leaves.partition_point(|(path, _)| !bit(path, depth)));
    if !zeros.is_empty() && !ones.is_empty() {
        let zeros = below(zeros, left, &[], deeper)?;
        return Ok(node_hash(&zeros, &below(ones, &[], right, deeper)?));
    }
    // All go the same way; what lies on the other is told, or empty.
    let (left_hash, left) = take(left, depth);
    let (right_hash, right) = take(right, depth);
    let inner = below(leaves, left, right, deeper)?;
    Ok(if ones.is_empty() {
        node_hash(&inner, &right_hash)
    } else {
        node_hash(&left_hash, &inner)
    })
}

/// The sibling at `depth`, zero where there is none, and those below.
fn take(edge: &[Sibling], depth: u16) -> (Digest, &[Sibling]) {
    match edge.split_first() {
        Some((first, rest)) if u16::from(first.depth) == depth => (first.hash, rest),
        _ => (Digest::ZERO, edge),
    }
}
