//! How often each kind of fault and event occurred, so that a run that tests nothing shows itself.
//!
//! [`ROWS`] lists all kinds. A row that stays at zero over two hundred seeds or more fails the run:
//! either the simulator does not do what it says, or the code under test never gets there.

use skerry_consensus::status::Tally;
use std::collections::BTreeMap;

/// A kind and whether it needs more than one shard.
pub const ROWS: &[(&str, Scope)] = &[
    ("votes sent", Scope::Any),
    ("certificates sent", Scope::Any),
    ("proposals sent", Scope::Any),
    ("notarize votes sent", Scope::Any),
    ("nullify votes sent", Scope::Any),
    ("finalize votes sent", Scope::Any),
    ("notarizations sent", Scope::Any),
    ("nullifications sent", Scope::Any),
    ("finalizations sent", Scope::Any),
    ("working blocks proposed", Scope::Any),
    ("blocks executed by several workers", Scope::Any),
    ("base fees above the lowest", Scope::Any),
    ("idle blocks proposed", Scope::Any),
    ("seals proposed", Scope::Any),
    ("seals proposed again", Scope::Any),
    ("proposals over skipped views", Scope::Any),
    ("fetch requests sent", Scope::Any),
    ("views fetched", Scope::Any),
    ("blocks fetched", Scope::Any),
    ("fetch replies sent", Scope::Any),
    ("range requests sent", Scope::Any),
    ("range replies sent", Scope::Any),
    ("transaction frames sent", Scope::Any),
    ("statuses sent", Scope::Any),
    ("batches pushed", Scope::Shards),
    ("batches pulled", Scope::Shards),
    ("batches told of", Scope::Shards),
    ("gossip published", Scope::Any),
    ("snapshot requests sent", Scope::Any),
    ("snapshot replies sent", Scope::Any),
    ("snapshot replies forged", Scope::Any),
    ("forged snapshots noticed", Scope::Any),
    ("bases taken", Scope::Any),
    ("imports resumed", Scope::Any),
    ("chunks taken", Scope::Any),
    ("crashes while joining", Scope::Any),
    ("chains joined by snapshot", Scope::Any),
    ("frames lost", Scope::Any),
    ("frames duplicated", Scope::Any),
    ("frames delayed long", Scope::Any),
    ("frames cut off", Scope::Any),
    ("frames cut off one way", Scope::Any),
    ("partitions", Scope::Any),
    ("one-way partitions", Scope::Any),
    ("connections broken", Scope::Any),
    ("crashes", Scope::Any),
    ("crashes of all nodes", Scope::Any),
    ("crashes of one chain's members", Scope::Any),
    ("crashes in a vote log write", Scope::Any),
    ("vote logs torn", Scope::Any),
    ("crashes before blocks are written", Scope::Any),
    ("crashes after blocks are written", Scope::Any),
    ("crashes in a commit", Scope::Any),
    ("crashes after a commit", Scope::Any),
    ("restarts", Scope::Any),
    ("nodes off for epochs", Scope::Any),
    ("nodes cut off for epochs", Scope::Any),
    ("chains five epochs behind", Scope::Any),
    ("broken stores", Scope::Any),
    ("broken vote logs", Scope::Any),
    ("vote logs lost", Scope::Any),
    ("data directories lost", Scope::Any),
    ("keys mute", Scope::Any),
    ("keys that sign again", Scope::Any),
    ("votes after a lost log", Scope::Any),
    ("clock jumps", Scope::Any),
    ("nodes deaf", Scope::Any),
    ("nodes deaf for ever", Scope::Any),
    ("frames to the deaf", Scope::Any),
    ("shards silenced", Scope::Any),
    ("frames of silent shards", Scope::Any),
    ("networks with a large validator", Scope::Any),
    ("slow jobs", Scope::Any),
    ("slow disk operations", Scope::Any),
    ("equivocating proposals", Scope::Any),
    ("withheld votes", Scope::Any),
    ("contradicting votes", Scope::Any),
    ("replayed frames", Scope::Any),
    ("garbage frames", Scope::Any),
    ("damaged frames", Scope::Any),
    ("wrong reports", Scope::Any),
    ("batches left out", Scope::Shards),
    ("leaders not followed", Scope::Shards),
    ("old batches proposed", Scope::Shards),
    ("batches proposed twice", Scope::Shards),
    ("gaps proposed", Scope::Shards),
    ("batches proposed in another order", Scope::Shards),
    ("batches too large proposed", Scope::Shards),
    ("batches with another message", Scope::Shards),
    ("batches proven by a notarization", Scope::Shards),
    ("batches withheld", Scope::Shards),
    ("batches told of falsely", Scope::Shards),
    ("frames of floods", Scope::Shards),
    ("messages forged by a captured shard", Scope::Shards),
    ("messages of a captured shard dropped", Scope::Shards),
    ("forged value within what its shard holds", Scope::Shards),
    ("exports above the allowance", Scope::Shards),
    (
        "replies that a captured shard forged a request for",
        Scope::Shards,
    ),
    ("channels choked", Scope::Shards),
    ("transfers above all supply", Scope::Messages),
    ("batches above all credit", Scope::Messages),
    ("batches of replies above all room", Scope::Messages),
    ("messages within the foretold time", Scope::Shards),
    (
        "neighbours served within the foretold time",
        Scope::Messages,
    ),
    ("bundles elsewhere", Scope::Messages),
    ("bundles over several chains", Scope::Messages),
    ("routes ended midway", Scope::Messages),
    ("channels without credit", Scope::Messages),
    ("rings of channels without credit", Scope::Messages),
    ("crowds at one shard", Scope::Messages),
    ("crowds around", Scope::Messages),
    ("certified siblings", Scope::Shards),
    ("snapshots without batches", Scope::Messages),
    ("false statuses", Scope::Any),
    ("false announcements", Scope::Any),
    ("false evidence", Scope::Any),
    ("false evidence proposed", Scope::Any),
    ("evidence sent", Scope::Any),
    ("peers penalised", Scope::Any),
    ("links of closed epochs", Scope::Any),
    ("forged links", Scope::Any),
    ("range replies withheld", Scope::Any),
    ("batches of closed epochs", Scope::Any),
    ("stale certificates and votes", Scope::Any),
    ("closed epochs proposed", Scope::Any),
    ("closed epochs refused", Scope::Any),
    ("faults noticed", Scope::Any),
    ("invalid proposals noticed", Scope::Any),
    ("late leaders", Scope::Any),
    ("late views", Scope::Any),
    ("leaders that gave up", Scope::Any),
    ("silent leaders skipped", Scope::Any),
    ("proposals rejected", Scope::Any),
    ("proposals ahead of a clock", Scope::Any),
    ("repetitions at a standstill", Scope::Any),
    ("laggards helped", Scope::Any),
    ("nullified views", Scope::Any),
    ("idle blocks", Scope::Any),
    ("working blocks", Scope::Any),
    ("abandoned blocks", Scope::Any),
    ("states committed", Scope::Any),
    ("cross-links included", Scope::Any),
    ("seals", Scope::Any),
    ("seals included", Scope::Any),
    ("epochs of the beacon ended", Scope::Any),
    ("epochs of shards ended", Scope::Any),
    ("epochs slept through", Scope::Any),
    ("batches accepted after a sleep", Scope::Shards),
    ("newcomers ready", Scope::Shards),
    ("evidence included", Scope::Any),
    ("offences punished", Scope::Any),
    ("seats taken by newcomers", Scope::Shards),
    ("seats left to former holders", Scope::Shards),
    ("validators at the bound of seats", Scope::Any),
    ("facts imported", Scope::Any),
    ("batches accepted", Scope::Shards),
    ("messages executed", Scope::Shards),
    ("requests done", Scope::Any),
    ("requests refused", Scope::Any),
    ("replies", Scope::Any),
    ("validators registered", Scope::Any),
    ("validators leaving", Scope::Any),
    ("bonds returned", Scope::Any),
    ("transactions accepted", Scope::Any),
    ("transactions refused", Scope::Any),
    ("transactions sent again", Scope::Any),
    ("replacements", Scope::Any),
    ("transactions succeeded", Scope::Any),
    ("transactions failed", Scope::Any),
    ("cuts with exact supply", Scope::Any),
];

/// Where a kind can occur, in order: each includes those before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// In every network.
    Any,
    /// Where there are several shards.
    Shards,
    /// Where most is about messages between them.
    Messages,
}

/// Counters by kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    by_kind: BTreeMap<&'static str, u64>,
}

impl Counts {
    /// Counts one of a kind that [`ROWS`] lists.
    pub fn note(&mut self, kind: &'static str) {
        self.add(kind, 1);
    }

    /// Counts several.
    pub fn add(&mut self, kind: &'static str, count: u64) {
        debug_assert!(ROWS.iter().any(|(row, _)| *row == kind), "{kind} is no row");
        let counter = self.by_kind.entry(kind).or_default();
        *counter = counter.saturating_add(count);
    }

    /// Counts what a core has done between two moments. One that begins anew begins at zero.
    pub fn note_ways(&mut self, before: Tally, after: Tally) {
        let ways = |of: Tally| {
            [
                ("late leaders", of.leaders_late),
                ("late views", of.views_late),
                ("leaders that gave up", of.leaders_withdrawn),
                ("silent leaders skipped", of.leaders_silent),
                ("proposals rejected", of.proposals_rejected),
                ("proposals ahead of a clock", of.proposals_ahead),
                ("repetitions at a standstill", of.repetitions),
                ("laggards helped", of.laggards_helped),
            ]
        };
        for ((kind, before), (_, after)) in ways(before).into_iter().zip(ways(after)) {
            let more = after.saturating_sub(before);
            if more > 0 {
                self.add(kind, more);
            }
        }
    }

    /// How often a kind occurred.
    pub fn get(&self, kind: &str) -> u64 {
        self.by_kind.get(kind).copied().unwrap_or(0)
    }

    /// Adds another run's.
    pub fn merge(&mut self, other: &Self) {
        for (kind, count) in &other.by_kind {
            self.add(kind, *count);
        }
    }

    /// The kinds that did not occur, and could.
    pub fn missing(&self, here: Scope) -> Vec<&'static str> {
        ROWS.iter()
            .filter(|(_, scope)| *scope <= here)
            .map(|(row, _)| *row)
            .filter(|row| self.get(row) == 0)
            .collect()
    }

    /// The table, one row a line.
    pub fn table(&self) -> String {
        ROWS.iter()
            .map(|(row, _)| format!("{:>12}  {row}\n", self.get(row)))
            .collect()
    }
}
