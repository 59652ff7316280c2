//! Owners that move from one overlay to another, and parts that are put together.

use super::{BlockOverlay, Contradiction, settle};
use crate::testing::MemoryState;
use crate::view::encode_amount;
use skerry_types::amount::Amount;
use skerry_types::ids::{Address, ModuleId};
use skerry_types::state::{StateKey, Value};

fn key(owner: u8, record: u8) -> StateKey {
    StateKey::new(Address::new([owner; 32]), ModuleId::new(7), [record])
}

fn amount(units: u128) -> Option<Value> {
    encode_amount(Amount::new(units))
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
        second.give(first.take_owner(&Address::new([1; 32])));
        assert_eq!(first.get(key(1, 0)), None);
        for record in 0..count {
            let held = amount(5 + u128::from(record));
            assert_eq!(second.get(key(1, record)), held);
            second.put(key(1, record), amount(900));
        }
        // And back, onto what was looked at there meanwhile.
        first.take_owner(&Address::new([1; 32]));
        first.give(second.take_owner(&Address::new([1; 32])));
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
fn amounts_that_parts_added_to_are_summed_and_nothing_else_is() {
    let mut parent = MemoryState::default();
    parent.0.insert(key(1, 0), amount(10).unwrap());
    let part = |value: Option<Value>| {
        let mut overlay = BlockOverlay::new(&parent);
        overlay.put(key(1, 0), value);
        overlay.into_sorted()
    };
    let mut parts = vec![part(amount(13)), part(amount(10)), part(amount(14))];
    assert_eq!(settle(&mut parts), Ok(()));
    let mut overlay = BlockOverlay::new(&parent);
    overlay.put_below(parts);
    assert_eq!(overlay.get(key(1, 0)), amount(17));
    let record = Value::from([9_u8, 9]);
    for (left, right) in [
        (amount(13), amount(9)),
        (amount(9), amount(13)),
        (amount(13), Some(record.clone())),
        (amount(13), amount(u128::MAX)),
    ] {
        let mut parts = vec![part(left), part(right)];
        assert_eq!(settle(&mut parts), Err(Contradiction));
    }
}
