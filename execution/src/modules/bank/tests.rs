//! Rules of the bank that need no second shard; the rest is in the crate's tests.
//!
//! JSON and bytes of the calls are fixed here: the command line and the wallets depend on the one,
//! stored and signed transactions on the other.

use crate::module::Module as _;
use crate::modules::bank::BankModule;
use crate::modules::bank::calls::BankCall;
use crate::modules::bank::state::{balance_key, claim_key, read_claim_key};
use crate::testing::{World, shard, transfer, user};
use crate::view::encode_amount;
use serde_json::json;
use skerry_types::amount::{Amount, Asset};
use skerry_types::codec::{self, Version};
use skerry_types::ids::{Denom, Sequence};

#[test]
fn calls_have_their_documented_json_form() {
    let to = user(0, 1).address;
    let text = json!({ "send": { "to": to, "asset": { "denom": "sker", "amount": "5" } } });
    let bytes = BankModule.call_from_json(&text).unwrap();
    assert_eq!(
        bytes,
        BankCall::Send {
            to,
            asset: Asset::nsker(5)
        }
        .to_bytes()
    );
    let text = json!({ "claim": { "denom": "sker", "source": "shard-0/1", "sequence": 7 } });
    assert!(BankModule.call_from_json(&text).is_ok());
    for wrong in [
        json!({ "send": { "to": to, "asset": { "denom": "sker", "amount": "0" } } }),
        json!({ "send": { "to": to } }),
        json!({ "steal": {} }),
    ] {
        assert!(BankModule.call_from_json(&wrong).is_err(), "{wrong}");
    }
}

#[test]
fn encoding_of_send_is_fixed() {
    // Variant 0, recipient, denom, amount: changing this breaks stored and signed bytes.
    let to = user(0, 1).address;
    let bytes = BankCall::Send {
        to,
        asset: Asset::nsker(5),
    }
    .to_bytes();
    assert_eq!(bytes.len(), 1 + 32 + 32 + 16);
    assert_eq!(bytes[0], 0);
    assert_eq!(&bytes[1..33], to.as_bytes());
    assert_eq!(&bytes[65..], &5_u128.to_le_bytes());
}

#[test]
fn transfer_to_oneself_changes_nothing_but_the_fee() {
    let alice = user(0, 1);
    let mut world = World::new(&[(alice, vec![Asset::nsker(1 << 60)])]);
    let outcome = world.transactions(
        shard(0),
        &[transfer(alice, 0, alice.address, Asset::nsker(9))],
    );
    let fee = outcome.receipts[0].fee.get();
    assert_eq!(world.balance(&alice, Denom::SKER), (1 << 60) - fee);
}

#[test]
fn owner_is_shown_with_balances_and_claims() {
    let alice = user(0, 1);
    let world = World::new(&[(alice, vec![Asset::nsker(7)])]);
    let entries = world.state(shard(0)).entries(&alice.address);
    let shown = BankModule.query(&alice.address, &entries);
    assert_eq!(
        shown["balances"],
        json!([{ "denom": "sker", "amount": "7" }])
    );
    assert_eq!(shown["claims"], json!([]));
}

#[test]
fn claim_key_reads_back_and_zero_amounts_are_broken() {
    let owner = user(0, 1).address;
    let key = claim_key(&owner, &Denom::SKER, shard(1), Sequence::new(7));
    let read = read_claim_key(&key.local);
    assert_eq!(read, Some((Denom::SKER, shard(1), Sequence::new(7))));
    let balance = balance_key(&owner, &Denom::SKER);
    let amount = |units: u128| codec::encode(&(Version, units));
    assert_eq!(encode_amount(Amount::new(9)).unwrap().to_vec(), amount(9));
    assert!(BankModule.check_invariants(&balance, &amount(1)).is_ok());
    assert!(BankModule.check_invariants(&balance, &amount(0)).is_err());
    let mut newer = amount(1);
    newer[0] = 2;
    assert!(BankModule.check_invariants(&balance, &newer).is_err());
    assert!(BankModule.check_invariants(&balance, &[1, 2]).is_err());
}
