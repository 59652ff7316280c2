//! How other modules issue denoms of their own, such as the shares of a pool.
//!
//! Such a denom has the bytes of the module's object as its id, and its records lie there: it needs
//! no further object in a plan, and whoever queries a denom finds it like any other. Nobody has
//! authority over it, and nobody can burn it: only the module's own calls change its supply, so what
//! the module holds for it and how much of it there is always move together.

use super::state::{TokenRecord, supply_key, token_key};
use crate::error::CallError;
use crate::view::{SHARED_SUM_MAX, StateView, decode_amount, encode_amount};
use skerry_types::amount::{Amount, Asset};
use skerry_types::codec::{self, Version};
use skerry_types::ids::{Address, Denom};
use skerry_types::state::Value;

/// What people are told of a module's denom.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Description<'a> {
    /// Its name.
    pub(crate) name: &'a str,
    /// Short form.
    pub(crate) symbol: &'a str,
    /// How many decimals people are shown.
    pub(crate) decimals: u8,
    /// Free text.
    pub(crate) metadata: &'a str,
}

/// Makes the denom of `object`, with nothing issued yet.
///
/// # Errors
/// When the plan does not declare the object for adding, or there is such a denom.
pub(crate) fn create(
    view: &mut StateView<'_, '_>,
    object: Address,
    description: &Description<'_>,
) -> Result<Denom, CallError> {
    let denom = Denom::new(*object.as_bytes());
    let record = TokenRecord {
        version: Version,
        creator: object,
        name: description.name.to_owned(),
        symbol: description.symbol.to_owned(),
        decimals: description.decimals,
        metadata: description.metadata.to_owned(),
        authority: None,
    };
    view.insert(token_key(&denom), Value::from(codec::encode(&record)))?;
    Ok(denom)
}

/// How much of a denom there is.
///
/// # Errors
/// When the plan does not declare the denom's object for reading.
pub(crate) fn supply(view: &mut StateView<'_, '_>, denom: &Denom) -> Result<Amount, CallError> {
    decode_amount(view.get(supply_key(denom))?.as_ref())
}

/// Most units that there may be of a denom: 2^123 − 1. So what parts of a block see of an amount while
/// they run beside each other, at most twice the supply, is far from where their sums could overflow
/// and the block would run a second time (see [`crate::view::SHARED_SUM_MAX`]): nobody can make all
/// blocks slow by a token of his own.
pub(crate) const SUPPLY_MAX: Amount = Amount::new((1 << 123) - 1);

const _: () = assert!(SUPPLY_MAX.get() * 2 < SHARED_SUM_MAX.get());

/// Raises the supply; the caller passes the units on.
///
/// # Errors
/// When the supply would exceed [`SUPPLY_MAX`], or the plan does not declare the denom's object for writing.
pub(crate) fn issue(view: &mut StateView<'_, '_>, asset: &Asset) -> Result<(), CallError> {
    let supply = supply(view, &asset.denom)?
        .checked_add(asset.amount)
        .filter(|supply| *supply <= SUPPLY_MAX)
        .ok_or(CallError::Overflow { what: "the supply" })?;
    set_supply(view, &asset.denom, supply)
}

/// Lowers the supply by units that the caller has taken.
///
/// # Errors
/// When there is less, or the plan does not declare the denom's object for writing.
pub(crate) fn retire(view: &mut StateView<'_, '_>, asset: &Asset) -> Result<(), CallError> {
    let Asset { denom, amount } = asset;
    let supply = supply(view, denom)?;
    let rest = supply
        .checked_sub(*amount)
        .ok_or_else(|| CallError::Refused {
            code: "ABOVE_SUPPLY",
            detail: format!("the supply of {denom} is {supply}, not {amount}"),
        })?;
    set_supply(view, denom, rest)
}

fn set_supply(
    view: &mut StateView<'_, '_>,
    denom: &Denom,
    supply: Amount,
) -> Result<(), CallError> {
    match encode_amount(supply) {
        Some(value) => view.put(supply_key(denom), value),
        None => view.delete(supply_key(denom)),
    }
}
