//! Seeds of the simulator that always run, and planted bugs that its checks must find.
//!
//! Hundreds of seeds are the binary's business (`cargo run -p skerry-sim`); a seed that once failed
//! is listed in [`SEEDS_THAT_FAILED`], with what it showed.

mod times;

use skerry_sim::{Fault, Malice, Network, Plan, Planted, Report, run};

/// Seeds that found something once.
const SEEDS_THAT_FAILED: &[(Network, u64, &str)] = &[
    (
        Network::One,
        26,
        "a restarted beacon never announced a final block again",
    ),
    (
        Network::One,
        38,
        "one wrong body among good final blocks stopped a follower for ever",
    ),
    (Network::One, 54, "the same, on a shard"),
    (
        Network::One,
        99,
        "a restarted shard announced its own blocks as the beacon's",
    ),
    (
        Network::Two,
        30_254,
        "a final block with a proof of a forgotten committee was never executed",
    ),
    (Network::Two, 30_441, "the same"),
];

fn assert_holds(report: &Report) {
    assert!(
        report.violation.is_none(),
        "seed {}: {:?}",
        report.seed,
        report.violation
    );
}

#[test]
fn one_chain_seeds_hold_all_rules() {
    for seed in 0..12 {
        assert_holds(&run(Plan::of(seed, Network::One), false));
    }
}

#[test]
fn whole_network_seeds_hold_all_rules() {
    for seed in 0..4 {
        assert_holds(&run(Plan::of(seed, Network::Two), false));
    }
}

#[test]
fn seeds_that_failed_once_hold_all_rules() {
    for (network, seed, _) in SEEDS_THAT_FAILED {
        assert_holds(&run(Plan::of(*seed, *network), false));
    }
}

#[test]
fn equal_seeds_give_equal_traces_and_others_do_not() {
    let first = run(Plan::of(7, Network::Two), false);
    assert_eq!(first, run(Plan::of(7, Network::Two), false));
    assert_ne!(first.trace, run(Plan::of(8, Network::Two), false).trace);
}

#[test]
fn who_contradicts_itself_is_punished_and_nobody_else() {
    let plans = (0..).map(|seed| Plan::of(seed, Network::One));
    let byzantine = plans.filter_map(|plan| {
        let node = *plan.malice.keys().next()?;
        let mut plan = plan.without_faults();
        let malice = Malice {
            contradict: 500,
            slander: 500,
            ..Malice::default()
        };
        plan.malice.insert(node, malice);
        Some(plan)
    });
    for plan in byzantine.take(3) {
        let report = run(plan, false);
        assert_holds(&report);
        assert!(report.counts.get("offences punished") > 0);
        assert!(report.counts.get("false evidence") > 0);
    }
}

#[test]
fn who_was_away_for_many_epochs_comes_back() {
    let is_away = |fault: &(u64, Fault)| matches!(fault.1, Fault::Away { .. });
    let plans = (0..).map(|seed| Plan::of(seed, Network::Two));
    let mut far = 0;
    for plan in plans.filter(|plan| plan.faults.iter().any(is_away)).take(4) {
        let report = run(plan, false);
        assert_holds(&report);
        far += report.counts.get("chains five epochs behind");
    }
    assert!(far > 0, "none of them was far behind");
}

/// Plays seeds with a planted bug until some rule is broken, and says which.
fn first_violation(planted: Planted, calm: bool, seeds: u64) -> String {
    for seed in 0..seeds {
        let mut plan = Plan::of(seed, Network::One);
        if calm {
            plan = plan.without_faults();
        }
        plan.malice.clear();
        plan.planted = Some(planted);
        if let Some(violation) = run(plan, false).violation {
            return violation.what;
        }
    }
    panic!("{planted:?} was not found in {seeds} seeds");
}

#[test]
fn vote_that_is_sent_before_it_is_durable_is_found() {
    let what = first_violation(Planted::VoteBeforeSync, true, 1);
    assert!(
        what.contains("is synced") || what.contains("not durable"),
        "{what}"
    );
}

#[test]
fn store_that_forgets_is_found() {
    let what = first_violation(Planted::StoreForgets, false, 10);
    assert!(what.contains("lost durable blocks"), "{what}");
}

#[test]
fn vote_against_a_forgotten_one_is_found() {
    let what = first_violation(Planted::LogForgotten, false, 60);
    assert!(
        what.contains("contradicts itself")
            || what.contains("accuses")
            || what.contains("the vote key signed"),
        "{what}"
    );
}

#[test]
fn result_that_nobody_else_has_is_found() {
    let what = first_violation(Planted::WrongResult, true, 1);
    assert!(
        what.contains("node 0 stops voting") && what.contains("is notarized: reports"),
        "{what}"
    );
}

#[test]
fn follower_takes_no_forged_blocks() {
    let what = first_violation(Planted::ForgedRange, true, 1);
    // The follower comes after all that have a vote key.
    let follower = Plan::of(0, Network::One).keys.len();
    assert!(
        what.contains("not well") && what.contains(&format!("node {follower}")),
        "{what}"
    );
}
