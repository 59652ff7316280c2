//! Which databases lie in the given folders: a data directory (`beacon/`, `shard-…/`), a node's
//! home with one in it, or a folder of homes, as `skerry devnet up` makes it.

use crate::error::NodeError;
use std::path::{Path, PathBuf};

/// Databases in one folder that are looked at; more chains than that do not exist.
const CHAINS_MAX: usize = 65;

/// A node's data directory.
pub(super) struct DataDir {
    /// Where it lies.
    pub(super) path: PathBuf,
    /// The databases in it, one a chain.
    pub(super) chains: Vec<PathBuf>,
}

fn failed(path: &Path, source: std::io::Error) -> NodeError {
    NodeError::File {
        action: "cannot read",
        path: path.to_owned(),
        source,
    }
}

fn folders(path: &Path) -> Result<Vec<PathBuf>, NodeError> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path).map_err(|error| failed(path, error))? {
        let entry = entry.map_err(|error| failed(path, error))?;
        if entry.path().is_dir() {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

/// The databases directly in a folder. One without its `CURRENT` file was never finished, so
/// nothing was ever stored in it.
fn databases(path: &Path) -> Result<Vec<PathBuf>, NodeError> {
    let mut chains = folders(path)?;
    chains.retain(|folder| {
        let name = folder
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        (name == "beacon" || name.starts_with("shard-")) && folder.join("CURRENT").is_file()
    });
    chains.truncate(CHAINS_MAX);
    Ok(chains)
}

fn in_home(path: &Path) -> Result<Option<DataDir>, NodeError> {
    for candidate in [path.to_owned(), path.join("data")] {
        if !candidate.is_dir() {
            continue;
        }
        let chains = databases(&candidate)?;
        if !chains.is_empty() {
            return Ok(Some(DataDir {
                path: candidate,
                chains,
            }));
        }
    }
    Ok(None)
}

/// All data directories in the given folders.
///
/// # Errors
/// When a folder cannot be read, or holds none.
pub(super) fn find(dirs: &[PathBuf]) -> Result<Vec<DataDir>, NodeError> {
    let mut found: Vec<DataDir> = Vec::new();
    for dir in dirs {
        let before = found.len();
        match in_home(dir)? {
            Some(data) => found.push(data),
            None => {
                for folder in folders(dir)? {
                    found.extend(in_home(&folder)?);
                }
            }
        }
        if found.len() == before {
            return Err(NodeError::Content {
                path: dir.clone(),
                reason: "there is no data directory (beacon/, shard-…/) in it, in its `data` \
                         folder or in the homes below it"
                    .to_owned(),
            });
        }
    }
    Ok(found)
}

/// The genesis file that belongs to the folders: in one of them, or up to two levels above.
///
/// # Errors
/// When there is none.
pub(super) fn find_genesis(dirs: &[PathBuf]) -> Result<PathBuf, NodeError> {
    for dir in dirs {
        // The parents of a relative path are only known from its full form.
        let full = std::fs::canonicalize(dir).map_err(|error| failed(dir, error))?;
        let file = full
            .ancestors()
            .take(3)
            .map(|folder| folder.join("genesis.json"));
        if let Some(file) = file.into_iter().find(|file| file.is_file()) {
            return Ok(file);
        }
    }
    Err(NodeError::Environment(
        "no genesis.json lies in or above the given folders; name it with --genesis FILE"
            .to_owned(),
    ))
}
