//! Where a transaction stands, composed from the receipts of all its legs, and waiting for it.
//!
//! The home leg decides first: before its block is final there is no outcome. Its receipt names what
//! left, and the signed bundle says what that is ([`Route`]): value for owners elsewhere, one leg
//! each, or the bundle itself, as one request. A request is followed from receipt to receipt: what
//! was executed names one message, onward to the next chain of the route or, to the sender's home, the
//! reply. The last leg to become final makes the transaction RETURNED.
//!
//! Of a chain that this node does not follow it knows what the beacon's record of it shows: what was
//! executed, not how; such a leg says so. What only this node knew, that a transaction waited in its
//! mempool, is remembered for as long as [`Submitted`] has room, so that a vanished transaction is
//! EXPIRED or DROPPED instead of unknown.

#[cfg(test)]
mod tests;

use super::ledger::signed;
use super::limits::{LOOK_INTERVAL, ROUTES_KEPT, SUBMITTED_KEPT, WAIT_MAX};
use super::refusal::Refusal;
use crate::view::{ChainView, HomeStatus, NodeView, Route};
use futures::FutureExt as _;
use futures::future::select_all;
use parking_lot::Mutex;
use skerry_execution::views;
use skerry_proto::convert::receipt_status;
use skerry_proto::v1::{self, ErrorReason, LegKind, Outcome, Stage};
use skerry_types::amount::Amount;
use skerry_types::block::BlockRef;
use skerry_types::ids::{Address, ChainRef, Digest, Height};
use skerry_types::limits::HOPS_MAX;
use skerry_types::lookup::Lookup;
use skerry_types::message::MessageId;
use skerry_types::receipt::{Receipt, Status};
use skerry_types::state::StateRead as _;
use skerry_types::transaction::TransactionBody;
use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout_at};

/// What is known of a message at its destination.
#[derive(Clone, Debug)]
pub(super) enum Delivery {
    /// Not executed in a final block yet.
    Waiting,
    /// The destination is not followed here, and the beacon's record of it does not show that it has
    /// executed the message.
    Unattested,
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
    /// Routes that were read from the disk, so that who waits does not read a block at each look.
    routes: Lookup<Digest, Route>,
    routes_order: VecDeque<Digest>,
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

    fn route(&self, id: &Digest) -> Option<Route> {
        self.0.lock().routes.get(id).cloned()
    }

    /// Remembers a route, forgetting the oldest when there is no room.
    fn note_route(&self, id: Digest, route: &Route) {
        let mut memory = self.0.lock();
        if memory.routes.insert(id, route.clone()).is_some() {
            return;
        }
        memory.routes_order.push_back(id);
        while memory.routes_order.len() > ROUTES_KEPT {
            let Some(old) = memory.routes_order.pop_front() else {
                break;
            };
            memory.routes.remove(&old);
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
        Delivery::Unattested
    }
}

/// Whether the reply of a request has come home: the record that waits for it is gone.
fn is_answered(view: &NodeView, request: &MessageId) -> bool {
    let home = view.chain(request.source).map(|chain| chain.snapshot());
    home.is_some_and(|home| home.state.get(&views::request_key(request)).is_none())
}

/// Where the bundle of a transaction in the final block at `height` goes.
fn route_of(
    view: &NodeView,
    submitted: &Submitted,
    chain: &ChainView,
    height: Height,
    id: &Digest,
) -> Result<Route, Refusal> {
    if let Some(block) = chain.recent_block(height) {
        return Ok(block.routes.get(id));
    }
    if let Some(route) = submitted.route(id) {
        return Ok(route);
    }
    let Some((_, _, checked)) = signed(chain, height, id)? else {
        let message = format!("block {height} of {} cannot be read", chain.chain);
        return Err(Refusal::new(ErrorReason::Internal, message).with("hash", id));
    };
    let route = Route::of(checked.body(), |owner| view.home(owner));
    submitted.note_route(*id, &route);
    Ok(route)
}

/// Where a transaction stands; `None` when this node has never heard of it.
///
/// # Errors
/// When what was signed cannot be read back.
pub(super) fn status_of(
    view: &NodeView,
    submitted: &Submitted,
    id: &Digest,
) -> Result<Option<v1::TransactionStatus>, Refusal> {
    let beacon = beacon_height(view);
    let valid_until = submitted.valid_until(id);
    let mut status = match (view.transaction(id), valid_until) {
        (Some((chain, status)), _) => home_status(view, submitted, id, chain, &status)?,
        (None, Some(valid_until)) => vanished(view, submitted, id, valid_until, beacon),
        (None, None) => return Ok(None),
    };
    status.hash = id.to_string();
    status.valid_until = valid_until.unwrap_or(Height::ZERO).get();
    status.beacon_height = beacon.get();
    Ok(Some(status))
}

/// The status of a transaction that its home chain, which is followed here, knows.
fn home_status(
    view: &NodeView,
    submitted: &Submitted,
    id: &Digest,
    chain: ChainRef,
    status: &HomeStatus,
) -> Result<v1::TransactionStatus, Refusal> {
    let mut route = Route::default();
    let block = match status {
        HomeStatus::Received => None,
        HomeStatus::Included { block } => Some(*block),
        HomeStatus::Final { height, receipt } => {
            let home = view.chain(chain).filter(|_| !receipt.messages.is_empty());
            if let Some(home) = home {
                route = route_of(view, submitted, home, *height, id)?;
            }
            Some(block_at(view, chain, *height))
        }
    };
    let home = HomeLeg {
        chain,
        status,
        block,
        route: &route,
    };
    let reports = Reports {
        delivery: &|message| delivery(view, message),
        is_answered: &|request| is_answered(view, request),
    };
    Ok(compose(&home, &reports))
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

/// What the sender's home knows of a transaction.
pub(super) struct HomeLeg<'a> {
    /// The sender's home.
    pub(super) chain: ChainRef,
    pub(super) status: &'a HomeStatus,
    /// The block that it is in.
    pub(super) block: Option<BlockRef>,
    /// Where its bundle goes; read only once something has left.
    pub(super) route: &'a Route,
}

/// What is known of the messages of a transaction.
pub(super) struct Reports<'a> {
    /// What became of a message at its destination.
    pub(super) delivery: &'a dyn Fn(&MessageId) -> Delivery,
    /// Whether the reply of a request has come home, even where nobody here knows from where.
    pub(super) is_answered: &'a dyn Fn(&MessageId) -> bool,
}

/// Puts a status together from the home leg and what is known of each message.
pub(super) fn compose(home: &HomeLeg<'_>, reports: &Reports<'_>) -> v1::TransactionStatus {
    let mut leg = v1::Leg {
        kind: LegKind::Home.into(),
        chain: home.chain.to_string(),
        block: home.block.as_ref().map(Into::into),
        ..Default::default()
    };
    let (stage, receipt) = match home.status {
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
    let messages = receipt.messages.iter();
    let remote: Vec<Progress> = if home.route.is_remote() {
        // The bundle is all that such a transaction sends.
        messages
            .map(|message| request_legs(home, message, reports, &mut legs))
            .collect()
    } else {
        messages
            .map(|message| transfer_leg(message, reports, &mut legs))
            .collect()
    };
    let (stage, outcome) = total(outcome_of(&receipt.status), &remote);
    v1::TransactionStatus {
        stage: stage.into(),
        outcome: outcome.into(),
        legs,
        fee: receipt.fee.to_string(),
        route: home.route.chains.iter().map(ToString::to_string).collect(),
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

/// How far what left by one message has come, all that follows from it included.
#[derive(Clone, Copy)]
struct Progress {
    /// UNSPECIFIED where it is over and nobody here knows how.
    outcome: Outcome,
    /// Whether every forward leg is executed.
    is_executed: bool,
}

impl Progress {
    const fn pending(is_executed: bool) -> Self {
        Self {
            outcome: Outcome::Pending,
            is_executed,
        }
    }

    const fn over(outcome: Outcome) -> Self {
        Self {
            outcome,
            is_executed: true,
        }
    }
}

fn leg_of(kind: LegKind, message: &MessageId, delivery: &Delivery) -> v1::Leg {
    let mut leg = v1::Leg {
        kind: kind.into(),
        chain: message.destination.to_string(),
        message: Some(message.into()),
        ..Default::default()
    };
    let is_request = kind == LegKind::Request;
    let executed = if is_request {
        Stage::ExecutedRemotely
    } else {
        Stage::Returned
    };
    let (stage, outcome) = match delivery {
        Delivery::Waiting => (Stage::Finalized, Outcome::Pending),
        Delivery::Unattested => {
            leg.not_followed = true;
            (Stage::Finalized, Outcome::Pending)
        }
        Delivery::Attested => {
            leg.not_followed = true;
            // A transfer cannot fail; of calls only those who ran them know.
            let outcome = if is_request {
                Outcome::Unspecified
            } else {
                Outcome::Succeeded
            };
            (executed, outcome)
        }
        Delivery::Executed { block, receipt } => {
            leg.block = Some(block.into());
            leg.gas = receipt.gas.get();
            leg.failure = receipt_status(&receipt.status).1.map(Into::into);
            leg.events = receipt.events.iter().map(Into::into).collect();
            let is_dropped = matches!(receipt.status, Status::Dropped(_));
            let stage = if is_dropped {
                Stage::Returned
            } else {
                executed
            };
            (stage, outcome_of(&receipt.status))
        }
    };
    leg.set_stage(stage);
    leg.set_outcome(outcome);
    leg
}

/// Value for an owner elsewhere.
fn transfer_leg(message: &MessageId, reports: &Reports<'_>, legs: &mut Vec<v1::Leg>) -> Progress {
    let leg = leg_of(LegKind::Transfer, message, &(reports.delivery)(message));
    let outcome = leg.outcome();
    legs.push(leg);
    match outcome {
        Outcome::Pending => Progress::pending(false),
        // The value has left its owner.
        Outcome::Failed => Progress::over(Outcome::Partial),
        outcome => Progress::over(outcome),
    }
}

/// A bundle elsewhere: a leg for each chain that it has reached, and its reply at home.
fn request_legs(
    home: &HomeLeg<'_>,
    request: &MessageId,
    reports: &Reports<'_>,
    legs: &mut Vec<v1::Leg>,
) -> Progress {
    let parts = home.route.chains.len();
    let mut message = *request;
    for reached in 1..=usize::from(HOPS_MAX) {
        let there = (reports.delivery)(&message);
        let leg = leg_of(LegKind::Request, &message, &there);
        let ran = leg.outcome();
        legs.push(leg);
        let receipt = match there {
            Delivery::Waiting => return Progress::pending(false),
            // What happened there nobody here can tell, but that it is over home knows.
            Delivery::Attested | Delivery::Unattested if (reports.is_answered)(request) => {
                return Progress::over(Outcome::Unspecified);
            }
            Delivery::Unattested => return Progress::pending(false),
            Delivery::Attested => return Progress::pending(reached >= parts),
            Delivery::Executed { receipt, .. } => receipt,
        };
        let Some(next) = receipt.messages.first() else {
            // It was dropped, and so has no answer: what it carried is lost.
            return Progress::over(if home.route.attaches {
                Outcome::Partial
            } else {
                ran
            });
        };
        if next.destination != home.chain {
            message = *next;
            continue;
        }
        let back = leg_of(LegKind::Reply, next, &(reports.delivery)(next));
        let returned = back.outcome();
        legs.push(back);
        return match (returned, ran) {
            (Outcome::Pending, _) => Progress::pending(true),
            (Outcome::Succeeded, Outcome::Succeeded) if reached >= parts => {
                Progress::over(Outcome::Succeeded)
            }
            (Outcome::Succeeded, Outcome::Failed) if reached == 1 => {
                Progress::over(if home.route.attaches {
                    Outcome::Refunded
                } else {
                    Outcome::Failed
                })
            }
            // The route ended midway, or what came home waits as a claim or is lost.
            (_, _) => Progress::over(Outcome::Partial),
        };
    }
    // No chain sends a request on more often.
    Progress::over(Outcome::Unspecified)
}

fn total(home: Outcome, remote: &[Progress]) -> (Stage, Outcome) {
    let has = |wanted: Outcome| remote.iter().any(|it| it.outcome == wanted);
    if has(Outcome::Pending) {
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
        _ if remote.iter().all(|it| it.outcome == Outcome::Succeeded) => home,
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
        let status = status_of(view, submitted, id)?.ok_or_else(|| unknown(view, id))?;
        if answers(&status, stage) || Instant::now() >= deadline {
            return Ok(status);
        }
        // Late or not, the next look decides.
        let _ = timeout_at(deadline, changed(&mut receivers)).await;
    }
}

/// Refuses a hash that nobody here has heard of, and says what this node cannot have heard of.
pub(super) fn unknown(view: &NodeView, id: &Digest) -> Refusal {
    let all = view.genesis.chains();
    let missing: Vec<String> = all
        .iter()
        .filter(|chain| view.chain(**chain).is_none())
        .map(ToString::to_string)
        .collect();
    let mut message = format!("no transaction {id} is known here");
    if !missing.is_empty() {
        let missing = missing.join(", ");
        message.push_str(&format!("; this node does not follow {missing}"));
    }
    Refusal::new(ErrorReason::TxUnknown, message)
        .with("hash", id)
        .with("not_followed", missing.join(","))
}
