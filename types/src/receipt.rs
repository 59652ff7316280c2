//! What happened to a transaction or a message when its block was executed.

use crate::amount::Amount;
use crate::codec::Version;
use crate::crypto::hash::{Purpose, hash_of};
use crate::ids::{Address, Denom, Digest, Gas, ModuleId};
use crate::message::MessageId;
use borsh::{BorshDeserialize, BorshSerialize};
use std::borrow::Cow;
use std::fmt;

/// What a receipt is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize)]
pub enum Subject {
    /// A transaction, by its id.
    Transaction(Digest),
    /// An executed message, with the transaction that caused it.
    Message {
        /// The message.
        id: MessageId,
        /// The transaction.
        origin: Digest,
    },
}

/// How it went.
#[derive(Clone, Debug, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize)]
pub enum Status {
    /// All of it happened.
    Succeeded,
    /// None of it happened; the fee was charged.
    Failed(Failure),
    /// Nothing happened and nothing was charged: the nonce was wrong or the fee could not be paid.
    Void(Failure),
    /// Value could not be credited and waits as a claim of the recipient.
    Claimed(Failure),
    /// The message was accepted and dropped.
    Dropped(Failure),
}

/// Why something did not happen.
#[derive(Clone, Debug, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize)]
pub struct Failure {
    /// The module that refused; 0 is the executor itself.
    pub module: ModuleId,
    /// Stable name, such as `INSUFFICIENT_BALANCE`.
    pub code: String,
    /// For a person: what was expected and what was found.
    pub detail: String,
}

/// Something a module tells the world.
#[derive(Clone, Debug, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize)]
pub struct Event {
    /// Who tells it.
    pub module: ModuleId,
    /// Whom it is about.
    pub owner: Address,
    /// Name, such as `transfer`. Borrowed where it is told, owned where it is decoded.
    pub name: Cow<'static, str>,
    /// Attributes in order.
    pub attributes: Vec<Attribute>,
}

/// One thing that an event says.
#[derive(Clone, Debug, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize)]
pub struct Attribute {
    /// Name, such as `amount`. Borrowed where it is told, owned where it is decoded.
    pub name: Cow<'static, str>,
    /// What is said.
    pub value: AttributeValue,
}

/// What an attribute says, as it is. Text is made of it where somebody reads it: rendering an address
/// would cost more than all else of a transfer. The order of the variants is part of the encoding.
#[derive(Clone, Debug, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize)]
pub enum AttributeValue {
    /// An account or an object.
    Address(Address),
    /// A token.
    Denom(Denom),
    /// Base units of a denom that another attribute or the event's name gives.
    Amount(Amount),
    /// A count, or the number of something, such as a validator.
    Number(u64),
    /// Anything else.
    Text(Cow<'static, str>),
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize)]
pub struct Receipt {
    /// Version byte.
    pub version: Version,
    /// About what.
    pub subject: Subject,
    /// How it went.
    pub status: Status,
    /// Gas charged.
    pub gas: Gas,
    /// Base units of `sker` charged, burnt part included.
    pub fee: Amount,
    /// Messages sent.
    pub messages: Vec<MessageId>,
    /// Events, in order.
    pub events: Vec<Event>,
}

impl Receipt {
    /// The receipt's hash, a leaf of the receipts root.
    pub fn hash(&self) -> Digest {
        hash_of(Purpose::RECEIPT, self)
    }
}

impl Event {
    /// What the attribute `name` says, if there is one.
    pub fn attribute(&self, name: &str) -> Option<&AttributeValue> {
        let found = self.attributes.iter().find(|it| it.name == name);
        found.map(|attribute| &attribute.value)
    }
}

impl fmt::Display for AttributeValue {
    /// The text that users read: that of the type it holds.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(formatter),
            Self::Denom(denom) => denom.fmt(formatter),
            Self::Amount(amount) => amount.fmt(formatter),
            Self::Number(number) => number.fmt(formatter),
            Self::Text(text) => text.fmt(formatter),
        }
    }
}

impl From<Address> for AttributeValue {
    fn from(address: Address) -> Self {
        Self::Address(address)
    }
}

impl From<Denom> for AttributeValue {
    fn from(denom: Denom) -> Self {
        Self::Denom(denom)
    }
}

impl From<Amount> for AttributeValue {
    fn from(amount: Amount) -> Self {
        Self::Amount(amount)
    }
}

impl From<u32> for AttributeValue {
    fn from(number: u32) -> Self {
        Self::Number(number.into())
    }
}

impl From<&'static str> for AttributeValue {
    fn from(text: &'static str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl From<String> for AttributeValue {
    fn from(text: String) -> Self {
        Self::Text(Cow::Owned(text))
    }
}
