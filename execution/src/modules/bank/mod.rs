//! The bank: balances, transfers, claims, fees.
//!
//! A transfer to an owner of this shard is credited when its bundle ends; to another shard it
//! leaves as one prepaid message that cannot fail. What cannot be credited there becomes a claim
//! under the message's id, which the recipient collects by the call `claim`. At the end of a block
//! the bank pays the tips to the fee account and adds up what was destroyed.

pub mod calls;
pub mod state;
#[cfg(test)]
mod tests;

use self::calls::BankCall;
use self::state::{
    BALANCE, BURNT, balance_key, burnt_key, burnt_object, claim_key, fee_account, read_claim_key,
    read_denom_key,
};
use crate::block::BlockContext;
use crate::error::CallError;
use crate::module::{BlockTotals, Call, Environment, Incoming, Module, Received};
use crate::modules::{self, BANK};
use crate::plan::{Access, Plan};
use crate::view::{StateView, encode_amount, read_amount};
use crate::views;
use serde_json::json;
use skerry_types::amount::Asset;
use skerry_types::genesis::Genesis;
use skerry_types::ids::{Address, ChainRef, Denom, ModuleId};
use skerry_types::merkle::OwnerEntry;
use skerry_types::state::{StateKey, Write};

/// The module.
#[derive(Clone, Copy, Debug)]
pub struct BankModule;

/// Tells of a credited transfer: about the recipient, with sender, denom and amount.
fn transfer_event(
    environment: &mut Environment<'_, '_>,
    sender: Address,
    recipient: Address,
    asset: &Asset,
) {
    environment.event(
        recipient,
        "transfer",
        [
            ("sender", sender.into()),
            ("denom", asset.denom.into()),
            ("amount", asset.amount.into()),
        ],
    );
}

impl Module for BankModule {
    fn id(&self) -> ModuleId {
        BANK
    }

    fn name(&self) -> &'static str {
        "bank"
    }

    fn decode(&self, call: &[u8]) -> Result<Box<dyn Call>, CallError> {
        let call: BankCall = modules::decode_call(self.name(), call, BankCall::check)?;
        Ok(Box::new(call))
    }

    fn call_from_json(&self, call: &serde_json::Value) -> Result<Vec<u8>, CallError> {
        let call: Result<BankCall, _> = serde::Deserialize::deserialize(call);
        modules::call_of_json(
            self,
            call.map(|call| call.to_bytes())
                .map_err(|error| error.to_string()),
        )
    }

    fn receive(
        &self,
        incoming: &Incoming<'_>,
        environment: &mut Environment<'_, '_>,
    ) -> Result<Received, CallError> {
        let Incoming {
            id,
            sender,
            recipient,
            assets,
        } = *incoming;
        let mut received = Received::Credited;
        for asset in assets {
            match environment
                .view
                .add(balance_key(&recipient, &asset.denom), asset.amount)
            {
                Ok(()) => transfer_event(environment, sender, recipient, asset),
                Err(error @ CallError::Overflow { .. }) => {
                    let key = claim_key(&recipient, &asset.denom, id.source, id.sequence);
                    if let Some(value) = encode_amount(asset.amount) {
                        environment.view.insert(key, value)?;
                    }
                    received = Received::Claimed(error);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(received)
    }

    fn end_of_block_plan(&self, chain: ChainRef) -> Plan {
        Plan::of(fee_account(chain), Access::AddOnly).and(burnt_object(chain), Access::AddOnly)
    }

    fn end_of_block(
        &self,
        totals: &BlockTotals,
        context: &BlockContext,
        view: &mut StateView<'_, '_>,
    ) -> Result<(), CallError> {
        let chain = context.chain;
        if !totals.tips.is_zero() {
            view.add(balance_key(&fee_account(chain), &Denom::SKER), totals.tips)?;
        }
        for (denom, amount) in &totals.burnt {
            view.add(burnt_key(chain, denom), *amount)?;
        }
        Ok(())
    }

    fn genesis(&self, genesis: &Genesis, chain: ChainRef, writes: &mut Vec<Write>) {
        let here = genesis
            .accounts
            .iter()
            .filter(|it| genesis.home(&it.address) == chain);
        for account in here {
            for asset in &account.assets {
                let key = balance_key(&account.address, &asset.denom);
                writes.push((key, encode_amount(asset.amount)));
            }
        }
    }

    fn query(&self, _: &Address, records: &[OwnerEntry]) -> serde_json::Value {
        let balances = views::balances(records);
        let claims = views::claims(records);
        if balances.is_empty() && claims.is_empty() {
            return serde_json::Value::Null;
        }
        let claims: Vec<serde_json::Value> = claims
            .iter()
            .map(|claim| {
                json!({
                    "source": claim.source,
                    "sequence": claim.sequence,
                    "denom": claim.asset.denom,
                    "amount": claim.asset.amount,
                })
            })
            .collect();
        json!({ "balances": balances, "claims": claims })
    }

    fn check_invariants(&self, key: &StateKey, value: &[u8]) -> Result<(), String> {
        let amount = read_amount(value)
            .ok_or_else(|| "an amount that is no version byte and 16 bytes".to_owned())?;
        if amount.is_zero() {
            return Err("an amount of zero has no key".to_owned());
        }
        let known = matches!(read_denom_key(&key.local), Some((BALANCE | BURNT, _)))
            || read_claim_key(&key.local).is_some();
        known
            .then_some(())
            .ok_or_else(|| "no record of bank".to_owned())
    }
}
