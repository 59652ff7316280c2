//! Evidence: what validators did wrong is punished on the beacon, once.
//!
//! An offence is *what a validator signed on one chain in one epoch*. However many contradictions it
//! signed there, it is slashed and jailed once for them: two copies of a node contradict each other
//! in every view until somebody notices, and the second slash of one blunder would teach nothing. For
//! another chain, or another epoch, it is punished again.
//!
//! Evidence counts while the beacon keeps the committee and the instance that it is about (see
//! `tenure.rs` of the epochs); with them the records of what was punished go. It never changes a
//! settled committee.
//! Signatures are checked before, by [`crate::proofs::verify_evidence`]; what is known already, too
//! old, or of no committee changes nothing.
//!
//! Two final blocks at one height fence their shard, see [`crate::fence`].
//!
//! Rules: DESIGN sections 5, 6, 9 and 10.

pub mod state;
#[cfg(test)]
mod tests;

use self::state::{Offences, Punished, offences_key, read_offences_key};
use super::{crosslinks, epochs, staking};
use crate::block::BlockContext;
use crate::error::CallError;
use crate::fees::Ledger;
use crate::module::{Call, Module};
use crate::modules::{self, EVIDENCE};
use crate::overlay::BlockOverlay;
use crate::view::decode_record;
use serde_json::json;
use skerry_types::codec;
use skerry_types::evidence::Evidence;
use skerry_types::ids::{Address, ChainRef, Epoch, ModuleId, ValidatorId};
use skerry_types::limits;
use skerry_types::merkle::OwnerEntry;
use skerry_types::state::{StateKey, Value};

/// The module.
#[derive(Clone, Copy, Debug)]
pub struct EvidenceModule;

/// Applies the evidence of a block, whose signatures were checked.
pub(crate) fn apply<'e>(
    overlay: &mut BlockOverlay<'_>,
    ledger: &mut Ledger,
    context: &BlockContext,
    evidence: impl Iterator<Item = &'e Evidence>,
) {
    for evidence in evidence.take(limits::BLOCK_EVIDENCE_MAX) {
        let (chain, epoch) = (evidence.chain, evidence.epoch);
        // Without instance nobody could have checked it.
        if !epochs::has_instance(overlay, chain, epoch) {
            continue;
        }
        let Some(committee) = epochs::committee(overlay, chain, epoch) else {
            continue;
        };
        let guilty = evidence.guilty(committee.members.len()).into_iter();
        let guilty = guilty.filter_map(|index| Some(committee.member(index)?.validator));
        punish(overlay, ledger, context, ((chain, epoch), guilty));
        if evidence.is_fork() && !chain.is_beacon() {
            let open = epochs::open(overlay);
            crosslinks::fence(overlay, chain, open);
        }
    }
}

fn punish(
    overlay: &mut BlockOverlay<'_>,
    ledger: &mut Ledger,
    context: &BlockContext,
    ((chain, epoch), guilty): ((ChainRef, Epoch), impl Iterator<Item = ValidatorId>),
) {
    let open = epochs::open(overlay);
    let key = offences_key(chain, epoch);
    let stored = overlay.get(key.clone());
    let stored = stored.and_then(|value| decode_record::<Offences>(&value).ok());
    let mut offences = stored.unwrap_or_default();
    for validator in guilty {
        let Err(position) = offences.find(validator) else {
            continue;
        };
        let network = &context.network;
        let slash = staking::punish::punish(overlay, ledger, network, validator, open);
        if let Some(slash) = slash {
            let punished = Punished {
                validator,
                height: context.height,
                slash,
            };
            offences.punished.insert(position, punished);
        }
    }
    if !offences.punished.is_empty() {
        overlay.put(key, Some(Value::from(codec::encode(&offences))));
    }
}

/// Forgets what was punished of an epoch whose committee is dropped.
pub(crate) fn drop_offences(overlay: &mut BlockOverlay<'_>, chain: ChainRef, epoch: Epoch) {
    overlay.put(offences_key(chain, epoch), None);
}

impl Module for EvidenceModule {
    fn id(&self) -> ModuleId {
        EVIDENCE
    }

    fn name(&self) -> &'static str {
        "evidence"
    }

    fn decode(&self, _: &[u8]) -> Result<Box<dyn Call>, CallError> {
        modules::no_calls(self.name())
    }

    fn call_from_json(&self, _: &serde_json::Value) -> Result<Vec<u8>, CallError> {
        modules::no_calls(self.name())
    }

    fn query(&self, _: &Address, records: &[OwnerEntry]) -> serde_json::Value {
        let of_module = records.iter().filter(|record| record.module == EVIDENCE);
        let offences: Vec<serde_json::Value> = of_module
            .filter_map(|record| {
                let place = read_offences_key(&record.local)?;
                let offences: Offences = decode_record(&record.value).ok()?;
                Some((place, offences.punished))
            })
            .flat_map(|((chain, epoch), punished)| {
                punished.into_iter().map(move |it| {
                    json!({
                        "validator": it.validator,
                        "chain": chain.to_string(),
                        "epoch": epoch,
                        "beacon_height": it.height,
                        "slashed": it.slash,
                    })
                })
            })
            .collect();
        if offences.is_empty() {
            serde_json::Value::Null
        } else {
            json!({ "offences": offences })
        }
    }

    fn check_invariants(&self, key: &StateKey, value: &[u8]) -> Result<(), String> {
        read_offences_key(&key.local).ok_or_else(|| "no record of evidence".to_owned())?;
        let offences: Offences = decode_record(value).map_err(|error| error.to_string())?;
        let pairs = offences.punished.windows(2);
        let mut pairs = pairs.map(|pair| matches!(pair, [a, b] if a.validator < b.validator));
        let is_sorted = pairs.all(|is_less| is_less);
        (is_sorted && !offences.punished.is_empty())
            .then_some(())
            .ok_or_else(|| "offences that are not one a validator, in order".to_owned())
    }
}
