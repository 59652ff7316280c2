//! The binary `skerry`: node, devnet, wallet and tools. Everything is in the library; see
//! [`skerry::cli`] for the commands and [`skerry`] for the parts of a node.

use std::process::ExitCode;

/// Blocks and frames of a megabyte come and go many times a second; the system's allocator gives
/// their pages back each time. What that costs is in docs/benchmarks.md.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    skerry::cli::main(std::env::args_os().collect())
}
