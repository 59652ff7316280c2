//! What a replica knows of one view: votes, certificates, the proposal.

use crate::check::JobId;
use crate::rules::Base;
use crate::votes::Votes;
use skerry_types::block::Header;
use skerry_types::certificate::Certificate;
use skerry_types::ids::Digest;

/// One view.
#[derive(Clone, Debug, Default)]
pub(crate) struct Round {
    /// The votes received.
    pub(crate) votes: Votes,
    /// The notarization.
    pub(crate) notarization: Option<Certificate>,
    /// The nullification; may exist beside the notarization.
    pub(crate) nullification: Option<Certificate>,
    /// The scheduled leader's first proposal.
    pub(crate) proposal: Option<Offer>,
    /// The leader was seen to propose two blocks: none of them is finalized by us.
    pub(crate) equivocated: bool,
    /// The notarized block's bytes are malformed for good.
    pub(crate) malformed: bool,
    /// Two certificates contradict each other, and that was said.
    pub(crate) conflicting: bool,
}

/// A proposal that was received.
#[derive(Clone, Debug)]
pub(crate) struct Offer {
    /// The block.
    pub(crate) digest: Digest,
    /// Its header.
    pub(crate) header: Header,
    /// What it builds on.
    pub(crate) base: Base,
    /// The block that the carried finalization finalizes.
    pub(crate) finalization: Option<Certificate>,
    /// The check of its certificates, while it runs.
    pub(crate) check: Option<JobId>,
    /// How far it has come.
    pub(crate) stage: Stage,
}

/// How far a proposal has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Something is missing: certificates, the parent, the hour.
    Waiting,
    /// The glue verifies it.
    Verifying,
    /// Nothing more is to be decided.
    Decided,
    /// It can never be notarized.
    Rejected,
}

impl Round {
    /// The notarized block.
    pub(crate) fn notarized(&self) -> Option<Digest> {
        self.notarization
            .as_ref()
            .and_then(|certificate| certificate.statement.digest())
    }

    /// Both certificates, the nullification first.
    pub(crate) fn certificates(&self) -> impl Iterator<Item = &Certificate> {
        [&self.nullification, &self.notarization]
            .into_iter()
            .flatten()
    }
}
