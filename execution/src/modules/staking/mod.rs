//! Staking, in its smallest form: the validators that the genesis names, with their stakes.
//!
//! All that is at stake is the balance of one object of the beacon, so supply counts it like any
//! other balance.

pub mod state;

use self::state::{
    VALIDATORS_EVER_MAX, ValidatorRecord, ValidatorStatus, count_key, pool, validator_key,
};
use crate::error::CallError;
use crate::module::{Call, Module};
use crate::modules::bank::state::balance_key;
use crate::modules::{self, STAKING};
use crate::overlay::BlockOverlay;
use crate::view::{decode_record, encode_amount};
use serde_json::json;
use skerry_types::amount::Amount;
use skerry_types::codec::{self, Version};
use skerry_types::genesis::{Genesis, NSKER_PER_WEIGHT, stake_units};
use skerry_types::ids::{Address, ChainRef, Denom, ModuleId, ValidatorId, Weight};
use skerry_types::limits;
use skerry_types::merkle::OwnerEntry;
use skerry_types::state::{ChangeSet, StateKey, Value};

/// The module.
#[derive(Clone, Copy, Debug)]
pub struct StakingModule;

impl ValidatorRecord {
    /// What counts in committees, in whole `sker`.
    pub fn effective_stake(&self) -> Weight {
        let ValidatorStatus::Active = self.status;
        let whole = self.bond.get() / NSKER_PER_WEIGHT;
        Weight::new(u64::try_from(whole).unwrap_or(u64::MAX))
    }
}

/// Effective stakes above zero, in order of id; of too many, the largest.
pub(crate) fn effective_stakes(overlay: &mut BlockOverlay<'_>) -> Vec<(ValidatorId, Weight)> {
    let count = overlay.get(count_key());
    let count = count.and_then(|value| decode_record::<(Version, u32)>(&value).ok());
    let count = count.map_or(0, |(_, count)| count.min(VALIDATORS_EVER_MAX));
    let mut stakes: Vec<(ValidatorId, Weight)> = (0..count)
        .map(ValidatorId::new)
        .filter_map(|validator| {
            let value = overlay.get(validator_key(validator))?;
            let record: ValidatorRecord = decode_record(&value).ok()?;
            Some((validator, record.effective_stake()))
        })
        .filter(|(_, stake)| *stake > Weight::ZERO)
        .collect();
    stakes.sort_by_key(|(validator, stake)| (std::cmp::Reverse(*stake), *validator));
    stakes.truncate(limits::VALIDATORS_MAX);
    stakes.sort_unstable();
    stakes
}

impl Module for StakingModule {
    fn id(&self) -> ModuleId {
        STAKING
    }

    fn name(&self) -> &'static str {
        "staking"
    }

    fn decode(&self, _: &[u8]) -> Result<Box<dyn Call>, CallError> {
        modules::no_calls(self.name())
    }

    fn call_from_json(&self, _: &serde_json::Value) -> Result<Vec<u8>, CallError> {
        modules::no_calls(self.name())
    }

    fn genesis(&self, genesis: &Genesis, chain: ChainRef, changes: &mut ChangeSet) {
        if !chain.is_beacon() || genesis.validators.is_empty() {
            return;
        }
        let mut total = 0_u128;
        let mut count = 0_u32;
        for validator in &genesis.validators {
            let bond = stake_units(validator.stake);
            total = total.saturating_add(bond);
            let record = ValidatorRecord {
                version: Version,
                vote_key: validator.vote_key,
                bond: Amount::new(bond),
                status: ValidatorStatus::Active,
            };
            let key = validator_key(ValidatorId::new(count));
            changes.insert(key, Some(Value::from(codec::encode(&record))));
            count = count.saturating_add(1);
        }
        let value = Value::from(codec::encode(&(Version, count)));
        changes.insert(count_key(), Some(value));
        let key = balance_key(&pool(), &Denom::SKER);
        changes.insert(key, encode_amount(Amount::new(total)));
    }

    fn query(&self, _: &Address, records: &[OwnerEntry]) -> serde_json::Value {
        let of_module = records.iter().filter(|record| record.module == STAKING);
        let validators: Vec<serde_json::Value> = of_module
            .filter_map(|record| decode_record::<ValidatorRecord>(&record.value).ok())
            .map(|record| {
                json!({
                    "vote_key": hex(&record.vote_key.0),
                    "bond": record.bond,
                    "stake": record.effective_stake().get(),
                })
            })
            .collect();
        if validators.is_empty() {
            serde_json::Value::Null
        } else {
            json!({ "validators": validators })
        }
    }

    fn check_invariants(&self, key: &StateKey, value: &[u8]) -> Result<(), String> {
        let broken = |error: CallError| error.to_string();
        match key.local.as_slice() {
            [b'n'] => decode_record::<(Version, u32)>(value)
                .map(|_| ())
                .map_err(broken),
            [b'v', _, _, _, _] => decode_record::<ValidatorRecord>(value)
                .map(|_| ())
                .map_err(broken),
            _ => Err("no record of staking".to_owned()),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
