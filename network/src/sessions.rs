//! Connections and peers: how a connection becomes part of a peer, what is open, and how it ends.
//!
//! A connection greets, then is ready. A peer exists while at least one of its connections is
//! ready; several are allowed, because both sides may dial at once. Each side opens one outbound
//! substream per class, on any ready connection of the peer, and opens it again with a growing wait
//! when it fails. Substreams that the peer opens before this side has finished the hello are held,
//! one per class, and served afterwards. A hello with another session number means that the peer
//! restarted: what is left of its old connections is closed at once.

use crate::error::RefusedReason;
use crate::events::NetworkEvent;
use crate::frame::{ByClass, Class};
use crate::handle::{Direction, Link, PeerInfo};
use crate::hello::{CheckedHello, PeerRecord};
use crate::key::PeerKey;
use crate::service::{Service, TaskEnd};
use crate::streams::{LastSeen, Outbox, ReadContext, ReadEnd, read_frames, write_frames};
use crate::{address, direct::Channel};
use libp2p::Multiaddr;
use libp2p::swarm::{ConnectionId, Stream};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// First wait before a failed substream is opened again; it doubles up to the longest.
const REOPEN_MIN: Duration = Duration::from_millis(50);
/// Longest wait before a failed substream is opened again.
const REOPEN_MAX: Duration = Duration::from_secs(2);
/// A substream that lived this long was fine; its end does not count as a failure.
const HEALTHY: Duration = Duration::from_secs(5);

/// One connection.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) peer: PeerKey,
    pub(crate) address: Multiaddr,
    pub(crate) direction: Direction,
    pub(crate) last_seen: LastSeen,
    pub(crate) phase: Phase,
}

/// How far a connection is.
#[derive(Debug)]
pub(crate) enum Phase {
    /// The hello is under way.
    Greeting {
        deadline: Instant,
        has_control: bool,
        held: Vec<(Class, Stream)>,
    },
    /// Frames are served.
    Ready,
}

impl Connection {
    /// When it has to be looked at: the end of its hello's time, or of its silence.
    pub(crate) fn due(&self, silence_max: Duration) -> Instant {
        match self.phase {
            Phase::Greeting { deadline, .. } => deadline,
            Phase::Ready => later(self.last_seen.get(), silence_max),
        }
    }
}

/// One connected peer.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) link: Arc<Link>,
    generation: u64,
    session: u64,
    connections: Vec<ConnectionId>,
    addresses: Vec<String>,
    outbound: ByClass<Outbound>,
    inbound: ByClass<usize>,
}

/// The outbound substream of one class.
#[derive(Debug, Clone, Copy)]
enum Outbound {
    Closed {
        retry_at: Instant,
        failures: u32,
    },
    Opening {
        connection: ConnectionId,
        failures: u32,
    },
    Open {
        since: Instant,
        failures: u32,
    },
}

impl Peer {
    /// When its closed substreams are to be opened again.
    pub(crate) fn retries(&self) -> impl Iterator<Item = Instant> {
        Class::ALL
            .into_iter()
            .filter_map(|class| match self.outbound.get(class) {
                Outbound::Closed { retry_at, .. } => Some(*retry_at),
                Outbound::Opening { .. } | Outbound::Open { .. } => None,
            })
    }
}

impl Outbound {
    fn failed(failures: u32, now: Instant) -> Self {
        let wait = REOPEN_MIN
            .saturating_mul(1_u32 << failures.min(10))
            .min(REOPEN_MAX);
        Self::Closed {
            retry_at: later(now, wait),
            failures: failures.saturating_add(1),
        }
    }
}

impl Service {
    /// A connection finished its hello.
    pub(crate) fn on_ready(&mut self, id: ConnectionId, hello: CheckedHello) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        let Phase::Greeting { held, .. } = std::mem::replace(&mut connection.phase, Phase::Ready)
        else {
            return;
        };
        let peer = connection.peer;
        let known = self.peers.get(&peer).map(|known| known.session);
        if known.is_some_and(|session| session != hello.session) {
            tracing::info!(%peer, "a peer restarted");
            self.close_peer(peer, id);
        }
        match self.peers.get_mut(&peer) {
            Some(known) => known.connections.push(id),
            None => {
                let limit = self.shared.limits.peers_max;
                if self.peers.len() >= limit && !self.dials.is_configured(peer) {
                    self.refuse_connection(id, RefusedReason::TooManyPeers { limit });
                    return;
                }
                self.admit(id, peer, hello);
            }
        }
        for (class, stream) in held {
            self.accept(id, class, stream);
        }
    }

    fn admit(&mut self, id: ConnectionId, peer: PeerKey, hello: CheckedHello) {
        let Some(connection) = self.connections.get(&id) else {
            return;
        };
        let now = Instant::now();
        let info = PeerInfo {
            peer,
            validator: hello.validator,
            chains: hello.chains.clone(),
            address: connection.address.to_string(),
            direction: connection.direction,
        };
        let teller = address::reach(&connection.address).unwrap_or(address::Reach::Public);
        let limits = &self.shared.limits;
        let link = Arc::new(Link {
            info,
            follows: hello.chains.iter().copied().collect(),
            outboxes: ByClass::from_fn(|class| {
                Arc::new(Outbox::new(class, *limits.outbound.get(class)))
            }),
            over: CancellationToken::new(),
        });
        self.generation = self.generation.saturating_add(1);
        let state = Peer {
            link: Arc::clone(&link),
            generation: self.generation,
            session: hello.session,
            connections: vec![id],
            addresses: hello.addresses.clone(),
            outbound: ByClass::from_fn(|_| Outbound::Closed {
                retry_at: now,
                failures: 0,
            }),
            inbound: ByClass::default(),
        };
        self.peers.insert(peer, state);
        self.shared.add_link(link);
        self.dials.on_ready(peer);
        self.dials.learn(peer, &hello.addresses, teller, now);
        tracing::debug!(%peer, "a peer connected");
        let (validator, chains) = (hello.validator, hello.chains);
        let configured = self.dials.is_configured(peer);
        self.emit(NetworkEvent::PeerConnected {
            peer,
            validator,
            chains,
            configured,
        });
        self.tell_peers();
        self.open_due(now);
    }

    /// Serves a substream that the peer opened, or holds it until the hello is done.
    pub(crate) fn accept(&mut self, id: ConnectionId, class: Class, stream: Stream) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        if let Phase::Greeting { held, .. } = &mut connection.phase {
            if held.iter().all(|(held, _)| *held != class) {
                held.push((class, stream));
            }
            return;
        }
        let key = connection.peer;
        let Some(peer) = self.peers.get_mut(&key) else {
            return;
        };
        let readers = peer.inbound.get_mut(class);
        if *readers >= self.shared.limits.substreams_per_class_max {
            tracing::debug!(peer = %key, ?class, "a peer opened too many substreams");
            return;
        }
        *readers = readers.saturating_add(1);
        let context = ReadContext::new(
            key,
            class,
            &self.shared.follows,
            self.events.frames.get(class).clone(),
            connection.last_seen.clone(),
            &self.shared.limits,
        );
        let counters = Arc::clone(&self.shared.counters);
        let (over, generation) = (peer.link.over.clone(), peer.generation);
        self.tasks.spawn(async move {
            let read = read_frames(stream, context, counters);
            let end = over
                .run_until_cancelled(read)
                .await
                .unwrap_or(ReadEnd::Closed);
            TaskEnd::Reader {
                peer: key,
                generation,
                class,
                end,
            }
        });
    }

    /// Opens the outbound substreams whose time has come.
    pub(crate) fn open_due(&mut self, now: Instant) {
        for (key, peer) in &mut self.peers {
            let Some(connection) = peer.connections.first().copied() else {
                continue;
            };
            for class in Class::ALL {
                let outbound = peer.outbound.get_mut(class);
                let Outbound::Closed { retry_at, failures } = *outbound else {
                    continue;
                };
                if retry_at <= now {
                    *outbound = Outbound::Opening {
                        connection,
                        failures,
                    };
                    let direct = &mut self.swarm.behaviour_mut().direct;
                    direct.open(*key, connection, Channel::Frames(class));
                }
            }
        }
    }

    /// A substream that was asked for is open.
    pub(crate) fn start_writer(&mut self, id: ConnectionId, class: Class, stream: Stream) {
        let Some(key) = self.connections.get(&id).map(|connection| connection.peer) else {
            return;
        };
        let Some(peer) = self.peers.get_mut(&key) else {
            return;
        };
        let outbound = peer.outbound.get_mut(class);
        let Outbound::Opening {
            connection,
            failures,
        } = *outbound
        else {
            return;
        };
        if connection != id {
            return;
        }
        *outbound = Outbound::Open {
            since: Instant::now(),
            failures,
        };
        let outbox = Arc::clone(peer.link.outboxes.get(class));
        let counters = Arc::clone(&self.shared.counters);
        let (over, generation) = (peer.link.over.clone(), peer.generation);
        self.tasks.spawn(async move {
            let result = over
                .run_until_cancelled(write_frames(stream, outbox, counters))
                .await;
            if let Some(Err(error)) = result {
                tracing::debug!(peer = %key, ?class, %error, "an outbound substream failed");
            }
            TaskEnd::Writer {
                peer: key,
                generation,
                class,
            }
        });
    }

    /// A substream that was asked for cannot be opened.
    pub(crate) fn on_outbound_failed(&mut self, id: ConnectionId, class: Class) {
        let Some(key) = self.connections.get(&id).map(|connection| connection.peer) else {
            return;
        };
        let Some(peer) = self.peers.get_mut(&key) else {
            return;
        };
        let outbound = peer.outbound.get_mut(class);
        if let Outbound::Opening {
            connection,
            failures,
        } = *outbound
            && connection == id
        {
            *outbound = Outbound::failed(failures, Instant::now());
        }
    }

    pub(crate) fn on_writer_end(&mut self, key: PeerKey, generation: u64, class: Class) {
        let Some(peer) = self.peers.get_mut(&key) else {
            return;
        };
        if peer.generation != generation {
            return;
        }
        let outbound = peer.outbound.get_mut(class);
        if let Outbound::Open { since, failures } = *outbound {
            let failures = if since.elapsed() > HEALTHY {
                0
            } else {
                failures
            };
            *outbound = Outbound::failed(failures, Instant::now());
        }
    }

    pub(crate) fn on_reader_end(&mut self, key: PeerKey, generation: u64, class: Class) {
        if let Some(peer) = self
            .peers
            .get_mut(&key)
            .filter(|peer| peer.generation == generation)
        {
            let readers = peer.inbound.get_mut(class);
            *readers = readers.saturating_sub(1);
        }
    }

    /// Closes connections whose hello takes too long, and those that have fallen silent.
    pub(crate) fn close_overdue(&mut self, now: Instant) {
        let limits = &self.shared.limits;
        let limit_ms = u64::try_from(limits.hello_timeout.as_millis()).unwrap_or(u64::MAX);
        let silence_max = limits.silence_max;
        let overdue = self
            .connections
            .iter()
            .filter(|(_, state)| state.due(silence_max) <= now);
        let overdue: Vec<ConnectionId> = overdue.map(|(id, _)| *id).collect();
        for id in overdue {
            match self
                .connections
                .get(&id)
                .map(|connection| &connection.phase)
            {
                Some(Phase::Greeting { .. }) => {
                    self.refuse_connection(id, RefusedReason::HelloTimeout { limit_ms });
                }
                Some(Phase::Ready) => {
                    tracing::info!(connection = %id, "a connection fell silent");
                    self.shared.counters.silent_connections.add(1);
                    self.close(id);
                }
                None => {}
            }
        }
    }

    /// Closes a connection. What depends on it ends now; the swarm may take longer when the other
    /// end is dead.
    pub(crate) fn close(&mut self, id: ConnectionId) {
        self.swarm.close_connection(id);
        self.forget(id, Instant::now());
    }

    /// Closes all ready connections of a peer but `spared`, and with the last one the peer.
    fn close_peer(&mut self, key: PeerKey, spared: ConnectionId) {
        let connections = self.peers.get(&key).map(|peer| peer.connections.clone());
        for id in connections.into_iter().flatten().filter(|id| *id != spared) {
            self.close(id);
        }
    }

    /// A connection is gone.
    pub(crate) fn forget(&mut self, id: ConnectionId, now: Instant) {
        let Some(connection) = self.connections.remove(&id) else {
            return;
        };
        let key = connection.peer;
        if let Phase::Greeting { .. } = connection.phase {
            self.dials.on_unfinished(key, now);
            return;
        }
        let Some(peer) = self.peers.get_mut(&key) else {
            return;
        };
        peer.connections.retain(|known| *known != id);
        if peer.connections.is_empty() {
            self.peers.remove(&key);
            self.shared.remove_link(key);
            self.dials.on_disconnected(key, now);
            tracing::debug!(peer = %key, "a peer disconnected");
            self.emit(NetworkEvent::PeerDisconnected { peer: key });
            self.tell_peers();
            return;
        }
        for class in Class::ALL {
            let outbound = peer.outbound.get_mut(class);
            if let Outbound::Opening {
                connection,
                failures,
            } = *outbound
                && connection == id
            {
                *outbound = Outbound::Closed {
                    retry_at: now,
                    failures,
                };
            }
        }
    }

    /// Lets the control tasks tell the new list of peers.
    fn tell_peers(&self) {
        let told_max = self.shared.limits.told_peers_max;
        let dialable = self
            .peers
            .iter()
            .filter(|(_, peer)| !peer.addresses.is_empty());
        let record = |(key, peer): (&PeerKey, &Peer)| PeerRecord {
            peer: *key.as_bytes(),
            addresses: peer.addresses.clone(),
        };
        self.told
            .send_replace(Arc::new(dialable.take(told_max).map(record).collect()));
    }
}

fn later(from: Instant, wait: Duration) -> Instant {
    from.checked_add(wait).unwrap_or(from)
}
