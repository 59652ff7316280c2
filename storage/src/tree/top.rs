//! A table of the upper tree's nodes at one depth, so that a read begins near its leaf.
//!
//! Reads of a state of some ten thousand owners spend most of their time waiting for the memory of
//! the nodes on the way down, and the first levels are the same for all. The table is of one version
//! of the tree and is carried on from version to version by copying it: a reference for every two
//! keys, and 16,384 at most, some tenths of a millisecond.
//!
//! A leaf above the table's depth stands in its own place only: it can match no other path.

use super::node::{Leaf, Link, Node};
use super::seek;
use skerry_types::ids::Digest;
use skerry_types::merkle::bit;

/// Keys of the state for one place of the table: an account has two or three.
const KEYS_PER_PLACE: u64 = 2;
/// Least depth that is worth a table.
const DEPTH_MIN: u16 = 6;
/// Greatest depth, so that copying the table stays cheap beside the changes of a block.
const DEPTH_MAX: u16 = 14;

/// The nodes at `depth`, by the first bits of their paths.
#[derive(Debug)]
pub(super) struct Top<L> {
    depth: u16,
    nodes: Vec<Node<L>>,
}

impl<L: Leaf> Top<L> {
    /// A table for a tree of so many keys; none for a small one.
    pub(super) fn of(root: &Link<L>, keys: u64) -> Option<Self> {
        let depth = depth_for(keys);
        if depth < DEPTH_MIN {
            return None;
        }
        let mut nodes = Vec::new();
        nodes.resize_with(1_usize << depth, || Node::Empty);
        let mut top = Self { depth, nodes };
        top.fill(&root.node, 0, 0);
        Some(top)
    }

    /// The table of the version that `paths` were changed for.
    pub(super) fn updated<'p>(
        &self,
        root: &Link<L>,
        keys: u64,
        paths: impl Iterator<Item = &'p Digest>,
    ) -> Option<Self> {
        let depth = depth_for(keys);
        // The size may go up and down around a power of two: only a much smaller one counts.
        if depth > self.depth || depth.saturating_add(2) < self.depth {
            return Self::of(root, keys);
        }
        let mut top = Self {
            depth: self.depth,
            nodes: self.nodes.clone(),
        };
        for path in paths {
            let node = seek(&root.node, path, 0, self.depth);
            top.set(place(path, self.depth), node);
        }
        Some(top)
    }

    /// How many bits of a path give its place.
    #[cfg(test)]
    pub(super) const fn depth(&self) -> u16 {
        self.depth
    }

    /// Where to look for a path, and at which depth that is.
    pub(super) fn start(&self, path: &Digest) -> Option<(&Node<L>, u16)> {
        let node = self.nodes.get(place(path, self.depth))?;
        Some((node, self.depth))
    }

    fn fill(&mut self, node: &Node<L>, depth: u16, first: usize) {
        match node {
            Node::Empty => {}
            Node::Inner(inner) if depth < self.depth => {
                let deeper = depth.saturating_add(1);
                let half = 1_usize << self.depth.saturating_sub(deeper);
                self.fill(&inner.left.node, deeper, first);
                self.fill(&inner.right.node, deeper, first | half);
            }
            Node::Inner(_) => self.set(first, node),
            Node::Leaf(leaf) => self.set(place(leaf.path(), self.depth), node),
        }
    }

    fn set(&mut self, place: usize, node: &Node<L>) {
        if let Some(at) = self.nodes.get_mut(place) {
            *at = node.clone();
        }
    }
}

fn depth_for(keys: u64) -> u16 {
    let places = keys / KEYS_PER_PLACE;
    let depth = u64::BITS.saturating_sub(places.leading_zeros());
    u16::try_from(depth).unwrap_or(DEPTH_MAX).min(DEPTH_MAX)
}

/// The first bits of a path, as a number.
fn place(path: &Digest, depth: u16) -> usize {
    (0..depth).fold(0, |place, at| place << 1 | usize::from(bit(path, at)))
}
