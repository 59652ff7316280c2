//! What a node that joins knows of its peers: what they offer, which of them keep it, and whom to ask
//! next.
//!
//! An offer costs nothing and is not believed. So a base is chosen by how many peers offer it that
//! have kept their word so far, those first that the operator chose, since anybody can be many
//! strangers; and by its height only among equals: who offers what nobody else has is asked late, and
//! once it broke its word, last.

use super::frames::{BASES_MAX, Offer};
use crate::chain::Peer;
use skerry_types::block::BlockRef;
use skerry_types::ids::{ChainRef, Epoch, Height, TimeMs};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// How often peers are asked what they serve, until they have said so.
pub(super) const OFFER_MS: u64 = 500;
/// An offer that is older than this is asked for again where a base is to be chosen.
const OFFER_AGE_MS: u64 = 2_000;
/// How often the pause before an offer is asked for again doubles.
const IDLE_OFFERS_MAX: u32 = 5;
/// Answers that a peer may owe in a row before it is passed over until it offers something again.
const MISSES_MAX: u32 = 2;
/// Chunks in a row that may be far smaller than a full one. An honest peer cuts one short where a long
/// record follows, which makes the next one long.
const SHORT_CHUNKS_MAX: u32 = 3;
/// Part of a full chunk below which one is far smaller.
const SHORT_PART: usize = 4;
/// So many peers that serve a base are as good as more.
const SERVERS_ENOUGH: usize = 3;
/// How often a base is tried.
const TRIES_MAX: u32 = 2;
/// Stands for an offer that was not asked for.
const NOBODY: u64 = u64::MAX;
/// Peers that are listened to.
const PEERS_MAX: usize = 64;

#[derive(Default)]
struct PeerState {
    chains: Vec<ChainRef>,
    /// Whether the operator chose it.
    configured: bool,
    /// What it serves of each chain, and when it said so.
    offers: BTreeMap<ChainRef, (TimeMs, Offer)>,
    /// The newest question for an offer, and when it was or is to be asked.
    asked: BTreeMap<ChainRef, (u64, TimeMs)>,
    forged: bool,
    misses: u32,
    short_chunks: u32,
    /// How often it offered what it did not serve.
    idle_offers: u32,
}

impl PeerState {
    fn offer(&self, chain: ChainRef) -> Option<&Offer> {
        let (_, offer) = self.offers.get(&chain)?;
        (!self.forged).then_some(offer)
    }

    /// Whether it serves a base, and by the beacon's header of which epoch.
    fn serves(&self, chain: ChainRef, block: &BlockRef) -> Option<Epoch> {
        let bases = &self.offer(chain)?.bases;
        let base = bases.iter().find(|base| base.block == *block);
        base.map(|base| base.epoch)
    }
}

/// How many peers there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Count {
    /// Those that were not caught forging.
    pub(super) connected: usize,
    /// Those of them that have said what they serve.
    pub(super) answered: usize,
    /// Those of these that the node is configured with.
    pub(super) configured: usize,
}

/// The peers of a join.
#[derive(Default)]
pub(super) struct Peers {
    states: BTreeMap<Peer, PeerState>,
    turn: usize,
}

impl Peers {
    /// A peer is connected. Where all places are taken, a stranger leaves its own to one that the
    /// operator chose.
    pub(super) fn up(&mut self, peer: Peer, chains: Vec<ChainRef>, configured: bool) {
        if self.states.len() >= PEERS_MAX {
            let mut strangers = self.states.iter().filter(|(_, state)| !state.configured);
            let stranger = strangers.next().map(|(stranger, _)| *stranger);
            let Some(stranger) = stranger.filter(|_| configured) else {
                return;
            };
            self.states.remove(&stranger);
        }
        let state = PeerState {
            chains,
            configured,
            ..PeerState::default()
        };
        self.states.insert(peer, state);
    }

    pub(super) fn down(&mut self, peer: Peer) {
        self.states.remove(&peer);
    }

    /// Whether nobody is connected who might help.
    pub(super) fn is_alone(&self) -> bool {
        self.states.values().all(|state| state.forged)
    }

    pub(super) fn count(&self, followed: &[ChainRef]) -> Count {
        let honest = || self.states.values().filter(|state| !state.forged);
        let has_answered = |state: &&PeerState| {
            let mut chains = state.chains.iter().filter(|it| followed.contains(it));
            chains.all(|chain| state.offers.contains_key(chain))
        };
        let answered = || honest().filter(has_answered);
        Count {
            connected: honest().count(),
            answered: answered().count(),
            configured: answered().filter(|state| state.configured).count(),
        }
    }

    /// It sent what proves nothing: nothing of it counts any more.
    pub(super) fn forged(&mut self, peer: Peer) {
        if let Some(state) = self.states.get_mut(&peer) {
            state.forged = true;
        }
    }

    /// It answered something.
    pub(super) fn answered(&mut self, peer: Peer) {
        if let Some(state) = self.states.get_mut(&peer) {
            state.misses = 0;
        }
    }

    /// It did not answer in time; whether too often.
    pub(super) fn missed(&mut self, peer: Peer) -> bool {
        self.turn = self.turn.wrapping_add(1);
        self.states.get_mut(&peer).is_some_and(|state| {
            state.misses = state.misses.saturating_add(1);
            state.misses >= MISSES_MAX
        })
    }

    /// It sent a chunk that is not the last one, of so many bytes where `full` are usual; whether it
    /// does no better again and again.
    pub(super) fn sent_chunk(&mut self, peer: Peer, bytes: usize, full: usize) -> bool {
        let Some(state) = self.states.get_mut(&peer) else {
            return false;
        };
        if bytes >= full / SHORT_PART {
            (state.short_chunks, state.idle_offers) = (0, 0);
            return false;
        }
        state.short_chunks = state.short_chunks.saturating_add(1);
        state.short_chunks >= SHORT_CHUNKS_MAX
    }

    /// A peer no longer counts as one that serves something of a chain, until it offers again. It is
    /// asked for that, ever more seldom: what is offered and not served costs time.
    pub(super) fn drop_offer(&mut self, peer: Peer, chain: ChainRef, now: TimeMs) {
        if let Some(state) = self.states.get_mut(&peer) {
            state.offers.remove(&chain);
            let pause_ms = OFFER_MS << state.idle_offers.min(IDLE_OFFERS_MAX);
            state.idle_offers = state.idle_offers.saturating_add(1);
            (state.misses, state.short_chunks) = (0, 0);
            let again = now.saturating_add(pause_ms);
            state.asked.insert(chain, (NOBODY, again));
        }
    }

    /// Whether this number is one of a question for an offer that is open.
    pub(super) fn is_offer_asked(&self, peer: Peer, chain: ChainRef, number: u64) -> bool {
        let asked = self.states.get(&peer).and_then(|it| it.asked.get(&chain));
        asked.is_some_and(|(newest, _)| number <= *newest && *newest != NOBODY)
    }

    /// It says what it serves.
    pub(super) fn offers(&mut self, peer: Peer, chain: ChainRef, mut offer: Offer, now: TimeMs) {
        if let Some(state) = self.states.get_mut(&peer) {
            offer.bases.truncate(BASES_MAX);
            state.asked.remove(&chain);
            // Offering is cheap: who owes answers goes on to owe them.
            state.offers.insert(chain, (now, offer));
        }
    }

    /// Offers are forgotten once they are old, so that they are asked for again.
    pub(super) fn forget_old(&mut self, chains: impl Iterator<Item = ChainRef>, now: TimeMs) {
        for chain in chains {
            for state in self.states.values_mut() {
                let offer = state.offers.get(&chain);
                if offer.is_some_and(|(at, _)| at.saturating_add(OFFER_AGE_MS) <= now) {
                    state.offers.remove(&chain);
                }
            }
        }
    }

    /// Who is to be asked what it serves of these chains, with a number for each question.
    pub(super) fn take_questions(
        &mut self,
        chains: &[ChainRef],
        is_first: bool,
        now: TimeMs,
        next_number: &mut u64,
    ) -> Vec<(Peer, ChainRef, u64)> {
        let mut questions = Vec::new();
        for (peer, state) in &mut self.states {
            for chain in chains {
                if state.forged || !state.chains.contains(chain) {
                    continue;
                }
                let answered = state.offers.get(chain);
                let fresh = answered
                    .is_some_and(|(at, _)| is_first || at.saturating_add(OFFER_AGE_MS) > now);
                let pause = |(_, at): &(u64, TimeMs)| at.saturating_add(OFFER_MS) > now;
                if fresh || state.asked.get(chain).is_some_and(pause) {
                    continue;
                }
                *next_number = next_number.saturating_add(1);
                state.asked.insert(*chain, (*next_number, now));
                questions.push((*peer, *chain, *next_number));
            }
        }
        questions
    }

    /// Whether a peer says that it is so far ahead, and nobody serves any base.
    pub(super) fn is_unserved(&self, chain: ChainRef, held: Height, above: u64) -> bool {
        let offers = || self.states.values().filter_map(|it| it.offer(chain));
        offers().any(|offer| offer.held.above(held) > above)
            && offers().all(|offer| offer.bases.is_empty())
    }

    /// Whether nobody of those that follow a chain has said yet what it serves of it.
    pub(super) fn is_unheard(&self, chain: ChainRef) -> bool {
        let mut following = self
            .states
            .values()
            .filter(|state| !state.forged && state.chains.contains(&chain))
            .peekable();
        following.peek().is_some() && following.all(|state| state.offer(chain).is_none())
    }

    /// The base to take over next, of those that are fit: the one that was begun where it is still
    /// served; else one that failed less often; else one that more peers serve who kept their word,
    /// those that the operator chose before others; else the newest.
    pub(super) fn best(
        &self,
        chain: ChainRef,
        is_fit: impl Fn(&BlockRef, Epoch) -> bool,
        failed: &BTreeMap<BlockRef, u32>,
        begun: Option<BlockRef>,
    ) -> Option<BlockRef> {
        // Those that were chosen, and all.
        let mut servers: BTreeMap<BlockRef, (usize, usize)> = BTreeMap::new();
        for state in self.states.values() {
            let bases = state.offer(chain).into_iter().flat_map(|it| &it.bases);
            let fit: BTreeSet<BlockRef> = bases
                .filter(|base| is_fit(&base.block, base.epoch))
                .map(|base| base.block)
                .collect();
            let keeps_its_word = state.idle_offers == 0;
            let chosen = usize::from(keeps_its_word && state.configured);
            for block in fit {
                let (of_chosen, of_all) = servers.entry(block).or_default();
                *of_chosen = of_chosen.saturating_add(chosen);
                *of_all = of_all.saturating_add(usize::from(keeps_its_word));
            }
        }
        let tries = |block: &BlockRef| failed.get(block).copied().unwrap_or(0);
        servers.retain(|block, _| tries(block) < TRIES_MAX);
        if let Some(begun) = begun.filter(|begun| servers.contains_key(begun)) {
            return Some(begun);
        }
        let enough = |count: usize| count.min(SERVERS_ENOUGH);
        let rank = |(block, (chosen, all)): &(BlockRef, (usize, usize))| {
            (Reverse(tries(block)), enough(*chosen), enough(*all), *block)
        };
        let best = servers.into_iter().max_by_key(rank);
        best.map(|(block, _)| block)
    }

    /// How many peers serve a base.
    pub(super) fn servers(&self, chain: ChainRef, block: &BlockRef) -> usize {
        let states = self.states.values();
        states
            .filter(|state| state.serves(chain, block).is_some())
            .count()
    }

    /// A peer that serves a base, in turn, with the epoch of what proves it.
    pub(super) fn pick(&mut self, chain: ChainRef, block: &BlockRef) -> Option<(Peer, Epoch)> {
        let serving = self
            .states
            .iter()
            .filter_map(|(peer, state)| Some((*peer, state.serves(chain, block)?)));
        let serving: Vec<(Peer, Epoch)> = serving.collect();
        self.next_of(&serving)
    }

    /// Anybody who follows a chain, in turn, but these.
    pub(super) fn pick_other(&mut self, chain: ChainRef, but: &BTreeSet<Peer>) -> Option<Peer> {
        let able = self.states.iter().filter(|(peer, state)| {
            !state.forged && state.chains.contains(&chain) && !but.contains(peer)
        });
        let able: Vec<Peer> = able.map(|(peer, _)| *peer).collect();
        self.next_of(&able)
    }

    fn next_of<T: Copy>(&mut self, among: &[T]) -> Option<T> {
        let turn = self.turn.checked_rem(among.len())?;
        self.turn = self.turn.wrapping_add(1);
        among.get(turn).copied()
    }
}

#[cfg(test)]
mod tests;
