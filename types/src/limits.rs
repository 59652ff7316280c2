//! Every size bound of the protocol, in one table, so that no decoder invents its own.
//!
//! All values are bytes unless the name says otherwise. A decoder refuses a larger input before it
//! reads it.

/// Largest signed transaction on the wire.
pub const TRANSACTION_BYTES_MAX: usize = 16 * 1024;
/// Most operations in one bundle.
pub const BUNDLE_OPERATIONS_MAX: usize = 32;
/// Most attached assets, minimum outputs, or assets of a message.
pub const ASSETS_MAX: usize = 8;
/// Longest call of one operation.
pub const CALL_BYTES_MAX: usize = 8 * 1024;
/// Most keys of a multisig authenticator.
pub const MULTISIG_KEYS_MAX: usize = 16;
/// How far ahead of the beacon height `valid_until` may lie, in beacon blocks.
pub const VALID_UNTIL_AHEAD_MAX: u64 = 20_000;
/// Largest cross-shard message.
pub const MESSAGE_BYTES_MAX: usize = 16 * 1024;
/// Fixed size that the origin of a request reserves for its reply.
pub const REPLY_BYTES: usize = 1024;
/// Most chains that one bundle runs on, one after the other.
pub const HOPS_MAX: u8 = 4;
/// Most messages of one shard that the beacon has not executed: at the beacon, accepted ones; at home,
/// all that were sent. With the largest message it bounds what waits in the beacon's state.
pub const BEACON_BACKLOG_MAX: u64 = 1024;
/// Inbound budget of one block.
pub const INBOUND_BYTES_MAX: usize = 1024 * 1024;
/// Largest batch: a quarter of the inbound budget.
pub const BATCH_BYTES_MAX: usize = INBOUND_BYTES_MAX / 4;
/// Most messages in one batch.
pub const BATCH_MESSAGES_MAX: usize = 8192;
/// Largest block body.
pub const BODY_BYTES_MAX: usize = 6 * 1024 * 1024;
/// Bytes of a body that a leader fills with transactions; with so many it is full for the fee market.
pub const BODY_TRANSACTION_BYTES: usize = BODY_BYTES_MAX / 2;
/// Most transactions in one block.
pub const BLOCK_TRANSACTIONS_MAX: usize = 20_000;
/// Largest header.
pub const HEADER_BYTES_MAX: usize = 1024;
/// Most members of a committee.
pub const COMMITTEE_MEMBERS_MAX: usize = 1024;
/// Most seats of a shard.
pub const SEATS_MAX: usize = 1024;
/// Most validators on the beacon in this version.
pub const VALIDATORS_MAX: usize = 256;
/// Largest certificate: bitmap of [`COMMITTEE_MEMBERS_MAX`] and one signature.
pub const CERTIFICATE_BYTES_MAX: usize = 512;
/// Largest Merkle proof.
pub const PROOF_BYTES_MAX: usize = 64 * 1024;
/// Longest local key of the state.
pub const STATE_LOCAL_KEY_BYTES_MAX: usize = 128;
/// Longest value of the state.
pub const STATE_VALUE_BYTES_MAX: usize = 64 * 1024;
/// Records that a server puts into one chunk of a snapshot, encoded; one that is larger goes alone.
pub const CHUNK_BYTES: usize = 512 * 1024;
/// Largest chunk: its records and four edges of at most 256 siblings.
pub const CHUNK_BYTES_MAX: usize = CHUNK_BYTES + 64 * 1024;
/// Largest peer message of the consensus class (a proposal with its body).
pub const CONSENSUS_MESSAGE_BYTES_MAX: usize = BODY_BYTES_MAX + 64 * 1024;
/// Largest genesis file.
pub const GENESIS_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Most system operations in one beacon block.
pub const SYSTEM_OPERATIONS_MAX: usize = 256;
/// Largest evidence: two final headers with paths of some headers. Fits into a frame of its kind.
pub const EVIDENCE_BYTES_MAX: usize = 32 * 1024;
/// Most evidence in one beacon block; each costs two checks of signatures.
pub const BLOCK_EVIDENCE_MAX: usize = 16;

const _: () = assert!(BATCH_BYTES_MAX >= MESSAGE_BYTES_MAX);
const _: () = assert!(MESSAGE_BYTES_MAX >= REPLY_BYTES);
const _: () = assert!(BODY_BYTES_MAX > INBOUND_BYTES_MAX);
// A record with its owner and the lengths of its parts.
const _: () = assert!(STATE_VALUE_BYTES_MAX + STATE_LOCAL_KEY_BYTES_MAX + 46 <= CHUNK_BYTES);
const _: () = assert!(BLOCK_EVIDENCE_MAX < SYSTEM_OPERATIONS_MAX);
