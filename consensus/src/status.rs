//! What a replica tells operators and metrics about itself.

use skerry_types::ids::{Digest, Height, MemberIndex, View};

/// A replica at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The current view.
    pub view: View,
    /// Its leader.
    pub leader: MemberIndex,
    /// Whether this replica votes.
    pub voting: bool,
    /// The newest view known to be final; its block may not be here yet.
    pub finalized_view: View,
    /// The newest final block whose ancestors are all here.
    pub root_height: Height,
    /// Its digest.
    pub root_digest: Digest,
    /// Weight of the members that voted in the current view, whatever they said.
    pub weight_seen: u128,
    /// The weight that makes a quorum.
    pub quorum: u128,
    /// Views with state.
    pub rounds: usize,
    /// Blocks above the root.
    pub blocks: usize,
    /// Fetches in flight.
    pub fetches: usize,
    /// Signature checks in flight.
    pub checks: usize,
    /// The members, in order.
    pub members: Vec<MemberStatus>,
}

/// What a replica saw of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemberStatus {
    /// Which member.
    pub member: MemberIndex,
    /// The highest view it voted in (unverified); 0 when it is silent.
    pub last_view: View,
    /// How often this replica nullified a view that it led, because of a timer.
    pub timeouts: u64,
}

/// How often this replica took each way that no healthy network needs, since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Views given up since their leader was late.
    pub leaders_late: u64,
    /// Views given up since no certified block came of their proposal.
    pub views_late: u64,
    /// Views given up since their leader gave them up without a proposal.
    pub leaders_withdrawn: u64,
    /// Views given up at once, since their leader is known to be silent.
    pub leaders_silent: u64,
    /// Proposals that broke a rule.
    pub proposals_rejected: u64,
    /// Proposals ahead of the own clock.
    pub proposals_ahead: u64,
    /// Repetitions at a standstill.
    pub repetitions: u64,
    /// Members helped that vote in a view that is over.
    pub laggards_helped: u64,
}
