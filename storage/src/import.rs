//! Taking over a state from peers: beside what the store holds, and in its place once it is whole.
//!
//! A store has two columns for a state; one is in use. An [`Import`] fills the other, chunk after
//! chunk, each with the cursor behind it in one batch, while the store stays what it was: it can be
//! loaded and read, and a crash costs at most the last few chunks. When all records are there they
//! are read back and hashed. Then one synced batch puts the new state into use together with the
//! blocks around its base, and clears all that belonged to the old one. So at every moment there is
//! either the old store, with or without an unfinished import, or the new one.
//!
//! The caller has verified the chunks ([`skerry_types::snapshot::Chunk::verify`]), the base and what
//! comes with it; what is checked here is what a mistake or a broken disk could spoil: the order of
//! chunks, the root of what was stored, the links of the blocks. While an import finishes, nothing
//! else may write to the store.

use crate::backend::{Batch as WriteBatch, Durability};
use crate::columns::{Column, PendingKind, height_key, meta, outgoing_key, pending_key};
use crate::commit::CrashPoint;
use crate::error::StoreError;
use crate::store::{ChainStore, EpochRow, FinalizedRow, Heads};
use crate::tree::StateTree;
use borsh::{BorshDeserialize, BorshSerialize};
use parking_lot::Mutex;
use skerry_types::beacon::CrossLink;
use skerry_types::block::{BlockKind, BlockRef, ExecutionResult, Header};
use skerry_types::certificate::Certificate;
use skerry_types::codec::encode;
use skerry_types::ids::Height;
use skerry_types::message::Batch;
use skerry_types::snapshot::{Chunk, Cursor};
use skerry_types::state::{StateKey, Value};
use skerry_types::vote::Statement;
use std::sync::Arc;

/// Chunks after which what was written is synced: what a power cut costs at most.
const CHUNKS_PER_SYNC: u32 = 16;

/// What a state was taken over at: the block after which it is the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct BaseRow {
    /// The block, a working one.
    pub block: BlockRef,
    /// Its result, as a final header reports it.
    pub result: ExecutionResult,
}

/// How far an import has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ImportProgress {
    /// What is being taken over.
    pub base: BaseRow,
    /// Where the next chunk begins; `None` before the first one, and after the last.
    pub cursor: Option<Cursor>,
    /// Whether the last chunk is there.
    pub is_complete: bool,
    /// Chunks so far.
    pub chunks: u64,
    /// Records so far.
    pub rows: u64,
    /// Bytes of keys and values so far.
    pub bytes: u64,
}

/// A final block that comes with a base.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseBlock {
    /// Its header.
    pub header: Header,
    /// Its body; needed of working blocks above the base only, since those are executed.
    pub body: Vec<u8>,
    /// Its own finalization, if there is one.
    pub certificate: Option<Certificate>,
}

/// What comes with a state. The caller has verified it.
#[derive(Clone, Debug, Default)]
pub struct BaseContext {
    /// The result of the genesis, which every store knows.
    pub genesis: ExecutionResult,
    /// Final blocks without gap, in order of height: the base is one of them, and the last one has
    /// its own finalization. Those below the base serve as history only: on the beacon, the headers
    /// that shards may refer to.
    pub blocks: Vec<BaseBlock>,
    /// How the epochs began that the blocks belong to, all but the first.
    pub epochs: Vec<EpochRow>,
    /// Links of seals that the beacon may not have.
    pub seals: Vec<CrossLink>,
    /// Batches sent and not acknowledged, in any order.
    pub outgoing: Vec<Batch>,
    /// Seals of any heights below the base, with their own finalizations: on the beacon, what leads
    /// from the genesis to the base, to be proven to others.
    pub ends: Vec<BaseBlock>,
}

/// An import that goes on. Shared by reference: all calls take `&self` and block; one at a time
/// works.
pub struct Import {
    store: Arc<ChainStore>,
    state: Mutex<State>,
}

#[derive(Clone, Copy, Debug)]
struct State {
    progress: ImportProgress,
    unsynced: u32,
}

impl std::fmt::Debug for Import {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = *self.state.lock();
        formatter
            .debug_struct("Import")
            .field("state", &state)
            .finish_non_exhaustive()
    }
}

impl ChainStore {
    /// The base that the store's history begins with; `None` where it begins with the genesis.
    ///
    /// # Errors
    /// When the row is damaged or the database fails.
    pub fn base(&self) -> Result<Option<BaseRow>, StoreError> {
        self.read(Column::Meta, meta::BASE)
    }

    /// How far an unfinished import has come; `None` when there is none. Going on with it is
    /// [`Import::begin`] with its base.
    ///
    /// # Errors
    /// When the row is damaged or the database fails.
    pub fn import_progress(&self) -> Result<Option<ImportProgress>, StoreError> {
        self.read(Column::Meta, meta::IMPORT)
    }

    /// Gives up an unfinished import, if there is one; the store is what it was before it.
    ///
    /// # Errors
    /// When the write fails.
    pub fn abandon_import(&self) -> Result<(), StoreError> {
        self.poison().check()?;
        let _writer = self.writer().lock();
        if self.import_progress()?.is_none() {
            return Ok(());
        }
        let mut batch = WriteBatch::new();
        batch.clear(self.heads().lock().state_in.other());
        batch.delete(Column::Meta, meta::IMPORT);
        self.write(batch, Durability::Synced)
    }
}

impl Import {
    /// Begins to take over the state at a base, or goes on with an unfinished import of the same
    /// base. One of another base is given up.
    ///
    /// # Errors
    /// [`StoreError::ImportBelow`] when the store's state is as new as the base; when the write
    /// fails.
    pub fn begin(store: Arc<ChainStore>, base: &BaseRow) -> Result<Self, StoreError> {
        store.poison().check()?;
        let guard = Arc::clone(&store);
        let _writer = guard.writer().lock();
        let held = store
            .state_at()
            .map_or(Height::ZERO, |(block, _)| block.height);
        if base.block.height <= held {
            return Err(StoreError::ImportBelow {
                held,
                base: base.block.height,
            });
        }
        let found = store.import_progress()?;
        let progress = match found.filter(|found| found.base == *base) {
            Some(progress) => progress,
            None => {
                let progress = ImportProgress {
                    base: *base,
                    cursor: None,
                    is_complete: false,
                    chunks: 0,
                    rows: 0,
                    bytes: 0,
                };
                let mut batch = WriteBatch::new();
                batch.clear(store.heads().lock().state_in.other());
                batch.put(Column::Meta, meta::IMPORT, encode(&progress));
                store.write(batch, Durability::Synced)?;
                store.pass(CrashPoint::ImportBegun)?;
                progress
            }
        };
        let state = Mutex::new(State {
            progress,
            unsynced: 0,
        });
        Ok(Self { store, state })
    }

    /// How far it has come.
    pub fn progress(&self) -> ImportProgress {
        self.state.lock().progress
    }

    /// A record that was written; `None` where there is none so far.
    ///
    /// # Errors
    /// When the database fails.
    pub fn get(&self, key: &StateKey) -> Result<Option<Value>, StoreError> {
        self.store.poison().check()?;
        let column = self.store.heads().lock().state_in.other();
        let value = self.store.backend().get(column, &key.to_bytes())?;
        Ok(value.map(Value::from))
    }

    /// Writes the records of a verified chunk; `next` is what its verification gave. Buffered, and
    /// synced after some chunks: after a power cut, [`ChainStore::import_progress`] says where to go
    /// on.
    ///
    /// # Errors
    /// [`StoreError::ImportOrder`] when the chunk does not begin at `progress().cursor`, or the last
    /// one is there already: then nothing changes. When the write fails.
    pub fn chunk(
        &self,
        after: Option<&Cursor>,
        chunk: &Chunk,
        next: Option<Cursor>,
    ) -> Result<ImportProgress, StoreError> {
        self.store.poison().check()?;
        let _writer = self.store.writer().lock();
        let mut state = self.state.lock();
        let mut progress = state.progress;
        if progress.is_complete || progress.cursor.as_ref() != after {
            return Err(StoreError::ImportOrder {
                expected: progress.cursor,
                actual: after.copied(),
            });
        }
        let column = self.store.heads().lock().state_in.other();
        let mut batch = WriteBatch::new();
        for (key, value) in chunk.rows() {
            let key = key.to_bytes();
            let size = key.len().saturating_add(value.len());
            let size = u64::try_from(size).unwrap_or(u64::MAX);
            progress.rows = progress.rows.saturating_add(1);
            progress.bytes = progress.bytes.saturating_add(size);
            batch.put(column, key, value.to_vec());
        }
        progress.cursor = next;
        progress.is_complete = next.is_none();
        progress.chunks = progress.chunks.saturating_add(1);
        batch.put(Column::Meta, meta::IMPORT, encode(&progress));
        let unsynced = state.unsynced.saturating_add(1);
        let is_synced = unsynced >= CHUNKS_PER_SYNC || progress.is_complete;
        let durability = if is_synced {
            Durability::Synced
        } else {
            Durability::Buffered
        };
        self.store.pass(CrashPoint::ImportStaged)?;
        self.store.write(batch, durability)?;
        *state = State {
            progress,
            unsynced: if is_synced { 0 } else { unsynced },
        };
        self.store.pass(CrashPoint::ImportWritten)?;
        Ok(progress)
    }

    /// Reads the whole state back, checks its root, and puts it into the place of what the store
    /// held: afterwards the store is one that had executed everything up to the base, but without
    /// older blocks, receipts and indexes. Gives the state; the next [`ChainStore::load`] has it,
    /// too, without reading it again.
    ///
    /// # Errors
    /// [`StoreError::ImportIncomplete`] before the last chunk; [`StoreError::StateRoot`] when the
    /// state is not that of the base; [`StoreError::ImportBlocks`] when the blocks do not fit;
    /// [`StoreError::Genesis`] when the store knows another genesis: then nothing changes. When the
    /// write fails.
    pub fn finish(&self, context: &BaseContext) -> Result<StateTree, StoreError> {
        self.store.poison().check()?;
        let _writer = self.store.writer().lock();
        let ImportProgress {
            base,
            is_complete,
            rows,
            ..
        } = self.state.lock().progress;
        if !is_complete {
            return Err(StoreError::ImportIncomplete { rows });
        }
        check_blocks(&base, &context.blocks)?;
        if let Some(written) = self.store.genesis_result()?
            && written != context.genesis
        {
            return Err(StoreError::Genesis {
                expected: context.genesis.state_root,
                actual: written.state_root,
            });
        }

        // 1. The state: what was written is what the base's header reports.
        let old = self.store.heads().lock().state_in;
        let tree = self.store.read_state(old.other())?;
        if tree.root() != base.result.state_root {
            return Err(StoreError::StateRoot {
                height: base.block.height,
                expected: base.result.state_root,
                actual: tree.root(),
            });
        }
        self.store.pass(CrashPoint::ImportChecked)?;

        // 2. The old is cleared, the new put into use: one atomic write that survives a power cut
        // when it returns.
        let mut batch = WriteBatch::new();
        for column in Column::OF_HISTORY {
            batch.clear(column);
        }
        batch.clear(old.column());
        let mut heads = Heads {
            state_in: old.swapped(),
            ..Heads::default()
        };
        stage_base(&mut batch, &mut heads, &base, context);
        self.store.write(batch, Durability::Synced)?;

        // 3. Only now does the process believe it.
        *self.store.heads().lock() = heads;
        self.store.keep_loaded(tree.clone());
        self.store.pass(CrashPoint::ImportFinished)?;
        Ok(tree)
    }
}

/// Whether the blocks that come with a base are a piece of its chain: linked, with the base among
/// them and a finalization at their end.
fn check_blocks(base: &BaseRow, blocks: &[BaseBlock]) -> Result<(), StoreError> {
    let refuse = |height, reason| Err(StoreError::ImportBlocks { height, reason });
    let mut below: Option<BlockRef> = None;
    let mut has_base = false;
    for block in blocks {
        let BaseBlock {
            header,
            body,
            certificate,
        } = block;
        let (height, digest) = (header.height, header.digest());
        if let Some(below) = below
            && (height != below.height.next() || header.parent != below.digest)
        {
            return refuse(height, "it is not the child of the one before");
        }
        let states = |it: &Certificate| matches!(&it.statement, Statement::Finalize { digest: of, .. } if *of == digest);
        if !certificate.as_ref().is_none_or(states) {
            return refuse(height, "its certificate does not finalize it");
        }
        let is_working = header.kind == BlockKind::Working;
        if height == base.block.height {
            if digest != base.block.digest || !is_working {
                return refuse(height, "it is not the base");
            }
            has_base = true;
        }
        if height > base.block.height && is_working && body.is_empty() {
            return refuse(height, "its body is missing");
        }
        below = Some(BlockRef { height, digest });
    }
    let Some(newest) = blocks.last() else {
        return refuse(base.block.height, "there is none");
    };
    if !has_base {
        return refuse(base.block.height, "it is missing");
    }
    if newest.certificate.is_none() {
        return refuse(newest.header.height, "the last one has no finalization");
    }
    Ok(())
}

/// Stages all that belongs to an imported state but the state itself.
fn stage_base(batch: &mut WriteBatch, heads: &mut Heads, base: &BaseRow, context: &BaseContext) {
    for BaseBlock {
        header,
        body,
        certificate,
    } in &context.blocks
    {
        let (height, digest) = (header.height, header.digest());
        let certificate = certificate.clone();
        let row = FinalizedRow {
            digest,
            certificate,
        };
        batch.put(Column::Headers, *digest.as_bytes(), encode(header));
        batch.put(Column::Finalized, height_key(height), encode(&row));
        if !body.is_empty() {
            batch.put(Column::Bodies, *digest.as_bytes(), body.clone());
        }
        if header.kind == BlockKind::Working && height > base.block.height {
            let key = pending_key(PendingKind::State, height, &digest);
            batch.put(Column::Pending, key, Vec::new());
            heads.unreported.insert(height, digest);
        }
        heads.finalized = Some(BlockRef { height, digest });
    }
    for BaseBlock {
        header,
        certificate,
        ..
    } in &context.ends
    {
        let row = FinalizedRow {
            digest: header.digest(),
            certificate: certificate.clone(),
        };
        batch.put(Column::Headers, *row.digest.as_bytes(), encode(header));
        batch.put(Column::Finalized, height_key(header.height), encode(&row));
    }
    for row in &context.epochs {
        let key = meta::epoch(row.committee.epoch);
        batch.put(Column::Meta, key, encode(row));
    }
    for link in &context.seals {
        batch.put(Column::Meta, meta::seal(link.header.epoch), encode(link));
    }
    for sent in &context.outgoing {
        let key = outgoing_key(sent.destination, sent.first);
        batch.put(Column::Outgoing, key, encode(sent));
    }
    let result = encode(&base.result);
    batch.put(Column::Results, *base.block.digest.as_bytes(), result);
    heads.state_at = Some((base.block, base.result));
    if let Some(newest) = &heads.finalized {
        batch.put(Column::Meta, meta::FINALIZED, encode(newest));
    }
    let state_at = encode(&(base.block, base.result));
    batch.put(Column::Meta, meta::STATE_AT, state_at);
    batch.put(Column::Meta, meta::STATE_IN, encode(&heads.state_in));
    batch.put(Column::Meta, meta::GENESIS, encode(&context.genesis));
    batch.put(Column::Meta, meta::BASE, encode(base));
    if let Some(lowest) = context.blocks.first() {
        let height = encode(&lowest.header.height);
        batch.put(Column::Meta, meta::LOWEST, height);
    }
    batch.delete(Column::Meta, meta::IMPORT);
}

#[cfg(test)]
mod tests;
