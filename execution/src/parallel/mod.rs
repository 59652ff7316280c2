//! Transactions of one block beside each other, with the outcome of one after the other.
//!
//! Every call names the objects that it touches before it runs, so nothing is tried, undone and done
//! again. Two transactions are in order where they share an object that one of them writes; such an
//! object is a *lane*. The rest runs beside each other. Workers go through five stages:
//!
//! 1. *Plan*: each decodes and plans a part of the block (`touches.rs`).
//! 2. *Group*: each finds, for a part of the objects, who shares them.
//! 3. *Assign*: one of them gives every transaction to a worker, a lane whole where that is fair, the
//!    rest to who planned it (`schedule.rs`).
//! 4. *Run*: each executes its transactions in the order of the block, over a state of its own above
//!    that of the block. Where a lane goes on with another worker, what was touched of the object
//!    is handed over, and who takes it waits for it: the ticket. The first transaction of the block
//!    that is not done never waits for one that is not, so somebody always goes on.
//! 5. *Merge*: what the workers touched is put together in order of key. Their sums of gas, tips and
//!    destruction are added.
//!
//! An object to which transactions only add is no lane: each worker adds to what the block began
//! with, and the merge adds that up. Whether a sum is too large can depend on the order, and so can
//! whether a record is new; where either may show, the block is executed one after the other after
//! all. Requests to the beacon are numbered while they run, so one worker runs them all. Other
//! messages and receipts are put in order afterwards.

mod schedule;
mod threads;
mod touches;
mod worker;

#[cfg(test)]
mod tests;

pub(crate) use self::threads::{Os, Platform};

use self::schedule::Schedule;
use self::threads::{Alarm, Gate, Handover};
use self::touches::{Chunk, Group};
use self::worker::Part;
use crate::block::{BlockContext, Workspace};
use crate::module::Module;
use crate::overlay::{self, Change, Contradiction};
use crate::requests::Backlog;
use crate::transaction::Ran;
use skerry_types::amount::Amount;
use skerry_types::ids::Digest;
use skerry_types::receipt::Receipt;
use skerry_types::state::StateRead;
use skerry_types::transaction::CheckedTransaction;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// Most workers; a shard has no use for more.
pub const WORKERS_MAX: usize = 16;

/// How the transactions of a block are executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// One after the other: the specification.
    Sequential,
    /// Beside each other, by so many workers, at most [`WORKERS_MAX`].
    Workers(NonZeroUsize),
}

/// Fewer transactions run one after the other: to wake threads takes as long.
pub const TRANSACTIONS_MIN: usize = 256;

/// Which blocks are executed by how many workers. No outcome depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Workers {
    /// How many there are.
    pub most: NonZeroUsize,
    /// Transactions of a block from which on they are used.
    pub transactions_min: usize,
}

impl Workers {
    /// As many as there are processors, from [`TRANSACTIONS_MIN`] transactions on.
    #[must_use]
    pub const fn of_processors(processors: NonZeroUsize) -> Self {
        Self {
            most: processors,
            transactions_min: TRANSACTIONS_MIN,
        }
    }

    /// The mode for a block of so many transactions.
    #[must_use]
    pub const fn mode(self, transactions: usize) -> Mode {
        if transactions < self.transactions_min || self.most.get() == 1 {
            Mode::Sequential
        } else {
            Mode::Workers(self.most)
        }
    }
}

/// A stage of the execution of a block, as the module's page describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Calls are decoded and planned.
    Plan,
    /// It is known who shares what.
    Group,
    /// Every transaction has its worker.
    Assign,
    /// All are executed.
    Run,
    /// The changes are in order and all receipts there, but not hashed.
    Merge,
}

/// What there was to order in a block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Objects that several transactions share and one of them writes.
    pub lanes: usize,
    /// Transactions that share one such object, at most.
    pub longest: usize,
    /// How often a lane goes on with another worker.
    pub handovers: usize,
}

/// Told of where an execution stands; a benchmark takes times of it. It has no part in the outcome.
pub trait Watch: Sync {
    /// A worker has ended a stage; worker 0 ends [`Stage::Assign`] and [`Stage::Merge`].
    fn ended(&self, worker: usize, stage: Stage);

    /// The transactions were given to workers.
    fn planned(&self, figures: &Figures);
}

/// Watches nothing.
#[derive(Clone, Copy, Debug)]
pub struct Unwatched;

impl Watch for Unwatched {
    fn ended(&self, _: usize, _: Stage) {}
    fn planned(&self, _: &Figures) {}
}

/// What all workers see.
struct Shared<'s, P: Platform> {
    context: &'s BlockContext,
    modules: &'s [&'static dyn Module],
    base_fee: Amount,
    /// The state before the transactions.
    before: &'s dyn StateRead,
    transactions: &'s [Arc<CheckedTransaction>],
    backlog: Backlog,
    watch: &'s dyn Watch,
    workers: usize,
    /// Each is given back by the worker that made it, which has it in its cache.
    chunks: Vec<Mutex<Option<Arc<Chunk>>>>,
    groups: Vec<OnceLock<Vec<Group>>>,
    schedule: OnceLock<(Schedule, Vec<Handover<P>>)>,
    planned: Gate<P>,
    grouped: Gate<P>,
    assigned: Gate<P>,
    ended: Gate<P>,
    alarm: Alarm<P>,
}

/// Executes transactions by several workers; what they send is not numbered yet. `None`, with
/// nothing changed, when they have to run one after the other.
pub(crate) fn run<P: Platform>(
    workers: NonZeroUsize,
    watch: &dyn Watch,
    space: &mut Workspace<'_>,
    transactions: &[Arc<CheckedTransaction>],
) -> Option<Vec<Ran>> {
    let workers = workers.get().min(WORKERS_MAX).min(transactions.len());
    let before = space.overlay.as_state();
    let shared = Shared::<P> {
        context: space.context,
        modules: space.modules,
        base_fee: space.base_fee,
        before: &before,
        transactions,
        backlog: space.backlog,
        watch,
        workers,
        chunks: (0..workers).map(|_| Mutex::default()).collect(),
        groups: (0..workers).map(|_| OnceLock::new()).collect(),
        schedule: OnceLock::new(),
        planned: Gate::new(workers),
        grouped: Gate::new(workers),
        assigned: Gate::new(workers),
        ended: Gate::new(workers),
        alarm: Alarm::default(),
    };
    let parts = P::run_all(workers, &shared.alarm, |worker| shared.work(worker));
    let parts: Vec<Part> = parts.into_iter().collect::<Option<_>>()?;
    let (schedule, _) = shared.schedule.into_inner()?;
    let Merged { changes, ran, rest } = merge(&schedule, parts).ok()?;
    space.overlay.put_below(changes);
    let mut alarms = Vec::new();
    for part in rest {
        space.ledger.absorb(part.ledger);
        alarms.extend(part.alarms);
    }
    alarms.sort_by_key(|(transaction, _)| *transaction);
    space
        .alarms
        .extend(alarms.into_iter().map(|(_, text)| text));
    Some(ran)
}

/// The hashes of receipts, in their order.
pub(crate) fn hashes<P: Platform>(mode: Mode, receipts: &[Receipt]) -> Vec<Digest> {
    let Mode::Workers(workers) = mode else {
        return receipts.iter().map(Receipt::hash).collect();
    };
    let workers = workers.get().min(WORKERS_MAX);
    let each = receipts.len().div_ceil(workers).max(1);
    let parts: Vec<&[Receipt]> = receipts.chunks(each).collect();
    let hashes = |part: usize| {
        let part = parts.get(part)?.iter();
        Some(part.map(Receipt::hash).collect::<Vec<Digest>>())
    };
    let hashed = P::run_all(parts.len().max(1), &Alarm::default(), hashes);
    // Where a thread could not be had, this one hashes its part.
    let parts = parts.iter().zip(hashed);
    parts
        .flat_map(|(part, hashed)| {
            hashed.unwrap_or_else(|| part.iter().map(Receipt::hash).collect())
        })
        .collect()
}

impl<P: Platform> Shared<'_, P> {
    /// All stages but the last; `None` when another worker failed.
    fn work(&self, worker: usize) -> Option<Part> {
        let own = Arc::new(Chunk::plan(self, worker));
        *self.chunk(worker)? = Some(own);
        self.watch.ended(worker, Stage::Plan);
        self.planned.pass(worker, &self.alarm)?;
        let part = self.after_planning(worker)?;
        self.ended.pass(worker, &self.alarm)?;
        *self.chunk(worker)? = None;
        Some(part)
    }

    fn chunk(&self, worker: usize) -> Option<MutexGuard<'_, Option<Arc<Chunk>>>> {
        let chunk = self.chunks.get(worker)?;
        Some(chunk.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn after_planning(&self, worker: usize) -> Option<Part> {
        let all: Vec<Arc<Chunk>> = (0..self.workers)
            .map(|worker| self.chunk(worker)?.clone())
            .collect::<Option<_>>()?;
        let chunks: Vec<&Chunk> = all.iter().map(Arc::as_ref).collect();
        if !chunks.iter().all(|chunk| chunk.is_whole) {
            return None;
        }
        let groups = touches::group(&chunks, worker)?;
        self.groups.get(worker)?.set(groups).ok()?;
        self.watch.ended(worker, Stage::Group);
        self.grouped.pass(worker, &self.alarm)?;
        if worker == 0 {
            let groups: Option<Vec<&Vec<Group>>> = self.groups.iter().map(OnceLock::get).collect();
            let groups = groups?.into_iter().flatten().collect();
            let schedule = Schedule::assign(&chunks, groups, self.workers)?;
            self.watch.planned(&schedule.figures);
            let handovers = schedule.edges.iter().map(|_| Handover::default());
            let handovers = handovers.collect();
            self.schedule.set((schedule, handovers)).ok()?;
            self.watch.ended(worker, Stage::Assign);
        }
        self.assigned.pass(worker, &self.alarm)?;
        let part = worker::run(self, &chunks, worker)?;
        self.watch.ended(worker, Stage::Run);
        Some(part)
    }
}

/// What all workers together did.
struct Merged {
    changes: Vec<Vec<Change>>,
    ran: Vec<Ran>,
    /// What is left of the parts.
    rest: Vec<Part>,
}

fn merge(schedule: &Schedule, mut parts: Vec<Part>) -> Result<Merged, Contradiction> {
    if parts.iter().any(|part| part.shows_order) {
        return Err(Contradiction);
    }
    let mut changes: Vec<Vec<Change>> = parts
        .iter_mut()
        .map(|part| std::mem::take(&mut part.changes))
        .collect();
    overlay::settle(&mut changes)?;
    let mut ran = Vec::with_capacity(schedule.workers.len());
    let mut done: Vec<_> = parts
        .iter_mut()
        .map(|part| std::mem::take(&mut part.ran).into_iter())
        .collect();
    for worker in &schedule.workers {
        let next = done.get_mut(usize::from(*worker)).and_then(Iterator::next);
        ran.push(next.ok_or(Contradiction)?);
    }
    Ok(Merged {
        changes,
        ran,
        rest: parts,
    })
}
