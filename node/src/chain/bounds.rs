//! How much a chain holds of what others sent it, beside how much it may: nothing is kept without a
//! bound. The simulator looks after every step; the consensus core asserts its own.

use super::ChainNode;
use super::epochs::{EARLY_BYTES_MAX, EARLY_FRAMES_MAX};
use super::evidence::CLAIMS_MAX;
use super::instance::NOTARIZED_MAX;
use super::proving::PROVING_MAX;
use super::sync::{UNSETTLED_BYTES_MAX, UNSETTLED_MAX};
use crate::beacon::EPOCHS_PER_SHARD;
use crate::relay::{BATCHES_PER_SOURCE_MAX, TOLD_OF_MAX};
use crate::wire::{RANGE_REPLY_BLOCKS, RANGE_REPLY_BYTES_MAX};

/// Messages for the consensus core that wait until it begins; members say all of it again.
pub(super) const INPUTS_MAX: usize = 1_024;

/// One kind of thing that a chain holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// What it is.
    pub what: &'static str,
    /// How much of it there is, in pieces or bytes.
    pub count: usize,
    /// How much there may be.
    pub most: usize,
}

impl ChainNode {
    /// All that is held of what others sent. Takes a moment, whatever there is.
    pub fn held(&self) -> [Held; 13] {
        let held = |what, count, most| Held { what, count, most };
        let chains = self.shared.network.chains.len();
        let limits = self.mempool.limits();
        // A reply that was asked for while there was room may still come.
        let blocks = UNSETTLED_MAX.saturating_add(2 * usize::from(RANGE_REPLY_BLOCKS));
        let bytes = UNSETTLED_BYTES_MAX.saturating_add(2 * RANGE_REPLY_BYTES_MAX);
        // What a peer that came back told of before is still held; and the next batch of a source is held
        // as missing, whether or not somebody tells of it.
        let told = self.peers.len().saturating_mul(2 * TOLD_OF_MAX);
        let told = told.saturating_add(2 * TOLD_OF_MAX);
        [
            held(
                "messages for the core",
                self.instance.inputs.len(),
                INPUTS_MAX,
            ),
            held("early frames", self.early.len(), EARLY_FRAMES_MAX),
            held("bytes of early frames", self.early.bytes(), EARLY_BYTES_MAX),
            held("words being checked", self.proving.len(), PROVING_MAX),
            held(
                "claims being judged",
                self.accusations.open_claims(),
                CLAIMS_MAX,
            ),
            held(
                "notarized blocks",
                self.instance.notarized.len(),
                NOTARIZED_MAX,
            ),
            held("blocks", self.tree.len(), blocks),
            held("bytes of blocks", self.tree.bytes(), bytes),
            held(
                "batches",
                self.inbound.count(),
                chains.saturating_mul(BATCHES_PER_SOURCE_MAX),
            ),
            held("batches told of", self.inbound.told_of(), told),
            held(
                "cross-links",
                self.links.count(),
                chains.saturating_mul(EPOCHS_PER_SHARD),
            ),
            held("transactions", self.mempool.len(), limits.transactions_max),
            held(
                "bytes of transactions",
                self.mempool.bytes(),
                limits.bytes_max,
            ),
        ]
    }
}
