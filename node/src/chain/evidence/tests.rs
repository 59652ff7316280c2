//! How much of others' evidence is judged, and for whom.

use super::*;
use skerry_types::crypto::bls::SecretKey;

const START: TimeMs = TimeMs::new(50_000);

fn member(number: u8, connection: u32) -> Accuser {
    let key = SecretKey::from_seed([number; 32]).public_key();
    Accuser::Member(key, Peer(connection))
}

/// Opens as many judgements as there is room for; each is over at once.
fn judged(accusations: &mut Accusations, accuser: &Accuser, now: TimeMs) -> u64 {
    let mut count = 0;
    while accusations.has_room(accuser, now) {
        accusations.look(accuser, now);
        accusations.open(accuser, now);
        accusations.close(accuser);
        count += 1;
        assert!(count < 1_000, "it never ends");
    }
    count
}

#[test]
fn nobody_has_more_judged_than_its_share() {
    let mut accusations = Accusations::default();
    let (one, other) = (member(1, 1), member(2, 2));
    let at_once = judged(&mut accusations, &one, START);
    assert_eq!(at_once, CLAIM_CREDIT_MS / (CLAIM_COST_MS + LOOK_COST_MS));
    // Another connection is the same member, and has used its share; others have theirs.
    assert_eq!(judged(&mut accusations, &member(1, 9), START), 0);
    assert_eq!(judged(&mut accusations, &other, START), at_once);
    let rumours = judged(&mut accusations, &Accuser::Rumour, START);
    assert_eq!(rumours, at_once);
    let mut later = 0;
    for second in 1..=60 {
        let now = START.saturating_add(second * 1_000);
        later += judged(&mut accusations, &one, now);
    }
    assert!((55..=60).contains(&later), "{later} in a minute");
    // What is no news costs little, but not nothing.
    let now = START.saturating_add(10_000_000);
    let mut looks = 0;
    while accusations.has_room(&one, now) {
        accusations.look(&one, now);
        looks += 1;
    }
    assert!((200..=400).contains(&looks), "{looks}");
}

#[test]
fn slots_are_shared() {
    let mut accusations = Accusations::default();
    let mut open = |accuser: &Accuser| {
        let has_room = accusations.has_room(accuser, START);
        if has_room {
            accusations.open(accuser, START);
        }
        has_room
    };
    let (one, other, third) = (member(1, 1), member(2, 2), member(3, 3));
    assert!(open(&one) && open(&one));
    assert!(!open(&one), "of one sender two at once");
    assert!(open(&other) && open(&Accuser::Rumour));
    assert!(!open(&third), "and four of all");
    accusations.close(&one);
    assert!(accusations.has_room(&third, START));
    accusations.close(&Accuser::Own);
    assert_eq!(accusations.own, 0);
}

#[test]
fn what_is_remembered_of_senders_and_refusals_is_bounded() {
    let mut accusations = Accusations::default();
    for number in 0..2_000_u32 {
        accusations.refuse(plain(&number.to_le_bytes()));
        accusations.refuse(plain(&number.to_le_bytes()));
    }
    assert_eq!(accusations.refused.len(), REFUSED_MAX);
    let newest = plain(&1_999_u32.to_le_bytes());
    assert!(accusations.refused.contains(&newest));
    assert!(!accusations.refused.contains(&plain(&0_u32.to_le_bytes())));

    for number in 0..=u8::MAX {
        judged(&mut accusations, &member(number, 0), START);
    }
    judged(&mut accusations, &Accuser::Rumour, START);
    assert_eq!(accusations.rations.len(), SENDERS_MAX);
    let late = START.saturating_add(CLAIM_CREDIT_MS * 2);
    assert!(accusations.has_room(&Accuser::Rumour, late));
    assert!(accusations.rations.is_empty(), "all is paid for");
}
