//! The judgement itself, on chains in memory.

use super::views::{Step, ViewCount};
use super::{Findings, SkippedView};
use skerry_types::committee::{Committee, Member};
use skerry_types::crypto::bls::PublicKey;
use skerry_types::ids::{
    ChainRef, Digest, Epoch, Height, MemberIndex, TimeMs, ValidatorId, View, Weight,
};

#[test]
fn findings_are_counted_beyond_those_that_are_kept() {
    let mut found = Findings::default();
    for number in 0..super::FINDINGS_MAX + 7 {
        found.violation("rule", number, "detail");
    }
    assert_eq!(found.violations.len(), super::FINDINGS_MAX);
    assert_eq!(found.count, super::FINDINGS_MAX + 7);
}

/// Validators 10, 11, …, with a seat each.
fn committee(epoch: u64, members: u16) -> Committee {
    let member = |index: u16| Member {
        validator: ValidatorId::new(u32::from(index) + 10),
        public_key: PublicKey([0; 48]),
        weight: Weight::new(1),
    };
    Committee {
        chain: ChainRef::Beacon,
        epoch: Epoch::new(epoch),
        members: (0..members).map(member).collect(),
        seats: (0..members).map(MemberIndex::new).collect(),
        seed: Digest::new([epoch.to_le_bytes()[0]; 32]),
    }
}

/// A final block of this view; heights and times follow from it.
fn step(view: u64, is_working: bool) -> Step {
    Step {
        height: Height::new(view),
        view: View::new(view),
        time: TimeMs::new(1_000 + view),
        is_working,
    }
}

fn skipped(committee: &Committee, view: u64, between: (u64, Option<u64>)) -> SkippedView {
    let leader = committee.leader(View::new(view)).expect("a leader");
    let leader = committee.member(leader).expect("a member");
    SkippedView {
        view: View::new(view),
        leader: Some(leader.validator),
        after_ms: TimeMs::new(between.0),
        before_ms: between.1.map(TimeMs::new),
    }
}

#[test]
fn views_between_final_blocks_are_skipped_turns_of_their_leaders() {
    let (first, second) = (committee(0, 4), committee(3, 5));
    let mut count = ViewCount::new(&first, TimeMs::new(900));
    count.note(step(2, true));
    count.note(step(3, true));
    count.note(step(6, false));
    // The seal of view 7 becomes final when view 9 proposes it again.
    count.note(step(7, false));
    count.seal(View::new(9));
    count.open(&second);
    count.note(step(1, true));
    let epochs = count.finish();
    let [ended, open] = epochs.as_slice() else {
        panic!("two epochs");
    };
    let expected = [
        skipped(&first, 1, (900, Some(1_002))),
        skipped(&first, 4, (1_003, Some(1_006))),
        skipped(&first, 5, (1_003, Some(1_006))),
        skipped(&first, 8, (1_007, None)),
    ];
    assert_eq!(ended.skipped, expected);
    assert_eq!((ended.skipped_count, ended.blocks), (4, 4));
    assert_eq!(
        (ended.view, ended.working_view),
        (View::new(9), View::new(3))
    );
    assert!(ended.sealed);
    assert_eq!((open.epoch, open.skipped_count), (Epoch::new(3), 0));
    assert_eq!(
        (open.started_ms, open.members.len()),
        (TimeMs::new(1_007), 5)
    );
    assert!(!open.sealed);
}

#[test]
fn skipped_views_are_counted_beyond_those_that_are_named() {
    let mut count = ViewCount::new(&committee(0, 4), TimeMs::ZERO);
    count.note(step(1 << 60, true));
    let epochs = count.finish();
    let epoch = epochs.first().expect("an epoch");
    assert_eq!(epoch.skipped_count, (1 << 60) - 1);
    assert_eq!(epoch.skipped.len(), super::views::SKIPPED_NAMED);
}
