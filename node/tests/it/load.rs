//! A small steady load of transfers, within shards and across, and what must be true of it later.
//!
//! Each sender makes one transfer after the other and holds on to it until it has returned, through
//! whichever node answers, so at the end the fate of every transfer is known and balances can be
//! told exactly. Whatever a node reports as final is written down at once.

use crate::net::{Network, PATIENCE, runtime, wait};
use skerry_proto::v1::{self, ErrorReason, Outcome, Stage};
use skerry_sdk::builder::{Draft, Terms};
use skerry_sdk::client::{Client, ClientError};
use skerry_sdk::keys::AccountKey;
use skerry_types::amount::{Amount, Asset};
use skerry_types::codec;
use skerry_types::ids::{Address, Digest, Height};
use skerry_types::transaction::Nonce;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// Independent senders of each account.
const STREAMS: u16 = 2;
/// Longest wait of one call.
const SLICE: Duration = Duration::from_secs(2);

/// A transfer that has ended.
#[derive(Clone, Debug)]
pub(crate) struct Transfer {
    hash: Digest,
    from: Address,
    to: Address,
    amount: u128,
    fee: u128,
    outcome: Outcome,
}

/// What a node said of a transfer when it first called it final.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) hash: Digest,
    /// The final block of the home shard: height and digest.
    block: Option<(u64, String)>,
}

struct Shared {
    clients: Vec<Client>,
    chain_id: Digest,
    gas_price: Amount,
    stop: AtomicBool,
    reports: Mutex<Vec<Report>>,
}

/// A running load.
pub(crate) struct Load {
    shared: Arc<Shared>,
    tasks: JoinSet<Vec<Transfer>>,
}

fn home_block(status: &v1::TransactionStatus) -> Option<(u64, String)> {
    let leg = status
        .legs
        .iter()
        .find(|leg| leg.kind() == v1::LegKind::Home)?;
    leg.block
        .as_ref()
        .map(|block| (block.height, block.digest.clone()))
}

impl Shared {
    fn client(&self, turn: usize) -> &Client {
        self.clients
            .get(turn % self.clients.len())
            .expect("there are nodes")
    }

    fn report(&self, hash: Digest, status: &v1::TransactionStatus) {
        let report = Report {
            hash,
            block: home_block(status),
        };
        self.reports
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(report);
    }

    /// The newest of what the nodes know: next nonce of the stream, and beacon height.
    async fn position(&self, address: &Address, stream: u16) -> Option<(u64, u64)> {
        for client in &self.clients {
            if let Ok(reply) = client.account(address, stream).await {
                let (account, anchor) = (
                    reply.account.unwrap_or_default(),
                    reply.anchor.unwrap_or_default(),
                );
                return Some((account.next_nonce, anchor.beacon.unwrap_or_default().height));
            }
        }
        None
    }

    /// Submits until the transfer's fate is known.
    async fn settle(&self, hash: Digest, wire: Vec<u8>, mut turn: usize) -> v1::TransactionStatus {
        let (mut reported, start) = (false, Instant::now());
        let mut last = String::new();
        loop {
            assert!(
                start.elapsed() < PATIENCE * 2,
                "{hash} has no fate; last: {last}"
            );
            let client = self.client(turn);
            let answer = match client.submit(wire.clone(), Stage::Returned, SLICE).await {
                // Final, so its nonce is used: the node tells its status only.
                Err(error) if error.reason() == Some(ErrorReason::NonceTooLow) => {
                    client.status(&hash, Stage::Returned, SLICE).await
                }
                answer => answer,
            };
            match answer {
                Ok(status) => {
                    if status.stage() >= Stage::Finalized && !reported {
                        self.report(hash, &status);
                        reported = true;
                    }
                    let ended = status.stage() == Stage::Returned || status.outcome().is_decided();
                    if ended && status.outcome() != Outcome::Dropped {
                        return status;
                    }
                    last = format!("{} {}", status.stage().name(), status.outcome().name());
                }
                Err(error) => {
                    turn += 1;
                    last = format!("{}: {error}", client.url());
                    let wrong = matches!(
                        error.reason(),
                        Some(
                            ErrorReason::SignatureInvalid
                                | ErrorReason::TxMalformed
                                | ErrorReason::InsufficientBalance
                                | ErrorReason::ReplacementUnderpriced
                                | ErrorReason::Internal
                        )
                    );
                    assert!(!wrong, "{hash}: {last}");
                    let pause = if matches!(error, ClientError::Unreachable { .. }) {
                        50
                    } else {
                        200
                    };
                    tokio::time::sleep(Duration::from_millis(pause)).await;
                }
            }
        }
    }

    async fn send(
        self: Arc<Self>,
        key: AccountKey,
        stream: u16,
        to: Vec<Address>,
    ) -> Vec<Transfer> {
        let from = key.address();
        let mut made: Vec<Transfer> = Vec::new();
        let mut sequence = None;
        while !self.stop.load(Ordering::Relaxed) {
            let Some((next, beacon)) = self.position(&from, stream).await else {
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            let number = sequence.unwrap_or(next);
            let terms = Terms {
                chain_id: self.chain_id,
                sender: from,
                nonce: Nonce {
                    stream,
                    sequence: number,
                },
                valid_until: Height::new(beacon.saturating_add(10_000)),
                gas_price: self.gas_price,
            };
            let turn = made.len();
            let to = *to.get(turn % to.len()).expect("there are recipients");
            let amount = 1_000_000 + turn as u128;
            let draft = Draft::new()
                .transfer(&to, Asset::nsker(amount))
                .expect("a transfer");
            let signed = draft.sign(&terms, key.secret()).expect("a signed transfer");
            let hash = signed.body.id();
            let status = self.settle(hash, codec::encode(&signed), turn).await;
            let (outcome, fee) = (status.outcome(), status.fee.parse().unwrap_or(0));
            made.push(Transfer {
                hash,
                from,
                to,
                amount,
                fee,
                outcome,
            });
            sequence = (!matches!(outcome, Outcome::Void | Outcome::Expired)).then_some(number + 1);
        }
        made
    }
}

impl Load {
    /// Starts it: every account sends to every other, in turn.
    pub(crate) fn start(network: &Network) -> Self {
        let shared = Arc::new(Shared {
            clients: network.nodes.iter().map(|node| node.client()).collect(),
            chain_id: network.genesis.chain_id(),
            gas_price: network.genesis.parameters.base_fee,
            stop: AtomicBool::new(false),
            reports: Mutex::default(),
        });
        let mut tasks = JoinSet::new();
        for (index, (_, file)) in network.accounts.iter().enumerate() {
            for stream in 0..STREAMS {
                let file = skerry_sdk::keys::KeyFile::read(file).expect("a key file");
                let key = file
                    .open(|| panic!("development keys ask nothing"))
                    .expect("a key");
                let count = network.accounts.len();
                let others = (1..count)
                    .map(|step| network.address((index + step) % count))
                    .collect();
                tasks.spawn_on(shared.clone().send(key, stream, others), runtime().handle());
            }
        }
        Self { shared, tasks }
    }

    /// What was reported as final so far.
    pub(crate) fn reports(&self) -> Vec<Report> {
        self.shared
            .reports
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Waits until so many more transfers were reported as final.
    pub(crate) fn goes_on(&self, more: usize) {
        let from = self.reports().len();
        crate::net::until("transfers become final", || {
            (self.reports().len() >= from + more).then_some(())
        });
    }

    /// Ends it; every transfer that was begun is brought to its end first.
    pub(crate) fn finish(mut self) -> Vec<Transfer> {
        self.shared.stop.store(true, Ordering::Relaxed);
        wait(async {
            let mut made = Vec::new();
            while let Some(part) = self.tasks.join_next().await {
                made.extend(part.expect("a sender has not failed"));
            }
            made
        })
    }
}

/// Every node knows every report, with the same block of the home shard.
pub(crate) fn still_final(network: &Network, reports: &[Report]) {
    for node in &network.nodes {
        let client = node.client();
        for report in reports {
            let what = format!("{} still knows {} as final", node.name, report.hash);
            crate::net::until(&what, || {
                let reply = wait(client.transaction(&report.hash)).ok()?;
                let status = reply.status?;
                if status.stage() < Stage::Finalized {
                    return None;
                }
                assert_eq!(
                    home_block(&status),
                    report.block,
                    "{}: {} is final in another block",
                    node.name,
                    report.hash
                );
                Some(())
            });
        }
    }
}

/// Every transfer succeeded, and every node has every account's balance to the base unit.
pub(crate) fn exact(network: &Network, transfers: &[Transfer]) {
    let mut expected: BTreeMap<Address, u128> = BTreeMap::new();
    for account in &network.genesis.accounts {
        let sker = account.assets.iter().map(|asset| asset.amount.get()).sum();
        expected.insert(account.address, sker);
    }
    for transfer in transfers {
        assert_eq!(
            transfer.outcome,
            Outcome::Succeeded,
            "{}: {transfer:?}",
            transfer.hash
        );
        *expected.entry(transfer.from).or_default() -= transfer.amount + transfer.fee;
        *expected.entry(transfer.to).or_default() += transfer.amount;
    }
    for node in &network.nodes {
        let client = node.client();
        for (key, _) in &network.accounts {
            let address = key.address();
            let wanted = expected.get(&address).copied().unwrap_or(0).to_string();
            let mut found = String::new();
            let start = Instant::now();
            while found != wanted {
                let waited = start.elapsed() < PATIENCE;
                assert!(waited, "{}: {address} has {found}, not {wanted}", node.name);
                if let Ok(reply) = wait(client.account(&address, 0)) {
                    let account = reply.account.unwrap_or_default();
                    assert!(account.claims.is_empty(), "{address} has claims");
                    let sker = account.balances.iter().find(|asset| asset.denom == "sker");
                    found = sker.map(|asset| asset.amount.clone()).unwrap_or_default();
                }
                if found != wanted {
                    std::thread::sleep(Duration::from_millis(100));
                }
            }
        }
    }
}

/// One transfer, to its end.
pub(crate) fn transfer(network: &Network, node: usize, from: usize, to: usize) {
    let key = network
        .accounts
        .get(from)
        .expect("an account")
        .1
        .display()
        .to_string();
    let rpc = network.nodes.get(node).expect("a node").rpc();
    let to = network.address(to).to_string();
    let limit = format!("{}s", PATIENCE.as_secs());
    let args = [
        "tx",
        "send",
        "--json",
        "--rpc",
        &rpc,
        "--key-file",
        &key,
        "--to",
        &to,
        "--amount",
        "1sker",
        "--wait-for",
        "returned",
        "--timeout",
        &limit,
    ];
    let data = crate::net::run(&args).expect("the transfer succeeds");
    assert_eq!(
        (&data["stage"], &data["outcome"]),
        (&"RETURNED".into(), &"SUCCEEDED".into())
    );
}
