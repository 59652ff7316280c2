//! What a workload draws: numbers from a seed, and positions, uniform or by Zipf's law.
//!
//! None of it is secret or part of a protocol, so a small generator will do. Equal seeds give equal
//! blocks on one machine; the powers of Zipf's law may differ in their last bit on another.

use super::super::measure;

/// Numbers from a seed: `SplitMix64` (Steele, Lea, Flood: Fast splittable pseudorandom number
/// generators, OOPSLA 2014).
#[derive(Clone, Debug)]
pub(super) struct Draws(u64);

impl Draws {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Below `limit`, and 0 when that is 0. Some are likelier than others by `limit` / 2^64.
    pub(super) fn below(&mut self, limit: u64) -> u64 {
        let product = u128::from(self.next()).wrapping_mul(limit.into());
        u64::try_from(product >> 64).unwrap_or(0)
    }

    /// A position in a list of `count`.
    pub(super) fn position(&mut self, count: usize) -> usize {
        let below = self.below(u64::try_from(count).unwrap_or(u64::MAX));
        usize::try_from(below).unwrap_or(0)
    }

    /// From 0, below 1.
    fn unit(&mut self) -> f64 {
        // The 53 bits that a float holds.
        measure::float(self.next() >> 11) / measure::float(1 << 53)
    }
}

/// How positions in a list are chosen.
pub(super) enum Choice {
    /// Each as often as any other.
    Uniform {
        /// Length of the list.
        count: usize,
    },
    /// By Zipf's law: position r, from 1, with a weight of r^-s.
    Zipf {
        /// Weights up to each position. 8 bytes for each, and a draw is one search, exact; sampling
        /// by rejection would need neither, and more explanation.
        sums: Vec<f64>,
    },
}

impl Choice {
    /// Uniform, or by Zipf's law with an exponent.
    pub(super) fn new(count: usize, exponent: Option<f64>) -> Self {
        let Some(exponent) = exponent else {
            return Self::Uniform { count };
        };
        let mut sum = 0.0;
        let ranks = 1..=u64::try_from(count).unwrap_or(u64::MAX);
        let sums = ranks.map(|rank| {
            sum += measure::float(rank).powf(-exponent);
            sum
        });
        Self::Zipf {
            sums: sums.collect(),
        }
    }

    pub(super) fn draw(&self, draws: &mut Draws) -> usize {
        match self {
            Self::Uniform { count } => draws.position(*count),
            Self::Zipf { sums } => {
                let at = draws.unit() * sums.last().copied().unwrap_or(0.0);
                let position = sums.partition_point(|sum| *sum <= at);
                position.min(sums.len().saturating_sub(1))
            }
        }
    }
}
