//! One worker's transactions, in the order of the block.

use super::touches::{Chunk, prepared};
use super::{Platform, Shared};
use crate::block::Workspace;
use crate::fees::Ledger;
use crate::overlay::Change;
use crate::transaction::{Machine, Ran};

/// What a worker did.
pub(super) struct Part {
    /// What it changed and did not hand over, in order of key.
    pub(super) changes: Vec<Change>,
    /// In order of its transactions.
    pub(super) ran: Vec<Ran>,
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
    let mut ran = Vec::with_capacity(turns.transactions.len());
    let mut alarms = Vec::new();
    let (mut takes, mut gives) = (turns.takes.iter().peekable(), turns.gives.iter().peekable());
    for position in &turns.transactions {
        while let Some((_, edge)) = takes.next_if(|(before, _)| before == position) {
            let handover = handovers.get(usize::try_from(*edge).ok()?)?;
            space.overlay.give(handover.take(&shared.alarm)?);
        }
        let place = usize::try_from(*position).ok()?;
        let transaction = shared.transactions.get(place)?;
        let prepared = prepared(chunks, *position)?;
        ran.push(machine.run(&mut space, transaction, prepared));
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
        changes: space.overlay.into_sorted(),
        ran,
        ledger: space.ledger,
        alarms,
        shows_order,
    })
}
