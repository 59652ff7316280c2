//! When the own key signs nothing on a chain, because its history is not whole: the vote log was
//! lost, or peers have shown a vote that is not in it.
//!
//! The key stays mute until the first final block of the next epoch but one after the loss. Which
//! epoch that is must not rest on what this node knows, since it may be far behind, nor on what one
//! peer says: it counts from the first final block whose header is later than the loss by more than
//! clocks differ. Whatever the key had signed by then was of that block's epoch or an earlier one.
//! Where the clock was ahead when the loss was noted, no header would be later for as long as it was
//! ahead. But the loss lies in the past whenever the node looks at it. So once the clock stands
//! before the noted time, and final blocks keep up with it for a minute, that minute's beginning
//! counts as the loss: blocks that are caught up with come faster than their times pass, so a clock
//! that is behind does not pass for right.
//!
//! Each chain judges by its own blocks. What is found is kept in the vote log, so a restart changes
//! nothing, and the same code runs in the simulator.

use super::{ChainNode, Note, Output};
use crate::votes::key::{KeyRecords, MuteUntil, record, time_of_loss};
use skerry_consensus::input::Input as Core;
use skerry_consensus::log::{LogEntry, VoteRecord};
use skerry_consensus::safety::Voice;
use skerry_types::block::Header;
use skerry_types::ids::{ChainRef, Epoch, LogPosition, TimeMs};
use skerry_types::vote::Statement;

/// How much later than the loss a header must be: more than the clocks of honest members differ,
/// and the half second that a header may be ahead of them.
const MARGIN_MS: u64 = 2_000;
/// How long final blocks must keep up with the clock, where the loss seems to lie in the future.
const STEADY_MS: u64 = 60_000;
/// How much older than the clock the newest final block may be then: some leaders may be dead.
const STEADY_LAG_MS: u64 = 10_000;
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
    /// Since when final blocks have kept up with a clock that stands before the loss.
    steady_since: Option<TimeMs>,
    /// Whether people were told that the clock was not right.
    told_of_clock: bool,
    /// A vote of the key in the stored blocks that the log does not have, until it is taken up.
    suspect: Option<(Epoch, Statement)>,
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

    /// The stored blocks show a vote of the key that the log does not have.
    pub(super) fn suspect(&mut self, found: Option<(Epoch, Statement)>) {
        self.suspect = found;
    }

    /// Whether the key signs nothing now.
    pub(super) fn is_mute(&self) -> bool {
        self.lost_at.is_some() && !self.over
    }

    pub(super) fn voice(&self) -> Voice {
        if self.is_mute() || self.suspect.is_some() {
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
            (self.steady_since, self.told_of_clock) = (None, false);
        }
        is_news
    }

    /// Whether a vote of the key in an epoch, which is not in the log, changes anything.
    fn is_covered(&mut self, epoch: Epoch) -> bool {
        self.seen = self.seen.max(epoch);
        let enough = epoch.saturating_add(EPOCHS);
        self.is_mute() && self.until().is_none_or(|until| until >= enough)
    }

    /// Whether the newest final block is later than a loss that the clock has not come to: the clock
    /// was ahead then, and is right now.
    fn is_after_clock(&mut self, newest: &Header, since: TimeMs, now: TimeMs) -> bool {
        let keeps_up = newest.time.saturating_add(STEADY_LAG_MS) >= now
            && newest.time <= now.saturating_add(MARGIN_MS);
        if now >= since || !keeps_up {
            self.steady_since = None;
            return false;
        }
        let from = *self.steady_since.get_or_insert(now);
        now >= from.saturating_add(STEADY_MS) && Self::is_after(newest, from)
    }

    /// Looks at the newest final block. What is to be recorded, once it is known what the loss means.
    fn resolve(&mut self, newest: &Header, now: TimeMs) -> Option<MuteUntil> {
        let since = self.lost_at.filter(|_| self.is_mute())?;
        if self.until().is_some() {
            return None;
        }
        if !Self::is_after(newest, since) && !self.is_after_clock(newest, since, now) {
            return None;
        }
        let until = newest.epoch.max(self.seen).saturating_add(EPOCHS);
        let known = MuteUntil { since, until };
        self.known = Some(known);
        Some(known)
    }

    /// What is wrong with the clock, or seems to be, and what to do about it.
    fn clock_advice(&self, newest: Option<&Header>, now: TimeMs) -> Option<String> {
        let since = self.lost_at.filter(|_| self.until().is_none())?;
        if now < since {
            let ahead = since.above(now) / 1_000;
            return Some(format!(
                "the loss was noted when the clock of this machine was {ahead} s ahead of what it is \
                 now; keep it right (NTP): the wait counts from when final blocks have kept up with it \
                 for {} s",
                STEADY_MS / 1_000
            ));
        }
        let older = since.above(newest?.time) / 1_000;
        let is_late = now.above(since) > STEADY_MS && older > 0;
        is_late.then(|| {
            format!(
                "the newest final block here is {older} s older than the loss: while the node catches \
                 up that is as it should be; if it has, the clock of this machine is ahead: set it \
                 right (NTP) and start the node again"
            )
        })
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
        is_mute.then(|| {
            let reason = self.mute.reason(self.chain, epochs_end);
            let newest = self.tree.final_header();
            match self.mute.clock_advice(newest.as_deref(), self.now) {
                Some(advice) if epochs_end => format!("{reason}; {advice}"),
                _ => reason,
            }
        })
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
        self.lose(time_of_loss(self.now, self.mute.lost_at), why, out);
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
        if let Some((epoch, statement)) = self.mute.suspect.take() {
            self.on_signed_elsewhere(epoch, &format!("{statement:?}"), out);
        }
        if !self.mute.is_mute() {
            return;
        }
        if !self.mute.told {
            self.note_mute(out);
        }
        let Some(newest) = self.tree.final_header() else {
            return;
        };
        if let Some(MuteUntil { since, until }) = self.mute.resolve(&newest, self.now) {
            let known = record(self.chain, LogEntry::Mute { since, until });
            self.record_of_key(&known, out);
            self.note_mute(out);
        }
        let advice = self.mute.clock_advice(Some(&*newest), self.now);
        if advice.is_some() && !self.mute.told_of_clock {
            self.mute.told_of_clock = true;
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
