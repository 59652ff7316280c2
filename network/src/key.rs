//! Identities: this node's key and the names of its peers.
//!
//! A peer is named by its ed25519 public key, 32 bytes; the text form is libp2p's base58 peer id,
//! so that it can be pasted after `/p2p/` in an address. Peers with other kinds of keys are not
//! served, which is what makes the small form possible.

use crate::error::NetworkError;
use libp2p::PeerId;
use libp2p::identity::Keypair;
use std::fmt;
use std::io::Write as _;
use std::path::Path;
use std::str::FromStr;

/// Bytes of a libp2p peer id before the ed25519 key: identity multihash of 36 bytes that holds a
/// protobuf of key type 1 and 32 bytes of data.
const PEER_ID_PREFIX: [u8; 6] = [0x00, 0x24, 0x08, 0x01, 0x12, 0x20];

/// The name of a peer: its ed25519 public key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerKey([u8; 32]);

impl PeerKey {
    /// Wraps the 32 bytes of a public key.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Reads libp2p's form; `None` for keys that are not ed25519.
    pub(crate) fn from_peer_id(peer: &PeerId) -> Option<Self> {
        let bytes = peer.to_bytes();
        bytes
            .strip_prefix(&PEER_ID_PREFIX)?
            .try_into()
            .ok()
            .map(Self)
    }

    /// libp2p's form.
    pub(crate) fn to_peer_id(self) -> PeerId {
        let bytes: Vec<u8> = PEER_ID_PREFIX.into_iter().chain(self.0).collect();
        PeerId::from_bytes(&bytes).expect("an identity multihash of 36 bytes is a peer id")
    }
}

impl fmt::Display for PeerKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_peer_id().fmt(formatter)
    }
}

impl fmt::Debug for PeerKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// A text that is not a peer id of an ed25519 key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not the peer id of an ed25519 key")]
pub struct ParsePeerKeyError {
    /// What was given.
    pub text: String,
}

impl FromStr for PeerKey {
    type Err = ParsePeerKeyError;

    fn from_str(text: &str) -> Result<Self, ParsePeerKeyError> {
        let error = || ParsePeerKeyError {
            text: text.to_owned(),
        };
        let peer = PeerId::from_str(text).map_err(|_| error())?;
        Self::from_peer_id(&peer).ok_or_else(error)
    }
}

/// The identity of this node on the network: an ed25519 key. It signs connections only; validator
/// keys are others.
#[derive(Clone)]
pub struct NetworkKey(Keypair);

impl NetworkKey {
    /// A new random identity.
    pub fn generate() -> Self {
        Self(Keypair::generate_ed25519())
    }

    /// The identity of a seed of 32 bytes.
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self(Keypair::ed25519_from_bytes(seed).expect("any 32 bytes are an ed25519 seed"))
    }

    /// Reads a seed file of exactly 32 bytes.
    ///
    /// # Errors
    /// When the file cannot be read or holds another number of bytes.
    pub fn load(path: &Path) -> Result<Self, NetworkError> {
        let bytes = std::fs::read(path).map_err(|source| NetworkError::IdentityFile {
            path: path.to_owned(),
            source,
        })?;
        let length = bytes.len();
        bytes
            .try_into()
            .map(Self::from_seed)
            .map_err(|_| NetworkError::IdentityLength {
                path: path.to_owned(),
                length,
            })
    }

    /// Writes the seed to a new file that only its owner may read.
    ///
    /// # Errors
    /// When the file exists already or cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), NetworkError> {
        let write = || {
            let mut options = std::fs::OpenOptions::new();
            options.write(true).create_new(true);
            #[cfg(unix)]
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
            let mut file = options.open(path)?;
            file.write_all(&self.seed())?;
            file.sync_all()
        };
        write().map_err(|source| NetworkError::IdentityFile {
            path: path.to_owned(),
            source,
        })
    }

    /// Reads the seed file, or creates it with a new identity where there is none.
    ///
    /// # Errors
    /// As [`Self::load`] and [`Self::save`].
    pub fn load_or_create(path: &Path) -> Result<Self, NetworkError> {
        if path.exists() {
            return Self::load(path);
        }
        let key = Self::generate();
        key.save(path)?;
        Ok(key)
    }

    /// The name that peers know this node by.
    pub fn peer(&self) -> PeerKey {
        let peer = self.0.public().to_peer_id();
        PeerKey::from_peer_id(&peer).expect("the key is ed25519 by construction")
    }

    pub(crate) fn keypair(&self) -> Keypair {
        self.0.clone()
    }

    fn seed(&self) -> Vec<u8> {
        let pair = self
            .0
            .clone()
            .try_into_ed25519()
            .expect("the key is ed25519 by construction");
        pair.secret().as_ref().to_vec()
    }
}

impl fmt::Debug for NetworkKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "NetworkKey(of {})", self.peer())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peer_key_and_peer_id_are_one_to_one() {
        let key = NetworkKey::from_seed([7; 32]);
        let peer = key.peer();
        assert_eq!(PeerKey::from_peer_id(&peer.to_peer_id()), Some(peer));
        assert_eq!(peer.to_string().parse(), Ok(peer));
        assert!(peer.to_string().starts_with("12D3KooW"));
        assert!("12D3KooWnonsense".parse::<PeerKey>().is_err());
    }

    #[test]
    fn seed_file_round_trips_and_other_lengths_are_refused() {
        let folder = std::env::temp_dir().join(format!("skerry-key-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("temporary folder");
        let path = folder.join("network.key");
        let created = NetworkKey::load_or_create(&path).expect("created");
        assert_eq!(
            NetworkKey::load_or_create(&path).expect("read").peer(),
            created.peer()
        );
        assert!(
            created.save(&path).is_err(),
            "an identity is never overwritten"
        );
        std::fs::write(&path, [1; 31]).expect("write");
        assert!(matches!(
            NetworkKey::load(&path),
            Err(NetworkError::IdentityLength { length: 31, .. })
        ));
        std::fs::remove_dir_all(&folder).expect("removed");
    }
}
