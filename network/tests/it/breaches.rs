//! Peers that break the rules, played by a raw client.

use crate::testing::{Node, RawClient, WireMessage, config, shard, until};
use futures::{AsyncReadExt as _, AsyncWriteExt as _};
use skerry_network::{Misbehaviour, NetworkEvent, RefusedReason, kind};
use skerry_types::ids::ChainRef;
use std::time::Duration;

fn header(chain: [u8; 3], kind: u8, length: u32) -> Vec<u8> {
    let mut bytes = chain.to_vec();
    bytes.extend_from_slice(&7_u64.to_le_bytes());
    bytes.push(kind);
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes
}

fn no_frame_came(node: &mut Node) {
    for receiver in [&mut node.events.consensus, &mut node.events.bulk] {
        while let Ok(event) = receiver.try_recv() {
            assert!(!matches!(event, NetworkEvent::Frame { .. }), "{event:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frame_as_it_stands_on_the_wire_is_delivered() {
    let mut node = Node::start(config(1)).await;
    let mut client = RawClient::greet(&node).await;
    let mut stream = client.open("/skerry/1/votes").await;
    let mut bytes = header(shard(0).to_bytes(), kind::VOTE, 3);
    bytes.extend_from_slice(b"abc");
    stream.write_all(&bytes).await.expect("written");
    stream.flush().await.expect("written");
    let (peer, frame) = node.frame().await;
    assert_eq!((peer, frame.chain, frame.epoch), (client.peer, shard(0), 7));
    assert_eq!((frame.kind, &frame.payload[..]), (kind::VOTE, &b"abc"[..]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_bad_header_is_penalised_and_nothing_is_delivered() {
    let mut node = Node::start(config(1)).await;
    let beacon = ChainRef::Beacon.to_bytes();
    let bad: [(&'static str, Vec<u8>); 6] = [
        ("/skerry/1/votes", header(beacon, kind::VOTE, 4097)),
        (
            "/skerry/1/sync",
            header(beacon, kind::RANGE_REPLY, u32::MAX),
        ),
        ("/skerry/1/votes", header(beacon, 0xee, 1)),
        ("/skerry/1/votes", header(beacon, kind::PROPOSAL, 1)),
        (
            "/skerry/1/relay",
            header(shard(1).to_bytes(), kind::BATCH_PUSH, 1),
        ),
        ("/skerry/1/relay", header([77, 1, 1], kind::BATCH_PUSH, 1)),
    ];
    for (round, (protocol, mut bytes)) in (1_u64..).zip(bad) {
        let mut client = RawClient::greet(&node).await;
        let mut stream = client.open(protocol).await;
        bytes.extend_from_slice(&[0; 64]);
        stream.write_all(&bytes).await.expect("written");
        stream.flush().await.expect("written");
        until("the penalty", || node.handle.stats().misbehaviours == round).await;
        // The node closed the substream.
        assert!(!matches!(stream.read(&mut [0; 1]).await, Ok(1..)));
    }
    no_frame_came(&mut node);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn repeated_breaches_disconnect_and_ban() {
    let mut node = Node::start(config(1)).await;
    let mut client = RawClient::greet(&node).await;
    assert_eq!(node.connected().await, client.peer);
    for _ in 0..3 {
        let mut stream = client.open("/skerry/1/votes").await;
        let before = node.handle.stats().misbehaviours;
        stream
            .write_all(&header([0; 3], 0xee, 1))
            .await
            .expect("written");
        stream.flush().await.expect("written");
        until("the penalty", || node.handle.stats().misbehaviours > before).await;
    }
    assert_eq!(node.disconnected().await, client.peer);
    assert_eq!(node.handle.stats().bans, 1);
    assert!(node.handle.peers().is_empty());
    no_frame_came(&mut node);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_reports_disconnect_a_peer() {
    let mut node = Node::start(config(1)).await;
    let client = RawClient::greet(&node).await;
    node.connected().await;
    node.handle
        .report(client.peer, Misbehaviour::InvalidSignature);
    node.handle
        .report(client.peer, Misbehaviour::InvalidSignature);
    assert_eq!(node.disconnected().await, client.peer);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_served_before_the_hello() {
    let mut patient = config(1);
    patient.limits.hello_timeout = Duration::from_secs(2);
    let mut node = Node::start(patient).await;
    let mut client = RawClient::connect(&node).await;
    let mut stream = client.open("/skerry/1/votes").await;
    let mut bytes = header(shard(0).to_bytes(), kind::VOTE, 1);
    bytes.push(1);
    stream.write_all(&bytes).await.expect("written");
    stream.flush().await.expect("written");
    assert_eq!(
        node.refused().await,
        RefusedReason::HelloTimeout { limit_ms: 2000 }
    );
    assert_eq!(node.handle.stats().classes.votes.frames_in, 0);
    no_frame_came(&mut node);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_for_a_hello_is_refused() {
    let mut node = Node::start(config(1)).await;
    let mut client = RawClient::connect(&node).await;
    let mut stream = client.open("/skerry/1/hello").await;
    stream.write_all(&[0xff; 64]).await.expect("written");
    stream.flush().await.expect("written");
    assert!(matches!(
        node.refused().await,
        RefusedReason::BadHello { .. }
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn second_hello_and_floods_of_control_messages_end_the_connection() {
    let mut node = Node::start(config(1)).await;
    for flood in [false, true] {
        let mut client = RawClient::greet(&node).await;
        assert_eq!(node.connected().await, client.peer);
        if flood {
            for _ in 0..65 {
                client.say(&WireMessage::Ping).await;
            }
        } else {
            client.say(&WireMessage::Verdict(Ok(()))).await;
        }
        assert_eq!(node.disconnected().await, client.peer);
    }
    assert_eq!(node.handle.stats().misbehaviours, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_peer_is_given_up() {
    let mut quick = config(1);
    quick.limits.silence_max = Duration::from_secs(1);
    let mut node = Node::start(quick).await;
    let client = RawClient::greet(&node).await;
    assert_eq!(node.connected().await, client.peer);
    assert_eq!(node.disconnected().await, client.peer);
    assert_eq!(node.handle.stats().silent_connections, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stalled_frame_is_penalised() {
    let mut quick = config(1);
    quick.limits.frame_timeout = Duration::from_millis(500);
    let mut node = Node::start(quick).await;
    let mut client = RawClient::greet(&node).await;
    let mut stream = client.open("/skerry/1/blocks").await;
    let head = header(shard(0).to_bytes(), kind::PROPOSAL, 1000);
    stream.write_all(&head).await.expect("written");
    stream.flush().await.expect("written");
    until("the penalty", || node.handle.stats().misbehaviours == 1).await;
    no_frame_came(&mut node);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn told_addresses_beyond_the_policy_are_not_dialled() {
    let mut node = Node::start(config(1)).await;
    let mut client = RawClient::greet(&node).await;
    node.connected().await;
    let told = vec![
        "/ip4/8.8.8.8/tcp/1".to_owned(),
        "/dns4/example.org/tcp/1".to_owned(),
    ];
    client.say(&WireMessage::Peers(vec![([3; 32], told)])).await;
    let good = vec!["/ip4/127.0.0.1/tcp/1".to_owned()];
    client.say(&WireMessage::Peers(vec![([4; 32], good)])).await;
    until("the second is dialled", || node.handle.stats().dials >= 1).await;
    client.say(&WireMessage::Ping).await;
    assert_eq!(node.handle.peers().len(), 1);
}
