//! What the pool keeps, offers and forgets, by a state of the beacon.

use super::{COMMITTEES_MAX, EVIDENCE_MAX, EvidencePool, Judge, Standing};
use skerry_execution::error::ProofFailure;
use skerry_execution::genesis::genesis_changes;
use skerry_execution::proofs::{Jurisdiction, JurisdictionId};
use skerry_execution::views::{self, Offences, Punished};
use skerry_storage::StateTree;
use skerry_types::amount::Amount;
use skerry_types::certificate::{Bitmap, Certificate};
use skerry_types::codec::{Version, encode};
use skerry_types::committee::{Committee, Instance};
use skerry_types::crypto::bls::{PublicKey, SecretKey, Signature};
use skerry_types::crypto::scheme::{MockScheme, SchemeKey, VoteScheme};
use skerry_types::evidence::{Conflict, Evidence};
use skerry_types::genesis::{Genesis, GenesisValidator, Parameters};
use skerry_types::ids::{
    Address, ChainRef, Digest, Epoch, Height, MemberIndex, TimeMs, ValidatorId, View, Weight,
};
use skerry_types::limits::BLOCK_EVIDENCE_MAX;
use skerry_types::state::{ChangeSet, Value};
use skerry_types::vote::{Statement, Vote};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const BEACON: ChainRef = ChainRef::Beacon;
const VALIDATORS: u8 = 20;
const NOW: TimeMs = TimeMs::new(10_000);

/// The beacon's state at the genesis of twenty validators.
fn state() -> StateTree {
    let validator = |number: u8| GenesisValidator {
        name: format!("v{number}"),
        vote_key: SecretKey::from_seed([number + 1; 32]).public_key(),
        possession: Signature([0; 96]),
        operator: Address::of_system(0, BEACON, &[number]),
        stake: Weight::new(1),
    };
    let genesis = Genesis {
        version: Version,
        name: "pool".to_owned(),
        salt: Digest::ZERO,
        time: TimeMs::ZERO,
        development: true,
        shard_depth: 0,
        parameters: Parameters::default(),
        validators: (0..VALIDATORS).map(validator).collect(),
        seats: vec![(0..4).map(ValidatorId::new).collect()],
        accounts: Vec::new(),
    };
    StateTree::empty().apply(&genesis_changes(&genesis, BEACON).changes)
}

/// Two notarizes, unsigned: what the pool is given was verified.
fn double_vote(epoch: u64, member: u16, view: u64) -> Arc<Evidence> {
    let vote = |block| Vote {
        statement: Statement::Notarize {
            view: View::new(view),
            digest: Digest::new([block; 32]),
        },
        signer: MemberIndex::new(member),
        signature: Signature([0; 96]),
    };
    let place = (BEACON, Epoch::new(epoch));
    Arc::new(Evidence::of_votes(place, vote(1), vote(2)).expect("they contradict"))
}

/// What evidence of an epoch of the beacon is judged by.
fn place(state: &StateTree, epoch: u64) -> JurisdictionId {
    let found = Jurisdiction::of(state, Digest::ZERO, (BEACON, Epoch::new(epoch)));
    found.expect("the state has it").id()
}

fn due(pool: &EvidencePool, state: &StateTree) -> Vec<Arc<Evidence>> {
    pool.due(state, Digest::ZERO)
}

/// A state that keeps the committee of the genesis for an epoch, whose votes are bound to a digest.
fn with_instance(state: &StateTree, epoch: u64, genesis: Digest) -> StateTree {
    let epoch = Epoch::new(epoch);
    let committee = views::committee(state, BEACON, Epoch::ZERO);
    let committee = Committee {
        epoch,
        ..committee.expect("of the genesis")
    };
    let committee_row = (
        views::committee_key(BEACON, epoch),
        Some(Value::from(encode(&committee))),
    );
    let instance_row = (
        views::instance_key(BEACON, epoch),
        Some(Value::from(encode(&(Version, genesis)))),
    );
    state.apply(&ChangeSet::from([committee_row, instance_row]))
}

/// Two notarizes of a member, signed in the instance of an epoch that is bound to a digest.
fn signed_twice(epoch: u64, member: u8, genesis: Digest) -> Arc<Evidence> {
    let instance = Instance {
        chain_id: Digest::ZERO,
        chain: BEACON,
        epoch: Epoch::new(epoch),
        genesis,
    };
    let mut evidence = (*double_vote(epoch, member.into(), 7)).clone();
    if let Conflict::Votes { first, second } = &mut evidence.conflict {
        for vote in [first, second] {
            let message = vote.statement.signing_digest(&instance);
            let secret = SecretKey::from_seed([member + 1; 32]);
            vote.signature = MockScheme.sign(&secret, &message);
        }
    }
    Arc::new(evidence)
}

fn punished(state: &StateTree, validators: &[u32]) -> StateTree {
    let of = |validator: &u32| Punished {
        validator: ValidatorId::new(*validator),
        height: Height::new(3),
        slash: Amount::new(5),
    };
    let offences = Offences {
        punished: validators.iter().map(of).collect(),
        ..Offences::default()
    };
    let value = Some(Value::from(encode(&offences)));
    let key = views::offences_key(BEACON, Epoch::ZERO);
    state.apply(&ChangeSet::from([(key, value)]))
}

#[test]
fn one_offence_waits_once_until_a_state_has_it() {
    let (mut pool, state) = (EvidencePool::default(), state());
    let by = place(&state, 0);
    assert!(pool.prove(double_vote(0, 3, 7), by, NOW));
    assert!(pool.has(&double_vote(0, 3, 8)), "the same offence");
    assert!(!pool.has(&double_vote(0, 5, 7)));
    assert!(!pool.prove(double_vote(0, 3, 8), by, NOW));
    assert!(!pool.note(double_vote(0, 3, 8)));
    assert!(pool.prove(double_vote(0, 4, 7), by, NOW));
    assert_eq!(due(&pool, &state).len(), 2);
    let after = punished(&state, &[3]);
    assert_eq!(due(&pool, &after).as_slice(), [double_vote(0, 4, 7)]);
    assert_eq!(due(&pool, &state).len(), 2, "that state is not final yet");
    pool.prune(&after);
    assert_eq!(due(&pool, &state).as_slice(), [double_vote(0, 4, 7)]);
}

#[test]
fn evidence_of_an_epoch_that_the_beacon_cannot_judge_yet_waits() {
    let (mut pool, state) = (EvidencePool::default(), state());
    let early = double_vote(1, 3, 7);
    assert!(pool.note(early.clone()));
    pool.prune(&state);
    assert!(pool.take_unjudged(&state, Digest::ZERO, 9).is_empty());
    let noted = with_instance(&state, 1, Digest::ZERO);
    let taken = pool.take_unjudged(&noted, Digest::ZERO, 9);
    assert_eq!(taken.as_slice(), std::slice::from_ref(&early));
    let again = pool.take_unjudged(&noted, Digest::ZERO, 9);
    assert!(again.is_empty(), "it is in judgement");
    assert!(due(&pool, &noted).is_empty());
    assert!(pool.prove(early.clone(), place(&noted, 1), NOW));
    assert_eq!(due(&pool, &noted).as_slice(), [early]);
}

#[test]
fn own_evidence_is_proposed_only_where_voters_find_it_valid() {
    let judge = Judge::default();
    let judge = |evidence: &Evidence, state: &StateTree| {
        judge.judge(evidence, Digest::ZERO, state, &MockScheme)
    };
    // Two beacon states that know different seals of one epoch, as on two sides of a fork. The own
    // core works in the instance of the first.
    let [seal, other_seal] = [1, 2].map(|byte| Digest::new([byte; 32]));
    let here = with_instance(&state(), 1, seal);
    let there = with_instance(&state(), 1, other_seal);
    let own = signed_twice(1, 3, seal);

    let mut pool = EvidencePool::default();
    assert!(pool.note(own.clone()));
    assert!(due(&pool, &here).is_empty(), "nobody has judged it yet");
    assert!(due(&pool, &there).is_empty());
    // It is judged by a state of the first side: a parent of the other side would make it invalid.
    let by = judge(&own, &here).expect("it holds");
    assert!(judge(&own, &there).is_err());
    assert!(pool.prove(own.clone(), by, NOW));
    for (state, expected) in [(&here, 1), (&there, 0)] {
        let due = due(&pool, state);
        assert_eq!(due.len(), expected);
        let is_valid = |evidence: &Arc<Evidence>| judge(evidence, state).is_ok();
        assert!(due.iter().all(is_valid), "an honest block is valid");
    }
    // Where the final state is the other side's, it is refused and forgotten.
    let mut pool = EvidencePool::default();
    assert!(pool.note(own.clone()));
    assert_eq!(pool.take_unjudged(&there, Digest::ZERO, 9).len(), 1);
    pool.refuse(&own);
    assert!(pool.waiting.is_empty());
}

/// Counts the keys that are decoded.
#[derive(Debug, Default)]
struct Counting(AtomicUsize);

impl VoteScheme for Counting {
    fn sign(&self, key: &SecretKey, message: &Digest) -> Signature {
        MockScheme.sign(key, message)
    }

    fn verify(&self, keys: &[SchemeKey], message: &Digest, signature: &Signature) -> bool {
        MockScheme.verify(keys, message, signature)
    }

    fn aggregate(&self, signatures: &[Signature]) -> Option<Signature> {
        MockScheme.aggregate(signatures)
    }

    fn decode_key(&self, key: &PublicKey) -> Option<SchemeKey> {
        self.0.fetch_add(1, Ordering::Relaxed);
        MockScheme.decode_key(key)
    }
}

#[test]
fn two_votes_cost_one_key_and_a_committee_is_decoded_once() {
    let (judge, scheme) = (Judge::default(), Counting::default());
    let mut state = state();
    let epochs = u64::try_from(COMMITTEES_MAX).expect("few") + 1;
    for epoch in 1..=epochs {
        state = with_instance(&state, epoch, Digest::ZERO);
    }
    let decoded = |evidence: &Evidence| {
        let before = scheme.0.load(Ordering::Relaxed);
        let judged = judge.judge(evidence, Digest::ZERO, &state, &scheme);
        (judged, scheme.0.load(Ordering::Relaxed) - before)
    };
    let (judged, keys) = decoded(&signed_twice(1, 3, Digest::ZERO));
    assert_eq!((judged.is_ok(), keys), (true, 1));

    let forged = |epoch: u64, members: usize| {
        let certificate = |block| Certificate {
            statement: Statement::Notarize {
                view: View::new(1),
                digest: Digest::new([block; 32]),
            },
            signers: Bitmap::of((0..20).take(members).map(MemberIndex::new), 20),
            signature: Signature([0; 96]),
        };
        let place = (BEACON, Epoch::new(epoch));
        Evidence::of_certificates(place, certificate(1), certificate(2)).expect("they differ")
    };
    // Without a quorum nothing is decoded, with one all keys are, once.
    for (epoch, members, expected) in [(1, 5, 0), (1, 20, 20), (1, 20, 0), (2, 20, 20), (1, 20, 0)]
    {
        let (judged, keys) = decoded(&forged(epoch, members));
        assert!(matches!(judged, Err(ProofFailure::Certificate(_))));
        assert_eq!(keys, expected, "epoch {epoch}, {members} signers");
    }
    for epoch in 1..=epochs {
        decoded(&forged(epoch, 20)).0.expect_err("forged");
    }
    assert_eq!(judge.committees.lock().len(), COMMITTEES_MAX);
}

#[test]
fn what_waits_is_said_again_less_and_less_often() {
    let (mut pool, state) = (EvidencePool::default(), state());
    assert!(!pool.is_repeat_due(NOW), "nothing waits");
    pool.prove(double_vote(0, 3, 7), place(&state, 0), NOW);
    pool.note(double_vote(0, 4, 7));
    let mut said = Vec::new();
    for second in 0..200 {
        let now = NOW.saturating_add(second * 1_000);
        if pool.is_repeat_due(now) {
            for evidence in pool.take_repeats(&state, Digest::ZERO, now) {
                assert_eq!(evidence, double_vote(0, 3, 7), "the other is not proven");
                said.push(second);
            }
        }
    }
    assert_eq!(said, [2, 6, 14, 30, 62, 122, 182]);
    let after = punished(&state, &[3]);
    let later = NOW.saturating_add(1_000_000);
    assert!(pool.take_repeats(&after, Digest::ZERO, later).is_empty());
}

#[test]
fn pool_and_blocks_are_bounded() {
    let (mut pool, state) = (EvidencePool::default(), state());
    let by = place(&state, 0);
    for member in 0..u16::from(VALIDATORS) {
        pool.prove(double_vote(0, member, 1), by, NOW);
    }
    assert_eq!(due(&pool, &state).len(), BLOCK_EVIDENCE_MAX);
    for epoch in 1..=u64::try_from(EVIDENCE_MAX).unwrap() {
        pool.note(double_vote(epoch, 0, 1));
    }
    assert_eq!(pool.waiting.len(), EVIDENCE_MAX);
    let oldest = pool.waiting.values().next().map(|it| it.standing);
    assert_eq!(oldest, Some(Standing::Proven(by)), "the newest gave way");
}
