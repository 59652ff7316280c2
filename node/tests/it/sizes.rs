//! How many bytes travel between shards, and how many prove something. No process runs: blocks are executed
//! by the code that a node runs, on state trees of many accounts, and what they send and what proves it
//! is encoded as nodes do. Headers are made here, with certificates that a quorum of the committee
//! signs, and the light proof must verify from the genesis.
//!
//! `SKERRY_SIZES_ACCOUNTS` sets the accounts of each shard (10,000), `SKERRY_SIZES_DEPTH` the levels of
//! shards (1: two of them).

use crate::net::number;
use serde_json::json;
use skerry_execution::block::{BlockContext, BlockWork, Executor, Outcome};
use skerry_execution::genesis::{genesis_changes, genesis_facts};
use skerry_execution::modules::account::state::{encode_nonce, nonce_key};
use skerry_execution::modules::bank::state::balance_key;
use skerry_execution::network::NetworkInfo;
use skerry_execution::parallel::Mode;
use skerry_execution::view::encode_amount;
use skerry_execution::views;
use skerry_sdk::builder::{Draft, Terms};
use skerry_sdk::keys::AccountKey;
use skerry_sdk::light::TrustedNetwork;
use skerry_storage::StateTree;
use skerry_types::amount::{Amount, Asset};
use skerry_types::beacon::{CrossLink, Facts, SystemOperation};
use skerry_types::block::{BlockKind, BlockRef, ExecutionResult, Header, Report};
use skerry_types::certificate::{Bitmap, Certificate};
use skerry_types::codec::{self, Version};
use skerry_types::committee::{Instance, genesis_digest};
use skerry_types::crypto::bls::{SecretKey, Signature, aggregate};
use skerry_types::crypto::ed25519::PublicKey;
use skerry_types::crypto::hash::plain;
use skerry_types::genesis::{Genesis, GenesisAccount, GenesisValidator, Parameters};
use skerry_types::ids::{
    Address, ChainRef, Denom, Digest, Epoch, Height, MemberIndex, ShardId, TimeMs, ValidatorId,
    View, Weight,
};
use skerry_types::light::LightProof;
use skerry_types::limits;
use skerry_types::message::{Batch, BatchProof, ChannelSummary, InboundBatch};
use skerry_types::receipt::Status;
use skerry_types::state::ChangeSet;
use skerry_types::transaction::{CheckedTransaction, Nonce};
use skerry_types::vote::Statement;
use std::collections::BTreeMap;
use std::sync::Arc;

const BEACON: ChainRef = ChainRef::Beacon;
/// Base units of each native denom that the two accounts have that do something.
const WEALTH: Amount = Amount::new(1_000_000_000_000);
const FAR: Height = Height::new(1_000);

/// A chain as its last block left it.
struct Tip {
    state: StateTree,
    height: Height,
    result: ExecutionResult,
    channels: Vec<ChannelSummary>,
}

/// A network whose blocks are made one by one.
struct Lab {
    genesis: Genesis,
    network: Arc<NetworkInfo>,
    secrets: Vec<SecretKey>,
    facts: Facts,
    tips: BTreeMap<ChainRef, Tip>,
    /// Lives on the first shard.
    alice: Arc<AccountKey>,
    /// Lives on the last shard, and makes the pool.
    bob: Arc<AccountKey>,
    sent: BTreeMap<Address, u64>,
}

/// The first account of a shard that numbers give.
fn account_on(shard: ShardId) -> AccountKey {
    let keys = (0_u32..).map(|number| {
        let seed = plain(&number.to_le_bytes());
        AccountKey::from_seed(*seed.as_bytes())
    });
    let mut here = keys.filter(|key| key.address().shard(shard.depth()) == shard);
    here.next().expect("every shard has accounts")
}

/// Balances and nonces of so many accounts of a shard that do nothing.
fn crowd(shard: ShardId, accounts: usize) -> ChangeSet {
    let (funds, nonce) = (encode_amount(WEALTH), encode_nonce(1));
    let addresses = (0_u64..).map(|number| {
        let key = plain(&[b"crowd".as_slice(), &number.to_le_bytes()].concat());
        Address::of_ed25519(&PublicKey(*key.as_bytes()))
    });
    let here = addresses.filter(|address| address.shard(shard.depth()) == shard);
    let records = here.take(accounts).flat_map(|address| {
        let balance = (balance_key(&address, &Denom::SKER), funds.clone());
        [balance, (nonce_key(&address, 0), Some(nonce.clone()))]
    });
    records.collect()
}

fn genesis(depth: u8, secrets: &[SecretKey], rich: [&AccountKey; 2]) -> Genesis {
    let validators = (0..)
        .zip(secrets)
        .map(|(number, secret): (u32, _)| GenesisValidator {
            name: format!("v{number}"),
            vote_key: secret.public_key(),
            possession: secret.prove_possession(),
            operator: Address::of_system(0, BEACON, &number.to_le_bytes()),
            stake: Weight::new(100_000),
        });
    let members = u32::try_from(secrets.len()).expect("few");
    let seats: Vec<ValidatorId> = (0..members).map(ValidatorId::new).collect();
    let mut accounts = rich.map(|key| GenesisAccount {
        address: key.address(),
        assets: [Denom::SKER, Denom::STSKER]
            .map(|denom| Asset {
                denom,
                amount: WEALTH,
            })
            .to_vec(),
    });
    accounts.sort_by_key(|account| account.address);
    Genesis {
        version: Version,
        name: "sizes".to_owned(),
        salt: Digest::ZERO,
        time: TimeMs::new(1),
        development: true,
        shard_depth: depth,
        parameters: Parameters::default(),
        validators: validators.collect(),
        seats: vec![seats; 1 << depth],
        accounts: accounts.to_vec(),
    }
}

impl Lab {
    fn new(depth: u8, accounts: usize, members: u8) -> Self {
        let shards: Vec<ShardId> = ShardId::all(depth).collect();
        let ends = [shards[0], shards[shards.len() - 1]];
        let [alice, bob] = ends.map(account_on);
        let secret = |number: u8| SecretKey::from_seed(*plain(&[number]).as_bytes());
        let secrets: Vec<SecretKey> = (0..members).map(secret).collect();
        let genesis = genesis(depth, &secrets, [&alice, &bob]);
        let crowds = ends.map(|shard| (ChainRef::Shard(shard), crowd(shard, accounts)));
        let chains = crowds.into_iter().chain([(BEACON, ChangeSet::new())]);
        let tips = chains.map(|(chain, crowd)| {
            let made = genesis_changes(&genesis, chain);
            let tip = Tip {
                state: StateTree::empty().apply(&made.changes).apply(&crowd),
                height: Height::ZERO,
                result: ExecutionResult::default(),
                channels: made.channels,
            };
            (chain, tip)
        });
        Self {
            tips: tips.collect(),
            facts: genesis_facts(&genesis),
            network: Arc::new(NetworkInfo::of(&genesis)),
            genesis,
            secrets,
            alice: Arc::new(alice),
            bob: Arc::new(bob),
            sent: BTreeMap::new(),
        }
    }

    fn home(&self, key: &AccountKey) -> ChainRef {
        self.genesis.home(&key.address())
    }

    /// Executes a block of a chain; all that it holds must succeed.
    fn run(&mut self, chain: ChainRef, work: &BlockWork) -> Outcome {
        let beacon = self.tips[&BEACON].height;
        let tip = self.tips.get_mut(&chain).expect("a chain of this network");
        let height = tip.height.next();
        let context = BlockContext {
            network: self.network.clone(),
            chain,
            height,
            time: TimeMs::new(height.get() * 1_000),
            beacon: BlockRef {
                height: beacon,
                digest: Digest::ZERO,
            },
            entropy: Digest::ZERO,
            instance: genesis_digest(&self.network.chain_id, chain),
        };
        let outcome = Executor::new(Mode::Sequential).execute(&context, work, &tip.state);
        assert_eq!(outcome.alarms, Vec::<String>::new());
        assert_eq!(outcome.skipped, []);
        for receipt in &outcome.receipts {
            assert_eq!(receipt.status, Status::Succeeded);
        }
        tip.state = tip.state.apply(&outcome.changes);
        tip.height = height;
        tip.result = outcome.result(tip.state.root());
        tip.channels.clone_from(&outcome.channels);
        outcome
    }

    /// Executes a draft at its sender's home; gives the batch that left.
    fn send(&mut self, sender: &AccountKey, draft: Draft) -> (Outcome, Option<Batch>) {
        let next = self.sent.entry(sender.address()).or_default();
        let terms = Terms {
            chain_id: self.network.chain_id,
            sender: sender.address(),
            nonce: Nonce {
                stream: 0,
                sequence: *next,
            },
            valid_until: FAR,
            gas_price: Amount::new(self.genesis.parameters.base_fee.get() * 2),
        };
        *next += 1;
        let signed = draft.sign(&terms, sender.secret()).expect("a transaction");
        let wire = codec::encode(&signed);
        let checked = CheckedTransaction::decode(wire, &self.network.chain_id);
        let work = BlockWork {
            transactions: vec![Arc::new(checked.expect("it is well formed"))],
            facts: Some(self.facts.clone()),
            ..BlockWork::default()
        };
        let outcome = self.run(self.home(sender), &work);
        let batch = outcome.outgoing.first().cloned();
        (outcome, batch)
    }

    /// A final header of a chain that reports its newest block, with its certificate.
    fn final_header(&self, chain: ChainRef) -> (Header, Certificate) {
        let tip = &self.tips[&chain];
        let start = genesis_digest(&self.network.chain_id, chain);
        let height = tip.height.next();
        let header = Header {
            version: Version,
            chain_id: self.network.chain_id,
            chain,
            epoch: Epoch::ZERO,
            height,
            view: View::new(height.get()),
            kind: BlockKind::Working,
            parent: start,
            proposer: MemberIndex::new(0),
            time: TimeMs::new(height.get() * 1_000),
            beacon: BlockRef {
                height: self.tips[&BEACON].height,
                digest: start,
            },
            body_root: start,
            report: Report {
                block: BlockRef {
                    height: tip.height,
                    digest: start,
                },
                result: tip.result,
            },
            facts_root: Digest::ZERO,
            next: None,
            reveal: chain.is_beacon().then_some(Signature([0; 96])),
        };
        let certificate = self.certify(&header);
        (header, certificate)
    }

    /// As few members as make a quorum finalize a header.
    fn certify(&self, header: &Header) -> Certificate {
        let chain = header.chain;
        let committee = self.genesis.committee(chain).expect("a committee");
        let instance = Instance {
            chain_id: self.network.chain_id,
            chain,
            epoch: Epoch::ZERO,
            genesis: genesis_digest(&self.network.chain_id, chain),
        };
        let statement = Statement::Finalize {
            view: header.view,
            digest: header.digest(),
        };
        let message = statement.signing_digest(&instance);
        let each = committee.total_weight() / self.secrets.len() as u128;
        let count = usize::try_from(committee.quorum().div_ceil(each)).expect("few");
        let signers = self.secrets.iter().take(count);
        let signatures: Vec<_> = signers.map(|secret| secret.sign(&message)).collect();
        let members = (0..count).map(|index| MemberIndex::new(u16::try_from(index).expect("few")));
        Certificate {
            statement,
            signers: Bitmap::of(members, self.secrets.len()),
            signature: aggregate(&signatures).expect("signatures"),
        }
    }

    /// A batch as its source pushes it.
    fn push(&self, batch: Batch) -> InboundBatch {
        let (header, certificate) = self.final_header(batch.source);
        let key = views::batch_record_key(batch.source, batch.destination, batch.first);
        let record = self.tips[&batch.source].state.prove_key(&key);
        InboundBatch {
            proof: BatchProof {
                header,
                path: Vec::new(),
                certificate,
                record,
            },
            batch,
        }
    }

    /// A batch is executed where it goes.
    fn deliver(&mut self, batch: Batch) -> Outcome {
        let destination = batch.destination;
        let work = BlockWork {
            inbound: vec![batch],
            ..BlockWork::default()
        };
        self.run(destination, &work)
    }

    /// The beacon hears of a shard.
    fn link(&mut self, chain: ChainRef) {
        let (header, certificate) = self.final_header(chain);
        let link = CrossLink {
            header,
            path: Vec::new(),
            certificate,
            channels: self.tips[&chain].channels.clone(),
        };
        let work = BlockWork {
            system: vec![SystemOperation::CrossLink(Box::new(link))],
            ..BlockWork::default()
        };
        let outcome = self.run(BEACON, &work);
        self.facts = outcome.facts.expect("the beacon gives facts");
    }

    /// A light proof of an account, as `ProofService` gives it; it verifies.
    fn light_proof(&self, owner: &AccountKey) -> LightProof {
        let (home, owner) = (self.home(owner), owner.address());
        let (beacon_header, beacon_certificate) = self.final_header(BEACON);
        let beacon = &self.tips[&BEACON].state;
        let proof = LightProof {
            version: Version,
            beacon_header,
            beacon_certificate,
            shard_record: beacon.prove_key(&views::shard_record_key(home)),
            owner: self.tips[&home].state.prove_owner(&owner),
        };
        let trusted = TrustedNetwork::new(&self.genesis).expect("the genesis keeps its rules");
        let shown = trusted.verify(&codec::encode(&proof), &owner);
        shown.expect("the proof verifies");
        proof
    }

    /// A swap of Alice at a pool of Bob: the request, and its reply.
    fn swap(&mut self) -> (Batch, Batch) {
        let [sker, stsker] = [Denom::SKER, Denom::STSKER].map(|denom| Asset {
            denom,
            amount: Amount::new(1_000_000_000),
        });
        let mut assets = [sker, stsker];
        assets.sort_by_key(|asset| asset.denom);
        let draft = Draft::new()
            .attach(sker)
            .and_then(|draft| draft.attach(stsker));
        let call = json!({"create_pool": {"assets": assets, "fee_ppm": 3_000}});
        let draft = draft.and_then(|draft| draft.call("dex", &call));
        let (made, _) = self.send(&self.bob.clone(), draft.expect("a pool"));
        let event = made.receipts[0]
            .events
            .iter()
            .find(|event| event.name == "create_pool");
        let pool = event.expect("it tells").owner;
        let input = Asset::nsker(1_000_000);
        let least = Asset {
            denom: Denom::STSKER,
            amount: Amount::new(1),
        };
        let call = json!({"swap_exact_in":
            {"route": [pool], "input": input, "minimum_output": least}});
        let draft = Draft::new().near(pool).attach(input);
        let draft = draft.and_then(|draft| draft.call("dex", &call));
        let (_, request) = self.send(&self.alice.clone(), draft.expect("a swap"));
        let request = request.expect("it leaves");
        let there = self.deliver(request.clone());
        (request, there.outgoing[0].clone())
    }
}

fn bytes(value: &impl borsh::BorshSerialize) -> usize {
    codec::encode(value).len()
}

fn shown(name: &str, bytes: usize) {
    println!("  {name:<40} {bytes:>6}");
}

#[test]
fn messages_and_proofs_have_their_sizes() {
    let accounts = usize::try_from(number("SKERRY_SIZES_ACCOUNTS", 10_000)).expect("it fits");
    let depth = u8::try_from(number("SKERRY_SIZES_DEPTH", 1)).expect("at most 6");
    println!("bytes, {} shards of {accounts} accounts each", 1 << depth);
    for members in [4_u8, 100] {
        let mut lab = Lab::new(depth, accounts, members);
        let draft = Draft::new().transfer(&lab.bob.address(), Asset::nsker(5));
        let (_, batch) = lab.send(&lab.alice.clone(), draft.expect("a transfer"));
        let batch = batch.expect("it leaves");
        let transfer = batch.messages[0].len();
        let pushed = lab.push(batch);
        lab.deliver(pushed.batch.clone());
        let (request, reply) = lab.swap();
        let [request, reply] = [request, reply].map(|batch| batch.messages[0].len());
        assert!(reply <= limits::REPLY_BYTES && request <= limits::MESSAGE_BYTES_MAX);
        lab.link(lab.home(&lab.alice));
        let light = lab.light_proof(&lab.alice);
        println!("committees of {members} members");
        shown("transfer of one asset", transfer);
        shown("request, a bundle of one swap", request);
        shown("its reply, of one asset", reply);
        shown("batch of one transfer with its proof", bytes(&pushed));
        shown("its proof", bytes(&pushed.proof));
        shown("  header", bytes(&pushed.proof.header));
        shown("  certificate", bytes(&pushed.proof.certificate));
        shown("  path to the batch's record", bytes(&pushed.proof.record));
        shown("light proof of an account", bytes(&light));
        shown("  beacon header", bytes(&light.beacon_header));
        shown("  its certificate", bytes(&light.beacon_certificate));
        shown(
            "  record of the shard, and path",
            bytes(&light.shard_record),
        );
        shown("  records of the account, and path", bytes(&light.owner));
        let certificate = &pushed.proof.certificate;
        assert!(bytes(certificate) <= limits::CERTIFICATE_BYTES_MAX);
        assert!(bytes(&light) <= limits::PROOF_BYTES_MAX);
    }
}
