//! What a seed means for messages between shards: who lies about them, which shard is bought, where all
//! come at once, and the longest that one may take while leaders leave out what comes from elsewhere or
//! more is sent than there is credit for.

use super::{Malice, Plan, SECOND};
use crate::plan::MILLI;
use crate::random::Random;
use skerry_execution::credit::{delay_bound, reply_room};
use skerry_execution::network::NetworkInfo;
use skerry_execution::views::DUE_AFTER;
use skerry_types::crypto::ed25519::SecretKey;
use skerry_types::genesis::Genesis;
use skerry_types::ids::{Address, ChainRef, Gas, ValidatorId, Weight};
use skerry_types::limits::{BATCH_MESSAGES_MAX, INBOUND_BYTES_MAX, MESSAGE_BYTES_MAX};
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
    /// A transfer of more than the shard holds: no beacon block links it.
    Plunder,
    /// A batch that needs more than all the credit there is.
    Greedy,
    /// A batch of more replies than there is room for.
    Replies,
}

impl Choke {
    /// Each.
    pub const ALL: [Self; 5] = [
        Self::Long,
        Self::Empty,
        Self::Plunder,
        Self::Greedy,
        Self::Replies,
    ];

    /// What it counts as.
    pub const fn row(self) -> &'static str {
        match self {
            Self::Long | Self::Empty => "channels choked",
            Self::Plunder => "transfers above all supply",
            Self::Greedy => "batches above all credit",
            Self::Replies => "batches of replies above all room",
        }
    }

    /// Whether a network lets it do what it is to do. What no beacon block links never ends its epoch;
    /// and where the lane is large, no batch can hold more replies than there is room for.
    fn fits(self, genesis: &Genesis) -> bool {
        let room = reply_room(&NetworkInfo::of(genesis));
        match self {
            Self::Plunder => genesis.parameters.epoch_ms == 0,
            Self::Replies => room < u64::try_from(BATCH_MESSAGES_MAX / 8).unwrap_or(0),
            Self::Long | Self::Empty | Self::Greedy => true,
        }
    }
}

/// How much of what clients do, and of what the Byzantine do, is about messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mix {
    /// As it falls.
    Usual,
    /// Most of it.
    Messages,
}

/// A crowd: for some seconds clients send more than there is credit for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rush {
    /// All from elsewhere to one shard; who lives there pays neighbours.
    To(ChainRef),
    /// Between all shards, by bundles that run elsewhere and bring something home.
    Around,
}

/// The longest that something may take, computed before a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Foretold {
    /// Where all leaders are honest, in virtual microseconds.
    pub honest: u64,
    /// By how much one view of a leader who is not makes it longer.
    pub each_lead: u64,
    /// How many such views there may be meanwhile, at most.
    pub leads: u64,
}

/// Blocks in which a payment to a neighbour must be final: one that was under way when it came, those of a
/// burst of others before it, and one to execute and report it.
const LOCAL_BLOCKS: u64 = 8;
/// Price of one unit of gas in a crowd: above whatever a base fee rises to in some seconds.
pub const RUSH_PRICE: u128 = 1_000_000;

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

    /// Of 1000 other seeds, those in which everybody comes at once.
    pub(super) const fn rushed(self) -> u64 {
        match self {
            Self::Usual => 0,
            Self::Messages => 250,
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
    let chokes = Choke::ALL.into_iter().filter(|choke| choke.fits(genesis));
    let choke = random.pick(&chokes.collect::<Vec<_>>()).copied();
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
        plan.bound = Some(plan.siege_bound());
        plan
    }

    /// The same seed with a crowd that sends more than there is credit for. Half of the seeds have no other
    /// fault: for them it is foretold how long a message, and a payment to a neighbour, may take. `None`
    /// where a captured shard or a newcomer needs the credit.
    #[must_use]
    pub(super) fn rushed(self, random: &mut Random) -> Option<Self> {
        let is_quiet = random.chance(500);
        let is_free = self.captured.is_none() && self.newcomer().is_none();
        if !is_quiet && !is_free {
            return None;
        }
        let mut plan = if is_quiet {
            self.without_faults()
        } else {
            self
        };
        if is_quiet {
            plan.genesis.parameters.epoch_ms = 0;
            plan.keys.truncate(plan.genesis.validators.len());
            plan.heal_at = 7 * SECOND;
            plan.load_until = plan.heal_at.saturating_add(SECOND);
        }
        let shards = plan.genesis.chains().into_iter();
        let shards: Vec<ChainRef> = shards.filter(|chain| !chain.is_beacon()).collect();
        let rush = if random.chance(500) {
            Rush::To(*random.pick(&shards)?)
        } else {
            Rush::Around
        };
        plan.rush = Some(rush);
        let parameters = &mut plan.genesis.parameters;
        parameters.inbound_gas = Gas::new(random.between(100_000, 200_000));
        parameters.block_gas = Gas::new(600_000);
        // Grants travel with the beacon's blocks: the slower they are, the more is under way.
        parameters.beacon_interval_ms = random.between(300, 700);
        plan.load_every = random.between(6, 12).saturating_mul(MILLI);
        if is_quiet {
            plan.bound = Some(plan.credit_bound());
            plan.local_bound = Some(plan.shard_blocks_take(LOCAL_BLOCKS));
        }
        Some(plan)
    }

    /// δ: a message between two members, with what both do about it.
    const fn hop(&self) -> u64 {
        let work = self.work_max.saturating_mul(4);
        let disk = self.disk_max.saturating_mul(2);
        let own = work.saturating_add(disk).saturating_add(2 * MILLI);
        self.delay_max.saturating_add(own)
    }

    /// The longest that some blocks of a chain take under honest leaders.
    fn blocks_take(&self, chain: ChainRef, blocks: u64) -> u64 {
        let parameters = &self.genesis.parameters;
        let pause = if chain.is_beacon() {
            parameters.beacon_interval_ms
        } else {
            0
        };
        let pause = parameters.idle_interval_ms.saturating_add(pause);
        let block = pause.saturating_mul(MILLI).saturating_add(3 * self.hop());
        blocks.saturating_mul(block)
    }

    /// The longest that some blocks of any shard take.
    fn shard_blocks_take(&self, blocks: u64) -> u64 {
        let chains = self.genesis.chains();
        let shards = chains.iter().filter(|chain| !chain.is_beacon());
        let each = shards.map(|chain| self.blocks_take(*chain, blocks));
        each.max().unwrap_or(0)
    }

    /// The longest that a leader who is not honest keeps a view.
    fn each_lead(&self) -> u64 {
        let timeout = self.genesis.parameters.delta_ms.saturating_mul(3 * MILLI);
        timeout.saturating_add(2 * self.hop())
    }

    /// How many views may be led by the Byzantine while some blocks of a chain come to be: each bag of leaders
    /// has all of them, and the last one and the next may have them side by side.
    fn leads_in_a_row(&self, blocks: u64) -> u64 {
        let chains = self.genesis.chains().into_iter();
        let of = |chain: ChainRef| {
            let mut weights = (0_u64, 0_u64);
            for member in self
                .genesis
                .committee(chain)
                .iter()
                .flat_map(|it| &it.members)
            {
                let node = usize::try_from(member.validator.get()).unwrap_or(usize::MAX);
                let sum = if self.malice.contains_key(&node) {
                    &mut weights.1
                } else {
                    &mut weights.0
                };
                *sum = sum.saturating_add(member.weight.get());
            }
            let bags = blocks.div_ceil(weights.0.max(1)).saturating_add(1);
            weights.1.saturating_mul(bags)
        };
        chains.map(of).max().unwrap_or(0)
    }

    /// The longest from the execution of a block that sends a message to a final block that runs it: five
    /// message delays and a second block until the source can prove it, the cross-link, D + 2 blocks of
    /// the beacon until it is due and the reference there, blocks for what came before it, and the views
    /// of all leaders between them that are Byzantine.
    fn siege_bound(&self) -> Foretold {
        let proven = self.shard_blocks_take(2);
        let proven = proven.saturating_add(self.hop().saturating_mul(5));
        let due = self.blocks_take(ChainRef::Beacon, DUE_AFTER.saturating_add(3));
        let ready = proven.saturating_add(due);
        // Clients send twice now and then, and each message may be as long as one can be.
        let bytes = u64::try_from(MESSAGE_BYTES_MAX).unwrap_or(u64::MAX);
        let budget = u64::try_from(INBOUND_BYTES_MAX).unwrap_or(u64::MAX);
        let sent = (ready / self.load_every.max(MILLI)).saturating_mul(2);
        let backlog = sent.saturating_mul(bytes).div_ceil(budget);
        let blocks = self.shard_blocks_take(backlog.saturating_add(1));
        let shard = self.leads_in_a_row(backlog.saturating_add(3));
        let beacon = self.leads_in_a_row(DUE_AFTER.saturating_add(3));
        Foretold {
            honest: ready.saturating_add(blocks),
            each_lead: self.each_lead(),
            leads: shard.saturating_add(beacon),
        }
    }

    /// The same with as much before it as credit allows: what `skerry query channels` prints.
    fn credit_bound(&self) -> Foretold {
        let bound = delay_bound(&NetworkInfo::of(&self.genesis));
        let proven = self.shard_blocks_take(2);
        let proven = proven.saturating_add(self.hop().saturating_mul(bound.message_delays));
        let due = self.blocks_take(ChainRef::Beacon, bound.beacon_blocks);
        let blocks = self.shard_blocks_take(bound.blocks);
        Foretold {
            honest: proven.saturating_add(due).saturating_add(blocks),
            each_lead: self.each_lead(),
            leads: 0,
        }
    }
}
