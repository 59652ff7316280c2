//! What is kept: the authenticated state tree, blocks, certificates, receipts, and the vote log.
//!
//! RAM is the working copy ([`StateTree`]: persistent, so every unfinalized block and the last
//! final ones each hold a version that shares all but what changed), a database is the store of
//! record ([`ChainStore`] over a [`Backend`]). A block's bytes are durable before it is certified,
//! its finalization before its state; the state of a block enters only when the header that reports
//! its result is final, so a crash loses nothing that peers could have relied on, and what was
//! executed above it is executed again. A write or sync that fails poisons the store: everything is
//! refused until a restart has recovered.
//!
//! A state may also come from peers: any version can be cut into proven chunks
//! ([`StateTree::chunk`]), and an [`Import`] puts them together beside the old state.
//!
//! The crate never executes a block, never checks a signature and never decides what is final. It
//! reads no clock and all calls block; the only threads are RocksDB's, which all databases share,
//! and those of a large tree update, which end with it.
//!
//! | file | question it answers |
//! |---|---|
//! | [`columns`] | what is stored: every column's key, value and purpose |
//! | [`backend`] | what a database must do: atomic batches, synced or not, ordered reads |
//! | `rocks` | how RocksDB does it; the only file that names it |
//! | `memory` | how a simulated disk does it, power cuts included |
//! | [`tree`] | the two-level Merkle tree: update, read, prove |
//! | [`store`] | one chain's store: open, load, read |
//! | [`prune`] | what is forgotten: acknowledged batches |
//! | [`commit`] | what durable means: blocks, finalization, state, in this order |
//! | [`import`] | how a state from peers takes the place of what is there |
//! | [`votelog`] | the signing history of a key, in one file beside it |
//! | `poison` | what happens after a failed write |
//! | [`error`] | every check that can fail |

#![cfg_attr(
    not(test),
    warn(
        clippy::indexing_slicing,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_possible_wrap
    )
)]

pub mod backend;
pub mod columns;
pub mod commit;
pub mod error;
pub mod import;
mod memory;
mod poison;
pub mod prune;
mod rocks;
pub mod store;
#[cfg(test)]
mod testing;
pub mod tree;
pub mod votelog;

pub use backend::{Backend, Batch, Counters, Direction, Durability, KeyRange};
pub use columns::{Column, StateColumn};
pub use commit::{Commit, CrashPoint, CrashPoints, FinalizedEntry, NoCrashes, StateEntry};
pub use error::{StoreError, VoteLogError};
pub use import::{BaseBlock, BaseContext, BaseRow, Import, ImportProgress};
pub use memory::MemoryBackend;
pub use rocks::{RocksBackend, SharedCache};
pub use store::{ChainStore, EpochRow, Identity, Loaded, Location, StoreStats};
pub use tree::{StateTree, TreeBuilder};
pub use votelog::{FileDevice, LogDevice, LogRecord, MemoryDevice, Replayed, VoteLog};
