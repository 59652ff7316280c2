//! A validator that comes back without its data, or without its vote log, or on another machine:
//! it never signs what could conflict, and says what to do.

use crate::net::{Network, Node, Plan, run, until};
use serde_json::Value;
use skerry::config::{NodeConfig, ValidatorConfig};
use skerry_consensus::log::{LogEntry, VoteRecord};
use skerry_storage::VoteLog;
use skerry_types::ids::{ChainRef, Epoch, View};
use skerry_types::vote::{Statement, Vote};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The one that has the accident.
const LAST: usize = 3;

fn network(name: &str, epoch_seconds: u64) -> Network {
    let plan = Plan {
        shards: 1,
        validators: 4,
        seats: None,
        epoch_seconds,
        block_gas: None,
        inbound_gas: None,
    };
    let mut network = Network::new(name, plan);
    network.start_all();
    network.goes_on(4);
    network
}

fn last(network: &mut Network) -> &mut Node {
    network.nodes.get_mut(LAST).expect("v3")
}

/// All votes of a log, with their chain and epoch.
fn votes(log: &Path) -> Vec<(ChainRef, Epoch, Vote)> {
    let (_, replayed) = VoteLog::open(log, &mut |_| true).expect("the log opens");
    let records = replayed.records.iter();
    let records = records.map(|it| VoteRecord::decode(&it.bytes).expect("a record"));
    records
        .filter_map(|record| match record.entry {
            LogEntry::Vote(vote) => Some((record.chain, record.epoch, vote)),
            _ => None,
        })
        .collect()
}

/// Keeps what the log holds now, for the time when it is gone.
fn keep_votes(network: &Network, log: &Path) -> Vec<(ChainRef, Epoch, Vote)> {
    let kept = network.place.dir.join("kept.log");
    std::fs::copy(log, &kept).expect("copied");
    votes(&kept)
}

/// No two of these votes of one key contradict each other.
fn agree(votes: &[(ChainRef, Epoch, Vote)]) {
    let mut views: BTreeMap<(ChainRef, Epoch, View), Vec<Statement>> = BTreeMap::new();
    for (chain, epoch, vote) in votes {
        let statement = vote.statement;
        let of_view = views.entry((*chain, *epoch, statement.view())).or_default();
        for other in of_view.iter() {
            let conflict = match (other, &statement) {
                (Statement::Nullify { .. }, Statement::Finalize { .. })
                | (Statement::Finalize { .. }, Statement::Nullify { .. }) => true,
                (one, other) => one
                    .digest()
                    .zip(other.digest())
                    .is_some_and(|(one, other)| one != other),
            };
            assert!(!conflict, "{chain} {epoch}: {other:?} and {statement:?}");
        }
        of_view.push(statement);
    }
}

fn nobody_accuses(network: &Network) {
    for node in &network.nodes {
        let log = node.log_text();
        for accusation in ["members contradict themselves", "validator punished"] {
            assert!(!log.contains(accusation), "{}: {accusation}", node.name);
        }
    }
}

/// The vote of the last one is needed, and comes.
fn votes_are_needed(network: &mut Network) {
    network.nodes.first_mut().expect("v0").kill();
    network.goes_on(4);
    network.nodes.first_mut().expect("v0").start();
    network.goes_on(1);
}

fn key_args(command: &str, home: &Path) -> Vec<String> {
    let key = home.join("keys/validator.json").display().to_string();
    let args = ["keys", "votes", command, "--json", "--key", &key];
    args.map(str::to_owned).to_vec()
}

fn keys_votes(command: &str, home: &Path, more: &[&str]) -> Result<Value, String> {
    let mut args = key_args(command, home);
    args.extend(more.iter().map(|it| (*it).to_owned()));
    run(&args)
}

fn refuses_to_start(home: &Path, more: &[&str], parts: &[&str]) {
    let home = home.display().to_string();
    let mut args = vec!["node", "start", "--json", "--home", &home];
    args.extend(more);
    let said = run(&args).expect_err("it must not start");
    for part in parts {
        assert!(said.contains(part), "{part:?} is missing in: {said}");
    }
}

#[test]
fn without_its_data_a_validator_catches_up_and_contradicts_nothing() {
    let mut network = network("data-gone", 0);
    last(&mut network).stop();
    let home = last(&mut network).home.clone();
    let log = home.join("keys/vote.log");
    let before = keep_votes(&network, &log);
    assert!(!before.is_empty());
    std::fs::remove_dir_all(home.join("data")).expect("removed");
    last(&mut network).start();
    network.goes_on(4);
    votes_are_needed(&mut network);
    network.stop_all();
    let after = votes(&log);
    assert!(after.len() > before.len(), "it votes again");
    agree(&[before, after].concat());
    assert!(!last(&mut network).log_text().contains("voting stopped"));
    nobody_accuses(&network);
    network.verify().expect("the stopped stores agree");
}

#[test]
fn without_its_log_a_validator_waits_for_the_next_epoch_but_one() {
    let mut network = network("log-gone", 5);
    let home = last(&mut network).home.clone();
    let log = home.join("keys/vote.log");
    let said = keys_votes("show", &home, &[]).expect_err("the node uses the log");
    assert!(said.contains("is in use"), "{said}");
    last(&mut network).stop();
    let before = keep_votes(&network, &log);
    std::fs::remove_dir_all(home.join("data")).expect("removed");
    std::fs::remove_file(&log).expect("removed");
    // Neither without a log, nor with an empty one that claims a first use.
    let parts = ["VOTE_LOG", "is missing", "keys votes lost"];
    refuses_to_start(&home, &[], &parts);
    let parts = ["VOTE_LOG", "has a seat in the genesis"];
    refuses_to_start(&home, &["--first-use"], &parts);
    assert!(!log.exists());
    let said = keys_votes("lost", &home, &[]).expect_err("consent is missing");
    assert!(said.contains("CONSENT") && said.contains("next epoch but one"));
    keys_votes("lost", &home, &["--yes"]).expect("declared lost");
    let shown = keys_votes("show", &home, &[]).expect("shown");
    assert_eq!(shown["history"], "lost");

    last(&mut network).start();
    until("it says that it signs nothing", || {
        let (code, page) = last(&mut network).page("/readyz")?;
        (code != 200 && page.contains("voting stopped")).then_some(())
    });
    let chains = network.genesis.chains();
    until("it votes again on every chain", || {
        let text = last(&mut network).log_text();
        let goes_on = text.matches("voting goes on").count();
        (goes_on >= chains.len()).then_some(())
    });
    votes_are_needed(&mut network);
    network.stop_all();
    let after = votes(&log);
    for chain in &chains {
        let epochs = |votes: &[(ChainRef, Epoch, Vote)]| {
            let own = votes.iter().filter(|(of, ..)| of == chain);
            own.map(|(_, epoch, _)| *epoch).collect::<Vec<_>>()
        };
        let newest = epochs(&before).into_iter().max().expect("it had voted");
        let first = epochs(&after).into_iter().min().expect("it votes again");
        assert!(
            first >= newest.saturating_add(2),
            "{chain}: {first} follows {newest}"
        );
    }
    nobody_accuses(&network);
    network.verify().expect("the stopped stores agree");
}

/// Another home for the key of a node, without its vote log.
fn other_home(network: &Network, name: &str) -> PathBuf {
    let original = network.nodes.get(LAST).expect("v3").home.clone();
    let home = network.place.dir.join(name);
    std::fs::create_dir_all(home.join("keys")).expect("a folder");
    let key = home.join("keys/validator.json");
    std::fs::copy(original.join("keys/validator.json"), &key).expect("copied");
    let mut config = NodeConfig::read(&original.join("config.toml")).expect("a configuration");
    config.validator = Some(ValidatorConfig {
        key,
        vote_log: home.join("keys/vote.log"),
    });
    config.network.key = home.join("keys/network.key");
    config.write(&home.join("config.toml")).expect("written");
    home
}

#[test]
fn a_validator_moves_with_its_history() {
    let mut network = network("moved", 0);
    last(&mut network).stop();
    let old = last(&mut network).home.clone();
    let before = keep_votes(&network, &old.join("keys/vote.log"));
    let new = other_home(&network, "new");
    refuses_to_start(&new, &[], &["VOTE_LOG", "is missing"]);

    let file = network.place.dir.join("export.json").display().to_string();
    keys_votes("export", &old, &["--out", &file]).expect("exported");
    let said = keys_votes("export", &old, &["--out", &file]).expect_err("never overwritten");
    assert!(said.contains("exists already"), "{said}");
    refuses_to_start(&old, &[], &["VOTE_LOG", "was exported"]);

    // Another key takes none of it.
    let other = network.nodes.get(2).expect("v2").home.clone();
    network.nodes.get_mut(2).expect("v2").stop();
    let said = keys_votes("import", &other, &["--in", &file]).expect_err("another key");
    assert!(said.contains("VOTE_LOG") && said.contains("history of vote key"));
    // Nor does a node start with the log of another key.
    let mut config = NodeConfig::read(&new.join("config.toml")).expect("a configuration");
    let own = config.validator.clone().expect("a validator");
    config.validator = Some(ValidatorConfig {
        vote_log: other.join("keys/vote.log"),
        ..own.clone()
    });
    config.write(&new.join("config.toml")).expect("written");
    refuses_to_start(&new, &[], &["VOTE_LOG", "is of vote key"]);
    config.validator = Some(own);
    config.write(&new.join("config.toml")).expect("written");
    network.nodes.get_mut(2).expect("v2").start();
    let said = keys_votes("import", &old, &["--in", &file]).expect_err("it may run elsewhere");
    assert!(said.contains("--never-ran-elsewhere"), "{said}");

    let imported = keys_votes("import", &new, &["--in", &file]).expect("imported");
    assert_eq!(imported["raised"].as_array().map(Vec::len), Some(2));
    let again = keys_votes("import", &new, &["--in", &file]).expect("harmless");
    assert_eq!(again["raised"].as_array().map(Vec::len), Some(0));
    let shown = |home: &Path| keys_votes("show", home, &[]).expect("shown");
    let marks = |shown: &Value| {
        let chains = shown["chains"].as_array().cloned().unwrap_or_default();
        let mark = |it: Value| (it["chain"].clone(), it["epoch"].clone(), it["view"].clone());
        chains.into_iter().map(mark).collect::<Vec<_>>()
    };
    assert_eq!(marks(&shown(&old)), marks(&shown(&new)));
    assert_eq!(shown(&old)["history"], "exported");
    assert_eq!(shown(&new)["history"], "whole");

    last(&mut network).home = new.clone();
    last(&mut network).start();
    network.goes_on(4);
    votes_are_needed(&mut network);
    network.stop_all();
    let after = votes(&new.join("keys/vote.log"));
    let mut newest: BTreeMap<ChainRef, View> = BTreeMap::new();
    for (chain, _, vote) in &before {
        let view = newest.entry(*chain).or_default();
        *view = vote.statement.view().max(*view);
    }
    for (chain, _, vote) in &after {
        assert!(
            vote.statement.view() > newest[chain],
            "{chain}: {vote:?} is not above {}",
            newest[chain]
        );
    }
    assert!(!after.is_empty());
    agree(&[before, after].concat());
    nobody_accuses(&network);
    network.verify().expect("the stopped stores agree");
}

#[test]
fn a_restored_log_is_noticed_by_the_blocks_that_show_newer_votes() {
    // Ends of epochs make working blocks, which name those who notarized their parents.
    let mut network = network("log-old", 5);
    last(&mut network).stop();
    let home = last(&mut network).home.clone();
    let (log, old) = (
        home.join("keys/vote.log"),
        network.place.dir.join("old.log"),
    );
    std::fs::copy(&log, &old).expect("copied");
    last(&mut network).start();
    network.goes_on(1);
    // Its vote is in every certificate meanwhile.
    network.nodes.first_mut().expect("v0").kill();
    network.goes_on(30);
    network.nodes.first_mut().expect("v0").start();
    network.goes_on(1);
    last(&mut network).stop();

    std::fs::copy(&old, &log).expect("restored, which nobody should do");
    std::fs::remove_dir_all(home.join("data")).expect("removed");
    last(&mut network).start();
    until("it notices", || {
        let text = last(&mut network).log_text();
        text.contains("this vote log is not its newest")
            .then_some(())
    });
    network.stop_all();
    let shown = keys_votes("show", &home, &[]).expect("shown");
    assert_eq!(shown["history"], "lost");
}
