//! How others read the state: the glue, the mempool, the gRPC services, the wallet's verifier.
//!
//! All keys of the state are made by the functions re-exported here. Broken records read as
//! absent; [`crate::module::Module::check_invariants`] is what finds them.

use crate::credit;
use crate::fence::is_fencing;
use crate::modules::account::state::{AuthenticatorRecord, authenticator_key, decode_nonce};
use crate::modules::bank::state::{BALANCE, read_claim_key, read_denom_key};
use crate::modules::staking::state::read_live;
use crate::modules::{BANK, fee_market};
use crate::network::NetworkInfo;
use crate::view::{decode_amount, decode_record, read_amount};
use borsh::BorshDeserialize;
use skerry_types::amount::{Amount, Asset};
use skerry_types::beacon::{EpochRecord, Facts, ShardRecord};
use skerry_types::block::NextCommittee;
use skerry_types::codec::Version;
use skerry_types::committee::Committee;
use skerry_types::crypto::bls::PublicKey;
use skerry_types::evidence::Evidence;
use skerry_types::genesis::Parameters;
use skerry_types::ids::{Address, ChainRef, Denom, Digest, Epoch, Height, Sequence, ValidatorId};
use skerry_types::merkle::OwnerEntry;
use skerry_types::message::{BatchRecord, ChannelSummary, Credit, Flow, MessageId};
use skerry_types::state::{StateKey, StateRead};
use skerry_types::transaction::{Authenticator, CheckedTransaction};

pub use crate::modules::account::state::nonce_key;
pub use crate::modules::bank::state::{balance_key, burnt_key, claim_key, fee_account};
pub use crate::modules::beacon_facts::state::{
    FactsHead, facts_beacon_key, facts_epoch_key, facts_head_key, facts_shard_key,
};
pub use crate::modules::channels::due::{DUE_AFTER, DueMark, DueRecord, is_due};
pub use crate::modules::channels::state::{
    InboundState, OutboundState, RequestRecord, Turns, batch_record_key, due_key, inbound_key,
    inbox_body_key, outbound_key, request_key, turns_key,
};
pub use crate::modules::crosslinks::state::shard_record_key;
pub use crate::modules::dex::state::{PoolFee, PoolRecord, pool_key, share_denom};
pub use crate::modules::epochs::state::{
    Mix, Seat, Seating, Stage, committee_key, epoch_key, instance_key, kept_key, mix_key, over_key,
    ready_key, seating_key,
};
pub use crate::modules::epochs::{deal::newcomers, settle_after};
pub use crate::modules::evidence::state::{Offences, Punished, offences_key, offences_object};
pub use crate::modules::fee_market::state::{PriceRecord, price_key};
pub use crate::modules::staking::calls::registration_digest;
pub use crate::modules::staking::state::{
    Stage as ValidatorStage, ValidatorRecord, pool as bond_pool, validator_key, vote_key_key,
};
pub use crate::modules::token::state::{TokenRecord, supply_key, token_key};

fn record<T: BorshDeserialize>(state: &dyn StateRead, key: &StateKey) -> Option<T> {
    state.get(key).and_then(|value| decode_record(&value).ok())
}

/// The next number of an account's stream.
pub fn next_nonce(state: &dyn StateRead, address: &Address, stream: u16) -> u64 {
    decode_nonce(state.get(&nonce_key(address, stream)).as_ref())
}

/// The least gas price of the block at `height` on this state, in base units of `sker` per unit of
/// gas: the base fee, which is destroyed.
pub fn base_fee(
    state: &dyn StateRead,
    parameters: &Parameters,
    chain: ChainRef,
    height: Height,
) -> Amount {
    let stored = record(state, &price_key(chain));
    fee_market::price_at(stored.as_ref(), parameters, height)
}

/// A gas price that should do for the next blocks when the next one has `base_fee`: that where it is
/// as low as it gets, else what it is after two more full blocks.
pub fn gas_price(base_fee: Amount, parameters: &Parameters) -> Amount {
    if base_fee <= parameters.base_fee {
        return base_fee;
    }
    let following = |price| fee_market::after(price, parameters.block_gas, parameters);
    following(following(base_fee))
}

/// What an account holds of a denom.
pub fn balance(state: &dyn StateRead, address: &Address, denom: &Denom) -> Amount {
    let value = state.get(&balance_key(address, denom));
    decode_amount(value.as_ref()).unwrap_or(Amount::ZERO)
}

/// The balances among an owner's records, in order of denom.
pub fn balances(records: &[OwnerEntry]) -> Vec<Asset> {
    let read = |record: &OwnerEntry| {
        let (tag, denom) = read_denom_key(&record.local)?;
        let amount = read_amount(&record.value)?;
        (record.module == BANK && tag == BALANCE).then_some(Asset { denom, amount })
    };
    let mut assets: Vec<Asset> = records.iter().filter_map(read).collect();
    assets.sort_unstable();
    assets
}

/// A claim: value of a message that could not be credited and waits for its owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The message's source.
    pub source: ChainRef,
    /// The message's position.
    pub sequence: Sequence,
    /// What waits.
    pub asset: Asset,
}

/// The claims among an owner's records, in order of source, position and denom.
pub fn claims(records: &[OwnerEntry]) -> Vec<Claim> {
    let read = |record: &OwnerEntry| {
        let (denom, source, sequence) = read_claim_key(&record.local)?;
        let amount = read_amount(&record.value)?;
        let asset = Asset { denom, amount };
        (record.module == BANK).then_some(Claim {
            source,
            sequence,
            asset,
        })
    };
    let mut claims: Vec<Claim> = records.iter().filter_map(read).collect();
    claims.sort_unstable_by_key(|claim| (claim.source, claim.sequence, claim.asset));
    claims
}

/// How an account is controlled, when its keys were rotated; else its first keys control it.
pub fn authenticator(state: &dyn StateRead, address: &Address) -> Option<Authenticator> {
    record::<AuthenticatorRecord>(state, &authenticator_key(address)).map(|it| it.authenticator)
}

/// Whether the keys of a transaction control its sender in this state.
pub fn controls(state: &dyn StateRead, transaction: &CheckedTransaction) -> bool {
    let stated = &transaction.transaction().witness.authenticator;
    match state.get(&authenticator_key(&transaction.body().sender)) {
        None => transaction.has_first_keys(),
        Some(value) => decode_record::<AuthenticatorRecord>(&value)
            .is_ok_and(|record| record.authenticator == *stated),
    }
}

/// What a token is, in the state of its creator's shard.
pub fn token(state: &dyn StateRead, denom: &Denom) -> Option<TokenRecord> {
    record(state, &token_key(denom))
}

/// Supply of a token, in the state of its creator's shard.
pub fn token_supply(state: &dyn StateRead, denom: &Denom) -> Amount {
    decode_amount(state.get(&supply_key(denom)).as_ref()).unwrap_or(Amount::ZERO)
}

/// A pool, in the state of its shard.
pub fn pool(state: &dyn StateRead, pool: &Address) -> Option<PoolRecord> {
    record(state, &pool_key(pool))
}

/// Which facts a shard's state holds.
pub fn facts_head(state: &dyn StateRead, chain: ChainRef) -> Option<FactsHead> {
    record(state, &facts_head_key(chain))
}

/// The record of a shard in the facts that the state of `chain` holds.
pub fn imported_record(
    state: &dyn StateRead,
    chain: ChainRef,
    shard: ChainRef,
) -> Option<ShardRecord> {
    record(state, &facts_shard_key(chain, shard))
}

/// The facts that a shard's state holds.
pub fn imported_facts(state: &dyn StateRead, network: &NetworkInfo, chain: ChainRef) -> Facts {
    let shards = network.chains.iter().filter(|chain| !chain.is_beacon());
    Facts {
        version: Version,
        epoch: epoch(state, chain).unwrap_or_default(),
        shards: shards
            .filter_map(|shard| imported_record(state, chain, *shard))
            .collect(),
        beacon_channels: record(state, &facts_beacon_key(chain)).unwrap_or_default(),
    }
}

/// The epoch that a state is in: on the beacon its own, on a shard that of the imported facts. A
/// state is in a later epoch than the block that made it when that block ended its epoch.
pub fn epoch(state: &dyn StateRead, chain: ChainRef) -> Option<EpochRecord> {
    let key = if chain.is_beacon() {
        epoch_key()
    } else {
        facts_epoch_key(chain)
    };
    record(state, &key)
}

/// What a seal names as next, after a state of `chain` that is in a later epoch than `open`; none
/// while that epoch goes on.
pub fn next_committee(
    state: &dyn StateRead,
    network: &NetworkInfo,
    chain: ChainRef,
    open: Epoch,
) -> Option<NextCommittee> {
    let record = epoch(state, chain).filter(|record| record.epoch > open)?;
    let position = network.chains.binary_search(&chain).ok()?;
    let committee = record.committees.get(position)?;
    Some(NextCommittee {
        epoch: record.epoch,
        root: committee.root,
        weight: committee.weight,
    })
}

/// The committee of a chain in an epoch, in a beacon state that still has it.
pub fn committee(beacon: &dyn StateRead, chain: ChainRef, epoch: Epoch) -> Option<Committee> {
    record(beacon, &committee_key(chain, epoch))
}

/// What the votes of a chain in an epoch are bound to, in a beacon state that still has it.
pub fn instance(beacon: &dyn StateRead, chain: ChainRef, epoch: Epoch) -> Option<Digest> {
    let noted: Option<(Version, Digest)> = record(beacon, &instance_key(chain, epoch));
    noted.map(|(_, genesis)| genesis)
}

/// The oldest epoch of which a beacon state may still have what evidence about a chain is judged by. Of
/// a fenced shard it keeps the committee of the open epoch for longer.
pub fn kept_from(beacon: &dyn StateRead, chain: ChainRef) -> Epoch {
    let kept: Option<(Version, Epoch)> = record(beacon, &kept_key(chain));
    kept.map_or(Epoch::ZERO, |(_, epoch)| epoch)
}

/// The seats of a chain, in a beacon state.
pub fn seating(beacon: &dyn StateRead, chain: ChainRef, stage: Stage) -> Option<Seating> {
    record(beacon, &seating_key(chain, stage))
}

/// Whether a newcomer is noted as ready for its seat in an epoch, in a beacon state.
pub fn is_ready(
    beacon: &dyn StateRead,
    chain: ChainRef,
    validator: ValidatorId,
    epoch: Epoch,
) -> bool {
    record::<(Version, Epoch)>(beacon, &ready_key(chain, validator))
        .is_some_and(|(_, noted)| noted == epoch)
}

/// A validator, in a beacon state.
pub fn validator(beacon: &dyn StateRead, validator: ValidatorId) -> Option<ValidatorRecord> {
    record(beacon, &validator_key(validator))
}

/// All live validators, in a beacon state, in order of id: those that took their bond home are found
/// by [`validator`] only. None where the record of who is live is damaged.
pub fn validators(beacon: &dyn StateRead) -> Vec<(ValidatorId, ValidatorRecord)> {
    read_live(|key| beacon.get(&key))
        .unwrap_or_default()
        .into_iter()
        .filter_map(|id| Some((id, validator(beacon, id)?)))
        .collect()
}

/// The validator that has a vote key, or had it, in a beacon state.
pub fn validator_of_key(beacon: &dyn StateRead, vote_key: &PublicKey) -> Option<ValidatorId> {
    let noted: Option<(Version, ValidatorId)> = record(beacon, &vote_key_key(vote_key));
    noted.map(|(_, validator)| validator)
}

/// Who was punished for what it signed on a chain in an epoch, in a beacon state that still has it.
pub fn offences(beacon: &dyn StateRead, chain: ChainRef, epoch: Epoch) -> Offences {
    record(beacon, &offences_key(chain, epoch)).unwrap_or_default()
}

/// Whether evidence, once verified, would change a beacon state: it is of a committee that is kept,
/// and proves an offence that was not punished or a fork that has not fenced its shard.
pub fn is_news(beacon: &dyn StateRead, evidence: &Evidence) -> bool {
    let (chain, epoch) = (evidence.chain, evidence.epoch);
    let is_begun = instance(beacon, chain, epoch).is_some();
    let committee = committee(beacon, chain, epoch).filter(|_| is_begun);
    committee.is_some_and(|committee| is_news_of(beacon, &committee, evidence))
}

/// [`is_news`], where the committee that the state keeps is known already.
pub fn is_news_of(beacon: &dyn StateRead, committee: &Committee, evidence: &Evidence) -> bool {
    let (chain, epoch) = (evidence.chain, evidence.epoch);
    let punished = offences(beacon, chain, epoch);
    let guilty = evidence.guilty(committee.members.len()).into_iter();
    let mut guilty = guilty.filter_map(|index| committee.member(index));
    let is_open = || shard_record(beacon, chain).is_some_and(|record| !record.fenced);
    guilty.any(|member| !punished.has(member.validator)) || evidence.is_fork() && is_open()
}

/// The epoch of `source` whose headers prove batches to `chain`, in a state of `chain`.
pub fn open_epoch(state: &dyn StateRead, chain: ChainRef, source: ChainRef) -> Option<Epoch> {
    if source.is_beacon() {
        return epoch(state, chain).map(|record| record.epoch);
    }
    known_record(state, chain, source).map(|record| record.epoch)
}

/// The record of a shard, as a state of `chain` has it: the beacon's own, or the imported one.
pub fn known_record(
    state: &dyn StateRead,
    chain: ChainRef,
    shard: ChainRef,
) -> Option<ShardRecord> {
    if chain.is_beacon() {
        shard_record(state, shard)
    } else {
        imported_record(state, chain, shard)
    }
}

/// The record of a shard in the beacon's state.
pub fn shard_record(beacon: &dyn StateRead, shard: ChainRef) -> Option<ShardRecord> {
    record(beacon, &shard_record_key(shard))
}

/// What its record of a shard shows as sent to the beacon.
pub fn linked_to_beacon(beacon: &dyn StateRead, shard: ChainRef) -> Flow {
    let record = shard_record(beacon, shard);
    let channels = record.iter().flat_map(|record| &record.channels);
    let mut to_beacon = channels.filter(|summary| summary.peer.is_beacon());
    to_beacon
        .next()
        .map(|summary| summary.sent)
        .unwrap_or_default()
}

/// The facts that a beacon state shows.
pub fn beacon_facts(beacon: &dyn StateRead, network: &NetworkInfo) -> Facts {
    Facts {
        version: Version,
        epoch: epoch(beacon, ChainRef::Beacon).unwrap_or_default(),
        shards: network
            .chains
            .iter()
            .filter_map(|chain| shard_record(beacon, *chain))
            .collect(),
        beacon_channels: channel_summaries(beacon, network, ChainRef::Beacon),
    }
}

/// Cursors and counters of the channel from `source` to `chain`, in the state of `chain`.
pub fn inbound(state: &dyn StateRead, chain: ChainRef, source: ChainRef) -> InboundState {
    record(state, &inbound_key(chain, source)).unwrap_or_default()
}

/// Which source comes first in a block on a state of `chain`; none while that is the first in order.
pub fn turns(state: &dyn StateRead, chain: ChainRef) -> Option<Turns> {
    record(state, &turns_key(chain))
}

/// What cross-links have shown `chain` of what `source` sent, as far as it was not accepted when the
/// chain last learnt of any.
pub fn due(state: &dyn StateRead, chain: ChainRef, source: ChainRef) -> DueRecord {
    record(state, &due_key(chain, source)).unwrap_or_default()
}

/// Counters of the channel from `chain` to `destination`, in the state of `chain`.
pub fn outbound(state: &dyn StateRead, chain: ChainRef, destination: ChainRef) -> OutboundState {
    record(state, &outbound_key(chain, destination)).unwrap_or_default()
}

/// The record of an unacknowledged batch, in the source's state.
pub fn batch_record(
    state: &dyn StateRead,
    source: ChainRef,
    destination: ChainRef,
    first: Sequence,
) -> Option<BatchRecord> {
    record(state, &batch_record_key(source, destination, first))
}

/// The unacknowledged batches from `source` to `destination`: first positions with their records,
/// oldest first, at most `limit`.
pub fn unacknowledged(
    state: &dyn StateRead,
    source: ChainRef,
    destination: ChainRef,
    limit: usize,
) -> Vec<(Sequence, BatchRecord)> {
    let channel = outbound(state, source, destination);
    let mut batches = Vec::new();
    let mut first = channel.acknowledged;
    while first < channel.next() && batches.len() < limit {
        let Some(record) = batch_record(state, source, destination, first) else {
            break;
        };
        batches.push((first, record));
        first = first.saturating_add(u64::from(record.count.max(1)));
    }
    batches
}

/// Messages that were accepted and wait for gas. On the beacon those of fenced shards are not counted:
/// no block runs them.
pub fn inbox_waiting(state: &dyn StateRead, network: &NetworkInfo, chain: ChainRef) -> u64 {
    let is_held =
        |source: &ChainRef| chain.is_beacon() && is_fencing(state.get(&shard_record_key(*source)));
    let waiting = |source: &ChainRef| inbound(state, chain, *source).waiting();
    network
        .chains
        .iter()
        .filter(|source| !is_held(source))
        .map(waiting)
        .fold(0, u64::saturating_add)
}

/// The bytes of a message that waits in the inbox.
pub fn inbox_body(state: &dyn StateRead, message: &MessageId) -> Option<Vec<u8>> {
    let key = inbox_body_key(message.destination, message.source, message.sequence);
    state.get(&key).map(|value| value.to_vec())
}

/// What a chain destroyed of a denom, cumulatively.
pub fn burnt(state: &dyn StateRead, chain: ChainRef, denom: &Denom) -> Amount {
    let value = state.get(&burnt_key(chain, denom));
    decode_amount(value.as_ref()).unwrap_or(Amount::ZERO)
}

/// The summaries that a chain's channels root commits to, in order of peer.
///
/// There is one for every other chain, and one for the chain itself: its `sent` counts what the
/// chain destroyed of the three native denoms, cumulatively, so that the beacon knows supplies
/// exactly; its other counters are zero.
pub fn channel_summaries(
    state: &dyn StateRead,
    network: &NetworkInfo,
    chain: ChainRef,
) -> Vec<ChannelSummary> {
    let share = credit::share(network);
    let of_peer = |peer: &ChainRef| {
        if *peer == chain {
            let native = |denom| burnt(state, chain, &denom).get();
            let destroyed = Flow {
                sker: native(Denom::SKER),
                stsker: native(Denom::STSKER),
                rssker: native(Denom::RSSKER),
                ..Flow::default()
            };
            return ChannelSummary {
                peer: *peer,
                sent: destroyed,
                accepted: Flow::default(),
                executed: 0,
                granted: Credit::ZERO,
                returned: Credit::ZERO,
            };
        }
        let (inbound, outbound) = (inbound(state, chain, *peer), outbound(state, chain, *peer));
        ChannelSummary {
            peer: *peer,
            sent: outbound.sent,
            accepted: inbound.accepted,
            executed: inbound.executed.messages,
            granted: inbound.granted(share),
            returned: outbound.returned,
        }
    };
    network.chains.iter().map(of_peer).collect()
}

/// What `destination` has granted to `chain` in all, as a state of `chain` knows it.
pub fn granted(
    state: &dyn StateRead,
    network: &NetworkInfo,
    chain: ChainRef,
    destination: ChainRef,
) -> Credit {
    let summaries = if destination.is_beacon() {
        record(state, &facts_beacon_key(chain)).unwrap_or_default()
    } else {
        known_record(state, chain, destination).map_or_else(Vec::new, |record| record.channels)
    };
    credit::granted_in(network, &summaries, chain)
}

/// What of it is left: with less, a transaction fails with `CONGESTED`.
pub fn credit_left(
    state: &dyn StateRead,
    network: &NetworkInfo,
    chain: ChainRef,
    destination: ChainRef,
) -> Credit {
    let granted = granted(state, network, chain, destination);
    outbound(state, chain, destination).left(granted)
}
