//! Rules of accounts: JSON of authenticators, use of nonces.
//!
//! Signatures are not checked in this crate, so the users of these tests have no secrets; what is
//! tested is whose keys a state accepts and which nonce comes next.

use crate::check::{AdmissionContext, check_against_state};
use crate::module::Module as _;
use crate::modules::account::AccountModule;
use crate::modules::account::calls::AccountCall;
use crate::modules::account::state::{decode_nonce, encode_nonce};
use crate::testing::{World, shard, transfer, user};
use serde_json::json;
use skerry_types::amount::{Amount, Asset};
use skerry_types::codec::{self, Version};
use skerry_types::crypto::ed25519::PublicKey;
use skerry_types::ids::{Digest, Height};
use skerry_types::transaction::Authenticator;

#[test]
fn authenticators_have_a_json_form() {
    let keys = [1_u8, 2].map(|n| PublicKey([n; 32]));
    let text = |key: &PublicKey| Digest::new(key.0);
    let form = json!({ "rotate_key": { "authenticator": {
        "multisig": { "threshold": 2, "keys": [text(&keys[0]), text(&keys[1])] }
    } } });
    let authenticator = Authenticator::Multisig {
        threshold: 2,
        keys: keys.to_vec(),
    };
    let call = AccountCall::RotateKey { authenticator };
    assert_eq!(
        AccountModule.call_from_json(&form).unwrap(),
        call.to_bytes()
    );
    assert_eq!(
        AccountModule.decode(&call.to_bytes()).unwrap().to_json(),
        form
    );
}

#[test]
fn unusable_policy_is_refused() {
    for (threshold, keys) in [(0, vec![PublicKey([1; 32])]), (2, vec![PublicKey([1; 32])])] {
        let authenticator = Authenticator::Multisig { threshold, keys };
        let call = AccountCall::RotateKey { authenticator };
        assert!(AccountModule.decode(&call.to_bytes()).is_err());
    }
}

#[test]
fn admission_tells_used_nonces_from_later_ones() {
    let (alice, bob) = (user(0, 1), user(1, 1));
    let mut world = World::new(&[(alice, vec![Asset::nsker(1 << 60)])]);
    world.transactions(
        shard(0),
        &[transfer(alice, 0, bob.address, Asset::nsker(1))],
    );
    let admit = |sequence| {
        let draft = transfer(alice, sequence, bob.address, Asset::nsker(1));
        let context = AdmissionContext {
            network: &world.network,
            chain: shard(0),
            beacon_height: Height::ZERO,
            base_fee: Amount::new(10),
        };
        let checked = draft.checked(world.network.chain_id);
        check_against_state(&checked, world.state(shard(0)), &context)
            .map(|admission| admission.next)
            .map_err(|rejection| rejection.reason())
    };
    assert_eq!(admit(0), Err("NONCE_USED"));
    assert_eq!(admit(1), Ok(1));
    assert_eq!(admit(4), Ok(1));
    assert_eq!(admit(u64::MAX), Err("NONCE_USED"));
}

#[test]
fn fee_must_be_covered_for_admission() {
    let alice = user(0, 1);
    let world = World::new(&[(alice, vec![Asset::nsker(9)])]);
    let context = AdmissionContext {
        network: &world.network,
        chain: shard(0),
        beacon_height: Height::ZERO,
        base_fee: Amount::new(10),
    };
    let checked =
        transfer(alice, 0, alice.address, Asset::nsker(1)).checked(world.network.chain_id);
    let rejection = check_against_state(&checked, world.state(shard(0)), &context).unwrap_err();
    assert_eq!(rejection.reason(), "INSUFFICIENT_FEE_BALANCE");
}

#[test]
fn broken_nonce_stops_the_stream_and_accounts_are_shown() {
    let broken = skerry_types::state::Value::from([1_u8, 2]);
    assert_eq!(decode_nonce(Some(&broken)), u64::MAX);
    assert_eq!(decode_nonce(Some(&encode_nonce(5))), 5);
    assert_eq!(encode_nonce(5).to_vec(), codec::encode(&(Version, 5_u64)));
    let (alice, bob) = (user(0, 1), user(1, 1));
    let mut world = World::new(&[(alice, vec![Asset::nsker(1 << 60)])]);
    world.transactions(
        shard(0),
        &[transfer(alice, 0, bob.address, Asset::nsker(1))],
    );
    let entries = world.state(shard(0)).entries(&alice.address);
    let shown = AccountModule.query(&alice.address, &entries);
    assert_eq!(shown["next_nonces"], json!({ "0": 1 }));
}
