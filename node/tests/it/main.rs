//! The binary as a user has it: whole networks of real processes on loopback, with faults.
//!
//! Each test has a folder, ports and processes of its own; all processes end with it, also when it
//! panics. The tests take turns, since a network fills a small machine. What a failed test leaves
//! in its folder stays there; the message says where.
//!
//! | file | question it answers |
//! |---|---|
//! | `net` | how a network is laid out, started, asked and ended |
//! | `load` | which transfers were made, and what must be true of them afterwards |
//! | `power` | what a power cut leaves of a folder |
//! | `kills`, `cuts` | is anything lost that was reported as final |
//! | `trace` | is every vote durable before it is sent |
//! | `seats`, `catch_up` | who can be missing, and come back |
//! | `epochs` | do committees change while nodes come and go |
//! | `snapshot` | can a node join by taking over states, and go on after a kill |
//! | `staking` | can a validator join, and leave with its bond |
//! | `pool` | does a pool exchange as quoted, and in the order of the blocks |
//! | `legs` | is every leg of a transaction told, by whom it can be known |
//! | `market` | a token and a pool, and the commands of accounts about them |
//! | `congested` | does a route end where its next leg finds no credit, and go on when there is some |
//! | `elsewhere` | is a pool of another shard used like one at home, and what comes back where it fails |
//! | `sizes` | how many bytes travel between shards, and how many prove something |
//! | `fees` | does the base fee rise under load, tell its price, and fall again |
//! | `copies` | what happens when two nodes run one vote key |
//! | `double_signer` | is a key that contradicts itself jailed and slashed |
//! | `history` | what happens when a validator loses data or vote log, or moves |
//! | `bad_input` | does each mistake get its own answer, and harm nobody |
//! | `proof_flips` | does a verifier notice every change of a proof |
//!
//! `SKERRY_KILLS` and `SKERRY_CUTS` set the number of rounds (5), `SKERRY_SEED` the random choices.

mod bad_input;
mod catch_up;
mod congested;
mod copies;
mod cuts;
mod double_signer;
mod elsewhere;
mod epochs;
mod fees;
mod history;
mod kills;
mod legs;
mod load;
mod market;
mod net;
mod pool;
mod power;
mod proof_flips;
mod seats;
mod sizes;
mod snapshot;
mod staking;
mod trace;
