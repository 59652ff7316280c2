//! What the API refuses before a chain sees it: spending what the final state does not hold, and
//! sending where there is no room.
//!
//! A chain would include such a transaction and let it fail, fee charged; to a person an error at
//! once is worth more. It is a courtesy of this door, not a rule of the protocol.

use super::refusal::Refusal;
use crate::view::NodeView;
use skerry_execution::credit::{self, Forecast};
use skerry_execution::network::NetworkInfo;
use skerry_execution::transaction::demands_of;
use skerry_execution::views;
use skerry_proto::v1::ErrorReason;
use skerry_storage::StateTree;
use skerry_types::amount::{Amount, Asset};
use skerry_types::ids::{ChainRef, Denom};
use skerry_types::limits;
use skerry_types::message::Credit;
use skerry_types::transaction::TransactionBody;
use std::time::Duration;

/// Whether the sender's final balances cover the fee and everything attached.
pub(super) fn check(view: &NodeView, body: &TransactionBody) -> Result<(), Refusal> {
    let overflow = |what: &str| {
        Refusal::new(
            ErrorReason::AmountOverflow,
            format!("{what} exceeds 2^128 base units"),
        )
    };
    let fee = body.gas_price.checked_mul(body.gas_limit.get().into());
    let fee = fee.ok_or_else(|| overflow("gas limit times gas price"))?;
    let Some(home) = view.chain(view.home(&body.sender)) else {
        return Ok(());
    };
    let state = home.snapshot().state.clone();
    let mut pays_sker = false;
    for asset in &body.bundle.assets {
        let mut needed = asset.amount;
        if asset.denom == Denom::SKER {
            pays_sker = true;
            let sum = needed.checked_add(fee);
            needed = sum.ok_or_else(|| overflow("the fee and what is attached together"))?;
        }
        let held = views::balance(&state, &body.sender, &asset.denom);
        if held < needed {
            return Err(short(view, body, asset.denom, needed, held));
        }
    }
    let held = views::balance(&state, &body.sender, &Denom::SKER);
    if !pays_sker && held < fee {
        return Err(short(view, body, Denom::SKER, fee, held));
    }
    check_credit(view, &state, body)
}

/// Where less than this part of its share is left for a destination, nothing new is taken for it: what
/// waits already uses that up.
const SHARE_DIVISOR: u64 = 4;
/// Soonest and latest that a client is told to try again: some beacon blocks, and what nobody waits out.
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(30);

/// Whether there is credit for what the transaction sends.
fn check_credit(view: &NodeView, state: &StateTree, body: &TransactionBody) -> Result<(), Refusal> {
    let (network, home) = (&view.info, view.home(&body.sender));
    let least = credit::share(network).over(SHARE_DIVISOR);
    let wants: Vec<Want> = demands_of(network, home, body)
        .into_iter()
        .map(|(destination, demand)| Want {
            destination,
            needed: demand.credit,
            left: views::credit_left(state, network, home, destination),
        })
        .collect();
    let refused = |message: String| Refusal::new(ErrorReason::Congested, message);
    if !Forecast::new(network, home, state).admits(body) {
        let message = format!(
            "{home} has no credit for all that this would send, or no room for one more reply, now \
             (`skerry query channels`); nothing was taken and no fee charged"
        );
        let waits = wants.iter().map(|want| wait(view, want, want.needed));
        return Err(refused(message).retry_after(waits.max().unwrap_or(RETRY_MIN)));
    }
    for want in &wants {
        let Want {
            destination,
            needed,
            left,
        } = *want;
        if left.covers(needed.most(least)) {
            continue;
        }
        let message = format!(
            "{destination} has no room for more from {home} now: {left} are left of what it granted, \
             this takes {needed}, and less than {least} are kept for what waits already; nothing was \
             taken and no fee charged"
        );
        return Err(refused(message)
            .with("destination", destination)
            .with("bytes_left", left.bytes)
            .with("gas_left", left.gas)
            .retry_after(wait(view, want, needed.most(least))));
    }
    Ok(())
}

/// What a transaction would send to one destination.
struct Want {
    destination: ChainRef,
    needed: Credit,
    left: Credit,
}

/// How long until `least` may be free at a destination. What was sent there and not executed is what uses
/// the credit up, so as much of it must run as is missing, and with it what others sent, as far as this node
/// sees it.
fn wait(view: &NodeView, want: &Want, least: Credit) -> Duration {
    let (network, there) = (&view.info, view.chain(want.destination));
    let missing = least.less(want.left);
    let waiting = there.map_or(Credit::ZERO, |there| {
        waiting_at(network, want.destination, &there.snapshot().state)
    });
    let pace = Pace {
        block: credit::window(network).over(limits::WINDOW_BLOCKS),
        interval: there
            .and_then(|there| there.block_interval())
            .unwrap_or(Duration::from_millis(network.parameters.idle_interval_ms)),
    };
    pace.wait(missing.most(waiting))
}

/// What waits in the inbox of a chain, from all sources together.
fn waiting_at(network: &NetworkInfo, chain: ChainRef, state: &StateTree) -> Credit {
    let sources = network.chains.iter().filter(|source| **source != chain);
    let channels = sources.map(|source| views::inbound(state, chain, *source));
    channels.fold(Credit::ZERO, |sum, channel| {
        sum.plus(channel.charged.less(channel.freed))
    })
}

/// How fast a chain runs what others send it.
struct Pace {
    /// What a block has room for.
    block: Credit,
    /// From one block to the next.
    interval: Duration,
}

impl Pace {
    /// How long to wait until so much has run.
    fn wait(&self, waiting: Credit) -> Duration {
        let blocks = |waiting: u64, each: u64| waiting.div_ceil(each.max(1));
        let gas = blocks(waiting.gas, self.block.gas);
        let count = gas.max(blocks(waiting.bytes, self.block.bytes));
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        let wait = self.interval.saturating_mul(count);
        wait.clamp(RETRY_MIN, RETRY_MAX)
    }
}

fn short(
    view: &NodeView,
    body: &TransactionBody,
    denom: Denom,
    needed: Amount,
    held: Amount,
) -> Refusal {
    let home = view.chain(view.home(&denom.object()));
    let exists = denom.is_reserved()
        || home.is_none_or(|home| views::token(&home.snapshot().state, &denom).is_some());
    if held.is_zero() && !exists {
        let message = format!("no token has the denom {denom}");
        return Refusal::new(ErrorReason::DenomUnknown, message).with("denom", denom);
    }
    let pretty = |amount| Asset { denom, amount }.to_string();
    let message = format!(
        "{} holds {}, and {} is needed, fee included",
        body.sender,
        pretty(held),
        pretty(needed)
    );
    Refusal::new(ErrorReason::InsufficientBalance, message)
        .with("denom", denom)
        .with("expected", needed)
        .with("actual", held)
}

#[cfg(test)]
mod tests;
