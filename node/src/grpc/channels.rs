//! The channels between chains and the supply on both sides, from the states that this node has.

use crate::view::NodeView;
use skerry_execution::credit;
use skerry_execution::network::NetworkInfo;
use skerry_execution::supply::{NativeSupply, count_supply, native_supply};
use skerry_execution::views;
use skerry_proto::v1;
use skerry_storage::StateTree;
use skerry_types::ids::ChainRef;
use skerry_types::message::{ChannelSummary, Credit};
use std::collections::BTreeMap;

/// Message delays of a block from proposal to finality.
const DELAYS_PER_BLOCK: u64 = 3;

/// What is known of one end of a channel.
enum End<'s> {
    /// The chain is followed here.
    State(&'s StateTree),
    /// What the beacon has cross-linked of the channel.
    Linked(ChannelSummary),
    /// Neither it nor the beacon is followed.
    Unknown,
}

/// All channels, or those from or to `only`.
pub(super) fn list(view: &NodeView, only: Option<ChainRef>) -> v1::ListChannelsResponse {
    let network = &*view.info;
    let followed = view.chains.iter();
    let states: BTreeMap<ChainRef, StateTree> = followed
        .map(|(chain, view)| (*chain, view.snapshot().state.clone()))
        .collect();
    let end = |chain: ChainRef, peer: ChainRef| match states.get(&chain) {
        Some(state) => End::State(state),
        None => states
            .get(&ChainRef::Beacon)
            .and_then(|beacon| views::shard_record(beacon, chain))
            .and_then(|record| record.channels.into_iter().find(|it| it.peer == peer))
            .map_or(End::Unknown, End::Linked),
    };
    let pairs = network.chains.iter().flat_map(|source| {
        let destinations = network.chains.iter().filter(move |it| *it != source);
        destinations.map(move |destination| (*source, *destination))
    });
    let is_asked = |(source, destination): &(ChainRef, ChainRef)| {
        only.is_none_or(|only| only == *source || only == *destination)
    };
    let channels = pairs.filter(is_asked).map(|(source, destination)| {
        let ends = (end(source, destination), end(destination, source));
        channel(network, (source, destination), ends)
    });
    v1::ListChannelsResponse {
        channels: channels.collect(),
        share: Some(wire(credit::share(network))),
        window: Some(wire(credit::window(network))),
        reply_room: credit::reply_room(network),
        bound: Some(bound(network)),
    }
}

fn channel(
    network: &NetworkInfo,
    (source, destination): (ChainRef, ChainRef),
    (from, to): (End<'_>, End<'_>),
) -> v1::Channel {
    let mut channel = v1::Channel {
        source: source.to_string(),
        destination: destination.to_string(),
        ..Default::default()
    };
    match from {
        End::State(state) => {
            let outbound = views::outbound(state, source, destination);
            channel.sent = outbound.next().get();
            channel.left = Some(wire(views::credit_left(
                state,
                network,
                source,
                destination,
            )));
            channel.open_requests = Some(outbound.awaiting);
        }
        End::Linked(summary) => channel.sent = summary.sent.messages,
        End::Unknown => {}
    }
    match to {
        End::State(state) => {
            let inbound = views::inbound(state, destination, source);
            channel.accepted = inbound.accepted_cursor().get();
            channel.executed = inbound.executed_cursor().get();
            let window = inbound.outstanding(credit::share(network));
            channel.window = Some(wire(window));
        }
        End::Linked(summary) => {
            channel.accepted = summary.accepted.messages;
            channel.executed = summary.executed;
        }
        End::Unknown => {}
    }
    channel
}

const fn wire(credit: Credit) -> v1::Credit {
    let Credit { bytes, gas } = credit;
    v1::Credit { bytes, gas }
}

fn bound(network: &NetworkInfo) -> v1::DelayBound {
    let bound = credit::delay_bound(network);
    let parameters = &network.parameters;
    let delays = bound.blocks.saturating_mul(DELAYS_PER_BLOCK);
    let delays = delays.saturating_add(bound.message_delays);
    let beacon = bound
        .beacon_blocks
        .saturating_mul(parameters.beacon_interval_ms);
    let small = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    v1::DelayBound {
        message_delays: small(bound.message_delays),
        beacon_blocks: small(bound.beacon_blocks),
        blocks: bound.blocks,
        milliseconds: delays
            .saturating_mul(parameters.delta_ms)
            .saturating_add(beacon),
    }
}

/// Where all of the native denoms is, by a beacon state.
pub(super) fn supply(view: &NodeView, beacon: &StateTree) -> Option<Vec<v1::NativeSupply>> {
    let records: Vec<_> = beacon.iter().collect();
    let records = records.iter().map(|(key, value)| (key, value.as_ref()));
    let counted = count_supply(ChainRef::Beacon, records);
    let supplies = native_supply(beacon, &view.info, &counted)?;
    let entry = |supply: NativeSupply| {
        let issued = view.genesis.supply(supply.denom).unwrap_or_default();
        let is_exact = supply.total() == Some(issued);
        let chains = supply.shards.into_iter();
        let chains = chains.chain([(ChainRef::Beacon, supply.beacon)]);
        v1::NativeSupply {
            denom: supply.denom.to_string(),
            issued: issued.to_string(),
            chains: chains
                .map(|(chain, amount)| v1::ChainSupply {
                    chain: chain.to_string(),
                    amount: amount.to_string(),
                })
                .collect(),
            in_flight: supply.in_flight.to_string(),
            burnt: supply.burnt.to_string(),
            exact: is_exact,
        }
    };
    Some(supplies.into_iter().map(entry).collect())
}
