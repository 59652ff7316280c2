//! Why a call fails, a transaction is not admitted, a block is invalid, a proof proves nothing.
//!
//! A [`CallError`] becomes a [`Failure`] in a receipt; a [`Rejection`] becomes an error reason of
//! the API; a [`BlockError`] is a reason not to vote; a [`ProofFailure`] a reason to blame a peer.
//! Errors of other crates are quoted in the text, so none is also a `source`.

use crate::module::Place;
use skerry_types::amount::Amount;
use skerry_types::block::{BlockKind, NextCommittee};
use skerry_types::certificate::CertificateError;
use skerry_types::codec::CodecError;
use skerry_types::ids::{
    Address, ChainRef, Denom, Digest, Epoch, Gas, Height, MemberIndex, ModuleId, Sequence,
    ValidatorId,
};
use skerry_types::merkle::ProofError;
use skerry_types::message::{Credit, Flow};
use skerry_types::receipt::Failure;
use skerry_types::transaction::TransactionError;

/// Why a call does not happen. Its code is stable and part of receipts.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The owner holds too little.
    #[error("{owner} holds {actual} of {denom}, {expected} needed")]
    InsufficientBalance {
        /// Whose balance.
        owner: Address,
        /// Of which denom.
        denom: Denom,
        /// Needed.
        expected: Amount,
        /// Held.
        actual: Amount,
    },
    /// The sheet ends below zero.
    #[error("the bundle spends {missing} of {denom} more than it has")]
    SheetNegative {
        /// Of which denom.
        denom: Denom,
        /// How much is missing.
        missing: Amount,
    },
    /// Less is left than the sender demands.
    #[error("{actual} of {denom} is left, the bundle demands {expected}")]
    MinimumOutput {
        /// Of which denom.
        denom: Denom,
        /// Demanded.
        expected: Amount,
        /// Left.
        actual: Amount,
    },
    /// A sum exceeds 128 bits.
    #[error("{what} would exceed 2^128")]
    Overflow {
        /// Which sum.
        what: &'static str,
    },
    /// The bundle's deadline is over.
    #[error("the deadline was beacon height {deadline}, the reference is {actual}")]
    DeadlinePassed {
        /// Last height at which it may run.
        deadline: Height,
        /// Height of the block's beacon reference.
        actual: Height,
    },
    /// An object lives on another chain.
    #[error("{object} lives on {home}, this is {here}")]
    ElsewhereObject {
        /// The object.
        object: Address,
        /// Its home.
        home: ChainRef,
        /// The executing chain.
        here: ChainRef,
    },
    /// Nothing new is sent to a shard with two histories, or with none that the beacon hears of.
    #[error(
        "{shard} is fenced: it finalized two blocks at one height, or is overdue for too many epochs; \
         nothing is sent to it any more, and in this version no fence is lifted"
    )]
    ShardFenced {
        /// The shard.
        shard: ChainRef,
    },
    /// What a fenced shard would send could never arrive.
    #[error(
        "{shard}, where the sender lives, is fenced: it finalized two blocks at one height, or is \
         overdue for too many epochs; no other chain accepts what it sends any more, and in this \
         version no fence is lifted"
    )]
    HomeFenced {
        /// The shard.
        shard: ChainRef,
    },
    /// The destination has granted no room for what would be sent.
    #[error(
        "this takes {needed} of what {destination} grants, {left} are left in this block; nothing was \
         sent: try again when {destination} has run more (`skerry query channels` shows its windows)"
    )]
    Congested {
        /// Where the messages would go.
        destination: ChainRef,
        /// What they take.
        needed: Credit,
        /// What is left.
        left: Credit,
    },
    /// There is no room at home for the reply.
    #[error(
        "{open} requests of this shard wait for replies from {destination}, and of the {limit} replies \
         that it sets room aside for none is left for one more; nothing was sent: try again when some \
         have come home"
    )]
    RepliesFull {
        /// Where the request would go.
        destination: ChainRef,
        /// Requests that wait there.
        open: u64,
        /// Replies that there is room for, from all destinations together.
        limit: u64,
    },
    /// The call sends what its plan does not declare. A bug of the module, never of the user.
    #[error("module {module:?} sends {sent} to {destination}, its plan declares {declared}")]
    UndeclaredSend {
        /// The module.
        module: ModuleId,
        /// Where to.
        destination: ChainRef,
        /// What the plan declares of it.
        declared: Credit,
        /// What is sent.
        sent: Credit,
    },
    /// Gas of another chain costs more than the sender pays for any.
    #[error(
        "gas of {destination} costs {expected} nsker a unit now, the transaction pays at most {actual}; \
         send it again with a gas price of at least {expected}"
    )]
    PriceTooLowThere {
        /// Whose gas.
        destination: ChainRef,
        /// Its published base fee and a quarter more.
        expected: Amount,
        /// The transaction's gas price.
        actual: Amount,
    },
    /// A call acts for its sender, and an onward leg has none.
    #[error(
        "an onward leg has no sender, it uses only what travels with it; make this call in the first \
         leg, or in a bundle of its own"
    )]
    NeedsSender,
    /// The module touched what its plan does not declare. A bug of the module, never of the user.
    #[error("module {module:?} touched {object}, which its plan does not declare for {access}")]
    Undeclared {
        /// The module.
        module: ModuleId,
        /// What it touched.
        object: Address,
        /// How.
        access: &'static str,
    },
    /// A stored record cannot be read or a rule of the module is broken. A bug, never the user's.
    #[error("broken invariant: {what}")]
    Invariant {
        /// Which.
        what: String,
    },
    /// A key or value is larger than the state allows.
    #[error("a record of {actual} bytes, at most {limit} allowed")]
    RecordTooLarge {
        /// Bytes.
        actual: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// A rule of the module.
    #[error("{detail}")]
    Refused {
        /// Stable name, such as `NOT_AUTHORITY`.
        code: &'static str,
        /// What was expected and what was found.
        detail: String,
    },
    /// Bytes that are no call of the module.
    #[error("not a call of {module}: {reason}")]
    Undecodable {
        /// Name of the module.
        module: &'static str,
        /// Why.
        reason: String,
    },
}

impl CallError {
    /// The stable name.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::InsufficientBalance { .. } => "INSUFFICIENT_BALANCE",
            Self::SheetNegative { .. } => "SHEET_NEGATIVE",
            Self::MinimumOutput { .. } => "MINIMUM_OUTPUT",
            Self::Overflow { .. } => "OVERFLOW",
            Self::DeadlinePassed { .. } => "DEADLINE_PASSED",
            Self::ElsewhereObject { .. } => "ELSEWHERE_OBJECT",
            Self::ShardFenced { .. } => "SHARD_FENCED",
            Self::HomeFenced { .. } => "HOME_FENCED",
            Self::Congested { .. } | Self::RepliesFull { .. } => "CONGESTED",
            Self::UndeclaredSend { .. } => "UNDECLARED_SEND",
            Self::PriceTooLowThere { .. } => "PRICE_TOO_LOW_THERE",
            Self::NeedsSender => "NEEDS_SENDER",
            Self::Undeclared { .. } => "UNDECLARED_ACCESS",
            Self::Invariant { .. } => "BROKEN_INVARIANT",
            Self::RecordTooLarge { .. } => "RECORD_TOO_LARGE",
            Self::Refused { code, .. } => code,
            Self::Undecodable { .. } => "UNDECODABLE_CALL",
        }
    }

    /// Whether this shows a bug of ours, of which operators are told.
    pub const fn is_alarm(&self) -> bool {
        matches!(
            self,
            Self::Undeclared { .. } | Self::UndeclaredSend { .. } | Self::Invariant { .. }
        )
    }

    /// The failure of a receipt.
    pub fn failure(&self, module: ModuleId) -> Failure {
        Failure {
            module,
            code: self.code().to_owned(),
            detail: self.to_string(),
        }
    }
}

/// Why a transaction is not admitted to a mempool or a proposal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// The sender lives on another shard.
    #[error("{sender} lives on {home}, this is {here}")]
    WrongShard {
        /// The sender.
        sender: Address,
        /// Its home.
        home: ChainRef,
        /// This chain.
        here: ChainRef,
    },
    /// The stated authenticator does not control the account.
    #[error("the stated keys do not control {sender}")]
    AuthenticatorMismatch {
        /// The sender.
        sender: Address,
    },
    /// The nonce was used.
    #[error("nonce {actual} of stream {stream} was used, the next is {expected}")]
    NonceUsed {
        /// The stream.
        stream: u16,
        /// The next number.
        expected: u64,
        /// The transaction's.
        actual: u64,
    },
    /// `valid_until` has passed.
    #[error("valid until beacon height {valid_until}, which is now {actual}")]
    Expired {
        /// The transaction's.
        valid_until: Height,
        /// The beacon reference.
        actual: Height,
    },
    /// `valid_until` lies too far ahead.
    #[error("valid until beacon height {valid_until}, at most {limit} is allowed now")]
    ExpiryTooFar {
        /// The transaction's.
        valid_until: Height,
        /// Largest allowed.
        limit: Height,
    },
    /// The gas limit is below the gas of the calls.
    #[error("gas limit {actual}, the transaction needs {expected}")]
    GasLimitTooLow {
        /// Gas of the transaction.
        expected: Gas,
        /// Its limit.
        actual: Gas,
    },
    /// The transaction is larger than what a block executes.
    #[error("the transaction needs {actual} gas, a block has {limit}")]
    GasAboveBlock {
        /// Gas for transactions in a block.
        limit: Gas,
        /// Gas of the transaction.
        actual: Gas,
    },
    /// The price is below the base fee.
    #[error("gas price {actual}, the base fee is {expected}")]
    PriceTooLow {
        /// The base fee.
        expected: Amount,
        /// The transaction's price.
        actual: Amount,
    },
    /// The fee cannot be paid.
    #[error("the fee is {expected} nsker, {sender} holds {actual}")]
    FeeUnpayable {
        /// Who pays.
        sender: Address,
        /// The fee.
        expected: Amount,
        /// The balance.
        actual: Amount,
    },
    /// The module does not exist.
    #[error("operation {operation} names {module:?}, which does not exist")]
    UnknownModule {
        /// Position of the operation.
        operation: usize,
        /// Its module.
        module: ModuleId,
    },
    /// A call is not one of its module.
    #[error("operation {operation}: {cause}")]
    Call {
        /// Position of the operation.
        operation: usize,
        /// Why.
        cause: Box<CallError>,
    },
    /// The bundle's route cannot be travelled.
    #[error("hop {hop} of the bundle: {what}")]
    Route {
        /// Which hop, from 1.
        hop: usize,
        /// What is wrong with it, and what to do.
        what: &'static str,
    },
    /// An onward leg of the bundle may not be sent.
    #[error("hop {hop} of the bundle: {cause}")]
    Onward {
        /// Which hop, from 1.
        hop: usize,
        /// Why.
        cause: Box<Rejection>,
    },
    /// The module's calls do not run at the bundle's target.
    #[error("operation {operation}: calls of {module} run on {place}; set the bundle's target so")]
    WrongPlace {
        /// Position of the operation.
        operation: usize,
        /// Name of the module.
        module: &'static str,
        /// Where its calls run.
        place: Place,
    },
    /// A bundle for another chain does not fit a message.
    #[error("the bundle makes a message of {actual} bytes, a message has at most {limit}")]
    RequestTooLarge {
        /// Allowed.
        limit: usize,
        /// Found.
        actual: usize,
    },
    /// A bundle for another chain needs more gas there than one message may.
    #[error("the bundle needs {actual} gas at its target, one message may have {limit}")]
    RequestGas {
        /// Allowed: a quarter of the inbound lane.
        limit: Gas,
        /// Needed.
        actual: Gas,
    },
    /// The beacon takes no transactions.
    #[error("the beacon executes no transactions; send to the sender's home shard")]
    BeaconTakesNone,
}

impl Rejection {
    /// The same of a hop of a bundle, from 1. Of the first one it is said as of a bundle without others.
    #[must_use]
    pub fn at_hop(self, hop: usize) -> Self {
        let cause = Box::new(self);
        if hop > 1 {
            Self::Onward { hop, cause }
        } else {
            *cause
        }
    }

    /// The stable name, which the API's error reasons use.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::WrongShard { .. } => "WRONG_SHARD",
            Self::AuthenticatorMismatch { .. } => "AUTHENTICATOR_MISMATCH",
            Self::NonceUsed { .. } => "NONCE_USED",
            Self::Expired { .. } => "EXPIRED",
            Self::ExpiryTooFar { .. } => "EXPIRY_TOO_FAR",
            Self::GasLimitTooLow { .. } => "GAS_LIMIT_TOO_LOW",
            Self::GasAboveBlock { .. } => "GAS_ABOVE_BLOCK",
            Self::PriceTooLow { .. } => "GAS_PRICE_TOO_LOW",
            Self::FeeUnpayable { .. } => "INSUFFICIENT_FEE_BALANCE",
            Self::UnknownModule { .. } => "UNKNOWN_MODULE",
            Self::Call { .. } => "UNDECODABLE_CALL",
            Self::Route { .. } => "BAD_ROUTE",
            Self::Onward { cause, .. } => cause.reason(),
            Self::WrongPlace { .. } => "WRONG_PLACE",
            Self::RequestTooLarge { .. } => "REQUEST_TOO_LARGE",
            Self::RequestGas { .. } => "REQUEST_GAS",
            Self::BeaconTakesNone => "BEACON_TAKES_NONE",
        }
    }
}

/// Why a block is invalid: nobody notarizes it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlockError {
    /// Another network.
    #[error("made for chain id {actual}, this is {expected}")]
    ChainId {
        /// This network.
        expected: Digest,
        /// The header's.
        actual: Digest,
    },
    /// Another chain.
    #[error("a block of {actual}, this is {expected}")]
    Chain {
        /// This chain.
        expected: ChainRef,
        /// The header's.
        actual: ChainRef,
    },
    /// The state before it is in an epoch that does not allow this kind of block: after the block
    /// that ends an epoch there are idle blocks and the seal only, and no seal before it.
    #[error("a {kind:?} block of epoch {epoch}, the state before it is in epoch {state}")]
    Epoch {
        /// The block's kind.
        kind: BlockKind,
        /// The header's.
        epoch: Epoch,
        /// The state's.
        state: Epoch,
    },
    /// A seal names another committee as next.
    #[error("the seal names {actual:?} as next, the state before it has {expected:?}")]
    Next {
        /// That of the state.
        expected: Option<NextCommittee>,
        /// The header's.
        actual: Option<NextCommittee>,
    },
    /// The beacon reference shows another epoch than its own: it lies between the end of an epoch
    /// and the seal.
    #[error("the beacon reference is of epoch {expected} and shows epoch {actual}")]
    ReferenceEpoch {
        /// The reference's own.
        expected: Epoch,
        /// The one that it shows.
        actual: Epoch,
    },
    /// The kind does not allow a body, or needs one.
    #[error("a {kind:?} block with {bytes} bytes of body")]
    BodyOfKind {
        /// The block's kind.
        kind: BlockKind,
        /// Bytes of body.
        bytes: usize,
    },
    /// The body's bytes are wrong.
    #[error("body: {0}")]
    Codec(CodecError),
    /// The header commits to another body.
    #[error("body root {actual}, the header commits to {expected}")]
    BodyRoot {
        /// The header's.
        expected: Digest,
        /// The body's.
        actual: Digest,
    },
    /// Too many of something.
    #[error("{actual} {what}, at most {limit} allowed")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// Allowed.
        limit: u64,
        /// Found.
        actual: u64,
    },
    /// The gas of the transactions exceeds the block's.
    #[error("the transactions need {actual} gas, {limit} is left for them")]
    Gas {
        /// Allowed.
        limit: Gas,
        /// Needed.
        actual: Gas,
    },
    /// A transaction's bytes are wrong.
    #[error("transaction {index}: {cause}")]
    Transaction {
        /// Position in the block.
        index: usize,
        /// Why.
        cause: TransactionError,
    },
    /// A transaction may not be in this block.
    #[error("transaction {index}: {cause}")]
    Admission {
        /// Position in the block.
        index: usize,
        /// Why.
        cause: Box<Rejection>,
    },
    /// The same transaction twice.
    #[error("transaction {index} repeats the bytes of an earlier one")]
    Duplicate {
        /// Position in the block.
        index: usize,
    },
    /// A beacon block with something that only shards have, or the other way round.
    #[error("{chain} blocks hold no {what}")]
    NotOnThisChain {
        /// The chain.
        chain: ChainRef,
        /// What was found.
        what: &'static str,
    },
    /// The facts do not follow the beacon reference.
    #[error("facts with root {actual:?}, the beacon reference demands {expected:?}")]
    Facts {
        /// Root that the body must carry; `None` when it must carry no facts.
        expected: Option<Digest>,
        /// Root that it carries.
        actual: Option<Digest>,
    },
    /// A batch that is not for this chain, or from no chain of the network.
    #[error("a batch from {batch_source} to {destination} in a block of {here}")]
    BatchChannel {
        /// The batch's source.
        batch_source: ChainRef,
        /// The batch's destination.
        destination: ChainRef,
        /// This chain.
        here: ChainRef,
    },
    /// A batch does not begin at the cursor: it would be a gap or a repetition.
    #[error("a batch from {batch_source} begins at {actual}, the cursor is {expected}")]
    Cursor {
        /// The batch's source.
        batch_source: ChainRef,
        /// The accepted cursor.
        expected: Sequence,
        /// The batch's first.
        actual: Sequence,
    },
    /// A batch of the wrong size, or with a message above the limit.
    #[error("a batch from {batch_source} with {messages} messages of {bytes} bytes")]
    BatchSize {
        /// The batch's source.
        batch_source: ChainRef,
        /// Messages in it.
        messages: usize,
        /// Their bytes.
        bytes: u64,
    },
    /// The beacon accepts only what the cross-links show as sent.
    #[error(
        "with a batch from {batch_source} {actual:?} is accepted, cross-linked as sent is {expected:?}"
    )]
    NotCrossLinked {
        /// The batch's source.
        batch_source: ChainRef,
        /// Cross-linked.
        expected: Box<Flow>,
        /// Accepted, with the batch.
        actual: Box<Flow>,
    },
    /// A batch takes more than its source was granted.
    #[error(
        "a batch from {batch_source} brings what it used to {used} in all, granted are {granted}"
    )]
    NoCredit {
        /// The batch's source.
        batch_source: ChainRef,
        /// Used in all, with the batch.
        used: Credit,
        /// Granted in all.
        granted: Credit,
    },
    /// A batch brings more value than may be accepted before the cross-link.
    #[error(
        "with a batch from {batch_source} come {actual} base units of {denom} in all, before its \
         cross-link shows them at most {limit} may"
    )]
    AboveAllowance {
        /// The batch's source.
        batch_source: ChainRef,
        /// Of which there is too much.
        denom: Denom,
        /// What is cross-linked and the allowance, ever.
        limit: Amount,
        /// Accepted from there with the batch, ever.
        actual: Amount,
    },
    /// A batch brings more replies than there is room for, so that not all were asked for.
    #[error(
        "with a batch from {batch_source} {actual} of its replies wait, there is room for {limit}"
    )]
    RepliesUnasked {
        /// The batch's source.
        batch_source: ChainRef,
        /// Replies that there is room for.
        limit: u64,
        /// Replies from there that wait, with the batch.
        actual: u64,
    },
}

/// Why a batch or a cross-link proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofFailure {
    /// The beacon keeps nothing to judge the evidence by.
    #[error("no committee of epoch {epoch} of {chain} is kept: it is too old, or has not begun")]
    NotAdmissible {
        /// The chain of the evidence.
        chain: ChainRef,
        /// Its epoch.
        epoch: Epoch,
    },
    /// The two sides of the evidence agree, or do not stand in their order.
    #[error("the two sides of the evidence do not contradict each other")]
    NoConflict,
    /// A vote of the evidence is not the signer's.
    #[error("a vote of the evidence is not signed by member {}", .0.get())]
    VoteSignature(MemberIndex),
    /// The source is fenced, and its cross-linked state does not stand for the batch.
    #[error("{0} is fenced, and its last cross-link does not prove the batch")]
    Fenced(ChainRef),
    /// No validator of the beacon's state.
    #[error("{0} is no validator")]
    Validator(ValidatorId),
    /// The statement is not signed by the validator's vote key.
    #[error("{0} did not sign that it is ready")]
    ReadySignature(ValidatorId),
    /// The header is of another chain or network than the committee.
    #[error("a header of {actual}, the committee is of {expected}")]
    Chain {
        /// The committee's chain.
        expected: ChainRef,
        /// The header's.
        actual: ChainRef,
    },
    /// The header is of another network.
    #[error("a header for chain id {actual}, this is {expected}")]
    ChainId {
        /// This network.
        expected: Digest,
        /// The header's.
        actual: Digest,
    },
    /// The header is of another epoch than the committee.
    #[error("a header of epoch {actual}, the committee is of {expected}")]
    Epoch {
        /// The committee's.
        expected: Epoch,
        /// The header's.
        actual: Epoch,
    },
    /// A header of the path does not follow the one before.
    #[error("header {position} of the path does not follow the one before")]
    PathBroken {
        /// Position in the path.
        position: usize,
    },
    /// The path is longer than allowed.
    #[error("a path of {actual} headers, at most {limit} allowed")]
    PathTooLong {
        /// Allowed.
        limit: usize,
        /// Found.
        actual: usize,
    },
    /// The certificate finalizes another block.
    #[error("the certificate does not finalize {expected}")]
    NotFinalized {
        /// What it should finalize.
        expected: Digest,
    },
    /// The certificate is wrong.
    #[error("certificate: {0}")]
    Certificate(CertificateError),
    /// The record's proof is wrong.
    #[error("batch record: {0}")]
    Merkle(ProofError),
    /// The source's state has no such batch.
    #[error("the source's state holds no record of this batch")]
    NoRecord,
    /// The record is of another batch.
    #[error("the batch has root {actual}, its record {expected}")]
    BatchMismatch {
        /// The record's root.
        expected: Digest,
        /// The batch's.
        actual: Digest,
    },
    /// The channel summaries are not those of the header.
    #[error("channel summaries with root {actual}, the header reports {expected}")]
    ChannelsRoot {
        /// Reported.
        expected: Digest,
        /// Of what was sent.
        actual: Digest,
    },
}

/// Why a cross-link changes nothing: it is skipped, in every node alike.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CrossLinkSkip {
    /// The shard has two histories; its last cross-link stands.
    #[error("{0} is fenced")]
    Fenced(ChainRef),
    /// Not a shard of this network.
    #[error("{0} is no shard of this network")]
    UnknownShard(ChainRef),
    /// The record is as new or newer.
    #[error("height {actual} of {shard} is not above the recorded {expected}")]
    NotNewer {
        /// The shard.
        shard: ChainRef,
        /// Recorded.
        expected: Height,
        /// The cross-link's.
        actual: Height,
    },
    /// The epoch is not open.
    #[error("epoch {0} is not open")]
    EpochNotOpen(Epoch),
    /// A seal names another committee than the beacon's, or of an epoch that is not settled.
    #[error("the seal's committee of epoch {0} is not the beacon's")]
    NextCommittee(Epoch),
    /// The channel summaries are not those of the header, or not of this network's chains.
    #[error("the channel summaries of {0} do not fit")]
    Channels(ChainRef),
    /// A cumulative counter falls.
    #[error("a counter of {0} falls")]
    CounterFalls(ChainRef),
    /// It shows more as accepted than the sender's record shows as sent.
    #[error("{shard} accepted from {peer} what is not cross-linked as sent")]
    NotClosed {
        /// The shard.
        shard: ChainRef,
        /// From whom.
        peer: ChainRef,
    },
    /// The shard exports or burns more than it holds.
    #[error("{0} sent or burnt more than it holds")]
    SupplyNegative(ChainRef),
}
