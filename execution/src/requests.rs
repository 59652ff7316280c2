//! Requests and replies: a bundle that runs on other chains, and what comes home.
//!
//! A bundle for another chain leaves as one message with its attached assets. The chain that it comes to
//! runs its calls, all or none, and answers with one reply, which brings home what is left, or all that was
//! attached. A bundle may name onward legs: then what is left travels on by another request, which has
//! no sender and uses nothing but what travels with it, and the last leg answers; so does any before it
//! whose calls refuse, or which may send nothing on. Each request is so followed by exactly one message.
//!
//! While the reply is out, the origin keeps a record under the request's id, with the chains of the route;
//! a reply without one, or from elsewhere, is dropped. So a request is answered once, and what was attached
//! either went into the calls or comes back with the reply.
//!
//! What happens at home is paid there, the reply included, whose size and gas are fixed. Gas of each leg
//! is bought when the bundle leaves, at the price that its chain has published and a quarter more, never
//! above the transaction's gas price; it travels with the message, and is honoured whatever gas costs
//! there by then: the base fee is destroyed there, the rest are tips. What no leg used comes home.
//!
//! A request needs credit of its destination and room for its reply at home ([`crate::credit`]).
//!
//! Rules: DESIGN section 9.

use crate::block::{Block, BlockContext, Workspace};
use crate::credit::{self, Demand};
use crate::error::{CallError, Rejection};
use crate::fees::{self, BundleCost, LegCost, Legs};
use crate::gas;
use crate::inbox::{dropped, is_canonical};
use crate::math::mul_div_ceil;
use crate::module::{Incoming, Module};
use crate::modules::EXECUTOR;
use crate::modules::beacon_facts::state::facts_shard_key;
use crate::modules::channels::state::{RequestRecord, request_key};
use crate::network::NetworkInfo;
use crate::outbox::Letter;
use crate::overlay::BlockOverlay;
use crate::transaction::Machine;
use crate::view::decode_record;
use crate::views;
use skerry_types::amount::{Amount, Asset};
use skerry_types::beacon::ShardRecord;
use skerry_types::codec::{self, Version};
use skerry_types::ids::{Address, ChainRef, Denom, Digest, Gas, Sequence};
use skerry_types::limits;
use skerry_types::message::{Credit, LegGas, Message, MessageId, Payload, reply_code};
use skerry_types::receipt::{Attribute, Event, Receipt, Status};
use skerry_types::state::{StateRead, Value};
use skerry_types::transaction::{Bundle, Leg, Target};
use smallvec::SmallVec;
use std::collections::BTreeMap;

/// The part of the inbound lane that one message may fill: a quarter.
const LANE_DIVISOR: u64 = 4;

/// Most gas that one request may need at its destination, so that a few of one source do not keep
/// those of all others waiting, and that each source has credit for it once all that it sent has run.
pub fn gas_max(network: &NetworkInfo) -> Gas {
    let part = network.parameters.inbound_gas.get() / LANE_DIVISOR;
    Gas::new(part.min(credit::share(network).gas))
}

/// Gas of a request at its destination: `arrival` is that of any message of its size, `calls` what it
/// declares. `None` above [`gas_max`]: it is malformed.
///
/// An onward request takes no less than the reply that it may send to another chain: whoever makes it up
/// sends that chain no more than it is granted itself.
pub(crate) fn lane(network: &NetworkInfo, hops: u8, (arrival, calls): (Gas, Gas)) -> Option<Gas> {
    let lane = lane_of(hops > 0, arrival, calls);
    (lane <= gas_max(network)).then_some(lane)
}

fn lane_of(is_onward: bool, arrival: Gas, calls: Gas) -> Gas {
    let lane = arrival.saturating_add(calls.get());
    if is_onward {
        lane.max(gas::reply())
    } else {
        lane
    }
}

/// The chains that a bundle runs on, in order; none when it runs at home.
pub(crate) type Route = SmallVec<[ChainRef; 4]>;

/// The chain of a target, when the sender lives on `home`.
fn chain_of(network: &NetworkInfo, home: ChainRef, target: Target) -> ChainRef {
    match target {
        Target::Home => home,
        Target::Near(owner) => network.home(&owner),
        Target::Beacon => ChainRef::Beacon,
    }
}

/// The route of a bundle whose sender lives on `home`.
///
/// # Errors
/// When two hops after each other are on one chain, or one of several is at home.
pub(crate) fn route(
    network: &NetworkInfo,
    home: ChainRef,
    bundle: &Bundle,
) -> Result<Route, Rejection> {
    let onward = bundle.onward.iter().map(|leg| leg.target);
    let mut route = Route::new();
    for (hop, target) in (1..).zip(std::iter::once(bundle.target).chain(onward)) {
        let chain = chain_of(network, home, target);
        let what = if chain == home && bundle.onward.is_empty() {
            return Ok(route);
        } else if chain == home {
            "the sender lives there; what is left comes home by itself after the last hop"
        } else if route.last() == Some(&chain) {
            "it is on the chain of the hop before; put its calls there"
        } else {
            route.push(chain);
            continue;
        };
        return Err(Rejection::Route { hop, what });
    }
    Ok(route)
}

/// The bundle of the next leg, which begins with `assets`; `None` after the last one.
fn next_leg(bundle: &Bundle, assets: Vec<Asset>) -> Option<Bundle> {
    let (leg, rest) = bundle.onward.split_first()?;
    let Leg {
        target,
        operations,
        minimum_outputs,
    } = leg.clone();
    Some(Bundle {
        target,
        assets,
        operations,
        minimum_outputs,
        deadline: bundle.deadline,
        onward: rest.to_vec(),
    })
}

/// A message that is sent nowhere yet.
const NOWHERE: MessageId = MessageId {
    source: ChainRef::Beacon,
    destination: ChainRef::Beacon,
    sequence: Sequence::ZERO,
};

/// What the leg that begins with a bundle costs on its chain when its calls need `calls` there.
///
/// # Errors
/// When it does not fit a message.
fn leg_cost(
    sender: Option<Address>,
    before: usize,
    bundle: &Bundle,
    calls: Gas,
) -> Result<LegCost, Rejection> {
    let unknown = LegGas {
        gas: Gas::ZERO,
        price: Amount::ZERO,
    };
    // Every field but the bundle has a width that is known.
    let payload = Payload::Request {
        sender,
        beneficiary: Address::new([0; 32]),
        reply_to: NOWHERE,
        hops: 0,
        via: vec![NOWHERE.source; before],
        gas: calls,
        gas_price: Amount::ZERO,
        prepaid: Amount::ZERO,
        onward_gas: vec![unknown; bundle.onward.len()],
        bundle: bundle.clone(),
    };
    let (actual, limit) = (wire_bytes(payload), limits::MESSAGE_BYTES_MAX);
    if actual > limit {
        return Err(Rejection::RequestTooLarge { limit, actual });
    }
    let arrival = gas::message(actual, bundle.assets.len());
    let lane = lane_of(before > 0, arrival, calls);
    let bytes = u64::try_from(actual).unwrap_or(u64::MAX);
    Ok(LegCost { calls, lane, bytes })
}

fn wire_bytes(payload: Payload) -> usize {
    codec::encode(&Message {
        version: Version,
        origin: Digest::ZERO,
        payload,
    })
    .len()
}

/// Bytes that the record of a request keeps of each hop.
const HOP_BYTES: usize = 3;

/// What a bundle for other chains costs when its calls need `inner` on the first of them.
///
/// # Errors
/// When a leg does not fit a message, or one of its calls cannot be made there.
pub(crate) fn cost(
    modules: &[&'static dyn Module],
    bundle: &Bundle,
    inner: Gas,
) -> Result<BundleCost, Rejection> {
    let mut legs = Legs::new();
    legs.push(leg_cost(Some(Address::new([0; 32])), 0, bundle, inner)?);
    // What a later leg begins with is not known: as much as there may be.
    let most = Asset {
        denom: Denom::SKER,
        amount: Amount::ZERO,
    };
    let full = || vec![most; limits::ASSETS_MAX];
    let mut next = next_leg(bundle, full());
    while let Some(stop) = next {
        let hop = legs.len().saturating_add(1);
        let decoded = fees::decode_bundle(modules, &stop).map_err(|error| error.at_hop(hop))?;
        let leg =
            leg_cost(None, legs.len(), &stop, decoded.gas).map_err(|error| error.at_hop(hop))?;
        legs.push(leg);
        next = next_leg(&stop, full());
    }
    let home = gas::sum(&[
        gas::times(gas::KEY_WRITTEN, bundle.assets.len()),
        // Numbering, and the record that waits for the reply.
        gas::MESSAGE,
        gas::KEY,
        gas::times(gas::STORED_BYTE, HOP_BYTES.saturating_mul(legs.len())),
        gas::reply().get(),
    ]);
    let lanes = |sum: Gas, leg: &LegCost| sum.saturating_add(leg.lane.get());
    let gas = legs.iter().fold(home, lanes);
    Ok(BundleCost { gas, home, legs })
}

/// What a unit of gas costs who buys it from elsewhere, in base units of `sker`, when a chain has
/// published a base fee: a quarter more, rounded up.
pub fn leg_price(base_fee: Amount) -> Amount {
    Amount::new(mul_div_ceil(base_fee.get(), 5, 4).unwrap_or(u128::MAX))
}

/// A gas price that should do for a bundle, by a state of `home`, where its sender lives and where `price`
/// should do: enough for the chains that it runs on, too, after two more full blocks of theirs.
pub fn price_for(
    state: &dyn StateRead,
    network: &NetworkInfo,
    home: ChainRef,
    price: Amount,
    bundle: &Bundle,
) -> Amount {
    let parameters = &network.parameters;
    let there = |chain: &ChainRef| {
        let record = views::imported_record(state, home, *chain);
        let published = record.map_or(parameters.base_fee, |record| record.base_fee);
        leg_price(views::gas_price(published, parameters))
    };
    let route = route(network, home, bundle).unwrap_or_default();
    route.iter().map(there).fold(price, Amount::max)
}

/// Prices of other chains' gas, by the facts that a block runs with.
#[derive(Debug, Default)]
pub(crate) struct Prices {
    known: BTreeMap<ChainRef, Amount>,
}

impl Prices {
    /// The price of a chain's gas; looks each chain up once.
    fn of(
        &mut self,
        overlay: &mut BlockOverlay<'_>,
        context: &BlockContext,
        chain: ChainRef,
    ) -> Amount {
        let floor = context.network.parameters.base_fee;
        let known = self.known.entry(chain);
        *known.or_insert_with(|| {
            // The beacon has no market. A record that cannot be read fences its shard.
            let key = facts_shard_key(context.chain, chain);
            let stored = overlay.get(key).filter(|_| !chain.is_beacon());
            let record = stored.and_then(|it| decode_record::<ShardRecord>(&it).ok());
            leg_price(record.map_or(floor, |record| record.base_fee.max(floor)))
        })
    }
}

/// Where a request goes, and what was bought for it.
pub(crate) struct Ticket {
    pub(crate) route: Route,
    /// For the first leg, and for those after it.
    first: LegGas,
    onward: Vec<LegGas>,
    /// Base units of `sker` for all of it.
    pub(crate) prepaid: Amount,
}

/// Buys gas of each leg, a unit for `most` at most.
///
/// # Errors
/// When a chain's gas costs more.
pub(crate) fn buy(
    space: &mut Workspace<'_>,
    route: &Route,
    legs: &Legs,
    most: Amount,
) -> Result<Ticket, CallError> {
    let mut prepaid = Amount::ZERO;
    let mut bought = Vec::with_capacity(legs.len());
    for (chain, leg) in route.iter().zip(legs) {
        let (overlay, context) = (&mut space.overlay, space.context);
        let price = space.prices.of(overlay, context, *chain);
        if price > most {
            return Err(CallError::PriceTooLowThere {
                destination: *chain,
                expected: price,
                actual: most,
            });
        }
        let sum = fees::fee(leg.lane, price).and_then(|fee| prepaid.checked_add(fee));
        let what = "the price of gas elsewhere";
        prepaid = sum.ok_or(CallError::Overflow { what })?;
        let gas = leg.calls;
        bought.push(LegGas { gas, price });
    }
    let Some((first, onward)) = bought.split_first() else {
        let what = "a bundle that leaves without a leg".to_owned();
        return Err(CallError::Invariant { what });
    };
    Ok(Ticket {
        route: route.clone(),
        first: *first,
        onward: onward.to_vec(),
        prepaid,
    })
}

/// A request as its origin sends it.
pub(crate) fn request(id: MessageId, sender: Address, ticket: Ticket, bundle: &Bundle) -> Payload {
    let Ticket {
        first: LegGas { gas, price },
        onward,
        prepaid,
        ..
    } = ticket;
    Payload::Request {
        sender: Some(sender),
        beneficiary: sender,
        reply_to: id,
        hops: 0,
        via: Vec::new(),
        gas,
        gas_price: price,
        prepaid,
        onward_gas: onward,
        bundle: bundle.clone(),
    }
}

/// Notes that a request is sent.
pub(crate) fn note(
    overlay: &mut BlockOverlay<'_>,
    request: &MessageId,
    sender: Address,
    ticket: &Ticket,
) {
    let record = RequestRecord {
        version: Version,
        sender,
        route: ticket.route.to_vec(),
    };
    let value = Value::from(codec::encode(&record));
    overlay.put(request_key(request), Some(value));
}

/// Who acts in an onward leg: an address of the chain that nobody controls. Calls only tell of it.
pub fn onward_actor(chain: ChainRef) -> Address {
    Address::of_system(EXECUTOR.get(), chain, b"onward")
}

/// A request as its destination reads it.
pub(crate) struct Arrived<'m> {
    pub(crate) id: MessageId,
    /// Of the message.
    pub(crate) bytes: usize,
    pub(crate) origin: Digest,
    pub(crate) sender: Option<Address>,
    pub(crate) beneficiary: Address,
    pub(crate) reply_to: MessageId,
    pub(crate) hops: u8,
    pub(crate) via: &'m [ChainRef],
    pub(crate) gas: Gas,
    pub(crate) gas_price: Amount,
    pub(crate) prepaid: Amount,
    pub(crate) onward_gas: &'m [LegGas],
    pub(crate) bundle: &'m Bundle,
}

/// Runs a request and sends the one message that follows: the reply, or what goes on.
///
/// # Errors
/// When it is not a request that its source may send; it is dropped without a reply.
pub(crate) fn execute(
    block: &mut Block<'_>,
    machine: &mut Machine,
    arrived: &Arrived<'_>,
    receipt: &mut Receipt,
) -> Result<(), Status> {
    let lane = check(block, arrived)?;
    let gas_left = spend(block, arrived, lane)?;
    let (code, assets) = match run(block, machine, arrived) {
        Ok((assets, events)) => {
            receipt.events = events;
            match forward(block, arrived, &assets, gas_left) {
                Ok(Some(sent)) => {
                    receipt.messages = vec![sent];
                    return Ok(());
                }
                Ok(None) => (reply_code::DONE, assets),
                Err(reason) => {
                    receipt.events.push(ended(arrived.beneficiary, reason));
                    (reply_code::PARTIAL, assets)
                }
            }
        }
        Err((code, status)) => {
            receipt.status = status;
            let is_first = arrived.hops == 0;
            let code = if is_first { code } else { reply_code::PARTIAL };
            (code, arrived.bundle.assets.clone())
        }
    };
    let reply = Payload::Reply {
        request: arrived.reply_to,
        via: arrived.via.to_vec(),
        code,
        gas_left,
        beneficiary: arrived.beneficiary,
        assets,
    };
    let letter = Letter::new(&block.space.context.network, arrived.origin, reply);
    let (overlay, outbox) = (&mut block.space.overlay, &mut block.outbox);
    let sent = outbox.send(overlay, arrived.reply_to.source, letter);
    receipt.messages = vec![sent];
    Ok(())
}

/// Tells that a route ended before its last leg had happened, and why.
fn ended(owner: Address, reason: &'static str) -> Event {
    let attribute = Attribute {
        name: "reason".into(),
        value: reason.into(),
    };
    Event {
        module: EXECUTOR,
        owner,
        name: "route_ended".into(),
        attributes: vec![attribute],
    }
}

/// Pays for the gas of this leg; gives what is left of what was prepaid.
fn spend(block: &mut Block<'_>, arrived: &Arrived<'_>, lane: Gas) -> Result<Amount, Status> {
    let paid = fees::fee(lane, arrived.gas_price);
    let left = paid.and_then(|paid| Some((paid, arrived.prepaid.checked_sub(paid)?)));
    let Some((paid, left)) = left else {
        let (price, prepaid) = (arrived.gas_price, arrived.prepaid);
        let detail = format!("{lane} gas at {price} nsker a unit, it carries {prepaid} nsker");
        return Err(dropped("REQUEST_MALFORMED", detail));
    };
    // Whatever gas costs here by now, it was bought.
    let base_fee = block.space.base_fee.min(arrived.gas_price);
    let burnt = fees::fee(lane, base_fee).unwrap_or(paid);
    block.space.ledger.spend(paid, burnt);
    Ok(left)
}

type Ran = (Vec<Asset>, Vec<Event>);

fn run(
    block: &mut Block<'_>,
    machine: &mut Machine,
    arrived: &Arrived<'_>,
) -> Result<Ran, (u16, Status)> {
    let failed = |code: u16, error: &Rejection| {
        let (name, detail) = (error.reason(), error.to_string());
        let refusal = CallError::Refused { code: name, detail };
        (code, Status::Failed(refusal.failure(EXECUTOR)))
    };
    let decoded = fees::decode_bundle(block.space.modules, arrived.bundle)
        .map_err(|error| failed(reply_code::UNKNOWN, &error))?;
    if arrived.gas < decoded.gas {
        let (expected, actual) = (decoded.gas, arrived.gas);
        let error = Rejection::GasLimitTooLow { expected, actual };
        return Err(failed(reply_code::GAS, &error));
    }
    machine
        .request(
            &mut block.space,
            arrived.sender,
            arrived.origin,
            arrived.bundle,
            decoded,
        )
        .map_err(|failure| (reply_code::FAILED, Status::Failed(failure)))
}

/// Sends on what is left, where the bundle has another leg; gives the message, or nothing after the last
/// leg.
///
/// # Errors
/// When it may not be sent, and why: everything goes home instead.
fn forward(
    block: &mut Block<'_>,
    arrived: &Arrived<'_>,
    assets: &[Asset],
    prepaid: Amount,
) -> Result<Option<MessageId>, &'static str> {
    let Some(bundle) = next_leg(arrived.bundle, assets.to_vec()) else {
        return Ok(None);
    };
    let (bought, onward_gas) = arrived
        .onward_gas
        .split_first()
        .ok_or("REQUEST_MALFORMED")?;
    let origin = arrived.reply_to.source;
    let (here, network) = (block.space.context.chain, &block.space.context.network);
    let destination = chain_of(network, origin, bundle.target);
    if destination == origin || destination == here {
        return Err("BAD_ROUTE");
    }
    let mut via = arrived.via.to_vec();
    via.push(here);
    let payload = Payload::Request {
        sender: None,
        beneficiary: arrived.beneficiary,
        reply_to: arrived.reply_to,
        hops: arrived.hops.saturating_add(1),
        via,
        gas: bought.gas,
        gas_price: bought.price,
        prepaid,
        onward_gas: onward_gas.to_vec(),
        bundle,
    };
    let bytes = wire_bytes(payload.clone());
    let arrival = gas::message(bytes, assets.len());
    let lane = lane(
        network,
        arrived.hops.saturating_add(1),
        (arrival, bought.gas),
    );
    let lane = lane.filter(|_| bytes <= limits::MESSAGE_BYTES_MAX);
    let lane = lane.ok_or("REQUEST_MALFORMED")?;
    if fees::fee(lane, bought.price).is_none_or(|fee| fee > prepaid) {
        return Err("REQUEST_MALFORMED");
    }
    may_send_onward(block, destination, bytes, lane).map_err(|error| error.code())?;
    let letter = Letter::new(&block.space.context.network, arrived.origin, payload);
    let (overlay, outbox) = (&mut block.space.overlay, &mut block.outbox);
    let sent = outbox.send(overlay, destination, letter);
    Ok(Some(sent))
}

/// Takes what an onward request needs of the credit of its destination.
///
/// # Errors
/// When this chain or the destination is fenced, or the destination has no room for so many bytes and so
/// much gas.
pub(crate) fn may_send_onward(
    block: &mut Block<'_>,
    destination: ChainRef,
    bytes: usize,
    gas: Gas,
) -> Result<(), CallError> {
    let space = &mut block.space;
    let here = space.context.chain;
    space.fences.check(&mut space.overlay, here, destination)?;
    // Its reply has room already, at the origin.
    let credit = Credit {
        bytes: u64::try_from(bytes).unwrap_or(u64::MAX),
        gas: gas.get(),
    };
    let demand = Demand {
        credit,
        ..Demand::default()
    };
    space.take_credit(&[(destination, demand)])
}

/// Whether the source may send this; gives the gas that it needs here.
fn check(block: &Block<'_>, arrived: &Arrived<'_>) -> Result<Gas, Status> {
    let (id, here) = (arrived.id, block.space.context.chain);
    let network = &block.space.context.network;
    let malformed = |detail: String| dropped("REQUEST_MALFORMED", detail);
    check_sender(network, here, arrived)?;
    let (hops, later) = (usize::from(arrived.hops), arrived.bundle.onward.len());
    let all = hops.saturating_add(1).saturating_add(later);
    if all > usize::from(limits::HOPS_MAX) {
        let limit = limits::HOPS_MAX;
        let detail = format!("a route of {all} hops, at most {limit} are allowed");
        return Err(dropped("TOO_MANY_HOPS", detail));
    }
    let is_from_last = arrived.via.last().is_none_or(|last| *last == id.source);
    if arrived.via.len() != hops || !is_from_last {
        let (via, source) = (arrived.via.len(), id.source);
        let detail = format!("hop {hops} from {source} names {via} chains that it ran on before");
        return Err(malformed(detail));
    }
    if arrived.onward_gas.len() != later {
        let bought = arrived.onward_gas.len();
        let detail = format!("gas was bought for {bought} more legs, there are {later}");
        return Err(malformed(detail));
    }
    let assets = &arrived.bundle.assets;
    let arrival = gas::message(arrived.bytes, assets.len());
    let Some(lane) = lane(network, arrived.hops, (arrival, arrived.gas)) else {
        let (gas, limit) = (arrived.gas, gas_max(network));
        let detail = format!("it declares {gas} gas, a request has at most {limit} in all");
        return Err(malformed(detail));
    };
    let target = chain_of(network, arrived.reply_to.source, arrived.bundle.target);
    if target != here || !is_canonical(assets) {
        let detail = "a request names its destination and canonical assets".to_owned();
        return Err(malformed(detail));
    }
    let names_itself = arrived.hops > 0 || arrived.reply_to == id;
    names_itself
        .then_some(lane)
        .ok_or_else(|| malformed(format!("{id} wants its reply for {}", arrived.reply_to)))
}

/// A first request names its sender, who lives at its source; an onward one has none, and its reply goes
/// home to who lives there.
fn check_sender(
    network: &NetworkInfo,
    here: ChainRef,
    arrived: &Arrived<'_>,
) -> Result<(), Status> {
    let (id, beneficiary) = (arrived.id, arrived.beneficiary);
    let origin = arrived.reply_to.source;
    match arrived.sender {
        Some(_) if arrived.hops > 0 => {
            let detail = "an onward request uses only its assets and names no sender".to_owned();
            Err(dropped("ONWARD_WITH_SENDER", detail))
        }
        Some(sender) => {
            let home = network.home(&sender);
            if home == id.source && beneficiary == sender {
                return Ok(());
            }
            let source = id.source;
            let detail = format!("{sender} lives on {home}, the message is from {source}");
            Err(dropped("SENDER_ELSEWHERE", detail))
        }
        None => {
            let is_of_origin = network.home(&beneficiary) == origin;
            let is_onward = arrived.hops > 0 && origin != id.source && origin != here;
            if is_onward && is_of_origin {
                return Ok(());
            }
            let (hops, source) = (arrived.hops, id.source);
            let detail = format!(
                "an onward request of hop {hops} from {source} for {beneficiary}, to be answered on \
                 {origin}"
            );
            Err(dropped("REQUEST_MALFORMED", detail))
        }
    }
}

/// A reply as the origin of its request reads it.
pub(crate) struct Returned<'m> {
    pub(crate) id: MessageId,
    pub(crate) origin: Digest,
    pub(crate) request: MessageId,
    pub(crate) via: &'m [ChainRef],
    pub(crate) code: u16,
    pub(crate) gas_left: Amount,
    pub(crate) beneficiary: Address,
    pub(crate) assets: &'m [Asset],
}

/// All that a reply brings, in order of denom; `None` when that is no list of assets.
fn brought(returned: &Returned<'_>) -> Option<Vec<Asset>> {
    if !is_canonical(returned.assets) {
        return None;
    }
    let mut assets = returned.assets.to_vec();
    let (denom, amount) = (Denom::SKER, returned.gas_left);
    if amount.is_zero() {
        return Some(assets);
    }
    match assets.binary_search_by_key(&denom, |asset| asset.denom) {
        Ok(position) => {
            let held = assets.get_mut(position)?;
            held.amount = held.amount.checked_add(amount)?;
        }
        Err(position) => assets.insert(position, Asset { denom, amount }),
    }
    Some(assets)
}

/// Takes a reply: forgets the request and credits what came home; what cannot be credited becomes
/// a claim.
///
/// # Errors
/// When nobody here waits for it; it is dropped.
pub(crate) fn finish(
    block: &mut Block<'_>,
    machine: &mut Machine,
    returned: &Returned<'_>,
    receipt: &mut Receipt,
) -> Result<(), Status> {
    let Returned { id, request, .. } = *returned;
    let key = request_key(&request);
    let is_own = request.source == block.space.context.chain;
    let stored = block.space.overlay.get(key.clone()).filter(|_| is_own);
    let record = stored.and_then(|value| decode_record::<RequestRecord>(&value).ok());
    let record = record.filter(|record| record.sender == returned.beneficiary);
    // It went the way that was signed, and no other, as far as it came: what a chain beside that way
    // makes others answer is not the answer.
    let is_on_route = |record: &RequestRecord| {
        let next = record.route.strip_prefix(returned.via);
        next.and_then(<[ChainRef]>::first) == Some(&id.source)
    };
    let record = record.filter(is_on_route);
    let (Some(record), Some(assets)) = (record, brought(returned)) else {
        let detail = format!("no request {request} waits here for this reply");
        return Err(dropped("NO_SUCH_REQUEST", detail));
    };
    let sender = record.sender;
    if !assets.is_empty() {
        let incoming = Incoming {
            id,
            sender,
            recipient: sender,
            assets: &assets,
        };
        let received = machine.receive(&mut block.space, &incoming, returned.origin);
        (receipt.status, receipt.events) = received.map_err(Status::Dropped)?;
    }
    if returned.code == reply_code::PARTIAL {
        receipt.events.push(ended(sender, "PARTIAL"));
    }
    let overlay = &mut block.space.overlay;
    overlay.put(key, None);
    block.outbox.answered(overlay, &record.route);
    Ok(())
}

#[cfg(test)]
mod tests;
