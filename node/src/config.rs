//! The one configuration file of a node, `config.toml`.
//!
//! Unknown keys are errors. Paths are relative to the folder of the file. Precedence is flags over
//! the file over defaults; secrets are in files of their own, never here.

use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// A node's configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeConfig {
    /// For people: logs and status pages.
    pub name: String,
    /// The genesis file.
    pub genesis: PathBuf,
    /// The validator key, if this node votes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validator: Option<ValidatorConfig>,
    /// Which chains to follow besides those that the validator sits on: `all`, or `committee`.
    #[serde(default)]
    pub follow: Follow,
    /// Peers.
    pub network: NetworkConfig,
    /// gRPC.
    #[serde(default)]
    pub grpc: GrpcConfig,
    /// Metrics and health over HTTP.
    #[serde(default)]
    pub http: HttpConfig,
}

/// Where a validator's secrets lie.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ValidatorConfig {
    /// The vote key.
    pub key: PathBuf,
    /// The key's signing history. Never restored from a backup; it lies beside the key.
    pub vote_log: PathBuf,
}

/// Which chains a node follows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Follow {
    /// The beacon, and the shards in which the validator has seats.
    #[default]
    Committee,
    /// The beacon and every shard.
    All,
}

/// Peers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkConfig {
    /// The key of the node's network identity.
    pub key: PathBuf,
    /// Addresses to listen on, such as `/ip4/127.0.0.1/tcp/30333`.
    pub listen: Vec<String>,
    /// Addresses to dial; redialled for ever.
    #[serde(default)]
    pub peers: Vec<String>,
    /// Addresses to tell others, where they differ from those listened on.
    #[serde(default)]
    pub external: Vec<String>,
}

/// gRPC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrpcConfig {
    /// Address to listen on; loopback unless told otherwise.
    pub listen: String,
}

impl Default for GrpcConfig {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:50051".to_owned(),
        }
    }
}

/// Metrics and health over HTTP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpConfig {
    /// Address to listen on; loopback unless told otherwise.
    pub listen: String,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:9464".to_owned(),
        }
    }
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is not a configuration: a wrong type, or an unknown key.
    #[error("{path} is not a node configuration: {reason}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where and what.
        reason: String,
    },
}

impl NodeConfig {
    /// Reads a file and makes its paths relative to its folder.
    ///
    /// # Errors
    /// When the file cannot be read or parsed.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
            path: path.to_owned(),
            source,
        })?;
        let mut config: Self = toml::from_str(&text).map_err(|error| ConfigError::Parse {
            path: path.to_owned(),
            reason: error.to_string(),
        })?;
        let folder = path.parent().unwrap_or(Path::new("."));
        let resolve = |path: &mut PathBuf| *path = folder.join(&*path);
        resolve(&mut config.genesis);
        resolve(&mut config.network.key);
        if let Some(validator) = &mut config.validator {
            resolve(&mut validator.key);
            resolve(&mut validator.vote_log);
        }
        Ok(config)
    }

    /// Writes the file.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, path: &Path) -> std::io::Result<()> {
        let text = toml::to_string_pretty(self).map_err(std::io::Error::other)?;
        std::fs::write(path, text)
    }
}
