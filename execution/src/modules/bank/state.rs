//! Records of the bank: balances, claims, what was burnt; and the two ways a balance changes.
//!
//! A zero balance has no key. A claim lies under its message, so claims never collide and never
//! overflow.

use crate::error::CallError;
use crate::modules::BANK;
use crate::overlay::{BlockOverlay, Layered, SlotIndex};
use crate::view::{SHARED_SUM_MAX, decode_amount, encode_amount};
use skerry_types::amount::{Amount, Asset};
use skerry_types::ids::{Address, ChainRef, Denom, Sequence};
use skerry_types::state::StateKey;

pub(crate) const BALANCE: u8 = b'b';
pub(crate) const CLAIM: u8 = b'c';
pub(crate) const BURNT: u8 = b'x';

fn denom_local(tag: u8, denom: &Denom) -> [u8; 33] {
    let mut local = [tag; 33];
    let (_, name) = local.split_at_mut(1);
    name.copy_from_slice(denom.as_bytes());
    local
}

fn denom_key(owner: Address, tag: u8, denom: &Denom) -> StateKey {
    StateKey::new(owner, BANK, denom_local(tag, denom))
}

/// The slot of a balance.
pub(crate) fn balance_slot(
    overlay: &mut BlockOverlay<'_>,
    owner: &Address,
    denom: &Denom,
) -> SlotIndex {
    overlay.slot_at(owner, BANK, denom_local(BALANCE, denom).into())
}

/// Key of a balance: 16 bytes, little-endian.
pub fn balance_key(owner: &Address, denom: &Denom) -> StateKey {
    denom_key(*owner, BALANCE, denom)
}

/// Key of a claim: an amount as a balance is, for one denom of one message.
pub fn claim_key(owner: &Address, denom: &Denom, source: ChainRef, sequence: Sequence) -> StateKey {
    let mut local = denom_local(CLAIM, denom).to_vec();
    local.extend_from_slice(&source.to_bytes());
    local.extend_from_slice(&sequence.get().to_be_bytes());
    StateKey::new(*owner, BANK, local)
}

/// Reads the local part of [`claim_key`].
pub fn read_claim_key(local: &[u8]) -> Option<(Denom, ChainRef, Sequence)> {
    let (tag, rest) = local.split_first()?;
    let (denom, rest) = rest.split_first_chunk::<32>()?;
    let (source, rest) = rest.split_first_chunk::<3>()?;
    let sequence: [u8; 8] = rest.try_into().ok().filter(|_| *tag == CLAIM)?;
    Some((
        Denom::new(*denom),
        ChainRef::from_bytes(*source)?,
        Sequence::new(u64::from_be_bytes(sequence)),
    ))
}

/// Reads the local part of [`balance_key`] or [`burnt_key`].
pub fn read_denom_key(local: &[u8]) -> Option<(u8, Denom)> {
    let (tag, rest) = local.split_first()?;
    let denom: [u8; 32] = rest.try_into().ok()?;
    Some((*tag, Denom::new(denom)))
}

/// Where the tips of a chain gather.
pub fn fee_account(chain: ChainRef) -> Address {
    Address::of_system(BANK.get(), chain, b"fees")
}

/// The object that counts what a chain destroyed.
pub fn burnt_object(chain: ChainRef) -> Address {
    Address::of_system(BANK.get(), chain, b"burnt")
}

/// Key of what a chain destroyed of a denom, cumulatively.
pub fn burnt_key(chain: ChainRef, denom: &Denom) -> StateKey {
    denom_key(burnt_object(chain), BURNT, denom)
}

/// Takes from a balance.
pub(crate) fn debit(
    state: &mut Layered<'_, '_>,
    owner: Address,
    asset: Asset,
) -> Result<(), CallError> {
    let slot = balance_slot(state.overlay, &owner, &asset.denom);
    let actual = decode_amount(state.value(slot))?;
    let rest = actual
        .checked_sub(asset.amount)
        .ok_or(CallError::InsufficientBalance {
            owner,
            denom: asset.denom,
            expected: asset.amount,
            actual,
        })?;
    state.set(slot, encode_amount(rest));
    Ok(())
}

/// Adds to a balance.
pub(crate) fn credit(
    state: &mut Layered<'_, '_>,
    owner: Address,
    asset: Asset,
) -> Result<(), CallError> {
    let slot = balance_slot(state.overlay, &owner, &asset.denom);
    let held = decode_amount(state.value(slot))?;
    let sum = state.sum(held, asset.amount)?;
    // What others add beside this one might make it too large for a while, and taking hides it again.
    if sum >= SHARED_SUM_MAX {
        state.overlay.note_order();
    }
    state.set(slot, encode_amount(sum));
    Ok(())
}

/// Adds to the sum of an amount, staying at the largest number.
pub(crate) fn saturating_sum(left: Amount, right: Amount) -> Amount {
    left.checked_add(right).unwrap_or(Amount::MAX)
}
