//! User signatures: ed25519 under ZIP-215, so that batch and single verification agree on every
//! input (ZIP-215 fixes the cofactored equation and accepts non-canonical point encodings).
//!
//! The batch's equation is written out here: of what a signature costs in a batch, finding the points
//! of its key and of its R is two thirds, and the first of them can be kept ([`KnownKey`]), which no
//! library's batch takes.

use crate::lookup::Lookup;
use borsh::{BorshDeserialize, BorshSerialize};
use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsPoint};
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::{IsIdentity as _, VartimeMultiscalarMul as _};
use ed25519_zebra::{SigningKey, VerificationKey, VerificationKeyBytes};
use sha2::{Digest as _, Sha512};
use std::iter::once;
use zeroize::Zeroizing;

/// Bytes of a public key; validity is checked when a signature is.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize,
)]
pub struct PublicKey(pub [u8; 32]);

/// Bytes of a signature (R ‖ s).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize)]
pub struct Signature(pub [u8; 64]);

/// A secret key; its seed is wiped on drop.
pub struct SecretKey {
    seed: Zeroizing<[u8; 32]>,
    signing: SigningKey,
}

impl std::fmt::Debug for SecretKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            formatter,
            "SecretKey(of {})",
            hex::encode(self.public_key().0)
        )
    }
}

impl SecretKey {
    /// The key of an RFC 8032 seed.
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self {
            signing: SigningKey::from(seed),
            seed: Zeroizing::new(seed),
        }
    }

    /// The RFC 8032 seed, for key files.
    pub fn seed(&self) -> &[u8; 32] {
        &self.seed
    }

    /// The public key.
    pub fn public_key(&self) -> PublicKey {
        PublicKey(VerificationKeyBytes::from(&self.signing).into())
    }

    /// Signs `message`.
    pub fn sign(&self, message: &[u8]) -> Signature {
        Signature(self.signing.sign(message).to_bytes())
    }
}

/// Whether `signature` is `key`'s over `message`, by ZIP-215.
pub fn verify(key: &PublicKey, message: &[u8], signature: &Signature) -> bool {
    VerificationKey::try_from(key.0)
        .and_then(|key| key.verify(&signature.0.into(), message))
        .is_ok()
}

/// A public key with its point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownKey {
    key: PublicKey,
    point: EdwardsPoint,
}

impl KnownKey {
    /// Finds the point of a key; nothing where the bytes are none, and no signature is good.
    pub fn of(key: &PublicKey) -> Option<Self> {
        let point = CompressedEdwardsY(key.0).decompress()?;
        Some(Self { key: *key, point })
    }

    /// The key.
    pub const fn key(&self) -> &PublicKey {
        &self.key
    }
}

/// One signature to check.
#[derive(Clone, Copy, Debug)]
pub struct Item<'a> {
    /// Who signed.
    pub key: PublicKey,
    /// The same with its point, where that was found before; it says nothing of another key.
    pub known: Option<&'a KnownKey>,
    /// What was signed.
    pub message: &'a [u8],
    /// The signature.
    pub signature: Signature,
}

impl Item<'_> {
    fn point(&self) -> Option<EdwardsPoint> {
        let known = self.known.filter(|known| known.key == self.key);
        let found = known.copied().or_else(|| KnownKey::of(&self.key));
        found.map(|known| known.point)
    }
}

/// Verifies all items, in one multi-scalar multiplication when all are good; the answer for each
/// is the same as [`verify`] gives (but for a chance of 2⁻¹²⁸ per bad item).
///
/// The random weights of the batch are derived from the items themselves (Fiat–Shamir), so the
/// result is a function of the input and an attacker cannot choose signatures after the weights.
pub fn verify_batch(items: &[Item<'_>]) -> Vec<bool> {
    if let [only] = items {
        return vec![verify(&only.key, only.message, &only.signature)];
    }
    if batch_is_good(items) {
        return vec![true; items.len()];
    }
    // Halving finds few bad items among many good ones at little cost.
    let (left, right) = items.split_at(items.len() / 2);
    let mut answers = Vec::with_capacity(items.len());
    for half in [left, right] {
        if !half.is_empty() {
            answers.extend(verify_batch(half));
        }
    }
    answers
}

fn batch_is_good(items: &[Item<'_>]) -> bool {
    let mut sum = BatchSum::with_capacity(items.len());
    let all = items.iter().zip(weights(items)).all(|(item, weight)| {
        let weight = Scalar::from(u128::from_le_bytes(weight));
        sum.add(item, weight).is_some()
    });
    all && sum.is_zero()
}

/// A weight for each item, which depends on all of them. What is hashed lies in one piece, and so does
/// what comes out: blake3 works on many blocks at once then.
fn weights(items: &[Item<'_>]) -> Vec<[u8; 16]> {
    let mut said = Vec::with_capacity(items.len().saturating_mul(SAID_BYTES));
    for item in items {
        said.extend_from_slice(&item.key.0);
        said.extend_from_slice(&item.signature.0);
        let length = u64::try_from(item.message.len()).unwrap_or(u64::MAX);
        said.extend_from_slice(&length.to_le_bytes());
        said.extend_from_slice(item.message);
    }
    let mut hasher = blake3::Hasher::new_derive_key("skerry v1 ed25519 batch weights");
    hasher.update(&said);
    let mut weights = vec![[0; 16]; items.len()];
    hasher.finalize_xof().fill(weights.as_flattened_mut());
    weights
}

/// Bytes of a key, a signature, and a digest with its length.
const SAID_BYTES: usize = 136;

/// What must be zero, times the cofactor, when all signatures are good: the sum over them of
/// z·R + z·k·A − z·s·B, with a weight z for each. The terms of one key A are one.
struct BatchSum {
    base: Scalar,
    /// Places of the keys in `keys`.
    places: Lookup<PublicKey, usize>,
    keys: Vec<(Scalar, EdwardsPoint)>,
    nonces: Vec<(Scalar, EdwardsPoint)>,
}

impl BatchSum {
    fn with_capacity(items: usize) -> Self {
        let mut places = Lookup::default();
        places.reserve(items);
        Self {
            base: Scalar::ZERO,
            places,
            keys: Vec::with_capacity(items),
            nonces: Vec::with_capacity(items),
        }
    }

    /// Adds a signature with its weight; nothing where it is not even of the form of one.
    fn add(&mut self, item: &Item<'_>, weight: Scalar) -> Option<()> {
        let (nonce, response) = item.signature.0.split_first_chunk::<32>()?;
        let response = Scalar::from_canonical_bytes(response.try_into().ok()?).into_option()?;
        let point = CompressedEdwardsY(*nonce).decompress()?;
        let challenge = Sha512::new()
            .chain_update(nonce)
            .chain_update(item.key.0)
            .chain_update(item.message)
            .finalize();
        let challenge = Scalar::from_bytes_mod_order_wide(&challenge.into());
        self.base -= weight * response;
        self.nonces.push((weight, point));
        let coefficient = weight * challenge;
        match self
            .places
            .get(&item.key)
            .and_then(|at| self.keys.get_mut(*at))
        {
            Some((sum, _)) => *sum += coefficient,
            None => {
                self.places.insert(item.key, self.keys.len());
                self.keys.push((coefficient, item.point()?));
            }
        }
        Some(())
    }

    fn is_zero(&self) -> bool {
        let terms = || self.keys.iter().chain(&self.nonces);
        let base = curve25519_dalek::constants::ED25519_BASEPOINT_POINT;
        let sum = EdwardsPoint::vartime_multiscalar_mul(
            once(&self.base).chain(terms().map(|(scalar, _)| scalar)),
            once(&base).chain(terms().map(|(_, point)| point)),
        );
        sum.mul_by_cofactor().is_identity()
    }
}
