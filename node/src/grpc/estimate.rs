//! What a transaction will cost: gas is known exactly, prices as far as the sender's home knows them.

use super::ledger::not_followed;
use super::refusal::Refusal;
use crate::view::{NodeView, Route};
use skerry_execution::fees::{BundleCost, fee};
use skerry_execution::{gas, views};
use skerry_proto::v1::{self, ErrorReason};
use skerry_sdk::builder::cost_of;
use skerry_types::amount::Amount;
use skerry_types::ids::{ChainRef, Gas};
use skerry_types::state::StateRead;
use skerry_types::transaction::TransactionBody;

/// What `body` costs with one ed25519 signature.
///
/// # Errors
/// When it calls what does not exist, its sender's home is not followed here, or nobody could pay it.
pub(super) fn estimate(
    view: &NodeView,
    body: &TransactionBody,
) -> Result<v1::EstimateFeeResponse, Refusal> {
    let BundleCost { gas, lane } = cost_of(body).map_err(Refusal::from)?;
    let home = view.home(&body.sender);
    let snapshot = view.chain(home).map(|chain| chain.snapshot());
    let snapshot = snapshot.ok_or_else(|| not_followed(home))?;
    let price = views::gas_price(snapshot.base_fee, &view.genesis.parameters);
    let route = Route::of(body, |owner| view.home(owner));
    let legs: Result<Vec<v1::LegFee>, Refusal> = route
        .chains
        .iter()
        .zip([lane])
        .map(|(chain, gas)| {
            let base_fee = published(view, &snapshot.state, home, *chain);
            Ok(v1::LegFee {
                chain: chain.to_string(),
                gas: gas.get(),
                base_fee: base_fee.to_string(),
                gas_price: price.to_string(),
                fee: payable(gas, price)?.to_string(),
            })
        })
        .collect();
    let elsewhere = if route.is_remote() { lane } else { Gas::ZERO };
    let reply = if route.is_remote() {
        gas::reply()
    } else {
        Gas::ZERO
    };
    Ok(v1::EstimateFeeResponse {
        gas: gas.get(),
        gas_price: price.to_string(),
        fee: payable(gas, price)?.to_string(),
        base_fee: snapshot.base_fee.to_string(),
        home_gas: gas.get().saturating_sub(elsewhere.get()),
        reply_gas: reply.get(),
        legs: legs?,
        // All gas is bought for calls that run, whether they refuse or not.
        refund_max: Amount::ZERO.to_string(),
    })
}

/// The base fee of a chain in the facts that the sender's home holds; that of the beacon, which has no
/// market, is fixed.
fn published(view: &NodeView, state: &dyn StateRead, home: ChainRef, chain: ChainRef) -> Amount {
    let record = views::imported_record(state, home, chain);
    record.map_or(view.genesis.parameters.base_fee, |record| record.base_fee)
}

fn payable(gas: Gas, price: Amount) -> Result<Amount, Refusal> {
    fee(gas, price).ok_or_else(|| {
        Refusal::new(
            ErrorReason::AmountOverflow,
            "gas times price exceeds 2^128 base units",
        )
    })
}
