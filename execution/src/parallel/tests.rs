//! Blocks by several workers against the same blocks one after the other; the scheduler under a
//! checker of schedules.
//!
//! The blocks are random, with a knob: how few accounts and pools they are about. All modules of a
//! shard take part, requests to the beacon and messages to the other shard too, and much of it
//! fails. Every other test of this crate that executes a block compares modes as well
//! ([`crate::testing::World::run`]).

mod covered;

use super::schedule::Schedule;
use super::threads::{Alarm, Flag, Platform};
use super::touches::Group;
use super::{Figures, Mode, Os, Stage, Unwatched, Watch, changes, run};
use crate::block::{BlockWork, Executor, Outcome, Workspace};
use crate::modules::account::calls::AccountCall;
use crate::modules::bank::calls::BankCall;
use crate::modules::bank::state::balance_key;
use crate::modules::dex::calls::DexCall;
use crate::modules::dex::state::PoolFee;
use crate::modules::staking::calls::StakingCall;
use crate::modules::token::calls::TokenCall;
use crate::modules::{ACCOUNT, DEX, STAKING, TOKEN};
use crate::testing::{Draft, Draws, User, World, bank, operation, shard, transfer, user};
use crate::view::encode_amount;
use skerry_types::amount::{Amount, Asset};
use skerry_types::ids::{Address, ChainRef, Denom, Height, ValidatorId};
use skerry_types::receipt::Status;
use skerry_types::transaction::{Authenticator, Target};
use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Mutex;

fn workers(count: usize) -> Mode {
    Mode::Workers(NonZeroUsize::new(count).unwrap())
}

/// What blocks are drawn from.
#[derive(Clone)]
struct Town {
    world: World,
    users: Vec<User>,
    away: Vec<Address>,
    /// Owners whose ids begin as those of the users and differ in their last bytes only.
    twins: Vec<Address>,
    pools: Vec<(Address, [Denom; 2])>,
    tokens: Vec<Denom>,
    sequences: BTreeMap<Address, u64>,
}

const RICH: u128 = 1 << 70;

fn twins_of(user: &User) -> [Address; 3] {
    [1, 2, 3].map(|tail| {
        let mut id = *user.address.as_bytes();
        id[31] ^= tail;
        Address::new(id)
    })
}

impl Town {
    /// `people` users, a token of each of the first three, and `pools` pools.
    fn new(people: u64, pools: usize) -> Self {
        let users: Vec<User> = (0..people).map(|number| user(0, number)).collect();
        let funds: Vec<_> = users
            .iter()
            .map(|user| {
                let assets = [Denom::RSSKER, Denom::SKER, Denom::STSKER].map(|denom| Asset {
                    denom,
                    amount: Amount::new(RICH),
                });
                (*user, assets.to_vec())
            })
            .collect();
        let mut town = Self {
            world: World::new(&funds),
            twins: users.iter().flat_map(twins_of).collect(),
            away: (0..4).map(|number| user(1, number).address).collect(),
            users,
            pools: Vec::new(),
            tokens: Vec::new(),
            sequences: BTreeMap::new(),
        };
        // So that a deadline can have passed.
        town.world.heights.insert(ChainRef::Beacon, 5);
        town.found(pools);
        town
    }

    fn next(&mut self, user: &User) -> u64 {
        let sequence = self.sequences.entry(user.address).or_default();
        *sequence += 1;
        *sequence - 1
    }

    fn found(&mut self, pools: usize) {
        let mut drafts = Vec::new();
        for creator in self.users.clone().into_iter().take(3) {
            let call = TokenCall::Create {
                name: "coin".to_owned(),
                symbol: "COIN".to_owned(),
                decimals: 6,
                metadata: String::new(),
                authority: Some(creator.address),
            };
            let sequence = self.next(&creator);
            drafts.push(Draft::new(creator, sequence, Vec::new()).call(operation(TOKEN, &call)));
            self.tokens.push(Denom::created(&creator.address, "coin"));
        }
        let denoms = [Denom::RSSKER, Denom::SKER, Denom::STSKER];
        for number in 0..pools {
            let creator = self.users[number % self.users.len()];
            let pair = match number % 3 {
                0 => [denoms[0], denoms[1]],
                1 => [denoms[1], denoms[2]],
                _ => [denoms[0], denoms[2]],
            };
            let assets = pair.map(|denom| Asset {
                denom,
                amount: Amount::new(1 << 40),
            });
            let call = DexCall::CreatePool {
                assets,
                fee_ppm: PoolFee::new(3_000),
            };
            let sequence = self.next(&creator);
            let draft = Draft::new(creator, sequence, assets.to_vec());
            drafts.push(draft.call(operation(DEX, &call)));
            let pool = Address::of_object(DEX.get(), &creator.address, 0, sequence, 0);
            self.pools.push((pool, pair));
        }
        let outcome = self.world.transactions(shard(0), &drafts);
        for receipt in &outcome.receipts {
            assert_eq!(receipt.status, Status::Succeeded);
        }
    }

    fn draw<T: Copy>(draws: &mut Draws, of: &[T]) -> T {
        of[usize::try_from(draws.below(of.len() as u64)).unwrap()]
    }

    fn bundle(&self, draws: &mut Draws, draft: Draft) -> Draft {
        let amount = Amount::new(draws.amount(34));
        let (pool, [first, second]) = Self::draw(draws, &self.pools);
        let (given, wanted) = if draws.below(2) == 0 {
            (first, second)
        } else {
            (second, first)
        };
        let with = |mut draft: Draft, denom: Denom, amount: Amount| {
            draft.bundle.assets = vec![Asset { denom, amount }];
            draft
        };
        let token = Self::draw(draws, &self.tokens);
        match draws.below(14) {
            0..=3 => {
                let to = match draws.below(3) {
                    0 => Self::draw(draws, &self.twins),
                    _ => Self::draw(draws, &self.users).address,
                };
                let asset = Asset {
                    denom: Denom::SKER,
                    amount,
                };
                let call = bank(&BankCall::Send { to, asset });
                with(draft, Denom::SKER, amount).call(call)
            }
            4 => {
                let to = Self::draw(draws, &self.away);
                let asset = Asset {
                    denom: given,
                    amount,
                };
                with(draft, given, amount).call(bank(&BankCall::Send { to, asset }))
            }
            5..=8 => {
                let least = Amount::new(u128::from(draws.below(20) == 0) << 100);
                let call = DexCall::SwapExactIn {
                    route: vec![pool],
                    input: Asset {
                        denom: given,
                        amount,
                    },
                    minimum_output: Asset {
                        denom: wanted,
                        amount: least,
                    },
                };
                with(draft, given, amount).call(operation(DEX, &call))
            }
            9 => {
                let (other, _) = Self::draw(draws, &self.pools);
                let call = DexCall::SwapExactOut {
                    route: if other == pool {
                        vec![pool]
                    } else {
                        vec![pool, other]
                    },
                    maximum_input: Asset {
                        denom: given,
                        amount: Amount::new(1 << 40),
                    },
                    output: Asset {
                        denom: wanted,
                        amount,
                    },
                };
                with(draft, given, Amount::new(1 << 40)).call(operation(DEX, &call))
            }
            10 => {
                let maximum = [first, second].map(|denom| Asset { denom, amount });
                let call = DexCall::Add {
                    pool,
                    maximum,
                    minimum_shares: Amount::ZERO,
                };
                let mut draft = draft.call(operation(DEX, &call));
                draft.bundle.assets = maximum.to_vec();
                draft
            }
            11 => {
                let asset = Asset {
                    denom: token,
                    amount,
                };
                let to = Self::draw(draws, &self.users).address;
                let mint = operation(TOKEN, &TokenCall::Mint { asset });
                draft.call(mint).call(bank(&BankCall::Send { to, asset }))
            }
            12 => {
                let authenticator = Authenticator::Ed25519(draft.user.key);
                draft.call(operation(
                    ACCOUNT,
                    &AccountCall::RotateKey { authenticator },
                ))
            }
            _ => {
                let validator = ValidatorId::new(0);
                let call = StakingCall::TopUp { validator, amount };
                let draft = with(draft, Denom::SKER, amount).call(operation(STAKING, &call));
                draft.to(Target::Beacon)
            }
        }
    }

    /// A block of random transactions, a tenth of them void, unpayable, too late or invalid.
    fn block(&mut self, draws: &mut Draws, count: usize) -> BlockWork {
        let mut transactions = Vec::with_capacity(count);
        while transactions.len() < count {
            let sender = Self::draw(draws, &self.users);
            let flaw = draws.below(40);
            let sequence = match flaw {
                0 => 1_000_000,
                1 | 2 => self.sequences.get(&sender.address).copied().unwrap_or(0),
                _ => self.next(&sender),
            };
            let mut draft = self.bundle(draws, Draft::new(sender, sequence, Vec::new()));
            match flaw {
                1 => draft.gas_limit = 1,
                2 => draft.price = RICH,
                3 => draft.bundle.deadline = Height::ZERO,
                _ => {}
            }
            if flaw == 2 {
                draft.gas_limit = u64::MAX;
            }
            transactions.push(draft.checked(self.world.network.chain_id));
        }
        BlockWork {
            transactions,
            ..BlockWork::default()
        }
    }

    fn execute(&self, mode: Mode, work: &BlockWork) -> Outcome {
        let context = self.world.context(shard(0));
        let state = self.world.state(shard(0));
        self.world.executor(mode).execute(&context, work, state)
    }

    /// [`Self::execute`] by so many workers, with what there was to order and the stages of worker 0.
    fn watched(&self, count: usize, work: &BlockWork) -> (Outcome, Figures, Vec<Stage>) {
        let (context, seen) = (self.world.context(shard(0)), Seen::default());
        let executor = Executor {
            watch: &seen,
            ..self.world.executor(workers(count))
        };
        let outcome = executor.execute(&context, work, self.world.state(shard(0)));
        // A block that contradicts itself is begun again, one after the other.
        let seen = seen.0.into_inner().unwrap().into_iter().next();
        let (figures, stages) = seen.expect("worker 0 has planned");
        (outcome, figures, stages)
    }

    /// Whether so many workers execute a block and need not do it again one after the other.
    fn is_done_by(&self, count: usize, work: &BlockWork) -> bool {
        let (context, modules) = (self.world.context(shard(0)), self.world.modules);
        let mut space = Workspace::new(&context, modules, self.world.state(shard(0)));
        let count = NonZeroUsize::new(count).unwrap();
        run::<Os>(count, &Unwatched, &mut space, &work.transactions).is_some()
            && changes::<Os>(Mode::Workers(count), &space.overlay.into_layers()).is_ok()
    }
}

#[derive(Default)]
struct Seen(Mutex<Vec<(Figures, Vec<Stage>)>>);

impl Watch for Seen {
    fn ended(&self, worker: usize, stage: Stage) {
        if worker == 0 {
            let mut seen = self.0.lock().unwrap();
            if stage == Stage::Plan {
                seen.push((Figures::default(), Vec::new()));
            }
            if let Some((_, stages)) = seen.last_mut() {
                stages.push(stage);
            }
        }
    }
    fn planned(&self, figures: &Figures) {
        if let Some((last, _)) = self.0.lock().unwrap().last_mut() {
            *last = *figures;
        }
    }
}

/// Swaps so much of a pool's first denom.
fn swap(town: &mut Town, user: User, pool: usize, units: u128) -> Draft {
    let (pool, [first, second]) = town.pools[pool];
    let input = Asset {
        denom: first,
        amount: Amount::new(units),
    };
    let call = DexCall::SwapExactIn {
        route: vec![pool],
        input,
        minimum_output: Asset {
            denom: second,
            amount: Amount::ZERO,
        },
    };
    let sequence = town.next(&user);
    Draft::new(user, sequence, vec![input]).call(operation(DEX, &call))
}

/// The knob goes from a crowd on many pools to two people on one.
#[test]
fn any_number_of_workers_gives_the_sequential_outcome() {
    let (mut succeeded, mut covered) = (0, 0);
    let mut failures: BTreeMap<String, usize> = BTreeMap::new();
    for (seed, (people, pools)) in [(400, 40), (40, 6), (9, 2), (3, 1)].into_iter().enumerate() {
        let mut draws = Draws::new(seed as u64);
        let mut town = Town::new(people, pools);
        for _ in 0..4 {
            let work = town.block(&mut draws, 160);
            let expected = town.execute(Mode::Sequential, &work);
            for count in [1, 2, 3, 5, 8, 16] {
                let (outcome, figures, _) = town.watched(count, &work);
                assert_eq!(outcome, expected, "{people} people, {count} workers");
                covered += figures.covered;
            }
            for receipt in &expected.receipts {
                match &receipt.status {
                    Status::Succeeded => succeeded += 1,
                    Status::Failed(failure) | Status::Void(failure) => {
                        *failures.entry(failure.code.clone()).or_default() += 1;
                    }
                    other => panic!("{other:?}"),
                }
            }
            town.world.run(shard(0), &work);
        }
    }
    assert!(succeeded > 1_000, "{succeeded}");
    assert!(covered > 200, "{covered}");
    let codes = [
        "WRONG_NONCE",
        "GAS_LIMIT_TOO_LOW",
        "INSUFFICIENT_FEE_BALANCE",
        "DEADLINE_PASSED",
        "SLIPPAGE",
    ];
    for code in codes {
        assert!(failures.contains_key(code), "{code} of {failures:?}");
    }
}

#[test]
fn one_pool_is_one_lane_and_strangers_share_nothing() {
    let mut town = Town::new(60, 1);
    let users = town.users.clone();
    let chain_id = town.world.network.chain_id;
    let swaps: Vec<_> = users
        .iter()
        .map(|user| swap(&mut town, *user, 0, 1_000).checked(chain_id))
        .collect();
    let sends: Vec<_> = (0..60_u64)
        .map(|number| {
            let to = user(0, 1_000 + number).address;
            let from = users[usize::try_from(number).unwrap()];
            transfer(from, town.next(&from), to, Asset::nsker(5)).checked(chain_id)
        })
        .collect();
    let figures = |town: &Town, transactions: Vec<_>| {
        let work = BlockWork {
            transactions,
            ..BlockWork::default()
        };
        let (_, figures, stages) = town.watched(4, &work);
        let all = [
            Stage::Plan,
            Stage::Group,
            Stage::Assign,
            Stage::Run,
            Stage::Merge,
        ];
        assert_eq!(stages, all);
        figures
    };
    let lane = Figures {
        lanes: 1,
        longest: 60,
        ..Figures::default()
    };
    assert_eq!(figures(&town, swaps), lane);
    // Of users whose nonces are not next, but that is not known beforehand.
    assert_eq!(figures(&town, sends), Figures::default());
}

/// Whether a sum is too large depends on who else has added: the block runs one after the other.
#[test]
fn balance_near_its_limit_is_decided_as_in_order() {
    let mut town = Town::new(40, 1);
    let to = user(0, 5_000).address;
    for room in [0_u128, 7, 70] {
        let state = town.world.states.get_mut(&shard(0)).unwrap();
        let full = encode_amount(Amount::new(u128::MAX - room)).unwrap();
        state.0.insert(balance_key(&to, &Denom::SKER), full);
        let users = town.users.clone();
        let drafts: Vec<_> = users
            .iter()
            .map(|user| {
                let sequence = town.next(user);
                transfer(*user, sequence, to, Asset::nsker(2))
            })
            .collect();
        let outcome = town.world.transactions(shard(0), &drafts);
        let failed = outcome
            .receipts
            .iter()
            .filter(|receipt| receipt.status != Status::Succeeded);
        assert_eq!(failed.count() as u128, 40 - (room / 2).min(40));
    }
}

/// Ids that begin alike are chosen by whoever wants to: they cost what others cost.
#[test]
fn thousands_of_ids_that_begin_alike_are_told_apart() {
    let mut town = Town::new(30, 1);
    let users = town.users.clone();
    let model = user(0, 77).address;
    let mut number = 9_000_u16;
    let mut drafts = Vec::new();
    for user in &users {
        let sequence = town.next(user);
        let asset = Asset::nsker(1);
        let mut draft = Draft::new(*user, sequence, vec![Asset::nsker(32)]);
        for _ in 0..32 {
            number -= 1;
            let mut id = *model.as_bytes();
            [id[30], id[31]] = number.to_be_bytes();
            let to = Address::new(id);
            draft = draft.call(bank(&BankCall::Send { to, asset }));
        }
        drafts.push(draft);
    }
    let outcome = town.world.transactions(shard(0), &drafts);
    for receipt in &outcome.receipts {
        assert_eq!(receipt.status, Status::Succeeded);
    }
    let keys: Vec<_> = outcome.changes.iter().map(|(key, _)| key).collect();
    assert!(keys.is_sorted() && keys.len() > 960);
}

fn group(number: u8, transactions: &[u32]) -> Group {
    Group {
        others: 0,
        owner: Address::new([number; 32]),
        transactions: transactions.to_vec(),
    }
}

#[test]
fn lanes_stay_whole_and_the_rest_fills_up_evenly() {
    let lane: Vec<u32> = (0..4_000).map(|number| number * 2).collect();
    let (long, short) = (group(1, &lane), group(2, &[1, 3, 5]));
    let schedule = Schedule::of(&vec![1; 10_000], &[], vec![&short, &long], 2).unwrap();
    let of = |transaction: &u32| schedule.workers[*transaction as usize];
    assert!(lane.iter().all(|it| of(it) == of(&0)));
    assert!([1, 3, 5].iter().all(|it| of(it) != of(&0)));
    let loads = [0, 1].map(|worker| schedule.turns[worker].transactions.len());
    assert_eq!(loads, [5_000, 5_000]);
    assert_eq!(schedule.figures.handovers, 0);
    // What is free goes to both all along: of 6,000, every sixth to the worker of the lane.
    for from in [0, 2_000, 4_000, 6_000] {
        let free = (from..from + 2_000).filter(|it| it % 2 == 1);
        let share = free.filter(|it| of(it) == of(&0)).count();
        assert!((30..=330).contains(&share), "{share} from {from}");
    }
}

/// A lane of so many transactions, every second of which the first worker must run, which has its share
/// without it; and so many others touch the lane's object.
fn to_and_fro(lane: u32, others: usize) -> Schedule {
    let members: Vec<u32> = (0..lane).collect();
    let own = (0..lane).step_by(2);
    let pinned: Vec<u32> = own.chain(10_000..20_000).collect();
    let group = Group {
        others,
        ..group(1, &members)
    };
    Schedule::of(&vec![1; 20_000], &pinned, vec![&group], 2).unwrap()
}

#[test]
fn long_lane_to_and_fro_stays_with_one_worker() {
    let short = to_and_fro(1_000, 0);
    assert_eq!(short.figures.handovers, 999);
    assert_eq!(short.turns[1].transactions.len(), 10_000 - 500);
    // It crosses for far less than a third of the block, but each time with all that lies before.
    let long = to_and_fro(4_000, 0);
    assert_eq!(long.figures.handovers, 0);
    assert_eq!(long.turns[1].transactions.len(), 0);
    // So does a short one whose account many others add to.
    assert_eq!(to_and_fro(1_000, 500).figures.handovers, 999);
    assert_eq!(to_and_fro(1_000, 5_000).figures.handovers, 0);
}

/// Of so many transactions two lanes, and one that crosses both. The first worker must run their ends,
/// and has its share with the first of all.
fn crossing(transactions: usize) -> Schedule {
    let groups = [
        group(1, &[0, 2, 4]),
        group(2, &[1, 3, 5]),
        group(3, &[0, 1, 2, 3]),
    ];
    let mut weights = vec![1; transactions];
    weights[0] = 10;
    Schedule::of(&weights, &[0, 5], groups.iter().collect(), 2).unwrap()
}

#[test]
fn lane_that_crosses_is_handed_over_each_time() {
    let schedule = crossing(12);
    assert_eq!(schedule.edges.len(), 3);
    for (worker, turns) in schedule.turns.iter().enumerate() {
        for (before, edge) in &turns.takes {
            let mut gives = schedule.turns[1 - worker].gives.iter();
            let (after, _) = gives.find(|(_, other)| other == edge).unwrap();
            assert!(after < before);
        }
    }
    let taken: usize = schedule.turns.iter().map(|turns| turns.takes.len()).sum();
    assert_eq!(taken, schedule.edges.len());
    assert_eq!(schedule.figures.longest, 4);
}

#[test]
fn where_lanes_cross_everywhere_one_worker_runs_all() {
    let schedule = crossing(6);
    assert!(schedule.edges.is_empty());
    assert_eq!(schedule.turns[0].transactions, [0, 1, 2, 3, 4, 5]);
    assert!(schedule.turns[1].transactions.is_empty());
}

// --- under a checker of schedules ---------------------------------------------------------------

/// Threads whose order a checker chooses.
struct Checked;

#[derive(Default)]
struct CheckedFlag(shuttle::sync::atomic::AtomicBool);

impl Flag for CheckedFlag {
    fn raise(&self) {
        self.0.store(true, shuttle::sync::atomic::Ordering::Release);
    }
    fn is_raised(&self) -> bool {
        self.0.load(shuttle::sync::atomic::Ordering::Acquire)
    }
}

impl Platform for Checked {
    type Flag = CheckedFlag;

    fn run_all<T: Send>(
        count: usize,
        _: &Alarm<Self>,
        work: impl Fn(usize) -> Option<T> + Sync,
    ) -> Vec<Option<T>> {
        let work = &work;
        shuttle::thread::scope(|scope| {
            let spawned: Vec<_> = (1..count)
                .map(|worker| scope.spawn(move || work(worker)))
                .collect();
            let mut all = vec![work(0)];
            all.extend(spawned.into_iter().map(|handle| handle.join().unwrap()));
            all
        })
    }

    fn pause(_: u32) {
        shuttle::thread::yield_now();
    }
}

/// Every order of threads that is tried ends, with the sequential outcome.
fn check_schedules(town: Town, work: BlockWork, count: usize) {
    let expected = town.execute(Mode::Sequential, &work);
    let shared = std::sync::Arc::new((town, work, expected));
    let check = move || {
        let (town, work, expected) = &*shared;
        let (context, state) = (town.world.context(shard(0)), town.world.state(shard(0)));
        let executor = town.world.executor(workers(count));
        let outcome = executor.execute_on::<Checked>(&context, work, state);
        assert_eq!(outcome, *expected);
    };
    shuttle::check_random(check.clone(), 150);
    shuttle::check_pct(check, 50, 3);
}

/// The whole scheduler.
#[test]
fn every_schedule_of_threads_gives_the_sequential_outcome() {
    for (seed, (people, pools, count)) in [(3, 1, 2), (6, 2, 3), (12, 3, 4)].into_iter().enumerate()
    {
        let mut draws = Draws::new(900 + seed as u64);
        let mut town = Town::new(people, pools);
        let work = town.block(&mut draws, 24);
        check_schedules(town, work, count);
    }
}

#[test]
fn every_schedule_of_threads_keeps_what_is_added_to_a_covered_account() {
    for (people, count) in [(17, 2), (25, 3)] {
        let mut town = Town::new(people, 2);
        let drafts = covered::to_and_fro(&mut town);
        let work = covered::work(&town, &drafts);
        let (_, figures, _) = town.watched(count, &work);
        assert!(figures.covered == 1 && figures.handovers > 0, "{figures:?}");
        check_schedules(town, work, count);
    }
}
