//! Helpers of the tests: a small network, headers without consensus, batches with proofs of any size,
//! states of the genesis.

use crate::chain::jobs::Executed;
use skerry_execution::genesis::genesis_changes;
use skerry_execution::network::NetworkInfo;
use skerry_storage::StateTree;
use skerry_types::block::{BlockKind, BlockRef, ExecutionResult, Header, Report};
use skerry_types::certificate::{Bitmap, Certificate};
use skerry_types::codec::Version;
use skerry_types::committee::genesis_digest;
use skerry_types::crypto::bls::{SecretKey, Signature};
use skerry_types::genesis::{Genesis, GenesisValidator, Parameters};
use skerry_types::ids::{
    Address, ChainRef, Digest, Epoch, Height, MemberIndex, Sequence, ShardId, TimeMs, ValidatorId,
    View, Weight,
};
use skerry_types::merkle::{KeyProof, PathProof};
use skerry_types::message::{Batch, BatchProof, InboundBatch};
use skerry_types::state::ChangeSet;
use skerry_types::vote::Statement;
use std::sync::Arc;

/// The shard `bits` of 2^`depth`.
pub(crate) fn shard(depth: u8, bits: u16) -> ChainRef {
    ChainRef::Shard(ShardId::new(depth, bits).expect("a shard of the network"))
}

/// Four validators, on the beacon and on 2^`shard_depth` shards.
pub(crate) fn genesis(shard_depth: u8) -> Genesis {
    let validator = |number: u8| GenesisValidator {
        name: format!("v{number}"),
        vote_key: SecretKey::from_seed([number + 1; 32]).public_key(),
        possession: Signature([0; 96]),
        operator: Address::of_system(0, ChainRef::Beacon, &[number]),
        stake: Weight::new(1),
    };
    let seats: Vec<ValidatorId> = (0..4).map(ValidatorId::new).collect();
    Genesis {
        version: Version,
        name: "test".to_owned(),
        salt: Digest::ZERO,
        time: TimeMs::ZERO,
        development: true,
        shard_depth,
        parameters: Parameters::default(),
        validators: (0..4).map(validator).collect(),
        seats: vec![seats; 1 << shard_depth],
        accounts: Vec::new(),
    }
}

/// The header of a working block, first of its chain and without consensus.
pub(crate) fn header(network: &NetworkInfo, chain: ChainRef) -> Header {
    let genesis = BlockRef {
        height: Height::ZERO,
        digest: genesis_digest(&network.chain_id, chain),
    };
    Header {
        version: Version,
        chain_id: network.chain_id,
        chain,
        epoch: Epoch::ZERO,
        height: Height::new(1),
        view: View::new(1),
        kind: BlockKind::Working,
        parent: genesis.digest,
        proposer: MemberIndex::new(0),
        time: TimeMs::new(1),
        beacon: BlockRef {
            height: Height::ZERO,
            digest: Digest::ZERO,
        },
        body_root: Digest::ZERO,
        report: Report {
            block: genesis,
            result: ExecutionResult::default(),
        },
        facts_root: Digest::ZERO,
        next: None,
        reveal: None,
    }
}

/// A batch from `source` to `destination`, with a proof of at least `proof_bytes` that proves nothing.
pub(crate) fn inbound(
    network: &NetworkInfo,
    (source, destination): (ChainRef, ChainRef),
    (first, messages): (u64, Vec<Vec<u8>>),
    proof_bytes: usize,
) -> InboundBatch {
    let header = header(network, source);
    let certificate = Certificate {
        statement: Statement::Finalize {
            view: header.view,
            digest: header.digest(),
        },
        signers: Bitmap::default(),
        signature: Signature([0; 96]),
    };
    InboundBatch {
        batch: Batch {
            version: Version,
            source,
            destination,
            first: Sequence::new(first),
            messages,
        },
        proof: BatchProof {
            header,
            path: Vec::new(),
            certificate,
            record: KeyProof::Present {
                value: vec![0; proof_bytes],
                lower: PathProof::default(),
                upper: PathProof::default(),
            },
        },
    }
}

/// What the genesis of a chain executes to, without results and roots.
pub(crate) fn executed(genesis: &Genesis, chain: ChainRef) -> Executed {
    let block = BlockRef {
        height: Height::ZERO,
        digest: genesis_digest(&genesis.chain_id(), chain),
    };
    let made = genesis_changes(genesis, chain);
    Executed {
        block,
        result: ExecutionResult::default(),
        state: StateTree::empty().apply(&made.changes),
        changes: ChangeSet::new(),
        receipts: Arc::default(),
        outgoing: Vec::new(),
        channels: made.channels,
        facts: None,
        transactions: Arc::default(),
        used: Vec::new(),
        alarms: Vec::new(),
    }
}
