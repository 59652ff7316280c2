//! Names and counters: digests, chains, owners, denoms, validators, heights, views, epochs.
//!
//! Quantities are newtypes without `From<u64>` and without `Deref`, so that a height cannot be
//! passed for a view. Text forms: digests as `0x` hex, owners as bech32m `sk1…`, chains as
//! `beacon` or `shard-<bits>/<depth>`.

use crate::codec::invalid;
use crate::crypto::ed25519;
use crate::crypto::hash::{Purpose, hash_parts};
use borsh::{BorshDeserialize, BorshSerialize};
use std::fmt;
use std::str::FromStr;

/// A text that does not name what it should.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {expected}")]
pub struct ParseIdError {
    /// What was given.
    pub text: String,
    /// What was expected, with its form.
    pub expected: &'static str,
}

/// 32 bytes of hash.
#[derive(
    Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize,
)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The hash of nothing: empty trees and lists, absent roots.
    pub const ZERO: Self = Self([0; 32]);

    /// Wraps bytes.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The first eight bytes as a little-endian number, for choices by hash.
    pub fn low_u64(&self) -> u64 {
        let mut bytes = [0; 8];
        for (to, from) in bytes.iter_mut().zip(self.0) {
            *to = from;
        }
        u64::from_le_bytes(bytes)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "0x{}", hex::encode(self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{}…",
            hex::encode(self.0.get(..5).unwrap_or(&[]))
        )
    }
}

impl FromStr for Digest {
    type Err = ParseIdError;
    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        let error = || ParseIdError {
            text: text.to_owned(),
            expected: "a hash: 0x and 64 hexadecimal digits",
        };
        let bytes = hex::decode(text.strip_prefix("0x").unwrap_or(text)).map_err(|_| error())?;
        bytes.try_into().map(Self).map_err(|_| error())
    }
}

macro_rules! serde_as_text {
    ($type:ty) => {
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
                let text = <String as serde::Deserialize>::deserialize(input)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}
pub(crate) use serde_as_text;
serde_as_text!(Digest);

macro_rules! counter {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(
            Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize,
            BorshDeserialize, serde::Serialize, serde::Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(u64);

        impl $name {
            /// Zero.
            pub const ZERO: Self = Self(0);
            /// Wraps a number.
            pub const fn new(value: u64) -> Self { Self(value) }
            /// The number.
            pub const fn get(self) -> u64 { self.0 }
            /// The next one; stays at the largest number, which is out of reach in practice.
            #[must_use]
            pub const fn next(self) -> Self { Self(self.0.saturating_add(1)) }
            /// The one before, if any.
            pub const fn previous(self) -> Option<Self> {
                match self.0.checked_sub(1) { Some(value) => Some(Self(value)), None => None }
            }
            /// Adds, staying at the largest number.
            #[must_use]
            pub const fn saturating_add(self, more: u64) -> Self { Self(self.0.saturating_add(more)) }
            /// Subtracts, staying at zero.
            #[must_use]
            pub const fn saturating_sub(self, less: u64) -> Self { Self(self.0.saturating_sub(less)) }
            /// How far `self` lies above `other`; zero when it does not.
            pub const fn above(self, other: Self) -> u64 { self.0.saturating_sub(other.0) }
        }
        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result { self.0.fmt(formatter) }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(formatter, concat!(stringify!($name), "({})"), self.0)
            }
        }
    )*};
}

counter! {
    /// Position of a block in its chain; the first block has height 1.
    Height;
    /// Attempt of one consensus instance; the first view is 1.
    View;
    /// Epoch of the beacon; the first is 0.
    Epoch;
    /// Milliseconds since the Unix epoch in headers, or since the start in the simulator.
    TimeMs;
    /// Units of execution.
    Gas;
    /// Voting weight: whole `sker` of effective stake on the beacon, seats in a shard.
    Weight;
    /// Position of a message in its channel; the first is 0.
    Sequence;
    /// Position in the vote log.
    LogPosition;
}

/// A shard: the owners whose locality begins with `bits` in its first `depth` bits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId {
    depth: u8,
    bits: u16,
}

impl ShardId {
    /// Deepest prefix: the whole locality.
    pub const DEPTH_MAX: u8 = 16;

    /// The shard of a prefix; `None` when the depth is above 16 or `bits` does not fit in it.
    pub const fn new(depth: u8, bits: u16) -> Option<Self> {
        if depth > Self::DEPTH_MAX || (bits as u32) >= (1 << depth) {
            None
        } else {
            Some(Self { depth, bits })
        }
    }

    /// Length of the prefix in bits.
    pub const fn depth(self) -> u8 {
        self.depth
    }

    /// The prefix, right-aligned.
    pub const fn bits(self) -> u16 {
        self.bits
    }

    /// Whether owners of `locality` live here.
    pub const fn contains(self, locality: Locality) -> bool {
        (locality.0 as u32) >> (Self::DEPTH_MAX - self.depth) == self.bits as u32
    }

    /// All shards of one depth, in order.
    pub fn all(depth: u8) -> impl Iterator<Item = Self> {
        let count = 1_u32 << depth.min(Self::DEPTH_MAX);
        (0..count).filter_map(move |bits| Self::new(depth, u16::try_from(bits).ok()?))
    }
}

impl fmt::Debug for ShardId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "shard-{}/{}", self.bits, self.depth)
    }
}

/// A chain of the network: the beacon or a shard. Three bytes on the wire: depth and prefix bits
/// (little-endian), the beacon with depth 255.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChainRef {
    /// The beacon.
    Beacon,
    /// A shard.
    Shard(ShardId),
}

impl ChainRef {
    const BEACON_DEPTH: u8 = 255;

    /// The three bytes.
    pub const fn to_bytes(self) -> [u8; 3] {
        match self {
            Self::Beacon => [Self::BEACON_DEPTH, 0, 0],
            Self::Shard(shard) => {
                let [low, high] = shard.bits.to_le_bytes();
                [shard.depth, low, high]
            }
        }
    }

    /// Reads the three bytes; `None` when they name no chain.
    pub const fn from_bytes(bytes: [u8; 3]) -> Option<Self> {
        let [depth, low, high] = bytes;
        let bits = u16::from_le_bytes([low, high]);
        if depth == Self::BEACON_DEPTH {
            return if bits == 0 { Some(Self::Beacon) } else { None };
        }
        match ShardId::new(depth, bits) {
            Some(shard) => Some(Self::Shard(shard)),
            None => None,
        }
    }

    /// Whether this is the beacon.
    pub const fn is_beacon(self) -> bool {
        matches!(self, Self::Beacon)
    }

    /// The shard, unless this is the beacon.
    pub const fn shard(self) -> Option<ShardId> {
        match self {
            Self::Beacon => None,
            Self::Shard(shard) => Some(shard),
        }
    }

    /// A name for folders: `beacon`, `shard-1-0`.
    pub fn folder(self) -> String {
        match self {
            Self::Beacon => "beacon".to_owned(),
            Self::Shard(shard) => format!("shard-{}-{}", shard.depth, shard.bits),
        }
    }
}

impl fmt::Display for ChainRef {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Beacon => formatter.write_str("beacon"),
            Self::Shard(shard) => write!(formatter, "{shard:?}"),
        }
    }
}

impl fmt::Debug for ChainRef {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl FromStr for ChainRef {
    type Err = ParseIdError;
    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        let shard = || {
            let (bits, depth) = text.strip_prefix("shard-")?.split_once('/')?;
            ShardId::new(depth.parse().ok()?, bits.parse().ok()?)
        };
        match text {
            "beacon" => Ok(Self::Beacon),
            _ => shard().map(Self::Shard).ok_or_else(|| ParseIdError {
                text: text.to_owned(),
                expected: "a chain: beacon or shard-<bits>/<depth>",
            }),
        }
    }
}
serde_as_text!(ChainRef);

impl BorshSerialize for ChainRef {
    fn serialize<W: std::io::Write>(&self, writer: &mut W) -> std::io::Result<()> {
        writer.write_all(&self.to_bytes())
    }
}

impl BorshDeserialize for ChainRef {
    fn deserialize_reader<R: std::io::Read>(reader: &mut R) -> std::io::Result<Self> {
        let bytes = <[u8; 3]>::deserialize_reader(reader)?;
        Self::from_bytes(bytes).ok_or_else(|| invalid(format!("{bytes:?} names no chain")))
    }
}

/// The two leading bytes of an owner's id, big-endian; its top bits choose the home shard. A
/// locality is never split, so equal localities are co-located for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Locality(pub u16);

/// The id of an owner of state: an account, or an object of a module.
///
/// Two bytes of locality, thirty bytes of hash. Text: bech32m with the prefix `sk`.
#[derive(
    Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize,
)]
pub struct Address([u8; 32]);

/// How an address's first key is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum KeyScheme {
    /// One ed25519 key.
    Ed25519 = 0,
    /// A threshold of ed25519 keys; the key bytes are the policy's canonical bytes.
    Multisig = 1,
}

impl Address {
    const HRP: &'static str = "sk";

    /// Wraps bytes.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The locality.
    pub const fn locality(&self) -> Locality {
        Locality(u16::from_be_bytes([self.0[0], self.0[1]]))
    }

    /// The home shard among shards of `depth`.
    pub fn shard(&self, depth: u8) -> ShardId {
        let depth = depth.min(ShardId::DEPTH_MAX);
        let bits = u32::from(self.locality().0) >> (ShardId::DEPTH_MAX - depth);
        ShardId {
            depth,
            bits: u16::try_from(bits).unwrap_or(u16::MAX),
        }
    }

    fn tagged(purpose: Purpose, locality: Locality, parts: &[&[u8]]) -> Self {
        let locality = locality.0.to_be_bytes();
        let mut all: Vec<&[u8]> = Vec::with_capacity(parts.len() + 1);
        all.push(&locality);
        all.extend_from_slice(parts);
        let digest = hash_parts(purpose, &all);
        let mut bytes = *digest.as_bytes();
        // The locality replaces the first two bytes; thirty bytes of hash remain.
        for (to, from) in bytes.iter_mut().zip(locality) {
            *to = from;
        }
        Self(bytes)
    }

    /// The account first controlled by `key_bytes` under `scheme`, near `locality`.
    pub fn of_key_near(scheme: KeyScheme, key_bytes: &[u8], locality: Locality) -> Self {
        Self::tagged(Purpose::ADDRESS, locality, &[&[scheme as u8], key_bytes])
    }

    /// The locality of a key that names no neighbour: the first two bytes of plain blake3 of it.
    pub fn default_locality(key_bytes: &[u8]) -> Locality {
        let bytes = crate::crypto::hash::plain(key_bytes);
        let [first, second, ..] = *bytes.as_bytes();
        Locality(u16::from_be_bytes([first, second]))
    }

    /// The account of one ed25519 key that names no neighbour.
    pub fn of_ed25519(key: &ed25519::PublicKey) -> Self {
        Self::of_key_near(KeyScheme::Ed25519, &key.0, Self::default_locality(&key.0))
    }

    /// The object created by operation `index` of `sender`'s transaction `(stream, sequence)`,
    /// near the sender.
    pub fn of_object(
        module: u16,
        sender: &Self,
        stream: u16,
        sequence: u64,
        operation_index: u16,
    ) -> Self {
        Self::tagged(
            Purpose::OBJECT,
            sender.locality(),
            &[
                &module.to_le_bytes(),
                &sender.0,
                &stream.to_le_bytes(),
                &sequence.to_le_bytes(),
                &operation_index.to_le_bytes(),
            ],
        )
    }

    /// A module's own object on `chain`: where system records (channels, fees, cross-links) live.
    /// Its locality is the first of the chain's prefix.
    pub fn of_system(module: u16, chain: ChainRef, name: &[u8]) -> Self {
        let locality = chain.shard().map_or(0, |shard| {
            let shifted = u32::from(shard.bits) << (ShardId::DEPTH_MAX - shard.depth);
            u16::try_from(shifted & 0xffff).unwrap_or(0)
        });
        Self::tagged(
            Purpose::OBJECT,
            Locality(locality),
            &[b"system", &module.to_le_bytes(), &chain.to_bytes(), name],
        )
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hrp = bech32::Hrp::parse_unchecked(Self::HRP);
        let text = bech32::encode::<bech32::Bech32m>(hrp, &self.0).map_err(|_| fmt::Error)?;
        formatter.write_str(&text)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "sk:{}…",
            hex::encode(self.0.get(..5).unwrap_or(&[]))
        )
    }
}

fn decode_bech32m(text: &str, prefix: &str) -> Option<[u8; 32]> {
    let checked =
        bech32::primitives::decode::CheckedHrpstring::new::<bech32::Bech32m>(text).ok()?;
    // The padding must be zero, so that one id has one text.
    if checked.hrp().as_str() != prefix || checked.validate_segwit_padding().is_err() {
        return None;
    }
    let bytes: Vec<u8> = checked.byte_iter().collect();
    bytes.try_into().ok()
}

impl FromStr for Address {
    type Err = ParseIdError;
    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        decode_bech32m(text, Self::HRP)
            .map(Self)
            .ok_or_else(|| ParseIdError {
                text: text.to_owned(),
                expected: "an address: bech32m with the prefix sk1 (check for a typing error)",
            })
    }
}
serde_as_text!(Address);

/// A kind of token. `sker`, `stsker` and `rssker` are reserved: two zero bytes, the name, zeros.
/// Others are tag(creator, name) with the creator's locality; text: bech32m with the prefix `skd`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct Denom([u8; 32]);

impl Denom {
    const HRP: &'static str = "skd";
    /// The native token; 9 decimals, base unit `nsker`.
    pub const SKER: Self = Self::reserved(b"sker");
    /// Liquid staked `sker`.
    pub const STSKER: Self = Self::reserved(b"stsker");
    /// Liquid restaked `stsker`.
    pub const RSSKER: Self = Self::reserved(b"rssker");
    const RESERVED: [(&'static str, Self); 3] = [
        ("sker", Self::SKER),
        ("stsker", Self::STSKER),
        ("rssker", Self::RSSKER),
    ];

    #[cfg_attr(
        not(test),
        expect(
            clippy::indexing_slicing,
            reason = "evaluated when compiled; no get in const code"
        )
    )]
    const fn reserved(name: &[u8]) -> Self {
        let mut bytes = [0; 32];
        let mut index = 0;
        while index < name.len() {
            bytes[index + 2] = name[index];
            index += 1;
        }
        Self(bytes)
    }

    /// The denom that `creator` makes under `name`.
    pub fn created(creator: &Address, name: &str) -> Self {
        Self(
            Address::tagged(
                Purpose::DENOM,
                creator.locality(),
                &[creator.as_bytes(), name.as_bytes()],
            )
            .0,
        )
    }

    /// Wraps bytes.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The object that holds the denom's record.
    pub const fn object(&self) -> Address {
        Address(self.0)
    }

    /// Whether this is one of the reserved denoms.
    pub fn is_reserved(&self) -> bool {
        Self::RESERVED.iter().any(|(_, denom)| denom == self)
    }
}

impl fmt::Display for Denom {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((name, _)) = Self::RESERVED.iter().find(|(_, denom)| denom == self) {
            return formatter.write_str(name);
        }
        let hrp = bech32::Hrp::parse_unchecked(Self::HRP);
        let text = bech32::encode::<bech32::Bech32m>(hrp, &self.0).map_err(|_| fmt::Error)?;
        formatter.write_str(&text)
    }
}

impl fmt::Debug for Denom {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl FromStr for Denom {
    type Err = ParseIdError;
    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        let reserved = Self::RESERVED.iter().find(|(name, _)| *name == text);
        reserved
            .map(|(_, denom)| *denom)
            .or_else(|| decode_bech32m(text, Self::HRP).map(Self))
            .ok_or_else(|| ParseIdError {
                text: text.to_owned(),
                expected: "a denom: sker, stsker, rssker, or skd1…",
            })
    }
}
serde_as_text!(Denom);

/// A validator: its position in the order of registration.
#[derive(
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    BorshSerialize,
    BorshDeserialize,
    serde::Serialize,
    serde::Deserialize,
)]
#[serde(transparent)]
pub struct ValidatorId(u32);

impl ValidatorId {
    /// Wraps a number.
    pub const fn new(value: u32) -> Self {
        Self(value)
    }
    /// The number.
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl fmt::Display for ValidatorId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "v{}", self.0)
    }
}
impl fmt::Debug for ValidatorId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "v{}", self.0)
    }
}

/// A member of one committee: its position in the committee's list, and in certificates' bitmaps.
#[derive(
    Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize,
)]
pub struct MemberIndex(u16);

impl MemberIndex {
    /// Wraps a number.
    pub const fn new(value: u16) -> Self {
        Self(value)
    }
    /// The number.
    pub const fn get(self) -> u16 {
        self.0
    }
    /// The number, for indexing.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for MemberIndex {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "m{}", self.0)
    }
}
impl fmt::Debug for MemberIndex {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "m{}", self.0)
    }
}

/// The number of a module; permanent.
#[derive(
    Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize,
)]
pub struct ModuleId(u16);

impl ModuleId {
    /// Wraps a number.
    pub const fn new(value: u16) -> Self {
        Self(value)
    }
    /// The number.
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl fmt::Debug for ModuleId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "module-{}", self.0)
    }
}
