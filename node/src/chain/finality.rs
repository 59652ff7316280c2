//! What a final block sets off: the commit, the readers' news, the relay's and the beacon's.
//!
//! A block is final before the header that reports its result is. So three things follow each
//! other: the block is recorded as final; once executed, it becomes the root of the block tree and
//! readers see it; once a final header reports its result, and the result is this node's own, its
//! state is committed and its messages and cross-link go out.

use super::blocks::Validity;
use super::jobs::{Executed, Shared, that_happened};
use super::{ChainNode, CommitRequest, Output, Reported, Root, root_of};
use crate::beacon::BeaconFinal;
use crate::committees::Committees;
use crate::error::NodeError;
use crate::view::{ExecutedBlock, Routes};
use skerry_execution::network::NetworkInfo;
use skerry_execution::proofs::PATH_HEADERS_MAX;
use skerry_execution::views;
use skerry_storage::ChainStore;
use skerry_types::beacon::Facts;
use skerry_types::block::{BlockKind, BlockRef, ExecutionResult, Header};
use skerry_types::certificate::Certificate;
use skerry_types::genesis::Genesis;
use skerry_types::ids::{Address, ChainRef, Denom, Height, TimeMs};
use skerry_types::state::ChangeSet;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Where a chain stands at start.
pub(super) struct StartState {
    pub(super) root: Root,
    /// Stored blocks above the root, final or not, by height.
    pub(super) blocks: Vec<(Header, Arc<[u8]>)>,
    /// Which of them are final, by height.
    pub(super) finalized: Vec<BlockRef>,
    /// The newest final block with its finalization.
    pub(super) newest: Option<(Header, Certificate)>,
    /// Whose state is committed.
    pub(super) state_at: Height,
}

/// Reads a chain's store; writes the genesis state into an empty one. Also returns what the
/// genesis executes to.
pub(super) fn load_root(
    store: &ChainStore,
    genesis: &Genesis,
    chain: ChainRef,
) -> Result<(StartState, Arc<Executed>), NodeError> {
    let network = NetworkInfo::of(genesis);
    let made = skerry_execution::genesis::genesis_changes(genesis, chain);
    let start = BlockRef {
        height: Height::ZERO,
        digest: skerry_types::committee::genesis_digest(&network.chain_id, chain),
    };
    if store.genesis_result()?.is_none() {
        let state = skerry_storage::StateTree::empty().apply(&made.changes);
        store.init_genesis(&made.changes, &made.result(state.root()))?;
    }
    let loaded = store.load()?;
    let result = store
        .genesis_result()?
        .ok_or(NodeError::NoGenesisState(chain))?;
    let (state_at, state_result) = loaded.state_at.ok_or(NodeError::NoGenesisState(chain))?;
    let executed = |block: BlockRef, result: ExecutionResult, facts: Option<Arc<Facts>>| {
        Arc::new(Executed {
            block,
            result,
            state: loaded.tree.clone(),
            changes: ChangeSet::new(),
            receipts: Arc::default(),
            outgoing: Vec::new(),
            channels: views::channel_summaries(&loaded.tree, &network, chain),
            facts,
            transactions: Arc::default(),
            used: Vec::new(),
            alarms: Vec::new(),
        })
    };
    let facts = chain
        .is_beacon()
        .then(|| Arc::new(views::beacon_facts(&loaded.tree, &network)));
    let genesis_executed = executed(start, result, made.facts.map(Arc::new));
    let root = if state_at.height == Height::ZERO {
        root_of(start, None, genesis_executed.clone())
    } else {
        let header = store.header(&state_at.digest)?.map(Arc::new);
        root_of(state_at, header, executed(state_at, state_result, facts))
    };
    let mut blocks = Vec::new();
    let mut finalized = Vec::new();
    let newest_height = loaded
        .finalized
        .as_ref()
        .map_or(Height::ZERO, |(head, _)| head.height);
    let mut height = state_at.height.next();
    while height <= newest_height {
        let block = store
            .block_at(height)?
            .ok_or(NodeError::MissingBlock { chain, height })?;
        finalized.push(block.header.block_ref());
        blocks.push((block.header, block.body.into()));
        height = height.next();
    }
    blocks.extend(
        loaded
            .unfinalized
            .into_iter()
            .map(|(header, body)| (header, body.into())),
    );
    let state_at = state_at.height;
    Ok((
        StartState {
            root,
            blocks,
            finalized,
            newest: loaded.finalized,
            state_at,
        },
        genesis_executed,
    ))
}

/// A final header that reports a result, with the proof of its finality.
#[derive(Clone)]
pub(super) struct ReportProof {
    pub(super) header: Header,
    pub(super) path: Vec<Header>,
    pub(super) certificate: Certificate,
}

impl ReportProof {
    /// Whether others take it. A long path comes of many blocks that were caught up with, which others
    /// have offered; one into a later epoch proves nothing, and another proof is made then.
    pub(super) fn is_short(&self) -> bool {
        let epoch = self.header.epoch;
        self.path.len() <= PATH_HEADERS_MAX && self.path.iter().all(|it| it.epoch == epoch)
    }
}

/// What waits to be committed, and what was reported but is not executed here yet.
pub(super) struct CommitQueue {
    finalized: Vec<(BlockRef, Option<Certificate>)>,
    executed: BTreeMap<Height, Arc<Executed>>,
    reported: BTreeMap<Height, ReportProof>,
    committed: Height,
    /// Height of the state that this node started from.
    started_at: Height,
    /// On the beacon: final headers whose facts are not known yet.
    unshown: VecDeque<Header>,
    shown: Option<(BlockRef, Arc<Facts>)>,
}

/// What facts are taken up with.
pub(super) struct Lookup<'a> {
    pub(super) shared: &'a Shared,
    pub(super) committees: &'a mut Arc<Committees>,
}

impl CommitQueue {
    pub(super) fn new(committed: Height) -> Self {
        Self {
            finalized: Vec::new(),
            executed: BTreeMap::new(),
            reported: BTreeMap::new(),
            committed,
            started_at: committed,
            unshown: VecDeque::new(),
            shown: None,
        }
    }

    /// Takes up the reports of final blocks that were loaded from the store.
    pub(super) fn resume(&mut self, tree: &super::blocks::BlockTree) {
        let root = tree.root();
        if let Some(facts) = &root.executed.facts {
            self.shown = Some((root.executed.block, facts.clone()));
        }
        let Some(certificate) = tree.final_certificate() else {
            return;
        };
        let headers: Vec<Header> = tree
            .final_entries()
            .iter()
            .filter_map(|digest| tree.header(digest))
            .map(|header| (*header).clone())
            .collect();
        self.note_reports(&headers, certificate);
        // Facts are the beacon's alone: a shard's headers are no references.
        if root.executed.facts.is_some() {
            let first = root.header.as_deref().cloned();
            self.unshown.extend(first.into_iter().chain(headers));
        }
    }

    fn note_reports(&mut self, headers: &[Header], certificate: &Certificate) {
        for (position, header) in headers.iter().enumerate() {
            let height = header.report.block.height;
            if height > self.committed && !self.reported.contains_key(&height) {
                let path = headers
                    .get(position.saturating_add(1)..)
                    .unwrap_or_default()
                    .to_vec();
                let proof = ReportProof {
                    header: header.clone(),
                    path,
                    certificate: certificate.clone(),
                };
                self.reported.insert(height, proof);
            }
        }
    }

    /// Height of the newest block whose state is committed or about to be.
    pub(super) fn committed(&self) -> Height {
        self.committed
    }

    /// What a final block executed to whose report is not final yet.
    pub(super) fn waiting(&self, block: BlockRef) -> Option<Arc<Executed>> {
        let executed = self.executed.get(&block.height);
        executed.filter(|it| it.block == block).cloned()
    }

    /// The facts shown by the newest final beacon header that has them.
    fn take_shown(&mut self, lookup: Lookup<'_>) -> Vec<BeaconFinal> {
        let Lookup { shared, committees } = lookup;
        let mut shown = Vec::new();
        while let Some(header) = self.unshown.front() {
            let reported = header.report.block;
            let held = self.shown.as_ref().filter(|(block, _)| *block == reported);
            let facts = match held {
                Some((_, facts)) => Some(facts.clone()),
                // Its facts are gone with the state, which is older than the one at start.
                None if reported.height < self.started_at => None,
                None => {
                    let Some(executed) = self.executed.get(&reported.height) else {
                        break;
                    };
                    let Some(facts) = executed.facts.clone() else {
                        break;
                    };
                    let known = Arc::make_mut(committees);
                    known.advance(&executed.state, &shared.network, &*shared.scheme);
                    known.prune(&executed.state, &shared.network);
                    self.shown = Some((reported, facts.clone()));
                    Some(facts)
                }
            };
            let facts_root = header.facts_root;
            shown.push(BeaconFinal {
                block: header.block_ref(),
                epoch: header.epoch,
                time: header.time,
                facts_root,
                facts,
                committees: committees.clone(),
            });
            self.unshown.pop_front();
        }
        shown
    }
}

impl ChainNode {
    /// The core, or a sync, says that these blocks are final; the certificate is the last one's.
    pub(super) fn on_finalized(
        &mut self,
        headers: &[Header],
        certificate: &Certificate,
        out: &mut Vec<Output>,
    ) {
        let Some((last, _)) = headers.split_last() else {
            return;
        };
        for header in headers {
            let block = header.block_ref();
            if block.height <= self.tree.final_block().height {
                continue;
            }
            let own = (header == last).then(|| certificate.clone());
            self.tree.finalize(block, own.clone());
            self.commit.finalized.push((block, own));
            if self.chain.is_beacon() {
                self.commit.unshown.push_back(header.clone());
            }
        }
        for header in headers {
            let entry = self.tree.get(&header.digest());
            if let Some(Validity::Invalid(reason)) = entry.map(|entry| &entry.validity) {
                let reason = format!("final block {} is invalid here: {reason}", header.height);
                self.stop(reason, out);
            }
        }
        self.commit.note_reports(headers, certificate);
        self.instance
            .notarized
            .retain(|_, view| *view > certificate.view());
        self.snapshot_due = true;
        self.announce(headers, certificate, out);
    }

    /// Settles final blocks whose states are known, and commits what can be.
    pub(super) fn advance_final(&mut self, out: &mut Vec<Output>) {
        while let Some((entry, abandoned)) = self.tree.advance() {
            let is_working = entry.header.kind == BlockKind::Working;
            let executed = entry.executed.filter(|_| is_working);
            if let (Some(work), Some(executed)) = (&entry.work, &executed) {
                // What is void has not happened, and may be sent again.
                let happened = that_happened(&work.transactions, &executed.receipts);
                self.cache.settle(happened);
                super::evidence::note_punished(work, executed, out);
            }
            if let Some(executed) = &executed {
                self.commit
                    .executed
                    .insert(entry.header.height, executed.clone());
                self.last_working_time = entry.header.time;
                self.throttle
                    .on_final(entry.header.time, self.now, executed.transactions.len());
                self.settle_pools(executed, out);
            }
            let network = &self.shared.network;
            let routes = entry.work.as_ref().map(|work| {
                let home = |owner: &Address| network.home(owner);
                Routes::of(&work.transactions, home)
            });
            let block = Box::new(ExecutedBlock {
                routes: routes.unwrap_or_default(),
                header: (*entry.header).clone(),
                transactions: executed
                    .as_ref()
                    .map(|e| e.transactions.clone())
                    .unwrap_or_default(),
                receipts: executed
                    .as_ref()
                    .map(|e| e.receipts.clone())
                    .unwrap_or_default(),
                at_ms: self.now.get(),
            });
            let state = self.tree.root().executed.state.clone();
            out.push(Output::Block { block, state });
            for (digest, transactions) in abandoned {
                self.instance.verifying.remove(&digest);
                self.throttle.on_abandoned(transactions);
                out.push(Output::Abandoned(digest));
            }
            self.snapshot_due = true;
        }
        let shown = self.commit.take_shown(Lookup {
            shared: &self.shared,
            committees: &mut self.committees,
        });
        out.extend(shown.into_iter().map(Output::Beacon));
        self.flush_commit(out);
        self.refresh_reporter();
        self.link_seal(out);
    }

    /// Only its own transactions make an account poorer: the mempool keeps what it can still pay for.
    fn hold_senders(&mut self, executed: &Executed, out: &mut Vec<Output>) {
        let mut last = None;
        for (sender, ..) in &executed.used {
            if last.replace(*sender) != Some(*sender) && self.mempool.has_of(sender) {
                let funds = views::balance(&executed.state, sender, &Denom::SKER);
                self.mempool.hold_to(sender, funds);
            }
        }
        let dropped = self.mempool.take_dropped();
        if !dropped.is_empty() {
            out.push(Output::Dropped(dropped));
        }
    }

    /// Pools forget what the new final state has taken up.
    fn settle_pools(&mut self, executed: &Executed, out: &mut Vec<Output>) {
        let state = &executed.state;
        let used = executed.used.iter().copied();
        self.mempool.remove_final(&executed.transactions, used);
        self.hold_senders(executed, out);
        let chain = self.chain;
        self.inbound
            .prune(|source| views::inbound(state, chain, source).accepted_cursor());
        self.drop_unprovable();
        if chain.is_beacon() {
            self.links.prune(|shard| views::shard_record(state, shard));
            self.ready.prune(&self.committees);
            self.evidence.prune(state);
            self.judge_own(out);
            if let Some(facts) = &executed.facts {
                self.announce_linked(facts);
            }
        } else if let Some(feed) = &self.feed {
            let expired = self.mempool.drop_expired(feed.newest().block.height);
            if !expired.is_empty() {
                out.push(Output::Dropped(expired));
            }
        }
    }

    /// Commits finality at once, and the states whose report is final and equals the own result.
    fn flush_commit(&mut self, out: &mut Vec<Output>) {
        let mut states = Vec::new();
        let mut reported = Vec::new();
        while let Some((height, executed)) = self.commit.executed.first_key_value() {
            let Some(proof) = self.commit.reported.get(height) else {
                break;
            };
            if executed.result != proof.header.report.result {
                let reason = format!(
                    "block {height} executes to {:?} here, the final header {} reports {:?}",
                    executed.result, proof.header.height, proof.header.report.result
                );
                self.stop(reason, out);
                return;
            }
            let height = *height;
            let Some((_, executed)) = self.commit.executed.pop_first() else {
                break;
            };
            let Some(proof) = self.commit.reported.remove(&height) else {
                break;
            };
            self.commit.committed = height;
            reported.push((executed.clone(), proof));
            states.push(executed);
        }
        let finalized = std::mem::take(&mut self.commit.finalized);
        if !finalized.is_empty() || !states.is_empty() {
            out.push(Output::Commit(CommitRequest {
                finalized,
                states,
                ..CommitRequest::default()
            }));
        }
        for (executed, proof) in reported {
            for alarm in &executed.alarms {
                out.push(Output::Note(super::Note::Fault(format!("alarm: {alarm}"))));
            }
            self.on_reported(&executed, &proof, out);
            if !proof.is_short() {
                continue;
            }
            let ReportProof {
                header,
                path,
                certificate,
            } = proof;
            out.push(Output::Reported(Box::new(Reported {
                executed,
                header,
                path,
                certificate,
            })));
        }
    }

    /// Time of the newest block this node holds final.
    pub fn final_time(&self) -> TimeMs {
        self.tree
            .final_header()
            .map_or(TimeMs::ZERO, |header| header.time)
    }
}
