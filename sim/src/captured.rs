//! A shard whose whole committee is bought, and what it sends to the others.
//!
//! All nodes execute that shard by the same other rules, as its members agreed to: its blocks are final,
//! its cross-links stand, its proofs hold. One client is in league with them. What that sends to other
//! chains leaves as an honest message and is exchanged for another before the block's result is known:
//! of a sender that lives elsewhere, of value that nobody paid, bytes that are no message, replies that
//! nobody asked for, requests that make others send such replies. The others must drop what is not
//! for that shard to say, count its value as destroyed, keep their cursors, and go on.
//!
//! In the end some send what no block may hold, however well it is proven: what is too large, more than
//! was granted, more than the shard owns. That may stop the channel, and nothing else.

use crate::counts::Counts;
use crate::plan::{BALANCE, Captured, Choke, Plan};
use crate::random::Random;
use skerry::chain::jobs::Executed;
use skerry_execution::credit::{reply_room, window};
use skerry_execution::modules::STAKING;
use skerry_execution::modules::staking::calls::StakingCall;
use skerry_execution::network::NetworkInfo;
use skerry_execution::outbox::flow_of;
use skerry_execution::requests::gas_max;
use skerry_execution::views::{self, batch_record_key, outbound_key};
use skerry_storage::StateTree;
use skerry_types::amount::{Amount, Asset};
use skerry_types::codec::{decode, encode};
use skerry_types::crypto::ed25519::SecretKey;
use skerry_types::ids::{Address, ChainRef, Digest, Gas, Height, Sequence, ValidatorId};
use skerry_types::limits::{BATCH_MESSAGES_MAX, MESSAGE_BYTES_MAX};
use skerry_types::message::{Batch, Flow, Message, MessageId, Payload, channels_root};
use skerry_types::receipt::{Receipt, Status, Subject};
use skerry_types::state::{Value, Write};
use skerry_types::transaction::{Bundle, Nonce, Operation, Target};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Transactions of the accomplice, of 1000 of all that clients do.
pub const SHARE: u64 = 250;
/// What a forged transfer carries beyond what was paid.
const FORGED: u128 = 3_000_000;
/// What is exported at once: some hundredths of what a shard holds, more than others accept of it before
/// its cross-link.
const EXPORTED: u128 = BALANCE / 5;
/// More than any shard holds.
const PLUNDERED: u128 = BALANCE * 1_000;

/// What becomes of an honest message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trick {
    /// A transfer of somebody who lives at the destination.
    Stranger,
    /// A transfer to somebody who lives at the source.
    Misrouted,
    /// A transfer of more than was paid, and of no more than the shard holds.
    Forged,
    /// A transfer of so much that it has to wait for the cross-link, which nobody paid either.
    Exported,
    /// A transfer of one denom twice.
    Unsorted,
    /// Bytes that are no message.
    Poison,
    /// A reply that nobody waits for.
    Unasked,
    /// A request that says it came through other chains.
    Onward,
    /// A request that says it came from another shard, which is made to get an answer.
    Relayed,
    /// A request of somebody who lives at the destination.
    Posing,
    /// A request for all the gas there is.
    Greedy,
    /// A message between modules of the system.
    System,
    /// What no block may hold.
    Last(Choke),
}

/// By what is attached less a multiple of this, the committee knows what it is to do.
const CODES: u128 = 32;
/// The first number that tells of something that no block may hold.
const FIRST_CHOKE: usize = 16;

impl Trick {
    /// Those after which the channel goes on.
    const USUAL: [Self; 12] = [
        Self::Stranger,
        Self::Misrouted,
        Self::Forged,
        Self::Exported,
        Self::Unsorted,
        Self::Poison,
        Self::Unasked,
        Self::Onward,
        Self::Relayed,
        Self::Posing,
        Self::Greedy,
        Self::System,
    ];

    const fn is_choke(self) -> bool {
        matches!(self, Self::Last(_))
    }

    /// By what the accomplice attaches, the committee knows what it is to do.
    fn told_by(amount: u128) -> Self {
        let Ok(number) = usize::try_from(amount % CODES) else {
            return Self::Poison;
        };
        let choke = number.checked_sub(FIRST_CHOKE);
        let choke = choke.and_then(|number| Choke::ALL.get(number));
        let usual = Self::USUAL.get(number).copied();
        choke.map_or(usual.unwrap_or(Self::Poison), |choke| Self::Last(*choke))
    }

    /// An amount that tells it.
    fn amount(self, random: &mut Random) -> u128 {
        let number = match self {
            Self::Last(choke) => {
                let number = Choke::ALL.iter().position(|it| *it == choke);
                number.unwrap_or(0).saturating_add(FIRST_CHOKE)
            }
            usual => Self::USUAL.iter().position(|it| *it == usual).unwrap_or(0),
        };
        let number = u128::try_from(number).unwrap_or(0);
        (u128::from(random.below(30_000)) + 1) * CODES + number
    }

    /// Whether value comes of it: what a shard's own people send is its business, as long as it has so
    /// much. Objects of the beacon take no transfers.
    const fn is_credited(self, destination: ChainRef) -> bool {
        matches!(self, Self::Forged | Self::Exported) && !destination.is_beacon()
    }

    /// Whether it runs as if it were honest: nothing shows at its destination that nobody has asked for
    /// it, but where its answer arrives.
    const fn is_answered(self, destination: ChainRef) -> bool {
        matches!(self, Self::Relayed) && destination.is_beacon()
    }
}

/// The client in league with the committee.
pub struct Accomplice {
    captured: Captured,
    address: Address,
    /// Somebody at each other shard, who is no other client.
    friends: Vec<Address>,
    /// Each transaction has a stream of its own, so that none waits for one that is lost.
    stream: u16,
    sent: BTreeMap<Digest, Trick>,
    random: Random,
}

/// A transaction to sign.
pub struct Mischief {
    /// Who signs.
    pub key: Arc<SecretKey>,
    /// Who sends.
    pub sender: Address,
    /// Where.
    pub home: ChainRef,
    /// The number.
    pub nonce: Nonce,
    /// The recipient of a transfer.
    pub to: Address,
    /// What is attached.
    pub amount: u128,
    /// A request instead of a transfer.
    pub request: Option<Operation>,
    trick: Trick,
}

impl Accomplice {
    /// That of a plan, if a shard is captured.
    pub fn of(plan: &Plan, random: Random) -> Option<Self> {
        let captured = plan.captured.clone()?;
        let address = Address::of_ed25519(&captured.key.public_key());
        Some(Self {
            address,
            friends: captured.friends.clone(),
            captured,
            stream: 0,
            sent: BTreeMap::new(),
            random,
        })
    }

    /// What it sends now, if it does.
    pub fn act(&mut self) -> Option<Mischief> {
        if !self.random.chance(SHARE) {
            return None;
        }
        let trick = *self.random.pick(&Trick::USUAL)?;
        // With two shards, an answer for another can be made by the beacon alone.
        let asks = self.random.chance(250) || trick == Trick::Relayed;
        self.mischief(trick, asks)
    }

    /// The last that it sends.
    pub fn choke(&mut self) -> Option<Mischief> {
        let choke = self.captured.choke?;
        self.mischief(Trick::Last(choke), false)
    }

    fn mischief(&mut self, trick: Trick, asks: bool) -> Option<Mischief> {
        let to = *self.random.pick(&self.friends)?;
        let amount = trick.amount(&mut self.random);
        // Of a validator that there is not: whatever reaches the beacon as it was sent comes home.
        let call = StakingCall::TopUp {
            validator: ValidatorId::new(u32::MAX),
            amount: Amount::new(amount),
        };
        let request = asks.then(|| Operation {
            module: STAKING,
            call: call.to_bytes(),
        });
        let stream = self.stream.checked_add(1)?;
        self.stream = stream;
        let sequence = 0;
        Some(Mischief {
            key: self.captured.key.clone(),
            sender: self.address,
            home: self.captured.shard,
            nonce: Nonce { stream, sequence },
            to,
            amount,
            request,
            trick,
        })
    }

    /// It has sent a transaction.
    pub fn on_sent(&mut self, id: Digest, mischief: &Mischief) {
        self.sent.insert(id, mischief.trick);
    }

    /// Whether a receipt is about what it sent; then it must say what the rules make of it.
    ///
    /// # Errors
    /// When they make something else of it.
    pub fn judge(&self, receipt: &Receipt, counts: &mut Counts) -> Result<bool, String> {
        let (id, origin) = match receipt.subject {
            Subject::Transaction(id) => return Ok(self.sent.contains_key(&id)),
            Subject::Message { id, origin } => (id, origin),
        };
        let trick = match self.sent.get(&origin) {
            Some(trick) => *trick,
            None if origin == Digest::ZERO && id.source == self.captured.shard => Trick::Poison,
            None => return Ok(false),
        };
        if id.destination == self.captured.shard {
            // A reply comes home, to where nothing is honest.
            return Ok(true);
        }
        if id.source != self.captured.shard {
            counts.note("replies that a captured shard forged a request for");
            return match receipt.status {
                Status::Dropped(_) => Ok(true),
                _ => Err(format!("a reply to {trick:?}, {id}: {:?}", receipt.status)),
            };
        }
        let fits = match &receipt.status {
            Status::Succeeded if trick.is_answered(id.destination) => return Ok(true),
            Status::Succeeded => trick.is_credited(id.destination),
            Status::Dropped(_) => {
                let counts = trick.is_credited(id.destination) || trick.is_answered(id.destination);
                !counts && !trick.is_choke()
            }
            _ => false,
        };
        if !fits {
            return Err(format!(
                "{trick:?} of a captured shard, message {id}: {:?}",
                receipt.status
            ));
        }
        counts.note(if trick.is_credited(id.destination) {
            "forged value within what its shard holds"
        } else {
            "messages of a captured shard dropped"
        });
        Ok(true)
    }
}

/// What the bought committee makes of a block's result.
pub fn corrupt(
    executed: &mut Executed,
    captured: &Captured,
    network: &NetworkInfo,
    counts: &mut Counts,
) {
    let accomplice = Address::of_ed25519(&captured.key.public_key());
    let mut outgoing = std::mem::take(&mut executed.outgoing);
    let mut written = Vec::new();
    for batch in &mut outgoing {
        let exchanged = exchange(batch, (accomplice, captured), network, counts);
        let writes = exchanged.and_then(|flows| record(&executed.state, batch, &flows));
        if let Some(writes) = writes {
            executed.state = executed.state.apply(&writes.iter().cloned().collect());
            written.extend(writes);
        }
    }
    executed.outgoing = outgoing;
    if written.is_empty() {
        return;
    }
    let changes = std::mem::take(&mut executed.changes);
    executed.changes = changes.into_iter().chain(written).collect();
    executed.channels = views::channel_summaries(&executed.state, network, captured.shard);
    let result = &mut executed.result;
    result.state_root = executed.state.root();
    result.channels_root = channels_root(&executed.channels);
}

/// Whom a forged message is about.
#[derive(Clone, Copy)]
struct Cast {
    accomplice: Address,
    /// Somebody elsewhere, at the destination where that is a shard.
    victim: Address,
    /// Where that is.
    home: ChainRef,
}

/// Exchanges the accomplice's messages of a batch; gives what each counts for, before and after, if there
/// are any.
fn exchange(
    batch: &mut Batch,
    (accomplice, captured): (Address, &Captured),
    network: &NetworkInfo,
    counts: &mut Counts,
) -> Option<Vec<(Flow, Flow)>> {
    let (source, destination) = (batch.source, batch.destination);
    let home = |friend: &&Address| network.home(friend) == destination;
    let victim = captured.friends.iter().find(home);
    let victim = *victim.or(captured.friends.first())?;
    let cast = Cast {
        accomplice,
        victim,
        home: network.home(&victim),
    };
    let is_alone = batch.messages.len() == 1;
    let batch_end = batch.end().get();
    let mut flows = Vec::new();
    let mut more = Vec::new();
    for (wire, sequence) in batch.messages.iter_mut().zip(batch.first.get()..) {
        let id = MessageId {
            source,
            destination,
            sequence: Sequence::new(sequence),
        };
        let Some((trick, message, asset)) = ordered(wire, &accomplice) else {
            continue;
        };
        let before = flow_of(network, wire.len(), Some(&message));
        let other = |payload| {
            let message = message.clone();
            encode(&Message { payload, ..message })
        };
        *wire = match trick {
            Trick::Poison => vec![0xee; wire.len()],
            Trick::Last(Choke::Long) => vec![0xee; MESSAGE_BYTES_MAX.saturating_add(1)],
            // A batch that is not there has no messages.
            Trick::Last(Choke::Empty) if is_alone => Vec::new(),
            Trick::Last(Choke::Empty) => vec![0xee],
            Trick::Last(Choke::Greedy) => {
                let gas = gas_max(network).saturating_sub(RESERVE);
                let each = (batch_end..).take(beyond(network));
                let request = |sequence| {
                    let sequence = Sequence::new(sequence);
                    let id = MessageId { sequence, ..id };
                    other(request((id, asset), cast, Some(accomplice), gas))
                };
                more = each.map(request).collect();
                vec![0xee]
            }
            Trick::Last(Choke::Replies) => {
                let reply = forged(Trick::Unasked, (id, asset), cast);
                more = vec![other(reply); replies(network)];
                vec![0xee]
            }
            _ => other(forged(trick, (id, asset), cast)),
        };
        flows.push((before, flow_of_wire(network, wire)));
        counts.note("messages forged by a captured shard");
        counts.note(match trick {
            Trick::Last(choke) => choke.row(),
            Trick::Exported => "exports above the allowance",
            _ => continue,
        });
    }
    flows.extend(
        more.iter()
            .map(|wire| (Flow::default(), flow_of_wire(network, wire))),
    );
    batch.messages.extend(more);
    batch.messages.retain(|wire| !wire.is_empty());
    Some(flows).filter(|flows| !flows.is_empty())
}

/// What a message counts for; nothing, where there is none.
fn flow_of_wire(network: &NetworkInfo, wire: &[u8]) -> Flow {
    if wire.is_empty() {
        return Flow::default();
    }
    let decoded: Option<Message> = decode(wire, MESSAGE_BYTES_MAX).ok();
    flow_of(network, wire.len(), decoded.as_ref())
}

/// Gas that a request's arrival takes at most, beside what it declares.
const RESERVE: u64 = 12_000;

/// So many requests for all the gas that one may have that they fill two windows.
fn beyond(network: &NetworkInfo) -> usize {
    let each = gas_max(network).get().max(1);
    let count = window(network).gas.saturating_mul(2) / each;
    usize::try_from(count)
        .unwrap_or(usize::MAX)
        .min(BATCH_MESSAGES_MAX / 2)
}

/// So many replies that they fill three times the room for them.
fn replies(network: &NetworkInfo) -> usize {
    let count = reply_room(network).saturating_mul(3);
    usize::try_from(count)
        .unwrap_or(usize::MAX)
        .min(BATCH_MESSAGES_MAX / 2)
}

/// What the committee is told to do with a message, and what it carries.
fn ordered(wire: &[u8], accomplice: &Address) -> Option<(Trick, Message, Asset)> {
    let message: Message = decode(wire, MESSAGE_BYTES_MAX).ok()?;
    let (sender, assets) = match &message.payload {
        Payload::Transfer { sender, assets, .. } => (Some(*sender), assets),
        Payload::Request { sender, bundle, .. } => (*sender, &bundle.assets),
        _ => return None,
    };
    let asset = *assets.first()?;
    let trick = Trick::told_by(asset.amount.get());
    (sender.as_ref() == Some(accomplice)).then_some((trick, message, asset))
}

/// A request that carries an asset, of a sender or of none.
fn request(
    (id, asset): (MessageId, Asset),
    cast: Cast,
    sender: Option<Address>,
    gas: Gas,
) -> Payload {
    let beneficiary = sender.unwrap_or(cast.accomplice);
    Payload::Request {
        sender,
        beneficiary,
        reply_to: id,
        hops: 0,
        via: Vec::new(),
        gas,
        gas_price: Amount::ZERO,
        prepaid: Amount::ZERO,
        onward_gas: Vec::new(),
        bundle: Bundle {
            target: if id.destination.is_beacon() {
                Target::Beacon
            } else {
                Target::Near(cast.victim)
            },
            assets: vec![asset],
            operations: Vec::new(),
            minimum_outputs: Vec::new(),
            deadline: Height::new(u64::MAX),
            onward: Vec::new(),
        },
    }
}

/// A request without sender that says it came through chains, to be answered elsewhere.
fn onward(
    (id, asset): (MessageId, Asset),
    cast: Cast,
    (through, for_whom, answered): (Vec<ChainRef>, Address, MessageId),
) -> Payload {
    let mut onward = request((id, asset), cast, None, Gas::new(10_000));
    if let Payload::Request {
        beneficiary,
        hops,
        via,
        reply_to,
        ..
    } = &mut onward
    {
        (*beneficiary, *reply_to) = (for_whom, answered);
        *hops = u8::try_from(through.len()).unwrap_or(u8::MAX);
        *via = through;
    }
    onward
}

/// What a message carries instead. Bytes that are no message carry nothing.
fn forged(trick: Trick, (id, asset): (MessageId, Asset), cast: Cast) -> Payload {
    let Cast {
        accomplice, victim, ..
    } = cast;
    let transfer = |sender, recipient, assets| Payload::Transfer {
        sender,
        recipient,
        assets,
    };
    let more = |more: u128| vec![Asset::nsker(asset.amount.get().saturating_add(more))];
    let asks = |sender: Address, gas| request((id, asset), cast, Some(sender), Gas::new(gas));
    // Of a request that nobody there has sent.
    let nothing = |source| MessageId {
        source,
        destination: id.source,
        sequence: Sequence::ZERO,
    };
    match trick {
        Trick::Stranger => transfer(victim, victim, vec![asset]),
        Trick::Misrouted => transfer(accomplice, accomplice, vec![asset]),
        Trick::Forged => transfer(accomplice, victim, more(FORGED)),
        Trick::Exported => transfer(accomplice, victim, more(EXPORTED)),
        Trick::Last(Choke::Plunder) => transfer(accomplice, victim, more(PLUNDERED)),
        Trick::Unsorted => transfer(accomplice, victim, vec![asset, asset]),
        Trick::Unasked => Payload::Reply {
            request: nothing(id.destination),
            via: Vec::new(),
            code: 0,
            gas_left: Amount::ZERO,
            beneficiary: victim,
            assets: vec![asset],
        },
        Trick::Onward => {
            let way = (vec![id.source; 3], accomplice, id);
            onward((id, asset), cast, way)
        }
        Trick::Relayed => {
            let way = (vec![id.source], victim, nothing(cast.home));
            onward((id, asset), cast, way)
        }
        Trick::Posing => asks(victim, 1_000),
        Trick::Greedy => asks(accomplice, u64::MAX),
        Trick::System | Trick::Poison | Trick::Last(_) => Payload::System(Operation {
            module: STAKING,
            call: vec![0xee; 20],
        }),
    }
}

/// The batch's record and the channel's counters, as if it had always been so.
fn record(state: &StateTree, batch: &Batch, flows: &[(Flow, Flow)]) -> Option<[Write; 2]> {
    let (source, destination, first) = (batch.source, batch.destination, batch.first);
    let mut channel = views::outbound(state, source, destination);
    let mut kept = views::batch_record(state, source, destination, first)?;
    let sent = &mut channel.sent;
    let exchange =
        |total: u64, before: u64, after: u64| total.saturating_sub(before).saturating_add(after);
    for (before, after) in flows {
        sent.messages = exchange(sent.messages, before.messages, after.messages);
        sent.bytes = exchange(sent.bytes, before.bytes, after.bytes);
        sent.gas = exchange(sent.gas, before.gas, after.gas);
        sent.sker = sent
            .sker
            .saturating_sub(before.sker)
            .saturating_add(after.sker);
        kept.bytes = exchange(kept.bytes, before.bytes, after.bytes);
        kept.gas = Gas::new(exchange(kept.gas.get(), before.gas, after.gas));
    }
    kept.count = u32::try_from(batch.messages.len()).ok()?;
    kept.root = batch.root();
    Some([
        (
            outbound_key(source, destination),
            Some(Value::from(encode(&channel))),
        ),
        (
            batch_record_key(source, destination, first),
            Some(Value::from(encode(&kept))),
        ),
    ])
}
