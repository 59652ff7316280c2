//! Rules of imported facts.
//!
//! The facts of a test are changed by hand; that they are what a beacon block shows is a rule of
//! validity, tested in the crate's tests.

use crate::block::BlockWork;
use crate::module::Module as _;
use crate::modules::beacon_facts::BeaconFactsModule;
use crate::modules::beacon_facts::state::facts_head_key;
use crate::testing::{World, shard};
use crate::views;
use skerry_types::ids::Height;

#[test]
fn import_replaces_only_what_changed() {
    let mut world = World::new(&[]);
    let mut facts = world.facts.clone();
    facts.shards[1].linked_at = Height::new(9);
    let work = BlockWork {
        facts: Some(facts.clone()),
        ..BlockWork::default()
    };
    let outcome = world.run(shard(0), &work);
    // The head and one shard's record.
    assert_eq!(outcome.changes.len(), 2);
    assert_eq!(
        views::imported_facts(world.state(shard(0)), &world.network, shard(0)),
        facts
    );
    let again = world.run(shard(0), &work);
    assert!(again.changes.is_empty());
}

#[test]
fn head_is_shown_with_the_root() {
    let world = World::new(&[]);
    let object = facts_head_key(shard(0)).owner;
    let entries = world.state(shard(0)).entries(&object);
    let shown = BeaconFactsModule.query(&object, &entries);
    assert_eq!(shown["root"], world.facts.root().to_string());
    assert!(BeaconFactsModule.decode(&[0]).is_err());
}
