//! A proxy between wallet and node that changes what the node answers: every byte of the proof, one
//! at a time, must be noticed; everything else in the replies must make no difference.

use crate::load::transfer;
use crate::net::{Network, SMALL, run, runtime, wait};
use serde_json::Value;
use skerry_proto::v1;
use skerry_sdk::client::Client;
use skerry_sdk::light::TrustedNetwork;
use skerry_types::genesis::Genesis;
use skerry_types::ids::{Address, Height};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio_stream::StreamExt as _;
use tonic::{Request, Response, Status};
use v1::proof_service_server::{ProofService, ProofServiceServer};
use v1::state_service_server::{StateService, StateServiceServer};

/// What the proxy does to the node's replies.
#[derive(Clone, Copy, Debug, Default)]
struct Change {
    /// Changes this byte of the proof by this mask.
    flip: Option<(usize, u8)>,
    /// Cuts the proof to this length.
    cut: Option<usize>,
    /// Adds a byte to the proof.
    extend: bool,
    /// Replaces every other field of every reply.
    garble: bool,
}

/// Answers with the node's replies as it recorded them, changed.
#[derive(Clone)]
struct Proxy {
    proof: v1::GetStateProofResponse,
    account: v1::GetAccountResponse,
    change: Arc<Mutex<Change>>,
}

impl Proxy {
    fn change(&self) -> Change {
        *self.change.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An anchor that says nothing true.
fn nonsense() -> v1::Anchor {
    let block = |height| {
        Some(v1::BlockRef {
            height,
            digest: "0xnothing".to_owned(),
        })
    };
    v1::Anchor {
        beacon: block(7_777),
        chain: "beacon".to_owned(),
        block: block(1),
        finalized: block(0),
    }
}

#[tonic::async_trait]
impl ProofService for Proxy {
    async fn get_state_proof(
        &self,
        _: Request<v1::GetStateProofRequest>,
    ) -> Result<Response<v1::GetStateProofResponse>, Status> {
        let (mut reply, change) = (self.proof.clone(), self.change());
        if let Some((index, mask)) = change.flip
            && let Some(byte) = reply.proof.get_mut(index)
        {
            *byte ^= mask;
        }
        reply.proof.truncate(change.cut.unwrap_or(usize::MAX));
        if change.extend {
            reply.proof.push(0);
        }
        if change.garble {
            reply.anchor = Some(nonsense());
        }
        Ok(Response::new(reply))
    }

    async fn get_beacon_seals(
        &self,
        _: Request<v1::GetBeaconSealsRequest>,
    ) -> Result<Response<v1::GetBeaconSealsResponse>, Status> {
        Ok(Response::new(v1::GetBeaconSealsResponse::default()))
    }
}

#[tonic::async_trait]
impl StateService for Proxy {
    async fn get_account(
        &self,
        _: Request<v1::GetAccountRequest>,
    ) -> Result<Response<v1::GetAccountResponse>, Status> {
        let mut reply = self.account.clone();
        if self.change().garble {
            reply.anchor = Some(nonsense());
            reply.account = Some(v1::Account {
                address: "sk1somebody".to_owned(),
                chain: "shard-9/9".to_owned(),
                balances: vec![v1::Asset {
                    denom: "sker".to_owned(),
                    amount: "1".to_owned(),
                }],
                claims: Vec::new(),
                next_nonce: 99,
                final_nonce: 98,
            });
        }
        Ok(Response::new(reply))
    }

    async fn batch_get_accounts(
        &self,
        _: Request<v1::BatchGetAccountsRequest>,
    ) -> Result<Response<v1::BatchGetAccountsResponse>, Status> {
        Err(Status::unimplemented("not asked for here"))
    }

    async fn get_token(
        &self,
        _: Request<v1::GetTokenRequest>,
    ) -> Result<Response<v1::GetTokenResponse>, Status> {
        Err(Status::unimplemented("not asked for here"))
    }

    async fn get_pool(
        &self,
        _: Request<v1::GetPoolRequest>,
    ) -> Result<Response<v1::GetPoolResponse>, Status> {
        Err(Status::unimplemented("not asked for here"))
    }

    async fn list_validators(
        &self,
        _: Request<v1::ListValidatorsRequest>,
    ) -> Result<Response<v1::ListValidatorsResponse>, Status> {
        Err(Status::unimplemented("not asked for here"))
    }

    async fn list_channels(
        &self,
        _: Request<v1::ListChannelsRequest>,
    ) -> Result<Response<v1::ListChannelsResponse>, Status> {
        Err(Status::unimplemented("not asked for here"))
    }

    async fn get_supply(
        &self,
        _: Request<v1::GetSupplyRequest>,
    ) -> Result<Response<v1::GetSupplyResponse>, Status> {
        Err(Status::unimplemented("not asked for here"))
    }
}

/// A wallet that sees the node through the proxy.
struct Wallet {
    url: String,
    client: Client,
    change: Arc<Mutex<Change>>,
    address: Address,
    _stop: oneshot::Sender<()>,
}

impl Wallet {
    fn new(network: &Network, address: Address) -> (Self, Vec<u8>) {
        let node = network.nodes.first().expect("v0");
        let client = node.client();
        let account = wait(client.account(&address, 0)).expect("an account");
        let height = account
            .anchor
            .clone()
            .and_then(|it| it.block)
            .map_or(0, |block| block.height);
        let proof = wait(client.proof(&address, Height::new(height), Duration::from_secs(60)));
        let proof = proof.expect("the node proves it");
        let reply = v1::GetStateProofResponse {
            proof: proof.clone(),
            anchor: account.anchor.clone(),
        };
        let change = Arc::<Mutex<Change>>::default();
        let proxy = Proxy {
            proof: reply,
            account,
            change: change.clone(),
        };
        let (stop, stopped) = oneshot::channel::<()>();
        let listener = wait(tokio::net::TcpListener::bind("127.0.0.1:0")).expect("a port is free");
        let url = format!(
            "http://{}",
            listener.local_addr().expect("the listener has an address")
        );
        // Without it each answer waits for the acknowledgement of its headers.
        let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener)
            .map(|stream| stream.and_then(|stream| stream.set_nodelay(true).map(|()| stream)));
        runtime().spawn(async move {
            let served = tonic::transport::Server::builder()
                .add_service(ProofServiceServer::new(proxy.clone()))
                .add_service(StateServiceServer::new(proxy))
                .serve_with_incoming_shutdown(incoming, async {
                    let _ = stopped.await;
                });
            served.await
        });
        let _inside = runtime().enter();
        let client = Client::new(&url).expect("a URL");
        (
            Self {
                url,
                client,
                change,
                address,
                _stop: stop,
            },
            proof,
        )
    }

    fn under(&self, change: Change) -> &Self {
        *self.change.lock().unwrap_or_else(PoisonError::into_inner) = change;
        self
    }

    /// What the library finds: all records, balances and blocks, or why not.
    fn verified(&self, trusted: &TrustedNetwork) -> Result<String, String> {
        let proof = wait(
            self.client
                .proof(&self.address, Height::ZERO, Duration::ZERO),
        );
        let account = trusted.verify(&proof.expect("the proxy answers"), &self.address);
        account
            .map(|account| format!("{account:?}"))
            .map_err(|error| error.to_string())
    }

    /// What the command line finds.
    fn asked(&self, genesis: &str) -> Result<Value, String> {
        let address = self.address.to_string();
        run(&[
            "query", "account", &address, "--rpc", &self.url, "--verify", "--trust", genesis,
            "--json",
        ])
    }
}

fn another_genesis(network: &Network) -> String {
    let out = network.place.dir.join("other").display().to_string();
    run(&["genesis", "new", "--out", &out, "--json"]).expect("another network is laid out");
    format!("{out}/genesis.json")
}

#[test]
fn every_change_of_a_proof_is_refused_and_nothing_else_matters() {
    let mut network = Network::new("proofs", SMALL);
    network.start_all();
    network.goes_on(1);
    transfer(&network, 0, 0, 1);
    transfer(&network, 0, 0, 2);
    let (wallet, proof) = Wallet::new(&network, network.address(0));
    let genesis = network.genesis_file.display().to_string();
    let trusted = TrustedNetwork::new(&network.genesis).expect("our genesis is good");

    let honest = wallet
        .under(Change::default())
        .verified(&trusted)
        .expect("the proof is good");
    let shown = wallet.asked(&genesis).expect("the proof is good");
    assert_eq!(shown["verified"], true);

    // Each byte, once by one bit and once by all.
    let mut refusals = std::collections::BTreeMap::<String, usize>::new();
    for index in 0..proof.len() {
        for mask in [1_u8 << (index % 8), 0xFF] {
            let change = Change {
                flip: Some((index, mask)),
                ..Change::default()
            };
            match wallet.under(change).verified(&trusted) {
                Ok(_) => panic!(
                    "byte {index} of {} changed by {mask:#x} was not noticed",
                    proof.len()
                ),
                Err(why) => {
                    let kind = why.split([':', ';']).next().unwrap_or_default().to_owned();
                    *refusals.entry(kind).or_default() += 1;
                }
            }
        }
    }
    // The command line, at places all over the proof.
    for index in (0..proof.len()).step_by((proof.len() / 12).max(1)) {
        let change = Change {
            flip: Some((index, 0x10)),
            ..Change::default()
        };
        assert!(
            wallet.under(change).asked(&genesis).is_err(),
            "byte {index}"
        );
    }
    for change in [
        Change {
            cut: Some(proof.len() - 1),
            ..Change::default()
        },
        Change {
            cut: Some(0),
            ..Change::default()
        },
        Change {
            extend: true,
            ..Change::default()
        },
    ] {
        assert!(
            wallet.under(change).verified(&trusted).is_err(),
            "{change:?}"
        );
        assert!(wallet.under(change).asked(&genesis).is_err(), "{change:?}");
    }

    // All other fields are ignored: the result is the same to the last field.
    let garbled = Change {
        garble: true,
        ..Change::default()
    };
    assert_eq!(wallet.under(garbled).verified(&trusted), Ok(honest));
    assert_eq!(wallet.asked(&genesis), Ok(shown));

    // Another network's genesis trusts none of it.
    let other = another_genesis(&network);
    let read: Genesis =
        skerry::home::read_genesis(std::path::Path::new(&other)).expect("a genesis");
    let stranger = TrustedNetwork::new(&read).expect("a good genesis of another network");
    assert!(wallet.under(Change::default()).verified(&stranger).is_err());
    let refused = wallet
        .asked(&other)
        .expect_err("another network's proof is refused");
    assert!(!refused.contains("\"success\":true"), "{refused}");
    println!("{} bytes, every change refused: {refusals:?}", proof.len());
    network.stop_all();
}
