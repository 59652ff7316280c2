//! The client of a node: typed calls over one gRPC channel, with errors that say what to do.
//!
//! Nothing here believes a reply beyond its form; what has to be proven goes through
//! [`crate::light`]. The channel connects lazily again after a loss; a call that could not be
//! answered is [`ClientError::Unreachable`], one that the node refused [`ClientError::Refused`].

use skerry_proto::error::ConvertError;
use skerry_proto::v1::{self, ErrorReason, Stage};
use skerry_types::ids::{Address, ChainRef, Denom, Digest, Epoch, Height};
use std::collections::BTreeMap;
use std::time::Duration;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status, Streaming};
use tonic_types::StatusExt as _;
use v1::ledger_service_client::LedgerServiceClient;
use v1::node_service_client::NodeServiceClient;
use v1::proof_service_client::ProofServiceClient;
use v1::state_service_client::StateServiceClient;
use v1::subscription_service_client::SubscriptionServiceClient;
use v1::transaction_service_client::TransactionServiceClient;

/// How long a call may take beyond the time that it asks the node to wait.
const CALL_TIMEOUT: Duration = Duration::from_secs(15);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Largest reply that is accepted: a block with its bytes.
const REPLY_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Why a call has no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The text is no URL of a node.
    #[error("{url:?} is not a node's URL: expected http://HOST:PORT")]
    Url {
        /// What was given.
        url: String,
    },
    /// Nobody answers.
    #[error("the node at {url} does not answer: {detail}")]
    Unreachable {
        /// Where.
        url: String,
        /// What the transport says.
        detail: String,
    },
    /// The node refused, and says why.
    #[error("{0}")]
    Refused(Box<Refusal>),
    /// The reply does not have the form that the API promises.
    #[error("the node's reply is not usable: {0}")]
    Reply(String),
}

/// What a node says when it refuses.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// gRPC code.
    pub code: Code,
    /// Stable reason, where the node gives one.
    pub reason: Option<ErrorReason>,
    /// For a person.
    pub message: String,
    /// Details by name, such as the expected nonce.
    pub metadata: BTreeMap<String, String>,
    /// When to try again, if that may help.
    pub retry_after: Option<Duration>,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl From<ConvertError> for ClientError {
    fn from(error: ConvertError) -> Self {
        Self::Reply(error.to_string())
    }
}

impl ClientError {
    fn from_status(url: &str, status: &Status) -> Self {
        let info = status
            .get_details_error_info()
            .filter(|info| info.domain == skerry_proto::ERROR_DOMAIN);
        let reason = info
            .as_ref()
            .and_then(|info| ErrorReason::from_name(&info.reason));
        let lost = matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded);
        if lost && reason.is_none() {
            let detail = status.message().to_owned();
            return Self::Unreachable {
                url: url.to_owned(),
                detail,
            };
        }
        Self::Refused(Box::new(Refusal {
            code: status.code(),
            reason,
            message: status.message().to_owned(),
            metadata: info
                .map(|info| info.metadata.into_iter().collect())
                .unwrap_or_default(),
            retry_after: status
                .get_details_retry_info()
                .and_then(|retry| retry.retry_delay),
        }))
    }

    /// The reason, where a node gave one.
    pub fn reason(&self) -> Option<ErrorReason> {
        match self {
            Self::Refused(refusal) => refusal.reason,
            _ => None,
        }
    }
}

/// A node's client; clones share the channel.
#[derive(Clone, Debug)]
pub struct Client {
    url: String,
    channel: Channel,
}

macro_rules! service {
    ($self:ident, $client:ident) => {
        $client::new($self.channel.clone()).max_decoding_message_size(REPLY_BYTES_MAX)
    };
}

fn request<T>(message: T, wait: Duration) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.set_timeout(CALL_TIMEOUT.saturating_add(wait));
    request
}

fn millis(wait: Duration) -> u32 {
    u32::try_from(wait.as_millis()).unwrap_or(u32::MAX)
}

fn present<T>(field: Option<T>, name: &str) -> Result<T, ClientError> {
    field.ok_or_else(|| ClientError::Reply(format!("`{name}` is missing")))
}

impl Client {
    /// A client of the node at `url`; connects with the first call.
    ///
    /// # Errors
    /// When `url` is none.
    pub fn new(url: &str) -> Result<Self, ClientError> {
        let bad = || ClientError::Url {
            url: url.to_owned(),
        };
        let endpoint = Endpoint::from_shared(url.to_owned()).map_err(|_| bad())?;
        if endpoint.uri().scheme_str() != Some("http") || endpoint.uri().host().is_none() {
            return Err(bad());
        }
        let endpoint = endpoint.connect_timeout(CONNECT_TIMEOUT).tcp_nodelay(true);
        Ok(Self {
            url: url.to_owned(),
            channel: endpoint.connect_lazy(),
        })
    }

    /// Where the node is.
    pub fn url(&self) -> &str {
        &self.url
    }

    fn check<T>(&self, result: Result<tonic::Response<T>, Status>) -> Result<T, ClientError> {
        let reply = result.map_err(|status| ClientError::from_status(&self.url, &status))?;
        Ok(reply.into_inner())
    }

    /// The node's network, version and limits.
    ///
    /// # Errors
    /// When the node does not answer.
    pub async fn node_info(&self) -> Result<v1::GetNodeInfoResponse, ClientError> {
        let request = request(v1::GetNodeInfoRequest {}, Duration::ZERO);
        self.check(
            service!(self, NodeServiceClient)
                .get_node_info(request)
                .await,
        )
    }

    /// The chain id of the node's network.
    ///
    /// # Errors
    /// When the node does not answer.
    pub async fn chain_id(&self) -> Result<Digest, ClientError> {
        let info = self.node_info().await?;
        Ok(skerry_proto::convert::digest("chain_id", &info.chain_id)?)
    }

    /// How the node's chains go on.
    ///
    /// # Errors
    /// When the node does not answer.
    pub async fn node_status(&self) -> Result<v1::GetNodeStatusResponse, ClientError> {
        let request = request(v1::GetNodeStatusRequest {}, Duration::ZERO);
        self.check(
            service!(self, NodeServiceClient)
                .get_node_status(request)
                .await,
        )
    }

    /// What an account holds, and its next nonce in `stream`.
    ///
    /// # Errors
    /// When the node does not answer or does not know the account's shard.
    pub async fn account(
        &self,
        address: &Address,
        stream: u16,
    ) -> Result<v1::GetAccountResponse, ClientError> {
        let message = v1::GetAccountRequest {
            address: address.to_string(),
            nonce_stream: stream.into(),
            min_beacon_height: 0,
        };
        let request = request(message, Duration::ZERO);
        self.check(
            service!(self, StateServiceClient)
                .get_account(request)
                .await,
        )
    }

    /// Many accounts at once, in order.
    ///
    /// # Errors
    /// When the node does not answer.
    pub async fn accounts(
        &self,
        addresses: &[Address],
    ) -> Result<Vec<v1::GetAccountResponse>, ClientError> {
        let addresses = addresses.iter().map(ToString::to_string).collect();
        let request = request(v1::BatchGetAccountsRequest { addresses }, Duration::ZERO);
        let reply = self.check(
            service!(self, StateServiceClient)
                .batch_get_accounts(request)
                .await,
        )?;
        Ok(reply.accounts)
    }

    /// A token's record.
    ///
    /// # Errors
    /// When no token has the denom.
    pub async fn token(&self, denom: &Denom) -> Result<v1::Token, ClientError> {
        let request = request(
            v1::GetTokenRequest {
                denom: denom.to_string(),
            },
            Duration::ZERO,
        );
        let reply = self.check(service!(self, StateServiceClient).get_token(request).await)?;
        present(reply.token, "token")
    }

    /// A pool of the exchange; [`crate::exchange::Pool`] reads the reply.
    ///
    /// # Errors
    /// When no pool has the address.
    pub async fn pool(&self, pool: &Address) -> Result<v1::GetPoolResponse, ClientError> {
        let message = v1::GetPoolRequest {
            pool: pool.to_string(),
        };
        let request = request(message, Duration::ZERO);
        self.check(service!(self, StateServiceClient).get_pool(request).await)
    }

    /// All validators whose bond is not home again, and the open epoch.
    ///
    /// # Errors
    /// When the node cannot be asked.
    pub async fn validators(&self) -> Result<v1::ListValidatorsResponse, ClientError> {
        let request = request(v1::ListValidatorsRequest {}, Duration::ZERO);
        self.check(
            service!(self, StateServiceClient)
                .list_validators(request)
                .await,
        )
    }

    /// Submits signed bytes and waits for `stage`, at most `wait`.
    ///
    /// # Errors
    /// When the node refuses the transaction; a failure in execution is an outcome instead.
    pub async fn submit(
        &self,
        signed_transaction: Vec<u8>,
        stage: Stage,
        wait: Duration,
    ) -> Result<v1::TransactionStatus, ClientError> {
        let message = v1::SubmitTransactionRequest {
            signed_transaction,
            wait_for: stage.into(),
            wait_timeout_ms: millis(wait),
        };
        let request = request(message, wait);
        let mut service = service!(self, TransactionServiceClient);
        present(
            self.check(service.submit_transaction(request).await)?
                .status,
            "status",
        )
    }

    /// Submits many at once; one result each, in order.
    ///
    /// # Errors
    /// When the node does not answer or the batch is too large.
    pub async fn submit_many(
        &self,
        signed_transactions: Vec<Vec<u8>>,
    ) -> Result<Vec<v1::SubmitResult>, ClientError> {
        let message = v1::SubmitTransactionsRequest {
            signed_transactions,
        };
        let mut service = service!(self, TransactionServiceClient);
        let reply = service
            .submit_transactions(request(message, Duration::ZERO))
            .await;
        Ok(self.check(reply)?.results)
    }

    /// Where a transaction stands, after waiting for `stage` for at most `wait`.
    ///
    /// # Errors
    /// When the node does not know the transaction.
    pub async fn status(
        &self,
        hash: &Digest,
        stage: Stage,
        wait: Duration,
    ) -> Result<v1::TransactionStatus, ClientError> {
        let message = v1::GetTransactionStatusRequest {
            hash: hash.to_string(),
            wait_for: stage.into(),
            wait_timeout_ms: millis(wait),
        };
        let mut service = service!(self, TransactionServiceClient);
        let reply = service.get_transaction_status(request(message, wait)).await;
        present(self.check(reply)?.status, "status")
    }

    /// Every change of a transaction's status.
    ///
    /// # Errors
    /// When the node does not know the transaction.
    pub async fn watch(
        &self,
        hash: &Digest,
    ) -> Result<Streaming<v1::WatchTransactionResponse>, ClientError> {
        let message = v1::WatchTransactionRequest {
            hash: hash.to_string(),
        };
        self.check(
            service!(self, TransactionServiceClient)
                .watch_transaction(message)
                .await,
        )
    }

    /// What the body's calls cost.
    ///
    /// # Errors
    /// When the body is malformed or calls what does not exist.
    pub async fn estimate(
        &self,
        transaction_body: Vec<u8>,
    ) -> Result<v1::EstimateFeeResponse, ClientError> {
        let request = request(v1::EstimateFeeRequest { transaction_body }, Duration::ZERO);
        self.check(
            service!(self, TransactionServiceClient)
                .estimate_fee(request)
                .await,
        )
    }

    /// A final transaction with its block and receipt.
    ///
    /// # Errors
    /// When the node does not know the transaction.
    pub async fn transaction(
        &self,
        hash: &Digest,
    ) -> Result<v1::GetTransactionResponse, ClientError> {
        let message = v1::GetTransactionRequest {
            hash: hash.to_string(),
        };
        let mut service = service!(self, LedgerServiceClient);
        self.check(
            service
                .get_transaction(request(message, Duration::ZERO))
                .await,
        )
    }

    /// A final block, the newest without a height.
    ///
    /// # Errors
    /// When the node does not have it.
    pub async fn block(
        &self,
        chain: ChainRef,
        height: Option<Height>,
    ) -> Result<v1::Block, ClientError> {
        let message = v1::GetBlockRequest {
            chain: chain.to_string(),
            height: height.map(Height::get),
            with_encoded: false,
        };
        let mut service = service!(self, LedgerServiceClient);
        let reply = service.get_block(request(message, Duration::ZERO)).await;
        present(self.check(reply)?.block, "block")
    }

    /// Final blocks of a chain from `from` on, or from the next one.
    ///
    /// # Errors
    /// When the node does not follow the chain or has no block that old.
    pub async fn blocks(
        &self,
        chain: ChainRef,
        from: Option<Height>,
    ) -> Result<Streaming<v1::SubscribeBlocksResponse>, ClientError> {
        let message = v1::SubscribeBlocksRequest {
            chain: chain.to_string(),
            from_height: from.map(Height::get),
            working_only: true,
            with_encoded: false,
        };
        self.check(
            service!(self, SubscriptionServiceClient)
                .subscribe_blocks(message)
                .await,
        )
    }

    /// The bytes of a light proof, of a state of the owner's shard not below `min_height`. Verify
    /// them with [`crate::light::TrustedNetwork::verify`].
    ///
    /// # Errors
    /// When no such state can be proven within `wait`.
    pub async fn proof(
        &self,
        owner: &Address,
        min_height: Height,
        wait: Duration,
    ) -> Result<Vec<u8>, ClientError> {
        let message = v1::GetStateProofRequest {
            address: owner.to_string(),
            min_height: min_height.get(),
            wait_timeout_ms: millis(wait),
        };
        let mut service = service!(self, ProofServiceClient);
        Ok(self
            .check(service.get_state_proof(request(message, wait)).await)?
            .proof)
    }

    /// The bytes of the beacon's seals of consecutive epochs from `from` on, as many as the node gives
    /// at a time. Each makes [`crate::light::TrustedNetwork::advance`] one epoch further.
    ///
    /// # Errors
    /// When the node cannot be asked.
    pub async fn beacon_seals(&self, from: Epoch) -> Result<Vec<Vec<u8>>, ClientError> {
        let message = v1::GetBeaconSealsRequest {
            from_epoch: from.get(),
            limit: 0,
        };
        let mut service = service!(self, ProofServiceClient);
        Ok(self.check(service.get_beacon_seals(message).await)?.seals)
    }
}
