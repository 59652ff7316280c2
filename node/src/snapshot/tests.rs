use super::check::{Checkpoint, Trust};
use super::frames::{
    BaseProof, Offer, OfferedBase, REQUEST_BYTES_MAX, Reply, Request, SnapshotReply,
    SnapshotRequest,
};
use super::join::{Input, Join, Note, Output, Place, Setup};
use crate::chain::{Payload, Peer};
use crate::wire::kind;
use skerry_storage::{ChainStore, Identity, MemoryBackend};
use skerry_types::block::{BlockKind, BlockRef, ExecutionResult, Header, Report};
use skerry_types::certificate::{Bitmap, Certificate};
use skerry_types::codec::{Version, decode, encode};
use skerry_types::crypto::bls::{SecretKey, Signature};
use skerry_types::crypto::scheme::{MockScheme, VoteScheme};
use skerry_types::evidence::FinalHeader;
use skerry_types::genesis::{Genesis, GenesisValidator, Parameters};
use skerry_types::ids::{
    Address, ChainRef, Digest, Epoch, Height, MemberIndex, TimeMs, ValidatorId, View, Weight,
};
use skerry_types::vote::Statement;
use std::sync::Arc;

const BEACON: ChainRef = ChainRef::Beacon;
/// Longest time that a join without any help may take: all waits of both chains.
const PATIENCE_MS: u64 = 60_000;

fn genesis() -> Arc<Genesis> {
    let validator = |number: u8| GenesisValidator {
        name: format!("v{number}"),
        vote_key: SecretKey::from_seed([number + 1; 32]).public_key(),
        possession: Signature([0; 96]),
        operator: Address::of_system(0, BEACON, &[number]),
        stake: Weight::new(1),
    };
    Arc::new(Genesis {
        version: Version,
        name: "join".to_owned(),
        salt: Digest::ZERO,
        time: TimeMs::ZERO,
        development: true,
        shard_depth: 0,
        parameters: Parameters::default(),
        validators: (0..4).map(validator).collect(),
        seats: vec![(0..4).map(ValidatorId::new).collect()],
        accounts: Vec::new(),
    })
}

/// A join of both chains by a node that holds nothing.
fn join() -> Join {
    let genesis = genesis();
    let places: Vec<Place> = genesis
        .chains()
        .into_iter()
        .map(|chain| {
            let identity = Identity {
                chain_id: genesis.chain_id(),
                chain,
            };
            let store = ChainStore::open(Arc::new(MemoryBackend::new()), identity);
            let store = Arc::new(store.expect("an empty store opens"));
            Place { chain, store }
        })
        .collect();
    let scheme: Arc<dyn VoteScheme> = Arc::new(MockScheme);
    let beacon = &places.first().expect("the beacon").store;
    let trust = Trust::new(&genesis, beacon, &scheme, None).expect("the genesis is trusted");
    let setup = Setup {
        places,
        trust,
        above: 5,
    };
    Join::new(setup, TimeMs::new(1_000))
}

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

/// What became of a join whose peers answer as `answer` has it.
struct Played {
    ended_after_ms: u64,
    requests: Vec<(Peer, Request)>,
    forged: Vec<Peer>,
    notes: Vec<Note>,
}

fn play(peers: u32, answer: impl Fn(Peer, Request) -> Option<Reply>) -> Played {
    let mut join = join();
    let chains = genesis().chains();
    let mut played = Played {
        ended_after_ms: 0,
        requests: Vec::new(),
        forged: Vec::new(),
        notes: Vec::new(),
    };
    let mut inputs: Vec<Input> = (1..=peers)
        .map(|number| Input::PeerUp {
            peer: Peer(number),
            chains: chains.clone(),
        })
        .collect();
    for elapsed in (0..PATIENCE_MS).step_by(100) {
        inputs.push(Input::Tick);
        while let Some(input) = (!inputs.is_empty()).then(|| inputs.remove(0)) {
            let mut outputs = Vec::new();
            join.step(TimeMs::new(1_000 + elapsed), input, &mut outputs);
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
                        if let Some(what) = answer(peer, request.what) {
                            let number = request.number;
                            let reply = SnapshotReply { number, what };
                            let payload: Payload = encode(&reply).into();
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
                    Output::Note(note) => played.notes.push(note),
                    Output::Finished => {
                        played.ended_after_ms = elapsed;
                        return played;
                    }
                    Output::Failed(failure) => panic!("{failure:?}"),
                }
            }
        }
    }
    panic!("still at it after {PATIENCE_MS} ms");
}

/// A proof of a base without any signature.
fn unsigned_proof(height: u64) -> BaseProof {
    let digest = Digest::new([7; 32]);
    let header = Header {
        version: Version,
        chain_id: genesis().chain_id(),
        chain: BEACON,
        epoch: Epoch::ZERO,
        height: Height::new(height),
        view: View::new(height),
        kind: BlockKind::Working,
        parent: digest,
        proposer: MemberIndex::new(0),
        time: TimeMs::new(height),
        beacon: block(height),
        body_root: digest,
        report: Report {
            block: block(height),
            result: ExecutionResult::default(),
        },
        facts_root: digest,
        next: None,
        reveal: None,
    };
    let statement = Statement::Finalize {
        view: View::new(height),
        digest: header.digest(),
    };
    let certificate = Certificate {
        statement,
        signers: Bitmap::of((0..4).map(MemberIndex::new), 4),
        signature: Signature([0; 96]),
    };
    BaseProof {
        header: header.clone(),
        certificate: certificate.clone(),
        seal: None,
        reporter: header.clone(),
        beacon: FinalHeader {
            header,
            path: Vec::new(),
            certificate,
        },
        shard: None,
    }
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
fn who_forges_a_base_is_asked_no_more() {
    let played = play(2, |peer, request| match (peer.0, request) {
        (1, Request::Offer) => Some(offer(100, 0)),
        (1, Request::Base(_)) => Some(Reply::Base(Some(Box::new(unsigned_proof(100))))),
        (2, Request::Offer) => Some(Reply::Offer(Offer::default())),
        _ => None,
    });
    assert_eq!(played.forged, [Peer(1)]);
    let bases = |(peer, request): &&(Peer, Request)| {
        *peer == Peer(1) && matches!(request, Request::Base(_))
    };
    assert_eq!(played.requests.iter().filter(bases).count(), 1);
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
