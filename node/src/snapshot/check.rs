//! What a node that joins believes: the chain of seals from what it trusts, and bases that this
//! proves.

use super::frames::{BaseProof, ShardProof};
use crate::error::NodeError;
use skerry_execution::views;
use skerry_sdk::light::{LightError, TrustedBeacon};
use skerry_storage::{ChainStore, EpochRow};
use skerry_types::beacon::ShardRecord;
use skerry_types::block::{BlockKind, BlockRef, ExecutionResult, Header};
use skerry_types::certificate::{Certificate, CertificateError};
use skerry_types::codec::{CodecError, Version, decode};
use skerry_types::committee::{Committee, VerifyingCommittee, genesis_digest};
use skerry_types::crypto::scheme::VoteScheme;
use skerry_types::genesis::Genesis;
use skerry_types::ids::{ChainRef, Digest, Epoch, TimeMs};
use skerry_types::light::SealProof;
use skerry_types::limits::STATE_VALUE_BYTES_MAX;
use skerry_types::merkle::{KeyProof, ProofError};
use skerry_types::message::Batch;
use skerry_types::state::StateKey;
use skerry_types::vote::Statement;
use std::collections::{BTreeMap, VecDeque};
use std::str::FromStr;
use std::sync::Arc;

/// How many epochs before the newest known one a header of the beacon may be of.
const EPOCHS_BACK: u64 = 2;
/// Committees of the beacon that are remembered for that, and for blocks of a base.
const COMMITTEES_KEPT: usize = 4;
/// Most seals that are kept for the store, so that it can prove them to others; the newest of them.
/// A clone shares them.
pub(super) const SEALS_KEPT_MAX: usize = 4_096;

/// An epoch of the beacon that an operator vouches for: `EPOCH:DIGEST`, the digest being that of the
/// seal that opened the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The epoch.
    pub epoch: Epoch,
    /// What its votes are bound to.
    pub seal: Digest,
}

impl Checkpoint {
    /// Whether it says otherwise, when an epoch begins with this seal after the one at hand; also where
    /// it would never be met.
    pub fn contradicts(&self, at: Epoch, (begins, seal): (Epoch, &Digest)) -> bool {
        let passes_by = at < self.epoch && begins > self.epoch;
        passes_by || begins == self.epoch && *seal != self.seal
    }
}

impl FromStr for Checkpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no checkpoint; it looks like 12:0x…, epoch and digest");
        let (epoch, seal) = text.split_once(':').ok_or_else(wrong)?;
        Ok(Self {
            epoch: Epoch::new(epoch.parse().map_err(|_| wrong())?),
            seal: seal.parse().map_err(|_| wrong())?,
        })
    }
}

impl std::fmt::Display for Checkpoint {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}:{}", self.epoch.get(), self.seal)
    }
}

/// A final seal is not the one that an operator vouches for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("epoch {epoch} begins with seal {actual}, the checkpoint says {expected}")]
pub struct Contradiction {
    /// The epoch.
    pub epoch: Epoch,
    /// As the operator says.
    pub expected: Digest,
    /// As its committee has signed.
    pub actual: Digest,
}

/// What is trusted is so old that bonds of those who signed then may be gone: lies about what came
/// after cost them nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooOld {
    /// The trusted epoch.
    pub start: Epoch,
    /// How that is known.
    pub by: Age,
}

/// How the age of what is trusted is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Age {
    /// Seals lead to this epoch.
    Seals(Epoch),
    /// The node's own clock says that the trusted epoch began so many milliseconds ago: what peers
    /// show may be as old as they like.
    Clock(u64),
}

impl std::fmt::Display for Age {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Seals(newest) => write!(formatter, "the network is in epoch {newest}"),
            Self::Clock(age_ms) => {
                let seconds = *age_ms / 1_000;
                write!(
                    formatter,
                    "which began {seconds} s ago by this node's clock"
                )
            }
        }
    }
}

/// Why something that a peer sent proves nothing.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// A seal or a header of the beacon is not final by a trusted committee.
    #[error("the beacon's part does not hold")]
    Light(#[from] LightError),
    /// The seals lead past the checkpoint with another digest.
    #[error(transparent)]
    Checkpoint(#[from] Contradiction),
    /// No trusted committee is of this epoch.
    #[error("the beacon's committee of epoch {0} is not trusted")]
    Epoch(Epoch),
    /// What was sent is not what was asked for.
    #[error("not what was asked for: {0}")]
    Other(&'static str),
    /// A record of a shard is not in the beacon's state.
    #[error("the record of {what} does not hold")]
    Record {
        /// Which.
        what: &'static str,
        /// Why.
        #[source]
        source: ProofError,
    },
    /// A record of a shard does not decode.
    #[error("the record of {what} is damaged")]
    Damaged {
        /// Which.
        what: &'static str,
        /// Why.
        #[source]
        source: CodecError,
    },
    /// The certificate of the base proves nothing.
    #[error("the base is not final")]
    Certificate(#[from] CertificateError),
}

/// What is trusted of the beacon.
#[derive(Clone, Debug)]
pub struct Trust {
    newest: TrustedBeacon,
    /// The newest committees, that of `newest` included.
    known: BTreeMap<Epoch, Arc<VerifyingCommittee>>,
    scheme: Arc<dyn VoteScheme>,
    genesis: Arc<Genesis>,
    /// When the newest epoch began, by the beacon's headers.
    newest_time: TimeMs,
    /// From which epoch the age of what is trusted counts.
    start: Epoch,
    /// When that began; nothing where the operator vouches for it, who need not look at a clock.
    start_time: Option<TimeMs>,
    checkpoint: Option<Checkpoint>,
    /// The seals that were followed, for the store.
    seals: VecDeque<Arc<SealProof>>,
}

impl Trust {
    /// Trusts the genesis, or the newest epoch that a store of the beacon has: what it holds was
    /// checked when it was written.
    ///
    /// # Errors
    /// When the store cannot be read, a committee in it cannot be used, or what the operator vouches
    /// for is not what the store holds.
    pub fn new(
        genesis: &Arc<Genesis>,
        beacon: &ChainStore,
        scheme: &Arc<dyn VoteScheme>,
        checkpoint: Option<Checkpoint>,
    ) -> Result<Self, NodeError> {
        let chain = ChainRef::Beacon;
        let first = genesis.verifying_committee(chain, &**scheme);
        let first = Arc::new(first.ok_or(NodeError::UnknownChain(chain))?);
        let mut trust = Self {
            newest: TrustedBeacon::new(first.clone(), scheme.clone()),
            known: BTreeMap::from([(Epoch::ZERO, first)]),
            scheme: scheme.clone(),
            genesis: genesis.clone(),
            newest_time: genesis.time,
            start: Epoch::ZERO,
            start_time: Some(genesis.time),
            checkpoint: None,
            seals: VecDeque::new(),
        };
        trust.take_held_epoch(beacon)?;
        // Epochs that have begun, and have no final block of their own yet.
        for seal in crate::view::seals_of(beacon, trust.epoch(), COMMITTEES_KEPT)? {
            let epoch = seal.header.epoch;
            let taken = trust.take_seal(seal);
            taken.map_err(|_| NodeError::NoCommittee { chain, epoch })?;
        }
        trust.start = trust.epoch();
        trust.start_time = Some(trust.newest_time);
        trust.checkpoint = checkpoint;
        trust.compare_held(beacon)?;
        Ok(trust)
    }

    /// Begins with the epoch of the newest final block that a store of the beacon has.
    fn take_held_epoch(&mut self, beacon: &ChainStore) -> Result<(), NodeError> {
        let Some(newest) = beacon.finalized() else {
            return Ok(());
        };
        let Some(header) = beacon.header(&newest.digest)? else {
            return Ok(());
        };
        let Some(row) = beacon.epoch(header.epoch)? else {
            return Ok(());
        };
        let (chain, epoch) = (ChainRef::Beacon, header.epoch);
        let id = self.newest.chain_id();
        let opened = VerifyingCommittee::new(row.committee, id, row.seal.digest, &*self.scheme);
        let opened = Arc::new(opened.ok_or(NodeError::NoCommittee { chain, epoch })?);
        self.newest = TrustedBeacon::new(opened.clone(), self.scheme.clone());
        self.newest_time = row.time;
        self.know(opened);
        Ok(())
    }

    /// Compares what the operator vouches for with what the own store holds. Only the operator's
    /// word for the newest epoch makes it younger: an older word says nothing new.
    fn compare_held(&mut self, beacon: &ChainStore) -> Result<(), NodeError> {
        let Some(Checkpoint { epoch, seal }) = self.checkpoint else {
            return Ok(());
        };
        let held = if epoch > self.epoch() {
            return Ok(());
        } else if epoch == self.epoch() {
            Some(self.newest.seal())
        } else if epoch == Epoch::ZERO {
            Some(genesis_digest(&self.newest.chain_id(), ChainRef::Beacon))
        } else {
            beacon.epoch(epoch)?.map(|row| row.seal.digest)
        };
        if let Some(actual) = held.filter(|actual| *actual != seal) {
            let expected = seal;
            return Err(NodeError::Checkpoint(Contradiction {
                epoch,
                expected,
                actual,
            }));
        }
        if epoch == self.epoch() {
            self.start_time = None;
        }
        Ok(())
    }

    /// The newest epoch whose committee is trusted.
    pub fn epoch(&self) -> Epoch {
        self.newest.epoch()
    }

    /// The newest epoch, with what its votes are bound to.
    pub fn checkpoint(&self) -> Checkpoint {
        Checkpoint {
            epoch: self.epoch(),
            seal: self.newest.seal(),
        }
    }

    /// What the network started from.
    pub const fn genesis(&self) -> &Arc<Genesis> {
        &self.genesis
    }

    /// Whether a header of the beacon of this epoch may prove a base: it is recent.
    pub fn may_prove(&self, epoch: Epoch) -> bool {
        epoch.saturating_add(EPOCHS_BACK) >= self.epoch()
    }

    /// Whether the trusted start is too old, by the seals that were followed or by the own clock:
    /// bonds of those who signed then may be gone, so that lies cost them nothing. The clock is asked
    /// because those could show a history of their own that ends before it looks old.
    pub fn too_old(&self, now: TimeMs) -> Option<TooOld> {
        let parameters = &self.genesis.parameters;
        let limit = parameters.unbonding_epochs;
        let start = self.start;
        let newest = self.epoch();
        if newest.above(start) > limit {
            let by = Age::Seals(newest);
            return Some(TooOld { start, by });
        }
        let age_ms = now.above(self.start_time?);
        let limit_ms = parameters.epoch_ms.saturating_mul(limit.saturating_add(1));
        let by = Age::Clock(age_ms);
        (limit_ms > 0 && age_ms > limit_ms).then_some(TooOld { start, by })
    }

    /// A base was proven by what is reached now, from a start that was recent enough: from here on the
    /// age counts. Whoever signed it has a bond to lose still, so it is as good a start as the one
    /// before.
    pub fn renew(&mut self) {
        self.start = self.newest.epoch();
        // What the operator vouched for needs no clock: a network that stood still may be older.
        self.start_time = self.start_time.map(|_| self.newest_time);
    }

    /// Whether the operator vouches for an epoch that is not reached yet.
    pub fn is_vouched_later(&self) -> bool {
        self.checkpoint
            .is_some_and(|checkpoint| checkpoint.epoch > self.epoch())
    }

    /// Follows consecutive seals.
    ///
    /// # Errors
    /// Names the first check that fails.
    pub fn advance(mut self, seals: Vec<SealProof>) -> Result<Self, CheckError> {
        for seal in seals {
            self.take_seal(seal)?;
        }
        Ok(self)
    }

    fn take_seal(&mut self, seal: SealProof) -> Result<(), CheckError> {
        let kept = Arc::new(seal.clone());
        self.newest.advance(seal)?;
        self.newest_time = kept.header.time;
        if let Some(Checkpoint { epoch, seal }) = self.checkpoint
            && epoch == self.epoch()
        {
            let actual = self.newest.seal();
            if actual != seal {
                let expected = seal;
                return Err(CheckError::Checkpoint(Contradiction {
                    epoch,
                    expected,
                    actual,
                }));
            }
            (self.start, self.start_time) = (epoch, None);
        }
        self.know(self.newest.committee().clone());
        if self.seals.len() >= SEALS_KEPT_MAX {
            self.seals.pop_front();
        }
        self.seals.push_back(kept);
        Ok(())
    }

    fn know(&mut self, committee: Arc<VerifyingCommittee>) {
        self.known.insert(committee.instance().epoch, committee);
        while self.known.len() > COMMITTEES_KEPT {
            self.known.pop_first();
        }
    }

    fn beacon_of(&self, epoch: Epoch) -> Result<TrustedBeacon, CheckError> {
        let known = self.known.get(&epoch);
        let known = known.ok_or(CheckError::Epoch(epoch))?;
        Ok(TrustedBeacon::new(known.clone(), self.scheme.clone()))
    }

    /// The seals that were followed, oldest first.
    pub fn seals(&self) -> impl Iterator<Item = &Arc<SealProof>> {
        self.seals.iter()
    }
}

/// A base that was proven.
#[derive(Clone, Debug)]
pub struct CheckedBase {
    /// The block.
    pub block: BlockRef,
    /// Its header.
    pub header: Header,
    /// Its finalization.
    pub certificate: Certificate,
    /// Its result.
    pub result: ExecutionResult,
    /// How its epoch began; none for epoch 0.
    pub epoch: Option<EpochRow>,
}

/// Checks that a base is what was asked for and follows from what is trusted.
///
/// # Errors
/// Names the first check that fails.
pub fn check_base(
    trust: &Trust,
    chain: ChainRef,
    block: BlockRef,
    proof: BaseProof,
) -> Result<CheckedBase, CheckError> {
    let BaseProof {
        header,
        certificate,
        seal,
        reporter,
        beacon,
        shard,
    } = proof;
    let of_chain =
        |header: &Header| header.chain == chain && header.chain_id == trust.newest.chain_id();
    if header.block_ref() != block || !of_chain(&header) || header.kind != BlockKind::Working {
        return Err(CheckError::Other("another block"));
    }
    let shown = beacon.header.epoch;
    if !trust.may_prove(shown) {
        return Err(CheckError::Epoch(shown));
    }
    let trusted = trust.beacon_of(shown)?;
    trusted.check_final(&beacon.header, &beacon.path, &beacon.certificate)?;
    let (committee, genesis) = match &shard {
        None if chain.is_beacon() => {
            if reporter != beacon.header {
                return Err(CheckError::Other("another reporting header"));
            }
            let own = trust.beacon_of(header.epoch)?;
            let committee = own.committee().committee().clone();
            (committee, own.seal())
        }
        Some(shard) if !chain.is_beacon() => {
            let root = beacon.header.report.result.state_root;
            check_record(&root, chain, shard, &reporter)?;
            shard_committee(trust, &root, (chain, header.epoch), shard)?
        }
        _ => return Err(CheckError::Other("a proof for another kind of chain")),
    };
    if reporter.report.block != block || !of_chain(&reporter) {
        return Err(CheckError::Other("a header that reports another block"));
    }
    let id = trust.newest.chain_id();
    let epoch = match seal {
        None if header.epoch == Epoch::ZERO => None,
        Some(seal) if seal.digest() == genesis && header.epoch > Epoch::ZERO => Some(EpochRow {
            committee: committee.clone(),
            seal: seal.block_ref(),
            time: seal.time,
        }),
        _ => return Err(CheckError::Other("another seal than the epoch began with")),
    };
    match certificate.statement {
        Statement::Finalize { digest, .. } if digest == block.digest => {}
        _ => return Err(CheckError::Certificate(CertificateError::Statement)),
    }
    let committee = VerifyingCommittee::new(committee, id, genesis, &*trust.scheme);
    let committee = committee.ok_or(CheckError::Other("an unusable committee"))?;
    certificate.verify(&committee, &*trust.scheme)?;
    Ok(CheckedBase {
        block,
        result: reporter.report.result,
        header,
        certificate,
        epoch,
    })
}

/// The beacon's record of a shard names the reporting header and what it reports.
fn check_record(
    root: &Digest,
    chain: ChainRef,
    shard: &ShardProof,
    reporter: &Header,
) -> Result<(), CheckError> {
    let what = "the shard's cross-link";
    let key = views::shard_record_key(chain);
    let record: ShardRecord = read(root, &shard.record, &key, what)?;
    let report = &reporter.report;
    let fits = record.chain == chain
        && record.header.digest == reporter.digest()
        && record.reported == report.block
        && record.state_root == report.result.state_root
        && record.channels_root == report.result.channels_root;
    if fits {
        Ok(())
    } else {
        Err(CheckError::Other("a header that is not cross-linked"))
    }
}

/// The committee of a shard in an epoch, with what its votes are bound to.
fn shard_committee(
    trust: &Trust,
    root: &Digest,
    (chain, epoch): (ChainRef, Epoch),
    shard: &ShardProof,
) -> Result<(Committee, Digest), CheckError> {
    let Some((committee, instance)) = &shard.epoch else {
        let first = trust
            .genesis
            .committee(chain)
            .filter(|_| epoch == Epoch::ZERO);
        let first = first.ok_or(CheckError::Other("no committee of the shard"))?;
        return Ok((first, genesis_digest(&trust.newest.chain_id(), chain)));
    };
    let key = views::committee_key(chain, epoch);
    let committee: Committee = read(root, committee, &key, "the shard's committee")?;
    if committee.chain != chain || committee.epoch != epoch {
        return Err(CheckError::Other("a committee of another epoch"));
    }
    let key = views::instance_key(chain, epoch);
    let (_, genesis): (Version, Digest) = read(root, instance, &key, "the shard's epoch")?;
    Ok((committee, genesis))
}

fn read<T: borsh::BorshDeserialize>(
    root: &Digest,
    proof: &KeyProof,
    key: &StateKey,
    what: &'static str,
) -> Result<T, CheckError> {
    let value = proof
        .verify(root, key)
        .map_err(|source| CheckError::Record { what, source })?;
    let value = value.ok_or(CheckError::Other("a record that is absent"))?;
    decode(value, STATE_VALUE_BYTES_MAX).map_err(|source| CheckError::Damaged { what, source })
}

/// A batch whose body is wanted: what the state records of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WantedBatch {
    /// Where it goes.
    pub destination: ChainRef,
    /// Position of its first message.
    pub first: skerry_types::ids::Sequence,
    /// Its root.
    pub root: Digest,
}

/// Checks that batches are the first ones of those that are wanted, in order.
///
/// # Errors
/// When one is another, or there are none or too many.
pub fn check_batches(wanted: &[WantedBatch], batches: &[Batch]) -> Result<(), CheckError> {
    if batches.is_empty() || batches.len() > wanted.len() {
        return Err(CheckError::Other("none or too many batches"));
    }
    let fits = |(wanted, batch): (&WantedBatch, &Batch)| {
        batch.destination == wanted.destination
            && batch.first == wanted.first
            && batch.root() == wanted.root
    };
    if wanted.iter().zip(batches).all(fits) {
        Ok(())
    } else {
        Err(CheckError::Other("a batch that the state does not record"))
    }
}

#[cfg(test)]
mod tests;
