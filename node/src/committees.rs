//! The committees whose certificates count, as one state of the beacon has them.

use crate::error::NodeError;
use skerry_types::committee::VerifyingCommittee;
use skerry_types::crypto::scheme::VoteScheme;
use skerry_types::genesis::Genesis;
use skerry_types::ids::{ChainRef, Epoch};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The committee of each chain's open epoch.
#[derive(Clone, Debug)]
pub struct Committees {
    open: BTreeMap<ChainRef, Arc<VerifyingCommittee>>,
}

impl Committees {
    /// Those of the genesis.
    ///
    /// # Errors
    /// When one of them cannot be used.
    pub fn genesis(genesis: &Genesis, scheme: &dyn VoteScheme) -> Result<Self, NodeError> {
        let committee = |chain: ChainRef| {
            let committee = genesis.verifying_committee(chain, scheme);
            let committee = committee.ok_or(NodeError::UnknownChain(chain))?;
            Ok((chain, Arc::new(committee)))
        };
        let open: Result<_, NodeError> = genesis.chains().into_iter().map(committee).collect();
        Ok(Self { open: open? })
    }

    /// That of a chain, whichever epoch is open.
    pub fn open(&self, chain: ChainRef) -> Option<&Arc<VerifyingCommittee>> {
        self.open.get(&chain)
    }

    /// That of a chain in an epoch; none where the epoch is not open.
    pub fn of(&self, chain: ChainRef, epoch: Epoch) -> Option<&Arc<VerifyingCommittee>> {
        let committee = self.open.get(&chain)?;
        (committee.instance().epoch == epoch).then_some(committee)
    }
}
