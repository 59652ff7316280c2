//! Tests of whole blocks: conservation, exactly once, replay, traps, prices, cost.
//!
//! Blocks run on a beacon and two shards in memory, every one twice, so that each test is also a
//! test of replay. Seeds are printed by the assertions that depend on them.

use crate::block::BlockWork;
use crate::credit;
use crate::error::{BlockError, CallError, ProofFailure, Rejection};
use crate::fees::{bundle_gas, transaction_gas};
use crate::inbox::Accepted;
use crate::module::{Call, Environment, Module};
use crate::modules::account::calls::AccountCall;
use crate::modules::bank::BankModule;
use crate::modules::bank::calls::BankCall;
use crate::modules::bank::state::balance_key;
use crate::modules::token::calls::TokenCall;
use crate::modules::{ACCOUNT, BANK, MODULES, TOKEN};
use crate::plan::{Access, Plan, PlanContext};
use crate::proofs::{verify_inbound, verify_path};
use crate::sheet::Sheet;
use crate::supply::{Sums, add, check_records, count_batches, count_supply};
use crate::testing::{
    Draft, Draws, User, World, bank, certificate, header, operation, shard, transfer, user,
};
use crate::validate::{BlockInput, CheckedBody, validate_block};
use crate::view::{decode_record, encode_amount};
use crate::views;
use skerry_types::amount::{Amount, Asset};
use skerry_types::beacon::ShardRecord;
use skerry_types::block::{BlockKind, Body};
use skerry_types::codec::{self, Version};
use skerry_types::crypto::ed25519::PublicKey;
use skerry_types::genesis::Parameters;
use skerry_types::ids::{Address, ChainRef, Denom, Digest, Epoch, Gas, Height, ModuleId, Sequence};
use skerry_types::merkle::{KeyProof, Level, OwnerEntry, PathProof, leaf_hash, value_hash};
use skerry_types::message::{
    Batch, BatchProof, Credit, Flow, InboundBatch, Message, MessageId, Payload,
};
use skerry_types::receipt::{Receipt, Status};
use skerry_types::state::StateKey;
use skerry_types::transaction::{Authenticator, Leg, Operation, Target};
use std::borrow::Cow;
use std::collections::BTreeMap;

const RICH: u128 = 1 << 90;

fn sker(units: u128) -> Asset {
    Asset::nsker(units)
}

fn code(receipt: &Receipt) -> &str {
    match &receipt.status {
        Status::Succeeded => "SUCCEEDED",
        Status::Failed(it) | Status::Void(it) | Status::Claimed(it) | Status::Dropped(it) => {
            &it.code
        }
    }
}

fn two_users() -> (World, User, User) {
    let (alice, bob) = (user(0, 1), user(1, 1));
    (
        World::new(&[(alice, vec![sker(RICH)]), (bob, vec![sker(RICH)])]),
        alice,
        bob,
    )
}

#[test]
fn local_transfer_is_credited_and_fee_split() {
    let (mut world, alice, _) = two_users();
    let carol = user(0, 2);
    let mut draft = transfer(alice, 0, carol.address, sker(5));
    draft.price = 13;
    let outcome = world.transactions(shard(0), &[draft]);
    let receipt = &outcome.receipts[0];
    assert_eq!(receipt.status, Status::Succeeded);
    let gas = u128::from(receipt.gas.get());
    assert_eq!(receipt.fee.get(), gas * 13);
    assert_eq!(outcome.burnt.get(), gas * 10);
    assert_eq!(world.balance(&carol, Denom::SKER), 5);
    assert_eq!(world.balance(&alice, Denom::SKER), RICH - 5 - gas * 13);
    let fees = views::fee_account(shard(0));
    assert_eq!(
        views::balance(world.state(shard(0)), &fees, &Denom::SKER).get(),
        gas * 3
    );
    let [event] = &receipt.events[..] else {
        panic!("{receipt:?}")
    };
    assert_eq!((event.owner, &*event.name), (carol.address, "transfer"));
    let told = event.attributes.iter();
    let told: Vec<(&str, String)> = told.map(|it| (&*it.name, it.value.to_string())).collect();
    let expected = [
        ("sender", alice.address.to_string()),
        ("denom", "sker".to_owned()),
        ("amount", "5".to_owned()),
    ];
    assert_eq!(told, expected);
    // No name was copied.
    let mut names = event.attributes.iter().map(|it| &it.name);
    assert!(names.all(|name| matches!(name, Cow::Borrowed(_))));
    assert!(matches!(event.name, Cow::Borrowed(_)));
}

#[test]
fn zero_balance_has_no_key_and_nonce_record_stays() {
    let (mut world, alice, _) = two_users();
    let carol = user(0, 2);
    let draft = transfer(alice, 0, carol.address, sker(0x1_0000));
    let fee = fee_of(&world, &draft);
    let draft = transfer(alice, 0, carol.address, sker(RICH - fee));
    assert_eq!(fee_of(&world, &draft), fee);
    world.transactions(shard(0), &[draft]);
    let state = world.state(shard(0));
    assert!(
        !state
            .0
            .contains_key(&balance_key(&alice.address, &Denom::SKER))
    );
    assert_eq!(views::next_nonce(state, &alice.address, 0), 1);
}

fn fee_of(world: &World, draft: &Draft) -> u128 {
    let gas = transaction_gas(&draft.checked(world.network.chain_id)).unwrap();
    u128::from(gas.get()) * draft.price
}

#[test]
fn wrong_nonce_and_unpayable_fee_are_void() {
    let (mut world, alice, _) = two_users();
    let poor = user(0, 3);
    let drafts = [
        transfer(alice, 1, poor.address, sker(1)),
        transfer(poor, 0, alice.address, sker(1)),
    ];
    let before = world.state(shard(0)).clone();
    let outcome = world.transactions(shard(0), &drafts);
    assert_eq!(code(&outcome.receipts[0]), "WRONG_NONCE");
    assert_eq!(code(&outcome.receipts[1]), "INSUFFICIENT_FEE_BALANCE");
    assert!(
        outcome
            .receipts
            .iter()
            .all(|it| it.fee.is_zero() && it.gas == Gas::ZERO)
    );
    assert_eq!(*world.state(shard(0)), before);
}

#[test]
fn failed_bundle_charges_the_fee_and_undoes_the_rest() {
    let (mut world, alice, _) = two_users();
    let carol = user(0, 2);
    // The first operation succeeds, the second takes what is not there.
    let draft = transfer(alice, 0, carol.address, sker(5)).call(bank(&BankCall::Send {
        to: carol.address,
        asset: sker(1),
    }));
    let outcome = world.transactions(shard(0), &[draft]);
    assert_eq!(code(&outcome.receipts[0]), "SHEET_NEGATIVE");
    assert!(matches!(outcome.receipts[0].status, Status::Failed(_)));
    assert!(outcome.receipts[0].events.is_empty());
    assert_eq!(world.balance(&carol, Denom::SKER), 0);
    assert_eq!(
        world.balance(&alice, Denom::SKER),
        RICH - outcome.receipts[0].fee.get()
    );
    assert_eq!(
        views::next_nonce(world.state(shard(0)), &alice.address, 0),
        1
    );
}

#[test]
fn failed_bundle_sends_no_message() {
    let (mut world, alice, bob) = two_users();
    let draft = transfer(alice, 0, bob.address, sker(5)).call(bank(&BankCall::Send {
        to: bob.address,
        asset: sker(1),
    }));
    let outcome = world.transactions(shard(0), &[draft]);
    assert!(outcome.outgoing.is_empty() && outcome.receipts[0].messages.is_empty());
}

#[test]
fn deadline_and_minimum_output_bind() {
    let (mut world, alice, _) = two_users();
    *world.heights.get_mut(&ChainRef::Beacon).unwrap() = 7;
    let mut late = Draft::new(alice, 0, vec![]);
    late.bundle.deadline = Height::new(6);
    let mut greedy = Draft::new(alice, 1, vec![sker(5)]);
    greedy.bundle.minimum_outputs = vec![sker(6)];
    let mut fine = Draft::new(alice, 2, vec![sker(5)]);
    fine.bundle.minimum_outputs = vec![sker(5)];
    fine.bundle.deadline = Height::new(7);
    let outcome = world.transactions(shard(0), &[late, greedy, fine]);
    let codes: Vec<&str> = outcome.receipts.iter().map(code).collect();
    assert_eq!(codes, ["DEADLINE_PASSED", "MINIMUM_OUTPUT", "SUCCEEDED"]);
}

#[test]
fn remote_transfer_arrives_exactly_once() {
    let (mut world, alice, bob) = two_users();
    let sent = world.transactions(shard(0), &[transfer(alice, 0, bob.address, sker(5))]);
    assert_eq!(sent.receipts[0].messages.len(), 1);
    assert_eq!(sent.outgoing.len(), 1);
    let batch = sent.outgoing[0].clone();
    let record =
        views::batch_record(world.state(shard(0)), shard(0), shard(1), batch.first).unwrap();
    assert_eq!(record.root, batch.root());
    let got = world.inbound(shard(1), vec![batch.clone()]);
    assert_eq!(got.receipts[0].status, Status::Succeeded);
    assert_eq!(world.balance(&bob, Denom::SKER), RICH + 5);
    let inbound = views::inbound(world.state(shard(1)), shard(1), shard(0));
    assert_eq!(inbound.accepted_cursor(), Sequence::new(1));
    assert_eq!(inbound.rolling, batch.roll(&Digest::ZERO));
    // A repetition is skipped with an alarm and changes nothing.
    let before = world.state(shard(1)).clone();
    let again = world.inbound(shard(1), vec![batch]);
    assert_eq!(again.alarms.len(), 1);
    assert_eq!(*world.state(shard(1)), before);
}

#[test]
fn gap_and_foreign_batches_are_skipped_with_an_alarm() {
    let (mut world, alice, bob) = two_users();
    let sent = world.transactions(shard(0), &[transfer(alice, 0, bob.address, sker(5))]);
    let mut gap = sent.outgoing[0].clone();
    gap.first = Sequence::new(3);
    let mut foreign = sent.outgoing[0].clone();
    foreign.destination = shard(0);
    let outcome = world.inbound(shard(1), vec![gap, foreign]);
    assert_eq!(outcome.alarms.len(), 2);
    assert!(outcome.changes.is_empty());
}

#[test]
fn full_lane_keeps_bodies_in_the_state_until_they_run() {
    let (alice, bob) = (user(0, 1), user(1, 1));
    let parameters = Parameters {
        block_gas: Gas::new(24_000),
        inbound_gas: Gas::new(24_000),
        ..Parameters::default()
    };
    let mut world = World::with(&[(alice, vec![sker(RICH)])], parameters);
    let drafts: Vec<Draft> = (0..7)
        .map(|n| transfer(alice, n, bob.address, sker(1 << n)))
        .collect();
    let sent = world.transactions(shard(0), &drafts);
    let first = world.inbound(shard(1), sent.outgoing.clone());
    let ran = first.receipts.len();
    assert!((1..7).contains(&ran), "{ran}");
    assert!(first.gas <= Gas::new(24_000));
    let waiting =
        |world: &World| views::inbox_waiting(world.state(shard(1)), &world.network, shard(1));
    assert_eq!(waiting(&world), 7 - ran as u64);
    let mut blocks = 0;
    while waiting(&world) > 0 {
        world.inbound(shard(1), vec![]);
        blocks += 1;
        assert!(blocks < 7);
    }
    assert_eq!(world.balance(&bob, Denom::SKER), 127);
    let object = crate::modules::channels::state::inbox_object(shard(1));
    assert!(world.state(shard(1)).entries(&object).is_empty());
}

fn batch_of(messages: Vec<Vec<u8>>) -> Batch {
    let (source, destination) = (shard(0), shard(1));
    Batch {
        version: Version,
        source,
        destination,
        first: Sequence::ZERO,
        messages,
    }
}

fn transfer_wire(sender: Address, recipient: Address, assets: Vec<Asset>) -> Vec<u8> {
    let payload = Payload::Transfer {
        sender,
        recipient,
        assets,
    };
    codec::encode(&Message {
        version: Version,
        origin: Digest::ZERO,
        payload,
    })
}

#[test]
fn nonsense_is_accepted_dropped_and_its_value_burnt() {
    let (mut world, alice, bob) = two_users();
    let messages = vec![
        vec![1, 2, 3],
        transfer_wire(alice.address, alice.address, vec![sker(1)]),
        transfer_wire(bob.address, bob.address, vec![sker(2)]),
        transfer_wire(alice.address, bob.address, vec![sker(4), sker(8)]),
        transfer_wire(alice.address, bob.address, vec![sker(16)]),
    ];
    let outcome = world.inbound(shard(1), vec![batch_of(messages)]);
    let codes: Vec<&str> = outcome.receipts.iter().map(code).collect();
    let expected = [
        "UNDECODABLE",
        "WRONG_SHARD",
        "SENDER_ELSEWHERE",
        "ASSETS_NOT_CANONICAL",
        "SUCCEEDED",
    ];
    assert_eq!(codes, expected);
    assert_eq!(outcome.burnt, Amount::new(15));
    let summary = outcome
        .channels
        .iter()
        .find(|it| it.peer == shard(1))
        .unwrap();
    assert_eq!(summary.sent.sker, 15);
    assert_eq!(world.balance(&bob, Denom::SKER), RICH + 16);
}

#[test]
fn uncreditable_value_becomes_a_claim_that_the_owner_collects() {
    let (mut world, alice, bob) = two_users();
    let denom = Denom::new([9; 32]);
    let huge = Asset {
        denom,
        amount: Amount::MAX,
    };
    let wire = transfer_wire(alice.address, bob.address, vec![huge]);
    let small = transfer_wire(
        alice.address,
        bob.address,
        vec![Asset {
            denom,
            amount: Amount::new(3),
        }],
    );
    let outcome = world.inbound(shard(1), vec![batch_of(vec![wire, small])]);
    assert!(matches!(outcome.receipts[1].status, Status::Claimed(_)));
    let claims = views::claims(&world.state(shard(1)).entries(&bob.address));
    assert_eq!(claims.len(), 1);
    let claim = BankCall::Claim {
        denom,
        source: shard(0),
        sequence: Sequence::new(1),
    };
    // There is room only once something was sent away.
    let drafts = [
        Draft::new(bob, 0, vec![]).call(bank(&claim)),
        transfer(
            bob,
            1,
            user(1, 2).address,
            Asset {
                denom,
                amount: Amount::new(10),
            },
        ),
        Draft::new(bob, 2, vec![]).call(bank(&claim)),
        Draft::new(bob, 3, vec![]).call(bank(&claim)),
    ];
    let outcome = world.transactions(shard(1), &drafts);
    let codes: Vec<&str> = outcome.receipts.iter().map(code).collect();
    assert_eq!(
        codes,
        ["OVERFLOW", "SUCCEEDED", "SUCCEEDED", "NO_SUCH_CLAIM"]
    );
    assert_eq!(world.balance(&bob, denom), u128::MAX - 7);
}

#[test]
fn rotation_acts_from_the_next_state() {
    let (mut world, alice, _) = two_users();
    let fresh = Authenticator::Ed25519(PublicKey([3; 32]));
    let call = AccountCall::RotateKey {
        authenticator: fresh.clone(),
    };
    let draft = Draft::new(alice, 0, vec![]).call(operation(ACCOUNT, &call));
    let old = draft.checked(world.network.chain_id);
    let mut renewed = Draft::new(alice, 1, vec![]);
    renewed.authenticator = Some(fresh.clone());
    let renewed = renewed.checked(world.network.chain_id);
    let state = world.state(shard(0));
    assert!(views::controls(state, &old) && !views::controls(state, &renewed));
    let outcome = world.transactions(shard(0), &[draft]);
    assert_eq!(code(&outcome.receipts[0]), "SUCCEEDED");
    let state = world.state(shard(0));
    assert!(!views::controls(state, &old) && views::controls(state, &renewed));
    assert_eq!(views::authenticator(state, &alice.address), Some(fresh));
}

#[test]
fn cross_links_acknowledge_and_keep_supply() {
    let (mut world, alice, bob) = two_users();
    let sent = world.transactions(shard(0), &[transfer(alice, 0, bob.address, sker(5))]);
    world.inbound(shard(1), sent.outgoing.clone());
    // Only the receiver is linked: its acceptance is not covered, so it is skipped.
    let open = BlockWork {
        system: vec![world.crosslink(shard(1))],
        ..BlockWork::default()
    };
    let outcome = world.run(ChainRef::Beacon, &open);
    assert_eq!(outcome.skipped.len(), 1);
    // Both together are closed, whatever their order.
    let both = vec![world.crosslink(shard(1)), world.crosslink(shard(0))];
    let work = BlockWork {
        system: both.clone(),
        ..BlockWork::default()
    };
    let outcome = world.run(ChainRef::Beacon, &work);
    assert!(outcome.skipped.is_empty(), "{:?}", outcome.skipped);
    let facts = outcome.facts.unwrap();
    let burnt = sent.burnt.get();
    let supply = |chain| facts.shard(chain).unwrap().supply[1];
    assert_eq!(supply(shard(0)), sker(RICH - 5 - burnt));
    assert_eq!(supply(shard(1)), sker(RICH + 5));
    // Again is idempotent.
    let again = world.run(ChainRef::Beacon, &work);
    assert_eq!(again.skipped.len(), 2);
    // The source imports the facts and forgets the batch.
    assert_eq!(
        views::unacknowledged(world.state(shard(0)), shard(0), shard(1), 9).len(),
        1
    );
    let work = BlockWork {
        facts: Some(world.facts.clone()),
        ..BlockWork::default()
    };
    world.run(shard(0), &work);
    let state = world.state(shard(0));
    assert!(views::unacknowledged(state, shard(0), shard(1), 9).is_empty());
    assert_eq!(
        views::imported_facts(state, &world.network, shard(0)),
        world.facts
    );
    assert_eq!(
        views::facts_head(state, shard(0)).unwrap().root,
        world.facts.root()
    );
}

#[test]
fn genesis_facts_are_those_that_shards_hold() {
    let (world, _, _) = two_users();
    assert_eq!(
        views::imported_facts(world.state(shard(1)), &world.network, shard(1)),
        world.facts
    );
    let beacon = views::beacon_facts(world.state(ChainRef::Beacon), &world.network);
    assert_eq!(beacon, world.facts);
}

// --- conservation -------------------------------------------------------------------------------

struct Party {
    user: User,
    next: u64,
}

pub(crate) fn issued(world: &World) -> Sums {
    let mut sums = Sums::new();
    for asset in world.genesis.accounts.iter().flat_map(|it| &it.assets) {
        add(&mut sums, asset.denom, asset.amount);
    }
    for (chain, state) in &world.states {
        for (denom, amount) in count_supply(*chain, state.records()).token_supply {
            add(&mut sums, denom, amount);
        }
    }
    sums
}

pub(crate) fn accounted<'b>(world: &World, flight: impl Iterator<Item = &'b Batch>) -> Sums {
    let mut sums = count_batches(flight);
    for (chain, state) in &world.states {
        for (denom, amount) in count_supply(*chain, state.records()).accounted() {
            add(&mut sums, denom, amount);
        }
    }
    sums
}

/// A random transaction of a random kind, often one that must fail.
fn random_draft(draws: &mut Draws, parties: &[Party], bits: u16) -> (usize, Draft) {
    let here: Vec<usize> = (0..parties.len())
        .filter(|index| ChainRef::Shard(parties[*index].user.address.shard(1)) == shard(bits))
        .collect();
    let index = here[draws.below(here.len() as u64) as usize];
    let from = parties[index].user;
    let to = parties[draws.below(parties.len() as u64) as usize]
        .user
        .address;
    let creator = parties[here[0]].user;
    let denom = match draws.below(3) {
        0 => Denom::SKER,
        1 => Denom::STSKER,
        _ => Denom::created(&parties[(draws.below(2) * 5) as usize].user.address, "coin"),
    };
    let asset = Asset {
        denom,
        amount: Amount::new(draws.amount(120)),
    };
    let mut draft = match draws.below(8) {
        0 => {
            let (name, symbol) = ("coin".to_owned(), "C".to_owned());
            let authority = Some(creator.address);
            let metadata = String::new();
            let call = TokenCall::Create {
                name,
                symbol,
                decimals: 6,
                metadata,
                authority,
            };
            Draft::new(creator, 0, vec![]).call(operation(TOKEN, &call))
        }
        1 => Draft::new(creator, 0, vec![])
            .call(operation(TOKEN, &TokenCall::Mint { asset }))
            .call(bank(&BankCall::Send {
                to,
                asset: Asset {
                    amount: Amount::new(1),
                    ..asset
                },
            })),
        2 => Draft::new(from, 0, vec![asset]).call(operation(TOKEN, &TokenCall::Burn { asset })),
        _ => transfer(from, 0, to, asset),
    };
    let index = if draft.user.address == from.address {
        index
    } else {
        here[0]
    };
    draft.sequence = parties[index].next;
    if draws.below(12) == 0 {
        draft.sequence += 1 + draws.below(3);
    }
    draft.price = 10 + draws.below(5) as u128;
    if draws.below(4) == 0 {
        leave(draws, parties, bits, &mut draft);
    }
    (index, draft)
}

/// Sends the bundle to the other shard, to the beacon, or to both, now and then too cheaply.
fn leave(draws: &mut Draws, parties: &[Party], bits: u16, draft: &mut Draft) {
    let home = |party: &&Party| ChainRef::Shard(party.user.address.shard(1)) != shard(bits);
    let far = parties.iter().find(home).unwrap().user.address;
    let (near, operations) = (
        Target::Near(far),
        std::mem::take(&mut draft.bundle.operations),
    );
    let leg = |target, operations| Leg {
        target,
        operations,
        minimum_outputs: Vec::new(),
    };
    (draft.bundle.target, draft.bundle.onward) = match draws.below(3) {
        0 => (near, vec![]),
        1 => (near, vec![leg(Target::Beacon, vec![])]),
        _ => (Target::Beacon, vec![leg(near, operations.clone())]),
    };
    if draft.bundle.target == near {
        draft.bundle.operations = operations;
    }
    if draws.below(8) > 0 {
        draft.price += 10;
    }
}

#[test]
fn random_blocks_conserve_supply_across_two_shards() {
    let mut seen = BTreeMap::new();
    for seed in 0..24 {
        conserve(seed, &mut seen);
    }
    // The test is worth nothing unless it reaches every kind of end.
    for code in [
        "SUCCEEDED",
        "WRONG_NONCE",
        "INSUFFICIENT_BALANCE",
        "INSUFFICIENT_FEE_BALANCE",
        "ELSEWHERE_OBJECT",
        "TOKEN_EXISTS",
        "NO_SUCH_TOKEN",
        "PRICE_TOO_LOW_THERE",
        "REPLY_ONLY",
        "NEEDS_SENDER",
        "REQUEST_MALFORMED",
    ] {
        assert!(
            seen.get(code).is_some_and(|count| *count > 4),
            "{code}: {seen:?}"
        );
    }
}

fn conserve(seed: u64, seen: &mut BTreeMap<String, u64>) {
    let mut draws = Draws::new(seed);
    let mut parties: Vec<Party> = Vec::new();
    let mut accounts = Vec::new();
    for bits in 0..2 {
        for number in 0..5 {
            let user = user(bits, number);
            let rich = Asset {
                denom: Denom::STSKER,
                amount: Amount::new(draws.amount(90)),
            };
            let assets = if number == 4 {
                vec![]
            } else {
                vec![sker(RICH), rich]
            };
            accounts.push((user, assets));
            parties.push(Party { user, next: 0 });
        }
    }
    let parameters = Parameters {
        block_gas: Gas::new(400_000),
        // In every other world a request fits the lane.
        inbound_gas: Gas::new(10_000 + draws.below(40_000) + (seed % 2) * 350_000),
        ..Parameters::default()
    };
    let mut world = World::with(&accounts, parameters);
    let mut flight: BTreeMap<ChainRef, Vec<Batch>> = BTreeMap::new();
    let mut supply_linked = 0;
    for _ in 0..40 {
        let bits = draws.below(2) as u16;
        let here = shard(bits);
        let mut work = BlockWork::default();
        let mut drafts = Vec::new();
        for _ in 0..draws.below(12) {
            let (index, mut draft) = random_draft(&mut draws, &parties, bits);
            let expected = draft.sequence == parties[index].next;
            draft.price += world.base_fee(here) - world.network.parameters.base_fee.get();
            let checked = draft.checked(world.network.chain_id);
            if expected {
                parties[index].next += 1;
            }
            drafts.push((index, draft));
            work.transactions.push(checked);
        }
        let arriving = flight.entry(here).or_default();
        let count = draws.below(arriving.len() as u64 + 1) as usize;
        work.inbound = arriving.drain(..count).collect();
        let stored = views::facts_head(world.state(here), here).unwrap().root;
        work.facts = (stored != world.facts.root()).then(|| world.facts.clone());
        let outcome = world.run(here, &work);
        assert!(
            outcome.alarms.is_empty(),
            "seed {seed}: {:?}",
            outcome.alarms
        );
        for receipt in &outcome.receipts {
            *seen.entry(code(receipt).to_owned()).or_default() += 1;
        }
        // Void transactions use no nonce: what was assumed is put right.
        for (index, _) in drafts {
            let address = parties[index].user.address;
            parties[index].next = views::next_nonce(world.state(here), &address, 0);
        }
        for batch in outcome.outgoing {
            flight.entry(batch.destination).or_default().push(batch);
        }
        if draws.below(3) == 0 {
            let system = vec![world.crosslink(shard(0)), world.crosslink(shard(1))];
            let work = BlockWork {
                system,
                inbound: flight.remove(&ChainRef::Beacon).unwrap_or_default(),
                ..BlockWork::default()
            };
            let outcome = world.run(ChainRef::Beacon, &work);
            for receipt in &outcome.receipts {
                *seen.entry(code(receipt).to_owned()).or_default() += 1;
            }
            for batch in outcome.outgoing {
                flight.entry(batch.destination).or_default().push(batch);
            }
            supply_linked += 1;
            let on_beacon = world.state(ChainRef::Beacon).records();
            let on_beacon = count_supply(ChainRef::Beacon, on_beacon).accounted();
            // The beacon's supplies with what is in flight are all that is not destroyed.
            for (position, denom) in crate::modules::crosslinks::NATIVE.iter().enumerate() {
                let mut total = count_batches(flight.values().flatten())
                    .get(denom)
                    .map_or(0, |it| it.get());
                total += on_beacon.get(denom).map_or(0, |it| it.get());
                for record in &world.facts.shards {
                    total += record.supply[position].amount.get();
                    total += views::burnt(world.state(record.chain), record.chain, denom).get();
                }
                let genesis = world.genesis.supply(*denom).unwrap();
                assert_eq!(total, genesis.get(), "seed {seed}: supply of {denom}");
            }
        }
        assert_eq!(
            accounted(&world, flight.values().flatten()),
            issued(&world),
            "seed {seed}"
        );
    }
    for state in world.states.values() {
        assert_eq!(check_records(state.records()), vec![], "seed {seed}");
    }
    assert!(supply_linked > 0);
}

// --- traps and prices ---------------------------------------------------------------------------

/// Declares nothing and touches what it is told to.
struct LiarModule;
struct LiarCall(u8);

const LIAR: ModuleId = ModuleId::new(900);

impl Call for LiarCall {
    fn gas(&self) -> Gas {
        Gas::new(1)
    }
    fn plan(&self, context: &PlanContext<'_>) -> Plan {
        match self.0 {
            4 => Plan::of(context.sender, Access::Read),
            5 => Plan::of(context.sender, Access::AddOnly),
            6 => Plan::of(context.sender, Access::Exclusive),
            _ => Plan::nothing(),
        }
    }
    fn execute(&self, environment: &mut Environment<'_, '_>) -> Result<(), CallError> {
        let sender = environment.scene.sender;
        let key = StateKey::new(sender, LIAR, [1]);
        let value = encode_amount(Amount::new(7)).unwrap();
        // The liar swallows every refusal.
        match self.0 {
            0 | 5 => drop(environment.view.get(key)),
            1 | 4 => drop(environment.view.put(key, value)),
            2 => drop(environment.view.delete(key)),
            3 => drop(environment.credit(sender, sker(1))),
            _ => environment.view.put(key, value)?,
        }
        Ok(())
    }
    fn to_json(&self) -> serde_json::Value {
        serde_json::Value::Null
    }
}

impl Module for LiarModule {
    fn id(&self) -> ModuleId {
        LIAR
    }
    fn name(&self) -> &'static str {
        "liar"
    }
    fn decode(&self, call: &[u8]) -> Result<Box<dyn Call>, CallError> {
        Ok(Box::new(LiarCall(call[0])))
    }
    fn call_from_json(&self, _: &serde_json::Value) -> Result<Vec<u8>, CallError> {
        Ok(vec![])
    }
    fn query(&self, _: &Address, _: &[OwnerEntry]) -> serde_json::Value {
        serde_json::Value::Null
    }
    fn check_invariants(&self, _: &StateKey, _: &[u8]) -> Result<(), String> {
        Ok(())
    }
}

#[test]
fn lying_module_fails_on_every_undeclared_access() {
    static WITH_LIAR: &[&dyn Module] = &[&BankModule, &LiarModule];
    let (mut world, alice, _) = two_users();
    world.modules = WITH_LIAR;
    let call = |n: u8| skerry_types::transaction::Operation {
        module: LIAR,
        call: vec![n],
    };
    let drafts: Vec<Draft> = (0..7)
        .map(|n| Draft::new(alice, u64::from(n), vec![]).call(call(n)))
        .collect();
    let outcome = world.transactions(shard(0), &drafts);
    let codes: Vec<&str> = outcome.receipts.iter().map(code).collect();
    assert_eq!(codes[..6], ["UNDECLARED_ACCESS"; 6]);
    assert_eq!(codes[6], "SUCCEEDED");
    assert_eq!(outcome.alarms.len(), 6);
}

#[test]
fn object_of_another_shard_cannot_be_touched() {
    let (mut world, alice, bob) = two_users();
    let asset = Asset {
        denom: Denom::created(&bob.address, "coin"),
        amount: Amount::new(1),
    };
    let draft = Draft::new(alice, 0, vec![]).call(operation(TOKEN, &TokenCall::Mint { asset }));
    let outcome = world.transactions(shard(0), &[draft]);
    assert_eq!(code(&outcome.receipts[0]), "ELSEWHERE_OBJECT");
}

#[test]
fn nothing_is_free() {
    let alice = user(0, 1);
    let asset = sker(1);
    let address = alice.address;
    let name = || "n".to_owned();
    let calls = [
        operation(BANK, &BankCall::Send { to: address, asset }),
        operation(
            BANK,
            &BankCall::Claim {
                denom: Denom::SKER,
                source: shard(1),
                sequence: Sequence::ZERO,
            },
        ),
        operation(
            ACCOUNT,
            &AccountCall::RotateKey {
                authenticator: Authenticator::Ed25519(alice.key),
            },
        ),
        operation(
            TOKEN,
            &TokenCall::Create {
                name: name(),
                symbol: name(),
                decimals: 0,
                metadata: name(),
                authority: None,
            },
        ),
        operation(TOKEN, &TokenCall::Mint { asset }),
        operation(TOKEN, &TokenCall::Burn { asset }),
        operation(
            TOKEN,
            &TokenCall::SetMetadata {
                denom: Denom::SKER,
                metadata: name(),
            },
        ),
        operation(
            TOKEN,
            &TokenCall::TransferAuthority {
                denom: Denom::SKER,
                to: None,
            },
        ),
    ];
    let empty = Draft::new(alice, 0, vec![]);
    let chain_id = Digest::ZERO;
    let least = transaction_gas(&empty.checked(chain_id)).unwrap();
    assert!(least.get() >= crate::gas::TRANSACTION + crate::gas::SIGNATURE);
    for call in calls {
        let module = crate::modules::find(MODULES, call.module).unwrap();
        let decoded = module.decode(&call.call).unwrap();
        assert!(decoded.gas().get() > 0);
        // The JSON form leads back to the same bytes.
        assert_eq!(
            module.call_from_json(&decoded.to_json()).unwrap(),
            call.call
        );
        let bundle = empty.clone().call(call).bundle;
        assert!(bundle_gas(&bundle).unwrap() > bundle_gas(&empty.bundle).unwrap());
    }
    assert!(crate::gas::message(0, 0) > Gas::ZERO);
}

#[test]
fn call_of_no_module_has_no_gas() {
    let alice = user(0, 1);
    let unknown = skerry_types::transaction::Operation {
        module: ModuleId::new(77),
        call: vec![],
    };
    let bundle = Draft::new(alice, 0, vec![]).call(unknown).bundle;
    assert!(matches!(
        bundle_gas(&bundle),
        Err(Rejection::UnknownModule { .. })
    ));
    let garbage = skerry_types::transaction::Operation {
        module: BANK,
        call: vec![250],
    };
    let bundle = Draft::new(alice, 0, vec![]).call(garbage).bundle;
    assert!(matches!(bundle_gas(&bundle), Err(Rejection::Call { .. })));
}

#[test]
fn sheet_may_dip_below_zero_but_not_end_there() {
    let mut sheet = Sheet::with(&[sker(5)]);
    sheet.take(sker(9)).unwrap();
    assert!(matches!(
        sheet.finish(&[]),
        Err(CallError::SheetNegative { .. })
    ));
    sheet.put(sker(10)).unwrap();
    let left: Vec<Asset> = sheet.finish(&[sker(6)]).unwrap().collect();
    assert_eq!(left, [sker(6)]);
    assert!(matches!(
        sheet.finish(&[sker(7)]),
        Err(CallError::MinimumOutput { .. })
    ));
    sheet
        .take(Asset {
            denom: Denom::SKER,
            amount: Amount::MAX,
        })
        .unwrap();
    sheet.take(sker(6)).unwrap();
    assert!(matches!(
        sheet.take(Asset {
            denom: Denom::SKER,
            amount: Amount::MAX
        }),
        Err(CallError::Overflow { .. })
    ));
}

// --- validity -----------------------------------------------------------------------------------

fn validate(world: &World, chain: ChainRef, body: &Body) -> Result<usize, BlockError> {
    let mut header = header(&world.network, chain, world.heights[&chain] + 1);
    header.body_root = body.root();
    header.beacon.height = Height::new(50);
    let bytes = codec::encode(body);
    let body = CheckedBody::decode(&header, &bytes)?;
    let input = BlockInput {
        network: &world.network,
        chain,
        header: &header,
        body: body.as_ref(),
        parent: world.state(chain),
        shown_epoch: Epoch::ZERO,
        shown_facts_root: world.facts.root(),
        known: &[],
    };
    validate_block(&input).map(|valid| valid.transactions.len())
}

#[test]
fn block_with_a_price_below_its_own_base_fee_is_invalid() {
    let [alice, bob] = [user(0, 0), user(0, 1)];
    let parameters = Parameters {
        block_gas: Gas::new(200_000),
        inbound_gas: Gas::new(100_000),
        base_fee: Amount::new(80),
        ..Parameters::default()
    };
    let mut world = World::with(&[(alice, vec![sker(RICH)])], parameters);
    let priced = |sequence, price| Draft {
        price,
        ..transfer(alice, sequence, bob.address, sker(1))
    };
    let full: Vec<Draft> = (0..9).map(|sequence| priced(sequence, 80)).collect();
    let risen = world.transactions(shard(0), &full).base_fee.get();
    assert!(risen > 80, "{risen}");
    let judge =
        |world: &World, price| validate(world, shard(0), &body_of(world, &[priced(9, price)]));
    assert_eq!(judge(&world, risen), Ok(1));
    let refused = judge(&world, risen - 1);
    assert!(
        matches!(refused, Err(BlockError::Admission { .. })),
        "{refused:?}"
    );
    // The height of the block counts, not that of the record alone.
    *world.heights.get_mut(&shard(0)).unwrap() += 1;
    assert_eq!(judge(&world, risen - 1), Ok(1));
}

fn body_of(world: &World, drafts: &[Draft]) -> Body {
    let wire = |draft: &Draft| draft.wire(world.network.chain_id);
    Body {
        transactions: drafts.iter().map(wire).collect(),
        ..Body::default()
    }
}

#[test]
fn admission_rules_make_a_block_invalid() {
    let (world, alice, bob) = two_users();
    let good = transfer(alice, 0, bob.address, sker(1));
    let here = shard(0);
    assert_eq!(
        validate(&world, here, &body_of(&world, std::slice::from_ref(&good))),
        Ok(1)
    );
    let rejection = |draft: Draft| match validate(&world, here, &body_of(&world, &[draft])) {
        Err(BlockError::Admission { cause, .. }) => cause.reason(),
        other => panic!("{other:?}"),
    };
    let change = |edit: &dyn Fn(&mut Draft)| {
        let mut draft = good.clone();
        edit(&mut draft);
        rejection(draft)
    };
    assert_eq!(change(&|it| it.user = bob), "WRONG_SHARD");
    assert_eq!(change(&|it| it.price = 9), "GAS_PRICE_TOO_LOW");
    assert_eq!(change(&|it| it.gas_limit = 9), "GAS_LIMIT_TOO_LOW");
    assert_eq!(change(&|it| it.valid_until = 49), "EXPIRED");
    assert_eq!(change(&|it| it.valid_until = 50 + 20_001), "EXPIRY_TOO_FAR");
    let leg = Leg {
        target: Target::Near(user(1, 1).address),
        operations: Vec::new(),
        minimum_outputs: Vec::new(),
    };
    // By way of the sender's home, and twice on one chain.
    for (first, home) in [(shard(1), false), (shard(0), true), (shard(0), false)] {
        let near = |chain| user(if chain == shard(1) { 1 } else { 0 }, 1).address;
        let route = |it: &mut Draft| {
            it.bundle.target = Target::Near(near(first));
            it.bundle.onward = vec![leg.clone()];
            if home {
                it.bundle.target = Target::Beacon;
                it.bundle.onward[0].target = Target::Near(near(shard(0)));
            }
        };
        assert_eq!(change(&route), "BAD_ROUTE");
    }
    let mut garbage = leg;
    garbage.target = Target::Beacon;
    garbage.operations = vec![Operation {
        module: BANK,
        call: vec![250],
    }];
    assert_eq!(
        change(&|it| {
            it.bundle.target = Target::Near(user(1, 1).address);
            it.bundle.onward = vec![garbage.clone()];
        }),
        "UNDECODABLE_CALL"
    );
    let other = Some(Authenticator::Ed25519(PublicKey([1; 32])));
    assert_eq!(
        change(&|it| it.authenticator = other.clone()),
        "AUTHENTICATOR_MISMATCH"
    );
    // A wrong nonce is void, not invalid.
    let mut void = good.clone();
    void.sequence = 5;
    assert_eq!(validate(&world, here, &body_of(&world, &[void])), Ok(1));
    let twice = body_of(&world, &[good.clone(), good.clone()]);
    assert_eq!(
        validate(&world, here, &twice),
        Err(BlockError::Duplicate { index: 1 })
    );
    let mut foreign = body_of(&world, &[]);
    foreign.transactions = vec![good.wire(Digest::ZERO)];
    assert!(matches!(
        validate(&world, here, &foreign),
        Err(BlockError::Transaction { .. })
    ));
    let beacon = validate(&world, ChainRef::Beacon, &body_of(&world, &[good]));
    assert!(matches!(beacon, Err(BlockError::NotOnThisChain { .. })));
    let system = Body {
        system: vec![world.crosslink(shard(0))],
        ..Body::default()
    };
    assert!(matches!(
        validate(&world, here, &system),
        Err(BlockError::NotOnThisChain { .. })
    ));
    assert_eq!(validate(&world, ChainRef::Beacon, &system), Ok(0));
}

#[test]
fn transactions_leave_the_lane_free_when_something_arrives() {
    let (mut world, alice, bob) = two_users();
    let draft = transfer(alice, 0, bob.address, sker(1));
    let gas = transaction_gas(&draft.checked(world.network.chain_id)).unwrap();
    let mut network = (*world.network).clone();
    network.parameters.block_gas = Gas::new(gas.get() * 2);
    network.parameters.inbound_gas = gas;
    world.network = std::sync::Arc::new(network);
    let drafts: Vec<Draft> = (0..3)
        .map(|n| Draft {
            sequence: n,
            ..draft.clone()
        })
        .collect();
    assert_eq!(
        validate(&world, shard(0), &body_of(&world, &drafts[..2])),
        Ok(2)
    );
    let full = validate(&world, shard(0), &body_of(&world, &drafts));
    assert!(matches!(full, Err(BlockError::Gas { .. })));
    let mut body = body_of(&world, &drafts[..2]);
    body.inbound = vec![inbound_of(&world, Sequence::ZERO)];
    assert!(matches!(
        validate(&world, shard(0), &body),
        Err(BlockError::Gas { .. })
    ));
    body.transactions.pop();
    assert_eq!(validate(&world, shard(0), &body), Ok(1));
}

/// A batch of one transfer from shard 1 to shard 0, with a proof of a state that holds only its
/// record, final by an unsigned certificate.
fn inbound_of(world: &World, first: Sequence) -> InboundBatch {
    let wire = transfer_wire(user(1, 1).address, user(0, 1).address, vec![sker(1)]);
    let mut batch = batch_of(vec![wire]);
    (batch.source, batch.destination, batch.first) = (shard(1), shard(0), first);
    let record = skerry_types::message::BatchRecord {
        root: batch.root(),
        count: 1,
        bytes: 1,
        gas: Gas::ZERO,
        height: Height::ZERO,
    };
    let key = views::batch_record_key(batch.source, batch.destination, first);
    let value = codec::encode(&record);
    let lower = leaf_hash(Level::Lower, &key.path(), &value_hash(&value));
    let root = leaf_hash(Level::Upper, &Digest::new(*key.owner.as_bytes()), &lower);
    let mut header = header(&world.network, shard(1), 5);
    header.report.result.state_root = root;
    let (lower, upper) = (PathProof::default(), PathProof::default());
    let certificate = certificate(header.digest());
    let record = KeyProof::Present {
        value,
        lower,
        upper,
    };
    InboundBatch {
        batch,
        proof: BatchProof {
            header,
            path: vec![],
            certificate,
            record,
        },
    }
}

#[test]
fn batch_off_its_cursor_makes_a_block_invalid() {
    let (world, _, _) = two_users();
    let body = |inbound| Body {
        inbound,
        ..Body::default()
    };
    let at = |first| inbound_of(&world, Sequence::new(first));
    assert_eq!(validate(&world, shard(0), &body(vec![at(0)])), Ok(0));
    assert_eq!(validate(&world, shard(0), &body(vec![at(0), at(1)])), Ok(0));
    for wrong in [vec![at(1)], vec![at(0), at(0)], vec![at(0), at(2)]] {
        let result = validate(&world, shard(0), &body(wrong));
        assert!(
            matches!(result, Err(BlockError::Cursor { .. })),
            "{result:?}"
        );
    }
    let mut empty = at(0);
    empty.batch.messages.clear();
    let result = validate(&world, shard(0), &body(vec![empty]));
    assert!(matches!(result, Err(BlockError::BatchSize { .. })));
    let mut to_beacon = at(0);
    to_beacon.batch.destination = ChainRef::Beacon;
    let result = validate(&world, shard(0), &body(vec![to_beacon.clone()]));
    assert!(matches!(result, Err(BlockError::BatchChannel { .. })));
    let result = validate(&world, ChainRef::Beacon, &body(vec![to_beacon]));
    assert!(matches!(result, Err(BlockError::NotCrossLinked { .. })));
}

#[test]
fn facts_are_carried_exactly_when_the_reference_shows_others() {
    let (mut world, _, _) = two_users();
    let mut body = Body {
        facts: Some(world.facts.clone()),
        ..Body::default()
    };
    let result = validate(&world, shard(0), &body);
    assert!(matches!(
        result,
        Err(BlockError::Facts { expected: None, .. })
    ));
    world.facts.shards[0].linked_at = Height::new(3);
    assert!(matches!(
        validate(&world, shard(0), &body),
        Err(BlockError::Facts { .. })
    ));
    body.facts = Some(world.facts.clone());
    assert_eq!(validate(&world, shard(0), &body), Ok(0));
    body.facts = None;
    assert!(matches!(
        validate(&world, shard(0), &body),
        Err(BlockError::Facts { .. })
    ));
}

#[test]
fn idle_blocks_have_no_body_and_working_blocks_have_one() {
    let (world, _, _) = two_users();
    let mut header = header(&world.network, shard(0), 1);
    let check = |header: &skerry_types::block::Header, body: &[u8]| {
        let body = CheckedBody::decode(header, body)?;
        validate_block(&BlockInput {
            network: &world.network,
            chain: shard(0),
            header,
            body: body.as_ref(),
            parent: world.state(shard(0)),
            shown_epoch: Epoch::ZERO,
            shown_facts_root: world.facts.root(),
            known: &[],
        })
        .map(|_| ())
    };
    assert!(matches!(
        check(&header, &[]),
        Err(BlockError::BodyOfKind { .. })
    ));
    let body = codec::encode(&Body::default());
    assert!(matches!(
        check(&header, &body),
        Err(BlockError::BodyRoot { .. })
    ));
    header.body_root = Body::default().root();
    assert_eq!(check(&header, &body), Ok(()));
    header.kind = BlockKind::Idle;
    assert!(matches!(
        check(&header, &body),
        Err(BlockError::BodyOfKind { .. })
    ));
    assert!(matches!(
        check(&header, &[]),
        Err(BlockError::BodyRoot { .. })
    ));
    header.body_root = Digest::ZERO;
    assert_eq!(check(&header, &[]), Ok(()));
}

// --- proofs -------------------------------------------------------------------------------------

fn committee_of(world: &World) -> skerry_types::committee::VerifyingCommittee {
    use skerry_types::committee::{Committee, Member, VerifyingCommittee};
    use skerry_types::crypto::bls::SecretKey;
    let members = vec![Member {
        validator: skerry_types::ids::ValidatorId::new(0),
        public_key: SecretKey::from_seed([1; 32]).public_key(),
        weight: skerry_types::ids::Weight::new(1),
    }];
    let seats = vec![skerry_types::ids::MemberIndex::new(0)];
    let epoch = skerry_types::ids::Epoch::ZERO;
    let committee = Committee {
        chain: shard(1),
        epoch,
        members,
        seats,
        seed: Digest::ZERO,
    };
    let scheme = skerry_types::crypto::scheme::MockScheme;
    VerifyingCommittee::new(committee, world.network.chain_id, Digest::ZERO, &scheme).unwrap()
}

fn sign(proof: &mut BatchProof, committee: &skerry_types::committee::VerifyingCommittee) {
    use skerry_types::crypto::scheme::{MockScheme, VoteScheme as _};
    let last = proof.path.last().unwrap_or(&proof.header).digest();
    let statement = skerry_types::vote::Statement::Finalize {
        view: skerry_types::ids::View::new(1),
        digest: last,
    };
    let secret = skerry_types::crypto::bls::SecretKey::from_seed([1; 32]);
    let message = statement.signing_digest(committee.instance());
    proof.certificate = skerry_types::certificate::Certificate {
        statement,
        signers: skerry_types::certificate::Bitmap::of([skerry_types::ids::MemberIndex::new(0)], 1),
        signature: MockScheme.sign(&secret, &message),
    };
}

#[test]
fn batch_proves_itself_from_its_own_or_a_descendants_finalization() {
    let (world, _, _) = two_users();
    let committee = committee_of(&world);
    let scheme = skerry_types::crypto::scheme::MockScheme;
    let mut good = inbound_of(&world, Sequence::ZERO);
    sign(&mut good.proof, &committee);
    assert!(verify_inbound(&good, &committee, &scheme).is_ok());
    let mut later = good.clone();
    let mut child = header(&world.network, shard(1), 6);
    child.parent = later.proof.header.digest();
    later.proof.path = vec![child];
    assert!(matches!(
        verify_inbound(&later, &committee, &scheme),
        Err(ProofFailure::NotFinalized { .. })
    ));
    sign(&mut later.proof, &committee);
    assert!(verify_inbound(&later, &committee, &scheme).is_ok());
    // Each broken part is refused.
    let mut broken = later.clone();
    broken.proof.path[0].height = Height::new(8);
    assert!(matches!(
        verify_inbound(&broken, &committee, &scheme),
        Err(ProofFailure::PathBroken { position: 0 })
    ));
    let mut broken = good.clone();
    broken.batch.messages.push(vec![1]);
    assert!(matches!(
        verify_inbound(&broken, &committee, &scheme),
        Err(ProofFailure::BatchMismatch { .. })
    ));
    let mut broken = good.clone();
    broken.proof.header.report.result.state_root = Digest::ZERO;
    assert!(matches!(
        verify_inbound(&broken, &committee, &scheme),
        Err(ProofFailure::Merkle(_))
    ));
    let mut broken = good.clone();
    let digest = broken.proof.header.digest();
    broken.proof.certificate.statement = skerry_types::vote::Statement::Notarize {
        view: skerry_types::ids::View::new(1),
        digest,
    };
    assert!(matches!(
        verify_inbound(&broken, &committee, &scheme),
        Err(ProofFailure::NotFinalized { .. })
    ));
    let mut broken = good;
    broken.proof.certificate.signature.0[0] ^= 1;
    assert!(matches!(
        verify_inbound(&broken, &committee, &scheme),
        Err(ProofFailure::Certificate(_))
    ));
    let proof = &broken.proof;
    assert!(verify_path(&proof.header, &proof.path, &proof.certificate, &committee).is_ok());
}

/// Also from a source whose committee lies: what was granted to it, and replies as long as no more of them
/// wait than there is room for.
#[test]
fn a_chain_accepts_no_more_than_it_granted_and_no_more_replies_than_it_has_room_for() {
    let (mut world, _, _) = two_users();
    let here = shard(0);
    let share = credit::share(&world.network);
    let inbound = inbound_of(&world, Sequence::ZERO);
    let source = inbound.batch.source;
    let each = Accepted::default().after(&world.network, &inbound.batch);
    assert_eq!(each.replies, 0);
    let body = Body {
        inbound: vec![inbound.clone()],
        ..Body::default()
    };
    let mut judged = |channel: &views::InboundState| {
        let state = world.states.get_mut(&here).unwrap();
        let key = views::inbound_key(here, source);
        state.0.insert(key, codec::encode(channel).into());
        validate(&world, here, &body)
    };
    let used = |charged: Credit| views::InboundState {
        charged,
        ..views::InboundState::default()
    };
    let full = share.less(each.charged);
    assert_eq!(judged(&used(full)), Ok(0));
    for over in [Credit { bytes: 1, gas: 0 }, Credit { bytes: 0, gas: 1 }] {
        let channel = used(full.plus(over));
        let refused = judged(&channel);
        assert!(
            matches!(refused, Err(BlockError::NoCredit { granted, .. }) if granted == share),
            "{refused:?}"
        );
        // What it gave back it may not use, what has run may follow.
        let returned = views::InboundState {
            returned: over,
            granted: share.plus(share),
            ..used(share.plus(full))
        };
        assert!(matches!(
            judged(&returned),
            Err(BlockError::NoCredit { .. })
        ));
        let freed = views::InboundState {
            freed: over,
            ..channel
        };
        assert_eq!(judged(&freed), Ok(0));
    }
    let reply = Message {
        version: Version,
        origin: Digest::ZERO,
        payload: Payload::Reply {
            request: MessageId {
                source: here,
                destination: source,
                sequence: Sequence::ZERO,
            },
            via: Vec::new(),
            code: 0,
            gas_left: Amount::ZERO,
            beneficiary: user(0, 1).address,
            assets: Vec::new(),
        },
    };
    let mut replies = inbound;
    replies.batch.messages = vec![codec::encode(&reply); 2];
    let body = Body {
        inbound: vec![replies],
        ..Body::default()
    };
    let room = credit::reply_room(&world.network);
    for (waiting, expected) in [
        (0, true),
        (room - 2, true),
        (room - 1, false),
        (room, false),
    ] {
        let state = world.states.get_mut(&here).unwrap();
        // Replies take no credit, however much of it is used; those that have run do not count.
        let channel = views::InboundState {
            replies: 1_000 + waiting,
            answered: 1_000,
            ..used(share)
        };
        let key = views::inbound_key(here, source);
        state.0.insert(key, codec::encode(&channel).into());
        let result = validate(&world, here, &body);
        let is_unasked = matches!(
            result,
            Err(BlockError::RepliesUnasked { actual, limit, .. })
                if limit == room && actual == waiting + 2
        );
        assert_eq!((result.is_ok(), is_unasked), (expected, !expected));
    }
}

/// Before the cross-link a hundredth of the source's supply is accepted, evenly by all others; whether
/// the state or the block itself brings the facts.
#[test]
fn value_above_the_allowance_waits_for_the_cross_link() {
    let (mut world, _, _) = two_users();
    let here = shard(0);
    let mut inbound = inbound_of(&world, Sequence::ZERO);
    let source = inbound.batch.source;
    let (from, to) = (user(1, 1).address, user(0, 1).address);
    let wires = [5, 2].map(|amount| transfer_wire(from, to, vec![sker(amount)]));
    inbound.batch.messages = wires.to_vec();
    let body = Body {
        inbound: vec![inbound],
        ..Body::default()
    };
    let key = views::facts_shard_key(here, source);
    let mut judged = |supply: u128, linked: u128| {
        let mut facts = world.facts.clone();
        let record = facts.shards.iter_mut().find(|it| it.chain == source);
        let record = record.unwrap();
        for asset in &mut record.supply {
            if asset.denom == Denom::SKER {
                asset.amount = Amount::new(supply);
            }
        }
        for summary in &mut record.channels {
            if summary.peer == here {
                summary.sent.sker = linked;
            }
        }
        let state = world.states.get_mut(&here).unwrap();
        state.0.insert(key.clone(), codec::encode(record).into());
        validate(&world, here, &body)
    };
    for (supply, linked, fits) in [
        (1_400, 0, true),
        (1_399, 0, false),
        (0, 7, true),
        (0, 6, false),
        (199, 6, false),
        (200, 6, true),
    ] {
        let result = judged(supply, linked);
        let is_above = matches!(
            result,
            Err(BlockError::AboveAllowance { denom: Denom::SKER, actual, .. })
                if actual == Amount::new(7)
        );
        assert_eq!(
            (result.is_ok(), is_above),
            (fits, !fits),
            "{supply} {linked}"
        );
    }
}

/// A cross-link counts messages and value; who links the one and sends the other creates value.
#[test]
fn the_beacon_accepts_no_more_value_than_is_cross_linked() {
    let (mut world, _, _) = two_users();
    let mut inbound = inbound_of(&world, Sequence::new(0));
    inbound.batch.destination = ChainRef::Beacon;
    let sent = Accepted::default()
        .after(&world.network, &inbound.batch)
        .flow;
    assert!(sent.sker > 0 && sent.messages > 0);
    let key = views::shard_record_key(inbound.batch.source);
    let body = Body {
        inbound: vec![inbound],
        ..Body::default()
    };
    let mut judged = |linked: Flow| {
        let state = world.states.get_mut(&ChainRef::Beacon).unwrap();
        let mut record: ShardRecord = decode_record(&state.0[&key]).unwrap();
        for summary in &mut record.channels {
            if summary.peer.is_beacon() {
                summary.sent = linked;
            }
        }
        state.0.insert(key.clone(), codec::encode(&record).into());
        validate(&world, ChainRef::Beacon, &body)
    };
    assert_eq!(judged(sent), Ok(0));
    let less = |change: &dyn Fn(&mut Flow)| {
        let mut linked = sent;
        change(&mut linked);
        linked
    };
    for linked in [
        less(&|flow| flow.sker -= 1),
        less(&|flow| flow.messages -= 1),
        less(&|flow| flow.gas -= 1),
        less(&|flow| flow.bytes -= 1),
    ] {
        let result = judged(linked);
        assert!(
            matches!(result, Err(BlockError::NotCrossLinked { .. })),
            "{result:?}"
        );
    }
}
