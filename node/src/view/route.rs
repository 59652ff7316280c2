//! Where a transaction's bundle goes, as it was signed: what tells a request from a transfer.
//!
//! The receipt at home names the messages that left, and not what they carry. The signed bytes
//! know: a bundle that runs elsewhere leaves as one request, and what a bundle that runs at home
//! sends is value for other owners.

use skerry_types::ids::{Address, ChainRef, Digest};
use skerry_types::lookup::Lookup;
use skerry_types::transaction::{CheckedTransaction, Target, TransactionBody};
use std::sync::Arc;

/// The way of a bundle that does not run at its sender's home.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Route {
    /// The chains where its parts run, in order; none for a bundle that runs at home.
    pub chains: Vec<ChainRef>,
    /// Whether the sender attached assets, which come home when the first part fails.
    pub attaches: bool,
}

impl Route {
    /// The way of a transaction's bundle, where `home` tells the chain that an owner lives on.
    pub fn of(body: &TransactionBody, home: impl Fn(&Address) -> ChainRef) -> Self {
        let bundle = &body.bundle;
        let here = home(&body.sender);
        let chain = |target: &Target| match target {
            Target::Home => here,
            Target::Near(owner) => home(owner),
            Target::Beacon => ChainRef::Beacon,
        };
        let target = chain(&bundle.target);
        if target == here {
            return Self::default();
        }
        let onward = bundle.onward.iter().map(|leg| chain(&leg.target));
        Self {
            chains: std::iter::once(target).chain(onward).collect(),
            attaches: !bundle.assets.is_empty(),
        }
    }

    /// Whether the bundle leaves its sender's home.
    pub fn is_remote(&self) -> bool {
        !self.chains.is_empty()
    }
}

/// The routes of a block's transactions whose bundles leave home, by transaction.
#[derive(Clone, Debug, Default)]
pub struct Routes(Arc<Lookup<Digest, Route>>);

impl Routes {
    /// Of the transactions of a block.
    pub fn of(
        transactions: &[Arc<CheckedTransaction>],
        home: impl Fn(&Address) -> ChainRef,
    ) -> Self {
        let mut routes = Lookup::default();
        for transaction in transactions {
            let route = Route::of(transaction.body(), &home);
            if route.is_remote() {
                routes.insert(transaction.id(), route);
            }
        }
        Self(Arc::new(routes))
    }

    /// The way of a transaction of the block.
    pub fn get(&self, id: &Digest) -> Route {
        self.0.get(id).cloned().unwrap_or_default()
    }
}
