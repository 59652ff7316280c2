//! What a leader puts into its block where there is not room for all.

use super::*;
use crate::assemble::{beacon_start, shared_with};
use crate::chain::jobs::Shared;
use crate::inclusion::INBOUND_ROOM;
use crate::mempool::MempoolLimits;
use crate::testing::{executed, genesis, inbound as batch, shard};
use skerry_execution::views::Turns;
use skerry_types::amount::{Amount, Asset};
use skerry_types::beacon::ShardRecord;
use skerry_types::codec::{self, Version};
use skerry_types::crypto::ed25519::SecretKey;
use skerry_types::crypto::scheme::MockScheme;
use skerry_types::genesis::{Genesis, GenesisAccount};
use skerry_types::ids::ModuleId;
use skerry_types::message::Flow;
use skerry_types::state::{ChangeSet, StateKey, Value};
use skerry_types::transaction::{Bundle, Nonce, Operation, Target, TransactionBody};

const BEACON: ChainRef = ChainRef::Beacon;

/// A leader at the start of a chain, and what waits for it.
struct Leader {
    shared: Arc<Shared>,
    chain: ChainRef,
    executed: Arc<Executed>,
    feed: BeaconFeed,
    inbound: InboundPool,
    mempool: Mempool,
}

impl Leader {
    fn new(genesis: &Genesis, chain: ChainRef) -> Self {
        let shared = shared_with(genesis, Arc::new(MockScheme)).expect("a network");
        let start = beacon_start(genesis, &shared);
        Self {
            executed: Arc::new(executed(genesis, chain)),
            feed: BeaconFeed::new(Vec::new(), start, Arc::new(|_| None)),
            inbound: InboundPool::default(),
            mempool: Mempool::new(MempoolLimits::default()),
            chain,
            shared,
        }
    }

    /// Replaces a record of the state.
    fn put<T: borsh::BorshSerialize>(&mut self, key: StateKey, value: &T) {
        let value = Some(Value::from(encode(value)));
        let changes = [(key, value)].into();
        let before = &self.executed;
        self.executed = Arc::new(Executed {
            block: before.block,
            result: before.result,
            state: before.state.apply(&changes),
            changes: ChangeSet::new(),
            receipts: Arc::default(),
            outgoing: Vec::new(),
            channels: Vec::new(),
            facts: None,
            transactions: Arc::default(),
            used: Vec::new(),
            alarms: Vec::new(),
        });
    }

    /// `count` batches wait, each with one message and a proof of these lengths.
    fn waits(&mut self, source: ChainRef, count: u64, (message, proof): (usize, usize)) {
        for first in 0..count {
            let channel = (source, self.chain);
            let messages = (first, vec![vec![0; message]]);
            let inbound = batch(&self.shared.network, channel, messages, proof);
            self.inbound.insert(Arc::new(inbound));
        }
    }

    fn draft(&self) -> Draft {
        let report = Report {
            block: self.executed.block,
            result: self.executed.result,
        };
        let now = TimeMs::new(1_000);
        let choice = choose(&Situation {
            chain: self.chain,
            network: &self.shared.network,
            parent: None,
            parent_report: report,
            last_working: report.block,
            executed: Some(&self.executed),
            final_report: report.block,
            last_working_time: TimeMs::ZERO,
            feed: (!self.chain.is_beacon()).then_some(&self.feed),
            epoch: Epoch::ZERO,
            links: &LinkPool::default(),
            ready: &ReadyPool::default(),
            evidence: &EvidencePool::default(),
            committees: &self.shared.committees,
            inbound: &self.inbound,
            mempool: &self.mempool,
            checking: 0,
            transactions_max: limits::BLOCK_TRANSACTIONS_MAX,
            idle_only: false,
            since: now,
            now,
            parent_votes: None,
        });
        match choice {
            Choice::Propose(draft) if draft.kind == BlockKind::Working => *draft,
            other => panic!("{other:?}"),
        }
    }

    fn sources(&self) -> Vec<ChainRef> {
        let inbound = self.draft().body.inbound;
        inbound.iter().map(|inbound| inbound.batch.source).collect()
    }
}

/// A client of a shard.
fn client(depth: u8, home: ChainRef) -> (SecretKey, Address) {
    let keys = (0_u8..=255).map(|seed| SecretKey::from_seed([seed; 32]));
    let mut clients = keys.map(|key| {
        let address = Address::of_ed25519(&key.public_key());
        (key, address)
    });
    let at_home =
        |(_, address): &(SecretKey, Address)| ChainRef::Shard(address.shard(depth)) == home;
    clients.find(at_home).expect("one of them lives there")
}

/// A transaction of nearly three kilobytes.
fn transaction(
    chain_id: skerry_types::ids::Digest,
    (key, sender): &(SecretKey, Address),
    nonce: Nonce,
) -> Arc<CheckedTransaction> {
    let asset = Asset::nsker(1);
    // The variant `Send` of the calls of `bank`.
    let mut call = vec![0];
    call.extend(encode(sender));
    call.extend(encode(&asset));
    let module = ModuleId::new(2);
    let body = TransactionBody {
        version: Version,
        chain_id,
        sender: *sender,
        nonce,
        valid_until: Height::new(100),
        gas_limit: Gas::new(10_000_000),
        gas_price: Amount::new(10),
        bundle: Bundle {
            target: Target::Home,
            assets: vec![asset],
            operations: vec![Operation { module, call }; limits::BUNDLE_OPERATIONS_MAX],
            minimum_outputs: Vec::new(),
            deadline: Height::new(100),
            onward: Vec::new(),
        },
    };
    let wire = encode(&body.sign(key));
    Arc::new(CheckedTransaction::decode(wire, &chain_id).expect("a transaction"))
}

#[test]
fn body_with_long_proofs_and_many_transactions_keeps_its_limit() {
    let here = shard(3, 0);
    let client = client(3, here);
    let mut genesis = genesis(3);
    genesis.parameters.block_gas = Gas::new(1 << 50);
    genesis.accounts = vec![GenesisAccount {
        address: client.1,
        assets: vec![Asset::nsker(1 << 90)],
    }];
    let mut leader = Leader::new(&genesis, here);
    for source in leader.shared.network.chains.clone() {
        if source != here {
            leader.waits(source, 3, (100, 700_000));
        }
    }
    let limits_of_pool = MempoolLimits {
        per_sender_max: 4_000,
        ..MempoolLimits::default()
    };
    leader.mempool = Mempool::new(limits_of_pool);
    let (chain_id, base_fee) = (leader.shared.chain_id, Amount::new(10));
    for number in 0..1_400_u16 {
        let nonce = Nonce {
            stream: number % 7,
            sequence: u64::from(number / 7),
        };
        let transaction = transaction(chain_id, &client, nonce);
        let inserted = leader
            .mempool
            .insert(crate::mempool::tests::of(transaction), 0, base_fee);
        inserted.expect("there is room");
    }
    let Draft {
        mut body,
        transactions,
        ..
    } = leader.draft();
    assert_eq!(body.inbound.len(), INBOUND_ROOM / 700_000);
    let wires = transactions.iter().map(|it| it.wire().to_vec());
    body.transactions = wires.collect();
    let bytes: usize = body.transactions.iter().map(Vec::len).sum();
    assert!(bytes > limits::BODY_TRANSACTION_BYTES / 10 * 9, "{bytes}");
    let encoded = encode(&body);
    assert!(encoded.len() <= limits::BODY_BYTES_MAX, "{}", encoded.len());
    let decoded = codec::decode::<Body>(&encoded, limits::BODY_BYTES_MAX);
    assert_eq!(decoded.expect("it is valid").inbound.len(), 4);
}

#[test]
fn operations_fill_what_room_there_is_and_no_more() {
    let ready = |validator: u32| {
        SystemOperation::Ready(skerry_types::beacon::Ready {
            validator: skerry_types::ids::ValidatorId::new(validator),
            chain: BEACON,
            epoch: Epoch::ZERO,
            signature: skerry_types::crypto::bls::Signature([0; 96]),
        })
    };
    let each = encode(&ready(0)).len();
    for (left, count, expected) in [
        (3 * each, 5, 3),
        (4 * each - 1, 5, 3),
        (1 << 20, 300, limits::SYSTEM_OPERATIONS_MAX),
    ] {
        let (mut room, mut system) = (Room { left }, Vec::new());
        room.fill(&mut system, (0..count).map(ready));
        assert_eq!(system.len(), expected);
        assert_eq!(room.left, left - expected * each);
    }
    let body = Body {
        inbound: vec![batch(
            &Leader::new(&genesis(0), BEACON).shared.network,
            (shard(0, 0), BEACON),
            (0, vec![vec![7]]),
            limits::BODY_BYTES_MAX,
        )],
        ..Body::default()
    };
    assert!(Room::beside(&body).is_none(), "it is full without them");
}

#[test]
fn sources_take_turns_beginning_after_the_last_that_was_served() {
    let here = shard(2, 0);
    let others = [BEACON, shard(2, 1), shard(2, 2), shard(2, 3)];
    let large = (250 * 1024, 100);
    let mut leader = Leader::new(&genesis(2), here);
    leader.waits(others[1], 9, large);
    leader.waits(others[3], 1, large);
    let busy = others[1];
    assert_eq!(leader.sources(), [busy, others[3], busy, busy]);
    let mut leader = Leader::new(&genesis(2), here);
    for source in others {
        leader.waits(source, 3, large);
    }
    assert_eq!(leader.sources(), others);
    for first in 0..others.len() {
        let turns = Turns {
            version: Version,
            accept: others[first],
            execute: BEACON,
        };
        leader.put(views::turns_key(here), &turns);
        let mut expected = others;
        expected.rotate_left(first);
        assert_eq!(leader.sources(), expected);
    }
}

#[test]
fn leader_of_the_beacon_takes_no_more_than_may_wait_there() {
    let source = shard(1, 1);
    let mut leader = Leader::new(&genesis(1), BEACON);
    let record = views::shard_record(&leader.executed.state, source).expect("of the genesis");
    let plenty = Flow {
        messages: 1 << 40,
        bytes: 1 << 40,
        gas: 1 << 40,
        ..Flow::default()
    };
    let mut channels = record.channels.clone();
    for summary in &mut channels {
        summary.sent = plenty;
    }
    let record = ShardRecord { channels, ..record };
    leader.put(views::shard_record_key(source), &record);
    leader.waits(source, 3, (100, 100));
    assert_eq!(leader.sources().len(), 3);
    let messages = limits::BEACON_BACKLOG_MAX - 1;
    let channel = views::InboundState {
        accepted: Flow {
            messages,
            ..Flow::default()
        },
        ..views::InboundState::default()
    };
    leader.put(views::inbound_key(BEACON, source), &channel);
    leader.inbound = InboundPool::default();
    for first in messages..messages + 3 {
        let messages = (first, vec![vec![0; 100]]);
        let inbound = batch(&leader.shared.network, (source, BEACON), messages, 100);
        leader.inbound.insert(Arc::new(inbound));
    }
    assert_eq!(leader.sources().len(), 1);
}
