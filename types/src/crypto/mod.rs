//! Hashing, user signatures, validator signatures.
//!
//! One audit folder: nothing else in the workspace names a curve or a hash function, except the
//! tree's batch hashing.

pub mod bls;
pub mod ed25519;
pub mod hash;
pub mod scheme;
