use super::{ChainPins, KEPT_MS_MIN, PINS_MAX, PINS_READ_MAX, Pin, READ_MS, span_ms};
use crate::snapshot::testing::beacon_base;
use skerry_storage::StateTree;
use skerry_types::ids::TimeMs;

const KEPT_MS: u64 = 10 * KEPT_MS_MIN;

/// A pin of this time; the time makes its block another than the others'.
fn pin(time: u64) -> Pin {
    let proof = beacon_base(time, &StateTree::empty());
    let mut pin = Pin::new(
        proof.header.block_ref(),
        StateTree::empty(),
        proof.beacon,
        None,
    );
    pin.time = TimeMs::new(time);
    pin
}

/// What a span brings.
fn next(pins: &mut ChainPins, now: u64) {
    let now = TimeMs::new(now);
    pins.expire(now, KEPT_MS);
    if pins.has_room(now) {
        pins.add(pin(now.get()));
    }
    pins.make_room(now);
}

fn read(pins: &mut ChainPins, time: u64, now: u64) {
    let mut all = pins.pins.iter_mut();
    let pin = all.find(|pin| pin.time == TimeMs::new(time));
    pin.expect("it is pinned").read_at = TimeMs::new(now);
}

fn times(pins: &ChainPins) -> Vec<u64> {
    pins.pins.iter().map(|pin| pin.time.get()).collect()
}

#[test]
fn unread_pins_give_way_to_newer_ones() {
    let mut pins = ChainPins::default();
    for time in 1..=9 {
        next(&mut pins, time);
    }
    assert_eq!(times(&pins), [6, 7, 8, 9]);
    assert_eq!(times(&pins).len(), PINS_MAX);
}

#[test]
fn a_pin_that_is_being_read_stays_and_so_does_the_newest() {
    let mut pins = ChainPins::default();
    for time in 1..=4 {
        next(&mut pins, time);
        read(&mut pins, time, time);
    }
    for time in 5..=20 {
        next(&mut pins, time);
        assert_eq!(times(&pins).get(..4), Some([1, 2, 3, 4].as_slice()));
        assert_eq!(times(&pins).last(), Some(&time), "the newest is served");
    }
    assert!(times(&pins).len() <= PINS_READ_MAX);
    // Nobody reads any more.
    next(&mut pins, 20 + READ_MS + 1);
    assert_eq!(times(&pins).len(), PINS_MAX);
}

#[test]
fn nothing_is_pinned_while_all_places_are_being_read() {
    let mut pins = ChainPins::default();
    for time in 1..=8 {
        next(&mut pins, time);
        read(&mut pins, time, time);
    }
    next(&mut pins, 9);
    assert_eq!(times(&pins), [1, 2, 3, 4, 5, 6, 7, 8]);
}

#[test]
fn a_pin_that_is_too_old_goes_even_if_somebody_reads_it() {
    let mut pins = ChainPins::default();
    next(&mut pins, 1);
    let at_last = 1 + KEPT_MS;
    read(&mut pins, 1, at_last);
    pins.expire(TimeMs::new(at_last), KEPT_MS);
    assert_eq!(times(&pins), [1], "not before");
    pins.expire(TimeMs::new(at_last + 1), KEPT_MS);
    assert_eq!(times(&pins), [0_u64; 0]);
}

#[test]
fn a_span_is_a_part_of_an_epoch() {
    for (epoch_ms, expected) in [
        (0, 10_000),
        (400, 1_000),
        (8_000, 2_000),
        (3_600_000, 60_000),
    ] {
        assert_eq!(span_ms(epoch_ms), expected, "{epoch_ms}");
    }
}
