//! What a transaction costs, and where the money goes.
//!
//! Gas is a function of the transaction's bytes and is charged in full, whatever happens. Base fee
//! times gas is destroyed; the rest of the price is a tip for the fee account. Sums are kept beside
//! the state and written once, at the end of the block.

use crate::error::Rejection;
use crate::gas;
use crate::module::{BlockTotals, Call, Module, Place};
use crate::modules::bank::state::saturating_sum;
use crate::modules::{self, MODULES};
use crate::requests;
use skerry_types::amount::{Amount, Asset};
use skerry_types::ids::{Denom, Gas};
use skerry_types::transaction::{Bundle, CheckedTransaction, Target};
use smallvec::SmallVec;

/// A bundle's calls, decoded, and their gas.
pub(crate) struct DecodedBundle {
    pub(crate) calls: SmallVec<[(&'static dyn Module, Box<dyn Call>); 2]>,
    /// Gas where the bundle runs.
    pub(crate) gas: Gas,
}

/// What a bundle costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BundleCost {
    /// Gas that the sender pays at home; all of it, wherever the bundle runs.
    pub gas: Gas,
    /// Gas that the message needs at its destination; zero for a bundle that runs at home.
    pub lane: Gas,
}

/// Decodes the calls of a bundle, which all run at its target.
pub(crate) fn decode_bundle(
    modules: &[&'static dyn Module],
    bundle: &Bundle,
) -> Result<DecodedBundle, Rejection> {
    let place = match bundle.target {
        Target::Home => Place::Shards,
        Target::Beacon => Place::Beacon,
        Target::Near(_) => return Err(Rejection::RemoteTarget),
    };
    let mut calls = SmallVec::new();
    let assets = gas::times(gas::KEY_WRITTEN, bundle.assets.len());
    // What is left on the sheet may create a balance for each asset that is named.
    let outputs = gas::times(gas::KEY, bundle.minimum_outputs.len());
    let mut total = gas::sum(&[assets, outputs]);
    for (operation, it) in bundle.operations.iter().enumerate() {
        let module = modules::find(modules, it.module).ok_or(Rejection::UnknownModule {
            operation,
            module: it.module,
        })?;
        let call = module.decode(&it.call).map_err(|cause| Rejection::Call {
            operation,
            cause: Box::new(cause),
        })?;
        if module.place() != place {
            let (module, place) = (module.name(), module.place());
            return Err(Rejection::WrongPlace {
                operation,
                module,
                place,
            });
        }
        total = gas::sum(&[total.get(), gas::OPERATION, call.gas().get()]);
        calls.push((module, call));
    }
    Ok(DecodedBundle { calls, gas: total })
}

/// What a decoded bundle costs, without the transaction around it.
pub(crate) fn cost_of(bundle: &Bundle, decoded: &DecodedBundle) -> Result<BundleCost, Rejection> {
    if bundle.target == Target::Home {
        let (gas, lane) = (decoded.gas, Gas::ZERO);
        return Ok(BundleCost { gas, lane });
    }
    requests::cost(bundle, decoded.gas)
}

/// What a bundle costs, without the transaction around it.
///
/// # Errors
/// When a module does not exist, a call is not one of its module or does not run at the target, or
/// the bundle does not fit a message.
pub fn bundle_cost(bundle: &Bundle) -> Result<BundleCost, Rejection> {
    let decoded = decode_bundle(MODULES, bundle)?;
    cost_of(bundle, &decoded)
}

/// Gas of what a bundle does, without the transaction around it.
///
/// # Errors
/// As [`bundle_cost`].
pub fn bundle_gas(bundle: &Bundle) -> Result<Gas, Rejection> {
    bundle_cost(bundle).map(|cost| cost.gas)
}

/// Gas of a transaction around its bundle: by the length of its wire form and its signatures.
pub fn envelope_gas(wire_bytes: usize, signatures: usize) -> Gas {
    gas::sum(&[
        gas::TRANSACTION,
        gas::times(gas::SIGNATURE, signatures),
        gas::times(gas::BYTE, wire_bytes),
    ])
}

/// Gas of a transaction.
///
/// # Errors
/// As [`bundle_gas`].
pub fn transaction_gas(transaction: &CheckedTransaction) -> Result<Gas, Rejection> {
    transaction_cost(MODULES, transaction).map(|cost| cost.gas)
}

/// What a transaction costs, by a table of modules.
///
/// # Errors
/// As [`bundle_gas`].
pub(crate) fn transaction_cost(
    modules: &[&'static dyn Module],
    transaction: &CheckedTransaction,
) -> Result<BundleCost, Rejection> {
    let bundle = &transaction.body().bundle;
    let cost = cost_of(bundle, &decode_bundle(modules, bundle)?)?;
    Ok(BundleCost {
        gas: cost.gas.saturating_add(envelope_of(transaction).get()),
        ..cost
    })
}

pub(crate) fn envelope_of(transaction: &CheckedTransaction) -> Gas {
    let signatures = transaction.transaction().witness.signatures.len();
    envelope_gas(transaction.wire().len(), signatures)
}

/// Gas times price; `None` above 2^128, which nobody can pay.
pub fn fee(gas: Gas, price: Amount) -> Option<Amount> {
    price.checked_mul(u128::from(gas.get()))
}

/// Gas, tips and destruction of a block, summed beside the state.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) totals: BlockTotals,
}

impl Ledger {
    /// Counts a fee that was debited: `burnt` of it is destroyed.
    pub(crate) fn charge(&mut self, gas: Gas, fee: Amount, burnt: Amount) {
        self.totals.gas = self.totals.gas.saturating_add(gas.get());
        let tip = fee.checked_sub(burnt).unwrap_or(Amount::ZERO);
        self.totals.tips = saturating_sum(self.totals.tips, tip);
        self.burn(Asset {
            denom: Denom::SKER,
            amount: burnt,
        });
    }

    /// Adds what another part of the block has counted.
    pub(crate) fn absorb(&mut self, other: Self) {
        self.totals.gas = self.totals.gas.saturating_add(other.totals.gas.get());
        self.totals.tips = saturating_sum(self.totals.tips, other.totals.tips);
        for (denom, amount) in other.totals.burnt {
            self.burn(Asset { denom, amount });
        }
    }

    /// Gas of all that was executed.
    pub(crate) fn gas(&self) -> Gas {
        let inbound = self.totals.inbound_gas.get();
        self.totals.gas.saturating_add(inbound)
    }

    /// Counts destroyed value.
    pub(crate) fn burn(&mut self, asset: Asset) {
        if !asset.amount.is_zero() {
            let sum = self.totals.burnt.entry(asset.denom).or_default();
            *sum = saturating_sum(*sum, asset.amount);
        }
    }

    /// Base units of `sker` destroyed.
    pub(crate) fn burnt_sker(&self) -> Amount {
        self.totals
            .burnt
            .get(&Denom::SKER)
            .copied()
            .unwrap_or(Amount::ZERO)
    }
}
