//! Transactions of one block beside each other, with the outcome of one after the other.
//!
//! Every call names the objects that it touches before it runs, so nothing is tried, undone and done
//! again. Two transactions are in order where they share an object that one of them writes; such an
//! object is a *lane*. The rest runs beside each other. Workers go through five stages:
//!
//! 1. *Plan*: each decodes and plans a part of the block (`touches.rs`).
//! 2. *Group*: each finds, for a part of the objects, who shares them, and which accounts held
//!    enough for all that they send (`cover.rs`).
//! 3. *Assign*: one of them gives every transaction to a worker, a lane whole where that is fair, the
//!    rest to who planned it (`schedule.rs`).
//! 4. *Run*: each executes its transactions in the order of the block, over a state of its own above
//!    that of the block. Where a lane goes on with another worker, what was touched of the object
//!    is handed over, and who takes it waits for it: the ticket. The first transaction of the block
//!    that is not done never waits for one that is not, so somebody always goes on.
//! 5. *Merge*: each puts the receipts of a stretch of the block in order and, once the block has ended,
//!    what all touched of a part of the keys. Their sums of gas, tips and destruction are added.
//!
//! An object to which transactions only add is no lane: each worker adds to what the block began
//! with, and the merge adds that up. To an account that is covered others may add in the same way
//! while it sends. Whether a sum is too large can depend on the order, and so can whether a record is
//! new; where either may show, the block is executed one after the other after all. For what there is
//! credit is decided by what plans declare, before anything runs. Messages and receipts are put in
//! order afterwards.

mod cover;
mod schedule;
mod threads;
mod touches;
mod worker;

#[cfg(test)]
mod tests;

pub(crate) use self::threads::{Os, Platform};

use self::cover::Cover;
use self::schedule::Schedule;
use self::threads::{Alarm, Gate, Handover};
use self::touches::{Chunk, Groups};
use self::worker::Part;
use crate::block::{BlockContext, Workspace};
use crate::credit::Book;
use crate::error::CallError;
use crate::module::Module;
use crate::overlay::{Contradiction, Layers};
use crate::transaction::Sent;
use skerry_types::amount::Amount;
use skerry_types::ids::Digest;
use skerry_types::receipt::Receipt;
use skerry_types::state::{ChangeSet, StateRead};
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
    /// Accounts that send while others add to them, and held enough for all that they send.
    pub covered: usize,
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
    book: Book,
    watch: &'s dyn Watch,
    workers: usize,
    /// Each is given back by the worker that made it, which has it in its cache.
    chunks: Vec<Mutex<Option<Arc<Chunk>>>>,
    groups: Vec<OnceLock<Groups>>,
    schedule: OnceLock<(Schedule, Vec<Handover<P>>)>,
    /// Transactions that have no credit for what they would send, in order.
    congested: OnceLock<Vec<(u32, CallError)>>,
    /// By stretch of the block and in it by worker, each in order.
    receipts: Vec<Mutex<Vec<Receipt>>>,
    planned: Gate<P>,
    grouped: Gate<P>,
    assigned: Gate<P>,
    ended: Gate<P>,
    alarm: Alarm<P>,
}

/// What came of the transactions of a block.
pub(crate) struct Done {
    /// In their order.
    pub(crate) receipts: Vec<Receipt>,
    /// What some of them send, with their positions, in order.
    pub(crate) sent: Vec<(u32, Vec<Sent>)>,
}

/// Executes transactions by several workers; what they send is not numbered yet. `None`, with
/// nothing changed, when they have to run one after the other.
pub(crate) fn run<P: Platform>(
    workers: NonZeroUsize,
    watch: &dyn Watch,
    space: &mut Workspace<'_>,
    transactions: &[Arc<CheckedTransaction>],
) -> Option<Done> {
    let workers = workers.get().min(WORKERS_MAX).min(transactions.len());
    let before = space.overlay.as_state();
    let shared = Shared::<P> {
        context: space.context,
        modules: space.modules,
        base_fee: space.base_fee,
        before: &before,
        transactions,
        book: space.book.clone(),
        watch,
        workers,
        chunks: (0..workers).map(|_| Mutex::default()).collect(),
        groups: (0..workers).map(|_| OnceLock::new()).collect(),
        schedule: OnceLock::new(),
        congested: OnceLock::new(),
        receipts: (0..workers.saturating_mul(workers))
            .map(|_| Mutex::default())
            .collect(),
        planned: Gate::new(workers),
        grouped: Gate::new(workers),
        assigned: Gate::new(workers),
        ended: Gate::new(workers),
        alarm: Alarm::default(),
    };
    let parts = P::run_all(workers, &shared.alarm, |worker| shared.work(worker));
    let parts: Vec<_> = parts.into_iter().collect::<Option<_>>()?;
    if parts.iter().any(|(part, _)| part.shows_order) {
        return None;
    }
    let mut receipts = Vec::new();
    let (mut touched, mut alarms) = (Vec::with_capacity(workers), Vec::new());
    let mut sent = Vec::new();
    for (part, stretch) in parts {
        if receipts.is_empty() {
            receipts = stretch;
        } else {
            receipts.extend(stretch);
        }
        touched.push(part.touched);
        sent.extend(part.sent);
        space.ledger.absorb(part.ledger);
        alarms.extend(part.alarms);
    }
    space.overlay.put_below(touched);
    alarms.sort_by_key(|(transaction, _)| *transaction);
    space
        .alarms
        .extend(alarms.into_iter().map(|(_, text)| text));
    sent.sort_by_key(|(transaction, _)| *transaction);
    Some(Done { receipts, sent })
}

/// What a block changed, of all that it touched.
///
/// # Errors
/// When workers did what they could not have one after the other.
pub(crate) fn changes<P: Platform>(
    mode: Mode,
    layers: &Layers,
) -> Result<ChangeSet, Contradiction> {
    let parts = match mode {
        Mode::Sequential => 1,
        Mode::Workers(workers) => workers.get().min(WORKERS_MAX),
    };
    let writes = |part| layers.writes(part, parts);
    let done = P::run_all(parts, &Alarm::default(), |part| Some(writes(part)));
    let runs = done.into_iter().enumerate();
    // Where a thread could not be had, this one does its part.
    let runs = runs.map(|(part, done)| done.unwrap_or_else(|| writes(part)));
    runs.collect::<Result<_, _>>().map(ChangeSet::of_runs)
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
    /// All stages but the last, and the receipts of a stretch of the block; `None` when another worker
    /// failed.
    fn work(&self, worker: usize) -> Option<(Part, Vec<Receipt>)> {
        let own = Arc::new(Chunk::plan(self, worker));
        *self.chunk(worker)? = Some(own);
        self.watch.ended(worker, Stage::Plan);
        self.planned.pass(worker, &self.alarm)?;
        let part = self.after_planning(worker)?;
        self.ended.pass(worker, &self.alarm)?;
        *self.chunk(worker)? = None;
        Some((part, self.stretch(worker)?))
    }

    /// How many transactions a stretch has, of which there are as many as workers: its receipts are
    /// put in order by one of them.
    fn stretch_length(&self) -> usize {
        self.transactions.len().div_ceil(self.workers)
    }

    /// What a worker has of a stretch.
    fn receipts(&self, stretch: usize, worker: usize) -> Option<MutexGuard<'_, Vec<Receipt>>> {
        let place = stretch.checked_mul(self.workers)?.checked_add(worker)?;
        let receipts = self.receipts.get(place)?;
        Some(receipts.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The receipts of a stretch, in order of the block.
    fn stretch(&self, stretch: usize) -> Option<Vec<Receipt>> {
        let mut done = Vec::with_capacity(self.workers);
        for worker in 0..self.workers {
            done.push(std::mem::take(&mut *self.receipts(stretch, worker)?).into_iter());
        }
        let (schedule, _) = self.schedule.get()?;
        let length = self.stretch_length();
        let own = schedule.workers.iter().skip(stretch.checked_mul(length)?);
        // The others are put behind the first.
        let room = if stretch == 0 {
            self.transactions.len()
        } else {
            length
        };
        let mut receipts = Vec::with_capacity(room);
        for worker in own.take(length) {
            receipts.push(done.get_mut(usize::from(*worker))?.next()?);
        }
        Some(receipts)
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
        let cover = Cover {
            chunks: &chunks,
            transactions: self.transactions,
            before: self.before,
        };
        let groups = touches::group(&chunks, worker, &cover)?;
        self.groups.get(worker)?.set(groups).ok()?;
        self.watch.ended(worker, Stage::Group);
        self.grouped.pass(worker, &self.alarm)?;
        if worker == 0 {
            let groups: Option<Vec<&Groups>> = self.groups.iter().map(OnceLock::get).collect();
            let schedule = Schedule::assign(&chunks, &groups?, self.workers)?;
            self.watch.planned(&schedule.figures);
            let handovers = schedule.edges.iter().map(|_| Handover::default());
            let handovers = handovers.collect();
            self.schedule.set((schedule, handovers)).ok()?;
            let congested = touches::congested(self, &chunks)?;
            self.congested.set(congested).ok()?;
            self.watch.ended(worker, Stage::Assign);
        }
        self.assigned.pass(worker, &self.alarm)?;
        let part = worker::run(self, &chunks, worker)?;
        self.watch.ended(worker, Stage::Run);
        Some(part)
    }
}
