//! Records of the epochs: the open one, seats as they are dealt, settled and held, committees.
//!
//! All lie under one object of the beacon. Committees have a key for each chain and epoch; how long
//! they are kept is said in `tenure.rs`.

use crate::modules::EPOCHS;
use borsh::{BorshDeserialize, BorshSerialize};
use skerry_types::codec::Version;
use skerry_types::ids::{Address, ChainRef, Digest, Epoch, ValidatorId, Weight};
use skerry_types::state::StateKey;

/// A seat of a committee; on the beacon every member has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Seat {
    /// Who holds it.
    pub validator: ValidatorId,
    /// First epoch of the holder.
    pub since: Epoch,
}

/// The seats of one chain in one epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Seating {
    /// Version byte.
    pub version: Version,
    /// The epoch.
    pub epoch: Epoch,
    /// What the draw was made from; leaders are shuffled by a hash of it.
    pub seed: Digest,
    /// The seats.
    pub seats: Vec<Seat>,
    /// On the beacon, the members' weights, in order of validator; else none.
    pub weights: Vec<(ValidatorId, Weight)>,
}

impl Seating {
    /// Whether a validator holds a seat.
    pub fn holds(&self, validator: ValidatorId) -> bool {
        self.seats.iter().any(|seat| seat.validator == validator)
    }
}

/// Stakes by validator, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Snapshot {
    /// Version byte.
    pub version: Version,
    /// Effective stakes above zero, in whole `sker`.
    pub stakes: Vec<(ValidatorId, Weight)>,
}

/// The mix of all reveals so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Mix {
    /// Version byte.
    pub version: Version,
    /// The mix.
    pub mix: Digest,
}

/// Which seating of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Of the open epoch.
    Held,
    /// Of the next one, as it was drawn: newcomers may still be missing.
    Dealt,
    /// Of the next one, for good; absent until three quarters of the open one are over.
    Settled,
}

/// The object that holds all records.
pub fn epochs_object() -> Address {
    Address::of_system(EPOCHS.get(), ChainRef::Beacon, b"epochs")
}

fn key(local: Vec<u8>) -> StateKey {
    StateKey::new(epochs_object(), EPOCHS, local)
}

fn chain_key(tag: u8, chain: ChainRef, rest: &[u8]) -> StateKey {
    let mut local = vec![tag];
    local.extend_from_slice(&chain.to_bytes());
    local.extend_from_slice(rest);
    key(local)
}

/// Key of the beacon's [`skerry_types::beacon::EpochRecord`].
pub fn epoch_key() -> StateKey {
    key(vec![b'e'])
}

/// Key of [`Mix`].
pub fn mix_key() -> StateKey {
    key(vec![b'm'])
}

/// Key of [`Snapshot`]: the stakes at the end of the epoch before.
pub fn snapshot_key() -> StateKey {
    key(vec![b's'])
}

/// Key of a [`Seating`].
pub fn seating_key(chain: ChainRef, stage: Stage) -> StateKey {
    let tag = match stage {
        Stage::Held => b'h',
        Stage::Dealt => b'q',
        Stage::Settled => b'n',
    };
    chain_key(tag, chain, &[])
}

/// Key of a [`skerry_types::committee::Committee`].
pub fn committee_key(chain: ChainRef, epoch: Epoch) -> StateKey {
    chain_key(b'c', chain, &epoch.get().to_be_bytes())
}

/// Key of what the votes of a chain in an epoch are bound to: a version byte and the digest of the seal
/// before it. Written when that seal is cross-linked, of the beacon by its first working block after
/// the seal; kept as long as the committee.
pub fn instance_key(chain: ChainRef, epoch: Epoch) -> StateKey {
    chain_key(b'i', chain, &epoch.get().to_be_bytes())
}

/// Key of the oldest epoch of which the beacon may keep a committee of a chain: a version byte and the
/// epoch.
pub fn kept_key(chain: ChainRef) -> StateKey {
    chain_key(b'k', chain, &[])
}

/// Key of the beacon's epoch in which an epoch of a chain was over: a version byte and the epoch. Of
/// epochs that were slept through there is none.
pub fn over_key(chain: ChainRef, epoch: Epoch) -> StateKey {
    chain_key(b'o', chain, &epoch.get().to_be_bytes())
}

/// Key of the epoch for which a newcomer is ready.
pub fn ready_key(chain: ChainRef, validator: ValidatorId) -> StateKey {
    chain_key(b'r', chain, &validator.get().to_be_bytes())
}
