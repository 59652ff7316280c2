//! Files of a network and of its nodes: genesis, configurations, keys.
//!
//! [`write_network`] lays out a development network: one folder a node, development keys that only
//! this network accepts, two funded accounts in each shard, and the faucet's.

use crate::config::{
    Follow, GrpcConfig, HttpConfig, NetworkConfig as PeerConfig, NodeConfig, ValidatorConfig,
};
use crate::error::NodeError;
use crate::votes::create_log;
use serde::{Deserialize, Serialize};
use skerry_network::NetworkKey;
use skerry_sdk::keys::{AccountKey, KeyFile, Protection};
use skerry_types::amount::Asset;
use skerry_types::codec::Version;
use skerry_types::crypto::bls::{PublicKey, SecretKey};
use skerry_types::crypto::hash::{Purpose, hash_parts};
use skerry_types::genesis::{Genesis, GenesisAccount, GenesisValidator, Parameters};
use skerry_types::ids::{Address, Digest, ShardId, ValidatorId, Weight};
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// Balance of a development account.
const ACCOUNT_BALANCE: u128 = 1_000_000 * 1_000_000_000;
/// Balance of the faucet.
const FAUCET_BALANCE: u128 = 1_000_000_000 * 1_000_000_000;
/// Balance of a validator's operator, for its fees.
const OPERATOR_BALANCE: u128 = 1_000 * 1_000_000_000;
/// Balance of an account of the load generator.
const LOAD_BALANCE: u128 = 1_000 * 1_000_000_000;
/// Funded accounts in each shard.
pub const ACCOUNTS_PER_SHARD: usize = 2;
/// Stake of each validator, in whole `sker`.
const STAKE: u64 = 100_000;

/// A development network to lay out: genesis, one home for each validator, a gateway, a faucet, two
/// funded accounts in each shard.
#[derive(Clone, Debug)]
pub struct NetworkPlan {
    /// For people.
    pub name: String,
    /// Number of shards, a power of two.
    pub shards: u16,
    /// Number of validators.
    pub validators: u16,
    /// Seats of each member of every shard, where they are to be fixed.
    pub seats: Option<Vec<u16>>,
    /// Host names of the nodes, with `{i}` for the number, in a network of containers.
    pub host_template: Option<String>,
    /// First port of the layout (see `docs/ports.md`).
    pub port_base: u16,
    /// Accounts for the load generator.
    pub load_accounts: u32,
    /// Timing, fees and limits.
    pub parameters: Parameters,
    /// Where to.
    pub out: PathBuf,
}

/// An account that was funded.
#[derive(Clone, Debug, Serialize)]
pub struct FundedAccount {
    /// Its address.
    pub address: Address,
    /// Its home shard.
    pub shard: String,
    /// Its key.
    pub key_file: PathBuf,
}

/// Ports of node `index`, from the base: gRPC, HTTP, peers. The gateway has the base itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// gRPC.
    pub grpc: u16,
    /// Metrics and health.
    pub http: u16,
    /// Peers.
    pub peers: u16,
}

impl Ports {
    /// Of the gateway.
    pub const fn gateway(base: u16) -> Self {
        Self {
            grpc: base,
            http: base.saturating_add(3),
            peers: base.saturating_add(99),
        }
    }

    /// Of validator `index`.
    pub const fn validator(base: u16, index: u16) -> Self {
        Self {
            grpc: base.saturating_add(200).saturating_add(index),
            http: base.saturating_add(300).saturating_add(index),
            peers: base.saturating_add(100).saturating_add(index),
        }
    }
}

/// Port of the faucet.
pub const fn faucet_port(base: u16) -> u16 {
    base.saturating_add(1)
}

/// Port of peers in containers.
const CONTAINER_PEERS: u16 = 30333;
/// Port of gRPC in containers.
const CONTAINER_GRPC: u16 = 50051;
/// Port of HTTP in containers.
const CONTAINER_HTTP: u16 = 9464;

/// A validator's key in its node's folder.
pub const VALIDATOR_KEY: &str = "keys/validator.json";
/// The key's signing history.
pub const VOTE_LOG: &str = "keys/vote.log";
/// A node's network identity in its folder.
pub const NETWORK_KEY: &str = "keys/network.key";

/// The validator key as it lies on disk: plain, for development networks only.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ValidatorKeyFile {
    version: u32,
    public_key: PublicKey,
    development: bool,
    chain_id: Digest,
    seed: String,
}

fn write_file(path: &Path, text: &str) -> Result<(), NodeError> {
    write_with_mode(path, text, 0o644)
}

fn write_secret(path: &Path, text: &str) -> Result<(), NodeError> {
    write_with_mode(path, text, 0o600)
}

/// Writes under another name and renames, so that nobody ever reads half a file.
fn write_with_mode(path: &Path, text: &str, mode: u32) -> Result<(), NodeError> {
    stage_with_mode(path, text, mode)?.publish()
}

/// A file that is written and synced, and has not got its name.
#[derive(Debug)]
#[must_use]
pub struct StagedFile {
    unfinished: PathBuf,
    path: PathBuf,
}

impl StagedFile {
    /// Gives the file its name, durably.
    ///
    /// # Errors
    /// When the file system fails.
    pub fn publish(self) -> Result<(), NodeError> {
        let folder = self.path.parent().filter(|folder| *folder != Path::new(""));
        let synced = std::fs::rename(&self.unfinished, &self.path)
            .and_then(|()| std::fs::File::open(folder.unwrap_or(Path::new(".")))?.sync_all());
        synced.map_err(|source| NodeError::File {
            action: "cannot write",
            path: self.path.clone(),
            source,
        })
    }
}

/// Writes and syncs a file that is to be called `path`.
///
/// # Errors
/// When the file system fails.
pub fn stage_file(path: &Path, text: &str) -> Result<StagedFile, NodeError> {
    stage_with_mode(path, text, 0o644)
}

fn stage_with_mode(path: &Path, text: &str, mode: u32) -> Result<StagedFile, NodeError> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let unfinished = PathBuf::from(name);
    let file = || -> std::io::Result<()> {
        let folder = path.parent().filter(|folder| *folder != Path::new(""));
        if let Some(folder) = folder {
            std::fs::create_dir_all(folder)?;
        }
        // What an earlier attempt left may have another mode.
        match std::fs::remove_file(&unfinished) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = std::fs::File::options()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&unfinished)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    let path = path.to_owned();
    match file() {
        Ok(()) => Ok(StagedFile { unfinished, path }),
        Err(source) => Err(NodeError::File {
            action: "cannot write",
            path,
            source,
        }),
    }
}

fn read_text(path: &Path) -> Result<String, NodeError> {
    std::fs::read_to_string(path).map_err(|source| NodeError::File {
        action: "cannot read",
        path: path.to_owned(),
        source,
    })
}

fn content(path: &Path, reason: impl ToString) -> NodeError {
    NodeError::Content {
        path: path.to_owned(),
        reason: reason.to_string(),
    }
}

/// Reads a genesis file. The caller checks its rules.
///
/// # Errors
/// When the file cannot be read or is no genesis.
pub fn read_genesis(path: &Path) -> Result<Genesis, NodeError> {
    let text = read_text(path)?;
    serde_json::from_str(&text).map_err(|error| content(path, error))
}

/// The public part of a validator key, and the network that it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ValidatorIdentity {
    /// The vote key.
    pub public_key: PublicKey,
    /// The network.
    pub chain_id: Digest,
}

fn read_key_file(path: &Path) -> Result<ValidatorKeyFile, NodeError> {
    serde_json::from_str(&read_text(path)?).map_err(|error| content(path, error))
}

/// Reads the public part of a validator key.
///
/// # Errors
/// When the file cannot be read or is no key file.
pub fn read_validator_identity(path: &Path) -> Result<ValidatorIdentity, NodeError> {
    let file = read_key_file(path)?;
    Ok(ValidatorIdentity {
        public_key: file.public_key,
        chain_id: file.chain_id,
    })
}

/// Reads a validator key for use on a network.
///
/// # Errors
/// When the file cannot be read, does not fit together, or holds a development key of another
/// network.
pub fn read_validator_key(path: &Path, genesis: &Genesis) -> Result<SecretKey, NodeError> {
    let chain_id = genesis.chain_id();
    let secret = read_development_key(path, &chain_id)?;
    if !genesis.development {
        return Err(foreign_key(path, &chain_id, &chain_id));
    }
    Ok(secret)
}

fn foreign_key(path: &Path, made_for: &Digest, used_on: &Digest) -> NodeError {
    NodeError::DevelopmentKey {
        path: path.to_owned(),
        made_for: made_for.to_string(),
        used_on: used_on.to_string(),
    }
}

/// Reads a plain validator key of the development network with this chain id.
///
/// # Errors
/// When the file cannot be read, does not fit together, or holds a development key of another
/// network.
pub fn read_development_key(path: &Path, chain_id: &Digest) -> Result<SecretKey, NodeError> {
    let file = read_key_file(path)?;
    if !file.development {
        return Err(content(
            path,
            "plain validator keys are for development networks only",
        ));
    }
    if file.chain_id != *chain_id {
        return Err(foreign_key(path, &file.chain_id, chain_id));
    }
    let seed: [u8; 32] = hex::decode(&file.seed)
        .ok()
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(|| content(path, "the seed is not 32 bytes of hexadecimal digits"))?;
    let secret = SecretKey::from_seed(seed);
    if secret.public_key() != file.public_key {
        return Err(content(
            path,
            "the secret does not belong to the public key",
        ));
    }
    Ok(secret)
}

/// Writes a validator's key and its empty signing history into a node's folder.
fn save_validator_key(
    secret: &SecretKey,
    chain_id: Digest,
    folder: &Path,
) -> Result<(), NodeError> {
    let file = ValidatorKeyFile {
        version: 1,
        public_key: secret.public_key(),
        development: true,
        chain_id,
        seed: hex::encode(secret.seed()),
    };
    let text = serde_json::to_string_pretty(&file)
        .map_err(|error| NodeError::Environment(error.to_string()))?;
    write_secret(&folder.join(VALIDATOR_KEY), &text)?;
    let key = ValidatorIdentity {
        public_key: secret.public_key(),
        chain_id,
    };
    create_log(&folder.join(VOTE_LOG), &key, &[])
}

/// Makes a validator's key for a development network in a node's folder; gives its public part.
///
/// # Errors
/// When a file cannot be written, or there is no randomness.
pub fn write_validator_key(folder: &Path, genesis: &Genesis) -> Result<PublicKey, NodeError> {
    let path = folder.join(VALIDATOR_KEY);
    if path.exists() {
        return Err(content(&path, "there is a key already; it is kept"));
    }
    let secret = SecretKey::from_seed(random()?);
    save_validator_key(&secret, genesis.chain_id(), folder)?;
    Ok(secret.public_key())
}

/// The addresses of a node's peers and its own, for a newcomer to dial.
///
/// # Errors
/// When the node's network key cannot be read.
pub fn peers_of(config: &NodeConfig) -> Result<Vec<String>, NodeError> {
    let identity = NetworkKey::load(&config.network.key)?.peer();
    let reachable = if config.network.external.is_empty() {
        &config.network.listen
    } else {
        &config.network.external
    };
    let own = reachable.iter().filter(|address| address.contains("/tcp/"));
    let own = own.map(|address| format!("{address}/p2p/{identity}"));
    let mut peers = config.network.peers.clone();
    peers.extend(own);
    Ok(peers)
}

/// Writes a genesis into a node's folder.
///
/// # Errors
/// When it cannot be written.
pub fn copy_genesis(genesis: &Genesis, folder: &Path) -> Result<(), NodeError> {
    let text = serde_json::to_string_pretty(genesis)
        .map_err(|error| NodeError::Environment(error.to_string()))?;
    write_file(&folder.join("genesis.json"), &text)
}

fn random() -> Result<[u8; 32], NodeError> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)
        .map_err(|error| NodeError::Environment(format!("no randomness: {error}")))?;
    Ok(bytes)
}

/// The key of account `index` of the load generator on the network of `salt`; only development
/// networks fund it.
pub fn load_key(salt: &Digest, index: u32) -> skerry_types::crypto::ed25519::SecretKey {
    let seed = hash_parts(
        Purpose::DEVELOPMENT_KEY,
        &[salt.as_bytes(), b"load", &index.to_le_bytes()],
    );
    skerry_types::crypto::ed25519::SecretKey::from_seed(*seed.as_bytes())
}

/// Which validators hold the seats of each shard. Fixed seats go to the validators in turn, shard
/// after shard; else every validator has one seat in one shard, or in every shard when there are
/// fewer validators than shards.
fn deal(plan: &NetworkPlan) -> Vec<Vec<ValidatorId>> {
    let (shards, validators) = (
        u32::from(plan.shards.max(1)),
        u32::from(plan.validators.max(1)),
    );
    (0..shards)
        .map(|shard| match &plan.seats {
            Some(seats) => {
                let members = u32::try_from(seats.len()).unwrap_or(1);
                (0..members)
                    .zip(seats)
                    .flat_map(|(member, count)| {
                        let validator = (shard * members + member) % validators;
                        std::iter::repeat_n(ValidatorId::new(validator), usize::from(*count))
                    })
                    .collect()
            }
            None if validators >= shards => (0..validators)
                .filter(|validator| validator * shards / validators == shard)
                .map(ValidatorId::new)
                .collect(),
            None => (0..validators).map(ValidatorId::new).collect(),
        })
        .collect()
}

/// Makes the genesis and writes all files of a development network. Returns the genesis and the
/// funded accounts.
///
/// # Errors
/// When the plan breaks a rule of the genesis, or a file cannot be written.
pub fn write_network(plan: &NetworkPlan) -> Result<(Genesis, Vec<FundedAccount>), NodeError> {
    if !plan.shards.is_power_of_two() || plan.shards > 64 {
        return Err(NodeError::Environment(format!(
            "{} shards; 1, 2, 4, 8, 16, 32 or 64 are possible",
            plan.shards
        )));
    }
    let depth = u8::try_from(plan.shards.trailing_zeros()).unwrap_or(0);
    let salt = Digest::new(random()?);
    let mut secrets = Vec::new();
    let mut operators = Vec::new();
    let mut validators = Vec::new();
    for index in 0..plan.validators {
        let secret = SecretKey::from_seed(random()?);
        let operator = AccountKey::from_seed(random()?);
        validators.push(GenesisValidator {
            name: format!("v{index}"),
            vote_key: secret.public_key(),
            possession: secret.prove_possession(),
            operator: operator.address(),
            stake: Weight::new(STAKE),
        });
        secrets.push(secret);
        operators.push(operator);
    }
    let faucet = AccountKey::from_seed(random()?);
    let mut accounts = vec![GenesisAccount {
        address: faucet.address(),
        assets: vec![Asset::nsker(FAUCET_BALANCE)],
    }];
    let mut people: Vec<(ShardId, AccountKey)> = Vec::new();
    for shard in ShardId::all(depth) {
        let mut found = 0;
        while found < ACCOUNTS_PER_SHARD {
            let key = AccountKey::from_seed(random()?);
            if key.address().shard(depth) == shard {
                people.push((shard, key));
                found += 1;
            }
        }
    }
    accounts.extend(operators.iter().map(|key| GenesisAccount {
        address: key.address(),
        assets: vec![Asset::nsker(OPERATOR_BALANCE)],
    }));
    accounts.extend(people.iter().map(|(_, key)| GenesisAccount {
        address: key.address(),
        assets: vec![Asset::nsker(ACCOUNT_BALANCE)],
    }));
    accounts.extend((0..plan.load_accounts).map(|index| GenesisAccount {
        address: Address::of_ed25519(&load_key(&salt, index).public_key()),
        assets: vec![Asset::nsker(LOAD_BALANCE)],
    }));
    let genesis = Genesis {
        version: Version,
        name: plan.name.clone(),
        salt,
        time: crate::runner::now_ms(),
        development: true,
        shard_depth: depth,
        parameters: plan.parameters,
        validators,
        seats: deal(plan),
        accounts,
    };
    genesis.check(false)?;
    let keys = NetworkKeys {
        secrets,
        operators,
        faucet,
        people,
    };
    write_files(plan, &genesis, &keys)
}

/// The keys of a development network.
struct NetworkKeys {
    /// Of the validators.
    secrets: Vec<SecretKey>,
    /// Of their operators.
    operators: Vec<AccountKey>,
    /// Of the faucet.
    faucet: AccountKey,
    /// Of the funded accounts.
    people: Vec<(ShardId, AccountKey)>,
}

fn write_files(
    plan: &NetworkPlan,
    genesis: &Genesis,
    keys: &NetworkKeys,
) -> Result<(Genesis, Vec<FundedAccount>), NodeError> {
    let secrets = &keys.secrets;
    let chain_id = genesis.chain_id();
    let out = &plan.out;
    let mut network_keys = Vec::new();
    for _ in 0..secrets.len() {
        network_keys.push(NetworkKey::generate());
    }
    let peers: Vec<String> = network_keys
        .iter()
        .zip(0_u16..)
        .map(|(key, index)| match &plan.host_template {
            Some(template) => {
                let host = template.replace("{i}", &index.to_string());
                format!("/dns4/{host}/tcp/{CONTAINER_PEERS}/p2p/{}", key.peer())
            }
            None => {
                let port = Ports::validator(plan.port_base, index).peers;
                format!("/ip4/127.0.0.1/tcp/{port}/p2p/{}", key.peer())
            }
        })
        .collect();
    for ((secret, key), index) in secrets.iter().zip(&network_keys).zip(0_u16..) {
        let name = format!("v{index}");
        let folder = out.join(&name);
        save_validator_key(secret, chain_id, &folder)?;
        save_network_key(key, &folder)?;
        let ports = Ports::validator(plan.port_base, index);
        let others = peers
            .iter()
            .zip(0_u16..)
            .filter(|(_, other)| *other != index);
        let config = NodeConfig {
            validator: Some(ValidatorConfig {
                key: VALIDATOR_KEY.into(),
                vote_log: VOTE_LOG.into(),
            }),
            ..node_config(
                plan,
                name,
                ports,
                others.map(|(peer, _)| peer.clone()).collect(),
            )
        };
        write_config(&config, &folder)?;
    }
    let folder = out.join("rpc");
    save_network_key(&NetworkKey::generate(), &folder)?;
    let ports = Ports::gateway(plan.port_base);
    let gateway = NodeConfig {
        follow: Follow::All,
        ..node_config(plan, "rpc".to_owned(), ports, peers)
    };
    write_config(&gateway, &folder)?;
    for (operator, index) in keys.operators.iter().zip(0_u16..) {
        let path = out.join(format!("v{index}/keys/operator.json"));
        write_key(operator, chain_id, &path)?;
    }
    write_key(&keys.faucet, chain_id, &out.join("faucet/key.json"))?;
    let mut funded = Vec::new();
    for ((shard, key), number) in keys.people.iter().zip(0_usize..) {
        let key_file = out.join(format!("accounts/account-{number}.json"));
        write_key(key, chain_id, &key_file)?;
        let shard = format!("{shard:?}");
        funded.push(FundedAccount {
            address: key.address(),
            shard,
            key_file,
        });
    }
    // Last, so that a folder with a genesis is whole.
    copy_genesis(genesis, out)?;
    Ok((genesis.clone(), funded))
}

fn node_config(plan: &NetworkPlan, name: String, ports: Ports, peers: Vec<String>) -> NodeConfig {
    let (host, ports) = match plan.host_template {
        Some(_) => {
            let ports = Ports {
                grpc: CONTAINER_GRPC,
                http: CONTAINER_HTTP,
                peers: CONTAINER_PEERS,
            };
            ("0.0.0.0", ports)
        }
        None => ("127.0.0.1", ports),
    };
    NodeConfig {
        name,
        genesis: "../genesis.json".into(),
        validator: None,
        follow: Follow::Committee,
        network: PeerConfig {
            key: NETWORK_KEY.into(),
            listen: vec![
                format!("/ip4/{host}/tcp/{}", ports.peers),
                format!("/ip4/{host}/udp/{}/quic-v1", ports.peers),
            ],
            peers,
            external: Vec::new(),
        },
        grpc: GrpcConfig {
            listen: format!("{host}:{}", ports.grpc),
        },
        http: HttpConfig {
            listen: format!("{host}:{}", ports.http),
        },
    }
}

/// Gives a node's folder its network identity, unless it has one.
///
/// # Errors
/// When it cannot be written.
pub fn make_network_key(home: &Path) -> Result<(), NodeError> {
    if home.join(NETWORK_KEY).exists() {
        return Ok(());
    }
    save_network_key(&NetworkKey::generate(), home)
}

fn save_network_key(key: &NetworkKey, home: &Path) -> Result<(), NodeError> {
    let folder = home.join("keys");
    std::fs::create_dir_all(&folder).map_err(|error| content(&folder, error))?;
    Ok(key.save(&home.join(NETWORK_KEY))?)
}

/// Writes a configuration into its node's folder.
///
/// # Errors
/// When it cannot be written.
pub fn write_config(config: &NodeConfig, folder: &Path) -> Result<(), NodeError> {
    let path = folder.join("config.toml");
    config.write(&path).map_err(|source| NodeError::File {
        action: "cannot write",
        path,
        source,
    })
}

fn write_key(key: &AccountKey, chain_id: Digest, path: &Path) -> Result<(), NodeError> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(|error| content(folder, error))?;
    }
    KeyFile::seal(key, Protection::Development(chain_id))
        .and_then(|file| file.write(path))
        .map_err(|error| content(path, error))
}

/// The funded accounts of a network that was laid out before.
///
/// # Errors
/// When a key file cannot be read.
pub fn funded_accounts(out: &Path, genesis: &Genesis) -> Result<Vec<FundedAccount>, NodeError> {
    let mut funded = Vec::new();
    let count = ACCOUNTS_PER_SHARD << genesis.shard_depth;
    for number in 0..count {
        let key_file = out.join(format!("accounts/account-{number}.json"));
        let address = KeyFile::read(&key_file)
            .map_err(|error| content(&key_file, error))?
            .address();
        let shard = format!("{:?}", address.shard(genesis.shard_depth));
        funded.push(FundedAccount {
            address,
            shard,
            key_file,
        });
    }
    Ok(funded)
}
