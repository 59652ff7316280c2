//! What the times of all blocks come to: medians, quartiles, ratios of medians.

use super::super::measure;
use super::clock::Lap;
use super::{BLOCKS_MIN, Settings};
use serde::Serialize;
use std::fmt;
use std::time::Duration;

/// The times of each block.
#[derive(Default)]
pub(super) struct Samples {
    /// Of the sequential executor before anything of the block was in the processor's caches.
    pub(super) cold: Vec<Duration>,
    pub(super) sequential: Vec<Lap>,
    pub(super) parallel: Vec<Lap>,
    pub(super) one_thread: Vec<Lap>,
    /// Empty where the sequential executor is the control.
    pub(super) control: Vec<Duration>,
    pub(super) bare: Vec<Duration>,
}

/// Transactions per second: a quarter of the blocks had less than the first, a quarter more than
/// the second.
pub(super) type Quartiles = [f64; 2];

/// The spread of each rate.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Spread {
    /// Of `parallel_per_s`.
    pub(super) parallel: Quartiles,
    /// Of `sequential_per_s`.
    pub(super) sequential: Quartiles,
    /// Of `one_thread_per_s`.
    pub(super) one_thread: Quartiles,
    /// Of `control_per_s`.
    pub(super) control: Quartiles,
    /// Of `bare_per_s`.
    pub(super) bare: Quartiles,
}

/// Milliseconds of each stage of the workers, on average over the blocks.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Stages {
    /// Which objects each transaction touches.
    pub(super) plan_ms: f64,
    /// Which transactions share one.
    pub(super) group_ms: f64,
    /// Which worker gets which.
    pub(super) assign_ms: f64,
    /// The transactions.
    pub(super) run_ms: f64,
    /// Sorted changes and receipts.
    pub(super) merge_ms: f64,
}

/// What executing a workload gave. Rates are medians over the blocks, in transactions per second.
#[derive(Clone, Debug, Serialize)]
pub(super) struct ExecutionReport {
    /// Its name on the command line.
    pub(super) workload: &'static str,
    /// Zipf's exponent, where accounts are chosen by it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) skew: Option<f64>,
    /// Threads that executed.
    pub(super) threads: usize,
    /// Accounts.
    pub(super) accounts: u32,
    /// Blocks.
    pub(super) blocks: u32,
    /// Transactions in each.
    pub(super) block_transactions: u32,
    /// What all draws come from.
    pub(super) seed: u64,
    /// Of all threads.
    pub(super) parallel_per_s: f64,
    /// Of the sequential executor.
    pub(super) sequential_per_s: f64,
    /// `parallel_per_s` by `sequential_per_s`.
    pub(super) ratio: f64,
    /// Of the same engine with one worker.
    pub(super) one_thread_per_s: f64,
    /// The time of that by the sequential executor's: what planning costs where it is of no use.
    pub(super) one_thread_ratio: f64,
    /// Of as many sequential executors as threads at once, on sets that share nothing; for one pool
    /// of the sequential executor.
    pub(super) control_per_s: f64,
    /// `parallel_per_s` by `control_per_s`.
    pub(super) control_ratio: f64,
    /// Of a plain loop over a hash table.
    pub(super) bare_per_s: f64,
    /// `sequential_per_s` by `bare_per_s`.
    pub(super) bare_ratio: f64,
    /// Of the sequential executor when nothing of a block is in the processor's caches yet.
    pub(super) cold_per_s: f64,
    /// Spreads of the rates.
    pub(super) quartiles: Spread,
    /// Most memory that this process held, the states of the control and the plain loop included.
    pub(super) peak_bytes: Option<u64>,
    /// Lanes of a block, on average.
    pub(super) lanes: f64,
    /// Transactions in its longest lane, on average.
    pub(super) longest_lane: f64,
    /// Handovers between lanes in a block, on average.
    pub(super) handovers: f64,
    /// Accounts of a block that send while others add to them and are covered, on average.
    pub(super) covered: f64,
    /// Milliseconds per block that a worker waited for the last one at the ends of stages, on
    /// average over workers and blocks.
    pub(super) barrier_ms: f64,
    /// Where the workers' time went.
    pub(super) stages: Stages,
    /// Every way of executing gave the same changes and receipts for every block. Never false: then
    /// there is no report.
    pub(super) same_result: bool,
}

/// A median rate and its quartiles.
struct Rate {
    per_s: f64,
    quartiles: Quartiles,
}

impl Rate {
    fn of(transactions: u32, times: impl Iterator<Item = Duration>) -> Self {
        let mut times: Vec<Duration> = times.collect();
        times.sort_unstable();
        let count = times.len();
        let at = |percent: usize| {
            // Nearest rank.
            let rank = count
                .saturating_mul(percent)
                .div_ceil(100)
                .saturating_sub(1);
            let time = times.get(rank).copied().unwrap_or_default();
            f64::from(transactions) / time.as_secs_f64().max(f64::MIN_POSITIVE)
        };
        Self {
            per_s: at(50),
            quartiles: [at(75), at(25)],
        }
    }
}

fn totals(laps: &[Lap]) -> impl Iterator<Item = Duration> {
    laps.iter().map(|lap| lap.total)
}

fn mean(laps: &[Lap], of: impl Fn(&Lap) -> f64) -> f64 {
    let count = u64::try_from(laps.len().max(1)).unwrap_or(u64::MAX);
    laps.iter().map(of).sum::<f64>() / measure::float(count)
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

impl ExecutionReport {
    pub(super) fn new(settings: &Settings, samples: &Samples) -> Self {
        let transactions = settings.block_transactions;
        let parallel = Rate::of(transactions, totals(&samples.parallel));
        let sequential = Rate::of(transactions, totals(&samples.sequential));
        let one_thread = Rate::of(transactions, totals(&samples.one_thread));
        let bare = Rate::of(transactions, samples.bare.iter().copied());
        let control = if samples.control.is_empty() {
            Rate::of(transactions, totals(&samples.sequential))
        } else {
            let all = settings.part_transactions();
            let all = all.saturating_mul(settings.parts.into());
            Rate::of(all, samples.control.iter().copied())
        };
        let laps = &samples.parallel;
        let figure = |of: fn(&skerry_execution::parallel::Figures) -> usize| {
            mean(laps, |lap| {
                lap.figures.as_ref().map_or(0.0, |it| measure::size(of(it)))
            })
        };
        let stage = |position: usize| {
            mean(laps, |lap| {
                milliseconds(lap.stages.get(position).copied().unwrap_or_default())
            })
        };
        Self {
            workload: settings.workload.name(),
            skew: settings.workload.account_exponent(),
            threads: settings.threads.get(),
            accounts: settings.accounts,
            blocks: settings.blocks,
            block_transactions: transactions,
            seed: settings.seed,
            parallel_per_s: parallel.per_s,
            sequential_per_s: sequential.per_s,
            ratio: parallel.per_s / sequential.per_s,
            one_thread_per_s: one_thread.per_s,
            one_thread_ratio: sequential.per_s / one_thread.per_s,
            control_per_s: control.per_s,
            control_ratio: parallel.per_s / control.per_s,
            bare_per_s: bare.per_s,
            bare_ratio: sequential.per_s / bare.per_s,
            cold_per_s: Rate::of(transactions, samples.cold.iter().copied()).per_s,
            quartiles: Spread {
                parallel: parallel.quartiles,
                sequential: sequential.quartiles,
                one_thread: one_thread.quartiles,
                control: control.quartiles,
                bare: bare.quartiles,
            },
            peak_bytes: measure::own_peak_bytes(),
            lanes: figure(|it| it.lanes),
            longest_lane: figure(|it| it.longest),
            handovers: figure(|it| it.handovers),
            covered: figure(|it| it.covered),
            barrier_ms: mean(laps, |lap| milliseconds(lap.waited)),
            stages: Stages {
                plan_ms: stage(0),
                group_ms: stage(1),
                assign_ms: stage(2),
                run_ms: stage(3),
                merge_ms: stage(4),
            },
            same_result: true,
        }
    }
}

impl fmt::Display for ExecutionReport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let skew = self.skew.map(|skew| format!(" (skew {skew})"));
        writeln!(
            formatter,
            "{}{}: {} accounts, {} blocks of {} transactions, {} threads, seed {}",
            self.workload,
            skew.unwrap_or_default(),
            self.accounts,
            self.blocks,
            self.block_transactions,
            self.threads,
            self.seed
        )?;
        if self.blocks < BLOCKS_MIN {
            writeln!(formatter, "a figure needs {BLOCKS_MIN} blocks")?;
        }
        writeln!(
            formatter,
            "{:>12} | {:>12} {:>25} | ratio",
            "", "median/s", "quartiles/s"
        )?;
        let Spread {
            parallel,
            sequential,
            one_thread,
            control,
            bare,
        } = &self.quartiles;
        let lines = [
            ("sequential", self.sequential_per_s, sequential, None),
            (
                "parallel",
                self.parallel_per_s,
                parallel,
                Some(format!("{:.3} x sequential", self.ratio)),
            ),
            (
                "control",
                self.control_per_s,
                control,
                Some(format!("parallel is {:.3} of it", self.control_ratio)),
            ),
            (
                "one worker",
                self.one_thread_per_s,
                one_thread,
                Some(format!(
                    "{:.3} x the sequential time",
                    self.one_thread_ratio
                )),
            ),
            (
                "plain loop",
                self.bare_per_s,
                bare,
                Some(format!("sequential is {:.3} of it", self.bare_ratio)),
            ),
        ];
        for (name, per_s, [low, high], ratio) in lines {
            writeln!(
                formatter,
                "{name:>12} | {per_s:>12.0} {:>25} | {}",
                format!("{low:.0} to {high:.0}"),
                ratio.unwrap_or_default()
            )?;
        }
        let Stages {
            plan_ms,
            group_ms,
            assign_ms,
            run_ms,
            merge_ms,
        } = &self.stages;
        writeln!(
            formatter,
            "sequential with cold caches: {:.0}/s; stages: plan {plan_ms:.2}, group {group_ms:.2}, \
             assign {assign_ms:.2}, run {run_ms:.2}, merge {merge_ms:.2} ms, of which {:.2} waiting",
            self.cold_per_s, self.barrier_ms
        )?;
        writeln!(
            formatter,
            "a block: {:.1} lanes, the longest of {:.1} transactions, {:.1} handovers, {:.1} covered \
             accounts",
            self.lanes, self.longest_lane, self.handovers, self.covered
        )?;
        if let Some(bytes) = self.peak_bytes {
            writeln!(
                formatter,
                "at most {:.0} MB, states of all ways",
                measure::float(bytes) / 1e6
            )?;
        }
        writeln!(formatter, "all results were the same")
    }
}
