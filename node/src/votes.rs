//! The writer of a validator's vote log: one file for all its chains, one sync for all that waits.
//!
//! A record is on its way to the disk before the vote that it holds may be sent; the chain is told
//! when it is durable. When a sync fails, nothing is answered any more, so nothing is sent.

use crate::chain::Input;
use crate::runner::Event;
use skerry_storage::{VoteLog, VoteLogError};
use skerry_types::ids::LogPosition;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

/// Records that wait for the writer.
const RECORDS_MAX: usize = 16_384;

struct Record {
    position: LogPosition,
    bytes: Vec<u8>,
    back: SyncSender<Event>,
}

/// Hands records to the writer.
#[derive(Clone)]
pub struct VoteWriter {
    queue: SyncSender<Record>,
}

impl VoteWriter {
    /// Starts the writer's thread. It ends when all handles are gone.
    ///
    /// # Errors
    /// When the system gives no more threads.
    pub fn start(log: VoteLog, name: &str) -> std::io::Result<(Self, JoinHandle<()>)> {
        let (queue, records) = sync_channel(RECORDS_MAX);
        let thread = std::thread::Builder::new()
            .name(format!("{name}-votes"))
            .spawn(move || write(log, &records))?;
        Ok((Self { queue }, thread))
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

fn write(mut log: VoteLog, records: &Receiver<Record>) {
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
