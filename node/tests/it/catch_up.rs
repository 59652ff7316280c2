//! One of four validators of one chain is killed, misses many blocks, comes back and catches up.

use crate::load::{Load, exact, still_final};
use crate::net::{Network, Plan, until};

/// Blocks that it misses.
const MISSED: u64 = 60;

#[test]
fn a_killed_validator_comes_back_and_catches_up() {
    let plan = Plan {
        shards: 1,
        validators: 4,
        seats: None,
        epoch_seconds: 0,
    };
    let mut network = Network::new("catch-up", plan);
    network.start_all();
    network.goes_on(2);
    let load = Load::start(&network);
    load.goes_on(4);
    let at_death = network.newest();
    network.nodes.get_mut(1).expect("v1").kill();
    until("the others go on", || {
        let newest = network.newest();
        let beyond = |(chain, height): (&String, &u64)| {
            newest
                .get(chain)
                .is_some_and(|it| *it >= height.saturating_add(MISSED))
        };
        at_death.iter().all(beyond).then_some(())
    });
    network.nodes.get_mut(1).expect("v1").start();
    network.goes_on(2);
    let reports = load.reports();
    let transfers = load.finish();
    // It knows what happened while it was gone, and votes again: the others need it now.
    still_final(&network, &reports);
    exact(&network, &transfers);
    network.nodes.get_mut(2).expect("v2").kill();
    network.goes_on(4);
    network.nodes.get_mut(2).expect("v2").start();
    network.goes_on(1);
    network.stop_all();
    network.verify().expect("the stopped stores agree");
}
