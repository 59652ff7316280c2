//! A naive two-level tree that proves: the definition of the compact tree, written down once more.

use skerry_types::ids::{Address, Digest};
use skerry_types::merkle::{
    Gap, KeyProof, Level, OwnerEntry, OwnerProof, PathProof, bit, leaf_hash, node_hash,
    root_of_sorted, value_hash,
};
use skerry_types::snapshot::{Chunk, Cursor, Edges, OwnerRows, Sibling};
use skerry_types::state::StateKey;
use std::collections::BTreeMap;

/// A state with its values.
#[derive(Clone, Debug, Default)]
pub(crate) struct NaiveTree {
    owners: BTreeMap<Address, BTreeMap<Digest, (StateKey, Vec<u8>)>>,
}

/// Path, value and leaf hash.
type Leaf = (Digest, Digest, Digest);

/// In order of path.
type Leaves = Vec<Leaf>;

impl NaiveTree {
    pub(crate) fn put(&mut self, key: StateKey, value: Vec<u8>) {
        self.owners
            .entry(key.owner)
            .or_default()
            .insert(key.path(), (key, value));
    }

    fn lower(&self, owner: &Address) -> Leaves {
        let entries = self.owners.get(owner).into_iter().flatten();
        leaves(
            Level::Lower,
            entries.map(|(path, (_, value))| (*path, value_hash(value))),
        )
    }

    fn upper(&self) -> Leaves {
        let owners = self.owners.keys();
        leaves(
            Level::Upper,
            owners.map(|owner| (Digest::new(*owner.as_bytes()), root(&self.lower(owner)))),
        )
    }

    pub(crate) fn root(&self) -> Digest {
        root(&self.upper())
    }

    /// The same root by the crate's own definition.
    pub(crate) fn root_by_definition(&self) -> Digest {
        let pairs = self.upper().into_iter().map(|(path, _, leaf)| (path, leaf));
        root_of_sorted(&pairs.collect::<Vec<_>>())
    }

    pub(crate) fn owner_root(&self, owner: &Address) -> Digest {
        root(&self.lower(owner))
    }

    pub(crate) fn prove_key(&self, key: &StateKey) -> KeyProof {
        let owner = Digest::new(*key.owner.as_bytes());
        let (upper, gap) = walk(&self.upper(), &owner);
        let Some(entries) = self.owners.get(&key.owner) else {
            return KeyProof::OwnerAbsent { gap, upper };
        };
        let leaves = self.lower(&key.owner);
        let (lower, gap) = walk(&leaves, &key.path());
        match entries.get(&key.path()) {
            Some((_, value)) => KeyProof::Present {
                value: value.clone(),
                lower,
                upper,
            },
            None => KeyProof::KeyAbsent {
                gap,
                lower,
                owner_root: root(&leaves),
                upper,
            },
        }
    }

    pub(crate) fn prove_owner(&self, owner: &Address) -> OwnerProof {
        let (upper, gap) = walk(&self.upper(), &Digest::new(*owner.as_bytes()));
        let Some(entries) = self.owners.get(owner) else {
            return OwnerProof::Absent { gap, upper };
        };
        let entries = entries
            .values()
            .map(|(key, value)| OwnerEntry {
                module: key.module,
                local: key.local.to_vec(),
                value: value.clone(),
            })
            .collect();
        OwnerProof::Present { entries, upper }
    }

    /// The chunk of so many records after a cursor.
    pub(crate) fn chunk(&self, after: Option<&Cursor>, count: usize) -> Chunk {
        let entry = |key: &StateKey, value: &Vec<u8>| OwnerEntry {
            module: key.module,
            local: key.local.to_vec(),
            value: value.clone(),
        };
        let rows = self.owners.iter().flat_map(|(owner, rows)| {
            rows.iter().map(move |(path, (key, value))| {
                let (owner, path) = (*owner, *path);
                (Cursor { owner, path }, entry(key, value))
            })
        });
        let mut chunk = Chunk::default();
        let mut end = None;
        for (cursor, row) in rows.filter(|(at, _)| Some(at) > after).take(count) {
            end = Some(cursor);
            match chunk
                .owners
                .last_mut()
                .filter(|it| it.owner == cursor.owner)
            {
                Some(listed) => listed.rows.push(row),
                None => chunk.owners.push(OwnerRows {
                    owner: cursor.owner,
                    rows: vec![row],
                }),
            }
        }
        let edges = |cursor: Option<&Cursor>, right: bool| match cursor {
            Some(Cursor { owner, path }) => (
                edge(&self.lower(owner), path, right),
                edge(&self.upper(), &Digest::new(*owner.as_bytes()), right),
            ),
            None => (Vec::new(), Vec::new()),
        };
        let ((lower_left, upper_left), (lower_right, upper_right)) =
            (edges(after, false), edges(end.as_ref(), true));
        chunk.after = after.map(|cursor| {
            let (_, value) = &self.owners[&cursor.owner][&cursor.path];
            value_hash(value)
        });
        chunk.lower = Edges {
            left: lower_left,
            right: lower_right,
        };
        chunk.upper = Edges {
            left: upper_left,
            right: upper_right,
        };
        chunk
    }

    /// All keys and values, in the order of a snapshot.
    pub(crate) fn all(&self) -> Vec<(StateKey, Vec<u8>)> {
        let owners = self.owners.values();
        owners.flat_map(|rows| rows.values().cloned()).collect()
    }
}

/// What lies on one side of the way down to a leaf.
fn edge(leaves: &[Leaf], path: &Digest, right: bool) -> Vec<Sibling> {
    let (mut below, mut siblings, mut depth) = (leaves, Vec::new(), 0);
    while below.len() > 1 {
        let (zeros, ones) = split(below, depth);
        let (taken, other) = if bit(path, depth) {
            (ones, zeros)
        } else {
            (zeros, ones)
        };
        if !other.is_empty() && bit(path, depth) != right {
            siblings.push(Sibling {
                depth: u8::try_from(depth).expect("below 256"),
                hash: subtree(other, depth + 1),
            });
        }
        (below, depth) = (taken, depth + 1);
    }
    siblings
}

fn leaves(level: Level, pairs: impl Iterator<Item = (Digest, Digest)>) -> Leaves {
    pairs
        .map(|(path, value)| (path, value, leaf_hash(level, &path, &value)))
        .collect()
}

fn root(leaves: &[Leaf]) -> Digest {
    subtree(leaves, 0)
}

/// Root of the leaves that share their first `depth` bits.
fn subtree(leaves: &[Leaf], depth: u16) -> Digest {
    match leaves {
        [] => Digest::ZERO,
        [(_, _, leaf)] => *leaf,
        _ => {
            let (left, right) = split(leaves, depth);
            node_hash(&subtree(left, depth + 1), &subtree(right, depth + 1))
        }
    }
}

fn split(leaves: &[Leaf], depth: u16) -> (&[Leaf], &[Leaf]) {
    leaves.split_at(leaves.partition_point(|(path, _, _)| !bit(path, depth)))
}

/// Siblings down to where `path` ends, and what is there if it is not `path` itself.
fn walk(leaves: &[Leaf], path: &Digest) -> (PathProof, Gap) {
    let (mut below, mut siblings, mut depth) = (leaves, Vec::new(), 0);
    while below.len() > 1 {
        let (left, right) = split(below, depth);
        let (taken, other) = if bit(path, depth) {
            (right, left)
        } else {
            (left, right)
        };
        siblings.push(subtree(other, depth + 1));
        (below, depth) = (taken, depth + 1);
    }
    let gap = match below {
        [(path, value, _)] => Gap::Other {
            path: *path,
            value: *value,
        },
        _ => Gap::Empty,
    };
    (PathProof::from_siblings(&siblings), gap)
}
