//! What a Byzantine node serves to those that join: bases that are not, states with other balances,
//! chunks with records left out, old offers.

use crate::counts::Counts;
use crate::random::Random;
use skerry::snapshot::frames::{OfferedBase, REPLY_BYTES_MAX, Reply, SnapshotReply};
use skerry_types::block::BlockRef;
use skerry_types::codec::{decode, encode};
use skerry_types::crypto::hash::plain;
use skerry_types::ids::Height;
use std::sync::Arc;

/// The batches of a base without what they bring, or none of them; `None` for any other reply.
pub(super) fn strip(
    payload: &Arc<[u8]>,
    random: &mut Random,
    counts: &mut Counts,
) -> Option<Arc<[u8]>> {
    let mut reply: SnapshotReply = decode(payload, REPLY_BYTES_MAX).ok()?;
    let Reply::Batches(Some(batches)) = &mut reply.what else {
        return None;
    };
    counts.note("snapshots without batches");
    if random.chance(300) {
        batches.clear();
    }
    for batch in batches {
        batch.messages.clear();
    }
    Some(encode(&reply).into())
}

/// A reply that nobody may believe, or that leads nowhere.
pub(super) fn forge(payload: &Arc<[u8]>, random: &mut Random) -> Arc<[u8]> {
    let Ok(mut reply) = decode::<SnapshotReply>(payload, REPLY_BYTES_MAX) else {
        return payload.clone();
    };
    let nonsense = plain(&random.draw().to_le_bytes());
    match &mut reply.what {
        // So that it is asked, and forges what it answers then.
        Reply::Offer(_) if random.chance(400) => {}
        Reply::Offer(offer) => {
            let newest = offer.bases.last().copied();
            if random.chance(300) {
                offer.bases.truncate(1);
            } else if let Some(newest) = newest {
                let above = random.between(1, 1_000);
                offer.bases.push(OfferedBase {
                    block: BlockRef {
                        height: newest.block.height.saturating_add(above),
                        digest: nonsense,
                    },
                    root: nonsense,
                    epoch: newest.epoch.saturating_add(random.below(3)),
                });
            } else {
                offer.held = Height::new(random.between(1, 1 << 40));
            }
        }
        Reply::Seals(seals) => match seals.first_mut() {
            Some(seal) if random.chance(700) => seal.committee.seed = nonsense,
            _ => seals.clear(),
        },
        // What a shard's cross-link does not name is the most that its header can lie about.
        Reply::Base(Some(proof)) if proof.shard.is_some() && random.chance(500) => {
            proof.reporter.report.result.receipts_root = nonsense;
        }
        Reply::Base(Some(proof)) => match random.below(5) {
            0 => proof.reporter.report.result.state_root = nonsense,
            1 => proof.header.time = proof.header.time.next(),
            2 => proof.beacon.header.report.result.state_root = nonsense,
            3 => proof.reporter.report.result.receipts_root = nonsense,
            _ => proof.certificate.signature.0[0] ^= 1,
        },
        Reply::Base(none) => *none = None,
        Reply::Chunk(Some(chunk)) => {
            let owner = random.index(chunk.owners.len().max(1));
            match chunk.owners.get_mut(owner) {
                Some(owner) if random.chance(500) => {
                    owner.rows.pop();
                }
                Some(owner) => {
                    if let Some(row) = owner.rows.first_mut() {
                        row.value.push(1);
                    }
                }
                None => {}
            }
        }
        Reply::Chunk(none) => *none = None,
        Reply::Batches(Some(batches)) => match batches.first_mut() {
            Some(batch) if random.chance(500) => batch.messages.push(vec![7]),
            _ => batches.clear(),
        },
        Reply::Batches(none) => *none = None,
    }
    encode(&reply).into()
}
