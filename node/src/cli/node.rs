//! `skerry node …` and `skerry devnet …`: start what runs, ask how it is doing.
//!
//! The binary is its own health probe, so that images need no other tool: a small HTTP/1.1 client
//! for `/readyz` and the faucet is here.

use super::args::{DevnetCommand, NodeCommand};
use super::output::{CliError, Exit, Output, print_line};
use super::query::{chains, with_supply};
use crate::error::NodeError;
use serde_json::{Value, json};
use skerry_sdk::client::Client;
use skerry_types::genesis::Genesis;
use skerry_types::ids::ChainRef;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// How often a network that starts is looked at.
const POLL_INTERVAL: Duration = Duration::from_millis(50);
const HTTP_TIMEOUT: Duration = Duration::from_secs(3);
/// A faucet answers when its transfer is final.
const FAUCET_TIMEOUT: Duration = Duration::from_secs(60);
const REPLY_BYTES_MAX: u64 = 1024 * 1024;

pub(super) async fn run(command: NodeCommand) -> Result<Output, CliError> {
    match command {
        NodeCommand::Start(args) => {
            crate::start::run(args).await?;
            Ok(Output::silent())
        }
        NodeCommand::Init(args) => crate::init::run(&args)
            .map(|made| Output::new(made.json(), made.text()))
            .map_err(CliError::from),
        NodeCommand::Status {
            ready,
            http: Some(url),
            ..
        } => status_by_http(&url, ready).await,
        NodeCommand::Status {
            ready,
            http: None,
            rpc,
        } => {
            let status = Client::new(&rpc.rpc)?.node_status().await?;
            let output = chains(&status, None)?;
            if ready && !status.ready {
                let details: Vec<String> = status
                    .chains
                    .iter()
                    .filter(|chain| !chain.detail.is_empty())
                    .map(|chain| format!("{}: {}", chain.chain, chain.detail))
                    .collect();
                return Err(not_ready(details.join("; ")));
            }
            Ok(output)
        }
    }
}

pub(super) async fn run_devnet(command: DevnetCommand, json: bool) -> Result<Output, CliError> {
    match command {
        DevnetCommand::Up(args) => {
            crate::devnet::up(args, |line| ready(&line, json)).await?;
            Ok(Output::silent())
        }
        DevnetCommand::Status { rpc } => {
            let client = Client::new(&rpc.rpc)?;
            let status = chains(&client.node_status().await?, None)?;
            Ok(with_supply(status, &client.supply().await?))
        }
        DevnetCommand::Faucet { address, faucet } => {
            let body = json!({"address": address}).to_string();
            let reply = http(&faucet, "POST", "/fund", &body, FAUCET_TIMEOUT).await?;
            if reply.status != 200 {
                let message = format!("the faucet refused with {}", reply.status);
                return Err(CliError::new(Exit::Rejected, "FAUCET", message)
                    .why(reply.body.trim().to_owned())
                    .next("try again later, or send from a funded account"));
            }
            let data: Value = serde_json::from_str(&reply.body).unwrap_or(Value::Null);
            Ok(Output::new(data, format!("{address} is funded")))
        }
    }
}

/// The one line that says that the network runs.
fn ready(line: &Value, json: bool) {
    if json {
        print_line(&line.to_string());
        return;
    }
    let mut text = String::from("the network is ready; Ctrl-C stops it");
    for name in ["grpc", "metrics", "faucet", "explorer"] {
        if let Some(url) = line.get(name).and_then(Value::as_str) {
            text.push_str(&format!("\n  {name:<9} {url}"));
        }
    }
    for account in line
        .get("accounts")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        let field = |name| {
            account
                .get(name)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        text.push_str(&format!(
            "\n  {}  on {}  {}",
            field("address"),
            field("shard"),
            field("key_file")
        ));
    }
    print_line(&text);
}

/// Waits until every chain of the network has finalized `blocks` more, as the node at `grpc` sees
/// them; a node that does not answer yet is asked again.
///
/// # Errors
/// When `grpc` is no URL.
pub async fn wait_until_live(grpc: &str, genesis: &Genesis, blocks: u64) -> Result<(), NodeError> {
    let failed = |error: skerry_sdk::client::ClientError| NodeError::Environment(error.to_string());
    let client = Client::new(grpc).map_err(failed)?;
    let mut first: BTreeMap<String, u64> = BTreeMap::new();
    loop {
        if let Ok(status) = client.node_status().await {
            let heights = status.chains.iter().map(|chain| {
                (
                    chain.chain.clone(),
                    chain.finalized.as_ref().map_or(0, |block| block.height),
                )
            });
            let heights: BTreeMap<String, u64> = heights.collect();
            let live = |chain: &ChainRef| {
                let (name, height) = (chain.to_string(), heights.get(&chain.to_string()));
                let start = first.get(&name).copied().unwrap_or(u64::MAX);
                height.is_some_and(|height| *height >= start.saturating_add(1).max(blocks))
            };
            // A validator follows its own shards only.
            let followed = |chain: &&ChainRef| first.contains_key(&chain.to_string());
            if !first.is_empty() && genesis.chains().iter().filter(followed).all(live) {
                return Ok(());
            }
            if first.is_empty() {
                first = heights;
            }
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

fn not_ready(why: String) -> CliError {
    CliError::new(Exit::Unreachable, "NOT_READY", "the node is not ready")
        .why(why)
        .next("wait while it catches up; if it stays so, are enough validators running?")
}

async fn status_by_http(url: &str, ready: bool) -> Result<Output, CliError> {
    let path = if ready { "/readyz" } else { "/livez" };
    let reply = http(url, "GET", path, "", HTTP_TIMEOUT).await?;
    let detail = reply.body.trim();
    if reply.status != 200 {
        return Err(not_ready(detail.to_owned()));
    }
    let text = if ready { "ready" } else { "alive" };
    Ok(Output::new(json!({"ready": ready, "detail": detail}), text))
}

struct Reply {
    status: u16,
    body: String,
}

async fn http(
    url: &str,
    method: &str,
    path: &str,
    body: &str,
    timeout: Duration,
) -> Result<Reply, CliError> {
    let usage = || {
        CliError::new(
            Exit::Usage,
            "URL_INVALID",
            format!("{url:?} is not http://HOST:PORT"),
        )
    };
    let host = url
        .strip_prefix("http://")
        .ok_or_else(usage)?
        .trim_end_matches('/');
    if host.contains('/') || !host.contains(':') {
        return Err(usage());
    }
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let exchange = async {
        let mut stream = TcpStream::connect(host).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut reply = Vec::new();
        stream.take(REPLY_BYTES_MAX).read_to_end(&mut reply).await?;
        Ok::<_, std::io::Error>(reply)
    };
    let unreachable = |why: String| {
        CliError::new(
            Exit::Unreachable,
            "UNREACHABLE",
            format!("nobody answers at {url}"),
        )
        .why(why)
    };
    let reply = match tokio::time::timeout(timeout, exchange).await {
        Ok(Ok(reply)) => reply,
        Ok(Err(error)) => return Err(unreachable(error.to_string())),
        Err(_) => return Err(unreachable(format!("no answer within {timeout:?}"))),
    };
    parse(&reply).ok_or_else(|| unreachable("the answer is not HTTP".to_owned()))
}

/// Status and body of a whole reply; the servers of ours send no chunks when told to close.
fn parse(reply: &[u8]) -> Option<Reply> {
    let text = String::from_utf8_lossy(reply);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.lines().next()?.split(' ').nth(1)?.parse().ok()?;
    Some(Reply {
        status,
        body: body.to_owned(),
    })
}
