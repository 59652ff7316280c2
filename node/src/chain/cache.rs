//! The verification cache: transactions whose form and signatures are known to be good.
//!
//! Keyed by wire hash, which covers keys and signatures, and bounded: the oldest give way. It says
//! nothing of nonce, fee or expiry, which are checked at every use.

use skerry_types::ids::Digest;
use skerry_types::transaction::CheckedTransaction;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Most transactions remembered.
const CAPACITY: usize = 50_000;
/// Places in the order that are not worth a clean-up.
const MINIMUM: usize = 8_192;

#[derive(Default)]
pub(crate) struct SignatureCache {
    known: BTreeMap<Digest, Arc<CheckedTransaction>>,
    order: VecDeque<Digest>,
}

impl SignatureCache {
    pub(crate) fn insert(&mut self, transaction: Arc<CheckedTransaction>) {
        let hash = transaction.wire_hash();
        if self.known.insert(hash, transaction).is_none() {
            self.order.push_back(hash);
        }
        while self.order.len() > CAPACITY {
            let Some(oldest) = self.order.pop_front() else {
                break;
            };
            self.known.remove(&oldest);
        }
    }

    /// Forgets the transactions of a final block.
    pub(crate) fn remove(&mut self, transactions: &[Arc<CheckedTransaction>]) {
        for transaction in transactions {
            self.known.remove(&transaction.wire_hash());
        }
        // Their places in the order are given up in bulk, when they are the most.
        if self.order.len() > self.known.len().saturating_mul(2).max(MINIMUM) {
            self.order.retain(|hash| self.known.contains_key(hash));
        }
    }

    pub(crate) fn get(&self, hash: &Digest) -> Option<Arc<CheckedTransaction>> {
        self.known.get(hash).cloned()
    }
}
