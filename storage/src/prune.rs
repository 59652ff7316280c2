//! Forgetting what nobody needs any more: batches that were acknowledged.
//!
//! Nothing here is synced: what comes back after a crash is deleted again.

use crate::backend::{Batch as WriteBatch, Direction, Durability, KeyRange, scan};
use crate::columns::{Column, outgoing_key};
use crate::commit::CrashPoint;
use crate::error::StoreError;
use crate::store::{ChainStore, decode_row};
use skerry_types::ids::{ChainRef, Sequence};
use skerry_types::message::Batch;

impl ChainStore {
    /// Deletes batches sent to a destination whose messages all lie below `acknowledged`; how many.
    /// Not synced: what comes back after a crash is deleted again.
    ///
    /// # Errors
    /// When the database fails.
    pub fn prune_outgoing(
        &self,
        destination: ChainRef,
        acknowledged: Sequence,
    ) -> Result<usize, StoreError> {
        self.poison().check()?;
        let _writer = self.writer().lock();
        let mut batch = WriteBatch::new();
        let range = KeyRange::between(
            destination.to_bytes(),
            outgoing_key(destination, acknowledged),
        );
        let rows = scan(
            self.backend(),
            Column::Outgoing,
            &range,
            Direction::Ascending,
            usize::MAX,
        )?;
        let mut count = 0_usize;
        for (key, value) in rows {
            if decode_row::<Batch>(Column::Outgoing, &key, &value)?.end() <= acknowledged {
                batch.delete(Column::Outgoing, key);
                count = count.saturating_add(1);
            }
        }
        self.prune(batch)?;
        Ok(count)
    }

    fn prune(&self, batch: WriteBatch) -> Result<(), StoreError> {
        if batch.is_empty() {
            return Ok(());
        }
        self.pass(CrashPoint::PruneStaged)?;
        self.write(batch, Durability::Buffered)?;
        self.pass(CrashPoint::PruneWritten)
    }
}
