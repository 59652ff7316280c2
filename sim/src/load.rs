//! Clients: they pay each other within and across shards, send bundles elsewhere, and try what is not
//! allowed.
//!
//! A client is honest about its own nonces and stubborn: what is not final after a while it sends
//! again, to another node. At the end everything that an honest client sent is final exactly once,
//! and every balance is what the receipts make of the genesis.

use crate::captured::{Accomplice, Mischief};
use crate::counts::Counts;
use crate::operator::{Operator, Wish};
use crate::plan::{BALANCE, MILLI, Mix, Plan, RUSH_PRICE, Rush, SECOND};
use crate::random::Random;
use skerry::view::SubmitError;
use skerry_execution::fees::{BundleCost, bundle_cost};
use skerry_execution::modules::STAKING;
use skerry_execution::modules::staking::calls::StakingCall;
use skerry_execution::network::NetworkInfo;
use skerry_execution::requests::gas_max;
use skerry_execution::views;
use skerry_storage::StateTree;
use skerry_types::amount::{Amount, Asset};
use skerry_types::codec::{Version, encode};
use skerry_types::crypto::ed25519::SecretKey;
use skerry_types::ids::{Address, ChainRef, Denom, Digest, Gas, Height, ModuleId, ValidatorId};
use skerry_types::message::MessageId;
use skerry_types::receipt::{AttributeValue, Receipt, Status, Subject};
use skerry_types::transaction::{Bundle, Leg, Nonce, Operation, Target, TransactionBody};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// How long a client waits before it sends something again.
const PATIENCE: u64 = 2 * SECOND;
/// Last beacon height of every transaction.
const VALID_UNTIL: u64 = 15_000;
/// The event of a reply that a later leg did not come to.
const ROUTE_ENDED: &str = "route_ended";
/// The module of transfers.
const BANK: ModuleId = ModuleId::new(2);
/// Payments of 1000 that leave their shard, where most are to.
const CROSSING: u64 = 850;
/// Payments of 1000 that are made by a bundle elsewhere, where most is about messages, and in a crowd.
const ERRANDS: u64 = 150;
const ERRANDS_AROUND: u64 = 600;
/// Of 1000 bundles elsewhere, those whose output travels on; and of these, those that are refused there.
const ONWARD: u64 = 500;
const REFUSED: u64 = 300;

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
    /// Where it is a bundle that runs elsewhere: what comes of it.
    errand: Option<Errand>,
    sent_at: u64,
    again_at: u64,
}

/// What comes of a bundle elsewhere.
#[derive(Clone, Copy, Debug)]
struct Errand {
    /// What its first leg pays of what is attached.
    paid: u128,
    /// Whether the leg after that is refused.
    is_refused: bool,
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
    rush: Option<Rush>,
    local_bound: Option<u64>,
    gas_max: Gas,
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
            rush: plan.rush,
            local_bound: plan.local_bound,
            gas_max: gas_max(&NetworkInfo::of(&plan.genesis)),
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
            0..=67 if self.runs_errand() => self.send_elsewhere(plan, who, now),
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
        let least = plan.rush.map_or(10, |_| RUSH_PRICE);
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
            gas_price: Amount::new(least + u128::from(self.random.below(10))),
            bundle: Bundle {
                target: Target::Home,
                assets: vec![asset],
                operations: vec![send(&to, asset)],
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
            errand: None,
            sent_at: now,
            again_at: now + PATIENCE,
        };
        self.sent.insert(id, sent);
        self.newest.insert((who, sequence), id);
        vec![self.submission(home, id, wire, Hope::Taken)]
    }

    /// Whether the next payment is made by a bundle elsewhere.
    fn runs_errand(&mut self) -> bool {
        let share = match (self.mix, self.rush) {
            (Mix::Usual, _) | (_, Some(Rush::To(_))) => return false,
            (Mix::Messages, Some(Rush::Around)) => ERRANDS_AROUND,
            (Mix::Messages, None) => ERRANDS,
        };
        self.random.chance(share)
    }

    /// Somebody of whom a rule is true.
    fn somebody(&mut self, is_meant: impl Fn(&Client) -> bool) -> Option<Address> {
        let meant = self.clients.iter().filter(|client| is_meant(client));
        let meant: Vec<Address> = meant.map(|client| client.address).collect();
        self.random.pick(&meant).copied()
    }

    fn recipient(&mut self, home: ChainRef) -> Address {
        let found = match self.rush {
            Some(Rush::To(shard)) => self.somebody(|client| client.home == shard),
            Some(Rush::Around) => self.somebody(|client| client.home != home),
            None if self.mix == Mix::Messages && self.random.chance(CROSSING) => {
                self.somebody(|client| client.home != home)
            }
            None => None,
        };
        found.unwrap_or_else(|| {
            let other = self.random.index(self.clients.len());
            self.clients[other].address
        })
    }

    /// A bundle that pays somebody where that one lives, and brings home what it does not need, over one
    /// chain more now and then.
    fn send_elsewhere(&mut self, plan: &Plan, who: usize, now: u64) -> Vec<Submission> {
        let (sender, home, key) = {
            let client = &self.clients[who];
            (client.address, client.home, client.key.clone())
        };
        let Some(to) = self.somebody(|client| client.home != home) else {
            return Vec::new();
        };
        let (paid, rest) = (
            1 + self.random.below(1_000_000),
            1 + self.random.below(1_000),
        );
        let amount = u128::from(paid + rest);
        let sequence = self.clients[who].next;
        self.clients[who].next += 1;
        let mut body = self.body(plan, sender, sequence, to, amount);
        body.gas_limit = Gas::new(2_000_000);
        // Gas elsewhere costs a quarter more than its base fee.
        body.gas_price = Amount::new(body.gas_price.get() + 10);
        body.bundle.target = Target::Near(to);
        body.bundle.operations = vec![send(&to, Asset::nsker(paid.into()))];
        let mut is_refused = false;
        if self.random.chance(ONWARD) {
            is_refused = self.random.chance(REFUSED);
            let refused = is_refused.then(top_up_of_nobody);
            body.bundle.onward = vec![Leg {
                target: Target::Beacon,
                operations: refused.into_iter().collect(),
                minimum_outputs: Vec::new(),
            }];
            let cost = bundle_cost(&body.bundle, true);
            let fits = |cost: &BundleCost| cost.legs.iter().all(|leg| leg.lane <= self.gas_max);
            if !cost.as_ref().is_ok_and(fits) {
                body.bundle.onward.clear();
            }
        }
        let errand = Errand {
            paid: paid.into(),
            is_refused,
        };
        let signed = body.sign(&key);
        let id = signed.body.id();
        let wire: Arc<[u8]> = encode(&signed).into();
        let sent = Sent {
            wire: wire.clone(),
            client: who,
            sequence,
            to,
            amount,
            overdraws: false,
            wish: None,
            errand: Some(errand),
            sent_at: now,
            again_at: now + PATIENCE,
        };
        self.sent.insert(id, sent);
        self.newest.insert((who, sequence), id);
        vec![self.submission(home, id, wire, Hope::Taken)]
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
                errand: None,
                sent_at: now,
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
        (chain, now): (ChainRef, u64),
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
                return self.on_message(id, &origin, receipt, counts);
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
        self.check_local((chain, now), (&id, &sent), counts)?;
        match (&receipt.status, sent.overdraws) {
            (Status::Succeeded, false) => {
                counts.note("transactions succeeded");
                *self.expected.entry(sender).or_default() -= fee + amount;
                if sent.wish.is_some() || sent.errand.is_some() {
                    self.unanswered.insert(id);
                } else {
                    *self.expected.entry(sent.to).or_default() += amount;
                }
            }
            (Status::Failed(_), true) => {
                counts.note("transactions failed");
                *self.expected.entry(sender).or_default() -= fee;
            }
            // Nothing has left, and nothing is owed but the fee.
            (Status::Failed(failure), false)
                if failure.code == "CONGESTED" && self.rush.is_some() =>
            {
                counts.note("transactions failed");
                *self.expected.entry(sender).or_default() -= fee;
            }
            (status, _) => return Err(format!("transaction {id}: {status:?}")),
        }
        Ok(())
    }

    /// Who pays a neighbour where all others send to is not kept waiting.
    fn check_local(
        &self,
        (chain, now): (ChainRef, u64),
        (id, sent): (&Digest, &Sent),
        counts: &mut Counts,
    ) -> Result<(), String> {
        let (Some(bound), Some(Rush::To(shard))) = (self.local_bound, self.rush) else {
            return Ok(());
        };
        if shard != chain {
            return Ok(());
        }
        let took = now.saturating_sub(sent.sent_at);
        if took > bound {
            return Err(format!(
                "transaction {id} between neighbours is final {} ms after it was sent, {} ms were \
                 foretold",
                took / MILLI,
                bound / MILLI
            ));
        }
        counts.note("neighbours served within the foretold time");
        Ok(())
    }

    /// A message was executed.
    fn on_message(
        &mut self,
        id: MessageId,
        origin: &Digest,
        receipt: &Receipt,
        counts: &mut Counts,
    ) -> Result<(), String> {
        let sent = self.sent.get(origin);
        if let Some((sent, errand)) = sent.and_then(|sent| Some((sent.clone(), sent.errand?))) {
            return self.on_leg(id, origin, (&sent, errand), receipt, counts);
        }
        if id.destination.is_beacon() {
            return self.on_request(origin, receipt, counts);
        }
        if id.source.is_beacon() {
            return self.on_reply(origin, receipt, counts);
        }
        match &receipt.status {
            Status::Succeeded => Ok(()),
            other => Err(format!("message {id} of a good transfer: {other:?}")),
        }
    }

    /// A message of a bundle elsewhere was executed.
    fn on_leg(
        &mut self,
        id: MessageId,
        origin: &Digest,
        (sent, errand): (&Sent, Errand),
        receipt: &Receipt,
        counts: &mut Counts,
    ) -> Result<(), String> {
        if id.destination == self.clients[sent.client].home {
            if receipt.events.iter().any(|it| it.name == ROUTE_ENDED) {
                counts.note("routes ended midway");
            }
            return self.on_reply(origin, receipt, counts);
        }
        let is_onward = id.destination.is_beacon();
        match &receipt.status {
            Status::Succeeded if is_onward && !errand.is_refused => {
                counts.note("bundles over several chains");
            }
            Status::Failed(_) if is_onward && errand.is_refused => {}
            Status::Succeeded if !is_onward => {
                counts.note("bundles elsewhere");
                let paid = i128::try_from(errand.paid).unwrap_or(i128::MAX);
                *self.expected.entry(sent.to).or_default() += paid;
            }
            other => return Err(format!("{id}, a leg of {origin}: {other:?}")),
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
        for event in receipt.events.iter().filter(|it| it.name != ROUTE_ENDED) {
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

/// A call that needs who sends it, of a validator that there is not.
fn top_up_of_nobody() -> Operation {
    let call = StakingCall::TopUp {
        validator: ValidatorId::new(u32::MAX),
        amount: Amount::new(1),
    };
    Operation {
        module: STAKING,
        call: call.to_bytes(),
    }
}

/// A call of `bank` that pays somebody.
fn send(to: &Address, asset: Asset) -> Operation {
    // The variant `Send`.
    let mut call = vec![0];
    call.extend(encode(to));
    call.extend(encode(&asset));
    Operation { module: BANK, call }
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
