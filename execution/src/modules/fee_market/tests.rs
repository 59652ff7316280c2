//! How the base fee follows what blocks are filled with, and what that means for transactions.

use super::state::{PriceRecord, price_key};
use super::{after, price_at, used};
use crate::block::{BlockWork, Outcome};
use crate::check::{AdmissionContext, check_static};
use crate::error::Rejection;
use crate::fees::transaction_gas;
use crate::module::BlockTotals;
use crate::modules::bank::state::fee_account;
use crate::testing::{Draft, Draws, User, World, shard, transfer, user};
use crate::views;
use skerry_types::amount::{Amount, Asset};
use skerry_types::beacon::SystemOperation;
use skerry_types::codec::Version;
use skerry_types::genesis::Parameters;
use skerry_types::ids::{Denom, Gas, Height};
use skerry_types::limits;
use skerry_types::receipt::Status;
use skerry_types::state::StateRead;

const FLOOR: u128 = 10;

fn parameters(block_gas: u64, floor: u128) -> Parameters {
    Parameters {
        block_gas: Gas::new(block_gas),
        inbound_gas: Gas::new(block_gas / 2),
        base_fee: Amount::new(floor),
        ..Parameters::default()
    }
}

fn record(price: u128, height: u64) -> PriceRecord {
    PriceRecord {
        version: Version,
        price: Amount::new(price),
        height: Height::new(height),
    }
}

/// The first three rows are those of go-ethereum's `TestCalcBaseFee`
/// (`consensus/misc/eip1559/eip1559_test.go`), the others ours.
#[test]
fn base_fee_follows_the_gas_of_the_block_before() {
    for (block_gas, price, gas, expected) in [
        (20_000_000, 1_000_000_000, 10_000_000, 1_000_000_000),
        (20_000_000, 1_000_000_000, 9_000_000, 987_500_000),
        (20_000_000, 1_000_000_000, 11_000_000, 1_012_500_000),
        // Full and empty: an eighth.
        (400, 800, 400, 900),
        (400, 800, 0, 700),
        // Above the limit counts as full.
        (400, 800, 4_000, 900),
        // At least one more, and what is taken off is rounded up.
        (400, 20, 201, 21),
        (400, 20, 199, 19),
        // The floor holds.
        (400, 11, 0, FLOOR),
        (400, FLOOR, 0, FLOOR),
        // No sum overflows.
        (400, u128::MAX, 400, u128::MAX),
        // A limit of less than two gas leaves it as it is.
        (1, 800, 1, 800),
    ] {
        let parameters = parameters(block_gas, FLOOR);
        let next = after(Amount::new(price), Gas::new(gas), &parameters);
        assert_eq!(next.get(), expected, "{price} after {gas} of {block_gas}");
    }
}

/// Bytes, own gas and gas of messages, with a limit of 400: what they count for.
#[test]
fn what_fills_a_block_counts_by_bytes_or_gas_and_messages_up_to_a_quarter() {
    let room = limits::BODY_TRANSACTION_BYTES as u64;
    let parameters = parameters(400, FLOOR);
    for (gas, bytes, inbound_gas, expected) in [
        (0, 0, 0, 0),
        (150, 0, 0, 150),
        (150, room / 2, 0, 200),
        (250, room / 2, 0, 250),
        (0, room, 0, 400),
        (0, 2 * room, 0, 800),
        (0, 0, 99, 99),
        (0, 0, 400, 100),
        (150, 0, 400, 250),
    ] {
        let totals = BlockTotals {
            gas: Gas::new(gas),
            bytes,
            inbound_gas: Gas::new(inbound_gas),
            ..BlockTotals::default()
        };
        assert_eq!(used(&totals, &parameters).get(), expected, "{totals:?}");
    }
}

/// A body that is full of transfers raises the base fee where everything is as usual.
#[test]
fn a_body_full_of_transfers_raises_the_base_fee_of_a_usual_network() {
    let users = [user(0, 0), user(0, 1)];
    let world = World::new(&[]);
    let wire = send(users, 0, FLOOR).checked(world.network.chain_id);
    let room = limits::BODY_TRANSACTION_BYTES;
    let count = u64::try_from(room / (wire.wire().len() + 4)).unwrap();
    let totals = BlockTotals {
        gas: Gas::new(count * transaction_gas(&wire).unwrap().get()),
        bytes: count * wire.wire().len() as u64,
        ..BlockTotals::default()
    };
    let parameters = Parameters::default();
    let used = used(&totals, &parameters);
    assert!(used.get() > parameters.block_gas.get() / 10 * 9, "{used:?}");
    assert!(after(parameters.base_fee, used, &parameters) > parameters.base_fee);
}

#[test]
fn heights_without_a_working_block_count_as_empty() {
    let parameters = parameters(400, FLOOR);
    let at = |height| price_at(Some(&record(800, 5)), &parameters, Height::new(height)).get();
    assert_eq!([at(6), at(7), at(8)], [800, 700, 612]);
    assert_eq!(
        [at(5), at(0)],
        [800, 800],
        "below the record nothing is known"
    );
    for price in [11, 17, 1 << 64, u128::MAX] {
        let stored = record(price, 5);
        let far = Height::new(u64::MAX);
        assert_eq!(price_at(Some(&stored), &parameters, far).get(), FLOOR);
    }
    assert_eq!(price_at(None, &parameters, Height::new(9)).get(), FLOOR);
}

#[test]
fn a_floor_of_zero_means_no_base_fee() {
    let free = parameters(400, 0);
    let stored = record(800, 5);
    assert_eq!(price_at(Some(&stored), &free, Height::new(6)), Amount::ZERO);
}

/// A network whose blocks hold about ten transfers, two rich users, and the gas of a transfer.
fn small_blocks(floor: u128) -> (World, [User; 2], u64) {
    let users = [user(0, 0), user(0, 1)];
    let rich = vec![Asset::nsker(1 << 100)];
    let accounts = users.map(|user| (user, rich.clone()));
    let probe = World::new(&accounts);
    let wire = send(users, 0, FLOOR).checked(probe.network.chain_id);
    let gas = transaction_gas(&wire).unwrap().get();
    let world = World::with(&accounts, parameters(10 * gas, floor));
    (world, users, gas)
}

fn send([from, to]: [User; 2], sequence: u64, price: u128) -> Draft {
    let mut draft = transfer(from, sequence, to.address, Asset::nsker(1));
    draft.price = price;
    draft
}

/// Runs a block of `count` transfers at `price`, which continue at `sequence`.
fn block(
    world: &mut World,
    users: [User; 2],
    sequence: &mut u64,
    (count, price): (u64, u128),
) -> Outcome {
    let first = *sequence;
    *sequence += count;
    let drafts: Vec<Draft> = (first..*sequence)
        .map(|sequence| send(users, sequence, price))
        .collect();
    world.transactions(shard(0), &drafts)
}

#[test]
fn a_shard_pays_by_its_own_blocks_and_what_is_above_the_base_fee_is_a_tip() {
    let (mut world, users, gas) = small_blocks(80);
    let mut sequence = 0;
    assert_eq!(world.base_fee(shard(0)), 80);
    let outcome = block(&mut world, users, &mut sequence, (10, 80));
    assert_eq!(outcome.base_fee.get(), 90);
    assert_eq!(outcome.burnt.get(), 10 * u128::from(gas) * 80);
    // The price of the next block is 90: of 100 paid, 10 are a tip.
    let tips = |world: &World| {
        let account = fee_account(shard(0));
        views::balance(world.state(shard(0)), &account, &Denom::SKER).get()
    };
    let before = tips(&world);
    let outcome = block(&mut world, users, &mut sequence, (5, 100));
    assert_eq!(outcome.burnt.get(), 5 * u128::from(gas) * 90);
    assert_eq!(tips(&world) - before, 5 * u128::from(gas) * 10);
    assert_eq!(outcome.base_fee.get(), 90, "half full");
    // The other shard has nothing to do with it.
    let other = world.state(shard(1));
    assert!(other.get(&price_key(shard(1))).is_none());
    // Two empty heights, and it is back; a record at the floor is deleted.
    *world.heights.get_mut(&shard(0)).unwrap() += 2;
    assert_eq!(world.base_fee(shard(0)), 80);
    let outcome = block(&mut world, users, &mut sequence, (1, 80));
    assert_eq!(outcome.base_fee.get(), 80);
    assert!(world.state(shard(0)).get(&price_key(shard(0))).is_none());
}

#[test]
fn what_pays_less_than_the_base_fee_makes_a_block_invalid() {
    let (mut world, users, _) = small_blocks(80);
    let mut sequence = 0;
    let outcome = block(&mut world, users, &mut sequence, (10, 80));
    let base_fee = outcome.base_fee;
    assert_eq!(base_fee.get(), 90);
    let judge = |price: u128| {
        let network = &world.network;
        let checked = send(users, sequence, price).checked(network.chain_id);
        let context = AdmissionContext {
            network,
            chain: shard(0),
            beacon_height: Height::ZERO,
            base_fee,
        };
        check_static(&checked, world.state(shard(0)), &context).err()
    };
    let too_low = Rejection::PriceTooLow {
        expected: base_fee,
        actual: Amount::new(89),
    };
    assert_eq!(judge(89), Some(too_low));
    assert_eq!(judge(90), None);
    // Executed all the same, it changes nothing and is told of.
    let outcome = block(&mut world, users, &mut sequence, (1, 89));
    assert!(matches!(outcome.receipts[0].status, Status::Void(_)));
    assert_eq!(outcome.alarms.len(), 1);
    assert_eq!(outcome.gas, Gas::ZERO);
}

#[test]
fn a_cross_link_shows_the_base_fee_that_the_header_reports() {
    let (mut world, _, _) = small_blocks(80);
    let mut link = world.link(shard(0));
    link.header.height = Height::new(2);
    link.header.report.result.base_fee = Amount::new(123);
    let work = BlockWork {
        system: vec![SystemOperation::CrossLink(Box::new(link))],
        ..BlockWork::default()
    };
    let chain = skerry_types::ids::ChainRef::Beacon;
    let outcome = world.run(chain, &work);
    assert_eq!(outcome.skipped, []);
    let shown = world.facts.shard(shard(0)).unwrap();
    assert_eq!(shown.base_fee.get(), 123);
    let other = world.facts.shard(shard(1)).unwrap();
    assert_eq!(other.base_fee.get(), 80);
}

/// Whatever blocks hold, the price stays at the floor or above, moves by an eighth at most, and what
/// the outcome says of the next block is what that block charges.
#[test]
fn random_histories_keep_the_rule() {
    for seed in 0..20 {
        println!("seed {seed}");
        let (mut world, users, gas) = small_blocks(FLOOR);
        let mut draws = Draws::new(seed);
        let mut sequence = 0;
        for _ in 0..20 {
            let before = world.base_fee(shard(0));
            let count = 1 + draws.below(10);
            let price = before + u128::from(draws.below(3));
            let outcome = block(&mut world, users, &mut sequence, (count, price));
            assert_eq!(outcome.burnt.get(), u128::from(count * gas) * before);
            let next = outcome.base_fee.get();
            assert_eq!(next, world.base_fee(shard(0)));
            assert!(next >= FLOOR);
            let step = before.div_ceil(8);
            assert!(before.abs_diff(next) <= step, "{before} to {next}");
            let busy = count > 5;
            assert!(if busy { next > before } else { next <= before });
            *world.heights.get_mut(&shard(0)).unwrap() += draws.below(3);
        }
    }
}

#[test]
fn suggested_price_is_the_floor_or_holds_for_two_full_blocks() {
    let parameters = parameters(400, 80);
    let suggested = |price: u128| views::gas_price(Amount::new(price), &parameters).get();
    assert_eq!(suggested(80), 80);
    assert_eq!(suggested(88), 111);
    let full = |price| after(price, Gas::new(400), &parameters);
    assert_eq!(full(full(Amount::new(88))).get(), 111);
}
