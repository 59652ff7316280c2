//! Weight by statement, for one view.
//!
//! One vote per member and kind is kept; a second one is only compared. Nothing is verified before
//! a quorum of weight is there; then all votes of the statement are checked as one aggregate, and
//! one by one only if that fails.

use skerry_types::crypto::bls::Signature;
use skerry_types::evidence::contradict;
use skerry_types::ids::{Digest, MemberIndex, Weight};
use skerry_types::vote::{Statement, Vote};
use std::collections::{BTreeMap, BTreeSet};

/// The votes of one view.
#[derive(Clone, Debug, Default)]
pub(crate) struct Votes {
    notarize: Tally,
    nullify: Tally,
    finalize: Tally,
    accused: BTreeSet<MemberIndex>,
}

/// The votes of one kind in one view.
#[derive(Clone, Debug, Default)]
struct Tally {
    votes: BTreeMap<MemberIndex, Ballot>,
    weights: BTreeMap<Option<Digest>, u128>,
    checking: BTreeSet<Option<Digest>>,
}

#[derive(Clone, Debug)]
struct Ballot {
    vote: Vote,
    weight: u128,
    bad: bool,
}

impl Votes {
    fn tally_mut(&mut self, statement: &Statement) -> &mut Tally {
        match statement {
            Statement::Notarize { .. } => &mut self.notarize,
            Statement::Nullify { .. } => &mut self.nullify,
            Statement::Finalize { .. } => &mut self.finalize,
        }
    }

    /// Counts a vote, unless its signer voted in this kind before. Returns an earlier vote of the
    /// signer that contradicts it.
    pub(crate) fn add(&mut self, vote: &Vote, weight: Weight) -> Option<Vote> {
        let contradicted = self.contradicted(vote);
        let weight = u128::from(weight.get());
        let tally = self.tally_mut(&vote.statement);
        if !tally.votes.contains_key(&vote.signer) {
            let sum = tally.weights.entry(vote.statement.digest()).or_default();
            *sum = sum.saturating_add(weight);
            let ballot = Ballot {
                vote: vote.clone(),
                weight,
                bad: false,
            };
            tally.votes.insert(vote.signer, ballot);
        }
        contradicted
    }

    fn contradicted(&self, vote: &Vote) -> Option<Vote> {
        [&self.notarize, &self.nullify, &self.finalize]
            .into_iter()
            .filter_map(|tally| tally.votes.get(&vote.signer))
            .find(|ballot| !ballot.bad && contradict(&ballot.vote.statement, &vote.statement))
            .map(|ballot| ballot.vote.clone())
    }

    /// Whether `member` is accused for the first time in this view.
    pub(crate) fn accuse(&mut self, member: MemberIndex) -> bool {
        self.accused.insert(member)
    }

    /// The votes for `statement`, once they weigh a quorum; from then on they count as being
    /// checked, until [`Self::mark_bad`].
    pub(crate) fn take_quorum(
        &mut self,
        statement: &Statement,
        quorum: u128,
    ) -> Option<Vec<(MemberIndex, Signature)>> {
        let digest = statement.digest();
        let tally = self.tally_mut(statement);
        let weight = tally.weights.get(&digest).copied().unwrap_or(0);
        if weight < quorum || !tally.checking.insert(digest) {
            return None;
        }
        let good = |ballot: &&Ballot| !ballot.bad && ballot.vote.statement == *statement;
        let pair = |ballot: &Ballot| (ballot.vote.signer, ballot.vote.signature);
        Some(tally.votes.values().filter(good).map(pair).collect())
    }

    /// Takes out votes whose signatures are wrong; what is left may be a quorum again. An empty
    /// list (an aggregate that is wrong although every part is good) ends the matter: it cannot
    /// happen with a sound scheme, and repeating the check would not help.
    pub(crate) fn mark_bad(&mut self, statement: &Statement, members: &[MemberIndex]) {
        let tally = self.tally_mut(statement);
        for member in members {
            let Some(ballot) = tally.votes.get_mut(member) else {
                continue;
            };
            if ballot.bad || ballot.vote.statement != *statement {
                continue;
            }
            ballot.bad = true;
            if let Some(sum) = tally.weights.get_mut(&statement.digest()) {
                *sum = sum.saturating_sub(ballot.weight);
            }
        }
        if !members.is_empty() {
            tally.checking.remove(&statement.digest());
        }
    }

    /// Whether `member` has given the view up, as it says itself: the vote came over its own stream,
    /// and its signature may not have been checked.
    pub(crate) fn has_nullified(&self, member: MemberIndex) -> bool {
        let ballot = self.nullify.votes.get(&member);
        ballot.is_some_and(|ballot| !ballot.bad)
    }

    /// Weight of all members that voted, whatever they said.
    pub(crate) fn weight_seen(&self) -> u128 {
        let ballots = [&self.notarize, &self.nullify, &self.finalize]
            .into_iter()
            .flat_map(|tally| tally.votes.iter());
        let seen: BTreeMap<_, _> = ballots
            .map(|(member, ballot)| (*member, ballot.weight))
            .collect();
        seen.values()
            .fold(0, |sum, weight| sum.saturating_add(*weight))
    }

    /// Votes held; at most three per member.
    pub(crate) fn len(&self) -> usize {
        let tallies = [&self.notarize, &self.nullify, &self.finalize];
        tallies.iter().map(|tally| tally.votes.len()).sum()
    }
}
