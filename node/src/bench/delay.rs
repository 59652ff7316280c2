//! A network's delay on one machine: each validator is reached through a relay that passes bytes on
//! in both directions, each a fixed time after they came.
//!
//! The runtime's timer counts whole milliseconds and rounds up, which is a part of a LAN's delay
//! three times over before a block is final; so a thread of its own wakes whatever is due.

use super::BenchError;
use super::measure::Latency;
use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

/// Bytes that are read at a time.
const CHUNK_BYTES: usize = 64 * 1024;
/// Chunks on their way in one direction of a connection.
const CHUNKS_MAX: usize = 1_024;

/// Tasks that ask to be woken at once; each direction of a connection asks for itself.
const ALARMS_MAX: usize = 4_096;
/// Pause between two measurements of a relay.
const PROBE_INTERVAL: Duration = Duration::from_millis(50);
/// Measurements that are kept.
const PROBES_MAX: usize = 100_000;

/// Wakes tasks at their time, tens of microseconds late.
#[derive(Clone)]
pub(super) struct Alarms(SyncSender<Alarm>);

struct Alarm {
    due: Instant,
    wake: oneshot::Sender<()>,
}

impl Alarms {
    /// Starts the thread, which ends when all handles are gone.
    pub(super) fn start() -> Result<Self, BenchError> {
        let (alarms, queue) = sync_channel(ALARMS_MAX);
        std::thread::Builder::new()
            .name("bench-alarms".to_owned())
            .spawn(move || wake_all(&queue))
            .map_err(|error| BenchError::Network(error.to_string()))?;
        Ok(Self(alarms))
    }

    async fn wait_until(&self, due: Instant) {
        let (wake, woken) = oneshot::channel();
        if due > Instant::now() && self.0.send(Alarm { due, wake }).is_ok() {
            // The thread wakes all that it was given before it ends.
            let _ = woken.await;
        }
    }
}

fn wake_all(queue: &Receiver<Alarm>) {
    let mut waiting: BTreeMap<(Instant, u64), oneshot::Sender<()>> = BTreeMap::new();
    let mut count = 0_u64;
    loop {
        let now = Instant::now();
        while let Some(first) = waiting.first_entry().filter(|it| it.key().0 <= now) {
            // Who asked may be gone.
            let _ = first.remove().send(());
        }
        let next = waiting.first_key_value().map(|((due, _), _)| *due);
        let found = match next {
            Some(due) => queue.recv_timeout(due.saturating_duration_since(now)),
            None => queue.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match found {
            Ok(Alarm { due, wake }) => {
                count = count.saturating_add(1);
                waiting.insert((due, count), wake);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// Listens on `from` and relays to `to`, until the result is dropped.
pub(super) async fn relay(
    from: u16,
    to: u16,
    delay: Duration,
    alarms: Alarms,
) -> Result<JoinSet<()>, BenchError> {
    let listener = listen(from).await?;
    Ok(relay_from(listener, to, delay, alarms))
}

async fn listen(port: u16) -> Result<TcpListener, BenchError> {
    let listener = TcpListener::bind(("127.0.0.1", port)).await;
    listener.map_err(|error| BenchError::Network(format!("port {port}: {error}")))
}

fn relay_from(listener: TcpListener, to: u16, delay: Duration, alarms: Alarms) -> JoinSet<()> {
    let mut relaying = JoinSet::new();
    relaying.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((near, _)) = listener.accept().await {
            let alarms = alarms.clone();
            connections.spawn(async move {
                // A connection that cannot be made on is closed, as it would be without a relay.
                if let Ok(far) = TcpStream::connect(("127.0.0.1", to)).await {
                    join(near, far, delay, alarms).await;
                }
            });
            while connections.try_join_next().is_some() {}
        }
    });
    relaying
}

/// Measures what a relay really takes, until it is dropped.
pub(super) struct Probe {
    micros: Arc<Mutex<Vec<u64>>>,
    _tasks: [JoinSet<()>; 2],
}

impl Probe {
    /// One way, as half of the way there and back.
    pub(super) fn latency(&self) -> Latency {
        let micros = self.micros.lock().unwrap_or_else(PoisonError::into_inner);
        Latency::of(micros.clone())
    }
}

/// Sends a byte to and fro through a relay of its own.
pub(super) async fn probe(delay: Duration, alarms: &Alarms) -> Result<Probe, BenchError> {
    let failed = |error: std::io::Error| BenchError::Network(error.to_string());
    let (server, front) = (listen(0).await?, listen(0).await?);
    let port = |listener: &TcpListener| listener.local_addr().map(|it| it.port());
    let (to, from) = (
        port(&server).map_err(failed)?,
        port(&front).map_err(failed)?,
    );
    let relaying = relay_from(front, to, delay, alarms.clone());
    let micros: Arc<Mutex<Vec<u64>>> = Arc::default();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        // When one end fails there is nothing more to measure.
        if let Ok((mut stream, _)) = server.accept().await {
            let _ = stream.set_nodelay(true);
            let mut byte = [0];
            while stream.read_exact(&mut byte).await.is_ok()
                && stream.write_all(&byte).await.is_ok()
            {}
        }
    });
    let mut stream = TcpStream::connect(("127.0.0.1", from))
        .await
        .map_err(failed)?;
    let _ = stream.set_nodelay(true);
    let taken = micros.clone();
    tasks.spawn(async move {
        let mut byte = [0];
        loop {
            tokio::time::sleep(PROBE_INTERVAL).await;
            let sent = Instant::now();
            let passed =
                stream.write_all(&byte).await.is_ok() && stream.read_exact(&mut byte).await.is_ok();
            if !passed {
                return;
            }
            let one_way = sent.elapsed().as_micros() / 2;
            let mut taken = taken.lock().unwrap_or_else(PoisonError::into_inner);
            if taken.len() < PROBES_MAX {
                taken.push(u64::try_from(one_way).unwrap_or(u64::MAX));
            }
        }
    });
    Ok(Probe {
        micros,
        _tasks: [relaying, tasks],
    })
}

async fn join(near: TcpStream, far: TcpStream, delay: Duration, alarms: Alarms) {
    // Small messages must not wait for others.
    let _ = (near.set_nodelay(true), far.set_nodelay(true));
    let (near_read, near_write) = near.into_split();
    let (far_read, far_write) = far.into_split();
    let mut ways = JoinSet::new();
    ways.spawn(pass(near_read, far_write, delay, alarms.clone()));
    ways.spawn(pass(far_read, near_write, delay, alarms));
    // When one way ends, so does the connection.
    ways.join_next().await;
}

async fn pass(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    delay: Duration,
    alarms: Alarms,
) {
    let (sender, mut chunks) = mpsc::channel::<(Instant, Vec<u8>)>(CHUNKS_MAX);
    let reading = async move {
        loop {
            let mut chunk = Vec::with_capacity(CHUNK_BYTES);
            match from.read_buf(&mut chunk).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
            if sender.send((Instant::now() + delay, chunk)).await.is_err() {
                return;
            }
        }
    };
    let writing = async move {
        while let Some((due, chunk)) = chunks.recv().await {
            alarms.wait_until(due).await;
            if to.write_all(&chunk).await.is_err() {
                return;
            }
        }
    };
    tokio::join!(reading, writing);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::error::Error;

    #[tokio::test]
    async fn bytes_come_in_order_and_not_before_their_time() -> Result<(), Box<dyn Error>> {
        let server = TcpListener::bind("127.0.0.1:0").await?;
        let to = server.local_addr()?.port();
        let free = TcpListener::bind("127.0.0.1:0").await?;
        let from = free.local_addr()?.port();
        drop(free);
        let delay = Duration::from_millis(40);
        let _relaying = relay(from, to, delay, Alarms::start()?).await?;
        let echo = tokio::spawn(async move {
            let (mut stream, _) = server.accept().await?;
            let mut bytes = [0; 6];
            stream.read_exact(&mut bytes).await?;
            stream.write_all(&bytes).await
        });
        let mut client = TcpStream::connect(("127.0.0.1", from)).await?;
        let start = Instant::now();
        client.write_all(b"abc").await?;
        client.write_all(b"def").await?;
        let mut answer = [0; 6];
        client.read_exact(&mut answer).await?;
        assert_eq!(&answer, b"abcdef");
        assert!(start.elapsed() >= 2 * delay, "there and back");
        echo.await??;
        Ok(())
    }

    #[tokio::test]
    async fn a_probe_measures_one_way() -> Result<(), Box<dyn Error>> {
        let delay = Duration::from_millis(20);
        let probe = probe(delay, &Alarms::start()?).await?;
        while probe.latency().count < 2 {
            tokio::time::sleep(delay).await;
        }
        let least = probe.latency().p50_ms.ok_or("measured")?;
        assert!((20.0..40.0).contains(&least), "{least} ms");
        Ok(())
    }
}
