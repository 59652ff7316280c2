//! One worker's transactions, in the order of the block.

use super::schedule::{Schedule, Turns};
use super::touches::{Chunk, prepared};
use super::{Platform, Shared};
use crate::block::Workspace;
use crate::fees::Ledger;
use crate::overlay::Sorted;
use crate::transaction::{AHEAD, Machine, Sent, read_ahead};
use skerry_types::ids::Address;
use skerry_types::receipt::Receipt;

/// What a worker did.
pub(super) struct Part {
    /// What it touched and did not hand over.
    pub(super) touched: Sorted,
    /// What some of them send, with their positions.
    pub(super) sent: Vec<(u32, Vec<Sent>)>,
    pub(super) ledger: Ledger,
    /// With the positions of the transactions that they are about.
    pub(super) alarms: Vec<(u32, String)>,
    pub(super) shows_order: bool,
}

/// The objects that come from another worker or go to one, in order. They are not read ahead: what
/// the other does with them is not known yet.
fn moving(schedule: &Schedule, turns: &Turns) -> Vec<Address> {
    let edges = turns.takes.iter().chain(&turns.gives);
    let owner = |(_, edge): &(u32, u32)| schedule.edges.get(usize::try_from(*edge).ok()?);
    let mut owners: Vec<Address> = edges.filter_map(owner).map(|edge| edge.owner).collect();
    owners.sort_unstable();
    owners.dedup();
    owners
}

/// Runs what is given to a worker; `None` when another one failed.
pub(super) fn run<P: Platform>(
    shared: &Shared<'_, P>,
    chunks: &[&Chunk],
    worker: usize,
) -> Option<Part> {
    let (schedule, handovers) = shared.schedule.get()?;
    let turns = schedule.turns.get(worker)?;
    let congested = shared.congested.get()?;
    let mut space = Workspace::new(shared.context, shared.modules, shared.before);
    space.base_fee = shared.base_fee;
    space.overlay.reserve(turns.transactions.len());
    let mut machine = Machine::default();
    let (count, workers) = (turns.transactions.len(), shared.workers);
    let each = count.checked_div(workers).unwrap_or(0);
    let room = each.saturating_add(each / 8);
    let mut receipts: Vec<Vec<Receipt>> = (0..workers).map(|_| Vec::with_capacity(room)).collect();
    let (mut sent, mut alarms) = (Vec::new(), Vec::new());
    let (mut takes, mut gives) = (turns.takes.iter().peekable(), turns.gives.iter().peekable());
    let moving = moving(schedule, turns);
    let mut ahead = 0;
    for (turn, position) in turns.transactions.iter().enumerate() {
        if turn == ahead {
            let some = turns.transactions.iter().skip(ahead).take(AHEAD);
            for position in some {
                let transaction = shared.transactions.get(usize::try_from(*position).ok()?)?;
                let prepared = prepared(chunks, *position)?;
                if !prepared.touches(transaction, &moving) {
                    read_ahead(&mut space, transaction, prepared);
                }
            }
            ahead = ahead.saturating_add(AHEAD);
        }
        while let Some((_, edge)) = takes.next_if(|(before, _)| before == position) {
            let edge = usize::try_from(*edge).ok()?;
            let entries = handovers.get(edge)?.take(&shared.alarm)?;
            let owner = &schedule.edges.get(edge)?.owner;
            space.overlay.give(owner, entries);
        }
        let place = usize::try_from(*position).ok()?;
        let transaction = shared.transactions.get(place)?;
        let prepared = prepared(chunks, *position)?;
        let congestion = congested.binary_search_by_key(position, |(of, _)| *of);
        let congestion = congestion.ok().and_then(|place| congested.get(place));
        let congestion = congestion.map(|(_, error)| error);
        let ran = machine.run(&mut space, transaction, prepared, congestion);
        let stretch = place.checked_div(shared.stretch_length()).unwrap_or(0);
        receipts.get_mut(stretch)?.push(ran.receipt);
        if !ran.sent.is_empty() {
            sent.push((*position, ran.sent));
        }
        alarms.extend(space.alarms.drain(..).map(|alarm| (*position, alarm)));
        while let Some((_, edge)) = gives.next_if(|(after, _)| after == position) {
            let edge = usize::try_from(*edge).ok()?;
            let owner = &schedule.edges.get(edge)?.owner;
            let entries = space.overlay.take_owner(owner);
            handovers.get(edge)?.give(entries);
        }
    }
    for (stretch, receipts) in receipts.into_iter().enumerate() {
        *shared.receipts(stretch, worker)? = receipts;
    }
    let shows_order = space.overlay.shows_order();
    Some(Part {
        touched: space.overlay.into_sorted(),
        sent,
        ledger: space.ledger,
        alarms,
        shows_order,
    })
}
