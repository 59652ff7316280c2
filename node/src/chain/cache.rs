//! The verification cache: transactions whose form and signatures are known to be good.
//!
//! Keyed by wire hash, which covers keys and signatures, and bounded: the oldest give way. It says
//! nothing of nonce, fee or expiry, which are checked at every use.

use skerry_types::ids::Digest;
use skerry_types::transaction::CheckedTransaction;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Most transactions remembered.
const CAPACITY: usize = 150_000;

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

    pub(crate) fn get(&self, hash: &Digest) -> Option<Arc<CheckedTransaction>> {
        self.known.get(hash).cloned()
    }
}
