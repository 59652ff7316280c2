//! Nodes and clients for the tests.

use borsh::{BorshDeserialize, BorshSerialize};
use futures::{AsyncReadExt as _, AsyncWriteExt as _, StreamExt as _};
use libp2p::swarm::{Stream, SwarmEvent};
use libp2p::{Multiaddr, PeerId, StreamProtocol, SwarmBuilder, noise, tcp, yamux};
use skerry_network::{
    Bytes, EventReceiver, Frame, Limits, NetworkConfig, NetworkEvent, NetworkEvents, NetworkHandle,
    NetworkKey, PeerKey, RefusedReason, start,
};
use skerry_types::ids::{ChainRef, Digest, ShardId};
use std::time::Duration;
use tokio::time::timeout;

/// The loaded machine of a continuous integration takes its time.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
pub(crate) const TCP: &str = "/ip4/127.0.0.1/tcp/0";
pub(crate) const QUIC: &str = "/ip4/127.0.0.1/udp/0/quic-v1";
pub(crate) const CHAIN_ID: Digest = Digest::new([0x5a; 32]);

pub(crate) fn shard(bits: u16) -> ChainRef {
    ChainRef::Shard(ShardId::new(1, bits).expect("one of two shards"))
}

pub(crate) fn config(seed: u8) -> NetworkConfig {
    NetworkConfig {
        chain_id: CHAIN_ID,
        protocol_version: 1,
        listen: vec![TCP.to_owned()],
        peers: Vec::new(),
        external: Vec::new(),
        chains: vec![ChainRef::Beacon, shard(0)],
        identity: NetworkKey::from_seed([seed; 32]),
        validator: None,
        limits: Limits::default(),
    }
}

pub(crate) fn frame(kind: u8, payload: impl Into<Bytes>) -> Frame {
    Frame {
        chain: shard(0),
        epoch: 3,
        kind,
        payload: payload.into(),
    }
}

/// A running service.
pub(crate) struct Node {
    pub(crate) handle: NetworkHandle,
    pub(crate) events: NetworkEvents,
    pub(crate) address: String,
}

impl Node {
    pub(crate) async fn start(config: NetworkConfig) -> Self {
        let runtime = tokio::runtime::Handle::current();
        let (handle, mut events) = start(config, &runtime).expect("started");
        let address = wait(&mut events.consensus, |event| match event {
            NetworkEvent::Listening { address } => Some(address),
            _ => None,
        })
        .await;
        Self {
            handle,
            events,
            address,
        }
    }

    /// Starts a node that dials `others`.
    pub(crate) async fn dialling(mut config: NetworkConfig, others: &[&Node]) -> Self {
        config.peers = others.iter().map(|other| other.address.clone()).collect();
        Self::start(config).await
    }

    pub(crate) fn peer(&self) -> PeerKey {
        self.handle.local_peer()
    }

    pub(crate) async fn connected(&mut self) -> PeerKey {
        wait(&mut self.events.consensus, |event| match event {
            NetworkEvent::PeerConnected { peer, .. } => Some(peer),
            _ => None,
        })
        .await
    }

    pub(crate) async fn disconnected(&mut self) -> PeerKey {
        wait(&mut self.events.consensus, |event| match event {
            NetworkEvent::PeerDisconnected { peer } => Some(peer),
            _ => None,
        })
        .await
    }

    pub(crate) async fn refused(&mut self) -> RefusedReason {
        wait(&mut self.events.consensus, |event| match event {
            NetworkEvent::Refused { reason, .. } => Some(reason),
            _ => None,
        })
        .await
    }

    pub(crate) async fn frame(&mut self) -> (PeerKey, Frame) {
        let pick = |event| match event {
            NetworkEvent::Frame { peer, frame } => Some((peer, frame)),
            _ => None,
        };
        let (consensus, bulk) = (&mut self.events.consensus, &mut self.events.bulk);
        tokio::select! {
            got = wait(consensus, pick) => got,
            got = wait(bulk, pick) => got,
        }
    }
}

/// Waits for the first event that `pick` takes; others are dropped.
pub(crate) async fn wait<T>(
    receiver: &mut EventReceiver,
    pick: impl Fn(NetworkEvent) -> Option<T>,
) -> T {
    let find = async {
        loop {
            let event = receiver.recv().await.expect("the service runs");
            if let Some(found) = pick(event) {
                return found;
            }
        }
    };
    timeout(PATIENCE, find)
        .await
        .expect("the event comes in time")
}

/// Waits until `holds`, looking again every few milliseconds.
pub(crate) async fn until(what: &str, holds: impl Fn() -> bool) {
    let look = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, look)
        .await
        .unwrap_or_else(|_| panic!("in time: {what}"));
}

/// Two nodes that know each other.
pub(crate) async fn pair(first: NetworkConfig, second: NetworkConfig) -> (Node, Node) {
    let mut first = Node::start(first).await;
    let mut second = Node::dialling(second, &[&first]).await;
    assert_eq!(second.connected().await, first.peer());
    assert_eq!(first.connected().await, second.peer());
    (first, second)
}

/// The control messages as they stand on the wire, written down a second time on purpose.
#[derive(Debug, Clone, PartialEq, BorshSerialize, BorshDeserialize)]
pub(crate) enum WireMessage {
    Hello(Box<WireHello>),
    Verdict(Result<(), u8>),
    Peers(Vec<([u8; 32], Vec<String>)>),
    Ping,
}

#[derive(Debug, Clone, PartialEq, BorshSerialize, BorshDeserialize)]
pub(crate) struct WireHello {
    pub(crate) protocol_version: u32,
    pub(crate) chain_id: [u8; 32],
    pub(crate) session: u64,
    pub(crate) chains: Vec<[u8; 3]>,
    pub(crate) validator: Option<([u8; 48], [u8; 96])>,
    pub(crate) addresses: Vec<String>,
}

/// A peer that speaks libp2p-stream and says whatever the test wants.
pub(crate) struct RawClient {
    control: libp2p_stream::Control,
    node: PeerId,
    pub(crate) peer: PeerKey,
    hello: Option<Stream>,
    _swarm: tokio::task::JoinHandle<()>,
}

impl RawClient {
    /// Connects without a hello.
    pub(crate) async fn connect(node: &Node) -> Self {
        let mut swarm = SwarmBuilder::with_new_identity()
            .with_tokio()
            .with_tcp(
                tcp::Config::new(),
                noise::Config::new,
                yamux::Config::default,
            )
            .expect("tcp")
            .with_behaviour(|_| libp2p_stream::Behaviour::new())
            .expect("behaviour")
            .with_swarm_config(|config| config.with_idle_connection_timeout(PATIENCE))
            .build();
        let peer = swarm.local_peer_id().to_string().parse().expect("ed25519");
        let control = swarm.behaviour().new_control();
        let address: Multiaddr = node.address.parse().expect("address");
        swarm.dial(address).expect("dial");
        let connect = async {
            loop {
                if let SwarmEvent::ConnectionEstablished { peer_id, .. } =
                    swarm.select_next_some().await
                {
                    return peer_id;
                }
            }
        };
        let node = timeout(PATIENCE, connect).await.expect("connected");
        let run = async move {
            loop {
                swarm.select_next_some().await;
            }
        };
        Self {
            control,
            node,
            peer,
            hello: None,
            _swarm: tokio::spawn(run),
        }
    }

    /// Connects and passes the hello, following the chains of [`config`].
    pub(crate) async fn greet(node: &Node) -> Self {
        let mut client = Self::connect(node).await;
        let mut stream = client.open("/skerry/1/hello").await;
        let hello = WireHello {
            protocol_version: 1,
            chain_id: *CHAIN_ID.as_bytes(),
            session: 1,
            chains: vec![ChainRef::Beacon.to_bytes(), shard(0).to_bytes()],
            validator: None,
            addresses: Vec::new(),
        };
        write(&mut stream, &WireMessage::Hello(Box::new(hello))).await;
        assert!(matches!(read(&mut stream).await, WireMessage::Hello(_)));
        write(&mut stream, &WireMessage::Verdict(Ok(()))).await;
        assert_eq!(read(&mut stream).await, WireMessage::Verdict(Ok(())));
        client.hello = Some(stream);
        client
    }

    pub(crate) async fn open(&mut self, protocol: &'static str) -> Stream {
        let open = self
            .control
            .open_stream(self.node, StreamProtocol::new(protocol));
        timeout(PATIENCE, open)
            .await
            .expect("in time")
            .expect("opened")
    }

    /// Sends a control message after the hello.
    pub(crate) async fn say(&mut self, message: &WireMessage) {
        write(self.hello.as_mut().expect("greeted"), message).await;
    }
}

pub(crate) async fn write(stream: &mut Stream, message: &WireMessage) {
    let body = borsh::to_vec(message).expect("encoded");
    let length = u32::try_from(body.len()).expect("small");
    stream
        .write_all(&length.to_le_bytes())
        .await
        .expect("written");
    stream.write_all(&body).await.expect("written");
    stream.flush().await.expect("written");
}

async fn read(stream: &mut Stream) -> WireMessage {
    let read = async {
        let mut length = [0; 4];
        stream.read_exact(&mut length).await.expect("length");
        let mut body = vec![0; usize::try_from(u32::from_le_bytes(length)).expect("small")];
        stream.read_exact(&mut body).await.expect("body");
        borsh::from_slice(&body).expect("decoded")
    };
    timeout(PATIENCE, read).await.expect("answered in time")
}
