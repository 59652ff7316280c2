//! One node: what survives a crash, and what runs between two crashes.
//!
//! [`Machine::start`] does what `assemble.rs` of the node does: opens the vote log and the stores,
//! hands each chain its part of the log, and starts all chains that the node follows.

use crate::adversary::Adversary;
use crate::disk::{LogFile, StoreWriter, Trap, VoteWriter};
use crate::plan::{EPOCH_MS, Loss, MILLI, Plan, Planted};
use skerry::assemble::beacon_start;
use skerry::beacon::BeaconFeed;
use skerry::chain::jobs::Shared;
use skerry::chain::{ChainNode, Setup, beacon_archive, beacon_points};
use skerry::mempool::MempoolLimits;
use skerry::snapshot::check::{Checkpoint, Trust};
use skerry::snapshot::join::{self, Join, Place};
use skerry::snapshot::pins::Pins;
use skerry::votes::key::{record, records_for};
use skerry_consensus::log::{LogEntry, VoteRecord};
use skerry_consensus::status::Tally;
use skerry_storage::{ChainStore, Identity, MemoryBackend, VoteLog, VoteLogError};
use skerry_types::crypto::bls::{PublicKey, SecretKey};
use skerry_types::genesis::Genesis;
use skerry_types::ids::{ChainRef, Epoch, Height, LogPosition, MemberIndex, TimeMs, ValidatorId};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Kinds of jobs that do not wait for each other.
pub const LANES: usize = 4;

/// Size of the chunks of a snapshot: small, so that taking over a state can be interrupted.
const CHUNK_BYTES: usize = 400;

/// One chain of a running node.
pub struct Chain {
    /// The code under test.
    pub node: ChainNode,
    /// Its store.
    pub store: Arc<ChainStore>,
    /// Its disk thread.
    pub disk: StoreWriter,
    /// Until when each kind of worker is busy.
    pub lanes: [u64; LANES],
    /// When a tick is due, as it stands in the queue.
    pub tick_at: Option<u64>,
    /// How often its core took which way, as it was last counted.
    pub tally: Tally,
    /// Height of the newest block that readers saw.
    pub settled: Height,
    /// The newest position of the vote log, in each epoch, that was really synced.
    pub synced: BTreeMap<Epoch, LogPosition>,
}

/// What runs.
pub struct Running {
    /// The chains, the beacon first.
    pub chains: BTreeMap<ChainRef, Chain>,
    /// The vote log, on a validator.
    pub votes: Option<VoteWriter>,
    /// The states that it serves to others.
    pub pins: Pins,
}

/// What a start found in the vote log.
#[derive(Debug, Default)]
pub struct Found {
    /// Its records.
    pub records: Vec<VoteRecord>,
    /// Bytes of a torn record that was cut off.
    pub torn_bytes: usize,
}

/// A node.
pub struct Machine {
    /// Its validator, unless it is a follower.
    pub validator: Option<ValidatorId>,
    /// The chains that it follows.
    pub follows: Vec<ChainRef>,
    /// Deviation of its clock, in microseconds.
    pub skew: i64,
    /// Counts restarts.
    pub generation: u32,
    /// What runs now; nothing while the power is gone, or before it has joined.
    pub running: Option<Running>,
    /// How it joins by snapshot, before its chains run.
    pub joining: Option<Join>,
    /// What makes it Byzantine.
    pub adversary: Option<Adversary>,
    /// The vote log is gone, and has not been declared lost yet.
    lacks_log: bool,
    secret: Option<SecretKey>,
    log: LogFile,
    disks: BTreeMap<ChainRef, Arc<MemoryBackend>>,
}

impl Machine {
    /// A node that was never started: validator `index`, or a follower beyond the last.
    pub fn new(plan: &Plan, index: usize) -> Self {
        let secret = plan.keys.get(index).cloned();
        let validator = secret
            .is_some()
            .then(|| ValidatorId::new(u32::try_from(index).unwrap_or(u32::MAX)));
        let follows: Vec<ChainRef> = plan
            .genesis
            .chains()
            .into_iter()
            .filter(|chain| {
                let sits = validator.is_none_or(|id| {
                    plan.genesis
                        .committee(*chain)
                        .is_some_and(|c| c.index_of(id).is_some())
                });
                // Where committees change, any chain may be next.
                chain.is_beacon() || sits || plan.genesis.parameters.epoch_ms > 0
            })
            .collect();
        let disks = follows
            .iter()
            .map(|chain| (*chain, Arc::new(MemoryBackend::new())))
            .collect();
        let skew = plan.skew_ms.get(index).copied().unwrap_or(0);
        Self {
            validator,
            follows,
            skew: skew.saturating_mul(1000),
            generation: 0,
            running: None,
            joining: None,
            adversary: None,
            lacks_log: false,
            secret,
            log: LogFile::default(),
            disks,
        }
    }

    /// The node's clock at a virtual time.
    pub fn clock(&self, now: u64) -> TimeMs {
        let base = EPOCH_MS.saturating_mul(MILLI).saturating_add(now);
        TimeMs::new(
            base.saturating_add_signed(self.skew)
                .checked_div(MILLI)
                .unwrap_or(0),
        )
    }

    /// The virtual time at which the node's clock shows `time`.
    pub fn moment(&self, time: TimeMs) -> u64 {
        let local = time.get().saturating_mul(MILLI);
        local
            .saturating_add_signed(self.skew.saturating_neg())
            .saturating_sub(EPOCH_MS.saturating_mul(MILLI))
    }

    /// Whether the power is on.
    pub fn is_up(&self) -> bool {
        self.running.is_some() || self.joining.is_some()
    }

    /// Whether it is not Byzantine.
    pub fn is_honest(&self) -> bool {
        self.adversary.is_none()
    }

    /// Which member of a chain's committee it is.
    pub fn member(&self, genesis: &Genesis, chain: ChainRef) -> Option<MemberIndex> {
        genesis.committee(chain)?.index_of(self.validator?)
    }

    /// The vote key that it shows its peers.
    pub fn key(&self) -> Option<PublicKey> {
        self.secret.as_ref().map(SecretKey::public_key)
    }

    /// Starts it from what survived.
    ///
    /// # Errors
    /// What the node says that does not let it start.
    pub fn start(&mut self, plan: &Plan, shared: &Arc<Shared>, now: u64) -> Result<Found, String> {
        self.generation = self.generation.saturating_add(1);
        let genesis = Arc::new(plan.genesis.clone());
        let start = beacon_start(&genesis, shared);
        let (votes, found) = self.open_log(plan, now)?;
        let records = &found.records;
        let mut chains = BTreeMap::new();
        let mut points = Vec::new();
        let mut archive = None;
        for chain in &self.follows {
            let chain = *chain;
            let Some(disk) = self.disks.get(&chain) else {
                continue;
            };
            let trap = Arc::new(Trap::default());
            let identity = Identity {
                chain_id: shared.chain_id,
                chain,
            };
            let store = ChainStore::open_with(disk.clone(), identity, trap.clone())
                .map_err(|error| format!("store of {chain}: {error}"))?;
            let store = Arc::new(store);
            // The beacon comes first in the order of chains.
            if chain.is_beacon() {
                points = beacon_points(&store, &start).map_err(|error| error.to_string())?;
            }
            let archive = archive.get_or_insert_with(|| beacon_archive(store.clone()));
            let feed = (!chain.is_beacon())
                .then(|| BeaconFeed::new(points.clone(), start.clone(), archive.clone()));
            let log = records_for(records, chain);
            let mut synced: BTreeMap<Epoch, LogPosition> = BTreeMap::new();
            for record in log.iter().filter(|record| !record.entry.is_of_key()) {
                let position = synced.entry(record.epoch).or_default();
                *position = position.next();
            }
            let node = ChainNode::new(
                Setup {
                    chain,
                    genesis: genesis.clone(),
                    shared: shared.clone(),
                    store: store.clone(),
                    secret: self.secret.clone(),
                    log,
                    mempool: MempoolLimits::default(),
                    beacon: feed,
                    checkpoint: None,
                },
                self.clock(now),
            )
            .map_err(|error| format!("{chain}: {error}"))?;
            let forgets = plan.planted == Some(Planted::StoreForgets) && self.validator.is_some();
            let settled = node.snapshot().executed.height;
            let disk = StoreWriter::new(store.clone(), trap, forgets);
            let lanes = [now; LANES];
            chains.insert(
                chain,
                Chain {
                    node,
                    store,
                    disk,
                    lanes,
                    tally: Tally::default(),
                    tick_at: None,
                    settled,
                    synced,
                },
            );
        }
        let stores = chains.iter().map(|(chain, it)| (*chain, it.store.clone()));
        let pins = Pins::new(shared.network.clone(), stores.collect());
        self.running = Some(Running {
            chains,
            votes,
            pins: pins.with_chunks_of(CHUNK_BYTES),
        });
        Ok(found)
    }

    /// Begins to look whether others are far ahead, with so many configured peers.
    ///
    /// # Errors
    /// When a store cannot be used.
    pub fn begin_join(
        &mut self,
        plan: &Plan,
        shared: &Arc<Shared>,
        now: u64,
        (peers, checkpoint): (usize, Option<Checkpoint>),
    ) -> Result<(), String> {
        self.generation = self.generation.saturating_add(1);
        let mut places = Vec::new();
        for chain in &self.follows {
            let Some(disk) = self.disks.get(chain) else {
                continue;
            };
            let identity = Identity {
                chain_id: shared.chain_id,
                chain: *chain,
            };
            let store = ChainStore::open(disk.clone(), identity)
                .map_err(|error| format!("store of {chain}: {error}"))?;
            places.push(Place {
                chain: *chain,
                store: Arc::new(store),
                above: plan.snapshot_above,
            });
        }
        let beacon = places.first().ok_or("it follows no beacon")?;
        let genesis = Arc::new(plan.genesis.clone());
        let trust = Trust::new(&genesis, &beacon.store, &shared.scheme, checkpoint);
        let setup = join::Setup {
            trust: trust.map_err(|error| error.to_string())?,
            places,
            peers,
            chunk_bytes: CHUNK_BYTES,
        };
        self.joining = Some(Join::new(setup, self.clock(now)));
        Ok(())
    }

    /// The newest epoch of the beacon that it holds, for an operator to vouch for.
    pub fn checkpoint(&self, plan: &Plan, shared: &Arc<Shared>) -> Option<Checkpoint> {
        let beacon = self.store(ChainRef::Beacon, shared)?;
        let genesis = Arc::new(plan.genesis.clone());
        let trust = Trust::new(&genesis, &beacon, &shared.scheme, None);
        trust.ok().map(|trust| trust.checkpoint())
    }

    /// What it holds of a chain, whether it runs or not.
    pub fn store(&self, chain: ChainRef, shared: &Arc<Shared>) -> Option<Arc<ChainStore>> {
        let running = self.running.as_ref();
        if let Some(state) = running.and_then(|running| running.chains.get(&chain)) {
            return Some(state.store.clone());
        }
        let disk = self.disks.get(&chain)?.clone();
        let identity = Identity {
            chain_id: shared.chain_id,
            chain,
        };
        ChainStore::open(disk, identity).ok().map(Arc::new)
    }

    fn open_log(&mut self, plan: &Plan, now: u64) -> Result<(Option<VoteWriter>, Found), String> {
        if self.secret.is_none() {
            return Ok((None, Found::default()));
        }
        if plan.planted == Some(Planted::LogForgotten) && self.generation > 1 {
            self.log.wipe();
        }
        if self.lacks_log {
            // The command leaves a log that says so, or none: then it is given again.
            self.log.wipe();
            self.declare_lost(now).map_err(|error| error.to_string())?;
            self.lacks_log = false;
        }
        let (log, replayed) = VoteLog::open_device(Box::new(self.log.clone()), &mut |_| true)
            .map_err(|error| format!("vote log: {error}"))?;
        let mut records = replayed
            .records
            .iter()
            .map(|record| VoteRecord::decode(&record.bytes).map_err(|error| error.to_string()))
            .collect::<Result<Vec<_>, _>>()?;
        if !self.is_honest() {
            // Nothing keeps a Byzantine node quiet.
            records.retain(|record| !record.entry.is_of_key());
        }
        let found = Found {
            records,
            torn_bytes: replayed.torn_bytes,
        };
        Ok((Some(VoteWriter::new(self.log.clone(), log)), found))
    }

    /// What `skerry keys votes lost` does.
    fn declare_lost(&self, now: u64) -> Result<(), VoteLogError> {
        let (mut log, _) = VoteLog::open_device(Box::new(self.log.clone()), &mut |_| true)?;
        let at = self.clock(now);
        log.extend(&[record(ChainRef::Beacon, LogEntry::Lost { at }).encode()])
    }

    /// The disk loses something, while the power is gone.
    pub fn lose(&mut self, what: Loss) {
        if what != Loss::Data {
            self.log.wipe();
            self.lacks_log = true;
        }
        if what != Loss::Log {
            for disk in self.disks.values_mut() {
                *disk = Arc::new(MemoryBackend::new());
            }
        }
    }

    /// The vote log's file.
    pub fn log(&self) -> &LogFile {
        &self.log
    }

    /// The disk of a chain's store.
    pub fn disk(&self, chain: ChainRef) -> Option<&Arc<MemoryBackend>> {
        self.disks.get(&chain)
    }
}
