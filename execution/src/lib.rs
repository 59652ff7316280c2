//! What a block does to the state: the executor, the cross-shard inbox and outbox, the native
//! modules, and every check that decides whether a block is valid.
//!
//! The crate is a set of pure functions: no clock, no randomness, no I/O, no floats, no hash maps.
//! It never verifies user signatures (the glue does, in batches, before voting) and never computes
//! state roots (storage does).
//!
//! Data flow: `validate::CheckedBody` decodes a block's bytes and `validate::validate_block` makes
//! them a `ValidBlock`; the glue checks signatures and proofs (`proofs`); `block::Executor` turns
//! `BlockWork` and the parent's state into
//! an `Outcome`: sorted changes, receipts, outgoing batches, channel summaries.
//!
//! | file | question it answers |
//! |---|---|
//! | [`block`] | what a block does, in which order |
//! | [`network`] | what of the genesis execution needs all the time |
//! | [`genesis`] | what the state of each chain begins with |
//! | [`transaction`] | what one transaction does; void, failed, succeeded |
//! | [`fees`], [`gas`] | what it costs |
//! | [`check`] | whether a transaction may be admitted or proposed |
//! | [`validate`] | whether a block is valid |
//! | [`proofs`] | whether a batch, a cross-link, evidence proves itself |
//! | [`fence`] | what counts of a shard with two histories |
//! | [`inbox`], [`outbox`] | how messages arrive and leave |
//! | [`requests`] | how a bundle runs on another chain, and what comes home |
//! | [`parallel`] | how the transactions of a block run beside each other |
//! | [`module`], [`plan`], [`view`], [`sheet`] | what a module is and what it may touch |
//! | [`modules`] | which modules exist |
//! | [`views`] | how others read the state |
//! | [`supply`] | how value is counted from raw records |
//! | [`math`] | how products and quotients are rounded |

#![cfg_attr(
    not(test),
    warn(
        clippy::indexing_slicing,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_possible_wrap
    )
)]

pub mod block;
pub mod check;
pub mod credit;
pub mod error;
pub mod fees;
pub mod fence;
pub mod gas;
pub mod genesis;
pub mod inbox;
pub mod math;
pub mod module;
pub mod modules;
pub mod network;
pub mod outbox;
mod overlay;
pub mod parallel;
pub mod plan;
pub mod proofs;
pub mod requests;
pub mod sheet;
pub mod supply;
pub mod transaction;
pub mod validate;
pub mod view;
pub mod views;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
