//! Validator signatures: proof of possession, aggregation over one message, and what is refused.

use crate::fixtures::{digest, vote_key};
use group::{Group as _, GroupEncoding as _};
use skerry_types::crypto::bls::{
    PublicKey, Signature, VerifyingKey, aggregate, verify, verify_possession, verify_sum,
};

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
            assert!(aggregate(&[Signature(bytes)]).is_none(), "x = {x}");
            assert!(!verify(
                &vote_key(1).public_key(),
                &digest(1),
                &Signature(bytes)
            ));
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
