//! What a shard knows of the beacon, and what the beacon collects from the shards.
//!
//! [`BeaconFeed`] holds the final beacon blocks that a shard's blocks may refer to, with the facts
//! each one shows. [`LinkPool`] holds, for each shard, the newest verified header that the beacon
//! has not cross-linked.

use skerry_types::beacon::{CrossLink, Facts};
use skerry_types::block::BlockRef;
use skerry_types::ids::{ChainRef, Digest, Height};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// A final beacon block and the facts it shows: those of the state that its header reports.
#[derive(Clone, Debug)]
pub struct BeaconFinal {
    /// The block.
    pub block: BlockRef,
    /// Root of the facts.
    pub facts_root: Digest,
    /// The facts; absent when they are those of a state older than what this node holds.
    pub facts: Option<Arc<Facts>>,
}

/// How many final beacon blocks are remembered; older ones are looked up in the beacon's store. Only a
/// shard that stood still for long has blocks that refer to those.
pub const FEED_LENGTH: usize = 1024;

/// Finds the final beacon block at a height in the beacon's store.
pub type Archive = Arc<dyn Fn(Height) -> Option<BeaconPoint> + Send + Sync>;

/// A final beacon block, without the facts themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BeaconPoint {
    /// The block.
    pub block: BlockRef,
    /// Root of the facts that it shows.
    pub facts_root: Digest,
}

/// The final beacon blocks known to this node, in order of height, and the facts of the newest.
pub struct BeaconFeed {
    points: VecDeque<BeaconPoint>,
    newest: BeaconFinal,
    archive: Archive,
}

impl BeaconFeed {
    /// A feed that knows `points`, oldest first, the facts of one of them, and where to find what is
    /// older.
    pub fn new(points: Vec<BeaconPoint>, newest: BeaconFinal, archive: Archive) -> Self {
        Self {
            points: points.into(),
            newest,
            archive,
        }
    }

    /// Adds a newer block; without facts it can be referred to, but is not proposed.
    pub fn push(&mut self, block: BeaconFinal) {
        let point = BeaconPoint {
            block: block.block,
            facts_root: block.facts_root,
        };
        if self
            .points
            .back()
            .is_none_or(|last| last.block.height < point.block.height)
        {
            self.points.push_back(point);
        }
        while self.points.len() > FEED_LENGTH {
            self.points.pop_front();
        }
        if block.facts.is_some() && block.block.height > self.newest.block.height {
            self.newest = block;
        }
    }

    /// The newest block whose facts are at hand.
    pub fn newest(&self) -> &BeaconFinal {
        &self.newest
    }

    /// The block of a reference, if this node knows it to be final.
    pub fn get(&self, reference: &BlockRef) -> Option<BeaconPoint> {
        let recent = self
            .points
            .binary_search_by_key(&reference.height, |point| point.block.height)
            .ok()
            .and_then(|position| self.points.get(position).copied());
        let is_old = self
            .points
            .front()
            .is_some_and(|first| reference.height < first.block.height);
        let found = recent.or_else(|| {
            if is_old {
                (self.archive)(reference.height)
            } else {
                None
            }
        });
        found.filter(|point| point.block == *reference)
    }

    /// Whether the feed has come past `height`, so that an unknown reference at it is wrong
    /// rather than early.
    pub fn has_passed(&self, height: Height) -> bool {
        self.points
            .back()
            .is_some_and(|last| last.block.height >= height)
    }
}

/// Verified cross-links that wait for a beacon block, the newest of each shard.
#[derive(Debug, Default)]
pub struct LinkPool {
    links: BTreeMap<ChainRef, Arc<CrossLink>>,
    verified: VecDeque<Digest>,
}

/// How many digests of verified cross-links are remembered, so that a proposal's are not verified
/// again.
const VERIFIED_LENGTH: usize = 256;

impl LinkPool {
    /// Whether a link would be newer than the pool's for its shard.
    pub fn wants(&self, link: &CrossLink) -> bool {
        self.links
            .get(&link.header.chain)
            .is_none_or(|held| held.header.report.block.height < link.header.report.block.height)
    }

    /// Takes a verified link.
    pub fn insert(&mut self, link: Arc<CrossLink>) {
        self.verified.push_back(link.header.digest());
        while self.verified.len() > VERIFIED_LENGTH {
            self.verified.pop_front();
        }
        if self.wants(&link) {
            self.links.insert(link.header.chain, link);
        }
    }

    /// Whether a header was verified here as final.
    pub fn is_verified(&self, header: &Digest) -> bool {
        self.verified.contains(header)
    }

    /// The links that report more than `reported` says, in order of shard.
    pub fn newer_than(&self, reported: impl Fn(ChainRef) -> Option<Height>) -> Vec<Arc<CrossLink>> {
        self.links
            .values()
            .filter(|link| {
                reported(link.header.chain)
                    .is_some_and(|height| height < link.header.report.block.height)
            })
            .cloned()
            .collect()
    }

    /// Forgets links that the final state has.
    pub fn prune(&mut self, reported: impl Fn(ChainRef) -> Option<Height>) {
        self.links.retain(|chain, link| {
            reported(*chain).is_some_and(|height| height < link.header.report.block.height)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(height: u64) -> BeaconPoint {
        let mut digest = [7; 32];
        digest[..8].copy_from_slice(&height.to_le_bytes());
        let block = BlockRef {
            height: Height::new(height),
            digest: Digest::new(digest),
        };
        BeaconPoint {
            block,
            facts_root: Digest::new([9; 32]),
        }
    }

    fn final_at(height: u64) -> BeaconFinal {
        let BeaconPoint { block, facts_root } = point(height);
        BeaconFinal {
            block,
            facts_root,
            facts: None,
        }
    }

    #[test]
    fn reference_that_the_feed_has_dropped_is_found_in_the_store() {
        // The store has all but block 5.
        let archive: Archive = Arc::new(|height: Height| {
            Some(point(height.get())).filter(|_| height != Height::new(5))
        });
        let mut feed = BeaconFeed::new(vec![point(1)], final_at(1), archive);
        for height in 2..=3_000 {
            feed.push(final_at(height));
        }
        assert_eq!(feed.get(&point(2_999).block), Some(point(2_999)));
        assert_eq!(feed.get(&point(4).block), Some(point(4)));
        assert_eq!(feed.get(&point(5).block), None);
        let other = BlockRef {
            digest: Digest::ZERO,
            ..point(4).block
        };
        assert_eq!(feed.get(&other), None, "another block of that height");
        assert_eq!(feed.get(&point(3_001).block), None, "not final yet");
    }
}
