//! What a replica asks of the world: disk, network, signature checks, blocks.

use crate::check::CheckJob;
use crate::config::Parent;
use crate::error::HeaderError;
use crate::log::VoteRecord;
use skerry_types::block::Header;
use skerry_types::certificate::Certificate;
use skerry_types::consensus::ConsensusMessage;
use skerry_types::evidence::Evidence;
use skerry_types::ids::{Digest, Height, LogPosition, MemberIndex, View};
use skerry_types::vote::Statement;

/// Who a message goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    /// All other members.
    All,
    /// One other member.
    One(MemberIndex),
}

/// One output of [`crate::replica::Replica::step`], in the order in which they are to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Append to the vote log. Positions are 1, 2, 3, … within this instance. A sync is needed
    /// only when a [`Self::Send`] names the position or a later one; it is followed by
    /// [`crate::input::Input::Durable`]. A failed append or sync ends the replica for good.
    Persist {
        /// Position within the instance.
        position: LogPosition,
        /// The record.
        record: Box<VoteRecord>,
    },
    /// Send once everything up to `after` is durable; position 0 waits for nothing.
    Send {
        /// What must be durable first.
        after: LogPosition,
        /// Who it goes to.
        to: To,
        /// What to say.
        message: Box<ConsensusMessage>,
    },
    /// Run the job anywhere and answer with [`crate::input::Input::Checked`].
    Check(Box<CheckJob>),
    /// Build a block for this view and answer [`crate::input::Input::Built`] or
    /// [`crate::input::Input::CannotBuild`]: at once when there is work, after the idle interval
    /// otherwise. Void once [`Self::Entered`] names a later view.
    Build {
        /// The view.
        view: View,
        /// What to build on.
        parent: Box<Parent>,
        /// Whether only an idle block would be notarized.
        idle_only: bool,
    },
    /// Bytes of a block arrived: keep them by digest until a block of its height or above is
    /// final. They are not checked; bytes kept before for the digest may be replaced only if those
    /// do not match the header's body root.
    Block {
        /// Digest of the header.
        digest: Digest,
        /// The header.
        header: Box<Header>,
        /// Canonical bytes of the body, as received.
        body: Vec<u8>,
    },
    /// Say whether this block, whose bytes came with [`Self::Block`] and whose parent is certified,
    /// may be notarized.
    Verify {
        /// The view it is proposed in.
        view: View,
        /// Digest of the header.
        digest: Digest,
        /// The header.
        header: Box<Header>,
    },
    /// Make header and body durable and answer [`crate::input::Input::Certified`]. Only this is
    /// asked: bytes present, matching, well-formed, durable; never the result.
    Certify {
        /// Digest of the header.
        digest: Digest,
    },
    /// Answer `to` with [`ConsensusMessage::Reply`]: these certificates, and the block if held.
    ServeBlock {
        /// Who asked.
        to: MemberIndex,
        /// The block asked for.
        digest: Digest,
        /// Certificates to send with it.
        certificates: Vec<Certificate>,
    },
    /// A block is notarized; its bytes may not be here yet.
    Notarized {
        /// The view.
        view: View,
        /// The block.
        digest: Digest,
    },
    /// These blocks are final, in order of height, each a child of the one before; the certificate
    /// is of the last one. Their bytes are durable. Store all of them with the certificate in one
    /// step.
    Finalized {
        /// The headers.
        headers: Vec<Header>,
        /// Finalization of the last one.
        certificate: Certificate,
    },
    /// Others are far ahead: sync final blocks by height, then give
    /// [`crate::input::Input::Synced`]. Repeated while it lasts.
    Behind {
        /// Height that is known to exist.
        height: Height,
        /// A block known to be final or notarized there.
        digest: Digest,
    },
    /// A view was entered; earlier builds and verifications are void.
    Entered {
        /// The view.
        view: View,
        /// Its leader.
        leader: MemberIndex,
    },
    /// Members signed what contradicts itself; each signature was verified.
    Fault(Box<Evidence>),
    /// A member sent what no honest one sends; for peer scores.
    Misbehaved {
        /// Who.
        member: MemberIndex,
        /// What.
        offence: Offence,
    },
    /// The block that the glue built breaks a rule; it was not proposed. An error in the glue.
    BuildRefused {
        /// The view.
        view: View,
        /// The rule.
        error: HeaderError,
    },
    /// A certificate holds a vote of the own key that this replica does not know: another one signs
    /// with it, or the log is not its newest. The replica is mute until
    /// [`crate::input::Input::Voice`] says otherwise; said once until then, also when it was mute.
    SignedElsewhere {
        /// What the vote says.
        statement: Statement,
    },
    /// The bytes of a notarized block are permanently malformed: more than a third of the weight is
    /// faulty or runs other rules. The replica nullifies the view and goes on.
    MalformedNotarized {
        /// The block.
        digest: Digest,
    },
}

/// What no honest member does over its own stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Offence {
    /// A vote in another member's name, or with a wrong signature.
    BadVote,
    /// A certificate that proves nothing.
    BadCertificate,
    /// A proposal that breaks a rule of form.
    BadProposal,
    /// A block that was not asked for, or more messages than are answered.
    Unwanted,
}
