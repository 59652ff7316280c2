//! A route whose next leg finds no credit: it ends where it is, what the legs before brought comes home, and
//! the trace says why. When the credit is free again, the same bundle goes through.
//!
//! The credit is used up for certain: a shard of one validator is stopped, and another one sends it what it
//! has granted, which nobody there executes.

use crate::market::{Market, refusal, units};
use crate::net::{Network, PATIENCE, Plan, SKERRY, run, until, wait};
use serde_json::{Value, json};
use skerry_proto::v1;
use skerry_sdk::builder::{Draft, Terms};
use skerry_types::amount::{Amount, Asset};
use skerry_types::codec;
use skerry_types::ids::{ChainRef, Height};
use skerry_types::transaction::Nonce;
use std::process::Command;

/// Four shards of one validator each, with a lane that has room for a few dozen transfers of each source, and
/// for one bundle. The fifth node is a gateway.
const NARROW: Plan = Plan {
    shards: 4,
    validators: 4,
    seats: None,
    epoch_seconds: 0,
    block_gas: None,
    inbound_gas: Some(240_000),
};
const GATEWAY: usize = 4;
/// More transfers than a shard has credit for at another one.
const TRANSFERS: u64 = 60;

/// Accounts of three shards: whose bundle it is, near whom it runs first, and then; and the nodes that
/// follow the first and the last of these shards alone.
struct Ends {
    sender: usize,
    first: usize,
    second: usize,
    at_home: usize,
    at_second: usize,
}

impl Ends {
    fn of(network: &Network) -> Self {
        let home = |account: usize| network.genesis.home(&network.address(account));
        let mut on_each: Vec<usize> = Vec::new();
        for account in 0..network.accounts.len() {
            if on_each.iter().all(|known| home(*known) != home(account)) {
                on_each.push(account);
            }
        }
        let [sender, first, second, ..] = on_each[..] else {
            panic!("accounts live on {} shards", on_each.len());
        };
        Self {
            sender,
            first,
            second,
            at_home: follower(network, home(sender)),
            at_second: follower(network, home(second)),
        }
    }
}

/// The validator of a shard.
fn follower(network: &Network, chain: ChainRef) -> usize {
    let chain = chain.to_string();
    until(&format!("a validator follows {chain}"), || {
        let mut nodes = network.nodes[..GATEWAY].iter();
        nodes.position(|node| {
            let heights = node.heights();
            heights.is_some_and(|heights| heights.contains_key(&chain))
        })
    })
}

/// The channel from the first shard of the route to the second.
fn channel(market: &Market, ends: &Ends) -> Option<(v1::Channel, v1::Credit)> {
    let (source, destination) = (market.home(ends.first), market.home(ends.second));
    let reply = wait(market.client().channels(Some(source))).ok()?;
    let destination = destination.to_string();
    let mut channels = reply.channels.into_iter();
    let found =
        channels.find(|it| it.source == source.to_string() && it.destination == destination);
    found.zip(reply.share)
}

/// Uses up all credit of the first shard at the second, by transfers that are handed in where nobody looks
/// after it: a node that does not follow the shard.
fn fill(market: &Market, ends: &Ends) {
    let network = &market.network;
    let (key, to) = (
        &network.accounts[ends.first].0,
        network.address(ends.second),
    );
    let account = wait(market.client().account(&key.address(), 0)).expect("an account");
    let beacon = account.anchor.and_then(|anchor| anchor.beacon);
    let valid_until = Height::new(beacon.expect("a beacon block").height + 10_000);
    let next = account.account.expect("an account").next_nonce;
    let signed = (next..next + TRANSFERS).map(|sequence| {
        let terms = Terms {
            chain_id: network.genesis.chain_id(),
            sender: key.address(),
            nonce: Nonce {
                stream: 0,
                sequence,
            },
            valid_until,
            gas_price: network.genesis.parameters.base_fee,
        };
        let draft = Draft::new().transfer(&to, Asset::nsker(1));
        let signed = draft.expect("a transfer").sign(&terms, key.secret());
        codec::encode(&signed.expect("a transaction"))
    });
    let client = network.nodes[ends.at_home].client();
    let results = wait(client.submit_many(signed.collect())).expect("they are taken");
    for result in results {
        assert!(result.accepted, "{:?}: {}", result.reason(), result.message);
    }
    until("the credit is used up", || {
        let (channel, share) = channel(market, ends)?;
        let left = channel.left?.gas;
        let each = share.gas.saturating_sub(left).checked_div(channel.sent)?;
        (left < each).then_some(())
    });
}

/// A swap at the pool, and with what it brings a payment on the second shard.
fn bundle(market: &Market, ends: &Ends) -> Value {
    let gold = |units: u128| Asset {
        denom: market.gold,
        amount: Amount::new(units),
    };
    let swap = json!({"swap_exact_in": {"route": [market.pool], "input": Asset::nsker(1_000_000_000),
        "minimum_output": gold(1)}});
    let to = market.network.address(ends.second);
    let pay = json!({"send": {"to": to, "asset": gold(1_000)}});
    json!({"attach": ["1sker"], "hops": [
        {"near": market.pool, "calls": [{"module": "dex", "call": swap}]},
        {"near": to, "calls": [{"module": "bank", "call": pay}]},
    ]})
}

/// `skerry tx trace` as people read it, and as programs do.
fn trace(market: &Market, hash: &str) -> (String, Value) {
    let rpc = market.network.nodes[GATEWAY].rpc();
    let args = ["tx", "trace", hash, "--rpc", &rpc];
    let shown = Command::new(SKERRY).args(args).output();
    let shown = shown.expect("the command runs").stdout;
    let data = run(&[&args[..], &["--json"]].concat()).expect("a trace");
    (String::from_utf8_lossy(&shown).into_owned(), data)
}

fn of(legs: &Value, name: &str) -> Vec<Value> {
    let legs = legs.as_array().expect("legs");
    legs.iter().map(|leg| leg[name].clone()).collect()
}

/// The bundle ends at the first shard; what it bought there comes home, and nothing else is lost but the fee.
fn ends_at_the_first(market: &Market, ends: &Ends) {
    let [sker, gold] = market.purse(ends.sender);
    let quote = market.query("quote --pool POOL --input 1sker");
    let bought = units(&quote.expect("a quote")["output"]["amount"]);
    let ended = refusal(market.send_file(ends.sender, &bundle(market, ends)));
    let error = &ended["errors"][0];
    assert_eq!(error["code"], "PARTIAL", "{ended}");
    assert_eq!(error["details"]["failure"], "CONGESTED", "{ended}");
    let hash = ended["data"]["hash"].as_str().expect("a hash");
    let hint = error["hint"].as_str().expect("a hint");
    assert!(
        hint.starts_with(&format!("skerry tx trace {hash} ")),
        "{hint}"
    );

    let (text, shown) = trace(market, hash);
    println!("{text}");
    assert!(
        text.contains("executor route_ended  reason=CONGESTED"),
        "{text}"
    );
    let legs = &shown["legs"];
    assert_eq!(of(legs, "kind"), ["HOME", "REQUEST", "REPLY"]);
    let succeeded = "SUCCEEDED";
    assert_eq!(of(legs, "outcome"), [succeeded, succeeded, succeeded]);
    let chains = [ends.sender, ends.first, ends.sender].map(|account| market.home(account));
    assert_eq!(of(legs, "chain"), chains.map(|chain| json!(chain)));
    let route = [ends.first, ends.second].map(|account| market.home(account));
    assert_eq!(shown["route"], json!(route));
    let [after, gold_after] = market.purse(ends.sender);
    assert_eq!(gold_after, gold + bought);
    let most = sker - 1_000_000_000;
    let fee = units(&ended["data"]["fee"]);
    assert!(after >= most - fee && after < most, "{sker} {after} {fee}");
}

#[test]
fn a_route_without_credit_for_its_next_leg_ends_there_and_with_it_goes_on() {
    let mut network = Network::new("congested", NARROW);
    network.add_gateway();
    network.start_all();
    network.goes_on(1);
    let ends = Ends::of(&network);
    let mut market = Market::on(network, ends.first, GATEWAY);
    market.create_pool();

    market.network.nodes[ends.at_second].stop();
    fill(&market, &ends);
    ends_at_the_first(&market, &ends);

    // The shard comes back, runs what waits for it, and has room again.
    market.network.nodes[ends.at_second].start();
    until("all that was sent has run", || {
        let (channel, share) = channel(&market, &ends)?;
        let is_free = channel.sent == TRANSFERS && channel.left?.gas >= share.gas;
        is_free.then_some(())
    });
    let done = market.send_file(ends.sender, &bundle(&market, &ends));
    let done = done.unwrap_or_else(|error| panic!("not within {PATIENCE:?}: {error}"));
    let kinds = of(&done["legs"], "kind");
    assert_eq!(kinds, ["HOME", "REQUEST", "REQUEST", "REPLY"]);
    let [_, gold] = market.purse(ends.second);
    assert_eq!(gold, 1_000);
    market.network.stop_all();
    let verdict = market.network.verify().expect("the folders agree");
    assert_eq!(verdict["violations"], json!([]));
}
