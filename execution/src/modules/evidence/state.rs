//! Records of punished offences: for each chain and epoch, who was punished and what it cost.
//!
//! They lie under one object of the beacon and are dropped with the committee that they are about,
//! from when on no evidence of it is taken.

use crate::modules::EVIDENCE;
use borsh::{BorshDeserialize, BorshSerialize};
use skerry_types::amount::Amount;
use skerry_types::codec::Version;
use skerry_types::ids::{Address, ChainRef, Epoch, Height, ValidatorId};
use skerry_types::state::StateKey;

/// A punished offence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Punished {
    /// Whose.
    pub validator: ValidatorId,
    /// Height of the beacon block that holds the evidence.
    pub height: Height,
    /// What it cost, in base units of `sker`.
    pub slash: Amount,
}

/// Who was punished for what it signed on one chain in one epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Offences {
    /// Version byte.
    pub version: Version,
    /// The offences, one a validator, in order of validator.
    pub punished: Vec<Punished>,
}

impl Offences {
    /// Where a validator is, or would be.
    pub(super) fn find(&self, validator: ValidatorId) -> Result<usize, usize> {
        self.punished
            .binary_search_by_key(&validator, |punished| punished.validator)
    }

    /// Whether a validator was punished.
    pub fn has(&self, validator: ValidatorId) -> bool {
        self.find(validator).is_ok()
    }
}

/// Object that all offences lie under.
pub fn offences_object() -> Address {
    Address::of_system(EVIDENCE.get(), ChainRef::Beacon, b"offences")
}

/// Key of the [`Offences`] on a chain in an epoch.
pub fn offences_key(chain: ChainRef, epoch: Epoch) -> StateKey {
    let mut local = vec![b'o'];
    local.extend_from_slice(&chain.to_bytes());
    local.extend_from_slice(&epoch.get().to_be_bytes());
    StateKey::new(offences_object(), EVIDENCE, local)
}

/// Chain and epoch of a key's local part; `None` for what is no such key.
pub(super) fn read_offences_key(local: &[u8]) -> Option<(ChainRef, Epoch)> {
    let (tag, rest) = local.split_first()?;
    let (chain, epoch) = rest.split_first_chunk::<3>()?;
    let chain = ChainRef::from_bytes(*chain)?;
    let epoch: [u8; 8] = epoch.try_into().ok()?;
    (*tag == b'o').then_some((chain, Epoch::new(u64::from_be_bytes(epoch))))
}
