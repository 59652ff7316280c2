//! `--dry-run`: what a transaction would cost, by the node's estimate; nothing is signed or sent.

use super::output::Output;
use serde_json::{Value, json};
use skerry_proto::v1;
use skerry_types::amount::Asset;

/// An estimate as the result of a command.
pub(super) fn shown(estimate: &v1::EstimateFeeResponse) -> Output {
    let legs = estimate.legs.iter().map(|leg| {
        json!({
            "chain": leg.chain, "gas": leg.gas, "base_fee": leg.base_fee,
            "gas_price": leg.gas_price, "fee": leg.fee,
        })
    });
    let data = json!({
        "dry_run": true,
        "gas": estimate.gas,
        "gas_price": estimate.gas_price,
        "base_fee": estimate.base_fee,
        "fee": estimate.fee,
        "home_gas": estimate.home_gas,
        "reply_gas": estimate.reply_gas,
        "legs": legs.collect::<Vec<Value>>(),
        "refund_max": estimate.refund_max,
        "refund_expected": estimate.refund_expected,
    });
    let mut text = format!(
        "nothing was sent; it would cost {}\n  home    {} gas at {} nsker",
        sker(&estimate.fee),
        estimate.home_gas,
        estimate.gas_price
    );
    if estimate.reply_gas > 0 {
        text.push_str(&format!(", {} of it for the reply", estimate.reply_gas));
    }
    for leg in &estimate.legs {
        text.push_str(&format!(
            "\n  {:<6}  {} gas at {} nsker: {}, paid in advance; its base fee is {} nsker now",
            leg.chain,
            leg.gas,
            leg.gas_price,
            sker(&leg.fee),
            leg.base_fee
        ));
    }
    if !matches!(estimate.refund_max.as_str(), "" | "0") {
        text.push_str(&format!(
            "\n  back    up to {}, for parts that do not run; about {} where all do",
            sker(&estimate.refund_max),
            sker(&estimate.refund_expected)
        ));
    }
    Output::new(data, text)
}

/// Base units for people.
fn sker(units: &str) -> String {
    let parsed = units.parse().map(Asset::nsker);
    parsed.map_or_else(|_| format!("{units} nsker"), |asset| asset.to_string())
}
