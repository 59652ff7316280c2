//! Frames: what travels on the direct substreams, and the table of kinds.
//!
//! A frame is a header of sixteen bytes, `chain (3) ‖ epoch (8, little-endian) ‖ kind (1) ‖ length
//! (4, little-endian)`, and a payload. The kind alone decides the class, hence the substream and
//! the queue, and the largest payload. A reader checks the header before it reads or allocates
//! anything of the payload.
//!
//! There are five classes. Votes and blocks are both consensus, but a proposal may have 8 MiB, so
//! it has a substream of its own: a vote never waits behind one.

use bytes::Bytes;
use skerry_types::ids::ChainRef;
use std::collections::BTreeSet;

const KIB: u32 = 1024;
const MIB: u32 = 1024 * KIB;

/// The kinds of frames.
pub mod kind {
    /// A vote.
    pub const VOTE: u8 = 0x01;
    /// A certificate.
    pub const CERTIFICATE: u8 = 0x02;
    /// A proposal with its body.
    pub const PROPOSAL: u8 = 0x03;
    /// Asks for a block or certificate.
    pub const FETCH_REQUEST: u8 = 0x04;
    /// Answers a fetch request.
    pub const FETCH_REPLY: u8 = 0x05;
    /// Pushes a batch of cross-shard messages.
    pub const BATCH_PUSH: u8 = 0x10;
    /// Asks for a batch.
    pub const BATCH_REQUEST: u8 = 0x11;
    /// Says which batches a member holds.
    pub const BATCHES_HELD: u8 = 0x12;
    /// Proven evidence, for beacon proposers.
    pub const EVIDENCE: u8 = 0x15;
    /// Forwards transactions.
    pub const TRANSACTIONS: u8 = 0x20;
    /// Asks for finalized blocks.
    pub const RANGE_REQUEST: u8 = 0x30;
    /// Answers a block range request.
    pub const RANGE_REPLY: u8 = 0x31;
    /// Tells the newest final height.
    pub const STATUS: u8 = 0x32;
    /// Asks for a part of a snapshot.
    pub const SNAPSHOT_REQUEST: u8 = 0x35;
    /// Answers it.
    pub const SNAPSHOT_REPLY: u8 = 0x36;
}

/// The class and the largest payload of a kind; `None` for a kind that does not exist.
pub const fn class_of(kind: u8) -> Option<(Class, u32)> {
    Some(match kind {
        kind::VOTE => (Class::Votes, 4 * KIB),
        kind::CERTIFICATE => (Class::Votes, 16 * KIB),
        kind::FETCH_REQUEST => (Class::Votes, 4 * KIB),
        kind::PROPOSAL => (Class::Blocks, 8 * MIB),
        kind::FETCH_REPLY => (Class::Blocks, 8 * MIB),
        kind::BATCH_PUSH => (Class::Relay, 2 * MIB),
        kind::BATCH_REQUEST => (Class::Relay, 16 * KIB),
        kind::BATCHES_HELD => (Class::Relay, 16 * KIB),
        kind::EVIDENCE => (Class::Relay, 32 * KIB),
        kind::TRANSACTIONS => (Class::Transactions, 2 * MIB),
        kind::RANGE_REQUEST => (Class::Sync, 4 * KIB),
        kind::RANGE_REPLY => (Class::Sync, 16 * MIB),
        kind::STATUS => (Class::Sync, 4 * KIB),
        kind::SNAPSHOT_REQUEST => (Class::Sync, KIB),
        kind::SNAPSHOT_REPLY => (Class::Sync, 2 * MIB),
        _ => return None,
    })
}

/// What shares a substream and a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Class {
    /// Consensus, small: votes, certificates, fetch requests. The oldest frame gives way.
    Votes = 0,
    /// Consensus, large: proposals and fetch replies. The oldest frame gives way.
    Blocks = 1,
    /// Cross-shard batches and evidence.
    Relay = 2,
    /// Forwarded transactions.
    Transactions = 3,
    /// Block ranges, status and snapshots.
    Sync = 4,
}

impl Class {
    /// How many there are.
    pub const COUNT: usize = 5;
    /// All of them.
    pub const ALL: [Self; Self::COUNT] = [
        Self::Votes,
        Self::Blocks,
        Self::Relay,
        Self::Transactions,
        Self::Sync,
    ];

    /// Whether its frames arrive on the consensus receiver, and a full queue drops the oldest.
    pub const fn is_consensus(self) -> bool {
        matches!(self, Self::Votes | Self::Blocks)
    }

    /// A word for metrics and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Votes => "votes",
            Self::Blocks => "blocks",
            Self::Relay => "relay",
            Self::Transactions => "transactions",
            Self::Sync => "sync",
        }
    }
}

/// One value per class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ByClass<T> {
    /// Of [`Class::Votes`].
    pub votes: T,
    /// Of [`Class::Blocks`].
    pub blocks: T,
    /// Of [`Class::Relay`].
    pub relay: T,
    /// Of [`Class::Transactions`].
    pub transactions: T,
    /// Of [`Class::Sync`].
    pub sync: T,
}

impl<T> ByClass<T> {
    /// Builds each class's value.
    pub fn from_fn(mut make: impl FnMut(Class) -> T) -> Self {
        Self {
            votes: make(Class::Votes),
            blocks: make(Class::Blocks),
            relay: make(Class::Relay),
            transactions: make(Class::Transactions),
            sync: make(Class::Sync),
        }
    }

    /// The value of `class`.
    pub const fn get(&self, class: Class) -> &T {
        match class {
            Class::Votes => &self.votes,
            Class::Blocks => &self.blocks,
            Class::Relay => &self.relay,
            Class::Transactions => &self.transactions,
            Class::Sync => &self.sync,
        }
    }

    /// The value of `class`, to change.
    pub const fn get_mut(&mut self, class: Class) -> &mut T {
        match class {
            Class::Votes => &mut self.votes,
            Class::Blocks => &mut self.blocks,
            Class::Relay => &mut self.relay,
            Class::Transactions => &mut self.transactions,
            Class::Sync => &mut self.sync,
        }
    }
}

/// One message between two nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The chain that it concerns; both ends follow it.
    pub chain: ChainRef,
    /// The epoch that it concerns; the network carries it and never reads it.
    pub epoch: u64,
    /// One of [`kind`].
    pub kind: u8,
    /// The content. Cloning is cheap, so one payload serves any number of peers.
    pub payload: Bytes,
}

impl Frame {
    /// The class and the payload's length on the wire.
    ///
    /// # Errors
    /// When the kind does not exist or the payload exceeds the limit of its kind.
    pub(crate) fn check(&self) -> Result<(Class, u32), FrameError> {
        let (class, maximum) =
            class_of(self.kind).ok_or(FrameError::UnknownKind { kind: self.kind })?;
        match u32::try_from(self.payload.len()) {
            Ok(length) if length <= maximum => Ok((class, length)),
            other => Err(FrameError::TooLarge {
                kind: self.kind,
                maximum,
                actual: other.unwrap_or(u32::MAX),
            }),
        }
    }
}

/// A header that fails a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The three bytes name no chain.
    #[error("{bytes:?} names no chain")]
    UnknownChain {
        /// The bytes.
        bytes: [u8; 3],
    },
    /// This node told in its hello that it does not follow the chain.
    #[error("chain {chain} is not followed here")]
    UnfollowedChain {
        /// The chain.
        chain: ChainRef,
    },
    /// The kind does not exist.
    #[error("kind {kind:#04x} does not exist")]
    UnknownKind {
        /// The kind.
        kind: u8,
    },
    /// The kind belongs on another substream.
    #[error("kind {kind:#04x} is of class {expected:?} and came as {actual:?}")]
    WrongClass {
        /// The kind.
        kind: u8,
        /// The class of the kind.
        expected: Class,
        /// The class of the substream.
        actual: Class,
    },
    /// The payload exceeds the limit of its kind.
    #[error("{actual} bytes exceed the limit of {maximum} of kind {kind:#04x}")]
    TooLarge {
        /// The kind.
        kind: u8,
        /// Its limit.
        maximum: u32,
        /// The length given.
        actual: u32,
    },
}

/// Bytes of a frame's header.
pub(crate) const HEADER_BYTES: usize = 16;

/// A header that passed all checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CheckedHeader {
    pub(crate) chain: ChainRef,
    pub(crate) epoch: u64,
    pub(crate) kind: u8,
    pub(crate) length: u32,
}

pub(crate) fn encode_header(frame: &Frame, length: u32) -> [u8; HEADER_BYTES] {
    let [c0, c1, c2] = frame.chain.to_bytes();
    let [e0, e1, e2, e3, e4, e5, e6, e7] = frame.epoch.to_le_bytes();
    let [l0, l1, l2, l3] = length.to_le_bytes();
    [
        c0, c1, c2, e0, e1, e2, e3, e4, e5, e6, e7, frame.kind, l0, l1, l2, l3,
    ]
}

/// Checks a header that came on the substream of `class`.
///
/// # Errors
/// For whatever check fails first: chain, kind, class, length.
pub(crate) fn decode_header(
    bytes: [u8; HEADER_BYTES],
    class: Class,
    followed: &BTreeSet<ChainRef>,
) -> Result<CheckedHeader, FrameError> {
    let [
        c0,
        c1,
        c2,
        e0,
        e1,
        e2,
        e3,
        e4,
        e5,
        e6,
        e7,
        kind,
        l0,
        l1,
        l2,
        l3,
    ] = bytes;
    let bytes = [c0, c1, c2];
    let chain = ChainRef::from_bytes(bytes).ok_or(FrameError::UnknownChain { bytes })?;
    if !followed.contains(&chain) {
        return Err(FrameError::UnfollowedChain { chain });
    }
    let (expected, maximum) = class_of(kind).ok_or(FrameError::UnknownKind { kind })?;
    if expected != class {
        return Err(FrameError::WrongClass {
            kind,
            expected,
            actual: class,
        });
    }
    let length = u32::from_le_bytes([l0, l1, l2, l3]);
    if length > maximum {
        return Err(FrameError::TooLarge {
            kind,
            maximum,
            actual: length,
        });
    }
    let epoch = u64::from_le_bytes([e0, e1, e2, e3, e4, e5, e6, e7]);
    Ok(CheckedHeader {
        chain,
        epoch,
        kind,
        length,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8) -> Frame {
        Frame {
            chain: ChainRef::Beacon,
            epoch: 0x0102,
            kind,
            payload: Bytes::from_static(b"abc"),
        }
    }

    #[test]
    fn header_bytes_are_fixed() {
        let bytes = encode_header(&frame(kind::VOTE), 3);
        assert_eq!(bytes, [255, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0, 1, 3, 0, 0, 0]);
    }

    #[test]
    fn every_failed_check_has_its_own_error() {
        let beacon = BTreeSet::from([ChainRef::Beacon]);
        let check = |change: fn(&mut [u8; HEADER_BYTES]), class, followed: &BTreeSet<_>| {
            let mut bytes = encode_header(&frame(kind::VOTE), 3);
            change(&mut bytes);
            decode_header(bytes, class, followed)
        };
        let good = check(|_| (), Class::Votes, &beacon).expect("good");
        assert_eq!(
            (good.epoch, good.kind, good.length),
            (0x0102, kind::VOTE, 3)
        );
        assert!(matches!(
            check(|bytes| bytes[1] = 1, Class::Votes, &beacon),
            Err(FrameError::UnknownChain { .. })
        ));
        assert!(matches!(
            check(|_| (), Class::Votes, &BTreeSet::new()),
            Err(FrameError::UnfollowedChain { .. })
        ));
        assert!(matches!(
            check(|bytes| bytes[11] = 0xee, Class::Votes, &beacon),
            Err(FrameError::UnknownKind { kind: 0xee })
        ));
        assert!(matches!(
            check(|_| (), Class::Sync, &beacon),
            Err(FrameError::WrongClass { .. })
        ));
        assert!(matches!(
            check(|bytes| bytes[14] = 1, Class::Votes, &beacon),
            Err(FrameError::TooLarge { .. })
        ));
    }

    #[test]
    fn every_kind_has_a_class_and_all_others_have_none() {
        let known = (0..=u8::MAX)
            .filter(|kind| class_of(*kind).is_some())
            .count();
        assert_eq!(known, 15);
    }
}
