//! Evidence from its proof to jail, slash and fence.
//!
//! Eight validators with a thousand sker each and two shards of four seats; a block of the beacon comes every
//! second, an epoch lasts eight.

use crate::block::{BlockWork, Outcome};
use crate::error::{CrossLinkSkip, ProofFailure};
use crate::fence::check_fence;
use crate::module::Module;
use crate::modules::evidence::EvidenceModule;
use crate::modules::evidence::state::offences_object;
use crate::modules::staking::state::pool;
use crate::parallel::Mode;
use crate::proofs::{Jurisdiction, verify_evidence};
use crate::supply::{check_records, count_supply};
use crate::testing::{Draft, World, certificate, header, shard, transfer, user};
use crate::validate::check_evidence_size;
use crate::views;
use skerry_types::amount::{Amount, Asset};
use skerry_types::beacon::SystemOperation;
use skerry_types::certificate::{Bitmap, Certificate};
use skerry_types::codec::Version;
use skerry_types::committee::{Committee, Instance};
use skerry_types::crypto::bls::{SecretKey, Signature};
use skerry_types::crypto::scheme::{MockScheme, VoteScheme};
use skerry_types::evidence::{Evidence, FinalHeader};
use skerry_types::genesis::{
    Genesis, GenesisAccount, GenesisValidator, NSKER_PER_WEIGHT, Parameters,
};
use skerry_types::ids::{
    ChainRef, Denom, Digest, Epoch, Height, MemberIndex, TimeMs, ValidatorId, View, Weight,
};
use skerry_types::limits::EVIDENCE_BYTES_MAX;
use skerry_types::merkle::{KeyProof, PathProof};
use skerry_types::message::BatchProof;
use skerry_types::receipt::Status;
use skerry_types::state::Value;
use skerry_types::transaction::Target;
use skerry_types::vote::{Statement, Vote};
use std::sync::Arc;

const BEACON: ChainRef = ChainRef::Beacon;
const STAKE: u64 = 1_000;

fn key(number: u8) -> SecretKey {
    SecretKey::from_seed([number + 1; 32])
}

fn genesis() -> Genesis {
    let validator = |number: u8| GenesisValidator {
        name: format!("v{number}"),
        vote_key: key(number).public_key(),
        possession: Signature([0; 96]),
        operator: user(0, 1).address,
        stake: Weight::new(STAKE),
    };
    let account = |bits| GenesisAccount {
        address: user(bits, 1).address,
        assets: vec![Asset::nsker(1 << 80)],
    };
    let id = ValidatorId::new;
    Genesis {
        version: Version,
        name: "evidence".to_owned(),
        salt: Digest::ZERO,
        time: TimeMs::ZERO,
        development: true,
        shard_depth: 1,
        parameters: Parameters {
            epoch_ms: 8_000,
            slash_bps: 500,
            jail_epochs: 2,
            ..Parameters::default()
        },
        validators: (0..8).map(validator).collect(),
        seats: vec![(0..4).map(id).collect(), (4..8).map(id).collect()],
        accounts: vec![account(0), account(1)],
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

fn apply(world: &mut World, evidence: &Evidence) -> Outcome {
    let evidence = Box::new(evidence.clone());
    beacon(world, vec![SystemOperation::Evidence(evidence)])
}

/// Committee and instance of epoch 0, as the beacon's state has them.
fn instance(world: &World, chain: ChainRef) -> (Committee, Instance) {
    let state = world.state(BEACON);
    let instance = Instance {
        chain_id: world.network.chain_id,
        chain,
        epoch: Epoch::ZERO,
        genesis: views::instance(state, chain, Epoch::ZERO).unwrap(),
    };
    let committee = views::committee(state, chain, Epoch::ZERO).unwrap();
    (committee, instance)
}

fn vote(world: &World, chain: ChainRef, validator: u8, statement: Statement) -> Vote {
    let (committee, instance) = instance(world, chain);
    let signer = committee.index_of(ValidatorId::new(validator.into()));
    Vote {
        statement,
        signer: signer.unwrap(),
        signature: MockScheme.sign(&key(validator), &statement.signing_digest(&instance)),
    }
}

fn signed(world: &World, chain: ChainRef, by: &[u8], statement: Statement) -> Certificate {
    let votes: Vec<Vote> = by
        .iter()
        .map(|it| vote(world, chain, *it, statement))
        .collect();
    let signatures: Vec<_> = votes.iter().map(|vote| vote.signature).collect();
    let members = instance(world, chain).0.members.len();
    Certificate {
        statement,
        signers: Bitmap::of(votes.iter().map(|vote| vote.signer), members),
        signature: MockScheme.aggregate(&signatures).unwrap(),
    }
}

fn notarize(view: u64, block: u8) -> Statement {
    Statement::Notarize {
        view: View::new(view),
        digest: Digest::new([block; 32]),
    }
}

fn finalize(view: u64, digest: Digest) -> Statement {
    Statement::Finalize {
        view: View::new(view),
        digest,
    }
}

fn double_vote(world: &World, chain: ChainRef, validator: u8, view: u64) -> Evidence {
    let one = vote(world, chain, validator, notarize(view, 1));
    let other = vote(world, chain, validator, notarize(view, 2));
    Evidence::of_votes((chain, Epoch::ZERO), one, other).unwrap()
}

/// Two final blocks of shard 0 at one height, in the given views.
fn fork(world: &World, views: [u64; 2], by: [&[u8]; 2]) -> Evidence {
    let chain = shard(0);
    let mut one = header(&world.network, chain, 5);
    let mut other = one.clone();
    (one.view, other.view) = (View::new(views[0]), View::new(views[1]));
    other.time = other.time.next();
    let side = |header: skerry_types::block::Header, view, by| FinalHeader {
        certificate: signed(world, chain, by, finalize(view, header.digest())),
        header,
        path: Vec::new(),
    };
    Evidence::of_finals(side(one, views[0], by[0]), side(other, views[1], by[1])).unwrap()
}

fn jurisdiction(world: &World, chain: ChainRef, epoch: Epoch) -> Option<Jurisdiction> {
    Jurisdiction::of(world.state(BEACON), world.network.chain_id, (chain, epoch))
}

fn verified(world: &World, evidence: &Evidence) -> Result<(), ProofFailure> {
    let (chain, epoch) = (evidence.chain, evidence.epoch);
    let jurisdiction = jurisdiction(world, chain, epoch);
    let jurisdiction = jurisdiction.ok_or(ProofFailure::NotAdmissible { chain, epoch })?;
    let mut decoded = |it: &Jurisdiction| it.decode(&MockScheme).map(Arc::new);
    verify_evidence(evidence, &jurisdiction, &mut decoded, &MockScheme)
}

fn bond(world: &World, validator: u32) -> u128 {
    let record = views::validator(world.state(BEACON), ValidatorId::new(validator));
    record.unwrap().bond.get()
}

/// Who lost something.
fn slashed(world: &World) -> Vec<u32> {
    let full = u128::from(STAKE) * NSKER_PER_WEIGHT;
    (0..8).filter(|it| bond(world, *it) < full).collect()
}

#[test]
fn double_vote_is_slashed_and_jailed_once_and_its_seats_go() {
    let mut world = World::of(genesis());
    let evidence = double_vote(&world, BEACON, 2, 7);
    assert_eq!(verified(&world, &evidence), Ok(()));
    let outcome = apply(&mut world, &evidence);
    let slash = u128::from(STAKE) * NSKER_PER_WEIGHT / 20;
    assert_eq!(outcome.burnt, Amount::new(slash));
    assert_eq!(slashed(&world), [2]);
    let record = views::validator(world.state(BEACON), ValidatorId::new(2)).unwrap();
    assert_eq!(record.slashed.get(), slash);
    assert_eq!(record.jailed, Some(Epoch::new(2)));
    assert_eq!(record.effective_stake(), Weight::ZERO);

    // The same again, and another view of the same chain and epoch.
    assert!(!views::is_news(world.state(BEACON), &evidence));
    for again in [evidence, double_vote(&world, BEACON, 2, 8)] {
        assert_eq!(verified(&world, &again), Ok(()));
        assert_eq!(apply(&mut world, &again).burnt, Amount::ZERO);
    }
    // On another chain it is another offence, of what is left.
    let chain = shard(0);
    let evidence = double_vote(&world, chain, 2, 7);
    let outcome = apply(&mut world, &evidence);
    assert_eq!(outcome.burnt.get(), slash - slash / 20);

    let records = world.state(BEACON).records();
    assert_eq!(check_records(records), []);
    let held = views::balance(world.state(BEACON), &pool(), &Denom::SKER).get();
    let bonds: u128 = (0..8).map(|validator| bond(&world, validator)).sum();
    assert_eq!(held, bonds, "the pool holds what is at stake");
    let count = count_supply(BEACON, world.state(BEACON).records());
    let all = count.balances[&Denom::SKER].get() + count.burnt[&Denom::SKER].get();
    assert_eq!(all, 8 * u128::from(STAKE) * NSKER_PER_WEIGHT);

    let sits = |world: &World, epoch: u64| {
        let committee = views::committee(world.state(BEACON), BEACON, Epoch::new(epoch));
        committee.unwrap().index_of(ValidatorId::new(2)).is_some()
    };
    pass(&mut world, 8 * 3);
    assert!(sits(&world, 1), "what is settled stays");
    assert!(sits(&world, 2), "what is dealt stays");
    assert!(!sits(&world, 3));

    let owner = offences_object();
    let shown = EvidenceModule.query(&owner, &world.state(BEACON).entries(&owner));
    let offences = shown["offences"].as_array().unwrap();
    assert_eq!(offences.len(), 2);
    assert_eq!(offences[0]["validator"], 2);
    assert_eq!(offences[0]["chain"], "shard-0/1");
    assert_eq!(offences[1]["slashed"], slash.to_string());
}

#[test]
fn evidence_without_proof_is_refused() {
    let world = World::of(genesis());
    let good = double_vote(&world, shard(0), 1, 3);
    let refused = |edit: &dyn Fn(&mut Evidence)| {
        let mut evidence = good.clone();
        edit(&mut evidence);
        verified(&world, &evidence).unwrap_err()
    };
    let votes = |evidence: &mut Evidence, edit: &dyn Fn(&mut Vote)| {
        if let skerry_types::evidence::Conflict::Votes { second, .. } = &mut evidence.conflict {
            edit(second);
        }
    };
    let signer = good.signer().unwrap();
    // Of another instance: the votes are not signed for it.
    let other = |it: &mut Evidence| it.chain = BEACON;
    assert_eq!(refused(&other), ProofFailure::VoteSignature(signer));
    let (chain, epoch) = (shard(0), Epoch::new(1));
    let later = |it: &mut Evidence| it.epoch = epoch;
    assert_eq!(
        refused(&later),
        ProofFailure::NotAdmissible { chain, epoch }
    );
    let agreeing = |it: &mut Evidence| {
        votes(it, &|second| second.statement = notarize(3, 1));
    };
    assert_eq!(refused(&agreeing), ProofFailure::NoConflict);
    let two = |it: &mut Evidence| votes(it, &|second| second.signer = MemberIndex::new(0));
    assert_eq!(refused(&two), ProofFailure::NoConflict);
    let forged = |it: &mut Evidence| votes(it, &|second| second.statement = notarize(3, 3));
    assert_eq!(refused(&forged), ProofFailure::VoteSignature(signer));

    let few = fork(&world, [4, 4], [&[0, 1, 2], &[1, 2]]);
    assert!(matches!(
        verified(&world, &few),
        Err(ProofFailure::Certificate(_))
    ));
    // What lacks weight costs no keys, and evidence is judged by its own place alone.
    let place = jurisdiction(&world, chain, Epoch::ZERO).unwrap();
    let mut never = |_: &Jurisdiction| -> Option<_> { panic!("the keys are decoded") };
    assert!(verify_evidence(&few, &place, &mut never, &MockScheme).is_err());
    assert_eq!(
        verify_evidence(&good, &place, &mut never, &MockScheme),
        Ok(())
    );
    let other = jurisdiction(&world, BEACON, Epoch::ZERO).unwrap();
    let refused = verify_evidence(&good, &other, &mut never, &MockScheme);
    let epoch = Epoch::ZERO;
    assert_eq!(refused, Err(ProofFailure::NotAdmissible { chain, epoch }));

    // A notarize and a nullify of one view are honest.
    let view = View::new(3);
    let honest = vote(&world, shard(0), 1, Statement::Nullify { view });
    let one = vote(&world, shard(0), 1, notarize(3, 1));
    assert_eq!(Evidence::of_votes((chain, Epoch::ZERO), one, honest), None);
}

#[test]
fn evidence_of_the_largest_size_is_small_enough_for_pools_and_blocks() {
    let of_length = |bytes: usize| {
        let certificate = |block: u8, members: usize| Certificate {
            statement: notarize(3, block),
            signers: Bitmap::of([], members),
            signature: Signature([0; 96]),
        };
        let with = |members| {
            let (one, other) = (certificate(1, members), certificate(2, 0));
            Evidence::of_certificates((BEACON, Epoch::ZERO), one, other).unwrap()
        };
        let rest = with(0).byte_length();
        with((bytes - rest) * 8)
    };
    for (bytes, expected) in [(EVIDENCE_BYTES_MAX, true), (EVIDENCE_BYTES_MAX + 1, false)] {
        let evidence = of_length(bytes);
        assert_eq!(evidence.byte_length(), bytes);
        assert_eq!(evidence.is_small(), expected);
        let operation = SystemOperation::Evidence(Box::new(evidence));
        let is_valid = check_evidence_size(&[operation]).is_ok();
        assert_eq!(is_valid, expected, "who keeps it may propose it");
    }
}

#[test]
fn who_signed_both_certificates_of_a_view_is_guilty() {
    let mut world = World::of(genesis());
    let chain = shard(0);
    let one = signed(&world, chain, &[0, 1, 2], notarize(3, 1));
    let other = signed(&world, chain, &[1, 2, 3], notarize(3, 2));
    let evidence = Evidence::of_certificates((chain, Epoch::ZERO), one, other).unwrap();
    assert_eq!(verified(&world, &evidence), Ok(()));
    apply(&mut world, &evidence);
    assert_eq!(slashed(&world), [1, 2]);
    let record = views::shard_record(world.state(BEACON), chain).unwrap();
    assert!(!record.fenced, "nothing was final twice");
}

#[test]
fn fork_across_views_fences_and_accuses_nobody() {
    let mut world = World::of(genesis());
    let evidence = fork(&world, [4, 6], [&[0, 1, 2], &[1, 2, 3]]);
    assert_eq!(verified(&world, &evidence), Ok(()));
    assert!(views::is_news(world.state(BEACON), &evidence));
    apply(&mut world, &evidence);
    assert!(slashed(&world).is_empty());
    assert!(
        views::shard_record(world.state(BEACON), shard(0))
            .unwrap()
            .fenced
    );
    assert!(!views::is_news(world.state(BEACON), &evidence));

    // In one view the signers of both are guilty.
    let evidence = fork(&world, [7, 7], [&[0, 1, 2], &[1, 2, 3]]);
    assert!(views::is_news(world.state(BEACON), &evidence));
    apply(&mut world, &evidence);
    assert_eq!(slashed(&world), [1, 2]);
}

#[test]
fn fenced_shard_is_not_cross_linked_and_sent_nothing() {
    let mut world = World::of(genesis());
    let (alice, bob) = (user(1, 1), user(0, 1));
    let five = Asset::nsker(5);
    let link = world.crosslink(shard(0));
    let mut open = world.clone();
    assert_eq!(beacon(&mut open, vec![link.clone()]).skipped, []);

    let evidence = fork(&world, [4, 6], [&[0, 1, 2], &[1, 2, 3]]);
    let evidence = SystemOperation::Evidence(Box::new(evidence));
    // In the same block already, wherever it stands.
    let outcome = beacon(&mut world, vec![link, evidence]);
    assert_eq!(outcome.skipped, [CrossLinkSkip::Fenced(shard(0))]);
    let other = world.crosslink(shard(1));
    assert_eq!(beacon(&mut world, vec![other]).skipped, []);

    let sent = world.transactions(shard(1), &[transfer(alice, 0, bob.address, five)]);
    assert_eq!(
        sent.receipts[0].status,
        Status::Succeeded,
        "not known here yet"
    );
    let facts = Some(world.facts.clone());
    let work = BlockWork {
        facts,
        ..BlockWork::default()
    };
    world.run(shard(1), &work);
    let before = world.balance(&alice, Denom::SKER);
    let outcome = world.transactions(shard(1), &[transfer(alice, 1, bob.address, five)]);
    let Status::Failed(failure) = &outcome.receipts[0].status else {
        panic!("{:?}", outcome.receipts);
    };
    assert_eq!(failure.code, "SHARD_FENCED");
    assert_eq!(outcome.outgoing, []);
    let fee = outcome.receipts[0].fee.get();
    assert_eq!(
        world.balance(&alice, Denom::SKER),
        before - fee,
        "the fee only"
    );
}

#[test]
fn a_fenced_shard_sends_nothing() {
    let mut world = World::of(genesis());
    let (bob, alice) = (user(0, 1), user(1, 1));
    let five = Asset::nsker(5);
    let evidence = fork(&world, [4, 6], [&[0, 1, 2], &[1, 2, 3]]);
    apply(&mut world, &evidence);
    let work = BlockWork {
        facts: Some(world.facts.clone()),
        ..BlockWork::default()
    };
    world.run(shard(0), &work);
    let abroad = transfer(bob, 0, alice.address, five);
    let request = Draft::new(bob, 1, vec![five]).to(Target::Beacon);
    let at_home = transfer(bob, 2, user(0, 2).address, five);
    let before = world.balance(&bob, Denom::SKER);
    let outcome = world.transactions(shard(0), &[abroad, request, at_home]);
    assert_eq!(outcome.outgoing, []);
    for receipt in &outcome.receipts[..2] {
        let Status::Failed(failure) = &receipt.status else {
            panic!("{receipt:?}");
        };
        assert_eq!(failure.code, "HOME_FENCED");
        assert!(receipt.messages.is_empty());
    }
    assert_eq!(outcome.receipts[2].status, Status::Succeeded);
    let fees: u128 = outcome.receipts.iter().map(|it| it.fee.get()).sum();
    let after = world.balance(&bob, Denom::SKER);
    assert_eq!(after, before - fees - 5, "nothing but the transfer at home");
}

#[test]
fn a_damaged_record_counts_as_fenced() {
    let (alice, bob) = (user(1, 1), user(0, 1));
    let (here, five) = (shard(1), Asset::nsker(5));
    for (damaged, code) in [(shard(0), "SHARD_FENCED"), (here, "HOME_FENCED")] {
        let mut world = World::of(genesis());
        let key = views::facts_shard_key(here, damaged);
        let records = &mut world.states.get_mut(&here).unwrap().0;
        records.insert(key, Value::from(vec![9]));
        let outcome = world.transactions(here, &[transfer(alice, 0, bob.address, five)]);
        let Status::Failed(failure) = &outcome.receipts[0].status else {
            panic!("{:?}", outcome.receipts);
        };
        assert_eq!(failure.code, code);
        assert_eq!(outcome.outgoing, []);
    }
}

#[test]
fn of_a_fenced_source_only_what_the_cross_link_proves_counts() {
    let world = World::of(genesis());
    let mut record = views::shard_record(world.state(BEACON), shard(0)).unwrap();
    let linked = header(&world.network, shard(0), 4);
    record.header = linked.block_ref();
    record.state_root = Digest::new([4; 32]);
    let proof = |height: u64, path: Vec<_>| {
        let mut header = header(&world.network, shard(0), height);
        header.report.result.state_root = Digest::new([5; 32]);
        BatchProof {
            certificate: certificate(header.digest()),
            header,
            path,
            record: KeyProof::Present {
                value: Vec::new(),
                lower: PathProof::from_siblings(&[]),
                upper: PathProof::from_siblings(&[]),
            },
        }
    };
    let later = proof(5, Vec::new());
    assert_eq!(check_fence(&record, &later), Ok(()));
    record.fenced = true;
    let fenced = Err(ProofFailure::Fenced(shard(0)));
    assert_eq!(check_fence(&record, &later), fenced);
    assert_eq!(
        check_fence(&record, &proof(3, Vec::new())),
        fenced,
        "which history?"
    );
    assert_eq!(check_fence(&record, &proof(3, vec![linked])), Ok(()));
    let mut at_link = later;
    at_link.header.report.result.state_root = record.state_root;
    assert_eq!(check_fence(&record, &at_link), Ok(()));
}

#[test]
fn evidence_counts_as_long_as_its_committee_is_kept() {
    let mut world = World::of(genesis());
    let kept_epochs = world.network.parameters.unbonding_epochs;
    let evidence = double_vote(&world, BEACON, 3, 1);
    let early = double_vote(&world, BEACON, 4, 1);
    apply(&mut world, &early);
    // The shards follow, so that epoch 0 is left by all.
    for chain in [shard(0), shard(1)] {
        let mut state = views::shard_record(world.state(BEACON), chain).unwrap();
        state.epoch = Epoch::new(kept_epochs + 1);
        let value = skerry_types::codec::encode(&state).into();
        let states = world.states.get_mut(&BEACON).unwrap();
        states.0.insert(views::shard_record_key(chain), value);
    }
    let kept = |world: &World| views::is_news(world.state(BEACON), &evidence);
    while world.facts.epoch.epoch < Epoch::new(kept_epochs) {
        pass(&mut world, 1);
        assert!(kept(&world));
    }
    assert!(views::offences(world.state(BEACON), BEACON, Epoch::ZERO).has(ValidatorId::new(4)));
    pass(&mut world, 16);
    assert!(!kept(&world));
    let (chain, epoch) = (BEACON, Epoch::ZERO);
    let gone = ProofFailure::NotAdmissible { chain, epoch };
    assert_eq!(verified(&world, &evidence), Err(gone));
    assert_eq!(apply(&mut world, &evidence).burnt, Amount::ZERO);
    let dropped = views::offences(world.state(BEACON), BEACON, Epoch::ZERO);
    assert_eq!(dropped.punished, [], "with the committee");
}

#[test]
fn instance_of_the_beacon_is_noted_with_the_first_working_block_of_an_epoch() {
    let mut world = World::of(genesis());
    let noted = |world: &World, epoch| views::instance(world.state(BEACON), BEACON, epoch);
    assert!(noted(&world, Epoch::ZERO).is_some());
    pass(&mut world, 8);
    assert_eq!(world.facts.epoch.epoch, Epoch::new(1));
    assert_eq!(noted(&world, Epoch::new(1)), None);
    let mut context = world.context(BEACON);
    context.instance = Digest::new([9; 32]);
    let executor = world.executor(Mode::Sequential);
    let outcome = executor.execute(&context, &BlockWork::default(), world.state(BEACON));
    world
        .states
        .get_mut(&BEACON)
        .unwrap()
        .apply(&outcome.changes);
    assert_eq!(noted(&world, Epoch::new(1)), Some(context.instance));
}

#[test]
fn two_final_blocks_are_evidence_at_one_height_only() {
    let world = World::of(genesis());
    let (one, mut other) = (
        header(&world.network, shard(0), 5),
        header(&world.network, shard(0), 6),
    );
    let side = |header: &skerry_types::block::Header| FinalHeader {
        header: header.clone(),
        path: Vec::new(),
        certificate: certificate(header.digest()),
    };
    assert_eq!(Evidence::of_finals(side(&one), side(&other)), None);
    assert_eq!(Evidence::of_finals(side(&one), side(&one)), None);
    other.height = Height::new(5);
    assert!(Evidence::of_finals(side(&one), side(&other)).is_some());
}
