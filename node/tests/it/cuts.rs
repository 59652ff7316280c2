//! Power cuts at random points under load: of single nodes, and of all at once.
//!
//! Each node runs over a disk that loses what was not synced (`power`). The second test shows that
//! the first one can fail: over a disk that lies about syncing, what was final is lost.

use crate::load::{Load, exact, still_final};
use crate::net::{Dice, Network, SMALL, number};
use crate::power::{Disk, Shim};

fn prepared(name: &str, disk: Disk) -> (Network, Shim) {
    let mut network = Network::new(name, SMALL);
    let shim = Shim::new(&network.place, disk);
    for node in &mut network.nodes {
        node.prefix = shim.prefix(&node.home);
    }
    network.start_all();
    network.goes_on(1);
    (network, shim)
}

fn cut_all(network: &mut Network, shim: &Shim) {
    network.kill_all();
    for node in &network.nodes {
        shim.restore(&node.home);
    }
}

#[test]
fn nothing_final_is_lost_when_the_power_is_cut() {
    let rounds = number("SKERRY_CUTS", 5);
    let mut dice = Dice::new();
    let (mut network, shim) = prepared("cuts", Disk::Honest);
    let load = Load::start(&network);
    load.goes_on(8);
    let mut checked = 0;
    for round in 0..rounds {
        let one = dice.below(network.nodes.len());
        dice.sleep(0, 800);
        let node = network.nodes.get_mut(one).expect("a node");
        shim.cut(node);
        dice.sleep(0, 800);
        node.start();
        // Half of the rounds cut it again while it starts.
        if dice.below(2) == 0 {
            dice.sleep(0, 600);
            shim.cut(node);
            node.start();
        }
        dice.sleep(300, 1_500);
        let newest = network.newest();
        cut_all(&mut network, &shim);
        network.start_all();
        network.goes_beyond(&newest, 2);
        load.goes_on(4);
        let reports = load.reports();
        still_final(&network, reports.get(checked..).unwrap_or_default());
        println!(
            "round {round}: {newest:?}, {} transfers reported final",
            reports.len()
        );
        checked = reports.len();
    }
    let reports = load.reports();
    let transfers = load.finish();
    still_final(&network, &reports);
    exact(&network, &transfers);
    // The last cut is of what is judged.
    cut_all(&mut network, &shim);
    let judged = network.verify().expect("the stores agree after a last cut");
    println!(
        "{} transfers after {rounds} cuts of everything: {judged}",
        transfers.len()
    );
}

#[test]
fn a_disk_that_lies_about_syncing_is_noticed() {
    let (mut network, shim) = prepared("lies", Disk::Lying);
    let load = Load::start(&network);
    load.goes_on(4);
    let (reports, transfers) = (load.reports(), load.finish());
    assert!(!reports.is_empty() && !transfers.is_empty());
    let newest = network.newest();
    cut_all(&mut network, &shim);
    network.start_all();
    // What was final is gone, so no node can get beyond it at once: the first one has nothing.
    let node = network.nodes.first().expect("a node");
    let heights = crate::net::until("a node answers", || node.heights());
    let lost = heights
        .iter()
        .any(|(chain, height)| newest.get(chain).is_some_and(|it| height < it));
    let known = reports
        .iter()
        .all(|it| crate::net::wait(node.client().transaction(&it.hash)).is_ok());
    assert!(
        lost && !known,
        "{heights:?} after {newest:?}: a lying disk was not noticed"
    );
}
