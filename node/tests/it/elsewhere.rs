//! Bundles on other shards as users have them: a pool that lives elsewhere is asked, exchanged with, added
//! to and taken from like one at home, and what does not happen there comes back.

use crate::net::{Network, PATIENCE, SMALL, run, wait};
use serde_json::{Value, json};
use skerry_types::amount::{Amount, Asset};
use skerry_types::ids::{Address, ChainRef, Denom};

/// A pool of gold and `sker` on the shard of account `maker`; `taker` lives on the other one.
struct Market {
    network: Network,
    maker: usize,
    taker: usize,
    gold: Denom,
    pool: String,
}

impl Market {
    fn new() -> Self {
        let mut network = Network::new("elsewhere", SMALL);
        network.start_all();
        network.goes_on(1);
        let home = |index: usize| network.genesis.home(&network.address(index));
        let taker = (1..network.accounts.len()).find(|index| home(*index) != home(0));
        let gold = Denom::created(&network.address(0), "gold");
        let mut market = Self {
            taker: taker.expect("an account on each shard"),
            maker: 0,
            network,
            gold,
            pool: String::new(),
        };
        let create = "token create --name gold --symbol GOLD --supply 10000000000";
        market
            .send(market.maker, create)
            .expect("the token is made");
        let create = "pool create --asset 5000sker --asset 1000000000:GOLD --fee-ppm 3000";
        let made = market.send(market.maker, create).expect("the pool is made");
        market.pool = made["pool"].as_str().expect("its address").to_owned();
        market
    }

    fn home(&self, account: usize) -> ChainRef {
        self.network.genesis.home(&self.network.address(account))
    }

    /// `skerry tx …` of an account; `:GOLD` stands for the token, `POOL` for the pool.
    fn send(&self, account: usize, line: &str) -> Result<Value, String> {
        let key = self.network.accounts[account].1.display().to_string();
        let timeout = format!("{}s", PATIENCE.as_secs());
        self.run("tx", line, &["--key-file", &key, "--timeout", &timeout])
    }

    fn run(&self, command: &str, line: &str, options: &[&str]) -> Result<Value, String> {
        let rpc = self.network.nodes[0].rpc();
        let line = line.replace(":GOLD", &format!(":{}", self.gold));
        let line = line.replace("POOL", &self.pool);
        let words = line.split(' ').map(str::to_owned);
        let mut args: Vec<String> = std::iter::once(command.to_owned()).chain(words).collect();
        args.extend(options.iter().map(|option| (*option).to_owned()));
        args.extend(["--rpc".to_owned(), rpc, "--json".to_owned()]);
        run(&args)
    }

    /// What an account holds of `sker` and of gold.
    fn purse(&self, account: usize) -> [u128; 2] {
        let client = self.network.nodes[0].client();
        let reply = wait(client.account(&self.network.address(account), 0)).expect("an account");
        let held = reply.account.expect("an account").balances;
        [Denom::SKER, self.gold].map(|denom| {
            let name = denom.to_string();
            let found = held.iter().find(|asset| asset.denom == name);
            found.map_or(0, |asset| asset.amount.parse().expect("base units"))
        })
    }

    fn quote(&self, line: &str) -> Value {
        let quote = self.run("query", &format!("quote --pool POOL {line}"), &[]);
        quote.expect("a quote")
    }
}

fn units(value: &Value) -> u128 {
    let text = value.as_str().unwrap_or_else(|| panic!("no text: {value}"));
    text.parse().expect("base units")
}

/// The envelope of a command that failed.
fn refusal(result: Result<Value, String>) -> Value {
    let said = result.expect_err("it is refused");
    let line = said.lines().nth(1).unwrap_or_default();
    serde_json::from_str(line).unwrap_or_else(|_| panic!("no envelope: {said}"))
}

#[test]
fn a_pool_elsewhere_is_used_like_one_at_home() {
    let market = Market::new();
    let taker = market.taker;
    assert_ne!(market.home(taker), market.home(market.maker));
    for (exact, gives_gold) in [
        ("--input 10sker", false),
        ("--output 1000000:GOLD", false),
        ("--input 500000:GOLD", true),
    ] {
        let (quote, before) = (market.quote(exact), market.purse(taker));
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
    shares(&market);
    refused(&market);
    onward(&market);
    let mut market = market;
    market.network.stop_all();
    let verdict = market.network.verify().expect("the folders agree");
    assert_eq!(verdict["violations"], json!([]));
}

/// Deposit and withdrawal.
fn shares(market: &Market) {
    let taker = market.taker;
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
fn refused(market: &Market) {
    let taker = market.taker;
    let [sker, gold] = market.purse(taker);
    let call = json!({"swap_exact_in": {"route": [market.pool], "input": Asset::nsker(1_000_000_000),
        "minimum_output": Asset { denom: market.gold, amount: Amount::new(300_000_000) }}});
    let bundle = json!({"attach": ["1sker"],
        "hops": [{"near": market.pool, "calls": [{"module": "dex", "call": call}]}]});
    let failed = refusal(send_file(market, &bundle));
    assert_eq!(failed["errors"][0]["code"], "REFUNDED");
    assert_eq!(failed["errors"][0]["details"]["failure"], "SLIPPAGE");
    let fee = units(&failed["data"]["fee"]);
    assert!(fee > 0);
    assert_eq!(market.purse(taker), [sker - fee, gold]);
}

/// Runs a bundle of the taker that a file describes.
fn send_file(market: &Market, bundle: &Value) -> Result<Value, String> {
    let file = market.network.place.dir.join("bundle.json");
    std::fs::write(&file, bundle.to_string()).expect("the folder is there");
    market.send(market.taker, &format!("bundle {}", file.display()))
}

/// Over the shard of the pool and then the beacon, where nothing is called: what is left comes home from
/// there, and so does the gas that was bought for more than travelled.
fn onward(market: &Market) {
    let taker = market.taker;
    let [sker, gold] = market.purse(taker);
    let input = Asset::nsker(1_000_000_000);
    let call = json!({"swap_exact_in": {"route": [market.pool], "input": input,
        "minimum_output": Asset { denom: market.gold, amount: Amount::new(1) }}});
    let quote = market.quote("--input 1sker");
    let exit = json!({"exit": {"validator": 0}});
    // The second leg acts for a sender, which it has not: the first one stands, and its output comes home.
    let bundle = json!({"attach": ["1sker"], "hops": [
        {"near": market.pool, "calls": [{"module": "dex", "call": call}]},
        {"calls": [{"module": "staking", "call": exit}]},
    ]});
    let ended = refusal(send_file(market, &bundle));
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
