//! What a wallet needs: keys, transactions, a client, and proofs that make the client's node
//! superfluous to believe.
//!
//! | file | question it answers |
//! |---|---|
//! | [`keys`] | how is a key made, kept and opened |
//! | [`builder`] | how does a wish become a signed transaction |
//! | [`client`] | what can a node be asked |
//! | [`exchange`] | what does a swap through pools bring or cost |
//! | [`light`] | what does a proof show, starting from a genesis, or a checkpoint beside it |
//!
//! The crate holds no state and starts no tasks. It signs only what [`builder`] has put together,
//! and never sends a secret anywhere.

pub mod builder;
pub mod client;
pub mod exchange;
pub mod keys;
pub mod light;
