//! One chain's store: opening, loading what a start needs, reading.
//!
//! Writing is in [`crate::commit`], deleting in [`crate::prune`]. A store keeps in RAM what every
//! commit needs: the newest final block, whose state is committed, and the two short queues of
//! blocks that wait. Reads go to the database and see what is committed; a reader may run beside
//! the one writer.

use crate::backend::{
    Backend, Batch as WriteBatch, Counters, Direction, Durability, KeyRange, scan,
};
use crate::columns::{
    Column, FORMAT, PendingKind, RECEIPTS_PER_ROW, StateColumn, height_key, message_key, meta,
    outgoing_key, read_height, read_pending, receipts_key,
};
use crate::commit::{CrashPoints, NoCrashes};
use crate::error::StoreError;
use crate::poison::Poison;
use crate::tree::{StateTree, TreeBuilder};
use borsh::{BorshDeserialize, BorshSerialize};
use parking_lot::Mutex;
use skerry_types::beacon::CrossLink;
use skerry_types::block::{Block, BlockRef, ExecutionResult, FinalizedBlock, Header};
use skerry_types::certificate::Certificate;
use skerry_types::codec::{decode, encode};
use skerry_types::committee::Committee;
use skerry_types::ids::{ChainRef, Digest, Epoch, Height, Sequence, TimeMs};
use skerry_types::message::{Batch, MessageId};
use skerry_types::receipt::Receipt;
use skerry_types::state::StateKey;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;

/// Which chain of which network a store belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Identity {
    /// Hash of the network's genesis.
    pub chain_id: Digest,
    /// The chain.
    pub chain: ChainRef,
}

/// Where a receipt is: the block that executed its subject, and the position among its receipts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub struct Location {
    /// Height of the block.
    pub height: Height,
    /// Position in the list of its receipts.
    pub position: u32,
}

/// What a start needs.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The newest final block and its finalization; `None` before the first.
    pub finalized: Option<(Header, Certificate)>,
    /// Whose state is committed: a working block, or the genesis (height 0); `None` in a store
    /// without genesis.
    pub state_at: Option<(BlockRef, ExecutionResult)>,
    /// That state; its root was checked against the result.
    pub tree: StateTree,
    /// Final working blocks above `state_at`, in order of height: to be executed again.
    pub unreported: Vec<(Header, Vec<u8>)>,
    /// Stored blocks that are not final, in order of height.
    pub unfinalized: Vec<(Header, Vec<u8>)>,
}

/// How an epoch of the chain began.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct EpochRow {
    /// Its committee.
    pub committee: Committee,
    /// The seal that it starts from.
    pub seal: BlockRef,
    /// The seal's time.
    pub time: TimeMs,
}

/// What the store holds and did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// Height of the newest final block.
    pub finalized: Height,
    /// Height of the block whose state is committed.
    pub state_at: Height,
    /// Stored blocks that are not final.
    pub unfinalized: usize,
    /// What the database counted since it was opened.
    pub counters: Counters,
}

/// A row of [`Column::Finalized`].
#[derive(Clone, Debug, BorshSerialize, BorshDeserialize)]
pub(crate) struct FinalizedRow {
    pub(crate) digest: Digest,
    pub(crate) certificate: Option<Certificate>,
}

/// What every commit needs, in RAM; equal to the rows of `Meta` and `Pending`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Heads {
    pub(crate) finalized: Option<BlockRef>,
    pub(crate) state_at: Option<(BlockRef, ExecutionResult)>,
    pub(crate) state_in: StateColumn,
    pub(crate) unfinalized: BTreeSet<(Height, Digest)>,
    pub(crate) unreported: BTreeMap<Height, Digest>,
}

/// The store of one chain. Shared by reference: all calls take `&self`.
pub struct ChainStore {
    backend: Arc<dyn Backend>,
    identity: Identity,
    crash_points: Arc<dyn CrashPoints>,
    poison: Poison,
    writer: Mutex<()>,
    heads: Mutex<Heads>,
    /// A state that was read and checked, for the next [`ChainStore::load`].
    loaded: Mutex<Option<StateTree>>,
}

impl std::fmt::Debug for ChainStore {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("ChainStore")
            .field("identity", &self.identity)
            .finish_non_exhaustive()
    }
}

impl ChainStore {
    /// Opens the store of a chain; an empty one is marked as that chain's.
    ///
    /// # Errors
    /// When it belongs to another chain or format, or the database fails.
    pub fn open(backend: Arc<dyn Backend>, identity: Identity) -> Result<Self, StoreError> {
        Self::open_with(backend, identity, Arc::new(NoCrashes))
    }

    /// [`Self::open`] with crash points that a test or the simulator triggers.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_with(
        backend: Arc<dyn Backend>,
        identity: Identity,
        crash_points: Arc<dyn CrashPoints>,
    ) -> Result<Self, StoreError> {
        if Self::stored_identity(backend.as_ref())?.is_none() {
            let mut batch = WriteBatch::new();
            batch.put(Column::Meta, meta::FORMAT, encode(&FORMAT));
            batch.put(Column::Meta, meta::IDENTITY, encode(&identity));
            backend.write(batch, Durability::Synced)?;
        }
        Self::open_existing(backend, Some(identity), crash_points)
    }

    /// Opens a store as whatever chain it is, writing nothing: for offline verification over
    /// [`RocksBackend::open_read_only`](crate::RocksBackend::open_read_only).
    ///
    /// # Errors
    /// [`StoreError::NoGenesis`] when it was never marked as a chain's; when its format is another
    /// or the database fails.
    pub fn open_read_only(backend: Arc<dyn Backend>) -> Result<Self, StoreError> {
        Self::open_existing(backend, None, Arc::new(NoCrashes))
    }

    fn open_existing(
        backend: Arc<dyn Backend>,
        expected: Option<Identity>,
        crash_points: Arc<dyn CrashPoints>,
    ) -> Result<Self, StoreError> {
        let identity = Self::stored_identity(backend.as_ref())?.ok_or(StoreError::NoGenesis)?;
        if let Some(expected) = expected.filter(|expected| *expected != identity) {
            return Err(StoreError::Identity {
                expected_chain: expected.chain,
                expected_id: expected.chain_id,
                actual_chain: identity.chain,
                actual_id: identity.chain_id,
            });
        }
        let heads = Mutex::new(read_heads(backend.as_ref())?);
        let (poison, writer) = (Poison::default(), Mutex::new(()));
        Ok(Self {
            backend,
            identity,
            crash_points,
            poison,
            writer,
            heads,
            loaded: Mutex::default(),
        })
    }

    /// Whose store it is; `None` when it is empty.
    fn stored_identity(backend: &dyn Backend) -> Result<Option<Identity>, StoreError> {
        let Some(format) = read_row::<u32>(backend, Column::Meta, meta::FORMAT)? else {
            return Ok(None);
        };
        if format != FORMAT {
            return Err(StoreError::Format {
                expected: FORMAT,
                actual: format,
            });
        }
        read_row(backend, Column::Meta, meta::IDENTITY)
    }

    /// Everything that a start needs. Reads the whole state and checks its root.
    ///
    /// # Errors
    /// [`StoreError::StateRoot`] when the state does not have the recorded root; when rows are
    /// missing or damaged, or the database fails.
    pub fn load(&self) -> Result<Loaded, StoreError> {
        self.poison.check()?;
        let heads = self.heads.lock().clone();
        let finalized = match heads.finalized {
            None => None,
            Some(block) => {
                let certificate = self
                    .certificate_at(block.height)?
                    .ok_or_else(|| missing(Column::Finalized, block.height))?;
                Some((self.stored_header(&block.digest)?, certificate))
            }
        };
        let root = heads.state_at.map(|(_, result)| result.state_root);
        let kept = self.loaded.lock().take();
        let tree = match kept.filter(|tree| Some(tree.root()) == root) {
            Some(tree) => tree,
            None => self.read_state(heads.state_in.column())?,
        };
        if let Some((block, result)) = &heads.state_at
            && tree.root() != result.state_root
        {
            let (expected, actual) = (result.state_root, tree.root());
            return Err(StoreError::StateRoot {
                height: block.height,
                expected,
                actual,
            });
        }
        let with_body = |digest: &Digest| {
            Ok((
                self.stored_header(digest)?,
                self.body(digest)?.unwrap_or_default(),
            ))
        };
        Ok(Loaded {
            finalized,
            state_at: heads.state_at,
            tree,
            unreported: heads
                .unreported
                .values()
                .map(with_body)
                .collect::<Result<_, _>>()?,
            unfinalized: heads
                .unfinalized
                .iter()
                .map(|(_, digest)| with_body(digest))
                .collect::<Result<_, StoreError>>()?,
        })
    }

    /// The state in a column, hashed anew.
    pub(crate) fn read_state(&self, column: Column) -> Result<StateTree, StoreError> {
        let mut builder = TreeBuilder::new();
        let mut outcome = Ok(());
        self.visit_rows(column, &mut |key, value| {
            outcome = builder.push(key, value.into());
            if outcome.is_ok() {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        })?;
        outcome?;
        Ok(builder.finish())
    }

    /// Shows every row of the committed state in order of [`StateKey::to_bytes`], until the visitor
    /// breaks.
    ///
    /// # Errors
    /// When a key is damaged or the database fails.
    pub fn visit_state(
        &self,
        visitor: &mut dyn FnMut(StateKey, &[u8]) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        self.visit_rows(self.state_column(), visitor)
    }

    fn visit_rows(
        &self,
        column: Column,
        visitor: &mut dyn FnMut(StateKey, &[u8]) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        self.poison.check()?;
        let mut damaged = None;
        let range = KeyRange::all();
        self.backend
            .visit(column, &range, Direction::Ascending, &mut |key, value| {
                match StateKey::from_bytes(key) {
                    Some(key) => visitor(key, value),
                    None => {
                        damaged = Some(bad_row(column, key, "the key is too short"));
                        ControlFlow::Break(())
                    }
                }
            })?;
        damaged.map_or(Ok(()), Err)
    }

    /// Whose store it is.
    pub const fn identity(&self) -> Identity {
        self.identity
    }

    /// The newest final block; `None` before the first.
    pub fn finalized(&self) -> Option<BlockRef> {
        self.heads.lock().finalized
    }

    /// Whose state is committed.
    pub fn state_at(&self) -> Option<(BlockRef, ExecutionResult)> {
        self.heads.lock().state_at
    }

    /// The column that holds the committed state.
    pub fn state_column(&self) -> Column {
        self.heads.lock().state_in.column()
    }

    /// Height from which on all final blocks are held: 1, or where what came with the
    /// [base](Self::base) begins.
    ///
    /// # Errors
    /// When the row is damaged or the database fails.
    pub fn lowest(&self) -> Result<Height, StoreError> {
        let lowest = self.read(Column::Meta, meta::LOWEST)?;
        Ok(lowest.unwrap_or(Height::ZERO.next()))
    }

    /// Counts for metrics and benchmarks.
    pub fn stats(&self) -> StoreStats {
        let heads = self.heads.lock();
        StoreStats {
            finalized: heads.finalized.map_or(Height::ZERO, |block| block.height),
            state_at: heads
                .state_at
                .map_or(Height::ZERO, |(block, _)| block.height),
            unfinalized: heads.unfinalized.len(),
            counters: self.backend.counters(),
        }
    }

    /// Result of the genesis state; `None` before it is written.
    ///
    /// # Errors
    /// When the row is damaged or the database fails.
    pub fn genesis_result(&self) -> Result<Option<ExecutionResult>, StoreError> {
        self.read(Column::Meta, meta::GENESIS)
    }

    /// How an epoch began; `None` for the first, and for one that has not begun here.
    ///
    /// # Errors
    /// When the row is damaged or the database fails.
    pub fn epoch(&self, epoch: Epoch) -> Result<Option<EpochRow>, StoreError> {
        self.read(Column::Meta, &meta::epoch(epoch))
    }

    /// The link of the seal of an epoch, where this node has executed what it reports.
    ///
    /// # Errors
    /// When the row is damaged or the database fails.
    pub fn seal(&self, epoch: Epoch) -> Result<Option<CrossLink>, StoreError> {
        self.read(Column::Meta, &meta::seal(epoch))
    }

    /// A stored header.
    ///
    /// # Errors
    /// When the row is damaged or the database fails.
    pub fn header(&self, digest: &Digest) -> Result<Option<Header>, StoreError> {
        self.read(Column::Headers, digest.as_bytes())
    }

    /// Bytes of a stored body; `None` when the block is not stored or has none.
    ///
    /// # Errors
    /// When the database fails.
    pub fn body(&self, digest: &Digest) -> Result<Option<Vec<u8>>, StoreError> {
        self.poison.check()?;
        self.backend.get(Column::Bodies, digest.as_bytes())
    }

    /// A stored block, final or not.
    ///
    /// # Errors
    /// When a row is damaged or the database fails.
    pub fn block(&self, digest: &Digest) -> Result<Option<Block>, StoreError> {
        let Some(header) = self.header(digest)? else {
            return Ok(None);
        };
        Ok(Some(Block {
            header,
            body: self.body(digest)?.unwrap_or_default(),
        }))
    }

    /// Digest of the final block at a height.
    ///
    /// # Errors
    /// When the row is damaged or the database fails.
    pub fn digest_at(&self, height: Height) -> Result<Option<Digest>, StoreError> {
        Ok(self.finalized_row(height)?.map(|row| row.digest))
    }

    /// Header of the final block at a height.
    ///
    /// # Errors
    /// When a row is damaged or missing, or the database fails.
    pub fn header_at(&self, height: Height) -> Result<Option<Header>, StoreError> {
        self.digest_at(height)?
            .map(|digest| self.stored_header(&digest))
            .transpose()
    }

    /// The final block at a height.
    ///
    /// # Errors
    /// When a row is damaged or missing, or the database fails.
    pub fn block_at(&self, height: Height) -> Result<Option<Block>, StoreError> {
        let Some(digest) = self.digest_at(height)? else {
            return Ok(None);
        };
        let header = self.stored_header(&digest)?;
        Ok(Some(Block {
            header,
            body: self.body(&digest)?.unwrap_or_default(),
        }))
    }

    /// The own finalization of the final block at a height, if it got one.
    ///
    /// # Errors
    /// When the row is damaged or the database fails.
    pub fn certificate_at(&self, height: Height) -> Result<Option<Certificate>, StoreError> {
        Ok(self.finalized_row(height)?.and_then(|row| row.certificate))
    }

    /// The lowest finalization at or above a height, with the height of its block.
    ///
    /// # Errors
    /// When a row is damaged or the database fails.
    pub fn certificate_from(
        &self,
        height: Height,
    ) -> Result<Option<(Height, Certificate)>, StoreError> {
        let mut found = Ok(None);
        self.visit_finalized(height, &mut |at, row| match row {
            Ok(FinalizedRow {
                certificate: None, ..
            }) => ControlFlow::Continue(()),
            Ok(FinalizedRow {
                certificate: Some(certificate),
                ..
            }) => {
                found = Ok(Some((at, certificate)));
                ControlFlow::Break(())
            }
            Err(error) => {
                found = Err(error);
                ControlFlow::Break(())
            }
        })?;
        found
    }

    /// The final block at a height with the proof that it is final: its own finalization, or the
    /// next one above with the headers that lead there.
    ///
    /// # Errors
    /// When a row is damaged or missing, or the database fails.
    pub fn finalized_block(&self, height: Height) -> Result<Option<FinalizedBlock>, StoreError> {
        let Some(block) = self.block_at(height)? else {
            return Ok(None);
        };
        let (certified, certificate) = self
            .certificate_from(height)?
            .ok_or_else(|| missing(Column::Finalized, height))?;
        let mut path = Vec::new();
        let mut at = height;
        while at < certified {
            at = at.next();
            path.push(
                self.header_at(at)?
                    .ok_or_else(|| missing(Column::Finalized, at))?,
            );
        }
        Ok(Some(FinalizedBlock {
            block,
            path,
            certificate,
        }))
    }

    /// Headers of final blocks from a height on, at most `count`.
    ///
    /// # Errors
    /// When a row is damaged or missing, or the database fails.
    pub fn headers_from(&self, from: Height, count: usize) -> Result<Vec<Header>, StoreError> {
        let mut headers = Vec::new();
        let mut at = from;
        while headers.len() < count {
            let Some(header) = self.header_at(at)? else {
                break;
            };
            headers.push(header);
            at = at.next();
        }
        Ok(headers)
    }

    /// All receipts of the final block at a height, in order; empty where its state is not
    /// committed.
    ///
    /// # Errors
    /// When a row is damaged or the database fails.
    pub fn receipts(&self, height: Height) -> Result<Vec<Receipt>, StoreError> {
        self.poison.check()?;
        let range = KeyRange::with_prefix(&height_key(height));
        let rows = scan(
            self.backend.as_ref(),
            Column::Receipts,
            &range,
            Direction::Ascending,
            usize::MAX,
        )?;
        let mut receipts = Vec::new();
        for (key, value) in rows {
            receipts.extend(decode_row::<Vec<Receipt>>(Column::Receipts, &key, &value)?);
        }
        Ok(receipts)
    }

    /// One receipt.
    ///
    /// # Errors
    /// When the row is damaged or the database fails.
    pub fn receipt(&self, location: Location) -> Result<Option<Receipt>, StoreError> {
        let Ok(position) = usize::try_from(location.position) else {
            return Ok(None);
        };
        let Ok(chunk) = u32::try_from(position / RECEIPTS_PER_ROW) else {
            return Ok(None);
        };
        let key = receipts_key(location.height, chunk);
        let row: Option<Vec<Receipt>> = self.read(Column::Receipts, &key)?;
        Ok(row.and_then(|receipts| receipts.into_iter().nth(position % RECEIPTS_PER_ROW)))
    }

    /// Where a transaction was executed.
    ///
    /// # Errors
    /// When the row is damaged or the database fails.
    pub fn transaction_location(&self, id: &Digest) -> Result<Option<Location>, StoreError> {
        self.read(Column::Transactions, id.as_bytes())
    }

    /// Where a message of another chain was executed.
    ///
    /// # Errors
    /// When the row is damaged or the database fails.
    pub fn message_location(&self, id: &MessageId) -> Result<Option<Location>, StoreError> {
        self.read(Column::Messages, &message_key(id))
    }

    /// Result of a final working block whose state is committed.
    ///
    /// # Errors
    /// When the row is damaged or the database fails.
    pub fn result(&self, digest: &Digest) -> Result<Option<ExecutionResult>, StoreError> {
        self.read(Column::Results, digest.as_bytes())
    }

    /// The batch sent to a destination whose first message has this position.
    ///
    /// # Errors
    /// When the row is damaged or the database fails.
    pub fn outgoing(
        &self,
        destination: ChainRef,
        first: Sequence,
    ) -> Result<Option<Batch>, StoreError> {
        self.read(Column::Outgoing, &outgoing_key(destination, first))
    }

    /// Batches sent to a destination whose first message has this position or a later one, in order,
    /// at most `limit`.
    ///
    /// # Errors
    /// When a row is damaged or the database fails.
    pub fn outgoing_from(
        &self,
        destination: ChainRef,
        first: Sequence,
        limit: usize,
    ) -> Result<Vec<Batch>, StoreError> {
        self.poison.check()?;
        let channel = KeyRange::with_prefix(&destination.to_bytes());
        let range = KeyRange {
            from: outgoing_key(destination, first),
            to: channel.to,
        };
        scan(
            self.backend.as_ref(),
            Column::Outgoing,
            &range,
            Direction::Ascending,
            limit,
        )?
        .iter()
        .map(|(key, value)| decode_row(Column::Outgoing, key, value))
        .collect()
    }

    /// The batch sent to a destination that holds the message at this position.
    ///
    /// # Errors
    /// When a row is damaged or the database fails.
    pub fn outgoing_with(
        &self,
        destination: ChainRef,
        sequence: Sequence,
    ) -> Result<Option<Batch>, StoreError> {
        self.poison.check()?;
        let beyond = outgoing_key(destination, sequence.next());
        let range = KeyRange::between(destination.to_bytes(), beyond);
        let rows = scan(
            self.backend.as_ref(),
            Column::Outgoing,
            &range,
            Direction::Descending,
            1,
        )?;
        let batch = rows
            .first()
            .map(|(key, value)| decode_row::<Batch>(Column::Outgoing, key, value))
            .transpose()?;
        Ok(batch.filter(|batch| sequence < batch.end()))
    }

    /// Rows and bytes of keys and values of a column, by reading all of it: for `db verify`.
    ///
    /// # Errors
    /// When the database fails.
    pub fn column_size(&self, column: Column) -> Result<(u64, u64), StoreError> {
        self.poison.check()?;
        let (mut rows, mut bytes) = (0_u64, 0_u64);
        self.backend.visit(
            column,
            &KeyRange::all(),
            Direction::Ascending,
            &mut |key, value| {
                rows = rows.saturating_add(1);
                let size = key.len().saturating_add(value.len());
                bytes = bytes.saturating_add(u64::try_from(size).unwrap_or(u64::MAX));
                ControlFlow::Continue(())
            },
        )?;
        Ok((rows, bytes))
    }

    pub(crate) fn backend(&self) -> &dyn Backend {
        self.backend.as_ref()
    }

    pub(crate) const fn poison(&self) -> &Poison {
        &self.poison
    }

    pub(crate) const fn writer(&self) -> &Mutex<()> {
        &self.writer
    }

    pub(crate) const fn heads(&self) -> &Mutex<Heads> {
        &self.heads
    }

    /// Spares the next [`Self::load`] reading a state that was read just now.
    pub(crate) fn keep_loaded(&self, tree: StateTree) {
        *self.loaded.lock() = Some(tree);
    }

    pub(crate) fn crash_points(&self) -> &dyn CrashPoints {
        self.crash_points.as_ref()
    }

    /// Writes, and closes the store when that fails.
    pub(crate) fn write(
        &self,
        batch: WriteBatch,
        durability: Durability,
    ) -> Result<(), StoreError> {
        self.poison.check()?;
        self.poison.watch(self.backend.write(batch, durability))
    }

    pub(crate) fn read<T: BorshDeserialize>(
        &self,
        column: Column,
        key: &[u8],
    ) -> Result<Option<T>, StoreError> {
        self.poison.check()?;
        read_row(self.backend.as_ref(), column, key)
    }

    fn finalized_row(&self, height: Height) -> Result<Option<FinalizedRow>, StoreError> {
        self.read(Column::Finalized, &height_key(height))
    }

    /// A header that must be there because others refer to it.
    fn stored_header(&self, digest: &Digest) -> Result<Header, StoreError> {
        self.header(digest)?
            .ok_or_else(|| missing(Column::Headers, digest))
    }

    fn visit_finalized(
        &self,
        from: Height,
        visitor: &mut dyn FnMut(Height, Result<FinalizedRow, StoreError>) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        self.poison.check()?;
        let range = KeyRange::starting_at(height_key(from));
        self.backend.visit(
            Column::Finalized,
            &range,
            Direction::Ascending,
            &mut |key, value| {
                let row = decode_row(Column::Finalized, key, value);
                visitor(read_height(key).unwrap_or(from), row)
            },
        )
    }
}

/// The markers and queues, as they are stored.
fn read_heads(backend: &dyn Backend) -> Result<Heads, StoreError> {
    let pending = |kind: PendingKind| -> Result<Vec<(Height, Digest)>, StoreError> {
        let range = KeyRange::with_prefix(&[kind as u8]);
        scan(
            backend,
            Column::Pending,
            &range,
            Direction::Ascending,
            usize::MAX,
        )?
        .iter()
        .map(|(key, _)| {
            read_pending(key)
                .ok_or_else(|| bad_row(Column::Pending, key, "the key has a wrong length"))
        })
        .collect()
    };
    Ok(Heads {
        finalized: read_row(backend, Column::Meta, meta::FINALIZED)?,
        state_at: read_row(backend, Column::Meta, meta::STATE_AT)?,
        state_in: read_row(backend, Column::Meta, meta::STATE_IN)?.unwrap_or_default(),
        unfinalized: pending(PendingKind::Finalization)?.into_iter().collect(),
        unreported: pending(PendingKind::State)?.into_iter().collect(),
    })
}

fn read_row<T: BorshDeserialize>(
    backend: &dyn Backend,
    column: Column,
    key: &[u8],
) -> Result<Option<T>, StoreError> {
    backend
        .get(column, key)?
        .map(|value| decode_row(column, key, &value))
        .transpose()
}

/// Decodes what this store wrote itself; so no limit beyond the row's own length.
pub(crate) fn decode_row<T: BorshDeserialize>(
    column: Column,
    key: &[u8],
    value: &[u8],
) -> Result<T, StoreError> {
    decode(value, value.len()).map_err(|error| bad_row(column, key, &error.to_string()))
}

fn bad_row(column: Column, key: &[u8], reason: &str) -> StoreError {
    let key = key.iter().map(|byte| format!("{byte:02x}")).collect();
    StoreError::Row {
        column,
        key,
        reason: reason.to_owned(),
    }
}

fn missing(column: Column, key: impl std::fmt::Display) -> StoreError {
    StoreError::Missing {
        column,
        key: key.to_string(),
    }
}

#[cfg(test)]
mod tests;
