//! Keys of the state, reads from it, and sorted sets of changes to it.

use crate::ids::{Address, Digest, ModuleId};
use borsh::{BorshDeserialize, BorshSerialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A key of the state: an owner's, in a module, under a local name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct StateKey {
    /// The account or object.
    pub owner: Address,
    /// The module.
    pub module: ModuleId,
    /// The module's own name of the record.
    pub local: Vec<u8>,
}

impl StateKey {
    /// Puts a key together.
    pub fn new(owner: Address, module: ModuleId, local: impl Into<Vec<u8>>) -> Self {
        Self {
            owner,
            module,
            local: local.into(),
        }
    }

    /// Place in the owner's tree: plain blake3 of module (little-endian) and local key.
    pub fn path(&self) -> Digest {
        record_path(self.module, &self.local)
    }

    /// Bytes for an ordered store: owner, module big-endian, local key.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.local.len().saturating_add(34));
        bytes.extend_from_slice(self.owner.as_bytes());
        bytes.extend_from_slice(&self.module.get().to_be_bytes());
        bytes.extend_from_slice(&self.local);
        bytes
    }

    /// Reads [`Self::to_bytes`]; `None` when too short.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (owner, rest) = bytes.split_first_chunk::<32>()?;
        let (module, local) = rest.split_first_chunk::<2>()?;
        Some(Self {
            owner: Address::new(*owner),
            module: ModuleId::new(u16::from_be_bytes(*module)),
            local: local.to_vec(),
        })
    }
}

/// Place of a record in its owner's tree: [`StateKey::path`].
pub fn record_path(module: ModuleId, local: &[u8]) -> Digest {
    let mut bytes = Vec::with_capacity(local.len().saturating_add(2));
    bytes.extend_from_slice(&module.get().to_le_bytes());
    bytes.extend_from_slice(local);
    crate::crypto::hash::plain(&bytes)
}

/// A value of the state; cheap to clone.
pub type Value = Arc<[u8]>;

/// Reads from one immutable state. There is no iteration: queues are counters, ordered sets pages.
pub trait StateRead: Sync {
    /// The value of a key, if it exists.
    fn get(&self, key: &StateKey) -> Option<Value>;
}

/// Changes to a state, in order of key; `None` deletes. Values are absolute, so applying a change
/// set twice is the same as once.
pub type ChangeSet = BTreeMap<StateKey, Option<Value>>;
