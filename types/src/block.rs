//! What a leader proposes: a header with the reported result of an earlier block, and a body.

use crate::amount::Amount;
use crate::beacon::{Facts, SystemOperation};
use crate::certificate::{Bitmap, Certificate};
use crate::codec::{self, Version};
use crate::crypto::bls::Signature;
use crate::crypto::hash::{Purpose, hash, hash_of, hash_parts, list_root};
use crate::ids::{ChainRef, Digest, Epoch, Gas, Height, MemberIndex, TimeMs, View};
use crate::message::InboundBatch;
use borsh::{BorshDeserialize, BorshSerialize};

/// What kind of block a header heads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize)]
pub enum BlockKind {
    /// Has a body that changes the state.
    Working,
    /// No body, no change; carries the chain on.
    Idle,
    /// Ends an epoch; no body, no change; reports the last working block of the epoch.
    Seal,
}

/// A beacon block by height and digest.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize,
)]
pub struct BlockRef {
    /// Its height.
    pub height: Height,
    /// Its digest.
    pub digest: Digest,
}

/// What executing a block gave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize)]
pub struct ExecutionResult {
    /// Root of the state after the block.
    pub state_root: Digest,
    /// [`list_root`] of the receipts' hashes.
    pub receipts_root: Digest,
    /// Hash of the channel summaries after the block (see [`crate::message::channels_root`]).
    pub channels_root: Digest,
    /// Gas of all that was executed.
    pub gas: Gas,
    /// Base units of `sker` burnt by this block.
    pub burnt: Amount,
    /// Least gas price of the block that follows at once, in base units of `sker`. It falls by a rule
    /// that everybody knows with every height that has no working block.
    pub base_fee: Amount,
}

/// A block whose result a header reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize)]
pub struct Report {
    /// The reported block; height 0 and the instance's genesis digest before the first one.
    pub block: BlockRef,
    /// Its result.
    pub result: ExecutionResult,
}

/// The committee of the next epoch, as a seal commits to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize)]
pub struct NextCommittee {
    /// The epoch that begins.
    pub epoch: Epoch,
    /// Hash of its committee.
    pub root: Digest,
    /// Total weight of its committee.
    pub weight: u128,
}

/// Heads a block; its hash is the block's digest.
#[derive(Clone, Debug, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize)]
pub struct Header {
    /// Version byte.
    pub version: Version,
    /// Hash of the network's genesis.
    pub chain_id: Digest,
    /// The chain.
    pub chain: ChainRef,
    /// The epoch, which selects the committee.
    pub epoch: Epoch,
    /// One above the parent's.
    pub height: Height,
    /// The view it was first proposed in.
    pub view: View,
    /// Working, idle or seal.
    pub kind: BlockKind,
    /// Digest of the parent's header, or of the instance's genesis.
    pub parent: Digest,
    /// Who proposed it.
    pub proposer: MemberIndex,
    /// The proposer's clock; above the parent's.
    pub time: TimeMs,
    /// The beacon block that a shard's block relies on; on the beacon, the parent.
    pub beacon: BlockRef,
    /// Root of the body; zero without one.
    pub body_root: Digest,
    /// The newest result known, of a working ancestor.
    pub report: Report,
    /// On the beacon, the root of the facts in the reported state; else zero.
    pub facts_root: Digest,
    /// In a seal, the next committee.
    pub next: Option<NextCommittee>,
    /// On the beacon, the proposer's randomness reveal.
    pub reveal: Option<Signature>,
}

impl Header {
    /// The block's digest.
    pub fn digest(&self) -> Digest {
        hash_of(Purpose::HEADER, self)
    }

    /// Height and digest.
    pub fn block_ref(&self) -> BlockRef {
        BlockRef {
            height: self.height,
            digest: self.digest(),
        }
    }
}

/// What the reveal of a beacon proposer signs: chain, epoch and view, and nothing else.
pub fn reveal_message(chain_id: &Digest, epoch: Epoch, view: View) -> Digest {
    hash_parts(
        Purpose::REVEAL,
        &[
            chain_id.as_bytes(),
            &epoch.get().to_le_bytes(),
            &view.get().to_le_bytes(),
        ],
    )
}

/// The signers of the parent's notarization, for rewards and jailing only.
#[derive(Clone, Debug, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize)]
pub struct ParentVotes {
    /// View of the notarization.
    pub view: View,
    /// Who signed.
    pub signers: Bitmap,
    /// Their aggregate signature.
    pub signature: Signature,
}

/// What a working block does. Idle blocks and seals have none.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Body {
    /// Version byte.
    pub version: Version,
    /// Who notarized the parent; absent on the first block of an instance.
    pub parent_votes: Option<ParentVotes>,
    /// In a shard, the facts shown by the referenced beacon block, when they differ from those
    /// that the state holds.
    pub facts: Option<Facts>,
    /// On the beacon, cross-links and other operations of validators.
    pub system: Vec<SystemOperation>,
    /// Whole batches from other chains with their proofs.
    pub inbound: Vec<InboundBatch>,
    /// Wire bytes of transactions, in order.
    pub transactions: Vec<Vec<u8>>,
}

impl Body {
    /// The body's root: hash of (hash of everything but the transactions, list root of the
    /// transactions' wire hashes), so that a transaction's inclusion has a short proof.
    pub fn root(&self) -> Digest {
        let wire_hashes: Vec<Digest> = self
            .transactions
            .iter()
            .map(|wire| hash(Purpose::TRANSACTION_WIRE, wire))
            .collect();
        self.root_with(&wire_hashes)
    }

    /// [`Self::root`] with the wire hashes already known.
    pub fn root_with(&self, wire_hashes: &[Digest]) -> Digest {
        let rest = codec::encode(&(
            &self.version,
            &self.parent_votes,
            &self.facts,
            &self.system,
            &self.inbound,
        ));
        hash_parts(
            Purpose::BODY,
            &[
                list_root(wire_hashes).as_bytes(),
                hash(Purpose::BODY_REST, &rest).as_bytes(),
            ],
        )
    }

    /// Whether it does nothing at all.
    pub fn is_empty(&self) -> bool {
        self.facts.is_none()
            && self.system.is_empty()
            && self.inbound.is_empty()
            && self.transactions.is_empty()
    }
}

/// A block as it is stored and served: header, canonical bytes of the body (empty without one).
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Block {
    /// The header.
    pub header: Header,
    /// Canonical bytes of the [`Body`]; empty for idle blocks and seals.
    pub body: Vec<u8>,
}

/// A block with the proof that it is final. The certificate is for this block or, where it got
/// none of its own, for a descendant, to which `path` leads: the headers from the child of this
/// block to the certified one.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct FinalizedBlock {
    /// The block.
    pub block: Block,
    /// Headers after it up to the certified one; empty when the certificate is its own.
    pub path: Vec<Header>,
    /// A finalization.
    pub certificate: Certificate,
}
