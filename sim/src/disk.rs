//! Disks that take time and forget what was not synced.
//!
//! A validator's vote log is written as the node's own writer does it: all records that wait go
//! into one batch with one sync. Each chain's store carries out one operation after the other. What
//! is under way when the power goes may be lost, torn, or done without anybody knowing.

use crate::random::Random;
use skerry::chain::CommitRequest;
use skerry_storage::{
    ChainStore, CrashPoint, CrashPoints, Durability, LogDevice, MemoryDevice, StoreError, VoteLog,
    VoteLogError,
};
use skerry_types::block::Header;
use skerry_types::ids::{ChainRef, Digest, Epoch, Height, LogPosition};
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

/// A vote log's device whose sync can be interrupted by a power cut.
#[derive(Clone, Debug, Default)]
pub struct LogFile {
    device: MemoryDevice,
    cut: Arc<AtomicBool>,
}

impl LogFile {
    /// The power is gone: what was appended and not synced is torn as `seed` has it.
    pub fn crash(&self, seed: u64) {
        self.cut.store(false, Ordering::Relaxed);
        self.device.crash(seed);
    }

    /// From now on nothing can be written until the next crash.
    pub fn fail(&self) {
        self.device.fail();
    }

    /// Forgets everything.
    pub fn wipe(&self) {
        self.device.set_contents(Vec::new());
    }
}

impl LogDevice for LogFile {
    fn read(&mut self) -> io::Result<Vec<u8>> {
        self.device.read()
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.device.append(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        if self.cut.load(Ordering::Relaxed) {
            return Err(io::Error::other("the power went"));
        }
        self.device.sync()
    }

    fn truncate(&mut self, length: usize) -> io::Result<()> {
        self.device.truncate(length)
    }

    fn replace(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.device.replace(bytes)
    }
}

/// Where a record of a vote log stands among those of its instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogPlace {
    /// The chain.
    pub chain: ChainRef,
    /// The epoch.
    pub epoch: Epoch,
    /// Position within chain and epoch.
    pub position: LogPosition,
}

/// A record for a chain.
#[derive(Debug)]
struct Record {
    place: LogPlace,
    bytes: Vec<u8>,
}

/// The writer of a validator's vote log.
#[derive(Debug)]
pub struct VoteWriter {
    file: LogFile,
    log: VoteLog,
    waiting: Vec<Record>,
    batch: Vec<Record>,
    writing: bool,
    failed: bool,
}

impl VoteWriter {
    /// Writes to an open log.
    pub fn new(file: LogFile, log: VoteLog) -> Self {
        let (waiting, batch) = (Vec::new(), Vec::new());
        Self {
            file,
            log,
            waiting,
            batch,
            writing: false,
            failed: false,
        }
    }

    /// Takes a record; true when a write is to be started.
    pub fn push(&mut self, place: LogPlace, bytes: Vec<u8>) -> bool {
        self.waiting.push(Record { place, bytes });
        !self.writing && !self.failed
    }

    /// Starts to write what waits.
    ///
    /// # Errors
    /// When the log refuses.
    pub fn start(&mut self) -> Result<(), VoteLogError> {
        self.writing = true;
        self.batch = std::mem::take(&mut self.waiting);
        for record in &self.batch {
            self.log.append(&record.bytes)?;
        }
        Ok(())
    }

    /// Ends the write: what is durable now, or why it failed with the chains to be told;
    /// and whether the next write is to be started.
    pub fn finish(&mut self) -> (Result<Vec<LogPlace>, String>, Vec<ChainRef>, bool) {
        self.writing = false;
        let batch = std::mem::take(&mut self.batch);
        let chains = batch.iter().map(|record| record.place.chain).collect();
        match self.log.sync() {
            Ok(_) => {
                let durable = batch.iter().map(|record| record.place).collect();
                (Ok(durable), chains, !self.waiting.is_empty())
            }
            Err(error) => {
                self.failed = true;
                (Err(error.to_string()), chains, false)
            }
        }
    }

    /// The power goes. True when a write was under way.
    pub fn crash(mut self, seed: u64) -> bool {
        let torn = self.writing;
        if torn {
            // The bytes are on their way; the sync never returns.
            self.file.cut.store(true, Ordering::Relaxed);
            let _ = self.log.sync();
        }
        self.file.crash(seed);
        torn
    }
}

/// Where the process is to stop, if anywhere.
#[derive(Debug, Default)]
pub struct Trap {
    /// Position in [`CrashPoint::ALL`] and one.
    at: AtomicU8,
}

impl Trap {
    /// Stops the process at a point.
    pub fn set(&self, point: CrashPoint) {
        let position = CrashPoint::ALL
            .iter()
            .position(|other| *other == point)
            .unwrap_or(0);
        let position = u8::try_from(position).unwrap_or(0).saturating_add(1);
        self.at.store(position, Ordering::Relaxed);
    }
}

impl CrashPoints for Trap {
    fn stops_at(&self, point: CrashPoint) -> bool {
        let at = self.at.load(Ordering::Relaxed);
        let set = at
            .checked_sub(1)
            .and_then(|at| CrashPoint::ALL.get(usize::from(at)));
        set == Some(&point)
    }
}

/// An operation of a store.
pub enum StoreJob {
    /// Block bytes.
    Blocks {
        /// Digest of the header.
        digest: Digest,
        /// The header.
        header: Arc<Header>,
        /// The body.
        body: Arc<[u8]>,
    },
    /// Finality and states.
    Commit(CommitRequest),
}

/// What a finished operation answers.
pub enum StoreDone {
    /// These blocks are durable.
    Stored(Vec<Digest>),
    /// A commit is: newest final height in it, newest state.
    Committed(Height, Height),
}

/// The disk thread of one chain.
pub struct StoreWriter {
    store: Arc<ChainStore>,
    trap: Arc<Trap>,
    queue: VecDeque<StoreJob>,
    busy: bool,
    failed: bool,
    /// Forgets what it is to write, and says that it did: a planted bug.
    forgets: bool,
}

/// Where in a store operation a crash fell, as it is counted.
pub type CrashKind = &'static str;

impl StoreWriter {
    /// Writes to an open store.
    pub fn new(store: Arc<ChainStore>, trap: Arc<Trap>, forgets: bool) -> Self {
        Self {
            store,
            trap,
            queue: VecDeque::new(),
            busy: false,
            failed: false,
            forgets,
        }
    }

    /// Takes an operation; true when it is to be started.
    pub fn push(&mut self, job: StoreJob) -> bool {
        self.queue.push_back(job);
        let starts = !self.busy && !self.failed;
        self.busy |= starts;
        starts
    }

    /// Carries out the operation at the front of the queue, with block bytes that wait behind
    /// block bytes; and says whether the next one is to be started.
    pub fn finish(&mut self) -> (Result<StoreDone, StoreError>, bool) {
        let result = self.run();
        self.failed |= result.is_err();
        self.busy = !self.queue.is_empty() && !self.failed;
        (result, self.busy)
    }

    fn run(&mut self) -> Result<StoreDone, StoreError> {
        match self.queue.pop_front() {
            None => Ok(StoreDone::Committed(Height::ZERO, Height::ZERO)),
            Some(StoreJob::Commit(request)) => {
                if !self.forgets {
                    skerry::runner::commit(&self.store, &request)?;
                }
                let finalized = request.finalized.last().map(|(block, _)| block.height);
                let state = request.states.last().map(|executed| executed.block.height);
                Ok(StoreDone::Committed(
                    finalized.unwrap_or_default(),
                    state.unwrap_or_default(),
                ))
            }
            Some(StoreJob::Blocks {
                digest,
                header,
                body,
            }) => {
                let mut blocks = vec![(digest, header, body)];
                while let Some(StoreJob::Blocks { .. }) = self.queue.front() {
                    let Some(StoreJob::Blocks {
                        digest,
                        header,
                        body,
                    }) = self.queue.pop_front()
                    else {
                        break;
                    };
                    blocks.push((digest, header, body));
                }
                let rows: Vec<(Digest, &Header, &[u8])> = blocks
                    .iter()
                    .map(|(digest, header, body)| (*digest, &**header, &**body))
                    .collect();
                if !self.forgets {
                    self.store.put_blocks(&rows, Durability::Synced)?;
                }
                Ok(StoreDone::Stored(
                    blocks.iter().map(|(digest, ..)| *digest).collect(),
                ))
            }
        }
    }

    /// The power goes: an operation under way stops somewhere.
    pub fn crash(&mut self, random: &mut Random) -> Option<CrashKind> {
        if !self.busy {
            return None;
        }
        let is_commit = matches!(self.queue.front(), Some(StoreJob::Commit(_)));
        let points: &[(CrashPoint, CrashKind)] = if is_commit {
            &[
                (CrashPoint::CommitChecked, "crashes in a commit"),
                (CrashPoint::FinalizationStaged, "crashes in a commit"),
                (CrashPoint::StatesStaged, "crashes in a commit"),
                (CrashPoint::CommitWritten, "crashes after a commit"),
            ]
        } else {
            &[
                (
                    CrashPoint::BlocksStaged,
                    "crashes before blocks are written",
                ),
                (
                    CrashPoint::BlocksWritten,
                    "crashes after blocks are written",
                ),
            ]
        };
        let (point, kind) = random.pick(points)?;
        self.trap.set(*point);
        // A crash gives an error, an operation without effect none; either way nobody is told.
        let _ = self.run();
        Some(kind)
    }
}
