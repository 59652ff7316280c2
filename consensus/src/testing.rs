//! A network of replicas on virtual time, from a seed: delay, reorder, loss, duplication,
//! partitions, crashes with torn logs, and one member that contradicts itself.
//!
//! After every step it asserts what must never fail: one block per height, no contradiction by an
//! honest member across restarts, and no vote on the wire that is not durable.

use crate::config::{Config, Root, Start};
use crate::input::{Certification, Input, Verdict};
use crate::log::{LogEntry, VoteRecord};
use crate::output::{Output, To};
use crate::replica::Replica;
use crate::safety::Voice;
use skerry_types::amount::Amount;
use skerry_types::block::{BlockKind, BlockRef, ExecutionResult, Header, Report};
use skerry_types::certificate::{Bitmap, Certificate};
use skerry_types::codec::Version;
use skerry_types::committee::{Committee, LeaderSchedule, Member, VerifyingCommittee};
use skerry_types::consensus::{ConsensusMessage, FetchReply, Proposal};
use skerry_types::crypto::bls::SecretKey;
use skerry_types::crypto::hash::{Purpose, hash};
use skerry_types::crypto::scheme::{MockScheme, VoteScheme};
use skerry_types::evidence::{Conflict, Evidence, contradict};
use skerry_types::ids::{
    ChainRef, Digest, Epoch, Gas, Height, LogPosition, MemberIndex, TimeMs, ValidatorId, View,
    Weight,
};
use skerry_types::vote::{Statement, Vote};
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

pub(crate) const DELTA_MS: u64 = 100;
pub(crate) const IDLE_MS: u64 = 40;

/// splitmix64.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    }
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }
    pub(crate) fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }
}

/// Keys are costly to derive, so tests share them.
pub(crate) fn keys() -> &'static [SecretKey] {
    static KEYS: OnceLock<Vec<SecretKey>> = OnceLock::new();
    KEYS.get_or_init(|| {
        (1..=10)
            .map(|seed| SecretKey::from_seed([seed; 32]))
            .collect()
    })
}

pub(crate) fn member(index: u16) -> MemberIndex {
    MemberIndex::new(index)
}

/// A committee of these weights; one seat each, so that everybody leads.
pub(crate) fn committee(weights: &[u64], scheme: &dyn VoteScheme) -> Arc<VerifyingCommittee> {
    let members = (0_u32..)
        .zip(weights)
        .zip(keys())
        .map(|((id, weight), key)| Member {
            validator: ValidatorId::new(id),
            public_key: key.public_key(),
            weight: Weight::new(*weight),
        });
    let committee = Committee {
        chain: ChainRef::Beacon,
        epoch: Epoch::ZERO,
        members: members.collect(),
        seats: (0_u16..).take(weights.len()).map(member).collect(),
        seed: Digest::ZERO,
    };
    let chain_id = Digest::new([7; 32]);
    let verifying = VerifyingCommittee::new(committee, chain_id, Digest::new([9; 32]), scheme);
    Arc::new(verifying.expect("the committee is well-formed"))
}

pub(crate) fn config(
    committee: &Arc<VerifyingCommittee>,
    me: MemberIndex,
    scheme: Arc<dyn VoteScheme>,
) -> Config {
    Config {
        committee: Arc::clone(committee),
        me,
        secret: Some(keys()[me.index()].clone()),
        scheme,
        delta_ms: DELTA_MS,
        genesis_height: Height::ZERO,
        genesis_time: TimeMs::ZERO,
    }
}

pub(crate) fn genesis_start() -> Start {
    Start {
        root: Root::Genesis,
        log: Vec::new(),
        blocks: Vec::new(),
        voice: Voice::Speaks,
    }
}

/// A header on a parent.
pub(crate) fn header(
    committee: &VerifyingCommittee,
    view: View,
    height: Height,
    parent: Digest,
    time: TimeMs,
    body: &[u8],
) -> Header {
    let instance = committee.instance();
    let mut leaders = LeaderSchedule::new(committee.committee());
    let nothing = BlockRef {
        height: Height::ZERO,
        digest: Digest::ZERO,
    };
    let result = ExecutionResult {
        state_root: Digest::ZERO,
        receipts_root: Digest::ZERO,
        channels_root: Digest::ZERO,
        gas: Gas::ZERO,
        burnt: Amount::ZERO,
        base_fee: Amount::ZERO,
    };
    Header {
        version: Version,
        chain_id: instance.chain_id,
        chain: instance.chain,
        epoch: instance.epoch,
        height,
        view,
        kind: if body.is_empty() {
            BlockKind::Idle
        } else {
            BlockKind::Working
        },
        parent,
        proposer: leaders.leader(view).unwrap_or_default(),
        time,
        beacon: nothing,
        body_root: body_root(body),
        report: Report {
            block: nothing,
            result,
        },
        facts_root: Digest::ZERO,
        next: None,
        reveal: None,
    }
}

pub(crate) fn body_root(body: &[u8]) -> Digest {
    if body.is_empty() {
        Digest::ZERO
    } else {
        hash(Purpose::BODY, body)
    }
}

pub(crate) fn vote(committee: &VerifyingCommittee, signer: u16, statement: Statement) -> Vote {
    let message = statement.signing_digest(committee.instance());
    let signature = MockScheme.sign(&keys()[usize::from(signer)], &message);
    Vote {
        statement,
        signer: member(signer),
        signature,
    }
}

pub(crate) fn certificate(
    committee: &VerifyingCommittee,
    signers: &[u16],
    statement: Statement,
) -> Certificate {
    let signatures: Vec<_> = signers
        .iter()
        .map(|signer| vote(committee, *signer, statement).signature)
        .collect();
    Certificate {
        statement,
        signers: Bitmap::of(
            signers.iter().copied().map(member),
            committee.committee().members.len(),
        ),
        signature: MockScheme
            .aggregate(&signatures)
            .expect("there are signers"),
    }
}

/// What the network does to messages.
#[derive(Clone, Debug)]
pub(crate) struct Network {
    pub(crate) loss_percent: u64,
    pub(crate) duplicate_percent: u64,
    pub(crate) delay_ms_max: u64,
    /// Members of different groups do not hear each other.
    pub(crate) groups: Vec<u64>,
}

impl Network {
    pub(crate) fn calm(members: usize) -> Self {
        Self {
            loss_percent: 0,
            duplicate_percent: 0,
            delay_ms_max: 20,
            groups: vec![0; members],
        }
    }
}

enum Event {
    Tick {
        node: usize,
        life: u32,
        at: TimeMs,
    },
    Deliver {
        from: usize,
        to: usize,
        message: ConsensusMessage,
    },
    Input {
        node: usize,
        life: u32,
        input: Input,
    },
    Sync {
        node: usize,
        life: u32,
        up_to: usize,
    },
    CatchUp {
        node: usize,
        life: u32,
    },
    /// A faulty member that noticed what its key signs starts again, to go on with it.
    Rejoin {
        node: usize,
    },
}

/// One node: what survives a crash, and what does not.
pub(crate) struct Node {
    pub(crate) replica: Option<Replica>,
    life: u32,
    pub(crate) log: Vec<VoteRecord>,
    durable: usize,
    waiting: Vec<(LogPosition, To, ConsensusMessage)>,
    held: BTreeMap<Digest, (Header, Vec<u8>)>,
    stored: BTreeMap<Digest, (Header, Vec<u8>)>,
    root: Root,
    pub(crate) chain: Vec<Header>,
    tick_at: Option<TimeMs>,
    pub(crate) byzantine: bool,
    pub(crate) idle: bool,
}

/// The network.
pub(crate) struct Cluster {
    pub(crate) committee: Arc<VerifyingCommittee>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) network: Network,
    pub(crate) random: Random,
    pub(crate) now: TimeMs,
    pub(crate) faults: Vec<Evidence>,
    pub(crate) views_entered: u64,
    pub(crate) trace: Digest,
    queue: BTreeMap<(TimeMs, u64), Event>,
    sequence: u64,
    finalized: BTreeMap<Height, Digest>,
    cast: BTreeMap<(MemberIndex, View), Vec<Statement>>,
}

impl Cluster {
    pub(crate) fn new(weights: &[u64], seed: u64) -> Self {
        let committee = committee(weights, &MockScheme);
        let node = |_| Node {
            replica: None,
            life: 0,
            log: Vec::new(),
            durable: 0,
            waiting: Vec::new(),
            held: BTreeMap::new(),
            stored: BTreeMap::new(),
            root: Root::Genesis,
            chain: Vec::new(),
            tick_at: None,
            byzantine: false,
            idle: false,
        };
        let mut cluster = Self {
            nodes: (0..weights.len()).map(node).collect(),
            network: Network::calm(weights.len()),
            random: Random::new(seed),
            now: TimeMs::new(1_000),
            faults: Vec::new(),
            views_entered: 0,
            trace: Digest::ZERO,
            queue: BTreeMap::new(),
            sequence: 0,
            finalized: BTreeMap::new(),
            cast: BTreeMap::new(),
            committee,
        };
        for node in 0..weights.len() {
            cluster.start(node);
        }
        cluster
    }

    fn schedule(&mut self, delay_ms: u64, event: Event) {
        self.sequence += 1;
        self.queue
            .insert((self.now.saturating_add(delay_ms), self.sequence), event);
    }

    /// Starts a node with what survived.
    pub(crate) fn start(&mut self, index: usize) {
        let me = member(u16::try_from(index).unwrap());
        let node = &mut self.nodes[index];
        if node.replica.is_some() {
            return;
        }
        let height = node
            .chain
            .last()
            .map_or(Height::ZERO, |header| header.height);
        let blocks = node.stored.values().map(|(header, _)| header.clone());
        let start = Start {
            root: node.root.clone(),
            log: node.log.clone(),
            blocks: blocks.filter(|header| header.height > height).collect(),
            voice: Voice::Speaks,
        };
        let config = config(&self.committee, me, Arc::new(MockScheme));
        node.replica = Some(Replica::new(config, start).expect("the start belongs to the config"));
        node.held = node.stored.clone();
        node.life += 1;
        node.tick_at = None;
        self.step(index, Input::Tick);
    }

    /// Stops a node; of what was not synced, a part from the front survives.
    pub(crate) fn crash(&mut self, index: usize) {
        let keep = self.random.next();
        let node = &mut self.nodes[index];
        if node.replica.take().is_none() {
            return;
        }
        let tail = (node.log.len() - node.durable) as u64;
        node.log
            .truncate(node.durable + (keep % (tail + 1)) as usize);
        node.durable = node.log.len();
        node.waiting.clear();
        node.held.clear();
    }

    pub(crate) fn run_for(&mut self, ms: u64) {
        let end = self.now.saturating_add(ms);
        while self
            .queue
            .first_key_value()
            .is_some_and(|((at, _), _)| *at <= end)
        {
            self.next();
        }
        self.now = end;
    }

    /// Runs until every given node has `more` further final blocks; whether it got there in time.
    pub(crate) fn run_until(&mut self, nodes: &[usize], more: usize, limit_ms: u64) -> bool {
        let goals: Vec<usize> = nodes
            .iter()
            .map(|node| self.nodes[*node].chain.len() + more)
            .collect();
        let end = self.now.saturating_add(limit_ms);
        let there = |cluster: &Self| {
            nodes
                .iter()
                .zip(&goals)
                .all(|(node, goal)| cluster.nodes[*node].chain.len() >= *goal)
        };
        while !there(self) {
            if self
                .queue
                .first_key_value()
                .is_none_or(|((at, _), _)| *at > end)
            {
                return false;
            }
            self.next();
        }
        true
    }

    fn next(&mut self) {
        let Some(((at, _), event)) = self.queue.pop_first() else {
            return;
        };
        self.now = at;
        match event {
            Event::Tick { node, life, at } => {
                if self.nodes[node].life == life && self.nodes[node].tick_at == Some(at) {
                    self.nodes[node].tick_at = None;
                    self.step(node, Input::Tick);
                }
            }
            Event::Deliver { from, to, message } => {
                let from = member(u16::try_from(from).unwrap());
                self.step(
                    to,
                    Input::Message {
                        from,
                        message: Box::new(message),
                    },
                );
            }
            Event::Input { node, life, input } => {
                if self.nodes[node].life == life && self.nodes[node].replica.is_some() {
                    self.on_disk(node, &input);
                    self.step(node, input);
                }
            }
            Event::Sync { node, life, up_to } => {
                if self.nodes[node].life == life && self.nodes[node].replica.is_some() {
                    self.nodes[node].durable = self.nodes[node].durable.max(up_to);
                    let position = LogPosition::new(up_to as u64);
                    self.step(node, Input::Durable(position));
                    self.release(node);
                }
            }
            Event::Rejoin { node } => {
                self.crash(node);
                self.start(node);
            }
            Event::CatchUp { node, life } => {
                if self.nodes[node].life == life && self.nodes[node].replica.is_some() {
                    self.catch_up(node);
                }
            }
        }
    }

    fn on_disk(&mut self, node: usize, input: &Input) {
        if let Input::Certified {
            digest,
            outcome: Certification::Durable,
        } = input
        {
            let block = self.nodes[node].held.get(digest).cloned();
            self.nodes[node]
                .stored
                .insert(*digest, block.expect("it was held"));
        }
    }

    pub(crate) fn step(&mut self, index: usize, input: Input) {
        let Some(mut replica) = self.nodes[index].replica.take() else {
            return;
        };
        let mut out = Vec::new();
        replica.step(self.now, input, &mut out);
        let deadline = replica.deadline();
        self.nodes[index].replica = Some(replica);
        for output in out {
            self.on_output(index, output);
        }
        if let Some(at) = deadline
            && self.nodes[index].tick_at != Some(at)
        {
            assert!(
                at > self.now,
                "a deadline lies ahead: node {index} {at} {}",
                self.now
            );
            self.nodes[index].tick_at = Some(at);
            let life = self.nodes[index].life;
            self.schedule(
                at.above(self.now),
                Event::Tick {
                    node: index,
                    life,
                    at,
                },
            );
        }
    }

    fn later(&mut self, index: usize, delay_ms: u64, input: Input) {
        let life = self.nodes[index].life;
        self.schedule(
            delay_ms,
            Event::Input {
                node: index,
                life,
                input,
            },
        );
    }

    fn on_output(&mut self, index: usize, output: Output) {
        let text = format!("{index} {} {output:?}", self.now);
        self.trace = hash(
            Purpose::SEED,
            &[self.trace.as_bytes(), text.as_bytes()].concat(),
        );
        let quick = 1 + self.random.below(3);
        match output {
            Output::Persist { position, record } => {
                self.nodes[index].log.push(*record);
                assert_eq!(
                    position.get(),
                    self.nodes[index].log.len() as u64,
                    "no gap in the log"
                );
            }
            Output::Send { after, to, message } => {
                self.check_logged(index, after, &message);
                self.nodes[index].waiting.push((after, to, *message));
                let (up_to, life) = (self.nodes[index].log.len(), self.nodes[index].life);
                if self.nodes[index].durable < up_to {
                    self.schedule(
                        quick,
                        Event::Sync {
                            node: index,
                            life,
                            up_to,
                        },
                    );
                }
                self.release(index);
            }
            Output::Check(job) => {
                let result = job.run(&MockScheme, &self.committee);
                self.later(index, quick, Input::Checked(result));
            }
            Output::Build {
                view,
                parent,
                idle_only,
            } => {
                let wait = if self.nodes[index].idle {
                    IDLE_MS
                } else {
                    quick
                };
                let number = self.random.next();
                let is_idle = idle_only || self.nodes[index].idle || number.is_multiple_of(3);
                let body = if is_idle {
                    Vec::new()
                } else {
                    number.to_le_bytes().to_vec()
                };
                let time = self.now.max(parent.time.next());
                let (height, parent) = (parent.height.next(), parent.digest);
                let header = header(&self.committee, view, height, parent, time, &body);
                self.nodes[index]
                    .held
                    .insert(header.digest(), (header.clone(), body.clone()));
                let header = Box::new(header);
                self.later(index, wait, Input::Built { view, header, body });
            }
            Output::Block {
                digest,
                header,
                body,
            } => {
                self.nodes[index]
                    .held
                    .entry(digest)
                    .or_insert((*header, body));
            }
            Output::Verify {
                view,
                digest,
                header,
            } => {
                let (_, body) = &self.nodes[index].held[&digest];
                let good = body_root(body) == header.body_root;
                let verdict = if good {
                    Verdict::Valid
                } else {
                    Verdict::Invalid
                };
                self.later(
                    index,
                    quick,
                    Input::Verified {
                        view,
                        digest,
                        verdict,
                    },
                );
            }
            Output::Certify { digest } => {
                let held = self.nodes[index].held.get(&digest);
                let good = held.is_some_and(|(header, body)| body_root(body) == header.body_root);
                let outcome = if good {
                    Certification::Durable
                } else {
                    Certification::Missing
                };
                if !good {
                    self.nodes[index].held.remove(&digest);
                }
                self.later(index, quick, Input::Certified { digest, outcome });
            }
            Output::ServeBlock {
                to,
                digest,
                certificates,
            } => {
                let block = self.nodes[index].held.get(&digest).cloned();
                let reply = ConsensusMessage::Reply(Box::new(FetchReply {
                    certificates,
                    block,
                }));
                self.transmit(index, to.index(), &reply);
            }
            Output::Finalized {
                headers,
                certificate,
            } => {
                self.on_finalized(index, headers, certificate);
            }
            Output::Behind { .. } => {
                let life = self.nodes[index].life;
                self.schedule(quick + 20, Event::CatchUp { node: index, life });
            }
            Output::Entered { .. } => self.views_entered += 1,
            Output::Fault(evidence) => {
                assert!(is_proven(&evidence, &self.committee));
                let signer = evidence.signer().expect("two votes");
                assert!(self.nodes[signer.index()].byzantine, "{evidence:?}");
                self.faults.push(*evidence);
            }
            Output::Misbehaved { member, offence } => {
                assert!(self.nodes[member.index()].byzantine, "{member} {offence:?}");
            }
            Output::BuildRefused { view, error } => panic!("view {view}: {error}"),
            Output::MalformedNotarized { digest } => panic!("{digest}"),
            Output::SignedElsewhere { statement } => {
                assert!(self.nodes[index].byzantine, "{statement:?}");
                self.schedule(1, Event::Rejoin { node: index });
            }
            Output::Notarized { .. } => {}
        }
    }

    fn on_finalized(&mut self, index: usize, headers: Vec<Header>, certificate: Certificate) {
        assert!(certificate.verify(&self.committee, &MockScheme).is_ok());
        for header in headers {
            let (digest, node) = (header.digest(), &mut self.nodes[index]);
            let tip = node.chain.last().map(Header::digest);
            let tip = tip.unwrap_or(self.committee.instance().genesis);
            assert_eq!(header.parent, tip, "final blocks follow each other");
            assert!(
                node.stored.contains_key(&digest),
                "final blocks are durable"
            );
            let agreed = *self.finalized.entry(header.height).or_insert(digest);
            assert_eq!(
                agreed, digest,
                "two final blocks at height {}",
                header.height
            );
            node.root = Root::Finalized {
                header: Box::new(header.clone()),
                certificate: certificate.clone(),
            };
            node.chain.push(header);
        }
    }

    /// Syncs a node from the one that is furthest.
    fn catch_up(&mut self, index: usize) {
        let group = self.network.groups[index];
        let peers = (0..self.nodes.len()).filter(|peer| {
            self.network.groups[*peer] == group && self.nodes[*peer].replica.is_some()
        });
        let Some(best) = peers.max_by_key(|peer| self.nodes[*peer].chain.len()) else {
            return;
        };
        let Root::Finalized {
            header,
            certificate,
        } = self.nodes[best].root.clone()
        else {
            return;
        };
        if self.nodes[best].chain.len() <= self.nodes[index].chain.len() {
            return;
        }
        self.nodes[index].chain = self.nodes[best].chain.clone();
        self.nodes[index].root = self.nodes[best].root.clone();
        for header in self.nodes[best].chain.clone() {
            let block = self.nodes[best].stored[&header.digest()].clone();
            self.nodes[index].stored.insert(header.digest(), block);
        }
        self.step(
            index,
            Input::Synced {
                header,
                certificate,
            },
        );
    }

    /// Votes are in the log at or before the position that their message waits for.
    fn check_logged(&self, index: usize, after: LogPosition, message: &ConsensusMessage) {
        let statement = match message {
            ConsensusMessage::Vote(vote) => vote.statement,
            ConsensusMessage::Proposal(proposal) => Statement::Notarize {
                view: proposal.view,
                digest: proposal.header.digest(),
            },
            _ => return,
        };
        let log = &self.nodes[index].log[..usize::try_from(after.get()).unwrap()];
        let logged = log.iter().any(
            |record| matches!(&record.entry, LogEntry::Vote(vote) if vote.statement == statement),
        );
        assert!(
            logged,
            "{statement:?} waits for a position that does not hold it"
        );
    }

    fn release(&mut self, index: usize) {
        let durable = LogPosition::new(self.nodes[index].durable as u64);
        let waiting = std::mem::take(&mut self.nodes[index].waiting);
        let (ready, waiting) = waiting
            .into_iter()
            .partition(|(after, _, _)| *after <= durable);
        self.nodes[index].waiting = waiting;
        let ready: Vec<(LogPosition, To, ConsensusMessage)> = ready;
        for (_, to, message) in ready {
            self.check_cast(index, &message);
            match to {
                To::One(to) => self.transmit(index, to.index(), &message),
                To::All => {
                    for to in (0..self.nodes.len()).filter(|to| *to != index) {
                        self.transmit(index, to, &message);
                    }
                }
            }
        }
    }

    /// No honest member ever contradicts what it sent before.
    fn check_cast(&mut self, index: usize, message: &ConsensusMessage) {
        let statement = match message {
            ConsensusMessage::Vote(vote) => vote.statement,
            ConsensusMessage::Proposal(proposal) => Statement::Notarize {
                view: proposal.view,
                digest: proposal.header.digest(),
            },
            _ => return,
        };
        let key = (member(u16::try_from(index).unwrap()), statement.view());
        let cast = self.cast.entry(key).or_default();
        for earlier in cast.iter() {
            assert!(
                !contradict(earlier, &statement),
                "{index}: {earlier:?} and {statement:?}"
            );
        }
        cast.push(statement);
    }

    fn transmit(&mut self, from: usize, to: usize, message: &ConsensusMessage) {
        if self.nodes[from].byzantine {
            for message in self.tampered(from, to, message) {
                self.carry(from, to, message);
            }
        } else {
            self.carry(from, to, message.clone());
        }
    }

    fn carry(&mut self, from: usize, to: usize, message: ConsensusMessage) {
        let lost = self.random.percent(self.network.loss_percent);
        let copies = 1 + u64::from(self.random.percent(self.network.duplicate_percent));
        if lost || self.network.groups[from] != self.network.groups[to] {
            return;
        }
        for _ in 0..copies {
            let delay = 1 + self.random.below(self.network.delay_ms_max);
            self.schedule(
                delay,
                Event::Deliver {
                    from,
                    to,
                    message: message.clone(),
                },
            );
        }
    }

    /// What a faulty member sends instead: other blocks to every other member, votes that
    /// contradict its own, broken signatures, blocks with wrong bodies.
    fn tampered(
        &mut self,
        from: usize,
        to: usize,
        message: &ConsensusMessage,
    ) -> Vec<ConsensusMessage> {
        let signer = u16::try_from(from).unwrap();
        let chance = self.random.below(4);
        match message {
            ConsensusMessage::Proposal(proposal) if to.is_multiple_of(2) => {
                let mut header = proposal.header.clone();
                header.time = header.time.next();
                let statement = Statement::Notarize {
                    view: proposal.view,
                    digest: header.digest(),
                };
                let signature = vote(&self.committee, signer, statement).signature;
                let other = Proposal {
                    header,
                    signature,
                    ..Proposal::clone(proposal)
                };
                vec![ConsensusMessage::Proposal(Box::new(other))]
            }
            ConsensusMessage::Vote(own) if chance == 0 => {
                let mut wrong = own.clone();
                wrong.signature.0[5] ^= 1;
                vec![ConsensusMessage::Vote(wrong)]
            }
            ConsensusMessage::Vote(own) if chance < 3 => {
                let view = own.statement.view();
                let other = match own.statement {
                    Statement::Finalize { .. } => Statement::Nullify { view },
                    _ => Statement::Finalize {
                        view,
                        digest: Digest::new([3; 32]),
                    },
                };
                let other = ConsensusMessage::Vote(vote(&self.committee, signer, other));
                vec![message.clone(), other]
            }
            ConsensusMessage::Reply(reply) if chance < 2 => {
                let mut reply = reply.clone();
                if let Some((_, body)) = &mut reply.block {
                    body.push(1);
                }
                vec![ConsensusMessage::Reply(reply)]
            }
            ConsensusMessage::Certificate(certificate) if chance == 0 => {
                let mut wrong = certificate.clone();
                wrong.signature.0[3] ^= 1;
                vec![ConsensusMessage::Certificate(wrong)]
            }
            _ => vec![message.clone()],
        }
    }
}

/// Whether evidence holds, signatures included.
pub(crate) fn is_proven(evidence: &Evidence, committee: &VerifyingCommittee) -> bool {
    let signed = match &evidence.conflict {
        Conflict::Votes { first, second } => [first, second]
            .into_iter()
            .all(|vote| vote.verify(committee, &MockScheme)),
        Conflict::Certificates { first, second } => [first, second]
            .into_iter()
            .all(|certificate| certificate.verify(committee, &MockScheme).is_ok()),
        Conflict::Finals { .. } => false,
    };
    let instance = committee.instance();
    let is_here = (evidence.chain, evidence.epoch) == (instance.chain, instance.epoch);
    is_here && evidence.is_conflict() && signed
}
