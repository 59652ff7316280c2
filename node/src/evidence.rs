//! What the beacon's members collect against validators, until a block holds it.
//!
//! Everything here was verified. A leader takes what would change the state that it builds on, so
//! what another block brought in is not repeated.

use skerry_execution::views;
use skerry_types::evidence::{Conflict, Evidence};
use skerry_types::ids::{ChainRef, Epoch, MemberIndex};
use skerry_types::limits::BLOCK_EVIDENCE_MAX;
use skerry_types::state::StateRead;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Most evidence that waits; the newest epochs give way, since older ones go out of date first.
const EVIDENCE_MAX: usize = 256;

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

/// Verified evidence that waits for a beacon block.
#[derive(Debug, Default)]
pub struct EvidencePool {
    waiting: BTreeMap<Subject, Arc<Evidence>>,
}

impl EvidencePool {
    /// Whether evidence, if it holds, would be new to a state of the beacon and to the pool.
    pub fn wants(&self, evidence: &Evidence, beacon: &dyn StateRead) -> bool {
        !self.waiting.contains_key(&subject(evidence)) && views::is_news(beacon, evidence)
    }

    /// Takes verified evidence; says whether it was not here.
    pub fn insert(&mut self, evidence: Arc<Evidence>) -> bool {
        let is_new = self.waiting.insert(subject(&evidence), evidence).is_none();
        while self.waiting.len() > EVIDENCE_MAX {
            self.waiting.pop_last();
        }
        is_new
    }

    /// What a block on a state of the beacon is to hold, oldest epochs first.
    pub fn due(&self, beacon: &dyn StateRead) -> Vec<Arc<Evidence>> {
        let is_news = |evidence: &&Arc<Evidence>| views::is_news(beacon, evidence);
        let due = self.waiting.values().filter(is_news);
        due.take(BLOCK_EVIDENCE_MAX).cloned().collect()
    }

    /// Forgets what a final state of the beacon has, or keeps no committee for any more. What it
    /// cannot judge yet stays.
    pub fn prune(&mut self, beacon: &dyn StateRead) {
        let open = views::epoch(beacon, ChainRef::Beacon);
        let open = open.map_or(Epoch::ZERO, |record| record.epoch);
        self.waiting.retain(|(epoch, chain, _), evidence| {
            let is_kept = || views::committee(beacon, *chain, *epoch).is_some();
            let is_early =
                views::instance(beacon, *chain, *epoch).is_none() && (*epoch >= open || is_kept());
            is_early || views::is_news(beacon, evidence)
        });
    }
}

#[cfg(test)]
mod tests;
