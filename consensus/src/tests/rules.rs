//! The rules one by one, on a single replica among four of weight 1.

use crate::config::{FAR_HEADERS_MAX, KEEP_HEIGHTS_MAX, Root, Start, TIMEOUT_MS_MAX};
use crate::error::{BuildRefusal, HeaderError, ParentRefusal, Refusal, StartError};
use crate::input::{Certification, Input, Verdict};
use crate::log::{LogEntry, VoteRecord, compact};
use crate::output::{Offence, Output, To};
use crate::replica::Replica;
use crate::rules;
use crate::safety::{OwnVotes, ParentStanding, Voice, guard, guard_parent};
use crate::testing::{
    DELTA_MS, body_root, certificate, committee, config, genesis_start, header, is_proven, keys,
    member, vote,
};
use crate::timers::Pace;
use skerry_types::block::{BlockKind, Header, NextCommittee};
use skerry_types::certificate::Certificate;
use skerry_types::codec::Version;
use skerry_types::committee::{LeaderSchedule, VerifyingCommittee};
use skerry_types::consensus::{ConsensusMessage, FetchReply, FetchRequest, Proposal};
use skerry_types::crypto::bls::{self, PublicKey};
use skerry_types::crypto::scheme::{BlsScheme, MockScheme, VoteScheme};
use skerry_types::evidence::contradict;
use skerry_types::ids::{ChainRef, Digest, Epoch, Height, LogPosition, MemberIndex, TimeMs, View};
use skerry_types::vote::{Statement, Vote};
use std::sync::Arc;

const NOW: TimeMs = TimeMs::new(10_000);
const ALL: [u16; 4] = [0, 1, 2, 3];

fn view(number: u64) -> View {
    View::new(number)
}
fn notarize(number: u64, digest: Digest) -> Statement {
    Statement::Notarize {
        view: view(number),
        digest,
    }
}
fn nullify(number: u64) -> Statement {
    Statement::Nullify { view: view(number) }
}
fn finalize(number: u64, digest: Digest) -> Statement {
    Statement::Finalize {
        view: view(number),
        digest,
    }
}

/// One replica; disk and signature checks answer at once, the rest is the test's.
struct Solo {
    committee: Arc<VerifyingCommittee>,
    replica: Replica,
    me: u16,
    now: TimeMs,
    log: Vec<VoteRecord>,
    disk_works: bool,
}

impl Solo {
    /// The member that leads view `leads` (1 to 4), and so none of the other three.
    fn leading(leads: u64) -> Self {
        let committee = committee(&[1; 4], &MockScheme);
        let me = LeaderSchedule::new(committee.committee())
            .leader(view(leads))
            .unwrap();
        Self::start(committee, me, genesis_start()).0
    }

    fn start(
        committee: Arc<VerifyingCommittee>,
        me: MemberIndex,
        start: Start,
    ) -> (Self, Vec<Output>) {
        let log = start.log.clone();
        let replica = Replica::new(config(&committee, me, Arc::new(MockScheme)), start).unwrap();
        let mut solo = Self {
            committee,
            replica,
            me: me.get(),
            now: NOW,
            log,
            disk_works: true,
        };
        let out = solo.step(Input::Tick);
        (solo, out)
    }

    fn restart(&self) -> (Self, Vec<Output>) {
        let start = Start {
            root: Root::Genesis,
            log: self.log.clone(),
            blocks: Vec::new(),
            voice: Voice::Speaks,
        };
        Self::start(Arc::clone(&self.committee), member(self.me), start)
    }

    fn step(&mut self, input: Input) -> Vec<Output> {
        let (mut all, mut inputs) = (Vec::new(), vec![input]);
        while let Some(input) = inputs.pop() {
            let mut out = Vec::new();
            self.replica.step(self.now, input, &mut out);
            for output in &out {
                match output {
                    Output::Persist { position, record } => {
                        self.log.push(VoteRecord::clone(record));
                        if self.disk_works {
                            inputs.push(Input::Durable(*position));
                        }
                    }
                    Output::Check(job) => {
                        let result = job.clone().run(&MockScheme, &self.committee);
                        inputs.push(Input::Checked(result));
                    }
                    _ => {}
                }
            }
            all.append(&mut out);
        }
        all
    }

    fn tell(&mut self, from: u16, message: ConsensusMessage) -> Vec<Output> {
        self.step(Input::Message {
            from: member(from),
            message: Box::new(message),
        })
    }

    fn tell_vote(&mut self, from: u16, statement: Statement) -> Vec<Output> {
        let vote = vote(&self.committee, from, statement);
        self.tell(from, ConsensusMessage::Vote(vote))
    }

    fn others(&self) -> Vec<u16> {
        ALL.into_iter().filter(|index| *index != self.me).collect()
    }

    fn certificate(&self, statement: Statement) -> Certificate {
        certificate(&self.committee, &self.others(), statement)
    }

    fn tell_certificate(&mut self, statement: Statement) -> Vec<Output> {
        let certificate = self.certificate(statement);
        let from = self.others()[0];
        self.tell(from, ConsensusMessage::Certificate(certificate))
    }

    fn leader(&self, number: u64) -> u16 {
        LeaderSchedule::new(self.committee.committee())
            .leader(view(number))
            .unwrap()
            .get()
    }

    fn genesis(&self) -> Digest {
        self.committee.instance().genesis
    }

    fn header(&self, number: u64, height: u64, parent: Digest) -> Header {
        let time = NOW.saturating_add(height);
        header(
            &self.committee,
            view(number),
            Height::new(height),
            parent,
            time,
            &[1],
        )
    }

    fn first(&self, number: u64) -> Header {
        self.header(number, 1, self.genesis())
    }

    fn propose(&mut self, number: u64, header: &Header, parent: Option<Statement>) -> Vec<Output> {
        let leader = self.leader(number);
        let proposal = self.proposal(number, header, parent);
        self.tell(leader, ConsensusMessage::Proposal(Box::new(proposal)))
    }

    fn proposal(&self, number: u64, header: &Header, parent: Option<Statement>) -> Proposal {
        let statement = notarize(number, header.digest());
        Proposal {
            view: view(number),
            header: header.clone(),
            body: if header.kind == BlockKind::Working {
                vec![1]
            } else {
                Vec::new()
            },
            parent: parent.map(|statement| self.certificate(statement)),
            finalization: None,
            signature: vote(&self.committee, self.leader(number), statement).signature,
        }
    }

    fn verified(&mut self, number: u64, header: &Header, verdict: Verdict) -> Vec<Output> {
        let digest = header.digest();
        self.step(Input::Verified {
            view: view(number),
            digest,
            verdict,
        })
    }

    fn certified(&mut self, header: &Header) -> Vec<Output> {
        let outcome = Certification::Durable;
        self.step(Input::Certified {
            digest: header.digest(),
            outcome,
        })
    }

    /// Proposes, notarizes and certifies `header`: the next view is entered.
    fn certify(&mut self, number: u64, header: &Header, parent: Option<Statement>) -> Vec<Output> {
        self.propose(number, header, parent);
        self.tell_certificate(notarize(number, header.digest()));
        // What this replica led itself comes from another.
        let reply = FetchReply {
            certificates: Vec::new(),
            block: Some((header.clone(), vec![1])),
        };
        self.tell(self.others()[0], ConsensusMessage::Reply(Box::new(reply)));
        self.certified(header)
    }

    fn view(&self) -> u64 {
        self.replica.status().view.get()
    }
}

fn cast(out: &[Output]) -> Vec<Statement> {
    let statement = |output: &Output| match output {
        Output::Send {
            to: To::All,
            message,
            ..
        } => match &**message {
            ConsensusMessage::Vote(vote) => Some(vote.statement),
            ConsensusMessage::Proposal(proposal) => Some(Statement::Notarize {
                view: proposal.view,
                digest: proposal.header.digest(),
            }),
            _ => None,
        },
        _ => None,
    };
    out.iter().filter_map(statement).collect()
}

fn requests(out: &[Output]) -> Vec<(MemberIndex, FetchRequest)> {
    let request = |output: &Output| match output {
        Output::Send {
            to: To::One(to),
            message,
            ..
        } => match &**message {
            ConsensusMessage::Request(request) => Some((*to, request.clone())),
            _ => None,
        },
        _ => None,
    };
    out.iter().filter_map(request).collect()
}

fn published(out: &[Output]) -> Vec<Certificate> {
    let certificate = |output: &Output| match output {
        Output::Send {
            to: To::All,
            message,
            ..
        } => match &**message {
            ConsensusMessage::Certificate(certificate) => Some(certificate.clone()),
            _ => None,
        },
        _ => None,
    };
    out.iter().filter_map(certificate).collect()
}

fn asks_to_verify(out: &[Output]) -> bool {
    out.iter()
        .any(|output| matches!(output, Output::Verify { .. }))
}

#[test]
fn leaders_first_proposal_is_notarized_once_the_glue_finds_it_valid() {
    let mut solo = Solo::leading(4);
    let block = solo.first(1);
    let out = solo.propose(1, &block, None);
    assert!(asks_to_verify(&out) && cast(&out).is_empty());
    assert_eq!(
        cast(&solo.verified(1, &block, Verdict::Valid)),
        [notarize(1, block.digest())]
    );
    assert!(
        cast(&solo.verified(1, &block, Verdict::Valid)).is_empty(),
        "once"
    );
}

#[test]
fn invalid_proposal_nullifies_at_once() {
    let mut solo = Solo::leading(4);
    let block = solo.first(1);
    solo.propose(1, &block, None);
    assert_eq!(
        cast(&solo.verified(1, &block, Verdict::Invalid)),
        [nullify(1)]
    );
    assert!(
        cast(&solo.verified(1, &block, Verdict::Valid)).is_empty(),
        "for good"
    );
}

#[test]
fn headers_that_break_a_rule_nullify_without_being_verified() {
    let solo = Solo::leading(4);
    let good = solo.first(1);
    let cases: Vec<(&str, Header)> = vec![
        (
            "network",
            Header {
                chain_id: Digest::ZERO,
                ..good.clone()
            },
        ),
        (
            "epoch",
            Header {
                epoch: Epoch::new(1),
                ..good.clone()
            },
        ),
        (
            "view",
            Header {
                view: view(2),
                ..good.clone()
            },
        ),
        (
            "proposer",
            Header {
                proposer: member(solo.me),
                ..good.clone()
            },
        ),
        (
            "height",
            Header {
                height: Height::new(2),
                ..good.clone()
            },
        ),
        (
            "time",
            Header {
                time: TimeMs::ZERO,
                ..good.clone()
            },
        ),
        (
            "parent",
            Header {
                parent: Digest::ZERO,
                ..good.clone()
            },
        ),
        (
            "next",
            Header {
                next: Some(next_committee()),
                ..good.clone()
            },
        ),
        (
            "idle with a body root",
            Header {
                kind: BlockKind::Idle,
                ..good.clone()
            },
        ),
        (
            "chain",
            Header {
                chain: ChainRef::from_bytes([1, 0, 0]).unwrap(),
                ..good
            },
        ),
    ];
    for (rule, block) in cases {
        let mut solo = Solo::leading(4);
        let out = solo.propose(1, &block, None);
        assert!(!asks_to_verify(&out), "{rule}");
        assert_eq!(cast(&out), [nullify(1)], "{rule}");
    }
}

fn next_committee() -> NextCommittee {
    NextCommittee {
        epoch: Epoch::new(1),
        root: Digest::ZERO,
        weight: 4,
    }
}

#[test]
fn proposal_of_another_than_the_leader_counts_for_nothing() {
    let mut solo = Solo::leading(4);
    let block = solo.first(1);
    let proposal = solo.proposal(1, &block, None);
    let other = solo.leader(2);
    let out = solo.tell(other, ConsensusMessage::Proposal(Box::new(proposal)));
    let offence = Offence::BadProposal;
    assert_eq!(
        out,
        [Output::Misbehaved {
            member: member(other),
            offence
        }]
    );
}

#[test]
fn second_block_of_a_leader_is_evidence_and_none_is_finalized() {
    let mut solo = Solo::leading(4);
    let (block, other) = (
        solo.first(1),
        Header {
            time: NOW,
            ..solo.first(1)
        },
    );
    solo.propose(1, &block, None);
    solo.verified(1, &block, Verdict::Valid);
    let out = solo.propose(1, &other, None);
    let fault = out.iter().find_map(|output| match output {
        Output::Fault(evidence) => Some(evidence),
        _ => None,
    });
    let evidence = fault.expect("two blocks were signed");
    let signer = evidence.signer().map(MemberIndex::get);
    assert_eq!(signer, Some(solo.leader(1)));
    assert!(is_proven(evidence, &solo.committee));
    solo.tell_certificate(notarize(1, block.digest()));
    assert!(cast(&solo.certified(&block)).is_empty());
    assert_eq!(solo.view(), 2, "the notarization still opens the next view");
}

#[test]
fn certificates_that_contradict_each_other_are_evidence_once() {
    let mut solo = Solo::leading(4);
    let block = solo.first(1);
    solo.propose(1, &block, None);
    solo.tell_certificate(notarize(1, block.digest()));
    let faults = |out: Vec<Output>| {
        let faults = out.into_iter().filter_map(|output| match output {
            Output::Fault(evidence) => Some(evidence),
            _ => None,
        });
        faults.collect::<Vec<_>>()
    };
    let other = solo.tell_certificate(notarize(1, Digest::ZERO));
    let found = faults(other);
    let [evidence] = found.as_slice() else {
        panic!("{found:?}");
    };
    assert!(is_proven(evidence, &solo.committee));
    assert_eq!(evidence.guilty(4).len(), 3, "a quorum signed each");
    assert!(!evidence.is_fork(), "nothing is final yet");
    let again = solo.tell_certificate(notarize(1, Digest::ZERO));
    assert_eq!(faults(again), []);
    let nullified = solo.tell_certificate(Statement::Nullify { view: View::new(1) });
    assert_eq!(
        faults(nullified),
        [],
        "beside a notarization that is honest"
    );
}

#[test]
fn forged_second_vote_is_no_evidence() {
    let mut solo = Solo::leading(4);
    let block = solo.first(1);
    solo.propose(1, &block, None);
    let mut forged = vote(&solo.committee, solo.leader(1), notarize(1, Digest::ZERO));
    forged.signature.0[0] ^= 1;
    let out = solo.tell(forged.signer.get(), ConsensusMessage::Vote(forged));
    assert!(!out.iter().any(|output| matches!(output, Output::Fault(_))));
}

#[test]
fn certified_notarization_finalizes_and_opens_the_next_view() {
    let mut solo = Solo::leading(4);
    let block = solo.first(1);
    solo.propose(1, &block, None);
    let out = solo.tell_certificate(notarize(1, block.digest()));
    assert!(out.contains(&Output::Certify {
        digest: block.digest()
    }));
    assert!(
        cast(&out).is_empty() && solo.view() == 1,
        "not before the bytes are durable"
    );
    assert_eq!(cast(&solo.certified(&block)), [finalize(1, block.digest())]);
    assert_eq!(solo.view(), 2, "without an own notarize");
}

#[test]
fn certification_after_nullification_still_counts_but_finalizes_nothing() {
    let mut solo = Solo::leading(4);
    let block = solo.first(1);
    solo.propose(1, &block, None);
    solo.now = NOW.saturating_add(5 * DELTA_MS);
    assert_eq!(cast(&solo.step(Input::Tick)), [nullify(1)]);
    solo.tell_certificate(nullify(1));
    assert_eq!(solo.view(), 2);
    let out = solo.tell_certificate(notarize(1, block.digest()));
    assert!(out.contains(&Output::Certify {
        digest: block.digest()
    }));
    assert!(cast(&solo.certified(&block)).is_empty());
    let child = solo.header(2, 2, block.digest());
    let out = solo.propose(2, &child, Some(notarize(1, block.digest())));
    assert!(asks_to_verify(&out), "it can be built on");
}

#[test]
fn block_certified_after_its_views_nullification_is_a_parent() {
    let mut solo = Solo::leading(3);
    let block = solo.first(1);
    solo.propose(1, &block, None);
    solo.tell_certificate(notarize(1, block.digest()));
    solo.tell_certificate(nullify(1));
    assert_eq!(solo.view(), 2, "before the bytes were durable");
    solo.certified(&block);
    let out = solo.tell_certificate(nullify(2));
    let on_block = |output: &Output| {
        matches!(output, Output::Build { parent, .. }
        if parent.digest == block.digest() && parent.view == view(1))
    };
    assert!(out.iter().any(on_block));
}

#[test]
fn own_vote_counts_once_durable() {
    let mut solo = Solo::leading(4);
    solo.disk_works = false;
    let block = solo.first(1);
    solo.propose(1, &block, None);
    solo.verified(1, &block, Verdict::Valid);
    let follower = solo
        .others()
        .into_iter()
        .find(|index| *index != solo.leader(1))
        .unwrap();
    let out = solo.tell_vote(follower, notarize(1, block.digest()));
    assert!(
        published(&out).is_empty(),
        "two votes and one that is not durable"
    );
    let out = solo.step(Input::Durable(LogPosition::new(1)));
    let certificates = published(&out);
    assert_eq!(certificates.len(), 1, "formed and told to all, once");
    assert!(certificates[0].verify(&solo.committee, &MockScheme).is_ok());
}

#[test]
fn proposal_ahead_of_the_clock_waits() {
    let mut solo = Solo::leading(4);
    let block = Header {
        time: NOW.saturating_add(501),
        ..solo.first(1)
    };
    assert!(!asks_to_verify(&solo.propose(1, &block, None)));
    assert_eq!(solo.replica.deadline(), Some(NOW.next()));
    solo.now = NOW.next();
    assert!(asks_to_verify(&solo.step(Input::Tick)));
    let mut solo = Solo::leading(4);
    let block = Header {
        time: NOW.saturating_add(500),
        ..block
    };
    assert!(asks_to_verify(&solo.propose(1, &block, None)));
}

#[test]
fn proposal_waits_for_the_nullifications_between() {
    let mut solo = Solo::leading(4);
    solo.tell_certificate(nullify(2));
    assert_eq!(solo.view(), 3, "certificates are taken from any view ahead");
    let block = solo.first(3);
    let out = solo.propose(3, &block, None);
    let leader = member(solo.leader(3));
    assert!(!asks_to_verify(&out));
    assert_eq!(requests(&out), [(leader, FetchRequest::View(view(1)))]);
    solo.now = NOW.saturating_add(DELTA_MS);
    let again = requests(&solo.step(Input::Tick));
    assert!(
        matches!(again.as_slice(), [(_, FetchRequest::View(_))]),
        "asked again: {again:?}"
    );
    assert!(asks_to_verify(&solo.tell_certificate(nullify(1))));
}

#[test]
fn split_parents_resolve_from_notarization_to_nullification() {
    let mut solo = Solo::leading(4);
    let block = solo.first(1);
    solo.certify(1, &block, None);
    let other = solo.first(2);
    let out = solo.propose(2, &other, None);
    assert_eq!(
        requests(&out),
        [(member(solo.leader(2)), FetchRequest::View(view(1)))]
    );
    let certificates = vec![solo.certificate(nullify(1))];
    let reply = FetchReply {
        certificates,
        block: None,
    };
    let out = solo.tell(solo.leader(2), ConsensusMessage::Reply(Box::new(reply)));
    assert!(asks_to_verify(&out));
    assert_eq!(
        cast(&solo.verified(2, &other, Verdict::Valid)),
        [notarize(2, other.digest())]
    );
}

#[test]
fn split_parents_resolve_from_nullification_to_notarization() {
    let mut solo = Solo::leading(4);
    let block = solo.first(1);
    solo.tell_certificate(nullify(1));
    let child = solo.header(2, 2, block.digest());
    let out = solo.propose(2, &child, Some(notarize(1, block.digest())));
    let request = FetchRequest::Block(block.digest());
    assert_eq!(
        requests(&out).last().map(|(_, request)| request.clone()),
        Some(request)
    );
    let reply = FetchReply {
        certificates: Vec::new(),
        block: Some((block.clone(), vec![1])),
    };
    let out = solo.tell(solo.leader(2), ConsensusMessage::Reply(Box::new(reply)));
    assert!(out.contains(&Output::Certify {
        digest: block.digest()
    }));
    assert!(asks_to_verify(&solo.certified(&block)));
}

#[test]
fn worthless_answer_makes_the_next_member_be_asked() {
    let mut solo = Solo::leading(4);
    let block = solo.first(1);
    let digest = block.digest();
    let out = solo.tell_certificate(notarize(1, digest));
    let (first, _) = requests(&out)[0].clone();
    let reply = FetchReply {
        certificates: Vec::new(),
        block: Some((block, vec![9])),
    };
    solo.tell(first.get(), ConsensusMessage::Reply(Box::new(reply)));
    solo.now = NOW.saturating_add(DELTA_MS);
    let out = solo.step(Input::Certified {
        digest,
        outcome: Certification::Missing,
    });
    let (second, _) = requests(&out)[0].clone();
    assert_ne!(first, second);
}

#[test]
fn proposal_below_a_final_view_is_refused() {
    let mut solo = Solo::leading(4);
    let block = solo.first(1);
    solo.certify(1, &block, None);
    solo.tell_certificate(finalize(1, block.digest()));
    let stale = solo.first(2);
    assert_eq!(cast(&solo.propose(2, &stale, None)), [nullify(2)]);
}

#[test]
fn proposal_with_a_false_certificate_is_refused() {
    let mut solo = Solo::leading(4);
    solo.tell_certificate(nullify(1));
    let block = solo.header(2, 2, Digest::new([5; 32]));
    let mut proposal = solo.proposal(2, &block, Some(notarize(1, Digest::new([5; 32]))));
    proposal.parent.as_mut().unwrap().signature.0[0] ^= 1;
    let out = solo.tell(
        solo.leader(2),
        ConsensusMessage::Proposal(Box::new(proposal)),
    );
    assert_eq!(cast(&out), [nullify(2)]);
}

#[test]
fn false_certificate_hides_no_true_one() {
    let mut solo = Solo::leading(4);
    let good = solo.certificate(nullify(1));
    let mut bad = good.clone();
    bad.signature.0[0] ^= 1;
    let mut out = Vec::new();
    let message = |certificate| Box::new(ConsensusMessage::Certificate(certificate));
    let [one, two, three] = solo.others()[..] else {
        panic!("three others")
    };
    for (from, certificate) in [(one, bad), (two, good.clone()), (three, good)] {
        let input = Input::Message {
            from: member(from),
            message: message(certificate),
        };
        solo.replica.step(NOW, input, &mut out);
    }
    let jobs: Vec<_> = out
        .iter()
        .filter(|output| matches!(output, Output::Check(_)))
        .collect();
    assert_eq!(jobs.len(), 1, "copies are parked");
    let Output::Check(job) = jobs[0].clone() else {
        panic!("a check")
    };
    let out = solo.step(Input::Checked(job.run(&MockScheme, &solo.committee)));
    assert!(out.contains(&Output::Misbehaved {
        member: member(one),
        offence: Offence::BadCertificate
    }));
    assert_eq!(solo.view(), 2);
}

#[test]
fn views_never_go_back() {
    let mut solo = Solo::leading(4);
    solo.tell_certificate(nullify(9));
    assert_eq!(solo.view(), 10);
    solo.tell_certificate(nullify(3));
    assert_eq!(solo.view(), 10);
}

#[test]
fn timers_nullify_the_silent_leader_and_the_uncertified_view() {
    let leader_ms = 2 * DELTA_MS;
    let mut solo = Solo::leading(4);
    assert_eq!(solo.replica.deadline(), Some(NOW.saturating_add(leader_ms)));
    solo.now = NOW.saturating_add(leader_ms - 1);
    assert!(cast(&solo.step(Input::Tick)).is_empty());
    solo.now = NOW.saturating_add(leader_ms);
    assert_eq!(cast(&solo.step(Input::Tick)), [nullify(1)]);
    assert_eq!(
        solo.replica.status().members[usize::from(solo.leader(1))].timeouts,
        1
    );

    let mut solo = Solo::leading(4);
    let block = solo.first(1);
    solo.propose(1, &block, None);
    assert_eq!(
        solo.replica.deadline(),
        Some(NOW.saturating_add(leader_ms + DELTA_MS))
    );
    solo.tell_certificate(notarize(1, block.digest()));
    solo.now = NOW.saturating_add(leader_ms + DELTA_MS);
    assert_eq!(
        cast(&solo.step(Input::Tick)),
        [nullify(1)],
        "armed through the notarization"
    );
}

#[test]
fn standstill_repeats_votes_and_what_opened_the_view() {
    let mut solo = Solo::leading(4);
    solo.tell_certificate(nullify(1));
    for _ in 0..3 {
        solo.now = solo.replica.deadline().unwrap();
        let out = solo.step(Input::Tick);
        assert_eq!(cast(&out), [nullify(2)]);
    }
    solo.now = solo.replica.deadline().unwrap();
    let out = solo.step(Input::Tick);
    assert_eq!(
        published(&out).first().map(|c| c.statement),
        Some(nullify(1))
    );
}

#[test]
fn timers_grow_by_a_quarter_for_each_timeout_after_the_third() {
    let pace = |timeouts| Pace {
        delta_ms: 500,
        timeouts,
    };
    let cases = [
        (0, 1_000),
        (3, 1_000),
        (4, 1_250),
        (5, 1_562),
        (6, 1_952),
        (200, TIMEOUT_MS_MAX),
    ];
    for (timeouts, expected) in cases {
        assert_eq!(pace(timeouts).leader_ms(), expected, "{timeouts} timeouts");
    }
    assert_eq!(pace(0).certify_ms(), 1_500);
}

#[test]
fn views_given_up_at_once_let_no_timer_grow() {
    let mut solo = Solo::leading(3);
    let first = solo.replica.pace().leader_ms();
    for number in 1..=20 {
        solo.tell_certificate(nullify(number));
    }
    assert_eq!(solo.replica.pace().leader_ms(), first);
    // Views that time out count, each once, until something is final.
    for timeouts in 1..=6 {
        solo.now = solo.replica.deadline().unwrap();
        solo.step(Input::Tick);
        assert_eq!(solo.replica.timeouts, timeouts);
        solo.tell_certificate(nullify(20 + timeouts));
    }
    assert!(solo.replica.pace().leader_ms() > first);
    let block = solo.first(30);
    solo.certify(30, &block, None);
    solo.tell_certificate(finalize(30, block.digest()));
    assert_eq!(solo.replica.timeouts, 0);
    assert_eq!(solo.replica.pace().leader_ms(), first);
}

#[test]
fn leader_builds_on_the_highest_certified_view() {
    let mut solo = Solo::leading(3);
    let block = solo.first(1);
    solo.certify(1, &block, None);
    let out = solo.tell_certificate(nullify(2));
    let parent = out.iter().find_map(|output| match output {
        Output::Build {
            parent, idle_only, ..
        } => Some((parent.digest, parent.view, *idle_only)),
        _ => None,
    });
    assert_eq!(parent, Some((block.digest(), view(1), false)));
    let child = solo.header(3, 2, block.digest());
    let built = |header: &Header| Input::Built {
        view: view(3),
        header: Box::new(header.clone()),
        body: vec![1],
    };
    assert_eq!(
        cast(&solo.step(built(&child))),
        [notarize(3, child.digest())]
    );
    assert!(solo.step(built(&child)).is_empty(), "one proposal per view");
}

#[test]
fn leader_without_the_gap_asks_for_it_first() {
    let mut solo = Solo::leading(3);
    let out = solo.tell_certificate(nullify(2));
    let builds = |out: &[Output]| out.iter().any(|o| matches!(o, Output::Build { .. }));
    assert!(!builds(&out));
    assert!(matches!(requests(&out).as_slice(), [(_, FetchRequest::View(at))] if *at == view(1)));
    assert!(builds(&solo.tell_certificate(nullify(1))));
}

#[test]
fn leader_that_cannot_build_nullifies_at_once() {
    let mut solo = Solo::leading(1);
    let reason = BuildRefusal::Unready;
    assert_eq!(
        cast(&solo.step(Input::CannotBuild {
            view: view(1),
            reason
        })),
        [nullify(1)]
    );
    let mut solo = Solo::leading(1);
    let wrong = Header {
        height: Height::new(7),
        ..solo.first(1)
    };
    let out = solo.step(Input::Built {
        view: view(1),
        header: Box::new(wrong),
        body: vec![1],
    });
    let (expected, actual) = (Height::new(1), Height::new(7));
    let error = HeaderError::Height { expected, actual };
    assert!(out.contains(&Output::BuildRefused {
        view: view(1),
        error
    }));
    assert_eq!(cast(&out), [nullify(1)]);
}

#[test]
fn working_blocks_stay_within_sixteen_heights_of_the_carried_finalization() {
    let solo = Solo::leading(4);
    let at = |height| solo.header(1, height, Digest::ZERO);
    assert!(rules::check_ahead(&at(20), Height::new(4)).is_ok());
    let error = HeaderError::WorkingAhead {
        finalized: Height::new(4),
        actual: Height::new(21),
    };
    assert_eq!(rules::check_ahead(&at(21), Height::new(4)), Err(error));
    let idle = Header {
        kind: BlockKind::Idle,
        ..at(21)
    };
    assert!(rules::check_ahead(&idle, Height::new(4)).is_ok());
}

#[test]
fn working_block_too_far_ahead_is_nullified_and_an_idle_one_is_not() {
    for kind in [BlockKind::Working, BlockKind::Idle] {
        let leads = (1..=4).find(|leads| {
            let solo = Solo::leading(*leads);
            solo.me != solo.leader(17)
        });
        let mut solo = Solo::leading(leads.unwrap());
        let mut parent = (solo.genesis(), None);
        for number in 1..=16 {
            let block = solo.header(number, number, parent.0);
            solo.certify(number, &block, parent.1);
            parent = (block.digest(), Some(notarize(number, block.digest())));
        }
        assert_eq!(solo.view(), 17);
        let root = if kind == BlockKind::Idle {
            Digest::ZERO
        } else {
            body_root(&[1])
        };
        let block = Header {
            kind,
            body_root: root,
            ..solo.header(17, 17, parent.0)
        };
        let out = solo.propose(17, &block, parent.1);
        assert_eq!(asks_to_verify(&out), kind == BlockKind::Idle);
    }
}

#[test]
fn finalization_finalizes_missing_ancestors_in_order() {
    let mut solo = Solo::leading(4);
    let first = solo.first(1);
    let second = solo.header(2, 2, first.digest());
    let out = solo.tell_certificate(finalize(2, second.digest()));
    assert_eq!(solo.view(), 3, "the view is entered at once");
    let answer = |solo: &mut Solo, block: &Header| {
        let reply = FetchReply {
            certificates: Vec::new(),
            block: Some((block.clone(), vec![1])),
        };
        solo.tell(solo.others()[0], ConsensusMessage::Reply(Box::new(reply)))
    };
    assert_eq!(requests(&out)[0].1, FetchRequest::Block(second.digest()));
    let out = answer(&mut solo, &second);
    assert_eq!(requests(&out)[0].1, FetchRequest::Block(first.digest()));
    answer(&mut solo, &first);
    assert!(
        !solo
            .certified(&second)
            .iter()
            .any(|o| matches!(o, Output::Finalized { .. }))
    );
    let certificate = solo.certificate(finalize(2, second.digest()));
    let headers = vec![first.clone(), second];
    assert!(solo.certified(&first).contains(&Output::Finalized {
        headers,
        certificate
    }));
}

#[test]
fn late_finalize_votes_count() {
    let mut solo = Solo::leading(4);
    let block = solo.first(1);
    solo.certify(1, &block, None);
    solo.tell_certificate(nullify(2));
    solo.tell_certificate(nullify(3));
    let others = solo.others();
    solo.tell_vote(others[0], finalize(1, block.digest()));
    let out = solo.tell_vote(others[1], finalize(1, block.digest()));
    assert!(
        out.iter()
            .any(|output| matches!(output, Output::Finalized { .. }))
    );
}

#[test]
fn parent_must_be_final_or_notarized_with_nothing_open_between() {
    let standing = |base: u64, is_final, is_notarized| ParentStanding {
        base: view(base),
        is_final,
        is_notarized,
    };
    let refused = |parent, finalized: u64| {
        // Views 3 and 4 are nullified.
        let is_nullified = |at: View| (3..=4).contains(&at.get());
        guard_parent(parent, view(5), view(finalized), &is_nullified).err()
    };
    assert_eq!(refused(standing(2, false, true), 1), None);
    assert_eq!(refused(standing(2, true, false), 2), None);
    let open = ParentRefusal::Gap { view: view(2) };
    assert_eq!(refused(standing(1, true, false), 1), Some(open));
    let unknown = ParentRefusal::NotNotarized { base: view(3) };
    assert_eq!(refused(standing(3, false, false), 2), Some(unknown));
    for (base, finalized) in [(2, 2), (2, 3)] {
        let beside = ParentRefusal::NotAboveFinal {
            base: view(base),
            finalized: view(finalized),
        };
        assert_eq!(
            refused(standing(base, false, true), finalized),
            Some(beside)
        );
    }
    for base in [5, 6] {
        let above = ParentRefusal::NotBelow {
            base: view(base),
            view: view(5),
        };
        assert_eq!(refused(standing(base, false, true), 2), Some(above));
    }
}

#[test]
fn guard_allows_what_agrees_and_forbids_the_rest() {
    let committee = committee(&[1; 4], &MockScheme);
    let (a, b) = (Digest::new([1; 32]), Digest::new([2; 32]));
    let own = |statement: Option<Statement>| {
        let mut own = OwnVotes::default();
        if let Some(statement) = statement {
            let vote = Some(vote(&committee, 0, statement));
            match statement {
                Statement::Notarize { .. } => own.notarize = vote,
                Statement::Nullify { .. } => own.nullify = vote,
                Statement::Finalize { .. } => own.finalize = vote,
            }
        }
        own
    };
    let notarized = Err(Refusal::Notarized { digest: a });
    let finalized = Err(Refusal::Finalized { digest: a });
    let late = Err(Refusal::NotCurrent {
        view: view(5),
        current: view(6),
    });
    let cases: Vec<(Option<Statement>, Statement, u64, Result<(), Refusal>)> = vec![
        (None, notarize(5, a), 5, Ok(())),
        (None, nullify(5), 5, Ok(())),
        (None, finalize(5, a), 6, Ok(())),
        (None, notarize(5, a), 6, late),
        (None, nullify(5), 6, late),
        (Some(notarize(5, a)), notarize(5, b), 5, notarized),
        (Some(notarize(5, a)), notarize(5, a), 5, notarized),
        (Some(notarize(5, a)), nullify(5), 5, Ok(())),
        (Some(notarize(5, a)), finalize(5, a), 6, Ok(())),
        (Some(notarize(5, a)), finalize(5, b), 6, notarized),
        (Some(nullify(5)), notarize(5, a), 5, Err(Refusal::Nullified)),
        (Some(nullify(5)), finalize(5, a), 6, Err(Refusal::Nullified)),
        (Some(finalize(5, a)), nullify(5), 5, finalized),
        (Some(finalize(5, a)), notarize(5, b), 5, finalized),
        (Some(finalize(5, a)), finalize(5, b), 6, finalized),
    ];
    for (cast, statement, current, expected) in cases {
        let actual = guard(&own(cast), &statement, view(current));
        assert_eq!(actual, expected, "{cast:?} then {statement:?}");
        let contradicts = cast.is_some_and(|earlier| contradict(&earlier, &statement));
        assert!(
            actual.is_err() || !contradicts,
            "nothing allowed is evidence"
        );
    }
}

#[test]
fn restart_signs_nothing_that_contradicts_the_log() {
    let mut solo = Solo::leading(4);
    let (block, other) = (
        solo.first(1),
        Header {
            time: NOW,
            ..solo.first(1)
        },
    );
    solo.propose(1, &block, None);
    solo.verified(1, &block, Verdict::Valid);
    let (mut solo, out) = solo.restart();
    assert_eq!(
        cast(&out),
        [notarize(1, block.digest())],
        "own votes are sent again"
    );
    assert!(solo.replica.deadline().is_some(), "timers are armed");
    solo.propose(1, &other, None);
    assert!(cast(&solo.verified(1, &other, Verdict::Valid)).is_empty());
    let leader = solo.leader(1);
    let followers: Vec<u16> = solo
        .others()
        .into_iter()
        .filter(|index| *index != leader)
        .collect();
    solo.tell_vote(followers[0], notarize(1, block.digest()));
    let out = solo.tell_vote(followers[1], notarize(1, block.digest()));
    assert!(!published(&out).is_empty(), "and count again");
}

#[test]
fn restart_after_nullify_neither_notarizes_nor_stalls() {
    let mut solo = Solo::leading(4);
    solo.now = NOW.saturating_add(1_000);
    solo.step(Input::Tick);
    let (mut solo, out) = solo.restart();
    assert_eq!(cast(&out), [nullify(1)]);
    let block = solo.first(1);
    solo.propose(1, &block, None);
    assert!(cast(&solo.verified(1, &block, Verdict::Valid)).is_empty());
    solo.now = solo.replica.deadline().unwrap();
    assert_eq!(cast(&solo.step(Input::Tick)), [nullify(1)]);
}

#[test]
fn restart_proposes_where_nothing_was_voted_and_nowhere_else() {
    let asked = |out: &[Output]| {
        out.iter()
            .any(|output| matches!(output, Output::Build { .. }))
    };
    let mut solo = Solo::leading(3);
    solo.tell_certificate(nullify(1));
    assert!(asked(&solo.tell_certificate(nullify(2))));
    let (mut solo, out) = solo.restart();
    assert_eq!(solo.view(), 3, "the certificates of the log are believed");
    assert!(asked(&out), "no proposal left without a vote");
    let header = solo.first(3);
    let out = solo.step(Input::Built {
        view: view(3),
        header: Box::new(header.clone()),
        body: vec![1],
    });
    assert_eq!(cast(&out), [notarize(3, header.digest())]);
    let (solo, out) = solo.restart();
    assert_eq!(solo.view(), 3);
    assert!(!asked(&out), "a proposal may have left");
}

#[test]
fn a_vote_of_the_own_key_that_is_not_the_own_ends_voting() {
    let mut solo = Solo::leading(4);
    let own = solo.me;
    let others = solo.others();
    let with_me = |solo: &Solo, statement| {
        certificate(&solo.committee, &[own, others[0], others[1]], statement)
    };
    // What was signed here is known again.
    solo.now = solo.replica.deadline().unwrap();
    assert_eq!(cast(&solo.step(Input::Tick)), [nullify(1)]);
    let mine = with_me(&solo, nullify(1));
    let out = solo.tell(others[0], ConsensusMessage::Certificate(mine));
    assert!(
        !out.iter()
            .any(|output| matches!(output, Output::SignedElsewhere { .. }))
    );
    // After a restart too.
    let (mut solo, _) = solo.restart();
    let foreign = with_me(&solo, nullify(2));
    let out = solo.tell(others[0], ConsensusMessage::Certificate(foreign));
    let statement = nullify(2);
    assert!(out.contains(&Output::SignedElsewhere { statement }));
    assert_eq!(solo.view(), 3, "it goes on following");
    solo.now = solo.replica.deadline().unwrap();
    assert!(
        cast(&solo.step(Input::Tick)).is_empty(),
        "and signs nothing"
    );
    // The other goes on, which is said once.
    let says_so = |out: &[Output]| {
        out.iter()
            .any(|output| matches!(output, Output::SignedElsewhere { .. }))
    };
    let foreign = with_me(&solo, nullify(3));
    let out = solo.tell(others[0], ConsensusMessage::Certificate(foreign));
    assert!(!says_so(&out) && solo.view() == 4);
    // Once it may, it signs again, and looks again.
    solo.step(Input::Voice(Voice::Speaks));
    solo.now = solo.now.saturating_add(10_000);
    assert_eq!(cast(&solo.step(Input::Tick)), [nullify(4)]);
    solo.tell_certificate(nullify(4));
    let foreign = with_me(&solo, nullify(5));
    let out = solo.tell(others[0], ConsensusMessage::Certificate(foreign));
    assert!(says_so(&out));
}

#[test]
fn mute_replica_follows_and_signs_nothing_until_it_may() {
    let committee = committee(&[1; 4], &MockScheme);
    let me = LeaderSchedule::new(committee.committee())
        .leader(view(1))
        .unwrap();
    let start = Start {
        voice: Voice::Mute,
        ..genesis_start()
    };
    let (mut solo, out) = Solo::start(committee, me, start);
    let asked = |out: &[Output]| {
        out.iter()
            .any(|output| matches!(output, Output::Build { .. }))
    };
    assert!(!asked(&out), "it leads view 1");
    solo.now = solo.replica.deadline().unwrap();
    let out = solo.step(Input::Tick);
    assert!(cast(&out).is_empty() && !requests(&out).is_empty());
    solo.tell_certificate(nullify(1));
    let block = solo.first(2);
    solo.propose(2, &block, None);
    assert!(cast(&solo.verified(2, &block, Verdict::Valid)).is_empty());
    solo.tell_certificate(notarize(2, block.digest()));
    assert!(cast(&solo.certified(&block)).is_empty());
    assert!(solo.log.iter().all(|record| {
        // Only what opened views.
        matches!(record.entry, LogEntry::Certificate(_))
    }));
    solo.now = solo.replica.deadline().unwrap();
    assert!(cast(&solo.step(Input::Tick)).is_empty() && solo.view() == 3);
    solo.step(Input::Voice(Voice::Speaks));
    solo.now = NOW.saturating_add(20_000);
    assert_eq!(
        cast(&solo.step(Input::Tick)),
        [nullify(3)],
        "also the view that it gave up without a word"
    );
}

#[test]
fn a_leader_known_to_be_silent_is_not_waited_for_until_it_speaks() {
    let mut solo = Solo::leading(4);
    let silent = solo.leader(1);
    let heard: Vec<u16> = solo.others();
    let heard: Vec<u16> = heard.into_iter().filter(|it| *it != silent).collect();
    solo.now = solo.replica.deadline().unwrap();
    assert_eq!(cast(&solo.step(Input::Tick)), [nullify(1)]);
    solo.now = solo.now.next();
    let turn_of = |solo: &Solo, bag: std::ops::RangeInclusive<u64>| {
        let mut views = bag.into_iter();
        views.find(|number| solo.leader(*number) == silent).unwrap()
    };
    let nullified = |solo: &mut Solo, number: u64| {
        let certificate = solo.certificate(nullify(number));
        cast(&solo.tell(heard[0], ConsensusMessage::Certificate(certificate)))
    };
    let turn = turn_of(&solo, 5..=8);
    for number in 1..turn {
        assert!(nullified(&mut solo, number).is_empty());
    }
    assert_eq!(solo.view(), turn);
    // Only when a quorum with the own weight has voted is it the leader's fault.
    assert!(cast(&solo.tell_vote(heard[0], nullify(turn))).is_empty());
    assert_eq!(
        cast(&solo.tell_vote(heard[1], nullify(turn))),
        [nullify(turn)]
    );
    // Its own vote is a sign of life.
    solo.tell_vote(silent, nullify(turn));
    let next_turn = turn_of(&solo, 9..=12);
    for number in turn..next_turn {
        assert!(nullified(&mut solo, number).is_empty());
    }
    for other in heard.clone() {
        solo.tell_vote(other, nullify(next_turn));
    }
    assert_eq!(solo.view(), next_turn);
    solo.now = solo.replica.deadline().unwrap();
    assert_eq!(cast(&solo.step(Input::Tick)), [nullify(next_turn)]);
}

#[test]
fn a_leader_that_gives_up_without_a_proposal_is_not_waited_for() {
    let mut solo = Solo::leading(4);
    let leader = solo.leader(1);
    assert_eq!(cast(&solo.tell_vote(leader, nullify(1))), [nullify(1)]);
    assert_eq!(solo.replica.tally().leaders_withdrawn, 1);
    // Said before the view is entered, it counts on entering.
    let next = solo.leader(2);
    let mut solo = Solo::leading(4);
    assert!(cast(&solo.tell_vote(next, nullify(2))).is_empty());
    assert_eq!(cast(&solo.tell_certificate(nullify(1))), [nullify(2)]);
    // What others say is not the leader's word.
    let mut solo = Solo::leading(4);
    let other = solo.others().into_iter().find(|it| *it != leader);
    let said = solo.tell_vote(other.expect("three others"), nullify(1));
    assert!(cast(&said).is_empty());
}

#[test]
fn a_proposal_is_looked_at_whatever_its_leader_says_later() {
    let mut solo = Solo::leading(4);
    let leader = solo.leader(1);
    let header = solo.first(1);
    let out = solo.propose(1, &header, None);
    assert!(cast(&out).is_empty(), "the glue has not verified it");
    assert!(cast(&solo.tell_vote(leader, nullify(1))).is_empty());
    assert_eq!(solo.replica.tally().leaders_withdrawn, 0);
}

#[test]
fn a_leader_heard_in_its_turn_is_waited_for_in_the_next() {
    let mut solo = Solo::leading(4);
    let leader = solo.leader(1);
    solo.now = solo.now.next();
    solo.tell_vote(leader, notarize(1, Digest::new([1; 32])));
    solo.now = solo.replica.deadline().unwrap();
    assert_eq!(cast(&solo.step(Input::Tick)), [nullify(1)]);
    solo.now = solo.now.next();
    for other in solo.others() {
        let certificate = solo.certificate(nullify(1));
        let out = solo.tell(other, ConsensusMessage::Certificate(certificate));
        assert!(cast(&out).is_empty());
    }
    let turn = (5..=8)
        .find(|number| solo.leader(*number) == leader)
        .unwrap();
    for number in 2..turn {
        assert!(cast(&solo.tell_certificate(nullify(number))).is_empty());
    }
    assert_eq!(solo.view(), turn);
}

#[test]
fn a_replica_far_behind_takes_no_bytes_and_remembers_few_headers() {
    let mut solo = Solo::leading(4);
    let unknown = Digest::new([9; 32]);
    let blocks = |out: &[Output]| out.iter().any(|it| matches!(it, Output::Block { .. }));
    let height = |number: u64| KEEP_HEIGHTS_MAX + number;
    let few = 200 + 2 * u64::try_from(FAR_HEADERS_MAX).expect("few");
    for number in 200..few {
        solo.tell_certificate(finalize(number - 1, unknown));
        if solo.leader(number) == solo.me {
            continue;
        }
        let header = solo.header(number, height(number), unknown);
        let out = solo.propose(number, &header, Some(notarize(number - 1, unknown)));
        assert!(!blocks(&out), "{out:?}");
        assert!(solo.replica.tree.len() <= FAR_HEADERS_MAX);
    }
    // What a quorum wants is not fetched: the glue is to sync.
    let number = (few..few + 2).find(|it| solo.leader(*it) != solo.me);
    let number = number.expect("not two in a row");
    solo.tell_certificate(finalize(number - 1, unknown));
    let header = solo.header(number, height(number), unknown);
    solo.propose(number, &header, Some(notarize(number - 1, unknown)));
    let out = solo.tell_certificate(finalize(number, header.digest()));
    let (height, digest) = (Height::new(height(number)), header.digest());
    assert!(out.contains(&Output::Behind { height, digest }), "{out:?}");
    assert!(requests(&out).is_empty());
}

#[test]
fn a_leader_that_must_be_synced_first_gives_up_at_once() {
    let mut solo = Solo::leading(4);
    let number = (5..=8).find(|it| solo.leader(*it) == solo.me);
    let number = number.expect("one in four");
    let (top, leader) = (KEEP_HEIGHTS_MAX + 1, solo.leader(number - 1));
    let header = solo.header(number - 1, top, Digest::new([9; 32]));
    assert_ne!(leader, solo.me);
    solo.tell_certificate(finalize(number - 2, Digest::new([9; 32])));
    solo.propose(
        number - 1,
        &header,
        Some(notarize(number - 2, header.parent)),
    );
    let out = solo.tell_certificate(finalize(number - 1, header.digest()));
    assert_eq!(cast(&out), [nullify(number)], "{out:?}");
}

#[test]
fn a_chain_that_finalizes_nothing_may_grow_far() {
    let mut solo = Solo::leading(4);
    let far = KEEP_HEIGHTS_MAX + 6;
    let mut parent = (solo.genesis(), None);
    let mut taken = 0;
    for number in 1..=far {
        let header = Header {
            kind: BlockKind::Idle,
            body_root: Digest::ZERO,
            ..solo.header(number, number, parent.0)
        };
        let statement = notarize(number, header.digest());
        if solo.leader(number) != solo.me {
            let out = solo.propose(number, &header, parent.1);
            let block = |it: &Output| matches!(it, Output::Block { .. });
            assert!(out.iter().any(block), "height {number}: {out:?}");
            taken += 1;
        }
        solo.tell_certificate(statement);
        solo.tell_certificate(nullify(number));
        parent = (header.digest(), Some(statement));
    }
    assert!(taken > KEEP_HEIGHTS_MAX / 2);
}

#[test]
fn votes_are_kept_for_near_views_and_once() {
    let mut solo = Solo::leading(4);
    let leader = solo.leader(1);
    let mut followers = solo.others().into_iter().filter(|it| *it != leader);
    let from = followers.next().expect("three others");
    for number in 1..50 {
        for byte in 0..5 {
            solo.tell_vote(from, notarize(number, Digest::new([byte; 32])));
            solo.tell_vote(from, finalize(number, Digest::new([byte; 32])));
        }
        solo.tell_vote(from, nullify(number));
    }
    assert_eq!(solo.replica.rounds.len(), 5, "views 1 to 5");
    assert!(
        solo.replica
            .rounds
            .values()
            .all(|round| round.votes.len() <= 3)
    );
}

#[test]
fn vote_in_the_name_of_another_is_refused() {
    let mut solo = Solo::leading(4);
    let [one, two, ..] = solo.others()[..] else {
        panic!("three others")
    };
    let stolen = vote(&solo.committee, one, nullify(1));
    let out = solo.tell(two, ConsensusMessage::Vote(stolen));
    assert_eq!(
        out,
        [Output::Misbehaved {
            member: member(two),
            offence: Offence::BadVote
        }]
    );
    assert!(solo.replica.rounds.is_empty());
}

#[test]
fn weights_decide_the_quorum() {
    let committee = committee(&[3, 3, 2, 1], &MockScheme);
    // Without a word of its own: the leader's nullify would bring it.
    let start = |me| {
        let mut solo = Solo::start(Arc::clone(&committee), member(me), genesis_start()).0;
        solo.step(Input::StopVoting);
        solo
    };
    let mut solo = start(3);
    solo.tell_vote(0, nullify(1));
    solo.tell_vote(1, nullify(1));
    assert_eq!(solo.replica.status().weight_seen, 6);
    assert_eq!(solo.view(), 1, "6 of 9 is no quorum");
    solo.tell_vote(2, nullify(1));
    assert_eq!(solo.view(), 2);
    let mut solo = start(2);
    for from in [0, 1, 3] {
        assert_eq!(solo.view(), 1);
        solo.tell_vote(from, nullify(1));
    }
    assert_eq!(solo.view(), 2, "7 of 9 is one");
}

#[test]
fn laggard_is_helped_at_most_once_per_delta() {
    let mut solo = Solo::leading(4);
    solo.tell_certificate(nullify(7));
    let from = solo.others()[1];
    let help = |out: &[Output]| {
        let reply = |output: &&Output| {
            matches!(output, Output::Send { message, .. }
            if matches!(&**message, ConsensusMessage::Reply(_)))
        };
        out.iter().filter(reply).count()
    };
    assert_eq!(help(&solo.tell_vote(from, nullify(1))), 1);
    assert_eq!(help(&solo.tell_vote(from, nullify(1))), 0);
    solo.now = NOW.saturating_add(DELTA_MS);
    assert_eq!(help(&solo.tell_vote(from, nullify(1))), 1);
}

#[test]
fn request_for_an_open_view_is_answered_with_own_votes() {
    let mut solo = Solo::leading(4);
    solo.now = NOW.saturating_add(1_000);
    solo.step(Input::Tick);
    let from = solo.others()[1];
    let out = solo.tell(from, ConsensusMessage::Request(FetchRequest::View(view(1))));
    let sent = matches!(&out[..], [Output::Send { to: To::One(_), message, .. }]
        if matches!(&**message, ConsensusMessage::Vote(vote) if vote.statement == nullify(1)));
    assert!(sent, "{out:?}");
}

#[test]
fn requests_above_the_limit_are_not_answered() {
    let mut solo = Solo::leading(4);
    let from = solo.others()[0];
    let digest = Digest::new([1; 32]);
    let answers = |solo: &mut Solo| {
        let request = ConsensusMessage::Request(FetchRequest::Block(digest));
        let out = solo.tell(from, request);
        out.iter()
            .filter(|output| matches!(output, Output::ServeBlock { .. }))
            .count()
    };
    assert_eq!((0..100).map(|_| answers(&mut solo)).sum::<usize>(), 64);
}

#[test]
fn replica_told_to_stop_follows_without_voting() {
    let mut solo = Solo::leading(4);
    solo.step(Input::StopVoting);
    let block = solo.first(1);
    solo.propose(1, &block, None);
    assert!(cast(&solo.verified(1, &block, Verdict::Valid)).is_empty());
    solo.tell_certificate(notarize(1, block.digest()));
    assert!(cast(&solo.certified(&block)).is_empty());
    let out = solo.tell_certificate(finalize(1, block.digest()));
    assert!(
        out.iter()
            .any(|output| matches!(output, Output::Finalized { .. }))
    );
    solo.now = NOW.saturating_add(10_000);
    let out = solo.step(Input::Tick);
    assert!(
        cast(&out).is_empty() && !requests(&out).is_empty(),
        "it asks instead"
    );
}

#[test]
fn seal_is_proposed_again_and_ends_the_instance() {
    let mut solo = Solo::leading(2);
    let seal = Header {
        kind: BlockKind::Seal,
        body_root: Digest::ZERO,
        next: Some(next_committee()),
        ..solo.first(1)
    };
    solo.propose(1, &seal, None);
    solo.tell_certificate(notarize(1, seal.digest()));
    let out = solo.certified(&seal);
    assert_eq!(cast(&out), [finalize(1, seal.digest())]);
    let asked = |output: &Output| {
        matches!(output, Output::Verify { view, digest, .. }
            if *view == View::new(2) && *digest == seal.digest())
    };
    assert!(
        out.iter().any(asked),
        "what it reports must be the own result: {out:?}"
    );
    let out = solo.verified(2, &seal, Verdict::Valid);
    let expected = [notarize(2, seal.digest())];
    assert_eq!(cast(&out), expected, "byte for byte, under the new view");
    let out = solo.tell_certificate(finalize(2, seal.digest()));
    assert!(
        out.iter()
            .any(|output| matches!(output, Output::Finalized { .. }))
    );
    assert_eq!(solo.replica.deadline(), None);
    solo.now = NOW.saturating_add(100_000);
    assert!(solo.step(Input::Tick).is_empty());
    // That the epoch is over is logged before any vote of the next one.
    let logged = solo.log.iter().any(|record| {
        let entry = &record.entry;
        matches!(entry, LogEntry::Certificate(it) if it.statement == finalize(2, seal.digest()))
    });
    assert!(logged);
    // Who has not heard of it is told, also in the very view that made it final.
    let straggler = solo.others()[1];
    let out = solo.tell_vote(straggler, nullify(2));
    let finalization = solo.certificate(finalize(2, seal.digest()));
    let told = |output: &Output| match output {
        Output::Send {
            to: To::One(to),
            message,
            ..
        } => match &**message {
            ConsensusMessage::Reply(reply) => {
                to.get() == straggler && reply.certificates.contains(&finalization)
            }
            _ => false,
        },
        _ => false,
    };
    assert!(out.iter().any(told), "{out:?}");
}

#[test]
fn follower_notarizes_a_seal_again_and_no_child_of_it() {
    for again in [true, false] {
        let mut solo = Solo::leading(4);
        let seal = Header {
            kind: BlockKind::Seal,
            body_root: Digest::ZERO,
            next: Some(next_committee()),
            ..solo.first(1)
        };
        solo.certify(1, &seal, None);
        let next = if again {
            seal.clone()
        } else {
            solo.header(2, 2, seal.digest())
        };
        let out = solo.propose(2, &next, Some(notarize(1, seal.digest())));
        if again {
            assert_eq!(cast(&out), []);
            let out = solo.verified(2, &next, Verdict::Valid);
            assert_eq!(cast(&out), [notarize(2, seal.digest())]);
        } else {
            assert_eq!(cast(&out), [nullify(2)]);
        }
    }
}

#[test]
fn seal_that_reports_another_result_is_not_proposed_again() {
    let mut solo = Solo::leading(2);
    let seal = Header {
        kind: BlockKind::Seal,
        body_root: Digest::ZERO,
        next: Some(next_committee()),
        ..solo.first(1)
    };
    solo.propose(1, &seal, None);
    solo.tell_certificate(notarize(1, seal.digest()));
    solo.certified(&seal);
    let out = solo.verified(2, &seal, Verdict::Invalid);
    assert_eq!(cast(&out), [nullify(2)]);
}

#[test]
fn malleable_votes_never_make_a_false_certificate() {
    let committee = committee(&[1; 4], &BlsScheme);
    let sign = |signer: u16, statement: Statement| {
        BlsScheme.sign(
            &keys()[usize::from(signer)],
            &statement.signing_digest(committee.instance()),
        )
    };
    // X and −X; the sign of a compressed point is one bit.
    let shift = sign(0, nullify(99));
    let mut back = shift;
    back.0[0] ^= 0x20;
    let moved = |signer, by| bls::aggregate(&[sign(signer, nullify(1)), by]).unwrap();
    let vote = |signer: u16, signature| Vote {
        statement: nullify(1),
        signer: member(signer),
        signature,
    };
    let plus = vote(1, moved(1, shift));
    let minus = vote(2, moved(2, back));
    let good = |signer| vote(signer, sign(signer, nullify(1)));
    let run = |votes: Vec<Vote>| {
        let config = config(&committee, member(0), Arc::new(BlsScheme));
        let mut replica = Replica::new(config, genesis_start()).unwrap();
        let (mut all, mut out) = (Vec::new(), Vec::new());
        let expired = TimeMs::new(NOW.get() + 1_000);
        replica.step(NOW, Input::Tick, &mut out);
        replica.step(expired, Input::Tick, &mut out);
        replica.step(expired, Input::Durable(LogPosition::new(1)), &mut out);
        let message = |vote: Vote| (vote.signer, Box::new(ConsensusMessage::Vote(vote)));
        for (from, message) in votes.into_iter().map(message) {
            replica.step(expired, Input::Message { from, message }, &mut out);
            while let Some(output) = out.pop() {
                if let Output::Check(job) = &output {
                    let result = job.clone().run(&BlsScheme, &committee);
                    replica.step(expired, Input::Checked(result), &mut out);
                }
                all.push(output);
            }
        }
        (published(&all), all)
    };
    // Apart, each is found out before anything is published; the honest votes suffice.
    let (certificates, out) = run(vec![plus.clone(), good(3), minus.clone(), good(2)]);
    assert!(
        certificates.is_empty(),
        "own, 3 and two wrong ones are no quorum"
    );
    for wrong in [1, 2] {
        let offence = Offence::BadVote;
        assert!(
            out.contains(&Output::Misbehaved {
                member: member(wrong),
                offence
            }),
            "{wrong}"
        );
    }
    let (certificates, _) = run(vec![plus.clone(), good(3), good(2)]);
    assert_eq!(certificates.len(), 1);
    assert!(certificates[0].verify(&committee, &BlsScheme).is_ok());
    // Together they cancel, and what is published is a true certificate.
    let (certificates, _) = run(vec![plus, minus]);
    assert_eq!(certificates.len(), 1);
    assert!(certificates[0].verify(&committee, &BlsScheme).is_ok());
}

#[test]
fn log_records_round_trip_and_compact_to_a_floor() {
    let committee = committee(&[1; 4], &MockScheme);
    let record = |entry| VoteRecord {
        version: Version,
        chain: ChainRef::Beacon,
        epoch: Epoch::ZERO,
        entry,
    };
    let votes: Vec<VoteRecord> = (1..=4)
        .map(|number| record(LogEntry::Vote(vote(&committee, 0, nullify(number)))))
        .collect();
    for record in &votes {
        assert_eq!(VoteRecord::decode(&record.encode()).as_ref(), Ok(record));
    }
    let at = TimeMs::new(7);
    let of_key = [
        LogEntry::Lost { at },
        LogEntry::Mute {
            since: at,
            until: Epoch::new(2),
        },
        LogEntry::Exported { at, number: 1 },
        LogEntry::Imported { at, number: 1 },
        LogEntry::FirstUse { at },
        LogEntry::Key {
            chain_id: Digest::ZERO,
            vote_key: PublicKey([1; 48]),
        },
    ];
    for record in of_key.map(record) {
        assert_eq!(VoteRecord::decode(&record.encode()).as_ref(), Ok(&record));
        assert!(record.entry.is_of_key() && record.entry.view() == View::ZERO);
        let start = Start {
            log: vec![record],
            ..genesis_start()
        };
        let config = config(&committee, member(0), Arc::new(MockScheme));
        let refused = Replica::new(config, start);
        assert!(matches!(
            refused,
            Err(StartError::Record { position: 1, .. })
        ));
    }
    let compacted = compact(votes.clone(), view(2));
    let floor = record(LogEntry::Floor(view(3)));
    assert_eq!(compacted, [floor, votes[2].clone(), votes[3].clone()]);
    assert_eq!(compact(compacted.clone(), view(2)), compacted);
}

#[test]
fn floor_of_an_imported_log_is_not_voted_below() {
    let committee = committee(&[1; 4], &MockScheme);
    let me = LeaderSchedule::new(committee.committee())
        .leader(view(4))
        .unwrap();
    let entry = LogEntry::Floor(view(9));
    let record = VoteRecord {
        version: Version,
        chain: ChainRef::Beacon,
        epoch: Epoch::ZERO,
        entry,
    };
    let start = Start {
        root: Root::Genesis,
        log: vec![record],
        blocks: Vec::new(),
        voice: Voice::Speaks,
    };
    let (solo, _) = Solo::start(committee, me, start);
    assert_eq!(solo.view(), 9);
}
