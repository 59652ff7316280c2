//! Text forms: what people type and read round trips, and one id has one text.

use crate::fixtures::{digest, user};
use proptest::prelude::*;
use skerry_types::amount::{Amount, Asset};
use skerry_types::genesis::Genesis;
use skerry_types::ids::{Address, ChainRef, Denom, Digest};
use skerry_types::receipt::AttributeValue;

#[test]
fn addresses_and_denoms_read_what_they_print() {
    assert!(user(1).to_string().starts_with("sk1"));
    assert_eq!(user(1).to_string().parse(), Ok(user(1)));
    for denom in [
        Denom::SKER,
        Denom::STSKER,
        Denom::RSSKER,
        Denom::created(&user(1), "gold"),
    ] {
        assert_eq!(denom.to_string().parse(), Ok(denom));
    }
    assert_eq!(digest(0xab).to_string().parse(), Ok(digest(0xab)));
}

#[test]
fn what_an_attribute_says_reads_as_what_it_holds() {
    let gold = Denom::created(&user(1), "gold");
    let cases: [(AttributeValue, String); 8] = [
        (user(1).into(), user(1).to_string()),
        (Denom::SKER.into(), "sker".to_owned()),
        (gold.into(), gold.to_string()),
        (Amount::MAX.into(), u128::MAX.to_string()),
        (7_u32.into(), "7".to_owned()),
        (AttributeValue::Number(u64::MAX), u64::MAX.to_string()),
        ("nobody".into(), "nobody".to_owned()),
        (String::new().into(), String::new()),
    ];
    for (value, text) in cases {
        assert_eq!(value.to_string(), text, "{value:?}");
    }
}

#[test]
fn every_single_typing_error_in_an_address_is_found() {
    let text = user(1).to_string();
    for position in 3..text.len() {
        let mut typo = text.clone().into_bytes();
        typo[position] = if typo[position] == b'q' { b'p' } else { b'q' };
        let typo = String::from_utf8(typo).expect("ascii");
        assert!(typo.parse::<Address>().is_err(), "{typo}");
    }
}

#[test]
fn other_prefixes_checksums_lengths_and_paddings_are_no_address() {
    let hrp = bech32::Hrp::parse_unchecked("sk");
    let encode = |bytes: &[u8]| bech32::encode::<bech32::Bech32m>(hrp, bytes).expect("short");
    let old = bech32::encode::<bech32::Bech32>(hrp, user(1).as_bytes()).expect("short");
    for bad in [
        old,
        encode(&[7; 31]),
        encode(&[7; 33]),
        user(1).to_string().to_uppercase(),
        Denom::created(&user(1), "gold").to_string(),
        String::new(),
        "sk1".to_owned(),
    ] {
        assert!(bad.parse::<Address>().is_err(), "{bad}");
    }
    // The last of 52 characters carries four bits of padding, which must be zero.
    use bech32::Fe32;
    use bech32::primitives::iter::{ByteIterExt as _, Fe32IterExt as _};
    let mut symbols: Vec<Fe32> = user(1).as_bytes().iter().copied().bytes_to_fes().collect();
    let last = symbols.pop().expect("52 symbols").to_u8();
    symbols.push(Fe32::try_from(last | 1).expect("five bits"));
    let padded: String = symbols
        .into_iter()
        .with_checksum::<bech32::Bech32m>(&hrp)
        .chars()
        .collect();
    assert!(padded.parse::<Address>().is_err());
}

#[test]
fn amounts_are_read_in_every_unit() {
    for (text, denom, units) in [
        ("5sker", Denom::SKER, 5_000_000_000),
        ("0.25sker", Denom::SKER, 250_000_000),
        ("0.000000001sker", Denom::SKER, 1),
        ("5000000000nsker", Denom::SKER, 5_000_000_000),
        ("1.5stsker", Denom::STSKER, 1_500_000_000),
        ("2rssker", Denom::RSSKER, 2_000_000_000),
        ("10:stsker", Denom::STSKER, 10),
    ] {
        let asset = Asset {
            denom,
            amount: Amount::new(units),
        };
        assert_eq!(text.parse(), Ok(asset), "{text}");
    }
    for bad in [
        "",
        "sker",
        "5",
        "-5sker",
        "+5sker",
        "1.sker",
        ".5sker",
        "0.0000000001sker",
        "1.5nsker",
        "1e9sker",
        "5 sker",
        "5dollar",
        "340282366920938463463374607431768211456nsker",
        "340282366920938463463374607432sker",
        ":sker",
        "5:gold",
    ] {
        assert!(bad.parse::<Asset>().is_err(), "{bad:?}");
    }
    for bad in [
        "",
        "+1",
        "-1",
        "1.0",
        "0x1",
        "340282366920938463463374607431768211456",
    ] {
        assert!(bad.parse::<Amount>().is_err(), "{bad:?}");
    }
}

#[test]
fn chains_read_what_they_print() {
    for text in ["beacon", "shard-0/0", "shard-1/1", "shard-65535/16"] {
        assert_eq!(text.parse::<ChainRef>().expect("a chain").to_string(), text);
    }
    for bad in [
        "",
        "Beacon",
        "shard-2/1",
        "shard-1",
        "shard-0/17",
        "shard--1/1",
    ] {
        assert!(bad.parse::<ChainRef>().is_err(), "{bad:?}");
    }
}

#[test]
fn genesis_file_round_trips_and_refuses_unknown_fields() {
    let genesis = crate::fixtures::genesis();
    let json = serde_json::to_string(&genesis).expect("serialises");
    assert_eq!(
        serde_json::from_str::<Genesis>(&json).expect("reads"),
        genesis
    );
    let unknown = json.replacen("\"name\"", "\"nome\"", 1);
    assert!(serde_json::from_str::<Genesis>(&unknown).is_err());
}

proptest! {
    #[test]
    fn assets_read_what_they_print(bytes in any::<[u8; 32]>(), units in any::<u128>()) {
        for denom in [Denom::new(bytes), Denom::SKER, Denom::STSKER, Denom::RSSKER] {
            let asset = Asset { denom, amount: Amount::new(units) };
            prop_assert_eq!(asset.to_string().parse(), Ok(asset));
        }
    }

    #[test]
    fn ids_read_what_they_print(bytes in any::<[u8; 32]>()) {
        prop_assert_eq!(Address::new(bytes).to_string().parse(), Ok(Address::new(bytes)));
        prop_assert_eq!(Denom::new(bytes).to_string().parse(), Ok(Denom::new(bytes)));
        prop_assert_eq!(Digest::new(bytes).to_string().parse(), Ok(Digest::new(bytes)));
    }
}
