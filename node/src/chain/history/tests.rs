//! Which votes a log must know, and what a forged claim of one is worth.

use super::*;
use skerry_consensus::log::LogEntry;
use skerry_types::block::{BlockKind, BlockRef, ExecutionResult, ParentVotes, Report};
use skerry_types::certificate::Bitmap;
use skerry_types::codec::Version;
use skerry_types::committee::{Committee, Member};
use skerry_types::crypto::bls::{SecretKey, Signature};
use skerry_types::crypto::scheme::MockScheme;
use skerry_types::ids::{Height, TimeMs, ValidatorId, Weight};
use skerry_types::vote::Vote;

const CHAIN: ChainRef = ChainRef::Beacon;

fn key(number: u8) -> SecretKey {
    SecretKey::from_seed([number + 1; 32])
}

fn committee(epoch: u64) -> VerifyingCommittee {
    let member = |number: u8| Member {
        validator: ValidatorId::new(number.into()),
        public_key: key(number).public_key(),
        weight: Weight::new(1),
    };
    let committee = Committee {
        chain: CHAIN,
        epoch: Epoch::new(epoch),
        members: (0..4).map(member).collect(),
        seats: (0..4).map(MemberIndex::new).collect(),
        seed: Digest::ZERO,
    };
    VerifyingCommittee::new(committee, Digest::ZERO, Digest::ZERO, &MockScheme).expect("good")
}

fn record(epoch: u64, entry: LogEntry) -> VoteRecord {
    VoteRecord {
        version: Version,
        chain: CHAIN,
        epoch: Epoch::new(epoch),
        entry,
    }
}

fn notarize(view: u64) -> Statement {
    Statement::Notarize {
        view: View::new(view),
        digest: Digest::new([9; 32]),
    }
}

fn vote(epoch: u64, view: u64) -> VoteRecord {
    let vote = Vote {
        statement: notarize(view),
        signer: MemberIndex::new(0),
        signature: Signature([0; 96]),
    };
    record(epoch, LogEntry::Vote(vote))
}

/// A block on a parent that these members have notarized, as it says, in a view; those of `truly`
/// have.
fn block(epoch: u64, view: u64, named: &[u16], truly: &[u8]) -> (Header, Body) {
    let committee = committee(epoch);
    let message = notarize(view).signing_digest(committee.instance());
    let signed = truly.iter().map(|it| MockScheme.sign(&key(*it), &message));
    let signed: Vec<Signature> = signed.collect();
    let named = named.iter().map(|it| MemberIndex::new(*it));
    let start = BlockRef {
        height: Height::ZERO,
        digest: Digest::ZERO,
    };
    let header = Header {
        version: Version,
        chain_id: Digest::ZERO,
        chain: CHAIN,
        epoch: Epoch::new(epoch),
        height: Height::new(view + 1),
        view: View::new(view + 1),
        kind: BlockKind::Working,
        parent: Digest::new([9; 32]),
        proposer: MemberIndex::new(1),
        time: TimeMs::ZERO,
        beacon: start,
        body_root: Digest::ZERO,
        report: Report {
            block: start,
            result: ExecutionResult::default(),
        },
        facts_root: Digest::ZERO,
        next: None,
        reveal: None,
    };
    let body = Body {
        parent_votes: Some(ParentVotes {
            view: View::new(view),
            signers: Bitmap::of(named, 4),
            signature: MockScheme.aggregate(&signed).expect("somebody signed"),
        }),
        ..Body::default()
    };
    (header, body)
}

/// What member 0 finds of itself.
fn found(known: &KnownVotes, epoch: u64, blocks: &[(Header, Body)]) -> Option<Statement> {
    let blocks = blocks.iter().map(|(header, body)| (header, body));
    let me = MemberIndex::new(0);
    known.find_foreign(blocks, (&committee(epoch), me), &MockScheme)
}

#[test]
fn a_vote_that_was_never_in_the_log_is_found_and_no_other() {
    let all = |epoch, view| [block(epoch, view, &[0, 1, 2], &[0, 1, 2])];
    let mut known = KnownVotes::of(&[vote(3, 40), vote(3, 41)], CHAIN);
    // In the log, or left out of it when it was compacted.
    for (epoch, view) in [(3, 41), (3, 40), (3, 7), (2, 900)] {
        assert_eq!(found(&known, epoch, &all(epoch, view)), None);
    }
    for (epoch, view) in [(3, 42), (3, 60), (4, 1)] {
        assert_eq!(
            found(&known, epoch, &all(epoch, view)),
            Some(notarize(view))
        );
    }
    let others = [block(3, 42, &[1, 2, 3], &[1, 2, 3])];
    assert_eq!(found(&known, 3, &others), None, "it is not of this key");
    // From its own first vote on, this run knows what it signs.
    known.on_signed(
        Epoch::new(3),
        &Statement::Nullify {
            view: View::new(43),
        },
    );
    assert_eq!(found(&known, 3, &all(3, 50)), Some(notarize(50)));
    known.on_signed(Epoch::new(3), &notarize(50));
    known.on_signed(Epoch::new(3), &notarize(51));
    assert_eq!(found(&known, 3, &all(3, 49)), Some(notarize(49)));
    assert_eq!(found(&known, 3, &all(3, 50)), None);
    assert_eq!(found(&known, 4, &all(4, 2)), None);
}

#[test]
fn floors_cover_what_they_replaced() {
    let floor = record(3, LogEntry::Floor(View::new(60)));
    let known = KnownVotes::of(&[floor], CHAIN);
    let at = |view| [block(3, view, &[0, 1, 2], &[0, 1, 2])];
    assert_eq!(found(&known, 3, &at(59)), None);
    assert_eq!(found(&known, 3, &at(61)), Some(notarize(61)));
    let of_key = record(0, LogEntry::Lost { at: TimeMs::ZERO });
    let other_chain = VoteRecord {
        chain: ChainRef::from_bytes([1, 0, 0]).unwrap_or(CHAIN),
        ..vote(9, 9)
    };
    assert_ne!(other_chain.chain, CHAIN);
    let known = KnownVotes::of(&[of_key, other_chain], CHAIN);
    assert_eq!(known.logged, (Epoch::ZERO, View::ZERO));
}

#[test]
fn a_proposer_that_claims_votes_alarms_nobody() {
    let known = KnownVotes::of(&[vote(3, 41)], CHAIN);
    // Member 0 is named and has not signed.
    let claims: Vec<_> = (42..42 + 9)
        .map(|view| block(3, view, &[0, 1, 2], &[1, 2]))
        .collect();
    assert_eq!(found(&known, 3, &claims), None);
    let mut blocks = claims.clone();
    blocks.push(block(3, 60, &[0, 1, 2], &[0, 1, 2]));
    assert_eq!(found(&known, 3, &blocks), Some(notarize(60)));
    // Of many false claims so many cost a check.
    let (header, mut body) = block(3, 60, &[0, 1, 2], &[0, 1, 2]);
    let many: Vec<_> = claims.iter().cycle().take(CHECKS_MAX).cloned().collect();
    let late = [many, vec![(header.clone(), body.clone())]].concat();
    assert_eq!(found(&known, 3, &late), None);
    body.parent_votes = None;
    assert_eq!(found(&known, 3, &[(header, body)]), None);
}
