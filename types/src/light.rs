//! The light proof: from one beacon certificate to all records of an owner on any shard; and the
//! proofs that lead from a trusted committee of the beacon to a later one.
//!
//! Beacon header and finalization → the beacon state that the header reports → the shard's record
//! → the shard's state → the owner's whole subtree. Nothing in it is unchecked: every byte is
//! hashed on the way to the certificate, or is the certificate.

use crate::block::Header;
use crate::certificate::Certificate;
use crate::codec::Version;
use crate::committee::Committee;
use crate::merkle::{KeyProof, OwnerProof};
use borsh::{BorshDeserialize, BorshSerialize};

/// Proof of all records of an owner.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct LightProof {
    /// Version byte.
    pub version: Version,
    /// A final beacon header.
    pub beacon_header: Header,
    /// Its own finalization.
    pub beacon_certificate: Certificate,
    /// The shard's record ([`crate::beacon::ShardRecord`]) in the state that the header reports.
    pub shard_record: KeyProof,
    /// The owner's records in the shard's state.
    pub owner: OwnerProof,
}

/// Proof of the beacon's next committee: the step by which a verifier follows committee changes.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct SealProof {
    /// Version byte.
    pub version: Version,
    /// The seal of a beacon epoch.
    pub header: Header,
    /// Its finalization, by the committee of that epoch.
    pub certificate: Certificate,
    /// The committee whose root and weight the seal names.
    pub committee: Committee,
}
