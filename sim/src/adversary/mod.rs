//! What a Byzantine node does to the frames that its honest code wants to send.
//!
//! Its core runs the code under test, so it keeps up and leads like everybody else; on the way out
//! its frames are kept back, changed, contradicted, repeated or joined by nonsense. It signs with
//! its own key only, but for epochs that are closed (`past.rs`). Its weight is below a third in every
//! committee.

mod batches;
mod forge;
mod past;
mod snapshots;

use crate::checks::Place;
use crate::counts::Counts;
use crate::plan::{MILLI, Malice, Plan};
use crate::random::Random;
use batches::Batches;
use forge::Forger;
pub use past::Sight;
use past::{Find, Past};
use skerry::chain::jobs::Shared;
use skerry::wire::{Announcement, CROSS_LINK_BYTES_MAX, kind};
use skerry_types::codec::{decode, encode};
use skerry_types::committee::VerifyingCommittee;
use skerry_types::consensus::{ConsensusMessage, PeerStatus};
use skerry_types::crypto::bls::SecretKey;
use skerry_types::ids::{ChainRef, Digest, Epoch, Height, View};
use skerry_types::limits::CONSENSUS_MESSAGE_BYTES_MAX;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// Frames that are remembered for later.
const MEMORY: usize = 64;

/// A frame on its way out.
#[derive(Clone, Debug)]
pub struct OutFrame {
    /// Number of the connection.
    pub peer: u32,
    /// The chain.
    pub chain: ChainRef,
    /// The epoch whose consensus it belongs to.
    pub epoch: Epoch,
    /// Its kind.
    pub kind: u8,
    /// Its content.
    pub payload: Arc<[u8]>,
}

/// Something that it does of its own accord.
pub enum Deed {
    /// Publishes something on the beacon's topic.
    Gossip(Arc<[u8]>),
    /// Sends a frame over all its connections.
    Frame(OutFrame),
}

/// A Byzantine node's will.
pub struct Adversary {
    malice: Malice,
    random: Random,
    /// Decides about slander alone.
    slander: Random,
    /// Decides about the past alone.
    digs: Random,
    /// Decides about floods, silence and siblings alone.
    floods: Random,
    past: Past,
    sight: Sight,
    /// The newest epoch of each chain that its honest code took part in.
    newest: BTreeMap<ChainRef, Epoch>,
    /// Blocks that accuse somebody falsely.
    accusations: BTreeMap<Digest, Option<ConsensusMessage>>,
    /// Blocks that build on what is over.
    unearthed: BTreeMap<Digest, Option<ConsensusMessage>>,
    /// Decides about forged snapshots alone.
    forges: Random,
    /// Decides about censorship alone.
    censors: Random,
    /// Blocks that leave batches out.
    censored: BTreeMap<Digest, Option<ConsensusMessage>>,
    batches: Batches,
    /// Blocks with other batches.
    twisted: BTreeMap<Digest, Option<ConsensusMessage>>,
    chains: Vec<ChainRef>,
    /// The instance that its honest code voted in last.
    place: Option<Place>,
    forger: Forger,
    memory: VecDeque<OutFrame>,
    /// The other block of a view in which it equivocates.
    twins: BTreeMap<(Place, View), Option<ConsensusMessage>>,
    /// Blocks with another report.
    misreports: BTreeMap<Digest, Option<ConsensusMessage>>,
}

impl Adversary {
    /// The will of a validator with a key.
    pub fn new(
        (malice, plan): (Malice, &Plan),
        random: Random,
        secret: SecretKey,
        shared: Arc<Shared>,
    ) -> Self {
        Self {
            malice,
            slander: random.fork("slander"),
            digs: random.fork("past"),
            floods: random.fork("floods"),
            past: Past::new(plan),
            sight: Sight::default(),
            newest: BTreeMap::new(),
            accusations: BTreeMap::new(),
            unearthed: BTreeMap::new(),
            forges: random.fork("snapshots"),
            censors: random.fork("censor"),
            censored: BTreeMap::new(),
            batches: Batches::new(random.fork("batches")),
            twisted: BTreeMap::new(),
            chains: plan.genesis.chains(),
            random,
            place: None,
            forger: Forger::new(secret, shared),
            memory: VecDeque::new(),
            twins: BTreeMap::new(),
            misreports: BTreeMap::new(),
        }
    }

    /// Learns of an instance that its honest code takes part in.
    pub fn learn(&mut self, committee: &Arc<VerifyingCommittee>) {
        self.forger.learn(committee);
        let of = committee.instance();
        let newest = self.newest.entry(of.chain).or_default();
        *newest = of.epoch.max(*newest);
    }

    /// Whether it brings up what is over.
    pub fn digs(&self) -> bool {
        self.malice.past > 0
    }

    /// Whether it does anything of its own accord.
    pub fn acts(&self) -> bool {
        self.digs() || self.malice.twist > 0
    }

    /// Headers that count for nothing, made since the last time.
    pub fn take_made(&mut self) -> BTreeSet<Digest> {
        self.past.take_made()
    }

    /// What it does of its own accord, with what final blocks say now.
    pub fn dig(&mut self, sight: Sight, counts: &mut Counts) -> Vec<Deed> {
        self.sight = sight;
        let mut deeds = Vec::new();
        let of = self.sight.open.keys().map(|(destination, _)| *destination);
        for destination in of.collect::<BTreeSet<_>>() {
            deeds.extend(self.sibling(destination, counts));
            if !self.digs.chance(self.malice.past) {
                continue;
            }
            let sight = (&self.sight, destination);
            match self.past.dig(&self.forger, sight, &mut self.digs) {
                Some(Find::Link(link)) => {
                    counts.note("links of closed epochs");
                    deeds.push(past::pack(Find::Link(link)));
                }
                Some(Find::Batch(inbound)) => {
                    counts.note("batches of closed epochs");
                    deeds.push(past::pack(Find::Batch(inbound)));
                }
                None => {}
            }
        }
        deeds.extend(self.relabel(counts));
        if self.floods.chance(self.malice.past / 4) {
            let links = self.past.flood(&self.sight, &mut self.floods);
            counts.add("forged links", u64::try_from(links.len()).unwrap_or(0));
            let deed = |link| past::pack(Find::Link(Box::new(link)));
            deeds.extend(links.into_iter().map(deed));
        }
        deeds
    }

    /// What was certified and never final, for a destination.
    fn sibling(&mut self, destination: ChainRef, counts: &mut Counts) -> Option<Deed> {
        if !self.floods.chance(self.malice.twist / 4) {
            return None;
        }
        let sight = (&self.sight, destination);
        let find = self.past.sibling(&self.forger, sight, &mut self.floods)?;
        counts.note("certified siblings");
        Some(past::pack(find))
    }

    /// A message of an epoch that is over, as one of the present.
    fn relabel(&mut self, counts: &mut Counts) -> Option<Deed> {
        if !self.digs.chance(self.malice.past) {
            return None;
        }
        let newest = &self.newest;
        let newest_of = |frame: &OutFrame| newest.get(&frame.chain).copied().unwrap_or_default();
        let is_vote = |frame: &OutFrame| {
            [kind::VOTE, kind::CERTIFICATE, kind::PROPOSAL].contains(&frame.kind)
        };
        let is_stale = |frame: &&OutFrame| is_vote(frame) && frame.epoch < newest_of(frame);
        let stale: Vec<&OutFrame> = self.memory.iter().filter(is_stale).collect();
        let frame = self.digs.pick(&stale)?;
        counts.note("stale certificates and votes");
        Some(Deed::Frame(OutFrame {
            epoch: newest_of(frame),
            ..(*frame).clone()
        }))
    }

    /// For how many virtual microseconds it keeps a frame back.
    pub const fn lingers(&self, frame_kind: u8) -> u64 {
        if frame_kind == kind::PROPOSAL {
            self.malice.linger_ms.saturating_mul(MILLI)
        } else {
            0
        }
    }

    /// What goes out instead of `frame`.
    pub fn send(&mut self, frame: OutFrame, counts: &mut Counts) -> Vec<OutFrame> {
        let mut frames = Vec::new();
        self.remember(&frame);
        self.on_batches(&frame, &mut frames, counts);
        if self.digs() && frame.kind == kind::BATCH_PUSH {
            self.past.remember_batch(&frame.payload);
        }
        if self.random.chance(self.malice.replay)
            && let Some(old) = self.random.clone().pick(self.memory.make_contiguous())
        {
            counts.note("replayed frames");
            frames.push(OutFrame {
                peer: frame.peer,
                ..old.clone()
            });
        }
        if self.random.chance(self.malice.garbage) {
            counts.note("garbage frames");
            frames.push(self.garbage(&frame));
        }
        if self.random.chance(self.malice.damage) {
            counts.note("damaged frames");
            frames.push(self.damaged(&frame));
        }
        frames.extend(self.slander(&frame, counts));
        match frame.kind {
            kind::VOTE => self.votes(frame, &mut frames, counts),
            kind::PROPOSAL => self.proposal(frame, &mut frames, counts),
            kind::STATUS if self.random.chance(self.malice.boast) => {
                counts.note("false statuses");
                let bits = self.random.between(1, 63);
                let height = self.random.between(1, 1 << bits);
                let status = PeerStatus {
                    finalized: Height::new(height),
                };
                frames.push(OutFrame {
                    payload: encode(&status).into(),
                    ..frame
                });
            }
            kind::BATCH_PUSH if self.batches.chance(self.malice.hoard) => {
                counts.note("batches withheld");
            }
            // Who boasts of a height cannot show it.
            kind::RANGE_REPLY if self.floods.chance(self.malice.boast) => {
                counts.note("range replies withheld");
            }
            kind::SNAPSHOT_REPLY if self.forges.chance(self.malice.forge) => {
                counts.note("snapshot replies forged");
                let payload = snapshots::forge(&frame.payload, &mut self.forges);
                frames.push(OutFrame { payload, ..frame });
            }
            kind::SNAPSHOT_REPLY if self.forges.chance(self.malice.strip) => {
                let stripped = snapshots::strip(&frame.payload, &mut self.forges, counts);
                let payload = stripped.unwrap_or_else(|| frame.payload.clone());
                frames.push(OutFrame { payload, ..frame });
            }
            _ => frames.push(frame),
        }
        frames
    }

    /// What it sends of batches beside a frame.
    fn on_batches(&mut self, frame: &OutFrame, frames: &mut Vec<OutFrame>, counts: &mut Counts) {
        let Malice {
            twist,
            pretend,
            flood,
            ..
        } = self.malice;
        if twist > 0 || flood > 0 {
            self.batches.learn(frame);
        }
        match frame.kind {
            kind::BATCH_PUSH if self.batches.chance(twist) => {
                frames.extend(self.batches.push(frame, counts));
            }
            kind::STATUS | kind::BATCHES_HELD if self.batches.chance(pretend) => {
                frames.push(self.batches.pretend(frame, &self.chains, counts));
            }
            kind::STATUS if self.batches.chance(flood) => {
                frames.extend(self.batches.flood(frame, counts));
            }
            _ => {}
        }
    }

    /// What is published instead of `payload`: now and then a final header of a height that there
    /// is not yet.
    pub fn publish(&mut self, payload: &Arc<[u8]>, counts: &mut Counts) -> Arc<[u8]> {
        if self.digs()
            && let Ok(Announcement::Final(link)) = decode(payload, CROSS_LINK_BYTES_MAX)
        {
            self.past.remember_link(&link);
        }
        if self.random.chance(self.malice.boast)
            && let Ok(Announcement::Final(mut link)) = decode(payload, CROSS_LINK_BYTES_MAX)
        {
            counts.note("false announcements");
            let bits = self.random.between(1, 63);
            link.header.height = Height::new(self.random.between(1, 1 << bits));
            return encode(&Announcement::Final(link)).into();
        }
        payload.clone()
    }

    /// False evidence for a peer that is told something about the beacon anyway.
    fn slander(&mut self, like: &OutFrame, counts: &mut Counts) -> Option<OutFrame> {
        let is_chance = like.kind == kind::STATUS && like.chain.is_beacon();
        let place = self.place.filter(|_| is_chance)?;
        if !self.slander.chance(self.malice.slander) {
            return None;
        }
        let evidence = self.forger.slander(place, &mut self.slander)?;
        counts.note("false evidence");
        Some(OutFrame {
            kind: kind::EVIDENCE,
            payload: encode(&evidence).into(),
            ..like.clone()
        })
    }

    fn remember(&mut self, frame: &OutFrame) {
        if self.random.chance(100) {
            self.memory.push_back(frame.clone());
            if self.memory.len() > MEMORY {
                self.memory.pop_front();
            }
        }
    }

    fn garbage(&mut self, like: &OutFrame) -> OutFrame {
        let kinds = [
            0x01, 0x02, 0x03, 0x04, 0x05, 0x10, 0x11, 0x12, 0x15, 0x20, 0x30, 0x31, 0x32, 0x35,
            0x36, 0x7f,
        ];
        let kind = self.random.pick(&kinds).copied().unwrap_or(0);
        let length = self.random.below(300);
        let bytes: Vec<u8> = (0..length)
            .map(|_| u8::try_from(self.random.below(256)).unwrap_or(0))
            .collect();
        OutFrame {
            kind,
            payload: bytes.into(),
            ..like.clone()
        }
    }

    fn damaged(&mut self, frame: &OutFrame) -> OutFrame {
        let mut bytes = frame.payload.to_vec();
        let position = self.random.index(bytes.len());
        let bit = self.random.below(8);
        if let Some(byte) = bytes.get_mut(position) {
            *byte ^= 1 << bit;
        }
        OutFrame {
            payload: bytes.into(),
            ..frame.clone()
        }
    }

    fn votes(&mut self, frame: OutFrame, frames: &mut Vec<OutFrame>, counts: &mut Counts) {
        self.place = Some((frame.chain, frame.epoch));
        if self.random.chance(self.malice.contradict) {
            let message = decode(&frame.payload, CONSENSUS_MESSAGE_BYTES_MAX);
            if let Ok(ConsensusMessage::Vote(vote)) = message {
                counts.note("contradicting votes");
                let twin = self
                    .twins
                    .get(&((frame.chain, frame.epoch), vote.statement.view()))
                    .and_then(|twin| twin.as_ref().map(forge::digest_of));
                for other in self
                    .forger
                    .contradictions((frame.chain, frame.epoch), &vote, twin)
                {
                    let payload = encode(&ConsensusMessage::Vote(other)).into();
                    frames.push(OutFrame {
                        payload,
                        ..frame.clone()
                    });
                }
            }
        }
        if self.random.chance(self.malice.withhold) {
            counts.note("withheld votes");
        } else {
            frames.push(frame);
        }
    }

    fn proposal(&mut self, frame: OutFrame, frames: &mut Vec<OutFrame>, counts: &mut Counts) {
        let message = decode(&frame.payload, CONSENSUS_MESSAGE_BYTES_MAX);
        let Ok(ConsensusMessage::Proposal(proposal)) = message else {
            frames.push(frame);
            return;
        };
        let place = (frame.chain, frame.epoch);
        let digest = proposal.header.digest();
        // Everybody gets the same accusation, so that a quorum might believe it.
        if !self.accusations.contains_key(&digest) {
            let wrong = self
                .slander
                .chance(self.malice.slander)
                .then(|| self.forger.accuse(place, &proposal, &mut self.slander));
            self.accusations.insert(digest, wrong.flatten());
        }
        if let Some(Some(wrong)) = self.accusations.get(&digest) {
            counts.note("false evidence proposed");
            frames.push(OutFrame {
                payload: encode(wrong).into(),
                ..frame
            });
            return;
        }
        if !self.unearthed.contains_key(&digest) {
            let (past, digs) = (&mut self.past, &mut self.digs);
            let sight = (&self.forger, &self.sight);
            let wrong = digs
                .chance(self.malice.past)
                .then(|| past.unearth(sight.0, (place, &proposal), sight.1, digs));
            self.unearthed.insert(digest, wrong.flatten());
        }
        if let Some(Some(wrong)) = self.unearthed.get(&digest) {
            counts.note("closed epochs proposed");
            frames.push(OutFrame {
                payload: encode(wrong).into(),
                ..frame
            });
            return;
        }
        if !self.twisted.contains_key(&digest) {
            let batches = &mut self.batches;
            let wrong = batches
                .chance(self.malice.twist)
                .then(|| batches.twist(&self.forger, (place, &proposal), counts));
            self.twisted.insert(digest, wrong.flatten());
        }
        if let Some(Some(wrong)) = self.twisted.get(&digest) {
            frames.push(OutFrame {
                payload: encode(wrong).into(),
                ..frame
            });
            return;
        }
        if !self.censored.contains_key(&digest) {
            let wrong = self
                .censors
                .chance(self.malice.censor)
                .then(|| self.forger.censor(place, &proposal, &mut self.censors));
            self.censored.insert(digest, wrong.flatten());
        }
        if let Some(Some(wrong)) = self.censored.get(&digest) {
            counts.note("batches left out");
            frames.push(OutFrame {
                payload: encode(wrong).into(),
                ..frame
            });
            return;
        }
        if !self.misreports.contains_key(&digest) {
            let wrong = self
                .random
                .chance(self.malice.misreport)
                .then(|| self.forger.misreport(place, &proposal, &mut self.random));
            self.misreports.insert(digest, wrong.flatten());
            let twin = self
                .random
                .chance(self.malice.equivocate)
                .then(|| self.forger.twin(place, &proposal, &mut self.random));
            self.twins.insert((place, proposal.view), twin.flatten());
        }
        if let Some(Some(wrong)) = self.misreports.get(&digest) {
            counts.note("wrong reports");
            frames.push(OutFrame {
                payload: encode(wrong).into(),
                ..frame
            });
            return;
        }
        let twin = self
            .twins
            .get(&(place, proposal.view))
            .and_then(Option::as_ref);
        match twin {
            Some(twin) if self.random.chance(500) => {
                counts.note("equivocating proposals");
                frames.push(OutFrame {
                    payload: encode(twin).into(),
                    ..frame
                });
            }
            _ => frames.push(frame),
        }
    }
}
