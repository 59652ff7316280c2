//! Frames and gossip between nodes that know each other.

use crate::testing::{Node, QUIC, RawClient, config, frame, pair, shard, until, wait};
use skerry_network::{
    Bytes, Class, FrameError, GossipVerdict, Limits, NetworkEvent, PublishOutcome, SendOutcome,
    class_of, kind,
};
use skerry_types::ids::ChainRef;
use std::cell::Cell;

const QUEUED: SendOutcome = SendOutcome::Queued { dropped: 0 };

/// Sends a frame of every kind both ways, the largest of its class among them.
async fn exchange(mut first: Node, mut second: Node) {
    let kinds: Vec<u8> = (0..=u8::MAX)
        .filter(|kind| class_of(*kind).is_some())
        .collect();
    for kind in kinds {
        let size = if matches!(kind, kind::PROPOSAL | kind::RANGE_REPLY) {
            3 << 20
        } else {
            1000
        };
        let sent = frame(kind, vec![kind; size]);
        assert_eq!(first.handle.send(second.peer(), sent.clone()), QUEUED);
        assert_eq!(second.frame().await, (first.peer(), sent.clone()));
        assert_eq!(second.handle.broadcast(&sent), 1);
        assert_eq!(first.frame().await, (second.peer(), sent));
    }
    // A writer counts when its bytes are flushed, which may be after their arrival.
    until("all that came was sent", || {
        let stats = second.handle.stats().classes;
        Class::ALL
            .iter()
            .all(|class| stats.get(*class).frames_in == stats.get(*class).frames_out)
    })
    .await;
    assert_eq!(second.handle.stats().misbehaviours, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_of_every_kind_pass_over_tcp() {
    let (first, second) = pair(config(1), config(2)).await;
    exchange(first, second).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_of_every_kind_pass_over_quic() {
    let mut first = config(1);
    first.listen = vec![QUIC.to_owned()];
    let mut second = config(2);
    second.listen = vec![QUIC.to_owned()];
    let (first, second) = pair(first, second).await;
    assert!(first.address.contains("/quic-v1/"));
    exchange(first, second).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_that_nobody_would_accept_are_not_sent() {
    let mut second = config(2);
    second.chains = vec![ChainRef::Beacon];
    let (first, second) = pair(config(1), second).await;
    let send = |sent| first.handle.send(second.peer(), sent);
    assert_eq!(send(frame(kind::VOTE, vec![])), SendOutcome::NotFollowed);
    assert_eq!(
        send(frame(0xee, vec![])),
        SendOutcome::Invalid(FrameError::UnknownKind { kind: 0xee })
    );
    let (kind, maximum, actual) = (kind::VOTE, 4096, 4097);
    assert_eq!(
        send(frame(kind, vec![0; 4097])),
        SendOutcome::Invalid(FrameError::TooLarge {
            kind,
            maximum,
            actual
        })
    );
    assert_eq!(
        first.handle.send(first.peer(), frame(kind::VOTE, vec![])),
        SendOutcome::NotConnected
    );
    assert_eq!(first.handle.broadcast(&frame(kind::VOTE, vec![])), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_queue_drops_the_oldest_in_consensus_and_refuses_elsewhere() {
    let node = Node::start(config(1)).await;
    // A client that never accepts a substream: all that is sent to it waits.
    let client = RawClient::greet(&node).await;
    until("the client is a peer", || !node.handle.peers().is_empty()).await;
    let fill = |kind: u8, count: usize| -> Vec<SendOutcome> {
        (0..count)
            .map(|_| node.handle.send(client.peer, frame(kind, vec![1])))
            .collect()
    };
    let limits = Limits::default();
    let votes = fill(kind::VOTE, limits.outbound.votes.frames_max + 3);
    assert_eq!(
        votes.iter().filter(|outcome| **outcome == QUEUED).count(),
        1024
    );
    assert_eq!(votes.last(), Some(&SendOutcome::Queued { dropped: 1 }));
    let blocks = fill(kind::PROPOSAL, limits.outbound.blocks.frames_max + 1);
    assert_eq!(blocks.last(), Some(&SendOutcome::Queued { dropped: 1 }));
    for (kind, limit) in [
        (kind::BATCH_PUSH, limits.outbound.relay),
        (kind::TRANSACTIONS, limits.outbound.transactions),
        (kind::STATUS, limits.outbound.sync),
    ] {
        let outcomes = fill(kind, limit.frames_max + 2);
        assert_eq!(
            outcomes
                .iter()
                .filter(|outcome| **outcome == QUEUED)
                .count(),
            limit.frames_max
        );
        assert_eq!(outcomes.last(), Some(&SendOutcome::Full));
    }
    let stats = node.handle.stats();
    assert_eq!(stats.classes.votes.dropped_oldest, 3);
    assert_eq!(stats.classes.relay.refused_full, 2);
    assert_eq!(stats.classes.votes.frames_out, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unread_bulk_fills_up_and_votes_still_pass() {
    let mut second = config(2);
    second.limits.inbound_bytes_max.relay = 2 << 20;
    let (first, mut second) = pair(config(1), second).await;
    let batch = frame(kind::BATCH_PUSH, vec![7; 1 << 20]);
    // Nobody reads the bulk receiver, so reading stops, and in the end the queue here is full.
    let queued = Cell::new(0_u32);
    until("the queue is full", || {
        match first.handle.send(second.peer(), batch.clone()) {
            QUEUED => {
                queued.set(queued.get() + 1);
                false
            }
            outcome => outcome == SendOutcome::Full,
        }
    })
    .await;
    assert_eq!(
        first.handle.send(second.peer(), frame(kind::VOTE, vec![1])),
        QUEUED
    );
    let (_, vote) = wait(&mut second.events.consensus, |event| match event {
        NetworkEvent::Frame { peer, frame } => Some((peer, frame)),
        _ => None,
    })
    .await;
    assert_eq!(vote.kind, kind::VOTE);
    assert!(
        second.handle.stats().classes.relay.bytes_in <= 2 << 20,
        "two frames wait at most"
    );
    // Reading again lets everything through that was queued.
    for _ in 0..queued.get() {
        assert_eq!(second.frame().await.1, batch);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gossip_reaches_a_node_that_is_not_a_neighbour() {
    for awaits_validation in [false, true] {
        // Nobody learns of others, so that the three stay a line.
        let line = |seed| {
            let mut config = config(seed);
            config.limits.learned_peers_max = 0;
            config.limits.gossip_awaits_validation = awaits_validation;
            config
        };
        let mut middle = Node::start(line(1)).await;
        let mut left = Node::dialling(line(2), &[&middle]).await;
        let mut right = Node::dialling(line(3), &[&middle]).await;
        left.connected().await;
        right.connected().await;
        // Subscriptions travel after the hello; a payload published before them reaches nobody.
        let mut round: u8 = 0;
        let payload = loop {
            round = round.checked_add(1).expect("reached in time");
            let payload = Bytes::from(vec![round; 100]);
            assert_eq!(
                left.handle.publish(shard(0), payload),
                PublishOutcome::Queued
            );
            let relay = async {
                loop {
                    let event = middle.events.bulk.recv().await.expect("the service runs");
                    if let NetworkEvent::Gossip { ticket, .. } = event {
                        middle.handle.validate(ticket, GossipVerdict::Accept);
                    }
                }
            };
            let arrive = wait(&mut right.events.bulk, |event| match event {
                NetworkEvent::Gossip {
                    from,
                    chain,
                    payload,
                    ..
                } => Some((from, chain, payload)),
                _ => None,
            });
            let arrive = tokio::time::timeout(std::time::Duration::from_secs(1), arrive);
            let arrived = tokio::select! { arrived = arrive => arrived, () = relay => continue };
            if let Ok((from, chain, payload)) = arrived {
                assert_eq!(from, Some(middle.peer()));
                assert_eq!(chain, shard(0));
                break payload;
            }
        };
        assert!(payload.iter().all(|byte| *byte <= round) && payload.len() == 100);
        assert_eq!(right.handle.peers().len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gossip_that_is_too_large_or_of_another_chain_is_not_published() {
    let node = Node::start(config(1)).await;
    let publish = |chain, size| node.handle.publish(chain, Bytes::from(vec![0; size]));
    assert_eq!(publish(shard(0), 65_537), PublishOutcome::TooLarge);
    assert_eq!(publish(shard(1), 1), PublishOutcome::NotFollowed);
    assert_eq!(publish(shard(0), 65_536), PublishOutcome::Queued);
    until("nobody listens", || {
        node.handle.stats().gossip_unpublished == 1
    })
    .await;
}
