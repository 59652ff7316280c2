//! A shard whose whole committee is bought, and what it sends to the others.
//!
//! All nodes execute that shard by the same other rules, as its members agreed to: its blocks are final,
//! its cross-links stand, its proofs hold. One client is in league with them. What that sends to other
//! chains leaves as an honest message and is exchanged for another before the block's result is known:
//! of a sender that lives elsewhere, of value that nobody paid, bytes that are no message, replies that
//! nobody asked for. The others must drop what is not for that shard to say, count its value as
//! destroyed, keep their cursors, and go on.
//!
//! In the end some send what no block may hold, however well it is proven. That may stop the channel,
//! and nothing else.

use crate::counts::Counts;
use crate::plan::{Captured, Choke, Plan};
use crate::random::Random;
use skerry::chain::jobs::Executed;
use skerry_execution::modules::STAKING;
use skerry_execution::modules::staking::calls::StakingCall;
use skerry_execution::network::NetworkInfo;
use skerry_execution::outbox::flow_of;
use skerry_execution::views::{self, batch_record_key, outbound_key};
use skerry_storage::StateTree;
use skerry_types::amount::{Amount, Asset};
use skerry_types::codec::{decode, encode};
use skerry_types::crypto::ed25519::SecretKey;
use skerry_types::ids::{Address, ChainRef, Digest, Gas, Height, Sequence, ValidatorId};
use skerry_types::limits::MESSAGE_BYTES_MAX;
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

/// What becomes of an honest message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trick {
    /// A transfer of somebody who lives at the destination.
    Stranger,
    /// A transfer to somebody who lives at the source.
    Misrouted,
    /// A transfer of more than was paid, and of no more than the shard holds.
    Forged,
    /// A transfer of one denom twice.
    Unsorted,
    /// Bytes that are no message.
    Poison,
    /// A reply that nobody waits for.
    Unasked,
    /// A request that says it came through other chains.
    Onward,
    /// A request of somebody who lives at the destination.
    Posing,
    /// A request for all the gas there is.
    Greedy,
    /// A message between modules of the system.
    System,
    /// A message that is too long.
    ChokeLong,
    /// A batch without messages.
    ChokeEmpty,
}

impl Trick {
    /// Those after which the channel goes on.
    const USUAL: [Self; 10] = [
        Self::Stranger,
        Self::Misrouted,
        Self::Forged,
        Self::Unsorted,
        Self::Poison,
        Self::Unasked,
        Self::Onward,
        Self::Posing,
        Self::Greedy,
        Self::System,
    ];

    const fn is_choke(self) -> bool {
        matches!(self, Self::ChokeLong | Self::ChokeEmpty)
    }

    /// By what the accomplice attaches, the committee knows what it is to do.
    fn told_by(amount: u128) -> Self {
        match usize::try_from(amount % 16) {
            Ok(14) => Self::ChokeLong,
            Ok(15) => Self::ChokeEmpty,
            Ok(number) => Self::USUAL[number % Self::USUAL.len()],
            Err(_) => Self::Poison,
        }
    }

    /// An amount that tells it.
    fn amount(self, random: &mut Random) -> u128 {
        let number = match self {
            Self::ChokeLong => 14,
            Self::ChokeEmpty => 15,
            usual => Self::USUAL.iter().position(|it| *it == usual).unwrap_or(0),
        };
        let number = u128::try_from(number).unwrap_or(0);
        (u128::from(random.below(60_000)) + 1) * 16 + number
    }

    /// Whether value comes of it: what a shard's own people send is its business, as long as it has so
    /// much. Objects of the beacon take no transfers.
    const fn is_credited(self, destination: ChainRef) -> bool {
        matches!(self, Self::Forged) && !destination.is_beacon()
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
        let asks = self.random.chance(250);
        self.mischief(trick, asks)
    }

    /// The last that it sends.
    pub fn choke(&mut self) -> Option<Mischief> {
        let trick = match self.captured.choke? {
            Choke::Long => Trick::ChokeLong,
            Choke::Empty => Trick::ChokeEmpty,
        };
        self.mischief(trick, false)
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
        if id.source != self.captured.shard {
            // A reply comes home, to where nothing is honest.
            return Ok(true);
        }
        let fits = match &receipt.status {
            Status::Succeeded => trick.is_credited(id.destination),
            Status::Dropped(_) => !trick.is_credited(id.destination) && !trick.is_choke(),
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
    let victim = victim.or(captured.friends.first())?;
    let is_alone = batch.messages.len() == 1;
    let mut flows = Vec::new();
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
        *wire = match trick {
            Trick::Poison => vec![0xee; wire.len()],
            Trick::ChokeLong => vec![0xee; MESSAGE_BYTES_MAX.saturating_add(1)],
            // A batch that is not there has no messages.
            Trick::ChokeEmpty if is_alone => Vec::new(),
            Trick::ChokeEmpty => vec![0xee],
            _ => encode(&Message {
                payload: forged(trick, (id, asset), (accomplice, *victim)),
                ..message
            }),
        };
        let decoded: Option<Message> = decode(wire, MESSAGE_BYTES_MAX).ok();
        let after = if wire.is_empty() {
            Flow::default()
        } else {
            flow_of(network, wire.len(), decoded.as_ref())
        };
        flows.push((before, after));
        counts.note("messages forged by a captured shard");
        if trick.is_choke() {
            counts.note("channels choked");
        }
    }
    batch.messages.retain(|wire| !wire.is_empty());
    Some(flows).filter(|flows| !flows.is_empty())
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

/// What a message carries instead. Bytes that are no message carry nothing.
fn forged(
    trick: Trick,
    (id, asset): (MessageId, Asset),
    (accomplice, victim): (Address, Address),
) -> Payload {
    let transfer = |sender, recipient, assets| Payload::Transfer {
        sender,
        recipient,
        assets,
    };
    let request = |sender: Option<Address>, hops, gas| Payload::Request {
        sender,
        beneficiary: sender.unwrap_or(accomplice),
        reply_to: id,
        hops,
        via: vec![id.source; usize::from(hops)],
        gas: Gas::new(gas),
        gas_price: Amount::ZERO,
        prepaid: Amount::ZERO,
        onward_gas: Vec::new(),
        bundle: Bundle {
            target: if id.destination.is_beacon() {
                Target::Beacon
            } else {
                Target::Near(victim)
            },
            assets: vec![asset],
            operations: Vec::new(),
            minimum_outputs: Vec::new(),
            deadline: Height::new(u64::MAX),
            onward: Vec::new(),
        },
    };
    match trick {
        Trick::Stranger => transfer(victim, victim, vec![asset]),
        Trick::Misrouted => transfer(accomplice, accomplice, vec![asset]),
        Trick::Forged => {
            let more = asset.amount.get().saturating_add(FORGED);
            transfer(accomplice, victim, vec![Asset::nsker(more)])
        }
        Trick::Unsorted => transfer(accomplice, victim, vec![asset, asset]),
        Trick::Unasked => Payload::Reply {
            request: MessageId {
                source: id.destination,
                destination: id.source,
                sequence: Sequence::ZERO,
            },
            via: Vec::new(),
            code: 0,
            gas_left: Amount::ZERO,
            beneficiary: victim,
            assets: vec![asset],
        },
        Trick::Onward => request(None, 3, 1_000),
        Trick::Posing => request(Some(victim), 0, 1_000),
        Trick::Greedy => request(Some(accomplice), 0, u64::MAX),
        Trick::System | Trick::Poison | Trick::ChokeLong | Trick::ChokeEmpty => {
            Payload::System(Operation {
                module: STAKING,
                call: vec![0xee; 20],
            })
        }
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
