//! Seats weigh: of (3, 3, 2, 1) any two may be missing, three may not.

use crate::load::transfer;
use crate::net::{Network, PATIENCE, Plan, run, until};
use std::time::{Duration, Instant};

#[test]
fn a_shard_goes_on_without_two_seats_and_stops_without_three() {
    let plan = Plan {
        shards: 1,
        validators: 4,
        seats: Some("3,3,2,1"),
        epoch_seconds: 0,
        block_gas: None,
        inbound_gas: None,
    };
    let mut network = Network::new("seats", plan);
    network.start_all();
    network.goes_on(2);
    let ready = |network: &Network, node: usize| {
        network
            .nodes
            .get(node)
            .and_then(|node| node.page("/readyz"))
            .map(|(code, _)| code)
    };
    transfer(&network, 3, 0, 1);

    // Two seats of nine are gone: it goes on.
    network.nodes.get_mut(2).expect("v2").kill();
    network.goes_on(4);
    transfer(&network, 3, 0, 1);
    network.nodes.get_mut(2).expect("v2").start();
    network.goes_on(2);
    until("v3 is ready with all there", || {
        (ready(&network, 3)? == 200).then_some(())
    });

    // Three are gone: it stops, and says so.
    network.nodes.first_mut().expect("v0").kill();
    let node = network.nodes.get(3).expect("v3");
    let (code, page) = until("v3 says on its page that the shard has stopped", || {
        node.page("/readyz").filter(|(code, _)| *code != 200)
    });
    assert_eq!(code, 503);
    assert!(
        page.contains("shard-0/0") && page.contains("6 of 9"),
        "{page}"
    );
    let status = until("v3 says in its status that the shard has stopped", || {
        let status = node.status()?;
        let shard = status.chains.iter().find(|chain| chain.chain != "beacon")?;
        (!status.ready && shard.waiting_for_quorum).then(|| shard.clone())
    });
    assert!(status.detail.contains("quorum"), "{}", status.detail);
    let rpc = node.rpc();
    let said = run(&["node", "status", "--json", "--rpc", &rpc]).expect("a status is an answer");
    assert_eq!(said["ready"], false, "{said}");
    let asked = run(&["node", "status", "--ready", "--json", "--rpc", &rpc]);
    assert!(asked.is_err_and(|text| text.contains("quorum")));
    let height = |network: &Network, chain: &str| network.newest().get(chain).copied();
    let (stopped, start) = (height(&network, &status.chain), Instant::now());
    let beacon = height(&network, "beacon");
    while start.elapsed() < Duration::from_secs(4) {
        assert_eq!(
            height(&network, &status.chain),
            stopped,
            "six of nine seats finalized"
        );
        std::thread::sleep(Duration::from_millis(300));
    }
    assert!(
        height(&network, "beacon") > beacon,
        "the beacon, where each has the same weight, goes on"
    );

    // What is sent meanwhile waits, and becomes final when they are back.
    let key = network
        .accounts
        .first()
        .expect("an account")
        .1
        .display()
        .to_string();
    let to = network.address(1).to_string();
    let sent = run(&[
        "tx",
        "send",
        "--json",
        "--rpc",
        &rpc,
        "--key-file",
        &key,
        "--to",
        &to,
        "--amount",
        "1sker",
        "--wait-for",
        "received",
    ]);
    let hash = sent.expect("a node takes it")["hash"]
        .as_str()
        .expect("a hash")
        .to_owned();
    network.nodes.first_mut().expect("v0").start();
    let limit = format!("{}s", PATIENCE.as_secs());
    let waited = run(&[
        "tx",
        "wait",
        &hash,
        "--json",
        "--rpc",
        &rpc,
        "--timeout",
        &limit,
    ]);
    assert_eq!(waited.expect("it becomes final")["outcome"], "SUCCEEDED");
    network.goes_on(2);
    until("v3 is ready again", || {
        (ready(&network, 3)? == 200).then_some(())
    });
    network.stop_all();
    network.verify().expect("the stopped stores agree");
}
