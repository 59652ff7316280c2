//! Tidy: house rules that neither the compiler nor clippy can hold.
//!
//! `run` reads every file that git would commit, applies the rules of `manifests` (who may import
//! whom) and `source` (what may stand in a file), and prints each violation as `file:line`, the
//! rule and the reason for it. `rust` turns Rust text into tokens, so that comments and strings
//! never count as code.

mod manifests;
mod rust;
mod source;
#[cfg(test)]
mod tests;

use std::{fmt, fs, path::Path, process::Command};

use anyhow::{Context as _, Result, bail};

/// A text file of the repository; `path` is relative to the root, with forward slashes.
pub(crate) struct RepoFile {
    pub(crate) path: String,
    pub(crate) text: String,
}

/// One broken rule at one place.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Violation {
    pub(crate) path: String,
    pub(crate) line: usize,
    pub(crate) rule: &'static str,
    pub(crate) found: String,
    pub(crate) why: &'static str,
}

impl fmt::Display for Violation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            path,
            line,
            rule,
            found,
            why,
        } = self;
        write!(out, "{path}:{line}: [{rule}] {found}: {why}")
    }
}

/// Checks the repository at `root`; an error says how many violations were printed.
pub(crate) fn run(root: &Path) -> Result<()> {
    let files = read_repository(root)?;
    let violations = check(&files)?;
    for violation in &violations {
        println!("{violation}");
    }
    if !violations.is_empty() {
        bail!("tidy found {} violations", violations.len());
    }
    println!("tidy: {} files are in order", files.len());
    Ok(())
}

/// All violations of all rules, in order of place.
fn check(files: &[RepoFile]) -> Result<Vec<Violation>> {
    let mut violations = manifests::check(files)?;
    for file in files {
        violations.extend(source::check(file));
    }
    violations.sort();
    Ok(violations)
}

/// Reads what git tracks or would add. Files that are not UTF-8 are not text and have no rules.
fn read_repository(root: &Path) -> Result<Vec<RepoFile>> {
    let listing = Command::new("git")
        .args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ])
        .current_dir(root)
        .output()
        .context("cannot start git")?;
    if !listing.status.success() {
        bail!(
            "git ls-files: {}",
            String::from_utf8_lossy(&listing.stderr).trim()
        );
    }
    let names = String::from_utf8(listing.stdout).context("a file name is not UTF-8")?;
    let mut files = Vec::new();
    for path in names.split_terminator('\0') {
        let place = root.join(path);
        // A tracked file may be deleted in the work tree; a link is judged at its target.
        if !place
            .symlink_metadata()
            .is_ok_and(|metadata| metadata.is_file())
        {
            continue;
        }
        let bytes = fs::read(&place).with_context(|| format!("cannot read {path}"))?;
        if let Ok(text) = String::from_utf8(bytes) {
            files.push(RepoFile {
                path: path.to_owned(),
                text,
            });
        }
    }
    Ok(files)
}
