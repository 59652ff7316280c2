//! The light client: from a trusted genesis to an owner's records, believing no server.
//!
//! The chain of reasons, in the order of [`TrustedNetwork::verify`]: the beacon's first committee
//! comes from the genesis, and each later one from a seal that the one before it finalized
//! ([`TrustedNetwork::advance`]); its quorum finalized exactly this beacon header; the header reports a beacon
//! state; that state holds the record of the owner's home shard; the record names a shard state;
//! the proof holds all of the owner's records in that state. Every byte of a proof is part of this
//! chain, so changing any one makes it fail. How *old* a proven state is, only the caller can judge
//! from [`VerifiedAccount::time`].

mod beacon;
#[cfg(test)]
mod tests;

pub use beacon::TrustedBeacon;

use skerry_execution::views;
use skerry_types::amount::Asset;
use skerry_types::beacon::ShardRecord;
use skerry_types::block::BlockRef;
use skerry_types::certificate::CertificateError;
use skerry_types::codec::{self, CodecError};
use skerry_types::crypto::scheme::BlsScheme;
use skerry_types::genesis::{Genesis, GenesisError};
use skerry_types::ids::{Address, ChainRef, Digest, Epoch, TimeMs};
use skerry_types::light::{LightProof, SealProof};
use skerry_types::limits;
use skerry_types::merkle::{OwnerEntry, ProofError};
use std::sync::Arc;

/// Why a proof proves nothing.
#[derive(Debug, thiserror::Error)]
pub enum LightError {
    /// The trusted genesis is no genesis.
    #[error("the trusted genesis cannot be used")]
    Genesis(#[from] GenesisError),
    /// The trusted genesis has no usable beacon committee.
    #[error("the trusted genesis has no usable beacon committee")]
    Committee,
    /// The bytes are no proof.
    #[error("the proof's bytes are malformed")]
    Codec(#[from] CodecError),
    /// The header belongs to another network.
    #[error("the proof is of network {actual}, the trusted genesis is network {expected}")]
    Network {
        /// The trusted network.
        expected: Digest,
        /// The proof's.
        actual: Digest,
    },
    /// The header is not one of the beacon in the epoch of the trusted committee.
    #[error(
        "the proof's header is of {chain} in epoch {epoch}, expected the beacon in epoch {trusted}"
    )]
    Header {
        /// The header's chain.
        chain: ChainRef,
        /// The header's epoch.
        epoch: Epoch,
        /// The epoch of the trusted committee.
        trusted: Epoch,
    },
    /// A proof of the next committee does not hold one, or another than the seal names.
    #[error("the seal of epoch {0} does not name the committee that comes with it")]
    Seal(Epoch),
    /// The certificate is not a finalization of the header.
    #[error("the certificate does not finalize the proof's header")]
    Statement,
    /// The certificate proves nothing.
    #[error("the certificate of the beacon header is wrong")]
    Certificate(#[from] CertificateError),
    /// The path to the shard's record is wrong.
    #[error("the proof of the shard's record is wrong")]
    ShardRecord(#[source] ProofError),
    /// The beacon state holds no record of the shard.
    #[error("the beacon state holds no record of {0}")]
    ShardAbsent(ChainRef),
    /// The record is of another shard than the owner's home.
    #[error("the record is of {actual}, the owner's home is {expected}")]
    Home {
        /// The owner's home.
        expected: ChainRef,
        /// The record's shard.
        actual: ChainRef,
    },
    /// The path to the owner's records is wrong.
    #[error("the proof of the owner's records is wrong")]
    Owner(#[source] ProofError),
}

/// A network that is trusted because its genesis is.
#[derive(Clone, Debug)]
pub struct TrustedNetwork {
    shard_depth: u8,
    beacon: TrustedBeacon,
}

/// What a proof showed.
#[derive(Clone, Debug)]
pub struct VerifiedAccount {
    /// The owner.
    pub address: Address,
    /// Its home shard.
    pub chain: ChainRef,
    /// All its records.
    pub records: Vec<OwnerEntry>,
    /// Its balances, in order of denom.
    pub balances: Vec<Asset>,
    /// The final beacon block.
    pub beacon: BlockRef,
    /// The shard's block whose result was proven.
    pub block: BlockRef,
    /// Header time of the beacon block.
    pub time: TimeMs,
}

impl TrustedNetwork {
    /// Trusts a genesis; checks every rule of it, proofs of possession included.
    ///
    /// # Errors
    /// When a rule is broken.
    pub fn new(genesis: &Genesis) -> Result<Self, LightError> {
        genesis.check(true)?;
        let beacon = genesis.verifying_committee(ChainRef::Beacon, &BlsScheme);
        let beacon = Arc::new(beacon.ok_or(LightError::Committee)?);
        Ok(Self {
            shard_depth: genesis.shard_depth,
            beacon: TrustedBeacon::new(beacon, Arc::new(BlsScheme)),
        })
    }

    /// The network's id.
    pub fn chain_id(&self) -> Digest {
        self.beacon.chain_id()
    }

    /// Verifies the canonical bytes of a [`LightProof`] for all records of `owner`.
    ///
    /// # Errors
    /// Names the first link of the chain that does not hold.
    pub fn verify(&self, proof: &[u8], owner: &Address) -> Result<VerifiedAccount, LightError> {
        let proof: LightProof = codec::decode(proof, limits::PROOF_BYTES_MAX)?;
        let header = &proof.beacon_header;
        let certificate = &proof.beacon_certificate;
        let beacon = self.beacon.check_final(header, &[], certificate)?;
        let home = ChainRef::Shard(owner.shard(self.shard_depth));
        let record = self.shard_record(&proof, home)?;
        let records = proof
            .owner
            .verify(&record.state_root, owner)
            .map_err(LightError::Owner)?
            .to_vec();
        let balances = views::balances(&records);
        Ok(VerifiedAccount {
            address: *owner,
            chain: home,
            records,
            balances,
            beacon,
            block: record.reported,
            time: header.time,
        })
    }

    /// The epoch of the beacon whose committee is trusted.
    pub fn epoch(&self) -> Epoch {
        self.beacon.epoch()
    }

    /// The epoch of the beacon header that a proof begins with: the one whose committee must be
    /// trusted for it.
    ///
    /// # Errors
    /// When the bytes are no proof.
    pub fn epoch_of(proof: &[u8]) -> Result<Epoch, LightError> {
        let proof: LightProof = codec::decode(proof, limits::PROOF_BYTES_MAX)?;
        Ok(proof.beacon_header.epoch)
    }

    /// Trusts the next committee of the beacon, by the canonical bytes of a [`SealProof`] of the
    /// trusted epoch.
    ///
    /// # Errors
    /// Names the first link that does not hold; the trusted committee stays then.
    pub fn advance(&mut self, seal: &[u8]) -> Result<(), LightError> {
        let proof: SealProof = codec::decode(seal, limits::PROOF_BYTES_MAX)?;
        self.beacon.advance(proof)
    }

    fn shard_record(&self, proof: &LightProof, home: ChainRef) -> Result<ShardRecord, LightError> {
        let root = proof.beacon_header.report.result.state_root;
        let key = views::shard_record_key(home);
        let value = proof
            .shard_record
            .verify(&root, &key)
            .map_err(LightError::ShardRecord)?;
        let value = value.ok_or(LightError::ShardAbsent(home))?;
        let record: ShardRecord = codec::decode(value, limits::STATE_VALUE_BYTES_MAX)?;
        if record.chain == home {
            Ok(record)
        } else {
            Err(LightError::Home {
                expected: home,
                actual: record.chain,
            })
        }
    }
}
