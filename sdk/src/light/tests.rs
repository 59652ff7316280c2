//! A light proof of a network made by hand: it verifies as it is, for its owner, under its genesis,
//! and any single changed byte makes it fail.

use super::{LightError, TrustedNetwork};
use skerry_execution::views;
use skerry_types::amount::{Amount, Asset};
use skerry_types::beacon::ShardRecord;
use skerry_types::block::{BlockKind, BlockRef, ExecutionResult, Header, NextCommittee, Report};
use skerry_types::certificate::{Bitmap, Certificate};
use skerry_types::codec::{self, Version};
use skerry_types::committee::{Instance, genesis_digest};
use skerry_types::crypto::bls::{SecretKey, aggregate};
use skerry_types::genesis::{Genesis, GenesisValidator, Parameters};
use skerry_types::ids::{
    Address, ChainRef, Denom, Digest, Epoch, Gas, Height, MemberIndex, ModuleId, TimeMs,
    ValidatorId, View, Weight,
};
use skerry_types::light::{LightProof, SealProof};
use skerry_types::merkle::{
    Gap, KeyProof, Level, OwnerEntry, OwnerProof, PathProof, bit, leaf_hash, root_of_sorted,
    value_hash,
};
use skerry_types::state::StateKey;
use skerry_types::vote::Statement;

const VALIDATORS: u16 = 4;

fn secret(index: u16) -> SecretKey {
    SecretKey::from_seed([u8::try_from(index).unwrap() + 1; 32])
}

fn genesis(salt: u8) -> Genesis {
    let validators = (0..VALIDATORS).map(|index| GenesisValidator {
        name: format!("v{index}"),
        vote_key: secret(index).public_key(),
        possession: secret(index).prove_possession(),
        operator: Address::new([0x84; 32]),
        stake: Weight::new(100),
    });
    let seats: Vec<ValidatorId> = (0..u32::from(VALIDATORS)).map(ValidatorId::new).collect();
    Genesis {
        version: Version,
        name: "light".to_owned(),
        salt: Digest::new([salt; 32]),
        time: TimeMs::new(1),
        development: true,
        shard_depth: 1,
        parameters: Parameters::default(),
        validators: validators.collect(),
        seats: vec![seats.clone(), seats],
        accounts: Vec::new(),
    }
}

/// A compact tree by its leaves, with the proof of any path: the naive definition.
struct Tree(Vec<(Digest, Digest)>);

impl Tree {
    fn new(mut leaves: Vec<(Digest, Digest)>) -> Self {
        leaves.sort_unstable();
        Self(leaves)
    }

    fn root(&self) -> Digest {
        root_of_sorted(&self.0)
    }

    /// Siblings from the root down to where `path` ends, and the leaf that is there.
    fn proof(&self, path: &Digest) -> (PathProof, Option<(Digest, Digest)>) {
        let mut siblings = Vec::new();
        let mut here: Vec<(Digest, Digest)> = self.0.clone();
        for depth in 0.. {
            if here.len() <= 1 {
                break;
            }
            let side = bit(path, depth);
            let (same, other): (Vec<_>, Vec<_>) = here
                .into_iter()
                .partition(|(leaf, _)| bit(leaf, depth) == side);
            // Below the common prefix of `other` its root is found as in a tree of its own.
            siblings.push(root_below(&other, depth + 1));
            here = same;
        }
        (PathProof::from_siblings(&siblings), here.first().copied())
    }
}

fn root_below(leaves: &[(Digest, Digest)], depth: u16) -> Digest {
    match leaves {
        [] => Digest::ZERO,
        [(_, leaf)] => *leaf,
        _ => {
            let (left, right): (Vec<_>, Vec<_>) = leaves
                .iter()
                .copied()
                .partition(|(path, _)| !bit(path, depth));
            skerry_types::merkle::node_hash(
                &root_below(&left, depth + 1),
                &root_below(&right, depth + 1),
            )
        }
    }
}

fn path(owner: &Address) -> Digest {
    Digest::new(*owner.as_bytes())
}

fn owner_tree(owner: &Address, entries: &[OwnerEntry]) -> Tree {
    let leaf = |entry: &OwnerEntry| {
        let path = StateKey::new(*owner, entry.module, entry.local.clone()).path();
        (
            path,
            leaf_hash(Level::Lower, &path, &value_hash(&entry.value)),
        )
    };
    Tree::new(entries.iter().map(leaf).collect())
}

/// The upper tree of owners with their records.
fn upper_tree(owners: &[(Address, Vec<OwnerEntry>)]) -> Tree {
    let leaf = |(owner, entries): &(Address, Vec<OwnerEntry>)| {
        let root = owner_tree(owner, entries).root();
        (path(owner), leaf_hash(Level::Upper, &path(owner), &root))
    };
    Tree::new(owners.iter().map(leaf).collect())
}

fn entry_of(key: &StateKey, value: Vec<u8>) -> OwnerEntry {
    OwnerEntry {
        module: key.module,
        local: key.local.to_vec(),
        value,
    }
}

fn balance_entry(owner: &Address, denom: &Denom, units: u128) -> OwnerEntry {
    entry_of(
        &views::balance_key(owner, denom),
        codec::encode(&(Version, units)),
    )
}

struct Network {
    genesis: Genesis,
    owner: Address,
    absent: Address,
    proof: LightProof,
    proof_of_absence: LightProof,
}

fn in_order(owner: &Address, mut entries: Vec<OwnerEntry>) -> Vec<OwnerEntry> {
    entries.sort_by_key(|entry| StateKey::new(*owner, entry.module, entry.local.clone()).path());
    entries
}

fn network(salt: u8) -> Network {
    let genesis = genesis(salt);
    let (owner, absent) = (Address::new([0x85; 32]), Address::new([0x86; 32]));
    let home = genesis.home(&owner);
    let entries = in_order(
        &owner,
        vec![
            balance_entry(&owner, &Denom::SKER, 5_000_000_000),
            balance_entry(&owner, &Denom::STSKER, 7),
            OwnerEntry {
                module: ModuleId::new(1),
                local: b"n".to_vec(),
                value: vec![3],
            },
        ],
    );
    let mut owners = vec![(owner, entries.clone())];
    for other in [0x01, 0x80, 0x84, 0xff] {
        let other = Address::new([other; 32]);
        owners.push((other, vec![balance_entry(&other, &Denom::SKER, 1)]));
    }
    let shard = upper_tree(&owners);
    let record = ShardRecord {
        version: Version,
        chain: home,
        epoch: Epoch::ZERO,
        genesis: Digest::ZERO,
        header: BlockRef {
            height: Height::new(12),
            digest: Digest::new([4; 32]),
        },
        reported: BlockRef {
            height: Height::new(11),
            digest: Digest::new([5; 32]),
        },
        state_root: shard.root(),
        channels_root: Digest::ZERO,
        channels: Vec::new(),
        linked_at: Height::new(6),
        supply: vec![Asset::nsker(5_000_000_004)],
        base_fee: Amount::new(10),
        fenced: false,
    };
    let key = views::shard_record_key(home);
    let record_entry = entry_of(&key, codec::encode(&record));
    let noise = OwnerEntry {
        module: ModuleId::new(6),
        local: b"other".to_vec(),
        value: vec![1],
    };
    let system = in_order(&key.owner, vec![record_entry, noise]);
    let elsewhere = Address::new([0x33; 32]);
    let beacon = upper_tree(&[
        (key.owner, system.clone()),
        (elsewhere, vec![balance_entry(&elsewhere, &Denom::SKER, 2)]),
    ]);
    let shard_record = KeyProof::Present {
        value: codec::encode(&record),
        lower: owner_tree(&key.owner, &system).proof(&key.path()).0,
        upper: beacon.proof(&path(&key.owner)).0,
    };
    let beacon_header = header(&genesis, beacon.root());
    let proof = LightProof {
        version: Version,
        beacon_certificate: finalize(&genesis, &beacon_header, 0..3),
        beacon_header,
        shard_record,
        owner: OwnerProof::Present {
            entries,
            upper: shard.proof(&path(&owner)).0,
        },
    };
    let (upper, found) = shard.proof(&path(&absent));
    let gap = match found {
        None => Gap::Empty,
        Some((found, _)) => {
            let (owner, entries) = owners
                .iter()
                .find(|(owner, _)| path(owner) == found)
                .unwrap()
                .clone();
            Gap::Other {
                path: found,
                value: owner_tree(&owner, &entries).root(),
            }
        }
    };
    let proof_of_absence = LightProof {
        owner: OwnerProof::Absent { gap, upper },
        ..proof.clone()
    };
    Network {
        genesis,
        owner,
        absent,
        proof,
        proof_of_absence,
    }
}

fn header(genesis: &Genesis, state_root: Digest) -> Header {
    let chain_id = genesis.chain_id();
    let parent = BlockRef {
        height: Height::new(6),
        digest: Digest::new([6; 32]),
    };
    Header {
        version: Version,
        chain_id,
        chain: ChainRef::Beacon,
        epoch: Epoch::ZERO,
        height: Height::new(7),
        view: View::new(8),
        kind: BlockKind::Working,
        parent: parent.digest,
        proposer: MemberIndex::new(1),
        time: TimeMs::new(99),
        beacon: parent,
        body_root: Digest::new([8; 32]),
        report: Report {
            block: parent,
            result: ExecutionResult {
                state_root,
                receipts_root: Digest::ZERO,
                channels_root: Digest::ZERO,
                gas: Gas::ZERO,
                burnt: Amount::ZERO,
                base_fee: Amount::ZERO,
            },
        },
        facts_root: Digest::new([9; 32]),
        next: None,
        reveal: None,
    }
}

fn certify(genesis: &Genesis, statement: Statement, signers: std::ops::Range<u16>) -> Certificate {
    let chain_id = genesis.chain_id();
    let start = genesis_digest(&chain_id, ChainRef::Beacon);
    certify_in(genesis, (Epoch::ZERO, start), statement, signers)
}

fn certify_in(
    genesis: &Genesis,
    (epoch, start): (Epoch, Digest),
    statement: Statement,
    signers: std::ops::Range<u16>,
) -> Certificate {
    let instance = Instance {
        chain_id: genesis.chain_id(),
        chain: ChainRef::Beacon,
        epoch,
        genesis: start,
    };
    let message = statement.signing_digest(&instance);
    let signatures: Vec<_> = signers
        .clone()
        .map(|index| secret(index).sign(&message))
        .collect();
    Certificate {
        statement,
        signers: Bitmap::of(signers.map(MemberIndex::new), VALIDATORS.into()),
        signature: aggregate(&signatures).unwrap(),
    }
}

fn finalize(genesis: &Genesis, header: &Header, signers: std::ops::Range<u16>) -> Certificate {
    let statement = Statement::Finalize {
        view: header.view,
        digest: header.digest(),
    };
    certify(genesis, statement, signers)
}

#[test]
fn a_proof_shows_all_balances_of_its_owner() {
    let network = network(1);
    let trusted = TrustedNetwork::new(&network.genesis).unwrap();
    let verified = trusted
        .verify(&codec::encode(&network.proof), &network.owner)
        .unwrap();
    let stsker = Asset {
        denom: Denom::STSKER,
        amount: Amount::new(7),
    };
    let mut expected = vec![Asset::nsker(5_000_000_000), stsker];
    expected.sort_unstable();
    assert_eq!(verified.balances, expected);
    assert_eq!(verified.block.height, Height::new(11));
    assert_eq!(verified.beacon, network.proof.beacon_header.block_ref());
    assert_eq!(verified.records.len(), 3);
}

#[test]
fn a_proof_of_absence_shows_nothing_and_only_for_the_absent() {
    let network = network(1);
    let trusted = TrustedNetwork::new(&network.genesis).unwrap();
    let bytes = codec::encode(&network.proof_of_absence);
    assert!(
        trusted
            .verify(&bytes, &network.absent)
            .unwrap()
            .records
            .is_empty()
    );
    assert!(matches!(
        trusted.verify(&bytes, &network.owner),
        Err(LightError::Owner(_))
    ));
}

#[test]
fn a_proof_is_for_its_owner_alone() {
    let network = network(1);
    let trusted = TrustedNetwork::new(&network.genesis).unwrap();
    let bytes = codec::encode(&network.proof);
    assert!(matches!(
        trusted.verify(&bytes, &network.absent),
        Err(LightError::Owner(_))
    ));
    // An owner of the other shard: the record is proven under another key.
    let other = Address::new([0x05; 32]);
    assert!(matches!(
        trusted.verify(&bytes, &other),
        Err(LightError::ShardRecord(_))
    ));
}

#[test]
fn another_networks_genesis_fails() {
    let (network, other) = (network(1), network(2));
    let trusted = TrustedNetwork::new(&other.genesis).unwrap();
    let result = trusted.verify(&codec::encode(&network.proof), &network.owner);
    assert!(matches!(result, Err(LightError::Network { .. })));
}

#[test]
fn only_a_finalization_of_this_header_by_a_quorum_counts() {
    let network = network(1);
    let trusted = TrustedNetwork::new(&network.genesis).unwrap();
    let header = &network.proof.beacon_header;
    let verify = |certificate: Certificate| {
        let proof = LightProof {
            beacon_certificate: certificate,
            ..network.proof.clone()
        };
        trusted.verify(&codec::encode(&proof), &network.owner)
    };
    let notarized = Statement::Notarize {
        view: header.view,
        digest: header.digest(),
    };
    let notarized = certify(&network.genesis, notarized, 0..3);
    assert!(matches!(verify(notarized), Err(LightError::Statement)));
    let other = Statement::Finalize {
        view: header.view,
        digest: Digest::new([1; 32]),
    };
    let other = certify(&network.genesis, other, 0..3);
    assert!(matches!(verify(other), Err(LightError::Statement)));
    let few = finalize(&network.genesis, header, 0..2);
    assert!(matches!(verify(few), Err(LightError::Certificate(_))));
    assert!(verify(finalize(&network.genesis, header, 1..4)).is_ok());
}

/// Flips of every bit of every byte are too many for one test run with BLS; each byte gets one flip
/// of a low and one of a high bit, and its complement.
#[test]
fn every_flipped_byte_makes_a_proof_fail() {
    let network = network(1);
    let trusted = TrustedNetwork::new(&network.genesis).unwrap();
    for (proof, owner) in [
        (&network.proof, &network.owner),
        (&network.proof_of_absence, &network.absent),
    ] {
        let good = codec::encode(proof);
        assert!(trusted.verify(&good, owner).is_ok());
        for position in 0..good.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut bad = good.clone();
                bad[position] ^= flip;
                assert!(
                    trusted.verify(&bad, owner).is_err(),
                    "byte {position} ^ {flip:#x}"
                );
            }
        }
        let (mut longer, mut shorter) = (good.clone(), good);
        longer.push(0);
        shorter.pop();
        assert!(trusted.verify(&longer, owner).is_err());
        assert!(trusted.verify(&shorter, owner).is_err());
    }
}

/// The seal of epoch 0, which names a committee of the first three validators for epoch 2.
fn seal(genesis: &Genesis) -> SealProof {
    let mut committee = genesis.committee(ChainRef::Beacon).unwrap();
    committee.epoch = Epoch::new(2);
    committee.members.truncate(3);
    committee.seats.truncate(3);
    let mut header = header(genesis, Digest::ZERO);
    header.kind = BlockKind::Seal;
    header.next = Some(NextCommittee {
        epoch: committee.epoch,
        root: committee.root(),
        weight: committee.total_weight(),
    });
    SealProof {
        version: Version,
        certificate: finalize(genesis, &header, 0..3),
        header,
        committee,
    }
}

#[test]
fn committees_are_followed_from_seal_to_seal() {
    let mut network = network(1);
    let mut trusted = TrustedNetwork::new(&network.genesis).unwrap();
    let seal = seal(&network.genesis);
    trusted.advance(&codec::encode(&seal)).unwrap();
    assert_eq!(trusted.epoch(), Epoch::new(2));
    // What the old committee finalizes proves nothing any more, what the new one does counts.
    let old = trusted.verify(&codec::encode(&network.proof), &network.owner);
    assert!(matches!(old, Err(LightError::Header { .. })));
    let proof = &mut network.proof;
    proof.beacon_header.epoch = Epoch::new(2);
    let statement = Statement::Finalize {
        view: proof.beacon_header.view,
        digest: proof.beacon_header.digest(),
    };
    let instance = (Epoch::new(2), seal.header.digest());
    for (signers, good) in [(0..3, true), (0..2, false)] {
        let proof = &mut network.proof;
        proof.beacon_certificate = certify_in(&network.genesis, instance, statement, signers);
        let bitmap = proof.beacon_certificate.signers.members(4).unwrap();
        proof.beacon_certificate.signers = Bitmap::of(bitmap, 3);
        let verified = trusted.verify(&codec::encode(&network.proof), &network.owner);
        assert_eq!(verified.is_ok(), good, "{verified:?}");
    }
}

#[test]
fn only_a_final_seal_and_the_committee_that_it_names_are_believed() {
    let genesis = genesis(1);
    let trusted = TrustedNetwork::new(&genesis).unwrap();
    let good = seal(&genesis);
    let refuse = |edit: &dyn Fn(&mut SealProof)| {
        let (mut trusted, mut seal) = (trusted.clone(), good.clone());
        edit(&mut seal);
        let refused = trusted.advance(&codec::encode(&seal)).unwrap_err();
        assert_eq!(trusted.epoch(), Epoch::ZERO, "nothing is believed of it");
        refused
    };
    let another = refuse(&|seal| seal.committee.seed = Digest::ZERO);
    assert!(matches!(another, LightError::Seal(_)));
    let unfinal = refuse(&|seal| seal.certificate = finalize(&genesis, &seal.header, 0..2));
    assert!(matches!(unfinal, LightError::Certificate(_)));
    let resign = |seal: &mut SealProof| {
        seal.certificate = finalize(&genesis, &seal.header, 0..3);
    };
    let unsealed = refuse(&|seal| {
        seal.header.next = None;
        resign(seal);
    });
    assert!(matches!(unsealed, LightError::Seal(_)));
    let backwards = refuse(&|seal| {
        seal.committee.epoch = Epoch::ZERO;
        let named = seal.header.next.as_mut().unwrap();
        (named.epoch, named.root) = (Epoch::ZERO, seal.committee.root());
        resign(seal);
    });
    assert!(matches!(backwards, LightError::Seal(_)));
    let elsewhere = refuse(&|seal| seal.header.chain_id = Digest::ZERO);
    assert!(matches!(elsewhere, LightError::Network { .. }));
    let later = refuse(&|seal| seal.header.epoch = Epoch::new(1));
    assert!(matches!(later, LightError::Header { .. }));
}

/// Seals of one epoch after another, all of the same committee, a minute apart.
fn seals(genesis: &Genesis, count: u64) -> Vec<SealProof> {
    let mut start = genesis_digest(&genesis.chain_id(), ChainRef::Beacon);
    let seal = |epoch: u64| {
        let mut committee = genesis.committee(ChainRef::Beacon).unwrap();
        committee.epoch = Epoch::new(epoch + 1);
        let mut header = header(genesis, Digest::ZERO);
        header.kind = BlockKind::Seal;
        header.epoch = Epoch::new(epoch);
        header.time = TimeMs::new((epoch + 1) * MINUTE);
        header.next = Some(NextCommittee {
            epoch: committee.epoch,
            root: committee.root(),
            weight: committee.total_weight(),
        });
        let statement = Statement::Finalize {
            view: header.view,
            digest: header.digest(),
        };
        let certificate = certify_in(genesis, (header.epoch, start), statement, 0..3);
        start = header.digest();
        SealProof {
            version: Version,
            certificate,
            header,
            committee,
        }
    };
    (0..count).map(seal).collect()
}

const MINUTE: u64 = 60_000;

fn with_epochs(salt: u8) -> Genesis {
    let mut genesis = genesis(salt);
    genesis.parameters.epoch_ms = MINUTE;
    genesis.parameters.unbonding_epochs = 4;
    genesis
}

/// Follows seals as far as they are believed.
fn follow(trusted: &mut TrustedNetwork, seals: &[SealProof]) -> Result<(), LightError> {
    let mut seals = seals.iter();
    seals.try_for_each(|seal| trusted.advance(&codec::encode(seal)))
}

#[test]
fn a_start_older_than_the_unbonding_time_is_refused() {
    let genesis = with_epochs(1);
    let seals = seals(&genesis, 6);
    let mut trusted = TrustedNetwork::new(&genesis).unwrap();
    let refused = follow(&mut trusted, &seals).unwrap_err();
    let LightError::StartTooOld { start, newest } = refused else {
        panic!("{refused}");
    };
    assert_eq!((start, newest), (Epoch::ZERO, Epoch::new(5)));
    assert_eq!(trusted.epoch(), Epoch::new(4), "as far as bonds reach");
    // By the clock, where the later seals are hidden.
    let trusted = TrustedNetwork::new(&genesis).unwrap();
    let begun = genesis.time.get();
    trusted.check_age(TimeMs::new(begun + 5 * MINUTE)).unwrap();
    let refused = trusted.check_age(TimeMs::new(begun + 5 * MINUTE + 1));
    assert!(matches!(refused, Err(LightError::StartTooLongAgo { .. })));
    // Where epochs never end, bonds are never free.
    let trusted = TrustedNetwork::new(&self::genesis(1)).unwrap();
    trusted.check_age(TimeMs::new(u64::MAX)).unwrap();
}

#[test]
fn a_checkpoint_renews_the_start_and_binds() {
    let genesis = with_epochs(1);
    let seals = seals(&genesis, 12);
    let digest = |epoch: usize| seals[epoch - 1].header.digest();
    let with = |epoch: u64, seal| {
        let trusted = TrustedNetwork::new(&genesis).unwrap();
        trusted.with_checkpoint(Epoch::new(epoch), seal)
    };
    let mut trusted = with(7, digest(7)).unwrap();
    follow(&mut trusted, &seals[..6]).unwrap();
    let network = network(1);
    let early = trusted.verify(&codec::encode(&network.proof), &network.owner);
    assert!(matches!(early, Err(LightError::CheckpointMissed { .. })));
    let refused = trusted.renew(TimeMs::new(MINUTE));
    assert!(matches!(refused, Err(LightError::CheckpointMissed { .. })));
    follow(&mut trusted, &seals[6..11]).unwrap();
    trusted.check_age(TimeMs::new(12 * MINUTE)).unwrap();
    assert!(trusted.check_age(TimeMs::new(12 * MINUTE + 1)).is_err());
    let refused = follow(&mut trusted, &seals[11..]).unwrap_err();
    assert!(matches!(refused, LightError::StartTooOld { .. }));
    // Another seal than it names, and an epoch that is not on the way.
    let mut trusted = with(7, digest(6)).unwrap();
    let refused = follow(&mut trusted, &seals).unwrap_err();
    assert!(matches!(refused, LightError::Checkpoint { .. }));
    assert_eq!(trusted.epoch(), Epoch::new(6));
    let skipping = seal(&genesis);
    let mut trusted = with(1, digest(1)).unwrap();
    let refused = follow(&mut trusted, &[skipping]).unwrap_err();
    assert!(matches!(refused, LightError::CheckpointMissed { .. }));
    // The start itself.
    let start = genesis_digest(&genesis.chain_id(), ChainRef::Beacon);
    with(0, start).unwrap();
    assert!(matches!(
        with(0, digest(1)),
        Err(LightError::Checkpoint { .. })
    ));
}

#[test]
fn who_keeps_following_goes_on_for_ever() {
    let genesis = with_epochs(1);
    let mut trusted = TrustedNetwork::new(&genesis).unwrap();
    for (epoch, seal) in (1..).zip(&seals(&genesis, 9)) {
        trusted.advance(&codec::encode(seal)).unwrap();
        trusted.renew(TimeMs::new(epoch * MINUTE + 9)).unwrap();
    }
    // After a long sleep the start cannot be renewed any more.
    let late = trusted.renew(TimeMs::new(20 * MINUTE));
    assert!(matches!(late, Err(LightError::StartTooLongAgo { .. })));
    // Nor does a seal of the future make it look younger than it is.
    let mut trusted = TrustedNetwork::new(&genesis).unwrap();
    follow(&mut trusted, &seals(&genesis, 4)).unwrap();
    trusted.renew(TimeMs::new(MINUTE)).unwrap();
    assert!(trusted.check_age(TimeMs::new(6 * MINUTE + 1)).is_err());
}
