//! Where a transaction stands, composed from the receipts of all its legs, and waiting for it.
//!
//! The home leg decides first: before its block is final there is no outcome. Then one leg for each
//! message that its receipt names, done when the destination's final block has executed it; after a
//! request comes the leg of its reply. The last leg to become final makes the transaction RETURNED. What only this node knew, that a
//! transaction waited in its mempool, is remembered for as long as [`Submitted`] has room, so that
//! a vanished transaction is EXPIRED or DROPPED instead of unknown.

use super::limits::{LOOK_INTERVAL, SUBMITTED_KEPT, WAIT_MAX};
use super::refusal::Refusal;
use crate::view::{HomeStatus, NodeView};
use futures::FutureExt as _;
use futures::future::select_all;
use parking_lot::Mutex;
use skerry_execution::views;
use skerry_proto::convert::receipt_status;
use skerry_proto::v1::{self, ErrorReason, LegKind, Outcome, Stage};
use skerry_types::amount::Amount;
use skerry_types::block::BlockRef;
use skerry_types::ids::{Address, ChainRef, Digest, Height};
use skerry_types::lookup::Lookup;
use skerry_types::message::MessageId;
use skerry_types::receipt::{Receipt, Status};
use skerry_types::transaction::TransactionBody;
use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout_at};

/// What is known of a message at its destination.
#[derive(Clone, Debug)]
pub(super) enum Delivery {
    /// Not executed in a final block yet.
    Waiting,
    /// Executed in a final block.
    Executed {
        /// The block.
        block: BlockRef,
        /// What happened.
        receipt: Box<Receipt>,
    },
    /// The destination is not followed here, but the beacon's record of it shows that it has
    /// executed the message.
    Attested,
}

/// What a node knew of a transaction when it took it.
#[derive(Clone, Copy, Debug)]
struct Taken {
    sender: Address,
    stream: u16,
    sequence: u64,
    valid_until: Height,
}

#[derive(Debug, Default)]
struct Memory {
    order: VecDeque<Digest>,
    taken: Lookup<Digest, Taken>,
    by_nonce: Lookup<(Address, u16, u64), Digest>,
}

/// The transactions that were submitted here lately.
#[derive(Debug, Default)]
pub(super) struct Submitted(Mutex<Memory>);

impl Submitted {
    /// Remembers an accepted transaction, forgetting the oldest when there is no room.
    pub(super) fn note(&self, id: Digest, body: &TransactionBody) {
        let taken = Taken {
            sender: body.sender,
            stream: body.nonce.stream,
            sequence: body.nonce.sequence,
            valid_until: body.valid_until,
        };
        let mut memory = self.0.lock();
        if memory.taken.insert(id, taken).is_some() {
            return;
        }
        memory.order.push_back(id);
        memory
            .by_nonce
            .insert((taken.sender, taken.stream, taken.sequence), id);
        while memory.order.len() > SUBMITTED_KEPT {
            let Some(old) = memory.order.pop_front() else {
                break;
            };
            if let Some(taken) = memory.taken.remove(&old) {
                let nonce = (taken.sender, taken.stream, taken.sequence);
                if memory.by_nonce.get(&nonce) == Some(&old) {
                    memory.by_nonce.remove(&nonce);
                }
            }
        }
    }

    fn valid_until(&self, id: &Digest) -> Option<Height> {
        self.0.lock().taken.get(id).map(|taken| taken.valid_until)
    }

    /// The first sequence from `next` on under which nothing that was submitted here still waits.
    pub(super) fn next_free(
        &self,
        view: &NodeView,
        sender: &Address,
        stream: u16,
        mut next: u64,
    ) -> u64 {
        loop {
            let waiting = self
                .0
                .lock()
                .by_nonce
                .get(&(*sender, stream, next))
                .copied();
            match waiting.and_then(|id| view.transaction(&id)) {
                Some((_, HomeStatus::Received | HomeStatus::Included { .. })) => {
                    next = next.saturating_add(1);
                }
                // Final here already, though the state that `next` came from was older.
                Some((_, HomeStatus::Final { ref receipt, .. }))
                    if !matches!(receipt.status, Status::Void(_)) =>
                {
                    next = next.saturating_add(1);
                }
                _ => return next,
            }
        }
    }
}

/// The newest final beacon height held here.
pub(super) fn beacon_height(view: &NodeView) -> Height {
    view.chain(ChainRef::Beacon)
        .map_or(Height::ZERO, |beacon| beacon.snapshot().final_height())
}

fn block_at(view: &NodeView, chain: ChainRef, height: Height) -> BlockRef {
    let chain = view.chain(chain);
    let digest = chain.and_then(|chain| match chain.recent_block(height) {
        Some(block) => Some(block.header.digest()),
        None => chain.store.digest_at(height).ok().flatten(),
    });
    BlockRef {
        height,
        digest: digest.unwrap_or(Digest::ZERO),
    }
}

fn delivery(view: &NodeView, id: &MessageId) -> Delivery {
    if let Some(chain) = view.chain(id.destination) {
        return match chain.message(id) {
            Some((height, receipt)) => Delivery::Executed {
                block: block_at(view, id.destination, height),
                receipt: Box::new(receipt),
            },
            None => Delivery::Waiting,
        };
    }
    let attested = || {
        let beacon = view.chain(ChainRef::Beacon)?.snapshot();
        let record = views::shard_record(&beacon.state, id.destination)?;
        let summary = record
            .channels
            .iter()
            .find(|summary| summary.peer == id.source)?;
        Some(summary.executed > id.sequence.get())
    };
    if attested() == Some(true) {
        Delivery::Attested
    } else {
        Delivery::Waiting
    }
}

/// Where a transaction stands; `None` when this node has never heard of it.
pub(super) fn status_of(
    view: &NodeView,
    submitted: &Submitted,
    id: &Digest,
) -> Option<v1::TransactionStatus> {
    let beacon = beacon_height(view);
    let valid_until = submitted.valid_until(id);
    let mut status = match view.transaction(id) {
        Some((chain, home)) => {
            let block = match &home {
                HomeStatus::Received => None,
                HomeStatus::Included { block } => Some(*block),
                HomeStatus::Final { height, .. } => Some(block_at(view, chain, *height)),
            };
            compose(chain, &home, block, &|message| delivery(view, message))
        }
        None => vanished(view, submitted, id, valid_until?, beacon),
    };
    status.hash = id.to_string();
    status.valid_until = valid_until.unwrap_or(Height::ZERO).get();
    status.beacon_height = beacon.get();
    Some(status)
}

/// The status of a transaction that was submitted here and is in no mempool and no block.
fn vanished(
    view: &NodeView,
    submitted: &Submitted,
    id: &Digest,
    valid_until: Height,
    beacon: Height,
) -> v1::TransactionStatus {
    let sender = submitted.0.lock().taken.get(id).map(|taken| taken.sender);
    let home = sender.map(|sender| view.home(&sender));
    let elsewhere = home.is_some_and(|home| view.chain(home).is_none());
    let outcome = match (valid_until < beacon, elsewhere) {
        (true, _) => Outcome::Expired,
        // It was handed to peers; what they do with it is not known here.
        (false, true) => Outcome::Pending,
        (false, false) => Outcome::Dropped,
    };
    v1::TransactionStatus {
        stage: Stage::Received.into(),
        outcome: outcome.into(),
        fee: Amount::ZERO.to_string(),
        ..Default::default()
    }
}

/// Puts a status together from the home leg and what `delivery` knows of each message.
pub(super) fn compose(
    chain: ChainRef,
    home: &HomeStatus,
    block: Option<BlockRef>,
    delivery: &dyn Fn(&MessageId) -> Delivery,
) -> v1::TransactionStatus {
    let mut leg = v1::Leg {
        kind: LegKind::Home.into(),
        chain: chain.to_string(),
        block: block.as_ref().map(Into::into),
        ..Default::default()
    };
    let (stage, receipt) = match home {
        HomeStatus::Received => (Stage::Received, None),
        HomeStatus::Included { .. } => (Stage::Included, None),
        HomeStatus::Final { receipt, .. } => (Stage::Finalized, Some(receipt)),
    };
    leg.set_stage(stage);
    let Some(receipt) = receipt else {
        leg.set_outcome(Outcome::Pending);
        return v1::TransactionStatus {
            stage: stage.into(),
            outcome: Outcome::Pending.into(),
            legs: vec![leg],
            fee: Amount::ZERO.to_string(),
            ..Default::default()
        };
    };
    leg.gas = receipt.gas.get();
    leg.failure = receipt_status(&receipt.status).1.map(Into::into);
    leg.set_outcome(outcome_of(&receipt.status));
    leg.set_stage(Stage::Returned);
    let mut legs = vec![leg];
    let mut remote = Vec::new();
    for message in &receipt.messages {
        // Bundles go to the beacon, transfers to where people live.
        remote.push(if message.destination.is_beacon() {
            request_legs(message, delivery, &mut legs)
        } else {
            let leg = leg_of(LegKind::Transfer, message, &delivery(message));
            let outcome = match leg.outcome() {
                // The value has left its owner.
                Outcome::Failed => Outcome::Partial,
                outcome => outcome,
            };
            let progress = Progress {
                outcome,
                is_executed: leg.outcome() != Outcome::Pending,
            };
            legs.push(leg);
            progress
        });
    }
    let (stage, outcome) = total(outcome_of(&receipt.status), &remote);
    v1::TransactionStatus {
        stage: stage.into(),
        outcome: outcome.into(),
        legs,
        fee: receipt.fee.to_string(),
        ..Default::default()
    }
}

fn outcome_of(status: &Status) -> Outcome {
    match status {
        Status::Succeeded => Outcome::Succeeded,
        Status::Failed(_) | Status::Dropped(_) => Outcome::Failed,
        Status::Void(_) => Outcome::Void,
        Status::Claimed(_) => Outcome::Partial,
    }
}

/// How far a message has come, its answer included.
#[derive(Clone, Copy)]
struct Progress {
    outcome: Outcome,
    /// Whether the destination has executed it.
    is_executed: bool,
}

fn leg_of(kind: LegKind, message: &MessageId, delivery: &Delivery) -> v1::Leg {
    let mut leg = v1::Leg {
        kind: kind.into(),
        chain: message.destination.to_string(),
        message: Some(message.into()),
        ..Default::default()
    };
    let (stage, outcome) = match delivery {
        Delivery::Waiting => (Stage::Finalized, Outcome::Pending),
        Delivery::Attested => (Stage::Returned, Outcome::Succeeded),
        Delivery::Executed { block, receipt } => {
            leg.block = Some(block.into());
            leg.gas = receipt.gas.get();
            leg.failure = receipt_status(&receipt.status).1.map(Into::into);
            (Stage::Returned, outcome_of(&receipt.status))
        }
    };
    leg.set_stage(stage);
    leg.set_outcome(outcome);
    leg
}

/// The legs of a request: the bundle where it runs, and the reply at home.
fn request_legs(
    message: &MessageId,
    delivery: &dyn Fn(&MessageId) -> Delivery,
    legs: &mut Vec<v1::Leg>,
) -> Progress {
    let there = delivery(message);
    let mut leg = leg_of(LegKind::Request, message, &there);
    let ran = leg.outcome();
    if ran != Outcome::Pending {
        leg.set_stage(Stage::ExecutedRemotely);
    }
    legs.push(leg);
    let Delivery::Executed { receipt, .. } = there else {
        // Executed, but only those who follow the beacon know how; its reply is still to come.
        return Progress {
            outcome: Outcome::Pending,
            is_executed: ran != Outcome::Pending,
        };
    };
    let Some(reply) = receipt.messages.first() else {
        // Dropped: it has no answer.
        return Progress {
            outcome: ran,
            is_executed: true,
        };
    };
    let back = delivery(reply);
    let leg = leg_of(LegKind::Reply, reply, &back);
    let returned = leg.outcome();
    legs.push(leg);
    let brought = match &back {
        Delivery::Executed { receipt, .. } => !receipt.events.is_empty(),
        Delivery::Waiting | Delivery::Attested => false,
    };
    let outcome = match (ran, returned) {
        (_, Outcome::Pending) => Outcome::Pending,
        (Outcome::Failed, Outcome::Succeeded) if brought => Outcome::Refunded,
        (ran, Outcome::Succeeded) => ran,
        (_, _) => Outcome::Partial,
    };
    Progress {
        outcome,
        is_executed: true,
    }
}

fn total(home: Outcome, remote: &[Progress]) -> (Stage, Outcome) {
    let mut outcomes = remote.iter().map(|it| it.outcome);
    if outcomes.clone().any(|it| it == Outcome::Pending) {
        let is_executed = remote.iter().all(|it| it.is_executed);
        let stage = if is_executed {
            Stage::ExecutedRemotely
        } else {
            Stage::Finalized
        };
        return (stage, Outcome::Pending);
    }
    let outcome = match remote {
        // A bundle elsewhere is all that its transaction does.
        [Progress { outcome, .. }] if *outcome != Outcome::Succeeded => *outcome,
        _ if outcomes.all(|it| it == Outcome::Succeeded) => home,
        _ => Outcome::Partial,
    };
    (Stage::Returned, outcome)
}

/// Whether `status` answers a wait for `stage`: it got there, or nothing can change any more.
pub(super) fn answers(status: &v1::TransactionStatus, stage: Stage) -> bool {
    status.stage >= i32::from(stage) || status.outcome().is_decided()
}

/// The wait that a request asks for, capped.
pub(super) fn wait_of(timeout_ms: u32) -> Duration {
    match timeout_ms {
        0 => WAIT_MAX,
        _ => Duration::from_millis(timeout_ms.into()).min(WAIT_MAX),
    }
}

/// Resolves when something changed on a followed chain, at the earliest after [`LOOK_INTERVAL`].
pub(super) async fn changed(receivers: &mut [tokio::sync::watch::Receiver<u64>]) {
    if receivers.is_empty() {
        return std::future::pending().await;
    }
    let any = select_all(
        receivers
            .iter_mut()
            .map(|receiver| receiver.changed().boxed()),
    );
    if any.await.0.is_err() {
        // The chain is gone: the node is stopping.
        return std::future::pending().await;
    }
    sleep(LOOK_INTERVAL).await;
}

/// A receiver for every followed chain.
pub(super) fn watch(view: &NodeView) -> Vec<tokio::sync::watch::Receiver<u64>> {
    view.chains
        .values()
        .map(|chain| chain.subscribe())
        .collect()
}

/// Waits until the transaction reaches `stage` or `wait` is over; gives the status reached.
pub(super) async fn wait_for(
    view: &NodeView,
    submitted: &Submitted,
    id: &Digest,
    stage: Stage,
    wait: Duration,
) -> Result<v1::TransactionStatus, Refusal> {
    let deadline = Instant::now() + wait;
    let mut receivers = watch(view);
    loop {
        let status = status_of(view, submitted, id).ok_or_else(|| unknown(id))?;
        if answers(&status, stage) || Instant::now() >= deadline {
            return Ok(status);
        }
        // Late or not, the next look decides.
        let _ = timeout_at(deadline, changed(&mut receivers)).await;
    }
}

/// Refuses a hash that nobody here has heard of.
pub(super) fn unknown(id: &Digest) -> Refusal {
    Refusal::new(
        ErrorReason::TxUnknown,
        format!("no transaction {id} is known here"),
    )
    .with("hash", id)
}
