//! How value is counted from raw records, for invariant checks of the simulator and `db verify`.
//!
//! On every consistent cut and for every denom, balances, claims, what modules hold, what waits in
//! inboxes, what is in flight and what was destroyed add up to what was issued. In flight are the messages that a
//! source has sent and the destination has not accepted: the caller has their batches, or, for the
//! native denoms, the difference of the channels' counters.

use crate::modules::bank::state::{BALANCE, BURNT, read_claim_key, read_denom_key};
use crate::modules::channels::state::inbox_object;
use crate::modules::{self, BANK, CHANNELS, MODULES, TOKEN};
use crate::outbox::value_of;
use crate::view::read_amount;
use skerry_types::amount::Amount;
use skerry_types::codec;
use skerry_types::ids::{ChainRef, Denom};
use skerry_types::limits;
use skerry_types::message::{Batch, Message};
use skerry_types::state::StateKey;
use std::collections::BTreeMap;

/// Sums by denom; a sum above 2^128 stays there, and no honest one gets near.
pub type Sums = BTreeMap<Denom, Amount>;

/// What the records of one chain hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SupplyCount {
    /// Balances of accounts and of the fee account.
    pub balances: Sums,
    /// Claims.
    pub claims: Sums,
    /// In records of modules, such as the reserves of pools: [`crate::module::Module::held`].
    pub held: Sums,
    /// In messages that are accepted and wait for gas.
    pub waiting: Sums,
    /// Destroyed: base fees, dropped messages.
    pub burnt: Sums,
    /// Minted less burnt of the tokens created on this chain.
    pub token_supply: Sums,
}

impl SupplyCount {
    /// Balances, claims, held, waiting and destroyed together.
    pub fn accounted(&self) -> Sums {
        let mut total = Sums::new();
        let Self {
            balances,
            claims,
            held,
            waiting,
            burnt,
            token_supply: _,
        } = self;
        for part in [balances, claims, held, waiting, burnt] {
            for (denom, amount) in part {
                add(&mut total, *denom, *amount);
            }
        }
        total
    }
}

/// Adds to a sum.
pub fn add(sums: &mut Sums, denom: Denom, amount: Amount) {
    if !amount.is_zero() {
        let sum = sums.entry(denom).or_default();
        *sum = crate::modules::bank::state::saturating_sum(*sum, amount);
    }
}

/// Counts the value of messages.
pub fn count_messages<'m>(sums: &mut Sums, messages: impl Iterator<Item = &'m [u8]>) {
    for wire in messages {
        let message: Result<Message, _> = codec::decode(wire, limits::MESSAGE_BYTES_MAX);
        if let Ok(message) = message {
            for asset in value_of(&message.payload) {
                add(sums, asset.denom, asset.amount);
            }
        }
    }
}

/// Counts the value in flight in batches that were sent and not accepted.
pub fn count_batches<'b>(batches: impl Iterator<Item = &'b Batch>) -> Sums {
    let mut sums = Sums::new();
    for batch in batches {
        count_messages(&mut sums, batch.messages.iter().map(Vec::as_slice));
    }
    sums
}

/// Counts all records of a chain's state.
pub fn count_supply<'r>(
    chain: ChainRef,
    records: impl Iterator<Item = (&'r StateKey, &'r [u8])>,
) -> SupplyCount {
    let inbox = inbox_object(chain);
    let mut count = SupplyCount::default();
    for (key, value) in records {
        if let Some(module) = modules::find(MODULES, key.module) {
            for asset in module.held(key, value) {
                add(&mut count.held, asset.denom, asset.amount);
            }
        }
        if key.module == CHANNELS && key.owner == inbox {
            count_messages(&mut count.waiting, std::iter::once(value));
            continue;
        }
        let Some(amount) = read_amount(value) else {
            continue;
        };
        if key.module == BANK {
            if let Some((denom, _, _)) = read_claim_key(&key.local) {
                add(&mut count.claims, denom, amount);
            }
            match read_denom_key(&key.local) {
                Some((BALANCE, denom)) => add(&mut count.balances, denom, amount),
                Some((BURNT, denom)) => add(&mut count.burnt, denom, amount),
                _ => {}
            }
        } else if key.module == TOKEN && key.local == [crate::modules::token::state::SUPPLY] {
            add(
                &mut count.token_supply,
                Denom::new(*key.owner.as_bytes()),
                amount,
            );
        }
    }
    count
}

/// Checks every record by itself with its module; returns what is broken, with the key.
pub fn check_records<'r>(
    records: impl Iterator<Item = (&'r StateKey, &'r [u8])>,
) -> Vec<(StateKey, String)> {
    let mut broken = Vec::new();
    for (key, value) in records {
        let module = MODULES.iter().find(|module| module.id() == key.module);
        let result = module.map_or_else(
            || Err("no such module".to_owned()),
            |module| module.check_invariants(key, value),
        );
        if let Err(reason) = result {
            broken.push((key.clone(), reason));
        }
    }
    broken
}
