//! A network of processes: its folder, its ports, its nodes, and questions to them.
//!
//! Every process dies with the test: [`Node`] kills it when dropped, and the kernel does when the
//! test itself is killed (`setpriv --pdeathsig`).

use serde_json::Value;
use skerry::home::{self, Ports};
use skerry_proto::v1;
use skerry_sdk::client::Client;
use skerry_sdk::keys::{AccountKey, KeyFile};
use skerry_types::genesis::Genesis;
use skerry_types::ids::Address;
use std::collections::BTreeMap;
use std::fs::File;
use std::future::Future;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::runtime::Runtime;

/// The binary under test.
pub(crate) const SKERRY: &str = env!("CARGO_BIN_EXE_skerry");
/// Generous: the machine may be small and busy. What is measured is measured elsewhere.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);
/// Nodes of a network whose ports are looked at before it is laid out.
const NODES_MAX: u16 = 10;

pub(crate) fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime starts")
    })
}

pub(crate) fn wait<F: Future>(future: F) -> F::Output {
    runtime().block_on(future)
}

/// Small generator of random choices, so that a run can be repeated as far as its timing allows.
pub(crate) struct Dice(u64);

impl Dice {
    /// From `SKERRY_SEED`, or the clock; prints the seed.
    pub(crate) fn new() -> Self {
        let clock = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let seed = number("SKERRY_SEED", u64::from(clock.subsec_nanos()));
        println!("SKERRY_SEED={seed}");
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap_or(0) % bound.max(1)
    }

    /// Sleeps between `from` and `to` milliseconds.
    pub(crate) fn sleep(&mut self, from: usize, to: usize) {
        let millis = from + self.below(to.saturating_sub(from) + 1);
        std::thread::sleep(Duration::from_millis(u64::try_from(millis).unwrap_or(0)));
    }
}

/// A number from the environment.
pub(crate) fn number(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("{name}={text} is no number")),
        Err(_) => default,
    }
}

/// Tries ten times a second until `done` gives something; panics with `what` after [`PATIENCE`].
pub(crate) fn until<T>(what: &str, mut done: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = done() {
            return value;
        }
        assert!(
            start.elapsed() < PATIENCE,
            "{what}: not within {PATIENCE:?}"
        );
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// A folder of the test's own, and its turn. The folder goes when the test succeeds.
pub(crate) struct Place {
    pub(crate) dir: PathBuf,
    _turn: File,
}

impl Place {
    pub(crate) fn new(name: &str) -> Self {
        let tests = Path::new(env!("CARGO_TARGET_TMPDIR"));
        std::fs::create_dir_all(tests).expect("the folder for tests is made");
        let turn = File::create(tests.join("turn.lock")).expect("the turn's file opens");
        turn.lock().expect("the turn comes");
        let dir = tests.join(format!("{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir(&dir).expect("the test's folder is made");
        let dir = dir
            .canonicalize()
            .expect("the test's folder has a full name");
        Self { dir, _turn: turn }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("what the test left is in {}", self.dir.display());
        } else {
            let _ = std::fs::remove_dir_all(&self.dir);
        }
    }
}

fn is_free(port: u16) -> bool {
    TcpListener::bind(("127.0.0.1", port)).is_ok() && UdpSocket::bind(("127.0.0.1", port)).is_ok()
}

/// A base from which all ports of a network are free; below those that the kernel gives out.
fn free_base() -> u16 {
    let first = 12_000 + u16::try_from(std::process::id() % 40).unwrap_or(0) * 400;
    let mut bases = (0..45_u16).map(|step| 12_000 + (first - 12_000 + step * 400) % 19_000);
    let found = bases.find(|base| {
        let gateway = Ports::gateway(*base);
        let nodes = (0..NODES_MAX).map(|index| Ports::validator(*base, index));
        nodes.chain([gateway]).all(|ports| {
            [ports.grpc, ports.http, ports.peers]
                .into_iter()
                .all(is_free)
        })
    });
    found.expect("some ports are free")
}

/// What a network is to be.
#[derive(Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) shards: u16,
    pub(crate) validators: u16,
    /// As `--seats` takes them.
    pub(crate) seats: Option<&'static str>,
    /// Length of an epoch; 0: the first one never ends.
    pub(crate) epoch_seconds: u64,
    /// Gas of a block, where it is not the usual.
    pub(crate) block_gas: Option<u64>,
    /// Gas of a block for messages of other chains, where it is not the usual.
    pub(crate) inbound_gas: Option<u64>,
}

/// Two shards, four validators, each with a seat in every committee: the smallest network that has
/// everything, and every node can answer for every chain.
pub(crate) const SMALL: Plan = Plan {
    shards: 2,
    validators: 4,
    seats: Some("1,1,1,1"),
    epoch_seconds: 0,
    block_gas: None,
    inbound_gas: None,
};

/// One node and, while it runs, its process.
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) home: PathBuf,
    pub(crate) ports: Ports,
    pub(crate) log: PathBuf,
    /// Words before the command, such as a tracer or `env NAME=VALUE`.
    pub(crate) prefix: Vec<String>,
    /// Options of `skerry node start` beside the home.
    pub(crate) options: Vec<String>,
    process: Option<Child>,
}

impl Node {
    fn new(dir: &Path, name: String, ports: Ports) -> Self {
        let (home, log) = (dir.join("net").join(&name), dir.join(format!("{name}.log")));
        Self {
            name,
            home,
            ports,
            log,
            prefix: Vec::new(),
            options: Vec::new(),
            process: None,
        }
    }

    /// A node whose home lies elsewhere, of which only process and log are looked at.
    pub(crate) fn at(dir: &Path, name: &str, home: PathBuf) -> Self {
        let mut node = Self::new(dir, name.to_owned(), Ports::gateway(0));
        node.home = home;
        node
    }

    pub(crate) fn start(&mut self) {
        assert!(self.process.is_none(), "{} runs already", self.name);
        let log = File::options().create(true).append(true).open(&self.log);
        let log = log.expect("the node's log opens");
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .args(&self.prefix)
            .args([SKERRY, "node", "start", "--home"])
            .arg(&self.home)
            .args(&self.options)
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        self.process = Some(child.expect("the node starts"));
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.process
            .as_mut()
            .is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// kill −9, and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.process.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Asks it to end; it must, by itself and well.
    pub(crate) fn stop(&mut self) {
        let Some(mut child) = self.process.take() else {
            return;
        };
        let sent = Command::new("kill")
            .arg("-TERM")
            .arg(child.id().to_string())
            .status();
        assert!(
            sent.is_ok_and(|status| status.success()),
            "{} had ended already",
            self.name
        );
        let start = Instant::now();
        loop {
            if let Some(status) = child.try_wait().expect("the node is ours") {
                assert!(status.success(), "{} ended with {status}", self.name);
                return;
            }
            if start.elapsed() > PATIENCE {
                let _ = child.kill();
                let _ = child.wait();
                panic!("{} did not end within {PATIENCE:?}", self.name);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    pub(crate) fn rpc(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.grpc)
    }

    pub(crate) fn client(&self) -> Client {
        let _inside = runtime().enter();
        Client::new(&self.rpc()).expect("a URL")
    }

    pub(crate) fn status(&self) -> Option<v1::GetNodeStatusResponse> {
        let client = self.client();
        wait(async { tokio::time::timeout(Duration::from_secs(5), client.node_status()).await })
            .ok()?
            .ok()
    }

    /// Status and body of a page.
    pub(crate) fn page(&self, path: &str) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.ports.http)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).ok()?;
        let mut reply = String::new();
        stream.read_to_string(&mut reply).ok()?;
        let (head, body) = reply.split_once("\r\n\r\n")?;
        Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
    }

    /// Final heights by chain.
    pub(crate) fn heights(&self) -> Option<BTreeMap<String, u64>> {
        let chains = self.status()?.chains.into_iter();
        Some(
            chains
                .map(|it| (it.chain, it.finalized.map_or(0, |block| block.height)))
                .collect(),
        )
    }

    pub(crate) fn log_text(&self) -> String {
        let bytes = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let text = self.log_text();
            let lines: Vec<&str> = text.lines().collect();
            let last = lines
                .get(lines.len().saturating_sub(12)..)
                .unwrap_or_default();
            eprintln!("== {} ==\n{}", self.name, last.join("\n"));
        }
    }
}

/// A network of processes.
pub(crate) struct Network {
    // Before the place, so that processes end before their folder goes.
    pub(crate) nodes: Vec<Node>,
    pub(crate) base: u16,
    pub(crate) genesis: Genesis,
    pub(crate) genesis_file: PathBuf,
    pub(crate) accounts: Vec<(AccountKey, PathBuf)>,
    pub(crate) place: Place,
}

impl Network {
    /// Lays a network out; nothing runs yet.
    pub(crate) fn new(name: &str, plan: Plan) -> Self {
        let place = Place::new(name);
        let (base, dir) = (free_base(), place.dir.join("net"));
        let mut args = vec!["genesis".to_owned(), "new".to_owned(), "--json".to_owned()];
        let mut option = |name: &str, value: String| args.extend([name.to_owned(), value]);
        option("--shards", plan.shards.to_string());
        option("--validators", plan.validators.to_string());
        option("--port-base", base.to_string());
        option("--out", dir.display().to_string());
        option("--epoch-seconds", plan.epoch_seconds.to_string());
        if let Some(seats) = plan.seats {
            option("--seats", seats.to_owned());
        }
        if let Some(gas) = plan.block_gas {
            option("--block-gas", gas.to_string());
        }
        if let Some(gas) = plan.inbound_gas {
            option("--inbound-gas", gas.to_string());
        }
        run(&args).expect("the network is laid out");
        let genesis_file = dir.join("genesis.json");
        let genesis = home::read_genesis(&genesis_file).expect("the genesis reads back");
        let funded = home::funded_accounts(&dir, &genesis).expect("the accounts read back");
        let accounts = funded.into_iter().map(|account| {
            let file = KeyFile::read(&account.key_file).expect("a key file reads back");
            let key = file.open(|| panic!("development keys ask nothing"));
            (key.expect("a development key opens"), account.key_file)
        });
        let accounts = accounts.collect();
        let nodes = (0..plan.validators)
            .map(|index| {
                Node::new(
                    &place.dir,
                    format!("v{index}"),
                    Ports::validator(base, index),
                )
            })
            .collect();
        Self {
            nodes,
            base,
            genesis,
            genesis_file,
            accounts,
            place,
        }
    }

    /// Makes a node that the genesis does not know, with a validator's key; gives its home and the
    /// key's file. It does not run yet.
    pub(crate) fn add_node(&mut self, index: u16) -> (PathBuf, PathBuf) {
        let (name, ports) = (format!("v{index}"), Ports::validator(self.base, index));
        let node = Node::new(&self.place.dir, name.clone(), ports);
        let home = node.home.clone();
        let like = self.place.dir.join("net/rpc/config.toml");
        let peers = format!("/ip4/127.0.0.1/tcp/{}", ports.peers);
        let local = |port: u16| format!("127.0.0.1:{port}");
        let made = run(&[
            "node",
            "init",
            "--home",
            &home.display().to_string(),
            "--like",
            &like.display().to_string(),
            "--name",
            &name,
            "--validator",
            "--listen",
            &peers,
            "--grpc-listen",
            &local(ports.grpc),
            "--http-listen",
            &local(ports.http),
            "--json",
        ]);
        let made = made.expect("the node's folder is made");
        let key = made["validator_key_file"].as_str().expect("a key file");
        let key = PathBuf::from(key);
        self.nodes.push(node);
        (home, key)
    }

    /// Adds the gateway, which follows all chains and votes on none. It does not run yet.
    pub(crate) fn add_gateway(&mut self) {
        let ports = Ports::gateway(self.base);
        self.nodes
            .push(Node::new(&self.place.dir, "rpc".to_owned(), ports));
    }

    pub(crate) fn start_all(&mut self) {
        for node in &mut self.nodes {
            if node.process.is_none() {
                node.start();
            }
        }
    }

    /// The newest final height of each chain, over all nodes that answer.
    pub(crate) fn newest(&self) -> BTreeMap<String, u64> {
        let mut newest = BTreeMap::new();
        for heights in self.nodes.iter().filter_map(Node::heights) {
            for (chain, height) in heights {
                let slot = newest.entry(chain).or_insert(0);
                *slot = height.max(*slot);
            }
        }
        newest
    }

    /// Waits until every running node has seen each of its chains finalize `blocks` more than the
    /// newest block that any node had at the call.
    pub(crate) fn goes_on(&mut self, blocks: u64) {
        let from = self.newest();
        self.goes_beyond(&from, blocks);
    }

    /// [`Self::goes_on`] from given heights.
    pub(crate) fn goes_beyond(&mut self, from: &BTreeMap<String, u64>, blocks: u64) {
        for node in &mut self.nodes {
            if node.process.is_none() {
                continue;
            }
            let name = node.name.clone();
            until(
                &format!("{name} sees every chain go on beyond {from:?}"),
                || {
                    assert!(node.is_running(), "{name} has ended by itself");
                    let heights = node.heights()?;
                    let beyond = |(chain, height): (&String, &u64)| {
                        *height >= from.get(chain).copied().unwrap_or(0).saturating_add(blocks)
                    };
                    (!heights.is_empty() && heights.iter().all(beyond)).then_some(())
                },
            );
        }
    }

    pub(crate) fn stop_all(&mut self) {
        for node in &mut self.nodes {
            node.stop();
        }
    }

    pub(crate) fn kill_all(&mut self) {
        // All at once first, so that nobody finalizes while others are gone.
        for node in &mut self.nodes {
            if let Some(child) = &mut node.process {
                let _ = child.kill();
            }
        }
        for node in &mut self.nodes {
            node.kill();
        }
    }

    /// `skerry db verify` over all homes: judges stopped data directories against each other.
    pub(crate) fn verify(&self) -> Result<Value, String> {
        let mut args = vec!["db".to_owned(), "verify".to_owned(), "--json".to_owned()];
        args.extend([
            "--genesis".to_owned(),
            self.genesis_file.display().to_string(),
        ]);
        args.extend(
            self.nodes
                .iter()
                .map(|node| node.home.display().to_string()),
        );
        run(&args)
    }

    pub(crate) fn address(&self, account: usize) -> Address {
        self.accounts.get(account).expect("an account").0.address()
    }
}

/// Runs `skerry` and gives `data` of its envelope, or all that it said.
pub(crate) fn run(args: &[impl AsRef<std::ffi::OsStr>]) -> Result<Value, String> {
    let output = Command::new(SKERRY)
        .args(args)
        .stdin(Stdio::null())
        .output();
    let output = output.map_err(|error| error.to_string())?;
    let (text, said) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    let envelope: Value = serde_json::from_str(text.trim()).unwrap_or(Value::Null);
    if output.status.success() && envelope["success"] == Value::Bool(true) {
        Ok(envelope["data"].clone())
    } else {
        Err(format!("{}\n{text}\n{said}", output.status))
    }
}
