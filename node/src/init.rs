//! `skerry node init`: the folder of a node that joins a development network.
//!
//! Genesis and peers are those of a configuration that exists, such as that of the devnet's
//! gateway. A validator's key gets its empty signing history at once; it votes when it is
//! registered and dealt a seat.

use crate::config::{
    Follow, GrpcConfig, HttpConfig, NetworkConfig as PeerConfig, NodeConfig, ValidatorConfig,
};
use crate::error::NodeError;
use crate::home;
use serde_json::{Value, json};
use skerry_types::crypto::bls::PublicKey;
use std::path::PathBuf;

/// Arguments of `skerry node init`.
#[derive(Clone, Debug, clap::Args)]
pub struct InitArgs {
    /// The folder to make
    #[arg(long, value_name = "DIR")]
    pub home: PathBuf,
    /// Configuration of a node of the network: its genesis and its peers are taken, and itself
    #[arg(long, value_name = "FILE")]
    pub like: PathBuf,
    /// Name of the node, for people
    #[arg(long, default_value = "node")]
    pub name: String,
    /// Make a validator's key, too, with an empty signing history
    #[arg(long)]
    pub validator: bool,
    /// Address to listen on for peers
    #[arg(
        long,
        value_name = "MULTIADDR",
        default_value = "/ip4/127.0.0.1/tcp/30433"
    )]
    pub listen: Vec<String>,
    /// Address of gRPC
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:50151")]
    pub grpc_listen: String,
    /// Address of metrics and health
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9564")]
    pub http_listen: String,
}

/// What was made.
pub struct Made {
    home: PathBuf,
    vote_key: Option<PublicKey>,
}

impl Made {
    fn key_file(&self) -> PathBuf {
        self.home.join(home::VALIDATOR_KEY)
    }

    /// For programs.
    pub fn json(&self) -> Value {
        let key_file = self.vote_key.map(|_| self.key_file());
        json!({
            "home": self.home,
            "vote_key": self.vote_key.map(|key| hex::encode(key.0)),
            "validator_key_file": key_file,
        })
    }

    /// For people, with the next steps.
    pub fn text(&self) -> String {
        let home = self.home.display();
        let mut text = format!("{home} is ready\n  skerry node start --home {home}");
        if self.vote_key.is_some() {
            text.push_str(&format!(
                "\n  skerry tx stake register --validator-key {} --bond 5000sker \
                 --key-file OPERATOR.json",
                self.key_file().display()
            ));
        }
        text
    }
}

/// Makes the folder.
///
/// # Errors
/// When it exists already, the other configuration cannot be read, or its network is not a
/// development network and a validator's key is asked for.
pub fn run(args: &InitArgs) -> Result<Made, NodeError> {
    let refuse = |reason: String| {
        Err(NodeError::Content {
            path: args.home.clone(),
            reason,
        })
    };
    if args.home.join("config.toml").exists() {
        return refuse("it holds a node already; choose another folder".to_owned());
    }
    let like = NodeConfig::read(&args.like)?;
    let genesis = home::read_genesis(&like.genesis)?;
    genesis.check(true)?;
    if args.validator && !genesis.development {
        let reason = "validators' keys can be made for development networks only".to_owned();
        return refuse(reason);
    }
    if args.validator && genesis.parameters.epoch_ms == 0 {
        let reason = "this network's epochs never end, so no validator can join it".to_owned();
        return refuse(reason);
    }
    let peers = home::peers_of(&like)?;
    if peers.is_empty() {
        return refuse(format!("{} names no peers", args.like.display()));
    }
    home::copy_genesis(&genesis, &args.home)?;
    home::make_network_key(&args.home)?;
    let vote_key = if args.validator {
        Some(home::write_validator_key(&args.home, &genesis)?)
    } else {
        None
    };
    let config = NodeConfig {
        name: args.name.clone(),
        genesis: "genesis.json".into(),
        validator: vote_key.map(|_| ValidatorConfig {
            key: home::VALIDATOR_KEY.into(),
            vote_log: home::VOTE_LOG.into(),
        }),
        follow: Follow::All,
        network: PeerConfig {
            key: home::NETWORK_KEY.into(),
            listen: args.listen.clone(),
            peers,
            external: Vec::new(),
        },
        grpc: GrpcConfig {
            listen: args.grpc_listen.clone(),
        },
        http: HttpConfig {
            listen: args.http_listen.clone(),
        },
    };
    // Last, so that a folder with a configuration is whole.
    home::write_config(&config, &args.home)?;
    Ok(Made {
        home: args.home.clone(),
        vote_key,
    })
}

#[cfg(test)]
mod tests {
    use super::{InitArgs, run};
    use crate::config::NodeConfig;
    use crate::home::{NetworkPlan, write_network};
    use skerry_network::NetworkKey;
    use skerry_types::genesis::Parameters;

    #[test]
    fn a_node_has_all_that_its_configuration_names_with_or_without_a_vote_key() {
        let folder = tempfile::tempdir().expect("a folder");
        let plan = NetworkPlan {
            name: "init".to_owned(),
            shards: 1,
            validators: 4,
            seats: None,
            host_template: None,
            port_base: 20_000,
            load_accounts: 0,
            parameters: Parameters {
                epoch_ms: 60_000,
                ..Parameters::default()
            },
            out: folder.path().join("net"),
        };
        write_network(&plan).expect("a network");
        for validator in [false, true] {
            let home = folder.path().join(format!("node-{validator}"));
            let args = InitArgs {
                home: home.clone(),
                like: folder.path().join("net/rpc/config.toml"),
                name: "newcomer".to_owned(),
                validator,
                listen: vec!["/ip4/127.0.0.1/tcp/1".to_owned()],
                grpc_listen: "127.0.0.1:2".to_owned(),
                http_listen: "127.0.0.1:3".to_owned(),
            };
            run(&args).expect("a home");
            assert!(run(&args).is_err(), "it is not made twice");
            let config = NodeConfig::read(&home.join("config.toml")).expect("a configuration");
            assert!(config.genesis.exists());
            NetworkKey::load(&config.network.key).expect("an identity");
            assert_eq!(config.validator.is_some(), validator);
            assert!(
                config
                    .validator
                    .is_none_or(|it| it.key.exists() && it.vote_log.exists())
            );
            assert_eq!(config.network.peers.len(), 5, "all nodes of the network");
        }
    }
}
