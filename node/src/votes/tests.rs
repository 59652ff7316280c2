//! What compaction leaves, and that nothing else is lost by it.

use super::*;
use skerry_consensus::log::LogEntry;
use skerry_types::codec::Version;
use skerry_types::crypto::bls::PublicKey;
use skerry_types::ids::{Digest, Epoch, ShardId};

fn shard(index: u16) -> ChainRef {
    ChainRef::Shard(ShardId::new(1, index).expect("one of two"))
}

/// A record that says something of one view; a floor is the shortest.
fn record(chain: ChainRef, view: u64) -> VoteRecord {
    VoteRecord {
        version: Version,
        chain,
        epoch: Epoch::ZERO,
        entry: LogEntry::Floor(View::new(view)),
    }
}

fn floor_of(records: &[VoteRecord], chain: ChainRef) -> Option<View> {
    let own = records.iter().filter(|record| record.chain == chain);
    own.map(|record| record.entry.view()).max()
}

const KEY: ValidatorIdentity = ValidatorIdentity {
    public_key: PublicKey([1; 48]),
    chain_id: Digest::new([7; 32]),
};

fn create(folder: &Path) {
    create_log(&folder.join("vote.log"), &KEY, &[]).expect("creates");
}

/// The log, and what it holds beside the name of its key.
fn open(folder: &Path) -> (VoteHistory, Vec<VoteRecord>) {
    let path = folder.join("vote.log");
    let (history, mut found) = VoteHistory::open(&path, &KEY, BTreeMap::new()).expect("opens");
    assert_eq!(KeyRecords::of(&found).identity, Some(KEY));
    found.retain(|it| !matches!(it.entry, LogEntry::Key { .. }));
    (history, found)
}

fn append(history: &mut VoteHistory, record: &VoteRecord) {
    history.log.append(&record.encode()).expect("appends");
}

#[test]
fn final_chains_get_a_floor_and_others_keep_all() {
    let records: Vec<VoteRecord> = (1..=9)
        .flat_map(|view| [record(shard(0), view), record(shard(1), view)])
        .collect();
    let finals = BTreeMap::from([((shard(0), Epoch::ZERO), View::new(20))]);
    let (floors, kept) = settle(records, &finals);
    assert_eq!(floors, [record(shard(0), 21)]);
    assert_eq!(floor_of(&kept, shard(0)), Some(View::new(21)));
    assert_eq!(kept.len(), 1 + 9);
    // A floor never falls.
    let finals = BTreeMap::from([((shard(0), Epoch::ZERO), View::new(5))]);
    let (floors, _) = settle(kept, &finals);
    assert_eq!(floors, [record(shard(0), 21)]);
}

#[test]
fn epochs_before_the_final_one_are_over_and_later_ones_stay() {
    let [first, second, third] = [0, 1, 2].map(Epoch::new);
    let mut records: Vec<VoteRecord> = (1..=9).map(|view| record(shard(0), view)).collect();
    for (position, record) in records.iter_mut().enumerate() {
        record.epoch = [first, second, third][position / 3];
    }
    records.push(record(shard(1), 4));
    // Epoch 1 has come to view 7.
    let finals = BTreeMap::from([((shard(0), second), View::new(7))]);
    let (floors, kept) = settle(records.clone(), &finals);
    assert_eq!((floors.len(), floors[0].epoch), (1, second));
    assert!(floors[0].entry.view() > View::new(7));
    let of = |epoch| {
        let own = kept.iter().filter(|record| record.chain == shard(0));
        own.filter(move |record| record.epoch == epoch).count()
    };
    assert_eq!([first, second, third].map(of), [0, 1, 3]);
    assert!(kept.contains(&record(shard(1), 4)), "another chain");
    // That an epoch is over for the key is never forgotten, also without a vote in the next one.
    let only_first = records[..3].to_vec();
    let (floors, kept) = settle(only_first, &finals);
    assert_eq!(floors, kept);
    assert_eq!((kept.len(), kept[0].epoch), (1, second));
}

#[test]
fn a_log_that_has_grown_is_compacted_without_losing_what_is_not_final() {
    let folder = tempfile::tempdir().expect("a folder");
    create(folder.path());
    let (mut history, found) = open(folder.path());
    assert_eq!(found, []);
    let expected: Vec<VoteRecord> = (1..=50).map(|view| record(shard(0), view)).collect();
    for record in &expected {
        append(&mut history, record);
    }
    history.log.sync().expect("syncs");
    assert!(!history.is_long());
    history.compact_from = 0;
    assert!(history.is_long());
    let kept = history.compact().expect("compacts");
    assert_eq!(
        kept.first(),
        Some(&key::record(ChainRef::Beacon, key_entry(&KEY)))
    );
    assert_eq!(kept.get(1..), Some(&expected[..]));
    assert!(!history.is_long());
    append(&mut history, &record(shard(1), 7));
    history.log.sync().expect("syncs");
    drop(history);
    let (_, found) = open(folder.path());
    assert_eq!(found.len(), 51);
    assert_eq!(floor_of(&found, shard(0)), Some(View::new(50)));
    assert_eq!(floor_of(&found, shard(1)), Some(View::new(7)));
}

#[test]
fn what_is_of_the_key_outlives_compaction() {
    let at = |time| skerry_types::ids::TimeMs::new(time);
    let mute = |since, until| LogEntry::Mute {
        since: at(since),
        until: Epoch::new(until),
    };
    let of_key = [
        key::record(shard(0), LogEntry::Lost { at: at(5) }),
        key::record(shard(1), mute(5, 3)),
        key::record(ChainRef::Beacon, LogEntry::Lost { at: at(9) }),
        key::record(shard(0), mute(9, 8)),
        key::record(ChainRef::Beacon, LogEntry::FirstUse { at: at(1) }),
        key::record(
            ChainRef::Beacon,
            LogEntry::Exported {
                at: at(3),
                number: 4,
            },
        ),
        key::record(
            ChainRef::Beacon,
            LogEntry::Imported {
                at: at(2),
                number: 4,
            },
        ),
    ];
    let mut records = of_key.to_vec();
    records.extend((1..=9).map(|view| record(shard(0), view)));
    let finals = BTreeMap::from([((shard(0), Epoch::new(4)), View::new(7))]);
    let (floors, kept) = settle(records.clone(), &finals);
    assert_eq!(floors.len(), 1);
    assert_eq!(KeyRecords::of(&kept), KeyRecords::of(&records));
    assert!(kept.len() <= 1 + of_key.len());
    // And in the file, also what another chain has filed.
    let folder = tempfile::tempdir().expect("a folder");
    create(folder.path());
    let (mut history, _) = open(folder.path());
    for record in &of_key {
        append(&mut history, record);
    }
    history.compact().expect("compacts");
    drop(history);
    let (_, found) = open(folder.path());
    assert_eq!(KeyRecords::of(&found), KeyRecords::of(&of_key));
}

#[test]
fn an_exported_log_opens_for_nobody() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("vote.log");
    let at = skerry_types::ids::TimeMs::new(5);
    let exported = key::record(ChainRef::Beacon, LogEntry::Exported { at, number: 1 });
    create_log(&path, &KEY, &[record(shard(0), 3), exported]).expect("creates");
    let refused = VoteHistory::open(&path, &KEY, BTreeMap::new());
    assert!(matches!(refused, Err(NodeError::ExportedLog { .. })));
}

#[test]
fn first_use_begins_a_log_once_and_never_for_a_seated_key() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("net");
    let plan = crate::home::NetworkPlan {
        name: "first".to_owned(),
        shards: 1,
        validators: 4,
        seats: None,
        host_template: None,
        port_base: 50051,
        load_accounts: 0,
        parameters: skerry_types::genesis::Parameters::default(),
        out: out.clone(),
    };
    let (genesis, _) = crate::home::write_network(&plan).expect("laid out");
    let seated = crate::home::read_validator_identity(&out.join("v0/keys/validator.json"));
    let seated = seated.expect("a key");
    let fresh = ValidatorIdentity {
        public_key: PublicKey([9; 48]),
        ..seated
    };
    let log = folder.path().join("vote.log");
    let begin = |first_use, key| begin_if_first(&log, first_use, key, &genesis);
    begin(FirstUse::No, &fresh).expect("nothing is asked");
    assert!(!log.exists());
    let refused = begin(FirstUse::Yes, &seated);
    assert!(matches!(refused, Err(NodeError::NotFirstUse { .. })));
    assert!(!log.exists());
    begin(FirstUse::Yes, &fresh).expect("begins");
    let (history, found) = VoteHistory::open(&log, &fresh, BTreeMap::new()).expect("opens");
    assert!(KeyRecords::of(&found).first_use.is_some());
    drop(history);
    // A log that is there is left alone.
    let before = std::fs::read(&log).expect("reads");
    begin(FirstUse::Yes, &fresh).expect("does nothing");
    assert_eq!(std::fs::read(&log).expect("reads"), before);
}
