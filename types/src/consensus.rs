//! What validators of one chain send each other.
//!
//! The peer protocol's frame around each of these names chain, epoch and kind, so that size and
//! chain are checked before anything here is decoded.

use crate::block::Header;
use crate::certificate::Certificate;
use crate::crypto::bls::Signature;
use crate::ids::{Digest, Height, View};
use crate::vote::Vote;
use borsh::{BorshDeserialize, BorshSerialize};

/// A leader's block for a view, with what makes it acceptable.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Proposal {
    /// The view it is proposed in; a seal's header keeps its first view.
    pub view: View,
    /// The header.
    pub header: Header,
    /// Canonical bytes of the body; empty for idle blocks and seals.
    pub body: Vec<u8>,
    /// Notarization or finalization of the parent; absent when the parent is the instance's
    /// genesis.
    pub parent: Option<Certificate>,
    /// The newest finalization that the leader holds.
    pub finalization: Option<Certificate>,
    /// The leader's notarize vote for it.
    pub signature: Signature,
}

/// What a replica asks another for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub enum FetchRequest {
    /// What closed a view: its notarization, nullification, or a later finalization.
    View(View),
    /// A block with its notarization or finalization.
    Block(Digest),
}

/// An answer; what is not held is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct FetchReply {
    /// Certificates.
    pub certificates: Vec<Certificate>,
    /// A block: header and body bytes.
    pub block: Option<(Header, Vec<u8>)>,
}

/// A message between replicas.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum ConsensusMessage {
    /// One vote.
    Vote(Vote),
    /// One certificate.
    Certificate(Certificate),
    /// A proposal.
    Proposal(Box<Proposal>),
    /// A question.
    Request(FetchRequest),
    /// An answer.
    Reply(Box<FetchReply>),
}

/// Asks for finalized blocks, from `from` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct RangeRequest {
    /// First height.
    pub from: Height,
    /// Most blocks wanted; the server may send fewer.
    pub count: u16,
}

/// What a peer says of a chain it follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct PeerStatus {
    /// Height of its newest final block.
    pub finalized: Height,
}
