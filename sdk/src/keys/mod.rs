//! Account keys: made from fresh randomness, a phrase of words or a raw seed, and kept in files.
//!
//! [`AccountKey`] is a key in memory; [`KeyFile`] is its JSON form, encrypted under a passphrase
//! (scrypt, then XChaCha20-Poly1305) or, for development networks only, plain and bound to one
//! chain id. Opening a file always checks that the secret makes the address that it claims.

mod derive;
mod error;
mod file;
#[cfg(test)]
mod tests;

pub use error::KeyError;
pub use file::{KeyFile, Protection, Strength};

use bip39::{Language, Mnemonic};
use skerry_types::crypto::ed25519::SecretKey;
use skerry_types::ids::Address;
use zeroize::Zeroizing;

/// What a key was made from, and what its file keeps.
#[derive(Clone)]
enum Material {
    /// Entropy of a BIP-39 phrase; the account with index 0 is used.
    Phrase(Zeroizing<Vec<u8>>),
    /// An RFC 8032 seed.
    Seed(Zeroizing<[u8; 32]>),
}

/// A key that controls an account.
pub struct AccountKey {
    material: Material,
    secret: SecretKey,
}

impl std::fmt::Debug for AccountKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "AccountKey(of {})", self.address())
    }
}

impl AccountKey {
    /// A new key from the operating system's randomness, with a phrase of 24 words.
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub fn generate() -> Result<Self, KeyError> {
        let mut entropy = Zeroizing::new(vec![0; 32]);
        getrandom::fill(&mut entropy).map_err(|error| KeyError::Randomness(error.to_string()))?;
        Self::of_entropy(entropy)
    }

    fn of_entropy(entropy: Zeroizing<Vec<u8>>) -> Result<Self, KeyError> {
        let mnemonic = Mnemonic::from_entropy(&entropy)
            .map_err(|error| KeyError::Phrase(error.to_string()))?;
        let seed = derive::of_mnemonic(&mnemonic, 0)?;
        Ok(Self {
            material: Material::Phrase(entropy),
            secret: SecretKey::from_seed(*seed),
        })
    }

    /// The key of an English BIP-39 phrase.
    ///
    /// # Errors
    /// When a word is unknown or the checksum is wrong.
    pub fn from_phrase(phrase: &str) -> Result<Self, KeyError> {
        let words = Zeroizing::new(phrase.split_whitespace().collect::<Vec<_>>().join(" "));
        let mnemonic = Mnemonic::parse_in_normalized(Language::English, &words)
            .map_err(|error| KeyError::Phrase(error.to_string()))?;
        Self::of_entropy(Zeroizing::new(mnemonic.to_entropy()))
    }

    /// The key of an RFC 8032 seed; it has no phrase.
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self {
            material: Material::Seed(Zeroizing::new(seed)),
            secret: SecretKey::from_seed(seed),
        }
    }

    /// The account's address.
    pub fn address(&self) -> Address {
        Address::of_ed25519(&self.secret.public_key())
    }

    /// The signing key.
    pub fn secret(&self) -> &SecretKey {
        &self.secret
    }

    /// The phrase, unless the key came from a raw seed.
    pub fn phrase(&self) -> Option<Zeroizing<String>> {
        match &self.material {
            Material::Phrase(entropy) => {
                let mnemonic = Mnemonic::from_entropy(entropy).ok()?;
                Some(Zeroizing::new(mnemonic.to_string()))
            }
            Material::Seed(_) => None,
        }
    }
}
