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

/// How many final beacon blocks are remembered; a reference to an older one is below its parent's
/// in any live chain.
pub const FEED_LENGTH: usize = 1024;

/// A final beacon block, without the facts themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BeaconPoint {
    /// The block.
    pub block: BlockRef,
    /// Root of the facts that it shows.
    pub facts_root: Digest,
}

/// The final beacon blocks known to this node, in order of height, and the facts of the newest.
#[derive(Debug)]
pub struct BeaconFeed {
    points: VecDeque<BeaconPoint>,
    newest: BeaconFinal,
}

impl BeaconFeed {
    /// A feed that knows `points`, oldest first, and the facts of one of them.
    pub fn new(points: Vec<BeaconPoint>, newest: BeaconFinal) -> Self {
        Self {
            points: points.into(),
            newest,
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
    pub fn get(&self, reference: &BlockRef) -> Option<&BeaconPoint> {
        let position = self
            .points
            .binary_search_by_key(&reference.height, |point| point.block.height)
            .ok()?;
        self.points
            .get(position)
            .filter(|point| point.block == *reference)
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
