//! Clients: they pay each other within and across shards, and try what is not allowed.
//!
//! A client is honest about its own nonces and stubborn: what is not final after a while it sends
//! again, to another node. At the end everything that an honest client sent is final exactly once,
//! and every balance is what the receipts make of the genesis.

use crate::captured::{Accomplice, Mischief};
use crate::counts::Counts;
use crate::operator::{Operator, Wish};
use crate::plan::{BALANCE, Mix, Plan, SECOND};
use crate::random::Random;
use skerry::view::SubmitError;
use skerry_execution::views;
use skerry_storage::StateTree;
use skerry_types::amount::{Amount, Asset};
use skerry_types::codec::{Version, encode};
use skerry_types::crypto::ed25519::SecretKey;
use skerry_types::ids::{Address, ChainRef, Denom, Digest, Gas, Height, ModuleId};
use skerry_types::receipt::{AttributeValue, Receipt, Status, Subject};
use skerry_types::transaction::{Bundle, Nonce, Operation, Target, TransactionBody};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// How long a client waits before it sends something again.
const PATIENCE: u64 = 2 * SECOND;
/// Last beacon height of every transaction.
const VALID_UNTIL: u64 = 15_000;
/// The module of transfers.
const BANK: ModuleId = ModuleId::new(2);
/// Payments of 1000 that leave their shard, where most are to.
const CROSSING: u64 = 850;

/// What a submission is to come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hope {
    /// To be taken.
    Taken,
    /// To be refused; never to be in a block other than void.
    Refused(&'static str),
}

/// A transaction that was sent.
#[derive(Clone, Debug)]
struct Sent {
    wire: Arc<[u8]>,
    client: usize,
    sequence: u64,
    to: Address,
    amount: u128,
    overdraws: bool,
    /// What it asks of the beacon, where it is a request.
    wish: Option<Wish>,
    again_at: u64,
}

/// One client.
struct Client {
    key: Arc<SecretKey>,
    address: Address,
    home: ChainRef,
    next: u64,
    /// Which transaction of each nonce became final.
    done: BTreeSet<u64>,
}

/// A submission to make.
pub struct Submission {
    /// Where the sender lives.
    pub chain: ChainRef,
    /// Names it in the answer.
    pub tag: u64,
    /// Wire bytes.
    pub wire: Arc<[u8]>,
}

/// All clients.
pub struct Load {
    clients: Vec<Client>,
    poor: Vec<Client>,
    sent: BTreeMap<Digest, Sent>,
    /// Of each nonce, the newest transaction: that one is sent again.
    newest: BTreeMap<(usize, u64), Digest>,
    hopes: BTreeMap<u64, (Digest, Hope)>,
    next_tag: u64,
    random: Random,
    /// What each account must hold in the end.
    expected: BTreeMap<Address, i128>,
    final_ids: BTreeMap<Digest, ChainRef>,
    operator: Option<Operator>,
    accomplice: Option<Accomplice>,
    /// Final requests whose reply is not final.
    unanswered: BTreeSet<Digest>,
    mix: Mix,
}

fn client(key: &Arc<SecretKey>, plan: &Plan) -> Client {
    let address = Address::of_ed25519(&key.public_key());
    Client {
        key: key.clone(),
        address,
        home: plan.genesis.home(&address),
        next: 0,
        done: BTreeSet::new(),
    }
}

impl Load {
    /// The clients of a plan.
    pub fn new(plan: &Plan, random: Random) -> Self {
        let clients: Vec<Client> = plan.clients.iter().map(|key| client(key, plan)).collect();
        let balance = i128::try_from(BALANCE).unwrap_or(i128::MAX);
        let expected = clients
            .iter()
            .map(|client| (client.address, balance))
            .collect();
        Self {
            clients,
            poor: plan.poor.iter().map(|key| client(key, plan)).collect(),
            sent: BTreeMap::new(),
            newest: BTreeMap::new(),
            hopes: BTreeMap::new(),
            next_tag: 0,
            operator: Operator::of(plan, random.fork("operator")),
            accomplice: Accomplice::of(plan, random.fork("accomplice")),
            mix: plan.mix,
            random,
            expected,
            final_ids: BTreeMap::new(),
            unanswered: BTreeSet::new(),
        }
    }

    /// What some client does now.
    pub fn act(&mut self, plan: &Plan, now: u64, counts: &mut Counts) -> Vec<Submission> {
        if let Some(mischief) = self.accomplice.as_mut().and_then(Accomplice::act) {
            return vec![self.commit(plan, &mischief)];
        }
        let who = self.random.index(self.clients.len());
        match self.random.below(100) {
            0..=14 if self.operator.is_some() => self.ask(plan, now),
            0..=67 => self.pay(plan, who, now, Trick::None),
            68..=75 => {
                counts.note("replacements");
                self.pay(plan, who, now, Trick::Replaced)
            }
            76..=81 => self.pay(plan, who, now, Trick::Overdrawn),
            82..=86 => self.spoil(plan, who, "stale nonce"),
            87..=90 => self.spoil(plan, who, "no money"),
            91..=93 => self.spoil(plan, who, "wrong network"),
            94..=96 => self.spoil(plan, who, "bad signature"),
            _ => self.spoil(plan, who, "garbage"),
        }
    }

    /// The last that somebody in league with a captured shard sends, if there is such a one.
    pub fn choke(&mut self, plan: &Plan) -> Option<Submission> {
        let mischief = self.accomplice.as_mut()?.choke()?;
        Some(self.commit(plan, &mischief))
    }

    fn commit(&mut self, plan: &Plan, mischief: &Mischief) -> Submission {
        let Mischief {
            sender, to, amount, ..
        } = *mischief;
        let mut body = self.body(plan, sender, 0, to, amount);
        body.nonce = mischief.nonce;
        // It gets in before those who wait for lower prices.
        body.gas_price = Amount::new(1_000);
        if let Some(operation) = &mischief.request {
            body.gas_limit = Gas::new(2_000_000);
            body.bundle.target = Target::Beacon;
            body.bundle.operations = vec![operation.clone()];
        }
        let signed = body.sign(&mischief.key);
        let id = signed.body.id();
        if let Some(accomplice) = &mut self.accomplice {
            accomplice.on_sent(id, mischief);
        }
        self.submission(mischief.home, id, encode(&signed).into(), Hope::Taken)
    }

    fn body(
        &mut self,
        plan: &Plan,
        sender: Address,
        sequence: u64,
        to: Address,
        amount: u128,
    ) -> TransactionBody {
        let asset = Asset::nsker(amount);
        // The variant `Send` of the calls of `bank`.
        let mut call = vec![0];
        call.extend(encode(&to));
        call.extend(encode(&asset));
        TransactionBody {
            version: Version,
            chain_id: plan.chain_id(),
            sender,
            nonce: Nonce {
                stream: 0,
                sequence,
            },
            valid_until: Height::new(VALID_UNTIL),
            gas_limit: Gas::new(200_000),
            gas_price: Amount::new(10 + u128::from(self.random.below(10))),
            bundle: Bundle {
                target: Target::Home,
                assets: vec![asset],
                operations: vec![Operation { module: BANK, call }],
                minimum_outputs: Vec::new(),
                deadline: Height::new(VALID_UNTIL),
                onward: Vec::new(),
            },
        }
    }

    /// The first client operates the newcomer.
    fn ask(&mut self, plan: &Plan, now: u64) -> Vec<Submission> {
        let who = 0;
        let (sender, home, key) = {
            let client = &self.clients[who];
            (client.address, client.home, client.key.clone())
        };
        let operator = self.operator.as_mut();
        let wish = operator.and_then(|operator| operator.wish(plan, &sender));
        let Some((wish, amount, operation)) = wish else {
            return Vec::new();
        };
        let sequence = self.clients[who].next;
        self.clients[who].next += 1;
        let mut body = self.body(plan, sender, sequence, sender, amount);
        body.gas_limit = Gas::new(2_000_000);
        body.bundle.target = Target::Beacon;
        // The beacon's gas costs others a quarter more than its base fee.
        body.gas_price = Amount::new(body.gas_price.get() + 10);
        body.bundle.operations = vec![operation];
        if amount == 0 {
            body.bundle.assets.clear();
        }
        let signed = body.sign(&key);
        let id = signed.body.id();
        let wire: Arc<[u8]> = encode(&signed).into();
        let sent = Sent {
            wire: wire.clone(),
            client: who,
            sequence,
            to: sender,
            amount,
            overdraws: false,
            wish: Some(wish),
            again_at: now + PATIENCE,
        };
        self.sent.insert(id, sent);
        self.newest.insert((who, sequence), id);
        vec![self.submission(home, id, wire, Hope::Taken)]
    }

    fn recipient(&mut self, home: ChainRef) -> Address {
        if self.mix == Mix::Messages && self.random.chance(CROSSING) {
            let others = self.clients.iter().filter(|client| client.home != home);
            let others: Vec<Address> = others.map(|client| client.address).collect();
            if let Some(other) = self.random.pick(&others) {
                return *other;
            }
        }
        let other = self.random.index(self.clients.len());
        self.clients[other].address
    }

    fn pay(&mut self, plan: &Plan, who: usize, now: u64, trick: Trick) -> Vec<Submission> {
        let to = self.recipient(self.clients[who].home);
        let overdraws = trick == Trick::Overdrawn;
        let amount = if overdraws {
            BALANCE * 1000
        } else {
            1 + u128::from(self.random.below(1_000_000))
        };
        let (sender, home, sequence) = {
            let client = &mut self.clients[who];
            let sequence = client.next;
            client.next += 1;
            (client.address, client.home, sequence)
        };
        let first = self.body(plan, sender, sequence, to, amount);
        let mut bodies = vec![first.clone()];
        if trick == Trick::Replaced {
            let mut second = first;
            second.gas_price = Amount::new(second.gas_price.get() * 2);
            bodies.push(second);
        }
        let key = self.clients[who].key.clone();
        let mut submissions = Vec::new();
        for body in bodies {
            let signed = body.sign(&key);
            let id = signed.body.id();
            let wire: Arc<[u8]> = encode(&signed).into();
            let again_at = now + PATIENCE;
            let sent = Sent {
                wire: wire.clone(),
                client: who,
                sequence,
                to,
                amount,
                overdraws,
                wish: None,
                again_at,
            };
            self.sent.insert(id, sent);
            self.newest.insert((who, sequence), id);
            submissions.push(self.submission(home, id, wire, Hope::Taken));
        }
        submissions
    }

    fn submission(
        &mut self,
        chain: ChainRef,
        id: Digest,
        wire: Arc<[u8]>,
        hope: Hope,
    ) -> Submission {
        self.next_tag += 1;
        self.hopes.insert(self.next_tag, (id, hope));
        Submission {
            chain,
            tag: self.next_tag,
            wire,
        }
    }

    fn spoil(&mut self, plan: &Plan, who: usize, what: &'static str) -> Vec<Submission> {
        let to = self.recipient(self.clients[who].home);
        let (mut sender, mut key) = (self.clients[who].address, self.clients[who].key.clone());
        let mut home = self.clients[who].home;
        let mut sequence = self.clients[who].next + 1;
        if what == "stale nonce" {
            // The lowest number is final already; otherwise it would be a replacement.
            if !self.clients[who].done.contains(&0) {
                return Vec::new();
            }
            sequence = 0;
        }
        if what == "no money" {
            let pauper = self.random.index(self.poor.len());
            let pauper = &self.poor[pauper];
            (sender, key, home, sequence) = (pauper.address, pauper.key.clone(), pauper.home, 0);
        }
        let mut body = self.body(plan, sender, sequence, to, 1);
        if what == "wrong network" {
            body.chain_id = Digest::ZERO;
        }
        let mut signed = body.sign(&key);
        if what == "bad signature" {
            signed.body.gas_price = Amount::new(signed.body.gas_price.get() + 1);
        }
        let id = signed.body.id();
        let mut wire = encode(&signed);
        if what == "garbage" {
            let position = self.random.index(wire.len().min(90));
            wire.truncate(position);
        }
        vec![self.submission(home, id, wire.into(), Hope::Refused(what))]
    }

    /// What clients send again now.
    pub fn retry(&mut self, now: u64, counts: &mut Counts) -> Vec<Submission> {
        let due: Vec<Digest> = self
            .newest
            .values()
            .filter(|id| self.sent.get(*id).is_some_and(|sent| sent.again_at <= now))
            .copied()
            .collect();
        let mut submissions = Vec::new();
        for id in due {
            let Some(sent) = self.sent.get_mut(&id) else {
                continue;
            };
            sent.again_at = now + PATIENCE;
            let (who, sequence, wire) = (sent.client, sent.sequence, sent.wire.clone());
            if self.clients[who].done.contains(&sequence) {
                self.newest.remove(&(who, sequence));
                continue;
            }
            counts.note("transactions sent again");
            let home = self.clients[who].home;
            submissions.push(self.submission(home, id, wire, Hope::Taken));
        }
        submissions
    }

    /// An answer to a submission.
    ///
    /// # Errors
    /// When it is not what the client may expect.
    pub fn on_submitted(
        &mut self,
        tag: u64,
        results: &[Result<Digest, SubmitError>],
        counts: &mut Counts,
    ) -> Result<(), String> {
        let Some((id, hope)) = self.hopes.remove(&tag) else {
            return Err(format!("submission {tag} is answered twice"));
        };
        let [result] = results else {
            return Err(format!("one transaction, {} answers", results.len()));
        };
        match (result, hope) {
            (Ok(answer), Hope::Taken) if *answer == id => counts.note("transactions accepted"),
            (Ok(answer), Hope::Taken) => return Err(format!("{id} is answered as {answer}")),
            (Err(_), _) => counts.note("transactions refused"),
            // A node that is behind may not know that a nonce was used.
            (Ok(_), Hope::Refused("stale nonce")) => counts.note("transactions accepted"),
            (Ok(_), Hope::Refused(why)) => return Err(format!("{why}: {id} is accepted")),
        }
        Ok(())
    }

    /// A final receipt, each once, in order.
    ///
    /// # Errors
    /// When it is not what must come of the transaction or message.
    pub fn on_receipt(
        &mut self,
        chain: ChainRef,
        receipt: &Receipt,
        counts: &mut Counts,
    ) -> Result<(), String> {
        if let Some(accomplice) = &self.accomplice
            && accomplice.judge(receipt, counts)?
        {
            return Ok(());
        }
        let id = match receipt.subject {
            Subject::Transaction(id) => id,
            Subject::Message { id, origin } => {
                counts.note("messages executed");
                if id.destination.is_beacon() {
                    return self.on_request(&origin, receipt, counts);
                }
                if id.source.is_beacon() {
                    return self.on_reply(&origin, receipt, counts);
                }
                return match &receipt.status {
                    Status::Succeeded => Ok(()),
                    other => Err(format!("message {id} of a good transfer: {other:?}")),
                };
            }
        };
        if let Status::Void(_) = receipt.status {
            return Ok(());
        }
        if let Some(other) = self.final_ids.insert(id, chain) {
            return Err(format!(
                "transaction {id} is final twice, on {other} and on {chain}"
            ));
        }
        let Some(sent) = self.sent.get(&id).cloned() else {
            return Err(format!(
                "transaction {id} was never sent by an honest client"
            ));
        };
        let client = &mut self.clients[sent.client];
        if !client.done.insert(sent.sequence) {
            return Err(format!(
                "sequence {} of {} is used twice",
                sent.sequence, client.address
            ));
        }
        let fee = i128::try_from(receipt.fee.get()).unwrap_or(i128::MAX);
        let amount = i128::try_from(sent.amount).unwrap_or(i128::MAX);
        let sender = client.address;
        match (&receipt.status, sent.overdraws) {
            (Status::Succeeded, false) => {
                counts.note("transactions succeeded");
                *self.expected.entry(sender).or_default() -= fee + amount;
                if sent.wish.is_some() {
                    self.unanswered.insert(id);
                } else {
                    *self.expected.entry(sent.to).or_default() += amount;
                }
            }
            (Status::Failed(_), true) => {
                counts.note("transactions failed");
                *self.expected.entry(sender).or_default() -= fee;
            }
            (status, _) => return Err(format!("transaction {id}: {status:?}")),
        }
        Ok(())
    }

    /// A request was executed on the beacon.
    fn on_request(
        &mut self,
        origin: &Digest,
        receipt: &Receipt,
        counts: &mut Counts,
    ) -> Result<(), String> {
        let wish = self.sent.get(origin).and_then(|sent| sent.wish);
        let (Some(wish), Some(operator)) = (wish, &mut self.operator) else {
            return Err(format!("nobody sent the request of {origin}"));
        };
        match &receipt.status {
            Status::Succeeded => {
                counts.note("requests done");
                operator.on_done(wish, counts);
            }
            Status::Failed(_) => counts.note("requests refused"),
            other => return Err(format!("request {wish:?} of {origin}: {other:?}")),
        }
        Ok(())
    }

    /// The reply to a request was executed at home: what it credits is what comes home.
    fn on_reply(
        &mut self,
        origin: &Digest,
        receipt: &Receipt,
        counts: &mut Counts,
    ) -> Result<(), String> {
        if !self.unanswered.remove(origin) {
            return Err(format!("a second reply, or one to nobody: {origin}"));
        }
        if receipt.status != Status::Succeeded {
            return Err(format!("the reply to {origin}: {:?}", receipt.status));
        }
        counts.note("replies");
        for event in &receipt.events {
            let amount = match event.attribute("amount") {
                Some(AttributeValue::Amount(amount)) => i128::try_from(amount.get()).ok(),
                _ => None,
            };
            let amount =
                amount.ok_or_else(|| format!("the reply to {origin} credits {event:?}"))?;
            *self.expected.entry(event.owner).or_default() += amount;
        }
        Ok(())
    }

    /// Transactions that are not final yet.
    pub fn open(&self) -> Vec<(Digest, String)> {
        self.newest
            .iter()
            .filter(|((who, sequence), _)| !self.clients[*who].done.contains(sequence))
            .map(|((who, sequence), id)| {
                let client = &self.clients[*who];
                (
                    *id,
                    format!(
                        "sequence {sequence} of {} on {}",
                        client.address, client.home
                    ),
                )
            })
            .collect()
    }

    /// Whether every nonce that was used has its final transaction, and every request its reply.
    pub fn is_settled(&self) -> bool {
        self.unanswered.is_empty()
            && self
                .clients
                .iter()
                .all(|client| u64::try_from(client.done.len()) == Ok(client.next))
    }

    /// Compares all balances of a chain with what they must be.
    ///
    /// # Errors
    /// Names the first account that holds something else.
    pub fn check_balances(&self, chain: ChainRef, state: &StateTree) -> Result<(), String> {
        for client in self.clients.iter().filter(|client| client.home == chain) {
            let held = views::balance(state, &client.address, &Denom::SKER).get();
            let expected = self.expected.get(&client.address).copied().unwrap_or(0);
            if i128::try_from(held) != Ok(expected) {
                return Err(format!(
                    "{} holds {held}, must hold {expected}",
                    client.address
                ));
            }
        }
        Ok(())
    }
}

/// What is special about a payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trick {
    None,
    /// A second one with the same nonce pays more.
    Replaced,
    /// More than there is.
    Overdrawn,
}
