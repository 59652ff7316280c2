//! The writer of a validator's vote log: one file for all its chains, one sync for all that waits.
//!
//! A record is on its way to the disk before the vote that it holds may be sent; the chain is told
//! when it is durable. When a sync fails, nothing is answered any more, so nothing is sent.

use crate::chain::Input;
use crate::runner::Event;
use skerry_storage::{VoteLog, VoteLogError};
use skerry_types::ids::{ChainRef, LogPosition};
use std::fs::File;
use std::io::Write as _;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// Records that wait for the writer.
const RECORDS_MAX: usize = 16_384;

struct Record {
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
}

impl VoteWriter {
    /// Starts the writer's thread. It ends when all handles are gone.
    ///
    /// # Errors
    /// When the system gives no more threads, or the file of a trace cannot be opened.
    pub fn start(log: VoteLog, name: &str) -> std::io::Result<(Self, JoinHandle<()>)> {
        let (queue, records) = sync_channel(RECORDS_MAX);
        let trace = VoteTrace::start()?;
        let kept = trace.clone();
        let thread = std::thread::Builder::new()
            .name(format!("{name}-votes"))
            .spawn(move || write(log, &records, &kept))?;
        Ok((Self { queue, trace }, thread))
    }

    /// Traces that a message of consensus is about to be handed to the network.
    pub fn trace_send(&self, chain: ChainRef, after: LogPosition, kind: u8, payload: &[u8]) {
        let after = after.get();
        self.trace
            .line(|| format!("send {chain} {after} {kind} {}\n", hex::encode(payload)));
    }

    /// Appends a record of a chain, whose own numbering `position` is; `back` is told when it is
    /// durable.
    pub fn append(&self, position: LogPosition, bytes: Vec<u8>, back: SyncSender<Event>) {
        // The writer is gone only after a failure, and then nothing may be sent any more.
        let _ = self.queue.send(Record {
            position,
            bytes,
            back,
        });
    }
}

fn write(mut log: VoteLog, records: &Receiver<Record>, trace: &VoteTrace) {
    while let Ok(first) = records.recv() {
        let mut batch = vec![first];
        while let Ok(next) = records.try_recv() {
            batch.push(next);
        }
        if let Err(error) = append_all(&mut log, &batch) {
            tracing::error!(%error, "the vote log failed; this validator votes no more");
            for record in &batch {
                let failed = Input::DiskFailed(format!("vote log: {error}"));
                let _ = record.back.send(Event::Input(failed));
            }
            return;
        }
        for record in batch {
            let position = record.position.get();
            trace.line(|| format!("durable {position} {}\n", hex::encode(&record.bytes)));
            let _ = record
                .back
                .send(Event::Input(Input::Durable(record.position)));
        }
    }
}

fn append_all(log: &mut VoteLog, batch: &[Record]) -> Result<(), VoteLogError> {
    for record in batch {
        log.append(&record.bytes)?;
    }
    log.sync()?;
    Ok(())
}
