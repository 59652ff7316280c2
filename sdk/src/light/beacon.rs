//! A committee of the beacon that is trusted, and how trust moves on from it: each seal that the
//! committee finalized names the next one. Wallets and nodes that join share this code.

use super::LightError;
use skerry_types::block::{BlockRef, Header, NextCommittee};
use skerry_types::certificate::Certificate;
use skerry_types::committee::VerifyingCommittee;
use skerry_types::crypto::scheme::VoteScheme;
use skerry_types::ids::{ChainRef, Digest, Epoch};
use skerry_types::light::SealProof;
use skerry_types::vote::Statement;
use std::sync::Arc;

/// A trusted committee of the beacon.
#[derive(Clone, Debug)]
pub struct TrustedBeacon {
    committee: Arc<VerifyingCommittee>,
    scheme: Arc<dyn VoteScheme>,
}

impl TrustedBeacon {
    /// Trusts a committee of the beacon: that of a genesis, or one that was verified before.
    pub fn new(committee: Arc<VerifyingCommittee>, scheme: Arc<dyn VoteScheme>) -> Self {
        Self { committee, scheme }
    }

    /// The network's id.
    pub fn chain_id(&self) -> Digest {
        self.committee.instance().chain_id
    }

    /// The epoch whose committee is trusted.
    pub fn epoch(&self) -> Epoch {
        self.committee.committee().epoch
    }

    /// Digest of the seal that opened the trusted epoch; in epoch 0 that of the chain's start.
    pub fn seal(&self) -> Digest {
        self.committee.instance().genesis
    }

    /// The committee.
    pub const fn committee(&self) -> &Arc<VerifyingCommittee> {
        &self.committee
    }

    /// Checks that a header of the beacon is final by the trusted committee: by its own
    /// finalization or by that of a descendant, to which `path` leads.
    ///
    /// # Errors
    /// Names the first check that fails.
    pub fn check_final(
        &self,
        header: &Header,
        path: &[Header],
        certificate: &Certificate,
    ) -> Result<BlockRef, LightError> {
        let block = header.block_ref();
        let mut last = block;
        for header in std::iter::once(header).chain(path) {
            self.check_place(header)?;
        }
        for header in path {
            if header.parent != last.digest || header.height != last.height.next() {
                return Err(LightError::Statement);
            }
            last = header.block_ref();
        }
        match certificate.statement {
            Statement::Finalize { digest, .. } if digest == last.digest => {}
            _ => return Err(LightError::Statement),
        }
        certificate.verify(&self.committee, &*self.scheme)?;
        Ok(block)
    }

    fn check_place(&self, header: &Header) -> Result<(), LightError> {
        if header.chain_id != self.chain_id() {
            let (expected, actual) = (self.chain_id(), header.chain_id);
            return Err(LightError::Network { expected, actual });
        }
        if header.chain != ChainRef::Beacon || header.epoch != self.epoch() {
            return Err(LightError::Header {
                chain: header.chain,
                epoch: header.epoch,
                trusted: self.epoch(),
            });
        }
        Ok(())
    }

    /// Trusts the committee that a seal of the trusted epoch names.
    ///
    /// # Errors
    /// Names the first check that fails; the trusted committee stays then.
    pub fn advance(&mut self, proof: SealProof) -> Result<(), LightError> {
        let SealProof {
            header,
            certificate,
            committee,
            ..
        } = proof;
        let seal = self.check_final(&header, &[], &certificate)?;
        let named = NextCommittee {
            epoch: committee.epoch,
            root: committee.root(),
            weight: committee.total_weight(),
        };
        let wrong = LightError::Seal(header.epoch);
        let is_next = committee.chain == ChainRef::Beacon && committee.epoch > header.epoch;
        if header.next != Some(named) || !is_next {
            return Err(wrong);
        }
        let (id, scheme) = (self.chain_id(), &*self.scheme);
        let next = VerifyingCommittee::new(committee, id, seal.digest, scheme).ok_or(wrong)?;
        self.committee = Arc::new(next);
        Ok(())
    }
}
