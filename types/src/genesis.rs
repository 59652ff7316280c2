//! What a network starts from: parameters, validators, seats, accounts.
//!
//! The chain id is the hash of the genesis' canonical bytes; the file people handle is JSON of the
//! same fields. Committees of epoch 0 come from here and count as settled.

use crate::amount::{Amount, Asset};
use crate::codec::{self, CodecError, Version};
use crate::committee::{Committee, Member, VerifyingCommittee, genesis_digest};
use crate::crypto::bls::{self, PublicKey, Signature};
use crate::crypto::hash::{Purpose, hash_of, hash_parts};
use crate::crypto::scheme::VoteScheme;
use crate::ids::{
    Address, ChainRef, Denom, Digest, Epoch, Gas, MemberIndex, ShardId, TimeMs, ValidatorId, Weight,
};
use crate::limits;
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Everything a network starts from.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Genesis {
    /// Version byte.
    #[serde(skip)]
    pub version: Version,
    /// For people.
    pub name: String,
    /// Random, so that no two networks share a chain id.
    pub salt: Digest,
    /// Time of the first block's parent.
    pub time: TimeMs,
    /// Whether development keys are allowed. Nodes refuse such keys elsewhere.
    pub development: bool,
    /// The number of shards is 2 to this power.
    pub shard_depth: u8,
    /// Timing, fees and limits.
    pub parameters: Parameters,
    /// The validators; a validator's id is its position.
    pub validators: Vec<GenesisValidator>,
    /// For each shard, in order, who holds each seat.
    pub seats: Vec<Vec<ValidatorId>>,
    /// Accounts with their balances.
    pub accounts: Vec<GenesisAccount>,
}

/// Timing, fees and limits of a network.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[serde(deny_unknown_fields)]
pub struct Parameters {
    /// Assumed bound on the network's delay, Δ, in milliseconds; leaders have 2 Δ, views 3 Δ.
    pub delta_ms: u64,
    /// How long a leader without work waits before it proposes an idle block.
    pub idle_interval_ms: u64,
    /// Least time between working beacon blocks.
    pub beacon_interval_ms: u64,
    /// Length of an epoch; 0 means that epoch 0 never ends.
    pub epoch_ms: u64,
    /// Lowest base fee of each shard, and its first, in base units of `sker` per unit of gas; zero means
    /// that there is none.
    pub base_fee: Amount,
    /// Gas of a block.
    pub block_gas: Gas,
    /// Gas of the inbound lane of a block.
    pub inbound_gas: Gas,
    /// Least bond of a validator, in whole `sker`.
    pub min_bond: Weight,
    /// Epochs for which a bond stays locked after the last committee of its validator has ended.
    pub unbonding_epochs: u64,
    /// Epochs of the beacon that a shard may let pass without a cross-linked seal before it is fenced.
    pub overdue_epochs: u64,
    /// Epochs for which a jailed validator stays jailed at least.
    pub jail_epochs: u64,
    /// What a validator that contradicts itself loses of its bond, in hundredths of a per cent.
    pub slash_bps: u16,
}

/// Least gas of a block for its own transactions, and least for messages of other chains: two transfers
/// of either kind and some room.
const GAS_MIN: u64 = 50_000;

/// Gas that each chain may always send to each other one, at least: a bundle of as many transfers as it
/// has operations at most.
const SHARE_GAS_MIN: u64 = 250_000;

/// All of something, in hundredths of a per cent.
pub const BPS_ALL: u16 = 10_000;

impl Default for Parameters {
    /// The devnet's.
    fn default() -> Self {
        Self {
            delta_ms: 500,
            idle_interval_ms: 500,
            beacon_interval_ms: 250,
            epoch_ms: 0,
            base_fee: Amount::new(10),
            block_gas: Gas::new(400_000_000),
            inbound_gas: Gas::new(200_000_000),
            min_bond: Weight::new(1_000),
            unbonding_epochs: 4,
            // Four would do where a fenced shard was redrawn; this version leaves it fenced.
            overdue_epochs: 32,
            jail_epochs: 2,
            // The usual slash of a single double-signer.
            slash_bps: 500,
        }
    }
}

/// A validator of the genesis.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GenesisValidator {
    /// For people.
    pub name: String,
    /// Its vote key.
    pub vote_key: PublicKey,
    /// Proof that it holds the key's secret.
    pub possession: Signature,
    /// Who acts for it: tops up, leaves, takes the bond home.
    pub operator: Address,
    /// Effective stake, in whole `sker`.
    pub stake: Weight,
}

/// An account of the genesis.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GenesisAccount {
    /// Whose.
    pub address: Address,
    /// What it holds; denoms strictly increasing.
    pub assets: Vec<Asset>,
}

/// Shortest epoch: below it, ends of epochs would follow each other faster than blocks.
pub const EPOCH_MS_MIN: u64 = 1_000;

/// Base units of `sker` in one unit of weight: stake counts in whole `sker`.
pub const NSKER_PER_WEIGHT: u128 = 1_000_000_000;

/// A stake in base units of `sker`.
pub fn stake_units(stake: Weight) -> u128 {
    u128::from(stake.get()).saturating_mul(NSKER_PER_WEIGHT)
}

/// Why a genesis cannot start a network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GenesisError {
    /// A rule is broken.
    #[error("{0}")]
    Rule(String),
    /// The canonical bytes are wrong.
    #[error("genesis: {0}")]
    Codec(#[from] CodecError),
}

impl Genesis {
    /// The network's id: hash of the canonical bytes.
    pub fn chain_id(&self) -> Digest {
        hash_of(Purpose::GENESIS, self)
    }

    /// All chains, the beacon first.
    pub fn chains(&self) -> Vec<ChainRef> {
        std::iter::once(ChainRef::Beacon)
            .chain(ShardId::all(self.shard_depth).map(ChainRef::Shard))
            .collect()
    }

    /// The home chain of an owner.
    pub fn home(&self, owner: &Address) -> ChainRef {
        ChainRef::Shard(owner.shard(self.shard_depth))
    }

    /// The committee of a chain in epoch 0; `None` for a chain that this network does not have.
    pub fn committee(&self, chain: ChainRef) -> Option<Committee> {
        let seats: Vec<ValidatorId> = match chain {
            ChainRef::Beacon => (0..self.validators.len())
                .filter_map(|index| u32::try_from(index).ok().map(ValidatorId::new))
                .collect(),
            ChainRef::Shard(shard) if shard.depth() == self.shard_depth => {
                self.seats.get(usize::from(shard.bits()))?.clone()
            }
            ChainRef::Shard(_) => return None,
        };
        let mut held: BTreeMap<ValidatorId, u64> = BTreeMap::new();
        for seat in &seats {
            let count = held.entry(*seat).or_default();
            *count = count.saturating_add(1);
        }
        let mut members = Vec::with_capacity(held.len());
        for (validator, count) in &held {
            let record = self
                .validators
                .get(usize::try_from(validator.get()).ok()?)?;
            let weight = if chain.is_beacon() {
                record.stake
            } else {
                Weight::new(*count)
            };
            members.push(Member {
                validator: *validator,
                public_key: record.vote_key,
                weight,
            });
        }
        let position = |validator: &ValidatorId| {
            let index = members
                .iter()
                .position(|member| member.validator == *validator)?;
            u16::try_from(index).ok().map(MemberIndex::new)
        };
        let seats: Option<Vec<MemberIndex>> = seats.iter().map(position).collect();
        let seed = hash_parts(
            Purpose::SEED,
            &[self.chain_id().as_bytes(), &chain.to_bytes()],
        );
        Some(Committee {
            chain,
            epoch: Epoch::ZERO,
            seats: seats?,
            members,
            seed,
        })
    }

    /// The committee of a chain in epoch 0, with decoded keys.
    pub fn verifying_committee(
        &self,
        chain: ChainRef,
        scheme: &dyn VoteScheme,
    ) -> Option<VerifyingCommittee> {
        let chain_id = self.chain_id();
        VerifyingCommittee::new(
            self.committee(chain)?,
            chain_id,
            genesis_digest(&chain_id, chain),
            scheme,
        )
    }

    /// Sum of all balances of one denom and, of `sker`, of all stakes.
    pub fn supply(&self, denom: Denom) -> Option<Amount> {
        let balances = self
            .accounts
            .iter()
            .flat_map(|account| &account.assets)
            .filter(|asset| asset.denom == denom)
            .map(|asset| asset.amount);
        let stakes = self.validators.iter().filter(|_| denom == Denom::SKER);
        let stakes = stakes.map(|it| Amount::new(stake_units(it.stake)));
        let mut all = balances.chain(stakes);
        all.try_fold(Amount::ZERO, Amount::checked_add)
    }

    /// Checks every rule; `possession` also checks the proofs of possession, which costs about a
    /// millisecond each.
    ///
    /// # Errors
    /// Names the first broken rule.
    pub fn check(&self, possession: bool) -> Result<(), GenesisError> {
        let rule = |text: String| Err(GenesisError::Rule(text));
        if self.shard_depth > 6 {
            return rule(format!(
                "shard_depth {} is above 6 (64 shards)",
                self.shard_depth
            ));
        }
        if self.validators.is_empty() || self.validators.len() > limits::VALIDATORS_MAX {
            return rule(format!(
                "{} validators; from 1 to {} are possible",
                self.validators.len(),
                limits::VALIDATORS_MAX
            ));
        }
        if self.seats.len() != 1 << self.shard_depth {
            return rule(format!(
                "seats are given for {} shards, shard_depth {} means {}",
                self.seats.len(),
                self.shard_depth,
                1_u32 << self.shard_depth
            ));
        }
        let parameters = &self.parameters;
        if parameters.delta_ms == 0 || parameters.idle_interval_ms > parameters.delta_ms {
            return rule(format!(
                "idle_interval_ms {} must be at most half the leader timeout of 2 × delta_ms {}",
                parameters.idle_interval_ms, parameters.delta_ms
            ));
        }
        if parameters.epoch_ms > 0 && parameters.epoch_ms < EPOCH_MS_MIN {
            return rule(format!(
                "epoch_ms {} must be 0 (epoch 0 never ends) or at least {EPOCH_MS_MIN}",
                parameters.epoch_ms
            ));
        }
        let own = parameters
            .block_gas
            .get()
            .checked_sub(parameters.inbound_gas.get());
        if own.is_none_or(|own| own < GAS_MIN) || parameters.inbound_gas.get() < GAS_MIN {
            return rule(format!(
                "inbound_gas {} must be at least {GAS_MIN}, and as much below block_gas {}",
                parameters.inbound_gas, parameters.block_gas
            ));
        }
        // A quarter of the window, evenly for all other chains, of which there are as many as shards.
        let lanes = u128::from(parameters.inbound_gas.get());
        let window = lanes.saturating_mul(u128::from(limits::WINDOW_BLOCKS / 4));
        if window >> self.shard_depth < u128::from(SHARE_GAS_MIN) {
            return rule(format!(
                "inbound_gas {} is too little for {} shards: each may always send messages that need \
                 {SHARE_GAS_MIN} gas to each other one, which takes an inbound_gas of at least {}",
                parameters.inbound_gas,
                1_u32 << self.shard_depth,
                (SHARE_GAS_MIN << self.shard_depth).div_ceil(limits::WINDOW_BLOCKS / 4)
            ));
        }
        if parameters.min_bond == Weight::ZERO {
            return rule("min_bond must be at least 1 sker".to_owned());
        }
        if parameters.unbonding_epochs == 0 {
            return rule("unbonding_epochs must be at least 1".to_owned());
        }
        if parameters.overdue_epochs == 0 {
            return rule("overdue_epochs must be at least 1".to_owned());
        }
        if parameters.slash_bps > BPS_ALL {
            return rule(format!(
                "slash_bps {} is above {BPS_ALL}, the whole bond",
                parameters.slash_bps
            ));
        }
        for chain in self.chains() {
            let committee = self.committee(chain);
            if !committee.is_some_and(|committee| committee.is_well_formed()) {
                return rule(format!(
                    "the committee of {chain} is not usable: every seat must belong to a \
                     validator, keys must differ, stakes must be above zero"
                ));
            }
        }
        let mut seen = BTreeMap::new();
        for account in &self.accounts {
            let increasing = account
                .assets
                .windows(2)
                .all(|pair| matches!(pair, [first, second] if first.denom < second.denom));
            let positive = account.assets.iter().all(|asset| !asset.amount.is_zero());
            if !increasing || !positive || seen.insert(account.address, ()).is_some() {
                return rule(format!(
                    "account {}: listed once, denoms strictly increasing, amounts above zero",
                    account.address
                ));
            }
        }
        let stakes = self.validators.iter().map(|it| stake_units(it.stake)).sum();
        let mut supplies = BTreeMap::from([(Denom::SKER, Amount::new(stakes))]);
        for asset in self.accounts.iter().flat_map(|account| &account.assets) {
            let supply = supplies.entry(asset.denom).or_default();
            let Some(sum) = supply.checked_add(asset.amount) else {
                return rule(format!("the supply of {} exceeds 2^128", asset.denom));
            };
            *supply = sum;
        }
        for validator in self.validators.iter().filter(|_| possession) {
            if !bls::verify_possession(&validator.vote_key, &validator.possession) {
                return rule(format!(
                    "{}: the proof of possession is wrong",
                    validator.name
                ));
            }
        }
        Ok(())
    }

    /// Canonical bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        codec::encode(self)
    }
}
