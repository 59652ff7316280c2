//! The service: one task that owns the swarm, the peers and every task of the crate.
//!
//! The loop receives, and each arm acts at once without waiting: swarm events, commands from
//! handles, notices and ends of tasks, one deadline. There is no tick; when nothing is due, the
//! task sleeps until a ping or the next dial. Payloads never pass through here, they go from
//! reader tasks to the lanes and from handles to writer tasks.
//!
//! Tasks: `service` (this one, spawned in `start.rs`, stopped by `NetworkHandle::shutdown` or when
//! the last handle is gone), and in its task set `control`, `writer` and `reader`, which end with
//! their substream, their peer or the service. libp2p runs one task per connection of its own,
//! which ends when the swarm is dropped.

use crate::address::{self, Reach};
use crate::behaviour::{Behaviour, BehaviourEvent};
use crate::direct::{Channel, DirectEvent};
use crate::error::RefusedReason;
use crate::events::{EventSenders, NetworkEvent};
use crate::frame::Class;
use crate::handle::{Command, Direction, Shared};
use crate::hello::{ControlContext, ControlEnd, Hello, Notice, PeerRecord, control};
use crate::key::PeerKey;
use crate::peers::DialPlan;
use crate::reputation::{Misbehaviour, Reputation};
use crate::sessions::{Connection, Peer, Phase};
use crate::streams::{LastSeen, ReadEnd};
use futures::StreamExt as _;
use libp2p::gossipsub::{self, TopicHash};
use libp2p::swarm::{ConnectionId, DialError, Stream, SwarmEvent};
use libp2p::{Multiaddr, PeerId, Swarm, core::ConnectedPoint};
use skerry_types::ids::ChainRef;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Time for saying goodbye to peers at the end.
const GOODBYE: Duration = Duration::from_millis(500);
/// Sleep when nothing at all is due.
const IDLE: Duration = Duration::from_secs(3600);

/// How a task of the service ended.
#[derive(Debug)]
pub(crate) enum TaskEnd {
    /// With peer and address, because the connection may be gone when the end is heard of.
    Control {
        connection: ConnectionId,
        peer: PeerKey,
        address: Multiaddr,
        end: ControlEnd,
    },
    Writer {
        peer: PeerKey,
        generation: u64,
        class: Class,
    },
    Reader {
        peer: PeerKey,
        generation: u64,
        class: Class,
        end: ReadEnd,
    },
}

/// The state of the service's task.
pub(crate) struct Service {
    pub(crate) swarm: Swarm<Behaviour>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) events: EventSenders,
    /// Peer events that found their lane full.
    pub(crate) outgoing: VecDeque<NetworkEvent>,
    pub(crate) connections: BTreeMap<ConnectionId, Connection>,
    pub(crate) peers: BTreeMap<PeerKey, Peer>,
    /// Counts peers ever connected, to tell the tasks of two sessions with one peer apart.
    pub(crate) generation: u64,
    pub(crate) dials: DialPlan,
    pub(crate) reputation: Reputation,
    pub(crate) tasks: JoinSet<TaskEnd>,
    pub(crate) notices: mpsc::Receiver<Notice>,
    pub(crate) notice_sender: mpsc::Sender<Notice>,
    pub(crate) commands: mpsc::Receiver<Command>,
    pub(crate) told: watch::Sender<Arc<Vec<PeerRecord>>>,
    pub(crate) hello: Hello,
    pub(crate) external: Vec<String>,
    pub(crate) chain_of: BTreeMap<TopicHash, ChainRef>,
    pub(crate) topic_of: BTreeMap<ChainRef, TopicHash>,
    pub(crate) started: Instant,
    pub(crate) stop: CancellationToken,
}

impl Service {
    /// Runs until it is stopped.
    pub(crate) async fn run(mut self) {
        let peer_events_max = self.shared.limits.peer_events_max;
        let peers = self.events.peers.clone();
        loop {
            let deadline = tokio::time::Instant::from_std(self.deadline());
            tokio::select! {
                event = self.swarm.select_next_some(), if self.outgoing.len() < peer_events_max => {
                    self.on_swarm_event(event);
                }
                command = self.commands.recv() => match command {
                    Some(command) => self.on_command(command),
                    None => break,
                },
                Some(notice) = self.notices.recv() => self.on_notice(notice),
                Some(end) = self.tasks.join_next(), if !self.tasks.is_empty() => match end {
                    Ok(end) => self.on_task_end(end),
                    Err(error) => tracing::error!(%error, "a network task failed"),
                },
                place = peers.reserve(), if !self.outgoing.is_empty() => match place {
                    Ok(place) => {
                        if let Some(event) = self.outgoing.pop_front() {
                            place.send(event.into());
                        }
                    }
                    Err(_) => self.outgoing.clear(),
                },
                () = tokio::time::sleep_until(deadline) => self.on_deadline(Instant::now()),
                () = self.stop.cancelled() => break,
            }
        }
        self.finish().await;
    }

    async fn finish(mut self) {
        for peer in self.peers.keys().copied().collect::<Vec<_>>() {
            self.shared.remove_link(peer);
        }
        self.tasks.shutdown().await;
        for connection in self.connections.keys() {
            self.swarm.close_connection(*connection);
        }
        let goodbye = async {
            while self.swarm.connected_peers().next().is_some() {
                self.swarm.select_next_some().await;
            }
        };
        let _ = tokio::time::timeout(GOODBYE, goodbye).await;
    }

    /// Tells the node; waits in `outgoing` when the lane is full.
    pub(crate) fn emit(&mut self, event: NetworkEvent) {
        if !self.outgoing.is_empty() {
            self.outgoing.push_back(event);
            return;
        }
        match self.events.peers.try_reserve() {
            Ok(place) => place.send(event.into()),
            Err(mpsc::error::TrySendError::Full(())) => self.outgoing.push_back(event),
            Err(mpsc::error::TrySendError::Closed(())) => {}
        }
    }

    /// When something will be due.
    fn deadline(&self) -> Instant {
        let silence_max = self.shared.limits.silence_max;
        let connections = self
            .connections
            .values()
            .map(|connection| connection.due(silence_max));
        let retries = self.peers.values().flat_map(Peer::retries);
        let dial = self.dials.next_at(|peer| self.is_busy(peer));
        let idle = Instant::now().checked_add(IDLE);
        connections
            .chain(retries)
            .chain(dial)
            .chain(idle)
            .min()
            .unwrap_or(self.started)
    }

    fn is_busy(&self, peer: PeerKey) -> bool {
        is_busy(&self.peers, &self.connections, peer)
    }

    fn on_deadline(&mut self, now: Instant) {
        self.close_overdue(now);
        self.open_due(now);
        self.dial_due(now);
    }

    fn dial_due(&mut self, now: Instant) {
        loop {
            let (peers, connections) = (&self.peers, &self.connections);
            let next = self
                .dials
                .next_dial(now, |peer| is_busy(peers, connections, peer));
            let Some(options) = next else { break };
            let connection = options.connection_id();
            self.shared.counters.dials.add(1);
            if let Err(error) = self.swarm.dial(options) {
                tracing::debug!(%error, "a dial could not begin");
                self.dials.on_failed(connection, now);
            }
        }
    }

    fn on_swarm_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        let now = Instant::now();
        match event {
            SwarmEvent::Behaviour(BehaviourEvent::Direct(event)) => self.on_direct(event),
            SwarmEvent::Behaviour(BehaviourEvent::Gossip(gossipsub::Event::Message {
                propagation_source,
                message_id,
                message,
            })) => self.on_gossip(propagation_source, &message_id, message),
            SwarmEvent::ConnectionEstablished {
                peer_id,
                connection_id,
                endpoint,
                ..
            } => {
                self.on_established(peer_id, connection_id, &endpoint, now);
            }
            SwarmEvent::ConnectionClosed {
                connection_id,
                cause,
                ..
            } => {
                tracing::debug!(connection = %connection_id, ?cause, "a connection closed");
                self.forget(connection_id, now);
            }
            SwarmEvent::OutgoingConnectionError {
                connection_id,
                peer_id,
                error,
            } => {
                self.on_dial_failed(connection_id, peer_id, &error, now);
            }
            SwarmEvent::NewListenAddr { address, .. } => {
                let address = format!("{address}/p2p/{}", self.shared.local);
                self.shared.set_listening(|all| all.push(address.clone()));
                self.emit(NetworkEvent::Listening { address });
            }
            SwarmEvent::ExpiredListenAddr { address, .. } => {
                let gone = format!("{address}/p2p/{}", self.shared.local);
                self.shared
                    .set_listening(|all| all.retain(|address| *address != gone));
            }
            SwarmEvent::ListenerError { error, .. } => {
                tracing::warn!(%error, "a listener failed to accept");
            }
            SwarmEvent::ListenerClosed {
                reason, addresses, ..
            } => {
                tracing::error!(?reason, ?addresses, "a listener closed");
            }
            _ => {}
        }
    }

    fn on_established(
        &mut self,
        peer_id: PeerId,
        connection: ConnectionId,
        endpoint: &ConnectedPoint,
        now: Instant,
    ) {
        let Some(peer) = PeerKey::from_peer_id(&peer_id) else {
            self.swarm.close_connection(connection);
            return;
        };
        let direction = match endpoint {
            ConnectedPoint::Dialer { .. } => Direction::Outbound,
            ConnectedPoint::Listener { .. } => Direction::Inbound,
        };
        self.dials.on_established(connection, peer);
        let deadline = now
            .checked_add(self.shared.limits.hello_timeout)
            .unwrap_or(now);
        let last_seen = LastSeen::new(self.started);
        let address = endpoint.get_remote_address().clone();
        let phase = Phase::Greeting {
            deadline,
            has_control: false,
            held: Vec::new(),
        };
        let state = Connection {
            peer,
            address,
            direction,
            last_seen,
            phase,
        };
        self.connections.insert(connection, state);
        if direction == Direction::Outbound {
            self.swarm
                .behaviour_mut()
                .direct
                .open(peer, connection, Channel::Control);
        }
    }

    fn on_dial_failed(
        &mut self,
        connection: ConnectionId,
        expected: Option<PeerId>,
        error: &DialError,
        now: Instant,
    ) {
        tracing::debug!(%error, "a dial failed");
        match error {
            DialError::LocalPeerId { .. } => self.dials.on_self(connection),
            DialError::WrongPeerId { obtained, address } => {
                self.dials.on_failed(connection, now);
                let reason = RefusedReason::OtherPeer {
                    expected: expected.map_or_else(String::new, |peer| peer.to_string()),
                    actual: obtained.to_string(),
                };
                let peer = expected.as_ref().and_then(PeerKey::from_peer_id);
                self.refuse(peer, &address.clone(), reason, now);
            }
            _ => self.dials.on_failed(connection, now),
        }
    }

    fn on_direct(&mut self, event: DirectEvent) {
        match event {
            DirectEvent::Inbound {
                connection,
                channel: Channel::Control,
                stream,
            } => {
                self.start_control(connection, Direction::Inbound, stream);
            }
            DirectEvent::Outbound {
                connection,
                channel: Channel::Control,
                stream,
            } => {
                self.start_control(connection, Direction::Outbound, stream);
            }
            DirectEvent::Inbound {
                connection,
                channel: Channel::Frames(class),
                stream,
            } => {
                self.accept(connection, class, stream);
            }
            DirectEvent::Outbound {
                connection,
                channel: Channel::Frames(class),
                stream,
            } => {
                self.start_writer(connection, class, stream);
            }
            DirectEvent::OutboundFailed {
                connection,
                channel: Channel::Control,
            } => {
                let reason = RefusedReason::BadHello {
                    what: "its substream was refused",
                };
                self.refuse_connection(connection, reason);
            }
            DirectEvent::OutboundFailed {
                connection,
                channel: Channel::Frames(class),
            } => {
                self.on_outbound_failed(connection, class);
            }
        }
    }

    /// Begins the hello. The dialer of a connection opens its one control substream, so any other
    /// is dropped.
    fn start_control(&mut self, id: ConnectionId, opener: Direction, stream: Stream) {
        let limits = &self.shared.limits;
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        let Phase::Greeting { has_control, .. } = &mut connection.phase else {
            return;
        };
        if *has_control || opener != connection.direction {
            return;
        }
        *has_control = true;
        let mut hello = self.hello.clone();
        hello.addresses = told_addresses(&self.external, &self.shared);
        let context = ControlContext {
            connection: id,
            peer: connection.peer,
            hello,
            bytes_max: limits.control_bytes_max,
            messages_max: limits.control_messages_max,
            addresses_max: limits.addresses_per_peer_max,
            records_max: limits.told_peers_max,
            ping_interval: limits.ping_interval,
            last_seen: connection.last_seen.clone(),
            told: self.told.subscribe(),
            notices: self.notice_sender.clone(),
        };
        let (peer, address) = (connection.peer, connection.address.clone());
        self.tasks.spawn(async move {
            TaskEnd::Control {
                connection: id,
                peer,
                address,
                end: control(stream, context).await,
            }
        });
    }

    fn on_notice(&mut self, notice: Notice) {
        match notice {
            Notice::Ready { connection, hello } => self.on_ready(connection, hello),
            Notice::Told {
                connection,
                records,
            } => {
                let Some(state) = self.connections.get(&connection) else {
                    return;
                };
                let teller = address::reach(&state.address).unwrap_or(Reach::Public);
                let now = Instant::now();
                for record in records {
                    let peer = PeerKey::new(record.peer);
                    self.dials.learn(peer, &record.addresses, teller, now);
                }
            }
        }
    }

    fn on_task_end(&mut self, end: TaskEnd) {
        match end {
            TaskEnd::Control {
                connection,
                peer,
                address,
                end,
            } => {
                // The penalty stands before the event of the disconnection shows it.
                match end {
                    ControlEnd::Closed => {}
                    ControlEnd::Refused(reason) => {
                        self.refuse(Some(peer), &address, reason, Instant::now());
                    }
                    ControlEnd::Invalid => self.penalise(peer, Misbehaviour::InvalidControl),
                }
                self.close(connection);
            }
            TaskEnd::Writer {
                peer,
                generation,
                class,
            } => {
                self.on_writer_end(peer, generation, class);
            }
            TaskEnd::Reader {
                peer,
                generation,
                class,
                end,
            } => {
                self.on_reader_end(peer, generation, class);
                match end {
                    ReadEnd::Closed => {}
                    ReadEnd::Invalid(error) => {
                        tracing::warn!(%peer, ?class, %error, "a peer sent an invalid frame");
                        self.penalise(peer, Misbehaviour::InvalidFrame);
                    }
                    ReadEnd::Stalled => {
                        tracing::warn!(%peer, ?class, "a peer stalled inside a frame");
                        self.penalise(peer, Misbehaviour::Stalled);
                    }
                }
            }
        }
    }

    fn on_command(&mut self, command: Command) {
        match command {
            Command::Report { peer, misbehaviour } => self.penalise(peer, misbehaviour),
            Command::Publish { chain, payload } => self.publish(chain, &payload),
            Command::Validate { ticket, verdict } => self.validate(ticket, verdict),
        }
    }

    /// Adds a penalty; at the bound closes the peer's connections and bans it.
    pub(crate) fn penalise(&mut self, peer: PeerKey, misbehaviour: Misbehaviour) {
        let now = Instant::now();
        self.shared.counters.misbehaviours.add(1);
        let Some(until) = self.reputation.penalise(peer, misbehaviour, now) else {
            return;
        };
        tracing::warn!(%peer, ?misbehaviour, "a peer is banned");
        self.shared.counters.bans.add(1);
        self.swarm
            .behaviour_mut()
            .direct
            .set_bans(self.reputation.banned(now));
        self.dials.postpone(peer, until);
        let of_peer = self
            .connections
            .iter()
            .filter(|(_, connection)| connection.peer == peer);
        for connection in of_peer.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.close(connection);
        }
    }

    /// Closes a connection and refuses its peer.
    pub(crate) fn refuse_connection(&mut self, id: ConnectionId, reason: RefusedReason) {
        let Some(connection) = self.connections.get(&id) else {
            return;
        };
        let (peer, address) = (connection.peer, connection.address.clone());
        self.close(id);
        self.refuse(Some(peer), &address, reason, Instant::now());
    }

    /// Reports a refusal, and puts off or penalises what caused it.
    fn refuse(
        &mut self,
        peer: Option<PeerKey>,
        address: &Multiaddr,
        reason: RefusedReason,
        now: Instant,
    ) {
        self.shared.counters.hellos_refused.add(1);
        let id = peer.map(|peer| peer.to_string()).unwrap_or_default();
        match &reason {
            RefusedReason::OtherNetwork { ours, theirs } => tracing::warn!(
                peer = id, %address, %ours, %theirs,
                "refused a peer of another network: its genesis is not ours"
            ),
            reason => tracing::warn!(peer = id, %address, %reason, "refused a peer"),
        }
        if let (Some(peer), true) = (peer, reason.is_lasting()) {
            let until = now
                .checked_add(self.shared.limits.redial_refused)
                .unwrap_or(now);
            self.dials.postpone(peer, until);
        }
        let misbehaviour = match reason {
            RefusedReason::BadValidatorProof => Some(Misbehaviour::InvalidSignature),
            RefusedReason::BadHello { .. } => Some(Misbehaviour::InvalidControl),
            _ => None,
        };
        if let (Some(peer), Some(misbehaviour)) = (peer, misbehaviour) {
            self.penalise(peer, misbehaviour);
        }
        self.emit(NetworkEvent::Refused {
            peer,
            address: address.to_string(),
            reason,
        });
    }
}

fn is_busy(
    peers: &BTreeMap<PeerKey, Peer>,
    connections: &BTreeMap<ConnectionId, Connection>,
    peer: PeerKey,
) -> bool {
    peers.contains_key(&peer)
        || connections
            .values()
            .any(|connection| connection.peer == peer)
}

/// What this node tells about itself: configured addresses first, then those it listens on.
fn told_addresses(external: &[String], shared: &Shared) -> Vec<String> {
    let listening = shared.listening();
    let listening = listening.iter().filter_map(|text| address::parse(text));
    let listening = listening.filter(|(address, _)| address::reach(address).is_some());
    let mut told = external.to_vec();
    told.extend(listening.map(|(address, _)| address.to_string()));
    told.truncate(shared.limits.addresses_per_peer_max);
    told
}
