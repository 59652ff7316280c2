//! When a block is checked, executed, and acceptable to vote for.
//!
//! Checking needs the parent's state; voting needs the reported result to be this node's own. Both
//! may come later than the block, so everything here is looked at again after each input.

use super::blocks::{Prepared, Validity};
use super::jobs::{Done, ExecuteJob, Executed, Job, Refusal, ValidateJob, Work};
use super::{ChainNode, Note, Output};
use crate::beacon::digest_of;
use skerry_consensus::input::{Input as Core, Verdict};
use skerry_execution::block::BlockContext;
use skerry_execution::validate::CheckedBody;
use skerry_types::beacon::SystemOperation;
use skerry_types::block::{BlockKind, BlockRef, Header, Report};
use skerry_types::ids::{Digest, Epoch};
use std::sync::Arc;

/// What stands in the way of a verdict.
enum Finding {
    /// Something that will come, or the view will time out.
    Wait,
    /// Acceptable.
    Good,
    /// Never acceptable.
    Bad(String),
    /// Acceptable, and this node does not follow its leader.
    Withhold(String),
}

impl ChainNode {
    /// Keeps a block whose bytes match its header; others are dropped and fetched again.
    pub(super) fn take_block(
        &mut self,
        digest: Digest,
        header: Header,
        body: Arc<[u8]>,
        out: &mut Vec<Output>,
    ) {
        if self.tree.get(&digest).is_some() || header.height <= self.tree.root().block.height {
            return;
        }
        let block = BlockRef {
            height: header.height,
            digest,
        };
        match self.prepare(&header, &body) {
            Ok(prepared) => {
                self.tree.insert(digest, header, body, self.now);
                if let Some(entry) = self.tree.get_mut(&digest) {
                    entry.prepared = prepared;
                }
            }
            Err(reason) => out.push(Output::Note(Note::Invalid { block, reason })),
        }
    }

    /// What the check of a block starts from, when its bytes match the header.
    fn prepare(&self, header: &Header, bytes: &[u8]) -> Result<Prepared, String> {
        let body = CheckedBody::decode(header, bytes).map_err(|error| error.to_string())?;
        let system = body.as_ref().map(|body| body.body().system.as_slice());
        let verified_links = system
            .unwrap_or_default()
            .iter()
            .filter_map(|operation| match operation {
                SystemOperation::CrossLink(link) => Some(digest_of(link)),
                SystemOperation::Ready(_) | SystemOperation::Evidence(_) => None,
            })
            .filter(|link| self.links.is_verified(link))
            .collect();
        Ok(Prepared {
            body,
            verified_links,
        })
    }

    /// Blocks that were loaded from the store get their bodies decoded.
    pub(super) fn reload_bodies(&mut self) {
        for digest in self.tree.digests() {
            self.prepare_again(&digest);
        }
    }

    /// Decodes the body of a block whose bytes are kept.
    fn prepare_again(&mut self, digest: &Digest) {
        let Some(entry) = self.tree.get(digest) else {
            return;
        };
        let (header, body) = (entry.header.clone(), entry.body.clone());
        if let Ok(prepared) = self.prepare(&header, &body)
            && let Some(entry) = self.tree.get_mut(digest)
        {
            entry.prepared = prepared;
        }
    }

    /// Nothing while it is not known what the votes of the block's epoch are bound to.
    fn context(&self, header: &Header) -> Option<BlockContext> {
        Some(BlockContext {
            network: self.shared.network.clone(),
            chain: self.chain,
            height: header.height,
            time: header.time,
            beacon: header.beacon,
            entropy: self.tree.entropy(header),
            instance: self.instance_digest(header.epoch)?,
        })
    }

    /// What the votes of an epoch of this chain are bound to. Only the beacon's states hold it.
    fn instance_digest(&self, epoch: Epoch) -> Option<Digest> {
        if !self.chain.is_beacon() {
            return Some(Digest::ZERO);
        }
        let known = self.committees.of(self.chain, epoch)?;
        Some(known.instance().genesis)
    }

    /// Hands out the checks of blocks whose parent's state is known.
    pub(super) fn dispatch_validation(&mut self, out: &mut Vec<Output>) {
        for digest in self.tree.digests() {
            let Some(entry) = self.tree.get(&digest) else {
                continue;
            };
            if !entry.is_unchecked() {
                continue;
            }
            let again = entry.validity == Validity::Forgotten;
            let (header, trusted) = (entry.header.clone(), entry.is_final);
            let Some(parent) = self.tree.state_at(&header.parent) else {
                continue;
            };
            let Some(shown) = self.reference(&header, trusted) else {
                continue;
            };
            if again {
                self.prepare_again(&digest);
            }
            let Some(entry) = self.tree.get_mut(&digest) else {
                continue;
            };
            let Prepared {
                body,
                verified_links,
            } = std::mem::take(&mut entry.prepared);
            entry.validity = Validity::Checking;
            out.push(Output::Work(Job::Validate(Box::new(ValidateJob {
                digest,
                header,
                body,
                known: self.cache.clone(),
                parent: parent.state.clone(),
                shown,
                committees: self.committees.clone(),
                verified_links,
                trusted,
            }))));
        }
    }

    /// Epoch of a header's beacon reference, and root of the facts that it shows; nothing while the
    /// reference is not final here, or once the header's epoch is closed. Only a working block of a
    /// shard needs them; of a final block a quorum has checked them.
    fn reference(&self, header: &Header, trusted: bool) -> Option<(Epoch, Digest)> {
        let irrelevant = (Epoch::ZERO, Digest::ZERO);
        let Some(feed) = &self.feed else {
            return Some(irrelevant);
        };
        if trusted || header.kind != BlockKind::Working {
            return Some(irrelevant);
        }
        // Of an epoch that the beacon has closed a quorum has decided; what proofs need that were good
        // then may be forgotten, so the block waits until it is final here, too.
        if self.open_epoch(self.chain) > Some(header.epoch) {
            return None;
        }
        let point = feed.get(&header.beacon)?;
        if !feed.knows(&header.beacon) {
            return None;
        }
        Some((point.epoch, point.facts_root))
    }

    /// Hands out valid blocks for execution once their parent's state is known.
    pub(super) fn dispatch_execution(&mut self, out: &mut Vec<Output>) {
        for digest in self.tree.digests() {
            let Some(entry) = self.tree.get(&digest) else {
                continue;
            };
            let ready = entry.header.kind == BlockKind::Working
                && entry.validity == Validity::Valid
                && !entry.executing
                && entry.executed.is_none();
            let Some(work) = entry.work.clone().filter(|_| ready) else {
                continue;
            };
            let header = entry.header.clone();
            let Some(parent) = self.tree.state_at(&header.parent) else {
                continue;
            };
            let Some(context) = self.context(&header) else {
                continue;
            };
            if let Some(entry) = self.tree.get_mut(&digest) {
                entry.executing = true;
            }
            out.push(Output::Work(Job::Execute(Box::new(ExecuteJob {
                block: BlockRef {
                    height: header.height,
                    digest,
                },
                context,
                work,
                parent: parent.state.clone(),
            }))));
        }
    }

    pub(super) fn on_done(&mut self, done: Done, out: &mut Vec<Output>) {
        match done {
            Done::Consensus { epoch, result } => {
                if let Some(instance) = self.instance_of(epoch) {
                    instance.inputs.push_back(Core::Checked(result));
                }
            }
            Done::Transactions { tag, results } => self.on_checked(tag, results, out),
            Done::Validated { digest, result } => self.on_validated(digest, result, out),
            Done::Executed(executed) => self.on_executed(executed),
            Done::Word { word, proven } => self.on_word(&word, proven, out),
            Done::Evidence(judged) => self.on_judged(judged, out),
        }
    }

    fn on_validated(
        &mut self,
        digest: Digest,
        result: Result<Arc<Work>, Refusal>,
        out: &mut Vec<Output>,
    ) {
        let Some(entry) = self.tree.get_mut(&digest) else {
            return;
        };
        let block = BlockRef {
            height: entry.header.height,
            digest,
        };
        match result {
            Ok(work) => {
                entry.validity = Validity::Valid;
                entry.work = Some(work);
            }
            // It may have become final meanwhile: then it is looked at again at once.
            Err(Refusal::Forgotten(_)) => entry.validity = Validity::Forgotten,
            Err(Refusal::Broken(reason)) => {
                entry.validity = Validity::Invalid(reason.clone());
                let is_final = entry.is_final;
                out.push(Output::Note(Note::Invalid {
                    block,
                    reason: reason.clone(),
                }));
                if is_final {
                    let height = block.height;
                    self.stop(
                        format!("final block {height} is invalid here: {reason}"),
                        out,
                    );
                }
            }
        }
    }

    fn on_executed(&mut self, executed: Arc<Executed>) {
        if let Some(entry) = self.tree.get_mut(&executed.block.digest) {
            entry.executing = false;
            entry.executed = Some(executed);
        }
    }

    /// Answers the core's questions that can be answered now.
    pub(super) fn answer_verifications(&mut self, out: &mut Vec<Output>) {
        let mut answered = Vec::new();
        for (digest, view) in &self.instance.verifying {
            let verdict = match self.judge(digest) {
                Finding::Wait => continue,
                Finding::Good => Verdict::Valid,
                Finding::Bad(reason) => {
                    if let Some(entry) = self.tree.get(digest) {
                        let block = entry.header.block_ref();
                        out.push(Output::Note(Note::Invalid { block, reason }));
                    }
                    Verdict::Invalid
                }
                Finding::Withhold(reason) => {
                    if let Some(entry) = self.tree.get(digest) {
                        out.push(Output::Note(Note::Withheld {
                            block: entry.header.block_ref(),
                            proposer: entry.header.proposer,
                            reason,
                        }));
                    }
                    Verdict::Invalid
                }
            };
            answered.push((*digest, *view, verdict));
        }
        for (digest, view, verdict) in answered {
            self.instance.verifying.remove(&digest);
            self.instance.inputs.push_back(Core::Verified {
                view,
                digest,
                verdict,
            });
        }
    }

    fn judge(&self, digest: &Digest) -> Finding {
        let Some(entry) = self.tree.get(digest) else {
            return Finding::Wait;
        };
        if let Finding::Bad(reason) = self.judge_reference(&entry.header) {
            return Finding::Bad(reason);
        }
        match &entry.validity {
            Validity::Unknown | Validity::Checking | Validity::Forgotten => Finding::Wait,
            Validity::Invalid(reason) => Finding::Bad(reason.clone()),
            Validity::Valid => match self.judge_report(&entry.header) {
                Finding::Good => self
                    .withholds(entry)
                    .map_or(Finding::Good, Finding::Withhold),
                other => other,
            },
        }
    }

    /// A beacon reference never falls below the parent's; idle blocks repeat it.
    fn judge_reference(&self, header: &Header) -> Finding {
        let Some(feed) = &self.feed else {
            // On the beacon the reference is the parent.
            let right = header.beacon.digest == header.parent
                && header.beacon.height.next() == header.height;
            return if right {
                Finding::Good
            } else {
                Finding::Bad("the beacon reference is not the parent".to_owned())
            };
        };
        let parent = if header.parent == self.genesis_report.block.digest {
            super::start_of(&self.shared, skerry_types::ids::ChainRef::Beacon)
        } else {
            match self.tree.header(&header.parent) {
                Some(parent) => parent.beacon,
                None => return Finding::Wait,
            }
        };
        let kept = header.beacon == parent;
        if kept {
            return Finding::Good;
        }
        if header.kind != BlockKind::Working {
            return Finding::Bad("an idle block repeats its parent's beacon reference".to_owned());
        }
        if header.beacon.height <= parent.height {
            return Finding::Bad(format!(
                "beacon reference {} is not above the parent's {}",
                header.beacon.height, parent.height
            ));
        }
        if feed.contradicts(&header.beacon) {
            return Finding::Bad(format!(
                "beacon reference {} is not a final beacon block",
                header.beacon.height
            ));
        }
        Finding::Good
    }

    /// A header reports the parent's report again or the last working ancestor's result; a working
    /// block must report the latter. Either must be this node's own result.
    fn judge_report(&self, header: &Header) -> Finding {
        let Some((parent_report, parent_facts)) = self.report_of(&header.parent) else {
            return Finding::Wait;
        };
        let Some(last) = self.tree.last_working(&header.parent) else {
            return Finding::Wait;
        };
        let repeated = header.report == parent_report && header.facts_root == parent_facts;
        let may_repeat = header.kind == BlockKind::Idle || last == parent_report.block;
        if !(repeated && may_repeat) && header.report.block != last {
            return Finding::Bad(format!(
                "reports block {}, the last working ancestor is {}",
                header.report.block.height, last.height
            ));
        }
        if repeated && self.is_committed(header.report.block) {
            return Finding::Good;
        }
        match self.own_result(header.report.block) {
            None => Finding::Wait,
            Some(executed) => self.compare(header, &executed),
        }
    }

    /// Whether a final header has reported this block's result, and the own one was the same.
    pub(super) fn is_committed(&self, block: BlockRef) -> bool {
        block == self.genesis_report.block || block.height <= self.commit.committed()
    }

    /// What this node's execution of a block gave, until it is committed.
    pub(super) fn own_result(&self, block: BlockRef) -> Option<Arc<Executed>> {
        self.tree
            .executed(&block.digest)
            .or_else(|| self.commit.waiting(block))
    }

    /// Votes no more when a quorum notarized what is invalid here, or a result that is not this
    /// node's own.
    pub(super) fn judge_notarized(&mut self, out: &mut Vec<Output>) {
        let mut differing = None;
        let mut judged = Vec::new();
        for digest in self.instance.notarized.keys() {
            let Some(entry) = self.tree.get(digest) else {
                continue;
            };
            if let Validity::Invalid(reason) = &entry.validity {
                let height = entry.header.height;
                judged.push(*digest);
                differing = Some(format!(
                    "notarized block {height} is invalid here: {reason}"
                ));
                continue;
            }
            let Some(own) = self.own_result(entry.header.report.block) else {
                continue;
            };
            judged.push(*digest);
            if let Finding::Bad(reason) = self.compare(&entry.header, &own) {
                differing = Some(format!(
                    "block {} is notarized: {reason}",
                    entry.header.height
                ));
            }
        }
        for digest in judged {
            self.instance.notarized.remove(&digest);
        }
        if let Some(reason) = differing {
            self.stop(reason, out);
        }
    }

    fn compare(&self, header: &Header, executed: &Executed) -> Finding {
        let facts = executed
            .facts
            .as_ref()
            .map_or(Digest::ZERO, |facts| facts.root());
        let facts = if self.chain.is_beacon() {
            facts
        } else {
            Digest::ZERO
        };
        if executed.result != header.report.result || header.facts_root != facts {
            return Finding::Bad(format!(
                "reports {:?} for block {}, own result is {:?}",
                header.report.result, header.report.block.height, executed.result
            ));
        }
        Finding::Good
    }

    /// Root of the facts that a beacon header with `report` must carry.
    pub(super) fn facts_root_of(&self, report: &Report, parent: &Digest) -> Option<Digest> {
        let (parent_report, parent_facts) = self.report_of(parent)?;
        if parent_report.block == report.block {
            return Some(parent_facts);
        }
        let executed = self.tree.executed(&report.block.digest)?;
        executed.facts.as_ref().map(|facts| facts.root())
    }
}
