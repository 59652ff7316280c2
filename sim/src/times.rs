//! When honest nodes proposed, finalized and proved blocks, in virtual microseconds.

use skerry_types::block::Header;
use skerry_types::ids::{ChainRef, Digest, Height, MemberIndex, View};
use std::collections::BTreeMap;

/// The times of all blocks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Times {
    proposed: BTreeMap<Digest, Proposed>,
    blocks: BTreeMap<(ChainRef, Height), BlockTimes>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Proposed {
    view: View,
    leader: MemberIndex,
    at: u64,
}

/// The times of a final block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockTimes {
    /// The view it was proposed in.
    pub view: View,
    /// Who proposed it.
    pub leader: MemberIndex,
    /// When its proposal was sent.
    pub proposed: u64,
    /// When the first validator held it final.
    pub final_first: u64,
    /// When the last one did, of those that were up.
    pub final_last: u64,
    /// When the first node held a final header that reports its result; for working blocks.
    pub proven: Option<u64>,
}

impl Times {
    /// A header was proposed.
    pub fn on_proposed(&mut self, now: u64, digest: Digest, header: &Header) {
        self.proposed.entry(digest).or_insert(Proposed {
            view: header.view,
            leader: header.proposer,
            at: now,
        });
    }

    /// When a block of an honest leader was proposed first.
    pub fn proposed_at(&self, digest: &Digest) -> Option<u64> {
        self.proposed.get(digest).map(|proposed| proposed.at)
    }

    /// A validator holds a block final.
    pub fn on_final(&mut self, now: u64, chain: ChainRef, height: Height, digest: &Digest) {
        let Some(proposed) = self.proposed.get(digest) else {
            return;
        };
        let times = self.blocks.entry((chain, height)).or_insert(BlockTimes {
            view: proposed.view,
            leader: proposed.leader,
            proposed: proposed.at,
            final_first: now,
            final_last: now,
            proven: None,
        });
        times.final_last = now;
    }

    /// A node commits the state after a block.
    pub fn on_proven(&mut self, now: u64, chain: ChainRef, height: Height) {
        if let Some(times) = self.blocks.get_mut(&(chain, height)) {
            times.proven.get_or_insert(now);
        }
    }

    /// The final blocks of a chain, by height.
    pub fn of(&self, chain: ChainRef) -> impl Iterator<Item = (Height, &BlockTimes)> {
        let range = (chain, Height::ZERO)..=(chain, Height::new(u64::MAX));
        let blocks = self.blocks.range(range);
        blocks.map(|((_, height), times)| (*height, times))
    }
}
