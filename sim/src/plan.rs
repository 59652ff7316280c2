//! What a seed means: the network, how its parts behave, and when which fault strikes.
//!
//! Swarm testing: each seed draws which faults it has at all and how strong they are, so that rare
//! combinations occur and a fault does not hide behind another. Everything is drawn here, before
//! the run begins; the run itself only draws delays and the like.

use crate::random::Random;
use faults::{
    draw_away, draw_deaf, draw_faults, draw_joins, draw_loss, draw_silence, may_be_byzantine,
    signed,
};
use genesis::{client_keys, draw_genesis, validator_keys};
use messages::{draw_captured, draw_on_batches};
use skerry_types::amount::Asset;
use skerry_types::crypto::bls::SecretKey;
use skerry_types::crypto::ed25519;
use skerry_types::genesis::{Genesis, GenesisAccount};
use skerry_types::ids::{Address, Digest, Gas, ValidatorId, Weight};
use std::collections::BTreeMap;
use std::sync::Arc;

mod faults;
mod genesis;
mod messages;

pub use faults::{FOREVER, Fault, Loss};
pub use genesis::LARGE_PERCENT;
pub use messages::{Captured, Choke, Foretold, Mix, RUSH_PRICE, Rush};

/// One second of virtual time.
pub const SECOND: u64 = 1_000_000;
/// One millisecond of virtual time.
pub const MILLI: u64 = 1_000;
/// Clock of all nodes at the start of a run.
pub const EPOCH_MS: u64 = 1_700_000_000_000;
/// What a client's account holds.
pub const BALANCE: u128 = 1_000_000_000_000_000;

/// The network of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// A beacon and one shard, 4 validators on both, a follower.
    One,
    /// A beacon and two shards of 4 members, 8 validators, a follower.
    Two,
}

impl Network {
    /// Number of validators.
    pub const fn validators(self) -> usize {
        match self {
            Self::One => 4,
            Self::Two => 8,
        }
    }

    /// The number of shards is 2 to this power.
    pub const fn depth(self) -> u8 {
        match self {
            Self::One => 0,
            Self::Two => 1,
        }
    }

    /// As the command line names it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::One => "one",
            Self::Two => "two",
        }
    }
}

/// A bug that the harness plants, to show that the checks can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planted {
    /// The vote log is called durable before it is.
    VoteBeforeSync,
    /// A store calls blocks and commits durable that it has not written.
    StoreForgets,
    /// A node restarts with an empty vote log.
    LogForgotten,
    /// One node's execution gives another result.
    WrongResult,
    /// Whoever serves final blocks to the follower forges them.
    ForgedRange,
}

/// What a Byzantine node does, each in so many of 1000 occasions.
#[derive(Clone, Copy, Debug, Default)]
pub struct Malice {
    /// Proposes another block to half of the members.
    pub equivocate: u64,
    /// Sends no vote.
    pub withhold: u64,
    /// Sends votes that contradict each other.
    pub contradict: u64,
    /// Sends frames of earlier days.
    pub replay: u64,
    /// Sends random bytes.
    pub garbage: u64,
    /// Sends damaged frames.
    pub damage: u64,
    /// Reports a wrong result.
    pub misreport: u64,
    /// Says that it is far ahead.
    pub boast: u64,
    /// Accuses others falsely, by gossip and in its blocks.
    pub slander: u64,
    /// Brings up what is over: certificates, headers and batches of closed epochs, recorded or signed
    /// with the keys that a committee had.
    pub past: u64,
    /// Leaves the batches of one source out of its blocks.
    pub censor: u64,
    /// Forges what it serves to those that join by snapshot.
    pub forge: u64,
    /// Serves snapshots without the batches that belong to them.
    pub strip: u64,
    /// Proposes and pushes batches that are not what comes next, or prove nothing.
    pub twist: u64,
    /// Neither pushes nor serves a batch.
    pub hoard: u64,
    /// Says that it holds batches that nobody has.
    pub pretend: u64,
    /// Sends many frames that claim to be batches at once.
    pub flood: u64,
    /// For how many milliseconds it keeps each of its proposals back.
    pub linger_ms: u64,
}

/// Everything that a seed decides.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The seed.
    pub seed: u64,
    /// Size.
    pub network: Network,
    /// What the chains start from.
    pub genesis: Genesis,
    /// Keys of the validators.
    pub keys: Vec<SecretKey>,
    /// Clients' keys, by account.
    pub clients: Vec<Arc<ed25519::SecretKey>>,
    /// Keys of accounts without money.
    pub poor: Vec<Arc<ed25519::SecretKey>>,
    /// Byzantine nodes.
    pub malice: BTreeMap<usize, Malice>,
    /// Deviation of each node's clock at the start, in milliseconds.
    pub skew_ms: Vec<i64>,
    /// Least delay of a frame.
    pub delay_min: u64,
    /// Largest usual delay.
    pub delay_max: u64,
    /// Whether frames of one connection arrive in order.
    pub ordered: bool,
    /// Frames lost, of 1000, before healing.
    pub loss: u64,
    /// Frames that arrive twice.
    pub duplicate: u64,
    /// Frames that take up to a second longer.
    pub spike: u64,
    /// Jobs that take up to half a second.
    pub slow_work: u64,
    /// Disk operations that take up to half a second.
    pub slow_disk: u64,
    /// Largest usual time of a disk operation.
    pub disk_max: u64,
    /// Least time of a write to a store, which takes longer than one to a vote log.
    pub store_min: u64,
    /// Largest usual time of a job.
    pub work_max: u64,
    /// Faults with their times.
    pub faults: Vec<(u64, Fault)>,
    /// When everything is healed.
    pub heal_at: u64,
    /// When clients stop.
    pub load_until: u64,
    /// Mean time between two submissions.
    pub load_every: u64,
    /// A bug that is planted.
    pub planted: Option<Planted>,
    /// Heights that a node may lag before it joins by snapshot; 0: never.
    pub snapshot_above: u64,
    /// When the follower is started for the first time.
    pub follower_at: u64,
    /// What most of what clients do is about.
    pub mix: Mix,
    /// The shard whose whole committee is bought.
    pub captured: Option<Captured>,
    /// Whether there is a crowd.
    pub rush: Option<Rush>,
    /// The longest that a message between shards may take, where it is foretold.
    pub bound: Option<Foretold>,
    /// The longest from the sending of a payment between neighbours to its final block, in virtual
    /// microseconds, where it is foretold.
    pub local_bound: Option<u64>,
}

/// Largest usual time of a job.
const WORK_MAX: u64 = 1_500;

/// Clients of each shard.
pub const CLIENTS_PER_SHARD: usize = 4;

impl Plan {
    /// What a seed means for a network.
    pub fn of(seed: u64, network: Network) -> Self {
        Self::mixed(seed, network, Mix::Usual)
    }

    /// What a seed means for a network, and what most of it is to be about.
    pub fn mixed(seed: u64, network: Network, mix: Mix) -> Self {
        let root = Random::new(seed).fork(mix.name(network.name()));
        let plan = Self::draw(seed, (network, mix), &root);
        let (mut siege, mut rush) = (root.fork("siege"), root.fork("rush"));
        if network == Network::Two && siege.chance(mix.besieged()) {
            return plan.besieged(&mut siege);
        }
        if network == Network::Two
            && rush.chance(mix.rushed())
            && let Some(rushed) = plan.clone().rushed(&mut rush)
        {
            return rushed;
        }
        plan
    }

    fn draw(seed: u64, (network, mix): (Network, Mix), root: &Random) -> Self {
        let mut random = root.fork("plan");
        let mut genesis = draw_genesis(seed, network, &mut root.fork("genesis"));
        let mut keys = client_keys(network.depth(), CLIENTS_PER_SHARD.saturating_add(2));
        let mut poor = keys.split_off(CLIENTS_PER_SHARD << network.depth());
        let bought = poor.split_off(1 << network.depth());
        // Where epochs end, somebody may join whom the genesis does not know.
        let joins = genesis.parameters.epoch_ms > 0 && root.fork("newcomer").chance(500);
        if !joins {
            // Some fifteen transfers are what the base fee aims at: what waited for a partition to heal
            // makes it rise. Requests of a newcomer would not fit.
            let times = if mix == Mix::Messages { 5 } else { 1 };
            genesis.parameters.block_gas = Gas::new(600_000 * times);
            genesis.parameters.inbound_gas = Gas::new(300_000 * times);
        }
        let captured = draw_captured(&genesis, &bought, mix, &mut root.fork("captured"));
        if let Some(captured) = &captured {
            genesis.accounts.push(GenesisAccount {
                address: Address::of_ed25519(&captured.key.public_key()),
                assets: vec![Asset::nsker(BALANCE)],
            });
        }
        let members = network.validators().saturating_add(usize::from(joins));
        let nodes = members.saturating_add(1);
        let mut heal_at = random.between(6, 12).saturating_mul(SECOND);
        let on = |random: &mut Random, share: u64, most: u64| {
            if random.chance(share) {
                random.between(1, most)
            } else {
                0
            }
        };
        let skewed = random.chance(500);
        let skew_ms = (0..nodes)
            .map(|_| {
                if skewed {
                    signed(random.below(401)).saturating_sub(200)
                } else {
                    0
                }
            })
            .collect();
        let delay_min = random.between(200, 20 * MILLI);
        let mut malice = draw_malice(&genesis, &mut random);
        let mut on_batches = root.fork("batches");
        for malice in malice.values_mut() {
            draw_on_batches(malice, mix, &mut on_batches);
        }
        let mut faults = draw_faults(&genesis, nodes, heal_at, &mut random);
        // A third of the weight that lies or is lost is all that the protocol bears.
        let loss = draw_loss(&genesis, heal_at, &mut root.fork("losses"));
        let loss = loss.filter(|_| malice.is_empty());
        let away = draw_away(&genesis, nodes, &mut root.fork("away"));
        let away = away.filter(|_| malice.is_empty() && loss.is_none());
        if away.is_some() {
            genesis.parameters.epoch_ms = AWAY_EPOCH_MS;
            heal_at = heal_at.saturating_add(AWAY_LONGER);
        }
        let bears_more = malice.is_empty() && loss.is_none() && away.is_none();
        let deaf = draw_deaf(&genesis, members, bears_more, &mut root.fork("deaf"));
        let silence = draw_silence(&genesis, heal_at, &mut root.fork("silence"));
        faults.extend(loss.into_iter().chain(away).chain(deaf).chain(silence));
        let mut snapshots = root.fork("snapshots");
        let snapshot_above = if snapshots.chance(700) {
            snapshots.between(3, 30)
        } else {
            0
        };
        let mut follower_at = 0;
        if snapshot_above > 0 {
            // Joining must not take longer than bonds are locked.
            let epochs = JOIN_MS.checked_div(genesis.parameters.epoch_ms);
            genesis.parameters.unbonding_epochs = epochs.unwrap_or(0).max(1);
            faults.extend(draw_joins(
                &genesis,
                (nodes, bears_more),
                heal_at,
                &mut snapshots,
            ));
            for malice in malice.values_mut() {
                malice.forge = malice.forge.max(snapshots.between(200, 900));
                if mix == Mix::Messages && snapshots.chance(600) {
                    (malice.forge, malice.strip) = (0, 1_000);
                }
            }
            if snapshots.chance(400) {
                follower_at = snapshots.between(3 * SECOND, heal_at);
            }
        }
        // Somebody who leaves gets the bond back some epochs later.
        let stays = joins && root.fork("patience").chance(300);
        let epochs = genesis.parameters.unbonding_epochs.saturating_add(4);
        let patience = if stays {
            let patience_ms = genesis.parameters.epoch_ms.saturating_mul(epochs);
            patience_ms.saturating_mul(MILLI)
        } else {
            0
        };
        faults.sort_by_key(|(at, _)| *at);
        Self {
            seed,
            network,
            keys: validator_keys().iter().take(members).cloned().collect(),
            clients: keys,
            poor,
            malice,
            skew_ms,
            delay_min,
            delay_max: delay_min.saturating_add(random.between(100, 40 * MILLI)),
            ordered: random.chance(500),
            loss: on(&mut random, 600, 200),
            duplicate: on(&mut random, 400, 100),
            spike: on(&mut random, 400, 50),
            slow_work: on(&mut random, 300, 30),
            slow_disk: on(&mut random, 300, 30),
            disk_max: random.between(100, 8 * MILLI),
            store_min: 0,
            work_max: WORK_MAX,
            faults,
            heal_at,
            load_until: heal_at.saturating_add(2 * SECOND).saturating_add(patience),
            load_every: match mix {
                Mix::Usual => random.between(100, 400).saturating_mul(MILLI),
                Mix::Messages => random.between(30, 100).saturating_mul(MILLI),
            },
            planted: None,
            snapshot_above,
            follower_at,
            mix,
            captured,
            rush: None,
            bound: None,
            local_bound: None,
            genesis,
        }
    }

    /// The same seed without any fault.
    pub fn without_faults(mut self) -> Self {
        self.malice.clear();
        self.faults.clear();
        self.skew_ms.fill(0);
        for chance in [&mut self.loss, &mut self.duplicate, &mut self.spike] {
            *chance = 0;
        }
        (self.slow_work, self.slow_disk) = (0, 0);
        (self.snapshot_above, self.follower_at) = (0, 0);
        (self.captured, self.rush) = (None, None);
        (self.bound, self.local_bound) = (None, None);
        self
    }

    /// A network for measuring times in units of δ: four members of equal weight, every frame takes
    /// `delay`, disks and computation take nothing, clients send all the time.
    pub fn exact(delay: u64) -> Self {
        let mut plan = Self::of(0, Network::One).without_faults();
        for validator in &mut plan.genesis.validators {
            validator.stake = Weight::new(1);
        }
        plan.genesis.seats = vec![(0..4).map(ValidatorId::new).collect()];
        plan.genesis.parameters.epoch_ms = 0;
        plan.keys.truncate(plan.genesis.validators.len());
        (plan.delay_min, plan.delay_max, plan.ordered) = (delay, delay, true);
        (plan.disk_max, plan.work_max) = (0, 0);
        plan.load_every = 4 * MILLI;
        plan
    }

    /// What is special about the seed, in a line for people.
    pub fn summary(&self) -> String {
        let parameters = &self.genesis.parameters;
        let mut faults: BTreeMap<&str, u32> = BTreeMap::new();
        for (_, fault) in &self.faults {
            let count = faults.entry(fault.name()).or_default();
            *count = count.saturating_add(1);
        }
        format!(
            "delta {} ms, idle {} ms, delay {}..{} us, ordered {}, loss {}, twice {}, late {}, slow \
             work {}, slow disk {}, healed at {} ms, snapshots \
             above {}, follower at {} ms, captured {:?}, rush {:?}, faults {faults:?}, Byzantine {:?}",
            parameters.delta_ms,
            parameters.idle_interval_ms,
            self.delay_min,
            self.delay_max,
            self.ordered,
            self.loss,
            self.duplicate,
            self.spike,
            self.slow_work,
            self.slow_disk,
            self.heal_at / MILLI,
            self.snapshot_above,
            self.follower_at / MILLI,
            self.captured.as_ref().map(|it| (it.shard, it.choke)),
            self.rush,
            self.malice
        )
    }

    /// Whether nodes look for snapshots when they start.
    pub fn joins(&self) -> bool {
        self.snapshot_above > 0 && self.planted.is_none()
    }

    /// The key of the validator that joins; its node is the one after the founders'.
    pub fn newcomer(&self) -> Option<&SecretKey> {
        self.keys.get(self.network.validators())
    }

    /// Whether one validator holds [`LARGE_PERCENT`] of all stake, and nobody else as much.
    pub fn has_large_holder(&self) -> bool {
        let stakes = self.genesis.validators.iter().map(|it| it.stake.get());
        let total: u64 = stakes.clone().sum();
        let is_large = |stake: &u64| stake * 100 == total * LARGE_PERCENT;
        stakes.filter(is_large).count() == 1
    }

    /// The network's id.
    pub fn chain_id(&self) -> Digest {
        self.genesis.chain_id()
    }
}

/// What a node may need to join by snapshot: it waits up to three seconds for what peers offer.
const JOIN_MS: u64 = 6_000;

/// The epochs of a seed in which a node is away, and by how much it is healed later, so that many epochs
/// pass.
const AWAY_EPOCH_MS: u64 = 1_000;
const AWAY_LONGER: u64 = 3 * SECOND;

fn draw_malice(genesis: &Genesis, random: &mut Random) -> BTreeMap<usize, Malice> {
    let mut malice = BTreeMap::new();
    if !random.chance(450) {
        return malice;
    }
    let mut candidates: Vec<usize> = (0..genesis.validators.len())
        .filter(|index| may_be_byzantine(genesis, *index))
        .collect();
    random.shuffle(&mut candidates);
    let slanders = random.fork("slander").chance(500);
    let digs = genesis.parameters.epoch_ms > 0 && random.fork("past").chance(700);
    let censors = if random.fork("censor").chance(600) {
        800
    } else {
        0
    };
    let mut forger = random.fork("forge");
    let forges = if forger.chance(700) {
        forger.between(100, 900)
    } else {
        0
    };
    if let Some(index) = candidates.first() {
        let mut on = |most: u64| {
            if random.chance(400) {
                random.between(50, most)
            } else {
                0
            }
        };
        malice.insert(
            *index,
            Malice {
                equivocate: on(800),
                withhold: on(900),
                contradict: on(500),
                replay: on(100),
                garbage: on(100),
                damage: on(200),
                misreport: on(500),
                boast: on(900),
                slander: if slanders { 150 } else { 0 },
                past: if digs { 300 } else { 0 },
                censor: censors,
                forge: forges,
                ..Malice::default()
            },
        );
    }
    malice
}
