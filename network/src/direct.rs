//! Direct substreams: opens and accepts the raw streams of this protocol, per connection.
//!
//! The part of libp2p-stream that the service needs, written out because the alpha release falls
//! short in four ways that its source shows (0.5.0-alpha, `shared.rs`): an inbound stream is
//! dropped when another of the same protocol waits, after the dialer was told that it is open, so
//! the first frames vanish when several peers connect at once; a stream goes to a random connection
//! of the peer and does not say which; it dials by itself; and its table of senders grows by one
//! entry per connection for ever. The tests talk to this code through libp2p-stream, on purpose.
//!
//! Bans act here too: a banned peer's connections are denied before they are established.

use crate::frame::Class;
use crate::key::PeerKey;
use futures::future::{Ready, ready};
use libp2p::core::transport::PortUse;
use libp2p::core::{Endpoint, InboundUpgrade, OutboundUpgrade, UpgradeInfo};
use libp2p::swarm::handler::{
    ConnectionEvent, ConnectionHandler, ConnectionHandlerEvent, FullyNegotiatedInbound,
    FullyNegotiatedOutbound, SubstreamProtocol,
};
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, NotifyHandler, Stream,
    StreamProtocol, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
};
use libp2p::{Multiaddr, PeerId};
use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::task::{Context, Poll};
use std::time::Instant;

/// Substreams of one connection that may wait between its task and the service.
const WAITING_MAX: usize = 16;

/// What a substream is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Channel {
    /// Hello, then pings and lists of peers; one per connection, opened by its dialer.
    Control,
    /// Frames of one class, in one direction.
    Frames(Class),
}

impl Channel {
    const ALL: [Self; 6] = [
        Self::Control,
        Self::Frames(Class::Votes),
        Self::Frames(Class::Blocks),
        Self::Frames(Class::Relay),
        Self::Frames(Class::Transactions),
        Self::Frames(Class::Sync),
    ];

    const fn protocol(self) -> StreamProtocol {
        StreamProtocol::new(match self {
            Self::Control => "/skerry/1/hello",
            Self::Frames(Class::Votes) => "/skerry/1/votes",
            Self::Frames(Class::Blocks) => "/skerry/1/blocks",
            Self::Frames(Class::Relay) => "/skerry/1/relay",
            Self::Frames(Class::Transactions) => "/skerry/1/transactions",
            Self::Frames(Class::Sync) => "/skerry/1/sync",
        })
    }

    fn of_protocol(protocol: &StreamProtocol) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|channel| channel.protocol() == *protocol)
    }
}

/// What the service learns.
#[derive(Debug)]
pub(crate) enum DirectEvent {
    /// The peer opened a substream.
    Inbound {
        connection: ConnectionId,
        channel: Channel,
        stream: Stream,
    },
    /// A substream that the service asked for is open.
    Outbound {
        connection: ConnectionId,
        channel: Channel,
        stream: Stream,
    },
    /// A substream that the service asked for cannot be opened.
    OutboundFailed {
        connection: ConnectionId,
        channel: Channel,
    },
}

type Action = ToSwarm<DirectEvent, Channel>;

/// The behaviour: a queue of actions, and the bans.
#[derive(Debug, Default)]
pub(crate) struct Direct {
    actions: VecDeque<Action>,
    banned: BTreeMap<PeerKey, Instant>,
}

/// Why a connection is denied.
#[derive(Debug, thiserror::Error)]
enum Denied {
    #[error("the peer's key is not ed25519")]
    NotEd25519,
    #[error("the peer is banned for a while")]
    Banned,
}

impl Direct {
    /// Asks for a substream; an outbound event follows unless the connection closes first.
    pub(crate) fn open(&mut self, peer: PeerKey, connection: ConnectionId, channel: Channel) {
        self.actions.push_back(ToSwarm::NotifyHandler {
            peer_id: peer.to_peer_id(),
            handler: NotifyHandler::One(connection),
            event: channel,
        });
    }

    /// Replaces the bans; the table of reputations bounds their number.
    pub(crate) fn set_bans(&mut self, bans: impl Iterator<Item = (PeerKey, Instant)>) {
        self.banned = bans.collect();
    }

    fn admit(&self, peer: &PeerId) -> Result<Substreams, ConnectionDenied> {
        let key = PeerKey::from_peer_id(peer).ok_or(ConnectionDenied::new(Denied::NotEd25519))?;
        if self
            .banned
            .get(&key)
            .is_some_and(|until| *until > Instant::now())
        {
            return Err(ConnectionDenied::new(Denied::Banned));
        }
        Ok(Substreams::default())
    }
}

impl NetworkBehaviour for Direct {
    type ConnectionHandler = Substreams;
    type ToSwarm = DirectEvent;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.admit(&peer)
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.admit(&peer)
    }

    fn on_swarm_event(&mut self, _: FromSwarm<'_>) {}

    fn on_connection_handler_event(
        &mut self,
        _: PeerId,
        connection: ConnectionId,
        event: THandlerOutEvent<Self>,
    ) {
        self.actions.push_back(ToSwarm::GenerateEvent(match event {
            SubstreamEvent::Inbound { channel, stream } => DirectEvent::Inbound {
                connection,
                channel,
                stream,
            },
            SubstreamEvent::Outbound { channel, stream } => DirectEvent::Outbound {
                connection,
                channel,
                stream,
            },
            SubstreamEvent::OutboundFailed { channel } => DirectEvent::OutboundFailed {
                connection,
                channel,
            },
        }));
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        // No waker is kept: actions arise only while the swarm is being polled, or from the service,
        // which polls the swarm right after.
        self.actions.pop_front().map_or(Poll::Pending, Poll::Ready)
    }
}

/// What one connection's handler tells the behaviour.
#[derive(Debug)]
pub(crate) enum SubstreamEvent {
    Inbound { channel: Channel, stream: Stream },
    Outbound { channel: Channel, stream: Stream },
    OutboundFailed { channel: Channel },
}

/// The handler of one connection. It keeps the connection open.
#[derive(Debug, Default)]
pub(crate) struct Substreams {
    wanted: VecDeque<Channel>,
    events: VecDeque<SubstreamEvent>,
}

impl ConnectionHandler for Substreams {
    type FromBehaviour = Channel;
    type ToBehaviour = SubstreamEvent;
    type InboundProtocol = Offer;
    type OutboundProtocol = Offer;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = Channel;

    fn listen_protocol(&self) -> SubstreamProtocol<Offer> {
        SubstreamProtocol::new(Offer { only: None }, ())
    }

    fn connection_keep_alive(&self) -> bool {
        true
    }

    fn poll(
        &mut self,
        _: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Offer, Channel, SubstreamEvent>> {
        if let Some(event) = self.events.pop_front() {
            return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(event));
        }
        if let Some(channel) = self.wanted.pop_front() {
            let protocol = SubstreamProtocol::new(
                Offer {
                    only: Some(channel),
                },
                channel,
            );
            return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol });
        }
        Poll::Pending
    }

    fn on_behaviour_event(&mut self, channel: Channel) {
        self.wanted.push_back(channel);
    }

    fn on_connection_event(&mut self, event: ConnectionEvent<'_, Offer, Offer, (), Channel>) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound {
                protocol: (stream, Some(channel)),
                ..
            })
                // A peer that opens substreams faster than the service takes them loses them.
                if self.events.len() < WAITING_MAX =>
            {
                self.events.push_back(SubstreamEvent::Inbound { channel, stream });
            }
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound {
                protocol: (stream, _),
                info: channel,
            }) => self
                .events
                .push_back(SubstreamEvent::Outbound { channel, stream }),
            ConnectionEvent::DialUpgradeError(error) => {
                self.events.push_back(SubstreamEvent::OutboundFailed {
                    channel: error.info,
                });
            }
            _ => {}
        }
    }
}

/// Negotiates one channel when it dials, any of them when it listens.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Offer {
    only: Option<Channel>,
}

impl UpgradeInfo for Offer {
    type Info = StreamProtocol;
    type InfoIter = Vec<StreamProtocol>;

    fn protocol_info(&self) -> Self::InfoIter {
        match self.only {
            Some(channel) => vec![channel.protocol()],
            None => Channel::ALL.map(Channel::protocol).to_vec(),
        }
    }
}

impl InboundUpgrade<Stream> for Offer {
    type Output = (Stream, Option<Channel>);
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Infallible>>;

    fn upgrade_inbound(self, stream: Stream, protocol: StreamProtocol) -> Self::Future {
        ready(Ok((stream, Channel::of_protocol(&protocol))))
    }
}

impl OutboundUpgrade<Stream> for Offer {
    type Output = (Stream, Option<Channel>);
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Infallible>>;

    fn upgrade_outbound(self, stream: Stream, _: StreamProtocol) -> Self::Future {
        ready(Ok((stream, self.only)))
    }
}
