//! How evidence reaches the beacon: from the core of whichever chain saw the contradiction to this
//! node's beacon, by gossip to the beacon's other members, and into the next block of its leader.
//!
//! Who has seen a contradiction says it again until a final state of the beacon holds it. A node that
//! is restarted forgets; all other members of the committee have seen the same votes.

use super::jobs::{Executed, Job, Work};
use super::{ChainNode, Note, Output};
use crate::wire::Announcement;
use skerry_execution::views;
use skerry_types::beacon::{CrossLink, SystemOperation};
use skerry_types::codec::encode;
use skerry_types::evidence::{Evidence, FinalHeader};
use skerry_types::ids::{ChainRef, Digest, TimeMs};
use skerry_types::limits::EVIDENCE_BYTES_MAX;
use std::collections::BTreeSet;
use std::sync::Arc;

/// How often what is not included yet is said again.
const REPEAT_MS: u64 = 2_000;
/// Most evidence that is being checked; more is dropped, and comes again.
const CHECKING_MAX: usize = 4;

/// Evidence on its way into the pool.
#[derive(Default)]
pub(super) struct Accusations {
    /// How much is being checked.
    checking: usize,
    /// When what waits is said again.
    repeat_at: TimeMs,
    /// The announced block that was last compared with a final one.
    compared: Option<Digest>,
}

impl ChainNode {
    /// The core has verified that members contradicted themselves.
    pub(super) fn accuse(&mut self, evidence: Box<Evidence>, out: &mut Vec<Output>) {
        out.push(Output::Note(Note::Fault(format!(
            "members contradict themselves: {evidence:?}"
        ))));
        let evidence: Arc<Evidence> = Arc::from(evidence);
        if self.chain.is_beacon() {
            self.on_own_evidence(evidence, out);
        } else {
            out.push(Output::Evidence(evidence));
        }
    }

    /// What a core of this node has verified, for the beacon and for whoever leads it.
    pub(super) fn on_own_evidence(&mut self, evidence: Arc<Evidence>, out: &mut Vec<Output>) {
        if self.chain.is_beacon() && self.evidence.insert(evidence.clone()) {
            publish(&evidence, out);
        }
    }

    /// Evidence that is not verified: from gossip, or from another chain of this node.
    pub(super) fn on_claim(&mut self, evidence: Box<Evidence>, out: &mut Vec<Output>) {
        let is_member = self.chain.is_beacon() && self.instance.voter.is_some();
        let has_room = self.accusations.checking < CHECKING_MAX;
        let has_room = has_room && encode(&*evidence).len() <= EVIDENCE_BYTES_MAX;
        let state = &self.tree.root().executed.state;
        if is_member && has_room && self.evidence.wants(&evidence, state) {
            let beacon = state.clone();
            self.accusations.checking = self.accusations.checking.saturating_add(1);
            out.push(Output::Work(Job::Evidence { beacon, evidence }));
        }
    }

    /// A claim was checked; present when it holds.
    pub(super) fn on_verified_evidence(&mut self, evidence: Option<Box<Evidence>>) {
        self.accusations.checking = self.accusations.checking.saturating_sub(1);
        if let Some(evidence) = evidence {
            self.evidence.insert(Arc::from(evidence));
        }
    }

    /// Says again what no final state has.
    pub(super) fn repeat_evidence(&mut self, out: &mut Vec<Output>) {
        if !self.chain.is_beacon() || self.now < self.accusations.repeat_at {
            return;
        }
        self.accusations.repeat_at = self.now.saturating_add(REPEAT_MS);
        for evidence in self.evidence.due(&self.tree.root().executed.state) {
            publish(&evidence, out);
        }
    }

    /// A final header of this chain that somebody announces, at a height where another block is final
    /// here: if it is what it says, the chain has forked.
    pub(super) fn compare_final(&mut self, link: CrossLink, out: &mut Vec<Output>) {
        let CrossLink {
            header,
            path,
            certificate,
            ..
        } = link;
        let digest = header.digest();
        let is_other = match self.store.digest_at(header.height) {
            Ok(Some(own)) => own != digest,
            // Not final here, or a store that cannot be read, which says so elsewhere.
            Ok(None) | Err(_) => false,
        };
        if !is_other || self.accusations.compared.replace(digest) == Some(digest) {
            return;
        }
        let Ok(Some(own)) = self.store.finalized_block(header.height) else {
            return;
        };
        let own = FinalHeader {
            header: own.block.header,
            path: own.path,
            certificate: own.certificate,
        };
        let other = FinalHeader {
            header,
            path,
            certificate,
        };
        let Some(evidence) = Evidence::of_finals(own, other).map(Box::new) else {
            return;
        };
        if self.chain.is_beacon() {
            self.on_claim(evidence, out);
        } else {
            out.push(Output::Claim(evidence));
        }
    }
}

fn publish(evidence: &Evidence, out: &mut Vec<Output>) {
    let word = encode(&Announcement::Evidence(Box::new(evidence.clone())));
    if word.len() <= EVIDENCE_BYTES_MAX {
        let (topic, payload) = (ChainRef::Beacon, word.into());
        out.push(Output::Publish { topic, payload });
    }
}

/// Tells the operator whom a final block punishes.
pub(super) fn note_punished(work: &Work, executed: &Executed, out: &mut Vec<Output>) {
    let places = work
        .body
        .system
        .iter()
        .filter_map(|operation| match operation {
            SystemOperation::Evidence(evidence) => Some((evidence.chain, evidence.epoch)),
            SystemOperation::CrossLink(_) | SystemOperation::Ready(_) => None,
        });
    for (chain, epoch) in places.collect::<BTreeSet<_>>() {
        let offences = views::offences(&executed.state, chain, epoch).punished;
        let here = offences.into_iter();
        for punished in here.filter(|it| it.height == executed.block.height) {
            out.push(Output::Note(Note::Punished {
                validator: punished.validator,
                chain,
                epoch,
                slash: punished.slash,
            }));
        }
    }
}
