//! The draws, the blocks that come of them, and each workload in small.

use super::bare::{Bare, Pair};
use super::clock::Clock;
use super::draws::{Choice, Draws};
use super::report::ExecutionReport;
use super::state::State;
use super::stream::{Block, Deed, Extent, SEQUENCE_FIRST, Stream};
use super::{
    Arena, BenchError, ExecutionError, Settings, SizeArgs, Workload, execute_all, parse_skew,
};
use skerry_execution::modules::account::state::{decode_nonce, nonce_key};
use skerry_execution::modules::bank::state::balance_key;
use skerry_execution::parallel::{Stage, Watch};
use skerry_execution::view::decode_amount;
use skerry_types::amount::Amount;
use skerry_types::ids::{Address, Denom};
use skerry_types::state::StateRead;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const WORKLOADS: [Workload; 6] = [
    Workload::Transfers,
    Workload::TransfersSkewed { skew: 0.8 },
    Workload::TransfersSkewed { skew: 1.1 },
    Workload::TransfersSkewed { skew: 1.4 },
    Workload::OnePool,
    Workload::Pools,
];

const SMALL: Extent = Extent {
    set: 0,
    accounts: 50,
    pools: 3,
};

fn size() -> SizeArgs {
    SizeArgs {
        threads: Some(2),
        accounts: 2_000,
        blocks: 2,
        block_transactions: 200,
        seed: 5,
    }
}

fn report(workload: Workload) -> ExecutionReport {
    execute_all(&Settings::new(workload, &size()).unwrap()).unwrap()
}

fn blocks(workload: Workload, extent: Extent, seed: u64) -> Vec<Block> {
    let mut stream = Stream::new(workload, extent, seed);
    (0..3).map(|_| stream.next(200).unwrap()).collect()
}

#[test]
fn a_seed_names_its_draws() {
    let draw = |seed| {
        let mut draws = Draws::new(seed);
        let zipf = Choice::new(1_000, Some(1.1));
        [(); 100].map(|()| (draws.below(1_000), zipf.draw(&mut draws)))
    };
    assert_eq!(draw(1), draw(1));
    assert_ne!(draw(1), draw(2));
    // The first three of seed 0, as the generator's authors publish them.
    let mut draws = Draws::new(0);
    let first = [(); 3].map(|()| draws.next());
    let published = [
        0xe220_a839_7b1d_cdaf,
        0x6e78_9e6a_a1b9_65f4,
        0x06c4_5d18_8009_454f,
    ];
    assert_eq!(first, published);
}

/// Counts of positions, of draws in a list of 1,000.
fn counts(exponent: Option<f64>) -> Vec<u32> {
    let choice = Choice::new(1_000, exponent);
    let mut draws = Draws::new(3);
    let mut counts = vec![0; 1_000];
    for _ in 0..400_000 {
        counts[choice.draw(&mut draws)] += 1;
    }
    counts
}

#[test]
fn positions_follow_zipfs_law() {
    for exponent in [0.8, 1.0, 1.1, 1.4] {
        let counts = counts(Some(exponent));
        let weight = |rank: u32| f64::from(rank).powf(-exponent);
        let total: f64 = (1..=1_000).map(weight).sum();
        for rank in [1, 2, 3, 10] {
            let expected = 400_000.0 * weight(rank) / total;
            let actual = f64::from(counts[rank as usize - 1]);
            let deviation = (actual - expected).abs() / expected.sqrt();
            assert!(deviation < 5.0, "{exponent} {rank}: {actual} {expected}");
        }
        let tail: u32 = counts[500..].iter().sum();
        let weights: f64 = (501..=1_000).map(weight).sum();
        let expected = 400_000.0 * weights / total;
        let deviation = (f64::from(tail) - expected).abs() / expected.sqrt();
        assert!(deviation < 5.0, "{exponent}: {tail} {expected}");
    }
}

#[test]
fn positions_without_an_exponent_are_uniform() {
    let counts = counts(None);
    assert!(counts.iter().all(|count| (300..=500).contains(count)));
}

#[test]
fn nonces_count_up_without_gap_for_every_account() {
    for workload in WORKLOADS {
        let mut next: BTreeMap<Address, u64> = BTreeMap::new();
        for block in blocks(workload, SMALL, 1) {
            assert_eq!(block.work.transactions.len(), 200);
            for (order, transaction) in block.orders.iter().zip(&block.work.transactions) {
                let body = transaction.body();
                assert_eq!(body.sender, order.sender);
                assert_eq!(body.nonce.sequence, order.sequence);
                assert!(transaction.has_first_keys());
                let next = next.entry(order.sender).or_insert(SEQUENCE_FIRST);
                assert_eq!(order.sequence, *next);
                *next += 1;
            }
        }
    }
}

#[test]
fn nobody_sends_to_oneself() {
    for workload in [
        Workload::Transfers,
        Workload::TransfersSkewed { skew: 1.1 },
        Workload::Pools,
    ] {
        for order in blocks(workload, SMALL, 1).iter().flat_map(|it| &it.orders) {
            assert!(!matches!(order.deed, Deed::Transfer { to, .. } if to == order.sender));
        }
    }
}

#[test]
fn seven_of_ten_are_swaps_in_both_directions_where_there_are_pools() {
    let swaps = |workload| -> (usize, usize) {
        let blocks = blocks(workload, SMALL, 1);
        let deeds = blocks.iter().flat_map(|it| &it.orders).map(|it| it.deed);
        let inputs: Vec<Denom> = deeds
            .filter_map(|deed| match deed {
                Deed::Swap { input, .. } => Some(input.denom),
                Deed::Transfer { .. } => None,
            })
            .collect();
        let sker = inputs.iter().filter(|denom| **denom == Denom::SKER);
        (inputs.len(), sker.count())
    };
    assert_eq!(swaps(Workload::Transfers).0, 0);
    let (all, sker) = swaps(Workload::OnePool);
    assert_eq!(all, 600);
    assert!((240..360).contains(&sker), "{sker}");
    let (some, _) = swaps(Workload::Pools);
    assert!((370..470).contains(&some), "{some}");
}

#[test]
fn equal_seeds_give_equal_blocks_and_other_sets_others() {
    let orders = |set, seed| {
        let blocks = blocks(Workload::Pools, Extent { set, ..SMALL }, seed);
        let orders: Vec<_> = blocks.into_iter().flat_map(|it| it.orders).collect();
        orders
    };
    assert_eq!(orders(0, 1), orders(0, 1));
    assert_ne!(orders(0, 1), orders(0, 2));
    let owners = |set| {
        let stream = Stream::new(Workload::Pools, Extent { set, ..SMALL }, 1);
        let all = stream.addresses().chain(stream.pools()).copied();
        all.collect::<BTreeSet<Address>>()
    };
    assert_eq!(owners(1).len(), 53);
    assert!(owners(1).is_disjoint(&owners(2)));
    // By other draws too, or every part of the control would do the same.
    let pools = |set| {
        let pools: Vec<Address> = Stream::new(Workload::Pools, Extent { set, ..SMALL }, 1)
            .pools()
            .to_vec();
        let of = |order: &super::stream::Order| match order.deed {
            Deed::Swap { pool, .. } => pools.iter().position(|it| *it == pool),
            Deed::Transfer { .. } => None,
        };
        orders(set, 1).iter().map(of).collect::<Vec<_>>()
    };
    assert_ne!(pools(1), pools(2));
}

#[test]
fn the_control_parts_share_the_whole() {
    let pools = Workload::Pools.parts(1_000, 3);
    let extent = |set| Extent {
        set,
        accounts: 333,
        pools: 33,
    };
    assert_eq!(pools, [extent(1), extent(2), extent(3)]);
    assert_eq!(Workload::Pools.parts(1_000, 200)[0].pools, 1);
    assert_eq!(Workload::Transfers.parts(10, 2)[1].pools, 0);
    assert_eq!(Workload::OnePool.parts(1_000, 3), []);
}

/// The plain loop and the executor agree on every nonce and every balance.
#[test]
fn the_plain_loop_does_what_the_executor_does() {
    for workload in WORKLOADS {
        let mut arena = Arena::new(Stream::new(workload, SMALL, 9));
        let mut bare = Bare::new(&arena.stream);
        let mut token = None;
        for _ in 0..3 {
            let (block, outcome) = arena.prepare(100).unwrap();
            for order in &block.orders {
                if let Deed::Swap { input, .. } = order.deed
                    && input.denom != Denom::SKER
                {
                    token = Some(input.denom);
                }
            }
            bare.run(&block.orders).unwrap();
            arena.state.apply(outcome.changes);
        }
        let held = |owner: &Address, denom: &Denom| {
            let value = arena.state.get(&balance_key(owner, denom));
            decode_amount(value.as_ref()).unwrap()
        };
        for address in arena.stream.addresses() {
            let holding = bare.holding(address).unwrap();
            let nonce = arena.state.get(&nonce_key(address, 0));
            assert_eq!(holding.sequence, decode_nonce(nonce.as_ref()));
            let Pair { sker, token: other } = holding.held;
            assert_eq!(held(address, &Denom::SKER), sker);
            if let Some(token) = token {
                assert_eq!(held(address, &token), other);
            }
        }
    }
}

#[test]
fn each_workload_gives_one_result_however_it_is_executed() {
    for workload in WORKLOADS {
        let report = report(workload);
        assert!(report.same_result);
        assert_eq!((report.threads, report.blocks), (2, 2));
        let rates = [
            report.parallel_per_s,
            report.sequential_per_s,
            report.one_thread_per_s,
            report.control_per_s,
            report.bare_per_s,
            report.cold_per_s,
        ];
        assert!(rates.iter().all(|rate| *rate > 0.0), "{rates:?}");
        let pool = workload == Workload::OnePool;
        let is_same = (report.control_ratio - report.ratio).abs() < f64::EPSILON;
        assert!(!pool || is_same, "its control is the sequential executor");
    }
}

#[test]
fn more_threads_than_pools_or_processors_are_no_obstacle() {
    let size = SizeArgs {
        threads: Some(5),
        ..size()
    };
    for workload in [Workload::Pools, Workload::OnePool] {
        let settings = Settings::new(workload, &size).unwrap();
        assert!(execute_all(&settings).unwrap().same_result);
    }
}

#[test]
fn what_does_not_succeed_is_no_figure() {
    let stream = Stream::new(Workload::Transfers, SMALL, 1);
    let mut arena = Arena {
        stream,
        state: State::default(),
    };
    let Err(error) = arena.prepare(10) else {
        panic!("nobody has funds");
    };
    let ExecutionError::Failed { failed, count, .. } = error else {
        panic!("{error}");
    };
    assert_eq!((failed, count), (10, 10));
    let text = error.to_string();
    assert!(text.starts_with("10 of 10 transactions of block 1 did not succeed"));
}

#[test]
fn fields_have_the_documented_names() {
    let names = |value: &serde_json::Value| {
        let object = value.as_object().unwrap();
        object.keys().cloned().collect::<Vec<_>>().join(" ")
    };
    let value = serde_json::to_value(report(Workload::TransfersSkewed { skew: 1.1 })).unwrap();
    assert_eq!(
        names(&value),
        "workload skew threads accounts blocks block_transactions seed parallel_per_s \
         sequential_per_s ratio one_thread_per_s one_thread_ratio control_per_s control_ratio \
         bare_per_s bare_ratio cold_per_s quartiles peak_bytes lanes longest_lane handovers \
         covered barrier_ms stages same_result"
    );
    assert_eq!(
        names(&value["quartiles"]),
        "parallel sequential one_thread control bare"
    );
    assert_eq!(
        names(&value["stages"]),
        "plan_ms group_ms assign_ms run_ms merge_ms"
    );
    assert_eq!(value["workload"], "transfers-skewed");
    let value = serde_json::to_value(report(Workload::OnePool)).unwrap();
    assert!(value.get("skew").is_none());
}

#[test]
fn options_that_do_not_fit_each_other_are_refused() {
    let refused = |size: SizeArgs| match Settings::new(Workload::Transfers, &size) {
        Err(BenchError::Usage(text)) => text,
        other => panic!("{other:?}"),
    };
    let (threads, accounts) = (Some(8), 15);
    let text = refused(SizeArgs {
        threads,
        accounts,
        ..size()
    });
    assert!(text.starts_with("--accounts 15 is too few"), "{text}");
    let text = refused(SizeArgs {
        threads,
        block_transactions: 7,
        ..size()
    });
    assert!(text.starts_with("--block-transactions 7 is"), "{text}");
    assert!(Settings::new(Workload::Transfers, &size()).is_ok());
}

#[test]
fn a_skew_is_a_number_in_its_range() {
    for good in ["0", "0.8", "1.1", "1.4", "4"] {
        assert!(parse_skew(good).is_ok(), "{good}");
    }
    for bad in ["-0.1", "4.1", "NaN", "inf", "much", ""] {
        assert!(parse_skew(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_clock_knows_who_waited() {
    let clock = Clock::start(2);
    clock.ended(0, Stage::Plan);
    clock.ended(1, Stage::Plan);
    clock.ended(0, Stage::Run);
    std::thread::sleep(Duration::from_millis(20));
    clock.ended(1, Stage::Run);
    clock.ended(7, Stage::Run);
    clock.ended(0, Stage::Merge);
    let lap = clock.lap().unwrap();
    assert!(lap.waited >= Duration::from_millis(10));
    assert_eq!(lap.stages.iter().sum::<Duration>(), lap.total);
    assert_eq!(lap.stages[1], Duration::ZERO, "nobody told of it");
    let silent = Clock::start(2);
    silent.ended(1, Stage::Merge);
    assert!(silent.lap().is_none());
}

#[test]
fn amounts_of_runs_fit_the_funds() {
    let most = |block: &Block| {
        let fees = block.orders.iter().map(|order| order.fee.get());
        fees.max().unwrap_or(0)
    };
    let fee = blocks(Workload::Pools, SMALL, 1).iter().map(most).max();
    // All that the largest run moves, by one account.
    let moved = (fee.unwrap() + 2_000_000) * 20_000 * 100_000;
    assert!(super::stream::FUNDS > Amount::new(moved));
}
