//! The binary `skerry`: node, devnet, wallet and tools. Everything is in the library; see
//! [`skerry::cli`] for the commands and [`skerry`] for the parts of a node.

use std::process::ExitCode;

fn main() -> ExitCode {
    skerry::cli::main(std::env::args_os().collect())
}
