//! The rounding library: products and quotients that are exact until their one named rounding.
//!
//! Amounts are below 2^128, so their products need 256 bits and a product of two of those 512.
//! What a user receives is rounded down, what a user owes is rounded up, and nothing is rounded
//! twice: hence `mul_div_floor` and `mul_div_ceil`, whose product is never cut. Everything else is
//! checked; the two `wrapping` operations are for accumulators of which only differences count.
//!
//! Division is the schoolbook method on 64-bit digits (Knuth, The Art of Computer Programming,
//! volume 2, section 4.3.1, algorithm D). A library of big integers was not taken: none is among
//! our dependencies, and this is all that is used of one.

#[cfg(test)]
mod tests;

use borsh::{BorshDeserialize, BorshSerialize};
use std::cmp::Ordering;
use std::fmt;

/// ⌊value · factor / divisor⌋; `None` when the divisor is zero or the result above 2^128.
pub fn mul_div_floor(value: u128, factor: u128, divisor: u128) -> Option<u128> {
    if let Some(product) = value.checked_mul(factor) {
        return product.checked_div(divisor);
    }
    let [value, factor, divisor] = [value, factor, divisor].map(U256::new);
    value.mul_div_floor(factor, divisor)?.to_u128()
}

/// ⌈value · factor / divisor⌉; `None` when the divisor is zero or the result above 2^128.
pub fn mul_div_ceil(value: u128, factor: u128, divisor: u128) -> Option<u128> {
    let [value, factor, divisor] = [value, factor, divisor].map(U256::new);
    value.mul_div_ceil(factor, divisor)?.to_u128()
}

/// A whole number below 2^256; stored as 32 bytes, little-endian.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize)]
pub struct U256([u64; 4]);

/// A whole number below 2^512: an exact product, to be compared with another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct U512([u64; 8]);

impl U256 {
    /// Zero.
    pub const ZERO: Self = Self([0; 4]);
    /// The largest number.
    pub const MAX: Self = Self([u64::MAX; 4]);
    /// The largest power of ten below 2^64, by which numbers are printed.
    const TEN_TO_19: Self = Self::new(10_u128.pow(19));

    /// A number below 2^128.
    pub const fn new(value: u128) -> Self {
        let (low, high) = halves(value);
        Self([low, high, 0, 0])
    }

    /// The exact product of two numbers below 2^128.
    pub fn product(left: u128, right: u128) -> Self {
        let ((a, b), (c, d)) = (halves(left), halves(right));
        let (first, carry) = multiply_add(a, c, 0, 0);
        let (middle, high) = multiply_add(a, d, carry, 0);
        let (second, carry) = multiply_add(b, c, middle, 0);
        let (third, fourth) = multiply_add(b, d, high, carry);
        Self([first, second, third, fourth])
    }

    /// Reads what [`fmt::Display`] writes; `None` when it is no number below 2^256.
    pub fn from_decimal(text: &str) -> Option<Self> {
        let mut number = (!text.is_empty()).then_some(Self::ZERO)?;
        for character in text.chars() {
            let digit = u128::from(character.to_digit(10)?);
            number = number.checked_mul(Self::new(10))?;
            number = number.checked_add(Self::new(digit))?;
        }
        Some(number)
    }

    /// The number, when it is below 2^128.
    pub const fn to_u128(self) -> Option<u128> {
        match self.0 {
            [low, high, 0, 0] => Some(joined(high, low)),
            _ => None,
        }
    }

    /// Whether this is zero.
    pub fn is_zero(self) -> bool {
        self == Self::ZERO
    }

    /// How many bits it takes to write the number; none for zero.
    fn bits(self) -> u32 {
        let mut bits = 0_u32;
        for (below, limb) in (0_u32..).zip(self.0) {
            if limb != 0 {
                let own = u64::BITS.saturating_sub(limb.leading_zeros());
                bits = below.saturating_mul(u64::BITS).saturating_add(own);
            }
        }
        bits
    }

    /// 2^`exponent`; `None` from 256 on.
    fn power_of_two(exponent: u32) -> Option<Self> {
        let mut limbs = [0; 4];
        let index = usize::try_from(exponent / u64::BITS).ok()?;
        *limbs.get_mut(index)? = 1_u64.checked_shl(exponent % u64::BITS)?;
        Some(Self(limbs))
    }

    /// Sum, unless it overflows.
    pub fn checked_add(self, other: Self) -> Option<Self> {
        let (sum, is_over) = added(self.0, other.0);
        (!is_over).then_some(Self(sum))
    }

    /// Difference, unless it is negative.
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        let (difference, is_below) = subtracted(self.0, other.0);
        (!is_below).then_some(Self(difference))
    }

    /// Product, unless it overflows.
    pub fn checked_mul(self, other: Self) -> Option<Self> {
        narrow(multiplied(self.0, other.0))
    }

    /// Quotient, rounded down, and remainder; `None` when `divisor` is zero.
    pub fn checked_div_rem(self, divisor: Self) -> Option<(Self, Self)> {
        let (quotient, remainder) = divided(widened(self.0), divisor.0)?;
        Some((narrow(quotient)?, Self(remainder)))
    }

    /// Sum modulo 2^256: for accumulators, of which only differences count.
    #[must_use]
    pub fn wrapping_add(self, other: Self) -> Self {
        Self(added(self.0, other.0).0)
    }

    /// Difference modulo 2^256: what an accumulator has gained.
    #[must_use]
    pub fn wrapping_sub(self, other: Self) -> Self {
        Self(subtracted(self.0, other.0).0)
    }

    /// Product modulo 2^256: for accumulators.
    #[must_use]
    pub fn wrapping_mul(self, other: Self) -> Self {
        let [a, b, c, d, ..] = multiplied(self.0, other.0);
        Self([a, b, c, d])
    }

    /// The exact product.
    pub fn widening_mul(self, other: Self) -> U512 {
        U512(multiplied(self.0, other.0))
    }

    /// ⌊self · factor / divisor⌋; `None` when the divisor is zero or the result above 2^256.
    pub fn mul_div_floor(self, factor: Self, divisor: Self) -> Option<Self> {
        // Amounts are far below their limit mostly, and then a machine's own division will do.
        if let (Some(value), Some(factor), Some(divisor)) =
            (self.to_u128(), factor.to_u128(), divisor.to_u128())
            && let Some(product) = value.checked_mul(factor)
        {
            return product.checked_div(divisor).map(Self::new);
        }
        narrow(divided(multiplied(self.0, factor.0), divisor.0)?.0)
    }

    /// ⌈self · factor / divisor⌉; `None` when the divisor is zero or the result above 2^256.
    pub fn mul_div_ceil(self, factor: Self, divisor: Self) -> Option<Self> {
        let (quotient, remainder) = divided(multiplied(self.0, factor.0), divisor.0)?;
        let floor = narrow(quotient)?;
        if remainder == [0; 4] {
            return Some(floor);
        }
        floor.checked_add(Self::new(1))
    }

    /// ⌊√self⌋, which is below 2^128.
    pub fn sqrt_floor(self) -> u128 {
        // Newton's steps fall from any start at or above the root, and stop at its floor.
        let mut root = Self::power_of_two(self.bits().div_ceil(2)).unwrap_or(Self::ZERO);
        while let Some(next) = self.newton_step(root)
            && next < root
        {
            root = next;
        }
        root.to_u128().unwrap_or(u128::MAX)
    }

    /// ⌊(root + self / root) / 2⌋.
    fn newton_step(self, root: Self) -> Option<Self> {
        let (quotient, _) = self.checked_div_rem(root)?;
        let sum = root.checked_add(quotient)?;
        sum.checked_div_rem(Self::new(2)).map(|(half, _)| half)
    }
}

impl Ord for U256 {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.iter().rev().cmp(other.0.iter().rev())
    }
}
impl PartialOrd for U256 {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for U512 {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.iter().rev().cmp(other.0.iter().rev())
    }
}
impl PartialOrd for U512 {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for U256 {
    /// Decimal.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut groups = Vec::new();
        let mut rest = *self;
        while let Some((quotient, group)) = rest.checked_div_rem(Self::TEN_TO_19)
            && !rest.is_zero()
        {
            groups.push(group.to_u128().unwrap_or(0));
            rest = quotient;
        }
        write!(formatter, "{}", groups.pop().unwrap_or(0))?;
        for group in groups.iter().rev() {
            write!(formatter, "{group:019}")?;
        }
        Ok(())
    }
}
impl fmt::Debug for U256 {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl serde::Serialize for U256 {
    /// Decimal text, as amounts are.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

// --- limbs, the least significant first ------------------------------------------------------------

/// The low and the high half.
#[cfg_attr(
    not(test),
    expect(
        clippy::cast_possible_truncation,
        reason = "the halves are what is asked for"
    )
)]
const fn halves(value: u128) -> (u64, u64) {
    (value as u64, (value >> u64::BITS) as u64)
}

const fn joined(high: u64, low: u64) -> u128 {
    ((high as u128) << u64::BITS) | low as u128
}

/// left · right + more + carry as low and high half: at most (2^64 − 1)² + 2 (2^64 − 1) = 2^128 − 1.
fn multiply_add(left: u64, right: u64, more: u64, carry: u64) -> (u64, u64) {
    let product = u128::from(left).wrapping_mul(u128::from(right));
    let sum = product.wrapping_add(u128::from(more));
    halves(sum.wrapping_add(u128::from(carry)))
}

/// Quotient and remainder of two limbs by one that is above `high`, so that the quotient fits.
fn divide_pair(high: u64, low: u64, divisor: u64) -> (u64, u64) {
    let (value, divisor) = (joined(high, low), u128::from(divisor));
    let quotient = value.checked_div(divisor).unwrap_or(0);
    let remainder = value.checked_rem(divisor).unwrap_or(0);
    (halves(quotient).0, halves(remainder).0)
}

/// Adds with a carry.
fn carry_add(left: u64, right: u64, carry: bool) -> (u64, bool) {
    let (once, first) = left.overflowing_add(right);
    let (twice, second) = once.overflowing_add(u64::from(carry));
    (twice, first || second)
}

/// Subtracts with a borrow.
fn borrow_sub(left: u64, right: u64, borrow: bool) -> (u64, bool) {
    let (once, first) = left.overflowing_sub(right);
    let (twice, second) = once.overflowing_sub(u64::from(borrow));
    (twice, first || second)
}

/// Sum modulo 2^256, and whether it is above that.
fn added(left: [u64; 4], right: [u64; 4]) -> ([u64; 4], bool) {
    let (mut sum, mut carry) = (left, false);
    for (limb, more) in sum.iter_mut().zip(right) {
        (*limb, carry) = carry_add(*limb, more, carry);
    }
    (sum, carry)
}

/// Difference modulo 2^256, and whether it is below zero.
fn subtracted(left: [u64; 4], right: [u64; 4]) -> ([u64; 4], bool) {
    let (mut difference, mut borrow) = (left, false);
    for (limb, less) in difference.iter_mut().zip(right) {
        (*limb, borrow) = borrow_sub(*limb, less, borrow);
    }
    (difference, borrow)
}

fn multiplied(left: [u64; 4], right: [u64; 4]) -> [u64; 8] {
    let mut product = [0; 8];
    for (offset, factor) in left.iter().enumerate() {
        let mut carry = 0;
        // One limb more than `right` has takes the last carry.
        let others = right.iter().chain([&0]);
        for (limb, other) in product.iter_mut().skip(offset).zip(others) {
            (*limb, carry) = multiply_add(*factor, *other, *limb, carry);
        }
    }
    product
}

const fn widened(limbs: [u64; 4]) -> [u64; 8] {
    let [a, b, c, d] = limbs;
    [a, b, c, d, 0, 0, 0, 0]
}

/// The number, when it is below 2^256.
const fn narrow(limbs: [u64; 8]) -> Option<U256> {
    match limbs {
        [a, b, c, d, 0, 0, 0, 0] => Some(U256([a, b, c, d])),
        _ => None,
    }
}

/// How many limbs there are up to the last that is not zero.
fn significant(limbs: &[u64]) -> usize {
    let zeros = limbs.iter().rev().take_while(|limb| **limb == 0).count();
    limbs.len().saturating_sub(zeros)
}

/// Writes `limbs` times 2^`shift`, `shift` below 64, to `shifted`, which is long enough.
fn shift_left(limbs: &[u64], shift: u32, shifted: &mut [u64]) {
    let back = u64::BITS.saturating_sub(shift);
    let mut carry = 0;
    for (to, from) in shifted.iter_mut().zip(limbs.iter().chain([&0])) {
        *to = from.wrapping_shl(shift) | carry;
        carry = from.checked_shr(back).unwrap_or(0);
    }
}

/// Quotient and remainder; `None` when the divisor is zero.
fn divided(numerator: [u64; 8], divisor: [u64; 4]) -> Option<([u64; 8], [u64; 4])> {
    let length = significant(&divisor);
    let divisor = divisor.get(..length)?;
    let (top, lower) = divisor.split_last()?;
    let mut quotient = [0; 8];
    if lower.is_empty() {
        let mut remainder = 0;
        for (digit, limb) in quotient.iter_mut().zip(numerator).rev() {
            (*digit, remainder) = divide_pair(remainder, limb, *top);
        }
        return Some((quotient, [remainder, 0, 0, 0]));
    }
    // Scaled so that the divisor's highest bit is set: then each estimated digit is nearly right.
    let shift = top.leading_zeros();
    let (mut scaled, mut rest) = ([0; 4], [0; 9]);
    shift_left(divisor, shift, &mut scaled);
    shift_left(&numerator, shift, &mut rest);
    let scaled = scaled.get(..length)?;
    let highest = significant(&numerator);
    for (position, digit) in quotient.iter_mut().enumerate().rev() {
        let end = position.saturating_add(length);
        if end > highest {
            continue;
        }
        if let Some(window) = rest.get_mut(position..=end) {
            *digit = divide_step(window, scaled);
        }
    }
    let mut remainder = [0; 4];
    for ((to, low), high) in remainder
        .iter_mut()
        .zip(rest)
        .zip(rest.iter().skip(1))
        .take(length)
    {
        let back = u64::BITS.saturating_sub(shift);
        *to = low.wrapping_shr(shift) | high.checked_shl(back).unwrap_or(0);
    }
    Some((quotient, remainder))
}

/// Divides `window`, which is below `divisor` · 2^64 and one limb longer, and leaves the remainder in
/// it. The divisor has at least two limbs and its highest bit set.
fn divide_step(window: &mut [u64], divisor: &[u64]) -> u64 {
    let ([.., third, second, first], [.., lower, top]) = (&*window, divisor) else {
        return 0;
    };
    // From the highest two limbs; at most two too large, and nearly never after the loop.
    let (mut digit, mut rest) = if first >= top {
        (u64::MAX, second.checked_add(*top))
    } else {
        let (digit, rest) = divide_pair(*first, *second, *top);
        (digit, Some(rest))
    };
    while let Some(left) = rest
        && u128::from(digit).wrapping_mul(u128::from(*lower)) > joined(left, *third)
    {
        digit = digit.wrapping_sub(1);
        rest = left.checked_add(*top);
    }
    let (mut carry, mut borrow) = (0, false);
    for (limb, factor) in window.iter_mut().zip(divisor.iter().chain([&0])) {
        let (low, high) = multiply_add(digit, *factor, 0, carry);
        carry = high;
        (*limb, borrow) = borrow_sub(*limb, low, borrow);
    }
    if borrow {
        digit = digit.wrapping_sub(1);
        let mut carry = false;
        for (limb, more) in window.iter_mut().zip(divisor.iter().chain([&0])) {
            (*limb, carry) = carry_add(*limb, *more, carry);
        }
    }
    digit
}
