//! What a node that joins hands to a worker: checks of what peers sent, and writes to a store. A
//! node runs it on a thread of its own, the simulator inside the step, with the same code.

use super::check::{CheckError, CheckedBase, Trust, WantedBatch, check_base, check_batches};
use super::frames::BaseProof;
use skerry_execution::views;
use skerry_storage::import::{BaseBlock, BaseContext, BaseRow, Import};
use skerry_storage::{ChainStore, EpochRow, StateTree, StoreError};
use skerry_types::block::{BlockRef, ExecutionResult};
use skerry_types::ids::ChainRef;
use skerry_types::light::SealProof;
use skerry_types::message::Batch;
use skerry_types::snapshot::{Chunk, Cursor, SnapshotError};
use skerry_types::state::{StateKey, StateRead, Value};
use std::sync::Arc;

/// Most batches that a base may have on their way to one destination; a state with more is not
/// joined by snapshot.
const BATCHES_MAX: usize = 4_096;

/// A job.
pub enum Job {
    /// Follow the beacon's seals.
    Seals {
        /// What is trusted so far.
        trust: Arc<Trust>,
        /// From a peer.
        seals: Vec<SealProof>,
    },
    /// Check a base, and begin or go on to import it.
    Base {
        /// What is trusted.
        trust: Arc<Trust>,
        /// Where it goes.
        store: Arc<ChainStore>,
        /// The chain.
        chain: ChainRef,
        /// What was asked for.
        block: BlockRef,
        /// From a peer.
        proof: Box<BaseProof>,
    },
    /// Check a chunk and write it.
    Chunk {
        /// The import.
        import: Arc<Import>,
        /// Where the chunk begins.
        after: Option<Cursor>,
        /// From a peer.
        chunk: Chunk,
    },
    /// Find out which batches belong to the base.
    Plan {
        /// The import, with all records.
        import: Arc<Import>,
        /// The chain.
        chain: ChainRef,
        /// All chains of the network.
        chains: Vec<ChainRef>,
    },
    /// Check batches.
    Batches {
        /// Those that are wanted, in order.
        wanted: Vec<WantedBatch>,
        /// From a peer.
        batches: Vec<Batch>,
    },
    /// Read the state back, hash it, and put it into use.
    Finish {
        /// The import.
        import: Arc<Import>,
        /// Where it goes.
        store: Arc<ChainStore>,
        /// The chain.
        chain: ChainRef,
        /// What was proven.
        base: Box<CheckedBase>,
        /// The genesis, and the chain of seals.
        trust: Arc<Trust>,
        /// All batches.
        outgoing: Vec<Batch>,
    },
}

/// Why a job failed.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// What the peer sent proves nothing.
    #[error(transparent)]
    Check(#[from] CheckError),
    /// The chunk is not the next one of the state.
    #[error("the chunk does not hold")]
    Chunk(#[from] SnapshotError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The state has more batches on their way than are taken.
    #[error("more than {BATCHES_MAX} batches are on their way to {0}")]
    Batches(ChainRef),
}

impl JobError {
    /// Whether it is the peer's fault.
    pub const fn is_forged(&self) -> bool {
        matches!(self, Self::Check(_) | Self::Chunk(_)) && !self.is_unprovable()
    }

    /// Whether what was sent may hold, and cannot be judged from what is trusted.
    pub const fn is_unprovable(&self) -> bool {
        matches!(self, Self::Check(CheckError::Epoch(_)))
    }
}

/// What a job gave.
pub enum Done {
    /// Of [`Job::Seals`].
    Seals(Result<Arc<Trust>, JobError>),
    /// Of [`Job::Base`].
    Base(Result<(Box<CheckedBase>, Arc<Import>), JobError>),
    /// Of [`Job::Chunk`]: bytes so far.
    Chunk(Result<(), JobError>),
    /// Of [`Job::Plan`].
    Plan(Result<Vec<WantedBatch>, JobError>),
    /// Of [`Job::Batches`].
    Batches(Result<Vec<Batch>, JobError>),
    /// Of [`Job::Finish`].
    Finish(Result<(), JobError>),
}

impl Job {
    /// Does the work.
    pub fn run(self) -> Done {
        match self {
            Self::Seals { trust, seals } => {
                let advanced = Trust::clone(&trust).advance(seals).map(Arc::new);
                Done::Seals(advanced.map_err(JobError::from))
            }
            Self::Base {
                trust,
                store,
                chain,
                block,
                proof,
            } => Done::Base(begin(&trust, store, (chain, block), *proof)),
            Self::Chunk {
                import,
                after,
                chunk,
            } => Done::Chunk(write(&import, after.as_ref(), &chunk)),
            Self::Plan {
                import,
                chain,
                chains,
            } => Done::Plan(plan(&import, chain, &chains)),
            Self::Batches { wanted, batches } => {
                let checked = check_batches(&wanted, &batches);
                Done::Batches(checked.map(|()| batches).map_err(JobError::from))
            }
            Self::Finish {
                import,
                store,
                chain,
                base,
                trust,
                outgoing,
            } => {
                let genesis = genesis_of(&store, &trust, chain);
                let finished =
                    genesis.and_then(|genesis| finish(&import, *base, genesis, &trust, outgoing));
                Done::Finish(finished)
            }
        }
    }
}

fn begin(
    trust: &Trust,
    store: Arc<ChainStore>,
    (chain, block): (ChainRef, BlockRef),
    proof: BaseProof,
) -> Result<(Box<CheckedBase>, Arc<Import>), JobError> {
    let base = check_base(trust, chain, block, proof)?;
    let row = BaseRow {
        block: base.block,
        result: base.result,
    };
    let import = Import::begin(store, &row, &[])?;
    Ok((Box::new(base), Arc::new(import)))
}

fn write(import: &Import, after: Option<&Cursor>, chunk: &Chunk) -> Result<(), JobError> {
    let root = import.progress().base.result.state_root;
    let next = chunk.verify(&root, after)?;
    import.chunk(after, chunk, next)?;
    Ok(())
}

/// Reads imported records; remembers the failure of the store, which a reader cannot be told.
struct Imported<'a> {
    import: &'a Import,
    failed: std::cell::RefCell<Option<StoreError>>,
}

impl StateRead for Imported<'_> {
    fn get(&self, key: &StateKey) -> Option<Value> {
        match self.import.get(key) {
            Ok(value) => value,
            Err(error) => {
                *self.failed.borrow_mut() = Some(error);
                None
            }
        }
    }
}

fn plan(
    import: &Import,
    chain: ChainRef,
    chains: &[ChainRef],
) -> Result<Vec<WantedBatch>, JobError> {
    let state = Imported {
        import,
        failed: std::cell::RefCell::default(),
    };
    let mut wanted = Vec::new();
    for destination in chains.iter().copied().filter(|other| *other != chain) {
        let limit = BATCHES_MAX.saturating_add(1);
        let found = views::unacknowledged(&state, chain, destination, limit);
        if found.len() > BATCHES_MAX {
            return Err(JobError::Batches(destination));
        }
        wanted.extend(found.into_iter().map(|(first, record)| WantedBatch {
            destination,
            first,
            root: record.root,
        }));
    }
    match state.failed.into_inner() {
        Some(error) => Err(error.into()),
        None => Ok(wanted),
    }
}

/// What the genesis of a chain executes to.
fn genesis_of(
    store: &ChainStore,
    trust: &Trust,
    chain: ChainRef,
) -> Result<ExecutionResult, JobError> {
    if let Some(known) = store.genesis_result()? {
        return Ok(known);
    }
    let made = skerry_execution::genesis::genesis_changes(trust.genesis(), chain);
    let root = StateTree::empty().apply(&made.changes).root();
    Ok(crate::chain::genesis_result(root, made.channels_root))
}

fn finish(
    import: &Import,
    base: CheckedBase,
    genesis: ExecutionResult,
    trust: &Trust,
    outgoing: Vec<Batch>,
) -> Result<(), JobError> {
    let CheckedBase {
        header,
        certificate,
        epoch,
        ..
    } = base;
    let mut epochs: Vec<EpochRow> = Vec::new();
    let mut ends = Vec::new();
    // Of a later epoch than the block's nothing has begun at the base.
    let open = header.epoch;
    let seals = trust.epochs().into_iter();
    for (row, end, certificate) in seals.filter(|_| header.chain.is_beacon()) {
        if end.epoch < open {
            epochs.extend((row.committee.epoch < open).then_some(row));
            ends.push(BaseBlock {
                header: end,
                body: Vec::new(),
                certificate: Some(certificate),
            });
        }
    }
    epochs.extend(epoch);
    import.finish(&BaseContext {
        genesis,
        blocks: vec![BaseBlock {
            header,
            body: Vec::new(),
            certificate: Some(certificate),
        }],
        epochs,
        ends,
        outgoing,
        ..BaseContext::default()
    })?;
    Ok(())
}
