//! Why a node does not start, or stops.

use crate::home::ValidatorIdentity;
use crate::snapshot::check::{Age, Contradiction};
use skerry_types::ids::{ChainRef, Epoch, Height};
use std::path::PathBuf;

/// Why a node does not start, or stops.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The store does not have the committee of the epoch that it is in.
    #[error(
        "the store of {chain} lacks a usable committee of epoch {epoch}; move the chain's folder \
         away and start again, so that it is fetched anew"
    )]
    NoCommittee {
        /// The chain.
        chain: ChainRef,
        /// The epoch.
        epoch: Epoch,
    },
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] crate::config::ConfigError),
    /// A file cannot be read or written.
    #[error("{action} {path}")]
    File {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// A file does not hold what it should.
    #[error("{path} is not usable: {reason}")]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// The genesis breaks a rule.
    #[error("the genesis cannot be used")]
    Genesis(#[from] skerry_types::genesis::GenesisError),
    /// The network has no such chain.
    #[error("this network has no chain {0}")]
    UnknownChain(ChainRef),
    /// The store has no genesis state.
    #[error("the data directory of {0} holds no genesis state; remove it and sync again")]
    NoGenesisState(ChainRef),
    /// A final block is missing from the store.
    #[error("the data directory of {chain} lacks final block {height}")]
    MissingBlock {
        /// The chain.
        chain: ChainRef,
        /// The block.
        height: Height,
    },
    /// The store failed.
    #[error("the store failed")]
    Store(#[from] skerry_storage::StoreError),
    /// The vote log cannot be used.
    #[error("the vote log cannot be used; never sign without it")]
    VoteLog(#[from] skerry_storage::VoteLogError),
    /// The vote log does not hold what one holds.
    #[error("the vote log {} is damaged: {reason}; never sign without it", path.display())]
    DamagedLog {
        /// The log.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The vote log is of another key, or of this one on another network: it says nothing of what
    /// this key has signed.
    #[error(
        "the vote log {} is of vote key {:?} on network {}, this is {:?} on {}",
        path.display(), actual.public_key, actual.chain_id, expected.public_key, expected.chain_id
    )]
    ForeignLog {
        /// The log.
        path: PathBuf,
        /// This key.
        expected: Box<ValidatorIdentity>,
        /// The log's.
        actual: Box<ValidatorIdentity>,
    },
    /// The key's history was handed to another place.
    #[error(
        "the vote log {} was exported: the key votes elsewhere, and two nodes with one key get \
         slashed", path.display()
    )]
    ExportedLog {
        /// The log.
        path: PathBuf,
    },
    /// A log cannot begin empty for a key that has had a seat.
    #[error("vote key {key} has a seat in the genesis, so it is not its first use")]
    NotFirstUse {
        /// The public key.
        key: String,
    },
    /// The replica cannot start from what was stored.
    #[error("the consensus core cannot start")]
    Replica(#[from] skerry_consensus::error::StartError),
    /// The network service cannot start.
    #[error("the network cannot start")]
    Network(#[from] skerry_network::NetworkError),
    /// The validator's key is not in the genesis.
    #[error("vote key {key} is no validator of this network; check `genesis` and `validator.key`")]
    NotAValidator {
        /// The public key.
        key: String,
    },
    /// A development key on a network that is not for development.
    #[error(
        "{path} is a development key of network {made_for}; this is {used_on}. Make a key of your \
         own"
    )]
    DevelopmentKey {
        /// The key file.
        path: PathBuf,
        /// The network it was made for.
        made_for: String,
        /// This network.
        used_on: String,
    },
    /// A listening address cannot be used.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// What the node trusts is older than bonds stay locked, so that lies about what came after cost
    /// nobody anything.
    #[error(
        "this node trusts the beacon's epoch {start}, {by}, and bonds of those who signed before may \
         be gone; start it with --checkpoint EPOCH:DIGEST, as `skerry query checkpoint` on a node \
         that you trust prints it"
    )]
    TrustTooOld {
        /// The trusted epoch.
        start: Epoch,
        /// How its age is known.
        by: Age,
    },
    /// What the operator vouches for is not what the beacon's committee has signed.
    #[error("what --checkpoint says is not the history of this network")]
    Checkpoint(#[source] Contradiction),
    /// The state of a chain cannot be taken over from peers.
    #[error("the state cannot be taken over from peers: {0}")]
    Join(String),
    /// Something else of the environment failed.
    #[error("{0}")]
    Environment(String),
}
