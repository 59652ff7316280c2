//! What travels of a key's history when the key moves: for each chain the newest epoch and view
//! that the key may have signed in. Whoever takes it up signs nothing there or before.
//!
//! A watermark becomes a floor of the log, and a floor is only ever raised. So taking up what is old
//! or what was taken up before changes nothing in a log that is open. One that was closed by an
//! export opens again, so what it takes up must be newer than that export: exports of a key are
//! numbered, wherever they are made.

use super::key::{KeyRecords, MuteUntil, record};
use serde::{Deserialize, Serialize};
use skerry_consensus::log::{LogEntry, VoteRecord};
use skerry_types::codec::Version;
use skerry_types::crypto::bls::PublicKey;
use skerry_types::ids::{ChainRef, Digest, Epoch, TimeMs, View};
use skerry_types::vote::Statement;
use std::cmp::Ordering;
use std::collections::BTreeMap;

/// Version of the format.
pub const VERSION: u32 = 2;
/// Longest file that is read.
pub const BYTES_MAX: u64 = 1024 * 1024;
/// Epochs, views and times above it are no history: 2⁴⁸.
const NUMBER_MAX: u64 = 1 << 48;

/// What is exported and imported, as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Interchange {
    /// [`VERSION`].
    pub version: u32,
    /// The network.
    pub chain_id: Digest,
    /// The vote key.
    pub vote_key: PublicKey,
    /// How many exports of the key there were, this one included, as far as the log knew.
    pub export_number: u64,
    /// Clock of the exporting machine, in milliseconds.
    pub exported_at_ms: u64,
    /// When the history was found not to be whole, if it ever was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost_at_ms: Option<u64>,
    /// When the log was begun for a key that no committee had seated, if it was: a seat that it had
    /// all the same shows that the history is not whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_use_at_ms: Option<u64>,
    /// One line for each chain that the key voted on.
    pub chains: Vec<ChainLine>,
}

/// What is exported of one chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChainLine {
    /// The chain.
    pub chain: ChainRef,
    /// The newest epoch that the key may have voted in.
    pub epoch: u64,
    /// Nothing is signed in this view of that epoch, or before it.
    pub view: u64,
    /// What the loss means here, once that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mute: Option<MuteLine>,
}

/// Until when a key signs nothing on a chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MuteLine {
    /// Of which loss.
    pub since_ms: u64,
    /// Nothing is signed before a block of this epoch or a later one is final.
    pub until_epoch: u64,
}

/// How far a key has come on a chain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Watermark {
    /// The newest epoch that it may have voted in.
    pub epoch: Epoch,
    /// The newest view of that epoch that it may have voted in.
    pub view: View,
    /// The newest view of its own votes there, as far as the log has them.
    pub voted: Option<View>,
    /// The newest view in which it voted to finalize.
    pub finalized: Option<View>,
}

/// How far the key has come on each chain that the log speaks of.
pub fn watermarks(records: &[VoteRecord]) -> BTreeMap<ChainRef, Watermark> {
    let mut marks: BTreeMap<ChainRef, Watermark> = BTreeMap::new();
    for record in records.iter().filter(|it| !it.entry.is_of_key()) {
        let mark = marks.entry(record.chain).or_default();
        if record.epoch < mark.epoch {
            continue;
        }
        if record.epoch > mark.epoch {
            *mark = Watermark {
                epoch: record.epoch,
                ..Watermark::default()
            };
        }
        let view = match &record.entry {
            // Below the floor, not in it.
            LogEntry::Floor(floor) => floor.previous().unwrap_or_default(),
            entry => entry.view(),
        };
        mark.view = mark.view.max(view);
        if let LogEntry::Vote(vote) = &record.entry {
            mark.voted = mark.voted.max(Some(view));
            if matches!(vote.statement, Statement::Finalize { .. }) {
                mark.finalized = mark.finalized.max(Some(view));
            }
        }
    }
    marks
}

/// What is to be exported of a log.
pub fn export(
    records: &[VoteRecord],
    chain_id: Digest,
    vote_key: PublicKey,
    now: TimeMs,
) -> Interchange {
    let key = KeyRecords::of(records);
    let marks = watermarks(records);
    let mut chains: Vec<ChainRef> = marks.keys().chain(key.mute.keys()).copied().collect();
    chains.sort_unstable();
    chains.dedup();
    let line = |chain: ChainRef| {
        let mark = marks.get(&chain).copied().unwrap_or_default();
        ChainLine {
            chain,
            epoch: mark.epoch.get(),
            view: mark.view.get(),
            mute: key.mute.get(&chain).map(|mute| MuteLine {
                since_ms: mute.since.get(),
                until_epoch: mute.until.get(),
            }),
        }
    };
    // A log that is closed has nothing newer to give: its file is the same export once more.
    let further = u64::from(key.exported_at.is_none());
    let number = key.exports.saturating_add(further);
    Interchange {
        version: VERSION,
        chain_id,
        vote_key,
        export_number: number,
        exported_at_ms: now.get(),
        lost_at_ms: key.lost_at.map(TimeMs::get),
        first_use_at_ms: key.first_use.map(TimeMs::get),
        chains: chains.into_iter().map(line).collect(),
    }
}

/// A watermark that rises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Raise {
    /// The chain.
    pub chain: ChainRef,
    /// Epoch and view before; none when the log said nothing of the chain.
    pub from: Option<(Epoch, View)>,
    /// Epoch and view from now on.
    pub to: (Epoch, View),
}

/// Whether the operator says that a key that was exported stays where it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Elsewhere {
    /// It may have run elsewhere.
    MayHaveRun,
    /// It has run nowhere else.
    NeverRan,
}

/// What an import changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Import {
    /// What rises.
    pub raised: Vec<Raise>,
    /// What is to be added to the log.
    pub records: Vec<VoteRecord>,
}

/// Why an import is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImportError {
    /// Another form of file.
    #[error("it has version {actual}, this program reads version {VERSION}")]
    Version {
        /// The file's.
        actual: u32,
    },
    /// Made on another network.
    #[error("it was exported on network {actual}, this key is of {expected}")]
    Network {
        /// This key's.
        expected: Digest,
        /// The file's.
        actual: Digest,
    },
    /// Made of another key.
    #[error("it is the history of vote key {actual:?}, this is {expected:?}")]
    Key {
        /// This one.
        expected: PublicKey,
        /// The file's.
        actual: PublicKey,
    },
    /// A chain stands in it twice.
    #[error("{chain} stands in it twice")]
    Twice {
        /// The chain.
        chain: ChainRef,
    },
    /// The log was closed by a newer export: the key may have voted since what is in the file.
    #[error(
        "it is export {actual} of the key, this log was closed by export {closed} or its history was \
         lost since: the key may have voted after what is in the file"
    )]
    Older {
        /// Of the export that closed the log.
        closed: u64,
        /// The file's.
        actual: u64,
    },
    /// It is the export that closed the log: elsewhere the key may have voted since.
    #[error("it is the export {number} that closed this log: where it was taken up, the key votes")]
    Same {
        /// Its number.
        number: u64,
    },
    /// A number that no history can hold; it would silence the key for ever.
    #[error("{number} is no epoch, view or time of a history")]
    Number {
        /// The number.
        number: u64,
    },
}

impl Interchange {
    /// Checks that it is a history of this key on this network.
    ///
    /// # Errors
    /// What does not fit.
    pub fn check(&self, chain_id: &Digest, vote_key: &PublicKey) -> Result<(), ImportError> {
        if self.version != VERSION {
            let actual = self.version;
            return Err(ImportError::Version { actual });
        }
        if self.chain_id != *chain_id {
            let (expected, actual) = (*chain_id, self.chain_id);
            return Err(ImportError::Network { expected, actual });
        }
        if self.vote_key != *vote_key {
            let (expected, actual) = (*vote_key, self.vote_key);
            return Err(ImportError::Key { expected, actual });
        }
        let mut seen = std::collections::BTreeSet::new();
        for line in &self.chains {
            if !seen.insert(line.chain) {
                return Err(ImportError::Twice { chain: line.chain });
            }
        }
        let mute = self.chains.iter().filter_map(|line| line.mute.as_ref());
        let numbers = self.chains.iter().flat_map(|line| [line.epoch, line.view]);
        let numbers = numbers.chain(mute.flat_map(|mute| [mute.since_ms, mute.until_epoch]));
        let of_key = [
            self.lost_at_ms,
            self.first_use_at_ms,
            Some(self.export_number),
        ];
        let mut numbers = numbers.chain(of_key.into_iter().flatten());
        let number = numbers.find(|it| *it > NUMBER_MAX);
        match number {
            Some(number) => Err(ImportError::Number { number }),
            None => Ok(()),
        }
    }

    /// Whether a log that was closed by an export may open with this one.
    fn check_reopens(&self, key: &KeyRecords, elsewhere: Elsewhere) -> Result<(), ImportError> {
        // A log that was begun anew after a loss counts from one again, and knows of that loss.
        let own = (key.lost_at, key.exports);
        let of_file = (self.lost_at_ms.map(TimeMs::new), self.export_number);
        match of_file.cmp(&own) {
            Ordering::Greater => Ok(()),
            Ordering::Equal if elsewhere == Elsewhere::NeverRan => Ok(()),
            Ordering::Equal => Err(ImportError::Same { number: own.1 }),
            Ordering::Less => Err(ImportError::Older {
                closed: own.1,
                actual: of_file.1,
            }),
        }
    }

    /// What taking it up changes in a log with these records; nothing is ever lowered. Records are
    /// there even when nothing rises: that the history is here again.
    ///
    /// # Errors
    /// When the log was closed by an export that is not older than this one.
    pub fn import_into(
        &self,
        records: &[VoteRecord],
        now: TimeMs,
        elsewhere: Elsewhere,
    ) -> Result<Import, ImportError> {
        let (key, marks) = (KeyRecords::of(records), watermarks(records));
        if key.exported_at.is_some() {
            self.check_reopens(&key, elsewhere)?;
        }
        let mut import = Import::default();
        for line in &self.chains {
            let chain = line.chain;
            let from = marks.get(&chain).map(|mark| (mark.epoch, mark.view));
            let to = (Epoch::new(line.epoch), View::new(line.view));
            // A chain without a vote is named for its silence only.
            let is_vote = to != (Epoch::ZERO, View::ZERO);
            if is_vote && Some(to) > from {
                import.raised.push(Raise { chain, from, to });
                import.records.push(VoteRecord {
                    version: Version,
                    chain,
                    epoch: to.0,
                    entry: LogEntry::Floor(to.1.next()),
                });
            }
            if let Some(mute) = &line.mute {
                let mute = MuteUntil {
                    since: TimeMs::new(mute.since_ms),
                    until: Epoch::new(mute.until_epoch),
                };
                if Some(&mute) > key.mute.get(&chain) {
                    let MuteUntil { since, until } = mute;
                    let entry = LogEntry::Mute { since, until };
                    import.records.push(record(chain, entry));
                }
            }
        }
        let lost = self.lost_at_ms.map(TimeMs::new);
        if let Some(at) = lost.filter(|at| Some(*at) > key.lost_at) {
            let lost = record(ChainRef::Beacon, LogEntry::Lost { at });
            import.records.push(lost);
        }
        let first_use = self.first_use_at_ms.map(TimeMs::new);
        if let Some(at) = first_use.filter(|at| Some(*at) > key.first_use) {
            let first_use = record(ChainRef::Beacon, LogEntry::FirstUse { at });
            import.records.push(first_use);
        }
        let number = self.export_number.max(key.exports);
        let imported = LogEntry::Imported { at: now, number };
        import.records.push(record(ChainRef::Beacon, imported));
        Ok(import)
    }
}

#[cfg(test)]
mod tests;
