//! Frames of the peer protocol as the node uses them: kinds, and the payloads that are not
//! consensus messages.

use borsh::{BorshDeserialize, BorshSerialize};
use skerry_types::beacon::{CrossLink, Ready};
use skerry_types::block::Block;
use skerry_types::certificate::Certificate;
use skerry_types::committee::Committee;
use skerry_types::ids::{ChainRef, Sequence};

/// Kinds of frames; the network crate's table gives each its class and its largest size.
pub mod kind {
    /// A vote.
    pub const VOTE: u8 = 0x01;
    /// A certificate.
    pub const CERTIFICATE: u8 = 0x02;
    /// A proposal.
    pub const PROPOSAL: u8 = 0x03;
    /// A question of a replica.
    pub const FETCH_REQUEST: u8 = 0x04;
    /// Its answer.
    pub const FETCH_REPLY: u8 = 0x05;
    /// A batch with its proof.
    pub const BATCH_PUSH: u8 = 0x10;
    /// Asks for a batch.
    pub const BATCH_REQUEST: u8 = 0x11;
    /// Says which batches a member of the destination's committee holds.
    pub const BATCHES_HELD: u8 = 0x12;
    /// Proven evidence, from one member of the beacon to another.
    pub const EVIDENCE: u8 = 0x15;
    /// Transactions.
    pub const TRANSACTIONS: u8 = 0x20;
    /// Asks for final blocks.
    pub const RANGE_REQUEST: u8 = 0x30;
    /// Final blocks.
    pub const RANGE_REPLY: u8 = 0x31;
    /// How far a peer is.
    pub const STATUS: u8 = 0x32;
    /// Asks for a part of a snapshot (see [`crate::snapshot::frames`]).
    pub const SNAPSHOT_REQUEST: u8 = 0x35;
    /// Answers it.
    pub const SNAPSHOT_REPLY: u8 = 0x36;
}

/// Asks a source's follower for the batch of a channel that begins at `first`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct BatchRequest {
    /// Where the batch comes from.
    pub source: ChainRef,
    /// Where it goes.
    pub destination: ChainRef,
    /// Position of its first message.
    pub first: Sequence,
}

/// Batches that a member of the destination holds, and serves to other members: where each comes from,
/// and the position of its first message.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct BatchesHeld {
    /// At most [`HELD_MAX`].
    pub batches: Vec<(ChainRef, Sequence)>,
}

/// Most batches in one [`BatchesHeld`].
pub const HELD_MAX: usize = 1_024;

/// What is published on a chain's topic.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Announcement {
    /// A final header: of the topic's chain for its followers, of a shard for the beacon.
    Final(Box<CrossLink>),
    /// On the beacon's: a newcomer to a committee holds the chain's state.
    Ready(Ready),
}

/// Consecutive final blocks, each the parent of the next, and a finalization of the last. A seal ends
/// the run.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct RangeReply {
    /// The blocks; empty when the server has none.
    pub blocks: Vec<Block>,
    /// The finalization.
    pub certificate: Option<Certificate>,
    /// After a seal, the committee whose root it names, where the server has it.
    pub next: Option<Committee>,
}

/// Most bytes of blocks in one range reply; one block may exceed it.
pub const RANGE_REPLY_BYTES: usize = 8 * 1024 * 1024;
/// Most blocks in one range reply.
pub const RANGE_REPLY_BLOCKS: u16 = 256;
/// Largest range reply that is decoded.
pub const RANGE_REPLY_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Largest frame of transactions that is decoded.
pub const TRANSACTIONS_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Largest batch frame that is decoded.
pub const BATCH_FRAME_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Largest cross-link frame that is decoded.
pub const CROSS_LINK_BYTES_MAX: usize = 64 * 1024;
