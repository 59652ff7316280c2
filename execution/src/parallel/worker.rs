//! One worker's transactions, in the order of the block.

use super::touches::{Chunk, prepared};
use super::{Platform, Shared};
use crate::block::Workspace;
use crate::fees::Ledger;
use crate::overlay::Sorted;
use crate::transaction::{Machine, Sent};
use skerry_types::receipt::Receipt;

/// What a worker did.
pub(super) struct Part {
    /// What it touched and did not hand over.
    pub(super) touched: Sorted,
    /// In order of its transactions.
    pub(super) receipts: Vec<Receipt>,
    /// What some of them send, with their positions.
    pub(super) sent: Vec<(u32, Vec<Sent>)>,
    pub(super) ledger: Ledger,
    /// With the positions of the transactions that they are about.
    pub(super) alarms: Vec<(u32, String)>,
    pub(super) shows_order: bool,
}

/// Runs what is given to a worker; `None` when another one failed.
pub(super) fn run<P: Platform>(
    shared: &Shared<'_, P>,
    chunks: &[&Chunk],
    worker: usize,
) -> Option<Part> {
    let (schedule, handovers) = shared.schedule.get()?;
    let turns = schedule.turns.get(worker)?;
    let mut space = Workspace::new(shared.context, shared.modules, shared.before);
    space.backlog = shared.backlog;
    space.overlay.reserve(turns.transactions.len());
    let mut machine = Machine::default();
    let mut receipts = Vec::with_capacity(turns.transactions.len());
    let (mut sent, mut alarms) = (Vec::new(), Vec::new());
    let (mut takes, mut gives) = (turns.takes.iter().peekable(), turns.gives.iter().peekable());
    for position in &turns.transactions {
        while let Some((_, edge)) = takes.next_if(|(before, _)| before == position) {
            let edge = usize::try_from(*edge).ok()?;
            let entries = handovers.get(edge)?.take(&shared.alarm)?;
            let owner = &schedule.edges.get(edge)?.owner;
            space.overlay.give(owner, entries);
        }
        let place = usize::try_from(*position).ok()?;
        let transaction = shared.transactions.get(place)?;
        let prepared = prepared(chunks, *position)?;
        let ran = machine.run(&mut space, transaction, prepared);
        receipts.push(ran.receipt);
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
    let shows_order = space.overlay.shows_order();
    Some(Part {
        touched: space.overlay.into_sorted(),
        receipts,
        sent,
        ledger: space.ledger,
        alarms,
        shows_order,
    })
}
