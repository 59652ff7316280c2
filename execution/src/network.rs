//! What of the genesis execution needs all the time: chain id, shards, parameters.
//!
//! Contexts of blocks share it by `Arc`; the full genesis, with its accounts, is needed only to
//! make the first states.

use skerry_types::genesis::{Genesis, Parameters};
use skerry_types::ids::{Address, ChainRef, Digest};

/// The constants of a network, shared by all its chains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkInfo {
    /// Hash of the genesis.
    pub chain_id: Digest,
    /// The number of shards is 2 to this power.
    pub shard_depth: u8,
    /// Timing, fees and limits.
    pub parameters: Parameters,
    /// All chains, the beacon first, then the shards in order.
    pub chains: Vec<ChainRef>,
}

impl NetworkInfo {
    /// The constants of a genesis.
    pub fn of(genesis: &Genesis) -> Self {
        Self {
            chain_id: genesis.chain_id(),
            shard_depth: genesis.shard_depth,
            parameters: genesis.parameters,
            chains: genesis.chains(),
        }
    }

    /// The home chain of an owner.
    pub fn home(&self, owner: &Address) -> ChainRef {
        ChainRef::Shard(owner.shard(self.shard_depth))
    }

    /// Whether the network has this chain.
    pub fn has(&self, chain: ChainRef) -> bool {
        self.chains.binary_search(&chain).is_ok()
    }

    /// Number of chains.
    pub fn chain_count(&self) -> u64 {
        u64::try_from(self.chains.len()).unwrap_or(u64::MAX)
    }
}
