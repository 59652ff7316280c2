//! What inputs say: votes, certificates and verdicts as they come, before the rules are applied.
//!
//! Nothing here decides what is signed. Each input is noted where the rules look: votes in their
//! round, certificates by `accept`, verdicts in the proposal that they are of. What must
//! be checked first becomes a job, and its answer comes back as an input.

use super::{Lead, Replica};
use crate::check::{CheckOutcome, CheckResult, CheckWork, JobId};
use crate::checks::Purpose;
use crate::config::VIEWS_AHEAD_MAX;
use crate::input::{Certification, Verdict};
use crate::output::{Offence, Output, To};
use crate::round::Stage;
use crate::safety::Voice;
use crate::timers::Timers;
use crate::tree::Bytes;
use skerry_types::block::Header;
use skerry_types::certificate::Certificate;
use skerry_types::consensus::ConsensusMessage;
use skerry_types::evidence::Evidence;
use skerry_types::ids::{Digest, LogPosition, MemberIndex, View};
use skerry_types::vote::{Statement, Vote};

impl Replica {
    pub(super) fn on_message(
        &mut self,
        from: MemberIndex,
        message: ConsensusMessage,
        out: &mut Vec<Output>,
    ) {
        if from == self.config.me || from.index() >= self.peers.len() {
            return;
        }
        // Requests and certificates come from those that only follow, too.
        if matches!(
            message,
            ConsensusMessage::Vote(_) | ConsensusMessage::Proposal(_)
        ) {
            self.silence.on_vote(from, self.now);
        }
        match message {
            ConsensusMessage::Vote(vote) if vote.signer != from => {
                out.push(Output::Misbehaved {
                    member: from,
                    offence: Offence::BadVote,
                });
            }
            ConsensusMessage::Vote(vote) => self.on_vote(vote, out),
            ConsensusMessage::Certificate(certificate) => {
                self.on_certificates(from, vec![certificate], out);
            }
            ConsensusMessage::Proposal(proposal) => self.on_proposal(from, *proposal, out),
            ConsensusMessage::Request(request) => self.on_request(from, request, out),
            ConsensusMessage::Reply(reply) => self.on_reply(from, *reply, out),
        }
    }

    pub(super) fn on_durable(&mut self, position: LogPosition, out: &mut Vec<Output>) {
        while let Some((_, vote)) = self.undurable.pop_front_if(|(at, _)| *at <= position) {
            self.on_vote(vote, out);
        }
    }

    /// Counts a vote; asks for a check when a quorum of weight is there.
    pub(crate) fn on_vote(&mut self, vote: Vote, out: &mut Vec<Output>) {
        let (view, signer) = (vote.statement.view(), vote.signer);
        let Some(weight) = self.weight(signer) else {
            return;
        };
        if let Some(peer) = self.peers.get_mut(signer.index()) {
            peer.last_view = peer.last_view.max(view);
        }
        self.help_if_behind(&vote, out);
        let top = self.current.saturating_add(VIEWS_AHEAD_MAX);
        if view == View::ZERO || view < self.finalized_view() || view > top {
            return;
        }
        let is_leader = self.leader(view) == Some(signer);
        let round = self.rounds.entry(view).or_default();
        if let Some(earlier) = round.votes.add(&vote, weight) {
            // Two blocks of one leader are seen at once, blamed only when both signatures are good.
            round.equivocated |= is_leader && vote.statement.digest() != earlier.statement.digest();
            if signer != self.config.me && round.votes.accuse(signer) {
                let work = CheckWork::Votes(vec![earlier, vote]);
                out.push(Output::Check(Box::new(
                    self.checks.open(Purpose::Evidence, work),
                )));
            }
            return;
        }
        self.check_quorum(vote.statement, out);
    }

    fn check_quorum(&mut self, statement: Statement, out: &mut Vec<Output>) {
        if self.is_known(&statement) {
            return;
        }
        let quorum = self.config.committee.quorum();
        let Some(round) = self.rounds.get_mut(&statement.view()) else {
            return;
        };
        if let Some(votes) = round.votes.take_quorum(&statement, quorum) {
            let work = CheckWork::Aggregate { statement, votes };
            out.push(Output::Check(Box::new(
                self.checks.open(Purpose::Form(statement), work),
            )));
        }
    }

    /// Has unknown certificates checked.
    pub(crate) fn on_certificates(
        &mut self,
        from: MemberIndex,
        certificates: Vec<Certificate>,
        out: &mut Vec<Output>,
    ) {
        let unknown: Vec<Certificate> = certificates
            .into_iter()
            .filter(|certificate| {
                let statement = &certificate.statement;
                !self.is_known(statement) || self.contradicted(statement).is_some()
            })
            .collect();
        if let Some(job) = self.checks.receive(from, unknown) {
            out.push(Output::Check(Box::new(job)));
        }
    }

    pub(super) fn on_checked(&mut self, result: CheckResult, out: &mut Vec<Output>) {
        let id = result.id;
        match (self.checks.close(&result), result.outcome) {
            (Some(Purpose::Form(statement)), CheckOutcome::Aggregate(formed)) => {
                self.on_formed(statement, formed, out);
            }
            (Some(Purpose::Received { from, statements }), CheckOutcome::Certificates(checked)) => {
                self.on_certificates_checked(from, checked, out);
                for statement in statements {
                    for (sender, parked) in self.checks.unpark(&statement) {
                        self.on_certificates(sender, vec![parked], out);
                    }
                }
            }
            (Some(Purpose::Proposal { from, view }), CheckOutcome::Certificates(checked)) => {
                let good = self.on_certificates_checked(from, checked, out);
                self.on_proposal_checked(view, id, good);
            }
            (Some(Purpose::Evidence), CheckOutcome::Votes(checked)) => {
                self.on_evidence_checked(checked, out);
            }
            _ => {}
        }
    }

    fn on_formed(
        &mut self,
        statement: Statement,
        formed: Result<Certificate, Vec<MemberIndex>>,
        out: &mut Vec<Output>,
    ) {
        match formed {
            // Everybody is told once, by whoever forms it first here.
            Ok(certificate) if self.accept(certificate.clone(), out) => {
                self.send(To::All, ConsensusMessage::Certificate(certificate), out);
            }
            Ok(_) => {}
            Err(members) => {
                for member in &members {
                    out.push(Output::Misbehaved {
                        member: *member,
                        offence: Offence::BadVote,
                    });
                }
                if let Some(round) = self.rounds.get_mut(&statement.view()) {
                    round.votes.mark_bad(&statement, &members);
                }
                self.check_quorum(statement, out);
            }
        }
    }

    fn on_certificates_checked(
        &mut self,
        from: MemberIndex,
        checked: Vec<(Certificate, bool)>,
        out: &mut Vec<Output>,
    ) -> bool {
        let mut all_good = true;
        for (certificate, good) in checked {
            if good {
                self.accept(certificate, out);
            } else {
                all_good = false;
                out.push(Output::Misbehaved {
                    member: from,
                    offence: Offence::BadCertificate,
                });
            }
        }
        all_good
    }

    fn on_proposal_checked(&mut self, view: View, id: JobId, good: bool) {
        let offer = self
            .rounds
            .get_mut(&view)
            .and_then(|round| round.proposal.as_mut());
        if let Some(offer) = offer.filter(|offer| offer.check == Some(id)) {
            offer.check = None;
            if !good {
                offer.stage = Stage::Rejected;
            }
        }
    }

    fn on_evidence_checked(&mut self, checked: Vec<(Vote, bool)>, out: &mut Vec<Output>) {
        let mut votes = checked.into_iter();
        if let (Some((one, true)), Some((other, true))) = (votes.next(), votes.next())
            && let Some(evidence) = Evidence::of_votes(self.place(), one, other)
        {
            out.push(Output::Fault(Box::new(evidence)));
        }
    }

    pub(super) fn on_verified(
        &mut self,
        view: View,
        digest: Digest,
        verdict: Verdict,
        out: &mut Vec<Output>,
    ) {
        if view == self.current
            && let Lead::Again(seal) = &self.lead
            && seal.digest == digest
        {
            let seal = seal.clone();
            self.on_seal_verified(&seal, verdict, out);
            return;
        }
        let offer = self
            .rounds
            .get_mut(&view)
            .and_then(|round| round.proposal.as_mut());
        let Some(offer) = offer.filter(|o| o.digest == digest && o.stage == Stage::Verifying)
        else {
            return;
        };
        match verdict {
            Verdict::Valid => {
                offer.stage = Stage::Decided;
                self.notarize(view, digest, out);
            }
            Verdict::Invalid => offer.stage = Stage::Rejected,
        }
    }

    pub(super) fn on_certified(&mut self, digest: Digest, outcome: Certification) {
        let bytes = match outcome {
            Certification::Durable => Bytes::Durable,
            Certification::Missing => Bytes::Missing,
            Certification::Malformed => Bytes::Malformed,
        };
        self.tree.on_bytes(&digest, bytes);
    }

    /// The key may be used again, or must not be.
    pub(super) fn on_voice(&mut self, voice: Voice) {
        self.signer.set_voice(voice);
        match voice {
            Voice::Speaks => {
                self.saw_foreign = false;
                // The present view may have been given up without a word.
                self.timers = Timers::of_view(self.pace(), self.now);
            }
            Voice::Mute => self.lead = Lead::No,
        }
    }

    pub(super) fn on_synced(
        &mut self,
        header: Header,
        certificate: Certificate,
        out: &mut Vec<Output>,
    ) {
        let digest = header.digest();
        let is_own = matches!(
            certificate.statement,
            Statement::Finalize { digest: certified, .. } if certified == digest
        );
        if !is_own || certificate.view() <= self.tree.root().view {
            return;
        }
        self.tree.jump(header, certificate.clone());
        self.behind_at = None;
        self.accept(certificate, out);
    }
}
