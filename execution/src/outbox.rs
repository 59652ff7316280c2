//! How messages leave: numbered as they are emitted, cut into batches at the end of the block.
//!
//! The record of each batch enters the state, where its proof leads; the bodies are the caller's
//! to keep until the batch is acknowledged.

use crate::credit::{charge_of, is_reply, reply_room};
use crate::gas;
use crate::modules::channels::state::{OutboundState, batch_record_key, outbound_key};
use crate::network::NetworkInfo;
use crate::overlay::BlockOverlay;
use crate::requests;
use crate::view::decode_record;
use skerry_types::amount::{Amount, Asset};
use skerry_types::codec::{self, Version};
use skerry_types::ids::{ChainRef, Denom, Digest, Gas, Height};
use skerry_types::limits;
use skerry_types::message::{Batch, BatchRecord, Credit, Flow, Message, MessageId, Payload};
use skerry_types::state::Value;
use std::collections::BTreeMap;

/// The assets that a payload carries.
fn assets_of(payload: &Payload) -> &[Asset] {
    match payload {
        Payload::Transfer { assets, .. } | Payload::Reply { assets, .. } => assets,
        Payload::Request { bundle, .. } => &bundle.assets,
        Payload::System(_) => &[],
    }
}

/// All value that a payload carries: its assets, and the `sker` that was paid for gas of other chains.
pub fn value_of(payload: &Payload) -> impl Iterator<Item = Asset> + '_ {
    let amount = match payload {
        Payload::Request { prepaid, .. } => *prepaid,
        Payload::Reply { gas_left, .. } => *gas_left,
        Payload::Transfer { .. } | Payload::System(_) => Amount::ZERO,
    };
    let denom = Denom::SKER;
    let paid = (!amount.is_zero()).then_some(Asset { denom, amount });
    assets_of(payload).iter().copied().chain(paid)
}

/// What one message adds to the counters of its channel: source and destination compute the same. A
/// request that declares more gas than one may need costs only its arrival: it is dropped.
pub fn flow_of(network: &NetworkInfo, bytes: usize, message: Option<&Message>) -> Flow {
    let payload = message.map(|message| &message.payload);
    let assets = payload.map_or(&[][..], assets_of);
    let arrival = gas::message(bytes, assets.len());
    let gas = match payload {
        Some(Payload::Request { gas, hops, .. }) => {
            requests::lane(network, *hops, (arrival, *gas)).unwrap_or(arrival)
        }
        Some(Payload::Reply { .. }) => gas::reply().max(arrival),
        _ => arrival,
    };
    let mut flow = Flow {
        messages: 1,
        bytes: u64::try_from(bytes).unwrap_or(u64::MAX),
        gas: gas.get(),
        ..Flow::default()
    };
    for asset in payload.into_iter().flat_map(value_of) {
        let sum = match asset.denom {
            Denom::SKER => &mut flow.sker,
            Denom::STSKER => &mut flow.stsker,
            Denom::RSSKER => &mut flow.rssker,
            _ => continue,
        };
        *sum = sum.saturating_add(asset.amount.get());
    }
    flow
}

/// Sum of two flows. Every counter stays at the largest number, which is out of reach: the supply
/// of a native denom would have to cross the channel 2^64 times.
#[must_use]
pub const fn add_flow(left: Flow, right: &Flow) -> Flow {
    Flow {
        messages: left.messages.saturating_add(right.messages),
        bytes: left.bytes.saturating_add(right.bytes),
        gas: left.gas.saturating_add(right.gas),
        sker: left.sker.saturating_add(right.sker),
        stsker: left.stsker.saturating_add(right.stsker),
        rssker: left.rssker.saturating_add(right.rssker),
    }
}

/// Whether no counter of `lower` is above that of `upper`.
pub const fn within(lower: &Flow, upper: &Flow) -> bool {
    lower.messages <= upper.messages
        && lower.bytes <= upper.bytes
        && lower.gas <= upper.gas
        && lower.sker <= upper.sker
        && lower.stsker <= upper.stsker
        && lower.rssker <= upper.rssker
}

fn stored(
    overlay: &mut BlockOverlay<'_>,
    source: ChainRef,
    destination: ChainRef,
) -> OutboundState {
    let stored = overlay.get(outbound_key(source, destination));
    let state = stored.and_then(|value| decode_record(&value).ok());
    state.unwrap_or_default()
}

/// A message as it leaves, and what it takes.
#[derive(Debug)]
pub(crate) struct Letter {
    wire: Vec<u8>,
    flow: Flow,
    /// What it takes of the destination's credit.
    pub(crate) charge: Credit,
    /// Whether room was set aside for it at its destination.
    is_reply: bool,
}

impl Letter {
    pub(crate) fn new(network: &NetworkInfo, origin: Digest, payload: Payload) -> Self {
        let message = Message {
            version: Version,
            origin,
            payload,
        };
        let wire = codec::encode(&message);
        let flow = flow_of(network, wire.len(), Some(&message));
        let charge = charge_of(&flow, wire.len(), Some(&message));
        let is_reply = is_reply(wire.len(), &message);
        Self {
            wire,
            flow,
            charge,
            is_reply,
        }
    }
}

/// Messages of one block to one destination.
struct Pending {
    before: OutboundState,
    state: OutboundState,
    batches: Vec<(Batch, BatchRecord)>,
    /// Replies in the last batch.
    replies: u64,
}

/// Messages of one block.
pub(crate) struct Outbox {
    chain: ChainRef,
    /// Most replies in one batch: as many as a destination lets wait, so that a batch finds room there
    /// once those before it have run, whoever made this chain answer so often.
    replies_max: u64,
    pending: BTreeMap<ChainRef, Pending>,
}

impl Outbox {
    pub(crate) fn new(network: &NetworkInfo, chain: ChainRef) -> Self {
        Self {
            chain,
            replies_max: reply_room(network),
            pending: BTreeMap::new(),
        }
    }

    fn pending(&mut self, overlay: &mut BlockOverlay<'_>, destination: ChainRef) -> &mut Pending {
        let source = self.chain;
        let entry = self.pending.entry(destination);
        entry.or_insert_with(|| {
            let before = stored(overlay, source, destination);
            Pending {
                before,
                state: before,
                batches: Vec::new(),
                replies: 0,
            }
        })
    }

    /// Counts a request on its route, which waits for its reply from now on.
    pub(crate) fn ask(&mut self, overlay: &mut BlockOverlay<'_>, route: &[ChainRef]) {
        if let Some(first) = route.first() {
            let state = &mut self.pending(overlay, *first).state;
            state.awaiting = state.awaiting.saturating_add(1);
        }
        for chain in route {
            let state = &mut self.pending(overlay, *chain).state;
            state.passing = state.passing.saturating_add(1);
        }
    }

    /// Counts the reply to a request on its route: it waits no longer.
    pub(crate) fn answered(&mut self, overlay: &mut BlockOverlay<'_>, route: &[ChainRef]) {
        if let Some(first) = route.first() {
            let state = &mut self.pending(overlay, *first).state;
            state.awaiting = state.awaiting.saturating_sub(1);
        }
        for chain in route {
            let state = &mut self.pending(overlay, *chain).state;
            state.passing = state.passing.saturating_sub(1);
        }
    }

    /// Writes the counters as they are now, for what looks them up in the state.
    pub(crate) fn flush(&self, overlay: &mut BlockOverlay<'_>) {
        for (destination, pending) in &self.pending {
            if pending.state != pending.before {
                let key = outbound_key(self.chain, *destination);
                overlay.put(key, Some(Value::from(codec::encode(&pending.state))));
            }
        }
    }

    /// The id of the next message to a destination.
    pub(crate) fn next(
        &mut self,
        overlay: &mut BlockOverlay<'_>,
        destination: ChainRef,
    ) -> MessageId {
        let source = self.chain;
        let sequence = self.pending(overlay, destination).state.next();
        MessageId {
            source,
            destination,
            sequence,
        }
    }

    /// Numbers a message and keeps it for its batch.
    pub(crate) fn send(
        &mut self,
        overlay: &mut BlockOverlay<'_>,
        destination: ChainRef,
        letter: Letter,
    ) -> MessageId {
        let (source, replies_max) = (self.chain, self.replies_max);
        let pending = self.pending(overlay, destination);
        let id = MessageId {
            source,
            destination,
            sequence: pending.state.next(),
        };
        pending.state.sent = add_flow(pending.state.sent, &letter.flow);
        pending.state.used = pending.state.used.plus(letter.charge);
        pending.push(id, letter, replies_max);
        id
    }

    /// Writes cursors and batch records.
    pub(crate) fn store(&mut self, overlay: &mut BlockOverlay<'_>, height: Height) {
        self.flush(overlay);
        for (destination, pending) in &mut self.pending {
            for (batch, record) in &mut pending.batches {
                record.root = batch.root();
                record.height = height;
                let key = batch_record_key(self.chain, *destination, batch.first);
                overlay.put(key, Some(Value::from(codec::encode(record))));
            }
        }
    }

    /// The batches, in order of destination and position.
    pub(crate) fn into_batches(self) -> Vec<Batch> {
        let pending = self.pending.into_values();
        pending
            .flat_map(|it| it.batches.into_iter().map(|(batch, _)| batch))
            .collect()
    }
}

impl Pending {
    /// Appends to the last batch, or begins another when it would grow beyond the limits.
    fn push(&mut self, id: MessageId, letter: Letter, replies_max: u64) {
        let Letter {
            wire,
            flow,
            is_reply,
            ..
        } = letter;
        let limit = u64::try_from(limits::BATCH_BYTES_MAX).unwrap_or(u64::MAX);
        let replies = u64::from(is_reply);
        let fits = self.batches.last().is_some_and(|(batch, record)| {
            record.bytes.saturating_add(flow.bytes) <= limit
                && batch.messages.len() < limits::BATCH_MESSAGES_MAX
                && self.replies.saturating_add(replies) <= replies_max
        });
        if !fits {
            let MessageId {
                source,
                destination,
                sequence: first,
            } = id;
            let batch = Batch {
                version: Version,
                source,
                destination,
                first,
                messages: Vec::new(),
            };
            let record = BatchRecord {
                root: Digest::ZERO,
                count: 0,
                bytes: 0,
                gas: Gas::ZERO,
                height: Height::ZERO,
            };
            self.batches.push((batch, record));
            self.replies = 0;
        }
        self.replies = self.replies.saturating_add(replies);
        if let Some((batch, record)) = self.batches.last_mut() {
            batch.messages.push(wire);
            record.count = record.count.saturating_add(1);
            record.bytes = record.bytes.saturating_add(flow.bytes);
            record.gas = record.gas.saturating_add(flow.gas);
        }
    }
}
