//! How batches and cross-links travel: pushed by the source, pulled by the destination, offered to
//! the beacon.

use super::finality::ReportProof;
use super::jobs::{Executed, Job, Proven};
use super::linked::Provable;
use super::proving::Teller;
use super::{ChainNode, Output, Peer};
use crate::beacon::{BeaconFinal, digest_of, raises};
use crate::relay::is_pusher;
use crate::wire::{Announcement, BATCH_FRAME_BYTES_MAX, BatchRequest, CROSS_LINK_BYTES_MAX, kind};
use skerry_execution::validate::check_batch_size;
use skerry_execution::views;
use skerry_network::Misbehaviour;
use skerry_types::beacon::{CrossLink, Facts};
use skerry_types::block::{BlockKind, Header};
use skerry_types::certificate::Certificate;
use skerry_types::codec::{decode, encode};
use skerry_types::crypto::hash::plain;
use skerry_types::ids::{ChainRef, Digest, Epoch, LogPosition, Sequence};
use skerry_types::message::{Batch, BatchProof, ChannelSummary, InboundBatch, channels_root};
use std::sync::Arc;

impl ChainNode {
    pub(super) fn on_frame(
        &mut self,
        peer: Peer,
        (epoch, frame_kind): (Epoch, u8),
        payload: &super::Payload,
        out: &mut Vec<Output>,
    ) {
        match frame_kind {
            kind::VOTE
            | kind::CERTIFICATE
            | kind::PROPOSAL
            | kind::FETCH_REQUEST
            | kind::FETCH_REPLY => self.on_consensus_frame(peer, epoch, frame_kind, payload),
            kind::TRANSACTIONS => self.on_transactions(payload, out),
            kind::BATCH_PUSH => self.on_batch(peer, payload, out),
            kind::BATCHES_HELD => self.on_held(peer, payload),
            kind::BATCH_REQUEST => self.on_batch_request(peer, payload, out),
            kind::EVIDENCE => self.on_evidence_frame(peer, payload, out),
            kind::RANGE_REQUEST => self.on_range_request(peer, payload, out),
            kind::RANGE_REPLY => self.on_range_reply(peer, payload, out),
            kind::STATUS => self.on_status(peer, payload),
            _ => {}
        }
    }

    /// Tells followers, and the beacon's members, of a final block: by its proposer, and by one
    /// more member in case that one is gone.
    pub(super) fn announce(
        &self,
        headers: &[Header],
        certificate: &Certificate,
        out: &mut Vec<Output>,
    ) {
        let Some(last) = headers.last() else { return };
        let is_news = headers.iter().any(|header| header.kind != BlockKind::Idle)
            || self.commit_reports_news(headers);
        if !is_news || !self.announces(last) {
            return;
        }
        let link = CrossLink {
            header: last.clone(),
            path: Vec::new(),
            certificate: certificate.clone(),
            channels: Vec::new(),
        };
        out.push(Output::Publish {
            topic: self.chain,
            payload: encode(&Announcement::Final(Box::new(link))).into(),
        });
    }

    pub(super) fn announces(&self, header: &Header) -> bool {
        let Some((me, _)) = &self.instance.voter else {
            return false;
        };
        let members = u64::try_from(self.instance.committee.committee().members.len())
            .unwrap_or(1)
            .max(1);
        let second = header.height.get() % members;
        *me == header.proposer || u64::from(me.get()) == second
    }

    fn commit_reports_news(&self, headers: &[Header]) -> bool {
        headers
            .iter()
            .any(|header| header.report.block.height > self.last_reported)
    }

    /// A final header reports a state of ours: messages and the cross-link can go out.
    pub(super) fn on_reported(
        &mut self,
        executed: &Executed,
        proof: &ReportProof,
        out: &mut Vec<Output>,
    ) {
        self.last_reported = executed.block.height;
        if !proof.is_short() {
            return;
        }
        self.set_reporter(proof.clone(), executed.state.clone());
        if !self.chain.is_beacon() {
            let link = CrossLink {
                header: proof.header.clone(),
                path: proof.path.clone(),
                certificate: proof.certificate.clone(),
                channels: executed.channels.clone(),
            };
            self.offer_link(link, out);
        }
        let Some((me, _)) = &self.instance.voter else {
            return;
        };
        let members = self.instance.committee.committee().members.len();
        for batch in &executed.outgoing {
            if is_pusher(&batch.root(), *me, members) {
                self.push_batch(batch, out);
            }
        }
    }

    /// Gives the beacon a final header of this shard.
    pub(super) fn offer_link(&self, link: CrossLink, out: &mut Vec<Output>) {
        if self.announces(&link.header) {
            let word = Announcement::Final(Box::new(link.clone()));
            let (topic, payload) = (ChainRef::Beacon, encode(&word).into());
            out.push(Output::Publish { topic, payload });
        }
        out.push(Output::Link(Arc::new(link)));
    }

    /// What batches are proven from: the newest reported state, of a fenced shard the cross-linked one.
    fn prover(&self) -> Option<&Provable> {
        if self.own_record().is_some_and(|record| record.fenced) {
            self.linked.get()
        } else {
            self.reporter.as_ref()
        }
    }

    fn prove_batch(&self, batch: &Batch) -> Option<InboundBatch> {
        let (proof, state) = self.prover()?;
        let key = views::batch_record_key(self.chain, batch.destination, batch.first);
        views::batch_record(state, self.chain, batch.destination, batch.first)?;
        Some(InboundBatch {
            batch: batch.clone(),
            proof: BatchProof {
                header: proof.header.clone(),
                path: proof.path.clone(),
                certificate: proof.certificate.clone(),
                record: state.prove_key(&key),
            },
        })
    }

    fn push_batch(&self, batch: &Batch, out: &mut Vec<Output>) {
        let Some(inbound) = self.prove_batch(batch) else {
            return;
        };
        let payload: super::Payload = encode(&inbound).into();
        for (peer, state) in &self.peers {
            if state.chains.contains(&batch.destination) {
                out.push(Output::Send {
                    peer: *peer,
                    chain: batch.destination,
                    epoch: Epoch::ZERO,
                    kind: kind::BATCH_PUSH,
                    payload: payload.clone(),
                    after: LogPosition::ZERO,
                });
            }
        }
        // This node may itself sit on the destination.
        out.push(Output::Local {
            chain: batch.destination,
            payload,
        });
    }

    fn on_batch(&mut self, peer: Peer, payload: &[u8], out: &mut Vec<Output>) {
        if self.instance.voter.is_none() {
            return;
        }
        let Ok(inbound) = decode::<InboundBatch>(payload, BATCH_FRAME_BYTES_MAX) else {
            let how = Misbehaviour::InvalidMessage;
            return out.push(Output::Misbehaved { peer, how });
        };
        let (source, first) = (inbound.batch.source, inbound.batch.first);
        let state = &self.tree.root().executed.state;
        let cursor = views::inbound(state, self.chain, source).accepted_cursor();
        let fits = inbound.batch.destination == self.chain && source != self.chain;
        let epoch = inbound.proof.header.epoch;
        let fits = fits && self.open_epoch(source) == Some(epoch);
        let fits = fits && self.passes_fence(source, &inbound.proof);
        // What no block may hold would be in the way of all that may, however well it is proven.
        let fits = fits && check_batch_size(&inbound.batch).is_ok();
        let committee = self.committees.of(source, epoch);
        let Some(committee) = committee.filter(|_| fits).cloned() else {
            return;
        };
        let word = plain(payload);
        let is_wanted = first >= cursor && self.inbound.wants(source, first);
        if is_wanted && self.proving.begin(word, Teller::Peer(peer)) {
            out.push(Output::Work(Job::Inbound {
                word,
                committee,
                inbound: Box::new(inbound),
            }));
        }
    }

    /// A word of somebody was checked. By the same committee and state everybody finds the same, so
    /// that who says what is not true has made it up or not looked.
    pub(super) fn on_word(&mut self, word: &Digest, proven: Option<Proven>, out: &mut Vec<Output>) {
        let teller = self.proving.end(word);
        match (proven, teller) {
            (Some(Proven::Batch(inbound)), _) => self.inbound.insert(Arc::from(inbound)),
            (Some(Proven::Link(link)), _) => self.links.insert(Arc::from(link)),
            (Some(Proven::Ready(ready)), _) => self.ready.extend([ready]),
            (None, Some(Teller::Peer(peer))) => {
                let how = Misbehaviour::InvalidSignature;
                out.push(Output::Misbehaved { peer, how });
            }
            (None, Some(Teller::Gossip) | None) => {}
        }
    }

    fn on_batch_request(&mut self, peer: Peer, payload: &[u8], out: &mut Vec<Output>) {
        let Ok(request) = decode::<BatchRequest>(payload, 64) else {
            return;
        };
        if request.destination == self.chain {
            return self.serve_held(peer, (request.source, request.first), out);
        }
        if request.source != self.chain {
            return;
        }
        let batch = self
            .store
            .outgoing(request.destination, request.first)
            .ok()
            .flatten();
        let Some(inbound) = batch.and_then(|batch| self.prove_batch(&batch)) else {
            return;
        };
        let follows = self
            .peers
            .get(&peer)
            .is_some_and(|state| state.chains.contains(&request.destination));
        if follows {
            out.push(Output::Send {
                peer,
                chain: request.destination,
                epoch: Epoch::ZERO,
                kind: kind::BATCH_PUSH,
                payload: encode(&inbound).into(),
                after: LogPosition::ZERO,
            });
        }
    }

    /// Asks for batches that the beacon says were sent and that did not come.
    pub(super) fn pull_batches(&mut self, out: &mut Vec<Output>) {
        if self.instance.voter.is_none() {
            return;
        }
        let state = &self.tree.root().executed.state;
        let chain = self.chain;
        let pulls = self.inbound.pulls(self.now, |source| {
            views::inbound(state, chain, source).accepted_cursor()
        });
        for pull in pulls {
            let request = BatchRequest {
                source: pull.source,
                destination: chain,
                first: pull.first,
            };
            for holder in &pull.holders {
                self.send_peer(*holder, kind::BATCH_REQUEST, encode(&request), out);
            }
            let Some(attempt) = pull.follower else {
                continue;
            };
            let holders: Vec<Peer> = self
                .peers
                .iter()
                .filter(|(_, peer)| peer.chains.contains(&pull.source))
                .map(|(peer, _)| *peer)
                .collect();
            let count = u64::try_from(holders.len()).unwrap_or(0);
            let Some(turn) = attempt.checked_rem(count) else {
                continue;
            };
            let Some(peer) = holders.get(usize::try_from(turn).unwrap_or(0)) else {
                continue;
            };
            out.push(Output::Send {
                peer: *peer,
                chain: pull.source,
                epoch: Epoch::ZERO,
                kind: kind::BATCH_REQUEST,
                payload: encode(&request).into(),
                after: LogPosition::ZERO,
            });
        }
    }

    /// A new final beacon block: a possible reference, and news of what was sent to this shard.
    pub(super) fn on_beacon(&mut self, block: BeaconFinal) {
        if let Some(facts) = &block.facts {
            self.announce_sent(ChainRef::Beacon, &facts.beacon_channels);
            for record in &facts.shards {
                self.announce_sent(record.chain, &record.channels);
            }
        }
        self.committees = block.committees.clone();
        if let Some(feed) = &mut self.feed {
            feed.push(block, self.now);
        }
        self.settle_linked();
        self.drop_unprovable();
    }

    /// Takes note of what `source` says that it has sent here.
    fn announce_sent(&mut self, source: ChainRef, channels: &[ChannelSummary]) {
        let here = self.chain;
        let mut to_here = channels.iter().filter(|summary| summary.peer == here);
        if let Some(summary) = to_here.next().filter(|_| source != here) {
            let end = Sequence::new(summary.sent.messages);
            self.inbound.announce(source, end);
        }
    }

    /// On the beacon: what its own records of the shards say was sent to it.
    pub(super) fn announce_linked(&mut self, facts: &Facts) {
        for record in &facts.shards {
            self.announce_sent(record.chain, &record.channels);
        }
    }

    /// A final header of some shard, by gossip.
    fn consider_link(&mut self, link: CrossLink, out: &mut Vec<Output>) {
        if !self.chain.is_beacon() || self.instance.voter.is_none() || link.header.chain.is_beacon()
        {
            return;
        }
        let state = &self.tree.root().executed.state;
        let recorded = views::shard_record(state, link.header.chain);
        let is_newer = recorded.is_some_and(|record| raises(&link, &record));
        let fits = channels_root(&link.channels) == link.header.report.result.channels_root;
        let committee = self.committees.of(link.header.chain, link.header.epoch);
        let Some(committee) = committee.filter(|_| is_newer && fits).cloned() else {
            return;
        };
        let word = digest_of(&link);
        if self.links.wants(&link) && self.proving.begin(word, Teller::Gossip) {
            out.push(Output::Work(Job::Link {
                word,
                committee,
                link: Box::new(link),
            }));
        }
    }

    /// Gossip: a final header of this chain, for followers; of a shard, for the beacon; the word of a
    /// newcomer, for the beacon.
    pub(super) fn on_gossip(&mut self, payload: &[u8], out: &mut Vec<Output>) {
        match decode::<Announcement>(payload, CROSS_LINK_BYTES_MAX) {
            Ok(Announcement::Final(link)) if link.header.chain == self.chain => {
                self.sync.on_announced(link.header.height);
                self.compare_final(*link, out);
            }
            Ok(Announcement::Final(link)) => self.consider_link(*link, out),
            Ok(Announcement::Ready(ready)) => self.on_ready(ready, out),
            Err(_) => {}
        }
    }
}
