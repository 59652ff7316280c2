//! When a run is over: after healing every chain goes on, all clients are served, all nodes agree.

use super::{BLOCKS_MIN, BOUND, Event, INSPECT_EVERY, World};
use crate::plan::SECOND;

/// Blocks that each chain must add after healing.
const BLOCKS_AFTER: u64 = 10;
/// How long after it was sent what no block may hold is in the way of whoever lets it be.
const CHOKED: u64 = 4 * SECOND;

impl World {
    pub(super) fn set_goals(&mut self) {
        for chain in self.plan.genesis.chains() {
            let after = self.checks.top(chain).saturating_add(BLOCKS_AFTER);
            self.goals
                .insert(chain, after.max(skerry_types::ids::Height::new(BLOCKS_MIN)));
        }
    }

    pub(super) fn inspect(&mut self) {
        let at = self.now.saturating_add(INSPECT_EVERY);
        if let Err(missing) = self.is_well() {
            if self.now > self.plan.heal_at.saturating_add(BOUND) {
                self.violate(format!("not well long after healing: {missing}"));
            }
            self.schedule(at, Event::Inspect);
        } else if self.choke() {
            self.schedule(self.now.saturating_add(CHOKED), Event::Choked);
        } else {
            self.finished = true;
        }
    }

    /// Lets a captured shard send what no block may hold, once everything else has arrived.
    fn choke(&mut self) -> bool {
        let is_first = !std::mem::replace(&mut self.choked, true);
        let plan = &self.plan;
        let last = plan.captured.as_ref().filter(|_| is_first);
        let last = last.and_then(|_| self.load.choke(plan));
        let sent = last.is_some();
        self.submit(last.into_iter().collect());
        sent
    }

    /// It has long arrived: all chains must go on nevertheless.
    pub(super) fn on_choked(&mut self) {
        self.set_goals();
        self.inspect();
    }

    /// What is still missing.
    fn is_well(&self) -> Result<(), String> {
        for (chain, goal) in &self.goals {
            for (node, machine) in self.machines.iter().enumerate() {
                let is_deaf = self.network.blackout(*chain, node, self.now).is_some();
                if !machine.is_honest() || !machine.follows.contains(chain) || is_deaf {
                    continue;
                }
                let running = machine.running.as_ref();
                let Some(state) = running.and_then(|running| running.chains.get(chain)) else {
                    return Err(format!("node {node} is down"));
                };
                if state.settled < *goal {
                    let status = state.node.consensus_status();
                    return Err(format!(
                        "node {node} has {chain} up to {}, the goal is {goal}, the newest final \
                         block is {}; {status:?}",
                        state.settled,
                        self.checks.top(*chain)
                    ));
                }
            }
        }
        if self.now < self.plan.load_until {
            return Err("clients are still at it".to_owned());
        }
        if !self.load.is_settled() {
            let open = self.load.open();
            let first = open.first().map(|(id, what)| format!("{id}, {what}"));
            return Err(format!(
                "{} transactions are not final: {first:?}",
                open.len()
            ));
        }
        for chain in self.plan.genesis.chains() {
            if let Some(state) = self.checks.newest_state(chain) {
                self.load
                    .check_balances(chain, state)
                    .map_err(|what| format!("{chain}: {what}"))?;
            }
        }
        Ok(())
    }
}
