//! Which views of a chain brought no final block, and who led them.
//!
//! A view that was given up leaves no trace but its number, which no final header has. So the views
//! between those of one final block and the next were skipped, and with the committee of the epoch
//! it is known whose turns they were. The turns between the proposal of a seal and the view in which
//! it became final count as skipped, too: what they brought, if anything, was the seal again.
//!
//! Nothing here is judged: that views are skipped while a leader is down is as it should be.

use serde::Serialize;
use skerry_types::committee::{Committee, LeaderSchedule, Member};
use skerry_types::ids::{Epoch, Height, TimeMs, ValidatorId, View, Weight};

/// Skipped views of one epoch that are named; more are counted.
pub(super) const SKIPPED_NAMED: usize = 1_000;

/// A view without a final block of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SkippedView {
    /// Which.
    pub view: View,
    /// Whose turn it was.
    pub leader: Option<ValidatorId>,
    /// Time of the final block before it, by that block's header.
    pub after_ms: TimeMs,
    /// Time of the final block after it; absent when the copies end before there is one.
    pub before_ms: Option<TimeMs>,
}

/// A member of a committee.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MemberReport {
    /// Who.
    pub validator: ValidatorId,
    /// Its weight: seats in a shard, stake on the beacon.
    pub weight: Weight,
}

/// One epoch of a chain, as its final blocks show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EpochReport {
    /// Which.
    pub epoch: Epoch,
    /// Who votes in it.
    pub members: Vec<MemberReport>,
    /// Time of the block that it starts from.
    pub started_ms: TimeMs,
    /// Its newest final block.
    pub height: Height,
    /// Its final blocks, the seal included.
    pub blocks: u64,
    /// The newest view that brought a final block, or made the seal final.
    pub view: View,
    /// View of its last working block: where its seal is final, the one that ended it.
    pub working_view: View,
    /// Whether its seal is final.
    pub sealed: bool,
    /// How many views were skipped.
    pub skipped_count: u64,
    /// Which, the first of them.
    pub skipped: Vec<SkippedView>,
}

impl EpochReport {
    fn new(committee: &Committee, started_ms: TimeMs) -> Self {
        let report = |member: &Member| MemberReport {
            validator: member.validator,
            weight: member.weight,
        };
        Self {
            epoch: committee.epoch,
            members: committee.members.iter().map(report).collect(),
            started_ms,
            height: Height::ZERO,
            blocks: 0,
            view: View::ZERO,
            working_view: View::ZERO,
            sealed: false,
            skipped_count: 0,
            skipped: Vec::new(),
        }
    }
}

/// A final block, as far as views go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    pub(super) height: Height,
    /// The view of its header.
    pub(super) view: View,
    pub(super) time: TimeMs,
    pub(super) is_working: bool,
}

/// Counts the views of a chain, epoch after epoch.
pub(super) struct ViewCount {
    epochs: Vec<EpochReport>,
    leaders: LeaderSchedule,
    /// Time of the newest block.
    time: TimeMs,
}

impl ViewCount {
    /// Begins with the committee of a chain's first epoch, which starts at `time`.
    pub(super) fn new(committee: &Committee, time: TimeMs) -> Self {
        Self {
            epochs: vec![EpochReport::new(committee, time)],
            leaders: LeaderSchedule::new(committee),
            time,
        }
    }

    /// The next epoch begins, from the newest block.
    pub(super) fn open(&mut self, committee: &Committee) {
        self.leaders = LeaderSchedule::new(committee);
        self.epochs.push(EpochReport::new(committee, self.time));
    }

    /// The next final block of the open epoch.
    pub(super) fn note(&mut self, step: Step) {
        self.skip_to(step.view, Some(step.time));
        self.time = step.time;
        let Some(epoch) = self.epochs.last_mut() else {
            return;
        };
        epoch.height = step.height;
        epoch.blocks = epoch.blocks.saturating_add(1);
        if step.is_working {
            epoch.working_view = step.view;
        }
    }

    /// The newest block is the seal of the open epoch, and became final in this view.
    pub(super) fn seal(&mut self, view: View) {
        self.skip_to(view, None);
        if let Some(epoch) = self.epochs.last_mut() {
            epoch.sealed = true;
        }
    }

    /// All views between the newest one and this were skipped.
    fn skip_to(&mut self, view: View, before_ms: Option<TimeMs>) {
        let after_ms = self.time;
        let Some(epoch) = self.epochs.last_mut() else {
            return;
        };
        let mut skipped = epoch.view.next();
        let count = view.get().saturating_sub(skipped.get());
        epoch.skipped_count = epoch.skipped_count.saturating_add(count);
        while skipped < view && epoch.skipped.len() < SKIPPED_NAMED {
            let leader = self.leaders.leader(skipped);
            let leader = leader.and_then(|member| epoch.members.get(member.index()));
            epoch.skipped.push(SkippedView {
                view: skipped,
                leader: leader.map(|member| member.validator),
                after_ms,
                before_ms,
            });
            skipped = skipped.next();
        }
        epoch.view = epoch.view.max(view);
    }

    /// All epochs, in order.
    pub(super) fn finish(self) -> Vec<EpochReport> {
        self.epochs
    }
}
