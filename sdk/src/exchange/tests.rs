//! Quotes are the module's, along a route as well; fee and impact add up; bounds never loosen.

use super::{Pool, Quote, Slippage};
use skerry_execution::views::{PoolFee, PoolRecord};
use skerry_proto::v1;
use skerry_types::amount::{Amount, Asset};
use skerry_types::ids::{Address, ChainRef, Denom, TimeMs};

fn asset(denom: Denom, amount: u128) -> Asset {
    Asset {
        denom,
        amount: Amount::new(amount),
    }
}

const GOLD: Denom = Denom::new([5; 32]);
const TIN: Denom = Denom::new([6; 32]);

fn pool(byte: u8, reserves: [Asset; 2], fee_ppm: u32) -> Pool {
    Pool {
        address: Address::new([byte; 32]),
        record: PoolRecord::new(reserves, PoolFee::new(fee_ppm), TimeMs::new(7)),
        shares: Amount::new(1_000_000),
        chain: ChainRef::Beacon,
    }
}

fn route() -> [Pool; 2] {
    let first = [asset(Denom::SKER, 5_000_000_000), asset(GOLD, 10_000_000)];
    let second = [asset(GOLD, 1_000_000_000), asset(TIN, 4_000_000_000)];
    [pool(1, first, 3_000), pool(2, second, 500)]
}

#[test]
fn a_quote_is_what_the_pools_exchange() {
    let route = route();
    let input = asset(Denom::SKER, 1_000_000_000);
    let quote = Quote::of_input(&route, input).unwrap();
    // Of the first: floor(1e9 * 997000 * 1e7 / (5e9 * 1e6 + 1e9 * 997000)).
    assert_eq!(quote.hops[0].output, asset(GOLD, 1_662_497));
    let mut held = input;
    for (Pool { record, .. }, hop) in route.iter().zip(&quote.hops) {
        assert_eq!(
            (hop.input, hop.output),
            (held, record.quote_output(held).unwrap())
        );
        record.clone().exchange(hop.input, hop.output).unwrap();
        held = hop.output;
    }
    assert_eq!((quote.input, quote.output), (input, held));

    let back = Quote::of_output(&route, quote.output).unwrap();
    assert!(back.input.amount <= input.amount, "{back:?}");
    assert_eq!(back.hops[0].output, back.hops[1].input);
    assert_eq!(
        (back.input, back.output),
        (back.hops[0].input, quote.output)
    );
}

#[test]
fn fee_and_impact_say_what_is_lost_against_the_spot_price() {
    let [first, second] = route();
    let of = |pools: &[Pool], units| Quote::of_input(pools, asset(Denom::SKER, units)).unwrap();
    // A small swap loses the fee and what is rounded; a fifth of the reserve a sixth of its worth.
    let small = of(std::slice::from_ref(&first), 1_000_000);
    assert_eq!((small.fee_ppm, small.impact_ppm), (3_000, 500));
    let large = of(std::slice::from_ref(&first), 1_000_000_000);
    assert_eq!((large.fee_ppm, large.impact_ppm), (3_000, 165_752));
    // 1 - 0.997 * 0.9995, rounded up.
    let both = of(&[first, second], 1_000_000_000);
    assert_eq!(both.fee_ppm, 3_499);
    assert!(both.impact_ppm > large.impact_ppm);
}

#[test]
fn quotes_fail_as_the_calls_would() {
    let route = route();
    let code = |result: Result<Quote, skerry_execution::error::CallError>| match result {
        Err(error) => error.code(),
        Ok(quote) => panic!("{quote:?}"),
    };
    assert_eq!(code(Quote::of_input(&route, asset(TIN, 5))), "WRONG_DENOM");
    assert_eq!(
        code(Quote::of_input(&route, asset(Denom::SKER, 1))),
        "TOO_SMALL"
    );
    let all = asset(TIN, 4_000_000_000);
    assert_eq!(
        code(Quote::of_output(&route, all)),
        "INSUFFICIENT_LIQUIDITY"
    );
}

#[test]
fn slippage_is_read_exactly_and_rounds_towards_the_quote() {
    let of = |text: &str| text.parse::<Slippage>();
    assert_eq!(of("0"), Ok(Slippage::NONE));
    for (text, least, most) in [
        ("0", 1_001, 1_001),
        ("0.5", 996, 1_006),
        ("0.0001", 1_001, 1_001),
        ("100", 0, 2_002),
        ("2.25", 979, 1_023),
    ] {
        let slippage = of(text).unwrap();
        let quoted = Amount::new(1_001);
        assert_eq!(slippage.least(quoted).get(), least, "{text}");
        assert_eq!(slippage.most(quoted).get(), most, "{text}");
    }
    assert_eq!(of("50").unwrap().most(Amount::MAX), Amount::MAX);
    for text in [
        "",
        ".5",
        "5.",
        "100.0001",
        "0.00001",
        "-1",
        "0.5%",
        "1e1",
        "4294967296",
    ] {
        assert!(of(text).is_err(), "{text}");
    }
}

#[test]
fn a_reply_is_read_back_and_checked() {
    let [pool, _] = route();
    let good = v1::GetPoolResponse {
        pool: Some(v1::Pool {
            address: pool.address.to_string(),
            reserves: pool.record.reserves.iter().map(Into::into).collect(),
            fee_ppm: 3_000,
            share_denom: pool.share_denom().to_string(),
            shares: "1000000".to_owned(),
            cumulative_prices: vec!["0".to_owned(); 2],
            time_ms: 7,
        }),
        anchor: Some(v1::Anchor {
            chain: "beacon".to_owned(),
            ..Default::default()
        }),
        state_root: String::new(),
    };
    assert_eq!(Pool::try_from(&good).unwrap(), pool);
    let changes: [fn(&mut v1::Pool); 5] = [
        |pool| pool.reserves.truncate(1),
        |pool| pool.reserves.reverse(),
        |pool| pool.fee_ppm = 100_001,
        |pool| pool.cumulative_prices[1] = "-1".to_owned(),
        |pool| pool.shares = "many".to_owned(),
    ];
    for change in changes {
        let mut bad = good.clone();
        change(bad.pool.as_mut().unwrap());
        assert!(Pool::try_from(&bad).is_err(), "{bad:?}");
    }
}
