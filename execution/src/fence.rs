//! The fence: of a shard that has two final blocks at one height, or that the beacon has heard nothing
//! of for too many epochs, only what its last cross-linked state proves is accepted, and nothing new
//! is sent to it.
//!
//! Which of two histories goes on, no certificate can tell. What the beacon has cross-linked
//! stands; the rest of the shard's word counts nothing until its committee is redrawn. The beacon
//! raises the fence by evidence ([`crate::modules::evidence`]) or at the end of an epoch
//! ([`crate::modules::epochs`], `tenure.rs`); shards see it in the facts.
//!
//! Rules: DESIGN section 9.

use crate::error::{CallError, ProofFailure};
use crate::overlay::BlockOverlay;
use crate::view::decode_record;
use crate::views;
use skerry_types::beacon::ShardRecord;
use skerry_types::ids::ChainRef;
use skerry_types::message::BatchProof;
use std::collections::BTreeMap;

/// Which destinations are fenced, by the facts that a block runs with.
#[derive(Debug, Default)]
pub(crate) struct Fences {
    known: BTreeMap<ChainRef, bool>,
}

impl Fences {
    /// Refuses a message to a fenced shard. Looks each destination up once.
    ///
    /// # Errors
    /// When `destination` is fenced.
    pub(crate) fn check(
        &mut self,
        overlay: &mut BlockOverlay<'_>,
        here: ChainRef,
        destination: ChainRef,
    ) -> Result<(), CallError> {
        let is_fenced = *self.known.entry(destination).or_insert_with(|| {
            let key = if here.is_beacon() {
                views::shard_record_key(destination)
            } else {
                views::facts_shard_key(here, destination)
            };
            let record = overlay.get(key);
            let record = record.and_then(|value| decode_record::<ShardRecord>(&value).ok());
            record.is_some_and(|record| record.fenced)
        });
        if is_fenced {
            Err(CallError::ShardFenced { shard: destination })
        } else {
            Ok(())
        }
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
