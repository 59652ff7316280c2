//! The rounding library against slow arithmetic, identities and known values.

use super::{U256, divided, mul_div_ceil, mul_div_floor, multiplied, widened};
use crate::testing::Draws;

const MAX: u128 = u128::MAX;

/// A number whose limbs are often the extremes, where carries and estimates go wrong.
fn number(draws: &mut Draws) -> U256 {
    let limbs = draws.below(5) as usize;
    let mut number = [0; 4];
    for limb in number.iter_mut().take(limbs) {
        *limb = match draws.below(6) {
            0 => 0,
            1 => u64::MAX,
            2 => 1 << 63,
            3 => 1,
            _ => draws.next() >> draws.below(64),
        };
    }
    U256(number)
}

/// Quotient and remainder bit by bit.
fn slow_division(numerator: [u64; 8], divisor: U256) -> ([u64; 8], [u64; 4]) {
    let mut quotient = [0; 8];
    let mut rest = U256::ZERO;
    for bit in (0..512).rev() {
        let high = rest.0[3] >> 63 == 1;
        rest = rest.wrapping_add(rest);
        rest.0[0] |= numerator[bit / 64] >> (bit % 64) & 1;
        if high || rest >= divisor {
            rest = rest.wrapping_sub(divisor);
            quotient[bit / 64] |= 1 << (bit % 64);
        }
    }
    (quotient, rest.0)
}

#[test]
fn division_is_that_of_the_slow_method() {
    let mut draws = Draws::new(1);
    for _ in 0..20_000 {
        let [a, b, divisor] = [(); 3].map(|()| number(&mut draws));
        let product = multiplied(a.0, b.0);
        if divisor.is_zero() {
            assert_eq!(divided(product, divisor.0), None);
            continue;
        }
        let expected = slow_division(product, divisor);
        assert_eq!(
            divided(product, divisor.0),
            Some(expected),
            "{a} {b} {divisor}"
        );
        let exact = expected.1 == [0; 4];
        let floor = a.mul_div_floor(b, divisor);
        assert_eq!(floor.is_some(), expected.0[4..] == [0; 4]);
        let ceil = a.mul_div_ceil(b, divisor);
        match floor {
            Some(floor) if exact => assert_eq!(ceil, Some(floor)),
            Some(floor) => assert_eq!(ceil, floor.checked_add(U256::new(1))),
            None => assert_eq!(ceil, None),
        }
    }
}

/// The estimate of a digit is one too large here even after its correction, so the divisor is added
/// back: about two in 2^64 random divisions come there.
#[test]
fn a_digit_that_was_too_large_is_corrected() {
    let numerator = [3, 0, 1 << 63, 0, 0, 0, 0, 0];
    let divisor = [1, 0, 1 << 61, 0];
    let expected = slow_division(numerator, U256(divisor));
    assert_eq!(divided(numerator, divisor), Some(expected));
    let numerator = [0, 0, 1 << 63, (1 << 63) - 1, 0, 0, 0, 0];
    let divisor = [1, 0, 1 << 63, 0];
    let expected = slow_division(numerator, U256(divisor));
    assert_eq!(divided(numerator, divisor), Some(expected));
}

#[test]
fn sums_differences_and_products_are_inverse_or_refused() {
    let mut draws = Draws::new(2);
    let (mut refused, mut kept) = (0, 0);
    for _ in 0..20_000 {
        let [a, b] = [(); 2].map(|()| number(&mut draws));
        match a.checked_add(b) {
            Some(sum) => assert_eq!((sum.checked_sub(b), sum >= a), (Some(a), true)),
            None => assert!(a.wrapping_add(b) < a),
        }
        assert_eq!(a.checked_sub(b).is_some(), a >= b);
        assert_eq!(a.wrapping_sub(b).wrapping_add(b), a);
        match a.checked_mul(b) {
            Some(product) if !b.is_zero() => {
                kept += 1;
                assert_eq!(product.checked_div_rem(b), Some((a, U256::ZERO)));
                assert_eq!(product, a.wrapping_mul(b));
                assert_eq!(
                    product.cmp(&a),
                    (a.widening_mul(b)).cmp(&a.widening_mul(U256::new(1)))
                );
            }
            Some(product) => assert!(product.is_zero()),
            None => {
                refused += 1;
                assert!(a.widening_mul(b) > U256::MAX.widening_mul(U256::new(1)));
            }
        }
    }
    assert!(refused > 1_000 && kept > 1_000);
}

#[test]
fn products_of_amounts_are_exact() {
    let mut draws = Draws::new(5);
    for _ in 0..10_000 {
        let [a, b] = [(); 2].map(|()| number(&mut draws).0);
        let [a, b] = [a, b].map(|limbs| u128::from(limbs[0]) << 64 | u128::from(limbs[1]));
        let expected = U256::new(a).checked_mul(U256::new(b));
        assert_eq!(Some(U256::product(a, b)), expected, "{a}·{b}");
    }
    let largest = U256::product(MAX, MAX);
    assert_eq!(largest.sqrt_floor(), MAX);
}

#[test]
fn products_of_amounts_are_rounded_once() {
    let table = [
        (0, MAX, 1, Some(0), Some(0)),
        (7, 3, 2, Some(10), Some(11)),
        (6, 3, 2, Some(9), Some(9)),
        (MAX, MAX, MAX, Some(MAX), Some(MAX)),
        (MAX, MAX - 1, MAX, Some(MAX - 1), Some(MAX - 1)),
        // Above 2^128: refused, never cut.
        (MAX, 2, 1, None, None),
        (MAX, MAX, MAX - 1, None, None),
        (MAX, 2, 2, Some(MAX), Some(MAX)),
        // (2^129 − 1) / 2: the floor fits and the ceiling does not.
        ((1 << 43) - 1, (1 << 86) + (1 << 43) + 1, 2, Some(MAX), None),
        (MAX, 3, 2, None, None),
        (1, 1, 0, None, None),
        (0, 0, 0, None, None),
        (1 << 127, 2, 1 << 64, Some(1 << 64), Some(1 << 64)),
        (
            (1 << 127) + 1,
            4,
            1 << 64,
            Some(1 << 65),
            Some((1 << 65) + 1),
        ),
    ];
    for (value, factor, divisor, floor, ceil) in table {
        assert_eq!(
            mul_div_floor(value, factor, divisor),
            floor,
            "{value}·{factor}/{divisor}"
        );
        assert_eq!(
            mul_div_ceil(value, factor, divisor),
            ceil,
            "{value}·{factor}/{divisor}"
        );
    }
}

#[test]
fn roots_are_floors() {
    let mut draws = Draws::new(3);
    let square = |root: u128| U256::new(root).checked_mul(U256::new(root)).unwrap();
    for _ in 0..5_000 {
        let value = number(&mut draws);
        let root = value.sqrt_floor();
        assert!(square(root) <= value, "{value}");
        let is_above = root == MAX || square(root + 1) > value;
        assert!(is_above, "{value}");
        // At, below and above a square.
        let exact = draws.amount(128);
        let at = square(exact);
        let one = U256::new(1);
        assert_eq!(at.sqrt_floor(), exact);
        assert_eq!(at.checked_sub(one).unwrap().sqrt_floor(), exact - 1);
        assert_eq!(at.checked_add(one).unwrap().sqrt_floor(), exact);
    }
    assert_eq!(U256::ZERO.sqrt_floor(), 0);
    assert_eq!(U256::new(3).sqrt_floor(), 1);
    assert_eq!(U256::MAX.sqrt_floor(), MAX);
}

#[test]
fn numbers_are_printed_and_stored() {
    let largest = "115792089237316195423570985008687907853269984665640564039457584007913129639935";
    assert_eq!(U256::MAX.to_string(), largest);
    assert_eq!(U256::ZERO.to_string(), "0");
    let ten_to_20 = U256::new(10_u128.pow(20));
    assert_eq!(ten_to_20.to_string(), "100000000000000000000");
    assert_eq!(
        serde_json::to_value(ten_to_20).unwrap(),
        ten_to_20.to_string()
    );
    let mut draws = Draws::new(4);
    for _ in 0..1_000 {
        let value = draws.amount(128);
        assert_eq!(U256::new(value).to_string(), value.to_string());
        assert_eq!(U256::new(value).to_u128(), Some(value));
        let number = number(&mut draws);
        assert_eq!(U256::from_decimal(&number.to_string()), Some(number));
    }
    for text in [
        "",
        "-1",
        "1 ",
        "0x1",
        &format!("{largest}0"),
        &largest.replace("35", "36"),
    ] {
        assert_eq!(U256::from_decimal(text), None, "{text}");
    }
    let bytes = borsh::to_vec(&U256::new(0x0102)).unwrap();
    assert_eq!((bytes.len(), &bytes[..3]), (32, &[2, 1, 0][..]));
    assert_eq!(widened(U256::MAX.0)[4..], [0; 4]);
}
