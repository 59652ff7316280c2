//! What contradicts each other, who is guilty of it, and how large the proof may be.

use crate::fixtures as fixed;
use skerry_types::codec::encode;
use skerry_types::evidence::{Conflict, Evidence, contradict};
use skerry_types::ids::{Digest, MemberIndex, View};
use skerry_types::limits::EVIDENCE_BYTES_MAX;
use skerry_types::vote::Statement;

fn statements(view: u64) -> Vec<Statement> {
    let view = View::new(view);
    let [one, other] = [1, 2].map(|byte| Digest::new([byte; 32]));
    vec![
        Statement::Notarize { view, digest: one },
        Statement::Notarize {
            view,
            digest: other,
        },
        Statement::Nullify { view },
        Statement::Finalize { view, digest: one },
        Statement::Finalize {
            view,
            digest: other,
        },
    ]
}

#[test]
fn statements_of_one_view_contradict_each_other_as_the_protocol_says() {
    // Notarize 1, 2, nullify, finalize 1, 2.
    let table = [
        [false, true, false, false, true],
        [true, false, false, true, false],
        [false, false, false, true, true],
        [false, true, true, false, true],
        [true, false, true, true, false],
    ];
    for (one, row) in statements(3).iter().zip(table) {
        for (other, expected) in statements(3).iter().zip(row) {
            assert_eq!(contradict(one, other), expected, "{one:?} {other:?}");
        }
        for later in statements(4) {
            assert!(!contradict(one, &later), "another view");
        }
    }
}

#[test]
fn order_of_the_sides_is_part_of_the_form() {
    for evidence in [
        fixed::double_vote(),
        fixed::double_certificate(),
        fixed::fork(),
    ] {
        assert!(evidence.is_conflict());
        let conflict = match evidence.conflict.clone() {
            Conflict::Votes { first, second } => Conflict::Votes {
                first: second,
                second: first,
            },
            Conflict::Certificates { first, second } => Conflict::Certificates {
                first: second,
                second: first,
            },
            Conflict::Finals { first, second } => Conflict::Finals {
                first: second,
                second: first,
            },
        };
        let turned = Evidence {
            conflict,
            ..evidence
        };
        assert!(!turned.is_conflict());
    }
}

#[test]
fn guilty_are_the_signers_of_both_sides_of_one_view() {
    let members = 4;
    let of = |evidence: &Evidence| {
        let guilty = evidence.guilty(members).into_iter();
        guilty.map(MemberIndex::get).collect::<Vec<_>>()
    };
    assert_eq!(of(&fixed::double_vote()), [0]);
    assert!(!fixed::double_vote().is_fork());
    let certificates = fixed::double_certificate();
    let signed = match &certificates.conflict {
        Conflict::Certificates { first, .. } => first.signers.members(members),
        _ => None,
    };
    let signed = signed.expect("certificates of four");
    assert_eq!(certificates.guilty(members), signed);
    assert!(!certificates.is_fork(), "one of them is no finalization");
    assert!(fixed::fork().is_fork());
    assert!(of(&fixed::fork()).is_empty(), "two views accuse nobody");
}

#[test]
fn evidence_fits_the_limit() {
    let fork = encode(&fixed::fork()).len();
    assert!(fork * 10 < EVIDENCE_BYTES_MAX, "{fork} bytes");
}
