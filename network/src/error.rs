//! What can go wrong at start, and why a peer is refused.
//!
//! [`NetworkError`] stops a node from starting and carries a hint for its operator.
//! [`RefusedReason`] never stops anything: it is one peer's failed check, reported as an event, and
//! each variant is one check with what was expected and what came.

use crate::config::CHAINS_MAX;
use borsh::{BorshDeserialize, BorshSerialize};
use skerry_types::ids::Digest;
use std::path::PathBuf;

/// A foreign error whose type would pull libp2p into the callers.
pub type Source = Box<dyn std::error::Error + Send + Sync + 'static>;

/// Why the service could not start, or an identity file could not be used.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// A configured address is not a multiaddr of a form that is served.
    #[error(
        "{address:?} is not a peer address; write it like /ip4/127.0.0.1/tcp/26656, \
         /ip4/127.0.0.1/udp/26656/quic-v1 or /dns4/node1/tcp/26656, with or without /p2p/ID"
    )]
    Address {
        /// What was configured.
        address: String,
    },
    /// An address to listen on could not be bound.
    #[error("cannot listen on {address}; is another node using the port?")]
    Listen {
        /// What was configured.
        address: String,
        /// The transport's reason.
        source: Source,
    },
    /// More chains were configured than a hello can tell.
    #[error("{count} chains are configured, at most {CHAINS_MAX} can be followed")]
    TooManyChains {
        /// How many were configured.
        count: usize,
    },
    /// The transports or gossip could not be set up.
    #[error("cannot set up {part}")]
    Setup {
        /// Which part.
        part: &'static str,
        /// Its reason.
        source: Source,
    },
    /// An identity file could not be read or written.
    #[error("cannot use the network identity file {}", path.display())]
    IdentityFile {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// An identity file does not hold exactly 32 bytes.
    #[error(
        "the network identity file {} holds {length} bytes, expected 32; delete it to get a new \
         identity",
        path.display()
    )]
    IdentityLength {
        /// The file.
        path: PathBuf,
        /// How many bytes it holds.
        length: usize,
    },
}

/// Why a peer is not served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RefusedReason {
    /// The peer runs another genesis.
    #[error("the peer is on another network: our chain id is {ours}, theirs is {theirs}")]
    OtherNetwork {
        /// Our chain id.
        ours: Digest,
        /// The peer's chain id.
        theirs: Digest,
    },
    /// The peer speaks another version of the protocol.
    #[error("the peer speaks protocol version {theirs}, we speak {ours}")]
    OtherVersion {
        /// Our version.
        ours: u32,
        /// The peer's version.
        theirs: u32,
    },
    /// The peer's claim to be a validator is not signed by that validator for this peer and chain.
    #[error("the peer's validator proof does not verify")]
    BadValidatorProof,
    /// The hello could not be read: its form, its size, or a count in it.
    #[error("the peer's hello is malformed: {what}")]
    BadHello {
        /// Which check failed.
        what: &'static str,
    },
    /// The hello did not finish in time.
    #[error("the peer did not finish its hello within {limit_ms} ms")]
    HelloTimeout {
        /// The limit.
        limit_ms: u64,
    },
    /// All places for peers are taken.
    #[error("all {limit} places for peers are taken")]
    TooManyPeers {
        /// The limit.
        limit: usize,
    },
    /// The address answers under another peer id than the configured one.
    #[error("{expected} was expected at this address, {actual} answered")]
    OtherPeer {
        /// The configured peer id.
        expected: String,
        /// The peer id that answered.
        actual: String,
    },
    /// The peer refused us; its own log says more.
    #[error("the peer refused us: {code:?}")]
    ByPeer {
        /// What it gave as its reason.
        code: RefusalCode,
    },
}

/// The reason for a refusal as it travels to the refused peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
#[borsh(use_discriminant = true)]
#[repr(u8)]
pub enum RefusalCode {
    /// Another chain id.
    OtherNetwork = 0,
    /// Another protocol version.
    OtherVersion = 1,
    /// The validator proof does not verify.
    BadValidatorProof = 2,
    /// The hello was malformed.
    BadHello = 3,
    /// No place is left.
    TooManyPeers = 4,
}

impl RefusedReason {
    /// What to tell the peer, if telling it helps.
    pub(crate) const fn code(&self) -> RefusalCode {
        match self {
            Self::OtherNetwork { .. } => RefusalCode::OtherNetwork,
            Self::OtherVersion { .. } => RefusalCode::OtherVersion,
            Self::BadValidatorProof => RefusalCode::BadValidatorProof,
            Self::TooManyPeers { .. } => RefusalCode::TooManyPeers,
            Self::BadHello { .. }
            | Self::HelloTimeout { .. }
            | Self::OtherPeer { .. }
            | Self::ByPeer { .. } => RefusalCode::BadHello,
        }
    }

    /// Whether trying again soon is pointless: only an operator can change the outcome.
    pub(crate) const fn is_lasting(&self) -> bool {
        match self {
            Self::OtherNetwork { .. }
            | Self::OtherVersion { .. }
            | Self::BadValidatorProof
            | Self::OtherPeer { .. } => true,
            Self::ByPeer { code } => !matches!(code, RefusalCode::TooManyPeers),
            Self::BadHello { .. } | Self::HelloTimeout { .. } | Self::TooManyPeers { .. } => false,
        }
    }
}
