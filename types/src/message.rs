//! What travels between shards: messages in channels, batches with their proofs.
//!
//! A channel is an ordered pair of chains; its messages are numbered 0, 1, 2, …. All messages that
//! one block emits towards one destination make one or more batches; the root of each
//! unacknowledged batch is a key of the source's state, which the batch's proof leads to.

use crate::amount::{Amount, Asset};
use crate::block::Header;
use crate::certificate::Certificate;
use crate::codec::{self, Version};
use crate::crypto::hash::{Purpose, hash, hash_of, hash_parts, list_root};
use crate::ids::{Address, ChainRef, Denom, Digest, Gas, Height, Sequence};
use crate::merkle::KeyProof;
use crate::transaction::{Bundle, Operation};
use borsh::{BorshDeserialize, BorshSerialize};

/// A message by channel and position.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize,
)]
pub struct MessageId {
    /// Where it comes from.
    pub source: ChainRef,
    /// Where it goes.
    pub destination: ChainRef,
    /// Position in the channel.
    pub sequence: Sequence,
}

impl std::fmt::Display for MessageId {
    /// `shard-0/1>shard-1/1#7`
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            formatter,
            "{}>{}#{}",
            self.source, self.destination, self.sequence
        )
    }
}

/// A message; its position is known from its batch.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Message {
    /// Version byte.
    pub version: Version,
    /// The transaction that caused it; zero for system messages.
    pub origin: Digest,
    /// What it carries.
    pub payload: Payload,
}

/// What a message carries.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Payload {
    /// Value for an owner. Prepaid; cannot fail: what cannot be credited becomes a claim.
    Transfer {
        /// Whose account was debited.
        sender: Address,
        /// Whose account is credited.
        recipient: Address,
        /// What; denoms strictly increasing.
        assets: Vec<Asset>,
    },
    /// A bundle to run; answered by exactly one reply.
    Request {
        /// Who asks; absent in an onward request, which uses only its attached assets.
        sender: Option<Address>,
        /// Who gets what is left.
        beneficiary: Address,
        /// Where the reply goes: the origin's chain and the request's id there.
        reply_to: MessageId,
        /// Hops so far.
        hops: u8,
        /// The chains that it ran on before this one, in order: as many as hops. Who sends it on adds
        /// itself, so what a chain claims in its own name alone is seen at the origin.
        via: Vec<ChainRef>,
        /// What the calls need here.
        gas: Gas,
        /// Base units of `sker` per unit at which the gas of this leg was bought.
        gas_price: Amount,
        /// Base units of `sker` that it carries for gas: of this leg, and of those after it.
        prepaid: Amount,
        /// What was bought for the legs after this one, in order.
        onward_gas: Vec<LegGas>,
        /// What to run, here and then elsewhere.
        bundle: Bundle,
    },
    /// The answer to a request, of one fixed size and gas; cannot fail.
    Reply {
        /// The request, as the origin knows it.
        request: MessageId,
        /// The chains that it ran on before the one that answers, in order.
        via: Vec<ChainRef>,
        /// What happened: one of [`reply_code`].
        code: u16,
        /// Base units of `sker` that were prepaid for gas and not used.
        gas_left: Amount,
        /// Who is credited.
        beneficiary: Address,
        /// What comes home.
        assets: Vec<Asset>,
    },
    /// Between modules of the system, with reserved room.
    System(Operation),
}

/// Gas of a leg that is still to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct LegGas {
    /// What its calls need.
    pub gas: Gas,
    /// Base units of `sker` per unit at which it was bought.
    pub price: Amount,
}

/// What a reply says of its request. The receipt at the destination says more.
pub mod reply_code {
    /// All of the bundle happened, on every leg of its route.
    pub const DONE: u16 = 0;
    /// None of it happened: a call refused, an output was below its minimum, or it came too late. All
    /// that was attached comes home.
    pub const FAILED: u16 = 1;
    /// None of it happened: the destination does not know the calls.
    pub const UNKNOWN: u16 = 2;
    /// None of it happened: the prepaid gas is less than the calls need.
    pub const GAS: u16 = 3;
    /// The route ended before its last leg had happened: what the legs before brought comes home.
    pub const PARTIAL: u16 = 4;
}

impl Message {
    /// The message's hash, a leaf of its batch's root.
    pub fn hash(wire: &[u8]) -> Digest {
        hash(Purpose::MESSAGE, wire)
    }
}

/// Consecutive messages of one channel, as bytes: an undecodable one is accepted and dropped.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Batch {
    /// Version byte.
    pub version: Version,
    /// Where it comes from.
    pub source: ChainRef,
    /// Where it goes.
    pub destination: ChainRef,
    /// Position of the first message.
    pub first: Sequence,
    /// Canonical bytes of the messages; never empty.
    pub messages: Vec<Vec<u8>>,
}

impl Batch {
    /// The batch's root: a hash over version, channel, first position and the list root of the messages.
    pub fn root(&self) -> Digest {
        let leaves: Vec<Digest> = self
            .messages
            .iter()
            .map(|wire| Message::hash(wire))
            .collect();
        hash_parts(
            Purpose::BATCH,
            &[
                &[codec::VERSION],
                &self.source.to_bytes(),
                &self.destination.to_bytes(),
                &self.first.get().to_le_bytes(),
                list_root(&leaves).as_bytes(),
            ],
        )
    }

    /// Position after the last message.
    pub fn end(&self) -> Sequence {
        self.first
            .saturating_add(u64::try_from(self.messages.len()).unwrap_or(u64::MAX))
    }

    /// Bytes of all messages.
    pub fn message_bytes(&self) -> u64 {
        self.messages
            .iter()
            .map(|wire| u64::try_from(wire.len()).unwrap_or(u64::MAX))
            .sum()
    }

    /// The rolling root after this batch.
    pub fn roll(&self, before: &Digest) -> Digest {
        hash_parts(
            Purpose::ROLLING,
            &[before.as_bytes(), self.root().as_bytes()],
        )
    }
}

/// What a source's state holds of an unacknowledged batch, under its channel and first position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct BatchRecord {
    /// [`Batch::root`]; a version byte comes before it.
    #[borsh(
        serialize_with = "crate::codec::versioned::write",
        deserialize_with = "crate::codec::versioned::read"
    )]
    pub root: Digest,
    /// Messages in it.
    pub count: u32,
    /// Their bytes.
    pub bytes: u64,
    /// Their gas.
    pub gas: Gas,
    /// The source's block that emitted it.
    pub height: Height,
}

/// Proof of a batch: a final source header, and the path from the state it reports to the batch's
/// record.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct BatchProof {
    /// A header that reports a state in which the batch is recorded.
    pub header: Header,
    /// Headers after it up to the certified one; empty when the certificate is its own.
    pub path: Vec<Header>,
    /// The finalization.
    pub certificate: Certificate,
    /// The record's place in the reported state.
    pub record: KeyProof,
}

/// A batch with its proof, as relays push it and block bodies embed it.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct InboundBatch {
    /// The messages.
    pub batch: Batch,
    /// Why they count.
    pub proof: BatchProof,
}

/// Cumulative counters of one direction of a channel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Flow {
    /// Messages.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Their gas.
    pub gas: u64,
    /// Base units of `sker` in them.
    pub sker: u128,
    /// Base units of `stsker` in them.
    pub stsker: u128,
    /// Base units of `rssker` in them.
    pub rssker: u128,
}

impl Flow {
    /// Base units of a native denom; none of any other.
    pub const fn native(&self, denom: Denom) -> u128 {
        match denom {
            Denom::SKER => self.sker,
            Denom::STSKER => self.stsker,
            Denom::RSSKER => self.rssker,
            _ => 0,
        }
    }
}

/// Room for messages at their destination: what requests and transfers may take of it. Replies have
/// room of their own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize)]
pub struct Credit {
    /// Bytes of messages.
    pub bytes: u64,
    /// Gas that they need there.
    pub gas: u64,
}

impl Credit {
    /// None at all.
    pub const ZERO: Self = Self { bytes: 0, gas: 0 };

    /// Sum, each part staying at the largest number.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            bytes: self.bytes.saturating_add(other.bytes),
            gas: self.gas.saturating_add(other.gas),
        }
    }

    /// Difference, each part staying at zero.
    #[must_use]
    pub const fn less(self, other: Self) -> Self {
        Self {
            bytes: self.bytes.saturating_sub(other.bytes),
            gas: self.gas.saturating_sub(other.gas),
        }
    }

    /// Part by part the larger one.
    #[must_use]
    pub fn most(self, other: Self) -> Self {
        Self {
            bytes: self.bytes.max(other.bytes),
            gas: self.gas.max(other.gas),
        }
    }

    /// Part by part the smaller one.
    #[must_use]
    pub fn least(self, other: Self) -> Self {
        Self {
            bytes: self.bytes.min(other.bytes),
            gas: self.gas.min(other.gas),
        }
    }

    /// Each part times a number, staying at the largest.
    #[must_use]
    pub const fn times(self, count: u64) -> Self {
        Self {
            bytes: self.bytes.saturating_mul(count),
            gas: self.gas.saturating_mul(count),
        }
    }

    /// Each part over a number, rounded down; nothing over zero.
    #[must_use]
    pub fn over(self, parts: u64) -> Self {
        Self {
            bytes: self.bytes.checked_div(parts).unwrap_or(0),
            gas: self.gas.checked_div(parts).unwrap_or(0),
        }
    }

    /// Whether there is room for `other` in it: no part is smaller.
    #[must_use]
    pub const fn covers(self, other: Self) -> bool {
        self.bytes >= other.bytes && self.gas >= other.gas
    }
}

impl std::fmt::Display for Credit {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} bytes and {} gas", self.bytes, self.gas)
    }
}

/// What one chain says of its channels with one peer, cumulatively.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ChannelSummary {
    /// The peer.
    pub peer: ChainRef,
    /// Sent to the peer.
    pub sent: Flow,
    /// Accepted from the peer.
    pub accepted: Flow,
    /// Executed from the peer, in messages.
    pub executed: u64,
    /// What requests and transfers of the peer may take in all, what it gave back included.
    pub granted: Credit,
    /// What the chain gave back of what the peer granted to it, and will not use.
    pub returned: Credit,
}

/// The channels root of a header: hash of a version byte and the summaries in order of peer; zero
/// without peers.
pub fn channels_root(summaries: &[ChannelSummary]) -> Digest {
    if summaries.is_empty() {
        Digest::ZERO
    } else {
        hash_of(Purpose::CHANNELS, &(Version, summaries))
    }
}
