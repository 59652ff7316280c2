//! Small chains for the tests of this crate: blocks, certificates, receipts, changes.

use crate::commit::{CrashPoint, CrashPoints};
use crate::memory::mix;
use crate::store::Identity;
use crate::tree::StateTree;
use parking_lot::Mutex;
use skerry_types::amount::Amount;
use skerry_types::block::{BlockKind, BlockRef, ExecutionResult, Header, Report};
use skerry_types::certificate::{Bitmap, Certificate};
use skerry_types::codec::Version;
use skerry_types::committee::genesis_digest;
use skerry_types::crypto::bls::Signature;
use skerry_types::crypto::hash::plain;
use skerry_types::ids::{
    Address, ChainRef, Digest, Epoch, Gas, Height, MemberIndex, ModuleId, Sequence, ShardId,
    TimeMs, View,
};
use skerry_types::message::{Batch, MessageId};
use skerry_types::receipt::{Failure, Receipt, Status, Subject};
use skerry_types::state::{ChangeSet, StateKey, Value};
use skerry_types::vote::Statement;

/// Stops at the n-th point reached of one kind.
#[derive(Default)]
pub(crate) struct StopAt(pub(crate) Mutex<Option<(CrashPoint, u32)>>);

impl CrashPoints for StopAt {
    fn stops_at(&self, point: CrashPoint) -> bool {
        let mut wanted = self.0.lock();
        match wanted.as_mut() {
            Some((at, left)) if *at == point => {
                *left = left.saturating_sub(1);
                *left == 0
            }
            _ => false,
        }
    }
}

/// Numbers from a seed.
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

pub(crate) fn shard(bits: u16) -> ChainRef {
    ChainRef::Shard(ShardId::new(1, bits).unwrap())
}

pub(crate) fn identity() -> Identity {
    Identity {
        chain_id: plain(b"network"),
        chain: shard(0),
    }
}

pub(crate) fn genesis() -> BlockRef {
    let digest = genesis_digest(&identity().chain_id, identity().chain);
    BlockRef {
        height: Height::ZERO,
        digest,
    }
}

pub(crate) fn value(bytes: &[u8]) -> Value {
    bytes.into()
}

pub(crate) fn key(owner: u64, local: u64) -> StateKey {
    let owner = Address::new(*plain(&owner.to_le_bytes()).as_bytes());
    StateKey::new(owner, ModuleId::new(2), local.to_le_bytes())
}

/// A few changes that depend on `salt`.
pub(crate) fn changes(salt: u64) -> ChangeSet {
    let mut numbers = Numbers(salt);
    (0..20)
        .map(|_| {
            let key = key(numbers.below(12), numbers.below(3));
            let bytes = numbers.next().to_le_bytes();
            (key, (numbers.below(5) > 0).then(|| value(&bytes)))
        })
        .collect()
}

pub(crate) fn result(tree: &StateTree) -> ExecutionResult {
    ExecutionResult {
        state_root: tree.root(),
        ..ExecutionResult::default()
    }
}

/// A block on `parent`, different for each `salt`.
pub(crate) fn header(parent: BlockRef, kind: BlockKind, salt: u64) -> Header {
    let height = parent.height.next();
    Header {
        version: Version,
        chain_id: identity().chain_id,
        chain: identity().chain,
        epoch: Epoch::ZERO,
        height,
        view: View::new(height.get()),
        kind,
        parent: parent.digest,
        proposer: MemberIndex::new(0),
        time: TimeMs::new(salt),
        beacon: genesis(),
        body_root: Digest::ZERO,
        report: Report {
            block: genesis(),
            result: ExecutionResult::default(),
        },
        facts_root: Digest::ZERO,
        next: None,
        reveal: None,
    }
}

pub(crate) fn finalization(header: &Header) -> Certificate {
    Certificate {
        statement: Statement::Finalize {
            view: header.view,
            digest: header.digest(),
        },
        signers: Bitmap::of([MemberIndex::new(0)], 4),
        signature: Signature([7; 96]),
    }
}

pub(crate) fn message_id(sequence: u64) -> MessageId {
    MessageId {
        source: shard(1),
        destination: shard(0),
        sequence: Sequence::new(sequence),
    }
}

pub(crate) fn receipt(subject: Subject, void: bool) -> Receipt {
    let failure = Failure {
        module: ModuleId::new(0),
        code: "WRONG_NONCE".to_owned(),
        detail: String::new(),
    };
    Receipt {
        version: Version,
        subject,
        status: if void {
            Status::Void(failure)
        } else {
            Status::Succeeded
        },
        gas: Gas::new(1),
        fee: Amount::ZERO,
        messages: Vec::new(),
        events: Vec::new(),
    }
}

pub(crate) fn outgoing(first: u64, count: u64) -> Batch {
    Batch {
        version: Version,
        source: shard(0),
        destination: shard(1),
        first: Sequence::new(first),
        messages: (0..count)
            .map(|message| message.to_le_bytes().to_vec())
            .collect(),
    }
}
