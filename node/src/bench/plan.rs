//! Who sends what to whom, signed before the clock starts.
//!
//! Senders take turns, so that consecutive transfers have different keys and each sender's nonces
//! come in order. Recipients are load accounts too, in the same shard or in the next one.

use super::{BenchError, LoadArgs};
use crate::home::load_key;
use skerry_proto::convert;
use skerry_sdk::builder::{BuildError, Draft, Terms};
use skerry_sdk::client::Client;
use skerry_types::amount::{Amount, Asset};
use skerry_types::codec;
use skerry_types::crypto::ed25519::SecretKey;
use skerry_types::genesis::Genesis;
use skerry_types::ids::{Address, ChainRef, Denom, Digest, Height};
use skerry_types::transaction::Nonce;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Base units of each transfer.
const AMOUNT: u128 = 1_000;
/// For how many beacon blocks a transfer is valid: longer than any run.
const VALID_FOR: u64 = 15_000;
/// How many times the lowest base fee is paid: everything is signed beforehand, and full blocks make
/// the base fee rise.
const PRICE_FACTOR: u128 = 16;
/// Accounts that are asked for at once.
pub(super) const ACCOUNTS_AT_ONCE: usize = 500;
/// Transfers that are signed for a rate of 0, where `--transactions` does not say.
const TRANSACTIONS: u32 = 200_000;
/// A step through the residues of 100 that spreads the transfers to other shards.
const SPREAD: u64 = 61;

/// A load account.
pub(super) struct Sender {
    pub(super) key: SecretKey,
    pub(super) address: Address,
    pub(super) home: ChainRef,
    /// Next nonce and balance before the load.
    pub(super) nonce: u64,
    pub(super) balance: u128,
    /// Its transfers, in order of nonce.
    pub(super) transfers: Vec<usize>,
}

/// A signed transfer.
pub(super) struct Transfer {
    pub(super) id: Digest,
    pub(super) wire: Vec<u8>,
    /// Position of its sender and recipient.
    pub(super) sender: usize,
    pub(super) recipient: usize,
    /// Whether they live on different shards.
    pub(super) crosses: bool,
    /// Base units of its fee.
    pub(super) fee: u128,
}

/// All that is to be sent.
pub(super) struct Plan {
    pub(super) senders: Vec<Sender>,
    pub(super) transfers: Vec<Transfer>,
    /// Transfers by id.
    pub(super) by_id: HashMap<Digest, usize>,
}

impl Plan {
    /// How many senders there are.
    pub(super) fn senders(&self) -> u32 {
        u32::try_from(self.senders.len()).unwrap_or(u32::MAX)
    }

    /// Base units that each transfer moves.
    pub(super) const fn amount() -> u128 {
        AMOUNT
    }
}

/// One transfer to sign.
struct Order {
    sender: usize,
    recipient: usize,
    sequence: u64,
    crosses: bool,
}

/// Signs everything for one run.
pub(super) async fn prepare(
    genesis: &Genesis,
    args: &LoadArgs,
    rate: u32,
    observe: &BTreeMap<ChainRef, Vec<Client>>,
) -> Result<Plan, BenchError> {
    let mut senders = make_senders(genesis, args)?;
    let beacon = read_accounts(&mut senders, observe).await?;
    let count = count(args, rate);
    let orders = orders(&senders, count, args)?;
    let chain_id = genesis.chain_id();
    let valid_until = beacon.saturating_add(VALID_FOR);
    let base_fee = genesis.parameters.base_fee;
    let price = Amount::new(base_fee.get().saturating_mul(PRICE_FACTOR));
    let transfers = sign_all(&senders, &orders, args.threads, |sender, sequence| Terms {
        chain_id,
        sender,
        nonce: Nonce {
            stream: 0,
            sequence,
        },
        valid_until,
        gas_price: price,
    })?;
    for (position, transfer) in transfers.iter().enumerate() {
        if let Some(sender) = senders.get_mut(transfer.sender) {
            sender.transfers.push(position);
        }
    }
    let by_id = transfers
        .iter()
        .enumerate()
        .map(|(position, it)| (it.id, position))
        .collect();
    Ok(Plan {
        senders,
        transfers,
        by_id,
    })
}

/// How many transfers a run signs. A given rate can be offered for all of its length, unless
/// `--transactions` says that less will be taken: those that are refused are offered again.
fn count(args: &LoadArgs, rate: u32) -> u64 {
    let all = match rate {
        0 => u64::from(TRANSACTIONS),
        rate => u64::from(rate).saturating_mul(args.duration.into()),
    };
    match (args.transactions.map(u64::from), rate) {
        (None, _) => all,
        (Some(given), 0) => given,
        (Some(given), _) => given.min(all),
    }
}

fn make_senders(genesis: &Genesis, args: &LoadArgs) -> Result<Vec<Sender>, BenchError> {
    let funded: BTreeSet<Address> = genesis
        .accounts
        .iter()
        .map(|account| account.address)
        .collect();
    let mut senders = Vec::new();
    for index in 0..args.senders {
        let key = load_key(&genesis.salt, index);
        let address = Address::of_ed25519(&key.public_key());
        if !funded.contains(&address) {
            return Err(BenchError::Usage(format!(
                "the genesis funds {index} load accounts, --senders {} needs as many; lay the \
                 network out with --load-accounts {}",
                args.senders, args.senders
            )));
        }
        let home = genesis.home(&address);
        senders.push(Sender {
            key,
            address,
            home,
            nonce: 0,
            balance: 0,
            transfers: Vec::new(),
        });
    }
    let homes: BTreeSet<ChainRef> = senders.iter().map(|sender| sender.home).collect();
    if senders.len() < 2 || homes.len() + 1 < genesis.chains().len() {
        return Err(BenchError::Usage(
            "--senders must reach every shard twice".to_owned(),
        ));
    }
    Ok(senders)
}

/// Final nonces and balances of all senders, from the observers of their shards. Returns the
/// beacon height they know.
pub(super) async fn read_accounts(
    senders: &mut [Sender],
    observe: &BTreeMap<ChainRef, Vec<Client>>,
) -> Result<Height, BenchError> {
    let mut beacon = Height::ZERO;
    for (chain, clients) in observe {
        let Some(client) = clients.first() else {
            continue;
        };
        let mut own: Vec<&mut Sender> = senders
            .iter_mut()
            .filter(|sender| sender.home == *chain)
            .collect();
        for group in own.chunks_mut(ACCOUNTS_AT_ONCE) {
            let addresses: Vec<Address> = group.iter().map(|sender| sender.address).collect();
            let replies = client.accounts(&addresses).await?;
            for (sender, reply) in group.iter_mut().zip(replies) {
                let account = reply.account.unwrap_or_default();
                sender.nonce = account.final_nonce;
                sender.balance = 0;
                for asset in &account.balances {
                    let asset = convert::asset(asset)
                        .map_err(|error| BenchError::Network(error.to_string()))?;
                    if asset.denom == Denom::SKER {
                        sender.balance = asset.amount.get();
                    }
                }
                let known = reply
                    .anchor
                    .and_then(|anchor| anchor.beacon)
                    .unwrap_or_default();
                beacon = beacon.max(Height::new(known.height));
            }
        }
    }
    Ok(beacon)
}

fn orders(senders: &[Sender], count: u64, args: &LoadArgs) -> Result<Vec<Order>, BenchError> {
    let mut homes: BTreeMap<ChainRef, Vec<usize>> = BTreeMap::new();
    let mut place = Vec::with_capacity(senders.len());
    for (position, sender) in senders.iter().enumerate() {
        let there = homes.entry(sender.home).or_default();
        place.push(there.len());
        there.push(position);
    }
    let shards: Vec<&Vec<usize>> = homes.values().collect();
    let shard_of: BTreeMap<ChainRef, usize> = homes
        .keys()
        .enumerate()
        .map(|(position, chain)| (*chain, position))
        .collect();
    if let Some(hot) = args.hot_shard.filter(|hot| *hot >= shards.len()) {
        return Err(BenchError::Usage(format!(
            "--hot-shard {hot}: there are {} shards, counted from 0",
            shards.len()
        )));
    }
    let total = u64::try_from(senders.len()).unwrap_or(1).max(1);
    let mut orders = Vec::new();
    for number in 0..count {
        let (round, turn) = (number / total, number % total);
        let Ok(position) = usize::try_from(turn) else {
            continue;
        };
        let (Some(sender), Some(place)) = (senders.get(position), place.get(position)) else {
            continue;
        };
        let draw = number.wrapping_add(round).wrapping_mul(SPREAD) % 100;
        let own = shard_of.get(&sender.home).copied().unwrap_or(0);
        let crosses =
            shards.len() > 1 && draw < u64::from(args.cross_share) && args.hot_shard != Some(own);
        let step = usize::try_from(round).unwrap_or(0);
        let shard = match args.hot_shard {
            _ if !crosses => own,
            Some(hot) => hot,
            None => own + 1 + step % (shards.len() - 1),
        };
        let Some(there) = shards.get(shard % shards.len()) else {
            continue;
        };
        let mut recipient = (place + 1 + step) % there.len();
        if there.get(recipient) == Some(&position) {
            recipient = (recipient + 1) % there.len();
        }
        let Some(recipient) = there.get(recipient).copied() else {
            continue;
        };
        orders.push(Order {
            sender: position,
            recipient,
            sequence: sender.nonce + round,
            crosses,
        });
    }
    Ok(orders)
}

fn sign_all(
    senders: &[Sender],
    orders: &[Order],
    threads: usize,
    terms: impl Fn(Address, u64) -> Terms + Sync,
) -> Result<Vec<Transfer>, BenchError> {
    let share = orders.len().div_ceil(threads.max(1)).max(1);
    let terms = &terms;
    let parts: Vec<Result<Vec<Transfer>, BenchError>> = std::thread::scope(|scope| {
        let parts: Vec<_> = orders
            .chunks(share)
            .map(|part| {
                scope.spawn(move || {
                    part.iter()
                        .map(|order| sign(senders, order, terms))
                        .collect()
                })
            })
            .collect();
        let failed = || Err(BenchError::Network("a signing thread panicked".to_owned()));
        parts
            .into_iter()
            .map(|part| part.join().unwrap_or_else(|_| failed()))
            .collect()
    });
    let mut transfers = Vec::with_capacity(orders.len());
    for part in parts {
        transfers.extend(part?);
    }
    Ok(transfers)
}

fn sign(
    senders: &[Sender],
    order: &Order,
    terms: &impl Fn(Address, u64) -> Terms,
) -> Result<Transfer, BenchError> {
    let unknown = || BenchError::Usage("an order without sender".to_owned());
    let sender = senders.get(order.sender).ok_or_else(unknown)?;
    let recipient = senders.get(order.recipient).ok_or_else(unknown)?;
    let asset = Asset {
        denom: Denom::SKER,
        amount: Amount::new(AMOUNT),
    };
    let failed = |error: BuildError| BenchError::Usage(error.to_string());
    let draft = Draft::new()
        .transfer(&recipient.address, asset)
        .map_err(failed)?;
    let terms = terms(sender.address, order.sequence);
    let signed = draft.sign(&terms, &sender.key).map_err(failed)?;
    let body = &signed.body;
    let fee = body
        .gas_price
        .get()
        .saturating_mul(body.gas_limit.get().into());
    Ok(Transfer {
        id: body.id(),
        wire: codec::encode(&signed),
        sender: order.sender,
        recipient: order.recipient,
        crosses: order.crosses,
        fee,
    })
}

#[cfg(test)]
mod tests {
    use super::{LoadArgs, TRANSACTIONS, count};

    #[test]
    fn transactions_bound_a_rate_and_are_the_number_without_one() {
        for (rate, transactions, expected) in [
            (0, None, u64::from(TRANSACTIONS)),
            (0, Some(7), 7),
            (100, None, 2_000),
            (100, Some(7), 7),
            (100, Some(3_000), 2_000),
        ] {
            let args = LoadArgs {
                transactions,
                ..LoadArgs::of_rate(rate)
            };
            assert_eq!(count(&args, rate), expected, "{rate} {transactions:?}");
        }
    }
}
