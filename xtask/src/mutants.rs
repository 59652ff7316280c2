//! Planted bugs: each patch under `sim/mutants` is applied to a clone of the newest commit, must
//! compile, must pass seeds without faults, and must be caught by a rule of the simulator, not by a
//! panic, when there are faults.
//!
//! A patch begins with a line that says what is wrong and a line `caught by: PHRASE | PHRASE…`, of
//! which the violation must contain one; a third line `network: NAME` chooses another network than
//! the smallest, and may add options of the simulator. Then comes the difference as git prints it.
//!
//! The clone has a target folder of its own, which begins with what the checkout has compiled of other
//! people's crates, so that only ours are built. Both are removed in the end.

use std::{
    ffi::OsStr,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};

/// Seeds without faults that a mutant must pass.
const CALM_SEEDS: &str = "20";
/// Seeds with faults, one of which must catch it.
const SEEDS: &str = "2000";
/// Minutes that building, the seeds without faults and those with faults may take, each.
const MINUTES: u64 = 10;
/// How often a child is looked at.
const POLL: Duration = Duration::from_millis(50);
/// Files that are copied by one call.
const COPIED_AT_ONCE: usize = 500;
/// Characters of a violation that are printed; some hold whole certificates.
const WHAT_CHARS: usize = 200;
/// What a violation that is a panic begins with.
const PANIC: &str = "panic: ";

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
struct Options {
    /// The mutants to try; all where there are none.
    only: Vec<String>,
    /// Minutes that each step of each mutant may take.
    minutes: u64,
    /// Keep clone and target folder for the next time.
    keeps: bool,
}

impl Options {
    fn parse(arguments: &[String]) -> Result<Self> {
        let mut options = Self {
            only: Vec::new(),
            minutes: MINUTES,
            keeps: false,
        };
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let mut value = || {
                let value = rest.next();
                value.with_context(|| format!("{argument} needs a value"))
            };
            match argument.as_str() {
                "--only" => options
                    .only
                    .extend(value()?.split(',').map(|name| name.trim().to_owned())),
                "--minutes" => options.minutes = value()?.parse().context("--minutes")?,
                "--keep" => options.keeps = true,
                other => bail!("{other}: known are --only NAME,NAME, --minutes N and --keep"),
            }
        }
        Ok(options)
    }
}

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

    /// Whether a violation is the one that the patch is to be caught by.
    fn is_caught_by(&self, what: &str) -> bool {
        let is_named = |phrase: &String| what.contains(phrase.as_str());
        !what.starts_with(PANIC) && self.phrases.iter().any(is_named)
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
pub(crate) fn run(root: &Path, arguments: &[String]) -> Result<()> {
    let options = Options::parse(arguments)?;
    let mutants = all(root)?;
    for name in &options.only {
        let is_known = mutants.iter().any(|mutant| mutant.name == *name);
        ensure!(is_known, "no mutant is called {name}");
    }
    let started = Instant::now();
    let workshop = Workshop::open(root, &options)?;
    let wanted = |mutant: &&Mutant| options.only.is_empty() || options.only.contains(&mutant.name);
    let (mut caught, mut tried) = (0_u32, 0_u32);
    for mutant in mutants.iter().filter(wanted) {
        tried = tried.saturating_add(1);
        match workshop.try_mutant(mutant) {
            Ok(()) => caught = caught.saturating_add(1),
            Err(error) => println!("{}: MISSED ({}): {error:#}", mutant.name, mutant.what),
        }
    }
    println!("all took {} s", started.elapsed().as_secs());
    println!("caught {caught}/{tried}");
    ensure!(caught == tried, "some mutants were missed");
    Ok(())
}

/// Where mutants are built: a clone with a target folder of its own.
struct Workshop {
    place: PathBuf,
    limit: Duration,
    keeps: bool,
}

impl Workshop {
    fn open(root: &Path, options: &Options) -> Result<Self> {
        let target =
            std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
        let workshop = Self {
            place: target.join("mutants"),
            limit: Duration::from_secs(options.minutes.saturating_mul(60)),
            keeps: options.keeps,
        };
        if !options.keeps {
            workshop.clear()?;
        }
        fs::create_dir_all(&workshop.place)?;
        let tree = workshop.tree();
        let head = git(root, &["rev-parse", "HEAD"], None)?;
        let head = text(&head.stdout).trim().to_owned();
        if !tree.exists() {
            let (from, to) = (root.as_os_str(), tree.as_os_str());
            let mut clone = Command::new("git");
            succeed(clone.args(["clone", "--quiet"]).args([from, to]))?;
        }
        git(&tree, &["fetch", "--quiet", "origin"], None)?;
        // What is as it was keeps its times, and with them what was compiled of it.
        git(&tree, &["reset", "--quiet", "--hard", &head], None)?;
        if !workshop.target().exists() {
            seed(&target.join("debug"), &workshop.target().join("debug"))?;
        }
        Ok(workshop)
    }

    fn tree(&self) -> PathBuf {
        self.place.join("tree")
    }

    fn target(&self) -> PathBuf {
        self.place.join("target")
    }

    fn clear(&self) -> Result<()> {
        if self.place.exists() {
            fs::remove_dir_all(&self.place).with_context(|| self.place.display().to_string())?;
        }
        Ok(())
    }

    /// Builds a mutant and lets the simulator catch it.
    fn try_mutant(&self, mutant: &Mutant) -> Result<()> {
        git(&self.tree(), &["apply"], Some(&mutant.path)).context("the patch does not apply")?;
        let found = self.judge(mutant);
        git(&self.tree(), &["apply", "--reverse"], Some(&mutant.path))?;
        found
    }

    fn judge(&self, mutant: &Mutant) -> Result<()> {
        let name = &mutant.name;
        let built = self.build()?;
        println!("{name}: compiled in {} s", built.as_secs());
        let calm = self.simulate(mutant, &["--calm", "--seeds", CALM_SEEDS])?;
        if let Some(found) = calm.violation {
            bail!("it does not pass seeds without faults: {found}");
        }
        ensure!(
            calm.status.is_some_and(|status| status.success()),
            "it fails without faults:\n{}",
            calm.errors
        );
        let seconds = calm.took.as_secs();
        println!("{name}: {CALM_SEEDS} seeds without faults passed in {seconds} s");
        let played = self.simulate(mutant, &["--seeds", SEEDS])?;
        let seconds = played.took.as_secs();
        let Some(found) = played.violation else {
            bail!(
                "no rule was broken in {SEEDS} seeds or {seconds} s\n{}",
                played.errors
            );
        };
        let Violation { seed, what } = &found;
        ensure!(
            mutant.is_caught_by(what),
            "caught by another rule than expected: {found}"
        );
        let what: String = what.chars().take(WHAT_CHARS).collect();
        println!("{name}: caught at seed {seed} in {seconds} s: {what}");
        Ok(())
    }

    fn build(&self) -> Result<Duration> {
        let mut cargo = Command::new("cargo");
        cargo
            .args(["build", "--package", "skerry-sim", "--bin", "skerry-sim"])
            .current_dir(self.tree())
            .env("CARGO_TARGET_DIR", self.target());
        let built = self.watch(&mut cargo)?;
        let compiled = built.status.is_some_and(|status| status.success());
        ensure!(compiled, "it does not compile:\n{}", built.errors);
        Ok(built.took)
    }

    fn simulate(&self, mutant: &Mutant, arguments: &[&str]) -> Result<Ended> {
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let mut simulator = Command::new(self.target().join("debug/skerry-sim"));
        simulator
            .args(["--stop", "--network"])
            .args(mutant.network.split_whitespace())
            .args(["--threads", &threads.to_string()])
            .args(arguments)
            .env("RUST_BACKTRACE", "0");
        self.watch(&mut simulator)
    }

    /// Lets a child run to its end, or for as long as it may.
    fn watch(&self, command: &mut Command) -> Result<Ended> {
        let (prints, errors) = (self.place.join("stdout"), self.place.join("stderr"));
        command
            .stdin(Stdio::null())
            .stdout(File::create(&prints)?)
            .stderr(File::create(&errors)?);
        let started = Instant::now();
        let child = command.spawn();
        let mut child = Held(child.with_context(|| format!("{command:?} does not start"))?);
        let mut status = child.0.try_wait()?;
        while status.is_none() && started.elapsed() < self.limit {
            thread::sleep(POLL);
            status = child.0.try_wait()?;
        }
        drop(child);
        Ok(Ended {
            status,
            took: started.elapsed(),
            violation: violation(&text(&fs::read(prints)?)),
            errors: text(&fs::read(errors)?),
        })
    }
}

impl Drop for Workshop {
    fn drop(&mut self) {
        if !self.keeps
            && let Err(error) = self.clear()
        {
            eprintln!("xtask: {error:#}");
        }
    }
}

/// A child that does not outlive its holder.
struct Held(Child);

impl Drop for Held {
    fn drop(&mut self) {
        // One that has ended cannot be killed, and that is well.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What came of a child.
struct Ended {
    /// How it ended; nothing where its time was up.
    status: Option<ExitStatus>,
    took: Duration,
    violation: Option<Violation>,
    errors: String,
}

/// The first broken rule.
#[derive(Debug, PartialEq, Eq)]
struct Violation {
    seed: String,
    what: String,
}

impl std::fmt::Display for Violation {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "seed {}: {}", self.seed, self.what)
    }
}

/// Finds it in what the simulator printed: `seed 7: VIOLATION after 1.250 s: WHAT`.
fn violation(printed: &str) -> Option<Violation> {
    printed.lines().find_map(|line| {
        let (seed, rest) = line.strip_prefix("seed ")?.split_once(": VIOLATION ")?;
        let (_, what) = rest.split_once(" s: ")?;
        Some(Violation {
            seed: seed.to_owned(),
            what: what.to_owned(),
        })
    })
}

/// Copies what was compiled of other people's crates, with its times.
fn seed(from: &Path, to: &Path) -> Result<()> {
    for folder in ["deps", "build", ".fingerprint"] {
        let (from, to) = (from.join(folder), to.join(folder));
        fs::create_dir_all(&to)?;
        let Ok(entries) = fs::read_dir(&from) else {
            continue;
        };
        let mut paths = Vec::new();
        for entry in entries {
            let entry = entry?;
            if !is_own(&entry.file_name()) {
                paths.push(entry.path());
            }
        }
        for some in paths.chunks(COPIED_AT_ONCE) {
            let mut copy = Command::new("cp");
            copy.args(["-a", "--reflink=auto", "-t"])
                .arg(&to)
                .args(some);
            succeed(&mut copy)?;
        }
    }
    Ok(())
}

/// Whether a file or folder of a target folder belongs to one of our crates or is a test of theirs.
fn is_own(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    let name = name.strip_prefix("lib").unwrap_or(&name);
    ["skerry", "xtask", "it-"]
        .iter()
        .any(|own| name.starts_with(own))
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

#[cfg(test)]
mod tests;
