//! The search finds what broken guards allow, so its silence about the product's means something.

use super::*;

const EQUAL: Setting = Setting {
    honest: [1, 1, 1],
    byzantine: 1,
};

fn with_guard(guard: Guard) -> VoteRules {
    VoteRules {
        guard,
        ..VoteRules::default()
    }
}

/// The guard, which for a notarize does not see what `forget` takes out of the own votes.
fn guard_notarize(
    own: &OwnVotes,
    statement: &Statement,
    view: View,
    forget: fn(&mut OwnVotes),
) -> Result<(), Refusal> {
    let mut own = own.clone();
    if matches!(statement, Statement::Notarize { .. }) {
        forget(&mut own);
    }
    guard(&own, statement, view)
}

fn found(rules: VoteRules) -> &'static str {
    explore(&EQUAL, rules).expect_err("a rule is broken").rule
}

#[test]
fn byzantine_members_are_those_below_a_third_one_of_each_weight() {
    assert_eq!(Setting::of([1, 1, 1, 1]), [EQUAL]);
    let of = |honest, byzantine| Setting { honest, byzantine };
    let expected = [of([1, 3, 3], 2), of([2, 3, 3], 1)];
    assert_eq!(Setting::of([3, 3, 2, 1]), expected);
    let expected = [of([3, 3, 5], 4), of([3, 4, 5], 3)];
    assert_eq!(Setting::of([5, 4, 3, 3]), expected);
    assert_eq!(EQUAL.quorum(), 3);
    assert_eq!(of([1, 3, 3], 2).quorum(), 7);
}

#[test]
fn states_read_back_from_their_codes_and_renaming_changes_no_code() {
    let mut state = State::of_code(0);
    for (at, member) in state.members.iter_mut().enumerate() {
        member.votes = [5, 9, 16].map(|code| Votes::of_code(code + at as u8));
    }
    state.parents[1] = [GENESIS, candidate(0, 1)];
    state.parents[2] = [candidate(1, 0), UNPROPOSED];
    assert_eq!(State::of_code(state.code()), state);
    for mask in 0..8 {
        let renamed = state.swapped(mask);
        assert_eq!(renamed.swapped(mask), state);
        assert_eq!(renamed.canonical(&EQUAL), state.canonical(&EQUAL));
    }
}

#[test]
fn two_notarizations_of_a_member_are_found() {
    let broken: Guard =
        |own, statement, view| guard_notarize(own, statement, view, |own| own.notarize = None);
    assert_eq!(found(with_guard(broken)), "two notarizations in a view");
}

#[test]
fn finalizing_after_nullifying_is_found() {
    let broken: Guard = |own, statement, view| {
        let mut own = own.clone();
        own.nullify = None;
        guard(&own, statement, view)
    };
    assert_eq!(
        found(with_guard(broken)),
        "a finalization beside a nullification"
    );
}

#[test]
fn the_order_of_notarize_and_nullify_changes_no_outcome() {
    let looser: Guard =
        |own, statement, view| guard_notarize(own, statement, view, |own| own.nullify = None);
    let small = Setting {
        honest: [1, 3, 3],
        byzantine: 2,
    };
    let strict = explore(&small, VoteRules::default()).expect("safe");
    let loose = explore(&small, with_guard(looser)).expect("safe");
    assert!(strict.finalized_twice > 0, "{strict:?}");
    assert!(loose.steps > strict.steps, "{loose:?}");
    assert_eq!(loose.states, strict.states);
}

#[test]
fn skipping_views_that_are_not_nullified_is_found() {
    let parent: ParentGuard =
        |standing, view, finalized, _| guard_parent(standing, view, finalized, &|_| true);
    let rules = VoteRules {
        parent,
        ..VoteRules::default()
    };
    assert_eq!(
        found(rules),
        "a notarized block that leaves out a finalized one"
    );
}

#[test]
fn building_on_what_is_not_notarized_is_found() {
    let parent: ParentGuard = |standing, view, finalized, is_nullified| {
        let standing = ParentStanding {
            is_notarized: true,
            ..standing
        };
        guard_parent(standing, view, finalized, is_nullified)
    };
    let rules = VoteRules {
        parent,
        ..VoteRules::default()
    };
    assert_eq!(
        found(rules),
        "a notarized block that leaves out a finalized one"
    );
}
