//! Credit: no chain is sent more than it can run in bounded time, and nothing waits at home for it.
//!
//! A destination has a *window* of [`limits::WINDOW_BLOCKS`] blocks' lanes of gas and inbound budgets
//! of bytes. What it has granted to all sources and not executed never exceeds that. A quarter is split
//! evenly: each source has its *share* again as soon as what it sent has run. Of the rest each block
//! gives what is free, in equal parts, to the sources that used more than half of what they had when
//! they were last given some. Grants are cumulative counters of the channel summaries, so a source
//! reads its own in the facts of its reference, and spends it by counting what it sends.
//!
//! A source that sends nothing to a destination for [`QUIET`] imports of facts gives back what it has
//! beyond its share: a burst does not keep a window from others for ever.
//!
//! Requests and transfers need credit, at home and at once: without it the transaction that would send
//! them fails. Replies do not: where a request comes from, room for its reply is set aside
//! ([`reply_room`]), and a chain lets no more replies of a peer wait than that. So no
//! ring of full channels can form: what is executed needs nothing that is to be executed first.
//!
//! Rules: DESIGN section 9, credit.

use crate::block::BlockContext;
use crate::error::CallError;
use crate::gas;
use crate::modules::channels::due::DUE_AFTER;
use crate::modules::channels::state::{InboundState, OutboundState, inbound_key, outbound_key};
use crate::modules::crosslinks::state::shard_record_key;
use crate::network::NetworkInfo;
use crate::overlay::BlockOverlay;
use crate::transaction::demands_of;
use crate::view::decode_record;
use crate::views::{facts_beacon_key, facts_shard_key};
use skerry_types::beacon::{Facts, ShardRecord};
use skerry_types::codec;
use skerry_types::ids::ChainRef;
use skerry_types::limits;
use skerry_types::message::{ChannelSummary, Credit, Flow, Message, Payload};
use skerry_types::state::{StateKey, StateRead, Value};
use skerry_types::transaction::TransactionBody;
use std::collections::BTreeMap;

/// The part of the window that is split evenly: a quarter.
const EVEN_DIVISOR: u64 = 4;
/// The part of a lane or budget that the next batch or message may leave unused, being too large for
/// what is left: a quarter.
const WASTE_DIVISOR: u64 = 4;
/// After so many imports of facts without a message a source gives back what exceeds its share.
pub const QUIET: u8 = 8;

/// What a destination grants to all sources together, at most, without having executed it.
pub fn window(network: &NetworkInfo) -> Credit {
    per_block(network).times(limits::WINDOW_BLOCKS)
}

/// What each source has at a destination at least, once all that it sent has run.
pub fn share(network: &NetworkInfo) -> Credit {
    let sources = network.chain_count().saturating_sub(1).max(1);
    window(network).over(EVEN_DIVISOR).over(sources)
}

/// What one block accepts and executes, at most.
fn per_block(network: &NetworkInfo) -> Credit {
    Credit {
        bytes: u64::try_from(limits::INBOUND_BYTES_MAX).unwrap_or(u64::MAX),
        gas: network.parameters.inbound_gas.get(),
    }
}

/// What one reply takes at most where it arrives.
fn per_reply() -> Credit {
    Credit {
        bytes: u64::try_from(limits::REPLY_BYTES).unwrap_or(u64::MAX),
        gas: gas::reply().get(),
    }
}

/// How many requests of one chain may wait for their replies: as many as there is room set aside for,
/// at least one.
pub fn reply_room(network: &NetworkInfo) -> u64 {
    let (room, each) = (per_block(network).times(limits::REPLY_BLOCKS), per_reply());
    let by = |room: u64, each: u64| room.checked_div(each).unwrap_or(0);
    by(room.bytes, each.bytes)
        .min(by(room.gas, each.gas))
        .max(1)
}

/// Whether a message is a reply of the size that room is set aside for. An honest chain sends no larger
/// one.
pub(crate) fn is_reply(bytes: usize, message: &Message) -> bool {
    match &message.payload {
        Payload::Reply { assets, .. } => {
            bytes <= limits::REPLY_BYTES && assets.len() <= limits::ASSETS_MAX
        }
        _ => false,
    }
}

/// What a message takes of the credit of its channel; nothing, where it is a reply.
pub fn charge_of(flow: &Flow, bytes: usize, message: Option<&Message>) -> Credit {
    if message.is_some_and(|message| is_reply(bytes, message)) {
        return Credit::ZERO;
    }
    Credit {
        bytes: flow.bytes,
        gas: flow.gas,
    }
}

/// How long it takes at most until a message that has left is executed, whatever else is under way:
/// see [`delay_bound`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DelayBound {
    /// Message delays until the source's block is final and reported.
    pub message_delays: u64,
    /// Working blocks of the beacon: the cross-link, then until what it shows is due.
    pub beacon_blocks: u64,
    /// Working blocks of the destination that run everything before it.
    pub blocks: u64,
}

/// The bound on the delay of any message, computed from parameters alone, where no committee lies.
///
/// All that may wait at a destination before it is the window and the replies that room is set aside
/// for. A block accepts due batches until the next does not fit, and executes messages until none
/// fits, so it uses at least three quarters of its budget of bytes and of its lane. A message is first
/// accepted, then executed. With f Byzantine leaders in a row come f leader timeouts.
pub fn delay_bound(network: &NetworkInfo) -> DelayBound {
    let replies = per_reply().times(reply_room(network));
    let waiting = window(network).plus(replies);
    let block = per_block(network);
    let used = block.less(block.over(WASTE_DIVISOR));
    let blocks = |waiting: u64, each: u64| waiting.div_ceil(each.max(1));
    let bytes = blocks(waiting.bytes, used.bytes);
    let gas = blocks(waiting.gas, used.gas);
    DelayBound {
        message_delays: 5,
        beacon_blocks: DUE_AFTER.saturating_add(3),
        blocks: bytes.saturating_add(gas),
    }
}

/// At a destination, after a block: gives what is free of the window to the sources that need more.
/// `channels` are all that may run; what a fenced source holds is left out.
pub(crate) fn grant<'c>(
    network: &NetworkInfo,
    channels: impl Iterator<Item = &'c mut InboundState>,
) {
    let share = share(network);
    let mut out = Credit::ZERO;
    let mut asking = Vec::new();
    for channel in channels {
        out = out.plus(channel.outstanding(share));
        if channel.is_asking(share) {
            asking.push(channel);
        }
    }
    let free = window(network).less(out);
    let count = u64::try_from(asking.len()).unwrap_or(u64::MAX);
    let each = free.over(count);
    if each == Credit::ZERO {
        return;
    }
    for channel in asking {
        channel.granted = channel.granted(share).plus(each);
        channel.ask_after_half(share);
    }
}

/// At a destination: takes note of what a source gave back. What it cannot have had, since it was never
/// granted or has been used, it did not give back, whatever its committee says.
pub(crate) fn note_returned(channel: &mut InboundState, network: &NetworkInfo, returned: Credit) {
    let share = share(network);
    let unused = channel.granted(share).less(channel.charged);
    if !unused.covers(returned) || !returned.covers(channel.returned) {
        return;
    }
    channel.returned = returned;
    let half = channel.charged.plus(channel.available(share).over(2));
    channel.asks_at = channel.asks_at.least(half);
}

/// At a source, when facts are imported: gives back what a destination granted beyond the share, when
/// nothing was sent to it for long.
pub(crate) fn give_back(channel: &mut OutboundState, network: &NetworkInfo, granted: Credit) {
    let left = channel.left(granted);
    let over = left.less(share(network));
    if over == Credit::ZERO {
        channel.quiet = 0;
        return;
    }
    if channel.noted != channel.used.bytes {
        (channel.noted, channel.quiet) = (channel.used.bytes, 0);
        return;
    }
    channel.quiet = channel.quiet.saturating_add(1);
    if channel.quiet >= QUIET {
        channel.returned = channel.returned.plus(over);
        channel.quiet = 0;
    }
}

/// What `destination` has granted to `here`, by the summaries of the channels of `destination`.
pub fn granted_in(network: &NetworkInfo, summaries: &[ChannelSummary], here: ChainRef) -> Credit {
    let own = summaries.iter().find(|summary| summary.peer == here);
    own.map_or_else(|| share(network), |summary| summary.granted)
}

/// Reads a record of the state that a block runs on.
pub(crate) type Look<'l> = dyn FnMut(StateKey) -> Option<Value> + 'l;

/// Where something is to be sent from.
#[derive(Clone, Copy)]
pub(crate) struct Scene<'s> {
    pub(crate) network: &'s NetworkInfo,
    pub(crate) here: ChainRef,
}

impl<'s> Scene<'s> {
    pub(crate) fn of(context: &'s BlockContext) -> Self {
        Self {
            network: &context.network,
            here: context.chain,
        }
    }
}

fn granted_by(look: &mut Look<'_>, scene: Scene<'_>, destination: ChainRef) -> Credit {
    let Scene { network, here } = scene;
    let summaries = if destination.is_beacon() {
        let stored = look(facts_beacon_key(here));
        stored.and_then(|it| decode_record::<Vec<ChannelSummary>>(&it).ok())
    } else {
        let key = if here.is_beacon() {
            shard_record_key(destination)
        } else {
            facts_shard_key(here, destination)
        };
        let stored = look(key).and_then(|it| decode_record::<ShardRecord>(&it).ok());
        stored.map(|record| record.channels)
    };
    granted_in(network, &summaries.unwrap_or_default(), here)
}

fn outbound(look: &mut Look<'_>, here: ChainRef, destination: ChainRef) -> OutboundState {
    let stored = look(outbound_key(here, destination));
    let state = stored.and_then(|it| decode_record(&it).ok());
    state.unwrap_or_default()
}

/// What a transaction would send to one destination, as its plan says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    /// Credit that its messages take.
    pub credit: Credit,
    /// Requests among them, for whose replies there must be room here.
    pub requests: u64,
    /// How often the chain is on their routes.
    pub passing: u64,
}

impl Demand {
    pub(crate) const fn plus(self, other: Self) -> Self {
        Self {
            credit: self.credit.plus(other.credit),
            requests: self.requests.saturating_add(other.requests),
            passing: self.passing.saturating_add(other.passing),
        }
    }
}

/// Sums demands by destination.
pub(crate) fn add_demand(
    demands: &mut Vec<(ChainRef, Demand)>,
    destination: ChainRef,
    demand: Demand,
) {
    match demands.iter_mut().find(|(chain, _)| *chain == destination) {
        Some((_, sum)) => *sum = sum.plus(demand),
        None => demands.push((destination, demand)),
    }
}

/// Requests without reply.
#[derive(Clone, Debug)]
struct Open {
    /// By where they were sent first.
    by_destination: BTreeMap<ChainRef, u64>,
    /// By the chains on their routes.
    passing: BTreeMap<ChainRef, u64>,
    room: u64,
    /// What each destination may have at least.
    even: u64,
}

impl Open {
    fn load(look: &mut Look<'_>, scene: Scene<'_>) -> Self {
        let Scene { network, here } = scene;
        let peers = network.chains.iter().filter(|chain| **chain != here);
        let room = reply_room(network);
        let count = network.chain_count().saturating_sub(1).max(1);
        let even = room.checked_div(EVEN_DIVISOR.saturating_mul(count));
        let states = peers.map(|peer| (*peer, outbound(look, here, *peer)));
        let states: Vec<(ChainRef, OutboundState)> = states.collect();
        let first = states.iter().map(|(peer, state)| (*peer, state.awaiting));
        let passing = states.iter().map(|(peer, state)| (*peer, state.passing));
        Self {
            by_destination: first.collect(),
            passing: passing.collect(),
            room,
            even: even.unwrap_or(0),
        }
    }

    /// Whether so much more finds room. A chain that never answers keeps at most half of it, wherever it
    /// is on the routes, so that the others go on.
    fn has_room(&self, chain: ChainRef, more: Demand) -> bool {
        let passing = self.passing.get(&chain).copied().unwrap_or(0);
        let passing = passing.saturating_add(more.passing);
        if more.passing > 0 && passing > self.room.div_ceil(2).max(self.even) {
            return false;
        }
        let open = self.of(chain).saturating_add(more.requests);
        if more.requests == 0 || open <= self.even {
            return true;
        }
        let over = |open: u64| open.saturating_sub(self.even);
        let others = self.by_destination.iter();
        let others = others.filter(|(other, _)| **other != chain);
        let all = others.fold(over(open), |sum, (_, open)| sum.saturating_add(over(*open)));
        let count = u64::try_from(self.by_destination.len()).unwrap_or(u64::MAX);
        all <= self.room.saturating_sub(self.even.saturating_mul(count))
    }

    fn of(&self, destination: ChainRef) -> u64 {
        let open = self.by_destination.get(&destination);
        open.copied().unwrap_or(0)
    }
}

/// What a block may still send. It is decided by what plans *declare*, in the order of the block, also
/// for transactions that send less or fail: so the decisions need no order of execution, and one more
/// failed transaction does no harm to those after it beyond the block.
#[derive(Clone, Debug, Default)]
pub(crate) struct Book {
    left: BTreeMap<ChainRef, Credit>,
    open: Option<Open>,
}

impl Book {
    fn left(&mut self, look: &mut Look<'_>, scene: Scene<'_>, destination: ChainRef) -> Credit {
        let entry = self.left.entry(destination);
        *entry.or_insert_with(|| {
            let granted = granted_by(look, scene, destination);
            outbound(look, scene.here, destination).left(granted)
        })
    }

    /// Takes what a transaction declares, all or nothing.
    ///
    /// # Errors
    /// Names the destination that has no room, or the request for whose reply there is none here.
    pub(crate) fn take(
        &mut self,
        look: &mut Look<'_>,
        scene: Scene<'_>,
        demands: &[(ChainRef, Demand)],
    ) -> Result<(), CallError> {
        for (destination, demand) in demands {
            let left = self.left(look, scene, *destination);
            if !left.covers(demand.credit) {
                return Err(CallError::Congested {
                    destination: *destination,
                    needed: demand.credit,
                    left,
                });
            }
            if demand.requests > 0 || demand.passing > 0 {
                let open = &*self.open.get_or_insert_with(|| Open::load(look, scene));
                if !open.has_room(*destination, *demand) {
                    return Err(CallError::RepliesFull {
                        destination: *destination,
                        open: open.of(*destination),
                        limit: open.room,
                    });
                }
            }
        }
        for (destination, demand) in demands {
            if let Some(left) = self.left.get_mut(destination) {
                *left = left.less(demand.credit);
            }
            if let Some(open) = &mut self.open {
                let first = open.by_destination.entry(*destination).or_default();
                *first = first.saturating_add(demand.requests);
                let passing = open.passing.entry(*destination).or_default();
                *passing = passing.saturating_add(demand.passing);
            }
        }
        Ok(())
    }

    /// Whether all of a block's demands find room together, so that each does in any order.
    pub(crate) fn covers_all(
        &self,
        look: &mut Look<'_>,
        scene: Scene<'_>,
        demands: &[(ChainRef, Demand)],
    ) -> bool {
        let mut book = self.clone();
        let mut by_destination = demands.chunks(1);
        by_destination.all(|demand| book.take(look, scene, demand).is_ok())
    }
}

/// What a block to be may send: which transactions it had better leave for later.
pub struct Forecast<'s> {
    book: Book,
    scene: Scene<'s>,
    state: &'s dyn StateRead,
}

impl<'s> Forecast<'s> {
    /// Of a block of `here` on a state.
    pub fn new(network: &'s NetworkInfo, here: ChainRef, state: &'s dyn StateRead) -> Self {
        Self {
            book: Book::default(),
            scene: Scene { network, here },
            state,
        }
    }

    /// Learns what the facts show that the block will import.
    pub fn import(&mut self, facts: &Facts) {
        let Scene { network, here } = self.scene;
        let shards = facts.shards.iter().filter(|record| record.chain != here);
        let shards = shards.map(|record| (record.chain, &record.channels));
        for (peer, summaries) in shards.chain([(ChainRef::Beacon, &facts.beacon_channels)]) {
            let granted = granted_in(network, summaries, here);
            let channel = outbound(&mut |key| self.state.get(&key), here, peer);
            self.book.left.insert(peer, channel.left(granted));
        }
    }

    /// Takes the credit that a transaction needs; false where there is not enough of it left.
    pub fn admits(&mut self, body: &TransactionBody) -> bool {
        let demands = demands_of(self.scene.network, self.scene.here, body);
        let state = self.state;
        let taken = self
            .book
            .take(&mut |key| state.get(&key), self.scene, &demands);
        taken.is_ok()
    }
}

/// Writes what a peer gave back and what this chain gives back, when it learns of `summaries` of the
/// peer's channels.
pub(crate) fn learn(
    overlay: &mut BlockOverlay<'_>,
    context: &BlockContext,
    peer: ChainRef,
    summaries: &[ChannelSummary],
) {
    let (here, network) = (context.chain, &*context.network);
    let Some(summary) = summaries.iter().find(|summary| summary.peer == here) else {
        return;
    };
    let key = inbound_key(here, peer);
    let stored = overlay.get(key.clone());
    let before: InboundState = stored
        .and_then(|it| decode_record(&it).ok())
        .unwrap_or_default();
    if before.returned != summary.returned {
        let mut channel = before;
        note_returned(&mut channel, network, summary.returned);
        overlay.put(key, Some(Value::from(codec::encode(&channel))));
    }
    let key = outbound_key(here, peer);
    let before = outbound(&mut |key| overlay.get(key), here, peer);
    let mut channel = before;
    give_back(&mut channel, network, summary.granted);
    if channel != before {
        overlay.put(key, Some(Value::from(codec::encode(&channel))));
    }
}

#[cfg(test)]
mod tests;
