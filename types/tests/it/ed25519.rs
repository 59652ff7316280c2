//! RFC 8032's test vectors, and ZIP-215: the published small-order cases, where batch verification
//! must give exactly what single verification gives.

use skerry_types::crypto::ed25519::{
    Item, KnownKey, PublicKey, SecretKey, Signature, verify, verify_batch,
};

fn bytes<const N: usize>(text: &str) -> [u8; N] {
    hex::decode(text).expect("hex").try_into().expect("length")
}

/// RFC 8032, section 7.1, tests 1 to 3 and SHA(abc): seed, public key, message, signature.
const RFC_8032: [[&str; 4]; 4] = [
    [
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ],
    [
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ],
    [
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
    ],
    [
        "833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42",
        "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
        "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
        "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b58909351fc9ac90b3ecfdfbc7c66431e0303dca179c138ac17ad9bef1177331a704",
    ],
];

#[test]
fn rfc_8032_vectors_sign_and_verify() {
    for [seed, public, message, signature] in RFC_8032 {
        let key = SecretKey::from_seed(bytes(seed));
        assert_eq!(hex::encode(key.public_key().0), public);
        let message = hex::decode(message).expect("hex");
        assert_eq!(hex::encode(key.sign(&message).0), signature);
        assert!(verify(
            &key.public_key(),
            &message,
            &Signature(bytes(signature))
        ));
        assert!(!verify(
            &key.public_key(),
            b"another",
            &Signature(bytes(signature))
        ));
    }
}

/// The eight points of small order in canonical encoding, then the six non-canonical encodings of
/// such points, as ZIP-215 and ed25519-zebra publish them.
const SMALL_ORDER: [&str; 14] = [
    "0100000000000000000000000000000000000000000000000000000000000000",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
    "0100000000000000000000000000000000000000000000000000000000000080",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
];

/// All pairs of such points as key A and commitment R, with s = 0.
fn small_order_cases() -> Vec<(PublicKey, Signature)> {
    let points: Vec<[u8; 32]> = SMALL_ORDER.iter().map(|text| bytes(text)).collect();
    let mut cases = Vec::new();
    for key in &points {
        for commitment in &points {
            let mut signature = [0; 64];
            signature[..32].copy_from_slice(commitment);
            cases.push((PublicKey(*key), Signature(signature)));
        }
    }
    cases
}

fn items<'a>(cases: &[(PublicKey, Signature)], message: &'a [u8]) -> Vec<Item<'a>> {
    cases
        .iter()
        .map(|(key, signature)| Item {
            key: *key,
            known: None,
            message,
            signature: *signature,
        })
        .collect()
}

/// The answers of a batch whose keys' points are known, and of one with the points of other keys.
fn with_known(cases: &[(PublicKey, Signature)], message: &[u8]) -> [Vec<bool>; 2] {
    let known: Vec<Option<KnownKey>> = cases.iter().map(|(key, _)| KnownKey::of(key)).collect();
    let others = known.iter().cycle().skip(1);
    let verify = |known: Vec<Option<&KnownKey>>| {
        let mut items = items(cases, message);
        for (item, known) in items.iter_mut().zip(known) {
            item.known = known;
        }
        verify_batch(&items)
    };
    [
        verify(known.iter().map(Option::as_ref).collect()),
        verify(others.take(cases.len()).map(Option::as_ref).collect()),
    ]
}

#[test]
fn all_196_small_order_cases_are_valid_single_and_in_batches() {
    let cases = small_order_cases();
    assert_eq!(cases.len(), 196);
    for (key, signature) in &cases {
        assert!(verify(key, b"Zcash", signature), "{key:?} {signature:?}");
        // A batch of two goes through the batch equation.
        let pair = items(&[(*key, *signature), (*key, *signature)], b"Zcash");
        assert_eq!(verify_batch(&pair), [true, true]);
    }
    assert_eq!(verify_batch(&items(&cases, b"Zcash")), vec![true; 196]);
    for answers in with_known(&cases, b"Zcash") {
        assert_eq!(answers, vec![true; 196]);
    }
}

#[test]
fn batch_equals_single_with_bad_ones_mixed_in() {
    let good = SecretKey::from_seed([7; 32]);
    let mut cases = small_order_cases();
    for position in (0..cases.len()).step_by(9) {
        cases[position] = match position % 6 {
            // Not a point; s not below the group order; s = 1; a good one; a wrong message.
            0 => (
                PublicKey(bytes(&format!("02{}", "00".repeat(31)))),
                cases[position].1,
            ),
            1 | 2 => {
                let mut signature = cases[position].1.0;
                signature[32..].copy_from_slice(&[0xff; 32]);
                (cases[position].0, Signature(signature))
            }
            3 => {
                let mut signature = cases[position].1.0;
                signature[32] = 1;
                (cases[position].0, Signature(signature))
            }
            4 => (good.public_key(), good.sign(b"Zcash")),
            _ => (good.public_key(), good.sign(b"other")),
        };
    }
    let single: Vec<bool> = cases
        .iter()
        .map(|(key, signature)| verify(key, b"Zcash", signature))
        .collect();
    assert!(single.contains(&false) && single.contains(&true));
    assert_eq!(verify_batch(&items(&cases, b"Zcash")), single);
    for answers in with_known(&cases, b"Zcash") {
        assert_eq!(answers, single);
    }
}

#[test]
fn response_not_below_the_group_order_is_refused() {
    let key = SecretKey::from_seed([7; 32]);
    let mut signature = key.sign(b"message").0;
    // s + L, where L is the order of the group: the same number modulo L, another encoding.
    let order = bytes::<32>("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010");
    let mut carry = 0_u16;
    for (byte, add) in signature[32..].iter_mut().zip(order) {
        let sum = u16::from(*byte) + u16::from(add) + carry;
        *byte = sum.to_le_bytes()[0];
        carry = sum >> 8;
    }
    assert!(!verify(
        &key.public_key(),
        b"message",
        &Signature(signature)
    ));
}

#[test]
fn empty_batch_has_no_answers() {
    assert!(verify_batch(&[]).is_empty());
}

#[test]
fn one_bad_item_is_found_wherever_it_is() {
    let keys: Vec<SecretKey> = (0..33)
        .map(|byte| SecretKey::from_seed([byte; 32]))
        .collect();
    for bad in [0, 1, 16, 31, 32] {
        let cases: Vec<(PublicKey, Signature)> = keys
            .iter()
            .enumerate()
            .map(|(position, key)| {
                let message: &[u8] = if position == bad { b"wrong" } else { b"right" };
                (key.public_key(), key.sign(message))
            })
            .collect();
        let answers = verify_batch(&items(&cases, b"right"));
        let expected: Vec<bool> = (0..33).map(|position| position != bad).collect();
        assert_eq!(answers, expected);
        for answers in with_known(&cases, b"right") {
            assert_eq!(answers, expected);
        }
    }
}

#[test]
fn several_signatures_of_one_key_are_one_term_of_the_batch() {
    let (one, other) = (SecretKey::from_seed([1; 32]), SecretKey::from_seed([2; 32]));
    let case = |key: &SecretKey, message: &[u8]| (key.public_key(), key.sign(message));
    let mut cases = vec![case(&one, b"m"), case(&other, b"m"), case(&one, b"m")];
    assert_eq!(verify_batch(&items(&cases, b"m")), [true; 3]);
    cases.push(case(&one, b"n"));
    let expected = [true, true, true, false];
    assert_eq!(verify_batch(&items(&cases, b"m")), expected);
    for answers in with_known(&cases, b"m") {
        assert_eq!(answers, expected);
    }
}
