//! Staking, in its smallest form: validators with bonds of their own, which join, leave and are
//! punished. Nobody delegates yet.
//!
//! A validator is *active* from its registration on. When it asks to leave it is *exiting* while a
//! committee with it may still serve or wait for its seal, then *unbonding* for a number of epochs,
//! while evidence against it still costs; then its operator takes the bond home. Until then it is
//! *live*; who is not any more makes room for another. All that is at stake is the balance of one
//! object of the beacon, so supply counts it like any other balance.

pub mod calls;
pub(crate) mod punish;
pub mod state;
#[cfg(test)]
mod tests;

use self::calls::StakingCall;
use self::state::{
    Live, Stage, VALIDATORS_LIVE_MAX, ValidatorRecord, count_key, pool, read_live,
    read_validator_key, validator_key, vote_key_key,
};
use crate::error::CallError;
use crate::module::{Call, Module, Place};
use crate::modules::bank::state::balance_key;
use crate::modules::{self, STAKING};
use crate::overlay::BlockOverlay;
use crate::view::{decode_record, encode_amount};
use serde_json::json;
use skerry_types::amount::Amount;
use skerry_types::codec::{self, Version};
use skerry_types::genesis::{Genesis, stake_units};
use skerry_types::ids::{Address, ChainRef, Denom, Epoch, ModuleId, ValidatorId, Weight};
use skerry_types::limits;
use skerry_types::merkle::OwnerEntry;
use skerry_types::state::{StateKey, Value, Write};
use std::collections::BTreeSet;

/// The module.
#[derive(Clone, Copy, Debug)]
pub struct StakingModule;

/// All live validators, in order of id.
///
/// # Errors
/// When the record of who is live is damaged.
fn records(
    overlay: &mut BlockOverlay<'_>,
) -> Result<Vec<(ValidatorId, ValidatorRecord)>, CallError> {
    let live = read_live(|key| overlay.get(key))?;
    let records = live.into_iter().filter_map(|validator| {
        let value = overlay.get(validator_key(validator))?;
        let record = decode_record::<ValidatorRecord>(&value).ok()?;
        Some((validator, record))
    });
    Ok(records.collect())
}

/// Effective stakes above zero, in order of id; of too many, the largest.
///
/// # Errors
/// When the record of who is live is damaged.
pub(crate) fn effective_stakes(
    overlay: &mut BlockOverlay<'_>,
) -> Result<Vec<(ValidatorId, Weight)>, CallError> {
    let mut stakes: Vec<(ValidatorId, Weight)> = records(overlay)?
        .iter()
        .map(|(validator, record)| (*validator, record.effective_stake()))
        .filter(|(_, stake)| *stake > Weight::ZERO)
        .collect();
    stakes.sort_by_key(|(validator, stake)| (std::cmp::Reverse(*stake), *validator));
    stakes.truncate(limits::VALIDATORS_MAX);
    stakes.sort_unstable();
    Ok(stakes)
}

/// Starts the clock of those that are leaving and that no committee holds any more. `open` is the
/// epoch that begins; `seated` is asked only when somebody is leaving. Where the record of who is
/// live is damaged nobody is released; [`effective_stakes`] says so.
pub(crate) fn release(
    overlay: &mut BlockOverlay<'_>,
    open: Epoch,
    seated: impl FnOnce(&mut BlockOverlay<'_>) -> BTreeSet<ValidatorId>,
) {
    let mut leaving = records(overlay).unwrap_or_default();
    leaving.retain(|(_, record)| record.stage == Stage::Exiting);
    if leaving.is_empty() {
        return;
    }
    let seated = seated(overlay);
    for (validator, record) in leaving {
        if !seated.contains(&validator) {
            let released = ValidatorRecord {
                stage: Stage::Unbonding { since: open },
                ..record
            };
            let value = Value::from(codec::encode(&released));
            overlay.put(validator_key(validator), Some(value));
        }
    }
}

impl Module for StakingModule {
    fn id(&self) -> ModuleId {
        STAKING
    }

    fn name(&self) -> &'static str {
        "staking"
    }

    fn place(&self) -> Place {
        Place::Beacon
    }

    fn decode(&self, call: &[u8]) -> Result<Box<dyn Call>, CallError> {
        let call: StakingCall = modules::decode_call(self.name(), call, StakingCall::check)?;
        Ok(Box::new(call))
    }

    fn call_from_json(&self, call: &serde_json::Value) -> Result<Vec<u8>, CallError> {
        let call: Result<StakingCall, _> = serde::Deserialize::deserialize(call);
        modules::call_of_json(
            self,
            call.map(|call| call.to_bytes())
                .map_err(|error| error.to_string()),
        )
    }

    fn genesis(&self, genesis: &Genesis, chain: ChainRef, writes: &mut Vec<Write>) {
        if !chain.is_beacon() || genesis.validators.is_empty() {
            return;
        }
        let mut total = 0_u128;
        let mut count = 0_u32;
        for validator in &genesis.validators {
            let bond = stake_units(validator.stake);
            total = total.saturating_add(bond);
            let record =
                ValidatorRecord::new(validator.vote_key, validator.operator, Amount::new(bond));
            let id = ValidatorId::new(count);
            let value = Value::from(codec::encode(&record));
            writes.push((validator_key(id), Some(value)));
            let value = Value::from(codec::encode(&(Version, id)));
            writes.push((vote_key_key(&validator.vote_key), Some(value)));
            count = count.saturating_add(1);
        }
        let value = Value::from(codec::encode(&(Version, count)));
        writes.push((count_key(), Some(value)));
        let key = balance_key(&pool(), &Denom::SKER);
        writes.push((key, encode_amount(Amount::new(total))));
    }

    fn query(&self, _: &Address, records: &[OwnerEntry]) -> serde_json::Value {
        let of_module = records.iter().filter(|record| record.module == STAKING);
        let validators: Vec<serde_json::Value> = of_module
            .filter_map(|record| {
                let id = read_validator_key(&record.local)?;
                let record = decode_record::<ValidatorRecord>(&record.value).ok()?;
                Some(validator_json(id, &record))
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
            [b'l'] => {
                let live = decode_record::<Live>(value).map_err(broken)?.live;
                let mut pairs = live.windows(2);
                let is_sorted = pairs.all(|pair| matches!(pair, [a, b] if a < b));
                (is_sorted && live.len() <= VALIDATORS_LIVE_MAX)
                    .then_some(())
                    .ok_or_else(|| "live validators out of order, or too many".to_owned())
            }
            [b'k', ..] => decode_record::<(Version, ValidatorId)>(value)
                .map(|_| ())
                .map_err(broken),
            [b'v', _, _, _, _] => decode_record::<ValidatorRecord>(value)
                .map(|_| ())
                .map_err(broken),
            _ => Err("no record of staking".to_owned()),
        }
    }
}

/// A validator for programs.
fn validator_json(id: ValidatorId, record: &ValidatorRecord) -> serde_json::Value {
    let unbonding = match record.stage {
        Stage::Unbonding { since } => Some(since),
        Stage::Active | Stage::Exiting | Stage::Withdrawn => None,
    };
    json!({
        "id": id,
        "vote_key": hex(&record.vote_key.0),
        "operator": record.operator,
        "stage": record.stage.name(),
        "unbonding_since": unbonding,
        "jailed_until": record.jailed,
        "bond": record.bond,
        "stake": record.effective_stake(),
        "slashed": record.slashed,
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
