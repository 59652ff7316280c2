//! What waits at a destination is no more than its window and the room for replies, and what others take
//! of a shard before its cross-link is a small part of what it holds.
//!
//! What waits is read off the bodies in the state, not off the counters by which the code under test
//! decides.

use super::Broken;
use crate::counts::Counts;
use crate::plan::Plan;
use skerry_execution::credit::{granted_in, share};
use skerry_execution::gas;
use skerry_execution::modules::crosslinks::NATIVE;
use skerry_execution::network::NetworkInfo;
use skerry_execution::outbox::flow_of;
use skerry_execution::views;
use skerry_storage::StateTree;
use skerry_types::codec::decode;
use skerry_types::ids::{ChainRef, Height, Sequence};
use skerry_types::limits;
use skerry_types::message::{Flow, Message, Payload};
use skerry_types::state::StateRead as _;
use std::collections::{BTreeMap, BTreeSet};

/// Of a shard's supply, so much of a hundred is taken by all others before its cross-link.
const PERCENT: u128 = 1;
/// Gas that a transfer takes at its destination, at most.
const TRANSFER_GAS: u64 = 7_500;

/// What may wait.
pub(super) struct Credit {
    network: NetworkInfo,
    bytes: u64,
    gas: u64,
    /// Replies of one source.
    replies: u64,
    /// Channels on which a transfer would have found no credit in their newest states.
    full: BTreeSet<(ChainRef, ChainRef)>,
    /// What a chain has accepted of another, in its newest state.
    accepted: BTreeMap<(ChainRef, ChainRef), Flow>,
}

/// What waits of one source or of all.
#[derive(Clone, Copy, Default)]
struct Waiting {
    bytes: u64,
    gas: u64,
    replies: u64,
}

impl Credit {
    pub(super) fn new(plan: &Plan) -> Self {
        let network = NetworkInfo::of(&plan.genesis);
        let bytes = u64::try_from(limits::INBOUND_BYTES_MAX).unwrap_or(u64::MAX);
        let gas = network.parameters.inbound_gas.get();
        let reply_bytes = u64::try_from(limits::REPLY_BYTES).unwrap_or(u64::MAX);
        let by_bytes = bytes.saturating_mul(limits::REPLY_BLOCKS) / reply_bytes;
        let by_gas = gas.saturating_mul(limits::REPLY_BLOCKS) / gas::reply().get();
        Self {
            network,
            bytes: bytes.saturating_mul(limits::WINDOW_BLOCKS),
            gas: gas.saturating_mul(limits::WINDOW_BLOCKS),
            replies: by_bytes.min(by_gas).max(1),
            full: BTreeSet::new(),
            accepted: BTreeMap::new(),
        }
    }

    /// A state is committed for the first time.
    pub(super) fn on_state(
        &mut self,
        (chain, height): (ChainRef, Height),
        state: &StateTree,
        counts: &mut Counts,
    ) -> Broken {
        self.note_full(chain, state, counts);
        let mut all = Waiting::default();
        for source in self.network.chains.clone() {
            if source == chain {
                continue;
            }
            let waiting = self.waiting(state, chain, source)?;
            if waiting.replies > self.replies {
                return Err(format!(
                    "{} replies of {source} wait on {chain} {height}, there is room for {}",
                    waiting.replies, self.replies
                ));
            }
            all.bytes = all.bytes.saturating_add(waiting.bytes);
            all.gas = all.gas.saturating_add(waiting.gas);
            if !chain.is_beacon() && !source.is_beacon() {
                self.check_allowance((chain, height), state, source)?;
            }
        }
        self.check_granted((chain, height), state)?;
        if all.bytes <= self.bytes && all.gas <= self.gas {
            return Ok(());
        }
        Err(format!(
            "{} bytes and {} gas wait on {chain} {height}, beyond the window of {} and {}",
            all.bytes, all.gas, self.bytes, self.gas
        ))
    }

    /// What is granted to all sources and has not run fits the window.
    fn check_granted(&self, (chain, height): (ChainRef, Height), state: &StateTree) -> Broken {
        let share = share(&self.network);
        let (mut bytes, mut gas) = (0_u64, 0_u64);
        for source in self.network.chains.iter().filter(|it| **it != chain) {
            let open = views::inbound(state, chain, *source).outstanding(share);
            bytes = bytes.saturating_add(open.bytes);
            gas = gas.saturating_add(open.gas);
        }
        if bytes <= self.bytes && gas <= self.gas {
            return Ok(());
        }
        Err(format!(
            "{bytes} bytes and {gas} gas are granted on {chain} {height}, beyond the window of {} and {}",
            self.bytes, self.gas
        ))
    }

    /// Counts channels without credit, and those that have none in either direction.
    fn note_full(&mut self, chain: ChainRef, state: &StateTree, counts: &mut Counts) {
        for other in &self.network.chains {
            let Some(record) = views::known_record(state, chain, *other) else {
                continue;
            };
            if *other == chain {
                continue;
            }
            let granted = granted_in(&self.network, &record.channels, chain);
            let left = views::outbound(state, chain, *other).left(granted);
            if left.gas >= TRANSFER_GAS {
                self.full.remove(&(chain, *other));
                continue;
            }
            counts.note("channels without credit");
            self.full.insert((chain, *other));
            if self.full.contains(&(*other, chain)) {
                counts.note("rings of channels without credit");
            }
        }
    }

    /// What was accepted of a source and has not run.
    fn waiting(
        &self,
        state: &StateTree,
        chain: ChainRef,
        source: ChainRef,
    ) -> Result<Waiting, String> {
        let cursors = views::inbound(state, chain, source);
        let from = cursors.executed_cursor().get();
        let mut sum = Waiting::default();
        for sequence in from..cursors.accepted_cursor().get() {
            let key = views::inbox_body_key(chain, source, Sequence::new(sequence));
            let body = state.get(&key).ok_or_else(|| {
                format!("the body of message {sequence} of {source} that waits on {chain} is gone")
            })?;
            let message: Option<Message> = decode(&body, limits::MESSAGE_BYTES_MAX).ok();
            let is_reply = message.as_ref().is_some_and(|it| match &it.payload {
                Payload::Reply { assets, .. } => {
                    body.len() <= limits::REPLY_BYTES && assets.len() <= limits::ASSETS_MAX
                }
                _ => false,
            });
            if is_reply {
                sum.replies = sum.replies.saturating_add(1);
            } else {
                let flow = flow_of(&self.network, body.len(), message.as_ref());
                sum.bytes = sum.bytes.saturating_add(flow.bytes);
                sum.gas = sum.gas.saturating_add(flow.gas);
            }
        }
        Ok(sum)
    }

    /// What came with this state was allowed by what it shows of the source. Later the source may hold less.
    fn check_allowance(
        &mut self,
        (chain, height): (ChainRef, Height),
        state: &StateTree,
        source: ChainRef,
    ) -> Broken {
        let Some(record) = views::known_record(state, chain, source) else {
            return Ok(());
        };
        let others = u128::from(self.network.chain_count().saturating_sub(1));
        let accepted = views::inbound(state, chain, source).accepted;
        let before = self.accepted.insert((chain, source), accepted);
        if before == Some(accepted) {
            return Ok(());
        }
        let summary = record.channels.iter().find(|it| it.peer == chain);
        let linked = summary.map(|it| it.sent).unwrap_or_default();
        for denom in NATIVE {
            let held = record.supply.iter().find(|it| it.denom == denom);
            let held = held.map_or(0, |it| it.amount.get());
            let allowance = held.saturating_mul(PERCENT) / (100 * others.max(1));
            let (accepted, linked) = (accepted.native(denom), linked.native(denom));
            if accepted > linked.saturating_add(allowance) {
                return Err(format!(
                    "{chain} {height} has accepted {accepted} of {denom} of {source}, {linked} are \
                     linked and {allowance} above that allowed"
                ));
            }
        }
        Ok(())
    }
}
