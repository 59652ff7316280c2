//! Reported states of a shard that the beacon may still cross-link, and the one that it has.
//!
//! Of a fenced shard only what its last cross-linked state proves is accepted elsewhere (see
//! [`skerry_execution::fence`]). Its members may have gone on from there, so the newest state proves
//! nothing; they keep the cross-linked one for what was on its way. It is kept in memory: a node that
//! has started anew since proves it only where the state has not changed.
//!
//! Rules: DESIGN section 9.

use super::finality::ReportProof;
use skerry_storage::StateTree;
use skerry_types::beacon::ShardRecord;
use std::collections::VecDeque;

/// Most states that wait for their cross-link: what a busy shard reports in about two seconds. States
/// share what they have in common.
const WAITING_MAX: usize = 32;

/// A reported state, with the proof that its report is final.
pub(super) type Provable = (ReportProof, StateTree);

/// What of a shard's states can be proven once it is fenced.
#[derive(Default)]
pub(super) struct Linked {
    linked: Option<Provable>,
    /// Newer than that, oldest first.
    waiting: VecDeque<Provable>,
}

/// Whether the fence lets through what is proven by this state: it is the cross-linked one, reported in
/// the open epoch.
fn is_linked(proof: &ReportProof, record: &ShardRecord) -> bool {
    let header = &proof.header;
    header.epoch == record.epoch && header.report.result.state_root == record.state_root
}

impl Linked {
    /// A state of this shard is reported by a final header.
    pub(super) fn note(&mut self, provable: Provable) {
        self.waiting.push_back(provable);
        if self.waiting.len() > WAITING_MAX {
            self.waiting.pop_front();
        }
    }

    /// The beacon's record of this shard is now this.
    pub(super) fn settle(&mut self, record: &ShardRecord) {
        let position = self
            .waiting
            .iter()
            .rposition(|(proof, _)| is_linked(proof, record));
        if let Some(position) = position {
            self.linked = self.waiting.drain(..=position).next_back();
        }
        if record.fenced {
            // Nothing more will be cross-linked.
            self.waiting.clear();
        }
    }

    /// The state that the beacon has cross-linked, where it is known.
    pub(super) const fn get(&self) -> Option<&Provable> {
        self.linked.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{genesis, header, inbound, shard};
    use skerry_execution::fence::check_fence;
    use skerry_execution::genesis::genesis_facts;
    use skerry_execution::network::NetworkInfo;
    use skerry_types::ids::{Digest, Epoch};
    use skerry_types::message::BatchProof;

    fn root(number: u8) -> Digest {
        Digest::new([number; 32])
    }

    /// The state `number`, as a header of an epoch reports it.
    fn reported(number: u8, epoch: u64) -> Provable {
        let network = NetworkInfo::of(&genesis(1));
        let mut header = header(&network, shard(1, 0));
        header.epoch = Epoch::new(epoch);
        header.report.result.state_root = root(number);
        let channel = (shard(1, 0), shard(1, 1));
        let certificate = inbound(&network, channel, (0, Vec::new()), 0)
            .proof
            .certificate;
        let proof = ReportProof {
            header,
            path: Vec::new(),
            certificate,
        };
        (proof, StateTree::empty())
    }

    fn record(number: u8, epoch: u64) -> ShardRecord {
        let facts = genesis_facts(&genesis(1));
        ShardRecord {
            epoch: Epoch::new(epoch),
            state_root: root(number),
            ..facts.shard(shard(1, 0)).expect("of the genesis").clone()
        }
    }

    #[test]
    fn after_the_fence_the_cross_linked_state_can_still_be_proven() {
        let mut states = Linked::default();
        let mut record = record(2, 0);
        for number in 1..=4 {
            states.note(reported(number, 0));
        }
        assert!(states.get().is_none(), "nothing is cross-linked yet");
        states.settle(&record);
        record.fenced = true;
        for number in 5..40 {
            states.note(reported(number, 0));
        }
        states.settle(&record);
        assert!(states.waiting.is_empty());
        let (proof, _) = states.get().expect("it is kept");
        let (header, path) = (proof.header.clone(), proof.path.clone());
        let network = NetworkInfo::of(&genesis(1));
        let channel = (shard(1, 0), shard(1, 1));
        let template = inbound(&network, channel, (0, Vec::new()), 0).proof;
        let of = |header| BatchProof {
            header,
            path: path.clone(),
            ..template.clone()
        };
        assert_eq!(check_fence(&record, &of(header)), Ok(()));
        let newest = reported(39, 0).0.header;
        assert!(check_fence(&record, &of(newest)).is_err());
    }

    #[test]
    fn after_a_cross_linked_seal_a_header_of_the_next_epoch_is_awaited() {
        let mut states = Linked::default();
        states.note(reported(1, 0));
        states.settle(&record(1, 1));
        assert!(
            states.get().is_none(),
            "headers before the seal prove nothing"
        );
        states.note(reported(1, 1));
        states.settle(&record(1, 1));
        assert!(states.get().is_some());
        assert!(states.waiting.is_empty());
    }
}
