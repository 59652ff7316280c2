//! Validator signatures: proof of possession, aggregation over one message, and what is refused.

use crate::fixtures::{digest, vote_key};
use group::{Group as _, GroupEncoding as _};
use skerry_types::crypto::bls::{
    PublicKey, Signature, VerifyingKey, aggregate, verify, verify_possession, verify_sum,
};
use skerry_types::crypto::scheme::{BlsScheme, SchemeKey, SharedScheme, VoteScheme as _};

const G1_IDENTITY: PublicKey = {
    let mut bytes = [0; 48];
    bytes[0] = 0xc0;
    PublicKey(bytes)
};
const G2_IDENTITY: Signature = {
    let mut bytes = [0; 96];
    bytes[0] = 0xc0;
    Signature(bytes)
};

fn decoded(keys: &[PublicKey]) -> Vec<VerifyingKey> {
    keys.iter()
        .map(|key| VerifyingKey::decode(key).expect("usable"))
        .collect()
}

#[test]
fn signature_is_valid_for_its_key_and_message_only() {
    let (key, other) = (vote_key(1), vote_key(2));
    let signature = key.sign(&digest(1));
    assert!(verify(&key.public_key(), &digest(1), &signature));
    assert!(!verify(&key.public_key(), &digest(2), &signature));
    assert!(!verify(&other.public_key(), &digest(1), &signature));
}

#[test]
fn possession_is_proven_by_the_holder_only() {
    let (key, other) = (vote_key(1), vote_key(2));
    let proof = key.prove_possession();
    assert!(verify_possession(&key.public_key(), &proof));
    assert!(!verify_possession(&other.public_key(), &proof));
    assert!(!verify_possession(
        &key.public_key(),
        &other.prove_possession()
    ));
    // A vote over the key's bytes is no proof of possession.
    assert!(!verify_possession(&key.public_key(), &key.sign(&digest(1))));
}

#[test]
fn identity_key_is_refused_everywhere() {
    assert!(VerifyingKey::decode(&G1_IDENTITY).is_none());
    assert!(!verify(&G1_IDENTITY, &digest(1), &G2_IDENTITY));
    assert!(!verify_possession(&G1_IDENTITY, &G2_IDENTITY));
}

#[test]
fn keys_and_signatures_off_the_curve_or_the_subgroup_are_refused() {
    assert!(VerifyingKey::decode(&PublicKey([0xff; 48])).is_none());
    assert!(VerifyingKey::decode(&PublicKey([0; 48])).is_none());
    // Points of the curve outside the subgroup: small x coordinates give them.
    let mut outside = 0;
    for x in 1..40_u8 {
        let mut bytes = [0; 48];
        (bytes[0], bytes[47]) = (0x80, x);
        let point = blstrs::G1Affine::from_compressed_unchecked(&bytes);
        if bool::from(point.is_some()) {
            outside += 1;
            assert!(VerifyingKey::decode(&PublicKey(bytes)).is_none(), "x = {x}");
        }
        let mut bytes = [0; 96];
        (bytes[0], bytes[95]) = (0x80, x);
        let point = blstrs::G2Affine::from_compressed_unchecked(&bytes);
        if bool::from(point.is_some()) {
            // Adding up does not look at the subgroup; verifying the sum does.
            let key = vote_key(1);
            let good = key.sign(&digest(1));
            for signatures in [vec![Signature(bytes)], vec![good, Signature(bytes)]] {
                let sum = aggregate(&signatures).expect("points of the curve");
                assert!(!verify(&key.public_key(), &digest(1), &sum), "x = {x}");
            }
            let refused = verify(&key.public_key(), &digest(1), &Signature(bytes));
            assert!(!refused, "x = {x}");
        }
    }
    assert!(outside > 5);
}

#[test]
fn aggregate_over_one_message_needs_every_key_and_no_other() {
    let keys = [vote_key(1), vote_key(2), vote_key(3)];
    let publics: Vec<PublicKey> = keys.iter().map(|key| key.public_key()).collect();
    let signatures: Vec<Signature> = keys.iter().map(|key| key.sign(&digest(5))).collect();
    let sum = aggregate(&signatures).expect("not empty");
    assert!(verify_sum(&decoded(&publics), &digest(5), &sum));
    assert!(!verify_sum(&decoded(&publics[..2]), &digest(5), &sum));
    assert!(!verify_sum(&decoded(&publics), &digest(6), &sum));
    assert!(!verify_sum(&[], &digest(5), &G2_IDENTITY));
    assert_eq!(aggregate(&[]), None);
    let reversed: Vec<Signature> = signatures.iter().rev().copied().collect();
    assert_eq!(aggregate(&reversed), Some(sum));
}

#[test]
fn answers_that_are_shared_are_those_of_the_plain_scheme() {
    let shared = SharedScheme::default();
    let signers = [vote_key(1), vote_key(2), vote_key(3)];
    let keys: Vec<SchemeKey> = signers
        .iter()
        .map(|key| shared.decode_key(&key.public_key()).expect("usable"))
        .collect();
    let sign = |number: u8| -> Vec<Signature> {
        let message = digest(number);
        signers
            .iter()
            .map(|key| shared.sign(key, &message))
            .collect()
    };
    let (five, six) = (sign(5), sign(6));
    let mixed = [five[0], five[1], six[2]];
    // Twice: the second time from memory.
    for _ in 0..2 {
        for signatures in [
            &five[..],
            &six,
            &mixed,
            &five[..2],
            &[],
            &[Signature([0xff; 96])],
        ] {
            let sum = shared.aggregate(signatures);
            assert_eq!(sum, BlsScheme.aggregate(signatures));
            let Some(sum) = sum else { continue };
            for message in [digest(5), digest(6)] {
                for keys in [&keys[..], &keys[..2], &[]] {
                    let expected = BlsScheme.verify(keys, &message, &sum);
                    assert_eq!(shared.verify(keys, &message, &sum), expected);
                }
            }
        }
    }
    let sum = shared.aggregate(&five).expect("three");
    assert!(shared.verify(&keys, &digest(5), &sum) && !shared.verify(&keys, &digest(6), &sum));
}

#[test]
fn keys_that_cancel_out_sign_nothing() {
    let key = VerifyingKey::decode(&vote_key(1).public_key()).expect("usable");
    let mut negated = vote_key(1).public_key();
    negated.0[0] ^= 0x20;
    let negated = VerifyingKey::decode(&negated).expect("the same point mirrored");
    assert!(!verify_sum(&[key, negated], &digest(1), &G2_IDENTITY));
}

/// Without proof of possession, an attacker could register (its key − the victim's key) and sign
/// for both alone; it cannot prove possession of that difference.
#[test]
fn rogue_key_forges_an_aggregate_but_cannot_prove_possession() {
    let (victim, attacker) = (vote_key(1), vote_key(2));
    let point = |key: &PublicKey| {
        let repr: Option<blstrs::G1Affine> = blstrs::G1Affine::from_compressed(&key.0).into();
        blstrs::G1Projective::from(repr.expect("a point"))
    };
    let difference = point(&attacker.public_key()) - point(&victim.public_key());
    assert!(!bool::from(difference.is_identity()));
    let mut bytes = [0; 48];
    bytes.copy_from_slice(difference.to_bytes().as_ref());
    let rogue = PublicKey(bytes);
    let forged = attacker.sign(&digest(9));
    let keys = decoded(&[victim.public_key(), rogue]);
    assert!(
        verify_sum(&keys, &digest(9), &forged),
        "the attack that possession prevents"
    );
    for proof in [attacker.prove_possession(), forged, G2_IDENTITY] {
        assert!(!verify_possession(&rogue, &proof));
    }
}
