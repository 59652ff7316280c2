//! Rules about evidence and bonds, judged from what is final: nobody honest is ever punished, whoever
//! is loses the fixed part of its bond once for each chain and epoch that it contradicted itself in,
//! and the pool holds what all bonds are.

use super::Broken;
use crate::counts::Counts;
use crate::plan::Plan;
use skerry_execution::genesis::genesis_changes;
use skerry_execution::views::{self, ValidatorRecord};
use skerry_storage::StateTree;
use skerry_types::amount::Amount;
use skerry_types::beacon::SystemOperation;
use skerry_types::block::Body;
use skerry_types::evidence::Evidence;
use skerry_types::ids::{ChainRef, Denom, Epoch, Height, ValidatorId};
use std::collections::{BTreeMap, BTreeSet};

/// An offence: who, on which chain, in which epoch.
type Offence = (ValidatorId, ChainRef, Epoch);

/// What final beacon blocks hold against validators.
#[derive(Debug)]
pub(super) struct Offences {
    byzantine: BTreeSet<u32>,
    /// The beacon's state at the start.
    start: StateTree,
    slash_bps: u16,
    /// Evidence in final blocks whose states are not committed yet.
    included: BTreeMap<Height, Vec<Evidence>>,
    punished: BTreeSet<Offence>,
}

impl Offences {
    /// Of a plan whose run begins.
    pub(super) fn new(plan: &Plan) -> Self {
        let number = |node: &usize| u32::try_from(*node).unwrap_or(u32::MAX);
        let made = genesis_changes(&plan.genesis, ChainRef::Beacon);
        Self {
            byzantine: plan.malice.keys().map(number).collect(),
            start: StateTree::empty().apply(&made.changes),
            slash_bps: plan.genesis.parameters.slash_bps,
            included: BTreeMap::new(),
            punished: BTreeSet::new(),
        }
    }

    /// A body of the beacon is final.
    pub(super) fn on_body(&mut self, height: Height, body: &Body) {
        for operation in &body.system {
            if let SystemOperation::Evidence(evidence) = operation {
                let included = self.included.entry(height).or_default();
                included.push((**evidence).clone());
            }
        }
    }

    /// A state of the beacon is committed for the first time; `before` is the one before it.
    pub(super) fn on_state(
        &mut self,
        height: Height,
        (before, after): (Option<&StateTree>, &StateTree),
        counts: &mut Counts,
    ) -> Broken {
        let before = before.unwrap_or(&self.start).clone();
        let mut new: BTreeMap<ValidatorId, u32> = BTreeMap::new();
        for evidence in self.included.remove(&height).unwrap_or_default() {
            let (chain, epoch) = (evidence.chain, evidence.epoch);
            let Some(committee) = views::committee(&before, chain, epoch) else {
                return Err(format!(
                    "beacon {height} holds evidence of epoch {epoch} of {chain}, which is not kept"
                ));
            };
            for index in evidence.guilty(committee.members.len()) {
                let member = committee.member(index);
                let validator = member.ok_or("no such member")?.validator;
                if self.punished.insert((validator, chain, epoch)) {
                    let count = new.entry(validator).or_default();
                    *count = count.saturating_add(1);
                }
            }
        }
        // Who has taken its bond home since is in the first list only.
        let lists = [views::validators(&before), views::validators(after)];
        let validators = lists.iter().flatten().map(|(validator, _)| *validator);
        for validator in validators.collect::<BTreeSet<_>>() {
            let offences = new.get(&validator).copied().unwrap_or(0);
            let then = views::validator(&before, validator);
            let now = views::validator(after, validator)
                .ok_or_else(|| format!("{validator} is gone from beacon {height}"))?;
            self.check(height, (validator, offences), (then, now), counts)?;
        }
        check_pool(height, after)
    }

    fn check(
        &self,
        height: Height,
        (validator, offences): (ValidatorId, u32),
        (then, now): (Option<ValidatorRecord>, ValidatorRecord),
        counts: &mut Counts,
    ) -> Broken {
        let lost = then.as_ref().map_or(0, |record| record.slashed.get());
        let lost = now.slashed.get().saturating_sub(lost);
        if lost > 0 && !self.byzantine.contains(&validator.get()) {
            return Err(format!(
                "beacon {height} punishes {validator}, which is honest"
            ));
        }
        let Some(then) = then else {
            return Ok(());
        };
        let (mut bond, mut expected) = (then.bond, 0_u128);
        for _ in 0..offences {
            counts.note("offences punished");
            let slash = bond.part_ceil(self.slash_bps);
            bond = bond.checked_sub(slash).unwrap_or_default();
            expected = expected.saturating_add(slash.get());
        }
        if lost != expected || offences > 0 && now.jailed.is_none() {
            return Err(format!(
                "beacon {height}: {validator} loses {lost} and is jailed {:?} for {offences} \
                 offences, {expected} expected",
                now.jailed
            ));
        }
        Ok(())
    }
}

/// The pool holds all bonds and nothing else.
fn check_pool(height: Height, beacon: &StateTree) -> Broken {
    let bonds = views::validators(beacon).into_iter().map(|(_, it)| it.bond);
    let bonds: u128 = bonds.map(Amount::get).sum();
    let held = views::balance(beacon, &views::bond_pool(), &Denom::SKER).get();
    if bonds == held {
        return Ok(());
    }
    Err(format!(
        "beacon {height}: all bonds are {bonds}, the pool holds {held}"
    ))
}
