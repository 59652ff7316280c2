//! Rules of credit: what is granted, taken, given back, and how replies have room.

use super::*;
use crate::block::{BlockWork, Outcome};
use crate::modules::channels::state::inbound_key;
use crate::testing::{Draft, World, shard, transfer, user};
use crate::views;
use skerry_types::amount::Asset;
use skerry_types::genesis::Parameters;
use skerry_types::ids::{Denom, Gas};
use skerry_types::message::Batch;
use skerry_types::receipt::Status;

const HERE: u16 = 0;
const THERE: u16 = 1;

/// A network whose lane holds few transfers.
fn narrow(inbound_gas: u64) -> World {
    let parameters = Parameters {
        inbound_gas: Gas::new(inbound_gas),
        ..Parameters::default()
    };
    World::with(&[(user(HERE, 1), vec![Asset::nsker(1 << 80)])], parameters)
}

fn credit(bytes: u64, gas: u64) -> Credit {
    Credit { bytes, gas }
}

/// What one transfer takes.
fn each(world: &World) -> Credit {
    let draft = transfer(user(HERE, 1), 0, user(THERE, 1).address, Asset::nsker(1));
    let checked = draft.checked(world.network.chain_id);
    let demands = demands_of(&world.network, shard(HERE), checked.body());
    let [(destination, demand)] = demands[..] else {
        panic!("{demands:?}");
    };
    assert_eq!((destination, demand.requests), (shard(THERE), 0));
    demand.credit
}

struct Sender {
    world: World,
    next: u64,
}

impl Sender {
    fn new(inbound_gas: u64) -> Self {
        let (world, next) = (narrow(inbound_gas), 0);
        Self { world, next }
    }

    /// Sends transfers; gives how many were congested.
    fn send(&mut self, count: u64, facts: bool) -> (u64, Outcome) {
        let (alice, bob) = (user(HERE, 1), user(THERE, 1));
        let drafts = (self.next..self.next + count).map(|sequence| Draft {
            price: 1 << 40,
            ..transfer(alice, sequence, bob.address, Asset::nsker(1))
        });
        self.next += count;
        let chain_id = self.world.network.chain_id;
        let work = BlockWork {
            facts: facts.then(|| self.world.facts.clone()),
            transactions: drafts.map(|draft| draft.checked(chain_id)).collect(),
            ..BlockWork::default()
        };
        let outcome = self.world.run(shard(HERE), &work);
        let congested = outcome.receipts.iter().filter(|receipt| {
            let failed = matches!(&receipt.status, Status::Failed(it) if it.code == "CONGESTED");
            assert_eq!(failed, receipt.messages.is_empty(), "{receipt:?}");
            failed
        });
        (u64::try_from(congested.count()).unwrap(), outcome)
    }

    /// Lets the destination accept batches, the beacon link both and the source learn of it.
    fn relay(&mut self, batches: Vec<Batch>) {
        self.world.inbound(shard(THERE), batches);
        self.link();
    }

    fn link(&mut self) {
        let links = [HERE, THERE].map(|bits| self.world.crosslink(shard(bits)));
        let work = BlockWork {
            system: links.to_vec(),
            ..BlockWork::default()
        };
        let outcome = self.world.run(ChainRef::Beacon, &work);
        assert_eq!(outcome.skipped, []);
    }

    fn left(&self) -> Credit {
        let world = &self.world;
        let (here, there) = (shard(HERE), shard(THERE));
        views::credit_left(world.state(here), &world.network, here, there)
    }

    fn inbound(&self) -> InboundState {
        views::inbound(self.world.state(shard(THERE)), shard(THERE), shard(HERE))
    }
}

#[test]
fn a_transfer_without_credit_fails_at_home_for_the_fee_alone() {
    let mut sender = Sender::new(100_000);
    let (share, each) = (share(&sender.world.network), each(&sender.world));
    let fits = share.gas / each.gas;
    assert!(fits * each.bytes < share.bytes);
    let held = sender.world.balance(&user(HERE, 1), Denom::SKER);
    let (congested, outcome) = sender.send(fits + 3, false);
    assert_eq!(congested, 3);
    let fees: u128 = outcome.receipts.iter().map(|it| it.fee.get()).sum();
    let left = sender.world.balance(&user(HERE, 1), Denom::SKER);
    assert_eq!(left, held - fees - u128::from(fits));
    assert_eq!(sender.left(), share.less(each.times(fits)));
    // Nothing was executed there: nothing more is granted.
    let (congested, _) = sender.send(2, true);
    assert_eq!(congested, 2);
}

#[test]
fn what_is_executed_is_granted_again_and_who_used_half_gets_the_rest() {
    let mut sender = Sender::new(100_000);
    let (share, each) = (share(&sender.world.network), each(&sender.world));
    let fits = share.gas / each.gas;
    // Less than half: the share comes back, and no more.
    let few = fits / 2 - 1;
    let (_, outcome) = sender.send(few, false);
    sender.relay(outcome.outgoing);
    let (congested, outcome) = sender.send(0, true);
    assert_eq!((congested, outcome.outgoing.len()), (0, 0));
    let ran = sender.inbound().freed;
    assert_eq!(ran, each.times(few).most(ran));
    assert_eq!(sender.left(), share.less(each.times(few)).plus(ran));
    // More than half: all that is free of the window comes with it.
    let (congested, outcome) = sender.send(fits - few, false);
    assert_eq!(congested, 0);
    sender.relay(outcome.outgoing);
    sender.send(0, true);
    let channel = sender.inbound();
    let others = share;
    let whole = window(&sender.world.network).less(others);
    assert_eq!(channel.outstanding(share), whole);
    assert_eq!(
        sender.left(),
        whole.less(channel.charged).plus(channel.freed)
    );
}

#[test]
fn what_is_granted_and_not_executed_never_exceeds_the_window() {
    let world = narrow(100_000);
    let (window, share) = (window(&world.network), share(&world.network));
    let mut channels = [InboundState::default(); 2];
    let mut draws = crate::testing::Draws::new(7);
    for _ in 0..2_000 {
        for channel in &mut channels {
            let free = channel.available(share);
            let some = |free: u64, draw: u64| if free == 0 { 0 } else { draw % (free + 1) };
            let (first, second) = (draws.next(), draws.next());
            let sent = credit(some(free.bytes, first), some(free.gas, second));
            channel.charged = channel.charged.plus(sent);
            let waits = channel.charged.less(channel.freed);
            let (first, second) = (draws.next(), draws.next());
            let ran = credit(some(waits.bytes, first), some(waits.gas, second));
            channel.freed = channel.freed.plus(ran);
            if draws.below(9) == 0 {
                let over = channel.available(share).less(share);
                note_returned(channel, &world.network, channel.returned.plus(over));
            }
        }
        let before = channels.map(|channel| channel.granted(share));
        grant(&world.network, channels.iter_mut());
        let out = channels
            .iter()
            .fold(Credit::ZERO, |sum, it| sum.plus(it.outstanding(share)));
        assert!(window.covers(out), "{channels:?}");
        for (channel, before) in channels.iter().zip(before) {
            assert!(channel.granted(share).covers(before), "a grant fell");
            let granted = channel.granted(share);
            assert!(granted.covers(channel.charged.plus(channel.returned)));
        }
    }
    let used = channels.map(|channel| channel.freed.gas);
    assert!(used.iter().all(|used| *used > 20 * window.gas), "{used:?}");
}

#[test]
fn a_source_that_falls_silent_gives_back_what_exceeds_its_share() {
    let mut sender = Sender::new(100_000);
    let (share, each) = (share(&sender.world.network), each(&sender.world));
    let (_, outcome) = sender.send(share.gas / each.gas, false);
    sender.relay(outcome.outgoing);
    sender.send(0, true);
    assert!(sender.left().covers(share.plus(share)));
    for round in 0..=QUIET {
        assert_eq!(sender.left() == share, round == QUIET, "{round}");
        // Another state of the beacon, so that there is something to import.
        sender.relay(Vec::new());
        sender.send(0, true);
    }
    assert_eq!(sender.left(), share);
    assert_eq!(sender.inbound().returned, Credit::ZERO);
    // The destination learns of it by the next cross-link and has the rest of its window again.
    sender.relay(Vec::new());
    let facts = sender.world.facts.clone();
    let work = BlockWork {
        facts: Some(facts),
        ..BlockWork::default()
    };
    sender.world.run(shard(THERE), &work);
    let channel = sender.inbound();
    assert!(channel.returned.gas > 0);
    assert_eq!(channel.available(share), share);
    let (congested, _) = sender.send(share.gas / each.gas, true);
    assert_eq!(congested, 0);
}

#[test]
fn room_for_replies_is_shared_and_no_destination_keeps_all_of_it() {
    let chains: Vec<ChainRef> = [ChainRef::Beacon, shard(0), shard(1)].to_vec();
    let open = |counts: [u64; 3]| Open {
        by_destination: chains.iter().copied().zip(counts).collect(),
        passing: chains.iter().copied().zip(counts).collect(),
        room: 40,
        even: 5,
    };
    for (counts, more, expected) in [
        ([0, 0, 0], 5, true),
        ([0, 0, 0], 20, true),
        ([0, 0, 0], 21, false),
        ([20, 0, 0], 1, false),
        ([10, 15, 10], 1, true),
        ([14, 15, 10], 1, true),
        ([15, 15, 10], 1, false),
        ([4, 20, 15], 1, true),
        ([5, 20, 15], 1, false),
    ] {
        let open = open(counts);
        let demand = |requests| Demand {
            credit: Credit::ZERO,
            requests,
            passing: more,
        };
        let fits = open.has_room(ChainRef::Beacon, demand(more));
        assert_eq!(fits, expected, "{counts:?} and {more}");
        // A chain further on a route has its half, whoever is first.
        let further = open.has_room(ChainRef::Beacon, demand(0));
        assert_eq!(further, counts[0] + more <= 20, "{counts:?} and {more}");
    }
}

#[test]
fn room_for_replies_is_at_least_one_and_follows_the_narrower_of_lane_and_budget() {
    for (inbound_gas, expected) in [(50_000, 11), (200_000_000, 10_240), (1, 1)] {
        let mut network = (*narrow(100_000).network).clone();
        network.parameters.inbound_gas = Gas::new(inbound_gas);
        assert_eq!(reply_room(&network), expected, "{inbound_gas}");
    }
}

/// Twenty lanes of window and ten of replies, three quarters of each used: forty blocks for the lane;
/// as many for the bytes.
#[test]
fn the_bound_on_the_delay_is_computed_from_parameters() {
    let mut network = (*narrow(100_000).network).clone();
    network.parameters.inbound_gas = Gas::new(200_000_000);
    let bound = delay_bound(&network);
    let replies = 10_240 * gas::reply().get();
    let by_gas = (20 * 200_000_000_u64 + replies).div_ceil(150_000_000);
    assert_eq!(bound.blocks, 40 + by_gas);
    assert_eq!((bound.message_delays, bound.beacon_blocks), (5, 5));
}

#[test]
fn a_damaged_record_grants_the_share() {
    let world = narrow(100_000);
    let scene = Scene {
        network: &world.network,
        here: shard(HERE),
    };
    let mut nothing = |_| Some(Value::from(&[9_u8][..]));
    let granted = granted_by(&mut nothing, scene, shard(THERE));
    assert_eq!(granted, share(&world.network));
    assert!(inbound_key(shard(HERE), shard(THERE)).local.len() == 4);
}
