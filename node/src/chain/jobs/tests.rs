//! When a block is found valid, invalid, or cannot be judged any more.

use super::*;
use crate::assemble::shared_with;
use crate::testing::{genesis, header, inbound, shard};
use skerry_execution::genesis::{genesis_changes, genesis_facts};
use skerry_types::codec::encode;
use skerry_types::crypto::scheme::MockScheme;

/// What is said of a block with a batch whose proof is of an epoch, by a node that knows the
/// committees of epoch 0 or none.
fn judged(proof_epoch: u64, knows: bool, trusted: bool) -> Result<Arc<Work>, Refusal> {
    let genesis = genesis(1);
    let shared = shared_with(&genesis, Arc::new(MockScheme)).expect("a network");
    let (here, there) = (shard(1, 0), shard(1, 1));
    let mut batch = inbound(&shared.network, (there, here), (0, vec![vec![7]]), 0);
    batch.proof.header.epoch = Epoch::new(proof_epoch);
    let body = Body {
        inbound: vec![batch],
        ..Body::default()
    };
    let mut header = header(&shared.network, here);
    header.body_root = body.root();
    let made = genesis_changes(&genesis, here);
    let job = Job::Validate(Box::new(ValidateJob {
        digest: header.digest(),
        body: CheckedBody::decode(&header, &encode(&body)).expect("its body"),
        header: Arc::new(header),
        known: SignatureCache::default(),
        parent: StateTree::empty().apply(&made.changes),
        shown: (Epoch::ZERO, genesis_facts(&genesis).root()),
        committees: if knows {
            shared.committees.clone()
        } else {
            Arc::default()
        },
        verified_links: BTreeSet::new(),
        trusted,
    }));
    match job.run(&shared) {
        Done::Validated { result, .. } => result,
        _ => panic!("another answer"),
    }
}

#[test]
fn forgotten_committee_leaves_a_block_unjudged_and_a_final_one_needs_none() {
    for (proof_epoch, knows) in [(0, true), (0, false), (1, true), (1, false)] {
        let refusal = judged(proof_epoch, knows, false).expect_err("nobody signed it");
        // That the epoch is not open, or the proof wrong, can be told for ever.
        let is_forgotten = proof_epoch == 0 && !knows;
        assert_eq!(
            matches!(refusal, Refusal::Forgotten(_)),
            is_forgotten,
            "epoch {proof_epoch}, committee known: {knows}: {refusal:?}"
        );
        let work = judged(proof_epoch, knows, true).expect("a quorum has judged it");
        assert_eq!(work.body.inbound.len(), 1);
    }
}

#[test]
fn the_nonces_that_a_block_used_are_those_of_its_transactions_that_are_not_void() {
    use crate::mempool::tests::{sketch, transaction};
    use skerry_types::receipt::{Failure, Subject};
    let transactions = [0, 1, 5].map(|sequence| transaction(sketch(1, sequence, 1)));
    let failure = || Failure {
        module: skerry_types::ids::ModuleId::new(0),
        code: "X".to_owned(),
        detail: String::new(),
    };
    let receipt = |id: Digest, status: Status| Receipt {
        version: skerry_types::codec::Version,
        subject: Subject::Transaction(id),
        status,
        gas: skerry_types::ids::Gas::ZERO,
        fee: skerry_types::amount::Amount::ZERO,
        messages: Vec::new(),
        events: Vec::new(),
    };
    let receipts = [
        // Of an executed message: they come first.
        receipt(Digest::ZERO, Status::Succeeded),
        receipt(transactions[0].id(), Status::Succeeded),
        receipt(transactions[1].id(), Status::Failed(failure())),
        receipt(transactions[2].id(), Status::Void(failure())),
    ];
    let happened: Vec<Digest> = that_happened(&transactions, &receipts)
        .map(|transaction| transaction.id())
        .collect();
    assert_eq!(happened, [transactions[0].id(), transactions[1].id()]);
    let sender = transactions[0].body().sender;
    assert_eq!(
        used_nonces(&transactions, &receipts),
        [(sender, 0, 1), (sender, 0, 2)]
    );
}

#[test]
fn what_is_in_a_final_block_is_not_checked_again_for_a_member() {
    use crate::mempool::tests::{sketch, transaction};
    let genesis = genesis(1);
    let shared = shared_with(&genesis, Arc::new(MockScheme)).expect("a network");
    let settled = transaction(sketch(1, 0, 1));
    for (origin, is_refused) in [(Origin::Member, true), (Origin::Client, false)] {
        let known = SignatureCache::default();
        known.settle(std::slice::from_ref(&settled));
        let bytes = Incoming::Bytes(settled.wire().clone());
        let job = TransactionsJob {
            tag: 0,
            chain: shard(1, 0),
            beacon_height: Height::ZERO,
            base_fee: shared.network.parameters.base_fee,
            state: StateTree::empty(),
            incoming: vec![bytes, Incoming::Decoded(settled.clone())],
            known,
            origin,
        };
        let Done::Transactions { results, .. } = Job::Transactions(job).run(&shared) else {
            panic!("another answer");
        };
        let refused = results
            .iter()
            .map(|it| matches!(it, Err(SubmitError::Settled)));
        assert_eq!(refused.collect::<Vec<_>>(), [is_refused; 2], "{origin:?}");
    }
}
