//! What a final block accepts is what its source has sent, proven by what is final there, no larger
//! than it may be; and it runs in time where that is foretold.
//!
//! What was sent is read off what executing the source's blocks gave, what is final off the votes that
//! members had logged: none of it off the proofs that the code under test has checked.

use super::Broken;
use super::protocol::Protocol;
use crate::counts::Counts;
use crate::plan::{Foretold, MILLI, Plan};
use skerry_types::certificate::Certificate;
use skerry_types::ids::{ChainRef, Digest, Height, Sequence, View};
use skerry_types::limits::{BATCH_BYTES_MAX, BATCH_MESSAGES_MAX, MESSAGE_BYTES_MAX};
use skerry_types::message::{Batch, InboundBatch, MessageId};
use skerry_types::vote::Statement;
use std::collections::BTreeMap;

/// Source, destination, and position of the first message.
type Place = (ChainRef, ChainRef, Sequence);

/// What was seen of batches.
pub(super) struct Batches {
    /// When the first node knew that a block sends a batch: by place and root.
    sent: BTreeMap<(Place, Digest), u64>,
    /// When the messages of accepted batches were sent: by channel and position of the first.
    sent_at: BTreeMap<(ChainRef, ChainRef), BTreeMap<u64, u64>>,
    bound: Option<Foretold>,
    /// When the Byzantine led, by chain and view.
    leads: BTreeMap<(ChainRef, View), u64>,
    /// The message that took most of what was foretold: what it took, and that.
    slowest: (u64, u64),
}

impl Batches {
    pub(super) const fn new(plan: &Plan) -> Self {
        Self {
            sent: BTreeMap::new(),
            sent_at: BTreeMap::new(),
            bound: plan.bound,
            leads: BTreeMap::new(),
            slowest: (0, 1),
        }
    }

    /// The message that took most of what was foretold: what it took, and that.
    pub(super) fn slowest(&self) -> Option<(u64, u64)> {
        self.bound.map(|_| self.slowest)
    }

    /// Somebody Byzantine leads a view.
    pub(super) fn on_lead(&mut self, at: u64, chain: ChainRef, view: View) {
        if self.bound.is_some() {
            self.leads.entry((chain, view)).or_insert(at);
        }
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
        protocol: &Protocol,
        (chain, height): (ChainRef, Height),
        inbound: &InboundBatch,
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
        let channel = self.sent_at.entry((chain, source)).or_default();
        channel.insert(first.get(), sent);
        Ok(())
    }

    /// A message ran.
    pub(super) fn on_ran(&mut self, now: u64, id: &MessageId, counts: &mut Counts) -> Broken {
        let channel = self.sent_at.get(&(id.destination, id.source));
        let newest = channel.and_then(|it| it.range(..=id.sequence.get()).next_back());
        let sent = *newest
            .ok_or_else(|| format!("{id} runs, and was never accepted"))?
            .1;
        let Some(foretold) = self.bound else {
            return Ok(());
        };
        let Foretold {
            honest, each_lead, ..
        } = foretold;
        let took = now.saturating_sub(sent);
        // A view that a liar led before may still last.
        let from = sent.saturating_sub(each_lead);
        let is_between = |((chain, _), at): &(&(ChainRef, View), &u64)| {
            let concerns = chain.is_beacon() || [id.source, id.destination].contains(chain);
            concerns && (from..=now).contains(*at)
        };
        let leads = u64::try_from(self.leads.iter().filter(is_between).count());
        let leads = leads.map_or(foretold.leads, |leads| leads.min(foretold.leads));
        let bound = honest.saturating_add(each_lead.saturating_mul(leads));
        let part = |(took, bound): (u64, u64)| u128::from(took) * 1_000_000 / u128::from(bound);
        if part((took, bound)) > part(self.slowest) {
            self.slowest = (took, bound);
        }
        if took > bound {
            return Err(format!(
                "message {id} runs {} ms after it was sent, {} ms were foretold, {leads} views of \
                 liars included",
                took / MILLI,
                bound / MILLI
            ));
        }
        counts.note("messages within the foretold time");
        Ok(())
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
