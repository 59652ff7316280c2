//! Which logs the commands take, and which they refuse.

use super::*;
use crate::votes::VoteHistory;
use skerry_types::crypto::bls::PublicKey;
use skerry_types::ids::Digest;
use std::collections::BTreeMap;

/// A key file of one network, with its log beside it or elsewhere.
fn files(folder: &Path, number: u8) -> VoteLogFiles {
    let key = folder.join(format!("{number}/validator.json"));
    let file = json!({
        "version": 1, "public_key": PublicKey([number; 48]), "development": true,
        "chain_id": Digest::new([7; 32]), "seed": "",
    });
    std::fs::create_dir_all(key.parent().expect("a folder")).expect("made");
    std::fs::write(&key, file.to_string()).expect("written");
    VoteLogFiles { key, log: None }
}

fn made(folder: &Path, number: u8) -> (VoteLogFiles, Place) {
    let files = files(folder, number);
    let place = Place::of(&files).expect("a key file");
    place.create(&[]).expect("a log");
    (files, place)
}

fn refused(outcome: Result<Output, CliError>) -> String {
    let error = outcome.expect_err("it is refused");
    super::super::output::explain(&error)
}

#[test]
fn a_log_of_another_key_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let (own, place) = made(folder.path(), 1);
    let (_, other) = made(folder.path(), 2);
    // As when two validators of one host have each other's `vote_log`.
    let swapped = VoteLogFiles {
        log: Some(other.path.clone()),
        ..own.clone()
    };
    let before = std::fs::read(&other.path).expect("reads");
    let opened = VoteHistory::open(&other.path, &place.identity, BTreeMap::new());
    assert!(matches!(opened, Err(NodeError::ForeignLog { .. })));
    let out = folder.path().join("export.json");
    let text = [
        refused(show(&swapped)),
        refused(export(&swapped, &out)),
        refused(lost(&swapped, true)),
    ];
    export(&own, &out).expect("its own is exported");
    let import = import(&swapped, &out, Elsewhere::NeverRan);
    for text in text.into_iter().chain([refused(import)]) {
        assert!(
            text.contains("is of vote key") && text.contains("--log"),
            "{text}"
        );
    }
    assert_eq!(std::fs::read(&other.path).expect("reads"), before);
    // Nor is one of the same key on another network.
    let elsewhere = ValidatorIdentity {
        chain_id: Digest::ZERO,
        ..place.identity
    };
    let opened = VoteHistory::open(&place.path, &elsewhere, BTreeMap::new());
    assert!(matches!(opened, Err(NodeError::ForeignLog { .. })));
}

#[test]
fn a_log_with_any_damage_can_be_declared_lost() {
    let folder = tempfile::tempdir().expect("a folder");
    let (_, place) = made(folder.path(), 1);
    let good = std::fs::read(&place.path).expect("reads");
    let changed = |position: usize| {
        let mut bytes = good.clone();
        bytes[position] ^= 1;
        bytes
    };
    let holding = |payload: &[u8]| {
        let path = folder.path().join("other.log");
        VoteLog::create(&path, &[payload.to_vec()]).expect("creates");
        let bytes = std::fs::read(&path).expect("reads");
        std::fs::remove_file(&path).expect("removed");
        bytes
    };
    let floor = of_key(LogEntry::Floor(View::new(3)));
    let cases = [
        ("empty", Vec::new()),
        ("too short", good[..10].to_vec()),
        ("of version 1", [b"SKVOTES1", &good[8..]].concat()),
        ("another magic", changed(0)),
        ("its header is damaged", changed(9)),
        ("a record is damaged", changed(good.len() - 9)),
        ("no record", holding(b"what is this")),
        ("of no key", holding(&floor.encode())),
        ("text", b"a page of text, and no log at all".to_vec()),
    ];
    for (number, (name, bytes)) in (2..).zip(cases) {
        let files = files(folder.path(), number);
        let place = Place::of(&files).expect("a key file");
        std::fs::write(&place.path, &bytes).expect("written");
        assert!(refused(show(&files)).contains("keys votes lost"), "{name}");
        let output = lost(&files, true);
        assert!(output.is_ok(), "{name}: {}", refused(output));
        let (_, records) = place.open().expect("a log that says so");
        assert!(KeyRecords::of(&records).lost_at.is_some(), "{name}");
        let kept = std::fs::read_dir(folder.path().join(number.to_string())).expect("reads");
        let kept = kept.map(|entry| entry.expect("an entry").path());
        let mut kept = kept.filter(|path| path.display().to_string().contains(".damaged-"));
        let kept = kept.next().expect("the damaged log is kept");
        assert_eq!(std::fs::read(kept).expect("reads"), bytes, "{name}");
    }
    // One that a node uses is whole.
    let (files, place) = made(folder.path(), 99);
    let node = place.open().expect("opens");
    assert!(refused(lost(&files, true)).contains("is in use"));
    drop(node);
    lost(&files, true).expect("and a whole one is marked");
}
