//! A network's delay on one machine: each validator is reached through a relay that passes bytes on
//! in both directions, each a fixed time after they came.

use super::BenchError;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

/// Bytes that are read at a time.
const CHUNK_BYTES: usize = 64 * 1024;
/// Chunks on their way in one direction of a connection.
const CHUNKS_MAX: usize = 1_024;

/// Listens on `from` and relays to `to`, until the result is dropped.
pub(super) async fn relay(from: u16, to: u16, delay: Duration) -> Result<JoinSet<()>, BenchError> {
    let listener = TcpListener::bind(("127.0.0.1", from))
        .await
        .map_err(|error| BenchError::Network(format!("port {from}: {error}")))?;
    let mut relaying = JoinSet::new();
    relaying.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((near, _)) = listener.accept().await {
            connections.spawn(async move {
                // A connection that cannot be made on is closed, as it would be without a relay.
                if let Ok(far) = TcpStream::connect(("127.0.0.1", to)).await {
                    join(near, far, delay).await;
                }
            });
            while connections.try_join_next().is_some() {}
        }
    });
    Ok(relaying)
}

async fn join(near: TcpStream, far: TcpStream, delay: Duration) {
    // Small messages must not wait for others.
    let _ = (near.set_nodelay(true), far.set_nodelay(true));
    let (near_read, near_write) = near.into_split();
    let (far_read, far_write) = far.into_split();
    let mut ways = JoinSet::new();
    ways.spawn(pass(near_read, far_write, delay));
    ways.spawn(pass(far_read, near_write, delay));
    // When one way ends, so does the connection.
    ways.join_next().await;
}

async fn pass(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    delay: Duration,
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
            sleep_until(due).await;
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
        let _relaying = relay(from, to, delay).await?;
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
}
