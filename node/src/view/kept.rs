//! The states that a node keeps of a chain, so that proofs can be made against the roots that the
//! beacon attests, which lie some blocks behind the newest.
//!
//! States share what they have in common, so one costs what its block changed; under load that is
//! most of the memory of a node, and states below the attested one are given up at once.

use skerry_storage::StateTree;
use skerry_types::ids::{Digest, Height};
use std::collections::VecDeque;

/// Most states kept, where nothing newer is attested for long.
const STATES_MAX: usize = 256;

/// The states of a chain from the attested one on, by the height of the block that they are after.
pub(super) struct KeptStates {
    states: VecDeque<(Height, StateTree)>,
    attested: Height,
}

impl KeptStates {
    pub(super) fn new(height: Height, state: StateTree) -> Self {
        Self {
            states: VecDeque::from([(height, state.for_keeping())]),
            attested: Height::ZERO,
        }
    }

    /// Adds the state after the block at `height`, which nothing may have changed.
    pub(super) fn add(&mut self, height: Height, state: &StateTree) {
        let newest = self.states.back();
        if newest.is_none_or(|(at, newest)| *at < height && newest.root() != state.root()) {
            self.states.push_back((height, state.for_keeping()));
        }
        while self.states.len() > STATES_MAX {
            self.states.pop_front();
        }
    }

    /// Gives up what is older than the state after the block that was attested before `attested`.
    /// The newest attestation may be known to a shard's block and not yet to this node's beacon.
    pub(super) fn prune(&mut self, attested: Height) {
        if attested <= self.attested {
            return;
        }
        let before = std::mem::replace(&mut self.attested, attested);
        while self.states.get(1).is_some_and(|(at, _)| *at <= before) {
            self.states.pop_front();
        }
    }

    /// The state with this root.
    pub(super) fn with_root(&self, root: &Digest) -> Option<StateTree> {
        self.states
            .iter()
            .rev()
            .find(|(_, state)| state.root() == *root)
            .map(|(_, state)| state.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skerry_types::ids::{Address, ModuleId};
    use skerry_types::state::{ChangeSet, StateKey, Value};

    fn state(number: u8) -> StateTree {
        let key = StateKey::new(Address::new([number; 32]), ModuleId::new(1), vec![number]);
        let value = Value::from(vec![number]);
        StateTree::empty().apply(&ChangeSet::from([(key, Some(value))]))
    }

    #[test]
    fn the_attested_state_and_newer_ones_are_kept() {
        let mut kept = KeptStates::new(Height::ZERO, state(0));
        for number in 1..=5_u8 {
            let height = Height::new(u64::from(number) * 2);
            kept.add(height, &state(number));
            // An idle block changes nothing.
            kept.add(height.next(), &state(number));
        }
        assert_eq!(kept.states.len(), 6);
        // The block at 7 was idle: the state after it is the one after 6.
        kept.prune(Height::new(7));
        assert_eq!(kept.states.len(), 6);
        kept.prune(Height::new(7));
        assert_eq!(kept.states.len(), 6);
        kept.prune(Height::new(9));
        for number in 0..=5 {
            let is_kept = kept.with_root(&state(number).root()).is_some();
            assert_eq!(is_kept, number >= 3, "{number}");
        }
        kept.prune(Height::new(1_000));
        kept.prune(Height::new(1_001));
        assert!(kept.with_root(&state(5).root()).is_some());
    }

    #[test]
    fn without_attestations_the_newest_are_kept() {
        let mut kept = KeptStates::new(Height::ZERO, StateTree::empty());
        let mut tree = StateTree::empty();
        for number in 1..=300_u64 {
            let key = StateKey::new(Address::new([1; 32]), ModuleId::new(1), vec![1]);
            let value = Value::from(number.to_le_bytes().to_vec());
            tree = tree.apply(&ChangeSet::from([(key, Some(value))]));
            kept.add(Height::new(number), &tree);
        }
        assert_eq!(kept.states.len(), STATES_MAX);
        assert!(kept.with_root(&tree.root()).is_some());
    }
}
