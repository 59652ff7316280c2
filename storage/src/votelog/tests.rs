//! What was synced is there, what was torn is cut off, what is damaged is refused.

use super::{FILE_HEADER_BYTES, LogRecord, MemoryDevice, Replayed, VoteLog};
use crate::error::VoteLogError;
use crate::testing::Numbers;
use skerry_types::ids::LogPosition;

fn open(device: &MemoryDevice) -> Result<(VoteLog, Replayed), VoteLogError> {
    VoteLog::open_device(Box::new(device.clone()), &mut |_| true)
}

fn payloads(replayed: &Replayed) -> Vec<Vec<u8>> {
    replayed
        .records
        .iter()
        .map(|record| record.bytes.clone())
        .collect()
}

/// A log of `count` records, each synced.
fn filled(count: u8) -> MemoryDevice {
    let device = MemoryDevice::new();
    let (mut log, _) = open(&device).unwrap();
    for record in 0..count {
        log.append(&[record; 40]).unwrap();
        log.sync().unwrap();
    }
    device
}

#[test]
fn synced_records_are_replayed_in_order_with_growing_positions() {
    let device = MemoryDevice::new();
    let (mut log, replayed) = open(&device).unwrap();
    assert_eq!(replayed, Replayed::default());
    for group in 0..5_u8 {
        for record in 0..3_u8 {
            let position = log.append(&[group, record]).unwrap();
            assert!(position > log.durable());
        }
        assert_eq!(log.sync().unwrap(), log.appended());
    }
    assert_eq!(
        (log.syncs(), log.durable()),
        (5, LogPosition::new(15)),
        "one sync per group"
    );
    drop(log);
    let (mut log, replayed) = open(&device).unwrap();
    let expected: Vec<Vec<u8>> = (0..5)
        .flat_map(|group| (0..3).map(move |record| vec![group, record]))
        .collect();
    assert_eq!(payloads(&replayed), expected);
    assert_eq!(log.append(b"next").unwrap(), LogPosition::new(16));
}

#[test]
fn a_power_cut_keeps_all_that_was_synced_and_a_prefix_of_the_rest() {
    let mut cut_short = 0;
    for seed in 0..400 {
        let mut numbers = Numbers(seed);
        let device = MemoryDevice::new();
        let (mut log, _) = open(&device).unwrap();
        let mut sent = Vec::new();
        let mut written = Vec::new();
        for _ in 0..numbers.below(5) {
            for _ in 0..numbers.below(4) {
                let length = usize::try_from(numbers.below(900)).unwrap();
                let record = vec![u8::try_from(numbers.below(256)).unwrap(); length];
                log.append(&record).unwrap();
                written.push(record);
            }
            log.sync().unwrap();
            sent = written.clone();
        }
        // A group that is written when the power goes, not yet synced.
        let mut group = Vec::new();
        for record in 0..numbers.below(6) {
            let bytes = vec![u8::try_from(record).unwrap() + 1; 300];
            let position = LogPosition::new(log.appended().get() + 1 + record);
            super::write_record(&mut group, position, log.length(), &bytes);
            written.push(bytes);
        }
        device.file.lock().bytes.extend_from_slice(&group);
        drop(log);
        device.crash(seed);
        let (mut log, replayed) = open(&device).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        let found = payloads(&replayed);
        assert!(
            found.len() >= sent.len() && written.starts_with(&found),
            "seed {seed}"
        );
        cut_short += usize::from(found.len() < written.len());
        // And the log goes on from there.
        log.append(b"after").unwrap();
        log.sync().unwrap();
        drop(log);
        let (_, replayed) = open(&device).unwrap();
        assert_eq!(payloads(&replayed).len(), found.len() + 1, "seed {seed}");
    }
    assert!(cut_short > 50, "{cut_short}");
}

#[test]
fn a_record_cut_off_at_the_end_of_the_file_is_dropped() {
    let whole = filled(3).contents();
    let two = filled(2).contents().len();
    for length in two + 1..whole.len() {
        let device = MemoryDevice::new();
        device.set_contents(whole[..length].to_vec());
        let (_, replayed) = open(&device).unwrap();
        assert_eq!(
            (replayed.records.len(), replayed.torn_bytes),
            (2, length - two)
        );
        assert_eq!(device.contents().len(), two, "cut off for good");
    }
}

#[test]
fn any_flipped_bit_is_refused() {
    let whole = filled(4).contents();
    for position in 0..whole.len() {
        for bit in 0..8 {
            let device = MemoryDevice::new();
            let mut bytes = whole.clone();
            bytes[position] ^= 1 << bit;
            device.set_contents(bytes);
            let error = open(&device).map(|_| ()).unwrap_err();
            let fits = if position < FILE_HEADER_BYTES {
                matches!(
                    error,
                    VoteLogError::Form { .. } | VoteLogError::Corrupt { offset: 0, .. }
                )
            } else {
                matches!(error, VoteLogError::Corrupt { .. })
            };
            assert!(fits, "byte {position} bit {bit}: {error}");
        }
    }
}

#[test]
fn a_sector_of_zeros_in_what_was_durable_is_refused() {
    let device = filled(40);
    let mut bytes = device.contents();
    bytes[1024..1536].fill(0);
    device.set_contents(bytes);
    assert!(matches!(open(&device), Err(VoteLogError::Corrupt { .. })));
}

#[test]
fn a_missing_record_is_refused() {
    let (one, two, three) = (
        filled(1).contents(),
        filled(2).contents(),
        filled(3).contents(),
    );
    let device = MemoryDevice::new();
    device.set_contents([one.as_slice(), &three[two.len()..]].concat());
    assert!(matches!(open(&device), Err(VoteLogError::Corrupt { .. })));
}

#[test]
fn a_failed_sync_closes_the_log() {
    let device = MemoryDevice::new();
    let (mut log, _) = open(&device).unwrap();
    log.append(b"vote").unwrap();
    device.fail();
    assert!(matches!(log.sync(), Err(VoteLogError::Io { .. })));
    assert!(matches!(log.sync(), Err(VoteLogError::Poisoned { .. })));
    assert!(matches!(
        log.append(b"vote"),
        Err(VoteLogError::Poisoned { .. })
    ));
    assert_eq!(log.durable(), LogPosition::ZERO);
}

#[test]
fn a_record_too_long_is_refused() {
    let (mut log, _) = open(&MemoryDevice::new()).unwrap();
    let error = log
        .append(&vec![0; super::RECORD_BYTES_MAX + 1])
        .unwrap_err();
    assert!(matches!(error, VoteLogError::TooLong { .. }));
}

#[test]
fn compaction_keeps_what_the_filter_keeps_and_positions_grow() {
    let device = MemoryDevice::new();
    let (mut log, _) = open(&device).unwrap();
    for record in 0..100_u8 {
        log.append(&vec![record; 20_000]).unwrap();
    }
    log.sync().unwrap();
    drop(log);
    let mut keep = |record: &LogRecord| record.bytes.first().is_some_and(|first| *first >= 90);
    let opened = VoteLog::open_device(Box::new(device.clone()), &mut keep).unwrap();
    let (mut log, replayed) = opened;
    assert!(replayed.compacted && device.contents().len() < 300_000);
    assert_eq!(replayed.records.len(), 10);
    assert_eq!(log.append(b"x").unwrap(), LogPosition::new(101));
    log.sync().unwrap();
    log.compact(&mut |record| record.bytes == b"x").unwrap();
    assert!(log.length() < 100 && log.length() == device.contents().len());
    assert_eq!(log.append(b"y").unwrap(), LogPosition::new(102));
    log.sync().unwrap();
    drop(log);
    let (_, replayed) = open(&device).unwrap();
    assert_eq!(payloads(&replayed), [b"x".to_vec(), b"y".to_vec()]);
    assert_eq!(
        replayed.records.last().unwrap().position,
        LogPosition::new(102)
    );
}

#[test]
fn a_file_is_created_once_locked_while_open_and_survives() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key.votes");
    let open = || VoteLog::open(&path, &mut |_| true);
    assert!(
        matches!(open(), Err(VoteLogError::Absent { .. })),
        "a key without a log"
    );
    VoteLog::create(&path, &[]).unwrap();
    assert!(matches!(
        VoteLog::create(&path, &[]),
        Err(VoteLogError::Exists { .. })
    ));
    let (mut log, _) = open().unwrap();
    assert!(matches!(open(), Err(VoteLogError::InUse { .. })));
    assert!(matches!(
        VoteLog::create(&path, &[]),
        Err(VoteLogError::InUse { .. })
    ));
    log.append(b"one").unwrap();
    log.sync().unwrap();
    log.append(b"two").unwrap();
    log.sync().unwrap();
    log.compact(&mut |record| record.bytes == b"two").unwrap();
    assert!(
        matches!(open(), Err(VoteLogError::InUse { .. })),
        "the lock outlives the rename"
    );
    log.append(b"three").unwrap();
    log.sync().unwrap();
    drop(log);
    let (_, replayed) = open().unwrap();
    assert_eq!(payloads(&replayed), [b"two".to_vec(), b"three".to_vec()]);
}

#[test]
fn records_are_added_all_together_or_not_at_all() {
    let device = filled(3);
    let (mut log, _) = open(&device).unwrap();
    log.append(b"waits").unwrap();
    log.extend(&[vec![7; 40], vec![8; 40]]).unwrap();
    assert_eq!(log.durable(), LogPosition::new(6));
    assert_eq!(log.append(b"next").unwrap(), LogPosition::new(7));
    log.sync().unwrap();
    drop(log);
    let (mut log, replayed) = open(&device).unwrap();
    let found = payloads(&replayed);
    assert_eq!(found.len(), 7);
    assert_eq!(found[3], b"waits");
    assert_eq!((&found[4], &found[5]), (&vec![7; 40], &vec![8; 40]));
    assert_eq!(found[6], b"next");
    // Too long, or the disk fails: nothing of it is there.
    let before = device.contents();
    let long = vec![0; super::RECORD_BYTES_MAX + 1];
    let refused = log.extend(&[vec![9; 40], long]);
    assert!(matches!(refused, Err(VoteLogError::TooLong { .. })));
    device.fail();
    assert!(log.extend(&[vec![9; 40]]).is_err());
    assert!(matches!(
        log.append(b"more"),
        Err(VoteLogError::Poisoned { .. })
    ));
    device.crash(1);
    assert_eq!(device.contents(), before);
}

#[test]
fn a_file_is_created_with_records_and_refused_when_it_is_empty() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vote.log");
    VoteLog::create(&path, &[vec![1; 9], vec![2; 9]]).unwrap();
    let (mut log, replayed) = VoteLog::open(&path, &mut |_| true).unwrap();
    assert_eq!(payloads(&replayed), [vec![1; 9], vec![2; 9]]);
    assert_eq!(log.append(b"next").unwrap(), LogPosition::new(3));
    log.sync().unwrap();
    drop(log);
    let again = VoteLog::create(&path, &[]);
    assert!(matches!(again, Err(VoteLogError::Exists { .. })));
    std::fs::write(&path, b"").unwrap();
    let empty = VoteLog::open(&path, &mut |_| true);
    assert!(matches!(
        empty,
        Err(VoteLogError::Corrupt { offset: 0, .. })
    ));
}
