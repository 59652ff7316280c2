//! What the records of a vote log say of the key as a whole: which one it is, that its history is
//! not whole, until when it signs nothing for that, where it has gone.

use crate::home::ValidatorIdentity;
use skerry_consensus::log::{LogEntry, VoteRecord};
use skerry_types::codec::Version;
use skerry_types::ids::{ChainRef, Epoch, TimeMs};
use std::collections::BTreeMap;

/// What a loss means on one chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MuteUntil {
    /// Which loss.
    pub since: TimeMs,
    /// Nothing is signed before a block of this epoch or a later one is final.
    pub until: Epoch,
}

/// What is known of a key beside its votes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyRecords {
    /// Whose history it is.
    pub identity: Option<ValidatorIdentity>,
    /// The newest loss of history.
    pub lost_at: Option<TimeMs>,
    /// On which chains it is known what the newest loss there means.
    pub mute: BTreeMap<ChainRef, MuteUntil>,
    /// When the history went to another place, from where it has not come back.
    pub exported_at: Option<TimeMs>,
    /// When a history was last taken up here, unless it has gone since.
    pub imported_at: Option<TimeMs>,
    /// Number of the newest export of the key that is known of.
    pub exports: u64,
    /// When the log was begun by `--first-use`.
    pub first_use: Option<TimeMs>,
}

impl KeyRecords {
    /// Reads them from a log, in order.
    pub fn of(records: &[VoteRecord]) -> Self {
        let mut found = Self::default();
        for record in records {
            match record.entry {
                LogEntry::Lost { at } => found.lost_at = found.lost_at.max(Some(at)),
                LogEntry::Mute { since, until } => {
                    found.raise_mute(record.chain, MuteUntil { since, until });
                }
                LogEntry::Exported { at, number } => {
                    (found.exported_at, found.imported_at) = (Some(at), None);
                    found.exports = found.exports.max(number);
                }
                LogEntry::Imported { at, number } => {
                    (found.exported_at, found.imported_at) = (None, Some(at));
                    found.exports = found.exports.max(number);
                }
                LogEntry::Key { chain_id, vote_key } => {
                    let public_key = vote_key;
                    found.identity = Some(ValidatorIdentity {
                        public_key,
                        chain_id,
                    });
                }
                LogEntry::FirstUse { at } => found.first_use = found.first_use.max(Some(at)),
                LogEntry::Vote(_) | LogEntry::Certificate(_) | LogEntry::Floor(_) => {}
            }
        }
        found
    }

    /// Takes up what a loss means on a chain; that of an earlier loss counts no more.
    pub fn raise_mute(&mut self, chain: ChainRef, mute: MuteUntil) {
        let held = self.mute.entry(chain).or_insert(mute);
        *held = mute.max(*held);
    }

    /// As records that say the same, for a log that leaves out the others.
    pub fn records(&self) -> Vec<VoteRecord> {
        let beacon = |entry| record(ChainRef::Beacon, entry);
        let lost = self.lost_at.map(|at| LogEntry::Lost { at });
        let first_use = self.first_use.map(|at| LogEntry::FirstUse { at });
        let number = self.exports;
        let exported = self.exported_at.map(|at| LogEntry::Exported { at, number });
        let imported = self.imported_at.map(|at| LogEntry::Imported { at, number });
        let key = self.identity.as_ref().map(key_entry);
        let of_key = [key, first_use, lost, exported, imported]
            .into_iter()
            .flatten();
        let mute = self.mute.iter().map(|(chain, mute)| {
            let MuteUntil { since, until } = *mute;
            record(*chain, LogEntry::Mute { since, until })
        });
        of_key.map(beacon).chain(mute).collect()
    }
}

/// Says whose history a log is.
pub const fn key_entry(key: &ValidatorIdentity) -> LogEntry {
    LogEntry::Key {
        chain_id: key.chain_id,
        vote_key: key.public_key,
    }
}

/// The time of a loss that is noted now: later than all before it, wherever the clock stands.
pub fn time_of_loss(now: TimeMs, lost_at: Option<TimeMs>) -> TimeMs {
    now.max(lost_at.map_or(TimeMs::ZERO, TimeMs::next))
}

/// A record of the key. [`LogEntry::Mute`] names its chain, all else the beacon, so that the same is
/// always recorded in the same bytes.
pub fn record(chain: ChainRef, entry: LogEntry) -> VoteRecord {
    VoteRecord {
        version: Version,
        chain,
        epoch: Epoch::ZERO,
        entry,
    }
}

/// The records that matter to a chain: its own, and those of the key.
pub fn records_for(records: &[VoteRecord], chain: ChainRef) -> Vec<VoteRecord> {
    let matters = |it: &&VoteRecord| it.chain == chain || it.entry.is_of_key();
    records.iter().filter(matters).cloned().collect()
}
