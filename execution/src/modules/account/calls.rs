//! Calls of `account`: how the owner of an account changes its keys.
//!
//! A rotation acts from the next block on, because signatures are checked against the state of the
//! parent. JSON has forms of its own, since keys are raw bytes in the canonical encoding.

use super::state::{AuthenticatorRecord, authenticator_key};
use crate::error::CallError;
use crate::gas;
use crate::module::{Call, Environment};
use crate::plan::{Access, Plan, PlanContext};
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};
use skerry_types::codec::{self, Version};
use skerry_types::crypto::ed25519::PublicKey;
use skerry_types::ids::{Digest, Gas};
use skerry_types::transaction::Authenticator;

/// A call of `account`. The order of the variants is part of the encoding.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum AccountCall {
    /// The account is controlled by `authenticator` from the next block on.
    RotateKey {
        /// The new keys.
        authenticator: Authenticator,
    },
}

/// [`AccountCall`] as JSON: `{"rotate_key": {"authenticator": {"ed25519": "0x…"}}}`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum AccountCallForm {
    RotateKey { authenticator: AuthenticatorForm },
}

/// An authenticator as JSON; keys are `0x` and 64 hexadecimal digits.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum AuthenticatorForm {
    Ed25519(Digest),
    Multisig { threshold: u8, keys: Vec<Digest> },
}

impl AuthenticatorForm {
    pub(super) fn of(authenticator: &Authenticator) -> Self {
        let text = |key: &PublicKey| Digest::new(key.0);
        match authenticator {
            Authenticator::Ed25519(key) => Self::Ed25519(text(key)),
            Authenticator::Multisig { threshold, keys } => Self::Multisig {
                threshold: *threshold,
                keys: keys.iter().map(text).collect(),
            },
        }
    }

    fn authenticator(self) -> Authenticator {
        let key = |text: Digest| PublicKey(*text.as_bytes());
        match self {
            Self::Ed25519(text) => Authenticator::Ed25519(key(text)),
            Self::Multisig { threshold, keys } => Authenticator::Multisig {
                threshold,
                keys: keys.into_iter().map(key).collect(),
            },
        }
    }
}

impl AccountCall {
    /// The canonical bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        codec::encode(self)
    }

    pub(super) fn check(&self) -> Result<(), String> {
        let Self::RotateKey { authenticator } = self;
        if authenticator.is_well_formed() {
            Ok(())
        } else {
            Err("the authenticator's threshold or keys are not usable".to_owned())
        }
    }

    pub(super) fn of_json(json: &serde_json::Value) -> Result<Self, String> {
        let form: AccountCallForm =
            serde::Deserialize::deserialize(json).map_err(|error| error.to_string())?;
        let AccountCallForm::RotateKey { authenticator } = form;
        Ok(Self::RotateKey {
            authenticator: authenticator.authenticator(),
        })
    }
}

impl Call for AccountCall {
    fn gas(&self) -> Gas {
        let Self::RotateKey { authenticator } = self;
        let bytes = codec::encode(authenticator).len();
        gas::sum(&[gas::KEY, gas::times(gas::STORED_BYTE, bytes)])
    }

    fn plan(&self, context: &PlanContext<'_>) -> Plan {
        Plan::of(context.sender, Access::Exclusive)
    }

    fn execute(&self, environment: &mut Environment<'_, '_>) -> Result<(), CallError> {
        let Self::RotateKey { authenticator } = self;
        let sender = environment.scene.sender;
        let record = AuthenticatorRecord {
            version: Version,
            authenticator: authenticator.clone(),
        };
        environment
            .view
            .put_record(authenticator_key(&sender), &record)?;
        environment.event(sender, "rotate_key", []);
        Ok(())
    }

    fn to_json(&self) -> serde_json::Value {
        let Self::RotateKey { authenticator } = self;
        let form = AccountCallForm::RotateKey {
            authenticator: AuthenticatorForm::of(authenticator),
        };
        serde_json::to_value(form).unwrap_or_default()
    }
}
