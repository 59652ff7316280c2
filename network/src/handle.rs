//! What callers hold: the handle, and the state that it shares with the service.
//!
//! Sending does not pass through the service's task: the handle finds the peer's queue and pushes
//! the frame, so a vote's way is one lock and one wake-up. The rest goes as commands over a bounded
//! channel.

use crate::events::GossipTicket;
use crate::frame::{ByClass, Frame, FrameError};
use crate::key::PeerKey;
use crate::limits::Limits;
use crate::reputation::Misbehaviour;
use crate::stats::{Counters, NetworkStats};
use crate::streams::{Outbox, Pushed};
use bytes::Bytes;
use skerry_types::ids::ChainRef;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// What became of a frame given to [`NetworkHandle::send`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendOutcome {
    /// It waits for its substream; this many older frames gave way to it (consensus classes only).
    /// Delivery is not promised: what waits or travels when the connection breaks is lost.
    Queued {
        /// How many older frames were dropped.
        dropped: u64,
    },
    /// The queue is full (other classes): try again later, or elsewhere.
    Full,
    /// The peer is not connected.
    NotConnected,
    /// The peer does not follow the frame's chain.
    NotFollowed,
    /// The frame breaks the table of kinds; nobody would accept it.
    Invalid(FrameError),
}

/// What became of a payload given to [`NetworkHandle::publish`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PublishOutcome {
    /// It is on its way to gossip.
    Queued,
    /// Too many commands wait.
    Full,
    /// It exceeds `Limits::gossip_bytes_max`.
    TooLarge,
    /// This node does not follow the chain.
    NotFollowed,
}

/// The verdict on a gossip message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GossipVerdict {
    /// Valid: it travels on.
    Accept,
    /// Useless here, nobody's fault: it does not travel on.
    Ignore,
    /// Invalid: it does not travel on, and the neighbour is penalised.
    Reject,
}

/// Which side dialled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// The peer.
    Inbound,
    /// This node.
    Outbound,
}

/// One connected peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerInfo {
    /// The peer.
    pub peer: PeerKey,
    /// The validator that it proved to be.
    pub validator: Option<[u8; 48]>,
    /// The chains that it follows.
    pub chains: Vec<ChainRef>,
    /// Its address as the first connection shows it.
    pub address: String,
    /// Who dialled the first connection.
    pub direction: Direction,
}

/// What the service is asked to do.
#[derive(Debug)]
pub(crate) enum Command {
    Publish {
        chain: ChainRef,
        payload: Bytes,
    },
    Validate {
        ticket: GossipTicket,
        verdict: GossipVerdict,
    },
    Report {
        peer: PeerKey,
        misbehaviour: Misbehaviour,
    },
}

/// A connected peer's queues, shared by the handle and the writers.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) info: PeerInfo,
    pub(crate) follows: BTreeSet<ChainRef>,
    pub(crate) outboxes: ByClass<Arc<Outbox>>,
    /// Ends the peer's writers and readers.
    pub(crate) over: CancellationToken,
}

/// State shared by the handle and the service.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) local: PeerKey,
    pub(crate) follows: Arc<BTreeSet<ChainRef>>,
    pub(crate) limits: Limits,
    pub(crate) counters: Arc<Counters>,
    links: RwLock<BTreeMap<PeerKey, Arc<Link>>>,
    listening: RwLock<Vec<String>>,
}

impl Shared {
    pub(crate) fn new(local: PeerKey, follows: BTreeSet<ChainRef>, limits: Limits) -> Self {
        Self {
            local,
            follows: Arc::new(follows),
            limits,
            counters: Arc::default(),
            links: RwLock::default(),
            listening: RwLock::default(),
        }
    }

    pub(crate) fn link(&self, peer: PeerKey) -> Option<Arc<Link>> {
        self.links
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&peer)
            .cloned()
    }

    fn links(&self) -> Vec<Arc<Link>> {
        let links = self.links.read().unwrap_or_else(PoisonError::into_inner);
        links.values().cloned().collect()
    }

    pub(crate) fn add_link(&self, link: Arc<Link>) {
        let mut links = self.links.write().unwrap_or_else(PoisonError::into_inner);
        links.insert(link.info.peer, link);
    }

    /// Takes the link away, ends its tasks and drops what waits.
    pub(crate) fn remove_link(&self, peer: PeerKey) {
        let mut links = self.links.write().unwrap_or_else(PoisonError::into_inner);
        let removed = links.remove(&peer);
        drop(links);
        let Some(link) = removed else { return };
        link.over.cancel();
        for class in crate::frame::Class::ALL {
            let dropped = link.outboxes.get(class).clear();
            self.counters
                .classes
                .get(class)
                .dropped_disconnected
                .add(dropped);
        }
    }

    pub(crate) fn set_listening(&self, change: impl FnOnce(&mut Vec<String>)) {
        change(
            &mut self
                .listening
                .write()
                .unwrap_or_else(PoisonError::into_inner),
        );
    }

    pub(crate) fn listening(&self) -> Vec<String> {
        self.listening
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn push(&self, link: &Link, frame: Frame) -> SendOutcome {
        let (class, length) = match frame.check() {
            Ok(checked) => checked,
            Err(error) => return SendOutcome::Invalid(error),
        };
        if !link.follows.contains(&frame.chain) {
            return SendOutcome::NotFollowed;
        }
        let counters = self.counters.classes.get(class);
        match link.outboxes.get(class).push(frame, length) {
            Pushed::Queued { dropped } => {
                counters.dropped_oldest.add(dropped);
                SendOutcome::Queued { dropped }
            }
            Pushed::Full => {
                counters.refused_full.add(1);
                SendOutcome::Full
            }
        }
    }
}

/// The handle of a running service. Clones are cheap; none of the methods block.
#[derive(Debug, Clone)]
pub struct NetworkHandle {
    pub(crate) shared: Arc<Shared>,
    pub(crate) commands: mpsc::Sender<Command>,
    pub(crate) stop: CancellationToken,
    pub(crate) stopped: watch::Receiver<bool>,
}

impl NetworkHandle {
    /// The name of this node.
    pub fn local_peer(&self) -> PeerKey {
        self.shared.local
    }

    /// Queues a frame for one peer. Bounded by `Limits::outbound`: at the bound a consensus class
    /// drops its oldest frame and the others refuse the new one.
    pub fn send(&self, peer: PeerKey, frame: Frame) -> SendOutcome {
        match self.shared.link(peer) {
            Some(link) => self.shared.push(&link, frame),
            None => SendOutcome::NotConnected,
        }
    }

    /// Queues a frame for every peer that follows its chain; how many queues took it. The payload
    /// is shared, not copied.
    pub fn broadcast(&self, frame: &Frame) -> usize {
        let push = |link: &Arc<Link>| self.shared.push(link, frame.clone());
        let queued = |outcome| matches!(outcome, SendOutcome::Queued { .. });
        self.shared
            .links()
            .iter()
            .map(push)
            .filter(|outcome| queued(*outcome))
            .count()
    }

    /// Gossips a payload to all nodes that follow the chain, on
    /// `/skerry/<16 digits of the chain id>/<chain>/final`. This node does not receive its own.
    pub fn publish(&self, chain: ChainRef, payload: Bytes) -> PublishOutcome {
        if payload.len() > self.shared.limits.gossip_bytes_max {
            return PublishOutcome::TooLarge;
        }
        if !self.shared.follows.contains(&chain) {
            return PublishOutcome::NotFollowed;
        }
        match self.command(Command::Publish { chain, payload }) {
            true => PublishOutcome::Queued,
            false => PublishOutcome::Full,
        }
    }

    /// Decides on a gossip message when `Limits::gossip_awaits_validation` is set; otherwise only a
    /// rejection has an effect, the penalty. Messages without a verdict within some twenty seconds
    /// are forgotten.
    pub fn validate(&self, ticket: GossipTicket, verdict: GossipVerdict) {
        self.command(Command::Validate { ticket, verdict });
    }

    /// Penalises a peer for what the caller found in its payloads. At `Limits::penalty_max` it is
    /// disconnected and banned for `Limits::ban`.
    pub fn report(&self, peer: PeerKey, misbehaviour: Misbehaviour) {
        self.command(Command::Report { peer, misbehaviour });
    }

    /// The connected peers, in the order of their keys.
    pub fn peers(&self) -> Vec<PeerInfo> {
        self.shared
            .links()
            .iter()
            .map(|link| link.info.clone())
            .collect()
    }

    /// The addresses listened on, each with `/p2p/ID`.
    pub fn listening(&self) -> Vec<String> {
        self.shared.listening()
    }

    /// Counters since the start.
    pub fn stats(&self) -> NetworkStats {
        self.shared.counters.snapshot()
    }

    /// Stops the service and waits until its tasks have ended; what waits in queues is dropped.
    pub async fn shutdown(&self) {
        self.stop.cancel();
        // An error means that the service is gone, which is what is waited for.
        let _ = self.stopped.clone().wait_for(|stopped| *stopped).await;
    }

    fn command(&self, command: Command) -> bool {
        let taken = self.commands.try_send(command).is_ok();
        if !taken {
            self.shared.counters.commands_dropped.add(1);
        }
        taken
    }
}
