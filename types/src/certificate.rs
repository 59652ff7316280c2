//! What a quorum proves: a statement, a bitmap of distinct members, one aggregate signature.

use crate::committee::{Committee, VerifyingCommittee};
use crate::crypto::bls::Signature;
use crate::crypto::scheme::{SchemeKey, VoteScheme};
use crate::ids::{MemberIndex, View};
use crate::vote::Statement;
use borsh::{BorshDeserialize, BorshSerialize};

/// A set of members, one bit each, least significant bit first; as long as the committee needs,
/// bits above its size zero.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize)]
pub struct Bitmap(Vec<u8>);

impl Bitmap {
    /// The set of `members` in a committee of `size`.
    pub fn of(members: impl IntoIterator<Item = MemberIndex>, size: usize) -> Self {
        let mut bytes = vec![0_u8; size.div_ceil(8)];
        for member in members {
            if let Some(byte) = bytes.get_mut(member.index() / 8) {
                *byte |= 1 << (member.index() % 8);
            }
        }
        Self(bytes)
    }

    /// The members of the set; `None` when the bitmap does not have the form for `size`.
    pub fn members(&self, size: usize) -> Option<Vec<MemberIndex>> {
        if self.0.len() != size.div_ceil(8) {
            return None;
        }
        let mut members = Vec::new();
        for (position, byte) in self.0.iter().enumerate() {
            for bit in 0..8_usize {
                if byte & (1 << bit) != 0 {
                    let index = position * 8 + bit;
                    if index >= size {
                        return None;
                    }
                    members.push(MemberIndex::new(u16::try_from(index).ok()?));
                }
            }
        }
        Some(members)
    }
}

/// A quorum's statement.
#[derive(Clone, Debug, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize)]
pub struct Certificate {
    /// What is certified; a version byte comes before it.
    #[borsh(
        serialize_with = "crate::codec::versioned::write",
        deserialize_with = "crate::codec::versioned::read"
    )]
    pub statement: Statement,
    /// Who signed.
    pub signers: Bitmap,
    /// Aggregate of the signers' signatures.
    pub signature: Signature,
}

/// Why a certificate proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// The bitmap does not fit the committee.
    #[error("the bitmap does not fit a committee of {members} members")]
    Bitmap {
        /// Size of the committee.
        members: usize,
    },
    /// Too little weight signed.
    #[error("signed by weight {actual}, a quorum is {quorum}")]
    Weight {
        /// Weight of the signers.
        actual: u128,
        /// Weight needed.
        quorum: u128,
    },
    /// The signature is not the signers' aggregate.
    #[error("the aggregate signature is wrong")]
    Signature,
    /// Another kind of statement was needed.
    #[error("the certificate does not state what is needed")]
    Statement,
}

impl Certificate {
    /// The view spoken of.
    pub const fn view(&self) -> View {
        self.statement.view()
    }

    /// Checks bitmap and weight: those who are said to have signed make a quorum of `committee`.
    /// Returns them. The signature is not checked.
    ///
    /// # Errors
    /// When bitmap or weight is wrong.
    pub fn quorum_of(&self, committee: &Committee) -> Result<Vec<MemberIndex>, CertificateError> {
        let members = committee.members.len();
        let signers = self
            .signers
            .members(members)
            .ok_or(CertificateError::Bitmap { members })?;
        let actual = signers
            .iter()
            .filter_map(|index| committee.member(*index))
            .map(|member| u128::from(member.weight.get()))
            .sum();
        let quorum = committee.quorum();
        if actual < quorum {
            return Err(CertificateError::Weight { actual, quorum });
        }
        Ok(signers)
    }

    /// Checks bitmap, weight and signature.
    ///
    /// # Errors
    /// When one of them is wrong for `committee`.
    pub fn verify(
        &self,
        committee: &VerifyingCommittee,
        scheme: &dyn VoteScheme,
    ) -> Result<(), CertificateError> {
        let signers = self.quorum_of(committee.committee())?;
        let keys: Vec<SchemeKey> = signers
            .iter()
            .filter_map(|index| committee.key(*index).copied())
            .collect();
        let message = self.statement.signing_digest(committee.instance());
        if scheme.verify(&keys, &message, &self.signature) {
            Ok(())
        } else {
            Err(CertificateError::Signature)
        }
    }
}
