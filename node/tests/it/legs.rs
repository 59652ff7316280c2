//! The way of a transaction through all chains, as users are told: each leg until the last, by a node
//! that follows all chains, and what those say that follow only some.

use crate::net::{Network, PATIENCE, Plan, run, until, wait};
use serde_json::{Value, json};
use skerry_proto::v1::{self, ErrorReason, LegKind, Outcome, Stage};
use skerry_sdk::builder::{Draft, Terms};
use skerry_sdk::client::Client;
use skerry_types::amount::Asset;
use skerry_types::codec;
use skerry_types::ids::{ChainRef, Digest, Height};
use skerry_types::transaction::Nonce;
use std::time::Duration;

/// Two validators for each of two shards: they follow the beacon and their own shard alone. The fifth
/// node is a gateway.
const APART: Plan = Plan {
    shards: 2,
    validators: 4,
    seats: None,
    epoch_seconds: 0,
    block_gas: None,
    inbound_gas: None,
};
const GATEWAY: usize = 4;

/// An account, and the node that follows its shard; the other shard's.
struct Ends {
    home: ChainRef,
    there: ChainRef,
    from: usize,
    to: usize,
    at_home: usize,
    at_destination: usize,
}

fn ends(network: &Network) -> Ends {
    let home_of = |account: usize| network.genesis.home(&network.address(account));
    let home = home_of(0);
    let to = (1..network.accounts.len())
        .find(|account| home_of(*account) != home)
        .expect("accounts live on both shards");
    let follows = |chain: ChainRef| {
        let chain = chain.to_string();
        until(&format!("a validator follows {chain} alone"), || {
            let heights = network.nodes[..GATEWAY].iter().map(|node| node.heights());
            let all: Option<Vec<_>> = heights.collect();
            let follows = |heights: &std::collections::BTreeMap<String, u64>| {
                heights.len() == 2 && heights.contains_key(&chain)
            };
            all?.iter().position(follows)
        })
    };
    Ends {
        home,
        there: home_of(to),
        from: 0,
        to,
        at_home: follows(home),
        at_destination: follows(home_of(to)),
    }
}

/// Signs a draft of the account with its next nonce and submits it; returns at once.
fn submit(network: &Network, client: &Client, account: usize, draft: Draft) -> Digest {
    let reply = wait(client.account(&network.address(account), 0)).expect("an account");
    let beacon = reply.anchor.and_then(|anchor| anchor.beacon);
    let beacon = beacon.expect("a beacon block").height;
    let key = &network.accounts[account].0;
    let terms = Terms {
        chain_id: network.genesis.chain_id(),
        sender: key.address(),
        nonce: Nonce {
            stream: 0,
            sequence: reply.account.expect("an account").next_nonce,
        },
        valid_until: Height::new(beacon + 1_000),
        gas_price: network.genesis.parameters.base_fee,
    };
    let body = draft.clone().body(&terms).expect("a body");
    let estimate = wait(client.estimate(codec::encode(&body))).expect("an estimate");
    let gas_price = estimate.gas_price.parse().expect("a price");
    let terms = Terms { gas_price, ..terms };
    let signed = draft.sign(&terms, key.secret()).expect("a signature");
    let wire = codec::encode(&signed);
    let taken = wait(client.submit(wire, Stage::Received, Duration::from_secs(5)));
    taken.expect("it is taken");
    signed.body.id()
}

/// All that a watch tells, from now to its end.
fn watched(client: &Client, hash: &Digest) -> Vec<v1::TransactionStatus> {
    wait(async {
        let mut changes = client.watch(hash).await.expect("it is known");
        let mut told = Vec::new();
        loop {
            let next = tokio::time::timeout(PATIENCE, changes.message()).await;
            match next.expect("it changes, or ends").expect("it goes on") {
                Some(reply) => told.push(reply.status.expect("a status")),
                None => return told,
            }
        }
    })
}

/// What must hold of every watch: it goes only forward, each status differs from the one before, legs
/// only come and only advance, only the last status is decided.
fn check_watched(told: &[v1::TransactionStatus]) {
    let (last, before) = told.split_last().expect("at least the present");
    assert_eq!(last.stage(), Stage::Returned, "{told:#?}");
    assert!(last.outcome().is_decided(), "{last:?}");
    for status in before {
        assert_eq!(status.outcome(), Outcome::Pending, "{status:?}");
    }
    for pair in told.windows(2) {
        let [first, second] = pair else { continue };
        assert_ne!(
            (first.stage, &first.legs),
            (second.stage, &second.legs),
            "nothing has changed"
        );
        assert!(first.stage <= second.stage, "{first:?} {second:?}");
        assert!(first.legs.len() <= second.legs.len());
        for (was, is) in first.legs.iter().zip(&second.legs) {
            assert_eq!((was.kind, &was.message), (is.kind, &is.message));
            assert!(was.stage <= is.stage, "{was:?} {is:?}");
        }
    }
}

fn kinds(status: &v1::TransactionStatus) -> Vec<LegKind> {
    status.legs.iter().map(v1::Leg::kind).collect()
}

/// `skerry tx trace`, and what it says beside its result.
fn trace(network: &Network, node: usize, hash: &Digest, options: &[&str]) -> Result<Value, String> {
    let (hash, rpc) = (hash.to_string(), network.nodes[node].rpc());
    let mut args = vec!["tx", "trace", &hash, "--rpc", &rpc, "--json"];
    args.extend(options);
    run(&args)
}

/// What a bundle for the beacon would cost is shown, and nothing is sent.
fn check_dry_run(network: &Network, account: usize) {
    let (key, rpc) = (
        network.accounts[account].1.display().to_string(),
        network.nodes[GATEWAY].rpc(),
    );
    let address = network.address(account).to_string();
    let shown = || {
        let shown = run(&["query", "account", &address, "--rpc", &rpc, "--json"]);
        shown.expect("an account")["balances"].clone()
    };
    let before = shown();
    let mut args = vec![
        "tx",
        "stake",
        "top-up",
        "--validator",
        "0",
        "--amount",
        "5sker",
    ];
    args.extend(["--dry-run", "--key-file", &key, "--rpc", &rpc, "--json"]);
    let estimate = run(&args).expect("an estimate");
    let legs = estimate["legs"].as_array().expect("legs");
    assert_eq!(legs.len(), 1, "{estimate}");
    assert_eq!(legs[0]["chain"], "beacon");
    let (gas, home) = (&estimate["gas"], &estimate["home_gas"]);
    let sum = home.as_u64().zip(legs[0]["gas"].as_u64());
    assert_eq!(gas.as_u64(), sum.map(|(home, leg)| home + leg));
    assert_eq!(shown(), before, "nothing was sent");
}

#[test]
fn every_leg_is_told_until_the_last() {
    let mut network = Network::new("legs", APART);
    network.add_gateway();
    network.start_all();
    network.goes_on(1);
    let ends = ends(&network);
    let gateway = network.nodes[GATEWAY].client();

    // Value for an owner of the other shard.
    let draft = Draft::new().transfer(&network.address(ends.to), Asset::nsker(5));
    let hash = submit(&network, &gateway, ends.from, draft.expect("a transfer"));
    let told = watched(&gateway, &hash);
    check_watched(&told);
    let last = told.last().expect("a status");
    assert_eq!(last.outcome(), Outcome::Succeeded);
    assert_eq!(kinds(last), [LegKind::Home, LegKind::Transfer]);
    let id = last.legs[1].message.clone().expect("an id");
    let ends_of_id = (ends.home.to_string(), ends.there.to_string());
    assert_eq!((id.source, id.destination), ends_of_id);
    // Its home was final before it was there, and that was told.
    let on_its_way = told
        .iter()
        .find(|status| status.stage() == Stage::Finalized);
    assert_eq!(kinds(on_its_way.expect("it was on its way")).len(), 2);
    let shown = trace(&network, GATEWAY, &hash, &[]).expect("a trace");
    assert_eq!(shown["outcome"], "SUCCEEDED");
    let credited = &shown["legs"][1]["credited"][0];
    assert_eq!(
        (&credited["denom"], &credited["amount"]),
        (&json!("sker"), &json!("5"))
    );
    assert_eq!(credited["owner"], json!(network.address(ends.to)));
    assert!(shown["legs"][1]["after_ms"].is_u64(), "{shown}");

    // Who follows the home alone knows by the beacon that it is there; who follows the destination
    // alone has not heard of it, and says why.
    let shown = trace(
        &network,
        ends.at_home,
        &hash,
        &["--wait", "--timeout", "60s"],
    );
    let shown = shown.expect("a trace");
    assert_eq!(
        (&shown["stage"], &shown["outcome"]),
        (&json!("RETURNED"), &json!("SUCCEEDED"))
    );
    assert_eq!(shown["not_followed"], json!([ends.there]));
    assert_eq!(shown["legs"][1]["not_followed"], json!(true));
    assert!(shown["legs"][1]["block"].is_null(), "{shown}");
    let other = network.nodes[ends.at_destination].client();
    let unknown = wait(other.status(&hash, Stage::Unspecified, Duration::ZERO));
    let unknown = unknown.expect_err("its home is not followed there");
    assert_eq!(unknown.reason(), Some(ErrorReason::TxUnknown));
    let said = trace(&network, ends.at_destination, &hash, &[]);
    let said = said.expect_err("its home is not followed there");
    assert!(
        said.contains(&format!("does not follow {}", ends.home)),
        "{said}"
    );

    check_dry_run(&network, ends.from);

    // A bundle for the beacon that is refused there: what was attached comes home.
    let draft = Draft::new().attach(Asset::nsker(7_000)).and_then(|draft| {
        let call = json!({"top_up": {"validator": 77, "amount": "7000"}});
        draft.call("staking", &call)
    });
    let hash = submit(&network, &gateway, ends.from, draft.expect("a call"));
    let shown = trace(&network, GATEWAY, &hash, &["--wait", "--timeout", "90s"]);
    let shown = shown.expect("a trace");
    assert_eq!(
        (&shown["stage"], &shown["outcome"]),
        (&json!("RETURNED"), &json!("REFUNDED"))
    );
    assert_eq!(shown["route"], json!(["beacon"]));
    let legs = shown["legs"].as_array().expect("legs");
    let of = |name: &str| -> Vec<Value> { legs.iter().map(|leg| leg[name].clone()).collect() };
    assert_eq!(of("kind"), ["HOME", "REQUEST", "REPLY"]);
    assert_eq!(of("outcome"), ["SUCCEEDED", "FAILED", "SUCCEEDED"]);
    assert_eq!(of("stage"), ["RETURNED", "EXECUTED_REMOTELY", "RETURNED"]);
    assert_eq!(of("depth"), [0, 1, 2]);
    assert!(legs[1]["failure"]["code"].is_string(), "{shown}");
    assert_eq!(legs[2]["credited"][0]["amount"], "7000");
    let id = legs[2]["id"].as_str().expect("an id");
    assert!(id.starts_with(&format!("beacon>{}#", ends.home)), "{id}");
    let told = watched(&gateway, &hash);
    check_watched(&told);
    assert_eq!(told.len(), 1, "the present is the last");

    check_bundles_elsewhere(&network, &ends);
    network.stop_all();
    network.verify().expect("the stopped stores agree");
}

/// A bundle that runs on the other shard is a request to a shard; one that travels on from there has a
/// leg for each chain, and where the second refuses, what the first left comes home.
fn check_bundles_elsewhere(network: &Network, ends: &Ends) {
    let gateway = network.nodes[GATEWAY].client();
    let owner = network.address(ends.to);
    let pays = |attached: u128| {
        let call = json!({"send": {"to": owner, "asset": Asset::nsker(9)}});
        let draft = Draft::new().near(owner).attach(Asset::nsker(attached));
        let draft = draft.and_then(|draft| draft.call("bank", &call));
        draft.expect("a bundle")
    };
    let hash = submit(network, &gateway, ends.from, pays(9));
    let told = watched(&gateway, &hash);
    check_watched(&told);
    let last = told.last().expect("a status");
    assert_eq!(last.outcome(), Outcome::Succeeded, "{last:#?}");
    assert_eq!(
        kinds(last),
        [LegKind::Home, LegKind::Request, LegKind::Reply]
    );
    assert_eq!(last.route, [ends.there.to_string()]);
    // Who follows the home alone sees the reply come home, and cannot know what it answers.
    let at_home = network.nodes[ends.at_home].client();
    let seen = until("the reply is home there, too", || {
        let status = wait(at_home.status(&hash, Stage::Returned, Duration::from_secs(5)));
        status
            .ok()
            .filter(|status| status.stage() == Stage::Returned)
    });
    assert_eq!(seen.outcome(), Outcome::Unspecified, "{seen:#?}");
    let rpc = network.nodes[ends.at_home].rpc();
    let waited = run(&["tx", "wait", &hash.to_string(), "--rpc", &rpc, "--json"]);
    let waited = waited.expect_err("it is not known there");
    assert!(waited.contains("OUTCOME_UNKNOWN"), "{waited}");

    let call = json!({"top_up": {"validator": 77, "amount": "1"}});
    let second = Draft::new().call("staking", &call).expect("a call");
    let draft = pays(20).then(second).expect("a route");
    let hash = submit(network, &gateway, ends.from, draft);
    let shown = trace(network, GATEWAY, &hash, &["--wait", "--timeout", "90s"]);
    let shown = shown.expect("a trace");
    assert_eq!(
        (&shown["stage"], &shown["outcome"]),
        (&json!("RETURNED"), &json!("PARTIAL")),
        "{shown}"
    );
    assert_eq!(shown["route"], json!([ends.there, ChainRef::Beacon]));
    let legs = shown["legs"].as_array().expect("legs");
    let of = |name: &str| -> Vec<Value> { legs.iter().map(|leg| leg[name].clone()).collect() };
    assert_eq!(of("kind"), ["HOME", "REQUEST", "REQUEST", "REPLY"]);
    assert_eq!(
        of("outcome"),
        ["SUCCEEDED", "SUCCEEDED", "FAILED", "SUCCEEDED"]
    );
    assert_eq!(of("depth"), [0, 1, 2, 3]);
    let chains = of("chain");
    assert_eq!(chains.first(), chains.last());
    assert_eq!(legs[1]["credited"][0]["amount"], "9");
    assert!(legs[3]["credited"][0]["amount"].is_string(), "{shown}");
}
