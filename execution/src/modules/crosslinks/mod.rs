//! What the beacon holds of the shards: one record each, raised by cross-links.
//!
//! A cross-link that is not newer, lets a counter fall, spends more than the shard holds, or would
//! break the consistent cut is *skipped*, by every node alike, and never makes a block invalid: a
//! proposer may hold a set that another cross-link of the same block completes. Skipping is
//! repeated until what remains is closed, so every beacon state is a consistent cut.
//!
//! Supply of the native denoms = supply at genesis + accepted − sent − destroyed; what a shard
//! destroyed is the `sent` of its summary with itself (see [`crate::views::channel_summaries`]).

pub mod state;
#[cfg(test)]
mod tests;

use self::state::shard_record_key;
use crate::block::BlockContext;
use crate::error::{CallError, CrossLinkSkip};
use crate::genesis::EmptyState;
use crate::module::{Call, Module};
use crate::modules::channels::state::{OutboundState, outbound_key};
use crate::modules::{self, CROSSLINKS, epochs};
use crate::network::NetworkInfo;
use crate::outbox::within;
use crate::overlay::BlockOverlay;
use crate::view::decode_record;
use crate::views;
use serde_json::json;
use skerry_types::amount::{Amount, Asset};
use skerry_types::beacon::{CrossLink, ShardRecord, SystemOperation};
use skerry_types::block::BlockRef;
use skerry_types::codec::{self, Version};
use skerry_types::committee::genesis_digest;
use skerry_types::genesis::Genesis;
use skerry_types::ids::{Address, ChainRef, Denom, Digest, Epoch, Height, ModuleId};
use skerry_types::merkle::OwnerEntry;
use skerry_types::message::{ChannelSummary, Flow, channels_root};
use skerry_types::state::{StateKey, Value, Write};
use std::collections::BTreeMap;

/// The module.
#[derive(Clone, Copy, Debug)]
pub struct CrossLinksModule;

/// The denoms whose supply the beacon holds, in order.
pub const NATIVE: [Denom; 3] = [Denom::RSSKER, Denom::SKER, Denom::STSKER];

/// The records that the beacon begins with.
pub(crate) fn genesis_records(genesis: &Genesis, network: &NetworkInfo) -> Vec<ShardRecord> {
    let shards = network.chains.iter().filter(|chain| !chain.is_beacon());
    shards
        .map(|chain| {
            let channels = views::channel_summaries(&EmptyState, network, *chain);
            let digest = genesis_digest(&network.chain_id, *chain);
            let start = BlockRef {
                height: Height::ZERO,
                digest,
            };
            ShardRecord {
                version: Version,
                chain: *chain,
                epoch: Epoch::ZERO,
                genesis: digest,
                header: start,
                reported: start,
                state_root: Digest::ZERO,
                channels_root: channels_root(&channels),
                channels,
                linked_at: Height::ZERO,
                supply: NATIVE
                    .map(|denom| genesis_supply(genesis, *chain, denom))
                    .to_vec(),
                base_fee: network.parameters.base_fee,
                fenced: false,
            }
        })
        .collect()
}

fn genesis_supply(genesis: &Genesis, chain: ChainRef, denom: Denom) -> Asset {
    let here = genesis
        .accounts
        .iter()
        .filter(|account| genesis.home(&account.address) == chain);
    let amounts = here
        .flat_map(|account| &account.assets)
        .filter(|it| it.denom == denom);
    let sum = amounts.fold(0_u128, |sum, asset| sum.saturating_add(asset.amount.get()));
    Asset {
        denom,
        amount: Amount::new(sum),
    }
}

/// The stored records.
pub(crate) fn load_records(
    overlay: &mut BlockOverlay<'_>,
    context: &BlockContext,
) -> BTreeMap<ChainRef, ShardRecord> {
    let shards = context
        .network
        .chains
        .iter()
        .filter(|chain| !chain.is_beacon());
    shards
        .filter_map(|chain| {
            let value = overlay.get(shard_record_key(*chain))?;
            Some((*chain, decode_record(&value).ok()?))
        })
        .collect()
}

/// Applies the cross-links of a block, whose proofs were checked. Returns those that were skipped.
pub(crate) fn apply(
    overlay: &mut BlockOverlay<'_>,
    context: &BlockContext,
    operations: &[SystemOperation],
) -> Vec<CrossLinkSkip> {
    if operations.is_empty() {
        return Vec::new();
    }
    let stored = load_records(overlay, context);
    let mut candidates: BTreeMap<ChainRef, ShardRecord> = BTreeMap::new();
    let mut skipped = Vec::new();
    for operation in operations {
        let SystemOperation::CrossLink(link) = operation else {
            continue;
        };
        let chain = link.header.chain;
        match candidates.get(&chain).or_else(|| stored.get(&chain)) {
            None => skipped.push(CrossLinkSkip::UnknownShard(chain)),
            Some(record) => match raise(overlay, record, link, context) {
                Ok(record) => {
                    candidates.insert(chain, record);
                }
                Err(skip) => skipped.push(skip),
            },
        }
    }
    let from_beacon = |shard: ChainRef, overlay: &mut BlockOverlay<'_>| {
        let value = overlay.get(outbound_key(ChainRef::Beacon, shard));
        let channel = value.and_then(|value| decode_record::<OutboundState>(&value).ok());
        channel.unwrap_or_default().sent
    };
    let beacon_sent: BTreeMap<ChainRef, Flow> = stored
        .keys()
        .map(|shard| (*shard, from_beacon(*shard, overlay)))
        .collect();
    while let Some((shard, peer)) = find_open(&stored, &candidates, &beacon_sent) {
        candidates.remove(&shard);
        skipped.push(CrossLinkSkip::NotClosed { shard, peer });
    }
    for (chain, record) in candidates {
        let before = stored.get(&chain).map(|record| record.epoch);
        if before != Some(record.epoch) {
            epochs::note_instance(overlay, (chain, record.epoch, record.genesis));
        }
        if let Some(before) = before.filter(|before| *before != record.epoch) {
            let open = epochs::open(overlay);
            epochs::tenure::leave(overlay, chain, (before, record.epoch), open);
        }
        overlay.put(
            shard_record_key(chain),
            Some(Value::from(codec::encode(&record))),
        );
    }
    skipped
}

/// Raises the fence of a shard, once; its open epoch is over then, in the beacon's epoch `open`.
pub(crate) fn fence(overlay: &mut BlockOverlay<'_>, shard: ChainRef, open: Epoch) {
    let key = shard_record_key(shard);
    let stored = overlay.get(key.clone());
    let stored = stored.and_then(|value| decode_record::<ShardRecord>(&value).ok());
    if let Some(mut record) = stored.filter(|record| !record.fenced) {
        epochs::tenure::note_over(overlay, (shard, record.epoch), open);
        record.fenced = true;
        overlay.put(key, Some(Value::from(codec::encode(&record))));
    }
}

/// The record after a cross-link, by itself.
fn raise(
    overlay: &mut BlockOverlay<'_>,
    record: &ShardRecord,
    link: &CrossLink,
    context: &BlockContext,
) -> Result<ShardRecord, CrossLinkSkip> {
    let shard = record.chain;
    let CrossLink {
        header, channels, ..
    } = link;
    if record.fenced {
        return Err(CrossLinkSkip::Fenced(shard));
    }
    let (expected, actual) = (record.header.height, header.height);
    if actual <= expected || header.report.block.height < record.reported.height {
        return Err(CrossLinkSkip::NotNewer {
            shard,
            expected,
            actual,
        });
    }
    if header.epoch != record.epoch {
        return Err(CrossLinkSkip::EpochNotOpen(header.epoch));
    }
    let peers = channels.iter().map(|summary| summary.peer);
    let root = header.report.result.channels_root;
    if !peers.eq(context.network.chains.iter().copied()) || channels_root(channels) != root {
        return Err(CrossLinkSkip::Channels(shard));
    }
    if !record
        .channels
        .iter()
        .zip(channels)
        .all(|(old, new)| only_rises(old, new))
    {
        return Err(CrossLinkSkip::CounterFalls(shard));
    }
    let supply = supply_after(record, channels).ok_or(CrossLinkSkip::SupplyNegative(shard))?;
    let (epoch, genesis) = match header.next {
        None => (header.epoch, record.genesis),
        Some(next) => {
            let committee = epochs::committee(overlay, shard, next.epoch);
            let known = committee.as_ref().map(epochs::reference);
            if next.epoch <= header.epoch
                || known.is_none_or(|it| (it.root, it.weight) != (next.root, next.weight))
            {
                return Err(CrossLinkSkip::NextCommittee(next.epoch));
            }
            (next.epoch, header.digest())
        }
    };
    Ok(ShardRecord {
        version: Version,
        chain: shard,
        epoch,
        genesis,
        header: header.block_ref(),
        reported: header.report.block,
        state_root: header.report.result.state_root,
        channels_root: root,
        channels: channels.clone(),
        linked_at: context.height,
        supply,
        base_fee: header.report.result.base_fee,
        fenced: record.fenced,
    })
}

const fn only_rises(old: &ChannelSummary, new: &ChannelSummary) -> bool {
    within(&old.sent, &new.sent)
        && within(&old.accepted, &new.accepted)
        && old.executed <= new.executed
        && new.granted.covers(old.granted)
        && new.returned.covers(old.returned)
}

/// A shard whose candidate shows more as accepted than its peer's record shows as sent.
fn find_open(
    stored: &BTreeMap<ChainRef, ShardRecord>,
    candidates: &BTreeMap<ChainRef, ShardRecord>,
    beacon_sent: &BTreeMap<ChainRef, Flow>,
) -> Option<(ChainRef, ChainRef)> {
    let sent = |from: ChainRef, to: ChainRef| -> Flow {
        if from.is_beacon() {
            return beacon_sent.get(&to).copied().unwrap_or_default();
        }
        let record = candidates.get(&from).or_else(|| stored.get(&from));
        let summary = record.and_then(|it| it.channels.iter().find(|it| it.peer == to));
        summary.map(|summary| summary.sent).unwrap_or_default()
    };
    candidates.iter().find_map(|(shard, record)| {
        let peers = record
            .channels
            .iter()
            .filter(|summary| summary.peer != *shard);
        let mut open = peers.filter(|it| !within(&it.accepted, &sent(it.peer, *shard)));
        open.next().map(|summary| (*shard, summary.peer))
    })
}

/// Supply after the flows since the record; `None` when a denom would be below zero.
fn supply_after(record: &ShardRecord, channels: &[ChannelSummary]) -> Option<Vec<Asset>> {
    let change = |asset: &Asset| {
        let (mut plus, mut minus) = (asset.amount.get(), 0_u128);
        for (old, new) in record.channels.iter().zip(channels) {
            let of = |flow: &Flow| flow.native(asset.denom);
            plus = plus.checked_add(of(&new.accepted).checked_sub(of(&old.accepted))?)?;
            minus = minus.checked_add(of(&new.sent).checked_sub(of(&old.sent))?)?;
        }
        let amount = Amount::new(plus.checked_sub(minus)?);
        Some(Asset {
            denom: asset.denom,
            amount,
        })
    };
    record.supply.iter().map(change).collect()
}

impl Module for CrossLinksModule {
    fn id(&self) -> ModuleId {
        CROSSLINKS
    }

    fn name(&self) -> &'static str {
        "crosslinks"
    }

    fn decode(&self, _: &[u8]) -> Result<Box<dyn Call>, CallError> {
        modules::no_calls(self.name())
    }

    fn call_from_json(&self, _: &serde_json::Value) -> Result<Vec<u8>, CallError> {
        modules::no_calls(self.name())
    }

    fn genesis(&self, genesis: &Genesis, chain: ChainRef, writes: &mut Vec<Write>) {
        if chain.is_beacon() {
            for record in genesis_records(genesis, &NetworkInfo::of(genesis)) {
                let key = shard_record_key(record.chain);
                writes.push((key, Some(Value::from(codec::encode(&record)))));
            }
        }
    }

    fn query(&self, _: &Address, records: &[OwnerEntry]) -> serde_json::Value {
        let of_module = records.iter().filter(|record| record.module == CROSSLINKS);
        let shards: serde_json::Map<String, serde_json::Value> = of_module
            .filter_map(|record| decode_record::<ShardRecord>(&record.value).ok())
            .map(|record| {
                let value = json!({
                    "epoch": record.epoch,
                    "height": record.header.height,
                    "reported_height": record.reported.height,
                    "state_root": record.state_root,
                    "linked_at": record.linked_at,
                    "supply": record.supply,
                    "base_fee": record.base_fee,
                    "fenced": record.fenced,
                });
                (record.chain.to_string(), value)
            })
            .collect();
        if shards.is_empty() {
            serde_json::Value::Null
        } else {
            json!({ "shards": shards })
        }
    }

    fn check_invariants(&self, _: &StateKey, value: &[u8]) -> Result<(), String> {
        let record = decode_record::<ShardRecord>(value).map_err(|error| error.to_string())?;
        let fits = channels_root(&record.channels) == record.channels_root;
        fits.then_some(())
            .ok_or_else(|| "the summaries are not those of the root".to_owned())
    }
}
