//! What a node that joins hands to a worker: checks of what peers sent, and writes to a store. A
//! node runs it on a thread of its own, the simulator inside the step, with the same code.

use super::check::{
    CheckError, CheckedBase, Contradiction, SEALS_KEPT_MAX, Trust, WantedBatch, check_base,
    check_batches,
};
use super::frames::BaseProof;
use crate::view::opening_seal;
use skerry_execution::views;
use skerry_storage::import::{BaseBlock, BaseContext, BaseRow, Import};
use skerry_storage::{ChainStore, EpochRow, StateTree, StoreError};
use skerry_types::block::{BlockRef, ExecutionResult};
use skerry_types::codec::encode;
use skerry_types::ids::{ChainRef, Epoch, Height};
use skerry_types::light::SealProof;
use skerry_types::limits::CHUNK_BYTES_MAX;
use skerry_types::message::Batch;
use skerry_types::snapshot::{Chunk, Cursor, SnapshotError};
use skerry_types::state::{StateKey, StateRead, Value};
use std::sync::{Arc, OnceLock};

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
    /// Give up an unfinished import.
    Abandon {
        /// Of which store.
        store: Arc<ChainStore>,
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
    /// The chunk is longer than any that a server cuts.
    #[error("the chunk has {actual} bytes, at most {CHUNK_BYTES_MAX} are taken")]
    ChunkBytes {
        /// Its bytes, encoded.
        actual: usize,
    },
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
        let is_of_peer = matches!(
            self,
            Self::Check(_) | Self::Chunk(_) | Self::ChunkBytes { .. }
        );
        is_of_peer && !self.is_unprovable()
    }

    /// Whether the state cannot be taken over from anybody.
    pub const fn is_hopeless(&self) -> bool {
        matches!(self, Self::Batches(_))
    }

    /// What the operator vouches for, where a seal that is final contradicts it.
    pub const fn contradiction(&self) -> Option<&Contradiction> {
        match self {
            Self::Check(CheckError::Checkpoint(contradiction)) => Some(contradiction),
            _ => None,
        }
    }

    /// Whether what was sent may hold, and cannot be judged from what is trusted.
    pub const fn is_unprovable(&self) -> bool {
        matches!(self, Self::Check(CheckError::Epoch(_)))
    }
}

/// A base that was proven, and the import that takes it over.
pub struct Begun {
    /// The base.
    pub base: Box<CheckedBase>,
    /// The import.
    pub import: Arc<Import>,
    /// Height of another base, of which an unfinished import was given up.
    pub given_up: Option<Height>,
}

/// What a job gave.
pub enum Done {
    /// Of [`Job::Seals`].
    Seals(Result<Arc<Trust>, JobError>),
    /// Of [`Job::Base`].
    Base(Result<Begun, JobError>),
    /// Of [`Job::Chunk`].
    Chunk(Result<(), JobError>),
    /// Of [`Job::Plan`].
    Plan(Result<Vec<WantedBatch>, JobError>),
    /// Of [`Job::Batches`].
    Batches(Result<Vec<Batch>, JobError>),
    /// Of [`Job::Finish`].
    Finish(Result<(), JobError>),
    /// Of [`Job::Abandon`].
    Abandon(Result<(), JobError>),
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
                let finished = genesis.and_then(|genesis| {
                    finish(&import, &store, *base, (genesis, &trust, outgoing))
                });
                Done::Finish(finished)
            }
            Self::Abandon { store } => {
                Done::Abandon(store.abandon_import().map_err(JobError::from))
            }
        }
    }
}

fn begin(
    trust: &Trust,
    store: Arc<ChainStore>,
    (chain, block): (ChainRef, BlockRef),
    proof: BaseProof,
) -> Result<Begun, JobError> {
    let base = check_base(trust, chain, block, proof)?;
    let row = BaseRow {
        block: base.block,
        result: base.result,
    };
    let other = store.import_progress()?.filter(|begun| begun.base != row);
    let import = Import::begin(store, &row)?;
    Ok(Begun {
        base: Box::new(base),
        import: Arc::new(import),
        given_up: other.map(|begun| begun.base.block.height),
    })
}

fn write(import: &Import, after: Option<&Cursor>, chunk: &Chunk) -> Result<(), JobError> {
    let actual = encode(chunk).len();
    if actual > CHUNK_BYTES_MAX {
        return Err(JobError::ChunkBytes { actual });
    }
    let root = import.progress().base.result.state_root;
    let next = chunk.verify(&root, after)?;
    import.chunk(after, chunk, next)?;
    Ok(())
}

/// Reads imported records; remembers the failure of the store, which a reader cannot be told.
struct Imported<'a> {
    import: &'a Import,
    failed: OnceLock<StoreError>,
}

impl StateRead for Imported<'_> {
    fn get(&self, key: &StateKey) -> Option<Value> {
        match self.import.get(key) {
            Ok(value) => value,
            Err(error) => {
                self.failed.get_or_init(|| error);
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
        failed: OnceLock::new(),
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
    Ok(made.result(root))
}

/// The newest seals that lead to the base, so that the store can prove them to others: those that
/// the store has, whose rows go with its history, and those that were followed since.
fn seals_to_keep(
    store: &ChainStore,
    trust: &Trust,
    chain: ChainRef,
) -> Result<Vec<Arc<SealProof>>, JobError> {
    if !chain.is_beacon() {
        return Ok(Vec::new());
    }
    let first = trust.seals().next().map(|seal| seal.header.epoch);
    let room = SEALS_KEPT_MAX.saturating_sub(trust.seals().count());
    let mut kept = seals_up_to(store, first.unwrap_or(trust.epoch()), room)?;
    kept.extend(trust.seals().cloned());
    Ok(kept)
}

/// The newest seals that a store of the beacon holds, up to the one that opened `newest`, without a
/// gap; at most `limit`, oldest first.
fn seals_up_to(
    beacon: &ChainStore,
    newest: Epoch,
    limit: usize,
) -> Result<Vec<Arc<SealProof>>, StoreError> {
    let mut seals = Vec::new();
    let mut next = Some(newest);
    while let Some(epoch) = next.filter(|_| seals.len() < limit) {
        let Some(seal) = opening_seal(beacon, epoch)? else {
            break;
        };
        seals.push(Arc::new(seal));
        next = epoch.previous();
    }
    seals.reverse();
    Ok(seals)
}

fn finish(
    import: &Import,
    store: &ChainStore,
    base: CheckedBase,
    (genesis, trust, outgoing): (ExecutionResult, &Trust, Vec<Batch>),
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
    for seal in seals_to_keep(store, trust, header.chain)? {
        let end = &seal.header;
        if end.epoch < open {
            let opened = seal.committee.epoch < open;
            epochs.extend(opened.then(|| EpochRow {
                committee: seal.committee.clone(),
                seal: end.block_ref(),
                time: end.time,
            }));
            ends.push(BaseBlock {
                header: end.clone(),
                body: Vec::new(),
                certificate: Some(seal.certificate.clone()),
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

#[cfg(test)]
mod tests;
