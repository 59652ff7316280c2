//! The words of Skerry: ids, amounts, transactions, blocks, messages, certificates, proofs.
//!
//! Everything that is signed, hashed or stored is defined here, once, with its canonical bytes
//! ([`codec`]: borsh, a version byte first, no trailing bytes, sizes limited by [`limits`]). The
//! crate does no I/O, reads no clock and draws no randomness; every other crate imports it and it
//! imports none of them.
//!
//! | file | question it answers |
//! |---|---|
//! | [`ids`] | how chains, owners, denoms, validators, heights are named |
//! | [`amount`] | how much, in which unit, and which way a division rounds |
//! | [`transaction`] | what a user signs |
//! | [`block`] | what a leader proposes and a header reports |
//! | [`message`] | what travels between shards |
//! | [`committee`], [`vote`], [`certificate`] | who may vote, what a vote says, what a quorum proves |
//! | [`consensus`] | what validators of one chain send each other |
//! | [`beacon`] | cross-links, facts, operations of validators: what the beacon holds |
//! | [`evidence`] | what proves that members broke the rules |
//! | [`state`] | state keys, reads and change sets |
//! | [`short`] | bytes that lie in place when they are few |
//! | [`merkle`] | the two-level tree's hashes and the verification of its proofs |
//! | [`snapshot`] | chunks of a state, and what proves that none is missing |
//! | [`receipt`] | what happened to a transaction |
//! | [`light`] | the light proof of a state key |
//! | [`genesis`] | what a network starts from |
//! | [`limits`] | every size bound, in one table |
//! | [`lookup`] | a map that is only looked into |
//! | [`crypto`] | hashing, ed25519 (ZIP-215), BLS12-381 with proof of possession |

#![cfg_attr(
    not(test),
    warn(
        clippy::indexing_slicing,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_possible_wrap
    )
)]

pub mod amount;
pub mod beacon;
pub mod block;
pub mod certificate;
pub mod codec;
pub mod committee;
pub mod consensus;
pub mod crypto;
pub mod evidence;
pub mod genesis;
pub mod ids;
pub mod light;
pub mod limits;
pub mod lookup;
pub mod merkle;
pub mod message;
pub mod receipt;
pub mod short;
pub mod snapshot;
pub mod state;
pub mod transaction;
pub mod vote;

#[cfg(test)]
mod tests;
