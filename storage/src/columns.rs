//! What is stored: every column, its keys, its values and what it is for.
//!
//! Numbers in keys are big-endian, so that their order is the order of the bytes; values are borsh
//! ([`skerry_types::codec`]) unless said otherwise.

use borsh::{BorshDeserialize, BorshSerialize};
use skerry_types::ids::{ChainRef, Digest, Height, Sequence};
use skerry_types::message::MessageId;

/// Version of everything described in this file.
pub const FORMAT: u32 = 4;

/// A column; RocksDB calls it a column family.
///
/// | column | key | value | for |
/// |---|---|---|---|
/// | `Meta` | a name of [`meta`] | see there | format, identity, the markers of what is committed |
/// | `Headers` | digest | header | every stored block |
/// | `Bodies` | digest | raw bytes of the body; no row without a body | every stored block |
/// | `Pending` | kind, height, digest | nothing | short queues: blocks not final, final working blocks whose state is not committed |
/// | `Finalized` | height | digest, certificate if it has its own | the chain |
/// | `State`, `StateSecond` | owner, module, local key | raw bytes | one of the two, see [`StateColumn`]: the state at the marker `state_at`; the other: what an import has brought so far |
/// | `Results` | digest | execution result | final working blocks whose state is committed |
/// | `Receipts` | height, chunk | up to [`RECEIPTS_PER_ROW`] receipts | what happened |
/// | `Transactions` | transaction id | height, position of the receipt | index |
/// | `Messages` | source, destination, sequence | height, position of the receipt | index of executed messages |
/// | `Outgoing` | destination, first sequence | batch | what relays serve until it is acknowledged |
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Column {
    /// Markers.
    Meta,
    /// Headers by digest.
    Headers,
    /// Bodies by digest.
    Bodies,
    /// Blocks that wait for something.
    Pending,
    /// Final blocks by height.
    Finalized,
    /// The state, or what an import brings.
    State,
    /// The same, in turns.
    StateSecond,
    /// Results by digest.
    Results,
    /// Receipts by height.
    Receipts,
    /// Where a transaction was executed.
    Transactions,
    /// Where a message was executed.
    Messages,
    /// Batches sent.
    Outgoing,
}

impl Column {
    /// All columns.
    pub const ALL: [Self; 12] = [
        Self::Meta,
        Self::Headers,
        Self::Bodies,
        Self::Pending,
        Self::Finalized,
        Self::State,
        Self::StateSecond,
        Self::Results,
        Self::Receipts,
        Self::Transactions,
        Self::Messages,
        Self::Outgoing,
    ];

    /// All columns that an import clears, since what they hold belongs to the history before it.
    pub const OF_HISTORY: [Self; 9] = [
        Self::Headers,
        Self::Bodies,
        Self::Pending,
        Self::Finalized,
        Self::Results,
        Self::Receipts,
        Self::Transactions,
        Self::Messages,
        Self::Outgoing,
    ];

    /// Its name in the database.
    pub const fn name(self) -> &'static str {
        match self {
            // The database insists on a column of this name.
            Self::Meta => "default",
            Self::Headers => "headers",
            Self::Bodies => "bodies",
            Self::Pending => "pending",
            Self::Finalized => "finalized",
            Self::State => "state",
            Self::StateSecond => "state_second",
            Self::Results => "results",
            Self::Receipts => "receipts",
            Self::Transactions => "transactions",
            Self::Messages => "messages",
            Self::Outgoing => "outgoing",
        }
    }

    /// Whether single rows are looked up under keys that often do not exist, so that a filter pays.
    pub const fn is_looked_up(self) -> bool {
        matches!(
            self,
            Self::Headers
                | Self::Bodies
                | Self::State
                | Self::StateSecond
                | Self::Transactions
                | Self::Messages
        )
    }
}

impl std::fmt::Display for Column {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Meta => "meta",
            other => other.name(),
        })
    }
}

/// Which of the two columns for a state is in use; an import fills the other and swaps them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum StateColumn {
    /// [`Column::State`].
    #[default]
    First,
    /// [`Column::StateSecond`].
    Second,
}

impl StateColumn {
    /// The column in use.
    pub const fn column(self) -> Column {
        match self {
            Self::First => Column::State,
            Self::Second => Column::StateSecond,
        }
    }

    /// What is in use after an import.
    pub const fn swapped(self) -> Self {
        match self {
            Self::First => Self::Second,
            Self::Second => Self::First,
        }
    }

    /// The column that an import fills.
    pub const fn other(self) -> Column {
        self.swapped().column()
    }
}

/// Names of the rows of [`Column::Meta`].
pub mod meta {
    /// `u32`: [`FORMAT`](super::FORMAT).
    pub const FORMAT: &[u8] = b"format";
    /// [`Identity`](crate::store::Identity) of the chain.
    pub const IDENTITY: &[u8] = b"identity";
    /// `ExecutionResult` of the genesis state.
    pub const GENESIS: &[u8] = b"genesis";
    /// `BlockRef` of the newest final block; absent before the first.
    pub const FINALIZED: &[u8] = b"finalized";
    /// `(BlockRef, ExecutionResult)`: whose state is stored.
    pub const STATE_AT: &[u8] = b"state_at";
    /// [`StateColumn`](super::StateColumn): where it is stored; absent for the first.
    pub const STATE_IN: &[u8] = b"state_in";
    /// [`BaseRow`](crate::import::BaseRow): where the history begins; absent for the genesis.
    pub const BASE: &[u8] = b"base";
    /// `Height` of the lowest block from which on there is no gap; absent for the first.
    pub const LOWEST: &[u8] = b"lowest";
    /// [`ImportProgress`](crate::import::ImportProgress) of an unfinished import.
    pub const IMPORT: &[u8] = b"import";

    /// [`EpochRow`](crate::store::EpochRow) of an epoch that has begun, all but the first.
    pub fn epoch(epoch: skerry_types::ids::Epoch) -> Vec<u8> {
        [b"epoch/".as_slice(), &epoch.get().to_be_bytes()].concat()
    }

    /// `CrossLink` of the seal of an epoch: what the beacon needs to close it.
    pub fn seal(epoch: skerry_types::ids::Epoch) -> Vec<u8> {
        [b"seal/".as_slice(), &epoch.get().to_be_bytes()].concat()
    }
}

/// Receipts of one row: a lookup reads one row, a block of 10,000 transactions writes few.
pub const RECEIPTS_PER_ROW: usize = 64;

/// What a block of [`Column::Pending`] waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum PendingKind {
    /// To be final or abandoned.
    Finalization = 0,
    /// A final working block: for the header that reports its result to be final.
    State = 1,
}

/// Key of a height.
pub fn height_key(height: Height) -> [u8; 8] {
    height.get().to_be_bytes()
}

/// Reads [`height_key`].
pub fn read_height(key: &[u8]) -> Option<Height> {
    key.try_into()
        .ok()
        .map(|bytes| Height::new(u64::from_be_bytes(bytes)))
}

/// Key of [`Column::Pending`].
pub fn pending_key(kind: PendingKind, height: Height, digest: &Digest) -> Vec<u8> {
    let mut key = vec![kind as u8];
    key.extend_from_slice(&height_key(height));
    key.extend_from_slice(digest.as_bytes());
    key
}

/// Reads [`pending_key`] after its kind.
pub fn read_pending(key: &[u8]) -> Option<(Height, Digest)> {
    let (_, rest) = key.split_first()?;
    let (height, digest) = rest.split_first_chunk::<8>()?;
    let digest = Digest::new(digest.try_into().ok()?);
    Some((Height::new(u64::from_be_bytes(*height)), digest))
}

/// Key of [`Column::Receipts`].
pub fn receipts_key(height: Height, chunk: u32) -> Vec<u8> {
    [height_key(height).as_slice(), &chunk.to_be_bytes()].concat()
}

/// Key of [`Column::Messages`].
pub fn message_key(id: &MessageId) -> Vec<u8> {
    [
        id.source.to_bytes().as_slice(),
        &id.destination.to_bytes(),
        &id.sequence.get().to_be_bytes(),
    ]
    .concat()
}

/// Key of [`Column::Outgoing`].
pub fn outgoing_key(destination: ChainRef, first: Sequence) -> Vec<u8> {
    [
        destination.to_bytes().as_slice(),
        &first.get().to_be_bytes(),
    ]
    .concat()
}
