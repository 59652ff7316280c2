//! `LedgerService`: final blocks and the transactions in them, found by hash alone.

use super::limits::BATCH_ITEMS_MAX;
use super::refusal::{Refusal, internal};
use super::status::{Submitted, status_of, unknown};
use crate::view::{ChainView, HomeStatus, NodeView};
use skerry_execution::modules;
use skerry_proto::convert;
use skerry_proto::v1::{self, ErrorReason};
use skerry_types::block::{Body, Header};
use skerry_types::codec;
use skerry_types::ids::{ChainRef, Digest, Height};
use skerry_types::limits::BODY_BYTES_MAX;
use skerry_types::receipt::{Receipt, Subject};
use skerry_types::transaction::{CheckedTransaction, Operation};
use std::sync::Arc;
use tonic::{Request, Response, Status};
use v1::ledger_service_server::LedgerService;

/// How far below the newest final block a readable one is looked for.
const NEWEST_TRIES: u64 = 16;

/// The service.
pub(super) struct Service {
    pub(super) view: Arc<NodeView>,
    pub(super) submitted: Arc<Submitted>,
}

/// The view of the chain that a request names.
pub(super) fn followed<'v>(view: &'v NodeView, chain: &str) -> Result<&'v Arc<ChainView>, Refusal> {
    let chain = convert::chain("chain", chain)?;
    if !view.genesis.chains().contains(&chain) {
        let message = format!("this network has no chain {chain}");
        return Err(Refusal::new(ErrorReason::ChainUnknown, message).with("chain", chain));
    }
    view.chain(chain).ok_or_else(|| not_followed(chain))
}

/// Refuses a chain that only other nodes follow.
pub(super) fn not_followed(chain: ChainRef) -> Refusal {
    Refusal::new(
        ErrorReason::ShardUnavailable,
        format!("this node does not follow {chain}"),
    )
    .with("chain", chain)
}

/// A final block as the API shows it; `None` when the store has none at `height`.
pub(super) fn block_at(
    chain: &ChainView,
    height: Height,
    with_encoded: bool,
) -> Result<Option<v1::Block>, Refusal> {
    let recent = chain.recent_block(height);
    // A shard's block is shown without its body: no read, no decoding. The beacon's are small.
    if let Some(recent) = recent
        .as_ref()
        .filter(|_| !with_encoded && !chain.chain.is_beacon())
    {
        let mut reply = convert::block(&recent.header, &recent.transactions, None);
        reply.inbound_messages = messages_of(&recent.receipts);
        return Ok(Some(reply));
    }
    let read = |error: &(dyn std::error::Error + 'static)| internal("read a block", error);
    let Some(block) = chain.store.block_at(height).map_err(|error| read(&error))? else {
        // Final and executed, but its commit is still on the way to the disk.
        return Ok(recent
            .filter(|_| !with_encoded)
            .map(|recent| convert::block(&recent.header, &recent.transactions, None)));
    };
    let body = decode_body(&block.body).map_err(|error| read(&error))?;
    let ids = body
        .as_ref()
        .map_or_else(|| Ok(Vec::new()), |body| ids(body, &block.header));
    let ids = ids.map_err(|error| read(&error))?;
    let mut reply = convert::block(&block.header, &ids, body.as_ref());
    let receipts = chain.store.receipts(height).map_err(|error| read(&error))?;
    reply.inbound_messages = messages_of(&receipts);
    if with_encoded {
        let finalized = chain
            .store
            .finalized_block(height)
            .map_err(|error| read(&error))?;
        reply.encoded = finalized
            .map(|block| codec::encode(&block))
            .unwrap_or_default();
    }
    Ok(Some(reply))
}

/// The newest final block that is readable: the very newest may still be on its way to the disk.
fn newest_block(
    chain: &ChainView,
    newest: Height,
    with_encoded: bool,
) -> Result<Option<v1::Block>, Refusal> {
    for behind in 0..NEWEST_TRIES {
        if let Some(block) = block_at(chain, newest.saturating_sub(behind), with_encoded)? {
            return Ok(Some(block));
        }
    }
    Ok(None)
}

/// Messages of other chains that a block executed.
fn messages_of(receipts: &[Receipt]) -> u32 {
    let is_message = |receipt: &&Receipt| matches!(receipt.subject, Subject::Message { .. });
    u32::try_from(receipts.iter().filter(is_message).count()).unwrap_or(u32::MAX)
}

fn decode_body(bytes: &[u8]) -> Result<Option<Body>, codec::CodecError> {
    if bytes.is_empty() {
        Ok(None)
    } else {
        codec::decode(bytes, BODY_BYTES_MAX).map(Some)
    }
}

fn ids(
    body: &Body,
    header: &Header,
) -> Result<Vec<Digest>, skerry_types::transaction::TransactionError> {
    let wires = body.transactions.iter();
    wires
        .map(|wire| Ok(CheckedTransaction::decode(wire.as_slice(), &header.chain_id)?.id()))
        .collect()
}

fn operation(operation: &Operation) -> v1::Operation {
    let module = modules::find(modules::MODULES, operation.module);
    let call = module.and_then(|module| module.decode(&operation.call).ok());
    v1::Operation {
        module: operation.module.get().into(),
        module_name: module
            .map(|module| module.name().to_owned())
            .unwrap_or_default(),
        call: operation.call.clone(),
        call_json: call
            .map(|call| call.to_json().to_string())
            .unwrap_or_default(),
    }
}

/// A transaction of the final block at `height`, with the block's header and its position there;
/// `None` where the block is not on the disk yet, or has no such transaction.
///
/// # Errors
/// When the block cannot be read.
pub(super) fn signed(
    chain: &ChainView,
    height: Height,
    id: &Digest,
) -> Result<Option<(Header, usize, CheckedTransaction)>, Refusal> {
    let read = |error: &(dyn std::error::Error + 'static)| internal("read a block", error);
    let Some(block) = chain.store.block_at(height).map_err(|error| read(&error))? else {
        return Ok(None);
    };
    let body = decode_body(&block.body)
        .map_err(|error| read(&error))?
        .unwrap_or_default();
    let found = body
        .transactions
        .iter()
        .enumerate()
        .find_map(|(index, wire)| {
            let chain_id = &block.header.chain_id;
            let checked = CheckedTransaction::decode(wire.as_slice(), chain_id).ok()?;
            (checked.id() == *id).then_some((index, checked))
        });
    Ok(found.map(|(index, checked)| (block.header, index, checked)))
}

impl Service {
    /// The transaction in its final block.
    fn find(&self, id: &Digest) -> Result<Option<v1::Transaction>, Refusal> {
        let Some((chain, HomeStatus::Final { height, receipt })) = self.view.transaction(id) else {
            return Ok(None);
        };
        let view = self.view.chain(chain).ok_or_else(|| not_followed(chain))?;
        let found = signed(view, height, id)?;
        Ok(found.map(|(header, index, checked)| {
            show(&checked, &header, index, receipt_of(id, &receipt))
        }))
    }

    fn get(&self, hash: &str) -> Result<v1::BatchTransaction, Refusal> {
        let id = convert::digest("hash", hash)?;
        let status = status_of(&self.view, &self.submitted, &id)?;
        Ok(v1::BatchTransaction {
            hash: id.to_string(),
            transaction: self.find(&id)?,
            status,
        })
    }
}

/// The receipt, if it is the transaction's own.
fn receipt_of<'r>(id: &Digest, receipt: &'r Receipt) -> Option<&'r Receipt> {
    (receipt.subject == Subject::Transaction(*id)).then_some(receipt)
}

fn show(
    checked: &CheckedTransaction,
    header: &Header,
    index: usize,
    receipt: Option<&Receipt>,
) -> v1::Transaction {
    let body = checked.body();
    v1::Transaction {
        hash: checked.id().to_string(),
        sender: body.sender.to_string(),
        nonce_stream: body.nonce.stream.into(),
        nonce_sequence: body.nonce.sequence,
        valid_until: body.valid_until.get(),
        gas_limit: body.gas_limit.get(),
        gas_price: body.gas_price.to_string(),
        assets: body.bundle.assets.iter().map(Into::into).collect(),
        operations: body.bundle.operations.iter().map(operation).collect(),
        chain: header.chain.to_string(),
        block: Some((&header.block_ref()).into()),
        index: u32::try_from(index).unwrap_or(u32::MAX),
        receipt: receipt.map(Into::into),
        signed_transaction: checked.wire().to_vec(),
    }
}

#[tonic::async_trait]
impl LedgerService for Service {
    async fn get_block(
        &self,
        request: Request<v1::GetBlockRequest>,
    ) -> Result<Response<v1::GetBlockResponse>, Status> {
        let request = request.into_inner();
        let chain = followed(&self.view, &request.chain)?;
        let newest = chain.snapshot().final_height();
        let block = match request.height {
            Some(height) => block_at(chain, Height::new(height), request.with_encoded)?,
            None => newest_block(chain, newest, request.with_encoded)?,
        };
        let height = request.height.map_or(newest, Height::new);
        let block = block.ok_or_else(|| {
            // A store that cannot be read says so elsewhere.
            let base = chain.store.base().ok().flatten();
            let base = base.filter(|base| height < base.block.height);
            let message = match base {
                Some(base) => format!(
                    "block {height} of {} lies before the node's base at height {}; ask a node that \
                     has followed the chain for longer",
                    chain.chain, base.block.height
                ),
                None => format!(
                    "{} has no final block {height}; the newest is {newest}",
                    chain.chain
                ),
            };
            Refusal::new(ErrorReason::BlockUnknown, message).with("newest", newest)
        })?;
        Ok(Response::new(v1::GetBlockResponse { block: Some(block) }))
    }

    async fn get_transaction(
        &self,
        request: Request<v1::GetTransactionRequest>,
    ) -> Result<Response<v1::GetTransactionResponse>, Status> {
        let found = self.get(&request.into_inner().hash)?;
        if found.status.is_none() {
            let id = convert::digest("hash", &found.hash).map_err(Refusal::from)?;
            return Err(unknown(&self.view, &id).into());
        }
        let v1::BatchTransaction {
            transaction,
            status,
            ..
        } = found;
        Ok(Response::new(v1::GetTransactionResponse {
            transaction,
            status,
        }))
    }

    async fn batch_get_transactions(
        &self,
        request: Request<v1::BatchGetTransactionsRequest>,
    ) -> Result<Response<v1::BatchGetTransactionsResponse>, Status> {
        let hashes = request.into_inner().hashes;
        check_batch(hashes.len(), BATCH_ITEMS_MAX)?;
        let transactions: Result<Vec<_>, Refusal> =
            hashes.iter().map(|hash| self.get(hash)).collect();
        let transactions = transactions?;
        Ok(Response::new(v1::BatchGetTransactionsResponse {
            transactions,
        }))
    }
}

/// Refuses a batch with too many items.
pub(super) fn check_batch(actual: usize, limit: usize) -> Result<(), Refusal> {
    if actual <= limit {
        return Ok(());
    }
    let message = format!("{actual} items, a batch holds at most {limit}");
    let refusal = Refusal::new(ErrorReason::BatchTooLarge, message);
    Err(refusal.with("actual", actual).with("limit", limit))
}
