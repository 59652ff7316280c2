//! Joining by snapshot: the state of a chain is taken over from peers, in chunks that prove
//! themselves, instead of executing all blocks since the genesis.
//!
//! | file | question it answers |
//! |---|---|
//! | [`frames`] | what is asked and answered |
//! | [`pins`] | which states are kept for others, and what they are answered |
//! | [`check`] | what is believed |
//! | [`jobs`] | what a worker does |
//! | [`join`] | what is asked next, of whom, and when it is over |
//! | [`run`] | how a node joins before its chains begin |
//! | [`serve`] | how a node serves without loading its chains |
//!
//! `frames`, `pins`, `check`, `jobs` and `join` have no clock, socket or thread: the simulator runs
//! them as they are.

pub mod check;
pub mod frames;
pub mod jobs;
pub mod join;
pub mod pins;
pub mod run;
pub mod serve;
#[cfg(test)]
mod tests;

/// Heights that a chain may lag before it joins by snapshot instead of by blocks.
pub const ABOVE_DEFAULT: u64 = 2_000;

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
