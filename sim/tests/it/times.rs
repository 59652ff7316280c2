//! What the protocol costs in message delays, with computation and disks that take no time.

use skerry_sim::plan::{Fault, MILLI, SECOND};
use skerry_sim::times::BlockTimes;
use skerry_sim::{Plan, Report, run};
use skerry_types::ids::{ChainRef, Height, ShardId};

/// δ, the delay of every frame.
const DELAY: u64 = 25 * MILLI;
/// What the simulator's own steps within a node may add.
const STEPS: u64 = MILLI;

fn shard() -> ChainRef {
    ChainRef::Shard(ShardId::all(0).next().expect("there is one"))
}

/// The shard's blocks that were proposed while clients sent.
fn blocks(report: &Report, from: u64, until: u64) -> Vec<(Height, BlockTimes)> {
    assert_eq!(report.violation, None);
    let during = |times: &BlockTimes| (from..until).contains(&times.proposed);
    let blocks = report
        .times
        .of(shard())
        .map(|(height, times)| (height, *times));
    blocks.filter(|(_, times)| during(times)).collect()
}

fn is_exactly(actual: u64, delays: u64) -> bool {
    (delays * DELAY..delays * DELAY + STEPS).contains(&actual)
}

#[test]
fn proposals_every_two_delays_finality_in_three_proof_in_five() {
    let plan = Plan::exact(DELAY);
    let until = plan.load_until - SECOND;
    let report = run(plan, false);
    let blocks = blocks(&report, 3 * SECOND, until);
    assert!(blocks.len() > 50, "{} blocks", blocks.len());
    for pair in blocks.windows(2) {
        let ((height, block), (_, next)) = (pair[0], pair[1]);
        let since = |at: u64| at - block.proposed;
        assert!(
            is_exactly(since(next.proposed), 2),
            "{height}: {block:?} {next:?}"
        );
        assert!(
            is_exactly(since(block.final_first), 3),
            "{height}: {block:?}"
        );
        assert!(
            is_exactly(since(block.final_last), 3),
            "{height}: {block:?}"
        );
        let proven = block
            .proven
            .expect("every block is a working block under load");
        assert!(is_exactly(since(proven), 5), "{height}: {block:?}");
    }
}

#[test]
fn nobody_waits_for_the_bytes_of_a_block_to_be_stored() {
    let mut plan = Plan::exact(DELAY);
    // Two writes fit between a vote and the notarization: the commit of the block before, and this.
    plan.store_min = 10 * MILLI;
    let until = plan.load_until - SECOND;
    let report = run(plan, false);
    let blocks = blocks(&report, 3 * SECOND, until);
    assert!(blocks.len() > 50, "{} blocks", blocks.len());
    for (height, block) in blocks {
        let took = block.final_last - block.proposed;
        assert!(is_exactly(took, 3), "{height}: {block:?}");
    }
}

#[test]
fn a_dead_leader_costs_its_timeout_once_and_two_delays_after_that() {
    let mut plan = Plan::exact(DELAY);
    let (crash, down) = (4 * SECOND, 10 * SECOND);
    plan.heal_at = 16 * SECOND;
    plan.load_until = 17 * SECOND;
    let fault = Fault::Crash {
        nodes: vec![2],
        down,
        kind: "crashes",
    };
    plan.faults = vec![(crash, fault)];
    let delta = plan.genesis.parameters.delta_ms * MILLI;
    let report = run(plan, false);
    // The block before the first turn may be older than the crash.
    let blocks = blocks(&report, crash - SECOND, crash + down);
    // What the turns of the dead leader add to the two delays between proposals; two bags may put two
    // of them next to each other.
    let costs: Vec<(u64, u64)> = blocks
        .windows(2)
        .map(|pair| (&pair[0].1, &pair[1].1))
        .map(|(block, next)| {
            let skipped = next.view.get() - block.view.get() - 1;
            (skipped, next.proposed - block.proposed - 2 * DELAY)
        })
        .filter(|(skipped, _)| *skipped > 0)
        .collect();
    assert!(costs.len() > 20, "{costs:?}");
    assert!(
        costs[0].1 > delta,
        "the first turn is waited for: {costs:?}"
    );
    for (turn, (skipped, cost)) in costs.iter().enumerate() {
        let timeout = if turn == 0 { 2 * delta } else { 0 };
        assert!(*cost <= timeout + skipped * 2 * DELAY, "{costs:?}");
    }
}
