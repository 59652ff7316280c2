//! `skerry faucet serve`: gives away test tokens over HTTP.
//!
//! | request | answer |
//! |---|---|
//! | `POST /` or `/fund` with `{"address":"sk1…"}`, or `GET /?address=sk1…` | JSON with hash, amount, stage and outcome, once the transfer is final |
//! | `GET /` | a small form |
//! | `GET /readyz` | 200 once the gateway answers and is ready |
//! | `GET /livez` | 200 |
//!
//! One worker sends one transfer after the other, so that nonces never race; requests wait for it
//! in a bounded queue, and each address waits some seconds between two of them. While the gateway
//! is away a request is tried again until its time is over; no failure ends the faucet.

use crate::error::NodeError;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use maud::{DOCTYPE, html};
use parking_lot::Mutex;
use serde_json::{Value, json};
use skerry_proto::convert;
use skerry_proto::v1::{self, ErrorReason, Outcome, Stage};
use skerry_sdk::builder::{Draft, Terms, VALID_FOR_BEACON_BLOCKS};
use skerry_sdk::client::{Client, ClientError};
use skerry_sdk::keys::{AccountKey, KeyError, KeyFile};
use skerry_types::amount::Asset;
use skerry_types::codec;
use skerry_types::ids::{Address, Digest, Height};
use skerry_types::transaction::Nonce;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout_at};

/// What each request gets unless told otherwise.
pub const DEFAULT_AMOUNT: &str = "100sker";

/// Requests that wait for the worker.
const QUEUE_MAX: usize = 256;
/// Addresses whose last request is remembered.
const COOLDOWN_MAX: usize = 100_000;
/// Least time between two requests for one address.
const COOLDOWN: Duration = Duration::from_secs(5);
/// Longest that a request takes, waiting for its turn included.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(50);
/// How often a gateway that is away is tried again.
const RETRY_INTERVAL: Duration = Duration::from_millis(500);
/// Tries with a fresh nonce.
const NONCE_TRIES: usize = 4;
/// How long `/readyz` waits for the gateway.
const READY_TIMEOUT: Duration = Duration::from_secs(2);
/// Largest request body.
const BODY_BYTES_MAX: usize = 4 * 1024;

/// Arguments of `skerry faucet serve`.
#[derive(Clone, Debug, clap::Args)]
pub struct FaucetArgs {
    /// URL of a node's gRPC
    #[arg(
        long,
        value_name = "URL",
        env = "SKERRY_RPC",
        default_value = "http://127.0.0.1:50051"
    )]
    pub rpc: String,
    /// The faucet's key file, a development key
    #[arg(long, value_name = "FILE")]
    pub key_file: PathBuf,
    /// Address to listen on
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8081")]
    pub listen: String,
    /// What each request gets
    #[arg(long, value_name = "AMOUNT", default_value = DEFAULT_AMOUNT)]
    pub amount: String,
}

/// Why a request got nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum Refused {
    #[error("`address` is missing or no address (sk1…)")]
    Address,
    #[error("{address} was funded less than {} s ago; wait {wait_s} s", COOLDOWN.as_secs())]
    Cooldown { address: Address, wait_s: u64 },
    #[error("{QUEUE_MAX} requests are waiting; try again in a moment")]
    Queue,
    #[error("no answer within {} s; the transfer may still happen", REQUEST_TIMEOUT.as_secs())]
    Timeout,
    #[error("the gateway is not usable: {0}")]
    Gateway(String),
    #[error("the transfer failed: {0}")]
    Failed(String),
    #[error("another program uses the faucet's key; try again")]
    Nonce,
}

impl Refused {
    const fn status(&self) -> StatusCode {
        match self {
            Self::Address => StatusCode::BAD_REQUEST,
            Self::Cooldown { .. } | Self::Queue => StatusCode::TOO_MANY_REQUESTS,
            Self::Timeout => StatusCode::GATEWAY_TIMEOUT,
            Self::Gateway(_) | Self::Nonce => StatusCode::SERVICE_UNAVAILABLE,
            Self::Failed(_) => StatusCode::BAD_GATEWAY,
        }
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let body = json!({"error": self.to_string()}).to_string();
        (
            self.status(),
            [(header::CONTENT_TYPE, "application/json")],
            body,
        )
            .into_response()
    }
}

/// What a request got.
#[derive(Clone, Debug)]
struct Funded {
    hash: Digest,
    amount: Asset,
    stage: Stage,
    outcome: Outcome,
}

impl IntoResponse for Funded {
    fn into_response(self) -> Response {
        let body = json!({
            "hash": self.hash,
            "amount": self.amount.to_string(),
            "stage": self.stage.name(),
            "outcome": self.outcome.name(),
        });
        (
            [(header::CONTENT_TYPE, "application/json")],
            body.to_string(),
        )
            .into_response()
    }
}

/// When each address may ask again; bounded, forgetting what is over first.
#[derive(Debug, Default)]
struct Cooldowns(BTreeMap<Address, Instant>);

impl Cooldowns {
    /// Notes a request, or says how long the address still waits.
    fn start(&mut self, address: Address, now: Instant) -> Result<(), Refused> {
        if let Some(until) = self.0.get(&address).filter(|until| **until > now) {
            let wait_s = until.duration_since(now).as_secs().saturating_add(1);
            return Err(Refused::Cooldown { address, wait_s });
        }
        if self.0.len() >= COOLDOWN_MAX {
            self.0.retain(|_, until| *until > now);
        }
        if self.0.len() >= COOLDOWN_MAX {
            return Err(Refused::Queue);
        }
        self.0.insert(address, now + COOLDOWN);
        Ok(())
    }

    /// Forgets a request that got nothing.
    fn forget(&mut self, address: &Address) {
        self.0.remove(address);
    }
}

struct Ask {
    address: Address,
    deadline: Instant,
    reply: oneshot::Sender<Result<Funded, Refused>>,
}

#[derive(Clone)]
struct Faucet {
    client: Client,
    from: Address,
    amount: Asset,
    asks: mpsc::Sender<Ask>,
    cooldowns: Arc<Mutex<Cooldowns>>,
}

/// Serves until `stop` completes.
///
/// # Errors
/// When the key file, the amount, the URL or the listening address cannot be used.
pub async fn serve(
    args: FaucetArgs,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<(), NodeError> {
    let unusable = |reason: String| NodeError::Content {
        path: args.key_file.clone(),
        reason,
    };
    let amount: Asset = args
        .amount
        .parse()
        .map_err(|error| NodeError::Environment(format!("--amount: {error}")))?;
    let client =
        Client::new(&args.rpc).map_err(|error| NodeError::Environment(error.to_string()))?;
    let file = KeyFile::read(&args.key_file).map_err(|error| unusable(error.to_string()))?;
    // A service has nobody to ask: only keys that open without a passphrase serve.
    let key = file
        .open(|| Err(KeyError::PassphraseMissing))
        .map_err(|error| unusable(format!("{error}; a faucet needs a development key")))?;
    let listener = TcpListener::bind(&args.listen)
        .await
        .map_err(|source| NodeError::Listen {
            address: args.listen.clone(),
            source,
        })?;
    let (asks, queue) = mpsc::channel(QUEUE_MAX);
    let faucet = Faucet {
        client: client.clone(),
        from: key.address(),
        amount,
        asks,
        cooldowns: Arc::default(),
    };
    tracing::info!(address = %args.listen, from = %key.address(), "the faucet serves");
    let router = Router::new()
        .route("/", get(ask_by_query).post(ask_by_body))
        .route("/fund", post(ask_by_body))
        .route("/readyz", get(ready))
        .route("/livez", get(|| async { "ok\n" }))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(faucet);
    let serving = axum::serve(listener, router).with_graceful_shutdown(stop);
    let worker = Worker {
        client,
        file,
        key,
        amount,
        network: None,
    };
    tokio::select! {
        served = serving => {
            served.map_err(|source| NodeError::Listen { address: args.listen.clone(), source })
        }
        () = worker.run(queue) => Ok(()),
    }
}

impl Faucet {
    async fn fund(&self, address: Address) -> Result<Funded, Refused> {
        let now = Instant::now();
        self.cooldowns.lock().start(address, now)?;
        let deadline = now + REQUEST_TIMEOUT;
        let (reply, answer) = oneshot::channel();
        let result = match self.asks.try_send(Ask {
            address,
            deadline,
            reply,
        }) {
            Err(_) => Err(Refused::Queue),
            Ok(()) => match timeout_at(deadline, answer).await {
                Ok(Ok(result)) => result,
                Ok(Err(_)) => Err(Refused::Gateway("the faucet is stopping".to_owned())),
                Err(_) => Err(Refused::Timeout),
            },
        };
        // Of a transfer that may still happen the cooldown stays.
        if !matches!(
            result,
            Ok(_) | Err(Refused::Timeout | Refused::Cooldown { .. })
        ) {
            self.cooldowns.lock().forget(&address);
        }
        result
    }
}

async fn ask_by_query(
    State(faucet): State<Faucet>,
    Query(query): Query<BTreeMap<String, String>>,
) -> Response {
    match query.get("address") {
        None => form(&faucet).into_response(),
        Some(text) => answer(&faucet, text).await,
    }
}

/// The address comes as JSON, as a form, or as plain text.
async fn ask_by_body(State(faucet): State<Faucet>, body: Bytes) -> Response {
    let text = String::from_utf8_lossy(&body);
    let address = match serde_json::from_str::<Value>(&text) {
        Ok(value) => value
            .get("address")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned(),
        Err(_) => text.trim().trim_start_matches("address=").to_owned(),
    };
    answer(&faucet, &address).await
}

async fn answer(faucet: &Faucet, address: &str) -> Response {
    let Ok(address) = address.trim().parse::<Address>() else {
        return Refused::Address.into_response();
    };
    match faucet.fund(address).await {
        Ok(funded) => funded.into_response(),
        Err(refused) => refused.into_response(),
    }
}

async fn ready(State(faucet): State<Faucet>) -> Response {
    let deadline = Instant::now() + READY_TIMEOUT;
    match timeout_at(deadline, faucet.client.node_status()).await {
        Ok(Ok(status)) if status.ready => (StatusCode::OK, "ready\n").into_response(),
        Ok(Ok(_)) => (
            StatusCode::SERVICE_UNAVAILABLE,
            "the gateway is not in step\n",
        )
            .into_response(),
        Ok(Err(error)) => (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")).into_response(),
        Err(_) => (
            StatusCode::SERVICE_UNAVAILABLE,
            "the gateway does not answer\n",
        )
            .into_response(),
    }
}

fn form(faucet: &Faucet) -> Html<String> {
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                title { "Skerry faucet" }
                style { (STYLE) }
            }
            body {
                h1 { "Skerry faucet" }
                p { "Each request sends " b { (faucet.amount) } " of this test network." }
                form method="get" action="/" {
                    input name="address" size="70" placeholder="sk1…" required;
                    button type="submit" { "Send" }
                }
                p.mono { "from " (faucet.from) }
            }
        }
    };
    Html(markup.into_string())
}

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:48rem;\
padding:0 1rem;color:#123}input,button{font:inherit;padding:.3rem .5rem}\
.mono{font-family:ui-monospace,monospace;font-size:12px;overflow-wrap:anywhere}";

/// What of the network a transfer needs.
#[derive(Clone, Copy, Debug)]
struct Network {
    chain_id: Digest,
}

/// Sends the transfers, one after the other.
struct Worker {
    client: Client,
    file: KeyFile,
    key: AccountKey,
    amount: Asset,
    network: Option<Network>,
}

impl Worker {
    async fn run(mut self, mut queue: mpsc::Receiver<Ask>) {
        while let Some(ask) = queue.recv().await {
            let result = if Instant::now() < ask.deadline {
                self.fund(&ask).await
            } else {
                Err(Refused::Timeout)
            };
            if let Err(refused) = &result {
                tracing::warn!(address = %ask.address, %refused, "a request got nothing");
            }
            // Whoever asked may be gone.
            let _ = ask.reply.send(result);
        }
    }

    async fn fund(&mut self, ask: &Ask) -> Result<Funded, Refused> {
        let mut tries = 0;
        let (hash, mut status) = loop {
            let (hash, wire) = self.sign(ask).await?;
            // The hash is the key of idempotency: submitting again never sends twice.
            let submitted = self
                .retry(ask.deadline, || {
                    self.client
                        .submit(wire.clone(), Stage::Finalized, left(ask.deadline))
                })
                .await;
            tries += 1;
            match submitted {
                // The refused transfer was never accepted, so another one cannot be the second.
                Err(Refused::Nonce) if tries < NONCE_TRIES => {}
                submitted => break (hash, submitted?),
            }
        };
        while !is_done(&status) && Instant::now() < ask.deadline {
            status = self
                .retry(ask.deadline, || {
                    self.client
                        .status(&hash, Stage::Finalized, left(ask.deadline))
                })
                .await?;
        }
        let (stage, outcome) = (status.stage(), status.outcome());
        match outcome {
            _ if !is_done(&status) => Err(Refused::Timeout),
            Outcome::Succeeded | Outcome::Pending => Ok(Funded {
                hash,
                amount: self.amount,
                stage,
                outcome,
            }),
            _ => Err(Refused::Failed(format!("{hash} is {}", outcome.name()))),
        }
    }

    /// A transfer with the account's next nonce.
    async fn sign(&mut self, ask: &Ask) -> Result<(Digest, Vec<u8>), Refused> {
        let network = self.network(ask.deadline).await?;
        let from = self.key.address();
        let reply = self
            .retry(ask.deadline, || self.client.account(&from, 0))
            .await?;
        let gas_price = convert::amount("gas_price", &reply.gas_price);
        let beacon = reply
            .anchor
            .and_then(|anchor| anchor.beacon)
            .unwrap_or_default()
            .height;
        let terms = Terms {
            chain_id: network.chain_id,
            sender: from,
            nonce: Nonce {
                stream: 0,
                sequence: reply.account.unwrap_or_default().next_nonce,
            },
            valid_until: Height::new(beacon).saturating_add(VALID_FOR_BEACON_BLOCKS),
            gas_price: gas_price.map_err(|error| Refused::Gateway(error.to_string()))?,
        };
        let failed = |error: &dyn std::error::Error| Refused::Failed(error.to_string());
        let draft = Draft::new()
            .transfer(&ask.address, self.amount)
            .map_err(|error| failed(&error))?;
        let signed = draft
            .sign(&terms, self.key.secret())
            .map_err(|error| failed(&error))?;
        Ok((signed.body.id(), codec::encode(&signed)))
    }

    /// The network behind the gateway, asked once. A key made for another one is refused.
    async fn network(&mut self, deadline: Instant) -> Result<Network, Refused> {
        if let Some(network) = self.network {
            return Ok(network);
        }
        let info = self.retry(deadline, || self.client.node_info()).await?;
        let unusable = |error: String| Refused::Gateway(error);
        let chain_id = convert::digest("chain_id", &info.chain_id);
        let network = Network {
            chain_id: chain_id.map_err(|error| unusable(error.to_string()))?,
        };
        let allowed = self.file.check_network(network.chain_id);
        allowed.map_err(|error| unusable(error.to_string()))?;
        self.network = Some(network);
        Ok(network)
    }

    /// Calls until there is an answer, or the time is over.
    async fn retry<T, F: Future<Output = Result<T, ClientError>>>(
        &self,
        deadline: Instant,
        call: impl Fn() -> F,
    ) -> Result<T, Refused> {
        loop {
            let error = match timeout_at(deadline, call()).await {
                Ok(Ok(value)) => return Ok(value),
                Ok(Err(error)) => error,
                Err(_) => return Err(Refused::Timeout),
            };
            if matches!(
                error.reason(),
                Some(ErrorReason::NonceTooLow | ErrorReason::ReplacementUnderpriced)
            ) {
                return Err(Refused::Nonce);
            }
            if !is_passing(&error) {
                return Err(Refused::Failed(error.to_string()));
            }
            if Instant::now() + RETRY_INTERVAL >= deadline {
                return Err(Refused::Gateway(error.to_string()));
            }
            sleep(RETRY_INTERVAL).await;
        }
    }
}

/// Whether waiting changes nothing any more.
fn is_done(status: &v1::TransactionStatus) -> bool {
    status.stage >= i32::from(Stage::Finalized) || status.outcome().is_decided()
}

/// Whether trying again may help.
fn is_passing(error: &ClientError) -> bool {
    use ErrorReason as R;
    match error {
        ClientError::Unreachable { .. } => true,
        ClientError::Refused(refusal) => matches!(
            refusal.reason,
            Some(
                R::MempoolFull
                    | R::RateLimited
                    | R::Congested
                    | R::ShardUnavailable
                    | R::NodeBehind
                    | R::ShuttingDown
                    | R::TxUnknown
            )
        ),
        ClientError::Url { .. } | ClientError::Reply(_) => false,
    }
}

fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}

#[cfg(test)]
mod tests {
    use super::{COOLDOWN, Cooldowns, Refused};
    use skerry_types::ids::Address;
    use tokio::time::Instant;

    #[test]
    fn an_address_waits_between_two_requests() {
        let (one, other) = (Address::new([1; 32]), Address::new([2; 32]));
        let (mut cooldowns, now) = (Cooldowns::default(), Instant::now());
        assert_eq!(cooldowns.start(one, now), Ok(()));
        assert_eq!(cooldowns.start(other, now), Ok(()));
        assert!(matches!(
            cooldowns.start(one, now),
            Err(Refused::Cooldown { .. })
        ));
        assert_eq!(cooldowns.start(one, now + COOLDOWN), Ok(()));
    }

    #[test]
    fn a_request_that_got_nothing_may_be_repeated_at_once() {
        let (address, now) = (Address::new([1; 32]), Instant::now());
        let mut cooldowns = Cooldowns::default();
        assert_eq!(cooldowns.start(address, now), Ok(()));
        cooldowns.forget(&address);
        assert_eq!(cooldowns.start(address, now), Ok(()));
    }
}
