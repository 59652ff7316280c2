//! The options of all commands.

use crate::bench::BenchArgs;
use crate::devnet::{DevnetArgs, ParameterArgs};
use crate::faucet::FaucetArgs;
use crate::init::InitArgs;
use crate::snapshot::check::Checkpoint;
use crate::start::StartArgs;
use crate::verify::VerifyArgs;
use clap::{Args, Parser, Subcommand, ValueEnum};
use skerry_proto::v1::Stage;
use skerry_sdk::exchange::Slippage;
use skerry_types::amount::{Amount, Asset};
use skerry_types::ids::{Address, ChainRef, Denom, Digest, ValidatorId};
use std::path::PathBuf;
use std::time::Duration;

/// A sharded proof-of-stake chain: node, wallet and tools.
#[derive(Debug, Parser)]
#[command(
    name = "skerry",
    version,
    propagate_version = true,
    arg_required_else_help = true
)]
pub struct Cli {
    /// Print the result as JSON; never ask anything.
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make and keep account keys.
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Send transactions and follow them.
    #[command(subcommand)]
    Tx(TxCommand),
    /// Ask a node.
    #[command(subcommand)]
    Query(QueryCommand),
    /// Make and inspect networks.
    #[command(subcommand)]
    Genesis(GenesisCommand),
    /// Run a node, or ask how one is doing.
    #[command(subcommand)]
    Node(NodeCommand),
    /// Run a whole network on this machine.
    #[command(subcommand)]
    Devnet(DevnetCommand),
    /// Give away test tokens.
    #[command(subcommand)]
    Faucet(FaucetCommand),
    /// Load a development network, or execute blocks alone, and measure it.
    Bench(BenchArgs),
    /// Examine data directories of stopped nodes.
    #[command(subcommand)]
    Db(DbCommand),
}

/// The node to talk to.
#[derive(Clone, Debug, Args)]
pub struct Rpc {
    /// URL of a node's gRPC.
    #[arg(
        long,
        value_name = "URL",
        env = "SKERRY_RPC",
        default_value = "http://127.0.0.1:50051"
    )]
    pub rpc: String,
}

/// Where a passphrase comes from.
#[derive(Clone, Debug, Default, Args)]
pub struct PassphraseSource {
    /// File with the passphrase in its first line; without it a terminal is asked.
    #[arg(long, value_name = "FILE", env = "SKERRY_PASSPHRASE_FILE")]
    pub passphrase_file: Option<PathBuf>,
}

/// `skerry keys …`
#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// Make a new key.
    New {
        /// Where to write it.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// Write it plain, for the development network of this genesis only.
        #[arg(long, value_name = "GENESIS")]
        development: Option<PathBuf>,
        /// Where the passphrase comes from.
        #[command(flatten)]
        passphrase: PassphraseSource,
    },
    /// List the key files of a folder.
    List {
        /// The folder.
        #[arg(long, value_name = "DIR", default_value = ".")]
        dir: PathBuf,
    },
    /// Show the public part of a key file.
    Show {
        /// The key file.
        key_file: PathBuf,
    },
    /// Make a key file from a recovery phrase or a seed, read from standard input.
    Import {
        /// Where to write it.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// Standard input holds a seed of 64 hexadecimal digits instead of a phrase.
        #[arg(long)]
        seed: bool,
        /// Write it plain, for the development network of this genesis only.
        #[arg(long, value_name = "GENESIS")]
        development: Option<PathBuf>,
        /// Where the passphrase comes from.
        #[command(flatten)]
        passphrase: PassphraseSource,
    },
    /// Print the secret of a key file: its recovery phrase, or its seed where it has none.
    Export {
        /// The key file.
        key_file: PathBuf,
        /// Yes, print the secret.
        #[arg(long)]
        yes: bool,
        /// Where the passphrase comes from.
        #[command(flatten)]
        passphrase: PassphraseSource,
    },
    /// The signing history of a validator's vote key; its node must not run.
    #[command(subcommand)]
    Votes(VotesCommand),
}

/// A vote key and its history.
#[derive(Clone, Debug, Args)]
pub struct VoteLogFiles {
    /// The validator's key file, such as HOME/keys/validator.json.
    #[arg(long, value_name = "FILE")]
    pub key: PathBuf,
    /// The vote log [default: vote.log beside the key].
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,
}

/// `skerry keys votes …`
#[derive(Debug, Subcommand)]
pub enum VotesCommand {
    /// Show how far the key has voted on each chain.
    Show {
        /// Key and log.
        #[command(flatten)]
        files: VoteLogFiles,
    },
    /// Hand the history to another machine: write it as watermarks, and end this log.
    Export {
        /// Key and log.
        #[command(flatten)]
        files: VoteLogFiles,
        /// Where to write it; must not exist.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Take up what another machine exported; only raises watermarks. A missing log is made.
    Import {
        /// Key and log.
        #[command(flatten)]
        files: VoteLogFiles,
        /// What was exported.
        #[arg(long = "in", value_name = "FILE")]
        from: PathBuf,
        /// Open the log again that wrote this very export: the key stays here after all, and has
        /// run nowhere else since.
        #[arg(long)]
        never_ran_elsewhere: bool,
    },
    /// Declare the history lost: the key signs nothing until the first final block of the next
    /// epoch but one.
    Lost {
        /// Key and log.
        #[command(flatten)]
        files: VoteLogFiles,
        /// Yes, the newest log is gone, and no other machine runs the key.
        #[arg(long)]
        yes: bool,
    },
}

/// A stage to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum WaitFor {
    /// In a mempool.
    Received,
    /// In a notarized block.
    Included,
    /// In a final block.
    Finalized,
    /// Every forward leg executed.
    ExecutedRemotely,
    /// The last leg final.
    Returned,
}

impl From<WaitFor> for Stage {
    fn from(wait: WaitFor) -> Self {
        match wait {
            WaitFor::Received => Self::Received,
            WaitFor::Included => Self::Included,
            WaitFor::Finalized => Self::Finalized,
            WaitFor::ExecutedRemotely => Self::ExecutedRemotely,
            WaitFor::Returned => Self::Returned,
        }
    }
}

/// How a transaction is made, sent and waited for.
#[derive(Clone, Debug, Args)]
pub struct Sending {
    /// The node to talk to.
    #[command(flatten)]
    pub rpc: Rpc,
    /// The sender's key file.
    #[arg(long, value_name = "FILE", env = "SKERRY_KEY_FILE")]
    pub key_file: PathBuf,
    /// Where the passphrase comes from.
    #[command(flatten)]
    pub passphrase: PassphraseSource,
    /// How to wait.
    #[command(flatten)]
    pub waiting: Waiting,
    /// Nonce stream; independent senders of one account use different ones.
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    pub nonce_stream: u16,
    /// Nonce within the stream; the account's next one unless given.
    #[arg(long, value_name = "NUMBER")]
    pub nonce: Option<u64>,
    /// nsker per unit of gas; what the node suggests unless given: the base fee where it is as low as
    /// it gets, else somewhat more.
    #[arg(long, value_name = "NSKER")]
    pub gas_price: Option<Amount>,
    /// Show what it would cost, and send nothing.
    #[arg(long, conflicts_with = "gas_price")]
    pub dry_run: bool,
    /// For how many beacon blocks it is valid.
    #[arg(long, value_name = "BLOCKS", default_value_t = skerry_sdk::builder::VALID_FOR_BEACON_BLOCKS)]
    pub valid_for: u64,
}

/// How to wait for a transaction.
#[derive(Clone, Debug, Args)]
pub struct Waiting {
    /// Stage to wait for.
    #[arg(long, value_enum, value_name = "STAGE", default_value = "returned")]
    pub wait_for: WaitFor,
    /// How long to wait, such as 30s or 2m.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration)]
    pub timeout: Duration,
}

/// `skerry tx …`
#[derive(Debug, Subcommand)]
pub enum TxCommand {
    /// Send tokens to an account on whichever shard.
    Send {
        /// The recipient.
        #[arg(long, value_name = "ADDRESS")]
        to: Address,
        /// How much: 5sker, 0.5sker, 5000000000nsker, or 10:skd1… in base units of another token.
        #[arg(long, value_name = "AMOUNT")]
        amount: Asset,
        /// How it is sent.
        #[command(flatten)]
        sending: Sending,
    },
    /// Call any module with JSON, such as: tx call bank '{"send":{"to":"sk1…","asset":{…}}}'
    Call {
        /// Name of the module.
        module: String,
        /// The call.
        #[arg(value_parser = json_value)]
        call: serde_json::Value,
        /// Attach this to the bundle; may be given several times.
        #[arg(long, value_name = "AMOUNT")]
        attach: Vec<Asset>,
        /// How it is sent.
        #[command(flatten)]
        sending: Sending,
    },
    /// Run calls on any chain, or on up to four one after the other, as a JSON file says.
    Bundle {
        /// The file, or - for standard input.
        file: PathBuf,
        /// How it is sent.
        #[command(flatten)]
        sending: Sending,
    },
    /// Wait for a transaction that was sent earlier.
    Wait {
        /// The transaction's hash.
        hash: Digest,
        /// The node to talk to.
        #[command(flatten)]
        rpc: Rpc,
        /// How to wait.
        #[command(flatten)]
        waiting: Waiting,
    },
    /// Where a transaction stands.
    Status {
        /// The transaction's hash.
        hash: Digest,
        /// The node to talk to.
        #[command(flatten)]
        rpc: Rpc,
    },
    /// The way of a transaction through all chains: each leg, what happened there, what came home.
    Trace {
        /// The transaction's hash.
        hash: Digest,
        /// The node to talk to.
        #[command(flatten)]
        rpc: Rpc,
        /// Follow it until its last leg is final; every change goes to standard error.
        #[arg(long)]
        wait: bool,
        /// How long to follow it, such as 30s or 2m.
        #[arg(
            long,
            value_name = "TIME",
            default_value = "60s",
            value_parser = duration,
            requires = "wait"
        )]
        timeout: Duration,
    },
    /// Tokens of one's own.
    #[command(subcommand)]
    Token(TokenCommand),
    /// Validators of one's own.
    #[command(subcommand)]
    Stake(StakeCommand),
    /// Pools of two denoms: make one, add to it, take from it.
    #[command(subcommand)]
    Pool(PoolCommand),
    /// Exchange one denom for another through pools of one shard, the sender's or another.
    Swap(SwapArgs),
}

/// The pools that a swap goes through.
#[derive(Clone, Debug, Args)]
pub struct Route {
    /// The pool, or several in order: sk1…,sk1…
    #[arg(
        long = "pool",
        value_name = "POOL",
        value_delimiter = ',',
        required = true
    )]
    pub pools: Vec<Address>,
}

/// Which end of a swap is fixed.
#[derive(Clone, Copy, Debug, Args)]
#[group(required = true, multiple = false)]
pub struct Exact {
    /// Give exactly this: 5sker, or 10:skd1… in base units of another token.
    #[arg(long, value_name = "AMOUNT")]
    pub input: Option<Asset>,
    /// Receive exactly this.
    #[arg(long, value_name = "AMOUNT")]
    pub output: Option<Asset>,
}

/// `skerry tx swap`
#[derive(Clone, Debug, Args)]
pub struct SwapArgs {
    /// Through which pools.
    #[command(flatten)]
    pub route: Route,
    /// What is fixed.
    #[command(flatten)]
    pub exact: Exact,
    /// Receive at least this for an exact input; from the quote unless given.
    #[arg(long, value_name = "AMOUNT", conflicts_with_all = ["output", "slippage"])]
    pub min_output: Option<Asset>,
    /// Give at most this for an exact output; from the quote unless given.
    #[arg(long, value_name = "AMOUNT", conflicts_with_all = ["input", "slippage"])]
    pub max_input: Option<Asset>,
    /// By how many per cent it may end worse than the quote.
    #[arg(long, value_name = "PERCENT", default_value = "0.5")]
    pub slippage: Slippage,
    /// How it is sent.
    #[command(flatten)]
    pub sending: Sending,
}

/// `skerry tx pool …`
#[derive(Debug, Subcommand)]
pub enum PoolCommand {
    /// Make a pool on the sender's shard with a first deposit, which sets its price.
    Create {
        /// The first deposit: two denoms, such as --asset 5sker --asset 10:skd1…
        #[arg(long = "asset", value_name = "AMOUNT", required = true)]
        assets: Vec<Asset>,
        /// The part of every input that stays in the pool, in millionths, at most 100000.
        #[arg(long, value_name = "MILLIONTHS", default_value_t = 3_000)]
        fee_ppm: u32,
        /// How it is sent.
        #[command(flatten)]
        sending: Sending,
    },
    /// Deposit in the ratio of the reserves, and receive shares.
    Add {
        /// The pool.
        #[arg(long, value_name = "POOL")]
        pool: Address,
        /// The most to give of each denom: --maximum 5sker --maximum 10:skd1…
        #[arg(long = "maximum", value_name = "AMOUNT", required = true)]
        maximum: Vec<Asset>,
        /// Receive at least so many shares; from what the reserves give now unless given.
        #[arg(long, value_name = "UNITS", conflicts_with = "slippage")]
        min_shares: Option<Amount>,
        /// By how many per cent it may end worse than at the reserves of now.
        #[arg(long, value_name = "PERCENT", default_value = "0.5")]
        slippage: Slippage,
        /// How it is sent.
        #[command(flatten)]
        sending: Sending,
    },
    /// Give shares back, and receive their part of both reserves.
    Remove {
        /// The pool.
        #[arg(long, value_name = "POOL")]
        pool: Address,
        /// How many shares.
        #[arg(long, value_name = "UNITS")]
        shares: Amount,
        /// Receive at least this of each denom; from what the reserves give now unless given.
        #[arg(long = "minimum", value_name = "AMOUNT", conflicts_with = "slippage")]
        minimum: Vec<Asset>,
        /// By how many per cent it may end worse than at the reserves of now.
        #[arg(long, value_name = "PERCENT", default_value = "0.5")]
        slippage: Slippage,
        /// How it is sent.
        #[command(flatten)]
        sending: Sending,
    },
}

/// `skerry tx stake …`
#[derive(Debug, Subcommand)]
pub enum StakeCommand {
    /// Make a validator; the sender is its operator.
    Register {
        /// File of its vote key, as `skerry node init --validator` makes it.
        #[arg(long, value_name = "FILE")]
        validator_key: PathBuf,
        /// How much is at stake, such as 5000sker.
        #[arg(long, value_name = "AMOUNT", value_parser = sker)]
        bond: Amount,
        /// How it is sent.
        #[command(flatten)]
        sending: Sending,
    },
    /// Add to the bond of a validator.
    TopUp {
        /// Its number, such as v8.
        #[arg(long, value_name = "NUMBER", value_parser = validator)]
        validator: ValidatorId,
        /// How much.
        #[arg(long, value_name = "AMOUNT", value_parser = sker)]
        amount: Amount,
        /// How it is sent.
        #[command(flatten)]
        sending: Sending,
    },
    /// Begin to leave. Keep the node running until the validator is unbonding.
    Exit {
        /// Its number, such as v8.
        #[arg(long, value_name = "NUMBER", value_parser = validator)]
        validator: ValidatorId,
        /// How it is sent.
        #[command(flatten)]
        sending: Sending,
    },
    /// Take the bond home once it is free.
    Withdraw {
        /// Its number, such as v8.
        #[arg(long, value_name = "NUMBER", value_parser = validator)]
        validator: ValidatorId,
        /// How it is sent.
        #[command(flatten)]
        sending: Sending,
    },
    /// Free a jailed validator once its time is over.
    Unjail {
        /// Its number, such as v8.
        #[arg(long, value_name = "NUMBER", value_parser = validator)]
        validator: ValidatorId,
        /// How it is sent.
        #[command(flatten)]
        sending: Sending,
    },
}

/// `skerry tx token …`
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Create a token; its denom follows from the sender and the name.
    Create {
        /// Name, unique among the sender's tokens.
        #[arg(long)]
        name: String,
        /// Short name.
        #[arg(long)]
        symbol: String,
        /// Where the point stands in displayed amounts.
        #[arg(long, default_value_t = 9)]
        decimals: u8,
        /// What to say about it, such as a URL.
        #[arg(long, default_value = "")]
        metadata: String,
        /// Base units to issue to the sender at once.
        #[arg(long, value_name = "UNITS", default_value = "0")]
        supply: Amount,
        /// How it is sent.
        #[command(flatten)]
        sending: Sending,
    },
    /// Issue more of a token.
    Mint {
        /// The token.
        #[arg(long)]
        denom: Denom,
        /// Base units.
        #[arg(long, value_name = "UNITS")]
        amount: Amount,
        /// Who gets it; the sender unless given.
        #[arg(long, value_name = "ADDRESS")]
        to: Option<Address>,
        /// How it is sent.
        #[command(flatten)]
        sending: Sending,
    },
    /// Destroy some of a token.
    Burn {
        /// The token.
        #[arg(long)]
        denom: Denom,
        /// Base units.
        #[arg(long, value_name = "UNITS")]
        amount: Amount,
        /// How it is sent.
        #[command(flatten)]
        sending: Sending,
    },
    /// Say something else about a token.
    SetMetadata {
        /// The token.
        #[arg(long)]
        denom: Denom,
        /// What to say.
        #[arg(long)]
        metadata: String,
        /// How it is sent.
        #[command(flatten)]
        sending: Sending,
    },
}

/// `skerry query …`
#[derive(Debug, Subcommand)]
pub enum QueryCommand {
    /// What an account holds.
    Account {
        /// The account.
        address: Address,
        /// The node to talk to.
        #[command(flatten)]
        rpc: Rpc,
        /// Prove it from the genesis instead of believing the node.
        #[arg(long, requires = "trust")]
        verify: bool,
        /// The trusted genesis file.
        #[arg(long, value_name = "GENESIS", requires = "verify")]
        trust: Option<PathBuf>,
        /// An epoch of the beacon that a node which you trust has shown, where the genesis is older
        /// than bonds stay locked.
        #[arg(long, value_name = "EPOCH:DIGEST", requires = "verify")]
        checkpoint: Option<Checkpoint>,
        /// How long to wait for the proof of the newest state.
        #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration)]
        timeout: Duration,
    },
    /// A transaction with its block and receipt.
    Tx {
        /// The transaction's hash.
        hash: Digest,
        /// The node to talk to.
        #[command(flatten)]
        rpc: Rpc,
    },
    /// A final block.
    Block {
        /// beacon, or `shard-BITS/DEPTH`.
        chain: ChainRef,
        /// Its height; the newest unless given.
        height: Option<u64>,
        /// The node to talk to.
        #[command(flatten)]
        rpc: Rpc,
    },
    /// How the shards go on, or one of them.
    Shard {
        /// beacon, or `shard-BITS/DEPTH`.
        chain: Option<ChainRef>,
        /// The node to talk to.
        #[command(flatten)]
        rpc: Rpc,
    },
    /// The validators: bonds, stages, seats.
    Validators {
        /// The node to talk to.
        #[command(flatten)]
        rpc: Rpc,
    },
    /// The channels between chains: how far each is, what credit is left on it, and how long a message
    /// takes at most.
    Channels {
        /// Only those from or to this chain: beacon, or `shard-BITS/DEPTH`.
        chain: Option<ChainRef>,
        /// The node to talk to.
        #[command(flatten)]
        rpc: Rpc,
    },
    /// What a pool holds.
    Pool {
        /// The pool.
        pool: Address,
        /// The node to talk to.
        #[command(flatten)]
        rpc: Rpc,
    },
    /// What a swap would bring or cost now; nothing is sent.
    Quote {
        /// Through which pools.
        #[command(flatten)]
        route: Route,
        /// What is fixed.
        #[command(flatten)]
        exact: Exact,
        /// The node to talk to.
        #[command(flatten)]
        rpc: Rpc,
    },
    /// The newest epoch of the beacon, as `--checkpoint` takes it: what a node that you trust shows,
    /// another one may start from, and a proof be checked from.
    Checkpoint {
        /// The node to talk to.
        #[command(flatten)]
        rpc: Rpc,
    },
    /// What a node is.
    Node {
        /// The node to talk to.
        #[command(flatten)]
        rpc: Rpc,
    },
    /// What a token is.
    Token {
        /// The token.
        denom: Denom,
        /// The node to talk to.
        #[command(flatten)]
        rpc: Rpc,
    },
}

/// `skerry genesis …`
#[derive(Debug, Subcommand)]
pub enum GenesisCommand {
    /// Make a development network: genesis, node homes, faucet and funded accounts.
    New(GenesisNewArgs),
    /// The chain id of a genesis file: its hash.
    Hash {
        /// The genesis file.
        file: PathBuf,
    },
    /// What a genesis file says, after checking it.
    Show {
        /// The genesis file.
        file: PathBuf,
    },
}

/// `skerry genesis new`
#[derive(Clone, Debug, Args)]
pub struct GenesisNewArgs {
    /// Number of shards: 1, 2, 4, … up to 64.
    #[arg(long, default_value_t = 2)]
    pub shards: u16,
    /// Number of validators.
    #[arg(long, default_value_t = 8)]
    pub validators: u16,
    /// Seats of each member of every shard, such as 3,3,2,1; one each unless given.
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub seats: Option<Vec<u16>>,
    /// What the genesis fixes
    #[command(flatten)]
    pub parameters: ParameterArgs,
    /// Folder to write; must not exist or be empty.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Host name of node i, for networks of containers, such as v{i}; loopback unless given.
    #[arg(long, value_name = "TEMPLATE")]
    pub host_template: Option<String>,
    /// First of the ports of the nodes on loopback.
    #[arg(long, value_name = "PORT", default_value_t = 50051)]
    pub port_base: u16,
    /// Funded accounts for the load generator.
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    pub load_accounts: u32,
    /// Name of the network, for people.
    #[arg(long, default_value = "devnet")]
    pub name: String,
}

/// `skerry node …`
#[derive(Debug, Subcommand)]
pub enum NodeCommand {
    /// Run a node until it is told to stop.
    Start(StartArgs),
    /// Make the folder of a new node, for a development network that runs already.
    Init(InitArgs),
    /// How a node is doing.
    Status {
        /// Succeed only if the node is in step and finalizing.
        #[arg(long)]
        ready: bool,
        /// Ask the health page at this URL instead of gRPC.
        #[arg(long, value_name = "URL")]
        http: Option<String>,
        /// The node to talk to.
        #[command(flatten)]
        rpc: Rpc,
    },
}

/// `skerry devnet …`
#[derive(Debug, Subcommand)]
pub enum DevnetCommand {
    /// Start the network and run until interrupted; an existing folder is resumed.
    Up(DevnetArgs),
    /// How the network is doing.
    Status {
        /// The node to talk to.
        #[command(flatten)]
        rpc: Rpc,
    },
    /// Ask the faucet for test tokens.
    Faucet {
        /// Who gets them.
        address: Address,
        /// URL of the faucet.
        #[arg(
            long,
            value_name = "URL",
            env = "SKERRY_FAUCET",
            default_value = "http://127.0.0.1:50052"
        )]
        faucet: String,
    },
}

/// `skerry faucet …`
#[derive(Debug, Subcommand)]
pub enum FaucetCommand {
    /// Serve test tokens over HTTP.
    Serve(FaucetArgs),
}

/// `skerry db …`
#[derive(Debug, Subcommand)]
pub enum DbCommand {
    /// Check stopped data directories, each by itself and against each other.
    Verify(VerifyArgs),
}

/// Reads `500ms`, `30s`, `2m`, `1h`, or a number of seconds.
fn duration(text: &str) -> Result<Duration, String> {
    let error = || format!("{text:?} is not a time such as 500ms, 30s, 2m or 1h");
    let digits = text.trim_end_matches(|char: char| char.is_ascii_alphabetic());
    let number: u64 = digits.parse().map_err(|_| error())?;
    let unit_ms = match text.strip_prefix(digits) {
        Some("ms") => 1,
        Some("s" | "") => 1_000,
        Some("m") => 60_000,
        Some("h") => 3_600_000,
        _ => return Err(error()),
    };
    number
        .checked_mul(unit_ms)
        .map(Duration::from_millis)
        .ok_or_else(error)
}

/// Reads an amount of `sker`: `5sker`, `0.5sker`, `5nsker`.
fn sker(text: &str) -> Result<Amount, String> {
    let asset: Asset = text.parse().map_err(|error| format!("{error}"))?;
    if asset.denom == Denom::SKER {
        Ok(asset.amount)
    } else {
        Err(format!("{text:?} is no amount of sker, such as 5000sker"))
    }
}

/// Reads the number of a validator: `8` or `v8`.
fn validator(text: &str) -> Result<ValidatorId, String> {
    let digits = text.strip_prefix('v').unwrap_or(text);
    let number = digits.parse().map(ValidatorId::new);
    number.map_err(|_| format!("{text:?} is no number of a validator, such as v8"))
}

fn json_value(text: &str) -> Result<serde_json::Value, serde_json::Error> {
    serde_json::from_str(text)
}
