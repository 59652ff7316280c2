//! Each mistake gets its own answer, and harms nobody: bad requests, a validator of another network,
//! a peer that sends garbage.

use crate::load::transfer;
use crate::net::{Network, Plan, SMALL, run, runtime, until, wait};
use skerry::config::NodeConfig;
use skerry_network::{Bytes, Frame, Limits, NetworkConfig, NetworkKey, kind};
use skerry_proto::v1::{self, ErrorReason, Stage};
use skerry_sdk::builder::{Draft, Terms};
use skerry_sdk::client::Client;
use skerry_types::amount::{Amount, Asset};
use skerry_types::codec;
use skerry_types::ids::{ChainRef, Denom, Digest, Height, ModuleId};
use skerry_types::transaction::{Nonce, SignedTransaction, TransactionBody};
use std::io::Write as _;
use std::net::{TcpStream, UdpSocket};
use std::time::{Duration, Instant};
use tonic_prost::ProstCodec;

/// The node and the account that make the mistakes.
struct Clumsy<'a> {
    network: &'a Network,
    client: Client,
    beacon: u64,
}

impl Clumsy<'_> {
    fn terms(&self, sequence: u64) -> Terms {
        Terms {
            chain_id: self.network.genesis.chain_id(),
            sender: self.network.address(0),
            nonce: Nonce {
                stream: 0,
                sequence,
            },
            valid_until: Height::new(self.beacon + 1_000),
            gas_price: self.network.genesis.parameters.base_fee,
        }
    }

    fn transfer(&self, asset: Asset) -> SignedTransaction {
        let draft = Draft::new()
            .transfer(&self.network.address(1), asset)
            .expect("a transfer");
        let key = &self.network.accounts.first().expect("an account").0;
        draft
            .sign(&self.terms(1), key.secret())
            .expect("a signed transfer")
    }

    /// A transfer whose body was changed before it was signed.
    fn changed(&self, change: impl FnOnce(&mut TransactionBody)) -> Vec<u8> {
        let mut body = self.transfer(Asset::nsker(5)).body;
        change(&mut body);
        let key = &self.network.accounts.first().expect("an account").0;
        codec::encode(&body.sign(key.secret()))
    }

    fn reason(&self, wire: Vec<u8>) -> Option<ErrorReason> {
        let answer = wait(
            self.client
                .submit(wire, Stage::Received, Duration::from_secs(5)),
        );
        answer.expect_err("it is refused").reason()
    }

    /// The reason in the answer of a method that gets any message.
    fn raw<M: prost::Message + Default + 'static>(&self, path: &'static str, message: M) -> String {
        use tonic_types::StatusExt as _;
        let status = wait(async {
            let endpoint = tonic::transport::Endpoint::from_shared(self.client.url().to_owned());
            let channel = endpoint
                .expect("a URL")
                .connect()
                .await
                .expect("the node answers");
            let mut grpc = tonic::client::Grpc::new(channel);
            grpc.ready().await.expect("the node answers");
            let codec: ProstCodec<M, v1::GetAccountResponse> = ProstCodec::default();
            let path = axum::http::uri::PathAndQuery::from_static(path);
            grpc.unary(tonic::Request::new(message), path, codec)
                .await
                .expect_err("it is refused")
        });
        let info = status
            .get_details_error_info()
            .unwrap_or_else(|| panic!("no reason: {status:?}"));
        assert_eq!(info.domain, skerry_proto::ERROR_DOMAIN);
        info.reason
    }
}

#[test]
fn every_mistake_has_its_own_reason_and_harms_nobody() {
    let mut network = Network::new("bad-input", SMALL);
    network.start_all();
    network.goes_on(1);
    transfer(&network, 0, 0, 1);

    let client = network.nodes.first().expect("v0").client();
    let anchor = wait(client.account(&network.address(0), 0))
        .expect("an account")
        .anchor;
    let beacon = anchor
        .and_then(|anchor| anchor.beacon)
        .expect("a beacon block")
        .height;
    let clumsy = Clumsy {
        network: &network,
        client,
        beacon,
    };
    let mut forged = clumsy.transfer(Asset::nsker(5));
    forged.body.valid_until = Height::new(beacon + 999);
    let unknown = Asset {
        denom: Denom::new([5; 32]),
        amount: Amount::new(1),
    };
    let cases: Vec<(&str, Vec<u8>, ErrorReason)> = vec![
        ("no transaction", vec![1; 100], ErrorReason::TxMalformed),
        (
            "a byte too many",
            [clumsy.changed(|_| ()), vec![0]].concat(),
            ErrorReason::TxMalformed,
        ),
        ("oversized", vec![1; 64 * 1024], ErrorReason::TxTooLarge),
        (
            "another chain",
            clumsy.changed(|b| b.chain_id = Digest::ZERO),
            ErrorReason::ChainMismatch,
        ),
        (
            "a bad signature",
            codec::encode(&forged),
            ErrorReason::SignatureInvalid,
        ),
        (
            "a stale nonce",
            clumsy.changed(|b| b.nonce.sequence = 0),
            ErrorReason::NonceTooLow,
        ),
        (
            "too little balance",
            codec::encode(&clumsy.transfer(Asset::nsker(u128::from(u64::MAX)))),
            ErrorReason::InsufficientBalance,
        ),
        (
            "an unknown denom",
            codec::encode(&clumsy.transfer(unknown)),
            ErrorReason::DenomUnknown,
        ),
        (
            "an amount that overflows with the fee",
            codec::encode(&clumsy.transfer(Asset {
                denom: Denom::SKER,
                amount: Amount::MAX,
            })),
            ErrorReason::AmountOverflow,
        ),
        (
            "a fee that overflows",
            clumsy.changed(|b| b.gas_price = Amount::new(u128::MAX / 2)),
            ErrorReason::AmountOverflow,
        ),
        (
            "too low a price",
            clumsy.changed(|b| b.gas_price = Amount::ZERO),
            ErrorReason::FeeTooLow,
        ),
        (
            "an unknown module",
            clumsy.changed(|b| {
                for operation in &mut b.bundle.operations {
                    operation.module = ModuleId::new(999);
                }
            }),
            ErrorReason::ModuleUnknown,
        ),
        (
            "too late",
            clumsy.changed(|b| b.valid_until = Height::new(0)),
            ErrorReason::Expired,
        ),
    ];
    for (name, wire, reason) in cases {
        assert_eq!(clumsy.reason(wire), Some(reason), "{name}");
    }
    let submit = "/skerry.v1.TransactionService/SubmitTransaction";
    // A number where the transaction's bytes should be.
    let number = v1::GetNodeStatusResponse {
        ready: true,
        ..Default::default()
    };
    assert_eq!(clumsy.raw(submit, number), "REQUEST_MALFORMED");
    let many = v1::SubmitTransactionsRequest {
        signed_transactions: vec![vec![1; 1 << 20]; 6],
    };
    let batch = "/skerry.v1.TransactionService/SubmitTransactions";
    assert_eq!(clumsy.raw(batch, many), "REQUEST_TOO_LARGE");
    let account = "/skerry.v1.StateService/GetAccount";
    let nobody = v1::GetAccountRequest {
        address: "sk1nobody".to_owned(),
        ..Default::default()
    };
    assert_eq!(clumsy.raw(account, nobody), "ADDRESS_INVALID");

    // The node works as before, and the nonce that all of them used is still free.
    for node in 0..4 {
        transfer(&network, node, 0, 2);
    }
    network.goes_on(1);
    network.stop_all();
    network.verify().expect("the stopped stores agree");
}

/// Bytes without sense.
fn noise(length: usize, seed: usize) -> Vec<u8> {
    let byte = |index: usize| u8::try_from(index.wrapping_mul(seed | 1) >> 3 & 255).unwrap_or(0);
    (0..length).map(|index| byte(index + seed)).collect()
}

/// Sends noise of every kind as a peer of the network does, until it is cut off or has sent all.
fn babble(network: &Network) -> usize {
    let node = network.nodes.first().expect("v0");
    let config = NetworkConfig {
        chain_id: network.genesis.chain_id(),
        protocol_version: skerry::assemble::PROTOCOL_VERSION,
        listen: vec!["/ip4/127.0.0.1/tcp/0".to_owned()],
        peers: vec![format!("/ip4/127.0.0.1/tcp/{}", node.ports.peers)],
        external: Vec::new(),
        chains: network.genesis.chains(),
        identity: NetworkKey::generate(),
        validator: None,
        limits: Limits::default(),
    };
    let (handle, _events) =
        skerry_network::start(config, runtime().handle()).expect("the peer starts");
    let peer = until("the peer is connected", || {
        handle.peers().first().map(|peer| peer.peer)
    });
    let kinds = [
        kind::VOTE,
        kind::CERTIFICATE,
        kind::PROPOSAL,
        kind::FETCH_REQUEST,
        kind::FETCH_REPLY,
        0x10,
        0x11,
        0x14,
        0x15,
        0x20,
        0x30,
        0x31,
        0x32,
    ];
    let (mut sent, start) = (0, Instant::now());
    for round in 0..40 {
        for chain in network.genesis.chains() {
            for kind in kinds {
                let payload = Bytes::from(noise(1 + round * 7, round + usize::from(kind)));
                handle.send(
                    peer,
                    Frame {
                        chain,
                        epoch: 0,
                        kind,
                        payload,
                    },
                );
                sent += 1;
            }
        }
        std::thread::sleep(Duration::from_millis(25));
        if handle.peers().is_empty() || start.elapsed() > Duration::from_secs(5) {
            break;
        }
    }
    let beacon = Frame {
        chain: ChainRef::Beacon,
        epoch: u64::MAX,
        kind: 0xFF,
        payload: Bytes::new(),
    };
    handle.send(peer, beacon);
    wait(handle.shutdown());
    sent
}

#[test]
fn a_stranger_and_a_babbling_peer_disturb_nobody() {
    let mut network = Network::new(
        "strangers",
        Plan {
            shards: 1,
            validators: 4,
            seats: None,
            epoch_seconds: 0,
            block_gas: None,
            inbound_gas: None,
        },
    );
    network.start_all();
    network.goes_on(1);

    // A validator of another genesis that dials our validators.
    let other = network.place.dir.join("other");
    let out = other.display().to_string();
    let base = (network.base + 20).to_string();
    run(&[
        "genesis",
        "new",
        "--shards",
        "1",
        "--validators",
        "4",
        "--port-base",
        &base,
        "--out",
        &out,
        "--json",
    ])
    .expect("another network is laid out");
    let mine = NodeConfig::read(&network.nodes.get(1).expect("v1").home.join("config.toml"));
    let path = other.join("v0/config.toml");
    let mut config = NodeConfig::read(&path).expect("a configuration");
    config.network.peers = mine.expect("a configuration").network.peers;
    config.write(&path).expect("the configuration is written");
    let theirs = skerry::home::read_genesis(&other.join("genesis.json")).expect("a genesis");
    let (ours, theirs) = (
        network.genesis.chain_id().to_string(),
        theirs.chain_id().to_string(),
    );
    let mut stranger = crate::net::Node::at(&network.place.dir, "stranger", other.join("v0"));
    stranger.start();
    let names_both = |text: String| {
        text.lines()
            .any(|line| line.contains(&ours) && line.contains(&theirs))
            .then_some(())
    };
    until("the stranger's log names both chain ids", || {
        names_both(stranger.log_text())
    });
    until("a validator's log names both chain ids", || {
        network
            .nodes
            .iter()
            .find_map(|node| names_both(node.log_text()))
    });
    assert!(
        stranger.is_running(),
        "the stranger stays up and says why it is alone"
    );
    network.goes_on(2);
    let peers = network
        .nodes
        .get(2)
        .and_then(|node| node.status())
        .map(|status| status.peers);
    assert_eq!(peers, Some(3), "the stranger is nobody's peer");
    drop(stranger);

    // Garbage on all doors: frames of a peer, bytes at the TCP port, datagrams, HTTP.
    let sent = babble(&network);
    let node = network.nodes.first().expect("v0");
    for seed in 0..20 {
        for port in [node.ports.peers, node.ports.grpc, node.ports.http] {
            if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) {
                let _ = stream.write_all(&noise(4_096, seed));
            }
        }
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let _ = socket.send_to(&noise(1_200, seed), ("127.0.0.1", node.ports.peers));
    }
    network.goes_on(4);
    for node in 0..4 {
        transfer(&network, node, 0, 1);
    }
    println!("{sent} frames of noise disturbed nobody");
    network.stop_all();
    network.verify().expect("the stopped stores agree");
}
