//! Joining by snapshot: the state of a chain is taken over from peers, in chunks that prove
//! themselves, instead of executing all blocks since the genesis.
//!
//! | file | question it answers |
//! |---|---|
//! | [`frames`] | what is asked and answered |
//! | [`pins`] | which states are kept for others, and what they are answered |
//! | [`check`] | what is believed |
//! | [`jobs`] | what a worker does |
//! | [`join`] | what is asked next, and when it is over |
//! | `outside` | what goes into a join and comes out of it |
//! | `peers` | who offers what, who kept its word, and whom to ask |
//! | [`run`] | how a node joins before its chains begin |
//! | [`serve`] | how a node serves without loading its chains |
//!
//! `frames`, `pins`, `check`, `jobs`, `join`, `outside` and `peers` have no clock, socket or
//! thread: the simulator runs them as they are.

pub mod check;
pub mod frames;
pub mod jobs;
pub mod join;
mod outside;
mod peers;
pub mod pins;
pub mod run;
pub mod serve;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

/// Heights that a chain of which nothing is held may lag before it joins by snapshot instead of by
/// blocks.
pub const ABOVE_EMPTY: u64 = 2_000;
/// The same where blocks are held: they go with the old state, and with them what the node can show
/// of the past. At two blocks a second it is half a day.
pub const ABOVE_HELD: u64 = 100_000;

/// An error with its causes, in a line.
fn reason_of(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
