//! What a final block accepts is what its source has sent, proven by what is final there, no larger
//! than it may be, and in time where that is foretold.
//!
//! What was sent is read off what executing the source's blocks gave, what is final off the votes that
//! members had logged: none of it off the proofs that the code under test has checked.

use super::Broken;
use super::protocol::Protocol;
use crate::counts::Counts;
use crate::plan::{MILLI, Plan};
use skerry_types::certificate::Certificate;
use skerry_types::ids::{ChainRef, Digest, Height, Sequence};
use skerry_types::limits::{BATCH_BYTES_MAX, BATCH_MESSAGES_MAX, MESSAGE_BYTES_MAX};
use skerry_types::message::{Batch, InboundBatch};
use skerry_types::vote::Statement;
use std::collections::BTreeMap;

/// Source, destination, and position of the first message.
type Place = (ChainRef, ChainRef, Sequence);

/// What was seen of batches.
pub(super) struct Batches {
    /// When the first node knew that a block sends a batch: by place and root.
    sent: BTreeMap<(Place, Digest), u64>,
    bound: Option<u64>,
    slowest: u64,
}

impl Batches {
    pub(super) const fn new(plan: &Plan) -> Self {
        Self {
            sent: BTreeMap::new(),
            bound: plan.bound,
            slowest: 0,
        }
    }

    /// The longest that a batch took, and the longest that was foretold.
    pub(super) fn slowest(&self) -> Option<(u64, u64)> {
        Some((self.slowest, self.bound?))
    }

    /// A node got the result of executing a block.
    pub(super) fn on_executed(&mut self, now: u64, outgoing: &[Batch]) {
        for batch in outgoing {
            let place = (batch.source, batch.destination, batch.first);
            self.sent.entry((place, batch.root())).or_insert(now);
        }
    }

    /// A final block accepts a batch.
    pub(super) fn on_accepted(
        &mut self,
        (now, protocol): (u64, &Protocol),
        (chain, height): (ChainRef, Height),
        inbound: &InboundBatch,
        counts: &mut Counts,
    ) -> Broken {
        let InboundBatch { batch, proof } = inbound;
        let (source, first) = (batch.source, batch.first);
        check_size(batch).map_err(|what| format!("{chain} {height} accepts {what} of {source}"))?;
        let place = (source, batch.destination, first);
        let sent = self.sent.get(&(place, batch.root())).copied();
        let sent = sent.filter(|_| batch.destination == chain).ok_or_else(|| {
            format!("{chain} {height} accepts a batch at {first} that {source} has not sent")
        })?;
        let header = &proof.header;
        let certified = proof.path.last().unwrap_or(header);
        check_final(&proof.certificate, &certified.digest(), |certificate| {
            protocol.check_proof((source, header.epoch), certificate)
        })
        .map_err(|what| {
            let epoch = header.epoch;
            format!("{chain} {height} takes a proof of epoch {epoch} of {source}: {what}")
        })?;
        let took = now.saturating_sub(sent);
        self.slowest = self.slowest.max(took);
        match self.bound {
            Some(bound) if took > bound => Err(format!(
                "{chain} {height} accepts the batch of {source} at {first} {} ms after it was sent, \
                 {} ms were foretold",
                took / MILLI,
                bound / MILLI
            )),
            Some(_) => {
                counts.note("batches within the foretold time");
                Ok(())
            }
            None => Ok(()),
        }
    }
}

fn check_size(batch: &Batch) -> Result<(), String> {
    let (messages, bytes) = (batch.messages.len(), batch.message_bytes());
    let longest = batch.messages.iter().map(Vec::len).max().unwrap_or(0);
    let bytes_max = u64::try_from(BATCH_BYTES_MAX).unwrap_or(u64::MAX);
    let fits = (1..=BATCH_MESSAGES_MAX).contains(&messages) && bytes <= bytes_max;
    if fits && longest <= MESSAGE_BYTES_MAX {
        return Ok(());
    }
    Err(format!(
        "a batch of {messages} messages and {bytes} bytes, the longest of {longest},"
    ))
}

fn check_final(
    certificate: &Certificate,
    certified: &Digest,
    check: impl Fn(&Certificate) -> Broken,
) -> Broken {
    match certificate.statement {
        Statement::Finalize { digest, .. } if digest == *certified => check(certificate),
        other => Err(format!(
            "it is proven by {other:?} and not by a finalization"
        )),
    }
}
