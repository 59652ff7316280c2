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
use skerry_types::ids::{ChainRef, Digest, Epoch};
use skerry_types::light::SealProof;
use skerry_types::limits::STATE_VALUE_BYTES_MAX;
use skerry_types::merkle::{KeyProof, ProofError};
use skerry_types::message::Batch;
use skerry_types::state::StateKey;
use skerry_types::vote::Statement;
use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::Arc;

/// How many epochs before the newest known one a header of the beacon may be of.
const EPOCHS_BACK: u64 = 2;
/// Committees of the beacon that are remembered for that, and for blocks of a base.
const COMMITTEES_KEPT: usize = 4;
/// Most seals that are kept for the store, so that it can prove them to others; the newest of them.
const SEALS_KEPT_MAX: usize = 4_096;

/// An epoch of the beacon that an operator vouches for: `EPOCH:DIGEST`, the digest being that of the
/// seal that opened the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The epoch.
    pub epoch: Epoch,
    /// What its votes are bound to.
    pub seal: Digest,
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

/// Why something that a peer sent proves nothing.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// A seal or a header of the beacon is not final by a trusted committee.
    #[error("the beacon's part does not hold")]
    Light(#[from] LightError),
    /// The seals lead past the checkpoint with another digest.
    #[error("epoch {epoch} begins with seal {actual}, the checkpoint says {expected}")]
    Checkpoint {
        /// The epoch.
        epoch: Epoch,
        /// As the operator says.
        expected: Digest,
        /// As the peer says.
        actual: Digest,
    },
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
    /// From which epoch the age of what is trusted counts.
    start: Epoch,
    checkpoint: Option<Checkpoint>,
    /// All seals on the way, for the store.
    seals: Vec<SealProof>,
}

impl Trust {
    /// Trusts the genesis, and what a store of the beacon says of the epochs since.
    ///
    /// # Errors
    /// When the store cannot be read, or a committee in it cannot be used.
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
            start: Epoch::ZERO,
            checkpoint,
            seals: Vec::new(),
        };
        loop {
            let seals = crate::view::seals_of(beacon, trust.epoch(), COMMITTEES_KEPT)?;
            if seals.is_empty() {
                break;
            }
            for seal in seals {
                let epoch = seal.header.epoch;
                // The own store was checked when it was written.
                let taken = trust.take_seal(seal);
                taken.map_err(|_| NodeError::NoCommittee { chain, epoch })?;
            }
        }
        trust.take_open_epoch(beacon)?;
        trust.start = trust.start.max(trust.epoch());
        Ok(trust)
    }

    /// A store that itself began from a base may lack the seals before it, and still has the
    /// committee of its own epoch.
    fn take_open_epoch(&mut self, beacon: &ChainStore) -> Result<(), NodeError> {
        let Some(newest) = beacon.finalized() else {
            return Ok(());
        };
        let Some(header) = beacon.header(&newest.digest)? else {
            return Ok(());
        };
        if header.epoch <= self.epoch() {
            return Ok(());
        }
        let Some(row) = beacon.epoch(header.epoch)? else {
            return Ok(());
        };
        let (chain, epoch) = (ChainRef::Beacon, header.epoch);
        let id = self.newest.chain_id();
        let opened = VerifyingCommittee::new(row.committee, id, row.seal.digest, &*self.scheme);
        let opened = Arc::new(opened.ok_or(NodeError::NoCommittee { chain, epoch })?);
        self.newest = TrustedBeacon::new(opened.clone(), self.scheme.clone());
        self.know(opened);
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

    /// Where the trusted start lies, when it is too old: bonds of those who signed then may be
    /// gone, so that lies cost them nothing.
    pub fn too_old(&self) -> Option<Epoch> {
        let age = self.epoch().above(self.start);
        let limit = self.genesis.parameters.unbonding_epochs;
        (age > limit).then_some(self.start)
    }

    /// What is reached now was found recent enough: from here on its age counts. Whoever signed it has
    /// a bond to lose still, so it is as good a start as the one before.
    pub fn renew(&mut self) {
        self.start = self.newest.epoch();
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
        let kept = seal.clone();
        self.newest.advance(seal)?;
        if let Some(Checkpoint { epoch, seal }) = self.checkpoint
            && epoch == self.epoch()
        {
            let actual = self.newest.seal();
            if actual != seal {
                return Err(CheckError::Checkpoint {
                    epoch,
                    expected: seal,
                    actual,
                });
            }
            self.start = epoch;
        }
        self.know(self.newest.committee().clone());
        if self.seals.len() >= SEALS_KEPT_MAX {
            self.seals.remove(0);
        }
        self.seals.push(kept);
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

    /// The epochs of the beacon that the seals on the way opened, with these seals.
    pub fn epochs(&self) -> Vec<(EpochRow, Header, Certificate)> {
        let rows = self.seals.iter().map(|seal| {
            let row = EpochRow {
                committee: seal.committee.clone(),
                seal: seal.header.block_ref(),
                time: seal.header.time,
            };
            (row, seal.header.clone(), seal.certificate.clone())
        });
        rows.collect()
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
