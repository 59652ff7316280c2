//! Whether final means succeeded.
//!
//! A failed or void transfer is in a final block too. But then the nonces and balances of its
//! sender and recipient are not those that all final transfers together explain. So one look at
//! every account either proves that all succeeded, or names the few whose transfers are asked for
//! one by one.

use super::BenchError;
use super::observe::Seen;
use super::plan::{ACCOUNTS_AT_ONCE, Plan, Sender};
use skerry_proto::convert;
use skerry_proto::v1::{Outcome, Stage};
use skerry_sdk::client::Client;
use skerry_types::ids::{Address, ChainRef, Denom};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Transfers that are asked for one by one, at most.
const QUERIES_MAX: usize = 20_000;
/// How long the observer may take to execute what it has seen final.
const EXECUTION_MAX: Duration = Duration::from_secs(5);
const AGAIN_INTERVAL: Duration = Duration::from_millis(200);

/// What the accounts say.
pub(super) struct Audit {
    pub(super) exact: bool,
    pub(super) failed: u64,
    pub(super) void: u64,
}

/// Compares every sender with what the final transfers explain. A block is seen final before the
/// observer has executed it, so accounts that differ are looked at again for a while.
pub(super) async fn run(
    plan: &Plan,
    seen: &Seen,
    observe: &BTreeMap<ChainRef, Vec<Client>>,
) -> Result<Audit, BenchError> {
    let expected = expected(plan, seen);
    let mut audit = Audit {
        exact: true,
        failed: 0,
        void: 0,
    };
    let mut queries = 0_usize;
    for (chain, clients) in observe {
        let Some(client) = clients.first() else {
            continue;
        };
        let senders = plan.senders.iter().zip(expected.iter().copied());
        let own: Vec<(&Sender, (u64, u128))> = senders
            .filter(|(sender, _)| sender.home == *chain)
            .collect();
        let deadline = Instant::now() + EXECUTION_MAX;
        let mut differing = differing(client, &own).await?;
        while !differing.is_empty() && Instant::now() < deadline {
            sleep(AGAIN_INTERVAL).await;
            differing = self::differing(client, &differing).await?;
        }
        for (sender, (nonce, balance)) in differing {
            audit.exact = false;
            tracing::warn!(address = %sender.address, nonce, balance, "not what is explained");
            ask(client, plan, seen, sender, &mut queries, &mut audit).await?;
        }
    }
    Ok(audit)
}

/// Next nonce and balance of every sender after all final transfers.
fn expected(plan: &Plan, seen: &Seen) -> Vec<(u64, u128)> {
    let mut expected: Vec<(u64, u128)> = plan
        .senders
        .iter()
        .map(|sender| (sender.nonce, sender.balance))
        .collect();
    for (number, transfer) in plan.transfers.iter().enumerate() {
        if seen.is_final(number)
            && let Some((nonce, balance)) = expected.get_mut(transfer.sender)
        {
            *nonce = nonce.saturating_add(1);
            *balance = balance.saturating_sub(transfer.fee.saturating_add(Plan::amount()));
        }
        if seen.is_done(number)
            && let Some((_, balance)) = expected.get_mut(transfer.recipient)
        {
            *balance = balance.saturating_add(Plan::amount());
        }
    }
    expected
}

/// Those of the senders whose account is not the expected one.
async fn differing<'s>(
    client: &Client,
    senders: &[(&'s Sender, (u64, u128))],
) -> Result<Vec<(&'s Sender, (u64, u128))>, BenchError> {
    let mut differing = Vec::new();
    for group in senders.chunks(ACCOUNTS_AT_ONCE) {
        let addresses: Vec<Address> = group.iter().map(|(sender, _)| sender.address).collect();
        let replies = client.accounts(&addresses).await?;
        for ((sender, expected), reply) in group.iter().zip(replies) {
            let account = reply.account.unwrap_or_default();
            let mut balance = 0;
            for asset in &account.balances {
                let asset = convert::asset(asset)
                    .map_err(|error| BenchError::Network(error.to_string()))?;
                if asset.denom == Denom::SKER {
                    balance = asset.amount.get();
                }
            }
            if (account.final_nonce, balance) != *expected {
                differing.push((*sender, *expected));
            }
        }
    }
    Ok(differing)
}

async fn ask(
    client: &Client,
    plan: &Plan,
    seen: &Seen,
    sender: &Sender,
    queries: &mut usize,
    audit: &mut Audit,
) -> Result<(), BenchError> {
    for number in sender
        .transfers
        .iter()
        .filter(|number| seen.is_final(**number))
    {
        let Some(transfer) = plan.transfers.get(*number) else {
            continue;
        };
        *queries += 1;
        if *queries > QUERIES_MAX {
            return Ok(());
        }
        let status = client
            .status(&transfer.id, Stage::Unspecified, Duration::ZERO)
            .await?;
        match status.outcome() {
            Outcome::Failed => audit.failed = audit.failed.saturating_add(1),
            Outcome::Void => audit.void = audit.void.saturating_add(1),
            _ => {}
        }
    }
    Ok(())
}
