//! How messages arrive: accepted in order and at once, executed in order as the gas lane allows.
//!
//! Per source there are two cursors, and a rolling root over the accepted batches. Bodies that are
//! accepted but wait for gas are records of the state, so every copy of the state holds them.
//!
//! Sources take turns, one message each. Where the next message of one does not fit what is left of
//! the lane, the others go on without it; the first such source begins in the next block, where its
//! message has the whole lane. Between two blocks that a source waits through, the turn to begin comes
//! nearer to it, so each runs something at least once in as many blocks as there are sources.
//!
//! On the beacon the messages of a fenced source wait: their replies could not go home (see
//! [`crate::fence`]).

use crate::block::{Block, BlockContext};
use crate::credit::{self, charge_of, is_reply};
use crate::fence::is_fenced;
use crate::gas;
use crate::module::Incoming;
use crate::modules::channels::state::{
    InboundState, Turns, inbound_key, inbox_body_key, turns_key,
};
use crate::modules::{CHANNELS, EXECUTOR};
use crate::network::NetworkInfo;
use crate::outbox::{add_flow, flow_of, value_of};
use crate::overlay::BlockOverlay;
use crate::requests::{self, Arrived, Returned};
use crate::transaction::Machine;
use crate::view::decode_record;
use skerry_types::amount::{Amount, Asset};
use skerry_types::codec::{self, Version};
use skerry_types::ids::{ChainRef, Digest, Gas};
use skerry_types::limits;
use skerry_types::message::{Batch, Credit, Flow, Message, MessageId, Payload};
use skerry_types::receipt::{Failure, Receipt, Status, Subject};
use skerry_types::state::Value;
use std::collections::VecDeque;

/// An accepted message of this block.
struct Fresh<'w> {
    wire: &'w [u8],
    message: Option<Message>,
}

/// The channel from one source.
struct Channel<'w> {
    source: ChainRef,
    state: InboundState,
    before: InboundState,
    /// Accepted in this block and not executed yet: the newest of the waiting messages.
    fresh: VecDeque<Fresh<'w>>,
    /// Whether its messages stay where they are: on the beacon, those of a fenced source. Nothing is
    /// sent to it, so what they bring or free could not go home.
    is_held: bool,
}

/// All channels to the executing chain.
pub(crate) struct Inbox<'w> {
    network: &'w NetworkInfo,
    chain: ChainRef,
    /// In order of source.
    channels: Vec<Channel<'w>>,
    turns: Positions,
    turns_before: Positions,
}

/// Positions of the channels that come first.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Positions {
    accept: usize,
    execute: usize,
}

fn decode_message(wire: &[u8]) -> Option<Message> {
    codec::decode(wire, limits::MESSAGE_BYTES_MAX).ok()
}

/// What a destination counts of a channel when it accepts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Accepted {
    /// Everything.
    pub flow: Flow,
    /// What requests and transfers take of the source's credit.
    pub charged: Credit,
    /// Replies.
    pub replies: u64,
}

impl Accepted {
    /// What the state of the destination says.
    pub const fn of(state: &InboundState) -> Self {
        Self {
            flow: state.accepted,
            charged: state.charged,
            replies: state.replies,
        }
    }

    /// The counters after a batch.
    #[must_use]
    pub fn after(self, network: &NetworkInfo, batch: &Batch) -> Self {
        batch.messages.iter().fold(self, |counted, wire| {
            let message = decode_message(wire);
            counted.and(network, wire.len(), message.as_ref())
        })
    }

    fn and(self, network: &NetworkInfo, bytes: usize, message: Option<&Message>) -> Self {
        let flow = flow_of(network, bytes, message);
        let is_reply = message.is_some_and(|message| is_reply(bytes, message));
        Self {
            flow: add_flow(self.flow, &flow),
            charged: self.charged.plus(charge_of(&flow, bytes, message)),
            replies: self.replies.saturating_add(u64::from(is_reply)),
        }
    }
}

impl<'w> Inbox<'w> {
    pub(crate) fn load(overlay: &mut BlockOverlay<'_>, context: &'w BlockContext) -> Self {
        let chain = context.chain;
        let sources = context
            .network
            .chains
            .iter()
            .filter(|source| **source != chain);
        let channels: Vec<Channel<'_>> = sources
            .map(|source| {
                let stored = overlay.get(inbound_key(chain, *source));
                let state: InboundState = stored
                    .and_then(|value| decode_record(&value).ok())
                    .unwrap_or_default();
                Channel {
                    source: *source,
                    state,
                    before: state,
                    fresh: VecDeque::new(),
                    is_held: chain.is_beacon() && is_fenced(overlay, chain, *source),
                }
            })
            .collect();
        let stored = overlay.get(turns_key(chain));
        let turns: Option<Turns> = stored.and_then(|value| decode_record(&value).ok());
        let position = |source: ChainRef| channels.iter().position(|it| it.source == source);
        let position = |source: Option<ChainRef>| source.and_then(position).unwrap_or(0);
        let turns = Positions {
            accept: position(turns.map(|turns| turns.accept)),
            execute: position(turns.map(|turns| turns.execute)),
        };
        Self {
            network: &context.network,
            chain,
            channels,
            turns,
            turns_before: turns,
        }
    }

    /// Accepts a batch that begins at its source's cursor.
    ///
    /// # Errors
    /// When it does not; validation makes such a block invalid, so this is an alarm.
    pub(crate) fn accept(&mut self, batch: &'w Batch) -> Result<(), String> {
        let here = self.chain;
        let count = self.channels.len();
        let (position, channel) = (1_usize..)
            .zip(&mut self.channels)
            .find(|(_, channel)| channel.source == batch.source && batch.destination == here)
            .ok_or_else(|| format!("a batch from {} reached {here}", batch.source))?;
        let cursor = channel.state.accepted_cursor();
        if batch.first != cursor || batch.messages.is_empty() {
            return Err(format!(
                "a batch from {} begins at {}, the cursor is {cursor}",
                batch.source, batch.first
            ));
        }
        self.turns.accept = position.checked_rem(count).unwrap_or(0);
        channel.state.rolling = batch.roll(&channel.state.rolling);
        for wire in &batch.messages {
            let message = decode_message(wire);
            let accepted = Accepted::of(&channel.state);
            let accepted = accepted.and(self.network, wire.len(), message.as_ref());
            channel.state.accepted = accepted.flow;
            channel.state.charged = accepted.charged;
            channel.state.replies = accepted.replies;
            channel.fresh.push_back(Fresh { wire, message });
        }
        Ok(())
    }

    /// Executes waiting messages as far as the lane has room; at least one.
    pub(crate) fn execute(
        &mut self,
        block: &mut Block<'_>,
        machine: &mut Machine,
        transactions: impl FnOnce() -> Gas,
    ) {
        if !self.channels.iter().any(Channel::is_due) {
            return;
        }
        let parameters = &block.space.context.network.parameters;
        let spare = parameters.block_gas.saturating_sub(transactions().get());
        let lane = parameters.inbound_gas.max(spare);
        let count = self.channels.len();
        let first = self.turns.execute;
        let mut turns: VecDeque<usize> = (first..count).chain(0..first).collect();
        let mut used = Gas::ZERO;
        let mut left_out = None;
        while let Some(position) = turns.pop_front() {
            let Some(channel) = self.channels.get_mut(position) else {
                break;
            };
            if !channel.is_due() {
                continue;
            }
            if let Some(gas) = channel.execute_next(block, machine, used, lane) {
                used = used.saturating_add(gas.get());
                turns.push_back(position);
            } else {
                left_out = left_out.or(Some(position));
            }
        }
        self.turns.execute = left_out.unwrap_or(first);
    }

    /// Grants what is free of the window, and writes cursors and turns, and the bodies that wait.
    pub(crate) fn store(mut self, overlay: &mut BlockOverlay<'_>) {
        let running = self.channels.iter_mut().filter(|it| !it.is_held);
        credit::grant(self.network, running.map(|channel| &mut channel.state));
        let source = |position: usize| self.channels.get(position).map(|it| it.source);
        let Positions { accept, execute } = self.turns;
        if self.turns != self.turns_before
            && let (Some(accept), Some(execute)) = (source(accept), source(execute))
        {
            let turns = Turns {
                version: Version,
                accept,
                execute,
            };
            let value = Value::from(codec::encode(&turns));
            overlay.put(turns_key(self.chain), Some(value));
        }
        for channel in self.channels {
            if channel.state == channel.before {
                continue;
            }
            let fresh = u64::try_from(channel.fresh.len()).unwrap_or(u64::MAX);
            let mut position = channel.state.accepted_cursor().saturating_sub(fresh);
            for waiting in channel.fresh {
                let key = inbox_body_key(self.chain, channel.source, position);
                overlay.put(key, Some(Value::from(waiting.wire)));
                position = position.next();
            }
            let value = Value::from(codec::encode(&channel.state));
            overlay.put(inbound_key(self.chain, channel.source), Some(value));
        }
    }
}

impl Channel<'_> {
    /// Whether a block may run a message of it.
    const fn is_due(&self) -> bool {
        self.state.waiting() > 0 && !self.is_held
    }

    /// Executes the oldest waiting message; `None` when the lane has no room for it.
    fn execute_next(
        &mut self,
        block: &mut Block<'_>,
        machine: &mut Machine,
        used: Gas,
        lane: Gas,
    ) -> Option<Gas> {
        let (destination, network) = (block.space.context.chain, &block.space.context.network);
        let sequence = self.state.executed_cursor();
        let id = MessageId {
            source: self.source,
            destination,
            sequence,
        };
        let fresh = u64::try_from(self.fresh.len()).unwrap_or(u64::MAX);
        let is_fresh = self.state.waiting() <= fresh;
        let room = |gas: Gas| used == Gas::ZERO || used.saturating_add(gas.get()) <= lane;
        let (bytes, message) = if is_fresh {
            let next = self.fresh.front()?;
            let flow = flow_of(network, next.wire.len(), next.message.as_ref());
            if !room(Gas::new(flow.gas)) {
                return None;
            }
            let next = self.fresh.pop_front()?;
            (next.wire.len(), next.message)
        } else {
            let key = inbox_body_key(destination, self.source, sequence);
            let slot = block.space.overlay.slot(key);
            let stored = block.space.overlay.value(slot).cloned();
            let wire = stored.as_deref().unwrap_or(&[]);
            let message = decode_message(wire);
            let flow = flow_of(network, wire.len(), message.as_ref());
            if !room(Gas::new(flow.gas)) {
                return None;
            }
            if stored.is_none() {
                block
                    .space
                    .alarms
                    .push(format!("the body of {id} is missing"));
            }
            block.space.overlay.set(slot, None);
            (wire.len(), message)
        };
        let mut flow = flow_of(network, bytes, message.as_ref());
        let gas = Gas::new(flow.gas);
        (flow.sker, flow.stsker, flow.rssker) = (0, 0, 0);
        self.state.executed = add_flow(self.state.executed, &flow);
        let charge = charge_of(&flow, bytes, message.as_ref());
        self.state.freed = self.state.freed.plus(charge);
        let is_reply = message.as_ref().is_some_and(|it| is_reply(bytes, it));
        self.state.answered = self.state.answered.saturating_add(u64::from(is_reply));
        let carried = message
            .as_ref()
            .map_or(0, |it| value_of(&it.payload).count());
        let mut receipt = deliver(block, machine, id, (bytes, gas), message);
        // What nobody asked for takes no more than to find that out, so that it does not hold up what
        // others of its source wait for.
        if is_reply && matches!(receipt.status, Status::Dropped(_)) {
            receipt.gas = gas::message(bytes, carried).min(gas);
        }
        let gas = receipt.gas;
        let totals = &mut block.space.ledger.totals;
        totals.inbound_gas = totals.inbound_gas.saturating_add(gas.get());
        block.receipts.push(receipt);
        Some(gas)
    }
}

/// Executes one message. It cannot fail: what cannot be credited becomes a claim, what makes no
/// sense is dropped and its value counted as destroyed.
fn deliver(
    block: &mut Block<'_>,
    machine: &mut Machine,
    id: MessageId,
    (bytes, gas): (usize, Gas),
    message: Option<Message>,
) -> Receipt {
    let origin = message
        .as_ref()
        .map_or(Digest::ZERO, |message| message.origin);
    let mut receipt = Receipt {
        version: Version,
        subject: Subject::Message { id, origin },
        status: Status::Succeeded,
        gas,
        fee: Amount::ZERO,
        messages: Vec::new(),
        events: Vec::new(),
    };
    let Some(message) = message else {
        receipt.status = dropped("UNDECODABLE", "the bytes are no message".to_owned());
        return receipt;
    };
    let refusal = match &message.payload {
        Payload::Transfer {
            sender,
            recipient,
            assets,
        } => {
            let incoming = Incoming {
                id,
                sender: *sender,
                recipient: *recipient,
                assets,
            };
            match check_transfer(block.space.context, &incoming) {
                Err(refusal) => Some(refusal),
                Ok(()) => match machine.receive(&mut block.space, &incoming, origin) {
                    Ok((status, events)) => {
                        receipt.status = status;
                        receipt.events = events;
                        None
                    }
                    Err(failure) => Some(Status::Dropped(failure)),
                },
            }
        }
        Payload::Request {
            sender,
            beneficiary,
            reply_to,
            hops,
            via,
            gas,
            gas_price,
            prepaid,
            onward_gas,
            bundle,
        } => {
            let arrived = Arrived {
                id,
                bytes,
                origin,
                sender: *sender,
                beneficiary: *beneficiary,
                reply_to: *reply_to,
                hops: *hops,
                via,
                gas: *gas,
                gas_price: *gas_price,
                prepaid: *prepaid,
                onward_gas,
                bundle,
            };
            requests::execute(block, machine, &arrived, &mut receipt).err()
        }
        Payload::Reply {
            request,
            via,
            code,
            gas_left,
            beneficiary,
            assets,
        } => {
            let returned = Returned {
                id,
                origin,
                request: *request,
                via,
                code: *code,
                gas_left: *gas_left,
                beneficiary: *beneficiary,
                assets,
            };
            requests::finish(block, machine, &returned, &mut receipt).err()
        }
        Payload::System(_) => Some(dropped(
            "NOT_AVAILABLE",
            "this kind of message has no use yet".to_owned(),
        )),
    };
    if let Some(status) = refusal {
        receipt.status = status;
        for asset in value_of(&message.payload) {
            block.space.ledger.burn(asset);
        }
    }
    receipt
}

/// Accepted, and of no effect.
pub(crate) fn dropped(code: &str, detail: String) -> Status {
    Status::Dropped(Failure {
        module: EXECUTOR,
        code: code.to_owned(),
        detail,
    })
}

fn check_transfer(context: &BlockContext, incoming: &Incoming<'_>) -> Result<(), Status> {
    let Incoming {
        id,
        sender,
        recipient,
        assets,
    } = incoming;
    let home = context.network.home(recipient);
    if home != context.chain {
        return Err(dropped(
            "WRONG_SHARD",
            format!("{recipient} lives on {home}"),
        ));
    }
    // Objects of the beacon may send; of a shard, only who lives there.
    let sender_home = context.network.home(sender);
    if sender_home != id.source && !id.source.is_beacon() {
        return Err(dropped(
            "SENDER_ELSEWHERE",
            format!(
                "{sender} lives on {sender_home}, the message is from {}",
                id.source
            ),
        ));
    }
    if !assets.is_empty() && is_canonical(assets) {
        Ok(())
    } else {
        Err(Status::Dropped(Failure {
            module: CHANNELS,
            code: "ASSETS_NOT_CANONICAL".to_owned(),
            detail: "assets must be from 1 to 8, above zero, denoms strictly increasing".to_owned(),
        }))
    }
}

/// Whether assets are at most [`limits::ASSETS_MAX`], above zero, denoms strictly increasing.
pub(crate) fn is_canonical(assets: &[Asset]) -> bool {
    assets.len() <= limits::ASSETS_MAX
        && assets.iter().all(|asset| !asset.amount.is_zero())
        && assets
            .windows(2)
            .all(|pair| matches!(pair, [first, second] if first.denom < second.denom))
}

#[cfg(test)]
mod tests;
