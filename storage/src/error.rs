//! Every check of this crate that can fail, with what was expected and what was found.
//!
//! Errors that an operator meets carry a hint. [`StoreError::Poisoned`] is what all calls return
//! after a write or a sync has failed: the process must stop and recover by starting again.

use crate::columns::Column;
use crate::commit::CrashPoint;
use skerry_types::ids::{ChainRef, Digest, Height};
use skerry_types::snapshot::Cursor;
use std::path::PathBuf;

/// Why the store refused or failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// An earlier write failed.
    #[error("the store is closed after a failed write ({cause}); restart the node to recover")]
    Poisoned {
        /// The failure.
        cause: String,
    },
    /// The database failed.
    #[error("the database failed while {doing}: {message}")]
    Database {
        /// What was being done.
        doing: &'static str,
        /// Its message.
        message: String,
    },
    /// Another process, or another part of this one, has the directory open.
    #[error(
        "data directory in use: {}; stop the other node that runs on it, or choose another --data-dir",
        path.display()
    )]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// The directory could not be made or read.
    #[error("cannot use the directory {}; check its owner, its mode and the free space", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A stored row does not decode.
    #[error(
        "a row of column {column} is damaged (key 0x{key}): {reason}; delete the directory and sync again"
    )]
    Row {
        /// Its column.
        column: Column,
        /// Its key in hexadecimal.
        key: String,
        /// What is wrong.
        reason: String,
    },
    /// A row that others refer to is missing.
    #[error(
        "column {column} lacks the row {key} that others refer to; delete the directory and sync again"
    )]
    Missing {
        /// Its column.
        column: Column,
        /// Its key, readable.
        key: String,
    },
    /// The format is of another version.
    #[error("the directory has format {actual}, this program needs {expected}")]
    Format {
        /// What this program writes.
        expected: u32,
        /// What was found.
        actual: u32,
    },
    /// The directory belongs to another network or chain.
    #[error(
        "the directory belongs to {actual_chain} of network {actual_id}, not to {expected_chain} of {expected_id}"
    )]
    Identity {
        /// Chain asked for.
        expected_chain: ChainRef,
        /// Network asked for.
        expected_id: Digest,
        /// Chain found.
        actual_chain: ChainRef,
        /// Network found.
        actual_id: Digest,
    },
    /// The store holds no genesis yet.
    #[error("the store is empty: the genesis state was never written")]
    NoGenesis,
    /// The genesis state was written with another result.
    #[error("the genesis state has root {actual}, not {expected}")]
    Genesis {
        /// The root of the changes now given, or the root that the result states.
        expected: Digest,
        /// The recorded root, or the root that the changes give.
        actual: Digest,
    },
    /// The rebuilt state does not have the recorded root.
    #[error(
        "the stored state has root {actual}, but {expected} was final at height {height}; \
         the directory is damaged: delete it and sync again, and check the disk"
    )]
    StateRoot {
        /// Height of the block whose state it should be.
        height: Height,
        /// The recorded root.
        expected: Digest,
        /// The root of what is stored.
        actual: Digest,
    },
    /// Rows of the state came out of order.
    #[error("state rows are not in strict order of owner and key")]
    StateOrder,
    /// A header was stored under a digest that is not its own.
    #[error("the header has digest {actual}, not {expected}")]
    HeaderDigest {
        /// The digest given.
        expected: Digest,
        /// The digest of the header.
        actual: Digest,
    },
    /// A block to be marked final is not stored.
    #[error("block {digest} at height {height} is to be final but is not stored")]
    UnknownBlock {
        /// Its height.
        height: Height,
        /// Its digest.
        digest: Digest,
    },
    /// Final blocks do not follow each other.
    #[error("the next final height is {expected}, not {actual}")]
    FinalHeight {
        /// One above the newest.
        expected: Height,
        /// The height given.
        actual: Height,
    },
    /// A final block does not extend the one below.
    #[error(
        "the final block at height {height} has parent {actual}, the block below is {expected}"
    )]
    FinalParent {
        /// Its height.
        height: Height,
        /// The block below.
        expected: Digest,
        /// Its parent.
        actual: Digest,
    },
    /// The newest of the blocks made final has no certificate.
    #[error("the newest final block, at height {height}, has no certificate")]
    NoCertificate {
        /// Its height.
        height: Height,
    },
    /// A certificate is not a finalization of its block.
    #[error("the certificate at height {height} does not finalize block {digest}")]
    CertificateStatement {
        /// The height.
        height: Height,
        /// The block.
        digest: Digest,
    },
    /// A state was committed out of order.
    #[error("the next state to commit is that of height {expected:?}, not that of {actual}")]
    StateHeight {
        /// The lowest final working block without its state, if any.
        expected: Option<Height>,
        /// The height given.
        actual: Height,
    },
    /// A state was committed for a block that is not the final one at its height.
    #[error("the final block at height {height} is {expected}, not {actual}")]
    StateBlock {
        /// The height.
        height: Height,
        /// The final block.
        expected: Digest,
        /// The block given.
        actual: Digest,
    },
    /// A state was to be imported that is no newer than the one that is there.
    #[error(
        "the store holds the state of height {held}; an import of that of {base} brings nothing"
    )]
    ImportBelow {
        /// Height of the state that is there.
        held: Height,
        /// Height of the state to be imported.
        base: Height,
    },
    /// A chunk does not follow those that were written.
    #[error("the next chunk of the import begins at {expected:?}, not at {actual:?}")]
    ImportOrder {
        /// Where the import stands; `None` before the first chunk and after the last.
        expected: Option<Cursor>,
        /// Where the chunk begins.
        actual: Option<Cursor>,
    },
    /// An import was to be finished before its last chunk.
    #[error("the import has {rows} records and is not complete")]
    ImportIncomplete {
        /// Records so far.
        rows: u64,
    },
    /// The blocks that come with an imported state do not belong to it.
    #[error("the block at height {height} does not fit to the imported state: {reason}")]
    ImportBlocks {
        /// Height of the block.
        height: Height,
        /// What is wrong.
        reason: &'static str,
    },
    /// The store was opened for reading only.
    #[error("the store is open for reading only")]
    ReadOnly,
    /// A test or the simulator stopped the process here.
    #[error("stopped at crash point {0:?}")]
    Crashed(CrashPoint),
}

/// Why the vote log refused or failed.
#[derive(Debug, thiserror::Error)]
pub enum VoteLogError {
    /// There is no log where the key says there is one.
    #[error(
        "the vote log {} is missing; without it this key may sign twice. If it lies elsewhere, put \
         that very log back or name it in `validator.vote_log`; a backup or an older copy is worse \
         than none",
        path.display()
    )]
    Absent {
        /// Where it should be.
        path: PathBuf,
    },
    /// A log would be overwritten.
    #[error("the vote log {} exists already and is never overwritten", path.display())]
    Exists {
        /// Where it is.
        path: PathBuf,
    },
    /// Another process has it open.
    #[error("the vote log {} is in use; two nodes with one key get slashed: stop the other one", path.display())]
    InUse {
        /// Where it is.
        path: PathBuf,
    },
    /// The file is not a vote log of this version.
    #[error("the file is not a vote log of this version: {reason}")]
    Form {
        /// What is wrong.
        reason: &'static str,
    },
    /// A record that was durable is damaged.
    #[error(
        "the vote log is damaged at byte {offset}: {reason}. Do not restore a backup of it, which \
         would forget votes: check the disk, then declare the log lost"
    )]
    Corrupt {
        /// Where.
        offset: u64,
        /// What is wrong.
        reason: &'static str,
    },
    /// A record is too long.
    #[error("a record of {actual} bytes, at most {limit} allowed")]
    TooLong {
        /// Its length.
        actual: usize,
        /// The bound.
        limit: usize,
    },
    /// An earlier write or sync failed.
    #[error("the vote log is closed after a failed write ({cause}); restart the node to recover")]
    Poisoned {
        /// The failure.
        cause: String,
    },
    /// The file system failed.
    #[error("the vote log failed while {doing}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// Why.
        source: std::io::Error,
    },
}
