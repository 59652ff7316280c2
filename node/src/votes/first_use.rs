//! An empty vote log for a key that no committee ever seated.
//!
//! Whoever asks for it is believed as far as nothing contradicts: a seat in the genesis does at
//! once, a seat in an epoch that was open when the log began does as soon as the node comes to it
//! (`chain/mute.rs`).

use super::create_log;
use super::key::record;
use crate::error::NodeError;
use crate::home::ValidatorIdentity;
use crate::runner::now_ms;
use skerry_consensus::log::LogEntry;
use skerry_types::genesis::Genesis;
use skerry_types::ids::ChainRef;
use std::path::Path;

/// Whether a vote log that is missing may begin empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FirstUse {
    /// A missing log is a lost one.
    #[default]
    No,
    /// The operator says that no committee ever seated the key.
    Yes,
}

/// Begins the log of a key that is used for the first time, where that is asked for and there is
/// none.
///
/// # Errors
/// When the key has a seat in the genesis, or the file system fails.
pub fn begin_if_first(
    log: &Path,
    first_use: FirstUse,
    key: &ValidatorIdentity,
    genesis: &Genesis,
) -> Result<(), NodeError> {
    if first_use == FirstUse::No {
        return Ok(());
    }
    if log.exists() {
        tracing::warn!("the vote log is there, so --first-use is not needed; leave it out");
        return Ok(());
    }
    let committees = genesis.chains().into_iter();
    let mut committees = committees.filter_map(|chain| genesis.committee(chain));
    let public_key = key.public_key;
    if committees.any(|it| it.members.iter().any(|it| it.public_key == public_key)) {
        let key = format!("{public_key:?}");
        return Err(NodeError::NotFirstUse { key });
    }
    let first_use = record(ChainRef::Beacon, LogEntry::FirstUse { at: now_ms() });
    create_log(log, key, &[first_use])
}
