//! Records of the beacon about the shards.
//!
//! One key per shard, under one object of the beacon: the leaf that light proofs lead to, and what
//! the facts of a beacon block are made of.

use crate::modules::CROSSLINKS;
use skerry_types::ids::{Address, ChainRef};
use skerry_types::state::StateKey;

/// Key of the [`skerry_types::beacon::ShardRecord`] of a shard in the beacon's state: the shard's
/// leaf in light proofs.
pub fn shard_record_key(shard: ChainRef) -> StateKey {
    let owner = Address::of_system(CROSSLINKS.get(), ChainRef::Beacon, b"shards");
    let [depth, low, high] = shard.to_bytes();
    StateKey {
        owner,
        module: CROSSLINKS,
        local: [b's', depth, low, high].into(),
    }
}
