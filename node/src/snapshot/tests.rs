use super::check::{Age, Checkpoint};
use super::frames::{
    BaseProof, Offer, OfferedBase, REQUEST_BYTES_MAX, Reply, Request, SnapshotReply,
    SnapshotRequest,
};
use super::join::{Failure, GaveUp, Input, Join, Note, Output, Place, Setup};
use super::testing::{BEACON, beacon_base, genesis, result, seal, shard, store, trust_of};
use crate::chain::{Payload, Peer};
use crate::wire::kind;
use skerry_storage::import::{BaseRow, Import};
use skerry_storage::{ChainStore, Identity, MemoryBackend, StateTree};
use skerry_types::block::BlockRef;
use skerry_types::codec::{decode, encode};
use skerry_types::ids::{Address, ChainRef, Digest, Epoch, Height, TimeMs};
use skerry_types::state::{ChangeSet, StateKey};
use std::sync::Arc;

/// Longest time that a join without any help may take: all waits of both chains.
const PATIENCE_MS: u64 = 180_000;
/// When joins begin.
const BEGIN_MS: u64 = 1_000;

/// What a join begins with.
struct Plan {
    peers: u32,
    configured: usize,
    checkpoint: Option<Checkpoint>,
    begin_ms: u64,
    stores: [Arc<ChainStore>; 2],
}

impl Plan {
    /// Of both chains by a node that holds nothing, with so many peers.
    fn of(peers: u32) -> Self {
        Self {
            peers,
            configured: usize::try_from(peers).expect("few"),
            checkpoint: None,
            begin_ms: BEGIN_MS,
            stores: [BEACON, shard()].map(|chain| store(&genesis(), chain)),
        }
    }

    fn join(&self) -> Join {
        let [beacon, of_shard] = self.stores.clone();
        let place = |chain, store| Place {
            chain,
            store,
            above: 5,
        };
        let setup = Setup {
            places: vec![place(BEACON, beacon), place(shard(), of_shard)],
            trust: trust_of(&genesis(), self.checkpoint).expect("the genesis is trusted"),
            peers: self.configured,
            chunk_bytes: CHUNK_BYTES,
        };
        Join::new(setup, TimeMs::new(self.begin_ms))
    }
}

/// Bytes of a full chunk here.
const CHUNK_BYTES: usize = 400;

fn block(height: u64) -> BlockRef {
    BlockRef {
        height: Height::new(height),
        digest: Digest::new([7; 32]),
    }
}

fn offer(height: u64, epoch: u64) -> Reply {
    Reply::Offer(Offer {
        held: Height::new(height),
        bases: vec![OfferedBase {
            block: block(height),
            root: Digest::new([8; 32]),
            epoch: Epoch::new(epoch),
        }],
    })
}

/// What became of a join whose peers answer as they are told to.
#[derive(Default)]
struct Played {
    ended_after_ms: u64,
    requests: Vec<(Peer, Request)>,
    forged: Vec<Peer>,
    undecodable: Vec<Peer>,
    notes: Vec<Note>,
    failed: Option<Failure>,
}

impl Played {
    fn joined(&self) -> Vec<(ChainRef, BlockRef)> {
        let joined = |note: &Note| match note {
            Note::Joined { chain, block, .. } => Some((*chain, *block)),
            _ => None,
        };
        self.notes.iter().filter_map(joined).collect()
    }

    fn asked(&self, of: u32, is_it: fn(&Request) -> bool) -> usize {
        let asked = |(peer, request): &&(Peer, Request)| peer.0 == of && is_it(request);
        self.requests.iter().filter(asked).count()
    }
}

/// The bytes of an answer; of nothing where there is none.
type Bytes = Option<Vec<u8>>;

fn play(peers: u32, answer: impl Fn(Peer, Request) -> Option<Reply>) -> Played {
    play_with(&Plan::of(peers), |peer, _, request| answer(peer, request))
}

fn play_with(plan: &Plan, answer: impl Fn(Peer, ChainRef, Request) -> Option<Reply>) -> Played {
    play_bytes(plan, |peer, chain, SnapshotRequest { number, what }| {
        let what = answer(peer, chain, what)?;
        Some(encode(&SnapshotReply { number, what }))
    })
}

fn play_bytes(plan: &Plan, answer: impl Fn(Peer, ChainRef, SnapshotRequest) -> Bytes) -> Played {
    let mut join = plan.join();
    let chains = genesis().chains();
    let mut played = Played::default();
    let mut inputs: Vec<Input> = (1..=plan.peers)
        .map(|number| Input::PeerUp {
            peer: Peer(number),
            chains: chains.clone(),
            configured: usize::try_from(number).expect("few") <= plan.configured,
        })
        .collect();
    for elapsed in (0..PATIENCE_MS).step_by(100) {
        inputs.push(Input::Tick);
        while let Some(input) = (!inputs.is_empty()).then(|| inputs.remove(0)) {
            let mut outputs = Vec::new();
            join.step(TimeMs::new(plan.begin_ms + elapsed), input, &mut outputs);
            for output in outputs {
                match output {
                    Output::Send {
                        peer,
                        chain,
                        kind: kind::SNAPSHOT_REQUEST,
                        payload,
                    } => {
                        let request: SnapshotRequest =
                            decode(&payload, REQUEST_BYTES_MAX).expect("a request");
                        played.requests.push((peer, request.what));
                        if let Some(payload) = answer(peer, chain, request) {
                            let payload: Payload = payload.into();
                            inputs.push(Input::Frame {
                                peer,
                                chain,
                                kind: kind::SNAPSHOT_REPLY,
                                payload,
                            });
                        }
                    }
                    Output::Send { .. } => panic!("nobody asked this node"),
                    Output::Work(job) => inputs.push(Input::Done(job.run())),
                    Output::Forged { peer, .. } => played.forged.push(peer),
                    Output::Undecodable { peer, .. } => played.undecodable.push(peer),
                    Output::Note(note) => played.notes.push(note),
                    Output::Finished => {
                        played.ended_after_ms = elapsed;
                        return played;
                    }
                    Output::Failed(failure) => {
                        played.failed = Some(failure);
                        return played;
                    }
                }
            }
        }
    }
    panic!("still at it after {PATIENCE_MS} ms");
}

/// A proof of a base without any signature.
fn unsigned_proof(height: u64) -> BaseProof {
    let mut proof = beacon_base(height, &StateTree::empty());
    proof.beacon.certificate.signature.0 = [0; 96];
    proof
}

/// A state of a few chunks.
fn state() -> StateTree {
    let record = |number: u8| {
        let key = StateKey {
            owner: Address::of_system(0, BEACON, &[number]),
            ..skerry_execution::views::shard_record_key(shard())
        };
        let value = vec![number; 60];
        (key, Some(value.into()))
    };
    let changes: ChangeSet = (0..40).map(record).collect();
    StateTree::empty().apply(&changes)
}

/// What an honest peer answers that serves a base of the beacon, and nothing of the shard.
fn honest(base: &BaseProof, chain: ChainRef, request: Request) -> Option<Reply> {
    let block = base.header.block_ref();
    let bases = vec![OfferedBase {
        block,
        root: state().root(),
        epoch: Epoch::ZERO,
    }];
    let (held, is_beacon) = (block.height, chain.is_beacon());
    Some(match request {
        Request::Offer if is_beacon => Reply::Offer(Offer { held, bases }),
        Request::Offer => Reply::Offer(Offer::default()),
        Request::Base(asked) if asked == block => Reply::Base(Some(Box::new(base.clone()))),
        Request::Base(_) => Reply::Base(None),
        Request::Chunk { root, after } if root == state().root() => {
            Reply::Chunk(state().chunk(after.as_ref(), CHUNK_BYTES))
        }
        Request::Chunk { .. } => Reply::Chunk(None),
        Request::Seals(_) => Reply::Seals(Vec::new()),
        Request::Batches { .. } => Reply::Batches(None),
    })
}

#[test]
fn joining_ends_whatever_peers_do() {
    type Answer = fn(Peer, Request) -> Option<Reply>;
    let behaviours: [(&str, u32, Answer); 7] = [
        ("nobody is there", 0, |_, _| None),
        ("all are silent", 3, |_, _| None),
        ("nobody is ahead", 3, |_, request| {
            matches!(request, Request::Offer).then(|| Reply::Offer(Offer::default()))
        }),
        ("all are ahead and serve nothing", 3, |_, request| {
            let held = Height::new(9_000);
            let bases = Vec::new();
            matches!(request, Request::Offer).then(|| Reply::Offer(Offer { held, bases }))
        }),
        (
            "one never answers, one refuses what it offers",
            2,
            |peer, request| match (peer.0, request) {
                (_, Request::Offer) => Some(offer(100, 0)),
                (2, _) => Some(Reply::Base(None)),
                _ => None,
            },
        ),
        (
            "an epoch that nobody can prove",
            2,
            |_, request| match request {
                Request::Offer => Some(offer(100, 50)),
                _ => Some(Reply::Seals(Vec::new())),
            },
        ),
        (
            "replies to another question",
            2,
            |_, request| match request {
                Request::Offer => Some(offer(100, 0)),
                _ => Some(Reply::Chunk(None)),
            },
        ),
    ];
    for (name, peers, answer) in behaviours {
        let played = play(peers, answer);
        assert!(played.ended_after_ms > 0, "{name}");
        assert_eq!(played.forged, Vec::new(), "{name}: nothing was forged");
        let joined = |note: &Note| matches!(note, Note::Joined { .. });
        assert!(!played.notes.iter().any(joined), "{name}");
    }
}

#[test]
fn a_node_that_nobody_is_ahead_of_begins_soon() {
    let played = play(3, |_, request| {
        matches!(request, Request::Offer).then(|| Reply::Offer(Offer::default()))
    });
    assert!(played.ended_after_ms <= 500, "{}", played.ended_after_ms);
    let alone = play(0, |_, _| None);
    assert!(alone.ended_after_ms <= 1_500, "{}", alone.ended_after_ms);
}

#[test]
fn one_peer_that_answers_at_once_does_not_decide_for_those_that_are_slower() {
    let plan = Plan {
        configured: 3,
        ..Plan::of(1)
    };
    let played = play_with(&plan, |_, _, request| {
        matches!(request, Request::Offer).then(|| Reply::Offer(Offer::default()))
    });
    assert!(played.ended_after_ms >= 3_000, "{}", played.ended_after_ms);
    let probed = Note::Probed {
        answered: 1,
        configured: 1,
        wanted: 3,
    };
    assert!(played.notes.contains(&probed), "{:?}", played.notes);
    let alone = Plan {
        configured: 9,
        ..Plan::of(0)
    };
    let alone = play_with(&alone, |_, _, _| None);
    assert!(alone.ended_after_ms >= 3_000, "{}", alone.ended_after_ms);
}

#[test]
fn a_base_is_taken_over_whatever_one_peer_offers_beside_it() {
    let base = beacon_base(100, &state());
    type Answer = fn(ChainRef, Request) -> Option<Reply>;
    let liars: [(&str, Answer); 4] = [
        ("never serves what it offers", |_, request| {
            matches!(request, Request::Offer).then(|| offer(9_000, 0))
        }),
        ("offers what is of an epoch to come", |_, request| {
            Some(match request {
                Request::Offer => offer(9_000, 50),
                _ => Reply::Seals(Vec::new()),
            })
        }),
        (
            "says another root and epoch of the same base",
            |_, request| {
                let block = beacon_base(100, &state()).header.block_ref();
                let bases = vec![OfferedBase {
                    block,
                    root: Digest::new([1; 32]),
                    epoch: Epoch::new(9),
                }];
                let held = block.height;
                Some(match request {
                    Request::Offer => Reply::Offer(Offer { held, bases }),
                    _ => Reply::Chunk(None),
                })
            },
        ),
        ("forges", |_, request| {
            Some(match request {
                Request::Offer => offer(9_000, 0),
                _ => Reply::Base(Some(Box::new(unsigned_proof(9_000)))),
            })
        }),
    ];
    for (name, liar) in liars {
        for honest_peers in [1, 3] {
            let played = play_with(
                &Plan::of(1 + honest_peers),
                |peer, chain, request| match peer.0 {
                    1 => liar(chain, request),
                    _ => honest(&base, chain, request),
                },
            );
            let expected = [(BEACON, base.header.block_ref())];
            assert_eq!(played.joined(), expected, "{name}, {honest_peers} honest");
            assert!(played.forged.iter().all(|peer| peer.0 == 1), "{name}");
        }
    }
}

#[test]
fn what_cannot_be_read_is_reported_and_what_was_not_asked_is_not_read() {
    let base = beacon_base(100, &state());
    let played = play_bytes(&Plan::of(2), |peer, chain, request| {
        let SnapshotRequest { number, what } = request;
        if peer.0 == 1 && matches!(what, Request::Base(_)) {
            let mut bytes = number.to_le_bytes().to_vec();
            bytes.extend([255; 9]);
            return Some(bytes);
        }
        let what = honest(&base, chain, what)?;
        Some(encode(&SnapshotReply { number, what }))
    });
    assert_eq!(played.joined().len(), 1);
    assert!(played.undecodable.iter().all(|peer| peer.0 == 1));
    assert!(played.asked(1, |it| matches!(it, Request::Base(_))) <= 1 + played.undecodable.len());

    let mut join = Plan::of(0).join();
    let mut outputs = Vec::new();
    for payload in [vec![], vec![255; 7], vec![255; 900]] {
        let input = Input::Frame {
            peer: Peer(1),
            chain: BEACON,
            kind: kind::SNAPSHOT_REPLY,
            payload: payload.into(),
        };
        join.step(TimeMs::new(BEGIN_MS), input, &mut outputs);
    }
    assert_eq!(outputs.len(), 0, "nothing was asked");
}

#[test]
fn a_start_that_the_clock_says_is_too_old_proves_nothing() {
    let base = beacon_base(100, &state());
    let late = Plan {
        begin_ms: 5 * 3_600_000 + 1,
        ..Plan::of(3)
    };
    let played = play_with(&late, |_, chain, request| honest(&base, chain, request));
    assert!(matches!(
        played.failed,
        Some(Failure::TooOld(too_old)) if matches!(too_old.by, Age::Clock(_))
    ));
    // Who is not behind needs no proof.
    let late = Plan {
        begin_ms: 5 * 3_600_000 + 1,
        ..Plan::of(3)
    };
    let played = play_with(&late, |_, _, request| {
        matches!(request, Request::Offer).then(|| Reply::Offer(Offer::default()))
    });
    assert_eq!(played.failed, None);
    // The operator's word makes it young.
    let vouched = Plan {
        checkpoint: Some(trust_of(&genesis(), None).expect("trusted").checkpoint()),
        begin_ms: 5 * 3_600_000 + 1,
        ..Plan::of(3)
    };
    let played = play_with(&vouched, |_, chain, request| honest(&base, chain, request));
    assert_eq!(played.joined().len(), 1, "{:?}", played.failed);
}

#[test]
fn a_checkpoint_that_is_contradicted_bans_nobody() {
    let plan = Plan {
        checkpoint: Some(Checkpoint {
            epoch: Epoch::new(1),
            seal: Digest::new([9; 32]),
        }),
        ..Plan::of(3)
    };
    let played = play_with(&plan, |_, _, request| match request {
        Request::Offer => Some(offer(100, 1)),
        Request::Seals(_) => Some(Reply::Seals(vec![seal(900)])),
        _ => None,
    });
    assert!(matches!(played.failed, Some(Failure::Checkpoint(it)) if it.epoch == Epoch::new(1)));
    assert_eq!(played.forged, []);
}

#[test]
fn what_was_begun_waits_for_peers_and_goes_on() {
    let base = beacon_base(100, &state());
    let plan = Plan::of(0);
    let row = BaseRow {
        block: base.header.block_ref(),
        result: result(&state()),
    };
    let [beacon, _] = &plan.stores;
    let import = Import::begin(beacon.clone(), &row).expect("it begins");
    let first = state().chunk(None, CHUNK_BYTES).expect("a chunk");
    let next = first.verify(&state().root(), None).expect("it holds");
    import.chunk(None, &first, next).expect("it is written");
    drop(import);

    let mut join = plan.join();
    let mut notes = Vec::new();
    let mut step = |at: u64, input: Input| {
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            let mut outputs = Vec::new();
            join.step(TimeMs::new(BEGIN_MS + at), input, &mut outputs);
            for output in outputs {
                match output {
                    Output::Note(note) => notes.push(note),
                    Output::Work(job) => inputs.push(Input::Done(job.run())),
                    Output::Send {
                        peer,
                        chain,
                        payload,
                        ..
                    } => {
                        let request: SnapshotRequest =
                            decode(&payload, REQUEST_BYTES_MAX).expect("a request");
                        let what = honest(&base, chain, request.what).expect("an answer");
                        let number = request.number;
                        inputs.insert(
                            0,
                            Input::Frame {
                                peer,
                                chain,
                                kind: kind::SNAPSHOT_REPLY,
                                payload: encode(&SnapshotReply { number, what }).into(),
                            },
                        );
                    }
                    Output::Finished => return true,
                    _ => panic!("neither forged nor failed"),
                }
            }
        }
        false
    };
    for at in (0..100_000).step_by(500) {
        assert!(!step(at, Input::Tick), "it waits at {at}");
    }
    let chains = genesis().chains();
    let peer = Peer(1);
    let up = Input::PeerUp {
        peer,
        chains,
        configured: true,
    };
    let mut over = step(100_000, up);
    for at in (100_000..PATIENCE_MS).step_by(100) {
        over = over || step(at, Input::Tick);
    }
    assert!(over);
    let waited = notes.iter().filter(|note| **note == Note::WaitsForPeers);
    assert_eq!(waited.count(), 1);
    let resumed = |note: &Note| matches!(note, Note::Begun { resumed: true, .. });
    assert!(notes.iter().any(resumed), "{notes:?}");
    assert!(notes.iter().any(|note| matches!(note, Note::Joined { .. })));
}

/// A store whose disk is gone.
fn broken_store(chain: ChainRef) -> Arc<ChainStore> {
    let backend = Arc::new(MemoryBackend::new());
    let identity = Identity {
        chain_id: genesis().chain_id(),
        chain,
    };
    let store = ChainStore::open(backend.clone(), identity).expect("an empty store opens");
    backend.fail_after(0);
    let written = store.init_genesis(&ChangeSet::new(), &result(&StateTree::empty()));
    written.expect_err("nothing can be written");
    Arc::new(store)
}

#[test]
fn a_store_that_does_not_say_what_was_begun_ends_the_join() {
    for peers in [0, 2] {
        let plan = Plan {
            stores: [BEACON, shard()].map(broken_store),
            ..Plan::of(peers)
        };
        let played = play_with(&plan, |_, _, request| {
            matches!(request, Request::Offer).then(|| offer(100, 0))
        });
        let failed = played.failed;
        assert!(matches!(failed, Some(Failure::Store(_))), "{failed:?}");
    }
}

#[test]
fn a_node_that_gives_up_says_so() {
    let played = play(3, |_, request| {
        let held = Height::new(9_000);
        let bases = Vec::new();
        matches!(request, Request::Offer).then(|| Reply::Offer(Offer { held, bases }))
    });
    let gave_up = |chain| Note::GaveUp {
        chain,
        why: GaveUp::Unserved,
    };
    for chain in [BEACON, shard()] {
        assert!(played.notes.contains(&gave_up(chain)), "{:?}", played.notes);
    }
}

#[test]
fn the_number_of_a_reply_is_read_without_the_rest() {
    let reply = SnapshotReply {
        number: 0x0102_0304_0506_0708,
        what: Reply::Base(None),
    };
    assert_eq!(
        SnapshotReply::number_of(&encode(&reply)),
        Some(reply.number)
    );
    assert_eq!(SnapshotReply::number_of(&[1; 7]), None);
}

#[test]
fn who_forges_a_base_is_asked_no_more() {
    let played = play(2, |peer, request| match (peer.0, request) {
        (1, Request::Offer) => Some(offer(100, 0)),
        (1, Request::Base(_)) => Some(Reply::Base(Some(Box::new(unsigned_proof(100))))),
        (2, Request::Offer) => Some(Reply::Offer(Offer::default())),
        _ => None,
    });
    assert_eq!(played.forged, [Peer(1)]);
    assert_eq!(played.asked(1, |it| matches!(it, Request::Base(_))), 1);
}

#[test]
fn a_checkpoint_reads_back() {
    let checkpoint = Checkpoint {
        epoch: Epoch::new(41),
        seal: Digest::new([3; 32]),
    };
    assert_eq!(checkpoint.to_string().parse(), Ok(checkpoint));
    for wrong in ["", "41", "x:0x00", "41:0x12", "41:"] {
        assert!(wrong.parse::<Checkpoint>().is_err(), "{wrong}");
    }
}
