//! What the service tells the node, on two bounded receivers.
//!
//! `consensus` carries peer events, votes and blocks; `bulk` carries gossip, relay, transactions
//! and sync. Inside a receiver each class has a lane of its own: peer events go first, the other
//! lanes take turns, so that a flood of one class delays a frame of another by one frame at most.
//! What waits is bounded in bytes per class (`Limits::inbound_bytes_max`); at the bound the readers
//! of that class stop, and so does the peer's writer.

use crate::error::RefusedReason;
use crate::frame::{ByClass, Class, Frame};
use crate::key::PeerKey;
use crate::limits::Limits;
use bytes::Bytes;
use skerry_types::ids::ChainRef;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// Bytes of payload per unit of inbound budget.
const BUDGET_UNIT: usize = 1024;

/// Something happened on the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NetworkEvent {
    /// A peer passed the hello. Comes once, however many connections there are.
    PeerConnected {
        /// The peer.
        peer: PeerKey,
        /// The validator that it proved to be.
        validator: Option<[u8; 48]>,
        /// The chains that it follows.
        chains: Vec<ChainRef>,
        /// Whether this node is configured to dial it: whom its operator chose.
        configured: bool,
    },
    /// The last connection of a peer closed, or the peer restarted.
    PeerDisconnected {
        /// The peer.
        peer: PeerKey,
    },
    /// A frame came. Its chain is followed and its size is right; the payload is unchecked.
    Frame {
        /// The sender.
        peer: PeerKey,
        /// The frame.
        frame: Frame,
    },
    /// A gossip message came; repeats of the same payload are suppressed.
    Gossip {
        /// The neighbour that forwarded it; messages carry no author.
        from: Option<PeerKey>,
        /// The chain of its topic.
        chain: ChainRef,
        /// The content, unchecked.
        payload: Bytes,
        /// Names the message in [`NetworkHandle::validate`](crate::NetworkHandle::validate).
        ticket: GossipTicket,
    },
    /// A peer was refused, or refused us.
    Refused {
        /// The peer, when it proved its key.
        peer: Option<PeerKey>,
        /// Its address as the connection shows it.
        address: String,
        /// Which check failed.
        reason: RefusedReason,
    },
    /// The node listens on an address, given with `/p2p/ID` so that others can dial it.
    Listening {
        /// The address.
        address: String,
    },
}

/// Names a gossip message for its validation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GossipTicket {
    pub(crate) id: [u8; 32],
    pub(crate) source: PeerKey,
}

/// The two receivers.
#[derive(Debug)]
pub struct NetworkEvents {
    /// Peer events, votes and blocks.
    pub consensus: EventReceiver,
    /// Gossip, relay, transactions and sync.
    pub bulk: EventReceiver,
}

/// One receiver; its methods are those of a tokio channel.
#[derive(Debug)]
pub struct EventReceiver {
    first: Lane,
    turns: Vec<Lane>,
    next: usize,
}

type Lane = mpsc::Receiver<Waiting>;

/// An event, and the budget that it holds until it is taken.
#[derive(Debug)]
pub(crate) struct Waiting {
    event: NetworkEvent,
    _budget: Option<OwnedSemaphorePermit>,
}

impl From<NetworkEvent> for Waiting {
    fn from(event: NetworkEvent) -> Self {
        Self {
            event,
            _budget: None,
        }
    }
}

impl EventReceiver {
    /// The next event; `None` after the service has stopped and everything was taken.
    pub async fn recv(&mut self) -> Option<NetworkEvent> {
        poll_fn(|context| self.poll_recv(context)).await
    }

    /// The next event, if one waits.
    ///
    /// # Errors
    /// `Empty` when none waits, `Disconnected` when none will come.
    pub fn try_recv(&mut self) -> Result<NetworkEvent, TryRecvError> {
        let mut context = Context::from_waker(std::task::Waker::noop());
        match self.poll_recv(&mut context) {
            Poll::Ready(Some(event)) => Ok(event),
            Poll::Ready(None) => Err(TryRecvError::Disconnected),
            Poll::Pending => Err(TryRecvError::Empty),
        }
    }

    /// As [`Self::recv`], for hand-written futures.
    pub fn poll_recv(&mut self, context: &mut Context<'_>) -> Poll<Option<NetworkEvent>> {
        let mut open = false;
        match self.first.poll_recv(context) {
            Poll::Ready(Some(waiting)) => return Poll::Ready(Some(waiting.event)),
            Poll::Ready(None) => {}
            Poll::Pending => open = true,
        }
        let count = self.turns.len();
        for turn in (self.next..count).chain(0..self.next.min(count)) {
            let Some(lane) = self.turns.get_mut(turn) else {
                continue;
            };
            match lane.poll_recv(context) {
                Poll::Ready(Some(waiting)) => {
                    self.next = turn.saturating_add(1);
                    return Poll::Ready(Some(waiting.event));
                }
                Poll::Ready(None) => {}
                Poll::Pending => open = true,
            }
        }
        if open {
            Poll::Pending
        } else {
            Poll::Ready(None)
        }
    }
}

/// The sending ends, shared by the service and the readers.
#[derive(Debug, Clone)]
pub(crate) struct EventSenders {
    pub(crate) peers: mpsc::Sender<Waiting>,
    pub(crate) gossip: mpsc::Sender<Waiting>,
    pub(crate) frames: ByClass<FrameSender>,
}

/// The sending end of one class with its budget.
#[derive(Debug, Clone)]
pub(crate) struct FrameSender {
    lane: mpsc::Sender<Waiting>,
    budget: Arc<Semaphore>,
}

impl FrameSender {
    fn new(bytes_max: usize) -> (Self, Lane) {
        // The lane has a place per unit and a frame takes a unit at least, so the budget alone
        // decides who waits.
        let units = (bytes_max / BUDGET_UNIT).clamp(1, Semaphore::MAX_PERMITS);
        let (lane, receiver) = mpsc::channel(units);
        (
            Self {
                lane,
                budget: Arc::new(Semaphore::new(units)),
            },
            receiver,
        )
    }

    /// Waits for room for a payload of `length` bytes; `None` when the service stops.
    pub(crate) async fn reserve(&self, length: u32) -> Option<OwnedSemaphorePermit> {
        let units = length.div_ceil(1024).max(1);
        Arc::clone(&self.budget)
            .acquire_many_owned(units)
            .await
            .ok()
    }

    /// Hands up a frame; whether the consumer still listens.
    pub(crate) async fn send(
        &self,
        peer: PeerKey,
        frame: Frame,
        budget: OwnedSemaphorePermit,
    ) -> bool {
        let event = NetworkEvent::Frame { peer, frame };
        self.lane
            .send(Waiting {
                event,
                _budget: Some(budget),
            })
            .await
            .is_ok()
    }
}

/// Builds both ends.
pub(crate) fn event_channels(limits: &Limits) -> (EventSenders, NetworkEvents) {
    let (peers, peers_lane) = mpsc::channel(limits.peer_events_max.max(1));
    let (gossip, gossip_lane) = mpsc::channel(limits.gossip_waiting_max.max(1));
    let mut consensus = EventReceiver {
        first: peers_lane,
        turns: Vec::new(),
        next: 0,
    };
    let mut bulk = EventReceiver {
        first: closed_lane(),
        turns: vec![gossip_lane],
        next: 0,
    };
    let frames = ByClass::from_fn(|class: Class| {
        // A budget below one frame of the largest kind would never let that frame through.
        let bytes_max = (*limits.inbound_bytes_max.get(class)).max(largest(class));
        let (sender, lane) = FrameSender::new(bytes_max);
        let receiver = if class.is_consensus() {
            &mut consensus
        } else {
            &mut bulk
        };
        receiver.turns.push(lane);
        sender
    });
    (
        EventSenders {
            peers,
            gossip,
            frames,
        },
        NetworkEvents { consensus, bulk },
    )
}

fn closed_lane() -> Lane {
    mpsc::channel(1).1
}

fn largest(class: Class) -> usize {
    (0..=u8::MAX)
        .filter_map(crate::frame::class_of)
        .filter(|(of, _)| *of == class)
        .filter_map(|(_, bytes_max)| usize::try_from(bytes_max).ok())
        .max()
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::kind;

    fn frame(kind: u8) -> Frame {
        Frame {
            chain: ChainRef::Beacon,
            epoch: 0,
            kind,
            payload: Bytes::new(),
        }
    }

    #[tokio::test]
    async fn lanes_take_turns_and_close_together() {
        let (senders, mut events) = event_channels(&Limits::default());
        let peer = PeerKey::new([1; 32]);
        for (class, kind) in [
            (Class::Relay, kind::BATCH_PUSH),
            (Class::Relay, kind::BATCH_PUSH),
            (Class::Sync, kind::STATUS),
        ] {
            let sender = senders.frames.get(class);
            let budget = sender.reserve(0).await.expect("room");
            assert!(sender.send(peer, frame(kind), budget).await);
        }
        drop(senders);
        let mut kinds = Vec::new();
        while let Some(NetworkEvent::Frame { frame, .. }) = events.bulk.recv().await {
            kinds.push(frame.kind);
        }
        assert_eq!(kinds, [kind::BATCH_PUSH, kind::STATUS, kind::BATCH_PUSH]);
        assert_eq!(events.consensus.try_recv(), Err(TryRecvError::Disconnected));
    }

    #[tokio::test]
    async fn budget_is_held_until_the_frame_is_taken() {
        let limits = Limits {
            inbound_bytes_max: ByClass::from_fn(|_| 1),
            ..Limits::default()
        };
        let (senders, mut events) = event_channels(&limits);
        let votes = senders.frames.get(Class::Votes);
        let all = votes
            .reserve(16 * 1024)
            .await
            .expect("the largest vote frame fits");
        assert!(
            votes
                .send(PeerKey::new([1; 32]), frame(kind::CERTIFICATE), all)
                .await
        );
        assert_eq!(votes.budget.available_permits(), 0);
        assert!(events.consensus.try_recv().is_ok());
        assert_eq!(votes.budget.available_permits(), 16);
    }
}
