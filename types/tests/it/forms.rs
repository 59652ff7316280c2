//! What a transaction and a genesis must look like before anything else is asked of them.

use crate::fixtures::{
    body_of, digest, genesis, multisig, multisig_signed, routed, signed, user, user_key,
};
use skerry_types::amount::{Amount, Asset};
use skerry_types::codec::{CodecError, encode};
use skerry_types::crypto::ed25519::{Item, verify_batch};
use skerry_types::genesis::{Genesis, GenesisAccount};
use skerry_types::ids::{Address, ChainRef, Denom, Gas, KeyScheme, Locality, ModuleId, ShardId};
use skerry_types::limits;
use skerry_types::transaction::{
    Authenticator, Bundle, CheckedTransaction, Operation, SignedTransaction, Target,
    TransactionError,
};

fn check(transaction: &SignedTransaction) -> Result<CheckedTransaction, TransactionError> {
    CheckedTransaction::decode(encode(transaction), &digest(0xc1))
}

/// The good transaction with one thing changed.
fn changed(
    change: impl FnOnce(&mut SignedTransaction),
) -> Result<CheckedTransaction, TransactionError> {
    let mut transaction = multisig_signed();
    change(&mut transaction);
    check(&transaction)
}

fn assets(count: u8) -> Vec<Asset> {
    let denom = |byte| Denom::new([byte; 32]);
    (1..=count)
        .map(|byte| Asset {
            denom: denom(byte),
            amount: Amount::new(1),
        })
        .collect()
}

#[test]
fn signed_transactions_pass_and_their_signatures_verify() {
    for transaction in [signed(), multisig_signed()] {
        let checked = check(&transaction).expect("well-formed");
        assert_eq!(checked.id(), transaction.body.id());
        assert_eq!(checked.wire().to_vec(), encode(&transaction));
        assert!(
            transaction
                .witness
                .authenticator
                .controls(&transaction.body.sender)
        );
        let message = checked.signing_digest();
        let signatures = checked.signatures();
        let items: Vec<Item<'_>> = signatures
            .iter()
            .map(|(key, signature)| Item {
                key: *key,
                known: None,
                message: message.as_bytes(),
                signature: *signature,
            })
            .collect();
        assert_eq!(verify_batch(&items), vec![true; items.len()]);
        assert_eq!(items.len(), transaction.witness.signatures.len());
    }
}

#[test]
fn transaction_of_another_network_is_refused() {
    let refused = CheckedTransaction::decode(encode(&signed()), &digest(0xc2));
    let expected = TransactionError::ChainMismatch {
        expected: digest(0xc2),
        actual: digest(0xc1),
    };
    assert_eq!(refused, Err(expected));
}

#[test]
fn transaction_above_the_size_limit_is_refused_at_the_limit_taken() {
    let sized = |bytes: usize| {
        let mut transaction = signed();
        let call = vec![0; limits::CALL_BYTES_MAX];
        let rest = bytes - encode(&transaction).len() - 2 * 6;
        transaction.body.bundle.operations.extend([
            Operation {
                module: ModuleId::new(2),
                call: call.clone(),
            },
            Operation {
                module: ModuleId::new(2),
                call: vec![0; rest - call.len()],
            },
        ]);
        let wire = encode(&transaction);
        assert_eq!(wire.len(), bytes);
        CheckedTransaction::decode(wire, &digest(0xc1))
    };
    assert!(sized(limits::TRANSACTION_BYTES_MAX).is_ok());
    let (actual, limit) = (
        limits::TRANSACTION_BYTES_MAX + 1,
        limits::TRANSACTION_BYTES_MAX,
    );
    let refused = TransactionError::Codec(CodecError::TooLong { actual, limit });
    assert_eq!(sized(actual), Err(refused));
}

#[test]
fn limits_of_a_bundle_hold_at_and_break_above_their_values() {
    let operation = Operation {
        module: ModuleId::new(2),
        call: Vec::new(),
    };
    let operations = |count| changed(|t| t.body.bundle.operations = vec![operation.clone(); count]);
    assert!(operations(limits::BUNDLE_OPERATIONS_MAX).is_ok());
    assert!(operations(limits::BUNDLE_OPERATIONS_MAX + 1).is_err());
    let call = |length| changed(|t| t.body.bundle.operations[0].call = vec![0; length]);
    assert!(call(limits::CALL_BYTES_MAX).is_ok());
    assert!(call(limits::CALL_BYTES_MAX + 1).is_err());
    let most = u8::try_from(limits::ASSETS_MAX).expect("few");
    assert!(changed(|t| t.body.bundle.assets = assets(most)).is_ok());
    assert!(changed(|t| t.body.bundle.assets = assets(most + 1)).is_err());
    assert!(changed(|t| t.body.bundle.minimum_outputs = assets(most + 1)).is_err());
}

#[test]
fn a_route_has_at_most_four_hops_and_none_of_them_is_home() {
    let with = |change: &dyn Fn(&mut Bundle)| {
        let mut bundle = routed();
        change(&mut bundle);
        changed(|t| t.body.bundle = bundle)
    };
    let leg = routed().onward[0].clone();
    let hops = |count: usize| with(&|it| it.onward = vec![leg.clone(); count - 1]);
    let most = usize::from(limits::HOPS_MAX);
    assert!(hops(most).is_ok());
    assert!(hops(most + 1).is_err());
    assert!(with(&|it| it.target = Target::Beacon).is_ok());
    assert!(with(&|it| it.target = Target::Home).is_err());
    assert!(with(&|it| it.onward[0].target = Target::Home).is_err());
    // Operations count over all legs, the other limits hold for each.
    let operation = leg.operations[0].clone();
    let operations = |count| with(&|it| it.onward[0].operations = vec![operation.clone(); count]);
    assert!(operations(limits::BUNDLE_OPERATIONS_MAX - 1).is_ok());
    assert!(operations(limits::BUNDLE_OPERATIONS_MAX).is_err());
    let call = |length| with(&|it| it.onward[0].operations[0].call = vec![0; length]);
    assert!(call(limits::CALL_BYTES_MAX).is_ok());
    assert!(call(limits::CALL_BYTES_MAX + 1).is_err());
    assert!(with(&|it| it.onward[0].minimum_outputs = assets(2)).is_ok());
    assert!(with(&|it| it.onward[0].minimum_outputs = vec![assets(1)[0]; 2]).is_err());
}

#[test]
fn assets_must_be_above_zero_and_strictly_increasing() {
    let mut zero = assets(2);
    zero[1].amount = Amount::ZERO;
    let mut swapped = assets(2);
    swapped.swap(0, 1);
    let twice = vec![assets(1)[0]; 2];
    for bad in [zero, swapped, twice] {
        let refused = changed(|t| t.body.bundle.assets = bad.clone());
        assert!(
            matches!(refused, Err(TransactionError::Malformed(_))),
            "{bad:?}"
        );
        let refused = changed(|t| t.body.bundle.minimum_outputs = bad.clone());
        assert!(
            matches!(refused, Err(TransactionError::Malformed(_))),
            "{bad:?}"
        );
    }
}

#[test]
fn signatures_must_be_as_many_as_the_threshold_in_order_and_in_range() {
    let signature = multisig_signed().witness.signatures[0].1;
    for positions in [
        vec![],
        vec![0],
        vec![0, 1, 2],
        vec![1, 0],
        vec![1, 1],
        vec![0, 3],
    ] {
        let signatures: Vec<_> = positions
            .iter()
            .map(|position| (*position, signature))
            .collect();
        let refused = changed(|t| t.witness.signatures = signatures);
        assert!(
            matches!(refused, Err(TransactionError::Signature { .. })),
            "{positions:?}"
        );
    }
    let mut single = signed();
    single.witness.signatures[0].0 = 1;
    assert!(matches!(
        check(&single),
        Err(TransactionError::Signature { .. })
    ));
}

#[test]
fn policy_that_cannot_be_met_is_refused() {
    let Authenticator::Multisig { keys, .. } = multisig() else {
        panic!("multisig")
    };
    let policy = |threshold, keys: &[_]| Authenticator::Multisig {
        threshold,
        keys: keys.to_vec(),
    };
    let mut swapped = keys.clone();
    swapped.swap(0, 1);
    let twice = [keys[0], keys[0]];
    let mut many: Vec<_> = (0..17).map(|byte| user_key(byte).public_key()).collect();
    many.sort_unstable();
    for bad in [
        policy(0, &keys),
        policy(4, &keys),
        policy(1, &swapped),
        policy(1, &twice),
        policy(1, &many),
    ] {
        assert!(!bad.is_well_formed(), "{bad:?}");
        assert!(changed(|t| t.witness.authenticator = bad).is_err());
    }
    assert!(policy(1, &many[..16]).is_well_formed());
}

#[test]
fn key_controls_its_addresses_in_every_locality_and_no_others() {
    let authenticator = Authenticator::Ed25519(user_key(1).public_key());
    let (scheme, bytes) = authenticator.commitment();
    for locality in [0, 1, 0x8000, u16::MAX] {
        let near = Address::of_key_near(scheme, &bytes, Locality(locality));
        assert_eq!(near.locality(), Locality(locality));
        assert!(authenticator.controls(&near));
        assert!(!Authenticator::Ed25519(user_key(2).public_key()).controls(&near));
    }
    // The same bytes under another scheme are another account.
    let other = Address::of_key_near(KeyScheme::Multisig, &bytes, user(1).locality());
    assert!(authenticator.controls(&user(1)) && !authenticator.controls(&other));
}

#[test]
fn signature_covers_every_field_of_the_body() {
    let base = body_of(user(1));
    let mut bodies = vec![base.clone(); 9];
    bodies[0].chain_id = digest(0xc2);
    bodies[1].sender = user(2);
    bodies[2].nonce.stream += 1;
    bodies[3].nonce.sequence += 1;
    bodies[4].valid_until = bodies[4].valid_until.next();
    bodies[5].gas_limit = bodies[5].gas_limit.next();
    bodies[6].gas_price = Amount::new(11);
    bodies[7].bundle.deadline = bodies[7].bundle.deadline.next();
    bodies[8].bundle.operations[0].call.push(0);
    for body in &bodies {
        assert_ne!(body.id(), base.id());
        assert_ne!(body.signing_digest(), base.signing_digest());
    }
}

#[test]
fn objects_and_denoms_live_with_their_makers() {
    let object = Address::of_object(7, &user(1), 3, 9, 2);
    assert_eq!(object.locality(), user(1).locality());
    for other in [
        Address::of_object(8, &user(1), 3, 9, 2),
        Address::of_object(7, &user(2), 3, 9, 2),
        Address::of_object(7, &user(1), 4, 9, 2),
        Address::of_object(7, &user(1), 3, 10, 2),
        Address::of_object(7, &user(1), 3, 9, 3),
    ] {
        assert_ne!(object, other);
    }
    let denom = Denom::created(&user(1), "gold");
    assert_eq!(denom.object().locality(), user(1).locality());
    assert_ne!(denom, Denom::created(&user(1), "golD"));
    assert_ne!(denom, Denom::created(&user(2), "gold"));
    assert!(!denom.is_reserved() && Denom::RSSKER.is_reserved());
}

#[test]
fn system_objects_live_on_their_chain_at_every_depth() {
    for depth in 0..=16 {
        for shard in ShardId::all(depth).take(5) {
            let object = Address::of_system(4, ChainRef::Shard(shard), b"x");
            assert_eq!(object.shard(depth), shard);
        }
    }
    let shard = ChainRef::Shard(ShardId::new(1, 0).expect("a shard"));
    assert_ne!(
        Address::of_system(4, ChainRef::Beacon, b"x"),
        Address::of_system(4, shard, b"x")
    );
}

#[test]
fn good_genesis_passes_with_its_proofs_of_possession() {
    assert_eq!(genesis().check(true), Ok(()));
}

#[test]
fn genesis_that_breaks_a_rule_is_refused() {
    type Change = fn(&mut Genesis);
    let changes: &[(&str, Change)] = &[
        ("shard_depth", |g| g.shard_depth = 7),
        ("validators", |g| g.validators.clear()),
        ("seats are given", |g| g.shard_depth = 2),
        ("idle_interval_ms", |g| g.parameters.idle_interval_ms = 501),
        ("idle_interval_ms", |g| g.parameters.delta_ms = 0),
        ("inbound_gas", |g| {
            g.parameters.inbound_gas = Gas::new(400_000_001);
        }),
        ("is too little for 64 shards", |g| {
            g.shard_depth = 6;
            g.seats = vec![g.seats[0].clone(); 64];
            g.parameters.inbound_gas = Gas::new(3_199_999);
        }),
        ("committee of beacon", |g| {
            g.validators[1].vote_key = g.validators[0].vote_key;
        }),
        ("committee of beacon", |g| {
            g.validators[1].stake = skerry_types::ids::Weight::ZERO;
        }),
        ("committee of shard-0/1", |g| g.seats[0].clear()),
        ("committee of shard-1/1", |g| {
            g.seats[1].push(skerry_types::ids::ValidatorId::new(4));
        }),
        ("listed once", |g| {
            g.accounts[1].address = g.accounts[0].address;
        }),
        ("listed once", |g| {
            g.accounts[1].assets[0].amount = Amount::ZERO;
        }),
        ("listed once", |g| {
            g.accounts[1].assets.push(Asset::nsker(1));
        }),
        ("supply", |g| g.accounts[1].assets[0].amount = Amount::MAX),
        ("possession", |g| {
            g.validators[1].possession = g.validators[0].possession;
        }),
    ];
    for (rule, change) in changes {
        let mut bad = genesis();
        change(&mut bad);
        let error = bad.check(true).expect_err(rule).to_string();
        assert!(error.contains(rule), "{error:?} does not name {rule:?}");
    }
}

#[test]
fn genesis_of_a_hundred_thousand_accounts_is_checked_in_linear_time() {
    let mut large = genesis();
    large.accounts = (0..100_000_u32)
        .map(|index| {
            let mut bytes = [0; 32];
            bytes[..4].copy_from_slice(&index.to_be_bytes());
            GenesisAccount {
                address: Address::new(bytes),
                assets: vec![Asset::nsker(1)],
            }
        })
        .collect();
    let watch = std::time::Instant::now();
    assert_eq!(large.check(false), Ok(()));
    assert!(watch.elapsed().as_secs() < 5, "{:?}", watch.elapsed());
}
