//! The steps of continuous integration. A laptop and the CI machine run these same lines.
//!
//! Every step uses the one build profile and adds no compiler flags, so nothing is compiled twice
//! for the tests, the devnet and the image.

use std::{
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context as _, Result, bail};

use crate::{mutants, tidy};

/// Runs all steps in order and stops at the first that fails.
pub(crate) fn run(root: &Path) -> Result<()> {
    step("fmt", || cargo(root, &["fmt", "--all", "--check"], &[]))?;
    step("tidy", || tidy::run(root))?;
    step("mutants apply", || mutants::check(root))?;
    step("clippy", || {
        cargo(
            root,
            &[
                "clippy",
                "--workspace",
                "--all-targets",
                "--",
                "-D",
                "warnings",
            ],
            &[],
        )
    })?;
    step("test", || test(root))?;
    step("doc", || {
        cargo(
            root,
            &["doc", "--workspace", "--no-deps"],
            &[("RUSTDOCFLAGS", "-D warnings")],
        )
    })?;
    println!("ci: all steps passed");
    Ok(())
}

/// Hands `arguments` to the simulator binary.
pub(crate) fn simulate(root: &Path, arguments: &[String]) -> Result<()> {
    let mut line = vec![
        "run",
        "--package",
        "skerry-sim",
        "--bin",
        "skerry-sim",
        "--",
    ];
    line.extend(arguments.iter().map(String::as_str));
    cargo(root, &line, &[])
}

/// nextest where it is installed; it knows no doc tests, so those follow.
fn test(root: &Path) -> Result<()> {
    if !has_nextest() {
        println!("ci: cargo-nextest is not installed, using cargo test");
        return cargo(root, &["test", "--workspace"], &[]);
    }
    cargo(
        root,
        &["nextest", "run", "--workspace", "--no-fail-fast"],
        &[],
    )?;
    cargo(root, &["test", "--workspace", "--doc"], &[])
}

fn has_nextest() -> bool {
    Command::new("cargo")
        .args(["nextest", "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

fn step(name: &str, body: impl FnOnce() -> Result<()>) -> Result<()> {
    println!("== {name}");
    let started = Instant::now();
    body().with_context(|| format!("step {name} failed"))?;
    println!("== {name}: passed in {} s", started.elapsed().as_secs());
    Ok(())
}

fn cargo(root: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Result<()> {
    let status = Command::new("cargo")
        .args(arguments)
        .envs(environment.iter().copied())
        .current_dir(root)
        .status()
        .context("cannot start cargo")?;
    if !status.success() {
        bail!("`cargo {}` ended with {status}", arguments.join(" "));
    }
    Ok(())
}
