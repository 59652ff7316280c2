//! The same transfers and swaps as a plain loop: what a machine could do without nonce streams,
//! denoms, gas, bundles, plans, receipts, failures.
//!
//! One table of accounts with nonce and two balances, one of pools with two reserves; additions are
//! checked and the output of a swap comes from the exchange's formula.

use super::state::Table;
use super::stream::{Deed, FUNDS, Order, POOL_FEE, RESERVE, SEQUENCE_FIRST, Stream};
use skerry_execution::modules::dex::math::{Reserves, output_for};
use skerry_types::amount::{Amount, Asset};
use skerry_types::ids::{Address, Denom};
use std::hint::black_box;

/// Amounts of `sker` and of the other denom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pair {
    pub(super) sker: Amount,
    pub(super) token: Amount,
}

/// What the loop knows of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Holding {
    /// Of its next transaction.
    pub(super) sequence: u64,
    pub(super) held: Pair,
}

/// All that the loop knows.
pub(super) struct Bare {
    accounts: Table<Address, Holding>,
    pools: Table<Address, Pair>,
}

impl Bare {
    /// What a stream's state says before its first block.
    pub(super) fn new(stream: &Stream) -> Self {
        let pair = |amount| Pair {
            sker: amount,
            token: amount,
        };
        let holding = Holding {
            sequence: SEQUENCE_FIRST,
            held: pair(FUNDS),
        };
        let accounts = stream.addresses().map(|address| (*address, holding));
        let pools = stream.pools().iter().map(|pool| (*pool, pair(RESERVE)));
        Self {
            accounts: accounts.collect(),
            pools: pools.collect(),
        }
    }

    /// Brings what the orders touch into the processor's caches.
    pub(super) fn touch(&self, orders: &[Order]) {
        for order in orders {
            black_box(self.accounts.get(&order.sender));
            if let Deed::Transfer { to, .. } = &order.deed {
                black_box(self.accounts.get(to));
            }
        }
    }

    /// Does the orders; `None` when one cannot be done.
    pub(super) fn run(&mut self, orders: &[Order]) -> Option<()> {
        for order in orders {
            self.apply(order)?;
        }
        Some(())
    }

    fn apply(&mut self, order: &Order) -> Option<()> {
        let sender = self.accounts.get_mut(&order.sender)?;
        if sender.sequence != order.sequence {
            return None;
        }
        sender.sequence = order.sequence.checked_add(1)?;
        let held = &mut sender.held;
        held.sker = held.sker.checked_sub(order.fee)?;
        match order.deed {
            Deed::Transfer { to, amount } => {
                held.sker = held.sker.checked_sub(amount)?;
                let recipient = &mut self.accounts.get_mut(&to)?.held;
                recipient.sker = recipient.sker.checked_add(amount)?;
            }
            Deed::Swap { pool, input } => swap(held, self.pools.get_mut(&pool)?, input)?,
        }
        Some(())
    }

    #[cfg(test)]
    pub(super) fn holding(&self, address: &Address) -> Option<Holding> {
        self.accounts.get(address).copied()
    }
}

fn swap(held: &mut Pair, pool: &mut Pair, input: Asset) -> Option<()> {
    let (paid, received, to, from) = if input.denom == Denom::SKER {
        (
            &mut held.sker,
            &mut held.token,
            &mut pool.sker,
            &mut pool.token,
        )
    } else {
        (
            &mut held.token,
            &mut held.sker,
            &mut pool.token,
            &mut pool.sker,
        )
    };
    let reserves = Reserves {
        input: *to,
        output: *from,
    };
    let output = output_for(reserves, input.amount, POOL_FEE)?;
    *paid = paid.checked_sub(input.amount)?;
    *to = to.checked_add(input.amount)?;
    *from = from.checked_sub(output)?;
    *received = received.checked_add(output)?;
    Some(())
}
