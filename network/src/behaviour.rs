//! The swarm: transports (TCP with Noise and Yamux, QUIC, DNS) and behaviours (connection limits,
//! direct substreams, gossip).
//!
//! Gossip is anonymous and named by content: what travels on a topic proves itself (certificates),
//! so an author would add nothing, and equal payloads from two nodes are one message.

use crate::config::NetworkConfig;
use crate::direct::Direct;
use crate::error::{NetworkError, Source};
use crate::limits::Limits;
use libp2p::connection_limits::{self, ConnectionLimits};
use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::Boxed;
use libp2p::core::transport::timeout::TransportTimeout;
use libp2p::core::upgrade::Version;
use libp2p::gossipsub::{self, IdentTopic, MessageId, TopicHash};
use libp2p::identity::Keypair;
use libp2p::swarm::{self, NetworkBehaviour};
use libp2p::{PeerId, Swarm, Transport as _, dns, noise, quic, tcp, yamux};
use skerry_types::ids::{ChainRef, Digest};
use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

/// Time for a dial with all its handshakes.
const DIAL_TIMEOUT: Duration = Duration::from_secs(5);
/// Substreams of one connection, over all protocols.
const SUBSTREAMS_MAX: usize = 64;
/// Substreams of one connection that negotiate at once.
const NEGOTIATING_MAX: usize = 16;
/// Messages that gossip queues per peer.
const GOSSIP_QUEUE: usize = 256;
/// Room beside the payload in a gossip frame.
const GOSSIP_ENVELOPE_BYTES: usize = 1024;
/// Silence after which QUIC gives a connection up.
const QUIC_IDLE: Duration = Duration::from_secs(10);
/// Bytes under way on one QUIC substream; a connection has twice as many.
const QUIC_STREAM_WINDOW: u32 = 16 * 1024 * 1024;

type Filter = gossipsub::MaxCountSubscriptionFilter<gossipsub::WhitelistSubscriptionFilter>;
pub(crate) type Gossip = gossipsub::Behaviour<gossipsub::IdentityTransform, Filter>;

/// All behaviours of the swarm.
#[derive(NetworkBehaviour)]
pub(crate) struct Behaviour {
    pub(crate) limits: connection_limits::Behaviour,
    pub(crate) direct: Direct,
    pub(crate) gossip: Gossip,
}

/// The topic of a chain's finalizations.
pub(crate) fn topic(chain_id: &Digest, chain: ChainRef) -> IdentTopic {
    let text = chain_id.to_string();
    let network = text.trim_start_matches("0x").get(..16).unwrap_or_default();
    IdentTopic::new(format!("/skerry/{network}/{}/final", chain.folder()))
}

/// Builds the swarm. Must run inside a tokio runtime.
///
/// # Errors
/// When a transport or gossip cannot be set up.
pub(crate) fn swarm(
    config: &NetworkConfig,
    topics: &BTreeMap<TopicHash, ChainRef>,
) -> Result<Swarm<Behaviour>, NetworkError> {
    let setup = |part| move |source: Source| NetworkError::Setup { part, source };
    let keypair = config.identity.keypair();
    let behaviour = Behaviour {
        limits: connection_limits::Behaviour::new(connection_limits(&config.limits)),
        direct: Direct::default(),
        gossip: gossip(&config.limits, topics).map_err(setup("gossip"))?,
    };
    let transport = transport(&keypair).map_err(setup("the transports"))?;
    let swarm_config =
        swarm::Config::with_tokio_executor().with_max_negotiating_inbound_streams(NEGOTIATING_MAX);
    Ok(Swarm::new(
        transport,
        behaviour,
        keypair.public().to_peer_id(),
        swarm_config,
    ))
}

type Connected = Boxed<(PeerId, StreamMuxerBox)>;

fn transport(keypair: &Keypair) -> Result<Connected, Source> {
    let named = match dns::tokio::Transport::system(sockets(keypair)?) {
        Ok(transport) => transport.boxed(),
        Err(error) => {
            // A machine without a resolver configuration still has addresses to dial.
            tracing::warn!(%error, "no system resolver: names in peer addresses will not resolve");
            let nothing = dns::ResolverConfig::from_parts(None, Vec::new(), Vec::new());
            let options = dns::ResolverOpts::default();
            dns::tokio::Transport::custom(sockets(keypair)?, nothing, options).boxed()
        }
    };
    Ok(TransportTimeout::new(named, DIAL_TIMEOUT).boxed())
}

fn sockets(keypair: &Keypair) -> Result<Connected, Source> {
    let mut streams = yamux::Config::default();
    // The windows stay as they are: they start at 256 KiB and grow with the measured round trip.
    streams.set_max_num_streams(SUBSTREAMS_MAX);
    let tcp = tcp::tokio::Transport::new(tcp::Config::new().nodelay(true))
        .upgrade(Version::V1Lazy)
        .authenticate(noise::Config::new(keypair)?)
        .multiplex(streams)
        .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)));
    let mut quic = quic::Config::new(keypair);
    quic.max_idle_timeout = u32::try_from(QUIC_IDLE.as_millis())?;
    quic.max_concurrent_stream_limit = u32::try_from(SUBSTREAMS_MAX)?;
    quic.max_stream_data = QUIC_STREAM_WINDOW;
    quic.max_connection_data = QUIC_STREAM_WINDOW.saturating_mul(2);
    let quic = quic::tokio::Transport::new(quic)
        .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)));
    Ok(quic
        .or_transport(tcp)
        .map(|either, _| either.into_inner())
        .boxed())
}

fn connection_limits(limits: &Limits) -> ConnectionLimits {
    let peers = u32::try_from(limits.peers_max).unwrap_or(u32::MAX);
    ConnectionLimits::default()
        .with_max_pending_incoming(Some(peers))
        .with_max_pending_outgoing(Some(peers))
        .with_max_established_incoming(Some(peers.saturating_mul(2)))
        .with_max_established_outgoing(Some(peers.saturating_mul(2)))
        .with_max_established_per_peer(Some(limits.connections_per_peer_max))
}

fn gossip(limits: &Limits, topics: &BTreeMap<TopicHash, ChainRef>) -> Result<Gossip, Source> {
    let config = gossipsub::ConfigBuilder::default()
        .heartbeat_initial_delay(Duration::from_secs(1))
        .heartbeat_interval(limits.gossip_heartbeat)
        .history_length(10)
        .history_gossip(3)
        .duplicate_cache_time(Duration::from_secs(120))
        .max_transmit_size(
            limits
                .gossip_bytes_max
                .saturating_add(GOSSIP_ENVELOPE_BYTES),
        )
        .connection_handler_queue_len(GOSSIP_QUEUE)
        .flood_publish(true)
        .validation_mode(gossipsub::ValidationMode::Anonymous)
        // Always on, because a message of a peer without a finished hello must not travel on.
        .validate_messages()
        .message_id_fn(|message| message_id(&message.topic, &message.data))
        .build()?;
    let known: HashSet<TopicHash> = topics.keys().cloned().collect();
    let filter = gossipsub::MaxCountSubscriptionFilter {
        filter: gossipsub::WhitelistSubscriptionFilter(known),
        max_subscribed_topics: crate::config::CHAINS_MAX,
        max_subscriptions_per_request: crate::config::CHAINS_MAX.saturating_mul(2),
    };
    let authenticity = gossipsub::MessageAuthenticity::Anonymous;
    let mut gossip = Gossip::new_with_subscription_filter(authenticity, config, filter)?;
    for topic in topics.keys() {
        gossip.subscribe(&IdentTopic::new(topic.as_str()))?;
    }
    Ok(gossip)
}

fn message_id(topic: &TopicHash, payload: &[u8]) -> MessageId {
    let mut hasher = blake3::Hasher::new_derive_key("skerry v1 gossip message");
    hasher.update(topic.as_str().as_bytes());
    hasher.update(&[0]);
    hasher.update(payload);
    MessageId::from(hasher.finalize().as_bytes().to_vec())
}
