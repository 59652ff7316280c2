//! The writer of a validator's vote log: one file for all its chains, one sync for all that waits.
//!
//! A record is on its way to the disk before the vote that it holds may be sent; the chain is told
//! when it is durable. When a sync fails, nothing is answered any more, so nothing is sent.

mod first_use;
pub mod interchange;
pub mod key;

pub use first_use::{FirstUse, begin_if_first};

use crate::chain::Input;
use crate::error::NodeError;
use crate::home::ValidatorIdentity;
use crate::runner::Event;
use key::{KeyRecords, key_entry, record};
use skerry_consensus::log::{LogEntry, VoteRecord, compact};
use skerry_storage::{ChainStore, Replayed, StoreError, VoteLog, VoteLogError};
use skerry_types::codec::Version;
use skerry_types::ids::{ChainRef, Epoch, LogPosition, View};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SendError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// Records that wait for the writer.
const RECORDS_MAX: usize = 16_384;

/// Length from which a log is compacted at start.
const COMPACT_BYTES: usize = 1024 * 1024;
/// By how much it grows between compactions while the node runs: some 25,000 votes.
const GROWTH_BYTES: usize = 4 * 1024 * 1024;

/// Writes the log of a key, with these records behind the one that names the key.
///
/// # Errors
/// When there is a log already, or the file system fails.
pub fn create_log(
    path: &Path,
    key: &ValidatorIdentity,
    records: &[VoteRecord],
) -> Result<(), NodeError> {
    let first = record(ChainRef::Beacon, key_entry(key));
    let records = std::iter::once(&first).chain(records);
    let payloads: Vec<Vec<u8>> = records.map(VoteRecord::encode).collect();
    Ok(VoteLog::create(path, &payloads)?)
}

/// Opens the log of a key, for itself alone, with all its records.
///
/// # Errors
/// When the log cannot be read, is damaged, in use or of another key.
pub fn open_log(
    path: &Path,
    key: &ValidatorIdentity,
) -> Result<(VoteLog, Vec<VoteRecord>), NodeError> {
    let (log, Replayed { records, .. }) = VoteLog::open(path, &mut |_| true)?;
    let records = decode_records(path, records.iter().map(|record| &record.bytes))?;
    check_key(path, key, &records)?;
    Ok((log, records))
}

/// The log of another key says nothing of what this one has signed, so that it would sign again.
fn check_key(
    path: &Path,
    key: &ValidatorIdentity,
    records: &[VoteRecord],
) -> Result<(), NodeError> {
    let path = || path.to_owned();
    match KeyRecords::of(records).identity {
        Some(found) if found == *key => Ok(()),
        Some(found) => Err(NodeError::ForeignLog {
            path: path(),
            expected: Box::new(*key),
            actual: Box::new(found),
        }),
        None => Err(NodeError::DamagedLog {
            path: path(),
            reason: "it does not say of which key it is".to_owned(),
        }),
    }
}

/// A key's signing history, with the stores that know what of it is settled.
pub struct VoteHistory {
    log: VoteLog,
    path: PathBuf,
    stores: BTreeMap<ChainRef, Arc<ChainStore>>,
    compact_from: usize,
}

impl VoteHistory {
    /// Opens the history of a key, and compacts it when it is long. The records are those that
    /// still matter, in order.
    ///
    /// # Errors
    /// When the log cannot be read, is damaged, in use, of another key or exported to another place,
    /// or a store fails.
    pub fn open(
        path: &Path,
        key: &ValidatorIdentity,
        stores: BTreeMap<ChainRef, Arc<ChainStore>>,
    ) -> Result<(Self, Vec<VoteRecord>), NodeError> {
        let (log, mut records) = open_log(path, key)?;
        let mut history = Self {
            log,
            path: path.to_owned(),
            stores,
            compact_from: COMPACT_BYTES,
        };
        if KeyRecords::of(&records).exported_at.is_some() {
            let path = path.to_owned();
            return Err(NodeError::ExportedLog { path });
        }
        if history.is_long() {
            records = history.compact()?;
        }
        history.compact_from = history.log.length().saturating_add(GROWTH_BYTES);
        Ok((history, records))
    }

    fn is_long(&self) -> bool {
        self.log.length() >= self.compact_from
    }

    /// Replaces what lies below the final views of the stores by floors, below which the key signs
    /// nothing. A store calls final only what is durable.
    fn compact(&mut self) -> Result<Vec<VoteRecord>, NodeError> {
        let found = self.log.records()?;
        let records = decode_records(&self.path, found.iter().map(|record| &record.bytes))?;
        let mut finals = BTreeMap::new();
        for (chain, store) in &self.stores {
            match final_view(store) {
                Ok(Some((epoch, view))) => {
                    finals.insert((*chain, epoch), view);
                }
                Ok(None) => {}
                // Its records stay: the failure of one chain's database is no matter of the others.
                Err(error) => tracing::warn!(%chain, %error, "its votes are not compacted"),
            }
        }
        let (floors, kept) = settle(records, &finals);
        // Floors, and what is of the key, are durable before anything is left out.
        let known: BTreeSet<&Vec<u8>> = found.iter().map(|record| &record.bytes).collect();
        let of_key = kept.iter().filter(|record| record.entry.is_of_key());
        for record in floors.iter().chain(of_key).map(VoteRecord::encode) {
            if !known.contains(&record) {
                self.log.append(&record)?;
            }
        }
        let wanted: BTreeSet<Vec<u8>> = kept.iter().map(VoteRecord::encode).collect();
        self.log
            .compact(&mut |record| wanted.contains(&record.bytes))?;
        self.compact_from = self.log.length().saturating_add(GROWTH_BYTES);
        Ok(kept)
    }

    fn append_all(&mut self, batch: &[Record]) -> Result<(), VoteLogError> {
        for record in batch {
            self.log.append(&record.bytes)?;
        }
        self.log.sync()?;
        Ok(())
    }
}

/// Reads the records of the log at `path`.
///
/// # Errors
/// When the bytes are no records.
fn decode_records<'r>(
    path: &Path,
    records: impl Iterator<Item = &'r Vec<u8>>,
) -> Result<Vec<VoteRecord>, NodeError> {
    let decode = |bytes: &Vec<u8>| {
        VoteRecord::decode(bytes).map_err(|error| NodeError::DamagedLog {
            path: path.to_owned(),
            reason: format!("a record cannot be read: {error}"),
        })
    };
    records.map(decode).collect()
}

/// Epoch and view of a chain's newest final block.
fn final_view(store: &ChainStore) -> Result<Option<(Epoch, View)>, StoreError> {
    let Some(newest) = store.finalized() else {
        return Ok(None);
    };
    let certificate = store.certificate_at(newest.height)?;
    let header = store.header(&newest.digest)?;
    Ok(certificate
        .zip(header)
        .map(|(certificate, header)| (header.epoch, certificate.view())))
}

/// The records that matter once these views are final: what speaks of later ones of the same
/// epoch, behind floors, which are also given by themselves, and what speaks of later epochs. Those
/// before are over. Of what is of the key the newest remains.
fn settle(
    records: Vec<VoteRecord>,
    finals: &BTreeMap<(ChainRef, Epoch), View>,
) -> (Vec<VoteRecord>, Vec<VoteRecord>) {
    let mut floors = Vec::new();
    let (of_key, records): (Vec<_>, Vec<_>) = records
        .into_iter()
        .partition(|record| record.entry.is_of_key());
    let mut kept = KeyRecords::of(&of_key).records();
    for (instance, view) in finals {
        let is_own = |record: &&VoteRecord| (record.chain, record.epoch) == *instance;
        let own: Vec<VoteRecord> = records.iter().filter(is_own).cloned().collect();
        let own = if own.is_empty() {
            // Of the epochs before it something must remain: that they are over for the key.
            let (chain, epoch) = *instance;
            vec![VoteRecord {
                version: Version,
                chain,
                epoch,
                entry: LogEntry::Floor(view.next()),
            }]
        } else {
            compact(own, *view)
        };
        floors.extend(own.first().cloned());
        kept.extend(own);
    }
    // A key that has come to an epoch signs nothing in those before it.
    let is_open = |record: &VoteRecord| {
        let mut of_chain = finals.keys().filter(|(chain, _)| *chain == record.chain);
        of_chain.all(|(_, epoch)| record.epoch > *epoch)
    };
    kept.extend(records.into_iter().filter(is_open));
    (floors, kept)
}

struct Record {
    epoch: Epoch,
    position: LogPosition,
    bytes: Vec<u8>,
    back: SyncSender<Event>,
}

/// Names the file of [`VoteTrace`].
const TRACE_VARIABLE: &str = "SKERRY_TRACE_VOTES";

/// An event log for a test that joins it with the process's system calls: what became durable, and
/// what is about to be sent. Off unless the environment names a file.
#[derive(Clone, Default)]
struct VoteTrace {
    file: Option<Arc<Mutex<File>>>,
}

impl VoteTrace {
    fn start() -> std::io::Result<Self> {
        let Some(path) = std::env::var_os(TRACE_VARIABLE) else {
            return Ok(Self::default());
        };
        let file = File::options().create(true).append(true).open(path)?;
        Ok(Self {
            file: Some(Arc::new(Mutex::new(file))),
        })
    }

    /// One line, in one write; the lock makes the order of lines that of the writes.
    fn line(&self, text: impl FnOnce() -> String) {
        if let Some(file) = &self.file {
            let text = text();
            let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
            if let Err(error) = file.write_all(text.as_bytes()) {
                tracing::error!(%error, "the trace of votes cannot be written");
            }
        }
    }
}

/// Hands records to the writer.
#[derive(Clone)]
pub struct VoteWriter {
    queue: SyncSender<Record>,
    trace: VoteTrace,
    syncs: Arc<AtomicU64>,
}

impl VoteWriter {
    /// Starts the writer's thread. It ends when all handles are gone.
    ///
    /// # Errors
    /// When the system gives no more threads, or the file of a trace cannot be opened.
    pub fn start(history: VoteHistory, name: &str) -> std::io::Result<(Self, JoinHandle<()>)> {
        let (queue, records) = sync_channel(RECORDS_MAX);
        let writer = Self {
            queue,
            trace: VoteTrace::start()?,
            syncs: Arc::default(),
        };
        let (trace, syncs) = (writer.trace.clone(), writer.syncs.clone());
        let thread = std::thread::Builder::new()
            .name(format!("{name}-votes"))
            .spawn(move || write(history, &records, &trace, &syncs))?;
        Ok((writer, thread))
    }

    /// How often the log was synced since the node started, for metrics.
    pub fn syncs(&self) -> Arc<AtomicU64> {
        self.syncs.clone()
    }

    /// Traces that a message of consensus is about to be handed to the network.
    pub fn trace_send(&self, chain: ChainRef, after: LogPosition, kind: u8, payload: &[u8]) {
        let after = after.get();
        self.trace
            .line(|| format!("send {chain} {after} {kind} {}\n", hex::encode(payload)));
    }

    /// Appends a record of a chain, whose own numbering in the epoch `position` is; `back` is told
    /// when it is durable.
    pub fn append(
        &self,
        epoch: Epoch,
        position: LogPosition,
        bytes: Vec<u8>,
        back: SyncSender<Event>,
    ) {
        let record = Record {
            epoch,
            position,
            bytes,
            back,
        };
        // The writer is gone only after a failure, which not every chain has been told of. A chain
        // whose queue is full is told at its next vote.
        if let Err(SendError(record)) = self.queue.send(record) {
            let failed = Input::DiskFailed("vote log: its writer has ended".to_owned());
            let _ = record.back.try_send(Event::Input(failed));
        }
    }
}

fn write(
    mut history: VoteHistory,
    records: &Receiver<Record>,
    trace: &VoteTrace,
    syncs: &AtomicU64,
) {
    while let Ok(first) = records.recv() {
        let mut batch = vec![first];
        while let Ok(next) = records.try_recv() {
            batch.push(next);
        }
        if let Err(error) = history.append_all(&batch) {
            fail(&error, batch.iter().map(|record| &record.back));
            return;
        }
        syncs.store(history.log.syncs(), Ordering::Relaxed);
        let mut backs = Vec::with_capacity(batch.len());
        for record in batch {
            let position = record.position.get();
            trace.line(|| format!("durable {position} {}\n", hex::encode(&record.bytes)));
            let (epoch, position) = (record.epoch, record.position);
            let durable = Input::Durable { epoch, position };
            let _ = record.back.send(Event::Input(durable));
            backs.push(record.back);
        }
        if history.is_long()
            && let Err(error) = history.compact()
        {
            fail(&error, backs.iter());
            return;
        }
    }
}

/// Tells the chains that nothing will become durable any more.
fn fail<'b>(error: &dyn std::error::Error, backs: impl Iterator<Item = &'b SyncSender<Event>>) {
    tracing::error!(%error, "the vote log failed; this validator votes no more");
    for back in backs {
        let failed = Input::DiskFailed(format!("vote log: {error}"));
        let _ = back.send(Event::Input(failed));
    }
}

#[cfg(test)]
mod tests;
