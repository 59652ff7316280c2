//! How nodes join by snapshot: the node's own code, with lost frames, crashes between any two
//! chunks, and servers that forge what they serve.

use super::{Event, World};
use crate::adversary::OutFrame;
use crate::checks::Broken;
use crate::plan::MILLI;
use skerry::chain::Peer;
use skerry::snapshot::frames::{REQUEST_BYTES_MAX, SnapshotReply, SnapshotRequest};
pub(super) use skerry::snapshot::join::Input;
use skerry::snapshot::join::{Failure, Note, Output};
use skerry::wire::kind;
use skerry_execution::views;
use skerry_storage::{ChainStore, StoreError};
use skerry_types::block::BlockRef;
use skerry_types::codec::{decode, encode};
use skerry_types::committee::VerifyingCommittee;
use skerry_types::ids::{ChainRef, Epoch};
use std::sync::Arc;

/// Longest time of a job.
const JOB_MAX: u64 = 20 * MILLI;
/// Nodes that lose power after a chunk, of 1000.
const CRASHES: u64 = 60;
/// How long an operator needs for a new checkpoint.
const OPERATOR: u64 = 200 * MILLI;

impl World {
    pub(super) fn begin_join(&mut self, node: usize) {
        // The operator vouches for the newest that any honest node holds: the network may have stood
        // still for long, and then nobody shows anything younger.
        let honest = self.machines.iter().filter(|machine| machine.is_honest());
        let newest = honest.filter_map(|machine| machine.checkpoint(&self.plan, &self.shared));
        let checkpoint = newest.max_by_key(|checkpoint| checkpoint.epoch);
        let peers = self.machines.len().saturating_sub(1);
        let machine = &mut self.machines[node];
        let told = (peers, checkpoint);
        let begun = machine.begin_join(&self.plan, &self.shared, self.now, told);
        if let Err(reason) = begun {
            self.violate(format!("node {node} does not begin to join: {reason}"));
            return;
        }
        for (number, other) in self.network.of(node) {
            self.meet(node, other, number);
        }
        self.step_join(node, Input::Tick);
    }

    pub(super) fn tell_join(&mut self, node: usize, after: u64, input: Input) {
        let generation = self.machines[node].generation;
        let at = self.now.saturating_add(after);
        self.schedule(
            at,
            Event::Join {
                node,
                generation,
                input,
            },
        );
    }

    pub(super) fn step_join(&mut self, node: usize, input: Input) {
        let machine = &mut self.machines[node];
        let clock = machine.clock(self.now);
        let Some(joining) = &mut machine.joining else {
            return;
        };
        let is_tick = matches!(input, Input::Tick);
        let (what, payload): (&str, &[u8]) = match &input {
            Input::Tick => ("join tick", &[]),
            Input::PeerUp { .. } => ("join peer up", &[]),
            Input::PeerDown(_) => ("join peer down", &[]),
            Input::Frame { payload, .. } => ("join frame", payload),
            Input::Done(_) => ("join job", &[]),
        };
        self.trace.event(self.now, node, "join", what, payload);
        let mut outputs = Vec::new();
        joining.step(clock, input, &mut outputs);
        let deadline = joining.deadline();
        for output in outputs {
            self.carry_out_join(node, output);
            if self.violation.is_some() {
                return;
            }
        }
        if is_tick && self.machines[node].joining.is_some() {
            let due = self.machines[node].moment(deadline);
            let after = due.saturating_sub(self.now).max(MILLI);
            self.tell_join(node, after, Input::Tick);
        }
    }

    fn carry_out_join(&mut self, node: usize, output: Output) {
        match output {
            Output::Send {
                peer,
                chain,
                kind,
                payload,
            } => self.send_snapshot_frame((node, peer.0), chain, kind, payload),
            Output::Work(job) => {
                let done = job.run();
                let takes = self.work.between(MILLI, JOB_MAX);
                self.tell_join(node, takes, Input::Done(done));
            }
            Output::Forged { peer, reason } => {
                self.counts.note("forged snapshots noticed");
                let other = self.network.other_end(peer.0, node);
                if other.is_some_and(|other| self.machines[other].is_honest()) {
                    self.violate(format!("node {node} says that {other:?} forges: {reason}"));
                }
            }
            Output::Note(note) => self.on_join_note(node, note),
            Output::Finished => {
                self.machines[node].joining = None;
                self.begin_chains(node);
                for (number, other) in self.network.of(node) {
                    self.meet(node, other, number);
                }
            }
            Output::Undecodable { peer, reason } => {
                let other = self.network.other_end(peer.0, node);
                if other.is_some_and(|other| self.machines[other].is_honest()) {
                    self.violate(format!(
                        "node {node} cannot read what {other:?} answers: {reason}"
                    ));
                }
            }
            Output::Failed(Failure::TooOld(_)) => self.crash(node, OPERATOR),
            Output::Failed(Failure::Checkpoint(contradiction)) => {
                self.violate(format!("node {node} cannot join: {contradiction}"));
            }
            Output::Failed(Failure::Store(reason)) => {
                if !self.broken.contains(&node) {
                    self.violate(format!("node {node} cannot join: {reason}"));
                }
            }
        }
    }

    fn on_join_note(&mut self, node: usize, note: Note) {
        self.trace.remark(self.now, node, &|| format!("{note:?}"));
        match note {
            Note::Begun { resumed, .. } => {
                self.counts.note("bases taken");
                if resumed {
                    self.counts.note("imports resumed");
                }
            }
            Note::Chunk { .. } => {
                self.counts.note("chunks taken");
                if self.now < self.plan.heal_at && self.chance.chance(CRASHES) {
                    let down = self.chance.between(10 * MILLI, 500 * MILLI);
                    self.crash(node, down);
                }
            }
            Note::Joined {
                chain,
                block,
                result,
            } => {
                self.counts.note("chains joined by snapshot");
                if self.machines[node].is_honest() {
                    let broken = self.checks.on_base(node, chain, block, result);
                    self.judge(broken);
                    let broken = self.check_joined(node, chain, block);
                    self.judge(broken);
                }
            }
            Note::Probed { .. } | Note::WaitsForPeers | Note::GaveUp { .. } => {}
        }
    }

    /// What the store holds of a base beside the state: all batches that the state records as sent and
    /// not acknowledged, how the epoch began, and a finalization of the base.
    fn check_joined(&self, node: usize, chain: ChainRef, block: BlockRef) -> Broken {
        if self.broken.contains(&node) {
            // Its disk says nothing any more.
            return Ok(());
        }
        let failed = |error: StoreError| format!("node {node} joins {chain}: {error}");
        let store = self.machines[node].store(chain, &self.shared);
        let store = store.ok_or_else(|| format!("node {node} joins {chain} without a store"))?;
        let state = store.load().map_err(failed)?.tree;
        let others = self.plan.genesis.chains().into_iter();
        for destination in others.filter(|other| *other != chain) {
            for (first, record) in views::unacknowledged(&state, chain, destination, usize::MAX) {
                let batch = store.outgoing(destination, first).map_err(failed)?;
                if batch.is_none_or(|batch| batch.root() != record.root) {
                    return Err(format!(
                        "node {node} joins {chain} without the batch {first} to {destination}"
                    ));
                }
            }
        }
        let header = store.header(&block.digest).map_err(failed)?;
        let header = header.ok_or_else(|| format!("node {node} joins {chain} without a header"))?;
        let committee = self.committee_at(node, chain, header.epoch, &store)?;
        let certificate = store.certificate_at(block.height).map_err(failed)?;
        let scheme = &*self.shared.scheme;
        let is_final = certificate.is_some_and(|it| it.verify(&committee, scheme).is_ok());
        if is_final {
            Ok(())
        } else {
            Err(format!(
                "node {node} joins {chain} at {} without its finalization",
                block.height
            ))
        }
    }

    /// The committee of an epoch in which a node has joined a chain; how the epoch began must be what
    /// every honest node says that knows it.
    fn committee_at(
        &self,
        node: usize,
        chain: ChainRef,
        epoch: Epoch,
        store: &ChainStore,
    ) -> Result<VerifyingCommittee, String> {
        let scheme = &*self.shared.scheme;
        let unusable = || format!("node {node} joins {chain} in epoch {epoch} without a committee");
        if epoch == Epoch::ZERO {
            let first = self.plan.genesis.verifying_committee(chain, scheme);
            return first.ok_or_else(unusable);
        }
        let row = store.epoch(epoch).ok().flatten().ok_or_else(unusable)?;
        for (other, machine) in self.machines.iter().enumerate() {
            let running = machine.running.as_ref().filter(|_| machine.is_honest());
            let Some(state) = running.and_then(|running| running.chains.get(&chain)) else {
                continue;
            };
            let theirs = state.store.epoch(epoch).ok().flatten();
            if theirs.is_some_and(|theirs| theirs != row) {
                return Err(format!(
                    "node {node} joins {chain} with another epoch {epoch} than node {other}"
                ));
            }
        }
        let (id, seal) = (self.shared.chain_id, row.seal.digest);
        VerifyingCommittee::new(row.committee, id, seal, scheme).ok_or_else(unusable)
    }

    /// A frame of a snapshot reaches a node that joins, or one that serves.
    pub(super) fn on_snapshot_frame(
        &mut self,
        (node, number): (usize, u32),
        chain: ChainRef,
        kind: u8,
        payload: Arc<[u8]>,
    ) {
        if self.machines[node].joining.is_some() {
            let peer = Peer(number);
            let input = Input::Frame {
                peer,
                chain,
                kind,
                payload,
            };
            self.step_join(node, input);
            return;
        }
        let clock = self.machines[node].clock(self.now);
        let Some(running) = &mut self.machines[node].running else {
            return;
        };
        let request = decode::<SnapshotRequest>(&payload, REQUEST_BYTES_MAX);
        let Some(request) = request.ok().filter(|_| kind == kind::SNAPSHOT_REQUEST) else {
            return;
        };
        if let Some(what) = running.pins.answer(chain, request.what, clock) {
            let number_of = request.number;
            let reply = SnapshotReply {
                number: number_of,
                what,
            };
            let payload = encode(&reply).into();
            self.send_snapshot_frame((node, number), chain, kind::SNAPSHOT_REPLY, payload);
        }
    }

    fn send_snapshot_frame(
        &mut self,
        (node, peer): (usize, u32),
        chain: ChainRef,
        kind: u8,
        payload: Arc<[u8]>,
    ) {
        self.counts.note(if kind == kind::SNAPSHOT_REQUEST {
            "snapshot requests sent"
        } else {
            "snapshot replies sent"
        });
        self.send(
            node,
            OutFrame {
                peer,
                chain,
                epoch: Epoch::ZERO,
                kind,
                payload,
            },
        );
    }
}
