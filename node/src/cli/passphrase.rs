//! Where passphrases come from: a file, or a terminal; never the command line or the environment,
//! which other users can read.

use super::args::PassphraseSource;
use super::output::{CliError, Exit};
use skerry_sdk::keys::KeyError;
use std::io::IsTerminal as _;
use zeroize::Zeroizing;

fn from_file(source: &PassphraseSource) -> Option<Result<Zeroizing<String>, CliError>> {
    let path = source.passphrase_file.as_ref()?;
    let text = std::fs::read_to_string(path)
        .map(Zeroizing::new)
        .map_err(|error| {
            CliError::new(
                Exit::Key,
                "PASSPHRASE_FILE",
                format!("cannot read {}", path.display()),
            )
            .why(error.to_string())
        });
    Some(text.map(|text| Zeroizing::new(text.lines().next().unwrap_or_default().to_owned())))
}

fn ask(prompt: &str) -> Result<Zeroizing<String>, KeyError> {
    if !std::io::stdin().is_terminal() {
        return Err(KeyError::PassphraseMissing);
    }
    rpassword::prompt_password(prompt)
        .map(Zeroizing::new)
        .map_err(|_| KeyError::PassphraseMissing)
}

/// The passphrase of an existing key.
pub(super) fn existing(
    source: &PassphraseSource,
    json: bool,
) -> Result<Zeroizing<String>, CliError> {
    match from_file(source) {
        Some(passphrase) => passphrase,
        None if json => Err(KeyError::PassphraseMissing.into()),
        None => Ok(ask("Passphrase: ")?),
    }
}

/// The passphrase of a new key, asked twice.
pub(super) fn new(source: &PassphraseSource, json: bool) -> Result<Zeroizing<String>, CliError> {
    let passphrase = match from_file(source) {
        Some(passphrase) => passphrase?,
        None if json => return Err(KeyError::PassphraseMissing.into()),
        None => {
            let first = ask("Passphrase for the new key: ")?;
            if *first != *ask("Once more: ")? {
                return Err(CliError::new(
                    Exit::Key,
                    "PASSPHRASE_DIFFERS",
                    "the two differ",
                ));
            }
            first
        }
    };
    if passphrase.is_empty() {
        return Err(
            CliError::new(Exit::Key, "PASSPHRASE_EMPTY", "the passphrase is empty")
                .next("choose one; it protects the key when the file is stolen"),
        );
    }
    Ok(passphrase)
}
