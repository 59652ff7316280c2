//! Records of accounts: the next nonce of each stream, and the authenticator once it was rotated.
//!
//! A record with a nonce is never deleted: its transactions would count again.

use crate::modules::ACCOUNT;
use crate::overlay::{BlockOverlay, SlotIndex};
use borsh::{BorshDeserialize, BorshSerialize};
use skerry_types::codec::{VERSION, Version};
use skerry_types::ids::Address;
use skerry_types::state::{StateKey, Value};
use skerry_types::transaction::Authenticator;

pub(crate) const NONCE: u8 = b'n';
pub(crate) const AUTHENTICATOR: u8 = b'a';

/// How an account is controlled since its last rotation.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct AuthenticatorRecord {
    /// Version byte.
    pub version: Version,
    /// The keys.
    pub authenticator: Authenticator,
}

/// Key of the next nonce of a stream, of which [`read_nonce`] reads the value; absent is zero.
pub fn nonce_key(owner: &Address, stream: u16) -> StateKey {
    StateKey::new(*owner, ACCOUNT, nonce_local(stream))
}

const fn nonce_local(stream: u16) -> [u8; 3] {
    let [high, low] = stream.to_be_bytes();
    [NONCE, high, low]
}

/// The slot of the next nonce of a stream.
pub(crate) fn nonce_slot(
    overlay: &mut BlockOverlay<'_>,
    owner: &Address,
    stream: u16,
) -> SlotIndex {
    overlay.slot_at(owner, ACCOUNT, nonce_local(stream).into())
}

/// Key of the [`AuthenticatorRecord`]; absent while the first keys control the account.
pub fn authenticator_key(owner: &Address) -> StateKey {
    StateKey {
        owner: *owner,
        module: ACCOUNT,
        local: [AUTHENTICATOR].into(),
    }
}

/// Reads a stored nonce; broken bytes read as the end of the stream, so nothing runs.
pub fn decode_nonce(value: Option<&Value>) -> u64 {
    value.map_or(0, |value| read_nonce(value).unwrap_or(u64::MAX))
}

/// Reads the stored form of a nonce: the version byte, then 8 bytes, little-endian.
pub fn read_nonce(value: &[u8]) -> Option<u64> {
    let [VERSION, next @ ..] = value else {
        return None;
    };
    next.try_into().ok().map(u64::from_le_bytes)
}

/// The stored form of a nonce.
pub fn encode_nonce(next: u64) -> Value {
    let mut bytes = [0; 9];
    bytes[0] = VERSION;
    bytes[1..].copy_from_slice(&next.to_le_bytes());
    Value::from(bytes)
}
