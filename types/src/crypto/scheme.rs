//! How votes are signed and checked, as a seam: BLS in every node, a cheap stand-in in the
//! simulator, where a run makes millions of votes.

use crate::crypto::bls::{self, PublicKey, SecretKey, Signature, Summand, VerifyingKey};
use crate::ids::Digest;
use crate::lookup::Lookup;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};

/// Signing and verification of votes and certificates.
pub trait VoteScheme: Send + Sync + std::fmt::Debug {
    /// Signs with a secret key.
    fn sign(&self, key: &SecretKey, message: &Digest) -> Signature;
    /// Whether `signature` is the aggregate of `keys` over `message`.
    fn verify(&self, keys: &[SchemeKey], message: &Digest, signature: &Signature) -> bool;
    /// The aggregate of signatures over one message.
    fn aggregate(&self, signatures: &[Signature]) -> Option<Signature>;
    /// Decodes a public key once, for many verifications.
    fn decode_key(&self, key: &PublicKey) -> Option<SchemeKey>;
}

/// A public key with its decoded form.
#[derive(Clone, Copy, Debug)]
pub struct SchemeKey {
    /// The compressed key.
    pub public: PublicKey,
    /// The decoded point; absent in the simulator's scheme.
    pub decoded: Option<VerifyingKey>,
}

/// The production scheme: BLS12-381 with keys that proved possession.
#[derive(Clone, Copy, Debug, Default)]
pub struct BlsScheme;

impl VoteScheme for BlsScheme {
    fn sign(&self, key: &SecretKey, message: &Digest) -> Signature {
        key.sign(message)
    }

    fn verify(&self, keys: &[SchemeKey], message: &Digest, signature: &Signature) -> bool {
        let decoded: Option<Vec<VerifyingKey>> = keys.iter().map(|key| key.decoded).collect();
        decoded.is_some_and(|keys| bls::verify_sum(&keys, message, signature))
    }

    fn aggregate(&self, signatures: &[Signature]) -> Option<Signature> {
        bls::aggregate(signatures)
    }

    fn decode_key(&self, key: &PublicKey) -> Option<SchemeKey> {
        VerifyingKey::decode(key).map(|decoded| SchemeKey {
            public: *key,
            decoded: Some(decoded),
        })
    }
}

/// [`BlsScheme`] for several nodes in one process: what one of them has decoded or verified, the
/// others need not. The answers are those of [`BlsScheme`].
#[derive(Default)]
pub struct SharedScheme {
    summands: Mutex<Recent<[u8; 96], Option<Summand>>>,
    verdicts: Mutex<Recent<Digest, bool>>,
}

impl std::fmt::Debug for SharedScheme {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("SharedScheme")
    }
}

impl VoteScheme for SharedScheme {
    fn sign(&self, key: &SecretKey, message: &Digest) -> Signature {
        BlsScheme.sign(key, message)
    }

    fn verify(&self, keys: &[SchemeKey], message: &Digest, signature: &Signature) -> bool {
        let mut hasher = blake3::Hasher::new();
        hasher.update(message.as_bytes()).update(&signature.0);
        for key in keys {
            hasher.update(&key.public.0);
        }
        let question = Digest::new(*hasher.finalize().as_bytes());
        ask(&self.verdicts, question, || {
            BlsScheme.verify(keys, message, signature)
        })
    }

    fn aggregate(&self, signatures: &[Signature]) -> Option<Signature> {
        let decode =
            |signature: &Signature| ask(&self.summands, signature.0, || Summand::decode(signature));
        let summands: Option<Vec<Summand>> = signatures.iter().map(decode).collect();
        bls::sum(summands?)
    }

    fn decode_key(&self, key: &PublicKey) -> Option<SchemeKey> {
        BlsScheme.decode_key(key)
    }
}

/// Answers of one half of a [`Recent`].
const ANSWERS_MAX: usize = 1_024;

/// The newest answers to some questions, between one and two thousand.
struct Recent<Q, A> {
    newer: Lookup<Q, A>,
    older: Lookup<Q, A>,
}

impl<Q: Eq + Hash, A> Default for Recent<Q, A> {
    fn default() -> Self {
        Self {
            newer: Lookup::default(),
            older: Lookup::default(),
        }
    }
}

/// The known answer, or the one that `find` gives. Two that ask at once may both find it.
fn ask<Q: Eq + Hash, A: Copy>(
    recent: &Mutex<Recent<Q, A>>,
    question: Q,
    find: impl FnOnce() -> A,
) -> A {
    {
        let recent = recent.lock().unwrap_or_else(PoisonError::into_inner);
        let known = recent.newer.get(&question);
        if let Some(answer) = known.or_else(|| recent.older.get(&question)) {
            return *answer;
        }
    }
    let answer = find();
    let mut recent = recent.lock().unwrap_or_else(PoisonError::into_inner);
    if recent.newer.len() >= ANSWERS_MAX {
        recent.older = std::mem::take(&mut recent.newer);
    }
    recent.newer.insert(question, answer);
    answer
}

/// A stand-in without cryptography, for the simulator: a signature is a hash of key and message,
/// an aggregate the exclusive or. Anyone can forge it, so no node may run it; the simulator's
/// adversaries sign with their own keys only.
#[derive(Clone, Copy, Debug, Default)]
pub struct MockScheme;

fn mock(key: &PublicKey, message: &Digest) -> [u8; 96] {
    let mut bytes = [0; 96];
    let mut hasher = blake3::Hasher::new();
    hasher.update(&key.0).update(message.as_bytes());
    hasher.finalize_xof().fill(&mut bytes);
    bytes
}

fn fold<'a>(signatures: impl Iterator<Item = &'a [u8; 96]>) -> [u8; 96] {
    let mut sum = [0; 96];
    for signature in signatures {
        for (total, byte) in sum.iter_mut().zip(signature) {
            *total ^= byte;
        }
    }
    sum
}

impl VoteScheme for MockScheme {
    fn sign(&self, key: &SecretKey, message: &Digest) -> Signature {
        Signature(mock(&key.public_key(), message))
    }

    fn verify(&self, keys: &[SchemeKey], message: &Digest, signature: &Signature) -> bool {
        let parts: Vec<[u8; 96]> = keys.iter().map(|key| mock(&key.public, message)).collect();
        !keys.is_empty() && fold(parts.iter()) == signature.0
    }

    fn aggregate(&self, signatures: &[Signature]) -> Option<Signature> {
        (!signatures.is_empty()).then(|| Signature(fold(signatures.iter().map(|s| &s.0))))
    }

    fn decode_key(&self, key: &PublicKey) -> Option<SchemeKey> {
        Some(SchemeKey {
            public: *key,
            decoded: None,
        })
    }
}
