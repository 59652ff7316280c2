//! The hello between two contexts over an in-memory pipe.

use super::*;
use skerry_types::crypto::bls::SecretKey;
use tokio_util::compat::TokioAsyncReadCompatExt as _;

fn context(peer: u8, change: impl FnOnce(&mut Hello)) -> ControlContext {
    let mut hello = Hello {
        protocol_version: 1,
        chain_id: [1; 32],
        session: 7,
        chains: vec![ChainRef::Beacon],
        validator: None,
        addresses: Vec::new(),
    };
    change(&mut hello);
    ControlContext {
        connection: ConnectionId::new_unchecked(1),
        peer: PeerKey::new([peer; 32]),
        hello,
        bytes_max: 4096,
        messages_max: 64,
        addresses_max: 2,
        records_max: 2,
        ping_interval: Duration::from_secs(4),
        last_seen: LastSeen::new(std::time::Instant::now()),
        told: watch::channel(Arc::default()).1,
        notices: mpsc::channel(1).0,
    }
}

type Greeted = Result<CheckedHello, ControlEnd>;

/// Lets two nodes greet; the first talks to peer 2 and the second to peer 1.
async fn meet(
    first: impl FnOnce(&mut Hello),
    second: impl FnOnce(&mut Hello),
) -> (Greeted, Greeted) {
    let (left, right) = tokio::io::duplex(1 << 16);
    let (mut left, mut right) = (left.compat(), right.compat());
    let (first, second) = (context(2, first), context(1, second));
    let left = async move { greet(&mut left, &first).await };
    let right = async move { greet(&mut right, &second).await };
    tokio::join!(left, right)
}

fn reason(greeted: Greeted) -> RefusedReason {
    match greeted {
        Err(ControlEnd::Refused(reason)) => reason,
        other => panic!("expected a refusal, got {other:?}"),
    }
}

#[tokio::test]
async fn equal_networks_accept_each_other() {
    let secret = SecretKey::from_seed([3; 32]);
    let proof = HelloProof::sign(&secret, &Digest::new([1; 32]), &PeerKey::new([2; 32]));
    let with_proof = |hello: &mut Hello| {
        hello.validator = Some((proof.public_key, proof.signature));
    };
    let (first, second) = meet(|_| (), with_proof).await;
    assert_eq!(
        first.expect("accepted").validator,
        Some(secret.public_key().0)
    );
    assert_eq!(second.expect("accepted").validator, None);
}

#[tokio::test]
async fn other_genesis_is_named_on_both_sides() {
    let (first, second) = meet(|_| (), |hello| hello.chain_id = [9; 32]).await;
    let (one, nine) = (Digest::new([1; 32]), Digest::new([9; 32]));
    assert_eq!(
        reason(first),
        RefusedReason::OtherNetwork {
            ours: one,
            theirs: nine
        }
    );
    assert_eq!(
        reason(second),
        RefusedReason::OtherNetwork {
            ours: nine,
            theirs: one
        }
    );
}

#[tokio::test]
async fn other_version_is_named_on_both_sides() {
    let (first, second) = meet(|_| (), |hello| hello.protocol_version = 2).await;
    assert_eq!(
        reason(first),
        RefusedReason::OtherVersion { ours: 1, theirs: 2 }
    );
    assert_eq!(
        reason(second),
        RefusedReason::OtherVersion { ours: 2, theirs: 1 }
    );
}

#[tokio::test]
async fn proof_for_another_peer_is_refused_and_the_refused_side_learns_it() {
    let secret = SecretKey::from_seed([3; 32]);
    let proof = HelloProof::sign(&secret, &Digest::new([1; 32]), &PeerKey::new([8; 32]));
    let stolen = |hello: &mut Hello| hello.validator = Some((proof.public_key, proof.signature));
    let (first, second) = meet(|_| (), stolen).await;
    assert_eq!(reason(first), RefusedReason::BadValidatorProof);
    let code = RefusalCode::BadValidatorProof;
    assert_eq!(reason(second), RefusedReason::ByPeer { code });
}

#[tokio::test]
async fn counts_and_form_are_checked() {
    let many = |hello: &mut Hello| hello.addresses = vec!["/ip4/1.1.1.1/tcp/1".to_owned(); 3];
    let (first, _) = meet(|_| (), many).await;
    assert!(matches!(
        reason(first),
        RefusedReason::BadHello {
            what: "too many addresses"
        }
    ));

    let (ours, mut theirs) = tokio::io::duplex(1 << 16);
    let mut ours = ours.compat();
    let garbage =
        async { tokio::io::AsyncWriteExt::write_all(&mut theirs, &[3, 0, 0, 0, 0, 1, 2]).await };
    let context = context(2, |_| ());
    let (greeted, written) = tokio::join!(greet(&mut ours, &context), garbage);
    written.expect("written");
    assert!(matches!(reason(greeted), RefusedReason::BadHello { .. }));
}

#[tokio::test]
async fn oversized_control_message_is_refused_before_reading() {
    let mut bytes = futures::io::Cursor::new(u32::MAX.to_le_bytes());
    let error = read_message(&mut bytes, 4096).await.expect_err("refused");
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
}
