//! Keys, and the genesis that a seed draws.

use super::{BALANCE, CLIENTS_PER_SHARD, EPOCH_MS, Network};
use crate::random::Random;
use skerry_types::amount::{Amount, Asset};
use skerry_types::codec::Version;
use skerry_types::crypto::bls::{SecretKey, Signature};
use skerry_types::crypto::ed25519;
use skerry_types::crypto::hash::plain;
use skerry_types::genesis::{Genesis, GenesisAccount, GenesisValidator, Parameters};
use skerry_types::ids::{Address, TimeMs, ValidatorId, Weight};
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

/// Keys of validators are the same in every seed: making one costs half a millisecond.
pub(super) fn validator_keys() -> &'static [SecretKey] {
    static KEYS: OnceLock<Vec<SecretKey>> = OnceLock::new();
    KEYS.get_or_init(|| {
        (0_u8..9)
            .map(|index| SecretKey::from_seed([index.saturating_add(1); 32]))
            .collect()
    })
}

/// Clients' keys: the first ones, in order of seed, whose address lies in each half.
pub(super) fn client_keys(depth: u8, per_shard: usize) -> Vec<Arc<ed25519::SecretKey>> {
    let mut found: BTreeMap<u16, Vec<Arc<ed25519::SecretKey>>> = BTreeMap::new();
    let shards = 1_usize << depth;
    let mut number = 0_u64;
    while found.len() < shards || found.values().any(|keys| keys.len() < per_shard) {
        let mut seed = [7; 32];
        seed[..8].copy_from_slice(&number.to_le_bytes());
        number = number.wrapping_add(1);
        let key = Arc::new(ed25519::SecretKey::from_seed(seed));
        let address = Address::of_ed25519(&key.public_key());
        let keys = found.entry(address.shard(depth).bits()).or_default();
        if keys.len() < per_shard {
            keys.push(key);
        }
    }
    let mut keys = Vec::new();
    for position in 0..per_shard {
        keys.extend(
            found
                .values()
                .filter_map(|shard| shard.get(position).cloned()),
        );
    }
    keys
}

/// Seats or stakes of four members.
const WEIGHTS: [[u64; 4]; 5] = [
    [1, 1, 1, 1],
    [3, 3, 2, 1],
    [5, 4, 3, 3],
    [2, 2, 1, 1],
    [30, 30, 29, 11],
];

/// Percent of all stake that the largest validator holds in some seeds.
pub const LARGE_PERCENT: u64 = 30;

/// One validator holds [`LARGE_PERCENT`] of all stake, the others share the rest evenly.
fn stakes_with_large(count: usize, large: usize) -> Vec<u64> {
    let others = u64::try_from(count.saturating_sub(1)).unwrap_or(1).max(1);
    let of = |index| {
        if index == large {
            LARGE_PERCENT * others
        } else {
            100 - LARGE_PERCENT
        }
    };
    (0..count).map(of).collect()
}

pub(super) fn draw_genesis(seed: u64, network: Network, random: &mut Random) -> Genesis {
    let count = network.validators();
    let keys = validator_keys();
    let mut stakes = Vec::new();
    while stakes.len() < count {
        let mut four = *random.pick(&WEIGHTS).unwrap_or(&[1; 4]);
        random.shuffle(&mut four);
        stakes.extend(four);
    }
    let epoch_ms = if random.chance(600) {
        random.between(1_000, 5_000)
    } else {
        0
    };
    if random.fork("large").chance(150) {
        let large = random.fork("holder").index(count);
        stakes = stakes_with_large(count, large);
    }
    let mut seats = Vec::new();
    let mut order: Vec<u32> = (0..u32::try_from(count).unwrap_or(8)).collect();
    // Shards whose members differ, or overlap as they fall.
    let disjoint = random.chance(500);
    random.shuffle(&mut order);
    for shard in 0..1_usize << network.depth() {
        if !disjoint && shard > 0 {
            random.shuffle(&mut order);
        }
        let from = if disjoint { shard.saturating_mul(4) } else { 0 };
        // Where seats are dealt anew, four validators must have room for all within the bound.
        let rows = if epoch_ms > 0 && count == 4 {
            vec![WEIGHTS[0], WEIGHTS[2]]
        } else {
            WEIGHTS[..4].to_vec()
        };
        let mut weights = *random.pick(&rows).unwrap_or(&[1; 4]);
        random.shuffle(&mut weights);
        let mut shard_seats = Vec::new();
        for (member, weight) in order.iter().skip(from).zip(weights) {
            shard_seats.extend((0..weight).map(|_| ValidatorId::new(*member)));
        }
        random.shuffle(&mut shard_seats);
        seats.push(shard_seats);
    }
    let delta_ms = random.between(150, 350);
    let idle_interval_ms = random.between(60, 150);
    let accounts: Vec<GenesisAccount> = client_keys(network.depth(), CLIENTS_PER_SHARD)
        .iter()
        .map(|key| GenesisAccount {
            address: Address::of_ed25519(&key.public_key()),
            assets: vec![Asset::nsker(BALANCE)],
        })
        .collect();
    // Clients are the validators' operators, too.
    let operators = accounts.iter().map(|account| account.address).cycle();
    Genesis {
        version: Version,
        name: "simulated".to_owned(),
        salt: plain(&seed.to_le_bytes()),
        time: TimeMs::new(EPOCH_MS),
        development: true,
        shard_depth: network.depth(),
        parameters: Parameters {
            delta_ms,
            idle_interval_ms,
            beacon_interval_ms: random.between(50, 250),
            epoch_ms,
            base_fee: Amount::new(10),
            min_bond: Weight::new(1),
            unbonding_epochs: 1,
            ..Parameters::default()
        },
        validators: keys
            .iter()
            .take(count)
            .zip(&stakes)
            .zip(operators)
            .enumerate()
            .map(|(index, ((key, stake), operator))| GenesisValidator {
                name: format!("v{index}"),
                vote_key: key.public_key(),
                possession: Signature([0; 96]),
                operator,
                stake: Weight::new(*stake),
            })
            .collect(),
        seats,
        accounts,
    }
}
