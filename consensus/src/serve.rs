//! What a replica does for others: answers requests, and tells laggards how far the chain is.

use crate::config::{CERTIFICATES_PER_REPLY_MAX, REQUESTS_PER_DELTA_MAX};
use crate::output::{Offence, Output, To};
use crate::replica::Replica;
use skerry_types::certificate::Certificate;
use skerry_types::consensus::{ConsensusMessage, FetchReply, FetchRequest};
use skerry_types::ids::{Digest, MemberIndex, View};
use skerry_types::vote::{Statement, Vote};

impl Replica {
    /// Answers a question, within limits.
    pub(crate) fn on_request(
        &mut self,
        from: MemberIndex,
        request: FetchRequest,
        out: &mut Vec<Output>,
    ) {
        let (now, delta) = (self.now, self.config.delta_ms);
        let Some(peer) = self.peers.get_mut(from.index()) else {
            return;
        };
        if peer.served_from.saturating_add(delta) <= now {
            (peer.served_from, peer.served) = (now, 0);
        }
        if peer.served >= REQUESTS_PER_DELTA_MAX {
            out.push(Output::Misbehaved {
                member: from,
                offence: Offence::Unwanted,
            });
            return;
        }
        peer.served = peer.served.saturating_add(1);
        match request {
            FetchRequest::View(view) => self.serve_view(from, view, out),
            FetchRequest::Block(digest) => {
                let certificates = self.certificates_of(&digest);
                out.push(Output::ServeBlock {
                    to: from,
                    digest,
                    certificates,
                });
            }
        }
    }

    /// What closed a view; where nothing is held, the own votes in it, so that whoever asks all can
    /// put the certificate together again.
    fn serve_view(&mut self, to: MemberIndex, view: View, out: &mut Vec<Output>) {
        let newest = self
            .finalization
            .iter()
            .filter(|newest| newest.view() >= view);
        let own = self
            .rounds
            .get(&view)
            .into_iter()
            .flat_map(|round| round.certificates());
        let certificates: Vec<Certificate> = newest.chain(own).cloned().collect();
        if !certificates.is_empty() {
            let reply = FetchReply {
                certificates,
                block: None,
            };
            self.send(To::One(to), ConsensusMessage::Reply(Box::new(reply)), out);
            return;
        }
        let votes = self
            .signer
            .votes(view)
            .into_iter()
            .flat_map(|own| own.iter());
        let votes: Vec<Vote> = votes.cloned().collect();
        for vote in votes {
            self.send_logged(To::One(to), ConsensusMessage::Vote(vote), out);
        }
    }

    fn certificates_of(&self, digest: &Digest) -> Vec<Certificate> {
        let is_of = |certificate: &&Certificate| certificate.statement.digest() == Some(*digest);
        let finalization = self.finalization.iter().find(is_of);
        let root = self.tree.root().certificate.iter().find(is_of);
        let round = self
            .tree
            .view(digest)
            .and_then(|view| self.rounds.get(&view));
        let notarization = round
            .and_then(|round| round.notarization.as_ref())
            .filter(is_of);
        finalization
            .or(root)
            .or(notarization)
            .into_iter()
            .cloned()
            .collect()
    }

    /// Takes up an answer. Blocks that were not asked for are refused.
    pub(crate) fn on_reply(&mut self, from: MemberIndex, reply: FetchReply, out: &mut Vec<Output>) {
        let FetchReply {
            mut certificates,
            block,
        } = reply;
        certificates.truncate(CERTIFICATES_PER_REPLY_MAX);
        self.on_certificates(from, certificates, out);
        let Some((header, body)) = block else { return };
        let digest = header.digest();
        if !self.fetches.wants(&FetchRequest::Block(digest)) {
            // An answer that comes late is no offence, and costs the sender more than us.
            return;
        }
        if self.tree.lacks_bytes(&digest) {
            let notarized = self
                .rounds
                .iter()
                .rev()
                .find(|(_, r)| r.notarized() == Some(digest));
            let view = notarized.map_or(header.view, |(view, _)| header.view.max(*view));
            let finalized = self.finalization.as_ref();
            let is_final = finalized.and_then(|f| f.statement.digest()) == Some(digest);
            let view = if is_final {
                view.max(self.finalized_view())
            } else {
                view
            };
            if self.tree.take(digest, header.clone(), view) {
                out.push(Output::Block {
                    digest,
                    header: Box::new(header),
                    body,
                });
            }
        }
    }

    /// A member that still votes in a view that is closed here is sent what closed it and what came
    /// after, at most once per Δ. Late finalize votes are no sign of lagging.
    pub(crate) fn help_if_behind(&mut self, vote: &Vote, out: &mut Vec<Output>) {
        let (view, member) = (vote.statement.view(), vote.signer);
        // A replica whose seal is final enters no view; whoever votes on is to learn that it is over.
        let current = self.current.max(self.finalized_view().next());
        let is_over = self.tree.is_sealed();
        let lags = match vote.statement {
            _ if is_over => true,
            Statement::Finalize { .. } => false,
            Statement::Notarize { .. } => view.next() < current,
            Statement::Nullify { .. } => view < current,
        };
        if !lags || member == self.config.me {
            return;
        }
        let (now, delta) = (self.now, self.config.delta_ms);
        let Some(peer) = self.peers.get_mut(member.index()) else {
            return;
        };
        if peer
            .helped_at
            .is_some_and(|at| at.saturating_add(delta) > now)
        {
            return;
        }
        peer.helped_at = Some(now);
        self.tally.laggards_helped = self.tally.laggards_helped.saturating_add(1);
        let opener = self.opener(current);
        let newest = self
            .finalization
            .iter()
            .filter(|newest| newest.view() >= view);
        let later = self
            .rounds
            .range(view..)
            .flat_map(|(_, round)| round.certificates());
        let certificates = newest.chain(opener.iter()).chain(later).cloned();
        let certificates = certificates.take(CERTIFICATES_PER_REPLY_MAX).collect();
        let reply = FetchReply {
            certificates,
            block: None,
        };
        self.send(
            To::One(member),
            ConsensusMessage::Reply(Box::new(reply)),
            out,
        );
    }
}
