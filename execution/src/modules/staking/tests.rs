//! Validators join, add, leave and return their bonds by requests from a shard; every refusal brings
//! the attached assets home; no base unit is lost on the way.

use super::calls::{StakingCall, registration_digest};
use super::punish::punish;
use super::state::{Live, Stage, VALIDATORS_LIVE_MAX, ValidatorRecord, count_key, live_key, pool};
use crate::block::{BlockWork, Outcome};
use crate::fees::{Ledger, bundle_gas};
use crate::modules::bank::calls::BankCall;
use crate::modules::{STAKING, crosslinks};
use crate::overlay::BlockOverlay;
use crate::supply::{Sums, check_records, count_supply};
use crate::testing::{Draft, User, World, bank, operation, shard, user};
use crate::view::decode_record;
use crate::views;
use skerry_types::amount::{Amount, Asset};
use skerry_types::beacon::{Ready, ShardRecord, SystemOperation};
use skerry_types::codec;
use skerry_types::crypto::bls::{SecretKey, Signature};
use skerry_types::genesis::{Genesis, GenesisAccount, GenesisValidator, Parameters, stake_units};
use skerry_types::ids::{ChainRef, Denom, Digest, Epoch, Sequence, TimeMs, ValidatorId, Weight};
use skerry_types::message::{Batch, Message, Payload, reply_code};
use skerry_types::receipt::{Receipt, Status};
use skerry_types::state::Value;
use skerry_types::transaction::Target;

const BEACON: ChainRef = ChainRef::Beacon;
const SKER: u128 = 1_000_000_000;
const WEALTH: u128 = 100_000 * SKER;

fn key(number: u8) -> SecretKey {
    SecretKey::from_seed([number; 32])
}

/// Eight validators, each operated by the user of its number in shard 0.
fn world() -> World {
    let operator = |number: u8| user(0, u64::from(number));
    let validator = |number: u8| GenesisValidator {
        name: format!("v{number}"),
        vote_key: key(number).public_key(),
        possession: Signature([0; 96]),
        operator: operator(number).address,
        stake: Weight::new(5_000),
    };
    let account = |number: u8| GenesisAccount {
        address: operator(number).address,
        assets: vec![Asset::nsker(WEALTH)],
    };
    let ids = |from: u32| (from..from + 4).map(ValidatorId::new).collect();
    World::of(Genesis {
        version: codec::Version,
        name: "staking".to_owned(),
        salt: Digest::ZERO,
        time: TimeMs::ZERO,
        development: true,
        shard_depth: 1,
        parameters: Parameters {
            epoch_ms: 4_000,
            ..Parameters::default()
        },
        validators: (0..8).map(validator).collect(),
        seats: vec![ids(0), ids(4)],
        accounts: (0..16).map(account).collect(),
    })
}

/// What became of a request.
struct Round {
    home: Receipt,
    beacon: Receipt,
    reply: Receipt,
    code: u16,
    brought: Vec<Asset>,
}

fn code_of(status: &Status) -> &str {
    match status {
        Status::Failed(failure) | Status::Dropped(failure) => &failure.code,
        other => panic!("{other:?}"),
    }
}

fn draft(world: &World, who: User, assets: Vec<Asset>, call: &StakingCall) -> Draft {
    let chain = world.network.home(&who.address);
    let next = views::next_nonce(world.state(chain), &who.address, 0);
    let draft = Draft::new(who, next, assets).call(operation(STAKING, call));
    draft.to(Target::Beacon)
}

/// Sends a request from shard 0 to the beacon and its reply home.
fn request(world: &mut World, who: User, assets: Vec<Asset>, call: &StakingCall) -> Round {
    let draft = draft(world, who, assets, call);
    send(world, &draft)
}

fn send(world: &mut World, draft: &Draft) -> Round {
    let sent = world.transactions(shard(0), std::slice::from_ref(draft));
    let home = sent.receipts[0].clone();
    assert_eq!(home.status, Status::Succeeded);
    let at_beacon = deliver(world, BEACON, sent.outgoing);
    let beacon = at_beacon.receipts[0].clone();
    let Payload::Reply { code, assets, .. } = decode(&at_beacon.outgoing[0]).payload else {
        panic!("no reply");
    };
    let back = deliver(world, shard(0), at_beacon.outgoing);
    conserved(world);
    Round {
        home,
        beacon,
        reply: back.receipts[0].clone(),
        code,
        brought: assets,
    }
}

fn decode(batch: &Batch) -> Message {
    codec::decode(&batch.messages[0], 1 << 20).unwrap()
}

fn deliver(world: &mut World, chain: ChainRef, inbound: Vec<Batch>) -> Outcome {
    let system = if chain.is_beacon() {
        vec![world.crosslink(shard(0))]
    } else {
        Vec::new()
    };
    let work = BlockWork {
        system,
        inbound,
        ..BlockWork::default()
    };
    let outcome = world.run(chain, &work);
    assert!(outcome.alarms.is_empty(), "{:?}", outcome.alarms);
    outcome
}

/// Balances and what was destroyed make the supply of the genesis; nothing is in flight.
fn conserved(world: &World) {
    let (mut held, mut burnt) = (0, 0);
    for chain in &world.network.chains {
        let counted = count_supply(*chain, world.state(*chain).records());
        let of = |sums: &Sums| sums.get(&Denom::SKER).map_or(0, |it| it.get());
        held += of(&counted.balances);
        burnt += of(&counted.burnt);
    }
    let supply = world.genesis.supply(Denom::SKER).unwrap();
    assert_eq!(held + burnt, supply.get());
}

fn record(world: &World, number: u32) -> ValidatorRecord {
    views::validator(world.state(BEACON), ValidatorId::new(number)).unwrap()
}

fn pooled(world: &World) -> u128 {
    views::balance(world.state(BEACON), &pool(), &Denom::SKER).get()
}

/// A registration of key `number` by the user of that number.
fn register(world: &World, number: u8, bond: u128) -> StakingCall {
    let (secret, operator) = (key(number), user(0, u64::from(number)));
    let vote_key = secret.public_key();
    let digest = registration_digest(&world.network.chain_id, &vote_key, &operator.address);
    StakingCall::Register {
        vote_key,
        proof: secret.sign(&digest),
        bond: Amount::new(bond),
    }
}

/// The words of all newcomers of the next epoch.
fn newcomers_ready(world: &World) -> Vec<SystemOperation> {
    let state = world.state(BEACON);
    let mut words = Vec::new();
    for chain in &world.network.chains {
        let seating = |stage| views::seating(state, *chain, stage).unwrap();
        let (dealt, held) = (seating(views::Stage::Dealt), seating(views::Stage::Held));
        for validator in views::newcomers(&dealt, &held) {
            words.push(SystemOperation::Ready(Ready {
                validator,
                chain: *chain,
                epoch: dealt.epoch,
                signature: Signature([0; 96]),
            }));
        }
    }
    words
}

/// Ends epochs of the beacon, whose newcomers are ready; the shards follow at once, as when their seals
/// are cross-linked.
fn pass_epochs(world: &mut World, count: u64) {
    for _ in 0..count {
        pass_epoch(world, &[0, 1]);
    }
}

/// Ends an epoch of the beacon; of the shards only these follow.
fn pass_epoch(world: &mut World, following: &[u16]) {
    let before = world.facts.epoch.epoch;
    let system = newcomers_ready(world);
    let work = BlockWork {
        system,
        ..BlockWork::default()
    };
    world.run(BEACON, &work);
    while world.facts.epoch.epoch == before {
        world.run(BEACON, &BlockWork::default());
    }
    let open = world.facts.epoch.epoch;
    for bits in following {
        let chain = shard(*bits);
        let key = views::shard_record_key(chain);
        let state = world.states.get_mut(&BEACON).unwrap();
        let mut record: ShardRecord = decode_record(&state.0[&key]).unwrap();
        let over = (codec::Version, open);
        let row = views::over_key(chain, record.epoch);
        state.0.insert(row, Value::from(codec::encode(&over)));
        let noted = (codec::Version, Digest::ZERO);
        let row = views::instance_key(chain, open);
        state.0.insert(row, Value::from(codec::encode(&noted)));
        record.epoch = open;
        state.0.insert(key, Value::from(codec::encode(&record)));
    }
}

#[test]
fn a_validator_registers_with_a_bond_and_is_dealt_in() {
    let mut world = world();
    let operator = user(0, 9);
    let before = pooled(&world);
    let call = register(&world, 9, 1_500 * SKER);
    let round = request(
        &mut world,
        operator,
        vec![Asset::nsker(1_600 * SKER)],
        &call,
    );
    assert_eq!(round.beacon.status, Status::Succeeded);
    assert_eq!(round.code, reply_code::DONE);
    // What the bond does not take comes home with the reply.
    assert_eq!(round.brought, [Asset::nsker(100 * SKER)]);
    assert_eq!(round.reply.status, Status::Succeeded);
    assert_eq!(round.home.messages.len(), 1);
    assert_eq!(round.beacon.messages.len(), 1);
    let fee = round.home.fee.get();
    let left = world.balance(&operator, Denom::SKER);
    assert_eq!(left, WEALTH - fee - 1_500 * SKER);
    assert_eq!(pooled(&world), before + 1_500 * SKER);
    let joined = record(&world, 8);
    assert_eq!(joined.operator, operator.address);
    assert_eq!(joined.effective_stake(), Weight::new(1_500));
    let id = views::validator_of_key(world.state(BEACON), &key(9).public_key());
    assert_eq!(id, Some(ValidatorId::new(8)));
    // The stake at the end of this epoch is what the deal at the end of the next one goes by.
    pass_epochs(&mut world, 2);
    let dealt = views::seating(world.state(BEACON), BEACON, views::Stage::Dealt).unwrap();
    assert!(dealt.holds(ValidatorId::new(8)));
}

#[test]
fn a_refused_request_brings_everything_home() {
    let mut world = world();
    let (stranger, attached) = (user(0, 10), vec![Asset::nsker(2_000 * SKER)]);
    let mut foreign = register(&world, 11, 2_000 * SKER);
    let used = register(&world, 3, 2_000 * SKER);
    let low = register(&world, 10, 999 * SKER);
    let too_much = register(&world, 10, 2_001 * SKER);
    if let StakingCall::Register { vote_key, .. } = &mut foreign {
        // Signed for the operator 11; 10 sends it.
        assert_eq!(*vote_key, key(11).public_key());
    }
    let validator = ValidatorId::new(2);
    let amount = Amount::new(5);
    for (call, code) in [
        (low, "BOND_TOO_LOW"),
        (too_much, "SHEET_NEGATIVE"),
        (used, "VOTE_KEY_USED"),
        (foreign, "PROOF_WRONG"),
        (StakingCall::TopUp { validator, amount }, "NOT_THE_OPERATOR"),
        (StakingCall::Exit { validator }, "NOT_THE_OPERATOR"),
        (
            StakingCall::Exit {
                validator: ValidatorId::new(77),
            },
            "NO_SUCH_VALIDATOR",
        ),
    ] {
        let (pool, held) = (pooled(&world), world.balance(&stranger, Denom::SKER));
        let round = request(&mut world, stranger, attached.clone(), &call);
        assert_eq!(code_of(&round.beacon.status), code);
        assert_eq!(round.code, reply_code::FAILED);
        assert_eq!(round.brought, attached);
        let after = world.balance(&stranger, Denom::SKER);
        assert_eq!((pooled(&world), after), (pool, held - round.home.fee.get()));
    }
}

#[test]
fn who_leaves_gets_the_bond_back_when_no_committee_and_no_evidence_can_want_it() {
    let mut world = world();
    let (operator, validator) = (user(0, 2), ValidatorId::new(2));
    let withdraw = StakingCall::Withdraw { validator };
    let exit = StakingCall::Exit { validator };
    let locked = |world: &mut World| {
        let round = request(world, operator, vec![], &withdraw);
        assert_eq!(code_of(&round.beacon.status), "BOND_LOCKED");
    };
    locked(&mut world);
    let round = request(&mut world, operator, vec![], &exit);
    assert_eq!(round.beacon.status, Status::Succeeded);
    assert_eq!(record(&world, 2).stage, Stage::Exiting);
    assert_eq!(record(&world, 2).effective_stake(), Weight::ZERO);
    let again = request(&mut world, operator, vec![], &exit);
    assert_eq!(code_of(&again.beacon.status), "LEAVING");
    locked(&mut world);
    let mut seated = 0;
    while record(&world, 2).stage == Stage::Exiting {
        seated += 1;
        assert!(seated < 12, "never released");
        pass_epochs(&mut world, 1);
    }
    // One epoch for the snapshot, one for the deal, and while it held its seat.
    assert!(seated >= 2, "released after {seated} epochs");
    let open = world.facts.epoch.epoch;
    assert_eq!(record(&world, 2).stage, Stage::Unbonding { since: open });
    for chain in world.network.chains.clone() {
        let committee = views::committee(world.state(BEACON), chain, open).unwrap();
        assert_eq!(committee.index_of(validator), None);
    }
    pass_epochs(&mut world, 3);
    locked(&mut world);
    pass_epochs(&mut world, 1);
    let before = world.balance(&operator, Denom::SKER);
    let round = request(&mut world, operator, vec![], &withdraw);
    assert_eq!(round.beacon.status, Status::Succeeded);
    assert_eq!(round.brought, [Asset::nsker(5_000 * SKER)]);
    let after = world.balance(&operator, Denom::SKER);
    assert_eq!(after, before + 5_000 * SKER - round.home.fee.get());
    assert_eq!(record(&world, 2).stage, Stage::Withdrawn);
    let twice = request(&mut world, operator, vec![], &withdraw);
    assert_eq!(code_of(&twice.beacon.status), "NOTHING_LEFT");
    // The key is never used again.
    let call = register(&world, 2, 2_000 * SKER);
    let round = request(
        &mut world,
        operator,
        vec![Asset::nsker(2_000 * SKER)],
        &call,
    );
    assert_eq!(code_of(&round.beacon.status), "VOTE_KEY_USED");
}

/// Lets validator 2 leave, until its bond is free.
fn free_bond(world: &mut World) {
    let validator = ValidatorId::new(2);
    let exit = StakingCall::Exit { validator };
    let round = request(world, user(0, 2), vec![], &exit);
    assert_eq!(round.beacon.status, Status::Succeeded);
    while record(world, 2).stage == Stage::Exiting {
        assert!(world.facts.epoch.epoch < Epoch::new(12), "never released");
        pass_epochs(world, 1);
    }
    let unbonding = world.network.parameters.unbonding_epochs;
    pass_epochs(world, unbonding);
}

#[test]
fn numbers_of_those_who_left_do_not_count_as_places() {
    let mut world = world();
    let (operator, validator) = (user(0, 2), ValidatorId::new(2));
    free_bond(&mut world);
    // As after many have come and gone: the founders and the last to come have all the room there is.
    let (count, most) = (5_000, u32::try_from(VALIDATORS_LIVE_MAX).unwrap());
    let live = (0..8).chain(count + 8 - most..count);
    let listed = Live {
        version: codec::Version,
        live: live.map(ValidatorId::new).collect(),
    };
    assert_eq!(listed.live.len(), VALIDATORS_LIVE_MAX);
    let records = &mut world.states.get_mut(&BEACON).unwrap().0;
    let number = codec::encode(&(codec::Version, count));
    records.insert(live_key(), Value::from(codec::encode(&listed)));
    records.insert(count_key(), Value::from(number));

    let (who, bond) = (user(0, 9), vec![Asset::nsker(2_000 * SKER)]);
    let call = register(&world, 9, 2_000 * SKER);
    let round = request(&mut world, who, bond.clone(), &call);
    assert_eq!(code_of(&round.beacon.status), "VALIDATORS_FULL");
    assert_eq!(round.brought, bond);
    let withdraw = StakingCall::Withdraw { validator };
    let round = request(&mut world, operator, vec![], &withdraw);
    assert_eq!(round.beacon.status, Status::Succeeded);
    let round = request(&mut world, who, bond.clone(), &call);
    assert_eq!(round.beacon.status, Status::Succeeded);
    let newest = record(&world, count);
    assert_eq!(newest.vote_key, key(9).public_key(), "numbers go on");
    let listed = views::validators(world.state(BEACON));
    let listed: Vec<u32> = listed.iter().map(|(id, _)| id.get()).collect();
    assert_eq!(listed, [0, 1, 3, 4, 5, 6, 7, count]);
    assert_eq!(check_records(world.state(BEACON).records()), vec![]);
    let other = register(&world, 10, 2_000 * SKER);
    let round = request(&mut world, user(0, 10), bond, &other);
    assert_eq!(code_of(&round.beacon.status), "VALIDATORS_FULL");

    // Who has left is known and has nothing more to lose; who came is dealt seats.
    assert_eq!(record(&world, 2).stage, Stage::Withdrawn);
    assert_eq!(slash(&mut world, 2), Some(Amount::ZERO));
    pass_epochs(&mut world, 3);
    let seats = views::seating(world.state(BEACON), BEACON, views::Stage::Dealt).unwrap();
    let holders: Vec<u32> = seats.seats.iter().map(|it| it.validator.get()).collect();
    assert!(holders.contains(&count), "{holders:?}");
    assert!(!holders.contains(&2), "{holders:?}");
}

#[test]
fn a_damaged_list_of_who_is_live_stands_for_nobody_and_raises_an_alarm() {
    let mut world = world();
    let live = |world: &World| views::validators(world.state(BEACON)).len();
    assert_eq!(live(&world), 8, "without a list all are live");
    let holders = |world: &World| {
        let seating = views::seating(world.state(BEACON), BEACON, views::Stage::Held).unwrap();
        let holders = seating.seats.iter().map(|seat| seat.validator);
        holders.collect::<Vec<_>>()
    };
    let before = holders(&world);
    let records = &mut world.states.get_mut(&BEACON).unwrap().0;
    records.insert(live_key(), Value::from(vec![9]));
    assert_eq!(live(&world), 0);
    let mut alarms = Vec::new();
    while world.facts.epoch.epoch < Epoch::new(4) {
        alarms.extend(world.run(BEACON, &BlockWork::default()).alarms);
    }
    assert_eq!(alarms.len(), 4, "{alarms:?}");
    assert!(alarms.iter().all(|alarm| alarm.contains("stakes")));
    assert_eq!(holders(&world), before, "who sits stays");
}

#[test]
fn where_epochs_never_end_no_bond_is_taken() {
    let mut genesis = world().genesis;
    genesis.parameters.epoch_ms = 0;
    let mut world = World::of(genesis);
    let validator = ValidatorId::new(2);
    let amount = Amount::new(5);
    let five = vec![Asset::nsker(5)];
    let bond = vec![Asset::nsker(2_000 * SKER)];
    for (who, attached, call) in [
        (9, bond, register(&world, 9, 2_000 * SKER)),
        (2, five, StakingCall::TopUp { validator, amount }),
        (2, vec![], StakingCall::Exit { validator }),
    ] {
        let before = pooled(&world);
        let round = request(&mut world, user(0, who), attached.clone(), &call);
        assert_eq!(code_of(&round.beacon.status), "EPOCHS_NEVER_END");
        assert_eq!(round.code, reply_code::FAILED);
        assert_eq!((round.brought, pooled(&world)), (attached, before));
    }
    assert_eq!(record(&world, 2).stage, Stage::Active);
}

/// Fences shard 0, as evidence or an overdue seal does.
fn fence(world: &mut World) {
    let open = world.facts.epoch.epoch;
    let state = world.states.get_mut(&BEACON).unwrap();
    let before = state.clone();
    let mut overlay = BlockOverlay::new(&before);
    crosslinks::fence(&mut overlay, shard(0), open);
    state.apply(&overlay.into_changes());
}

#[test]
fn a_withdrawal_of_a_fenced_source_waits() {
    let mut world = world();
    let validator = ValidatorId::new(2);
    free_bond(&mut world);
    let withdraw = StakingCall::Withdraw { validator };
    let draft = draft(&world, user(0, 2), vec![], &withdraw);
    let sent = world.transactions(shard(0), &[draft]);
    let mut open = world.clone();
    let outcome = open.inbound(BEACON, sent.outgoing.clone());
    assert_eq!(outcome.receipts[0].status, Status::Succeeded);

    fence(&mut world);
    let pool = pooled(&world);
    let nonsense = Batch {
        version: codec::Version,
        source: shard(1),
        destination: BEACON,
        first: Sequence::ZERO,
        messages: vec![vec![7]],
    };
    let inbound = [sent.outgoing, vec![nonsense]].concat();
    let outcome = world.inbound(BEACON, inbound);
    // The other shard's runs.
    assert_eq!(outcome.receipts.len(), 1);
    assert_eq!(code_of(&outcome.receipts[0].status), "UNDECODABLE");
    for _ in 0..2 {
        let state = world.state(BEACON);
        assert_eq!(views::inbound(state, BEACON, shard(0)).waiting(), 1);
        let urgent = views::inbox_waiting(state, &world.network, BEACON);
        assert_eq!(urgent, 0, "it hurries nobody");
        assert_eq!(pooled(&world), pool);
        assert!(matches!(record(&world, 2).stage, Stage::Unbonding { .. }));
        assert_eq!(check_records(state.records()), vec![]);
        let outcome = world.inbound(BEACON, vec![]);
        assert_eq!((outcome.receipts, outcome.outgoing), (vec![], vec![]));
    }
}

#[test]
fn a_shard_that_has_not_sealed_holds_the_bonds_of_its_committee() {
    let mut world = world();
    let (operator, validator) = (user(0, 2), ValidatorId::new(2));
    request(
        &mut world,
        operator,
        vec![],
        &StakingCall::Exit { validator },
    );
    for _ in 0..100 {
        world.run(BEACON, &BlockWork::default());
    }
    assert!(world.facts.epoch.epoch > Epoch::new(10));
    assert_eq!(record(&world, 2).stage, Stage::Exiting);
    let mut passed = 0;
    while record(&world, 2).stage == Stage::Exiting {
        passed += 1;
        assert!(passed < 12, "never released");
        pass_epochs(&mut world, 1);
    }
}

/// Whether evidence against a validator would still cost something, of any chain and epoch.
fn is_punishable(world: &World, validator: ValidatorId) -> bool {
    let state = world.state(BEACON);
    let open = world.facts.epoch.epoch.get();
    world.network.chains.iter().any(|chain| {
        (0..=open).map(Epoch::new).any(|epoch| {
            let committee = views::committee(state, *chain, epoch);
            let is_begun = views::instance(state, *chain, epoch).is_some();
            is_begun && committee.is_some_and(|it| it.index_of(validator).is_some())
        })
    })
}

#[test]
fn evidence_never_outlives_the_bond_also_when_another_shard_is_late() {
    let mut withdrawn = 0;
    for number in 0..4_u8 {
        let mut world = world();
        let validator = ValidatorId::new(number.into());
        let operator = user(0, number.into());
        let exit = StakingCall::Exit { validator };
        request(&mut world, operator, vec![], &exit);
        assert!(is_punishable(&world, validator));
        // Shard 1 stands still. Who was dealt a seat there waits for it.
        for _ in 0..14 {
            pass_epoch(&mut world, &[0]);
        }
        if record(&world, number.into()).stage == Stage::Exiting {
            continue;
        }
        let withdraw = StakingCall::Withdraw { validator };
        let round = request(&mut world, operator, vec![], &withdraw);
        assert_eq!(round.beacon.status, Status::Succeeded);
        assert!(
            !is_punishable(&world, validator),
            "there is nothing to take"
        );
        withdrawn += 1;
    }
    assert!(withdrawn > 0);
}

#[test]
fn a_dead_shard_is_fenced_and_lets_its_members_go() {
    let mut genesis = world().genesis;
    genesis.parameters.overdue_epochs = 5;
    let mut world = World::of(genesis);
    // A member of the shard that dies, whose operator lives in the other one.
    let (operator, validator) = (user(0, 6), ValidatorId::new(6));
    let exit = StakingCall::Exit { validator };
    request(&mut world, operator, vec![], &exit);
    let is_fenced = |world: &World| {
        let record = views::shard_record(world.state(BEACON), shard(1));
        record.unwrap().fenced
    };
    while !is_fenced(&world) {
        assert_eq!(
            record(&world, 6).stage,
            Stage::Exiting,
            "it could still sign"
        );
        assert!(is_punishable(&world, validator));
        pass_epoch(&mut world, &[0]);
        assert!(world.facts.epoch.epoch < Epoch::new(9), "never fenced");
    }
    let since = world.facts.epoch.epoch;
    assert_eq!(since, Epoch::new(1 + 5 + 1));
    let Stage::Unbonding { since: released } = record(&world, 6).stage else {
        panic!("it is held: {:?}", record(&world, 6));
    };
    assert_eq!(released, since);
    assert!(
        is_punishable(&world, validator),
        "for what it signed before"
    );
    let withdraw = StakingCall::Withdraw { validator };
    for _ in 0..3 {
        pass_epoch(&mut world, &[0]);
        let round = request(&mut world, operator, vec![], &withdraw);
        assert_eq!(code_of(&round.beacon.status), "BOND_LOCKED");
        assert!(is_punishable(&world, validator));
    }
    pass_epoch(&mut world, &[0]);
    assert!(!is_punishable(&world, validator));
    let round = request(&mut world, operator, vec![], &withdraw);
    assert_eq!(round.beacon.status, Status::Succeeded);
}

fn slash(world: &mut World, number: u32) -> Option<Amount> {
    let open = world.facts.epoch.epoch;
    let network = world.network.clone();
    let state = world.states.get_mut(&BEACON).unwrap();
    let before = state.clone();
    let mut overlay = BlockOverlay::new(&before);
    let mut ledger = Ledger::default();
    let validator = ValidatorId::new(number);
    let lost = punish(&mut overlay, &mut ledger, &network, validator, open);
    assert_eq!(ledger.burnt_sker(), lost.unwrap_or(Amount::ZERO));
    state.apply(&overlay.into_changes());
    lost
}

#[test]
fn a_slash_takes_a_part_of_the_bond_and_jails() {
    let mut world = world();
    let (operator, validator) = (user(0, 2), ValidatorId::new(2));
    let amount = Amount::new(1);
    let top_up = StakingCall::TopUp { validator, amount };
    request(&mut world, operator, vec![Asset::nsker(1)], &top_up);
    let before = pooled(&world);
    // Five per cent, rounded up.
    let lost = stake_units(Weight::new(250)) + 1;
    assert_eq!(slash(&mut world, 2), Some(Amount::new(lost)));
    assert_eq!(pooled(&world), before - lost);
    let jailed = record(&world, 2);
    assert_eq!(jailed.jailed, Some(Epoch::new(2)));
    assert_eq!(jailed.slashed, Amount::new(lost));
    assert_eq!(jailed.effective_stake(), Weight::ZERO);
    assert_eq!(slash(&mut world, 99), None);
    let unjail = StakingCall::Unjail { validator };
    pass_epochs(&mut world, 1);
    let round = send_unchecked(&mut world, operator, &unjail);
    assert_eq!(code_of(&round), "JAILED");
    pass_epochs(&mut world, 1);
    assert_eq!(
        send_unchecked(&mut world, operator, &unjail),
        Status::Succeeded
    );
    assert_eq!(record(&world, 2).effective_stake(), Weight::new(4_750));
    let round = send_unchecked(&mut world, operator, &unjail);
    assert_eq!(code_of(&round), "NOT_JAILED");
}

/// As [`request`]; the supply is not counted, since [`slash`] stands outside of a block.
fn send_unchecked(world: &mut World, who: User, call: &StakingCall) -> Status {
    let draft = draft(world, who, vec![], call);
    let sent = world.transactions(shard(0), &[draft]);
    deliver(world, BEACON, sent.outgoing).receipts[0]
        .status
        .clone()
}

#[test]
fn bonds_on_their_way_out_are_slashed_too() {
    let mut world = world();
    let (operator, validator) = (user(0, 2), ValidatorId::new(2));
    request(
        &mut world,
        operator,
        vec![],
        &StakingCall::Exit { validator },
    );
    assert!(slash(&mut world, 2).is_some());
    let bond = Amount::new(stake_units(Weight::new(4_750)));
    assert_eq!(record(&world, 2).bond, bond);
}

#[test]
fn a_reply_is_taken_once_and_from_its_shard_only() {
    let mut world = world();
    let operator = user(0, 9);
    let call = register(&world, 9, 1_000 * SKER);
    let draft = draft(&world, operator, vec![Asset::nsker(2_000 * SKER)], &call);
    let sent = world.transactions(shard(0), &[draft]);
    let at_beacon = deliver(&mut world, BEACON, sent.outgoing);
    let reply = at_beacon.outgoing[0].clone();
    // The same reply from another shard: dropped, its value destroyed, the request still open.
    let mut forged = reply.clone();
    forged.source = shard(1);
    let outcome = world.inbound(shard(0), vec![forged]);
    assert_eq!(code_of(&outcome.receipts[0].status), "NO_SUCH_REQUEST");
    let taken = world.inbound(shard(0), vec![reply.clone()]);
    assert_eq!(taken.receipts[0].status, Status::Succeeded);
    let mut again = reply;
    again.first = again.first.next();
    let outcome = world.inbound(shard(0), vec![again]);
    assert_eq!(code_of(&outcome.receipts[0].status), "NO_SUCH_REQUEST");
}

#[test]
fn a_request_that_its_source_may_not_send_is_dropped() {
    let mut world = world();
    let call = StakingCall::Exit {
        validator: ValidatorId::new(2),
    };
    let draft = draft(&world, user(0, 2), vec![Asset::nsker(7)], &call);
    let sent = world.transactions(shard(0), &[draft]);
    let honest = decode(&sent.outgoing[0]);
    let Payload::Request { prepaid, .. } = honest.payload else {
        panic!("{honest:?}");
    };
    let forge = |change: &dyn Fn(&mut Payload)| {
        let mut message = honest.clone();
        change(&mut message.payload);
        let mut batch = sent.outgoing[0].clone();
        batch.messages = vec![codec::encode(&message)];
        batch
    };
    let elsewhere = user(1, 1).address;
    type Change<'c> = &'c dyn Fn(&mut Payload);
    let cases: [(Change<'_>, &str); 4] = [
        (
            &|it| {
                if let Payload::Request { sender, .. } = it {
                    *sender = Some(elsewhere);
                }
            },
            "SENDER_ELSEWHERE",
        ),
        (
            &|it| {
                if let Payload::Request { beneficiary, .. } = it {
                    *beneficiary = elsewhere;
                }
            },
            "SENDER_ELSEWHERE",
        ),
        (
            &|it| {
                if let Payload::Request { hops, .. } = it {
                    *hops = 1;
                }
            },
            "ONWARD_WITH_SENDER",
        ),
        (
            &|it| {
                if let Payload::Request { reply_to, .. } = it {
                    reply_to.sequence = reply_to.sequence.next();
                }
            },
            "REQUEST_MALFORMED",
        ),
    ];
    for (change, code) in cases {
        let mut world = world.clone();
        let outcome = world.inbound(BEACON, vec![forge(change)]);
        assert_eq!(code_of(&outcome.receipts[0].status), code);
        assert!(outcome.outgoing.is_empty());
        let burnt = views::burnt(world.state(BEACON), BEACON, &Denom::SKER);
        assert_eq!(burnt.get(), 7 + prepaid.get());
    }
    // Too little gas, or calls of a module that does not run here: answered, and nothing happens.
    let cases: [(Change<'_>, u16); 2] = [
        (
            &|it| {
                if let Payload::Request { gas, .. } = it {
                    *gas = skerry_types::ids::Gas::new(1);
                }
            },
            reply_code::GAS,
        ),
        (
            &|it| {
                if let Payload::Request {
                    bundle, prepaid, ..
                } = it
                {
                    // The message is longer than the one that was paid.
                    *prepaid = Amount::new(prepaid.get() * 2);
                    let (to, asset) = (elsewhere, Asset::nsker(7));
                    bundle.operations = vec![bank(&BankCall::Send { to, asset })];
                }
            },
            reply_code::UNKNOWN,
        ),
    ];
    for (change, expected) in cases {
        let mut world = world.clone();
        let outcome = world.inbound(BEACON, vec![forge(change)]);
        let reply = decode(&outcome.outgoing[0]).payload;
        let Payload::Reply { code, assets, .. } = reply else {
            panic!("{reply:?}");
        };
        assert_eq!((code, assets), (expected, vec![Asset::nsker(7)]));
    }
}

#[test]
fn gas_of_a_request_is_paid_at_home_for_all_its_legs() {
    let world = world();
    let call = register(&world, 9, 1_000 * SKER);
    let bundle = draft(&world, user(0, 9), vec![Asset::nsker(1)], &call).bundle;
    let all = bundle_gas(&bundle).unwrap();
    let exit = StakingCall::Exit {
        validator: ValidatorId::new(0),
    };
    let small = draft(&world, user(0, 9), vec![], &exit).bundle;
    // A proof of possession costs a millisecond of every member.
    assert!(all.get() > bundle_gas(&small).unwrap().get() + 600_000);
    let mut home = bundle;
    home.target = Target::Home;
    let refused = bundle_gas(&home).unwrap_err();
    assert_eq!(refused.reason(), "WRONG_PLACE");
}
