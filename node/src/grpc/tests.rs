//! The API over a real connection, with chains that stand still: every bad input has its own
//! reason, reads are exact, health starts at "not serving".

use super::refusal::{Refusal, code_of};
use crate::testing::header;
use crate::view::{ChainView, Command, ExecutedBlock, NodeView, Routes, Snapshot, SubmitError};
use serde_json::json;
use skerry_execution::check::{AdmissionContext, check_against_state};
use skerry_execution::gas;
use skerry_execution::genesis::genesis_changes;
use skerry_execution::network::NetworkInfo;
use skerry_execution::requests::leg_price;
use skerry_proto::v1::{self, ErrorReason, Outcome, Stage};
use skerry_sdk::builder::{Draft, Terms};
use skerry_sdk::client::{Client, ClientError};
use skerry_sdk::keys::AccountKey;
use skerry_storage::{ChainStore, Identity, MemoryBackend, StateTree};
use skerry_types::amount::{Amount, Asset};
use skerry_types::block::{BlockRef, ExecutionResult};
use skerry_types::codec::{self, Version};
use skerry_types::crypto::bls::SecretKey;
use skerry_types::crypto::ed25519;
use skerry_types::genesis::{Genesis, GenesisAccount, GenesisValidator, Parameters};
use skerry_types::ids::{
    Address, ChainRef, Denom, Digest, Epoch, Gas, Height, ModuleId, Sequence, ShardId, TimeMs,
    ValidatorId, View, Weight,
};
use skerry_types::message::MessageId;
use skerry_types::receipt::{Receipt, Status, Subject};
use skerry_types::transaction::{
    CheckedTransaction, Nonce, SignedTransaction, TransactionBody, TransactionError,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tonic::Code;
use tonic_prost::ProstCodec;

fn rich() -> AccountKey {
    AccountKey::from_seed([7; 32])
}

fn poor() -> AccountKey {
    AccountKey::from_seed([8; 32])
}

fn genesis() -> Genesis {
    let secret = SecretKey::from_seed([1; 32]);
    Genesis {
        version: Version,
        name: "test".to_owned(),
        salt: Digest::new([3; 32]),
        time: TimeMs::new(1),
        development: true,
        shard_depth: 1,
        parameters: Parameters::default(),
        validators: vec![GenesisValidator {
            name: "v0".to_owned(),
            vote_key: secret.public_key(),
            possession: secret.prove_possession(),
            operator: rich().address(),
            stake: Weight::new(1),
        }],
        seats: vec![vec![ValidatorId::new(0)], vec![ValidatorId::new(0)]],
        accounts: vec![GenesisAccount {
            address: rich().address(),
            assets: vec![Asset::nsker(1_000_000_000_000)],
        }],
    }
}

/// A chain at its genesis, whose mempool takes what the state allows.
fn chain(genesis: &Arc<Genesis>, chain: ChainRef) -> Arc<ChainView> {
    let chain_id = genesis.chain_id();
    let outcome = genesis_changes(genesis, chain);
    let state = StateTree::empty().apply(&outcome.changes);
    let identity = Identity { chain_id, chain };
    let store = ChainStore::open(Arc::new(MemoryBackend::new()), identity).unwrap();
    let result = ExecutionResult {
        state_root: state.root(),
        channels_root: outcome.channels_root,
        ..ExecutionResult::default()
    };
    store.init_genesis(&outcome.changes, &result).unwrap();
    let executed = BlockRef {
        height: Height::ZERO,
        digest: skerry_types::committee::genesis_digest(&chain_id, chain),
    };
    let snapshot = Snapshot {
        finalized: None,
        executed,
        changed: executed,
        state: state.clone(),
        base_fee: outcome.base_fee,
        epoch: Epoch::ZERO,
        view: View::new(1),
        mempool: 0,
        connected_weight: 0,
        quorum: 1,
        total_weight: 1,
        stopped: None,
    };
    let (commands, mut inbox) = mpsc::channel(16);
    let view = Arc::new(ChainView::new(chain, Arc::new(store), snapshot, commands));
    let (network, noted) = (NetworkInfo::of(genesis), view.clone());
    tokio::spawn(async move {
        while let Some(Command::Submit {
            transactions,
            reply,
        }) = inbox.recv().await
        {
            let answers = transactions
                .iter()
                .map(|checked| admit(&network, &noted, &state, checked));
            let _ = reply.send(answers.collect());
        }
    });
    view
}

fn admit(
    network: &NetworkInfo,
    view: &ChainView,
    state: &StateTree,
    checked: &CheckedTransaction,
) -> Result<Digest, SubmitError> {
    let digest = checked.signing_digest();
    let good = checked
        .signatures()
        .iter()
        .all(|(key, signature)| ed25519::verify(key, digest.as_bytes(), signature));
    if !good {
        let sender = checked.body().sender;
        return Err(TransactionError::Signature { sender }.into());
    }
    let context = AdmissionContext {
        network,
        chain: view.chain,
        beacon_height: Height::new(100),
        base_fee: network.parameters.base_fee,
    };
    check_against_state(checked, state, &context)?;
    view.note_received(&[checked.id()]);
    Ok(checked.id())
}

struct Server {
    url: String,
    client: Client,
    chain_id: Digest,
    view: Arc<NodeView>,
}

async fn server() -> Server {
    let genesis = Arc::new(genesis());
    let chains = genesis.chains().into_iter();
    let chains: BTreeMap<_, _> = chains.map(|it| (it, chain(&genesis, it))).collect();
    let view = Arc::new(NodeView {
        info: Arc::new(NetworkInfo::of(&genesis)),
        chain_id: genesis.chain_id(),
        genesis: genesis.clone(),
        name: "test".to_owned(),
        chains,
        peers: Arc::default(),
        forward: Arc::new(|_, _| false),
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(super::serve(view.clone(), listener, std::future::pending()));
    Server {
        client: Client::new(&url).unwrap(),
        url,
        chain_id: genesis.chain_id(),
        view,
    }
}

impl Server {
    fn terms(&self, key: &AccountKey) -> Terms {
        Terms {
            chain_id: self.chain_id,
            sender: key.address(),
            nonce: Nonce::default(),
            valid_until: Height::new(200),
            gas_price: Parameters::default().base_fee,
        }
    }

    fn transfer(&self, key: &AccountKey, asset: Asset) -> SignedTransaction {
        let draft = Draft::new().transfer(&poor().address(), asset).unwrap();
        draft.sign(&self.terms(key), key.secret()).unwrap()
    }

    /// A transfer whose body was changed before it was signed.
    fn changed(&self, change: impl FnOnce(&mut TransactionBody)) -> Vec<u8> {
        let mut body = self.transfer(&rich(), Asset::nsker(5)).body;
        change(&mut body);
        codec::encode(&body.sign(rich().secret()))
    }

    async fn submit(&self, wire: Vec<u8>) -> Result<v1::TransactionStatus, ErrorReason> {
        let answer = self
            .client
            .submit(wire, Stage::Received, Duration::from_secs(1))
            .await;
        answer.map_err(|error| error.reason().expect("a reason is given"))
    }

    /// Calls `path` with any message.
    async fn raw<M: prost::Message + Default + 'static>(
        &self,
        path: &'static str,
        message: M,
    ) -> tonic::Status {
        let endpoint = tonic::transport::Endpoint::from_shared(self.url.clone()).unwrap();
        let mut grpc = tonic::client::Grpc::new(endpoint.connect().await.unwrap());
        grpc.ready().await.unwrap();
        let codec: ProstCodec<M, v1::GetAccountResponse> = ProstCodec::default();
        let path = axum::http::uri::PathAndQuery::from_static(path);
        grpc.unary(tonic::Request::new(message), path, codec)
            .await
            .unwrap_err()
    }
}

#[tokio::test]
async fn every_bad_transaction_has_its_own_reason() {
    let server = server().await;
    let unknown = Denom::new([5; 32]);
    let mut forged = self_signed(&server);
    forged.body.valid_until = Height::new(201);
    let huge = Amount::new(u128::MAX / 2);
    let all = Asset {
        denom: Denom::SKER,
        amount: Amount::MAX,
    };
    let cases: Vec<(&str, Vec<u8>, ErrorReason)> = vec![
        ("no transaction", vec![1; 100], ErrorReason::TxMalformed),
        ("empty", Vec::new(), ErrorReason::TxMalformed),
        (
            "trailing byte",
            [server.changed(|_| ()), vec![0]].concat(),
            ErrorReason::TxMalformed,
        ),
        ("too large", vec![1; 17 * 1024], ErrorReason::TxTooLarge),
        (
            "other chain",
            server.changed(|b| b.chain_id = Digest::ZERO),
            ErrorReason::ChainMismatch,
        ),
        (
            "forged",
            codec::encode(&forged),
            ErrorReason::SignatureInvalid,
        ),
        (
            "other sender",
            server.changed(|b| b.sender = other_of_shard(&rich().address())),
            ErrorReason::InsufficientBalance,
        ),
        (
            "too much",
            codec::encode(&server.transfer(&rich(), Asset::nsker(2_000_000_000_000))),
            ErrorReason::InsufficientBalance,
        ),
        (
            "no money",
            codec::encode(&server.transfer(&poor(), Asset::nsker(1))),
            ErrorReason::InsufficientBalance,
        ),
        (
            "unknown denom",
            codec::encode(&server.transfer(
                &rich(),
                Asset {
                    denom: unknown,
                    amount: Amount::new(1),
                },
            )),
            ErrorReason::DenomUnknown,
        ),
        (
            "overflow",
            codec::encode(&server.transfer(&rich(), all)),
            ErrorReason::AmountOverflow,
        ),
        (
            "fee overflow",
            server.changed(|b| b.gas_price = huge),
            ErrorReason::AmountOverflow,
        ),
        (
            "cheap",
            server.changed(|b| b.gas_price = Amount::new(9)),
            ErrorReason::FeeTooLow,
        ),
        (
            "gas",
            server.changed(|b| b.gas_limit = Gas::new(1)),
            ErrorReason::GasLimitTooLow,
        ),
        (
            "expired",
            server.changed(|b| b.valid_until = Height::new(99)),
            ErrorReason::Expired,
        ),
        (
            "far",
            server.changed(|b| b.valid_until = Height::new(1_000_000)),
            ErrorReason::ValidUntilTooFar,
        ),
        (
            "module",
            server.changed(|b| b.bundle.operations[0].module = ModuleId::new(999)),
            ErrorReason::ModuleUnknown,
        ),
        (
            "call",
            server.changed(|b| b.bundle.operations[0].call = vec![250]),
            ErrorReason::CallMalformed,
        ),
        (
            "nonce",
            server.changed(|b| b.nonce.sequence = u64::MAX),
            ErrorReason::NonceTooLow,
        ),
    ];
    for (name, wire, reason) in cases {
        assert_eq!(server.submit(wire).await.map(|_| ()), Err(reason), "{name}");
    }
}

fn self_signed(server: &Server) -> SignedTransaction {
    server.transfer(&rich(), Asset::nsker(5))
}

/// Another address of the same shard.
fn other_of_shard(address: &Address) -> Address {
    let mut bytes = *address.as_bytes();
    bytes[31] ^= 1;
    Address::new(bytes)
}

#[tokio::test]
async fn a_transaction_is_taken_once_and_known_by_its_hash() {
    let server = server().await;
    let signed = self_signed(&server);
    let (hash, wire) = (signed.body.id(), codec::encode(&signed));
    for _ in 0..2 {
        let status = server.submit(wire.clone()).await.unwrap();
        assert_eq!(status.hash, hash.to_string());
        assert_eq!(
            (status.stage(), status.outcome()),
            (Stage::Received, Outcome::Pending)
        );
        assert_eq!(status.valid_until, 200);
    }
    // Waiting ends in time, with the stage reached.
    let wait = Duration::from_millis(50);
    let status = server
        .client
        .status(&hash, Stage::Returned, wait)
        .await
        .unwrap();
    assert_eq!(status.stage(), Stage::Received);
    // What waits counts for the next nonce.
    let account = server
        .client
        .account(&rich().address(), 0)
        .await
        .unwrap()
        .account
        .unwrap();
    assert_eq!((account.next_nonce, account.final_nonce), (1, 0));
    let unknown = server
        .client
        .status(&Digest::ZERO, Stage::Received, wait)
        .await;
    assert_eq!(unknown.unwrap_err().reason(), Some(ErrorReason::TxUnknown));
}

impl Server {
    /// Makes the first block of a chain final, with one receipt in it.
    fn finalize(&self, chain: ChainRef, subject: Subject, messages: Vec<MessageId>) {
        let view = self.view.chain(chain).unwrap();
        let transactions = match subject {
            Subject::Transaction(id) => vec![id],
            Subject::Message { .. } => Vec::new(),
        };
        let receipt = Receipt {
            version: Version,
            subject,
            status: Status::Succeeded,
            gas: Gas::new(3),
            fee: Amount::new(30),
            messages,
            events: Vec::new(),
        };
        let block = ExecutedBlock {
            header: header(&NetworkInfo::of(&self.view.genesis), chain),
            transactions: Arc::new(transactions),
            receipts: Arc::new(vec![receipt]),
            routes: Routes::default(),
            at_ms: 0,
        };
        view.publish_block(block, &view.snapshot().state);
    }
}

/// What a watch tells next: the stage, the outcome, and how many legs there are; none when it ended.
async fn next_of(
    changes: &mut tonic::Streaming<v1::WatchTransactionResponse>,
) -> Option<(Stage, Outcome, usize)> {
    let wait = Duration::from_secs(10);
    let reply = tokio::time::timeout(wait, changes.message()).await;
    let status = reply.unwrap().unwrap()?.status.unwrap();
    Some((status.stage(), status.outcome(), status.legs.len()))
}

#[tokio::test]
async fn a_watch_tells_the_present_each_change_and_ends_after_the_last() {
    let server = server().await;
    let signed = self_signed(&server);
    let id = signed.body.id();
    let home = server.view.home(&rich().address());
    let mut chains = server.view.chains.keys().copied();
    let there = chains.find(|chain| !chain.is_beacon() && *chain != home);
    let there = there.unwrap();
    server.submit(codec::encode(&signed)).await.unwrap();
    let mut changes = server.client.watch(&id).await.unwrap();
    let next = next_of(&mut changes).await;
    assert_eq!(next, Some((Stage::Received, Outcome::Pending, 1)));
    let block = BlockRef {
        height: Height::new(1),
        digest: Digest::ZERO,
    };
    let view = server.view.chain(home).unwrap();
    view.note_included(block, &[id]);
    let next = next_of(&mut changes).await;
    assert_eq!(next, Some((Stage::Included, Outcome::Pending, 1)));
    // The block is abandoned, and another one has it.
    view.note_abandoned(&block.digest);
    let next = next_of(&mut changes).await;
    assert_eq!(next, Some((Stage::Received, Outcome::Pending, 1)));
    let message = MessageId {
        source: home,
        destination: there,
        sequence: Sequence::ZERO,
    };
    server.finalize(home, Subject::Transaction(id), vec![message]);
    let next = next_of(&mut changes).await;
    assert_eq!(next, Some((Stage::Finalized, Outcome::Pending, 2)));
    // Who comes late begins with the present.
    let mut late = server.client.watch(&id).await.unwrap();
    assert_eq!(next_of(&mut late).await, next);
    let subject = Subject::Message {
        id: message,
        origin: id,
    };
    server.finalize(there, subject, Vec::new());
    let last = Some((Stage::Returned, Outcome::Succeeded, 2));
    for changes in [&mut changes, &mut late] {
        assert_eq!(next_of(changes).await, last);
        assert_eq!(next_of(changes).await, None);
    }
    let mut after = server.client.watch(&id).await.unwrap();
    assert_eq!(next_of(&mut after).await, last);
    assert_eq!(next_of(&mut after).await, None);
}

/// A transaction that another node has sent here, and that the mempool gives up.
#[tokio::test]
async fn a_watch_tells_when_a_transaction_is_given_up() {
    let server = server().await;
    let id = Digest::new([9; 32]);
    let unknown = server.client.watch(&id).await.unwrap_err();
    assert_eq!(unknown.reason(), Some(ErrorReason::TxUnknown));
    let view = server.view.chain(server.view.home(&rich().address()));
    let view = view.unwrap();
    view.note_received(&[id]);
    let mut changes = server.client.watch(&id).await.unwrap();
    let next = next_of(&mut changes).await;
    assert_eq!(next, Some((Stage::Received, Outcome::Pending, 1)));
    view.note_dropped(&[id]);
    let next = next_of(&mut changes).await;
    assert_eq!(next, Some((Stage::Received, Outcome::Dropped, 0)));
    assert_eq!(next_of(&mut changes).await, None);
}

#[tokio::test]
async fn a_batch_has_one_result_for_each_in_order() {
    let server = server().await;
    let good = codec::encode(&self_signed(&server));
    let bad = server.changed(|body| body.chain_id = Digest::ZERO);
    let results = server
        .client
        .submit_many(vec![bad, good.clone(), vec![]])
        .await
        .unwrap();
    let reasons: Vec<_> = results
        .iter()
        .map(|it| (it.accepted, it.reason()))
        .collect();
    assert_eq!(
        reasons,
        [
            (false, ErrorReason::ChainMismatch),
            (true, ErrorReason::Unspecified),
            (false, ErrorReason::TxMalformed),
        ]
    );
    let most = super::limits::BATCH_TRANSACTIONS_MAX;
    let many = server.client.submit_many(vec![vec![]; most + 1]).await;
    assert_eq!(many.unwrap_err().reason(), Some(ErrorReason::BatchTooLarge));
}

#[tokio::test]
async fn reads_are_exact_and_bad_names_have_their_own_reasons() {
    let server = server().await;
    let client = &server.client;
    let account = client
        .account(&rich().address(), 0)
        .await
        .unwrap()
        .account
        .unwrap();
    assert_eq!(
        account.balances,
        [v1::Asset {
            denom: "sker".to_owned(),
            amount: "1000000000000".to_owned(),
        }]
    );
    assert!(
        client
            .account(&poor().address(), 0)
            .await
            .unwrap()
            .account
            .unwrap()
            .balances
            .is_empty()
    );
    assert_eq!(client.chain_id().await.unwrap(), server.chain_id);
    let foreign = ShardId::new(2, 3).map(ChainRef::Shard).unwrap();
    let reason = |error: ClientError| error.reason();
    let block = client.block(foreign, None).await.unwrap_err();
    assert_eq!(reason(block), Some(ErrorReason::ChainUnknown));
    let block = client
        .block(ChainRef::Beacon, Some(Height::new(9)))
        .await
        .unwrap_err();
    assert_eq!(reason(block), Some(ErrorReason::BlockUnknown));
    let token = client.token(&Denom::new([5; 32])).await.unwrap_err();
    assert_eq!(reason(token), Some(ErrorReason::DenomUnknown));
    let pool = client.pool(&poor().address()).await.unwrap_err();
    assert_eq!(reason(pool), Some(ErrorReason::PoolUnknown));
    let wait = Duration::from_millis(20);
    let proof = client
        .proof(&rich().address(), Height::new(1), wait)
        .await
        .unwrap_err();
    assert_eq!(reason(proof), Some(ErrorReason::ProofUnavailable));
    let status = client.node_status().await.unwrap();
    assert!(!status.ready && status.chains.iter().all(|chain| chain.waiting_for_quorum));
    assert!(
        status.chains[0].detail.contains("no quorum: weight"),
        "{}",
        status.chains[0].detail
    );
}

#[tokio::test]
async fn the_fee_is_what_the_calls_cost() {
    let server = server().await;
    let body = self_signed(&server).body;
    let estimate = server.client.estimate(codec::encode(&body)).await.unwrap();
    assert_eq!(estimate.gas, body.gas_limit.get());
    assert_eq!(estimate.fee, (u128::from(estimate.gas) * 10).to_string());
    let at_home = (estimate.home_gas, estimate.reply_gas, &estimate.legs[..]);
    assert_eq!(at_home, (estimate.gas, 0, &[][..]));
    let remote = Draft::new().call("bank", &json!({"send": {"to": 1}}));
    assert!(remote.is_err());
}

/// A bundle for the beacon pays at home for what it needs there and for its reply.
#[tokio::test]
async fn the_fee_of_a_bundle_that_leaves_has_its_parts() {
    let server = server().await;
    let call = json!({"top_up": {"validator": 0, "amount": "5"}});
    let draft = Draft::new().attach(Asset::nsker(5)).unwrap();
    let draft = draft.call("staking", &call).unwrap();
    let body = draft.body(&server.terms(&rich())).unwrap();
    let estimate = server.client.estimate(codec::encode(&body)).await.unwrap();
    assert_eq!(estimate.gas, body.gas_limit.get());
    let [leg] = &estimate.legs[..] else {
        panic!("{estimate:?}");
    };
    assert_eq!(leg.chain, "beacon");
    assert_eq!(estimate.gas, estimate.home_gas + leg.gas);
    assert_eq!(estimate.reply_gas, skerry_execution::gas::reply().get());
    assert!(estimate.reply_gas < estimate.home_gas && leg.gas > 0);
    let floor = Parameters::default().base_fee;
    let bought_at = leg_price(floor).to_string();
    assert_eq!(leg.base_fee, floor.to_string());
    assert_eq!(
        (&leg.gas_price, &estimate.gas_price),
        (&bought_at, &bought_at)
    );
    let number = |text: &str| text.parse::<u128>().unwrap();
    let at = |gas: u64, price: &str| u128::from(gas) * number(price);
    assert_eq!(number(&leg.fee), at(leg.gas, &leg.gas_price));
    let of_home = at(estimate.home_gas, &estimate.gas_price);
    assert_eq!(number(&estimate.fee), of_home + number(&leg.fee));
    assert_eq!(estimate.refund_max, "0");
    assert_eq!(estimate.refund_expected, "0");
}

/// A route pays for all its parts when it leaves; what those after the first cost may come home.
#[tokio::test]
async fn the_fee_of_a_route_has_a_part_for_each_chain() {
    let server = server().await;
    let home = server.view.home(&rich().address());
    let mut owners = (0..=255).map(|byte| AccountKey::from_seed([byte; 32]).address());
    let there = owners.find(|owner| server.view.home(owner) != home);
    let asset = Asset::nsker(5);
    let call = json!({"send": {"to": there, "asset": asset}});
    let first = Draft::new().near(there.unwrap()).attach(asset).unwrap();
    let first = first.call("bank", &call).unwrap();
    let call = json!({"unjail": {"validator": 0}});
    let second = Draft::new().call("staking", &call).unwrap();
    let body = first.then(second).unwrap().body(&server.terms(&rich()));
    let body = body.unwrap();
    let estimate = server.client.estimate(codec::encode(&body)).await.unwrap();
    let chains: Vec<&str> = estimate.legs.iter().map(|leg| leg.chain.as_str()).collect();
    let other = server.view.home(&there.unwrap()).to_string();
    assert_eq!(chains, [other.as_str(), "beacon"]);
    let elsewhere: u64 = estimate.legs.iter().map(|leg| leg.gas).sum();
    assert_eq!(estimate.gas, estimate.home_gas + elsewhere);
    assert_eq!(estimate.refund_max, estimate.legs[1].fee);
    let number = |text: &str| text.parse::<u128>().unwrap();
    // Seven assets fewer: a key and 48 bytes each; but it takes no less than a reply.
    let used = estimate.legs[1].gas - 7 * (gas::KEY + 48 * gas::MESSAGE_BYTE);
    let spare = estimate.legs[1].gas - used.max(gas::reply().get());
    assert!(spare > 0);
    let expected = u128::from(spare) * number(&estimate.legs[1].gas_price);
    assert_eq!(number(&estimate.refund_expected), expected);
    let of_legs: u128 = estimate.legs.iter().map(|leg| number(&leg.fee)).sum();
    let of_home = u128::from(estimate.home_gas) * number(&estimate.gas_price);
    assert_eq!(number(&estimate.fee), of_home + of_legs);
}

/// A bundle for the neighbours of an owner on the sender's own shard runs at home.
#[tokio::test]
async fn a_bundle_that_stays_pays_for_no_way() {
    let server = server().await;
    let asset = Asset::nsker(5);
    let call = json!({"send": {"to": rich().address(), "asset": asset}});
    let draft = |near: bool| {
        let draft = Draft::new().attach(asset).unwrap();
        let draft = draft.call("bank", &call).unwrap();
        if near {
            draft.near(rich().address())
        } else {
            draft
        }
    };
    for near in [false, true] {
        let body = draft(near).body(&server.terms(&rich())).unwrap();
        let estimate = server.client.estimate(codec::encode(&body)).await.unwrap();
        assert!(estimate.legs.is_empty() && estimate.reply_gas == 0);
        assert_eq!(estimate.gas, body.gas_limit.get());
        assert_eq!(near, estimate.home_gas < estimate.gas);
        let paid = u128::from(estimate.home_gas) * 10;
        assert_eq!(estimate.fee, paid.to_string());
    }
}

/// What tonic refuses before a service sees it carries our reasons as well.
#[tokio::test]
async fn requests_that_are_no_messages_have_a_reason() {
    let server = server().await;
    let path = "/skerry.v1.StateService/GetAccount";
    let malformed = server
        .raw(
            path,
            v1::Module {
                id: 7,
                name: String::new(),
            },
        )
        .await;
    let large = "x".repeat(super::limits::REQUEST_BYTES_MAX + 1);
    let large = server.raw(path, v1::GetTokenRequest { denom: large }).await;
    let address = server
        .raw(
            path,
            v1::GetTokenRequest {
                denom: "sk1x".to_owned(),
            },
        )
        .await;
    for (status, code, reason) in [
        (
            malformed,
            Code::InvalidArgument,
            ErrorReason::RequestMalformed,
        ),
        (large, Code::ResourceExhausted, ErrorReason::RequestTooLarge),
        (address, Code::InvalidArgument, ErrorReason::AddressInvalid),
    ] {
        use tonic_types::StatusExt as _;
        let info = status
            .get_details_error_info()
            .unwrap_or_else(|| panic!("{status:?}"));
        assert_eq!((status.code(), info.reason.as_str()), (code, reason.name()));
        assert_eq!(info.domain, "skerry");
    }
}

#[tokio::test]
async fn health_says_not_serving_until_the_chains_are_in_step() {
    let server = server().await;
    let channel = tonic::transport::Endpoint::from_shared(server.url.clone()).unwrap();
    let channel = channel.connect().await.unwrap();
    let mut health = tonic_health::pb::health_client::HealthClient::new(channel);
    let mut serving = async |service: &str| {
        let request = tonic_health::pb::HealthCheckRequest {
            service: service.to_owned(),
        };
        health.check(request).await.unwrap().into_inner().status
    };
    assert_eq!(serving("").await, 2);
    assert_eq!(serving("skerry.v1.TransactionService").await, 2);
    assert_eq!(serving("skerry.v1.NodeService").await, 1);
}

#[test]
fn every_reason_has_a_code_and_travels_as_an_error_info() {
    use tonic_types::StatusExt as _;
    for number in 1..=100 {
        let Ok(reason) = ErrorReason::try_from(number) else {
            continue;
        };
        let status = tonic::Status::from(Refusal::new(reason, "text").with("name", 5));
        assert_ne!(code_of(reason), Code::Ok);
        let info = status.get_details_error_info().unwrap();
        assert_eq!(ErrorReason::from_name(&info.reason), Some(reason));
        assert_eq!(info.metadata.get("name").map(String::as_str), Some("5"));
    }
}
