//! The data path: queues, writers and readers of the frame substreams.
//!
//! An [`Outbox`] is the bounded queue of one peer and class. Its writer takes everything that waits,
//! writes it as one run of bytes and flushes once. The reader at the other end checks each header
//! before it reads a payload, waits for inbound budget before it allocates one, and allocates only
//! as the bytes arrive. A substream carries frames in one direction; the writer watches the other
//! direction only to notice that the substream is gone.

use crate::events::FrameSender;
use crate::frame::{self, Class, Frame, FrameError, HEADER_BYTES};
use crate::key::PeerKey;
use crate::limits::{Limits, QueueLimit};
use crate::stats::Counters;
use bytes::Bytes;
use futures::io::{AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader};
use libp2p::swarm::Stream;
use skerry_types::ids::ChainRef;
use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio::time::timeout;

/// Payloads up to this size are copied into the writer's run; larger ones are written as they lie.
const COPIED_MAX: usize = 16 * 1024;
/// Bytes of one run. A run that is being written cannot be overtaken, so it is kept short enough
/// for a fresh vote.
const RUN_BYTES: usize = 256 * 1024;
/// Step in which a payload's memory grows while it arrives.
const READ_STEP: usize = 64 * 1024;
/// Buffer of a reader, so that small frames do not cost two reads each.
const READ_BUFFER: usize = 8 * 1024;

/// When anything last came on a connection, in milliseconds since the service started.
#[derive(Debug, Clone)]
pub(crate) struct LastSeen {
    start: Instant,
    at_ms: Arc<AtomicU64>,
}

impl LastSeen {
    pub(crate) fn new(start: Instant) -> Self {
        let seen = Self {
            start,
            at_ms: Arc::default(),
        };
        seen.touch();
        seen
    }

    pub(crate) fn touch(&self) {
        let now_ms = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.at_ms.store(now_ms, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> Instant {
        let at = Duration::from_millis(self.at_ms.load(Ordering::Relaxed));
        self.start.checked_add(at).unwrap_or(self.start)
    }
}

/// The bounded queue of frames for one peer and class.
#[derive(Debug)]
pub(crate) struct Outbox {
    class: Class,
    limit: QueueLimit,
    waiting: Mutex<Queue>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    frames: VecDeque<(Frame, u32)>,
    bytes: usize,
}

/// What became of a frame that was pushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pushed {
    /// It waits, and this many older ones gave way.
    Queued { dropped: u64 },
    /// The queue is full.
    Full,
}

impl Outbox {
    pub(crate) fn new(class: Class, limit: QueueLimit) -> Self {
        Self {
            class,
            limit,
            waiting: Mutex::default(),
            changed: Notify::new(),
        }
    }

    /// Queues a checked frame of this class.
    pub(crate) fn push(&self, frame: Frame, length: u32) -> Pushed {
        let size = frame.payload.len();
        let mut dropped: u64 = 0;
        {
            let mut queue = self.lock();
            while !queue.frames.is_empty()
                && (queue.frames.len() >= self.limit.frames_max
                    || queue.bytes.saturating_add(size) > self.limit.bytes_max)
            {
                if !self.class.is_consensus() {
                    return Pushed::Full;
                }
                queue.pop();
                dropped = dropped.saturating_add(1);
            }
            queue.bytes = queue.bytes.saturating_add(size);
            queue.frames.push_back((frame, length));
        }
        self.changed.notify_one();
        Pushed::Queued { dropped }
    }

    /// Takes the oldest frames, at least one if any waits, up to a run's worth of bytes.
    fn take_run(&self) -> Vec<(Frame, u32)> {
        let mut queue = self.lock();
        let mut run = Vec::new();
        let mut bytes: usize = 0;
        while bytes < RUN_BYTES {
            let Some((frame, length)) = queue.pop() else {
                break;
            };
            bytes = bytes
                .saturating_add(HEADER_BYTES)
                .saturating_add(frame.payload.len());
            run.push((frame, length));
        }
        run
    }

    /// Empties the queue; how many frames waited.
    pub(crate) fn clear(&self) -> u64 {
        let mut queue = self.lock();
        let count = u64::try_from(queue.frames.len()).unwrap_or(u64::MAX);
        *queue = Queue::default();
        count
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Queue> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn pop(&mut self) -> Option<(Frame, u32)> {
        let (frame, length) = self.frames.pop_front()?;
        self.bytes = self.bytes.saturating_sub(frame.payload.len());
        Some((frame, length))
    }
}

/// The task `writer`: one per peer and class, owned by the service's task set; it ends when the
/// substream fails or closes, and the service cancels it when the peer disconnects.
pub(crate) async fn write_frames(
    stream: Stream,
    outbox: Arc<Outbox>,
    counters: Arc<Counters>,
) -> io::Result<()> {
    let counters = counters.classes.get(outbox.class);
    let (mut reader, mut writer) = stream.split();
    let mut nothing = [0; 1];
    // The peer never writes here: whatever this read gives means that the substream is over.
    let over = reader.read(&mut nothing);
    tokio::pin!(over);
    let mut bytes = Vec::new();
    loop {
        let run = outbox.take_run();
        if run.is_empty() {
            tokio::select! {
                () = outbox.changed.notified() => continue,
                _ = &mut over => return Ok(()),
            }
        }
        tokio::select! {
            result = write_run(&mut writer, &run, &mut bytes) => result?,
            _ = &mut over => return Ok(()),
        }
        counters
            .frames_out
            .add(u64::try_from(run.len()).unwrap_or(u64::MAX));
        counters
            .bytes_out
            .add(run.iter().map(|(_, length)| u64::from(*length)).sum());
    }
}

/// Writes the frames of a run with as few writes as their sizes allow, and flushes once.
async fn write_run(
    writer: &mut (impl AsyncWrite + Unpin),
    run: &[(Frame, u32)],
    bytes: &mut Vec<u8>,
) -> io::Result<()> {
    bytes.clear();
    for (frame, length) in run {
        bytes.extend_from_slice(&frame::encode_header(frame, *length));
        if frame.payload.len() <= COPIED_MAX {
            bytes.extend_from_slice(&frame.payload);
            continue;
        }
        writer.write_all(bytes).await?;
        bytes.clear();
        writer.write_all(&frame.payload).await?;
    }
    writer.write_all(bytes).await?;
    writer.flush().await
}

/// What a reader needs beside its stream.
#[derive(Debug, Clone)]
pub(crate) struct ReadContext {
    pub(crate) peer: PeerKey,
    pub(crate) class: Class,
    pub(crate) followed: Arc<BTreeSet<ChainRef>>,
    pub(crate) events: FrameSender,
    pub(crate) last_seen: LastSeen,
    pub(crate) frame_timeout: Duration,
}

impl ReadContext {
    pub(crate) fn new(
        peer: PeerKey,
        class: Class,
        followed: &Arc<BTreeSet<ChainRef>>,
        events: FrameSender,
        last_seen: LastSeen,
        limits: &Limits,
    ) -> Self {
        let followed = Arc::clone(followed);
        Self {
            peer,
            class,
            followed,
            events,
            last_seen,
            frame_timeout: limits.frame_timeout,
        }
    }
}

/// How reading a substream ended.
#[derive(Debug)]
pub(crate) enum ReadEnd {
    /// The substream or the service closed.
    Closed,
    /// A header failed a check.
    Invalid(FrameError),
    /// A payload did not arrive in time.
    Stalled,
}

/// The task `reader`: one per inbound substream, owned by the service's task set; it ends when the
/// substream closes or breaks a rule, and the service cancels it when the peer disconnects.
pub(crate) async fn read_frames(
    stream: Stream,
    context: ReadContext,
    counters: Arc<Counters>,
) -> ReadEnd {
    let counters = counters.classes.get(context.class);
    let mut reader = BufReader::with_capacity(READ_BUFFER, stream);
    loop {
        let mut header = [0; HEADER_BYTES];
        if reader.read_exact(&mut header).await.is_err() {
            return ReadEnd::Closed;
        }
        context.last_seen.touch();
        let header = match frame::decode_header(header, context.class, &context.followed) {
            Ok(header) => header,
            Err(error) => return ReadEnd::Invalid(error),
        };
        let Some(budget) = context.events.reserve(header.length).await else {
            return ReadEnd::Closed;
        };
        let more = Duration::from_secs(u64::from(header.length / (512 * 1024)));
        let deadline = context.frame_timeout.saturating_add(more);
        let payload = read_payload(&mut reader, header.length, &context.last_seen);
        let payload = match timeout(deadline, payload).await {
            Ok(Ok(payload)) => payload,
            Ok(Err(_)) => return ReadEnd::Closed,
            Err(_) => return ReadEnd::Stalled,
        };
        // Counted before the hand-over, so that whoever holds the frame finds it counted.
        counters.frames_in.add(1);
        counters.bytes_in.add(u64::from(header.length));
        let frame = Frame {
            chain: header.chain,
            epoch: header.epoch,
            kind: header.kind,
            payload,
        };
        if !context.events.send(context.peer, frame, budget).await {
            return ReadEnd::Closed;
        }
    }
}

async fn read_payload(
    reader: &mut BufReader<Stream>,
    length: u32,
    last_seen: &LastSeen,
) -> io::Result<Bytes> {
    let length = usize::try_from(length).map_err(io::Error::other)?;
    // Reserved at once, so that it never moves; touched, and so paid for, only as bytes arrive.
    let mut payload = Vec::with_capacity(length);
    while payload.len() < length {
        let start = payload.len();
        payload.resize(start.saturating_add(READ_STEP).min(length), 0);
        let step = payload.get_mut(start..).unwrap_or_default();
        reader.read_exact(step).await?;
        last_seen.touch();
    }
    Ok(payload.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::kind;

    fn frame(epoch: u64, size: usize) -> (Frame, u32) {
        let payload = Bytes::from(vec![0; size]);
        let frame = Frame {
            chain: ChainRef::Beacon,
            epoch,
            kind: kind::VOTE,
            payload,
        };
        (frame, u32::try_from(size).expect("small"))
    }

    fn push(outbox: &Outbox, epoch: u64, size: usize) -> Pushed {
        let (frame, length) = frame(epoch, size);
        outbox.push(frame, length)
    }

    fn epochs(outbox: &Outbox) -> Vec<u64> {
        outbox
            .take_run()
            .iter()
            .map(|(frame, _)| frame.epoch)
            .collect()
    }

    #[test]
    fn full_consensus_queue_drops_its_oldest() {
        let limit = QueueLimit {
            frames_max: 2,
            bytes_max: 1000,
        };
        let outbox = Outbox::new(Class::Votes, limit);
        assert_eq!(push(&outbox, 1, 1), Pushed::Queued { dropped: 0 });
        assert_eq!(push(&outbox, 2, 1), Pushed::Queued { dropped: 0 });
        assert_eq!(push(&outbox, 3, 1), Pushed::Queued { dropped: 1 });
        assert_eq!(push(&outbox, 4, 999), Pushed::Queued { dropped: 1 });
        assert_eq!(push(&outbox, 5, 999), Pushed::Queued { dropped: 2 });
        assert_eq!(epochs(&outbox), [5]);
    }

    #[test]
    fn full_bulk_queue_refuses_the_new_one() {
        let limit = QueueLimit {
            frames_max: 2,
            bytes_max: 10,
        };
        let outbox = Outbox::new(Class::Relay, limit);
        assert_eq!(
            push(&outbox, 1, 100),
            Pushed::Queued { dropped: 0 },
            "one always fits"
        );
        assert_eq!(push(&outbox, 2, 0), Pushed::Full);
        assert_eq!(epochs(&outbox), [1]);
        assert_eq!(push(&outbox, 3, 5), Pushed::Queued { dropped: 0 });
        assert_eq!(outbox.clear(), 1);
    }

    #[tokio::test]
    async fn a_run_is_written_as_header_payload_header_payload() {
        let run = [frame(1, 3), frame(2, COPIED_MAX + 1), frame(3, 0)];
        let mut written = futures::io::Cursor::new(Vec::new());
        write_run(&mut written, &run, &mut Vec::new())
            .await
            .expect("written");
        let mut rest = written.get_ref().as_slice();
        for (frame, length) in &run {
            let (header, after) = rest.split_first_chunk().expect("header");
            assert_eq!(*header, frame::encode_header(frame, *length));
            rest = after.strip_prefix(&frame.payload[..]).expect("payload");
        }
        assert!(rest.is_empty());
    }
}
