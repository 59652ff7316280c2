//! What the pool takes, what it gives up for what, and what a block gets from it.

use super::*;
use skerry_types::codec::{Version, encode};
use skerry_types::crypto::ed25519::{PublicKey, Signature};
use skerry_types::ids::KeyScheme;
use skerry_types::transaction::{
    Authenticator, Bundle, Nonce, SignedTransaction, Target, TransactionBody, Witness,
};
use std::time::Duration;

/// What a test says of a transaction; the rest does not matter to the pool.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sketch {
    sender: u32,
    stream: u16,
    sequence: u64,
    price: u128,
    valid_until: u64,
}

pub(crate) const fn sketch(sender: u32, sequence: u64, price: u128) -> Sketch {
    Sketch {
        sender,
        stream: 0,
        sequence,
        price,
        valid_until: 1_000,
    }
}

fn address(sender: u32) -> Address {
    let mut key = [0; 32];
    key[..4].copy_from_slice(&sender.to_be_bytes());
    Address::of_key_near(KeyScheme::Ed25519, &key, Address::default_locality(&key))
}

pub(crate) fn transaction(sketch: Sketch) -> Arc<CheckedTransaction> {
    let body = TransactionBody {
        version: Version,
        chain_id: Digest::ZERO,
        sender: address(sketch.sender),
        nonce: Nonce {
            stream: sketch.stream,
            sequence: sketch.sequence,
        },
        valid_until: Height::new(sketch.valid_until),
        gas_limit: Gas::new(1_000),
        gas_price: Amount::new(sketch.price),
        bundle: Bundle {
            target: Target::Home,
            assets: Vec::new(),
            operations: Vec::new(),
            minimum_outputs: Vec::new(),
            deadline: Height::new(1_000),
            onward: Vec::new(),
        },
    };
    let witness = Witness {
        authenticator: Authenticator::Ed25519(PublicKey([0; 32])),
        signatures: vec![(0, Signature([0; 64]))],
    };
    let wire = encode(&SignedTransaction { body, witness });
    Arc::new(CheckedTransaction::decode(wire, &Digest::ZERO).expect("well-formed"))
}

/// An admitted by somebody who can pay for anything.
pub(crate) const fn of(transaction: Arc<CheckedTransaction>) -> Admitted {
    Admitted {
        transaction,
        fee: Amount::new(1),
        funds: Amount::MAX,
    }
}

fn admitted(sketch: Sketch) -> Admitted {
    of(transaction(sketch))
}

fn limits(transactions_max: usize) -> MempoolLimits {
    MempoolLimits {
        transactions_max,
        ..MempoolLimits::default()
    }
}

fn pool_of(limits: MempoolLimits, sketches: &[Sketch]) -> Mempool {
    let mut pool = Mempool::new(limits);
    for sketch in sketches {
        let inserted = pool.insert(admitted(*sketch), 0, Amount::ZERO);
        assert_eq!(inserted, Ok(Inserted::New), "{sketch:?}");
    }
    check_invariants(&pool);
    pool
}

const ROOMY: Budget = Budget {
    transactions: 1_000,
    bytes: 1 << 20,
    gas: Gas::new(1 << 40),
    base_fee: Amount::ZERO,
};

/// (sender, sequence) of what a block gets; sender by price-independent lookup.
fn select(pool: &Mempool, budget: Budget) -> Vec<(Address, u64)> {
    names(
        &pool.select(budget, &|_| false, &|_, _| 0, Height::new(1), &|_| {
            Some(Gas::new(10))
        }),
    )
}

fn names(chosen: &[Arc<CheckedTransaction>]) -> Vec<(Address, u64)> {
    chosen
        .iter()
        .map(|t| (t.body().sender, t.body().nonce.sequence))
        .collect()
}

fn expected(list: &[(u32, u64)]) -> Vec<(Address, u64)> {
    list.iter()
        .map(|(sender, sequence)| (address(*sender), *sequence))
        .collect()
}

/// The two orders and the indices say the same as the streams.
fn check_invariants(pool: &Mempool) {
    let streams = pool.streams.sorted();
    let entries: Vec<&Entry> = streams.iter().flat_map(|(_, s)| s.entries()).collect();
    assert_eq!(entries.len(), pool.ids.len());
    assert_eq!(entries.len(), pool.expiries.len());
    assert_eq!(
        entries.iter().map(|entry| entry.bytes()).sum::<usize>(),
        pool.bytes
    );
    let senders = pool.senders.sorted();
    let counted: usize = senders.iter().map(|(_, held)| held.count).sum();
    assert_eq!(counted, entries.len());
    for (sender, held) in senders {
        let own = entries
            .iter()
            .filter(|entry| entry.transaction.body().sender == *sender);
        assert_eq!(
            own.map(|entry| entry.fee.get()).sum::<u128>(),
            held.fees.get()
        );
        let of_sender = streams.iter().filter(|(key, _)| key.sender == *sender);
        let numbers: BTreeSet<u16> = of_sender.map(|(key, _)| key.stream).collect();
        assert_eq!(numbers, held.streams);
    }
    for entry in &entries {
        assert!(Arc::ptr_eq(
            pool.get(&entry.id()).expect("indexed"),
            &entry.transaction
        ));
    }
    let heads: BTreeSet<HeadKey> = streams
        .iter()
        .filter_map(|(key, stream)| head_key(**key, stream))
        .collect();
    let tails: BTreeSet<TailKey> = streams
        .iter()
        .filter_map(|(key, stream)| tail_key(**key, stream))
        .collect();
    assert_eq!(heads, pool.heads);
    assert_eq!(tails, pool.tails);
    assert_eq!(tails.len(), pool.streams.len(), "no stream is empty");
    for (_, stream) in &streams {
        assert!(
            stream
                .entries()
                .windows(2)
                .all(|pair| pair[0].sequence() < pair[1].sequence())
        );
    }
    assert!(pool.len() <= pool.limits.transactions_max);
    assert!(pool.bytes <= pool.limits.bytes_max);
}

#[test]
fn same_transaction_again_is_known() {
    let mut pool = pool_of(limits(10), &[sketch(1, 0, 5)]);
    assert_eq!(
        pool.insert(admitted(sketch(1, 0, 5)), 0, Amount::ZERO),
        Ok(Inserted::Known)
    );
    assert_eq!(pool.len(), 1);
}

#[test]
fn used_sequence_is_stale_and_next_one_is_taken() {
    let mut pool = Mempool::new(limits(10));
    let stale = pool.insert(admitted(sketch(1, 4, 5)), 5, Amount::ZERO);
    assert_eq!(
        stale,
        Err(Refused::Stale {
            expected: 5,
            actual: 4
        })
    );
    assert_eq!(
        pool.insert(admitted(sketch(1, 5, 5)), 5, Amount::ZERO),
        Ok(Inserted::New)
    );
}

#[test]
fn sequence_beyond_the_gap_limit_is_refused_at_the_limit_taken() {
    let mut pool = Mempool::new(MempoolLimits {
        future_gap_max: 3,
        ..limits(10)
    });
    let far = pool.insert(admitted(sketch(1, 9, 5)), 5, Amount::ZERO);
    assert_eq!(
        far,
        Err(Refused::TooFarAhead {
            expected: 5,
            actual: 9,
            limit: 8
        })
    );
    assert_eq!(
        pool.insert(admitted(sketch(1, 8, 5)), 5, Amount::ZERO),
        Ok(Inserted::New)
    );
}

#[test]
fn price_below_the_base_fee_is_refused_at_it_taken() {
    let mut pool = Mempool::new(limits(10));
    let (base_fee, offered) = (Amount::new(10), Amount::new(9));
    let low = pool.insert(admitted(sketch(1, 0, 9)), 0, base_fee);
    assert_eq!(low, Err(Refused::BelowBaseFee { base_fee, offered }));
    assert_eq!(
        pool.insert(admitted(sketch(1, 0, 10)), 0, base_fee),
        Ok(Inserted::New)
    );
}

#[test]
fn what_pays_less_than_the_block_takes_waits_with_all_behind_it() {
    let pool = pool_of(
        limits(10),
        &[
            sketch(1, 0, 12),
            sketch(1, 1, 9),
            sketch(1, 2, 50),
            sketch(2, 0, 10),
            sketch(3, 0, 9),
        ],
    );
    let at = |base_fee| Budget {
        base_fee: Amount::new(base_fee),
        ..ROOMY
    };
    assert_eq!(select(&pool, at(10)), expected(&[(1, 0), (2, 0)]));
    assert_eq!(select(&pool, at(11)), expected(&[(1, 0)]));
    assert_eq!(select(&pool, at(13)), expected(&[]));
    let all = [(1, 0), (2, 0), (1, 1), (1, 2), (3, 0)];
    let chosen = select(&pool, at(9));
    assert_eq!(chosen.len(), all.len());
    assert!(all.iter().all(|it| chosen.contains(&expected(&[*it])[0])));
}

#[test]
fn sender_has_no_more_waiting_than_it_can_pay_for() {
    let costing = |fee, sketch| Admitted {
        fee: Amount::new(fee),
        funds: Amount::new(100),
        ..admitted(sketch)
    };
    let mut pool = Mempool::new(limits(10));
    let mut insert = |fee, sketch| pool.insert(costing(fee, sketch), 0, Amount::ZERO);
    assert_eq!(insert(60, sketch(1, 0, 5)), Ok(Inserted::New));
    let overdrawn = |needed| {
        Err(Refused::Overdrawn {
            needed: Amount::new(needed),
            funds: Amount::new(100),
        })
    };
    assert_eq!(insert(41, sketch(1, 1, 5)), overdrawn(101));
    assert_eq!(insert(40, sketch(1, 1, 5)), Ok(Inserted::New));
    // All its streams count, and nobody else's.
    let other_stream = Sketch {
        stream: 1,
        ..sketch(1, 0, 5)
    };
    assert_eq!(insert(1, other_stream), overdrawn(101));
    assert_eq!(insert(100, sketch(2, 0, 5)), Ok(Inserted::New));
    // A replacement frees what it replaces, no more.
    assert_eq!(insert(41, sketch(1, 1, 50)), overdrawn(101));
    let replaced = insert(40, sketch(1, 1, 50));
    assert!(matches!(replaced, Ok(Inserted::Replaced { .. })));
    // What leaves the pool counts no more.
    pool.remove_final(&[], [(address(1), 0, 1)]);
    check_invariants(&pool);
    let freed = pool.insert(costing(60, sketch(1, 2, 5)), 1, Amount::ZERO);
    assert_eq!(freed, Ok(Inserted::New));
}

#[test]
fn what_waits_behind_a_newcomer_gives_way_where_both_cannot_be_paid() {
    let costing = |fee, sketch| Admitted {
        fee: Amount::new(fee),
        funds: Amount::new(100),
        ..admitted(sketch)
    };
    let mut pool = Mempool::new(limits(10));
    for sequence in [2, 3, 4] {
        let inserted = pool.insert(costing(30, sketch(1, sequence, 5)), 0, Amount::ZERO);
        assert_eq!(inserted, Ok(Inserted::New));
    }
    // The last two are worth 60: enough for one of 70, and not for one that stands behind them.
    let overdrawn = pool.insert(costing(11, sketch(1, 5, 5)), 0, Amount::ZERO);
    assert!(matches!(overdrawn, Err(Refused::Overdrawn { .. })));
    assert_eq!(
        pool.insert(costing(70, sketch(1, 0, 5)), 0, Amount::ZERO),
        Ok(Inserted::New)
    );
    check_invariants(&pool);
    assert_eq!(pool.len(), 2);
    let gone = [3, 4].map(|sequence| transaction(sketch(1, sequence, 5)).id());
    let mut dropped = pool.take_dropped();
    dropped.sort_unstable();
    let mut expected = gone.to_vec();
    expected.sort_unstable();
    assert_eq!(dropped, expected);
}

#[test]
fn who_became_poorer_keeps_waiting_what_can_still_be_paid() {
    let stream = |stream, sequence| Sketch {
        stream,
        ..sketch(1, sequence, 5)
    };
    let mut pool = pool_of(
        limits(10),
        &[
            stream(0, 0),
            stream(0, 1),
            stream(3, 0),
            stream(3, 1),
            sketch(2, 0, 5),
        ],
    );
    pool.hold_to(&address(1), Amount::new(4));
    assert_eq!(pool.len(), 5);
    pool.hold_to(&address(1), Amount::new(3));
    assert!(!pool.contains(&transaction(stream(3, 1)).id()));
    pool.hold_to(&address(1), Amount::ZERO);
    check_invariants(&pool);
    assert_eq!(select(&pool, ROOMY), expected(&[(2, 0)]));
    assert!(!pool.has_of(&address(1)) && pool.has_of(&address(2)));
    assert_eq!(pool.take_dropped().len(), 4);
}

/// A head that a block has taken up pays little, what stands behind it much.
#[test]
fn what_stands_behind_a_cheap_included_head_is_found() {
    let pool = pool_of(
        limits(10),
        &[sketch(1, 0, 5), sketch(1, 1, 50), sketch(2, 0, 6)],
    );
    let budget = Budget {
        base_fee: Amount::new(7),
        ..ROOMY
    };
    let included = transaction(sketch(1, 0, 5)).id();
    let next = |sender: &Address, _: u16| u64::from(*sender == address(1));
    let chosen = pool.select(
        budget,
        &|id| *id == included,
        &next,
        Height::new(1),
        &|_| Some(Gas::new(10)),
    );
    assert_eq!(names(&chosen), expected(&[(1, 1)]));
}

#[test]
fn replacement_needs_a_tenth_more_rounded_up() {
    for (old, needed) in [
        (100, 110),
        (101, 112),
        (9, 10),
        (0, 1),
        (u128::MAX, u128::MAX),
    ] {
        assert_eq!(replacement_price(Amount::new(old)), Amount::new(needed));
    }
    let mut pool = pool_of(limits(10), &[sketch(1, 0, 100)]);
    let low = pool.insert(admitted(sketch(1, 0, 109)), 0, Amount::ZERO);
    let (needed, offered) = (Amount::new(110), Amount::new(109));
    assert_eq!(
        low,
        Err(Refused::ReplacementUnderpriced { needed, offered })
    );
    let old = transaction(sketch(1, 0, 100)).id();
    let replaced = pool.insert(admitted(sketch(1, 0, 110)), 0, Amount::ZERO);
    assert_eq!(replaced, Ok(Inserted::Replaced { old }));
    assert!(!pool.contains(&old));
    assert_eq!(pool.take_dropped(), [old]);
    assert_eq!(pool.len(), 1);
    check_invariants(&pool);
}

#[test]
fn sender_limit_counts_all_streams_and_lets_replacements_through() {
    let small = MempoolLimits {
        per_sender_max: 2,
        ..limits(10)
    };
    let mut pool = pool_of(
        small,
        &[
            sketch(1, 0, 5),
            Sketch {
                stream: 7,
                ..sketch(1, 0, 5)
            },
        ],
    );
    let third = pool.insert(admitted(sketch(1, 1, 50)), 0, Amount::ZERO);
    assert_eq!(third, Err(Refused::SenderFull { limit: 2 }));
    let replaced = pool.insert(admitted(sketch(1, 0, 50)), 0, Amount::ZERO);
    assert!(matches!(replaced, Ok(Inserted::Replaced { .. })));
    assert_eq!(
        pool.insert(admitted(sketch(2, 0, 5)), 0, Amount::ZERO),
        Ok(Inserted::New)
    );
}

#[test]
fn block_gets_better_paid_first_then_oldest_and_sequences_in_order() {
    let pool = pool_of(
        limits(10),
        &[
            sketch(1, 1, 90),
            sketch(1, 0, 10),
            sketch(2, 0, 20),
            sketch(3, 0, 20),
            sketch(4, 0, 5),
        ],
    );
    let order = expected(&[(2, 0), (3, 0), (1, 0), (1, 1), (4, 0)]);
    assert_eq!(select(&pool, ROOMY), order);
}

#[test]
fn nothing_behind_a_gap_is_selected_until_it_closes() {
    let mut pool = pool_of(
        limits(10),
        &[sketch(1, 0, 5), sketch(1, 2, 50), sketch(2, 1, 50)],
    );
    assert_eq!(select(&pool, ROOMY), expected(&[(1, 0)]));
    for closing in [sketch(1, 1, 5), sketch(2, 0, 1)] {
        pool.insert(admitted(closing), 0, Amount::ZERO)
            .expect("room");
    }
    let all = expected(&[(1, 0), (1, 1), (1, 2), (2, 0), (2, 1)]);
    assert_eq!(select(&pool, ROOMY), all);
}

#[test]
fn what_ancestors_hold_is_skipped_and_their_next_sequence_counts() {
    let pool = pool_of(
        limits(10),
        &[sketch(1, 0, 5), sketch(1, 1, 5), sketch(2, 0, 9)],
    );
    let held = [
        transaction(sketch(1, 0, 5)).id(),
        transaction(sketch(2, 0, 9)).id(),
    ];
    let chosen = pool.select(
        ROOMY,
        &|id| held.contains(id),
        &|_, _| 1,
        Height::new(1),
        &|_| Some(Gas::ZERO),
    );
    assert_eq!(names(&chosen), expected(&[(1, 1)]));
    // An ancestor holds another transaction with the sequence 0 of sender 1.
    let chosen = pool.select(ROOMY, &|_| false, &|_, _| 1, Height::new(1), &|_| {
        Some(Gas::ZERO)
    });
    assert_eq!(names(&chosen), expected(&[(1, 1)]));
}

#[test]
fn each_budget_ends_a_block() {
    let pool = pool_of(
        limits(10),
        &[sketch(1, 0, 5), sketch(2, 0, 4), sketch(3, 0, 3)],
    );
    let size = pool.bytes() / 3 + LENGTH_PREFIX_BYTES;
    for (budget, count) in [
        (
            Budget {
                transactions: 2,
                ..ROOMY
            },
            2,
        ),
        (
            Budget {
                bytes: 2 * size,
                ..ROOMY
            },
            2,
        ),
        (
            Budget {
                bytes: 2 * size - 1,
                ..ROOMY
            },
            1,
        ),
        (
            Budget {
                gas: Gas::new(20),
                ..ROOMY
            },
            2,
        ),
        (
            Budget {
                gas: Gas::new(19),
                ..ROOMY
            },
            1,
        ),
        (
            Budget {
                transactions: 0,
                ..ROOMY
            },
            0,
        ),
    ] {
        assert_eq!(select(&pool, budget).len(), count, "{budget:?}");
    }
}

#[test]
fn what_cannot_be_included_ends_its_own_stream_only() {
    let pool = pool_of(
        limits(10),
        &[
            sketch(1, 0, 9),
            sketch(1, 1, 9),
            Sketch {
                valid_until: 4,
                ..sketch(2, 0, 8)
            },
            sketch(3, 0, 7),
        ],
    );
    let unpayable = address(1);
    let gas_of = |t: &CheckedTransaction| (t.body().sender != unpayable).then_some(Gas::ZERO);
    let at =
        |height| names(&pool.select(ROOMY, &|_| false, &|_, _| 0, Height::new(height), &gas_of));
    assert_eq!(at(4), expected(&[(2, 0), (3, 0)]));
    assert_eq!(at(5), expected(&[(3, 0)]));
}

#[test]
fn many_well_paid_but_unpayable_transactions_do_not_shut_others_out() {
    let mut sketches: Vec<Sketch> = (0..2_000).map(|sender| sketch(sender, 0, 99)).collect();
    sketches.push(sketch(9_999, 0, 1));
    let pool = pool_of(limits(3_000), &sketches);
    let honest = address(9_999);
    let gas_of = |t: &CheckedTransaction| (t.body().sender == honest).then_some(Gas::ZERO);
    let chosen = pool.select(ROOMY, &|_| false, &|_, _| 0, Height::new(1), &gas_of);
    assert_eq!(names(&chosen), expected(&[(9_999, 0)]));
}

#[test]
fn full_pool_takes_only_what_pays_more_than_its_lowest_tail() {
    let mut pool = pool_of(limits(2), &[sketch(1, 0, 5), sketch(2, 0, 6)]);
    let equal = pool.insert(admitted(sketch(3, 0, 5)), 0, Amount::ZERO);
    assert_eq!(
        equal,
        Err(Refused::Full {
            lowest: Amount::new(5)
        })
    );
    assert_eq!(
        pool.insert(admitted(sketch(3, 0, 7)), 0, Amount::ZERO),
        Ok(Inserted::New)
    );
    assert_eq!(select(&pool, ROOMY), expected(&[(3, 0), (2, 0)]));
    assert_eq!(pool.take_dropped(), [transaction(sketch(1, 0, 5)).id()]);
    assert!(pool.take_dropped().is_empty(), "told once");
    check_invariants(&pool);
}

#[test]
fn among_equal_tails_the_newest_is_evicted() {
    let mut pool = pool_of(limits(2), &[sketch(1, 0, 5), sketch(2, 0, 5)]);
    pool.insert(admitted(sketch(3, 0, 6)), 0, Amount::ZERO)
        .expect("worth more");
    assert_eq!(select(&pool, ROOMY), expected(&[(3, 0), (1, 0)]));
}

#[test]
fn well_paid_tail_behind_a_badly_paid_head_does_not_shield_it() {
    let mut pool = pool_of(limits(2), &[sketch(1, 0, 1), sketch(1, 1, 100)]);
    pool.insert(admitted(sketch(2, 0, 2)), 0, Amount::ZERO)
        .expect("worth more than 1");
    assert_eq!(select(&pool, ROOMY), expected(&[(2, 0), (1, 0)]));
    // Nor does it push others out: it is worth what its head pays.
    let behind = pool.insert(admitted(sketch(1, 1, 100)), 0, Amount::ZERO);
    assert_eq!(
        behind,
        Err(Refused::Full {
            lowest: Amount::new(1)
        })
    );
}

#[test]
fn what_lies_behind_a_gap_is_evicted_before_anything_else() {
    let mut pool = pool_of(limits(2), &[sketch(1, 0, 1), sketch(2, 5, 100)]);
    let gapped = pool.insert(admitted(sketch(3, 5, 100)), 0, Amount::ZERO);
    assert!(matches!(gapped, Err(Refused::Full { .. })));
    pool.insert(admitted(sketch(3, 0, 1)), 0, Amount::ZERO)
        .expect("ready beats gapped");
    assert_eq!(select(&pool, ROOMY), expected(&[(1, 0), (3, 0)]));
}

#[test]
fn refused_newcomer_puts_back_what_it_pushed_out() {
    let size = transaction(sketch(1, 0, 5)).wire().len();
    let tight = MempoolLimits {
        bytes_max: 2 * size,
        ..limits(10)
    };
    let mut pool = pool_of(tight, &[sketch(1, 0, 5), sketch(2, 0, 50)]);
    let mut large = transaction(sketch(3, 0, 10)).transaction().clone();
    large.body.bundle.operations = vec![skerry_types::transaction::Operation {
        module: skerry_types::ids::ModuleId::new(2),
        call: vec![0; size],
    }];
    let large = CheckedTransaction::decode(encode(&large), &Digest::ZERO).expect("well-formed");
    let refused = pool.insert(of(Arc::new(large)), 0, Amount::ZERO);
    assert_eq!(
        refused,
        Err(Refused::Full {
            lowest: Amount::new(50)
        })
    );
    assert_eq!(select(&pool, ROOMY), expected(&[(2, 0), (1, 0)]));
    assert!(pool.take_dropped().is_empty());
    check_invariants(&pool);
}

#[test]
fn final_block_removes_its_transactions_and_what_became_stale() {
    let mut pool = pool_of(
        limits(10),
        &[
            sketch(1, 0, 5),
            sketch(1, 1, 5),
            sketch(1, 2, 5),
            sketch(2, 0, 5),
            sketch(3, 0, 5),
        ],
    );
    let void = transaction(sketch(3, 0, 5)).id();
    let dropped = pool.remove_final(&[void], [(address(1), 0, 2), (address(9), 0, 4)]);
    assert_eq!(dropped, 3);
    check_invariants(&pool);
    let next = |sender: &Address, _| if *sender == address(1) { 2 } else { 0 };
    let chosen = pool.select(ROOMY, &|_| false, &next, Height::new(1), &|_| {
        Some(Gas::ZERO)
    });
    assert_eq!(names(&chosen), expected(&[(1, 2), (2, 0)]));
}

#[test]
fn final_block_brings_a_waiting_stream_to_its_turn() {
    let mut pool = pool_of(limits(10), &[sketch(1, 1, 5)]);
    assert!(select(&pool, ROOMY).is_empty());
    pool.remove_final(&[], [(address(1), 0, 1)]);
    let chosen = pool.select(ROOMY, &|_| false, &|_, _| 1, Height::new(1), &|_| {
        Some(Gas::ZERO)
    });
    assert_eq!(names(&chosen), expected(&[(1, 1)]));
}

#[test]
fn expired_transactions_are_dropped_one_height_after_their_last() {
    let mut pool = pool_of(
        limits(10),
        &[
            Sketch {
                valid_until: 7,
                ..sketch(1, 0, 5)
            },
            Sketch {
                valid_until: 8,
                ..sketch(2, 0, 5)
            },
        ],
    );
    assert!(pool.drop_expired(Height::new(7)).is_empty());
    let first = transaction(Sketch {
        valid_until: 7,
        ..sketch(1, 0, 5)
    })
    .id();
    assert_eq!(pool.drop_expired(Height::new(8)), vec![first]);
    assert_eq!(pool.len(), 1);
    check_invariants(&pool);
}

/// Prints what insertion, selection and removal of a full pool cost.
#[test]
fn a_full_pool_is_filled_and_emptied_in_full_blocks() {
    let transactions: Vec<_> = (0..100_000_u32)
        .map(|index| transaction(sketch(index % 10_000, u64::from(index / 10_000), 10)))
        .collect();
    let mut pool = Mempool::new(MempoolLimits {
        transactions_max: 100_000,
        ..MempoolLimits::default()
    });
    let watch = std::time::Instant::now();
    for transaction in &transactions {
        pool.insert(of(Arc::clone(transaction)), 0, Amount::ZERO)
            .expect("room");
    }
    let inserted = watch.elapsed();
    let mut nexts: BTreeMap<Address, u64> = BTreeMap::new();
    let budget = Budget {
        transactions: 5_000,
        bytes: 6 << 20,
        gas: Gas::new(1 << 40),
        base_fee: Amount::ZERO,
    };
    let (mut selecting, mut removing, mut blocks) = (Duration::ZERO, Duration::ZERO, 0);
    while !pool.is_empty() {
        let watch = std::time::Instant::now();
        let next = |sender: &Address, _| nexts.get(sender).copied().unwrap_or(0);
        let chosen = pool.select(budget, &|_| false, &next, Height::new(1), &|_| {
            Some(Gas::ZERO)
        });
        selecting += watch.elapsed();
        assert_eq!(chosen.len(), 5_000);
        blocks += 1;
        for transaction in &chosen {
            let body = transaction.body();
            nexts.insert(body.sender, body.nonce.sequence + 1);
        }
        let ids: Vec<Digest> = chosen.iter().map(|transaction| transaction.id()).collect();
        let changed: BTreeMap<Address, u64> = chosen
            .iter()
            .map(|t| (t.body().sender, t.body().nonce.sequence + 1))
            .collect();
        let watch = std::time::Instant::now();
        pool.remove_final(
            &ids,
            changed.into_iter().map(|(sender, next)| (sender, 0, next)),
        );
        removing += watch.elapsed();
    }
    println!(
        "per transaction: insert {:?}, select {:?}, remove {:?}; {blocks} blocks",
        inserted / 100_000,
        selecting / 100_000,
        removing / 100_000,
    );
    assert_eq!(blocks, 20);
}

/// Numbers from a seed (splitmix64), so that a failing history is named by its seed.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

/// One random insertion, final block or expiry; `nexts` is the state.
fn random_step(pool: &mut Mempool, nexts: &mut BTreeMap<Address, u64>, numbers: &mut Numbers) {
    let sender = u32::try_from(numbers.below(6)).expect("small");
    match numbers.below(10) {
        0 => {
            let next = nexts.entry(address(sender)).or_default();
            *next = numbers.below(8).max(*next);
            let stale = [(address(sender), 0, *next), (address(sender), 1, *next)];
            pool.remove_final(&[], stale);
        }
        1 => {
            pool.drop_expired(Height::new(numbers.below(30)));
        }
        _ => {
            let sketch = Sketch {
                sender,
                stream: u16::try_from(numbers.below(2)).expect("small"),
                sequence: numbers.below(8),
                price: u128::from(numbers.below(20)),
                valid_until: 5 + numbers.below(25),
            };
            let next = nexts.get(&address(sender)).copied().unwrap_or(0);
            let before = pool.len();
            match pool.insert(admitted(sketch), next, Amount::new(2)) {
                Ok(_) => assert!(pool.contains(&transaction(sketch).id())),
                Err(_) => assert_eq!(pool.len(), before),
            }
        }
    }
}

/// After every step the indices agree, and a block holds each stream gapless from its next
/// sequence, and the same when asked again.
#[test]
fn random_histories_keep_all_orders_consistent() {
    let small = MempoolLimits {
        per_sender_max: 6,
        future_gap_max: 6,
        ..limits(12)
    };
    for seed in 0..200 {
        println!("seed {seed}");
        let (mut pool, mut nexts, mut numbers) =
            (Mempool::new(small), BTreeMap::new(), Numbers(seed));
        for _ in 0..120 {
            random_step(&mut pool, &mut nexts, &mut numbers);
            check_invariants(&pool);
            let next = |sender: &Address, _: u16| nexts.get(sender).copied().unwrap_or(0);
            let get = || pool.select(ROOMY, &|_| false, &next, Height::ZERO, &|_| Some(Gas::ZERO));
            let chosen = get();
            assert_eq!(names(&chosen), names(&get()));
            let mut running: BTreeMap<(Address, u16), u64> = BTreeMap::new();
            for transaction in &chosen {
                let body = transaction.body();
                let stream = (body.sender, body.nonce.stream);
                let expected = running
                    .entry(stream)
                    .or_insert_with(|| next(&body.sender, 0));
                assert_eq!(*expected, body.nonce.sequence);
                *expected += 1;
            }
        }
    }
}
