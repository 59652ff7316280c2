//! Which leaders are known to be silent: their views are given up when they are entered.
//!
//! A leader is silent when its last turn timed out here, no vote or proposal of it was heard since
//! that turn began, and a quorum of the weight was heard since: then it is its connection that is
//! broken, not the own one. Its next vote or proposal ends that. This is a local judgement: a quorum that judges alike
//! saves the timeout, and a lone one only withholds its own notarize.

use skerry_types::ids::{MemberIndex, TimeMs, Weight};

/// Who was heard when, and who missed a turn.
#[derive(Debug)]
pub(crate) struct Silence {
    members: Vec<Heard>,
    me: MemberIndex,
    quorum: u128,
}

#[derive(Clone, Copy, Debug)]
struct Heard {
    weight: Weight,
    at: Option<TimeMs>,
    /// When its last turn began, if it timed out and nothing was heard since.
    missed: Option<TimeMs>,
}

impl Silence {
    /// Of a committee of these weights.
    pub(crate) fn new(
        weights: impl IntoIterator<Item = Weight>,
        me: MemberIndex,
        quorum: u128,
    ) -> Self {
        let heard = |weight| Heard {
            weight,
            at: None,
            missed: None,
        };
        Self {
            members: weights.into_iter().map(heard).collect(),
            me,
            quorum,
        }
    }

    /// A vote or a proposal of this member came over its own stream.
    pub(crate) fn on_vote(&mut self, from: MemberIndex, now: TimeMs) {
        if let Some(member) = self.members.get_mut(from.index()) {
            member.at = Some(now);
            member.missed = None;
        }
    }

    /// The turn of `leader` that began at `entered` timed out.
    pub(crate) fn on_timeout(&mut self, leader: MemberIndex, entered: TimeMs) {
        let Some(member) = self.members.get_mut(leader.index()) else {
            return;
        };
        if leader != self.me && member.at.is_none_or(|at| at <= entered) {
            member.missed = Some(entered);
        }
    }

    /// Whether the turn of `leader` is not worth waiting for.
    pub(crate) fn is_known(&self, leader: MemberIndex) -> bool {
        let missed = self.members.get(leader.index()).and_then(|it| it.missed);
        let Some(since) = missed else { return false };
        let heard: u128 = self
            .members
            .iter()
            .enumerate()
            .filter(|(index, member)| {
                *index == self.me.index() || member.at.is_some_and(|at| at > since)
            })
            .map(|(_, member)| u128::from(member.weight.get()))
            .sum();
        heard >= self.quorum
    }
}
