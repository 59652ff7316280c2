//! `skerry tx trace`: the way of one transaction through all chains, as a tree.
//!
//! Each leg hangs below the one that sent it: transfers below the home leg, a bundle that travels
//! below the leg before it, and at its end the reply with what came home. What the node cannot know,
//! since it does not follow a chain, is said, with whom to ask.

#[cfg(test)]
mod tests;

use super::args::Rpc;
use super::output::{CliError, Exit, Output, note};
use super::query::{asset_json, pretty};
use super::tx::{id_text, leg_json, outcome_text, status_json};
use serde_json::{Value, json};
use skerry_execution::modules::{self, BANK};
use skerry_proto::v1::{self, LegKind, Outcome, Stage};
use skerry_sdk::client::{Client, ClientError};
use skerry_types::ids::{Digest, Height, ModuleId};
use std::time::{Duration, Instant};

/// How often a node that stopped answering is asked again while the time lasts.
const RETRY_INTERVAL: Duration = Duration::from_millis(500);

/// Shows the way of a transaction; with `wait` once its last leg is final, or the time is over.
pub(super) async fn run(
    hash: &Digest,
    rpc: &Rpc,
    wait: Option<Duration>,
) -> Result<Output, CliError> {
    let client = Client::new(&rpc.rpc)?;
    if let Some(wait) = wait {
        follow(&client, hash, Instant::now() + wait).await?;
    }
    let trace = Trace::read(&client, hash).await?;
    let is_over = trace.status.outcome().is_decided() || trace.status.stage() == Stage::Returned;
    match wait {
        Some(wait) if !is_over => {
            let stage = trace.status.stage().name();
            let message = format!("the last leg is not final within {wait:?}: {hash} is {stage}");
            let next = format!("skerry tx trace {hash} --wait --rpc {}", rpc.rpc);
            Err(CliError::new(Exit::Pending, "PENDING", message)
                .why(trace.text())
                .next(next)
                .with_data(trace.json()))
        }
        _ => Ok(trace.output()),
    }
}

/// Tells each change of the transaction until there can be no more, or the time is over. A node that
/// restarts is asked again for as long as there is time.
async fn follow(client: &Client, hash: &Digest, deadline: Instant) -> Result<(), CliError> {
    let mut told = Vec::new();
    while Instant::now() < deadline {
        let mut changes = match client.watch(hash).await {
            Ok(changes) => changes,
            Err(ClientError::Unreachable { .. }) => {
                tokio::time::sleep(RETRY_INTERVAL).await;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        loop {
            match tokio::time::timeout_at(deadline.into(), changes.message()).await {
                Ok(Ok(Some(reply))) => tell(&reply.status.unwrap_or_default(), &mut told),
                // It ends after the last change.
                Ok(Ok(None)) | Err(_) => return Ok(()),
                Ok(Err(_)) => break,
            }
        }
        tokio::time::sleep(RETRY_INTERVAL).await;
    }
    Ok(())
}

/// Says what is new of the legs, one line each.
fn tell(status: &v1::TransactionStatus, told: &mut Vec<String>) {
    for (position, leg) in status.legs.iter().enumerate() {
        let line = headline(leg);
        match told.get_mut(position) {
            Some(known) if *known == line => continue,
            Some(known) => known.clone_from(&line),
            None => told.push(line.clone()),
        }
        note(&line);
    }
}

/// A transaction with all that a node knows of its way.
pub(super) struct Trace {
    pub(super) status: v1::TransactionStatus,
    /// What was signed, once it is in a final block.
    pub(super) transaction: Option<v1::Transaction>,
    /// Of each leg the time of its block, where that can be read.
    pub(super) times: Vec<Option<u64>>,
}

impl Trace {
    async fn read(client: &Client, hash: &Digest) -> Result<Self, CliError> {
        let reply = client.transaction(hash).await?;
        let status = reply.status.unwrap_or_default();
        let mut times = Vec::with_capacity(status.legs.len());
        for leg in &status.legs {
            times.push(time_of(client, leg).await);
        }
        Ok(Self {
            status,
            transaction: reply.transaction,
            times,
        })
    }

    /// Each leg with its depth in the tree and how long after the home block its own came.
    fn legs(&self) -> impl Iterator<Item = (usize, &v1::Leg, Option<u64>)> {
        let start = self.times.first().copied().flatten();
        let depths = depths(&self.status.legs).into_iter();
        let times = self.times.iter().copied().chain(std::iter::repeat(None));
        depths
            .zip(&self.status.legs)
            .zip(times)
            .map(move |((depth, leg), time)| {
                let after = time
                    .zip(start)
                    .map(|(time, start)| time.saturating_sub(start));
                (depth, leg, after.filter(|_| depth > 0))
            })
    }

    /// The chains of the route that nothing was sent to yet, and may still be.
    fn ahead(&self) -> &[String] {
        let reached = self
            .status
            .legs
            .iter()
            .filter(|leg| is_request(leg))
            .count();
        let last = self.status.legs.last();
        let goes_on = last.is_some_and(|leg| is_request(leg) && leg.outcome() != Outcome::Failed);
        let route = self.status.route.get(reached..).filter(|_| goes_on);
        route
            .filter(|_| self.status.outcome() == Outcome::Pending)
            .unwrap_or_default()
    }

    /// The chains of legs that the node does not follow.
    fn not_followed(&self) -> Vec<&str> {
        let legs = self.status.legs.iter().filter(|leg| leg.not_followed);
        let mut chains: Vec<&str> = legs.map(|leg| leg.chain.as_str()).collect();
        chains.sort_unstable();
        chains.dedup();
        chains
    }

    pub(super) fn json(&self) -> Value {
        let mut data = status_json(&self.status);
        let legs: Vec<Value> = self
            .legs()
            .map(|(depth, leg, after)| {
                let mut shown = leg_json(leg);
                shown["depth"] = json!(depth);
                shown["after_ms"] = json!(after);
                shown["credited"] = credits(leg).map(|it| it.json()).collect();
                shown["events"] = leg.events.iter().map(event_json).collect();
                shown
            })
            .collect();
        data["legs"] = json!(legs);
        data["ahead"] = json!(self.ahead());
        data["not_followed"] = json!(self.not_followed());
        if let Some(transaction) = &self.transaction {
            data["sender"] = json!(transaction.sender);
            data["attached"] = transaction.assets.iter().map(asset_json).collect();
        }
        data
    }

    /// The tree, as people read it.
    pub(super) fn text(&self) -> String {
        let status = &self.status;
        let mut text = format!(
            "{}  {}  {}",
            status.hash,
            status.stage().name(),
            outcome_text(status.outcome())
        );
        if let Some(transaction) = &self.transaction {
            text.push_str(&format!("\n  from  {}", transaction.sender));
            for asset in &transaction.assets {
                text.push_str(&format!("\n  gave  {}", pretty(asset)));
            }
        }
        if !status.route.is_empty() {
            text.push_str(&format!("\n  route {}", status.route.join(", ")));
        }
        if let Ok(fee) = status.fee.parse() {
            let fee = skerry_types::amount::Asset::nsker(fee);
            text.push_str(&format!("\n  fee   {fee}"));
        }
        let depths: Vec<usize> = self.legs().map(|(depth, ..)| depth).collect();
        for (position, (depth, leg, after)) in self.legs().enumerate() {
            let has_sibling = depths.iter().skip(position + 1).any(|it| *it == depth);
            let has_child = depths.get(position + 1).is_some_and(|it| *it > depth);
            let branch = Branch {
                depth,
                has_sibling,
                has_child,
            };
            let after = after.map(|ms| format!("  +{}.{:03} s", ms / 1_000, ms % 1_000));
            let after = after.unwrap_or_default();
            text.push_str(&format!("\n{}{}{after}", branch.head(), headline(leg)));
            for line in details(leg) {
                text.push_str(&format!("\n{}{line}", branch.below()));
            }
        }
        for chain in self.ahead() {
            text.push_str(&format!("\n  then  {chain}, where nothing was sent yet"));
        }
        text
    }

    fn output(&self) -> Output {
        let missing = self.not_followed();
        let mut output = Output::new(self.json(), self.text());
        for chain in &missing {
            output = output.warn(format!(
                "this node does not follow {chain}: block, gas and failure of what happens there are \
                 not known here; ask a gateway or a validator of {chain}: skerry tx trace {} --rpc URL",
                self.status.hash
            ));
        }
        output
    }
}

async fn time_of(client: &Client, leg: &v1::Leg) -> Option<u64> {
    let block = leg.block.as_ref()?;
    let chain = skerry_proto::convert::chain("chain", &leg.chain).ok()?;
    // A block that cannot be read now costs the trace a time, no more.
    let block = client.block(chain, Some(Height::new(block.height))).await;
    block.ok().map(|block| block.time_ms)
}

fn is_request(leg: &v1::Leg) -> bool {
    leg.kind() == LegKind::Request
}

/// How deep each leg hangs: a bundle that travels, and its reply, each below the leg before it.
fn depths(legs: &[v1::Leg]) -> Vec<usize> {
    let mut travelled = 0;
    let depth = |leg: &v1::Leg| match leg.kind() {
        LegKind::Home => 0,
        LegKind::Request | LegKind::Reply => {
            travelled += 1;
            travelled
        }
        LegKind::Transfer | LegKind::Unspecified => 1,
    };
    legs.iter().map(depth).collect()
}

/// Where a leg hangs in the tree.
struct Branch {
    depth: usize,
    has_sibling: bool,
    has_child: bool,
}

impl Branch {
    fn indent(&self) -> String {
        "   ".repeat(self.depth.saturating_sub(1))
    }

    fn head(&self) -> String {
        let fork = match (self.depth, self.has_sibling) {
            (0, _) => return String::new(),
            (_, true) => "├─ ",
            (_, false) => "└─ ",
        };
        format!("{}{fork}", self.indent())
    }

    /// Before a line that belongs to the leg.
    fn below(&self) -> String {
        let own = match (self.depth, self.has_sibling) {
            (0, _) => "",
            (_, true) => "│  ",
            (_, false) => "   ",
        };
        let child = if self.has_child { "│  " } else { "   " };
        format!("{}{own}{child}", self.indent())
    }
}

/// A leg in one line: what, which message or chain, where, how it went.
fn headline(leg: &v1::Leg) -> String {
    let place = leg.message.as_ref().map(id_text);
    let place = place.as_ref().unwrap_or(&leg.chain);
    let mut line = format!("{:<8}  {place}", leg.kind().name().to_lowercase());
    if let Some(block) = &leg.block {
        line.push_str(&format!("  height {}", block.height));
    }
    let says = match (leg.stage(), leg.outcome()) {
        (Stage::Finalized, Outcome::Pending) => "on its way",
        (stage, Outcome::Pending) => stage.name(),
        (_, outcome) => outcome_text(outcome),
    };
    line.push_str(&format!("  {says}"));
    if leg.gas > 0 {
        line.push_str(&format!("  gas {}", leg.gas));
    }
    line
}

/// What more there is to say of a leg.
fn details(leg: &v1::Leg) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(failure) = &leg.failure {
        lines.push(format!("{}: {}", failure.code, failure.detail));
    }
    if leg.outcome() == Outcome::Partial {
        lines.push("waits as a claim of its recipient: skerry query account ADDRESS".to_owned());
    }
    for credit in credits(leg) {
        let asset = pretty(&credit.asset);
        lines.push(match leg.kind() {
            LegKind::Reply => format!("came home {asset}"),
            _ => format!("credited {asset} to {}", credit.owner),
        });
    }
    let others = leg.events.iter().filter(|event| credit_of(event).is_none());
    lines.extend(others.map(event_text));
    lines
}

/// Value that a leg credited to an owner, by the bank's word.
struct Credit<'e> {
    owner: &'e str,
    asset: v1::Asset,
}

impl Credit<'_> {
    fn json(&self) -> Value {
        let mut shown = asset_json(&self.asset);
        shown["owner"] = json!(self.owner);
        shown
    }
}

fn credits(leg: &v1::Leg) -> impl Iterator<Item = Credit<'_>> {
    leg.events.iter().filter_map(credit_of)
}

fn credit_of(event: &v1::Event) -> Option<Credit<'_>> {
    if event.module != u32::from(BANK.get()) || event.name != "transfer" {
        return None;
    }
    let attribute = |key: &str| event.attributes.iter().find(|it| it.key == key);
    Some(Credit {
        owner: &event.owner,
        asset: v1::Asset {
            denom: attribute("denom")?.value.clone(),
            amount: attribute("amount")?.value.clone(),
        },
    })
}

/// Name of an event's module; its number where this program does not know it.
fn module_of(event: &v1::Event) -> String {
    let number = event.module;
    let id = u16::try_from(number).ok().map(ModuleId::new);
    let found = id.and_then(|id| modules::find(modules::MODULES, id));
    match (found, number) {
        (Some(module), _) => module.name().to_owned(),
        (None, 0) => "executor".to_owned(),
        (None, number) => format!("module {number}"),
    }
}

fn event_text(event: &v1::Event) -> String {
    let mut text = format!("{} {}", module_of(event), event.name);
    for attribute in &event.attributes {
        text.push_str(&format!("  {}={}", attribute.key, attribute.value));
    }
    text
}

fn event_json(event: &v1::Event) -> Value {
    let attributes = event.attributes.iter();
    let attributes: serde_json::Map<String, Value> = attributes
        .map(|it| (it.key.clone(), json!(it.value)))
        .collect();
    json!({
        "module": event.module, "module_name": module_of(event), "name": event.name,
        "owner": event.owner, "attributes": attributes,
    })
}
