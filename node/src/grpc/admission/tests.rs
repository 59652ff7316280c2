//! When a client is told to try again.

use super::{Pace, RETRY_MAX, RETRY_MIN};
use skerry_types::message::Credit;
use std::time::Duration;

#[test]
fn who_finds_no_credit_waits_for_as_many_blocks_as_run_what_waits() {
    let pace = |interval| Pace {
        block: Credit {
            bytes: 1_000,
            gas: 100,
        },
        interval: Duration::from_millis(interval),
    };
    for (gas, bytes, interval, expected) in [
        (0, 0, 500, RETRY_MIN),
        (150, 0, 500, RETRY_MIN),
        (201, 0, 500, Duration::from_millis(1_500)),
        // The budget of bytes is the narrower one.
        (201, 9_001, 500, Duration::from_millis(5_000)),
        (2_000, 0, 50, RETRY_MIN),
        (2_000, 0, 250, Duration::from_millis(5_000)),
        (u64::MAX, 0, 500, RETRY_MAX),
    ] {
        let waiting = Credit { bytes, gas };
        assert_eq!(
            pace(interval).wait(waiting),
            expected,
            "{waiting} {interval}"
        );
    }
}
