//! Work that is pure computation: checking signatures and proofs, validating and executing blocks.
//!
//! A chain hands jobs out and gets their results back as inputs, so that a node runs them beside
//! the chain's thread and the simulator inside the step, with the same code.

use super::cache::{KeyCache, Known, SignatureCache};
use crate::beacon::digest_of;
use crate::committees::Committees;
use crate::evidence::Judge;
use crate::mempool::Admitted;
use crate::view::SubmitError;
use skerry_consensus::check::{CheckJob, CheckResult};
use skerry_execution::block::{BlockContext, BlockWork, Executor};
use skerry_execution::check::{AdmissionContext, check_against_state};
use skerry_execution::error::ProofFailure;
use skerry_execution::fence::check_fence;
use skerry_execution::parallel::Workers;
use skerry_execution::proofs::{self, JurisdictionId};
use skerry_execution::validate::{BlockInput, CheckedBody, validate_block};
use skerry_execution::views;
use skerry_storage::StateTree;
use skerry_types::amount::Amount;
use skerry_types::beacon::{CrossLink, Facts, Ready, ShardRecord, SystemOperation};
use skerry_types::block::{BlockKind, BlockRef, Body, ExecutionResult, Header, reveal_message};
use skerry_types::committee::VerifyingCommittee;
use skerry_types::crypto::ed25519;
use skerry_types::crypto::hash::{Purpose, hash};
use skerry_types::crypto::scheme::VoteScheme;
use skerry_types::evidence::Evidence;
use skerry_types::ids::{Address, ChainRef, Digest, Epoch, Height};
use skerry_types::message::{Batch, ChannelSummary, InboundBatch};
use skerry_types::receipt::{Receipt, Status};
use skerry_types::state::ChangeSet;
use skerry_types::transaction::{CheckedTransaction, TransactionError};
use std::collections::BTreeSet;
use std::sync::Arc;

pub use super::evidence::Accuser;

/// The decoded work of a block: its body, with the transactions checked for form and signature.
#[derive(Debug)]
pub struct Work {
    /// The body without its transactions, which are in `transactions`.
    pub body: Body,
    /// The transactions, in order.
    pub transactions: Vec<Arc<CheckedTransaction>>,
}

impl Work {
    /// Ids of the transactions, in order.
    pub fn ids(&self) -> Vec<Digest> {
        self.transactions
            .iter()
            .map(|transaction| transaction.id())
            .collect()
    }
}

/// What executing a working block gave.
#[derive(Debug)]
pub struct Executed {
    /// The block.
    pub block: BlockRef,
    /// Its result, as headers report it.
    pub result: ExecutionResult,
    /// The state after it.
    pub state: StateTree,
    /// What it changed.
    pub changes: ChangeSet,
    /// What happened to its messages and transactions.
    pub receipts: Arc<Vec<Receipt>>,
    /// What it sends to other chains.
    pub outgoing: Vec<Batch>,
    /// The channel summaries after it.
    pub channels: Vec<ChannelSummary>,
    /// On the beacon, the facts of the new state.
    pub facts: Option<Arc<Facts>>,
    /// Ids of its transactions.
    pub transactions: Arc<Vec<Digest>>,
    /// The nonces that its transactions used, in order: sender, stream, and the sequence after it.
    pub used: Vec<(Address, u16, u64)>,
    /// Broken invariants, for the operator.
    pub alarms: Vec<String>,
}

/// What all jobs of a chain share.
#[derive(Debug)]
pub struct Shared {
    /// How votes are checked.
    pub scheme: Arc<dyn VoteScheme>,
    /// The committees that the network starts with.
    pub committees: Arc<Committees>,
    /// The network's id.
    pub chain_id: Digest,
    /// Parameters that execution needs.
    pub network: Arc<skerry_execution::network::NetworkInfo>,
    /// Who judges evidence.
    pub judge: Judge,
    /// Who executes a large block. What executing gives does not depend on it.
    pub workers: Workers,
}

impl Shared {
    /// Judges evidence by a state of the beacon: what a leader proposes and what a voter accepts
    /// passes the same check. Returns what it holds by.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn judge(
        &self,
        evidence: &Evidence,
        beacon: &StateTree,
    ) -> Result<JurisdictionId, ProofFailure> {
        self.judge
            .judge(evidence, self.chain_id, beacon, &*self.scheme)
    }
}

/// A job.
pub enum Job {
    /// Signatures of votes and certificates.
    Consensus {
        /// Who signed.
        committee: Arc<VerifyingCommittee>,
        /// What to check.
        job: CheckJob,
    },
    /// Form and signatures of transactions.
    Transactions(TransactionsJob),
    /// Everything that makes a block invalid.
    Validate(Box<ValidateJob>),
    /// Execution of a valid block.
    Execute(Box<ExecuteJob>),
    /// The proof of a batch from another chain.
    Inbound {
        /// Names the check.
        word: Digest,
        /// The committee of the source's open epoch.
        committee: Arc<VerifyingCommittee>,
        /// The batch.
        inbound: Box<InboundBatch>,
    },
    /// The finality of another chain's header.
    Link {
        /// Names the check.
        word: Digest,
        /// The committee of that chain's open epoch.
        committee: Arc<VerifyingCommittee>,
        /// The header.
        link: Box<CrossLink>,
    },
    /// Evidence that somebody offers.
    Evidence {
        /// Whose it is.
        accuser: Accuser,
        /// A state of the beacon, which keeps committees and instances.
        beacon: StateTree,
        /// The evidence.
        evidence: Arc<Evidence>,
    },
    /// The word of a newcomer to a committee.
    Ready {
        /// Names the check.
        word: Digest,
        /// A state of the beacon, which knows the validator's key.
        beacon: StateTree,
        /// The word.
        ready: Ready,
    },
}

/// The result of a job.
pub enum Done {
    /// Of a consensus check.
    Consensus {
        /// The epoch of the instance that asked.
        epoch: Epoch,
        /// The answer.
        result: CheckResult,
    },
    /// Of transactions, in order; `tag` is the job's.
    Transactions {
        /// Which submission.
        tag: u64,
        /// One result each.
        results: Vec<Result<Passed, SubmitError>>,
    },
    /// Of a validation.
    Validated {
        /// The block.
        digest: Digest,
        /// The work of a valid block, or why it is not known as one.
        result: Result<Arc<Work>, Refusal>,
    },
    /// Of an execution.
    Executed(Arc<Executed>),
    /// Of what somebody says of another chain, or of itself.
    Word {
        /// Names the check.
        word: Digest,
        /// What was said; present when it is true.
        proven: Option<Proven>,
    },
    /// Of evidence.
    Evidence(Judged),
}

/// A transaction that was checked and found good.
#[derive(Debug)]
pub struct Passed {
    /// What the mempool is to be asked.
    pub admitted: Admitted,
    /// The next sequence of its stream.
    pub next: u64,
    /// Root of the state that says so, and what the sender holds.
    pub state: Digest,
}

/// A word of somebody that was found true.
#[derive(Debug)]
pub enum Proven {
    /// A batch was sent.
    Batch(Box<InboundBatch>),
    /// A header of another chain is final.
    Link(Box<CrossLink>),
    /// A newcomer is ready.
    Ready(Ready),
}

/// Why a block is not found valid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It breaks a rule.
    #[error("{0}")]
    Broken(String),
    /// Nobody can tell here: a committee whose certificate counts in it is forgotten, since the network
    /// has gone on for epochs. Whoever gets such a block as final need not ask.
    #[error("{0}")]
    Forgotten(String),
}

impl From<String> for Refusal {
    fn from(rule: String) -> Self {
        Self::Broken(rule)
    }
}

/// Evidence that was judged.
#[derive(Debug)]
pub struct Judged {
    /// Whose it is.
    pub accuser: Accuser,
    /// The evidence.
    pub evidence: Arc<Evidence>,
    /// What it holds by; absent when it does not hold.
    pub by: Option<JurisdictionId>,
}

impl Job {
    /// Does the work.
    pub fn run(self, shared: &Shared) -> Done {
        match self {
            Self::Consensus { committee, job } => {
                let result = job.run(&*shared.scheme, &committee);
                let epoch = committee.instance().epoch;
                Done::Consensus { epoch, result }
            }
            Self::Transactions(job) => {
                let tag = job.tag;
                let done = TransactionsJob::run_together(vec![job], shared).pop();
                let results = Vec::new();
                done.unwrap_or(Done::Transactions { tag, results })
            }
            Self::Validate(job) => {
                let digest = job.digest;
                Done::Validated {
                    digest,
                    result: job.run(shared),
                }
            }
            Self::Execute(job) => Done::Executed(Arc::new(job.run(shared))),
            Self::Inbound {
                word,
                committee,
                inbound,
            } => {
                let verified = proofs::verify_inbound(&inbound, &committee, &*shared.scheme);
                let proven = verified.is_ok().then_some(Proven::Batch(inbound));
                Done::Word { word, proven }
            }
            Self::Link {
                word,
                committee,
                link,
            } => {
                let verified = proofs::verify_crosslink(&link, &committee, &*shared.scheme);
                let proven = verified.is_ok().then_some(Proven::Link(link));
                Done::Word { word, proven }
            }
            Self::Evidence {
                accuser,
                beacon,
                evidence,
            } => {
                let by = shared.judge(&evidence, &beacon).ok();
                Done::Evidence(Judged {
                    accuser,
                    evidence,
                    by,
                })
            }
            Self::Ready {
                word,
                beacon,
                ready,
            } => {
                let (id, scheme) = (&shared.chain_id, &*shared.scheme);
                let verified = proofs::verify_ready(&ready, id, &beacon, scheme);
                let proven = verified.is_ok().then_some(Proven::Ready(ready));
                Done::Word { word, proven }
            }
        }
    }
}

/// Transactions to check: for form, against a state, and for their signatures, which cost most and
/// so come last.
pub struct TransactionsJob {
    /// Names the submission.
    pub tag: u64,
    /// The chain that is asked to take them.
    pub chain: ChainRef,
    /// Height of the newest beacon block known.
    pub beacon_height: Height,
    /// Base fee of the next block.
    pub base_fee: Amount,
    /// The newest final state.
    pub state: StateTree,
    /// The transactions.
    pub incoming: Vec<Incoming>,
    /// What is known to be good.
    pub(super) known: SignatureCache,
    /// Who asks.
    pub(super) origin: Origin,
}

/// A transaction to check.
#[derive(Clone, Debug)]
pub enum Incoming {
    /// Wire bytes.
    Bytes(Arc<[u8]>),
    /// Decoded already, and of the right form.
    Decoded(Arc<CheckedTransaction>),
}

impl Incoming {
    fn wire_hash(&self) -> Digest {
        match self {
            Self::Bytes(wire) => hash(Purpose::TRANSACTION_WIRE, wire),
            Self::Decoded(transaction) => transaction.wire_hash(),
        }
    }
}

/// Where transactions come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// This node's own API, which tells its clients what became of them.
    Client,
    /// A member, which is told nothing.
    Member,
}

impl TransactionsJob {
    /// Does several jobs as one, so that signatures are verified in larger batches.
    pub fn run_together(jobs: Vec<Self>, shared: &Shared) -> Vec<Done> {
        // All are of one chain, and so share what it knows.
        let keys = jobs.first().map(|job| job.known.keys.clone());
        let keys = keys.unwrap_or_default();
        let checked: Vec<(u64, Vec<_>)> = jobs
            .into_iter()
            .map(|job| (job.tag, job.check(shared)))
            .collect();
        let unverified: Vec<&Arc<CheckedTransaction>> = checked
            .iter()
            .flat_map(|(_, results)| results)
            .filter_map(|result| result.as_ref().ok())
            .filter(|(_, is_verified)| !is_verified)
            .map(|(passed, _)| &passed.admitted.transaction)
            .collect();
        let bad = bad_signatures(&unverified, &keys);
        let judge = |result: Result<(Passed, bool), SubmitError>| {
            let (passed, is_verified) = result?;
            let transaction = &passed.admitted.transaction;
            if !is_verified && bad.contains(&transaction.wire_hash()) {
                let sender = transaction.body().sender;
                return Err(TransactionError::Signature { sender }.into());
            }
            Ok(passed)
        };
        checked
            .into_iter()
            .map(|(tag, results)| Done::Transactions {
                tag,
                results: results.into_iter().map(judge).collect(),
            })
            .collect()
    }

    /// Everything but the signatures; says of each transaction whether those are known to be good.
    fn check(self, shared: &Shared) -> Vec<Result<(Passed, bool), SubmitError>> {
        let admission = AdmissionContext {
            network: &shared.network,
            chain: self.chain,
            beacon_height: self.beacon_height,
            base_fee: self.base_fee,
        };
        let hashes: Vec<Digest> = self.incoming.iter().map(Incoming::wire_hash).collect();
        let known = self.known.get_all(&hashes);
        let origin = self.origin;
        let check = |((incoming, hash), known): ((Incoming, Digest), Option<Known>)| {
            if origin == Origin::Member && matches!(known, Some(Known::Settled)) {
                // Under load blocks overtake what members say: of that nothing is left to do.
                return Err(SubmitError::Settled);
            }
            let is_verified = known.is_some();
            let transaction = match (known.and_then(Known::verified), incoming) {
                (Some(known), _) => known,
                (None, Incoming::Decoded(transaction)) => transaction,
                (None, Incoming::Bytes(wire)) => {
                    let chain_id = &shared.chain_id;
                    Arc::new(CheckedTransaction::decode_hashed(wire, hash, chain_id)?)
                }
            };
            let admission = check_against_state(&transaction, &self.state, &admission)?;
            let passed = Passed {
                next: admission.next,
                state: self.state.root(),
                admitted: Admitted {
                    transaction,
                    fee: admission.fee,
                    funds: admission.funds,
                },
            };
            Ok((passed, is_verified))
        };
        let incoming = self.incoming.into_iter().zip(hashes);
        incoming.zip(known).map(check).collect()
    }
}

/// Wire hashes of the transactions of which a signature is wrong.
fn bad_signatures(transactions: &[&Arc<CheckedTransaction>], keys: &KeyCache) -> BTreeSet<Digest> {
    let digests: Vec<Digest> = transactions
        .iter()
        .map(|transaction| transaction.signing_digest())
        .collect();
    let mut signed = Vec::with_capacity(transactions.len());
    let mut signers = Vec::with_capacity(transactions.len());
    for (transaction, digest) in transactions.iter().zip(&digests) {
        for (key, signature) in transaction.signatures() {
            signed.push((transaction, digest, signature));
            signers.push(key);
        }
    }
    let known = keys.find_all(&signers);
    let items: Vec<ed25519::Item<'_>> = signed
        .iter()
        .zip(signers.iter().zip(&known))
        .map(|((_, digest, signature), (key, known))| ed25519::Item {
            key: *key,
            known: known.as_ref(),
            message: digest.as_bytes(),
            signature: *signature,
        })
        .collect();
    let answers = ed25519::verify_batch(&items);
    signed
        .into_iter()
        .zip(answers)
        .filter(|(_, good)| !good)
        .map(|((transaction, ..), _)| transaction.wire_hash())
        .collect()
}

/// A block to validate against its parent's state.
pub struct ValidateJob {
    /// Its digest.
    pub digest: Digest,
    /// Its header.
    pub header: Arc<Header>,
    /// Its body; absent for kinds of blocks that have none.
    pub body: Option<CheckedBody>,
    /// Transactions that need no second check.
    pub(crate) known: SignatureCache,
    /// The parent's state.
    pub parent: StateTree,
    /// Epoch of its beacon reference, and root of the facts that it shows; zero on the beacon.
    pub shown: (Epoch, Digest),
    /// The committees that are known; which of them counts is for the block and its parent to say.
    pub committees: Arc<Committees>,
    /// Headers that this node has verified as final, which need no second check.
    pub verified_links: BTreeSet<Digest>,
    /// Whether a quorum's finality already vouches for signatures and proofs, so that only
    /// decoding is left to do.
    pub trusted: bool,
}

impl ValidateJob {
    fn run(self, shared: &Shared) -> Result<Arc<Work>, Refusal> {
        let hashes = self.body.as_ref().map(CheckedBody::wire_hashes);
        let known = self.known.get_all(hashes.unwrap_or_default());
        let known: Vec<_> = known
            .into_iter()
            .map(|known| known.and_then(Known::verified))
            .collect();
        let transactions = match &self.body {
            Some(body) if self.trusted => {
                let decoded = body.transactions(&known, &shared.chain_id);
                decoded.map_err(|error| error.to_string())?.all
            }
            None if self.header.kind == BlockKind::Working => {
                let what = "its body is missing or damaged".to_owned();
                return Err(Refusal::Broken(what));
            }
            None if self.trusted => Vec::new(),
            _ => self.check(&known, shared)?,
        };
        let body = self.body.map(CheckedBody::into_frame).unwrap_or_default();
        Ok(Arc::new(Work { body, transactions }))
    }

    fn check(
        &self,
        known: &[Option<Arc<CheckedTransaction>>],
        shared: &Shared,
    ) -> Result<Vec<Arc<CheckedTransaction>>, Refusal> {
        if self.header.chain.is_beacon() {
            let epoch = self.header.epoch;
            let committee = self.committees.of(ChainRef::Beacon, epoch);
            let committee = committee.ok_or_else(|| unknown_committee(ChainRef::Beacon, epoch))?;
            check_reveal(&self.header, committee, &*shared.scheme)?;
        }
        let valid = validate_block(&BlockInput {
            network: &shared.network,
            chain: self.header.chain,
            header: &self.header,
            body: self.body.as_ref(),
            parent: &self.parent,
            shown_facts_root: self.shown.1,
            shown_epoch: self.shown.0,
            known,
        })
        .map_err(|error| error.to_string())?;
        let unchecked: Vec<&Arc<CheckedTransaction>> = valid.unknown.iter().collect();
        if !bad_signatures(&unchecked, &self.known.keys).is_empty() {
            let what = "a transaction's signature is wrong".to_owned();
            return Err(Refusal::Broken(what));
        }
        if let Some(body) = &self.body {
            self.check_proofs(body.body(), shared)?;
        }
        self.known.insert(valid.unknown);
        Ok(valid.transactions)
    }

    fn check_proofs(&self, body: &Body, shared: &Shared) -> Result<(), Refusal> {
        let committee = |header: &Header| {
            let (chain, epoch) = (header.chain, header.epoch);
            if self.open_epoch(body, chain) != Some(epoch) {
                let what = format!("epoch {epoch} of {chain} is not open");
                return Err(Refusal::Broken(what));
            }
            let known = self.committees.of(chain, epoch).cloned();
            known
                .or_else(|| self.just_opened(chain, shared))
                .ok_or_else(|| unknown_committee(chain, epoch))
        };
        for inbound in &body.inbound {
            let committee = committee(&inbound.proof.header)?;
            let source = self.record(body, inbound.batch.source);
            if let Some(source) = source {
                check_fence(&source, &inbound.proof).map_err(|error| error.to_string())?;
            }
            proofs::verify_inbound(inbound, &committee, &*shared.scheme)
                .map_err(|error| error.to_string())?;
        }
        for operation in &body.system {
            match operation {
                SystemOperation::CrossLink(link) => {
                    let committee = committee(&link.header)?;
                    // As a whole: what holds must not depend on what this node has seen before.
                    if !self.verified_links.contains(&digest_of(link)) {
                        proofs::verify_crosslink(link, &committee, &*shared.scheme)
                            .map_err(|error| error.to_string())?;
                    }
                }
                SystemOperation::Evidence(evidence) => {
                    let judged = shared.judge(evidence, &self.parent);
                    judged.map_err(|error| error.to_string())?;
                }
                SystemOperation::Ready(ready) => {
                    let (id, scheme) = (&shared.chain_id, &*shared.scheme);
                    proofs::verify_ready(ready, id, &self.parent, scheme)
                        .map_err(|error| error.to_string())?;
                }
            }
        }
        Ok(())
    }

    /// The committee of a shard's open epoch, on the beacon, when the block that opened it is not
    /// final yet.
    fn just_opened(&self, chain: ChainRef, shared: &Shared) -> Option<Arc<VerifyingCommittee>> {
        if !self.header.chain.is_beacon() {
            return None;
        }
        let record = views::shard_record(&self.parent, chain)?;
        let committee = views::committee(&self.parent, chain, record.epoch)?;
        let (id, scheme) = (shared.chain_id, &*shared.scheme);
        VerifyingCommittee::new(committee, id, record.genesis, scheme).map(Arc::new)
    }

    /// The record of a shard, by the facts that the block brings or by the state before it.
    fn record(&self, body: &Body, shard: ChainRef) -> Option<ShardRecord> {
        match &body.facts {
            Some(facts) => facts.shard(shard).cloned(),
            None => views::known_record(&self.parent, self.header.chain, shard),
        }
    }

    /// The epoch of `source` whose headers prove something in this block: by the facts that it
    /// brings or, where it brings none, by the state before it.
    fn open_epoch(&self, body: &Body, source: ChainRef) -> Option<Epoch> {
        match &body.facts {
            Some(facts) => facts.open_epoch(source),
            None => views::open_epoch(&self.parent, self.header.chain, source),
        }
    }
}

/// An epoch that counts in a block has a committee; where it is not known, it is forgotten.
fn unknown_committee(chain: ChainRef, epoch: Epoch) -> Refusal {
    Refusal::Forgotten(format!(
        "the committee of epoch {epoch} of {chain} is not known"
    ))
}

/// Checks the randomness reveal of a beacon header.
fn check_reveal(
    header: &Header,
    committee: &VerifyingCommittee,
    scheme: &dyn VoteScheme,
) -> Result<(), String> {
    let key = committee
        .key(header.proposer)
        .ok_or("the proposer is no member")?;
    let reveal = header.reveal.as_ref().ok_or("the reveal is missing")?;
    let message = reveal_message(&header.chain_id, header.epoch, header.view);
    if scheme.verify(&[*key], &message, reveal) {
        Ok(())
    } else {
        Err("the reveal is not the proposer's".to_owned())
    }
}

/// A valid block to execute.
pub struct ExecuteJob {
    /// Its place in the chain.
    pub block: BlockRef,
    /// Where and when it stands.
    pub context: BlockContext,
    /// What it does.
    pub work: Arc<Work>,
    /// The state before it.
    pub parent: StateTree,
}

impl ExecuteJob {
    fn run(self, shared: &Shared) -> Executed {
        let work = BlockWork {
            facts: self.work.body.facts.clone(),
            system: self.work.body.system.clone(),
            inbound: self
                .work
                .body
                .inbound
                .iter()
                .map(|inbound| inbound.batch.clone())
                .collect(),
            transactions: self.work.transactions.clone(),
        };
        let mode = shared.workers.mode(work.transactions.len());
        let outcome = Executor::new(mode).execute(&self.context, &work, &self.parent);
        let state = self.parent.apply(&outcome.changes);
        let used = used_nonces(&work.transactions, &outcome.receipts);
        Executed {
            block: self.block,
            result: ExecutionResult {
                state_root: state.root(),
                receipts_root: outcome.receipts_root,
                channels_root: outcome.channels_root,
                gas: outcome.gas,
                burnt: outcome.burnt,
                base_fee: outcome.base_fee,
            },
            state,
            changes: outcome.changes,
            receipts: Arc::new(outcome.receipts),
            outgoing: outcome.outgoing,
            channels: outcome.channels,
            facts: outcome.facts.map(Arc::new),
            transactions: Arc::new(self.work.ids()),
            used,
            alarms: outcome.alarms,
        }
    }
}

/// The nonces that transactions used, by their receipts, which are the last ones of a block: a void one
/// uses none.
fn used_nonces(
    transactions: &[Arc<CheckedTransaction>],
    receipts: &[Receipt],
) -> Vec<(Address, u16, u64)> {
    let nonce = |transaction: &Arc<CheckedTransaction>| {
        let body = transaction.body();
        let next = body.nonce.sequence.saturating_add(1);
        (body.sender, body.nonce.stream, next)
    };
    that_happened(transactions, receipts).map(nonce).collect()
}

/// The transactions of a block that are not void, by its receipts, of which theirs are the last.
pub(super) fn that_happened<'b>(
    transactions: &'b [Arc<CheckedTransaction>],
    receipts: &'b [Receipt],
) -> impl Iterator<Item = &'b Arc<CheckedTransaction>> {
    let messages = receipts.len().saturating_sub(transactions.len());
    transactions
        .iter()
        .zip(receipts.iter().skip(messages))
        .filter(|(_, receipt)| !matches!(receipt.status, Status::Void(_)))
        .map(|(transaction, _)| transaction)
}

#[cfg(test)]
mod tests;
