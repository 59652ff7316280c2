//! What a proven offence costs: a fixed part of the bond, and the seats to come.
//!
//! Whoever finds an offence proven calls [`punish`]; that it was not punished before is the
//! caller's to know. Committees that are settled already keep the offender until their epoch ends.

use super::state::{ValidatorRecord, pool, validator_key};
use crate::fees::Ledger;
use crate::modules::bank::state::{balance_key, saturating_sum};
use crate::network::NetworkInfo;
use crate::overlay::BlockOverlay;
use crate::view::{decode_amount, decode_record, encode_amount};
use skerry_types::amount::{Amount, Asset};
use skerry_types::codec;
use skerry_types::ids::{Denom, Epoch, ValidatorId};
use skerry_types::state::Value;

/// Slashes a validator for one proven offence and jails it from the open epoch on. The slash is
/// the part [`skerry_types::genesis::Parameters::slash_bps`] of what is at stake now, rounded up,
/// bonds on their way out included; it is destroyed. Returns it; `None` when there is no such
/// validator.
pub(crate) fn punish(
    overlay: &mut BlockOverlay<'_>,
    ledger: &mut Ledger,
    network: &NetworkInfo,
    validator: ValidatorId,
    open: Epoch,
) -> Option<Amount> {
    let parameters = &network.parameters;
    let key = validator_key(validator);
    let stored = overlay.get(key.clone())?;
    let mut record: ValidatorRecord = decode_record(&stored).ok()?;
    let slash = record.bond.part_ceil(parameters.slash_bps);
    let pool_key = balance_key(&pool(), &Denom::SKER);
    let held = decode_amount(overlay.get(pool_key.clone()).as_ref()).ok()?;
    // The pool holds every bond, so both differences exist; if not, nothing changes.
    let (bond, rest) = (record.bond.checked_sub(slash)?, held.checked_sub(slash)?);
    record.bond = bond;
    record.slashed = saturating_sum(record.slashed, slash);
    let until = open.saturating_add(parameters.jail_epochs.max(1));
    record.jailed = record.jailed.max(Some(until));
    overlay.put(key, Some(Value::from(codec::encode(&record))));
    overlay.put(pool_key, encode_amount(rest));
    ledger.burn(Asset {
        denom: Denom::SKER,
        amount: slash,
    });
    Some(slash)
}
