//! The committees that a node knows: of the open epochs, whose certificates count, and of those
//! that are settled but not begun.
//!
//! All of them come from states of the beacon, so that nodes that were away agree with those that
//! were there. What the votes of an epoch are bound to, the seal before it, is known of a shard once
//! the beacon has cross-linked the seal, and of the beacon once the seal is final here.

use crate::error::NodeError;
use skerry_execution::network::NetworkInfo;
use skerry_execution::views::{self, Stage};
use skerry_types::committee::{Committee, VerifyingCommittee};
use skerry_types::crypto::bls::PublicKey;
use skerry_types::crypto::scheme::VoteScheme;
use skerry_types::genesis::Genesis;
use skerry_types::ids::{ChainRef, Digest, Epoch, ValidatorId};
use skerry_types::state::StateRead;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Epochs for which a committee is remembered at least after its chain has left them. A block that needs
/// an older one is not judged any more; a node that was away for longer gets it as final.
const EPOCHS_KEPT: u64 = 4;

/// Validators that are dealt a seat and not known to be ready.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Awaited {
    /// The epoch of the seats.
    pub epoch: Epoch,
    /// Who, with the keys.
    pub newcomers: Vec<(ValidatorId, PublicKey)>,
}

/// What is known of committees.
#[derive(Clone, Debug, Default)]
pub struct Committees {
    seated: BTreeMap<(ChainRef, Epoch), Arc<Committee>>,
    open: BTreeMap<(ChainRef, Epoch), Arc<VerifyingCommittee>>,
    awaited: BTreeMap<ChainRef, Awaited>,
}

impl Committees {
    /// Those of the genesis.
    ///
    /// # Errors
    /// When one of them cannot be used.
    pub fn genesis(genesis: &Genesis, scheme: &dyn VoteScheme) -> Result<Self, NodeError> {
        let mut committees = Self::default();
        for chain in genesis.chains() {
            let committee = genesis.verifying_committee(chain, scheme);
            let committee = committee.ok_or(NodeError::UnknownChain(chain))?;
            committees.insert(Arc::new(committee));
        }
        Ok(committees)
    }

    /// Adds a committee whose epoch has begun.
    pub fn insert(&mut self, committee: Arc<VerifyingCommittee>) {
        let of = (committee.instance().chain, committee.instance().epoch);
        let plain = || Arc::new(committee.committee().clone());
        self.seated.entry(of).or_insert_with(plain);
        self.open.insert(of, committee);
    }

    /// That of a chain in an epoch that has begun, as far as this node knows.
    pub fn of(&self, chain: ChainRef, epoch: Epoch) -> Option<&Arc<VerifyingCommittee>> {
        self.open.get(&(chain, epoch))
    }

    /// The members of a chain in an epoch, begun or not.
    pub fn seated(&self, chain: ChainRef, epoch: Epoch) -> Option<&Arc<Committee>> {
        self.seated.get(&(chain, epoch))
    }

    /// Who is to take a seat of a chain and has not been noted as ready.
    pub fn awaited(&self, chain: ChainRef) -> Option<&Awaited> {
        self.awaited.get(&chain)
    }

    /// Takes up what a newer state of the beacon says.
    pub fn advance(
        &mut self,
        beacon: &dyn StateRead,
        network: &NetworkInfo,
        scheme: &dyn VoteScheme,
    ) {
        let Some(record) = views::epoch(beacon, ChainRef::Beacon) else {
            return;
        };
        for chain in &network.chains {
            self.seat(beacon, *chain, record.epoch);
            if let Some(shard) = views::shard_record(beacon, *chain) {
                // Those before the open one are needed for blocks that refer to older beacon blocks.
                let mut epoch = views::kept_from(beacon, *chain).min(shard.epoch);
                while epoch < shard.epoch {
                    if let Some(genesis) = views::instance(beacon, *chain, epoch) {
                        self.open_shard(beacon, network, scheme, (*chain, epoch, genesis));
                    }
                    epoch = epoch.next();
                }
                // Of a fenced shard it proves what was on its way, however long ago that was.
                let open = (*chain, shard.epoch, shard.genesis);
                self.open_shard(beacon, network, scheme, open);
            }
            match awaited(beacon, *chain) {
                Some(awaited) => self.awaited.insert(*chain, awaited),
                None => self.awaited.remove(chain),
            };
        }
    }

    fn seat(&mut self, beacon: &dyn StateRead, chain: ChainRef, epoch: Epoch) {
        if !self.seated.contains_key(&(chain, epoch))
            && let Some(committee) = views::committee(beacon, chain, epoch)
        {
            self.seated.insert((chain, epoch), Arc::new(committee));
        }
    }

    fn open_shard(
        &mut self,
        beacon: &dyn StateRead,
        network: &NetworkInfo,
        scheme: &dyn VoteScheme,
        (chain, epoch, genesis): (ChainRef, Epoch, Digest),
    ) {
        if self.open.contains_key(&(chain, epoch)) {
            return;
        }
        self.seat(beacon, chain, epoch);
        let Some(committee) = self.seated.get(&(chain, epoch)) else {
            return;
        };
        let committee = Committee::clone(committee);
        let opened = VerifyingCommittee::new(committee, network.chain_id, genesis, scheme);
        if let Some(opened) = opened {
            self.open.insert((chain, epoch), Arc::new(opened));
        }
    }

    /// Forgets what the chains have left for long, each by itself: a shard that stands still keeps
    /// nothing of the others. What is open is kept, of a fenced shard for ever.
    pub fn prune(&mut self, beacon: &dyn StateRead, network: &NetworkInfo) {
        let from = |chain: &ChainRef| {
            let kept = views::kept_from(beacon, *chain);
            let is_fenced = views::shard_record(beacon, *chain).is_some_and(|it| it.fenced);
            let open = views::open_epoch(beacon, ChainRef::Beacon, *chain);
            let open = open.unwrap_or_default();
            if is_fenced {
                (*chain, (kept, open))
            } else {
                (*chain, (kept.min(open.saturating_sub(EPOCHS_KEPT)), open))
            }
        };
        let from: BTreeMap<ChainRef, (Epoch, Epoch)> = network.chains.iter().map(from).collect();
        let is_kept = |(chain, epoch): &(ChainRef, Epoch)| {
            let kept = from.get(chain);
            kept.is_some_and(|(from, open)| epoch >= from || epoch == open)
        };
        self.seated.retain(|of, _| is_kept(of));
        self.open.retain(|of, _| is_kept(of));
    }
}

/// The newcomers that a beacon state waits for.
fn awaited(beacon: &dyn StateRead, chain: ChainRef) -> Option<Awaited> {
    if views::seating(beacon, chain, Stage::Settled).is_some() {
        return None;
    }
    let dealt = views::seating(beacon, chain, Stage::Dealt)?;
    let held = views::seating(beacon, chain, Stage::Held)?;
    let newcomers: Vec<(ValidatorId, PublicKey)> = views::newcomers(&dealt, &held)
        .into_iter()
        .filter(|validator| !views::is_ready(beacon, chain, *validator, dealt.epoch))
        .filter_map(|validator| {
            let record = views::validator(beacon, validator)?;
            Some((validator, record.vote_key))
        })
        .collect();
    let epoch = dealt.epoch;
    (!newcomers.is_empty()).then_some(Awaited { epoch, newcomers })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{executed, genesis, shard};
    use skerry_types::codec::{Version, encode};
    use skerry_types::crypto::scheme::MockScheme;
    use skerry_types::state::Value;

    #[test]
    fn of_a_fenced_shard_the_committee_that_was_open_stays_known() {
        let (genesis, of) = (genesis(1), (shard(1, 0), Epoch::ZERO));
        let network = NetworkInfo::of(&genesis);
        let start = executed(&genesis, ChainRef::Beacon).state;
        let mut known = Committees::default();
        known.advance(&start, &network, &MockScheme);
        let instance = *known.of(of.0, of.1).expect("it is open").instance();

        // Long after the fence: the beacon judges no evidence of that epoch any more.
        let mut record = views::shard_record(&start, of.0).expect("of the genesis");
        record.fenced = true;
        let kept = (Version, Epoch::new(9));
        let changes = [
            (
                views::shard_record_key(of.0),
                Some(Value::from(encode(&record))),
            ),
            (views::kept_key(of.0), Some(Value::from(encode(&kept)))),
            (views::instance_key(of.0, of.1), None),
        ];
        let late = start.apply(&changes.into());
        // Of a node that was there, and of one that starts then.
        for mut known in [known, Committees::default()] {
            known.advance(&late, &network, &MockScheme);
            known.prune(&late, &network);
            let open = known.of(of.0, of.1).expect("it proves what is on its way");
            assert_eq!(*open.instance(), instance);
        }
    }
}
