use super::{Count, PEERS_MAX, Peers};
use crate::chain::Peer;
use crate::snapshot::frames::{Offer, OfferedBase};
use crate::snapshot::testing::{BEACON, shard};
use skerry_types::block::BlockRef;
use skerry_types::ids::{Digest, Epoch, Height, TimeMs};
use std::collections::{BTreeMap, BTreeSet};

const NOW: TimeMs = TimeMs::new(1_000);

fn block(height: u64) -> BlockRef {
    BlockRef {
        height: Height::new(height),
        digest: Digest::new([7; 32]),
    }
}

/// Peers that offer bases at these heights, each.
fn offering(offers: &[&[u64]]) -> Peers {
    let mut peers = Peers::default();
    for (number, heights) in (1..).zip(offers) {
        connect(&mut peers, number, true, heights);
    }
    peers
}

/// A peer that offers bases at these heights.
fn connect(peers: &mut Peers, number: u32, configured: bool, heights: &[u64]) {
    let base = |height: &u64| OfferedBase {
        block: block(*height),
        root: Digest::ZERO,
        epoch: Epoch::new(number.into()),
    };
    let offer = Offer {
        held: Height::new(1),
        bases: heights.iter().map(base).collect(),
    };
    peers.up(Peer(number), vec![BEACON, shard()], configured);
    peers.offers(Peer(number), BEACON, offer, NOW);
}

fn best(peers: &Peers, failed: &[(u64, u32)], begun: Option<u64>) -> Option<u64> {
    let failed: BTreeMap<BlockRef, u32> = failed
        .iter()
        .map(|(at, times)| (block(*at), *times))
        .collect();
    let best = peers.best(BEACON, |_, _| true, &failed, begun.map(block));
    best.map(|best| best.height.get())
}

#[test]
fn one_or_two_peers_do_not_choose_the_base() {
    type Case<'a> = (
        &'a str,
        &'a [&'a [u64]],
        &'a [(u64, u32)],
        Option<u64>,
        Option<u64>,
    );
    let cases: [Case<'_>; 7] = [
        ("nobody offers", &[], &[], None, None),
        ("the newest", &[&[5, 9], &[5, 9], &[9]], &[], None, Some(9)),
        (
            "what many serve",
            &[&[5], &[5], &[5], &[99], &[99]],
            &[],
            None,
            Some(5),
        ),
        (
            "twice by one is once",
            &[&[5], &[5], &[99, 99, 99]],
            &[],
            None,
            Some(5),
        ),
        (
            "what failed comes last",
            &[&[5], &[99], &[99]],
            &[(99, 1)],
            None,
            Some(5),
        ),
        ("what failed twice never", &[&[99]], &[(99, 2)], None, None),
        ("what was begun", &[&[5], &[9], &[9]], &[], Some(5), Some(5)),
    ];
    for (name, offers, failed, begun, expected) in cases {
        assert_eq!(best(&offering(offers), failed, begun), expected, "{name}");
    }
}

#[test]
fn strangers_do_not_outvote_whom_the_operator_chose() {
    let strangers = || 1..=u32::try_from(PEERS_MAX).expect("few");
    let mut peers = Peers::default();
    for number in strangers() {
        connect(&mut peers, number, false, &[99]);
    }
    assert_eq!(best(&peers, &[], None), Some(99), "there is nobody else");
    connect(&mut peers, 1_000, false, &[100]);
    assert_eq!(peers.servers(BEACON, &block(100)), 0, "no place is left");
    connect(&mut peers, 1_001, true, &[5]);
    assert_eq!(best(&peers, &[], None), Some(5), "whatever strangers say");
    let count = peers.count(&[BEACON]);
    assert_eq!((count.answered, count.configured), (PEERS_MAX, 1));
    peers.drop_offer(Peer(1_001), BEACON, NOW);
    assert_eq!(best(&peers, &[], None), Some(99));
    for number in 2_000..2_000 + u32::try_from(PEERS_MAX).expect("few") {
        connect(&mut peers, number, true, &[6]);
    }
    assert_eq!(peers.servers(BEACON, &block(6)), PEERS_MAX - 1);
    assert_eq!(peers.count(&[BEACON]).connected, PEERS_MAX, "it is bounded");
}

#[test]
fn who_broke_its_word_counts_less() {
    let mut peers = offering(&[&[5], &[99]]);
    assert_eq!(best(&peers, &[], None), Some(99));
    peers.drop_offer(Peer(2), BEACON, NOW);
    assert_eq!(best(&peers, &[], None), Some(5));
    let again = OfferedBase {
        block: block(200),
        root: Digest::ZERO,
        epoch: Epoch::ZERO,
    };
    let offer = Offer {
        held: Height::new(1),
        bases: vec![again],
    };
    peers.offers(Peer(2), BEACON, offer, NOW);
    assert_eq!(best(&peers, &[], None), Some(5), "whatever it offers now");
}

#[test]
fn a_base_is_known_by_its_block_whatever_else_is_said_of_it() {
    let mut peers = offering(&[&[5], &[5], &[5]]);
    assert_eq!(peers.servers(BEACON, &block(5)), 3);
    let picked: BTreeSet<Peer> = (0..3)
        .filter_map(|_| peers.pick(BEACON, &block(5)))
        .map(|(peer, epoch)| {
            assert_eq!(epoch, Epoch::new(peer.0.into()), "as this peer says");
            peer
        })
        .collect();
    assert_eq!(picked.len(), 3, "in turn");
    assert_eq!(peers.pick(BEACON, &block(6)), None);
}

#[test]
fn short_chunks_cost_the_offer_when_they_go_on() {
    let mut peers = offering(&[&[5]]);
    let mut sent = |bytes| peers.sent_chunk(Peer(1), bytes, 1_000);
    assert_eq!([sent(10), sent(249), sent(250)], [false; 3], "one was long");
    assert_eq!([sent(10), sent(10), sent(10)], [false, false, true]);
}

#[test]
fn only_what_was_asked_is_an_answer() {
    let mut peers = offering(&[&[]]);
    let mut number = 0;
    let asked = peers.take_questions(&[shard()], true, NOW, &mut number);
    assert_eq!(asked, [(Peer(1), shard(), 1)]);
    assert!(peers.is_offer_asked(Peer(1), shard(), 1));
    assert!(!peers.is_offer_asked(Peer(1), shard(), 2));
    assert!(!peers.is_offer_asked(Peer(1), BEACON, 1));
    assert!(!peers.is_offer_asked(Peer(2), shard(), 1));
    peers.drop_offer(Peer(1), shard(), NOW);
    assert!(!peers.is_offer_asked(Peer(1), shard(), 1), "not any more");
}

#[test]
fn who_forged_is_nobody() {
    let mut peers = offering(&[&[5]]);
    assert!(!peers.is_alone() && !peers.is_unheard(BEACON) && peers.is_unheard(shard()));
    let all = [BEACON, shard()];
    let count = Count {
        connected: 1,
        answered: 0,
        configured: 0,
    };
    assert_eq!(peers.count(&all), count);
    assert_eq!(peers.count(&[BEACON]).answered, 1);
    peers.forged(Peer(1));
    assert!(peers.is_alone() && !peers.is_unheard(shard()));
    assert_eq!(best(&peers, &[], None), None);
    assert_eq!(peers.count(&all).connected, 0);
    assert_eq!(peers.pick_other(BEACON, &BTreeSet::new()), None);
}
