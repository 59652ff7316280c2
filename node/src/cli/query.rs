//! `skerry query …`: ask a node, or prove what it says.

use super::args::QueryCommand;
use super::genesis::read_genesis;
use super::output::{CliError, Exit, Output};
use super::pool;
use super::tx::{status_json, status_text};
use crate::runner::now_ms;
use crate::snapshot::check::Checkpoint;
use serde_json::{Value, json};
use skerry_proto::v1;
use skerry_sdk::client::Client;
use skerry_sdk::light::TrustedNetwork;
use skerry_types::amount::Asset;
use skerry_types::codec::decode;
use skerry_types::committee::genesis_digest;
use skerry_types::ids::{Address, ChainRef, Epoch, Height};
use skerry_types::light::SealProof;
use skerry_types::limits::PROOF_BYTES_MAX;
use std::time::Duration;

/// A proof that is older than this by its beacon header is worth a warning.
const PROOF_AGE_MAX: Duration = Duration::from_secs(60);

pub(super) async fn run(command: QueryCommand) -> Result<Output, CliError> {
    match command {
        QueryCommand::Account {
            address,
            rpc,
            trust,
            checkpoint,
            timeout,
            ..
        } => {
            let client = Client::new(&rpc.rpc)?;
            match trust {
                Some(genesis) => {
                    let mut trusted = TrustedNetwork::new(&read_genesis(&genesis)?)?;
                    if let Some(Checkpoint { epoch, seal }) = checkpoint {
                        trusted = trusted.with_checkpoint(epoch, seal)?;
                    }
                    prove(&client, &address, trusted, timeout).await
                }
                None => account(&client, &address).await,
            }
        }
        QueryCommand::Tx { hash, rpc } => {
            let reply = Client::new(&rpc.rpc)?.transaction(&hash).await?;
            Ok(transaction(&reply))
        }
        QueryCommand::Block { chain, height, rpc } => {
            let client = Client::new(&rpc.rpc)?;
            Ok(block(&client.block(chain, height.map(Height::new)).await?))
        }
        QueryCommand::Shard { chain, rpc } => {
            chains(&Client::new(&rpc.rpc)?.node_status().await?, chain)
        }
        QueryCommand::Validators { rpc } => {
            Ok(validators(&Client::new(&rpc.rpc)?.validators().await?))
        }
        QueryCommand::Channels { chain, rpc } => {
            Ok(channels(&Client::new(&rpc.rpc)?.channels(chain).await?))
        }
        QueryCommand::Pool { pool, rpc } => pool::show(&Client::new(&rpc.rpc)?, &pool).await,
        QueryCommand::Quote { route, exact, rpc } => {
            pool::show_quote(&Client::new(&rpc.rpc)?, &route.pools, exact).await
        }
        QueryCommand::Checkpoint { rpc } => checkpoint(&Client::new(&rpc.rpc)?).await,
        QueryCommand::Node { rpc } => node(&Client::new(&rpc.rpc)?).await,
        QueryCommand::Token { denom, rpc } => {
            let token = Client::new(&rpc.rpc)?.token(&denom).await?;
            let data = json!({
                "denom": token.denom, "name": token.name, "symbol": token.symbol,
                "decimals": token.decimals, "metadata": token.metadata,
                "creator": token.creator, "authority": token.authority, "supply": token.supply,
            });
            let text = format!(
                "{} ({})  {}\n  supply     {} base units, {} decimals\n  creator    {}\n  \
                 authority  {}\n  metadata   {}",
                token.name,
                token.symbol,
                token.denom,
                token.supply,
                token.decimals,
                token.creator,
                token.authority,
                token.metadata
            );
            Ok(Output::new(data, text))
        }
    }
}

/// The newest epoch of the beacon that has begun, with the seal that opened it.
async fn checkpoint(client: &Client) -> Result<Output, CliError> {
    let status = client.node_status().await?;
    let beacon = status.chains.iter().find(|it| it.chain == "beacon");
    let open = Epoch::new(beacon.map_or(0, |beacon| beacon.epoch));
    let chain_id = client.chain_id().await?;
    let mut found = Checkpoint {
        epoch: Epoch::ZERO,
        seal: genesis_digest(&chain_id, ChainRef::Beacon),
    };
    if let Some(before) = open.previous() {
        let seals = client.beacon_seals(before).await?;
        if seals.is_empty() {
            let message = "the node does not show the seal of its epoch";
            let error = CliError::new(Exit::Unreachable, "NODE_BEHIND", message);
            return Err(error.next("ask another node"));
        }
        for seal in seals {
            let seal: SealProof = decode(&seal, PROOF_BYTES_MAX).map_err(|error| {
                let message = "the node's seals cannot be read";
                CliError::new(Exit::Unreachable, "SEAL", message).why(error.to_string())
            })?;
            found = Checkpoint {
                epoch: seal.committee.epoch,
                seal: seal.header.digest(),
            };
        }
    }
    let text = found.to_string();
    let (epoch, seal) = (found.epoch.get(), found.seal.to_string());
    let data = json!({"checkpoint": text, "epoch": epoch, "seal": seal});
    Ok(Output::new(data, text))
}

fn credit_json(credit: Option<&v1::Credit>) -> Value {
    credit.map_or(
        Value::Null,
        |credit| json!({"bytes": credit.bytes, "gas": credit.gas}),
    )
}

/// The smaller of the two parts that are left of a whole, in hundredths; a dash where it is not known.
fn percent(left: Option<&v1::Credit>, whole: Option<&v1::Credit>) -> String {
    let part = |left: u64, whole: u64| left.saturating_mul(100).checked_div(whole);
    let part = left.zip(whole).and_then(|(left, whole)| {
        let bytes = part(left.bytes, whole.bytes)?;
        Some(bytes.min(part(left.gas, whole.gas)?))
    });
    part.map_or_else(|| "-".to_owned(), |part| format!("{part} %"))
}

fn channels(reply: &v1::ListChannelsResponse) -> Output {
    let bound = reply.bound.unwrap_or_default();
    let entry = |it: &v1::Channel| {
        json!({
            "source": it.source, "destination": it.destination, "sent": it.sent,
            "accepted": it.accepted, "executed": it.executed, "left": credit_json(it.left.as_ref()),
            "window": credit_json(it.window.as_ref()), "open_requests": it.open_requests,
        })
    };
    let channels: Vec<Value> = reply.channels.iter().map(entry).collect();
    let data = json!({
        "channels": channels,
        "share": credit_json(reply.share.as_ref()),
        "window": credit_json(reply.window.as_ref()),
        "reply_room": reply.reply_room,
        "bound": {
            "message_delays": bound.message_delays, "beacon_blocks": bound.beacon_blocks,
            "blocks": bound.blocks, "milliseconds": bound.milliseconds,
        },
    });
    let mut text = format!(
        "{:<10} {:<10} {:>10} {:>8} {:>8}  {:>9} {:>9}  {:>8}",
        "from", "to", "sent", "under way", "waiting", "left", "granted", "requests"
    );
    for it in &reply.channels {
        let open = it
            .open_requests
            .map_or_else(|| "-".to_owned(), |open| open.to_string());
        text.push_str(&format!(
            "\n{:<10} {:<10} {:>10} {:>8} {:>8}  {:>9} {:>9}  {open:>8}",
            it.source,
            it.destination,
            it.sent,
            it.sent.saturating_sub(it.accepted),
            it.accepted.saturating_sub(it.executed),
            percent(it.left.as_ref(), reply.share.as_ref()),
            percent(it.window.as_ref(), reply.window.as_ref()),
        ));
    }
    let seconds = bound.milliseconds / 1000;
    text.push_str(&format!(
        "\nleft: of the share that every source has at least; granted: of the window that all sources \
         of a destination have together; requests: without reply, of {} at most\n\
         a message runs after at most {} message delays, {} beacon blocks and {} blocks of its \
         destination ({seconds} s where delays are as long as the genesis allows for), and a leader \
         timeout more for each Byzantine leader in a row",
        reply.reply_room, bound.message_delays, bound.beacon_blocks, bound.blocks
    ));
    Output::new(data, text)
}

fn validators(reply: &v1::ListValidatorsResponse) -> Output {
    let seat = |seat: &v1::ValidatorSeat| json!({"chain": seat.chain, "weight": seat.weight});
    let entry = |it: &v1::Validator| {
        json!({
            "id": it.id, "vote_key": it.vote_key, "operator": it.operator, "stage": it.stage,
            "bond": it.bond, "stake": it.stake, "slashed": it.slashed,
            "jailed_until": it.jailed_until, "free_from": it.free_from,
            "seats": it.seats.iter().map(seat).collect::<Vec<_>>(),
        })
    };
    let list: Vec<Value> = reply.validators.iter().map(entry).collect();
    let mut text = format!("epoch {}", reply.epoch);
    for it in &reply.validators {
        let bond = it.bond.parse().map(Asset::nsker);
        let bond = bond.map_or_else(|_| it.bond.clone(), |bond| bond.to_string());
        text.push_str(&format!("\n  v{:<4} {:<9} {bond}", it.id, it.stage));
        if let Some(until) = it.jailed_until {
            text.push_str(&format!("  jailed until epoch {until}"));
        }
        if let Some(from) = it.free_from {
            text.push_str(&format!("  free from epoch {from}"));
        }
        for seat in &it.seats {
            text.push_str(&format!("  {}:{}", seat.chain, seat.weight));
        }
    }
    Output::new(json!({"epoch": reply.epoch, "validators": list}), text)
}

pub(super) fn asset_json(asset: &v1::Asset) -> Value {
    json!({"denom": asset.denom, "amount": asset.amount})
}

pub(super) fn block_ref(block: Option<&v1::BlockRef>) -> Value {
    block.map_or(
        Value::Null,
        |block| json!({"height": block.height, "digest": block.digest}),
    )
}

/// An amount for people.
pub(super) fn pretty(asset: &v1::Asset) -> String {
    let parsed = skerry_proto::convert::asset(asset);
    parsed.map_or_else(
        |_| format!("{} {}", asset.amount, asset.denom),
        |asset| asset.to_string(),
    )
}

fn balances_text(address: &str, chain: &str, assets: impl Iterator<Item = String>) -> String {
    let mut text = format!("{address}  on {chain}");
    let mut empty = true;
    for asset in assets {
        empty = false;
        text.push_str(&format!("\n  {asset}"));
    }
    if empty {
        text.push_str("\n  nothing");
    }
    text
}

async fn account(client: &Client, address: &Address) -> Result<Output, CliError> {
    let reply = client.account(address, 0).await?;
    let (account, anchor) = (
        reply.account.unwrap_or_default(),
        reply.anchor.unwrap_or_default(),
    );
    let claims: Vec<Value> = account
        .claims
        .iter()
        .map(|claim| {
            let asset = claim.asset.as_ref().map(asset_json);
            json!({"source": claim.source, "sequence": claim.sequence, "asset": asset})
        })
        .collect();
    let data = json!({
        "address": account.address,
        "chain": account.chain,
        "balances": account.balances.iter().map(asset_json).collect::<Vec<_>>(),
        "claims": claims,
        "next_nonce": account.next_nonce,
        "final_nonce": account.final_nonce,
        "beacon": block_ref(anchor.beacon.as_ref()),
        "block": block_ref(anchor.block.as_ref()),
        "verified": false,
    });
    let mut text = balances_text(
        &account.address,
        &account.chain,
        account.balances.iter().map(pretty),
    );
    for claim in &account.claims {
        let asset = claim.asset.as_ref().map(pretty).unwrap_or_default();
        text.push_str(&format!("\n  {asset} to be claimed, from {}", claim.source));
    }
    Ok(Output::new(data, text))
}

/// Nothing of the node's replies is believed but the proof; how new the proven state must be is
/// taken from the node, which can only make it older than it is.
async fn prove(
    client: &Client,
    address: &Address,
    mut trusted: TrustedNetwork,
    timeout: Duration,
) -> Result<Output, CliError> {
    let anchor = client.account(address, 0).await?.anchor.unwrap_or_default();
    let wanted = Height::new(anchor.block.unwrap_or_default().height);
    let proof = client.proof(address, wanted, timeout).await?;
    // From the genesis' committee to that of the proof's epoch, seal by seal, by way of the
    // checkpoint where there is one.
    let proven = TrustedNetwork::epoch_of(&proof)?;
    while trusted.epoch() < proven {
        let seals = client.beacon_seals(trusted.epoch()).await?;
        if seals.is_empty() {
            break;
        }
        for seal in seals {
            if trusted.epoch() < proven {
                trusted.advance(&seal)?;
            }
        }
    }
    let verified = trusted.verify(&proof, address)?;
    let now = now_ms();
    trusted.check_age(now)?;
    let data = json!({
        "address": verified.address,
        "chain": verified.chain,
        "balances": verified.balances,
        "beacon": {"height": verified.beacon.height, "digest": verified.beacon.digest},
        "block": {"height": verified.block.height, "digest": verified.block.digest},
        "time_ms": verified.time,
        "proof_bytes": proof.len(),
        "verified": true,
    });
    let balances = verified.balances.iter().map(Asset::to_string);
    let mut text = balances_text(&address.to_string(), &verified.chain.to_string(), balances);
    text.push_str(&format!(
        "\nproven by beacon block {} for height {} of {}",
        verified.beacon.height, verified.block.height, verified.chain
    ));
    let output = Output::new(data, text);
    let age = Duration::from_millis(now.above(verified.time));
    if age > PROOF_AGE_MAX {
        return Ok(output.warn(format!(
            "the proof is {} s old by its own time; the node may be hiding what came after",
            age.as_secs()
        )));
    }
    Ok(output)
}

fn receipt_json(receipt: &v1::Receipt) -> Value {
    let failure = receipt.failure.as_ref();
    let events: Vec<Value> = receipt
        .events
        .iter()
        .map(|event| {
            let attributes: serde_json::Map<String, Value> = event
                .attributes
                .iter()
                .map(|attribute| (attribute.key.clone(), json!(attribute.value)))
                .collect();
            json!({"module": event.module, "owner": event.owner, "name": event.name,
                "attributes": attributes})
        })
        .collect();
    json!({
        "status": receipt.status,
        "failure": failure.map(|failure| {
            json!({"module": failure.module, "code": failure.code, "detail": failure.detail})
        }),
        "gas": receipt.gas,
        "fee": receipt.fee,
        "events": events,
    })
}

fn transaction(reply: &v1::GetTransactionResponse) -> Output {
    let status = reply.status.clone().unwrap_or_default();
    let mut data = status_json(&status);
    let mut text = status_text(&status);
    if let Some(found) = &reply.transaction {
        let operations: Vec<Value> = found
            .operations
            .iter()
            .map(|operation| {
                let call: Option<Value> = serde_json::from_str(&operation.call_json).ok();
                json!({"module": operation.module_name, "call": call})
            })
            .collect();
        for operation in &found.operations {
            text.push_str(&format!(
                "\n  {} {}",
                operation.module_name, operation.call_json
            ));
        }
        data["transaction"] = json!({
            "sender": found.sender,
            "nonce": {"stream": found.nonce_stream, "sequence": found.nonce_sequence},
            "valid_until": found.valid_until,
            "gas_limit": found.gas_limit,
            "gas_price": found.gas_price,
            "assets": found.assets.iter().map(asset_json).collect::<Vec<_>>(),
            "operations": operations,
            "chain": found.chain,
            "block": block_ref(found.block.as_ref()),
            "index": found.index,
            "receipt": found.receipt.as_ref().map(receipt_json),
        });
    }
    Output::new(data, text)
}

fn block(block: &v1::Block) -> Output {
    let data = json!({
        "chain": block.chain,
        "height": block.height,
        "digest": block.digest,
        "parent": block.parent,
        "kind": block.kind().name(),
        "epoch": block.epoch,
        "view": block.view,
        "proposer": block.proposer,
        "time_ms": block.time_ms,
        "beacon": block_ref(block.beacon.as_ref()),
        "reported": block_ref(block.reported.as_ref()),
        "state_root": block.state_root,
        "receipts_root": block.receipts_root,
        "channels_root": block.channels_root,
        "transactions": block.transactions,
        "inbound_messages": block.inbound_messages,
        "cross_links": block.cross_links,
    });
    let text = format!(
        "{} {}  {}\n  digest        {}\n  parent        {}\n  view          {} by member {}\n  \
         state root    {} after height {}\n  transactions  {}\n  messages in   {}\n  \
         cross-links   {}",
        block.chain,
        block.height,
        block.kind().name(),
        block.digest,
        block.parent,
        block.view,
        block.proposer,
        block.state_root,
        block
            .reported
            .as_ref()
            .map_or(0, |reported| reported.height),
        block.transactions.len(),
        block.inbound_messages,
        block.cross_links
    );
    Output::new(data, text)
}

fn chain_json(chain: &v1::ChainStatus) -> Value {
    json!({
        "chain": chain.chain,
        "finalized": block_ref(chain.finalized.as_ref()),
        "executed": block_ref(chain.executed.as_ref()),
        "state_root": chain.state_root,
        "view": chain.view,
        "epoch": chain.epoch,
        "mempool_transactions": chain.mempool_transactions,
        "waiting_for_quorum": chain.waiting_for_quorum,
        "time_ms": chain.time_ms,
        "base_fee": (!chain.base_fee.is_empty()).then_some(&chain.base_fee),
        "detail": chain.detail,
    })
}

fn chain_text(chain: &v1::ChainStatus) -> String {
    let height = chain.finalized.as_ref().map_or(0, |block| block.height);
    let state = if chain.detail.is_empty() {
        "in step"
    } else {
        &chain.detail
    };
    let price = if chain.base_fee.is_empty() {
        String::new()
    } else {
        format!(", base fee {}", chain.base_fee)
    };
    format!(
        "{:<12} height {height}, view {}, {} waiting{price}  {state}",
        chain.chain, chain.view, chain.mempool_transactions
    )
}

/// All followed chains, or one of them.
pub(super) fn chains(
    status: &v1::GetNodeStatusResponse,
    wanted: Option<ChainRef>,
) -> Result<Output, CliError> {
    let wanted = wanted.map(|chain| chain.to_string());
    let shown: Vec<&v1::ChainStatus> = status
        .chains
        .iter()
        .filter(|chain| wanted.as_ref().is_none_or(|wanted| *wanted == chain.chain))
        .collect();
    if let (true, Some(wanted)) = (shown.is_empty(), wanted) {
        let message = format!("this node does not follow {wanted}");
        return Err(CliError::new(Exit::Rejected, "CHAIN_UNKNOWN", message)
            .next("skerry query shard lists what it follows"));
    }
    let data = json!({
        "ready": status.ready,
        "peers": status.peers,
        "chains": shown.iter().map(|chain| chain_json(chain)).collect::<Vec<_>>(),
    });
    let lines: Vec<String> = shown.iter().map(|chain| chain_text(chain)).collect();
    Ok(Output::new(data, lines.join("\n")))
}

/// Adds where all of the native denoms is.
pub(super) fn with_supply(status: Output, supply: &v1::GetSupplyResponse) -> Output {
    let entry = |it: &v1::NativeSupply| {
        let chain = |it: &v1::ChainSupply| (it.chain.clone(), Value::from(it.amount.as_str()));
        json!({
            "denom": it.denom, "issued": it.issued, "in_flight": it.in_flight, "burnt": it.burnt,
            "exact": it.exact,
            "chains": it.chains.iter().map(chain).collect::<serde_json::Map<_, _>>(),
        })
    };
    let beacon = supply
        .anchor
        .as_ref()
        .and_then(|anchor| anchor.block.as_ref());
    let mut text = String::new();
    for it in supply.denoms.iter().filter(|it| it.issued != "0") {
        let amount = |amount: &str| {
            pretty(&v1::Asset {
                denom: it.denom.clone(),
                amount: amount.to_owned(),
            })
        };
        let verdict = if it.exact { "exact" } else { "NOT EXACT" };
        text.push_str(&format!(
            "\nsupply at beacon block {}: {} issued, {verdict}",
            beacon.map_or(0, |block| block.height),
            amount(&it.issued)
        ));
        for chain in &it.chains {
            text.push_str(&format!(
                "\n  {:<12} {}",
                chain.chain,
                amount(&chain.amount)
            ));
        }
        text.push_str(&format!(
            "\n  {:<12} {}",
            "in flight",
            amount(&it.in_flight)
        ));
        text.push_str(&format!("\n  {:<12} {}", "burnt", amount(&it.burnt)));
    }
    let supply: Vec<Value> = supply.denoms.iter().map(entry).collect();
    status.with("supply", json!(supply), &text)
}

async fn node(client: &Client) -> Result<Output, CliError> {
    let info = client.node_info().await?;
    let modules: Vec<Value> = info
        .modules
        .iter()
        .map(|module| json!({"id": module.id, "name": module.name}))
        .collect();
    let data = json!({
        "chain_id": info.chain_id,
        "network": info.network,
        "version": info.version,
        "development": info.development,
        "shard_depth": info.shard_depth,
        "chains": info.chains,
        "base_fee": info.base_fee,
        "modules": modules,
    });
    let text = format!(
        "{} {}\n  network   {}{}\n  chain id  {}\n  follows   {}",
        client.url(),
        info.version,
        info.network,
        if info.development {
            " (development)"
        } else {
            ""
        },
        info.chain_id,
        info.chains.join(", ")
    );
    Ok(Output::new(data, text))
}
