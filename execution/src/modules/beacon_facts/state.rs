//! Records of the imported facts: one per shard, one for the beacon's channels, one with the root.
//!
//! Facts of many shards exceed the size of one record, and most change rarely; so each part has a
//! key of its own.

use crate::modules::BEACON_FACTS;
use borsh::{BorshDeserialize, BorshSerialize};
use skerry_types::block::BlockRef;
use skerry_types::codec::Version;
use skerry_types::ids::{Address, ChainRef, Digest};
use skerry_types::state::StateKey;

/// Which facts the state holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct FactsHead {
    /// Version byte.
    pub version: Version,
    /// Root of the facts.
    pub root: Digest,
    /// Beacon reference of the block that imported them.
    pub beacon: BlockRef,
}

fn key(chain: ChainRef, local: Vec<u8>) -> StateKey {
    let owner = Address::of_system(BEACON_FACTS.get(), chain, b"facts");
    StateKey::new(owner, BEACON_FACTS, local)
}

/// Key of the [`FactsHead`] on `chain`.
pub fn facts_head_key(chain: ChainRef) -> StateKey {
    key(chain, vec![b'h'])
}

/// Key of the imported [`skerry_types::beacon::ShardRecord`] of `shard`.
pub fn facts_shard_key(chain: ChainRef, shard: ChainRef) -> StateKey {
    let [depth, low, high] = shard.to_bytes();
    key(chain, vec![b's', depth, low, high])
}

/// Key of the imported [`skerry_types::beacon::EpochRecord`].
pub fn facts_epoch_key(chain: ChainRef) -> StateKey {
    key(chain, vec![b'e'])
}

/// Key of the imported channel summaries of the beacon.
pub fn facts_beacon_key(chain: ChainRef) -> StateKey {
    key(chain, vec![b'b'])
}
