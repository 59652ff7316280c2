//! `skerry keys …`: make, list, show, import and export account keys; `keys votes` is in `votes`.

use super::args::{KeysCommand, PassphraseSource};
use super::genesis::read_genesis;
use super::output::{CliError, Exit, Output};
use super::passphrase;
use serde_json::{Value, json};
use skerry_sdk::keys::{AccountKey, KeyError, KeyFile, Protection, Strength};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

pub(super) fn run(command: KeysCommand, json: bool) -> Result<Output, CliError> {
    match command {
        KeysCommand::New {
            out,
            development,
            passphrase,
        } => store(
            &AccountKey::generate()?,
            &out,
            development.as_deref(),
            &passphrase,
            json,
        ),
        KeysCommand::List { dir } => list(&dir),
        KeysCommand::Show { key_file } => {
            let file = KeyFile::read(&key_file)?;
            Ok(Output::new(
                describe(&key_file, &file),
                file.address().to_string(),
            ))
        }
        KeysCommand::Import {
            out,
            seed,
            development,
            passphrase,
        } => store(
            &read_secret(seed)?,
            &out,
            development.as_deref(),
            &passphrase,
            json,
        ),
        KeysCommand::Export {
            key_file,
            yes,
            passphrase,
        } => export(&key_file, yes, &passphrase, json),
        KeysCommand::Votes(command) => super::votes::run(command),
    }
}

fn describe(path: &Path, file: &KeyFile) -> Value {
    json!({
        "address": file.address(),
        "key_file": path,
        "development": file.is_development(),
        "encrypted": file.is_encrypted(),
    })
}

/// Opens a key file, asking for a passphrase only when it needs one.
pub(super) fn open(
    file: &KeyFile,
    source: &PassphraseSource,
    json: bool,
) -> Result<AccountKey, CliError> {
    if !file.is_encrypted() {
        return Ok(file.open(|| Err(KeyError::PassphraseMissing))?);
    }
    let passphrase = passphrase::existing(source, json)?;
    Ok(file.open(|| Ok(passphrase))?)
}

fn store(
    key: &AccountKey,
    out: &Path,
    development: Option<&Path>,
    source: &PassphraseSource,
    json: bool,
) -> Result<Output, CliError> {
    let file = match development {
        Some(genesis) => {
            let genesis = read_genesis(genesis)?;
            if !genesis.development {
                let message = format!("network {:?} allows no development keys", genesis.name);
                return Err(CliError::new(Exit::Safety, "DEVELOPMENT_KEY", message)
                    .next("leave out --development; the key is encrypted then"));
            }
            KeyFile::seal(key, Protection::Development(genesis.chain_id()))?
        }
        None => {
            let passphrase = passphrase::new(source, json)?;
            KeyFile::seal(key, Protection::Passphrase(&passphrase, Strength::Standard))?
        }
    };
    file.write(out)?;
    let text = format!(
        "{}\nkey file {}; back it up: skerry keys export {} --yes",
        file.address(),
        out.display(),
        out.display()
    );
    Ok(Output::new(describe(out, &file), text))
}

fn list(dir: &Path) -> Result<Output, CliError> {
    let entries = std::fs::read_dir(dir).map_err(|error| {
        CliError::new(
            Exit::Key,
            "KEY_FILE",
            format!("cannot read {}", dir.display()),
        )
        .why(error.to_string())
    })?;
    let mut paths: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "json")
        })
        .collect();
    paths.sort();
    let (mut data, mut text) = (Vec::new(), String::new());
    for path in paths {
        // Other JSON files may lie beside the keys.
        let Ok(file) = KeyFile::read(&path) else {
            continue;
        };
        data.push(describe(&path, &file));
        let mark = if file.is_development() {
            "  (development)"
        } else {
            ""
        };
        text.push_str(&format!("{}  {}{mark}\n", file.address(), path.display()));
    }
    Ok(Output::new(Value::Array(data), text))
}

fn read_secret(seed: bool) -> Result<AccountKey, CliError> {
    let mut text = Zeroizing::new(String::new());
    let limited = std::io::stdin().lock().take(4096).read_to_string(&mut text);
    limited.map_err(|error| {
        CliError::new(
            Exit::Usage,
            "INPUT",
            "cannot read the secret from standard input",
        )
        .why(error.to_string())
    })?;
    if !seed {
        return Ok(AccountKey::from_phrase(&text)?);
    }
    let digits = text.trim();
    let bytes = hex::decode(digits.strip_prefix("0x").unwrap_or(digits)).map(Zeroizing::new);
    let bytes = bytes
        .ok()
        .and_then(|bytes| <[u8; 32]>::try_from(bytes.as_slice()).ok());
    bytes.map(AccountKey::from_seed).ok_or_else(|| {
        CliError::new(
            Exit::Usage,
            "SEED",
            "standard input holds no seed of 64 hexadecimal digits",
        )
    })
}

fn export(
    path: &Path,
    yes: bool,
    source: &PassphraseSource,
    json: bool,
) -> Result<Output, CliError> {
    if !yes {
        return Err(
            CliError::new(Exit::Safety, "CONSENT", "this prints the secret of the key")
                .why("whoever reads it controls the account")
                .next(format!("skerry keys export {} --yes", path.display())),
        );
    }
    let key = open(&KeyFile::read(path)?, source, json)?;
    let (kind, secret) = match key.phrase() {
        Some(phrase) => ("phrase", phrase),
        None => ("seed", Zeroizing::new(hex::encode(key.secret().seed()))),
    };
    let data = json!({"address": key.address(), "kind": kind, "secret": secret.as_str()});
    let what = match kind {
        "phrase" => "the recovery phrase",
        _ => "the seed, 32 bytes in hexadecimal digits",
    };
    let warning = format!("this is {what}; whoever reads it controls the account");
    Ok(Output::new(data, secret.as_str()).warn(warning))
}
