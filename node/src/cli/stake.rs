//! `skerry tx stake …`: drafts of the staking calls, which run on the beacon.

use super::args::StakeCommand;
use super::output::{CliError, Output};
use super::tx::send;
use crate::home;
use serde_json::{Value, json};
use skerry_execution::views::registration_digest;
use skerry_sdk::builder::{BuildError, Draft};
use skerry_sdk::client::Client;
use skerry_sdk::keys::KeyFile;
use skerry_types::amount::{Amount, Asset};
use skerry_types::ids::Denom;

pub(super) async fn run(command: StakeCommand, json: bool) -> Result<Output, CliError> {
    let (call, attached, sending) = match command {
        StakeCommand::Register {
            validator_key,
            bond,
            sending,
        } => {
            let chain_id = Client::new(&sending.rpc.rpc)?.chain_id().await?;
            let secret = home::read_development_key(&validator_key, &chain_id)?;
            let operator = KeyFile::read(&sending.key_file)?.address();
            let vote_key = secret.public_key();
            let digest = registration_digest(&chain_id, &vote_key, &operator);
            let proof = secret.sign(&digest);
            let call = json!({"register": {"vote_key": vote_key, "proof": proof, "bond": bond}});
            (call, bond, sending)
        }
        StakeCommand::TopUp {
            validator,
            amount,
            sending,
        } => {
            let call = json!({"top_up": {"validator": validator, "amount": amount}});
            (call, amount, sending)
        }
        StakeCommand::Exit { validator, sending } => {
            let call = json!({"exit": {"validator": validator}});
            (call, Amount::ZERO, sending)
        }
        StakeCommand::Withdraw { validator, sending } => {
            let call = json!({"withdraw": {"validator": validator}});
            (call, Amount::ZERO, sending)
        }
        StakeCommand::Unjail { validator, sending } => {
            let call = json!({"unjail": {"validator": validator}});
            (call, Amount::ZERO, sending)
        }
    };
    send(&draft(&call, attached)?, &sending, json).await
}

fn draft(call: &Value, attached: Amount) -> Result<Draft, BuildError> {
    let (denom, amount) = (Denom::SKER, attached);
    Draft::new()
        .attach(Asset { denom, amount })?
        .call("staking", call)
}
