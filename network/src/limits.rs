//! Every bound of the network service, in one table.
//!
//! Each field states its default and what happens at the bound. Nothing in this crate grows with
//! what peers send beyond what stands here: the worst case of payload bytes waiting in memory is
//! the sum of the inbound budgets plus, per peer, the sum of its outbound queues.

use crate::frame::{ByClass, Class};
use std::time::Duration;

const MIB: usize = 1024 * 1024;

/// Bounds of one outbound queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueLimit {
    /// Most frames that wait.
    pub frames_max: usize,
    /// Most payload bytes that wait. A single frame always fits an empty queue.
    pub bytes_max: usize,
}

/// Bounds of the network service. Start from `Limits::default()`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Outbound queue per peer and class. Consensus classes drop their oldest frame at the bound,
    /// the others refuse the new one. Defaults: votes 1024 frames and 2 MiB, blocks 16 and 64 MiB,
    /// relay 512 and 16 MiB, transactions 64 and 8 MiB, sync 64 and 32 MiB.
    pub outbound: ByClass<QueueLimit>,
    /// Payload bytes per class, over all peers, that are being read or wait for the consumer; a
    /// frame counts as at least 1 KiB. At the bound, reading from the substreams of that class
    /// stops. Defaults: votes 8 MiB, blocks 128, relay 64, transactions 32, sync 64.
    pub inbound_bytes_max: ByClass<usize>,
    /// Gossip payloads waiting for the consumer; more are dropped. Default 1024.
    pub gossip_waiting_max: usize,
    /// Largest gossip payload. Default 64 KiB.
    pub gossip_bytes_max: usize,
    /// Whether a gossip message travels on only after [`NetworkHandle::validate`] accepted it.
    /// Default `false`: it travels on when its topic and size are right.
    ///
    /// [`NetworkHandle::validate`]: crate::NetworkHandle::validate
    pub gossip_awaits_validation: bool,
    /// Time between two heartbeats of gossip. Default 2 s.
    pub gossip_heartbeat: Duration,
    /// Connected peers. More are refused. Default 64.
    pub peers_max: usize,
    /// Connections per peer. More are denied. Default 8.
    pub connections_per_peer_max: u32,
    /// Inbound substreams of one class per peer; more are closed. Default 4, because each side may
    /// hold a connection and a fresh substream replaces one that is still being closed.
    pub substreams_per_class_max: usize,
    /// Time for the hello of a connection. Default 10 s.
    pub hello_timeout: Duration,
    /// Largest control message (hello, list of peers). Default 32 KiB.
    pub control_bytes_max: usize,
    /// Control messages that one peer may send in ten seconds. Default 64.
    pub control_messages_max: u32,
    /// Time between two pings on each connection. Default 4 s.
    pub ping_interval: Duration,
    /// A connection without a single byte for this long is closed. Default 10 s.
    pub silence_max: Duration,
    /// Time for one frame's payload, plus a second per 512 KiB. A peer that stalls longer is
    /// penalised, because an unfinished frame holds inbound budget. Default 10 s.
    pub frame_timeout: Duration,
    /// First wait before a failed dial is tried again; it doubles. Default 250 ms.
    pub redial_min: Duration,
    /// Longest wait between dials. Default 5 s.
    pub redial_max: Duration,
    /// Wait after a refusal that only an operator can end (another genesis). Default 60 s.
    pub redial_refused: Duration,
    /// Failed dials after which an address learned from peers is forgotten. Default 20.
    pub learned_dials_max: u32,
    /// Peers known from other peers. Default 256.
    pub learned_peers_max: usize,
    /// Peers told to others in one list. Default 64.
    pub told_peers_max: usize,
    /// Addresses per peer, in hellos, lists and the book. Default 8.
    pub addresses_per_peer_max: usize,
    /// Whether public addresses and full domain names learned from peers are dialled. Default
    /// `false`: loopback (from loopback peers), private ranges and single-label names only.
    pub allow_public: bool,
    /// Penalty at which a peer is disconnected and banned. Default 100.
    pub penalty_max: u32,
    /// Penalty forgiven per second. Default 1.
    pub penalty_forgiven_per_second: u32,
    /// Length of a ban. Default 60 s.
    pub ban: Duration,
    /// Peers with a remembered penalty or ban. Default 1024.
    pub reputations_max: usize,
    /// Commands waiting for the service (publish, validate, report). Default 1024.
    pub commands_max: usize,
    /// Peer events waiting for the consumer; at the bound the swarm pauses. Default 1024.
    pub peer_events_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        let queue = |frames_max, mebibytes: usize| QueueLimit {
            frames_max,
            bytes_max: mebibytes.saturating_mul(MIB),
        };
        Self {
            outbound: ByClass {
                votes: queue(1024, 2),
                blocks: queue(16, 64),
                relay: queue(512, 16),
                transactions: queue(64, 8),
                sync: queue(64, 32),
            },
            inbound_bytes_max: ByClass::from_fn(|class| match class {
                Class::Votes => 8 * MIB,
                Class::Blocks => 128 * MIB,
                Class::Relay | Class::Sync => 64 * MIB,
                Class::Transactions => 32 * MIB,
            }),
            gossip_waiting_max: 1024,
            gossip_bytes_max: 64 * 1024,
            gossip_awaits_validation: false,
            gossip_heartbeat: Duration::from_secs(2),
            peers_max: 64,
            connections_per_peer_max: 8,
            substreams_per_class_max: 4,
            hello_timeout: Duration::from_secs(10),
            control_bytes_max: 32 * 1024,
            control_messages_max: 64,
            ping_interval: Duration::from_secs(4),
            silence_max: Duration::from_secs(10),
            frame_timeout: Duration::from_secs(10),
            redial_min: Duration::from_millis(250),
            redial_max: Duration::from_secs(5),
            redial_refused: Duration::from_secs(60),
            learned_dials_max: 20,
            learned_peers_max: 256,
            told_peers_max: 64,
            addresses_per_peer_max: 8,
            allow_public: false,
            penalty_max: 100,
            penalty_forgiven_per_second: 1,
            ban: Duration::from_secs(60),
            reputations_max: 1024,
            commands_max: 1024,
            peer_events_max: 1024,
        }
    }
}
