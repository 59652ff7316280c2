//! Updating a compact tree with many edits at once.
//!
//! Edits come in order of path. The recursion splits them at each bit, leaves subtrees without edits
//! alone, rebuilds a subtree that is empty or one leaf from its edits, and hashes each changed node
//! once. Where an edit turns out to change nothing the old node is kept. Most of the time goes into
//! waiting for memory, so large sets of edits are split over threads, at a bit of the path: what comes
//! out depends on the leaves alone, not on who computed which half.

use super::node::{Inner, KeyLeaf, Leaf, Link, Node, OwnerLeaf};
use super::{owner_path, path_of};
use skerry_types::ids::{Address, Digest};
use skerry_types::merkle::bit;
use skerry_types::state::{ChangeSet, StateKey, Value};
use std::num::NonZero;
use std::sync::OnceLock;

/// Fewer edits than this are not worth starting a thread for.
const EDITS_PER_THREAD_MIN: usize = 2048;

/// What an update added and removed.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) keys_added: u64,
    pub(super) keys_removed: u64,
    pub(super) bytes_added: u64,
    pub(super) bytes_removed: u64,
}

impl Tally {
    /// Adds what another thread counted.
    fn merge(&mut self, other: &Self) {
        self.keys_added = self.keys_added.saturating_add(other.keys_added);
        self.keys_removed = self.keys_removed.saturating_add(other.keys_removed);
        self.bytes_added = self.bytes_added.saturating_add(other.bytes_added);
        self.bytes_removed = self.bytes_removed.saturating_add(other.bytes_removed);
    }

    fn add(&mut self, leaf: &KeyLeaf) {
        self.keys_added = self.keys_added.saturating_add(1);
        self.bytes_added = self.bytes_added.saturating_add(size(leaf));
    }

    fn remove(&mut self, leaf: &KeyLeaf) {
        self.keys_removed = self.keys_removed.saturating_add(1);
        self.bytes_removed = self.bytes_removed.saturating_add(size(leaf));
    }
}

fn size(leaf: &KeyLeaf) -> u64 {
    u64::try_from(leaf.local.len().saturating_add(leaf.value.len())).unwrap_or(u64::MAX)
}

/// A change of one leaf.
pub(super) trait Edit: Sync {
    /// The leaf's kind.
    type Leaf: Leaf + Send + Sync;
    /// Its place.
    fn path(&self) -> &Digest;
    /// The leaf after the edit, as a link that is a leaf or empty.
    fn edited(&self, old: Option<&Self::Leaf>, tally: &mut Tally) -> Link<Self::Leaf>;
}

/// A change of one key.
#[derive(Debug)]
pub(super) struct KeyEdit<'a> {
    path: Digest,
    key: &'a StateKey,
    /// The new value; `None` deletes.
    value: Option<&'a Value>,
}

impl KeyEdit<'_> {
    /// Whose key.
    pub(super) const fn owner(&self) -> &Address {
        &self.key.owner
    }
}

impl Edit for KeyEdit<'_> {
    type Leaf = KeyLeaf;

    fn path(&self) -> &Digest {
        &self.path
    }

    fn edited(&self, old: Option<&KeyLeaf>, tally: &mut Tally) -> Link<KeyLeaf> {
        if let Some(old) = old {
            tally.remove(old);
        }
        let Some(value) = self.value else {
            return Link::empty();
        };
        let leaf = KeyLeaf {
            path: self.path,
            module: self.key.module,
            local: self.key.local.clone(),
            value: value.clone(),
        };
        tally.add(&leaf);
        Link::leaf(leaf)
    }
}

/// The changes of one owner.
#[derive(Debug)]
pub(super) struct OwnerEdit<'a> {
    path: Digest,
    keys: &'a [KeyEdit<'a>],
}

impl<'a> OwnerEdit<'a> {
    /// All edits of one owner, in order of path.
    pub(super) fn new(keys: &'a [KeyEdit<'a>]) -> Option<Self> {
        keys.first().map(|first| Self {
            path: owner_path(first.owner()),
            keys,
        })
    }
}

impl Edit for OwnerEdit<'_> {
    type Leaf = OwnerLeaf;

    fn path(&self) -> &Digest {
        &self.path
    }

    fn edited(&self, old: Option<&OwnerLeaf>, tally: &mut Tally) -> Link<OwnerLeaf> {
        let none = Link::empty();
        let keys = update(old.map_or(&none, |old| &old.keys), 0, self.keys, 1, tally);
        match keys.node {
            Node::Empty => Link::empty(),
            _ => Link::leaf(OwnerLeaf {
                path: self.path,
                keys,
            }),
        }
    }
}

/// The edits of a change set, in order of owner and in it of path.
pub(super) fn edits_of(changes: &ChangeSet) -> Vec<KeyEdit<'_>> {
    let mut edits: Vec<KeyEdit<'_>> = changes
        .iter()
        .map(|(key, value)| KeyEdit {
            path: key.path(),
            key,
            value: value.as_ref(),
        })
        .collect();
    for owner in edits.chunk_by_mut(|first, second| first.owner() == second.owner()) {
        owner.sort_unstable_by_key(|edit| edit.path);
    }
    edits
}

/// How many threads an update may use.
pub(super) fn threads() -> usize {
    static THREADS: OnceLock<usize> = OnceLock::new();
    // Asking the system costs more than a small update.
    *THREADS.get_or_init(|| {
        std::thread::available_parallelism()
            .map_or(1, NonZero::get)
            .min(16)
    })
}

/// A subtree at `depth` after edits, which lie in it and are in strict order of path; by at most so
/// many threads.
pub(super) fn update<E: Edit>(
    link: &Link<E::Leaf>,
    depth: u16,
    edits: &[E],
    threads: usize,
    tally: &mut Tally,
) -> Link<E::Leaf> {
    if edits.is_empty() {
        return link.clone();
    }
    let updated = match (&link.node, edits) {
        // By far the most frequent case below: one edit of one leaf, without a list.
        (Node::Leaf(leaf), [edit]) if leaf.path() == edit.path() => edit.edited(Some(leaf), tally),
        (Node::Empty, [edit]) => edit.edited(None, tally),
        (Node::Empty, _) => build(&edited_leaves(None, edits, tally), depth),
        (Node::Leaf(leaf), _) => {
            let mut leaves = edited_leaves(Some(leaf.as_ref()), edits, tally);
            // An old leaf that no edit names stays, at its place among the new ones.
            let at = edits.partition_point(|edit| edit.path() < leaf.path());
            if edits.get(at).is_none_or(|edit| edit.path() != leaf.path()) {
                let at = leaves.partition_point(|new| path_of(new) < Some(leaf.path()));
                leaves.insert(at, link.clone());
            }
            build(&leaves, depth)
        }
        (Node::Inner(inner), _) => {
            let (left, right) = update_halves(inner, depth, edits, threads, tally);
            if left.hash == inner.left.hash && right.hash == inner.right.hash {
                return link.clone();
            }
            Link::join(left, right)
        }
    };
    // An equal hash means equal leaves: keep the node that other versions share.
    if updated.hash == link.hash {
        link.clone()
    } else {
        updated
    }
}

/// Both halves of an inner node at `depth` after edits.
fn update_halves<E: Edit>(
    inner: &Inner<E::Leaf>,
    depth: u16,
    edits: &[E],
    threads: usize,
    tally: &mut Tally,
) -> (Link<E::Leaf>, Link<E::Leaf>) {
    let (left, right) = edits.split_at(edits.partition_point(|edit| !bit(edit.path(), depth)));
    let below = depth.saturating_add(1);
    if threads < 2 || left.len().min(right.len()) < EDITS_PER_THREAD_MIN {
        let left = update(&inner.left, below, left, threads, tally);
        return (left, update(&inner.right, below, right, threads, tally));
    }
    let half = threads / 2;
    std::thread::scope(|scope| {
        let left = scope.spawn(move || {
            let mut tally = Tally::default();
            (update(&inner.left, below, left, half, &mut tally), tally)
        });
        let right = update(
            &inner.right,
            below,
            right,
            threads.saturating_sub(half),
            tally,
        );
        let (left, counted) = left.join().expect("an update does not panic");
        tally.merge(&counted);
        (left, right)
    })
}

/// The leaves that edits leave behind where there was nothing or the leaf `old`.
fn edited_leaves<E: Edit>(
    old: Option<&E::Leaf>,
    edits: &[E],
    tally: &mut Tally,
) -> Vec<Link<E::Leaf>> {
    edits
        .iter()
        .map(|edit| edit.edited(old.filter(|old| old.path() == edit.path()), tally))
        .filter(|link| !matches!(link.node, Node::Empty))
        .collect()
}

/// The subtree at `depth` of leaves in strict order of path.
pub(super) fn build<L: Leaf>(leaves: &[Link<L>], depth: u16) -> Link<L> {
    match leaves {
        [] => Link::empty(),
        [leaf] => leaf.clone(),
        _ => {
            let right = |leaf: &Link<L>| path_of(leaf).is_some_and(|path| bit(path, depth));
            let (left, right) = leaves.split_at(leaves.partition_point(|leaf| !right(leaf)));
            let below = depth.saturating_add(1);
            Link::join(build(left, below), build(right, below))
        }
    }
}
