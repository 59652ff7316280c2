//! What the state of each chain begins with.
//!
//! Each module writes its own records. Channels begin at zero, which needs no record; shards begin
//! with the facts that the beacon's genesis shows.

use crate::modules::{MODULES, beacon_facts, crosslinks, epochs};
use crate::network::NetworkInfo;
use crate::views;
use skerry_types::amount::Amount;
use skerry_types::beacon::Facts;
use skerry_types::block::ExecutionResult;
use skerry_types::genesis::Genesis;
use skerry_types::ids::{ChainRef, Digest, Gas};
use skerry_types::message::{ChannelSummary, channels_root};
use skerry_types::state::{ChangeSet, StateKey, StateRead, Value, Write};

/// The first state of a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GenesisOutcome {
    /// All records.
    pub changes: ChangeSet,
    /// The channel summaries, all of them at zero.
    pub channels: Vec<ChannelSummary>,
    /// Their root.
    pub channels_root: Digest,
    /// Base fee of the first block.
    pub base_fee: Amount,
    /// On the beacon, the facts that its genesis shows; shards hold the same ones.
    pub facts: Option<Facts>,
}

impl GenesisOutcome {
    /// The result that block 1 reports, once the state root is known.
    pub const fn result(&self, state_root: Digest) -> ExecutionResult {
        ExecutionResult {
            state_root,
            receipts_root: Digest::ZERO,
            channels_root: self.channels_root,
            gas: Gas::ZERO,
            burnt: Amount::ZERO,
            base_fee: self.base_fee,
        }
    }
}

/// A state without records.
#[derive(Clone, Copy, Debug, Default)]
pub struct EmptyState;

impl StateRead for EmptyState {
    fn get(&self, _: &StateKey) -> Option<Value> {
        None
    }
}

/// The first state of `chain`. The genesis must have been checked.
pub fn genesis_changes(genesis: &Genesis, chain: ChainRef) -> GenesisOutcome {
    let mut writes = Vec::new();
    for module in MODULES {
        module.genesis(genesis, chain, &mut writes);
    }
    let network = NetworkInfo::of(genesis);
    let channels = views::channel_summaries(&EmptyState, &network, chain);
    GenesisOutcome {
        changes: writes.into_iter().collect(),
        channels_root: channels_root(&channels),
        channels,
        base_fee: network.parameters.base_fee,
        facts: chain.is_beacon().then(|| genesis_facts(genesis)),
    }
}

/// The facts that the beacon's genesis shows.
///
/// The state roots in them are zero: a shard's first state holds these facts, so they cannot name
/// its root. Light proofs begin with the first cross-link.
pub fn genesis_facts(genesis: &Genesis) -> Facts {
    let network = NetworkInfo::of(genesis);
    Facts {
        version: skerry_types::codec::Version,
        epoch: epochs::genesis_record(genesis, &network),
        shards: crosslinks::genesis_records(genesis, &network),
        beacon_channels: views::channel_summaries(&EmptyState, &network, ChainRef::Beacon),
    }
}

/// Root of [`genesis_facts`]: what a beacon reference of height 0 shows.
pub fn genesis_facts_root(genesis: &Genesis) -> Digest {
    genesis_facts(genesis).root()
}

/// Writes what a chain imports before its first block.
pub(crate) fn write_facts(genesis: &Genesis, chain: ChainRef, writes: &mut Vec<Write>) {
    let chain_id = genesis.chain_id();
    let beacon = skerry_types::block::BlockRef {
        height: skerry_types::ids::Height::ZERO,
        digest: skerry_types::committee::genesis_digest(&chain_id, ChainRef::Beacon),
    };
    for (key, value) in beacon_facts::records_of(chain, &genesis_facts(genesis), beacon) {
        writes.push((key, Some(value)));
    }
}
