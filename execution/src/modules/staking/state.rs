//! Records of the validators: who they are, and what they have at stake.

use crate::modules::STAKING;
use borsh::{BorshDeserialize, BorshSerialize};
use skerry_types::amount::Amount;
use skerry_types::codec::Version;
use skerry_types::crypto::bls::PublicKey;
use skerry_types::ids::{Address, ChainRef, ValidatorId};
use skerry_types::state::StateKey;

/// Most validators that ever have a number, in this version.
pub const VALIDATORS_EVER_MAX: u32 = 4_096;

/// Whether a validator's stake counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum ValidatorStatus {
    /// It does.
    Active,
}

/// A validator.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ValidatorRecord {
    /// Version byte.
    pub version: Version,
    /// Its vote key, which has proved possession.
    pub vote_key: PublicKey,
    /// What is at stake, in base units of `sker`.
    pub bond: Amount,
    /// Whether it counts.
    pub status: ValidatorStatus,
}

fn key(local: Vec<u8>) -> StateKey {
    let owner = Address::of_system(STAKING.get(), ChainRef::Beacon, b"validators");
    StateKey::new(owner, STAKING, local)
}

/// Where all that is at stake is held.
pub fn pool() -> Address {
    Address::of_system(STAKING.get(), ChainRef::Beacon, b"bonded")
}

/// Key of a [`ValidatorRecord`].
pub fn validator_key(validator: ValidatorId) -> StateKey {
    let mut local = vec![b'v'];
    local.extend_from_slice(&validator.get().to_be_bytes());
    key(local)
}

/// Key of the number of validators that ever were: a version byte and a `u32`.
pub fn count_key() -> StateKey {
    key(vec![b'n'])
}
