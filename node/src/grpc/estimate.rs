//! What a transaction will cost: gas is known exactly, prices as far as the sender's home knows them.

use super::ledger::not_followed;
use super::refusal::Refusal;
use crate::view::{NodeView, Route};
use skerry_execution::fees::{LegCost, fee};
use skerry_execution::network::NetworkInfo;
use skerry_execution::requests::{leg_price, price_for};
use skerry_execution::{gas, views};
use skerry_proto::v1::{self, ErrorReason};
use skerry_sdk::builder::{cost_of, gas_of};
use skerry_types::amount::{Amount, Asset};
use skerry_types::codec;
use skerry_types::ids::{ChainRef, Gas};
use skerry_types::limits;
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
    let home = view.home(&body.sender);
    let route = Route::of(body, |owner| view.home(owner));
    let limit = gas_of(body).map_err(Refusal::from)?;
    let cost = cost_of(body, route.is_remote()).map_err(Refusal::from)?;
    let snapshot = view.chain(home).map(|chain| chain.snapshot());
    let snapshot = snapshot.ok_or_else(|| not_followed(home))?;
    let price = views::gas_price(snapshot.base_fee, &view.genesis.parameters);
    // The price of the transaction is the most that it pays for gas anywhere.
    let network = NetworkInfo::of(&view.genesis);
    let price = price_for(&snapshot.state, &network, home, price, &body.bundle);
    let (mut legs, mut prepaid, mut refund) = (Vec::new(), Amount::ZERO, Amount::ZERO);
    let mut expected = Amount::ZERO;
    for (chain, LegCost { lane, .. }) in route.chains.iter().zip(cost.legs) {
        let base_fee = published(view, &snapshot.state, home, *chain);
        let bought_at = leg_price(base_fee);
        let fee = payable(lane, bought_at)?;
        prepaid = sum(prepaid, fee)?;
        if !legs.is_empty() {
            refund = sum(refund, fee)?;
            expected = sum(expected, payable(spare_of_later(lane), bought_at)?)?;
        }
        legs.push(v1::LegFee {
            chain: chain.to_string(),
            gas: lane.get(),
            base_fee: base_fee.to_string(),
            gas_price: bought_at.to_string(),
            fee: fee.to_string(),
        });
    }
    let reply = if route.is_remote() {
        gas::reply()
    } else {
        Gas::ZERO
    };
    Ok(v1::EstimateFeeResponse {
        gas: limit.get(),
        gas_price: price.to_string(),
        fee: sum(payable(cost.home, price)?, prepaid)?.to_string(),
        base_fee: snapshot.base_fee.to_string(),
        home_gas: cost.home.get(),
        reply_gas: reply.get(),
        legs,
        refund_max: refund.to_string(),
        refund_expected: expected.to_string(),
    })
}

/// The base fee of a chain in the facts that the sender's home holds; that of the beacon, which has no
/// market, is fixed.
fn published(view: &NodeView, state: &dyn StateRead, home: ChainRef, chain: ChainRef) -> Amount {
    let record = views::imported_record(state, home, chain);
    record.map_or(view.genesis.parameters.base_fee, |record| record.base_fee)
}

/// Gas that is left of the `lane` of a later leg when it begins with one asset: it was bought for as many as
/// there may be.
fn spare_of_later(lane: Gas) -> Gas {
    let asset = codec::encode(&Asset::nsker(0)).len();
    let most = gas::message(limits::ASSETS_MAX.saturating_mul(asset), limits::ASSETS_MAX);
    let one = gas::message(asset, 1);
    let spare = most.get().saturating_sub(one.get());
    // It takes as much as a reply in any case.
    let used = lane.saturating_sub(spare).max(gas::reply());
    Gas::new(lane.get().saturating_sub(used.get()))
}

fn too_much() -> Refusal {
    let message = "gas times price exceeds 2^128 base units";
    Refusal::new(ErrorReason::AmountOverflow, message)
}

fn payable(gas: Gas, price: Amount) -> Result<Amount, Refusal> {
    fee(gas, price).ok_or_else(too_much)
}

fn sum(first: Amount, second: Amount) -> Result<Amount, Refusal> {
    first.checked_add(second).ok_or_else(too_much)
}
