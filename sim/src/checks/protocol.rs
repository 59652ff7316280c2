//! Rules about what members sign and what becomes of it, judged from outside: with the weights that
//! the beacon gives them, what is durable in whose vote log, and what each honest node's own execution gave.
//! Byzantine members count as having signed everything.

use super::{Broken, Place};
use crate::plan::Plan;
use skerry_execution::views;
use skerry_storage::StateTree;
use skerry_types::block::{BlockRef, ExecutionResult, Header};
use skerry_types::certificate::Certificate;
use skerry_types::committee::Committee;
use skerry_types::ids::{ChainRef, Digest, Epoch, Height, MemberIndex, View};
use skerry_types::vote::Statement;
use std::collections::{BTreeMap, BTreeSet};

/// A member as the genesis has it.
#[derive(Clone, Copy, Debug)]
struct Member {
    node: usize,
    weight: u128,
    is_honest: bool,
}

/// What is known of blocks, results and signatures.
#[derive(Debug)]
pub(super) struct Protocol {
    members: BTreeMap<Place, Vec<Member>>,
    malice: BTreeSet<usize>,
    chains: Vec<ChainRef>,
    headers: BTreeMap<Digest, Header>,
    /// Headers that report a block, by that block.
    reports: BTreeMap<Digest, BTreeSet<Digest>>,
    /// What the execution of each node gave for each block, as far as the node has got the answer.
    results: BTreeMap<(usize, Digest), (Height, ExecutionResult)>,
    /// Who notarized a block whose proposal has not left its leader yet.
    unseen: BTreeMap<Digest, BTreeSet<usize>>,
    /// What is durable in the vote log of whom.
    signed: BTreeSet<(usize, Place, Statement)>,
    /// The newest block that each node holds final.
    tops: BTreeMap<(usize, ChainRef), Height>,
}

impl Protocol {
    /// Of a plan whose run begins.
    pub(super) fn new(plan: &Plan) -> Self {
        let mut protocol = Self {
            members: BTreeMap::new(),
            malice: plan.malice.keys().copied().collect(),
            chains: plan.genesis.chains(),
            headers: BTreeMap::new(),
            reports: BTreeMap::new(),
            results: BTreeMap::new(),
            unseen: BTreeMap::new(),
            signed: BTreeSet::new(),
            tops: BTreeMap::new(),
        };
        for committee in plan
            .genesis
            .chains()
            .into_iter()
            .filter_map(|chain| plan.genesis.committee(chain))
        {
            protocol.take_committee(&committee);
        }
        protocol
    }

    fn take_committee(&mut self, committee: &Committee) {
        let place = (committee.chain, committee.epoch);
        let members = committee.members.iter().filter_map(|member| {
            let node = usize::try_from(member.validator.get()).ok()?;
            Some(Member {
                node,
                weight: u128::from(member.weight.get()),
                is_honest: !self.malice.contains(&node),
            })
        });
        self.members.insert(place, members.collect());
    }

    /// Takes up the committees of the epoch that a committed beacon state is in. That all nodes commit
    /// the same states is judged elsewhere.
    /// Gives those that were not known.
    pub(super) fn take_committees(&mut self, beacon: &StateTree) -> Vec<Committee> {
        let mut taken = Vec::new();
        let epoch = views::epoch(beacon, ChainRef::Beacon).map(|record| record.epoch);
        for chain in self.chains.clone() {
            let place = epoch.map(|epoch| (chain, epoch));
            let Some(place) = place.filter(|place| !self.members.contains_key(place)) else {
                continue;
            };
            if let Some(committee) = views::committee(beacon, place.0, place.1) {
                self.take_committee(&committee);
                taken.push(committee);
            }
        }
        taken
    }

    /// Which member of an instance a node is.
    pub(super) fn member(&self, place: Place, node: usize) -> Option<MemberIndex> {
        let members = self.members.get(&place)?;
        let index = members.iter().position(|member| member.node == node)?;
        Some(MemberIndex::new(u16::try_from(index).ok()?))
    }

    /// Which members of a chain's instances a node is.
    pub(super) fn members(&self, chain: ChainRef, node: usize) -> BTreeSet<MemberIndex> {
        let places = self.members.keys().filter(|(of, _)| *of == chain);
        places
            .filter_map(|place| self.member(*place, node))
            .collect()
    }

    /// The epoch of a block that somebody proposed.
    pub(super) fn epoch_of(&self, block: &Digest) -> Option<Epoch> {
        self.headers.get(block).map(|header| header.epoch)
    }

    /// A header that somebody proposed.
    pub(super) fn on_header(&mut self, header: &Header) -> Broken {
        let digest = header.digest();
        if self.headers.insert(digest, header.clone()).is_some() {
            return Ok(());
        }
        let reported = header.report.block.digest;
        self.reports.entry(reported).or_default().insert(digest);
        let mut notarized = self.unseen.remove(&digest).into_iter().flatten();
        notarized.try_for_each(|node| self.check_result(node, header))
    }

    /// A node got the result of executing a block.
    pub(super) fn on_executed(&mut self, node: usize, block: BlockRef, result: ExecutionResult) {
        self.results
            .insert((node, block.digest), (block.height, result));
    }

    /// A node came back: what it executed above its committed state of a chain is gone.
    pub(super) fn on_restart(&mut self, node: usize, chain: ChainRef, state: Height) {
        let headers = &self.headers;
        self.results.retain(|(owner, block), (height, _)| {
            let is_of = headers
                .get(block)
                .is_some_and(|header| header.chain == chain);
            *owner != node || !is_of || *height <= state
        });
    }

    /// A statement is durable in a vote log.
    pub(super) fn on_signed(&mut self, node: usize, place: Place, statement: Statement) {
        self.signed.insert((node, place, statement));
    }

    /// Whether a statement is durable in a node's vote log.
    pub(super) fn has_signed(&self, node: usize, place: Place, statement: Statement) -> bool {
        self.signed.contains(&(node, place, statement))
    }

    /// An honest node signs a notarize only for what reports the result of its own execution. A leader
    /// signs before anybody has seen its block.
    pub(super) fn on_notarize(&mut self, node: usize, digest: Digest) -> Broken {
        if let Some(header) = self.headers.get(&digest) {
            return self.check_result(node, header);
        }
        self.unseen.entry(digest).or_default().insert(node);
        Ok(())
    }

    fn check_result(&self, node: usize, header: &Header) -> Broken {
        let digest = header.digest();
        let report = header.report;
        if report.block.height == Height::ZERO {
            return Ok(());
        }
        match self.results.get(&(node, report.block.digest)) {
            Some((_, own)) if *own == report.result => Ok(()),
            Some((_, own)) => Err(format!(
                "node {node} notarizes {digest}, whose result of {} is not its own {own:?}",
                report.block.height
            )),
            None => Err(format!(
                "node {node} notarizes {digest} before it executed the reported block {}",
                report.block.height
            )),
        }
    }

    /// A certificate holds more than two thirds of the weight, and no honest member that did not
    /// sign.
    pub(super) fn check_certificate(&self, place: Place, certificate: &Certificate) -> Broken {
        let chain = format!("{} epoch {}", place.0, place.1);
        let members = self.members.get(&place).map(Vec::as_slice);
        let members = members.unwrap_or_default();
        let statement = certificate.statement;
        let signers = certificate.signers.members(members.len());
        let signers = signers.ok_or_else(|| format!("{chain}: bitmap of {statement:?}"))?;
        let mut weight = 0_u128;
        for signer in signers {
            let Some(member) = members.get(signer.index()) else {
                return Err(format!("{chain}: {statement:?} by {signer}, who is nobody"));
            };
            weight = weight.saturating_add(member.weight);
            if member.is_honest && !self.has_signed(member.node, place, statement) {
                return Err(format!(
                    "{chain}: a certificate of {statement:?} names node {}, which did not sign it",
                    member.node
                ));
            }
        }
        if is_quorum(weight, members) {
            Ok(())
        } else {
            Err(format!(
                "{chain}: a certificate of {statement:?} has weight {weight} only"
            ))
        }
    }

    /// [`Self::check_certificate`] of what another chain takes as proof, once its committee is known here.
    pub(super) fn check_proof(&self, place: Place, certificate: &Certificate) -> Broken {
        if self.members.contains_key(&place) {
            self.check_certificate(place, certificate)
        } else {
            Ok(())
        }
    }

    /// Every view between a final block and its parent has a quorum that nullified it.
    pub(super) fn check_gap(&self, header: &Header) -> Broken {
        let parent = self.headers.get(&header.parent);
        // The views of an epoch begin anew; a seal may have been notarized in a later one than its own.
        let parent = parent.filter(|parent| parent.epoch == header.epoch);
        let place = (header.chain, header.epoch);
        let mut view = parent.map_or(View::ZERO, |parent| parent.view).next();
        let members = self.members.get(&place).map(Vec::as_slice);
        let members = members.unwrap_or_default();
        while view < header.view {
            let statement = Statement::Nullify { view };
            let nullified = members.iter().filter(|member| {
                !member.is_honest || self.has_signed(member.node, place, statement)
            });
            let weight = nullified.map(|member| member.weight).sum();
            if !is_quorum(weight, members) {
                return Err(format!(
                    "{} {}: view {view} was skipped, weight {weight} nullified it",
                    header.chain, header.height
                ));
            }
            view = view.next();
        }
        Ok(())
    }

    /// A node holds the blocks up to this height final; after a restart it may be lower again.
    pub(super) fn on_top(&mut self, node: usize, chain: ChainRef, height: Height) {
        self.tops.insert((node, chain), height);
    }

    /// A node commits a state only when a header that it holds final reports its result.
    pub(super) fn check_reported(
        &self,
        finals: &BTreeMap<(ChainRef, Height), Digest>,
        (node, chain): (usize, ChainRef),
        block: Digest,
        result: &ExecutionResult,
    ) -> Broken {
        let reporters = self.reports.get(&block).into_iter().flatten();
        let mut headers = reporters.filter_map(|digest| Some((digest, self.headers.get(digest)?)));
        let top = self.tops.get(&(node, chain)).copied().unwrap_or_default();
        let is_reported = headers.any(|(digest, header)| {
            header.report.result == *result
                && header.height <= top
                && finals.get(&(chain, header.height)) == Some(digest)
        });
        if is_reported {
            Ok(())
        } else {
            Err(format!(
                "node {node} commits the state of {chain} {block}, and no header that it holds final \
                 reports it"
            ))
        }
    }
}

/// More than two thirds.
fn is_quorum(weight: u128, members: &[Member]) -> bool {
    let total: u128 = members.iter().map(|member| member.weight).sum();
    weight.saturating_mul(3) > total.saturating_mul(2)
}
