//! Whole networks on virtual time: the code of the node, driven from a seed, under faults.
//!
//! A run builds a network of validators and a follower, each with a `ChainNode` for every chain
//! that it follows, and plays everything that `runner.rs` and `assemble.rs` of the node do with
//! clocks, threads, disks and sockets: one event at a time, in order of virtual time, so that a
//! seed always tells the same story. The rules of [`checks`] are looked at after every step. After
//! the faults everything is healed, and the network must go on, settle all that clients sent, and
//! agree.
//!
//! Nothing here is ever linked into a node, and nothing in a node knows of it.
//!
//! | file | question it answers |
//! |---|---|
//! | [`plan`] | what does a seed mean: network, strengths, faults and their times |
//! | [`world`] | what happens next: the queue of events, and how outputs are carried out |
//! | [`machine`] | what is a node, what survives a crash, how does it start again |
//! | [`model`] | can the vote rules be broken at all, in a small world searched whole |
//! | [`network`] | when does a frame arrive |
//! | [`disk`] | when is something durable, what does a power cut leave |
//! | [`work`] | how long does computation take |
//! | [`load`], [`operator`] | what do clients do, and what may they expect |
//! | [`adversary`] | what does a Byzantine node do |
//! | [`captured`] | what does a shard send whose whole committee is bought |
//! | [`checks`] | what must hold |
//! | [`counts`] | did each kind of fault and event occur at all |
//! | [`times`] | how long did proposing, finality and proof take |
//! | [`trace`] | was this the same run as that one |
//! | [`random`] | where does chance come from |

pub mod adversary;
pub mod captured;
pub mod checks;
pub mod counts;
pub mod disk;
pub mod load;
pub mod machine;
pub mod model;
pub mod network;
pub mod operator;
pub mod plan;
pub mod random;
pub mod times;
pub mod trace;
pub mod work;
pub mod world;

pub use plan::{Fault, Malice, Mix, Network, Plan, Planted, Rush};
pub use world::{Report, Violation, run};
