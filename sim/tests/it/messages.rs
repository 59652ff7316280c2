//! Attacks on messages between shards, each alone, so that what it is to show occurs.

use super::{assert_holds, played};
use skerry_sim::plan::{Choke, MILLI};
use skerry_sim::{Malice, Mix, Network, Plan, run};

fn plans() -> impl Iterator<Item = Plan> {
    (0..).map(|seed| Plan::mixed(seed, Network::Two, Mix::Messages))
}

/// Plans of seeds with somebody Byzantine, who does this alone.
fn with_malice(malice: Malice) -> impl Iterator<Item = Plan> {
    plans()
        .filter(|plan| plan.bound.is_none())
        .filter_map(move |plan| {
            let node = *plan.malice.keys().next()?;
            let mut plan = plan.without_faults();
            plan.malice.insert(node, malice);
            Some(plan)
        })
}

#[test]
fn what_a_captured_shard_forges_is_dropped_and_stops_nobody_else() {
    for choke in [Choke::Long, Choke::Empty] {
        let captured = plans().filter_map(|plan| {
            let captured = plan.captured.clone()?;
            let mut plan = plan.without_faults();
            plan.captured = Some(captured).filter(|it| it.choke == Some(choke));
            plan.captured.is_some().then_some(plan)
        });
        let counts = played(captured.take(1));
        for row in [
            "messages of a captured shard dropped",
            "forged value within what its shard holds",
            "channels choked",
            "cuts with exact supply",
        ] {
            assert!(counts.get(row) > 0, "{choke:?}: {row}");
        }
    }
}

#[test]
fn what_is_not_the_next_batch_is_refused_and_delays_nothing_for_long() {
    let twisting = with_malice(Malice {
        twist: 900,
        ..Malice::default()
    });
    let counts = played(twisting.take(3));
    for row in [
        "old batches proposed",
        "batches with another message",
        "invalid proposals noticed",
        "peers penalised",
    ] {
        assert!(counts.get(row) > 0, "{row}");
    }
}

#[test]
fn batches_arrive_whoever_keeps_them_lies_or_floods() {
    let hoarding = with_malice(Malice {
        hoard: 1_000,
        pretend: 700,
        flood: 40,
        ..Malice::default()
    });
    let counts = played(hoarding.take(3));
    for row in [
        "batches withheld",
        "batches told of falsely",
        "frames of floods",
        "messages executed",
    ] {
        assert!(counts.get(row) > 0, "{row}");
    }
}

#[test]
fn censor_that_lingers_delays_a_batch_by_no_more_than_was_foretold() {
    let mut left_out = 0;
    for plan in plans().filter(|plan| plan.bound.is_some()).take(3) {
        let foretold = plan.bound;
        let report = run(plan, false);
        assert_holds(&report);
        let (took, bound) = report.delay.expect("it is foretold");
        assert!(took > MILLI && Some(bound) == foretold);
        left_out += report.counts.get("batches left out");
    }
    assert!(left_out > 0, "nothing was left out");
}
