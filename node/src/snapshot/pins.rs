//! Which states a node keeps for those that join, and what it answers them.
//!
//! A *base* is a working block whose result is proven from the beacon: the beacon's own once a final
//! header reports it, a shard's once the beacon has cross-linked it. Of each span of time the first
//! base is pinned, so that nodes which saw the same blocks serve the same ones. A pin is given up
//! after two epochs whoever reads it, so that nobody can keep old states in memory; and before that
//! when there are too many, but never while somebody is reading it. Where all are being read there is
//! no new one.
//!
//! A pinned state shares with the newest one all that has not changed since, so it costs memory for
//! what changed. Pins are not on the disk: a node that restarts serves the bases that it sees from
//! then on. Nothing here runs on a chain's thread.

use super::frames::{
    BASES_MAX, BATCHES_BYTES, BaseProof, Offer, OfferedBase, Reply, Request, SEALS_PER_REPLY,
    ShardProof,
};
use crate::chain::Reported;
use crate::view::seals_of;
use skerry_execution::network::NetworkInfo;
use skerry_execution::views;
use skerry_storage::{ChainStore, StateTree, StoreError};
use skerry_types::beacon::ShardRecord;
use skerry_types::block::BlockRef;
use skerry_types::evidence::FinalHeader;
use skerry_types::ids::{ChainRef, Epoch, Height, Sequence, TimeMs};
use skerry_types::limits::CHUNK_BYTES;
use skerry_types::merkle::KeyProof;
use skerry_types::message::Batch;
use skerry_types::state::StateKey;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Pins of a chain that nobody reads; older ones give way.
pub const PINS_MAX: usize = 4;
/// Pins of a chain in all, those that are read included.
const PINS_READ_MAX: usize = BASES_MAX;
/// A pin that was asked for within this time is being read.
const READ_MS: u64 = 30_000;
/// States of a shard that wait for their cross-link.
const RECENT_MAX: usize = 64;
/// Shortest and longest span of which one base is pinned.
const SPAN_MS_MIN: u64 = 1_000;
const SPAN_MS_MAX: u64 = 60_000;
/// The span, and how long a pin is kept at most, where epochs never end.
const SPAN_MS_ENDLESS: u64 = 10_000;
const KEPT_MS_ENDLESS: u64 = 3_600_000;
/// Spans of an epoch; at most [`SPAN_MS_MAX`] long.
const SPANS_PER_EPOCH: u64 = 4;
/// Epochs for which a pin is kept at most.
const EPOCHS_KEPT: u64 = 2;
/// Least limit of the time for which a pin is kept: a state cannot be read within epochs of seconds.
const KEPT_MS_MIN: u64 = 60_000;

/// A state of a shard that is not cross-linked yet.
struct Recent {
    block: BlockRef,
    state: StateTree,
}

/// A state that is served.
struct Pin {
    block: BlockRef,
    state: StateTree,
    /// The beacon's header that proves it.
    beacon: FinalHeader,
    /// A shard's record in the state of the beacon that this header reports, and that state.
    record: Option<(ShardRecord, StateTree)>,
    time: TimeMs,
    read_at: TimeMs,
    /// Put together when all that it needs is in the stores.
    proof: Option<Box<BaseProof>>,
}

#[derive(Default)]
struct ChainPins {
    recent: VecDeque<Recent>,
    pins: VecDeque<Pin>,
    /// The span of the newest pin.
    span: Option<u64>,
}

/// The pins of a node.
pub struct Pins {
    network: Arc<NetworkInfo>,
    stores: BTreeMap<ChainRef, Arc<ChainStore>>,
    chains: BTreeMap<ChainRef, ChainPins>,
    chunk_bytes: usize,
}

impl Pins {
    /// Of a node that follows the chains of these stores; nothing is pinned.
    pub fn new(network: Arc<NetworkInfo>, stores: BTreeMap<ChainRef, Arc<ChainStore>>) -> Self {
        let chains = stores.keys().map(|chain| (*chain, ChainPins::default()));
        Self {
            network,
            chains: chains.collect(),
            stores,
            chunk_bytes: CHUNK_BYTES,
        }
    }

    /// With chunks of another size: all servers of a network must have the same.
    #[must_use]
    pub fn with_chunks_of(self, chunk_bytes: usize) -> Self {
        Self {
            chunk_bytes,
            ..self
        }
    }

    fn kept_ms(&self) -> u64 {
        match self.network.parameters.epoch_ms {
            0 => KEPT_MS_ENDLESS,
            epoch_ms => epoch_ms.saturating_mul(EPOCHS_KEPT).max(KEPT_MS_MIN),
        }
    }

    /// A final header reports a state.
    pub fn on_reported(&mut self, chain: ChainRef, reported: &Reported) {
        let Reported {
            executed,
            header,
            path,
            certificate,
        } = reported;
        let (block, state) = (executed.block, executed.state.for_keeping());
        if !chain.is_beacon() {
            if let Some(pins) = self.chains.get_mut(&chain) {
                pins.recent.push_back(Recent { block, state });
                if pins.recent.len() > RECENT_MAX {
                    pins.recent.pop_front();
                }
            }
            return;
        }
        let time = header.time;
        let span = time
            .get()
            .checked_div(span_ms(self.network.parameters.epoch_ms));
        let kept_ms = self.kept_ms();
        let beacon = FinalHeader {
            header: header.clone(),
            path: path.clone(),
            certificate: certificate.clone(),
        };
        for (chain, pins) in &mut self.chains {
            pins.expire(time, kept_ms);
            let is_due = pins.span < span && pins.has_room(time);
            if chain.is_beacon() {
                if is_due {
                    pins.span = span;
                    pins.add(Pin::new(block, state.clone(), beacon.clone(), None));
                }
            } else if let Some(record) = views::shard_record(&state, *chain) {
                let linked = pins.take_linked(&record);
                if let Some(linked) = linked.filter(|_| is_due) {
                    pins.span = span;
                    let record = Some((record, state.clone()));
                    pins.add(Pin::new(linked.block, linked.state, beacon.clone(), record));
                }
            }
            pins.make_room(time);
        }
    }

    /// Answers a request of a peer; nothing where the chain is not followed or the store fails.
    pub fn answer(&mut self, chain: ChainRef, request: Request, now: TimeMs) -> Option<Reply> {
        let store = self.stores.get(&chain)?.clone();
        let reply = match request {
            Request::Offer => Reply::Offer(self.offer(chain, &store)),
            Request::Seals(from) => {
                let beacon = self.stores.get(&ChainRef::Beacon)?;
                Reply::Seals(seals_of(beacon, from, SEALS_PER_REPLY).ok()?)
            }
            Request::Base(block) => {
                let pin = self.find(chain, now, |pin| pin.block == block);
                Reply::Base(pin.and_then(|pin| pin.proof.clone()))
            }
            Request::Chunk { root, after } => {
                let bytes = self.chunk_bytes;
                let pin = self.find(chain, now, |pin| pin.state.root() == root);
                Reply::Chunk(pin.and_then(|pin| pin.state.chunk(after.as_ref(), bytes)))
            }
            Request::Batches {
                root,
                destination,
                first,
            } => {
                let pin = self.find(chain, now, |pin| pin.state.root() == root);
                let state = pin.map(|pin| pin.state.clone());
                let batches = match state {
                    None => None,
                    Some(state) => batches(&store, &state, (chain, destination), first).ok()?,
                };
                Reply::Batches(batches)
            }
        };
        Some(reply)
    }

    fn find(
        &mut self,
        chain: ChainRef,
        now: TimeMs,
        is_it: impl Fn(&Pin) -> bool,
    ) -> Option<&mut Pin> {
        let pins = &mut self.chains.get_mut(&chain)?.pins;
        let pin = pins.iter_mut().rev().find(|pin| is_it(pin))?;
        pin.read_at = now;
        Some(pin)
    }

    fn offer(&mut self, chain: ChainRef, store: &ChainStore) -> Offer {
        let held = store.finalized().map_or(Height::ZERO, |block| block.height);
        let mut offer = Offer {
            held,
            bases: Vec::new(),
        };
        let Some(pins) = self.chains.get_mut(&chain) else {
            return offer;
        };
        for pin in &mut pins.pins {
            if pin.proof.is_none() {
                // A store that cannot be read says so elsewhere.
                pin.proof = pin.prove(chain, store).ok().flatten().map(Box::new);
            }
            if pin.proof.is_some() {
                offer.bases.push(OfferedBase {
                    block: pin.block,
                    root: pin.state.root(),
                    epoch: pin.beacon.header.epoch,
                });
            }
        }
        offer
    }

    /// Bases that are pinned now, of all chains.
    pub fn len(&self) -> usize {
        self.chains.values().map(|chain| chain.pins.len()).sum()
    }

    /// Whether nothing is pinned.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl ChainPins {
    /// The waiting state that a cross-link names; older ones are forgotten.
    fn take_linked(&mut self, record: &ShardRecord) -> Option<Recent> {
        while let Some(oldest) = self.recent.front() {
            if oldest.block.height >= record.reported.height {
                break;
            }
            self.recent.pop_front();
        }
        let linked = self.recent.front()?;
        let fits = linked.block == record.reported && linked.state.root() == record.state_root;
        fits.then(|| Recent {
            block: linked.block,
            state: linked.state.clone(),
        })
    }

    fn add(&mut self, pin: Pin) {
        if self.pins.back().is_none_or(|last| last.block != pin.block) {
            self.pins.push_back(pin);
        }
    }

    /// Gives up what is too old.
    fn expire(&mut self, now: TimeMs, kept_ms: u64) {
        self.pins.retain(|pin| now.above(pin.time) <= kept_ms);
    }

    /// Whether there is a place, or one whose state nobody is reading.
    fn has_room(&self, now: TimeMs) -> bool {
        self.pins.len() < PINS_READ_MAX || self.pins.iter().any(|pin| !pin.is_read(now))
    }

    /// Gives up the oldest that nobody is reading while there are too many of those, or too many in
    /// all. The newest stays: nobody can have asked for it yet.
    fn make_room(&mut self, now: TimeMs) {
        loop {
            let last = self.pins.len().saturating_sub(1);
            let mut unread = self.pins.iter().take(last).enumerate();
            let oldest = unread.find(|(_, pin)| !pin.is_read(now));
            let Some(oldest) = oldest.map(|(position, _)| position) else {
                return;
            };
            let unread = self.pins.iter().filter(|pin| !pin.is_read(now)).count();
            if unread <= PINS_MAX && self.pins.len() <= PINS_READ_MAX {
                return;
            }
            self.pins.remove(oldest);
        }
    }
}

impl Pin {
    fn new(
        block: BlockRef,
        state: StateTree,
        beacon: FinalHeader,
        record: Option<(ShardRecord, StateTree)>,
    ) -> Self {
        Self {
            block,
            state,
            time: beacon.header.time,
            beacon,
            record,
            read_at: TimeMs::ZERO,
            proof: None,
        }
    }

    /// Whether somebody asked for it a short while ago.
    fn is_read(&self, now: TimeMs) -> bool {
        self.read_at > TimeMs::ZERO && now.above(self.read_at) <= READ_MS
    }

    /// What proves the base, once the stores have it; never where the block got no finalization of
    /// its own.
    fn prove(&self, chain: ChainRef, store: &ChainStore) -> Result<Option<BaseProof>, StoreError> {
        let Some(header) = store.header(&self.block.digest)? else {
            return Ok(None);
        };
        let certificate = match store.digest_at(self.block.height)? {
            Some(digest) if digest == self.block.digest => {
                store.certificate_at(self.block.height)?
            }
            _ => None,
        };
        let Some(certificate) = certificate else {
            return Ok(None);
        };
        let seal = match store.epoch(header.epoch)? {
            Some(row) => store.header(&row.seal.digest)?,
            None => None,
        };
        if seal.is_none() && header.epoch > Epoch::ZERO {
            return Ok(None);
        }
        let reporter = match &self.record {
            None => Some(self.beacon.header.clone()),
            Some((record, _)) => store.header(&record.header.digest)?,
        };
        let Some(reporter) = reporter else {
            return Ok(None);
        };
        let shard = match &self.record {
            None => None,
            Some((_, beacon)) => {
                let shard = prove_shard(beacon, chain, header.epoch);
                if shard.is_none() {
                    return Ok(None);
                }
                shard
            }
        };
        Ok(Some(BaseProof {
            header,
            certificate,
            seal,
            reporter,
            beacon: self.beacon.clone(),
            shard,
        }))
    }
}

/// The span of which one base is pinned, in a network with epochs of this length.
pub(super) fn span_ms(epoch_ms: u64) -> u64 {
    match epoch_ms {
        0 => SPAN_MS_ENDLESS,
        _ => (epoch_ms / SPANS_PER_EPOCH).clamp(SPAN_MS_MIN, SPAN_MS_MAX),
    }
}

/// What a state of the beacon shows of a shard and of its committee in an epoch; `None` where the beacon
/// keeps that committee no more, as of a shard that is overdue.
fn prove_shard(beacon: &StateTree, chain: ChainRef, epoch: Epoch) -> Option<ShardProof> {
    let present = |key: &StateKey| {
        let proof = beacon.prove_key(key);
        matches!(proof, KeyProof::Present { .. }).then_some(proof)
    };
    let record = present(&views::shard_record_key(chain))?;
    let epoch = if epoch > Epoch::ZERO {
        let committee = present(&views::committee_key(chain, epoch))?;
        let instance = present(&views::instance_key(chain, epoch))?;
        Some((committee, instance))
    } else {
        None
    };
    Some(ShardProof { record, epoch })
}

/// Consecutive batches that the state records as sent and not acknowledged, from `first` on.
fn batches(
    store: &ChainStore,
    state: &StateTree,
    (source, destination): (ChainRef, ChainRef),
    first: Sequence,
) -> Result<Option<Vec<Batch>>, StoreError> {
    let (mut found, mut bytes, mut at) = (Vec::new(), 0_u64, first);
    let most = u64::try_from(BATCHES_BYTES).unwrap_or(u64::MAX);
    while bytes < most {
        let Some(record) = views::batch_record(state, source, destination, at) else {
            break;
        };
        let Some(batch) = store.outgoing(destination, at)? else {
            break;
        };
        let size = batch.message_bytes();
        if !found.is_empty() && bytes.saturating_add(size) > most {
            break;
        }
        bytes = bytes.saturating_add(size);
        at = at.saturating_add(u64::from(record.count.max(1)));
        found.push(batch);
    }
    Ok((!found.is_empty()).then_some(found))
}

#[cfg(test)]
mod tests;
