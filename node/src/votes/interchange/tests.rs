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

fn import(records: &[VoteRecord], interchange: &Interchange) -> Import {
    let import = interchange.import_into(records, NOW, Elsewhere::MayHaveRun);
    import.expect("the log is open, or the export is newer")
}

/// The log after an import.
fn after(records: &[VoteRecord], interchange: &Interchange) -> Vec<VoteRecord> {
    [records, &import(records, interchange).records].concat()
}

/// An export, and the log that it closes.
fn close(records: &[VoteRecord]) -> (Interchange, Vec<VoteRecord>) {
    let file = exported(records);
    let number = file.export_number;
    let closing = record(ChainRef::Beacon, LogEntry::Exported { at: NOW, number });
    (file, [records, &[closing]].concat())
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
            let import = import(&records, &interchange);
            let taken = after(&records, &interchange);
            assert_eq!(marks(&taken)[&shard(0)], here.max(there));
            assert_eq!(
                import.raised.len(),
                usize::from(there > here),
                "{here:?} {there:?}"
            );
            // A second time it changes nothing.
            let again = after(&taken, &interchange);
            assert_eq!(marks(&again), marks(&taken));
        }
    }
    // A chain that the log does not know, and one that the file does not.
    let records = [nullify(shard(0), 1, 4)];
    let interchange = exported(&[nullify(shard(1), 3, 2)]);
    let raised = import(&records, &interchange).raised;
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
    let (file, closed) = close(&[nullify(shard(0), 1, 4)]);
    assert_eq!(KeyRecords::of(&closed).exported_at, Some(NOW));
    assert_eq!(exported(&closed), file, "once more the same export");
    let back = file.import_into(&closed, NOW, Elsewhere::NeverRan);
    let back = [
        closed.clone(),
        back.expect("it never ran elsewhere").records,
    ]
    .concat();
    assert_eq!(KeyRecords::of(&back).exported_at, None);
    assert_eq!(marks(&back), marks(&closed));
}

#[test]
fn an_older_export_does_not_open_a_closed_log() {
    let lost = |at| {
        let at = TimeMs::new(at);
        record(ChainRef::Beacon, LogEntry::Lost { at })
    };
    // The key goes from one machine to another and on to a third, voting on each.
    let (first, one) = close(&[nullify(shard(0), 1, 4)]);
    let two = [after(&[], &first), vec![nullify(shard(0), 1, 9)]].concat();
    let (second, two) = close(&two);
    let three = [after(&[], &second), vec![nullify(shard(0), 2, 1)]].concat();
    let (third, three) = close(&three);
    // There the log is lost, so that exports count from one again, as they do after a second loss.
    let (anew, four) = close(&[lost(500)]);
    let (again, five) = close(&[lost(800)]);
    let files = [&first, &second, &third, &anew, &again];
    assert_eq!(files.map(|it| it.export_number), [1, 2, 3, 1, 1]);
    for (closed_by, log) in [one, two, three, four, five].iter().enumerate() {
        for (number, file) in files.into_iter().enumerate() {
            let import = |elsewhere| file.import_into(log, NOW, elsewhere);
            let plain = import(Elsewhere::MayHaveRun);
            let vouched = import(Elsewhere::NeverRan);
            let case = format!("file {number} into the log that file {closed_by} closed");
            match number.cmp(&closed_by) {
                Ordering::Less => {
                    for refused in [plain, vouched] {
                        assert!(matches!(refused, Err(ImportError::Older { .. })), "{case}");
                    }
                }
                Ordering::Equal => {
                    assert!(matches!(plain, Err(ImportError::Same { .. })), "{case}");
                    assert!(vouched.is_ok(), "{case}");
                }
                Ordering::Greater => {
                    let opened = [log.clone(), plain.expect(&case).records].concat();
                    let key = KeyRecords::of(&opened);
                    assert_eq!(key.exported_at, None, "{case}");
                    // The next export is newer than both.
                    let next = exported(&opened);
                    let order = |it: &Interchange| (it.lost_at_ms, it.export_number);
                    assert!(order(&next) > order(file), "{case}");
                }
            }
        }
    }
    // An open log knows all of it already, so whatever comes raises at most.
    let open = after(&[], &third);
    assert_eq!(marks(&after(&open, &first)), marks(&open));
    assert_eq!(exported(&after(&open, &first)).export_number, 4);
}

#[test]
fn first_use_travels_with_an_export() {
    let first_use = |at| {
        let at = TimeMs::new(at);
        record(ChainRef::Beacon, LogEntry::FirstUse { at })
    };
    let here = [first_use(500)];
    let of = |records: &[VoteRecord]| KeyRecords::of(records).first_use.map(TimeMs::get);
    for (there, expected) in [(Some(300), 500), (Some(800), 800), (None, 500)] {
        let there: Vec<VoteRecord> = there.map(first_use).into_iter().collect();
        let file = exported(&there);
        assert_eq!(of(&after(&[], &file)), of(&there));
        assert_eq!(of(&after(&here, &file)), Some(expected));
    }
    let text = serde_json::to_string(&exported(&here)).expect("it is written");
    let read: Interchange = serde_json::from_str(&text).expect("and read");
    assert_eq!(read.first_use_at_ms, Some(500));
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
    let version = check(&|it| it.version = 1);
    assert_eq!(version, Err(ImportError::Version { actual: 1 }));
    let network = check(&|it| it.chain_id = Digest::ZERO);
    assert!(matches!(network, Err(ImportError::Network { .. })));
    let key = check(&|it| it.vote_key = PublicKey([2; 48]));
    assert!(matches!(key, Err(ImportError::Key { .. })));
    let twice = check(&|it| it.chains.extend(good.chains.clone()));
    assert_eq!(twice, Err(ImportError::Twice { chain: shard(0) }));
    let number = u64::MAX;
    let large: [&dyn Fn(&mut Interchange); 5] = [
        &|it| it.export_number = number,
        &|it| it.first_use_at_ms = Some(number),
        &|it| it.chains[0].view = number,
        &|it| it.chains[0].epoch = number,
        &|it| it.lost_at_ms = Some(number),
    ];
    for change in large {
        assert_eq!(check(change), Err(ImportError::Number { number }));
    }
    let unknown = r#"{"version":2,"more":0}"#;
    assert!(serde_json::from_str::<Interchange>(unknown).is_err());
}
