//! Each rule against a planted violation and against its closest innocent relative.

use super::{RepoFile, check};

/// The rules that a lone file breaks, with the lines.
fn broken(path: &str, text: &str) -> Vec<(&'static str, usize)> {
    let file = RepoFile {
        path: path.to_owned(),
        text: text.to_owned(),
    };
    let violations = check(&[file]).expect("the planted manifests parse");
    violations
        .iter()
        .map(|violation| (violation.rule, violation.line))
        .collect()
}

/// The rules that a line of code breaks behind a proper header.
fn broken_by(path: &str, code: &str) -> Vec<&'static str> {
    let found = broken(path, &format!("//! Header.\n\n{code}\n"));
    found.into_iter().map(|(rule, _)| rule).collect()
}

fn manifest(body: &str) -> String {
    format!("[package]\nname = \"x\"\n\n{body}\n\n[lints]\nworkspace = true\n")
}

#[test]
fn a_crate_imports_only_what_its_row_names() {
    let allowed = manifest("[dependencies]\nskerry-types.workspace = true");
    assert_eq!(broken("consensus/Cargo.toml", &allowed), []);
    let above = manifest("[dependencies]\nskerry-storage.workspace = true");
    assert_eq!(broken("consensus/Cargo.toml", &above), [("imports", 5)]);
    let dev = manifest("[dev-dependencies]\nskerry-storage = { workspace = true }");
    assert_eq!(broken("consensus/Cargo.toml", &dev), [("imports", 5)]);
    let platform = manifest("[target.'cfg(unix)'.dependencies]\nskerry.workspace = true");
    assert_eq!(broken("sdk/Cargo.toml", &platform), [("imports", 5)]);
}

#[test]
fn nobody_imports_the_simulator_even_for_tests() {
    for table in ["dependencies", "dev-dependencies", "build-dependencies"] {
        let text = manifest(&format!("[{table}]\nskerry-sim.workspace = true"));
        assert_eq!(
            broken("node/Cargo.toml", &text),
            [("imports", 5)],
            "{table}"
        );
    }
}

#[test]
fn a_renamed_import_is_seen_through() {
    let root = RepoFile {
        path: "Cargo.toml".to_owned(),
        text: "[workspace.dependencies]\nharmless = { path = \"sim\", package = \"skerry-sim\" }\n"
            .to_owned(),
    };
    let text = manifest("[dependencies]\nharmless.workspace = true");
    let user = RepoFile {
        path: "types/Cargo.toml".to_owned(),
        text,
    };
    let violations = check(&[user, root]).expect("both manifests parse");
    assert_eq!(
        violations
            .iter()
            .map(|found| found.rule)
            .collect::<Vec<_>>(),
        ["imports"]
    );
}

#[test]
fn an_unknown_crate_needs_a_row() {
    assert_eq!(
        broken("helpers/Cargo.toml", &manifest("")),
        [("imports", 1)]
    );
}

#[test]
fn a_fenced_library_has_one_home() {
    let rocks = manifest("[dependencies]\nrocksdb.workspace = true");
    assert_eq!(broken("storage/Cargo.toml", &rocks), []);
    assert_eq!(broken("node/Cargo.toml", &rocks), [("fence", 5)]);
    let stream = manifest("[dependencies]\nlibp2p-stream.workspace = true");
    assert_eq!(broken("network/Cargo.toml", &stream), []);
    assert_eq!(broken("sim/Cargo.toml", &stream), [("fence", 5)]);
    let health = manifest("[dependencies.tonic-health]\nworkspace = true");
    assert_eq!(broken("node/Cargo.toml", &health), []);
    assert_eq!(broken("consensus/Cargo.toml", &health), [("fence", 4)]);
}

#[test]
fn versions_stand_at_the_root() {
    let text = manifest("[dependencies]\nserde = \"1\"");
    assert_eq!(broken("types/Cargo.toml", &text), [("versions", 5)]);
}

#[test]
fn every_crate_inherits_the_lints() {
    assert_eq!(
        broken("types/Cargo.toml", "[package]\nname = \"x\"\n"),
        [("lints", 1)]
    );
}

#[test]
fn a_file_starts_with_its_header() {
    assert_eq!(broken("sdk/src/lib.rs", "//! Here.\n"), []);
    assert_eq!(broken("sdk/src/lib.rs", "#![deny(x)]\n\n//! Here.\n"), []);
    assert_eq!(
        broken("sdk/src/lib.rs", "\n\n\n//! Too late.\n"),
        [("header", 1)]
    );
    assert_eq!(broken("sdk/src/tests.rs", "fn a() {}\n"), []);
    assert_eq!(broken("sdk/tests/it/main.rs", "fn a() {}\n"), []);
}

#[test]
fn only_one_file_names_rocksdb() {
    assert_eq!(
        broken_by("storage/src/rocks.rs", "use rocksdb::DB;"),
        [""; 0]
    );
    assert_eq!(
        broken_by("storage/src/commit.rs", "use rocksdb::DB;"),
        ["rocksdb"]
    );
    assert_eq!(
        broken_by("storage/src/tests.rs", "fn a(db: rocksdb::DB) {}"),
        ["rocksdb"]
    );
    assert_eq!(
        broken_by("storage/src/commit.rs", "/// As rocksdb does.\nfn a() {}"),
        [""; 0]
    );
}

#[test]
fn only_network_names_libp2p() {
    assert_eq!(
        broken_by("network/src/swarm.rs", "use libp2p::Swarm;"),
        [""; 0]
    );
    assert_eq!(
        broken_by("node/src/config.rs", "use libp2p::Multiaddr;"),
        ["libp2p"]
    );
    assert_eq!(
        broken_by("node/src/config.rs", "use libp2p_stream as stream;"),
        ["libp2p"]
    );
    assert_eq!(
        broken_by("node/src/config.rs", "let libp2p_port = 1;"),
        [""; 0]
    );
}

#[test]
fn only_the_api_layers_name_tonic() {
    let code = "fn a(s: tonic::Status) {}";
    for path in [
        "proto/src/lib.rs",
        "sdk/src/client.rs",
        "node/src/grpc/ledger.rs",
    ] {
        assert_eq!(broken_by(path, code), [""; 0], "{path}");
    }
    for path in [
        "node/src/assemble.rs",
        "node/src/grpcish.rs",
        "network/src/lib.rs",
    ] {
        assert_eq!(broken_by(path, code), ["tonic"], "{path}");
    }
    assert_eq!(
        broken_by("node/src/assemble.rs", "use tonic_health::server;"),
        ["tonic"]
    );
}

#[test]
fn protocol_code_is_deterministic() {
    let bans = [
        "use tokio::sync::mpsc;",
        "use std::time::Instant;",
        "use std::time::{Duration, Instant};",
        "use std::{cmp, time::Instant};",
        "use std::time::SystemTime;",
        "fn a() { std::thread::yield_now(); }",
        "use std::{collections::BTreeMap, thread};",
        "use std::fs;",
        "fn a() -> Option<String> { std::env::var_os(\"A\"); None }",
        "use rand::Rng;",
        "use rand_core::OsRng;",
        "use std::collections::HashMap;",
        "fn a(set: &std::collections::HashSet<u8>) {}",
        "fn a(rate: f64) {}",
        "const RATE: u64 = 1.5 as u64;",
        "const RATE: u64 = 2e9 as u64;",
        "const RATE: u64 = 3f32 as u64;",
    ];
    let bound = [
        "consensus/src/core.rs",
        "execution/src/block.rs",
        "types/src/crypto/bls.rs",
        "node/src/chain.rs",
        "node/src/inclusion.rs",
        "node/src/mempool/nonces.rs",
        "node/src/producer.rs",
        "node/src/relay.rs",
        "node/src/committees.rs",
        "node/src/beacon.rs",
        "node/src/evidence.rs",
        "node/src/snapshot/join.rs",
        "node/src/snapshot/peers.rs",
        "node/src/snapshot/outside.rs",
    ];
    for code in bans {
        for path in bound {
            let found = broken_by(path, code);
            assert!(!found.is_empty(), "{path}: {code}");
            assert!(
                found.iter().all(|rule| *rule == "determinism"),
                "{path}: {code}: {found:?}"
            );
        }
        for free in [
            "consensus/src/driver.rs",
            "execution/src/tests.rs",
            "node/src/chains.rs",
            "node/src/snapshot/run.rs",
            "types/src/lookup.rs",
        ] {
            assert_eq!(broken_by(free, code), [""; 0], "{free}: {code}");
        }
    }
}

#[test]
fn innocent_relatives_of_nondeterminism_pass() {
    let innocent = [
        "use std::time::Duration;",
        "use rand_core::RngCore;",
        "use std::{collections::BTreeMap, io::Read};",
        "fn a(rand: u8, thread: u8) -> u8 { rand + thread }",
        "struct Instant(u64);",
        "fn a(pair: ((u8, u8), u8)) -> u8 { pair.0.1 }",
        "const SIZE: usize = 1_000usize + 0x1e9;",
        "fn a() { for _ in 0..10 {} }",
        "/// No HashMap, no f64: those are for tokio's threads.\nfn a() {}",
        "const NAME: &str = \"HashMap\";",
        "const NAME: &str = r#\"a \"HashMap\" b\"#;",
        "fn a<'a>(x: &'a u8) -> char { let _ = (x, '\"', '\\''); 'f' }",
        "#[cfg(test)]\nmod tests {\n    use std::collections::HashMap;\n}",
        "#[test]\nfn a() { let x = 1.5; }",
    ];
    for code in innocent {
        assert_eq!(broken_by("execution/src/block.rs", code), [""; 0], "{code}");
    }
}

#[test]
fn what_follows_a_test_item_is_bound_again() {
    let code = "#[cfg(test)]\nmod tests;\nuse std::collections::HashMap;";
    assert_eq!(broken_by("execution/src/block.rs", code), ["determinism"]);
    let shipped = "#[cfg(not(test))]\nuse std::collections::HashMap;";
    assert_eq!(
        broken_by("execution/src/block.rs", shipped),
        ["determinism"]
    );
}

#[test]
fn libraries_do_not_print() {
    let code = "fn a() { println!(\"hello\"); }";
    assert_eq!(broken_by("storage/src/commit.rs", code), ["print"]);
    for free in [
        "node/src/cli/tx.rs",
        "storage/tests/it/main.rs",
        "proto/build.rs",
    ] {
        assert_eq!(broken_by(free, code), [""; 0], "{free}");
    }
}

#[test]
fn nothing_unfinished_lands() {
    let path = "sdk/src/client.rs";
    for code in [
        "fn a() { todo!() }",
        "fn a() { unimplemented!() }",
        "fn a() { dbg!(1); }",
    ] {
        assert_eq!(broken_by(path, code), ["unfinished"], "{code}");
    }
    let marker = concat!("FIX", "ME");
    assert_eq!(
        broken_by(path, &format!("// {marker}: later")),
        ["unfinished"]
    );
    assert_eq!(
        broken_by(path, &format!("/* a\n {marker} */")),
        ["unfinished"]
    );
    assert_eq!(
        broken_by(path, &format!("const A: &str = \"{marker}\";")),
        [""; 0]
    );
    assert_eq!(
        broken("scripts/a.sh", &format!("# {marker}\n")),
        [("unfinished", 1)]
    );
}

#[test]
fn exceptions_expire_and_give_reasons() {
    let path = "sdk/src/client.rs";
    assert_eq!(broken_by(path, "#[allow(dead_code)]\nfn a() {}"), ["allow"]);
    assert_eq!(broken_by(path, "#![allow(dead_code)]"), ["allow"]);
    assert_eq!(
        broken_by(path, "#[cfg_attr(unix, allow(dead_code))]\nfn a() {}"),
        ["allow"]
    );
    assert_eq!(
        broken_by(path, "#[expect(dead_code)]\nfn a() {}"),
        ["expect-reason"]
    );
    let good = "#[expect(\n    dead_code,\n    reason = \"kept\",\n)]\nfn a() {}";
    assert_eq!(broken_by(path, good), [""; 0]);
    let generated = "#[allow(missing_docs)]\nmod v1 { tonic::include_proto!(\"skerry.v1\"); }";
    assert_eq!(broken_by("proto/src/lib.rs", generated), [""; 0]);
}

#[test]
fn no_test_is_switched_off() {
    for code in [
        "#[test]\n#[ignore]\nfn a() {}",
        "#[test]\n#[ignore = \"slow\"]\nfn a() {}",
    ] {
        assert_eq!(broken_by("sdk/src/tests.rs", code), ["ignore"], "{code}");
    }
}

#[test]
fn no_path_of_a_build_machine_remains() {
    let folder = concat!("/", "work/main");
    assert_eq!(
        broken("docs/a.md", &format!("See\n`{folder}`.\n")),
        [("machine-path", 2)]
    );
    assert_eq!(
        broken("Makefile", &format!("A = {folder}\n")),
        [("machine-path", 1)]
    );
    assert_eq!(
        broken("docs/a.md", &format!("of home{folder} and ..{folder}\n")),
        []
    );
    assert_eq!(
        broken_by("sdk/src/a.rs", &format!("const A: &str = \"{folder}\";")),
        ["machine-path"]
    );
    for folder in [
        concat!("/", "root/.cargo"),
        concat!("/", "home/me/net"),
        concat!("/", "Users/me"),
        concat!("/", "tmp/t-1"),
    ] {
        let found = broken("Makefile", &format!("A = {folder}\n"));
        assert_eq!(found, [("machine-path", 1)], "{folder}");
    }
    for folder in ["/home/skerry/data", "/tmp/net/v0", "/usr/local/bin", "/net"] {
        let found = broken("Makefile", &format!("A = {folder}\n"));
        assert_eq!(found, [], "{folder}");
    }
}
