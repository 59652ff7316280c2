//! How final blocks are caught up with, by height: followers always, voters when they lag.
//!
//! One request at a time, to a peer that has what is wanted; a peer that does not answer or answers
//! wrongly is passed over for the next. What comes is linked to the own newest final block by
//! parent digests, and the end of the chain of headers carries a finalization.

use super::{ChainNode, Output, Peer};
use crate::wire::{RANGE_REPLY_BLOCKS, RANGE_REPLY_BYTES, RANGE_REPLY_BYTES_MAX, RangeReply, kind};
use skerry_consensus::input::Input as Core;
use skerry_types::block::{Block, BlockKind};
use skerry_types::codec::{decode, encode};
use skerry_types::consensus::{PeerStatus, RangeRequest};
use skerry_types::ids::{Height, TimeMs};
use skerry_types::vote::Statement;

/// How long a peer has to answer a range request.
const ANSWER_MS: u64 = 3_000;
/// How often peers are told how far this node is.
const STATUS_MS: u64 = 2_000;
/// A voter that lags by at most this many heights, for at most this long, leaves it to consensus.
const LAG_MAX: u64 = 4;
const LAG_MS: u64 = 3_000;
/// Blocks above the root beyond which no more are fetched until some are executed: a few replies, so
/// that the disk is busy while the blocks before are executed, and what is final is soon executed.
pub(super) const UNSETTLED_MAX: usize = 256;
/// And bytes of their bodies.
pub(super) const UNSETTLED_BYTES_MAX: usize = 64 * 1024 * 1024;

/// What answering a range request costs its sender, beside what it is given: about what it costs this
/// node's own chain, which reads the blocks between its steps.
const RANGE_COST_MS: u64 = 5;
const RANGE_BYTES_PER_MS: usize = 64 * 1024;
const RANGE_BLOCKS_PER_MS: usize = 16;
/// How much a peer may cost at once; beyond that its requests are dropped, and it asks another.
const RANGE_CREDIT_MS: u64 = 2_000;

/// State of catching up.
pub(super) struct Sync {
    target: Height,
    behind: bool,
    /// Since when something is missing.
    lags_since: Option<TimeMs>,
    asked: Option<(Peer, TimeMs)>,
    turn: usize,
    status_at: TimeMs,
}

impl Sync {
    pub(super) fn new(now: TimeMs) -> Self {
        Self {
            target: Height::ZERO,
            behind: false,
            lags_since: None,
            asked: None,
            turn: 0,
            status_at: now,
        }
    }

    /// The core cannot follow by itself.
    pub(super) fn on_behind(&mut self, height: Height) {
        self.behind = true;
        self.target = self.target.max(height);
    }

    /// A final block of this height is said to exist.
    pub(super) fn on_announced(&mut self, height: Height) {
        self.target = self.target.max(height);
    }

    pub(super) fn on_peer_down(&mut self, peer: Peer) {
        if self.asked.is_some_and(|(asked, _)| asked == peer) {
            self.asked = None;
        }
    }

    pub(super) fn deadline(&self) -> TimeMs {
        let answer = self.asked.map(|(_, at)| at.saturating_add(ANSWER_MS));
        answer.map_or(self.status_at, |answer| answer.min(self.status_at))
    }
}

impl ChainNode {
    pub(super) fn send_status(&self, peer: Peer, out: &mut Vec<Output>) {
        let status = PeerStatus {
            finalized: self.tree.final_block().height,
        };
        self.send_peer(peer, kind::STATUS, encode(&status), out);
    }

    pub(super) fn on_status(&mut self, peer: Peer, payload: &[u8]) {
        let Ok(status) = decode::<PeerStatus>(payload, 64) else {
            return;
        };
        if let Some(state) = self.peers.get_mut(&peer) {
            state.finalized = state.finalized.max(status.finalized);
            self.sync.on_announced(status.finalized);
        }
    }

    /// Tells peers how far this node is, and asks for what it lacks.
    pub(super) fn advance_sync(&mut self, out: &mut Vec<Output>) {
        if self.sync.status_at <= self.now {
            self.sync.status_at = self.now.saturating_add(STATUS_MS);
            let following: Vec<Peer> = self
                .peers
                .iter()
                .filter(|(_, state)| state.chains.contains(&self.chain))
                .map(|(peer, _)| *peer)
                .collect();
            for peer in following {
                self.send_status(peer, out);
            }
        }
        if let Some((peer, _)) = self
            .sync
            .asked
            .filter(|(_, at)| at.saturating_add(ANSWER_MS) <= self.now)
        {
            self.pass_over(peer);
        }
        let lag = self.sync.target.above(self.tree.final_block().height);
        let since = self.sync.lags_since.filter(|_| lag > 0);
        self.sync.lags_since = (lag > 0).then(|| since.unwrap_or(self.now));
        let is_late = since.is_some_and(|at| at.saturating_add(LAG_MS) <= self.now);
        let is_stuck = self.sync.behind || self.is_sealed() || is_late;
        let allowed = if self.instance.replica.is_some() && !is_stuck {
            LAG_MAX
        } else {
            0
        };
        if lag <= allowed || self.sync.asked.is_some() || self.has_enough() {
            if lag == 0 {
                self.sync.behind = false;
            }
            return;
        }
        self.ask_range(out);
    }

    fn ask_range(&mut self, out: &mut Vec<Output>) {
        let own = self.tree.final_block().height;
        let follows = |state: &super::PeerState| state.chains.contains(&self.chain);
        let ahead: Vec<Peer> = self
            .peers
            .iter()
            .filter(|(_, state)| follows(state) && state.finalized > own)
            .map(|(peer, _)| *peer)
            .collect();
        // A status may be older than what gossip says; then members are asked.
        let candidates = if ahead.is_empty() {
            let members = |state: &super::PeerState| {
                follows(state)
                    && state
                        .key
                        .is_some_and(|key| self.instance.member(&key).is_some())
            };
            let found = self.peers.iter().filter(|(_, state)| members(state));
            found.map(|(peer, _)| *peer).collect()
        } else {
            ahead
        };
        let Some(turn) = self.sync.turn.checked_rem(candidates.len()) else {
            return;
        };
        let Some(peer) = candidates.get(turn).copied() else {
            return;
        };
        // Of a seal whose epoch's successor is not known here, the next committee is missing.
        let from = if self.is_sealed() { own } else { own.next() };
        let request = RangeRequest {
            from,
            count: RANGE_REPLY_BLOCKS,
        };
        self.send_peer(peer, kind::RANGE_REQUEST, encode(&request), out);
        self.sync.asked = Some((peer, self.now));
    }

    pub(super) fn on_range_request(&mut self, peer: Peer, payload: &[u8], out: &mut Vec<Output>) {
        let Ok(request) = decode::<RangeRequest>(payload, 64) else {
            return;
        };
        if !self.may_serve(peer) {
            return;
        }
        let count = usize::from(request.count.min(RANGE_REPLY_BLOCKS));
        let reply = self.range(request.from, count).unwrap_or_default();
        let bytes: usize = reply.blocks.iter().map(|block| block.body.len()).sum();
        // Of small blocks it is their number that costs.
        let as_bytes = reply.blocks.len() / RANGE_BLOCKS_PER_MS * RANGE_BYTES_PER_MS;
        self.charge(peer, bytes.saturating_add(as_bytes));
        self.send_peer(peer, kind::RANGE_REPLY, encode(&reply), out);
    }

    /// Whether a peer has not been given so much that others would have to wait.
    pub(super) fn may_serve(&self, peer: Peer) -> bool {
        let most = self.now.saturating_add(RANGE_CREDIT_MS);
        let state = self.peers.get(&peer);
        state.is_some_and(|state| state.served_until <= most)
    }

    /// Counts what a peer is given.
    pub(super) fn charge(&mut self, peer: Peer, bytes: usize) {
        let cost = u64::try_from(bytes / RANGE_BYTES_PER_MS).unwrap_or(u64::MAX);
        let cost_ms = RANGE_COST_MS.saturating_add(cost);
        if let Some(state) = self.peers.get_mut(&peer) {
            state.served_until = state.served_until.max(self.now).saturating_add(cost_ms);
        }
    }

    /// The final block at a height, unless its body is not here, as of the block at which the chain
    /// was joined by snapshot.
    fn whole_block(&self, height: Height) -> Option<Block> {
        let block = self.store.block_at(height).ok().flatten()?;
        let is_whole = block.header.kind != BlockKind::Working || !block.body.is_empty();
        is_whole.then_some(block)
    }

    fn range(&self, from: Height, count: usize) -> Option<RangeReply> {
        let mut blocks = Vec::new();
        let (mut at, mut bytes) = (from, 0_usize);
        while blocks.len() < count && bytes <= RANGE_REPLY_BYTES {
            let Some(block) = self.whole_block(at) else {
                break;
            };
            bytes = bytes.saturating_add(block.body.len());
            let is_seal = block.header.kind == BlockKind::Seal;
            blocks.push(block);
            at = at.next();
            if is_seal {
                break;
            }
        }
        // The run ends at a block with a finalization of its own: the last such one or, where there
        // is none, the next one above.
        let own = |block: &Block| {
            self.store
                .certificate_at(block.header.height)
                .ok()
                .flatten()
        };
        let certified = blocks.iter().rposition(|block| own(block).is_some());
        if let Some(certified) = certified {
            blocks.truncate(certified.saturating_add(1));
        } else {
            let mut next = blocks.last()?.header.height.next();
            loop {
                let block = self.whole_block(next)?;
                blocks.push(block);
                if blocks.last().and_then(own).is_some() {
                    break;
                }
                next = next.next();
            }
        }
        let certificate = blocks.last().and_then(own);
        let next = blocks.last().and_then(|block| block.header.next);
        let row = next.and_then(|next| self.store.epoch(next.epoch).ok().flatten());
        Some(RangeReply {
            blocks,
            certificate,
            next: row.map(|row| row.committee),
        })
    }

    pub(super) fn on_range_reply(&mut self, peer: Peer, payload: &[u8], out: &mut Vec<Output>) {
        if self.sync.asked.is_none_or(|(asked, _)| asked != peer) {
            return;
        }
        self.sync.asked = None;
        let reply = decode::<RangeReply>(payload, RANGE_REPLY_BYTES_MAX).ok();
        let taken = reply.is_some_and(|reply| self.take_range(reply, out));
        if !taken {
            self.pass_over(peer);
        }
    }

    /// Asks the next one, since this peer has not answered or not with what it said that it has.
    fn pass_over(&mut self, peer: Peer) {
        self.sync.asked = None;
        self.sync.turn = self.sync.turn.saturating_add(1);
        if let Some(state) = self.peers.get_mut(&peer) {
            state.finalized = Height::ZERO;
        }
        // Ask again no sooner than the next status, lest two nodes chase each other.
        self.sync.target = self.tree.final_block().height;
    }

    /// Whether as many blocks wait to be executed as may. Of what is not final nothing can be executed
    /// away, so that it must not keep this node from asking for what leads there.
    fn has_enough(&self) -> bool {
        let is_full = self.tree.len() > UNSETTLED_MAX || self.tree.bytes() > UNSETTLED_BYTES_MAX;
        is_full && self.tree.final_block().height > self.tree.root().block.height
    }

    /// Takes consecutive final blocks; false when they do not prove themselves.
    fn take_range(&mut self, reply: RangeReply, out: &mut Vec<Output>) -> bool {
        let RangeReply {
            blocks,
            certificate,
            next,
        } = reply;
        let Some(certificate) = certificate else {
            return false;
        };
        let own = self.tree.final_block();
        self.offered = next;
        if let Some((_, next)) = self.seal() {
            // It was asked for the committee alone.
            return self.find_committee(next).is_some();
        }
        let headers: Vec<_> = blocks
            .iter()
            .map(|block| &block.header)
            .skip_while(|header| header.height <= own.height)
            .collect();
        let mut parent = own;
        for header in &headers {
            let linked = header.parent == parent.digest
                && header.height == parent.height.next()
                && header.chain == self.chain
                && header.epoch == self.instance.epoch();
            if !linked {
                return false;
            }
            parent = header.block_ref();
        }
        let states = matches!(
            certificate.statement,
            Statement::Finalize { digest, .. } if digest == parent.digest
        );
        if headers.is_empty()
            || !states
            || certificate
                .verify(&self.instance.committee, &*self.shared.scheme)
                .is_err()
        {
            return false;
        }
        let mut taken = Vec::new();
        for block in blocks {
            if block.header.height > own.height {
                let digest = block.header.digest();
                self.take_block(digest, block.header.clone(), block.body.into(), out);
                taken.push((digest, block.header));
            }
        }
        // One wrong body spoils the reply; nothing of it may be marked final.
        if taken
            .iter()
            .any(|(digest, _)| self.tree.get(digest).is_none())
        {
            return false;
        }
        for (digest, _) in &taken {
            let Some(entry) = self.tree.get_mut(digest) else {
                continue;
            };
            entry.is_final = true;
            self.store_bytes(*digest, out);
        }
        let digests: Vec<_> = taken.iter().map(|(digest, _)| *digest).collect();
        self.check_history(&digests, out);
        let mut taken: Vec<_> = taken.into_iter().map(|(_, header)| header).collect();
        self.on_finalized(&taken, &certificate, out);
        if let Some(header) = taken.pop() {
            self.instance.inputs.push_back(Core::Synced {
                header: Box::new(header),
                certificate,
            });
        }
        true
    }
}
