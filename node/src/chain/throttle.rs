//! How many transactions a leader puts into a block, from how long blocks take to become final.
//!
//! The gas limit says what the slowest supported machine can execute in time; a machine that has
//! other work, or many nodes on it, is slower. Blocks that take long are made smaller before views
//! time out, so that an overload of any size costs latency and refusals, never the chain's progress:
//! additive growth and multiplicative decrease, as congestion control does it.

use skerry_types::ids::TimeMs;
use skerry_types::limits::BLOCK_TRANSACTIONS_MAX;

/// Transactions of a block that are always allowed.
const FLOOR: usize = 128;
/// Where a node begins.
const START: usize = 1_024;
/// Added when full blocks are quick.
const STEP: usize = 256;

/// The current bound.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Throttle {
    limit: usize,
    slow_ms: u64,
}

impl Throttle {
    /// For a network of this Δ: a block should be final within Δ of its proposal.
    pub(crate) fn new(delta_ms: u64) -> Self {
        Self {
            limit: START,
            slow_ms: delta_ms,
        }
    }

    /// Most transactions of the next block.
    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// A working block of `transactions`, proposed at `proposed`, is final and executed at `now`.
    pub(crate) fn on_final(&mut self, proposed: TimeMs, now: TimeMs, transactions: usize) {
        let took = now.above(proposed);
        if took > self.slow_ms.saturating_mul(2) {
            self.shrink(transactions, 2);
        } else if took > self.slow_ms {
            self.shrink(transactions, 4);
        } else if transactions.saturating_mul(4) >= self.limit.saturating_mul(3) {
            self.limit = self.limit.saturating_add(STEP).min(BLOCK_TRANSACTIONS_MAX);
        }
    }

    /// A working block of `transactions` was given up: its view timed out.
    pub(crate) fn on_abandoned(&mut self, transactions: usize) {
        self.shrink(transactions, 2);
    }

    /// Takes off a part; small blocks are not slow because they are big.
    fn shrink(&mut self, transactions: usize, divisor: usize) {
        if transactions >= FLOOR {
            let size = self.limit.min(transactions.saturating_mul(2));
            self.limit = size.saturating_sub(size / divisor).max(FLOOR);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(value: u64) -> TimeMs {
        TimeMs::new(value)
    }

    #[test]
    fn full_quick_blocks_grow_and_slow_ones_shrink() {
        let mut throttle = Throttle::new(500);
        throttle.on_final(ms(0), ms(100), START);
        assert_eq!(throttle.limit(), START + STEP);
        throttle.on_final(ms(0), ms(600), START + STEP);
        assert_eq!(throttle.limit(), (START + STEP) * 3 / 4);
        throttle.on_final(ms(0), ms(2_000), 960);
        assert_eq!(throttle.limit(), 480);
    }

    #[test]
    fn quick_blocks_that_are_not_full_change_nothing() {
        let mut throttle = Throttle::new(500);
        throttle.on_final(ms(0), ms(10), START / 2);
        assert_eq!(throttle.limit(), START);
    }

    #[test]
    fn abandoned_blocks_shrink_down_to_the_floor() {
        let mut throttle = Throttle::new(500);
        for _ in 0..20 {
            throttle.on_abandoned(START);
        }
        assert_eq!(throttle.limit(), FLOOR);
        throttle.on_abandoned(1);
        assert_eq!(throttle.limit(), FLOOR);
    }
}
