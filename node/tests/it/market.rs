//! A token and a pool on a network of processes, and the commands of accounts about them.

use crate::net::{Network, PATIENCE, run, wait};
use serde_json::Value;
use skerry_sdk::client::Client;
use skerry_types::ids::{Address, ChainRef, Denom};

/// A network and a token on it, and once it is made a pool of the token and `sker`. Both live on the shard
/// of the account that made them.
pub(crate) struct Market {
    pub(crate) network: Network,
    /// The account.
    pub(crate) maker: usize,
    pub(crate) gold: Denom,
    /// Its address; empty until it is made.
    pub(crate) pool: String,
    /// The node that is asked, which follows all chains.
    asked: usize,
}

impl Market {
    /// On a network that runs.
    pub(crate) fn on(network: Network, maker: usize, asked: usize) -> Self {
        let gold = Denom::created(&network.address(maker), "gold");
        let market = Self {
            network,
            maker,
            gold,
            pool: String::new(),
            asked,
        };
        let create = "token create --name gold --symbol GOLD --supply 10000000000";
        market.send(maker, create).expect("the token is made");
        market
    }

    /// Makes the pool; gives what the command tells.
    pub(crate) fn create_pool(&mut self) -> Value {
        let create = "pool create --asset 5000sker --asset 1000000000:GOLD --fee-ppm 3000";
        let made = self.send(self.maker, create).expect("the pool is made");
        self.pool = made["pool"].as_str().expect("its address").to_owned();
        made
    }

    pub(crate) fn home(&self, account: usize) -> ChainRef {
        self.network.genesis.home(&self.network.address(account))
    }

    pub(crate) fn client(&self) -> Client {
        self.network.nodes[self.asked].client()
    }

    /// `skerry tx …` of an account; `:GOLD` stands for the token, `POOL` for the pool.
    pub(crate) fn send(&self, account: usize, line: &str) -> Result<Value, String> {
        let key = self.network.accounts[account].1.display().to_string();
        let timeout = format!("{}s", PATIENCE.as_secs());
        self.run("tx", line, &["--key-file", &key, "--timeout", &timeout])
    }

    /// Runs a bundle of an account that a file describes.
    pub(crate) fn send_file(&self, account: usize, bundle: &Value) -> Result<Value, String> {
        let file = self.network.place.dir.join("bundle.json");
        std::fs::write(&file, bundle.to_string()).expect("the folder is there");
        self.send(account, &format!("bundle {}", file.display()))
    }

    /// `skerry query …`
    pub(crate) fn query(&self, line: &str) -> Result<Value, String> {
        self.run("query", line, &[])
    }

    fn run(&self, command: &str, line: &str, options: &[&str]) -> Result<Value, String> {
        let rpc = self.network.nodes[self.asked].rpc();
        let line = line.replace(":GOLD", &format!(":{}", self.gold));
        let line = line.replace("POOL", &self.pool);
        let words = line.split(' ').map(str::to_owned);
        let mut args: Vec<String> = std::iter::once(command.to_owned()).chain(words).collect();
        args.extend(options.iter().map(|option| (*option).to_owned()));
        args.extend(["--rpc".to_owned(), rpc, "--json".to_owned()]);
        run(&args)
    }

    /// What an account holds of `sker` and of the token.
    pub(crate) fn purse(&self, account: usize) -> [u128; 2] {
        let address = self.network.address(account);
        let found = wait(balances(&self.client(), &address, [Denom::SKER, self.gold]));
        found.expect("an account")
    }
}

/// What an address holds of two denoms; nothing where the node does not answer.
pub(crate) async fn balances(
    client: &Client,
    address: &Address,
    denoms: [Denom; 2],
) -> Option<[u128; 2]> {
    let account = client.account(address, 0).await.ok()?.account?;
    let of = |denom: Denom| {
        let name = denom.to_string();
        let held = account.balances.iter().find(|asset| asset.denom == name);
        held.map_or(Some(0), |asset| asset.amount.parse().ok())
    };
    let [first, second] = denoms;
    Some([of(first)?, of(second)?])
}

/// The envelope of a command that failed.
pub(crate) fn refusal(result: Result<Value, String>) -> Value {
    let said = result.expect_err("it is refused");
    let line = said.lines().nth(1).unwrap_or_default();
    serde_json::from_str(line).unwrap_or_else(|_| panic!("no envelope: {said}"))
}

/// Base units, as JSON has them.
pub(crate) fn units(value: &Value) -> u128 {
    let text = value.as_str().unwrap_or_else(|| panic!("no text: {value}"));
    text.parse().expect("base units")
}
