//! Rules of tokens: who may do what, supply, limits.
//!
//! Each transaction carries one call and runs in a block of its own, so that the expected codes
//! read as a list.

use crate::module::Module as _;
use crate::modules::TOKEN;
use crate::modules::bank::calls::BankCall;
use crate::modules::token::TokenModule;
use crate::modules::token::calls::{NAME_BYTES_MAX, TokenCall};
use crate::modules::token::issue::SUPPLY_MAX;
use crate::testing::{Draft, User, World, bank, operation, shard, user};
use crate::views;
use skerry_types::amount::{Amount, Asset};
use skerry_types::codec;
use skerry_types::ids::{Address, Denom};
use skerry_types::receipt::Status;

fn create(name: &str, authority: Option<Address>) -> TokenCall {
    TokenCall::Create {
        name: name.to_owned(),
        symbol: "COIN".to_owned(),
        decimals: 6,
        metadata: "m".to_owned(),
        authority,
    }
}

/// Runs one transaction per call and says how each went.
fn run(world: &mut World, calls: &[(User, Vec<Asset>, TokenCall)]) -> Vec<String> {
    let mut codes = Vec::new();
    for (user, assets, call) in calls {
        let chain = world.network.home(&user.address);
        let next = views::next_nonce(world.state(chain), &user.address, 0);
        let draft = Draft::new(*user, next, assets.clone()).call(operation(TOKEN, call));
        let outcome = world.transactions(chain, &[draft]);
        codes.push(match &outcome.receipts[0].status {
            Status::Failed(failure) => failure.code.clone(),
            Status::Succeeded => "SUCCEEDED".to_owned(),
            other => format!("{other:?}"),
        });
    }
    codes
}

fn world() -> (World, User, User) {
    let (alice, carol) = (user(0, 1), user(0, 2));
    let rich = || vec![Asset::nsker(1 << 80)];
    (
        World::new(&[(alice, rich()), (carol, rich())]),
        alice,
        carol,
    )
}

#[test]
fn only_the_authority_mints_and_changes() {
    let (mut world, alice, carol) = world();
    let denom = Denom::created(&alice.address, "coin");
    let asset = Asset {
        denom,
        amount: Amount::new(100),
    };
    let metadata = || TokenCall::SetMetadata {
        denom,
        metadata: "new".to_owned(),
    };
    let codes = run(
        &mut world,
        &[
            (alice, vec![], TokenCall::Mint { asset }),
            (alice, vec![], create("coin", Some(alice.address))),
            (alice, vec![], create("coin", None)),
            (carol, vec![], TokenCall::Mint { asset }),
            (alice, vec![], TokenCall::Mint { asset }),
            (carol, vec![], metadata()),
            (alice, vec![], metadata()),
            (
                alice,
                vec![],
                TokenCall::TransferAuthority {
                    denom,
                    to: Some(carol.address),
                },
            ),
            (alice, vec![], TokenCall::Mint { asset }),
            (carol, vec![], TokenCall::Mint { asset }),
            (
                carol,
                vec![],
                TokenCall::TransferAuthority { denom, to: None },
            ),
            (carol, vec![], TokenCall::Mint { asset }),
        ],
    );
    let expected = [
        "NO_SUCH_TOKEN",
        "SUCCEEDED",
        "TOKEN_EXISTS",
        "NOT_AUTHORITY",
        "SUCCEEDED",
        "NOT_AUTHORITY",
        "SUCCEEDED",
        "SUCCEEDED",
        "NOT_AUTHORITY",
        "SUCCEEDED",
        "SUCCEEDED",
        "NOT_AUTHORITY",
    ];
    assert_eq!(codes, expected);
    let state = world.state(shard(0));
    assert_eq!(views::token_supply(state, &denom), Amount::new(200));
    assert_eq!(views::token(state, &denom).unwrap().metadata, "new");
    assert_eq!(world.balance(&alice, denom), 100);
    assert_eq!(world.balance(&carol, denom), 100);
}

#[test]
fn supply_cannot_overflow_and_burning_lowers_it() {
    let (mut world, alice, _) = world();
    let denom = Denom::created(&alice.address, "coin");
    let of = |amount| Asset { denom, amount };
    let codes = run(
        &mut world,
        &[
            (alice, vec![], create("coin", Some(alice.address))),
            (
                alice,
                vec![],
                TokenCall::Mint {
                    asset: of(SUPPLY_MAX),
                },
            ),
            (
                alice,
                vec![],
                TokenCall::Mint {
                    asset: of(Amount::new(1)),
                },
            ),
            (
                alice,
                vec![of(Amount::new(9))],
                TokenCall::Burn {
                    asset: of(Amount::new(10)),
                },
            ),
            (
                alice,
                vec![of(SUPPLY_MAX)],
                TokenCall::Burn {
                    asset: of(SUPPLY_MAX),
                },
            ),
        ],
    );
    assert_eq!(
        codes,
        [
            "SUCCEEDED",
            "SUCCEEDED",
            "OVERFLOW",
            "SHEET_NEGATIVE",
            "SUCCEEDED"
        ]
    );
    assert_eq!(
        views::token_supply(world.state(shard(0)), &denom),
        Amount::ZERO
    );
    assert_eq!(world.balance(&alice, denom), 0);
}

#[test]
fn tokens_travel_and_only_burn_at_home() {
    let (mut world, alice, _) = world();
    let bob = user(1, 1);
    let denom = Denom::created(&alice.address, "coin");
    let asset = Asset {
        denom,
        amount: Amount::new(5),
    };
    run(
        &mut world,
        &[(alice, vec![], create("coin", Some(alice.address)))],
    );
    let draft = Draft::new(alice, 1, vec![])
        .call(operation(TOKEN, &TokenCall::Mint { asset }))
        .call(bank(&BankCall::Send {
            to: bob.address,
            asset,
        }));
    let sent = world.transactions(shard(0), &[draft]);
    world.inbound(shard(1), sent.outgoing);
    assert_eq!(world.balance(&bob, denom), 5);
    assert_eq!(
        views::token_supply(world.state(shard(0)), &denom),
        Amount::new(5)
    );
}

#[test]
fn malformed_calls_are_refused() {
    let asset = Asset {
        denom: Denom::SKER,
        amount: Amount::ZERO,
    };
    for call in [
        create("", None),
        create(&"n".repeat(NAME_BYTES_MAX + 1), None),
        create("a\nb", None),
        TokenCall::Mint { asset },
        TokenCall::Burn { asset },
    ] {
        assert!(
            TokenModule.decode(&codec::encode(&call)).is_err(),
            "{call:?}"
        );
    }
    assert!(TokenModule.decode(&[9]).is_err());
    let mut trailing = codec::encode(&create("a", None));
    assert!(TokenModule.decode(&trailing).is_ok());
    trailing.push(0);
    assert!(TokenModule.decode(&trailing).is_err());
}

#[test]
fn token_is_shown_with_its_supply() {
    let (mut world, alice, _) = world();
    let denom = Denom::created(&alice.address, "coin");
    run(
        &mut world,
        &[(alice, vec![], create("coin", Some(alice.address)))],
    );
    let entries = world.state(shard(0)).entries(&denom.object());
    let shown = TokenModule.query(&denom.object(), &entries);
    assert_eq!(shown["token"]["symbol"], "COIN");
    assert_eq!(shown["supply"], "0");
    assert!(TokenModule.query(&alice.address, &[]).is_null());
}
