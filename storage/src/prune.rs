//! Forgetting what nobody needs any more: batches that were acknowledged, bodies and receipts of old
//! blocks.
//!
//! Nothing here is synced: what comes back after a crash is deleted again.

use crate::backend::{Batch as WriteBatch, Direction, Durability, KeyRange, scan};
use crate::columns::{Column, RECEIPTS_PER_ROW, message_key, outgoing_key, receipts_key};
use crate::commit::CrashPoint;
use crate::error::StoreError;
use crate::store::{ChainStore, Location, decode_row};
use skerry_types::ids::{ChainRef, Height, Sequence};
use skerry_types::message::Batch;
use skerry_types::receipt::{Receipt, Subject};

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

    /// Deletes bodies and receipts, with the index of their transactions and messages, of at most
    /// `limit` final blocks from `from` on, stopping below `below` and below the committed state;
    /// gives the height where the next call goes on. Headers, certificates and results stay.
    ///
    /// # Errors
    /// When a row is damaged or the database fails.
    pub fn prune_history(
        &self,
        from: Height,
        below: Height,
        limit: usize,
    ) -> Result<Height, StoreError> {
        self.poison().check()?;
        let _writer = self.writer().lock();
        let committed = self
            .state_at()
            .map_or(Height::ZERO, |(block, _)| block.height);
        let below = below.min(committed);
        let mut batch = WriteBatch::new();
        let mut at = from.max(Height::new(1));
        for _ in 0..limit {
            let Some(digest) = self.digest_at(at)?.filter(|_| at < below) else {
                break;
            };
            batch.delete(Column::Bodies, *digest.as_bytes());
            let receipts = self.receipts(at)?;
            for (position, receipt) in (0_u32..).zip(&receipts) {
                self.stage_forgotten(
                    &mut batch,
                    Location {
                        height: at,
                        position,
                    },
                    receipt,
                )?;
            }
            for (chunk, _) in (0_u32..).zip(receipts.chunks(RECEIPTS_PER_ROW)) {
                batch.delete(Column::Receipts, receipts_key(at, chunk));
            }
            at = at.next();
        }
        self.prune(batch)?;
        Ok(at)
    }

    /// Stages the deletion of a receipt's index row, unless it leads elsewhere.
    fn stage_forgotten(
        &self,
        batch: &mut WriteBatch,
        location: Location,
        receipt: &Receipt,
    ) -> Result<(), StoreError> {
        match &receipt.subject {
            Subject::Transaction(id) => {
                if self.transaction_location(id)? == Some(location) {
                    batch.delete(Column::Transactions, *id.as_bytes());
                }
            }
            Subject::Message { id, .. } => batch.delete(Column::Messages, message_key(id)),
        }
        Ok(())
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
