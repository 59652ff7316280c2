//! From words to keys: BIP-39 mnemonics, SLIP-0010 derivation for ed25519.
//!
//! Accounts use the path m/44'/9119'/0'/`index`' (all parts hardened, as ed25519 requires), so a
//! phrase gives the same accounts in any wallet that follows both standards.

use super::KeyError;
use bip39::Mnemonic;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha512;
use zeroize::Zeroizing;

/// Purpose, coin type and account of the path; the index follows.
const PATH: [u32; 3] = [44, 9119, 0];
const HARDENED: u32 = 1 << 31;

/// A secret with its chain code.
struct Node {
    key: Zeroizing<[u8; 32]>,
    chain_code: Zeroizing<[u8; 32]>,
}

impl Node {
    fn of(key: &[u8], parts: &[&[u8]]) -> Result<Self, KeyError> {
        let mut mac = Hmac::<Sha512>::new_from_slice(key).map_err(|_| KeyError::Derivation)?;
        for part in parts {
            mac.update(part);
        }
        let output = Zeroizing::new(<[u8; 64]>::from(mac.finalize().into_bytes()));
        let mut node = Self {
            key: Zeroizing::new([0; 32]),
            chain_code: Zeroizing::new([0; 32]),
        };
        let (left, right) = output.split_at(32);
        node.key.copy_from_slice(left);
        node.chain_code.copy_from_slice(right);
        Ok(node)
    }

    fn master(seed: &[u8]) -> Result<Self, KeyError> {
        Self::of(b"ed25519 seed", &[seed])
    }

    fn child(&self, index: u32) -> Result<Self, KeyError> {
        let index = (index | HARDENED).to_be_bytes();
        Self::of(&*self.chain_code, &[&[0], &*self.key, &index])
    }
}

/// The ed25519 seed at `path` (every part hardened) below a master seed.
pub(super) fn slip10(seed: &[u8], path: &[u32]) -> Result<Zeroizing<[u8; 32]>, KeyError> {
    let mut node = Node::master(seed)?;
    for index in path {
        node = node.child(*index)?;
    }
    Ok(node.key)
}

/// The ed25519 seed of account `index` of a phrase.
pub(super) fn of_mnemonic(
    mnemonic: &Mnemonic,
    index: u32,
) -> Result<Zeroizing<[u8; 32]>, KeyError> {
    let seed = Zeroizing::new(mnemonic.to_seed_normalized(""));
    let [purpose, coin, account] = PATH;
    slip10(&*seed, &[purpose, coin, account, index])
}
