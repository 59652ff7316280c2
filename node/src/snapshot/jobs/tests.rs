use super::{JobError, seals_to_keep, seals_up_to, write};
use crate::snapshot::check::Trust;
use crate::snapshot::testing::{
    BEACON, beacon_base, finalization, genesis, result, scheme, seal, shard, store,
};
use skerry_execution::views;
use skerry_storage::import::{BaseRow, Import};
use skerry_storage::{ChainStore, Commit, Durability, EpochRow, FinalizedEntry, StateTree};
use skerry_types::block::Header;
use skerry_types::committee::genesis_digest;
use skerry_types::ids::{Address, Epoch, Height};
use skerry_types::light::SealProof;
use skerry_types::limits::{CHUNK_BYTES, STATE_VALUE_BYTES_MAX};
use skerry_types::state::{ChangeSet, StateKey};
use std::sync::Arc;

/// A store of the beacon that has passed so many epochs and remembers how they began from `first`
/// on. Each ends with its only block; that of the first alone is signed by whom it must be.
fn beacon_of(first: u64, epochs: u64) -> Arc<ChainStore> {
    let store = store(&genesis(), BEACON);
    let mut parent = genesis_digest(&genesis().chain_id(), BEACON);
    for number in 1..=epochs {
        let SealProof {
            header,
            mut committee,
            ..
        } = seal(number);
        committee.epoch = Epoch::new(number);
        let header = Header {
            epoch: Epoch::new(number - 1),
            height: Height::new(number),
            parent,
            ..header
        };
        let block = header.block_ref();
        parent = block.digest;
        let put = store.put_block(&block.digest, &header, &[], Durability::Buffered);
        put.expect("it is stored");
        let entry = FinalizedEntry {
            digest: block.digest,
            height: block.height,
            certificate: Some(finalization(&header)),
        };
        let row = EpochRow {
            committee,
            seal: block,
            time: header.time,
        };
        let commit = Commit {
            finalized: vec![entry],
            epoch: (number >= first).then_some(row),
            ..Commit::default()
        };
        store.commit(&commit).expect("it is final");
    }
    store
}

/// The epochs that these seals opened.
fn opened(seals: &[Arc<SealProof>]) -> Vec<u64> {
    let epochs = seals.iter().map(|seal| seal.committee.epoch.get());
    epochs.collect()
}

#[test]
fn of_many_seals_the_newest_are_kept() {
    let cases: [(u64, u64, usize, &[u64]); 6] = [
        (1, 9, 4, &[6, 7, 8, 9]),
        (1, 3, 100, &[1, 2, 3]),
        (1, 7, 3, &[5, 6, 7]),
        // It joined in a later epoch itself.
        (5, 9, 100, &[5, 6, 7, 8, 9]),
        (1, 9, 0, &[]),
        (1, 0, 4, &[]),
    ];
    for (first, newest, limit, expected) in cases {
        let beacon = beacon_of(first, 9);
        let kept = seals_up_to(&beacon, Epoch::new(newest), limit).expect("the store reads");
        assert_eq!(
            opened(&kept),
            expected,
            "{first}.. to {newest}, at most {limit}"
        );
    }
}

#[test]
fn seals_that_were_followed_are_kept_once_and_on_the_beacon_only() {
    let beacon = beacon_of(1, 1);
    let trust = Trust::new(&genesis(), &beacon, &scheme(), None).expect("it holds");
    assert_eq!(trust.seals().count(), 1);
    let kept = seals_to_keep(&beacon, &trust, BEACON).expect("the store reads");
    assert_eq!(opened(&kept), [1]);
    let kept = seals_to_keep(&beacon, &trust, shard()).expect("the store reads");
    assert_eq!(opened(&kept), [0_u64; 0]);
}

#[test]
fn a_chunk_that_no_server_cuts_so_long_is_refused_though_it_holds() {
    let record = |number: u8| {
        let key = StateKey {
            owner: Address::of_system(0, BEACON, &[number]),
            ..views::shard_record_key(shard())
        };
        (key, Some(vec![number; STATE_VALUE_BYTES_MAX].into()))
    };
    let changes: ChangeSet = (0..12).map(record).collect();
    let state = StateTree::empty().apply(&changes);
    let base = BaseRow {
        block: beacon_base(100, &state).header.block_ref(),
        result: result(&state),
    };
    let import = Import::begin(store(&genesis(), BEACON), &base).expect("it begins");
    let whole = state.chunk(None, usize::MAX).expect("a chunk");
    let refused = write(&import, None, &whole).expect_err("too long");
    assert!(matches!(refused, JobError::ChunkBytes { .. }));
    assert!(refused.is_forged());
    let cut = state.chunk(None, CHUNK_BYTES).expect("a chunk");
    write(&import, None, &cut).expect("as servers cut it");
}
