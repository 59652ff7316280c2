//! Whether a transaction may be admitted: what mempool and proposer ask, and what makes a block
//! that holds it invalid.
//!
//! [`check_static`] is the part that decides validity of blocks; nonce and balance change while a
//! block executes and only make a transaction void, so [`check_against_state`] alone asks for them.

use crate::error::Rejection;
use crate::fees;
use crate::modules::MODULES;
use crate::network::NetworkInfo;
use crate::requests;
use crate::views;
use skerry_types::amount::Amount;
use skerry_types::ids::{ChainRef, Denom, Gas, Height};
use skerry_types::limits;
use skerry_types::state::StateRead;
use skerry_types::transaction::CheckedTransaction;

/// Where a transaction would be included.
#[derive(Clone, Copy, Debug)]
pub struct AdmissionContext<'a> {
    /// The network.
    pub network: &'a NetworkInfo,
    /// The chain.
    pub chain: ChainRef,
    /// Height of the beacon reference.
    pub beacon_height: Height,
    /// Base fee of the block; see [`views::base_fee`].
    pub base_fee: Amount,
}

/// A transaction that may be admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Admission {
    /// Gas that it will be charged.
    pub gas: Gas,
    /// Base units of `sker` that it will be charged.
    pub fee: Amount,
    /// Base units of `sker` that its sender holds.
    pub funds: Amount,
    /// The next number of its stream: its own, or one before it.
    pub next: u64,
}

/// Gas that transactions of a block may need in all: the whole block's, less the inbound lane when
/// there is something to execute in it.
pub fn transactions_gas_max(network: &NetworkInfo, inbound: bool) -> Gas {
    let parameters = &network.parameters;
    let lane = if inbound {
        parameters.inbound_gas.get()
    } else {
        0
    };
    parameters.block_gas.saturating_sub(lane)
}

/// Gas of a transaction that may be in a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    /// All of it; times the gas price the most that it is charged.
    pub gas: Gas,
    /// The part that fills the block; see [`fees::BundleCost::near`].
    pub near: Gas,
}

/// Checks what stays true while a block executes: home, authenticator, expiry, gas, price. Returns
/// the gas.
///
/// # Errors
/// Names the first rule that is broken.
pub fn check_static(
    transaction: &CheckedTransaction,
    parent: &dyn StateRead,
    context: &AdmissionContext<'_>,
) -> Result<Need, Rejection> {
    let body = transaction.body();
    if context.chain.is_beacon() {
        return Err(Rejection::BeaconTakesNone);
    }
    let home = context.network.home(&body.sender);
    if home != context.chain {
        return Err(Rejection::WrongShard {
            sender: body.sender,
            home,
            here: context.chain,
        });
    }
    check_expiry(body.valid_until, context.beacon_height)?;
    let cost = fees::transaction_cost(MODULES, context.network, transaction)?;
    let expected = cost.gas;
    let limit = requests::gas_max(context.network);
    let above = cost.legs.iter().zip(1..).find(|(leg, _)| leg.lane > limit);
    if let Some((leg, hop)) = above {
        let actual = leg.lane;
        return Err(Rejection::RequestGas { limit, actual }.at_hop(hop));
    }
    if body.gas_limit < expected {
        return Err(Rejection::GasLimitTooLow {
            expected,
            actual: body.gas_limit,
        });
    }
    let limit = transactions_gas_max(context.network, true);
    if expected > limit {
        return Err(Rejection::GasAboveBlock {
            limit,
            actual: expected,
        });
    }
    let base_fee = context.base_fee;
    if body.gas_price < base_fee {
        return Err(Rejection::PriceTooLow {
            expected: base_fee,
            actual: body.gas_price,
        });
    }
    if !views::controls(parent, transaction) {
        return Err(Rejection::AuthenticatorMismatch {
            sender: body.sender,
        });
    }
    Ok(Need {
        gas: expected,
        near: cost.near(),
    })
}

/// Checks that `valid_until` has not passed and is not too far ahead.
///
/// # Errors
/// Says which of the two.
pub fn check_expiry(valid_until: Height, beacon_height: Height) -> Result<(), Rejection> {
    if valid_until < beacon_height {
        return Err(Rejection::Expired {
            valid_until,
            actual: beacon_height,
        });
    }
    let limit = beacon_height.saturating_add(limits::VALID_UNTIL_AHEAD_MAX);
    if valid_until > limit {
        return Err(Rejection::ExpiryTooFar { valid_until, limit });
    }
    Ok(())
}

/// Checks everything that can be known before a transaction is proposed.
///
/// # Errors
/// Names the first rule that is broken. A nonce ahead of the next one is not an error.
pub fn check_against_state(
    transaction: &CheckedTransaction,
    state: &dyn StateRead,
    context: &AdmissionContext<'_>,
) -> Result<Admission, Rejection> {
    let Need { gas, .. } = check_static(transaction, state, context)?;
    let body = transaction.body();
    let (stream, actual) = (body.nonce.stream, body.nonce.sequence);
    let expected = views::next_nonce(state, &body.sender, stream);
    // The last number of a stream is never used, so that "next" always exists.
    if actual < expected || actual == u64::MAX {
        return Err(Rejection::NonceUsed {
            stream,
            expected,
            actual,
        });
    }
    let held = views::balance(state, &body.sender, &Denom::SKER);
    let fee = fees::fee(gas, body.gas_price).unwrap_or(Amount::MAX);
    if held < fee {
        let sender = body.sender;
        return Err(Rejection::FeeUnpayable {
            sender,
            expected: fee,
            actual: held,
        });
    }
    Ok(Admission {
        gas,
        fee,
        funds: held,
        next: expected,
    })
}
