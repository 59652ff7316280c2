//! The signing history of a key: records that must be durable before the votes they speak of are
//! sent. One file beside the key, never in the data directory.
//!
//! A record is opaque bytes with a position; new positions only grow, also across compaction. Appending
//! buffers; one [`VoteLog::sync`] writes and syncs all that was appended (group commit). Each record
//! also names the length that was durable when it was written, which tells two kinds of damage
//! apart at the next start: a torn tail, which no vote ever rested on and which is cut off, and
//! damage to what was durable, which is refused. A log that lost a record could let its key sign
//! twice, so nothing is ever repaired or restored here.
//!
//! ```text
//! file   = "SKVOTES2" base:u64 check:u32 record*       base: position of the record before the first
//! record = length:u32 position:u64 durable:u64 check:u32 payload check:u64
//! ```
//! Numbers are little-endian; checks are leading bytes of blake3 over all that precedes them in the
//! header of the file or record, and over position and payload.

use crate::error::VoteLogError;
use crate::memory::mix;
use parking_lot::Mutex;
use rustix::fs::{FlockOperation, flock};
use skerry_types::ids::LogPosition;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Longest record.
pub const RECORD_BYTES_MAX: usize = 64 * 1024;
/// Length from which on opening compacts.
const COMPACT_BYTES: usize = 1024 * 1024;
const MAGIC: &[u8; 8] = b"SKVOTES2";
/// Logs of this version did not say whose they were, so nobody can tell whether one is the key's own.
const MAGIC_WITHOUT_KEY: &[u8; 8] = b"SKVOTES1";
const FILE_HEADER_BYTES: usize = 20;
const RECORD_HEADER_BYTES: usize = 24;
const RECORD_CHECK_BYTES: usize = 8;
/// What a disk writes as a whole.
const SECTOR_BYTES: usize = 512;

/// Where the bytes of a log lie: a file, or a simulated one.
pub trait LogDevice: Send {
    /// All bytes.
    ///
    /// # Errors
    /// When reading fails.
    fn read(&mut self) -> io::Result<Vec<u8>>;
    /// Adds bytes at the end.
    ///
    /// # Errors
    /// When writing fails.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Makes all that was added durable.
    ///
    /// # Errors
    /// When it may not be.
    fn sync(&mut self) -> io::Result<()>;
    /// Cuts the end off, durably.
    ///
    /// # Errors
    /// When it may not have happened.
    fn truncate(&mut self, length: usize) -> io::Result<()>;
    /// Puts other bytes in place of all, durably and as a whole.
    ///
    /// # Errors
    /// When it may not have happened.
    fn replace(&mut self, bytes: &[u8]) -> io::Result<()>;
}

/// A record as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRecord {
    /// Its position.
    pub position: LogPosition,
    /// What was appended.
    pub bytes: Vec<u8>,
}

/// What opening a log found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// The records that the filter keeps, in order.
    pub records: Vec<LogRecord>,
    /// Bytes of a torn tail that were cut off.
    pub torn_bytes: usize,
    /// Whether the log was rewritten without the records that the filter drops.
    pub compacted: bool,
}

/// An open vote log.
pub struct VoteLog {
    device: Box<dyn LogDevice>,
    appended: LogPosition,
    durable: LogPosition,
    durable_length: usize,
    buffer: Vec<u8>,
    syncs: u64,
    failed: Option<String>,
}

impl std::fmt::Debug for VoteLog {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("VoteLog")
            .field("appended", &self.appended)
            .field("durable", &self.durable)
            .finish_non_exhaustive()
    }
}

impl VoteLog {
    /// Writes a log with these records beside a key, durably.
    ///
    /// # Errors
    /// [`VoteLogError::Exists`] when there is one; when a record is longer than
    /// [`RECORD_BYTES_MAX`], or the file system fails.
    pub fn create(path: &Path, payloads: &[Vec<u8>]) -> Result<(), VoteLogError> {
        let lock = lock(path)?;
        if path.exists() {
            return Err(VoteLogError::Exists {
                path: path.to_owned(),
            });
        }
        let mut bytes = file_header(LogPosition::ZERO);
        let mut position = LogPosition::ZERO;
        for payload in payloads {
            check_length(payload)?;
            position = position.next();
            let durable = bytes.len();
            write_record(&mut bytes, position, durable, payload);
        }
        // Written under another name and renamed, so that there is never half a log.
        FileDevice {
            path: path.to_owned(),
            file: None,
            _lock: lock,
        }
        .replace(&bytes)
        .map_err(failed("creating it"))
    }

    /// Opens the log at `path`, locks it while it is open, and reads it.
    ///
    /// `keep` says of each record whether it still matters; records that do not are left out of the
    /// answer, and out of the file once it has grown long.
    ///
    /// # Errors
    /// [`VoteLogError::Absent`] when there is none, [`VoteLogError::InUse`] when it is open
    /// elsewhere, [`VoteLogError::Corrupt`] when a durable record is damaged; when the file system
    /// fails.
    pub fn open(
        path: &Path,
        keep: &mut dyn FnMut(&LogRecord) -> bool,
    ) -> Result<(Self, Replayed), VoteLogError> {
        Self::open_device(Box::new(FileDevice::open(path)?), keep)
    }

    /// [`Self::open`] over any device; an empty one, which as a file is refused, is a new log.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_device(
        mut device: Box<dyn LogDevice>,
        keep: &mut dyn FnMut(&LogRecord) -> bool,
    ) -> Result<(Self, Replayed), VoteLogError> {
        let mut bytes = device.read().map_err(failed("reading it"))?;
        if bytes.is_empty() {
            bytes = file_header(LogPosition::ZERO);
            device.replace(&bytes).map_err(failed("creating it"))?;
        }
        let Parsed {
            mut records,
            base,
            good,
        } = parse(&bytes)?;
        let torn_bytes = bytes.len().saturating_sub(good);
        if torn_bytes > 0 {
            device
                .truncate(good)
                .map_err(failed("cutting off a torn record"))?;
        }
        let last = records.last().map_or(base, |record| record.position);
        records.retain(|record| keep(record));
        let mut log = Self {
            device,
            appended: last,
            durable: last,
            durable_length: good,
            buffer: Vec::new(),
            syncs: 0,
            failed: None,
        };
        let compacted = good > COMPACT_BYTES;
        if compacted {
            log.rewrite(&mut records)?;
        }
        Ok((
            log,
            Replayed {
                records,
                torn_bytes,
                compacted,
            },
        ))
    }

    /// All records, as they would be found by opening the log now. Syncs first.
    ///
    /// # Errors
    /// As [`Self::sync`], and when what was written does not read back.
    pub fn records(&mut self) -> Result<Vec<LogRecord>, VoteLogError> {
        self.sync()?;
        let bytes = self.device.read().map_err(failed("reading it"))?;
        Ok(parse(&bytes)?.records)
    }

    /// Rewrites the log without the records that `keep` drops: for a log that has grown long, see
    /// [`Self::length`]. Syncs first. Positions go on from where they are; the kept records move up
    /// behind the newest position.
    ///
    /// # Errors
    /// As [`Self::sync`], and when what was written does not read back.
    pub fn compact(
        &mut self,
        keep: &mut dyn FnMut(&LogRecord) -> bool,
    ) -> Result<(), VoteLogError> {
        let mut records = self.records()?;
        records.retain(|record| keep(record));
        self.rewrite(&mut records)
    }

    /// Adds records all together or not at all, durably: for what must not be found torn. Syncs
    /// first.
    ///
    /// # Errors
    /// As [`Self::append`] and [`Self::compact`].
    pub fn extend(&mut self, payloads: &[Vec<u8>]) -> Result<(), VoteLogError> {
        for payload in payloads {
            check_length(payload)?;
        }
        let mut records = self.records()?;
        let mut position = self.durable;
        for payload in payloads {
            position = position.next();
            let bytes = payload.clone();
            records.push(LogRecord { position, bytes });
        }
        self.appended = position;
        self.durable = position;
        self.rewrite(&mut records)
    }

    /// Puts `records` in place of all, renumbered so that the last has the newest position.
    fn rewrite(&mut self, records: &mut [LogRecord]) -> Result<(), VoteLogError> {
        let count = u64::try_from(records.len()).unwrap_or(u64::MAX);
        let mut position = self.durable.saturating_sub(count);
        let mut bytes = file_header(position);
        for record in records {
            position = position.next();
            record.position = position;
            // The file appears as a whole, so each record may say that those before it are durable.
            let durable = bytes.len();
            write_record(&mut bytes, position, durable, &record.bytes);
        }
        let replaced = self.device.replace(&bytes);
        self.watch(replaced, "rewriting it")?;
        self.durable_length = bytes.len();
        Ok(())
    }

    /// Adds a record; it is durable once [`Self::sync`] has returned a position not below its own.
    ///
    /// # Errors
    /// When it is longer than [`RECORD_BYTES_MAX`], or an earlier write failed.
    pub fn append(&mut self, bytes: &[u8]) -> Result<LogPosition, VoteLogError> {
        self.check()?;
        check_length(bytes)?;
        let position = self.appended.next();
        write_record(&mut self.buffer, position, self.durable_length, bytes);
        self.appended = position;
        Ok(position)
    }

    /// Makes all records durable that were appended; gives the position of the last.
    ///
    /// # Errors
    /// When writing or syncing fails; then the log refuses everything until it is opened again.
    pub fn sync(&mut self) -> Result<LogPosition, VoteLogError> {
        self.check()?;
        if self.buffer.is_empty() {
            return Ok(self.durable);
        }
        let written = self
            .device
            .append(&self.buffer)
            .and_then(|()| self.device.sync());
        self.watch(written, "syncing it")?;
        self.durable_length = self.durable_length.saturating_add(self.buffer.len());
        self.buffer.clear();
        self.durable = self.appended;
        self.syncs = self.syncs.saturating_add(1);
        Ok(self.durable)
    }

    /// Position of the last record appended.
    pub const fn appended(&self) -> LogPosition {
        self.appended
    }

    /// Position of the last record that is durable.
    pub const fn durable(&self) -> LogPosition {
        self.durable
    }

    /// How often the device was synced since the log was opened.
    pub const fn syncs(&self) -> u64 {
        self.syncs
    }

    /// Bytes of the log that are durable.
    pub const fn length(&self) -> usize {
        self.durable_length
    }

    /// Passes the outcome of a write on, and closes the log when it failed.
    fn watch(&mut self, outcome: io::Result<()>, doing: &'static str) -> Result<(), VoteLogError> {
        outcome.map_err(|error| {
            self.failed = Some(error.to_string());
            failed(doing)(error)
        })
    }

    fn check(&self) -> Result<(), VoteLogError> {
        match &self.failed {
            Some(cause) => Err(VoteLogError::Poisoned {
                cause: cause.clone(),
            }),
            None => Ok(()),
        }
    }
}

fn check_length(payload: &[u8]) -> Result<(), VoteLogError> {
    let (actual, limit) = (payload.len(), RECORD_BYTES_MAX);
    if actual > limit {
        return Err(VoteLogError::TooLong { actual, limit });
    }
    Ok(())
}

fn failed(doing: &'static str) -> impl FnOnce(io::Error) -> VoteLogError {
    move |source| VoteLogError::Io { doing, source }
}

/// What a file holds.
struct Parsed {
    records: Vec<LogRecord>,
    base: LogPosition,
    /// Length up to which it is whole.
    good: usize,
}

/// Reads a whole file.
fn parse(bytes: &[u8]) -> Result<Parsed, VoteLogError> {
    let base = read_file_header(bytes)?;
    let mut parsed = Parsed {
        records: Vec::new(),
        base,
        good: FILE_HEADER_BYTES,
    };
    let mut last = base;
    while parsed.good < bytes.len() {
        let rest = bytes.get(parsed.good..).unwrap_or(&[]);
        match read_record(rest) {
            Found::Whole { record, length, .. } if record.position == last.next() => {
                last = record.position;
                parsed.records.push(record);
                parsed.good = parsed.good.saturating_add(length);
            }
            Found::Whole { .. } => return Err(corrupt(parsed.good, "a position is missing")),
            found => {
                check_torn(bytes, parsed.good, &found)?;
                break;
            }
        }
    }
    Ok(parsed)
}

/// Whether the bad record at `offset` can only be one that was never durable.
fn check_torn(bytes: &[u8], offset: usize, found: &Found) -> Result<(), VoteLogError> {
    // A later record that was written when `offset` was durable already says that it was.
    let mut at = offset.saturating_add(1);
    while let Some(rest) = bytes
        .get(at..)
        .filter(|rest| rest.len() >= RECORD_HEADER_BYTES)
    {
        if let Found::Whole { durable, .. } = read_record(rest)
            && durable > offset
        {
            return Err(corrupt(offset, "a durable record is damaged"));
        }
        at = at.saturating_add(1);
    }
    // Otherwise it is torn if a part of it was never written: the file ends in it, or the part of
    // it that lies in one sector is zero. Anything else is a flipped bit in the last durable record.
    let length = match found {
        Found::Short => return Ok(()),
        Found::BadHeader => RECORD_HEADER_BYTES,
        Found::BadPayload { length } | Found::Whole { length, .. } => *length,
    };
    let end = offset.saturating_add(length).min(bytes.len());
    let mut from = offset;
    while from < end {
        let sector_end = from
            .saturating_add(1)
            .next_multiple_of(SECTOR_BYTES)
            .min(end);
        if bytes
            .get(from..sector_end)
            .is_some_and(|part| part.iter().all(|byte| *byte == 0))
        {
            return Ok(());
        }
        from = sector_end;
    }
    Err(corrupt(offset, "the last record is damaged"))
}

fn corrupt(offset: usize, reason: &'static str) -> VoteLogError {
    VoteLogError::Corrupt {
        offset: u64::try_from(offset).unwrap_or(u64::MAX),
        reason,
    }
}

/// What begins at an offset.
enum Found {
    /// A good record.
    Whole {
        record: LogRecord,
        durable: usize,
        length: usize,
    },
    /// The bytes end in it.
    Short,
    /// Its header does not match its check.
    BadHeader,
    /// Its header does, its payload does not.
    BadPayload { length: usize },
}

fn read_record(bytes: &[u8]) -> Found {
    let Some((header, rest)) = bytes.split_at_checked(RECORD_HEADER_BYTES) else {
        return Found::Short;
    };
    let Some((covered, check)) = header.split_last_chunk::<4>() else {
        return Found::Short;
    };
    let fields = || {
        let (length, rest) = covered.split_first_chunk::<4>()?;
        let (position, durable) = rest.split_first_chunk::<8>()?;
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        let durable = u64::from_le_bytes(durable.try_into().ok()?);
        let position = LogPosition::new(u64::from_le_bytes(*position));
        Some((length, position, usize::try_from(durable).ok()?))
    };
    let Some((length, position, durable)) = fields().filter(|_| *check == header_check(covered))
    else {
        return Found::BadHeader;
    };
    let whole = length
        .saturating_add(RECORD_HEADER_BYTES)
        .saturating_add(RECORD_CHECK_BYTES);
    let Some((payload, rest)) = rest.split_at_checked(length) else {
        return Found::Short;
    };
    match rest.first_chunk::<RECORD_CHECK_BYTES>() {
        None => Found::Short,
        Some(check) if *check == payload_check(position, payload) => {
            let record = LogRecord {
                position,
                bytes: payload.to_vec(),
            };
            Found::Whole {
                record,
                durable,
                length: whole,
            }
        }
        Some(_) => Found::BadPayload { length: whole },
    }
}

fn write_record(to: &mut Vec<u8>, position: LogPosition, durable: usize, payload: &[u8]) {
    let mut header = Vec::with_capacity(RECORD_HEADER_BYTES);
    // Lengths were checked against RECORD_BYTES_MAX, and a file is shorter than 2⁶⁴.
    header.extend_from_slice(
        &u32::try_from(payload.len())
            .unwrap_or(u32::MAX)
            .to_le_bytes(),
    );
    header.extend_from_slice(&position.get().to_le_bytes());
    header.extend_from_slice(&u64::try_from(durable).unwrap_or(u64::MAX).to_le_bytes());
    let check = header_check(&header);
    to.extend_from_slice(&header);
    to.extend_from_slice(&check);
    to.extend_from_slice(payload);
    to.extend_from_slice(&payload_check(position, payload));
}

fn file_header(base: LogPosition) -> Vec<u8> {
    let mut header = MAGIC.to_vec();
    header.extend_from_slice(&base.get().to_le_bytes());
    let check = header_check(&header);
    header.extend_from_slice(&check);
    header
}

fn read_file_header(bytes: &[u8]) -> Result<LogPosition, VoteLogError> {
    let form = |reason| VoteLogError::Form { reason };
    let header = bytes
        .get(..FILE_HEADER_BYTES)
        .ok_or_else(|| form("it is too short"))?;
    let (covered, check) = header
        .split_last_chunk::<4>()
        .ok_or_else(|| form("it is too short"))?;
    let (magic, base) = covered
        .split_first_chunk::<8>()
        .ok_or_else(|| form("it is too short"))?;
    if magic == MAGIC_WITHOUT_KEY {
        return Err(form(
            "it is of version 1, which does not say of which key it is",
        ));
    }
    if magic != MAGIC {
        return Err(form("it does not begin with SKVOTES2"));
    }
    let base = base
        .try_into()
        .ok()
        .filter(|_| *check == header_check(covered));
    base.map(|base| LogPosition::new(u64::from_le_bytes(base)))
        .ok_or_else(|| corrupt(0, "the header of the file is damaged"))
}

fn header_check(covered: &[u8]) -> [u8; 4] {
    let [a, b, c, d, ..] = *blake3::hash(covered).as_bytes();
    [a, b, c, d]
}

fn payload_check(position: LogPosition, payload: &[u8]) -> [u8; RECORD_CHECK_BYTES] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&position.get().to_le_bytes()).update(payload);
    let [a, b, c, d, e, f, g, h, ..] = *hasher.finalize().as_bytes();
    [a, b, c, d, e, f, g, h]
}

/// A log in a file, locked while it is open.
pub struct FileDevice {
    path: PathBuf,
    file: Option<File>,
    // A file of its own, since replacing the log replaces what a lock on it would hold.
    _lock: File,
}

impl std::fmt::Debug for FileDevice {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("FileDevice")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl FileDevice {
    /// Opens and locks an existing log.
    ///
    /// # Errors
    /// When there is none, it is in use or empty, or the file system fails.
    pub fn open(path: &Path) -> Result<Self, VoteLogError> {
        if !path.exists() {
            return Err(VoteLogError::Absent {
                path: path.to_owned(),
            });
        }
        let lock = lock(path)?;
        let mut device = Self {
            path: path.to_owned(),
            file: None,
            _lock: lock,
        };
        device.reopen().map_err(failed("opening it"))?;
        let file = device.file().map_err(failed("opening it"))?;
        let length = file.metadata().map_err(failed("reading it"))?.len();
        // A new log has a header; one without has lost everything.
        if length == 0 {
            return Err(corrupt(0, "the file is empty"));
        }
        Ok(device)
    }

    fn reopen(&mut self) -> io::Result<()> {
        self.file = Some(
            OpenOptions::new()
                .read(true)
                .append(true)
                .open(&self.path)?,
        );
        Ok(())
    }

    fn file(&mut self) -> io::Result<&mut File> {
        self.file
            .as_mut()
            .ok_or_else(|| io::Error::other("the file is not open"))
    }

    fn sibling(path: &Path, ending: &str) -> PathBuf {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(ending);
        path.with_file_name(name)
    }
}

/// Locks the log at `path`; until the file is dropped.
fn lock(path: &Path) -> Result<File, VoteLogError> {
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(FileDevice::sibling(path, ".lock"))
        .map_err(failed("locking it"))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(VoteLogError::InUse {
            path: path.to_owned(),
        }),
        Err(error) => Err(failed("locking it")(error.into())),
    }
}

impl LogDevice for FileDevice {
    fn read(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let file = self.file()?;
        file.rewind()?;
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file()?.write_all(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file()?.sync_data()
    }

    fn truncate(&mut self, length: usize) -> io::Result<()> {
        let file = self.file()?;
        file.set_len(u64::try_from(length).unwrap_or(u64::MAX))?;
        file.sync_all()
    }

    fn replace(&mut self, bytes: &[u8]) -> io::Result<()> {
        let new = Self::sibling(&self.path, ".new");
        let mut file = File::create(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&new, &self.path)?;
        // The name is durable only once the directory is.
        let folder = self
            .path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or_else(|| Path::new(".")))?.sync_all()?;
        self.reopen()
    }
}

#[derive(Debug, Default)]
struct MemoryFile {
    bytes: Vec<u8>,
    durable: usize,
    fails: bool,
}

/// A simulated file that outlives its process: clones share it.
#[derive(Clone, Debug, Default)]
pub struct MemoryDevice {
    file: Arc<Mutex<MemoryFile>>,
}

impl MemoryDevice {
    /// An empty file.
    pub fn new() -> Self {
        Self::default()
    }

    /// A power cut: of what was not synced, each sector is kept, zero or cut off with all that
    /// follows it, as `seed` has it.
    pub fn crash(&self, seed: u64) {
        let mut file = self.file.lock();
        file.fails = false;
        let durable = file.durable;
        let mut state = mix(seed);
        let mut from = durable;
        while from < file.bytes.len() {
            let to = from
                .saturating_add(1)
                .next_multiple_of(SECTOR_BYTES)
                .min(file.bytes.len());
            state = mix(state);
            match state % 4 {
                0 => {
                    // Cut anywhere in the sector.
                    let length = u64::try_from(to.saturating_sub(from)).unwrap_or(1).max(1);
                    let kept = usize::try_from(mix(state) % length).unwrap_or(0);
                    file.bytes.truncate(from.saturating_add(kept));
                    break;
                }
                1 => {
                    if let Some(sector) = file.bytes.get_mut(from..to) {
                        sector.fill(0);
                    }
                }
                _ => {}
            }
            from = to;
        }
        file.durable = file.bytes.len();
    }

    /// Lets every later write and sync fail, until [`Self::crash`].
    pub fn fail(&self) {
        self.file.lock().fails = true;
    }

    /// The bytes, for tests that damage them.
    pub fn contents(&self) -> Vec<u8> {
        self.file.lock().bytes.clone()
    }

    /// Puts other bytes in place, as durable.
    pub fn set_contents(&self, bytes: Vec<u8>) {
        let mut file = self.file.lock();
        file.durable = bytes.len();
        file.bytes = bytes;
    }

    fn change(&self, change: impl FnOnce(&mut MemoryFile)) -> io::Result<()> {
        let mut file = self.file.lock();
        if file.fails {
            return Err(io::Error::other("injected failure"));
        }
        change(&mut file);
        Ok(())
    }
}

impl LogDevice for MemoryDevice {
    fn read(&mut self) -> io::Result<Vec<u8>> {
        Ok(self.contents())
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.change(|file| file.bytes.extend_from_slice(bytes))
    }

    fn sync(&mut self) -> io::Result<()> {
        self.change(|file| file.durable = file.bytes.len())
    }

    fn truncate(&mut self, length: usize) -> io::Result<()> {
        self.change(|file| {
            file.bytes.truncate(length);
            file.durable = file.bytes.len();
        })
    }

    fn replace(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.change(|file| {
            file.bytes = bytes.to_vec();
            file.durable = bytes.len();
        })
    }
}

#[cfg(test)]
mod tests;
