//! Bundles on other chains and over several of them: what happens, what comes home, what it costs, and
//! that no base unit is lost on the way.
//!
//! Five chains: the beacon and four shards, three of which have a pool that leads to the next denom.

use super::{leg_price, onward_actor};
use crate::block::{BlockWork, Outcome};
use crate::credit;
use crate::fees::transaction_cost;
use crate::gas;
use crate::inbox::Accepted;
use crate::modules::account::calls::AccountCall;
use crate::modules::bank::calls::BankCall;
use crate::modules::bank::state::fee_account;
use crate::modules::channels::state::request_key;
use crate::modules::dex::calls::DexCall;
use crate::modules::dex::state::PoolFee;
use crate::modules::fee_market::state::{PriceRecord, price_key};
use crate::modules::token::calls::TokenCall;
use crate::modules::{ACCOUNT, DEX, MODULES, TOKEN};
use crate::supply::check_records;
use crate::testing::{Draft, User, World, bank, operation, transfer};
use crate::tests::{accounted, issued};
use crate::validate::check_credit;
use crate::views;
use skerry_types::amount::{Amount, Asset};
use skerry_types::codec::{self, Version};
use skerry_types::crypto::ed25519::PublicKey;
use skerry_types::crypto::hash::plain;
use skerry_types::genesis::{Genesis, GenesisAccount, Parameters};
use skerry_types::ids::{Address, ChainRef, Denom, Digest, Gas, Height, Sequence, ShardId, TimeMs};
use skerry_types::limits;
use skerry_types::message::{Batch, Message, MessageId, Payload, reply_code};
use skerry_types::receipt::{Receipt, Status};
use skerry_types::state::Value;
use skerry_types::transaction::{Authenticator, Bundle, Leg, Operation, Target};
use std::sync::Arc;

const BEACON: ChainRef = ChainRef::Beacon;
const WEALTH: u128 = 1_000_000_000_000;
const DEPTH: u64 = 1_000_000_000;

fn chain(bits: u16) -> ChainRef {
    ChainRef::Shard(ShardId::new(2, bits).unwrap())
}

/// The `number`-th user of a shard of four.
fn user(bits: u16, number: u64) -> User {
    let mut salt = 0_u64;
    loop {
        let seed = [7, u64::from(bits), number, salt].map(u64::to_le_bytes);
        let key = PublicKey(*plain(&seed.concat()).as_bytes());
        let address = Address::of_ed25519(&key);
        if ChainRef::Shard(address.shard(2)) == chain(bits) {
            return User { key, address };
        }
        salt += 1;
    }
}

fn near(bits: u16) -> Target {
    Target::Near(user(bits, 9).address)
}

fn asset(denom: Denom, units: u128) -> Asset {
    let amount = Amount::new(units);
    Asset { denom, amount }
}

fn sker(units: u128) -> Asset {
    asset(Denom::SKER, units)
}

/// What the pool of a shard exchanges for what: sker, stsker, rssker, and sker again.
const PAIRS: [(Denom, Denom); 3] = [
    (Denom::SKER, Denom::STSKER),
    (Denom::STSKER, Denom::RSSKER),
    (Denom::RSSKER, Denom::SKER),
];

fn pool(bits: u16) -> Address {
    Address::of_object(DEX.get(), &user(bits, 0).address, 0, 0, 0)
}

/// Gives `units` of what the pool of a shard takes.
fn swap(bits: u16, units: u128, least: u128) -> Operation {
    let (given, received) = PAIRS[usize::from(bits) - 1];
    let call = DexCall::SwapExactIn {
        route: vec![pool(bits)],
        input: asset(given, units),
        minimum_output: asset(received, least),
    };
    operation(DEX, &call)
}

fn leg(target: Target, operations: Vec<Operation>) -> Leg {
    Leg {
        target,
        operations,
        minimum_outputs: Vec::new(),
    }
}

/// A network with what is under way in it.
#[derive(Clone)]
struct Road {
    world: World,
    flight: Vec<Batch>,
    /// What was sent beside, and waits until it is let through.
    waiting: Vec<Batch>,
    alice: User,
    next: u64,
}

impl Road {
    fn new() -> Self {
        Self::with(Parameters::default())
    }

    fn with(parameters: Parameters) -> Self {
        let alice = user(0, 1);
        let rich = |who: User| GenesisAccount {
            address: who.address,
            assets: [Denom::SKER, Denom::STSKER, Denom::RSSKER]
                .into_iter()
                .map(|denom| asset(denom, WEALTH))
                .collect(),
        };
        let mut accounts: Vec<GenesisAccount> = (1..4).map(|bits| rich(user(bits, 0))).collect();
        accounts.push(GenesisAccount {
            address: alice.address,
            assets: vec![sker(WEALTH)],
        });
        let mut world = World::of(Genesis {
            version: Version,
            name: "road".to_owned(),
            salt: Digest::ZERO,
            time: TimeMs::ZERO,
            development: true,
            shard_depth: 2,
            parameters,
            validators: Vec::new(),
            seats: Vec::new(),
            accounts,
        });
        for bits in 1..4 {
            let (first, second) = PAIRS[usize::from(bits) - 1];
            let mut assets = [first, second].map(|denom| asset(denom, DEPTH.into()));
            assets.sort_unstable();
            let call = DexCall::CreatePool {
                assets,
                fee_ppm: PoolFee::new(0),
            };
            let draft = Draft::new(user(bits, 0), 0, assets.to_vec()).call(operation(DEX, &call));
            let outcome = world.transactions(chain(bits), &[draft]);
            assert_eq!(outcome.receipts[0].status, Status::Succeeded);
        }
        Self {
            world,
            flight: Vec::new(),
            waiting: Vec::new(),
            alice,
            next: 0,
        }
    }

    /// A bundle of Alice for another chain.
    fn draft(&self, target: Target, assets: Vec<Asset>, operations: Vec<Operation>) -> Draft {
        let mut draft = Draft::new(self.alice, self.next, assets).to(target);
        draft.bundle.operations = operations;
        draft
    }

    /// Executes a bundle at home.
    fn send(&mut self, draft: &Draft) -> Receipt {
        let outcome = self
            .world
            .transactions(chain(0), std::slice::from_ref(draft));
        self.next += 1;
        self.after(outcome)
    }

    /// All is accounted for after each step.
    fn after(&mut self, outcome: Outcome) -> Receipt {
        assert_eq!(outcome.alarms, Vec::<String>::new());
        self.flight.extend(outcome.outgoing);
        assert_eq!(
            accounted(&self.world, self.flight.iter().chain(&self.waiting)),
            issued(&self.world)
        );
        for state in self.world.states.values() {
            assert_eq!(check_records(state.records()), vec![]);
        }
        outcome.receipts.into_iter().next().unwrap()
    }

    /// The one message that is under way.
    fn message(&self) -> Message {
        let [batch] = self.flight.as_slice() else {
            panic!("{:?}", self.flight);
        };
        codec::decode(&batch.messages[0], 1 << 20).unwrap()
    }

    /// Lets the one message arrive.
    fn deliver(&mut self) -> Receipt {
        let batch = self.flight.pop().unwrap();
        let outcome = self.world.inbound(batch.destination, vec![batch]);
        assert!(outcome.outgoing.len() < 2, "one message follows, or none");
        self.after(outcome)
    }

    /// Lets it arrive as something else of the same value; it must be dropped without an answer.
    fn forged(&self, change: impl FnOnce(&mut Batch, &mut Message)) -> String {
        let mut forged = self.clone();
        let mut message = self.message();
        let mut batch = forged.flight.pop().unwrap();
        change(&mut batch, &mut message);
        batch.messages = vec![codec::encode(&message)];
        let here = batch.destination;
        let before = forged.burnt(here);
        let outcome = forged.world.inbound(here, vec![batch]);
        let value: u128 = crate::outbox::value_of(&message.payload)
            .filter(|asset| asset.denom == Denom::SKER)
            .map(|asset| asset.amount.get())
            .sum();
        assert!(outcome.outgoing.is_empty());
        let burnt = forged.burnt(here) - before;
        assert_eq!(
            burnt, value,
            "all that it carried is destroyed, and counted"
        );
        let receipt = forged.after(outcome);
        code(&receipt).to_owned()
    }

    fn burnt(&self, here: ChainRef) -> u128 {
        views::burnt(self.world.state(here), here, &Denom::SKER).get()
    }

    /// Until nothing is under way; the receipts in order.
    fn arrive(&mut self) -> Vec<Receipt> {
        let mut receipts = Vec::new();
        while !self.flight.is_empty() {
            receipts.push(self.deliver());
        }
        receipts
    }

    fn held(&self, who: &User, denom: Denom) -> u128 {
        self.world.balance(who, denom)
    }

    fn in_pool(&self, bits: u16) -> [Asset; 2] {
        let pool = views::pool(self.world.state(chain(bits)), &pool(bits));
        pool.unwrap().reserves
    }

    /// Whether Alice's home still waits for a reply.
    fn waits(&self, request: &MessageId) -> bool {
        use skerry_types::state::StateRead as _;
        self.world
            .state(chain(0))
            .get(&request_key(request))
            .is_some()
    }

    /// Uses up what a shard has granted to another one, by transfers that do not arrive yet.
    fn fill(&mut self, from: u16, to: u16) {
        let (sender, recipient) = (user(from, 0), user(to, 9).address);
        for sequence in 1.. {
            let draft = transfer(sender, sequence, recipient, sker(1));
            let mut outcome = self.world.transactions(chain(from), &[draft]);
            self.waiting.append(&mut outcome.outgoing);
            let receipt = self.after(outcome);
            if receipt.messages.is_empty() {
                assert_eq!(code(&receipt), "CONGESTED");
                return;
            }
        }
    }

    /// Lets arrive on a shard what waits, the beacon hear of it, and another shard learn of that.
    fn let_through(&mut self, to: u16, from: u16) {
        let waiting = std::mem::take(&mut self.waiting);
        let outcome = self.world.inbound(chain(to), waiting);
        assert!(outcome.outgoing.is_empty());
        self.after(outcome);
        // All at once: what one of them accepted another one must have sent.
        let links = [0, 1, 2, 3].map(|bits| self.world.crosslink(chain(bits)));
        let work = BlockWork {
            system: links.to_vec(),
            ..BlockWork::default()
        };
        assert_eq!(self.world.run(BEACON, &work).skipped, []);
        self.tell(chain(from), to, |_| ());
    }

    /// What the facts say of a shard, as the home of Alice and another chain import them.
    fn tell(
        &mut self,
        here: ChainRef,
        bits: u16,
        change: impl Fn(&mut skerry_types::beacon::ShardRecord),
    ) {
        let mut facts = self.world.facts.clone();
        let record = facts.shards.iter_mut().find(|it| it.chain == chain(bits));
        change(record.unwrap());
        let work = BlockWork {
            facts: Some(facts),
            ..BlockWork::default()
        };
        self.world.run(here, &work);
    }
}

fn code(receipt: &Receipt) -> &str {
    match &receipt.status {
        Status::Succeeded => "SUCCEEDED",
        Status::Failed(failure) | Status::Dropped(failure) => &failure.code,
        other => panic!("{other:?}"),
    }
}

fn reply(message: &Message) -> (u16, Vec<Asset>, u128) {
    match &message.payload {
        Payload::Reply {
            code,
            assets,
            gas_left,
            ..
        } => (*code, assets.clone(), gas_left.get()),
        other => panic!("{other:?}"),
    }
}

fn prepaid(message: &Message) -> u128 {
    match &message.payload {
        Payload::Request { prepaid, .. } => prepaid.get(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_bundle_elsewhere_happens_whole_and_brings_home_outputs_and_leftovers() {
    let mut road = Road::new();
    let bob = user(1, 5);
    let gift = asset(Denom::STSKER, 40);
    let to = bob.address;
    let calls = vec![
        swap(1, 1_000, 900),
        bank(&BankCall::Send { to, asset: gift }),
        swap(1, 500, 1),
    ];
    let mut draft = road.draft(near(1), vec![sker(1_600)], calls);
    draft.bundle.minimum_outputs = vec![asset(Denom::STSKER, 1_400)];
    let home = road.send(&draft);
    assert_eq!(home.status, Status::Succeeded);
    let fee = home.fee.get();
    assert_eq!(road.held(&road.alice, Denom::SKER), WEALTH - fee - 1_600);
    assert!(road.waits(&home.messages[0]));
    let there = road.deliver();
    assert_eq!(there.status, Status::Succeeded);
    assert_eq!(there.messages.len(), 1);
    assert_eq!(
        road.held(&bob, Denom::STSKER),
        40,
        "who lives there is credited there"
    );
    let (code, assets, gas_left) = reply(&road.message());
    assert_eq!((code, gas_left), (reply_code::DONE, 0));
    assert_eq!(assets[0], sker(100), "what no call took");
    road.deliver();
    assert!(!road.waits(&home.messages[0]));
    assert_eq!(road.held(&road.alice, Denom::SKER), WEALTH - fee - 1_500);
    let [first, second] = road.in_pool(1);
    assert_eq!(first, sker(u128::from(DEPTH) + 1_500));
    let out = u128::from(DEPTH) - second.amount.get();
    assert_eq!(road.held(&road.alice, Denom::STSKER), out - 40);
    assert!(road.flight.is_empty());
}

#[test]
fn what_fails_in_the_third_call_returns_everything_in_one_round_trip() {
    let mut road = Road::new();
    let (to, asset) = (user(1, 5).address, asset(Denom::STSKER, 40));
    let calls = vec![
        swap(1, 1_000, 900),
        bank(&BankCall::Send { to, asset }),
        swap(1, 500, 501),
    ];
    let before = road.in_pool(1);
    let draft = road.draft(near(1), vec![sker(1_600)], calls);
    let home = road.send(&draft);
    let [there, back] = road.arrive().try_into().unwrap();
    assert_eq!(code(&there), "SLIPPAGE");
    assert_eq!(there.messages.len(), 1);
    assert_eq!(back.status, Status::Succeeded);
    assert_eq!(road.held(&road.alice, Denom::SKER), WEALTH - home.fee.get());
    assert_eq!(road.held(&road.alice, Denom::STSKER), 0);
    assert_eq!(road.held(&user(1, 5), Denom::STSKER), 0);
    assert_eq!(road.in_pool(1), before);
}

#[test]
fn a_first_leg_that_fails_says_so_and_how() {
    let rotate = operation(
        ACCOUNT,
        &AccountCall::RotateKey {
            authenticator: Authenticator::Ed25519(user(0, 1).key),
        },
    );
    let abroad = bank(&BankCall::Send {
        to: user(2, 5).address,
        asset: sker(5),
    });
    let create = operation(
        DEX,
        &DexCall::CreatePool {
            assets: [sker(5_000), asset(Denom::STSKER, 5_000)],
            fee_ppm: PoolFee::new(0),
        },
    );
    for (operation, expected) in [
        (swap(1, 10, 1_000), "SLIPPAGE"),
        (swap(2, 10, 1), "ELSEWHERE_OBJECT"),
        (rotate, "ELSEWHERE_OBJECT"),
        (create, "ELSEWHERE_OBJECT"),
        (abroad, "REPLY_ONLY"),
    ] {
        let mut road = Road::new();
        let mut draft = road.draft(near(1), vec![sker(100)], vec![operation]);
        draft.bundle.onward = vec![leg(near(2), Vec::new())];
        let home = road.send(&draft);
        let all = prepaid(&road.message());
        assert_eq!(code(&road.deliver()), expected);
        let (code, assets, gas_left) = reply(&road.message());
        assert_eq!((code, assets), (reply_code::FAILED, vec![sker(100)]));
        assert!(
            gas_left > 0 && gas_left < all,
            "the second leg's gas comes home"
        );
        let back = road.deliver();
        assert!(back.events.iter().all(|event| event.name != "route_ended"));
        let held = WEALTH - home.fee.get() + gas_left;
        assert_eq!(road.held(&road.alice, Denom::SKER), held);
    }
}

#[test]
fn past_its_deadline_everything_returns() {
    let mut road = Road::new();
    let mut draft = road.draft(near(1), vec![sker(100)], vec![swap(1, 100, 1)]);
    draft.bundle.deadline = Height::new(0);
    let home = road.send(&draft);
    assert_eq!(home.status, Status::Succeeded);
    road.world.run(BEACON, &BlockWork::default());
    assert_eq!(code(&road.deliver()), "DEADLINE_PASSED");
    assert_eq!(
        reply(&road.message()),
        (reply_code::FAILED, vec![sker(100)], 0)
    );
    road.deliver();
    assert_eq!(road.held(&road.alice, Denom::SKER), WEALTH - home.fee.get());
    // At home it is refused at once, for what it would have taken at home and of its first channel.
    let late = road.send(&Draft {
        sequence: 1,
        ..draft
    });
    assert_eq!(code(&late), "DEADLINE_PASSED");
    let chain_id = road.world.network.chain_id;
    let cost = transaction_cost(
        MODULES,
        &road.world.network,
        &draft_again(&road).checked(chain_id),
    );
    assert_eq!(late.gas, cost.unwrap().near());
}

fn draft_again(road: &Road) -> Draft {
    road.draft(near(1), vec![sker(100)], vec![swap(1, 100, 1)])
}

#[test]
fn near_the_sender_a_bundle_runs_at_once() {
    let mut road = Road::new();
    let (to, asset) = (user(0, 9).address, sker(7));
    let calls = vec![bank(&BankCall::Send { to, asset })];
    let draft = road.draft(near(0), vec![sker(10)], calls);
    let home = road.send(&draft);
    assert_eq!(home.status, Status::Succeeded);
    assert_eq!((home.messages, road.flight.len()), (vec![], 0));
    assert_eq!(road.held(&user(0, 9), Denom::SKER), 7);
    let held = WEALTH - home.fee.get() - 7;
    assert_eq!(road.held(&road.alice, Denom::SKER), held);
}

/// Through the pools of three shards and over the beacon.
fn round(road: &Road, hops: usize) -> Draft {
    let mut draft = road.draft(near(1), vec![sker(10_000)], vec![swap(1, 10_000, 1)]);
    let onward = [
        leg(near(2), vec![swap(2, 9_000, 1)]),
        leg(near(3), vec![swap(3, 8_000, 1)]),
        leg(Target::Beacon, Vec::new()),
    ];
    draft.bundle.onward = onward.into_iter().take(hops - 1).collect();
    draft
}

#[test]
fn a_route_of_two_and_of_four_hops_brings_the_last_output_home() {
    for hops in [2, 4] {
        let mut road = Road::new();
        let draft = round(&road, hops);
        let home = road.send(&draft);
        for hop in 0..hops {
            let Payload::Request {
                sender,
                beneficiary,
                reply_to,
                hops: number,
                ..
            } = road.message().payload
            else {
                panic!("hop {hop}");
            };
            assert_eq!(
                sender.is_some(),
                hop == 0,
                "an onward request has no sender"
            );
            assert_eq!(beneficiary, road.alice.address);
            assert_eq!((reply_to, usize::from(number)), (home.messages[0], hop));
            let there = road.deliver();
            assert_eq!((code(&there), there.messages.len()), ("SUCCEEDED", 1));
        }
        let (done, assets, gas_left) = reply(&road.message());
        assert_eq!(done, reply_code::DONE);
        road.deliver();
        let left = |bits: u16, given: u128| {
            let denom = PAIRS[usize::from(bits) - 1].0;
            let held = road.in_pool(bits).into_iter().find(|it| it.denom == denom);
            assert_eq!(held.unwrap().amount.get(), u128::from(DEPTH) + given);
        };
        left(1, 10_000);
        left(2, 9_000);
        let alice = road.alice;
        let out = |denom| {
            assets
                .iter()
                .find(|it| it.denom == denom)
                .unwrap()
                .amount
                .get()
        };
        assert!(road.held(&alice, Denom::RSSKER) > 900);
        assert_eq!(road.held(&alice, Denom::RSSKER), out(Denom::RSSKER));
        assert_eq!(road.held(&alice, Denom::STSKER), out(Denom::STSKER));
        // Gas for eight assets was bought, and fewer travelled.
        assert!(gas_left > 0);
        let swapped = if hops == 4 { out(Denom::SKER) } else { 0 };
        let held = WEALTH - 10_000 - home.fee.get() + gas_left + swapped;
        assert_eq!(road.held(&alice, Denom::SKER), held);
        assert!(!road.waits(&home.messages[0]));
    }
}

#[test]
fn a_later_leg_that_fails_brings_the_intermediate_asset_home() {
    let mint = operation(
        TOKEN,
        &TokenCall::Mint {
            asset: asset(Denom::created(&user(2, 0).address, "coin"), 1),
        },
    );
    for (call, expected) in [
        (swap(2, 9_000, 9_001), "SLIPPAGE"),
        (mint, "NEEDS_SENDER"),
        (swap(3, 1, 1), "ELSEWHERE_OBJECT"),
    ] {
        let mut road = Road::new();
        let mut draft = round(&road, 4);
        draft.bundle.onward[0].operations = vec![call];
        let home = road.send(&draft);
        road.deliver();
        let arrived = road.message();
        let Payload::Request { bundle, .. } = arrived.payload else {
            panic!("{arrived:?}");
        };
        let there = road.deliver();
        assert_eq!((code(&there), there.messages.len()), (expected, 1));
        let (code, assets, gas_left) = reply(&road.message());
        assert_eq!((code, &assets), (reply_code::PARTIAL, &bundle.assets));
        let back = road.deliver();
        assert!(back.events.iter().any(|event| event.name == "route_ended"));
        let brought = assets[0].amount.get();
        assert_eq!(assets[0].denom, Denom::STSKER);
        assert_eq!(road.held(&road.alice, Denom::STSKER), brought);
        let held = WEALTH - 10_000 - home.fee.get() + gas_left;
        assert_eq!(road.held(&road.alice, Denom::SKER), held);
        assert!(!road.waits(&home.messages[0]) && road.flight.is_empty());
    }
}

#[test]
fn the_deadline_holds_at_each_leg() {
    let mut road = Road::new();
    let mut draft = round(&road, 2);
    draft.bundle.deadline = Height::new(0);
    road.send(&draft);
    assert_eq!(road.deliver().status, Status::Succeeded);
    road.world.run(BEACON, &BlockWork::default());
    assert_eq!(code(&road.deliver()), "DEADLINE_PASSED");
    let (code, assets, _) = reply(&road.message());
    assert_eq!(
        (code, assets[0].denom),
        (reply_code::PARTIAL, Denom::STSKER)
    );
    road.deliver();
}

#[test]
fn what_may_not_travel_on_comes_home() {
    let mut road = Road::new();
    let draft = round(&road, 4);
    let home = road.send(&draft);
    road.deliver();
    // The second hop learns that the third is fenced.
    road.tell(chain(2), 3, |record| record.fenced = true);
    let there = road.deliver();
    assert_eq!(
        there.status,
        Status::Succeeded,
        "its own calls have happened"
    );
    assert_eq!(there.messages.len(), 1);
    assert_eq!(why_ended(&there, &road.alice), "SHARD_FENCED");
    let (code, assets, gas_left) = reply(&road.message());
    assert_eq!(code, reply_code::PARTIAL);
    assert!(assets.iter().any(|asset| asset.denom == Denom::RSSKER));
    road.deliver();
    assert!(road.held(&road.alice, Denom::RSSKER) > 8_900);
    let held = WEALTH - 10_000 - home.fee.get() + gas_left;
    assert_eq!(road.held(&road.alice, Denom::SKER), held);
}

/// Why the route of a bundle of `owner` ended, as the receipt of a leg tells.
fn why_ended(receipt: &Receipt, owner: &User) -> String {
    let mut events = receipt.events.iter();
    let ended = events.find(|event| event.name == "route_ended").unwrap();
    assert_eq!(ended.owner, owner.address);
    let [reason] = ended.attributes.as_slice() else {
        panic!("{ended:?}");
    };
    assert_eq!(reason.name, "reason");
    reason.value.to_string()
}

#[test]
fn a_route_from_a_fenced_chain_ends_there() {
    let mut road = Road::new();
    let draft = round(&road, 2);
    road.send(&draft);
    road.tell(chain(1), 1, |record| record.fenced = true);
    let there = road.deliver();
    assert_eq!(why_ended(&there, &road.alice), "HOME_FENCED");
}

#[test]
fn without_credit_for_its_next_leg_a_route_ends_and_with_it_goes_on() {
    let mut road = Road::with(Parameters {
        inbound_gas: Gas::new(200_000),
        ..Parameters::default()
    });
    road.fill(1, 2);
    let draft = round(&road, 2);
    let home = road.send(&draft);
    assert_eq!(home.status, Status::Succeeded, "its first leg has credit");
    let there = road.deliver();
    assert_eq!(there.status, Status::Succeeded, "its calls have happened");
    assert_eq!(why_ended(&there, &road.alice), "CONGESTED");
    let (code, assets, gas_left) = reply(&road.message());
    let [brought] = assets[..] else {
        panic!("{assets:?}");
    };
    assert_eq!(code, reply_code::PARTIAL);
    let back = road.deliver();
    assert_eq!(why_ended(&back, &road.alice), "PARTIAL");
    assert_eq!(brought.denom, Denom::STSKER);
    let held = road.held(&road.alice, Denom::STSKER);
    assert_eq!(held, brought.amount.get());
    let held = WEALTH - 10_000 - home.fee.get() + gas_left;
    assert_eq!(road.held(&road.alice, Denom::SKER), held);
    assert!(!road.waits(&home.messages[0]) && road.flight.is_empty());

    // What was sent before has run, and the same goes through.
    road.let_through(2, 1);
    let draft = round(&road, 2);
    road.send(&draft);
    let receipts = road.arrive();
    assert_eq!(receipts.len(), 3);
    for receipt in &receipts {
        assert_eq!(receipt.status, Status::Succeeded);
        let mut events = receipt.events.iter();
        assert!(events.all(|event| event.name != "route_ended"));
    }
}

#[test]
fn a_route_with_a_fenced_chain_is_not_begun() {
    let mut road = Road::new();
    road.tell(chain(0), 2, |record| record.fenced = true);
    let draft = round(&road, 2);
    let home = road.send(&draft);
    assert_eq!(code(&home), "SHARD_FENCED");
    let held = WEALTH - home.fee.get();
    assert_eq!(road.held(&road.alice, Denom::SKER), held);
}

#[test]
fn gas_elsewhere_is_bought_at_the_published_price_and_honoured() {
    let draft = |road: &Road| road.draft(near(1), vec![sker(100)], vec![swap(1, 100, 1)]);
    let mut road = Road::new();
    let checked = draft(&road).checked(road.world.network.chain_id);
    let cost = transaction_cost(MODULES, &road.world.network, &checked).unwrap();
    let (home_gas, lane) = (
        u128::from(cost.home.get()),
        u128::from(cost.legs[0].lane.get()),
    );
    assert_eq!(cost.gas.get(), cost.home.get() + cost.legs[0].lane.get());
    let price = draft(&road).price;
    let burnt_before = road.burnt(chain(0));
    let home = road.send(&draft(&road));
    // A base fee of 10 and a quarter, rounded up; home is paid at the transaction's own price.
    assert_eq!(leg_price(Amount::new(10)), Amount::new(13));
    assert_eq!(home.fee.get(), home_gas * price + lane * 13);
    assert_eq!(home.gas, cost.gas);
    assert_eq!(prepaid(&road.message()), lane * 13);
    assert_eq!(road.burnt(chain(0)) - burnt_before, home_gas * 10);
    // It is spent where it is used.
    let there = chain(1);
    let tips = |road: &Road| {
        let account = fee_account(there);
        views::balance(road.world.state(there), &account, &Denom::SKER).get()
    };
    let (burnt, tipped) = (road.burnt(there), tips(&road));
    let receipt = road.deliver();
    assert_eq!(u128::from(receipt.gas.get()), lane);
    assert_eq!(road.burnt(there) - burnt, lane * 10);
    assert_eq!(tips(&road) - tipped, lane * 3);
    assert_eq!(reply(&road.message()).2, 0);
    road.deliver();
    // Whatever it costs there by then.
    road.send(&draft(&road));
    let dear = PriceRecord {
        version: Version,
        price: Amount::new(5_000),
        height: Height::new(road.world.heights[&there]),
    };
    let state = road.world.states.get_mut(&there).unwrap();
    state
        .0
        .insert(price_key(there), Value::from(codec::encode(&dear)));
    let (burnt, tipped) = (road.burnt(there), tips(&road));
    assert_eq!(road.deliver().status, Status::Succeeded);
    assert_eq!(
        (road.burnt(there) - burnt, tips(&road) - tipped),
        (lane * 13, 0)
    );
    road.deliver();
    // What the sender does not want to pay is not bought, and the fee is that of home.
    road.tell(chain(0), 1, |record| record.base_fee = Amount::new(17));
    let held = road.held(&road.alice, Denom::SKER);
    let refused = road.send(&draft(&road));
    assert_eq!(code(&refused), "PRICE_TOO_LOW_THERE");
    let Status::Failed(failure) = &refused.status else {
        panic!("{refused:?}");
    };
    assert!(
        failure.detail.contains("costs 22 nsker"),
        "{}",
        failure.detail
    );
    assert!(failure.detail.contains("at most 20"), "{}", failure.detail);
    // What is suggested is enough, also after two full blocks there.
    let state = road.world.state(chain(0));
    let home_price = Amount::new(10);
    let suggest = |draft: &Draft| {
        let network = &road.world.network;
        super::price_for(state, network, chain(0), home_price, &draft.bundle).get()
    };
    assert!(suggest(&draft(&road)) >= 22 * 9 / 8 * 9 / 8);
    assert_eq!(suggest(&road.draft(near(0), vec![], vec![])), 10);
    assert_eq!(suggest(&road.draft(Target::Beacon, vec![], vec![])), 13);
    // What the first leg would have taken is paid all the same, at the price of home.
    let near = u128::from(cost.near().get());
    assert!(near > home_gas);
    assert_eq!(refused.fee.get(), near * price);
    assert_eq!(road.held(&road.alice, Denom::SKER), held - near * price);
    road.tell(chain(0), 1, |record| record.base_fee = Amount::new(16));
    assert_eq!(road.send(&draft(&road)).status, Status::Succeeded);
    road.arrive();
}

#[test]
fn who_cannot_pay_for_all_gas_is_void_and_who_cannot_attach_fails() {
    let mut road = Road::new();
    let draft = road.draft(near(1), vec![sker(100)], Vec::new());
    let checked = draft.checked(road.world.network.chain_id);
    let cost = transaction_cost(MODULES, &road.world.network, &checked).unwrap();
    let all = u128::from(cost.gas.get()) * draft.price;
    let balance = crate::modules::bank::state::balance_key(&road.alice.address, &Denom::SKER);
    let held = |road: &mut Road, units: u128| {
        let state = road.world.states.get_mut(&chain(0)).unwrap();
        let value = crate::view::encode_amount(Amount::new(units)).unwrap();
        state.0.insert(balance.clone(), value);
    };
    let run = |road: &mut Road| {
        let outcome = road
            .world
            .transactions(chain(0), std::slice::from_ref(&draft));
        assert!(outcome.outgoing.is_empty());
        outcome.receipts[0].status.clone()
    };
    held(&mut road, all - 1);
    assert!(
        matches!(run(&mut road), Status::Void(failure) if failure.code == "INSUFFICIENT_FEE_BALANCE")
    );
    // The fee is less than the bound, but the assets are not there.
    held(&mut road, all);
    let attached = road.draft(near(1), vec![sker(WEALTH)], Vec::new());
    let outcome = road.world.transactions(chain(0), &[attached]);
    assert_eq!(code(&outcome.receipts[0]), "INSUFFICIENT_BALANCE");
    assert!(outcome.outgoing.is_empty());
}

#[test]
fn a_first_request_that_its_source_may_not_send_is_dropped() {
    let mut road = Road::new();
    road.send(&round(&road, 2));
    let stranger = user(3, 1).address;
    let with = |change: &dyn Fn(&mut Payload)| road.forged(|_, it| change(&mut it.payload));
    let elsewhere = with(&|it| {
        if let Payload::Request {
            sender,
            beneficiary,
            ..
        } = it
        {
            (*sender, *beneficiary) = (Some(stranger), stranger);
        }
    });
    assert_eq!(elsewhere, "SENDER_ELSEWHERE");
    let other = with(&|it| {
        if let Payload::Request { beneficiary, .. } = it {
            *beneficiary = user(0, 2).address;
        }
    });
    assert_eq!(other, "SENDER_ELSEWHERE");
    let anonymous = with(&|it| {
        if let Payload::Request { sender, .. } = it {
            *sender = None;
        }
    });
    assert_eq!(anonymous, "REQUEST_MALFORMED");
    let long = with(&|it| {
        if let Payload::Request {
            bundle, onward_gas, ..
        } = it
        {
            bundle.onward = vec![bundle.onward[0].clone(); 4];
            *onward_gas = vec![onward_gas[0]; 4];
        }
    });
    assert_eq!(long, "TOO_MANY_HOPS");
    let unpaid = with(&|it| {
        if let Payload::Request { gas_price, .. } = it {
            *gas_price = Amount::new(1 << 100);
        }
    });
    assert_eq!(unpaid, "REQUEST_MALFORMED");
    let unbought = with(&|it| {
        if let Payload::Request { onward_gas, .. } = it {
            onward_gas.clear();
        }
    });
    assert_eq!(unbought, "REQUEST_MALFORMED");
    let misled = with(&|it| {
        if let Payload::Request { bundle, .. } = it {
            bundle.target = near(2);
        }
    });
    assert_eq!(misled, "REQUEST_MALFORMED");
}

#[test]
fn an_onward_request_is_dropped_when_it_is_forged() {
    let mut road = Road::new();
    road.send(&round(&road, 4));
    road.deliver();
    let alice = road.alice.address;
    let with = |change: &dyn Fn(&mut Batch, &mut Payload)| {
        road.forged(|batch, it| change(batch, &mut it.payload))
    };
    let signed = with(&|_, it| {
        if let Payload::Request { sender, .. } = it {
            *sender = Some(alice);
        }
    });
    assert_eq!(signed, "ONWARD_WITH_SENDER");
    let stolen = with(&|_, it| {
        if let Payload::Request { beneficiary, .. } = it {
            *beneficiary = user(3, 1).address;
        }
    });
    assert_eq!(stolen, "REQUEST_MALFORMED");
    let from_home = with(&|batch, _| batch.source = chain(0));
    assert_eq!(from_home, "REQUEST_MALFORMED");
    let first = with(&|_, it| {
        if let Payload::Request { hops, .. } = it {
            *hops = 0;
        }
    });
    assert_eq!(first, "REQUEST_MALFORMED");
    let worn = with(&|_, it| {
        if let Payload::Request { hops, .. } = it {
            *hops += 1;
        }
    });
    assert_eq!(worn, "TOO_MANY_HOPS");
    // Who sends it on is the last that it names.
    for way in [vec![], vec![chain(3)], vec![chain(1), chain(3)]] {
        let posing = with(&|_, it| {
            if let Payload::Request { via, .. } = it {
                via.clone_from(&way);
            }
        });
        assert_eq!(posing, "REQUEST_MALFORMED", "{way:?}");
    }
    let endless = with(&|_, it| {
        if let Payload::Request {
            hops,
            bundle,
            onward_gas,
            ..
        } = it
        {
            *hops = u8::MAX;
            bundle.onward.clear();
            onward_gas.clear();
        }
    });
    assert_eq!(endless, "TOO_MANY_HOPS");
}

#[test]
fn whoever_makes_a_chain_answer_its_batches_find_room() {
    let mut road = Road::new();
    let network = Arc::make_mut(&mut road.world.network);
    network.parameters.inbound_gas = Gas::new(200_000);
    let room = credit::reply_room(&road.world.network);
    let (home, hop, liar) = (chain(0), chain(2), chain(1));
    // It asks for an answer to a request that nobody at home has made.
    let forged = Message {
        version: Version,
        origin: Digest::ZERO,
        payload: Payload::Request {
            sender: None,
            beneficiary: road.alice.address,
            reply_to: MessageId {
                source: home,
                destination: liar,
                sequence: Sequence::ZERO,
            },
            hops: 1,
            via: vec![liar],
            gas: Gas::ZERO,
            gas_price: Amount::ZERO,
            prepaid: Amount::ZERO,
            onward_gas: Vec::new(),
            bundle: Bundle {
                target: near(2),
                assets: Vec::new(),
                operations: Vec::new(),
                minimum_outputs: Vec::new(),
                deadline: Height::new(u64::MAX),
                onward: Vec::new(),
            },
        },
    };
    let count = usize::try_from(3 * room).unwrap() + 1;
    let batch = Batch {
        version: Version,
        source: liar,
        destination: hop,
        first: Sequence::ZERO,
        messages: vec![codec::encode(&forged); count],
    };
    // Each takes of the liar's credit what its answer takes at home.
    let charged = Accepted::default()
        .after(&road.world.network, &batch)
        .charged;
    let each = gas::reply().get();
    assert_eq!(charged.gas, each * u64::try_from(count).unwrap());
    let answers = road.world.inbound(hop, vec![batch]).outgoing;
    let sizes: Vec<u64> = answers
        .iter()
        .map(|batch| u64::try_from(batch.messages.len()).unwrap())
        .collect();
    assert_eq!(sizes, [room, room, room, 1]);
    for batch in answers {
        let waiting = views::inbound(road.world.state(home), home, hop);
        let accepted = Accepted::of(&waiting).after(&road.world.network, &batch);
        let state = road.world.state(home);
        assert_eq!(
            check_credit(&road.world.network, state, (home, hop), &accepted),
            Ok(())
        );
        let outcome = road.world.inbound(home, vec![batch]);
        assert_eq!(outcome.alarms, Vec::<String>::new());
        for receipt in outcome.receipts {
            assert_eq!(code(&receipt), "NO_SUCH_REQUEST");
            assert!(receipt.gas.get() * 10 < each, "{}", receipt.gas);
        }
    }
}

#[test]
fn a_reply_counts_from_the_chains_of_the_route_only() {
    let mut road = Road::new();
    road.send(&round(&road, 2));
    road.deliver();
    road.deliver();
    for outside in [BEACON, chain(3)] {
        let refused = road.forged(|batch, _| batch.source = outside);
        assert_eq!(refused, "NO_SUCH_REQUEST");
    }
    let other = road.forged(|_, it| {
        if let Payload::Reply { beneficiary, .. } = &mut it.payload {
            *beneficiary = user(0, 2).address;
        }
    });
    assert_eq!(other, "NO_SUCH_REQUEST");
    let unknown = road.forged(|_, it| {
        if let Payload::Reply { request, .. } = &mut it.payload {
            request.sequence = request.sequence.next();
        }
    });
    assert_eq!(unknown, "NO_SUCH_REQUEST");
    // What did not come the way that was signed is not the answer: somebody beside it made the chain
    // answer something else.
    for way in [vec![], vec![chain(3)], vec![chain(1), chain(3)]] {
        let beside = road.forged(|_, it| {
            if let Payload::Reply { via, .. } = &mut it.payload {
                via.clone_from(&way);
            }
        });
        assert_eq!(beside, "NO_SUCH_REQUEST", "{way:?}");
    }
    // The first hop may answer, too: it may have been unable to send on.
    let mut early = road.clone();
    let batch = early.flight.pop().unwrap();
    let mut first = batch.clone();
    first.source = chain(1);
    for wire in &mut first.messages {
        let mut message: Message = codec::decode(wire, limits::MESSAGE_BYTES_MAX).unwrap();
        if let Payload::Reply { via, .. } = &mut message.payload {
            via.clear();
        }
        *wire = codec::encode(&message);
    }
    let outcome = early.world.inbound(chain(0), vec![first]);
    assert_eq!(outcome.receipts[0].status, Status::Succeeded);
    // But whoever answers second is too late.
    let outcome = early.world.inbound(chain(0), vec![batch]);
    assert_eq!(code(&outcome.receipts[0]), "NO_SUCH_REQUEST");
    road.deliver();
}

#[test]
fn nobody_controls_who_acts_onward() {
    let mut road = Road::new();
    let mut draft = road.draft(near(1), vec![sker(50)], Vec::new());
    let (to, asset) = (user(2, 5).address, sker(20));
    draft.bundle.onward = vec![leg(near(2), vec![bank(&BankCall::Send { to, asset })])];
    road.send(&draft);
    road.deliver();
    let there = road.deliver();
    assert_eq!(there.status, Status::Succeeded);
    let told = there.events[0].attribute("sender");
    assert_eq!(told, Some(&onward_actor(chain(2)).into()));
    assert_eq!(road.held(&user(2, 5), Denom::SKER), 20);
    assert_eq!(reply(&road.message()).1, vec![sker(30)]);
    road.deliver();
}
