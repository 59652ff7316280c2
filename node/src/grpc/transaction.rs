//! `TransactionService`: taking transactions, and telling what becomes of them.
//!
//! The transaction id is the idempotency key: what is known already is answered with its status and
//! not handed to a chain again. What is final for long is on the disk only, and is looked for there
//! when a transaction is refused: its nonce is used then, so it is. (A void one has used no nonce; once
//! it is no longer among the recent, it may be taken again.)

use super::admission;
use super::ledger::{check_batch, not_followed};
use super::limits::BATCH_TRANSACTIONS_MAX;
use super::refusal::Refusal;
use super::status::{Submitted, answers, changed, status_of, unknown, wait_for, wait_of, watch};
use crate::view::{NodeView, SubmitError};
use futures::Stream;
use skerry_execution::network::NetworkInfo;
use skerry_execution::requests::price_for;
use skerry_execution::views;
use skerry_proto::convert;
use skerry_proto::v1::{self, ErrorReason, Outcome, Stage};
use skerry_sdk::builder::gas_of;
use skerry_types::codec;
use skerry_types::ids::Digest;
use skerry_types::limits::TRANSACTION_BYTES_MAX;
use skerry_types::transaction::{CheckedTransaction, TransactionBody, TransactionError};
use std::pin::Pin;
use std::sync::Arc;
use tonic::{Request, Response, Status};
use v1::transaction_service_server::TransactionService;

/// The service.
#[derive(Clone)]
pub(super) struct Service {
    pub(super) view: Arc<NodeView>,
    pub(super) submitted: Arc<Submitted>,
}

fn stage_of(stage: i32, default: Stage) -> Result<Stage, Refusal> {
    match Stage::try_from(stage) {
        Ok(Stage::Unspecified) => Ok(default),
        Ok(stage) => Ok(stage),
        Err(_) => {
            let message = format!("wait_for {stage} is no stage");
            Err(Refusal::new(ErrorReason::ArgumentInvalid, message).with("field", "wait_for"))
        }
    }
}

/// A transaction on its way in.
enum Incoming {
    /// Not taken.
    Refused(Option<Digest>, Refusal),
    /// Taken before.
    Known(Arc<CheckedTransaction>),
    /// To be handed to its chain.
    New(Arc<CheckedTransaction>),
}

impl Service {
    fn check(&self, wire: Vec<u8>) -> Incoming {
        let checked = match CheckedTransaction::decode(wire, &self.view.chain_id) {
            Ok(checked) => Arc::new(checked),
            Err(error) => return Incoming::Refused(None, error.into()),
        };
        if self.view.is_recent(&checked.id()) {
            return Incoming::Known(checked);
        }
        match admission::check(&self.view, checked.body()) {
            Ok(()) => Incoming::New(checked),
            Err(_) if self.is_known(&checked) => Incoming::Known(checked),
            Err(refusal) => Incoming::Refused(Some(checked.id()), refusal),
        }
    }

    fn is_known(&self, checked: &CheckedTransaction) -> bool {
        self.view.transaction(&checked.id()).is_some()
    }

    /// Hands transactions to their chains; one result each, in order.
    async fn take(&self, wires: Vec<Vec<u8>>) -> Vec<(Option<Digest>, Result<(), Refusal>)> {
        let incoming: Vec<Incoming> = wires.into_iter().map(|wire| self.check(wire)).collect();
        let fresh: Vec<Arc<CheckedTransaction>> = incoming
            .iter()
            .filter_map(|incoming| match incoming {
                Incoming::New(checked) => Some(checked.clone()),
                _ => None,
            })
            .collect();
        let mut answers = if fresh.is_empty() {
            Vec::new()
        } else {
            self.view.submit(fresh).await
        }
        .into_iter();
        let mut results = Vec::with_capacity(incoming.len());
        for incoming in incoming {
            let (checked, answer) = match incoming {
                Incoming::Refused(id, refusal) => {
                    let refusal = match id {
                        Some(id) => refusal.with("hash", id),
                        None => refusal,
                    };
                    results.push((id, Err(refusal)));
                    continue;
                }
                Incoming::Known(checked) => {
                    let id = checked.id();
                    (checked, Ok(id))
                }
                Incoming::New(checked) => {
                    let answer = answers.next().unwrap_or(Err(SubmitError::Busy(0)));
                    let id = checked.id();
                    let answer = answer.or_else(|error| {
                        let is_known = self.is_known(&checked);
                        is_known.then_some(id).ok_or(error)
                    });
                    (checked, answer)
                }
            };
            let id = checked.id();
            let result = answer.map_err(|error| Refusal::from(error).with("hash", id));
            if result.is_ok() {
                self.submitted.note(id, checked.body());
            }
            results.push((Some(id), result.map(drop)));
        }
        results
    }
}

type Statuses = Pin<Box<dyn Stream<Item = Result<v1::WatchTransactionResponse, Status>> + Send>>;

#[tonic::async_trait]
impl TransactionService for Service {
    type WatchTransactionStream = Statuses;

    async fn submit_transaction(
        &self,
        request: Request<v1::SubmitTransactionRequest>,
    ) -> Result<Response<v1::SubmitTransactionResponse>, Status> {
        let request = request.into_inner();
        let stage = stage_of(request.wait_for, Stage::Received)?;
        let wait = wait_of(request.wait_timeout_ms);
        let Some((id, result)) = self.take(vec![request.signed_transaction]).await.pop() else {
            return Err(Refusal::new(ErrorReason::Internal, "no answer").into());
        };
        result?;
        let Some(id) = id else {
            return Err(Refusal::new(ErrorReason::Internal, "no transaction id").into());
        };
        let status = wait_for(&self.view, &self.submitted, &id, stage, wait).await?;
        Ok(Response::new(v1::SubmitTransactionResponse {
            status: Some(status),
        }))
    }

    async fn submit_transactions(
        &self,
        request: Request<v1::SubmitTransactionsRequest>,
    ) -> Result<Response<v1::SubmitTransactionsResponse>, Status> {
        let wires = request.into_inner().signed_transactions;
        check_batch(wires.len(), BATCH_TRANSACTIONS_MAX)?;
        let results = self.take(wires).await.into_iter().map(|(id, result)| {
            let hash = id.map(|id| id.to_string()).unwrap_or_default();
            match result {
                Ok(()) => v1::SubmitResult {
                    hash,
                    accepted: true,
                    ..Default::default()
                },
                Err(refusal) => v1::SubmitResult {
                    hash,
                    accepted: false,
                    reason: refusal.reason.into(),
                    message: refusal.message,
                },
            }
        });
        Ok(Response::new(v1::SubmitTransactionsResponse {
            results: results.collect(),
        }))
    }

    async fn get_transaction_status(
        &self,
        request: Request<v1::GetTransactionStatusRequest>,
    ) -> Result<Response<v1::GetTransactionStatusResponse>, Status> {
        let request = request.into_inner();
        let id = convert::digest("hash", &request.hash).map_err(Refusal::from)?;
        let stage = stage_of(request.wait_for, Stage::Unspecified)?;
        let wait = wait_of(request.wait_timeout_ms);
        let status = wait_for(&self.view, &self.submitted, &id, stage, wait).await?;
        Ok(Response::new(v1::GetTransactionStatusResponse {
            status: Some(status),
        }))
    }

    async fn watch_transaction(
        &self,
        request: Request<v1::WatchTransactionRequest>,
    ) -> Result<Response<Statuses>, Status> {
        let request = request.into_inner();
        let id = convert::digest("hash", &request.hash).map_err(Refusal::from)?;
        // Before the first look, so that no change falls between the two.
        let receivers = watch(&self.view);
        if status_of(&self.view, &self.submitted, &id)?.is_none() {
            return Err(unknown(&self.view, &id).into());
        }
        let start = Watching {
            service: self.clone(),
            id,
            receivers,
            last: None,
            is_over: false,
        };
        Ok(Response::new(Box::pin(futures::stream::unfold(
            start,
            Watching::next,
        ))))
    }

    async fn estimate_fee(
        &self,
        request: Request<v1::EstimateFeeRequest>,
    ) -> Result<Response<v1::EstimateFeeResponse>, Status> {
        let bytes = request.into_inner().transaction_body;
        let body: TransactionBody = codec::decode(&bytes, TRANSACTION_BYTES_MAX)
            .map_err(|error| Refusal::from(TransactionError::from(error)))?;
        let gas = gas_of(&body).map_err(Refusal::from)?;
        let home = self.view.home(&body.sender);
        let chain = self.view.chain(home).ok_or_else(|| not_followed(home))?;
        let parameters = &self.view.genesis.parameters;
        let snapshot = chain.snapshot();
        let base_fee = snapshot.base_fee;
        let price = views::gas_price(base_fee, parameters);
        // Gas of other chains has a price of its own, which the transaction's must not be below.
        let network = NetworkInfo::of(&self.view.genesis);
        let price = price_for(&snapshot.state, &network, home, price, &body.bundle);
        let fee = price.checked_mul(gas.get().into()).ok_or_else(|| {
            Refusal::new(
                ErrorReason::AmountOverflow,
                "gas times price exceeds 2^128 base units",
            )
        })?;
        Ok(Response::new(v1::EstimateFeeResponse {
            gas: gas.get(),
            gas_price: price.to_string(),
            fee: fee.to_string(),
            base_fee: base_fee.to_string(),
        }))
    }
}

/// A stream of a transaction's statuses, between two of them.
struct Watching {
    service: Service,
    id: Digest,
    receivers: Vec<tokio::sync::watch::Receiver<u64>>,
    last: Option<v1::TransactionStatus>,
    /// Nothing follows: the last status cannot change, or an error was told.
    is_over: bool,
}

impl Watching {
    /// Waits for another status than the last one; ends after one that cannot change.
    async fn next(mut self) -> Option<(Result<v1::WatchTransactionResponse, Status>, Self)> {
        if self.is_over {
            return None;
        }
        loop {
            let status = match status_of(&self.service.view, &self.service.submitted, &self.id) {
                Ok(status) => status.unwrap_or_else(|| self.gone()),
                Err(refusal) => {
                    self.is_over = true;
                    return Some((Err(refusal.into()), self));
                }
            };
            if self.last.as_ref().is_none_or(|last| differs(last, &status)) {
                self.is_over = answers(&status, Stage::Returned);
                self.last = Some(status.clone());
                let reply = v1::WatchTransactionResponse {
                    status: Some(status),
                };
                return Some((Ok(reply), self));
            }
            changed(&mut self.receivers).await;
        }
    }

    /// The status of a transaction that was known here and is no more: it was taken from a peer, and
    /// the mempool has given it up.
    fn gone(&self) -> v1::TransactionStatus {
        v1::TransactionStatus {
            hash: self.id.to_string(),
            stage: Stage::Received.into(),
            outcome: Outcome::Dropped.into(),
            legs: Vec::new(),
            ..self.last.clone().unwrap_or_default()
        }
    }
}

/// Whether two statuses of a transaction differ in more than how far the beacon is.
fn differs(last: &v1::TransactionStatus, status: &v1::TransactionStatus) -> bool {
    let of = |it: &v1::TransactionStatus| v1::TransactionStatus {
        beacon_height: 0,
        ..it.clone()
    };
    of(last) != of(status)
}
