//! What may go wrong at a time, and how a seed draws it.

use super::{MILLI, SECOND};
use crate::random::Random;
use skerry_types::genesis::Genesis;
use skerry_types::ids::{ChainRef, ValidatorId};

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

pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(0)
}

/// Whether a validator weighs less than a third wherever it sits.
pub(super) fn may_be_byzantine(genesis: &Genesis, index: usize) -> bool {
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
pub(super) fn draw_loss(
    genesis: &Genesis,
    heal_at: u64,
    random: &mut Random,
) -> Option<(u64, Fault)> {
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

/// The follower, or a validator of less than a third, that is gone nearly from the start.
pub(super) fn draw_away(
    genesis: &Genesis,
    nodes: usize,
    random: &mut Random,
) -> Option<(u64, Fault)> {
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
pub(super) fn draw_deaf(
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
pub(super) fn draw_silence(
    genesis: &Genesis,
    heal_at: u64,
    random: &mut Random,
) -> Option<(u64, Fault)> {
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
pub(super) fn draw_joins(
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

pub(super) fn draw_faults(
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
