//! `skerry bench transfers`, `transfers-skewed`, `one-pool`, `pools`: execution by itself, on a state
//! in memory, in all the ways that its figures are compared with.
//!
//! What is timed begins with decoded, checked transactions and ends with the sorted changes and all
//! receipts, planning included. Making transactions, hashing receipts, applying changes and
//! comparing results is not. Every block is executed by the sequential executor, by the workers,
//! by one worker, in an order that rotates, so that whatever else the machine does hits all alike;
//! beside them by the *control*, sets of accounts and pools that share nothing, each on a thread of
//! its own with the sequential executor, which is what the machine could give at all; and by
//! a plain loop. All results of a block must be equal and every transaction must succeed, or there
//! are no figures.
//!
//! | file | question it answers |
//! |---|---|
//! | `draws` | how a seed becomes numbers and skewed positions |
//! | `stream` | who does what; the transactions; the state at the start |
//! | `state` | where the state is between blocks |
//! | `clock` | when each stage ended |
//! | `bare` | the same as a plain loop |
//! | `report` | what the times come to |

mod bare;
mod clock;
mod draws;
mod report;
mod state;
mod stream;
#[cfg(test)]
mod tests;

use self::bare::Bare;
use self::clock::{Clock, Lap};
use self::report::{ExecutionReport, Samples};
use self::state::State;
use self::stream::{Block, Extent, Stream};
use super::{BenchError, measure};
use crate::cli::{CliError, Output};
use skerry_execution::block::{Executor, Outcome};
use skerry_execution::error::Rejection;
use skerry_execution::parallel::{Mode, WORKERS_MAX};
use skerry_types::limits;
use skerry_types::receipt::Status;
use skerry_types::transaction::TransactionError;
use std::num::NonZeroUsize;
use std::sync::Barrier;
use std::time::{Duration, Instant};

/// Blocks that a figure needs; fewer only show that it works.
const BLOCKS_MIN: u32 = 50;
/// The pools of [`Workload::Pools`].
const POOLS: u32 = 100;
/// Of a hundred transactions of [`Workload::Pools`], how many are swaps.
const SWAP_PERCENT: u64 = 70;
/// The steepest law that is drawn from: beyond it all is one account.
const SKEW_MAX: f64 = 4.0;

const _: () = assert!(limits::BLOCK_TRANSACTIONS_MAX == 20_000, "a range below");
const _: () = assert!(WORKERS_MAX == 16, "a range below");

/// How large a workload is.
#[derive(Clone, Debug, clap::Args)]
pub struct SizeArgs {
    /// Threads that execute, and sets of the control [default: the processors that there are]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=16))]
    pub threads: Option<u16>,
    /// Accounts, all on one shard; a million take one to two gigabytes
    #[arg(long, value_name = "M", default_value_t = 1_000_000,
        value_parser = clap::value_parser!(u32).range(2..=100_000_000))]
    pub accounts: u32,
    /// Blocks, one after the other; a figure needs 50
    #[arg(long, value_name = "N", default_value_t = BLOCKS_MIN,
        value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub blocks: u32,
    /// Transactions in each block, at most what a valid block holds
    #[arg(long, value_name = "N", default_value_t = 10_000,
        value_parser = clap::value_parser!(u32).range(1..=20_000))]
    pub block_transactions: u32,
    /// What all draws come from: the same seed gives the same blocks
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    pub seed: u64,
}

/// Size and skew.
#[derive(Clone, Debug, clap::Args)]
pub struct SkewedArgs {
    /// Exponent of Zipf's law, from 0 to 4: account r sends and receives as often as r^-S says
    #[arg(long, value_name = "S", default_value_t = 1.1, value_parser = parse_skew)]
    pub skew: f64,
    /// How large it is
    #[command(flatten)]
    pub size: SizeArgs,
}

fn parse_skew(text: &str) -> Result<f64, String> {
    let skew: f64 = text
        .parse()
        .map_err(|_| "a number such as 1.1 is expected".to_owned())?;
    if (0.0..=SKEW_MAX).contains(&skew) {
        Ok(skew)
    } else {
        Err(format!("it must be from 0 to {SKEW_MAX}"))
    }
}

/// What is executed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Workload {
    /// W1: transfers between any two accounts.
    Transfers,
    /// W2: transfers whose senders and recipients both follow Zipf's law.
    TransfersSkewed {
        /// Its exponent.
        skew: f64,
    },
    /// W3: swaps in one pool, both ways, of any sender.
    OnePool,
    /// W4: swaps in a hundred pools and transfers between any two accounts.
    Pools,
}

impl Workload {
    /// Zipf's exponent for the choice among pools.
    const POOL_EXPONENT: f64 = 1.0;

    const fn name(self) -> &'static str {
        match self {
            Self::Transfers => "transfers",
            Self::TransfersSkewed { .. } => "transfers-skewed",
            Self::OnePool => "one-pool",
            Self::Pools => "pools",
        }
    }

    const fn pools(self) -> u32 {
        match self {
            Self::Transfers | Self::TransfersSkewed { .. } => 0,
            Self::OnePool => 1,
            Self::Pools => POOLS,
        }
    }

    const fn swap_percent(self) -> u64 {
        match self {
            Self::Transfers | Self::TransfersSkewed { .. } => 0,
            Self::OnePool => 100,
            Self::Pools => SWAP_PERCENT,
        }
    }

    const fn account_exponent(self) -> Option<f64> {
        match self {
            Self::TransfersSkewed { skew } => Some(skew),
            Self::Transfers | Self::OnePool | Self::Pools => None,
        }
    }

    /// The set of accounts and pools that the workers execute.
    const fn whole(self, accounts: u32) -> Extent {
        Extent {
            set: 0,
            accounts,
            pools: self.pools(),
        }
    }

    /// The sets of the control; none where the sequential executor is the control, for one pool has
    /// no parts.
    fn parts(self, accounts: u32, threads: u16) -> Vec<Extent> {
        if self == Self::OnePool {
            return Vec::new();
        }
        let share = |count: u32| count.checked_div(threads.into()).unwrap_or(count);
        let pools = match self.pools() {
            0 => 0,
            count => share(count).max(1),
        };
        (1..=u64::from(threads))
            .map(|set| Extent {
                set,
                accounts: share(accounts),
                pools,
            })
            .collect()
    }
}

/// Why executing gives no figures.
#[derive(Debug, thiserror::Error)]
pub(super) enum ExecutionError {
    #[error("{failed} of {count} transactions of block {height} did not succeed, first: {first}")]
    Failed {
        failed: usize,
        count: usize,
        height: u64,
        first: String,
    },
    #[error("block {height} raised an alarm: {alarm}")]
    Alarm { height: u64, alarm: String },
    #[error("block {height} by {way}: another result than the sequential executor's")]
    Different { height: u64, way: &'static str },
    #[error("block {height}: the plain loop cannot do its orders")]
    Bare { height: u64 },
    #[error("the executor did not tell when it was done")]
    Untimed,
    #[error("a thread of the control panicked")]
    Panicked,
    #[error("a set without accounts or pools to choose from")]
    Empty,
    #[error("a transaction has no gas")]
    Gas(#[from] Rejection),
    #[error("a transaction was made that no block may hold")]
    Transaction(#[from] TransactionError),
}

/// A workload with its size, checked.
#[derive(Clone, Copy, Debug)]
struct Settings {
    workload: Workload,
    threads: NonZeroUsize,
    parts: u16,
    accounts: u32,
    blocks: u32,
    block_transactions: u32,
    seed: u64,
}

impl Settings {
    /// Checks what no single option shows.
    ///
    /// # Errors
    /// Says which option does not fit which.
    fn new(workload: Workload, size: &SizeArgs) -> Result<Self, BenchError> {
        let available = u16::try_from(measure::processors()).unwrap_or(u16::MAX);
        let parts = size.threads.unwrap_or(available).max(1);
        let least = u32::from(parts);
        if size.accounts < least.saturating_mul(2) {
            return Err(BenchError::Usage(format!(
                "--accounts {} is too few: each of {parts} threads needs two in the control",
                size.accounts
            )));
        }
        if size.block_transactions < least {
            return Err(BenchError::Usage(format!(
                "--block-transactions {} is too few: each of {parts} threads needs one in the \
                 control",
                size.block_transactions
            )));
        }
        Ok(Self {
            workload,
            threads: NonZeroUsize::new(parts.into()).unwrap_or(NonZeroUsize::MIN),
            parts,
            accounts: size.accounts,
            blocks: size.blocks,
            block_transactions: size.block_transactions,
            seed: size.seed,
        })
    }

    /// Transactions of a block of each part of the control.
    fn part_transactions(&self) -> u32 {
        let share = self.block_transactions.checked_div(self.parts.into());
        share.unwrap_or(self.block_transactions)
    }
}

/// Runs a workload and prints what it gave.
///
/// # Errors
/// When options do not fit, results differ, or a transaction does not succeed.
pub(super) async fn run(workload: Workload, size: SizeArgs) -> Result<Output, CliError> {
    let settings = Settings::new(workload, &size)?;
    let measured = tokio::task::spawn_blocking(move || execute_all(&settings)).await;
    let report = measured
        .map_err(CliError::unexpected)?
        .map_err(BenchError::from)?;
    let data = serde_json::to_value(&report).unwrap_or_default();
    Ok(Output::new(data, report.to_string()))
}

/// Executes all blocks in all ways.
///
/// # Errors
/// When results differ or a transaction does not succeed.
fn execute_all(settings: &Settings) -> Result<ExecutionReport, ExecutionError> {
    let Settings { workload, seed, .. } = *settings;
    let mut whole = Arena::new(Stream::new(
        workload,
        workload.whole(settings.accounts),
        seed,
    ));
    let mut bare = Bare::new(&whole.stream);
    let extents = workload.parts(settings.accounts, settings.parts);
    let mut parts: Vec<Arena> = extents
        .into_iter()
        .map(|extent| Arena::new(Stream::new(workload, extent, seed)))
        .collect();
    let mut samples = Samples::default();
    for number in 0..settings.blocks {
        if !parts.is_empty() {
            let time = control(&mut parts, settings.part_transactions())?;
            samples.control.push(time);
        }
        step(&mut whole, &mut bare, number, settings, &mut samples)?;
    }
    Ok(ExecutionReport::new(settings, &samples))
}

/// One block in all ways but the control's.
fn step(
    whole: &mut Arena,
    bare: &mut Bare,
    number: u32,
    settings: &Settings,
    samples: &mut Samples,
) -> Result<(), ExecutionError> {
    let block = whole.stream.next(settings.block_transactions)?;
    let height = block.context.height.get();
    // What comes first finds nothing in the processor's caches, what follows finds all of it.
    let (expected, first) = whole.execute(Mode::Sequential, &block)?;
    check(&expected, height)?;
    samples.cold.push(first.total);
    let one = NonZeroUsize::MIN;
    let mut ways = [
        (
            "the sequential executor",
            Mode::Sequential,
            &mut samples.sequential,
        ),
        (
            "the workers",
            Mode::Workers(settings.threads),
            &mut samples.parallel,
        ),
        ("one worker", Mode::Workers(one), &mut samples.one_thread),
    ];
    let turn = usize::try_from(number).unwrap_or(0);
    let turn = turn.checked_rem(ways.len()).unwrap_or(0);
    ways.rotate_left(turn);
    for (way, mode, laps) in ways {
        let (outcome, lap) = whole.execute(mode, &block)?;
        if outcome != expected {
            return Err(ExecutionError::Different { height, way });
        }
        laps.push(lap);
    }
    bare.touch(&block.orders);
    let start = Instant::now();
    let done = bare.run(&block.orders);
    samples.bare.push(start.elapsed());
    done.ok_or(ExecutionError::Bare { height })?;
    whole.state.apply(expected.changes);
    Ok(())
}

/// A stream with its state.
struct Arena {
    stream: Stream,
    state: State,
}

impl Arena {
    fn new(stream: Stream) -> Self {
        let state = stream.initial_state();
        Self { stream, state }
    }

    /// Executes a block and changes nothing.
    fn execute(&self, mode: Mode, block: &Block) -> Result<(Outcome, Lap), ExecutionError> {
        let workers = match mode {
            Mode::Sequential => 1,
            Mode::Workers(workers) => workers.get(),
        };
        let clock = Clock::start(workers);
        let executor = Executor {
            watch: &clock,
            ..Executor::new(mode)
        };
        let outcome = executor.execute(&block.context, &block.work, &self.state);
        let lap = clock.lap().ok_or(ExecutionError::Untimed)?;
        Ok((outcome, lap))
    }

    /// Makes the next block, and executes it once without a clock.
    fn prepare(&mut self, transactions: u32) -> Result<(Block, Outcome), ExecutionError> {
        let block = self.stream.next(transactions)?;
        let (expected, _) = self.execute(Mode::Sequential, &block)?;
        check(&expected, block.context.height.get())?;
        Ok((block, expected))
    }

    /// Executes a prepared block, together with the other parts, and keeps its changes.
    fn lap(
        &mut self,
        (block, expected): (Block, Outcome),
        together: &Barrier,
    ) -> Result<Duration, ExecutionError> {
        together.wait();
        let (outcome, lap) = self.execute(Mode::Sequential, &block)?;
        if outcome != expected {
            let (height, way) = (block.context.height.get(), "the control");
            return Err(ExecutionError::Different { height, way });
        }
        self.state.apply(expected.changes);
        Ok(lap.total)
    }
}

/// Executes one block of each part at once; gives the longest time of one.
fn control(parts: &mut [Arena], transactions: u32) -> Result<Duration, ExecutionError> {
    let prepared = on_threads(parts.iter_mut(), |part| {
        let ready = part.prepare(transactions)?;
        Ok((part, ready))
    })?;
    let together = Barrier::new(prepared.len());
    let times = on_threads(prepared.into_iter(), |(part, ready)| {
        part.lap(ready, &together)
    })?;
    Ok(times.into_iter().max().unwrap_or_default())
}

/// Does something with each item, each on a thread of its own.
fn on_threads<I: Send, O: Send>(
    items: impl Iterator<Item = I>,
    act: impl Fn(I) -> Result<O, ExecutionError> + Sync,
) -> Result<Vec<O>, ExecutionError> {
    let act = &act;
    std::thread::scope(|scope| {
        let threads: Vec<_> = items.map(|item| scope.spawn(move || act(item))).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or(Err(ExecutionError::Panicked)))
            .collect()
    })
}

/// Whether everything in a block succeeded.
fn check(outcome: &Outcome, height: u64) -> Result<(), ExecutionError> {
    let bad = |status: &&Status| !matches!(status, Status::Succeeded);
    let mut statuses = outcome.receipts.iter().map(|it| &it.status).filter(bad);
    if let Some(first) = statuses.next() {
        return Err(ExecutionError::Failed {
            failed: statuses.count().saturating_add(1),
            count: outcome.receipts.len(),
            height,
            first: format!("{first:?}"),
        });
    }
    match outcome.alarms.first() {
        Some(alarm) => Err(ExecutionError::Alarm {
            height,
            alarm: alarm.clone(),
        }),
        None => Ok(()),
    }
}
