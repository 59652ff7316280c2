//! One of four validators of one chain is killed, misses much, comes back and catches up.

use crate::epochs::{all_reach, epochs};
use crate::load::{Load, exact, still_final};
use crate::net::{Network, Plan, until};

/// Blocks that it misses.
const MISSED: u64 = 60;
/// Epochs that it misses: committees of the first ones are forgotten by then.
const EPOCHS_MISSED: u64 = 7;

/// The second validator is gone until `is_over`, and is needed afterwards.
fn comes_back(name: &str, epoch_seconds: u64, is_over: impl FnOnce(&Network)) {
    let plan = Plan {
        shards: 1,
        validators: 4,
        seats: None,
        epoch_seconds,
        block_gas: None,
        inbound_gas: None,
    };
    let mut network = Network::new(name, plan);
    network.start_all();
    network.goes_on(2);
    let load = Load::start(&network);
    load.goes_on(4);
    network.nodes.get_mut(1).expect("v1").kill();
    is_over(&network);
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

#[test]
fn a_killed_validator_comes_back_and_catches_up() {
    comes_back("catch-up", 0, |network| {
        let at_death = network.newest();
        until("the others go on", || {
            let newest = network.newest();
            let beyond = |(chain, height): (&String, &u64)| {
                newest
                    .get(chain)
                    .is_some_and(|it| *it >= height.saturating_add(MISSED))
            };
            at_death.iter().all(beyond).then_some(())
        });
    });
}

#[test]
fn a_validator_that_was_gone_for_many_epochs_catches_up() {
    comes_back("many-epochs", 2, |network| {
        let gone = epochs(network).expect("somebody answers");
        let newest = gone.values().copied().max().unwrap_or_default();
        all_reach(network, newest + EPOCHS_MISSED);
    });
}
