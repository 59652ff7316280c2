//! Who gets a seat: systematic sampling, which follows stake as exactly as whole seats can.
//!
//! All effective stakes lie end to end in order of id, T in all; the i-th of m seats goes to whoever
//! lies at u + i·T/m, with u drawn from the seed. An epoch re-deals up to a quarter of a shard's
//! seats: first those whose holder has no stake any more, then those held longest.

use super::state::{Seat, Seating};
use skerry_types::crypto::hash::{Purpose, hash_parts};
use skerry_types::ids::{ChainRef, Digest, Epoch, ValidatorId, Weight};
use std::collections::BTreeMap;

/// The part of a shard's seats that an epoch re-deals: one of four.
const REDEALT_DIVISOR: usize = 4;

/// Most seats of one validator in a shard of `seats`, while there are others: less than a third.
pub const fn seats_max(seats: usize) -> usize {
    let third = seats.saturating_sub(1) / 3;
    if third == 0 { 1 } else { third }
}

/// A number below `total`, from a seed; the bias is below 2⁻⁵⁰ for any sum of stakes.
fn draw(seed: &Digest, chain: ChainRef, total: u128) -> u128 {
    let drawn = hash_parts(
        Purpose::SEED,
        &[seed.as_bytes(), &chain.to_bytes(), b"seats"],
    );
    let mut bytes = [0; 16];
    for (to, from) in bytes.iter_mut().zip(drawn.as_bytes()) {
        *to = *from;
    }
    u128::from_le_bytes(bytes).checked_rem(total).unwrap_or(0)
}

/// Deals the seats of a shard anew, from those that its committee of the epoch before holds.
pub fn deal(
    chain: ChainRef,
    epoch: Epoch,
    seed: Digest,
    before: &Seating,
    stakes: &[(ValidatorId, Weight)],
) -> Seating {
    let mut seats = before.seats.clone();
    let total: u128 = stakes
        .iter()
        .map(|(_, stake)| u128::from(stake.get()))
        .sum();
    if total > 0 && !seats.is_empty() {
        let count = (seats.len() / REDEALT_DIVISOR).max(1);
        let has_stake = |seat: &Seat| {
            stakes
                .binary_search_by_key(&seat.validator, |(validator, _)| *validator)
                .is_ok()
        };
        let mut order: Vec<usize> = (0..seats.len()).collect();
        order.sort_by_key(|index| {
            let seat = seats.get(*index);
            seat.map(|seat| (has_stake(seat), seat.since, *index))
        });
        order.truncate(count);
        // A seat counts for its former holder, too, who may have to keep it.
        let mut held: BTreeMap<ValidatorId, usize> = BTreeMap::new();
        for seat in &seats {
            let count = held.entry(seat.validator).or_default();
            *count = count.saturating_add(1);
        }
        let most = seats_max(seats.len());
        let start = draw(&seed, chain, total);
        for (turn, index) in (0_u32..).zip(order) {
            let count = u128::try_from(count).unwrap_or(1);
            // (u + i·T) / m, rounded down, lies below T.
            let position = total
                .saturating_mul(u128::from(turn))
                .saturating_add(start)
                .checked_div(count)
                .unwrap_or(0);
            let Some(seat) = seats.get_mut(index) else {
                continue;
            };
            let former = seat.validator;
            let fits = |validator: &ValidatorId| {
                let seats = held.get(validator).copied().unwrap_or(0);
                seats < most || seats == most && *validator == former
            };
            // When nobody may have one more, nobody gets it; a lost seat goes to who has fewest.
            let stays = || Some(former).filter(|_| has_stake(seat));
            let fewest = || {
                let mut by_seats: Vec<_> =
                    stakes.iter().map(|(it, _)| (held.get(it), *it)).collect();
                by_seats.sort_unstable();
                by_seats.first().map(|(_, validator)| *validator)
            };
            let found = holder(stakes, position, fits).or_else(stays);
            let Some(validator) = found.or_else(fewest) else {
                continue;
            };
            if validator != former {
                let count = held.entry(validator).or_default();
                *count = count.saturating_add(1);
            }
            *seat = Seat {
                validator,
                since: epoch,
            };
        }
    }
    Seating {
        epoch,
        seed,
        seats,
        ..Seating::default()
    }
}

/// Whose stake lies at `position`, or the next one that may have another seat.
fn holder(
    stakes: &[(ValidatorId, Weight)],
    position: u128,
    fits: impl Fn(&ValidatorId) -> bool,
) -> Option<ValidatorId> {
    let mut end = 0_u128;
    let first = stakes.iter().position(|(_, stake)| {
        end = end.saturating_add(u128::from(stake.get()));
        position < end
    })?;
    let (before, from) = stakes.split_at_checked(first)?;
    let mut turn = from.iter().chain(before).map(|(validator, _)| *validator);
    turn.find(fits)
}

/// The beacon's members: whoever has stake.
pub fn deal_beacon(
    epoch: Epoch,
    seed: Digest,
    before: &Seating,
    stakes: &[(ValidatorId, Weight)],
) -> Seating {
    if stakes.is_empty() {
        return Seating {
            epoch,
            seed,
            ..before.clone()
        };
    }
    let since = |validator: &ValidatorId| {
        let held = before.seats.iter().find(|it| it.validator == *validator);
        held.map_or(epoch, |seat| seat.since)
    };
    let seat = |(validator, _): &(ValidatorId, Weight)| Seat {
        validator: *validator,
        since: since(validator),
    };
    Seating {
        epoch,
        seed,
        seats: stakes.iter().map(seat).collect(),
        weights: stakes.to_vec(),
        ..Seating::default()
    }
}

/// What becomes of a deal: a newcomer that is not ready leaves its seat to the former holder, or,
/// on the beacon, where there is none, is left out.
pub fn settle(
    dealt: &Seating,
    held: &Seating,
    is_ready: &mut dyn FnMut(ValidatorId) -> bool,
) -> Seating {
    let mut takes = |validator: ValidatorId| held.holds(validator) || is_ready(validator);
    let mut settled = dealt.clone();
    if dealt.weights.is_empty() {
        for (seat, former) in settled.seats.iter_mut().zip(&held.seats) {
            if !takes(seat.validator) {
                *seat = *former;
            }
        }
        return settled;
    }
    settled.seats.retain(|seat| takes(seat.validator));
    let seats = &settled.seats;
    let sits = |validator: &ValidatorId| seats.iter().any(|it| it.validator == *validator);
    settled.weights.retain(|(validator, _)| sits(validator));
    if settled.seats.is_empty() {
        settled.seats.clone_from(&held.seats);
        settled.weights.clone_from(&held.weights);
    }
    settled
}

/// The newcomers of a deal: who did not hold a seat in the epoch before.
pub fn newcomers(dealt: &Seating, held: &Seating) -> Vec<ValidatorId> {
    let seats = dealt.seats.iter().map(|seat| seat.validator);
    let mut found: Vec<ValidatorId> = seats.filter(|it| !held.holds(*it)).collect();
    found.sort_unstable();
    found.dedup();
    found
}
