//! Committees change while real processes come and go.

use crate::load::{Load, exact, still_final};
use crate::net::{Network, Plan, run, until};
use std::collections::BTreeMap;

/// The epoch of every chain, as the first node that answers says.
pub(crate) fn epochs(network: &Network) -> Option<BTreeMap<String, u64>> {
    let status = network.nodes.iter().find_map(|node| node.status())?;
    let chains = status.chains.into_iter();
    Some(chains.map(|chain| (chain.chain, chain.epoch)).collect())
}

pub(crate) fn all_reach(network: &Network, epoch: u64) {
    until(&format!("every chain is in epoch {epoch}"), || {
        let epochs = epochs(network)?;
        epochs.values().all(|it| *it >= epoch).then_some(())
    });
}

#[test]
fn committees_change_while_a_validator_is_gone_for_two_epochs() {
    let plan = Plan {
        shards: 2,
        validators: 8,
        seats: None,
        epoch_seconds: 5,
        block_gas: None,
        inbound_gas: None,
    };
    let mut network = Network::new("epochs", plan);
    network.start_all();
    network.goes_on(1);
    let load = Load::start(&network);
    all_reach(&network, 2);
    network.nodes.get_mut(3).expect("v3").kill();
    let gone = epochs(&network).expect("somebody answers");
    let newest = gone.values().copied().max().unwrap_or_default();
    all_reach(&network, newest + 2);
    network.nodes.get_mut(3).expect("v3").start();
    network.goes_on(2);
    let reports = load.reports();
    let transfers = load.finish();
    still_final(&network, &reports);
    exact(&network, &transfers);

    // A wallet follows the committees from the genesis to the one of today. That start is older
    // than bonds stay locked by then, so it needs somebody's word for a later one.
    all_reach(&network, 5);
    let (address, rpc) = (network.address(0).to_string(), network.nodes[0].rpc());
    let genesis = network.genesis_file.display().to_string();
    let ask = |more: &[&str]| {
        let mut args = vec!["query", "account", &address, "--rpc", &rpc, "--json"];
        args.extend(["--verify", "--trust", &genesis]);
        args.extend(more);
        run(&args)
    };
    let refused = ask(&[]).expect_err("the genesis is too old");
    assert!(refused.contains("TRUST_TOO_OLD") && refused.contains("query checkpoint"));
    let checkpoint = run(&["query", "checkpoint", "--rpc", &rpc, "--json"]).expect("a checkpoint");
    let checkpoint = checkpoint["checkpoint"].as_str().expect("a text");
    let shown = ask(&["--checkpoint", checkpoint]).expect("the proof is good");
    assert_eq!(shown["verified"], true);
    let (epoch, _) = checkpoint.split_once(':').expect("an epoch and a digest");
    let other = format!("{epoch}:0x{}", "00".repeat(32));
    let refused = ask(&["--checkpoint", &other]).expect_err("another network's checkpoint");
    assert!(refused.contains("the checkpoint says"), "{refused}");

    network.stop_all();
    let judged = network.verify().expect("the stopped stores agree");
    let beacon = &judged["chains"][0];
    assert_eq!(beacon["chain"], "beacon");
    let ended = beacon["epochs"].as_array().expect("epochs");
    let skipped = ended.iter().flat_map(|epoch| {
        let views = epoch["skipped"].as_array().cloned();
        views.unwrap_or_default()
    });
    let of_v3 = skipped.filter(|view| view["leader"] == 3);
    assert!(of_v3.count() >= 2, "turns of who was gone were skipped");
}
