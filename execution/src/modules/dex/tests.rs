//! The exchange: published values, exploits of others, properties over random calls, whole bundles.
//!
//! Published values are those of Uniswap v2 (github.com/Uniswap/v2-core at ee547b1 and v2-periphery
//! at 0335e8f), whose fee is 3,000 millionths; each table names the file. What an exploit test would
//! not survive without is named as its *guard*.

use super::DexModule;
use super::calls::{DexCall, ROUTE_POOLS_MAX};
use super::math::{
    Deposit, Flow, LOCKED_SHARES, Reserves, deposit, first_shares, input_for, is_product_kept,
    is_worth_kept, mean_price, output_for, price, withdrawal, worth,
};
use super::state::{PoolFee, PoolRecord, pool_key, share_denom};
use crate::error::CallError;
use crate::math::U256;
use crate::module::{Call, Environment, Module};
use crate::modules::bank::calls::BankCall;
use crate::modules::token::calls::TokenCall;
use crate::modules::{DEX, MODULES, TOKEN};
use crate::plan::{Plan, PlanContext};
use crate::supply::{Sums, add, check_records, count_supply};
use crate::testing::{Draft, Draws, User, World, bank, operation, shard, user};
use crate::view::decode_record;
use crate::views;
use skerry_types::amount::{Amount, Asset};
use skerry_types::codec;
use skerry_types::ids::{Address, Denom, Gas, ModuleId, TimeMs};
use skerry_types::merkle::OwnerEntry;
use skerry_types::receipt::{Event, Receipt, Status};
use skerry_types::state::{StateKey, StateRead};

const E18: u128 = 1_000_000_000_000_000_000;
const V2_FEE: PoolFee = PoolFee::new(3_000);
const NO_FEE: PoolFee = PoolFee::new(0);
/// In the order of their bytes.
const DENOMS: [Denom; 3] = [Denom::RSSKER, Denom::SKER, Denom::STSKER];

fn amounts(pair: [u128; 2]) -> [Amount; 2] {
    pair.map(Amount::new)
}

fn reserves(input: u128, output: u128) -> Reserves {
    let [input, output] = amounts([input, output]);
    Reserves { input, output }
}

fn output(of: Reserves, input: u128, fee: PoolFee) -> u128 {
    output_for(of, Amount::new(input), fee).unwrap().get()
}

fn input(of: Reserves, output: u128, fee: PoolFee) -> Option<u128> {
    input_for(of, Amount::new(output), fee).map(Amount::get)
}

fn asset(denom: Denom, amount: u128) -> Asset {
    let amount = Amount::new(amount);
    Asset { denom, amount }
}

// --- published values ---------------------------------------------------------------------------

/// `test/UniswapV2Pair.spec.ts`, `swapTestCases` (`getInputPrice:0` to `6`): input, reserves, the
/// largest output; one base unit more is refused there as here.
#[test]
fn exact_inputs_bring_what_uniswap_publishes() {
    let table = [
        (1, 5, 10, 1_662_497_915_624_478_906),
        (1, 10, 5, 453_305_446_940_074_565),
        (2, 5, 10, 2_851_015_155_847_869_602),
        (2, 10, 5, 831_248_957_812_239_453),
        (1, 10, 10, 906_610_893_880_149_131),
        (1, 100, 100, 987_158_034_397_061_298),
        (1, 1000, 1000, 996_006_981_039_903_216),
    ];
    for (given, first, second, expected) in table {
        let (given, first, second) = (given * E18, first * E18, second * E18);
        assert_eq!(output(reserves(first, second), given, V2_FEE), expected);
        let kept = |output: u128| {
            let flow = Flow {
                input: amounts([given, 0]),
                output: amounts([0, output]),
            };
            is_product_kept(amounts([first, second]), &flow, V2_FEE).unwrap()
        };
        assert!(kept(expected) && !kept(expected + 1), "{given} {first}");
    }
}

/// `test/UniswapV2Pair.spec.ts`, `optimisticTestCases` (`optimistic:0` to `3`): what leaves is repaid
/// in the same denom, so only the check of the product can be compared.
#[test]
fn the_product_is_checked_as_uniswap_does() {
    let table = [
        (997_000_000_000_000_000, 5 * E18, 10 * E18, E18),
        (997_000_000_000_000_000, 10 * E18, 5 * E18, E18),
        (997_000_000_000_000_000, 5 * E18, 5 * E18, E18),
        (E18, 5 * E18, 5 * E18, 1_003_009_027_081_243_732),
    ];
    for (output, first, second, input) in table {
        let kept = |output: u128| {
            let flow = Flow {
                input: amounts([input, 0]),
                output: amounts([output, 0]),
            };
            is_product_kept(amounts([first, second]), &flow, V2_FEE).unwrap()
        };
        assert!(kept(output) && !kept(output + 1));
    }
}

/// v2-periphery `test/UniswapV2Router02.spec.ts`, `getAmountOut`, `getAmountIn`, `quote`.
#[test]
fn small_exchanges_are_those_of_uniswaps_library() {
    let even = reserves(100, 100);
    assert_eq!(output(even, 2, V2_FEE), 1);
    assert_eq!(input(even, 1, V2_FEE), Some(2));
    assert_eq!(input(even, 100, V2_FEE), None);
    assert_eq!(
        worth(reserves(100, 200), Amount::new(1)),
        Some(Amount::new(2))
    );
    assert_eq!(
        worth(reserves(200, 100), Amount::new(2)),
        Some(Amount::new(1))
    );
}

/// `test/UniswapV2Pair.spec.ts`, `mint`, `burn` and `feeTo:off`.
#[test]
fn shares_are_made_and_given_back_as_uniswap_does() {
    assert_eq!(first_shares(amounts([E18, 4 * E18])).get(), 2 * E18);
    let total = first_shares(amounts([3 * E18, 3 * E18]));
    assert_eq!((total.get(), LOCKED_SHARES.get()), (3 * E18, 1_000));
    let own = total.checked_sub(LOCKED_SHARES).unwrap();
    let back = withdrawal(amounts([3 * E18, 3 * E18]), total, own).unwrap();
    assert_eq!(back, amounts([3 * E18 - 1_000, 3 * E18 - 1_000]));
}

/// `test/UniswapV2Pair.spec.ts`, `price{0,1}CumulativeLast`, with milliseconds for its seconds.
#[test]
fn cumulative_prices_are_those_of_uniswap() {
    let pair = [asset(Denom::SKER, 3 * E18), asset(Denom::STSKER, 3 * E18)];
    let start = TimeMs::new(77_000);
    let after = |seconds: u64| start.saturating_add(seconds * 1_000);
    let times = |price: U256, seconds: u128| price.checked_mul(U256::new(seconds * 1_000)).unwrap();
    let mut pool = PoolRecord::new(pair, V2_FEE, start);
    let first = price(reserves(3 * E18, 3 * E18));
    assert_eq!(first, U256::new(1 << 112));
    pool.touch(after(1));
    assert_eq!(pool.cumulative_prices, [times(first, 1); 2]);
    pool.touch(after(10));
    let given = asset(Denom::SKER, 3 * E18);
    pool.exchange(given, asset(Denom::STSKER, E18)).unwrap();
    // Further touches in the block see the new reserves and count nothing.
    pool.touch(after(10));
    assert_eq!(pool.cumulative_prices, [times(first, 10); 2]);
    pool.touch(after(20));
    let [low, high] = [(6, 2), (2, 6)].map(|(r, s)| price(reserves(r * E18, s * E18)));
    let sum = |price| times(first, 10).checked_add(times(price, 10)).unwrap();
    assert_eq!(pool.cumulative_prices, [sum(low), sum(high)]);
    assert_eq!(pool.time, after(20));
    let mean = mean_price(times(first, 10), pool.cumulative_prices[1], 10_000);
    assert_eq!(mean, Some(high));
}

/// Sums wrap, differences do not care: the mean over a wrap is right. Guard: `wrapping_sub`.
#[test]
fn cumulative_prices_survive_their_wrap() {
    let dear = price(reserves(1, u128::MAX));
    let step = dear.wrapping_mul(U256::new(60_000));
    let (mut sum, mut wraps) = (U256::ZERO, 0);
    for _ in 0..10 {
        let next = sum.wrapping_add(step);
        wraps += u32::from(next < sum);
        assert_eq!(mean_price(sum, next, 60_000), Some(dear));
        sum = next;
    }
    assert!(wraps > 3);
    assert_eq!(mean_price(sum, sum, 0), None);
}

// --- exploits of others, as rules -----------------------------------------------------------------

/// Hundred, Sonne, and every vault whose first shares can be made dear: the attacker makes the first
/// share, raises what it stands for, and takes what the victim's deposit was rounded by. Here nothing
/// but fees raises it; suppose that they did. Guard: `LOCKED_SHARES`.
#[test]
fn making_the_first_share_dear_costs_more_than_it_takes() {
    // What the attacker has in the end beyond what went in, in units of one denom.
    let profit = |locked: u128| {
        let mut held = 1 + locked;
        let gift = 1_000_000_000_u128;
        // The attacker's share, and the locked ones.
        let mut total = held;
        let spent = held + gift;
        held += gift;
        let victim = gift * 2 - 1;
        let pair = |amount: u128| amounts([amount, amount]);
        // The victim takes no care and would have paid all of it for what shares there are.
        let bought = deposit(pair(held), Amount::new(total), pair(victim)).unwrap();
        total += bought.shares.get();
        held += victim;
        let [back, _] = withdrawal(pair(held), Amount::new(total), Amount::new(1)).unwrap();
        back.get() as i128 - spent as i128
    };
    assert!(profit(0) > 0, "without the guard it pays");
    assert!(profit(LOCKED_SHARES.get()) < 0);
}

/// The same victim as a rule of deposits: nobody pays more than the shares stand for. Guard: `deposit`
/// takes ⌈s·R/S⌉ and not all that was offered.
#[test]
fn a_deposit_takes_no_more_than_its_shares_are_worth() {
    let (held, total) = (amounts([1_000_001_001, 1_000_001_001]), Amount::new(1_001));
    let Deposit { shares, taken } = deposit(held, total, amounts([1_998_003, 1_998_003])).unwrap();
    assert_eq!((shares.get(), taken), (1, amounts([999_002, 999_002])));
    let new = held.map(|amount| amount.checked_add(taken[0]).unwrap());
    let total = total.checked_add(shares).unwrap();
    let lost = taken[0].get() - withdrawal(new, total, shares).unwrap()[0].get();
    assert!(lost <= 1, "{lost}");
}

/// Bunni and Balancer v2: roundings that are safe once are not after many times, above all when a
/// pool holds a few base units. Guard: floors for what is received, ceilings for what is owed.
#[test]
fn many_small_steps_gain_nothing_on_one_large() {
    let mut draws = Draws::new(5);
    for round in 0..3_000 {
        let bits = if round % 2 == 0 { 6 } else { 100 };
        let held = [draws.amount(bits), draws.amount(bits)];
        let fee = PoolFee::new(draws.below(4) as u32 * 1_000);
        let parts: Vec<u128> = (0..draws.below(44) + 2)
            .map(|_| draws.amount(bits / 2))
            .collect();
        let sum: u128 = parts.iter().sum();
        // Exact inputs.
        let (mut r, mut received) = (held, 0);
        for part in &parts {
            let got = output(reserves(r[0], r[1]), *part, fee);
            (r, received) = ([r[0] + part, r[1] - got], received + got);
        }
        assert!(received <= output(reserves(held[0], held[1]), sum, fee));
        // Exact outputs.
        let (mut r, mut paid) = (held, 0);
        let mut got = 0;
        for part in &parts {
            let Some(cost) = input(reserves(r[0], r[1]), *part, fee) else {
                continue;
            };
            (r, paid, got) = ([r[0] + cost, r[1] - part], paid + cost, got + part);
        }
        if got > 0 {
            assert!(paid >= input(reserves(held[0], held[1]), got, fee).unwrap());
        }
        // Withdrawals and deposits.
        let total = first_shares(amounts(held)).get() + sum;
        let (mut r, mut shares, mut back) = (held, total, [0, 0]);
        for part in &parts {
            let out = withdrawal(amounts(r), Amount::new(shares), Amount::new(*part));
            let out = out.unwrap().map(Amount::get);
            back = [back[0] + out[0], back[1] + out[1]];
            (r, shares) = ([r[0] - out[0], r[1] - out[1]], shares - part);
        }
        let once = withdrawal(amounts(held), Amount::new(total), Amount::new(sum)).unwrap();
        assert!(back[0] <= once[0].get() && back[1] <= once[1].get());
        let (mut r, mut shares, mut paid) = (held, total, [0, 0]);
        for part in &parts {
            let most = amounts([*part, u128::MAX >> 8]);
            let Some(made) = deposit(amounts(r), Amount::new(shares), most) else {
                continue;
            };
            let taken = made.taken.map(Amount::get);
            paid = [paid[0] + taken[0], paid[1] + taken[1]];
            (r, shares) = (
                [r[0] + taken[0], r[1] + taken[1]],
                shares + made.shares.get(),
            );
        }
        let made = deposit(amounts(held), Amount::new(total), amounts(paid));
        assert!(made.is_none_or(|made| total + made.shares.get() >= shares));
    }
}

/// Cetus: a product that was too large was cut, and the attacker's debt with it. Guard: products of
/// 512 bits, quotients that are refused above 2^128.
#[test]
fn the_largest_amounts_are_exact_or_refused() {
    let max = u128::MAX;
    let largest = reserves(max, max);
    let got = output(largest, max, V2_FEE);
    // 997/1997 of 2^128 − 1.
    assert_eq!(
        got,
        U256::new(max)
            .mul_div_floor(U256::new(997), U256::new(1997))
            .unwrap()
            .to_u128()
            .unwrap()
    );
    assert_eq!(
        input(largest, max - 1, V2_FEE),
        None,
        "the cost is above 2^128"
    );
    let full = [asset(Denom::SKER, max), asset(Denom::STSKER, max)];
    let mut pool = PoolRecord::new(full, V2_FEE, TimeMs::ZERO);
    let given = asset(Denom::SKER, 10);
    let quoted = pool.quote_output(given).unwrap();
    assert_eq!(quoted.amount.get(), 9);
    let refused = pool.exchange(given, quoted).unwrap_err();
    assert_eq!(refused.code(), "OVERFLOW");
    assert_eq!(pool.amounts(), amounts([max, max]));
    assert_eq!(first_shares(amounts([max, max])).get(), max);
    let one = Amount::new(1);
    assert_eq!(
        deposit(amounts([1, 1]), Amount::MAX, amounts([max, max])),
        None
    );
    let cheap = deposit(amounts([max, max]), one, amounts([max - 1, max])).unwrap();
    assert!(cheap.shares.is_zero());
}

/// yETH and all that truncate to nothing: an output costs at least one base unit, an input that
/// brings none is refused instead of kept. Guards: `+ 1` of `input_for`, the refusal in
/// `quote_output`.
#[test]
fn nothing_is_given_for_nothing() {
    for fee in [NO_FEE, V2_FEE] {
        assert_eq!(input(reserves(1, E18), 1, fee), Some(1));
        assert_eq!(output(reserves(E18, 1), E18 / 2, fee), 0);
    }
    let pair = [asset(Denom::SKER, E18), asset(Denom::STSKER, 5)];
    let pool = PoolRecord::new(pair, V2_FEE, TimeMs::ZERO);
    let refused = pool.quote_output(asset(Denom::SKER, 1_000)).unwrap_err();
    assert_eq!(refused.code(), "TOO_SMALL");
}

// --- properties over random calls -----------------------------------------------------------------

/// A pool and some who use it, without an executor.
#[derive(Clone)]
struct Model {
    pool: PoolRecord,
    total: Amount,
    /// Two denoms and shares of each user.
    users: [([u128; 2], u128); 3],
}

const WEALTH: u128 = 1 << 125;

impl Model {
    fn new(draws: &mut Draws) -> Option<Self> {
        let pair = [draws.amount(120), draws.amount(120)];
        let total = first_shares(amounts(pair));
        let own = total.checked_sub(LOCKED_SHARES)?.get();
        let mut users = [([WEALTH; 2], 0); 3];
        users[0] = ([WEALTH - pair[0], WEALTH - pair[1]], own);
        let fee = PoolFee::new([0, 1, 100, 3_000, 100_000][draws.below(5) as usize]);
        let deposit = [asset(Denom::SKER, pair[0]), asset(Denom::STSKER, pair[1])];
        let pool = PoolRecord::new(deposit, fee, TimeMs::ZERO);
        (own > 0).then_some(Self { pool, total, users })
    }

    fn held(&self) -> [u128; 2] {
        self.pool.amounts().map(Amount::get)
    }

    fn denom(side: usize) -> Denom {
        [Denom::SKER, Denom::STSKER][side]
    }

    fn swap(&mut self, who: usize, side: usize, given: u128) -> Option<u128> {
        let given = asset(Self::denom(side), given);
        let got = self.pool.quote_output(given).ok()?;
        let purse = &mut self.users[who].0;
        purse[side] = purse[side].checked_sub(given.amount.get())?;
        self.pool.exchange(given, got).ok()?;
        purse[1 - side] += got.amount.get();
        Some(got.amount.get())
    }

    fn swap_for(&mut self, who: usize, side: usize, wanted: u128) -> Option<u128> {
        let wanted = asset(Self::denom(1 - side), wanted);
        let cost = self.pool.quote_input(wanted).ok()?;
        let purse = &mut self.users[who].0;
        purse[side] = purse[side].checked_sub(cost.amount.get())?;
        self.pool.exchange(cost, wanted).ok()?;
        purse[1 - side] += wanted.amount.get();
        Some(cost.amount.get())
    }

    fn add(&mut self, who: usize, most: [u128; 2]) -> Option<u128> {
        let made = deposit(self.pool.amounts(), self.total, amounts(most))?;
        let (purse, shares) = &mut self.users[who];
        for side in 0..2 {
            assert!(made.taken[side].get() <= most[side]);
            purse[side] = purse[side].checked_sub(made.taken[side].get())?;
        }
        self.pool.move_by(made.taken, amounts([0, 0])).ok()?;
        *shares += made.shares.get();
        self.total = self.total.checked_add(made.shares)?;
        Some(made.shares.get())
    }

    fn remove(&mut self, who: usize, shares: u128) -> Option<[u128; 2]> {
        let back = withdrawal(self.pool.amounts(), self.total, Amount::new(shares))?;
        let (purse, own) = &mut self.users[who];
        *own = own.checked_sub(shares)?;
        self.pool.move_by(amounts([0, 0]), back).unwrap();
        self.total = self.total.checked_sub(Amount::new(shares))?;
        for side in 0..2 {
            purse[side] += back[side].get();
        }
        Some(back.map(Amount::get))
    }

    /// A random call; on a copy, so that one that fails changes nothing.
    fn step(&mut self, draws: &mut Draws) {
        let (who, side) = (draws.below(3) as usize, draws.below(2) as usize);
        let mut copy = self.clone();
        let done = match draws.below(4) {
            0 => copy.swap(who, side, draws.amount(120)).is_some(),
            1 => copy.swap_for(who, side, draws.amount(120)).is_some(),
            2 => copy
                .add(who, [draws.amount(120), draws.amount(120)])
                .is_some(),
            _ => {
                let shares = draws.amount(120).min(copy.users[who].1);
                shares > 0 && copy.remove(who, shares).is_some()
            }
        };
        if done {
            *self = copy;
        }
    }

    fn check(&self, before: &Self, seed: u64) {
        let worth = |model: &Self| (model.pool.amounts(), model.total);
        assert!(is_worth_kept(worth(before), worth(self)), "seed {seed}");
        // So a share of the least shares stands for something.
        let square = U256::new(self.total.get()).checked_mul(U256::new(self.total.get()));
        let [a, b] = self.held().map(U256::new);
        assert!(a.checked_mul(b) >= square, "seed {seed}");
        self.pool.check().unwrap();
        for side in 0..2 {
            let purses: u128 = self.users.iter().map(|it| it.0[side]).sum();
            assert_eq!(purses + self.held()[side], 3 * WEALTH, "seed {seed}");
        }
        let shares: u128 = self.users.iter().map(|it| it.1).sum();
        assert_eq!(shares + 1_000, self.total.get(), "seed {seed}");
    }
}

#[test]
fn what_a_share_stands_for_never_falls_and_everybody_can_leave() {
    let mut pools = 0;
    for seed in 0..400 {
        let mut draws = Draws::new(seed);
        let Some(mut model) = Model::new(&mut draws) else {
            continue;
        };
        pools += 1;
        for _ in 0..60 {
            let before = model.clone();
            model.step(&mut draws);
            model.check(&before, seed);
        }
        for who in 0..3 {
            let shares = model.users[who].1;
            if shares > 0 {
                let back = model.remove(who, shares).unwrap();
                assert!(back[0] > 0 || back[1] > 0, "seed {seed}");
            }
        }
        assert_eq!(model.total, LOCKED_SHARES);
        assert!(model.held().iter().all(|held| *held > 0));
    }
    assert!(pools > 300);
}

#[test]
fn no_round_trip_gains() {
    let mut trips = 0;
    for seed in 0..2_000 {
        let mut draws = Draws::new(1_000_000 + seed);
        let Some(mut model) = Model::new(&mut draws) else {
            continue;
        };
        for _ in 0..draws.below(4) {
            model.step(&mut draws);
        }
        let (side, given) = (draws.below(2) as usize, draws.amount(120));
        // There and back.
        let mut copy = model.clone();
        if let Some(got) = copy.swap(1, side, given)
            && let Some(back) = copy.swap(1, 1 - side, got)
        {
            assert!(back <= given, "seed {seed}");
            trips += 1;
        }
        let mut copy = model.clone();
        if let Some(cost) = copy.swap_for(1, side, given)
            && let Some(back) = copy.swap(1, 1 - side, given)
        {
            assert!(back <= cost, "seed {seed}");
        }
        // In and out, with an exchange of one's own in between or without.
        let purse = model.users[1].0;
        let mut copy = model.clone();
        if let Some(shares) = copy.add(1, [given, draws.amount(120)])
            && shares > 0
        {
            copy.remove(1, shares).unwrap();
            let left = copy.users[1].0;
            assert!(left[0] <= purse[0] && left[1] <= purse[1], "seed {seed}");
        }
    }
    assert!(trips > 500);
}

#[test]
fn exact_inputs_and_exact_outputs_agree() {
    let mut draws = Draws::new(6);
    let mut seen = 0;
    for _ in 0..20_000 {
        let of = reserves(draws.amount(120), draws.amount(120));
        let fee = PoolFee::new(draws.below(100_001) as u32);
        let given = draws.amount(120);
        let got = output(of, given, fee);
        assert!(got < of.output.get());
        if got > 0 {
            // The least input for an output is never more than one unit off.
            let cost = input(of, got, fee).unwrap();
            assert!(cost <= given + 1);
            assert!(output(of, cost, fee) >= got);
            assert!(cost < 2 || output(of, cost - 2, fee) < got);
            seen += 1;
        }
    }
    assert!(seen > 10_000);
}

// --- whole bundles --------------------------------------------------------------------------------

const RICH: u128 = 1_000 * E18;

fn rich() -> Vec<Asset> {
    DENOMS.map(|denom| asset(denom, RICH)).to_vec()
}

fn world() -> (World, User, User) {
    let (alice, carol) = (user(0, 1), user(0, 2));
    let bob = user(1, 1);
    let accounts = [(alice, rich()), (carol, rich()), (bob, rich())];
    (World::new(&accounts), alice, carol)
}

fn draft(world: &World, who: User, assets: &[Asset], calls: &[DexCall]) -> Draft {
    let chain = world.network.home(&who.address);
    let next = views::next_nonce(world.state(chain), &who.address, 0);
    let draft = Draft::new(who, next, assets.to_vec());
    calls
        .iter()
        .fold(draft, |draft, call| draft.call(operation(DEX, call)))
}

fn send(world: &mut World, draft: &Draft) -> Receipt {
    let chain = world.network.home(&draft.user.address);
    let outcome = world.transactions(chain, std::slice::from_ref(draft));
    assert!(outcome.alarms.is_empty(), "{:?}", outcome.alarms);
    assert!(
        outcome.outgoing.is_empty(),
        "this message would be in flight"
    );
    conserved(world);
    outcome.receipts[0].clone()
}

/// Runs a bundle, which must succeed.
fn run(world: &mut World, who: User, assets: &[Asset], calls: &[DexCall]) -> Vec<Event> {
    let draft = draft(world, who, assets, calls);
    let receipt = send(world, &draft);
    assert_eq!(receipt.status, Status::Succeeded);
    receipt.events
}

/// Runs a bundle, which must fail with a code.
fn fail(world: &mut World, who: User, assets: &[Asset], calls: &[DexCall]) -> String {
    let draft = draft(world, who, assets, calls);
    code_of(&send(world, &draft)).to_owned()
}

fn code_of(receipt: &Receipt) -> &str {
    match &receipt.status {
        Status::Failed(failure) => &failure.code,
        other => panic!("{other:?}"),
    }
}

/// What was issued of every denom is in balances, reserves and what was burnt; every record holds by
/// itself.
fn conserved(world: &World) {
    let (mut issued, mut accounted) = (Sums::new(), Sums::new());
    for asset in world.genesis.accounts.iter().flat_map(|it| &it.assets) {
        add(&mut issued, asset.denom, asset.amount);
    }
    for (chain, state) in &world.states {
        let count = count_supply(*chain, state.records());
        for (denom, amount) in &count.token_supply {
            add(&mut issued, *denom, *amount);
        }
        for (denom, amount) in count.accounted() {
            add(&mut accounted, denom, amount);
        }
        assert_eq!(check_records(state.records()), vec![]);
    }
    assert_eq!(accounted, issued);
}

fn create(pair: [Asset; 2], fee: u32) -> DexCall {
    DexCall::CreatePool {
        assets: pair,
        fee_ppm: PoolFee::new(fee),
    }
}

/// Makes a pool and gives its id.
fn pool_of(world: &mut World, who: User, pair: [Asset; 2], fee: u32) -> Address {
    let chain = world.network.home(&who.address);
    let next = views::next_nonce(world.state(chain), &who.address, 0);
    let pool = Address::of_object(DEX.get(), &who.address, 0, next, 0);
    let events = run(world, who, &pair, &[create(pair, fee)]);
    assert_eq!(events[0].owner, pool);
    pool
}

fn record(world: &World, pool: &Address) -> PoolRecord {
    views::pool(world.state(shard(0)), pool).unwrap()
}

fn shares_of(world: &World, pool: &Address) -> u128 {
    views::token_supply(world.state(shard(0)), &share_denom(pool)).get()
}

fn attribute(event: &Event, name: &str) -> String {
    event.attribute(name).unwrap().to_string()
}

/// The pair of the first row of Uniswap's table.
fn five_and_ten() -> [Asset; 2] {
    [asset(Denom::SKER, 5 * E18), asset(Denom::STSKER, 10 * E18)]
}

#[test]
fn a_pool_is_made_near_its_creator_with_shares_that_are_a_denom() {
    let (mut world, alice, _) = world();
    let before = world.balance(&alice, Denom::STSKER);
    let pool = pool_of(&mut world, alice, five_and_ten(), 3_000);
    assert_eq!(pool.locality(), alice.address.locality());
    let denom = share_denom(&pool);
    let total = 7_071_067_811_865_475_244; // ⌊√50 · 10^18⌋
    assert_eq!(world.balance(&alice, denom), total - 1_000);
    assert_eq!(shares_of(&world, &pool), total);
    let state = world.state(shard(0));
    assert_eq!(views::balance(state, &pool, &denom), LOCKED_SHARES);
    assert_eq!(before - world.balance(&alice, Denom::STSKER), 10 * E18);
    let token = views::token(state, &denom).unwrap();
    assert_eq!((token.creator, token.authority), (pool, None));
    // The reserves are no balance, and supply counts them.
    assert!(views::balance(state, &pool, &Denom::SKER).is_zero());
    let held = count_supply(shard(0), state.records()).held;
    assert_eq!(held[&Denom::SKER].get(), 5 * E18);
    assert_eq!(held[&Denom::STSKER].get(), 10 * E18);
    // What gas is charged for.
    assert_eq!(state.get(&pool_key(&pool)).unwrap().len(), 173);
    assert!(state.get(&views::token_key(&denom)).unwrap().len() <= 128);
    let shown = DexModule.query(&pool, &state.entries(&pool));
    assert_eq!(
        shown["pool"]["reserves"][0]["amount"],
        (5 * E18).to_string()
    );
    assert_eq!(shown["pool"]["fee_ppm"], 3_000);
    assert_eq!(shown["pool"]["cumulative_prices"][0], "0");
    assert_eq!(shown["shares"], total.to_string());
    assert_eq!(shown["share_denom"], denom.to_string());
    assert!(DexModule.query(&alice.address, &[]).is_null());
}

#[test]
fn an_exact_input_is_exchanged_and_leftovers_go_home() {
    let (mut world, alice, carol) = world();
    let pool = pool_of(&mut world, alice, five_and_ten(), 3_000);
    let before = world.balance(&carol, Denom::STSKER);
    let call = DexCall::SwapExactIn {
        route: vec![pool],
        input: asset(Denom::SKER, E18),
        minimum_output: asset(Denom::STSKER, 1_662_497_915_624_478_906),
    };
    let attached = [asset(Denom::SKER, 3 * E18)];
    let sker = world.balance(&carol, Denom::SKER);
    let events = run(&mut world, carol, &attached, &[call]);
    let gained = world.balance(&carol, Denom::STSKER) - before;
    assert_eq!(gained, 1_662_497_915_624_478_906);
    let paid = sker - world.balance(&carol, Denom::SKER);
    assert!((E18..E18 + 10_000_000).contains(&paid), "{paid}");
    assert_eq!(
        record(&world, &pool).amounts().map(Amount::get),
        [6 * E18, 10 * E18 - gained]
    );
    let [event] = &events[..] else {
        panic!("{events:?}")
    };
    assert_eq!((event.owner, &*event.name), (pool, "swap"));
    assert_eq!(attribute(event, "denom_in"), "sker");
    assert_eq!(attribute(event, "amount_in"), E18.to_string());
    assert_eq!(attribute(event, "denom_out"), "stsker");
    assert_eq!(attribute(event, "amount_out"), gained.to_string());
}

/// A route of three pools against the same exchanges one by one; what is in between never touches an
/// account or the sheet.
#[test]
fn a_route_is_its_pools_one_after_the_other() {
    let (mut world, alice, carol) = world();
    let [rs, sk, st] = DENOMS;
    let pair = |a, b| [asset(a, 50 * E18), asset(b, 70 * E18)];
    let route = vec![
        pool_of(&mut world, alice, pair(sk, st), 3_000),
        pool_of(&mut world, alice, pair(rs, st), 500),
        pool_of(&mut world, alice, pair(rs, sk), 0),
    ];
    let mut single = world.clone();
    let mut held = asset(sk, E18);
    for (pool, denom) in route.iter().zip([st, rs, sk]) {
        let call = DexCall::SwapExactIn {
            route: vec![*pool],
            input: held,
            minimum_output: asset(denom, 0),
        };
        let events = run(&mut single, carol, &[held], &[call]);
        held = asset(denom, attribute(&events[0], "amount_out").parse().unwrap());
    }
    let call = |least| DexCall::SwapExactIn {
        route: route.clone(),
        input: asset(sk, E18),
        minimum_output: asset(sk, least),
    };
    let attached = [asset(sk, E18)];
    let too_much = held.amount.get() + 1;
    let mut whole = world.clone();
    assert_eq!(
        fail(&mut whole, carol, &attached, &[call(too_much)]),
        "SLIPPAGE"
    );
    let events = run(&mut whole, carol, &attached, &[call(held.amount.get())]);
    assert_eq!(events.len(), 3);
    for pool in &route {
        let [whole, single] = [&whole, &single].map(|world| record(world, pool).reserves);
        assert_eq!(whole, single);
    }
    for denom in [rs, st] {
        assert_eq!(whole.balance(&carol, denom), RICH);
    }
    // And backwards: at most as dear as what it brought, at most one unit per pool above.
    let exact = DexCall::SwapExactOut {
        route: route.clone(),
        maximum_input: asset(sk, 2 * E18),
        output: held,
    };
    let events = run(&mut world, carol, &[asset(sk, 2 * E18)], &[exact]);
    assert_eq!(attribute(&events[2], "amount_out"), held.amount.to_string());
    let cost: u128 = attribute(&events[0], "amount_in").parse().unwrap();
    assert!(cost.abs_diff(E18) <= 8, "{cost}");
    for pair in events.windows(2) {
        assert_eq!(
            attribute(&pair[0], "amount_out"),
            attribute(&pair[1], "amount_in")
        );
    }
}

#[test]
fn deposits_and_withdrawals_are_proportional() {
    let (mut world, alice, carol) = world();
    let pool = pool_of(&mut world, alice, five_and_ten(), 3_000);
    let denom = share_denom(&pool);
    let total = shares_of(&world, &pool);
    // Twice too much of one denom: the rest goes home.
    let maximum = [asset(Denom::SKER, 5 * E18), asset(Denom::STSKER, 20 * E18)];
    let add = |minimum: u128| DexCall::Add {
        pool,
        maximum,
        minimum_shares: Amount::new(minimum),
    };
    assert_eq!(
        fail(&mut world, carol, &maximum, &[add(total + 1)]),
        "SLIPPAGE"
    );
    let events = run(&mut world, carol, &maximum, &[add(total)]);
    assert_eq!(attribute(&events[0], "amount_1"), (10 * E18).to_string());
    assert_eq!(world.balance(&carol, denom), total);
    assert_eq!(world.balance(&carol, Denom::STSKER), RICH - 10 * E18);
    assert_eq!(shares_of(&world, &pool), 2 * total);
    let remove = |shares: u128, least: u128| DexCall::Remove {
        pool,
        shares: Amount::new(shares),
        minimum: [asset(Denom::SKER, 0), asset(Denom::STSKER, least)],
    };
    let own = [asset(denom, total)];
    let greedy = remove(total, 10 * E18 + 1);
    assert_eq!(fail(&mut world, carol, &own, &[greedy]), "SLIPPAGE");
    run(&mut world, carol, &own, &[remove(total, 10 * E18)]);
    assert_eq!(world.balance(&carol, denom), 0);
    assert_eq!(world.balance(&carol, Denom::STSKER), RICH);
    // The last to leave leaves what the locked shares stand for.
    let own = [asset(denom, total - 1_000)];
    run(&mut world, alice, &own, &[remove(total - 1_000, 0)]);
    assert_eq!(shares_of(&world, &pool), 1_000);
    let left = record(&world, &pool).amounts().map(Amount::get);
    assert_eq!(left, [708, 1_415]);
    let call = DexCall::SwapExactIn {
        route: vec![pool],
        input: asset(Denom::SKER, 1_000),
        minimum_output: asset(Denom::STSKER, 1),
    };
    run(&mut world, alice, &[asset(Denom::SKER, 1_000)], &[call]);
}

#[test]
fn shares_travel_like_any_token_and_are_burnt_by_nobody() {
    let (mut world, alice, carol) = world();
    let pool = pool_of(&mut world, alice, five_and_ten(), 3_000);
    let bob = user(1, 1);
    let shares = asset(share_denom(&pool), 700);
    let next = |world: &World| views::next_nonce(world.state(shard(0)), &alice.address, 0);
    for to in [bob.address, carol.address] {
        let call = bank(&BankCall::Send { to, asset: shares });
        let draft = Draft::new(alice, next(&world), vec![shares]).call(call);
        let sent = world.transactions(shard(0), &[draft]);
        world.inbound(shard(1), sent.outgoing);
    }
    assert_eq!(world.balance(&bob, shares.denom), 700);
    assert_eq!(world.balance(&carol, shares.denom), 700);
    conserved(&world);
    // Guard: a denom of a module is neither burnt nor minted by others. A burn of shares that are
    // only owed would make the rest of them stand for the whole pool while the bundle lasts.
    let codes = [
        TokenCall::Burn { asset: shares },
        TokenCall::Mint { asset: shares },
    ]
    .map(|call| {
        let draft = Draft::new(alice, next(&world), vec![]).call(operation(TOKEN, &call));
        code_of(&send(&mut world, &draft)).to_owned()
    });
    assert_eq!(codes, ["NOT_BURNABLE", "NOT_AUTHORITY"]);
}

/// Guard: reserves are what the pool's calls have moved, never the balance of its address.
#[test]
fn a_gift_to_the_pools_address_changes_nothing() {
    let (mut world, alice, carol) = world();
    let pool = pool_of(&mut world, alice, five_and_ten(), 3_000);
    let before = record(&world, &pool);
    let shares = asset(share_denom(&pool), 5_000);
    for gift in [
        asset(Denom::SKER, 500 * E18),
        asset(Denom::STSKER, 7),
        shares,
    ] {
        let chain = shard(0);
        let next = views::next_nonce(world.state(chain), &alice.address, 0);
        let call = bank(&BankCall::Send {
            to: pool,
            asset: gift,
        });
        let draft = Draft::new(alice, next, vec![gift]).call(call);
        assert_eq!(send(&mut world, &draft).status, Status::Succeeded);
    }
    assert_eq!(record(&world, &pool), before);
    let call = DexCall::SwapExactIn {
        route: vec![pool],
        input: asset(Denom::SKER, E18),
        minimum_output: asset(Denom::STSKER, 0),
    };
    let events = run(&mut world, carol, &[asset(Denom::SKER, E18)], &[call]);
    assert_eq!(attribute(&events[0], "amount_out"), "1662497915624478906");
}

#[test]
fn a_refused_swap_leaves_everything_but_the_fee() {
    let (mut world, alice, carol) = world();
    let pool = pool_of(&mut world, alice, five_and_ten(), 3_000);
    let call = |least| DexCall::SwapExactIn {
        route: vec![pool],
        input: asset(Denom::SKER, E18),
        minimum_output: asset(Denom::STSKER, least),
    };
    let before = world.state(shard(0)).clone();
    let sker = world.balance(&carol, Denom::SKER);
    // The first operation is undone with the second.
    let calls = [call(1), call(1_662_497_915_624_478_906)];
    let draft = draft(&world, carol, &[asset(Denom::SKER, 2 * E18)], &calls);
    let receipt = send(&mut world, &draft);
    let Status::Failed(failure) = &receipt.status else {
        panic!("{receipt:?}")
    };
    assert_eq!((failure.module, &*failure.code), (DEX, "SLIPPAGE"));
    assert_eq!(
        failure.detail,
        "an output of at least 1662497915624478906 expected, 1188007657299184583 at these reserves"
    );
    assert!(receipt.events.is_empty());
    assert_eq!(world.balance(&carol, Denom::SKER), sker - receipt.fee.get());
    let after = world.state(shard(0));
    let changed = after
        .0
        .iter()
        .filter(|(key, value)| before.get(key).as_ref() != Some(*value));
    for (key, _) in changed {
        // Nonce and balance of the sender, what was burnt, tips.
        let is_fee = key.module != DEX && key.module != TOKEN && key.owner != pool;
        assert!(is_fee && key.owner != alice.address, "{key:?}");
    }
    assert_eq!(before.0.keys().find(|key| after.get(key).is_none()), None);
}

#[test]
fn refusals_say_what_is_wrong() {
    let (mut world, alice, carol) = world();
    let [rs, sk, st] = DENOMS;
    let pool = pool_of(&mut world, alice, five_and_ten(), 3_000);
    let lopsided = pool_of(&mut world, alice, [asset(sk, E18), asset(st, 10)], 3_000);
    let exact_in = |route: &[Address], input, minimum_output| DexCall::SwapExactIn {
        route: route.to_vec(),
        input,
        minimum_output,
    };
    let exact_out = |route: &[Address], maximum_input, output| DexCall::SwapExactOut {
        route: route.to_vec(),
        maximum_input,
        output,
    };
    let remove = |shares| DexCall::Remove {
        pool,
        shares: Amount::new(shares),
        minimum: [asset(sk, 0), asset(st, 0)],
    };
    let add_to = |maximum, minimum_shares| DexCall::Add {
        pool,
        maximum,
        minimum_shares: Amount::new(minimum_shares),
    };
    let nowhere = Address::of_object(DEX.get(), &alice.address, 9, 9, 9);
    let (zero, one, lot) = (asset(st, 0), asset(sk, 1), asset(sk, E18));
    let table = [
        (exact_in(&[nowhere], lot, zero), "NO_SUCH_POOL"),
        (exact_in(&[pool, nowhere], lot, zero), "NO_SUCH_POOL"),
        (exact_in(&[pool], asset(rs, 5), zero), "WRONG_DENOM"),
        (exact_in(&[pool], lot, asset(sk, 0)), "WRONG_DENOM"),
        (exact_in(&[lopsided], one, zero), "TOO_SMALL"),
        (exact_in(&[pool], lot, asset(st, 2 * E18)), "SLIPPAGE"),
        (exact_out(&[pool], lot, asset(st, 2 * E18)), "SLIPPAGE"),
        (
            exact_out(&[pool], lot, asset(st, 10 * E18)),
            "INSUFFICIENT_LIQUIDITY",
        ),
        (exact_out(&[pool], lot, asset(rs, 1)), "WRONG_DENOM"),
        (
            exact_out(&[pool], asset(st, 5), asset(st, 1)),
            "WRONG_DENOM",
        ),
        (
            create([one, asset(st, 1_002_000)], 0),
            "INSUFFICIENT_LIQUIDITY",
        ),
        (add_to([asset(rs, 5), asset(sk, 5)], 0), "WRONG_DENOM"),
        (add_to([asset(sk, 1), asset(st, 1)], 0), "TOO_SMALL"),
        (
            add_to([asset(sk, 1_000), asset(st, 1_000)], 9_999),
            "SLIPPAGE",
        ),
        // Nothing is attached, so these end below zero.
        (exact_in(&[pool], lot, zero), "SHEET_NEGATIVE"),
        (remove(1), "SHEET_NEGATIVE"),
    ];
    for (call, expected) in table {
        assert_eq!(
            fail(&mut world, carol, &[], std::slice::from_ref(&call)),
            expected,
            "{call:?}"
        );
    }
    assert_eq!(record(&world, &pool).reserves, five_and_ten());
    // Who lives elsewhere cannot reach it by a bundle at home.
    let bob = user(1, 1);
    let call = exact_in(&[pool], lot, zero);
    assert_eq!(fail(&mut world, bob, &[lot], &[call]), "ELSEWHERE_OBJECT");
}

/// Guard: `remove` wants shares that are held. Owed ones could be more than there are: what anybody may
/// ask for must not raise an alarm. Nor is liquidity borrowed for the length of a bundle.
#[test]
fn shares_that_are_not_there_are_not_withdrawn() {
    let (mut world, alice, carol) = world();
    let pair = [
        asset(Denom::SKER, 500 * E18),
        asset(Denom::STSKER, 500 * E18),
    ];
    let pool = pool_of(&mut world, alice, pair, 3_000);
    let shares = 499 * E18;
    let zeros = pair.map(|asset| Asset {
        amount: Amount::ZERO,
        ..asset
    });
    let calls = [
        DexCall::Remove {
            pool,
            shares: Amount::new(shares),
            minimum: zeros,
        },
        DexCall::SwapExactIn {
            route: vec![pool],
            input: asset(Denom::SKER, E18 / 100),
            minimum_output: asset(Denom::STSKER, 0),
        },
        DexCall::Add {
            pool,
            maximum: pair.map(|of| asset(of.denom, 600 * E18)),
            minimum_shares: Amount::new(shares),
        },
    ];
    let attached = [
        asset(Denom::SKER, 400 * E18),
        asset(Denom::STSKER, 400 * E18),
    ];
    assert_eq!(fail(&mut world, carol, &attached, &calls), "SHEET_NEGATIVE");
    let too_many = DexCall::Remove {
        pool,
        shares: Amount::new(501 * E18),
        minimum: zeros,
    };
    assert_eq!(fail(&mut world, carol, &[], &[too_many]), "SHEET_NEGATIVE");
    assert_eq!(record(&world, &pool).reserves, pair);
}

#[test]
fn two_pools_of_one_bundle_are_two() {
    let (mut world, alice, _) = world();
    let pair = five_and_ten();
    let both = pair.map(|of| asset(of.denom, 2 * of.amount.get()));
    let events = run(
        &mut world,
        alice,
        &both,
        &[create(pair, 0), create(pair, 3_000)],
    );
    let made = events.iter().filter(|event| event.name == "create_pool");
    let pools: Vec<Address> = made.map(|event| event.owner).collect();
    let [first, second] = pools[..] else {
        panic!("{pools:?}")
    };
    assert_ne!(first, second);
    let fees = [first, second].map(|pool| record(&world, &pool).fee_ppm.get());
    assert_eq!(fees, [0, 3_000]);
    conserved(&world);
}

/// Guard: the last look at the product, whatever was quoted.
#[test]
fn an_exchange_that_lowers_the_product_is_an_alarm() {
    let mut pool = PoolRecord::new(five_and_ten(), V2_FEE, TimeMs::new(1));
    let input = asset(Denom::SKER, E18);
    let output = pool.quote_output(input).unwrap();
    let more = asset(output.denom, output.amount.get() + 1);
    assert_eq!(
        pool.exchange(input, more).unwrap_err().code(),
        "BROKEN_INVARIANT"
    );
    let other = Asset {
        denom: Denom::RSSKER,
        ..output
    };
    assert_eq!(
        pool.exchange(input, other).unwrap_err().code(),
        "BROKEN_INVARIANT"
    );
    assert_eq!(pool.reserves, five_and_ten());
    pool.exchange(input, output).unwrap();
}

/// Takes from one pool what is not there yet, uses it in another, and repays: the sheet dips below
/// zero and ends above it.
#[test]
fn a_bundle_takes_uses_and_repays_without_own_means() {
    let (mut world, alice, carol) = world();
    let pair = |sk, st| [asset(Denom::SKER, sk * E18), asset(Denom::STSKER, st * E18)];
    let cheap = pool_of(&mut world, alice, pair(100, 200), 3_000);
    let dear = pool_of(&mut world, alice, pair(100, 100), 3_000);
    let arbitrage = |back| {
        [
            DexCall::SwapExactIn {
                route: vec![cheap],
                input: asset(Denom::SKER, 10 * E18),
                minimum_output: asset(Denom::STSKER, 0),
            },
            DexCall::SwapExactOut {
                route: vec![dear],
                maximum_input: asset(Denom::STSKER, 30 * E18),
                output: asset(Denom::SKER, back * E18),
            },
        ]
    };
    let before = world.balance(&carol, Denom::STSKER);
    run(&mut world, carol, &[], &arbitrage(10));
    assert!(world.balance(&carol, Denom::STSKER) > before);
    // What is not repaid in full never happened.
    let snapshot = [cheap, dear].map(|pool| record(&world, &pool));
    assert_eq!(
        fail(&mut world, carol, &[], &arbitrage(9)),
        "SHEET_NEGATIVE"
    );
    assert_eq!([cheap, dear].map(|pool| record(&world, &pool)), snapshot);
}

#[test]
fn prices_are_summed_once_per_block_from_the_reserves_before() {
    let (mut world, alice, carol) = world();
    let pool = pool_of(&mut world, alice, five_and_ten(), 3_000);
    let start = record(&world, &pool);
    let call = || DexCall::SwapExactIn {
        route: vec![pool],
        input: asset(Denom::SKER, E18),
        minimum_output: asset(Denom::STSKER, 0),
    };
    let draft = draft(
        &world,
        carol,
        &[asset(Denom::SKER, 2 * E18)],
        &[call(), call()],
    );
    let mut later = draft.clone();
    later.sequence += 1;
    world.transactions(shard(0), &[draft, later]);
    let first = record(&world, &pool);
    let elapsed = first.time.above(start.time);
    assert_eq!(elapsed, 1_000);
    let prices = [(5, 10), (10, 5)].map(|(a, b)| price(reserves(a * E18, b * E18)));
    for (sum, price) in first.cumulative_prices.into_iter().zip(prices) {
        assert_eq!(mean_price(U256::ZERO, sum, elapsed), Some(price));
    }
}

/// A call whose plan declares nothing.
struct Careless(DexCall);

const CARELESS: ModuleId = ModuleId::new(901);

impl Call for Careless {
    fn gas(&self) -> Gas {
        self.0.gas()
    }
    fn plan(&self, _: &PlanContext<'_>) -> Plan {
        Plan::nothing()
    }
    fn execute(&self, environment: &mut Environment<'_, '_>) -> Result<(), CallError> {
        self.0.execute(environment)
    }
    fn to_json(&self) -> serde_json::Value {
        self.0.to_json()
    }
}

struct CarelessModule;

impl Module for CarelessModule {
    fn id(&self) -> ModuleId {
        CARELESS
    }
    fn name(&self) -> &'static str {
        "careless"
    }
    fn decode(&self, call: &[u8]) -> Result<Box<dyn Call>, CallError> {
        Ok(Box::new(Careless(borsh::from_slice(call).unwrap())))
    }
    fn call_from_json(&self, _: &serde_json::Value) -> Result<Vec<u8>, CallError> {
        Ok(Vec::new())
    }
    fn query(&self, _: &Address, _: &[OwnerEntry]) -> serde_json::Value {
        serde_json::Value::Null
    }
    fn check_invariants(&self, _: &StateKey, _: &[u8]) -> Result<(), String> {
        Ok(())
    }
}

#[test]
fn a_pool_that_no_plan_declares_is_not_touched() {
    let (mut world, alice, carol) = world();
    let pool = pool_of(&mut world, alice, five_and_ten(), 3_000);
    let modules: Vec<&'static dyn Module> = MODULES
        .iter()
        .copied()
        .chain([&CarelessModule as _])
        .collect();
    world.modules = modules.leak();
    let call = DexCall::SwapExactIn {
        route: vec![pool],
        input: asset(Denom::SKER, E18),
        minimum_output: asset(Denom::STSKER, 0),
    };
    for call in [call, create(five_and_ten(), 0)] {
        let mut draft = draft(&world, carol, &five_and_ten(), &[]);
        draft = draft.call(operation(CARELESS, &call));
        let outcome = world.transactions(shard(0), &[draft]);
        assert_eq!(code_of(&outcome.receipts[0]), "UNDECLARED_ACCESS");
        assert_eq!(outcome.alarms.len(), 1);
    }
    assert_eq!(record(&world, &pool).reserves, five_and_ten());
}

/// Random bundles of random calls over several pools, shares of one pool in another among them.
#[test]
fn random_bundles_conserve_supply() {
    for seed in 0..6 {
        let mut draws = Draws::new(seed);
        let (mut world, alice, carol) = world();
        let [rs, sk, st] = DENOMS;
        let pair = |a, b| [asset(a, 50 * E18), asset(b, 70 * E18)];
        let mut pools = vec![
            (pool_of(&mut world, alice, pair(sk, st), 3_000), [sk, st]),
            (pool_of(&mut world, alice, pair(rs, st), 0), [rs, st]),
        ];
        let shares = share_denom(&pools[0].0);
        let mut nested = [asset(shares, E18), asset(sk, E18)];
        nested.sort_unstable();
        let made = pool_of(&mut world, alice, nested, 100_000);
        pools.push((made, nested.map(|asset| asset.denom)));
        let (mut done, mut failed) = (0, 0);
        for _ in 0..60 {
            let who = [alice, carol][draws.below(2) as usize];
            let mut calls = Vec::new();
            for _ in 0..=draws.below(3) {
                calls.push(random_call(&mut draws, &pools));
            }
            // Most of the time enough of everything.
            let own = world.balance(&who, shares).min(1 << 66);
            let mut attached = [rs, sk, st].map(|denom| asset(denom, 1 << 67)).to_vec();
            attached.extend((own > 0).then(|| asset(shares, own)));
            attached.sort_unstable();
            attached.truncate(draws.below(12) as usize);
            let draft = draft(&world, who, &attached, &calls);
            match send(&mut world, &draft).status {
                Status::Succeeded => done += 1,
                _ => failed += 1,
            }
        }
        assert!(done > 10 && failed > 5, "seed {seed}: {done}, {failed}");
    }
}

fn random_call(draws: &mut Draws, pools: &[(Address, [Denom; 2])]) -> DexCall {
    let (pool, [first, second]) = pools[draws.below(pools.len() as u64) as usize];
    let (a, b) = (draws.amount(66), draws.amount(66));
    let route = vec![pool];
    match draws.below(4) {
        0 => DexCall::Add {
            pool,
            maximum: [asset(first, a), asset(second, b)],
            minimum_shares: Amount::ZERO,
        },
        1 => DexCall::Remove {
            pool,
            shares: Amount::new(a),
            minimum: [asset(first, 0), asset(second, 0)],
        },
        2 => DexCall::SwapExactIn {
            route,
            input: asset(first, a),
            minimum_output: asset(second, 0),
        },
        _ => DexCall::SwapExactOut {
            route,
            maximum_input: asset(second, u128::MAX),
            output: asset(first, b),
        },
    }
}

// --- forms ----------------------------------------------------------------------------------------

#[test]
fn malformed_calls_are_refused() {
    let pools: Vec<Address> = (0..=ROUTE_POOLS_MAX as u64)
        .map(|number| Address::of_object(DEX.get(), &user(0, 1).address, 0, number, 0))
        .collect();
    let [sk, st] = [Denom::SKER, Denom::STSKER];
    let swap = |route: &[Address], amount| DexCall::SwapExactIn {
        route: route.to_vec(),
        input: asset(sk, amount),
        minimum_output: asset(st, 0),
    };
    let good = [
        swap(&pools[..ROUTE_POOLS_MAX], 1),
        create([asset(sk, 1), asset(st, 1)], 100_000),
    ];
    for call in good {
        assert!(DexModule.decode(&call.to_bytes()).is_ok(), "{call:?}");
        let mut trailing = call.to_bytes();
        trailing.push(0);
        assert!(DexModule.decode(&trailing).is_err());
    }
    let table = [
        (swap(&[], 1), "a route of 0 pools"),
        (swap(&pools, 1), "a route of 5 pools"),
        (swap(&[pools[0], pools[1], pools[0]], 1), "twice"),
        (swap(&pools[..1], 0), "above zero"),
        (create([asset(sk, 1), asset(sk, 1)], 0), "identical"),
        (create([asset(st, 1), asset(sk, 1)], 0), "wrong order"),
        (create([asset(sk, 0), asset(st, 1)], 0), "above zero"),
        (
            create([asset(sk, 1), asset(st, 1)], 100_001),
            "a fee of 100001 millionths",
        ),
        (
            DexCall::Remove {
                pool: pools[0],
                shares: Amount::ZERO,
                minimum: [asset(sk, 0), asset(st, 0)],
            },
            "above zero",
        ),
    ];
    for (call, expected) in table {
        let Err(error) = DexModule.decode(&call.to_bytes()) else {
            panic!("{call:?}");
        };
        assert!(error.to_string().contains(expected), "{error}");
    }
    assert!(DexModule.decode(&[5]).is_err());
}

#[test]
fn broken_records_are_found() {
    let pool = Address::of_object(DEX.get(), &user(0, 1).address, 0, 0, 0);
    let good = PoolRecord::new(five_and_ten(), V2_FEE, TimeMs::ZERO);
    let mut bad = [(); 4].map(|()| good.clone());
    bad[0].reserves.reverse();
    bad[1].reserves[0].amount = Amount::ZERO;
    bad[2].reserves[1].denom = Denom::SKER;
    bad[3].fee_ppm = PoolFee::new(100_001);
    let check =
        |record: &PoolRecord| DexModule.check_invariants(&pool_key(&pool), &codec::encode(record));
    assert_eq!(check(&good), Ok(()));
    assert!(bad.iter().all(|record| check(record).is_err()));
    let other = StateKey::new(pool, DEX, [b'x']);
    assert!(DexModule.check_invariants(&other, &[]).is_err());
    let read: PoolRecord = decode_record(&codec::encode(&good)).unwrap();
    assert_eq!(read, good);
}

/// Golden vectors: variants, fields and their order are for ever.
#[test]
fn calls_are_encoded_as_documented() {
    let pool = Address::new([7; 32]);
    let [sk, st] = [asset(Denom::SKER, 1), asset(Denom::STSKER, 2)];
    let (p, d, e) = (
        "07".repeat(32),
        hex_of(&Denom::SKER),
        hex_of(&Denom::STSKER),
    );
    let (one, two) = (
        format!("01{}", "00".repeat(15)),
        format!("02{}", "00".repeat(15)),
    );
    let table = [
        (
            create([sk, st], 3_000),
            format!("00{d}{one}{e}{two}b80b0000"),
        ),
        (
            DexCall::Add {
                pool,
                maximum: [sk, st],
                minimum_shares: Amount::new(1),
            },
            format!("01{p}{d}{one}{e}{two}{one}"),
        ),
        (
            DexCall::Remove {
                pool,
                shares: Amount::new(2),
                minimum: [sk, st],
            },
            format!("02{p}{two}{d}{one}{e}{two}"),
        ),
        (
            DexCall::SwapExactIn {
                route: vec![pool],
                input: sk,
                minimum_output: st,
            },
            format!("0301000000{p}{d}{one}{e}{two}"),
        ),
        (
            DexCall::SwapExactOut {
                route: vec![pool],
                maximum_input: sk,
                output: st,
            },
            format!("0401000000{p}{d}{one}{e}{two}"),
        ),
    ];
    for (call, expected) in table {
        let bytes: String = call
            .to_bytes()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(bytes, expected, "{call:?}");
        // And JSON says the same.
        let json = DexModule.decode(&call.to_bytes()).unwrap().to_json();
        assert_eq!(DexModule.call_from_json(&json).unwrap(), call.to_bytes());
    }
    let json = serde_json::json!({ "swap_exact_in": {
        "route": [pool.to_string()],
        "input": { "denom": "sker", "amount": "1" },
        "minimum_output": { "denom": "stsker", "amount": "2" },
    }});
    assert!(DexModule.call_from_json(&json).is_ok());
}

fn hex_of(denom: &Denom) -> String {
    denom
        .as_bytes()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Gas is a function of the call, by the keys that it may write and create.
#[test]
fn gas_is_by_keys() {
    let pool = Address::new([7; 32]);
    let pair = five_and_ten();
    let [given, least] = pair;
    let swap = |pools: usize| DexCall::SwapExactIn {
        route: vec![pool; pools],
        input: given,
        minimum_output: least,
    };
    let table = [
        (create(pair, 0), 5 * 3_500 + 301 * 25 + 3_000),
        (
            DexCall::Add {
                pool,
                maximum: pair,
                minimum_shares: Amount::ZERO,
            },
            2 * 1_000 + 3_500 + 3_000,
        ),
        (
            DexCall::Remove {
                pool,
                shares: Amount::ZERO,
                minimum: pair,
            },
            2 * 1_000 + 2 * 3_500 + 3_000,
        ),
        (swap(1), 4_000 + 3_500),
        (swap(4), 4 * 4_000 + 3_500),
    ];
    for (call, expected) in table {
        assert_eq!(call.gas(), Gas::new(expected), "{call:?}");
    }
}
