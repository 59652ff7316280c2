//! Calls of `bank`.
//!
//! Value leaves the sheet of a bundle by `send` and enters it by `claim`; attached assets are what
//! a transfer usually sends. Accounts are credited when the bundle ends.

use super::state::{balance_key, claim_key};
use crate::error::CallError;
use crate::gas;
use crate::module::{Call, Environment};
use crate::plan::{Access, Plan, PlanContext};
use crate::view::decode_amount;
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};
use skerry_types::amount::Asset;
use skerry_types::codec;
use skerry_types::ids::{Address, ChainRef, Denom, Gas, Sequence};
use skerry_types::message::Payload;
use skerry_types::state::StateKey;

/// A call of `bank`. The order of the variants is part of the encoding.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum BankCall {
    /// Takes `asset` from the sheet and gives it to `to`: at once when it lives on this shard,
    /// otherwise by a message.
    /// `{"send": {"to": "sk1…", "asset": {"denom": "sker", "amount": "5"}}}`
    Send {
        /// Who gets it.
        to: Address,
        /// What.
        asset: Asset,
    },
    /// Puts what a message brought and could not be credited on the sheet; what is left at the end
    /// is the sender's. `{"claim": {"denom": "sker", "source": "shard-0/1", "sequence": 7}}`
    Claim {
        /// Which denom.
        denom: Denom,
        /// Source of the message.
        source: ChainRef,
        /// Position of the message.
        sequence: Sequence,
    },
}

impl BankCall {
    /// The canonical bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        codec::encode(self)
    }

    pub(super) fn check(&self) -> Result<(), String> {
        match self {
            Self::Send { asset, .. } if asset.amount.is_zero() => {
                Err("the amount must be above zero".to_owned())
            }
            Self::Send { .. } | Self::Claim { .. } => Ok(()),
        }
    }
}

impl Call for BankCall {
    fn gas(&self) -> Gas {
        match self {
            // The same for every recipient: at home it may create a balance, elsewhere the message
            // prepays one.
            Self::Send { .. } => gas::sum(&[gas::KEY, gas::MESSAGE]),
            Self::Claim { .. } => gas::sum(&[gas::KEY_WRITTEN, gas::KEY]),
        }
    }

    fn plan(&self, context: &PlanContext<'_>) -> Plan {
        match self {
            Self::Send { to, .. } if context.network.home(to) == context.chain => {
                Plan::of(*to, Access::AddOnly)
            }
            Self::Send { .. } => Plan::nothing(),
            Self::Claim { .. } => Plan::of(context.sender, Access::Exclusive),
        }
    }

    fn hint(&self, context: &PlanContext<'_>, read: &mut dyn FnMut(StateKey)) {
        if let Self::Send { to, asset } = self
            && context.network.home(to) == context.chain
        {
            read(balance_key(to, &asset.denom));
        }
    }

    fn needs_sender(&self) -> bool {
        matches!(self, Self::Claim { .. })
    }

    fn execute(&self, environment: &mut Environment<'_, '_>) -> Result<(), CallError> {
        match self {
            Self::Send { to, asset } => send(environment, *to, *asset),
            Self::Claim {
                denom,
                source,
                sequence,
            } => claim(environment, *denom, *source, *sequence),
        }
    }

    fn to_json(&self) -> serde_json::Value {
        serde_json::to_value(self).unwrap_or_default()
    }
}

fn send(
    environment: &mut Environment<'_, '_>,
    recipient: Address,
    asset: Asset,
) -> Result<(), CallError> {
    let sender = environment.scene.sender;
    environment.sheet.take(asset)?;
    let home = environment.scene.network.home(&recipient);
    if home == environment.scene.chain {
        environment.credit(recipient, asset)?;
        super::transfer_event(environment, sender, recipient, &asset);
    } else {
        environment.send(
            home,
            Payload::Transfer {
                sender,
                recipient,
                assets: vec![asset],
            },
        );
    }
    Ok(())
}

fn claim(
    environment: &mut Environment<'_, '_>,
    denom: Denom,
    source: ChainRef,
    sequence: Sequence,
) -> Result<(), CallError> {
    let owner = environment.scene.sender;
    let key = claim_key(&owner, &denom, source, sequence);
    let stored = environment.view.get(key.clone())?;
    let amount = decode_amount(stored.as_ref())?;
    if amount.is_zero() {
        return Err(CallError::Refused {
            code: "NO_SUCH_CLAIM",
            detail: format!("{owner} has no claim to {denom} of message {sequence} of {source}"),
        });
    }
    environment.view.delete(key)?;
    environment.sheet.put(Asset { denom, amount })?;
    let told = [("denom", denom.into()), ("amount", amount.into())];
    environment.event(owner, "claim", told);
    Ok(())
}
