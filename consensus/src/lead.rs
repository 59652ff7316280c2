//! Rule 3: the leader proposes on the highest certified view whose later views are all nullified.

use crate::config::Parent;
use crate::error::HeaderError;
use crate::input::Verdict;
use crate::output::{Output, To};
use crate::replica::{Lead, Replica};
use crate::rules;
use crate::tree::Bytes;
use skerry_types::block::{BlockKind, Header};
use skerry_types::consensus::{ConsensusMessage, FetchRequest, Proposal};
use skerry_types::ids::View;
use skerry_types::vote::Statement;

/// Most views whose certificates a leader asks for at once.
const GAP_FETCHES_MAX: usize = 16;

impl Replica {
    /// Has a block built as soon as there is a parent; a seal is proposed again, once it is known that
    /// what it reports is the own result, too.
    pub(crate) fn take_the_lead(&mut self, out: &mut Vec<Output>) {
        if self.lead != Lead::Wanted {
            return;
        }
        let Some(parent) = self.find_parent() else {
            if self.behind_at.is_some() {
                // It is to be synced first, which takes longer than a view.
                self.nullify(out);
            }
            return;
        };
        let seal = parent
            .header
            .as_deref()
            .filter(|header| header.kind == BlockKind::Seal);
        if let Some(seal) = seal.cloned() {
            let (view, digest) = (self.current, parent.digest);
            self.lead = Lead::Again(Box::new(parent));
            let header = Box::new(seal);
            out.push(Output::Verify {
                view,
                digest,
                header,
            });
            return;
        }
        let (view, finalized) = (self.current, self.tree.root().height);
        let idle_only = rules::is_idle_only(parent.height.next(), finalized);
        self.lead = Lead::Asked(Box::new(parent.clone()));
        out.push(Output::Build {
            view,
            parent: Box::new(parent),
            idle_only,
        });
    }

    /// The parent, or what is missing to know it is asked for.
    fn find_parent(&mut self) -> Option<Parent> {
        let finalized = self.finalized_view();
        let (mut at, mut missing) = (self.current.previous()?, 0_usize);
        while at > finalized {
            let round = self.rounds.get(&at);
            let notarized = round.and_then(|round| round.notarized());
            let certified = notarized.filter(|digest| self.tree.is_connected(digest));
            if missing == 0
                && let (Some(digest), Some(round)) = (certified, round)
            {
                return self.tree.parent(&digest, round.notarization.as_ref());
            }
            if !self.is_nullified(at) {
                // Also where a notarization is held: its block may be nowhere to be had.
                let hint = self.leader(at.next()).unwrap_or_default();
                self.fetches.need(FetchRequest::View(at), hint, self.now);
                missing = missing.saturating_add(1);
                if missing >= GAP_FETCHES_MAX {
                    return None;
                }
            }
            at = at.previous()?;
        }
        let root = self.tree.root();
        (missing == 0 && root.view == finalized).then(|| root.clone())
    }

    /// The verdict on a seal that is to be proposed again.
    pub(crate) fn on_seal_verified(
        &mut self,
        seal: &Parent,
        verdict: Verdict,
        out: &mut Vec<Output>,
    ) {
        self.lead = Lead::No;
        match (&seal.header, verdict) {
            (Some(header), Verdict::Valid) => {
                let header = Header::clone(header);
                self.propose(seal, header, Vec::new(), out);
            }
            _ => self.nullify(out),
        }
    }

    /// The glue's block: checked like everybody else's, signed, logged, sent.
    pub(crate) fn on_built(
        &mut self,
        view: View,
        header: Header,
        body: Vec<u8>,
        out: &mut Vec<Output>,
    ) {
        if view != self.current {
            return;
        }
        let Lead::Asked(parent) = std::mem::replace(&mut self.lead, Lead::No) else {
            return;
        };
        match self.check_built(&parent, &header, body.len()) {
            Ok(()) => self.propose(&parent, header, body, out),
            Err(error) => {
                out.push(Output::BuildRefused { view, error });
                self.nullify(out);
            }
        }
    }

    fn check_built(
        &mut self,
        parent: &Parent,
        header: &Header,
        body_bytes: usize,
    ) -> Result<(), HeaderError> {
        let leader = self.leader(header.view);
        let instance = self.config.committee.instance();
        rules::check_form(instance, leader, self.current, header, body_bytes)?;
        if header.parent != parent.digest {
            let (expected, actual) = (parent.digest, header.parent);
            return Err(HeaderError::Parent { expected, actual });
        }
        rules::check_child(header, parent)?;
        rules::check_ahead(header, self.tree.root().height)
    }

    /// The leader gives up at once when there will be no block.
    pub(crate) fn on_cannot_build(&mut self, view: View, out: &mut Vec<Output>) {
        if view == self.current && matches!(self.lead, Lead::Asked(_)) {
            self.nullify(out);
        }
    }

    fn propose(&mut self, parent: &Parent, header: Header, body: Vec<u8>, out: &mut Vec<Output>) {
        let (view, digest) = (self.current, header.digest());
        let Ok(vote) = self.signer.sign(Statement::Notarize { view, digest }, view) else {
            return;
        };
        self.tree.insert(digest, header.clone(), view, Bytes::Held);
        self.timers.on_proposal();
        let proposal = Proposal {
            view,
            header,
            body,
            parent: parent.certificate.clone(),
            finalization: self.tree.root().certificate.clone(),
            signature: vote.signature,
        };
        self.log_vote(vote, out);
        self.send_logged(To::All, ConsensusMessage::Proposal(Box::new(proposal)), out);
    }
}
