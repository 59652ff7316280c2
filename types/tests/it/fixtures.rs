//! Fixed values that the other files share: keys from repeated bytes, one of each type.

use skerry_types::amount::{Amount, Asset};
use skerry_types::beacon::{
    CommitteeRef, CrossLink, EpochRecord, Facts, Randomness, Ready, ShardRecord, SystemOperation,
};
use skerry_types::block::{
    BlockKind, BlockRef, Body, ExecutionResult, Header, NextCommittee, ParentVotes, Report,
};
use skerry_types::certificate::{Bitmap, Certificate};
use skerry_types::codec::Version;
use skerry_types::committee::VerifyingCommittee;
use skerry_types::crypto::scheme::{BlsScheme, VoteScheme as _};
use skerry_types::crypto::{bls, ed25519};
use skerry_types::evidence::{Evidence, FinalHeader};
use skerry_types::genesis::{Genesis, GenesisAccount, GenesisValidator, Parameters};
use skerry_types::ids::{
    Address, ChainRef, Denom, Digest, Epoch, Gas, Height, MemberIndex, ModuleId, Sequence, ShardId,
    TimeMs, ValidatorId, View, Weight,
};
use skerry_types::merkle::{KeyProof, PathProof};
use skerry_types::message::{
    Batch, BatchProof, ChannelSummary, Credit, Flow, InboundBatch, LegGas, Message, MessageId,
    Payload,
};
use skerry_types::receipt::{Attribute, Event, Failure, Receipt, Status, Subject};
use skerry_types::transaction::{
    Authenticator, Bundle, Leg, Nonce, Operation, SignedTransaction, Target, TransactionBody,
    Witness,
};
use skerry_types::vote::{Statement, Vote};

pub(crate) fn digest(byte: u8) -> Digest {
    Digest::new([byte; 32])
}

pub(crate) fn shard(bits: u16) -> ChainRef {
    ChainRef::Shard(ShardId::new(1, bits).expect("two shards"))
}

pub(crate) fn user_key(byte: u8) -> ed25519::SecretKey {
    ed25519::SecretKey::from_seed([byte; 32])
}

pub(crate) fn vote_key(byte: u8) -> bls::SecretKey {
    bls::SecretKey::from_seed([byte; 32])
}

pub(crate) fn user(byte: u8) -> Address {
    Address::of_ed25519(&user_key(byte).public_key())
}

pub(crate) fn multisig() -> Authenticator {
    let mut keys: Vec<_> = (1..=3).map(|byte| user_key(byte).public_key()).collect();
    keys.sort_unstable();
    Authenticator::Multisig { threshold: 2, keys }
}

/// The call bytes stand for a module's own encoding; the bank's are in docs/encoding.md.
pub(crate) fn bundle() -> Bundle {
    Bundle {
        target: Target::Home,
        assets: vec![Asset::nsker(5_000_000_000)],
        operations: vec![Operation {
            module: ModuleId::new(2),
            call: b"call".to_vec(),
        }],
        minimum_outputs: Vec::new(),
        deadline: Height::new(600),
        onward: Vec::new(),
    }
}

/// Runs near a user and then on the beacon.
pub(crate) fn routed() -> Bundle {
    Bundle {
        target: Target::Near(user(2)),
        onward: vec![Leg {
            target: Target::Beacon,
            operations: vec![Operation {
                module: ModuleId::new(7),
                call: b"onward".to_vec(),
            }],
            minimum_outputs: vec![Asset::nsker(3)],
        }],
        ..bundle()
    }
}

pub(crate) fn body_of(sender: Address) -> TransactionBody {
    TransactionBody {
        version: Version,
        chain_id: digest(0xc1),
        sender,
        nonce: Nonce {
            stream: 3,
            sequence: 7,
        },
        valid_until: Height::new(500),
        gas_limit: Gas::new(60_000),
        gas_price: Amount::new(10),
        bundle: bundle(),
    }
}

pub(crate) fn signed() -> SignedTransaction {
    body_of(user(1)).sign(&user_key(1))
}

pub(crate) fn multisig_signed() -> SignedTransaction {
    let authenticator = multisig();
    let (scheme, bytes) = authenticator.commitment();
    let sender = Address::of_key_near(scheme, &bytes, Address::default_locality(&bytes));
    let body = body_of(sender);
    let signing = body.signing_digest();
    let Authenticator::Multisig { keys, .. } = &authenticator else {
        unreachable!()
    };
    let signatures = (1..=3)
        .map(user_key)
        .filter_map(|key| {
            let position = keys.iter().position(|public| *public == key.public_key())?;
            Some((u8::try_from(position).ok()?, key.sign(signing.as_bytes())))
        })
        .collect::<std::collections::BTreeMap<_, _>>()
        .into_iter()
        .take(2)
        .collect();
    SignedTransaction {
        body,
        witness: Witness {
            authenticator,
            signatures,
        },
    }
}

pub(crate) fn genesis() -> Genesis {
    let validators = (0..4_u8)
        .map(|index| {
            let key = vote_key(0x40 + index);
            GenesisValidator {
                name: format!("validator-{index}"),
                vote_key: key.public_key(),
                possession: key.prove_possession(),
                operator: Address::of_ed25519(&user_key(index).public_key()),
                stake: Weight::new(100 + u64::from(index)),
            }
        })
        .collect();
    let ids = |list: &[u32]| {
        list.iter()
            .copied()
            .map(ValidatorId::new)
            .collect::<Vec<_>>()
    };
    let account = |byte: u8, units: u128| GenesisAccount {
        address: user(byte),
        assets: vec![Asset::nsker(units)],
    };
    Genesis {
        version: Version,
        name: "vectors".to_owned(),
        salt: digest(0x5a),
        time: TimeMs::new(1_790_000_000_000),
        development: true,
        shard_depth: 1,
        // Not the default, which may change without a change of format.
        parameters: Parameters {
            delta_ms: 500,
            idle_interval_ms: 500,
            beacon_interval_ms: 250,
            epoch_ms: 0,
            base_fee: Amount::new(10),
            block_gas: Gas::new(400_000_000),
            inbound_gas: Gas::new(200_000_000),
            min_bond: Weight::new(1_000),
            unbonding_epochs: 4,
            overdue_epochs: 32,
            jail_epochs: 2,
            slash_bps: 500,
        },
        validators,
        seats: vec![ids(&[0, 1, 2, 3]), ids(&[0, 0, 0, 1, 1, 1, 2, 2, 3])],
        accounts: vec![account(1, 1_000_000_000_000), account(2, 1)],
    }
}

pub(crate) fn committee(chain: ChainRef) -> VerifyingCommittee {
    genesis()
        .verifying_committee(chain, &BlsScheme)
        .expect("well-formed")
}

pub(crate) fn report() -> Report {
    Report {
        block: BlockRef {
            height: Height::new(8),
            digest: digest(8),
        },
        result: ExecutionResult {
            state_root: digest(0x51),
            receipts_root: digest(0x52),
            channels_root: digest(0x53),
            gas: Gas::new(123_456),
            burnt: Amount::new(1_234_560),
            base_fee: Amount::new(1_270),
        },
    }
}

pub(crate) fn header(chain: ChainRef, kind: BlockKind) -> Header {
    let is_beacon = chain.is_beacon();
    Header {
        version: Version,
        chain_id: digest(0xc1),
        chain,
        epoch: Epoch::new(2),
        height: Height::new(10),
        view: View::new(13),
        kind,
        parent: digest(9),
        proposer: MemberIndex::new(3),
        time: TimeMs::new(1_790_000_001_000),
        beacon: BlockRef {
            height: Height::new(77),
            digest: digest(0x77),
        },
        body_root: if kind == BlockKind::Working {
            body().root()
        } else {
            Digest::ZERO
        },
        report: report(),
        facts_root: if is_beacon {
            facts().root()
        } else {
            Digest::ZERO
        },
        next: (kind == BlockKind::Seal).then_some(NextCommittee {
            epoch: Epoch::new(3),
            root: digest(0x3c),
            weight: 406,
        }),
        reveal: is_beacon.then(|| vote_key(0x43).sign(&digest(0x4e))),
    }
}

/// A certificate over a statement by all members of a committee but its last.
pub(crate) fn certify(committee: &VerifyingCommittee, statement: Statement) -> Certificate {
    let members = &committee.committee().members;
    let signers: Vec<MemberIndex> = (0..members.len() - 1)
        .map(|index| MemberIndex::new(u16::try_from(index).expect("few")))
        .collect();
    let message = statement.signing_digest(committee.instance());
    let signatures: Vec<bls::Signature> = signers
        .iter()
        .map(|index| {
            let validator = members[index.index()].validator.get();
            vote_key(0x40 + u8::try_from(validator).expect("few")).sign(&message)
        })
        .collect();
    Certificate {
        statement,
        signers: Bitmap::of(signers, members.len()),
        signature: BlsScheme.aggregate(&signatures).expect("not empty"),
    }
}

pub(crate) fn finalization(header: &Header) -> Certificate {
    let statement = Statement::Finalize {
        view: header.view,
        digest: header.digest(),
    };
    certify(&committee(header.chain), statement)
}

pub(crate) fn message_id() -> MessageId {
    MessageId {
        source: shard(0),
        destination: shard(1),
        sequence: Sequence::new(41),
    }
}

pub(crate) fn transfer() -> Message {
    Message {
        version: Version,
        origin: signed().body.id(),
        payload: Payload::Transfer {
            sender: user(1),
            recipient: user(2),
            assets: vec![Asset::nsker(5_000_000_000)],
        },
    }
}

pub(crate) fn request() -> Message {
    Message {
        version: Version,
        origin: signed().body.id(),
        payload: Payload::Request {
            sender: Some(user(1)),
            beneficiary: user(1),
            reply_to: message_id(),
            hops: 1,
            via: vec![shard(1)],
            gas: Gas::new(9_000),
            gas_price: Amount::new(12),
            prepaid: Amount::new(500_000),
            onward_gas: vec![LegGas {
                gas: Gas::new(7_000),
                price: Amount::new(13),
            }],
            bundle: routed(),
        },
    }
}

pub(crate) fn reply() -> Message {
    Message {
        version: Version,
        origin: signed().body.id(),
        payload: Payload::Reply {
            request: message_id(),
            via: vec![shard(0), ChainRef::Beacon],
            code: 7,
            gas_left: Amount::new(100),
            beneficiary: user(1),
            assets: vec![Asset::nsker(1)],
        },
    }
}

pub(crate) fn batch() -> Batch {
    Batch {
        version: Version,
        source: shard(0),
        destination: shard(1),
        first: Sequence::new(41),
        messages: [transfer(), request(), reply()]
            .iter()
            .map(skerry_types::codec::encode)
            .collect(),
    }
}

fn flow(base: u64) -> Flow {
    Flow {
        messages: base,
        bytes: base * 100,
        gas: base * 1_000,
        sker: u128::from(base) * 10_000,
        stsker: u128::from(base) * 20_000,
        rssker: u128::from(base) * 30_000,
    }
}

pub(crate) fn channels() -> Vec<ChannelSummary> {
    [ChainRef::Beacon, shard(1)]
        .into_iter()
        .map(|peer| ChannelSummary {
            peer,
            sent: flow(2),
            accepted: flow(3),
            executed: 3,
            granted: Credit {
                bytes: 5_000,
                gas: 6_000,
            },
            returned: Credit { bytes: 70, gas: 80 },
        })
        .collect()
}

pub(crate) fn shard_record() -> ShardRecord {
    ShardRecord {
        version: Version,
        chain: shard(0),
        epoch: Epoch::new(2),
        genesis: digest(0x5e),
        header: BlockRef {
            height: Height::new(10),
            digest: digest(10),
        },
        reported: BlockRef {
            height: Height::new(8),
            digest: digest(8),
        },
        state_root: digest(0x51),
        channels_root: digest(0x53),
        channels: channels(),
        linked_at: Height::new(77),
        supply: vec![Asset {
            denom: Denom::SKER,
            amount: Amount::new(1_000_000),
        }],
        base_fee: Amount::new(10),
        fenced: false,
    }
}

pub(crate) fn epoch_record() -> EpochRecord {
    EpochRecord {
        version: Version,
        epoch: Epoch::new(2),
        protocol: 1,
        randomness: Randomness::Reveals,
        started: TimeMs::new(1_700_000_000_000),
        committees: vec![CommitteeRef {
            root: digest(0x54),
            weight: 406,
        }],
    }
}

pub(crate) fn ready() -> Ready {
    let (validator, chain, epoch) = (ValidatorId::new(2), shard(1), Epoch::new(3));
    let message = Ready::signing_digest(&digest(0xc1), validator, chain, epoch);
    Ready {
        validator,
        chain,
        epoch,
        signature: vote_key(0x42).sign(&message),
    }
}

/// Two notarizes of one member in one view.
pub(crate) fn double_vote() -> Evidence {
    let committee = committee(shard(0));
    let vote = |digest| {
        let statement = Statement::Notarize {
            view: View::new(9),
            digest,
        };
        let message = statement.signing_digest(committee.instance());
        Vote {
            statement,
            signer: MemberIndex::new(0),
            signature: vote_key(0x40).sign(&message),
        }
    };
    let place = (shard(0), committee.instance().epoch);
    Evidence::of_votes(place, vote(digest(2)), vote(digest(1))).expect("they contradict")
}

/// A notarization and a finalization of different blocks in one view.
pub(crate) fn double_certificate() -> Evidence {
    let committee = committee(shard(0));
    let (view, place) = (View::new(9), (shard(0), committee.instance().epoch));
    let notarize = Statement::Notarize {
        view,
        digest: digest(1),
    };
    let finalize = Statement::Finalize {
        view,
        digest: digest(2),
    };
    let (one, other) = (certify(&committee, finalize), certify(&committee, notarize));
    Evidence::of_certificates(place, one, other).expect("they contradict")
}

/// Two final blocks at one height.
pub(crate) fn fork() -> Evidence {
    let side = |view| {
        let mut header = header(shard(0), BlockKind::Idle);
        header.view = View::new(view);
        FinalHeader {
            certificate: finalization(&header),
            header,
            path: Vec::new(),
        }
    };
    Evidence::of_finals(side(13), side(15)).expect("they are two")
}

pub(crate) fn facts() -> Facts {
    Facts {
        version: Version,
        epoch: epoch_record(),
        shards: vec![shard_record()],
        beacon_channels: channels(),
    }
}

pub(crate) fn key_proof() -> KeyProof {
    KeyProof::Present {
        value: b"value".to_vec(),
        lower: PathProof::from_siblings(&[digest(0x61)]),
        upper: PathProof::from_siblings(&[digest(0x62), Digest::ZERO, digest(0x63)]),
    }
}

pub(crate) fn body() -> Body {
    // Not `header(…, Working)`: its body root would ask for this very body.
    let linked = header(shard(0), BlockKind::Idle);
    let certificate = finalization(&linked);
    Body {
        version: Version,
        parent_votes: Some(ParentVotes {
            view: View::new(12),
            signers: certificate.signers.clone(),
            signature: certificate.signature,
        }),
        facts: Some(facts()),
        system: vec![
            SystemOperation::CrossLink(Box::new(CrossLink {
                header: linked.clone(),
                path: Vec::new(),
                certificate: certificate.clone(),
                channels: channels(),
            })),
            SystemOperation::Ready(ready()),
            SystemOperation::Evidence(Box::new(double_vote())),
        ],
        inbound: vec![InboundBatch {
            batch: batch(),
            proof: BatchProof {
                header: linked.clone(),
                path: vec![linked],
                certificate,
                record: key_proof(),
            },
        }],
        transactions: [signed(), multisig_signed()]
            .iter()
            .map(skerry_types::codec::encode)
            .collect(),
    }
}

pub(crate) fn receipt() -> Receipt {
    Receipt {
        version: Version,
        subject: Subject::Transaction(signed().body.id()),
        status: Status::Succeeded,
        gas: Gas::new(50_000),
        fee: Amount::new(500_000),
        messages: vec![message_id()],
        events: vec![Event {
            module: ModuleId::new(2),
            owner: user(1),
            name: "transfer".into(),
            attributes: attributes(),
        }],
    }
}

/// One of each kind.
pub(crate) fn attributes() -> Vec<Attribute> {
    let attribute = |name: &'static str, value| Attribute {
        name: name.into(),
        value,
    };
    vec![
        attribute("sender", user(2).into()),
        attribute("denom", Denom::SKER.into()),
        attribute("amount", Amount::new(5_000_000_000).into()),
        attribute("validator", 7_u32.into()),
        attribute("to", "nobody".into()),
    ]
}

pub(crate) fn failed_receipt() -> Receipt {
    let failure = Failure {
        module: ModuleId::new(2),
        code: "INSUFFICIENT_BALANCE".to_owned(),
        detail: "expected 5, found 3".to_owned(),
    };
    Receipt {
        subject: Subject::Message {
            id: message_id(),
            origin: digest(1),
        },
        status: Status::Claimed(failure),
        ..receipt()
    }
}
