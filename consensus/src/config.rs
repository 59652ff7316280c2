//! What a replica is given when it starts: its committee and key, timing, the last final block,
//! its own vote log, and the blocks that it stored above the final one.

use crate::error::StartError;
use crate::log::VoteRecord;
use crate::safety::Voice;
use skerry_types::block::Header;
use skerry_types::certificate::Certificate;
use skerry_types::committee::VerifyingCommittee;
use skerry_types::crypto::bls::SecretKey;
use skerry_types::crypto::scheme::VoteScheme;
use skerry_types::ids::{Digest, Height, MemberIndex, TimeMs, View};
use skerry_types::vote::Statement;
use std::sync::Arc;

/// How far ahead of the own clock a notarized header's time may lie.
pub const CLOCK_AHEAD_MS_MAX: u64 = 500;
/// How many heights above the newest finalization that its proposal carries a working block may
/// lie.
pub const WORKING_HEIGHTS_AHEAD_MAX: u64 = 16;
/// Votes are kept for views up to this far above the current one.
pub const VIEWS_AHEAD_MAX: u64 = 4;
/// Longest timeout.
pub const TIMEOUT_MS_MAX: u64 = 60_000;
/// Ancestors are fetched one by one up to this many heights; beyond it the glue is asked to sync.
pub const WALK_HEIGHTS_MAX: u64 = 16;
/// Where more is final than is here, bytes of blocks are taken up to this many heights above the newest
/// final block that is: a replica further behind is synced first, and fetches them then.
pub const KEEP_HEIGHTS_MAX: u64 = 64;
/// Headers above that which are remembered without them.
pub const FAR_HEADERS_MAX: usize = 1_024;
/// Most fetches in flight.
pub const FETCHES_MAX: usize = 64;
/// Most certificates that are read from one message.
pub const CERTIFICATES_PER_REPLY_MAX: usize = 32;
/// Most checks of certificates from one member in flight.
pub const CHECKS_PER_MEMBER_MAX: u32 = 16;
/// Most requests of one member that are answered within Δ.
pub const REQUESTS_PER_DELTA_MAX: u32 = 64;

/// What stays the same while a replica runs.
#[derive(Clone, Debug)]
pub struct Config {
    /// The instance's members, keys and quorum.
    pub committee: Arc<VerifyingCommittee>,
    /// Which member this replica is.
    pub me: MemberIndex,
    /// The vote key; without one the replica follows and never votes.
    pub secret: Option<SecretKey>,
    /// How votes are signed and checked.
    pub scheme: Arc<dyn VoteScheme>,
    /// Δ, the assumed bound on the network's delay. A leader without work may wait this long before
    /// it proposes.
    pub delta_ms: u64,
    /// Height of the block that the instance starts from (0 in epoch 0, else the seal's).
    pub genesis_height: Height,
    /// Time of that block.
    pub genesis_time: TimeMs,
}

/// The block that everything else descends from: the newest final one, or the instance's genesis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Root {
    /// Nothing of this instance is final yet.
    Genesis,
    /// A final block with its own finalization (never a descendant's).
    Finalized {
        /// Its header.
        header: Box<Header>,
        /// Its finalization.
        certificate: Certificate,
    },
}

impl Root {
    /// The certified view; 0 for the genesis.
    pub fn view(&self) -> View {
        match self {
            Self::Genesis => View::ZERO,
            Self::Finalized { certificate, .. } => certificate.view(),
        }
    }

    /// Whether the certificate is a finalization of the header.
    pub(crate) fn check(&self) -> Result<(), StartError> {
        match self {
            Self::Genesis => Ok(()),
            Self::Finalized {
                header,
                certificate,
            } => match certificate.statement {
                Statement::Finalize { digest, .. } if digest == header.digest() => Ok(()),
                statement => Err(StartError::Root {
                    digest: header.digest(),
                    actual: statement,
                }),
            },
        }
    }
}

/// What a replica remembers from before it stopped.
#[derive(Clone, Debug)]
pub struct Start {
    /// The newest final block.
    pub root: Root,
    /// All records of this chain and epoch in the vote log, in order, without those of the key.
    /// Their positions are 1, 2, 3, …; the next one gets the next number.
    pub log: Vec<VoteRecord>,
    /// Headers above the root whose bytes are durable.
    pub blocks: Vec<Header>,
    /// Whether the key may be used from the start.
    pub voice: Voice,
}

/// What a leader builds on: a certified block or the genesis of the instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parent {
    /// Its height.
    pub height: Height,
    /// Its digest.
    pub digest: Digest,
    /// The view in which it was notarized or finalized; 0 for the genesis.
    pub view: View,
    /// Its time.
    pub time: TimeMs,
    /// Its header; absent for the genesis.
    pub header: Option<Box<Header>>,
    /// Its notarization or finalization, for the body's parent votes; absent for the genesis.
    pub certificate: Option<Certificate>,
}
