//! Whether a block is valid: everything that makes it invalid and needs only its bytes, its
//! parent's state and what its beacon reference shows. The bytes come first and alone, as a
//! [`CheckedBody`], so that a node decodes and hashes a body once.
//!
//! Not here: the header's place in consensus (parent, view, proposer, time, report), signatures of
//! users (checked in batches) and proofs of batches and cross-links ([`crate::proofs`]); the glue
//! checks them before it votes.

use crate::check::{AdmissionContext, check_static, transactions_gas_max};
use crate::credit;
use crate::error::BlockError;
use crate::inbox::Accepted;
use crate::network::NetworkInfo;
use crate::outbox::within;
use crate::views;
use skerry_types::amount::{Amount, Asset};
use skerry_types::beacon::{Facts, ShardRecord, SystemOperation};
use skerry_types::block::{BlockKind, Body, Header};
use skerry_types::codec;
use skerry_types::crypto::hash::{Purpose, hash};
use skerry_types::ids::{ChainRef, Digest, Epoch, Gas, Sequence};
use skerry_types::limits;
use skerry_types::message::{Batch, Flow};
use skerry_types::state::StateRead;
use skerry_types::transaction::CheckedTransaction;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A body that was decoded and is the one that a header commits to.
#[derive(Clone, Debug)]
pub struct CheckedBody {
    body: Body,
    wire_hashes: Vec<Digest>,
}

impl CheckedBody {
    /// Decodes `bytes`, which belong to `header`; `None` for kinds of blocks that have no body.
    ///
    /// # Errors
    /// When the bytes are no body, the header commits to another one, or the kind of block has none.
    pub fn decode(header: &Header, bytes: &[u8]) -> Result<Option<Self>, BlockError> {
        let kind = header.kind;
        if (kind == BlockKind::Working) == bytes.is_empty() {
            let bytes = bytes.len();
            return Err(BlockError::BodyOfKind { kind, bytes });
        }
        if kind != BlockKind::Working {
            check_root(header, Digest::ZERO)?;
            return Ok(None);
        }
        let body: Body = codec::decode(bytes, limits::BODY_BYTES_MAX).map_err(BlockError::Codec)?;
        at_most(
            "transactions",
            body.transactions.len(),
            limits::BLOCK_TRANSACTIONS_MAX,
        )?;
        let wire_hashes: Vec<Digest> = body
            .transactions
            .iter()
            .map(|wire| hash(Purpose::TRANSACTION_WIRE, wire))
            .collect();
        check_root(header, body.root_with(&wire_hashes))?;
        Ok(Some(Self { body, wire_hashes }))
    }

    /// The body.
    pub fn body(&self) -> &Body {
        &self.body
    }

    /// Wire hashes of the transactions, in order.
    pub fn wire_hashes(&self) -> &[Digest] {
        &self.wire_hashes
    }

    /// The body without its transactions.
    #[must_use]
    pub fn into_frame(self) -> Body {
        Body {
            transactions: Vec::new(),
            ..self.body
        }
    }

    /// The transactions: those of `known` that are the body's in their place, and the others
    /// decoded.
    ///
    /// # Errors
    /// Names the first that is no transaction of this network.
    pub fn transactions(
        &self,
        known: &[Option<Arc<CheckedTransaction>>],
        chain_id: &Digest,
    ) -> Result<BodyTransactions, BlockError> {
        let mut transactions = BodyTransactions::default();
        let wires = self.body.transactions.iter().zip(&self.wire_hashes);
        for (index, (wire, hash)) in wires.enumerate() {
            let known = known.get(index).and_then(Option::as_ref);
            if let Some(known) = known.filter(|known| known.wire_hash() == *hash) {
                transactions.all.push(known.clone());
                continue;
            }
            let decoded = CheckedTransaction::decode_hashed(wire.as_slice(), *hash, chain_id)
                .map(Arc::new)
                .map_err(|cause| BlockError::Transaction { index, cause })?;
            transactions.all.push(decoded.clone());
            transactions.unknown.push(decoded);
        }
        Ok(transactions)
    }
}

/// The decoded transactions of a body.
#[derive(Clone, Debug, Default)]
pub struct BodyTransactions {
    /// All of them, in order.
    pub all: Vec<Arc<CheckedTransaction>>,
    /// Those that were not known before, in order.
    pub unknown: Vec<Arc<CheckedTransaction>>,
}

/// A block to validate, with what its validity depends on.
pub struct BlockInput<'a> {
    /// The network.
    pub network: &'a NetworkInfo,
    /// The chain that is asked to accept it.
    pub chain: ChainRef,
    /// The header.
    pub header: &'a Header,
    /// The header's body; absent for idle blocks and seals.
    pub body: Option<&'a CheckedBody>,
    /// State after the parent.
    pub parent: &'a dyn StateRead,
    /// On a shard, the facts root of the referenced beacon header; at height 0, the root of the
    /// genesis facts. Ignored on the beacon.
    pub shown_facts_root: Digest,
    /// On a shard, the epoch of the referenced beacon header. Ignored on the beacon.
    pub shown_epoch: Epoch,
    /// Transactions of the body that were decoded before, each in its place.
    pub known: &'a [Option<Arc<CheckedTransaction>>],
}

/// A block whose form and rules hold.
#[derive(Clone, Debug, Default)]
pub struct ValidBlock {
    /// The transactions, decoded, in order.
    pub transactions: Vec<Arc<CheckedTransaction>>,
    /// Those that were not known before: their signatures are still to be checked.
    pub unknown: Vec<Arc<CheckedTransaction>>,
    /// Gas of the transactions.
    pub gas: Gas,
}

/// Validates a block.
///
/// # Errors
/// Names the first rule that is broken.
pub fn validate_block(input: &BlockInput<'_>) -> Result<ValidBlock, BlockError> {
    let (network, chain, header) = (input.network, input.chain, input.header);
    if header.chain_id != network.chain_id {
        return Err(BlockError::ChainId {
            expected: network.chain_id,
            actual: header.chain_id,
        });
    }
    if header.chain != chain {
        return Err(BlockError::Chain {
            expected: chain,
            actual: header.chain,
        });
    }
    check_epoch(input)?;
    let Some(checked) = input.body else {
        // Of a working block this cannot be: its body could not have been checked.
        return if header.kind == BlockKind::Working {
            let kind = header.kind;
            Err(BlockError::BodyOfKind { kind, bytes: 0 })
        } else {
            Ok(ValidBlock::default())
        };
    };
    let body = checked.body();
    at_most(
        "system operations",
        body.system.len(),
        limits::SYSTEM_OPERATIONS_MAX,
    )?;
    check_evidence_size(&body.system)?;
    check_chain_kind(chain, body)?;
    check_facts(input, body)?;
    let batches = body.inbound.iter().map(|inbound| &inbound.batch);
    check_inbound(input, body.facts.as_ref(), batches)?;
    check_transactions(input, checked)
}

fn check_root(header: &Header, actual: Digest) -> Result<(), BlockError> {
    let expected = header.body_root;
    if actual == expected {
        Ok(())
    } else {
        Err(BlockError::BodyRoot { expected, actual })
    }
}

fn at_most(what: &'static str, actual: usize, limit: usize) -> Result<(), BlockError> {
    if actual <= limit {
        return Ok(());
    }
    let wide = |number| u64::try_from(number).unwrap_or(u64::MAX);
    Err(BlockError::TooMany {
        what,
        limit: wide(limit),
        actual: wide(actual),
    })
}

/// The pieces of evidence are few and small. That they prove something is for
/// [`crate::proofs::verify_evidence`] to say.
pub(crate) fn check_evidence_size(system: &[SystemOperation]) -> Result<(), BlockError> {
    let evidence = || {
        system.iter().filter_map(|operation| match operation {
            SystemOperation::Evidence(evidence) => Some(evidence),
            SystemOperation::CrossLink(_) | SystemOperation::Ready(_) => None,
        })
    };
    at_most("evidence", evidence().count(), limits::BLOCK_EVIDENCE_MAX)?;
    for evidence in evidence().filter(|evidence| !evidence.is_small()) {
        let bytes = evidence.byte_length();
        at_most("bytes of evidence", bytes, limits::EVIDENCE_BYTES_MAX)?;
    }
    Ok(())
}

fn check_chain_kind(chain: ChainRef, body: &Body) -> Result<(), BlockError> {
    let wrong = match chain {
        ChainRef::Beacon if !body.transactions.is_empty() => Some("transactions"),
        ChainRef::Beacon if body.facts.is_some() => Some("facts"),
        ChainRef::Shard(_) if !body.system.is_empty() => Some("system operations"),
        _ => None,
    };
    wrong.map_or(Ok(()), |what| {
        Err(BlockError::NotOnThisChain { chain, what })
    })
}

/// A block stands in the epoch of the state before it. Once that state is in a later one, only idle
/// blocks and the seal are left.
fn check_epoch(input: &BlockInput<'_>) -> Result<(), BlockError> {
    let Header {
        kind, epoch, next, ..
    } = *input.header;
    let record = views::epoch(input.parent, input.chain);
    let state = record.map_or(Epoch::ZERO, |record| record.epoch);
    let ended = state > epoch;
    let fits = match kind {
        BlockKind::Working => !ended,
        BlockKind::Idle => true,
        BlockKind::Seal => ended,
    };
    if !fits || state < epoch {
        return Err(BlockError::Epoch { kind, epoch, state });
    }
    let expected = views::next_committee(input.parent, input.network, input.chain, epoch);
    if kind == BlockKind::Seal && next != expected {
        let actual = next;
        return Err(BlockError::Next { expected, actual });
    }
    Ok(())
}

/// Facts are carried exactly when the beacon reference shows others than the state holds, and show
/// the epoch that the reference is of.
fn check_facts(input: &BlockInput<'_>, body: &Body) -> Result<(), BlockError> {
    if input.chain.is_beacon() {
        return Ok(());
    }
    let held = || views::epoch(input.parent, input.chain).map(|record| record.epoch);
    let carried = body.facts.as_ref().map(|facts| facts.epoch.epoch);
    let (expected, actual) = (input.shown_epoch, carried.or_else(held).unwrap_or_default());
    if actual != expected {
        return Err(BlockError::ReferenceEpoch { expected, actual });
    }
    let stored = views::facts_head(input.parent, input.chain).map(|head| head.root);
    let expected = Some(input.shown_facts_root).filter(|shown| stored != Some(*shown));
    let actual = body.facts.as_ref().map(skerry_types::beacon::Facts::root);
    if actual == expected {
        Ok(())
    } else {
        Err(BlockError::Facts { expected, actual })
    }
}

/// Each batch begins where the one before it from the same source ended: exactly once.
fn check_inbound<'b>(
    input: &BlockInput<'_>,
    facts: Option<&Facts>,
    batches: impl Iterator<Item = &'b Batch>,
) -> Result<(), BlockError> {
    let here = input.chain;
    let mut cursors: BTreeMap<ChainRef, Sequence> = BTreeMap::new();
    let mut counted: BTreeMap<ChainRef, Accepted> = BTreeMap::new();
    let mut total: u64 = 0;
    for batch in batches {
        let (batch_source, destination) = (batch.source, batch.destination);
        if destination != here || batch_source == here || !input.network.has(batch_source) {
            return Err(BlockError::BatchChannel {
                batch_source,
                destination,
                here,
            });
        }
        check_batch_size(batch)?;
        total = total.saturating_add(batch.message_bytes());
        let expected = *cursors
            .entry(batch_source)
            .or_insert_with(|| views::inbound(input.parent, here, batch_source).accepted_cursor());
        if batch.first != expected {
            return Err(BlockError::Cursor {
                batch_source,
                expected,
                actual: batch.first,
            });
        }
        cursors.insert(batch_source, batch.end());
        let accepted = counted
            .entry(batch_source)
            .or_insert_with(|| Accepted::of(&views::inbound(input.parent, here, batch_source)));
        *accepted = accepted.after(input.network, batch);
        if here.is_beacon() {
            check_cross_linked(input.parent, batch_source, &accepted.flow)?;
        }
        check_credit(input.network, input.parent, (here, batch_source), accepted)?;
        if !here.is_beacon() {
            let shown = facts.and_then(|facts| facts.shard(batch_source));
            let held = || views::known_record(input.parent, here, batch_source);
            if let Some(record) = shown.cloned().or_else(held) {
                check_allowance(input.network, &record, here, &accepted.flow)?;
            }
        }
    }
    let limit = u64::try_from(limits::INBOUND_BYTES_MAX).unwrap_or(u64::MAX);
    if total > limit {
        return Err(BlockError::TooMany {
            what: "bytes of messages",
            limit,
            actual: total,
        });
    }
    Ok(())
}

/// A batch has messages, no more and no larger ones than it may, and its channel does not end with it.
/// What proves a batch says nothing of that: a source may have recorded anything. So whoever waits for
/// batches asks this too, or would offer what makes every block invalid.
///
/// # Errors
/// When it breaks a bound.
pub fn check_batch_size(batch: &Batch) -> Result<(), BlockError> {
    let (messages, bytes) = (batch.messages.len(), batch.message_bytes());
    let limit = u64::try_from(limits::BATCH_BYTES_MAX).unwrap_or(u64::MAX);
    let fits = !batch.messages.is_empty()
        && messages <= limits::BATCH_MESSAGES_MAX
        && bytes <= limit
        && batch.messages.iter().all(|wire| wire.len() <= limits::MESSAGE_BYTES_MAX)
        // A channel never reaches the largest sequence; a forged one must not stop there.
        && batch.end() < Sequence::new(u64::MAX);
    if fits {
        Ok(())
    } else {
        Err(BlockError::BatchSize {
            batch_source: batch.source,
            messages,
            bytes,
        })
    }
}

/// Every beacon block is a consistent cut: it accepts only what is cross-linked as sent, in number and
/// in value.
fn check_cross_linked(
    beacon: &dyn StateRead,
    batch_source: ChainRef,
    accepted: &Flow,
) -> Result<(), BlockError> {
    let linked = views::linked_to_beacon(beacon, batch_source);
    if within(accepted, &linked) {
        return Ok(());
    }
    Err(BlockError::NotCrossLinked {
        batch_source,
        expected: Box::new(linked),
        actual: Box::new(*accepted),
    })
}

/// A chain accepts no more of a source than it granted to it, and has no more replies of it waiting than
/// it has room for: both are bounded then, also where a whole source lies. Honest sources keep to that by
/// themselves: they know less of grants than the destination, and all of them together answer no more
/// requests than there is room for. What nobody asked for is dropped when it runs.
///
/// # Errors
/// When `accepted` of the channel to `here` from a source is more than that.
pub fn check_credit(
    network: &NetworkInfo,
    parent: &dyn StateRead,
    (here, batch_source): (ChainRef, ChainRef),
    accepted: &Accepted,
) -> Result<(), BlockError> {
    let channel = views::inbound(parent, here, batch_source);
    let granted = channel.granted(credit::share(network));
    let granted = granted.less(channel.returned);
    let used = accepted.charged;
    if !granted.covers(used) {
        return Err(BlockError::NoCredit {
            batch_source,
            used,
            granted,
        });
    }
    let limit = credit::reply_room(network);
    let actual = accepted.replies.saturating_sub(channel.answered);
    if actual > limit {
        return Err(BlockError::RepliesUnasked {
            batch_source,
            limit,
            actual,
        });
    }
    Ok(())
}

/// The part of a shard's supply of a native denom that all others together accept of it before its
/// cross-link shows the value as sent: a hundredth. Each has an even part of that.
const ALLOWANCE_DIVISOR: u128 = 100;

/// Value of the native denoms above a small part of the source's supply waits for the cross-link, which
/// the beacon takes only of what the shard holds. So what a whole committee that lies can forge is
/// bounded by that part and by the supply of its own shard. `record` is what the block's reference shows
/// of the source, `accepted` what `here` has accepted of it with the block.
///
/// # Errors
/// Names the denom of which there is more.
pub fn check_allowance(
    network: &NetworkInfo,
    record: &ShardRecord,
    here: ChainRef,
    accepted: &Flow,
) -> Result<(), BlockError> {
    let mut summaries = record.channels.iter();
    let summary = summaries.find(|summary| summary.peer == here);
    let linked = summary.map(|summary| summary.sent).unwrap_or_default();
    let others = u128::from(network.chain_count().saturating_sub(1).max(1));
    for Asset { denom, amount } in &record.supply {
        let (linked, actual) = (linked.native(*denom), accepted.native(*denom));
        let part = ALLOWANCE_DIVISOR.saturating_mul(others);
        let allowance = amount.get().checked_div(part).unwrap_or(0);
        let limit = linked.saturating_add(allowance);
        if actual > limit {
            return Err(BlockError::AboveAllowance {
                batch_source: record.chain,
                denom: *denom,
                limit: Amount::new(limit),
                actual: Amount::new(actual),
            });
        }
    }
    Ok(())
}

fn check_transactions(
    input: &BlockInput<'_>,
    checked: &CheckedBody,
) -> Result<ValidBlock, BlockError> {
    let context = AdmissionContext {
        network: input.network,
        chain: input.chain,
        beacon_height: input.header.beacon.height,
        base_fee: views::base_fee(
            input.parent,
            &input.network.parameters,
            input.chain,
            input.header.height,
        ),
    };
    let mut seen = BTreeSet::new();
    for (index, wire_hash) in checked.wire_hashes().iter().enumerate() {
        if !seen.insert(wire_hash) {
            return Err(BlockError::Duplicate { index });
        }
    }
    let transactions = checked.transactions(input.known, &input.network.chain_id)?;
    let mut actual = Gas::ZERO;
    for (index, transaction) in transactions.all.iter().enumerate() {
        let need = check_static(transaction, input.parent, &context).map_err(|cause| {
            BlockError::Admission {
                index,
                cause: Box::new(cause),
            }
        })?;
        actual = actual.saturating_add(need.near.get());
    }
    let has_inbound = !checked.body().inbound.is_empty()
        || views::inbox_waiting(input.parent, input.network, input.chain) > 0;
    let limit = transactions_gas_max(input.network, has_inbound);
    if actual > limit {
        return Err(BlockError::Gas { limit, actual });
    }
    Ok(ValidBlock {
        transactions: transactions.all,
        unknown: transactions.unknown,
        gas: actual,
    })
}
