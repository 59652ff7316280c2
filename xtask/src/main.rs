//! `cargo xtask`: the checks that keep the house in order, run by developers and by CI alike.
//!
//! It never builds the node itself: each task calls `cargo` and reports its exit status. Tidy
//! checks are in `tidy/`, the list of CI steps in `ci.rs`, planted bugs in `mutants.rs`.

mod ci;
mod mutants;
mod tidy;

use std::{
    env,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, Result, bail};

const USAGE: &str = "\
Usage: cargo xtask <task>

Tasks:
  ci              format, tidy, whether mutants apply, lints, tests and docs, in this order; stops
                  at the first failure
  tidy            the import table, determinism bans and the other house rules
  sim [ARGS…]     the cluster simulator; ARGS go to it, such as --seeds 500 --from 0
  mutants [ARGS…] plants each bug of sim/mutants for the simulator to catch; --only NAME,NAME,
                  --minutes N for each step, --keep the clone and its target folder";

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<()> {
    let root = repository_root()?;
    match arguments {
        [task] if task == "ci" => ci::run(&root),
        [task] if task == "tidy" => tidy::run(&root),
        [task, rest @ ..] if task == "sim" => ci::simulate(&root, rest),
        [task, rest @ ..] if task == "mutants" => mutants::run(&root, rest),
        [task] if matches!(task.as_str(), "help" | "--help" | "-h") => {
            println!("{USAGE}");
            Ok(())
        }
        [] => bail!("no task given\n\n{USAGE}"),
        [task, ..] => bail!("unknown task or surplus arguments: {task}\n\n{USAGE}"),
    }
}

/// The folder above this crate. `cargo run` gives the crate's place at run time, so that a
/// binary from a shared target folder works on the checkout that started it.
fn repository_root() -> Result<PathBuf> {
    let place = env::var_os("CARGO_MANIFEST_DIR").context("start this through `cargo xtask`")?;
    Path::new(&place)
        .parent()
        .map(Path::to_path_buf)
        .context("the xtask crate has no parent folder")
}
