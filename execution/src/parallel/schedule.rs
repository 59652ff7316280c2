//! Which worker runs what, and where a lane goes from one to another.

use super::Figures;
use super::touches::{self, Chunk, Group, Groups};
use skerry_types::ids::Address;
use std::cmp::Reverse;

/// How many transactions a worker may be ahead of the one that is most behind, and still get what it
/// has planned.
const SLACK: i128 = 128;

/// A lane that goes on elsewhere costs as much as it saves to run so many transactions beside each
/// other; where there are more of them than that, one worker runs all.
const CROSSINGS: usize = 3;

/// A hand-over moves all that was touched of its object, at most some records of each transaction of
/// the lane before it. Where that comes to so many transactions for each of the block, one worker runs
/// all: a lane that grows and goes to and fro would cost the square of its length.
const MOVES: usize = 64;

/// Nobody's yet.
const FREE: u8 = u8::MAX;

/// What everybody does.
pub(super) struct Schedule {
    /// The worker of each transaction.
    pub(super) workers: Vec<u8>,
    /// What is handed over, by number.
    pub(super) edges: Vec<Edge>,
    /// By worker.
    pub(super) turns: Vec<Turns>,
    pub(super) figures: Figures,
}

/// An object that goes from one worker to another.
pub(super) struct Edge {
    pub(super) owner: Address,
}

/// What one worker does, in order.
#[derive(Default)]
pub(super) struct Turns {
    /// Positions of its transactions.
    pub(super) transactions: Vec<u32>,
    /// Before which transaction it takes which edge.
    pub(super) takes: Vec<(u32, u32)>,
    /// After which transaction it gives which edge.
    pub(super) gives: Vec<(u32, u32)>,
}

impl Schedule {
    /// Gives every transaction to a worker. Lanes go first, the longest before the others, each to
    /// whom has part of it already or else has least to do; the rest fills up, evenly over the
    /// block, so that all go through it at one pace.
    ///
    /// `None` when that does not add up, which nothing can cause.
    pub(super) fn assign(chunks: &[&Chunk], groups: &[&Groups], workers: usize) -> Option<Self> {
        let lanes = groups.iter().flat_map(|groups| &groups.lanes).collect();
        let mut schedule = Self::of(&touches::weights(chunks), lanes, workers)?;
        let covered = groups.iter().map(|groups| groups.covered);
        schedule.figures.covered = covered.fold(0, usize::saturating_add);
        Some(schedule)
    }

    /// [`Self::assign`] of transactions with these weights.
    pub(super) fn of(weights: &[u64], mut groups: Vec<&Group>, workers: usize) -> Option<Self> {
        groups.sort_by_key(|group| {
            (
                Reverse(group.transactions.len()),
                group.transactions.first().copied(),
            )
        });
        let mut plan = Assignment::new(weights, workers);
        if workers > 1 {
            for group in &groups {
                plan.give_group(group);
            }
        }
        plan.give_rest();
        let mut turns = turns(&plan.workers, workers)?;
        let (mut edges, moves) = connect(&groups, &plan.workers, &mut turns)?;
        let is_costly = edges.len().saturating_mul(CROSSINGS) > weights.len()
            || moves > weights.len().saturating_mul(MOVES);
        if is_costly {
            plan.workers.fill(0);
            (edges, turns) = (Vec::new(), self::turns(&plan.workers, workers)?);
        }
        let longest = groups.first().map_or(0, |group| group.transactions.len());
        let figures = Figures {
            lanes: groups.len(),
            longest,
            handovers: edges.len(),
            covered: 0,
        };
        Some(Self {
            workers: plan.workers,
            edges,
            turns,
            figures,
        })
    }
}

/// What everybody runs.
fn turns(of: &[u8], workers: usize) -> Option<Vec<Turns>> {
    let mut turns: Vec<Turns> = (0..workers).map(|_| Turns::default()).collect();
    for (transaction, worker) in (0..).zip(of) {
        let turns = turns.get_mut(usize::from(*worker))?;
        turns.transactions.push(transaction);
    }
    Some(turns)
}

/// Where consecutive transactions of a group have different workers, and how many transactions that
/// touch its object may lie before each such place, in all.
fn connect(groups: &[&Group], workers: &[u8], turns: &mut [Turns]) -> Option<(Vec<Edge>, usize)> {
    let (mut edges, mut moves) = (Vec::new(), 0_usize);
    let worker = |transaction: u32| workers.get(usize::try_from(transaction).ok()?).copied();
    for group in groups {
        for (before, pair) in group.transactions.windows(2).enumerate() {
            let [from, to] = *pair else { continue };
            let (giver, taker) = (worker(from)?, worker(to)?);
            if giver == taker {
                continue;
            }
            let edge = u32::try_from(edges.len()).ok()?;
            edges.push(Edge { owner: group.owner });
            // Where the others of a covered account stand is not known: all may be before it.
            moves = moves.saturating_add(before).saturating_add(group.others);
            let gives = &mut turns.get_mut(usize::from(giver))?.gives;
            gives.push((from, edge));
            let takes = &mut turns.get_mut(usize::from(taker))?.takes;
            takes.push((to, edge));
        }
    }
    for turns in turns {
        turns.gives.sort_unstable();
        turns.takes.sort_unstable();
    }
    Some((edges, moves))
}

/// Transactions while they are given to workers.
struct Assignment<'w> {
    weights: &'w [u64],
    workers: Vec<u8>,
    /// Weight by worker.
    loads: Vec<u64>,
    /// What each would have if all had the same.
    fair: u64,
}

impl<'w> Assignment<'w> {
    fn new(weights: &'w [u64], workers: usize) -> Self {
        let total = weights
            .iter()
            .fold(0, |sum: u64, it| sum.saturating_add(*it));
        let count = u64::try_from(workers).unwrap_or(1);
        Self {
            weights,
            workers: vec![FREE; weights.len()],
            loads: vec![0; workers],
            fair: total.checked_div(count).unwrap_or(0),
        }
    }

    fn weight(&self, transaction: u32) -> u64 {
        let place = usize::try_from(transaction).unwrap_or(usize::MAX);
        self.weights.get(place).copied().unwrap_or(0)
    }

    fn worker(&self, transaction: u32) -> Option<usize> {
        let worker = self.workers.get(usize::try_from(transaction).ok()?)?;
        (*worker != FREE).then_some(usize::from(*worker))
    }

    fn give(&mut self, transaction: u32, worker: usize) {
        let weight = self.weight(transaction);
        let place = usize::try_from(transaction).unwrap_or(usize::MAX);
        if let (Some(of), Some(load), Ok(worker)) = (
            self.workers.get_mut(place),
            self.loads.get_mut(worker),
            u8::try_from(worker),
        ) {
            *of = worker;
            *load = load.saturating_add(weight);
        }
    }

    fn least_loaded(&self) -> usize {
        let loads = self.loads.iter().enumerate();
        loads
            .min_by_key(|(_, load)| **load)
            .map_or(0, |(worker, _)| worker)
    }

    /// Gives what is free of a group to one worker.
    fn give_group(&mut self, group: &Group) {
        let mut held = vec![0_usize; self.loads.len()];
        let mut free = 0_u64;
        let mut has_free = false;
        for transaction in &group.transactions {
            match self.worker(*transaction) {
                Some(worker) => {
                    if let Some(held) = held.get_mut(worker) {
                        *held = held.saturating_add(1);
                    }
                }
                None => {
                    has_free = true;
                    free = free.saturating_add(self.weight(*transaction));
                }
            }
        }
        if !has_free {
            return;
        }
        let most = held.iter().enumerate().max_by_key(|(_, held)| **held);
        let holder = most
            .filter(|(_, held)| **held > 0)
            .map(|(worker, _)| worker);
        let fits = |worker: &usize| {
            let load = self.loads.get(*worker).copied().unwrap_or(u64::MAX);
            load.saturating_add(free) <= self.fair
        };
        let worker = holder.filter(fits).unwrap_or_else(|| self.least_loaded());
        for transaction in &group.transactions {
            if self.worker(*transaction).is_none() {
                self.give(*transaction, worker);
            }
        }
    }

    /// Gives what is free so that all have the same in the end, and on the way there too.
    fn give_rest(&mut self) {
        let mut room: Vec<u64> = self
            .loads
            .iter()
            .map(|load| self.fair.saturating_sub(*load))
            .collect();
        if room.iter().all(|room| *room == 0) {
            room.fill(1);
        }
        let all = room
            .iter()
            .fold(0_i128, |sum, it| sum.saturating_add((*it).into()));
        let mut credits = vec![0_i128; room.len()];
        for transaction in 0..u32::try_from(self.workers.len()).unwrap_or(u32::MAX) {
            if self.worker(transaction).is_some() {
                continue;
            }
            // What costs nothing is given in turn, too.
            let weight = i128::from(self.weight(transaction).max(1));
            for (credit, room) in credits.iter_mut().zip(&room) {
                *credit = credit.saturating_add(weight.saturating_mul((*room).into()));
            }
            let ahead = credits.iter().enumerate();
            let (most, credit) = ahead
                .max_by_key(|(_, credit)| **credit)
                .map_or((0, 0), |(worker, credit)| (worker, *credit));
            // Whoever planned it has it in its cache.
            let planner = touches::planner_of(transaction, credits.len());
            let least = credit.saturating_sub(weight.saturating_mul(all).saturating_mul(SLACK));
            let has_room = |load: &u64| *load < self.fair;
            let is_fair = credits.get(planner).is_some_and(|credit| *credit >= least)
                && self.loads.get(planner).is_some_and(has_room);
            let worker = if is_fair { planner } else { most };
            if let Some(credit) = credits.get_mut(worker) {
                *credit = credit.saturating_sub(weight.saturating_mul(all));
            }
            self.give(transaction, worker);
        }
    }
}
