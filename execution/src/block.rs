//! What a block does, in this order: beacon facts or operations of validators (evidence first, so that
//! a fenced shard is not cross-linked), acknowledgements,
//! accepting inbound batches, executing inbound messages in their gas lane, transactions, hooks.
//!
//! Transactions one after the other are the specification; [`crate::parallel`] gives the same bytes
//! by several threads. Execution is a function of its arguments and never panics; what must not
//! happen (a batch off its cursor, a transaction of another shard) is skipped with an alarm, since [`crate::validate`] made such a block invalid before.

use crate::credit::{Book, Demand, Scene};
use crate::error::{CallError, CrossLinkSkip};
use crate::fees::Ledger;
use crate::fence::Fences;
use crate::inbox::Inbox;
use crate::module::Module;
use crate::modules::{MODULES, beacon_facts, channels, crosslinks, epochs, evidence};
use crate::network::NetworkInfo;
use crate::outbox::{Letter, Outbox};
use crate::overlay::{BlockOverlay, Contradiction};
use crate::parallel::{self, Mode, Platform, Stage, Unwatched, Watch};
use crate::requests::{self, Prices};
use crate::transaction::{AHEAD, Machine, Ran, Sent, prepare, read_ahead};
use crate::views;
use skerry_types::amount::Amount;
use skerry_types::beacon::{Facts, SystemOperation};
use skerry_types::block::{BlockRef, ExecutionResult};
use skerry_types::crypto::bls::Signature;
use skerry_types::crypto::hash::{Purpose, hash_parts, list_root};
use skerry_types::ids::{ChainRef, Digest, Gas, Height, TimeMs};
use skerry_types::message::{Batch, ChannelSummary, MessageId, channels_root};
use skerry_types::receipt::Receipt;
use skerry_types::state::{ChangeSet, StateRead};
use skerry_types::transaction::CheckedTransaction;
use std::sync::Arc;

/// Where and when a block executes.
#[derive(Clone, Debug)]
pub struct BlockContext {
    /// The network.
    pub network: Arc<NetworkInfo>,
    /// The executing chain.
    pub chain: ChainRef,
    /// Height of the block.
    pub height: Height,
    /// Time of the block.
    pub time: TimeMs,
    /// Beacon reference of the block; on the beacon, the parent.
    pub beacon: BlockRef,
    /// On the beacon, the reveals since the last working block, folded; else zero.
    pub entropy: Digest,
    /// On the beacon, what the votes of the block's epoch are bound to: the seal before it, or the
    /// chain's start. No other chain looks at it.
    pub instance: Digest,
}

/// Folds one more reveal into the entropy of a block.
#[must_use]
pub fn fold_reveal(entropy: &Digest, reveal: &Signature) -> Digest {
    hash_parts(Purpose::MIX, &[entropy.as_bytes(), &reveal.0])
}

/// What a block holds, with everything checked that can make it invalid.
#[derive(Clone, Debug, Default)]
pub struct BlockWork {
    /// Facts to import; shards only.
    pub facts: Option<Facts>,
    /// Operations of validators; beacon only.
    pub system: Vec<SystemOperation>,
    /// Batches whose proofs hold, in the body's order.
    pub inbound: Vec<Batch>,
    /// Transactions whose signatures are good, in the body's order.
    pub transactions: Vec<Arc<CheckedTransaction>>,
}

/// What executing a block gave. The state root is the caller's to add.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// What differs from the parent's state.
    pub changes: ChangeSet,
    /// First those of executed messages, then those of transactions, each in order of execution.
    pub receipts: Vec<Receipt>,
    /// Batches to relay, in order of destination and position.
    pub outgoing: Vec<Batch>,
    /// The channel summaries after the block, in order of peer; see [`views::channel_summaries`].
    pub channels: Vec<ChannelSummary>,
    /// On the beacon, the facts of the new state.
    pub facts: Option<Facts>,
    /// Root of the receipts.
    pub receipts_root: Digest,
    /// Root of the summaries.
    pub channels_root: Digest,
    /// Gas of all that was executed.
    pub gas: Gas,
    /// Base units of `sker` destroyed.
    pub burnt: Amount,
    /// Base fee of the block that follows at once; see [`views::base_fee`].
    pub base_fee: Amount,
    /// Cross-links that changed nothing, and why. Part of no result.
    pub skipped: Vec<CrossLinkSkip>,
    /// Broken invariants, for the operator. Part of no result.
    pub alarms: Vec<String>,
}

impl Outcome {
    /// The result that a header reports, once the state root is known.
    pub const fn result(&self, state_root: Digest) -> ExecutionResult {
        ExecutionResult {
            state_root,
            receipts_root: self.receipts_root,
            channels_root: self.channels_root,
            gas: self.gas,
            burnt: self.burnt,
            base_fee: self.base_fee,
        }
    }
}

/// How blocks are executed. The outcome is the same in every mode, whoever watches.
#[derive(Clone, Copy)]
pub struct Executor<'e> {
    /// The table of modules.
    pub modules: &'e [&'static dyn Module],
    /// How the transactions are.
    pub mode: Mode,
    /// Told of where it stands.
    pub watch: &'e dyn Watch,
}

impl Executor<'static> {
    /// With all modules, unwatched.
    pub const fn new(mode: Mode) -> Self {
        Self {
            modules: MODULES,
            mode,
            watch: &Unwatched,
        }
    }
}

impl Executor<'_> {
    /// Executes a working block on its parent's state.
    pub fn execute(
        &self,
        context: &BlockContext,
        work: &BlockWork,
        parent: &dyn StateRead,
    ) -> Outcome {
        self.execute_on::<parallel::Os>(context, work, parent)
    }

    /// [`Self::execute`] on threads of `P`.
    pub(crate) fn execute_on<P: Platform>(
        &self,
        context: &BlockContext,
        work: &BlockWork,
        parent: &dyn StateRead,
    ) -> Outcome {
        let mut block = Block {
            space: Workspace::new(context, self.modules, parent),
            outbox: Outbox::new(&context.network, context.chain),
            receipts: Vec::new(),
        };
        let skipped = block.beacon_part(work);
        let mut inbox = Inbox::load(&mut block.space.overlay, context);
        for batch in &work.inbound {
            if let Err(alarm) = inbox.accept(batch) {
                block.space.alarms.push(alarm);
            }
        }
        let mut machine = Machine::default();
        inbox.execute(&mut block, &mut machine, || {
            transactions_gas(self.modules, &context.network, work)
        });
        block.transactions::<P>(&mut machine, self, &work.transactions);
        inbox.store(&mut block.space.overlay);
        block.hooks(&mut machine);
        let finished = block.finish::<P>(self, skipped);
        // One after the other there is nothing that could contradict itself.
        finished.unwrap_or_else(|Contradiction| {
            let one_by_one = Executor {
                mode: Mode::Sequential,
                ..*self
            };
            one_by_one.execute_on::<P>(context, work, parent)
        })
    }
}

fn transactions_gas(
    modules: &[&'static dyn Module],
    network: &NetworkInfo,
    work: &BlockWork,
) -> Gas {
    work.transactions
        .iter()
        .fold(Gas::ZERO, |sum, transaction| {
            let cost = crate::fees::transaction_cost(modules, network, transaction);
            sum.saturating_add(cost.map_or(0, |cost| cost.near().get()))
        })
}

/// What calls run over, and what is summed beside the state.
pub(crate) struct Workspace<'a> {
    pub(crate) context: &'a BlockContext,
    pub(crate) modules: &'a [&'static dyn Module],
    pub(crate) overlay: BlockOverlay<'a>,
    /// Base fee of the block.
    pub(crate) base_fee: Amount,
    pub(crate) ledger: Ledger,
    pub(crate) alarms: Vec<String>,
    pub(crate) fences: Fences,
    pub(crate) book: Book,
    pub(crate) prices: Prices,
}

impl<'a> Workspace<'a> {
    pub(crate) fn new(
        context: &'a BlockContext,
        modules: &'a [&'static dyn Module],
        parent: &'a dyn StateRead,
    ) -> Self {
        let parameters = &context.network.parameters;
        Self {
            context,
            modules,
            overlay: BlockOverlay::new(parent),
            base_fee: views::base_fee(parent, parameters, context.chain, context.height),
            ledger: Ledger::default(),
            alarms: Vec::new(),
            fences: Fences::default(),
            book: Book::default(),
            prices: Prices::default(),
        }
    }
}

impl Workspace<'_> {
    /// Takes credit for what is to be sent, all or nothing.
    ///
    /// # Errors
    /// When there is not enough of it, or no room for a reply.
    pub(crate) fn take_credit(&mut self, demands: &[(ChainRef, Demand)]) -> Result<(), CallError> {
        let Self {
            book,
            overlay,
            context,
            ..
        } = self;
        book.take(&mut |key| overlay.get(key), Scene::of(context), demands)
    }
}

/// A block while it executes.
pub(crate) struct Block<'a> {
    pub(crate) space: Workspace<'a>,
    pub(crate) outbox: Outbox,
    pub(crate) receipts: Vec<Receipt>,
}

impl Block<'_> {
    /// Executes transactions, beside each other where the mode says so and they can be.
    fn transactions<P: Platform>(
        &mut self,
        machine: &mut Machine,
        executor: &Executor<'_>,
        transactions: &[Arc<CheckedTransaction>],
    ) {
        if transactions.is_empty() {
            return;
        }
        let lengths = transactions.iter().map(|it| it.wire().len());
        let bytes = u64::try_from(lengths.sum::<usize>()).unwrap_or(u64::MAX);
        self.space.ledger.totals.bytes = bytes;
        // So that replies that came home just now count no longer.
        self.outbox.flush(&mut self.space.overlay);
        if let Mode::Workers(workers) = executor.mode
            && let Some(done) =
                parallel::run::<P>(workers, executor.watch, &mut self.space, transactions)
        {
            let first = self.receipts.len();
            if first == 0 {
                // As they are: to copy some megabytes takes a share of the block's time.
                self.receipts = done.receipts;
            } else {
                self.receipts.extend(done.receipts);
            }
            for (position, sent) in done.sent {
                let Ok(position) = usize::try_from(position) else {
                    continue;
                };
                let Some(transaction) = transactions.get(position) else {
                    continue;
                };
                let messages = self.emit(transaction, sent);
                if let Some(receipt) = self.receipts.get_mut(first.saturating_add(position)) {
                    receipt.messages = messages;
                }
            }
            return;
        }
        self.receipts.reserve(transactions.len());
        self.space.overlay.reserve(transactions.len());
        let mut prepared = Vec::with_capacity(AHEAD);
        for some in transactions.chunks(AHEAD) {
            let space = &mut self.space;
            prepared.clear();
            prepared.extend(some.iter().map(|transaction| {
                prepare(space.context, space.modules, space.base_fee, transaction)
            }));
            for (transaction, prepared) in some.iter().zip(&prepared) {
                read_ahead(space, transaction, prepared);
            }
            for (transaction, prepared) in some.iter().zip(&prepared) {
                let congestion = self.space.take_credit(prepared.demands()).err();
                let ran = machine.run(&mut self.space, transaction, prepared, congestion.as_ref());
                let Ran { mut receipt, sent } = ran;
                if !sent.is_empty() {
                    receipt.messages = self.emit(transaction, sent);
                }
                self.receipts.push(receipt);
            }
        }
    }

    /// Numbers what a transaction sends.
    fn emit(&mut self, transaction: &CheckedTransaction, sent: Vec<Sent>) -> Vec<MessageId> {
        let Workspace {
            overlay, context, ..
        } = &mut self.space;
        let mut number = |sent: Sent| {
            let (destination, letter) = match sent {
                Sent::Letter {
                    destination,
                    letter,
                } => (destination, letter),
                Sent::Request {
                    destination,
                    ticket,
                } => {
                    let body = transaction.body();
                    let id = self.outbox.next(overlay, destination);
                    requests::note(overlay, &id, body.sender, &ticket);
                    self.outbox.ask(overlay, &ticket.route);
                    let payload = requests::request(id, body.sender, *ticket, &body.bundle);
                    let letter = Letter::new(&context.network, transaction.id(), payload);
                    (destination, letter)
                }
            };
            self.outbox.send(overlay, destination, letter)
        };
        sent.into_iter().map(&mut number).collect()
    }

    /// Imports facts or applies evidence and cross-links, then forgets what the destinations accepted.
    fn beacon_part(&mut self, work: &BlockWork) -> Vec<CrossLinkSkip> {
        let Workspace {
            context,
            overlay,
            ledger,
            ..
        } = &mut self.space;
        if context.chain.is_beacon() {
            epochs::note_own_instance(overlay, context);
            let evidence = work.system.iter().filter_map(|operation| match operation {
                SystemOperation::Evidence(evidence) => Some(&**evidence),
                SystemOperation::CrossLink(_) | SystemOperation::Ready(_) => None,
            });
            evidence::apply(overlay, ledger, context, evidence);
            let ready = work.system.iter().filter_map(|operation| match operation {
                SystemOperation::Ready(ready) => Some(ready),
                SystemOperation::CrossLink(_) | SystemOperation::Evidence(_) => None,
            });
            epochs::note_ready(overlay, ready);
            let skipped = crosslinks::apply(overlay, context, &work.system);
            channels::acknowledge_from_records(overlay, context);
            channels::due::note_from_records(overlay, context);
            return skipped;
        }
        if let Some(facts) = &work.facts {
            beacon_facts::import(overlay, context, facts);
            channels::acknowledge(overlay, context, facts);
            channels::due::note(overlay, context, facts);
        }
        Vec::new()
    }

    fn hooks(&mut self, machine: &mut Machine) {
        let space = &mut self.space;
        self.outbox.store(&mut space.overlay, space.context.height);
        for module in space.modules {
            if let Err(alarm) = machine.hook(space, *module) {
                space.alarms.push(alarm);
            }
        }
        if space.context.chain.is_beacon() {
            epochs::end_of_block(&mut space.overlay, space.context, &mut space.alarms);
        }
    }

    fn finish<P: Platform>(
        self,
        executor: &Executor<'_>,
        skipped: Vec<CrossLinkSkip>,
    ) -> Result<Outcome, Contradiction> {
        let Workspace {
            context,
            overlay,
            ledger,
            alarms,
            ..
        } = self.space;
        let after = overlay.as_state();
        let channels = views::channel_summaries(&after, &context.network, context.chain);
        let facts = context
            .chain
            .is_beacon()
            .then(|| views::beacon_facts(&after, &context.network));
        let following = context.height.saturating_add(1);
        let parameters = &context.network.parameters;
        let base_fee = views::base_fee(&after, parameters, context.chain, following);
        let layers = overlay.into_layers();
        let changes = parallel::changes::<P>(executor.mode, &layers)?;
        drop(layers);
        executor.watch.ended(0, Stage::Merge);
        let hashes = parallel::hashes::<P>(executor.mode, &self.receipts);
        Ok(Outcome {
            changes,
            outgoing: self.outbox.into_batches(),
            channels_root: channels_root(&channels),
            channels,
            facts,
            receipts_root: list_root(&hashes),
            receipts: self.receipts,
            gas: ledger.gas(),
            burnt: ledger.burnt_sker(),
            base_fee,
            skipped,
            alarms,
        })
    }
}
