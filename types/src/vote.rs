//! What a vote says. Three statements of Simplex: notarize and finalize a block, or nullify a view.

use crate::codec::Version;
use crate::committee::{Instance, VerifyingCommittee};
use crate::crypto::bls::Signature;
use crate::crypto::hash::{Purpose, hash_of};
use crate::crypto::scheme::VoteScheme;
use crate::ids::{Digest, MemberIndex, View};
use borsh::{BorshDeserialize, BorshSerialize};

/// What is said about a view.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize,
)]
pub enum Statement {
    /// This block is a good proposal for the view; at most one per view and voter.
    Notarize {
        /// The view.
        view: View,
        /// Digest of the block's header.
        digest: Digest,
    },
    /// The view is to be skipped; never together with a finalize.
    Nullify {
        /// The view.
        view: View,
    },
    /// The voter saw the block notarized and certified it, and did not nullify the view.
    Finalize {
        /// The view.
        view: View,
        /// Digest of the block's header.
        digest: Digest,
    },
}

impl Statement {
    /// The view spoken of.
    pub const fn view(&self) -> View {
        match self {
            Self::Notarize { view, .. } | Self::Nullify { view } | Self::Finalize { view, .. } => {
                *view
            }
        }
    }

    /// The block spoken of, unless the view is nullified.
    pub const fn digest(&self) -> Option<Digest> {
        match self {
            Self::Notarize { digest, .. } | Self::Finalize { digest, .. } => Some(*digest),
            Self::Nullify { .. } => None,
        }
    }

    /// What is signed: a hash over version, chain id, chain, epoch, instance and the statement.
    pub fn signing_digest(&self, instance: &Instance) -> Digest {
        hash_of(Purpose::VOTE, &(Version, instance, self))
    }
}

/// One member's signed statement.
#[derive(Clone, Debug, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize)]
pub struct Vote {
    /// What it says.
    pub statement: Statement,
    /// Who says it.
    pub signer: MemberIndex,
    /// The signature.
    pub signature: Signature,
}

impl Vote {
    /// Whether the signature is the signer's.
    pub fn verify(&self, committee: &VerifyingCommittee, scheme: &dyn VoteScheme) -> bool {
        let message = self.statement.signing_digest(committee.instance());
        committee
            .key(self.signer)
            .is_some_and(|key| scheme.verify(&[*key], &message, &self.signature))
    }
}
