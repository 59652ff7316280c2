//! Calls of `staking`, which run on the beacon: bundles from any shard bring them there.
//!
//! Whoever registers a validator is its operator; only the operator may add to the bond, leave,
//! free a jailed validator, and take the bond home. Bonds enter by the sheet of the bundle and
//! leave by it.

use super::state::{
    Live, Stage, VALIDATORS_LIVE_MAX, ValidatorRecord, count_key, live_key, live_validators,
    object, pool, validator_key, vote_key_key,
};
use crate::error::CallError;
use crate::gas;
use crate::module::{Call, Environment};
use crate::modules::bank::state::balance_key;
use crate::modules::epochs::state::{epoch_key, epochs_object};
use crate::plan::{Access, Plan, PlanContext};
use crate::view::{decode_amount, encode_amount};
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};
use skerry_types::amount::{Amount, Asset};
use skerry_types::beacon::EpochRecord;
use skerry_types::codec::{self, Version};
use skerry_types::crypto::bls::{self, PublicKey, Signature};
use skerry_types::crypto::hash::{Purpose, hash_parts};
use skerry_types::genesis::stake_units;
use skerry_types::ids::{Address, Denom, Digest, Epoch, Gas, ValidatorId};
use skerry_types::limits;

/// Gas of one check of a BLS signature: about a millisecond.
const PROOF: u64 = 600_000;
/// Gas of a record of a validator, written anew.
const RECORD: u64 = gas::KEY + 200 * gas::STORED_BYTE;
/// Most bytes of the list of live validators, which is written whole.
const LIVE_BYTES_MAX: usize = 5 + 4 * VALIDATORS_LIVE_MAX;

const _: () = assert!(LIVE_BYTES_MAX <= limits::STATE_VALUE_BYTES_MAX);

/// A call of `staking`. The order of the variants is part of the encoding.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum StakingCall {
    /// Makes a validator with the bond that is taken from the sheet; the sender is its operator.
    Register {
        /// Its vote key, which no validator ever had.
        vote_key: PublicKey,
        /// By the vote key over [`registration_digest`].
        proof: Signature,
        /// Base units of `sker`, at least [`skerry_types::genesis::Parameters::min_bond`].
        bond: Amount,
    },
    /// Adds to the bond of an active validator, jailed or not.
    TopUp {
        /// Which.
        validator: ValidatorId,
        /// Base units of `sker`.
        amount: Amount,
    },
    /// Begins to leave: the stake counts no more. The bond stays locked until the last committee
    /// with the validator has ended and the unbonding time after it is over.
    Exit {
        /// Which.
        validator: ValidatorId,
    },
    /// Puts the bond on the sheet once it is free; what is left at the end goes home.
    Withdraw {
        /// Which.
        validator: ValidatorId,
    },
    /// Frees a jailed validator when its time is over; its stake counts again.
    Unjail {
        /// Which.
        validator: ValidatorId,
    },
}

/// What a vote key signs to be registered: network, key and operator. So nobody can register
/// another's key under an operator of their own.
pub fn registration_digest(chain_id: &Digest, vote_key: &PublicKey, operator: &Address) -> Digest {
    hash_parts(
        Purpose::REGISTER,
        &[chain_id.as_bytes(), &vote_key.0, operator.as_bytes()],
    )
}

/// Gas of the list of live validators, written anew.
fn live_gas() -> u64 {
    gas::KEY.saturating_add(gas::times(gas::STORED_BYTE, LIVE_BYTES_MAX))
}

fn refused(code: &'static str, detail: String) -> CallError {
    CallError::Refused { code, detail }
}

impl StakingCall {
    /// The canonical bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        codec::encode(self)
    }

    pub(super) fn check(&self) -> Result<(), String> {
        match self {
            Self::Register { bond: amount, .. } | Self::TopUp { amount, .. }
                if amount.is_zero() =>
            {
                Err("the amount must be above zero".to_owned())
            }
            _ => Ok(()),
        }
    }
}

impl Call for StakingCall {
    fn gas(&self) -> Gas {
        match self {
            Self::Register { .. } => {
                gas::sum(&[PROOF, RECORD, gas::KEY, gas::KEY, gas::KEY, live_gas()])
            }
            Self::TopUp { .. } => gas::sum(&[RECORD, gas::KEY]),
            Self::Withdraw { .. } => gas::sum(&[RECORD, gas::KEY, live_gas()]),
            Self::Exit { .. } | Self::Unjail { .. } => gas::sum(&[RECORD]),
        }
    }

    fn plan(&self, _: &PlanContext<'_>) -> Plan {
        Plan::of(object(), Access::Exclusive)
            .and(pool(), Access::Exclusive)
            .and(epochs_object(), Access::Read)
    }

    fn execute(&self, environment: &mut Environment<'_, '_>) -> Result<(), CallError> {
        match self {
            Self::Register {
                vote_key,
                proof,
                bond,
            } => register(environment, vote_key, proof, *bond),
            Self::TopUp { validator, amount } => top_up(environment, *validator, *amount),
            Self::Exit { validator } => exit(environment, *validator),
            Self::Withdraw { validator } => withdraw(environment, *validator),
            Self::Unjail { validator } => unjail(environment, *validator),
        }
    }

    fn to_json(&self) -> serde_json::Value {
        serde_json::to_value(self).unwrap_or_default()
    }
}

fn register(
    environment: &mut Environment<'_, '_>,
    vote_key: &PublicKey,
    proof: &Signature,
    bond: Amount,
) -> Result<(), CallError> {
    check_epochs_end(environment)?;
    let operator = environment.scene.sender;
    let network = environment.scene.network;
    let least = Amount::new(stake_units(network.parameters.min_bond));
    if bond < least {
        let detail = format!("a bond of {bond} nsker, at least {least} is needed");
        return Err(refused("BOND_TOO_LOW", detail));
    }
    let holder: Option<(Version, ValidatorId)> = environment.view.record(vote_key_key(vote_key))?;
    if let Some((_, holder)) = holder {
        let detail = format!("the vote key is that of {holder}; make a new one");
        return Err(refused("VOTE_KEY_USED", detail));
    }
    let (count, mut live) = numbers(environment)?;
    if live.len() >= VALIDATORS_LIVE_MAX {
        let detail = format!(
            "there are {VALIDATORS_LIVE_MAX} validators, no more fit until one has taken its bond home"
        );
        return Err(refused("VALIDATORS_FULL", detail));
    }
    let what = "the number of validators";
    let next = count.checked_add(1).ok_or(CallError::Overflow { what })?;
    let digest = registration_digest(&network.chain_id, vote_key, &operator);
    if !bls::verify(vote_key, &digest, proof) {
        let detail = format!("the vote key has not signed for {operator} on this network");
        return Err(refused("PROOF_WRONG", detail));
    }
    take_bond(environment, bond)?;
    let validator = ValidatorId::new(count);
    let record = ValidatorRecord::new(*vote_key, operator, bond);
    let view = &mut environment.view;
    view.put_record(validator_key(validator), &record)?;
    view.put_record(vote_key_key(vote_key), &(Version, validator))?;
    view.put_record(count_key(), &(Version, next))?;
    live.push(validator);
    put_live(environment, live)?;
    tell(environment, "registered", validator, bond);
    Ok(())
}

fn top_up(
    environment: &mut Environment<'_, '_>,
    validator: ValidatorId,
    amount: Amount,
) -> Result<(), CallError> {
    check_epochs_end(environment)?;
    let mut record = own(environment, validator)?;
    if record.stage != Stage::Active {
        return Err(leaving(validator));
    }
    record.bond = record
        .bond
        .checked_add(amount)
        .ok_or(CallError::Overflow { what: "a bond" })?;
    take_bond(environment, amount)?;
    environment
        .view
        .put_record(validator_key(validator), &record)?;
    tell(environment, "topped_up", validator, amount);
    Ok(())
}

fn exit(environment: &mut Environment<'_, '_>, validator: ValidatorId) -> Result<(), CallError> {
    check_epochs_end(environment)?;
    let mut record = own(environment, validator)?;
    if record.stage != Stage::Active {
        return Err(leaving(validator));
    }
    record.stage = Stage::Exiting;
    environment
        .view
        .put_record(validator_key(validator), &record)?;
    tell(environment, "exiting", validator, record.bond);
    Ok(())
}

fn withdraw(
    environment: &mut Environment<'_, '_>,
    validator: ValidatorId,
) -> Result<(), CallError> {
    let mut record = own(environment, validator)?;
    let since = match record.stage {
        Stage::Unbonding { since } => since,
        Stage::Withdrawn => {
            let detail = format!("{validator} has taken its bond home");
            return Err(refused("NOTHING_LEFT", detail));
        }
        Stage::Active | Stage::Exiting => {
            let detail = format!(
                "{validator} is {}; its bond is locked while a committee with it may serve",
                record.stage.name()
            );
            return Err(refused("BOND_LOCKED", detail));
        }
    };
    let unbonding = environment.scene.network.parameters.unbonding_epochs;
    let (free, open) = (since.saturating_add(unbonding), open_epoch(environment)?);
    if open < free {
        let detail = format!("the bond is free from epoch {free} on, this is epoch {open}");
        return Err(refused("BOND_LOCKED", detail));
    }
    let amount = record.bond;
    let key = balance_key(&pool(), &Denom::SKER);
    let stored = environment.view.get(key.clone())?;
    let rest = decode_amount(stored.as_ref())?.checked_sub(amount);
    let rest = rest.ok_or_else(|| CallError::Invariant {
        what: "the pool holds less than a bond".to_owned(),
    })?;
    match encode_amount(rest) {
        Some(value) => environment.view.put(key, value)?,
        None => environment.view.delete(key)?,
    }
    let denom = Denom::SKER;
    environment.sheet.put(Asset { denom, amount })?;
    (record.bond, record.stage) = (Amount::ZERO, Stage::Withdrawn);
    environment
        .view
        .put_record(validator_key(validator), &record)?;
    let (_, mut live) = numbers(environment)?;
    live.retain(|held| *held != validator);
    put_live(environment, live)?;
    tell(environment, "withdrawn", validator, amount);
    Ok(())
}

fn unjail(environment: &mut Environment<'_, '_>, validator: ValidatorId) -> Result<(), CallError> {
    let mut record = own(environment, validator)?;
    if record.stage != Stage::Active {
        return Err(leaving(validator));
    }
    let Some(until) = record.jailed else {
        let detail = format!("{validator} is not jailed");
        return Err(refused("NOT_JAILED", detail));
    };
    let open = open_epoch(environment)?;
    if open < until {
        let detail = format!("{validator} is jailed until epoch {until}, this is epoch {open}");
        return Err(refused("JAILED", detail));
    }
    record.jailed = None;
    environment
        .view
        .put_record(validator_key(validator), &record)?;
    tell(environment, "unjailed", validator, record.bond);
    Ok(())
}

/// How many validators there ever were, which is the next number, and those that are live.
fn numbers(environment: &mut Environment<'_, '_>) -> Result<(u32, Vec<ValidatorId>), CallError> {
    let view = &mut environment.view;
    let count: Option<(Version, u32)> = view.record(count_key())?;
    let count = count.map_or(0, |(_, count)| count);
    let live = live_validators(view.record(live_key())?, count);
    Ok((count, live))
}

fn put_live(
    environment: &mut Environment<'_, '_>,
    live: Vec<ValidatorId>,
) -> Result<(), CallError> {
    let record = Live {
        version: Version,
        live,
    };
    environment.view.put_record(live_key(), &record)
}

/// Refuses what only an epoch's end makes count: seats are dealt and bonds are freed there. Where
/// epochs never end, a bond would be locked for ever, and a validator that leaves would never be gone.
fn check_epochs_end(environment: &Environment<'_, '_>) -> Result<(), CallError> {
    if environment.scene.network.parameters.epoch_ms > 0 {
        return Ok(());
    }
    let detail =
        "epochs of this network never end, so no validator ever gets a seat or leaves one; \
                  make a network with --epoch-seconds to stake on"
            .to_owned();
    Err(refused("EPOCHS_NEVER_END", detail))
}

/// The record of a validator that the sender operates.
fn own(
    environment: &mut Environment<'_, '_>,
    validator: ValidatorId,
) -> Result<ValidatorRecord, CallError> {
    let sender = environment.scene.sender;
    let record: Option<ValidatorRecord> = environment.view.record(validator_key(validator))?;
    let record = record.ok_or_else(|| {
        let detail = format!("there is no {validator}; skerry query validators lists them");
        refused("NO_SUCH_VALIDATOR", detail)
    })?;
    if record.operator != sender {
        let operator = record.operator;
        let detail = format!("{validator} is operated by {operator}, not by {sender}");
        return Err(refused("NOT_THE_OPERATOR", detail));
    }
    Ok(record)
}

fn leaving(validator: ValidatorId) -> CallError {
    let detail = format!("{validator} has asked to leave; register with a new key to return");
    refused("LEAVING", detail)
}

fn take_bond(environment: &mut Environment<'_, '_>, amount: Amount) -> Result<(), CallError> {
    let denom = Denom::SKER;
    environment.sheet.take(Asset { denom, amount })?;
    environment.view.add(balance_key(&pool(), &denom), amount)
}

fn open_epoch(environment: &mut Environment<'_, '_>) -> Result<Epoch, CallError> {
    let record: Option<EpochRecord> = environment.view.record(epoch_key())?;
    Ok(record.map_or(Epoch::ZERO, |record| record.epoch))
}

fn tell(
    environment: &mut Environment<'_, '_>,
    name: &'static str,
    validator: ValidatorId,
    amount: Amount,
) {
    let operator = environment.scene.sender;
    environment.event(
        operator,
        name,
        [
            ("validator", validator.get().into()),
            ("amount", amount.into()),
        ],
    );
}
