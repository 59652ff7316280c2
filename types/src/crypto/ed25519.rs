//! User signatures: ed25519 under ZIP-215, so that batch and single verification agree on every
//! input (ZIP-215 fixes the cofactored equation and accepts non-canonical point encodings).

use borsh::{BorshDeserialize, BorshSerialize};
use ed25519_zebra::{SigningKey, VerificationKey, VerificationKeyBytes, batch};
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

/// One signature to check.
#[derive(Clone, Copy, Debug)]
pub struct Item<'a> {
    /// Who signed.
    pub key: PublicKey,
    /// What was signed.
    pub message: &'a [u8],
    /// The signature.
    pub signature: Signature,
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
    let mut weights = blake3::Hasher::new_derive_key("skerry v1 ed25519 batch weights");
    let mut verifier = batch::Verifier::new();
    for item in items {
        weights.update(&item.key.0);
        weights.update(&item.signature.0);
        weights.update(blake3::hash(item.message).as_bytes());
        verifier.queue((
            VerificationKeyBytes::from(item.key.0),
            item.signature.0.into(),
            item.message,
        ));
    }
    verifier.verify(Weights(weights.finalize_xof())).is_ok()
}

/// The batch's weights as the stream of a hash.
struct Weights(blake3::OutputReader);

impl rand_core::TryRng for Weights {
    type Error = core::convert::Infallible;
    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        let mut bytes = [0; 4];
        self.0.fill(&mut bytes);
        Ok(u32::from_le_bytes(bytes))
    }
    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        Ok(u64::from_le_bytes(bytes))
    }
    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Self::Error> {
        self.0.fill(bytes);
        Ok(())
    }
}
impl rand_core::TryCryptoRng for Weights {}
