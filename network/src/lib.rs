//! The network service of a Skerry node: one libp2p swarm per process that carries all chains.
//!
//! It connects to peers over TCP (Noise, Yamux) and QUIC, checks in a hello that they are on the
//! same network, carries frames on direct substreams (one per class, so that bulk never delays
//! votes) and finalizations by gossip, and learns of further peers from peers.
//!
//! It never decodes a payload, never decides what is true, and never waits for its callers: what is
//! sent is queued or refused at once, and what is received waits in bounded lanes. No queue, table
//! or message is without a bound; all of them stand in [`Limits`]. No other crate names libp2p.
//!
//! Data flow: `NetworkHandle::send` → the peer's outbox of the class → writer task → substream →
//! reader task of the other node, which checks chain, kind and size before it reads the payload →
//! lane of the class → `NetworkEvents::{consensus, bulk}`. Control flow: the service's task alone
//! owns the swarm, the peers and their tasks.
//!
//! | file | question it answers |
//! |---|---|
//! | `config.rs`, [`Limits`] | what a node is told, and every bound |
//! | `frame.rs` | which kinds of frames exist, their class, their size, their header |
//! | `handle.rs`, `events.rs` | what callers can do, and what they are told |
//! | `start.rs`, `service.rs`, `sessions.rs` | the start; the loop; how a connection becomes a peer and ends |
//! | `hello.rs` | who is served: hello, verdict, pings, lists of peers |
//! | `streams.rs` | queues, writers and readers |
//! | `peers.rs`, `address.rs` | whom to dial, and which addresses may be dialled |
//! | `reputation.rs` | what misbehaviour costs |
//! | `behaviour.rs`, `direct.rs`, `gossip.rs` | the swarm, raw substreams, what travels on |
//! | `key.rs`, `error.rs`, `stats.rs` | names of peers, errors and refusals, counters |

#![cfg_attr(
    not(test),
    warn(
        clippy::indexing_slicing,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_possible_wrap
    )
)]

mod address;
mod behaviour;
mod config;
mod direct;
mod error;
mod events;
mod frame;
mod gossip;
mod handle;
mod hello;
mod key;
mod limits;
mod peers;
mod reputation;
mod service;
mod sessions;
mod start;
mod stats;
mod streams;

pub use bytes::Bytes;
pub use config::{CHAINS_MAX, HelloProof, NetworkConfig, hello_signing_digest};
pub use error::{NetworkError, RefusalCode, RefusedReason, Source};
pub use events::{EventReceiver, GossipTicket, NetworkEvent, NetworkEvents};
pub use frame::{ByClass, Class, Frame, FrameError, class_of, kind};
pub use handle::{Direction, GossipVerdict, NetworkHandle, PeerInfo, PublishOutcome, SendOutcome};
pub use key::{NetworkKey, ParsePeerKeyError, PeerKey};
pub use limits::{Limits, QueueLimit};
pub use reputation::Misbehaviour;
pub use start::start;
pub use stats::{ClassStats, NetworkStats};
