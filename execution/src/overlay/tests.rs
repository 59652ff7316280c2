//! Owners that move from one overlay to another, and parts that are put together.

use super::{BlockOverlay, Contradiction, Layers};
use crate::testing::{Draws, MemoryState};
use crate::view::{decode_amount, encode_amount};
use skerry_types::amount::Amount;
use skerry_types::ids::{Address, ModuleId};
use skerry_types::state::{ChangeSet, StateKey, StateRead, Value};
use std::collections::BTreeMap;

fn key(owner: u8, record: u8) -> StateKey {
    StateKey::new(Address::new([owner; 32]), ModuleId::new(7), [record])
}

fn amount(units: u128) -> Option<Value> {
    encode_amount(Amount::new(units))
}

fn together(layers: &Layers, parts: usize) -> ChangeSet {
    let runs = (0..parts).map(|part| layers.writes(part, parts).unwrap());
    ChangeSet::of_runs(runs.collect())
}

/// Few records of an owner are walked through, many are looked up; they move alike.
#[test]
fn records_of_an_owner_move_whole_and_leave_nothing_behind() {
    let parent = MemoryState::default();
    for count in [1, 8, 9, 30_u8] {
        let mut first = BlockOverlay::new(&parent);
        for record in 0..count {
            first.put(key(1, record), amount(5 + u128::from(record)));
            first.put(key(2, record), amount(1));
        }
        let mut second = BlockOverlay::new(&parent);
        let owner = Address::new([1; 32]);
        second.give(&owner, first.take_owner(&owner));
        assert_eq!(first.get(key(1, 0)), None);
        for record in 0..count {
            let held = amount(5 + u128::from(record));
            assert_eq!(second.get(key(1, record)), held);
            second.put(key(1, record), amount(900));
        }
        // And back, onto what was looked at there meanwhile.
        first.take_owner(&owner);
        first.give(&owner, second.take_owner(&owner));
        assert_eq!(first.get(key(1, count - 1)), amount(900));
        let changes = first.into_changes();
        assert_eq!(changes.len(), 2 * usize::from(count));
        assert!(second.into_changes().is_empty());
    }
}

#[test]
fn what_ends_as_it_began_is_no_change_whatever_lies_between() {
    let mut parent = MemoryState::default();
    parent.0.insert(key(1, 0), amount(10).unwrap());
    let mut overlay = BlockOverlay::new(&parent);
    overlay.put(key(1, 0), amount(20));
    overlay.put(key(1, 1), amount(1));
    let part = {
        let state = overlay.as_state();
        let mut part = BlockOverlay::new(&state);
        assert_eq!(part.get(key(1, 0)), amount(20));
        part.put(key(1, 0), amount(10));
        part.put(key(1, 1), None);
        part.into_sorted()
    };
    overlay.put_below(vec![part]);
    assert_eq!(overlay.get(key(1, 0)), amount(10));
    assert_eq!(overlay.get(key(1, 1)), None);
    assert!(overlay.into_changes().is_empty());
}

#[test]
fn amounts_that_parts_added_to_and_took_from_are_summed_and_nothing_else_is() {
    let mut parent = MemoryState::default();
    parent.0.insert(key(1, 0), amount(10).unwrap());
    let above = |values: &[Option<Value>]| {
        let part = |value: &Option<Value>| {
            let mut overlay = BlockOverlay::new(&parent);
            overlay.put(key(1, 0), value.clone());
            overlay.into_sorted()
        };
        let mut overlay = BlockOverlay::new(&parent);
        overlay.put_below(values.iter().map(part).collect());
        overlay
    };
    let added = [amount(13), amount(10), amount(14)];
    assert_eq!(above(&added).get(key(1, 0)), amount(17));
    let most = u128::MAX - 4;
    for (both, sum) in [
        ([amount(13), amount(9)], amount(12)),
        ([amount(9), amount(13)], amount(12)),
        ([None, amount(10)], None),
        ([None, amount(11)], amount(1)),
        ([amount(6), amount(4)], None),
        ([amount(6), amount(most)], amount(most - 4)),
    ] {
        assert_eq!(above(&both).get(key(1, 0)), sum);
    }
    let expected = ChangeSet::from([(key(1, 0), amount(17))]);
    assert_eq!(above(&added).into_changes(), expected);
    // And what comes after the parts counts, whatever they did.
    let mut overlay = above(&added);
    overlay.put(key(1, 0), amount(10));
    assert!(overlay.into_changes().is_empty());
    let record = Value::from([9_u8, 9]);
    for (left, right) in [
        // More than there was.
        (amount(6), amount(3)),
        (None, amount(9)),
        (amount(13), Some(record.clone())),
        (amount(13), amount(u128::MAX)),
    ] {
        let layers = above(&[left, right]).into_layers();
        assert_eq!(layers.writes(0, 1), Err(Contradiction));
    }
}

/// Of what one has taken from or added to, and another added to meanwhile.
#[test]
fn what_was_added_meanwhile_is_added_to_what_comes() {
    let mut parent = MemoryState::default();
    let before = |record| amount(10).filter(|_| record != 3);
    for record in [0, 1, 2, 4] {
        parent.0.insert(key(1, record), amount(10).unwrap());
    }
    let owner = Address::new([1; 32]);
    for (record, here, there, both) in [
        (0, amount(13), amount(4), amount(7)),
        (1, amount(10), amount(4), amount(4)),
        (2, amount(13), amount(10), amount(13)),
        (3, amount(5), amount(6), amount(11)),
        (4, amount(15), None, amount(5)),
        (4, amount(10), None, None),
    ] {
        // Few records are walked through, many are looked up.
        for others in [0, 20] {
            let [mut first, mut second] = [&there, &here].map(|value| {
                let mut overlay = BlockOverlay::new(&parent);
                for other in 0..others {
                    overlay.put(key(1, 100 + other), amount(1));
                }
                assert_eq!(overlay.get(key(1, record)), before(record));
                overlay.put(key(1, record), value.clone());
                overlay
            });
            second.give(&owner, first.take_owner(&owner));
            assert_eq!(second.get(key(1, record)), both);
            assert_eq!(second.get(key(1, 100)), amount(2).filter(|_| others > 0));
            assert!(!second.shows_order());
            // It is there once.
            assert_eq!(first.get(key(1, record)), before(record));
            let changes = second.into_changes();
            let is_changed = usize::from(both != before(record));
            assert_eq!(changes.len(), is_changed + usize::from(others));
        }
    }
    // Sums that others might make too large, and what is no amount.
    let record = Some(Value::from([9_u8, 9]));
    for (here, there, is_order) in [
        (amount(1 << 123), amount(1 << 122), false),
        (amount(1 << 123), amount(1 << 123), true),
        (amount(u128::MAX), amount(u128::MAX), true),
        (amount(13), record.clone(), true),
        (record.clone(), record, true),
    ] {
        let [mut first, mut second] = [there, here].map(|value| {
            let mut overlay = BlockOverlay::new(&parent);
            overlay.put(key(1, 3), value);
            overlay
        });
        second.give(&owner, first.take_owner(&owner));
        assert_eq!(second.shows_order(), is_order);
    }
}

fn add(overlay: &mut BlockOverlay<'_>, key: &StateKey, more: Amount) {
    let held = decode_amount(overlay.get(key.clone()).as_ref()).unwrap();
    overlay.put(key.clone(), encode_amount(held.checked_add(more).unwrap()));
}

fn take(overlay: &mut BlockOverlay<'_>, key: &StateKey) {
    let held = decode_amount(overlay.get(key.clone()).as_ref()).unwrap();
    overlay.put(
        key.clone(),
        encode_amount(held.checked_sub(Amount::new(1)).unwrap()),
    );
}

/// Draws layers whose parts share what they add to and take from, and compares with one overlay.
#[test]
fn layers_put_together_in_any_number_of_parts_are_what_one_overlay_changes() {
    let mut draws = Draws::new(70);
    let small = |draws: &mut Draws| u8::try_from(draws.below(12)).unwrap();
    for _ in 0..200 {
        let mut parent = MemoryState::default();
        for _ in 0..30 {
            let key = key(small(&mut draws), small(&mut draws));
            parent.0.insert(key, amount(5).unwrap());
        }
        let mut whole = BlockOverlay::new(&parent);
        let mut layered = BlockOverlay::new(&parent);
        let some = |draws: &mut Draws| -> Vec<(StateKey, Option<Value>)> {
            let put = |_| {
                let key = key(small(draws), small(draws));
                (key, amount(draws.below(8).into()))
            };
            (0..20).map(put).collect()
        };
        for (key, value) in some(&mut draws) {
            whole.put(key.clone(), value.clone());
            layered.put(key, value);
        }
        let mut taken = BTreeMap::new();
        let parts = {
            let state = layered.as_state();
            let parts = (0..3_u8).map(|part| {
                let mut overlay = BlockOverlay::new(&state);
                for _ in 0..draws.below(20) {
                    // Owners that all add to, and some of its own.
                    let owner = small(&mut draws);
                    let owner = if owner < 6 { owner } else { 6 + part };
                    let key = key(owner, small(&mut draws));
                    let before = decode_amount(state.get(&key).as_ref()).unwrap();
                    let taken = taken.entry(key.clone()).or_insert(0);
                    if draws.below(3) == 0 && before.get() > *taken {
                        // All of them together take no more than there was.
                        *taken += 1;
                        take(&mut overlay, &key);
                        take(&mut whole, &key);
                    }
                    let more = Amount::new(draws.below(3).into());
                    add(&mut overlay, &key, more);
                    add(&mut whole, &key, more);
                }
                overlay.into_sorted()
            });
            parts.collect()
        };
        layered.put_below(parts);
        for (key, value) in some(&mut draws) {
            whole.put(key.clone(), value.clone());
            layered.put(key, value);
        }
        let layers = layered.into_layers();
        let expected = whole.into_changes();
        for parts in 1..5 {
            assert_eq!(together(&layers, parts), expected, "{parts} parts");
        }
    }
}
