//! Offers the transfers at a rate, whatever the network answers.
//!
//! One lane for each validator that takes transactions, with the senders of its shard dealt out
//! among such lanes: a sender always meets the same validator. A lane offers each sender's next
//! transfer in turn; one that was refused is offered again at the sender's next turn, so no sender's
//! nonces get a hole. A sender has one transfer offered at a time, so a network sees the full rate
//! as long as some senders wait for no answer: overload takes more of them than nodes hold at once.

use super::LoadArgs;
use super::observe::Seen;
use super::plan::Plan;
use futures::stream::{FuturesUnordered, StreamExt as _};
use skerry_proto::v1::{ErrorReason, SubmitResult};
use skerry_sdk::client::{Client, ClientError};
use skerry_types::ids::ChainRef;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

/// How often a lane looks at what is due.
const TICK: Duration = Duration::from_millis(4);

/// What was offered, and what was answered.
#[derive(Default)]
pub(super) struct Driven {
    pub(super) offered: u64,
    pub(super) accepted: u64,
    pub(super) rejected: BTreeMap<String, u64>,
}

impl Driven {
    fn reject(&mut self, reason: &str, count: u64) {
        let sum = self.rejected.entry(reason.to_owned()).or_default();
        *sum = sum.saturating_add(count);
    }
}

/// Runs the load for `length`, or until everything has been taken.
pub(super) async fn run(
    plan: &Arc<Plan>,
    seen: &Arc<Seen>,
    args: &LoadArgs,
    rate: u32,
    length: Duration,
    submit: &BTreeMap<ChainRef, Vec<Client>>,
) -> Driven {
    let mut lanes = Vec::new();
    for (chain, clients) in submit {
        let own: Vec<usize> = plan
            .senders
            .iter()
            .enumerate()
            .filter(|(_, sender)| sender.home == *chain && !sender.transfers.is_empty())
            .map(|(position, _)| position)
            .collect();
        for (number, client) in clients.iter().enumerate() {
            let dealt = own.iter().skip(number).step_by(clients.len()).copied();
            let turns: Vec<Turn> = dealt.map(|sender| Turn { sender, next: 0 }).collect();
            lanes.push((client.clone(), turns));
        }
    }
    let senders: usize = lanes.iter().map(|(_, turns)| turns.len()).sum();
    let mut running = JoinSet::new();
    for (client, turns) in lanes {
        let share = super::measure::share(turns.len(), senders);
        let lane = Lane {
            client,
            plan: plan.clone(),
            seen: seen.clone(),
            ready: (0..turns.len()).collect(),
            pending: 0,
            turns,
            rate: (rate > 0).then(|| f64::from(rate) * share),
            batch: args.batch.max(1),
            in_flight: args.in_flight.max(1),
            driven: Driven::default(),
        };
        running.spawn(lane.run(Instant::now() + length));
    }
    let mut total = Driven::default();
    while let Some(lane) = running.join_next().await {
        let Ok(driven) = lane else { continue };
        total.offered = total.offered.saturating_add(driven.offered);
        total.accepted = total.accepted.saturating_add(driven.accepted);
        for (reason, count) in &driven.rejected {
            total.reject(reason, *count);
        }
    }
    total
}

/// What a refusal is counted under: the node's reason, else the code of gRPC.
fn reason_of(error: &ClientError) -> String {
    match (error.reason(), error) {
        (Some(reason), _) => reason.name().to_owned(),
        (None, ClientError::Refused(refusal)) => format!("{:?}", refusal.code),
        (None, _) => "UNREACHABLE".to_owned(),
    }
}

/// A sender's place in its transfers.
struct Turn {
    sender: usize,
    next: usize,
}

struct Lane {
    client: Client,
    plan: Arc<Plan>,
    seen: Arc<Seen>,
    turns: Vec<Turn>,
    /// Positions of the turns whose next transfer is to be offered, in the order in which they
    /// come.
    ready: VecDeque<usize>,
    /// How many turns wait for an answer.
    pending: usize,
    rate: Option<f64>,
    batch: usize,
    in_flight: usize,
    driven: Driven,
}

/// Positions of the turns in a submission.
type Batch = Vec<usize>;

impl Lane {
    async fn run(mut self, deadline: Instant) -> Driven {
        let start = Instant::now();
        let mut waiting = FuturesUnordered::new();
        loop {
            let now = Instant::now();
            if now >= deadline || self.is_done() {
                break;
            }
            while waiting.len() < self.in_flight {
                let batch = self.take(self.due(start, now));
                if batch.is_empty() {
                    break;
                }
                waiting.push(self.submit(batch));
            }
            tokio::select! {
                Some((batch, answer)) = waiting.next() => self.answered(&batch, answer),
                () = sleep_until(now + TICK) => {}
            }
        }
        while let Some((batch, answer)) = waiting.next().await {
            self.answered(&batch, answer);
        }
        self.driven
    }

    fn is_done(&self) -> bool {
        self.ready.is_empty() && self.pending == 0
    }

    /// Transfers that should have been offered by now and were not: at most one batch, and at a
    /// given rate a full one unless a tick's worth is less.
    fn due(&self, start: Instant, now: Instant) -> usize {
        let Some(rate) = self.rate else {
            return self.batch;
        };
        let wanted = rate * now.duration_since(start).as_secs_f64();
        super::measure::whole(wanted - super::measure::float(self.driven.offered)).min(self.batch)
    }

    /// The next transfers of the senders whose turn it is.
    fn take(&mut self, limit: usize) -> Batch {
        let count = limit.min(self.ready.len());
        let batch: Batch = self.ready.drain(..count).collect();
        self.pending = self.pending.saturating_add(count);
        let offered = u64::try_from(count).unwrap_or(0);
        self.driven.offered = self.driven.offered.saturating_add(offered);
        batch
    }

    fn transfer(&self, turn: &Turn) -> Option<usize> {
        self.plan
            .senders
            .get(turn.sender)?
            .transfers
            .get(turn.next)
            .copied()
    }

    fn submit(
        &self,
        batch: Batch,
    ) -> impl Future<Output = (Batch, Result<Vec<SubmitResult>, ClientError>)> + use<> {
        let mut wires = Vec::with_capacity(batch.len());
        for position in &batch {
            let transfer = self
                .turns
                .get(*position)
                .and_then(|turn| self.transfer(turn));
            let Some(number) = transfer else { continue };
            self.seen.submitted(number);
            wires.extend(
                self.plan
                    .transfers
                    .get(number)
                    .map(|transfer| transfer.wire.clone()),
            );
        }
        let client = self.client.clone();
        async move {
            let answer = client.submit_many(wires).await;
            (batch, answer)
        }
    }

    fn answered(&mut self, batch: &[usize], answer: Result<Vec<SubmitResult>, ClientError>) {
        self.pending = self.pending.saturating_sub(batch.len());
        match answer {
            Ok(results) => {
                let mut results = results.into_iter();
                for position in batch {
                    self.answered_one(*position, results.next().as_ref());
                }
            }
            Err(error) => {
                let count = u64::try_from(batch.len()).unwrap_or(0);
                self.driven.reject(&reason_of(&error), count);
                self.ready.extend(batch);
            }
        }
    }

    fn answered_one(&mut self, position: usize, result: Option<&SubmitResult>) {
        let Some(turn) = self.turns.get_mut(position) else {
            return;
        };
        match result {
            // A nonce that is used already: an earlier answer was lost, the transfer was not.
            Some(it) if it.accepted || it.reason() == ErrorReason::NonceTooLow => {
                turn.next += 1;
                self.driven.accepted = self.driven.accepted.saturating_add(1);
            }
            Some(it) => self.driven.reject(it.reason().name(), 1),
            None => {}
        }
        let sender = self.plan.senders.get(turn.sender);
        if sender.is_some_and(|sender| turn.next < sender.transfers.len()) {
            self.ready.push_back(position);
        }
    }
}
