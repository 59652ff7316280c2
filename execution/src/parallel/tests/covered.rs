//! Accounts that send while others add to them: who is covered, and that it never shows.
//!
//! Every block here runs by every number of workers against one after the other. What there was to
//! order tells whether the accounts were covered; what they hold and send lies on both sides of where
//! they are.

use super::{Figures, Town, swap, workers};
use crate::block::{BlockWork, Outcome};
use crate::fees::{fee, transaction_gas};
use crate::modules::bank::calls::BankCall;
use crate::modules::bank::state::balance_key;
use crate::modules::staking::calls::StakingCall;
use crate::modules::{ACCOUNT, STAKING, account::calls::AccountCall};
use crate::parallel::Mode;
use crate::testing::{Draft, Draws, User, bank, operation, shard, transfer};
use crate::view::{decode_amount, encode_amount};
use skerry_types::amount::{Amount, Asset};
use skerry_types::ids::{Address, Denom, Height, ValidatorId};
use skerry_types::receipt::{Receipt, Status};
use skerry_types::state::StateRead;
use skerry_types::transaction::{Authenticator, Target};
use std::collections::BTreeMap;

impl Town {
    fn hold(&mut self, owner: &Address, denom: Denom, units: u128) {
        let state = self.world.states.get_mut(&shard(0)).unwrap();
        let key = balance_key(owner, &denom);
        match encode_amount(Amount::new(units)) {
            Some(value) => state.0.insert(key, value),
            None => state.0.remove(&key),
        };
    }

    fn held(&self, owner: &Address, denom: Denom) -> u128 {
        let key = balance_key(owner, &denom);
        decode_amount(self.world.state(shard(0)).get(&key).as_ref())
            .unwrap()
            .get()
    }

    fn send(&mut self, from: User, to: User, units: u128) -> Draft {
        self.send_asset(from, to.address, nsker(units))
    }

    fn send_asset(&mut self, from: User, to: Address, asset: Asset) -> Draft {
        transfer(from, self.next(&from), to, asset)
    }

    /// What a draft may take of `sker` from its sender.
    fn taken(&self, draft: &Draft) -> u128 {
        let gas = transaction_gas(&draft.checked(self.world.network.chain_id)).unwrap();
        let attached = draft.bundle.assets.iter();
        let attached = attached.filter(|asset| asset.denom == Denom::SKER);
        let attached: u128 = attached.map(|asset| asset.amount.get()).sum();
        fee(gas, Amount::new(draft.price)).unwrap().get() + attached
    }

    /// What a block gives and three workers had to order in it. Every number of workers agrees, and
    /// none has to begin again.
    fn agreed(&self, drafts: &[Draft]) -> (Outcome, Figures) {
        let work = work(self, drafts);
        for count in [1, 2, 3, 16] {
            assert!(self.is_done_by(count, &work), "{count} workers");
        }
        self.equal(&work)
    }

    /// [`Self::agreed`] of a block that may show its order.
    fn equal(&self, work: &BlockWork) -> (Outcome, Figures) {
        let expected = self.execute(Mode::Sequential, work);
        for count in [1, 2, 4, 5, 8, 16] {
            let outcome = self.execute(workers(count), work);
            assert_eq!(outcome, expected, "{count} workers");
        }
        let (outcome, figures, _) = self.watched(3, work);
        assert_eq!(outcome, expected, "3 workers");
        (expected, figures)
    }

    /// [`Self::agreed`], and what it changed is there from now on.
    fn done(&mut self, drafts: &[Draft]) -> (Outcome, Figures) {
        let (outcome, figures) = self.agreed(drafts);
        let state = self.world.states.get_mut(&shard(0)).unwrap();
        state.apply(&outcome.changes);
        (outcome, figures)
    }
}

/// A block of these.
pub(super) fn work(town: &Town, drafts: &[Draft]) -> BlockWork {
    let chain_id = town.world.network.chain_id;
    BlockWork {
        transactions: drafts.iter().map(|draft| draft.checked(chain_id)).collect(),
        ..BlockWork::default()
    }
}

const fn nsker(units: u128) -> Asset {
    Asset {
        denom: Denom::SKER,
        amount: Amount::new(units),
    }
}

fn code(receipt: &Receipt) -> &str {
    match &receipt.status {
        Status::Failed(failure) | Status::Void(failure) => &failure.code,
        _ => "",
    }
}

/// Ten transfers by the first user, between thirty to it.
fn hub(town: &mut Town) -> Vec<Draft> {
    let users = town.users.clone();
    let mut drafts = Vec::new();
    for number in 0..10 {
        drafts.push(town.send(users[0], users[31 + number], 7));
        for from in 1..4 {
            drafts.push(town.send(users[3 * number + from], users[0], 5));
        }
    }
    drafts
}

const HUB: Figures = Figures {
    lanes: 1,
    longest: 10,
    handovers: 0,
    covered: 1,
};

#[test]
fn covered_account_is_a_lane_of_what_it_sends_only() {
    let mut town = Town::new(41, 1);
    let drafts = hub(&mut town);
    let (outcome, figures) = town.done(&drafts);
    assert_eq!(figures, HUB);
    assert!(
        outcome
            .receipts
            .iter()
            .all(|it| it.status == Status::Succeeded)
    );
    // Who sends once is in no lane.
    let users = town.users.clone();
    let mut drafts = vec![town.send(users[0], users[40], 1)];
    drafts.extend((1..9).map(|from| town.send(users[from], users[0], 1)));
    let (_, figures) = town.agreed(&drafts);
    let covered = 1;
    assert_eq!(
        figures,
        Figures {
            covered,
            ..Figures::default()
        }
    );
}

/// One unit less, and a transaction might live on what another pays in.
#[test]
fn account_that_holds_less_than_it_may_send_is_a_lane_of_all() {
    let mut town = Town::new(41, 1);
    let drafts = hub(&mut town);
    let sender = town.users[0].address;
    let taken: u128 = drafts
        .iter()
        .step_by(4)
        .map(|draft| town.taken(draft))
        .sum();
    for (held, expected) in [(taken, HUB), (taken + 1, HUB)] {
        town.hold(&sender, Denom::SKER, held);
        assert_eq!(town.agreed(&drafts).1, expected);
    }
    let all = Figures {
        longest: 40,
        covered: 0,
        ..HUB
    };
    // All but the last unit, all but what others pay in, next to nothing, nothing.
    for (held, failed) in [
        (taken - 1, 0),
        (taken - 27 * 5, 0),
        (taken - 27 * 5 - 1, 1),
        (1, 10),
        (0, 10),
    ] {
        town.hold(&sender, Denom::SKER, held);
        let (outcome, figures) = town.agreed(&drafts);
        assert_eq!(figures, all, "{held}");
        let own = outcome.receipts.iter().step_by(4);
        let count = own.filter(|it| it.status != Status::Succeeded).count();
        assert_eq!(count, failed, "{held} of {taken}");
    }
}

#[test]
fn every_denom_must_be_covered() {
    let mut town = Town::new(10, 1);
    let users = town.users.clone();
    let [first, second] = [Denom::RSSKER, Denom::STSKER].map(|denom| Asset {
        denom,
        amount: Amount::new(300),
    });
    let send = |asset| {
        bank(&BankCall::Send {
            to: users[1].address,
            asset,
        })
    };
    let mut drafts = Vec::new();
    for _ in 0..3 {
        let sequence = town.next(&users[0]);
        let draft = Draft::new(users[0], sequence, vec![first, second]);
        drafts.push(draft.call(send(first)).call(send(second)));
        drafts.push(town.send_asset(users[2], users[0].address, second));
    }
    for (held, covered) in [(900, 1), (899, 0), (300, 0), (0, 0)] {
        town.hold(&users[0].address, Denom::STSKER, held);
        let (outcome, figures) = town.agreed(&drafts);
        assert_eq!(figures.covered, covered, "{held}");
        let failed = outcome
            .receipts
            .iter()
            .filter(|it| code(it) == "INSUFFICIENT_BALANCE");
        assert_eq!(failed.count(), usize::from(held < 300), "{held}");
    }
}

/// A key that ends at zero is gone, in whichever parts it was.
#[test]
fn account_that_sends_all_and_gets_something_keeps_that() {
    let mut town = Town::new(41, 1);
    let drafts = hub(&mut town);
    let sender = town.users[0].address;
    let own: Vec<Draft> = drafts.iter().step_by(4).cloned().collect();
    let taken: u128 = own.iter().map(|draft| town.taken(draft)).sum();
    town.hold(&sender, Denom::SKER, taken);
    let mut emptied = town.clone();
    assert_eq!(town.done(&drafts).1, HUB);
    assert_eq!(town.held(&sender, Denom::SKER), 150);
    emptied.done(&own);
    let key = balance_key(&sender, &Denom::SKER);
    assert_eq!(emptied.world.state(shard(0)).get(&key), None);
    // What it sends to itself, it gets from itself.
    let user = town.users[0];
    let drafts: Vec<Draft> = (0..4).map(|_| town.send(user, user, 30)).collect();
    town.hold(
        &sender,
        Denom::SKER,
        drafts.iter().map(|it| town.taken(it)).sum(),
    );
    let (_, figures) = town.done(&drafts);
    assert_eq!((figures.longest, figures.covered), (4, 0));
    assert_eq!(town.held(&sender, Denom::SKER), 120);
}

/// Void for its nonce or its fee, failed in its calls, cut off by its gas: it takes less than it may.
#[test]
fn what_fails_at_a_covered_account_takes_less_and_no_more() {
    let mut town = Town::new(41, 1);
    let users = town.users.clone();
    let mut drafts = hub(&mut town);
    let mut late = town.send(users[0], users[40], 9);
    late.bundle.deadline = Height::ZERO;
    let mut owing = town.send(users[0], users[40], 9);
    owing.bundle.assets = vec![nsker(8)];
    let wrong = Draft {
        sequence: 77,
        ..late.clone()
    };
    let short = Draft {
        gas_limit: 1,
        ..late.clone()
    };
    drafts.insert(11, wrong);
    drafts.insert(20, short);
    drafts.extend([late, owing]);
    let (outcome, figures) = town.agreed(&drafts);
    assert_eq!((figures.covered, figures.longest), (1, 13));
    let codes: Vec<&str> = outcome
        .receipts
        .iter()
        .map(code)
        .filter(|it| !it.is_empty())
        .collect();
    assert_eq!(
        codes,
        [
            "WRONG_NONCE",
            "GAS_LIMIT_TOO_LOW",
            "DEADLINE_PASSED",
            "SHEET_NEGATIVE"
        ]
    );
    // What nobody can pay covers nobody.
    let mut dear = town.send(users[0], users[40], 9);
    dear.price = u128::MAX;
    drafts.push(dear);
    let (outcome, figures) = town.agreed(&drafts);
    assert_eq!((figures.covered, figures.longest), (0, 44));
    assert_eq!(code(&outcome.receipts[44]), "INSUFFICIENT_FEE_BALANCE");
}

/// Calls that read or write an account see its records: they are in order with all that touch it.
#[test]
fn account_that_a_call_writes_is_a_lane_of_all() {
    let mut town = Town::new(41, 1);
    let users = town.users.clone();
    let mut drafts = hub(&mut town);
    let authenticator = Authenticator::Ed25519(users[0].key);
    let rotate = operation(ACCOUNT, &AccountCall::RotateKey { authenticator });
    drafts.push(Draft::new(users[0], town.next(&users[0]), Vec::new()).call(rotate));
    let (_, figures) = town.agreed(&drafts);
    assert_eq!((figures.covered, figures.longest), (0, 41));
}

/// Messages, requests and swaps of a covered account: it loses what they attach, and a swap's output is
/// added.
#[test]
fn other_calls_of_a_covered_account_leave_it_covered() {
    let mut town = Town::new(41, 2);
    let users = town.users.clone();
    let mut drafts = hub(&mut town);
    for number in 0..3 {
        let away = town.away[number];
        drafts.push(town.send_asset(users[0], away, nsker(3)));
        drafts.push(swap(&mut town, users[0], number % 2, 1_000));
        let validator = ValidatorId::new(0);
        let amount = Amount::new(9);
        let call = operation(STAKING, &StakingCall::TopUp { validator, amount });
        let request = Draft::new(users[0], town.next(&users[0]), vec![nsker(9)]).call(call);
        drafts.push(request.to(Target::Beacon));
        drafts.push(town.send(users[1 + number], users[0], 2));
    }
    let (outcome, figures) = town.agreed(&drafts);
    assert_eq!((figures.covered, figures.longest), (1, 19));
    assert!(
        outcome
            .receipts
            .iter()
            .all(|it| it.status == Status::Succeeded)
    );
}

/// The first user swaps in two pools by turns, each of which others keep with a worker of its own, while
/// everybody pays it: what it holds goes to and fro, and both workers add to it all along.
pub(super) fn to_and_fro(town: &mut Town) -> Vec<Draft> {
    let users = town.users.clone();
    let mut drafts = Vec::new();
    for (number, user) in users.iter().enumerate().skip(1) {
        drafts.push(swap(town, *user, number % 2, 1_000));
        if number % 8 == 0 {
            drafts.push(swap(town, users[0], number / 8 % 2, 50));
        }
        if number % 3 == 0 {
            drafts.push(town.send(*user, users[0], 5));
        }
    }
    drafts
}

#[test]
fn what_others_add_before_and_after_a_handover_is_kept() {
    let mut town = Town::new(81, 2);
    let drafts = to_and_fro(&mut town);
    let (before, own) = (town.users[0].address, drafts.iter());
    let own: Vec<&Draft> = own.filter(|it| it.user.address == before).collect();
    assert_eq!(own.len(), 10);
    let (_, figures, _) = town.watched(2, &work(&town, &drafts));
    assert!(figures.handovers >= 5, "{figures:?}");
    assert_eq!(figures.covered, 1);
    let (outcome, _) = town.agreed(&drafts);
    assert!(
        outcome
            .receipts
            .iter()
            .all(|it| it.status == Status::Succeeded)
    );
}

/// A sum that is too large fails the transfer that makes it so, and what is sent before or after decides
/// which that is.
#[test]
fn covered_balance_near_its_limit_is_decided_as_in_order() {
    let mut town = Town::new(41, 1);
    let users = town.users.clone();
    let junk = |amount: u128| Asset {
        denom: town.tokens[0],
        amount: Amount::new(amount),
    };
    let (large, unit) = (junk(50), junk(30));
    let mut drafts = Vec::new();
    for user in &users[1..=12] {
        town.hold(&user.address, unit.denom, 1 << 120);
    }
    for from in 1..=12 {
        drafts.push(town.send_asset(users[from], users[0].address, unit));
        if from % 4 == 0 {
            drafts.push(town.send_asset(users[0], users[from].address, large));
        }
    }
    let mut seen = BTreeMap::new();
    for room in [
        0,
        29,
        30,
        31,
        61,
        70,
        100,
        120,
        200,
        300,
        400,
        1 << 90,
        1 << 127,
    ] {
        town.hold(&users[0].address, unit.denom, u128::MAX - room);
        let (outcome, figures) = town.equal(&work(&town, &drafts));
        // With three to whom it sends.
        assert_eq!(figures.covered, 4);
        let failed = outcome
            .receipts
            .iter()
            .filter(|it| code(it) == "OVERFLOW")
            .count();
        seen.insert(room, failed);
    }
    assert_eq!(seen[&0], 9);
    assert_eq!(seen[&(1 << 127)], 0);
    assert!(
        seen.values().any(|failed| (1..10).contains(failed)),
        "{seen:?}"
    );
}

/// The sum is too large only until some of it is sent: no worker sees it, and neither does who adds up
/// what they did.
#[test]
fn covered_balance_that_is_too_large_for_a_while_is_decided_as_in_order() {
    let mut town = Town::new(10, 1);
    let users = town.users.clone();
    let junk = |amount: u128| Asset {
        denom: town.tokens[0],
        amount: Amount::new(amount),
    };
    let (half, quarter) = (junk(1 << 127), junk(1 << 126));
    town.hold(&users[0].address, half.denom, half.amount.get());
    for user in &users[1..3] {
        town.hold(&user.address, half.denom, quarter.amount.get());
    }
    let drafts = [
        town.send_asset(users[1], users[0].address, quarter),
        town.send_asset(users[2], users[0].address, quarter),
        town.send_asset(users[0], users[3].address, half),
    ];
    let (outcome, figures) = town.equal(&work(&town, &drafts));
    let codes: Vec<&str> = outcome.receipts.iter().map(code).collect();
    assert_eq!((codes, figures.covered), (vec!["", "OVERFLOW", ""], 1));
}

/// More denoms than are added up: the account is a lane of all, as if it held too little.
#[test]
fn account_that_sends_many_denoms_is_a_lane_of_all() {
    // One more is that of the fee; who gets them and sends something else is covered all the same.
    for (denoms, lane, covered) in [(15, 15, 16), (16, 32, 16)] {
        let mut town = Town::new(41, 1);
        let users = town.users.clone();
        let mut drafts = Vec::new();
        for number in 0..denoms {
            let denom = Denom::created(&users[0].address, &format!("denom{number}"));
            town.hold(&users[0].address, denom, 1_000);
            let amount = Amount::new(10);
            let to = users[1 + number];
            drafts.push(town.send_asset(users[0], to.address, Asset { denom, amount }));
            drafts.push(town.send(to, users[0], 3));
        }
        let (outcome, figures) = town.agreed(&drafts);
        assert!(
            outcome
                .receipts
                .iter()
                .all(|it| it.status == Status::Succeeded)
        );
        assert_eq!((figures.longest, figures.covered), (lane, covered));
    }
}

/// Few people with little or much of some denoms, and their bundles of one to three transfers.
fn some(town: &mut Town, draws: &mut Draws, count: usize) -> Vec<Draft> {
    let denoms = [Denom::RSSKER, Denom::SKER, Denom::STSKER];
    let people = town.users.clone();
    let one = |draws: &mut Draws| {
        // The lower of two: some are met far more often than others.
        let limit = people.len() as u64;
        people[draws.below(limit).min(draws.below(limit)) as usize]
    };
    let mut drafts = Vec::new();
    while drafts.len() < count {
        let from = one(draws);
        let sequence = match draws.below(50) {
            0 => 1_000_000,
            _ => town.next(&from),
        };
        let mut draft = Draft::new(from, sequence, Vec::new());
        let mut attached = BTreeMap::<Denom, u128>::new();
        for _ in 0..=draws.below(3) {
            let denom = denoms[draws.below(3) as usize];
            let amount = draws.amount(24);
            *attached.entry(denom).or_default() += amount;
            let to = match draws.below(8) {
                0 => town.away[0],
                1 => from.address,
                _ => one(draws).address,
            };
            let asset = Asset {
                denom,
                amount: Amount::new(amount),
            };
            draft = draft.call(bank(&BankCall::Send { to, asset }));
        }
        // Now and then a unit too little, or something is left.
        let off = |units: u128, draw: u64| match draw {
            0 => units - 1,
            1 => units + 5,
            _ => units,
        };
        let assets = attached.into_iter().map(|(denom, units)| Asset {
            denom,
            amount: Amount::new(off(units, draws.below(20)).max(1)),
        });
        draft.bundle.assets = assets.collect();
        drafts.push(draft);
    }
    drafts
}

/// The knob: how much everybody holds, from far too little to plenty.
#[test]
fn any_balances_give_the_sequential_outcome() {
    let (mut covered, mut shared, mut codes) = (0, 0, BTreeMap::new());
    for seed in 0..36_u64 {
        let mut draws = Draws::new(seed);
        let mut town = Town::new(5 + seed % 3 * 12, 1);
        for user in town.users.clone() {
            for denom in [Denom::RSSKER, Denom::SKER, Denom::STSKER] {
                let width = if denom == Denom::SKER { 19 } else { 12 };
                let most = width + seed / 3 * 2;
                let units = match draws.below(12) {
                    0 => 0,
                    drawn => (1 << most) >> (drawn / 2),
                };
                town.hold(&user.address, denom, units);
            }
        }
        for _ in 0..3 {
            let drafts = some(&mut town, &mut draws, 50);
            let (outcome, figures) = town.done(&drafts);
            covered += figures.covered;
            shared += usize::from(figures.longest > 10);
            for receipt in &outcome.receipts {
                *codes.entry(code(receipt).to_owned()).or_insert(0) += 1;
            }
            // Some are void, and their numbers come again.
            town.sequences = town
                .users
                .iter()
                .map(|it| (it.address, nonce(&town, it)))
                .collect();
        }
    }
    assert!(covered > 300 && shared > 30, "{covered}, {shared}");
    for code in [
        "",
        "WRONG_NONCE",
        "INSUFFICIENT_FEE_BALANCE",
        "INSUFFICIENT_BALANCE",
        "SHEET_NEGATIVE",
    ] {
        assert!(
            codes.get(code).is_some_and(|count| *count > 50),
            "{codes:?}"
        );
    }
}

fn nonce(town: &Town, user: &User) -> u64 {
    crate::views::next_nonce(town.world.state(shard(0)), &user.address, 0)
}
