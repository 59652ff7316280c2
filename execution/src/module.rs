//! What a module is: a kind of calls with the records that they keep.
//!
//! A module is a folder under [`crate::modules`] and one line in its table. Everything around it,
//! the gRPC API, the command line and the wallet included, handles its calls as bytes or JSON.

use crate::block::BlockContext;
use crate::error::CallError;
use crate::network::NetworkInfo;
use crate::plan::{Access, Plan, PlanContext};
use crate::sheet::Sheet;
use crate::view::StateView;
use skerry_types::amount::{Amount, Asset};
use skerry_types::block::BlockRef;
use skerry_types::genesis::Genesis;
use skerry_types::ids::{Address, ChainRef, Denom, Digest, Gas, Height, ModuleId, TimeMs};
use skerry_types::merkle::OwnerEntry;
use skerry_types::message::{MessageId, Payload};
use skerry_types::receipt::{Attribute, AttributeValue, Event};
use skerry_types::state::{StateKey, Write};
use skerry_types::transaction::Nonce;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// A kind of calls with the records that they keep.
pub trait Module: Sync {
    /// Its permanent number.
    fn id(&self) -> ModuleId;

    /// Its permanent name, as the command line and JSON use it.
    fn name(&self) -> &'static str;

    /// Where its calls run.
    fn place(&self) -> Place {
        Place::Shards
    }

    /// Reads a call.
    ///
    /// # Errors
    /// When the bytes are no call of the module or break a rule of form. Such a transaction has no
    /// gas and makes a block invalid.
    fn decode(&self, call: &[u8]) -> Result<Box<dyn Call>, CallError>;

    /// The canonical bytes of a call given as JSON: `{"send": {"to": "sk1…", "asset": …}}`.
    ///
    /// # Errors
    /// When the JSON is no call of the module.
    fn call_from_json(&self, call: &serde_json::Value) -> Result<Vec<u8>, CallError>;

    /// Takes an inbound transfer; the plan allows adding to the recipient.
    ///
    /// # Errors
    /// When the module takes none, or a broken invariant shows.
    fn receive(
        &self,
        incoming: &Incoming<'_>,
        environment: &mut Environment<'_, '_>,
    ) -> Result<Received, CallError> {
        let _ = (incoming, environment);
        Err(CallError::Refused {
            code: "NOT_A_RECIPIENT",
            detail: format!("{} takes no messages", self.name()),
        })
    }

    /// The objects that [`Self::end_of_block`] touches; none means that there is nothing to do.
    fn end_of_block_plan(&self, chain: ChainRef) -> Plan {
        let _ = chain;
        Plan::nothing()
    }

    /// Runs after all transactions.
    ///
    /// # Errors
    /// When a broken invariant shows; the hook's changes are dropped and an alarm is raised.
    fn end_of_block(
        &self,
        totals: &BlockTotals,
        context: &BlockContext,
        view: &mut StateView<'_, '_>,
    ) -> Result<(), CallError> {
        let _ = (totals, context, view);
        Ok(())
    }

    /// Writes the records that a chain begins with.
    fn genesis(&self, genesis: &Genesis, chain: ChainRef, writes: &mut Vec<Write>) {
        let _ = (genesis, chain, writes);
    }

    /// The records of an owner as JSON, `null` when there are none of this module.
    fn query(&self, owner: &Address, records: &[OwnerEntry]) -> serde_json::Value;

    /// The value that a record holds and no balance shows, such as the reserves of a pool. It is part
    /// of the supply.
    fn held(&self, key: &StateKey, value: &[u8]) -> Vec<Asset> {
        let _ = (key, value);
        Vec::new()
    }

    /// Checks a record by itself.
    ///
    /// # Errors
    /// Says which invariant is broken.
    fn check_invariants(&self, key: &StateKey, value: &[u8]) -> Result<(), String>;
}

/// On which chains the calls of a module run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// On the shards, for who lives there.
    Shards,
    /// On the beacon, by request from any shard.
    Beacon,
}

impl Place {
    /// Whether calls run on `chain`.
    pub const fn is_on(self, chain: ChainRef) -> bool {
        match self {
            Self::Shards => !chain.is_beacon(),
            Self::Beacon => chain.is_beacon(),
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Shards => "shards",
            Self::Beacon => "the beacon",
        })
    }
}

/// A decoded call.
pub trait Call: Send + Sync {
    /// What it costs, from the call alone.
    fn gas(&self) -> Gas;

    /// What it touches, from the call alone.
    fn plan(&self, context: &PlanContext<'_>) -> Plan;

    /// Keys that it will ask for, as far as they are known, so that they are read early and together:
    /// then the waits for memory overlap. Those of owners that the
    /// plan does not name are passed over; naming too few or too many changes no outcome.
    fn hint(&self, context: &PlanContext<'_>, read: &mut dyn FnMut(StateKey)) {
        let _ = (context, read);
    }

    /// Whether it acts for its sender: on its account, or by its authority. Such a call has no place in an
    /// onward leg, which has no sender. Only what needs nothing but the sheet says no.
    fn needs_sender(&self) -> bool {
        true
    }

    /// Does it.
    ///
    /// # Errors
    /// When it cannot be done; the whole bundle is undone then.
    fn execute(&self, environment: &mut Environment<'_, '_>) -> Result<(), CallError>;

    /// The call as JSON, the form that [`Module::call_from_json`] takes.
    fn to_json(&self) -> serde_json::Value;
}

/// Who acts, where and when.
#[derive(Clone, Copy, Debug)]
pub struct Scene<'a> {
    /// The network.
    pub network: &'a NetworkInfo,
    /// The executing chain.
    pub chain: ChainRef,
    /// Height of the block.
    pub height: Height,
    /// Time of the block.
    pub time: TimeMs,
    /// Beacon reference of the block.
    pub beacon: BlockRef,
    /// Who acts.
    pub sender: Address,
    /// The transaction that causes it.
    pub origin: Digest,
    /// Nonce of the transaction; zero for messages.
    pub nonce: Nonce,
    /// Position of the operation in its bundle.
    pub operation: u16,
}

impl<'a> Scene<'a> {
    /// The part of it that a plan may depend on.
    pub const fn plan_context(&self) -> PlanContext<'a> {
        PlanContext {
            network: self.network,
            chain: self.chain,
            sender: self.sender,
            nonce: self.nonce,
            operation: self.operation,
        }
    }
}

/// An inbound transfer.
#[derive(Clone, Copy, Debug)]
pub struct Incoming<'m> {
    /// The message.
    pub id: MessageId,
    /// Whose account was debited.
    pub sender: Address,
    /// Whose account is credited.
    pub recipient: Address,
    /// What.
    pub assets: &'m [Asset],
}

/// How an inbound transfer went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    /// All of it was credited.
    Credited,
    /// Something waits as a claim.
    Claimed(CallError),
}

/// What transactions and messages of a block left for the hooks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlockTotals {
    /// Gas of the transactions.
    pub gas: Gas,
    /// Wire bytes of the transactions.
    pub bytes: u64,
    /// Gas of messages of other chains.
    pub inbound_gas: Gas,
    /// Tips, for the fee account.
    pub tips: Amount,
    /// What was destroyed: base fees, and what was dropped.
    pub burnt: BTreeMap<Denom, Amount>,
}

/// What a call does beside writing records; forgotten when the bundle fails.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    pub(crate) credits: Vec<(Address, Asset)>,
    pub(crate) sent: Vec<(ChainRef, Payload)>,
    pub(crate) events: Vec<Event>,
}

impl Effects {
    pub(crate) fn clear(&mut self) {
        self.credits.clear();
        self.sent.clear();
        self.events.clear();
    }
}

/// What a call works with.
pub struct Environment<'v, 'a> {
    /// Who acts, where and when.
    pub scene: Scene<'v>,
    /// The trapped state.
    pub view: StateView<'v, 'a>,
    /// What flows between the operations of the bundle.
    pub sheet: &'v mut Sheet,
    pub(crate) effects: &'v mut Effects,
}

impl Environment<'_, '_> {
    /// Credits an account of this chain when the bundle ends.
    ///
    /// # Errors
    /// When the plan does not declare the account.
    pub fn credit(&mut self, owner: Address, asset: Asset) -> Result<(), CallError> {
        self.view.require(&owner, Access::AddOnly)?;
        self.effects.credits.push((owner, asset));
        Ok(())
    }

    /// Sends a message when the bundle succeeds.
    pub fn send(&mut self, destination: ChainRef, payload: Payload) {
        self.effects.sent.push((destination, payload));
    }

    /// Tells the world. The list of attributes is all that this allocates.
    pub fn event<const N: usize>(
        &mut self,
        owner: Address,
        name: &'static str,
        attributes: [(&'static str, AttributeValue); N],
    ) {
        let attribute = |(name, value)| Attribute {
            name: Cow::Borrowed(name),
            value,
        };
        let events = &mut self.effects.events;
        if events.is_empty() {
            // Nearly always the only one; a list that grows begins with room for four.
            events.reserve_exact(1);
        }
        events.push(Event {
            module: self.view.module,
            owner,
            name: Cow::Borrowed(name),
            attributes: attributes.into_iter().map(attribute).collect(),
        });
    }
}
