//! Who may import whom: the table of crates, enforced on every `Cargo.toml`.
//!
//! The rows are those of the design's section on the house. They bind development and build
//! dependencies too: a test that needs a crate from above belongs in that crate.

use anyhow::{Context as _, Result};
use toml::{Table, Value};

use super::{RepoFile, Violation};

/// A crate of the workspace and the crates of ours that it may name.
struct Row {
    folder: &'static str,
    package: &'static str,
    may_import: &'static [&'static str],
}

const fn row(
    folder: &'static str,
    package: &'static str,
    may_import: &'static [&'static str],
) -> Row {
    Row {
        folder,
        package,
        may_import,
    }
}

const TABLE: &[Row] = &[
    row("types", "skerry-types", &[]),
    row("proto", "skerry-proto", &["types"]),
    row("consensus", "skerry-consensus", &["types"]),
    row("execution", "skerry-execution", &["types"]),
    row("storage", "skerry-storage", &["types"]),
    row("network", "skerry-network", &["types", "proto"]),
    row("sdk", "skerry-sdk", &["types", "proto", "execution"]),
    row(
        "node",
        "skerry",
        &[
            "types",
            "proto",
            "consensus",
            "execution",
            "storage",
            "network",
            "sdk",
        ],
    ),
    row(
        "sim",
        "skerry-sim",
        &[
            "types",
            "proto",
            "consensus",
            "execution",
            "storage",
            "network",
            "sdk",
            "node",
        ],
    ),
    row("xtask", "xtask", &[]),
];

/// A library from outside and the only folders whose manifests may name it.
struct Fenced {
    library: &'static str,
    folders: &'static [&'static str],
}

/// `library` also stands for the family `library-…`.
const FENCED: &[Fenced] = &[
    Fenced {
        library: "rocksdb",
        folders: &["storage"],
    },
    Fenced {
        library: "librocksdb-sys",
        folders: &["storage"],
    },
    Fenced {
        library: "libp2p",
        folders: &["network"],
    },
    Fenced {
        library: "tonic",
        folders: &["proto", "sdk", "node"],
    },
];

/// Checks the manifests among `files`; fails where one cannot be parsed.
pub(super) fn check(files: &[RepoFile]) -> Result<Vec<Violation>> {
    let mut root = Table::new();
    for file in files.iter().filter(|file| file.path == "Cargo.toml") {
        root = parse(file)?;
    }
    let mut violations = Vec::new();
    for file in files {
        let Some(folder) = file.path.strip_suffix("/Cargo.toml") else {
            continue;
        };
        check_one(file, folder, &parse(file)?, &root, &mut violations);
    }
    Ok(violations)
}

fn parse(file: &RepoFile) -> Result<Table> {
    file.text
        .parse()
        .with_context(|| format!("{} is not valid TOML", file.path))
}

fn check_one(
    file: &RepoFile,
    folder: &str,
    manifest: &Table,
    root: &Table,
    violations: &mut Vec<Violation>,
) {
    let mut report = |line, rule, found: String, why| {
        violations.push(Violation {
            path: file.path.clone(),
            line,
            rule,
            found,
            why,
        });
    };
    let Some(own) = TABLE.iter().find(|row| row.folder == folder) else {
        let found = format!("crate `{folder}` is not in the import table");
        report(
            1,
            "imports",
            found,
            "add its row to the design and to xtask first",
        );
        return;
    };
    let inherits = manifest
        .get("lints")
        .and_then(|lints| lints.get("workspace"));
    if inherits != Some(&Value::Boolean(true)) {
        let found = "no `[lints] workspace = true`".to_owned();
        report(
            1,
            "lints",
            found,
            "every crate inherits the workspace's lints",
        );
    }
    for (key, dependency) in dependencies(manifest) {
        let line = line_of(&file.text, key);
        let package = package_name(key, dependency, root);
        if let Some(imported) = TABLE.iter().find(|row| row.package == package)
            && !own.may_import.contains(&imported.folder)
        {
            let found = format!("`{folder}` imports `{}`", imported.folder);
            let why = if imported.folder == "sim" {
                "nobody imports the simulator, not even for tests"
            } else {
                "a crate imports only what its row of the import table names"
            };
            report(line, "imports", found, why);
        }
        if let Some(fence) = FENCED
            .iter()
            .find(|fence| belongs_to(package, fence.library))
            && !fence.folders.contains(&folder)
        {
            let found = format!("`{folder}` depends on `{package}`");
            report(
                line,
                "fence",
                found,
                "this library has one home, see the import table",
            );
        }
        if dependency.get("workspace") != Some(&Value::Boolean(true)) {
            let found = format!("`{key}` is not `workspace = true`");
            report(
                line,
                "versions",
                found,
                "versions and paths stand in the root manifest only",
            );
        }
    }
}

/// Every dependency of every kind, those of single platforms included.
fn dependencies(manifest: &Table) -> Vec<(&str, &Value)> {
    let platforms = manifest.get("target").and_then(Value::as_table);
    let platforms = platforms.into_iter().flat_map(|target| target.values());
    let tables = platforms.filter_map(Value::as_table).chain([manifest]);
    tables
        .flat_map(|table| {
            ["dependencies", "dev-dependencies", "build-dependencies"]
                .into_iter()
                .filter_map(|kind| table.get(kind)?.as_table())
        })
        .flatten()
        .map(|(key, dependency)| (key.as_str(), dependency))
        .collect()
}

/// The package behind a key, which a `package = "…"` here or at the root may rename.
fn package_name<'a>(key: &'a str, dependency: &'a Value, root: &'a Table) -> &'a str {
    let at_root = || {
        root.get("workspace")?
            .get("dependencies")?
            .get(key)?
            .get("package")
    };
    let renamed = dependency.get("package").or_else(at_root);
    renamed.and_then(Value::as_str).unwrap_or(key)
}

fn belongs_to(package: &str, library: &str) -> bool {
    package
        .strip_prefix(library)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

fn line_of(text: &str, key: &str) -> usize {
    let names_key = |line: &str| {
        let line = line.trim_start();
        let after_table = line.rsplit_once("dependencies.").map(|(_, name)| name);
        let name = after_table
            .filter(|_| line.starts_with('['))
            .unwrap_or(line);
        name.strip_prefix(key)
            .is_some_and(|rest| rest.starts_with([' ', '.', '=', ']']))
    };
    text.lines()
        .position(names_key)
        .map_or(1, |index| index + 1)
}
