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
    Offer, REPLY_BYTES_MAX, REQUEST_BYTES_MAX, Reply, Request, SnapshotReply, SnapshotRequest,
};
use super::jobs::{Begun, Done, Job, JobError};
pub use super::outside::{Failure, GaveUp, Input, Note, Output, Place, Setup};
use super::peers::{Count, OFFER_MS, Peers};
use super::pins::span_ms;
use crate::chain::Peer;
use crate::wire::kind;
use skerry_storage::StoreError;
use skerry_storage::import::Import;
use skerry_types::block::BlockRef;
use skerry_types::codec::{decode, encode};
use skerry_types::ids::{ChainRef, Height, TimeMs};
use skerry_types::message::Batch;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// How long a peer has to answer.
const ANSWER_MS: u64 = 4_000;
/// How long a node that no peer is configured for waits for one.
const ALONE_MS: u64 = 1_000;
/// How long a node that holds nothing waits for the first of its peers.
const LONELY_MS: u64 = 15_000;
/// Once enough peers have answered, how long more of them may come.
const SETTLE_MS: u64 = 200;
/// Configured peers that are waited for: with so many, one or two that lie or lag decide nothing.
const PEERS_WAITED_FOR: usize = 3;
/// How long peers have in all to say what they serve.
const PROBE_MS: u64 = 3_000;
/// How long a node that lags waits for peers that are ahead and serve nothing yet.
const PIN_WAIT_MS: u64 = 6_000;
/// How long nobody may serve a base before the chain is left to the catching up by blocks.
const CHOOSE_MS: u64 = 8_000;
/// Spans of pins for which a chain with an unfinished import waits longer: servers that have
/// restarted serve something again after one.
const SPANS_WAITED: u64 = 2;
/// How long a base may take to be proven before another one is tried.
const GIVE_UP_MS: u64 = 16_000;
/// How long a state that is being taken over may come no further: some peers may be gone, each costs
/// a few answers.
const GIVE_UP_TAKING_MS: u64 = 60_000;
/// Bases of a chain that are tried before it is left to the catching up by blocks.
const ATTEMPTS_MAX: u32 = 32;
/// The same where the chain holds blocks and nothing of a state.
const ATTEMPTS_HELD_MAX: u32 = 3;

struct Asked {
    peer: Peer,
    chain: ChainRef,
    number: u64,
    at: TimeMs,
    what: Request,
}

/// A base that is to be proven.
struct Proving {
    block: BlockRef,
    /// Who has no seal after the newest that is trusted.
    sealless: BTreeSet<Peer>,
}

/// A base that is taken over.
struct Taking {
    base: Box<CheckedBase>,
    import: Arc<Import>,
    /// Batches whose bodies are missing, once that is known.
    wanted: Option<VecDeque<WantedBatch>>,
    outgoing: Vec<Batch>,
}

enum Stage {
    /// Peers say what they serve.
    Probe,
    /// A base of the chain at hand is to be chosen; since when.
    Choose(TimeMs),
    /// It was chosen, and is to be proven.
    Prove(Proving),
    /// Its state is taken over.
    Take(Box<Taking>),
    /// All is done.
    Over,
}

/// A job that is under way.
struct Working {
    /// Who sent what it checks.
    of: Option<Peer>,
    /// How much that was.
    bytes: usize,
}

/// A join.
pub struct Join {
    places: VecDeque<Place>,
    /// Chains of which a base was chosen.
    lagging: BTreeSet<ChainRef>,
    chains: Vec<ChainRef>,
    trust: Arc<Trust>,
    /// Configured peers that are waited for at first.
    wanted: usize,
    chunk_bytes: usize,
    peers: Peers,
    /// Whether that nobody is connected was noted.
    waits: bool,
    stage: Stage,
    /// How often bases of the chain at hand failed.
    failed: BTreeMap<BlockRef, u32>,
    attempts: u32,
    asked: Option<Asked>,
    working: Option<Working>,
    /// When the chain at hand came further.
    progress_at: TimeMs,
    next_number: u64,
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
            wanted: setup.peers.min(PEERS_WAITED_FOR),
            chunk_bytes: setup.chunk_bytes,
            peers: Peers::default(),
            waits: false,
            stage: Stage::Probe,
            failed: BTreeMap::new(),
            attempts: 0,
            asked: None,
            working: None,
            progress_at: now,
            next_number: 0,
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
            Input::PeerUp {
                peer,
                chains,
                configured,
            } => {
                self.peers.up(peer, chains, configured);
                self.waits = false;
            }
            Input::PeerDown(peer) => {
                self.peers.down(peer);
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
            kind::SNAPSHOT_REPLY => self.on_reply_bytes((peer, chain), payload, out),
            _ => {}
        }
    }

    /// Decodes a reply that was asked for; others, late ones among them, are no offence and cost
    /// nothing.
    fn on_reply_bytes(
        &mut self,
        (peer, chain): (Peer, ChainRef),
        payload: &[u8],
        out: &mut Vec<Output>,
    ) {
        let Some(number) = SnapshotReply::number_of(payload) else {
            return;
        };
        let is_asked =
            |asked: &Asked| asked.peer == peer && asked.chain == chain && asked.number == number;
        let answers = self.asked.as_ref().is_some_and(is_asked);
        if !answers && !self.peers.is_offer_asked(peer, chain, number) {
            return;
        }
        match decode::<SnapshotReply>(payload, REPLY_BYTES_MAX) {
            Ok(reply) => match reply.what {
                Reply::Offer(offer) if !answers => {
                    self.peers.offers(peer, chain, offer, self.now);
                }
                what if answers => {
                    if let Some(asked) = self.asked.take() {
                        self.on_answer(&asked, what, payload.len(), out);
                    }
                }
                _ => {}
            },
            Err(error) => {
                if answers {
                    self.asked = None;
                }
                self.peers.drop_offer(peer, chain, self.now);
                let reason = super::reason_of(&error);
                out.push(Output::Undecodable { peer, reason });
            }
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

    fn on_answer(&mut self, asked: &Asked, reply: Reply, bytes: usize, out: &mut Vec<Output>) {
        let peer = asked.peer;
        self.peers.answered(peer);
        let from = Working {
            of: Some(peer),
            bytes,
        };
        match (asked.what, reply, &mut self.stage) {
            (Request::Seals(_), Reply::Seals(seals), _) if !seals.is_empty() => {
                let trust = self.trust.clone();
                self.work(from, Job::Seals { trust, seals }, out);
            }
            (Request::Seals(_), _, Stage::Prove(proving)) => {
                proving.sealless.insert(peer);
            }
            (Request::Seals(_), ..) => {}
            (Request::Base(block), Reply::Base(Some(proof)), _) => {
                let Some(place) = self.places.front() else {
                    return;
                };
                let job = Job::Base {
                    trust: self.trust.clone(),
                    store: place.store.clone(),
                    chain: asked.chain,
                    block,
                    proof,
                };
                self.work(from, job, out);
            }
            (Request::Chunk { after, .. }, Reply::Chunk(Some(chunk)), Stage::Take(taking)) => {
                let import = taking.import.clone();
                let job = Job::Chunk {
                    import,
                    after,
                    chunk,
                };
                self.work(from, job, out);
            }
            (Request::Batches { .. }, Reply::Batches(Some(batches)), Stage::Take(taking)) => {
                let wanted = taking.wanted.iter().flatten().copied().collect();
                self.work(from, Job::Batches { wanted, batches }, out);
            }
            // It does not serve this any more, or never did.
            _ => self.peers.drop_offer(peer, asked.chain, self.now),
        }
    }

    fn work(&mut self, from: Working, job: Job, out: &mut Vec<Output>) {
        self.working = Some(from);
        out.push(Output::Work(Box::new(job)));
    }

    /// Work on what nobody sent.
    fn work_alone(&mut self, job: Job, out: &mut Vec<Output>) {
        let from = Working { of: None, bytes: 0 };
        self.work(from, job, out);
    }

    fn on_done(&mut self, done: Done, out: &mut Vec<Output>) {
        let Some(from) = self.working.take() else {
            return;
        };
        let failed = match done {
            Done::Seals(Ok(trust)) => {
                self.trust = trust;
                if let Stage::Prove(proving) = &mut self.stage {
                    proving.sealless.clear();
                }
                None
            }
            Done::Base(Ok(begun)) => {
                self.on_base(begun, out);
                None
            }
            Done::Chunk(Ok(())) => {
                self.on_chunk(&from, out);
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
            Done::Abandon(Ok(())) => None,
            Done::Seals(Err(error))
            | Done::Base(Err(error))
            | Done::Chunk(Err(error))
            | Done::Plan(Err(error))
            | Done::Batches(Err(error))
            | Done::Finish(Err(error))
            | Done::Abandon(Err(error)) => Some(error),
        };
        match failed {
            None => self.progress_at = self.now,
            Some(error) => self.on_failed(&error, from.of, out),
        }
    }

    fn on_failed(&mut self, error: &JobError, of: Option<Peer>, out: &mut Vec<Output>) {
        let reason = super::reason_of(error);
        if let Some(contradiction) = error.contradiction() {
            // Signed by a quorum: whoever passed it on did nothing wrong.
            self.fail(Failure::Checkpoint(*contradiction), out);
        } else if error.is_hopeless() {
            self.leave_to_blocks(GaveUp::Batches, out);
        } else if let Some(peer) = of.filter(|_| error.is_unprovable()) {
            if let Some(place) = self.places.front() {
                self.peers.drop_offer(peer, place.chain, self.now);
            }
        } else if let Some(peer) = of.filter(|_| error.is_forged()) {
            self.peers.forged(peer);
            out.push(Output::Forged { peer, reason });
        } else {
            self.fail(Failure::Store(reason), out);
        }
    }

    fn fail(&mut self, failure: Failure, out: &mut Vec<Output>) {
        self.stage = Stage::Over;
        out.push(Output::Failed(failure));
    }

    /// A store that cannot be read says nothing of what was begun: nothing is next.
    fn fail_store(&mut self, error: &StoreError, out: &mut Vec<Output>) -> bool {
        self.fail(Failure::Store(super::reason_of(error)), out);
        false
    }

    fn on_base(&mut self, begun: Begun, out: &mut Vec<Output>) {
        let (Stage::Prove(_), Some(place)) = (&self.stage, self.places.front()) else {
            return;
        };
        let Begun {
            base,
            import,
            given_up,
        } = begun;
        // Not before: an offer or a seal alone says nothing of what the network holds for true.
        Arc::make_mut(&mut self.trust).renew();
        let progress = import.progress();
        out.push(Output::Note(Note::Begun {
            chain: place.chain,
            height: base.block.height,
            resumed: progress.chunks > 0,
            given_up,
            history: place.history(),
        }));
        self.stage = Stage::Take(Box::new(Taking {
            base,
            import,
            wanted: None,
            outgoing: Vec::new(),
        }));
    }

    fn on_chunk(&mut self, from: &Working, out: &mut Vec<Output>) {
        let (Stage::Take(taking), Some(place)) = (&self.stage, self.places.front()) else {
            return;
        };
        let (progress, block) = (taking.import.progress(), taking.base.block);
        out.push(Output::Note(Note::Chunk {
            chain: place.chain,
            chunks: progress.chunks,
            bytes: progress.bytes,
            peers: self.peers.servers(place.chain, &block),
        }));
        // Whoever serves it keeps its word.
        self.failed.remove(&block);
        if let Some(peer) = from.of.filter(|_| !progress.is_complete)
            && self.peers.sent_chunk(peer, from.bytes, self.chunk_bytes)
        {
            self.peers.drop_offer(peer, place.chain, self.now);
        }
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

    /// The chain at hand catches up by blocks.
    fn leave_to_blocks(&mut self, why: GaveUp, out: &mut Vec<Output>) {
        if let Some(place) = self.places.pop_front() {
            let chain = place.chain;
            out.push(Output::Note(Note::GaveUp { chain, why }));
        }
        self.begin_chain();
    }

    /// The next chain is at hand.
    fn begin_chain(&mut self) {
        self.progress_at = self.now;
        self.failed.clear();
        self.attempts = 0;
        self.choose_again();
    }

    // ---- what is next ------------------------------------------------------------------------

    fn advance(&mut self, out: &mut Vec<Output>) {
        self.expire();
        self.ask_offers(out);
        // Each turn asks for something, waits for an answer, or comes closer to the end.
        while self.asked.is_none() && self.working.is_none() {
            let goes_on = match &self.stage {
                Stage::Probe => self.end_probe(out),
                Stage::Choose(since) => {
                    let since = *since;
                    self.choose(since, out)
                }
                Stage::Prove(proving) => {
                    let block = proving.block;
                    self.prove(block, out)
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
        let Some(asked) = self.asked.take_if(late) else {
            return;
        };
        let is_gone = self.peers.missed(asked.peer);
        if let (Request::Seals(_), Stage::Prove(proving)) = (asked.what, &mut self.stage) {
            proving.sealless.insert(asked.peer);
        }
        if let Some(place) = self.places.front().filter(|_| is_gone) {
            self.peers.drop_offer(asked.peer, place.chain, now);
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
        let next_number = &mut self.next_number;
        let questions = self
            .peers
            .take_questions(&chains, is_first, self.now, next_number);
        for (peer, chain, number) in questions {
            let what = Request::Offer;
            out.push(Output::Send {
                peer,
                chain,
                kind: kind::SNAPSHOT_REQUEST,
                payload: encode(&SnapshotRequest { number, what }).into(),
            });
        }
    }

    /// Whether enough was said to go on.
    fn end_probe(&mut self, out: &mut Vec<Output>) -> bool {
        let waited = self.now.above(self.began);
        let Count {
            connected,
            answered,
            configured,
        } = self.peers.count(&self.chains);
        let ends = if connected == 0 {
            let begun: Result<Vec<_>, _> = self.places.iter().map(Place::begun).collect();
            match begun {
                Ok(begun) if begun.iter().all(Option::is_none) => {}
                Ok(_) => {
                    // Once somebody is there, the look around begins.
                    self.began = self.now;
                    return self.wait_for_peers(out);
                }
                Err(error) => return self.fail_store(&error, out),
            }
            let is_empty = |place: &Place| place.held() == Height::ZERO;
            let limit_ms = match self.wanted {
                0 => ALONE_MS,
                // Without a peer a node that holds nothing can do nothing else either.
                _ if self.places.iter().any(is_empty) => LONELY_MS,
                _ => PROBE_MS,
            };
            waited >= limit_ms
        } else {
            let all = answered == connected && configured >= self.wanted;
            all && waited >= SETTLE_MS || waited >= PROBE_MS
        };
        if !ends {
            return false;
        }
        let peers = &self.peers;
        let is_unserved = |place: &Place| peers.is_unserved(place.chain, place.held(), place.above);
        if self.places.iter().any(is_unserved) && waited < PIN_WAIT_MS {
            // Somebody is ahead and serves nothing yet; its next base may come any moment.
            let chains = self.places.iter().map(|place| place.chain);
            self.peers.forget_old(chains, self.now);
            return false;
        }
        out.push(Output::Note(Note::Probed {
            answered,
            configured,
            wanted: self.wanted,
        }));
        self.begin_chain();
        true
    }

    /// Nobody is there who could serve anything: what was begun is not given up for that.
    fn wait_for_peers(&mut self, out: &mut Vec<Output>) -> bool {
        if !std::mem::replace(&mut self.waits, true) {
            out.push(Output::Note(Note::WaitsForPeers));
        }
        false
    }

    /// Chooses a base of the chain at hand.
    fn choose(&mut self, since: TimeMs, out: &mut Vec<Output>) -> bool {
        let Some(place) = self.places.front() else {
            self.stage = Stage::Over;
            out.push(Output::Finished);
            return false;
        };
        let (chain, held, above) = (place.chain, place.held(), place.above);
        let begun = match place.begun() {
            Ok(begun) => begun,
            Err(error) => return self.fail_store(&error, out),
        };
        if begun.is_some_and(|begun| begun.height <= held) {
            // By blocks the chain came further than that.
            let store = place.store.clone();
            self.work_alone(Job::Abandon { store }, out);
            return false;
        }
        let is_fit = |block: &BlockRef, epoch| {
            block.height.above(held) > above && self.trust.may_prove(epoch)
        };
        let best = self.peers.best(chain, is_fit, &self.failed, begun);
        // A chain that holds blocks can begin: who says that there are many more keeps it for a moment.
        let is_urgent = held > Height::ZERO && begun.is_none();
        let attempts_max = if is_urgent {
            ATTEMPTS_HELD_MAX
        } else {
            ATTEMPTS_MAX
        };
        if let Some(block) = best.filter(|_| self.attempts < attempts_max) {
            self.lagging.insert(chain);
            self.attempts = self.attempts.saturating_add(1);
            self.progress_at = self.now;
            let sealless = BTreeSet::new();
            self.stage = Stage::Prove(Proving { block, sealless });
            return true;
        }
        let is_begun = begun.is_some();
        if self.peers.is_alone() && (is_begun || self.lagging.contains(&chain)) {
            self.stage = Stage::Choose(self.now);
            return self.wait_for_peers(out);
        }
        let lags =
            is_begun || self.lagging.contains(&chain) || self.peers.is_unserved(chain, held, above);
        let waited = self.now.above(since);
        if self.peers.is_unheard(chain) && waited < PROBE_MS {
            return false;
        }
        if lags && best.is_none() && waited < self.choose_ms(is_begun) {
            return false;
        }
        if lags {
            self.leave_to_blocks(GaveUp::Unserved, out);
        } else {
            self.places.pop_front();
            self.begin_chain();
        }
        true
    }

    /// How long nobody may serve a base.
    fn choose_ms(&self, is_begun: bool) -> u64 {
        let span_ms = span_ms(self.trust.genesis().parameters.epoch_ms);
        let more = if is_begun { SPANS_WAITED } else { 0 };
        CHOOSE_MS.saturating_add(span_ms.saturating_mul(more))
    }

    /// Follows the seals as far as the base needs, or the operator's word for them, and has the base
    /// proven.
    fn prove(&mut self, block: BlockRef, out: &mut Vec<Output>) -> bool {
        let chain = self.places.front().map(|place| place.chain);
        let Some(chain) = chain.filter(|_| !self.is_hopeless(GIVE_UP_MS)) else {
            return self.fail_base(block);
        };
        let Some((peer, epoch)) = self.peers.pick(chain, &block) else {
            return self.fail_base(block);
        };
        let too_old = self.trust.too_old(self.now);
        let is_vouched = too_old.is_some() && self.trust.is_vouched_later();
        if let Some(too_old) = too_old.filter(|_| !is_vouched) {
            if self
                .places
                .front()
                .is_some_and(|it| it.held() > Height::ZERO)
            {
                // Nothing of what was said is proven yet, and by blocks this start is good enough.
                self.leave_to_blocks(GaveUp::TooOld(too_old), out);
                return true;
            }
            self.fail(Failure::TooOld(too_old), out);
            return false;
        }
        if epoch > self.trust.epoch() || is_vouched {
            // Anybody may have the seals; who serves the base need not be asked for them.
            if let Stage::Prove(proving) = &mut self.stage
                && let Some(other) = self.peers.pick_other(ChainRef::Beacon, &proving.sealless)
            {
                let from = self.trust.epoch();
                self.ask(other, ChainRef::Beacon, Request::Seals(from), out);
                return false;
            }
            // Nobody knows of the epoch that this one speaks of.
            self.peers.drop_offer(peer, chain, self.now);
            if let Stage::Prove(proving) = &mut self.stage {
                proving.sealless.clear();
            }
            return true;
        }
        if !self.trust.may_prove(epoch) {
            self.peers.drop_offer(peer, chain, self.now);
            return true;
        }
        self.ask(peer, chain, Request::Base(block), out);
        false
    }

    /// Whether the chain at hand has come no further for so long.
    fn is_hopeless(&self, limit_ms: u64) -> bool {
        self.now.above(self.progress_at) > limit_ms
    }

    /// Goes on with the base that was proven.
    fn take(&mut self, out: &mut Vec<Output>) -> bool {
        let (Stage::Take(taking), Some(place)) = (&self.stage, self.places.front()) else {
            return self.choose_again();
        };
        let (chain, block) = (place.chain, taking.base.block);
        let root = taking.base.result.state_root;
        if self.is_hopeless(GIVE_UP_TAKING_MS) {
            return self.fail_base(block);
        }
        let progress = taking.import.progress();
        let import = taking.import.clone();
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
                    self.work_alone(job, out);
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
            self.work_alone(job, out);
            return false;
        };
        let Some((peer, _)) = self.peers.pick(chain, &block) else {
            return self.fail_base(block);
        };
        self.ask(peer, chain, request, out);
        false
    }

    /// Another base is chosen; or the same once more, where it was the connections that failed.
    fn fail_base(&mut self, block: BlockRef) -> bool {
        if self.peers.is_alone() {
            self.attempts = self.attempts.saturating_sub(1);
        } else {
            let failed = self.failed.entry(block).or_default();
            *failed = failed.saturating_add(1);
        }
        self.choose_again()
    }

    fn choose_again(&mut self) -> bool {
        self.stage = Stage::Choose(self.now);
        true
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
