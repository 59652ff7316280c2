//! `skerry tx …`: make, sign, send and follow transactions.
//!
//! The hash is printed before anything is sent. A nonce that somebody else took in the
//! meantime is replaced, unless it was given: the refused transaction was never accepted, so nothing
//! can happen twice.

use super::args::{Rpc, Sending, TxCommand, Waiting};
use super::bundle;
use super::estimate;
use super::keys;
use super::output::{CliError, Exit, Output, note};
use super::pool;
use super::stake;
use super::token;
use super::trace;
use serde_json::{Value, json};
use skerry_execution::modules::EXECUTOR;
use skerry_proto::v1::{self, ErrorReason, Outcome, Stage};
use skerry_sdk::builder::{Draft, Terms};
use skerry_sdk::client::{Client, ClientError};
use skerry_sdk::keys::{AccountKey, KeyFile};
use skerry_types::codec;
use skerry_types::ids::{Address, Digest, Height};
use skerry_types::transaction::Nonce;
use std::time::{Duration, Instant};

/// Tries with a fresh nonce.
const NONCE_TRIES: usize = 4;
/// Longest wait of one call; the node caps it as well.
const WAIT_SLICE: Duration = Duration::from_secs(20);
/// How often a node that stopped answering is asked again while the time lasts.
const RETRY_INTERVAL: Duration = Duration::from_millis(500);

pub(super) async fn run(command: TxCommand, json: bool) -> Result<Output, CliError> {
    match command {
        TxCommand::Send {
            to,
            amount,
            sending,
        } => send(&Draft::new().transfer(&to, amount)?, &sending, json).await,
        TxCommand::Call {
            module,
            call,
            attach,
            sending,
        } => {
            let mut draft = Draft::new();
            for asset in attach {
                draft = draft.attach(asset)?;
            }
            send(&draft.call(&module, &call)?, &sending, json).await
        }
        TxCommand::Bundle { file, sending } => bundle::run(&file, &sending, json).await,
        TxCommand::Wait { hash, rpc, waiting } => {
            let deadline = Instant::now() + waiting.timeout;
            let client = Client::new(&rpc.rpc)?;
            let stage = Stage::Unspecified;
            let status = client.status(&hash, stage, Duration::ZERO).await?;
            conclude(
                follow(&client, &hash, status, &waiting, deadline).await?,
                &waiting,
                &rpc,
            )
        }
        TxCommand::Status { hash, rpc } => {
            let client = Client::new(&rpc.rpc)?;
            let status = client
                .status(&hash, Stage::Unspecified, Duration::ZERO)
                .await?;
            Ok(Output::new(status_json(&status), status_text(&status)))
        }
        TxCommand::Trace {
            hash,
            rpc,
            wait,
            timeout,
        } => trace::run(&hash, &rpc, wait.then_some(timeout)).await,
        TxCommand::Token(command) => token::run(command, json).await,
        TxCommand::Stake(command) => stake::run(command, json).await,
        TxCommand::Pool(command) => pool::run(command, json).await,
        TxCommand::Swap(args) => pool::swap(args, json).await,
    }
}

/// Opens the sender's key and refuses it on a network that it is not meant for.
pub(super) fn open_key(
    sending: &Sending,
    chain_id: Digest,
    json: bool,
) -> Result<AccountKey, CliError> {
    let file = KeyFile::read(&sending.key_file)?;
    file.check_network(chain_id)?;
    keys::open(&file, &sending.passphrase, json)
}

/// Signs and sends a draft, and waits as asked.
pub(super) async fn send(draft: &Draft, sending: &Sending, json: bool) -> Result<Output, CliError> {
    deliver(draft, sending, json).await?.conclude(sending)
}

/// A transaction that was sent, as far as it was waited for.
pub(super) struct Delivery {
    client: Client,
    deadline: Instant,
    pub(super) status: v1::TransactionStatus,
    /// What it would cost, where it was not to be sent.
    estimate: Option<v1::EstimateFeeResponse>,
}

/// [`send`] up to the result.
pub(super) async fn deliver(
    draft: &Draft,
    sending: &Sending,
    json: bool,
) -> Result<Delivery, CliError> {
    let deadline = Instant::now() + sending.waiting.timeout;
    let client = Client::new(&sending.rpc.rpc)?;
    let chain_id = client.chain_id().await?;
    if sending.dry_run {
        let sender = KeyFile::read(&sending.key_file)?.address();
        let terms = terms(&client, sender, sending, chain_id).await?;
        let body = draft.clone().body(&terms)?;
        let estimate = client.estimate(codec::encode(&body)).await?;
        return Ok(Delivery {
            client,
            deadline,
            status: v1::TransactionStatus::default(),
            estimate: Some(estimate),
        });
    }
    let key = open_key(sending, chain_id, json)?;
    let (hash, status) = submit(&client, draft, sending, &key, chain_id).await?;
    let status = follow(&client, &hash, status, &sending.waiting, deadline).await?;
    Ok(Delivery {
        client,
        deadline,
        status,
        estimate: None,
    })
}

impl Delivery {
    /// Result or error from where the transaction got to.
    pub(super) fn conclude(self, sending: &Sending) -> Result<Output, CliError> {
        if let Some(estimate) = &self.estimate {
            return Ok(estimate::shown(estimate));
        }
        conclude(self.status, &sending.waiting, &sending.rpc)
    }

    /// What the modules told of a transaction that succeeded, at home or where its bundle ran; nothing
    /// where it has not, or where no final receipt is to be had before the time is over: what happened has
    /// happened, whether the node can still be asked or not.
    pub(super) async fn events(&self) -> Vec<v1::Event> {
        let Ok(hash) = skerry_proto::convert::digest("hash", &self.status.hash) else {
            return Vec::new();
        };
        let requests = || {
            let legs = self.status.legs.iter();
            legs.filter(|leg| leg.kind() == v1::LegKind::Request)
        };
        if requests().next().is_some() && self.status.outcome() == Outcome::Succeeded {
            return requests().flat_map(|leg| leg.events.clone()).collect();
        }
        while self.status.outcome() == Outcome::Succeeded {
            let reply = self.client.transaction(&hash).await;
            let found = reply.ok().and_then(|reply| reply.transaction);
            if let Some(receipt) = found.and_then(|found| found.receipt) {
                return receipt.events;
            }
            if Instant::now() >= self.deadline {
                break;
            }
            tokio::time::sleep(RETRY_INTERVAL).await;
        }
        Vec::new()
    }
}

/// What the account and the network add to a draft of `sender` now.
async fn terms(
    client: &Client,
    sender: Address,
    sending: &Sending,
    chain_id: Digest,
) -> Result<Terms, CliError> {
    let reply = client.account(&sender, sending.nonce_stream).await?;
    let suggested = skerry_proto::convert::amount("gas_price", &reply.gas_price);
    let gas_price = match sending.gas_price {
        Some(price) => price,
        None => suggested.map_err(ClientError::from)?,
    };
    let (account, anchor) = (
        reply.account.unwrap_or_default(),
        reply.anchor.unwrap_or_default(),
    );
    let beacon = Height::new(anchor.beacon.unwrap_or_default().height);
    Ok(Terms {
        chain_id,
        sender,
        nonce: Nonce {
            stream: sending.nonce_stream,
            sequence: sending.nonce.unwrap_or(account.next_nonce),
        },
        valid_until: beacon.saturating_add(sending.valid_for),
        gas_price,
    })
}

async fn submit(
    client: &Client,
    draft: &Draft,
    sending: &Sending,
    key: &AccountKey,
    chain_id: Digest,
) -> Result<(Digest, v1::TransactionStatus), CliError> {
    let mut tries = 0;
    loop {
        let terms = terms(client, key.address(), sending, chain_id).await?;
        let terms = match sending.gas_price {
            None if draft.leaves()? => priced(client, draft, terms).await?,
            _ => terms,
        };
        let signed = draft.clone().sign(&terms, key.secret())?;
        let hash = signed.body.id();
        note(&format!("sending {hash}"));
        let wire = codec::encode(&signed);
        tries += 1;
        match client
            .submit(wire, Stage::Received, Duration::from_secs(1))
            .await
        {
            Ok(status) => return Ok((hash, status)),
            Err(error) if sending.nonce.is_none() && tries < NONCE_TRIES && is_race(&error) => {}
            // Whether it was taken is not known; the hash tells later.
            Err(error @ ClientError::Unreachable { .. }) => {
                let rpc = client.url();
                return Err(CliError::from(error)
                    .detail("hash", hash.to_string())
                    .next(format!(
                        "it may have been taken: skerry tx status {hash} --rpc {rpc}"
                    )));
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// At a price that does for the gas of all chains that a bundle runs on.
async fn priced(client: &Client, draft: &Draft, terms: Terms) -> Result<Terms, CliError> {
    let body = draft.clone().body(&terms)?;
    let estimate = client.estimate(codec::encode(&body)).await?;
    let price = skerry_proto::convert::amount("gas_price", &estimate.gas_price);
    let gas_price = price.map_err(ClientError::from)?;
    Ok(Terms { gas_price, ..terms })
}

fn is_race(error: &ClientError) -> bool {
    let reason = error.reason();
    matches!(
        reason,
        Some(ErrorReason::NonceTooLow | ErrorReason::ReplacementUnderpriced)
    )
}

fn reached(status: &v1::TransactionStatus, waiting: &Waiting) -> bool {
    status.stage >= i32::from(Stage::from(waiting.wait_for)) || status.outcome().is_decided()
}

/// Waits until the stage is reached, the outcome is decided, or the time is over.
async fn follow(
    client: &Client,
    hash: &Digest,
    mut status: v1::TransactionStatus,
    waiting: &Waiting,
    deadline: Instant,
) -> Result<v1::TransactionStatus, CliError> {
    let wanted = Stage::from(waiting.wait_for);
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if reached(&status, waiting) || left.is_zero() {
            return Ok(status);
        }
        match client.status(hash, wanted, left.min(WAIT_SLICE)).await {
            Ok(newer) => {
                // Where it ended is the result, which says more.
                if newer.stage != status.stage && !reached(&newer, waiting) {
                    note(&format!(
                        "{} {}",
                        newer.stage().name(),
                        newer.outcome().name()
                    ));
                }
                status = newer;
            }
            // A node that restarts is asked again for as long as there is time.
            Err(ClientError::Unreachable { .. }) => tokio::time::sleep(RETRY_INTERVAL).await,
            Err(error) => return Err(error.into()),
        }
    }
}

/// Result or error from where the transaction got to.
fn conclude(
    status: v1::TransactionStatus,
    waiting: &Waiting,
    rpc: &Rpc,
) -> Result<Output, CliError> {
    let (data, text) = (status_json(&status), status_text(&status));
    let stage = status.stage().name();
    match status.outcome() {
        Outcome::Succeeded => Ok(Output::new(data, text)),
        Outcome::Pending if reached(&status, waiting) => Ok(Output::new(data, text)),
        Outcome::Unspecified if status.stage() == Stage::Returned => {
            let unknown = status.legs.iter().filter(|leg| leg.not_followed);
            let chains: Vec<&str> = unknown.map(|leg| leg.chain.as_str()).collect();
            let chains = chains.join(", ");
            let message = format!("{} is over, and how is not known here", status.hash);
            Err(CliError::new(Exit::Unreachable, "OUTCOME_UNKNOWN", message)
                .why(format!(
                    "it happened on {chains}, which this node does not follow"
                ))
                .next(format!(
                    "ask a gateway or a validator of {chains}: skerry tx trace {} --rpc URL",
                    status.hash
                ))
                .with_data(data))
        }
        Outcome::Pending | Outcome::Unspecified => {
            let message = format!(
                "not {} within {:?}: {} is {stage}",
                Stage::from(waiting.wait_for).name(),
                waiting.timeout,
                status.hash
            );
            let next = format!(
                "skerry tx wait {} --rpc {}   (it can still succeed until beacon height {})",
                status.hash, rpc.rpc, status.valid_until
            );
            Err(CliError::new(Exit::Pending, "PENDING", message)
                .next(next)
                .with_data(data))
        }
        _ => Err(failed(&status, rpc).with_data(data)),
    }
}

/// What happened otherwise than was asked, or not at all: why, and where to look.
pub(super) fn failed(status: &v1::TransactionStatus, rpc: &Rpc) -> CliError {
    let (hash, outcome) = (&status.hash, status.outcome().name());
    let error = CliError::new(Exit::Failed, outcome, format!("{hash} is {outcome}"));
    let failure = status.legs.iter().find_map(|leg| leg.failure.as_ref());
    let error = match (failure, route_end(status)) {
        (Some(failure), _) => error
            .why(format!("{}: {}", failure.code, failure.detail))
            .detail("failure", failure.code.as_str()),
        (None, Some((chain, reason))) => error
            .why(format!("{reason}: the next leg could not leave {chain}"))
            .detail("failure", reason),
        (None, None) => error,
    };
    // Only the trace tells what happened elsewhere.
    let command = match status.legs.as_slice() {
        [] | [_] => "query tx",
        _ => "tx trace",
    };
    error.next(format!("skerry {command} {hash} --rpc {}", rpc.rpc))
}

/// Where a route ended though the calls there succeeded, and why.
fn route_end(status: &v1::TransactionStatus) -> Option<(&str, &str)> {
    let mut legs = status.legs.iter();
    legs.find_map(|leg| {
        let is_end = |event: &&v1::Event| {
            event.module == u32::from(EXECUTOR.get()) && event.name == "route_ended"
        };
        let ended = leg.events.iter().find(is_end)?;
        let reason = ended.attributes.iter().find(|it| it.key == "reason")?;
        Some((leg.chain.as_str(), reason.value.as_str()))
    })
}

fn block_json(block: Option<&v1::BlockRef>) -> Value {
    block.map_or(
        Value::Null,
        |block| json!({"height": block.height, "digest": block.digest}),
    )
}

pub(super) fn leg_json(leg: &v1::Leg) -> Value {
    let message = leg.message.as_ref().map(
        |id| json!({"source": id.source, "destination": id.destination, "sequence": id.sequence}),
    );
    let failure = leg.failure.as_ref().map(
        |failure| json!({"module": failure.module, "code": failure.code, "detail": failure.detail}),
    );
    json!({
        "kind": leg.kind().name(),
        "chain": leg.chain,
        "message": message,
        "stage": leg.stage().name(),
        "outcome": leg.outcome().name(),
        "block": block_json(leg.block.as_ref()),
        "gas": leg.gas,
        "failure": failure,
        "id": leg.message.as_ref().map(id_text),
        "not_followed": leg.not_followed,
    })
}

/// `shard-0/1>shard-1/1#7`
pub(super) fn id_text(id: &v1::MessageId) -> String {
    format!("{}>{}#{}", id.source, id.destination, id.sequence)
}

/// An outcome for people: UNSPECIFIED is what is over and happened where the node does not look.
pub(super) fn outcome_text(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Unspecified => "NOT KNOWN HERE",
        outcome => outcome.name(),
    }
}

/// A status for programs.
pub(super) fn status_json(status: &v1::TransactionStatus) -> Value {
    json!({
        "hash": status.hash,
        "stage": status.stage().name(),
        "outcome": status.outcome().name(),
        "legs": status.legs.iter().map(leg_json).collect::<Vec<_>>(),
        "fee": status.fee,
        "route": status.route,
        "valid_until": status.valid_until,
        "beacon_height": status.beacon_height,
    })
}

/// A status for people.
pub(super) fn status_text(status: &v1::TransactionStatus) -> String {
    let mut text = format!(
        "{}  {}  {}",
        status.hash,
        status.stage().name(),
        outcome_text(status.outcome())
    );
    for leg in &status.legs {
        let place = leg.message.as_ref().map(id_text);
        let height = leg
            .block
            .as_ref()
            .map(|block| format!(" at height {}", block.height));
        text.push_str(&format!(
            "\n  {:<9} {}{}  {}",
            leg.kind().name().to_lowercase(),
            place.as_ref().unwrap_or(&leg.chain),
            height.unwrap_or_default(),
            outcome_text(leg.outcome())
        ));
        if let Some(failure) = &leg.failure {
            text.push_str(&format!("  {}: {}", failure.code, failure.detail));
        }
    }
    if let Ok(fee) = status.fee.parse::<u128>() {
        text.push_str(&format!(
            "\n  fee       {}",
            skerry_types::amount::Asset::nsker(fee)
        ));
    }
    text
}
