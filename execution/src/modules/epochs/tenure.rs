//! How long a committee answers for what it signs: who is held by it, and when it is forgotten.
//!
//! A committee can sign something that counts while its epoch is *open*: of a shard, from the
//! cross-link of the seal before it until that of its own; of the beacon, until the next epoch
//! begins. As long as that may be, no bond of a member may leave, and no clock of one may run
//! ([`seated`]). From then on it is over, and for
//! [`unbonding_epochs`](skerry_types::genesis::Parameters::unbonding_epochs) more what was signed can
//! still be punished: the committee, what its votes are bound to and what was punished are kept that
//! long and no longer ([`forget`]). It counts from the beacon's epoch in which the committee's was
//! over, and for each chain by itself:
//!
//! - A late shard closes an old epoch. Counted from that epoch's own number, its committee would be
//!   forgotten at once, though its members signed until just now.
//! - Another shard is late. If that kept the committees of all chains, evidence would outlive the
//!   bonds, which do not wait for a shard that their validators never sat in.
//! - A bond is free no sooner than `unbonding_epochs` after the first epoch without a seat, which is
//!   never before the last seat's epoch was over. So evidence never outlives the bond that pays for
//!   it.
//! - Epochs that a shard slept through are forgotten as soon as the seal that skips them is
//!   cross-linked: their committees never serve.
//!
//! **It ends.** The beacon cannot see whether a shard that it hears nothing of is dead or has gone
//! on, so every committee from the shard's open epoch on may still serve. That must not last for
//! ever. A shard that is [`overdue_epochs`](skerry_types::genesis::Parameters::overdue_epochs) behind
//! is therefore *fenced* ([`fence_overdue`]), like one with two histories: nothing of it counts any
//! more but what its last cross-linked state proves. Only because of that may its members go: were a
//! dead shard's committee let go and believed later, it could forge the shard's history for nothing. A
//! fenced shard holds nobody, and its open epoch is over when the fence is raised. The beacon keeps at
//! most `overdue_epochs` + `unbonding_epochs` + 4 committees of a chain.
//!
//! One more is kept of a fenced shard for ever: that of the epoch which was open. What was on its way
//! when the fence was raised is proven by headers of that epoch, whenever it arrives. It judges no
//! evidence: what its votes were bound to goes in time. That its members are free by then does no harm,
//! since they can add nothing to the cross-linked state.
//!
//! DESIGN section 9 redraws such a shard four epochs late; this version does not, and its fences are
//! final, so the parameter is larger by default.
//!
//! Rules: DESIGN sections 5 and 9.

use super::state::{Seating, Stage, committee_key, instance_key, kept_key, over_key, seating_key};
use super::{committee, read, write};
use crate::modules::crosslinks::{self, state::shard_record_key};
use crate::modules::evidence;
use crate::network::NetworkInfo;
use crate::overlay::BlockOverlay;
use skerry_types::beacon::ShardRecord;
use skerry_types::codec::Version;
use skerry_types::ids::{ChainRef, Epoch, ValidatorId};
use std::collections::BTreeSet;

/// Takes note that an epoch of a chain is over in the beacon's epoch `open`.
pub(crate) fn note_over(
    overlay: &mut BlockOverlay<'_>,
    (chain, epoch): (ChainRef, Epoch),
    open: Epoch,
) {
    write(overlay, over_key(chain, epoch), &(Version, open));
}

/// A shard has left an epoch for a later one, as the beacon hears in its epoch `open`. Those between
/// were slept through: their committees never serve.
pub(crate) fn leave(
    overlay: &mut BlockOverlay<'_>,
    shard: ChainRef,
    (left, entered): (Epoch, Epoch),
    open: Epoch,
) {
    note_over(overlay, (shard, left), open);
    let mut slept = left.next();
    while slept < entered {
        overlay.put(committee_key(shard, slept), None);
        slept = slept.next();
    }
}

/// The record of a shard; of the beacon there is none.
fn shard_record(overlay: &mut BlockOverlay<'_>, chain: ChainRef) -> Option<ShardRecord> {
    read(overlay, shard_record_key(chain))
}

/// Fences the shards that are overdue when epoch `open` begins.
pub(super) fn fence_overdue(overlay: &mut BlockOverlay<'_>, network: &NetworkInfo, open: Epoch) {
    let patience = network.parameters.overdue_epochs;
    for chain in &network.chains {
        // Between the end of the beacon's epoch and the cross-link of its seal, every shard is one
        // behind.
        let due = |record: ShardRecord| record.epoch.next().saturating_add(patience);
        if shard_record(overlay, *chain).is_some_and(|record| open > due(record)) {
            crosslinks::fence(overlay, *chain, open);
        }
    }
}

/// Who may still have something to sign when epoch `open` begins: whoever holds a seat of it or was
/// dealt one of the next; the beacon's members of the epoch that ends, whose seal is to come; and the
/// members of a shard from its open epoch on, whose seal is not cross-linked.
pub(super) fn seated(
    overlay: &mut BlockOverlay<'_>,
    network: &NetworkInfo,
    open: Epoch,
) -> BTreeSet<ValidatorId> {
    let mut found = BTreeSet::new();
    for chain in &network.chains {
        let mut epoch = match shard_record(overlay, *chain) {
            // Whatever is signed there counts for nothing. Nor can newcomers take seats of those who
            // leave, where nobody serves them the shard.
            Some(record) if record.fenced => continue,
            Some(record) => record.epoch,
            None => open.saturating_sub(1),
        };
        for stage in [Stage::Held, Stage::Dealt] {
            let seating: Option<Seating> = read(overlay, seating_key(*chain, stage));
            let seats = seating.into_iter().flat_map(|it| it.seats);
            found.extend(seats.map(|seat| seat.validator));
        }
        while epoch < open {
            let members = committee(overlay, *chain, epoch);
            let members = members.into_iter().flat_map(|it| it.members);
            found.extend(members.map(|member| member.validator));
            epoch = epoch.next();
        }
    }
    found
}

/// Forgets the committees that answer for nothing any more when epoch `open` begins.
pub(super) fn forget(overlay: &mut BlockOverlay<'_>, network: &NetworkInfo, open: Epoch) {
    for chain in &network.chains {
        // The chain's epochs below the end are over, or were slept through.
        let (end, proves) = match shard_record(overlay, *chain) {
            Some(record) if record.fenced => (open, Some(record.epoch)),
            Some(record) => (record.epoch, None),
            None => (open, None),
        };
        let kept: Option<(Version, Epoch)> = read(overlay, kept_key(*chain));
        let before = kept.map_or(Epoch::ZERO, |(_, epoch)| epoch);
        let mut from = before;
        while from < end && is_out_of_date(overlay, network, (*chain, from), open) {
            if proves != Some(from) {
                overlay.put(committee_key(*chain, from), None);
            }
            overlay.put(instance_key(*chain, from), None);
            overlay.put(over_key(*chain, from), None);
            evidence::drop_offences(overlay, *chain, from);
            from = from.next();
        }
        if from != before {
            write(overlay, kept_key(*chain), &(Version, from));
        }
    }
}

fn is_out_of_date(
    overlay: &mut BlockOverlay<'_>,
    network: &NetworkInfo,
    (chain, epoch): (ChainRef, Epoch),
    open: Epoch,
) -> bool {
    let over: Option<(Version, Epoch)> = read(overlay, over_key(chain, epoch));
    let age = network.parameters.unbonding_epochs;
    // Of an epoch that was slept through nothing was noted.
    over.is_none_or(|(_, over)| open >= over.saturating_add(age))
}
