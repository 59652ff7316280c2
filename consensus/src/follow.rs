//! Rule 4: the scheduled leader's first proposal of the current view is notarized when its parent
//! is certified, every view between is nullified, and the glue finds it valid. What is missing is
//! fetched from the leader and looked at again; what is wrong for good nullifies the view at once.

use crate::check::CheckWork;
use crate::checks::Purpose;
use crate::config::{CLOCK_AHEAD_MS_MAX, VIEWS_AHEAD_MAX};
use crate::error::{HeaderError, ParentRefusal};
use crate::output::{Offence, Output};
use crate::replica::Replica;
use crate::round::{Offer, Stage};
use crate::rules::{self, Base};
use crate::safety::{ParentStanding, guard_parent};
use skerry_types::certificate::Certificate;
use skerry_types::consensus::{FetchRequest, Proposal};
use skerry_types::ids::{Digest, Height, MemberIndex, View};
use skerry_types::vote::{Statement, Vote};

/// Most views whose nullifications are asked for at once.
const GAP_FETCHES_MAX: usize = 16;

/// What is to be done with a proposal.
enum Examination {
    Wait,
    Verify,
    Reject,
}

impl Replica {
    /// Takes up a proposal: its signature is the leader's notarize vote; its bytes go to the glue.
    pub(crate) fn on_proposal(
        &mut self,
        from: MemberIndex,
        proposal: Proposal,
        out: &mut Vec<Output>,
    ) {
        let view = proposal.view;
        let top = self.current.saturating_add(VIEWS_AHEAD_MAX);
        let bottom = self.current.saturating_sub(VIEWS_AHEAD_MAX);
        if view <= self.finalized_view() || view > top || view < bottom {
            return;
        }
        if self.leader(view) != Some(from) {
            out.push(Output::Misbehaved {
                member: from,
                offence: Offence::BadProposal,
            });
            return;
        }
        let digest = proposal.header.digest();
        let statement = Statement::Notarize { view, digest };
        self.on_vote(
            Vote {
                statement,
                signer: from,
                signature: proposal.signature,
            },
            out,
        );
        if self
            .rounds
            .get(&view)
            .is_some_and(|round| round.proposal.is_some())
        {
            return;
        }
        let base = match self.check_received(digest, &proposal) {
            Ok(base) => Some(base),
            Err(_) => {
                out.push(Output::Misbehaved {
                    member: from,
                    offence: Offence::BadProposal,
                });
                None
            }
        };
        self.take_offer(from, digest, base, proposal, out);
    }

    fn check_received(&mut self, digest: Digest, proposal: &Proposal) -> Result<Base, HeaderError> {
        let Proposal {
            view,
            header,
            body,
            parent,
            finalization,
            ..
        } = proposal;
        let leader = self.leader(header.view);
        let instance = self.config.committee.instance();
        rules::check_form(instance, leader, *view, header, body.len())?;
        let (parent, finalization) = (parent.as_ref(), finalization.as_ref());
        rules::check_base(instance, *view, digest, header, parent, finalization)
    }

    fn take_offer(
        &mut self,
        from: MemberIndex,
        digest: Digest,
        base: Option<Base>,
        proposal: Proposal,
        out: &mut Vec<Output>,
    ) {
        let view = proposal.view;
        let unknown: Vec<Certificate> = rules::certificates_of(&proposal)
            .filter(|certificate| !self.is_established(certificate))
            .cloned()
            .collect();
        let stage = if base.is_some() {
            Stage::Waiting
        } else {
            Stage::Rejected
        };
        let Proposal {
            header,
            body,
            finalization,
            ..
        } = proposal;
        let mut offer = Offer {
            digest,
            header: header.clone(),
            base: base.unwrap_or(Base {
                view: View::ZERO,
                digest,
                again: false,
            }),
            finalization,
            check: None,
            stage,
        };
        if base.is_some() {
            if !unknown.is_empty() {
                let purpose = Purpose::Proposal { from, view };
                let job = self.checks.open(purpose, CheckWork::Certificates(unknown));
                offer.check = Some(job.id);
                out.push(Output::Check(Box::new(job)));
            }
            if self.tree.take(digest, header.clone(), view) {
                out.push(Output::Block {
                    digest,
                    header: Box::new(header),
                    body,
                });
            } else {
                self.tree.on_notarized(&digest, view);
            }
        }
        let round = self.rounds.entry(view).or_default();
        round.equivocated |= round
            .notarized()
            .is_some_and(|notarized| notarized != digest);
        round.proposal = Some(offer);
        if view == self.current && base.is_some() {
            self.timers.on_proposal();
        }
    }

    /// Whether what a certificate says is known already, so that its signature does not matter.
    fn is_established(&self, certificate: &Certificate) -> bool {
        match certificate.statement {
            Statement::Notarize { view, digest } => {
                self.rounds.get(&view).and_then(|round| round.notarized()) == Some(digest)
                    || self.tree.is_final(&digest) && view <= self.finalized_view()
            }
            Statement::Finalize { digest, .. } => {
                self.tree.is_final(&digest)
                    || self
                        .finalization
                        .as_ref()
                        .is_some_and(|own| own.statement == certificate.statement)
            }
            Statement::Nullify { .. } => false,
        }
    }

    /// Looks at the current view's proposal (again).
    pub(crate) fn follow(&mut self, out: &mut Vec<Output>) {
        let view = self.current;
        let offer = self
            .rounds
            .get(&view)
            .and_then(|round| round.proposal.as_ref());
        let Some(offer) = offer else { return };
        let (digest, header) = (offer.digest, Box::new(offer.header.clone()));
        let examination = match offer.stage {
            Stage::Waiting => self.examine(view, &offer.clone(), out),
            Stage::Rejected => Examination::Reject,
            Stage::Verifying | Stage::Decided => return,
        };
        let stage = match examination {
            Examination::Wait => Stage::Waiting,
            Examination::Verify => {
                out.push(Output::Verify {
                    view,
                    digest,
                    header,
                });
                Stage::Verifying
            }
            Examination::Reject => {
                self.tally.proposals_rejected = self.tally.proposals_rejected.saturating_add(1);
                self.nullify(out);
                Stage::Decided
            }
        };
        let offer = self
            .rounds
            .get_mut(&view)
            .and_then(|round| round.proposal.as_mut());
        if let Some(offer) = offer {
            offer.stage = stage;
        }
    }

    fn examine(&mut self, view: View, offer: &Offer, out: &mut Vec<Output>) -> Examination {
        let Offer { base, header, .. } = offer;
        if offer.check.is_some() {
            return Examination::Wait;
        }
        let finalized = self.finalized_view();
        let final_digest = self
            .finalization
            .as_ref()
            .and_then(|certificate| certificate.statement.digest());
        let on_final = base.view == finalized
            && final_digest.is_none_or(|final_digest| final_digest == base.digest);
        let notarized = self
            .rounds
            .get(&base.view)
            .and_then(|round| round.notarized());
        let standing = ParentStanding {
            base: base.view,
            is_final: on_final,
            is_notarized: notarized == Some(base.digest),
        };
        let rule = guard_parent(standing, view, finalized, &|at| self.is_nullified(at));
        match rule {
            Err(ParentRefusal::NotBelow { .. } | ParentRefusal::NotAboveFinal { .. }) => {
                return Examination::Reject;
            }
            Err(ParentRefusal::NotNotarized { .. }) => return Examination::Wait,
            Err(ParentRefusal::Gap { .. }) => self.ask_for_gap(base.view, view),
            Ok(()) => {}
        }
        let parent_here = self.pursue(base.digest, view, out);
        if rule.is_err() || !parent_here {
            return Examination::Wait;
        }
        let certificate = self
            .rounds
            .get(&base.view)
            .and_then(|round| round.notarization.clone());
        if base.again {
            // A seal that is certified already; its result must still be the own one.
            return Examination::Verify;
        }
        match self.tree.parent(&base.digest, certificate.as_ref()) {
            Some(parent) if rules::check_child(header, &parent).is_err() => {
                return Examination::Reject;
            }
            Some(_) => {}
            None => return Examination::Wait,
        }
        let Some(height) = self.carried_height(offer.finalization.as_ref()) else {
            return Examination::Wait;
        };
        if rules::check_ahead(header, height).is_err() {
            return Examination::Reject;
        }
        if header.time > self.now.saturating_add(CLOCK_AHEAD_MS_MAX) {
            self.tally.proposals_ahead = self.tally.proposals_ahead.saturating_add(1);
            self.wake_at = Some(header.time.saturating_sub(CLOCK_AHEAD_MS_MAX));
            return Examination::Wait;
        }
        Examination::Verify
    }

    /// Asks the leader for the nullifications strictly between that are missing.
    fn ask_for_gap(&mut self, base: View, view: View) {
        let (mut at, mut missing) = (base.next(), 0_usize);
        while at < view && missing < GAP_FETCHES_MAX {
            if !self.is_nullified(at) {
                missing = missing.saturating_add(1);
                let hint = self.leader(view).unwrap_or_default();
                self.fetches.need(FetchRequest::View(at), hint, self.now);
            }
            at = at.next();
        }
    }

    /// Height of the finalization that a proposal carries; `None` while its block is on its way.
    fn carried_height(&self, finalization: Option<&Certificate>) -> Option<Height> {
        let genesis = self.tree.genesis_height();
        let Some(certificate) = finalization else {
            return Some(genesis);
        };
        let height = certificate
            .statement
            .digest()
            .and_then(|digest| self.tree.height(&digest));
        let is_old = certificate.view() <= self.tree.root().view;
        // What is too old to be remembered is too far below any block that could be proposed.
        height.or(is_old.then_some(genesis))
    }
}
