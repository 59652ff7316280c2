//! The base fee as users have it: it rises while blocks are full, who pays less is told what it is,
//! the command line pays what is needed, and when the load is over it comes back by itself.

use crate::net::{Network, PATIENCE, Plan, run, until, wait};
use serde_json::Value;
use skerry_proto::v1::{ErrorReason, Outcome, Stage};
use skerry_sdk::builder::{Draft, Terms};
use skerry_sdk::client::Client;
use skerry_types::amount::{Amount, Asset};
use skerry_types::codec;
use skerry_types::ids::{Digest, Height};
use skerry_types::transaction::Nonce;
use std::time::Duration;

/// About twenty-five transfers fill a block.
const NARROW: Plan = Plan {
    shards: 1,
    validators: 4,
    seats: Some("1,1,1,1"),
    epoch_seconds: 0,
    block_gas: Some(500_000),
    inbound_gas: None,
};
/// Enough for some twenty-five full blocks.
const TRANSFERS: u64 = 600;
const PRICE: u128 = 100_000;

/// Base fee now, suggested gas price, next nonce and beacon height for account 0.
fn prices(network: &Network, client: &Client) -> (u128, u128, u64, u64) {
    let reply = wait(client.account(&network.address(0), 0)).expect("an account");
    let number = |text: &str| text.parse().expect("a number");
    let beacon = reply.anchor.and_then(|anchor| anchor.beacon);
    (
        number(&reply.base_fee),
        number(&reply.gas_price),
        reply.account.map_or(0, |account| account.next_nonce),
        beacon.map_or(0, |block| block.height),
    )
}

/// A signed transfer of one base unit of account 0 to account 1.
fn transfer(network: &Network, (stream, sequence): (u16, u64), price: u128) -> (Vec<u8>, Digest) {
    let (key, _) = &network.accounts[0];
    let terms = Terms {
        chain_id: network.genesis.chain_id(),
        sender: key.address(),
        nonce: Nonce { stream, sequence },
        valid_until: Height::new(10_000),
        gas_price: Amount::new(price),
    };
    let draft = Draft::new().transfer(&network.address(1), Asset::nsker(1));
    let signed = draft.expect("a transfer").sign(&terms, key.secret());
    let signed = signed.expect("a signature");
    (codec::encode(&signed), signed.body.id())
}

fn send_by_hand(network: &Network, options: &[&str]) -> Result<Value, String> {
    let key = network.accounts[0].1.display().to_string();
    let (to, rpc) = (network.address(1).to_string(), network.nodes[1].rpc());
    let timeout = format!("{}s", PATIENCE.as_secs());
    let mut args = vec!["tx", "send", "--to", &to, "--amount", "1nsker"];
    args.extend(["--key-file", &key, "--rpc", &rpc, "--timeout", &timeout]);
    args.extend(["--nonce-stream", "7", "--wait-for", "finalized", "--json"]);
    args.extend(options);
    run(&args)
}

#[test]
fn the_base_fee_rises_under_load_and_comes_back() {
    let mut network = Network::new("fees", NARROW);
    network.start_all();
    network.goes_on(1);
    let client = network.nodes[0].client();
    let floor = network.genesis.parameters.base_fee.get();
    let (base_fee, suggested, next, _) = prices(&network, &client);
    assert_eq!((base_fee, suggested), (floor, floor));

    let (wires, hashes): (Vec<_>, Vec<_>) = (next..next + TRANSFERS)
        .map(|sequence| transfer(&network, (0, sequence), PRICE))
        .unzip();
    for part in wires.chunks(200) {
        for result in wait(client.submit_many(part.to_vec())).expect("an answer") {
            assert!(result.accepted, "{:?}: {}", result.reason(), result.message);
        }
    }
    let risen = until("the base fee rises", || {
        let (base_fee, suggested, ..) = prices(&network, &client);
        (base_fee > floor).then_some((base_fee, suggested))
    });
    assert!(risen.1 > risen.0, "{risen:?}");
    // Who pays the floor is told what is needed; nothing happened.
    let (cheap, _) = transfer(&network, (1, 0), floor);
    let refused = wait(client.submit(cheap, Stage::Received, Duration::from_secs(1)));
    let error = refused.expect_err("it pays too little");
    assert_eq!(error.reason(), Some(ErrorReason::FeeTooLow), "{error}");
    let said = send_by_hand(&network, &["--gas-price", &floor.to_string()]);
    let said = said.expect_err("it pays too little");
    assert!(said.contains("FEE_TOO_LOW"), "{said}");
    // Without a price of its own the command line pays what the shard takes.
    let paid = send_by_hand(&network, &[]).expect("it is sent");
    assert_eq!(paid["outcome"], "SUCCEEDED", "{paid}");

    for hash in &hashes {
        let status = until(&format!("{hash} is final"), || {
            let status = wait(client.status(hash, Stage::Finalized, Duration::from_secs(10)));
            status.ok().filter(|status| status.outcome().is_decided())
        });
        assert_eq!(status.outcome(), Outcome::Succeeded, "{status:?}");
    }
    let shown = run(&["query", "shard", "--json", "--rpc", &network.nodes[2].rpc()]);
    let shown = shown.expect("its chains");
    let chains = shown["chains"].as_array().expect("a list");
    let of = |name: &str| chains.iter().find(|chain| chain["chain"] == name);
    assert!(of("beacon").expect("the beacon")["base_fee"].is_null());
    assert!(of("shard-0/0").expect("the shard")["base_fee"].is_string());
    until("the base fee comes back", || {
        let (base_fee, suggested, ..) = prices(&network, &client);
        ((base_fee, suggested) == (floor, floor)).then_some(())
    });
    let (cheap, hash) = transfer(&network, (1, 0), floor);
    wait(client.submit(cheap, Stage::Finalized, PATIENCE)).expect("it is taken");
    let status = wait(client.status(&hash, Stage::Finalized, Duration::from_secs(10)));
    assert_eq!(status.expect("a status").outcome(), Outcome::Succeeded);
    network.stop_all();
    network.verify().expect("the data directories agree");
}
