//! The fence: of a shard that has two final blocks at one height, or that the beacon has heard nothing
//! of for too many epochs, only what its last cross-linked state proves is accepted. Nothing new is
//! sent to it, and what it would still send could never arrive: it sends nothing either, so that the
//! value stays with its owners.
//!
//! Which of two histories goes on, no certificate can tell. What the beacon has cross-linked
//! stands; the rest of the shard's word counts nothing. DESIGN section 9 redraws such a shard's
//! committee; this version does not, so a fence is final here. The beacon raises it by evidence
//! ([`crate::modules::evidence`]) or at the end of an epoch ([`crate::modules::epochs`],
//! `tenure.rs`); shards see it in the facts.
//!
//! Rules: DESIGN section 9.

use crate::error::{CallError, ProofFailure};
use crate::overlay::BlockOverlay;
use crate::view::decode_record;
use crate::views;
use skerry_types::beacon::ShardRecord;
use skerry_types::ids::ChainRef;
use skerry_types::message::BatchProof;
use skerry_types::state::Value;
use std::collections::BTreeMap;

/// Which chains are fenced, by the facts that a block runs with.
#[derive(Debug, Default)]
pub(crate) struct Fences {
    known: BTreeMap<ChainRef, bool>,
}

impl Fences {
    /// Refuses a message from or to a fenced shard.
    ///
    /// # Errors
    /// When `here` or `destination` is fenced.
    pub(crate) fn check(
        &mut self,
        overlay: &mut BlockOverlay<'_>,
        here: ChainRef,
        destination: ChainRef,
    ) -> Result<(), CallError> {
        if self.is_fenced(overlay, here, here) {
            return Err(CallError::HomeFenced { shard: here });
        }
        if self.is_fenced(overlay, here, destination) {
            return Err(CallError::ShardFenced { shard: destination });
        }
        Ok(())
    }

    /// Looks each chain up once.
    fn is_fenced(
        &mut self,
        overlay: &mut BlockOverlay<'_>,
        here: ChainRef,
        chain: ChainRef,
    ) -> bool {
        let known = self.known.entry(chain);
        *known.or_insert_with(|| is_fenced(overlay, here, chain))
    }
}

/// Whether a chain is fenced, as `here` knows; the beacon never is.
pub(crate) fn is_fenced(overlay: &mut BlockOverlay<'_>, here: ChainRef, chain: ChainRef) -> bool {
    let key = if here.is_beacon() {
        views::shard_record_key(chain)
    } else {
        views::facts_shard_key(here, chain)
    };
    is_fencing(overlay.get(key))
}

/// Whether a stored record of a shard fences it. A damaged one does: what it said is not known, and
/// value that is sent nowhere stays with its owner.
pub(crate) fn is_fencing(stored: Option<Value>) -> bool {
    match stored.map(|value| decode_record::<ShardRecord>(&value)) {
        None => false,
        Some(Ok(record)) => record.fenced,
        Some(Err(_)) => true,
    }
}

/// Checks that the fence of a batch's source, if it has one, lets the batch through: its proof is of
/// the cross-linked state, or of a header that leads to the cross-linked one. That the proof itself
/// holds is checked elsewhere.
///
/// # Errors
/// When `source`, the record of the batch's source, is fenced and does not stand for the proof.
pub fn check_fence(source: &ShardRecord, proof: &BatchProof) -> Result<(), ProofFailure> {
    let is_state = || proof.header.report.result.state_root == source.state_root;
    let mut headers = std::iter::once(&proof.header).chain(&proof.path);
    if !source.fenced || is_state() || headers.any(|it| it.block_ref() == source.header) {
        Ok(())
    } else {
        Err(ProofFailure::Fenced(source.chain))
    }
}
