//! Batches on their way: those that this chain sent, and those that wait to be included here.
//!
//! Two members of the source push each batch as soon as its state is reported by a final header;
//! what a destination still misses after [`RETRY_MS`] it pulls from the source's followers, one
//! after the other.

use skerry_types::codec::encode;
use skerry_types::crypto::hash::{Purpose, hash_parts};
use skerry_types::ids::{ChainRef, Digest, Epoch, MemberIndex, Sequence, TimeMs};
use skerry_types::message::InboundBatch;
use std::collections::BTreeMap;
use std::sync::Arc;

/// How long a destination waits for the push before it pulls.
pub const RETRY_MS: u64 = 50;
/// How long it waits for the answer to a pull before it asks another.
pub const PULL_MS: u64 = 400;
/// How many seats push each batch.
const PUSHERS: u64 = 2;
/// Most batches kept for one source; more are dropped and pulled again later.
pub const BATCHES_PER_SOURCE_MAX: usize = 256;

/// Whether member `me` of a source committee of `members` pushes the batch of `root`.
pub fn is_pusher(root: &Digest, me: MemberIndex, members: usize) -> bool {
    let count = u64::try_from(members).unwrap_or(1).max(1);
    let start = hash_parts(Purpose::SEED, &[root.as_bytes()]).low_u64() % count;
    (0..PUSHERS.min(count)).any(|turn| (start + turn) % count == u64::from(me.get()))
}

/// A verified batch that waits to be included.
#[derive(Clone, Debug)]
pub struct Waiting {
    /// The batch with its proof.
    pub inbound: Arc<InboundBatch>,
    /// Bytes by which it lengthens a body: its messages, and a proof that may be longer than they.
    pub bytes: usize,
}

/// Verified batches from other chains that no final block here holds yet.
#[derive(Debug, Default)]
pub struct InboundPool {
    sources: BTreeMap<ChainRef, Source>,
}

#[derive(Debug, Default)]
struct Source {
    batches: BTreeMap<Sequence, Waiting>,
    /// What is known to have been sent.
    announced: Sequence,
    /// Since when something announced is missing, and how often it was asked for.
    missing: Option<Missing>,
}

#[derive(Debug, Clone, Copy)]
struct Missing {
    first: Sequence,
    ask_at: TimeMs,
    asked: u64,
}

/// A batch to ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pull {
    /// Where it comes from.
    pub source: ChainRef,
    /// Position of its first message.
    pub first: Sequence,
    /// How often it was asked for before; chooses whom to ask.
    pub attempt: u64,
}

impl InboundPool {
    /// Whether the batch of a channel is not here yet.
    pub fn wants(&self, source: ChainRef, first: Sequence) -> bool {
        self.sources.get(&source).is_none_or(|held| {
            !held.batches.contains_key(&first) && held.batches.len() < BATCHES_PER_SOURCE_MAX
        })
    }

    /// Batches that it holds.
    pub fn count(&self) -> usize {
        self.sources.values().map(|held| held.batches.len()).sum()
    }

    /// Takes a verified batch.
    pub fn insert(&mut self, inbound: Arc<InboundBatch>) {
        let source = self.sources.entry(inbound.batch.source).or_default();
        if source.batches.len() < BATCHES_PER_SOURCE_MAX {
            source.announced = source.announced.max(inbound.batch.end());
            let (first, bytes) = (inbound.batch.first, encode(&*inbound).len());
            source.batches.insert(first, Waiting { inbound, bytes });
        }
    }

    /// Notes that `source` has sent all messages below `end`.
    pub fn announce(&mut self, source: ChainRef, end: Sequence) {
        let source = self.sources.entry(source).or_default();
        source.announced = source.announced.max(end);
    }

    /// The batches of `source` that follow `cursor` without a gap, in order.
    pub fn contiguous(&self, source: ChainRef, cursor: Sequence) -> Vec<Waiting> {
        let mut next = cursor;
        let mut found = Vec::new();
        let held = self.sources.get(&source);
        while let Some(waiting) = held.and_then(|held| held.batches.get(&next)) {
            next = waiting.inbound.batch.end();
            found.push(waiting.clone());
        }
        found
    }

    /// Whether a block on a state with these cursors would have something to accept.
    pub fn has_work(&self, cursor: impl Fn(ChainRef) -> Sequence) -> bool {
        self.sources
            .iter()
            .any(|(source, held)| held.batches.contains_key(&cursor(*source)))
    }

    /// Sources that were heard of.
    pub fn sources(&self) -> Vec<ChainRef> {
        self.sources.keys().copied().collect()
    }

    /// Forgets what the final state has accepted.
    pub fn prune(&mut self, cursor: impl Fn(ChainRef) -> Sequence) {
        for (source, held) in &mut self.sources {
            let accepted = cursor(*source);
            held.batches.retain(|first, _| *first >= accepted);
        }
    }

    /// Forgets batches of a source whose proof is of an epoch before `open`.
    pub fn drop_before(&mut self, source: ChainRef, open: Epoch) {
        if let Some(held) = self.sources.get_mut(&source) {
            held.batches
                .retain(|_, it| it.inbound.proof.header.epoch >= open);
        }
    }

    /// What to ask for now, given the final cursors.
    pub fn pulls(&mut self, now: TimeMs, cursor: impl Fn(ChainRef) -> Sequence) -> Vec<Pull> {
        let mut pulls = Vec::new();
        for (source, held) in &mut self.sources {
            let mut first = cursor(*source);
            while let Some(waiting) = held.batches.get(&first) {
                first = waiting.inbound.batch.end();
            }
            if first >= held.announced {
                held.missing = None;
                continue;
            }
            match &mut held.missing {
                Some(missing) if missing.first == first => {
                    if missing.ask_at <= now {
                        pulls.push(Pull {
                            source: *source,
                            first,
                            attempt: missing.asked,
                        });
                        missing.asked = missing.asked.saturating_add(1);
                        missing.ask_at = now.saturating_add(PULL_MS);
                    }
                }
                _ => {
                    let ask_at = now.saturating_add(RETRY_MS);
                    held.missing = Some(Missing {
                        first,
                        ask_at,
                        asked: 0,
                    });
                }
            }
        }
        pulls
    }

    /// When [`Self::pulls`] may next have something.
    pub fn deadline(&self) -> Option<TimeMs> {
        self.sources
            .values()
            .filter_map(|held| held.missing.map(|missing| missing.ask_at))
            .min()
    }
}
