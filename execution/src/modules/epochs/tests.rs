//! Epochs from the draw of seats to the cross-link of a seal.
//!
//! The network has eight validators and two shards of four seats; a block of the beacon comes every
//! second, an epoch lasts eight.

use super::deal::{deal, deal_beacon, newcomers, seats_max, settle};
use super::reference;
use super::state::{Seat, Seating, Stage};
use crate::block::{BlockWork, Outcome, fold_reveal};
use crate::error::{BlockError, CrossLinkSkip};
use crate::modules::staking::state::pool;
use crate::parallel::Mode;
use crate::proofs::verify_ready;
use crate::supply::count_supply;
use crate::testing::{World, header, shard};
use crate::validate::{BlockInput, CheckedBody, validate_block};
use crate::views;
use skerry_types::beacon::{Ready, SystemOperation};
use skerry_types::block::{BlockKind, Body, Header};
use skerry_types::codec::{self, Version};
use skerry_types::committee::genesis_digest;
use skerry_types::crypto::bls::{SecretKey, Signature};
use skerry_types::crypto::hash::plain;
use skerry_types::crypto::scheme::BlsScheme;
use skerry_types::genesis::{Genesis, GenesisValidator, Parameters};
use skerry_types::ids::{Address, ChainRef, Denom, Digest, Epoch, TimeMs, ValidatorId, Weight};

const BEACON: ChainRef = ChainRef::Beacon;

fn id(number: u32) -> ValidatorId {
    ValidatorId::new(number)
}

fn key(number: u8) -> SecretKey {
    SecretKey::from_seed([number + 1; 32])
}

fn stakes(of: &[u64]) -> Vec<(ValidatorId, Weight)> {
    let numbered = (0..).zip(of).filter(|(_, stake)| **stake > 0);
    numbered
        .map(|(number, stake)| (id(number), Weight::new(*stake)))
        .collect()
}

/// Seats by holder and since when.
fn seating(seats: &[(u32, u64)]) -> Seating {
    let seat = |(holder, since): &(u32, u64)| Seat {
        validator: id(*holder),
        since: Epoch::new(*since),
    };
    Seating {
        seats: seats.iter().map(seat).collect(),
        ..Seating::default()
    }
}

fn dealt(before: &Seating, stakes: &[(ValidatorId, Weight)], seed: u64) -> Seating {
    let seed = plain(&seed.to_le_bytes());
    deal(shard(0), Epoch::new(9), seed, before, stakes)
}

/// Positions of the seats that changed hands or were drawn again.
fn drawn(seating: &Seating) -> Vec<usize> {
    let seats = seating.seats.iter().enumerate();
    let again = seats.filter(|(_, seat)| seat.since == Epoch::new(9));
    again.map(|(position, _)| position).collect()
}

#[test]
fn a_quarter_is_drawn_again_the_lost_seats_first_then_the_longest_held() {
    let stakes = stakes(&[10, 10, 10, 10, 0, 10]);
    let rows: [(&[(u32, u64)], &[usize]); 4] = [
        // Nobody lost: the oldest, the first of equals.
        (&[(0, 5), (1, 3), (2, 3), (3, 6)], &[1]),
        // Validator 4 has no stake.
        (&[(0, 1), (1, 3), (4, 8), (3, 6)], &[2]),
        // Of two lost ones the longest held.
        (&[(0, 1), (4, 8), (4, 7), (3, 6)], &[2]),
        (
            &[
                (0, 1),
                (1, 2),
                (2, 3),
                (3, 4),
                (5, 5),
                (4, 6),
                (0, 7),
                (1, 8),
            ],
            &[0, 5],
        ),
    ];
    for (seats, expected) in rows {
        for seed in 0..20 {
            let after = dealt(&seating(seats), &stakes, seed);
            assert_eq!(drawn(&after), expected, "{seats:?}");
        }
    }
}

#[test]
fn seats_follow_stake_over_the_epochs_and_splitting_gains_nothing() {
    // Validator 0 has a quarter of all, in one piece or in three.
    let whole = stakes(&[300, 100, 100, 100, 100, 100, 100, 100, 100, 100]);
    let split = stakes(&[100, 100, 100, 100, 100, 100, 100, 100, 100, 100, 100, 100]);
    let share = |stakes: &[(ValidatorId, Weight)], of: &dyn Fn(u32) -> bool| {
        let first: Vec<(u32, u64)> = (0..64).map(|seat| (seat % 10, 0)).collect();
        let mut seats = seating(&first);
        let (mut own, mut all) = (0_u32, 0_u32);
        for round in 0..200 {
            let seed = plain(&u64::to_le_bytes(round));
            seats = deal(shard(1), Epoch::new(round + 1), seed, &seats, stakes);
            for seat in &seats.seats {
                own += u32::from(of(seat.validator.get()));
                all += 1;
            }
        }
        f64::from(own) / f64::from(all)
    };
    let one = share(&whole, &|holder| holder == 0);
    let three = share(&split, &|holder| holder == 0 || holder > 9);
    assert!((one - 0.25).abs() < 0.01, "{one}");
    assert!((three - 0.25).abs() < 0.01, "{three}");
}

#[test]
fn nobody_holds_a_third_while_others_exist() {
    assert_eq!([1, 3, 4, 7, 8, 64].map(seats_max), [1, 1, 1, 2, 2, 21]);
    let before = seating(&[(0, 0), (1, 0), (2, 0), (3, 0), (0, 0), (1, 0), (2, 0)]);
    for seed in 0..50 {
        let mut seats = before.clone();
        for round in 0..10 {
            seats = dealt(&seats, &stakes(&[1_000_000, 1, 1, 1]), seed * 10 + round);
        }
        let held = seats.seats.iter().filter(|it| it.validator == id(0));
        assert_eq!(held.count(), 2);
    }
    // One alone takes all.
    let alone = dealt(&before, &stakes(&[0, 0, 0, 7]), 1);
    assert!(
        drawn(&alone)
            .iter()
            .all(|it| alone.seats[*it].validator == id(3))
    );
    // Without any stake nothing changes.
    assert_eq!(dealt(&before, &[], 1).seats, before.seats);
}

#[test]
fn a_newcomer_that_is_not_ready_gives_way() {
    let held = seating(&[(0, 1), (1, 1), (2, 1), (3, 1)]);
    let deal = seating(&[(4, 9), (1, 1), (5, 9), (1, 9)]);
    assert_eq!(newcomers(&deal, &held), [id(4), id(5)]);
    let settled = settle(&deal, &held, &mut |validator| validator == id(5));
    // Who sat there before keeps the seat; who sits elsewhere in the shard is no newcomer.
    let expected = seating(&[(0, 1), (1, 1), (5, 9), (1, 9)]);
    assert_eq!(settled.seats, expected.seats);
}

#[test]
fn on_the_beacon_a_newcomer_that_is_not_ready_is_left_out() {
    let (old, new) = (stakes(&[5, 5, 5]), stakes(&[5, 0, 6, 7, 8]));
    let held = deal_beacon(Epoch::new(1), Digest::ZERO, &Seating::default(), &old);
    let deal = deal_beacon(Epoch::new(2), Digest::ZERO, &held, &new);
    let settled = settle(&deal, &held, &mut |validator| validator == id(4));
    let weights = [(id(0), 5), (id(2), 6), (id(4), 8)].map(|(id, it)| (id, Weight::new(it)));
    assert_eq!(settled.weights, weights);
    assert_eq!(settled.seats.len(), 3);
    assert_eq!(settled.seats[0].since, Epoch::new(1));
}

fn genesis() -> Genesis {
    let validator = |number: u8| GenesisValidator {
        name: format!("v{number}"),
        vote_key: key(number).public_key(),
        possession: Signature([0; 96]),
        operator: Address::of_system(0, ChainRef::Beacon, &[number]),
        stake: Weight::new(10 + u64::from(number)),
    };
    Genesis {
        version: Version,
        name: "epochs".to_owned(),
        salt: Digest::ZERO,
        time: TimeMs::ZERO,
        development: true,
        shard_depth: 1,
        parameters: Parameters {
            epoch_ms: 8_000,
            ..Parameters::default()
        },
        validators: (0..8).map(validator).collect(),
        seats: vec![(0..4).map(id).collect(), (4..8).map(id).collect()],
        accounts: Vec::new(),
    }
}

fn beacon(world: &mut World, system: Vec<SystemOperation>) -> Outcome {
    let work = BlockWork {
        system,
        ..BlockWork::default()
    };
    world.run(BEACON, &work)
}

fn pass(world: &mut World, blocks: u64) {
    for _ in 0..blocks {
        beacon(world, Vec::new());
    }
}

fn epoch(world: &World) -> u64 {
    world.facts.epoch.epoch.get()
}

#[test]
fn an_epoch_ends_with_the_first_block_after_its_time() {
    let mut world = World::of(genesis());
    pass(&mut world, 7);
    assert_eq!(epoch(&world), 0);
    pass(&mut world, 1);
    assert_eq!(epoch(&world), 1);
    // The next one starts at the time of the block that ended this one.
    assert_eq!(world.facts.epoch.started, TimeMs::new(8_000));
    pass(&mut world, 7);
    assert_eq!(epoch(&world), 1);
    pass(&mut world, 1);
    assert_eq!(epoch(&world), 2);
    for (chain, named) in world
        .network
        .chains
        .iter()
        .zip(&world.facts.epoch.committees)
    {
        let committee = views::committee(world.state(BEACON), *chain, Epoch::new(2)).unwrap();
        assert!(committee.is_well_formed());
        assert_eq!(reference(&committee), *named);
    }
}

#[test]
fn without_a_length_the_first_epoch_never_ends() {
    let mut genesis = genesis();
    genesis.parameters.epoch_ms = 0;
    let mut world = World::of(genesis);
    pass(&mut world, 100);
    assert_eq!(epoch(&world), 0);
}

#[test]
fn the_seed_is_made_of_all_reveals() {
    let reveal = |byte| Signature([byte; 96]);
    let fold = |bytes: &[u8]| {
        let reveals = bytes.iter().map(|byte| reveal(*byte));
        reveals.fold(Digest::ZERO, |entropy, reveal| {
            fold_reveal(&entropy, &reveal)
        })
    };
    let seeds = [&[1_u8, 2][..], &[2, 1], &[1, 2, 3]].map(|bytes| {
        let mut world = World::of(genesis());
        for _ in 0..8 {
            let mut context = world.context(BEACON);
            context.entropy = fold(bytes);
            let work = BlockWork::default();
            let executor = world.executor(Mode::Sequential);
            let outcome = executor.execute(&context, &work, world.state(BEACON));
            world
                .states
                .get_mut(&BEACON)
                .unwrap()
                .apply(&outcome.changes);
            *world.heights.get_mut(&BEACON).unwrap() += 1;
        }
        let dealt = views::seating(world.state(BEACON), shard(0), Stage::Dealt);
        dealt.unwrap().seed
    });
    assert!(seeds[0] != seeds[1] && seeds[0] != seeds[2] && seeds[1] != seeds[2]);
}

fn ready(world: &World, number: u8, chain: ChainRef, epoch: u64) -> Ready {
    let (validator, epoch) = (id(u32::from(number)), Epoch::new(epoch));
    let message = Ready::signing_digest(&world.network.chain_id, validator, chain, epoch);
    Ready {
        validator,
        chain,
        epoch,
        signature: key(number).sign(&message),
    }
}

/// Runs to the first deal that brings a newcomer to a shard; gives shard, newcomer and epoch.
fn newcomer(world: &mut World) -> (ChainRef, u8, u64) {
    loop {
        pass(world, 8);
        for chain in [shard(0), shard(1)] {
            let state = world.state(BEACON);
            let [dealt, held] = [Stage::Dealt, Stage::Held]
                .map(|stage| views::seating(state, chain, stage).unwrap());
            if let Some(found) = newcomers(&dealt, &held).first() {
                return (chain, u8::try_from(found.get()).unwrap(), dealt.epoch.get());
            }
        }
    }
}

fn sits(world: &World, chain: ChainRef, number: u8, epoch: u64) -> bool {
    let committee = views::committee(world.state(BEACON), chain, Epoch::new(epoch)).unwrap();
    committee.index_of(id(u32::from(number))).is_some()
}

#[test]
fn a_newcomer_takes_its_seat_when_it_is_ready_in_time() {
    let mut world = World::of(genesis());
    let (chain, number, next) = newcomer(&mut world);
    let mut late = world.clone();
    let mut wrong = world.clone();
    let word = ready(&world, number, chain, next);
    beacon(&mut world, vec![SystemOperation::Ready(word)]);
    pass(&mut world, 5);
    assert!(sits(&world, chain, number, next));
    pass(&mut late, 6);
    let word = ready(&late, number, chain, next);
    beacon(&mut late, vec![SystemOperation::Ready(word)]);
    pass(&mut late, 1);
    assert!(!sits(&late, chain, number, next), "after three quarters");
    let words = [
        ready(&wrong, number, chain, next + 1),
        ready(&wrong, number, BEACON, next),
    ];
    beacon(&mut wrong, words.map(SystemOperation::Ready).to_vec());
    pass(&mut wrong, 7);
    assert!(!sits(&wrong, chain, number, next), "for another seat");
}

#[test]
fn only_the_validator_itself_says_that_it_is_ready() {
    let world = World::of(genesis());
    let word = ready(&world, 3, shard(1), 2);
    let check = |word: &Ready| {
        let id = &world.network.chain_id;
        verify_ready(word, id, world.state(BEACON), &BlsScheme).is_ok()
    };
    assert!(check(&word));
    let validator = id(4);
    assert!(!check(&Ready { validator, ..word }));
    let epoch = Epoch::new(3);
    assert!(!check(&Ready { epoch, ..word }));
    let chain = shard(0);
    assert!(!check(&Ready { chain, ..word }));
    let validator = id(99);
    assert!(!check(&Ready { validator, ..word }));
}

fn validate(world: &World, header: &Header, body: Option<&Body>) -> Result<(), BlockError> {
    let bytes = body.map(codec::encode).unwrap_or_default();
    let checked = CheckedBody::decode(header, &bytes)?;
    let shown = &world.facts;
    let validated = validate_block(&BlockInput {
        network: &world.network,
        chain: header.chain,
        header,
        body: checked.as_ref(),
        parent: world.state(header.chain),
        shown_facts_root: shown.root(),
        shown_epoch: shown.epoch.epoch,
        known: &[],
    });
    validated.map(|_| ())
}

fn of_kind(world: &World, chain: ChainRef, kind: BlockKind, epoch: u64) -> Header {
    let mut header = header(&world.network, chain, world.heights[&chain] + 1);
    (header.kind, header.epoch) = (kind, Epoch::new(epoch));
    if kind == BlockKind::Seal {
        let state = world.state(chain);
        header.next = views::next_committee(state, &world.network, chain, header.epoch);
    }
    header
}

#[test]
fn after_the_end_of_an_epoch_only_idle_blocks_and_the_seal_are_valid() {
    let mut world = World::of(genesis());
    let body = Body::default();
    let working = |world: &World, chain, epoch| {
        let mut header = of_kind(world, chain, BlockKind::Working, epoch);
        header.body_root = body.root();
        validate(world, &header, Some(&body))
    };
    let kind = |world: &World, chain, kind, epoch| {
        validate(world, &of_kind(world, chain, kind, epoch), None)
    };
    assert_eq!(working(&world, BEACON, 0), Ok(()));
    assert_eq!(kind(&world, BEACON, BlockKind::Idle, 0), Ok(()));
    let early = kind(&world, BEACON, BlockKind::Seal, 0);
    assert!(matches!(early, Err(BlockError::Epoch { .. })));
    let strange = working(&world, BEACON, 1);
    assert!(matches!(strange, Err(BlockError::Epoch { .. })));
    pass(&mut world, 8);
    assert_eq!(kind(&world, BEACON, BlockKind::Idle, 0), Ok(()));
    assert_eq!(kind(&world, BEACON, BlockKind::Seal, 0), Ok(()));
    let late = working(&world, BEACON, 0);
    assert!(matches!(late, Err(BlockError::Epoch { .. })));
    let mut other = of_kind(&world, BEACON, BlockKind::Seal, 0);
    other.next.as_mut().unwrap().weight += 1;
    let other = validate(&world, &other, None);
    assert!(matches!(other, Err(BlockError::Next { .. })));
    assert_eq!(working(&world, BEACON, 1), Ok(()));

    // A shard's epoch ends with the block that imports the next one's facts.
    let facts = Some(world.facts.clone());
    let mut header = of_kind(&world, shard(0), BlockKind::Working, 0);
    let ending = Body {
        facts,
        ..Body::default()
    };
    header.body_root = ending.root();
    assert_eq!(validate(&world, &header, Some(&ending)), Ok(()));
    let work = BlockWork {
        facts: ending.facts,
        ..BlockWork::default()
    };
    world.run(shard(0), &work);
    assert_eq!(kind(&world, shard(0), BlockKind::Seal, 0), Ok(()));
    let late = working(&world, shard(0), 0);
    assert!(matches!(late, Err(BlockError::Epoch { .. })));
    assert_eq!(working(&world, shard(0), 1), Ok(()));
}

#[test]
fn a_reference_shows_the_epoch_that_it_is_of() {
    let mut world = World::of(genesis());
    pass(&mut world, 8);
    let body = Body {
        facts: Some(world.facts.clone()),
        ..Body::default()
    };
    let mut header = of_kind(&world, shard(0), BlockKind::Working, 0);
    header.body_root = body.root();
    let bytes = codec::encode(&body);
    let checked = CheckedBody::decode(&header, &bytes).unwrap();
    let validated = validate_block(&BlockInput {
        network: &world.network,
        chain: shard(0),
        header: &header,
        body: checked.as_ref(),
        parent: world.state(shard(0)),
        shown_facts_root: world.facts.root(),
        // A header between the end of the epoch and the seal.
        shown_epoch: Epoch::ZERO,
        known: &[],
    });
    assert!(matches!(validated, Err(BlockError::ReferenceEpoch { .. })));
}

/// Cross-links a seal of a shard, after whatever its state is.
fn seal(world: &mut World, chain: ChainRef, epoch: u64) -> (Digest, Vec<CrossLinkSkip>) {
    let mut link = world.link(chain);
    let seal = of_kind(world, chain, BlockKind::Seal, epoch);
    link.header.height = seal.height;
    (link.header.kind, link.header.epoch, link.header.next) = (seal.kind, seal.epoch, seal.next);
    let digest = link.header.digest();
    let outcome = beacon(world, vec![SystemOperation::CrossLink(Box::new(link))]);
    *world.heights.get_mut(&chain).unwrap() += 1;
    (digest, outcome.skipped)
}

fn import(world: &mut World, chain: ChainRef) {
    let facts = Some(world.facts.clone());
    let work = BlockWork {
        facts,
        ..BlockWork::default()
    };
    world.run(chain, &work);
}

#[test]
fn the_cross_link_of_a_seal_closes_its_epoch_and_opens_the_named_one() {
    let mut world = World::of(genesis());
    // The shard sleeps through epoch 1.
    pass(&mut world, 16);
    import(&mut world, shard(0));
    let mut forged = world.clone();
    let (digest, skipped) = seal(&mut world, shard(0), 0);
    assert_eq!(skipped, []);
    let record = views::shard_record(world.state(BEACON), shard(0)).unwrap();
    assert_eq!((record.epoch, record.genesis), (Epoch::new(2), digest));
    assert_eq!(record.header.digest, digest);
    let noted = |epoch| views::instance(world.state(BEACON), shard(0), Epoch::new(epoch));
    let start = genesis_digest(&world.network.chain_id, shard(0));
    assert_eq!([0, 1, 2].map(noted), [Some(start), None, Some(digest)]);
    let open = |world: &World| views::open_epoch(world.state(BEACON), BEACON, shard(0));
    assert_eq!(open(&world), Some(Epoch::new(2)));

    // What the closed epoch still finalizes proves nothing.
    let mut link = world.link(shard(0));
    let outcome = beacon(
        &mut world,
        vec![SystemOperation::CrossLink(Box::new(link.clone()))],
    );
    assert_eq!(outcome.skipped, [CrossLinkSkip::EpochNotOpen(Epoch::ZERO)]);
    link.header.epoch = Epoch::new(2);
    let outcome = beacon(&mut world, vec![SystemOperation::CrossLink(Box::new(link))]);
    assert_eq!(outcome.skipped, []);

    // A seal that names an epoch without a settled committee, or another committee.
    let key = views::committee_key(shard(0), Epoch::new(2));
    forged.states.get_mut(&BEACON).unwrap().0.remove(&key);
    let (_, skipped) = seal(&mut forged, shard(0), 0);
    assert_eq!(skipped, [CrossLinkSkip::NextCommittee(Epoch::new(2))]);
}

fn keeps(world: &World, chain: ChainRef, epoch: u64) -> bool {
    views::committee(world.state(BEACON), chain, Epoch::new(epoch)).is_some()
}

/// The epochs up to `last` of which the beacon keeps a committee of a chain.
fn kept(world: &World, chain: ChainRef, last: u64) -> Vec<u64> {
    (0..=last).filter(|it| keeps(world, chain, *it)).collect()
}

#[test]
fn committees_answer_for_their_age_from_when_their_chain_has_left_them() {
    let mut world = World::of(genesis());
    let age = Parameters::default().unbonding_epochs;
    pass(&mut world, 8 * 12);
    assert_eq!(epoch(&world), 12);
    // The beacon's own go, though no shard follows.
    assert_eq!(
        kept(&world, BEACON, 12),
        (12 - age..=12).collect::<Vec<_>>()
    );
    assert_eq!(kept(&world, shard(0), 12), (0..=12).collect::<Vec<_>>());
    import(&mut world, shard(0));
    assert_eq!(seal(&mut world, shard(0), 0).1, []);
    // Those that were slept through go at once. The one that has just been left could sign until
    // now, however long ago its epoch was that of the beacon.
    assert_eq!(kept(&world, shard(0), 12), [0, 12]);
    for open in 13..12 + age {
        pass(&mut world, 8);
        assert_eq!(epoch(&world), open);
        assert!(keeps(&world, shard(0), 0) && keeps(&world, shard(0), 12));
        assert!(views::instance(world.state(BEACON), shard(0), Epoch::ZERO).is_some());
    }
    pass(&mut world, 8);
    assert!(!keeps(&world, shard(0), 0) && keeps(&world, shard(0), 12));
    let from = |chain| views::kept_from(world.state(BEACON), chain).get();
    assert_eq!([from(shard(0)), from(shard(1))], [12, 0]);
    assert_eq!(from(BEACON), 12, "it waits for no shard");
}

#[test]
fn an_overdue_shard_is_fenced_and_its_committees_are_forgotten_but_the_last() {
    let mut genesis = genesis();
    (
        genesis.parameters.overdue_epochs,
        genesis.parameters.unbonding_epochs,
    ) = (3, 2);
    let mut world = World::of(genesis);
    let is_fenced = |world: &World, chain| {
        views::shard_record(world.state(BEACON), chain)
            .unwrap()
            .fenced
    };
    let mut most = 0;
    for open in 1..16 {
        pass(&mut world, 8 - u64::from(open > 1));
        assert_eq!(epoch(&world), open);
        import(&mut world, shard(0));
        assert_eq!(seal(&mut world, shard(0), open - 1).1, []);
        assert!(!is_fenced(&world, shard(0)), "it follows");
        // Its seal was due in epoch 1.
        assert_eq!(is_fenced(&world, shard(1)), open > 1 + 3, "epoch {open}");
        most = most.max(kept(&world, shard(1), open + 1).len());
        assert!(kept(&world, shard(0), open + 1).len() <= 2 + 2);
    }
    assert!((3..=3 + 2 + 4 + 1).contains(&most), "{most}");
    // What was signed is too old to be judged, and proves what is still on its way.
    let instance = views::instance(world.state(BEACON), shard(1), Epoch::ZERO);
    assert_eq!(instance, None);
    assert_eq!(
        kept(&world, shard(1), 16),
        [0, 15],
        "and of what is dealt now"
    );
    assert_eq!(views::kept_from(world.state(BEACON), shard(1)).get(), 15);
}

#[test]
fn stakes_of_the_genesis_are_part_of_the_supply() {
    let world = World::of(genesis());
    let staked = (10..18).sum::<u128>() * 1_000_000_000;
    assert_eq!(world.genesis.supply(Denom::SKER).unwrap().get(), staked);
    let count = count_supply(BEACON, world.state(BEACON).records());
    assert_eq!(count.balances[&Denom::SKER].get(), staked);
    let held = views::balance(world.state(BEACON), &pool(), &Denom::SKER);
    assert_eq!(held.get(), staked);
}
