//! What may stand in a file: one row per rule, with its reason and the files it binds.
//!
//! A new rule is a row of `RULES` and a planted violation in `tests.rs`.

use super::{
    RepoFile, Violation,
    rust::{self, Lexed, Token},
};

/// A place where a rule is broken: the line and what was found.
type Hit = (usize, String);

struct Rule {
    name: &'static str,
    why: &'static str,
    binds: fn(&Place<'_>) -> bool,
    tests: Tests,
    find: fn(&Lexed) -> Vec<Hit>,
}

/// Whether a rule binds test code as well.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tests {
    Bound,
    Exempt,
}

const RULES: &[Rule] = &[
    Rule {
        name: "rocksdb",
        why: "only storage/src/rocks.rs names RocksDB, so that the store can be replaced",
        binds: |place| place.path != "storage/src/rocks.rs",
        tests: Tests::Bound,
        find: |lexed| library(lexed, "rocksdb"),
    },
    Rule {
        name: "libp2p",
        why: "only the network crate names libp2p",
        binds: |place| place.folder != "network",
        tests: Tests::Bound,
        find: |lexed| library(lexed, "libp2p"),
    },
    Rule {
        name: "tonic",
        why: "only proto, sdk, node/src/grpc/ and node's tests name tonic",
        binds: |place| {
            !matches!(place.folder, "proto" | "sdk")
                && !place.is_module("node/src", "grpc")
                && !place.path.starts_with("node/tests/")
        },
        tests: Tests::Bound,
        find: |lexed| library(lexed, "tonic"),
    },
    Rule {
        name: "determinism",
        why: "protocol code has no clock, randomness, I/O, floats or hash order; pass it in",
        binds: is_deterministic,
        tests: Tests::Exempt,
        find: nondeterminism,
    },
    Rule {
        name: "print",
        why: "libraries return values or trace; only binaries own the terminal",
        binds: |place| !matches!(place.folder, "node" | "sim" | "xtask") && !place.is_build_script,
        tests: Tests::Exempt,
        find: |lexed| macros(lexed, &["print", "println", "eprint", "eprintln"]),
    },
    Rule {
        name: "unfinished",
        why: "what lands is finished; open work belongs in the tracker",
        binds: |_| true,
        tests: Tests::Bound,
        find: unfinished,
    },
    Rule {
        name: "allow",
        why: "use #[expect(lint, reason = \"…\")], which fails when it is no longer needed",
        binds: |place| !place.includes_generated,
        tests: Tests::Bound,
        find: allow_attributes,
    },
    Rule {
        name: "expect-reason",
        why: "an exception from a lint says why",
        binds: |_| true,
        tests: Tests::Bound,
        find: |lexed| {
            attribute_hits(lexed, |words| {
                words.first() == Some(&"expect") && !words.contains(&"reason")
            })
        },
    },
    Rule {
        name: "ignore",
        why: "a test that does not run proves nothing; make it fast or give it its own task",
        binds: |_| true,
        tests: Tests::Bound,
        find: |lexed| attribute_hits(lexed, |words| words.first() == Some(&"ignore")),
    },
];

/// Where people and build machines keep what they work on; below it no two are alike. Spelled in
/// pieces, since this file is checked too.
const MACHINE_FOLDERS: &[&str] = &[
    concat!("/", "home/"),
    concat!("/", "Users/"),
    concat!("/", "root/"),
    concat!("/", "work/"),
    concat!("/", "workspace/"),
    concat!("/", "mnt/"),
    concat!("/", "tmp/"),
];

/// Folders that our container images have.
const IMAGE_FOLDERS: &[&str] = &["/home/skerry", "/tmp/net"];

/// Words that mark unfinished work, likewise in pieces.
const MARKERS: &[&str] = &[concat!("FIX", "ME"), concat!("TO", "DO")];

/// What the rules need to know about where a file stands.
struct Place<'a> {
    path: &'a str,
    folder: &'a str,
    is_test: bool,
    is_build_script: bool,
    /// Generated code promises nothing about which lints it breaks.
    includes_generated: bool,
}

impl<'a> Place<'a> {
    fn new(file: &'a RepoFile) -> Self {
        let path = file.path.as_str();
        let name = path.rsplit_once('/').map_or(path, |(_, name)| name);
        let in_tests = ["tests", "benches", "examples", "fuzz"]
            .iter()
            .any(|folder| path.split('/').any(|part| part == *folder));
        Self {
            path,
            folder: path.split_once('/').map_or("", |(folder, _)| folder),
            is_test: in_tests
                || matches!(name, "tests.rs" | "testing.rs")
                || name.ends_with("_tests.rs"),
            is_build_script: name == "build.rs",
            includes_generated: file.text.contains("include_proto!(")
                || file.text.contains("include!(concat!(env!(\"OUT_DIR\")"),
        }
    }

    /// The file or the folder of a module.
    fn is_module(&self, parent: &str, module: &str) -> bool {
        let rest = self
            .path
            .strip_prefix(parent)
            .and_then(|rest| rest.strip_prefix('/'));
        let rest = rest.and_then(|rest| rest.strip_prefix(module));
        rest.is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
    }
}

/// Checks one file of any kind.
pub(super) fn check(file: &RepoFile) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut report = |rule, why, (line, found): Hit| {
        violations.push(Violation {
            path: file.path.clone(),
            line,
            rule,
            found,
            why,
        });
    };
    for hit in machine_paths(&file.text) {
        report(
            "machine-path",
            "a fresh clone has no such folder; use a relative path",
            hit,
        );
    }
    if !file.path.ends_with(".rs") {
        let is_prose = file.path.ends_with(".md");
        for hit in file
            .text
            .lines()
            .zip(1..)
            .filter_map(marker_in)
            .filter(|_| !is_prose)
        {
            report(
                "unfinished",
                "what lands is finished; open work belongs in the tracker",
                hit,
            );
        }
        return violations;
    }
    let place = Place::new(file);
    if !place.is_test
        && !file
            .text
            .lines()
            .take(3)
            .any(|line| line.starts_with("//!"))
    {
        let hit = (1, "no `//!` in the first three lines".to_owned());
        report(
            "header",
            "every file starts with what it is and what it never does",
            hit,
        );
    }
    let lexed = rust::lex(&file.text);
    let shipped = without_tests(&lexed);
    for rule in RULES.iter().filter(|rule| (rule.binds)(&place)) {
        if rule.tests == Tests::Bound {
            (rule.find)(&lexed)
                .into_iter()
                .for_each(|hit| report(rule.name, rule.why, hit));
        } else if !place.is_test {
            (rule.find)(&shipped)
                .into_iter()
                .for_each(|hit| report(rule.name, rule.why, hit));
        }
    }
    violations
}

fn without_tests(lexed: &Lexed) -> Lexed {
    let tokens = lexed
        .tokens
        .iter()
        .filter(|token| !token.in_test)
        .cloned()
        .collect();
    Lexed {
        tokens,
        comments: Vec::new(),
    }
}

/// The code that the simulator runs as it is. `driver.rs` alone gives consensus time and disk,
/// `threads.rs` execution its threads, and `lookup.rs` wraps a hash map so that its order cannot be seen.
fn is_deterministic(place: &Place<'_>) -> bool {
    match place.folder {
        "consensus" => !place.is_module("consensus/src", "driver"),
        "execution" => {
            !place.is_build_script && !place.is_module("execution/src/parallel", "threads")
        }
        "types" => !place.is_build_script && !place.is_module("types/src", "lookup"),
        "node" => {
            let glue = [
                "chain",
                "committees",
                "producer",
                "inclusion",
                "mempool",
                "relay",
                "beacon",
                "evidence",
            ];
            let joining = [
                "frames", "pins", "check", "jobs", "join", "peers", "outside",
            ];
            let is_glue = |module: &&str| place.is_module("node/src", module);
            let joins = |module: &&str| place.is_module("node/src/snapshot", module);
            glue.iter().any(is_glue) || joining.iter().any(joins)
        }
        _ => false,
    }
}

/// A library, or a member of its family (`tonic_health`) where it stands as a path or an import.
fn library(lexed: &Lexed, name: &str) -> Vec<Hit> {
    words(lexed, |before, word, after| {
        let is_family = word
            .strip_prefix(name)
            .is_some_and(|rest| rest.starts_with('_'));
        word == name || is_family && (after == "::" || matches!(before, "use" | "crate"))
    })
}

fn macros(lexed: &Lexed, names: &[&str]) -> Vec<Hit> {
    words(lexed, |_, word, after| {
        after == "!" && names.contains(&word)
    })
}

fn unfinished(lexed: &Lexed) -> Vec<Hit> {
    let mut hits = macros(lexed, &["todo", "unimplemented", "dbg"]);
    hits.extend(
        lexed
            .comments
            .iter()
            .filter_map(|line| marker_in((&line.text, line.line))),
    );
    hits
}

/// `rand_core` has traits, not entropy: a seed satisfies them.
fn nondeterminism(lexed: &Lexed) -> Vec<Hit> {
    let tokens = &lexed.tokens;
    let mut hits = words(lexed, |before, word, after| match word {
        "tokio" | "SystemTime" | "HashMap" | "HashSet" | "RandomState" | "DefaultHasher"
        | "f32" | "f64" | "getrandom" | "OsRng" | "thread_rng" => true,
        "from_entropy" | "from_os_rng" => true,
        "rand" => after == "::" || before == "use",
        number => is_float(number),
    });
    // `std::thread`, `std::{fs, …}`, `use std::time::{Duration, Instant}`, `time::Instant`.
    for (at, token) in tokens.iter().enumerate() {
        let banned: &[&str] = match token.text.as_str() {
            "std" => &["thread", "fs", "net", "env"],
            "time" => &["Instant"],
            _ => continue,
        };
        let imported = imported_from(tokens.get(at + 1..).unwrap_or_default());
        let found = imported
            .iter()
            .filter(|name| banned.contains(&name.text.as_str()));
        hits.extend(found.map(|name| (name.line, format!("`{}::{}`", token.text, name.text))));
    }
    hits
}

/// The names right behind `module::`, or those at the first level of its braces.
fn imported_from(tokens: &[Token]) -> Vec<&Token> {
    let [colons, first, rest @ ..] = tokens else {
        return Vec::new();
    };
    if colons.text != "::" {
        return Vec::new();
    }
    if first.text != "{" {
        return vec![first];
    }
    let (mut depth, mut starts_name, mut names) = (1_usize, true, Vec::new());
    for token in rest {
        match token.text.as_str() {
            "{" => depth += 1,
            "}" => depth -= 1,
            _ if starts_name && depth == 1 => names.push(token),
            _ => {}
        }
        starts_name = token.text == ",";
        if depth == 0 {
            break;
        }
    }
    names
}

/// A decimal number with a fraction, an exponent or a float's suffix. The lexer gives the fields
/// of a tuple no fraction.
fn is_float(word: &str) -> bool {
    let has_prefix = ["0x", "0b", "0o"]
        .iter()
        .any(|prefix| word.starts_with(prefix));
    let tail = word.trim_start_matches(|char: char| char.is_ascii_digit() || char == '_');
    let is_number = word.starts_with(|first: char| first.is_ascii_digit());
    is_number && !has_prefix && tail.starts_with(['.', 'e', 'E', 'f'])
}

fn allow_attributes(lexed: &Lexed) -> Vec<Hit> {
    attribute_hits(lexed, |words| {
        let is_conditional = words.first() == Some(&"cfg_attr");
        let names_allow = |pair: &[&str]| pair == ["allow", "("];
        words.starts_with(&["allow", "("]) || is_conditional && words.windows(2).any(names_allow)
    })
}

/// The attributes whose words, from behind the opening bracket, satisfy `is_bad`.
fn attribute_hits(lexed: &Lexed, is_bad: impl Fn(&[&str]) -> bool) -> Vec<Hit> {
    let mut hits = Vec::new();
    for attribute in rust::attributes(&lexed.tokens) {
        let words: Vec<&str> = attribute.iter().map(|token| token.text.as_str()).collect();
        let inner = words
            .iter()
            .position(|word| *word == "[")
            .map_or(0, |open| open + 1);
        let inside = words.get(inner..).unwrap_or_default();
        if is_bad(inside) {
            let line = attribute.first().map_or(1, |token| token.line);
            hits.push((line, format!("`#[{}…]`", inside.first().unwrap_or(&""))));
        }
    }
    hits
}

/// The words that satisfy `is_bad`, which also sees the neighbours: before, word, after.
fn words(lexed: &Lexed, is_bad: impl Fn(&str, &str, &str) -> bool) -> Vec<Hit> {
    let text = |at: Option<usize>| {
        at.and_then(|at| lexed.tokens.get(at))
            .map_or("", |token| token.text.as_str())
    };
    let tokens = lexed.tokens.iter().enumerate();
    tokens
        .filter(|(at, token)| is_bad(text(at.checked_sub(1)), &token.text, text(Some(at + 1))))
        .map(|(_, token)| (token.line, format!("`{}`", token.text)))
        .collect()
}

fn machine_paths(text: &str) -> Vec<Hit> {
    let names_folder = |line: &str| {
        MACHINE_FOLDERS.iter().copied().find(|folder| {
            line.match_indices(folder).any(|(at, _)| {
                let (before, path) = line.split_at(at);
                let is_part =
                    before.ends_with(|char: char| char.is_alphanumeric() || "_-./}".contains(char));
                !is_part && !IMAGE_FOLDERS.iter().any(|image| path.starts_with(image))
            })
        })
    };
    let numbered = text.lines().zip(1..);
    numbered
        .filter_map(|(line, at)| Some((at, format!("`{}`", names_folder(line)?))))
        .collect()
}

fn marker_in((line, number): (&str, usize)) -> Option<Hit> {
    let is_word = |char: char| char.is_alphanumeric() || char == '_';
    let marker = line
        .split(|char| !is_word(char))
        .find(|word| MARKERS.contains(word))?;
    Some((number, format!("`{marker}`")))
}
