//! What the beacon holds of the shards and of the epochs: cross-links, validators' operations, and
//! the facts that shards import.

use crate::amount::{Amount, Asset};
use crate::block::{BlockRef, Header};
use crate::certificate::Certificate;
use crate::codec::Version;
use crate::crypto::bls::Signature;
use crate::crypto::hash::{Purpose, hash_of, hash_parts};
use crate::evidence::Evidence;
use crate::ids::{ChainRef, Digest, Epoch, Height, TimeMs, ValidatorId};
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
    /// A newcomer to a committee holds the chain's state.
    Ready(Ready),
    /// Members of some committee contradicted themselves.
    Evidence(Box<Evidence>),
}

/// A validator that was dealt a seat says that it holds the chain's state and can take it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize)]
pub struct Ready {
    /// Who; a version byte comes before it.
    #[borsh(
        serialize_with = "crate::codec::versioned::write",
        deserialize_with = "crate::codec::versioned::read"
    )]
    pub validator: ValidatorId,
    /// The chain of the seat.
    pub chain: ChainRef,
    /// The epoch that the seat is dealt for.
    pub epoch: Epoch,
    /// By the validator's vote key, over [`Self::signing_digest`].
    pub signature: Signature,
}

impl Ready {
    /// What is signed: network, validator, chain and epoch.
    pub fn signing_digest(
        chain_id: &Digest,
        validator: ValidatorId,
        chain: ChainRef,
        epoch: Epoch,
    ) -> Digest {
        hash_parts(
            Purpose::READY,
            &[
                chain_id.as_bytes(),
                &validator.get().to_le_bytes(),
                &chain.to_bytes(),
                &epoch.get().to_le_bytes(),
            ],
        )
    }

    /// The digest of this one.
    pub fn digest(&self, chain_id: &Digest) -> Digest {
        Self::signing_digest(chain_id, self.validator, self.chain, self.epoch)
    }
}

/// What the beacon's state holds of a shard; the shard's leaf in a light proof.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ShardRecord {
    /// Version byte.
    pub version: Version,
    /// The shard's chain.
    pub chain: ChainRef,
    /// The open epoch: that of the cross-linked header or, where that is a seal, the one it opens.
    /// Only headers of this epoch prove anything.
    pub epoch: Epoch,
    /// What the votes of the open epoch are bound to: digest of the seal before it, or the start.
    pub genesis: Digest,
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
    /// Base fee of the shard as its header reports it, for remote senders.
    pub base_fee: Amount,
    /// Whether two conflicting finalizations were seen.
    pub fenced: bool,
}

/// How the seed of committees is drawn; named in each epoch's record, so that it can be replaced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Randomness {
    /// Hash over the BLS reveals of all beacon proposers.
    #[default]
    Reveals,
}

/// A committee, as seals and facts name it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize)]
pub struct CommitteeRef {
    /// Its root.
    pub root: Digest,
    /// Its total weight.
    pub weight: u128,
}

/// The epoch that a beacon state is in. It changes with the block that ends an epoch: the headers
/// from there to the seal show the next epoch already.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct EpochRecord {
    /// Version byte.
    pub version: Version,
    /// The epoch.
    pub epoch: Epoch,
    /// Version of the protocol's rules; it changes here only.
    pub protocol: u32,
    /// How seeds are drawn.
    pub randomness: Randomness,
    /// Header time of the block that ended the epoch before, or the genesis' time.
    pub started: TimeMs,
    /// The committee of each chain for the epoch, in order of chain.
    pub committees: Vec<CommitteeRef>,
}

/// What shards import of a beacon state, as levels and cumulative counters.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Facts {
    /// Version byte.
    pub version: Version,
    /// The epoch.
    pub epoch: EpochRecord,
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

    /// The epoch of a chain whose headers prove something to whoever holds these facts.
    pub fn open_epoch(&self, source: ChainRef) -> Option<Epoch> {
        if source.is_beacon() {
            return Some(self.epoch.epoch);
        }
        self.shard(source).map(|record| record.epoch)
    }

    /// The record of a shard's chain.
    pub fn shard(&self, chain: ChainRef) -> Option<&ShardRecord> {
        self.shards.iter().find(|record| record.chain == chain)
    }
}
