//! What one transaction does: nonce and fee first, then its bundle, whole or not at all.
//!
//! Void: the nonce is wrong or the fee cannot be paid; nothing changes. Failed: the fee is charged
//! and the nonce used, and nothing else changes. The same machine runs what modules do for inbound
//! transfers and at the end of a block.

use crate::block::{BlockContext, Workspace};
use crate::credit::{Demand, add_demand};
use crate::error::{CallError, Rejection};
use crate::fees::{self, BundleCost, DecodedBundle, Legs};
use crate::module::{Call, Effects, Environment, Incoming, Module, Received, Scene};
use crate::modules::account::state::{decode_nonce, encode_nonce, nonce_slot};
use crate::modules::bank::state::{balance_slot, credit, debit, saturating_sum};
use crate::modules::{self, BANK, EXECUTOR, MODULES};
use crate::network::NetworkInfo;
use crate::outbox::Letter;
use crate::overlay::{Layer, Layered};
use crate::plan::{Access, Plan, PlanContext};
use crate::requests::{self, Route, Ticket};
use crate::sheet::Sheet;
use crate::view::{StateView, decode_amount, encode_amount};
use skerry_types::amount::{Amount, Asset};
use skerry_types::codec::Version;
use skerry_types::ids::{Address, ChainRef, Denom, Digest, Gas, ModuleId};
use skerry_types::limits;
use skerry_types::message::Credit;
use skerry_types::receipt::{Event, Failure, Receipt, Status, Subject};
use skerry_types::state::StateKey;
use skerry_types::transaction::{Bundle, CheckedTransaction, Nonce, TransactionBody};
use smallvec::SmallVec;

/// Runs calls over a block's state; its buffers are used again for each.
#[derive(Default)]
pub(crate) struct Machine {
    layer: Layer,
    effects: Effects,
    trapped: Option<CallError>,
}

/// A call's error with the module it is of.
type Refusal = (ModuleId, Box<CallError>);

/// A call with what it touches.
pub(crate) struct PlannedCall {
    module: &'static dyn Module,
    call: Box<dyn Call>,
    plan: Plan,
}

/// The calls of a bundle with what they touch.
pub(crate) struct Calls {
    calls: SmallVec<[PlannedCall; 1]>,
    /// What of the gas is used at home.
    home: Gas,
    /// The chains that the bundle runs on, with what each leg needs there; none when it runs here.
    route: Route,
    legs: Legs,
}

impl Calls {
    /// `context` is that of the first call.
    fn plan(decoded: DecodedBundle, context: &PlanContext<'_>) -> Self {
        let mut context = *context;
        let planned = |(module, call): (&'static dyn Module, Box<dyn Call>)| {
            let plan = call.plan(&context);
            context.operation = context.operation.saturating_add(1);
            PlannedCall { module, call, plan }
        };
        Self {
            calls: decoded.calls.into_iter().map(planned).collect(),
            home: decoded.gas,
            route: Route::new(),
            legs: Legs::new(),
        }
    }

    /// Whether they run on another chain.
    pub(crate) fn leave(&self) -> bool {
        !self.route.is_empty()
    }

    /// Keys that the calls will ask for.
    fn hint(&self, context: &PlanContext<'_>, read: &mut dyn FnMut(StateKey)) {
        let mut context = *context;
        for PlannedCall { call, plan, .. } in &self.calls {
            // What is not planned may be with another worker: it must not be looked at.
            let is_planned = |owner: &Address| {
                *owner == context.sender || plan.objects().iter().any(|(it, _)| it == owner)
            };
            call.hint(&context, &mut |key| {
                if is_planned(&key.owner) {
                    read(key);
                }
            });
            context.operation = context.operation.saturating_add(1);
        }
    }

    /// What the bundle sends at most, by destination.
    fn demands(&self) -> Vec<(ChainRef, Demand)> {
        let mut demands = Vec::new();
        if let (Some(destination), Some(leg)) = (self.route.first(), self.legs.first()) {
            let credit = Credit {
                bytes: leg.bytes,
                gas: leg.lane.get(),
            };
            let first = Demand {
                credit,
                requests: 1,
                passing: 0,
            };
            demands.push((*destination, first));
            for chain in &self.route {
                let passing = Demand {
                    passing: 1,
                    ..Demand::default()
                };
                add_demand(&mut demands, *chain, passing);
            }
            return demands;
        }
        for (destination, credit) in self.calls.iter().flat_map(|call| call.plan.sends()) {
            let demand = Demand {
                credit: *credit,
                ..Demand::default()
            };
            add_demand(&mut demands, *destination, demand);
        }
        demands
    }

    /// What the calls touch.
    pub(crate) fn objects(&self) -> impl Iterator<Item = &(Address, Access)> {
        self.calls.iter().flat_map(|call| call.plan.objects())
    }
}

/// A transaction of which everything is known that its bytes tell.
pub(crate) struct Prepared {
    /// Its calls and the gas to charge, or why it should not be in a block.
    pub(crate) calls: Result<(Calls, Gas), Rejection>,
    /// What it sends at most, by destination.
    demands: Vec<(ChainRef, Demand)>,
}

impl Prepared {
    /// What the transaction sends at most, by destination.
    pub(crate) fn demands(&self) -> &[(ChainRef, Demand)] {
        &self.demands
    }

    /// Whether a transaction, of which this is known, touches one of some owners, which are in order.
    pub(crate) fn touches(&self, transaction: &CheckedTransaction, owners: &[Address]) -> bool {
        let is_one = |owner: &Address| owners.binary_search(owner).is_ok();
        let of_calls = self.calls.iter().flat_map(|(calls, _)| calls.objects());
        !owners.is_empty()
            && (is_one(&transaction.body().sender) || of_calls.map(|(owner, _)| owner).any(is_one))
    }
}

/// So many transactions are read ahead at once: what they touch stays in the nearest caches, and a few
/// dozen reads keep memory busy.
pub(crate) const AHEAD: usize = 32;

/// What a transaction sends, not numbered yet.
pub(crate) enum Sent {
    /// By one of its calls.
    Letter {
        destination: ChainRef,
        letter: Letter,
    },
    /// Its bundle.
    Request {
        destination: ChainRef,
        ticket: Box<Ticket>,
    },
}

/// What a bundle has done.
#[derive(Default)]
struct Done {
    sent: Vec<Sent>,
    /// Paid for gas of other chains.
    prepaid: Amount,
}

/// What came of a transaction.
pub(crate) struct Ran {
    pub(crate) receipt: Receipt,
    pub(crate) sent: Vec<Sent>,
}

/// What a transaction is charged.
struct Charge {
    fee: Amount,
    burnt: Amount,
}

fn void(code: &str, detail: String) -> Status {
    Status::Void(Failure {
        module: EXECUTOR,
        code: code.to_owned(),
        detail,
    })
}

fn void_of(rejection: &Rejection) -> Status {
    void(rejection.reason(), rejection.to_string())
}

impl Machine {
    /// Runs a transaction and says what happened. What it sends is the caller's to number, and
    /// `congestion` the caller's to know: why there is no credit for what it would send.
    pub(crate) fn run(
        &mut self,
        space: &mut Workspace<'_>,
        transaction: &CheckedTransaction,
        prepared: &Prepared,
        congestion: Option<&CallError>,
    ) -> Ran {
        let mut receipt = Receipt {
            version: Version,
            subject: Subject::Transaction(transaction.id()),
            status: Status::Succeeded,
            gas: Gas::ZERO,
            fee: Amount::ZERO,
            messages: Vec::new(),
            events: Vec::new(),
        };
        let mut sent = Vec::new();
        let (calls, gas) = match &prepared.calls {
            Ok(calls) => calls,
            Err(rejection) => {
                // The block was invalid; nothing is charged and the operator is told.
                space
                    .alarms
                    .push(format!("transaction {}: {rejection}", transaction.id()));
                receipt.status = void_of(rejection);
                return Ran { receipt, sent };
            }
        };
        let charge = match charge(space, transaction, *gas, calls.home) {
            Ok(charge) => charge,
            Err(status) => {
                receipt.status = status;
                return Ran { receipt, sent };
            }
        };
        // What the first message needs is paid in any case, there or here; what later legs need may come
        // home, so it fills no block.
        let lane = calls.legs.first().map_or(Gas::ZERO, |leg| leg.lane);
        let near = calls.home.saturating_add(lane.get());
        space.ledger.charge(near, charge.fee, charge.burnt);
        (receipt.gas, receipt.fee) = (calls.home, charge.fee);
        match self.bundle(space, transaction, calls, congestion) {
            Ok(done) => {
                (sent, receipt.events) = (done.sent, std::mem::take(&mut self.effects.events));
                if calls.leave() {
                    receipt.gas = *gas;
                    receipt.fee = saturating_sum(charge.fee, done.prepaid);
                }
            }
            Err((module, error)) => {
                self.forget(space);
                if error.is_alarm() {
                    space
                        .alarms
                        .push(format!("transaction {}: {error}", transaction.id()));
                }
                receipt.status = Status::Failed(error.failure(module));
                if calls.leave() {
                    // It took the block's room and the channel's credit for that.
                    let fee = charge_lane(space, transaction.body(), lane);
                    receipt.gas = near;
                    receipt.fee = saturating_sum(receipt.fee, fee);
                }
            }
        }
        Ran { receipt, sent }
    }

    fn forget(&mut self, space: &mut Workspace<'_>) {
        Layered {
            overlay: &mut space.overlay,
            layer: &mut self.layer,
        }
        .revert();
        self.effects.clear();
        self.trapped = None;
    }

    /// Runs a bundle, or pays for its way.
    fn bundle(
        &mut self,
        space: &mut Workspace<'_>,
        transaction: &CheckedTransaction,
        calls: &Calls,
        congestion: Option<&CallError>,
    ) -> Result<Done, Refusal> {
        let body = transaction.body();
        let bundle = &body.bundle;
        let executor = |error| (EXECUTOR, Box::new(error));
        check_deadline(space, bundle).map_err(executor)?;
        for chain in &calls.route {
            check_fence(space, *chain).map_err(executor)?;
        }
        if let Some(congestion) = congestion {
            return Err(executor(congestion.clone()));
        }
        if let Some(first) = calls.route.first() {
            return self.depart(space, body, calls, *first).map_err(executor);
        }
        let mut state = Layered {
            overlay: &mut space.overlay,
            layer: &mut self.layer,
        };
        for asset in &bundle.assets {
            debit(&mut state, body.sender, *asset).map_err(executor)?;
        }
        let scene = scene(space, body.sender, transaction.id(), body.nonce);
        let sheet = self.calls(space, scene, bundle, calls)?;
        for (destination, _) in &self.effects.sent {
            check_fence(space, *destination).map_err(executor)?;
        }
        self.finish(space, bundle, body.sender, &sheet)
            .map_err(executor)?;
        let sent = self.effects.sent.drain(..);
        Ok(Done {
            sent: sent
                .map(|(destination, letter)| Sent::Letter {
                    destination,
                    letter,
                })
                .collect(),
            prepaid: Amount::ZERO,
        })
    }

    /// Takes from the sender what its bundle carries to other chains: the attached assets, and the price
    /// of the gas there.
    fn depart(
        &mut self,
        space: &mut Workspace<'_>,
        body: &TransactionBody,
        calls: &Calls,
        destination: ChainRef,
    ) -> Result<Done, CallError> {
        let ticket = requests::buy(space, &calls.route, &calls.legs, body.gas_price)?;
        let prepaid = ticket.prepaid;
        let mut state = Layered {
            overlay: &mut space.overlay,
            layer: &mut self.layer,
        };
        let gas = Asset {
            denom: Denom::SKER,
            amount: prepaid,
        };
        for asset in std::iter::once(&gas).chain(&body.bundle.assets) {
            debit(&mut state, body.sender, *asset)?;
        }
        state.commit();
        let ticket = Box::new(ticket);
        Ok(Done {
            sent: vec![Sent::Request {
                destination,
                ticket,
            }],
            prepaid,
        })
    }

    /// Runs the calls of a bundle one after the other; gives what is on the sheet then.
    fn calls(
        &mut self,
        space: &mut Workspace<'_>,
        mut scene: Scene<'_>,
        bundle: &Bundle,
        calls: &Calls,
    ) -> Result<Sheet, Refusal> {
        let mut sheet = Sheet::with(&bundle.assets);
        for PlannedCall { module, call, plan } in &calls.calls {
            check_home(&scene, plan).map_err(|error| (module.id(), Box::new(error)))?;
            self.effects.before = self.effects.sent.len();
            let state = Layered {
                overlay: &mut space.overlay,
                layer: &mut self.layer,
            };
            let mut environment = Environment {
                scene,
                view: StateView {
                    state,
                    plan,
                    module: module.id(),
                    trapped: &mut self.trapped,
                },
                sheet: &mut sheet,
                effects: &mut self.effects,
            };
            let result = call.execute(&mut environment);
            let result = self.trapped.take().map_or(result, Err);
            result.map_err(|error| (module.id(), Box::new(error)))?;
            scene.operation = scene.operation.saturating_add(1);
        }
        Ok(sheet)
    }

    /// Runs a bundle that came by a message, without a sender where it is an onward one; gives what is
    /// left of its assets.
    ///
    /// # Errors
    /// When a call refuses or the sheet does not end as it must; nothing has changed then.
    pub(crate) fn request(
        &mut self,
        space: &mut Workspace<'_>,
        sender: Option<Address>,
        origin: Digest,
        bundle: &Bundle,
        decoded: DecodedBundle,
    ) -> Result<(Vec<Asset>, Vec<Event>), Failure> {
        let ran = self.try_request(space, sender, origin, bundle, decoded);
        ran.map_err(|(module, error)| {
            self.forget(space);
            if error.is_alarm() {
                space.alarms.push(format!("request of {origin}: {error}"));
            }
            error.failure(module)
        })
    }

    fn try_request(
        &mut self,
        space: &mut Workspace<'_>,
        sender: Option<Address>,
        origin: Digest,
        bundle: &Bundle,
        decoded: DecodedBundle,
    ) -> Result<(Vec<Asset>, Vec<Event>), Refusal> {
        let executor = |error| (EXECUTOR, Box::new(error));
        check_deadline(space, bundle).map_err(executor)?;
        let mut needy = decoded.calls.iter().filter(|(_, call)| call.needs_sender());
        if let Some((module, _)) = needy.next().filter(|_| sender.is_none()) {
            return Err((module.id(), Box::new(CallError::NeedsSender)));
        }
        let sender = sender.unwrap_or_else(|| requests::onward_actor(space.context.chain));
        let scene = scene(space, sender, origin, Nonce::default());
        let calls = Calls::plan(decoded, &scene.plan_context());
        let sheet = self.calls(space, scene, bundle, &calls)?;
        let left = sheet.finish(&bundle.minimum_outputs).map_err(executor)?;
        let left: Vec<Asset> = left.collect();
        let here = space.context.chain;
        // Its one message brings home what is left, or takes it on.
        let error = if let Some((destination, _)) = self.effects.sent.first() {
            Some(format!(
                "a bundle that came by a message sends none of its own: from {here} nothing goes to \
                 {destination}, what is left comes home"
            ))
        } else if left.len() > limits::ASSETS_MAX {
            Some(format!("{} denoms are left, a message has 8", left.len()))
        } else {
            None
        };
        if let Some(detail) = error {
            let code = "REPLY_ONLY";
            return Err(executor(CallError::Refused { code, detail }));
        }
        self.credit_all(space).map_err(executor)?;
        Ok((left, std::mem::take(&mut self.effects.events)))
    }

    /// Credits whom the calls of a bundle gave something, and keeps its changes.
    fn credit_all(&mut self, space: &mut Workspace<'_>) -> Result<(), CallError> {
        let mut state = Layered {
            overlay: &mut space.overlay,
            layer: &mut self.layer,
        };
        for (owner, asset) in self.effects.credits.drain(..) {
            credit(&mut state, owner, asset)?;
        }
        state.commit();
        Ok(())
    }

    /// Credits what the bundle earned and keeps its changes.
    fn finish(
        &mut self,
        space: &mut Workspace<'_>,
        bundle: &Bundle,
        sender: Address,
        sheet: &Sheet,
    ) -> Result<(), CallError> {
        let left = sheet.finish(&bundle.minimum_outputs)?;
        let left = left.map(|asset| (sender, asset));
        self.effects.credits.extend(left);
        self.credit_all(space)
    }

    /// Runs an inbound transfer.
    ///
    /// # Errors
    /// When nothing was credited; the value is the caller's to count.
    pub(crate) fn receive(
        &mut self,
        space: &mut Workspace<'_>,
        incoming: &Incoming<'_>,
        origin: Digest,
    ) -> Result<(Status, Vec<Event>), Failure> {
        let Some(bank) = modules::find(space.modules, BANK) else {
            let what = "there is no bank".to_owned();
            return Err(CallError::Invariant { what }.failure(EXECUTOR));
        };
        let plan = Plan::of(incoming.recipient, Access::AddOnly);
        let mut sheet = Sheet::default();
        let scene = scene(space, incoming.sender, origin, Nonce::default());
        let mut environment = Environment {
            scene,
            view: StateView {
                state: Layered {
                    overlay: &mut space.overlay,
                    layer: &mut self.layer,
                },
                plan: &plan,
                module: BANK,
                trapped: &mut self.trapped,
            },
            sheet: &mut sheet,
            effects: &mut self.effects,
        };
        let result = bank.receive(incoming, &mut environment);
        match self.trapped.take().map_or(result, Err) {
            Ok(received) => {
                Layered {
                    overlay: &mut space.overlay,
                    layer: &mut self.layer,
                }
                .commit();
                let status = match received {
                    Received::Credited => Status::Succeeded,
                    Received::Claimed(error) => Status::Claimed(error.failure(BANK)),
                };
                Ok((status, std::mem::take(&mut self.effects.events)))
            }
            Err(error) => {
                self.forget(space);
                space
                    .alarms
                    .push(format!("message {}: {error}", incoming.id));
                Err(error.failure(BANK))
            }
        }
    }

    /// Runs a module's hook.
    ///
    /// # Errors
    /// When it fails, which only a broken invariant can cause; its changes are dropped.
    pub(crate) fn hook(
        &mut self,
        space: &mut Workspace<'_>,
        module: &'static dyn Module,
    ) -> Result<(), String> {
        let chain = space.context.chain;
        let plan = module.end_of_block_plan(chain);
        if plan.objects().is_empty() {
            return Ok(());
        }
        let mut view = StateView {
            state: Layered {
                overlay: &mut space.overlay,
                layer: &mut self.layer,
            },
            plan: &plan,
            module: module.id(),
            trapped: &mut self.trapped,
        };
        let result = module.end_of_block(&space.ledger.totals, space.context, &mut view);
        match self.trapped.take().map_or(result, Err) {
            Ok(()) => {
                Layered {
                    overlay: &mut space.overlay,
                    layer: &mut self.layer,
                }
                .commit();
                Ok(())
            }
            Err(error) => {
                self.forget(space);
                Err(format!("end of block of {}: {error}", module.name()))
            }
        }
    }
}

fn check_deadline(space: &Workspace<'_>, bundle: &Bundle) -> Result<(), CallError> {
    let (deadline, actual) = (bundle.deadline, space.context.beacon.height);
    if deadline < actual {
        return Err(CallError::DeadlinePassed { deadline, actual });
    }
    Ok(())
}

/// Refuses a message from or to a fenced shard.
fn check_fence(space: &mut Workspace<'_>, destination: ChainRef) -> Result<(), CallError> {
    let (overlay, here) = (&mut space.overlay, space.context.chain);
    space.fences.check(overlay, here, destination)
}

/// All objects of a bundle live on the executing chain.
fn check_home(scene: &Scene<'_>, plan: &Plan) -> Result<(), CallError> {
    for (object, _) in plan.objects() {
        let home = scene.network.home(object);
        if home != scene.chain && !scene.chain.is_beacon() {
            let (object, here) = (*object, scene.chain);
            return Err(CallError::ElsewhereObject { object, home, here });
        }
    }
    Ok(())
}

fn scene<'s>(space: &Workspace<'s>, sender: Address, origin: Digest, nonce: Nonce) -> Scene<'s> {
    let context = space.context;
    Scene {
        network: &context.network,
        chain: context.chain,
        height: context.height,
        time: context.time,
        beacon: context.beacon,
        sender,
        origin,
        nonce,
        operation: 0,
    }
}

/// Decodes the calls, checks what validation has checked before, and plans.
pub(crate) fn prepare(
    context: &BlockContext,
    modules: &[&'static dyn Module],
    base_fee: Amount,
    transaction: &CheckedTransaction,
) -> Prepared {
    match decode(context, modules, base_fee, transaction) {
        Ok((calls, gas)) => Prepared {
            demands: calls.demands(),
            calls: Ok((calls, gas)),
        },
        Err(rejection) => Prepared {
            demands: Vec::new(),
            calls: Err(rejection),
        },
    }
}

fn decode(
    context: &BlockContext,
    modules: &[&'static dyn Module],
    base_fee: Amount,
    transaction: &CheckedTransaction,
) -> Result<(Calls, Gas), Rejection> {
    let body = transaction.body();
    let network = &context.network;
    let here = context.chain;
    if here.is_beacon() {
        return Err(Rejection::BeaconTakesNone);
    }
    let home = network.home(&body.sender);
    if home != here {
        return Err(Rejection::WrongShard {
            sender: body.sender,
            home,
            here,
        });
    }
    let route = requests::route(network, here, &body.bundle)?;
    let decoded = fees::decode_bundle(modules, &body.bundle)?;
    let cost = fees::cost_of(modules, &body.bundle, &decoded, !route.is_empty())?;
    let BundleCost { gas, home, legs } = cost.with_envelope(transaction);
    if body.gas_limit < gas {
        let (expected, actual) = (gas, body.gas_limit);
        return Err(Rejection::GasLimitTooLow { expected, actual });
    }
    if body.gas_price < base_fee {
        return Err(Rejection::PriceTooLow {
            expected: base_fee,
            actual: body.gas_price,
        });
    }
    Ok((
        Calls {
            home,
            route,
            legs,
            ..Calls::plan(decoded, &plan_context(network, here, body))
        },
        gas,
    ))
}

/// What a transaction would send from `here` at most, by destination; nothing where it could not run.
pub fn demands_of(
    network: &NetworkInfo,
    here: ChainRef,
    body: &TransactionBody,
) -> Vec<(ChainRef, Demand)> {
    let calls = fees::decode_bundle(MODULES, &body.bundle).and_then(|decoded| {
        let route = requests::route(network, here, &body.bundle)?;
        let leaves = !route.is_empty();
        let cost = fees::cost_of(MODULES, &body.bundle, &decoded, leaves)?;
        Ok(Calls {
            route,
            legs: cost.legs,
            ..Calls::plan(decoded, &plan_context(network, here, body))
        })
    });
    calls.map_or_else(|_| Vec::new(), |calls| calls.demands())
}

/// Reads what a transaction will ask for. Run for some transactions before the first of them runs, the
/// waits for memory overlap, which they do not when each is asked for where it is needed.
pub(crate) fn read_ahead(
    space: &mut Workspace<'_>,
    transaction: &CheckedTransaction,
    prepared: &Prepared,
) {
    let Ok((calls, _)) = &prepared.calls else {
        return;
    };
    let body = transaction.body();
    let (context, overlay) = (space.context, &mut space.overlay);
    nonce_slot(overlay, &body.sender, body.nonce.stream);
    balance_slot(overlay, &body.sender, &Denom::SKER);
    for asset in &body.bundle.assets {
        balance_slot(overlay, &body.sender, &asset.denom);
    }
    if !calls.leave() {
        let plan_context = plan_context(&context.network, context.chain, body);
        calls.hint(&plan_context, &mut |key| {
            overlay.slot(key);
        });
    }
}

fn plan_context<'n>(
    network: &'n NetworkInfo,
    chain: ChainRef,
    body: &TransactionBody,
) -> PlanContext<'n> {
    PlanContext {
        network,
        chain,
        sender: body.sender,
        nonce: body.nonce,
        operation: 0,
    }
}

/// Takes the fee for the gas that a bundle would have used elsewhere, had it left. Its sender held the
/// price of all gas when it was charged, and what it did is undone.
fn charge_lane(space: &mut Workspace<'_>, body: &TransactionBody, lane: Gas) -> Amount {
    let slot = balance_slot(&mut space.overlay, &body.sender, &Denom::SKER);
    let held = decode_amount(space.overlay.value(slot)).unwrap_or(Amount::ZERO);
    let fee = fees::fee(lane, body.gas_price).unwrap_or(Amount::MAX);
    let Some(rest) = held.checked_sub(fee) else {
        return Amount::ZERO;
    };
    space.overlay.set(slot, encode_amount(rest));
    let burnt = fees::fee(lane, space.base_fee).unwrap_or(fee);
    space.ledger.spend(fee, burnt);
    fee
}

/// Uses the nonce and takes the fee for what happens at home, or says why the transaction is void. It is
/// void, too, when the sender does not hold the price of all `gas`.
fn charge(
    space: &mut Workspace<'_>,
    transaction: &CheckedTransaction,
    gas: Gas,
    home: Gas,
) -> Result<Charge, Status> {
    let body = transaction.body();
    let Nonce { stream, sequence } = body.nonce;
    let nonce_slot = nonce_slot(&mut space.overlay, &body.sender, stream);
    let expected = decode_nonce(space.overlay.value(nonce_slot));
    // The last number of a stream is never used, so that "next" always exists.
    if sequence != expected || sequence == u64::MAX {
        let detail = format!("nonce {sequence} of stream {stream}, the next is {expected}");
        return Err(void("WRONG_NONCE", detail));
    }
    let slot = balance_slot(&mut space.overlay, &body.sender, &Denom::SKER);
    let actual = decode_amount(space.overlay.value(slot)).unwrap_or(Amount::ZERO);
    let most = fees::fee(gas, body.gas_price);
    let paid = most.filter(|most| *most <= actual);
    let fee = paid.and_then(|_| fees::fee(home, body.gas_price));
    let Some((fee, rest)) = fee.and_then(|fee| Some((fee, actual.checked_sub(fee)?))) else {
        return Err(void_of(&Rejection::FeeUnpayable {
            sender: body.sender,
            expected: most.unwrap_or(Amount::MAX),
            actual,
        }));
    };
    // The price is at least the base fee, so this is at most the fee.
    let burnt = fees::fee(home, space.base_fee).unwrap_or(fee);
    space
        .overlay
        .set(nonce_slot, Some(encode_nonce(sequence.saturating_add(1))));
    space.overlay.set(slot, encode_amount(rest));
    Ok(Charge { fee, burnt })
}
