//! The light client: from a trusted genesis to an owner's records, believing no server.
//!
//! The chain of reasons, in the order of [`TrustedNetwork::verify`]: the beacon's first committee
//! comes from the genesis, and each later one from a seal that the one before it finalized
//! ([`TrustedNetwork::advance`]); its quorum finalized exactly this beacon header; the header
//! reports a beacon state; that state holds the record of the owner's home shard; the record names
//! a shard state; the proof holds all of the owner's records in that state. Every byte of a proof
//! is part of this chain, so changing any one makes it fail. How *old* a proven state is, only the
//! caller can judge from [`VerifiedAccount::time`].
//!
//! What is trusted must itself be recent: whoever signed seals longer ago than bonds stay locked
//! has nothing to lose by signing others. So a start that lies more than the unbonding time back
//! is refused, by epochs in [`TrustedNetwork::advance`] and by the clock in
//! [`TrustedNetwork::check_age`]. A checkpoint moves the start to where somebody vouches for, and
//! [`TrustedNetwork::renew`] to where a client has come that keeps following.

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
    /// The start lies more epochs back than bonds stay locked.
    #[error(
        "what is trusted is of epoch {start}, the network is in epoch {newest}: bonds of those who \
         signed before may be gone"
    )]
    StartTooOld {
        /// The epoch that the trust began with.
        start: Epoch,
        /// The newest one that was shown.
        newest: Epoch,
    },
    /// By the clock the start lies longer back than bonds stay locked.
    #[error(
        "what is trusted is of epoch {start}, which began {age_ms} ms ago, at most {limit_ms} ms \
         allowed: bonds of those who signed before may be gone"
    )]
    StartTooLongAgo {
        /// The epoch that the trust began with.
        start: Epoch,
        /// How long ago it began.
        age_ms: u64,
        /// How long ago it may have.
        limit_ms: u64,
    },
    /// The seals lead to another beginning of the epoch than the checkpoint says.
    #[error("epoch {epoch} begins with seal {actual}, the checkpoint says {expected}")]
    Checkpoint {
        /// The epoch.
        epoch: Epoch,
        /// As the checkpoint says.
        expected: Digest,
        /// As the seals say.
        actual: Digest,
    },
    /// The epoch of the checkpoint is not on the way, or was not come to.
    #[error("the seals have led to epoch {reached}, and not by epoch {epoch} of the checkpoint")]
    CheckpointMissed {
        /// The checkpoint's.
        epoch: Epoch,
        /// Where the seals have led.
        reached: Epoch,
    },
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

/// A network that is trusted because its genesis is, or because of a checkpoint.
#[derive(Clone, Debug)]
pub struct TrustedNetwork {
    shard_depth: u8,
    beacon: TrustedBeacon,
    /// How the trusted epoch began.
    reached: Beginning,
    /// From where on the age of what is trusted counts.
    start: Beginning,
    /// An epoch that somebody vouches for, with the seal that opened it; until it is reached.
    checkpoint: Option<(Epoch, Digest)>,
    epoch_ms: u64,
    unbonding_epochs: u64,
}

/// When an epoch of the beacon began.
#[derive(Clone, Copy, Debug)]
struct Beginning {
    epoch: Epoch,
    /// Header time of the seal that opened it; of epoch 0 the time of the genesis.
    time: TimeMs,
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
        let start = Beginning {
            epoch: Epoch::ZERO,
            time: genesis.time,
        };
        Ok(Self {
            shard_depth: genesis.shard_depth,
            beacon: TrustedBeacon::new(beacon, Arc::new(BlsScheme)),
            reached: start,
            start,
            checkpoint: None,
            epoch_ms: genesis.parameters.epoch_ms,
            unbonding_epochs: genesis.parameters.unbonding_epochs,
        })
    }

    /// Takes somebody's word for an epoch of the beacon, named with the digest of the seal that
    /// opened it. Nothing is proven before the seals have led there; then its age counts, not that
    /// of the start before.
    ///
    /// # Errors
    /// When the epoch is reached or over, and is another one.
    pub fn with_checkpoint(mut self, epoch: Epoch, seal: Digest) -> Result<Self, LightError> {
        self.checkpoint = Some((epoch, seal));
        self.meet_checkpoint()?;
        Ok(self)
    }

    /// The network's id.
    pub fn chain_id(&self) -> Digest {
        self.beacon.chain_id()
    }

    /// Verifies the canonical bytes of a [`LightProof`] for all records of `owner`.
    ///
    /// # Errors
    /// Names the first link of the chain that does not hold; when the checkpoint is not reached.
    pub fn verify(&self, proof: &[u8], owner: &Address) -> Result<VerifiedAccount, LightError> {
        if let Some((epoch, _)) = self.checkpoint {
            let reached = self.epoch();
            return Err(LightError::CheckpointMissed { epoch, reached });
        }
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
    /// Names the first link that does not hold; [`LightError::StartTooOld`] when the seal leads
    /// further from the start than bonds stay locked, unless a checkpoint lies ahead. The trusted
    /// committee stays then.
    pub fn advance(&mut self, seal: &[u8]) -> Result<(), LightError> {
        let proof: SealProof = codec::decode(seal, limits::PROOF_BYTES_MAX)?;
        let time = proof.header.time;
        let mut next = self.clone();
        next.beacon.advance(proof)?;
        let epoch = next.epoch();
        next.reached = Beginning { epoch, time };
        next.meet_checkpoint()?;
        let start = next.start.epoch;
        if next.checkpoint.is_none() && epoch.above(start) > next.unbonding_epochs {
            let newest = epoch;
            return Err(LightError::StartTooOld { start, newest });
        }
        *self = next;
        Ok(())
    }

    /// Checks by the clock that the start is not older than bonds stay locked: a node could hide
    /// all later epochs, and then their number shows nothing. Epochs that never end free no bonds.
    ///
    /// # Errors
    /// [`LightError::StartTooLongAgo`].
    pub fn check_age(&self, now: TimeMs) -> Result<(), LightError> {
        let epochs = self.unbonding_epochs.saturating_add(1);
        let limit_ms = self.epoch_ms.saturating_mul(epochs);
        let age_ms = now.above(self.start.time);
        if self.epoch_ms > 0 && age_ms > limit_ms {
            let start = self.start.epoch;
            return Err(LightError::StartTooLongAgo {
                start,
                age_ms,
                limit_ms,
            });
        }
        Ok(())
    }

    /// Lets the age of what is trusted count from the epoch that was reached: for who keeps
    /// following. While the start is recent, whoever signed on the way here has a bond to lose, so
    /// this is as good a start.
    ///
    /// # Errors
    /// As [`Self::check_age`]; when the checkpoint is not reached. The start stays then.
    pub fn renew(&mut self, now: TimeMs) -> Result<(), LightError> {
        self.check_age(now)?;
        if let Some((epoch, _)) = self.checkpoint {
            let reached = self.epoch();
            return Err(LightError::CheckpointMissed { epoch, reached });
        }
        let Beginning { epoch, time } = self.reached;
        // A time that is not yet would make it look recent for longer than it is.
        let time = time.min(now);
        self.start = Beginning { epoch, time };
        Ok(())
    }

    /// Begins anew at the checkpoint, once its epoch is reached.
    fn meet_checkpoint(&mut self) -> Result<(), LightError> {
        let reached = self.epoch();
        let Some((epoch, expected)) = self.checkpoint.filter(|(epoch, _)| *epoch <= reached) else {
            return Ok(());
        };
        if epoch < reached {
            return Err(LightError::CheckpointMissed { epoch, reached });
        }
        let actual = self.beacon.seal();
        if actual != expected {
            return Err(LightError::Checkpoint {
                epoch,
                expected,
                actual,
            });
        }
        self.start = self.reached;
        self.checkpoint = None;
        Ok(())
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
