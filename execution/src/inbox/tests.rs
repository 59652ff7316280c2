//! Whose messages run when there is not room for all, and what a message may ask for.

use crate::block::{BlockWork, Outcome};
use crate::check::{AdmissionContext, check_static};
use crate::credit;
use crate::error::Rejection;
use crate::fees::transaction_cost;
use crate::gas;
use crate::modules::MODULES;
use crate::requests::gas_max;
use crate::supply::check_records;
use crate::testing::{Draft, User, World, shard, user};
use crate::views;
use skerry_types::amount::{Amount, Asset};
use skerry_types::codec::{self, Version};
use skerry_types::genesis::Parameters;
use skerry_types::ids::{ChainRef, Denom, Digest, Gas, Height, Sequence};
use skerry_types::message::{Batch, Message, MessageId, Payload};
use skerry_types::receipt::{Receipt, Status, Subject};
use skerry_types::transaction::Target;

const BEACON: ChainRef = ChainRef::Beacon;

/// A lane of this size, in blocks that have nothing else.
fn world(lane: u64) -> World {
    let parameters = Parameters {
        block_gas: Gas::new(lane),
        inbound_gas: Gas::new(lane),
        ..Parameters::default()
    };
    World::with(&[], parameters)
}

/// A bundle for the beacon that calls nothing: what is attached comes home.
fn draft(who: User, assets: Vec<Asset>) -> Draft {
    Draft::new(who, 0, assets).to(Target::Beacon)
}

/// A request of a shard at a position of its channel.
fn request(bits: u16, position: u64, declared: u64, assets: Vec<Asset>) -> Vec<u8> {
    let id = MessageId {
        source: shard(bits),
        destination: BEACON,
        sequence: Sequence::new(position),
    };
    let sender = user(bits, 1);
    wire(Payload::Request {
        sender: Some(sender.address),
        beneficiary: sender.address,
        reply_to: id,
        hops: 0,
        via: Vec::new(),
        gas: Gas::new(declared),
        gas_price: Amount::ZERO,
        prepaid: Amount::ZERO,
        onward_gas: Vec::new(),
        bundle: draft(sender, assets).bundle,
    })
}

fn wire(payload: Payload) -> Vec<u8> {
    codec::encode(&Message {
        version: Version,
        origin: Digest::ZERO,
        payload,
    })
}

fn batch(source: ChainRef, destination: ChainRef, messages: Vec<Vec<u8>>) -> Batch {
    Batch {
        version: Version,
        source,
        destination,
        first: Sequence::ZERO,
        messages,
    }
}

fn source(receipt: &Receipt) -> ChainRef {
    match receipt.subject {
        Subject::Message { id, .. } => id.source,
        Subject::Transaction(_) => panic!("{receipt:?}"),
    }
}

/// How many messages of each shard a block has run.
fn ran(outcome: &Outcome) -> [usize; 2] {
    let of = |bits| {
        let receipts = outcome.receipts.iter();
        receipts.filter(|it| source(it) == shard(bits)).count()
    };
    [of(0), of(1)]
}

#[test]
fn request_above_a_quarter_of_the_lane_is_dropped_and_delays_nobody() {
    let attached = || vec![Asset::nsker(5)];
    let arrival = gas::message(request(0, 0, 0, attached()).len(), 1).get();
    let most = gas_max(&World::new(&[]).network).get() - arrival;
    for (declared, fits) in [(most, true), (most + 1, false), (u64::MAX, false)] {
        let mut world = World::new(&[]);
        let first = batch(shard(0), BEACON, vec![request(0, 0, declared, attached())]);
        let second = batch(shard(1), BEACON, vec![request(1, 0, 10_000, Vec::new())]);
        let outcome = world.inbound(BEACON, vec![first, second]);
        assert_eq!(ran(&outcome), [1, 1], "declared {declared}");
        let (greedy, other) = (&outcome.receipts[0], &outcome.receipts[1]);
        assert_eq!(other.status, Status::Succeeded);
        if fits {
            assert_eq!(greedy.status, Status::Succeeded);
            assert_eq!(greedy.gas.get(), arrival + declared);
            assert!(outcome.burnt.is_zero());
            continue;
        }
        let Status::Dropped(failure) = &greedy.status else {
            panic!("declared {declared}: {greedy:?}");
        };
        assert_eq!(failure.code, "REQUEST_MALFORMED");
        assert_eq!(greedy.gas.get(), arrival);
        assert_eq!(outcome.burnt, Amount::new(5));
        assert_eq!(outcome.outgoing.len(), 1, "only the other is answered");
    }
}

#[test]
fn what_would_be_dropped_at_the_beacon_is_refused_at_home() {
    let alice = user(0, 1);
    let lane_of = |world: &World| {
        let checked = draft(alice, Vec::new()).checked(world.network.chain_id);
        let cost = transaction_cost(MODULES, &world.network, &checked).unwrap();
        cost.legs[0].lane.get()
    };
    let lane = lane_of(&World::new(&[]));
    for (inbound_gas, fits) in [(4 * lane, true), (4 * lane - 1, false)] {
        let parameters = Parameters {
            inbound_gas: Gas::new(inbound_gas),
            ..Parameters::default()
        };
        let world = World::with(&[(alice, vec![Asset::nsker(1 << 60)])], parameters);
        let checked = draft(alice, Vec::new()).checked(world.network.chain_id);
        let context = AdmissionContext {
            network: &world.network,
            chain: shard(0),
            beacon_height: Height::new(50),
            base_fee: Amount::new(10),
        };
        let refused = check_static(&checked, world.state(shard(0)), &context).err();
        let (limit, actual) = (Gas::new(lane - 1), Gas::new(lane));
        let expected = Rejection::RequestGas { limit, actual };
        assert_eq!(refused, (!fits).then_some(expected));
    }
}

/// A request waits for its reply until that has run at home, wherever it is.
#[test]
fn request_without_room_for_its_reply_fails_at_home_for_the_fee_alone() {
    let alice = user(0, 1);
    let wealth = 1 << 80;
    let parameters = Parameters {
        inbound_gas: Gas::new(100_000),
        ..Parameters::default()
    };
    let mut world = World::with(&[(alice, vec![Asset::nsker(wealth)])], parameters);
    // One destination never has more than half of it.
    let limit = usize::try_from(credit::reply_room(&world.network).div_ceil(2)).unwrap();
    let mut sequence = 0;
    let mut ask = |world: &mut World, count: usize, inbound: Vec<Batch>| {
        let drafts = (0..count).map(|_| {
            let draft = Draft {
                sequence,
                ..draft(alice, vec![])
            };
            sequence += 1;
            draft.checked(world.network.chain_id)
        });
        let transactions = drafts.collect();
        let work = BlockWork {
            inbound,
            transactions,
            ..BlockWork::default()
        };
        let outcome = world.run(shard(0), &work);
        let of_requests = outcome.receipts.iter();
        let of_requests =
            of_requests.filter(|it| matches!(it.subject, Subject::Transaction { .. }));
        let failed = of_requests.filter(|receipt| {
            let code = match &receipt.status {
                Status::Failed(failure) => failure.code.as_str(),
                _ => "",
            };
            let is_congested = code == "CONGESTED";
            assert_eq!(receipt.messages.is_empty(), is_congested, "{receipt:?}");
            is_congested
        });
        (failed.count(), outcome)
    };
    let (failed, sent) = ask(&mut world, limit + 2, Vec::new());
    assert_eq!(failed, 2);
    let fees: u128 = sent.receipts.iter().map(|it| it.fee.get()).sum();
    assert_eq!(world.balance(&alice, Denom::SKER), wealth - fees);
    // All of them have run there; none has room more until its reply is home.
    let accepted = world.inbound(BEACON, sent.outgoing);
    assert_eq!(accepted.receipts.len(), limit);
    let (failed, _) = ask(&mut world, 1, Vec::new());
    assert_eq!(failed, 1);
    let (failed, _) = ask(&mut world, limit + 1, accepted.outgoing);
    assert_eq!(failed, 1, "as many as came home may follow");
}

#[test]
fn message_that_does_not_fit_holds_up_only_its_own_channel() {
    let lane = 400_000;
    let mut world = world(lane);
    let arrival = gas::message(request(0, 0, 0, Vec::new()).len(), 0).get();
    let large = (0..5).map(|n| request(0, n, lane / 4 - arrival, Vec::new()));
    let small = (0..10).map(|n| request(1, n, 500, Vec::new()));
    let inbound = vec![
        batch(shard(0), BEACON, large.collect()),
        batch(shard(1), BEACON, small.collect()),
    ];
    let outcome = world.inbound(BEACON, inbound);
    assert_eq!(ran(&outcome), [3, 10]);
    assert!(outcome.gas.get() <= lane);
    assert_eq!(ran(&world.inbound(BEACON, vec![])), [2, 0]);
}

#[test]
fn next_block_begins_with_the_source_after_the_last_accepted() {
    let (mut world, here) = (world(1_000_000), shard(1));
    let nonsense = |source| batch(source, here, vec![vec![7]]);
    assert_eq!(views::turns(world.state(here), here), None);
    for (accepted, next) in [
        (vec![BEACON], shard(0)),
        (vec![shard(0)], BEACON),
        (vec![shard(0), BEACON], shard(0)),
    ] {
        let mut inbound: Vec<Batch> = accepted.into_iter().map(nonsense).collect();
        for batch in &mut inbound {
            let state = views::inbound(world.state(here), here, batch.source);
            batch.first = state.accepted_cursor();
        }
        world.inbound(here, inbound);
        let turns = views::turns(world.state(here), here);
        assert_eq!(turns.map(|turns| turns.accept), Some(next));
    }
}

#[test]
fn sources_take_turns_where_there_is_room_for_one() {
    let (mut world, here) = (world(1), shard(1));
    let transfer = |sender| {
        wire(Payload::Transfer {
            sender,
            recipient: user(1, 1).address,
            assets: vec![Asset::nsker(1)],
        })
    };
    let from = |source, sender| batch(source, here, vec![transfer(sender); 3]);
    let sender = user(0, 1).address;
    let mut inbound = vec![from(BEACON, sender), from(shard(0), sender)];
    let mut order = Vec::new();
    for _ in 0..6 {
        // Where blocks with work and idle ones alternate, heights do.
        *world.heights.get_mut(&here).unwrap() += 1;
        let outcome = world.inbound(here, std::mem::take(&mut inbound));
        order.extend(outcome.receipts.iter().map(source));
    }
    let turns = [BEACON, shard(0)];
    assert_eq!(order, [turns, turns, turns].concat());
    assert_eq!(check_records(world.state(here).records()), vec![]);
}
