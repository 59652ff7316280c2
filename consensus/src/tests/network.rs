//! Networks of replicas on virtual time: safety under every fault, progress after healing.

use crate::testing::{Cluster, DELTA_MS, IDLE_MS, Network};
use skerry_types::ids::{Height, View};

const COMMITTEES: [&[u64]; 6] = [
    &[1, 1, 1, 1],
    &[3, 3, 2, 1],
    &[5, 4, 3, 3],
    &[1, 1, 1, 1, 1, 1, 1],
    &[1],
    &[2, 2],
];

/// Whether `index` weighs less than a third.
fn may_be_faulty(weights: &[u64], index: usize) -> bool {
    weights[index] * 3 < weights.iter().sum()
}

/// Ten seconds of faults, then calm: everybody must finalize ten more blocks.
fn faulty_run(seed: u64) -> Cluster {
    let weights = COMMITTEES[usize::try_from(seed).unwrap() % COMMITTEES.len()];
    let mut cluster = Cluster::new(weights, seed);
    let members = weights.len();
    let faulty = cluster.random.below(members as u64) as usize;
    if may_be_faulty(weights, faulty) && cluster.random.percent(50) {
        cluster.nodes[faulty].byzantine = true;
    }
    for node in 0..members {
        cluster.nodes[node].idle = cluster.random.percent(20);
    }
    for _ in 0..20 {
        let loss_percent = cluster.random.below(4) * 10;
        let split = cluster.random.percent(25);
        let groups = (0..members).map(|_| if split { cluster.random.below(2) } else { 0 });
        let groups = groups.collect();
        let delay_ms_max = 5 + cluster.random.below(3) * 60;
        let duplicate_percent = cluster.random.below(20);
        cluster.network = Network {
            loss_percent,
            duplicate_percent,
            delay_ms_max,
            groups,
        };
        if cluster.random.percent(10) {
            (0..members).for_each(|node| cluster.crash(node));
        }
        for node in 0..members {
            match cluster.random.below(10) {
                0 => cluster.crash(node),
                1..5 => cluster.start(node),
                _ => {}
            }
        }
        let pause = 100 + cluster.random.below(900);
        cluster.run_for(pause);
    }
    cluster.network = Network::calm(members);
    (0..members).for_each(|node| cluster.start(node));
    let honest: Vec<usize> = (0..members)
        .filter(|node| !cluster.nodes[*node].byzantine)
        .collect();
    let healed = cluster.run_until(&honest, 10, 120_000);
    let status: Vec<_> = honest
        .iter()
        .map(|node| {
            cluster.nodes[*node]
                .replica
                .as_ref()
                .map(|replica| replica.status())
        })
        .collect();
    assert!(
        healed,
        "seed {seed}: no progress after healing: {status:#?}"
    );
    for node in honest {
        let replica = cluster.nodes[node].replica.as_ref();
        let status = replica.expect("every node runs").status();
        assert!(
            status.rounds < 40 && status.blocks < 40,
            "seed {seed}: {status:?}"
        );
    }
    cluster
}

#[test]
fn safety_always_and_progress_after_healing() {
    for seed in 0..240 {
        faulty_run(seed);
    }
}

#[test]
fn same_seed_gives_same_trace() {
    for seed in [3, 7] {
        assert_eq!(faulty_run(seed).trace, faulty_run(seed).trace);
    }
}

#[test]
fn calm_network_finalizes_every_view() {
    for weights in COMMITTEES {
        let mut cluster = Cluster::new(weights, 1);
        let all: Vec<usize> = (0..weights.len()).collect();
        assert!(cluster.run_until(&all, 50, 10_000));
        let last = cluster.nodes[0].chain.last().expect("there are blocks");
        assert_eq!(last.view, View::new(last.height.get()), "no view was lost");
    }
}

#[test]
fn idle_network_is_quiet_and_loses_no_view() {
    let mut cluster = Cluster::new(&[1, 1, 1, 1], 5);
    cluster.nodes.iter_mut().for_each(|node| node.idle = true);
    cluster.run_for(20_000);
    let last = cluster.nodes[0].chain.last().expect("there are blocks");
    assert_eq!(last.view, View::new(last.height.get()));
    assert!(
        last.height.get() < 20_000 / IDLE_MS,
        "a leader waits for the idle interval"
    );
    assert!(last.height.get() > 20_000 / (IDLE_MS + 2 * DELTA_MS));
}

#[test]
fn goes_on_without_a_two_of_nine_and_stops_without_a_three_of_nine() {
    let mut cluster = Cluster::new(&[3, 3, 2, 1], 11);
    cluster.run_for(1_000);
    cluster.crash(2);
    assert!(
        cluster.run_until(&[0, 1, 3], 20, 30_000),
        "weight 7 of 9 is a quorum"
    );
    cluster.start(2);
    assert!(cluster.run_until(&[0, 1, 2, 3], 5, 30_000));
    cluster.crash(0);
    cluster.run_for(2_000);
    let heights = |cluster: &Cluster| -> Vec<usize> {
        cluster.nodes.iter().map(|node| node.chain.len()).collect()
    };
    let before = heights(&cluster);
    cluster.run_for(20_000);
    assert_eq!(heights(&cluster), before, "weight 6 of 9 is none");
    cluster.start(0);
    assert!(cluster.run_until(&[0, 1, 2, 3], 10, 120_000));
}

#[test]
fn dead_leader_times_out_once() {
    let mut cluster = Cluster::new(&[1, 1, 1, 1], 2);
    cluster.crash(3);
    assert!(cluster.run_until(&[0, 1, 2], 40, 60_000));
    let timeouts = |cluster: &Cluster, node: usize| -> Vec<u64> {
        let status = cluster.nodes[node].replica.as_ref().unwrap().status();
        status
            .members
            .iter()
            .map(|member| member.timeouts)
            .collect()
    };
    for node in 0..3 {
        assert_eq!(timeouts(&cluster, node), [0, 0, 0, 1], "node {node}");
    }
    // It is waited for again as soon as it is back.
    cluster.start(3);
    assert!(cluster.run_until(&[0, 1, 2, 3], 20, 60_000));
    let chain = &cluster.nodes[0].chain;
    let leaders: Vec<u16> = chain.iter().map(|header| header.proposer.get()).collect();
    assert!(leaders[..40].iter().all(|leader| *leader != 3));
    assert!(leaders[42..].contains(&3), "{leaders:?}");
}

#[test]
fn all_crash_after_nullifying_and_resume() {
    let mut cluster = Cluster::new(&[1, 1, 1, 1], 21);
    cluster.run_for(500);
    // Nobody hears anybody until all have nullified their view; the votes are lost.
    cluster.network.groups = vec![0, 1, 2, 3];
    cluster.run_for(3_000);
    (0..4).for_each(|node| cluster.crash(node));
    cluster.network = Network::calm(4);
    (0..4).for_each(|node| cluster.start(node));
    assert!(cluster.run_until(&[0, 1, 2, 3], 10, 20_000));
}

#[test]
fn crash_of_all_and_loss_of_one_resumes() {
    for seed in 0..20 {
        let mut cluster = Cluster::new(&[1, 1, 1, 1], seed);
        cluster.run_for(700 + seed * 7);
        (0..4).for_each(|node| cluster.crash(node));
        let dead = (seed % 4) as usize;
        let alive: Vec<usize> = (0..4).filter(|node| *node != dead).collect();
        alive.iter().for_each(|node| cluster.start(*node));
        assert!(cluster.run_until(&alive, 10, 60_000), "seed {seed}");
    }
}

#[test]
fn equivocating_leader_is_accused_and_stops_nobody() {
    let mut cluster = Cluster::new(&[1, 1, 1, 1], 31);
    cluster.nodes[1].byzantine = true;
    assert!(cluster.run_until(&[0, 2, 3], 40, 120_000));
    assert!(!cluster.faults.is_empty());
}

#[test]
fn laggard_beyond_the_walk_syncs_and_joins() {
    let mut cluster = Cluster::new(&[1, 1, 1, 1], 41);
    cluster.network.groups = vec![0, 0, 0, 1];
    assert!(cluster.run_until(&[0, 1, 2], 60, 60_000));
    assert!(cluster.nodes[3].chain.is_empty());
    cluster.network = Network::calm(4);
    assert!(cluster.run_until(&[3], 70, 20_000));
    let last = cluster.nodes[3].chain.last().expect("it synced");
    assert!(last.height > Height::new(60));
}

#[test]
fn long_partition_heals_within_the_grown_timeout() {
    let mut cluster = Cluster::new(&[1, 1, 1, 1], 51);
    cluster.run_for(500);
    cluster.network.groups = vec![0, 0, 1, 1];
    cluster.run_for(60_000);
    cluster.network = Network::calm(4);
    assert!(cluster.run_until(&[0, 1, 2, 3], 10, 60_000));
}
