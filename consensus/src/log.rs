//! The records of the vote log: every own vote before it is sent, and every certificate that opened
//! a view or that an own finalize relies on, before any vote made in that view.
//!
//! The votes keep the replica from contradicting itself after a restart. The certificates keep the
//! chain alive when all stop at once: whoever has voted to finalize can still show the others the
//! notarization that they lack.
//!
//! Beside what belongs to an instance there are records of the key ([`LogEntry::is_of_key`]): which
//! key it is, that its history is not whole, until when it signs nothing for that, and that it has
//! moved. They count whatever the epoch of the record; [`LogEntry::Mute`] is of its chain, the
//! others of all.

use borsh::{BorshDeserialize, BorshSerialize};
use skerry_types::certificate::Certificate;
use skerry_types::codec::{self, CodecError, Version};
use skerry_types::crypto::bls::PublicKey;
use skerry_types::ids::{ChainRef, Digest, Epoch, TimeMs, View};
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
    /// is compacted, exported and imported.
    Floor(View),
    /// The history is not whole: until this time the key may have signed what is not in the log.
    Lost {
        /// The node's clock when it was noticed.
        at: TimeMs,
    },
    /// What a loss means on a chain, once that is known.
    Mute {
        /// Of the loss.
        since: TimeMs,
        /// The key signs nothing on the chain before a block of this epoch or a later one is final.
        until: Epoch,
    },
    /// The history was handed to another place: no node runs on this log any more.
    Exported {
        /// When.
        at: TimeMs,
        /// How many exports of the key there were, this one included, wherever they were made:
        /// clocks of two machines do not order them.
        number: u64,
    },
    /// What another place exported was taken up, or what this one did came back.
    Imported {
        /// When.
        at: TimeMs,
        /// That of the newest export that this log knows of.
        number: u64,
    },
    /// The log was begun empty for a key that, as its operator says, no committee had seated.
    FirstUse {
        /// When.
        at: TimeMs,
    },
    /// Whose history this is; the first record of every log. A log by itself does not show it: a
    /// vote names a seat of one epoch, a floor not even that.
    Key {
        /// The network.
        chain_id: Digest,
        /// The vote key.
        vote_key: PublicKey,
    },
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
    /// The view spoken of; zero in what is of the key.
    pub const fn view(&self) -> View {
        match self {
            Self::Vote(vote) => vote.statement.view(),
            Self::Certificate(certificate) => certificate.view(),
            Self::Floor(view) => *view,
            _ => View::ZERO,
        }
    }

    /// Whether it speaks of the key and its history, not of an instance of consensus.
    pub const fn is_of_key(&self) -> bool {
        !matches!(self, Self::Vote(_) | Self::Certificate(_) | Self::Floor(_))
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
