//! The trapped view: how a module reaches the state.
//!
//! There is get, put, delete, add and insert, and no iteration. Whatever the plan does not declare
//! is refused *and* remembered, so a module that swallows the error fails all the same.

use crate::error::CallError;
use crate::overlay::Layered;
use crate::parallel::WORKERS_MAX;
use crate::plan::{Access, Plan};
use borsh::{BorshDeserialize, BorshSerialize};
use skerry_types::amount::Amount;
use skerry_types::codec::{self, VERSION};
use skerry_types::ids::{Address, ChainRef, ModuleId};
use skerry_types::limits;
use skerry_types::message::Credit;
use skerry_types::state::{StateKey, Value};

/// The state as one call may see it.
pub struct StateView<'v, 'a> {
    pub(crate) state: Layered<'v, 'a>,
    pub(crate) plan: &'v Plan,
    pub(crate) module: ModuleId,
    pub(crate) trapped: &'v mut Option<CallError>,
}

impl StateView<'_, '_> {
    /// Refuses and remembers what the plan does not allow.
    ///
    /// # Errors
    /// When the plan does not declare `object` for `access`.
    pub fn require(&mut self, object: &Address, access: Access) -> Result<(), CallError> {
        if self.plan.allows(object, access) {
            return Ok(());
        }
        let error = CallError::Undeclared {
            module: self.module,
            object: *object,
            access: access.name(),
        };
        self.trapped.get_or_insert_with(|| error.clone());
        Err(error)
    }

    /// Refuses and remembers a message that the plan does not declare: with it the call has `sent` so
    /// much to a chain.
    ///
    /// # Errors
    /// When the plan declares less.
    pub(crate) fn require_send(
        &mut self,
        destination: ChainRef,
        sent: Credit,
    ) -> Result<(), CallError> {
        let declared = self.plan.sends().iter();
        let declared = declared.filter(|(chain, _)| *chain == destination);
        let declared = declared.fold(Credit::ZERO, |sum, (_, credit)| sum.plus(*credit));
        if declared.covers(sent) {
            return Ok(());
        }
        let error = CallError::UndeclaredSend {
            module: self.module,
            destination,
            declared,
            sent,
        };
        self.trapped.get_or_insert_with(|| error.clone());
        Err(error)
    }

    /// The value of a key.
    ///
    /// # Errors
    /// When its owner is not declared for reading or writing.
    pub fn get(&mut self, key: StateKey) -> Result<Option<Value>, CallError> {
        self.require(&key.owner, Access::Read)?;
        let slot = self.state.slot(key);
        Ok(self.state.value(slot).cloned())
    }

    /// The decoded record of a key.
    ///
    /// # Errors
    /// When its owner is not declared for reading or writing, or the stored bytes are broken.
    pub fn record<T: BorshDeserialize>(&mut self, key: StateKey) -> Result<Option<T>, CallError> {
        self.require(&key.owner, Access::Read)?;
        let slot = self.state.slot(key);
        let value = self.state.value(slot);
        value.map(|value| decode_record(value)).transpose()
    }

    /// Writes a key.
    ///
    /// # Errors
    /// When its owner is not declared for writing, or key or value are too large.
    pub fn put(&mut self, key: StateKey, value: Value) -> Result<(), CallError> {
        self.require(&key.owner, Access::Exclusive)?;
        check_size(&key, &value)?;
        let slot = self.state.slot(key);
        self.state.set(slot, Some(value));
        Ok(())
    }

    /// Writes the canonical bytes of a record.
    ///
    /// # Errors
    /// As [`Self::put`].
    pub fn put_record<T: BorshSerialize>(
        &mut self,
        key: StateKey,
        record: &T,
    ) -> Result<(), CallError> {
        let mut place = [0; RECORD_BYTES_MOST];
        let mut rest = place.as_mut_slice();
        let value = match record.serialize(&mut rest).map(|()| rest.len()) {
            Ok(left) => {
                let length = RECORD_BYTES_MOST.saturating_sub(left);
                Value::from(place.get(..length).unwrap_or_default())
            }
            Err(_) => Value::from(codec::encode(record)),
        };
        self.put(key, value)
    }

    /// Deletes a key.
    ///
    /// # Errors
    /// When its owner is not declared for writing.
    pub fn delete(&mut self, key: StateKey) -> Result<(), CallError> {
        self.require(&key.owner, Access::Exclusive)?;
        let slot = self.state.slot(key);
        self.state.set(slot, None);
        Ok(())
    }

    /// Adds to an amount; an absent key counts as zero.
    ///
    /// # Errors
    /// When its owner is not declared for adding or writing, or the sum overflows.
    pub fn add(&mut self, key: StateKey, amount: Amount) -> Result<(), CallError> {
        self.require(&key.owner, Access::AddOnly)?;
        let key_owner = key.owner;
        let slot = self.state.slot(key);
        let held = decode_amount(self.state.value(slot))?;
        let sum = self.state.sum(held, amount)?;
        // What others add beside this one might make it too large, and only a sum that is kept shows it.
        if sum >= SHARED_SUM_MAX && !self.plan.allows(&key_owner, Access::Exclusive) {
            self.state.overlay.note_order();
        }
        self.state.set(slot, encode_amount(sum));
        Ok(())
    }

    /// Writes a record under a key that nobody else uses.
    ///
    /// # Errors
    /// When its owner is not declared for adding or writing, the key exists, or it is too large.
    pub fn insert(&mut self, key: StateKey, value: Value) -> Result<(), CallError> {
        self.require(&key.owner, Access::AddOnly)?;
        check_size(&key, &value)?;
        if !self.plan.allows(&key.owner, Access::Exclusive) {
            self.state.overlay.note_order();
        }
        let slot = self.state.slot(key);
        if self.state.value(slot).is_some() {
            return Err(CallError::Invariant {
                what: "a fresh record exists already".to_owned(),
            });
        }
        self.state.set(slot, Some(value));
        Ok(())
    }
}

/// Most records are shorter, those of pools among them, and need no list to be encoded to.
const RECORD_BYTES_MOST: usize = 256;

/// So many workers can have this much each without an overflow of the sum.
pub(crate) const SHARED_SUM_MAX: Amount = Amount::new(u128::MAX / (WORKERS_MAX as u128));

fn check_size(key: &StateKey, value: &Value) -> Result<(), CallError> {
    for (actual, limit) in [
        (key.local.len(), limits::STATE_LOCAL_KEY_BYTES_MAX),
        (value.len(), limits::STATE_VALUE_BYTES_MAX),
    ] {
        if actual > limit {
            return Err(CallError::RecordTooLarge { actual, limit });
        }
    }
    Ok(())
}

/// Reads a stored record.
///
/// # Errors
/// When the bytes are not canonical: a broken invariant, since only the module wrote them.
pub fn decode_record<T: BorshDeserialize>(value: &[u8]) -> Result<T, CallError> {
    codec::decode(value, limits::STATE_VALUE_BYTES_MAX).map_err(|error| CallError::Invariant {
        what: format!("stored record: {error}"),
    })
}

/// Reads a stored amount; absent is zero.
///
/// # Errors
/// When the bytes are not an amount.
pub fn decode_amount(value: Option<&Value>) -> Result<Amount, CallError> {
    match value {
        None => Ok(Amount::ZERO),
        Some(value) => read_amount(value).ok_or_else(|| CallError::Invariant {
            what: "a stored amount is no version byte and 16 bytes".to_owned(),
        }),
    }
}

/// Reads the stored form of an amount: the version byte, then 16 bytes, little-endian.
pub fn read_amount(value: &[u8]) -> Option<Amount> {
    let [VERSION, amount @ ..] = value else {
        return None;
    };
    let amount = <[u8; 16]>::try_from(amount).ok()?;
    Some(Amount::new(u128::from_le_bytes(amount)))
}

/// The stored form of an amount; zero has no key.
pub fn encode_amount(amount: Amount) -> Option<Value> {
    (!amount.is_zero()).then(|| {
        let mut bytes = [0; 17];
        bytes[0] = VERSION;
        bytes[1..].copy_from_slice(&amount.get().to_le_bytes());
        Value::from(bytes)
    })
}
