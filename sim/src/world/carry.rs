//! What a chain's outputs set off: disk writes, frames, jobs, news for clients and readers.

use super::{DIG_EVERY, Event, World};
use crate::adversary::{Deed, OutFrame};
use crate::captured::corrupt;
use crate::checks::Place;
use crate::disk::{LogPlace, StoreDone, StoreJob};
use crate::network::Reach;
use crate::plan::{MILLI, Planted, SECOND};
use crate::work;
use skerry::chain::jobs::{Done, Executed, Job};
use skerry::chain::{CommitRequest, Input, Note, Output, Peer};
use skerry::view::{ExecutedBlock, SubmitError};
use skerry::wire::kind;
use skerry_execution::parallel::Mode;
use skerry_types::beacon::Ready;
use skerry_types::ids::{ChainRef, Digest, Epoch, Height, LogPosition};
use std::collections::BTreeSet;
use std::sync::Arc;

/// How long after healing, or its start, a leader has heard of all that its members hold.
const SETTLED: u64 = 10 * SECOND;
/// How long a message between two chains of a node takes.
const LOCAL: u64 = 20;

impl World {
    pub(super) fn carry_out(&mut self, node: usize, chain: ChainRef, output: Output) {
        match output {
            Output::Persist {
                epoch,
                position,
                record,
            } => {
                let place = LogPlace {
                    chain,
                    epoch,
                    position,
                };
                self.persist(node, place, record);
            }
            Output::Send {
                peer,
                chain: target,
                epoch,
                kind,
                payload,
                after,
            } => {
                self.check_send(node, (chain, epoch), kind, &payload, after);
                self.send(
                    node,
                    OutFrame {
                        peer: peer.0,
                        chain: target,
                        epoch,
                        kind,
                        payload,
                    },
                );
            }
            Output::Publish { topic, payload } => self.publish(node, topic, &payload),
            Output::Work(job) => self.work(node, chain, job),
            Output::Store {
                digest,
                header,
                body,
            } => {
                self.bodies.insert(digest, body.clone());
                self.write(
                    node,
                    chain,
                    StoreJob::Blocks {
                        digest,
                        header,
                        body,
                    },
                );
            }
            Output::Commit(request) => {
                self.check_commit(node, chain, &request);
                self.write(node, chain, StoreJob::Commit(request));
            }
            Output::Local {
                chain: target,
                payload,
            } => {
                let input = Input::Frame {
                    peer: Peer(u32::MAX),
                    epoch: Epoch::ZERO,
                    kind: kind::BATCH_PUSH,
                    payload,
                };
                if target != chain {
                    self.tell(node, target, LOCAL, input);
                }
            }
            Output::Reported(reported) => {
                if let Some(running) = &mut self.machines[node].running {
                    running.pins.on_reported(chain, &reported);
                }
            }
            Output::Beacon(block) => {
                for target in self.machines[node].follows.clone() {
                    if !target.is_beacon() {
                        self.tell(node, target, LOCAL, Input::Beacon(block.clone()));
                    }
                }
            }
            Output::Link(link) => self.tell(node, ChainRef::Beacon, LOCAL, Input::Link(link)),
            Output::Ready(ready) => {
                self.check_ready(node, &ready);
                self.tell(node, ChainRef::Beacon, LOCAL, Input::Ready(ready));
            }
            Output::Evidence(evidence) => {
                self.tell(node, ChainRef::Beacon, LOCAL, Input::Evidence(evidence));
            }
            Output::Claim(evidence) => {
                self.tell(node, ChainRef::Beacon, LOCAL, Input::Claim(evidence));
            }
            Output::Misbehaved { peer, how } => {
                self.counts.note("peers penalised");
                let other = self.network.other_end(peer.0, node);
                let blames = |other: usize| self.machines[other].is_honest();
                if self.machines[node].is_honest() && other.is_some_and(blames) {
                    self.violate(format!(
                        "node {node} penalises the honest node {other:?} for {how:?}"
                    ));
                }
            }
            Output::Lost(at) => {
                for other in self.machines[node].follows.clone() {
                    if other != chain {
                        self.tell(node, other, LOCAL, Input::Lost(at));
                    }
                }
            }
            Output::Block { block, .. } => self.on_block(node, chain, &block),
            Output::Abandoned(_) => self.counts.note("abandoned blocks"),
            Output::Submitted { tag, results } => self.answer(node, tag, &results),
            Output::Note(note) => self.on_note(node, chain, note),
            Output::Snapshot | Output::Received(_) | Output::Included(..) | Output::Dropped(_) => {}
        }
    }

    /// Answers a client.
    pub(super) fn answer(
        &mut self,
        node: usize,
        tag: u64,
        results: &[Result<Digest, SubmitError>],
    ) {
        let answer = self.load.on_submitted(tag, results, &mut self.counts);
        self.judge(answer.map_err(|what| format!("client of node {node}: {what}")));
    }

    // ---- vote log and store ------------------------------------------------------------------

    fn persist(&mut self, node: usize, place: LogPlace, record: Vec<u8>) {
        let is_honest = self.machines[node].is_honest();
        let counts = &mut self.counts;
        let broken = self
            .checks
            .on_persist(node, is_honest, place, &record, counts);
        self.judge(broken);
        if self.plan.planted == Some(Planted::VoteBeforeSync) {
            self.tell_durable(node, place);
        }
        let Some(running) = &mut self.machines[node].running else {
            return;
        };
        let Some(votes) = &mut running.votes else {
            self.violate(format!(
                "node {node} writes to a vote log that it does not have"
            ));
            return;
        };
        if votes.push(place, record) {
            self.start_log_write(node);
        }
    }

    fn tell_durable(&mut self, node: usize, place: LogPlace) {
        let (epoch, position) = (place.epoch, place.position);
        self.tell(node, place.chain, 1, Input::Durable { epoch, position });
    }

    fn start_log_write(&mut self, node: usize) {
        let takes = self.disk_time();
        let machine = &mut self.machines[node];
        let generation = machine.generation;
        let Some(votes) = machine
            .running
            .as_mut()
            .and_then(|running| running.votes.as_mut())
        else {
            return;
        };
        let started = votes.start();
        self.judge(started.map_err(|error| format!("node {node}: vote log: {error}")));
        let at = self.now.saturating_add(takes);
        self.schedule(at, Event::LogWritten { node, generation });
    }

    fn disk_time(&mut self) -> u64 {
        if self.now < self.plan.heal_at && self.disk.chance(self.plan.slow_disk) {
            self.counts.note("slow disk operations");
            return self.disk.between(20 * MILLI, 500 * MILLI);
        }
        let most = self.plan.disk_max;
        self.disk.between(most.min(50), most)
    }

    pub(super) fn on_log_written(&mut self, node: usize, generation: u32) {
        let machine = &mut self.machines[node];
        if machine.generation != generation {
            return;
        }
        let Some(votes) = machine
            .running
            .as_mut()
            .and_then(|running| running.votes.as_mut())
        else {
            return;
        };
        let (result, chains, again) = votes.finish();
        match result {
            Ok(durable) => {
                for place in durable {
                    self.checks.on_synced(node, place);
                    let running = self.machines[node].running.as_mut();
                    let state = running.and_then(|running| running.chains.get_mut(&place.chain));
                    if let Some(state) = state {
                        let synced = state.synced.entry(place.epoch).or_default();
                        *synced = place.position.max(*synced);
                    }
                    self.tell_durable(node, place);
                }
            }
            Err(reason) => {
                let reason = format!("vote log: {reason}");
                for chain in chains.into_iter().collect::<BTreeSet<_>>() {
                    self.tell(node, chain, 1, Input::DiskFailed(reason.clone()));
                }
            }
        }
        if again {
            self.start_log_write(node);
        }
    }

    fn write(&mut self, node: usize, chain: ChainRef, job: StoreJob) {
        let running = self.machines[node].running.as_mut();
        let state = running.and_then(|running| running.chains.get_mut(&chain));
        if state.is_some_and(|state| state.disk.push(job)) {
            self.schedule_write(node, chain);
        }
    }

    fn schedule_write(&mut self, node: usize, chain: ChainRef) {
        let takes = self.disk_time().max(self.plan.store_min);
        let at = self.now.saturating_add(takes);
        let generation = self.machines[node].generation;
        self.schedule(
            at,
            Event::StoreWritten {
                node,
                generation,
                chain,
            },
        );
    }

    pub(super) fn on_store_written(&mut self, node: usize, generation: u32, chain: ChainRef) {
        let machine = &mut self.machines[node];
        if machine.generation != generation {
            return;
        }
        let running = machine.running.as_mut();
        let Some(state) = running.and_then(|running| running.chains.get_mut(&chain)) else {
            return;
        };
        let (result, again) = state.disk.finish();
        match result {
            Ok(StoreDone::Committed(finalized, at)) => {
                self.checks.on_committed(node, chain, finalized, at);
            }
            Ok(StoreDone::Stored(digests)) => {
                for digest in digests {
                    self.tell(node, chain, 1, Input::Stored(digest));
                }
            }
            Err(error) => {
                if !self.broken.contains(&node) {
                    self.violate(format!("node {node}: store of {chain}: {error}"));
                }
                self.tell(node, chain, 1, Input::DiskFailed(error.to_string()));
            }
        }
        if again {
            self.schedule_write(node, chain);
        }
    }

    fn check_commit(&mut self, node: usize, chain: ChainRef, request: &CommitRequest) {
        if !self.machines[node].is_honest() {
            return;
        }
        for (block, certificate) in &request.finalized {
            let certificate = certificate.as_ref();
            if self.machines[node].validator.is_some() {
                let times = &mut self.checks.times;
                times.on_final(self.now, chain, block.height, &block.digest);
            }
            let broken = self.checks.on_finalized(node, chain, *block, certificate);
            self.judge(broken.map_err(|what| format!("node {node}: {what}")));
        }
        for executed in &request.states {
            let broken = self
                .checks
                .on_state(node, chain, executed, &mut self.counts);
            self.judge(broken.map_err(|what| format!("node {node}: {what}")));
        }
    }

    // ---- network -----------------------------------------------------------------------------

    fn check_send(
        &mut self,
        node: usize,
        (chain, epoch): Place,
        frame_kind: u8,
        payload: &[u8],
        after: LogPosition,
    ) {
        let row = match frame_kind {
            kind::VOTE => "votes sent",
            kind::CERTIFICATE => "certificates sent",
            kind::PROPOSAL => "proposals sent",
            kind::FETCH_REQUEST => "fetch requests sent",
            kind::FETCH_REPLY => "fetch replies sent",
            kind::BATCH_PUSH => "batches pushed",
            kind::BATCH_REQUEST => "batches pulled",
            kind::BATCHES_HELD => "batches told of",
            kind::EVIDENCE => "evidence sent",
            kind::TRANSACTIONS => "transaction frames sent",
            kind::RANGE_REQUEST => "range requests sent",
            kind::RANGE_REPLY => "range replies sent",
            _ => "statuses sent",
        };
        self.counts.note(row);
        let machine = &self.machines[node];
        if !machine.is_honest() {
            return;
        }
        let running = machine.running.as_ref();
        let Some(state) = running.and_then(|running| running.chains.get(&chain)) else {
            return;
        };
        let synced = state.synced.get(&epoch).copied().unwrap_or_default();
        let (place, frame) = ((chain, epoch), (frame_kind, payload));
        let proven_by = |source, first| state.node.proven_by(source, first);
        let counts = &mut self.counts;
        let broken = self
            .checks
            .on_send(node, place, frame, (after, synced), &proven_by, counts);
        self.judge(broken);
    }

    pub(super) fn send(&mut self, node: usize, frame: OutFrame) {
        let (frames, after) = match &mut self.machines[node].adversary {
            Some(adversary) => {
                let after = adversary.lingers(frame.kind);
                (adversary.send(frame, &mut self.counts), after)
            }
            None => (vec![frame], 0),
        };
        self.take_made(node);
        for frame in frames {
            self.deliver(node, &frame, after);
        }
    }

    /// Sends a frame, after some virtual microseconds.
    fn deliver(&mut self, node: usize, frame: &OutFrame, after: u64) {
        if !self.machines[node].is_honest() {
            let at = self.now.saturating_add(after);
            let frame = (frame.kind, &*frame.payload);
            let broken = self.checks.on_foreign_frame(frame, at);
            self.judge(broken);
        }
        let Some(to) = self.network.other_end(frame.peer, node) else {
            return;
        };
        if self.is_black(frame.chain, to) {
            return;
        }
        let times =
            self.network
                .deliveries(frame.peer, node, self.now, &self.plan, &mut self.counts);
        for at in times {
            let OutFrame {
                peer: number,
                chain,
                epoch,
                kind,
                payload,
            } = frame.clone();
            self.schedule(
                at.saturating_add(after),
                Event::Frame {
                    number,
                    to,
                    chain,
                    epoch,
                    kind,
                    payload,
                },
            );
        }
    }

    /// What a Byzantine node made that never counts is noted before anybody can take it.
    fn take_made(&mut self, node: usize) {
        if let Some(adversary) = &mut self.machines[node].adversary {
            self.checks.on_made(adversary.take_made());
        }
    }

    /// A Byzantine node brings up what is over.
    pub(super) fn dig(&mut self, node: usize) {
        let is_up = self.machines[node].is_up();
        let adversary = self.machines[node].adversary.as_mut();
        let Some(adversary) = adversary.filter(|adversary| adversary.acts()) else {
            return;
        };
        let deeds = if is_up {
            adversary.dig(self.checks.sight(), &mut self.counts)
        } else {
            Vec::new()
        };
        self.take_made(node);
        for deed in deeds {
            match deed {
                Deed::Gossip(payload) => self.spread(node, ChainRef::Beacon, &payload),
                Deed::Frame(frame) => {
                    for (peer, _) in self.network.of(node) {
                        let frame = OutFrame {
                            peer,
                            ..frame.clone()
                        };
                        self.deliver(node, &frame, 0);
                    }
                }
            }
        }
        let at = self.now.saturating_add(DIG_EVERY);
        self.schedule(at, Event::Dig { node });
    }

    /// Whether nothing of a chain arrives at a node now; then it is counted.
    fn is_black(&mut self, chain: ChainRef, to: usize) -> bool {
        let reach = self.network.blackout(chain, to, self.now);
        match reach {
            Some(Reach::One) => self.counts.note("frames to the deaf"),
            Some(Reach::All) => self.counts.note("frames of silent shards"),
            None => {}
        }
        reach.is_some()
    }

    fn check_ready(&mut self, node: usize, ready: &Ready) {
        let machine = &self.machines[node];
        if !machine.is_honest() {
            return;
        }
        let running = machine.running.as_ref();
        let state = running.and_then(|running| running.chains.get(&ready.chain));
        let held = state.map_or(Height::ZERO, |state| state.settled);
        let broken = self.checks.check_mute(node, (ready.chain, ready.epoch));
        self.judge(broken);
        let broken = self.checks.check_ready(node, ready.chain, held);
        self.judge(broken);
    }

    fn publish(&mut self, node: usize, topic: ChainRef, payload: &Arc<[u8]>) {
        self.counts.note("gossip published");
        let payload = match &mut self.machines[node].adversary {
            Some(adversary) => adversary.publish(payload, &mut self.counts),
            None => payload.clone(),
        };
        self.spread(node, topic, &payload);
    }

    fn spread(&mut self, node: usize, topic: ChainRef, payload: &Arc<[u8]>) {
        for (number, to) in self.network.of(node) {
            if !self.machines[to].follows.contains(&topic) || self.is_black(topic, to) {
                continue;
            }
            let times =
                self.network
                    .deliveries(number, node, self.now, &self.plan, &mut self.counts);
            for at in times {
                let payload = payload.clone();
                self.schedule(
                    at,
                    Event::Gossip {
                        number,
                        to,
                        topic,
                        payload,
                    },
                );
            }
        }
    }

    // ---- computation -------------------------------------------------------------------------

    fn work(&mut self, node: usize, chain: ChainRef, job: Job) {
        let lane = work::lane(&job);
        let is_wrong = self.plan.planted == Some(Planted::WrongResult) && node == 0;
        let shared = match node % 2 {
            0 => &self.shared,
            _ => &self.parallel,
        };
        if let Job::Execute(job) = &job {
            let mode = shared.workers.mode(job.work.transactions.len());
            if mode != Mode::Sequential {
                self.counts.note("blocks executed by several workers");
            }
        }
        let mut done = job.run(shared);
        if let Done::Executed(executed) = &done {
            let floor = self.plan.genesis.parameters.base_fee;
            if executed.result.base_fee > floor {
                self.counts.note("base fees above the lowest");
            }
        }
        if is_wrong && let Done::Executed(executed) = done {
            done = Done::Executed(wrong(executed));
        }
        let captured = self.plan.captured.as_ref();
        if let (Some(captured), Done::Executed(executed)) = (captured, &mut done)
            && captured.shard == chain
            && let Some(executed) = Arc::get_mut(executed)
        {
            corrupt(executed, captured, &shared.network, &mut self.counts);
        }
        let running = self.machines[node].running.as_mut();
        let Some(state) = running.and_then(|running| running.chains.get_mut(&chain)) else {
            return;
        };
        let Some(busy) = state.lanes.get_mut(lane) else {
            return;
        };
        let at = work::done_at(busy, self.now, &self.plan, &mut self.work, &mut self.counts);
        let generation = self.machines[node].generation;
        let input = Input::Done(done);
        self.schedule(
            at,
            Event::Input {
                node,
                generation,
                chain,
                input,
            },
        );
    }

    // ---- readers -----------------------------------------------------------------------------

    fn on_block(&mut self, node: usize, chain: ChainRef, block: &ExecutedBlock) {
        let height = block.header.height;
        let machine = &mut self.machines[node];
        let is_honest = machine.is_honest();
        let running = machine.running.as_mut();
        let Some(state) = running.and_then(|running| running.chains.get_mut(&chain)) else {
            return;
        };
        let expected = state.settled.next();
        state.settled = height;
        if height != expected {
            self.violate(format!(
                "node {node} settles {chain} {height}, expected {expected}"
            ));
        }
        if !is_honest {
            return;
        }
        let bodies = &self.bodies;
        let body = |digest: &Digest| bodies.get(digest).cloned();
        match self
            .checks
            .on_block(chain, &block.header, &body, &mut self.counts)
        {
            Ok(false) => {}
            Ok(true) => {
                let receipts = &block.receipts;
                let broken = self.checks.on_receipts(chain, receipts, &mut self.counts);
                self.judge(broken);
                for receipt in receipts.iter() {
                    let place = (chain, self.now);
                    let broken = self.load.on_receipt(place, receipt, &mut self.counts);
                    self.judge(broken.map_err(|what| format!("{chain} {height}: {what}")));
                }
            }
            Err(what) => self.violate(format!("node {node}: {what}")),
        }
    }

    fn on_note(&mut self, node: usize, chain: ChainRef, note: Note) {
        self.trace
            .remark(self.now, node, &|| format!("{chain} note {note:?}"));
        if !self.machines[node].is_honest() {
            // It sees that its key signs elsewhere and votes no more, until it is started again.
            if matches!(note, Note::Stopped(_) | Note::Mute(_)) {
                let down = 10 * MILLI;
                self.schedule(self.now, Event::Repair { node, down });
            }
            return;
        }
        match note {
            Note::Stopped(reason) => {
                if !self.broken.contains(&node) {
                    self.violate(format!("node {node} stops voting on {chain}: {reason}"));
                }
            }
            Note::Mute(reason) => {
                self.counts.note("keys mute");
                if !self.checks.has_lost_log(node) {
                    self.violate(format!("node {node} falls mute on {chain}: {reason}"));
                }
            }
            Note::Speaks(_) => self.counts.note("keys that sign again"),
            // The one and the others hold each other's reports for wrong; it is to stop by itself.
            Note::Invalid { .. } if self.plan.planted == Some(Planted::WrongResult) => {}
            Note::Invalid { block, reason } => {
                self.counts.note("invalid proposals noticed");
                if reason.contains("is not open") {
                    self.counts.note("closed epochs refused");
                }
                // Bytes that a Byzantine node damaged on their way say nothing of the block.
                let damaged = !self.plan.malice.is_empty() && is_of_bytes(&reason);
                if self.checks.is_honest_block(&block.digest) && !damaged {
                    self.violate(format!(
                        "node {node} holds an honest block of {chain} at {} for invalid: {reason}",
                        block.height
                    ));
                }
            }
            Note::Withheld { block, reason, .. } => {
                self.counts.note("leaders not followed");
                // While frames are lost, or it is down, a leader does not hear what it should.
                let well_at = self.plan.heal_at;
                if self
                    .checks
                    .must_be_followed(&block.digest, well_at, SETTLED)
                {
                    self.violate(format!(
                        "node {node} does not follow an honest leader of {chain} at {}: {reason}",
                        block.height
                    ));
                }
            }
            // Whether rightly is judged by the committed states.
            Note::Punished { .. } => {}
            Note::Fault(text) => {
                self.counts.note("faults noticed");
                if !self.accuses_byzantine(chain, &text) {
                    self.violate(format!("node {node} on {chain} accuses the honest: {text}"));
                }
            }
        }
    }

    /// Whether a fault that was noticed names a Byzantine member.
    fn accuses_byzantine(&self, chain: ChainRef, text: &str) -> bool {
        self.plan.malice.keys().any(|node| {
            let mut members = self.checks.members(*node, chain).into_iter();
            members.any(|member| {
                text.starts_with(&format!("{member}: "))
                    || text.contains(&format!("signer: {member:?}"))
            })
        })
    }
}

/// Whether a block was refused because of its bytes alone: they are not those of the header.
fn is_of_bytes(reason: &str) -> bool {
    [
        "body root ",
        " bytes of body",
        "body: ",
        "malformed: ",
        " bytes, at most ",
    ]
    .iter()
    .any(|part| reason.contains(part))
}

/// A result that nobody else comes to: a planted bug.
fn wrong(executed: Arc<Executed>) -> Arc<Executed> {
    match Arc::try_unwrap(executed) {
        Ok(mut executed) => {
            executed.result.state_root = Digest::ZERO;
            Arc::new(executed)
        }
        Err(shared) => shared,
    }
}
