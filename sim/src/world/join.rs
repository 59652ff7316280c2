//! How nodes join by snapshot: the node's own code, with lost frames, crashes between any two
//! chunks, and servers that forge what they serve.

use super::{Event, World};
use crate::adversary::OutFrame;
use crate::plan::MILLI;
use skerry::chain::Peer;
use skerry::snapshot::frames::{REQUEST_BYTES_MAX, SnapshotReply, SnapshotRequest};
pub(super) use skerry::snapshot::join::Input;
use skerry::snapshot::join::{Failure, Note, Output};
use skerry::wire::kind;
use skerry_types::codec::{decode, encode};
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
        // The operator vouches for what some other node shows.
        let honest = self.machines.iter().filter(|machine| machine.is_honest());
        let newest = honest.filter_map(|machine| machine.checkpoint());
        let checkpoint = newest.max_by_key(|checkpoint| checkpoint.epoch);
        let machine = &mut self.machines[node];
        let begun = machine.begin_join(&self.plan, &self.shared, self.now, checkpoint);
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
            Output::Failed(Failure::TooOld { .. }) => self.crash(node, OPERATOR),
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
                }
            }
            Note::GaveUp(_) => {}
        }
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
