//! What a Byzantine leader or relay does to batches: old ones, gaps, another order, other messages,
//! proofs that prove nothing, floods, and lies about what it holds.
//!
//! Everything that it knows it has seen pass: the batches of its own pushes and blocks, and the
//! notarizations that it sends. It signs with its own key alone.

use super::OutFrame;
use super::forge::Forger;
use crate::checks::Place;
use crate::counts::Counts;
use crate::random::Random;
use skerry::wire::{BATCH_FRAME_BYTES_MAX, BatchesHeld, kind};
use skerry_types::block::Body;
use skerry_types::certificate::Certificate;
use skerry_types::codec::{decode, encode};
use skerry_types::consensus::{ConsensusMessage, Proposal};
use skerry_types::ids::{ChainRef, Digest, Sequence};
use skerry_types::limits::{
    BATCH_BYTES_MAX, BODY_BYTES_MAX, CONSENSUS_MESSAGE_BYTES_MAX, MESSAGE_BYTES_MAX,
};
use skerry_types::message::InboundBatch;
use skerry_types::vote::Statement;
use std::collections::{BTreeMap, VecDeque};

/// Batches of a channel that are remembered.
const SEEN_MAX: usize = 6;
/// Notarizations that are remembered.
const NOTARIZED_MAX: usize = 64;
/// Batches of a flood, of each source: more than anybody checks at a time.
const FLOOD: u64 = 150;
/// Single bytes of a flood.
const BYTES: u64 = 40;
/// Lies in one frame.
const LIES: u64 = 40;

/// A channel: destination and source.
type Channel = (ChainRef, ChainRef);

/// What a Byzantine node has seen of batches.
pub(super) struct Batches {
    seen: BTreeMap<Channel, BTreeMap<Sequence, InboundBatch>>,
    notarized: VecDeque<Certificate>,
    random: Random,
}

impl Batches {
    pub(super) const fn new(random: Random) -> Self {
        Self {
            seen: BTreeMap::new(),
            notarized: VecDeque::new(),
            random,
        }
    }

    /// True in so many of 1000 occasions.
    pub(super) fn chance(&mut self, permille: u64) -> bool {
        self.random.chance(permille)
    }

    /// The honest code sends a frame.
    pub(super) fn learn(&mut self, frame: &OutFrame) {
        match frame.kind {
            kind::BATCH_PUSH => {
                if let Ok(inbound) = decode(&frame.payload, BATCH_FRAME_BYTES_MAX) {
                    self.remember(inbound);
                }
            }
            kind::CERTIFICATE => {
                let message = decode(&frame.payload, CONSENSUS_MESSAGE_BYTES_MAX);
                if let Ok(ConsensusMessage::Certificate(certificate)) = message {
                    self.remember_certificate(certificate);
                }
            }
            _ => {}
        }
    }

    /// The honest code proposes.
    fn learn_proposal(&mut self, proposal: &Proposal, body: &Body) {
        if let Some(certificate) = &proposal.parent {
            self.remember_certificate(certificate.clone());
        }
        for inbound in &body.inbound {
            self.remember(inbound.clone());
        }
    }

    fn remember(&mut self, inbound: InboundBatch) {
        let channel = (inbound.batch.destination, inbound.batch.source);
        let seen = self.seen.entry(channel).or_default();
        seen.insert(inbound.batch.first, inbound);
        while seen.len() > SEEN_MAX {
            seen.pop_first();
        }
    }

    fn remember_certificate(&mut self, certificate: Certificate) {
        let is_new = !self.notarized.contains(&certificate);
        if matches!(certificate.statement, Statement::Notarize { .. }) && is_new {
            self.notarized.push_back(certificate);
            if self.notarized.len() > NOTARIZED_MAX {
                self.notarized.pop_front();
            }
        }
    }

    /// The same block with other batches.
    pub(super) fn twist(
        &mut self,
        forger: &Forger,
        (place, proposal): (Place, &Proposal),
        counts: &mut Counts,
    ) -> Option<ConsensusMessage> {
        let mut body: Body = decode(&proposal.body, BODY_BYTES_MAX).ok()?;
        self.learn_proposal(proposal, &body);
        let what = self.twisted(place.0, &mut body.inbound)?;
        counts.note(what);
        let mut wrong = proposal.clone();
        wrong.body = encode(&body);
        wrong.header.body_root = body.root();
        forger.sign(place, wrong)
    }

    /// Changes the batches of a block of a chain, and says how.
    fn twisted(
        &mut self,
        chain: ChainRef,
        inbound: &mut Vec<InboundBatch>,
    ) -> Option<&'static str> {
        let random = &mut self.random;
        if random.chance(250) || inbound.is_empty() {
            // What it has long accepted, or what comes later.
            let here = self.seen.iter().filter(|((to, _), _)| *to == chain);
            let all: Vec<&InboundBatch> = here.flat_map(|(_, seen)| seen.values()).collect();
            inbound.push((*random.pick(&all)?).clone());
            return Some("old batches proposed");
        }
        let position = random.index(inbound.len());
        match random.below(5) {
            0 => {
                let again = inbound.get(position)?.clone();
                inbound.insert(position, again);
                Some("batches proposed twice")
            }
            1 => {
                let source = |at: usize| inbound.get(at).map(|it| it.batch.source);
                if source(position.saturating_add(1)) == source(position) {
                    inbound.remove(position);
                } else {
                    let batch = &mut inbound.get_mut(position)?.batch;
                    batch.first = batch.first.next();
                }
                Some("gaps proposed")
            }
            2 => {
                let batch = &mut inbound.get_mut(position)?.batch;
                if batch.messages.len() > 1 {
                    batch.messages.rotate_left(1);
                } else {
                    inbound.reverse();
                }
                Some("batches proposed in another order")
            }
            3 => {
                enlarge(inbound.get_mut(position)?, random);
                Some("batches too large proposed")
            }
            _ => Some(self.falsified(inbound.get_mut(position)?)),
        }
    }

    /// Another message, or another proof; says which.
    fn falsified(&mut self, inbound: &mut InboundBatch) -> &'static str {
        if self.random.chance(500) && self.unfinish(inbound) {
            return "batches proven by a notarization";
        }
        let batch = &mut inbound.batch;
        let position = self.random.index(batch.messages.len());
        if let Some(wire) = batch.messages.get_mut(position) {
            let byte = self.random.index(wire.len());
            if let Some(byte) = wire.get_mut(byte) {
                *byte ^= 1;
            }
        }
        "batches with another message"
    }

    /// Exchanges the finalization of a proof for a notarization of one of its headers, if there is one.
    fn unfinish(&self, inbound: &mut InboundBatch) -> bool {
        let proof = &mut inbound.proof;
        let headers = std::iter::once(&proof.header).chain(&proof.path);
        let digests: Vec<Digest> = headers.map(skerry_types::block::Header::digest).collect();
        for (position, digest) in digests.iter().enumerate() {
            let of = |it: &&Certificate| it.statement.digest() == Some(*digest);
            if let Some(certificate) = self.notarized.iter().find(of) {
                proof.certificate = certificate.clone();
                proof.path.truncate(position);
                return true;
            }
        }
        false
    }

    /// A batch instead of one that is pushed.
    pub(super) fn push(&mut self, frame: &OutFrame, counts: &mut Counts) -> Option<OutFrame> {
        let mut inbound: InboundBatch = decode(&frame.payload, BATCH_FRAME_BYTES_MAX).ok()?;
        counts.note(self.falsified(&mut inbound));
        let payload = encode(&inbound).into();
        Some(OutFrame {
            payload,
            ..frame.clone()
        })
    }

    /// Many frames at once to one peer: single bytes, and batches of which each looks like news.
    pub(super) fn flood(&mut self, like: &OutFrame, counts: &mut Counts) -> Vec<OutFrame> {
        let frame = |payload: Vec<u8>| OutFrame {
            kind: kind::BATCH_PUSH,
            payload: payload.into(),
            ..like.clone()
        };
        let mut frames: Vec<OutFrame> = (0..BYTES)
            .map(|number| frame(vec![u8::try_from(number % 256).unwrap_or(0)]))
            .collect();
        let here = self.seen.iter().filter(|((to, _), _)| *to == like.chain);
        let newest = here.filter_map(|(_, seen)| seen.values().next_back());
        for inbound in newest {
            let end = inbound.batch.end();
            frames.extend((0..FLOOD).map(|above| {
                let mut inbound = inbound.clone();
                inbound.batch.first = end.saturating_add(above);
                frame(encode(&inbound))
            }));
        }
        counts.add(
            "frames of floods",
            u64::try_from(frames.len()).unwrap_or(u64::MAX),
        );
        frames
    }

    /// Says to a member that it holds what comes next of every source, and much else.
    pub(super) fn pretend(
        &mut self,
        like: &OutFrame,
        chains: &[ChainRef],
        counts: &mut Counts,
    ) -> OutFrame {
        let mut batches = Vec::new();
        for source in chains.iter().filter(|source| **source != like.chain) {
            let seen = self.seen.get(&(like.chain, *source));
            let newest = seen.and_then(|seen| seen.values().next_back());
            let end = newest.map_or(Sequence::ZERO, |inbound| inbound.batch.end());
            let spread = self.random.between(1, 50);
            let above = |number: u64| end.saturating_add(number.saturating_mul(spread));
            let mut lies: Vec<_> = (0..LIES).map(|number| (*source, above(number))).collect();
            // The nearest first or last.
            if self.random.chance(500) {
                lies.reverse();
            }
            batches.extend(lies);
        }
        counts.note("batches told of falsely");
        OutFrame {
            kind: kind::BATCHES_HELD,
            payload: encode(&BatchesHeld { batches }).into(),
            ..like.clone()
        }
    }
}

/// Makes a batch, or a message of it, larger than it may be.
fn enlarge(inbound: &mut InboundBatch, random: &mut Random) {
    let batch = &mut inbound.batch;
    if random.chance(700) {
        batch
            .messages
            .push(vec![7; MESSAGE_BYTES_MAX.saturating_add(1)]);
    } else {
        let count = BATCH_BYTES_MAX
            .div_ceil(MESSAGE_BYTES_MAX)
            .saturating_add(1);
        batch
            .messages
            .extend(vec![vec![7; MESSAGE_BYTES_MAX]; count]);
    }
}
