//! What a file may say, and how a mistake in it is refused.

use super::draft;
use serde_json::json;
use skerry_sdk::builder::Draft;
use skerry_types::amount::Asset;
use skerry_types::ids::Address;

#[test]
fn a_file_says_what_the_builder_does() {
    let (here, there) = (Address::new([1; 32]), Address::new([200; 32]));
    let burn = json!({"burn": {"asset": {"denom": "stsker", "amount": "1"}}});
    let text = json!({
        "attach": ["5sker"],
        "hops": [
            {"near": here, "calls": [{"module": "token", "call": burn}], "minimum": ["7nsker"]},
            {"near": there},
        ],
    });
    let read = draft(&text.to_string()).expect("a bundle");
    let first = Draft::new()
        .near(here)
        .call("token", &burn)
        .expect("a call");
    let first = first.attach(Asset::nsker(5_000_000_000)).expect("room");
    let first = first.demand(Asset::nsker(7)).expect("room");
    let both = first.then(Draft::new().near(there)).expect("a route");
    assert_eq!(read, both);
}

#[test]
fn what_is_no_bundle_is_refused_with_the_form() {
    let hop = json!({"near": Address::new([1; 32])});
    for wrong in [
        json!({}),
        json!({"hops": []}),
        json!({"hops": [{"near": "nobody"}]}),
        json!({"hops": [hop], "attach": ["5"]}),
        json!({"hops": [hop], "atach": []}),
        json!({"hops": [{"calls": [{"module": "dex", "call": {}}]}]}),
        // A leg without a place, and more chains than a bundle runs on.
        json!({"hops": [hop, {}]}),
        json!({"hops": [hop, hop, hop, hop, hop]}),
    ] {
        assert!(draft(&wrong.to_string()).is_err(), "{wrong}");
    }
}
