//! `skerry-sim`: plays seeds and says what was broken, with the command that plays it again.
//!
//! Each seed is played on one thread, some seeds at a time, and reported in order. At the end stand
//! a table of what occurred how often and the line `seeds N, violations V`. The exit code is not
//! zero when a rule was broken or, over two hundred seeds or more, when a row of the table is zero.

use clap::Parser;
use skerry_sim::counts::{Counts, Scope};
use skerry_sim::{Mix, Network, Plan, Report, run};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;

/// Seeds from which on a kind that never occurred fails the run.
const SEEDS_FOR_ROWS: u64 = 200;

/// Plays seeds of the network simulator.
#[derive(Debug, Parser)]
#[command(name = "skerry-sim", version)]
struct Args {
    /// How many seeds to play.
    #[arg(long, default_value_t = 20)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// `one`: a beacon and a shard of 4 validators; `two`: two shards, 8 validators.
    #[arg(long, default_value = "one")]
    network: String,
    /// Seeds in which most of what clients do crosses shards, and most of what the Byzantine do is about
    /// messages; of two shards.
    #[arg(long)]
    messages: bool,
    /// Seeds that are played at a time.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// End at the first broken rule.
    #[arg(long)]
    stop: bool,
    /// A line for each seed.
    #[arg(long)]
    verbose: bool,
    /// Every event, on the error output; for one seed.
    #[arg(long)]
    trace: bool,
    /// Without faults.
    #[arg(long)]
    calm: bool,
    /// No seeds: search the vote rules to exhaustion.
    #[arg(long)]
    model: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    if args.model {
        return match skerry_sim::model::explore_all() {
            Ok(()) => ExitCode::SUCCESS,
            Err(broken) => {
                println!("model: VIOLATION: {}\n  {}", broken.rule, broken.state);
                ExitCode::FAILURE
            }
        };
    }
    let network = match args.network.as_str() {
        "one" => Network::One,
        "two" => Network::Two,
        other => {
            eprintln!("--network {other}: it is `one` or `two`");
            return ExitCode::from(2);
        }
    };
    if args.messages && network != Network::Two {
        eprintln!("--messages: only with `--network two`, one shard has nobody to send to");
        return ExitCode::from(2);
    }
    let mut summary = Summary::default();
    play(&args, network, &mut |report| {
        summary.take(&report, &args, network);
        !args.stop || summary.violations == 0
    });
    summary.finish(&args, network)
}

/// Plays all seeds on some threads, each seed on one, and gives the reports in order, for as long as
/// `take` wants more.
fn play(args: &Args, network: Network, take: &mut dyn FnMut(Report) -> bool) {
    let next = AtomicU64::new(0);
    let threads = args.threads.clamp(1, 64);
    let (sender, reports) = sync_channel::<Report>(threads);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let sender = sender.clone();
            let next = &next;
            scope.spawn(move || {
                loop {
                    let turn = next.fetch_add(1, Ordering::Relaxed);
                    if turn >= args.seeds {
                        return;
                    }
                    let mix = if args.messages {
                        Mix::Messages
                    } else {
                        Mix::Usual
                    };
                    let mut plan = Plan::mixed(args.from.wrapping_add(turn), network, mix);
                    if args.calm {
                        plan = plan.without_faults();
                    }
                    if sender.send(run_caught(plan, args.trace)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        let mut waiting = BTreeMap::new();
        let mut turn = args.from;
        for report in reports {
            waiting.insert(report.seed, report);
            while let Some(report) = waiting.remove(&turn) {
                turn = turn.wrapping_add(1);
                if !take(report) {
                    next.store(args.seeds, Ordering::Relaxed);
                    return;
                }
            }
        }
    });
}

/// Plays a plan; a panic of the code under test is a violation like any other, so that its seed is
/// known.
fn run_caught(plan: Plan, prints: bool) -> Report {
    let (seed, summary) = (plan.seed, plan.summary());
    let played = catch_unwind(AssertUnwindSafe(|| run(plan, prints)));
    played.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        let what = format!("panic: {}", text.unwrap_or("without a word"));
        Report::failed(seed, summary, what)
    })
}

#[derive(Default)]
struct Summary {
    counts: Counts,
    blocks: u64,
    events: u64,
    violations: u64,
    seeds: u64,
    /// The message that took most of the time that was foretold: microseconds, foretold, seed.
    slowest: Option<(u64, u64, u64)>,
}

impl Summary {
    fn take(&mut self, report: &Report, args: &Args, network: Network) {
        self.seeds = self.seeds.saturating_add(1);
        self.counts.merge(&report.counts);
        self.blocks = self.blocks.saturating_add(report.blocks.values().sum());
        self.events = self.events.saturating_add(report.events);
        if let Some((took, bound)) = report.delay {
            // By how much of what was foretold they took.
            let is_slower = |(other, of, _): &(u64, u64, u64)| {
                u128::from(took) * u128::from(*of) > u128::from(*other) * u128::from(bound)
            };
            if self.slowest.as_ref().is_none_or(is_slower) {
                self.slowest = Some((took, bound, report.seed));
            }
        }
        if args.verbose {
            let blocks: Vec<String> = report
                .blocks
                .iter()
                .map(|(chain, top)| format!("{chain} {top}"))
                .collect();
            println!(
                "seed {} {:.1} s virtual, {} events, {}, trace {}",
                report.seed,
                skerry_sim::trace::millis(report.virtual_time) / 1000.0,
                report.events,
                blocks.join(", "),
                report
                    .trace
                    .iter()
                    .take(8)
                    .map(|byte| format!("{byte:02x}"))
                    .collect::<String>()
            );
        }
        if let Some(violation) = &report.violation {
            self.violations = self.violations.saturating_add(1);
            println!(
                "seed {}: VIOLATION after {:.3} s: {}\n  {}\n  play it again: cargo xtask sim \
                 --network {}{} --seeds 1 --from {}{} --trace",
                report.seed,
                skerry_sim::trace::millis(violation.at) / 1000.0,
                violation.what,
                report.plan,
                network.name(),
                if args.messages { " --messages" } else { "" },
                report.seed,
                if args.calm { " --calm" } else { "" }
            );
        }
    }

    fn finish(&self, args: &Args, network: Network) -> ExitCode {
        println!("{}", self.counts.table());
        println!("final blocks {}, events {}", self.blocks, self.events);
        if let Some((took, bound, seed)) = self.slowest {
            println!(
                "slowest message: {:.0} ms of {:.0} ms that were foretold, seed {seed}",
                skerry_sim::trace::millis(took),
                skerry_sim::trace::millis(bound)
            );
        }
        let scope = match network {
            Network::One => Scope::Any,
            Network::Two if args.messages => Scope::Messages,
            Network::Two => Scope::Shards,
        };
        let missing = self.counts.missing(scope);
        let must_occur = args.seeds >= SEEDS_FOR_ROWS && !args.calm;
        if must_occur && !missing.is_empty() {
            println!("never occurred: {}", missing.join(", "));
        }
        println!("seeds {}, violations {}", self.seeds, self.violations);
        if self.violations > 0 || (must_occur && !missing.is_empty()) {
            ExitCode::FAILURE
        } else {
            ExitCode::SUCCESS
        }
    }
}
