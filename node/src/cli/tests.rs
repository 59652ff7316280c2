//! The command line: options as documented, the envelope, exit codes, and what commands that need
//! no node do.

use super::args::{Cli, Command, KeysCommand, PassphraseSource, QueryCommand, TxCommand, WaitFor};
use super::output::{CliError, Exit, Output, envelope, explain};
use super::{keys, tx};
use clap::{CommandFactory as _, Parser as _};
use serde_json::json;
use skerry_proto::v1::{self, Outcome, Stage};
use skerry_sdk::keys::{AccountKey, KeyError, KeyFile, Protection};
use skerry_types::amount::Asset;
use skerry_types::ids::{Address, Denom, Digest};
use std::time::Duration;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(std::iter::once("skerry").chain(line.split_whitespace()))
}

fn address() -> Address {
    AccountKey::from_seed([7; 32]).address()
}

#[test]
fn the_definitions_are_sound() {
    Cli::command().debug_assert();
}

#[test]
fn the_documented_lines_are_understood() {
    let hash = Digest::ZERO;
    let to = address();
    let lines = [
        "keys new --out k.json".to_owned(),
        "keys list --dir . --json".to_owned(),
        format!(
            "tx send --rpc http://h:1 --key-file k --to {to} --amount 5sker --wait-for returned --json"
        ),
        format!("tx send --key-file k --to {to} --amount 5000000000nsker --timeout 5s"),
        format!("tx send --key-file k --to {to} --amount 5sker --dry-run --json"),
        format!("tx wait {hash} --wait-for executed-remotely"),
        format!("tx status {hash}"),
        format!("tx trace {hash} --json"),
        format!("tx trace {hash} --wait --timeout 2m --rpc http://h:1"),
        "tx token create --key-file k --name Gold --symbol GLD --supply 100".to_owned(),
        format!(
            "tx pool create --key-file k --asset 5sker --asset 10:{denom} --fee-ppm 500",
            denom = Denom::created(&to, "Gold")
        ),
        format!("tx pool add --key-file k --pool {to} --maximum 1sker --maximum 1stsker"),
        format!("tx pool remove --key-file k --pool {to} --shares 20 --slippage 1"),
        format!("tx swap --key-file k --pool {to} --input 1sker --slippage 0.25"),
        format!("tx swap --key-file k --pool {to},{to} --input 1sker --min-output 1stsker"),
        format!("tx swap --key-file k --pool {to} --output 1stsker --max-input 2sker --json"),
        format!("query pool {to}"),
        format!("query quote --pool {to} --output 5stsker --json"),
        format!("query account {to} --rpc http://h:1 --json"),
        format!("query account {to} --verify --trust genesis.json"),
        format!("query account {to} --verify --trust genesis.json --checkpoint 41:{hash}"),
        "keys votes import --key k --in e --never-ran-elsewhere".to_owned(),
        "query block shard-0/1 12".to_owned(),
        "bench transfers --threads 2 --accounts 1000000 --json".to_owned(),
        "bench transfers-skewed --skew 1.4 --blocks 50 --block-transactions 10000".to_owned(),
        "bench one-pool --seed 7".to_owned(),
        "bench pools --threads 16 --json".to_owned(),
        "query shard".to_owned(),
        "genesis new --shards 2 --validators 8 --host-template v{i} --out net".to_owned(),
        "genesis new --shards 1 --validators 4 --seats 3,3,2,1 --out net --port-base 20000"
            .to_owned(),
        "genesis hash genesis.json".to_owned(),
        "node start --home h --data-dir d --genesis g".to_owned(),
        "node status --ready --http http://127.0.0.1:9464".to_owned(),
        "devnet up --shards 2 --validators 8 --port-base 50051 --data-dir d --json".to_owned(),
        format!("devnet faucet {to}"),
        "faucet serve --rpc http://rpc:50051 --key-file key.json --listen 0.0.0.0:8081".to_owned(),
        "db verify a b c".to_owned(),
    ];
    for line in lines {
        if let Err(error) = parse(&line) {
            panic!("{line}: {error}");
        }
    }
}

#[test]
fn amounts_stages_and_times_are_read_exactly() {
    let line = format!(
        "tx send --key-file k --to {} --amount 0.5sker --timeout 2m",
        address()
    );
    let Command::Tx(TxCommand::Send {
        to,
        amount,
        sending,
    }) = parse(&line).unwrap().command
    else {
        panic!("not a transfer");
    };
    assert_eq!((to, amount), (address(), Asset::nsker(500_000_000)));
    assert_eq!(sending.waiting.timeout, Duration::from_secs(120));
    assert_eq!(sending.waiting.wait_for, WaitFor::Returned);
}

#[test]
fn mistakes_are_refused_before_anything_happens() {
    let to = address();
    for line in [
        "tx send --key-file k --to nobody --amount 5sker".to_owned(),
        format!("tx send --key-file k --to {to} --amount 5"),
        format!("tx send --key-file k --to {to} --amount 5sker --dry-run --gas-price 7"),
        format!("tx send --key-file k --to {to} --amount 0.0000000001sker"),
        format!("tx send --key-file k --to {to} --amount 5sker --wait-for final"),
        format!("tx send --key-file k --to {to} --amount 5sker --timeout soon"),
        format!("tx trace {hash} --timeout 2m", hash = Digest::ZERO),
        format!("query account {to} --verify"),
        format!("query account {to} --trust genesis.json"),
        format!(
            "query account {to} --checkpoint 41:{hash}",
            hash = Digest::ZERO
        ),
        format!("query quote --pool {to}"),
        format!("query quote --pool {to} --input 1sker --output 1stsker"),
        "query quote --input 1sker".to_owned(),
        format!("tx swap --key-file k --pool {to} --output 1sker --min-output 1stsker"),
        format!("tx swap --key-file k --pool {to} --input 1sker --max-input 1sker"),
        format!("tx swap --key-file k --pool {to} --input 1sker --min-output 1stsker --slippage 1"),
        format!("tx swap --key-file k --pool {to} --input 1sker --slippage 101"),
        "tx pool create --key-file k --fee-ppm 500".to_owned(),
        "query block shard-2/1".to_owned(),
        "bench transfers --threads 0".to_owned(),
        "bench transfers --accounts 1".to_owned(),
        "bench transfers --skew 1.1".to_owned(),
        "bench transfers-skewed --skew 4.5".to_owned(),
        "bench one-pool --blocks 0".to_owned(),
        "bench pools --block-transactions 20001".to_owned(),
        "db verify".to_owned(),
        "keys new".to_owned(),
    ] {
        assert!(parse(&line).is_err(), "{line}");
    }
}

#[test]
fn the_envelope_has_a_version_data_and_errors() {
    let good = envelope(&Ok(
        Output::new(json!({"hash": "0x1"}), "text").warn("careful")
    ));
    assert_eq!(
        good,
        json!({"schema_version": 1, "success": true, "data": {"hash": "0x1"},
            "warnings": ["careful"], "errors": []})
    );
    let error = CliError::new(Exit::Unreachable, "UNREACHABLE", "nobody answers")
        .why("refused")
        .next("start a node")
        .detail("url", "http://x");
    assert_eq!(
        explain(&error),
        "error[UNREACHABLE]: nobody answers\n  why   refused\n  next  start a node"
    );
    let bad = envelope(&Err(error));
    assert_eq!(bad["success"], json!(false));
    assert_eq!(
        bad["errors"],
        json!([{"code": "UNREACHABLE", "message": "nobody answers: refused",
            "hint": "start a node", "retryable": true, "details": {"url": "http://x"}}])
    );
}

#[test]
fn a_status_has_the_names_that_others_build_on() {
    let status = v1::TransactionStatus {
        hash: Digest::ZERO.to_string(),
        stage: Stage::Returned.into(),
        outcome: Outcome::Succeeded.into(),
        legs: vec![v1::Leg {
            kind: v1::LegKind::Home.into(),
            ..Default::default()
        }],
        fee: "10".to_owned(),
        ..Default::default()
    };
    let data = tx::status_json(&status);
    assert_eq!(data["hash"], json!(Digest::ZERO));
    assert_eq!(
        (&data["stage"], &data["outcome"]),
        (&json!("RETURNED"), &json!("SUCCEEDED"))
    );
    assert_eq!(data["legs"][0]["kind"], json!("HOME"));
}

#[test]
fn what_went_wrong_elsewhere_names_its_reason_and_the_trace() {
    let leg = |chain: &str, events: Vec<v1::Event>| v1::Leg {
        chain: chain.to_owned(),
        events,
        ..Default::default()
    };
    let ended = |reason: &str| v1::Event {
        name: "route_ended".to_owned(),
        attributes: vec![v1::Attribute {
            key: "reason".to_owned(),
            value: reason.to_owned(),
        }],
        ..Default::default()
    };
    let home = || leg("shard-0/1", Vec::new());
    let midway = [
        home(),
        leg("shard-1/1", vec![ended("CONGESTED")]),
        leg("shard-0/1", vec![ended("PARTIAL")]),
    ];
    for (legs, failure, next) in [
        (vec![home()], None, "skerry query tx 0x11 --rpc http://h:1"),
        (
            midway.to_vec(),
            Some("CONGESTED"),
            "skerry tx trace 0x11 --rpc http://h:1",
        ),
    ] {
        let status = v1::TransactionStatus {
            hash: "0x11".to_owned(),
            stage: Stage::Returned.into(),
            outcome: Outcome::Partial.into(),
            legs,
            ..Default::default()
        };
        let rpc = super::args::Rpc {
            rpc: "http://h:1".to_owned(),
        };
        let shown = envelope(&Err(tx::failed(&status, &rpc)));
        let error = &shown["errors"][0];
        assert_eq!(error["details"]["failure"], json!(failure));
        assert_eq!(error["hint"], json!(next));
    }
}

#[test]
fn each_kind_of_error_has_its_exit_code() {
    let wrong_network = KeyError::DevelopmentKey {
        made_for: Digest::new([1; 32]),
        used_on: Digest::new([2; 32]),
    };
    assert_eq!(CliError::from(wrong_network).exit(), Exit::Safety);
    assert_eq!(CliError::from(KeyError::Passphrase).exit(), Exit::Key);
    let url = skerry_sdk::client::Client::new("ftp://x").unwrap_err();
    assert_eq!(CliError::from(url).exit(), Exit::Usage);
}

#[tokio::test]
async fn a_node_that_does_not_answer_is_unreachable() {
    let query = QueryCommand::Node {
        rpc: super::args::Rpc {
            rpc: "http://127.0.0.1:1".to_owned(),
        },
    };
    let error = super::query::run(query).await.unwrap_err();
    assert_eq!(
        (error.exit(), error.code()),
        (Exit::Unreachable, "UNREACHABLE")
    );
}

#[test]
fn development_keys_open_without_asking_and_secrets_need_consent() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key.json");
    let key = AccountKey::from_seed([7; 32]);
    KeyFile::seal(&key, Protection::Development(Digest::ZERO))
        .unwrap()
        .write(&path)
        .unwrap();
    let file = KeyFile::read(&path).unwrap();
    let opened = keys::open(&file, &PassphraseSource::default(), true).unwrap();
    assert_eq!(opened.address(), address());
    let export = |yes| {
        let passphrase = PassphraseSource::default();
        keys::run(
            KeysCommand::Export {
                key_file: path.clone(),
                yes,
                passphrase,
            },
            true,
        )
    };
    assert_eq!(export(false).unwrap_err().exit(), Exit::Safety);
    let shown = envelope(&export(true));
    assert_eq!(shown["data"]["secret"], json!("07".repeat(32)));
    let listed = keys::run(
        KeysCommand::List {
            dir: folder.path().to_owned(),
        },
        true,
    );
    assert_eq!(envelope(&listed)["data"][0]["address"], json!(address()));
}

#[test]
fn an_encrypted_key_is_not_asked_for_under_json() {
    let folder = tempfile::tempdir().unwrap();
    let (out, secret) = (
        folder.path().join("key.json"),
        folder.path().join("passphrase"),
    );
    std::fs::write(&secret, "open sesame\n").unwrap();
    let passphrase = PassphraseSource {
        passphrase_file: Some(secret),
    };
    let new = KeysCommand::New {
        out: out.clone(),
        development: None,
        passphrase: passphrase.clone(),
    };
    keys::run(new, true).unwrap();
    let file = KeyFile::read(&out).unwrap();
    let error = keys::open(&file, &PassphraseSource::default(), true).unwrap_err();
    assert_eq!(
        (error.exit(), error.code()),
        (Exit::Key, "PASSPHRASE_MISSING")
    );
    assert_eq!(
        keys::open(&file, &passphrase, true).unwrap().address(),
        file.address()
    );
}
