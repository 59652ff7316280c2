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
