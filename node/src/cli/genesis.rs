//! `skerry genesis …`: make and inspect networks.

use super::args::{GenesisCommand, GenesisNewArgs};
use super::output::{CliError, Exit, Output};
use crate::home::{NetworkPlan, write_network};
use serde_json::json;
use skerry_types::genesis::Genesis;
use skerry_types::limits::GENESIS_BYTES_MAX;
use std::path::Path;

/// Below this many seats a committee is too easily taken over by chance.
const SEATS_SECURE: usize = 64;

/// Reads and checks a genesis file.
pub(super) fn read_genesis(path: &Path) -> Result<Genesis, CliError> {
    let bad = |why: String| {
        CliError::new(
            Exit::Config,
            "GENESIS",
            format!("{} cannot be used", path.display()),
        )
        .why(why)
        .next("get the genesis file of the network from a source that you trust")
    };
    let length = std::fs::metadata(path)
        .map_err(|error| bad(error.to_string()))?
        .len();
    if length > GENESIS_BYTES_MAX as u64 {
        return Err(bad(format!(
            "{length} bytes, at most {GENESIS_BYTES_MAX} are read"
        )));
    }
    let text = std::fs::read_to_string(path).map_err(|error| bad(error.to_string()))?;
    let genesis: Genesis = serde_json::from_str(&text).map_err(|error| bad(error.to_string()))?;
    genesis
        .check(true)
        .map_err(|error| bad(error.to_string()))?;
    Ok(genesis)
}

pub(super) fn run(command: GenesisCommand) -> Result<Output, CliError> {
    match command {
        GenesisCommand::New(args) => new(args),
        GenesisCommand::Hash { file } => {
            let chain_id = read_genesis(&file)?.chain_id();
            Ok(Output::new(
                json!({"chain_id": chain_id}),
                chain_id.to_string(),
            ))
        }
        GenesisCommand::Show { file } => Ok(show(&read_genesis(&file)?)),
    }
}

fn new(args: GenesisNewArgs) -> Result<Output, CliError> {
    let plan = NetworkPlan {
        name: args.name,
        shards: args.shards,
        validators: args.validators,
        seats: args.seats,
        host_template: args.host_template,
        port_base: args.port_base,
        load_accounts: args.load_accounts,
        parameters: args.parameters.parameters(),
        out: args.out,
    };
    let used = std::fs::read_dir(&plan.out).is_ok_and(|mut entries| entries.next().is_some());
    if used {
        let message = format!("{} is not empty", plan.out.display());
        return Err(CliError::new(Exit::Safety, "FOLDER_IN_USE", message)
            .why("it may hold keys, which are never overwritten")
            .next("give another --out, or remove the folder"));
    }
    let (genesis, accounts) = write_network(&plan)?;
    let text = format!(
        "network {} in {}\n  chain id {}\nnext: give each validator its folder and run there: \
         skerry node start --home FOLDER",
        genesis.name,
        plan.out.display(),
        genesis.chain_id()
    );
    let data = json!({
        "chain_id": genesis.chain_id(),
        "network": genesis.name,
        "genesis": plan.out.join("genesis.json"),
        "out": plan.out,
        "accounts": accounts,
    });
    let output = Output::new(data, text);
    let seats = genesis.seats.iter().map(Vec::len).min().unwrap_or(0);
    if seats >= SEATS_SECURE {
        return Ok(output);
    }
    Ok(output.warn(format!(
        "insecure: committees of {seats} seats; use at least {SEATS_SECURE} where it matters"
    )))
}

fn show(genesis: &Genesis) -> Output {
    let data = json!({
        "chain_id": genesis.chain_id(),
        "network": genesis.name,
        "development": genesis.development,
        "shard_depth": genesis.shard_depth,
        "validators": genesis.validators.iter().map(|validator| {
            json!({"name": validator.name, "stake": validator.stake.get()})
        }).collect::<Vec<_>>(),
        "seats": genesis.seats,
        "accounts": genesis.accounts,
        "parameters": genesis.parameters,
    });
    let mut text = format!(
        "{}{}\n  chain id    {}\n  shards      {}\n  validators  {}\n  accounts    {}",
        genesis.name,
        if genesis.development {
            " (development)"
        } else {
            ""
        },
        genesis.chain_id(),
        genesis.seats.len(),
        genesis.validators.len(),
        genesis.accounts.len()
    );
    for (shard, seats) in genesis.seats.iter().enumerate() {
        let names: Vec<String> = seats.iter().map(ToString::to_string).collect();
        text.push_str(&format!("\n  seats of shard {shard}: {}", names.join(" ")));
    }
    Output::new(data, text)
}
