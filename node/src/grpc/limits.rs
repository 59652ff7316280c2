//! Every bound of the public API, in one table; `GetNodeInfo` tells them to clients.

use std::time::Duration;

/// Largest request.
pub(crate) const REQUEST_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Most transactions in one `SubmitTransactions`.
pub(crate) const BATCH_TRANSACTIONS_MAX: usize = 4096;
/// Most accounts or transactions in one batched read.
pub(crate) const BATCH_ITEMS_MAX: usize = 1000;
/// Longest that a call waits for a stage or a proof.
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(60);
/// Calls in progress on one connection.
pub(crate) const CALLS_PER_CONNECTION_MAX: usize = 1024;
/// Blocks that a subscriber may lag before its stream waits for it.
pub(crate) const SUBSCRIPTION_BLOCKS: usize = 64;
/// Longest silence of a subscription: a progress frame comes at least this often.
pub(crate) const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);
/// Submitted transactions that are remembered, to tell when one was dropped or has expired.
pub(crate) const SUBMITTED_KEPT: usize = 65_536;
/// Routes of transactions read from the disk that are remembered.
pub(crate) const ROUTES_KEPT: usize = 4_096;
/// Least time between two looks at a transaction that is waited for.
pub(crate) const LOOK_INTERVAL: Duration = Duration::from_millis(2);
