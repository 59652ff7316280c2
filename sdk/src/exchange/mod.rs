//! What a swap will bring or cost, and what shares are worth: the formulas of the `dex` module, on
//! pools as a node shows them.
//!
//! A quote holds at the reserves that it was made from. Others may be first, so a swap carries a
//! bound, and [`Slippage`] makes it from a quote. Fee and impact are rounded up, so that nobody is
//! promised more than there is.

#[cfg(test)]
mod tests;

use crate::client::ClientError;
use skerry_execution::error::CallError;
use skerry_execution::math::{U256, mul_div_ceil, mul_div_floor};
use skerry_execution::views::{PoolFee, PoolRecord, share_denom};
use skerry_proto::convert;
use skerry_proto::v1;
use skerry_types::amount::{Amount, Asset};
use skerry_types::codec::Version;
use skerry_types::ids::{Address, ChainRef, Denom, TimeMs};
use std::str::FromStr;

/// A whole in millionths.
const PPM: u128 = 1_000_000;
/// A whole, as rates along a route are multiplied.
const FINE: u128 = 1_000_000_000_000;

/// A pool as a node shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// Its address.
    pub address: Address,
    /// Its record.
    pub record: PoolRecord,
    /// All its shares, the locked ones included.
    pub shares: Amount,
    /// The shard where it lives, and where the calls of a swap run.
    pub chain: ChainRef,
}

impl Pool {
    /// The denom of its shares.
    pub fn share_denom(&self) -> Denom {
        share_denom(&self.address)
    }
}

impl TryFrom<&v1::GetPoolResponse> for Pool {
    type Error = ClientError;

    fn try_from(reply: &v1::GetPoolResponse) -> Result<Self, ClientError> {
        let missing = |name: &str| ClientError::Reply(format!("`{name}` is missing"));
        let pool = reply.pool.as_ref().ok_or_else(|| missing("pool"))?;
        let anchor = reply.anchor.as_ref().ok_or_else(|| missing("anchor"))?;
        let [first, second] = pool.reserves.as_slice() else {
            return Err(ClientError::Reply("a pool has two reserves".to_owned()));
        };
        let prices: Option<Vec<U256>> = pool
            .cumulative_prices
            .iter()
            .map(|text| U256::from_decimal(text))
            .collect();
        let prices = prices.and_then(|prices| prices.try_into().ok());
        let record = PoolRecord {
            version: Version,
            reserves: [convert::asset(first)?, convert::asset(second)?],
            fee_ppm: PoolFee::new(pool.fee_ppm),
            time: TimeMs::new(pool.time_ms),
            cumulative_prices: prices
                .ok_or_else(|| ClientError::Reply("a pool has two prices".to_owned()))?,
        };
        record.check().map_err(ClientError::Reply)?;
        Ok(Self {
            address: convert::address("address", &pool.address)?,
            record,
            shares: convert::amount("shares", &pool.shares)?,
            chain: convert::chain("chain", &anchor.chain)?,
        })
    }
}

/// What one pool of a route exchanges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hop {
    /// Which pool.
    pub pool: Address,
    /// What goes in.
    pub input: Asset,
    /// What comes out.
    pub output: Asset,
}

/// What a swap brings or costs at the reserves of the pools it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quote {
    /// Given to the first pool.
    pub input: Asset,
    /// Received from the last one.
    pub output: Asset,
    /// The pools in order.
    pub hops: Vec<Hop>,
    /// What the pools' fees take of what the input is worth at the price before the swap, in
    /// millionths.
    pub fee_ppm: u128,
    /// What the swap takes of it beside the fees, by moving the price against itself and by
    /// rounding, in millionths.
    pub impact_ppm: u128,
}

impl Quote {
    /// What an exact input brings through a route, as `swap_exact_in` would exchange it.
    ///
    /// # Errors
    /// As that call would fail.
    pub fn of_input(route: &[Pool], input: Asset) -> Result<Self, CallError> {
        let mut hops = Vec::with_capacity(route.len());
        let mut held = input;
        for Pool {
            address, record, ..
        } in route
        {
            let output = record.quote_output(held)?;
            hops.push(Hop {
                pool: *address,
                input: held,
                output,
            });
            held = output;
        }
        Ok(Self::of_hops(route, hops, [input, held]))
    }

    /// What an exact output costs through a route, as `swap_exact_out` would exchange it.
    ///
    /// # Errors
    /// As that call would fail.
    pub fn of_output(route: &[Pool], output: Asset) -> Result<Self, CallError> {
        let mut hops = Vec::with_capacity(route.len());
        let mut wanted = output;
        for Pool {
            address, record, ..
        } in route.iter().rev()
        {
            let input = record.quote_input(wanted)?;
            hops.push(Hop {
                pool: *address,
                input,
                output: wanted,
            });
            wanted = input;
        }
        hops.reverse();
        Ok(Self::of_hops(route, hops, [wanted, output]))
    }

    fn of_hops(route: &[Pool], hops: Vec<Hop>, [input, output]: [Asset; 2]) -> Self {
        // What of the worth at the first price is exchanged, and what arrives of it.
        let (mut exchanged, mut arrived) = (FINE, FINE);
        for (Pool { record, .. }, hop) in route.iter().zip(&hops) {
            exchanged = part_floor(exchanged, record.fee_ppm.rest(), PPM);
            arrived = part_floor(arrived, kept(record, hop), FINE);
        }
        let ppm = |fine: u128| fine.div_ceil(FINE / PPM);
        Self {
            input,
            output,
            hops,
            fee_ppm: ppm(FINE.saturating_sub(exchanged)),
            impact_ppm: ppm(exchanged.saturating_sub(arrived)),
        }
    }
}

fn part_floor(whole: u128, part: u128, unit: u128) -> u128 {
    mul_div_floor(whole, part, unit).unwrap_or(0)
}

/// What a hop brings of what its input is worth at the pool's price, in parts of [`FINE`].
fn kept(record: &PoolRecord, hop: &Hop) -> u128 {
    let reserve = |denom: Denom| {
        let held = record.reserves.iter().find(|asset| asset.denom == denom);
        held.map_or(0, |asset| asset.amount.get())
    };
    let brought = U256::product(hop.output.amount.get(), reserve(hop.input.denom));
    let worth = U256::product(hop.input.amount.get(), reserve(hop.output.denom));
    let kept = brought.mul_div_floor(U256::new(FINE), worth);
    kept.and_then(U256::to_u128).unwrap_or(0)
}

/// By how much a swap may end worse than its quote, in millionths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slippage(u32);

impl Slippage {
    /// Nothing: the quote or no swap.
    pub const NONE: Self = Self(0);

    /// The least to accept where an amount was quoted.
    pub fn least(self, quoted: Amount) -> Amount {
        let kept = PPM.saturating_sub(self.0.into());
        Amount::new(mul_div_ceil(quoted.get(), kept, PPM).unwrap_or(quoted.get()))
    }

    /// The most to give where an amount was quoted.
    pub fn most(self, quoted: Amount) -> Amount {
        let more = PPM.saturating_add(self.0.into());
        Amount::new(mul_div_floor(quoted.get(), more, PPM).unwrap_or(u128::MAX))
    }
}

/// A text is no slippage.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is no slippage: expected per cent from 0 to 100 with at most four decimals, such as 0.5"
)]
pub struct SlippageError {
    text: String,
}

impl FromStr for Slippage {
    type Err = SlippageError;

    /// Reads per cent: `0.5`, `1`.
    fn from_str(text: &str) -> Result<Self, SlippageError> {
        let error = || SlippageError {
            text: text.to_owned(),
        };
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|it| it.is_ascii_digit());
        if !digits(whole) || !digits(fraction) || whole.len() > 3 || fraction.len() > 4 {
            return Err(error());
        }
        let ppm: u32 = format!("{whole}{fraction:0<4}")
            .parse()
            .map_err(|_| error())?;
        (u128::from(ppm) <= PPM)
            .then_some(Self(ppm))
            .ok_or_else(error)
    }
}
