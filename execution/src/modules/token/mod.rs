//! Tokens that users create.
//!
//! A denom is made of its creator and a name; its record and its supply live near the creator for
//! ever, its holders anywhere. Supply never exceeds 2^128, so no balance can overflow while shards
//! are honest.

pub mod calls;
pub(crate) mod issue;
pub mod state;
#[cfg(test)]
mod tests;

use self::calls::TokenCall;
use self::state::{RECORD, SUPPLY, TokenRecord};
use crate::error::CallError;
use crate::module::{Call, Module};
use crate::modules::{self, TOKEN};
use crate::view::{decode_record, read_amount};
use serde_json::json;
use skerry_types::amount::Amount;
use skerry_types::ids::{Address, Denom, ModuleId};
use skerry_types::merkle::OwnerEntry;
use skerry_types::state::StateKey;

/// The module.
#[derive(Clone, Copy, Debug)]
pub struct TokenModule;

impl Module for TokenModule {
    fn id(&self) -> ModuleId {
        TOKEN
    }

    fn name(&self) -> &'static str {
        "token"
    }

    fn decode(&self, call: &[u8]) -> Result<Box<dyn Call>, CallError> {
        let call: TokenCall = modules::decode_call(self.name(), call, TokenCall::check)?;
        Ok(Box::new(call))
    }

    fn call_from_json(&self, call: &serde_json::Value) -> Result<Vec<u8>, CallError> {
        let call: Result<TokenCall, _> = serde::Deserialize::deserialize(call);
        modules::call_of_json(
            self,
            call.map(|call| call.to_bytes())
                .map_err(|error| error.to_string()),
        )
    }

    fn query(&self, owner: &Address, records: &[OwnerEntry]) -> serde_json::Value {
        let of_module = || records.iter().filter(|record| record.module == TOKEN);
        let find = |tag: u8| of_module().find(|record| record.local == [tag]);
        let record = find(RECORD).and_then(|it| decode_record::<TokenRecord>(&it.value).ok());
        let Some(record) = record else {
            return serde_json::Value::Null;
        };
        let supply = find(SUPPLY)
            .and_then(|it| read_amount(&it.value))
            .unwrap_or(Amount::ZERO);
        json!({ "denom": Denom::new(*owner.as_bytes()), "token": record, "supply": supply })
    }

    fn check_invariants(&self, key: &StateKey, value: &[u8]) -> Result<(), String> {
        match key.local.as_slice() {
            [RECORD] => {
                let record =
                    decode_record::<TokenRecord>(value).map_err(|error| error.to_string())?;
                let denom = Denom::new(*key.owner.as_bytes());
                let is_created = Denom::created(&record.creator, &record.name) == denom;
                (is_created || record.is_of_module(&denom))
                    .then_some(())
                    .ok_or_else(|| "not the denom of creator and name".to_owned())
            }
            [SUPPLY] => match read_amount(value) {
                Some(supply) if !supply.is_zero() => Ok(()),
                _ => Err("a supply of zero has no key".to_owned()),
            },
            _ => Err("no record of token".to_owned()),
        }
    }
}
