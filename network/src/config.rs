//! What the service is told at start.

use crate::key::{NetworkKey, PeerKey};
use crate::limits::Limits;
use skerry_types::crypto::bls;
use skerry_types::crypto::hash::{Purpose, hash_parts};
use skerry_types::ids::{ChainRef, Digest};

/// Most chains that a hello tells.
pub const CHAINS_MAX: usize = 64;

/// Everything the service needs at start.
#[derive(Debug, Clone)]
pub struct NetworkConfig {
    /// Hash of the genesis; peers with another one are refused.
    pub chain_id: Digest,
    /// Version of the peer protocol; peers with another one are refused.
    pub protocol_version: u32,
    /// Addresses to listen on, as `/ip4/127.0.0.1/tcp/0` or `/ip4/127.0.0.1/udp/0/quic-v1`.
    pub listen: Vec<String>,
    /// Addresses to dial for ever, with or without `/p2p/ID`; `/dns4/NAME` is allowed. Addresses
    /// of one id are dialled together and the first that answers wins.
    pub peers: Vec<String>,
    /// Addresses to tell to others beside those listened on, first.
    pub external: Vec<String>,
    /// Chains that this node follows, at most [`CHAINS_MAX`]; frames of others are a protocol
    /// violation by their sender.
    pub chains: Vec<ChainRef>,
    /// The identity of this node.
    pub identity: NetworkKey,
    /// The validator that this node is, if it is one.
    pub validator: Option<HelloProof>,
    /// All bounds.
    pub limits: Limits,
}

/// A validator's word that a peer is its node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HelloProof {
    /// The validator's BLS public key.
    pub public_key: [u8; 48],
    /// Its signature over [`hello_signing_digest`].
    pub signature: [u8; 96],
}

impl HelloProof {
    /// Signs for `peer`, the identity of the node that will show the proof.
    pub fn sign(secret: &bls::SecretKey, chain_id: &Digest, peer: &PeerKey) -> Self {
        Self {
            public_key: secret.public_key().0,
            signature: secret.sign(&hello_signing_digest(chain_id, peer)).0,
        }
    }

    /// Whether the proof holds for `peer`. The identity key is refused.
    pub fn verify(&self, chain_id: &Digest, peer: &PeerKey) -> bool {
        let digest = hello_signing_digest(chain_id, peer);
        let signature = bls::Signature(self.signature);
        bls::verify(&bls::PublicKey(self.public_key), &digest, &signature)
    }
}

/// What a validator signs to vouch for a peer: chain id and peer key, hashed for this purpose. The
/// connection itself proves that the other end holds the peer key, so the proof needs no nonce.
pub fn hello_signing_digest(chain_id: &Digest, peer: &PeerKey) -> Digest {
    hash_parts(Purpose::HELLO, &[chain_id.as_bytes(), peer.as_bytes()])
}
