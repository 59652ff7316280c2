use super::{Age, CheckError, Checkpoint, check_base};
use crate::error::NodeError;
use crate::snapshot::frames::BaseProof;
use crate::snapshot::testing::{
    BEACON, beacon_base, finalization, genesis, genesis_with, seal, shard, shard_base, signed,
    trust_of,
};
use skerry_storage::StateTree;
use skerry_types::amount::Amount;
use skerry_types::block::{BlockKind, BlockRef};
use skerry_types::committee::genesis_digest;
use skerry_types::genesis::Parameters;
use skerry_types::ids::{ChainRef, Digest, Epoch, Gas, Height, TimeMs, View};
use skerry_types::light::SealProof;
use skerry_types::vote::Statement;

const OTHER: Digest = Digest::new([9; 32]);

/// Changes that must be refused, wherever a base is of.
type Change = (&'static str, fn(&mut BaseProof));

fn refuse_each(chain: ChainRef, base: &BaseProof, changes: &[Change]) {
    let trust = trust_of(&genesis(), None).expect("the genesis is trusted");
    let block = base.header.block_ref();
    let checked = check_base(&trust, chain, block, base.clone());
    let checked = checked.expect("as it is, it holds");
    assert_eq!(checked.result, base.reporter.report.result);
    for (name, change) in changes {
        let mut changed = base.clone();
        change(&mut changed);
        assert_ne!(changed, *base, "{name} changes something");
        let checked = check_base(&trust, chain, block, changed);
        assert!(checked.is_err(), "{name} is not noticed");
    }
    let other = BlockRef {
        digest: OTHER,
        ..block
    };
    assert!(check_base(&trust, chain, other, base.clone()).is_err());
}

const OF_ANY: [Change; 21] = [
    ("time of the header", |it| it.header.time = TimeMs::new(9)),
    ("kind of the header", |it| it.header.kind = BlockKind::Idle),
    ("chain of the header", |it| {
        it.header.chain = if it.header.chain.is_beacon() {
            shard()
        } else {
            BEACON
        };
    }),
    ("network of the header", |it| it.header.chain_id = OTHER),
    ("epoch of the header", |it| it.header.epoch = Epoch::new(1)),
    ("signature of the base", |it| {
        it.certificate.signature.0[0] ^= 1;
    }),
    ("block of its certificate", |it| {
        it.certificate = finalization(&it.reporter);
    }),
    ("kind of its certificate", |it| {
        let (view, digest) = (it.header.view, it.header.digest());
        it.certificate = signed(it.header.chain, Statement::Notarize { view, digest });
    }),
    ("view of its certificate", |it| {
        let (view, digest) = (View::new(1), it.header.digest());
        it.certificate.statement = Statement::Finalize { view, digest };
    }),
    ("a seal", |it| it.seal = Some(it.header.clone())),
    ("reported state", |it| {
        it.reporter.report.result.state_root = OTHER;
    }),
    ("reported receipts", |it| {
        it.reporter.report.result.receipts_root = OTHER;
    }),
    ("reported channels", |it| {
        it.reporter.report.result.channels_root = OTHER;
    }),
    ("reported gas", |it| {
        it.reporter.report.result.gas = Gas::new(1);
    }),
    ("reported burnt", |it| {
        it.reporter.report.result.burnt = Amount::new(1);
    }),
    ("reported block", |it| {
        it.reporter.report.block.digest = OTHER;
    }),
    ("height of the reporter", |it| {
        it.reporter.height = Height::new(7);
    }),
    ("state of the beacon", |it| {
        it.beacon.header.report.result.state_root = OTHER;
    }),
    ("signature of the beacon", |it| {
        it.beacon.certificate.signature.0[0] ^= 1;
    }),
    ("path of the beacon", |it| {
        it.beacon.path = vec![it.beacon.header.clone()];
    }),
    ("epoch of the beacon", |it| {
        it.beacon.header.epoch = Epoch::new(1);
    }),
];

#[test]
fn a_base_of_the_beacon_is_refused_whatever_is_changed() {
    let base = beacon_base(40, &StateTree::empty());
    refuse_each(BEACON, &base, &OF_ANY);
    let with_shard: [Change; 1] = [("a shard's records", |it| {
        it.shard = shard_base(40, &StateTree::empty()).shard;
    })];
    refuse_each(BEACON, &base, &with_shard);
}

#[test]
fn a_base_of_a_shard_is_refused_whatever_is_changed() {
    let base = shard_base(40, &StateTree::empty());
    refuse_each(shard(), &base, &OF_ANY);
    let of_shards: [Change; 4] = [
        ("no records", |it| it.shard = None),
        ("a record of another state", |it| {
            it.shard = shard_base(41, &StateTree::empty()).shard;
        }),
        ("another cross-linked header", |it| {
            it.reporter.time = TimeMs::new(9);
        }),
        ("a committee that nobody knows", |it| {
            if let Some(shard) = &mut it.shard {
                shard.epoch = Some((shard.record.clone(), shard.record.clone()));
            }
        }),
    ];
    refuse_each(shard(), &base, &of_shards);
}

fn of_one_second() -> Parameters {
    Parameters {
        epoch_ms: 1_000,
        unbonding_epochs: 4,
        ..Parameters::default()
    }
}

#[test]
fn what_is_trusted_gets_too_old_by_the_own_clock() {
    let genesis = genesis_with(of_one_second());
    let trust = trust_of(&genesis, None).expect("the genesis is trusted");
    assert_eq!(trust.too_old(TimeMs::new(5_000)), None);
    let too_old = trust.too_old(TimeMs::new(5_001)).expect("too old");
    assert_eq!(
        (too_old.start, too_old.by),
        (Epoch::ZERO, Age::Clock(5_001))
    );
    // Where epochs never end, no bond is ever free.
    let endless = Parameters {
        epoch_ms: 0,
        ..of_one_second()
    };
    let endless = trust_of(&genesis_with(endless), None).expect("trusted");
    assert_eq!(endless.too_old(TimeMs::new(u64::MAX)), None);
}

#[test]
fn the_word_of_an_operator_makes_young_and_must_be_right() {
    let genesis = genesis_with(of_one_second());
    let late = TimeMs::new(1_000_000);
    let id = genesis.chain_id();
    let right = Checkpoint {
        epoch: Epoch::ZERO,
        seal: genesis_digest(&id, BEACON),
    };
    let trust = trust_of(&genesis, Some(right)).expect("it is the genesis");
    assert_eq!(trust.too_old(late), None);
    let wrong = Checkpoint {
        seal: OTHER,
        ..right
    };
    let refused = trust_of(&genesis, Some(wrong)).expect_err("another genesis");
    assert!(matches!(refused, NodeError::Checkpoint(it) if it.expected == OTHER));
}

#[test]
fn seals_lead_to_the_checkpoint_or_contradict_it() {
    let genesis = genesis();
    let vouched = |seal: &SealProof| Checkpoint {
        epoch: Epoch::new(1),
        seal: seal.header.digest(),
    };
    let shown = seal(900);
    let trust = trust_of(&genesis, Some(vouched(&shown))).expect("trusted");
    assert!(trust.is_vouched_later());
    let reached = trust.advance(vec![shown.clone()]).expect("it leads there");
    assert_eq!(reached.checkpoint(), vouched(&shown));
    assert_eq!(reached.too_old(TimeMs::new(u64::MAX)), None);
    assert_eq!(reached.seals().count(), 1);

    let trust = trust_of(&genesis, Some(vouched(&seal(901)))).expect("trusted");
    let refused = trust
        .advance(vec![shown.clone()])
        .expect_err("another seal");
    assert!(matches!(refused, CheckError::Checkpoint(it) if it.actual == shown.header.digest()));

    // One that nobody signed contradicts nothing.
    let trust = trust_of(&genesis, Some(vouched(&seal(901)))).expect("trusted");
    let mut forged = shown;
    forged.certificate.signature.0[0] ^= 1;
    let refused = trust.advance(vec![forged]).expect_err("nobody signed it");
    assert!(matches!(refused, CheckError::Light(_)));
}

#[test]
fn the_age_counts_anew_only_after_a_proof() {
    let trust = trust_of(&genesis(), None).expect("trusted");
    let mut reached = trust.advance(vec![seal(900)]).expect("it is signed");
    let limit = genesis().parameters;
    let limit_ms = limit.epoch_ms * (limit.unbonding_epochs + 1);
    let late = TimeMs::new(limit_ms + 1);
    assert!(
        reached.too_old(late).is_some(),
        "seals alone change nothing"
    );
    reached.renew();
    assert_eq!(reached.too_old(late), None);
    assert!(reached.too_old(late.saturating_add(900)).is_some());
}

#[test]
fn by_blocks_no_other_seal_is_passed_than_the_checkpoint_s() {
    let [seal, other] = [1, 2].map(|byte| Digest::new([byte; 32]));
    let epoch = Epoch::new;
    let checkpoint = Checkpoint {
        epoch: epoch(4),
        seal,
    };
    for (at, begins, seal, is_wrong) in [
        (2, 3, other, false),
        (3, 4, seal, false),
        (3, 4, other, true),
        (3, 5, other, true),
        (4, 5, other, false),
        (7, 8, other, false),
    ] {
        let contradicts = checkpoint.contradicts(epoch(at), (epoch(begins), &seal));
        assert_eq!(contradicts, is_wrong, "{at} to {begins}");
    }
}
