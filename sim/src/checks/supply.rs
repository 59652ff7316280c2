//! The native denoms on every consistent cut: a beacon state with the shards' states that it names.
//! Each cut is counted as soon as somebody has committed all of its states.
//!
//! Two sums must be exact. All value of a cut, with what is between its states, is what was issued. And
//! what a shard holds is what the beacon's books say of it: what it began with, and what it has accepted,
//! less what it has sent and destroyed. Of a captured shard only the books count: what it says that it
//! holds is its own word.

use super::Broken;
use crate::counts::Counts;
use crate::plan::Plan;
use skerry_execution::genesis::genesis_changes;
use skerry_execution::modules::crosslinks::NATIVE;
use skerry_execution::supply::{Sums, count_supply};
use skerry_execution::views;
use skerry_storage::StateTree;
use skerry_types::amount::Amount;
use skerry_types::beacon::ShardRecord;
use skerry_types::genesis::Genesis;
use skerry_types::ids::{ChainRef, Denom, Digest, Height};
use skerry_types::message::Flow;
use std::collections::{BTreeMap, BTreeSet};

/// All committed states.
pub(super) type States = BTreeMap<ChainRef, BTreeMap<Height, StateTree>>;

/// What a state holds, and what has come and gone.
#[derive(Clone, Debug)]
struct Counted {
    root: Digest,
    /// Balances, claims, what modules hold, what waits.
    held: Sums,
    burnt: Sums,
    sent: BTreeMap<ChainRef, Flow>,
    accepted: BTreeMap<ChainRef, Flow>,
}

/// What was counted so far.
pub(super) struct Supply {
    genesis: Genesis,
    chains: Vec<ChainRef>,
    captured: Option<ChainRef>,
    counted: BTreeMap<(ChainRef, Height), Counted>,
    /// Beacon states whose cuts lack a state.
    open: BTreeSet<Height>,
}

fn amount(sums: &Sums, denom: Denom) -> u128 {
    sums.get(&denom).map_or(0, |amount| amount.get())
}

fn native(flow: &Flow, denom: Denom) -> u128 {
    match denom {
        Denom::SKER => flow.sker,
        Denom::STSKER => flow.stsker,
        _ => flow.rssker,
    }
}

impl Supply {
    pub(super) fn new(plan: &Plan) -> Self {
        Self {
            genesis: plan.genesis.clone(),
            chains: plan.genesis.chains(),
            captured: plan.captured.as_ref().map(|captured| captured.shard),
            counted: BTreeMap::new(),
            open: BTreeSet::new(),
        }
    }

    /// A state is committed for the first time, and is among `states`.
    pub(super) fn on_state(
        &mut self,
        (chain, height): (ChainRef, Height),
        states: &States,
        counts: &mut Counts,
    ) -> Broken {
        if chain.is_beacon() {
            self.open.insert(height);
        }
        for height in self.open.clone() {
            if self.check_cut(height, states)? {
                self.open.remove(&height);
                counts.note("cuts with exact supply");
            }
        }
        Ok(())
    }

    /// At the end nothing is left to count.
    pub(super) fn check_all_counted(&self) -> Broken {
        match self.open.first() {
            None => Ok(()),
            Some(height) => Err(format!(
                "beacon {height} links a state of a shard that nobody committed"
            )),
        }
    }

    /// Whether the cut of a beacon state has all its states; then its sums are exact.
    fn check_cut(&mut self, height: Height, states: &States) -> Result<bool, String> {
        let of_beacon = |states: &States| states.get(&ChainRef::Beacon)?.get(&height).cloned();
        let Some(beacon) = of_beacon(states) else {
            return Ok(false);
        };
        let mut records = BTreeMap::new();
        let mut cut = BTreeMap::new();
        for chain in self.chains.clone() {
            let mut at = height;
            if !chain.is_beacon() {
                let record = views::shard_record(&beacon, chain)
                    .ok_or_else(|| format!("beacon {height} has no record of {chain}"))?;
                at = record.reported.height;
                records.insert(chain, record);
            }
            let Some(counted) = self.count((chain, at), states) else {
                return Ok(false);
            };
            if let Some(record) = records.get(&chain)
                && at > Height::ZERO
                && counted.root != record.state_root
            {
                return Err(format!(
                    "beacon {height} links another state of {chain} {at}"
                ));
            }
            cut.insert(chain, counted);
        }
        for denom in NATIVE {
            self.check_sums((height, denom), &cut, &records)?;
        }
        Ok(true)
    }

    fn count(&mut self, place: (ChainRef, Height), states: &States) -> Option<Counted> {
        if let Some(counted) = self.counted.get(&place) {
            return Some(counted.clone());
        }
        let (chain, height) = place;
        let state = if height == Height::ZERO {
            let made = genesis_changes(&self.genesis, chain);
            StateTree::empty().apply(&made.changes)
        } else {
            states.get(&chain)?.get(&height)?.clone()
        };
        let rows: Vec<_> = state.iter().collect();
        let mut count = count_supply(chain, rows.iter().map(|(key, value)| (key, &***value)));
        let burnt = std::mem::take(&mut count.burnt);
        let others = self.chains.iter().filter(|other| **other != chain);
        let sent = others
            .clone()
            .map(|to| (*to, views::outbound(&state, chain, *to).sent));
        let accepted = others.map(|from| (*from, views::inbound(&state, chain, *from).accepted));
        let counted = Counted {
            root: state.root(),
            held: count.accounted(),
            burnt,
            sent: sent.collect(),
            accepted: accepted.collect(),
        };
        self.counted.insert(place, counted.clone());
        Some(counted)
    }

    fn check_sums(
        &self,
        (height, denom): (Height, Denom),
        cut: &BTreeMap<ChainRef, Counted>,
        records: &BTreeMap<ChainRef, ShardRecord>,
    ) -> Broken {
        let issued = self.genesis.supply(denom).map_or(0, Amount::get);
        let mut total = 0_u128;
        for (chain, counted) in cut {
            let mut held = amount(&counted.held, denom);
            if let Some(record) = records.get(chain) {
                let mut supply = record.supply.iter().filter(|asset| asset.denom == denom);
                let books = supply.next().map_or(0, |asset| asset.amount.get());
                if self.captured == Some(*chain) {
                    held = books;
                } else if held != books {
                    return Err(format!(
                        "beacon {height}: {chain} holds {held} of {denom}, by the books {books}"
                    ));
                }
            }
            total += held + amount(&counted.burnt, denom);
            for (destination, sent) in &counted.sent {
                let accepted = cut.get(destination).and_then(|it| it.accepted.get(chain));
                let accepted = accepted.map_or(0, |flow| native(flow, denom));
                let between = native(sent, denom).checked_sub(accepted);
                total += between.ok_or_else(|| {
                    format!("{destination} has accepted more from {chain} than was sent")
                })?;
            }
        }
        if total == issued {
            return Ok(());
        }
        Err(format!(
            "beacon {height}: supply of {denom} is {total}, issued were {issued}; cut {:?}",
            cut.iter()
                .map(|(chain, counted)| (*chain, counted.root))
                .collect::<Vec<_>>()
        ))
    }
}
