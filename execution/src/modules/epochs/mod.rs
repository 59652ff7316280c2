//! Epochs: the beacon's clock, the draw of committees, and which committee serves where.
//!
//! An epoch ends with the first working beacon block that is `epoch_ms` of header time after its
//! start. The hook of that block opens the record of the next epoch; everything about epochs follows
//! from this record, on the beacon and, as part of the facts, on the shards. At that point the
//! committees of the next epoch are settled, and those of the one after it are dealt: from the
//! stakes at the end of the epoch before, so that nobody could know the seed when they were fixed. At
//! three quarters of an epoch the next one is settled: newcomers that are not ready by then give way.
//! How long committees answer for what they signed is in `tenure.rs`.
//!
//! Rules: DESIGN section 5.

pub mod deal;
pub mod state;
pub(crate) mod tenure;
#[cfg(test)]
mod tests;

use self::deal::{deal, deal_beacon, newcomers, settle};
use self::state::{
    Mix, Seat, Seating, Snapshot, Stage, committee_key, epoch_key, instance_key, mix_key,
    ready_key, seating_key, snapshot_key,
};
use crate::block::BlockContext;
use crate::error::CallError;
use crate::module::{Call, Module};
use crate::modules::staking::{self, state::validator_key};
use crate::modules::{self, EPOCHS};
use crate::network::NetworkInfo;
use crate::overlay::BlockOverlay;
use crate::view::decode_record;
use borsh::{BorshDeserialize, BorshSerialize};
use serde_json::json;
use skerry_types::beacon::{CommitteeRef, EpochRecord, Randomness, Ready};
use skerry_types::codec::{self, Version};
use skerry_types::committee::{Committee, Member, genesis_digest};
use skerry_types::crypto::hash::{Purpose, hash_parts};
use skerry_types::genesis::Genesis;
use skerry_types::ids::{
    Address, ChainRef, Digest, Epoch, MemberIndex, ModuleId, ValidatorId, Weight,
};
use skerry_types::merkle::OwnerEntry;
use skerry_types::state::{StateKey, Value, Write};
use std::collections::BTreeMap;

/// Version of the protocol's rules that this code implements.
pub const PROTOCOL: u32 = 1;

/// The module.
#[derive(Clone, Copy, Debug)]
pub struct EpochsModule;

fn read<T: BorshDeserialize>(overlay: &mut BlockOverlay<'_>, key: StateKey) -> Option<T> {
    let value = overlay.get(key)?;
    decode_record(&value).ok()
}

fn write<T: BorshSerialize>(overlay: &mut BlockOverlay<'_>, key: StateKey, record: &T) {
    overlay.put(key, Some(Value::from(codec::encode(record))));
}

/// Root and weight of a committee.
pub fn reference(committee: &Committee) -> CommitteeRef {
    CommitteeRef {
        root: committee.root(),
        weight: committee.total_weight(),
    }
}

/// The record that the network begins with.
pub(crate) fn genesis_record(genesis: &Genesis, network: &NetworkInfo) -> EpochRecord {
    let committees = network.chains.iter().map(|chain| {
        let committee = genesis.committee(*chain);
        committee.as_ref().map(reference).unwrap_or_default()
    });
    EpochRecord {
        version: Version,
        epoch: Epoch::ZERO,
        protocol: PROTOCOL,
        randomness: Randomness::Reveals,
        started: genesis.time,
        committees: committees.collect(),
    }
}

/// Takes note of who is ready. What does not fit (another epoch, no newcomer, known already) changes
/// nothing; signatures were checked before.
pub(crate) fn note_ready<'r>(
    overlay: &mut BlockOverlay<'_>,
    operations: impl Iterator<Item = &'r Ready>,
) {
    for ready in operations {
        let Ready {
            validator,
            chain,
            epoch,
            ..
        } = *ready;
        let stages = [Stage::Dealt, Stage::Held, Stage::Settled];
        let [dealt, held, settled] =
            stages.map(|stage| read::<Seating>(overlay, seating_key(chain, stage)));
        let (Some(dealt), Some(held), None) = (dealt, held, settled) else {
            continue;
        };
        if dealt.epoch == epoch && newcomers(&dealt, &held).contains(&validator) {
            write(overlay, ready_key(chain, validator), &(Version, epoch));
        }
    }
}

/// What the end of a beacon block does: folds in the reveals, settles and ends epochs when it is
/// time. Broken invariants that show are told by `alarms`.
pub(crate) fn end_of_block(
    overlay: &mut BlockOverlay<'_>,
    context: &BlockContext,
    alarms: &mut Vec<String>,
) {
    let Some(record) = read::<EpochRecord>(overlay, epoch_key()) else {
        return;
    };
    let mut mix: Mix = read(overlay, mix_key()).unwrap_or_default();
    let parts = [mix.mix.as_bytes().as_slice(), context.entropy.as_bytes()];
    mix.mix = hash_parts(Purpose::MIX, &parts);
    let length = context.network.parameters.epoch_ms;
    let elapsed = context.time.above(record.started);
    if length > 0 && elapsed >= settle_after(length) {
        settle_all(overlay, &context.network, record.epoch.next());
    }
    if length > 0 && elapsed >= length {
        end_epoch(overlay, context, (record, &mix), alarms);
    }
    write(overlay, mix_key(), &mix);
}

/// Milliseconds of an epoch after which the next one is settled: three quarters.
pub const fn settle_after(epoch_ms: u64) -> u64 {
    epoch_ms.saturating_sub(epoch_ms / 4)
}

/// Settles the committees of the next epoch, once.
fn settle_all(overlay: &mut BlockOverlay<'_>, network: &NetworkInfo, next: Epoch) {
    for chain in &network.chains {
        let settled = seating_key(*chain, Stage::Settled);
        if read::<Seating>(overlay, settled.clone()).is_some() {
            continue;
        }
        let dealt: Option<Seating> = read(overlay, seating_key(*chain, Stage::Dealt));
        let held: Option<Seating> = read(overlay, seating_key(*chain, Stage::Held));
        let (Some(dealt), Some(held)) = (dealt, held) else {
            continue;
        };
        let mut is_ready = |validator| {
            let ready: Option<(Version, Epoch)> = read(overlay, ready_key(*chain, validator));
            ready.is_some_and(|(_, epoch)| epoch == next)
        };
        let seating = settle(&dealt, &held, &mut is_ready);
        for validator in newcomers(&dealt, &held) {
            overlay.put(ready_key(*chain, validator), None);
        }
        let committee = seat_committee(overlay, *chain, &seating);
        write(overlay, committee_key(*chain, next), &committee);
        write(overlay, settled, &seating);
    }
}

/// The committee of settled seats.
fn seat_committee(overlay: &mut BlockOverlay<'_>, chain: ChainRef, seating: &Seating) -> Committee {
    let mut weights: BTreeMap<ValidatorId, u64> = BTreeMap::new();
    for seat in &seating.seats {
        let weight = weights.entry(seat.validator).or_default();
        *weight = weight.saturating_add(1);
    }
    for (validator, weight) in &seating.weights {
        weights.insert(*validator, weight.get());
    }
    let mut members = Vec::with_capacity(weights.len());
    for (validator, weight) in weights {
        let record: Option<staking::state::ValidatorRecord> =
            read(overlay, validator_key(validator));
        if let Some(record) = record {
            members.push(Member {
                validator,
                public_key: record.vote_key,
                weight: Weight::new(weight),
            });
        }
    }
    let index = |seat: &Seat| {
        let found = members.binary_search_by_key(&seat.validator, |member| member.validator);
        let index = u16::try_from(found.ok()?).ok()?;
        Some(MemberIndex::new(index))
    };
    let seats = seating.seats.iter().filter_map(index).collect();
    let epoch = seating.epoch;
    Committee {
        chain,
        epoch,
        seats,
        members,
        seed: leader_seed(&seating.seed, chain, epoch),
    }
}

fn leader_seed(seed: &Digest, chain: ChainRef, epoch: Epoch) -> Digest {
    let epoch = epoch.get().to_le_bytes();
    hash_parts(Purpose::SEED, &[seed.as_bytes(), &chain.to_bytes(), &epoch])
}

/// Opens the next epoch and deals the one after it.
fn end_epoch(
    overlay: &mut BlockOverlay<'_>,
    context: &BlockContext,
    (record, mix): (EpochRecord, &Mix),
    alarms: &mut Vec<String>,
) {
    let network = &context.network;
    let next = record.epoch.next();
    let stakes: Snapshot = read(overlay, snapshot_key()).unwrap_or_default();
    let mut committees = Vec::with_capacity(network.chains.len());
    for chain in &network.chains {
        let settled = seating_key(*chain, Stage::Settled);
        let held: Seating = read(overlay, settled.clone()).unwrap_or_default();
        let (after, seed) = (next.next(), mix.mix);
        let dealt = if chain.is_beacon() {
            deal_beacon(after, seed, &held, &stakes.stakes)
        } else {
            deal(*chain, after, seed, &held, &stakes.stakes)
        };
        overlay.put(settled, None);
        write(overlay, seating_key(*chain, Stage::Held), &held);
        write(overlay, seating_key(*chain, Stage::Dealt), &dealt);
        let committee: Option<Committee> = read(overlay, committee_key(*chain, next));
        committees.push(committee.as_ref().map(reference).unwrap_or_default());
    }
    let stakes = staking::effective_stakes(overlay).unwrap_or_else(|error| {
        // Without stakes nobody is dealt in: the committees stay as they are.
        alarms.push(format!(
            "stakes at the end of epoch {}: {error}",
            record.epoch
        ));
        Vec::new()
    });
    let snapshot = Snapshot {
        version: Version,
        stakes,
    };
    write(overlay, snapshot_key(), &snapshot);
    tenure::note_over(overlay, (ChainRef::Beacon, record.epoch), next);
    tenure::fence_overdue(overlay, network, next);
    staking::release(overlay, next, |overlay| {
        tenure::seated(overlay, network, next)
    });
    tenure::forget(overlay, network, next);
    let opened = EpochRecord {
        epoch: next,
        started: context.time,
        committees,
        ..record
    };
    write(overlay, epoch_key(), &opened);
}

/// The open epoch of the beacon.
pub(crate) fn open(overlay: &mut BlockOverlay<'_>) -> Epoch {
    let record: Option<EpochRecord> = read(overlay, epoch_key());
    record.unwrap_or_default().epoch
}

/// Takes note of what the beacon's own votes are bound to, with the first working block of an epoch.
pub(crate) fn note_own_instance(overlay: &mut BlockOverlay<'_>, context: &BlockContext) {
    let epoch = open(overlay);
    note_instance(overlay, (context.chain, epoch, context.instance));
}

/// Whether it is known what the votes of a chain in an epoch are bound to.
pub(crate) fn has_instance(overlay: &mut BlockOverlay<'_>, chain: ChainRef, epoch: Epoch) -> bool {
    overlay.get(instance_key(chain, epoch)).is_some()
}

/// Takes note of what the votes of a chain in an epoch that begins are bound to.
pub(crate) fn note_instance(
    overlay: &mut BlockOverlay<'_>,
    (chain, epoch, genesis): (ChainRef, Epoch, Digest),
) {
    write(overlay, instance_key(chain, epoch), &(Version, genesis));
}

/// The committee that a seal must name, when it is that of its epoch.
pub(crate) fn committee(
    overlay: &mut BlockOverlay<'_>,
    chain: ChainRef,
    epoch: Epoch,
) -> Option<Committee> {
    read(overlay, committee_key(chain, epoch))
}

impl Module for EpochsModule {
    fn id(&self) -> ModuleId {
        EPOCHS
    }

    fn name(&self) -> &'static str {
        "epochs"
    }

    fn decode(&self, _: &[u8]) -> Result<Box<dyn Call>, CallError> {
        modules::no_calls(self.name())
    }

    fn call_from_json(&self, _: &serde_json::Value) -> Result<Vec<u8>, CallError> {
        modules::no_calls(self.name())
    }

    /// The genesis supplies the committees of epochs 0 and 1.
    fn genesis(&self, genesis: &Genesis, chain: ChainRef, writes: &mut Vec<Write>) {
        if !chain.is_beacon() {
            return;
        }
        let network = NetworkInfo::of(genesis);
        let mut write = |key: StateKey, value: Vec<u8>| {
            writes.push((key, Some(Value::from(value))));
        };
        let record = genesis_record(genesis, &network);
        write(epoch_key(), codec::encode(&record));
        let stakes = (0_u32..).map(ValidatorId::new).zip(&genesis.validators);
        let stakes: Vec<_> = stakes.map(|(id, it)| (id, it.stake)).collect();
        let snapshot = Snapshot {
            version: Version,
            stakes: stakes.clone(),
        };
        write(snapshot_key(), codec::encode(&snapshot));
        let mix = Mix {
            mix: genesis.chain_id(),
            ..Mix::default()
        };
        write(mix_key(), codec::encode(&mix));
        for chain in &network.chains {
            let Some(committee) = genesis.committee(*chain) else {
                continue;
            };
            let member = |seat: &MemberIndex| Some(committee.member(*seat)?.validator);
            let seat = |validator| Seat {
                validator,
                since: Epoch::ZERO,
            };
            let seats = committee.seats.iter().filter_map(member).map(seat);
            let held = Seating {
                seed: committee.seed,
                seats: seats.collect(),
                weights: if chain.is_beacon() {
                    stakes.clone()
                } else {
                    Vec::new()
                },
                ..Seating::default()
            };
            let dealt = Seating {
                epoch: held.epoch.next(),
                ..held.clone()
            };
            write(seating_key(*chain, Stage::Held), codec::encode(&held));
            write(seating_key(*chain, Stage::Dealt), codec::encode(&dealt));
            let key = committee_key(*chain, Epoch::ZERO);
            write(key, codec::encode(&committee));
            let start = genesis_digest(&network.chain_id, *chain);
            let key = instance_key(*chain, Epoch::ZERO);
            write(key, codec::encode(&(Version, start)));
        }
    }

    fn query(&self, _: &Address, records: &[OwnerEntry]) -> serde_json::Value {
        let record = records
            .iter()
            .filter(|record| record.module == EPOCHS && record.local == [b'e'])
            .find_map(|record| decode_record::<EpochRecord>(&record.value).ok());
        record.map_or(serde_json::Value::Null, |record| {
            json!({
                "epoch": record.epoch,
                "protocol": record.protocol,
                "started_ms": record.started,
            })
        })
    }

    fn check_invariants(&self, key: &StateKey, value: &[u8]) -> Result<(), String> {
        fn is<T: BorshDeserialize>(value: &[u8]) -> Result<(), String> {
            let read = decode_record::<T>(value);
            read.map(|_| ()).map_err(|error| error.to_string())
        }
        match key.local.as_slice() {
            [b'e'] => is::<EpochRecord>(value),
            [b'm'] => is::<Mix>(value),
            [b's'] => is::<Snapshot>(value),
            [b'h' | b'q' | b'n', ..] => is::<Seating>(value),
            [b'r' | b'k' | b'o', ..] => is::<(Version, Epoch)>(value),
            [b'i', ..] => is::<(Version, Digest)>(value),
            [b'c', ..] => {
                let committee: Committee =
                    decode_record(value).map_err(|error| error.to_string())?;
                let fits = committee.is_well_formed() || committee.members.is_empty();
                fits.then_some(())
                    .ok_or_else(|| "a committee that is not well-formed".to_owned())
            }
            _ => Err("no record of epochs".to_owned()),
        }
    }
}
