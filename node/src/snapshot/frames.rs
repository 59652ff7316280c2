//! What a node that joins asks, and what it is answered: the payloads of two kinds of frames. The
//! chain is that of the frame; the number pairs a reply with its request, so that a late one is
//! known as such.

use borsh::{BorshDeserialize, BorshSerialize};
use skerry_types::block::{BlockRef, Header};
use skerry_types::certificate::Certificate;
use skerry_types::evidence::FinalHeader;
use skerry_types::ids::{ChainRef, Digest, Epoch, Height, Sequence};
use skerry_types::light::SealProof;
use skerry_types::merkle::KeyProof;
use skerry_types::message::Batch;
use skerry_types::snapshot::{Chunk, Cursor};

/// A question.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct SnapshotRequest {
    /// Comes back with the reply.
    pub number: u64,
    /// What is asked.
    pub what: Request,
}

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Request {
    /// How far the peer is, and which bases it serves.
    Offer,
    /// Seals of the beacon from this epoch on, with the committees that they name.
    Seals(Epoch),
    /// Why a base is one.
    Base(BlockRef),
    /// Records of a state, after a place.
    Chunk {
        /// Root of the base's state.
        root: Digest,
        /// Where the last chunk ended.
        after: Option<Cursor>,
    },
    /// Bodies of batches that are sent and not acknowledged.
    Batches {
        /// Root of the base's state.
        root: Digest,
        /// Where they go.
        destination: ChainRef,
        /// Position of the first message of the first one.
        first: Sequence,
    },
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct SnapshotReply {
    /// That of the request.
    pub number: u64,
    /// What is answered.
    pub what: Reply,
}

impl SnapshotReply {
    /// The number of an encoded reply, which comes first: who was not asked is not decoded.
    pub fn number_of(payload: &[u8]) -> Option<u64> {
        let (number, _) = payload.split_first_chunk()?;
        Some(u64::from_le_bytes(*number))
    }
}

/// What is answered; nothing where the peer does not serve what is asked for any more.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Reply {
    /// To [`Request::Offer`].
    Offer(Offer),
    /// To [`Request::Seals`]; consecutive, the first one of the epoch asked for.
    Seals(Vec<SealProof>),
    /// To [`Request::Base`].
    Base(Option<Box<BaseProof>>),
    /// To [`Request::Chunk`].
    Chunk(Option<Chunk>),
    /// To [`Request::Batches`]: consecutive batches.
    Batches(Option<Vec<Batch>>),
}

/// What a peer holds of a chain. Nothing of it is believed; it says what to ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Offer {
    /// Its newest final block.
    pub held: Height,
    /// The bases that it serves, oldest first.
    pub bases: Vec<OfferedBase>,
}

/// A base that a peer serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub struct OfferedBase {
    /// The block after which the state is.
    pub block: BlockRef,
    /// Root of the state.
    pub root: Digest,
    /// Epoch of the beacon header that proves it.
    pub epoch: Epoch,
}

/// A final working block, and why its result counts: the beacon's by a final header that reports it,
/// a shard's by the record in the beacon state that a final header of the beacon reports.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct BaseProof {
    /// The block's header.
    pub header: Header,
    /// Its own finalization.
    pub certificate: Certificate,
    /// The seal that opened its epoch; none in epoch 0.
    pub seal: Option<Header>,
    /// A header of the chain that reports the block's result; on the beacon that of `beacon`.
    pub reporter: Header,
    /// A final header of the beacon.
    pub beacon: FinalHeader,
    /// For a shard, its records in the state that the beacon's header reports.
    pub shard: Option<ShardProof>,
}

/// Records of a shard in a state of the beacon.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ShardProof {
    /// The newest cross-link.
    pub record: KeyProof,
    /// The committee of the block's epoch, and what its votes are bound to; none in epoch 0.
    pub epoch: Option<(KeyProof, KeyProof)>,
}

/// Largest request that is decoded.
pub const REQUEST_BYTES_MAX: usize = 256;
/// Largest reply that is decoded.
pub const REPLY_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Most bytes of messages in one reply with batches; one batch may exceed it.
pub const BATCHES_BYTES: usize = 1024 * 1024;
/// Most seals of one reply.
pub const SEALS_PER_REPLY: usize = 16;
/// Most bases of one offer that are looked at.
pub const BASES_MAX: usize = 8;
