//! A validator that the genesis does not know joins a running network of real processes, leaves
//! it again and takes its bond home.

use crate::net::{Network, Plan, run, until};
use serde_json::Value;

/// What the account sends to the beacon, as a command of `tx stake`.
fn stake(network: &Network, account: usize, command: &[&str]) -> Result<Value, String> {
    let (rpc, key) = (network.nodes[0].rpc(), &network.accounts[account].1);
    let key = key.display().to_string();
    let mut args = vec!["tx", "stake"];
    args.extend(command);
    args.extend(["--rpc", &rpc, "--key-file", &key, "--json"]);
    run(&args)
}

/// The validators as node 0 shows them, and the open epoch.
fn validators(network: &Network) -> Option<(Vec<Value>, u64)> {
    let rpc = network.nodes[0].rpc();
    let shown = run(&["query", "validators", "--rpc", &rpc, "--json"]).ok()?;
    let list = shown["validators"].as_array()?.clone();
    Some((list, shown["epoch"].as_u64()?))
}

fn balance(network: &Network, account: usize) -> u128 {
    let (address, rpc) = (network.address(account).to_string(), network.nodes[0].rpc());
    let shown = run(&["query", "account", &address, "--rpc", &rpc, "--json"]);
    let shown = shown.expect("the account is shown");
    let units = shown["balances"][0]["amount"].as_str().expect("an amount");
    units.parse().expect("a number")
}

#[test]
fn a_validator_joins_and_leaves_with_its_bond() {
    const BOND: u128 = 100_000 * 1_000_000_000;
    let plan = Plan {
        shards: 2,
        validators: 4,
        seats: Some("1,1,1,1"),
        epoch_seconds: 4,
        block_gas: None,
        inbound_gas: None,
    };
    let mut network = Network::new("staking", plan);
    network.start_all();
    network.goes_on(1);
    let before = balance(&network, 0);

    let (home, key) = network.add_node(4);
    assert!(home.join("config.toml").exists());
    network.nodes[4].start();
    let key = key.display().to_string();
    let register = ["register", "--validator-key", &key, "--bond"];
    let few = stake(&network, 0, &[&register[..], &["999sker"]].concat());
    let few = few.expect_err("less than the least bond");
    assert!(few.contains("BOND_TOO_LOW"), "{few}");
    assert!(few.contains("REFUNDED"), "{few}");
    let joined = stake(&network, 0, &[&register[..], &["100000sker"]].concat());
    let joined = joined.expect("the registration succeeds");
    assert_eq!(joined["outcome"], "SUCCEEDED");
    assert_eq!(joined["stage"], "RETURNED");
    let kinds: Vec<&str> = joined["legs"]
        .as_array()
        .expect("legs")
        .iter()
        .filter_map(|leg| leg["kind"].as_str())
        .collect();
    assert_eq!(kinds, ["HOME", "REQUEST", "REPLY"]);
    assert!(balance(&network, 0) < before - BOND);

    until("the newcomer sits on the beacon", || {
        let (list, _) = validators(&network)?;
        let seats = list.get(4)?["seats"].as_array()?.clone();
        let beacon = seats.iter().find(|seat| seat["chain"] == "beacon")?;
        (beacon["weight"] == 100_000).then_some(())
    });
    network.goes_on(2);

    let stranger = stake(&network, 1, &["exit", "--validator", "v4"]);
    let stranger = stranger.expect_err("somebody else's validator");
    assert!(stranger.contains("NOT_THE_OPERATOR"), "{stranger}");
    let exit = stake(&network, 0, &["exit", "--validator", "v4"]);
    assert_eq!(exit.expect("the exit succeeds")["outcome"], "SUCCEEDED");
    let early = stake(&network, 0, &["withdraw", "--validator", "v4"]);
    let early = early.expect_err("the bond is locked");
    assert!(early.contains("BOND_LOCKED"), "{early}");
    until("the bond is free", || {
        let (list, epoch) = validators(&network)?;
        let free = list.get(4)?["free_from"].as_u64()?;
        (epoch >= free).then_some(())
    });
    let home = stake(&network, 0, &["withdraw", "--validator", "v4"]);
    assert_eq!(home.expect("the bond comes home")["outcome"], "SUCCEEDED");
    // All but the fees.
    let after = balance(&network, 0);
    assert!(after < before && before - after < 1_000_000_000, "{after}");
    until("its place is free", || {
        let (list, _) = validators(&network)?;
        (list.len() == 4).then_some(())
    });

    network.goes_on(1);
    network.stop_all();
    network.verify().expect("the stopped stores agree");
}
