//! What became final, and when, read from the final blocks of validators that took no transfers.
//!
//! One subscription for each shard, with the blocks' bytes. A transfer is final when its block
//! arrives here. A credit at the destination is final when a block that has executed the message
//! does: messages are accepted in bodies and executed in their order as far as the inbound gas of a
//! block reaches, so the queue is kept here too, with the smallest gas that a block can have for it;
//! the time found is at worst a block late.

use super::BenchError;
use super::measure::Latency;
use super::plan::Plan;
use skerry_execution::network::NetworkInfo;
use skerry_execution::outbox::flow_of;
use skerry_proto::v1;
use skerry_sdk::client::Client;
use skerry_types::block::{BlockKind, Body, FinalizedBlock};
use skerry_types::codec::decode;
use skerry_types::genesis::Genesis;
use skerry_types::ids::{ChainRef, Digest};
use skerry_types::limits;
use skerry_types::message::Message;
use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::task::JoinSet;
use tokio::time::Instant;
use v1::subscription_service_client::SubscriptionServiceClient;

/// Largest block with its bytes and its proof.
const BLOCK_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How soon a broken subscription is taken up again, and how often.
const RETRY_INTERVAL: Duration = Duration::from_millis(200);
const RETRIES_MAX: usize = 50;

/// Times of one transfer in microseconds since the start; 0 is never.
#[derive(Default)]
struct Times {
    submitted: AtomicU64,
    finalized: AtomicU64,
    credited: AtomicU64,
}

/// Everything that was seen of a run.
pub(super) struct Seen {
    start: Instant,
    plan: Arc<Plan>,
    times: Vec<Times>,
    finalized: AtomicU64,
    cross_finalized: AtomicU64,
    credited: AtomicU64,
    blocks: AtomicU64,
    /// When each working block became final here, and how long after its proposal, in
    /// microseconds.
    finality: Mutex<Vec<(u64, u64)>>,
}

/// Counts so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) finalized: u64,
    pub(super) cross_finalized: u64,
    pub(super) credited: u64,
    pub(super) blocks: u64,
}

/// Which latency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    /// To final, within a shard.
    InShard,
    /// To the final credit in another shard.
    CrossCredit,
    /// To the final debit of the same.
    CrossHome,
}

impl Seen {
    pub(super) fn new(plan: &Arc<Plan>, start: Instant) -> Self {
        Self {
            start,
            plan: plan.clone(),
            times: plan.transfers.iter().map(|_| Times::default()).collect(),
            finalized: AtomicU64::new(0),
            cross_finalized: AtomicU64::new(0),
            credited: AtomicU64::new(0),
            blocks: AtomicU64::new(0),
            finality: Mutex::new(Vec::new()),
        }
    }

    /// A block whose header has this time became final.
    fn note_block(&self, time_ms: u64) {
        self.blocks.fetch_add(1, Ordering::Relaxed);
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let micros = u64::try_from(now.as_micros()).unwrap_or(u64::MAX);
        let took = micros.saturating_sub(time_ms.saturating_mul(1_000));
        let mut finality = self.finality.lock().unwrap_or_else(PoisonError::into_inner);
        finality.push((self.now(), took));
    }

    /// The longest time of a window without a working block becoming final.
    pub(super) fn pause_max(&self, window: &Range<Duration>) -> Duration {
        let finality = self.finality.lock().unwrap_or_else(PoisonError::into_inner);
        let arrived = finality.iter().map(|(at, _)| Duration::from_micros(*at));
        longest_pause(window, arrived.collect())
    }

    /// When the last transfer became final, or was credited.
    pub(super) fn done_last(&self) -> Duration {
        let done = self.times.iter().map(|times| {
            let credited = times.credited.load(Ordering::Relaxed);
            times.finalized.load(Ordering::Relaxed).max(credited)
        });
        Duration::from_micros(done.max().unwrap_or(0))
    }

    /// How long working blocks took from their proposal.
    pub(super) fn finality(&self) -> Latency {
        let finality = self.finality.lock().unwrap_or_else(PoisonError::into_inner);
        Latency::of(finality.iter().map(|(_, took)| *took).collect())
    }

    /// Microseconds since the start, never 0.
    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_micros())
            .unwrap_or(u64::MAX)
            .max(1)
    }

    /// Notes that a transfer is being offered; of several times the last one counts.
    pub(super) fn submitted(&self, transfer: usize) {
        if let Some(times) = self.times.get(transfer) {
            times.submitted.store(self.now(), Ordering::Relaxed);
        }
    }

    fn set(&self, id: &Digest, which: impl Fn(&Times) -> &AtomicU64, now: u64) -> Option<usize> {
        let transfer = *self.plan.by_id.get(id)?;
        let time = which(self.times.get(transfer)?);
        let first = time
            .compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok();
        first.then_some(transfer)
    }

    fn note_final(&self, id: &Digest, now: u64) {
        let Some(transfer) = self.set(id, |times| &times.finalized, now) else {
            return;
        };
        self.finalized.fetch_add(1, Ordering::Relaxed);
        if self
            .plan
            .transfers
            .get(transfer)
            .is_some_and(|it| it.crosses)
        {
            self.cross_finalized.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn note_credit(&self, origin: &Digest, now: u64) {
        if self.set(origin, |times| &times.credited, now).is_some() {
            self.credited.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn totals(&self) -> Totals {
        Totals {
            finalized: self.finalized.load(Ordering::Relaxed),
            cross_finalized: self.cross_finalized.load(Ordering::Relaxed),
            credited: self.credited.load(Ordering::Relaxed),
            blocks: self.blocks.load(Ordering::Relaxed),
        }
    }

    /// Whether a transfer is in a final block.
    pub(super) fn is_final(&self, transfer: usize) -> bool {
        self.times
            .get(transfer)
            .is_some_and(|it| it.finalized.load(Ordering::Relaxed) > 0)
    }

    /// Whether a transfer's recipient has what was sent, in a final block.
    pub(super) fn is_done(&self, transfer: usize) -> bool {
        let crosses = self
            .plan
            .transfers
            .get(transfer)
            .is_some_and(|it| it.crosses);
        self.times
            .get(transfer)
            .is_some_and(|it| done_at(it, crosses) > 0)
    }

    /// Transfers whose last leg became final in a window.
    pub(super) fn done_within(&self, window: &Range<Duration>) -> u64 {
        let done = self.times.iter().zip(&self.plan.transfers);
        let done = done.filter(|(times, it)| within(window, done_at(times, it.crosses)));
        u64::try_from(done.count()).unwrap_or(u64::MAX)
    }

    /// Latencies of the transfers that were submitted in a window and have come so far.
    pub(super) fn latency(&self, window: &Range<Duration>, which: Which) -> Latency {
        let mut micros = Vec::new();
        for (times, transfer) in self.times.iter().zip(&self.plan.transfers) {
            let submitted = times.submitted.load(Ordering::Relaxed);
            if transfer.crosses == (which == Which::InShard) || !within(window, submitted) {
                continue;
            }
            let end = match which {
                Which::InShard | Which::CrossHome => times.finalized.load(Ordering::Relaxed),
                Which::CrossCredit => times.credited.load(Ordering::Relaxed),
            };
            if end > 0 {
                micros.push(end.saturating_sub(submitted));
            }
        }
        Latency::of(micros)
    }
}

fn done_at(times: &Times, crosses: bool) -> u64 {
    let time = if crosses {
        &times.credited
    } else {
        &times.finalized
    };
    time.load(Ordering::Relaxed)
}

fn longest_pause(window: &Range<Duration>, mut arrived: Vec<Duration>) -> Duration {
    arrived.retain(|at| window.contains(at));
    arrived.push(window.end);
    arrived.sort_unstable();
    let before = std::iter::once(&window.start).chain(&arrived);
    let pauses = arrived
        .iter()
        .zip(before)
        .map(|(at, before)| at.saturating_sub(*before));
    pauses.max().unwrap_or_default()
}

fn within(window: &Range<Duration>, micros: u64) -> bool {
    micros > 0 && window.contains(&Duration::from_micros(micros))
}

/// Watches every shard until the result is dropped. Returns when all subscriptions stand.
pub(super) async fn start(
    genesis: &Genesis,
    plan: &Arc<Plan>,
    seen: &Arc<Seen>,
    observe: &BTreeMap<ChainRef, Vec<Client>>,
) -> Result<JoinSet<()>, BenchError> {
    let mut watching = JoinSet::new();
    let with_encoded = plan.transfers.iter().any(|transfer| transfer.crosses);
    for (chain, clients) in observe {
        let Some(client) = clients.first() else {
            continue;
        };
        // The subscription begins at a named height, so nothing falls between it and the load.
        let newest = client.block(*chain, None).await?.height;
        let watch = Watch {
            url: client.url().to_owned(),
            chain: *chain,
            next: newest.saturating_add(1),
            with_encoded,
            seen: seen.clone(),
            inbox: VecDeque::new(),
            network: NetworkInfo::of(genesis),
        };
        watching.spawn(watch.run());
    }
    Ok(watching)
}

/// The subscription of one shard.
struct Watch {
    url: String,
    chain: ChainRef,
    next: u64,
    with_encoded: bool,
    seen: Arc<Seen>,
    /// Messages that are accepted and, with the smallest gas that blocks can have for them, wait.
    inbox: VecDeque<(Digest, u64)>,
    network: NetworkInfo,
}

impl Watch {
    async fn run(mut self) {
        let mut failures = 0;
        while failures < RETRIES_MAX {
            let before = self.next;
            if let Err(error) = self.follow().await {
                tracing::warn!(chain = %self.chain, url = self.url, error, "observing again");
            }
            failures = if self.next > before { 0 } else { failures + 1 };
            tokio::time::sleep(RETRY_INTERVAL).await;
        }
        tracing::error!(chain = %self.chain, url = self.url, "the observer is gone");
    }

    async fn follow(&mut self) -> Result<(), String> {
        let client = SubscriptionServiceClient::connect(self.url.clone())
            .await
            .map_err(|error| error.to_string())?;
        let request = v1::SubscribeBlocksRequest {
            chain: self.chain.to_string(),
            from_height: Some(self.next),
            working_only: true,
            with_encoded: self.with_encoded,
        };
        let mut client = client.max_decoding_message_size(BLOCK_BYTES_MAX);
        let reply = client
            .subscribe_blocks(request)
            .await
            .map_err(|error| error.to_string())?;
        let mut blocks = reply.into_inner();
        while let Some(frame) = blocks.message().await.map_err(|error| error.to_string())? {
            if let Some(block) = &frame.block {
                self.take(block)?;
            }
            self.next = self.next.max(frame.height.saturating_add(1));
        }
        Ok(())
    }

    fn take(&mut self, block: &v1::Block) -> Result<(), String> {
        let now = self.seen.now();
        self.seen.note_block(block.time_ms);
        for id in &block.transactions {
            let id: Digest = id.parse().map_err(|_| format!("{id} is no hash"))?;
            self.seen.note_final(&id, now);
        }
        if self.with_encoded {
            self.accept(&block.encoded)?;
            self.execute(now);
        }
        Ok(())
    }

    /// Puts the messages that a block accepted into the queue.
    fn accept(&mut self, encoded: &[u8]) -> Result<(), String> {
        let block: FinalizedBlock =
            decode(encoded, BLOCK_BYTES_MAX).map_err(|error| error.to_string())?;
        if block.block.header.kind != BlockKind::Working {
            return Ok(());
        }
        let body: Body =
            decode(&block.block.body, limits::BODY_BYTES_MAX).map_err(|error| error.to_string())?;
        for wire in body
            .inbound
            .iter()
            .flat_map(|inbound| &inbound.batch.messages)
        {
            let message: Option<Message> = decode(wire, limits::MESSAGE_BYTES_MAX).ok();
            let gas = flow_of(&self.network, wire.len(), message.as_ref()).gas;
            self.inbox
                .push_back((message.map_or(Digest::ZERO, |message| message.origin), gas));
        }
        Ok(())
    }

    /// Takes out what the block executed for certain: what its lane holds, at least one.
    fn execute(&mut self, now: u64) {
        let mut used = 0_u64;
        while let Some((origin, gas)) = self.inbox.front().copied() {
            let after = used.saturating_add(gas);
            if used > 0 && after > self.network.parameters.inbound_gas.get() {
                break;
            }
            used = after;
            self.inbox.pop_front();
            self.seen.note_credit(&origin, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::longest_pause;
    use std::time::Duration;

    #[test]
    fn a_pause_reaches_from_one_block_or_end_of_the_window_to_the_next() {
        let seconds = |all: &[u64]| all.iter().copied().map(Duration::from_secs).collect();
        let window = Duration::from_secs(10)..Duration::from_secs(20);
        for (arrived, longest) in [
            (&[][..], 10),
            (&[5, 25], 10),
            (&[13], 7),
            (&[18], 8),
            (&[17, 11, 15], 4),
        ] {
            let pause = longest_pause(&window, seconds(arrived));
            assert_eq!(pause, Duration::from_secs(longest), "{arrived:?}");
        }
    }
}
