//! Whether one copy of a chain holds what the chain is: the same blocks and certificates, and with
//! them the results, receipts, indexes, sent batches and state that executing them gives.

use super::layout::DataDir;
use super::{CopyReport, Findings};
use crate::chain::jobs::Executed;
use skerry_execution::views;
use skerry_storage::{ChainStore, Location, RocksBackend, SharedCache, StateTree, StoreError};
use skerry_types::block::ExecutionResult;
use skerry_types::certificate::Certificate;
use skerry_types::codec::encode;
use skerry_types::crypto::hash::plain;
use skerry_types::genesis::Genesis;
use skerry_types::ids::{ChainRef, Digest, Height};
use skerry_types::receipt::{Status, Subject};
use skerry_types::state::{StateKey, StateRead as _};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

/// RAM for all databases together: they are read once, front to back.
const CACHE_BYTES: usize = 64 * 1024 * 1024;
/// Differing keys of one state that are named.
const KEYS_NAMED: usize = 5;

/// One copy of a chain, opened for reading.
pub(super) struct ChainCopy {
    /// The chain.
    pub(super) chain: ChainRef,
    /// Its data directory.
    pub(super) dir: String,
    /// Its store.
    pub(super) store: Arc<ChainStore>,
    /// The block at which it was joined by snapshot; zero where it begins with the genesis.
    pub(super) base: Height,
}

impl fmt::Display for ChainCopy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} in {}", self.chain, self.dir)
    }
}

/// Opens all databases; what cannot be opened is a violation, or a note where nothing was stored.
pub(super) fn open_all(
    dirs: &[DataDir],
    genesis: &Genesis,
    found: &mut Findings,
) -> Vec<ChainCopy> {
    let cache = SharedCache::new(CACHE_BYTES);
    let mut copies = Vec::new();
    for dir in dirs {
        for path in &dir.chains {
            match open(path, &cache) {
                Ok(store) => copies.extend(accept(dir, path, store, genesis, found)),
                Err(StoreError::NoGenesis) => {
                    found.note(format!(
                        "{} is empty: it stopped before its start",
                        path.display()
                    ));
                }
                Err(error) => {
                    found.read::<(), _>(path.display(), Err(error));
                }
            }
        }
    }
    copies
}

fn open(path: &Path, cache: &SharedCache) -> Result<ChainStore, StoreError> {
    ChainStore::open_read_only(Arc::new(RocksBackend::open_read_only(path, cache)?))
}

fn accept(
    dir: &DataDir,
    path: &Path,
    store: ChainStore,
    genesis: &Genesis,
    found: &mut Findings,
) -> Option<ChainCopy> {
    let identity = store.identity();
    let (expected, chain) = (genesis.chain_id(), identity.chain);
    if identity.chain_id != expected {
        let actual = identity.chain_id;
        let detail = format!("belongs to network {actual}, the genesis is {expected}");
        found.violation("network", path.display(), detail);
        return None;
    }
    if path.file_name().and_then(|name| name.to_str()) != Some(&chain.folder()) {
        found.violation("folder", path.display(), format!("holds {chain}"));
    }
    let dir = dir.path.display().to_string();
    let base = found.read(path.display(), store.base())?;
    Some(ChainCopy {
        chain,
        dir,
        store: Arc::new(store),
        base: base.map_or(Height::ZERO, |base| base.block.height),
    })
}

impl ChainCopy {
    /// Height of its newest final block.
    pub(super) fn height(&self) -> Height {
        self.store
            .finalized()
            .map_or(Height::ZERO, |block| block.height)
    }

    /// Whether it must hold the final block at a height.
    pub(super) fn holds(&self, height: Height) -> bool {
        self.base <= height && height <= self.height()
    }

    /// Whether it must hold that block with its body, and what executing it gave.
    pub(super) fn holds_body(&self, height: Height) -> bool {
        self.holds(height) && (self.base < height || self.base == Height::ZERO)
    }

    /// Reads the state back, where nothing can be replayed to compare it with.
    pub(super) fn check_alone(&self, found: &mut Findings) {
        let _ = found.read(self, self.store.load());
    }

    /// Height of the block whose state it stores.
    pub(super) fn state_height(&self) -> Height {
        self.store
            .state_at()
            .map_or(Height::ZERO, |(block, _)| block.height)
    }

    pub(super) fn report(&self) -> CopyReport {
        CopyReport {
            dir: self.dir.clone(),
            finalized: self.height(),
            state_at: self.state_height(),
        }
    }

    /// Its digest of a final block; a missing one is a violation.
    pub(super) fn digest_at(&self, height: Height, found: &mut Findings) -> Option<Digest> {
        let digest = found.read(self, self.store.digest_at(height))?;
        if digest.is_none() {
            let detail = format!("final block {height} is missing below {}", self.height());
            found.violation("no gap", self, detail);
        }
        digest
    }

    /// Its own finalization of a block. The newest final block must have one.
    pub(super) fn certificate_at(
        &self,
        height: Height,
        found: &mut Findings,
    ) -> Option<Certificate> {
        let certificate = found.read(self, self.store.certificate_at(height))?;
        if certificate.is_none() && height == self.height() {
            let detail = format!("the newest final block {height} has no finalization");
            found.violation("finality", self, detail);
        }
        certificate
    }

    /// The genesis, and the state where no block's has been committed.
    pub(super) fn check_genesis(
        &self,
        result: &ExecutionResult,
        state: &StateTree,
        found: &mut Findings,
    ) {
        match found.read(self, self.store.genesis_result()) {
            Some(Some(stored)) if stored != *result => {
                let detail = format!("stores {stored:?}, the genesis gives {result:?}");
                found.violation("genesis", self, detail);
            }
            Some(None) => found.note(format!("{self} stopped before its genesis was written")),
            _ => {}
        }
        if self
            .store
            .state_at()
            .is_some_and(|(block, _)| block.height == Height::ZERO)
        {
            self.check_state(state, found);
        }
    }

    /// Everything that is committed with the state of one block.
    pub(super) fn check_executed(&self, executed: &Executed, found: &mut Findings) {
        let height = executed.block.height;
        if height > self.state_height() || !self.holds(height) {
            return;
        }
        let result = found.read(self, self.store.result(&executed.block.digest));
        if let Some(stored) = result
            && stored != Some(executed.result)
        {
            let detail = format!(
                "block {height}: {stored:?}, executing gives {:?}",
                executed.result
            );
            found.violation("result", self, detail);
        }
        if self.holds_body(height) {
            self.check_receipts(executed, found);
            self.check_index(executed, found);
            self.check_sent(executed, found);
        }
        if height == self.state_height() {
            if let Some((block, result)) = self.store.state_at()
                && (block != executed.block || result != executed.result)
            {
                let detail = format!("marked as of {block:?} with {result:?}");
                found.violation("state", self, detail);
            }
            self.check_state(&executed.state, found);
            self.check_outbox(&executed.state, found);
        }
    }

    fn check_receipts(&self, executed: &Executed, found: &mut Findings) {
        let height = executed.block.height;
        if let Some(stored) = found.read(self, self.store.receipts(height))
            && stored != *executed.receipts
        {
            let (actual, expected) = (stored.len(), executed.receipts.len());
            let detail = format!("block {height}: {actual} receipts differ from {expected}");
            found.violation("receipts", self, detail);
        }
    }

    /// Transactions and messages are found again by their ids.
    fn check_index(&self, executed: &Executed, found: &mut Findings) {
        let height = executed.block.height;
        for (position, receipt) in (0_u32..).zip(executed.receipts.iter()) {
            let located = match receipt.subject {
                // A void copy points to where the transaction ran, if it did.
                Subject::Transaction(_) if matches!(receipt.status, Status::Void(_)) => continue,
                Subject::Transaction(id) => self.store.transaction_location(&id),
                Subject::Message { id, .. } => self.store.message_location(&id),
            };
            let expected = Location { height, position };
            if let Some(actual) = found.read(self, located)
                && actual != Some(expected)
            {
                let subject = receipt.subject;
                let detail = format!("{subject:?} is at {expected:?}, indexed at {actual:?}");
                found.violation("index", self, detail);
            }
        }
    }

    /// Stored batches are those that were sent; deleted ones are judged by [`Self::check_outbox`].
    fn check_sent(&self, executed: &Executed, found: &mut Findings) {
        for batch in &executed.outgoing {
            let stored = found.read(self, self.store.outgoing(batch.destination, batch.first));
            if stored.flatten().is_some_and(|stored| stored != *batch) {
                let detail = format!("batch {} to {} differs", batch.first, batch.destination);
                found.violation("outbox", self, detail);
            }
        }
    }

    /// Every batch that its destination may still need is there.
    fn check_outbox(&self, state: &StateTree, found: &mut Findings) {
        let identity = self.store.identity();
        for destination in destinations(state, identity.chain) {
            for (first, _) in views::unacknowledged(state, identity.chain, destination, usize::MAX)
            {
                let stored = found.read(self, self.store.outgoing(destination, first));
                if stored == Some(None) {
                    let detail =
                        format!("unacknowledged batch {first} to {destination} is missing");
                    found.violation("outbox", self, detail);
                }
            }
        }
    }

    /// The stored state, key by key.
    fn check_state(&self, expected: &StateTree, found: &mut Findings) {
        let height = self.state_height();
        let mut rows = 0_usize;
        let mut wrong: Vec<String> = Vec::new();
        let mut seen = BTreeSet::new();
        let visited = self.store.visit_state(&mut |key, value| {
            rows = rows.saturating_add(1);
            let path = place(&key);
            if expected.get(&key).as_deref() != Some(value) {
                wrong.push(name(&key));
            }
            seen.insert(path);
            ControlFlow::Continue(())
        });
        if found.read(self, visited).is_none() {
            return;
        }
        let missing = expected
            .iter()
            .filter(|(key, _)| !seen.contains(&place(key)));
        wrong.extend(missing.map(|(key, _)| format!("{} (missing)", name(&key))));
        if !wrong.is_empty() {
            let count = wrong.len();
            wrong.truncate(KEYS_NAMED);
            let detail = format!(
                "state at {height}: {count} of {rows} keys differ from the replay: {}",
                wrong.join(", ")
            );
            found.violation("state", self, detail);
        }
    }
}

/// Chains to which `chain` has sent anything, from the raw keys of its state.
fn destinations(state: &StateTree, chain: ChainRef) -> BTreeSet<ChainRef> {
    let owner = views::outbound_key(chain, ChainRef::Beacon).owner;
    let records = state.owner_entries(&owner);
    let peers = records
        .iter()
        .filter_map(|record| match *record.local.as_slice() {
            [b'o', depth, low, high] => ChainRef::from_bytes([depth, low, high]),
            _ => None,
        });
    peers.collect()
}

/// A short name of a key, for the set of those seen.
fn place(key: &StateKey) -> Digest {
    plain(&key.to_bytes())
}

fn name(key: &StateKey) -> String {
    format!(
        "{} {:?} 0x{}",
        key.owner,
        key.module,
        hex::encode(&key.local)
    )
}

/// The certificates that were found good, so that equal ones are verified once.
#[derive(Default)]
pub(super) struct KnownCertificates {
    good: BTreeMap<Digest, bool>,
}

impl KnownCertificates {
    /// Whether a certificate is good, by `verify` when it is new.
    pub(super) fn check(
        &mut self,
        certificate: &Certificate,
        verify: impl FnOnce() -> bool,
    ) -> bool {
        *self
            .good
            .entry(plain(&encode(certificate)))
            .or_insert_with(verify)
    }

    /// How many distinct ones there were.
    pub(super) fn len(&self) -> usize {
        self.good.len()
    }
}
