//! `skerry tx bundle FILE`: calls over one chain or several, as a JSON file says.
//!
//! The file names what is attached and the hops in order, each with its place and its calls; what the last
//! one leaves comes home. An example is in `docs/modules/dex.md`.

#[cfg(test)]
mod tests;

use super::args::Sending;
use super::output::{CliError, Exit, Output};
use super::tx::send;
use serde::Deserialize;
use serde_json::Value;
use skerry_sdk::builder::Draft;
use skerry_types::amount::Asset;
use skerry_types::ids::Address;
use std::fmt::Display;
use std::io::Read as _;
use std::path::Path;

/// Longest file that is read; a transaction is much smaller.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// What a file says.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Plan {
    /// Amounts such as `5sker`.
    #[serde(default)]
    attach: Vec<String>,
    hops: Vec<Hop>,
}

/// One chain of the route.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Hop {
    /// An owner or object on whose shard the calls run; without one those of the beacon run there, and
    /// others at the sender's home.
    near: Option<String>,
    #[serde(default)]
    calls: Vec<NamedCall>,
    /// What must at least be left, or nothing happens here.
    #[serde(default)]
    minimum: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NamedCall {
    module: String,
    call: Value,
}

pub(super) async fn run(file: &Path, sending: &Sending, json: bool) -> Result<Output, CliError> {
    send(&draft(&read(file)?)?, sending, json).await
}

fn unusable(what: &str, cause: impl Display) -> CliError {
    CliError::new(Exit::Usage, "USAGE", format!("{what}: {cause}")).next(
        "the form is {\"attach\": [\"5sker\"], \"hops\": [{\"near\": \"sk1…\", \"calls\": \
         [{\"module\": \"dex\", \"call\": {…}}], \"minimum\": [\"1sker\"]}]}",
    )
}

fn read(file: &Path) -> Result<String, CliError> {
    let name = file.display().to_string();
    let mut text = String::new();
    let read = if name == "-" {
        let input = std::io::stdin().lock();
        input.take(FILE_BYTES_MAX).read_to_string(&mut text)
    } else {
        let file = std::fs::File::open(file);
        file.and_then(|file| file.take(FILE_BYTES_MAX).read_to_string(&mut text))
    };
    read.map(|_| text).map_err(|error| unusable(&name, error))
}

/// The draft that a text describes.
fn draft(text: &str) -> Result<Draft, CliError> {
    let plan: Plan = serde_json::from_str(text).map_err(|error| unusable("no bundle", error))?;
    let mut legs = plan.hops.iter();
    let Some(first) = legs.next() else {
        return Err(unusable("no bundle", "it has no hops"));
    };
    let mut draft = part(first)?;
    for amount in &plan.attach {
        draft = draft.attach(asset(amount)?)?;
    }
    for hop in legs {
        draft = draft.then(part(hop)?)?;
    }
    Ok(draft)
}

fn part(hop: &Hop) -> Result<Draft, CliError> {
    let mut part = Draft::new();
    if let Some(owner) = &hop.near {
        let owner = owner
            .parse::<Address>()
            .map_err(|error| unusable(owner, error))?;
        part = part.near(owner);
    }
    for NamedCall { module, call } in &hop.calls {
        part = part.call(module, call)?;
    }
    for amount in &hop.minimum {
        part = part.demand(asset(amount)?)?;
    }
    Ok(part)
}

fn asset(text: &str) -> Result<Asset, CliError> {
    text.parse::<Asset>().map_err(|error| unusable(text, error))
}
