//! Amounts of base units, and divisions that name their rounding.
//!
//! `sker` has 9 decimals; the base unit is `nsker`. Text and JSON carry base units as decimal
//! strings; the command line also takes `5sker` and `0.5sker`.

use crate::ids::{Denom, ParseIdError, serde_as_text};
use borsh::{BorshDeserialize, BorshSerialize};
use std::fmt;
use std::str::FromStr;

/// Decimals of `sker`, `stsker` and `rssker`.
pub const SKER_DECIMALS: u32 = 9;

/// An amount of base units of some denom.
#[derive(
    Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize,
)]
pub struct Amount(u128);

impl Amount {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// The largest amount.
    pub const MAX: Self = Self(u128::MAX);

    /// Wraps base units.
    pub const fn new(units: u128) -> Self {
        Self(units)
    }
    /// The base units.
    pub const fn get(self) -> u128 {
        self.0
    }
    /// Whether this is nothing.
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }
    /// Sum, unless it overflows.
    #[must_use]
    pub const fn checked_add(self, other: Self) -> Option<Self> {
        match self.0.checked_add(other.0) {
            Some(sum) => Some(Self(sum)),
            None => None,
        }
    }
    /// Difference, unless it is negative.
    #[must_use]
    pub const fn checked_sub(self, other: Self) -> Option<Self> {
        match self.0.checked_sub(other.0) {
            Some(difference) => Some(Self(difference)),
            None => None,
        }
    }
    /// A part of it in hundredths of a per cent, rounded up; at most all of it.
    #[must_use]
    pub const fn part_ceil(self, bps: u16) -> Self {
        const WHOLE: u128 = 10_000;
        let bps = if bps as u128 > WHOLE {
            WHOLE
        } else {
            bps as u128
        };
        // Whole multiples and the rest apart, so that no product overflows.
        let (times, rest) = (self.0 / WHOLE, self.0 % WHOLE);
        let part = times.saturating_mul(bps);
        Self(part.saturating_add(rest.saturating_mul(bps).div_ceil(WHOLE)))
    }
    /// Product with a number, unless it overflows.
    #[must_use]
    pub const fn checked_mul(self, factor: u128) -> Option<Self> {
        match self.0.checked_mul(factor) {
            Some(product) => Some(Self(product)),
            None => None,
        }
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}
impl fmt::Debug for Amount {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}
impl FromStr for Amount {
    type Err = ParseIdError;
    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse()
            .ok()
            .filter(|_| digits)
            .map(Self)
            .ok_or_else(|| ParseIdError {
                text: text.to_owned(),
                expected: "an amount: a whole number of base units below 2^128",
            })
    }
}
serde_as_text!(Amount);

/// An amount with its denom.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    BorshSerialize,
    BorshDeserialize,
    serde::Serialize,
    serde::Deserialize,
)]
pub struct Asset {
    /// Which token.
    pub denom: Denom,
    /// How much of it.
    pub amount: Amount,
}

impl Asset {
    /// An amount of `sker`, in `nsker`.
    pub const fn nsker(units: u128) -> Self {
        Self {
            denom: Denom::SKER,
            amount: Amount(units),
        }
    }
}

impl fmt::Display for Asset {
    /// The form that [`FromStr`] reads: `5sker`, `0.25stsker`, `10:skd1…`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.denom.is_reserved() {
            return write!(formatter, "{}:{}", self.amount, self.denom);
        }
        let unit = 10_u128.pow(SKER_DECIMALS);
        let (whole, rest) = (self.amount.0 / unit, self.amount.0 % unit);
        if rest == 0 {
            return write!(formatter, "{whole}{}", self.denom);
        }
        let fraction = format!("{rest:09}");
        write!(
            formatter,
            "{whole}.{}{}",
            fraction.trim_end_matches('0'),
            self.denom
        )
    }
}

impl FromStr for Asset {
    type Err = ParseIdError;
    /// `5sker`, `0.25sker`, `5000000000nsker`, or base units followed by `:` and a denom
    /// (`10:skd1…`).
    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        let error = || ParseIdError {
            text: text.to_owned(),
            expected: "an amount with unit: 5sker, 0.5sker, 5000000000nsker or 10:skd1…",
        };
        if let Some((units, denom)) = text.split_once(':') {
            let (amount, denom) = (units.parse().map_err(|_| error())?, denom.parse());
            return Ok(Self {
                denom: denom.map_err(|_| error())?,
                amount,
            });
        }
        for (suffix, denom, decimals) in [
            ("nsker", Denom::SKER, 0),
            ("rssker", Denom::RSSKER, SKER_DECIMALS),
            ("stsker", Denom::STSKER, SKER_DECIMALS),
            ("sker", Denom::SKER, SKER_DECIMALS),
        ] {
            if let Some(number) = text.strip_suffix(suffix) {
                let amount = parse_decimal(number, decimals).ok_or_else(error)?;
                return Ok(Self { denom, amount });
            }
        }
        Err(error())
    }
}

/// Reads `12.5` as units of 10^-`decimals`; refuses more digits than there are decimals.
fn parse_decimal(text: &str, decimals: u32) -> Option<Amount> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let width = usize::try_from(decimals).ok()?;
    if whole.is_empty() || !digits(whole) || !digits(fraction) || fraction.len() > width {
        return None;
    }
    if text.contains('.') && fraction.is_empty() {
        return None;
    }
    let scaled = whole
        .parse::<u128>()
        .ok()?
        .checked_mul(10_u128.pow(decimals))?;
    let padded = format!("{fraction:0<width$}");
    let rest = if padded.is_empty() {
        0
    } else {
        padded.parse::<u128>().ok()?
    };
    scaled.checked_add(rest).map(Amount)
}
