//! A network on virtual time: one queue of events, carried out one after the other.
//!
//! What a node's threads, disks and sockets do is played here: each output of a chain becomes
//! events, each event becomes an input of some chain. Events of one moment come in the order in
//! which they were scheduled, so a run depends on its plan alone.

mod carry;
mod faults;
mod goal;
mod join;

use crate::adversary::Adversary;
use crate::checks::{Broken, Checks};
use crate::counts::Counts;
use crate::load::{Load, Submission};
use crate::machine::Machine;
use crate::network::Network;
use crate::plan::{Fault, MILLI, Plan, Planted, Rush, SECOND};
use crate::random::Random;
use crate::times::Times;
use crate::trace::Trace;
use crate::work;
use skerry::assemble::shared_with;
use skerry::chain::jobs::{Done, Shared};
use skerry::chain::{Input, Output, Peer};
use skerry::wire::{RangeReply, kind};
use skerry_execution::parallel::Workers;
use skerry_types::codec::{decode, encode};
use skerry_types::crypto::scheme::MockScheme;
use skerry_types::ids::{ChainRef, Digest, Epoch, Height};
use skerry_types::transaction::CheckedTransaction;
use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Arc;

/// Who executes the blocks of every second node: two workers are enough for all ways that threads
/// have to meet, and three make that some have nothing to do.
const SEVERAL: Workers = Workers {
    most: NonZeroUsize::new(3).expect("three is not zero"),
    transactions_min: 2,
};
/// How long after healing everything must be well.
const BOUND: u64 = 60 * SECOND;
/// Events of one run; more mean that something runs in circles.
const EVENTS_MAX: u64 = 2_000_000;
/// Final blocks that each chain must have in the end.
pub const BLOCKS_MIN: u64 = 100;
/// How often nodes look for peers that they lack.
const DIAL_EVERY: u64 = 200 * MILLI;
/// How often the end is looked for.
const INSPECT_EVERY: u64 = 100 * MILLI;
/// How often clients look at what is not final.
const RETRY_EVERY: u64 = 500 * MILLI;
/// How often an adversary brings up what is over.
const DIG_EVERY: u64 = 300 * MILLI;
/// Longest sleep of a chain's thread.
const SLEEP_MAX: u64 = SECOND;

/// A broken rule, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Virtual microseconds since the start.
    pub at: u64,
    /// What was broken.
    pub what: String,
}

/// What came of a seed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// Hash over all events.
    pub trace: [u8; 32],
    /// Number of events.
    pub events: u64,
    /// Virtual microseconds that it took.
    pub virtual_time: u64,
    /// Final blocks of each chain.
    pub blocks: BTreeMap<ChainRef, u64>,
    /// What occurred.
    pub counts: Counts,
    /// When blocks were proposed, final and proven.
    pub times: Times,
    /// The message that took most of what was foretold: what it took, and that, in virtual microseconds.
    pub delay: Option<(u64, u64)>,
    /// The plan, in a line.
    pub plan: String,
    /// The first broken rule.
    pub violation: Option<Violation>,
}

impl Report {
    /// Of a run that did not come to its end, so that nothing is known of it but why.
    pub fn failed(seed: u64, plan: String, what: String) -> Self {
        Self {
            seed,
            trace: [0; 32],
            events: 0,
            virtual_time: 0,
            blocks: BTreeMap::new(),
            counts: Counts::default(),
            times: Times::default(),
            delay: None,
            plan,
            violation: Some(Violation { at: 0, what }),
        }
    }
}

/// Something that happens at a time.
enum Event {
    /// An input of one chain of a node, unless the node was restarted since it was scheduled.
    Input {
        node: usize,
        generation: u32,
        chain: ChainRef,
        input: Input,
    },
    /// A frame over a connection.
    Frame {
        number: u32,
        to: usize,
        chain: ChainRef,
        epoch: Epoch,
        kind: u8,
        payload: Arc<[u8]>,
    },
    /// Gossip over a connection.
    Gossip {
        number: u32,
        to: usize,
        topic: ChainRef,
        payload: Arc<[u8]>,
    },
    /// An input of a node that joins, unless it was restarted since it was scheduled.
    Join {
        node: usize,
        generation: u32,
        input: join::Input,
    },
    /// A chain's thread wakes up.
    Tick {
        node: usize,
        generation: u32,
        chain: ChainRef,
        at: u64,
    },
    /// A vote log was synced.
    LogWritten { node: usize, generation: u32 },
    /// A store operation ends.
    StoreWritten {
        node: usize,
        generation: u32,
        chain: ChainRef,
    },
    /// A node gets its power back.
    Restart { node: usize },
    /// A node that is broken is restarted.
    Repair { node: usize, down: u64 },
    /// A fault of the plan.
    Fault(Fault),
    /// Everything is well from now on.
    Heal,
    /// Nodes connect to whom they lack.
    Dial,
    /// Some client acts.
    Client,
    /// Clients send again what is not final.
    Retry,
    /// A Byzantine node looks for what is over.
    Dig { node: usize },
    /// Is it over?
    Inspect,
    /// A channel should be choked by now.
    Choked,
}

/// A whole network.
pub struct World {
    plan: Plan,
    shared: Arc<Shared>,
    /// The same for every second node, which executes all blocks by several workers.
    parallel: Arc<Shared>,
    machines: Vec<Machine>,
    network: Network,
    checks: Checks,
    load: Load,
    counts: Counts,
    trace: Trace,
    queue: BTreeMap<(u64, u64), Event>,
    scheduled: u64,
    now: u64,
    disk: Random,
    work: Random,
    chance: Random,
    goals: BTreeMap<ChainRef, Height>,
    /// Bodies that some node has stored or is about to.
    bodies: BTreeMap<Digest, Arc<[u8]>>,
    /// Nodes whose disk was broken on purpose.
    broken: Vec<usize>,
    /// The node that stays without power until all is healed.
    away: Option<usize>,
    violation: Option<Violation>,
    /// Whether a captured shard has done its worst.
    choked: bool,
    finished: bool,
}

/// Plays a plan to its end or to the first broken rule.
pub fn run(plan: Plan, prints: bool) -> Report {
    let seed = plan.seed;
    match World::new(plan, prints) {
        Ok(mut world) => {
            world.play();
            world.report()
        }
        Err(what) => Report::failed(seed, String::new(), what),
    }
}

impl World {
    fn new(plan: Plan, prints: bool) -> Result<Self, String> {
        plan.genesis
            .check(false)
            .map_err(|error| error.to_string())?;
        let shared = || {
            let shared = shared_with(&plan.genesis, Arc::new(MockScheme));
            shared.map_err(|error| error.to_string())
        };
        let (shared, mut parallel) = (shared()?, shared()?);
        Arc::get_mut(&mut parallel)
            .ok_or("nobody else has it yet")?
            .workers = SEVERAL;
        let root = Random::new(plan.seed).fork("run");
        let nodes = plan.keys.len().saturating_add(1);
        let mut machines: Vec<Machine> =
            (0..nodes).map(|index| Machine::new(&plan, index)).collect();
        for (node, malice) in &plan.malice {
            let (Some(machine), Some(key)) = (machines.get_mut(*node), plan.keys.get(*node)) else {
                continue;
            };
            let random = root.fork("adversary");
            let adversary = Adversary::new((*malice, &plan), random, key.clone(), shared.clone());
            machine.adversary = Some(adversary);
        }
        let mut world = Self {
            shared,
            parallel,
            machines,
            network: Network::new(root.fork("network")),
            checks: Checks::new(&plan),
            load: Load::new(&plan, root.fork("load")),
            counts: Counts::default(),
            trace: Trace::printing(prints),
            queue: BTreeMap::new(),
            scheduled: 0,
            now: 0,
            disk: root.fork("disk"),
            work: root.fork("work"),
            chance: root.fork("chance"),
            goals: BTreeMap::new(),
            bodies: BTreeMap::new(),
            broken: Vec::new(),
            away: None,
            violation: None,
            choked: false,
            finished: false,
            plan,
        };
        world.prepare();
        Ok(world)
    }

    fn prepare(&mut self) {
        for (at, fault) in self.plan.faults.clone() {
            self.schedule(at, Event::Fault(fault));
        }
        self.schedule(self.plan.heal_at, Event::Heal);
        for node in 0..self.machines.len() {
            let mut at = self.chance.below(200 * MILLI);
            if node == self.plan.keys.len() {
                at = at.saturating_add(self.plan.follower_at);
            }
            self.schedule(at, Event::Restart { node });
        }
        self.schedule(MILLI, Event::Dial);
        self.schedule(SECOND, Event::Client);
        self.schedule(RETRY_EVERY, Event::Retry);
        for node in self.plan.malice.keys().copied().collect::<Vec<_>>() {
            self.schedule(DIG_EVERY, Event::Dig { node });
        }
        match self.plan.rush {
            Some(Rush::To(_)) => self.counts.note("crowds at one shard"),
            Some(Rush::Around) => self.counts.note("crowds around"),
            None => {}
        }
        if self.plan.has_large_holder() {
            self.counts.note("networks with a large validator");
        }
        self.schedule(self.plan.heal_at.saturating_add(SECOND), Event::Inspect);
    }

    fn schedule(&mut self, at: u64, event: Event) {
        self.scheduled = self.scheduled.saturating_add(1);
        self.queue.insert((at.max(self.now), self.scheduled), event);
    }

    fn play(&mut self) {
        while !self.finished && self.violation.is_none() {
            let Some(((at, _), event)) = self.queue.pop_first() else {
                break;
            };
            self.now = at;
            self.checks.now = at;
            self.happen(event);
            if self.trace.events() > EVENTS_MAX {
                self.violate(format!(
                    "more than {EVENTS_MAX} events: something runs in circles"
                ));
            }
        }
        if self.violation.is_none() {
            let supply = self.checks.check_all_counted();
            self.judge(supply);
        }
        self.counts.add("nullified views", self.checks.nullified());
    }

    fn report(self) -> Report {
        let chains = self.plan.genesis.chains();
        Report {
            seed: self.plan.seed,
            trace: self.trace.hash(),
            events: self.trace.events(),
            virtual_time: self.now,
            blocks: chains
                .iter()
                .map(|chain| (*chain, self.checks.top(*chain).get()))
                .collect(),
            counts: self.counts,
            delay: self.checks.slowest(),
            times: self.checks.times,
            plan: self.plan.summary(),
            violation: self.violation,
        }
    }

    fn violate(&mut self, what: String) {
        if self.violation.is_none() {
            self.violation = Some(Violation { at: self.now, what });
        }
    }

    fn judge(&mut self, broken: Broken) {
        if let Err(what) = broken {
            self.violate(what);
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Input {
                node,
                generation,
                chain,
                input,
            } => {
                if self.machines[node].generation == generation {
                    self.step(node, chain, input);
                }
            }
            Event::Frame {
                number,
                to,
                chain,
                epoch,
                kind,
                payload,
            } => {
                let is_snapshot = matches!(kind, kind::SNAPSHOT_REQUEST | kind::SNAPSHOT_REPLY);
                if self.network.ends(number).is_some() && is_snapshot {
                    self.on_snapshot_frame((to, number), chain, kind, payload);
                } else if self.network.ends(number).is_some() {
                    let payload = self.forged(to, kind, payload);
                    let peer = Peer(number);
                    self.step(
                        to,
                        chain,
                        Input::Frame {
                            peer,
                            epoch,
                            kind,
                            payload,
                        },
                    );
                }
            }
            Event::Gossip {
                number,
                to,
                topic,
                payload,
            } => {
                if self.network.ends(number).is_some() {
                    self.step(to, topic, Input::Gossip(payload));
                }
            }
            Event::Join {
                node,
                generation,
                input,
            } => {
                if self.machines[node].generation == generation {
                    self.step_join(node, input);
                }
            }
            Event::Tick {
                node,
                generation,
                chain,
                at,
            } => self.on_tick(node, generation, chain, at),
            Event::LogWritten { node, generation } => self.on_log_written(node, generation),
            Event::StoreWritten {
                node,
                generation,
                chain,
            } => {
                self.on_store_written(node, generation, chain);
            }
            Event::Restart { node } => self.restart(node),
            Event::Repair { node, down } => self.crash(node, down),
            Event::Fault(fault) => self.strike(fault),
            Event::Heal => self.heal(),
            Event::Dial => self.dial(),
            Event::Client => self.on_client(),
            Event::Retry => {
                let submissions = self.load.retry(self.now, &mut self.counts);
                self.submit(submissions);
                self.schedule(self.now.saturating_add(RETRY_EVERY), Event::Retry);
            }
            Event::Dig { node } => self.dig(node),
            Event::Inspect => self.inspect(),
            Event::Choked => self.on_choked(),
        }
    }

    /// Gives a chain an input, and carries out what it answers.
    fn step(&mut self, node: usize, chain: ChainRef, input: Input) {
        let machine = &mut self.machines[node];
        let clock = machine.clock(self.now);
        let Some(running) = &mut machine.running else {
            return;
        };
        let Some(state) = running.chains.get_mut(&chain) else {
            return;
        };
        trace_input(&mut self.trace, self.now, node, chain, &input);
        if let Input::Done(Done::Executed(executed)) = &input {
            self.checks.on_executed(node, chain, executed);
        }
        let mut outputs: Vec<Output> = Vec::new();
        state.node.step(clock, input, &mut outputs);
        if let Some(adversary) = &mut machine.adversary {
            adversary.learn(state.node.committee());
        }
        let tally = state.node.tally();
        self.counts
            .note_ways(std::mem::replace(&mut state.tally, tally), tally);
        let over = state.node.held().into_iter().find(|it| it.count > it.most);
        if let Some(over) = over {
            self.violate(format!("node {node} holds too much for {chain}: {over:?}"));
            return;
        }
        for output in outputs {
            self.carry_out(node, chain, output);
            if self.violation.is_some() {
                return;
            }
        }
        self.set_alarm(node, chain);
    }

    /// Makes sure that a chain's thread wakes up in time.
    fn set_alarm(&mut self, node: usize, chain: ChainRef) {
        let now = self.now;
        let machine = &mut self.machines[node];
        let generation = machine.generation;
        let Some(running) = &machine.running else {
            return;
        };
        let Some(deadline) = running
            .chains
            .get(&chain)
            .map(|state| state.node.deadline())
        else {
            return;
        };
        let due = deadline.map_or(u64::MAX, |deadline| machine.moment(deadline));
        let at = due.clamp(now.saturating_add(MILLI), now.saturating_add(SLEEP_MAX));
        let Some(running) = &mut machine.running else {
            return;
        };
        let Some(state) = running.chains.get_mut(&chain) else {
            return;
        };
        if state.tick_at.is_none_or(|set| set > at || set <= now) {
            state.tick_at = Some(at);
            self.schedule(
                at,
                Event::Tick {
                    node,
                    generation,
                    chain,
                    at,
                },
            );
        }
    }

    fn on_tick(&mut self, node: usize, generation: u32, chain: ChainRef, at: u64) {
        let machine = &mut self.machines[node];
        if machine.generation != generation {
            return;
        }
        let Some(running) = &mut machine.running else {
            return;
        };
        let Some(state) = running.chains.get_mut(&chain) else {
            return;
        };
        if state.tick_at == Some(at) {
            state.tick_at = None;
            self.step(node, chain, Input::Tick);
        }
    }

    fn on_client(&mut self) {
        if self.now >= self.plan.load_until {
            return;
        }
        let submissions = self.load.act(&self.plan, self.now, &mut self.counts);
        self.submit(submissions);
        let pause = self
            .chance
            .between(MILLI, self.plan.load_every.saturating_mul(2));
        self.schedule(self.now.saturating_add(pause), Event::Client);
    }

    /// Hands each submission to some node that follows the chain and runs.
    fn submit(&mut self, submissions: Vec<Submission>) {
        for Submission { chain, tag, wire } in submissions {
            let takes =
                |machine: &Machine| machine.running.is_some() && machine.follows.contains(&chain);
            let nodes: Vec<usize> = (0..self.machines.len())
                .filter(|node| takes(&self.machines[*node]))
                .collect();
            if let Some(node) = self.chance.pick(&nodes).copied() {
                // The API decodes.
                let decoded = CheckedTransaction::decode(wire, &self.plan.chain_id());
                match decoded.map(|it| vec![Arc::new(it)]) {
                    Ok(transactions) => {
                        self.step(node, chain, Input::Submit { tag, transactions });
                    }
                    Err(error) => self.answer(node, tag, &[Err(error.into())]),
                }
            }
        }
    }

    /// Schedules an input for a chain of a node, if it follows it.
    fn tell(&mut self, node: usize, chain: ChainRef, after: u64, input: Input) {
        let machine = &self.machines[node];
        if machine.follows.contains(&chain) {
            let generation = machine.generation;
            let at = self.now.saturating_add(after);
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
    }

    /// A planted bug: final blocks that reach the follower are not those that were served.
    fn forged(&self, to: usize, frame_kind: u8, payload: Arc<[u8]>) -> Arc<[u8]> {
        let is_follower = self.machines[to].validator.is_none();
        if self.plan.planted != Some(Planted::ForgedRange)
            || frame_kind != kind::RANGE_REPLY
            || !is_follower
        {
            return payload;
        }
        let Ok(mut reply) = decode::<RangeReply>(&payload, payload.len()) else {
            return payload;
        };
        for block in &mut reply.blocks {
            block.header.time = block.header.time.next();
        }
        encode(&reply).into()
    }
}

fn trace_input(trace: &mut Trace, now: u64, node: usize, chain: ChainRef, input: &Input) {
    let name = chain.folder();
    let mut event = |what: &str, payload: &[u8]| trace.event(now, node, &name, what, payload);
    match input {
        Input::Tick => event("tick", &[]),
        Input::PeerUp { peer, .. } => event("peer up", &peer.0.to_le_bytes()),
        Input::PeerDown(peer) => event("peer down", &peer.0.to_le_bytes()),
        Input::Frame { kind, payload, .. } => event(frame_name(*kind), payload),
        Input::Gossip(payload) => event("gossip", payload),
        Input::Durable { position, .. } => event("durable", &position.get().to_le_bytes()),
        Input::Done(done) => {
            let (what, payload) = work::describe(done);
            event(what, &payload);
        }
        Input::Stored(digest) => event("stored", digest.as_bytes()),
        Input::Beacon(block) => event("beacon", block.block.digest.as_bytes()),
        Input::Link(link) => event("own link", link.header.digest().as_bytes()),
        Input::Ready(ready) => event("own ready", &encode(ready)),
        Input::Evidence(evidence) => event("own evidence", &encode(&**evidence)),
        Input::Claim(evidence) => event("claim", &encode(&**evidence)),
        Input::Submit { transactions, .. } => {
            let first = transactions.first().map(|it| &**it.wire());
            event("submit", first.unwrap_or_default());
        }
        Input::Lost(at) => event("key lost", &at.get().to_le_bytes()),
        Input::DiskFailed(reason) => event("disk failed", reason.as_bytes()),
    }
}

/// A name for a kind of frame.
fn frame_name(frame_kind: u8) -> &'static str {
    match frame_kind {
        kind::VOTE => "vote",
        kind::CERTIFICATE => "certificate",
        kind::PROPOSAL => "proposal",
        kind::FETCH_REQUEST => "fetch request",
        kind::FETCH_REPLY => "fetch reply",
        kind::BATCH_PUSH => "batch frame",
        kind::BATCH_REQUEST => "batch request",
        kind::EVIDENCE => "evidence frame",
        kind::TRANSACTIONS => "transactions frame",
        kind::RANGE_REQUEST => "range request",
        kind::RANGE_REPLY => "range reply",
        kind::STATUS => "status",
        kind::SNAPSHOT_REQUEST => "snapshot request",
        kind::SNAPSHOT_REPLY => "snapshot reply",
        _ => "unknown frame",
    }
}
