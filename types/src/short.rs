//! Bytes that lie where they are named when they are few, and behind a shared pointer when not.
//!
//! Nearly all keys and values of the state are short: an amount has 17 bytes, the name of a balance
//! 33. Behind a pointer, reading one would be another miss of the processor's caches, making one an
//! allocation, and cloning one a write to a count that other cores use.

use borsh::{BorshDeserialize, BorshSerialize};
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

/// Bytes, of which up to `N` lie in place; cheap to clone. They compare, hash and encode as a list of
/// bytes does.
#[derive(Clone)]
pub struct ShortBytes<const N: usize>(Place<N>);

#[derive(Clone)]
enum Place<const N: usize> {
    /// How many there are, then they, then zeros.
    Here(u8, [u8; N]),
    /// More than `N`.
    There(Arc<[u8]>),
}

impl<const N: usize> ShortBytes<N> {
    /// The bytes.
    #[inline]
    pub fn as_slice(&self) -> &[u8] {
        match &self.0 {
            Place::Here(length, bytes) => bytes.get(..usize::from(*length)).unwrap_or(bytes),
            Place::There(bytes) => bytes,
        }
    }

    /// In place, when there are few enough.
    #[inline]
    fn here(bytes: &[u8]) -> Option<Self> {
        let length = u8::try_from(bytes.len()).ok()?;
        let mut place = [0; N];
        place.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(Self(Place::Here(length, place)))
    }
}

impl<const N: usize> Default for ShortBytes<N> {
    fn default() -> Self {
        Self(Place::Here(0, [0; N]))
    }
}

impl<const N: usize> Deref for ShortBytes<N> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl<const N: usize> AsRef<[u8]> for ShortBytes<N> {
    fn as_ref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl<const N: usize> From<&[u8]> for ShortBytes<N> {
    #[inline]
    fn from(bytes: &[u8]) -> Self {
        Self::here(bytes).unwrap_or_else(|| Self(Place::There(bytes.into())))
    }
}

impl<const N: usize, const M: usize> From<[u8; M]> for ShortBytes<N> {
    #[inline]
    fn from(bytes: [u8; M]) -> Self {
        bytes.as_slice().into()
    }
}

impl<const N: usize, const M: usize> From<&[u8; M]> for ShortBytes<N> {
    #[inline]
    fn from(bytes: &[u8; M]) -> Self {
        bytes.as_slice().into()
    }
}

impl<const N: usize> From<Vec<u8>> for ShortBytes<N> {
    fn from(bytes: Vec<u8>) -> Self {
        Self::here(&bytes).unwrap_or_else(|| Self(Place::There(bytes.into())))
    }
}

impl<const N: usize> PartialEq for ShortBytes<N> {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            // Of a fixed length, which takes no call.
            (Place::Here(own, left), Place::Here(length, right)) => own == length && left == right,
            (Place::There(left), Place::There(right)) => left == right,
            _ => false,
        }
    }
}

impl<const N: usize> Eq for ShortBytes<N> {}

impl<const N: usize, const M: usize> PartialEq<[u8; M]> for ShortBytes<N> {
    fn eq(&self, other: &[u8; M]) -> bool {
        self.as_slice() == other
    }
}

impl<const N: usize> PartialOrd for ShortBytes<N> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<const N: usize> Ord for ShortBytes<N> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_slice().cmp(other.as_slice())
    }
}

impl<const N: usize> Hash for ShortBytes<N> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_slice().hash(state);
    }
}

impl<const N: usize> fmt::Debug for ShortBytes<N> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_slice().fmt(formatter)
    }
}

impl<const N: usize> BorshSerialize for ShortBytes<N> {
    fn serialize<W: std::io::Write>(&self, writer: &mut W) -> std::io::Result<()> {
        self.as_slice().serialize(writer)
    }
}

impl<const N: usize> BorshDeserialize for ShortBytes<N> {
    fn deserialize_reader<R: std::io::Read>(reader: &mut R) -> std::io::Result<Self> {
        Vec::deserialize_reader(reader).map(Self::from)
    }
}

#[cfg(test)]
mod tests {
    use super::ShortBytes;
    use crate::codec;
    use std::collections::hash_map::RandomState;
    use std::hash::BuildHasher;

    type Few = ShortBytes<4>;

    fn lists() -> Vec<Vec<u8>> {
        let bytes = [0, 1, 7, 255_u8];
        let mut lists = vec![Vec::new()];
        for length in 1..=6_usize {
            for first in bytes {
                for last in bytes {
                    let mut list = vec![0; length];
                    list[0] = first;
                    list[length - 1] = last;
                    lists.push(list);
                }
            }
        }
        lists
    }

    #[test]
    fn they_compare_hash_and_encode_as_lists_wherever_they_lie() {
        let hasher = RandomState::new();
        for left in lists() {
            let short = Few::from(left.clone());
            assert_eq!(short.as_slice(), left);
            assert_eq!(short, Few::from(left.as_slice()));
            assert_eq!(hasher.hash_one(&short), hasher.hash_one(&left));
            let encoded = codec::encode(&short);
            assert_eq!(encoded, codec::encode(&left));
            assert_eq!(codec::decode::<Few>(&encoded, 100).as_ref(), Ok(&short));
            for right in lists() {
                let other = Few::from(right.as_slice());
                assert_eq!(short.cmp(&other), left.cmp(&right));
                assert_eq!(short == other, left == right);
            }
        }
    }

    #[test]
    fn the_words_of_a_value_are_three() {
        assert_eq!(size_of::<Option<crate::state::Value>>(), 24);
        assert_eq!(size_of::<crate::state::StateKey>(), 80);
    }
}
