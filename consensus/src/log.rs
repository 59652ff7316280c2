//! The records of the vote log: every own vote before it is sent, and every certificate that opened
//! a view or that an own finalize relies on, before any vote made in that view.
//!
//! The votes keep the replica from contradicting itself after a restart. The certificates keep the
//! chain alive when all stop at once: whoever has voted to finalize can still show the others the
//! notarization that they lack.

use borsh::{BorshDeserialize, BorshSerialize};
use skerry_types::certificate::Certificate;
use skerry_types::codec::{self, CodecError, Version};
use skerry_types::ids::{ChainRef, Epoch, View};
use skerry_types::vote::Vote;

/// Largest encoded record.
pub const RECORD_BYTES_MAX: usize = 1024;

/// One record.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct VoteRecord {
    /// Version byte.
    pub version: Version,
    /// The chain.
    pub chain: ChainRef,
    /// The epoch.
    pub epoch: Epoch,
    /// What is recorded.
    pub entry: LogEntry,
}

/// What a record says.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum LogEntry {
    /// A vote of this key.
    Vote(Vote),
    /// A certificate held; the view after it has been entered.
    Certificate(Certificate),
    /// The key will not vote in views below this one, whatever it voted before; written when a log
    /// is exported and imported.
    Floor(View),
}

impl VoteRecord {
    /// Canonical bytes.
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    /// Reads [`Self::encode`].
    ///
    /// # Errors
    /// When the bytes are no record.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        codec::decode(bytes, RECORD_BYTES_MAX)
    }
}

impl LogEntry {
    /// The view spoken of.
    pub const fn view(&self) -> View {
        match self {
            Self::Vote(vote) => vote.statement.view(),
            Self::Certificate(certificate) => certificate.view(),
            Self::Floor(view) => *view,
        }
    }
}

/// The records that still matter once `finalized` is final and that finalization is durable: a
/// floor, and all that speaks of later views. What it returns may replace the log.
pub fn compact(records: Vec<VoteRecord>, finalized: View) -> Vec<VoteRecord> {
    let Some(first) = records.first() else {
        return records;
    };
    let (chain, epoch) = (first.chain, first.epoch);
    let floors = records.iter().filter_map(|record| match &record.entry {
        LogEntry::Floor(view) => Some(*view),
        _ => None,
    });
    let floor = floors.fold(finalized.next(), View::max);
    let start = VoteRecord {
        version: Version,
        chain,
        epoch,
        entry: LogEntry::Floor(floor),
    };
    let matters = |record: &VoteRecord| {
        !matches!(record.entry, LogEntry::Floor(_)) && record.entry.view() > finalized
    };
    std::iter::once(start)
        .chain(records.into_iter().filter(matters))
        .collect()
}
