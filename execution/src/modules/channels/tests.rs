//! Rules of the outbox: batches and acknowledgement.
//!
//! One block emits to one destination; batches are cut at the limits, and forgotten whole once the
//! destination is known to have accepted them.

use crate::block::BlockWork;
use crate::module::Module as _;
use crate::modules::channels::ChannelsModule;
use crate::modules::channels::state::inbound_key;
use crate::testing::{Draft, World, shard, transfer, user};
use crate::views;
use skerry_types::amount::Asset;
use skerry_types::ids::Sequence;

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
