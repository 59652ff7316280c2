//! How faults strike, and how nodes come back.

use super::{DIAL_EVERY, Event, World, join};
use crate::plan::{FOREVER, Fault, Loss, MILLI, SECOND};
use skerry::chain::{Input, Peer};
use skerry_types::ids::Height;

/// Epochs for which nodes remember committees: who is further behind is judged by nobody's proofs.
const FAR_EPOCHS: u64 = 4;

/// How long a node is down whose disk was broken when it was to start.
const REPAIR: u64 = 200 * MILLI;

impl World {
    pub(super) fn strike(&mut self, fault: Fault) {
        match fault {
            Fault::Crash { nodes, down, kind } => {
                self.counts.note(kind);
                for node in nodes {
                    self.crash(node, down);
                }
            }
            Fault::Partition {
                side,
                one_way,
                lasts,
            } => {
                self.counts.note(if one_way {
                    "one-way partitions"
                } else {
                    "partitions"
                });
                let until = self.now.saturating_add(lasts);
                self.network.separate(side, one_way, until);
            }
            // What has no power cannot break.
            Fault::BreakStore { node, .. }
            | Fault::BreakLog { node, .. }
            | Fault::Lose { node, .. }
                if !self.machines[node].is_up() => {}
            Fault::BreakStore { node, down } => {
                let chains = self.machines[node].follows.clone();
                let chain = self.chance.pick(&chains).copied();
                let writes = self.chance.below(3);
                if let Some(disk) = chain.and_then(|chain| self.machines[node].disk(chain)) {
                    self.counts.note("broken stores");
                    disk.fail_after(writes);
                    self.break_node(node, down);
                }
            }
            Fault::BreakLog { node, down } => {
                self.counts.note("broken vote logs");
                self.machines[node].log().fail();
                self.break_node(node, down);
            }
            Fault::Lose { node, what, down } => {
                self.crash(node, down);
                self.machines[node].lose(what);
                if what != Loss::Data {
                    self.counts.note("vote logs lost");
                    self.checks.on_log_lost(node);
                }
                if what != Loss::Log {
                    self.counts.note("data directories lost");
                    self.checks.on_data_lost(node);
                }
            }
            Fault::Away { node, cut: true } => {
                self.counts.note("nodes cut off for epochs");
                let until = self.plan.heal_at;
                self.network.separate(vec![node], false, until);
            }
            Fault::Away { node, cut: false } => {
                self.counts.note("nodes off for epochs");
                self.away = Some(node);
                self.crash(node, self.plan.heal_at.saturating_sub(self.now));
            }
            Fault::Deaf { node, chain, lasts } => {
                self.counts.note(if lasts == FOREVER {
                    "nodes deaf for ever"
                } else {
                    "nodes deaf"
                });
                let until = self.now.saturating_add(lasts);
                self.network.black_out(chain, Some(node), until);
            }
            Fault::Silence { chain, lasts } => {
                self.counts.note("shards silenced");
                let until = self.now.saturating_add(lasts);
                self.network.black_out(chain, None, until);
            }
            Fault::ClockJump { node, skew_ms } => {
                self.counts.note("clock jumps");
                self.machines[node].skew = skew_ms.saturating_mul(1000);
                for chain in self.machines[node].follows.clone() {
                    self.tell(node, chain, 0, Input::Tick);
                }
            }
        }
    }

    fn break_node(&mut self, node: usize, down: u64) {
        self.broken.push(node);
        let at = self.now.saturating_add(SECOND);
        self.schedule(at, Event::Repair { node, down });
    }

    /// The power of a node goes; it comes back after `down`.
    pub(super) fn crash(&mut self, node: usize, down: u64) {
        let machine = &mut self.machines[node];
        if machine.joining.take().is_some() {
            self.counts.note("crashes while joining");
            machine.log().crash(self.disk.draw());
            self.lose_power(node, down);
            return;
        }
        let Some(running) = machine.running.take() else {
            return;
        };
        if let Some(votes) = running.votes
            && votes.crash(self.disk.draw())
        {
            self.counts.note("crashes in a vote log write");
        }
        for mut state in running.chains.into_values() {
            if let Some(kind) = state.disk.crash(&mut self.disk) {
                self.counts.note(kind);
            }
            drop(state);
        }
        self.lose_power(node, down);
    }

    /// What was not synced may be lost, connections are, and the power comes back after `down`.
    fn lose_power(&mut self, node: usize, down: u64) {
        for chain in self.machines[node].follows.clone() {
            if let Some(disk) = self.machines[node].disk(chain) {
                disk.crash(self.disk.draw());
            }
        }
        self.broken.retain(|other| *other != node);
        for (number, other) in self.network.of(node) {
            self.network.disconnect(number);
            let after = self.chance.between(100, 50 * MILLI);
            self.lose_peer(other, number, after);
        }
        self.schedule(self.now.saturating_add(down), Event::Restart { node });
    }

    fn lose_peer(&mut self, node: usize, number: u32, after: u64) {
        if self.machines[node].joining.is_some() {
            self.tell_join(node, after, join::Input::PeerDown(Peer(number)));
            return;
        }
        for chain in self.machines[node].follows.clone() {
            self.tell(node, chain, after, Input::PeerDown(Peer(number)));
        }
    }

    pub(super) fn restart(&mut self, node: usize) {
        let machine = &mut self.machines[node];
        if machine.is_up() || self.away == Some(node) {
            return;
        }
        if self.plan.joins() {
            self.begin_join(node);
        } else {
            self.begin_chains(node);
        }
    }

    /// Starts the chains of a node from what its disk has.
    pub(super) fn begin_chains(&mut self, node: usize) {
        let machine = &mut self.machines[node];
        let is_first = machine.generation == u32::from(self.plan.joins());
        let replayed = match machine.start(&self.plan, &self.shared, self.now) {
            Ok(replayed) => replayed,
            Err(_) if self.broken.contains(&node) => {
                // Its disk broke while it joined; it is repaired as one that broke later.
                machine.log().crash(self.disk.draw());
                self.lose_power(node, REPAIR);
                return;
            }
            Err(reason) => {
                self.violate(format!("node {node} does not start again: {reason}"));
                return;
            }
        };
        if !is_first {
            self.counts.note("restarts");
        }
        if replayed.torn_bytes > 0 {
            self.counts.note("vote logs torn");
        }
        self.checks.on_replayed(node, &replayed.records);
        let mut found = Vec::new();
        for (chain, state) in self.machines[node].running.iter().flat_map(|r| &r.chains) {
            let finalized = state
                .store
                .finalized()
                .map_or(Height::ZERO, |block| block.height);
            let at = state
                .store
                .state_at()
                .map_or(Height::ZERO, |(block, _)| block.height);
            found.push((*chain, finalized, at));
        }
        self.note_distance(node);
        for (chain, finalized, at) in found {
            let broken = self.checks.on_restart(node, chain, finalized, at);
            self.judge(broken);
            self.step(node, chain, Input::Tick);
        }
    }

    /// Counts the chains of a running node that are far behind.
    fn note_distance(&mut self, node: usize) {
        for (chain, state) in self.machines[node].running.iter().flat_map(|r| &r.chains) {
            let here = state.node.committee().instance().epoch;
            if self.checks.epoch(*chain) > here.saturating_add(FAR_EPOCHS) {
                self.counts.note("chains five epochs behind");
            }
        }
    }

    /// Everything is well from now on.
    pub(super) fn heal(&mut self) {
        self.network.heal();
        self.away = None;
        for node in 0..self.machines.len() {
            self.note_distance(node);
            if !self.machines[node].is_up() {
                let after = self.chance.below(500 * MILLI);
                self.schedule(self.now.saturating_add(after), Event::Restart { node });
            }
        }
        for node in self.broken.clone() {
            self.schedule(
                self.now,
                Event::Repair {
                    node,
                    down: 100 * MILLI,
                },
            );
        }
        self.set_goals();
    }

    /// Connections that carry nothing are given up; nodes connect to whom they lack.
    pub(super) fn dial(&mut self) {
        for number in self.network.take_broken(self.now) {
            if let Some((one, other)) = self.network.disconnect(number) {
                self.counts.note("connections broken");
                self.lose_peer(one, number, 1);
                self.lose_peer(other, number, 1);
            }
        }
        for one in 0..self.machines.len() {
            for other in one.saturating_add(1)..self.machines.len() {
                let up = self.machines[one].is_up() && self.machines[other].is_up();
                if !up || self.chance.chance(300) {
                    continue;
                }
                if let Some(number) = self.network.connect(one, other, self.now) {
                    self.meet(one, other, number);
                    self.meet(other, one, number);
                }
            }
        }
        self.schedule(self.now.saturating_add(DIAL_EVERY), Event::Dial);
    }

    pub(super) fn meet(&mut self, node: usize, other: usize, number: u32) {
        let chains = self.machines[other].follows.clone();
        if self.machines[node].joining.is_some() {
            let peer = Peer(number);
            self.tell_join(
                node,
                1,
                join::Input::PeerUp {
                    peer,
                    chains,
                    configured: true,
                },
            );
            return;
        }
        for chain in self.machines[node].follows.clone() {
            let key = self.machines[other].key();
            let (peer, chains) = (Peer(number), chains.clone());
            self.tell(node, chain, 1, Input::PeerUp { peer, key, chains });
        }
    }
}
