//! Proof that validators broke the rules of consensus: votes or certificates that contradict each
//! other, or two final blocks at one height.
//!
//! Whoever signed on both sides of a contradiction is guilty. Certificates prove that as well as
//! single votes do: every key has proved possession, so no aggregate is valid over the key of a
//! member that did not sign. Two final blocks of *different* views prove that a third of the weight
//! broke the rules, but not who did: an honest member finalizes what it sees notarized, and whether
//! the later notarization broke a rule is for the votes of the views between to show. Such a fork
//! fences its shard and accuses nobody by itself.
//!
//! Rules: DESIGN sections 6 and 9.

use crate::block::Header;
use crate::certificate::Certificate;
use crate::codec;
use crate::ids::{ChainRef, Epoch, MemberIndex};
use crate::limits;
use crate::vote::{Statement, Vote};
use borsh::{BorshDeserialize, BorshSerialize};

/// Proof that members of one instance broke its rules.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Evidence {
    /// The chain; a version byte comes before it.
    #[borsh(
        serialize_with = "crate::codec::versioned::write",
        deserialize_with = "crate::codec::versioned::read"
    )]
    pub chain: ChainRef,
    /// The epoch, which with the chain names committee and instance.
    pub epoch: Epoch,
    /// What contradicts each other.
    pub conflict: Conflict,
}

/// Two things that do not go together, the lesser first, so that one conflict has one encoding.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Conflict {
    /// Two votes of one signer, in order of their statements.
    Votes {
        /// One vote.
        first: Vote,
        /// The other.
        second: Vote,
    },
    /// Two certificates of one view, in order of their statements.
    Certificates {
        /// One certificate.
        first: Certificate,
        /// The other.
        second: Certificate,
    },
    /// Two final blocks at one height, in order of their headers' digests.
    Finals {
        /// One block.
        first: Box<FinalHeader>,
        /// The other.
        second: Box<FinalHeader>,
    },
}

/// A header with the proof that it is final.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct FinalHeader {
    /// The header.
    pub header: Header,
    /// Headers after it up to the certified one; empty when the certificate is its own.
    pub path: Vec<Header>,
    /// The finalization.
    pub certificate: Certificate,
}

impl Evidence {
    /// Evidence of two votes of one signer in one instance, unless they agree. Signatures are not
    /// checked.
    pub fn of_votes((chain, epoch): (ChainRef, Epoch), one: Vote, other: Vote) -> Option<Self> {
        let (first, second) = if one.statement <= other.statement {
            (one, other)
        } else {
            (other, one)
        };
        Self::with(chain, epoch, Conflict::Votes { first, second })
    }

    /// Evidence of two certificates of one instance, unless they agree. Signatures are not checked.
    pub fn of_certificates(
        (chain, epoch): (ChainRef, Epoch),
        one: Certificate,
        other: Certificate,
    ) -> Option<Self> {
        let (first, second) = if one.statement <= other.statement {
            (one, other)
        } else {
            (other, one)
        };
        Self::with(chain, epoch, Conflict::Certificates { first, second })
    }

    /// Evidence of two final blocks, unless they are of different instances or heights, or the
    /// same. Nothing is verified.
    pub fn of_finals(one: FinalHeader, other: FinalHeader) -> Option<Self> {
        let (first, second) = if one.header.digest() <= other.header.digest() {
            (one, other)
        } else {
            (other, one)
        };
        let (chain, epoch) = (first.header.chain, first.header.epoch);
        let (first, second) = (Box::new(first), Box::new(second));
        Self::with(chain, epoch, Conflict::Finals { first, second })
    }

    fn with(chain: ChainRef, epoch: Epoch, conflict: Conflict) -> Option<Self> {
        let evidence = Self {
            chain,
            epoch,
            conflict,
        };
        evidence.is_conflict().then_some(evidence)
    }

    /// Whether the two sides contradict each other and stand in their order. Says nothing of
    /// signatures and paths.
    pub fn is_conflict(&self) -> bool {
        match &self.conflict {
            Conflict::Votes { first, second } => {
                first.signer == second.signer
                    && first.statement < second.statement
                    && contradict(&first.statement, &second.statement)
            }
            Conflict::Certificates { first, second } => {
                first.statement < second.statement
                    && contradict(&first.statement, &second.statement)
            }
            Conflict::Finals { first, second } => {
                let (one, other) = (&first.header, &second.header);
                let is_here =
                    |header: &Header| (header.chain, header.epoch) == (self.chain, self.epoch);
                is_here(one)
                    && is_here(other)
                    && one.height == other.height
                    && one.digest() < other.digest()
            }
        }
    }

    /// Length of its canonical bytes.
    pub fn byte_length(&self) -> usize {
        codec::encode(self).len()
    }

    /// Whether it is at most [`limits::EVIDENCE_BYTES_MAX`] long. Whoever keeps, passes on, proposes
    /// or accepts evidence asks this, so that nobody proposes what others find too long.
    pub fn is_small(&self) -> bool {
        self.byte_length() <= limits::EVIDENCE_BYTES_MAX
    }

    /// The members, of a committee of `members`, that it proves guilty, once it is verified; in
    /// order.
    pub fn guilty(&self, members: usize) -> Vec<MemberIndex> {
        let both = |first: &Certificate, second: &Certificate| {
            let sets = first.signers.members(members);
            let (Some(one), Some(other)) = (sets, second.signers.members(members)) else {
                return Vec::new();
            };
            one.into_iter().filter(|it| other.contains(it)).collect()
        };
        match &self.conflict {
            Conflict::Votes { first, .. } => vec![first.signer],
            Conflict::Certificates { first, second } => both(first, second),
            Conflict::Finals { first, second } => {
                let (one, other) = (&first.certificate, &second.certificate);
                if contradict(&one.statement, &other.statement) {
                    both(one, other)
                } else {
                    Vec::new()
                }
            }
        }
    }

    /// Whether it proves two final blocks where one may be: the chain has forked.
    pub const fn is_fork(&self) -> bool {
        match &self.conflict {
            Conflict::Votes { .. } => false,
            Conflict::Certificates { first, second } => {
                is_finalize(&first.statement) && is_finalize(&second.statement)
            }
            Conflict::Finals { .. } => true,
        }
    }

    /// The signer of two votes.
    pub const fn signer(&self) -> Option<MemberIndex> {
        match &self.conflict {
            Conflict::Votes { first, .. } => Some(first.signer),
            Conflict::Certificates { .. } | Conflict::Finals { .. } => None,
        }
    }
}

const fn is_finalize(statement: &Statement) -> bool {
    matches!(statement, Statement::Finalize { .. })
}

/// Whether no honest member signs both: two blocks in one view, in whatever phase, or a nullify
/// with a finalize. A notarize with a nullify is honest.
pub fn contradict(one: &Statement, other: &Statement) -> bool {
    use Statement::{Finalize, Notarize, Nullify};
    one.view() == other.view()
        && match (one, other) {
            (Nullify { .. }, Finalize { .. }) | (Finalize { .. }, Nullify { .. }) => true,
            (Nullify { .. }, _) | (_, Nullify { .. }) => false,
            (
                Notarize { digest, .. } | Finalize { digest, .. },
                Notarize { digest: other, .. } | Finalize { digest: other, .. },
            ) => digest != other,
        }
}
