//! Whether the value of all chains together is what was issued, and whether each destination has
//! accepted just what its source has sent.
//!
//! Copies end at different heights, so a destination may hold batches that no copy of the source
//! reaches any more. The cut steps such destinations back to a block that accepted only what the
//! sources have sent; on it balances + fees + claims + held + waiting + in flight + burnt = issued, for
//! every denom.

use super::replay::{BatchMark, Replayed};
use super::{Findings, SupplyReport};
use skerry_execution::supply::{Sums, SupplyCount, add, count_supply};
use skerry_execution::views;
use skerry_storage::StateTree;
use skerry_types::amount::Amount;
use skerry_types::genesis::Genesis;
use skerry_types::ids::{ChainRef, Denom, Height};
use skerry_types::state::{StateKey, Value};
use std::collections::{BTreeMap, BTreeSet};

/// Accepted batches are the sent ones, in order, as far as both sides are known; cursors in the
/// states count them.
pub(super) fn check_channels(replays: &BTreeMap<ChainRef, Replayed>, found: &mut Findings) {
    for (destination, to) in replays {
        let Some((height, state)) = to.states.back() else {
            continue;
        };
        for (source, accepted) in &to.accepted {
            let cursor = views::inbound(state, *destination, *source).accepted_cursor();
            let end = accepted.last().map(|mark| mark.end);
            if end.is_some_and(|end| end != cursor) {
                let place = format!("{destination} height {height}");
                let detail =
                    format!("accepted up to {end:?} from {source}, the cursor is {cursor}");
                found.violation("message cursors", place, detail);
            }
            let Some(from) = replays.get(source) else {
                continue;
            };
            let empty = Vec::new();
            compare(
                from.sent.get(destination).unwrap_or(&empty),
                accepted,
                from,
                to,
                found,
            );
        }
    }
}

fn compare(
    sent: &[BatchMark],
    accepted: &[BatchMark],
    from: &Replayed,
    to: &Replayed,
    found: &mut Findings,
) {
    let place = format!("channel {} > {}", from.chain, to.chain);
    for (one, other) in sent.iter().zip(accepted) {
        if (one.first, one.end, one.root) != (other.first, other.end, other.root) {
            let detail = format!(
                "sent {}..{} {}, accepted {}..{} {}",
                one.first, one.end, one.root, other.first, other.end, other.root
            );
            found.violation("accepted is what was sent", &place, detail);
            return;
        }
    }
    if accepted.len() > sent.len() {
        found.note(format!(
            "{place}: {} batches were accepted, all copies of the source together reach {}",
            accepted.len(),
            sent.len()
        ));
    }
}

/// One chain's place in the cut.
type Place<'a> = (Height, &'a StateTree);

/// Heights and value on a consistent cut; `None` when there is none in reach, or a chain is not
/// known at all.
pub(super) fn count(
    genesis: &Genesis,
    replays: &BTreeMap<ChainRef, Replayed>,
    found: &mut Findings,
) -> Option<(BTreeMap<ChainRef, Height>, Vec<SupplyReport>)> {
    let missing: Vec<String> = genesis
        .chains()
        .iter()
        .filter(|chain| !replays.contains_key(chain))
        .map(ToString::to_string)
        .collect();
    if !missing.is_empty() {
        found.note(format!(
            "supply is not judged without {}",
            missing.join(", ")
        ));
        return None;
    }
    let Some(places) = consistent(replays) else {
        found.note("supply is not judged: the copies end too far apart for a consistent cut");
        return None;
    };
    let mut parts = Parts::default();
    for (chain, (_, state)) in &places {
        parts.add_chain(*chain, state);
    }
    for (source, (_, state)) in &places {
        for (destination, (_, there)) in &places {
            let marks = replays
                .get(source)
                .and_then(|replay| replay.sent.get(destination));
            let marks = marks.map(Vec::as_slice).unwrap_or_default();
            let flight = in_flight(marks, (*source, state), (*destination, there));
            check_counters(&flight, (*source, state), (*destination, there), found);
            merge(&mut parts.in_flight, &flight);
        }
    }
    let reports = parts.reports(genesis);
    for report in &reports {
        if report.accounted() != Some(report.issued) {
            let detail = format!(
                "{:?} accounted for, {} issued: {report:?}",
                report.accounted(),
                report.issued
            );
            found.violation("supply", report.denom, detail);
        }
    }
    let heights = places
        .iter()
        .map(|(chain, (height, _))| (*chain, *height))
        .collect();
    Some((heights, reports))
}

/// Steps destinations back until none has accepted more than its source has sent.
fn consistent(replays: &BTreeMap<ChainRef, Replayed>) -> Option<BTreeMap<ChainRef, Place<'_>>> {
    let mut back: BTreeMap<ChainRef, usize> = BTreeMap::new();
    loop {
        let mut places: BTreeMap<ChainRef, Place<'_>> = BTreeMap::new();
        for (chain, replay) in replays {
            let steps = back.get(chain).copied().unwrap_or(0);
            let (height, state) = replay.states.iter().rev().nth(steps)?;
            places.insert(*chain, (*height, state));
        }
        let ahead = places.iter().find(|(destination, (_, there))| {
            places.iter().any(|(source, (_, state))| {
                let accepted = views::inbound(*there, **destination, *source).accepted_cursor();
                accepted > views::outbound(*state, *source, **destination).next()
            })
        });
        match ahead.map(|(chain, _)| *chain) {
            None => return Some(places),
            Some(chain) => {
                let steps = back.entry(chain).or_default();
                *steps = steps.saturating_add(1);
            }
        }
    }
}

/// Value in the batches that the source has sent and the destination has not accepted.
fn in_flight(
    marks: &[BatchMark],
    (source, state): (ChainRef, &StateTree),
    (destination, there): (ChainRef, &StateTree),
) -> Sums {
    let accepted = views::inbound(there, destination, source).accepted_cursor();
    let sent = views::outbound(state, source, destination).next();
    let mut sums = Sums::new();
    for mark in marks
        .iter()
        .filter(|mark| mark.first >= accepted && mark.end <= sent)
    {
        merge(&mut sums, &mark.value);
    }
    sums
}

/// The channel's own counters tell the same of the native denoms.
fn check_counters(
    flight: &Sums,
    (source, state): (ChainRef, &StateTree),
    (destination, there): (ChainRef, &StateTree),
    found: &mut Findings,
) {
    let sent = views::outbound(state, source, destination).sent;
    let accepted = views::inbound(there, destination, source).accepted;
    let counted = [
        (Denom::SKER, sent.sker, accepted.sker),
        (Denom::STSKER, sent.stsker, accepted.stsker),
        (Denom::RSSKER, sent.rssker, accepted.rssker),
    ];
    for (denom, sent, accepted) in counted {
        let expected = flight.get(&denom).map_or(0, |amount| amount.get());
        if sent.checked_sub(accepted) != Some(expected) {
            let place = format!("channel {source} > {destination}");
            let detail = format!(
                "{denom}: {sent} sent, {accepted} accepted, {expected} in the batches between"
            );
            found.violation("channel counters", place, detail);
        }
    }
}

fn merge(into: &mut Sums, from: &Sums) {
    for (denom, amount) in from {
        add(into, *denom, *amount);
    }
}

/// Sums over all chains.
#[derive(Default)]
struct Parts {
    total: SupplyCount,
    fees: Sums,
    in_flight: Sums,
}

impl Parts {
    fn add_chain(&mut self, chain: ChainRef, state: &StateTree) {
        let records: Vec<(StateKey, Value)> = state
            .iter()
            .map(|(key, value)| (key, value.clone()))
            .collect();
        let count = count_supply(chain, records.iter().map(|(key, value)| (key, &**value)));
        merge(&mut self.total.balances, &count.balances);
        merge(&mut self.total.claims, &count.claims);
        merge(&mut self.total.held, &count.held);
        merge(&mut self.total.waiting, &count.waiting);
        merge(&mut self.total.burnt, &count.burnt);
        merge(&mut self.total.token_supply, &count.token_supply);
        let account = views::fee_account(chain);
        for denom in count.balances.keys() {
            add(
                &mut self.fees,
                *denom,
                views::balance(state, &account, denom),
            );
        }
    }

    fn reports(&self, genesis: &Genesis) -> Vec<SupplyReport> {
        let total = &self.total;
        let parts = [
            &total.balances,
            &total.claims,
            &total.held,
            &total.waiting,
            &total.burnt,
            &total.token_supply,
            &self.in_flight,
        ];
        let mut denoms: BTreeSet<Denom> =
            parts.iter().flat_map(|sums| sums.keys().copied()).collect();
        denoms.extend(
            genesis
                .accounts
                .iter()
                .flat_map(|a| &a.assets)
                .map(|asset| asset.denom),
        );
        let of = |sums: &Sums, denom: &Denom| sums.get(denom).copied().unwrap_or_default();
        denoms
            .iter()
            .map(|denom| {
                let fees = of(&self.fees, denom);
                let balances = of(&total.balances, denom)
                    .checked_sub(fees)
                    .unwrap_or_default();
                let minted = of(&total.token_supply, denom);
                let at_genesis = genesis.supply(*denom).unwrap_or(Amount::MAX);
                SupplyReport {
                    denom: *denom,
                    balances,
                    fees,
                    claims: of(&total.claims, denom),
                    held: of(&total.held, denom),
                    waiting: of(&total.waiting, denom),
                    in_flight: of(&self.in_flight, denom),
                    burnt: of(&total.burnt, denom),
                    issued: at_genesis.checked_add(minted).unwrap_or(Amount::MAX),
                }
            })
            .collect()
    }
}
