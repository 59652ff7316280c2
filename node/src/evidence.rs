//! What the beacon's members collect against validators, until a block holds it.
//!
//! What a block holds must be proven to all who vote on it, by committee and instance in the state
//! that the block builds on (`proofs.rs` `verify_evidence`). What the own core has verified may not
//! be: it goes by the committee that it works with, and where a chain has forked the beacon may know
//! another instance of the same epoch. So evidence counts here once a [`Judge`] has done the very
//! check that voters do, and only in states that have the [`JurisdictionId`] by which it held. A
//! leader takes what would change the state that it builds on, so what another block brought in is
//! not repeated.

use parking_lot::Mutex;
use skerry_execution::error::ProofFailure;
use skerry_execution::proofs::{Jurisdiction, JurisdictionId, verify_evidence};
use skerry_execution::views;
use skerry_types::committee::VerifyingCommittee;
use skerry_types::crypto::scheme::VoteScheme;
use skerry_types::evidence::{Conflict, Evidence};
use skerry_types::ids::{ChainRef, Digest, Epoch, MemberIndex, TimeMs};
use skerry_types::limits::BLOCK_EVIDENCE_MAX;
use skerry_types::state::StateRead;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// After how long what was taken up is said again for the first time; then after twice as long each
/// time, up to the longest.
const REPEAT_MS: u64 = 2_000;
const REPEAT_MS_MAX: u64 = 60_000;
/// Most evidence that waits; the newest epochs give way, since older ones go out of date first.
const EVIDENCE_MAX: usize = 256;
/// Committees that a judge keeps with their keys decoded: some 50 KiB each at most members of the
/// beacon.
const COMMITTEES_MAX: usize = 8;

/// Judges evidence by states of the beacon, and keeps the committees that it decoded last. The
/// threads of a node share it; what is kept changes no judgement.
#[derive(Debug, Default)]
pub struct Judge {
    /// The one asked for last stands last.
    committees: Mutex<VecDeque<(JurisdictionId, Arc<VerifyingCommittee>)>>,
}

impl Judge {
    /// Does what everybody does who votes on a block with this evidence on this state. Returns what
    /// it holds by.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn judge(
        &self,
        evidence: &Evidence,
        chain_id: Digest,
        beacon: &dyn StateRead,
        scheme: &dyn VoteScheme,
    ) -> Result<JurisdictionId, ProofFailure> {
        let (chain, epoch) = (evidence.chain, evidence.epoch);
        let jurisdiction = Jurisdiction::of(beacon, chain_id, (chain, epoch))
            .ok_or(ProofFailure::NotAdmissible { chain, epoch })?;
        let id = jurisdiction.id();
        let mut decoded = |jurisdiction: &Jurisdiction| self.decoded(id, jurisdiction, scheme);
        verify_evidence(evidence, &jurisdiction, &mut decoded, scheme)?;
        Ok(id)
    }

    fn decoded(
        &self,
        id: JurisdictionId,
        jurisdiction: &Jurisdiction,
        scheme: &dyn VoteScheme,
    ) -> Option<Arc<VerifyingCommittee>> {
        let known = {
            let mut committees = self.committees.lock();
            let position = committees.iter().position(|(known, _)| *known == id);
            position.and_then(|position| committees.remove(position))
        };
        let committee = match known {
            Some((_, committee)) => committee,
            // Outside the lock: it takes long, and twice is no harm.
            None => Arc::new(jurisdiction.decode(scheme)?),
        };
        let mut committees = self.committees.lock();
        committees.push_back((id, committee.clone()));
        while committees.len() > COMMITTEES_MAX {
            committees.pop_front();
        }
        Some(committee)
    }
}

/// What is kept once: of one member in one instance one pair of votes, of one instance one pair of
/// certificates and one fork. More would punish nobody else, or can wait until the first is included.
type Subject = (Epoch, ChainRef, Kind);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Votes(MemberIndex),
    Certificates,
    Finals,
}

fn subject(evidence: &Evidence) -> Subject {
    let kind = match &evidence.conflict {
        Conflict::Votes { first, .. } => Kind::Votes(first.signer),
        Conflict::Certificates { .. } => Kind::Certificates,
        Conflict::Finals { .. } => Kind::Finals,
    };
    (evidence.epoch, evidence.chain, kind)
}

/// How far evidence has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// No final state of the beacon could judge it yet.
    Unjudged,
    /// A job judges it.
    InJudgement,
    /// It holds by this.
    Proven(JurisdictionId),
}

#[derive(Clone, Debug)]
struct Waiting {
    evidence: Arc<Evidence>,
    standing: Standing,
    /// When it is said again.
    repeat_at: TimeMs,
    /// How long after the last time.
    pause_ms: u64,
}

/// Evidence that waits for a beacon block.
#[derive(Debug, Default)]
pub struct EvidencePool {
    waiting: BTreeMap<Subject, Waiting>,
    /// When something is to be said again at the earliest.
    repeat_at: TimeMs,
}

/// The jurisdictions of one beacon state. Those who ask go by chain and epoch in order, so the last
/// one is enough to read each once.
struct Court<'a> {
    beacon: &'a dyn StateRead,
    chain_id: Digest,
    /// The last place asked for, and what the state has of it.
    place: Option<(ChainRef, Epoch)>,
    found: Option<(Jurisdiction, JurisdictionId)>,
}

impl<'a> Court<'a> {
    fn new(beacon: &'a dyn StateRead, chain_id: Digest) -> Self {
        Self {
            beacon,
            chain_id,
            place: None,
            found: None,
        }
    }

    fn of(&mut self, evidence: &Evidence) -> Option<&(Jurisdiction, JurisdictionId)> {
        let place = (evidence.chain, evidence.epoch);
        if self.place != Some(place) {
            let found = Jurisdiction::of(self.beacon, self.chain_id, place);
            self.found = found.map(|found| {
                let id = found.id();
                (found, id)
            });
            self.place = Some(place);
        }
        self.found.as_ref()
    }

    /// Whether a block on this state may hold proven evidence, and it would change something.
    fn awaits(&mut self, waiting: &Waiting) -> bool {
        let beacon = self.beacon;
        let Standing::Proven(by) = waiting.standing else {
            return false;
        };
        self.of(&waiting.evidence).is_some_and(|(found, id)| {
            *id == by && views::is_news_of(beacon, found.committee(), &waiting.evidence)
        })
    }
}

impl EvidencePool {
    /// Whether evidence of the same offence is here.
    pub fn has(&self, evidence: &Evidence) -> bool {
        self.waiting.contains_key(&subject(evidence))
    }

    /// Takes what a core of this node has verified, to be judged; says whether it was not here. What
    /// no block may hold is not taken.
    pub fn note(&mut self, evidence: Arc<Evidence>) -> bool {
        let subject = subject(&evidence);
        if !evidence.is_small() || self.waiting.contains_key(&subject) {
            return false;
        }
        let waiting = Waiting {
            evidence,
            standing: Standing::Unjudged,
            repeat_at: TimeMs::ZERO,
            pause_ms: REPEAT_MS,
        };
        self.put(subject, waiting);
        self.waiting.contains_key(&subject)
    }

    /// Takes what was judged to hold; says whether that is news.
    pub fn prove(&mut self, evidence: Arc<Evidence>, by: JurisdictionId, now: TimeMs) -> bool {
        let subject = subject(&evidence);
        let held = self.waiting.get(&subject).map(|held| held.standing);
        if !evidence.is_small() || matches!(held, Some(Standing::Proven(_))) {
            return false;
        }
        let waiting = Waiting {
            evidence,
            standing: Standing::Proven(by),
            repeat_at: now.saturating_add(REPEAT_MS),
            pause_ms: REPEAT_MS,
        };
        self.put(subject, waiting);
        self.waiting.contains_key(&subject)
    }

    fn put(&mut self, subject: Subject, waiting: Waiting) {
        self.waiting.insert(subject, waiting);
        while self.waiting.len() > EVIDENCE_MAX {
            self.waiting.pop_last();
        }
    }

    /// Forgets what was judged not to hold.
    pub fn refuse(&mut self, evidence: &Evidence) {
        let subject = subject(evidence);
        if self
            .waiting
            .get(&subject)
            .is_some_and(|held| *held.evidence == *evidence)
        {
            self.waiting.remove(&subject);
        }
    }

    /// What a final state of the beacon can judge and nobody has, at most so much, oldest epochs
    /// first. It counts as in judgement until [`Self::prove`] or [`Self::refuse`].
    pub fn take_unjudged(
        &mut self,
        beacon: &dyn StateRead,
        chain_id: Digest,
        limit: usize,
    ) -> Vec<Arc<Evidence>> {
        let mut court = Court::new(beacon, chain_id);
        let unjudged = |waiting: &&mut Waiting| waiting.standing == Standing::Unjudged;
        let unjudged = self.waiting.values_mut().filter(unjudged);
        let mut taken = Vec::new();
        for waiting in unjudged {
            if taken.len() >= limit {
                break;
            }
            if court.of(&waiting.evidence).is_some() {
                waiting.standing = Standing::InJudgement;
                taken.push(waiting.evidence.clone());
            }
        }
        taken
    }

    /// What a block on a state of the beacon is to hold, oldest epochs first: all of it is valid
    /// there, and news.
    pub fn due(&self, beacon: &dyn StateRead, chain_id: Digest) -> Vec<Arc<Evidence>> {
        let mut court = Court::new(beacon, chain_id);
        let due = self.waiting.values().filter(|it| court.awaits(it));
        let due = due.take(BLOCK_EVIDENCE_MAX);
        due.map(|waiting| waiting.evidence.clone()).collect()
    }

    /// Whether it is time to look for what is to be said again.
    pub fn is_repeat_due(&self, now: TimeMs) -> bool {
        now >= self.repeat_at && !self.waiting.is_empty()
    }

    /// What is to be said again, of what is due in a final state of the beacon.
    pub fn take_repeats(
        &mut self,
        beacon: &dyn StateRead,
        chain_id: Digest,
        now: TimeMs,
    ) -> Vec<Arc<Evidence>> {
        self.repeat_at = now.saturating_add(REPEAT_MS / 4);
        let due = self.due(beacon, chain_id).into_iter();
        due.filter(|evidence| {
            let held = self.waiting.get_mut(&subject(evidence));
            let Some(held) = held.filter(|held| held.repeat_at <= now) else {
                return false;
            };
            held.pause_ms = held.pause_ms.saturating_mul(2).min(REPEAT_MS_MAX);
            held.repeat_at = now.saturating_add(held.pause_ms);
            true
        })
        .collect()
    }

    /// Forgets what a final state of the beacon has, or keeps no committee for any more. What it
    /// cannot judge yet stays.
    pub fn prune(&mut self, beacon: &dyn StateRead) {
        let open = views::epoch(beacon, ChainRef::Beacon);
        let open = open.map_or(Epoch::ZERO, |record| record.epoch);
        self.waiting.retain(|(epoch, chain, _), waiting| {
            let is_kept = || views::committee(beacon, *chain, *epoch).is_some();
            let is_early =
                views::instance(beacon, *chain, *epoch).is_none() && (*epoch >= open || is_kept());
            is_early || views::is_news(beacon, &waiting.evidence)
        });
    }
}

#[cfg(test)]
mod tests;
