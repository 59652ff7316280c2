//! `skerry tx pool …`, `skerry tx swap`, `skerry query pool` and `skerry query quote`.
//!
//! A swap asks for the pools, computes what it comes to by the module's own formulas, and sends that
//! with a bound. What cannot succeed at the reserves that the node shows is refused here, where it
//! costs no fee. What was paid and received is what the receipt tells, never the quote.

use super::args::{Exact, PoolCommand, Sending, SwapArgs};
use super::output::{CliError, Exit, Output, note};
use super::query::{asset_json, block_ref, pretty};
use super::tx::{Delivery, deliver};
use serde_json::{Value, json};
use skerry_execution::error::CallError;
use skerry_execution::modules::DEX;
use skerry_execution::modules::dex::calls::check_route;
use skerry_execution::modules::dex::math;
use skerry_execution::views::share_denom;
use skerry_proto::v1;
use skerry_sdk::builder::Draft;
use skerry_sdk::client::Client;
use skerry_sdk::exchange::{Pool, Quote, Slippage};
use skerry_sdk::keys::KeyFile;
use skerry_types::amount::{Amount, Asset};
use skerry_types::ids::{Address, Denom};

pub(super) async fn run(command: PoolCommand, json: bool) -> Result<Output, CliError> {
    match command {
        PoolCommand::Create {
            assets,
            fee_ppm,
            sending,
        } => create(pair(&assets, "--asset")?, fee_ppm, &sending, json).await,
        PoolCommand::Add {
            pool,
            maximum,
            min_shares,
            slippage,
            sending,
        } => {
            let maximum = pair(&maximum, "--maximum")?;
            let pool = any_pool(&pool, &sending).await?;
            add(&pool, maximum, min_shares, slippage, &sending, json).await
        }
        PoolCommand::Remove {
            pool,
            shares,
            minimum,
            slippage,
            sending,
        } => {
            let minimum = match minimum.as_slice() {
                [] => None,
                assets => Some(pair(assets, "--minimum")?),
            };
            let pool = any_pool(&pool, &sending).await?;
            remove(&pool, shares, minimum, slippage, &sending, json).await
        }
    }
}

// --- deposits and withdrawals ------------------------------------------------------------------------

async fn create(
    assets: [Asset; 2],
    fee_ppm: u32,
    sending: &Sending,
    json: bool,
) -> Result<Output, CliError> {
    let call = json!({"create_pool": {"assets": assets, "fee_ppm": fee_ppm}});
    let draft = attach_all(Draft::new(), &assets)?.call("dex", &call)?;
    let delivery = deliver(&draft, sending, json).await?;
    let events = delivery.events().await;
    let output = conclude(delivery, sending, "deposit more of both")?;
    let Some(made) = of_name(&events, "create_pool").next() else {
        return Ok(output);
    };
    let (pool, shares) = (made.owner.as_str(), attribute(made, "shares"));
    let denom = pool.parse::<Address>().map(|pool| share_denom(&pool));
    let denom = denom.map_err(CliError::unexpected)?;
    let text = format!("\n  pool      {pool}\n  shares    {shares}:{denom}");
    Ok(output.with("pool", json!(pool), &text).with(
        "shares",
        json!({"denom": denom, "amount": shares}),
        "",
    ))
}

async fn add(
    pool: &Pool,
    maximum: [Asset; 2],
    min_shares: Option<Amount>,
    slippage: Slippage,
    sending: &Sending,
    json: bool,
) -> Result<Output, CliError> {
    check_pair(pool, &maximum)?;
    let most = maximum.map(|asset| asset.amount);
    let deposit = math::deposit(pool.record.amounts(), pool.shares, most);
    let Some(expected) = deposit.filter(|deposit| !deposit.shares.is_zero()) else {
        let message = "the deposit is worth less than one share";
        return Err(CliError::new(Exit::Rejected, "TOO_SMALL", message).next("give more of both"));
    };
    let least = min_shares.unwrap_or_else(|| slippage.least(expected.shares));
    if expected.shares < least {
        return Err(too_much_slippage(
            &format!("{} shares", expected.shares),
            &format!("less than --min-shares {least}"),
        ));
    }
    note(&format!(
        "quoted {} shares, at least {least}",
        expected.shares
    ));
    let call = json!({"add": {
        "pool": pool.address, "maximum": maximum, "minimum_shares": least,
    }});
    let draft = aimed(std::slice::from_ref(pool), sending).await?;
    let draft = attach_all(draft, &maximum)?.call("dex", &call)?;
    let delivery = deliver(&draft, sending, json).await?;
    let events = delivery.events().await;
    let output = conclude(delivery, sending, "the reserves moved: send it again")?;
    Ok(tell_of_shares(
        output,
        &events,
        pool,
        ("add", "paid", "received"),
    ))
}

async fn remove(
    pool: &Pool,
    shares: Amount,
    minimum: Option<[Asset; 2]>,
    slippage: Slippage,
    sending: &Sending,
    json: bool,
) -> Result<Output, CliError> {
    let expected = math::withdrawal(pool.record.amounts(), pool.shares, shares);
    let expected = expected.unwrap_or([Amount::ZERO; 2]);
    let of_pool = |amounts: [Amount; 2]| {
        let [first, second] = pool.record.reserves.map(|asset| asset.denom);
        let [a, b] = amounts;
        [
            Asset {
                denom: first,
                amount: a,
            },
            Asset {
                denom: second,
                amount: b,
            },
        ]
    };
    let least = minimum.unwrap_or_else(|| of_pool(expected.map(|it| slippage.least(it))));
    check_pair(pool, &least)?;
    for (quoted, least) in of_pool(expected).into_iter().zip(least) {
        if quoted.amount < least.amount {
            return Err(too_much_slippage(
                &quoted.to_string(),
                &format!("less than --minimum {least}"),
            ));
        }
    }
    let [first, second] = of_pool(expected);
    note(&format!("quoted {first} and {second}"));
    let call = json!({"remove": {"pool": pool.address, "shares": shares, "minimum": least}});
    let denom = pool.share_denom();
    let draft = attach_all(
        aimed(std::slice::from_ref(pool), sending).await?,
        &[Asset {
            denom,
            amount: shares,
        }],
    )?;
    let delivery = deliver(&draft.call("dex", &call)?, sending, json).await?;
    let events = delivery.events().await;
    let output = conclude(delivery, sending, "the reserves moved: send it again")?;
    Ok(tell_of_shares(
        output,
        &events,
        pool,
        ("remove", "received", "paid"),
    ))
}

/// Adds what a deposit or withdrawal moved: `assets` names the field of the two denoms, `shares`
/// that of the shares.
fn tell_of_shares(
    output: Output,
    events: &[v1::Event],
    pool: &Pool,
    (name, assets, shares): (&str, &str, &str),
) -> Output {
    let Some(event) = of_name(events, name).next() else {
        return output;
    };
    let moved = |denom: Denom, key: &str| v1::Asset {
        denom: denom.to_string(),
        amount: attribute(event, key).to_owned(),
    };
    let [first, second] = pool.record.reserves.map(|asset| asset.denom);
    let pair = [moved(first, "amount_0"), moved(second, "amount_1")];
    let of_shares = moved(pool.share_denom(), "shares");
    let [a, b] = pair.each_ref().map(pretty);
    let lines = format!(
        "\n  {assets:<9} {a} and {b}\n  {shares:<9} {}",
        pretty(&of_shares)
    );
    let pair: Vec<Value> = pair.iter().map(asset_json).collect();
    output
        .with(assets, json!(pair), &lines)
        .with(shares, json!([asset_json(&of_shares)]), "")
}

// --- swaps -------------------------------------------------------------------------------------------

pub(super) async fn swap(args: SwapArgs, json: bool) -> Result<Output, CliError> {
    let sending = &args.sending;
    let client = Client::new(&sending.rpc.rpc)?;
    let route = fetch(&client, &args.route.pools).await?;
    let draft = aimed(&route, sending).await?;
    let quote = quote(&route, args.exact)?;
    let (call, attached) = swap_call(&args, &quote)?;
    let draft = draft.attach(attached)?.call("dex", &call)?;
    let delivery = deliver(&draft, sending, json).await?;
    let events = delivery.events().await;
    let again = "the reserves moved, and the swap cost its fee alone: send it again, or accept more \
                 with --slippage";
    let output = conclude(delivery, sending, again)?;
    let output = output.with("quote", quote_json(&quote), "");
    let swaps: Vec<&v1::Event> = of_name(&events, "swap").collect();
    let (Some(first), Some(last)) = (swaps.first(), swaps.last()) else {
        return Ok(output);
    };
    let asset = |event: &v1::Event, side: &str| v1::Asset {
        denom: attribute(event, &format!("denom_{side}")).to_owned(),
        amount: attribute(event, &format!("amount_{side}")).to_owned(),
    };
    let (paid, received) = (asset(first, "in"), asset(last, "out"));
    let lines = format!(
        "\n  paid      {}\n  received  {}",
        pretty(&paid),
        pretty(&received)
    );
    Ok(output
        .with("paid", asset_json(&paid), &lines)
        .with("received", asset_json(&received), ""))
}

/// The call with its bound, and what it may take.
fn swap_call(args: &SwapArgs, quote: &Quote) -> Result<(Value, Asset), CliError> {
    let route = &args.route.pools;
    let (input, output) = (quote.input, quote.output);
    if args.exact.input.is_some() {
        let least = args.min_output.unwrap_or(Asset {
            amount: args.slippage.least(output.amount),
            ..output
        });
        check_end("ends", &output, &least)?;
        if output.amount < least.amount {
            let bound = format!("less than --min-output {least}");
            return Err(too_much_slippage(&output.to_string(), &bound));
        }
        note(&format!("quoted {output} for {input}, at least {least}"));
        let call = json!({"swap_exact_in": {
            "route": route, "input": input, "minimum_output": least,
        }});
        return Ok((call, input));
    }
    let most = args.max_input.unwrap_or(Asset {
        amount: args.slippage.most(input.amount),
        ..input
    });
    check_end("begins", &input, &most)?;
    if input.amount > most.amount {
        let bound = format!("more than --max-input {most}");
        return Err(too_much_slippage(&input.to_string(), &bound));
    }
    note(&format!("quoted {input} for {output}, at most {most}"));
    let call = json!({"swap_exact_out": {
        "route": route, "maximum_input": most, "output": output,
    }});
    Ok((call, most))
}

fn quote(route: &[Pool], exact: Exact) -> Result<Quote, CliError> {
    let quote = match (exact.input, exact.output) {
        (Some(input), _) => Quote::of_input(route, input),
        (None, Some(output)) => Quote::of_output(route, output),
        (None, None) => {
            let message = "neither --input nor --output is given";
            return Err(CliError::new(Exit::Usage, "USAGE", message));
        }
    };
    quote.map_err(|error| of_call(&error))
}

// --- queries -----------------------------------------------------------------------------------------

pub(super) async fn show(client: &Client, pool: &Address) -> Result<Output, CliError> {
    let reply = client.pool(pool).await?;
    let read = Pool::try_from(&reply)?;
    let anchor = reply.anchor.unwrap_or_default();
    let block = anchor.block.clone().unwrap_or_default();
    let record = &read.record;
    let denom = read.share_denom();
    let data = json!({
        "pool": read.address,
        "chain": read.chain,
        "reserves": record.reserves,
        "fee_ppm": record.fee_ppm,
        "share_denom": denom,
        "shares": read.shares,
        "cumulative_prices": record.cumulative_prices,
        "time_ms": record.time,
        "beacon": block_ref(anchor.beacon.as_ref()),
        "block": block_ref(anchor.block.as_ref()),
        "state_root": reply.state_root,
    });
    let [first, second] = record.reserves;
    let text = format!(
        "{}  on {}\n  reserves  {first}\n            {second}\n  fee       {} ppm\n  \
         shares    {}:{denom}\n  read at   height {}, state root {}",
        read.address,
        read.chain,
        record.fee_ppm.get(),
        read.shares,
        block.height,
        reply.state_root,
    );
    Ok(Output::new(data, text))
}

pub(super) async fn show_quote(
    client: &Client,
    pools: &[Address],
    exact: Exact,
) -> Result<Output, CliError> {
    let route = fetch(client, pools).await?;
    let quote = quote(&route, exact)?;
    let mut text = format!(
        "{} for {}\n  fee       {} ppm\n  impact    {} ppm",
        quote.output, quote.input, quote.fee_ppm, quote.impact_ppm
    );
    for hop in &quote.hops {
        text.push_str(&format!(
            "\n  through   {}  {} for {}",
            hop.pool, hop.output, hop.input
        ));
    }
    let output = Output::new(quote_json(&quote), text);
    let mut chains = route.iter().map(|pool| pool.chain);
    let first = chains.next();
    if chains.any(|chain| Some(chain) != first) {
        return Ok(output.warn(
            "the pools live on different shards: no swap goes through them all, but skerry tx bundle \
             does, with a hop for each shard",
        ));
    }
    Ok(output)
}

fn quote_json(quote: &Quote) -> Value {
    let hops: Vec<Value> = quote
        .hops
        .iter()
        .map(|hop| json!({"pool": hop.pool, "input": hop.input, "output": hop.output}))
        .collect();
    json!({
        "input": quote.input,
        "output": quote.output,
        "fee_ppm": ppm(quote.fee_ppm),
        "impact_ppm": ppm(quote.impact_ppm),
        "hops": hops,
    })
}

/// Millionths are a JSON number; there are at most a million.
fn ppm(millionths: u128) -> u64 {
    u64::try_from(millionths).unwrap_or(u64::MAX)
}

async fn fetch(client: &Client, addresses: &[Address]) -> Result<Vec<Pool>, CliError> {
    check_route(addresses).map_err(|what| {
        CliError::new(Exit::Usage, "USAGE", what).next("give --pool each pool once, in order")
    })?;
    let mut route = Vec::with_capacity(addresses.len());
    for address in addresses {
        route.push(Pool::try_from(&client.pool(address).await?)?);
    }
    Ok(route)
}

/// A pool, on whichever shard.
async fn any_pool(address: &Address, sending: &Sending) -> Result<Pool, CliError> {
    let client = Client::new(&sending.rpc.rpc)?;
    Ok(Pool::try_from(&client.pool(address).await?)?)
}

/// A draft whose calls run where these pools live: at the sender's home, or by one message to another
/// shard, from where all that is left comes home.
async fn aimed(pools: &[Pool], sending: &Sending) -> Result<Draft, CliError> {
    let client = Client::new(&sending.rpc.rpc)?;
    let Some((first, rest)) = pools.split_first() else {
        return Ok(Draft::new());
    };
    if let Some(apart) = rest.iter().find(|pool| pool.chain != first.chain) {
        let (one, other) = (first.chain, apart.chain);
        let (from, to) = (first.address, apart.address);
        let message = format!("{from} lives on {one}, {to} on {other}");
        let error = CliError::new(Exit::Rejected, "POOLS_APART", message);
        return Err(error
            .why("the calls of one swap run on one shard")
            .next("use pools of one shard, or skerry tx bundle with a hop for each shard"));
    }
    let sender = KeyFile::read(&sending.key_file)?.address();
    let account = client.account(&sender, sending.nonce_stream).await?.account;
    let home = account.unwrap_or_default().chain;
    if first.chain.to_string() == home {
        return Ok(Draft::new());
    }
    note(&format!(
        "{} lives on {}, the sender on {home}",
        first.address, first.chain
    ));
    Ok(Draft::new().near(first.address))
}

// --- what is refused before it costs anything --------------------------------------------------------

/// Two assets, in the order that the calls want.
fn pair(assets: &[Asset], option: &str) -> Result<[Asset; 2], CliError> {
    match *assets {
        [first, second] if first.denom < second.denom => Ok([first, second]),
        [first, second] if second.denom < first.denom => Ok([second, first]),
        _ => {
            let count = assets.len();
            let message = format!("{option} is given {count} times, or twice for one denom");
            Err(CliError::new(Exit::Usage, "USAGE", message)
                .next(format!("give two: {option} 5sker {option} 10:skd1…")))
        }
    }
}

fn check_pair(pool: &Pool, named: &[Asset; 2]) -> Result<(), CliError> {
    let [expected, actual] = [pool.record.reserves, *named].map(|it| it.map(|asset| asset.denom));
    if expected == actual {
        return Ok(());
    }
    let [first, second] = expected;
    let message = format!("{} is a pool of {first} and {second}", pool.address);
    Err(wrong_denom(message))
}

fn check_end(verb: &str, actual: &Asset, named: &Asset) -> Result<(), CliError> {
    if actual.denom == named.denom {
        return Ok(());
    }
    Err(wrong_denom(format!(
        "the route {verb} with {}, not {}",
        actual.denom, named.denom
    )))
}

fn wrong_denom(message: String) -> CliError {
    CliError::new(Exit::Rejected, "WRONG_DENOM", message).next(next_of("WRONG_DENOM"))
}

fn too_much_slippage(quoted: &str, bound: &str) -> CliError {
    let message = format!("the reserves give {quoted} now, {bound}");
    CliError::new(Exit::Rejected, "SLIPPAGE", message)
        .next("nothing was sent; accept what skerry query quote shows, or wait for a better price")
}

fn of_call(error: &CallError) -> CliError {
    CliError::new(Exit::Rejected, error.code(), error.to_string()).next(next_of(error.code()))
}

/// What to do about a quote that cannot be made.
fn next_of(code: &str) -> &'static str {
    match code {
        "WRONG_DENOM" => "skerry query pool POOL shows the denoms of a pool",
        "INSUFFICIENT_LIQUIDITY" => "ask for less, or of another pool",
        "TOO_SMALL" => "give more",
        _ => "give less",
    }
}

// --- what was sent -----------------------------------------------------------------------------------

/// The result of what was sent; `next` where the reserves were not as quoted.
fn conclude(delivery: Delivery, sending: &Sending, next: &str) -> Result<Output, CliError> {
    let mut failures = delivery
        .status
        .legs
        .iter()
        .filter_map(|leg| leg.failure.as_ref());
    let is_market = failures.any(|failure| {
        let module = failure.module == u32::from(DEX.get());
        module && matches!(failure.code.as_str(), "SLIPPAGE" | "INSUFFICIENT_LIQUIDITY")
    });
    delivery
        .conclude(sending)
        .map_err(|error| if is_market { error.next(next) } else { error })
}

fn attach_all(mut draft: Draft, assets: &[Asset]) -> Result<Draft, CliError> {
    for asset in assets {
        draft = draft.attach(*asset)?;
    }
    Ok(draft)
}

fn of_name<'a>(events: &'a [v1::Event], name: &'a str) -> impl Iterator<Item = &'a v1::Event> {
    let module = u32::from(DEX.get());
    events
        .iter()
        .filter(move |event| event.module == module && event.name == name)
}

fn attribute<'a>(event: &'a v1::Event, key: &str) -> &'a str {
    let found = event.attributes.iter().find(|it| it.key == key);
    found.map_or("", |attribute| attribute.value.as_str())
}
