//! Calls of `dex`, which run on the shard where the pools live.
//!
//! What is given comes from the sheet of the bundle and what is received goes there, so exchanges,
//! deposits and anything else combine in one bundle, and leftovers go home. The sheet may dip below
//! zero in between, but what is withdrawn are shares that are there: owed ones could be more than there
//! are at all, which must not look like a broken invariant.

use super::math::{self, Deposit, LOCKED_SHARES};
use super::state::{PoolFee, PoolRecord, pool_key, refused, share_denom};
use crate::error::CallError;
use crate::gas;
use crate::module::{Call, Environment};
use crate::modules::DEX;
use crate::modules::bank::state::balance_key;
use crate::modules::token::issue::{self, Description};
use crate::plan::{Access, Plan, PlanContext};
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};
use skerry_types::amount::{Amount, Asset};
use skerry_types::codec;
use skerry_types::ids::{Address, Gas};
use skerry_types::state::{StateKey, Value};

/// Most pools that one swap goes through.
pub const ROUTE_POOLS_MAX: usize = 4;

/// Bytes of a pool's record.
const POOL_BYTES: usize = 173;
/// Bytes of the record of its shares, at most.
const SHARES_BYTES: usize = 128;
/// Gas of the formulas and checks of one pool, about a microsecond, and of its event.
const FORMULAS: u64 = 500 + gas::EVENT;

/// A call of `dex`. The order of the variants is part of the encoding.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum DexCall {
    /// Makes a pool near the sender with a first deposit, all of which is taken from the sheet; the
    /// sender receives ⌊√(a·b)⌋ − 1000 shares. The pool's id is that of an object of this operation.
    CreatePool {
        /// The first deposit, denoms strictly increasing.
        assets: [Asset; 2],
        /// The part of every input that stays in the pool, in millionths, at most a tenth.
        fee_ppm: PoolFee,
    },
    /// Takes assets in the ratio of the reserves, at most `maximum`, and puts shares on the sheet.
    Add {
        /// Which pool.
        pool: Address,
        /// The most to take of each, denoms strictly increasing.
        maximum: [Asset; 2],
        /// The fewest shares to accept.
        minimum_shares: Amount,
    },
    /// Takes shares from the sheet, which must hold them, and puts their part of the reserves there.
    Remove {
        /// Which pool.
        pool: Address,
        /// How many.
        shares: Amount,
        /// The least to accept of each, denoms strictly increasing.
        minimum: [Asset; 2],
    },
    /// Gives exactly `input` to the first pool, its output to the next, and so on.
    SwapExactIn {
        /// The pools in order, no one twice.
        route: Vec<Address>,
        /// What to give.
        input: Asset,
        /// What to receive at least.
        minimum_output: Asset,
    },
    /// Receives exactly `output` from the last pool, for which the one before pays, and so on.
    SwapExactOut {
        /// The pools in order, no one twice.
        route: Vec<Address>,
        /// What to give at most.
        maximum_input: Asset,
        /// What to receive.
        output: Asset,
    },
}

fn check_denoms([first, second]: &[Asset; 2]) -> Result<(), String> {
    if first.denom < second.denom {
        return Ok(());
    }
    let problem = if first.denom == second.denom {
        "the two denoms are identical"
    } else {
        "the two denoms are in the wrong order"
    };
    Err(format!("{problem}, they must be strictly increasing"))
}

/// Whether a swap may go through these pools, by their number and that none is there twice.
///
/// # Errors
/// Says what is wrong.
pub fn check_route(route: &[Address]) -> Result<(), String> {
    if route.is_empty() || route.len() > ROUTE_POOLS_MAX {
        let count = route.len();
        return Err(format!(
            "a route of {count} pools, from 1 to {ROUTE_POOLS_MAX} are allowed"
        ));
    }
    let mut rest = route;
    while let [pool, others @ ..] = rest {
        if others.contains(pool) {
            return Err(format!("the route goes through {pool} twice"));
        }
        rest = others;
    }
    Ok(())
}

fn check_above_zero(amounts: &[Amount]) -> Result<(), String> {
    if amounts.iter().any(|amount| amount.is_zero()) {
        return Err("the amount must be above zero".to_owned());
    }
    Ok(())
}

impl DexCall {
    /// The canonical bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        codec::encode(self)
    }

    pub(super) fn check(&self) -> Result<(), String> {
        match self {
            Self::CreatePool { assets, fee_ppm } => {
                if *fee_ppm > PoolFee::MAX {
                    let (fee, most) = (fee_ppm.get(), PoolFee::MAX.get());
                    return Err(format!("a fee of {fee} millionths, at most {most} allowed"));
                }
                check_above_zero(&assets.map(|asset| asset.amount))?;
                check_denoms(assets)
            }
            Self::Add { maximum, .. } => {
                check_above_zero(&maximum.map(|asset| asset.amount))?;
                check_denoms(maximum)
            }
            Self::Remove {
                shares, minimum, ..
            } => {
                check_above_zero(&[*shares])?;
                check_denoms(minimum)
            }
            Self::SwapExactIn {
                route,
                input: given,
                ..
            }
            | Self::SwapExactOut {
                route,
                output: given,
                ..
            } => {
                check_above_zero(&[given.amount])?;
                check_route(route)
            }
        }
    }
}

impl Call for DexCall {
    fn gas(&self) -> Gas {
        match self {
            Self::CreatePool { .. } => {
                let bytes = POOL_BYTES.saturating_add(SHARES_BYTES);
                // Pool, record and supply of the shares, locked shares, those of the sender.
                let keys = gas::times(gas::KEY, 5);
                gas::sum(&[keys, gas::times(gas::STORED_BYTE, bytes), FORMULAS])
            }
            // Pool and supply; the shares of the sender.
            Self::Add { .. } => gas::sum(&[gas::times(gas::KEY_WRITTEN, 2), gas::KEY, FORMULAS]),
            // Pool and supply; a balance of each denom.
            Self::Remove { .. } => gas::sum(&[
                gas::times(gas::KEY_WRITTEN, 2),
                gas::times(gas::KEY, 2),
                FORMULAS,
            ]),
            // Each pool; a balance of the output.
            Self::SwapExactIn { route, .. } | Self::SwapExactOut { route, .. } => {
                let pools = gas::times(gas::KEY_WRITTEN.saturating_add(FORMULAS), route.len());
                gas::sum(&[pools, gas::KEY])
            }
        }
    }

    fn plan(&self, context: &PlanContext<'_>) -> Plan {
        match self {
            Self::CreatePool { .. } => Plan::of(context.new_object(DEX), Access::Exclusive),
            Self::Add { pool, .. } | Self::Remove { pool, .. } => plan_pools(&[*pool]),
            Self::SwapExactIn { route, .. } | Self::SwapExactOut { route, .. } => plan_pools(route),
        }
    }

    fn hint(&self, context: &PlanContext<'_>, read: &mut dyn FnMut(StateKey)) {
        if let Self::SwapExactIn {
            route,
            minimum_output: output,
            ..
        }
        | Self::SwapExactOut { route, output, .. } = self
        {
            for pool in route {
                read(pool_key(pool));
            }
            read(balance_key(&context.sender, &output.denom));
        }
    }

    fn needs_sender(&self) -> bool {
        // A pool is made near its creator.
        matches!(self, Self::CreatePool { .. })
    }

    fn execute(&self, environment: &mut Environment<'_, '_>) -> Result<(), CallError> {
        match self {
            Self::CreatePool { assets, fee_ppm } => create_pool(environment, *assets, *fee_ppm),
            Self::Add {
                pool,
                maximum,
                minimum_shares,
            } => add(environment, *pool, *maximum, *minimum_shares),
            Self::Remove {
                pool,
                shares,
                minimum,
            } => remove(environment, *pool, *shares, *minimum),
            Self::SwapExactIn {
                route,
                input,
                minimum_output,
            } => swap_exact_in(environment, route, *input, *minimum_output),
            Self::SwapExactOut {
                route,
                maximum_input,
                output,
            } => swap_exact_out(environment, route, *maximum_input, *output),
        }
    }

    fn to_json(&self) -> serde_json::Value {
        serde_json::to_value(self).unwrap_or_default()
    }
}

fn plan_pools(pools: &[Address]) -> Plan {
    let pools = pools.iter();
    pools.fold(Plan::nothing(), |plan, pool| {
        plan.and(*pool, Access::Exclusive)
    })
}

fn create_pool(
    environment: &mut Environment<'_, '_>,
    assets: [Asset; 2],
    fee_ppm: PoolFee,
) -> Result<(), CallError> {
    let pool = environment.scene.plan_context().new_object(DEX);
    let total = math::first_shares(assets.map(|asset| asset.amount));
    let Some(amount) = total
        .checked_sub(LOCKED_SHARES)
        .filter(|shares| !shares.is_zero())
    else {
        let detail = format!(
            "a first deposit of {total} shares, of which {LOCKED_SHARES} are locked; deposit more"
        );
        return Err(refused("INSUFFICIENT_LIQUIDITY", detail));
    };
    for asset in assets {
        environment.sheet.take(asset)?;
    }
    let record = PoolRecord::new(assets, fee_ppm, environment.scene.time);
    let view = &mut environment.view;
    view.insert(pool_key(&pool), Value::from(codec::encode(&record)))?;
    let description = Description {
        name: "shares",
        symbol: "SHARES",
        decimals: 9,
        metadata: "shares of a dex pool with the same id",
    };
    let denom = issue::create(view, pool, &description)?;
    let all = Asset {
        denom,
        amount: total,
    };
    issue::issue(view, &all)?;
    let locked = Asset {
        denom,
        amount: LOCKED_SHARES,
    };
    // Nobody controls the pool's address, so what it holds stays there.
    environment.credit(pool, locked)?;
    environment.sheet.put(Asset { denom, amount })?;
    let creator = environment.scene.sender;
    let [first, second] = assets;
    environment.event(
        pool,
        "create_pool",
        [
            ("creator", creator.into()),
            ("denom_0", first.denom.into()),
            ("amount_0", first.amount.into()),
            ("denom_1", second.denom.into()),
            ("amount_1", second.amount.into()),
            ("fee_ppm", fee_ppm.millionths().into()),
            ("shares", amount.into()),
        ],
    );
    Ok(())
}

fn add(
    environment: &mut Environment<'_, '_>,
    pool: Address,
    maximum: [Asset; 2],
    minimum_shares: Amount,
) -> Result<(), CallError> {
    let mut record = touched(environment, &pool)?;
    check_pair(&record, &maximum)?;
    let denom = share_denom(&pool);
    let total = issue::supply(&mut environment.view, &denom)?;
    let before = record.amounts();
    let most = maximum.map(|asset| asset.amount);
    let what = "the shares of a pool";
    let deposit = math::deposit(before, total, most).ok_or(CallError::Overflow { what })?;
    let Deposit { shares, taken } = deposit;
    if shares.is_zero() {
        let detail = "the deposit is worth less than one share".to_owned();
        return Err(refused("TOO_SMALL", detail));
    }
    if shares < minimum_shares {
        return Err(slippage("shares, at least", minimum_shares, shares));
    }
    record.move_by(taken, [Amount::ZERO; 2])?;
    let issued = Asset {
        denom,
        amount: shares,
    };
    issue::issue(&mut environment.view, &issued)?;
    finish(environment, &pool, &record, (before, total))?;
    take(environment, &record, taken)?;
    environment.sheet.put(issued)?;
    tell_of_shares(environment, pool, "add", taken, shares);
    Ok(())
}

fn remove(
    environment: &mut Environment<'_, '_>,
    pool: Address,
    shares: Amount,
    minimum: [Asset; 2],
) -> Result<(), CallError> {
    let mut record = touched(environment, &pool)?;
    check_pair(&record, &minimum)?;
    let denom = share_denom(&pool);
    let held = environment.sheet.held(denom);
    if let Some(missing) = shares.checked_sub(held).filter(|it| !it.is_zero()) {
        return Err(CallError::SheetNegative { denom, missing });
    }
    let total = issue::supply(&mut environment.view, &denom)?;
    let before = record.amounts();
    let what = || CallError::Invariant {
        what: format!("{shares} shares of {total} in {pool}"),
    };
    let amounts = math::withdrawal(before, total, shares).ok_or_else(what)?;
    for (least, amount) in minimum.into_iter().zip(amounts) {
        if amount < least.amount {
            return Err(slippage(&least.denom.to_string(), least.amount, amount));
        }
    }
    record.move_by([Amount::ZERO; 2], amounts)?;
    let retired = Asset {
        denom,
        amount: shares,
    };
    environment.sheet.take(retired)?;
    issue::retire(&mut environment.view, &retired)?;
    finish(environment, &pool, &record, (before, total))?;
    for (reserve, amount) in record.reserves.into_iter().zip(amounts) {
        let denom = reserve.denom;
        environment.sheet.put(Asset { denom, amount })?;
    }
    tell_of_shares(environment, pool, "remove", amounts, shares);
    Ok(())
}

fn swap_exact_in(
    environment: &mut Environment<'_, '_>,
    route: &[Address],
    input: Asset,
    minimum_output: Asset,
) -> Result<(), CallError> {
    let mut held = input;
    for pool in route {
        let mut record = touched(environment, pool)?;
        let output = record.quote_output(held)?;
        exchange(environment, pool, &mut record, held, output)?;
        held = output;
    }
    check_denom("the route ends", &held, &minimum_output)?;
    if held.amount < minimum_output.amount {
        let (least, actual) = (minimum_output.amount, held.amount);
        return Err(slippage("an output of at least", least, actual));
    }
    environment.sheet.take(input)?;
    environment.sheet.put(held)
}

fn swap_exact_out(
    environment: &mut Environment<'_, '_>,
    route: &[Address],
    maximum_input: Asset,
    output: Asset,
) -> Result<(), CallError> {
    // Backwards from the output; no pool is there twice, so each quote still holds when it is moved.
    let mut trades = Vec::with_capacity(route.len());
    let mut wanted = output;
    for pool in route.iter().rev() {
        let record = touched(environment, pool)?;
        let input = record.quote_input(wanted)?;
        trades.push((pool, record, input, wanted));
        wanted = input;
    }
    check_denom("the route begins", &wanted, &maximum_input)?;
    if wanted.amount > maximum_input.amount {
        let (most, actual) = (maximum_input.amount, wanted.amount);
        return Err(slippage("an input of at most", most, actual));
    }
    for (pool, mut record, input, output) in trades.into_iter().rev() {
        exchange(environment, pool, &mut record, input, output)?;
    }
    environment.sheet.take(wanted)?;
    environment.sheet.put(output)
}

/// The record of a pool, its cumulative prices up to date.
fn touched(environment: &mut Environment<'_, '_>, pool: &Address) -> Result<PoolRecord, CallError> {
    let record: Option<PoolRecord> = environment.view.record(pool_key(pool))?;
    let mut record = record.ok_or_else(|| {
        let detail = format!("nobody created a pool {pool}");
        refused("NO_SUCH_POOL", detail)
    })?;
    record.touch(environment.scene.time);
    Ok(record)
}

/// Moves what was quoted, writes the pool and tells of it.
fn exchange(
    environment: &mut Environment<'_, '_>,
    pool: &Address,
    record: &mut PoolRecord,
    input: Asset,
    output: Asset,
) -> Result<(), CallError> {
    record.exchange(input, output)?;
    environment.view.put_record(pool_key(pool), record)?;
    environment.event(
        *pool,
        "swap",
        [
            ("denom_in", input.denom.into()),
            ("amount_in", input.amount.into()),
            ("denom_out", output.denom.into()),
            ("amount_out", output.amount.into()),
        ],
    );
    Ok(())
}

/// Writes a pool whose shares have changed, when what a share stands for has not fallen.
fn finish(
    environment: &mut Environment<'_, '_>,
    pool: &Address,
    record: &PoolRecord,
    before: ([Amount; 2], Amount),
) -> Result<(), CallError> {
    let shares = issue::supply(&mut environment.view, &share_denom(pool))?;
    let is_kept = math::is_worth_kept(before, (record.amounts(), shares));
    if !is_kept || shares < LOCKED_SHARES {
        return Err(CallError::Invariant {
            what: format!("{pool} from {before:?} to {record:?} of {shares} shares"),
        });
    }
    environment.view.put_record(pool_key(pool), record)
}

/// Takes amounts of a pool's denoms from the sheet.
fn take(
    environment: &mut Environment<'_, '_>,
    record: &PoolRecord,
    amounts: [Amount; 2],
) -> Result<(), CallError> {
    for (reserve, amount) in record.reserves.into_iter().zip(amounts) {
        let denom = reserve.denom;
        environment.sheet.take(Asset { denom, amount })?;
    }
    Ok(())
}

fn check_pair(record: &PoolRecord, named: &[Asset; 2]) -> Result<(), CallError> {
    let [expected, actual] = [record.reserves, *named].map(|pair| pair.map(|asset| asset.denom));
    if expected == actual {
        return Ok(());
    }
    let [[first, second], [a, b]] = [expected, actual];
    let detail = format!("a pool of {first} and {second}, not of {a} and {b}");
    Err(refused("WRONG_DENOM", detail))
}

fn check_denom(place: &str, actual: &Asset, expected: &Asset) -> Result<(), CallError> {
    if actual.denom == expected.denom {
        return Ok(());
    }
    let detail = format!("{place} with {}, not {}", actual.denom, expected.denom);
    Err(refused("WRONG_DENOM", detail))
}

fn slippage(what: &str, expected: Amount, actual: Amount) -> CallError {
    let detail = format!("{what} {expected} expected, {actual} at these reserves");
    refused("SLIPPAGE", detail)
}

fn tell_of_shares(
    environment: &mut Environment<'_, '_>,
    pool: Address,
    name: &'static str,
    amounts: [Amount; 2],
    shares: Amount,
) {
    let owner = environment.scene.sender;
    let [first, second] = amounts;
    environment.event(
        pool,
        name,
        [
            ("owner", owner.into()),
            ("amount_0", first.into()),
            ("amount_1", second.into()),
            ("shares", shares.into()),
        ],
    );
}
