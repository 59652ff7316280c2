//! How a node that lacks much of its chains joins: it asks its peers for bases, follows the beacon's
//! seals to the newest one that it can prove, takes over the state in chunks, and goes on from there
//! by blocks.
//!
//! A state machine: time, frames and finished jobs are inputs; frames and jobs are outputs. The
//! beacon comes first, then the shards. What a peer says is only a hint what to ask for; proofs
//! decide. Who sends what proves nothing is asked no more and reported; who does not answer is
//! passed over, without blame. Whatever is waited for has an end: after it another peer is asked,
//! then all are asked anew what they serve, and a chain for which nobody serves anything is left to
//! the catching up by blocks.

use super::check::{CheckedBase, Trust, WantedBatch};
use super::frames::{
    BASES_MAX, Offer, OfferedBase, REPLY_BYTES_MAX, REQUEST_BYTES_MAX, Reply, Request,
    SnapshotReply, SnapshotRequest,
};
use super::jobs::{Done, Job};
use crate::chain::{Payload, Peer};
use crate::wire::kind;
use skerry_storage::ChainStore;
use skerry_storage::import::Import;
use skerry_types::block::{BlockRef, ExecutionResult};
use skerry_types::codec::{decode, encode};
use skerry_types::ids::{ChainRef, Epoch, Height, TimeMs};
use skerry_types::message::Batch;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// How long a peer has to answer.
const ANSWER_MS: u64 = 4_000;
/// Answers that a peer may owe in a row before it is passed over until it offers something again.
const MISSES_MAX: u32 = 2;
/// How often peers are asked what they serve, until they have said so.
const OFFER_MS: u64 = 500;
/// An offer that is older than this is asked for again where a base is to be chosen.
const OFFER_AGE_MS: u64 = 2_000;
/// How long a node without any peer waits for one.
const ALONE_MS: u64 = 1_000;
/// Once all peers have answered, how long more of them may come.
const SETTLE_MS: u64 = 200;
/// How long peers have in all to say what they serve.
const PROBE_MS: u64 = 3_000;
/// How long a node that lags waits for peers that are ahead and serve nothing yet.
const PIN_WAIT_MS: u64 = 6_000;
/// How long nobody may serve a base before the chain is left to the catching up by blocks.
const CHOOSE_MS: u64 = 8_000;
/// How often the pause before an offer is asked for again doubles.
const IDLE_OFFERS_MAX: u32 = 5;
/// Stands for an offer that was not asked for.
const NOBODY: u64 = u64::MAX;
/// How long a chain may come no further, whatever is offered, before it is left to the catching up by
/// blocks.
const GIVE_UP_MS: u64 = 16_000;
/// The same while a state is being taken over: some peers may be gone, each costs a few answers.
const GIVE_UP_TAKING_MS: u64 = 60_000;
/// Peers that are listened to.
const PEERS_MAX: usize = 64;

/// A chain that is to be joined.
pub struct Place {
    /// Which.
    pub chain: ChainRef,
    /// Where it is stored.
    pub store: Arc<ChainStore>,
}

/// What a join starts with.
pub struct Setup {
    /// The chains that the node follows; the beacon first.
    pub places: Vec<Place>,
    /// What is trusted.
    pub trust: Trust,
    /// A chain joins by snapshot when a base lies more than this many heights above what it holds.
    pub above: u64,
}

/// What happens to a join.
pub enum Input {
    /// Time passed.
    Tick,
    /// A peer connected.
    PeerUp {
        /// Who.
        peer: Peer,
        /// What it follows.
        chains: Vec<ChainRef>,
    },
    /// A peer is gone.
    PeerDown(Peer),
    /// A frame of one of the two kinds of snapshots.
    Frame {
        /// From whom.
        peer: Peer,
        /// The chain.
        chain: ChainRef,
        /// The kind.
        kind: u8,
        /// The content.
        payload: Payload,
    },
    /// A job is done.
    Done(Done),
}

/// What a join asks for.
pub enum Output {
    /// Send a frame.
    Send {
        /// To whom.
        peer: Peer,
        /// The chain.
        chain: ChainRef,
        /// The kind.
        kind: u8,
        /// The content.
        payload: Payload,
    },
    /// Compute; answer [`Input::Done`].
    Work(Box<Job>),
    /// A peer sent what proves nothing.
    Forged {
        /// Who.
        peer: Peer,
        /// What was wrong.
        reason: String,
    },
    /// Something for the log.
    Note(Note),
    /// All is done that can be; the chains can begin.
    Finished,
    /// The node must not start.
    Failed(Failure),
}

/// Something for the log, and for those that count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// A base is being taken over.
    Begun {
        /// The chain.
        chain: ChainRef,
        /// Height of the base.
        height: Height,
        /// Whether an import that was interrupted goes on.
        resumed: bool,
    },
    /// Records were written.
    Chunk {
        /// The chain.
        chain: ChainRef,
        /// Chunks so far.
        chunks: u64,
        /// Bytes so far.
        bytes: u64,
        /// Peers that serve the base.
        peers: usize,
    },
    /// The state is in use.
    Joined {
        /// The chain.
        chain: ChainRef,
        /// The base.
        block: BlockRef,
        /// Its result.
        result: ExecutionResult,
    },
    /// Nobody serves a base; the chain goes on by blocks.
    GaveUp(ChainRef),
}

/// Why a node must not start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// What is trusted is older than bonds stay locked.
    TooOld {
        /// The trusted epoch.
        start: Epoch,
        /// The newest one that was shown.
        newest: Epoch,
    },
    /// The store failed.
    Store(String),
}

#[derive(Default)]
struct PeerState {
    chains: Vec<ChainRef>,
    /// What it serves of each chain, and when it said so.
    offers: BTreeMap<ChainRef, (TimeMs, Offer)>,
    /// The newest question for an offer, and when it was or is to be asked.
    asked: BTreeMap<ChainRef, (u64, TimeMs)>,
    forged: bool,
    misses: u32,
    /// How often it offered what it did not serve.
    idle_offers: u32,
}

impl PeerState {
    fn offer(&self, chain: ChainRef) -> Option<&Offer> {
        let (_, offer) = self.offers.get(&chain)?;
        (!self.forged).then_some(offer)
    }

    fn serves(&self, chain: ChainRef, base: &OfferedBase) -> bool {
        let offer = self.offer(chain);
        offer.is_some_and(|offer| offer.bases.contains(base))
    }
}

struct Asked {
    peer: Peer,
    chain: ChainRef,
    number: u64,
    at: TimeMs,
    what: Request,
}

/// A base that is taken over.
struct Taking {
    offered: OfferedBase,
    base: Box<CheckedBase>,
    import: Arc<Import>,
    /// Batches whose bodies are missing, once that is known.
    wanted: Option<VecDeque<WantedBatch>>,
    outgoing: Vec<Batch>,
}

enum Stage {
    /// Peers say what they serve.
    Probe,
    /// A base of the chain at hand is to be chosen; until when.
    Choose(TimeMs),
    /// It was chosen, and is to be proven.
    Prove(OfferedBase),
    /// Its state is taken over.
    Take(Box<Taking>),
    /// All is done.
    Over,
}

/// A join.
pub struct Join {
    places: VecDeque<Place>,
    /// Chains of which a base was chosen.
    lagging: BTreeSet<ChainRef>,
    chains: Vec<ChainRef>,
    trust: Arc<Trust>,
    above: u64,
    peers: BTreeMap<Peer, PeerState>,
    stage: Stage,
    asked: Option<Asked>,
    /// A job is under way, with what a peer sent where it checks that.
    working: Option<Option<Peer>>,
    /// When the chain at hand came further.
    progress_at: TimeMs,
    next_number: u64,
    turn: usize,
    began: TimeMs,
    now: TimeMs,
}

impl Join {
    /// Begins; the first [`Input::Tick`] is due at once.
    pub fn new(setup: Setup, now: TimeMs) -> Self {
        let chains = setup.places.iter().map(|place| place.chain).collect();
        Self {
            places: setup.places.into(),
            lagging: BTreeSet::new(),
            chains,
            trust: Arc::new(setup.trust),
            above: setup.above,
            peers: BTreeMap::new(),
            stage: Stage::Probe,
            asked: None,
            working: None,
            progress_at: now,
            next_number: 0,
            turn: 0,
            began: now,
            now,
        }
    }

    /// When [`Input::Tick`] is due at the latest.
    pub fn deadline(&self) -> TimeMs {
        self.now.saturating_add(OFFER_MS.min(SETTLE_MS) / 2)
    }

    /// Whether it is over.
    pub fn is_over(&self) -> bool {
        matches!(self.stage, Stage::Over)
    }

    /// Takes one input.
    pub fn step(&mut self, now: TimeMs, input: Input, out: &mut Vec<Output>) {
        self.now = self.now.max(now);
        if self.is_over() {
            return;
        }
        match input {
            Input::Tick => {}
            Input::PeerUp { peer, chains } => {
                if self.peers.len() < PEERS_MAX {
                    let state = PeerState {
                        chains,
                        ..PeerState::default()
                    };
                    self.peers.insert(peer, state);
                }
            }
            Input::PeerDown(peer) => {
                self.peers.remove(&peer);
                if self.asked.as_ref().is_some_and(|asked| asked.peer == peer) {
                    self.asked = None;
                }
            }
            Input::Frame {
                peer,
                chain,
                kind,
                payload,
            } => self.on_frame((peer, chain), kind, &payload, out),
            Input::Done(done) => self.on_done(done, out),
        }
        self.advance(out);
    }

    // ---- what comes --------------------------------------------------------------------------

    fn on_frame(
        &mut self,
        (peer, chain): (Peer, ChainRef),
        frame_kind: u8,
        payload: &[u8],
        out: &mut Vec<Output>,
    ) {
        match frame_kind {
            kind::SNAPSHOT_REQUEST => {
                if let Ok(request) = decode::<SnapshotRequest>(payload, REQUEST_BYTES_MAX) {
                    self.refuse((peer, chain), request, out);
                }
            }
            kind::SNAPSHOT_REPLY => {
                if let Ok(reply) = decode::<SnapshotReply>(payload, REPLY_BYTES_MAX) {
                    self.on_reply((peer, chain), reply, out);
                }
            }
            _ => {}
        }
    }

    /// Says how far this node is; it serves nothing before it has begun itself.
    fn refuse(
        &self,
        (peer, chain): (Peer, ChainRef),
        request: SnapshotRequest,
        out: &mut Vec<Output>,
    ) {
        let what = match request.what {
            Request::Offer => {
                let held = self.places.iter().find(|place| place.chain == chain);
                Reply::Offer(Offer {
                    held: held.map_or(Height::ZERO, Place::held),
                    bases: Vec::new(),
                })
            }
            Request::Seals(_) => Reply::Seals(Vec::new()),
            Request::Base(_) => Reply::Base(None),
            Request::Chunk { .. } => Reply::Chunk(None),
            Request::Batches { .. } => Reply::Batches(None),
        };
        let number = request.number;
        out.push(Output::Send {
            peer,
            chain,
            kind: kind::SNAPSHOT_REPLY,
            payload: encode(&SnapshotReply { number, what }).into(),
        });
    }

    fn on_reply(
        &mut self,
        (peer, chain): (Peer, ChainRef),
        reply: SnapshotReply,
        out: &mut Vec<Output>,
    ) {
        if let Reply::Offer(mut offer) = reply.what {
            let now = self.now;
            if let Some(state) = self.peers.get_mut(&peer)
                && state
                    .asked
                    .get(&chain)
                    .is_some_and(|(number, _)| reply.number <= *number && *number != NOBODY)
            {
                offer.bases.truncate(BASES_MAX);
                state.asked.remove(&chain);
                // Offering is cheap: who owes answers goes on to owe them.
                state.offers.insert(chain, (now, offer));
            }
            return;
        }
        let is_it = |asked: &Asked| {
            asked.peer == peer && asked.chain == chain && asked.number == reply.number
        };
        // A late one, which was asked of somebody else meanwhile, is no offence.
        let Some(asked) = self.asked.take_if(|asked| is_it(asked)) else {
            return;
        };
        if let Some(state) = self.peers.get_mut(&peer) {
            state.misses = 0;
        }
        match (asked.what, reply.what) {
            (Request::Seals(_), Reply::Seals(seals)) if !seals.is_empty() => {
                let trust = self.trust.clone();
                self.work(Some(peer), Job::Seals { trust, seals }, out);
            }
            (Request::Base(block), Reply::Base(Some(proof))) => {
                let Some(place) = self.places.front() else {
                    return;
                };
                let job = Job::Base {
                    trust: self.trust.clone(),
                    store: place.store.clone(),
                    chain,
                    block,
                    proof,
                };
                self.work(Some(peer), job, out);
            }
            (Request::Chunk { after, .. }, Reply::Chunk(Some(chunk))) => {
                let Stage::Take(taking) = &self.stage else {
                    return;
                };
                let import = taking.import.clone();
                let job = Job::Chunk {
                    import,
                    after,
                    chunk,
                };
                self.work(Some(peer), job, out);
            }
            (Request::Batches { .. }, Reply::Batches(Some(batches))) => {
                let Stage::Take(taking) = &self.stage else {
                    return;
                };
                let wanted = taking.wanted.iter().flatten().copied().collect();
                self.work(Some(peer), Job::Batches { wanted, batches }, out);
            }
            // It does not serve this any more, or never did.
            _ => self.drop_offer(peer, chain),
        }
    }

    fn work(&mut self, of: Option<Peer>, job: Job, out: &mut Vec<Output>) {
        self.working = Some(of);
        out.push(Output::Work(Box::new(job)));
    }

    fn on_done(&mut self, done: Done, out: &mut Vec<Output>) {
        let of = self.working.take().flatten();
        let failed = match done {
            Done::Seals(Ok(trust)) => {
                self.trust = trust;
                None
            }
            Done::Base(Ok((base, import))) => {
                self.on_base(base, import, out);
                None
            }
            Done::Chunk(Ok(())) => {
                self.note_chunk(out);
                None
            }
            Done::Plan(Ok(wanted)) => {
                if let Stage::Take(taking) = &mut self.stage {
                    taking.wanted = Some(wanted.into());
                }
                None
            }
            Done::Batches(Ok(batches)) => {
                if let Stage::Take(taking) = &mut self.stage {
                    let wanted = taking.wanted.get_or_insert_default();
                    wanted.drain(..batches.len().min(wanted.len()));
                    taking.outgoing.extend(batches);
                }
                None
            }
            Done::Finish(Ok(())) => {
                self.on_joined(out);
                None
            }
            Done::Seals(Err(error))
            | Done::Base(Err(error))
            | Done::Chunk(Err(error))
            | Done::Plan(Err(error))
            | Done::Batches(Err(error))
            | Done::Finish(Err(error)) => Some(error),
        };
        let Some(error) = failed else {
            self.progress_at = self.now;
            return;
        };
        let reason = super::reason_of(&error);
        if let Some(peer) = of.filter(|_| error.is_unprovable()) {
            if let Some(place) = self.places.front() {
                self.drop_offer(peer, place.chain);
            }
            self.choose_again();
        } else if let Some(peer) = of.filter(|_| error.is_forged()) {
            if let Some(state) = self.peers.get_mut(&peer) {
                state.forged = true;
            }
            out.push(Output::Forged { peer, reason });
        } else {
            self.stage = Stage::Over;
            out.push(Output::Failed(Failure::Store(reason)));
        }
    }

    fn on_base(&mut self, base: Box<CheckedBase>, import: Arc<Import>, out: &mut Vec<Output>) {
        let (Stage::Prove(offered), Some(place)) = (&self.stage, self.places.front()) else {
            return;
        };
        let progress = import.progress();
        out.push(Output::Note(Note::Begun {
            chain: place.chain,
            height: base.block.height,
            resumed: progress.chunks > 0,
        }));
        self.stage = Stage::Take(Box::new(Taking {
            offered: *offered,
            base,
            import,
            wanted: None,
            outgoing: Vec::new(),
        }));
    }

    fn note_chunk(&self, out: &mut Vec<Output>) {
        let (Stage::Take(taking), Some(place)) = (&self.stage, self.places.front()) else {
            return;
        };
        let progress = taking.import.progress();
        let serves = |peer: &&PeerState| peer.serves(place.chain, &taking.offered);
        out.push(Output::Note(Note::Chunk {
            chain: place.chain,
            chunks: progress.chunks,
            bytes: progress.bytes,
            peers: self.peers.values().filter(serves).count(),
        }));
    }

    fn on_joined(&mut self, out: &mut Vec<Output>) {
        let Some(place) = self.places.pop_front() else {
            return;
        };
        if let Stage::Take(taking) = &self.stage {
            out.push(Output::Note(Note::Joined {
                chain: place.chain,
                block: taking.base.block,
                result: taking.base.result,
            }));
        }
        self.begin_chain();
    }

    /// The next chain is at hand.
    fn begin_chain(&mut self) {
        self.progress_at = self.now;
        self.choose_again();
    }

    /// A peer no longer counts as one that serves something of a chain, until it offers again. It is
    /// asked for that, ever more seldom: what is offered and not served costs time.
    fn drop_offer(&mut self, peer: Peer, chain: ChainRef) {
        let now = self.now;
        if let Some(state) = self.peers.get_mut(&peer) {
            state.offers.remove(&chain);
            let pause_ms = OFFER_MS << state.idle_offers.min(IDLE_OFFERS_MAX);
            state.idle_offers = state.idle_offers.saturating_add(1);
            state.misses = 0;
            state
                .asked
                .insert(chain, (NOBODY, now.saturating_add(pause_ms)));
        }
    }

    // ---- what is next ------------------------------------------------------------------------

    fn advance(&mut self, out: &mut Vec<Output>) {
        self.expire();
        self.ask_offers(out);
        // Each turn asks for something, waits for an answer, or comes closer to the end.
        while self.asked.is_none() && self.working.is_none() {
            let goes_on = match &self.stage {
                Stage::Probe => self.end_probe(),
                Stage::Choose(until) => {
                    let until = *until;
                    self.choose(until, out)
                }
                Stage::Prove(offered) => {
                    let offered = *offered;
                    self.prove(offered, out)
                }
                Stage::Take(_) => self.take(out),
                Stage::Over => return,
            };
            if !goes_on {
                return;
            }
        }
    }

    /// Who has not answered in time is passed over.
    fn expire(&mut self) {
        let now = self.now;
        let late = |asked: &mut Asked| asked.at.saturating_add(ANSWER_MS) <= now;
        if let Some(asked) = self.asked.take_if(late) {
            self.turn = self.turn.wrapping_add(1);
            let state = self.peers.get_mut(&asked.peer);
            let is_gone = state.is_some_and(|state| {
                state.misses = state.misses.saturating_add(1);
                state.misses >= MISSES_MAX
            });
            if is_gone {
                self.drop_offer(asked.peer, asked.chain);
            }
        }
    }

    /// Asks peers what they serve: all chains at first, later the chain at hand.
    fn ask_offers(&mut self, out: &mut Vec<Output>) {
        let is_first = matches!(self.stage, Stage::Probe);
        let chains: Vec<ChainRef> = match &self.stage {
            Stage::Probe => self.chains.clone(),
            Stage::Choose(_) | Stage::Take(_) | Stage::Prove(_) => {
                self.places.iter().take(1).map(|it| it.chain).collect()
            }
            Stage::Over => return,
        };
        let now = self.now;
        for (peer, state) in &mut self.peers {
            for chain in &chains {
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
                self.next_number = self.next_number.saturating_add(1);
                let number = self.next_number;
                state.asked.insert(*chain, (number, now));
                let what = Request::Offer;
                out.push(Output::Send {
                    peer: *peer,
                    chain: *chain,
                    kind: kind::SNAPSHOT_REQUEST,
                    payload: encode(&SnapshotRequest { number, what }).into(),
                });
            }
        }
    }

    /// Whether enough was said to go on.
    fn end_probe(&mut self) -> bool {
        let waited = self.now.above(self.began);
        let has_answered = |peer: &PeerState| {
            let mut followed = peer.chains.iter().filter(|it| self.chains.contains(it));
            peer.forged || followed.all(|chain| peer.offers.contains_key(chain))
        };
        let all = !self.peers.is_empty() && self.peers.values().all(has_answered);
        let ends = if self.peers.is_empty() {
            waited >= ALONE_MS
        } else {
            all && waited >= SETTLE_MS || waited >= PROBE_MS
        };
        if !ends {
            return false;
        }
        let unserved = self.places.iter().any(|place| self.is_unserved(place));
        if unserved && waited < PIN_WAIT_MS {
            // Somebody is ahead and serves nothing yet; its next base may come any moment.
            for state in self.peers.values_mut() {
                for place in &self.places {
                    let now = self.now;
                    let is_old =
                        |(at, _): &mut (TimeMs, Offer)| at.saturating_add(OFFER_AGE_MS) <= now;
                    if state.offers.get_mut(&place.chain).is_some_and(is_old) {
                        state.offers.remove(&place.chain);
                    }
                }
            }
            return false;
        }
        self.begin_chain();
        true
    }

    /// Whether a peer says that it is far ahead, and nobody serves any base.
    fn is_unserved(&self, place: &Place) -> bool {
        let offers = || self.peers.values().filter_map(|it| it.offer(place.chain));
        let is_ahead = |offer: &Offer| offer.held.above(place.held()) > self.above;
        offers().any(is_ahead) && offers().all(|offer| offer.bases.is_empty())
    }

    /// Chooses a base of the chain at hand: that of an import which was interrupted, or the newest.
    fn choose(&mut self, until: TimeMs, out: &mut Vec<Output>) -> bool {
        let Some(place) = self.places.front() else {
            self.stage = Stage::Over;
            out.push(Output::Finished);
            return false;
        };
        let chain = place.chain;
        let held = place.held();
        let offers = self.peers.values().filter_map(|it| it.offer(chain));
        let bases = offers.flat_map(|offer| &offer.bases);
        let newer: Vec<OfferedBase> = bases
            .filter(|base| base.block.height.above(held) > self.above)
            .filter(|base| self.trust.may_prove(base.epoch))
            .copied()
            .collect();
        let begun = place.store.import_progress().ok().flatten();
        let begun = begun.and_then(|begun| {
            let mut same = newer.iter().filter(|it| it.block == begun.base.block);
            same.next().copied()
        });
        let unserved = self.is_unserved(place);
        let is_hopeless = self.is_hopeless(GIVE_UP_MS);
        let chosen = begun.or_else(|| newer.iter().max().copied());
        if let Some(chosen) = chosen.filter(|_| !is_hopeless) {
            self.lagging.insert(chain);
            self.stage = Stage::Prove(chosen);
            return true;
        }
        let lags = unserved || self.lagging.contains(&chain);
        if lags && self.now < until && !is_hopeless {
            return false;
        }
        if lags {
            out.push(Output::Note(Note::GaveUp(chain)));
        }
        self.places.pop_front();
        self.begin_chain();
        true
    }

    /// Follows the seals as far as the base needs, or the operator's word for them, and has the base
    /// proven.
    fn prove(&mut self, offered: OfferedBase, out: &mut Vec<Output>) -> bool {
        let chain = self.places.front().map(|place| place.chain);
        let Some(chain) = chain.filter(|_| !self.is_hopeless(GIVE_UP_MS)) else {
            return self.choose_again();
        };
        let Some(peer) = self.pick(chain, &offered) else {
            return self.choose_again();
        };
        let too_old = self.trust.too_old();
        let is_vouched = too_old.is_some() && self.trust.is_vouched_later();
        if offered.epoch > self.trust.epoch() || is_vouched {
            self.ask(peer, chain, Request::Seals(self.trust.epoch()), out);
            return false;
        }
        if let Some(start) = too_old {
            let newest = self.trust.epoch();
            self.stage = Stage::Over;
            out.push(Output::Failed(Failure::TooOld { start, newest }));
            return false;
        }
        Arc::make_mut(&mut self.trust).renew();
        self.ask(peer, chain, Request::Base(offered.block), out);
        false
    }

    /// Whether the chain at hand has come no further for so long.
    fn is_hopeless(&self, limit_ms: u64) -> bool {
        self.now.above(self.progress_at) > limit_ms
    }

    /// Goes on with the base that was proven.
    fn take(&mut self, out: &mut Vec<Output>) -> bool {
        if self.is_hopeless(GIVE_UP_TAKING_MS) {
            return self.choose_again();
        }
        let (Stage::Take(taking), Some(place)) = (&self.stage, self.places.front()) else {
            return self.choose_again();
        };
        let (chain, offered) = (place.chain, taking.offered);
        let progress = taking.import.progress();
        let import = taking.import.clone();
        let root = offered.root;
        let request = if !progress.is_complete {
            let after = progress.cursor;
            Request::Chunk { root, after }
        } else if let Some(wanted) = &taking.wanted {
            match wanted.front() {
                Some(next) => Request::Batches {
                    root,
                    destination: next.destination,
                    first: next.first,
                },
                None => {
                    let job = Job::Finish {
                        import,
                        store: place.store.clone(),
                        chain,
                        base: taking.base.clone(),
                        trust: self.trust.clone(),
                        outgoing: taking.outgoing.clone(),
                    };
                    self.work(None, job, out);
                    return false;
                }
            }
        } else {
            let chains = self.trust.genesis().chains();
            let job = Job::Plan {
                import,
                chain,
                chains,
            };
            self.work(None, job, out);
            return false;
        };
        let Some(peer) = self.pick(chain, &offered) else {
            return self.choose_again();
        };
        self.ask(peer, chain, request, out);
        false
    }

    fn choose_again(&mut self) -> bool {
        self.stage = Stage::Choose(self.now.saturating_add(CHOOSE_MS));
        true
    }

    /// A peer that serves the base, in turn.
    fn pick(&mut self, chain: ChainRef, base: &OfferedBase) -> Option<Peer> {
        let serving = self.peers.iter().filter(|(_, it)| it.serves(chain, base));
        let serving: Vec<Peer> = serving.map(|(peer, _)| *peer).collect();
        let turn = self.turn.checked_rem(serving.len())?;
        self.turn = self.turn.wrapping_add(1);
        serving.get(turn).copied()
    }

    fn ask(&mut self, peer: Peer, chain: ChainRef, what: Request, out: &mut Vec<Output>) {
        self.next_number = self.next_number.saturating_add(1);
        let number = self.next_number;
        self.asked = Some(Asked {
            peer,
            chain,
            number,
            at: self.now,
            what,
        });
        out.push(Output::Send {
            peer,
            chain,
            kind: kind::SNAPSHOT_REQUEST,
            payload: encode(&SnapshotRequest { number, what }).into(),
        });
    }
}

impl Place {
    /// The newest final block that the store has.
    fn held(&self) -> Height {
        let held = self.store.finalized();
        held.map_or(Height::ZERO, |block| block.height)
    }
}
