//! The one record of the fee market: the base fee after a shard's last working block.

use crate::modules::FEE_MARKET;
use borsh::{BorshDeserialize, BorshSerialize};
use skerry_types::amount::Amount;
use skerry_types::codec::Version;
use skerry_types::ids::{Address, ChainRef, Height};
use skerry_types::state::StateKey;

pub(crate) const PRICE: u8 = b'p';

/// The base fee after a block; absent while it is at its floor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct PriceRecord {
    /// Version byte.
    pub version: Version,
    /// Base units of `sker` per unit of gas, for the block that follows at once.
    pub price: Amount,
    /// Height of the working block that it was written by.
    pub height: Height,
}

/// The object that holds a shard's base fee.
pub fn price_object(chain: ChainRef) -> Address {
    Address::of_system(FEE_MARKET.get(), chain, b"price")
}

/// Key of a shard's [`PriceRecord`].
pub fn price_key(chain: ChainRef) -> StateKey {
    StateKey::new(price_object(chain), FEE_MARKET, [PRICE])
}
