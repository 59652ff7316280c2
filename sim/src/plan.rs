//! What a seed means: the network, how its parts behave, and when which fault strikes.
//!
//! Swarm testing: each seed draws which faults it has at all and how strong they are, so that rare
//! combinations occur and a fault does not hide behind another. Everything is drawn here, before
//! the run begins; the run itself only draws delays and the like.

use crate::random::Random;
use skerry_types::amount::{Amount, Asset};
use skerry_types::codec::Version;
use skerry_types::crypto::bls::{SecretKey, Signature};
use skerry_types::crypto::ed25519;
use skerry_types::crypto::hash::plain;
use skerry_types::genesis::{Genesis, GenesisAccount, GenesisValidator, Parameters};
use skerry_types::ids::{Address, ChainRef, Digest, TimeMs, ValidatorId, Weight};
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

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

/// A fault at a time.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Some nodes lose power and come back.
    Crash {
        /// Which.
        nodes: Vec<usize>,
        /// For how long.
        down: u64,
        /// What it counts as.
        kind: &'static str,
    },
    /// Two sides cannot reach each other.
    Partition {
        /// One side; all others are the other.
        side: Vec<usize>,
        /// Whether the other side still hears this one.
        one_way: bool,
        /// For how long.
        lasts: u64,
    },
    /// A chain's store fails from now on, until the node is restarted.
    BreakStore {
        /// Whose.
        node: usize,
        /// Down time of the repair.
        down: u64,
    },
    /// The vote log fails from now on, until the node is restarted.
    BreakLog {
        /// Whose.
        node: usize,
        /// Down time of the repair.
        down: u64,
    },
    /// A node loses power, and what lies on its disk; its operator brings it back as the rules have
    /// it.
    Lose {
        /// Whose.
        node: usize,
        /// What is gone.
        what: Loss,
        /// For how long it is down.
        down: u64,
    },
    /// A node is gone until all is healed, for more epochs than committees are remembered.
    Away {
        /// Which.
        node: usize,
        /// Whether it runs, and reaches nobody; otherwise it has no power.
        cut: bool,
    },
    /// Nothing of a chain reaches a node that sits elsewhere: where it is dealt a seat of that chain,
    /// it cannot be ready.
    Deaf {
        /// Whose.
        node: usize,
        /// Of which chain it hears nothing.
        chain: ChainRef,
        /// Until when; [`FOREVER`] for the whole run.
        lasts: u64,
    },
    /// No frame of a shard arrives anywhere, for an epoch or two.
    Silence {
        /// The shard.
        chain: ChainRef,
        /// For how long.
        lasts: u64,
    },
    /// A clock is set.
    ClockJump {
        /// Whose.
        node: usize,
        /// Its new deviation.
        skew_ms: i64,
    },
}

/// Longer than any run.
pub const FOREVER: u64 = u64::MAX;

/// What a disk loses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// The vote log; the operator declares it lost.
    Log,
    /// The data directory; the vote log lies elsewhere.
    Data,
    /// Both.
    All,
}

impl Fault {
    /// A name for people.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Crash { kind, .. } => kind,
            Self::Partition { one_way: true, .. } => "one-way partition",
            Self::Partition { one_way: false, .. } => "partition",
            Self::BreakStore { .. } => "broken store",
            Self::BreakLog { .. } => "broken vote log",
            Self::Lose {
                what: Loss::Data, ..
            } => "lost data directory",
            Self::Lose { .. } => "lost vote log",
            Self::Away { cut: true, .. } => "cut off for epochs",
            Self::Away { cut: false, .. } => "off for epochs",
            Self::Deaf { lasts: FOREVER, .. } => "deaf for ever",
            Self::Deaf { .. } => "deaf",
            Self::Silence { .. } => "silent shard",
            Self::ClockJump { .. } => "clock jump",
        }
    }
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
    /// Forges what it serves to those that join by snapshot.
    pub forge: u64,
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
}

/// Largest usual time of a job.
const WORK_MAX: u64 = 1_500;

/// Keys of validators are the same in every seed: making one costs half a millisecond.
fn validator_keys() -> &'static [SecretKey] {
    static KEYS: OnceLock<Vec<SecretKey>> = OnceLock::new();
    KEYS.get_or_init(|| {
        (0_u8..9)
            .map(|index| SecretKey::from_seed([index.saturating_add(1); 32]))
            .collect()
    })
}

/// Clients' keys: the first ones, in order of seed, whose address lies in each half.
fn client_keys(depth: u8, per_shard: usize) -> Vec<Arc<ed25519::SecretKey>> {
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

fn draw_genesis(seed: u64, network: Network, random: &mut Random) -> Genesis {
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

/// Clients of each shard.
pub const CLIENTS_PER_SHARD: usize = 4;

impl Plan {
    /// What a seed means for a network.
    pub fn of(seed: u64, network: Network) -> Self {
        let root = Random::new(seed).fork(network.name());
        let mut random = root.fork("plan");
        let mut genesis = draw_genesis(seed, network, &mut root.fork("genesis"));
        let mut keys = client_keys(network.depth(), CLIENTS_PER_SHARD.saturating_add(1));
        let poor = keys.split_off(CLIENTS_PER_SHARD << network.depth());
        // Where epochs end, somebody may join whom the genesis does not know.
        let joins = genesis.parameters.epoch_ms > 0 && root.fork("newcomer").chance(500);
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
            load_every: random.between(100, 400).saturating_mul(MILLI),
            planted: None,
            snapshot_above,
            follower_at,
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
             above {}, follower at {} ms, faults {faults:?}, Byzantine {:?}",
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

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(0)
}

/// Whether a validator weighs less than a third wherever it sits.
fn may_be_byzantine(genesis: &Genesis, index: usize) -> bool {
    let id = ValidatorId::new(u32::try_from(index).unwrap_or(u32::MAX));
    genesis.chains().into_iter().all(|chain| {
        let Some(committee) = genesis.committee(chain) else {
            return false;
        };
        let held = committee
            .index_of(id)
            .and_then(|member| committee.member(member));
        let weight = held.map_or(0, |member| u128::from(member.weight.get()));
        weight.saturating_mul(3) < committee.total_weight()
    })
}

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
                forge: forges,
            },
        );
    }
    malice
}

fn members(genesis: &Genesis, chain: ChainRef) -> Vec<usize> {
    let committee = genesis.committee(chain);
    let members = committee
        .map(|committee| committee.members)
        .unwrap_or_default();
    members
        .iter()
        .filter_map(|member| usize::try_from(member.validator.get()).ok())
        .collect()
}

/// A validator of less than a third that loses what is on its disk.
fn draw_loss(genesis: &Genesis, heal_at: u64, random: &mut Random) -> Option<(u64, Fault)> {
    if !random.chance(250) {
        return None;
    }
    let candidates: Vec<usize> = (0..genesis.validators.len())
        .filter(|index| may_be_byzantine(genesis, *index))
        .collect();
    let node = *random.pick(&candidates)?;
    let whats = [Loss::Log, Loss::Data, Loss::All];
    // Where epochs never end, a key without its history never signs again.
    let what = if genesis.parameters.epoch_ms > 0 {
        *random.pick(&whats)?
    } else {
        Loss::Data
    };
    let at = random.between(SECOND / 2, heal_at.saturating_sub(SECOND / 2));
    let down = random.between(50 * MILLI, SECOND);
    Some((at, Fault::Lose { node, what, down }))
}

/// What a node may need to join by snapshot: it waits up to three seconds for what peers offer.
const JOIN_MS: u64 = 6_000;

/// The epochs of a seed in which a node is away, and by how much it is healed later, so that many epochs
/// pass.
const AWAY_EPOCH_MS: u64 = 1_000;
const AWAY_LONGER: u64 = 3 * SECOND;

/// The follower, or a validator of less than a third, that is gone nearly from the start.
fn draw_away(genesis: &Genesis, nodes: usize, random: &mut Random) -> Option<(u64, Fault)> {
    if genesis.parameters.epoch_ms == 0 || !random.chance(450) {
        return None;
    }
    let mut candidates: Vec<usize> = (0..genesis.validators.len())
        .filter(|index| may_be_byzantine(genesis, *index))
        .collect();
    candidates.push(nodes.saturating_sub(1));
    let (node, cut) = (*random.pick(&candidates)?, random.chance(500));
    let at = random.between(SECOND, 3 * SECOND);
    Some((at, Fault::Away { node, cut }))
}

/// A validator that does not sit in a shard and hears nothing of it: from the start and for ever, where
/// the protocol `bears` one more that is silent in the end, or for a while.
fn draw_deaf(
    genesis: &Genesis,
    validators: usize,
    bears: bool,
    random: &mut Random,
) -> Option<(u64, Fault)> {
    let length = genesis.parameters.epoch_ms.saturating_mul(MILLI);
    if length == 0 || !random.chance(500) {
        return None;
    }
    let shards = genesis.chains().into_iter();
    let shards: Vec<ChainRef> = shards.filter(|chain| !chain.is_beacon()).collect();
    let chain = *random.pick(&shards)?;
    let seated = members(genesis, chain);
    let outside: Vec<usize> = (0..validators).filter(|it| !seated.contains(it)).collect();
    let node = *random.pick(&outside)?;
    let for_ever = random.chance(600);
    let (at, lasts) = if for_ever && bears {
        (0, FOREVER)
    } else {
        // An epoch and, since newcomers are settled at three quarters, what is left of another.
        let at = random.between(0, length.saturating_mul(2));
        (at, random.between(length, length.saturating_mul(2)))
    };
    Some((at, Fault::Deaf { node, chain, lasts }))
}

/// A shard that nobody hears of for more than an epoch.
fn draw_silence(genesis: &Genesis, heal_at: u64, random: &mut Random) -> Option<(u64, Fault)> {
    let length = genesis.parameters.epoch_ms.saturating_mul(MILLI);
    if length == 0 || !random.chance(250) {
        return None;
    }
    let shards = genesis.chains().into_iter();
    let shards: Vec<ChainRef> = shards.filter(|chain| !chain.is_beacon()).collect();
    let chain = *random.pick(&shards)?;
    let lasts = random.between(length.saturating_add(length / 4), length.saturating_mul(2));
    let latest = heal_at.saturating_sub(lasts).max(SECOND);
    let at = random.between(SECOND / 2, latest);
    Some((at, Fault::Silence { chain, lasts }))
}

/// One node that loses what it holds, once or twice, and nodes that are away for long; they come back by
/// snapshot, and some lose power again meanwhile. What a validator has lost counts as a third may: where
/// the protocol does not `bear` one more, it is the follower that loses.
fn draw_joins(
    genesis: &Genesis,
    (nodes, bears): (usize, bool),
    heal_at: u64,
    random: &mut Random,
) -> Vec<(u64, Fault)> {
    let mut losers = vec![nodes.saturating_sub(1)];
    if bears {
        let validators = 0..genesis.validators.len();
        losers.extend(validators.filter(|index| may_be_byzantine(genesis, *index)));
    }
    let loser = random.pick(&losers).copied().unwrap_or_default();
    let mut faults = Vec::new();
    for _ in 0..random.between(1, 2) {
        let at = random.between(2 * SECOND, heal_at.saturating_sub(SECOND));
        let down = random.between(50 * MILLI, 3 * SECOND);
        let (node, down) = if random.chance(700) {
            let (node, what) = (loser, Loss::Data);
            faults.push((at, Fault::Lose { node, what, down }));
            (node, down)
        } else {
            let (node, down) = (random.index(nodes), down.saturating_add(2 * SECOND));
            let (nodes, kind) = (vec![node], "crashes");
            faults.push((at, Fault::Crash { nodes, down, kind }));
            (node, down)
        };
        if random.chance(600) {
            let again = at.saturating_add(down);
            let again = again.saturating_add(random.between(200 * MILLI, 1_500 * MILLI));
            let (nodes, kind) = (vec![node], "crashes");
            let down = random.between(50 * MILLI, SECOND);
            faults.push((again, Fault::Crash { nodes, down, kind }));
        }
    }
    faults
}

fn draw_faults(
    genesis: &Genesis,
    nodes: usize,
    heal_at: u64,
    random: &mut Random,
) -> Vec<(u64, Fault)> {
    let mut faults = Vec::new();
    let mut when = |random: &mut Random, fault: Fault| {
        let at = random.between(SECOND / 2, heal_at.saturating_sub(SECOND / 2));
        faults.push((at, fault));
    };
    let down = |random: &mut Random| random.between(50 * MILLI, 3 * SECOND);
    if random.chance(700) {
        for _ in 0..random.between(1, 5) {
            let (nodes, down) = (vec![random.index(nodes)], down(random));
            when(
                random,
                Fault::Crash {
                    nodes,
                    down,
                    kind: "crashes",
                },
            );
        }
    }
    if random.chance(200) {
        let (nodes, down) = ((0..nodes).collect(), down(random));
        when(
            random,
            Fault::Crash {
                nodes,
                down,
                kind: "crashes of all nodes",
            },
        );
    }
    if random.chance(200) {
        let chains = genesis.chains();
        let chain = random.pick(&chains).copied().unwrap_or(ChainRef::Beacon);
        let (nodes, down) = (members(genesis, chain), down(random));
        when(
            random,
            Fault::Crash {
                nodes,
                down,
                kind: "crashes of one chain's members",
            },
        );
    }
    if random.chance(400) {
        for _ in 0..random.between(1, 3) {
            let mut side: Vec<usize> = (0..nodes).collect();
            random.shuffle(&mut side);
            let kept = random.index(nodes.saturating_sub(1)).saturating_add(1);
            side.truncate(kept);
            let (one_way, lasts) = (random.chance(400), random.between(200 * MILLI, 5 * SECOND));
            when(
                random,
                Fault::Partition {
                    side,
                    one_way,
                    lasts,
                },
            );
        }
    }
    if random.chance(120) {
        let (node, down) = (random.index(nodes), down(random));
        when(random, Fault::BreakStore { node, down });
    }
    if random.chance(120) {
        let (node, down) = (random.index(nodes.saturating_sub(1)), down(random));
        when(random, Fault::BreakLog { node, down });
    }
    if random.chance(300) {
        for _ in 0..random.between(1, 3) {
            let node = random.index(nodes);
            let skew_ms = signed(random.below(801)).saturating_sub(400);
            when(random, Fault::ClockJump { node, skew_ms });
        }
    }
    faults.sort_by_key(|(at, _)| *at);
    faults
}
