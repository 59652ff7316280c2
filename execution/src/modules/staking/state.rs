//! Records of the validators: who they are, what they have at stake, how far they have come.

use crate::error::CallError;
use crate::modules::STAKING;
use crate::view::decode_record;
use borsh::{BorshDeserialize, BorshSerialize};
use skerry_types::amount::Amount;
use skerry_types::codec::Version;
use skerry_types::crypto::bls::PublicKey;
use skerry_types::genesis::NSKER_PER_WEIGHT;
use skerry_types::ids::{Address, ChainRef, Epoch, ValidatorId, Weight};
use skerry_types::state::{StateKey, Value};

/// Most validators that are live at a time, in this version. The end of an epoch looks at no more,
/// however many there ever were.
pub const VALIDATORS_LIVE_MAX: usize = 4_096;

/// How far a validator has come on its way in and out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Stage {
    /// It takes part.
    Active,
    /// It has asked to leave and may still hold seats, or have sealed none of its last ones.
    Exiting,
    /// It is in no committee any more. Its bond is locked until
    /// [`skerry_types::genesis::Parameters::unbonding_epochs`] are over.
    Unbonding {
        /// The first epoch without it.
        since: Epoch,
    },
    /// Its bond was taken home, and it is live no more; the number and the key are never used again.
    Withdrawn,
}

/// A validator.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ValidatorRecord {
    /// Version byte.
    pub version: Version,
    /// Its vote key, which has proved possession.
    pub vote_key: PublicKey,
    /// Who acts for it.
    pub operator: Address,
    /// What is at stake, in base units of `sker`.
    pub bond: Amount,
    /// How far it has come.
    pub stage: Stage,
    /// While it is jailed, the first epoch in which its operator may free it.
    pub jailed: Option<Epoch>,
    /// What it lost by slashes so far, in base units of `sker`.
    pub slashed: Amount,
}

/// The validators that are live: they have registered and not taken the bond home.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Live {
    /// Version byte.
    pub version: Version,
    /// Who, in order of id.
    pub live: Vec<ValidatorId>,
}

/// Who is live, by the stored list and the number of validators that ever were. Until the first comes
/// or goes there is no list, and all are: so the genesis needs none.
pub(crate) fn live_validators(stored: Option<Live>, count: u32) -> Vec<ValidatorId> {
    let first = || {
        let numbers = (0..count).take(VALIDATORS_LIVE_MAX);
        numbers.map(ValidatorId::new).collect()
    };
    stored.map_or_else(first, |stored| stored.live)
}

/// [`live_validators`] of the records that `get` reads. A damaged list stands for nobody: the first
/// numbers might be those of others.
///
/// # Errors
/// When the record that decides is damaged.
pub(crate) fn read_live(
    mut get: impl FnMut(StateKey) -> Option<Value>,
) -> Result<Vec<ValidatorId>, CallError> {
    if let Some(listed) = get(live_key()) {
        return decode_record::<Live>(&listed).map(|listed| listed.live);
    }
    let count = match get(count_key()) {
        Some(count) => decode_record::<(Version, u32)>(&count)?.1,
        None => 0,
    };
    Ok(live_validators(None, count))
}

impl Stage {
    /// The name in texts and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Exiting => "exiting",
            Self::Unbonding { .. } => "unbonding",
            Self::Withdrawn => "withdrawn",
        }
    }
}

impl ValidatorRecord {
    /// A validator that begins.
    pub const fn new(vote_key: PublicKey, operator: Address, bond: Amount) -> Self {
        Self {
            version: Version,
            vote_key,
            operator,
            bond,
            stage: Stage::Active,
            jailed: None,
            slashed: Amount::ZERO,
        }
    }

    /// What counts in committees, in whole `sker`.
    pub fn effective_stake(&self) -> Weight {
        if self.stage != Stage::Active || self.jailed.is_some() {
            return Weight::ZERO;
        }
        let whole = self.bond.get() / NSKER_PER_WEIGHT;
        Weight::new(u64::try_from(whole).unwrap_or(u64::MAX))
    }
}

/// The object that holds all records.
pub fn object() -> Address {
    Address::of_system(STAKING.get(), ChainRef::Beacon, b"validators")
}

fn key(local: Vec<u8>) -> StateKey {
    StateKey::new(object(), STAKING, local)
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

/// Key of the [`Live`].
pub fn live_key() -> StateKey {
    key(vec![b'l'])
}

/// Key of the validator that has a vote key, or had it: a version byte and its id.
pub fn vote_key_key(vote_key: &PublicKey) -> StateKey {
    let mut local = vec![b'k'];
    local.extend_from_slice(&vote_key.0);
    key(local)
}

/// Reads the local part of [`validator_key`].
pub fn read_validator_key(local: &[u8]) -> Option<ValidatorId> {
    let [b'v', id @ ..] = local else {
        return None;
    };
    let id: [u8; 4] = id.try_into().ok()?;
    Some(ValidatorId::new(u32::from_be_bytes(id)))
}
