//! What can be wrong with a key or its file.

use skerry_types::ids::{Address, Digest};
use std::path::PathBuf;

/// Why a key cannot be made, stored or used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The operating system gave no randomness.
    #[error("the system gives no randomness: {0}")]
    Randomness(String),
    /// The words are no phrase.
    #[error("not a recovery phrase: {0}")]
    Phrase(String),
    /// A derivation step is not defined; does not happen with valid input.
    #[error("the key derivation failed")]
    Derivation,
    /// The file cannot be read or written.
    #[error("{}: cannot {action} the key file", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// The file is no key file.
    #[error("{}: not a key file", path.display())]
    Format {
        /// Which file.
        path: PathBuf,
        /// What is wrong with the JSON.
        #[source]
        source: serde_json::Error,
    },
    /// A value in the file is out of range.
    #[error("the key file is damaged: {0}")]
    Damaged(&'static str),
    /// The passphrase does not open it, or the file was changed.
    #[error("the passphrase does not open this key file")]
    Passphrase,
    /// The file is encrypted and no passphrase was given.
    #[error("the key file is encrypted and no passphrase was given")]
    PassphraseMissing,
    /// The secret makes another address.
    #[error("the key file says {stated}, its secret makes {actual}")]
    AddressMismatch {
        /// What the file says.
        stated: Address,
        /// What its secret makes.
        actual: Address,
    },
    /// A development key outside its network.
    #[error("a development key of network {made_for} cannot be used on network {used_on}")]
    DevelopmentKey {
        /// The network that it was made for.
        made_for: Digest,
        /// The network where it was to be used.
        used_on: Digest,
    },
}
