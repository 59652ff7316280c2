//! Why a replica refuses: a start, a header, a signature.

use skerry_types::block::BlockKind;
use skerry_types::ids::{ChainRef, Digest, Epoch, Height, MemberIndex, TimeMs, View};
use skerry_types::vote::Statement;

/// Why a replica cannot start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// The replica's index names no member.
    #[error("member {me} of a committee of {members}")]
    Member {
        /// The index.
        me: MemberIndex,
        /// Size of the committee.
        members: usize,
    },
    /// The key is not the member's.
    #[error("the vote key is not that of member {me}")]
    Key {
        /// The index.
        me: MemberIndex,
    },
    /// The root's certificate is not a finalization of its header.
    #[error("the root {digest} comes with a certificate of {actual:?}")]
    Root {
        /// The root.
        digest: Digest,
        /// What is certified.
        actual: Statement,
    },
    /// A record of the log belongs to another instance.
    #[error("record {position} of the vote log is of {chain} epoch {epoch}")]
    Record {
        /// Its position.
        position: u64,
        /// Its chain.
        chain: ChainRef,
        /// Its epoch.
        epoch: Epoch,
    },
    /// A vote in the log is not this member's.
    #[error("record {position} of the vote log is a vote of member {signer}")]
    Signer {
        /// Its position.
        position: u64,
        /// Who signed it.
        signer: MemberIndex,
    },
}

/// Why a header can never be proposed in a view; what needs only consensus data.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// Made for another network.
    #[error("made for network {actual}, this is {expected}")]
    ChainId {
        /// This network.
        expected: Digest,
        /// The header's.
        actual: Digest,
    },
    /// Made for another chain.
    #[error("made for {actual}, this is {expected}")]
    Chain {
        /// This chain.
        expected: ChainRef,
        /// The header's.
        actual: ChainRef,
    },
    /// Made for another epoch.
    #[error("made in epoch {actual}, this is {expected}")]
    Epoch {
        /// This epoch.
        expected: Epoch,
        /// The header's.
        actual: Epoch,
    },
    /// The header's view is not the proposal's, or a seal's lies above it.
    #[error("a {kind:?} block of view {actual} proposed in view {expected}")]
    View {
        /// The proposal's.
        expected: View,
        /// The header's.
        actual: View,
        /// The kind of block.
        kind: BlockKind,
    },
    /// The proposer is not the leader of the header's view.
    #[error("proposed by {actual}, the leader is {expected}")]
    Proposer {
        /// The leader.
        expected: MemberIndex,
        /// The header's.
        actual: MemberIndex,
    },
    /// An idle block or a seal with a body, or a body above the limit.
    #[error("a {kind:?} block with {bytes} bytes of body")]
    Body {
        /// The kind of block.
        kind: BlockKind,
        /// Length of the body.
        bytes: usize,
    },
    /// The next committee stands in a header that is no seal, or is absent in a seal.
    #[error("a {kind:?} block must carry the next committee if and only if it is a seal")]
    Next {
        /// The kind of block.
        kind: BlockKind,
    },
    /// Not one above the parent.
    #[error("height {actual} on a parent that needs {expected}")]
    Height {
        /// One above the parent's.
        expected: Height,
        /// The header's.
        actual: Height,
    },
    /// Not after the parent.
    #[error("time {actual} is not after the parent's {parent}")]
    Time {
        /// The parent's.
        parent: TimeMs,
        /// The header's.
        actual: TimeMs,
    },
    /// The parent's digest is not what the certificate certifies.
    #[error("parent {actual}, the certified block is {expected}")]
    Parent {
        /// The certified block.
        expected: Digest,
        /// The header's parent.
        actual: Digest,
    },
    /// The parent's certificate is absent, or no notarization or finalization.
    #[error("the proposal carries no certificate of its parent")]
    ParentCertificate,
    /// The carried finalization is no finalization.
    #[error("the proposal carries {actual:?} for a finalization")]
    Finalization {
        /// What is certified.
        actual: Statement,
    },
    /// The parent's view is not below the proposal's.
    #[error("parent of view {parent} in a proposal of view {view}")]
    ParentView {
        /// The parent's.
        parent: View,
        /// The proposal's.
        view: View,
    },
    /// A block on top of a seal.
    #[error("a block on top of the seal {seal}")]
    AfterSeal {
        /// The seal.
        seal: Digest,
    },
    /// A working block too far above the finalization that its proposal carries.
    #[error("a working block at {actual}, the finalization carried is at {finalized}")]
    WorkingAhead {
        /// Height of the finalization.
        finalized: Height,
        /// The header's.
        actual: Height,
    },
}

/// Why a statement may not be signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The replica has no key, or was told to stop.
    #[error("this replica does not vote")]
    NoVoter,
    /// The key's history is not whole.
    #[error("the history of this key is not whole, so it signs nothing for now")]
    Mute,
    /// Below the floor: final, or given up at an import of the log.
    #[error("view {view} lies below the floor {floor}")]
    BelowFloor {
        /// The view.
        view: View,
        /// First view in which something may be signed.
        floor: View,
    },
    /// Notarize and nullify are for the current view only.
    #[error("view {view} is not the current view {current}")]
    NotCurrent {
        /// The view.
        view: View,
        /// The current one.
        current: View,
    },
    /// A notarize was cast in this view.
    #[error("already notarized {digest}")]
    Notarized {
        /// The block.
        digest: Digest,
    },
    /// A nullify was cast in this view.
    #[error("already nullified")]
    Nullified,
    /// A finalize was cast in this view.
    #[error("already finalized {digest}")]
    Finalized {
        /// The block.
        digest: Digest,
    },
}

/// Why a proposal is not notarized on its parent now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParentRefusal {
    /// Never: its view is not below the block's.
    #[error("the parent of view {base} is not below view {view}")]
    NotBelow {
        /// The parent's view.
        base: View,
        /// The block's.
        view: View,
    },
    /// Never: it lies below the final block, or beside it.
    #[error("the parent of view {base} is not above the final view {finalized}")]
    NotAboveFinal {
        /// The parent's view.
        base: View,
        /// The newest final view.
        finalized: View,
    },
    /// It is neither final nor known to be notarized.
    #[error("the parent of view {base} is not notarized")]
    NotNotarized {
        /// The parent's view.
        base: View,
    },
    /// A view between may still have a final block.
    #[error("view {view} is not nullified")]
    Gap {
        /// The lowest of them.
        view: View,
    },
}

/// Why the glue builds no block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BuildRefusal {
    /// What the block must report or refer to is not here.
    #[error("the data that a block needs is not here")]
    Unready,
    /// The own results differ from the quorum's.
    #[error("own results differ from the quorum's")]
    Diverged,
}
