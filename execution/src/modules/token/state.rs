//! Records of tokens: a description and a supply per denom, under the denom's own object.
//!
//! They never move: the object has the locality of the creator. Holders have balances of the bank
//! and nothing here.

use crate::modules::TOKEN;
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};
use skerry_types::codec::Version;
use skerry_types::ids::{Address, Denom};
use skerry_types::state::StateKey;

pub(crate) const RECORD: u8 = b'r';
pub(crate) const SUPPLY: u8 = b's';

/// What a token is.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct TokenRecord {
    /// Version byte.
    #[serde(skip)]
    pub version: Version,
    /// Who created it; of a denom that a module issues, the denom's own object.
    pub creator: Address,
    /// Its name, which the denom commits to, unless a module issues it.
    pub name: String,
    /// Short form for people.
    pub symbol: String,
    /// How many decimals people are shown.
    pub decimals: u8,
    /// Free text, such as an address of a description.
    pub metadata: String,
    /// Who may mint and change it; nobody once renounced.
    pub authority: Option<Address>,
}

impl TokenRecord {
    /// Whether a module issues it, under the id of its own object.
    pub fn is_of_module(&self, denom: &Denom) -> bool {
        self.creator == denom.object()
    }
}

/// Key of the [`TokenRecord`].
pub fn token_key(denom: &Denom) -> StateKey {
    StateKey {
        owner: denom.object(),
        module: TOKEN,
        local: [RECORD].into(),
    }
}

/// Key of the supply: minted less burnt, 16 bytes, little-endian.
pub fn supply_key(denom: &Denom) -> StateKey {
    StateKey {
        owner: denom.object(),
        module: TOKEN,
        local: [SUPPLY].into(),
    }
}
