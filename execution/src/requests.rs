//! Requests and replies: a bundle that runs on another chain, and what comes home.
//!
//! The simple form: the target is the beacon, the request goes there by one message and is answered
//! by one reply. All gas is paid at home in advance: sending, the calls where they run, and the
//! reply, whose size and gas are fixed. While the reply is out, the origin keeps a record under the
//! request's id; a reply without one, or from elsewhere, is dropped. So a request is answered once,
//! and what was attached either went into the calls or comes back with the reply.
//!
//! A request needs credit of its destination and room for its reply at home ([`crate::credit`]).
//!
//! Rules: DESIGN section 9.

use crate::block::Block;
use crate::credit;
use crate::error::{CallError, Rejection};
use crate::fees::{self, BundleCost};
use crate::gas;
use crate::inbox::{dropped, is_canonical};
use crate::module::Incoming;
use crate::modules::EXECUTOR;
use crate::modules::channels::state::{RequestRecord, request_key};
use crate::network::NetworkInfo;
use crate::outbox::Letter;
use crate::overlay::BlockOverlay;
use crate::transaction::Machine;
use crate::view::decode_record;
use skerry_types::amount::{Amount, Asset};
use skerry_types::codec::{self, Version};
use skerry_types::ids::{Address, ChainRef, Digest, Gas, Sequence};
use skerry_types::limits;
use skerry_types::message::{Message, MessageId, Payload, reply_code};
use skerry_types::receipt::{Receipt, Status};
use skerry_types::state::Value;
use skerry_types::transaction::{Bundle, Target};

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
pub(crate) fn lane(network: &NetworkInfo, arrival: Gas, calls: Gas) -> Option<Gas> {
    let lane = arrival.saturating_add(calls.get());
    (lane <= gas_max(network)).then_some(lane)
}

/// The chain that a bundle is sent to; `None` when it runs at home.
pub(crate) const fn destination(bundle: &Bundle) -> Option<ChainRef> {
    match bundle.target {
        Target::Beacon => Some(ChainRef::Beacon),
        Target::Home | Target::Near(_) => None,
    }
}

/// A request as its origin sends it; `gas` is what the calls need.
pub(crate) fn request(
    id: MessageId,
    sender: Address,
    gas: Gas,
    gas_price: Amount,
    bundle: &Bundle,
) -> Payload {
    Payload::Request {
        sender: Some(sender),
        beneficiary: sender,
        reply_to: id,
        hops: 0,
        gas,
        gas_price,
        bundle: bundle.clone(),
    }
}

/// What a bundle for another chain costs when its calls need `inner` there.
///
/// # Errors
/// When it does not fit a message.
pub(crate) fn cost(bundle: &Bundle, inner: Gas) -> Result<BundleCost, Rejection> {
    // Every field but the bundle has a fixed width.
    let id = MessageId {
        source: ChainRef::Beacon,
        destination: ChainRef::Beacon,
        sequence: Sequence::ZERO,
    };
    let message = Message {
        version: Version,
        origin: Digest::ZERO,
        payload: request(id, Address::new([0; 32]), inner, Amount::ZERO, bundle),
    };
    let (actual, limit) = (codec::encode(&message).len(), limits::MESSAGE_BYTES_MAX);
    if actual > limit {
        return Err(Rejection::RequestTooLarge { limit, actual });
    }
    let assets = bundle.assets.len();
    let lane = gas::message(actual, assets).saturating_add(inner.get());
    let gas = gas::sum(&[
        gas::times(gas::KEY_WRITTEN, assets),
        // Numbering, and the record that waits for the reply.
        gas::MESSAGE,
        gas::KEY,
        lane.get(),
        gas::reply().get(),
    ]);
    let bytes = u64::try_from(actual).unwrap_or(u64::MAX);
    Ok(BundleCost { gas, lane, bytes })
}

/// Notes that a request is sent.
pub(crate) fn note(overlay: &mut BlockOverlay<'_>, request: &MessageId, sender: Address) {
    let record = RequestRecord {
        version: Version,
        sender,
    };
    let value = Value::from(codec::encode(&record));
    overlay.put(request_key(request), Some(value));
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
    pub(crate) gas: Gas,
    pub(crate) bundle: &'m Bundle,
}

/// Runs a request and sends its reply.
///
/// # Errors
/// When it is not a request that its source may send; it is dropped without a reply.
pub(crate) fn execute(
    block: &mut Block<'_>,
    machine: &mut Machine,
    arrived: &Arrived<'_>,
    receipt: &mut Receipt,
) -> Result<(), Status> {
    let sender = check(block, arrived)?;
    let bundle = arrived.bundle;
    let outcome = run(block, machine, arrived, sender);
    let (code, assets) = match outcome {
        Ok((assets, events)) => {
            receipt.events = events;
            (reply_code::DONE, assets)
        }
        Err((code, status)) => {
            receipt.status = status;
            (code, bundle.assets.clone())
        }
    };
    let reply = Payload::Reply {
        request: arrived.reply_to,
        code,
        gas_left: Gas::ZERO,
        beneficiary: arrived.beneficiary,
        assets,
    };
    let letter = Letter::new(&block.space.context.network, arrived.origin, reply);
    let (overlay, outbox) = (&mut block.space.overlay, &mut block.outbox);
    let sent = outbox.send(overlay, arrived.id.source, letter);
    receipt.messages = vec![sent];
    Ok(())
}

type Ran = (Vec<Asset>, Vec<skerry_types::receipt::Event>);

fn run(
    block: &mut Block<'_>,
    machine: &mut Machine,
    arrived: &Arrived<'_>,
    sender: Address,
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
            sender,
            arrived.origin,
            arrived.bundle,
            decoded,
        )
        .map_err(|failure| (reply_code::FAILED, Status::Failed(failure)))
}

/// Whether the source may send this; gives who asks.
fn check(block: &Block<'_>, arrived: &Arrived<'_>) -> Result<Address, Status> {
    let (id, here) = (arrived.id, block.space.context.chain);
    let Some(sender) = arrived.sender.filter(|_| arrived.hops == 0) else {
        let detail = "requests that come by another chain have no use yet".to_owned();
        return Err(dropped("NOT_AVAILABLE", detail));
    };
    let home = block.space.context.network.home(&sender);
    if home != id.source || arrived.beneficiary != sender {
        let detail = format!(
            "{sender} lives on {home}, the message is from {}",
            id.source
        );
        return Err(dropped("SENDER_ELSEWHERE", detail));
    }
    let assets = &arrived.bundle.assets;
    let arrival = gas::message(arrived.bytes, assets.len());
    let network = &block.space.context.network;
    if lane(network, arrival, arrived.gas).is_none() {
        let (gas, limit) = (arrived.gas, gas_max(network));
        let detail = format!("it declares {gas} gas, a request has at most {limit} in all");
        return Err(dropped("REQUEST_MALFORMED", detail));
    }
    let fits = arrived.reply_to == id && destination(arrived.bundle) == Some(here);
    if !fits || !is_canonical(assets) {
        let detail = "a request names itself, its destination and canonical assets".to_owned();
        return Err(dropped("REQUEST_MALFORMED", detail));
    }
    Ok(sender)
}

/// A reply as the origin of its request reads it.
pub(crate) struct Returned<'m> {
    pub(crate) id: MessageId,
    pub(crate) origin: Digest,
    pub(crate) request: MessageId,
    pub(crate) beneficiary: Address,
    pub(crate) assets: &'m [Asset],
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
    let waits = request.source == block.space.context.chain && request.destination == id.source;
    let stored = block.space.overlay.get(key.clone()).filter(|_| waits);
    let record = stored.and_then(|value| decode_record::<RequestRecord>(&value).ok());
    let fits = is_canonical(returned.assets);
    let record = record.filter(|record| record.sender == returned.beneficiary && fits);
    let Some(RequestRecord { sender, .. }) = record else {
        let detail = format!("no request {request} waits here for this reply");
        return Err(dropped("NO_SUCH_REQUEST", detail));
    };
    if !returned.assets.is_empty() {
        let incoming = Incoming {
            id,
            sender,
            recipient: sender,
            assets: returned.assets,
        };
        let received = machine.receive(&mut block.space, &incoming, returned.origin);
        (receipt.status, receipt.events) = received.map_err(Status::Dropped)?;
    }
    let overlay = &mut block.space.overlay;
    overlay.put(key, None);
    block.outbox.answered(overlay, request.destination);
    Ok(())
}
