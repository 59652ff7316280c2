//! Rules of the outbox: batches and acknowledgement.
//!
//! What cross-links show as sent, and is not accepted, is marked with their heights.
//!
//! One block emits to one destination; batches are cut at the limits, and forgotten whole once the
//! destination is known to have accepted them.

use crate::block::BlockWork;
use crate::module::Module as _;
use crate::modules::channels::ChannelsModule;
use crate::modules::channels::due::{DueMark, DueRecord, MARKS_MAX, is_due};
use crate::modules::channels::state::{InboundState, due_key, inbound_key};
use crate::testing::{Draft, World, shard, transfer, user};
use crate::views;
use skerry_types::amount::Asset;
use skerry_types::codec;
use skerry_types::ids::{ChainRef, Height, Sequence};
use skerry_types::message::Flow;
use skerry_types::state::Value;

fn sending(blocks: u64, each: u64) -> World {
    let (alice, bob) = (user(0, 1), user(1, 1));
    let mut world = World::new(&[(alice, vec![Asset::nsker(1 << 80)])]);
    for block in 0..blocks {
        let drafts: Vec<Draft> = (0..each)
            .map(|n| transfer(alice, block * each + n, bob.address, Asset::nsker(1)))
            .collect();
        world.transactions(shard(0), &drafts);
    }
    world
}

#[test]
fn messages_of_one_block_make_batches_within_the_limits() {
    let world = sending(1, 1);
    let outbound = views::outbound(world.state(shard(0)), shard(0), shard(1));
    let each = outbound.sent.bytes;
    let per_batch = skerry_types::limits::BATCH_BYTES_MAX as u64 / each;
    let mut world = sending(1, per_batch + 3);
    let batches = views::unacknowledged(world.state(shard(0)), shard(0), shard(1), 9);
    let counts: Vec<u64> = batches
        .iter()
        .map(|(_, record)| u64::from(record.count))
        .collect();
    assert_eq!(counts, [per_batch, 3]);
    assert_eq!(batches[1].0, Sequence::new(per_batch));
    let outcome = world.transactions(shard(0), &[]);
    assert!(outcome.outgoing.is_empty());
}

#[test]
fn only_whole_accepted_batches_are_forgotten() {
    let mut world = sending(3, 2);
    let mut facts = world.facts.clone();
    for (accepted, left) in [(1, 3), (2, 2), (5, 1), (99, 0)] {
        facts.shards[1].channels[1].accepted.messages = accepted;
        let work = BlockWork {
            facts: Some(facts.clone()),
            ..BlockWork::default()
        };
        world.run(shard(0), &work);
        let state = world.state(shard(0));
        let held = views::unacknowledged(state, shard(0), shard(1), 9);
        assert_eq!(held.len(), left, "accepted {accepted}");
    }
    let outbound = views::outbound(world.state(shard(0)), shard(0), shard(1));
    assert_eq!(outbound.acknowledged, Sequence::new(6));
}

#[test]
fn channels_have_no_calls_and_show_their_cursors() {
    assert!(ChannelsModule.decode(&[0]).is_err());
    let world = sending(1, 2);
    let object = inbound_key(shard(0), shard(1)).owner;
    let shown = ChannelsModule.query(&object, &world.state(shard(0)).entries(&object));
    assert_eq!(shown["outbound"]["shard-1/1"]["next"], 2);
}

fn mark(linked_at: u64, end: u64) -> DueMark {
    DueMark {
        linked_at: Height::new(linked_at),
        end: Sequence::new(end),
    }
}

#[test]
fn marks_rise_and_what_has_no_room_is_as_old_as_the_last() {
    for (given, expected) in [
        (vec![(3, 5), (4, 5)], vec![(3, 5)]),
        (vec![(3, 5), (4, 6)], vec![(3, 5), (4, 6)]),
        (vec![(3, 5), (3, 6)], vec![(3, 6)]),
        (vec![(3, 5), (4, 4)], vec![(3, 5)]),
    ] {
        let mut record = DueRecord::default();
        for (linked_at, end) in &given {
            record.note(mark(*linked_at, *end));
        }
        let expected: Vec<DueMark> = expected.iter().map(|it| mark(it.0, it.1)).collect();
        assert_eq!(record.marks, expected, "{given:?}");
        assert!(record.is_sound());
    }
    let most = MARKS_MAX as u64;
    let mut record = DueRecord::default();
    for number in 1..=most + 9 {
        record.note(mark(number, number));
    }
    assert!(record.is_sound());
    assert_eq!(record.marks.len(), MARKS_MAX);
    let linked_at = |end| record.linked_at(Sequence::new(end)).map(Height::get);
    assert_eq!(linked_at(1), Some(1));
    assert_eq!(linked_at(most), Some(most));
    assert_eq!(linked_at(most + 9), Some(most));
    assert_eq!(linked_at(most + 10), None);
}

#[test]
fn due_is_what_a_cross_link_two_beacon_blocks_before_the_reference_shows() {
    for (linked_at, reference, due) in [(5, 5, false), (5, 6, false), (5, 7, true), (5, 90, true)] {
        let [linked_at, reference] = [linked_at, reference].map(Height::new);
        assert_eq!(is_due(linked_at, reference), due, "{linked_at} {reference}");
    }
}

/// Imports facts by which `source` has sent so much to shard 0, cross-linked at a height.
fn learn(world: &mut World, source: ChainRef, linked_at: u64, sent: u64) -> DueRecord {
    let here = shard(0);
    let facts = &mut world.facts;
    let record = facts
        .shards
        .iter_mut()
        .find(|record| record.chain == source);
    let channels = match record {
        Some(record) => {
            record.linked_at = Height::new(linked_at);
            &mut record.channels
        }
        None => &mut facts.beacon_channels,
    };
    let summary = channels.iter_mut().find(|summary| summary.peer == here);
    summary.expect("of all chains").sent.messages = sent;
    let work = BlockWork {
        facts: Some(world.facts.clone()),
        ..BlockWork::default()
    };
    world.run(here, &work);
    views::due(world.state(here), here, source)
}

fn accept(world: &mut World, source: ChainRef, messages: u64) {
    let accepted = Flow {
        messages,
        ..Flow::default()
    };
    let state = InboundState {
        accepted,
        ..InboundState::default()
    };
    let key = inbound_key(shard(0), source);
    let records = &mut world.states.get_mut(&shard(0)).expect("it has one").0;
    records.insert(key, Value::from(codec::encode(&state)));
}

#[test]
fn a_shard_remembers_when_it_was_shown_what_it_has_not_accepted() {
    let mut world = sending(0, 0);
    let source = shard(1);
    assert_eq!(learn(&mut world, source, 3, 0).marks, []);
    assert_eq!(learn(&mut world, source, 4, 2).marks, [mark(4, 2)]);
    let marks = [mark(4, 2), mark(6, 5)];
    assert_eq!(learn(&mut world, source, 6, 5).marks, marks);
    accept(&mut world, source, 2);
    let marks = [mark(6, 5), mark(9, 8)];
    assert_eq!(learn(&mut world, source, 9, 8).marks, marks);
    accept(&mut world, source, 8);
    assert_eq!(learn(&mut world, source, 10, 8).marks, []);
    let key = due_key(shard(0), source);
    assert!(!world.states[&shard(0)].0.contains_key(&key));
    // What was accepted before the cross-link came is not marked at all.
    accept(&mut world, source, 12);
    assert_eq!(learn(&mut world, source, 11, 11).marks, []);
}

#[test]
fn what_the_beacon_sends_is_as_old_as_the_reference_that_shows_it() {
    let mut world = sending(0, 0);
    let record = learn(&mut world, ChainRef::Beacon, 99, 4);
    let [only] = *record.marks else {
        panic!("{record:?}");
    };
    assert_eq!(only.end, Sequence::new(4));
    assert!(only.linked_at < Height::new(99), "it is the reference's");
}

#[test]
fn marks_that_do_not_rise_are_found() {
    let key = due_key(shard(0), shard(1));
    for (marks, sound) in [
        (vec![mark(1, 1), mark(2, 2)], true),
        (vec![mark(1, 1), mark(1, 2)], false),
        (vec![mark(1, 2), mark(2, 2)], false),
        (vec![], false),
    ] {
        let record = DueRecord {
            marks,
            ..DueRecord::default()
        };
        let checked = ChannelsModule.check_invariants(&key, &codec::encode(&record));
        assert_eq!(checked.is_ok(), sound, "{record:?}");
    }
}
