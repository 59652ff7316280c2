//! How evidence reaches the beacon: from the core of whichever chain saw the contradiction to this
//! node's beacon, to the beacon's other members, and into the next block of its leader.
//!
//! It travels over direct streams, from members of the beacon to each other, and only once it is
//! proven: by gossip it would travel on before anybody has looked at it, and nobody could be blamed.
//! So who sends false evidence has made it up or not looked, and loses reputation. Checking costs
//! some milliseconds, so it is rationed ([`Ration`]): nobody can have more judged than its share,
//! and what was refused once is not judged again.
//!
//! Who knows of a contradiction says it again, less and less often, until a final state of the beacon
//! holds it. A node that is restarted forgets; all other members of the committee have seen the same
//! votes.

use super::jobs::{Executed, Job, Judged, Work};
use super::{ChainNode, Note, Output, Peer};
use crate::wire::kind;
use skerry_consensus::output::To;
use skerry_execution::views;
use skerry_network::Misbehaviour;
use skerry_storage::StateTree;
use skerry_types::beacon::{CrossLink, SystemOperation};
use skerry_types::codec::{decode, encode};
use skerry_types::crypto::bls::PublicKey;
use skerry_types::crypto::hash::plain;
use skerry_types::evidence::{Evidence, FinalHeader};
use skerry_types::ids::{Digest, LogPosition, TimeMs};
use skerry_types::limits;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// Most claims of others that are judged at once; more are dropped, and come again.
pub(super) const CLAIMS_MAX: usize = 4;
/// Most of them of one sender.
const CLAIMS_OF_ONE_MAX: usize = 2;
/// Most of what this node's own cores have verified that is judged at once.
const OWN_MAX: usize = 4;
/// What judging a claim costs its sender: it may have one judged a second, in the long run.
const CLAIM_COST_MS: u64 = 1_000;
/// What it costs to find out that a claim is no news: the committee is read from the state.
const LOOK_COST_MS: u64 = 50;
/// How much a sender may have judged at once: as much as one block can hold.
const CLAIM_CREDIT_MS: u64 = 16 * CLAIM_COST_MS;
/// Most senders of which something is remembered: all members of the beacon, and rumours.
const SENDERS_MAX: usize = limits::VALIDATORS_MAX + 1;
/// Most digests of refused evidence that are remembered; the oldest give way.
const REFUSED_MAX: usize = 1_024;

/// Whose evidence a job judges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Accuser {
    /// A core of this node, which has verified it by its own committee.
    Own,
    /// Nobody in particular: this node has compared a final header with one that somebody announced.
    Rumour,
    /// A member of the beacon, by its vote key; and the connection that it used.
    Member(PublicKey, Peer),
}

impl Accuser {
    /// Whom it is charged to; a member stays the same over all its connections.
    const fn account(&self) -> Option<PublicKey> {
        match self {
            Self::Own | Self::Rumour => None,
            Self::Member(key, _) => Some(*key),
        }
    }
}

/// What a sender has used of its share.
#[derive(Clone, Copy, Debug, Default)]
struct Ration {
    /// How many of its claims are being judged.
    open: usize,
    /// When all that was judged for it is paid for.
    paid_at: TimeMs,
}

impl Ration {
    fn has_room(&self, now: TimeMs) -> bool {
        let credit = now.saturating_add(CLAIM_CREDIT_MS);
        self.open < CLAIMS_OF_ONE_MAX && self.paid_at.saturating_add(CLAIM_COST_MS) <= credit
    }

    fn charge(&mut self, now: TimeMs, cost_ms: u64) {
        self.paid_at = self.paid_at.max(now).saturating_add(cost_ms);
    }

    fn is_idle(&self, now: TimeMs) -> bool {
        self.open == 0 && self.paid_at <= now
    }
}

/// Evidence on its way into the pool.
#[derive(Default)]
pub(super) struct Accusations {
    /// How much of the own is being judged.
    own: usize,
    /// What senders of claims have used, by [`Accuser::account`].
    rations: BTreeMap<Option<PublicKey>, Ration>,
    /// Digests of what was refused, the oldest first.
    refused: VecDeque<Digest>,
    /// The announced block that was last compared with a final one.
    compared: Option<Digest>,
}

impl Accusations {
    /// Whether a claim of this sender may be judged now.
    fn has_room(&mut self, accuser: &Accuser, now: TimeMs) -> bool {
        self.rations.retain(|_, ration| !ration.is_idle(now));
        let open = self.open_claims();
        let account = accuser.account();
        let is_known = self.rations.contains_key(&account);
        let ration = self.rations.get(&account).copied().unwrap_or_default();
        let has_place = is_known || self.rations.len() < SENDERS_MAX;
        open < CLAIMS_MAX && has_place && ration.has_room(now)
    }

    /// Claims of others that are being judged.
    pub(super) fn open_claims(&self) -> usize {
        self.rations.values().map(|ration| ration.open).sum()
    }

    /// Charges the sender of a claim for a look at it.
    fn look(&mut self, accuser: &Accuser, now: TimeMs) {
        let ration = self.rations.entry(accuser.account()).or_default();
        ration.charge(now, LOOK_COST_MS);
    }

    /// Charges the sender of a claim that is judged.
    fn open(&mut self, accuser: &Accuser, now: TimeMs) {
        let ration = self.rations.entry(accuser.account()).or_default();
        ration.charge(now, CLAIM_COST_MS);
        ration.open = ration.open.saturating_add(1);
    }

    /// A judgement is there.
    fn close(&mut self, accuser: &Accuser) {
        if *accuser == Accuser::Own {
            self.own = self.own.saturating_sub(1);
        } else if let Some(ration) = self.rations.get_mut(&accuser.account()) {
            ration.open = ration.open.saturating_sub(1);
        }
    }

    fn refuse(&mut self, digest: Digest) {
        if !self.refused.contains(&digest) {
            self.refused.push_back(digest);
        }
        while self.refused.len() > REFUSED_MAX {
            self.refused.pop_front();
        }
    }
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
        if self.chain.is_beacon() && self.evidence.note(evidence) {
            self.judge_own(out);
        }
    }

    /// Has judged what the own cores have verified, as far as the final state can judge it.
    pub(super) fn judge_own(&mut self, out: &mut Vec<Output>) {
        let room = OWN_MAX.saturating_sub(self.accusations.own);
        let state = self.tree.root().executed.state.clone();
        for evidence in self
            .evidence
            .take_unjudged(&state, self.shared.chain_id, room)
        {
            self.accusations.own = self.accusations.own.saturating_add(1);
            judge(Accuser::Own, evidence, state.clone(), out);
        }
    }

    /// Evidence from another member of the beacon.
    pub(super) fn on_evidence_frame(&mut self, peer: Peer, payload: &[u8], out: &mut Vec<Output>) {
        let key = self.peers.get(&peer).and_then(|state| state.key);
        let Some(key) = key.filter(|key| self.instance.member(key).is_some()) else {
            return;
        };
        match decode::<Evidence>(payload, limits::EVIDENCE_BYTES_MAX) {
            Ok(evidence) => self.on_claim(Accuser::Member(key, peer), Arc::new(evidence), out),
            Err(_) => out.push(Output::Misbehaved {
                peer,
                how: Misbehaviour::InvalidMessage,
            }),
        }
    }

    /// Evidence that nobody here has verified.
    pub(super) fn on_claim(
        &mut self,
        accuser: Accuser,
        evidence: Arc<Evidence>,
        out: &mut Vec<Output>,
    ) {
        let is_member = self.chain.is_beacon() && self.instance.voter.is_some();
        if !is_member || self.evidence.has(&evidence) || !evidence.is_small() {
            return;
        }
        if self.accusations.refused.contains(&digest_of(&evidence)) {
            blame(accuser, out);
            return;
        }
        if !self.accusations.has_room(&accuser, self.now) {
            return;
        }
        self.accusations.look(&accuser, self.now);
        let state = &self.tree.root().executed.state;
        if views::is_news(state, &evidence) {
            let state = state.clone();
            self.accusations.open(&accuser, self.now);
            judge(accuser, evidence, state, out);
        }
    }

    /// Evidence was judged by a final state. Other honest members have the same one or none, so that
    /// what does not hold here holds nowhere.
    pub(super) fn on_judged(&mut self, judged: Judged, out: &mut Vec<Output>) {
        let Judged {
            accuser,
            evidence,
            by,
        } = judged;
        self.accusations.close(&accuser);
        match by {
            None => {
                self.evidence.refuse(&evidence);
                self.accusations.refuse(digest_of(&evidence));
                blame(accuser, out);
            }
            Some(by) => {
                // Of what the own core saw, everybody is told at once; of the rest they know.
                let is_own = accuser == Accuser::Own;
                if self.evidence.prove(evidence.clone(), by, self.now) && is_own {
                    self.tell_members(&evidence, out);
                }
            }
        }
        self.judge_own(out);
    }

    /// Says again what no final state has.
    pub(super) fn repeat_evidence(&mut self, out: &mut Vec<Output>) {
        if !self.chain.is_beacon() || !self.evidence.is_repeat_due(self.now) {
            return;
        }
        let state = self.tree.root().executed.state.clone();
        let chain_id = self.shared.chain_id;
        for evidence in self.evidence.take_repeats(&state, chain_id, self.now) {
            self.tell_members(&evidence, out);
        }
    }

    /// Sends proven evidence to the beacon's other members.
    fn tell_members(&self, evidence: &Evidence, out: &mut Vec<Output>) {
        let payload = encode(evidence).into();
        let after = LogPosition::ZERO;
        self.send_to(
            &self.instance,
            To::All,
            kind::EVIDENCE,
            &payload,
            after,
            out,
        );
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
        let Some(evidence) = Evidence::of_finals(own, other).map(Arc::new) else {
            return;
        };
        if self.chain.is_beacon() {
            self.on_claim(Accuser::Rumour, evidence, out);
        } else {
            out.push(Output::Claim(evidence));
        }
    }
}

fn judge(accuser: Accuser, evidence: Arc<Evidence>, beacon: StateTree, out: &mut Vec<Output>) {
    out.push(Output::Work(Job::Evidence {
        accuser,
        beacon,
        evidence,
    }));
}

fn digest_of(evidence: &Evidence) -> Digest {
    plain(&encode(evidence))
}

/// Whoever has sent false evidence has not looked at it, or made it up.
fn blame(accuser: Accuser, out: &mut Vec<Output>) {
    if let Accuser::Member(_, peer) = accuser {
        out.push(Output::Misbehaved {
            peer,
            how: Misbehaviour::InvalidSignature,
        });
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

#[cfg(test)]
mod tests;
