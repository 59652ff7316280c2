//! The exchange: constant-product pools of two denoms.
//!
//! A pool lives near its creator, and all that touch it run in order while other pools run beside
//! it. Whoever deposits gets shares, a denom like any other; the fee of each exchange stays in the
//! pool, so a share stands for more and more. Nobody administers a pool: its fee is fixed, nothing
//! can be paused, and shares can always be given back.

pub mod calls;
pub mod math;
pub mod state;
#[cfg(test)]
mod tests;

use self::calls::DexCall;
use self::state::{POOL, PoolRecord, share_denom};
use crate::error::CallError;
use crate::module::{Call, Module};
use crate::modules::token::state::supply_key;
use crate::modules::{self, DEX};
use crate::view::{decode_record, read_amount};
use serde_json::json;
use skerry_types::amount::{Amount, Asset};
use skerry_types::ids::{Address, ModuleId};
use skerry_types::merkle::OwnerEntry;
use skerry_types::state::StateKey;

/// The module.
#[derive(Clone, Copy, Debug)]
pub struct DexModule;

impl Module for DexModule {
    fn id(&self) -> ModuleId {
        DEX
    }

    fn name(&self) -> &'static str {
        "dex"
    }

    fn decode(&self, call: &[u8]) -> Result<Box<dyn Call>, CallError> {
        let call: DexCall = modules::decode_call(self.name(), call, DexCall::check)?;
        Ok(Box::new(call))
    }

    fn call_from_json(&self, call: &serde_json::Value) -> Result<Vec<u8>, CallError> {
        let call: Result<DexCall, _> = serde::Deserialize::deserialize(call);
        modules::call_of_json(
            self,
            call.map(|call| call.to_bytes())
                .map_err(|error| error.to_string()),
        )
    }

    fn query(&self, owner: &Address, records: &[OwnerEntry]) -> serde_json::Value {
        let mut of_module = records.iter().filter(|record| record.module == DEX);
        let record = of_module.find(|record| record.local == [POOL]);
        let Some(pool) = record.and_then(|it| decode_record::<PoolRecord>(&it.value).ok()) else {
            return serde_json::Value::Null;
        };
        let denom = share_denom(owner);
        let key = supply_key(&denom);
        let supply = records
            .iter()
            .find(|record| record.module == key.module && *record.local == *key.local)
            .and_then(|record| read_amount(&record.value))
            .unwrap_or(Amount::ZERO);
        json!({ "pool": pool, "share_denom": denom, "shares": supply })
    }

    fn held(&self, key: &StateKey, value: &[u8]) -> Vec<Asset> {
        let pool = (key.local == [POOL]).then(|| decode_record::<PoolRecord>(value));
        let pool = pool.and_then(Result::ok);
        pool.map_or_else(Vec::new, |pool| pool.reserves.to_vec())
    }

    fn check_invariants(&self, key: &StateKey, value: &[u8]) -> Result<(), String> {
        if key.local != [POOL] {
            return Err("no record of dex".to_owned());
        }
        let record = decode_record::<PoolRecord>(value).map_err(|error| error.to_string())?;
        record.check()
    }
}
