//! What is asked of peers: one at a time, first whoever should have it, then everyone in turn.
//!
//! What is needed is found anew in every step; what is no longer needed is forgotten. An answer may
//! be empty in all honesty (a view's notarization is no answer to who needs its nullification), so
//! nobody is blamed for it.

use crate::config::FETCHES_MAX;
use skerry_types::consensus::FetchRequest;
use skerry_types::ids::{MemberIndex, TimeMs};
use std::collections::{BTreeMap, BTreeSet};

/// Longest wait for an answer, in Δ.
const PATIENCE_DELTAS_MAX: u64 = 8;

/// The questions in flight.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fetches {
    open: BTreeMap<FetchRequest, Fetch>,
    needed: BTreeSet<FetchRequest>,
}

#[derive(Clone, Copy, Debug)]
struct Fetch {
    hint: MemberIndex,
    attempts: u16,
    next_at: TimeMs,
    /// An answer came and is being looked at.
    paused: bool,
}

impl Fetches {
    /// Notes that an answer is needed; `hint` should have it.
    pub(crate) fn need(&mut self, request: FetchRequest, hint: MemberIndex, now: TimeMs) {
        if self.open.len() < FETCHES_MAX || self.open.contains_key(&request) {
            let fresh = Fetch {
                hint,
                attempts: 0,
                next_at: now,
                paused: false,
            };
            self.open.entry(request.clone()).or_insert(fresh).paused = false;
            self.needed.insert(request);
        }
    }

    /// Keeps a question in mind while an answer to it is looked at: if that turns out to be
    /// worthless, the next member is asked, not the same one again.
    pub(crate) fn pause(&mut self, request: FetchRequest) {
        if let Some(fetch) = self.open.get_mut(&request) {
            fetch.paused = true;
            self.needed.insert(request);
        }
    }

    /// Whether this block was asked for.
    pub(crate) fn wants(&self, request: &FetchRequest) -> bool {
        self.open.contains_key(request)
    }

    /// Ends a step: forgets what was not needed in it, returns what is to be asked now.
    pub(crate) fn take_due(
        &mut self,
        now: TimeMs,
        delta_ms: u64,
        me: MemberIndex,
        members: usize,
    ) -> Vec<(MemberIndex, FetchRequest)> {
        let needed = std::mem::take(&mut self.needed);
        self.open.retain(|request, _| needed.contains(request));
        let mut due = Vec::new();
        for (request, fetch) in &mut self.open {
            if fetch.paused || fetch.next_at > now {
                continue;
            }
            if let Some(to) = fetch.target(me, members) {
                due.push((to, request.clone()));
            }
            fetch.attempts = fetch.attempts.saturating_add(1);
            let patience = u64::from(fetch.attempts).min(PATIENCE_DELTAS_MAX);
            fetch.next_at = now.saturating_add(delta_ms.saturating_mul(patience).max(1));
        }
        debug_assert!(self.open.len() <= FETCHES_MAX, "fetches are bounded");
        due
    }

    /// When the next question is due.
    pub(crate) fn deadline(&self) -> Option<TimeMs> {
        self.open
            .values()
            .filter(|fetch| !fetch.paused)
            .map(|fetch| fetch.next_at)
            .min()
    }

    /// Questions in flight.
    pub(crate) fn len(&self) -> usize {
        self.open.len()
    }
}

impl Fetch {
    /// The hint first, then the others in turn, never oneself.
    fn target(&self, me: MemberIndex, members: usize) -> Option<MemberIndex> {
        if self.attempts == 0 && self.hint != me {
            return Some(self.hint);
        }
        let others = members.checked_sub(1)?;
        let turn = usize::from(self.attempts).checked_rem(others)?;
        let index = me
            .index()
            .saturating_add(1)
            .saturating_add(turn)
            .checked_rem(members)?;
        u16::try_from(index).ok().map(MemberIndex::new)
    }
}
