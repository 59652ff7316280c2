//! How much passes over loopback. Shows that every frame arrives under full load, and prints the
//! rates: `cargo test -p skerry-network --test it every_frame -- --nocapture`.

use crate::testing::{QUIC, TCP, config, frame, pair};
use skerry_network::{Bytes, NetworkEvent, SendOutcome, kind};
use std::time::Instant;

async fn measure(listen: &str, kind: u8, size: usize, count: usize) -> f64 {
    let (mut first, mut second) = (config(1), config(2));
    first.listen = vec![listen.to_owned()];
    second.listen = vec![listen.to_owned()];
    let (first, mut second) = pair(first, second).await;
    let peer = second.peer();
    let payload = Bytes::from(vec![7; size]);
    let start = Instant::now();
    let send = async {
        let mut sent = 0;
        while sent < count {
            match first.handle.send(peer, frame(kind, payload.clone())) {
                SendOutcome::Queued { .. } => sent += 1,
                _ => tokio::time::sleep(std::time::Duration::from_micros(200)).await,
            }
        }
    };
    let receive = async {
        let mut received = 0;
        while received < count {
            if let Some(NetworkEvent::Frame { .. }) = second.events.bulk.recv().await {
                received += 1;
            }
        }
    };
    tokio::join!(send, receive);
    start.elapsed().as_secs_f64()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_frame_arrives_under_full_load() {
    for (name, listen) in [("tcp", TCP), ("quic", QUIC)] {
        let seconds = measure(listen, kind::BATCH_PUSH, 1 << 20, 100).await;
        println!("{name}: 1 MiB frames {:.0} MiB/s", 100.0 / seconds);
        let seconds = measure(listen, kind::BATCH_PUSH, 300, 50_000).await;
        println!("{name}: 300 byte frames {:.0}/s", 50_000.0 / seconds);
    }
}
