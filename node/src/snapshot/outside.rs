//! What goes into a join and what comes out of it; [`super::join`] holds what happens between.

use super::check::{Contradiction, TooOld, Trust};
use super::jobs::{Done, Job};
use crate::chain::{Payload, Peer};
use skerry_storage::{ChainStore, StoreError};
use skerry_types::block::{BlockRef, ExecutionResult};
use skerry_types::ids::{ChainRef, Height};
use std::sync::Arc;

/// A chain that is to be joined.
pub struct Place {
    /// Which.
    pub chain: ChainRef,
    /// Where it is stored.
    pub store: Arc<ChainStore>,
    /// It joins by snapshot when a base lies more than this many heights above what it holds.
    pub above: u64,
}

/// What a join starts with.
pub struct Setup {
    /// The chains that the node follows; the beacon first.
    pub places: Vec<Place>,
    /// What is trusted.
    pub trust: Trust,
    /// Peers that the node is configured with.
    pub peers: usize,
    /// Bytes of a full chunk, the same for all servers of a network.
    pub chunk_bytes: usize,
}

/// What happens to a join.
pub enum Input {
    /// Time passed.
    Tick,
    /// A peer connected.
    PeerUp {
        /// Who.
        peer: Peer,
        /// What it follows.
        chains: Vec<ChainRef>,
        /// Whether the node is configured with it.
        configured: bool,
    },
    /// A peer is gone.
    PeerDown(Peer),
    /// A frame of one of the two kinds of snapshots.
    Frame {
        /// From whom.
        peer: Peer,
        /// The chain.
        chain: ChainRef,
        /// The kind.
        kind: u8,
        /// The content.
        payload: Payload,
    },
    /// A job is done.
    Done(Done),
}

/// What a join asks for.
pub enum Output {
    /// Send a frame.
    Send {
        /// To whom.
        peer: Peer,
        /// The chain.
        chain: ChainRef,
        /// The kind.
        kind: u8,
        /// The content.
        payload: Payload,
    },
    /// Compute; answer [`Input::Done`].
    Work(Box<Job>),
    /// A peer sent what proves nothing.
    Forged {
        /// Who.
        peer: Peer,
        /// What was wrong.
        reason: String,
    },
    /// A peer answered with what does not decode.
    Undecodable {
        /// Who.
        peer: Peer,
        /// What was wrong.
        reason: String,
    },
    /// Something for the log.
    Note(Note),
    /// All is done that can be; the chains can begin.
    Finished,
    /// The node must not start.
    Failed(Failure),
}

/// Something for the log, and for those that count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// The first look around is over.
    Probed {
        /// Peers that have said what they serve.
        answered: usize,
        /// Those of them that the node is configured with.
        configured: usize,
        /// So many of those were waited for.
        wanted: usize,
    },
    /// Nobody is connected; it goes on once somebody is.
    WaitsForPeers,
    /// A base is being taken over.
    Begun {
        /// The chain.
        chain: ChainRef,
        /// Height of the base.
        height: Height,
        /// Whether an import that was interrupted goes on.
        resumed: bool,
        /// Height of another base, of which an unfinished import was given up for this one.
        given_up: Option<Height>,
        /// Heights whose blocks the store holds and will hold no more.
        history: u64,
    },
    /// Records were written.
    Chunk {
        /// The chain.
        chain: ChainRef,
        /// Chunks so far.
        chunks: u64,
        /// Bytes so far.
        bytes: u64,
        /// Peers that serve the base.
        peers: usize,
    },
    /// The state is in use.
    Joined {
        /// The chain.
        chain: ChainRef,
        /// The base.
        block: BlockRef,
        /// Its result.
        result: ExecutionResult,
    },
    /// The chain lags, and goes on by blocks.
    GaveUp {
        /// The chain.
        chain: ChainRef,
        /// Why.
        why: GaveUp,
    },
}

/// Why a chain that lags is left to the catching up by blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GaveUp {
    /// Nobody serves a base, or none that could be proven and taken over.
    Unserved,
    /// Its state has more batches on their way than are taken.
    Batches,
    /// What is trusted is older than bonds stay locked, and this node holds blocks to go on from.
    TooOld(TooOld),
}

/// Why a node must not start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// What is trusted is older than bonds stay locked.
    TooOld(TooOld),
    /// A final seal is not the one that the operator vouches for.
    Checkpoint(Contradiction),
    /// The store failed.
    Store(String),
}

impl Place {
    /// The newest final block that the store has.
    pub(super) fn held(&self) -> Height {
        let held = self.store.finalized();
        held.map_or(Height::ZERO, |block| block.height)
    }

    /// How many final blocks the store has, which go once a base is put into their place.
    pub(super) fn history(&self) -> u64 {
        let lowest = self.store.lowest().unwrap_or(Height::ZERO);
        let above = self.store.finalized();
        above.map_or(0, |held| held.height.next().above(lowest))
    }

    /// The base whose import was begun and is not finished.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(super) fn begun(&self) -> Result<Option<BlockRef>, StoreError> {
        let progress = self.store.import_progress()?;
        Ok(progress.map(|begun| begun.base.block))
    }
}
