//! Who may vote on one chain in one epoch, with which weight, and who leads which view.

use crate::crypto::bls::PublicKey;
use crate::crypto::hash::{Purpose, hash_of, hash_parts};
use crate::crypto::scheme::{SchemeKey, VoteScheme};
use crate::ids::{ChainRef, Digest, Epoch, MemberIndex, ValidatorId, View, Weight};
use crate::limits;
use borsh::{BorshDeserialize, BorshSerialize};

/// A validator in a committee.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Member {
    /// Who.
    pub validator: ValidatorId,
    /// Its vote key, which has proved possession.
    pub public_key: PublicKey,
    /// Its weight: effective stake on the beacon, seats in a shard.
    pub weight: Weight,
}

/// The members of one chain's committee in one epoch, in order of validator id, and the seats
/// that lead in turn.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Committee {
    /// The chain; a version byte comes before it.
    #[borsh(
        serialize_with = "crate::codec::versioned::write",
        deserialize_with = "crate::codec::versioned::read"
    )]
    pub chain: ChainRef,
    /// The epoch.
    pub epoch: Epoch,
    /// The members; a [`MemberIndex`] is a position in this list.
    pub members: Vec<Member>,
    /// Who holds each seat; leaders are drawn from shuffles of this list.
    pub seats: Vec<MemberIndex>,
    /// Seed of the leader shuffles.
    pub seed: Digest,
}

/// What every vote of an instance is bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Instance {
    /// Hash of the network's genesis.
    pub chain_id: Digest,
    /// The chain.
    pub chain: ChainRef,
    /// The epoch.
    pub epoch: Epoch,
    /// Digest of the block that the instance starts from: the seal of the epoch before, or
    /// [`genesis_digest`] in epoch 0.
    pub genesis: Digest,
}

/// Stands for the parent of a chain's first block.
pub fn genesis_digest(chain_id: &Digest, chain: ChainRef) -> Digest {
    hash_parts(Purpose::INSTANCE, &[chain_id.as_bytes(), &chain.to_bytes()])
}

impl Committee {
    /// Sum of all weights.
    pub fn total_weight(&self) -> u128 {
        self.members
            .iter()
            .map(|member| u128::from(member.weight.get()))
            .sum()
    }

    /// The weight that makes a quorum: ⌊2W/3⌋ + 1.
    pub fn quorum(&self) -> u128 {
        quorum_of(self.total_weight())
    }

    /// The member at `index`.
    pub fn member(&self, index: MemberIndex) -> Option<&Member> {
        self.members.get(index.index())
    }

    /// The position of `validator`, if it is a member.
    pub fn index_of(&self, validator: ValidatorId) -> Option<MemberIndex> {
        let position = self
            .members
            .iter()
            .position(|member| member.validator == validator)?;
        u16::try_from(position).ok().map(MemberIndex::new)
    }

    /// Hash of the committee, as seals carry it.
    pub fn root(&self) -> Digest {
        hash_of(Purpose::COMMITTEE, self)
    }

    /// The leader of `view`: the seats in a shuffled order, each once, then shuffled anew.
    ///
    /// Costs one shuffle; [`LeaderSchedule`] keeps the current one.
    pub fn leader(&self, view: View) -> Option<MemberIndex> {
        LeaderSchedule::new(self).leader(view)
    }

    /// Whether members are in strict order of validator, keys differ, weights are above zero, and
    /// every seat belongs to a member.
    pub fn is_well_formed(&self) -> bool {
        let mut keys: Vec<&PublicKey> = self.members.iter().map(|m| &m.public_key).collect();
        keys.sort_unstable();
        keys.dedup();
        !self.members.is_empty()
            && self.members.len() <= limits::COMMITTEE_MEMBERS_MAX
            && !self.seats.is_empty()
            && self.seats.len() <= limits::SEATS_MAX
            && keys.len() == self.members.len()
            && self
                .members
                .iter()
                .all(|member| member.weight > Weight::ZERO)
            && self
                .members
                .windows(2)
                .all(|pair| matches!(pair, [first, second] if first.validator < second.validator))
            && self
                .seats
                .iter()
                .all(|seat| seat.index() < self.members.len())
    }
}

/// The weight that makes a quorum of a total: ⌊2W/3⌋ + 1.
pub const fn quorum_of(total: u128) -> u128 {
    total.saturating_mul(2) / 3 + 1
}

/// Leaders by view, with the shuffle of the current round kept.
#[derive(Clone, Debug)]
pub struct LeaderSchedule {
    seed: Digest,
    seats: Vec<MemberIndex>,
    round: u64,
    order: Vec<MemberIndex>,
}

impl LeaderSchedule {
    /// The schedule of a committee.
    pub fn new(committee: &Committee) -> Self {
        let seats = committee.seats.clone();
        let mut schedule = Self {
            seed: committee.seed,
            seats,
            round: 0,
            order: Vec::new(),
        };
        schedule.order = schedule.shuffled(0);
        schedule
    }

    /// The leader of `view`; `None` for view 0 and for a committee without seats.
    pub fn leader(&mut self, view: View) -> Option<MemberIndex> {
        let turn = view.get().checked_sub(1)?;
        let length = u64::try_from(self.seats.len()).ok()?;
        let round = turn.checked_div(length)?;
        if round != self.round {
            self.round = round;
            self.order = self.shuffled(round);
        }
        self.order
            .get(usize::try_from(turn.checked_rem(length)?).ok()?)
            .copied()
    }

    /// Fisher–Yates with hashes of (seed, round, position) as the source of choice; the modulo
    /// bias is below 2⁻⁵⁰ for at most 1,024 seats.
    fn shuffled(&self, round: u64) -> Vec<MemberIndex> {
        let mut order = self.seats.clone();
        for last in (1..order.len()).rev() {
            let position = last as u64;
            let draw = hash_parts(
                Purpose::SEED,
                &[
                    self.seed.as_bytes(),
                    &round.to_le_bytes(),
                    &position.to_le_bytes(),
                ],
            );
            let other = draw.low_u64() % (position + 1);
            order.swap(last, usize::try_from(other).unwrap_or(0));
        }
        order
    }
}

/// A committee with decoded keys, shared by everything that checks its certificates.
#[derive(Clone, Debug)]
pub struct VerifyingCommittee {
    committee: Committee,
    instance: Instance,
    keys: Vec<SchemeKey>,
    quorum: u128,
}

impl VerifyingCommittee {
    /// Decodes the keys; `None` when the committee is not well-formed or a key is not usable.
    pub fn new(
        committee: Committee,
        chain_id: Digest,
        genesis: Digest,
        scheme: &dyn VoteScheme,
    ) -> Option<Self> {
        let keys: Option<Vec<SchemeKey>> = committee
            .members
            .iter()
            .map(|m| scheme.decode_key(&m.public_key))
            .collect();
        let instance = Instance {
            chain_id,
            chain: committee.chain,
            epoch: committee.epoch,
            genesis,
        };
        let quorum = committee.quorum();
        let keys = keys.filter(|_| committee.is_well_formed())?;
        Some(Self {
            committee,
            instance,
            keys,
            quorum,
        })
    }

    /// The committee.
    pub fn committee(&self) -> &Committee {
        &self.committee
    }
    /// What its votes are bound to.
    pub fn instance(&self) -> &Instance {
        &self.instance
    }
    /// The weight that makes a quorum.
    pub fn quorum(&self) -> u128 {
        self.quorum
    }
    /// The decoded key of a member.
    pub fn key(&self, index: MemberIndex) -> Option<&SchemeKey> {
        self.keys.get(index.index())
    }
}
