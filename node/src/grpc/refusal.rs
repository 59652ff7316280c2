//! Why a call is refused, and the `google.rpc.Status` that says so.
//!
//! Each refusal has one reason of the enum in the proto, which fixes its gRPC code; its details are
//! an `ErrorInfo` (reason, domain `skerry`, metadata) and, where trying again may help, a
//! `RetryInfo`.

use crate::mempool::Refused;
use crate::view::{ProofUnavailable, SubmitError};
use skerry_execution::error::{CallError, Rejection};
use skerry_proto::ERROR_DOMAIN;
use skerry_proto::error::ConvertError;
use skerry_proto::v1::ErrorReason;
use skerry_types::codec::CodecError;
use skerry_types::transaction::TransactionError;
use std::collections::HashMap;
use std::time::Duration;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

/// A refused call.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    pub(super) reason: ErrorReason,
    pub(super) message: String,
    metadata: Vec<(&'static str, String)>,
    retry: Option<Duration>,
}

impl Refusal {
    pub(super) fn new(reason: ErrorReason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
            metadata: Vec::new(),
            retry: None,
        }
    }

    /// Adds a detail by name.
    #[must_use]
    pub(super) fn with(mut self, name: &'static str, value: impl ToString) -> Self {
        self.metadata.push((name, value.to_string()));
        self
    }

    /// Replaces the message.
    #[must_use]
    fn saying(mut self, message: String) -> Self {
        self.message = message;
        self
    }

    /// Says when to try again.
    #[must_use]
    pub(super) fn retry_after(mut self, delay: Duration) -> Self {
        self.retry = Some(delay);
        self
    }
}

/// The gRPC code of each reason.
pub(super) fn code_of(reason: ErrorReason) -> Code {
    use ErrorReason as R;
    match reason {
        R::RequestMalformed
        | R::ArgumentInvalid
        | R::AddressInvalid
        | R::DenomInvalid
        | R::AmountInvalid
        | R::HashInvalid
        | R::TxMalformed
        | R::TxTooLarge
        | R::ChainMismatch
        | R::SignatureInvalid
        | R::AuthenticatorMismatch
        | R::AmountOverflow
        | R::ModuleUnknown
        | R::CallMalformed
        | R::BatchTooLarge
        | R::GasTooHigh => Code::InvalidArgument,
        R::NonceTooLow
        | R::NonceTooHigh
        | R::ReplacementUnderpriced
        | R::InsufficientBalance
        | R::FeeTooLow
        | R::GasLimitTooLow
        | R::Expired
        | R::ValidUntilTooFar => Code::FailedPrecondition,
        R::ChainUnknown | R::DenomUnknown | R::PoolUnknown | R::TxUnknown | R::BlockUnknown => {
            Code::NotFound
        }
        R::HeightPruned => Code::OutOfRange,
        R::RequestTooLarge | R::MempoolFull | R::RateLimited => Code::ResourceExhausted,
        R::TargetUnsupported => Code::Unimplemented,
        R::ShardUnavailable | R::NodeBehind | R::ProofUnavailable | R::ShuttingDown => {
            Code::Unavailable
        }
        R::SubscriberLagged => Code::Aborted,
        R::Unspecified | R::Internal => Code::Internal,
    }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        let metadata: HashMap<String, String> = refusal
            .metadata
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        let mut details = ErrorDetails::new();
        details.set_error_info(refusal.reason.name(), ERROR_DOMAIN, metadata);
        if refusal.retry.is_some() {
            details.set_retry_info(refusal.retry);
        }
        Status::with_error_details(code_of(refusal.reason), refusal.message, details)
    }
}

impl From<ConvertError> for Refusal {
    fn from(error: ConvertError) -> Self {
        Self::new(error.reason, error.to_string()).with("field", error.field)
    }
}

impl From<TransactionError> for Refusal {
    fn from(error: TransactionError) -> Self {
        use ErrorReason as R;
        let message = error.to_string();
        match error {
            TransactionError::Codec(CodecError::TooLong { actual, limit }) => {
                Self::new(R::TxTooLarge, message)
                    .with("actual", actual)
                    .with("limit", limit)
            }
            TransactionError::Codec(CodecError::Malformed(_)) | TransactionError::Malformed(_) => {
                Self::new(R::TxMalformed, message)
            }
            TransactionError::ChainMismatch { expected, actual } => {
                Self::new(R::ChainMismatch, message)
                    .with("expected", expected)
                    .with("actual", actual)
            }
            TransactionError::Signature { sender } => {
                Self::new(R::SignatureInvalid, message).with("sender", sender)
            }
        }
    }
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Self {
        use ErrorReason as R;
        let message = refused.to_string();
        let soon = Duration::from_secs(1);
        match refused {
            Refused::Stale { expected, actual } => Self::new(R::NonceTooLow, message)
                .with("expected", expected)
                .with("actual", actual),
            Refused::TooFarAhead {
                expected,
                actual,
                limit,
            } => Self::new(R::NonceTooHigh, message)
                .with("expected", expected)
                .with("actual", actual)
                .with("limit", limit),
            Refused::BelowBaseFee { base_fee, offered } => Self::new(R::FeeTooLow, message)
                .with("expected", base_fee)
                .with("actual", offered),
            Refused::ReplacementUnderpriced { needed, offered } => {
                Self::new(R::ReplacementUnderpriced, message)
                    .with("expected", needed)
                    .with("actual", offered)
            }
            Refused::Overdrawn { needed, funds } => Self::new(R::InsufficientBalance, message)
                .with("expected", needed)
                .with("actual", funds),
            Refused::Full { lowest } => Self::new(R::MempoolFull, message)
                .with("lowest", lowest)
                .retry_after(soon),
            Refused::SenderFull { limit } => Self::new(R::RateLimited, message)
                .with("limit", limit)
                .retry_after(soon),
        }
    }
}

impl From<CallError> for Refusal {
    fn from(error: CallError) -> Self {
        let reason = match error {
            CallError::Overflow { .. } => ErrorReason::AmountOverflow,
            _ => ErrorReason::CallMalformed,
        };
        Self::new(reason, error.to_string())
    }
}

impl From<Rejection> for Refusal {
    fn from(rejection: Rejection) -> Self {
        use ErrorReason as R;
        let message = rejection.to_string();
        let new = |reason, expected: &dyn ToString, actual: &dyn ToString| {
            Self::new(reason, message.clone())
                .with("expected", expected.to_string())
                .with("actual", actual.to_string())
        };
        match rejection {
            // Requests are routed by sender, so only a bug of the routing shows this.
            Rejection::WrongShard { home, here, .. } => new(R::Internal, &home, &here),
            Rejection::AuthenticatorMismatch { sender } => {
                Self::new(R::AuthenticatorMismatch, message.clone()).with("sender", sender)
            }
            Rejection::NonceUsed {
                expected, actual, ..
            } => new(R::NonceTooLow, &expected, &actual),
            Rejection::Expired {
                valid_until,
                actual,
            } => new(R::Expired, &valid_until, &actual),
            Rejection::ExpiryTooFar { valid_until, limit } => {
                new(R::ValidUntilTooFar, &limit, &valid_until)
            }
            Rejection::GasLimitTooLow { expected, actual } => {
                new(R::GasLimitTooLow, &expected, &actual)
            }
            Rejection::GasAboveBlock { limit, actual } => new(R::GasTooHigh, &limit, &actual),
            Rejection::PriceTooLow { expected, actual } => new(R::FeeTooLow, &expected, &actual),
            Rejection::FeeUnpayable {
                expected, actual, ..
            } => new(R::InsufficientBalance, &expected, &actual),
            Rejection::UnknownModule { operation, module } => {
                Self::new(R::ModuleUnknown, message.clone())
                    .with("operation", operation)
                    .with("module", module.get())
            }
            Rejection::Call { operation, cause } => Self::from(*cause)
                .saying(message.clone())
                .with("operation", operation),
            Rejection::WrongPlace { operation, .. } => {
                Self::new(R::TargetUnsupported, message.clone()).with("operation", operation)
            }
            Rejection::RequestTooLarge { limit, actual } => {
                Self::new(R::TxTooLarge, message.clone())
                    .with("actual", actual)
                    .with("limit", limit)
            }
            Rejection::RequestGas { limit, actual } => new(R::GasTooHigh, &limit, &actual),
            Rejection::Route { hop, .. } => {
                Self::new(R::TargetUnsupported, message.clone()).with("hop", hop)
            }
            Rejection::Onward { hop, cause } => {
                Self::from(*cause).saying(message.clone()).with("hop", hop)
            }
            Rejection::BeaconTakesNone => Self::new(R::TargetUnsupported, message.clone()),
        }
    }
}

impl From<SubmitError> for Refusal {
    fn from(error: SubmitError) -> Self {
        let message = error.to_string();
        let soon = Duration::from_secs(1);
        match error {
            SubmitError::Transaction(error) => error.into(),
            SubmitError::Rejected(rejection) => rejection.into(),
            SubmitError::Mempool(refused) => refused.into(),
            SubmitError::Settled => Self::new(ErrorReason::NonceTooLow, message),
            SubmitError::Busy(_) => Self::new(ErrorReason::RateLimited, message).retry_after(soon),
            SubmitError::Unreachable(chain) => Self::new(ErrorReason::ShardUnavailable, message)
                .with("chain", chain)
                .retry_after(soon),
        }
    }
}

impl From<ProofUnavailable> for Refusal {
    fn from(error: ProofUnavailable) -> Self {
        let message = error.to_string();
        let soon = Duration::from_secs(1);
        match error {
            ProofUnavailable::NotFollowed(chain) => {
                Self::new(ErrorReason::ShardUnavailable, message).with("chain", chain)
            }
            ProofUnavailable::NotAttested { chain, wanted } => {
                Self::new(ErrorReason::ProofUnavailable, message)
                    .with("chain", chain)
                    .with("wanted", wanted)
                    .retry_after(soon)
            }
        }
    }
}

/// A failure of the node itself; the cause goes to the log, not to the client.
pub(super) fn internal(what: &'static str, error: &(dyn std::error::Error + 'static)) -> Refusal {
    tracing::error!(error, what, "a read failed");
    Refusal::new(
        ErrorReason::Internal,
        format!("the node failed to {what}; its log says why"),
    )
}
