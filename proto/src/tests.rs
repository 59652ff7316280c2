//! The API does not change by accident: its shape is compared with the committed snapshot, and
//! every conversion keeps what it converts.

use crate::{FILE_DESCRIPTOR_SET, convert, v1};
use prost::Message as _;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FileDescriptorSet};
use skerry_types::amount::{Amount, Asset};
use skerry_types::ids::{Address, ChainRef, Denom, Digest, ModuleId, Sequence, ShardId};
use skerry_types::message::MessageId;
use skerry_types::receipt::{Attribute, Event};
use std::fmt::Write as _;

const SNAPSHOT: &str = include_str!("../proto/skerry.v1.txt");

fn describe(out: &mut String, message: &DescriptorProto) {
    for field in &message.field {
        let repeated = if field.label() == Label::Repeated {
            "repeated "
        } else {
            ""
        };
        let optional = if field.proto3_optional() {
            "optional "
        } else {
            ""
        };
        let kind = match field.r#type() {
            Type::Message | Type::Enum => field.type_name().to_owned(),
            other => format!("{other:?}").to_lowercase(),
        };
        let (name, number) = (message.name(), field.number());
        writeln!(
            out,
            "{name}.{} = {number}: {repeated}{optional}{kind}",
            field.name()
        )
        .unwrap();
    }
    for nested in &message.nested_type {
        describe(out, nested);
    }
}

/// One line for each method, field and enum value: what a client depends on.
fn shape() -> String {
    let set = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap();
    let mut out = String::new();
    for file in &set.file {
        assert_eq!(file.package(), "skerry.v1");
        for service in &file.service {
            for method in &service.method {
                let stream = if method.server_streaming() {
                    "stream "
                } else {
                    ""
                };
                assert!(!method.client_streaming(), "grpc-web has no client streams");
                writeln!(
                    out,
                    "{}.{}({}) -> {stream}{}",
                    service.name(),
                    method.name(),
                    method.input_type(),
                    method.output_type()
                )
                .unwrap();
            }
        }
        for message in &file.message_type {
            describe(&mut out, message);
        }
        for r#enum in &file.enum_type {
            for value in &r#enum.value {
                writeln!(
                    out,
                    "{} {} = {}",
                    r#enum.name(),
                    value.name(),
                    value.number()
                )
                .unwrap();
            }
        }
    }
    out
}

#[test]
fn the_api_is_the_committed_one() {
    let actual = shape();
    let missing = |of: &str, within: &str| -> Vec<String> {
        of.lines()
            .filter(|line| !within.lines().any(|it| it == *line))
            .map(str::to_owned)
            .collect()
    };
    let gone = missing(SNAPSHOT, &actual);
    assert!(
        gone.is_empty(),
        "v1 only grows; these are gone:\n{}",
        gone.join("\n")
    );
    let new = missing(&actual, SNAPSHOT);
    assert!(
        new.is_empty(),
        "add to proto/proto/skerry.v1.txt:\n{}",
        new.join("\n")
    );
}

#[test]
fn every_value_of_an_enum_has_a_short_name_that_reads_back() {
    for number in 0..=100 {
        if let Ok(reason) = v1::ErrorReason::try_from(number) {
            assert_eq!(v1::ErrorReason::from_name(reason.name()), Some(reason));
        }
        if let Ok(stage) = v1::Stage::try_from(number) {
            assert_eq!(v1::Stage::from_name(stage.name()), Some(stage));
            let dashed = stage.name().to_lowercase().replace('_', "-");
            assert_eq!(v1::Stage::from_name(&dashed), Some(stage));
        }
    }
    assert_eq!(v1::Stage::from_name("final"), None);
}

#[test]
fn assets_and_message_ids_survive_both_ways() {
    let asset = Asset::nsker(u128::MAX);
    assert_eq!(convert::asset(&(&asset).into()), Ok(asset));
    let shard = ShardId::new(1, 1).map(ChainRef::Shard).unwrap();
    let id = MessageId {
        source: ChainRef::Beacon,
        destination: shard,
        sequence: Sequence::new(7),
    };
    assert_eq!(convert::message_id(&(&id).into()), Ok(id));
}

#[test]
fn attributes_of_an_event_become_text() {
    let owner = Address::new([7; 32]);
    let attribute = |name: &'static str, value| Attribute {
        name: name.into(),
        value,
    };
    let event = Event {
        module: ModuleId::new(2),
        owner,
        name: "transfer".into(),
        attributes: vec![
            attribute("sender", owner.into()),
            attribute("denom", Denom::STSKER.into()),
            attribute("amount", Amount::MAX.into()),
            attribute("validator", 7_u32.into()),
            attribute("to", "nobody".into()),
        ],
    };
    let event = v1::Event::from(&event);
    let (owner, most) = (owner.to_string(), u128::MAX.to_string());
    assert_eq!((&*event.name, &event.owner), ("transfer", &owner));
    let pairs = event.attributes.iter();
    let pairs: Vec<(&str, &str)> = pairs.map(|it| (&*it.key, &*it.value)).collect();
    let expected = [
        ("sender", owner.as_str()),
        ("denom", "stsker"),
        ("amount", &most),
        ("validator", "7"),
        ("to", "nobody"),
    ];
    assert_eq!(pairs, expected);
}

#[test]
fn each_kind_of_bad_text_has_its_own_reason() {
    use v1::ErrorReason as Reason;
    let address = Address::new([7; 32]).to_string();
    let broken = format!("{}q", address.get(..address.len() - 1).unwrap());
    let cases = [
        (
            convert::address("to", &broken).map(drop),
            Reason::AddressInvalid,
        ),
        (
            convert::denom("denom", &address).map(drop),
            Reason::DenomInvalid,
        ),
        (
            convert::amount("amount", "-1").map(drop),
            Reason::AmountInvalid,
        ),
        (
            convert::digest("hash", "0x12").map(drop),
            Reason::HashInvalid,
        ),
        (
            convert::chain("chain", "shard-4/1").map(drop),
            Reason::ChainUnknown,
        ),
    ];
    for (result, reason) in cases {
        assert_eq!(result.map_err(|error| error.reason), Err(reason));
    }
    assert!(convert::address("to", &address).is_ok());
    assert!(convert::digest("hash", &Digest::ZERO.to_string()).is_ok());
}
