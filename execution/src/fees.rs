//! What a transaction costs, and where the money goes.
//!
//! Gas is a function of the transaction's bytes and is charged in full, whatever happens. Base fee
//! times gas is destroyed; the rest of the price is a tip for the fee account. Sums are kept beside
//! the state and written once, at the end of the block.
//!
//! Of a bundle that leaves, the gas of its legs is bought when it leaves, at their chains' prices
//! ([`crate::requests`]); where it fails before, nothing of that is paid. The gas price of the
//! transaction is the most that any gas of it costs.

use crate::error::Rejection;
use crate::gas;
use crate::module::{BlockTotals, Call, Module, Place};
use crate::modules::bank::state::saturating_sum;
use crate::modules::{self, MODULES};
use crate::network::NetworkInfo;
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BundleCost {
    /// All of it, wherever it is used; times the gas price the most that the fee can be.
    pub gas: Gas,
    /// The part that is used at home, the reply included, and paid at the gas price.
    pub home: Gas,
    /// What each leg elsewhere needs, in order, bought at that chain's price; none for a bundle that runs
    /// at home.
    pub legs: Legs,
}

/// What the legs of a bundle need on their chains; nearly always there are none, or one.
pub type Legs = SmallVec<[LegCost; 1]>;

/// What one leg needs on its chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LegCost {
    /// Gas of its calls.
    pub calls: Gas,
    /// Gas of its message in the inbound lane, the calls included. Of an onward leg the most that it can
    /// be: what it carries is not known yet.
    pub lane: Gas,
    /// Bytes of the message; zero for a bundle that runs at home.
    pub bytes: u64,
}

/// Decodes the calls of a bundle that run at its target; not those of its onward legs.
pub(crate) fn decode_bundle(
    modules: &[&'static dyn Module],
    bundle: &Bundle,
) -> Result<DecodedBundle, Rejection> {
    let place = match bundle.target {
        Target::Home | Target::Near(_) => Place::Shards,
        Target::Beacon => Place::Beacon,
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

/// What a decoded bundle costs, without the transaction around it, when it runs at home or else leaves.
pub(crate) fn cost_of(
    modules: &[&'static dyn Module],
    bundle: &Bundle,
    decoded: &DecodedBundle,
    leaves: bool,
) -> Result<BundleCost, Rejection> {
    if leaves {
        return requests::cost(modules, bundle, decoded.gas);
    }
    Ok(BundleCost {
        gas: decoded.gas,
        home: decoded.gas,
        legs: Legs::new(),
    })
}

/// What a bundle costs, without the transaction around it, when it runs at home or else leaves.
///
/// # Errors
/// When a module does not exist, a call is not one of its module or does not run at the target, or
/// the bundle does not fit a message.
pub fn bundle_cost(bundle: &Bundle, leaves: bool) -> Result<BundleCost, Rejection> {
    let decoded = decode_bundle(MODULES, bundle)?;
    cost_of(MODULES, bundle, &decoded, leaves)
}

/// Gas of what a bundle does, without the transaction around it, by its bytes alone: one for the
/// neighbours of an owner counts as one that leaves, which costs more than one that stays.
///
/// # Errors
/// As [`bundle_cost`].
pub fn bundle_gas(bundle: &Bundle) -> Result<Gas, Rejection> {
    let leaves = bundle.target != Target::Home;
    bundle_cost(bundle, leaves).map(|cost| cost.gas)
}

/// Gas of a transaction around its bundle: by the length of its wire form and its signatures.
pub fn envelope_gas(wire_bytes: usize, signatures: usize) -> Gas {
    gas::sum(&[
        gas::TRANSACTION,
        gas::times(gas::SIGNATURE, signatures),
        gas::times(gas::BYTE, wire_bytes),
    ])
}

/// Gas of a transaction, by its bytes alone as [`bundle_gas`] is.
///
/// # Errors
/// As [`bundle_gas`].
pub fn transaction_gas(transaction: &CheckedTransaction) -> Result<Gas, Rejection> {
    let gas = bundle_gas(&transaction.body().bundle)?;
    Ok(gas.saturating_add(envelope_of(transaction).get()))
}

/// What a transaction costs in a network, by a table of modules.
///
/// # Errors
/// As [`bundle_gas`], and when the bundle has no route.
pub(crate) fn transaction_cost(
    modules: &[&'static dyn Module],
    network: &NetworkInfo,
    transaction: &CheckedTransaction,
) -> Result<BundleCost, Rejection> {
    let body = transaction.body();
    let route = requests::route(network, network.home(&body.sender), &body.bundle)?;
    let decoded = decode_bundle(modules, &body.bundle)?;
    let cost = cost_of(modules, &body.bundle, &decoded, !route.is_empty())?;
    Ok(cost.with_envelope(transaction))
}

impl BundleCost {
    /// What the block at home has room for: what is used there, and what the first message needs, which
    /// is paid in any case.
    pub fn near(&self) -> Gas {
        let lane = self.legs.first().map_or(0, |leg| leg.lane.get());
        self.home.saturating_add(lane)
    }

    /// With what the transaction around the bundle costs.
    #[must_use]
    pub(crate) fn with_envelope(self, transaction: &CheckedTransaction) -> Self {
        let envelope = envelope_of(transaction).get();
        Self {
            gas: self.gas.saturating_add(envelope),
            home: self.home.saturating_add(envelope),
            legs: self.legs,
        }
    }
}

fn envelope_of(transaction: &CheckedTransaction) -> Gas {
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
        self.spend(fee, burnt);
    }

    /// Counts what a message paid for its gas, of which `burnt` is destroyed: it was debited where it
    /// came from.
    pub(crate) fn spend(&mut self, paid: Amount, burnt: Amount) {
        let tip = paid.checked_sub(burnt).unwrap_or(Amount::ZERO);
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
