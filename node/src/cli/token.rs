//! `skerry tx token …`: drafts of the token calls.

use super::args::TokenCommand;
use super::output::{CliError, Output};
use super::tx::send;
use serde_json::json;
use skerry_sdk::builder::{BuildError, Draft};
use skerry_sdk::keys::KeyFile;
use skerry_types::amount::{Amount, Asset};
use skerry_types::ids::{Address, Denom};

pub(super) async fn run(command: TokenCommand, json: bool) -> Result<Output, CliError> {
    match command {
        TokenCommand::Create {
            name,
            symbol,
            decimals,
            metadata,
            supply,
            sending,
        } => {
            let creator = KeyFile::read(&sending.key_file)?.address();
            let denom = Denom::created(&creator, &name);
            super::output::note(&format!("denom {denom}"));
            let call = json!({"create": {
                "name": name, "symbol": symbol, "decimals": decimals, "metadata": metadata,
                "authority": creator,
            }});
            let mut draft = Draft::new().call("token", &call)?;
            if !supply.is_zero() {
                draft = mint(draft, denom, supply, None)?;
            }
            send(&draft, &sending, json).await
        }
        TokenCommand::Mint {
            denom,
            amount,
            to,
            sending,
        } => send(&mint(Draft::new(), denom, amount, to)?, &sending, json).await,
        TokenCommand::Burn {
            denom,
            amount,
            sending,
        } => {
            let asset = Asset { denom, amount };
            let draft = Draft::new().attach(asset)?;
            send(
                &draft.call("token", &json!({"burn": {"asset": asset}}))?,
                &sending,
                json,
            )
            .await
        }
        TokenCommand::SetMetadata {
            denom,
            metadata,
            sending,
        } => {
            let call = json!({"set_metadata": {"denom": denom, "metadata": metadata}});
            send(&Draft::new().call("token", &call)?, &sending, json).await
        }
    }
}

/// Minted units are on the bundle's sheet; what nobody takes from it becomes the sender's.
fn mint(
    draft: Draft,
    denom: Denom,
    amount: Amount,
    to: Option<Address>,
) -> Result<Draft, BuildError> {
    let asset = Asset { denom, amount };
    let draft = draft.call("token", &json!({"mint": {"asset": asset}}))?;
    match to {
        Some(to) => draft.call("bank", &json!({"send": {"to": to, "asset": asset}})),
        None => Ok(draft),
    }
}
