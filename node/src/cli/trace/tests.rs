//! What a trace shows, as text and as JSON, of statuses as nodes give them.

use super::{Output, Trace};
use crate::cli::output::envelope;
use serde_json::json;
use skerry_proto::v1::{self, LegKind, Outcome, Stage};

fn id(source: &str, destination: &str, sequence: u64) -> v1::MessageId {
    v1::MessageId {
        source: source.to_owned(),
        destination: destination.to_owned(),
        sequence,
    }
}

/// A leg that was executed at a height; by no message it is that at home.
fn leg(
    kind: LegKind,
    message: Option<v1::MessageId>,
    height: u64,
    (stage, outcome): (Stage, Outcome),
) -> v1::Leg {
    let chain = message.as_ref().map(|id| id.destination.clone());
    v1::Leg {
        kind: kind.into(),
        chain: chain.unwrap_or_else(|| "shard-0/1".to_owned()),
        message,
        stage: stage.into(),
        outcome: outcome.into(),
        block: (height > 0).then(|| v1::BlockRef {
            height,
            digest: "0xab".to_owned(),
        }),
        gas: if height > 0 { 7_000 } else { 0 },
        ..Default::default()
    }
}

fn home() -> v1::Leg {
    let done = (Stage::Returned, Outcome::Succeeded);
    leg(LegKind::Home, None, 12, done)
}

fn transfer_of(amount: &str, owner: &str) -> v1::Event {
    let attribute = |key: &str, value: &str| v1::Attribute {
        key: key.to_owned(),
        value: value.to_owned(),
    };
    v1::Event {
        module: 2,
        owner: owner.to_owned(),
        name: "transfer".to_owned(),
        attributes: vec![
            attribute("sender", "sk1me"),
            attribute("denom", "sker"),
            attribute("amount", amount),
        ],
    }
}

fn trace(stage: Stage, outcome: Outcome, route: &[&str], legs: Vec<v1::Leg>) -> Trace {
    let times = legs.iter().map(|leg| {
        let height = leg.block.as_ref()?.height;
        Some(1_000 + height * 100)
    });
    Trace {
        times: times.collect(),
        status: v1::TransactionStatus {
            hash: "0x11".to_owned(),
            stage: stage.into(),
            outcome: outcome.into(),
            legs,
            fee: "1000000000".to_owned(),
            route: route.iter().map(ToString::to_string).collect(),
            ..Default::default()
        },
        transaction: Some(v1::Transaction {
            sender: "sk1me".to_owned(),
            assets: vec![v1::Asset {
                denom: "sker".to_owned(),
                amount: "5000000000".to_owned(),
            }],
            ..Default::default()
        }),
    }
}

#[test]
fn a_route_is_a_tree_with_what_came_home() {
    let executed = (Stage::ExecutedRemotely, Outcome::Succeeded);
    let mut first = leg(
        LegKind::Request,
        Some(id("shard-0/1", "shard-1/1", 4)),
        30,
        executed,
    );
    first.events = vec![v1::Event {
        module: 10,
        name: "swap".to_owned(),
        ..Default::default()
    }];
    let mut second = leg(
        LegKind::Request,
        Some(id("shard-1/1", "beacon", 9)),
        20,
        (Stage::ExecutedRemotely, Outcome::Failed),
    );
    second.failure = Some(v1::Failure {
        module: 8,
        code: "BOND_TOO_LOW".to_owned(),
        detail: "it is 1 sker".to_owned(),
    });
    let mut reply = leg(
        LegKind::Reply,
        Some(id("beacon", "shard-0/1", 2)),
        26,
        (Stage::Returned, Outcome::Succeeded),
    );
    reply.events = vec![transfer_of("4500000000", "sk1me")];
    let legs = vec![home(), first, second, reply];
    let trace = trace(
        Stage::Returned,
        Outcome::Partial,
        &["shard-1/1", "beacon"],
        legs,
    );
    assert_eq!(
        trace.text(),
        "0x11  RETURNED  PARTIAL
  from  sk1me
  gave  5sker
  route shard-1/1, beacon
  fee   1sker
home      shard-0/1  height 12  SUCCEEDED  gas 7000
└─ request   shard-0/1>shard-1/1#4  height 30  SUCCEEDED  gas 7000  +1.800 s
   │  dex swap
   └─ request   shard-1/1>beacon#9  height 20  FAILED  gas 7000  +0.800 s
      │  BOND_TOO_LOW: it is 1 sker
      └─ reply     beacon>shard-0/1#2  height 26  SUCCEEDED  gas 7000  +1.400 s
            came home 4.5sker"
    );
    let data = trace.json();
    assert_eq!(data["sender"], json!("sk1me"));
    assert_eq!(data["route"], json!(["shard-1/1", "beacon"]));
    assert_eq!(data["ahead"], json!([]));
    let last = &data["legs"][3];
    assert_eq!(last["id"], json!("beacon>shard-0/1#2"));
    assert_eq!(
        (&last["depth"], &last["after_ms"]),
        (&json!(3), &json!(1_400))
    );
    assert_eq!(
        last["credited"],
        json!([{"denom": "sker", "amount": "4500000000", "owner": "sk1me"}])
    );
    assert_eq!(data["legs"][1]["events"][0]["module_name"], json!("dex"));
    assert_eq!(data["legs"][2]["failure"]["code"], json!("BOND_TOO_LOW"));
}

#[test]
fn transfers_hang_side_by_side_and_what_is_not_there_is_said() {
    let mut credited = leg(
        LegKind::Transfer,
        Some(id("shard-0/2", "shard-1/2", 0)),
        30,
        (Stage::Returned, Outcome::Succeeded),
    );
    credited.events = vec![transfer_of("1", "sk1you")];
    let mut unseen = leg(
        LegKind::Transfer,
        Some(id("shard-0/2", "shard-2/2", 0)),
        0,
        (Stage::Finalized, Outcome::Pending),
    );
    unseen.not_followed = true;
    let legs = vec![home(), credited, unseen];
    let trace = trace(Stage::Finalized, Outcome::Pending, &[], legs);
    let text = trace.text();
    let tree = text.split_once("home ").unwrap().1;
    assert_eq!(
        tree,
        "     shard-0/1  height 12  SUCCEEDED  gas 7000
├─ transfer  shard-0/2>shard-1/2#0  height 30  SUCCEEDED  gas 7000  +1.800 s
│     credited 0.000000001sker to sk1you
└─ transfer  shard-0/2>shard-2/2#0  on its way"
    );
    let shown = envelope(&Ok::<Output, _>(trace.output()));
    let warnings = shown["warnings"].as_array().unwrap();
    assert_eq!(warnings.len(), 1);
    let warning = warnings[0].as_str().unwrap();
    assert!(warning.contains("does not follow shard-2/2"), "{warning}");
    assert!(warning.contains("skerry tx trace 0x11 --rpc"), "{warning}");
    assert_eq!(shown["data"]["not_followed"], json!(["shard-2/2"]));
}

#[test]
fn what_is_still_ahead_is_shown_until_the_route_has_ended() {
    let request = |stage, outcome| {
        let message = Some(id("shard-0/1", "shard-1/1", 4));
        let height = if stage == Stage::Finalized { 0 } else { 30 };
        leg(LegKind::Request, message, height, (stage, outcome))
    };
    let route = ["shard-1/1", "beacon"];
    let ahead = |request: v1::Leg, stage, outcome| {
        let trace = trace(stage, outcome, &route, vec![home(), request]);
        let shown = trace
            .text()
            .contains("then  beacon, where nothing was sent yet");
        assert_eq!(shown, !trace.ahead().is_empty());
        trace.ahead().to_vec()
    };
    let waits = request(Stage::Finalized, Outcome::Pending);
    assert_eq!(ahead(waits, Stage::Finalized, Outcome::Pending), ["beacon"]);
    let refused = request(Stage::ExecutedRemotely, Outcome::Failed);
    assert!(ahead(refused, Stage::ExecutedRemotely, Outcome::Pending).is_empty());
    let unknown = request(Stage::ExecutedRemotely, Outcome::Unspecified);
    assert!(ahead(unknown, Stage::Returned, Outcome::Unspecified).is_empty());
}
