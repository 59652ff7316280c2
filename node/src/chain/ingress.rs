//! How transactions get in: cheap checks first, signatures in batches, then state and mempool.

use super::jobs::{Incoming, Job, Origin, Passed, TransactionsJob};
use super::{ChainNode, Output};
use crate::mempool::Inserted;
use crate::view::SubmitError;
use crate::wire::{TRANSACTIONS_BYTES_MAX, kind};
use skerry_consensus::output::To;
use skerry_execution::views;
use skerry_types::amount::Amount;
use skerry_types::codec::{decode, encode_sized};
use skerry_types::ids::{Denom, Digest, Height, LogPosition, TimeMs};
use skerry_types::transaction::CheckedTransaction;
use std::collections::VecDeque;
use std::sync::Arc;

/// Most transactions in signature checks at a time, of clients, and as many that members pass on, so that
/// neither shuts the other out; more are refused as busy. A client waits until its own are checked, so
/// that the bound is a time, too: some seconds where four validators share two processors.
const CHECKING_MAX: usize = 8_192;
/// Most submissions in signature checks at a time.
const SUBMISSIONS_MAX: usize = 2_048;
/// How often transactions that came through the node's own API and still wait are sent to the other
/// members again, since a frame may have been dropped where there was too much to do.
const REBROADCAST_MS: u64 = 1_000;
/// How often one of them is sent again.
const REBROADCASTS_MAX: u8 = 3;
/// Most of them, and most bytes, sent again at a time.
const REBROADCAST_COUNT: usize = 256;
const REBROADCAST_BYTES: usize = 128 * 1024;

/// How many transactions are in signature checks.
#[derive(Default)]
pub(super) struct Checking {
    of_clients: usize,
    of_members: usize,
}

impl Checking {
    /// All of them.
    pub(super) const fn all(&self) -> usize {
        self.of_clients.saturating_add(self.of_members)
    }

    /// Those of clients where there is a tag, else those of members.
    const fn of(&mut self, tag: Option<u64>) -> &mut usize {
        match tag {
            Some(_) => &mut self.of_clients,
            None => &mut self.of_members,
        }
    }
}

/// The transactions that this node answers for: it has told a client that they were taken.
#[derive(Default)]
pub(super) struct Rebroadcast {
    /// When the next part is due.
    at: TimeMs,
    /// In the order of their turns, with the number of times they were sent again.
    own: VecDeque<(Digest, u8)>,
}

impl ChainNode {
    /// Takes transactions from the node's own API (with a tag) or from a peer.
    pub(super) fn on_submit(
        &mut self,
        tag: Option<u64>,
        incoming: Vec<Incoming>,
        out: &mut Vec<Output>,
    ) {
        let is_full = self.submissions.len() >= SUBMISSIONS_MAX;
        let checking = *self.checking.of(tag);
        if is_full || checking.saturating_add(incoming.len()) > CHECKING_MAX {
            if let Some(tag) = tag {
                let busy = || Err(SubmitError::Busy(checking));
                let results = incoming.iter().map(|_| busy()).collect();
                out.push(Output::Submitted { tag, results });
            }
            return;
        }
        *self.checking.of(tag) = checking.saturating_add(incoming.len());
        let job_tag = self.next_tag;
        self.next_tag = self.next_tag.wrapping_add(1);
        self.submissions.insert(job_tag, tag);
        let job = TransactionsJob {
            tag: job_tag,
            chain: self.chain,
            beacon_height: self.beacon_height(),
            base_fee: self.base_fee(),
            state: self.tree.root().executed.state.clone(),
            incoming,
            known: self.cache.clone(),
            origin: tag.map_or(Origin::Member, |_| Origin::Client),
        };
        out.push(Output::Work(Job::Transactions(job)));
    }

    fn beacon_height(&self) -> Height {
        let feed = self.feed.as_ref();
        feed.map_or(Height::ZERO, |feed| feed.newest().block.height)
    }

    /// Base fee of the block after the newest final one.
    pub(super) fn base_fee(&self) -> Amount {
        let root = self.tree.root();
        let parameters = &self.shared.network.parameters;
        let state = &root.executed.state;
        views::base_fee(state, parameters, self.chain, root.block.height.next())
    }

    /// Transactions from a peer.
    pub(super) fn on_transactions(&mut self, payload: &[u8], out: &mut Vec<Output>) {
        let Ok(wires) = decode::<Vec<Vec<u8>>>(payload, TRANSACTIONS_BYTES_MAX) else {
            return;
        };
        if !wires.is_empty() {
            let bytes = |wire: Vec<u8>| Incoming::Bytes(wire.into());
            self.on_submit(None, wires.into_iter().map(bytes).collect(), out);
        }
    }

    /// Transactions were checked: the good ones meet the mempool.
    pub(super) fn on_checked(
        &mut self,
        job_tag: u64,
        results: Vec<Result<Passed, SubmitError>>,
        out: &mut Vec<Output>,
    ) {
        let tag = self.submissions.remove(&job_tag).flatten();
        let checking = self.checking.of(tag);
        *checking = checking.saturating_sub(results.len());
        let base_fee = self.base_fee();
        let mut answers = Vec::with_capacity(results.len());
        let mut taken = Vec::new();
        for result in results {
            let answer = match result {
                Ok(passed) => {
                    let transaction = passed.admitted.transaction.clone();
                    self.admit(passed, base_fee).map(|inserted| {
                        let id = transaction.id();
                        if inserted != Inserted::Known {
                            taken.push(transaction);
                        }
                        id
                    })
                }
                Err(error) => Err(error),
            };
            answers.push(answer);
        }
        self.cache.insert(taken.iter().cloned());
        let dropped = self.mempool.take_dropped();
        if !dropped.is_empty() {
            out.push(Output::Dropped(dropped));
        }
        if !taken.is_empty() {
            out.push(Output::Received(taken.iter().map(|one| one.id()).collect()));
        }
        if let Some(tag) = tag {
            out.push(Output::Submitted {
                tag,
                results: answers,
            });
            self.spread(&taken, out);
            self.answer_for(&taken);
        }
    }

    fn admit(&mut self, passed: Passed, base_fee: Amount) -> Result<Inserted, SubmitError> {
        let Passed {
            mut admitted,
            mut next,
            state: seen,
        } = passed;
        let state = &self.tree.root().executed.state;
        if seen != state.root() {
            // The check's state was passed meanwhile.
            let body = admitted.transaction.body();
            next = views::next_nonce(state, &body.sender, body.nonce.stream);
            admitted.funds = views::balance(state, &body.sender, &Denom::SKER);
        }
        Ok(self.mempool.insert(admitted, next, base_fee)?)
    }

    /// Sends newly taken transactions to the other members, in frames below the limit.
    fn spread(&self, taken: &[Arc<CheckedTransaction>], out: &mut Vec<Output>) {
        let mut frame: Vec<&[u8]> = Vec::new();
        let mut bytes = 0_usize;
        for transaction in taken {
            let wire: &[u8] = transaction.wire();
            if bytes.saturating_add(wire.len()) > TRANSACTIONS_BYTES_MAX / 2 {
                self.send_to(
                    &self.instance,
                    To::All,
                    kind::TRANSACTIONS,
                    &encode_sized(&frame, bytes.saturating_add(4)).into(),
                    LogPosition::ZERO,
                    out,
                );
                frame.clear();
                bytes = 0;
            }
            bytes = bytes.saturating_add(wire.len()).saturating_add(4);
            frame.push(wire);
        }
        if !frame.is_empty() {
            let payload = encode_sized(&frame, bytes.saturating_add(4)).into();
            self.send_to(
                &self.instance,
                To::All,
                kind::TRANSACTIONS,
                &payload,
                LogPosition::ZERO,
                out,
            );
        }
    }

    /// When transactions are sent again.
    pub(super) fn rebroadcast_deadline(&self) -> Option<TimeMs> {
        (!self.rebroadcast.own.is_empty()).then_some(self.rebroadcast.at)
    }

    /// Remembers transactions to be sent again for as long as they wait.
    fn answer_for(&mut self, taken: &[Arc<CheckedTransaction>]) {
        if self.rebroadcast.own.is_empty() {
            self.rebroadcast.at = self.now.saturating_add(REBROADCAST_MS);
        }
        let own = taken.iter().map(|one| (one.id(), 0));
        self.rebroadcast.own.extend(own);
        // Those that wait no more are among the oldest.
        while self.rebroadcast.own.len() > self.mempool.limits().transactions_max {
            self.rebroadcast.own.pop_front();
        }
    }

    /// Sends a part of the transactions that wait again, when it is time.
    pub(super) fn rebroadcast(&mut self, out: &mut Vec<Output>) {
        if self.rebroadcast.own.is_empty() || self.now < self.rebroadcast.at {
            return;
        }
        self.rebroadcast.at = self.now.saturating_add(REBROADCAST_MS);
        let (mut part, mut bytes) = (Vec::new(), 0_usize);
        let base_fee = self.base_fee();
        // One round at most: what is sent goes to the end.
        for _ in 0..self.rebroadcast.own.len() {
            if part.len() >= REBROADCAST_COUNT || bytes >= REBROADCAST_BYTES {
                break;
            }
            let Some((id, times)) = self.rebroadcast.own.pop_front() else {
                break;
            };
            let Some(waiting) = self.mempool.get(&id) else {
                continue;
            };
            if waiting.body().gas_price < base_fee {
                // The others would not take it now.
                self.rebroadcast.own.push_back((id, times));
                continue;
            }
            bytes = bytes.saturating_add(waiting.wire().len());
            part.push(waiting.clone());
            let times = times.saturating_add(1);
            if times < REBROADCASTS_MAX {
                self.rebroadcast.own.push_back((id, times));
            }
        }
        self.spread(&part, out);
    }

    /// Whether a transaction waits here.
    pub fn is_waiting(&self, id: &Digest) -> bool {
        self.mempool.contains(id)
    }
}
