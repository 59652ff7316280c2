//! Proof that a member contradicted itself: two votes of one view that no honest member casts both.

use borsh::{BorshDeserialize, BorshSerialize};
use skerry_types::codec::Version;
use skerry_types::committee::VerifyingCommittee;
use skerry_types::crypto::scheme::VoteScheme;
use skerry_types::vote::{Statement, Vote};

/// Two votes of one signer that contradict each other, in the order of their statements.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Evidence {
    /// Version byte.
    pub version: Version,
    /// One vote.
    pub first: Vote,
    /// The other.
    pub second: Vote,
}

impl Evidence {
    /// Evidence of two votes, unless they agree. Signatures are not checked.
    pub fn of(one: Vote, other: Vote) -> Option<Self> {
        let same_signer = one.signer == other.signer;
        let contradict = same_signer && contradict(&one.statement, &other.statement);
        let (first, second) = if one.statement <= other.statement {
            (one, other)
        } else {
            (other, one)
        };
        contradict.then_some(Self {
            version: Version,
            first,
            second,
        })
    }

    /// Whether both votes are the signer's and contradict each other.
    pub fn verify(&self, committee: &VerifyingCommittee, scheme: &dyn VoteScheme) -> bool {
        self.first.signer == self.second.signer
            && self.first.statement < self.second.statement
            && contradict(&self.first.statement, &self.second.statement)
            && self.first.verify(committee, scheme)
            && self.second.verify(committee, scheme)
    }
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
