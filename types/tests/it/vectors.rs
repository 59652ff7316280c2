//! Golden vectors of every signed, hashed or stored encoding, in `tests/vectors.json`.
//!
//! The file is part of the format: clients in other languages check themselves against it (see
//! `docs/encoding.md` and `clients/python`). `SKERRY_BLESS=1` writes it anew; a change of it is a
//! change of the format and a commit of its own.

use crate::fixtures as fixed;
use crate::tree::NaiveTree;
use borsh::BorshSerialize;
use serde_json::{Map, Value, json};
use skerry_types::block::{BlockKind, reveal_message};
use skerry_types::codec::{Version, encode};
use skerry_types::committee::genesis_digest;
use skerry_types::crypto::bls::aggregate;
use skerry_types::crypto::hash::{PURPOSES, list_root};
use skerry_types::ids::{
    Address, ChainRef, Denom, Digest, Epoch, Gas, Height, KeyScheme, Locality, ModuleId, ShardId,
    View,
};
use skerry_types::light::LightProof;
use skerry_types::merkle::{Level, leaf_hash, node_hash, value_hash};
use skerry_types::message::{BatchRecord, Message, channels_root};
use skerry_types::state::StateKey;
use skerry_types::transaction::{Authenticator, CheckedTransaction, SignedTransaction};
use skerry_types::vote::Statement;

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors.json");

fn bytes<T: BorshSerialize + ?Sized>(value: &T) -> String {
    hex::encode(encode(value))
}

fn raw(digest: &Digest) -> String {
    hex::encode(digest.as_bytes())
}

fn purposes() -> Value {
    PURPOSES
        .iter()
        .map(|purpose| json!(purpose.context()))
        .collect()
}

fn address(scheme: KeyScheme, key_bytes: &[u8], locality: Locality) -> Value {
    let address = Address::of_key_near(scheme, key_bytes, locality);
    json!({
        "scheme": scheme as u8,
        "key_bytes": hex::encode(key_bytes),
        "locality": locality.0,
        "default_locality": Address::default_locality(key_bytes).0,
        "bytes": hex::encode(address.as_bytes()),
        "text": address.to_string(),
        "shard_of_2": ChainRef::Shard(address.shard(1)).to_string(),
        "shard_of_8": ChainRef::Shard(address.shard(3)).to_string(),
    })
}

fn addresses() -> Value {
    let mut list = Vec::new();
    for byte in 1..=4 {
        let key = fixed::user_key(byte).public_key();
        list.push(address(
            KeyScheme::Ed25519,
            &key.0,
            Address::default_locality(&key.0),
        ));
    }
    let key = fixed::user_key(1).public_key();
    let neighbour = fixed::user(2).locality();
    list.push(address(KeyScheme::Ed25519, &key.0, neighbour));
    let (scheme, policy) = fixed::multisig().commitment();
    list.push(address(scheme, &policy, Address::default_locality(&policy)));
    list.into()
}

fn objects() -> Value {
    let object = Address::of_object(7, &fixed::user(1), 3, 9, 2);
    let system = |name: &str, chain: ChainRef| {
        let id = Address::of_system(4, chain, name.as_bytes());
        json!({
            "module": 4, "chain": chain.to_string(), "name": name,
            "bytes": hex::encode(id.as_bytes()),
        })
    };
    json!({
        "object": {
            "module": 7, "sender": fixed::user(1).to_string(), "stream": 3, "sequence": 9,
            "operation_index": 2, "bytes": hex::encode(object.as_bytes()),
        },
        "system": [system("x", ChainRef::Beacon), system("x", fixed::shard(1))],
    })
}

fn denoms() -> Value {
    let created = Denom::created(&fixed::user(1), "gold");
    let reserved = [Denom::SKER, Denom::STSKER, Denom::RSSKER]
        .map(|denom| json!({ "text": denom.to_string(), "bytes": hex::encode(denom.as_bytes()) }));
    json!({
        "reserved": reserved,
        "created": {
            "creator": fixed::user(1).to_string(), "name": "gold",
            "text": created.to_string(), "bytes": hex::encode(created.as_bytes()),
        },
    })
}

fn transaction(transaction: &SignedTransaction) -> Value {
    let body = &transaction.body;
    let checked = CheckedTransaction::decode(encode(transaction), &body.chain_id);
    let checked = checked.expect("well-formed");
    let authenticator = match &transaction.witness.authenticator {
        Authenticator::Ed25519(key) => json!({ "ed25519": hex::encode(key.0) }),
        Authenticator::Multisig { threshold, keys } => json!({
            "threshold": threshold,
            "keys": keys.iter().map(|key| hex::encode(key.0)).collect::<Vec<_>>(),
        }),
    };
    let operations = body.bundle.operations.iter();
    json!({
        "chain_id": raw(&body.chain_id),
        "sender": body.sender.to_string(),
        "stream": body.nonce.stream,
        "sequence": body.nonce.sequence,
        "valid_until": body.valid_until.get(),
        "gas_limit": body.gas_limit.get(),
        "gas_price": body.gas_price.to_string(),
        "target": "home",
        "assets": body.bundle.assets.iter().map(|asset| json!({
            "denom": asset.denom.to_string(), "amount": asset.amount.to_string(),
        })).collect::<Vec<_>>(),
        "operations": operations.map(|operation| json!({
            "module": operation.module.get(), "call": hex::encode(&operation.call),
        })).collect::<Vec<_>>(),
        "minimum_outputs": [],
        "deadline": body.bundle.deadline.get(),
        "body": bytes(body),
        "id": raw(&body.id()),
        "signing_digest": raw(&body.signing_digest()),
        "authenticator": authenticator,
        "signatures": transaction.witness.signatures.iter().map(|(position, signature)| json!({
            "position": position, "signature": hex::encode(signature.0),
        })).collect::<Vec<_>>(),
        "wire": bytes(transaction),
        "wire_hash": raw(&checked.wire_hash()),
    })
}

fn transactions() -> Value {
    let mut near = fixed::body_of(fixed::user(1));
    near.bundle.target = skerry_types::transaction::Target::Near(fixed::user(2));
    let mut beacon = fixed::body_of(fixed::user(1));
    beacon.bundle.target = skerry_types::transaction::Target::Beacon;
    json!({
        "seeds": (1..=3).map(|byte| hex::encode(fixed::user_key(byte).seed())).collect::<Vec<_>>(),
        "ed25519": transaction(&fixed::signed()),
        "multisig": transaction(&fixed::multisig_signed()),
        "bundle_near": bytes(&near.bundle),
        "bundle_beacon": bytes(&beacon.bundle),
        "bundle_onward": bytes(&fixed::routed()),
    })
}

fn list_roots() -> Value {
    (0..10_u8)
        .map(|count| {
            let items: Vec<Digest> = (0..count).map(fixed::digest).collect();
            json!({ "items": items.iter().map(raw).collect::<Vec<_>>(), "root": raw(&list_root(&items)) })
        })
        .collect()
}

fn blocks() -> Value {
    let mut headers = Map::new();
    for (name, kind) in [
        ("working", BlockKind::Working),
        ("idle", BlockKind::Idle),
        ("seal", BlockKind::Seal),
    ] {
        for chain in [ChainRef::Beacon, fixed::shard(1)] {
            let header = fixed::header(chain, kind);
            let value = json!({ "bytes": bytes(&header), "digest": raw(&header.digest()) });
            headers.insert(format!("{chain} {name}"), value);
        }
    }
    let body = fixed::body();
    let empty = skerry_types::block::Body::default();
    let chain_id = fixed::digest(0xc1);
    json!({
        "headers": headers,
        "body": { "bytes": bytes(&body), "root": raw(&body.root()) },
        "body_empty": { "bytes": bytes(&empty), "root": raw(&empty.root()) },
        "reveal_message": raw(&reveal_message(&chain_id, Epoch::new(2), View::new(13))),
        "genesis_digest": {
            "chain_id": raw(&chain_id),
            "beacon": raw(&genesis_digest(&chain_id, ChainRef::Beacon)),
            "shard-1/1": raw(&genesis_digest(&chain_id, fixed::shard(1))),
        },
    })
}

fn votes() -> Value {
    let committee = fixed::committee(fixed::shard(1));
    let (view, digest) = (View::new(5), fixed::digest(1));
    let statements = [
        ("notarize", Statement::Notarize { view, digest }),
        ("nullify", Statement::Nullify { view }),
        ("finalize", Statement::Finalize { view, digest }),
    ];
    let statements: Map<String, Value> = statements
        .into_iter()
        .map(|(name, statement)| {
            let certificate = fixed::certify(&committee, statement);
            let signing = statement.signing_digest(committee.instance());
            let value = json!({
                "bytes": bytes(&statement),
                "signing_digest": raw(&signing),
                "certificate": bytes(&certificate),
            });
            (name.to_owned(), value)
        })
        .collect();
    json!({ "instance": bytes(committee.instance()), "statements": statements })
}

fn bls() -> Value {
    let keys = [1_u8, 2].map(fixed::vote_key);
    let message = fixed::digest(5);
    let signatures = [keys[0].sign(&message), keys[1].sign(&message)];
    let one = |index: usize| {
        json!({
            "seed": hex::encode(keys[index].seed()),
            "public_key": hex::encode(keys[index].public_key().0),
            "possession": hex::encode(keys[index].prove_possession().0),
            "signature": hex::encode(signatures[index].0),
        })
    };
    let keys_json = [one(0), one(1)];
    json!({
        "message": raw(&message),
        "keys": keys_json,
        "aggregate": hex::encode(aggregate(&signatures).expect("two").0),
    })
}

fn messages() -> Value {
    let batch = fixed::batch();
    let hashed = |message: &Message| {
        let wire = encode(message);
        json!({ "bytes": hex::encode(&wire), "hash": raw(&Message::hash(&wire)) })
    };
    let record = BatchRecord {
        root: batch.root(),
        count: 3,
        bytes: batch.message_bytes(),
        gas: Gas::new(30_000),
        height: Height::new(8),
    };
    json!({
        "transfer": hashed(&fixed::transfer()),
        "request": hashed(&fixed::request()),
        "reply": hashed(&fixed::reply()),
        "batch": { "bytes": bytes(&batch), "root": raw(&batch.root()) },
        "rolling_root_after_zero": raw(&batch.roll(&Digest::ZERO)),
        "batch_record": bytes(&record),
        "channels": {
            "bytes": bytes(&(Version, fixed::channels())),
            "root": raw(&channels_root(&fixed::channels())),
            "root_without_peers": raw(&channels_root(&[])),
        },
    })
}

fn beacon() -> Value {
    json!({
        "shard_record": bytes(&fixed::shard_record()),
        "facts": { "bytes": bytes(&fixed::facts()), "root": raw(&fixed::facts().root()) },
        "evidence": {
            "votes": bytes(&fixed::double_vote()),
            "certificates": bytes(&fixed::double_certificate()),
            "final_headers": bytes(&fixed::fork()),
        },
    })
}

fn receipts() -> Value {
    let one = |receipt: skerry_types::receipt::Receipt| json!({ "bytes": bytes(&receipt), "hash": raw(&receipt.hash()) });
    json!({ "succeeded": one(fixed::receipt()), "claimed": one(fixed::failed_receipt()) })
}

fn genesis() -> Value {
    let genesis = fixed::genesis();
    let committees: Map<String, Value> = genesis
        .chains()
        .into_iter()
        .map(|chain| {
            let committee = genesis.committee(chain).expect("a chain of it");
            let leaders: Vec<Value> = (1..=18)
                .map(|view| json!(committee.leader(View::new(view)).expect("seats").get()))
                .collect();
            let value = json!({
                "bytes": bytes(&committee), "root": raw(&committee.root()),
                "leaders_of_views_from_1": leaders,
            });
            (chain.to_string(), value)
        })
        .collect();
    json!({
        "json": serde_json::to_value(&genesis).expect("serialises"),
        "bytes": hex::encode(genesis.to_bytes()),
        "chain_id": raw(&genesis.chain_id()),
        "committees": committees,
    })
}

fn tree() -> NaiveTree {
    let mut tree = NaiveTree::default();
    for byte in 1..=4 {
        for local in 0..3_u8 {
            let key = StateKey::new(fixed::user(byte), ModuleId::new(2), vec![b'b', local]);
            tree.put(key, vec![byte, local]);
        }
    }
    tree
}

fn merkle() -> Value {
    let (tree, owner) = (tree(), fixed::user(1));
    let key = StateKey::new(owner, ModuleId::new(2), vec![b'b', 1]);
    let absent = StateKey::new(owner, ModuleId::new(2), vec![b'b', 9]);
    let stranger = StateKey::new(fixed::user(9), ModuleId::new(2), vec![b'b', 1]);
    let (path, value) = (key.path(), value_hash(&[1, 1]));
    let leaf = leaf_hash(Level::Lower, &path, &value);
    let owner_path = Digest::new(*owner.as_bytes());
    let owner_root = tree.owner_root(&owner);
    let owners: Vec<Value> = (1..=4)
        .map(|byte| {
            let owner = fixed::user(byte);
            let entries: Vec<Value> = (0..3_u8)
                .map(|local| json!({
                    "module": 2, "local": hex::encode([b'b', local]), "value": hex::encode([byte, local]),
                }))
                .collect();
            json!({
                "owner": hex::encode(owner.as_bytes()), "entries": entries,
                "root": raw(&tree.owner_root(&owner)),
            })
        })
        .collect();
    json!({
        "leaf": {
            "key": bytes(&key), "path": raw(&path), "value": "0101", "value_hash": raw(&value),
            "leaf": raw(&leaf),
        },
        "owner_leaf": raw(&leaf_hash(Level::Upper, &owner_path, &owner_root)),
        "node_of_leaf_and_zero": raw(&node_hash(&leaf, &Digest::ZERO)),
        "owners": owners,
        "root": raw(&tree.root()),
        "key_present": bytes(&tree.prove_key(&key)),
        "key_absent": bytes(&tree.prove_key(&absent)),
        "owner_absent": bytes(&tree.prove_key(&stranger)),
        "owner_present": bytes(&tree.prove_owner(&owner)),
        "chunks_of_5": chunks(&tree),
    })
}

fn chunks(tree: &NaiveTree) -> Value {
    let (mut chunks, mut after) = (Vec::new(), None);
    loop {
        let chunk = tree.chunk(after.as_ref(), 5);
        let next = chunk.verify(&tree.root(), after.as_ref()).expect("holds");
        chunks.push(json!({ "after": bytes(&after), "chunk": bytes(&chunk) }));
        match next {
            Some(cursor) => after = Some(cursor),
            None => return chunks.into(),
        }
    }
}

/// A whole light proof: user 1 on its shard, whose state is [`tree`], known to the beacon.
fn light() -> Value {
    let genesis = fixed::genesis();
    let (states, owner) = (tree(), fixed::user(1));
    let chain = genesis.home(&owner);
    let mut record = fixed::shard_record();
    (record.chain, record.state_root) = (chain, states.root());
    let record_key = StateKey::new(
        Address::of_system(6, ChainRef::Beacon, b"example"),
        ModuleId::new(6),
        chain.to_bytes().to_vec(),
    );
    let mut beacon = NaiveTree::default();
    beacon.put(record_key.clone(), encode(&record));
    let mut header = fixed::header(ChainRef::Beacon, BlockKind::Idle);
    header.chain_id = genesis.chain_id();
    header.epoch = Epoch::ZERO;
    header.report.result.state_root = beacon.root();
    let proof = LightProof {
        version: Version,
        beacon_certificate: fixed::finalization(&header),
        beacon_header: header,
        shard_record: beacon.prove_key(&record_key),
        owner: states.prove_owner(&owner),
    };
    json!({ "record_key": bytes(&record_key), "owner": owner.to_string(), "bytes": bytes(&proof) })
}

fn all() -> Value {
    json!({
        "about": "Golden vectors of Skerry's encodings; see docs/encoding.md. Bytes are hexadecimal.",
        "version": skerry_types::codec::VERSION,
        "purposes": purposes(),
        "addresses": addresses(),
        "objects": objects(),
        "denoms": denoms(),
        "transactions": transactions(),
        "list_roots": list_roots(),
        "blocks": blocks(),
        "votes": votes(),
        "bls": bls(),
        "messages": messages(),
        "beacon": beacon(),
        "receipts": receipts(),
        "genesis": genesis(),
        "merkle": merkle(),
        "light_proof": light(),
    })
}

/// Names of what differs, deepest first.
fn differences(at: &str, expected: &Value, actual: &Value, found: &mut Vec<String>) {
    match (expected, actual) {
        (Value::Object(left), Value::Object(right)) => {
            let keys: std::collections::BTreeSet<&String> =
                left.keys().chain(right.keys()).collect();
            for key in keys {
                let (left, right) = (left.get(key), right.get(key));
                let null = Value::Null;
                let (left, right) = (left.unwrap_or(&null), right.unwrap_or(&null));
                differences(&format!("{at}/{key}"), left, right, found);
            }
        }
        (Value::Array(left), Value::Array(right)) if left.len() == right.len() => {
            for (index, (left, right)) in left.iter().zip(right).enumerate() {
                differences(&format!("{at}/{index}"), left, right, found);
            }
        }
        _ if expected == actual => {}
        _ => found.push(format!(
            "{at}\n  vectors.json: {expected}\n  this code:    {actual}"
        )),
    }
}

#[test]
fn encodings_are_those_of_the_golden_vectors() {
    let actual = all();
    if std::env::var_os("SKERRY_BLESS").is_some() {
        let text = serde_json::to_string_pretty(&actual).expect("serialises");
        std::fs::write(PATH, text + "\n").expect("writes the vectors");
        return;
    }
    let text = std::fs::read_to_string(PATH).expect("tests/vectors.json is there");
    let expected: Value = serde_json::from_str(&text).expect("vectors.json is JSON");
    let mut found = Vec::new();
    differences("", &expected, &actual, &mut found);
    assert!(
        found.is_empty(),
        "{} encodings changed:\n{}",
        found.len(),
        found.join("\n")
    );
}

#[test]
fn light_proof_of_the_vectors_leads_from_the_certificate_to_the_owner() {
    let text = light();
    let wire = hex::decode(text["bytes"].as_str().expect("hex")).expect("hex");
    let proof: LightProof = skerry_types::codec::decode(&wire, wire.len()).expect("decodes");
    let committee = fixed::committee(ChainRef::Beacon);
    let scheme = skerry_types::crypto::scheme::BlsScheme;
    assert_eq!(proof.beacon_certificate.verify(&committee, &scheme), Ok(()));
    assert_eq!(
        proof.beacon_certificate.statement.digest(),
        Some(proof.beacon_header.digest())
    );
    let key = hex::decode(text["record_key"].as_str().expect("hex")).expect("hex");
    let key: StateKey = skerry_types::codec::decode(&key, key.len()).expect("decodes");
    let root = proof.beacon_header.report.result.state_root;
    let record = proof
        .shard_record
        .verify(&root, &key)
        .expect("holds")
        .expect("present");
    let record: skerry_types::beacon::ShardRecord =
        skerry_types::codec::decode(record, record.len()).expect("decodes");
    let entries = proof
        .owner
        .verify(&record.state_root, &fixed::user(1))
        .expect("holds");
    assert_eq!(entries.len(), 3);
    assert_eq!(
        record.chain,
        ChainRef::Shard(ShardId::new(1, fixed::user(1).shard(1).bits()).unwrap())
    );
}
