//! Whether a block is valid: everything that makes it invalid and needs only its bytes, its
//! parent's state and what its beacon reference shows.
//!
//! Not here: the header's place in consensus (parent, view, proposer, time, report), signatures of
//! users (checked in batches) and proofs of batches and cross-links ([`crate::proofs`]); the glue
//! checks them before it votes.

use crate::block::BlockWork;
use crate::check::{AdmissionContext, check_static, transactions_gas_max};
use crate::error::BlockError;
use crate::network::NetworkInfo;
use crate::views;
use skerry_types::block::{BlockKind, Body, Header};
use skerry_types::codec;
use skerry_types::crypto::hash::{Purpose, hash};
use skerry_types::ids::{ChainRef, Digest, Gas, Sequence};
use skerry_types::limits;
use skerry_types::message::Batch;
use skerry_types::state::StateRead;
use skerry_types::transaction::CheckedTransaction;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A block to validate, with what its validity depends on.
pub struct BlockInput<'a> {
    /// The network.
    pub network: &'a NetworkInfo,
    /// The chain that is asked to accept it.
    pub chain: ChainRef,
    /// The header.
    pub header: &'a Header,
    /// Bytes of the body; empty for idle blocks and seals.
    pub body: &'a [u8],
    /// State after the parent.
    pub parent: &'a dyn StateRead,
    /// On a shard, the facts root of the referenced beacon header; at height 0, the root of the
    /// genesis facts. Ignored on the beacon.
    pub shown_facts_root: Digest,
    /// Transactions that were decoded before, by wire hash.
    pub known: &'a dyn Fn(&Digest) -> Option<Arc<CheckedTransaction>>,
}

/// A block whose form and rules hold.
#[derive(Clone, Debug)]
pub struct ValidBlock {
    /// The body; `None` for idle blocks and seals.
    pub body: Option<Body>,
    /// The transactions, decoded, in order. Their signatures are still to be checked.
    pub transactions: Vec<Arc<CheckedTransaction>>,
    /// Gas of the transactions.
    pub gas: Gas,
}

impl ValidBlock {
    /// What there is to execute; `None` for idle blocks and seals. The proofs of the inbound
    /// batches must have been checked.
    pub fn work(&self) -> Option<BlockWork> {
        let body = self.body.as_ref()?;
        Some(BlockWork {
            facts: body.facts.clone(),
            system: body.system.clone(),
            inbound: body
                .inbound
                .iter()
                .map(|inbound| inbound.batch.clone())
                .collect(),
            transactions: self.transactions.clone(),
        })
    }
}

/// Validates a block.
///
/// # Errors
/// Names the first rule that is broken.
pub fn validate_block(input: &BlockInput<'_>) -> Result<ValidBlock, BlockError> {
    let BlockInput {
        network,
        chain,
        header,
        body: bytes,
        ..
    } = *input;
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
    let kind = header.kind;
    if kind != BlockKind::Working {
        if !bytes.is_empty() {
            return Err(BlockError::BodyOfKind {
                kind,
                bytes: bytes.len(),
            });
        }
        check_root(header, Digest::ZERO)?;
        return Ok(ValidBlock {
            body: None,
            transactions: Vec::new(),
            gas: Gas::ZERO,
        });
    }
    if bytes.is_empty() {
        return Err(BlockError::BodyOfKind { kind, bytes: 0 });
    }
    let body: Body = codec::decode(bytes, limits::BODY_BYTES_MAX).map_err(BlockError::Codec)?;
    at_most(
        "transactions",
        body.transactions.len(),
        limits::BLOCK_TRANSACTIONS_MAX,
    )?;
    at_most(
        "system operations",
        body.system.len(),
        limits::SYSTEM_OPERATIONS_MAX,
    )?;
    let wire_hashes: Vec<Digest> = body
        .transactions
        .iter()
        .map(|wire| hash(Purpose::TRANSACTION_WIRE, wire))
        .collect();
    check_root(header, body.root_with(&wire_hashes))?;
    check_chain_kind(chain, &body)?;
    check_facts(input, &body)?;
    check_inbound(input, body.inbound.iter().map(|inbound| &inbound.batch))?;
    let (transactions, gas) = check_transactions(input, &body, &wire_hashes)?;
    Ok(ValidBlock {
        body: Some(body),
        transactions,
        gas,
    })
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

/// Facts are carried exactly when the beacon reference shows others than the state holds.
fn check_facts(input: &BlockInput<'_>, body: &Body) -> Result<(), BlockError> {
    if input.chain.is_beacon() {
        return Ok(());
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
    batches: impl Iterator<Item = &'b Batch>,
) -> Result<(), BlockError> {
    let here = input.chain;
    let mut cursors: BTreeMap<ChainRef, Sequence> = BTreeMap::new();
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
        if here.is_beacon() {
            check_cross_linked(input.parent, batch)?;
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

fn check_batch_size(batch: &Batch) -> Result<(), BlockError> {
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

/// Every beacon block is a consistent cut: it accepts only what is cross-linked as sent.
fn check_cross_linked(beacon: &dyn StateRead, batch: &Batch) -> Result<(), BlockError> {
    let record = views::shard_record(beacon, batch.source);
    let sent = record.and_then(|record| {
        let to_beacon = record
            .channels
            .iter()
            .find(|summary| summary.peer.is_beacon())?;
        Some(to_beacon.sent.messages)
    });
    let expected = Sequence::new(sent.unwrap_or(0));
    let actual = batch.end();
    if actual <= expected {
        return Ok(());
    }
    Err(BlockError::NotCrossLinked {
        batch_source: batch.source,
        expected,
        actual,
    })
}

fn check_transactions(
    input: &BlockInput<'_>,
    body: &Body,
    wire_hashes: &[Digest],
) -> Result<(Vec<Arc<CheckedTransaction>>, Gas), BlockError> {
    let context = AdmissionContext {
        network: input.network,
        chain: input.chain,
        beacon_height: input.header.beacon.height,
    };
    let mut seen = BTreeSet::new();
    let mut transactions = Vec::with_capacity(body.transactions.len());
    let mut actual = Gas::ZERO;
    for (index, (wire, wire_hash)) in body.transactions.iter().zip(wire_hashes).enumerate() {
        if !seen.insert(wire_hash) {
            return Err(BlockError::Duplicate { index });
        }
        let transaction = match (input.known)(wire_hash) {
            Some(known) => known,
            None => CheckedTransaction::decode(wire.as_slice(), &input.network.chain_id)
                .map(Arc::new)
                .map_err(|cause| BlockError::Transaction { index, cause })?,
        };
        let gas = check_static(&transaction, input.parent, &context).map_err(|cause| {
            BlockError::Admission {
                index,
                cause: Box::new(cause),
            }
        })?;
        actual = actual.saturating_add(gas.get());
        transactions.push(transaction);
    }
    let has_inbound = !body.inbound.is_empty()
        || views::inbox_waiting(input.parent, input.network, input.chain) > 0;
    let limit = transactions_gas_max(input.network, has_inbound);
    if actual > limit {
        return Err(BlockError::Gas { limit, actual });
    }
    Ok((transactions, actual))
}
