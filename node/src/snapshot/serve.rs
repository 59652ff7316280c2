//! Serving those that join: a thread of its own, with a low priority, that never keeps a chain
//! waiting. It hears of the states that are reported, and answers one request after the other.

use super::frames::{REQUEST_BYTES_MAX, SnapshotReply, SnapshotRequest};
use super::pins::Pins;
use crate::chain::Reported;
use crate::runner::{now_ms, yield_to_others};
use crate::wire::kind;
use parking_lot::Mutex;
use skerry_network::{Bytes, Frame, Misbehaviour, NetworkHandle, PeerKey, SendOutcome};
use skerry_types::codec::{decode, encode};
use skerry_types::ids::ChainRef;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// News and requests that wait.
const QUEUE_MAX: usize = 256;
/// Requests of one peer that wait; one more is dropped, and asked again by an honest peer.
const REQUESTS_PER_PEER_MAX: u32 = 8;
/// Bytes that are served in a second, to all together.
const BYTES_PER_SECOND: u64 = 64 * 1024 * 1024;
/// Niceness of the thread.
const NICE: i32 = 5;

enum Event {
    Reported(ChainRef, Box<Reported>),
    Request {
        peer: PeerKey,
        chain: ChainRef,
        payload: Bytes,
    },
    Stop,
}

/// Counters for `/metrics`.
#[derive(Debug, Default)]
pub struct ServeMetrics {
    /// Answers that the network took.
    pub replies: AtomicU64,
    /// Bytes of them.
    pub bytes: AtomicU64,
    /// Requests that found no room.
    pub dropped: AtomicU64,
    /// States that found no room, and are not served.
    pub states_dropped: AtomicU64,
    /// States that are pinned.
    pub pins: AtomicU64,
}

/// Hands news and requests to the thread.
#[derive(Clone)]
pub struct Server {
    queue: SyncSender<Event>,
    waiting: Arc<Mutex<BTreeMap<PeerKey, u32>>>,
    metrics: Arc<ServeMetrics>,
}

impl Server {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system gives no more threads.
    pub fn start(
        pins: Pins,
        network: NetworkHandle,
        name: &str,
    ) -> std::io::Result<(Self, JoinHandle<()>)> {
        let (queue, events) = sync_channel(QUEUE_MAX);
        let server = Self {
            queue,
            waiting: Arc::default(),
            metrics: Arc::default(),
        };
        let (waiting, metrics) = (server.waiting.clone(), server.metrics.clone());
        let thread = std::thread::Builder::new()
            .name(format!("{name}-snapshots"))
            .spawn(move || {
                yield_to_others(NICE);
                serve(pins, &network, &events, &waiting, &metrics);
            })?;
        Ok((server, thread))
    }

    /// Counters.
    pub const fn metrics(&self) -> &Arc<ServeMetrics> {
        &self.metrics
    }

    /// A final header reports a state. Where there is no room it is not served.
    pub fn on_reported(&self, chain: ChainRef, reported: Box<Reported>) {
        if self
            .queue
            .try_send(Event::Reported(chain, reported))
            .is_err()
        {
            self.metrics.states_dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A peer asks for something.
    pub fn on_request(&self, peer: PeerKey, chain: ChainRef, payload: Bytes) {
        {
            let mut waiting = self.waiting.lock();
            let count = waiting.entry(peer).or_default();
            if *count >= REQUESTS_PER_PEER_MAX {
                self.metrics.dropped.fetch_add(1, Ordering::Relaxed);
                return;
            }
            *count = count.saturating_add(1);
        }
        let request = Event::Request {
            peer,
            chain,
            payload,
        };
        if self.queue.try_send(request).is_err() {
            self.metrics.dropped.fetch_add(1, Ordering::Relaxed);
            forget(&self.waiting, peer);
        }
    }

    /// Ends the thread, once it has done what waits.
    pub fn stop(&self) {
        let _ = self.queue.send(Event::Stop);
    }
}

fn forget(waiting: &Mutex<BTreeMap<PeerKey, u32>>, peer: PeerKey) {
    let mut waiting = waiting.lock();
    if let Some(count) = waiting.get_mut(&peer) {
        *count = count.saturating_sub(1);
        if *count == 0 {
            waiting.remove(&peer);
        }
    }
}

fn serve(
    mut pins: Pins,
    network: &NetworkHandle,
    events: &Receiver<Event>,
    waiting: &Mutex<BTreeMap<PeerKey, u32>>,
    metrics: &ServeMetrics,
) {
    while let Ok(event) = events.recv() {
        match event {
            Event::Stop => return,
            Event::Reported(chain, reported) => {
                pins.on_reported(chain, &reported);
                let count = u64::try_from(pins.len()).unwrap_or(u64::MAX);
                metrics.pins.store(count, Ordering::Relaxed);
            }
            Event::Request {
                peer,
                chain,
                payload,
            } => {
                let bytes = answer(&mut pins, network, (peer, chain), &payload, metrics);
                forget(waiting, peer);
                let nanos = bytes.saturating_mul(1_000_000_000) / BYTES_PER_SECOND;
                std::thread::sleep(Duration::from_nanos(nanos));
            }
        }
    }
}

/// Answers a request; how many bytes the answer has, whether the network took it or not.
fn answer(
    pins: &mut Pins,
    network: &NetworkHandle,
    (peer, chain): (PeerKey, ChainRef),
    payload: &[u8],
    metrics: &ServeMetrics,
) -> u64 {
    let Ok(request) = decode::<SnapshotRequest>(payload, REQUEST_BYTES_MAX) else {
        network.report(peer, Misbehaviour::InvalidMessage);
        return 0;
    };
    let Some(what) = pins.answer(chain, request.what, now_ms()) else {
        return 0;
    };
    let number = request.number;
    let payload = encode(&SnapshotReply { number, what });
    let bytes = u64::try_from(payload.len()).unwrap_or(u64::MAX);
    let frame = Frame {
        chain,
        epoch: 0,
        kind: kind::SNAPSHOT_REPLY,
        payload: Bytes::from(payload),
    };
    // What finds no room is asked for again.
    if matches!(network.send(peer, frame), SendOutcome::Queued { .. }) {
        metrics.replies.fetch_add(1, Ordering::Relaxed);
        metrics.bytes.fetch_add(bytes, Ordering::Relaxed);
    }
    bytes
}
