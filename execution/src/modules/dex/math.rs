//! Formulas of constant-product pools: pure functions of amounts, for calls, queries and wallets.
//!
//! Each formula rounds once, against who acts: what they receive down, what they owe up. So the
//! product of the reserves over the square of the shares never falls, whatever is called, however
//! often and however small the amounts are.
//!
//! Exchange formulas are those of Uniswap v2 with a fee of its own per pool (v2 has 0.3 %):
//! `UniswapV2Library.sol`, `getAmountOut` and `getAmountIn`; first shares, those of later deposits
//! and the check of the product: `UniswapV2Pair.sol`, `mint`, `burn` and `swap`.

use super::state::{FEE_UNIT, PoolFee};
use crate::math::{U256, U512, mul_div_ceil, mul_div_floor};
use skerry_types::amount::Amount;

/// Shares of the first deposit that nobody gets: they stay with the pool for ever, so a pool is never
/// empty and a share never dear. Whoever raises the worth of a share gives a thousand times that away.
pub const LOCKED_SHARES: Amount = Amount::new(1_000);

/// What a pool holds, seen by one who exchanges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reserves {
    /// Of the denom that is given.
    pub input: Amount,
    /// Of the denom that is received.
    pub output: Amount,
}

/// What a deposit comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deposit {
    /// Shares received.
    pub shares: Amount,
    /// What is taken for them, at most what was offered.
    pub taken: [Amount; 2],
}

/// What moves in an exchange, by position of the denoms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Into the pool.
    pub input: [Amount; 2],
    /// Out of it.
    pub output: [Amount; 2],
}

const fn wide(amount: Amount) -> U256 {
    U256::new(amount.get())
}

fn narrow(value: U256) -> Option<Amount> {
    value.to_u128().map(Amount::new)
}

/// What an exact input brings: ⌊i·(U−f)·R_o / (R_i·U + i·(U−f))⌋, U = 10⁶; below the reserve.
///
/// `None` when both the input and the input's reserve are zero.
pub fn output_for(reserves: Reserves, input: Amount, fee: PoolFee) -> Option<Amount> {
    let effective = U256::product(input.get(), fee.rest());
    let base = U256::product(reserves.input.get(), FEE_UNIT);
    let output = effective.mul_div_floor(wide(reserves.output), base.checked_add(effective)?)?;
    narrow(output)
}

/// What an exact output costs: ⌊R_i·o·U / ((R_o−o)·(U−f))⌋ + 1, U = 10⁶.
///
/// `None` when the pool does not hold more than the output, or the cost is above 2^128.
pub fn input_for(reserves: Reserves, output: Amount, fee: PoolFee) -> Option<Amount> {
    let rest = reserves.output.checked_sub(output)?;
    let divisor = U256::product(rest.get(), fee.rest());
    let product = U256::product(reserves.input.get(), output.get());
    let below = product.mul_div_floor(U256::new(FEE_UNIT), divisor)?;
    narrow(below.checked_add(U256::new(1))?)
}

/// What an amount is worth at the pool's price, without fee and without moving it: ⌊a·R_o / R_i⌋.
pub fn worth(reserves: Reserves, amount: Amount) -> Option<Amount> {
    let (input, output) = (reserves.input.get(), reserves.output.get());
    mul_div_floor(amount.get(), output, input).map(Amount::new)
}

/// Whether a flow leaves the product of the reserves, the fee taken off what came in, no smaller:
/// Π (U·(R+i−o) − f·i) ≥ U²·Π R, U = 10⁶. `None` when more flows out than there is, or a reserve
/// exceeds 2^128.
pub fn is_product_kept(reserves: [Amount; 2], flow: &Flow, fee: PoolFee) -> Option<bool> {
    let Flow { input, output } = flow;
    let [first, second] = reserves;
    let ([i, j], [o, p]) = (*input, *output);
    let scaled = |reserve: Amount| U256::product(reserve.get(), FEE_UNIT);
    let after = |reserve: Amount, input: Amount, output: Amount| {
        let reserve = reserve.checked_add(input)?.checked_sub(output)?;
        scaled(reserve).checked_sub(U256::product(input.get(), fee.get()))
    };
    let new = after(first, i, o)?.widening_mul(after(second, j, p)?);
    Some(new >= scaled(first).widening_mul(scaled(second)))
}

/// All shares of a first deposit, the locked ones included: ⌊√(a·b)⌋.
pub fn first_shares(deposit: [Amount; 2]) -> Amount {
    let [a, b] = deposit;
    Amount::new(U256::product(a.get(), b.get()).sqrt_floor())
}

/// What a further deposit comes to: shares ⌊min(mᵢ·S / Rᵢ)⌋, and for them ⌈s·Rᵢ / S⌉ of each.
///
/// `None` when a reserve is zero or the shares exceed 2^128.
pub fn deposit(reserves: [Amount; 2], shares: Amount, maximum: [Amount; 2]) -> Option<Deposit> {
    let ([a, b], [most_a, most_b]) = (reserves, maximum);
    let of = |most: Amount, reserve| wide(most).mul_div_floor(wide(shares), wide(reserve));
    let bought = narrow(of(most_a, a)?.min(of(most_b, b)?))?;
    let owed = |reserve: Amount| mul_div_ceil(bought.get(), reserve.get(), shares.get());
    Some(Deposit {
        shares: bought,
        taken: [Amount::new(owed(a)?), Amount::new(owed(b)?)],
    })
}

/// What shares are worth: ⌊s·Rᵢ / S⌋ of each.
///
/// `None` when there are no shares.
pub fn withdrawal(reserves: [Amount; 2], total: Amount, shares: Amount) -> Option<[Amount; 2]> {
    let of = |reserve: Amount| mul_div_floor(shares.get(), reserve.get(), total.get());
    let [a, b] = reserves;
    Some([Amount::new(of(a)?), Amount::new(of(b)?)])
}

/// Whether the product of the reserves over the square of the shares has not fallen.
pub fn is_worth_kept(
    (old, old_shares): ([Amount; 2], Amount),
    (new, new_shares): ([Amount; 2], Amount),
) -> bool {
    let product = |[a, b]: [Amount; 2]| U256::product(a.get(), b.get());
    let square = |shares: Amount| U256::product(shares.get(), shares.get());
    let left: U512 = product(new).widening_mul(square(old_shares));
    left >= product(old).widening_mul(square(new_shares))
}

/// What one base unit of the input's denom costs in units of 2^-112 of the output's:
/// ⌊R_o·2^112 / R_i⌋.
pub fn price(reserves: Reserves) -> U256 {
    let one = U256::new(1 << 112);
    wide(reserves.output)
        .mul_div_floor(one, wide(reserves.input))
        .unwrap_or(U256::ZERO)
}

/// The mean price between two readings of a cumulative price, in units of 2^-112; `None` when no time
/// lies between them.
pub fn mean_price(older: U256, newer: U256, elapsed_ms: u64) -> Option<U256> {
    let gained = newer.wrapping_sub(older);
    let (mean, _) = gained.checked_div_rem(U256::new(u128::from(elapsed_ms)))?;
    Some(mean)
}
