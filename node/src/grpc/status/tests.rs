//! The composition of a status as tables: what is known of each leg, and what follows from it.

use super::{Delivery, HomeLeg, Reports, compose};
use crate::view::{HomeStatus, Route};
use skerry_proto::v1::{self, Outcome, Stage};
use skerry_types::amount::Amount;
use skerry_types::block::BlockRef;
use skerry_types::codec::Version;
use skerry_types::ids::{Address, ChainRef, Digest, Gas, Height, ModuleId, Sequence, ShardId};
use skerry_types::message::MessageId;
use skerry_types::receipt::{Event, Failure, Receipt, Status, Subject};

use Outcome as O;
use Stage as S;

const BEACON: ChainRef = ChainRef::Beacon;

fn shard(bits: u16) -> ChainRef {
    ChainRef::Shard(ShardId::new(2, bits).unwrap())
}

fn home() -> ChainRef {
    shard(0)
}

/// A message on its way: where it goes, and what is known of it there. Written as two characters: `b`
/// for the beacon or the number of a shard, of which 0 is home, then what is known.
#[derive(Clone, Copy, Debug)]
struct Hop {
    to: ChainRef,
    known: Known,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    /// `.`
    Waits,
    /// `?`: the chain is not followed, and the beacon shows nothing of it.
    Unseen,
    /// `a`: the chain is not followed, and the beacon shows that it was executed.
    Attested,
    /// `+`
    Succeeded,
    /// `-`
    Failed,
    /// `!`
    Dropped,
    /// `c`: its value waits as a claim.
    Claimed,
}

fn chain_of(char: char) -> ChainRef {
    match char {
        'b' => BEACON,
        digit => shard(digit.to_digit(4).unwrap().try_into().unwrap()),
    }
}

fn way_of(text: &str) -> Vec<Hop> {
    let hop = |word: &str| {
        let (to, known) = word.split_at(1);
        Hop {
            to: chain_of(to.parse().unwrap()),
            known: match known {
                "." => Known::Waits,
                "?" => Known::Unseen,
                "a" => Known::Attested,
                "+" => Known::Succeeded,
                "-" => Known::Failed,
                "!" => Known::Dropped,
                "c" => Known::Claimed,
                other => panic!("{other} in {text}"),
            },
        }
    };
    text.split(' ').map(hop).collect()
}

/// The receipt's status, where it was executed and is followed.
fn executed(known: Known) -> Option<Status> {
    let failure = Failure {
        module: ModuleId::new(8),
        code: "X".to_owned(),
        detail: String::new(),
    };
    match known {
        Known::Waits | Known::Unseen | Known::Attested => None,
        Known::Succeeded => Some(Status::Succeeded),
        Known::Failed => Some(Status::Failed(failure)),
        Known::Dropped => Some(Status::Dropped(failure)),
        Known::Claimed => Some(Status::Claimed(failure)),
    }
}

fn receipt(status: Status, messages: Vec<MessageId>) -> Receipt {
    Receipt {
        version: Version,
        subject: Subject::Transaction(Digest::ZERO),
        status,
        gas: Gas::new(3),
        fee: Amount::new(30),
        messages,
        events: Vec::new(),
    }
}

fn block() -> BlockRef {
    BlockRef {
        height: Height::new(4),
        digest: Digest::ZERO,
    }
}

fn delivery(known: Known, sends: Option<MessageId>) -> Delivery {
    match (known, executed(known)) {
        (Known::Unseen, _) => Delivery::Unattested,
        (Known::Attested, _) => Delivery::Attested,
        (_, None) => Delivery::Waiting,
        (_, Some(status)) => Delivery::Executed {
            block: block(),
            receipt: Box::new(receipt(status, sends.into_iter().collect())),
        },
    }
}

/// The status of a transaction whose home block is final, and the ids of its messages. With a route
/// the messages follow from each other; without one all left home.
fn composed(
    route: &Route,
    way: &[Hop],
    is_answered: bool,
) -> (v1::TransactionStatus, Vec<MessageId>) {
    let mut source = home();
    let mut ids = Vec::new();
    for (position, hop) in (10..).zip(way) {
        ids.push(MessageId {
            source,
            destination: hop.to,
            sequence: Sequence::new(position),
        });
        if route.is_remote() {
            source = hop.to;
        }
    }
    let left = if route.is_remote() {
        ids.first().copied().into_iter().collect()
    } else {
        ids.clone()
    };
    let known = |id: &MessageId| {
        let position = ids.iter().position(|it| it == id).expect("it was sent");
        let sends = ids.get(position + 1).filter(|_| route.is_remote());
        delivery(way[position].known, sends.copied())
    };
    let answered = |request: &MessageId| {
        assert_eq!(Some(request), ids.first());
        is_answered
    };
    let status = HomeStatus::Final {
        height: block().height,
        receipt: receipt(Status::Succeeded, left),
    };
    let leg = HomeLeg {
        chain: home(),
        status: &status,
        block: Some(block()),
        route,
    };
    let reports = Reports {
        delivery: &known,
        is_answered: &answered,
    };
    (compose(&leg, &reports), ids)
}

/// A leg in a line: kind, chain, stage, outcome; a question mark where its chain is not followed.
fn line(leg: &v1::Leg) -> String {
    let unknown = if leg.not_followed { " ?" } else { "" };
    let (kind, stage, outcome) = (leg.kind().name(), leg.stage().name(), leg.outcome().name());
    format!("{kind} {} {stage} {outcome}{unknown}", leg.chain)
}

/// What the leg of a message is to say.
fn expected_line(route: &Route, hop: Hop) -> String {
    let kind = match (route.is_remote(), hop.to == home()) {
        (false, _) => "TRANSFER",
        (true, false) => "REQUEST",
        (true, true) => "REPLY",
    };
    let done = if kind == "REQUEST" {
        "EXECUTED_REMOTELY"
    } else {
        "RETURNED"
    };
    let says = match hop.known {
        Known::Waits => "FINALIZED PENDING".to_owned(),
        Known::Unseen => "FINALIZED PENDING ?".to_owned(),
        Known::Attested if kind == "REQUEST" => format!("{done} UNSPECIFIED ?"),
        Known::Attested => format!("{done} SUCCEEDED ?"),
        Known::Succeeded => format!("{done} SUCCEEDED"),
        Known::Failed => format!("{done} FAILED"),
        Known::Dropped => "RETURNED FAILED".to_owned(),
        Known::Claimed => format!("{done} PARTIAL"),
    };
    format!("{kind} {} {says}", hop.to)
}

/// Compares the status of a transaction with what it should be, and each leg with what is known of its
/// message.
fn check(name: &str, route: &Route, way: &str, is_answered: bool, expected: (Stage, Outcome)) {
    let way = way_of(way);
    let (status, ids) = composed(route, &way, is_answered);
    let home = "HOME shard-0/2 RETURNED SUCCEEDED".to_owned();
    let legs = way.iter().map(|hop| expected_line(route, *hop));
    let expected_legs: Vec<String> = std::iter::once(home).chain(legs).collect();
    let legs: Vec<String> = status.legs.iter().map(line).collect();
    assert_eq!(legs, expected_legs, "{name}");
    assert_eq!((status.stage(), status.outcome()), expected, "{name}");
    for ((leg, id), hop) in status.legs.iter().skip(1).zip(&ids).zip(&way) {
        assert_eq!(leg.message, Some(id.into()), "{name}");
        let status = executed(hop.known);
        assert_eq!(leg.block.is_some(), status.is_some(), "{name}");
        assert_eq!(leg.gas, if status.is_some() { 3 } else { 0 }, "{name}");
        let fails = status.is_some_and(|status| status != Status::Succeeded);
        assert_eq!(leg.failure.is_some(), fails, "{name}");
    }
    let chains: Vec<String> = route.chains.iter().map(ToString::to_string).collect();
    assert_eq!(status.route, chains, "{name}");
}

#[test]
fn before_anything_left_the_home_leg_is_all() {
    let failure = || Failure {
        module: ModuleId::new(2),
        code: "X".to_owned(),
        detail: String::new(),
    };
    let finished = |status| HomeStatus::Final {
        height: block().height,
        receipt: receipt(status, Vec::new()),
    };
    for (status, stage, outcome, leg) in [
        (
            HomeStatus::Received,
            S::Received,
            O::Pending,
            "HOME shard-0/2 RECEIVED PENDING",
        ),
        (
            HomeStatus::Included { block: block() },
            S::Included,
            O::Pending,
            "HOME shard-0/2 INCLUDED PENDING",
        ),
        (
            finished(Status::Succeeded),
            S::Returned,
            O::Succeeded,
            "HOME shard-0/2 RETURNED SUCCEEDED",
        ),
        (
            finished(Status::Failed(failure())),
            S::Returned,
            O::Failed,
            "HOME shard-0/2 RETURNED FAILED",
        ),
        (
            finished(Status::Void(failure())),
            S::Returned,
            O::Void,
            "HOME shard-0/2 RETURNED VOID",
        ),
    ] {
        let leg_at_home = HomeLeg {
            chain: home(),
            status: &status,
            block: None,
            route: &Route::default(),
        };
        let reports = Reports {
            delivery: &|message| panic!("{message} was never sent"),
            is_answered: &|request| panic!("{request} was never sent"),
        };
        let composed = compose(&leg_at_home, &reports);
        let lines: Vec<String> = composed.legs.iter().map(line).collect();
        assert_eq!(lines, [leg], "{status:?}");
        assert_eq!((composed.stage(), composed.outcome()), (stage, outcome));
    }
}

#[test]
fn value_for_others_is_done_when_the_last_of_it_is_there() {
    for (name, way, stage, outcome) in [
        ("on its way", "1.", S::Finalized, O::Pending),
        ("credited", "1+", S::Returned, O::Succeeded),
        ("a claim", "1c", S::Returned, O::Partial),
        ("dropped", "1!", S::Returned, O::Partial),
        ("unseen", "1?", S::Finalized, O::Pending),
        ("attested", "1a", S::Returned, O::Succeeded),
        ("one of two", "1+ 2.", S::Finalized, O::Pending),
        ("one of two attested", "1a 2?", S::Finalized, O::Pending),
        ("two to one shard", "1+ 1.", S::Finalized, O::Pending),
        ("both", "1+ 2+", S::Returned, O::Succeeded),
        ("both, one attested", "1+ 2a", S::Returned, O::Succeeded),
        ("both, one a claim", "1+ 2c", S::Returned, O::Partial),
        ("both, one dropped", "1! 2+", S::Returned, O::Partial),
        ("both dropped", "1! 2!", S::Returned, O::Partial),
        (
            "one dropped, one on its way",
            "1! 2.",
            S::Finalized,
            O::Pending,
        ),
    ] {
        check(name, &Route::default(), way, false, (stage, outcome));
    }
}

#[test]
fn a_bundle_elsewhere_is_followed_from_chain_to_chain_and_home() {
    use Attached::{Nothing, Something};
    for (name, route, attached, way, stage, outcome) in [
        // To one chain and back: the beacon, a shard.
        ("sent", "b", Something, "b.", S::Finalized, O::Pending),
        (
            "sent to a shard",
            "1",
            Nothing,
            "1.",
            S::Finalized,
            O::Pending,
        ),
        (
            "ran",
            "b",
            Nothing,
            "b+ 0.",
            S::ExecutedRemotely,
            O::Pending,
        ),
        (
            "refused",
            "1",
            Something,
            "1- 0.",
            S::ExecutedRemotely,
            O::Pending,
        ),
        ("done", "b", Nothing, "b+ 0+", S::Returned, O::Succeeded),
        (
            "done on a shard",
            "1",
            Something,
            "1+ 0+",
            S::Returned,
            O::Succeeded,
        ),
        (
            "refunded",
            "1",
            Something,
            "1- 0+",
            S::Returned,
            O::Refunded,
        ),
        (
            "nothing to refund",
            "b",
            Nothing,
            "b- 0+",
            S::Returned,
            O::Failed,
        ),
        (
            "proceeds as a claim",
            "1",
            Something,
            "1+ 0c",
            S::Returned,
            O::Partial,
        ),
        (
            "refund as a claim",
            "1",
            Something,
            "1- 0c",
            S::Returned,
            O::Partial,
        ),
        (
            "reply dropped",
            "1",
            Something,
            "1+ 0!",
            S::Returned,
            O::Partial,
        ),
        (
            "dropped with assets",
            "1",
            Something,
            "1!",
            S::Returned,
            O::Partial,
        ),
        (
            "dropped without",
            "b",
            Nothing,
            "b!",
            S::Returned,
            O::Failed,
        ),
        // Over two, three and four chains, at each stage.
        (
            "first of two waits",
            "12",
            Something,
            "1.",
            S::Finalized,
            O::Pending,
        ),
        (
            "second of two waits",
            "12",
            Something,
            "1+ 2.",
            S::Finalized,
            O::Pending,
        ),
        (
            "two ran",
            "12",
            Something,
            "1+ 2+ 0.",
            S::ExecutedRemotely,
            O::Pending,
        ),
        (
            "two done",
            "12",
            Something,
            "1+ 2+ 0+",
            S::Returned,
            O::Succeeded,
        ),
        (
            "third waits",
            "1b2",
            Something,
            "1+ b+ 2.",
            S::Finalized,
            O::Pending,
        ),
        (
            "three done",
            "1b2",
            Something,
            "1+ b+ 2+ 0+",
            S::Returned,
            O::Succeeded,
        ),
        (
            "there and back again",
            "121",
            Something,
            "1+ 2+ 1+ 0+",
            S::Returned,
            O::Succeeded,
        ),
        (
            "fourth waits",
            "123b",
            Something,
            "1+ 2+ 3+ b.",
            S::Finalized,
            O::Pending,
        ),
        (
            "four ran",
            "123b",
            Something,
            "1+ 2+ 3+ b+ 0.",
            S::ExecutedRemotely,
            O::Pending,
        ),
        (
            "four done",
            "123b",
            Something,
            "1+ 2+ 3+ b+ 0+",
            S::Returned,
            O::Succeeded,
        ),
        // Routes that ended before their end.
        (
            "first of two refused",
            "12",
            Something,
            "1- 0+",
            S::Returned,
            O::Refunded,
        ),
        (
            "first of two, nothing attached",
            "12",
            Nothing,
            "1- 0+",
            S::Returned,
            O::Failed,
        ),
        (
            "second refused, on the way",
            "12",
            Something,
            "1+ 2- 0.",
            S::ExecutedRemotely,
            O::Pending,
        ),
        (
            "second refused",
            "12",
            Something,
            "1+ 2- 0+",
            S::Returned,
            O::Partial,
        ),
        (
            "second refused, nothing attached",
            "12",
            Nothing,
            "1+ 2- 0+",
            S::Returned,
            O::Partial,
        ),
        (
            "fourth refused",
            "123b",
            Something,
            "1+ 2+ 3+ b- 0+",
            S::Returned,
            O::Partial,
        ),
        (
            "went no further, on the way",
            "12",
            Something,
            "1+ 0.",
            S::ExecutedRemotely,
            O::Pending,
        ),
        (
            "went no further",
            "12",
            Something,
            "1+ 0+",
            S::Returned,
            O::Partial,
        ),
        (
            "went no further than two",
            "123",
            Something,
            "1+ 2+ 0+",
            S::Returned,
            O::Partial,
        ),
        (
            "second dropped",
            "12",
            Something,
            "1+ 2!",
            S::Returned,
            O::Partial,
        ),
        (
            "midway, and a claim at home",
            "12",
            Something,
            "1+ 2- 0c",
            S::Returned,
            O::Partial,
        ),
    ] {
        check(
            name,
            &route_of(route, attached),
            way,
            false,
            (stage, outcome),
        );
    }
}

/// What happens on a chain that is not followed is not known here, but that the reply has come home is.
#[test]
fn what_is_not_followed_is_not_told() {
    let unknown = (S::Returned, O::Unspecified);
    for (name, route, way, is_answered, expected) in [
        ("unseen", "1", "1?", false, (S::Finalized, O::Pending)),
        (
            "attested",
            "1",
            "1a",
            false,
            (S::ExecutedRemotely, O::Pending),
        ),
        // Where it went from there is not known.
        (
            "first of two",
            "12",
            "1a",
            false,
            (S::Finalized, O::Pending),
        ),
        (
            "second unseen",
            "12",
            "1+ 2?",
            false,
            (S::Finalized, O::Pending),
        ),
        (
            "second attested",
            "12",
            "1+ 2a",
            false,
            (S::ExecutedRemotely, O::Pending),
        ),
        ("attested and answered", "1", "1a", true, unknown),
        ("answered before the cross-link", "1", "1?", true, unknown),
        ("two, answered", "12", "1a", true, unknown),
        ("second, answered", "12", "1+ 2a", true, unknown),
    ] {
        check(
            name,
            &route_of(route, Attached::Something),
            way,
            is_answered,
            expected,
        );
    }
}

enum Attached {
    Nothing,
    Something,
}

fn route_of(chains: &str, attached: Attached) -> Route {
    Route {
        chains: chains.chars().map(chain_of).collect(),
        attaches: matches!(attached, Attached::Something),
    }
}

/// A chain that sends a request on for ever is not followed for ever.
#[test]
fn a_request_that_travels_on_too_often_is_given_up() {
    let route = route_of("1212", Attached::Something);
    let way = way_of("1+ 2+ 1+ 2+ 1+ 2+ 1+ 2+");
    let (status, _) = composed(&route, &way, false);
    assert_eq!(status.legs.len(), 5);
    assert_eq!(
        (status.stage(), status.outcome()),
        (S::Returned, O::Unspecified)
    );
}

#[test]
fn what_modules_told_of_a_message_is_in_its_leg() {
    let event = Event {
        module: ModuleId::new(2),
        owner: Address::new([3; 32]),
        name: "transfer".into(),
        attributes: Vec::new(),
    };
    let message = MessageId {
        source: home(),
        destination: shard(1),
        sequence: Sequence::new(7),
    };
    let told = Receipt {
        events: vec![event.clone()],
        ..receipt(Status::Succeeded, Vec::new())
    };
    let status = HomeStatus::Final {
        height: block().height,
        receipt: Receipt {
            events: vec![event.clone()],
            ..receipt(Status::Succeeded, vec![message])
        },
    };
    let leg = HomeLeg {
        chain: home(),
        status: &status,
        block: Some(block()),
        route: &Route::default(),
    };
    let reports = Reports {
        delivery: &|_| Delivery::Executed {
            block: block(),
            receipt: Box::new(told.clone()),
        },
        is_answered: &|_| false,
    };
    let events: Vec<_> = compose(&leg, &reports)
        .legs
        .into_iter()
        .map(|leg| leg.events)
        .collect();
    assert_eq!(events, [Vec::new(), vec![v1::Event::from(&event)]]);
}
