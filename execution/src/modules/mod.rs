//! Which modules exist: one folder and one line each.
//!
//! Numbers and names are permanent. A module that is not in the table does not exist for users;
//! tests execute with tables of their own.

pub mod account;
pub mod bank;
pub mod beacon_facts;
pub mod channels;
pub mod crosslinks;
pub mod dex;
pub mod epochs;
pub mod evidence;
pub mod fee_market;
pub mod staking;
pub mod token;

use crate::error::CallError;
use crate::module::Module;
use borsh::BorshDeserialize;
use skerry_types::codec;
use skerry_types::ids::ModuleId;
use skerry_types::limits;

/// The executor itself, in failures.
pub const EXECUTOR: ModuleId = ModuleId::new(0);
/// Nonces and authenticators.
pub const ACCOUNT: ModuleId = ModuleId::new(1);
/// Balances, transfers, claims, fees.
pub const BANK: ModuleId = ModuleId::new(2);
/// Tokens that users create.
pub const TOKEN: ModuleId = ModuleId::new(3);
/// Cursors, outbox, inbox.
pub const CHANNELS: ModuleId = ModuleId::new(4);
/// On shards: what was imported from the beacon.
pub const BEACON_FACTS: ModuleId = ModuleId::new(5);
/// On the beacon: the record of each shard.
pub const CROSSLINKS: ModuleId = ModuleId::new(6);
/// On the beacon: epochs and committees.
pub const EPOCHS: ModuleId = ModuleId::new(7);
/// On the beacon: the validators and their stakes.
pub const STAKING: ModuleId = ModuleId::new(8);
/// On the beacon: offences that were punished.
pub const EVIDENCE: ModuleId = ModuleId::new(9);
/// Exchange: pools of two denoms.
pub const DEX: ModuleId = ModuleId::new(10);

/// The base fee of each shard.
pub const FEE_MARKET: ModuleId = ModuleId::new(11);

/// All modules, in order of number.
pub const MODULES: &[&dyn Module] = &[
    &account::AccountModule,
    &bank::BankModule,
    &token::TokenModule,
    &channels::ChannelsModule,
    &beacon_facts::BeaconFactsModule,
    &crosslinks::CrossLinksModule,
    &epochs::EpochsModule,
    &staking::StakingModule,
    &evidence::EvidenceModule,
    &dex::DexModule,
    &fee_market::FeeMarketModule,
];

/// The module of a number.
pub fn find(modules: &[&'static dyn Module], id: ModuleId) -> Option<&'static dyn Module> {
    // In the full table a module's place is its number less one.
    let place = usize::from(id.get()).wrapping_sub(1);
    let there = modules.get(place).filter(|module| module.id() == id);
    let found = there.or_else(|| modules.iter().find(|module| module.id() == id));
    found.copied()
}

/// The module of a name, as the command line gives it.
pub fn find_by_name(name: &str) -> Option<&'static dyn Module> {
    MODULES.iter().find(|module| module.name() == name).copied()
}

/// Decodes a call's bytes and checks its form.
pub(crate) fn decode_call<T: BorshDeserialize>(
    module: &'static str,
    bytes: &[u8],
    check: impl Fn(&T) -> Result<(), String>,
) -> Result<T, CallError> {
    let undecodable = |reason| CallError::Undecodable { module, reason };
    let call: T = codec::decode(bytes, limits::CALL_BYTES_MAX)
        .map_err(|error| undecodable(error.to_string()))?;
    check(&call).map_err(undecodable)?;
    Ok(call)
}

/// The bytes of a call read from JSON, when they decode as a call.
pub(crate) fn call_of_json(
    module: &dyn Module,
    bytes: Result<Vec<u8>, String>,
) -> Result<Vec<u8>, CallError> {
    let bytes = bytes.map_err(|reason| CallError::Undecodable {
        module: module.name(),
        reason,
    })?;
    module.decode(&bytes)?;
    Ok(bytes)
}

/// Refuses a call of a module that has none.
pub(crate) fn no_calls<T>(module: &'static str) -> Result<T, CallError> {
    Err(CallError::Undecodable {
        module,
        reason: "it has no calls".to_owned(),
    })
}
