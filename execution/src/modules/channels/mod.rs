//! Channels between chains: cursors, counters, turns, what is due, batch records, waiting bodies.
//!
//! [`crate::inbox`] and [`crate::outbox`] write the records while a block executes; this module
//! drops the batch records that the destination is known to have accepted, and keeps what cross-links
//! show as sent to this chain ([`due`]).

pub mod due;
pub mod state;
#[cfg(test)]
mod tests;

use self::due::DueRecord;
use self::state::{InboundState, OutboundState, Turns, batch_record_key, outbound_key};
use crate::block::BlockContext;
use crate::credit;
use crate::error::CallError;
use crate::module::{Call, Module};
use crate::modules::{self, CHANNELS, crosslinks};
use crate::overlay::BlockOverlay;
use crate::view::decode_record;
use serde_json::json;
use skerry_types::beacon::Facts;
use skerry_types::codec;
use skerry_types::ids::{Address, ChainRef, ModuleId, Sequence};
use skerry_types::merkle::OwnerEntry;
use skerry_types::message::{BatchRecord, ChannelSummary};
use skerry_types::state::{StateKey, Value};

/// The module.
#[derive(Clone, Copy, Debug)]
pub struct ChannelsModule;

fn accepted_from(summaries: &[ChannelSummary], source: ChainRef) -> Sequence {
    let summary = summaries.iter().find(|summary| summary.peer == source);
    Sequence::new(summary.map_or(0, |summary| summary.accepted.messages))
}

/// On a shard: drops the batch records that the imported facts show as accepted, and learns what peers
/// granted and gave back.
pub(crate) fn acknowledge(overlay: &mut BlockOverlay<'_>, context: &BlockContext, facts: &Facts) {
    let source = context.chain;
    for record in facts.shards.iter().filter(|record| record.chain != source) {
        let accepted = accepted_from(&record.channels, source);
        drop_accepted(overlay, source, record.chain, accepted);
        credit::learn(overlay, context, record.chain, &record.channels);
    }
    let accepted = accepted_from(&facts.beacon_channels, source);
    drop_accepted(overlay, source, ChainRef::Beacon, accepted);
    credit::learn(overlay, context, ChainRef::Beacon, &facts.beacon_channels);
}

/// On the beacon: drops the batch records that its own cross-links show as accepted, and learns what
/// shards granted and gave back.
pub(crate) fn acknowledge_from_records(overlay: &mut BlockOverlay<'_>, context: &BlockContext) {
    for record in crosslinks::load_records(overlay, context).into_values() {
        let accepted = accepted_from(&record.channels, ChainRef::Beacon);
        drop_accepted(overlay, ChainRef::Beacon, record.chain, accepted);
        credit::learn(overlay, context, record.chain, &record.channels);
    }
}

/// Drops whole batches, oldest first, up to what was accepted.
fn drop_accepted(
    overlay: &mut BlockOverlay<'_>,
    source: ChainRef,
    destination: ChainRef,
    accepted: Sequence,
) {
    let key = outbound_key(source, destination);
    let stored = overlay.get(key.clone());
    let Some(mut channel) = stored.and_then(|it| decode_record::<OutboundState>(&it).ok()) else {
        return;
    };
    let before = channel.acknowledged;
    while channel.acknowledged < accepted.min(channel.next()) {
        let record_key = batch_record_key(source, destination, channel.acknowledged);
        let record = overlay.get(record_key.clone());
        let Some(record) = record.and_then(|it| decode_record::<BatchRecord>(&it).ok()) else {
            break;
        };
        let end = channel.acknowledged.saturating_add(u64::from(record.count));
        if end > accepted || record.count == 0 {
            break;
        }
        overlay.put(record_key, None);
        channel.acknowledged = end;
    }
    if channel.acknowledged != before {
        overlay.put(key, Some(Value::from(codec::encode(&channel))));
    }
}

impl Module for ChannelsModule {
    fn id(&self) -> ModuleId {
        CHANNELS
    }

    fn name(&self) -> &'static str {
        "channels"
    }

    fn decode(&self, _: &[u8]) -> Result<Box<dyn Call>, CallError> {
        modules::no_calls(self.name())
    }

    fn call_from_json(&self, _: &serde_json::Value) -> Result<Vec<u8>, CallError> {
        modules::no_calls(self.name())
    }

    fn query(&self, _: &Address, records: &[OwnerEntry]) -> serde_json::Value {
        let (mut inbound, mut outbound) = (serde_json::Map::new(), serde_json::Map::new());
        for record in records.iter().filter(|record| record.module == CHANNELS) {
            let [tag, depth, low, high] = *record.local.as_slice() else {
                continue;
            };
            let Some(peer) = ChainRef::from_bytes([depth, low, high]) else {
                continue;
            };
            match tag {
                b'i' => {
                    if let Ok(state) = decode_record::<InboundState>(&record.value) {
                        let value = json!({
                            "accepted": state.accepted_cursor(),
                            "executed": state.executed_cursor(),
                            "rolling_root": state.rolling,
                            "used_bytes": state.charged.bytes,
                            "used_gas": state.charged.gas,
                        });
                        inbound.insert(peer.to_string(), value);
                    }
                }
                b'o' => {
                    if let Ok(state) = decode_record::<OutboundState>(&record.value) {
                        let value = json!({
                            "next": state.next(),
                            "acknowledged": state.acknowledged,
                            "used_bytes": state.used.bytes,
                            "used_gas": state.used.gas,
                            "open_requests": state.awaiting,
                        });
                        outbound.insert(peer.to_string(), value);
                    }
                }
                _ => {}
            }
        }
        if inbound.is_empty() && outbound.is_empty() {
            return serde_json::Value::Null;
        }
        json!({ "inbound": inbound, "outbound": outbound })
    }

    fn check_invariants(&self, key: &StateKey, value: &[u8]) -> Result<(), String> {
        let broken = |error: CallError| error.to_string();
        match key.local.as_slice() {
            [b'i', _, _, _] => {
                let state = decode_record::<InboundState>(value).map_err(broken)?;
                let ordered = state.executed.messages <= state.accepted.messages
                    && state.charged.covers(state.freed);
                ordered
                    .then_some(())
                    .ok_or_else(|| "executed more than accepted".to_owned())
            }
            [b'o', _, _, _] => {
                let state = decode_record::<OutboundState>(value).map_err(broken)?;
                let ordered = state.acknowledged <= state.next();
                ordered
                    .then_some(())
                    .ok_or_else(|| "acknowledged more than sent".to_owned())?;
                (state.awaiting <= state.next().get())
                    .then_some(())
                    .ok_or_else(|| "more open requests than messages".to_owned())
            }
            [b'd', _, _, _] => {
                let record = decode_record::<DueRecord>(value).map_err(broken)?;
                let sound = record.is_sound();
                sound
                    .then_some(())
                    .ok_or_else(|| "marks that do not rise".to_owned())
            }
            [b't'] => decode_record::<Turns>(value).map(|_| ()).map_err(broken),
            local if local.len() == 11 => Ok(()),
            _ => Err("no record of channels".to_owned()),
        }
    }
}
