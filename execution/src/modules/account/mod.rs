//! Accounts: nonces and keys.
//!
//! The executor uses nonces; users rotate keys. Signatures are checked against the parent's state,
//! so a rotation acts from the next block on.

pub mod calls;
pub mod state;
#[cfg(test)]
mod tests;

use self::calls::{AccountCall, AuthenticatorForm};
use self::state::{AUTHENTICATOR, AuthenticatorRecord, NONCE, read_nonce};
use crate::error::CallError;
use crate::module::{Call, Module};
use crate::modules::{self, ACCOUNT};
use crate::view::decode_record;
use serde_json::json;
use skerry_types::ids::{Address, ModuleId};
use skerry_types::merkle::OwnerEntry;
use skerry_types::state::StateKey;

/// The module.
#[derive(Clone, Copy, Debug)]
pub struct AccountModule;

impl Module for AccountModule {
    fn id(&self) -> ModuleId {
        ACCOUNT
    }

    fn name(&self) -> &'static str {
        "account"
    }

    fn decode(&self, call: &[u8]) -> Result<Box<dyn Call>, CallError> {
        let call: AccountCall = modules::decode_call(self.name(), call, AccountCall::check)?;
        Ok(Box::new(call))
    }

    fn call_from_json(&self, call: &serde_json::Value) -> Result<Vec<u8>, CallError> {
        modules::call_of_json(self, AccountCall::of_json(call).map(|call| call.to_bytes()))
    }

    fn query(&self, _: &Address, records: &[OwnerEntry]) -> serde_json::Value {
        let mut nonces = serde_json::Map::new();
        let mut authenticator = serde_json::Value::Null;
        for record in records.iter().filter(|record| record.module == ACCOUNT) {
            match record.local.as_slice() {
                [NONCE, high, low] => {
                    let next = read_nonce(&record.value).unwrap_or(u64::MAX);
                    let stream = u16::from_be_bytes([*high, *low]);
                    nonces.insert(stream.to_string(), json!(next));
                }
                [AUTHENTICATOR] => {
                    if let Ok(record) = decode_record::<AuthenticatorRecord>(&record.value) {
                        let form = AuthenticatorForm::of(&record.authenticator);
                        authenticator = serde_json::to_value(form).unwrap_or_default();
                    }
                }
                _ => {}
            }
        }
        if nonces.is_empty() && authenticator.is_null() {
            return serde_json::Value::Null;
        }
        json!({ "next_nonces": nonces, "authenticator": authenticator })
    }

    fn check_invariants(&self, key: &StateKey, value: &[u8]) -> Result<(), String> {
        match key.local.as_slice() {
            [NONCE, _, _] if read_nonce(value).is_some_and(|next| next > 0) => Ok(()),
            [AUTHENTICATOR] => decode_record::<AuthenticatorRecord>(value)
                .map_err(|error| error.to_string())
                .and_then(|record| {
                    let fine = record.authenticator.is_well_formed();
                    fine.then_some(())
                        .ok_or_else(|| "unusable authenticator".to_owned())
                }),
            _ => Err("no record of account".to_owned()),
        }
    }
}
