//! One value has one encoding: version bytes, nothing trailing, limits, borsh's strictness.

use crate::fixtures as fixed;
use borsh::{BorshDeserialize, BorshSerialize};
use proptest::prelude::*;
use skerry_types::amount::{Amount, Asset};
use skerry_types::beacon::{Facts, ShardRecord};
use skerry_types::block::{BlockKind, Body, Header};
use skerry_types::certificate::{Bitmap, Certificate};
use skerry_types::codec::{CodecError, VERSION, decode, encode};
use skerry_types::committee::Committee;
use skerry_types::crypto::hash::PURPOSES;
use skerry_types::evidence::Evidence;
use skerry_types::genesis::Genesis;
use skerry_types::ids::{Address, ChainRef, Denom, Gas, Height, MemberIndex, ModuleId, ShardId};
use skerry_types::limits;
use skerry_types::message::{Batch, BatchRecord, Message};
use skerry_types::receipt::{AttributeValue, Receipt};
use skerry_types::snapshot::Chunk;
use skerry_types::state::StateKey;
use skerry_types::transaction::{
    Bundle, Leg, Nonce, Operation, SignedTransaction, Target, TransactionBody,
};
use std::collections::BTreeSet;
use std::fmt::Debug;

/// Round trip; every shorter input, a longer one, another version and a tight limit are refused.
fn check_versioned<T>(value: &T)
where
    T: BorshSerialize + BorshDeserialize + PartialEq + Debug,
{
    let bytes = encode(value);
    assert_eq!(bytes.first(), Some(&VERSION), "{value:?}");
    assert_eq!(decode::<T>(&bytes, bytes.len()).as_ref(), Ok(value));
    let limit = bytes.len() - 1;
    let too_long = CodecError::TooLong {
        actual: bytes.len(),
        limit,
    };
    assert_eq!(decode::<T>(&bytes, limit), Err(too_long));
    for version in [0, VERSION + 1, 255] {
        let mut other = bytes.clone();
        other[0] = version;
        let refused = decode::<T>(&other, usize::MAX);
        assert!(matches!(refused, Err(CodecError::Malformed(text)) if text.contains("version")));
    }
    for length in 0..bytes.len() {
        assert!(
            decode::<T>(&bytes[..length], usize::MAX).is_err(),
            "cut at {length}"
        );
    }
    for byte in [0, 1, VERSION] {
        let longer = [bytes.as_slice(), &[byte]].concat();
        assert!(decode::<T>(&longer, usize::MAX).is_err(), "trailing {byte}");
    }
}

#[test]
fn every_signed_hashed_or_stored_type_begins_with_its_version_and_ends_with_its_last_field() {
    check_versioned::<Genesis>(&fixed::genesis());
    check_versioned::<TransactionBody>(&fixed::signed().body);
    check_versioned::<SignedTransaction>(&fixed::multisig_signed());
    for kind in [BlockKind::Working, BlockKind::Idle, BlockKind::Seal] {
        check_versioned::<Header>(&fixed::header(ChainRef::Beacon, kind));
        check_versioned::<Header>(&fixed::header(fixed::shard(1), kind));
    }
    check_versioned::<Body>(&fixed::body());
    check_versioned::<Certificate>(&fixed::finalization(&fixed::header(
        fixed::shard(0),
        BlockKind::Idle,
    )));
    check_versioned::<Committee>(fixed::committee(fixed::shard(1)).committee());
    for message in [fixed::transfer(), fixed::request(), fixed::reply()] {
        check_versioned::<Message>(&message);
    }
    check_versioned::<Batch>(&fixed::batch());
    check_versioned::<BatchRecord>(&BatchRecord {
        root: fixed::digest(1),
        count: 2,
        bytes: 3,
        gas: Gas::new(4),
        height: Height::new(5),
    });
    check_versioned::<ShardRecord>(&fixed::shard_record());
    check_versioned::<Facts>(&fixed::facts());
    check_versioned::<Evidence>(&fixed::double_vote());
    check_versioned::<Evidence>(&fixed::double_certificate());
    check_versioned::<Evidence>(&fixed::fork());
    check_versioned::<Receipt>(&fixed::receipt());
    check_versioned::<Receipt>(&fixed::failed_receipt());
    check_versioned::<Chunk>(&Chunk {
        after: Some(fixed::digest(1)),
        ..Chunk::default()
    });
}

#[test]
fn flags_and_tags_have_one_encoding_each() {
    for bytes in [[2_u8], [255]] {
        assert!(
            decode::<Option<u8>>(&[bytes[0], 7], 9).is_err(),
            "option tag {bytes:?}"
        );
        assert!(decode::<bool>(&bytes, 9).is_err(), "bool {bytes:?}");
    }
    assert!(decode::<BlockKind>(&[3], 9).is_err());
    assert!(decode::<Target>(&[3], 99).is_err());
    assert!(
        decode::<String>(&[1, 0, 0, 0, 0xff], 9).is_err(),
        "not UTF-8"
    );
}

#[test]
fn what_an_attribute_says_begins_with_its_kind() {
    let (user, text) = (fixed::user(1), [1, 0, 0, 0, b'x']);
    let cases: [(AttributeValue, &[u8]); 5] = [
        (user.into(), user.as_bytes()),
        (Denom::SKER.into(), Denom::SKER.as_bytes()),
        (Amount::new(258).into(), &258_u128.to_le_bytes()),
        (7_u32.into(), &7_u64.to_le_bytes()),
        ("x".into(), &text),
    ];
    for (kind, (value, rest)) in (0_u8..).zip(cases) {
        let bytes = [&[kind], rest].concat();
        assert_eq!(encode(&value), bytes);
        assert_eq!(decode(&bytes, bytes.len()), Ok(value));
    }
    let refused = |bytes: &[u8]| decode::<AttributeValue>(bytes, 99).is_err();
    assert!(refused(&[5, 1, 0, 0, 0, b'x']), "no such kind");
    assert!(refused(&[4, 1, 0, 0, 0, 0xff]), "not UTF-8");
    assert!(refused(&[4, 0xff, 0xff, 0xff, 0xff, b'x']), "too short");
}

#[test]
fn length_beyond_the_input_is_refused_without_allocating_it() {
    assert!(decode::<Vec<u8>>(&[0xff; 8], 9).is_err());
    assert!(decode::<Vec<Vec<u8>>>(&[0xff, 0xff, 0xff, 0xff, 1], 9).is_err());
}

#[test]
fn chains_that_do_not_exist_are_refused() {
    for bytes in [
        [17, 0, 0],
        [1, 2, 0],
        [0, 1, 0],
        [254, 0, 0],
        [255, 1, 0],
        [255, 0, 1],
    ] {
        assert!(decode::<ChainRef>(&bytes, 3).is_err(), "{bytes:?}");
    }
    for bytes in [[255, 0, 0], [0, 0, 0], [1, 1, 0], [16, 255, 255]] {
        assert_eq!(
            encode(&decode::<ChainRef>(&bytes, 3).expect("a chain")),
            bytes
        );
    }
}

#[test]
fn purposes_have_distinct_contexts() {
    let contexts: BTreeSet<&str> = PURPOSES.iter().map(|p| p.context()).collect();
    assert_eq!(contexts.len(), PURPOSES.len());
    assert!(
        contexts
            .iter()
            .all(|context| context.starts_with("skerry v1 "))
    );
}

#[test]
fn largest_header_and_certificate_fit_their_limits() {
    let mut header = fixed::header(ChainRef::Beacon, BlockKind::Seal);
    header.reveal = Some(fixed::vote_key(1).sign(&fixed::digest(1)));
    assert!(encode(&header).len() <= limits::HEADER_BYTES_MAX);
    let mut certificate = fixed::finalization(&header);
    let all = (0..1024).map(MemberIndex::new);
    certificate.signers = Bitmap::of(all, limits::COMMITTEE_MEMBERS_MAX);
    assert!(encode(&certificate).len() <= limits::CERTIFICATE_BYTES_MAX);
}

#[test]
fn transactions_and_the_rest_of_a_body_both_reach_its_root() {
    let body = fixed::body();
    let root = body.root();
    let mut swapped = body.clone();
    swapped.transactions.swap(0, 1);
    let mut without_votes = body.clone();
    without_votes.parent_votes = None;
    let mut without_facts = body.clone();
    without_facts.facts = None;
    let mut fewer = body;
    fewer.transactions.pop();
    for other in [swapped, without_votes, without_facts, fewer] {
        assert_ne!(other.root(), root);
    }
}

#[test]
fn batch_root_depends_on_channel_position_and_every_message() {
    let batch = fixed::batch();
    let root = batch.root();
    let mut reversed = batch.clone();
    (reversed.source, reversed.destination) = (batch.destination, batch.source);
    let mut later = batch.clone();
    later.first = batch.first.next();
    let mut changed = batch.clone();
    changed.messages[2].push(0);
    let mut moved = batch.clone();
    // The same bytes, cut at another place.
    let byte = moved.messages[1].remove(0);
    moved.messages[0].push(byte);
    for other in [reversed, later, changed, moved] {
        assert_ne!(other.root(), root);
    }
    assert_eq!(batch.end(), skerry_types::ids::Sequence::new(44));
    assert_ne!(batch.roll(&root), batch.roll(&batch.roll(&root)));
}

#[test]
fn state_keys_order_like_their_bytes() {
    let key = |owner: u8, module, local: &[u8]| {
        StateKey::new(Address::new([owner; 32]), ModuleId::new(module), local)
    };
    let keys = [
        key(1, 1, b""),
        key(1, 1, b"a"),
        key(1, 1, b"ab"),
        key(1, 2, b""),
        key(1, 256, b""),
        key(2, 0, b""),
    ];
    for pair in keys.windows(2) {
        assert!(
            pair[0] < pair[1] && pair[0].to_bytes() < pair[1].to_bytes(),
            "{pair:?}"
        );
    }
    for key in &keys {
        assert_eq!(StateKey::from_bytes(&key.to_bytes()).as_ref(), Some(key));
    }
    assert_eq!(StateKey::from_bytes(&[0; 33]), None);
}

fn address() -> impl Strategy<Value = Address> {
    any::<[u8; 32]>().prop_map(Address::new)
}

fn assets() -> impl Strategy<Value = Vec<Asset>> {
    let asset = (any::<[u8; 32]>(), any::<u128>());
    prop::collection::vec(asset, 0..4).prop_map(|list| {
        list.into_iter()
            .map(|(denom, units)| Asset {
                denom: Denom::new(denom),
                amount: Amount::new(units),
            })
            .collect()
    })
}

prop_compose! {
    fn bundle()(
        target in prop_oneof![
            Just(Target::Home), Just(Target::Beacon), address().prop_map(Target::Near)
        ],
        assets in assets(),
        operations in prop::collection::vec(
            (any::<u16>(), prop::collection::vec(any::<u8>(), 0..40)), 0..4
        ),
        minimum_outputs in assets(),
        deadline in any::<u64>(),
        hops in 0..4_usize,
    ) -> Bundle {
        let operations: Vec<Operation> = operations
            .into_iter()
            .map(|(module, call)| Operation { module: ModuleId::new(module), call })
            .collect();
        let leg = Leg {
            target,
            operations: operations.clone(),
            minimum_outputs: assets.clone(),
        };
        Bundle {
            target,
            assets,
            operations,
            minimum_outputs,
            deadline: Height::new(deadline),
            onward: vec![leg; hops],
        }
    }
}

prop_compose! {
    fn transaction()(
        chain_id in any::<[u8; 32]>(),
        sender in address(),
        stream in any::<u16>(),
        sequence in any::<u64>(),
        price in any::<u128>(),
        bundle in bundle(),
        seed in any::<[u8; 32]>(),
    ) -> SignedTransaction {
        let body = TransactionBody {
            chain_id: skerry_types::ids::Digest::new(chain_id),
            sender,
            nonce: Nonce { stream, sequence },
            gas_price: Amount::new(price),
            bundle,
            ..fixed::signed().body
        };
        body.sign(&skerry_types::crypto::ed25519::SecretKey::from_seed(seed))
    }
}

proptest! {
    #[test]
    fn random_transactions_round_trip(transaction in transaction()) {
        let bytes = encode(&transaction);
        prop_assert_eq!(decode::<SignedTransaction>(&bytes, usize::MAX), Ok(transaction));
    }

    /// What decodes at all encodes to the same bytes: nothing has two encodings.
    #[test]
    fn mutated_transactions_decode_to_what_encodes_alike(
        transaction in transaction(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = encode(&transaction);
        for (index, byte) in changes {
            let position = index.index(bytes.len());
            bytes[position] = byte;
        }
        if let Ok(other) = decode::<SignedTransaction>(&bytes, usize::MAX) {
            prop_assert_eq!(encode(&other), bytes);
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic_a_decoder(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = decode::<SignedTransaction>(&bytes, usize::MAX);
        let _ = decode::<Header>(&bytes, usize::MAX);
        let _ = decode::<Body>(&bytes, usize::MAX);
        let _ = decode::<Message>(&bytes, usize::MAX);
        let _ = decode::<skerry_types::consensus::ConsensusMessage>(&bytes, usize::MAX);
        let _ = decode::<skerry_types::light::LightProof>(&bytes, usize::MAX);
        let _ = decode::<Genesis>(&bytes, usize::MAX);
    }

    #[test]
    fn home_shard_is_the_one_that_contains_the_locality(address in address(), depth in 0..=16_u8) {
        let home = address.shard(depth);
        prop_assert!(home.contains(address.locality()));
        prop_assert_eq!(ShardId::new(depth, home.bits()), Some(home));
    }
}
