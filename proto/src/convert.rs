//! Between the protocol's types and the API's messages.
//!
//! Amounts become decimal strings, addresses and denoms bech32m, hashes `0x` hex, chains their
//! text. What comes in is parsed strictly; an error names field, finding and expectation.

use crate::error::ConvertError;
use crate::v1;
use skerry_types::amount::{Amount, Asset};
use skerry_types::block::{BlockKind, BlockRef, Body, Header};
use skerry_types::ids::{Address, ChainRef, Denom, Digest, ParseIdError, Sequence};
use skerry_types::message::MessageId;
use skerry_types::receipt::{Attribute, Event, Failure, Receipt, Status};
use std::str::FromStr;
use v1::ErrorReason;

fn parse<T: FromStr<Err = ParseIdError>>(
    field: &'static str,
    text: &str,
    reason: ErrorReason,
) -> Result<T, ConvertError> {
    text.parse().map_err(|error: ParseIdError| ConvertError {
        field,
        found: error.text,
        expected: error.expected.to_owned(),
        reason,
    })
}

/// Reads an address.
///
/// # Errors
/// When it is none.
pub fn address(field: &'static str, text: &str) -> Result<Address, ConvertError> {
    parse(field, text, ErrorReason::AddressInvalid)
}

/// Reads a denom.
///
/// # Errors
/// When it is none.
pub fn denom(field: &'static str, text: &str) -> Result<Denom, ConvertError> {
    parse(field, text, ErrorReason::DenomInvalid)
}

/// Reads an amount of base units.
///
/// # Errors
/// When it is none.
pub fn amount(field: &'static str, text: &str) -> Result<Amount, ConvertError> {
    parse(field, text, ErrorReason::AmountInvalid)
}

/// Reads a hash.
///
/// # Errors
/// When it is none.
pub fn digest(field: &'static str, text: &str) -> Result<Digest, ConvertError> {
    parse(field, text, ErrorReason::HashInvalid)
}

/// Reads a chain.
///
/// # Errors
/// When it is none.
pub fn chain(field: &'static str, text: &str) -> Result<ChainRef, ConvertError> {
    parse(field, text, ErrorReason::ChainUnknown)
}

/// Reads an asset.
///
/// # Errors
/// When its denom or amount is none.
pub fn asset(asset: &v1::Asset) -> Result<Asset, ConvertError> {
    Ok(Asset {
        denom: denom("denom", &asset.denom)?,
        amount: amount("amount", &asset.amount)?,
    })
}

/// Reads a message id.
///
/// # Errors
/// When one of its chains is none.
pub fn message_id(id: &v1::MessageId) -> Result<MessageId, ConvertError> {
    Ok(MessageId {
        source: chain("source", &id.source)?,
        destination: chain("destination", &id.destination)?,
        sequence: Sequence::new(id.sequence),
    })
}

impl From<&Asset> for v1::Asset {
    fn from(asset: &Asset) -> Self {
        Self {
            denom: asset.denom.to_string(),
            amount: asset.amount.to_string(),
        }
    }
}

impl From<&BlockRef> for v1::BlockRef {
    fn from(block: &BlockRef) -> Self {
        Self {
            height: block.height.get(),
            digest: block.digest.to_string(),
        }
    }
}

impl From<&MessageId> for v1::MessageId {
    fn from(id: &MessageId) -> Self {
        Self {
            source: id.source.to_string(),
            destination: id.destination.to_string(),
            sequence: id.sequence.get(),
        }
    }
}

impl From<&Failure> for v1::Failure {
    fn from(failure: &Failure) -> Self {
        Self {
            module: failure.module.get().into(),
            code: failure.code.clone(),
            detail: failure.detail.clone(),
        }
    }
}

impl From<&Event> for v1::Event {
    fn from(event: &Event) -> Self {
        let attribute = |attribute: &Attribute| v1::Attribute {
            key: attribute.name.to_string(),
            value: attribute.value.to_string(),
        };
        Self {
            module: event.module.get().into(),
            owner: event.owner.to_string(),
            name: event.name.to_string(),
            attributes: event.attributes.iter().map(attribute).collect(),
        }
    }
}

/// Name and failure of a receipt's status.
pub fn receipt_status(status: &Status) -> (&'static str, Option<&Failure>) {
    match status {
        Status::Succeeded => ("SUCCEEDED", None),
        Status::Failed(failure) => ("FAILED", Some(failure)),
        Status::Void(failure) => ("VOID", Some(failure)),
        Status::Claimed(failure) => ("CLAIMED", Some(failure)),
        Status::Dropped(failure) => ("DROPPED", Some(failure)),
    }
}

impl From<&Receipt> for v1::Receipt {
    fn from(receipt: &Receipt) -> Self {
        let (status, failure) = receipt_status(&receipt.status);
        Self {
            status: status.to_owned(),
            failure: failure.map(Into::into),
            gas: receipt.gas.get(),
            fee: receipt.fee.to_string(),
            messages: receipt.messages.iter().map(Into::into).collect(),
            events: receipt.events.iter().map(Into::into).collect(),
        }
    }
}

impl From<BlockKind> for v1::BlockKind {
    fn from(kind: BlockKind) -> Self {
        match kind {
            BlockKind::Working => Self::Working,
            BlockKind::Idle => Self::Idle,
            BlockKind::Seal => Self::Seal,
        }
    }
}

/// A block from its header, the ids of its transactions and its body; the count of messages, which
/// receipts tell, is the caller's to fill in.
pub fn block(header: &Header, transactions: &[Digest], body: Option<&Body>) -> v1::Block {
    let cross_links = body.map_or(0, |body| body.system.len());
    let result = &header.report.result;
    v1::Block {
        chain: header.chain.to_string(),
        height: header.height.get(),
        digest: header.digest().to_string(),
        parent: header.parent.to_string(),
        kind: v1::BlockKind::from(header.kind).into(),
        epoch: header.epoch.get(),
        view: header.view.get(),
        proposer: header.proposer.get().into(),
        time_ms: header.time.get(),
        beacon: Some((&header.beacon).into()),
        reported: Some((&header.report.block).into()),
        state_root: result.state_root.to_string(),
        receipts_root: result.receipts_root.to_string(),
        channels_root: result.channels_root.to_string(),
        reported_gas: result.gas.get(),
        reported_burnt: result.burnt.to_string(),
        reported_base_fee: result.base_fee.to_string(),
        transactions: transactions.iter().map(ToString::to_string).collect(),
        inbound_messages: 0,
        cross_links: u32::try_from(cross_links).unwrap_or(u32::MAX),
        encoded: Vec::new(),
    }
}
