//! Metrics, health and a status page over HTTP, on loopback unless told otherwise.
//!
//! `/livez` says that the process runs, `/readyz` that every followed chain has a quorum connected,
//! votes, and finalizes; both answer before the node has synced. `/metrics` is Prometheus text.

use crate::runner::{ChainMetrics, Mailboxes, now_ms};
use crate::snapshot::serve::ServeMetrics;
use crate::view::{NodeView, Snapshot};
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse};
use axum::routing::get;
use maud::{DOCTYPE, html};
use parking_lot::RwLock;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use skerry_network::NetworkHandle;
use skerry_storage::{ChainStore, SharedCache};
use skerry_types::ids::{ChainRef, View};
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::net::TcpListener;

/// What the pages read.
#[derive(Clone)]
pub struct HttpState {
    /// The node.
    pub view: Arc<NodeView>,
    /// Counters of the chains.
    pub metrics: BTreeMap<ChainRef, Arc<ChainMetrics>>,
    /// The network service.
    pub network: NetworkHandle,
    /// Queues of the chains.
    pub mailboxes: Mailboxes,
    /// RAM of the databases.
    pub cache: SharedCache,
    /// The databases.
    pub stores: BTreeMap<ChainRef, Arc<ChainStore>>,
    /// Syncs of the vote log, on a validator.
    pub vote_syncs: Option<Arc<AtomicU64>>,
    /// What was served to those that join.
    pub snapshots: Arc<ServeMetrics>,
}

/// Serves until `stop` completes.
///
/// # Errors
/// When the listener fails.
pub async fn serve(
    state: HttpState,
    listener: TcpListener,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let router = Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .route("/", get(page))
        .with_state(state);
    axum::serve(listener, router)
        .with_graceful_shutdown(stop)
        .await
}

/// Serves what a node can say before its chains begin, until `stop` completes: that it lives, and how
/// far it has come.
///
/// # Errors
/// When the listener fails.
pub async fn serve_joining(
    progress: Arc<RwLock<String>>,
    listener: TcpListener,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let joining = |State(progress): State<Arc<RwLock<String>>>| async move {
        let text = format!("joining: {}\n", progress.read());
        (StatusCode::SERVICE_UNAVAILABLE, text)
    };
    let router = Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(joining))
        .route("/", get(joining))
        .with_state(progress);
    axum::serve(listener, router)
        .with_graceful_shutdown(stop)
        .await
}

async fn ready(State(state): State<HttpState>) -> impl IntoResponse {
    let now = now_ms().get();
    let troubles: Vec<String> = state
        .view
        .chains
        .values()
        .filter_map(|view| Some(format!("{}: {}", view.chain, view.snapshot().trouble(now)?)))
        .collect();
    if troubles.is_empty() {
        (StatusCode::OK, "ready\n".to_owned())
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, troubles.join("\n") + "\n")
    }
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ChainLabel {
    chain: String,
}

async fn metrics(State(state): State<HttpState>) -> impl IntoResponse {
    let mut registry = Registry::with_prefix("skerry");
    for (name, help, read) in gauges() {
        let family = Family::<ChainLabel, Gauge>::default();
        for view in state.view.chains.values() {
            let label = ChainLabel {
                chain: view.chain.to_string(),
            };
            family.get_or_create(&label).set(read(&view.snapshot()));
        }
        registry.register(name, help, family);
    }
    for (name, help, read) in counts() {
        let family = Family::<ChainLabel, Counter>::default();
        for (chain, counters) in &state.metrics {
            let label = ChainLabel {
                chain: chain.to_string(),
            };
            family
                .get_or_create(&label)
                .inc_by(read(counters).load(Ordering::Relaxed));
        }
        registry.register(name, help, family);
    }
    let syncs = Family::<ChainLabel, Counter>::default();
    for (chain, store) in &state.stores {
        let label = ChainLabel {
            chain: chain.to_string(),
        };
        let counted = store.stats().counters.syncs;
        syncs.get_or_create(&label).inc_by(counted);
    }
    registry.register("database_syncs", "Synced writes of the databases", syncs);
    if let Some(count) = &state.vote_syncs {
        let syncs = Counter::<u64>::default();
        syncs.inc_by(count.load(Ordering::Relaxed));
        registry.register("vote_log_syncs", "Syncs of the vote log", syncs);
    }
    for (name, help, counter) in [
        (
            "snapshot_replies",
            "Answers to nodes that join",
            &state.snapshots.replies,
        ),
        ("snapshot_bytes", "Bytes in them", &state.snapshots.bytes),
        (
            "snapshot_requests_dropped",
            "Requests of nodes that join which found no room",
            &state.snapshots.dropped,
        ),
        (
            "snapshot_states_dropped",
            "States that found no room and are not served to nodes that join",
            &state.snapshots.states_dropped,
        ),
    ] {
        let value = ConstCounter::new(counter.load(Ordering::Relaxed));
        registry.register(name, help, value);
    }
    let pins = Gauge::<i64>::default();
    let pinned = state.snapshots.pins.load(Ordering::Relaxed);
    pins.set(i64::try_from(pinned).unwrap_or(i64::MAX));
    registry.register("snapshot_pins", "States kept for nodes that join", pins);
    let peers = Gauge::<i64>::default();
    peers.set(i64::try_from(state.network.peers().len()).unwrap_or(i64::MAX));
    registry.register("peers", "Connected peers", peers);
    let memory = Gauge::<i64>::default();
    memory.set(i64::try_from(state.cache.usage()).unwrap_or(i64::MAX));
    registry.register(
        "database_cache_bytes",
        "RAM of all databases' caches",
        memory,
    );
    registry.register(
        "inputs_dropped",
        "Inputs dropped because a chain had too much to do",
        ConstCounter::new(state.mailboxes.dropped()),
    );
    let mut text = String::new();
    if let Err(error) = encode(&mut text, &registry) {
        return (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response();
    }
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}

type GaugeRow = (&'static str, &'static str, fn(&Snapshot) -> i64);

fn gauges() -> [GaugeRow; 7] {
    [
        (
            "final_height",
            "Height of the newest final block",
            |snapshot| i64::try_from(snapshot.final_height().get()).unwrap_or(i64::MAX),
        ),
        (
            "executed_height",
            "Height of the newest final, executed block",
            |snapshot| i64::try_from(snapshot.executed.height.get()).unwrap_or(i64::MAX),
        ),
        (
            "view",
            "Current view of consensus, 0 on a follower",
            |snapshot| i64::try_from(snapshot.view.get()).unwrap_or(i64::MAX),
        ),
        ("mempool_transactions", "Transactions waiting", |snapshot| {
            i64::try_from(snapshot.mempool).unwrap_or(i64::MAX)
        }),
        (
            "base_fee",
            "Least gas price of the next block, base units; on the beacon without use",
            |snapshot| i64::try_from(snapshot.base_fee.get()).unwrap_or(i64::MAX),
        ),
        (
            "connected_weight",
            "Weight of connected committee members",
            |snapshot| i64::try_from(snapshot.connected_weight).unwrap_or(i64::MAX),
        ),
        (
            "voting_stopped",
            "1 when this node has stopped voting",
            |snapshot| i64::from(snapshot.stopped.is_some()),
        ),
    ]
}

type CounterRow = (&'static str, &'static str, fn(&ChainMetrics) -> &AtomicU64);

fn counts() -> [CounterRow; 9] {
    [
        ("blocks", "Final blocks settled", |chain| &chain.blocks),
        ("transactions", "Transactions in them", |chain| {
            &chain.transactions
        }),
        ("signatures", "Transaction signatures checked", |chain| {
            &chain.signatures
        }),
        ("signature_nanoseconds", "Clock time in them", |chain| {
            &chain.signature_nanos
        }),
        (
            "block_nanoseconds",
            "Clock time in validation and execution",
            |chain| &chain.block_nanos,
        ),
        (
            "proof_nanoseconds",
            "Clock time in votes and proofs",
            |chain| &chain.proof_nanos,
        ),
        ("disk_nanoseconds", "Clock time at the disk", |chain| {
            &chain.disk_nanos
        }),
        ("invalid_proposals", "Proposals found invalid", |chain| {
            &chain.invalid
        }),
        (
            "withheld_votes",
            "Valid proposals without a vote of this node",
            |chain| &chain.withheld,
        ),
    ]
}

async fn page(State(state): State<HttpState>) -> Html<String> {
    let now = now_ms().get();
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="refresh" content="2";
                title { "Skerry " (state.view.name) }
                style { (STYLE) }
            }
            body {
                h1 { "Skerry " small { (state.view.genesis.name) " · " (state.view.name) } }
                p.mono { "chain id " (state.view.chain_id) }
                table {
                    tr {
                        th { "chain" } th { "final height" } th { "executed" } th { "view" }
                        th { "waiting" } th { "base fee" } th { "connected weight" } th { "state" }
                    }
                    @for view in state.view.chains.values() {
                        @let snapshot = view.snapshot();
                        tr {
                            td { (view.chain) }
                            td { (snapshot.final_height()) }
                            td { (snapshot.executed.height) }
                            td { (consensus_view(&snapshot)) }
                            td { (snapshot.mempool) }
                            td { @if !view.chain.is_beacon() { (snapshot.base_fee) } }
                            td { (snapshot.connected_weight) " of " (snapshot.total_weight) }
                            td { (snapshot.trouble(now).unwrap_or_else(|| "finalizing".into())) }
                        }
                    }
                }
                h2 { "Peers" }
                table {
                    tr { th { "peer" } th { "validator" } th { "chains" } }
                    @for peer in state.view.peers.read().iter() {
                        tr {
                            td.mono { (peer.id) }
                            td { (peer.validator.as_deref().unwrap_or("–")) }
                            td {
                                @for chain in &peer.chains { (chain) " " }
                            }
                        }
                    }
                }
            }
        }
    };
    Html(markup.into_string())
}

/// The view of consensus, which only members of the committee are in.
fn consensus_view(snapshot: &Snapshot) -> String {
    match snapshot.view {
        View::ZERO => "–".to_owned(),
        view => view.to_string(),
    }
}

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;\
padding:0 1rem;color:#123}table{border-collapse:collapse;width:100%}th,td{text-align:left;\
padding:.3rem .6rem;border-bottom:1px solid #dde}small{color:#678;font-weight:400}\
.mono{font-family:ui-monospace,monospace;font-size:12px;overflow-wrap:anywhere}";
