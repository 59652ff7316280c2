//! Rules of cross-links: each reason to skip one, and the consistent cut.
//!
//! Cross-links are made without certificates here, since the module relies on proofs that were
//! checked before; each test changes one that would be applied.

use crate::block::BlockWork;
use crate::error::CrossLinkSkip;
use crate::testing::{World, shard, transfer, user};
use crate::views;
use skerry_types::amount::Asset;
use skerry_types::beacon::{CrossLink, SystemOperation};
use skerry_types::ids::{ChainRef, Epoch};
use skerry_types::message::channels_root;

fn world() -> World {
    let alice = user(0, 1);
    let bob = user(1, 1);
    let mut world = World::new(&[(alice, vec![Asset::nsker(1 << 80)])]);
    let sent = world.transactions(
        shard(0),
        &[transfer(alice, 0, bob.address, Asset::nsker(5))],
    );
    world.inbound(shard(1), sent.outgoing);
    world
}

fn changed(world: &World, edit: impl Fn(&mut CrossLink)) -> SystemOperation {
    let mut link = world.link(shard(0));
    edit(&mut link);
    link.header.report.result.channels_root = channels_root(&link.channels);
    SystemOperation::CrossLink(Box::new(link))
}

fn skipped(world: &World, system: Vec<SystemOperation>) -> Vec<CrossLinkSkip> {
    let work = BlockWork {
        system,
        ..BlockWork::default()
    };
    world.clone().run(ChainRef::Beacon, &work).skipped
}

#[test]
fn each_broken_rule_skips_a_cross_link() {
    let world = world();
    let one = |edit: &dyn Fn(&mut CrossLink)| skipped(&world, vec![changed(&world, edit)]);
    assert_eq!(one(&|_| ()), vec![]);
    let epoch = Epoch::new(1);
    assert_eq!(
        one(&|it| it.header.epoch = epoch),
        vec![CrossLinkSkip::EpochNotOpen(epoch)]
    );
    let height = skerry_types::ids::Height::ZERO;
    assert!(matches!(
        one(&|it| it.header.height = height)[..],
        [CrossLinkSkip::NotNewer { .. }]
    ));
    let beacon = ChainRef::Beacon;
    assert_eq!(
        one(&|it| it.header.chain = beacon),
        vec![CrossLinkSkip::UnknownShard(beacon)]
    );
    assert_eq!(
        one(&|it| it.channels.truncate(2)),
        vec![CrossLinkSkip::Channels(shard(0))]
    );
    let greedy = |it: &mut CrossLink| it.channels[2].sent.sker = 1 << 90;
    assert_eq!(one(&greedy), vec![CrossLinkSkip::SupplyNegative(shard(0))]);
    let inventive = |it: &mut CrossLink| it.channels[2].accepted.messages = 1;
    assert!(matches!(
        one(&inventive)[..],
        [CrossLinkSkip::NotClosed { .. }]
    ));
}

#[test]
fn counters_never_fall() {
    let mut world = world();
    let system = vec![world.crosslink(shard(0)), world.crosslink(shard(1))];
    world.run(
        ChainRef::Beacon,
        &BlockWork {
            system,
            ..BlockWork::default()
        },
    );
    world.run(shard(0), &BlockWork::default());
    let falling = changed(&world, |it| it.channels[2].sent.messages = 0);
    assert_eq!(
        skipped(&world, vec![falling]),
        vec![CrossLinkSkip::CounterFalls(shard(0))]
    );
}

#[test]
fn skipping_one_reopens_what_relied_on_it() {
    // Shard 0 claims an acceptance that shard 1 never sent; shard 1 relies on what shard 0 sent.
    let world = world();
    let inventive = changed(&world, |it| it.channels[2].accepted.messages = 1);
    let skips = skipped(&world, vec![inventive, world.crosslink(shard(1))]);
    assert_eq!(skips.len(), 2);
}

#[test]
fn record_carries_what_light_proofs_need() {
    let mut world = world();
    let link = world.link(shard(0));
    let system = vec![world.crosslink(shard(0))];
    world.run(
        ChainRef::Beacon,
        &BlockWork {
            system,
            ..BlockWork::default()
        },
    );
    let record = views::shard_record(world.state(ChainRef::Beacon), shard(0)).unwrap();
    assert_eq!(record.header, link.header.block_ref());
    assert_eq!(record.reported, link.header.report.block);
    assert_eq!(record.linked_at.get(), 1);
    assert_eq!(record.channels, link.channels);
}
