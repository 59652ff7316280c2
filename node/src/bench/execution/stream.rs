//! Who does what, block after block, and the state on which all of it can be done.
//!
//! The executor never looks at signatures, so accounts are addresses of keys that nobody has, and
//! each signature is zero; in every other respect the transactions are those of wallets, decoded
//! from their bytes. Nonces are counted here and funds exceed what any run moves, so every
//! transaction must succeed.

use super::draws::{Choice, Draws};
use super::state::State;
use super::{ExecutionError, Workload};
use skerry_execution::block::{BlockContext, BlockWork};
use skerry_execution::genesis::genesis_changes;
use skerry_execution::modules::account::state::{encode_nonce, nonce_key};
use skerry_execution::modules::bank::calls::BankCall;
use skerry_execution::modules::bank::state::balance_key;
use skerry_execution::modules::dex::calls::DexCall;
use skerry_execution::modules::dex::state::{PoolFee, PoolRecord, pool_key};
use skerry_execution::modules::{BANK, DEX};
use skerry_execution::network::NetworkInfo;
use skerry_execution::view::encode_amount;
use skerry_sdk::builder::gas_of;
use skerry_types::amount::{Amount, Asset};
use skerry_types::block::BlockRef;
use skerry_types::codec::{self, Version};
use skerry_types::committee::genesis_digest;
use skerry_types::crypto::ed25519::{PublicKey, Signature};
use skerry_types::crypto::hash::plain;
use skerry_types::genesis::{Genesis, Parameters};
use skerry_types::ids::{Address, ChainRef, Denom, Digest, Gas, Height, ShardId, TimeMs};
use skerry_types::state::Value;
use skerry_types::transaction::{
    Authenticator, Bundle, CheckedTransaction, Nonce, Operation, SignedTransaction, Target,
    TransactionBody, Witness,
};
use std::sync::Arc;

/// Base units of each denom that an account has: more than a run of years could move.
pub(super) const FUNDS: Amount = Amount::new(1_000_000_000_000_000_000_000_000);
/// Of each reserve of a pool: so deep that the price hardly moves.
pub(super) const RESERVE: Amount = Amount::new(1_000_000_000_000_000_000);
/// 0.3 %.
pub(super) const POOL_FEE: PoolFee = PoolFee::new(3_000);
/// What is moved, at least and by how much more at most. Less could bring nothing from a pool.
const AMOUNT_MIN: u64 = 1_000;
const AMOUNT_SPREAD: u64 = 1_000_000;
/// Heights from one block to the next: full blocks raise the base fee, and heights without any bring it
/// back, so that every transaction can pay the lowest one.
const HEIGHTS_APART: u64 = 10;
/// The next nonce of each account at the start; not 0, so that its record is there already.
pub(super) const SEQUENCE_FIRST: u64 = 1;
const BLOCK_INTERVAL_MS: u64 = 1_000;
const VALID_UNTIL: Height = Height::new(u64::MAX);
/// How often a recipient is drawn again that is the sender.
const REDRAWS: u32 = 64;

/// What an order moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deed {
    /// Base units of `sker` to another account.
    Transfer { to: Address, amount: Amount },
    /// An exact input to a pool.
    Swap { pool: Address, input: Asset },
}

/// A transaction as it was drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Order {
    pub(super) sender: Address,
    pub(super) sequence: u64,
    pub(super) fee: Amount,
    pub(super) deed: Deed,
}

/// A block to execute.
pub(super) struct Block {
    pub(super) context: BlockContext,
    pub(super) work: BlockWork,
    /// Its transactions once more, for a loop that is no executor.
    pub(super) orders: Vec<Order>,
}

/// An account without a secret.
struct Account {
    address: Address,
    sequence: u64,
}

/// How large a stream's set of accounts and pools is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extent {
    /// Which set it is: no two sets share an account or a pool.
    pub(super) set: u64,
    pub(super) accounts: u32,
    pub(super) pools: u32,
}

/// Draws blocks over a set of accounts and pools.
pub(super) struct Stream {
    network: Arc<NetworkInfo>,
    chain: ChainRef,
    height: Height,
    extent: Extent,
    swap_percent: u64,
    accounts: Vec<Account>,
    pools: Vec<Address>,
    /// The denom that all pools exchange for `sker`.
    token: Denom,
    draws: Draws,
    account_choice: Choice,
    pool_choice: Choice,
}

/// The genesis of a network of one shard: its accounts are put into the state, not listed here.
fn genesis() -> Genesis {
    Genesis {
        version: Version,
        name: "bench".to_owned(),
        salt: Digest::ZERO,
        time: TimeMs::new(0),
        development: true,
        shard_depth: 0,
        parameters: Parameters::default(),
        validators: Vec::new(),
        seats: Vec::new(),
        accounts: Vec::new(),
    }
}

/// The key of a set's account or pool creator; nobody has its secret.
fn key_of(kind: u8, set: u64, number: u64) -> PublicKey {
    let mut seed = [kind; 17];
    let numbers = set.to_le_bytes().into_iter().chain(number.to_le_bytes());
    for (to, from) in seed.iter_mut().skip(1).zip(numbers) {
        *to = from;
    }
    PublicKey(*plain(&seed).as_bytes())
}

fn account_key(set: u64, number: u64) -> PublicKey {
    key_of(b'a', set, number)
}

fn pool_of(set: u64, number: u64) -> Address {
    let creator = Address::of_ed25519(&key_of(b'p', set, number));
    Address::of_object(DEX.get(), &creator, 0, 0, 0)
}

fn number(position: usize) -> u64 {
    u64::try_from(position).unwrap_or(u64::MAX)
}

impl Stream {
    pub(super) fn new(workload: Workload, extent: Extent, seed: u64) -> Self {
        let network = NetworkInfo::of(&genesis());
        let shard = ShardId::all(network.shard_depth).next();
        let set = extent.set;
        let accounts: Vec<Account> = (0..u64::from(extent.accounts))
            .map(|number| Account {
                address: Address::of_ed25519(&account_key(set, number)),
                sequence: SEQUENCE_FIRST,
            })
            .collect();
        let pools: Vec<Address> = (0..u64::from(extent.pools))
            .map(|number| pool_of(set, number))
            .collect();
        // Sets begin far apart in the generator's cycle.
        let mut seeds = Draws::new(seed ^ set.rotate_left(32));
        Self {
            network: Arc::new(network),
            chain: shard.map_or(ChainRef::Beacon, ChainRef::Shard),
            height: Height::ZERO,
            extent,
            swap_percent: workload.swap_percent(),
            account_choice: Choice::new(accounts.len(), workload.account_exponent()),
            pool_choice: Choice::new(pools.len(), Some(Workload::POOL_EXPONENT)),
            accounts,
            pools,
            token: Denom::created(&Address::of_ed25519(&key_of(b't', 0, 0)), "bench"),
            draws: Draws::new(seeds.next()),
        }
    }

    /// The addresses of all accounts.
    pub(super) fn addresses(&self) -> impl Iterator<Item = &Address> {
        self.accounts.iter().map(|account| &account.address)
    }

    pub(super) fn pools(&self) -> &[Address] {
        &self.pools
    }

    fn has_pools(&self) -> bool {
        !self.pools.is_empty()
    }

    /// The state before the first block.
    pub(super) fn initial_state(&self) -> State {
        let mut state = State::with_capacity(self.accounts.len());
        state.apply(genesis_changes(&genesis(), self.chain).changes);
        let (funds, nonce) = (encode_amount(FUNDS), encode_nonce(SEQUENCE_FIRST));
        for address in self.addresses() {
            state.put(balance_key(address, &Denom::SKER), funds.clone());
            state.put(nonce_key(address, 0), Some(nonce.clone()));
            if self.has_pools() {
                state.put(balance_key(address, &self.token), funds.clone());
            }
        }
        for pool in &self.pools {
            let reserve = |denom| Asset {
                denom,
                amount: RESERVE,
            };
            let mut reserves = [reserve(Denom::SKER), reserve(self.token)];
            reserves.sort_by_key(|asset| asset.denom);
            let record = PoolRecord::new(reserves, POOL_FEE, TimeMs::new(0));
            state.put(pool_key(pool), Some(Value::from(codec::encode(&record))));
        }
        state
    }

    /// Draws the next block.
    ///
    /// # Errors
    /// When a transaction cannot be made.
    pub(super) fn next(&mut self, transactions: u32) -> Result<Block, ExecutionError> {
        let height = self.height.next();
        self.height = self.height.saturating_add(HEIGHTS_APART);
        let mut orders = Vec::new();
        let mut checked = Vec::new();
        for _ in 0..transactions {
            let (position, deed) = self.draw().ok_or(ExecutionError::Empty)?;
            let (order, transaction) = self.transaction(position, deed)?;
            orders.push(order);
            checked.push(Arc::new(transaction));
        }
        let context = BlockContext {
            network: Arc::clone(&self.network),
            chain: self.chain,
            height,
            time: TimeMs::new(height.get().saturating_mul(BLOCK_INTERVAL_MS)),
            beacon: BlockRef {
                height: Height::ZERO,
                digest: genesis_digest(&self.network.chain_id, ChainRef::Beacon),
            },
            entropy: Digest::ZERO,
            instance: genesis_digest(&self.network.chain_id, self.chain),
        };
        let work = BlockWork {
            transactions: checked,
            ..BlockWork::default()
        };
        Ok(Block {
            context,
            work,
            orders,
        })
    }

    /// The position of a sender, and what it does.
    fn draw(&mut self) -> Option<(usize, Deed)> {
        let draws = &mut self.draws;
        let amount = AMOUNT_MIN.saturating_add(draws.below(AMOUNT_SPREAD));
        let amount = Amount::new(amount.into());
        if draws.below(100) < self.swap_percent {
            let sender = draws.position(self.accounts.len());
            let pool = *self.pools.get(self.pool_choice.draw(draws))?;
            let denom = match draws.below(2) {
                0 => Denom::SKER,
                _ => self.token,
            };
            let input = Asset { denom, amount };
            return Some((sender, Deed::Swap { pool, input }));
        }
        let sender = self.account_choice.draw(draws);
        let mut recipient = self.account_choice.draw(draws);
        for _ in 0..REDRAWS {
            if recipient != sender {
                break;
            }
            recipient = self.account_choice.draw(draws);
        }
        let to = self.accounts.get(recipient)?.address;
        Some((sender, Deed::Transfer { to, amount }))
    }

    /// Makes a transaction and counts its nonce.
    fn transaction(
        &mut self,
        position: usize,
        deed: Deed,
    ) -> Result<(Order, CheckedTransaction), ExecutionError> {
        let chain_id = self.network.chain_id;
        let (asset, operation) = self.operation(deed);
        let account = self
            .accounts
            .get_mut(position)
            .ok_or(ExecutionError::Empty)?;
        let (sender, sequence) = (account.address, account.sequence);
        account.sequence = sequence.saturating_add(1);
        let mut body = TransactionBody {
            version: Version,
            chain_id,
            sender,
            nonce: Nonce {
                stream: 0,
                sequence,
            },
            valid_until: VALID_UNTIL,
            gas_limit: Gas::ZERO,
            gas_price: self.network.parameters.base_fee,
            bundle: Bundle {
                target: Target::Home,
                assets: vec![asset],
                operations: vec![operation],
                minimum_outputs: Vec::new(),
                deadline: VALID_UNTIL,
                onward: Vec::new(),
            },
        };
        body.gas_limit = gas_of(&body)?;
        let fee = body.gas_price.checked_mul(body.gas_limit.get().into());
        let fee = fee.unwrap_or(Amount::MAX);
        let key = account_key(self.extent.set, number(position));
        let signed = SignedTransaction {
            body,
            witness: Witness {
                authenticator: Authenticator::Ed25519(key),
                signatures: vec![(0, Signature([0; 64]))],
            },
        };
        let checked = CheckedTransaction::decode(codec::encode(&signed), &chain_id)?;
        let order = Order {
            sender,
            sequence,
            fee,
            deed,
        };
        Ok((order, checked))
    }

    /// What a deed attaches, and its call.
    fn operation(&self, deed: Deed) -> (Asset, Operation) {
        match deed {
            Deed::Transfer { to, amount } => {
                let asset = Asset {
                    denom: Denom::SKER,
                    amount,
                };
                let call = BankCall::Send { to, asset }.to_bytes();
                (asset, Operation { module: BANK, call })
            }
            Deed::Swap { pool, input } => {
                let denom = if input.denom == Denom::SKER {
                    self.token
                } else {
                    Denom::SKER
                };
                let call = DexCall::SwapExactIn {
                    route: vec![pool],
                    input,
                    // Any output will do: what is measured does not depend on the limit.
                    minimum_output: Asset {
                        denom,
                        amount: Amount::new(1),
                    },
                };
                let call = call.to_bytes();
                (input, Operation { module: DEX, call })
            }
        }
    }
}
