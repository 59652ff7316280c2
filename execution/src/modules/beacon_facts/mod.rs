//! What a shard holds of the beacon: the newest imported facts.
//!
//! A block whose beacon reference shows other facts carries them; they are written before anything
//! else happens, so every transaction of the block sees them.

pub mod state;
#[cfg(test)]
mod tests;

use self::state::{FactsHead, facts_beacon_key, facts_epoch_key, facts_head_key, facts_shard_key};
use crate::block::BlockContext;
use crate::error::CallError;
use crate::genesis::write_facts;
use crate::module::{Call, Module};
use crate::modules::{self, BEACON_FACTS};
use crate::overlay::BlockOverlay;
use crate::view::decode_record;
use serde_json::json;
use skerry_types::beacon::{EpochRecord, Facts, ShardRecord};
use skerry_types::block::BlockRef;
use skerry_types::codec::{self, Version};
use skerry_types::genesis::Genesis;
use skerry_types::ids::{Address, ChainRef, ModuleId};
use skerry_types::merkle::OwnerEntry;
use skerry_types::message::ChannelSummary;
use skerry_types::state::{StateKey, Value, Write};

/// The module.
#[derive(Clone, Copy, Debug)]
pub struct BeaconFactsModule;

/// The records that hold `facts` on `chain`.
pub(crate) fn records_of(
    chain: ChainRef,
    facts: &Facts,
    beacon: BlockRef,
) -> Vec<(StateKey, Value)> {
    let head = FactsHead {
        version: Version,
        root: facts.root(),
        beacon,
    };
    let mut records = vec![
        (facts_head_key(chain), Value::from(codec::encode(&head))),
        (
            facts_beacon_key(chain),
            Value::from(codec::encode(&facts.beacon_channels)),
        ),
        (
            facts_epoch_key(chain),
            Value::from(codec::encode(&facts.epoch)),
        ),
    ];
    for record in &facts.shards {
        let key = facts_shard_key(chain, record.chain);
        records.push((key, Value::from(codec::encode(record))));
    }
    records
}

/// Writes imported facts. Values that stay the same make no change.
pub(crate) fn import(overlay: &mut BlockOverlay<'_>, context: &BlockContext, facts: &Facts) {
    for (key, value) in records_of(context.chain, facts, context.beacon) {
        overlay.put(key, Some(value));
    }
}

impl Module for BeaconFactsModule {
    fn id(&self) -> ModuleId {
        BEACON_FACTS
    }

    fn name(&self) -> &'static str {
        "beacon_facts"
    }

    fn decode(&self, _: &[u8]) -> Result<Box<dyn Call>, CallError> {
        modules::no_calls(self.name())
    }

    fn call_from_json(&self, _: &serde_json::Value) -> Result<Vec<u8>, CallError> {
        modules::no_calls(self.name())
    }

    fn genesis(&self, genesis: &Genesis, chain: ChainRef, writes: &mut Vec<Write>) {
        if !chain.is_beacon() {
            write_facts(genesis, chain, writes);
        }
    }

    fn query(&self, _: &Address, records: &[OwnerEntry]) -> serde_json::Value {
        let head = records
            .iter()
            .filter(|record| record.module == BEACON_FACTS && record.local == [b'h'])
            .find_map(|record| decode_record::<FactsHead>(&record.value).ok());
        head.map_or(
            serde_json::Value::Null,
            |head| json!({ "root": head.root, "beacon_height": head.beacon.height }),
        )
    }

    fn check_invariants(&self, key: &StateKey, value: &[u8]) -> Result<(), String> {
        let broken = |error: CallError| error.to_string();
        match key.local.as_slice() {
            [b'h'] => decode_record::<FactsHead>(value)
                .map(|_| ())
                .map_err(broken),
            [b'b'] => decode_record::<Vec<ChannelSummary>>(value)
                .map(|_| ())
                .map_err(broken),
            [b'e'] => decode_record::<EpochRecord>(value)
                .map(|_| ())
                .map_err(broken),
            [b's', _, _, _] => decode_record::<ShardRecord>(value)
                .map(|_| ())
                .map_err(broken),
            _ => Err("no record of beacon_facts".to_owned()),
        }
    }
}
