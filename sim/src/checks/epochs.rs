//! Rules about epochs, judged from what is final: which epoch of a chain is open for whom, and who
//! said that it can take a seat.

use super::Broken;
use crate::counts::Counts;
use skerry_execution::views;
use skerry_storage::StateTree;
use skerry_types::beacon::SystemOperation;
use skerry_types::block::{BlockKind, Body, Header};
use skerry_types::committee::Committee;
use skerry_types::ids::{ChainRef, Digest, Epoch, Height, ValidatorId};
use std::collections::{BTreeMap, BTreeSet};

/// What final blocks said of epochs so far.
#[derive(Debug, Default)]
pub(super) struct Epochs {
    /// The epoch of each chain's newest final block; after a seal, the one that it names.
    of_chain: BTreeMap<ChainRef, Epoch>,
    /// The epoch of each source that is open for each shard, by the facts that it has imported.
    open: BTreeMap<(ChainRef, ChainRef), Epoch>,
    /// What final beacon blocks take as proven, until their states are committed: a link of a seal may
    /// be skipped, which only the state shows.
    taken: BTreeMap<Height, Vec<(ChainRef, Epoch)>>,
    /// Who said that it is ready.
    ready: BTreeSet<(ChainRef, Epoch, ValidatorId)>,
    /// Headers that were signed with the keys of an epoch that was closed.
    made: BTreeSet<Digest>,
    /// Who sits in the newest committee of each chain.
    sitting: BTreeMap<ChainRef, (Epoch, BTreeSet<ValidatorId>)>,
}

impl Epochs {
    /// A block is final, the next one of its chain.
    pub(super) fn on_header(&mut self, header: &Header) -> Broken {
        let chain = header.chain;
        let expected = self.of_chain.get(&chain).copied().unwrap_or_default();
        if header.epoch != expected {
            return Err(format!(
                "{chain} {} is of epoch {}, {expected} is open",
                header.height, header.epoch
            ));
        }
        if header.kind != BlockKind::Seal {
            return Ok(());
        }
        let next = header.next.map(|next| next.epoch);
        // On the beacon epochs follow each other; a shard goes on in the one that it has seen.
        let expected = if chain.is_beacon() {
            expected.next()
        } else {
            self.open_for(chain, ChainRef::Beacon)
        };
        if next != Some(expected) {
            return Err(format!(
                "the seal {} of {chain} names epoch {next:?}, expected {expected}",
                header.height
            ));
        }
        self.of_chain.insert(chain, expected);
        Ok(())
    }

    /// Headers were signed with the keys of an epoch that is closed, or are never final.
    pub(super) fn on_made(&mut self, headers: BTreeSet<Digest>) {
        self.made.extend(headers);
    }

    fn check_made(&self, (chain, height): (ChainRef, Height), proof: &Header) -> Broken {
        if !self.made.contains(&proof.digest()) {
            return Ok(());
        }
        let (source, epoch) = (proof.chain, proof.epoch);
        Err(format!(
            "{chain} {height} takes a proof of epoch {epoch} of {source} by a header that is never \
             final, or was signed when that epoch was closed"
        ))
    }

    /// Which epochs are open for the shards, by who relies on them and by the chain that they are of.
    pub(super) fn open(&self) -> BTreeMap<(ChainRef, ChainRef), Epoch> {
        self.open.clone()
    }

    fn open_for(&self, destination: ChainRef, source: ChainRef) -> Epoch {
        let open = self.open.get(&(destination, source));
        open.copied().unwrap_or_default()
    }

    fn check_open(&self, chain: ChainRef, height: Height, proof: &Header) -> Broken {
        let (source, epoch) = (proof.chain, proof.epoch);
        let open = self.open_for(chain, source);
        if epoch == open {
            return Ok(());
        }
        Err(format!(
            "{chain} {height} takes a proof of epoch {epoch} of {source}, {open} is open"
        ))
    }

    /// A body is final, the next one of its chain.
    pub(super) fn on_body(&mut self, chain: ChainRef, height: Height, body: &Body) -> Broken {
        if let Some(facts) = &body.facts {
            let beacon = (chain, ChainRef::Beacon);
            self.open.insert(beacon, facts.epoch.epoch);
            for record in &facts.shards {
                self.open.insert((chain, record.chain), record.epoch);
            }
        }
        for inbound in &body.inbound {
            self.check_made((chain, height), &inbound.proof.header)?;
            if chain.is_beacon() {
                let header = &inbound.proof.header;
                let taken = self.taken.entry(height).or_default();
                taken.push((header.chain, header.epoch));
            } else {
                self.check_open(chain, height, &inbound.proof.header)?;
            }
        }
        for operation in &body.system {
            match operation {
                SystemOperation::CrossLink(link) => {
                    self.check_made((chain, height), &link.header)?;
                    let taken = self.taken.entry(height).or_default();
                    taken.push((link.header.chain, link.header.epoch));
                }
                SystemOperation::Ready(ready) => {
                    self.ready
                        .insert((ready.chain, ready.epoch, ready.validator));
                }
                SystemOperation::Evidence(_) => {}
            }
        }
        Ok(())
    }

    /// The state of a final beacon block is committed; `before` is the one before it.
    pub(super) fn on_beacon_state(&mut self, height: Height, before: Option<&StateTree>) -> Broken {
        for (shard, epoch) in self.taken.remove(&height).unwrap_or_default() {
            let record = before.and_then(|state| views::shard_record(state, shard));
            let open = record.map_or(Epoch::ZERO, |record| record.epoch);
            if epoch != open {
                return Err(format!(
                    "beacon {height} takes a proof of epoch {epoch} of {shard}, {open} is open"
                ));
            }
        }
        Ok(())
    }

    /// A committee serves: whoever did not sit in the one before it has said that it is ready.
    pub(super) fn check_newcomers(&mut self, committee: &Committee, counts: &mut Counts) -> Broken {
        let (chain, epoch) = (committee.chain, committee.epoch);
        let members = committee.members.iter().map(|member| member.validator);
        let members: BTreeSet<ValidatorId> = members.collect();
        let before = self.sitting.insert(chain, (epoch, members.clone()));
        let Some((_, before)) = before.filter(|(before, _)| before.next() == epoch) else {
            return Ok(());
        };
        for validator in members.difference(&before) {
            counts.note("seats taken by newcomers");
            if !self.ready.contains(&(chain, epoch, *validator)) {
                return Err(format!(
                    "{validator} sits in {chain} epoch {epoch} and never said that it is ready"
                ));
            }
        }
        Ok(())
    }
}
