//! What the beacon holds of the shards: cross-links, and the facts that shards import.

use crate::amount::{Amount, Asset};
use crate::block::{BlockRef, Header};
use crate::certificate::Certificate;
use crate::codec::Version;
use crate::crypto::hash::{Purpose, hash_of};
use crate::ids::{ChainRef, Digest, Epoch, Height};
use crate::message::ChannelSummary;
use borsh::{BorshDeserialize, BorshSerialize};

/// A final header of a shard, given to the beacon. Its channels root is the hash of `channels`.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct CrossLink {
    /// The header.
    pub header: Header,
    /// Headers after it up to the certified one; empty when the certificate is its own.
    pub path: Vec<Header>,
    /// The finalization.
    pub certificate: Certificate,
    /// The channel summaries that the header's reported result commits to.
    pub channels: Vec<ChannelSummary>,
}

/// Operations of validators on the beacon: free, idempotent, bounded.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum SystemOperation {
    /// A shard's newest final header.
    CrossLink(Box<CrossLink>),
}

/// What the beacon's state holds of a shard; the shard's leaf in a light proof.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ShardRecord {
    /// Version byte.
    pub version: Version,
    /// The shard's chain.
    pub chain: ChainRef,
    /// Epoch of the cross-linked header.
    pub epoch: Epoch,
    /// The cross-linked header.
    pub header: BlockRef,
    /// The shard's block whose result it reports.
    pub reported: BlockRef,
    /// The state after that block.
    pub state_root: Digest,
    /// Its channels root.
    pub channels_root: Digest,
    /// The summaries behind it.
    pub channels: Vec<ChannelSummary>,
    /// Beacon height at which it was cross-linked.
    pub linked_at: Height,
    /// Supply of the three native denoms on the shard.
    pub supply: Vec<Asset>,
    /// Base fee of the shard, for remote senders.
    pub base_fee: Amount,
    /// Whether two conflicting finalizations were seen.
    pub fenced: bool,
}

/// What shards import of a beacon state, as levels and cumulative counters.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Facts {
    /// Version byte.
    pub version: Version,
    /// One record for each shard, in order of chain.
    pub shards: Vec<ShardRecord>,
    /// Channel summaries of the beacon itself, in order of peer.
    pub beacon_channels: Vec<ChannelSummary>,
}

impl Facts {
    /// The facts root of a beacon header.
    pub fn root(&self) -> Digest {
        hash_of(Purpose::FACTS, self)
    }

    /// The record of a shard's chain.
    pub fn shard(&self, chain: ChainRef) -> Option<&ShardRecord> {
        self.shards.iter().find(|record| record.chain == chain)
    }
}
