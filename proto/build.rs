//! Compiles the `.proto` files with protox (no `protoc` is needed) into messages, clients and
//! servers, and writes the descriptor set for reflection and for the snapshot test.

use std::path::{Path, PathBuf};

const FILES: [&str; 7] = [
    "skerry/v1/types.proto",
    "skerry/v1/node.proto",
    "skerry/v1/ledger.proto",
    "skerry/v1/state.proto",
    "skerry/v1/transaction.proto",
    "skerry/v1/proof.proto",
    "skerry/v1/subscription.proto",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let mut compiler = protox::Compiler::new([Path::new("proto")])?;
    compiler
        .include_source_info(true)
        .include_imports(true)
        .open_files(FILES)?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    // The encoded form keeps the comments, so that reflection shows them.
    std::fs::write(
        out.join("skerry_descriptor.bin"),
        compiler.encode_file_descriptor_set(),
    )?;
    tonic_prost_build::configure().compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}
