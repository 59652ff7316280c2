//! Attacks on messages between shards, each alone, so that what it is to show occurs.

use super::{assert_holds, played};
use skerry_sim::plan::{Choke, Foretold, MILLI};
use skerry_sim::{Malice, Mix, Network, Plan, Rush, run};

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

/// Plans of seeds without any fault but a captured shard.
fn captured() -> impl Iterator<Item = Plan> {
    plans().filter_map(|plan| {
        let captured = plan.captured.clone()?;
        let mut plan = plan.without_faults();
        plan.captured = Some(captured);
        Some(plan)
    })
}

#[test]
fn what_a_captured_shard_forges_is_dropped_and_stops_nobody_else() {
    for choke in Choke::ALL {
        let does = |plan: &Plan| plan.captured.as_ref().and_then(|it| it.choke) == Some(choke);
        let counts = played(captured().filter(does).take(1));
        for row in [
            "messages of a captured shard dropped",
            "forged value within what its shard holds",
            choke.row(),
            "cuts with exact supply",
        ] {
            assert!(counts.get(row) > 0, "{choke:?}: {row}");
        }
    }
}

#[test]
fn forged_requests_and_exports_of_a_captured_shard_stop_nobody() {
    let counts = played(captured().take(3));
    for row in [
        "exports above the allowance",
        "replies that a captured shard forged a request for",
    ] {
        assert!(counts.get(row) > 0, "{row}");
    }
}

#[test]
fn nobody_waits_longer_for_a_crowd_than_was_foretold() {
    type Meant = fn(Rush) -> bool;
    let crowds: [(Meant, &[&str]); 2] = [
        (
            |rush| matches!(rush, Rush::To(_)),
            &["neighbours served within the foretold time"],
        ),
        (
            |rush| matches!(rush, Rush::Around),
            &["rings of channels without credit", "bundles elsewhere"],
        ),
    ];
    for (is_meant, rows) in crowds {
        let quiet = plans().filter(|plan| plan.local_bound.is_some());
        let quiet = quiet.filter(|plan| plan.rush.is_some_and(is_meant));
        let counts = played(quiet.take(1));
        let all = [
            "channels without credit",
            "messages within the foretold time",
        ];
        for row in all.iter().chain(rows) {
            assert!(counts.get(row) > 0, "{row}");
        }
    }
}

#[test]
fn what_takes_longer_than_was_foretold_is_noticed() {
    let quiet = plans().find(|plan| matches!(plan.rush, Some(Rush::To(_))) && plan.bound.is_some());
    let quiet = quiet.expect("there is such a seed");
    let mut slow = quiet.clone();
    slow.bound = Some(Foretold {
        honest: MILLI,
        each_lead: 0,
        leads: 0,
    });
    let mut kept_waiting = quiet;
    kept_waiting.local_bound = Some(MILLI);
    for (plan, what) in [(slow, "message"), (kept_waiting, "between neighbours")] {
        let broken = run(plan, false).violation.expect("nobody is as fast");
        let is_meant = broken.what.contains(what) && broken.what.contains("1 ms were");
        assert!(is_meant, "{}", broken.what);
    }
}

#[test]
fn what_was_certified_and_is_never_final_proves_nothing() {
    let twisting = with_malice(Malice {
        twist: 900,
        ..Malice::default()
    });
    let counts = played(twisting.take(1));
    assert!(counts.get("certified siblings") > 0);
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
    let besieged = plans().filter(|plan| plan.bound.is_some() && plan.rush.is_none());
    for plan in besieged.take(3) {
        let report = run(plan, false);
        assert_holds(&report);
        let (took, bound) = report.delay.expect("it is foretold");
        assert!((MILLI..bound).contains(&took));
        left_out += report.counts.get("batches left out");
    }
    assert!(left_out > 0, "nothing was left out");
}
