//! Two nodes that run one vote key: it stops voting where they contradict each other, stays so after
//! a restart, and the others go on.

use crate::load::transfer;
use crate::net::{Network, Node, Plan, until};
use skerry::config::{NodeConfig, ValidatorConfig};

#[test]
fn two_copies_of_a_validator_are_noticed_and_stop_voting() {
    let mut network = Network::new(
        "copies",
        Plan {
            shards: 1,
            validators: 4,
            seats: None,
            epoch_seconds: 0,
            block_gas: None,
            inbound_gas: None,
        },
    );
    network.start_all();
    network.goes_on(2);

    // The copy has key and log, as after a careless move, and is otherwise a node of its own.
    let original = network.nodes.get(3).expect("v3").home.clone();
    let home = network.place.dir.join("copy");
    std::fs::create_dir_all(home.join("keys")).expect("a folder");
    for file in ["keys/validator.json", "keys/vote.log"] {
        std::fs::copy(original.join(file), home.join(file)).expect("copied");
    }
    let mut config = NodeConfig::read(&original.join("config.toml")).expect("a configuration");
    config.validator = Some(ValidatorConfig {
        key: home.join("keys/validator.json"),
        vote_log: home.join("keys/vote.log"),
    });
    config.network.key = home.join("keys/network.key");
    config.network.listen = vec!["/ip4/127.0.0.1/tcp/0".to_owned()];
    config.grpc.listen = "127.0.0.1:0".to_owned();
    config.http.listen = "127.0.0.1:0".to_owned();
    config.write(&home.join("config.toml")).expect("written");
    let mut copy = Node::at(&network.place.dir, "copy", home);
    copy.start();

    until("one of the two stops voting and says why", || {
        let logs = [
            copy.log_text(),
            network.nodes.get(3).expect("v3").log_text(),
        ];
        logs.iter()
            .any(|log| log.contains("voting stopped") && log.contains("the vote key signed"))
            .then_some(())
    });
    assert!(copy.is_running(), "it stays up and says why");
    network.goes_on(4);
    for node in 0..3 {
        transfer(&network, node, 0, 1);
    }
    // What was noticed lies in the vote log.
    let said = |node: &Node| node.log_text().matches("voting stopped").count();
    let original = network.nodes.get_mut(3).expect("v3");
    let stopped = if said(&copy) > 0 {
        original.stop();
        &mut copy
    } else {
        copy.stop();
        original
    };
    stopped.stop();
    let before = said(stopped);
    stopped.start();
    until("it is still stopped after a restart", || {
        (said(stopped) > before).then_some(())
    });
    assert!(stopped.log_text().contains("is not whole"));
    drop(copy);
    network.start_all();
    network.goes_on(4);
    network.stop_all();
    network.verify().expect("the stopped stores agree");
}
