//! What a user signs: a bundle of operations, under a nonce, a fee and an expiry.
//!
//! The *transaction id* is the hash of the unsigned body, the *wire hash* the hash of all bytes.
//! Blocks commit to wire bytes; the cache of good signatures is keyed by the wire hash.

use crate::amount::{Amount, Asset};
use crate::codec::{self, CodecError, Version};
use crate::crypto::ed25519;
use crate::crypto::hash::{Purpose, hash, hash_of, hash_parts};
use crate::ids::{Address, Digest, Gas, Height, KeyScheme, ModuleId};
use crate::limits;
use borsh::{BorshDeserialize, BorshSerialize};

/// Position of a transaction among its sender's: each stream counts by itself, from 0.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    BorshSerialize,
    BorshDeserialize,
)]
pub struct Nonce {
    /// The stream; independent senders of one account use different ones.
    pub stream: u16,
    /// The next number of the stream.
    pub sequence: u64,
}

/// Where a bundle runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize)]
pub enum Target {
    /// The sender's home shard, at once.
    Home,
    /// The home shard of an owner, by one message.
    Near(Address),
    /// The beacon, by one message.
    Beacon,
}

/// One call of a module.
#[derive(Clone, Debug, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize)]
pub struct Operation {
    /// The module.
    pub module: ModuleId,
    /// Its call, in the module's own encoding.
    pub call: Vec<u8>,
}

/// One more stop of a bundle: what happens to its output on another chain.
#[derive(Clone, Debug, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize)]
pub struct Leg {
    /// Where it runs: near an owner or on the beacon, never at home.
    pub target: Target,
    /// The calls, in order; they have no sender, and use only what the leg before left.
    pub operations: Vec<Operation>,
    /// What must at least be left on the sheet at the end; denoms strictly increasing.
    pub minimum_outputs: Vec<Asset>,
}

/// Operations that happen all or not at all, over a transient sheet that begins with the attached
/// assets and must end at zero or more.
#[derive(Clone, Debug, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize)]
pub struct Bundle {
    /// Where it runs.
    pub target: Target,
    /// What the sender puts on the sheet; denoms strictly increasing.
    pub assets: Vec<Asset>,
    /// The calls, in order.
    pub operations: Vec<Operation>,
    /// What must at least be left on the sheet at the end; denoms strictly increasing.
    pub minimum_outputs: Vec<Asset>,
    /// Last beacon height at which it may run; holds at each leg.
    pub deadline: Height,
    /// Where all that is left travels on to, leg after leg; with the target at most
    /// [`limits::HOPS_MAX`] hops. The last one sends home what is left.
    pub onward: Vec<Leg>,
}

/// What is hashed to the transaction id.
#[derive(Clone, Debug, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize)]
pub struct TransactionBody {
    /// Version byte.
    pub version: Version,
    /// Hash of the network's genesis.
    pub chain_id: Digest,
    /// Who acts and pays.
    pub sender: Address,
    /// Position among the sender's transactions.
    pub nonce: Nonce,
    /// Last beacon height at which a block may include it.
    pub valid_until: Height,
    /// Most gas it may use at home; calls state their gas in advance.
    pub gas_limit: Gas,
    /// Base units of `sker` paid per unit of gas; what exceeds the base fee is a tip.
    pub gas_price: Amount,
    /// What it does.
    pub bundle: Bundle,
}

/// How an account is controlled.
#[derive(Clone, Debug, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize)]
pub enum Authenticator {
    /// One key.
    Ed25519(ed25519::PublicKey),
    /// A number of keys, of which `threshold` must sign; keys strictly increasing.
    Multisig {
        /// How many must sign.
        threshold: u8,
        /// The keys.
        keys: Vec<ed25519::PublicKey>,
    },
}

impl Authenticator {
    /// Scheme and key bytes that an address commits to.
    pub fn commitment(&self) -> (KeyScheme, Vec<u8>) {
        match self {
            Self::Ed25519(key) => (KeyScheme::Ed25519, key.0.to_vec()),
            Self::Multisig { .. } => (KeyScheme::Multisig, codec::encode(&(Version, self))),
        }
    }

    /// Whether `address` is one that this authenticator first controls.
    pub fn controls(&self, address: &Address) -> bool {
        let (scheme, bytes) = self.commitment();
        Address::of_key_near(scheme, &bytes, address.locality()) == *address
    }

    /// Whether the policy can be met at all.
    pub fn is_well_formed(&self) -> bool {
        match self {
            Self::Ed25519(_) => true,
            Self::Multisig { threshold, keys } => {
                *threshold > 0
                    && usize::from(*threshold) <= keys.len()
                    && keys.len() <= limits::MULTISIG_KEYS_MAX
                    && keys.windows(2).all(|pair| pair.first() < pair.last())
            }
        }
    }
}

/// The authenticator and its signatures.
#[derive(Clone, Debug, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize)]
pub struct Witness {
    /// How the account is controlled, as the sender states it; checked against the state or, where
    /// it has no record, against the address.
    pub authenticator: Authenticator,
    /// Signatures with the position of their key, strictly increasing; one at position 0 for a
    /// single key.
    pub signatures: Vec<(u8, ed25519::Signature)>,
}

/// A transaction as it travels and as blocks hold it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize)]
pub struct SignedTransaction {
    /// What is done.
    pub body: TransactionBody,
    /// Who says so.
    pub witness: Witness,
}

/// Why a transaction's bytes can never be part of a block.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransactionError {
    /// The bytes are no transaction.
    #[error("not a transaction: {0}")]
    Codec(#[from] CodecError),
    /// It is meant for another network.
    #[error("made for chain {actual}, this is chain {expected}")]
    ChainMismatch {
        /// This network.
        expected: Digest,
        /// The transaction's.
        actual: Digest,
    },
    /// A rule of form is broken.
    #[error("malformed: {0}")]
    Malformed(&'static str),
    /// The signatures do not satisfy the authenticator, or one is wrong.
    #[error("the signature is not valid for sender {sender}")]
    Signature {
        /// Who was to have signed.
        sender: Address,
    },
}

impl TransactionBody {
    /// The transaction id.
    pub fn id(&self) -> Digest {
        hash_of(Purpose::TRANSACTION_ID, self)
    }

    /// What the keys sign: a hash of chain id and transaction id for the purpose of signing.
    pub fn signing_digest(&self) -> Digest {
        signing_digest(&self.chain_id, &self.id())
    }

    /// Signs with one ed25519 key.
    pub fn sign(self, key: &ed25519::SecretKey) -> SignedTransaction {
        let signature = key.sign(self.signing_digest().as_bytes());
        SignedTransaction {
            body: self,
            witness: Witness {
                authenticator: Authenticator::Ed25519(key.public_key()),
                signatures: vec![(0, signature)],
            },
        }
    }
}

/// What the keys sign for a transaction id on a chain.
pub fn signing_digest(chain_id: &Digest, id: &Digest) -> Digest {
    hash_parts(
        Purpose::TRANSACTION_SIGNING,
        &[chain_id.as_bytes(), id.as_bytes()],
    )
}

fn assets_are_canonical(assets: &[Asset]) -> bool {
    assets.len() <= limits::ASSETS_MAX
        && assets.iter().all(|asset| !asset.amount.is_zero())
        && assets
            .windows(2)
            .all(|pair| matches!(pair, [first, second] if first.denom < second.denom))
}

/// A transaction whose form was checked: everything that can be known from its bytes alone, but
/// for the signatures, which are checked in batches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckedTransaction {
    transaction: SignedTransaction,
    wire: std::sync::Arc<[u8]>,
    id: Digest,
    wire_hash: Digest,
    has_first_keys: bool,
}

impl CheckedTransaction {
    /// Decodes and checks `wire` for the network `chain_id`.
    ///
    /// # Errors
    /// When the bytes are no transaction, belong to another network, or break a rule of form.
    pub fn decode(
        wire: impl Into<std::sync::Arc<[u8]>>,
        chain_id: &Digest,
    ) -> Result<Self, TransactionError> {
        let wire = wire.into();
        let wire_hash = hash(Purpose::TRANSACTION_WIRE, &wire);
        Self::decode_hashed(wire, wire_hash, chain_id)
    }

    /// [`Self::decode`] of bytes whose wire hash is known.
    ///
    /// # Errors
    /// As [`Self::decode`].
    pub fn decode_hashed(
        wire: impl Into<std::sync::Arc<[u8]>>,
        wire_hash: Digest,
        chain_id: &Digest,
    ) -> Result<Self, TransactionError> {
        let wire = wire.into();
        let (body, witness, body_bytes) = codec::decode_pair(&wire, limits::TRANSACTION_BYTES_MAX)?;
        let transaction = SignedTransaction { body, witness };
        check_form(&transaction, chain_id)?;
        let id = hash(Purpose::TRANSACTION_ID, body_bytes);
        let authenticator = &transaction.witness.authenticator;
        let has_first_keys = authenticator.controls(&transaction.body.sender);
        Ok(Self {
            transaction,
            wire,
            id,
            wire_hash,
            has_first_keys,
        })
    }

    /// The transaction.
    pub fn transaction(&self) -> &SignedTransaction {
        &self.transaction
    }
    /// The body.
    pub fn body(&self) -> &TransactionBody {
        &self.transaction.body
    }
    /// All bytes.
    pub fn wire(&self) -> &std::sync::Arc<[u8]> {
        &self.wire
    }
    /// The transaction id.
    pub fn id(&self) -> Digest {
        self.id
    }
    /// The hash of all bytes.
    pub fn wire_hash(&self) -> Digest {
        self.wire_hash
    }

    /// Whether its authenticator is the one that the sender's address was made of: what controls an
    /// account without a record of others ([`Authenticator::controls`]).
    pub fn has_first_keys(&self) -> bool {
        self.has_first_keys
    }

    /// The single signatures to verify, all over [`Self::signing_digest`]; empty never.
    pub fn signatures(&self) -> Vec<(ed25519::PublicKey, ed25519::Signature)> {
        let witness = &self.transaction.witness;
        let key_at = |position: u8| match &witness.authenticator {
            Authenticator::Ed25519(key) => Some(*key),
            Authenticator::Multisig { keys, .. } => keys.get(usize::from(position)).copied(),
        };
        let pairs = witness.signatures.iter();
        pairs
            .filter_map(|(position, signature)| Some((key_at(*position)?, *signature)))
            .collect()
    }

    /// What was signed.
    pub fn signing_digest(&self) -> Digest {
        signing_digest(&self.transaction.body.chain_id, &self.id)
    }
}

fn check_bundle(bundle: &Bundle) -> Result<(), TransactionError> {
    use TransactionError::Malformed;
    let hops = bundle.onward.len().saturating_add(1);
    if hops > usize::from(limits::HOPS_MAX) {
        return Err(Malformed("a bundle travels over at most 4 hops"));
    }
    if bundle.target == Target::Home && hops > 1 {
        return Err(Malformed(
            "onward legs need a first target that is not home: `Near` or `Beacon`",
        ));
    }
    if bundle.onward.iter().any(|leg| leg.target == Target::Home) {
        return Err(Malformed(
            "an onward leg runs near an owner or on the beacon; what is left comes home by itself",
        ));
    }
    let operations = || {
        let onward = bundle.onward.iter().flat_map(|leg| &leg.operations);
        bundle.operations.iter().chain(onward)
    };
    if operations().count() > limits::BUNDLE_OPERATIONS_MAX {
        return Err(Malformed("too many operations"));
    }
    if operations().any(|operation| operation.call.len() > limits::CALL_BYTES_MAX) {
        return Err(Malformed("a call is too long"));
    }
    let mut outputs = bundle.onward.iter().map(|leg| &leg.minimum_outputs);
    let are_canonical = assets_are_canonical(&bundle.assets)
        && assets_are_canonical(&bundle.minimum_outputs)
        && outputs.all(|outputs| assets_are_canonical(outputs));
    if !are_canonical {
        return Err(Malformed(
            "assets must be at most 8, above zero, denoms strictly increasing",
        ));
    }
    Ok(())
}

fn check_form(transaction: &SignedTransaction, chain_id: &Digest) -> Result<(), TransactionError> {
    use TransactionError::Malformed;
    let SignedTransaction { body, witness } = transaction;
    if body.chain_id != *chain_id {
        return Err(TransactionError::ChainMismatch {
            expected: *chain_id,
            actual: body.chain_id,
        });
    }
    check_bundle(&body.bundle)?;
    if !witness.authenticator.is_well_formed() {
        return Err(Malformed(
            "the authenticator's threshold or keys are not usable",
        ));
    }
    let (threshold, keys) = match &witness.authenticator {
        Authenticator::Ed25519(_) => (1, 1),
        Authenticator::Multisig { threshold, keys } => (usize::from(*threshold), keys.len()),
    };
    let positions: Vec<u8> = witness
        .signatures
        .iter()
        .map(|(position, _)| *position)
        .collect();
    let increasing = positions.windows(2).all(|pair| pair.first() < pair.last());
    let in_range = positions
        .iter()
        .all(|position| usize::from(*position) < keys);
    if positions.len() != threshold || !increasing || !in_range {
        return Err(TransactionError::Signature {
            sender: body.sender,
        });
    }
    Ok(())
}
