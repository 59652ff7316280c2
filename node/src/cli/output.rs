//! What a command gives: a result, or an error with what, why and what to do next.
//!
//! Printing is here alone. The JSON envelope has a version of its own; fields are only added.

use crate::error::NodeError;
use serde_json::{Value, json};
use skerry_proto::v1::ErrorReason;
use skerry_sdk::builder::BuildError;
use skerry_sdk::client::ClientError;
use skerry_sdk::keys::KeyError;
use skerry_sdk::light::LightError;
use skerry_storage::VoteLogError;
use std::io::Write as _;
use std::process::ExitCode;

/// Version of the JSON envelope.
const SCHEMA_VERSION: u32 = 1;

/// Exit codes, stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// Unexpected.
    Unexpected = 1,
    /// Wrong usage.
    Usage = 2,
    /// Wrong settings.
    Config = 3,
    /// Nobody answers, or trying again may help.
    Unreachable = 4,
    /// The node refused.
    Rejected = 5,
    /// Executed, and failed or came back.
    Failed = 6,
    /// Still pending when the time was over.
    Pending = 7,
    /// A key or passphrase is wrong.
    Key = 8,
    /// Refused for safety.
    Safety = 9,
    /// A data directory is locked or damaged.
    DataDir = 10,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command did not do what was asked.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct CliError {
    exit: Exit,
    code: String,
    message: String,
    why: Option<String>,
    next: Option<String>,
    details: serde_json::Map<String, Value>,
    /// What there is to show all the same.
    data: Value,
}

impl CliError {
    /// An error with a stable code and one sentence.
    pub fn new(exit: Exit, code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            exit,
            code: code.into(),
            message: message.into(),
            why: None,
            next: None,
            details: serde_json::Map::new(),
            data: Value::Null,
        }
    }

    /// Adds the cause.
    #[must_use]
    pub fn why(mut self, why: impl Into<String>) -> Self {
        self.why = Some(why.into());
        self
    }

    /// Adds what to do next.
    #[must_use]
    pub fn next(mut self, next: impl Into<String>) -> Self {
        self.next = Some(next.into());
        self
    }

    /// Adds a detail for programs.
    #[must_use]
    pub fn detail(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.details.insert(name.to_owned(), value.into());
        self
    }

    /// Adds what there is to show all the same.
    #[must_use]
    pub fn with_data(mut self, data: Value) -> Self {
        self.data = data;
        self
    }

    /// An error that no command foresees.
    pub fn unexpected(error: impl std::error::Error) -> Self {
        of_error(Exit::Unexpected, "UNEXPECTED", &error)
    }

    /// The exit code.
    pub fn exit(&self) -> Exit {
        self.exit
    }

    /// The stable code.
    pub fn code(&self) -> &str {
        &self.code
    }

    fn retryable(&self) -> bool {
        matches!(self.exit, Exit::Unreachable | Exit::Pending)
    }
}

/// The causes of an error, outermost first, without repeating it.
fn causes(error: &dyn std::error::Error) -> Option<String> {
    let mut texts = Vec::new();
    let mut source = error.source();
    while let Some(cause) = source {
        texts.push(cause.to_string());
        source = cause.source();
    }
    (!texts.is_empty()).then(|| texts.join(": "))
}

fn of_error(exit: Exit, code: &str, error: &dyn std::error::Error) -> CliError {
    let made = CliError::new(exit, code, error.to_string());
    match causes(error) {
        Some(why) => made.why(why),
        None => made,
    }
}

impl From<NodeError> for CliError {
    fn from(error: NodeError) -> Self {
        let (exit, code, next) = match &error {
            NodeError::Config(_)
            | NodeError::Content { .. }
            | NodeError::Genesis(_)
            | NodeError::UnknownChain(_)
            | NodeError::NotAValidator { .. } => (
                Exit::Config,
                "CONFIG",
                "correct the file that is named; nothing was changed",
            ),
            NodeError::File { .. } => (
                Exit::Config,
                "FILE",
                "does it exist, and may this user use it?",
            ),
            NodeError::Listen { .. } => (
                Exit::Config,
                "LISTEN",
                "choose another address or --port-base",
            ),
            NodeError::VoteLog(VoteLogError::Absent { .. }) => (
                Exit::Safety,
                "VOTE_LOG",
                "if the newest log is really gone: skerry keys votes lost --key FILE; if no \
                 committee ever seated the key: skerry node start --first-use",
            ),
            NodeError::VoteLog(VoteLogError::Corrupt { .. } | VoteLogError::Form { .. })
            | NodeError::DamagedLog { .. } => (
                Exit::Safety,
                "VOTE_LOG",
                "if this is the key's log and there is no newer one: skerry keys votes lost --key \
                 FILE",
            ),
            NodeError::ForeignLog { .. } => (
                Exit::Safety,
                "VOTE_LOG",
                "name the key's own log in `validator.vote_log` (for `keys votes`: `--log`); each \
                 key needs one of its own",
            ),
            NodeError::VoteLog(_) => (
                Exit::Safety,
                "VOTE_LOG",
                "nothing was signed; follow what the message says, and never restore a backup",
            ),
            NodeError::ExportedLog { .. } => (
                Exit::Safety,
                "VOTE_LOG",
                "start the node of the other machine; if the key is to stay here, and never ran \
                 there: skerry keys votes import --key FILE --in EXPORT --never-ran-elsewhere",
            ),
            NodeError::NotFirstUse { .. } => (
                Exit::Safety,
                "VOTE_LOG",
                "find the key's newest vote log; if it is really gone: skerry keys votes lost --key \
                 FILE",
            ),
            NodeError::DevelopmentKey { .. } => (
                Exit::Safety,
                "DEVELOPMENT_KEY",
                "use the keys in the folder of this network",
            ),
            NodeError::Store(_)
            | NodeError::NoGenesisState(_)
            | NodeError::MissingBlock { .. }
            | NodeError::NoCommittee { .. } => (
                Exit::DataDir,
                "DATA_DIR",
                "skerry db verify DIR says what is wrong with it",
            ),
            NodeError::TrustTooOld { .. } => (
                Exit::Safety,
                "TRUST_TOO_OLD",
                "is this machine's clock right? Then: skerry query checkpoint --rpc URL of a node that \
                 you trust, and skerry node start --checkpoint with what it prints; where no node \
                 runs, begin with the data of one",
            ),
            NodeError::Checkpoint(_) => (
                Exit::Safety,
                "CHECKPOINT",
                "skerry query checkpoint --rpc URL of two nodes that you trust: where they agree, the \
                 --checkpoint is mistyped or of another network; nothing was changed",
            ),
            NodeError::Join(_) => (
                Exit::DataDir,
                "DATA_DIR",
                "is the disk full? The old data is as it was; --snapshot-above 0 goes on with it",
            ),
            NodeError::Replica(_) | NodeError::Network(_) | NodeError::Environment(_) => {
                (Exit::Unexpected, "NODE", "the log says more")
            }
        };
        of_error(exit, code, &error).next(next)
    }
}

impl From<KeyError> for CliError {
    fn from(error: KeyError) -> Self {
        let (exit, code, next) = match &error {
            KeyError::DevelopmentKey { .. } => (
                Exit::Safety,
                "DEVELOPMENT_KEY",
                "use a key of this network: skerry keys new --out FILE",
            ),
            KeyError::PassphraseMissing => (
                Exit::Key,
                "PASSPHRASE_MISSING",
                "give --passphrase-file FILE, or leave out --json to be asked",
            ),
            KeyError::Passphrase => (Exit::Key, "PASSPHRASE_WRONG", "try another passphrase"),
            KeyError::Io {
                action: "create", ..
            } => (
                Exit::Key,
                "KEY_FILE",
                "choose another file; key files are never overwritten",
            ),
            _ => (
                Exit::Key,
                "KEY_FILE",
                "check that this is the right key file",
            ),
        };
        of_error(exit, code, &error).next(next)
    }
}

impl From<BuildError> for CliError {
    fn from(error: BuildError) -> Self {
        of_error(Exit::Usage, "TX_NOT_BUILDABLE", &error)
            .next("check the module, the call and the amounts")
    }
}

impl From<LightError> for CliError {
    fn from(error: LightError) -> Self {
        let next = match &error {
            LightError::Network { .. } => {
                "give --trust the genesis of this node's network, from a source that you trust"
            }
            LightError::Genesis(_) | LightError::Committee => "get an undamaged genesis file",
            LightError::StartTooOld { .. } | LightError::StartTooLongAgo { .. } => {
                return of_error(Exit::Safety, "TRUST_TOO_OLD", &error).next(
                    "skerry query checkpoint --rpc URL of a node that you trust, then the same with \
                     --checkpoint and what it prints",
                );
            }
            LightError::Checkpoint { .. } => {
                return of_error(Exit::Safety, "CHECKPOINT", &error).next(
                    "skerry query checkpoint --rpc URL of two nodes that you trust: where they \
                     agree, the --checkpoint is mistyped or of another network; else do not \
                     believe this node",
                );
            }
            LightError::CheckpointMissed { .. } => {
                "is the checkpoint of this network, and has this node come as far?"
            }
            _ => "do not believe this node; ask another one",
        };
        of_error(Exit::Safety, "PROOF_INVALID", &error).next(next)
    }
}

impl From<ClientError> for CliError {
    fn from(error: ClientError) -> Self {
        let refusal = match &error {
            ClientError::Url { .. } => {
                return of_error(Exit::Usage, "URL_INVALID", &error)
                    .next("give --rpc http://HOST:PORT");
            }
            ClientError::Unreachable { url, .. } => {
                return of_error(Exit::Unreachable, "UNREACHABLE", &error).next(format!(
                    "is a node running there? skerry node status --rpc {url}"
                ));
            }
            ClientError::Reply(_) => {
                return of_error(Exit::Unexpected, "REPLY_UNUSABLE", &error)
                    .next("use the same version of skerry as the node");
            }
            ClientError::Refused(refusal) => refusal,
        };
        let exit = match refusal.reason {
            Some(reason) if is_retryable(reason) => Exit::Unreachable,
            Some(ErrorReason::Internal) | None => Exit::Unexpected,
            Some(_) => Exit::Rejected,
        };
        let code = refusal.reason.map_or("REFUSED", ErrorReason::name);
        let mut made = CliError::new(exit, code, refusal.message.clone());
        for (name, value) in &refusal.metadata {
            made = made.detail(name, value.as_str());
        }
        let next = match (refusal.reason, refusal.retry_after) {
            (Some(ErrorReason::Congested), Some(delay)) => Some(format!(
                "try again in {} s",
                delay.as_millis().div_ceil(1_000)
            )),
            (reason, _) => reason.and_then(hint).map(str::to_owned),
        };
        match next {
            Some(next) => made.next(next),
            None => made,
        }
    }
}

fn is_retryable(reason: ErrorReason) -> bool {
    use ErrorReason as R;
    matches!(
        reason,
        R::MempoolFull
            | R::RateLimited
            | R::Congested
            | R::ShardUnavailable
            | R::NodeBehind
            | R::ProofUnavailable
            | R::ShuttingDown
            | R::SubscriberLagged
    )
}

fn hint(reason: ErrorReason) -> Option<&'static str> {
    use ErrorReason as R;
    match reason {
        R::NonceTooLow => Some("leave out --nonce to use the next one"),
        R::NonceTooHigh => Some("send the transactions before it first, or leave out --nonce"),
        R::ReplacementUnderpriced => Some("pay more with --gas-price, or leave out --nonce"),
        R::InsufficientBalance => {
            Some("send less, or fund the account; on a devnet: skerry devnet faucet ADDRESS")
        }
        R::FeeTooLow => Some("leave out --gas-price to pay what the shard takes now"),
        R::Expired => Some("send it again; it was not executed"),
        R::ValidUntilTooFar => Some("give a smaller --valid-for"),
        R::ChainMismatch => Some("the node belongs to another network; check --rpc"),
        R::DenomUnknown => Some("check the denom; that of a token is in what its creation printed"),
        R::PoolUnknown => {
            Some("check the address; that of a pool is in what `skerry tx pool create` printed")
        }
        R::TxUnknown => Some("check the hash, or ask the node that the transaction was sent to"),
        R::BlockUnknown => Some("leave out the height for the newest block"),
        R::ChainUnknown => Some("skerry node status lists the chains that this node follows"),
        R::ShardUnavailable => Some("give the --rpc of a gateway, or of a validator of that shard"),
        R::MempoolFull => Some("pay more with --gas-price, or try again later"),
        reason if is_retryable(reason) => Some("try again in a moment"),
        _ => None,
    }
}

/// What a command gives.
#[derive(Debug)]
pub struct Output {
    data: Value,
    text: String,
    warnings: Vec<String>,
    silent: bool,
}

impl Output {
    /// A result, for programs and for people.
    pub fn new(data: Value, text: impl Into<String>) -> Self {
        Self {
            data,
            text: text.into(),
            warnings: Vec::new(),
            silent: false,
        }
    }

    /// Of a command that has printed all there is.
    pub fn silent() -> Self {
        Self {
            silent: true,
            ..Self::new(Value::Null, "")
        }
    }

    /// Adds a field for programs, and lines for people.
    #[must_use]
    pub(super) fn with(mut self, name: &str, value: Value, lines: &str) -> Self {
        if let Value::Object(fields) = &mut self.data {
            fields.insert(name.to_owned(), value);
        }
        self.text.push_str(lines);
        self
    }

    /// Adds a warning.
    #[must_use]
    pub fn warn(mut self, warning: impl Into<String>) -> Self {
        self.warnings.push(warning.into());
        self
    }
}

/// The JSON envelope.
pub(super) fn envelope(result: &Result<Output, CliError>) -> Value {
    match result {
        Ok(output) => json!({
            "schema_version": SCHEMA_VERSION,
            "success": true,
            "data": output.data,
            "warnings": output.warnings,
            "errors": [],
        }),
        Err(error) => json!({
            "schema_version": SCHEMA_VERSION,
            "success": false,
            "data": error.data,
            "warnings": [],
            "errors": [{
                "code": error.code,
                "message": match &error.why {
                    Some(why) => format!("{}: {why}", error.message),
                    None => error.message.clone(),
                },
                "hint": error.next,
                "retryable": error.retryable(),
                "details": error.details,
            }],
        }),
    }
}

/// The error as people read it.
pub(super) fn explain(error: &CliError) -> String {
    let mut text = format!("error[{}]: {}", error.code, error.message);
    for (name, line) in [("why ", &error.why), ("next", &error.next)] {
        if let Some(line) = line {
            text.push_str(&format!("\n  {name}  {}", line.replace('\n', "\n        ")));
        }
    }
    text
}

/// Prints a result and gives the exit code.
pub(super) fn finish(result: Result<Output, CliError>, json: bool) -> ExitCode {
    let exit = result.as_ref().map_or_else(CliError::exit, |_| Exit::Done);
    if matches!(&result, Ok(output) if output.silent) {
        return exit.into();
    }
    let printed = if json {
        to_stdout(&envelope(&result).to_string())
    } else {
        match &result {
            Ok(output) => {
                output
                    .warnings
                    .iter()
                    .for_each(|warning| note(&format!("warning: {warning}")));
                to_stdout(&output.text)
            }
            Err(error) => {
                note(&explain(error));
                Ok(())
            }
        }
    };
    // A closed pipe (`skerry … | head`) is no error of ours.
    match printed {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Exit::Unexpected.into(),
        _ => exit.into(),
    }
}

fn to_stdout(text: &str) -> std::io::Result<()> {
    if text.is_empty() {
        return Ok(());
    }
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", text.trim_end())?;
    out.flush()
}

/// A line of the result, before the command ends.
pub(super) fn print_line(text: &str) {
    // Whoever waits for the line has gone when the pipe is closed; the command goes on.
    let _ = to_stdout(text);
}

/// A line for people while a command runs, to standard error.
pub(super) fn note(line: &str) {
    // Standard error may be closed; there is nobody to tell then.
    let _ = writeln!(std::io::stderr(), "{line}");
}
