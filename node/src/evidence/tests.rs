//! What the pool keeps, offers and forgets, by a state of the beacon.

use super::{EVIDENCE_MAX, EvidencePool};
use skerry_execution::genesis::genesis_changes;
use skerry_execution::views::{self, Offences, Punished};
use skerry_storage::StateTree;
use skerry_types::amount::Amount;
use skerry_types::codec::{Version, encode};
use skerry_types::crypto::bls::{SecretKey, Signature};
use skerry_types::evidence::Evidence;
use skerry_types::genesis::{Genesis, GenesisValidator, Parameters};
use skerry_types::ids::{
    Address, ChainRef, Digest, Epoch, Height, MemberIndex, TimeMs, ValidatorId, View, Weight,
};
use skerry_types::limits::BLOCK_EVIDENCE_MAX;
use skerry_types::state::{ChangeSet, Value};
use skerry_types::vote::{Statement, Vote};
use std::sync::Arc;

const BEACON: ChainRef = ChainRef::Beacon;
const VALIDATORS: u8 = 20;

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
    assert!(pool.wants(&double_vote(0, 3, 7), &state));
    assert!(pool.insert(double_vote(0, 3, 7)));
    assert!(
        !pool.wants(&double_vote(0, 3, 8), &state),
        "the same offence"
    );
    assert!(!pool.insert(double_vote(0, 3, 8)));
    assert!(pool.insert(double_vote(0, 4, 7)));
    assert_eq!(pool.due(&state).len(), 2);
    let after = punished(&state, &[3]);
    assert_eq!(pool.due(&after).as_slice(), [double_vote(0, 4, 7)]);
    assert_eq!(pool.due(&state).len(), 2, "that state is not final yet");
    pool.prune(&after);
    assert_eq!(pool.due(&state).as_slice(), [double_vote(0, 4, 7)]);
    assert!(!pool.wants(&double_vote(0, 3, 9), &after));
}

#[test]
fn evidence_of_an_epoch_that_the_beacon_cannot_judge_yet_waits() {
    let (mut pool, state) = (EvidencePool::default(), state());
    let early = double_vote(1, 3, 7);
    assert!(!pool.wants(&early, &state), "nobody could check a claim");
    pool.insert(early.clone());
    pool.prune(&state);
    assert!(pool.due(&state).is_empty());
    let noted = |digest| {
        let committee = views::committee(&state, BEACON, Epoch::ZERO);
        let committee = skerry_types::committee::Committee {
            epoch: Epoch::new(1),
            ..committee.expect("of the genesis")
        };
        state.apply(&ChangeSet::from([
            (
                views::committee_key(BEACON, Epoch::new(1)),
                Some(Value::from(encode(&committee))),
            ),
            (
                views::instance_key(BEACON, Epoch::new(1)),
                Some(Value::from(encode(&(Version, digest)))),
            ),
        ]))
    };
    assert_eq!(pool.due(&noted(Digest::ZERO)).as_slice(), [early]);
}

#[test]
fn pool_and_blocks_are_bounded() {
    let (mut pool, state) = (EvidencePool::default(), state());
    for member in 0..u16::from(VALIDATORS) {
        pool.insert(double_vote(0, member, 1));
    }
    assert_eq!(pool.due(&state).len(), BLOCK_EVIDENCE_MAX);
    for epoch in 1..=u64::try_from(EVIDENCE_MAX).unwrap() {
        pool.insert(double_vote(epoch, 0, 1));
    }
    assert_eq!(pool.waiting.len(), EVIDENCE_MAX);
    let oldest = pool.waiting.keys().next().map(|(epoch, ..)| *epoch);
    assert_eq!(oldest, Some(Epoch::ZERO), "the newest gave way");
}
