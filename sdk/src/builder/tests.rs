//! Drafts become the exact bytes that golden vectors hold, with exact gas, and refuse what no
//! bundle can hold.

use super::{BuildError, Draft, Terms, gas_of};
use serde_json::json;
use skerry_execution::fees::transaction_gas;
use skerry_types::amount::{Amount, Asset};
use skerry_types::codec;
use skerry_types::crypto::ed25519::SecretKey;
use skerry_types::crypto::hash::plain;
use skerry_types::ids::{Address, Denom, Digest, Height};
use skerry_types::limits;
use skerry_types::transaction::{Bundle, CheckedTransaction, Nonce, Target};

const GOLDEN: &str = include_str!("../../tests/golden/transactions.txt");

fn key() -> SecretKey {
    SecretKey::from_seed([7; 32])
}

fn terms() -> Terms {
    Terms {
        chain_id: Digest::new([1; 32]),
        sender: Address::of_ed25519(&key().public_key()),
        nonce: Nonce {
            stream: 2,
            sequence: 5,
        },
        valid_until: Height::new(1000),
        gas_price: Amount::new(10),
    }
}

fn transfer() -> Draft {
    Draft::new()
        .transfer(&Address::new([9; 32]), Asset::nsker(5_000_000_000))
        .unwrap()
}

fn token() -> Draft {
    let sender = terms().sender;
    let asset = Asset {
        denom: Denom::created(&sender, "Gold"),
        amount: Amount::new(100),
    };
    let create = json!({"create": {"name": "Gold", "symbol": "GLD", "decimals": 2,
        "metadata": "", "authority": sender}});
    let draft = Draft::new().call("token", &create).unwrap();
    draft
        .call("token", &json!({"mint": {"asset": asset}}))
        .unwrap()
}

/// `name id bytes-hash` for each; the wire bytes themselves for the transfer.
#[test]
fn drafts_become_the_golden_bytes() {
    let mut actual = String::new();
    for (name, draft) in [("transfer", transfer()), ("token", token())] {
        let signed = draft.sign(&terms(), &key()).unwrap();
        let wire = codec::encode(&signed);
        actual.push_str(&format!("{name} {} {}\n", signed.body.id(), plain(&wire)));
        if name == "transfer" {
            actual.push_str(&format!("{}\n", hex::encode(wire)));
        }
    }
    assert_eq!(actual, GOLDEN, "the encoding of transactions changed");
}

#[test]
fn the_gas_limit_is_exactly_what_the_chain_charges() {
    for draft in [transfer(), token()] {
        let signed = draft.sign(&terms(), &key()).unwrap();
        let checked =
            CheckedTransaction::decode(codec::encode(&signed), &terms().chain_id).unwrap();
        assert_eq!(signed.body.gas_limit, transaction_gas(&checked).unwrap());
        assert_eq!(signed.body.gas_limit, gas_of(&signed.body).unwrap());
    }
}

#[test]
fn attached_assets_are_merged_and_in_order() {
    let other = Denom::new([3; 32]);
    let asset = |denom, amount| Asset {
        denom,
        amount: Amount::new(amount),
    };
    let draft = [
        asset(other, 1),
        asset(Denom::SKER, 2),
        asset(other, 3),
        asset(other, 0),
    ]
    .into_iter()
    .try_fold(Draft::new(), Draft::attach)
    .unwrap();
    assert_eq!(draft.assets, vec![asset(Denom::SKER, 2), asset(other, 4)]);
    let most = Asset {
        denom: other,
        amount: Amount::MAX,
    };
    assert!(matches!(draft.attach(most), Err(BuildError::Overflow { denom }) if denom == other));
}

#[test]
fn what_no_bundle_can_hold_is_refused() {
    let unknown = Draft::new().call("bnk", &json!({}));
    assert!(matches!(unknown, Err(BuildError::Module { .. })));
    let wrong = Draft::new().call("bank", &json!({"send": {"to": 5}}));
    assert!(matches!(wrong, Err(BuildError::Call { .. })));
    let full = (0..=limits::BUNDLE_OPERATIONS_MAX).try_fold(Draft::new(), |draft, _| {
        draft.transfer(&Address::new([9; 32]), Asset::nsker(1))
    });
    assert!(matches!(full, Err(BuildError::Operations { .. })));
}

#[test]
fn a_route_is_built_leg_by_leg_and_each_leg_needs_a_place() {
    let (first, second) = (Address::new([1; 32]), Address::new([200; 32]));
    let exit = json!({"exit": {"validator": 0}});
    let begin = Draft::new().near(first).attach(Asset::nsker(9)).unwrap();
    let middle = Draft::new().near(second).demand(Asset::nsker(3)).unwrap();
    let end = Draft::new().call("staking", &exit).unwrap();
    let draft = begin
        .clone()
        .then(middle.clone().then(end.clone()).unwrap());
    let draft = draft.unwrap();
    let targets = [Target::Near(first), Target::Near(second), Target::Beacon];
    assert!(draft.leaves().unwrap() && !transfer().leaves().unwrap());
    let body = draft.clone().body(&terms()).unwrap();
    assert_eq!(body.gas_limit, gas_of(&body).unwrap());
    let Bundle { target, onward, .. } = body.bundle;
    assert_eq!([target, onward[0].target, onward[1].target], targets);
    assert_eq!(onward.len(), 2);
    assert_eq!(onward[0].minimum_outputs, vec![Asset::nsker(3)]);
    assert_eq!(onward[1].operations.len(), 1);
    let full = draft.then(middle.clone()).unwrap();
    for (refused, why) in [
        (full.then(begin.clone()), "it attaches something"),
        (begin.clone().then(Draft::new()), "it says no place"),
        (Draft::new().then(middle), "the first says no place"),
    ] {
        assert!(matches!(refused, Err(BuildError::Onward { .. })), "{why}");
    }
    let leg = || Draft::new().near(second);
    let long = (0..4).try_fold(begin, |draft, _| draft.then(leg()));
    assert!(matches!(long, Err(BuildError::Onward { .. })));
    let torn = end.near(first).body(&terms());
    assert!(matches!(torn, Err(BuildError::Near { owner }) if owner == first));
}
