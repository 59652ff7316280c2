//! The Skerry node: the only place where the parts meet.
//!
//! | file | question it answers |
//! |---|---|
//! | [`chain`] | what one chain of a node does with what it is told: consensus, execution, pools |
//! | [`producer`] | what a leader proposes |
//! | [`committees`] | whose certificates count |
//! | [`mempool`], [`relay`], [`beacon`], [`evidence`] | what waits: transactions, batches, beacon blocks and links, evidence |
//! | [`snapshot`] | how a node joins by taking over states, and serves others |
//! | [`runner`], [`votes`] | how a chain gets time, disk, network, processors |
//! | [`assemble`] | how the parts of a node join |
//! | [`view`], [`grpc`], [`http`] | what readers see |
//! | [`config`], [`home`] | files of a node and of a network |
//! | [`start`], [`devnet`], [`faucet`], [`mod@bench`], [`verify`], [`cli`] | the commands |
//!
//! `chain`, `producer`, `committees`, `mempool`, `relay`, `beacon` and `evidence` have no clock, disk, socket,
//! thread or randomness: the simulator runs them as they are.

pub mod assemble;
pub mod beacon;
pub mod bench;
pub mod chain;
pub mod cli;
pub mod committees;
pub mod config;
pub mod devnet;
pub mod error;
pub mod evidence;
pub mod faucet;
pub mod grpc;
pub mod home;
pub mod http;
pub mod inclusion;
pub mod init;
pub mod mempool;
pub mod producer;
pub mod relay;
pub mod runner;
pub mod snapshot;
pub mod start;
pub mod verify;
pub mod view;
pub mod votes;
pub mod wire;

#[cfg(test)]
mod testing;
