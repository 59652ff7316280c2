//! When a view has lasted too long.
//!
//! A leader has 2 Δ for its proposal, of which it may wait for work (the idle interval, at most Δ);
//! no idle view is lost while idle interval + 2 δ ≤ 2 Δ. Certification has 3 Δ,
//! which stay armed when the proposal or even the notarization is there. After a nullify the votes
//! of the view are repeated every 3 Δ. All grow by a quarter for each view that timed out
//! here, after the third, up to a minute; only a finalization resets that. Views that were given up
//! for another reason, as when a proposal is wrong, say nothing of the network and cost nothing.

use crate::config::TIMEOUT_MS_MAX;
use skerry_types::ids::TimeMs;

/// Timeouts that cost nothing: a leader that is down comes round again and again.
const PATIENCE: u64 = 3;

/// The lengths.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// Δ.
    pub(crate) delta_ms: u64,
    /// Views that timed out since the newest finalization.
    pub(crate) timeouts: u64,
}

impl Pace {
    fn grown(self, base_ms: u64) -> u64 {
        let mut length = base_ms;
        for _ in 0..self.timeouts.saturating_sub(PATIENCE) {
            if length >= TIMEOUT_MS_MAX {
                break;
            }
            // At least one more, so that small lengths grow too.
            length = length.saturating_add((length / 4).max(1));
        }
        length.clamp(1, TIMEOUT_MS_MAX)
    }

    /// How long the leader of a view has.
    pub(crate) fn leader_ms(self) -> u64 {
        self.grown(self.delta_ms.saturating_mul(2))
    }

    /// How long a view has until a block of it is certified.
    pub(crate) fn certify_ms(self) -> u64 {
        self.grown(self.delta_ms.saturating_mul(3))
    }

    /// How often the votes of a nullified view are repeated.
    pub(crate) fn retry_ms(self) -> u64 {
        self.grown(self.delta_ms.saturating_mul(3))
    }
}

/// The timers of the current view.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Timers {
    leader: Option<TimeMs>,
    certify: Option<TimeMs>,
    retry: Option<TimeMs>,
}

impl Timers {
    /// Those of a view that is entered now.
    pub(crate) fn of_view(pace: Pace, now: TimeMs) -> Self {
        Self {
            leader: Some(now.saturating_add(pace.leader_ms())),
            certify: Some(now.saturating_add(pace.certify_ms())),
            retry: None,
        }
    }

    /// The proposal is here.
    pub(crate) fn on_proposal(&mut self) {
        self.leader = None;
    }

    /// The view is given up: only the repetition runs on.
    pub(crate) fn on_give_up(&mut self, retry_at: TimeMs) {
        *self = Self {
            leader: None,
            certify: None,
            retry: self.retry.or(Some(retry_at)),
        };
    }

    /// Whether the view is given up.
    pub(crate) fn is_given_up(&self) -> bool {
        self.retry.is_some()
    }

    /// Whether nothing of the leader has come.
    pub(crate) fn awaits_proposal(&self) -> bool {
        self.leader.is_some()
    }

    /// Whether the view has lasted too long.
    pub(crate) fn is_expired(&self, now: TimeMs) -> bool {
        [self.leader, self.certify]
            .into_iter()
            .flatten()
            .any(|at| at <= now)
    }

    /// Whether a repetition is due; arms the next one.
    pub(crate) fn take_retry(&mut self, now: TimeMs, next: TimeMs) -> bool {
        let due = self.retry.is_some_and(|at| at <= now);
        if due {
            self.retry = Some(next);
        }
        due
    }

    /// The earliest.
    pub(crate) fn deadline(&self) -> Option<TimeMs> {
        [self.leader, self.certify, self.retry]
            .into_iter()
            .flatten()
            .min()
    }
}
