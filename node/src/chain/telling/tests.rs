//! A voter follows no leader that leaves out what it had to have, and says why.

use super::*;
use crate::assemble::{beacon_start, shared_with};
use crate::beacon::{BeaconFeed, BeaconFinal};
use crate::chain::blocks::Validity;
use crate::chain::jobs::Work;
use crate::chain::{Note, Setup};
use crate::mempool::MempoolLimits;
use crate::testing::{genesis, header, inbound, shard};
use skerry_consensus::input::{Input as Core, Verdict};
use skerry_storage::{ChainStore, Identity, MemoryBackend};
use skerry_types::block::{BlockRef, Body};
use skerry_types::crypto::bls::SecretKey;
use skerry_types::crypto::scheme::MockScheme;
use skerry_types::ids::{Digest, View};
use std::sync::Arc;

/// When the committee was told of the batch for the second time, and the beacon block was
/// seen.
const TOLD: TimeMs = TimeMs::new(10_000);
/// Height of the beacon block that is seen.
const SEEN: u64 = 12;

fn beacon_at(height: u64) -> BlockRef {
    BlockRef {
        height: Height::new(height),
        digest: Digest::new([u8::try_from(height).expect("small"); 32]),
    }
}

/// A member of a shard that has told of a batch, which a cross-link at beacon height 3 shows.
fn voter() -> ChainNode {
    let (genesis, chain) = (genesis(1), shard(1, 0));
    let shared = shared_with(&genesis, Arc::new(MockScheme)).expect("a network");
    let shared = Arc::new(Arc::into_inner(shared).expect("nobody else has it"));
    let identity = Identity {
        chain_id: genesis.chain_id(),
        chain,
    };
    let store = ChainStore::open(Arc::new(MemoryBackend::default()), identity);
    let start = beacon_start(&genesis, &shared);
    let mut facts = (**start.facts.as_ref().expect("of the genesis")).clone();
    let record = facts.shards.iter_mut().find(|it| it.chain == source());
    let record = record.expect("of all shards");
    record.linked_at = Height::new(3);
    let summary = record.channels.iter_mut().find(|it| it.peer == chain);
    summary.expect("of all chains").sent.messages = 1;
    let seen = BeaconFinal {
        block: beacon_at(SEEN),
        facts_root: facts.root(),
        facts: Some(Arc::new(facts)),
        ..start.clone()
    };
    let setup = Setup {
        chain,
        shared,
        store: Arc::new(store.expect("an empty store")),
        secret: Some(SecretKey::from_seed([2; 32])),
        log: Vec::new(),
        mempool: MempoolLimits::default(),
        beacon: Some(BeaconFeed::new(Vec::new(), start, Arc::new(|_| None))),
        checkpoint: None,
        genesis: Arc::new(genesis),
    };
    let mut node = ChainNode::new(setup, TimeMs::ZERO).expect("it starts");
    node.now = TOLD.saturating_sub(node.shared.network.parameters.delta_ms);
    let messages = (0, vec![vec![7]]);
    let batch = inbound(&node.shared.network, (source(), chain), messages, 100);
    node.inbound.insert(Arc::new(batch));
    node.tell_batches(&mut Vec::new());
    assert_eq!(node.tell_again_deadline(), Some(TOLD));
    node.now = TOLD;
    node.tell_batches(&mut Vec::new());
    node.on_beacon(seen);
    node
}

fn source() -> ChainRef {
    shard(1, 1)
}

/// A valid block that came so long after [`TOLD`], refers to a beacon block, and embeds the batch or not.
fn proposed(node: &mut ChainNode, after: u64, reference: u64, embeds: bool) -> Digest {
    let network = node.shared.network.clone();
    let newest = node.feed.as_ref().expect("it has one").newest();
    let batch = node.inbound.get(source(), Sequence::ZERO);
    let body = Body {
        facts: newest.facts.as_deref().cloned(),
        inbound: batch
            .filter(|_| embeds)
            .map(|it| (**it).clone())
            .into_iter()
            .collect(),
        ..Body::default()
    };
    let mut header = header(&network, node.chain);
    header.report = node.genesis_report;
    header.facts_root = node.genesis_facts_root;
    header.beacon = beacon_at(reference);
    header.body_root = body.root();
    let digest = header.digest();
    let came = TOLD.saturating_add(after);
    node.tree.insert(digest, header, encode(&body).into(), came);
    let entry = node.tree.get_mut(&digest).expect("it is there");
    entry.validity = Validity::Valid;
    entry.work = Some(Arc::new(Work {
        body,
        transactions: Vec::new(),
    }));
    digest
}

/// What the core is told of a proposal, and what the operator.
fn verdict(node: &mut ChainNode, digest: Digest) -> (Option<Verdict>, Option<String>) {
    let mut out = Vec::new();
    node.instance.inputs.clear();
    node.instance.verifying.insert(digest, View::new(1));
    node.answer_verifications(&mut out);
    let mut inputs = node.instance.inputs.drain(..);
    let verdict = inputs.find_map(|input| match input {
        Core::Verified { verdict, .. } => Some(verdict),
        _ => None,
    });
    let note = out.into_iter().find_map(|output| match output {
        Output::Note(Note::Withheld { reason, .. }) => Some(reason),
        _ => None,
    });
    (verdict, note)
}

#[test]
fn leader_is_followed_unless_it_leaves_out_what_it_was_told_of_four_delta_before() {
    let notice = 4 * genesis(1).parameters.delta_ms;
    for (after, embeds, follows) in [
        (notice - 1, false, true),
        (notice, false, false),
        (notice * 9, false, false),
        (notice, true, true),
    ] {
        let mut node = voter();
        let digest = proposed(&mut node, after, SEEN, embeds);
        let (verdict, reason) = verdict(&mut node, digest);
        let expected = if follows {
            Verdict::Valid
        } else {
            Verdict::Invalid
        };
        assert_eq!(verdict, Some(expected), "{after} {embeds}");
        let is_named = reason.is_some_and(|reason| {
            reason.contains("shard-1/1 at 0, cross-linked at beacon height 3")
        });
        assert_eq!(is_named, !follows, "{after} {embeds}");
    }
}

#[test]
fn leader_is_followed_unless_its_reference_is_older_than_what_was_long_seen() {
    let notice = 4 * genesis(1).parameters.delta_ms;
    for (after, reference, follows) in [
        (notice - 1, SEEN - 3, true),
        (notice, SEEN - 3, false),
        (notice, SEEN - 2, true),
        (notice, SEEN + 1, true),
    ] {
        let mut node = voter();
        let digest = proposed(&mut node, after, reference, true);
        let (verdict, reason) = verdict(&mut node, digest);
        let expected = if follows {
            Verdict::Valid
        } else {
            Verdict::Invalid
        };
        assert_eq!(verdict, Some(expected), "{after} {reference}");
        let is_named = reason.is_some_and(|reason| reason.contains("beacon reference is 9"));
        assert_eq!(is_named, !follows, "{after} {reference}");
    }
}

#[test]
fn what_is_final_is_not_judged() {
    let mut node = voter();
    let digest = proposed(&mut node, u64::MAX / 2, SEEN - 9, false);
    let entry = node.tree.get_mut(&digest).expect("it is there");
    assert!(!entry.is_final);
    entry.is_final = true;
    let entry = node.tree.get(&digest).expect("it is there");
    assert_eq!(node.withholds(entry), None);
}

#[test]
fn members_tell_each_other_and_serve_what_they_told_of() {
    let mut node = voter();
    let [member, stranger] = [Peer(1), Peer(2)];
    let key = SecretKey::from_seed([3; 32]).public_key();
    let mut out = Vec::new();
    let chains = vec![node.chain];
    node.on_peer_up(member, Some(key), chains.clone(), &mut out);
    node.on_peer_up(stranger, None, chains, &mut out);
    let told: Vec<Peer> = sent(&out, kind::BATCHES_HELD);
    assert_eq!(told, [member], "who connects is told at once");
    for (peer, first, served) in [(member, 0, true), (stranger, 0, false), (member, 1, false)] {
        out.clear();
        node.serve_held(peer, (source(), Sequence::new(first)), &mut out);
        let expected = if served { vec![peer] } else { Vec::new() };
        assert_eq!(sent(&out, kind::BATCH_PUSH), expected, "{peer:?} {first}");
    }
    out.clear();
    node.tell_batches(&mut out);
    assert_eq!(sent(&out, kind::BATCHES_HELD), [], "all is told");
    node.now = node.tell_again_deadline().expect("something waits");
    node.tell_batches(&mut out);
    assert_eq!(sent(&out, kind::BATCHES_HELD), [member]);
}

fn sent(out: &[Output], wanted: u8) -> Vec<Peer> {
    let to = out.iter().filter_map(|output| match output {
        Output::Send { peer, kind, .. } if *kind == wanted => Some(*peer),
        _ => None,
    });
    to.collect()
}

#[test]
fn what_a_member_tells_of_is_asked_of_it_and_what_a_stranger_tells_is_not() {
    let key = SecretKey::from_seed([3; 32]).public_key();
    for (key, asks) in [(Some(key), true), (None, false)] {
        let mut node = voter();
        let peer = Peer(1);
        let (mut out, chains) = (Vec::new(), vec![node.chain]);
        node.on_peer_up(peer, key, chains, &mut out);
        let batches = vec![(source(), Sequence::new(5))];
        node.on_held(peer, &encode(&BatchesHeld { batches }));
        out.clear();
        node.now = node.now.saturating_add(crate::relay::RETRY_MS);
        node.pull_batches(&mut out);
        assert_eq!(sent(&out, kind::BATCH_REQUEST) == [peer], asks);
    }
}
