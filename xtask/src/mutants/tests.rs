//! Options, the simulator's words, and what is copied.

use super::{Mutant, Options, is_own, violation};
use anyhow::Result;
use std::ffi::OsStr;
use std::path::PathBuf;

fn options(line: &str) -> Result<Options> {
    let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    Options::parse(&words)
}

#[test]
fn options_name_mutants_minutes_and_whether_to_keep() {
    let parsed = options("--only one,other --minutes 3 --keep").expect("they are well-formed");
    let expected = Options {
        only: vec!["one".to_owned(), "other".to_owned()],
        minutes: 3,
        keeps: true,
    };
    assert_eq!(parsed, expected);
    for wrong in ["--only", "--minutes many", "gap-unchecked"] {
        assert!(options(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn violation_is_found_with_its_seed() {
    let printed = "seed 3 12.0 s virtual\n\
                   seed 7: VIOLATION after 1.250 s: node 2: two final blocks, 3 s: apart\n  plan";
    let found = violation(printed).expect("there is one");
    assert_eq!(found.seed, "7");
    assert_eq!(found.what, "node 2: two final blocks, 3 s: apart");
    assert_eq!(violation("seeds 20, violations 0"), None);
}

#[test]
fn panic_catches_nothing() {
    let mutant = Mutant {
        name: String::new(),
        path: PathBuf::new(),
        what: String::new(),
        phrases: vec!["two final blocks".to_owned()],
        network: "one".to_owned(),
    };
    assert!(mutant.is_caught_by("node 1: two final blocks"));
    assert!(!mutant.is_caught_by("panic: two final blocks"));
    assert!(!mutant.is_caught_by("not well"));
}

#[test]
fn only_other_peoples_crates_are_taken_over() {
    for own in [
        "libskerry_types-0a.rlib",
        "skerry-0a",
        "skerry_sim-0a.d",
        "xtask-0a",
        "it-0a",
    ] {
        assert!(is_own(OsStr::new(own)), "{own}");
    }
    for other in [
        "libborsh-0a.rlib",
        "librocksdb-sys-0a",
        "itoa-0a",
        "libitoa-0a.rmeta",
    ] {
        assert!(!is_own(OsStr::new(other)), "{other}");
    }
}
