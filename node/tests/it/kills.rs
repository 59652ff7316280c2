//! kill −9 at random points under load: of single nodes, and of everything at once.
//!
//! Proves nothing about what was synced, since the page cache survives; `cuts` does.

use crate::load::{Load, exact, still_final};
use crate::net::{Dice, Network, SMALL, number};

#[test]
fn nothing_final_is_lost_when_processes_are_killed() {
    let rounds = number("SKERRY_KILLS", 5);
    let mut dice = Dice::new();
    let mut network = Network::new("kills", SMALL);
    network.start_all();
    network.goes_on(1);
    let load = Load::start(&network);
    load.goes_on(8);
    let mut checked = 0;
    for round in 0..rounds {
        // One node, while the others go on.
        let one = dice.below(network.nodes.len());
        dice.sleep(0, 800);
        let node = network.nodes.get_mut(one).expect("a node");
        node.kill();
        dice.sleep(0, 800);
        node.start();
        // Half of the rounds take it again while it starts.
        if dice.below(2) == 0 {
            dice.sleep(0, 600);
            node.kill();
            node.start();
        }
        dice.sleep(300, 1_500);
        // Everything.
        let newest = network.newest();
        network.kill_all();
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
    network.stop_all();
    let judged = network.verify().expect("the stopped stores agree");
    println!(
        "{} transfers after {rounds} kills of everything: {judged}",
        transfers.len()
    );
}
