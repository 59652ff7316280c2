//! Nodes that join by taking over states from their peers instead of executing all blocks.

use crate::load::{Load, exact};
use crate::net::{Network, Node, PATIENCE, Plan, run, until};
use serde_json::Value;
use std::time::{Duration, Instant};

/// The one that joins.
const LAST: usize = 3;

fn plan(epoch_seconds: u64) -> Plan {
    Plan {
        shards: 1,
        validators: 4,
        seats: None,
        epoch_seconds,
        block_gas: None,
        inbound_gas: None,
    }
}

fn last(network: &mut Network) -> &mut Node {
    network.nodes.get_mut(LAST).expect("v3")
}

fn lose_data(node: &Node) {
    std::fs::remove_dir_all(node.home.join("data")).expect("the data directory goes");
}

/// It joins by snapshot where a base is a block ahead.
fn joins(node: &mut Node) {
    node.options = vec!["--snapshot-above".to_owned(), "1".to_owned()];
}

fn count(node: &Node, words: &str) -> usize {
    node.log_text().matches(words).count()
}

fn balance(network: &Network, node: usize, account: usize) -> Value {
    let (address, rpc) = (
        network.address(account).to_string(),
        network.nodes[node].rpc(),
    );
    let shown = run(&["query", "account", &address, "--rpc", &rpc, "--json"]);
    shown.expect("the account is shown")["balances"].clone()
}

fn epoch(network: &Network) -> Option<u64> {
    let status = network.nodes.iter().find_map(Node::status)?;
    status.chains.iter().map(|chain| chain.epoch).min()
}

#[test]
fn a_validator_without_data_joins_by_snapshot_and_votes() {
    let mut network = Network::new("snapshot", plan(0));
    network.start_all();
    network.goes_on(4);
    let load = Load::start(&network);
    load.goes_on(4);
    last(&mut network).stop();
    lose_data(last(&mut network));
    joins(last(&mut network));
    until("the others have gone on", || {
        let newest = network.newest();
        newest.values().all(|height| *height >= 60).then_some(())
    });
    last(&mut network).start();
    network.goes_on(2);
    let transfers = load.finish();
    exact(&network, &transfers);
    assert_eq!(
        count(&network.nodes[LAST], "joined by snapshot"),
        2,
        "{}",
        network.nodes[LAST].log_text()
    );
    assert_eq!(balance(&network, LAST, 0), balance(&network, 0, 0));
    // Of what was before it says so.
    let rpc = network.nodes[LAST].rpc();
    let old = run(&["query", "block", "beacon", "1", "--rpc", &rpc, "--json"]);
    let old = old.expect_err("it does not have the first block");
    assert!(old.contains("before the node's base"), "{old}");
    // Its vote is needed, and comes.
    network.nodes[0].kill();
    network.goes_on(4);
    network.nodes[0].start();
    network.goes_on(1);
    // What it has taken over serves others: the next one joins from it as well.
    network.nodes[1].stop();
    lose_data(&network.nodes[1]);
    joins(&mut network.nodes[1]);
    network.nodes[1].start();
    network.goes_on(2);
    assert!(count(&network.nodes[1], "joined by snapshot") > 0);
    network.stop_all();
    network.verify().expect("the stopped stores agree");
}

#[test]
fn a_validator_that_was_away_for_epochs_joins_by_snapshot() {
    let mut network = Network::new("snapshot-epochs", plan(4));
    network.start_all();
    network.goes_on(2);
    last(&mut network).stop();
    let gone = epoch(&network).expect("somebody answers");
    until("three epochs have passed", || {
        (epoch(&network)? >= gone + 3).then_some(())
    });
    joins(last(&mut network));
    last(&mut network).start();
    network.goes_on(4);
    assert_eq!(
        count(&network.nodes[LAST], "joined by snapshot"),
        2,
        "{}",
        network.nodes[LAST].log_text()
    );
    // It votes again: without it the others are too few.
    network.nodes[0].kill();
    network.goes_on(4);
    network.nodes[0].start();
    network.goes_on(1);
    network.stop_all();
    network.verify().expect("the stopped stores agree");
}

#[test]
fn what_is_trusted_must_not_be_older_than_bonds_are_locked() {
    let mut network = Network::new("snapshot-old", plan(2));
    network.start_all();
    network.goes_on(2);
    last(&mut network).stop();
    lose_data(last(&mut network));
    // Bonds stay locked for four epochs.
    until("six epochs have passed", || {
        (epoch(&network)? >= 6).then_some(())
    });
    let home = last(&mut network).home.display().to_string();
    let refused = run(&[
        "node",
        "start",
        "--json",
        "--home",
        &home,
        "--snapshot-above",
        "1",
    ]);
    let refused = refused.expect_err("the genesis alone is too old");
    assert!(refused.contains("--checkpoint"), "{refused}");

    let rpc = network.nodes[0].rpc();
    let shown = run(&["query", "checkpoint", "--rpc", &rpc, "--json"]);
    let checkpoint = shown.expect("a checkpoint")["checkpoint"].clone();
    let checkpoint = checkpoint.as_str().expect("a text").to_owned();
    joins(last(&mut network));
    let options = ["--checkpoint".to_owned(), checkpoint];
    last(&mut network).options.extend(options);
    last(&mut network).start();
    network.goes_on(2);
    assert!(count(&network.nodes[LAST], "joined by snapshot") > 0);
    network.stop_all();
}

#[test]
fn an_import_that_was_killed_goes_on() {
    let mut network = Network::new("snapshot-kill", plan(0));
    network.start_all();
    network.goes_on(4);
    // It makes the bases: idle blocks are none.
    let load = Load::start(&network);
    load.goes_on(4);
    last(&mut network).stop();
    lose_data(last(&mut network));
    joins(last(&mut network));
    for _ in 0..3 {
        let begun = count(&network.nodes[LAST], "joining by snapshot");
        // One that has joined may have nothing to join at its next start.
        let patience = if begun == 0 {
            PATIENCE
        } else {
            Duration::from_secs(10)
        };
        last(&mut network).start();
        let start = Instant::now();
        while count(&network.nodes[LAST], "joining by snapshot") == begun
            && start.elapsed() < patience
        {
            std::thread::sleep(Duration::from_millis(5));
        }
        last(&mut network).kill();
    }
    let begun = count(&network.nodes[LAST], "joining by snapshot");
    assert!(begun > 0, "{}", network.nodes[LAST].log_text());
    last(&mut network).start();
    network.goes_on(4);
    let transfers = load.finish();
    exact(&network, &transfers);
    network.stop_all();
    network.verify().expect("the stopped stores agree");
}
