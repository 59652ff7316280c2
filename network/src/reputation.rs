//! Penalties and bans, remembered over reconnections.
//!
//! Each breach of the rules costs points; points are forgiven with time. At the bound the peer is
//! disconnected and banned. The table is bounded: the least guilty entry gives way.

use crate::key::PeerKey;
use crate::limits::Limits;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// What a peer did wrong. The service reports what it sees itself, callers what they find in
/// payloads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Misbehaviour {
    /// A frame with a header that fails a check: unfollowed chain, unknown kind, wrong size.
    InvalidFrame,
    /// A control message that cannot be, or too many of them.
    InvalidControl,
    /// A payload that stopped half-way.
    Stalled,
    /// A gossip message that the application rejected, or a wrong topic or size.
    InvalidGossip,
    /// A payload that does not decode or breaks its protocol.
    InvalidMessage,
    /// A signature, certificate or proof that does not verify.
    InvalidSignature,
    /// More than a correct node would send or ask for.
    Flooding,
    /// An answer that is useless or was not asked for.
    Unhelpful,
}

impl Misbehaviour {
    /// Its price in points; the default bound is 100.
    pub const fn penalty(self) -> u32 {
        match self {
            Self::InvalidFrame | Self::InvalidControl | Self::InvalidMessage => 34,
            Self::InvalidSignature => 50,
            Self::Stalled | Self::InvalidGossip => 20,
            Self::Flooding => 10,
            Self::Unhelpful => 2,
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    points: u32,
    updated: Instant,
    banned_until: Option<Instant>,
}

/// The table of penalties.
#[derive(Debug)]
pub(crate) struct Reputation {
    entries: BTreeMap<PeerKey, Entry>,
    entries_max: usize,
    bound: u32,
    forgiven_per_second: u32,
    ban: Duration,
}

impl Reputation {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            entries: BTreeMap::new(),
            entries_max: limits.reputations_max.max(1),
            bound: limits.penalty_max,
            forgiven_per_second: limits.penalty_forgiven_per_second,
            ban: limits.ban,
        }
    }

    /// Adds a penalty; the end of the ban when the bound is reached.
    pub(crate) fn penalise(
        &mut self,
        peer: PeerKey,
        misbehaviour: Misbehaviour,
        now: Instant,
    ) -> Option<Instant> {
        let points = self
            .points(peer, now)
            .saturating_add(misbehaviour.penalty());
        let banned_until = (points >= self.bound)
            .then(|| now.checked_add(self.ban))
            .flatten();
        if !self.entries.contains_key(&peer) {
            self.make_room(now);
        }
        // A ban settles the account, so that the peer starts anew after it.
        let points = if banned_until.is_some() { 0 } else { points };
        self.entries.insert(
            peer,
            Entry {
                points,
                updated: now,
                banned_until,
            },
        );
        banned_until
    }

    /// The points that are not yet forgiven.
    pub(crate) fn points(&self, peer: PeerKey, now: Instant) -> u32 {
        self.entries
            .get(&peer)
            .map_or(0, |entry| self.remaining(entry, now))
    }

    /// Lets the least guilty entry go when the table is full.
    fn make_room(&mut self, now: Instant) {
        if self.entries.len() < self.entries_max {
            return;
        }
        let guilt = |entry: &Entry| (entry.banned_until > Some(now), self.remaining(entry, now));
        let least = self.entries.iter().min_by_key(|(_, entry)| guilt(entry));
        if let Some(peer) = least.map(|(peer, _)| *peer) {
            self.entries.remove(&peer);
        }
    }

    fn remaining(&self, entry: &Entry, now: Instant) -> u32 {
        let seconds = now.saturating_duration_since(entry.updated).as_secs();
        let seconds = u32::try_from(seconds).unwrap_or(u32::MAX);
        entry
            .points
            .saturating_sub(seconds.saturating_mul(self.forgiven_per_second))
    }

    /// Peers whose bans are in force.
    pub(crate) fn banned(&self, now: Instant) -> impl Iterator<Item = (PeerKey, Instant)> {
        self.entries.iter().filter_map(move |(peer, entry)| {
            entry
                .banned_until
                .filter(|until| *until > now)
                .map(|until| (*peer, until))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: PeerKey = PeerKey::new([1; 32]);

    #[test]
    fn third_invalid_frame_bans_and_time_forgives() {
        let mut reputation = Reputation::new(&Limits::default());
        let now = Instant::now();
        let penalise = |reputation: &mut Reputation, at| {
            reputation.penalise(PEER, Misbehaviour::InvalidFrame, at)
        };
        assert_eq!(penalise(&mut reputation, now), None);
        assert_eq!(penalise(&mut reputation, now), None);
        assert_eq!(reputation.points(PEER, now), 68);
        let later = now + Duration::from_secs(34);
        assert_eq!(reputation.points(PEER, later), 34);
        assert_eq!(penalise(&mut reputation, later), None);
        assert_eq!(
            penalise(&mut reputation, later),
            Some(later + Duration::from_secs(60))
        );
        assert_eq!(reputation.banned(later).count(), 1);
        assert_eq!(
            reputation.banned(later + Duration::from_secs(60)).count(),
            0
        );
    }

    #[test]
    fn table_is_bounded_and_bans_outlive_small_offences() {
        let limits = Limits {
            reputations_max: 2,
            ..Limits::default()
        };
        let mut reputation = Reputation::new(&limits);
        let now = Instant::now();
        for _ in 0..2 {
            reputation.penalise(PEER, Misbehaviour::InvalidSignature, now);
        }
        for name in 2..9 {
            reputation.penalise(PeerKey::new([name; 32]), Misbehaviour::Unhelpful, now);
        }
        assert_eq!(reputation.entries.len(), 2);
        assert_eq!(
            reputation
                .banned(now)
                .map(|(peer, _)| peer)
                .collect::<Vec<_>>(),
            [PEER]
        );
    }
}
