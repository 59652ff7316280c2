//! Bundles on other shards as users have them: a pool that lives elsewhere is asked, exchanged with, added
//! to and taken from like one at home, and what does not happen there comes back.

use crate::market::{Market, refusal, units};
use crate::net::{Network, SMALL};
use serde_json::{Value, json};
use skerry_types::amount::{Amount, Asset};
use skerry_types::ids::Address;

/// A pool of gold and `sker` on the shard of one account, and an account of the other shard.
fn market() -> (Market, usize) {
    let mut network = Network::new("elsewhere", SMALL);
    network.start_all();
    network.goes_on(1);
    let mut market = Market::on(network, 0, 0);
    let mut others = 1..market.network.accounts.len();
    let taker = others.find(|index| market.home(*index) != market.home(market.maker));
    market.create_pool();
    (market, taker.expect("an account on each shard"))
}

fn quote(market: &Market, line: &str) -> Value {
    let quote = market.query(&format!("quote --pool POOL {line}"));
    quote.expect("a quote")
}

#[test]
fn a_pool_elsewhere_is_used_like_one_at_home() {
    let (mut market, taker) = market();
    assert_ne!(market.home(taker), market.home(market.maker));
    for (exact, gives_gold) in [
        ("--input 10sker", false),
        ("--output 1000000:GOLD", false),
        ("--input 500000:GOLD", true),
    ] {
        let (quote, before) = (quote(&market, exact), market.purse(taker));
        let done = market.send(taker, &format!("swap --pool POOL {exact}"));
        let done = done.expect("the swap succeeds");
        assert_eq!(done["paid"], quote["input"], "{exact}");
        assert_eq!(done["received"], quote["output"], "{exact}");
        let legs = done["legs"].as_array().expect("legs");
        let kinds: Vec<&str> = legs.iter().filter_map(|leg| leg["kind"].as_str()).collect();
        assert_eq!(kinds, ["HOME", "REQUEST", "REPLY"], "{exact}");
        assert_eq!(legs[1]["chain"], market.home(market.maker).to_string());
        let [mut sker, mut gold] = before;
        let [paid, received] = ["paid", "received"].map(|side| units(&done[side]["amount"]));
        if gives_gold {
            (sker, gold) = (sker + received, gold - paid);
        } else {
            (sker, gold) = (sker - paid, gold + received);
        }
        let fee = units(&done["fee"]);
        assert_eq!(market.purse(taker), [sker - fee, gold], "{exact}");
    }
    shares(&market, taker);
    refused(&market, taker);
    onward(&market, taker);
    market.network.stop_all();
    let verdict = market.network.verify().expect("the folders agree");
    assert_eq!(verdict["violations"], json!([]));
}

/// Deposit and withdrawal.
fn shares(market: &Market, taker: usize) {
    let before = market.purse(taker);
    let maximum = "--maximum 1sker --maximum 1000000:GOLD";
    let added = market.send(taker, &format!("pool add --pool POOL {maximum}"));
    let added = added.expect("the deposit succeeds");
    let shares = units(&added["received"][0]["amount"]);
    let moved = |value: &Value| [0, 1].map(|index| units(&value[index]["amount"]));
    let [a, b] = moved(&added["paid"]);
    let middle = [before[0] - a - units(&added["fee"]), before[1] - b];
    assert_eq!(market.purse(taker), middle);
    let removed = market.send(taker, &format!("pool remove --pool POOL --shares {shares}"));
    let removed = removed.expect("the withdrawal succeeds");
    let [c, d] = moved(&removed["received"]);
    let after = [middle[0] + c - units(&removed["fee"]), middle[1] + d];
    assert_eq!(market.purse(taker), after);
    assert!(c <= a && d <= b);
}

/// What fails there comes back, for the fee.
fn refused(market: &Market, taker: usize) {
    let [sker, gold] = market.purse(taker);
    let call = json!({"swap_exact_in": {"route": [market.pool], "input": Asset::nsker(1_000_000_000),
        "minimum_output": Asset { denom: market.gold, amount: Amount::new(300_000_000) }}});
    let bundle = json!({"attach": ["1sker"],
        "hops": [{"near": market.pool, "calls": [{"module": "dex", "call": call}]}]});
    let failed = refusal(market.send_file(taker, &bundle));
    assert_eq!(failed["errors"][0]["code"], "REFUNDED");
    assert_eq!(failed["errors"][0]["details"]["failure"], "SLIPPAGE");
    let fee = units(&failed["data"]["fee"]);
    assert!(fee > 0);
    assert_eq!(market.purse(taker), [sker - fee, gold]);
}

/// Over the shard of the pool and then the beacon, where nothing is called: what is left comes home from
/// there, and so does the gas that was bought for more than travelled.
fn onward(market: &Market, taker: usize) {
    let [sker, gold] = market.purse(taker);
    let input = Asset::nsker(1_000_000_000);
    let call = json!({"swap_exact_in": {"route": [market.pool], "input": input,
        "minimum_output": Asset { denom: market.gold, amount: Amount::new(1) }}});
    let quote = quote(market, "--input 1sker");
    let exit = json!({"exit": {"validator": 0}});
    // The second leg acts for a sender, which it has not: the first one stands, and its output comes home.
    let bundle = json!({"attach": ["1sker"], "hops": [
        {"near": market.pool, "calls": [{"module": "dex", "call": call}]},
        {"calls": [{"module": "staking", "call": exit}]},
    ]});
    let ended = refusal(market.send_file(taker, &bundle));
    assert_eq!(ended["errors"][0]["code"], "PARTIAL");
    assert_eq!(ended["errors"][0]["details"]["failure"], "NEEDS_SENDER");
    let received = units(&quote["output"]["amount"]);
    let [after, gold_after] = market.purse(taker);
    assert_eq!(gold_after, gold + received);
    let fee = units(&ended["data"]["fee"]);
    let most = sker - input.amount.get();
    assert!(
        after > most - fee && after < most,
        "some of the fee came home"
    );
    let pool: Address = market.pool.parse().expect("an address");
    assert_eq!(
        market.network.genesis.home(&pool),
        market.home(market.maker)
    );
}
