//! Integration tests of the vocabulary: one file per rule book.
//!
//! | file | what it shows |
//! |---|---|
//! | `vectors` | every signed, hashed or stored encoding is what `vectors.json` says |
//! | `encoding` | one value has one encoding: versions, trailing bytes, limits, strictness |
//! | `forms` | what a transaction, a genesis and a committee must look like |
//! | `ed25519` | RFC 8032, and ZIP-215 with batch = single on the small-order vectors |
//! | `bls` | proof of possession, aggregation, identity and subgroup refusals |
//! | `certificate` | quorum, bitmap and binding of certificates |
//! | `evidence` | what contradicts each other, and who is guilty |
//! | `merkle` | proofs of a naive tree hold, mutated ones do not |
//! | `snapshot` | chunks of a state hold, and nothing in their place does |
//! | `text` | text forms round trip |

mod bls;
mod certificate;
mod ed25519;
mod encoding;
mod evidence;
mod fixtures;
mod forms;
mod merkle;
mod snapshot;
mod text;
mod tree;
mod vectors;
