//! Seeds of the simulator that always run, and planted bugs that its checks must find.
//!
//! Hundreds of seeds are the binary's business (`cargo run -p skerry-sim`); a seed that once failed
//! is listed in [`SEEDS_THAT_FAILED`], with what it showed.

mod messages;
mod times;

use skerry_sim::counts::Counts;
use skerry_sim::plan::{FOREVER, Fault, Loss, MILLI, SECOND};
use skerry_sim::{Malice, Network, Plan, Planted, Report, run};
use skerry_types::ids::{ChainRef, ValidatorId};

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

/// Seeds of two shards that found something once.
const WHOLE_SEEDS_THAT_FAILED: &[(u64, &str)] = &[(
    1152,
    "who woke up after a shard's long sleep held a block for invalid, since what proved its batch was \
     forgotten",
)];

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
    for (seed, _) in WHOLE_SEEDS_THAT_FAILED {
        assert_holds(&run(Plan::of(*seed, Network::Two), false));
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

/// Plans of the first seeds whose epochs end soon, without faults.
fn with_epochs(network: Network) -> impl Iterator<Item = Plan> {
    let plans = (0..).map(move |seed| Plan::of(seed, network).without_faults());
    plans.filter(|plan| (1..2_500).contains(&plan.genesis.parameters.epoch_ms))
}

fn shards(plan: &Plan) -> Vec<ChainRef> {
    let chains = plan.genesis.chains().into_iter();
    chains.filter(|chain| !chain.is_beacon()).collect()
}

/// Plays plans, sums up what occurred, and demands that every rule held.
fn played(plans: impl Iterator<Item = Plan>) -> Counts {
    let mut counts = Counts::default();
    for plan in plans {
        let report = run(plan, false);
        assert_holds(&report);
        counts.merge(&report.counts);
    }
    counts
}

#[test]
fn who_never_syncs_a_shard_leaves_its_seats_to_their_holders() {
    let deaf = with_epochs(Network::Two).filter_map(|mut plan| {
        let chain = *shards(&plan).first()?;
        let seated = plan.genesis.committee(chain)?;
        let is_outside = |node: &usize| {
            let id = u32::try_from(*node).ok().map(ValidatorId::new);
            id.is_some_and(|id| seated.index_of(id).is_none())
        };
        let outside = (0..plan.keys.len()).filter(is_outside);
        let lasts = FOREVER;
        let faults = outside.map(|node| (0, Fault::Deaf { node, chain, lasts }));
        plan.faults = faults.collect();
        Some(plan)
    });
    let counts = played(deaf.take(2));
    assert!(counts.get("frames to the deaf") > 0);
    assert!(counts.get("seats left to former holders") > 0);
}

#[test]
fn shard_that_was_silent_sleeps_through_epochs_and_takes_its_messages_afterwards() {
    let silent = with_epochs(Network::Two).filter_map(|mut plan| {
        let chain = *shards(&plan).first()?;
        let lasts = plan.genesis.parameters.epoch_ms * 2 * MILLI;
        plan.faults = vec![(SECOND, Fault::Silence { chain, lasts })];
        Some(plan)
    });
    let counts = played(silent.take(2));
    assert!(counts.get("epochs slept through") > 0);
    assert!(counts.get("batches accepted after a sleep") > 0);
    assert!(counts.get("cuts with exact supply") > 0);
}

#[test]
fn what_is_signed_for_a_closed_epoch_counts_nowhere() {
    let digging = with_epochs(Network::Two).filter_map(|mut plan| {
        let node = *Plan::of(plan.seed, plan.network).malice.keys().next()?;
        let malice = Malice {
            past: 500,
            ..Malice::default()
        };
        plan.malice.insert(node, malice);
        Some(plan)
    });
    let counts = played(digging.take(3));
    for row in [
        "links of closed epochs",
        "batches of closed epochs",
        "closed epochs proposed",
        "closed epochs refused",
        "stale certificates and votes",
    ] {
        assert!(counts.get(row) > 0, "{row}");
    }
}

#[test]
fn validator_with_thirty_percent_of_the_stake_keeps_within_the_bound_of_seats() {
    let large = with_epochs(Network::Two).filter(Plan::has_large_holder);
    let counts = played(large.take(2));
    assert_eq!(counts.get("networks with a large validator"), 2);
    assert!(counts.get("validators at the bound of seats") > 0);
}

#[test]
fn who_joins_by_snapshot_holds_what_others_executed_whoever_forges() {
    let plans = (0..).map(|seed| Plan::of(seed, Network::One));
    let byzantine = plans.filter_map(|plan| {
        let (node, above) = (*plan.malice.keys().next()?, plan.snapshot_above);
        let faults = plan.faults.clone();
        let follower = plan.keys.len();
        let mut plan = plan.without_faults();
        plan.snapshot_above = above.max(3);
        let lost = |(_, fault): &(u64, Fault)| matches!(fault, Fault::Lose { .. });
        plan.faults = faults.into_iter().filter(lost).collect();
        plan.faults.push((
            5_000_000,
            Fault::Lose {
                node: follower,
                what: Loss::Data,
                down: 100_000,
            },
        ));
        plan.faults.sort_by_key(|(at, _)| *at);
        let malice = Malice {
            forge: 700,
            ..Malice::default()
        };
        plan.malice.insert(node, malice);
        Some(plan)
    });
    let mut noticed = 0;
    for plan in byzantine.take(4) {
        let report = run(plan, false);
        assert_holds(&report);
        assert!(report.counts.get("chains joined by snapshot") > 0);
        noticed += report.counts.get("forged snapshots noticed");
    }
    assert!(noticed > 0, "nothing that was forged was noticed");
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
