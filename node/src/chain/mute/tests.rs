//! From a loss to the block that ends it.

use super::*;
use skerry_types::block::{BlockKind, BlockRef, ExecutionResult, Report};
use skerry_types::codec::Version;
use skerry_types::ids::{Digest, Height, MemberIndex, View};

/// A header of which only epoch and time matter.
fn header(epoch: u64, time: u64) -> Header {
    let block = BlockRef {
        height: Height::ZERO,
        digest: Digest::ZERO,
    };
    Header {
        version: Version,
        chain_id: Digest::ZERO,
        chain: ChainRef::Beacon,
        epoch: Epoch::new(epoch),
        height: Height::new(1),
        view: View::new(1),
        kind: BlockKind::Idle,
        parent: Digest::ZERO,
        proposer: MemberIndex::new(0),
        time: TimeMs::new(time),
        beacon: block,
        body_root: Digest::ZERO,
        report: Report {
            block,
            result: ExecutionResult::default(),
        },
        facts_root: Digest::ZERO,
        next: None,
        reveal: None,
    }
}

fn lost(at: u64) -> Mute {
    let key = KeyRecords {
        lost_at: Some(TimeMs::new(at)),
        ..KeyRecords::default()
    };
    Mute::restore(&key, ChainRef::Beacon, None)
}

/// Looks at a newest final block that has just been made.
fn resolve(mute: &mut Mute, epoch: u64, time: u64) -> Option<MuteUntil> {
    mute.resolve(&header(epoch, time), TimeMs::new(time))
}

fn until(since: u64, until: u64) -> MuteUntil {
    MuteUntil {
        since: TimeMs::new(since),
        until: Epoch::new(until),
    }
}

#[test]
fn only_a_block_later_than_the_loss_says_which_epoch_was_open() {
    let mut mute = lost(10_000);
    // A node that is far behind comes by old blocks first.
    for (epoch, time) in [(0, 1_000), (4, 9_999), (5, 12_000)] {
        assert_eq!(resolve(&mut mute, epoch, time), None);
        assert!(mute.is_mute() && !mute.has_come_to(Some(&header(epoch, time))));
    }
    assert_eq!(resolve(&mut mute, 5, 12_001), Some(until(10_000, 7)));
    assert_eq!(resolve(&mut mute, 6, 20_000), None, "once");
    assert!(!mute.has_come_to(Some(&header(6, 30_000))));
    assert!(mute.has_come_to(Some(&header(7, 40_000))));
    assert!(
        mute.has_come_to(Some(&header(9, 40_000))),
        "7 was slept through"
    );
}

#[test]
fn what_was_found_holds_after_a_restart_also_without_data() {
    let mut key = KeyRecords {
        lost_at: Some(TimeMs::new(10_000)),
        ..KeyRecords::default()
    };
    key.raise_mute(ChainRef::Beacon, until(10_000, 7));
    let restore = |newest: Option<&Header>| Mute::restore(&key, ChainRef::Beacon, newest);
    assert!(restore(None).is_mute());
    assert!(restore(Some(&header(6, 50_000))).is_mute());
    assert!(!restore(Some(&header(7, 50_000))).is_mute());
    // Another loss since then is not what was found.
    key.lost_at = Some(TimeMs::new(60_000));
    let mut mute = Mute::restore(&key, ChainRef::Beacon, Some(&header(7, 50_000)));
    assert!(mute.is_mute());
    assert_eq!(resolve(&mut mute, 8, 70_000), Some(until(60_000, 10)));
}

#[test]
fn a_vote_of_the_key_elsewhere_begins_it_and_makes_it_longer() {
    let mut mute = Mute::default();
    assert!(!mute.is_covered(Epoch::new(3)), "it is whole: this is news");
    assert!(mute.lose(TimeMs::new(10_000)) && !mute.lose(TimeMs::new(10_000)));
    // The chain's newest final block may still be the seal of epoch 2.
    assert_eq!(resolve(&mut mute, 2, 12_500), Some(until(10_000, 5)));
    assert!(mute.is_covered(Epoch::new(3)), "of the epoch that was open");
    assert!(!mute.is_covered(Epoch::new(4)), "the other goes on");
    assert!(mute.lose(TimeMs::new(20_000)) && mute.is_mute());
    assert!(mute.is_covered(Epoch::new(4)), "which is known by now");
    assert_eq!(resolve(&mut mute, 4, 22_500), Some(until(20_000, 6)));
}

#[test]
fn key_with_a_whole_history_is_never_mute() {
    let mut mute = Mute::restore(&KeyRecords::default(), ChainRef::Beacon, None);
    assert!(!mute.is_mute() && mute.voice() == Voice::Speaks);
    assert_eq!(resolve(&mut mute, 9, 90_000), None);
}

/// A loss that was noted by a clock which stood a year ahead.
const AHEAD: u64 = 31_536_000_000;

#[test]
fn clock_that_was_ahead_at_the_loss_delays_by_a_minute_and_not_by_a_year() {
    let mut mute = lost(AHEAD);
    let advice = mute.clock_advice(None, TimeMs::new(50_000));
    assert!(advice.is_some_and(|it| it.contains("31535950 s ahead")));
    for now in (50_000..110_000).step_by(500) {
        assert_eq!(resolve(&mut mute, 3, now), None, "at {now}");
    }
    let found = resolve(&mut mute, 3, 110_000);
    assert_eq!(found, Some(until(AHEAD, 5)));
    assert_eq!(mute.clock_advice(None, TimeMs::new(111_000)), None);
    assert!(!mute.has_come_to(Some(&header(4, 150_000))));
    assert!(
        mute.has_come_to(Some(&header(5, 200_000))),
        "as the rule says"
    );
    // The next loss is later than this one, wherever the clock stands.
    let next = time_of_loss(TimeMs::new(200_000), mute.lost_at);
    assert!(mute.lose(next) && mute.is_mute());
    assert_eq!(mute.until(), None);
}

#[test]
fn blocks_that_are_caught_up_with_say_nothing_of_the_clock() {
    // The clock is behind by a day, and old blocks pass by it, ten times as fast as they were made.
    let mut mute = lost(AHEAD);
    for step in 0..2_000 {
        let now = TimeMs::new(100_000_000 + step * 100);
        let block = header(3, 99_900_000 + step * 1_000);
        assert_eq!(mute.resolve(&block, now), None);
    }
    // Blocks that come with breaks begin the minute anew.
    let mut mute = lost(AHEAD);
    for step in 0..400_u64 {
        let now = 1_000_000 + step * 500;
        let newest = now - (step % 40) * 500;
        assert_eq!(mute.resolve(&header(3, newest), TimeMs::new(now)), None);
    }
}

#[test]
fn who_waits_for_a_header_that_does_not_come_is_told_to_look_at_the_clock() {
    let mute = lost(5_000_000);
    let advice = |newest: u64, now: u64| {
        let newest = header(3, newest);
        mute.clock_advice(Some(&newest), TimeMs::new(now))
    };
    assert_eq!(advice(4_000_000, 5_000_500), None, "not at once");
    let said = advice(4_060_000, 5_060_500).expect("a minute later");
    assert!(
        said.contains("940 s older") && said.contains("NTP"),
        "{said}"
    );
    assert_eq!(advice(5_001_000, 5_060_500), None);
}
