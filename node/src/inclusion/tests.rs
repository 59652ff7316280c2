//! What is due comes first, by age; what a voter holds against a leader, and what not.

use super::*;
use crate::testing::{executed, genesis, inbound, shard};
use skerry_execution::genesis::genesis_facts;
use skerry_execution::views::{DueMark, due_key};
use skerry_storage::StateTree;
use skerry_types::beacon::Facts;
use skerry_types::state::Value;
use std::sync::Arc;

const TOLD: TimeMs = TimeMs::new(1_000);

/// Shard 0 of four, what its state says is due, and what waits there.
struct Case {
    network: NetworkInfo,
    facts: Facts,
    state: StateTree,
    pool: InboundPool,
    reference: Height,
}

impl Case {
    fn new() -> Self {
        let genesis = genesis(2);
        Self {
            network: NetworkInfo::of(&genesis),
            facts: genesis_facts(&genesis),
            state: executed(&genesis, here()).state,
            pool: InboundPool::default(),
            reference: Height::new(20),
        }
    }

    /// A source has sent messages up to each `end`, cross-linked at a height.
    fn shown(&mut self, source: ChainRef, marks: &[(u64, u64)]) {
        let marks = marks.iter().map(|(linked_at, end)| DueMark {
            linked_at: Height::new(*linked_at),
            end: Sequence::new(*end),
        });
        let record = DueRecord {
            marks: marks.collect(),
            ..DueRecord::default()
        };
        let value = Some(Value::from(encode(&record)));
        let changes = [(due_key(here(), source), value)].into();
        self.state = self.state.apply(&changes);
    }

    fn batch(&self, source: ChainRef, first: u64, bytes: usize) -> InboundBatch {
        let messages = (first, vec![vec![0; bytes]]);
        inbound(&self.network, (source, here()), messages, 100)
    }

    /// A batch of one message waits, and was told of.
    fn waits(&mut self, source: ChainRef, first: u64, bytes: usize) {
        let batch = self.batch(source, first, bytes);
        self.pool.insert(Arc::new(batch));
        self.tell();
    }

    /// Tells the committee of all, for the second time at [`TOLD`].
    fn tell(&mut self) {
        self.pool.tell(TOLD.saturating_sub(1));
        self.pool.tell_again(TOLD);
    }

    fn scene(&self) -> Scene<'_> {
        Scene {
            network: &self.network,
            chain: here(),
            state: &self.state,
            reference: self.reference,
            facts: Some(&self.facts),
        }
    }

    fn chosen(&self) -> Vec<(ChainRef, u64)> {
        let chosen = choose(&self.scene(), &self.pool, &mut |_| true);
        let firsts = chosen
            .iter()
            .map(|it| (it.batch.source, it.batch.first.get()));
        firsts.collect()
    }

    fn omission_of(&self, inbound: Vec<InboundBatch>) -> Option<(ChainRef, u64)> {
        let body = Body {
            inbound,
            ..Body::default()
        };
        let found = omission(&self.scene(), &self.pool, &body, TOLD)?;
        Some((found.source, found.first.get()))
    }
}

fn here() -> ChainRef {
    shard(2, 0)
}

const BATCH: usize = 250 * 1024;

#[test]
fn due_batches_come_by_the_age_of_their_cross_links_and_before_all_others() {
    let [one, two, three] = [1, 2, 3].map(|bits| shard(2, bits));
    let mut case = Case::new();
    case.shown(one, &[(15, 1), (17, 2)]);
    case.shown(two, &[(16, 1)]);
    case.shown(three, &[(15, 1), (19, 2)]);
    for (source, first) in [
        (one, 0),
        (one, 1),
        (two, 0),
        (two, 1),
        (three, 0),
        (three, 1),
    ] {
        case.waits(source, first, 10);
    }
    let due = [(one, 0), (three, 0), (two, 0), (one, 1)];
    assert_eq!(case.chosen()[..4], due);
    // The last mark of the third is too new to be due.
    // Among what is not due it is the turn of who was served longest ago.
    assert_eq!(case.chosen()[4..], [(three, 1), (two, 1)]);
    case.reference = Height::new(21);
    assert_eq!(case.chosen(), [&due[..], &[(three, 1), (two, 1)]].concat());
}

#[test]
fn a_busy_source_keeps_no_older_batch_from_its_place() {
    let [busy, other] = [1, 2].map(|bits| shard(2, bits));
    let mut case = Case::new();
    case.shown(busy, &[(5, 1), (6, 2), (9, 9)]);
    case.shown(other, &[(8, 1)]);
    for first in 0..9 {
        case.waits(busy, first, BATCH);
    }
    case.waits(other, 0, BATCH);
    assert_eq!(case.chosen(), [(busy, 0), (busy, 1), (other, 0), (busy, 2)]);
}

#[test]
fn leader_that_keeps_the_order_is_never_refused() {
    // Every set of what a leader lacks, with batches that fill a block and that do not.
    let sources = [1, 2, 3].map(|bits| shard(2, bits));
    for bytes in [10, BATCH] {
        for lacks in 0..64_u32 {
            let mut case = Case::new();
            let mut leader = InboundPool::default();
            for (number, source) in (0_u32..).zip(sources) {
                case.shown(source, &[(10 + u64::from(number), 1), (15, 2), (19, 3)]);
                for first in 0..3 {
                    case.waits(source, first, bytes);
                    let bit = number * 2 + u32::try_from(first).expect("small").min(1);
                    if lacks & (1 << bit) == 0 {
                        leader.insert(Arc::new(case.batch(source, first, bytes)));
                    }
                }
            }
            let scene = case.scene();
            let chosen = choose(&scene, &leader, &mut |_| true);
            // A voter that told of no more than the leader has.
            let mut voter = InboundPool::default();
            for source in sources {
                for waiting in leader.contiguous(source, Sequence::ZERO) {
                    voter.insert(waiting.inbound);
                }
            }
            voter.tell(TOLD.saturating_sub(1));
            voter.tell_again(TOLD);
            let body = Body {
                inbound: chosen,
                ..Body::default()
            };
            assert_eq!(
                omission(&scene, &voter, &body, TOLD),
                None,
                "{lacks:b} {bytes}"
            );
        }
    }
}

#[test]
fn who_leaves_out_what_is_due_is_noticed() {
    let [one, two] = [1, 2].map(|bits| shard(2, bits));
    let mut case = Case::new();
    case.shown(one, &[(15, 2)]);
    case.shown(two, &[(16, 1)]);
    case.waits(one, 0, 10);
    case.waits(one, 1, 10);
    case.waits(two, 0, 10);
    let batch = |source, first| case.batch(source, first, 10);
    assert_eq!(case.omission_of(Vec::new()), Some((one, 0)));
    assert_eq!(case.omission_of(vec![batch(two, 0)]), Some((one, 0)));
    assert_eq!(case.omission_of(vec![batch(one, 0)]), Some((one, 1)));
    let part = vec![batch(one, 0), batch(one, 1)];
    assert_eq!(case.omission_of(part), Some((two, 0)));
    let all = vec![batch(one, 0), batch(one, 1), batch(two, 0)];
    assert_eq!(case.omission_of(all), None);
}

#[test]
fn nothing_is_held_against_a_leader_that_need_not_have_it() {
    let source = shard(2, 1);
    let mut case = Case::new();
    case.waits(source, 0, 10);
    assert_eq!(case.omission_of(Vec::new()), None, "no cross-link shows it");
    case.shown(source, &[(19, 1)]);
    assert_eq!(case.omission_of(Vec::new()), None, "it is not due yet");
    case.shown(source, &[(18, 1)]);
    assert_eq!(case.omission_of(Vec::new()), Some((source, 0)));
    let body = Body::default();
    let early = TOLD.saturating_sub(1);
    let found = omission(&case.scene(), &case.pool, &body, early);
    assert_eq!(found, None, "the committee was told too late");
    case.pool.untell();
    assert_eq!(case.omission_of(Vec::new()), None, "another committee");
    case.tell();
    case.facts.shards[1].epoch = Epoch::new(1);
    assert_eq!(
        case.omission_of(Vec::new()),
        None,
        "its proof is of a closed epoch"
    );
}

#[test]
fn what_the_reference_itself_shows_as_linked_long_ago_is_due() {
    let source = shard(2, 1);
    let mut case = Case::new();
    case.waits(source, 0, 10);
    case.waits(source, 1, 10);
    let record = case.facts.shards.iter_mut().find(|it| it.chain == source);
    let record = record.expect("of all shards");
    let summary = record.channels.iter_mut().find(|it| it.peer == here());
    summary.expect("of all chains").sent.messages = 1;
    for (linked_at, omitted) in [(18, Some((source, 0))), (19, None)] {
        let mut shards = case.facts.shards.iter_mut();
        let record = shards.find(|it| it.chain == source).expect("as before");
        record.linked_at = Height::new(linked_at);
        assert_eq!(case.omission_of(Vec::new()), omitted, "{linked_at}");
        let first = case.batch(source, 0, 10);
        assert_eq!(case.omission_of(vec![first]), None, "{linked_at}");
    }
}

#[test]
fn a_full_block_excuses_only_what_comes_after_all_that_is_in() {
    let sources = [1, 2, 3].map(|bits| shard(2, bits));
    let [one, two, three] = sources;
    let mut case = Case::new();
    for (number, source) in (0_u64..).zip(sources) {
        case.shown(source, &[(15 + number, 9)]);
    }
    for first in 0..2 {
        case.waits(one, first, BATCH);
        case.waits(two, first, BATCH);
        case.waits(three, first, BATCH);
    }
    let batch = |source, first| case.batch(source, first, BATCH);
    let full = vec![batch(one, 0), batch(one, 1), batch(two, 0), batch(two, 1)];
    assert_eq!(case.omission_of(full), None);
    let out_of_order = vec![
        batch(one, 0),
        batch(one, 1),
        batch(three, 0),
        batch(three, 1),
    ];
    assert_eq!(case.omission_of(out_of_order), Some((two, 0)));
    let with_room = vec![batch(one, 0), batch(one, 1), batch(two, 0)];
    assert_eq!(case.omission_of(with_room), Some((two, 1)));
    // Nearly full: what stopped the leader may be a batch that this voter does not have.
    let nearly = vec![
        batch(one, 0),
        batch(one, 1),
        case.batch(two, 0, BATCH + 20_000),
    ];
    assert_eq!(case.omission_of(nearly), None);
}
