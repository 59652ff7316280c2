//! Planted bugs: each patch under `sim/mutants` is applied to a clone of the newest commit, must
//! compile, must pass seeds without faults, and must be caught by a rule of the simulator, not by a
//! panic, when there are faults.
//!
//! A patch begins with a line that says what is wrong and a line `caught by: PHRASE | PHRASE…`, of
//! which the violation must contain one; a third line `network: NAME` chooses another network than
//! the smallest. Then comes the difference as git prints it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use anyhow::{Context as _, Result, bail, ensure};

/// Seeds without faults that a mutant must pass.
const CALM_SEEDS: &str = "20";
/// Seeds with faults, one of which must catch it.
const SEEDS: &str = "2000";

/// A patch.
struct Mutant {
    name: String,
    path: PathBuf,
    what: String,
    phrases: Vec<String>,
    network: String,
}

impl Mutant {
    fn read(path: PathBuf) -> Result<Self> {
        let text = fs::read_to_string(&path)?;
        let place = path.display();
        let mut lines = text.lines();
        let what = lines.next().unwrap_or_default().to_owned();
        let phrases = lines
            .next()
            .and_then(|line| line.strip_prefix("caught by: "));
        let phrases =
            phrases.with_context(|| format!("{place}: the second line is not `caught by: …`"))?;
        let network = lines.next().and_then(|line| line.strip_prefix("network: "));
        let network = network.unwrap_or("one").to_owned();
        let name = path.file_stem().unwrap_or_default();
        Ok(Self {
            name: name.to_string_lossy().into_owned(),
            phrases: phrases.split(" | ").map(str::to_owned).collect(),
            what,
            path,
            network,
        })
    }
}

/// All mutants, in the order of their names.
fn all(root: &Path) -> Result<Vec<Mutant>> {
    let folder = root.join("sim/mutants");
    let entries = fs::read_dir(&folder).with_context(|| folder.display().to_string())?;
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "patch")
        {
            paths.push(path);
        }
    }
    paths.sort();
    paths.into_iter().map(Mutant::read).collect()
}

/// Checks that every patch still applies.
pub(crate) fn check(root: &Path) -> Result<()> {
    for mutant in all(root)? {
        git(root, &["apply", "--check"], Some(&mutant.path))
            .with_context(|| format!("{} no longer applies", mutant.name))?;
    }
    Ok(())
}

/// Tries all mutants, or those named, and prints what became of each.
pub(crate) fn run(root: &Path, names: &[String]) -> Result<()> {
    let mutants = all(root)?;
    for name in names {
        let is_known = mutants.iter().any(|mutant| mutant.name == *name);
        ensure!(is_known, "no mutant is called {name}");
    }
    let workshop = Workshop::open(root)?;
    let wanted = |mutant: &&Mutant| names.is_empty() || names.contains(&mutant.name);
    let (mut caught, mut tried) = (0_u32, 0_u32);
    for mutant in mutants.iter().filter(wanted) {
        tried = tried.saturating_add(1);
        match workshop.try_mutant(mutant) {
            Ok(how) => {
                caught = caught.saturating_add(1);
                println!("{}: caught: {how}", mutant.name);
            }
            Err(error) => println!("{}: MISSED ({}): {error:#}", mutant.name, mutant.what),
        }
    }
    println!("caught {caught}/{tried}");
    ensure!(caught == tried, "some mutants were missed");
    Ok(())
}

/// Where mutants are built: a clone with a target folder of its own.
struct Workshop {
    tree: PathBuf,
    target: PathBuf,
}

impl Workshop {
    fn open(root: &Path) -> Result<Self> {
        let target =
            std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
        let place = target.join("mutants");
        fs::create_dir_all(&place)?;
        let workshop = Self {
            tree: place.join("tree"),
            target: place.join("target"),
        };
        let head = git(root, &["rev-parse", "HEAD"], None)?;
        let head = String::from_utf8_lossy(&head.stdout).trim().to_owned();
        if !workshop.tree.exists() {
            let (from, to) = (root.as_os_str(), workshop.tree.as_os_str());
            succeed(
                Command::new("git")
                    .arg("clone")
                    .arg("--quiet")
                    .args([from, to]),
            )?;
        }
        git(&workshop.tree, &["fetch", "--quiet", "origin"], None)?;
        git(&workshop.tree, &["reset", "--quiet", "--hard", &head], None)?;
        // What was compiled of other people's crates is taken over.
        if !workshop.target.exists() {
            let debug = workshop.target.join("debug");
            fs::create_dir_all(&debug)?;
            for folder in ["deps", "build", ".fingerprint"] {
                let from = target.join("debug").join(folder);
                if from.exists() {
                    succeed(Command::new("cp").arg("-a").arg(from).arg(&debug))?;
                }
            }
        }
        Ok(workshop)
    }

    /// Says how the mutant was caught.
    fn try_mutant(&self, mutant: &Mutant) -> Result<String> {
        git(&self.tree, &["apply"], Some(&mutant.path)).context("the patch does not apply")?;
        let found = self.judge(mutant);
        git(&self.tree, &["apply", "--reverse"], Some(&mutant.path))?;
        found
    }

    fn judge(&self, mutant: &Mutant) -> Result<String> {
        let built = self.cargo(&["build", "--package", "skerry-sim"])?;
        ensure!(
            built.status.success(),
            "it does not compile:\n{}",
            text(&built.stderr)
        );
        let network = mutant.network.as_str();
        let calm = self.simulate(network, &["--calm", "--seeds", CALM_SEEDS])?;
        if let Some(line) = violation(&calm) {
            bail!("it does not pass seeds without faults: {line}");
        }
        ensure!(
            calm.status.success(),
            "it fails without faults:\n{}",
            text(&calm.stderr)
        );
        let played = self.simulate(network, &["--seeds", SEEDS])?;
        let Some(line) = violation(&played) else {
            bail!(
                "no rule was broken in {SEEDS} seeds; {}",
                text(&played.stderr)
            );
        };
        let is_expected = mutant
            .phrases
            .iter()
            .any(|phrase| line.contains(phrase.as_str()));
        ensure!(is_expected, "caught by another rule than expected: {line}");
        Ok(line)
    }

    fn simulate(&self, network: &str, arguments: &[&str]) -> Result<Output> {
        let mut line = vec!["run", "--quiet", "--package", "skerry-sim", "--"];
        line.extend(["--network", network, "--stop"]);
        line.extend(arguments);
        self.cargo(&line)
    }

    fn cargo(&self, arguments: &[&str]) -> Result<Output> {
        Command::new("cargo")
            .args(arguments)
            .current_dir(&self.tree)
            .env("CARGO_TARGET_DIR", &self.target)
            .env("RUST_BACKTRACE", "0")
            .output()
            .context("cargo does not start")
    }
}

/// The line of the first broken rule.
fn violation(output: &Output) -> Option<String> {
    let printed = text(&output.stdout);
    let line = printed.lines().find(|line| line.contains(": VIOLATION "))?;
    Some(line.to_owned())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn git(folder: &Path, arguments: &[&str], file: Option<&Path>) -> Result<Output> {
    let mut command = Command::new("git");
    command.args(arguments).args(file).current_dir(folder);
    succeed(&mut command)
}

fn succeed(command: &mut Command) -> Result<Output> {
    let output = command.output()?;
    if !output.status.success() {
        bail!("{command:?}: {}", text(&output.stderr));
    }
    Ok(output)
}
