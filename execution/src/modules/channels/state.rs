//! Records of the channels: cursors and counters per peer, batch records, waiting bodies.
//!
//! Cursors, turns and marks of what is due lie under the object `channels`, batch records under `outbox`, the bodies of messages
//! that are accepted but not executed under `inbox`, requests that wait for their reply under
//! `requests`; all four belong to the chain itself.

use crate::modules::CHANNELS;
use borsh::{BorshDeserialize, BorshSerialize};
use skerry_types::codec::Version;
use skerry_types::ids::{Address, ChainRef, Digest, Sequence};
use skerry_types::message::{Credit, Flow, MessageId};
use skerry_types::state::StateKey;

/// What a chain holds of the channel from one source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct InboundState {
    /// Version byte.
    pub version: Version,
    /// Accepted so far; its message count is the accepted cursor.
    pub accepted: Flow,
    /// Executed so far; its message count is the executed cursor. Values are not counted here.
    pub executed: Flow,
    /// Rolling root over all accepted batches.
    pub rolling: Digest,
    /// What the accepted requests and transfers take of the source's credit.
    pub charged: Credit,
    /// What the executed ones of them took.
    pub freed: Credit,
    /// What was granted to the source beyond its share, in all; see [`Self::granted`].
    pub granted: Credit,
    /// From how much charged on the source is given more: it has used half then of what it had.
    pub asks_at: Credit,
    /// What the source gave back, as far as this chain has learnt of it.
    pub returned: Credit,
    /// Accepted replies.
    pub replies: u64,
    /// Executed replies.
    pub answered: u64,
}

impl InboundState {
    /// Position of the next message to accept.
    pub const fn accepted_cursor(&self) -> Sequence {
        Sequence::new(self.accepted.messages)
    }

    /// Position of the next message to execute.
    pub const fn executed_cursor(&self) -> Sequence {
        Sequence::new(self.executed.messages)
    }

    /// What requests and transfers of the source may take in all, where each source has `share` at
    /// least. It never falls.
    pub fn granted(&self, share: Credit) -> Credit {
        let least = self.freed.plus(self.returned).plus(share);
        self.granted.most(least)
    }

    /// What is granted and neither executed nor given back: part of the window.
    pub fn outstanding(&self, share: Credit) -> Credit {
        self.granted(share).less(self.freed).less(self.returned)
    }

    /// What is granted and not used, as far as this chain knows.
    pub fn available(&self, share: Credit) -> Credit {
        self.granted(share).less(self.returned).less(self.charged)
    }

    /// Whether the source has used so much that it is given more.
    pub(crate) fn is_asking(&self, share: Credit) -> bool {
        let asks_at = self.asks_at.most(share.over(2));
        self.charged.bytes >= asks_at.bytes || self.charged.gas >= asks_at.gas
    }

    /// It is given more again when half of what it has now is used.
    pub(crate) fn ask_after_half(&mut self, share: Credit) {
        self.asks_at = self.charged.plus(self.available(share).over(2));
    }

    /// Messages that wait in the inbox.
    pub const fn waiting(&self) -> u64 {
        self.accepted
            .messages
            .saturating_sub(self.executed.messages)
    }
}

/// What a chain holds of the channel to one destination.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct OutboundState {
    /// Version byte.
    pub version: Version,
    /// Sent so far; its message count is the next sequence.
    pub sent: Flow,
    /// First message of the oldest batch whose record is still held.
    pub acknowledged: Sequence,
    /// What requests and transfers took of the destination's credit, in all.
    pub used: Credit,
    /// What of it was given back instead of being used.
    pub returned: Credit,
    /// Bytes of [`Self::used`] when facts were imported last.
    pub noted: u64,
    /// How many imports of facts nothing was sent for, while there was more credit than the share.
    pub quiet: u8,
    /// Requests that were sent to this peer first and have no reply yet.
    pub awaiting: u64,
    /// How often this peer is on the routes of the requests that have no reply yet.
    pub passing: u64,
}

impl OutboundState {
    /// Position of the next message to send.
    pub const fn next(&self) -> Sequence {
        Sequence::new(self.sent.messages)
    }

    /// What is left of so much `granted`.
    #[must_use]
    pub const fn left(&self, granted: Credit) -> Credit {
        granted.less(self.used).less(self.returned)
    }
}

/// Which source comes first, so that none waits for ever where there is not room for all. Absent while
/// that is the first in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Turns {
    /// Version byte.
    pub version: Version,
    /// Whose batch the next block that accepts any begins with, where its proposer has one: the source
    /// after that of the last batch accepted.
    pub accept: ChainRef,
    /// Whose message is executed first in the next block: the first that did not fit the lane.
    pub execute: ChainRef,
}

fn channels_object(chain: ChainRef) -> Address {
    Address::of_system(CHANNELS.get(), chain, b"channels")
}

fn peer_key(chain: ChainRef, tag: u8, peer: ChainRef) -> StateKey {
    let [depth, low, high] = peer.to_bytes();
    StateKey::new(
        channels_object(chain),
        CHANNELS,
        vec![tag, depth, low, high],
    )
}

/// Key of [`Turns`] on `chain`.
pub fn turns_key(chain: ChainRef) -> StateKey {
    StateKey::new(channels_object(chain), CHANNELS, vec![b't'])
}

/// Key of the [`super::due::DueRecord`] on `chain` of what `source` has sent.
pub fn due_key(chain: ChainRef, source: ChainRef) -> StateKey {
    peer_key(chain, b'd', source)
}

fn position_key(object: Address, peer: ChainRef, position: Sequence) -> StateKey {
    let mut local = Vec::with_capacity(11);
    local.extend_from_slice(&peer.to_bytes());
    local.extend_from_slice(&position.get().to_be_bytes());
    StateKey::new(object, CHANNELS, local)
}

/// Key of [`InboundState`] on `chain`.
pub fn inbound_key(chain: ChainRef, source: ChainRef) -> StateKey {
    peer_key(chain, b'i', source)
}

/// Key of [`OutboundState`] on `chain`.
pub fn outbound_key(chain: ChainRef, destination: ChainRef) -> StateKey {
    peer_key(chain, b'o', destination)
}

/// The object under which `chain` keeps its batch records.
pub fn outbox_object(chain: ChainRef) -> Address {
    Address::of_system(CHANNELS.get(), chain, b"outbox")
}

/// The object under which `chain` keeps accepted messages that wait for gas.
pub fn inbox_object(chain: ChainRef) -> Address {
    Address::of_system(CHANNELS.get(), chain, b"inbox")
}

/// A request that was sent from here and has no reply yet.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct RequestRecord {
    /// Version byte.
    pub version: Version,
    /// Who asked, and gets what comes home.
    pub sender: Address,
    /// The chains that it runs on, in order: the reply is taken from these only.
    pub route: Vec<ChainRef>,
}

/// The object under which `chain` keeps its requests without reply.
pub fn requests_object(chain: ChainRef) -> Address {
    Address::of_system(CHANNELS.get(), chain, b"requests")
}

/// Key of a [`RequestRecord`]; the request names the chain that keeps it as source.
pub fn request_key(request: &MessageId) -> StateKey {
    let MessageId {
        source,
        destination,
        sequence,
    } = *request;
    position_key(requests_object(source), destination, sequence)
}

/// Key of the [`skerry_types::message::BatchRecord`] of the batch that begins at `first`, in the
/// source's state.
pub fn batch_record_key(source: ChainRef, destination: ChainRef, first: Sequence) -> StateKey {
    position_key(outbox_object(source), destination, first)
}

/// Key of the bytes of a message that waits in the inbox of `chain`.
pub fn inbox_body_key(chain: ChainRef, source: ChainRef, position: Sequence) -> StateKey {
    position_key(inbox_object(chain), source, position)
}
