//! A validator's key signs two blocks of one view: seen by the others, punished on the beacon, out of
//! the committees that are dealt after it.
//!
//! A node guards its key, so the second signer is made here: it has the key and no memory, speaks the
//! peer protocol as the validator, and votes for blocks that nobody proposed.

use crate::net::{Network, Node, Plan, run, runtime, until, wait};
use serde_json::Value;
use skerry::assemble::PROTOCOL_VERSION;
use skerry::config::NodeConfig;
use skerry::home;
use skerry_network::{Frame, HelloProof, Limits, NetworkConfig, NetworkHandle, NetworkKey, kind};
use skerry_types::codec::{decode, encode};
use skerry_types::committee::{Committee, Instance, genesis_digest};
use skerry_types::consensus::ConsensusMessage;
use skerry_types::crypto::bls::SecretKey;
use skerry_types::genesis::{Genesis, NSKER_PER_WEIGHT};
use skerry_types::ids::{ChainRef, Digest, ValidatorId, View};
use skerry_types::light::SealProof;
use skerry_types::limits::PROOF_BYTES_MAX;
use skerry_types::vote::{Statement, Vote};

const BEACON: ChainRef = ChainRef::Beacon;
/// Which validator the key is of: the last.
const CULPRIT: usize = 4;
/// Views from the newest known on in which it signs: who is asked may have come further.
const VIEWS: u64 = 4;

fn id(number: usize) -> ValidatorId {
    ValidatorId::new(u32::try_from(number).expect("few"))
}

/// A second node with a validator's key.
struct DoubleSigner {
    key: SecretKey,
    network: NetworkHandle,
}

impl DoubleSigner {
    fn new(genesis: &Genesis, of: &Node) -> Self {
        let config = NodeConfig::read(&of.home.join("config.toml")).expect("a configuration");
        let files = config.validator.expect("a validator's");
        let key = home::read_validator_key(&files.key, genesis).expect("a development key");
        let identity = NetworkKey::generate();
        let chain_id = genesis.chain_id();
        let proof = HelloProof::sign(&key, &chain_id, &identity.peer());
        let config = NetworkConfig {
            chain_id,
            protocol_version: PROTOCOL_VERSION,
            listen: Vec::new(),
            peers: config.network.peers,
            external: Vec::new(),
            chains: vec![BEACON],
            identity,
            validator: Some(proof),
            limits: Limits::default(),
        };
        let (network, mut events) =
            skerry_network::start(config, runtime().handle()).expect("it starts");
        // What comes in is of no interest, and must not pile up.
        runtime().spawn(async move { while events.consensus.recv().await.is_some() {} });
        Self { key, network }
    }

    /// Sends two notarizes for one view to everybody.
    fn contradict(&self, committee: &Committee, instance: &Instance, view: View) {
        let culprit = committee.index_of(id(CULPRIT));
        let signer = culprit.expect("it sits on the beacon");
        for block in [1, 2] {
            let statement = Statement::Notarize {
                view,
                digest: Digest::new([block; 32]),
            };
            let vote = Vote {
                statement,
                signer,
                signature: self.key.sign(&statement.signing_digest(instance)),
            };
            let sent = self.network.broadcast(&Frame {
                chain: BEACON,
                epoch: instance.epoch.get(),
                kind: kind::VOTE,
                payload: encode(&ConsensusMessage::Vote(vote)).into(),
            });
            assert!(sent > 0, "somebody is there to hear it");
        }
    }
}

/// The beacon's newest committee, what its votes are bound to, and the view of its newest block.
fn newest(network: &Network) -> Option<(Committee, Instance, View)> {
    let node = network.nodes.first().expect("v0");
    let status = node.status()?;
    let view = status.chains.iter().find(|it| it.chain == "beacon")?.view;
    let client = node.client();
    let chain_id = network.genesis.chain_id();
    let mut committee = network.genesis.committee(BEACON).expect("of the genesis");
    let mut genesis = genesis_digest(&chain_id, BEACON);
    loop {
        let seals = wait(client.beacon_seals(committee.epoch)).ok()?;
        let Some(seal) = seals.last() else {
            break;
        };
        let seal: SealProof = decode(seal, PROOF_BYTES_MAX).expect("a seal");
        (committee, genesis) = (seal.committee, seal.header.digest());
    }
    let instance = Instance {
        chain_id,
        chain: BEACON,
        epoch: committee.epoch,
        genesis,
    };
    Some((committee, instance, View::new(view)))
}

/// The validators, as a node's command line shows them.
fn validators(node: &Node) -> Option<Vec<Value>> {
    let shown = run(&["query", "validators", "--rpc", &node.rpc(), "--json"]).ok()?;
    Some(shown["validators"].as_array().expect("a list").clone())
}

/// An amount of base units as JSON has it.
fn amount(value: &Value) -> u128 {
    let text = value.as_str().expect("a decimal string");
    text.parse().expect("a number")
}

#[test]
fn double_signer_is_jailed_and_slashed_on_the_beacon() {
    let plan = Plan {
        shards: 1,
        validators: 5,
        seats: None,
        epoch_seconds: 6,
        block_gas: None,
        inbound_gas: None,
    };
    let mut network = Network::new("double-signer", plan);
    network.start_all();
    network.goes_on(1);
    let culprit = network.nodes.get_mut(CULPRIT).expect("v4");
    // Its own node would notice the other one and stop; here it is gone, and only the key is left.
    culprit.stop();
    let signer = DoubleSigner::new(&network.genesis, &network.nodes[CULPRIT]);
    until("it is connected to the others", || {
        (signer.network.peers().len() >= 3).then_some(())
    });
    until("what it signs is punished, and every node shows it", || {
        let (committee, instance, view) = newest(&network)?;
        for ahead in 0..VIEWS {
            let view = View::new(view.get().saturating_add(ahead));
            signer.contradict(&committee, &instance, view);
        }
        let jailed = |node: &Node| Some(!validators(node)?[CULPRIT]["jailed_until"].is_null());
        let mut others = network.nodes.iter().take(CULPRIT);
        others.all(|node| jailed(node) == Some(true)).then_some(())
    });
    let (_, instance, _) = until("v0 answers", || newest(&network));
    let at = instance.epoch.get();
    until("the committees that were dealt before it are over", || {
        let (_, instance, _) = newest(&network)?;
        (instance.epoch.get() > at + 2).then_some(())
    });
    network.goes_on(2);
    wait(signer.network.shutdown());

    let stake = network.genesis.validators[CULPRIT].stake.get();
    let full = u128::from(stake) * NSKER_PER_WEIGHT;
    let slash = full * u128::from(network.genesis.parameters.slash_bps) / 10_000;
    for node in network.nodes.iter().take(CULPRIT) {
        let shown = until("it answers", || validators(node));
        let culprit = &shown[CULPRIT];
        let lost = amount(&culprit["slashed"]);
        // It may have signed in two epochs before all had seen it punished, never for nothing.
        assert!(lost >= slash && lost <= 2 * slash, "{culprit}");
        assert_eq!(amount(&culprit["bond"]) + lost, full);
        assert_eq!(culprit["stake"], 0, "it counts for nothing");
        assert_eq!(
            culprit["seats"],
            Value::Array(Vec::new()),
            "its seats are gone"
        );
        for honest in &shown[..CULPRIT] {
            assert_eq!(honest["slashed"], "0", "{honest}");
            assert!(honest["jailed_until"].is_null(), "{honest}");
            assert_ne!(honest["seats"], Value::Array(Vec::new()), "{honest}");
        }
        assert!(node.log_text().contains("validator punished"));
    }
    network.stop_all();
    network.verify().expect("the stopped stores agree");
}
