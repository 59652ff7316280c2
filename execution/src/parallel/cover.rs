//! Which accounts are covered: what may be taken from them in a block is not more than they held before
//! it.
//!
//! What a transaction takes from its sender, its bytes tell: the fee and the attached assets, or less
//! where it fails. So the sums need no order, and nothing has to run for them. Of a covered account
//! nothing is ever missing, whatever is added to it and when: what is taken and what is added commute,
//! and a worker may add to it that knows nothing of what others do. Only the nonce is in order still.
//!
//! Where the sums come to more, a transaction may live on what another one of the block has paid in; the
//! account is a lane of all who touch it then, and no outcome depends on which of the two it is.

use super::touches::{self, Chunk};
use crate::fees;
use crate::modules::bank::state::balance_key;
use crate::view::decode_amount;
use skerry_types::amount::{Amount, Asset};
use skerry_types::ids::{Address, Denom, Gas};
use skerry_types::state::StateRead;
use skerry_types::transaction::CheckedTransaction;
use smallvec::SmallVec;
use std::sync::Arc;

/// An account that attaches more denoms than that in one block, but for `sker`, is taken for not
/// covered: they are added up in a list.
const DENOMS_MAX: usize = 15;

/// What a transaction may take from its sender.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Take {
    /// Of `sker`: the fee and what is attached; `None` when that is more than anyone has.
    sker: Option<Amount>,
    /// Whether other denoms are attached.
    has_others: bool,
}

impl Take {
    /// Of a transaction that costs so much gas.
    pub(super) fn of(transaction: &CheckedTransaction, gas: Gas) -> Self {
        let body = transaction.body();
        let mut take = Self {
            sker: fees::fee(gas, body.gas_price),
            has_others: false,
        };
        for Asset { denom, amount } in &body.bundle.assets {
            if *denom == Denom::SKER {
                take.sker = take.sker.and_then(|sker| sker.checked_add(*amount));
            } else {
                take.has_others = true;
            }
        }
        take
    }
}

/// What decides who is covered.
pub(super) struct Cover<'c> {
    pub(super) chunks: &'c [&'c Chunk],
    pub(super) transactions: &'c [Arc<CheckedTransaction>],
    /// The state before the transactions.
    pub(super) before: &'c dyn StateRead,
}

/// Sums by denom.
type Sums = SmallVec<[Asset; 2]>;

impl Cover<'_> {
    /// Whether an account held, before the block, all that these transactions of its own may take.
    pub(super) fn holds(&self, owner: &Address, spending: &[u32]) -> bool {
        let held = |denom: &Denom| {
            let held = self.before.get(&balance_key(owner, denom));
            // What is no amount covers nothing.
            decode_amount(held.as_ref()).unwrap_or(Amount::ZERO)
        };
        self.taken(spending).is_some_and(|taken| {
            let mut taken = taken.iter();
            taken.all(|Asset { denom, amount }| held(denom) >= *amount)
        })
    }

    /// What transactions may take from their sender; `None` when that is more than anyone has.
    fn taken(&self, spending: &[u32]) -> Option<Sums> {
        let (mut sker, mut sums) = (Amount::ZERO, Sums::new());
        for position in spending {
            let take = touches::take(self.chunks, *position)?;
            sker = sker.checked_add(take.sker?)?;
            if take.has_others {
                let place = usize::try_from(*position).ok()?;
                let assets = self.transactions.get(place)?.body().bundle.assets.iter();
                for asset in assets.filter(|asset| asset.denom != Denom::SKER) {
                    add(&mut sums, asset)?;
                }
            }
        }
        let denom = Denom::SKER;
        sums.push(Asset {
            denom,
            amount: sker,
        });
        Some(sums)
    }
}

/// Adds to the sum of a denom; `None` when there is no room or it is too large.
fn add(sums: &mut Sums, asset: &Asset) -> Option<()> {
    if let Some(sum) = sums.iter_mut().find(|it| it.denom == asset.denom) {
        sum.amount = sum.amount.checked_add(asset.amount)?;
    } else if sums.len() < DENOMS_MAX {
        sums.push(*asset);
    } else {
        return None;
    }
    Some(())
}
