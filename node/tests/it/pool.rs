//! A pool as users have it: made, asked and exchanged with by the command line; then a thousand
//! swaps at once with transfers beside them, and what happened replayed from the blocks.

use crate::market::{Market, balances, refusal, units};
use crate::net::{Network, Plan, runtime, until, wait};
use serde_json::{Value, json};
use skerry_execution::modules::DEX;
use skerry_execution::views::PoolRecord;
use skerry_proto::convert;
use skerry_proto::v1::{self, Outcome, Stage};
use skerry_sdk::builder::{Draft, Terms};
use skerry_sdk::client::Client;
use skerry_sdk::exchange::Pool;
use skerry_sdk::keys::AccountKey;
use skerry_types::amount::{Amount, Asset};
use skerry_types::codec;
use skerry_types::ids::{Address, ChainRef, Denom, Digest, Height, TimeMs};
use skerry_types::transaction::Nonce;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

const SENDERS: u8 = 25;
/// Of each sender; every fifth is a transfer, the others make 1,000 swaps together.
const TRANSACTIONS: u64 = 50;
const ONE: Plan = Plan {
    shards: 1,
    validators: 4,
    seats: Some("1,1,1,1"),
    epoch_seconds: 0,
    block_gas: None,
    inbound_gas: None,
};

/// A network and a token on it; account 0 makes both token and pool.
fn market() -> Market {
    let mut network = Network::new("pool", ONE);
    network.start_all();
    network.goes_on(1);
    Market::on(network, 0, 0)
}

fn gold(market: &Market, units: u128) -> Asset {
    Asset {
        denom: market.gold,
        amount: Amount::new(units),
    }
}

/// Everything by the command line, to the base unit.
fn by_hand(market: &mut Market) -> Address {
    let made = market.create_pool();
    let (market, pool) = (&*market, market.pool.clone());
    // The root of 5e12 * 1e9, without the locked 1,000.
    assert_eq!(made["shares"]["amount"], "70710677118");
    let shown = market.query(&format!("pool {pool}")).expect("a pool");
    assert_eq!(shown["reserves"][0], json!(Asset::nsker(5_000_000_000_000)));
    assert_eq!(shown["reserves"][1], json!(gold(market, 1_000_000_000)));
    assert_eq!(shown["shares"], "70710678118");
    assert_eq!(shown["fee_ppm"], 3_000);

    for (exact, gives_gold) in [
        ("--input 10sker", false),
        ("--input 500000:GOLD", true),
        ("--output 1000000:GOLD", false),
        ("--output 3sker", true),
    ] {
        let quote = market.query(&format!("quote --pool {pool} {exact}"));
        let quote = quote.expect("a quote");
        let before = market.purse(market.maker);
        let done = market.send(market.maker, &format!("swap --pool {pool} {exact}"));
        let done = done.expect("the swap succeeds");
        assert_eq!(done["paid"], quote["input"], "{exact}");
        assert_eq!(done["received"], quote["output"], "{exact}");
        assert_eq!(done["quote"], quote, "{exact}");
        let [mut sker, mut gold] = before;
        let [paid, received] = ["paid", "received"].map(|side| units(&done[side]["amount"]));
        if gives_gold {
            (sker, gold) = (sker + received, gold - paid);
        } else {
            (sker, gold) = (sker - paid, gold + received);
        }
        assert_eq!(
            market.purse(market.maker),
            [sker - units(&done["fee"]), gold],
            "{exact}"
        );
    }
    mistakes(market, &pool);
    shares(market, &pool);
    pool.parse().expect("an address")
}

/// What is refused before it is sent costs nothing, what fails in its block the fee.
fn mistakes(market: &Market, pool: &str) {
    let before = market.purse(market.maker);
    let nobody = market.network.address(1);
    for (line, code) in [
        (
            format!("swap --pool {pool} --input 1sker --min-output 300000:GOLD"),
            "SLIPPAGE",
        ),
        (
            format!("swap --pool {pool} --output 300000:GOLD --max-input 1sker"),
            "SLIPPAGE",
        ),
        (format!("swap --pool {pool} --input 1stsker"), "WRONG_DENOM"),
        (
            format!("swap --pool {pool} --input 1sker --min-output 1stsker"),
            "WRONG_DENOM",
        ),
        (
            format!("swap --pool {pool} --output 2000000000:GOLD"),
            "INSUFFICIENT_LIQUIDITY",
        ),
        (format!("swap --pool {pool} --input 1nsker"), "TOO_SMALL"),
        (
            format!("swap --pool {nobody} --input 1sker"),
            "POOL_UNKNOWN",
        ),
        (format!("swap --pool {pool},{pool} --input 1sker"), "USAGE"),
    ] {
        let refused = refusal(market.send(market.maker, &line));
        let error = &refused["errors"][0];
        assert_eq!(error["code"], code, "{line}: {error}");
        assert!(error["hint"].is_string(), "{line}: {error}");
    }
    assert_eq!(market.purse(market.maker), before);

    let call = json!({"swap_exact_in": {"route": [pool], "input": Asset::nsker(1_000_000_000),
        "minimum_output": gold(market, 300_000)}});
    let failed = refusal(market.send(market.maker, &format!("call dex {call} --attach 1sker")));
    assert_eq!(failed["errors"][0]["details"]["failure"], "SLIPPAGE");
    let [sker, gold] = before;
    let fee = units(&failed["data"]["fee"]);
    assert!(fee > 0);
    assert_eq!(market.purse(market.maker), [sker - fee, gold]);
}

/// A deposit and a withdrawal give and take what they say, and no round trip gains.
fn shares(market: &Market, pool: &str) {
    let before = market.purse(market.maker);
    let maximum = "--maximum 100sker --maximum 10000000:GOLD";
    let added = market.send(market.maker, &format!("pool add --pool {pool} {maximum}"));
    let added = added.expect("the deposit succeeds");
    let shares = units(&added["received"][0]["amount"]);
    let moved = |value: &Value| [0, 1].map(|index| units(&value[index]["amount"]));
    let [a, b] = moved(&added["paid"]);
    let [sker, gold] = before;
    let middle = [sker - a - units(&added["fee"]), gold - b];
    assert_eq!(market.purse(market.maker), middle);
    let removed = market.send(
        market.maker,
        &format!("pool remove --pool {pool} --shares {shares}"),
    );
    let removed = removed.expect("the withdrawal succeeds");
    let [c, d] = moved(&removed["received"]);
    assert_eq!(units(&removed["paid"][0]["amount"]), shares);
    let [sker, gold] = middle;
    assert_eq!(
        market.purse(market.maker),
        [sker + c - units(&removed["fee"]), gold + d]
    );
    assert!(
        c <= a && d <= b && a - c <= 100 && b - d <= 1,
        "{a} {b} {c} {d}"
    );
}

// --- a thousand at once ------------------------------------------------------------------------------

/// What is to become of a transaction.
#[derive(Clone, Copy, Debug)]
enum Wish {
    SwapIn,
    SwapOut,
    Transfer { to: usize, units: u128 },
}

struct Sent {
    sender: usize,
    wish: Wish,
}

/// The drafts of one sender, in order.
fn wishes(
    market: &Market,
    pool: &Address,
    keys: &[AccountKey],
    sender: usize,
) -> Vec<(Draft, Wish)> {
    let swap = |name: &str, call: Value, attached: Asset| {
        let draft = Draft::new().attach(attached).expect("room");
        draft.call("dex", &json!({name: call})).expect("a call")
    };
    let exact_in = |input: Asset, least: Asset| {
        let call = json!({"route": [pool], "input": input, "minimum_output": least});
        (swap("swap_exact_in", call, input), Wish::SwapIn)
    };
    let exact_out = |most: Asset, output: Asset| {
        let call = json!({"route": [pool], "maximum_input": most, "output": output});
        (swap("swap_exact_out", call, most), Wish::SwapOut)
    };
    (0..TRANSACTIONS)
        .map(|turn| {
            let size = u128::from(turn) + sender as u128 + 1;
            match turn % 5 {
                0 => exact_in(Asset::nsker(size * 7_000_001), gold(market, 1)),
                1 => exact_in(gold(market, size * 1_301), Asset::nsker(1)),
                2 => exact_out(Asset::nsker(5_000_000_000), gold(market, size * 1_009)),
                3 => exact_out(gold(market, 2_000_000), Asset::nsker(size * 5_000_011)),
                _ => {
                    let to = (sender + 1) % keys.len();
                    let draft = Draft::new().transfer(&keys[to].address(), Asset::nsker(size));
                    (
                        draft.expect("a transfer"),
                        Wish::Transfer { to, units: size },
                    )
                }
            }
        })
        .collect()
}

fn terms(market: &Market, sender: Address, sequence: u64, beacon: u64) -> Terms {
    Terms {
        chain_id: market.network.genesis.chain_id(),
        sender,
        nonce: Nonce {
            stream: 0,
            sequence,
        },
        valid_until: Height::new(beacon + 10_000),
        gas_price: market.network.genesis.parameters.base_fee,
    }
}

fn position(client: &Client, address: &Address) -> (u64, u64) {
    let reply = wait(client.account(address, 0)).expect("an account");
    let beacon = reply.anchor.and_then(|anchor| anchor.beacon);
    let next = reply.account.map_or(0, |account| account.next_nonce);
    (next, beacon.map_or(0, |block| block.height))
}

fn all_accepted(results: &[v1::SubmitResult]) {
    for result in results {
        assert!(result.accepted, "{:?}: {}", result.reason(), result.message);
    }
}

/// Waits until a transaction has returned, and it must have succeeded.
fn succeeded(client: &Client, hash: &Digest) {
    let status = until(&format!("{hash} returns"), || {
        let status = wait(client.status(hash, Stage::Returned, Duration::from_secs(10))).ok()?;
        (status.stage() == Stage::Returned || status.outcome().is_decided()).then_some(status)
    });
    assert_eq!(status.outcome(), Outcome::Succeeded, "{status:?}");
}

/// Gives each sender `sker` and the token.
fn fund(market: &Market, keys: &[AccountKey]) {
    let (client, rich) = (
        market.network.nodes[0].client(),
        &market.network.accounts[0].0,
    );
    let (next, beacon) = position(&client, &rich.address());
    let (wires, hashes): (Vec<_>, Vec<_>) = keys
        .iter()
        .zip(next..)
        .map(|(key, sequence)| {
            let draft = Draft::new().transfer(&key.address(), Asset::nsker(200_000_000_000));
            let draft =
                draft.and_then(|draft| draft.transfer(&key.address(), gold(market, 20_000_000)));
            let terms = terms(market, rich.address(), sequence, beacon);
            let signed = draft.expect("two transfers").sign(&terms, rich.secret());
            let signed = signed.expect("a transaction");
            (codec::encode(&signed), signed.body.id())
        })
        .unzip();
    all_accepted(&wait(client.submit_many(wires)).expect("they are taken"));
    hashes.iter().for_each(|hash| succeeded(&client, hash));
}

/// All at once: each sender's batch by a task of its own, through all nodes.
fn send_all(market: &Market, pool: &Address, keys: &[AccountKey]) -> BTreeMap<String, Sent> {
    let (_, beacon) = position(&market.network.nodes[0].client(), &keys[0].address());
    let mut sent = BTreeMap::new();
    let mut tasks = JoinSet::new();
    for (sender, key) in keys.iter().enumerate() {
        let mut batch = Vec::new();
        for ((draft, wish), sequence) in wishes(market, pool, keys, sender).into_iter().zip(0..) {
            let terms = terms(market, key.address(), sequence, beacon);
            let signed = draft.sign(&terms, key.secret()).expect("a transaction");
            sent.insert(signed.body.id().to_string(), Sent { sender, wish });
            batch.push(codec::encode(&signed));
        }
        let client = market.network.nodes[sender % market.network.nodes.len()].client();
        tasks.spawn_on(
            async move { client.submit_many(batch).await },
            runtime().handle(),
        );
    }
    wait(async {
        while let Some(results) = tasks.join_next().await {
            all_accepted(&results.expect("no panic").expect("the batch is taken"));
        }
    });
    sent
}

/// What blocks make of pool and purses, by the module's record and the receipts.
struct Replay {
    record: PoolRecord,
    /// `sker` and token, by sender.
    purses: Vec<[u128; 2]>,
    /// Next nonce, by sender.
    nonces: Vec<u64>,
    gold: Denom,
}

impl Replay {
    fn apply(&mut self, sent: &Sent, found: &v1::Transaction, time: TimeMs) {
        let Sent { sender, wish } = *sent;
        assert_eq!(found.nonce_sequence, self.nonces[sender], "{}", found.hash);
        self.nonces[sender] += 1;
        let receipt = found.receipt.as_ref().expect("the receipt is final");
        assert_eq!(receipt.status, "SUCCEEDED", "{receipt:?}");
        self.purses[sender][0] -= receipt.fee.parse::<u128>().expect("a fee");
        if let Wish::Transfer { to, units } = wish {
            self.purses[sender][0] -= units;
            self.purses[to][0] += units;
            return;
        }
        let swap = receipt.events.iter().find(|event| event.name == "swap");
        let swap = swap.expect("a swap tells of itself");
        assert_eq!(swap.module, u32::from(DEX.get()));
        let [input, output] = ["in", "out"].map(|side| told(swap, side));
        self.record.touch(time);
        if matches!(wish, Wish::SwapIn) {
            assert_eq!(
                self.record.quote_output(input),
                Ok(output),
                "{}",
                found.hash
            );
        } else {
            assert_eq!(self.record.quote_input(output), Ok(input), "{}", found.hash);
        }
        let exchanged = self.record.exchange(input, output);
        exchanged.expect("the product does not fall");
        let slot = |denom: Denom| usize::from(denom == self.gold);
        let (from, to) = (slot(input.denom), slot(output.denom));
        self.purses[sender][from] -= input.amount.get();
        self.purses[sender][to] += output.amount.get();
    }
}

/// What a `swap` event says of one side.
fn told(event: &v1::Event, side: &str) -> Asset {
    let value = |name: &str| {
        let name = format!("{name}_{side}");
        let found = event.attributes.iter().find(|it| it.key == name);
        found.map(|it| it.value.clone()).unwrap_or_default()
    };
    let asset = v1::Asset {
        denom: value("denom"),
        amount: value("amount"),
    };
    convert::asset(&asset).expect("an asset")
}

fn read_pool(client: &Client, pool: &Address) -> (Pool, u64) {
    let reply = wait(client.pool(pool)).expect("a pool");
    let block = reply
        .anchor
        .as_ref()
        .and_then(|anchor| anchor.block.as_ref());
    let height = block.expect("the block it was read from").height;
    (Pool::try_from(&reply).expect("a readable pool"), height)
}

#[test]
fn a_thousand_swaps_beside_transfers_happen_as_quoted_and_in_the_order_of_the_blocks() {
    let start = Instant::now();
    let lap = |what: &str| println!("{what}: {:.1} s", start.elapsed().as_secs_f32());
    let mut market = market();
    lap("network and token");
    let pool = by_hand(&mut market);
    lap("by hand");

    let keys: Vec<AccountKey> = (0..SENDERS)
        .map(|index| AccountKey::from_seed([100 + index; 32]))
        .collect();
    fund(&market, &keys);
    let client = market.network.nodes[0].client();
    let (before, height) = read_pool(&client, &pool);
    let denoms = [Denom::SKER, market.gold];
    let mut replay = Replay {
        record: before.record,
        purses: keys
            .iter()
            .map(|key| wait(balances(&client, &key.address(), denoms)).expect("an account"))
            .collect(),
        nonces: vec![0; keys.len()],
        gold: market.gold,
    };
    lap("funded");
    let mut sent = send_all(&market, &pool, &keys);
    let swaps = sent
        .values()
        .filter(|it| !matches!(it.wish, Wish::Transfer { .. }));
    assert_eq!(swaps.count(), 1_000);
    for hash in sent.keys() {
        succeeded(&client, &hash.parse().expect("a hash"));
    }
    lap("all final");

    let chain: ChainRef = "shard-0/0".parse().expect("the only shard");
    let mut height = Height::new(height);
    let mut blocks = 0;
    while !sent.is_empty() {
        height = height.saturating_add(1);
        let block = until(&format!("block {height}"), || {
            wait(client.block(chain, Some(height))).ok()
        });
        blocks += usize::from(!block.transactions.is_empty());
        for (index, hash) in (0..).zip(&block.transactions) {
            let id = hash.parse().expect("a hash");
            let reply = wait(client.transaction(&id)).expect("a final transaction");
            let found = reply.transaction.expect("a transaction");
            assert_eq!(found.index, index, "{hash}");
            let wished = sent.remove(hash).expect("sent once, included once");
            replay.apply(&wished, &found, TimeMs::new(block.time_ms));
        }
    }
    println!("1,250 transactions in {blocks} blocks");
    lap("replayed");

    for node in &market.network.nodes {
        let client = node.client();
        for (key, purse) in keys.iter().zip(&replay.purses) {
            let address = key.address();
            until(
                &format!("{} has {purse:?} for {address}", node.name),
                || wait(balances(&client, &address, denoms)).filter(|found| found == purse),
            );
        }
        let (after, _) = read_pool(&client, &pool);
        assert_eq!(after.record, replay.record, "{}", node.name);
        assert_eq!(after.shares, before.shares, "{}", node.name);
    }
    market.network.stop_all();
    market.network.verify().expect("the stopped stores agree");
    lap("verified");
}
