//! What is exported, and that taking it up only ever raises.

use super::*;
use skerry_types::crypto::bls::Signature;
use skerry_types::ids::{MemberIndex, ShardId};
use skerry_types::vote::Vote;

const NOW: TimeMs = TimeMs::new(1_000);
const NETWORK: Digest = Digest::new([7; 32]);
const KEY: PublicKey = PublicKey([1; 48]);

fn shard(index: u16) -> ChainRef {
    ChainRef::Shard(ShardId::new(1, index).expect("one of two"))
}

fn entry(chain: ChainRef, epoch: u64, entry: LogEntry) -> VoteRecord {
    VoteRecord {
        version: Version,
        chain,
        epoch: Epoch::new(epoch),
        entry,
    }
}

fn vote(chain: ChainRef, epoch: u64, statement: Statement) -> VoteRecord {
    let vote = Vote {
        statement,
        signer: MemberIndex::new(0),
        signature: Signature([0; 96]),
    };
    entry(chain, epoch, LogEntry::Vote(vote))
}

fn nullify(chain: ChainRef, epoch: u64, view: u64) -> VoteRecord {
    let view = View::new(view);
    vote(chain, epoch, Statement::Nullify { view })
}

fn finalize(chain: ChainRef, epoch: u64, view: u64) -> VoteRecord {
    let (view, digest) = (View::new(view), Digest::ZERO);
    vote(chain, epoch, Statement::Finalize { view, digest })
}

fn floor(chain: ChainRef, epoch: u64, view: u64) -> VoteRecord {
    entry(chain, epoch, LogEntry::Floor(View::new(view)))
}

fn exported(records: &[VoteRecord]) -> Interchange {
    export(records, NETWORK, KEY, NOW)
}

/// Epoch and view of each chain.
fn marks(records: &[VoteRecord]) -> BTreeMap<ChainRef, (u64, u64)> {
    let marks = watermarks(records).into_iter();
    marks
        .map(|(chain, mark)| (chain, (mark.epoch.get(), mark.view.get())))
        .collect()
}

/// The log after an import.
fn after(records: &[VoteRecord], interchange: &Interchange) -> Vec<VoteRecord> {
    let import = interchange.import_into(records, NOW);
    [records, &import.records].concat()
}

#[test]
fn a_watermark_is_the_newest_view_of_the_newest_epoch() {
    let records = [
        finalize(shard(0), 3, 90),
        nullify(shard(0), 4, 5),
        finalize(shard(0), 4, 4),
        nullify(shard(0), 3, 91),
        floor(shard(1), 2, 8),
        finalize(shard(1), 2, 3),
    ];
    let found = watermarks(&records);
    let view = |view| Some(View::new(view));
    let of = |chain| found.get(&chain).copied().expect("a watermark");
    assert_eq!(
        (of(shard(0)).epoch, of(shard(0)).view),
        (Epoch::new(4), View::new(5))
    );
    assert_eq!(
        (of(shard(0)).voted, of(shard(0)).finalized),
        (view(5), view(4))
    );
    assert_eq!(of(shard(1)).view, View::new(7), "below the floor");
    assert_eq!(
        (of(shard(1)).voted, of(shard(1)).finalized),
        (view(3), view(3))
    );
    assert_eq!(found.len(), 2);
}

#[test]
fn an_export_reads_back_and_gives_the_same_watermarks() {
    let since = TimeMs::new(500);
    let until = Epoch::new(6);
    let records = [
        nullify(ChainRef::Beacon, 4, 17),
        floor(shard(1), 2, 8),
        record(ChainRef::Beacon, LogEntry::Lost { at: since }),
        record(shard(0), LogEntry::Mute { since, until }),
    ];
    let interchange = exported(&records);
    let text = serde_json::to_string(&interchange).expect("it is written");
    let read: Interchange = serde_json::from_str(&text).expect("and read");
    assert_eq!(read, interchange);
    assert_eq!(read.check(&NETWORK, &KEY), Ok(()));
    let taken = after(&[], &read);
    assert_eq!(marks(&taken), marks(&records));
    let (taken, before) = (KeyRecords::of(&taken), KeyRecords::of(&records));
    assert_eq!((taken.lost_at, taken.mute), (before.lost_at, before.mute));
}

#[test]
fn an_import_raises_what_is_higher_and_lowers_nothing() {
    let positions = [(0, 1), (0, 9), (1, 1), (1, 4), (2, 2)];
    for here in positions {
        for there in positions {
            let records = [nullify(shard(0), here.0, here.1)];
            let interchange = exported(&[nullify(shard(0), there.0, there.1)]);
            let import = interchange.import_into(&records, NOW);
            let taken = after(&records, &interchange);
            assert_eq!(marks(&taken)[&shard(0)], here.max(there));
            assert_eq!(
                import.raised.len(),
                usize::from(there > here),
                "{here:?} {there:?}"
            );
            // A second time it changes nothing.
            let again = interchange.import_into(&taken, NOW);
            assert_eq!(again.raised, []);
        }
    }
    // A chain that the log does not know, and one that the file does not.
    let records = [nullify(shard(0), 1, 4)];
    let interchange = exported(&[nullify(shard(1), 3, 2)]);
    let raised = interchange.import_into(&records, NOW).raised;
    let to = (Epoch::new(3), View::new(2));
    assert_eq!(
        raised,
        [Raise {
            chain: shard(1),
            from: None,
            to
        }]
    );
    let taken = after(&records, &interchange);
    assert_eq!(
        marks(&taken),
        [(shard(0), (1, 4)), (shard(1), (3, 2))].into()
    );
}

#[test]
fn a_loss_travels_and_never_becomes_shorter() {
    let mute = |since, until| {
        let (since, until) = (TimeMs::new(since), Epoch::new(until));
        record(shard(0), LogEntry::Mute { since, until })
    };
    let lost = |at| {
        let at = TimeMs::new(at);
        record(ChainRef::Beacon, LogEntry::Lost { at })
    };
    let here = [lost(500), mute(500, 9)];
    let newer = exported(&[lost(800), mute(800, 12)]);
    let older = exported(&[lost(300), mute(300, 4)]);
    let none = exported(&[]);
    let of = |records: &[VoteRecord]| {
        let key = KeyRecords::of(records);
        let mute = key.mute.get(&shard(0)).map(|mute| mute.until.get());
        (key.lost_at.map(TimeMs::get), mute)
    };
    assert_eq!(of(&after(&here, &newer)), (Some(800), Some(12)));
    assert_eq!(of(&after(&here, &older)), (Some(500), Some(9)));
    assert_eq!(of(&after(&here, &none)), (Some(500), Some(9)));
}

#[test]
fn an_exported_log_is_closed_until_it_is_taken_up_again() {
    let closed = [
        nullify(shard(0), 1, 4),
        record(ChainRef::Beacon, LogEntry::Exported { at: NOW }),
    ];
    assert_eq!(KeyRecords::of(&closed).exported_at, Some(NOW));
    let back = after(&closed, &exported(&closed));
    assert_eq!(KeyRecords::of(&back).exported_at, None);
    assert_eq!(marks(&back), marks(&closed));
}

#[test]
fn what_is_not_of_this_key_and_network_is_refused() {
    let good = exported(&[nullify(shard(0), 1, 4)]);
    let check = |change: &dyn Fn(&mut Interchange)| {
        let mut other = good.clone();
        change(&mut other);
        other.check(&NETWORK, &KEY)
    };
    assert_eq!(check(&|_| {}), Ok(()));
    let version = check(&|it| it.version = 2);
    assert_eq!(version, Err(ImportError::Version { actual: 2 }));
    let network = check(&|it| it.chain_id = Digest::ZERO);
    assert!(matches!(network, Err(ImportError::Network { .. })));
    let key = check(&|it| it.vote_key = PublicKey([2; 48]));
    assert!(matches!(key, Err(ImportError::Key { .. })));
    let twice = check(&|it| it.chains.extend(good.chains.clone()));
    assert_eq!(twice, Err(ImportError::Twice { chain: shard(0) }));
    let number = u64::MAX;
    let large: [&dyn Fn(&mut Interchange); 3] = [
        &|it| it.chains[0].view = number,
        &|it| it.chains[0].epoch = number,
        &|it| it.lost_at_ms = Some(number),
    ];
    for change in large {
        assert_eq!(check(change), Err(ImportError::Number { number }));
    }
    let unknown = r#"{"version":1,"more":0}"#;
    assert!(serde_json::from_str::<Interchange>(unknown).is_err());
}
