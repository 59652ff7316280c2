//! Helpers of the tests: states in memory, users without keys, a network of two shards.
//!
//! The world executes blocks without consensus, signatures or trees. Draws come from a chain of
//! hashes, so a seed names a whole run.

use crate::block::{BlockContext, BlockWork, Executor, Outcome};
use crate::genesis::{genesis_changes, genesis_facts};
use crate::module::Module;
use crate::modules::bank::calls::BankCall;
use crate::modules::{BANK, MODULES};
use crate::network::NetworkInfo;
use crate::parallel::Mode;
use crate::views;
use skerry_types::amount::{Amount, Asset};
use skerry_types::beacon::{CrossLink, Facts, SystemOperation};
use skerry_types::block::{BlockKind, BlockRef, ExecutionResult, Header, Report};
use skerry_types::certificate::{Bitmap, Certificate};
use skerry_types::codec::{self, Version};
use skerry_types::committee::genesis_digest;
use skerry_types::crypto::bls;
use skerry_types::crypto::ed25519::{PublicKey, Signature};
use skerry_types::crypto::hash::plain;
use skerry_types::genesis::{Genesis, GenesisAccount, Parameters};
use skerry_types::ids::{
    Address, ChainRef, Digest, Epoch, Gas, Height, MemberIndex, ModuleId, ShardId, TimeMs, View,
};
use skerry_types::message::{Batch, ChannelSummary};
use skerry_types::state::{ChangeSet, StateKey, StateRead, Value};
use skerry_types::transaction::{
    Authenticator, Bundle, CheckedTransaction, Nonce, Operation, SignedTransaction, Target,
    TransactionBody, Witness,
};
use skerry_types::vote::Statement;
use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Arc;

/// A state in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct MemoryState(pub(crate) BTreeMap<StateKey, Value>);

impl MemoryState {
    pub(crate) fn apply(&mut self, changes: &ChangeSet) {
        for (key, value) in changes {
            match value {
                Some(value) => self.0.insert(key.clone(), value.clone()),
                None => self.0.remove(key),
            };
        }
    }

    pub(crate) fn records(&self) -> impl Iterator<Item = (&StateKey, &[u8])> {
        self.0.iter().map(|(key, value)| (key, value.as_ref()))
    }

    pub(crate) fn entries(&self, owner: &Address) -> Vec<skerry_types::merkle::OwnerEntry> {
        let of_owner = self.0.iter().filter(|(key, _)| key.owner == *owner);
        of_owner
            .map(|(key, value)| skerry_types::merkle::OwnerEntry {
                module: key.module,
                local: key.local.to_vec(),
                value: value.to_vec(),
            })
            .collect()
    }
}

impl StateRead for MemoryState {
    fn get(&self, key: &StateKey) -> Option<Value> {
        self.0.get(key).cloned()
    }
}

/// Numbers from a seed: a chain of hashes.
pub(crate) struct Draws(pub(crate) Digest);

impl Draws {
    pub(crate) fn new(seed: u64) -> Self {
        Self(plain(&seed.to_le_bytes()))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = plain(self.0.as_bytes());
        self.0.low_u64()
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// Log-uniform below 2^`bits`.
    pub(crate) fn amount(&mut self, bits: u64) -> u128 {
        let width = self.below(bits) + 1;
        let wide = u128::from(self.next()) << 64 | u128::from(self.next());
        (wide >> (128 - width)).max(1)
    }
}

/// An account without a secret: nothing here verifies signatures.
#[derive(Clone, Copy, Debug)]
pub(crate) struct User {
    pub(crate) key: PublicKey,
    pub(crate) address: Address,
}

/// The shard `bits` of two.
pub(crate) fn shard(bits: u16) -> ChainRef {
    ChainRef::Shard(ShardId::new(1, bits).unwrap())
}

/// The `number`-th user of a shard.
pub(crate) fn user(bits: u16, number: u64) -> User {
    let mut salt = 0_u64;
    loop {
        let seed = [u64::from(bits), number, salt]
            .map(u64::to_le_bytes)
            .concat();
        let key = PublicKey(*plain(&seed).as_bytes());
        let address = Address::of_ed25519(&key);
        if ChainRef::Shard(address.shard(1)) == shard(bits) {
            return User { key, address };
        }
        salt += 1;
    }
}

pub(crate) fn bank(call: &BankCall) -> Operation {
    operation(BANK, call)
}

pub(crate) fn operation<T: borsh::BorshSerialize>(module: ModuleId, call: &T) -> Operation {
    Operation {
        module,
        call: codec::encode(call),
    }
}

/// What a test's transaction is made of.
#[derive(Clone)]
pub(crate) struct Draft {
    pub(crate) user: User,
    pub(crate) authenticator: Option<Authenticator>,
    pub(crate) sequence: u64,
    pub(crate) price: u128,
    pub(crate) gas_limit: u64,
    pub(crate) valid_until: u64,
    pub(crate) bundle: Bundle,
}

impl Draft {
    pub(crate) fn new(user: User, sequence: u64, assets: Vec<Asset>) -> Self {
        Self {
            user,
            authenticator: None,
            sequence,
            price: 10,
            gas_limit: 10_000_000,
            valid_until: 100,
            bundle: Bundle {
                target: Target::Home,
                assets,
                operations: Vec::new(),
                minimum_outputs: Vec::new(),
                deadline: Height::new(1_000),
                onward: Vec::new(),
            },
        }
    }

    pub(crate) fn call(mut self, operation: Operation) -> Self {
        self.bundle.operations.push(operation);
        self
    }

    /// For another chain, at a price that its gas does not exceed.
    pub(crate) fn to(mut self, target: Target) -> Self {
        self.bundle.target = target;
        self.price = self.price.max(20);
        self
    }

    pub(crate) fn wire(&self, chain_id: Digest) -> Vec<u8> {
        let authenticator = self
            .authenticator
            .clone()
            .unwrap_or(Authenticator::Ed25519(self.user.key));
        codec::encode(&SignedTransaction {
            body: TransactionBody {
                version: Version,
                chain_id,
                sender: self.user.address,
                nonce: Nonce {
                    stream: 0,
                    sequence: self.sequence,
                },
                valid_until: Height::new(self.valid_until),
                gas_limit: Gas::new(self.gas_limit),
                gas_price: Amount::new(self.price),
                bundle: self.bundle.clone(),
            },
            witness: Witness {
                authenticator,
                signatures: vec![(0, Signature([7; 64]))],
            },
        })
    }

    pub(crate) fn checked(&self, chain_id: Digest) -> Arc<CheckedTransaction> {
        Arc::new(CheckedTransaction::decode(self.wire(chain_id), &chain_id).unwrap())
    }
}

/// A transfer of one asset, attached and sent.
pub(crate) fn transfer(from: User, sequence: u64, to: Address, asset: Asset) -> Draft {
    Draft::new(from, sequence, vec![asset]).call(bank(&BankCall::Send { to, asset }))
}

/// Beacon and two shards, executed without consensus.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) genesis: Genesis,
    pub(crate) network: Arc<NetworkInfo>,
    pub(crate) states: BTreeMap<ChainRef, MemoryState>,
    pub(crate) heights: BTreeMap<ChainRef, u64>,
    pub(crate) summaries: BTreeMap<ChainRef, Vec<ChannelSummary>>,
    pub(crate) facts: Facts,
    pub(crate) modules: &'static [&'static dyn Module],
}

impl World {
    pub(crate) fn new(accounts: &[(User, Vec<Asset>)]) -> Self {
        Self::with(accounts, Parameters::default())
    }

    pub(crate) fn with(accounts: &[(User, Vec<Asset>)], parameters: Parameters) -> Self {
        let account = |(user, assets): &(User, Vec<Asset>)| GenesisAccount {
            address: user.address,
            assets: assets.clone(),
        };
        let genesis = Genesis {
            version: Version,
            name: "test".to_owned(),
            salt: Digest::ZERO,
            time: TimeMs::new(0),
            development: true,
            shard_depth: 1,
            parameters,
            validators: Vec::new(),
            seats: Vec::new(),
            accounts: accounts.iter().map(account).collect(),
        };
        Self::of(genesis)
    }

    /// The network of a genesis, which may be without validators.
    pub(crate) fn of(genesis: Genesis) -> Self {
        let mut world = Self {
            network: Arc::new(NetworkInfo::of(&genesis)),
            states: BTreeMap::new(),
            heights: BTreeMap::new(),
            summaries: BTreeMap::new(),
            facts: genesis_facts(&genesis),
            genesis,
            modules: MODULES,
        };
        for chain in world.network.chains.clone() {
            let outcome = genesis_changes(&world.genesis, chain);
            let mut state = MemoryState::default();
            state.apply(&outcome.changes);
            world.states.insert(chain, state);
            world.heights.insert(chain, 0);
            world.summaries.insert(chain, outcome.channels);
        }
        world
    }

    pub(crate) fn state(&self, chain: ChainRef) -> &MemoryState {
        &self.states[&chain]
    }

    pub(crate) fn context(&self, chain: ChainRef) -> BlockContext {
        let height = self.heights[&chain] + 1;
        BlockContext {
            network: self.network.clone(),
            chain,
            height: Height::new(height),
            time: TimeMs::new(height * 1000),
            beacon: BlockRef {
                height: Height::new(self.heights[&ChainRef::Beacon]),
                digest: Digest::ZERO,
            },
            entropy: Digest::ZERO,
            instance: genesis_digest(&self.network.chain_id, chain),
        }
    }

    /// What executes blocks of this world.
    pub(crate) fn executor(&self, mode: Mode) -> Executor<'_> {
        Executor {
            modules: self.modules,
            ..Executor::new(mode)
        }
    }

    /// Executes, checks that a replay gives the same, and applies.
    pub(crate) fn run(&mut self, chain: ChainRef, work: &BlockWork) -> Outcome {
        let context = self.context(chain);
        let state = &self.states[&chain];
        let in_mode = |mode| self.executor(mode).execute(&context, work, state);
        let outcome = in_mode(Mode::Sequential);
        assert_eq!(in_mode(Mode::Sequential), outcome, "replay");
        for workers in [1, 3].into_iter().filter_map(NonZeroUsize::new) {
            assert_eq!(
                in_mode(Mode::Workers(workers)),
                outcome,
                "{workers} workers"
            );
        }
        self.states.get_mut(&chain).unwrap().apply(&outcome.changes);
        *self.heights.get_mut(&chain).unwrap() += 1;
        self.summaries.insert(chain, outcome.channels.clone());
        if let Some(facts) = &outcome.facts {
            self.facts = facts.clone();
        }
        outcome
    }

    /// Executes transactions.
    pub(crate) fn transactions(&mut self, chain: ChainRef, drafts: &[Draft]) -> Outcome {
        let transactions = drafts
            .iter()
            .map(|draft| draft.checked(self.network.chain_id))
            .collect();
        self.run(
            chain,
            &BlockWork {
                transactions,
                ..BlockWork::default()
            },
        )
    }

    /// Executes inbound batches.
    pub(crate) fn inbound(&mut self, chain: ChainRef, inbound: Vec<Batch>) -> Outcome {
        self.run(
            chain,
            &BlockWork {
                inbound,
                ..BlockWork::default()
            },
        )
    }

    /// A cross-link that shows the present summaries of a shard.
    pub(crate) fn crosslink(&self, chain: ChainRef) -> SystemOperation {
        SystemOperation::CrossLink(Box::new(self.link(chain)))
    }

    /// The link of [`Self::crosslink`].
    pub(crate) fn link(&self, chain: ChainRef) -> CrossLink {
        let mut header = header(&self.network, chain, self.heights[&chain] + 1);
        let channels = self.summaries[&chain].clone();
        header.report.block.height = Height::new(self.heights[&chain]);
        header.report.result.channels_root = skerry_types::message::channels_root(&channels);
        let certificate = certificate(header.digest());
        CrossLink {
            header,
            path: Vec::new(),
            certificate,
            channels,
        }
    }

    /// Base fee of the next block.
    pub(crate) fn base_fee(&self, chain: ChainRef) -> u128 {
        let (context, parameters) = (self.context(chain), &self.network.parameters);
        views::base_fee(self.state(chain), parameters, chain, context.height).get()
    }

    pub(crate) fn balance(&self, user: &User, denom: skerry_types::ids::Denom) -> u128 {
        let chain = self.network.home(&user.address);
        views::balance(self.state(chain), &user.address, &denom).get()
    }
}

/// A header without consensus.
pub(crate) fn header(network: &NetworkInfo, chain: ChainRef, height: u64) -> Header {
    let genesis = genesis_digest(&network.chain_id, chain);
    Header {
        version: Version,
        chain_id: network.chain_id,
        chain,
        epoch: Epoch::ZERO,
        height: Height::new(height),
        view: View::new(height),
        kind: BlockKind::Working,
        parent: genesis,
        proposer: MemberIndex::new(0),
        time: TimeMs::new(height),
        beacon: BlockRef {
            height: Height::ZERO,
            digest: Digest::ZERO,
        },
        body_root: Digest::ZERO,
        report: Report {
            block: BlockRef {
                height: Height::ZERO,
                digest: genesis,
            },
            result: ExecutionResult::default(),
        },
        facts_root: Digest::ZERO,
        next: None,
        reveal: None,
    }
}

/// A finalization without signatures.
pub(crate) fn certificate(digest: Digest) -> Certificate {
    Certificate {
        statement: Statement::Finalize {
            view: View::new(1),
            digest,
        },
        signers: Bitmap::default(),
        signature: bls::Signature([0; 96]),
    }
}
