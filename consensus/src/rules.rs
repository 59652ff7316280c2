//! What a header must satisfy that needs only consensus data. A breach is permanent: the view is
//! nullified at once. All else (body, beacon reference, report, forced inclusion) is the glue's.

use crate::config::{Parent, WORKING_HEIGHTS_AHEAD_MAX};
use crate::error::HeaderError;
use skerry_types::block::{BlockKind, Header};
use skerry_types::certificate::Certificate;
use skerry_types::committee::Instance;
use skerry_types::consensus::Proposal;
use skerry_types::ids::{Digest, Height, MemberIndex, View};
use skerry_types::limits;
use skerry_types::vote::Statement;

/// Checks network, chain, epoch, view, proposer, and the form of each kind of block. `leader` is
/// that of the header's view.
pub(crate) fn check_form(
    instance: &Instance,
    leader: Option<MemberIndex>,
    view: View,
    header: &Header,
    body_bytes: usize,
) -> Result<(), HeaderError> {
    let kind = header.kind;
    if header.chain_id != instance.chain_id {
        let (expected, actual) = (instance.chain_id, header.chain_id);
        return Err(HeaderError::ChainId { expected, actual });
    }
    if header.chain != instance.chain {
        return Err(HeaderError::Chain {
            expected: instance.chain,
            actual: header.chain,
        });
    }
    if header.epoch != instance.epoch {
        return Err(HeaderError::Epoch {
            expected: instance.epoch,
            actual: header.epoch,
        });
    }
    // A seal is proposed again byte for byte, so it keeps its first view and proposer.
    let right_view = match kind {
        BlockKind::Seal => header.view <= view,
        BlockKind::Working | BlockKind::Idle => header.view == view,
    };
    let view_error = HeaderError::View {
        expected: view,
        actual: header.view,
        kind,
    };
    let expected = leader.filter(|_| right_view).ok_or(view_error)?;
    if header.proposer != expected {
        return Err(HeaderError::Proposer {
            expected,
            actual: header.proposer,
        });
    }
    let body_fits = match kind {
        BlockKind::Working => body_bytes <= limits::BODY_BYTES_MAX,
        BlockKind::Idle | BlockKind::Seal => body_bytes == 0 && header.body_root == Digest::ZERO,
    };
    if !body_fits {
        return Err(HeaderError::Body {
            kind,
            bytes: body_bytes,
        });
    }
    if header.next.is_some() != (kind == BlockKind::Seal) {
        return Err(HeaderError::Next { kind });
    }
    Ok(())
}

/// What a proposal builds on, as it says itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Base {
    /// View of the certificate; 0 for the genesis.
    pub(crate) view: View,
    /// The certified block.
    pub(crate) digest: Digest,
    /// Whether the proposal is that block again: a seal.
    pub(crate) again: bool,
}

/// Reads and checks the certificates' statements of a proposal; their signatures are checked
/// elsewhere.
pub(crate) fn check_base(
    instance: &Instance,
    view: View,
    digest: Digest,
    header: &Header,
    parent: Option<&Certificate>,
    finalization: Option<&Certificate>,
) -> Result<Base, HeaderError> {
    if let Some(statement) = finalization.map(|certificate| certificate.statement)
        && !matches!(statement, Statement::Finalize { .. })
    {
        return Err(HeaderError::Finalization { actual: statement });
    }
    let base = match parent {
        None => Base {
            view: View::ZERO,
            digest: instance.genesis,
            again: false,
        },
        Some(certificate) => {
            let certified = certificate
                .statement
                .digest()
                .ok_or(HeaderError::ParentCertificate)?;
            let again = header.kind == BlockKind::Seal && certified == digest;
            Base {
                view: certificate.view(),
                digest: certified,
                again,
            }
        }
    };
    if parent.is_some() && base.view == View::ZERO {
        return Err(HeaderError::ParentCertificate);
    }
    if base.view >= view {
        return Err(HeaderError::ParentView {
            parent: base.view,
            view,
        });
    }
    if !base.again && base.digest != header.parent {
        return Err(HeaderError::Parent {
            expected: base.digest,
            actual: header.parent,
        });
    }
    Ok(base)
}

/// Checks height, time and kind against the parent; a seal has no child but itself.
pub(crate) fn check_child(header: &Header, parent: &Parent) -> Result<(), HeaderError> {
    if let Some(parent_header) = &parent.header
        && parent_header.kind == BlockKind::Seal
        && parent_header.epoch == header.epoch
    {
        return Err(HeaderError::AfterSeal {
            seal: parent.digest,
        });
    }
    let expected = parent.height.next();
    if header.height != expected {
        return Err(HeaderError::Height {
            expected,
            actual: header.height,
        });
    }
    if header.time <= parent.time {
        return Err(HeaderError::Time {
            parent: parent.time,
            actual: header.time,
        });
    }
    Ok(())
}

/// Whether only an idle block may have this height on this finalization.
pub(crate) fn is_idle_only(height: Height, finalized: Height) -> bool {
    height.above(finalized) > WORKING_HEIGHTS_AHEAD_MAX
}

/// The voting rule that bounds how far work runs ahead of finality.
pub(crate) fn check_ahead(header: &Header, finalized: Height) -> Result<(), HeaderError> {
    if header.kind == BlockKind::Working && is_idle_only(header.height, finalized) {
        return Err(HeaderError::WorkingAhead {
            finalized,
            actual: header.height,
        });
    }
    Ok(())
}

/// The statements that a proposal's certificates make.
pub(crate) fn certificates_of(proposal: &Proposal) -> impl Iterator<Item = &Certificate> {
    [&proposal.parent, &proposal.finalization]
        .into_iter()
        .flatten()
}
