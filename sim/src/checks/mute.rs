//! A key whose vote log was lost signs nothing before the first final block of the next epoch but
//! one: judged from what was final anywhere when the log went, and from all that the key had signed.

use super::{Broken, Place};
use crate::counts::Counts;
use skerry_types::ids::{ChainRef, Epoch};
use std::collections::{BTreeMap, BTreeSet};

/// From the epoch that was open at the loss to the one in which the key may sign again.
const EPOCHS: u64 = 2;

/// What is known of lost logs.
#[derive(Debug, Default)]
pub(super) struct Losses {
    /// The newest epoch of a final block of each chain.
    finals: BTreeMap<ChainRef, Epoch>,
    /// The newest epoch in which a node voted on a chain.
    voted: BTreeMap<(usize, ChainRef), Epoch>,
    /// The first epoch in which a node may vote on a chain.
    from: BTreeMap<(usize, ChainRef), Epoch>,
    /// Nodes that lost their log.
    lost: BTreeSet<usize>,
    /// Those of them that have not voted since.
    quiet: BTreeSet<usize>,
}

impl Losses {
    /// A block of this epoch is final.
    pub(super) fn on_final(&mut self, chain: ChainRef, epoch: Epoch) {
        let newest = self.finals.entry(chain).or_default();
        *newest = epoch.max(*newest);
    }

    /// The log of a node is gone.
    pub(super) fn on_lost(&mut self, node: usize) {
        self.lost.insert(node);
        self.quiet.insert(node);
        for (chain, epoch) in &self.finals {
            let open = epoch.saturating_add(EPOCHS);
            let voted = self.voted.get(&(node, *chain));
            let from = voted.map_or(open, |voted| open.max(voted.next()));
            self.from.insert((node, *chain), from);
        }
    }

    /// Whether a node lost its log.
    pub(super) fn has_lost(&self, node: usize) -> bool {
        self.lost.contains(&node)
    }

    /// A node signs a vote.
    pub(super) fn on_vote(&mut self, node: usize, place: Place, counts: &mut Counts) -> Broken {
        self.check(node, place)?;
        let (chain, epoch) = place;
        let newest = self.voted.entry((node, chain)).or_default();
        *newest = epoch.max(*newest);
        if self.quiet.remove(&node) {
            counts.note("votes after a lost log");
        }
        Ok(())
    }

    /// Whether a node may sign something of this epoch, and a block is final that lets it.
    pub(super) fn check(&self, node: usize, (chain, epoch): Place) -> Broken {
        if !self.lost.contains(&node) {
            return Ok(());
        }
        let from = self.from.get(&(node, chain)).copied();
        let from = from.unwrap_or_else(|| Epoch::ZERO.saturating_add(EPOCHS));
        let top = self.finals.get(&chain).copied().unwrap_or_default();
        if epoch >= from && top >= from {
            return Ok(());
        }
        Err(format!(
            "node {node} has lost its vote log and signs in epoch {epoch} of {chain}, where {from} is \
             the first it may sign in and {top} the newest of a final block"
        ))
    }
}
