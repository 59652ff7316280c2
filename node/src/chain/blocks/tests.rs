//! When a block of the tree is to be checked.

use super::*;
use crate::testing::{executed, genesis, header, shard};
use skerry_execution::network::NetworkInfo;

/// A tree at the start of a shard, with one child of its root.
fn tree() -> (BlockTree, BlockRef) {
    let (genesis, here) = (genesis(1), shard(1, 0));
    let header = header(&NetworkInfo::of(&genesis), here);
    let start = header.report.block;
    let root = super::super::root_of(start, None, Arc::new(executed(&genesis, here)));
    let (mut tree, block) = (BlockTree::new(root, None), header.block_ref());
    tree.insert(block.digest, header, Arc::from([]), TimeMs::ZERO);
    (tree, block)
}

#[test]
fn block_that_could_not_be_judged_is_checked_again_once_it_is_final() {
    let cases = [
        (Validity::Unknown, true, true),
        (Validity::Forgotten, false, true),
        (Validity::Checking, false, false),
        (Validity::Valid, false, false),
        (Validity::Invalid("a rule".to_owned()), false, false),
    ];
    for (validity, before, after) in cases {
        let (mut tree, block) = tree();
        let entry = tree.get_mut(&block.digest).expect("the child");
        entry.validity = validity.clone();
        assert_eq!(entry.is_unchecked(), before, "{validity:?}");
        tree.finalize(block, None);
        let entry = tree.get(&block.digest).expect("the child");
        assert_eq!(entry.is_unchecked(), after, "final, {validity:?}");
    }
}
