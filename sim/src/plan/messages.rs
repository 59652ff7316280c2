//! What a seed means for messages between shards: who lies about them, which shard is bought, and the
//! longest that one may take while leaders leave out what comes from elsewhere.

use super::{Malice, Plan, SECOND};
use crate::plan::MILLI;
use crate::random::Random;
use skerry_execution::views::DUE_AFTER;
use skerry_types::crypto::ed25519::SecretKey;
use skerry_types::genesis::Genesis;
use skerry_types::ids::{Address, ChainRef, ValidatorId, Weight};
use skerry_types::limits::{INBOUND_BYTES_MAX, MESSAGE_BYTES_MAX};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A shard whose whole committee is bought.
#[derive(Clone, Debug)]
pub struct Captured {
    /// Which.
    pub shard: ChainRef,
    /// The client that is in league with it.
    pub key: Arc<SecretKey>,
    /// Somebody at each other shard, whose balance nobody looks at.
    pub friends: Vec<Address>,
    /// What it sends in the end, that no block may hold.
    pub choke: Option<Choke>,
}

/// What stops a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choke {
    /// A message that is too long.
    Long,
    /// A batch without messages.
    Empty,
}

/// How much of what clients do, and of what the Byzantine do, is about messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mix {
    /// As it falls.
    Usual,
    /// Most of it.
    Messages,
}

/// Seats of the four members of a besieged shard: the first is the censor.
const BESIEGED: [u32; 4] = [4, 3, 3, 3];

impl Mix {
    /// Of 1000 seeds, those in which a shard is bought.
    const fn captured(self) -> u64 {
        match self {
            Self::Usual => 80,
            Self::Messages => 300,
        }
    }

    /// Of 1000 seeds, those in which a censor lingers.
    pub(super) const fn besieged(self) -> u64 {
        match self {
            Self::Usual => 30,
            Self::Messages => 200,
        }
    }

    /// Of 1000 Byzantine nodes, those that do one thing.
    const fn share(self) -> u64 {
        match self {
            Self::Usual => 300,
            Self::Messages => 600,
        }
    }

    /// The stream of a seed.
    pub(super) fn name(self, network: &'static str) -> &'static str {
        match self {
            Self::Usual => network,
            Self::Messages => "messages",
        }
    }
}

/// What Byzantine nodes do to batches.
pub(super) fn draw_on_batches(malice: &mut Malice, mix: Mix, random: &mut Random) {
    let mut draw = |share: u64, least: u64, most: u64| {
        let is_drawn = random.chance(share);
        let strength = random.between(least, most);
        if is_drawn { strength } else { 0 }
    };
    let share = mix.share();
    malice.twist = draw(share, 200, 700);
    malice.hoard = draw(share, 300, 1_000);
    malice.pretend = draw(share, 200, 800);
    malice.flood = draw(share / 2, 10, 40);
}

/// A shard that is bought, where there is another to suffer from it; `keys` are of nobody else, one for
/// each shard.
pub(super) fn draw_captured(
    genesis: &Genesis,
    keys: &[Arc<SecretKey>],
    mix: Mix,
    random: &mut Random,
) -> Option<Captured> {
    if genesis.shard_depth == 0 || !random.chance(mix.captured()) {
        return None;
    }
    let address = |key: &Arc<SecretKey>| Address::of_ed25519(&key.public_key());
    let key = random.pick(keys)?.clone();
    let shard = genesis.home(&address(&key));
    let friends = keys.iter().map(address);
    let friends = friends
        .filter(|friend| genesis.home(friend) != shard)
        .collect();
    let choke = match random.below(3) {
        0 => Some(Choke::Long),
        1 => Some(Choke::Empty),
        _ => None,
    };
    Some(Captured {
        shard,
        key,
        friends,
        choke,
    })
}

impl Plan {
    /// The same seed without any fault but a member of a shard that leaves out of its blocks what comes
    /// from one source and keeps each as long as it can. It has nearly a third of the seats, so that it
    /// leads several times in a row now and then. How long a message may take is foretold.
    #[must_use]
    pub(super) fn besieged(self, random: &mut Random) -> Self {
        let mut plan = self.without_faults();
        let count = plan.genesis.validators.len();
        plan.genesis.parameters.epoch_ms = 0;
        plan.keys.truncate(count);
        for validator in &mut plan.genesis.validators {
            validator.stake = Weight::new(1);
        }
        let mut order: Vec<u32> = (0..u32::try_from(count).unwrap_or(0)).collect();
        random.shuffle(&mut order);
        let mut censor = None;
        for (seats, members) in plan
            .genesis
            .seats
            .iter_mut()
            .zip(order.chunks(BESIEGED.len()))
        {
            let held = members.iter().zip(BESIEGED);
            let held =
                held.flat_map(|(member, seats)| (0..seats).map(|_| ValidatorId::new(*member)));
            *seats = held.collect();
            random.shuffle(seats);
            censor = censor.or_else(|| members.first().copied());
        }
        plan.delay_min = random.between(MILLI, 5 * MILLI);
        plan.delay_max = plan
            .delay_min
            .saturating_add(random.between(MILLI, 10 * MILLI));
        plan.disk_max = random.between(100, 2 * MILLI);
        plan.heal_at = 12 * SECOND;
        plan.load_until = plan.heal_at.saturating_add(2 * SECOND);
        plan.load_every = random.between(40, 120).saturating_mul(MILLI);
        let timeout = plan.genesis.parameters.delta_ms.saturating_mul(2);
        let margin = (plan.hop() / MILLI).saturating_mul(2).saturating_add(10);
        let malice = Malice {
            censor: 1_000,
            linger_ms: timeout.saturating_sub(margin),
            ..Malice::default()
        };
        let censor = censor.and_then(|censor| usize::try_from(censor).ok());
        plan.malice = censor.map(|censor| (censor, malice)).into_iter().collect();
        plan.bound = Some(plan.delay_bound());
        plan
    }

    /// δ: a message between two members, with what both do about it.
    const fn hop(&self) -> u64 {
        let work = self.work_max.saturating_mul(4);
        let disk = self.disk_max.saturating_mul(2);
        let own = work.saturating_add(disk).saturating_add(2 * MILLI);
        self.delay_max.saturating_add(own)
    }

    /// The longest that some blocks by honest leaders of a chain take, whoever else leads between them:
    /// the bag of leaders may end and begin with all seats of the Byzantine, and each costs a view.
    fn blocks_take(&self, chain: ChainRef, blocks: u64) -> u64 {
        let parameters = &self.genesis.parameters;
        let committee = self.genesis.committee(chain);
        let mut weights: BTreeMap<bool, u64> = BTreeMap::new();
        for member in committee.iter().flat_map(|committee| &committee.members) {
            let node = usize::try_from(member.validator.get()).unwrap_or(usize::MAX);
            let sum = weights.entry(self.malice.contains_key(&node)).or_default();
            *sum = sum.saturating_add(member.weight.get());
        }
        let of = |kind| weights.get(&kind).copied().unwrap_or(0);
        let (honest, others) = (of(false).max(1), of(true));
        let bags = blocks.div_ceil(honest).saturating_add(1);
        let pause = if chain.is_beacon() {
            parameters.beacon_interval_ms
        } else {
            0
        };
        let pause = parameters.idle_interval_ms.saturating_add(pause);
        let block = pause.saturating_mul(MILLI).saturating_add(3 * self.hop());
        let timeout = parameters.delta_ms.saturating_mul(3 * MILLI);
        let timeout = timeout.saturating_add(2 * self.hop());
        let lost = others.saturating_mul(bags).saturating_mul(timeout);
        blocks.saturating_mul(block).saturating_add(lost)
    }

    /// The longest from the execution of a block that sends a message to a final block that accepts it,
    /// in virtual microseconds: five message delays and a second block until the source can prove it, the
    /// cross-link, D + 2 blocks of the beacon until it is due and the reference there, blocks for what
    /// came before it, and the views of all leaders that are Byzantine.
    pub(super) fn delay_bound(&self) -> u64 {
        let chains = self.genesis.chains();
        let longest = |blocks| {
            let shards = chains.iter().filter(|chain| !chain.is_beacon());
            shards
                .map(|chain| self.blocks_take(*chain, blocks))
                .max()
                .unwrap_or(0)
        };
        let beacon = |blocks| self.blocks_take(ChainRef::Beacon, blocks);
        let proven = longest(2).saturating_add(self.hop().saturating_mul(5));
        let due = beacon(1).saturating_add(beacon(DUE_AFTER.saturating_add(2)));
        let ready = proven.saturating_add(due);
        // Clients send twice now and then, and each message may be as long as one can be.
        let bytes = u64::try_from(MESSAGE_BYTES_MAX).unwrap_or(u64::MAX);
        let budget = u64::try_from(INBOUND_BYTES_MAX).unwrap_or(u64::MAX);
        let sent = (ready / self.load_every.max(MILLI)).saturating_mul(2);
        let backlog = sent.saturating_mul(bytes).div_ceil(budget);
        ready.saturating_add(longest(backlog.saturating_add(1)))
    }
}
