//! A network of four validators with a shard, and what it has signed, for the tests here.

use super::check::{Checkpoint, Trust};
use super::frames::{BaseProof, ShardProof};
use crate::error::NodeError;
use skerry_execution::views;
use skerry_storage::{ChainStore, Identity, MemoryBackend, StateTree};
use skerry_types::amount::Amount;
use skerry_types::beacon::ShardRecord;
use skerry_types::block::{BlockKind, BlockRef, ExecutionResult, Header, NextCommittee, Report};
use skerry_types::certificate::{Bitmap, Certificate};
use skerry_types::codec::{Version, encode};
use skerry_types::crypto::bls::{SecretKey, Signature};
use skerry_types::crypto::scheme::{MockScheme, VoteScheme};
use skerry_types::evidence::FinalHeader;
use skerry_types::genesis::{Genesis, GenesisValidator, Parameters};
use skerry_types::ids::{
    Address, ChainRef, Digest, Epoch, Height, MemberIndex, TimeMs, ValidatorId, View, Weight,
};
use skerry_types::light::SealProof;
use skerry_types::state::ChangeSet;
use skerry_types::vote::Statement;
use std::sync::Arc;

pub(super) const BEACON: ChainRef = ChainRef::Beacon;

fn secret(number: u8) -> SecretKey {
    SecretKey::from_seed([number + 1; 32])
}

pub(super) fn genesis_with(parameters: Parameters) -> Arc<Genesis> {
    let validator = |number: u8| GenesisValidator {
        name: format!("v{number}"),
        vote_key: secret(number).public_key(),
        possession: Signature([0; 96]),
        operator: Address::of_system(0, BEACON, &[number]),
        stake: Weight::new(1),
    };
    Arc::new(Genesis {
        version: Version,
        name: "join".to_owned(),
        salt: Digest::ZERO,
        time: TimeMs::ZERO,
        development: true,
        shard_depth: 0,
        parameters,
        validators: (0..4).map(validator).collect(),
        seats: vec![(0..4).map(ValidatorId::new).collect()],
        accounts: Vec::new(),
    })
}

/// Epochs of an hour, bonds that stay locked for four.
pub(super) fn genesis() -> Arc<Genesis> {
    genesis_with(Parameters {
        epoch_ms: 3_600_000,
        unbonding_epochs: 4,
        ..Parameters::default()
    })
}

pub(super) fn shard() -> ChainRef {
    *genesis().chains().last().expect("a shard")
}

pub(super) fn scheme() -> Arc<dyn VoteScheme> {
    Arc::new(MockScheme)
}

/// A store that holds nothing.
pub(super) fn store(genesis: &Genesis, chain: ChainRef) -> Arc<ChainStore> {
    let identity = Identity {
        chain_id: genesis.chain_id(),
        chain,
    };
    let store = ChainStore::open(Arc::new(MemoryBackend::new()), identity);
    Arc::new(store.expect("an empty store opens"))
}

pub(super) fn trust_of(
    genesis: &Arc<Genesis>,
    checkpoint: Option<Checkpoint>,
) -> Result<Trust, NodeError> {
    Trust::new(genesis, &store(genesis, BEACON), &scheme(), checkpoint)
}

/// A header of epoch 0.
pub(super) fn header(chain: ChainRef, height: u64, report: Report) -> Header {
    let parent = Digest::new([7; 32]);
    Header {
        version: Version,
        chain_id: genesis().chain_id(),
        chain,
        epoch: Epoch::ZERO,
        height: Height::new(height),
        view: View::new(height),
        kind: BlockKind::Working,
        parent,
        proposer: MemberIndex::new(0),
        time: TimeMs::new(height),
        beacon: BlockRef {
            height: Height::new(1),
            digest: parent,
        },
        body_root: parent,
        report,
        facts_root: parent,
        next: None,
        reveal: None,
    }
}

/// What a committee that all validators sign for says of a statement.
pub(super) fn signed(chain: ChainRef, statement: Statement) -> Certificate {
    let committee = genesis().verifying_committee(chain, &MockScheme);
    let committee = committee.expect("the genesis has one");
    let message = statement.signing_digest(committee.instance());
    let signatures: Vec<Signature> = (0..4)
        .map(|number| MockScheme.sign(&secret(number), &message))
        .collect();
    Certificate {
        statement,
        signers: Bitmap::of((0..4).map(MemberIndex::new), 4),
        signature: MockScheme.aggregate(&signatures).expect("four of them"),
    }
}

pub(super) fn finalization(header: &Header) -> Certificate {
    let statement = Statement::Finalize {
        view: header.view,
        digest: header.digest(),
    };
    signed(header.chain, statement)
}

/// A block that nobody asks about.
fn nothing() -> Report {
    Report {
        block: BlockRef {
            height: Height::ZERO,
            digest: Digest::ZERO,
        },
        result: ExecutionResult::default(),
    }
}

/// A result with this state.
pub(super) fn result(state: &StateTree) -> ExecutionResult {
    ExecutionResult {
        state_root: state.root(),
        ..ExecutionResult::default()
    }
}

fn final_header(header: &Header) -> FinalHeader {
    FinalHeader {
        header: header.clone(),
        path: Vec::new(),
        certificate: finalization(header),
    }
}

/// A base of the beacon at a height, with this state.
pub(super) fn beacon_base(height: u64, state: &StateTree) -> BaseProof {
    let header = header(BEACON, height, nothing());
    let report = Report {
        block: header.block_ref(),
        result: result(state),
    };
    let reporter = self::header(BEACON, height + 1, report);
    BaseProof {
        certificate: finalization(&header),
        header,
        seal: None,
        beacon: final_header(&reporter),
        reporter,
        shard: None,
    }
}

/// A base of the shard at a height, with this state, and the state of the beacon that shows it.
pub(super) fn shard_base(height: u64, state: &StateTree) -> BaseProof {
    let chain = shard();
    let header = header(chain, height, nothing());
    let report = Report {
        block: header.block_ref(),
        result: result(state),
    };
    let reporter = self::header(chain, height + 1, report);
    let record = ShardRecord {
        version: Version,
        chain,
        epoch: Epoch::ZERO,
        genesis: Digest::ZERO,
        header: reporter.block_ref(),
        reported: report.block,
        state_root: report.result.state_root,
        channels_root: report.result.channels_root,
        channels: Vec::new(),
        linked_at: Height::new(1),
        supply: Vec::new(),
        base_fee: Amount::ZERO,
        fenced: false,
    };
    let key = views::shard_record_key(chain);
    let changes: ChangeSet = [(key.clone(), Some(encode(&record).into()))].into();
    let shown = StateTree::empty().apply(&changes);
    let report = Report {
        block: nothing().block,
        result: result(&shown),
    };
    BaseProof {
        certificate: finalization(&header),
        header,
        seal: None,
        reporter,
        beacon: final_header(&self::header(BEACON, 50, report)),
        shard: Some(ShardProof {
            record: shown.prove_key(&key),
            epoch: None,
        }),
    }
}

/// The seal that ends epoch 0 of the beacon at this time.
pub(super) fn seal(time: u64) -> SealProof {
    let mut committee = genesis().committee(BEACON).expect("the genesis has one");
    committee.epoch = Epoch::new(1);
    let next = NextCommittee {
        epoch: committee.epoch,
        root: committee.root(),
        weight: committee.total_weight(),
    };
    let header = Header {
        kind: BlockKind::Seal,
        time: TimeMs::new(time),
        next: Some(next),
        ..header(BEACON, 40, nothing())
    };
    SealProof {
        version: Version,
        certificate: finalization(&header),
        header,
        committee,
    }
}
