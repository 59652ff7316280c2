//! The transient sheet of a bundle: what flows between its operations.
//!
//! It begins with the attached assets. An operation may take more than there is, as a flash loan
//! does; the bundle fails unless every denom ends at zero or more. What is left goes home.

use crate::error::CallError;
use skerry_types::amount::{Amount, Asset};
use skerry_types::ids::Denom;
use smallvec::SmallVec;

/// One denom: at most one of the two is above zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Line {
    denom: Denom,
    held: Amount,
    owed: Amount,
}

/// Assets by denom, in strict order; may be below zero until the end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sheet {
    lines: SmallVec<[Line; 2]>,
}

impl Sheet {
    /// A sheet that begins with `assets`, whose denoms are strictly increasing.
    pub fn with(assets: &[Asset]) -> Self {
        let line = |asset: &Asset| Line {
            denom: asset.denom,
            held: asset.amount,
            owed: Amount::ZERO,
        };
        Self {
            lines: assets.iter().map(line).collect(),
        }
    }

    fn line(&mut self, denom: Denom) -> Option<&mut Line> {
        let index = match self.lines.binary_search_by_key(&denom, |line| line.denom) {
            Ok(index) => index,
            Err(index) => {
                self.lines.insert(
                    index,
                    Line {
                        denom,
                        held: Amount::ZERO,
                        owed: Amount::ZERO,
                    },
                );
                index
            }
        };
        self.lines.get_mut(index)
    }

    /// Adds an asset.
    ///
    /// # Errors
    /// When the sum overflows.
    pub fn put(&mut self, asset: Asset) -> Result<(), CallError> {
        let Some(line) = self.line(asset.denom) else {
            return Ok(());
        };
        settle(&mut line.owed, &mut line.held, asset.amount)
    }

    /// Takes an asset, below zero if need be.
    ///
    /// # Errors
    /// When the debt overflows.
    pub fn take(&mut self, asset: Asset) -> Result<(), CallError> {
        let Some(line) = self.line(asset.denom) else {
            return Ok(());
        };
        settle(&mut line.held, &mut line.owed, asset.amount)
    }

    /// What is held of a denom; zero when it is owed.
    pub fn held(&self, denom: Denom) -> Amount {
        self.lines
            .binary_search_by_key(&denom, |line| line.denom)
            .ok()
            .and_then(|index| self.lines.get(index))
            .map_or(Amount::ZERO, |line| line.held)
    }

    /// What is left, when nothing is owed and `minimum` is there.
    ///
    /// # Errors
    /// When a denom is below zero or below its minimum.
    pub fn finish(&self, minimum: &[Asset]) -> Result<impl Iterator<Item = Asset>, CallError> {
        if let Some(line) = self.lines.iter().find(|line| !line.owed.is_zero()) {
            return Err(CallError::SheetNegative {
                denom: line.denom,
                missing: line.owed,
            });
        }
        for Asset { denom, amount } in minimum {
            let actual = self.held(*denom);
            if actual < *amount {
                return Err(CallError::MinimumOutput {
                    denom: *denom,
                    expected: *amount,
                    actual,
                });
            }
        }
        let left = self.lines.iter().filter(|line| !line.held.is_zero());
        Ok(left.map(|line| Asset {
            denom: line.denom,
            amount: line.held,
        }))
    }
}

/// Reduces `against` first and adds what remains to `own`.
fn settle(against: &mut Amount, own: &mut Amount, amount: Amount) -> Result<(), CallError> {
    if let Some(rest) = against.checked_sub(amount) {
        *against = rest;
        return Ok(());
    }
    let overflow = CallError::Overflow { what: "the sheet" };
    let more = amount
        .checked_sub(*against)
        .ok_or_else(|| overflow.clone())?;
    *own = own.checked_add(more).ok_or(overflow)?;
    *against = Amount::ZERO;
    Ok(())
}
