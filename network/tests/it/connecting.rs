//! Hello, refusals, peer exchange and reconnection.

use crate::testing::{CHAIN_ID, Node, config, frame, pair, until, wait};
use skerry_network::{
    HelloProof, NetworkConfig, NetworkError, NetworkEvent, RefusalCode, RefusedReason, SendOutcome,
    kind, start,
};
use skerry_types::crypto::bls::SecretKey;
use skerry_types::ids::Digest;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_learn_of_each_other_from_one_address() {
    let bootstrap = Node::start(config(1)).await;
    let second = Node::dialling(config(2), &[&bootstrap]).await;
    let third = Node::dialling(config(3), &[&bootstrap]).await;
    for node in [&bootstrap, &second, &third] {
        until("everybody knows everybody", || {
            node.handle.peers().len() == 2
        })
        .await;
    }
    assert_eq!(
        second.handle.send(third.peer(), frame(kind::VOTE, vec![])),
        SendOutcome::Queued { dropped: 0 }
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_genesis_is_refused_by_name_on_both_sides() {
    let mut first = Node::start(config(1)).await;
    let mut other = config(2);
    other.chain_id = Digest::new([9; 32]);
    let mut second = Node::dialling(other, &[&first]).await;
    let (ours, theirs) = (CHAIN_ID, Digest::new([9; 32]));
    assert_eq!(
        first.refused().await,
        RefusedReason::OtherNetwork { ours, theirs }
    );
    let (ours, theirs) = (theirs, ours);
    assert_eq!(
        second.refused().await,
        RefusedReason::OtherNetwork { ours, theirs }
    );
    assert!(first.handle.peers().is_empty() && second.handle.peers().is_empty());
    // The next dial lies a minute away.
    let dials = second.handle.stats().dials;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(second.handle.stats().dials, dials);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_version_is_refused_on_both_sides() {
    let mut first = Node::start(config(1)).await;
    let mut other = config(2);
    other.protocol_version = 2;
    let mut second = Node::dialling(other, &[&first]).await;
    assert_eq!(
        first.refused().await,
        RefusedReason::OtherVersion { ours: 1, theirs: 2 }
    );
    assert_eq!(
        second.refused().await,
        RefusedReason::OtherVersion { ours: 2, theirs: 1 }
    );
}

fn validator(mut config: NetworkConfig, proof_of: &NetworkConfig) -> NetworkConfig {
    let secret = SecretKey::from_seed([5; 32]);
    let peer = proof_of.identity.peer();
    config.validator = Some(HelloProof::sign(&secret, &config.chain_id, &peer));
    config
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn validator_is_known_by_its_proof() {
    let mut first = Node::start(config(1)).await;
    let proven = validator(config(2), &config(2));
    let _second = Node::dialling(proven, &[&first]).await;
    let validator = wait(&mut first.events.consensus, |event| match event {
        NetworkEvent::PeerConnected {
            validator, chains, ..
        } => Some((validator, chains)),
        _ => None,
    })
    .await;
    let key = SecretKey::from_seed([5; 32]).public_key().0;
    assert_eq!(validator, (Some(key), config(2).chains));
    assert_eq!(
        first.handle.peers().first().and_then(|info| info.validator),
        Some(key)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn proof_of_another_peer_and_the_identity_key_are_refused() {
    let stolen = validator(config(2), &config(3));
    let mut identity = config(2);
    let mut key = [0; 48];
    key[0] = 0xc0;
    let mut signature = [0; 96];
    signature[0] = 0xc0;
    identity.validator = Some(HelloProof {
        public_key: key,
        signature,
    });
    for bad in [stolen, identity] {
        let mut first = Node::start(config(1)).await;
        let mut second = Node::dialling(bad, &[&first]).await;
        assert_eq!(first.refused().await, RefusedReason::BadValidatorProof);
        let code = RefusalCode::BadValidatorProof;
        assert_eq!(second.refused().await, RefusedReason::ByPeer { code });
        assert!(first.handle.peers().is_empty());
        assert_eq!(first.handle.stats().misbehaviours, 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restarted_peer_is_connected_again_without_help() {
    let (mut stays, mut returns) = pair(config(1), config(2)).await;
    // The node that stays was dialled; it learned the other's address from its hello.
    let address = returns.address.clone();
    returns.handle.shutdown().await;
    assert_eq!(stays.disconnected().await, returns.peer());
    while returns.events.consensus.recv().await.is_some() {}
    let mut again = config(2);
    again.listen = vec![address.split("/p2p/").next().expect("address").to_owned()];
    let mut returns = Node::start(again).await;
    assert_eq!(returns.connected().await, stays.peer());
    assert_eq!(stays.connected().await, returns.peer());
    returns
        .handle
        .send(stays.peer(), frame(kind::VOTE, vec![9]));
    assert_eq!(stays.frame().await.0, returns.peer());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn configured_peer_may_start_later_and_both_may_dial() {
    let first = Node::start(config(1)).await;
    let address = first.address.clone();
    first.handle.shutdown().await;
    let mut impatient = config(2);
    impatient.peers = vec![address.clone()];
    let mut second = Node::start(impatient).await;
    until("some dials failed", || second.handle.stats().dials > 1).await;
    let mut late = config(1);
    late.listen = vec![address.split("/p2p/").next().expect("address").to_owned()];
    late.peers = vec![second.address.clone(), address];
    let mut first = Node::start(late).await;
    assert_eq!(first.connected().await, second.peer());
    assert_eq!(second.connected().await, first.peer());
    for byte in 0..10 {
        first
            .handle
            .send(second.peer(), frame(kind::VOTE, vec![byte]));
        assert_eq!(second.frame().await.1.payload, vec![byte]);
    }
    assert_eq!(
        first.handle.peers().len(),
        1,
        "several connections are one peer"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shutdown_ends_the_receivers() {
    let (first, mut second) = pair(config(1), config(2)).await;
    second.handle.shutdown().await;
    while second.events.consensus.recv().await.is_some() {}
    while second.events.bulk.recv().await.is_some() {}
    assert!(second.handle.peers().is_empty());
    assert_eq!(
        second.handle.send(first.peer(), frame(kind::VOTE, vec![])),
        SendOutcome::NotConnected
    );
}

#[tokio::test]
async fn bad_configuration_is_named() {
    let runtime = tokio::runtime::Handle::current();
    let mut bad = config(1);
    bad.peers = vec!["localhost:26656".to_owned()];
    assert!(matches!(
        start(bad, &runtime),
        Err(NetworkError::Address { .. })
    ));
    let taken = Node::start(config(1)).await;
    let mut bad = config(2);
    bad.listen = vec![
        taken
            .address
            .split("/p2p/")
            .next()
            .expect("address")
            .to_owned(),
    ];
    assert!(matches!(
        start(bad, &runtime),
        Err(NetworkError::Listen { .. })
    ));
}
