//! The tree of blocks that are not yet settled, from the newest settled one upwards.
//!
//! Every block of the tree has its header and bytes; working blocks gain their decoded work, their
//! validity and, once executed, their state. States hang together by digest, never by height, so
//! that competing branches stay apart. The root is the newest final block whose state is known.

use super::jobs::{Executed, Work};
use skerry_execution::block::fold_reveal;
use skerry_execution::validate::CheckedBody;
use skerry_types::block::{BlockKind, BlockRef, Header};
use skerry_types::certificate::Certificate;
use skerry_types::crypto::bls::Signature;
use skerry_types::ids::{Digest, Height, TimeMs};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What is known of a block's validity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Validity {
    /// Not looked at.
    Unknown,
    /// Being checked.
    Checking,
    /// Acceptable.
    Valid,
    /// What the check needs is forgotten here, and not needed once the block is final.
    Forgotten,
    /// Never acceptable, with the broken rule.
    Invalid(String),
}

/// What is known of a block's content before it is checked.
#[derive(Default)]
pub(crate) struct Prepared {
    /// The decoded body; absent for kinds of blocks that have none.
    pub(crate) body: Option<CheckedBody>,
    /// Cross-linked headers that are known to be final.
    pub(crate) verified_links: BTreeSet<Digest>,
}

/// A block above the root.
pub(crate) struct Entry {
    pub(crate) header: Arc<Header>,
    pub(crate) body: Arc<[u8]>,
    /// When it came.
    pub(crate) received_at: TimeMs,
    /// What the check starts from.
    pub(crate) prepared: Prepared,
    /// What the check made of them.
    pub(crate) work: Option<Arc<Work>>,
    pub(crate) validity: Validity,
    pub(crate) executing: bool,
    pub(crate) executed: Option<Arc<Executed>>,
    pub(crate) is_final: bool,
    /// Whether its bytes are on their way to the disk, or there.
    pub(crate) storing: bool,
    pub(crate) stored: bool,
}

impl Entry {
    /// Whether its check is to begin: it was not looked at, or could not be judged and is final by now.
    pub(crate) fn is_unchecked(&self) -> bool {
        match self.validity {
            Validity::Unknown => true,
            Validity::Forgotten => self.is_final,
            Validity::Checking | Validity::Valid | Validity::Invalid(_) => false,
        }
    }
}

/// The newest final block with a known state.
#[derive(Clone, Debug)]
pub(crate) struct Root {
    /// The block itself.
    pub(crate) block: BlockRef,
    /// Its header; absent at the start of the chain.
    pub(crate) header: Option<Arc<Header>>,
    /// The last working block at or below it, whose state holds.
    pub(crate) executed: Arc<Executed>,
    /// The reveals of the blocks from there on, folded.
    pub(crate) entropy: Digest,
}

/// The tree.
pub(crate) struct BlockTree {
    root: Root,
    entries: BTreeMap<Digest, Entry>,
    /// Bytes of their bodies.
    bytes: usize,
    /// Newest final block, at or above the root.
    final_block: BlockRef,
    final_certificate: Option<Certificate>,
}

impl BlockTree {
    pub(crate) fn new(root: Root, certificate: Option<Certificate>) -> Self {
        let final_block = root.block;
        Self {
            root,
            entries: BTreeMap::new(),
            bytes: 0,
            final_block,
            final_certificate: certificate,
        }
    }

    pub(crate) fn root(&self) -> &Root {
        &self.root
    }

    pub(crate) fn final_block(&self) -> BlockRef {
        self.final_block
    }

    pub(crate) fn final_certificate(&self) -> Option<&Certificate> {
        self.final_certificate.as_ref()
    }

    /// Header of the newest final block.
    pub(crate) fn final_header(&self) -> Option<Arc<Header>> {
        self.header(&self.final_block.digest)
    }

    pub(crate) fn get(&self, digest: &Digest) -> Option<&Entry> {
        self.entries.get(digest)
    }

    pub(crate) fn get_mut(&mut self, digest: &Digest) -> Option<&mut Entry> {
        self.entries.get_mut(digest)
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Bytes of the bodies of all blocks above the root.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    fn remove(&mut self, digest: &Digest) -> Option<Entry> {
        let entry = self.entries.remove(digest)?;
        self.bytes = self.bytes.saturating_sub(entry.body.len());
        Some(entry)
    }

    pub(crate) fn header(&self, digest: &Digest) -> Option<Arc<Header>> {
        if let Some(entry) = self.entries.get(digest) {
            return Some(entry.header.clone());
        }
        (self.root.block.digest == *digest)
            .then(|| self.root.header.clone())
            .flatten()
    }

    /// Adds a block; one that is known, or not above the root, is left alone.
    pub(crate) fn insert(&mut self, digest: Digest, header: Header, body: Arc<[u8]>, now: TimeMs) {
        if header.height <= self.root.block.height {
            return;
        }
        let bytes = &mut self.bytes;
        self.entries.entry(digest).or_insert_with(|| {
            *bytes = bytes.saturating_add(body.len());
            Entry {
                header: Arc::new(header),
                body,
                received_at: now,
                prepared: Prepared::default(),
                work: None,
                validity: Validity::Unknown,
                executing: false,
                executed: None,
                is_final: false,
                storing: false,
                stored: false,
            }
        });
    }

    /// The last working block at or below `digest`; the root's when the way leads there.
    pub(crate) fn last_working(&self, digest: &Digest) -> Option<BlockRef> {
        let mut at = *digest;
        loop {
            if at == self.root.block.digest {
                return Some(self.root.executed.block);
            }
            let entry = self.entries.get(&at)?;
            if entry.header.kind == BlockKind::Working {
                return Some(BlockRef {
                    height: entry.header.height,
                    digest: at,
                });
            }
            at = entry.header.parent;
        }
    }

    /// The result of executing the last working block at or below `digest`, if it is known.
    pub(crate) fn state_at(&self, digest: &Digest) -> Option<Arc<Executed>> {
        let working = self.last_working(digest)?;
        self.executed(&working.digest)
    }

    /// The result of executing a working block.
    pub(crate) fn executed(&self, working: &Digest) -> Option<Arc<Executed>> {
        if self.root.executed.block.digest == *working {
            return Some(self.root.executed.clone());
        }
        self.entries.get(working)?.executed.clone()
    }

    /// The reveals since the last working block below `header`, its own included, folded; zero on
    /// shards, where there are none.
    pub(crate) fn entropy(&self, header: &Header) -> Digest {
        let mut reveals: Vec<Signature> = header.reveal.into_iter().collect();
        let mut at = header.parent;
        let mut entropy = Digest::ZERO;
        loop {
            if at == self.root.block.digest {
                entropy = self.root.entropy;
                break;
            }
            let Some(entry) = self.entries.get(&at) else {
                break;
            };
            if entry.header.kind == BlockKind::Working {
                break;
            }
            reveals.extend(entry.header.reveal);
            at = entry.header.parent;
        }
        let fold = |entropy, reveal: &Signature| fold_reveal(&entropy, reveal);
        reveals.iter().rev().fold(entropy, fold)
    }

    /// Marks a block final. Its ancestors must have been marked before it.
    pub(crate) fn finalize(&mut self, block: BlockRef, certificate: Option<Certificate>) {
        if let Some(entry) = self.entries.get_mut(&block.digest) {
            entry.is_final = true;
        }
        if block.height > self.final_block.height {
            self.final_block = block;
        }
        if certificate.is_some() {
            self.final_certificate = certificate;
        }
    }

    /// The child of the root that is final, when its state is known: the next root.
    pub(crate) fn next_root(&self) -> Option<(Digest, &Entry)> {
        let (digest, entry) = self
            .entries
            .iter()
            .find(|(_, entry)| entry.is_final && entry.header.parent == self.root.block.digest)?;
        let settled = entry.header.kind != BlockKind::Working || entry.executed.is_some();
        settled.then_some((*digest, entry))
    }

    /// Moves the root to its final child, and drops what does not descend from it. Returns the
    /// entry that became the root and the abandoned digests, with their numbers of transactions.
    pub(crate) fn advance(&mut self) -> Option<(Entry, Vec<(Digest, usize)>)> {
        let (digest, _) = self.next_root()?;
        let entry = self.remove(&digest)?;
        let entropy = match entry.header.kind {
            BlockKind::Working => Digest::ZERO,
            BlockKind::Idle | BlockKind::Seal => self.entropy(&entry.header),
        };
        let executed = entry
            .executed
            .clone()
            .unwrap_or_else(|| self.root.executed.clone());
        self.root = Root {
            block: BlockRef {
                height: entry.header.height,
                digest,
            },
            header: Some(entry.header.clone()),
            executed,
            entropy,
        };
        let height = self.root.block.height;
        let abandoned: Vec<Digest> = self
            .entries
            .iter()
            .filter(|(digest, entry)| entry.header.height <= height || !self.descends(digest))
            .map(|(digest, _)| *digest)
            .collect();
        let abandoned = abandoned
            .into_iter()
            .filter_map(|digest| {
                let work = self.remove(&digest)?.work;
                Some((digest, work.map_or(0, |work| work.transactions.len())))
            })
            .collect();
        Some((entry, abandoned))
    }

    /// Whether the known ancestors of `digest` may still lead to the root: false only when a known
    /// ancestor lies at the root's height or below without being the root. What is final above the root
    /// descends from it, and ends the way: there may be many such blocks when a node catches up.
    fn descends(&self, digest: &Digest) -> bool {
        let mut at = *digest;
        while let Some(entry) = self.entries.get(&at) {
            if entry.is_final && entry.header.height > self.root.block.height {
                return true;
            }
            at = entry.header.parent;
            if at == self.root.block.digest {
                return true;
            }
            if entry.header.height <= self.root.block.height.next() {
                return false;
            }
        }
        true
    }

    /// Final blocks above the root, lowest first.
    pub(crate) fn final_entries(&self) -> Vec<Digest> {
        let mut found: Vec<(Height, Digest)> = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.is_final)
            .map(|(digest, entry)| (entry.header.height, *digest))
            .collect();
        found.sort_unstable();
        found.into_iter().map(|(_, digest)| digest).collect()
    }

    /// All blocks above the root, by height.
    pub(crate) fn digests(&self) -> Vec<Digest> {
        let mut all: Vec<(Height, Digest)> = self
            .entries
            .iter()
            .map(|(digest, entry)| (entry.header.height, *digest))
            .collect();
        all.sort_unstable();
        all.into_iter().map(|(_, digest)| digest).collect()
    }
}

#[cfg(test)]
mod tests;
