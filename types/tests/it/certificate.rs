//! Committees, votes and certificates: who leads, what makes a quorum, what a signature is bound to.

use crate::fixtures::{certify, committee, digest, genesis, shard, vote_key};
use skerry_types::certificate::{Bitmap, CertificateError};
use skerry_types::committee::{VerifyingCommittee, genesis_digest, quorum_of};
use skerry_types::crypto::scheme::BlsScheme;
use skerry_types::ids::{ChainRef, Epoch, MemberIndex, View, Weight};
use skerry_types::vote::{Statement, Vote};
use std::collections::BTreeMap;

const VIEW: View = View::new(5);

fn statement() -> Statement {
    Statement::Finalize {
        view: VIEW,
        digest: digest(1),
    }
}

fn indices(list: &[u16]) -> Vec<MemberIndex> {
    list.iter().copied().map(MemberIndex::new).collect()
}

#[test]
fn quorum_is_two_thirds_and_one() {
    for (total, quorum) in [(1, 1), (3, 3), (4, 3), (9, 7), (10, 7), (100, 67)] {
        assert_eq!(quorum_of(total), quorum, "{total}");
    }
}

#[test]
fn certificate_of_a_quorum_holds() {
    let committee = committee(shard(0));
    assert_eq!(
        certify(&committee, statement()).verify(&committee, &BlsScheme),
        Ok(())
    );
}

#[test]
fn certificate_below_the_quorum_is_refused_though_well_signed() {
    // Seats 3, 3, 2, 1: without the last member the weight is 8 of 9, without the first two 3.
    let committee = committee(shard(1));
    let signers = indices(&[2, 3]);
    let message = statement().signing_digest(committee.instance());
    let signatures: Vec<_> = [0x42, 0x43]
        .map(|byte| vote_key(byte).sign(&message))
        .to_vec();
    let mut certificate = certify(&committee, statement());
    assert_eq!(certificate.verify(&committee, &BlsScheme), Ok(()));
    certificate.signers = Bitmap::of(signers, 4);
    certificate.signature = skerry_types::crypto::bls::aggregate(&signatures).expect("two");
    let refused = certificate.verify(&committee, &BlsScheme);
    assert_eq!(
        refused,
        Err(CertificateError::Weight {
            actual: 3,
            quorum: 7
        })
    );
}

#[test]
fn certificate_with_another_bitmap_statement_or_signature_is_refused() {
    let committee = committee(shard(0));
    let good = certify(&committee, statement());
    let mut more = good.clone();
    more.signers = Bitmap::of(indices(&[0, 1, 2, 3]), 4);
    let mut later = good.clone();
    later.statement = Statement::Finalize {
        view: VIEW.next(),
        digest: digest(1),
    };
    let mut other_kind = good.clone();
    other_kind.statement = Statement::Notarize {
        view: VIEW,
        digest: digest(1),
    };
    let mut other_block = good.clone();
    other_block.statement = Statement::Finalize {
        view: VIEW,
        digest: digest(2),
    };
    for bad in [more, later, other_kind, other_block] {
        assert_eq!(
            bad.verify(&committee, &BlsScheme),
            Err(CertificateError::Signature)
        );
    }
}

#[test]
fn bitmap_of_another_size_or_with_bits_above_it_is_refused() {
    assert_eq!(
        Bitmap::of(indices(&[0, 8]), 9).members(9),
        Some(indices(&[0, 8]))
    );
    assert_eq!(Bitmap::of(indices(&[0]), 9).members(8), None);
    assert_eq!(Bitmap::of(indices(&[0]), 8).members(9), None);
    assert_eq!(Bitmap::of(indices(&[7]), 8).members(7), None);
    let committee = committee(shard(0));
    let mut certificate = certify(&committee, statement());
    certificate.signers = Bitmap::of(indices(&[0, 1, 2]), 9);
    let refused = certificate.verify(&committee, &BlsScheme);
    assert_eq!(refused, Err(CertificateError::Bitmap { members: 4 }));
}

#[test]
fn vote_is_bound_to_chain_id_chain_epoch_and_instance() {
    let committee = committee(shard(0));
    let vote = Vote {
        statement: statement(),
        signer: MemberIndex::new(1),
        signature: vote_key(0x41).sign(&statement().signing_digest(committee.instance())),
    };
    assert!(vote.verify(&committee, &BlsScheme));
    let raw = committee.committee().clone();
    let (chain_id, instance) = (committee.instance().chain_id, committee.instance().genesis);
    let mut later = raw.clone();
    later.epoch = Epoch::new(1);
    let mut elsewhere = raw.clone();
    elsewhere.chain = shard(1);
    for (committee, chain_id, genesis) in [
        (later, chain_id, instance),
        (elsewhere, chain_id, instance),
        (raw.clone(), digest(1), instance),
        (raw, chain_id, digest(1)),
    ] {
        let other = VerifyingCommittee::new(committee, chain_id, genesis, &BlsScheme);
        assert!(!vote.verify(&other.expect("well-formed"), &BlsScheme));
    }
}

#[test]
fn vote_of_nobody_is_refused() {
    let committee = committee(shard(0));
    let signature = vote_key(0x41).sign(&statement().signing_digest(committee.instance()));
    for signer in [0, 4, u16::MAX] {
        let vote = Vote {
            statement: statement(),
            signer: MemberIndex::new(signer),
            signature,
        };
        assert!(!vote.verify(&committee, &BlsScheme));
    }
}

#[test]
fn genesis_digest_differs_by_network_and_chain() {
    let base = genesis_digest(&digest(1), ChainRef::Beacon);
    assert_ne!(base, genesis_digest(&digest(2), ChainRef::Beacon));
    assert_ne!(base, genesis_digest(&digest(1), shard(0)));
}

#[test]
fn every_round_of_leaders_gives_each_seat_once() {
    let committee = genesis().committee(shard(1)).expect("a shard");
    let seats = u64::try_from(committee.seats.len()).expect("few");
    assert_eq!(committee.leader(View::ZERO), None);
    let mut orders = std::collections::BTreeSet::new();
    for round in 0..20 {
        let order: Vec<MemberIndex> = (0..seats)
            .map(|turn| {
                committee
                    .leader(View::new(round * seats + turn + 1))
                    .expect("a leader")
            })
            .collect();
        let mut turns: BTreeMap<MemberIndex, u32> = BTreeMap::new();
        for leader in &order {
            *turns.entry(*leader).or_default() += 1;
        }
        assert_eq!(
            turns.into_values().collect::<Vec<_>>(),
            [3, 3, 2, 1],
            "round {round}"
        );
        orders.insert(order);
    }
    assert!(orders.len() > 15, "rounds are shuffled anew");
}

#[test]
fn kept_schedule_gives_the_same_leaders_in_any_order_of_asking() {
    let committee = genesis().committee(shard(1)).expect("a shard");
    let mut schedule = skerry_types::committee::LeaderSchedule::new(&committee);
    for view in [1, 40, 2, 9, 10, 1_000_000, 3] {
        assert_eq!(
            schedule.leader(View::new(view)),
            committee.leader(View::new(view))
        );
    }
}

#[test]
fn committee_that_breaks_a_rule_is_not_well_formed() {
    let good = genesis().committee(shard(1)).expect("a shard");
    assert!(good.is_well_formed());
    let mut bad = vec![good.clone(); 7];
    bad[0].members.clear();
    bad[1].seats.clear();
    bad[2].members[0].weight = Weight::ZERO;
    bad[3].members.swap(0, 1);
    bad[4].members[1].public_key = bad[4].members[0].public_key;
    bad[5].seats.push(MemberIndex::new(4));
    bad[6].members[1].validator = bad[6].members[0].validator;
    for (position, committee) in bad.iter().enumerate() {
        assert!(!committee.is_well_formed(), "{position}");
    }
}
