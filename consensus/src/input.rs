//! What a replica is told: time, messages, and the answers to its own outputs.

use crate::check::CheckResult;
use crate::error::BuildRefusal;
use crate::safety::Voice;
use skerry_types::block::Header;
use skerry_types::certificate::Certificate;
use skerry_types::consensus::ConsensusMessage;
use skerry_types::ids::{Digest, LogPosition, MemberIndex, View};

/// One input of [`crate::replica::Replica::step`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Time passed; due at [`crate::replica::Replica::deadline`]. The first input starts the
    /// replica, and a tick does nothing else then.
    Tick,
    /// A message over the direct, authenticated stream from `from`.
    Message {
        /// Who sent it.
        from: MemberIndex,
        /// What it says.
        message: Box<ConsensusMessage>,
    },
    /// All records up to this position are durable.
    Durable(LogPosition),
    /// A [`crate::output::Output::Check`] is done.
    Checked(CheckResult),
    /// Answers [`crate::output::Output::Build`]. The glue keeps the bytes by digest.
    Built {
        /// The view built for.
        view: View,
        /// The header.
        header: Box<Header>,
        /// Canonical bytes of the body; empty for idle blocks and seals.
        body: Vec<u8>,
    },
    /// Answers [`crate::output::Output::Build`]: there will be no block.
    CannotBuild {
        /// The view asked for.
        view: View,
        /// Why, for people.
        reason: BuildRefusal,
    },
    /// Answers [`crate::output::Output::Verify`]; a verdict that needs more data is given later.
    Verified {
        /// The view asked for.
        view: View,
        /// The block.
        digest: Digest,
        /// Whether it may be notarized.
        verdict: Verdict,
    },
    /// Answers [`crate::output::Output::Certify`].
    Certified {
        /// The block.
        digest: Digest,
        /// What became of it.
        outcome: Certification,
    },
    /// The glue has stored everything up to this final block, whose certificate it has verified.
    Synced {
        /// The block.
        header: Box<Header>,
        /// Its own finalization.
        certificate: Certificate,
    },
    /// Never vote again, but follow: the own results differ from the quorum's, or an operator
    /// says so.
    StopVoting,
    /// Sign nothing until told otherwise, but watch for votes of the own key; or sign again.
    Voice(Voice),
}

/// What the glue found of a proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may be notarized.
    Valid,
    /// It can never be notarized by this replica: the view is nullified at once.
    Invalid,
}

/// What became of a block's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Certification {
    /// They match the header, are well-formed, and are durable.
    Durable,
    /// There are none, or they do not match the header: fetch them (again).
    Missing,
    /// They match the header and can never be well-formed.
    Malformed,
}
