//! blake3, in derive-key mode with one context string per purpose, so that no two purposes share
//! a hash.
//!
//! The Merkle tree alone uses plain blake3 over fixed lengths (see [`crate::merkle`]), so that any
//! wallet can verify it with the plain function.

use crate::ids::Digest;
use blake3::Hasher;
use blake3::hazmat::{ContextKey, HasherExt, hash_derive_key_context};
use borsh::BorshSerialize;
use std::sync::LazyLock;

/// A purpose of hashing; its context string is part of the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Purpose {
    context: &'static str,
    /// Its place in [`PURPOSES`].
    place: usize,
}

impl Purpose {
    /// The blake3 derive-key context.
    pub const fn context(self) -> &'static str {
        self.context
    }

    /// A hasher for this purpose. Of a derived key, half the work is hashing the context, whose
    /// result is always the same.
    fn hasher(self) -> Hasher {
        static KEYS: LazyLock<Vec<ContextKey>> = LazyLock::new(|| {
            let context_key = |purpose: &Purpose| hash_derive_key_context(purpose.context);
            PURPOSES.iter().map(context_key).collect()
        });
        match KEYS.get(self.place) {
            Some(key) => Hasher::new_from_context_key(key),
            None => Hasher::new_derive_key(self.context),
        }
    }
}

macro_rules! purposes {
    ($($(#[$doc:meta])* $name:ident = $context:literal;)*) => {
        #[expect(clippy::upper_case_acronyms, non_camel_case_types, reason = "named as the purposes")]
        enum Place { $($name),* }
        impl Purpose {
            $($(#[$doc])* pub const $name: Self = Self {
                context: $context,
                place: Place::$name as usize,
            };)*
        }
        /// All purposes, for the documentation and the uniqueness test.
        pub const PURPOSES: &[Purpose] = &[$(Purpose::$name),*];
    };
}

purposes! {
    /// Chain id: hash of the genesis.
    GENESIS = "skerry v1 genesis";
    /// Transaction id: hash of the unsigned body.
    TRANSACTION_ID = "skerry v1 transaction id";
    /// Wire hash: hash of all bytes of a signed transaction.
    TRANSACTION_WIRE = "skerry v1 transaction wire";
    /// What an account signs.
    TRANSACTION_SIGNING = "skerry v1 transaction signing";
    /// Address of an account.
    ADDRESS = "skerry v1 address";
    /// Id of an object.
    OBJECT = "skerry v1 object";
    /// Id of a denom.
    DENOM = "skerry v1 denom";
    /// Digest of a header.
    HEADER = "skerry v1 header";
    /// Root of a body.
    BODY = "skerry v1 body";
    /// Everything of a body but its transactions.
    BODY_REST = "skerry v1 body rest";
    /// First digest of an instance.
    INSTANCE = "skerry v1 instance";
    /// Leaf of a list root.
    LIST_LEAF = "skerry v1 list leaf";
    /// Inner node of a list root.
    LIST_NODE = "skerry v1 list node";
    /// What a validator signs in a vote.
    VOTE = "skerry v1 vote";
    /// Hash of a cross-shard message.
    MESSAGE = "skerry v1 message";
    /// Root of a batch of messages.
    BATCH = "skerry v1 batch";
    /// Rolling root over batches.
    ROLLING = "skerry v1 rolling root";
    /// Root of the channel summaries.
    CHANNELS = "skerry v1 channels";
    /// Hash of a receipt.
    RECEIPT = "skerry v1 receipt";
    /// Root of the beacon facts.
    FACTS = "skerry v1 facts";
    /// Root of a committee.
    COMMITTEE = "skerry v1 committee";
    /// Seed and its derivations.
    SEED = "skerry v1 seed";
    /// Proof of possession of a BLS key.
    POSSESSION = "skerry v1 possession";
    /// Randomness reveal of a beacon proposer.
    REVEAL = "skerry v1 reveal";
    /// Hello of the peer protocol.
    HELLO = "skerry v1 hello";
    /// Development keys.
    DEVELOPMENT_KEY = "skerry v1 development key";
    /// What a newcomer to a committee signs.
    READY = "skerry v1 ready";
    /// The mix of randomness reveals.
    MIX = "skerry v1 mix";
    /// What a vote key signs to be registered.
    REGISTER = "skerry v1 register";
}

/// Hash of `bytes` for one purpose.
pub fn hash(purpose: Purpose, bytes: &[u8]) -> Digest {
    hash_parts(purpose, &[bytes])
}

/// Hash of the concatenation of `parts` for one purpose. The caller makes the parts unambiguous
/// (fixed lengths, or a last part of free length).
pub fn hash_parts(purpose: Purpose, parts: &[&[u8]]) -> Digest {
    let mut hasher = purpose.hasher();
    for part in parts {
        hasher.update(part);
    }
    Digest::new(*hasher.finalize().as_bytes())
}

/// Hash of the canonical bytes of `value`.
pub fn hash_of<T: BorshSerialize + ?Sized>(purpose: Purpose, value: &T) -> Digest {
    hash(purpose, &crate::codec::encode(value))
}

/// Plain blake3, as the Merkle tree uses it.
pub fn plain(bytes: &[u8]) -> Digest {
    Digest::new(*blake3::hash(bytes).as_bytes())
}

/// Root of a list of digests: a binary tree in the manner of RFC 6962 (the left subtree holds the
/// largest power of two below the length), leaves and nodes hashed for purposes of their own; the
/// root of the empty list is [`Digest::ZERO`].
pub fn list_root(items: &[Digest]) -> Digest {
    match items {
        [] => Digest::ZERO,
        [only] => hash(Purpose::LIST_LEAF, only.as_bytes()),
        _ => {
            let half = items.len().next_power_of_two() >> 1;
            let (left, right) = items.split_at(half);
            hash_parts(
                Purpose::LIST_NODE,
                &[list_root(left).as_bytes(), list_root(right).as_bytes()],
            )
        }
    }
}
