//! When the own key signs nothing on a chain, because its history is not whole: the vote log was
//! lost, or peers have shown a vote that is not in it.
//!
//! The key stays mute until the first final block of the next epoch but one after the loss. Which
//! epoch that is must not rest on what this node knows, since it may be far behind, nor on what one
//! peer says: it counts from the first final block whose header is later than the loss by more than
//! clocks differ. Whatever the key had signed by then was of that block's epoch or an earlier one.
//! Each chain judges by its own blocks. What is found is kept in the vote log, so a restart changes
//! nothing, and the same code runs in the simulator.

use super::{ChainNode, Note, Output};
use crate::votes::key::{KeyRecords, MuteUntil, record};
use skerry_consensus::input::Input as Core;
use skerry_consensus::log::{LogEntry, VoteRecord};
use skerry_consensus::safety::Voice;
use skerry_types::block::Header;
use skerry_types::ids::{ChainRef, Epoch, LogPosition, TimeMs};

/// How much later than the loss a header must be: more than the clocks of honest members differ,
/// and the half second that a header may be ahead of them.
const MARGIN_MS: u64 = 2_000;
/// From the epoch that is open at the loss to the one in which the key may sign again.
const EPOCHS: u64 = 2;

/// What is known of a loss.
#[derive(Debug, Default)]
pub(super) struct Mute {
    lost_at: Option<TimeMs>,
    known: Option<MuteUntil>,
    /// The loss is over: the chain has come to the epoch.
    over: bool,
    /// The latest epoch in which a vote of the key was seen that is not in the log.
    seen: Epoch,
    /// When the log was begun empty, for a key that no committee had seated.
    first_use: Option<TimeMs>,
    /// How this run came to know of the loss.
    why: Option<String>,
    /// Whether people were told.
    told: bool,
}

impl Mute {
    /// As the log has it, for a chain whose newest final block is this one.
    pub(super) fn restore(key: &KeyRecords, chain: ChainRef, newest: Option<&Header>) -> Self {
        let mut mute = Self {
            lost_at: key.lost_at,
            known: key.mute.get(&chain).copied(),
            first_use: key.first_use,
            ..Self::default()
        };
        mute.over = mute.has_come_to(newest);
        mute
    }

    /// Whether the key signs nothing now.
    pub(super) fn is_mute(&self) -> bool {
        self.lost_at.is_some() && !self.over
    }

    pub(super) fn voice(&self) -> Voice {
        if self.is_mute() {
            Voice::Mute
        } else {
            Voice::Speaks
        }
    }

    /// Whether a header is later than a time by more than clocks differ.
    fn is_after(header: &Header, time: TimeMs) -> bool {
        header.time > time.saturating_add(MARGIN_MS)
    }

    /// What the newest loss means, as far as it is known.
    fn until(&self) -> Option<Epoch> {
        let known = self.known.filter(|known| Some(known.since) >= self.lost_at);
        known.map(|known| known.until)
    }

    fn has_come_to(&self, newest: Option<&Header>) -> bool {
        let reached = self.until().zip(newest);
        reached.is_some_and(|(until, header)| header.epoch >= until)
    }

    /// Takes up a loss; false when it is not news.
    fn lose(&mut self, at: TimeMs) -> bool {
        let is_news = Some(at) > self.lost_at;
        if is_news {
            self.lost_at = Some(at);
            self.over = false;
        }
        is_news
    }

    /// Whether a vote of the key in an epoch, which is not in the log, changes anything.
    fn is_covered(&mut self, epoch: Epoch) -> bool {
        self.seen = self.seen.max(epoch);
        let enough = epoch.saturating_add(EPOCHS);
        self.is_mute() && self.until().is_none_or(|until| until >= enough)
    }

    /// Looks at the newest final block. What is to be recorded, once it is known what the loss means.
    fn resolve(&mut self, newest: &Header) -> Option<MuteUntil> {
        let since = self.lost_at.filter(|_| self.is_mute())?;
        if self.until().is_some() || !Self::is_after(newest, since) {
            return None;
        }
        let until = newest.epoch.max(self.seen).saturating_add(EPOCHS);
        let known = MuteUntil { since, until };
        self.known = Some(known);
        Some(known)
    }

    fn reason(&self, chain: ChainRef, epochs_end: bool) -> String {
        let why = self.why.as_deref();
        let why = why.unwrap_or("the vote log says that the history of the key is not whole");
        if !epochs_end {
            return format!(
                "{why}; the epochs of this network never end, so the key signs nothing any more: \
                 run the node without [validator], as a follower, and use another key"
            );
        }
        let until = self.until().map_or_else(
            || "the next epoch but one".to_owned(),
            |until| format!("epoch {until}"),
        );
        format!(
            "{why}; the key signs nothing on {chain} until the first block of {until} is final, and \
             goes on by itself then; the node follows meanwhile"
        )
    }
}

impl ChainNode {
    /// Why the key signs nothing here now, if so.
    pub(super) fn mute_reason(&self) -> Option<String> {
        let epochs_end = self.shared.network.parameters.epoch_ms > 0;
        let is_mute = self.secret.is_some() && self.mute.is_mute();
        is_mute.then(|| self.mute.reason(self.chain, epochs_end))
    }

    /// Whether this node signs nothing on the chain.
    pub(super) fn is_quiet(&self) -> bool {
        self.stopped.is_some() || self.mute.is_mute()
    }

    /// A certificate of an instance holds a vote of the own key that the log does not have.
    pub(super) fn on_signed_elsewhere(&mut self, epoch: Epoch, what: &str, out: &mut Vec<Output>) {
        if self.mute.is_covered(epoch) {
            return;
        }
        let why = format!(
            "the vote key signed {what} in epoch {epoch}, and this node did not: another node runs \
             the key, or this vote log is not its newest; let one node run it, and never restore a \
             log"
        );
        // Also where the clock was set back meanwhile.
        let newer = self.mute.lost_at.map_or(TimeMs::ZERO, TimeMs::next);
        self.lose(self.now.max(newer), why, out);
    }

    /// Notices a loss, and tells the log and the node's other chains.
    fn lose(&mut self, at: TimeMs, why: String, out: &mut Vec<Output>) {
        if self.take_loss(at, Some(why), out) {
            // Of the key, whichever chain has noticed it.
            let lost = record(ChainRef::Beacon, LogEntry::Lost { at });
            self.record_of_key(&lost, out);
            out.push(Output::Lost(at));
        }
    }

    /// Another chain of this node has noticed a loss.
    pub(super) fn on_lost(&mut self, at: TimeMs, out: &mut Vec<Output>) {
        let why = "another chain has seen that the history of the vote key is not whole";
        self.take_loss(at, Some(why.to_owned()), out);
    }

    fn take_loss(&mut self, at: TimeMs, why: Option<String>, out: &mut Vec<Output>) -> bool {
        if self.secret.is_none() || !self.mute.lose(at) {
            return false;
        }
        self.mute.why = why;
        self.set_voice();
        self.note_mute(out);
        true
    }

    fn set_voice(&mut self) {
        // The instance before it signs nothing any more.
        let voice = self.mute.voice();
        self.instance.inputs.push_back(Core::Voice(voice));
        if voice == Voice::Mute {
            self.instance.building = None;
        }
        self.snapshot_due = true;
    }

    fn note_mute(&mut self, out: &mut Vec<Output>) {
        if let Some(reason) = self.mute_reason() {
            self.mute.told = true;
            out.push(Output::Note(Note::Mute(reason)));
            self.snapshot_due = true;
        }
    }

    fn record_of_key(&self, record: &VoteRecord, out: &mut Vec<Output>) {
        // It has no place among the records of the instance, and nothing waits for it.
        out.push(Output::Persist {
            epoch: self.instance.epoch(),
            position: LogPosition::ZERO,
            record: record.encode(),
        });
    }

    /// Finds out until when the key is mute, and whether that is over.
    pub(super) fn mind_the_key(&mut self, out: &mut Vec<Output>) {
        if self.secret.is_none() {
            return;
        }
        self.check_first_use(out);
        if !self.mute.is_mute() {
            return;
        }
        if !self.mute.told {
            self.note_mute(out);
        }
        let Some(newest) = self.tree.final_header() else {
            return;
        };
        if let Some(MuteUntil { since, until }) = self.mute.resolve(&newest) {
            let known = record(self.chain, LogEntry::Mute { since, until });
            self.record_of_key(&known, out);
            self.note_mute(out);
        }
        if self.mute.has_come_to(Some(&*newest)) {
            self.mute.over = true;
            self.mute.why = None;
            self.set_voice();
            out.push(Output::Note(Note::Speaks(newest.epoch)));
        }
    }

    /// A key that was begun as new is not new when it has a seat in an instance that was open then.
    fn check_first_use(&mut self, out: &mut Vec<Output>) {
        let Some(at) = self.mute.first_use else {
            return;
        };
        let is_older = self.instance.begun <= at.saturating_add(MARGIN_MS);
        if self.instance.voter.is_some() && is_older {
            self.mute.first_use = None;
            let epoch = self.instance.epoch();
            let why = format!(
                "the vote log was begun with --first-use, and the key has a seat of epoch {epoch}, \
                 which began before"
            );
            self.lose(at, why, out);
        }
    }
}

#[cfg(test)]
mod tests;
