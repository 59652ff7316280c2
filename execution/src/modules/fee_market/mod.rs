//! The base fee of a shard: the least gas price of its next block, which follows what its own
//! blocks were filled with.
//!
//! The rule is that of EIP-1559 (<https://eips.ethereum.org/EIPS/eip-1559>): a block that used more
//! gas than half of the limit raises the base fee, one that used less lowers it, by an eighth at most.
//! Bytes count as gas do, so that whatever fills blocks becomes dear. Messages of other chains, whose
//! gas was bought there, count up to half of what is aimed at: they never raise the base fee alone.
//! Heights that passed without a working block count as blocks without gas, so that a shard that
//! nobody uses becomes cheap again by itself. It never falls below the network's parameter `base_fee`;
//! where that is zero there is no base fee at all. Base fees are destroyed, so nobody earns by filling
//! blocks.
//!
//! A base fee at its floor has no record, so that a quiet shard's state does not change for it. The
//! beacon takes no transactions; its base fee is the parameter.

pub mod state;
#[cfg(test)]
mod tests;

use self::state::{PriceRecord, price_key, price_object};
use crate::block::BlockContext;
use crate::error::CallError;
use crate::math::{mul_div_ceil, mul_div_floor};
use crate::module::{BlockTotals, Call, Module};
use crate::modules::{self, FEE_MARKET};
use crate::plan::{Access, Plan};
use crate::view::{StateView, decode_record};
use serde_json::json;
use skerry_types::amount::Amount;
use skerry_types::codec::Version;
use skerry_types::genesis::Parameters;
use skerry_types::ids::{Address, ChainRef, Gas, Height, ModuleId};
use skerry_types::limits;
use skerry_types::merkle::OwnerEntry;
use skerry_types::state::StateKey;

/// By how much of itself the base fee changes at most from one block to the next: an eighth.
const STEP_DIVISOR: u128 = 8;
/// The part of a block's gas at which the base fee stays as it is: half of it.
const TARGET_DIVISOR: u64 = 2;
/// The part of that which messages of other chains count for at most: half of it.
const INBOUND_DIVISOR: u64 = 2;

/// The module.
#[derive(Clone, Copy, Debug)]
pub struct FeeMarketModule;

/// The base fee of the block at `height`, in base units of `sker` per unit of gas, by the record
/// that its parent's state holds.
pub(crate) fn price_at(
    record: Option<&PriceRecord>,
    parameters: &Parameters,
    height: Height,
) -> Amount {
    let floor = parameters.base_fee;
    let Some(record) = record.filter(|_| !floor.is_zero()) else {
        return floor;
    };
    let empty = height.above(record.height).saturating_sub(1);
    let mut price = record.price;
    // Each step takes an eighth or more, so that the loop is short however many heights have passed.
    for _ in 0..empty {
        if price <= floor {
            break;
        }
        price = after(price, Gas::ZERO, parameters);
    }
    price.max(floor)
}

/// The base fee after a block that had `price` and used `gas`. What is added is rounded down, but at
/// least 1; what is taken off is rounded up, so that any price comes back to the floor.
pub(crate) fn after(price: Amount, gas: Gas, parameters: &Parameters) -> Amount {
    let floor = parameters.base_fee;
    let limit = parameters.block_gas.get();
    let Some(target) = limit.checked_div(TARGET_DIVISOR).filter(|gas| *gas > 0) else {
        return price.max(floor);
    };
    let (price, gas) = (price.get(), gas.get());
    let whole = u128::from(target).saturating_mul(STEP_DIVISOR);
    let next = if gas > target {
        let distance = u128::from(gas.saturating_sub(target).min(target));
        let more = mul_div_floor(price, distance, whole).unwrap_or(u128::MAX);
        price.saturating_add(more.max(1))
    } else {
        let distance = u128::from(target.saturating_sub(gas));
        let less = mul_div_ceil(price, distance, whole).unwrap_or(u128::MAX);
        price.saturating_sub(less)
    };
    Amount::new(next).max(floor)
}

/// What a block was filled with, as gas.
fn used(totals: &BlockTotals, parameters: &Parameters) -> Gas {
    let limit = parameters.block_gas.get();
    let room = u128::try_from(limits::BODY_TRANSACTION_BYTES).unwrap_or(u128::MAX);
    let by_bytes = mul_div_floor(limit.into(), totals.bytes.into(), room);
    let by_bytes = by_bytes.and_then(|gas| u64::try_from(gas).ok());
    let own = totals.gas.get().max(by_bytes.unwrap_or(u64::MAX));
    let most = limit
        .checked_div(TARGET_DIVISOR.saturating_mul(INBOUND_DIVISOR))
        .unwrap_or(0);
    Gas::new(own.saturating_add(totals.inbound_gas.get().min(most)))
}

impl Module for FeeMarketModule {
    fn id(&self) -> ModuleId {
        FEE_MARKET
    }

    fn name(&self) -> &'static str {
        "fee_market"
    }

    fn decode(&self, _: &[u8]) -> Result<Box<dyn Call>, CallError> {
        modules::no_calls(self.name())
    }

    fn call_from_json(&self, _: &serde_json::Value) -> Result<Vec<u8>, CallError> {
        modules::no_calls(self.name())
    }

    fn end_of_block_plan(&self, chain: ChainRef) -> Plan {
        if chain.is_beacon() {
            return Plan::nothing();
        }
        Plan::of(price_object(chain), Access::Exclusive)
    }

    fn end_of_block(
        &self,
        totals: &BlockTotals,
        context: &BlockContext,
        view: &mut StateView<'_, '_>,
    ) -> Result<(), CallError> {
        let parameters = &context.network.parameters;
        let key = price_key(context.chain);
        let record: Option<PriceRecord> = view.record(key.clone())?;
        if parameters.base_fee.is_zero() {
            return Ok(());
        }
        let price = price_at(record.as_ref(), parameters, context.height);
        let price = after(price, used(totals, parameters), parameters);
        if price > parameters.base_fee {
            let record = PriceRecord {
                version: Version,
                price,
                height: context.height,
            };
            return view.put_record(key, &record);
        }
        if record.is_some() {
            view.delete(key)?;
        }
        Ok(())
    }

    fn query(&self, _: &Address, records: &[OwnerEntry]) -> serde_json::Value {
        let mut of_module = records.iter().filter(|record| record.module == FEE_MARKET);
        let record = of_module.find_map(|it| decode_record::<PriceRecord>(&it.value).ok());
        record.map_or(
            serde_json::Value::Null,
            |record| json!({ "base_fee": record.price, "height": record.height }),
        )
    }

    fn check_invariants(&self, key: &StateKey, value: &[u8]) -> Result<(), String> {
        if key.local.as_slice() != [state::PRICE] {
            return Err("no record of fee_market".to_owned());
        }
        let record = decode_record::<PriceRecord>(value).map_err(|error| error.to_string())?;
        let is_kept = !record.price.is_zero();
        is_kept
            .then_some(())
            .ok_or_else(|| "a base fee of zero has no record".to_owned())
    }
}
