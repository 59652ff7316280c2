//! What happened to a transaction or a message when its block was executed.

use crate::amount::Amount;
use crate::codec::Version;
use crate::crypto::hash::{Purpose, hash_of};
use crate::ids::{Address, Digest, Gas, ModuleId};
use crate::message::MessageId;
use borsh::{BorshDeserialize, BorshSerialize};

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
    /// Name, such as `transfer`.
    pub name: String,
    /// Attributes in order.
    pub attributes: Vec<(String, String)>,
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
