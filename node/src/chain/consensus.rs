//! What the consensus core's outputs mean: blocks to keep, build and check, messages to send.

use super::bounds::INPUTS_MAX;
use super::instance::Instance;
use super::{Building, ChainNode, Note, Output, Peer};
use crate::producer::{Choice, Draft, Situation, choose};
use crate::wire::kind;
use skerry_consensus::error::BuildRefusal;
use skerry_consensus::input::{Certification, Input as Core};
use skerry_consensus::log::LogEntry;
use skerry_consensus::output::{Offence, Output as CoreOutput, To};
use skerry_network::Misbehaviour;
use skerry_types::block::{BlockKind, Header, ParentVotes, reveal_message};
use skerry_types::certificate::Certificate;
use skerry_types::codec::{Version, decode, encode, encode_sized};
use skerry_types::consensus::{ConsensusMessage, FetchReply};
use skerry_types::ids::{Digest, Epoch, LogPosition, MemberIndex, TimeMs};
use skerry_types::limits::CONSENSUS_MESSAGE_BYTES_MAX;
use skerry_types::vote::Statement;
use std::sync::Arc;

/// How long a leader that lacks something waits before it looks again by itself.
const RECHECK_MS: u64 = 100;
/// Final blocks that may wait to be executed while a leader waits for what it must report.
const BACKLOG_MAX: u64 = 8;
/// Bytes of a proposal beside its body, and of a body beside its transactions, as a rule.
const FRAME_BYTES: usize = 2 * 1024;

impl ChainNode {
    /// Feeds the core what waits for it and carries out what it says.
    pub(super) fn run_replica(&mut self, out: &mut Vec<Output>) {
        let mut outputs = Vec::new();
        while let Some(input) = self.instance.inputs.pop_front() {
            let Some(replica) = &mut self.instance.replica else {
                self.instance.inputs.clear();
                return;
            };
            replica.step(self.now, input, &mut outputs);
            for output in outputs.drain(..) {
                self.on_core(output, out);
            }
        }
    }

    pub(super) fn on_core(&mut self, output: CoreOutput, out: &mut Vec<Output>) {
        match output {
            CoreOutput::Persist { position, record } => {
                if let LogEntry::Vote(vote) = &record.entry {
                    self.known_votes.on_signed(record.epoch, &vote.statement);
                }
                out.push(Output::Persist {
                    epoch: self.instance.epoch(),
                    position,
                    record: encode(&*record),
                });
            }
            CoreOutput::Send { after, to, message } => {
                if let Some(message) = self.instance.hold(after, to, message) {
                    self.send_message(&self.instance, after, to, &message, out);
                    self.store_voted(&message, out);
                }
            }
            CoreOutput::Check(job) => out.push(Output::Work(super::jobs::Job::Consensus {
                committee: self.instance.committee.clone(),
                job: *job,
            })),
            CoreOutput::Build {
                view,
                parent,
                idle_only,
            } => {
                let since = self.now;
                self.instance.building = Some(Building {
                    view,
                    parent,
                    idle_only,
                    since,
                    again_at: since,
                });
            }
            CoreOutput::Block {
                digest,
                header,
                body,
            } => {
                self.take_block(digest, *header, body.into(), out);
            }
            CoreOutput::Verify { view, digest, .. } => {
                self.instance.verifying.insert(digest, view);
            }
            CoreOutput::Certify { digest } => self.certify(digest, out),
            CoreOutput::ServeBlock {
                to,
                digest,
                certificates,
            } => self.serve_block(&self.instance, to, digest, certificates, out),
            CoreOutput::Notarized { view, digest } => {
                self.instance.note_notarized(digest, view);
                if let Some(entry) = self.tree.get(&digest) {
                    let ids = entry
                        .work
                        .as_ref()
                        .map(|work| work.ids())
                        .unwrap_or_default();
                    if !ids.is_empty() {
                        out.push(Output::Included(entry.header.block_ref(), ids));
                    }
                }
            }
            CoreOutput::Finalized {
                headers,
                certificate,
            } => {
                self.on_finalized(&headers, &certificate, out);
            }
            CoreOutput::Behind { height, .. } => self.sync.on_behind(height),
            CoreOutput::Entered { view, .. } => {
                self.instance.view = view;
                if self
                    .instance
                    .building
                    .as_ref()
                    .is_some_and(|building| building.view < view)
                {
                    self.instance.building = None;
                }
                self.instance.verifying.retain(|_, asked| *asked >= view);
                self.snapshot_due = true;
            }
            CoreOutput::Fault(evidence) => self.accuse(evidence, out),
            CoreOutput::Misbehaved { member, offence } => {
                out.push(Output::Note(Note::Fault(format!("{member}: {offence:?}"))));
                self.blame_member(member, offence, out);
            }
            CoreOutput::BuildRefused { view, error } => {
                out.push(Output::Note(Note::Fault(format!(
                    "own block of view {view}: {error}"
                ))));
            }
            CoreOutput::SignedElsewhere { statement } => {
                let what = format!("{statement:?}");
                self.on_signed_elsewhere(self.instance.epoch(), &what, out);
            }
            CoreOutput::MalformedNotarized { digest } => {
                self.stop(format!("block {digest} is notarized and malformed"), out);
            }
        }
    }

    /// Answers a member's request for a block.
    pub(super) fn serve_block(
        &self,
        instance: &Instance,
        to: MemberIndex,
        digest: Digest,
        certificates: Vec<Certificate>,
        out: &mut Vec<Output>,
    ) {
        let block = self.find_block(&digest);
        let reply = ConsensusMessage::Reply(Box::new(FetchReply {
            certificates,
            block,
        }));
        self.send_message(instance, LogPosition::ZERO, To::One(to), &reply, out);
    }

    pub(super) fn send_message(
        &self,
        instance: &Instance,
        after: LogPosition,
        to: To,
        message: &ConsensusMessage,
        out: &mut Vec<Output>,
    ) {
        let kind = match message {
            ConsensusMessage::Vote(_) => kind::VOTE,
            ConsensusMessage::Certificate(_) => kind::CERTIFICATE,
            ConsensusMessage::Proposal(_) => kind::PROPOSAL,
            ConsensusMessage::Request(_) => kind::FETCH_REQUEST,
            ConsensusMessage::Reply(_) => kind::FETCH_REPLY,
        };
        let payload = encode_sized(message, expected_length(message)).into();
        self.send_to(instance, to, kind, &payload, after, out);
    }

    pub(super) fn release_held(&mut self, out: &mut Vec<Output>) {
        while let Some((after, to, message)) = self.instance.release() {
            self.send_message(&self.instance, after, to, &message, out);
            self.store_voted(&message, out);
        }
        let Some(mut sealed) = self.sealed.take() else {
            return;
        };
        while let Some((after, to, message)) = sealed.release() {
            self.send_message(&sealed, after, to, &message, out);
        }
        self.sealed = Some(sealed);
    }

    /// A message of the core's protocol, for the instance of its epoch; one of a later epoch waits
    /// for the instance to begin.
    pub(super) fn on_consensus_frame(
        &mut self,
        peer: Peer,
        epoch: Epoch,
        frame_kind: u8,
        payload: &super::Payload,
    ) {
        let Some(key) = self.peers.get(&peer).and_then(|state| state.key) else {
            return;
        };
        if epoch > self.instance.epoch() {
            self.early.keep(peer, epoch, frame_kind, payload);
            return;
        }
        let Some(instance) = self.instance_of(epoch) else {
            return;
        };
        let Some(member) = instance.member(&key) else {
            return;
        };
        let Ok(message) = decode::<ConsensusMessage>(payload, CONSENSUS_MESSAGE_BYTES_MAX) else {
            return;
        };
        let fits = matches!(
            (&message, frame_kind),
            (ConsensusMessage::Vote(_), kind::VOTE)
                | (ConsensusMessage::Certificate(_), kind::CERTIFICATE)
                | (ConsensusMessage::Proposal(_), kind::PROPOSAL)
                | (ConsensusMessage::Request(_), kind::FETCH_REQUEST)
                | (ConsensusMessage::Reply(_), kind::FETCH_REPLY)
        );
        // The core takes all that waits in each step, once it has begun.
        if fits && instance.inputs.len() < INPUTS_MAX {
            let message = Box::new(message);
            instance.inputs.push_back(Core::Message {
                from: member,
                message,
            });
        }
    }

    fn certify(&mut self, digest: Digest, out: &mut Vec<Output>) {
        let Some(entry) = self.tree.get(&digest) else {
            // A block at or below the root was stored before it became final.
            let outcome = if self.tree.root().block.digest == digest {
                Certification::Durable
            } else {
                Certification::Missing
            };
            self.instance
                .inputs
                .push_back(Core::Certified { digest, outcome });
            return;
        };
        if entry.stored {
            let outcome = Certification::Durable;
            self.instance
                .inputs
                .push_back(Core::Certified { digest, outcome });
        } else {
            self.store_bytes(digest, out);
        }
    }

    /// Makes a block's bytes durable, once.
    pub(super) fn store_bytes(&mut self, digest: Digest, out: &mut Vec<Output>) {
        let entry = self.tree.get_mut(&digest);
        let Some(entry) = entry.filter(|entry| !entry.storing && !entry.stored) else {
            return;
        };
        entry.storing = true;
        let (header, body) = (entry.header.clone(), entry.body.clone());
        out.push(Output::Store {
            digest,
            header,
            body,
        });
    }

    /// Makes the bytes of a block durable as soon as the own vote for it has left. They have to be
    /// before the block is finalized; until it is notarized the disk has nothing else to do for it.
    fn store_voted(&mut self, message: &ConsensusMessage, out: &mut Vec<Output>) {
        let digest = match message {
            ConsensusMessage::Vote(vote) => match vote.statement {
                Statement::Notarize { digest, .. } => digest,
                Statement::Nullify { .. } | Statement::Finalize { .. } => return,
            },
            ConsensusMessage::Proposal(proposal) => proposal.header.digest(),
            _ => return,
        };
        self.store_bytes(digest, out);
    }

    /// A member has signed or passed on what no honest one does: whoever it is connected as loses
    /// reputation. A proposal that breaks a rule may be one of a member that is merely ahead, and is
    /// no more than noted.
    fn blame_member(&self, member: MemberIndex, offence: Offence, out: &mut Vec<Output>) {
        let key = match offence {
            Offence::BadVote | Offence::BadCertificate => self.instance.key(member),
            Offence::BadProposal | Offence::Unwanted => None,
        };
        let theirs = self.peers.iter();
        let theirs = theirs.filter(|(_, state)| key.is_some() && state.key == key);
        for (peer, _) in theirs {
            let how = Misbehaviour::InvalidSignature;
            out.push(Output::Misbehaved { peer: *peer, how });
        }
    }

    pub(super) fn on_stored(&mut self, digest: Digest) {
        if let Some(entry) = self.tree.get_mut(&digest) {
            entry.stored = true;
        }
        let outcome = Certification::Durable;
        self.instance
            .inputs
            .push_back(Core::Certified { digest, outcome });
    }

    fn find_block(&self, digest: &Digest) -> Option<(Header, Vec<u8>)> {
        if let Some(entry) = self.tree.get(digest) {
            return Some(((*entry.header).clone(), entry.body.to_vec()));
        }
        let stored = self.store.block(digest).ok().flatten()?;
        // Of the block at which the chain was joined by snapshot the body is not here.
        let is_whole = stored.header.kind != BlockKind::Working || !stored.body.is_empty();
        is_whole.then_some((stored.header, stored.body))
    }

    /// When an unanswered build may be answered by the passing of time alone.
    pub(super) fn build_deadline(&self) -> Option<TimeMs> {
        self.instance
            .building
            .as_ref()
            .map(|building| building.again_at)
    }

    fn choose_now(&self) -> Option<Choice> {
        let building = self.instance.building.as_ref()?;
        if self.is_quiet() {
            return None;
        }
        let parent = self.tree.header(&building.parent.digest);
        let (parent_report, _) = self.report_of(&building.parent.digest)?;
        // Whoever proposes signs what the header reports, also when it repeats it.
        if !self.is_committed(parent_report.block) {
            self.own_result(parent_report.block)?;
        }
        let last_working = self.tree.last_working(&building.parent.digest)?;
        let executed = self.tree.executed(&last_working.digest);
        let final_report = self
            .tree
            .final_header()
            .map_or(self.genesis_report.block, |header| header.report.block);
        let last_working_time = self
            .tree
            .header(&last_working.digest)
            .map_or(self.last_working_time, |header| header.time);
        Some(choose(&Situation {
            chain: self.chain,
            network: &self.shared.network,
            parent: parent.as_deref(),
            parent_report,
            last_working,
            executed: executed.as_ref(),
            final_report,
            epoch: self.instance.epoch(),
            ready: &self.ready,
            evidence: &self.evidence,
            committees: &self.committees,
            last_working_time,
            feed: self.feed.as_ref(),
            links: &self.links,
            inbound: &self.inbound,
            mempool: &self.mempool,
            checking: self.checking.all(),
            transactions_max: self.throttle.limit(),
            idle_only: building.idle_only,
            since: building.since,
            now: self.now,
            parent_votes: parent_votes(building),
        }))
    }

    /// Whether a leader has looked a second time for what it lacks: where all have restarted and must
    /// execute, views shall not follow each other as fast as messages do.
    fn has_rechecked(&self) -> bool {
        let building = self.instance.building.as_ref();
        building.is_some_and(|it| it.since.saturating_add(RECHECK_MS) <= self.now)
    }

    /// Whether final blocks wait to be executed, more than are on their way in a network that is well:
    /// a node that has just caught up has their bytes, and must execute them before it knows what it
    /// would sign.
    fn lags_in_execution(&self) -> bool {
        let executed = self.tree.root().block.height;
        self.tree.final_block().height.above(executed) > BACKLOG_MAX
    }

    pub(super) fn try_build(&mut self, out: &mut Vec<Output>) {
        let draft = match self.choose_now() {
            Some(Choice::Propose(draft)) => draft,
            Some(Choice::Wait(until)) => {
                if let Some(building) = &mut self.instance.building {
                    building.again_at = until;
                }
                return;
            }
            None if self.has_rechecked() && self.lags_in_execution() => {
                // What is missing may be seconds away: nobody needs to wait for it.
                if let Some(Building { view, .. }) = self.instance.building.take() {
                    let reason = BuildRefusal::Unready;
                    let gives_up = Core::CannotBuild { view, reason };
                    self.instance.inputs.push_back(gives_up);
                }
                return;
            }
            None => {
                // What is missing arrives as an input, or the view times out.
                let later = self.now.saturating_add(RECHECK_MS);
                if let Some(building) = &mut self.instance.building {
                    building.again_at = later;
                }
                return;
            }
        };
        let Some(building) = self.instance.building.take() else {
            return;
        };
        let Some((header, body, work)) = self.finish_block(&building, *draft) else {
            return;
        };
        let digest = header.digest();
        let bytes: Arc<[u8]> = body.into();
        self.tree
            .insert(digest, header.clone(), bytes.clone(), self.now);
        if let Some(entry) = self.tree.get_mut(&digest) {
            entry.validity = super::blocks::Validity::Valid;
            entry.work = Some(work);
        }
        self.dispatch_execution(out);
        let body = bytes.to_vec();
        let (view, header) = (building.view, Box::new(header));
        self.instance
            .inputs
            .push_back(Core::Built { view, header, body });
    }

    fn finish_block(
        &self,
        building: &Building,
        draft: Draft,
    ) -> Option<(Header, Vec<u8>, Arc<super::jobs::Work>)> {
        let (me, secret) = self.instance.voter.as_ref()?;
        let Draft {
            kind,
            report,
            beacon,
            next,
            mut body,
            transactions,
        } = draft;
        let is_working = kind == BlockKind::Working;
        let hashes: Vec<Digest> = transactions
            .iter()
            .map(|transaction| transaction.wire_hash())
            .collect();
        let body_root = if is_working {
            body.root_with(&hashes)
        } else {
            Digest::ZERO
        };
        let facts_root = if self.chain.is_beacon() {
            self.facts_root_of(&report, &building.parent.digest)?
        } else {
            Digest::ZERO
        };
        let epoch = self.instance.epoch();
        let reveal = self.chain.is_beacon().then(|| {
            let message = reveal_message(&self.shared.chain_id, epoch, building.view);
            self.shared.scheme.sign(secret, &message)
        });
        let header = Header {
            version: Version,
            chain_id: self.shared.chain_id,
            chain: self.chain,
            epoch,
            height: building.parent.height.next(),
            view: building.view,
            kind,
            parent: building.parent.digest,
            proposer: *me,
            time: self.now.max(building.parent.time.next()),
            beacon,
            body_root,
            report,
            facts_root,
            next,
            reveal,
        };
        let bytes = if is_working {
            body.transactions = transactions
                .iter()
                .map(|transaction| transaction.wire().to_vec())
                .collect();
            let wires = body.transactions.iter().map(|wire| wire.len() + 4);
            let bytes = encode_sized(&body, wires.sum::<usize>() + FRAME_BYTES);
            body.transactions = Vec::new();
            bytes
        } else {
            Vec::new()
        };
        Some((
            header,
            bytes,
            Arc::new(super::jobs::Work { body, transactions }),
        ))
    }
}

/// Bytes that a message needs, as a rule: only those with a block are long.
fn expected_length(message: &ConsensusMessage) -> usize {
    match message {
        ConsensusMessage::Proposal(proposal) => proposal.body.len() + FRAME_BYTES,
        ConsensusMessage::Reply(reply) => {
            let body = reply.block.as_ref().map_or(0, |(_, body)| body.len());
            body + FRAME_BYTES
        }
        ConsensusMessage::Vote(_)
        | ConsensusMessage::Certificate(_)
        | ConsensusMessage::Request(_) => 256,
    }
}

fn parent_votes(building: &Building) -> Option<ParentVotes> {
    let certificate = building.parent.certificate.as_ref()?;
    match certificate.statement {
        Statement::Notarize { view, .. } => Some(ParentVotes {
            view,
            signers: certificate.signers.clone(),
            signature: certificate.signature,
        }),
        _ => None,
    }
}
