//! Canonical bytes: borsh with sorted keys, a version byte first, nothing trailing.
//!
//! Signed, hashed and stored types begin with a [`Version`]. Decoding refuses another version,
//! trailing bytes, and inputs above the caller's limit; so one value has exactly one encoding.

use borsh::{BorshDeserialize, BorshSerialize};

/// The only version of the encodings so far.
pub const VERSION: u8 = 1;

/// The version byte in front of every signed, hashed or stored type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version;

impl BorshSerialize for Version {
    fn serialize<W: std::io::Write>(&self, writer: &mut W) -> std::io::Result<()> {
        writer.write_all(&[VERSION])
    }
}

impl BorshDeserialize for Version {
    fn deserialize_reader<R: std::io::Read>(reader: &mut R) -> std::io::Result<Self> {
        let byte = u8::deserialize_reader(reader)?;
        if byte == VERSION {
            Ok(Self)
        } else {
            Err(std::io::Error::new(
                std::io::ErrorKind::InvalidData,
                format!("version {byte}, expected {VERSION}"),
            ))
        }
    }
}

/// Puts a [`Version`] in front of a type's first field: for `#[borsh(serialize_with)]` and
/// `#[borsh(deserialize_with)]` of stored and hashed types that have no version field of their own.
pub(crate) mod versioned {
    use super::Version;
    use borsh::{BorshDeserialize, BorshSerialize};
    use std::io::{Read, Result, Write};

    pub(crate) fn write<T: BorshSerialize, W: Write>(value: &T, writer: &mut W) -> Result<()> {
        Version.serialize(writer)?;
        value.serialize(writer)
    }

    pub(crate) fn read<T: BorshDeserialize, R: Read>(reader: &mut R) -> Result<T> {
        Version::deserialize_reader(reader)?;
        T::deserialize_reader(reader)
    }
}

/// Why bytes were refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// Longer than the limit for this type.
    #[error("{actual} bytes, at most {limit} allowed")]
    TooLong {
        /// Bytes received.
        actual: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// Not the canonical encoding of the type.
    #[error("malformed: {0}")]
    Malformed(String),
}

/// The canonical bytes of `value`.
pub fn encode<T: BorshSerialize + ?Sized>(value: &T) -> Vec<u8> {
    encode_sized(value, 256)
}

/// [`encode`] where the length is known about: what is long is not moved again and again as it grows,
/// and of what is short no more is taken than it needs.
pub fn encode_sized<T: BorshSerialize + ?Sized>(value: &T, length: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(length);
    value
        .serialize(&mut bytes)
        .expect("writing to a Vec does not fail and lengths fit in u32");
    bytes
}

/// Decodes all of `bytes`.
///
/// # Errors
/// When `bytes` is longer than `limit`, malformed, not canonical, or has trailing bytes.
pub fn decode<T: BorshDeserialize>(bytes: &[u8], limit: usize) -> Result<T, CodecError> {
    if bytes.len() > limit {
        return Err(CodecError::TooLong {
            actual: bytes.len(),
            limit,
        });
    }
    borsh::from_slice(bytes).map_err(|error| CodecError::Malformed(error.to_string()))
}

/// [`decode`] of two values that follow each other, with the bytes of the first: since a value has one
/// encoding only, they need not be made again to be hashed.
///
/// # Errors
/// As [`decode`].
pub fn decode_pair<A: BorshDeserialize, B: BorshDeserialize>(
    bytes: &[u8],
    limit: usize,
) -> Result<(A, B, &[u8]), CodecError> {
    if bytes.len() > limit {
        return Err(CodecError::TooLong {
            actual: bytes.len(),
            limit,
        });
    }
    let malformed = |error: std::io::Error| CodecError::Malformed(error.to_string());
    let mut rest = bytes;
    let head = A::deserialize(&mut rest).map_err(malformed)?;
    let tail = borsh::from_slice(rest).map_err(malformed)?;
    let length = bytes.len().saturating_sub(rest.len());
    Ok((head, tail, bytes.get(..length).unwrap_or_default()))
}

/// A borsh error for a broken rule of a type.
pub(crate) fn invalid(reason: impl Into<String>) -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::InvalidData, reason.into())
}

/// Decodes a fixed array whose length borsh has no own implementation for.
pub(crate) fn read_array<const N: usize, R: std::io::Read>(
    reader: &mut R,
) -> std::io::Result<[u8; N]> {
    let mut bytes = [0; N];
    reader.read_exact(&mut bytes)?;
    Ok(bytes)
}
