//! What a shard knows of the beacon, and what the beacon collects from the shards.
//!
//! [`BeaconFeed`] holds the final beacon blocks that a shard's blocks may refer to, with the facts
//! each one shows. [`LinkPool`] holds, for each shard and epoch, the newest verified header that the
//! beacon has not cross-linked; [`ReadyPool`] holds what newcomers to committees say.

use crate::committees::Committees;
use skerry_types::beacon::{CrossLink, Facts, Ready, ShardRecord};
use skerry_types::block::{BlockKind, BlockRef};
use skerry_types::codec::encode;
use skerry_types::crypto::hash::plain;
use skerry_types::ids::{ChainRef, Digest, Epoch, Height, TimeMs, ValidatorId};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// A final beacon block and the facts it shows: those of the state that its header reports.
#[derive(Clone, Debug)]
pub struct BeaconFinal {
    /// The block.
    pub block: BlockRef,
    /// Its epoch.
    pub epoch: Epoch,
    /// Its time.
    pub time: TimeMs,
    /// Root of the facts.
    pub facts_root: Digest,
    /// The facts; absent when they are those of a state older than what this node holds.
    pub facts: Option<Arc<Facts>>,
    /// The committees that are known by then.
    pub committees: Arc<Committees>,
}

impl BeaconFinal {
    /// Whether blocks may refer to it: its facts are at hand, and of its own epoch. Between the end of
    /// an epoch and the seal, headers show the next one already.
    pub fn is_reference(&self) -> bool {
        let shown = self.facts.as_ref().map(|facts| facts.epoch.epoch);
        shown == Some(self.epoch)
    }
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
    /// Its epoch.
    pub epoch: Epoch,
    /// Root of the facts that it shows.
    pub facts_root: Digest,
}

/// The final beacon blocks known to this node, in order of height, and the facts of the newest.
pub struct BeaconFeed {
    points: VecDeque<BeaconPoint>,
    newest: BeaconFinal,
    /// The newest one with facts, whether or not blocks may refer to it.
    shown: (TimeMs, Option<Arc<Facts>>),
    /// Up to where the committees are known that count.
    known: Height,
    /// Since when which block is the newest that can be referred to; as far back as voters ask.
    seen: VecDeque<(TimeMs, Height)>,
    archive: Archive,
}

/// How many changes of the newest block are remembered: more than there are in four times Δ.
const SEEN_LENGTH: usize = 256;

impl BeaconFeed {
    /// A feed that knows `points`, oldest first, the facts of one of them, and where to find what is
    /// older.
    pub fn new(points: Vec<BeaconPoint>, newest: BeaconFinal, archive: Archive) -> Self {
        Self {
            points: points.into(),
            known: newest.block.height,
            shown: (newest.time, newest.facts.clone()),
            newest,
            seen: VecDeque::new(),
            archive,
        }
    }

    /// Adds a newer block, seen `now`; without facts it can be referred to, but is not proposed.
    pub fn push(&mut self, block: BeaconFinal, now: TimeMs) {
        let point = BeaconPoint {
            block: block.block,
            epoch: block.epoch,
            facts_root: block.facts_root,
        };
        if self
            .points
            .back()
            .is_none_or(|last| last.block.height < point.block.height)
        {
            self.points.push_back(point);
        }
        self.known = self.known.max(block.block.height);
        while self.points.len() > FEED_LENGTH {
            self.points.pop_front();
        }
        if block.facts.is_some() {
            self.shown = (block.time, block.facts.clone());
        }
        if block.is_reference() && block.block.height > self.newest.block.height {
            self.seen.push_back((now, block.block.height));
            while self.seen.len() > SEEN_LENGTH {
                self.seen.pop_front();
            }
            self.newest = block;
        }
    }

    /// Height of the newest block that could be referred to at a time, if that is remembered.
    pub fn newest_by(&self, time: TimeMs) -> Option<Height> {
        let mut seen = self.seen.iter().rev();
        let (_, height) = seen.find(|(at, _)| *at <= time)?;
        Some(*height)
    }

    /// The newest block that can be referred to and whose facts are at hand.
    pub fn newest(&self) -> &BeaconFinal {
        &self.newest
    }

    /// The time of the newest block with facts, and these: of the end of an epoch, too, when no block
    /// may refer to it yet.
    pub fn shown(&self) -> (TimeMs, Option<&Facts>) {
        (self.shown.0, self.shown.1.as_deref())
    }

    /// The block of a reference, if this node knows it to be final.
    pub fn get(&self, reference: &BlockRef) -> Option<BeaconPoint> {
        let found = self.at(reference.height);
        found.filter(|point| point.block == *reference)
    }

    /// Whether another block than that of a reference is final at its height. Of heights below a base
    /// that the beacon was joined at nothing is known.
    pub fn contradicts(&self, reference: &BlockRef) -> bool {
        let found = self.at(reference.height);
        found.is_some_and(|point| point.block != *reference)
    }

    /// The final block at a height, as far as it is known here.
    fn at(&self, height: Height) -> Option<BeaconPoint> {
        let recent = self
            .points
            .binary_search_by_key(&height, |point| point.block.height);
        match recent {
            Ok(position) => self.points.get(position).copied(),
            Err(_) if self.has_passed(height) => (self.archive)(height),
            Err(_) => None,
        }
    }

    /// Whether the committees are known that count in blocks which refer to `reference`: what the
    /// store alone has of the beacon says nothing of them.
    pub fn knows(&self, reference: &BlockRef) -> bool {
        reference.height <= self.known
    }

    /// Whether the feed has come past `height`.
    fn has_passed(&self, height: Height) -> bool {
        self.points
            .back()
            .is_some_and(|last| last.block.height >= height)
    }
}

/// Verified cross-links that wait for a beacon block: of each shard and epoch the newest. A seal is the
/// newest of its epoch, and nothing of a later one counts before it.
#[derive(Debug, Default)]
pub struct LinkPool {
    links: BTreeMap<(ChainRef, Epoch), Arc<CrossLink>>,
    /// Digests of whole links: a header may be final, and a certificate that comes with it wrong.
    verified: VecDeque<Digest>,
}

/// How many digests of verified cross-links are remembered, so that a proposal's are not verified
/// again.
const VERIFIED_LENGTH: usize = 256;
/// Epochs of one shard that are kept at a time, the oldest of them.
pub const EPOCHS_PER_SHARD: usize = 4;

/// Names a link with all that proves it.
pub fn digest_of(link: &CrossLink) -> Digest {
    plain(&encode(link))
}

/// How new a link is within its epoch.
fn rank(link: &CrossLink) -> (bool, Height) {
    let is_seal = link.header.kind == BlockKind::Seal;
    (is_seal, link.header.report.block.height)
}

/// Whether a link would raise the record of its shard; nothing raises that of a fenced one.
pub fn raises(link: &CrossLink, record: &ShardRecord) -> bool {
    let (is_seal, reported) = rank(link);
    let is_newer =
        reported > record.reported.height || is_seal && reported >= record.reported.height;
    !record.fenced && link.header.epoch == record.epoch && is_newer
}

impl LinkPool {
    /// Whether a link would be newer than the pool's for its shard and epoch.
    pub fn wants(&self, link: &CrossLink) -> bool {
        self.links
            .get(&(link.header.chain, link.header.epoch))
            .is_none_or(|held| rank(held) < rank(link))
    }

    /// Takes a verified link.
    pub fn insert(&mut self, link: Arc<CrossLink>) {
        self.verified.push_back(digest_of(&link));
        while self.verified.len() > VERIFIED_LENGTH {
            self.verified.pop_front();
        }
        self.insert_own(link);
    }

    /// Takes a link of a chain that this node follows. In blocks it is verified like everybody's: the
    /// beacon may know another committee there.
    pub fn insert_own(&mut self, link: Arc<CrossLink>) {
        if !self.wants(&link) {
            return;
        }
        let chain = link.header.chain;
        self.links.insert((chain, link.header.epoch), link);
        let of_chain = (chain, Epoch::ZERO)..=(chain, Epoch::new(u64::MAX));
        while self.links.range(of_chain.clone()).count() > EPOCHS_PER_SHARD
            && let Some(newest) = self.links.range(of_chain.clone()).next_back()
        {
            let newest = *newest.0;
            self.links.remove(&newest);
        }
    }

    /// Links that it holds.
    pub fn count(&self) -> usize {
        self.links.len()
    }

    /// Whether a link was verified here, by its [`digest_of`].
    pub fn is_verified(&self, link: &Digest) -> bool {
        self.verified.contains(link)
    }

    /// The links that would raise the records, in order of shard.
    pub fn newer_than(
        &self,
        record: impl Fn(ChainRef) -> Option<ShardRecord>,
    ) -> Vec<Arc<CrossLink>> {
        let is_news = |link: &&Arc<CrossLink>| {
            let record = record(link.header.chain);
            record.is_some_and(|record| raises(link, &record))
        };
        self.links.values().filter(is_news).cloned().collect()
    }

    /// Forgets links that the final state has, or has passed.
    pub fn prune(&mut self, record: impl Fn(ChainRef) -> Option<ShardRecord>) {
        self.links.retain(|(chain, epoch), link| {
            let record = record(*chain).filter(|it| !it.fenced);
            record.is_some_and(|it| *epoch > it.epoch || raises(link, &it))
        });
    }
}

/// What newcomers to committees say, verified, until a beacon state has it.
#[derive(Debug, Default)]
pub struct ReadyPool {
    words: BTreeMap<(ChainRef, ValidatorId), Ready>,
}

impl ReadyPool {
    /// Whether a newcomer's word is awaited and not here.
    pub fn wants(&self, ready: &Ready, committees: &Committees) -> bool {
        is_awaited(ready, committees)
            && self.words.get(&(ready.chain, ready.validator)) != Some(ready)
    }

    /// Takes verified words.
    pub fn extend(&mut self, words: impl IntoIterator<Item = Ready>) {
        let words = words.into_iter();
        let keyed = words.map(|ready| ((ready.chain, ready.validator), ready));
        self.words.extend(keyed);
    }

    /// All that are still awaited.
    pub fn awaited(&self, committees: &Committees) -> Vec<Ready> {
        let words = self.words.values().copied();
        words
            .filter(|ready| is_awaited(ready, committees))
            .collect()
    }

    /// Forgets what is awaited no more.
    pub fn prune(&mut self, committees: &Committees) {
        self.words.retain(|_, ready| is_awaited(ready, committees));
    }
}

fn is_awaited(ready: &Ready, committees: &Committees) -> bool {
    committees.awaited(ready.chain).is_some_and(|awaited| {
        let mut newcomers = awaited.newcomers.iter();
        awaited.epoch == ready.epoch && newcomers.any(|(who, _)| *who == ready.validator)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{genesis, header, inbound, shard};
    use skerry_execution::genesis::genesis_facts;
    use skerry_execution::network::NetworkInfo;
    use skerry_types::certificate::Bitmap;
    use skerry_types::ids::MemberIndex;

    fn point(height: u64) -> BeaconPoint {
        let mut digest = [7; 32];
        digest[..8].copy_from_slice(&height.to_le_bytes());
        let block = BlockRef {
            height: Height::new(height),
            digest: Digest::new(digest),
        };
        BeaconPoint {
            block,
            epoch: Epoch::ZERO,
            facts_root: Digest::new([9; 32]),
        }
    }

    fn final_at(height: u64) -> BeaconFinal {
        let BeaconPoint {
            block,
            epoch,
            facts_root,
        } = point(height);
        BeaconFinal {
            block,
            epoch,
            time: TimeMs::ZERO,
            facts_root,
            facts: None,
            committees: Arc::default(),
        }
    }

    /// What is checked of a block must not depend on what a node has seen before: a leader could join
    /// a wrong certificate to a header that some know to be final.
    #[test]
    fn a_known_header_vouches_for_no_other_certificate() {
        let network = NetworkInfo::of(&genesis(1));
        let proof = inbound(&network, (shard(1, 0), shard(1, 1)), (0, Vec::new()), 0).proof;
        let link = CrossLink {
            header: proof.header,
            path: Vec::new(),
            certificate: proof.certificate,
            channels: Vec::new(),
        };
        let mut other = link.clone();
        other.certificate.signers = Bitmap::of([MemberIndex::new(0)], 4);
        let mut pool = LinkPool::default();
        pool.insert(Arc::new(link.clone()));
        assert!(pool.is_verified(&digest_of(&link)));
        assert_eq!(other.header.digest(), link.header.digest());
        assert!(!pool.is_verified(&digest_of(&other)));
    }

    #[test]
    fn a_fenced_shards_links_are_no_news() {
        let genesis = genesis(1);
        let of = shard(1, 0);
        let network = NetworkInfo::of(&genesis);
        let mut header = header(&network, of);
        header.report.block.height = Height::new(1);
        let channel = (of, ChainRef::Beacon);
        let proof = inbound(&network, channel, (0, Vec::new()), 0).proof;
        let link = CrossLink {
            header,
            path: Vec::new(),
            certificate: proof.certificate,
            channels: Vec::new(),
        };
        let mut pool = LinkPool::default();
        pool.insert(Arc::new(link));
        let facts = genesis_facts(&genesis);
        let mut record = facts.shard(of).expect("of the genesis").clone();
        assert_eq!(pool.newer_than(|_| Some(record.clone())).len(), 1);
        record.fenced = true;
        assert_eq!(pool.newer_than(|_| Some(record.clone())).len(), 0);
        pool.prune(|_| Some(record.clone()));
        assert!(pool.links.is_empty(), "it never will be");
    }

    #[test]
    fn reference_that_the_feed_has_dropped_is_found_in_the_store() {
        // The store has all but block 5.
        let archive: Archive = Arc::new(|height: Height| {
            Some(point(height.get())).filter(|_| height != Height::new(5))
        });
        let mut feed = BeaconFeed::new(vec![point(1)], final_at(1), archive);
        for height in 2..=3_000 {
            feed.push(final_at(height), TimeMs::ZERO);
        }
        assert_eq!(feed.get(&point(2_999).block), Some(point(2_999)));
        assert_eq!(feed.get(&point(4).block), Some(point(4)));
        assert_eq!(feed.get(&point(5).block), None);
        let other = BlockRef {
            digest: Digest::ZERO,
            ..point(4).block
        };
        assert_eq!(feed.get(&other), None, "another block of that height");
        assert!(feed.contradicts(&other));
        assert!(!feed.contradicts(&point(4).block));
        assert!(!feed.contradicts(&point(5).block), "nothing is known of it");
        assert!(!feed.contradicts(&point(3_001).block));
        assert_eq!(feed.get(&point(3_001).block), None, "not final yet");
    }
}
