//! The record of a pool, and what exchanges, deposits and withdrawals make of it.
//!
//! A pool is an object near its creator. Its reserves are what its own calls have moved, in its
//! record and nowhere else: what somebody sends to the pool's address becomes a balance there that
//! no formula reads. Its shares are the denom with the pool's id (`token/issue.rs`).

use super::math::{self, Flow, Reserves};
use crate::error::CallError;
use crate::math::U256;
use crate::modules::DEX;
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};
use skerry_types::amount::{Amount, Asset};
use skerry_types::codec::Version;
use skerry_types::ids::{Address, Denom, TimeMs};
use skerry_types::state::StateKey;

pub(crate) const POOL: u8 = b'p';

/// The whole of which a fee is a part: a million.
pub const FEE_UNIT: u128 = 1_000_000;

/// The part of every input that stays in a pool, in millionths.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
)]
#[serde(transparent)]
pub struct PoolFee(u32);

impl PoolFee {
    /// The highest: a tenth.
    pub const MAX: Self = Self(100_000);

    /// Wraps millionths.
    pub const fn new(millionths: u32) -> Self {
        Self(millionths)
    }
    /// The millionths, as they are stored.
    pub const fn millionths(self) -> u32 {
        self.0
    }
    /// The millionths.
    pub fn get(self) -> u128 {
        u128::from(self.0)
    }
    /// The part of an input that is exchanged, in millionths.
    pub fn rest(self) -> u128 {
        FEE_UNIT.saturating_sub(self.get())
    }
}

/// A pool of two denoms.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize)]
pub struct PoolRecord {
    /// Version byte.
    #[serde(skip)]
    pub version: Version,
    /// The reserves, denoms strictly increasing; both above zero.
    pub reserves: [Asset; 2],
    /// The fee.
    pub fee_ppm: PoolFee,
    /// The block time up to which the cumulative prices count.
    pub time: TimeMs,
    /// Price of the first denom in the second, and of the second in the first, each in units of
    /// 2^-112, times the milliseconds that it stood there: sums modulo 2^256.
    pub cumulative_prices: [U256; 2],
}

/// Key of a [`PoolRecord`].
pub fn pool_key(pool: &Address) -> StateKey {
    StateKey::new(*pool, DEX, [POOL])
}

/// The denom of a pool's shares: it has the pool's id.
pub fn share_denom(pool: &Address) -> Denom {
    Denom::new(*pool.as_bytes())
}

/// Which of a pool's two denoms comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    FirstIn,
    SecondIn,
}

impl Direction {
    const fn opposite(self) -> Self {
        match self {
            Self::FirstIn => Self::SecondIn,
            Self::SecondIn => Self::FirstIn,
        }
    }
}

pub(super) fn refused(code: &'static str, detail: String) -> CallError {
    CallError::Refused { code, detail }
}

const OVER: CallError = CallError::Overflow { what: "a reserve" };

impl PoolRecord {
    /// A pool that begins at `time` with a first deposit.
    pub const fn new(deposit: [Asset; 2], fee_ppm: PoolFee, time: TimeMs) -> Self {
        Self {
            version: Version,
            reserves: deposit,
            fee_ppm,
            time,
            cumulative_prices: [U256::ZERO; 2],
        }
    }

    /// How much it holds of each denom.
    pub fn amounts(&self) -> [Amount; 2] {
        self.reserves.map(|asset| asset.amount)
    }

    /// What is wrong with the record by itself.
    ///
    /// # Errors
    /// Says which rule is broken.
    pub fn check(&self) -> Result<(), String> {
        let [first, second] = self.reserves;
        if first.denom >= second.denom {
            return Err("a pool's denoms are not strictly increasing".to_owned());
        }
        if first.amount.is_zero() || second.amount.is_zero() {
            return Err("a pool has a reserve of zero".to_owned());
        }
        if self.fee_ppm > PoolFee::MAX {
            return Err("a pool's fee is above the highest".to_owned());
        }
        Ok(())
    }

    /// Adds to the cumulative prices what the reserves, as they stand, have stood for since the last
    /// touch. The first call in a block does it, before it moves anything; further ones change
    /// nothing, for no time has passed.
    pub fn touch(&mut self, now: TimeMs) {
        let elapsed = U256::new(u128::from(now.above(self.time)));
        if elapsed.is_zero() {
            return;
        }
        for (sum, direction) in self
            .cumulative_prices
            .iter_mut()
            .zip([Direction::FirstIn, Direction::SecondIn])
        {
            let price = math::price(facing(&self.reserves, direction));
            *sum = sum.wrapping_add(price.wrapping_mul(elapsed));
        }
        self.time = now;
    }

    /// What an exact input brings.
    ///
    /// # Errors
    /// When the pool does not have the denom, or the output rounds to nothing.
    pub fn quote_output(&self, input: Asset) -> Result<Asset, CallError> {
        let direction = self.direction_in(&input.denom)?;
        let reserves = facing(&self.reserves, direction);
        let amount = math::output_for(reserves, input.amount, self.fee_ppm).ok_or(OVER)?;
        if amount.is_zero() {
            let detail = format!("{input} brings less than one base unit");
            return Err(refused("TOO_SMALL", detail));
        }
        let denom = self.other(direction);
        Ok(Asset { denom, amount })
    }

    /// What an exact output costs.
    ///
    /// # Errors
    /// When the pool does not have the denom, or not more than that of it, or nobody can pay it.
    pub fn quote_input(&self, output: Asset) -> Result<Asset, CallError> {
        let direction = self.direction_in(&output.denom)?.opposite();
        let reserves = facing(&self.reserves, direction);
        if reserves.output <= output.amount {
            let [held, wanted] = [reserves.output, output.amount];
            let detail = format!(
                "the pool holds {held} of {}, not more than {wanted}",
                output.denom
            );
            return Err(refused("INSUFFICIENT_LIQUIDITY", detail));
        }
        let amount = math::input_for(reserves, output.amount, self.fee_ppm).ok_or(OVER)?;
        let denom = self.other(direction.opposite());
        Ok(Asset { denom, amount })
    }

    /// Moves what was quoted.
    ///
    /// # Errors
    /// When a reserve would exceed 2^128; a broken invariant when the product would fall.
    pub fn exchange(&mut self, input: Asset, output: Asset) -> Result<(), CallError> {
        let direction = self.direction_in(&input.denom)?;
        let (zero, given, received) = (Amount::ZERO, input.amount, output.amount);
        let flow = match direction {
            Direction::FirstIn => Flow {
                input: [given, zero],
                output: [zero, received],
            },
            Direction::SecondIn => Flow {
                input: [zero, given],
                output: [received, zero],
            },
        };
        let before = self.amounts();
        let is_kept = math::is_product_kept(before, &flow, self.fee_ppm).ok_or(OVER)?;
        if !is_kept || self.other(direction) != output.denom {
            return Err(CallError::Invariant {
                what: format!("{input} for {output} lowers the product of {before:?}"),
            });
        }
        self.move_by(flow.input, flow.output)
    }

    /// Adds to the reserves and takes from them.
    ///
    /// # Errors
    /// When a reserve would exceed 2^128; a broken invariant when one would not stay above zero.
    pub(super) fn move_by(
        &mut self,
        input: [Amount; 2],
        output: [Amount; 2],
    ) -> Result<(), CallError> {
        for ((reserve, more), less) in self.reserves.iter_mut().zip(input).zip(output) {
            let sum = reserve.amount.checked_add(more).ok_or(OVER)?;
            let rest = sum.checked_sub(less).filter(|rest| !rest.is_zero());
            reserve.amount = rest.ok_or_else(|| CallError::Invariant {
                what: format!("a pool gives {less} of {sum}"),
            })?;
        }
        Ok(())
    }

    fn direction_in(&self, denom: &Denom) -> Result<Direction, CallError> {
        let [first, second] = self.reserves;
        if first.denom == *denom {
            Ok(Direction::FirstIn)
        } else if second.denom == *denom {
            Ok(Direction::SecondIn)
        } else {
            let detail = format!(
                "a pool of {} and {}, not of {denom}",
                first.denom, second.denom
            );
            Err(refused("WRONG_DENOM", detail))
        }
    }

    const fn other(&self, direction: Direction) -> Denom {
        let [first, second] = self.reserves;
        match direction {
            Direction::FirstIn => second.denom,
            Direction::SecondIn => first.denom,
        }
    }
}

const fn facing(reserves: &[Asset; 2], direction: Direction) -> Reserves {
    let [first, second] = *reserves;
    match direction {
        Direction::FirstIn => Reserves {
            input: first.amount,
            output: second.amount,
        },
        Direction::SecondIn => Reserves {
            input: second.amount,
            output: first.amount,
        },
    }
}
