//! After a write or a sync has failed nobody knows what is on the disk, and trying again may report
//! a success that is none (the kernel drops failed pages). So the first failure closes the store:
//! every later call is refused, and the next start recovers from what is really there.

use crate::error::StoreError;
use std::sync::OnceLock;

/// Remembers the first failure.
#[derive(Debug, Default)]
pub(crate) struct Poison {
    cause: OnceLock<String>,
}

impl Poison {
    /// Refuses when something has failed before.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        match self.cause.get() {
            Some(cause) => Err(StoreError::Poisoned {
                cause: cause.clone(),
            }),
            None => Ok(()),
        }
    }

    /// Passes the outcome of a write on, and closes the store when it failed.
    pub(crate) fn watch<T>(&self, outcome: Result<T, StoreError>) -> Result<T, StoreError> {
        if let Err(error) = &outcome {
            // A second failure keeps the first cause.
            let _ = self.cause.set(error.to_string());
        }
        outcome
    }
}
