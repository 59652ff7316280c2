//! How one instance of consensus follows another: a final seal ends an epoch, and names the committee
//! of the one that begins.
//!
//! Everything is found again after a restart from what is stored and from final states. The instance
//! before the present one stays, to answer members that have not seen its seal final. Frames of an
//! instance that has not begun here wait, in bounds.

use super::finality::ReportProof;
use super::instance::{Beginning, Instance};
use super::jobs::{Job, Shared};
use super::proving::Teller;
use super::{ChainNode, CommitRequest, Output, Payload, Peer};
use crate::beacon::raises;
use crate::error::NodeError;
use crate::wire::Announcement;
use skerry_consensus::config::Root;
use skerry_consensus::input::Input as Core;
use skerry_consensus::output::Output as CoreOutput;
use skerry_execution::fence::check_fence;
use skerry_execution::views;
use skerry_storage::{ChainStore, EpochRow, StateTree};
use skerry_types::beacon::{CrossLink, Ready, ShardRecord};
use skerry_types::block::{BlockKind, Header, NextCommittee};
use skerry_types::certificate::Certificate;
use skerry_types::codec::encode;
use skerry_types::committee::{Committee, VerifyingCommittee};
use skerry_types::crypto::hash::plain;
use skerry_types::genesis::Genesis;
use skerry_types::ids::{ChainRef, Digest, Epoch, Height, Sequence, TimeMs};
use skerry_types::message::BatchProof;
use std::collections::VecDeque;
use std::sync::Arc;

/// Most frames of later instances that wait, and most of one peer.
pub(super) const EARLY_FRAMES_MAX: usize = 512;
const EARLY_PER_PEER_MAX: usize = 16;
/// Most bytes of them together.
pub(super) const EARLY_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Instances before the present one that are remembered at a start, and more where blocks of older ones
/// are final and not executed.
const EARLIER: u64 = 8;
/// How often the beacon is reminded of what it has not linked.
const REMIND_MS: u64 = 2_000;
/// How often a newcomer that is not noted as ready says it again.
const READY_MS: u64 = 2_000;
/// How old the newest beacon block known here may be when a newcomer says that it is ready; an idle
/// beacon has a block each half second.
const READY_LAG_MS: u64 = 4_000;

/// Where a chain goes on at start.
pub(super) struct Place {
    pub(super) committee: Arc<VerifyingCommittee>,
    /// Height and time of the block that the instance starts from.
    pub(super) genesis: (Height, TimeMs),
    pub(super) root: Root,
}

/// Finds the instance that a chain's newest final block belongs to; where that is a seal, also the
/// one that it opens, if it has begun here.
///
/// # Errors
/// When the store lacks an epoch's committee, or it cannot be used.
pub(super) fn places(
    store: &ChainStore,
    shared: &Shared,
    genesis: &Genesis,
    chain: ChainRef,
    newest: Option<&(Header, Certificate)>,
) -> Result<(Place, Option<Place>), NodeError> {
    let place = place(store, shared, genesis, chain, newest)?;
    let opened = newest.and_then(|(header, _)| header.next);
    let row = match opened {
        Some(next) => store.epoch(next.epoch)?,
        None => None,
    };
    let opened = row.map(|row| place_at(shared, chain, row, Root::Genesis));
    Ok((place, opened.transpose()?))
}

fn place(
    store: &ChainStore,
    shared: &Shared,
    genesis: &Genesis,
    chain: ChainRef,
    newest: Option<&(Header, Certificate)>,
) -> Result<Place, NodeError> {
    let finalized = newest.map(|(header, certificate)| Root::Finalized {
        header: Box::new(header.clone()),
        certificate: certificate.clone(),
    });
    let epoch = newest.map_or(Epoch::ZERO, |(header, _)| header.epoch);
    let root = finalized.unwrap_or(Root::Genesis);
    if epoch == Epoch::ZERO {
        let committee = shared.committees.of(chain, epoch);
        return Ok(Place {
            committee: committee.ok_or(NodeError::UnknownChain(chain))?.clone(),
            genesis: (Height::ZERO, genesis.time),
            root,
        });
    }
    let row = store.epoch(epoch)?;
    let row = row.ok_or(NodeError::NoCommittee { chain, epoch })?;
    place_at(shared, chain, row, root)
}

fn place_at(
    shared: &Shared,
    chain: ChainRef,
    row: EpochRow,
    root: Root,
) -> Result<Place, NodeError> {
    let epoch = row.committee.epoch;
    let EpochRow {
        committee,
        seal,
        time,
    } = row;
    let committee =
        VerifyingCommittee::new(committee, shared.chain_id, seal.digest, &*shared.scheme);
    let committee = committee.ok_or(NodeError::NoCommittee { chain, epoch })?;
    Ok(Place {
        committee: Arc::new(committee),
        genesis: (seal.height, time),
        root,
    })
}

/// The instances of a chain before an epoch that the store remembers, those from `executed` on among
/// them: blocks of them are to be executed, and blocks that refer to older ones of the beacon may still
/// come.
pub(super) fn earlier(
    store: &ChainStore,
    shared: &Shared,
    chain: ChainRef,
    (executed, epoch): (Epoch, Epoch),
) -> Result<Vec<Arc<VerifyingCommittee>>, NodeError> {
    let mut found = Vec::new();
    let mut at = epoch.saturating_sub(EARLIER).min(executed);
    while at < epoch {
        if let Some(row) = store.epoch(at)? {
            found.push(place_at(shared, chain, row, Root::Genesis)?.committee);
        }
        at = at.next();
    }
    Ok(found)
}

struct EarlyFrame {
    peer: Peer,
    epoch: Epoch,
    kind: u8,
    payload: Payload,
}

/// Frames of instances that have not begun here; the oldest give way.
#[derive(Default)]
pub(super) struct Early {
    frames: VecDeque<EarlyFrame>,
    bytes: usize,
}

impl Early {
    pub(super) fn keep(&mut self, peer: Peer, epoch: Epoch, kind: u8, payload: &Payload) {
        let of_peer = |frame: &&EarlyFrame| frame.peer == peer;
        let is_full = self.frames.iter().filter(of_peer).count() >= EARLY_PER_PEER_MAX;
        if is_full || payload.len() > EARLY_BYTES_MAX {
            return;
        }
        self.bytes = self.bytes.saturating_add(payload.len());
        let payload = payload.clone();
        self.frames.push_back(EarlyFrame {
            peer,
            epoch,
            kind,
            payload,
        });
        while self.frames.len() > EARLY_FRAMES_MAX || self.bytes > EARLY_BYTES_MAX {
            let Some(oldest) = self.frames.pop_front() else {
                break;
            };
            self.bytes = self.bytes.saturating_sub(oldest.payload.len());
        }
    }

    pub(super) fn len(&self) -> usize {
        self.frames.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Those of an instance that begins; earlier ones are forgotten.
    fn take(&mut self, epoch: Epoch) -> Vec<EarlyFrame> {
        let frames = std::mem::take(self).frames;
        let mut found = Vec::new();
        for frame in frames {
            if frame.epoch == epoch {
                found.push(frame);
            } else if frame.epoch > epoch {
                self.bytes = self.bytes.saturating_add(frame.payload.len());
                self.frames.push_back(frame);
            }
        }
        found
    }
}

impl ChainNode {
    /// The instance of an epoch, as far as it is at work here.
    pub(super) fn instance_of(&mut self, epoch: Epoch) -> Option<&mut Instance> {
        if epoch == self.instance.epoch() {
            return Some(&mut self.instance);
        }
        self.sealed.as_mut().filter(|it| it.epoch() == epoch)
    }

    /// The committee at work.
    pub fn committee(&self) -> &Arc<VerifyingCommittee> {
        &self.instance.committee
    }

    /// The final seal of the present epoch, when there is one: the next instance is to begin.
    pub(super) fn seal(&self) -> Option<(Arc<Header>, NextCommittee)> {
        let header = self.tree.final_header()?;
        let next = header.next?;
        (header.epoch == self.instance.epoch()).then_some((header, next))
    }

    /// Whether the present epoch is over and the next one has not begun here.
    pub(super) fn is_sealed(&self) -> bool {
        self.seal().is_some()
    }

    /// What is wrong with an epoch that would begin, by the word of the operator.
    fn contradiction(&self, begins: Epoch, seal: Digest) -> Option<String> {
        let checkpoint = self.checkpoint?;
        let is_wrong = checkpoint.contradicts(self.instance.epoch(), (begins, &seal));
        is_wrong.then(|| {
            format!(
                "epoch {begins} would begin with seal {seal}, the checkpoint says {checkpoint}; \
                 ask two nodes that you trust for it (skerry query checkpoint)"
            )
        })
    }

    /// Begins the next instance, once the committee that the seal names is known.
    pub(super) fn open_next(&mut self, out: &mut Vec<Output>) {
        let Some((seal, next)) = self.seal() else {
            return;
        };
        let Some(committee) = self.find_committee(next) else {
            return;
        };
        if let Some(wrong) = self.contradiction(next.epoch, seal.block_ref().digest) {
            return self.stop(wrong, out);
        }
        let row = EpochRow {
            committee,
            seal: seal.block_ref(),
            time: seal.time,
        };
        let opened = place_at(&self.shared, self.chain, row.clone(), Root::Genesis);
        let instance = opened.map_err(|error| error.to_string()).and_then(|place| {
            Instance::new(Beginning {
                committee: place.committee,
                secret: self.secret.clone(),
                scheme: self.shared.scheme.clone(),
                delta_ms: self.shared.network.parameters.delta_ms,
                genesis: place.genesis,
                root: place.root,
                blocks: Vec::new(),
                log: &self.log,
                voice: self.mute.voice(),
            })
            .map_err(|error| error.to_string())
        });
        let mut instance = match instance {
            Ok(instance) => instance,
            Err(error) => {
                self.stop(format!("epoch {} cannot begin: {error}", next.epoch), out);
                return;
            }
        };
        self.offered = None;
        out.push(Output::Commit(CommitRequest {
            epoch: Some(Box::new(row)),
            ..CommitRequest::default()
        }));
        instance.inputs.push_back(Core::Tick);
        if self.stopped.is_some() {
            instance.inputs.push_back(Core::StopVoting);
        }
        if self.chain.is_beacon() {
            Arc::make_mut(&mut self.committees).insert(instance.committee.clone());
        }
        let epoch = instance.epoch();
        self.log.retain(|record| record.epoch > epoch);
        self.sealed = Some(std::mem::replace(&mut self.instance, instance));
        self.inbound.untell();
        self.snapshot_due = true;
        for frame in self.early.take(epoch) {
            let EarlyFrame {
                peer,
                epoch,
                kind,
                payload,
            } = frame;
            self.on_consensus_frame(peer, epoch, kind, &payload);
        }
    }

    /// The committee that a seal names, from a beacon state or from a peer.
    pub(super) fn find_committee(&self, next: NextCommittee) -> Option<Committee> {
        let seated = self.committees.seated(self.chain, next.epoch);
        let mut known = seated.map(|it| &**it).into_iter().chain(&self.offered);
        let fits = |committee: &&Committee| {
            committee.chain == self.chain
                && committee.epoch == next.epoch
                && committee.root() == next.root
                && committee.total_weight() == next.weight
        };
        known.find(fits).cloned()
    }

    /// Lets the instance before the present one answer its members. It signs nothing any more.
    pub(super) fn run_sealed(&mut self, out: &mut Vec<Output>) {
        let Some(mut sealed) = self.sealed.take() else {
            return;
        };
        let mut outputs = Vec::new();
        while let Some(input) = sealed.inputs.pop_front() {
            let Some(replica) = &mut sealed.replica else {
                sealed.inputs.clear();
                break;
            };
            replica.step(self.now, input, &mut outputs);
        }
        for output in outputs {
            match output {
                CoreOutput::Persist { position, record } => out.push(Output::Persist {
                    epoch: sealed.epoch(),
                    position,
                    record: encode(&*record),
                }),
                CoreOutput::Send { after, to, message } => {
                    if let Some(message) = sealed.hold(after, to, message) {
                        self.send_message(&sealed, after, to, &message, out);
                    }
                }
                CoreOutput::Check(job) => out.push(Output::Work(Job::Consensus {
                    committee: sealed.committee.clone(),
                    job: *job,
                })),
                CoreOutput::ServeBlock {
                    to,
                    digest,
                    certificates,
                } => self.serve_block(&sealed, to, digest, certificates, out),
                CoreOutput::SignedElsewhere { statement } => {
                    let what = format!("{statement:?}");
                    self.on_signed_elsewhere(sealed.epoch(), &what, out);
                }
                other @ CoreOutput::Fault(_) => self.on_core(other, out),
                // What is over needs no blocks, and its stragglers are no news.
                _ => {}
            }
        }
        self.sealed = Some(sealed);
    }

    // ---- what the beacon is told -------------------------------------------------------------

    /// Offers the final seal to the beacon, once the state that it reports is committed.
    pub(super) fn link_seal(&mut self, out: &mut Vec<Output>) {
        let root = self.tree.root();
        let Some(header) = root.header.clone().filter(|it| it.kind == BlockKind::Seal) else {
            return;
        };
        let digest = root.block.digest;
        let is_known = self.chain.is_beacon() || self.linked_seal == Some(digest);
        let is_committed = self.commit.committed() >= header.report.block.height;
        if is_known || !is_committed || self.tree.final_block().digest != digest {
            return;
        }
        let Some(certificate) = self.tree.final_certificate().cloned() else {
            return;
        };
        let link = CrossLink {
            header: (*header).clone(),
            path: Vec::new(),
            certificate,
            channels: root.executed.channels.clone(),
        };
        self.linked_seal = Some(digest);
        out.push(Output::Commit(CommitRequest {
            seal: Some(Box::new(link.clone())),
            ..CommitRequest::default()
        }));
        self.offer_link(link, out);
    }

    /// Offers again what the beacon has not linked: a seal, without which all later headers count for
    /// nothing, or the newest report. The pools of the beacon's members forget both when all restart.
    pub(super) fn remind_beacon(&mut self, out: &mut Vec<Output>) {
        if self.reminded_at.saturating_add(REMIND_MS) > self.now {
            return;
        }
        self.reminded_at = self.now;
        let facts = self
            .feed
            .as_ref()
            .and_then(|feed| feed.newest().facts.clone());
        let Some(record) = facts.as_ref().and_then(|facts| facts.shard(self.chain)) else {
            return;
        };
        let link = if record.epoch < self.instance.epoch() {
            // A store that cannot be read says so elsewhere.
            self.store.seal(record.epoch).ok().flatten()
        } else {
            self.newest_link()
        };
        if let Some(link) = link.filter(|link| raises(link, record)) {
            self.offer_link(link, out);
        }
    }

    /// The link of the newest reported state, while nothing has changed since.
    fn newest_link(&self) -> Option<CrossLink> {
        let (proof, _) = self.reporter.as_ref()?;
        let executed = &self.tree.root().executed;
        (proof.header.report.block == executed.block).then(|| CrossLink {
            header: proof.header.clone(),
            path: proof.path.clone(),
            certificate: proof.certificate.clone(),
            channels: executed.channels.clone(),
        })
    }

    /// Keeps the proof of the newest reported state one of the newest epoch: once the seal is
    /// cross-linked, headers before it prove nothing.
    pub(super) fn refresh_reporter(&mut self) {
        let root = self.tree.root();
        let Some(header) = root.header.as_deref() else {
            return;
        };
        let (executed, is_final) = (&root.executed, self.tree.final_block() == root.block);
        let is_stale = self.reporter.as_ref().is_none_or(|(proof, _)| {
            proof.header.report.block != header.report.block || proof.header.epoch < header.epoch
        });
        let reports = header.report.block == executed.block
            && self.commit.committed() >= executed.block.height;
        if let Some(certificate) = self.tree.final_certificate()
            && is_final
            && is_stale
            && reports
        {
            let proof = ReportProof {
                header: header.clone(),
                path: Vec::new(),
                certificate: certificate.clone(),
            };
            let state = executed.state.clone();
            self.set_reporter(proof, state);
        }
    }

    /// The state that proves what this chain sends.
    pub(super) fn set_reporter(&mut self, proof: ReportProof, state: StateTree) {
        if !self.chain.is_beacon() {
            self.linked.note((proof.clone(), state.for_keeping()));
        }
        self.reporter = Some((proof, state));
    }

    /// The beacon's record of this shard, by the newest facts.
    pub(super) fn own_record(&self) -> Option<&ShardRecord> {
        let facts = self.feed.as_ref()?.newest().facts.as_ref()?;
        facts.shard(self.chain)
    }

    /// Takes note of what the beacon has cross-linked of this shard.
    pub(super) fn settle_linked(&mut self) {
        if let Some(record) = self.own_record().cloned() {
            self.linked.settle(&record);
        }
    }

    /// Says that this validator can take the seat that it was dealt, when it holds the chain.
    pub(super) fn say_ready(&mut self, out: &mut Vec<Output>) {
        let (Some(secret), Some(awaited)) = (&self.secret, self.committees.awaited(self.chain))
        else {
            return;
        };
        let key = secret.public_key();
        let mine = awaited.newcomers.iter().find(|(_, known)| *known == key);
        let Some((validator, _)) = mine.copied() else {
            return;
        };
        let epoch = awaited.epoch;
        let said = self
            .readied
            .is_some_and(|(of, at)| of == epoch && at.saturating_add(READY_MS) > self.now);
        if said || self.is_quiet() || !self.holds_the_chain() {
            return;
        }
        let message = Ready::signing_digest(&self.shared.chain_id, validator, self.chain, epoch);
        let ready = Ready {
            validator,
            chain: self.chain,
            epoch,
            signature: self.shared.scheme.sign(secret, &message),
        };
        self.readied = Some((epoch, self.now));
        if self.chain.is_beacon() {
            self.on_own_ready(ready, out);
        } else {
            out.push(Output::Ready(ready));
        }
    }

    /// Whether all final blocks that are proven to exist are here, and executed: on the beacon up to a
    /// recent one, on a shard up to what a recent beacon block shows of it. What peers merely say of
    /// their heights counts for nothing, or one of them could keep every newcomer out.
    fn holds_the_chain(&self) -> bool {
        let root = self.tree.root();
        let (time, height) = match &self.feed {
            Some(feed) => {
                let (time, facts) = feed.shown();
                let record = facts.and_then(|facts| facts.shard(self.chain));
                (time, record.map(|record| record.header.height))
            }
            None => {
                let newest = self.tree.final_header();
                let time = newest.as_ref().map_or(TimeMs::ZERO, |header| header.time);
                (time, newest.map(|header| header.height))
            }
        };
        let is_recent = time.saturating_add(READY_LAG_MS) >= self.now;
        is_recent && height.is_some_and(|height| root.block.height >= height)
    }

    /// This validator's own word, for the beacon and for whoever leads it.
    pub(super) fn on_own_ready(&mut self, ready: Ready, out: &mut Vec<Output>) {
        self.ready.extend([ready]);
        let payload = encode(&Announcement::Ready(ready)).into();
        let topic = ChainRef::Beacon;
        out.push(Output::Publish { topic, payload });
    }

    /// Somebody's word that it is ready.
    pub(super) fn on_ready(&mut self, ready: Ready, out: &mut Vec<Output>) {
        let is_member = self.chain.is_beacon() && self.instance.voter.is_some();
        let word = plain(&encode(&ready));
        if is_member
            && self.ready.wants(&ready, &self.committees)
            && self.proving.begin(word, Teller::Gossip)
        {
            out.push(Output::Work(Job::Ready {
                word,
                beacon: self.tree.root().executed.state.clone(),
                ready,
            }));
        }
    }

    // ---- what counts of others ---------------------------------------------------------------

    /// The epoch of another chain whose headers prove something to this one, by the newest that is
    /// known of the beacon.
    pub(super) fn open_epoch(&self, source: ChainRef) -> Option<Epoch> {
        let Some(feed) = &self.feed else {
            let state = &self.tree.root().executed.state;
            return views::open_epoch(state, self.chain, source);
        };
        feed.newest().facts.as_ref()?.open_epoch(source)
    }

    /// The record of another shard if it is fenced, by the newest that is known of the beacon.
    fn fenced(&self, source: ChainRef) -> Option<ShardRecord> {
        let record = match &self.feed {
            Some(feed) => feed.newest().facts.as_ref()?.shard(source).cloned(),
            None => views::shard_record(&self.tree.root().executed.state, source),
        };
        record.filter(|record| record.fenced)
    }

    /// Whether the fence of a source, if it has one, lets a proof through.
    pub(super) fn passes_fence(&self, source: ChainRef, proof: &BatchProof) -> bool {
        let fenced = self.fenced(source);
        fenced.is_none_or(|record| check_fence(&record, proof).is_ok())
    }

    /// Forgets batches whose proof is of an epoch that is closed by now, or that a fence refuses; they
    /// are asked for again.
    pub(super) fn drop_unprovable(&mut self) {
        for source in self.inbound.sources() {
            let Some(open) = self.open_epoch(source) else {
                continue;
            };
            let fenced = self.fenced(source);
            if let Some(record) = &fenced {
                // Nothing after what is cross-linked will ever be proven.
                let here = self.chain;
                let mut to_here = record.channels.iter().filter(|it| it.peer == here);
                let end = to_here.next().map_or(0, |channel| channel.sent.messages);
                self.inbound.withdraw(source, Sequence::new(end));
            }
            self.inbound.keep_proven(source, |proof| {
                let passes = |record| check_fence(record, proof).is_ok();
                proof.header.epoch >= open && fenced.as_ref().is_none_or(passes)
            });
        }
    }
}
