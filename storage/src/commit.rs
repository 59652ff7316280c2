//! What durable means. The lines of [`ChainStore::put_blocks`] and [`ChainStore::commit`] stand in
//! the order of durability: block bytes ≥ finalization ≥ state (and before them all, in its own
//! file, the vote log).
//!
//! A block's bytes are written when it is to be certified. It becomes final with a certificate of
//! its own or of a descendant. Its state follows when the header that reports its result is final.
//! A commit is one synced batch, so a power cut leaves it done or not done; the named crash points
//! let tests and the simulator stop the process before, between and after its parts.

use crate::backend::{Batch as WriteBatch, Durability};
use crate::columns::{
    Column, PendingKind, RECEIPTS_PER_ROW, height_key, message_key, meta, outgoing_key,
    pending_key, receipts_key,
};
use crate::error::StoreError;
use crate::store::{ChainStore, EpochRow, FinalizedRow, Heads, Location};
use crate::tree::StateTree;
use skerry_types::beacon::CrossLink;
use skerry_types::block::{BlockKind, BlockRef, ExecutionResult, Header};
use skerry_types::certificate::Certificate;
use skerry_types::codec::{encode, encode_sized};
use skerry_types::committee::genesis_digest;
use skerry_types::ids::{Digest, Height};
use skerry_types::message::Batch;
use skerry_types::receipt::{Receipt, Status, Subject};
use skerry_types::state::ChangeSet;
use skerry_types::vote::Statement;
use std::collections::BTreeSet;

/// Bytes of the receipt of a transfer and a little more: receipts make up a third of what is written.
const RECEIPT_BYTES: usize = 384;
/// Bytes of a [`Location`].
const LOCATION_BYTES: usize = 12;

/// A block that has become final.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FinalizedEntry {
    /// Its digest.
    pub digest: Digest,
    /// Its height.
    pub height: Height,
    /// Its own finalization; without one, that of a descendant serves. The newest block of a commit
    /// must have one.
    pub certificate: Option<Certificate>,
}

/// A working block whose result has become final: a final header reports it.
#[derive(Clone, Copy, Debug)]
pub struct StateEntry<'a> {
    /// The block.
    pub block: BlockRef,
    /// Its result.
    pub result: ExecutionResult,
    /// What it changed.
    pub changes: &'a ChangeSet,
    /// What happened to its transactions and messages, in order.
    pub receipts: &'a [Receipt],
    /// What it sent.
    pub outgoing: &'a [Batch],
}

/// What one call of [`ChainStore::commit`] makes durable.
#[derive(Clone, Debug, Default)]
pub struct Commit<'a> {
    /// Newly final blocks, in order of height, without gap.
    pub finalized: Vec<FinalizedEntry>,
    /// Newly final states, in order of height, no final working block left out. They may belong to
    /// blocks that this very commit makes final.
    pub states: Vec<StateEntry<'a>>,
    /// The epoch that begins after the newest final block, a seal.
    pub epoch: Option<EpochRow>,
    /// The link of a final seal, to be offered to the beacon until that has it.
    pub seal: Option<CrossLink>,
}

/// A place in the code where a crash would matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CrashPoint {
    /// Before a genesis state is written.
    GenesisStaged,
    /// After it.
    GenesisWritten,
    /// Before blocks are written.
    BlocksStaged,
    /// After them.
    BlocksWritten,
    /// A commit's blocks were checked to be stored; nothing is staged.
    CommitChecked,
    /// Its finalizations are staged.
    FinalizationStaged,
    /// Its states are staged; nothing is written.
    StatesStaged,
    /// It is written and synced; nobody knows yet.
    CommitWritten,
    /// Before old rows are deleted.
    PruneStaged,
    /// After it.
    PruneWritten,
    /// An import is recorded; it has no records yet.
    ImportBegun,
    /// Before the records of a chunk are written.
    ImportStaged,
    /// After it; they may not be synced.
    ImportWritten,
    /// An imported state was read back and has its root; nothing is written.
    ImportChecked,
    /// It is in the place of the old one, synced; nobody knows yet.
    ImportFinished,
}

impl CrashPoint {
    /// All points.
    pub const ALL: [Self; 15] = [
        Self::GenesisStaged,
        Self::GenesisWritten,
        Self::BlocksStaged,
        Self::BlocksWritten,
        Self::CommitChecked,
        Self::FinalizationStaged,
        Self::StatesStaged,
        Self::CommitWritten,
        Self::PruneStaged,
        Self::PruneWritten,
        Self::ImportBegun,
        Self::ImportStaged,
        Self::ImportWritten,
        Self::ImportChecked,
        Self::ImportFinished,
    ];
}

/// Decides whether the process stops at a crash point.
pub trait CrashPoints: Send + Sync {
    /// Whether to stop here. The store then refuses everything with
    /// [`StoreError::Crashed`] first, [`StoreError::Poisoned`] later.
    fn stops_at(&self, point: CrashPoint) -> bool;
}

/// Production: never stops.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoCrashes;

impl CrashPoints for NoCrashes {
    fn stops_at(&self, _point: CrashPoint) -> bool {
        false
    }
}

impl ChainStore {
    /// Writes the genesis state of an empty store, synced, and gives its tree. Where the same genesis
    /// is already written, nothing changes, and the tree is built from `changes`.
    ///
    /// # Errors
    /// When `changes` do not give `result.state_root`, when another genesis is written already, or
    /// when the write fails.
    pub fn init_genesis(
        &self,
        changes: &ChangeSet,
        result: &ExecutionResult,
    ) -> Result<StateTree, StoreError> {
        self.poison().check()?;
        let _writer = self.writer().lock();
        let tree = StateTree::empty().apply(changes);
        if tree.root() != result.state_root {
            return Err(StoreError::Genesis {
                expected: result.state_root,
                actual: tree.root(),
            });
        }
        if let Some(written) = self.genesis_result()? {
            return if written == *result {
                Ok(tree)
            } else {
                let expected = result.state_root;
                Err(StoreError::Genesis {
                    expected,
                    actual: written.state_root,
                })
            };
        }
        let identity = self.identity();
        let digest = genesis_digest(&identity.chain_id, identity.chain);
        let state_at = (
            BlockRef {
                height: Height::ZERO,
                digest,
            },
            *result,
        );
        let mut batch = WriteBatch::new();
        let column = self.heads().lock().state_in.column();
        stage_changes(&mut batch, column, changes);
        batch.put(Column::Meta, meta::GENESIS, encode(result));
        batch.put(Column::Meta, meta::STATE_AT, encode(&state_at));
        self.pass(CrashPoint::GenesisStaged)?;
        self.write(batch, Durability::Synced)?;
        self.heads().lock().state_at = Some(state_at);
        self.pass(CrashPoint::GenesisWritten)?;
        Ok(tree)
    }

    /// Stores a block that may become final. Storing it again is cheap, and makes it durable when
    /// it is not yet and `durability` asks for it. A block that is final already is left alone.
    ///
    /// # Errors
    /// When `digest` is not the header's, or the write fails.
    pub fn put_block(
        &self,
        digest: &Digest,
        header: &Header,
        body: &[u8],
        durability: Durability,
    ) -> Result<(), StoreError> {
        self.put_blocks(&[(*digest, header, body)], durability)
    }

    /// [`Self::put_block`] of several blocks in one batch.
    ///
    /// # Errors
    /// As for one block; then none is stored.
    pub fn put_blocks(
        &self,
        blocks: &[(Digest, &Header, &[u8])],
        durability: Durability,
    ) -> Result<(), StoreError> {
        self.poison().check()?;
        let _writer = self.writer().lock();
        let mut batch = WriteBatch::new();
        let mut added = Vec::new();
        for (digest, header, body) in blocks {
            let actual = header.digest();
            if actual != *digest {
                return Err(StoreError::HeaderDigest {
                    expected: *digest,
                    actual,
                });
            }
            if self.digest_at(header.height)? == Some(*digest) {
                continue;
            }
            let known = self
                .heads()
                .lock()
                .unfinalized
                .contains(&(header.height, *digest));
            // 1. The bytes, which every later promise about the block rests on.
            if !known {
                batch.put(Column::Headers, *digest.as_bytes(), encode(*header));
                if !body.is_empty() {
                    batch.put(Column::Bodies, *digest.as_bytes(), body.to_vec());
                }
            }
            // 2. That they are there; written again, it carries the sync of a buffered write.
            let key = pending_key(PendingKind::Finalization, header.height, digest);
            batch.put(Column::Pending, key, Vec::new());
            added.push((header.height, *digest));
        }
        if batch.is_empty() {
            return Ok(());
        }
        self.pass(CrashPoint::BlocksStaged)?;
        self.write(batch, durability)?;
        self.heads().lock().unfinalized.extend(added);
        self.pass(CrashPoint::BlocksWritten)
    }

    /// Makes blocks final and states permanent, in one synced batch: all of it or, after a crash,
    /// nothing.
    ///
    /// For each final block: its height, its certificate, and the end of all stored blocks at its
    /// height that were not chosen. For each state: the changes, the result, the receipts with the
    /// index of transactions and messages, the batches sent.
    ///
    /// # Errors
    /// When a block is not stored, blocks or states do not follow what is committed, or a
    /// certificate is missing or speaks of something else: then nothing changes. When the write
    /// fails the store is closed.
    pub fn commit(&self, commit: &Commit<'_>) -> Result<(), StoreError> {
        self.poison().check()?;
        let _writer = self.writer().lock();
        let mut heads = self.heads().lock().clone();
        let mut batch = WriteBatch::new();

        // 1. Block bytes: written before, in order; what is missing cannot become final.
        let headers = self.check_finalized(&heads, &commit.finalized)?;
        self.pass(CrashPoint::CommitChecked)?;

        // 2. Finalization.
        for (entry, header) in commit.finalized.iter().zip(&headers) {
            stage_finalized(&mut batch, &mut heads, entry, header);
        }
        stage_abandoned(&mut batch, &mut heads);
        self.pass(CrashPoint::FinalizationStaged)?;

        // 3. State.
        let mut indexed = BTreeSet::new();
        for entry in &commit.states {
            check_state(&heads, entry)?;
            self.stage_state(&mut batch, &mut heads, entry, &mut indexed)?;
        }
        if let Some(row) = &commit.epoch {
            let key = meta::epoch(row.committee.epoch);
            batch.put(Column::Meta, key, encode(row));
        }
        if let Some(link) = &commit.seal {
            let key = meta::seal(link.header.epoch);
            batch.put(Column::Meta, key, encode(link));
        }
        self.pass(CrashPoint::StatesStaged)?;

        // 4. One atomic write that survives a power cut when it returns.
        if batch.is_empty() {
            return Ok(());
        }
        self.write(batch, Durability::Synced)?;

        // 5. Only now does the process believe it.
        *self.heads().lock() = heads;
        self.pass(CrashPoint::CommitWritten)
    }

    /// The headers of the blocks to be made final, checked to continue the chain.
    fn check_finalized(
        &self,
        heads: &Heads,
        entries: &[FinalizedEntry],
    ) -> Result<Vec<Header>, StoreError> {
        let identity = self.identity();
        let mut newest = heads.finalized.unwrap_or_else(|| BlockRef {
            height: Height::ZERO,
            digest: genesis_digest(&identity.chain_id, identity.chain),
        });
        let mut headers = Vec::with_capacity(entries.len());
        for entry in entries {
            let FinalizedEntry {
                digest,
                height,
                certificate,
            } = entry;
            let expected = newest.height.next();
            if *height != expected {
                return Err(StoreError::FinalHeight {
                    expected,
                    actual: *height,
                });
            }
            let header = self
                .header(digest)?
                .filter(|header| header.height == *height)
                .ok_or(StoreError::UnknownBlock {
                    height: *height,
                    digest: *digest,
                })?;
            if header.parent != newest.digest {
                let (expected, actual) = (newest.digest, header.parent);
                return Err(StoreError::FinalParent {
                    height: *height,
                    expected,
                    actual,
                });
            }
            let states = |certificate: &Certificate| matches!(&certificate.statement, Statement::Finalize { digest: of, .. } if of == digest);
            if !certificate.as_ref().is_none_or(states) {
                return Err(StoreError::CertificateStatement {
                    height: *height,
                    digest: *digest,
                });
            }
            newest = BlockRef {
                height: *height,
                digest: *digest,
            };
            headers.push(header);
        }
        match entries.last() {
            Some(FinalizedEntry {
                certificate: None,
                height,
                ..
            }) => Err(StoreError::NoCertificate { height: *height }),
            _ => Ok(headers),
        }
    }

    /// Stages all that becomes permanent with a state.
    fn stage_state(
        &self,
        batch: &mut WriteBatch,
        heads: &mut Heads,
        entry: &StateEntry<'_>,
        indexed: &mut BTreeSet<Digest>,
    ) -> Result<(), StoreError> {
        let BlockRef { height, digest } = entry.block;
        stage_changes(batch, heads.state_in.column(), entry.changes);
        batch.put(Column::Results, *digest.as_bytes(), encode(&entry.result));
        for (chunk, receipts) in (0_u32..).zip(entry.receipts.chunks(RECEIPTS_PER_ROW)) {
            batch.put(
                Column::Receipts,
                receipts_key(height, chunk),
                encode_sized(receipts, receipts.len().saturating_mul(RECEIPT_BYTES)),
            );
        }
        for (position, receipt) in (0_u32..).zip(entry.receipts) {
            let location = encode_sized(&Location { height, position }, LOCATION_BYTES);
            match receipt.subject {
                Subject::Transaction(id) => {
                    // A copy of a transaction that already ran is void and must not hide it.
                    let hides = matches!(receipt.status, Status::Void(_))
                        && (indexed.contains(&id) || self.transaction_location(&id)?.is_some());
                    if !hides {
                        batch.put(Column::Transactions, *id.as_bytes(), location);
                        indexed.insert(id);
                    }
                }
                Subject::Message { id, .. } => {
                    batch.put(Column::Messages, message_key(&id), location);
                }
            }
        }
        for sent in entry.outgoing {
            let key = outgoing_key(sent.destination, sent.first);
            batch.put(Column::Outgoing, key, encode(sent));
        }
        batch.delete(
            Column::Pending,
            pending_key(PendingKind::State, height, &digest),
        );
        batch.put(
            Column::Meta,
            meta::STATE_AT,
            encode(&(entry.block, entry.result)),
        );
        heads.unreported.remove(&height);
        heads.state_at = Some((entry.block, entry.result));
        Ok(())
    }

    /// Stops where a test or the simulator says so.
    pub(crate) fn pass(&self, point: CrashPoint) -> Result<(), StoreError> {
        if self.crash_points().stops_at(point) {
            self.poison().watch(Err(StoreError::Crashed(point)))
        } else {
            Ok(())
        }
    }
}

/// Stages a block's finality, and the wait for its state if it has one.
fn stage_finalized(
    batch: &mut WriteBatch,
    heads: &mut Heads,
    entry: &FinalizedEntry,
    header: &Header,
) {
    let FinalizedEntry {
        digest,
        height,
        certificate,
    } = entry;
    let row = FinalizedRow {
        digest: *digest,
        certificate: certificate.clone(),
    };
    batch.put(Column::Finalized, height_key(*height), encode(&row));
    if heads.unfinalized.remove(&(*height, *digest)) {
        let key = pending_key(PendingKind::Finalization, *height, digest);
        batch.delete(Column::Pending, key);
    }
    if header.kind == BlockKind::Working {
        batch.put(
            Column::Pending,
            pending_key(PendingKind::State, *height, digest),
            Vec::new(),
        );
        heads.unreported.insert(*height, *digest);
    }
    let newest = BlockRef {
        height: *height,
        digest: *digest,
    };
    batch.put(Column::Meta, meta::FINALIZED, encode(&newest));
    heads.finalized = Some(newest);
}

/// Stages the end of stored blocks that were not chosen: all that wait at final heights.
fn stage_abandoned(batch: &mut WriteBatch, heads: &mut Heads) {
    let Some(newest) = heads.finalized else {
        return;
    };
    while let Some((height, digest)) = heads.unfinalized.first().copied() {
        if height > newest.height {
            break;
        }
        heads.unfinalized.remove(&(height, digest));
        batch.delete(Column::Headers, *digest.as_bytes());
        batch.delete(Column::Bodies, *digest.as_bytes());
        batch.delete(
            Column::Pending,
            pending_key(PendingKind::Finalization, height, &digest),
        );
    }
}

/// Whether a state is that of the lowest final working block without one.
fn check_state(heads: &Heads, entry: &StateEntry<'_>) -> Result<(), StoreError> {
    let BlockRef { height, digest } = entry.block;
    match heads.unreported.first_key_value() {
        Some((expected, _)) if *expected != height => Err(StoreError::StateHeight {
            expected: Some(*expected),
            actual: height,
        }),
        None => Err(StoreError::StateHeight {
            expected: None,
            actual: height,
        }),
        Some((_, expected)) if *expected != digest => Err(StoreError::StateBlock {
            height,
            expected: *expected,
            actual: digest,
        }),
        Some(_) => Ok(()),
    }
}

fn stage_changes(batch: &mut WriteBatch, column: Column, changes: &ChangeSet) {
    for (key, value) in changes {
        match value {
            Some(value) => batch.put_shared(column, key.to_bytes(), value.clone()),
            None => batch.delete(column, key.to_bytes()),
        }
    }
}
