//! The gas schedule: one table, every price in it.
//!
//! One unit is about two nanoseconds of the slowest supported machine's single core, signature
//! check and tree hashing included, so that a full block of the default 400,000,000 executes well
//! within Δ on several cores. Gas is a function of the call: a key that may be created is charged
//! as created, whether it exists or not.

use skerry_types::ids::Gas;
use skerry_types::limits;

/// A transaction by itself: nonce, fee, receipt.
pub const TRANSACTION: u64 = 4_000;
/// One signature check.
pub const SIGNATURE: u64 = 6_000;
/// One byte of the wire form.
pub const BYTE: u64 = 8;
/// One operation, whatever it does.
pub const OPERATION: u64 = 500;
/// One key read and written.
pub const KEY_WRITTEN: u64 = 1_000;
/// Storage of one key that may be created.
pub const KEY_CREATED: u64 = 2_500;
/// One stored byte of a record of free length.
pub const STORED_BYTE: u64 = 25;
/// One event of a few attributes: its bytes in the receipt, where each is worth one of the wire form.
pub const EVENT: u64 = 2_500;
/// A message by itself: decoding, cursors, receipt.
pub const MESSAGE: u64 = 2_500;
/// One byte of a message.
pub const MESSAGE_BYTE: u64 = 8;

/// A price times a count, staying at the largest number.
pub fn times(price: u64, count: usize) -> u64 {
    price.saturating_mul(u64::try_from(count).unwrap_or(u64::MAX))
}

/// Sum of prices, staying at the largest number.
pub fn sum(parts: &[u64]) -> Gas {
    Gas::new(
        parts
            .iter()
            .fold(0, |total: u64, part| total.saturating_add(*part)),
    )
}

/// Gas of a key that may be created and is written.
pub const KEY: u64 = KEY_WRITTEN + KEY_CREATED;

/// Gas of a reply: the same for every one, so that it can be paid in advance. Beside its assets it may
/// bring home `sker` that gas was bought for.
pub fn reply() -> Gas {
    message(limits::REPLY_BYTES, limits::ASSETS_MAX.saturating_add(1))
}

/// Gas of a message of `bytes` that carries `assets` assets: executing it costs the same at every
/// destination, and it is bought with the transaction that sends it.
pub fn message(bytes: usize, assets: usize) -> Gas {
    sum(&[MESSAGE, times(MESSAGE_BYTE, bytes), times(KEY, assets)])
}
