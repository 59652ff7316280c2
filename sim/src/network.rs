//! Connections between nodes: they come up, lose, delay and repeat frames, and break.
//!
//! Every connection has a number, new for each one, which both ends use as the peer's number. What
//! is under way when a connection breaks is lost, as with a real one.

use crate::counts::Counts;
use crate::plan::{FOREVER, MILLI, Plan, SECOND};
use crate::random::Random;
use skerry_types::ids::ChainRef;
use std::collections::BTreeMap;

/// A connection.
#[derive(Clone, Copy, Debug)]
struct Connection {
    ends: (usize, usize),
    alive: bool,
    /// Since when nothing passes.
    blocked_since: Option<u64>,
}

/// Nodes that cannot reach each other.
#[derive(Clone, Debug)]
struct Partition {
    side: Vec<usize>,
    one_way: bool,
    until: u64,
}

/// A chain of which nothing arrives.
#[derive(Clone, Copy, Debug)]
struct Blackout {
    chain: ChainRef,
    /// At which node; at all where there is none.
    node: Option<usize>,
    until: u64,
}

/// Whom a chain does not reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// One node.
    One,
    /// No node.
    All,
}

/// All connections.
pub struct Network {
    connections: Vec<Connection>,
    by_pair: BTreeMap<(usize, usize), u32>,
    partitions: Vec<Partition>,
    blackouts: Vec<Blackout>,
    /// When the last frame of each direction arrives.
    last: BTreeMap<(u32, usize), u64>,
    random: Random,
    healed: bool,
}

fn pair(one: usize, other: usize) -> (usize, usize) {
    (one.min(other), one.max(other))
}

fn slot(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

impl Network {
    /// Without connections.
    pub fn new(random: Random) -> Self {
        Self {
            connections: Vec::new(),
            by_pair: BTreeMap::new(),
            partitions: Vec::new(),
            blackouts: Vec::new(),
            last: BTreeMap::new(),
            random,
            healed: false,
        }
    }

    /// No more faults.
    pub fn heal(&mut self) {
        self.healed = true;
        self.partitions.clear();
        self.blackouts.retain(|blackout| blackout.until == FOREVER);
    }

    /// Lets nothing of a chain arrive at a node, or at all nodes.
    pub fn black_out(&mut self, chain: ChainRef, node: Option<usize>, until: u64) {
        self.blackouts.push(Blackout { chain, node, until });
    }

    /// Whether nothing of a chain arrives at a node, and whether at no other either.
    pub fn blackout(&self, chain: ChainRef, node: usize, now: u64) -> Option<Reach> {
        let mut reach = None;
        for blackout in &self.blackouts {
            if blackout.chain != chain || blackout.until <= now {
                continue;
            }
            match blackout.node {
                None => return Some(Reach::All),
                Some(deaf) if deaf == node => reach = Some(Reach::One),
                Some(_) => {}
            }
        }
        reach
    }

    /// Separates some nodes from the others.
    pub fn separate(&mut self, side: Vec<usize>, one_way: bool, until: u64) {
        self.partitions.push(Partition {
            side,
            one_way,
            until,
        });
    }

    /// Whether nothing passes from one node to another; and whether only this way.
    fn is_blocked(&self, from: usize, to: usize, now: u64) -> Option<bool> {
        let blocks = |partition: &&Partition| {
            let (inside, outside) = (partition.side.contains(&from), partition.side.contains(&to));
            partition.until > now && inside != outside && (!partition.one_way || outside)
        };
        self.partitions
            .iter()
            .find(blocks)
            .map(|partition| partition.one_way)
    }

    /// Connects two nodes if they can be and are not; gives the new number.
    pub fn connect(&mut self, one: usize, other: usize, now: u64) -> Option<u32> {
        let pair = pair(one, other);
        let reachable = self.is_blocked(one, other, now).is_none()
            && self.is_blocked(other, one, now).is_none();
        if self.by_pair.contains_key(&pair) || !reachable {
            return None;
        }
        let number = u32::try_from(self.connections.len()).ok()?;
        self.connections.push(Connection {
            ends: pair,
            alive: true,
            blocked_since: None,
        });
        self.by_pair.insert(pair, number);
        Some(number)
    }

    /// The two ends of a living connection.
    pub fn ends(&self, number: u32) -> Option<(usize, usize)> {
        let connection = self.connections.get(slot(number))?;
        connection.alive.then_some(connection.ends)
    }

    /// The other end of a living connection.
    pub fn other_end(&self, number: u32, node: usize) -> Option<usize> {
        let (one, other) = self.ends(number)?;
        match node {
            end if end == one => Some(other),
            end if end == other => Some(one),
            _ => None,
        }
    }

    /// Living connections of a node: numbers and other ends.
    pub fn of(&self, node: usize) -> Vec<(u32, usize)> {
        self.by_pair
            .values()
            .filter_map(|number| Some((*number, self.other_end(*number, node)?)))
            .collect()
    }

    /// Breaks a connection; gives its ends.
    pub fn disconnect(&mut self, number: u32) -> Option<(usize, usize)> {
        let ends = self.ends(number)?;
        if let Some(connection) = self.connections.get_mut(slot(number)) {
            connection.alive = false;
        }
        self.by_pair.remove(&ends);
        Some(ends)
    }

    /// Connections over which nothing has passed for so long that both ends give them up.
    pub fn take_broken(&mut self, now: u64) -> Vec<u32> {
        let mut broken = Vec::new();
        for number in self.by_pair.values().copied().collect::<Vec<_>>() {
            let Some((one, other)) = self.ends(number) else {
                continue;
            };
            let is_blocked = self.is_blocked(one, other, now).is_some()
                || self.is_blocked(other, one, now).is_some();
            let patience = 2 * SECOND;
            let Some(connection) = self.connections.get_mut(slot(number)) else {
                continue;
            };
            if !is_blocked {
                connection.blocked_since = None;
            } else if *connection.blocked_since.get_or_insert(now) < now.saturating_sub(patience) {
                broken.push(number);
            }
        }
        broken
    }

    /// When a frame that is sent now arrives: never, once, or twice.
    pub fn deliveries(
        &mut self,
        number: u32,
        from: usize,
        now: u64,
        plan: &Plan,
        counts: &mut Counts,
    ) -> Vec<u64> {
        let Some(to) = self.other_end(number, from) else {
            return Vec::new();
        };
        if let Some(one_way) = self.is_blocked(from, to, now) {
            counts.note(if one_way {
                "frames cut off one way"
            } else {
                "frames cut off"
            });
            return Vec::new();
        }
        let delay = self.random.between(plan.delay_min, plan.delay_max);
        if self.healed {
            return vec![self.in_order(number, to, now.saturating_add(delay), plan)];
        }
        if self.random.chance(plan.loss) {
            counts.note("frames lost");
            return Vec::new();
        }
        let mut at = now.saturating_add(delay);
        if self.random.chance(plan.spike) {
            counts.note("frames delayed long");
            at = at.saturating_add(self.random.between(50 * MILLI, SECOND));
        }
        let mut times = vec![self.in_order(number, to, at, plan)];
        if self.random.chance(plan.duplicate) {
            counts.note("frames duplicated");
            let again = self.random.between(MILLI, SECOND);
            times.push(now.saturating_add(again));
        }
        times
    }

    fn in_order(&mut self, number: u32, to: usize, at: u64, plan: &Plan) -> u64 {
        if !plan.ordered {
            return at;
        }
        let last = self.last.entry((number, to)).or_default();
        *last = at.max(last.saturating_add(1));
        *last
    }
}
