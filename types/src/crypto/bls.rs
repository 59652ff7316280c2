//! Validator signatures: BLS12-381, public keys in G1 (48 bytes), signatures in G2 (96 bytes).
//!
//! Same-message aggregation is safe only when every key proved possession of its secret; the proof
//! is a signature over the key under its own purpose. The library accepts the identity key, so it
//! is refused here; it refuses repeated messages in `verify_messages`, so an aggregate over one
//! message sums the public keys and verifies once.

use crate::codec::read_array;
use crate::crypto::hash::{Purpose, hash};
use crate::ids::Digest;
use bls_signatures::Serialize as _;
use blstrs::{G1Projective, G2Affine, G2Projective};
use borsh::{BorshDeserialize, BorshSerialize};
use group::Group as _;
use zeroize::Zeroizing;

/// Compressed public key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey(pub [u8; 48]);

/// Compressed signature.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Signature(pub [u8; 96]);

macro_rules! wide_bytes {
    ($type:ident, $length:literal) => {
        impl std::fmt::Debug for $type {
            fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(formatter, "0x{}", hex::encode(self.0))
            }
        }
        impl BorshSerialize for $type {
            fn serialize<W: std::io::Write>(&self, writer: &mut W) -> std::io::Result<()> {
                writer.write_all(&self.0)
            }
        }
        impl BorshDeserialize for $type {
            fn deserialize_reader<R: std::io::Read>(reader: &mut R) -> std::io::Result<Self> {
                read_array::<$length, _>(reader).map(Self)
            }
        }
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&format!("0x{}", hex::encode(self.0)))
            }
        }
        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
                let text = <String as serde::Deserialize>::deserialize(input)?;
                let bytes = hex::decode(text.strip_prefix("0x").unwrap_or(&text))
                    .map_err(serde::de::Error::custom)?;
                bytes.try_into().map(Self).map_err(|_| {
                    serde::de::Error::custom(concat!("expected ", $length, " bytes in hex"))
                })
            }
        }
    };
}
wide_bytes!(PublicKey, 48);
wide_bytes!(Signature, 96);

/// A secret key. The library's own type is `Copy` and prints itself, so only the seed is kept, in
/// a wrapper that is wiped.
#[derive(Clone)]
pub struct SecretKey {
    seed: Zeroizing<[u8; 32]>,
    public: PublicKey,
}

impl std::fmt::Debug for SecretKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "SecretKey(of {:?})", self.public)
    }
}

impl SecretKey {
    /// Derives the key from 32 bytes of key material (EIP-2333 `hkdf_mod_r`).
    pub fn from_seed(seed: [u8; 32]) -> Self {
        let mut public = [0; 48];
        public.copy_from_slice(
            &bls_signatures::PrivateKey::new(seed)
                .public_key()
                .as_bytes(),
        );
        Self {
            seed: Zeroizing::new(seed),
            public: PublicKey(public),
        }
    }

    /// The key material, for key files.
    pub fn seed(&self) -> &[u8; 32] {
        &self.seed
    }

    /// The public key.
    pub fn public_key(&self) -> PublicKey {
        self.public
    }

    /// Signs a 32-byte digest; every message of ours is hashed for its purpose first.
    pub fn sign(&self, message: &Digest) -> Signature {
        let signature = bls_signatures::PrivateKey::new(*self.seed).sign(message.as_bytes());
        let mut bytes = [0; 96];
        bytes.copy_from_slice(&signature.as_bytes());
        Signature(bytes)
    }

    /// The proof that this key's secret is known.
    pub fn prove_possession(&self) -> Signature {
        self.sign(&possession_message(&self.public))
    }
}

fn possession_message(key: &PublicKey) -> Digest {
    hash(Purpose::POSSESSION, &key.0)
}

/// A public key that was decoded: on the curve, in the subgroup, not the identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerifyingKey(G1Projective);

impl VerifyingKey {
    /// Decodes and checks a key; `None` for anything that is not a usable key.
    pub fn decode(key: &PublicKey) -> Option<Self> {
        let point: G1Projective = bls_signatures::PublicKey::from_bytes(&key.0).ok()?.into();
        (!bool::from(point.is_identity())).then_some(Self(point))
    }
}

/// Whether `proof` shows possession of `key`'s secret.
pub fn verify_possession(key: &PublicKey, proof: &Signature) -> bool {
    verify(key, &possession_message(key), proof)
}

/// Whether `signature` is `key`'s over `message`.
pub fn verify(key: &PublicKey, message: &Digest, signature: &Signature) -> bool {
    VerifyingKey::decode(key).is_some_and(|key| verify_sum(&[key], message, signature))
}

/// Whether `signature` is the aggregate of all `keys` over one `message`. Every key must have
/// proved possession. An empty list, and keys that sum to the identity, are refused.
pub fn verify_sum(keys: &[VerifyingKey], message: &Digest, signature: &Signature) -> bool {
    let sum: G1Projective = keys.iter().map(|key| key.0).sum();
    if bool::from(sum.is_identity()) {
        return false;
    }
    let Ok(signature) = bls_signatures::Signature::from_bytes(&signature.0) else {
        return false;
    };
    bls_signatures::PublicKey::from(sum).verify(signature, message.as_bytes())
}

/// A signature that was decoded: on the curve, and perhaps outside the subgroup. Fit for adding up,
/// since whoever verifies the sum checks that *it* is in the subgroup.
#[derive(Clone, Copy, Debug)]
pub struct Summand(G2Projective);

impl Summand {
    /// Decodes a signature; `None` for what is not a point of the curve.
    pub fn decode(signature: &Signature) -> Option<Self> {
        let point = G2Affine::from_compressed_unchecked(&signature.0);
        Option::<G2Affine>::from(point).map(|point| Self(point.into()))
    }
}

/// The sum of signatures; `None` when there are none.
pub fn sum(summands: impl IntoIterator<Item = Summand>) -> Option<Signature> {
    let sum = summands
        .into_iter()
        .map(|summand| summand.0)
        .reduce(|sum, summand| sum + summand)?;
    let mut bytes = [0; 96];
    bytes.copy_from_slice(&bls_signatures::Signature::from(sum).as_bytes());
    Some(Signature(bytes))
}

/// The sum of `signatures`; `None` when one is not a point of the curve or the list is empty. It is
/// to be verified: nothing is known of it yet.
pub fn aggregate(signatures: &[Signature]) -> Option<Signature> {
    let summands: Option<Vec<Summand>> = signatures.iter().map(Summand::decode).collect();
    sum(summands?)
}
