//! Calls of `token`.
//!
//! All of them touch the object of one denom and nothing else; units enter and leave by the sheet
//! of the bundle. A denom is minted, burnt and changed on the shard of its creator.

use super::issue;
use super::state::{TokenRecord, token_key};
use crate::error::CallError;
use crate::gas;
use crate::module::{Call, Environment};
use crate::plan::{Access, Plan, PlanContext};
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};
use skerry_types::amount::Asset;
use skerry_types::codec::{self, Version};
use skerry_types::ids::{Address, Denom, Gas};
use skerry_types::receipt::AttributeValue;

/// Longest name, in bytes.
pub const NAME_BYTES_MAX: usize = 64;
/// Longest symbol, in bytes.
pub const SYMBOL_BYTES_MAX: usize = 16;
/// Longest metadata, in bytes.
pub const METADATA_BYTES_MAX: usize = 1024;
/// Most decimals: 10^38 is the largest power of ten below 2^128.
pub const DECIMALS_MAX: u8 = 38;

/// A call of `token`. The order of the variants is part of the encoding.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum TokenCall {
    /// Makes the denom of (sender, name), which lives near the sender. Nothing is minted yet.
    Create {
        /// Its name, unique among the sender's.
        name: String,
        /// Short form for people.
        symbol: String,
        /// How many decimals people are shown.
        decimals: u8,
        /// Free text.
        metadata: String,
        /// Who may mint and change it; nobody when absent.
        authority: Option<Address>,
    },
    /// Puts new units on the sheet; what is left at the end is the sender's. Only the authority,
    /// on the denom's shard.
    Mint {
        /// What.
        asset: Asset,
    },
    /// Takes units from the sheet and destroys them. Anybody, on the denom's shard; not of a denom
    /// that a module issues.
    Burn {
        /// What.
        asset: Asset,
    },
    /// Replaces the metadata. Only the authority.
    SetMetadata {
        /// Of which denom.
        denom: Denom,
        /// The new text.
        metadata: String,
    },
    /// Hands the authority on, or gives it up for ever. Only the authority.
    TransferAuthority {
        /// Of which denom.
        denom: Denom,
        /// To whom; nobody when absent.
        to: Option<Address>,
    },
}

fn check_text(what: &str, text: &str, limit: usize, least: usize) -> Result<(), String> {
    if text.len() > limit || text.len() < least {
        let length = text.len();
        return Err(format!(
            "{what} has {length} bytes, from {least} to {limit} are allowed"
        ));
    }
    if text.chars().any(char::is_control) {
        return Err(format!("{what} holds control characters"));
    }
    Ok(())
}

impl TokenCall {
    /// The canonical bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        codec::encode(self)
    }

    pub(super) fn check(&self) -> Result<(), String> {
        match self {
            Self::Create {
                name,
                symbol,
                decimals,
                metadata,
                ..
            } => {
                check_text("the name", name, NAME_BYTES_MAX, 1)?;
                check_text("the symbol", symbol, SYMBOL_BYTES_MAX, 1)?;
                check_text("the metadata", metadata, METADATA_BYTES_MAX, 0)?;
                if *decimals > DECIMALS_MAX {
                    return Err(format!(
                        "{decimals} decimals, at most {DECIMALS_MAX} allowed"
                    ));
                }
                Ok(())
            }
            Self::Mint { asset } | Self::Burn { asset } if asset.amount.is_zero() => {
                Err("the amount must be above zero".to_owned())
            }
            Self::SetMetadata { metadata, .. } => {
                check_text("the metadata", metadata, METADATA_BYTES_MAX, 0)
            }
            Self::Mint { .. } | Self::Burn { .. } | Self::TransferAuthority { .. } => Ok(()),
        }
    }

    /// The denom that it is about, when `sender` calls.
    fn denom(&self, sender: &Address) -> Denom {
        match self {
            Self::Create { name, .. } => Denom::created(sender, name),
            Self::Mint { asset } | Self::Burn { asset } => asset.denom,
            Self::SetMetadata { denom, .. } | Self::TransferAuthority { denom, .. } => *denom,
        }
    }
}

impl Call for TokenCall {
    fn gas(&self) -> Gas {
        match self {
            Self::Create {
                name,
                symbol,
                metadata,
                ..
            } => {
                let bytes = [name, symbol, metadata].map(String::len);
                let bytes = bytes
                    .iter()
                    .fold(128_usize, |sum, more| sum.saturating_add(*more));
                gas::sum(&[gas::KEY, gas::times(gas::STORED_BYTE, bytes)])
            }
            // Supply, and the balance that receives what is left.
            Self::Mint { .. } => gas::sum(&[gas::KEY, gas::KEY]),
            Self::Burn { .. } => gas::sum(&[gas::KEY_WRITTEN, gas::KEY_WRITTEN]),
            Self::SetMetadata { metadata, .. } => gas::sum(&[
                gas::KEY_WRITTEN,
                gas::times(gas::STORED_BYTE, metadata.len()),
            ]),
            Self::TransferAuthority { .. } => gas::sum(&[gas::KEY_WRITTEN]),
        }
    }

    fn plan(&self, context: &PlanContext<'_>) -> Plan {
        Plan::of(self.denom(&context.sender).object(), Access::Exclusive)
    }

    fn needs_sender(&self) -> bool {
        !matches!(self, Self::Burn { .. })
    }

    fn execute(&self, environment: &mut Environment<'_, '_>) -> Result<(), CallError> {
        let sender = environment.scene.sender;
        let denom = self.denom(&sender);
        match self {
            Self::Create {
                name,
                symbol,
                decimals,
                metadata,
                authority,
            } => {
                if environment.view.get(token_key(&denom))?.is_some() {
                    return Err(CallError::Refused {
                        code: "TOKEN_EXISTS",
                        detail: format!("{sender} has created {name:?} before, as {denom}"),
                    });
                }
                let record = TokenRecord {
                    version: Version,
                    creator: sender,
                    name: name.clone(),
                    symbol: symbol.clone(),
                    decimals: *decimals,
                    metadata: metadata.clone(),
                    authority: *authority,
                };
                environment.view.put_record(token_key(&denom), &record)?;
                let told = [("denom", denom.into()), ("name", name.clone().into())];
                environment.event(sender, "create_token", told);
                Ok(())
            }
            Self::Mint { asset } => mint(environment, *asset),
            Self::Burn { asset } => burn(environment, *asset),
            Self::SetMetadata { metadata, .. } => {
                let mut record = authorized(environment, &denom)?;
                record.metadata.clone_from(metadata);
                environment.view.put_record(token_key(&denom), &record)
            }
            Self::TransferAuthority { to, .. } => {
                let mut record = authorized(environment, &denom)?;
                record.authority = *to;
                environment.view.put_record(token_key(&denom), &record)?;
                let heir = to.map_or_else(|| "nobody".into(), AttributeValue::Address);
                environment.event(
                    sender,
                    "transfer_authority",
                    [("denom", denom.into()), ("to", heir)],
                );
                Ok(())
            }
        }
    }

    fn to_json(&self) -> serde_json::Value {
        serde_json::to_value(self).unwrap_or_default()
    }
}

fn existing(
    environment: &mut Environment<'_, '_>,
    denom: &Denom,
) -> Result<TokenRecord, CallError> {
    environment
        .view
        .record(token_key(denom))?
        .ok_or_else(|| CallError::Refused {
            code: "NO_SUCH_TOKEN",
            detail: format!("nobody created {denom}"),
        })
}

/// The record, when the sender is its authority.
fn authorized(
    environment: &mut Environment<'_, '_>,
    denom: &Denom,
) -> Result<TokenRecord, CallError> {
    let sender = environment.scene.sender;
    let record = existing(environment, denom)?;
    if record.authority == Some(sender) {
        return Ok(record);
    }
    let authority = record
        .authority
        .map_or_else(|| "nobody".to_owned(), |address| address.to_string());
    Err(CallError::Refused {
        code: "NOT_AUTHORITY",
        detail: format!("the authority of {denom} is {authority}, not {sender}"),
    })
}

fn mint(environment: &mut Environment<'_, '_>, asset: Asset) -> Result<(), CallError> {
    authorized(environment, &asset.denom)?;
    issue::issue(&mut environment.view, &asset)?;
    environment.sheet.put(asset)?;
    let sender = environment.scene.sender;
    environment.event(
        sender,
        "mint",
        [
            ("denom", asset.denom.into()),
            ("amount", asset.amount.into()),
        ],
    );
    Ok(())
}

fn burn(environment: &mut Environment<'_, '_>, asset: Asset) -> Result<(), CallError> {
    let denom = asset.denom;
    if existing(environment, &denom)?.is_of_module(&denom) {
        return Err(CallError::Refused {
            code: "NOT_BURNABLE",
            detail: format!("{denom} is given back by a call of the module that issued it"),
        });
    }
    environment.sheet.take(asset)?;
    issue::retire(&mut environment.view, &asset)?;
    let sender = environment.scene.sender;
    environment.event(
        sender,
        "burn",
        [("denom", denom.into()), ("amount", asset.amount.into())],
    );
    Ok(())
}
