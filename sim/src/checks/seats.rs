//! Rules about seats: who says that it is ready, who gets a seat that was dealt to somebody else, and
//! how many one validator may hold.

use super::Broken;
use crate::counts::Counts;
use skerry_execution::modules::epochs::deal::seats_max;
use skerry_execution::views::{self, Seating, Stage};
use skerry_storage::StateTree;
use skerry_types::committee::Committee;
use skerry_types::ids::{ChainRef, Height, ValidatorId};
use std::collections::{BTreeMap, VecDeque};

/// How long news of the beacon take within a node, at most, in virtual microseconds.
const NEWS_WITHIN: u64 = 100_000;

/// What each node knows to exist of each shard, by the states of the beacon that it has committed.
#[derive(Debug, Default)]
pub(super) struct Linked {
    known: BTreeMap<(usize, ChainRef), VecDeque<(u64, Height)>>,
}

impl Linked {
    /// A node commits a state of the beacon.
    pub(super) fn on_beacon_state(
        &mut self,
        (node, now): (usize, u64),
        chains: &[ChainRef],
        state: &StateTree,
    ) {
        for chain in chains {
            let Some(record) = views::shard_record(state, *chain) else {
                continue;
            };
            let known = self.known.entry((node, *chain)).or_default();
            known.push_back((now, record.header.height));
            let is_old = |at: &(u64, Height)| at.0.saturating_add(NEWS_WITHIN) <= now;
            while known.get(1).is_some_and(is_old) {
                known.pop_front();
            }
        }
    }

    /// A node starts again; its chains learn of the beacon anew.
    pub(super) fn on_restart(&mut self, node: usize) {
        self.known.retain(|(other, _), _| *other != node);
    }

    /// An honest node that says that it is ready holds what it knows to exist of the chain.
    pub(super) fn check(&self, (node, now): (usize, u64), chain: ChainRef, held: Height) -> Broken {
        let known = self.known.get(&(node, chain)).and_then(|it| it.front());
        match known {
            Some((at, height)) if at.saturating_add(NEWS_WITHIN) <= now && held < *height => {
                Err(format!(
                    "node {node} says that it is ready for {chain} and holds {held} of {height} \
                     blocks that it knows of"
                ))
            }
            _ => Ok(()),
        }
    }
}

/// A committee serves, by the beacon state `after` that opened its epoch; `before` is the one before
/// it. Each seat of a shard went to whom it was dealt to or, where that one is new and was not ready, to
/// its former holder; and nobody got more than the bound.
pub(super) fn check_seats(
    (before, after): (&StateTree, &StateTree),
    committee: &Committee,
    counts: &mut Counts,
) -> Broken {
    let (chain, epoch) = (committee.chain, committee.epoch);
    let of_before = |stage| views::seating(before, chain, stage);
    let (Some(dealt), Some(held)) = (of_before(Stage::Dealt), of_before(Stage::Held)) else {
        return Ok(());
    };
    let Some(taken) = views::seating(after, chain, Stage::Held) else {
        return Ok(());
    };
    if chain.is_beacon() || dealt.epoch != epoch || taken.epoch != epoch {
        return Ok(());
    }
    let seats = taken.seats.iter().zip(&dealt.seats).zip(&held.seats);
    for ((taken, dealt), former) in seats {
        if taken.validator == dealt.validator {
            continue;
        }
        counts.note("seats left to former holders");
        if taken.validator != former.validator || held.holds(dealt.validator) {
            return Err(format!(
                "a seat of {chain} epoch {epoch} was held by {} and dealt to {}, and {} sits in it",
                former.validator, dealt.validator, taken.validator
            ));
        }
    }
    check_bound((&held, &taken), after, chain, counts)
}

fn seats_of(seating: &Seating) -> BTreeMap<ValidatorId, usize> {
    let mut seats: BTreeMap<ValidatorId, usize> = BTreeMap::new();
    for seat in &seating.seats {
        let count = seats.entry(seat.validator).or_default();
        *count = count.saturating_add(1);
    }
    seats
}

fn check_bound(
    (held, taken): (&Seating, &Seating),
    beacon: &StateTree,
    chain: ChainRef,
    counts: &mut Counts,
) -> Broken {
    let all = taken.seats.len();
    let most = seats_max(all);
    let staked = views::seating(beacon, ChainRef::Beacon, Stage::Held);
    let staked = staked.map_or(0, |seating| seating.weights.len());
    // Seats that are dealt anew count twice while it is open who takes them.
    let needed = all.saturating_add(all / 4).saturating_add(1);
    if staked.saturating_mul(most) < needed {
        return Ok(());
    }
    let before = seats_of(held);
    for (validator, seats) in seats_of(taken) {
        if seats == most {
            counts.note("validators at the bound of seats");
        }
        if seats > most && Some(&seats) > before.get(&validator) {
            return Err(format!(
                "{validator} holds {seats} of {all} seats of {chain} in epoch {}, at most {most} are \
                 allowed",
                taken.epoch
            ));
        }
    }
    Ok(())
}
