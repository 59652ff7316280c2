//! What a snapshot of a large state costs, as JSON: `cargo run -p skerry-storage --example
//! snapshot_bench [accounts]`.
//!
//! Two processes, so that each has its own peak of memory: one makes a state of accounts with two
//! records each (next nonce, balance) and writes its chunks to a file; the other checks them, imports
//! them into RocksDB, starts again from what it stored, and then keeps one version as a pin while
//! half the accounts change. Times are in seconds, sizes in bytes.

use skerry_storage::{
    BaseBlock, BaseContext, BaseRow, ChainStore, Identity, Import, RocksBackend, SharedCache,
    StateTree, TreeBuilder,
};
use skerry_types::block::{BlockKind, BlockRef, ExecutionResult, Header, Report};
use skerry_types::certificate::{Bitmap, Certificate};
use skerry_types::codec::{Version, decode, encode};
use skerry_types::crypto::bls::Signature;
use skerry_types::crypto::hash::plain;
use skerry_types::ids::{
    Address, ChainRef, Digest, Epoch, Height, MemberIndex, ModuleId, ShardId, TimeMs, View,
};
use skerry_types::limits::{CHUNK_BYTES, CHUNK_BYTES_MAX};
use skerry_types::snapshot::Chunk;
use skerry_types::state::{ChangeSet, StateKey, Value};
use skerry_types::vote::Statement;
use std::error::Error;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

const BLOCKS: u64 = 20;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["serve", accounts, folder] => serve(accounts.parse()?, Path::new(folder)),
        ["join", folder] => join(Path::new(folder)),
        [] => both("1000000"),
        [accounts] => both(accounts),
        _ => Err("usage: snapshot_bench [accounts]".into()),
    }
}

fn both(accounts: &str) -> Result<(), Box<dyn Error>> {
    let folder = std::env::temp_dir().join(format!("snapshot_bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let run = |arguments: &[&str]| -> Result<String, Box<dyn Error>> {
        let mut command = std::process::Command::new(std::env::current_exe()?);
        let output = command.args(arguments).arg(&folder).output()?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
        }
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    };
    let parts = run(&["serve", accounts]).and_then(|served| Ok((served, run(&["join"])?)));
    std::fs::remove_dir_all(&folder)?;
    let (served, joined) = parts?;
    println!("{{\"accounts\":{accounts},\"server\":{served},\"joiner\":{joined}}}");
    Ok(())
}

/// Makes the state and cuts it into chunks.
fn serve(accounts: u64, folder: &Path) -> Result<(), Box<dyn Error>> {
    let mut owners: Vec<Address> = (0..accounts).map(owner).collect();
    owners.sort_unstable();
    let start = Instant::now();
    let mut builder = TreeBuilder::new();
    for owner in owners {
        for (key, value) in records(owner, 0) {
            builder.push(key, value)?;
        }
    }
    let tree = builder.finish();
    let build = start.elapsed();
    let state_memory = memory("VmRSS");

    let start = Instant::now();
    let cursors = tree.chunk_cursors(CHUNK_BYTES);
    let find = start.elapsed();

    let (mut make, mut pack) = (Duration::ZERO, Duration::ZERO);
    let (mut bytes, mut largest) = (0, 0);
    let mut file = BufWriter::new(File::create(folder.join("chunks"))?);
    file.write_all(tree.root().as_bytes())?;
    let places = std::iter::once(None).chain(cursors.iter().map(Some));
    for after in places {
        let start = Instant::now();
        let chunk = tree.chunk(after, CHUNK_BYTES).ok_or("no such cursor")?;
        make += start.elapsed();
        let start = Instant::now();
        let packed = encode(&chunk);
        pack += start.elapsed();
        bytes += packed.len();
        largest = largest.max(packed.len());
        file.write_all(&u32::try_from(packed.len())?.to_le_bytes())?;
        file.write_all(&packed)?;
    }
    file.flush()?;
    println!(
        "{{\"records\":{},\"build\":{:.2},\"cursors\":{:.2},\"chunks\":{},\"chunk_bytes\":{bytes},\
         \"chunk_bytes_max\":{largest},\"make\":{:.2},\"encode\":{:.2},\"memory_state\":{state_memory},\
         \"memory_peak\":{}}}",
        tree.len(),
        build.as_secs_f64(),
        find.as_secs_f64(),
        cursors.len() + 1,
        make.as_secs_f64(),
        pack.as_secs_f64(),
        memory("VmHWM"),
    );
    Ok(())
}

/// Checks and imports the chunks, starts again, and keeps a version.
fn join(folder: &Path) -> Result<(), Box<dyn Error>> {
    let whole = Instant::now();
    let mut file = BufReader::new(File::open(folder.join("chunks"))?);
    let mut root = [0; 32];
    file.read_exact(&mut root)?;
    let root = Digest::new(root);
    let (base, context) = base_at(root);
    let data = folder.join("data");
    let store = Arc::new(open(&data)?);
    let import = Import::begin(Arc::clone(&store), &base)?;
    let (mut unpack, mut check, mut write) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
    while !import.progress().is_complete {
        let mut length = [0; 4];
        file.read_exact(&mut length)?;
        let mut packed = vec![0; usize::try_from(u32::from_le_bytes(length))?];
        file.read_exact(&mut packed)?;
        let start = Instant::now();
        let chunk: Chunk = decode(&packed, CHUNK_BYTES_MAX)?;
        unpack += start.elapsed();
        let after = import.progress().cursor;
        let start = Instant::now();
        let next = chunk.verify(&root, after.as_ref())?;
        check += start.elapsed();
        let start = Instant::now();
        import.chunk(after.as_ref(), &chunk, next)?;
        write += start.elapsed();
    }
    let chunks_memory = memory("VmHWM");
    let start = Instant::now();
    let tree = import.finish(&context)?;
    let finish = start.elapsed();
    let joined = whole.elapsed();
    let join_memory = memory("VmHWM");
    let stored = folder_bytes(&data)?;
    drop((tree, import, store));

    let start = Instant::now();
    let store = open(&data)?;
    let tree = store.load()?.tree;
    let restart = start.elapsed();
    let changed = pin(&tree)?;
    println!(
        "{{\"decode\":{:.2},\"check\":{:.2},\"write\":{:.2},\"read_back\":{:.2},\"join\":{:.2},\
         \"start\":{:.2},\"disk_bytes\":{stored},\"memory_chunks\":{chunks_memory},\
         \"memory_join\":{join_memory},\"pin\":{changed}}}",
        unpack.as_secs_f64(),
        check.as_secs_f64(),
        write.as_secs_f64(),
        finish.as_secs_f64(),
        joined.as_secs_f64(),
        restart.as_secs_f64(),
    );
    Ok(())
}

/// Keeps a version while half of the accounts change, and tells what memory that takes.
fn pin(tree: &StateTree) -> Result<String, Box<dyn Error>> {
    let pinned = tree.for_keeping();
    let owners: Vec<Address> = tree.iter().map(|(key, _)| key.owner).step_by(4).collect();
    let before = memory("VmRSS");
    let mut newest = tree.clone();
    let size = owners.len().div_ceil(usize::try_from(BLOCKS)?).max(1);
    for (round, owners) in (1..).zip(owners.chunks(size)) {
        let changes: ChangeSet = owners
            .iter()
            .flat_map(|owner| records(*owner, round))
            .map(|(key, value)| (key, Some(value)))
            .collect();
        newest = newest.apply(&changes);
    }
    let after = memory("VmRSS");
    let is_other = newest.root() != pinned.root();
    Ok(format!(
        "{{\"changed_accounts\":{},\"is_other\":{is_other},\"memory\":{}}}",
        owners.len(),
        after.saturating_sub(before),
    ))
}

fn owner(number: u64) -> Address {
    Address::new(*plain(&number.to_le_bytes()).as_bytes())
}

/// The records of an account as `account` and `bank` keep them: next nonce and balance.
fn records(owner: Address, round: u64) -> [(StateKey, Value); 2] {
    let nonce = [&[1_u8][..], &round.to_le_bytes()].concat();
    let balance = [
        &[1_u8][..],
        &u128::from(1_000_000_000 + round).to_le_bytes(),
    ]
    .concat();
    let denom = [&b"b\0\0sker"[..], &[0; 26]].concat();
    [
        (
            StateKey::new(owner, ModuleId::new(1), *b"n\0\0"),
            nonce.into(),
        ),
        (
            StateKey::new(owner, ModuleId::new(2), denom),
            balance.into(),
        ),
    ]
}

fn open(data: &Path) -> Result<ChainStore, Box<dyn Error>> {
    let backend = RocksBackend::open(data, &SharedCache::default())?;
    let identity = Identity {
        chain_id: Digest::ZERO,
        chain: ChainRef::Shard(ShardId::new(0, 0).ok_or("one shard")?),
    };
    Ok(ChainStore::open(Arc::new(backend), identity)?)
}

/// A block whose state has this root, with what an import wants around it.
fn base_at(state_root: Digest) -> (BaseRow, BaseContext) {
    let start = BlockRef {
        height: Height::ZERO,
        digest: Digest::ZERO,
    };
    let header = Header {
        version: Version,
        chain_id: Digest::ZERO,
        chain: ChainRef::Beacon,
        epoch: Epoch::ZERO,
        height: Height::new(1_000),
        view: View::new(1_000),
        kind: BlockKind::Working,
        parent: Digest::ZERO,
        proposer: MemberIndex::new(0),
        time: TimeMs::new(0),
        beacon: start,
        body_root: Digest::ZERO,
        report: Report {
            block: start,
            result: ExecutionResult::default(),
        },
        facts_root: Digest::ZERO,
        next: None,
        reveal: None,
    };
    let certificate = Certificate {
        statement: Statement::Finalize {
            view: header.view,
            digest: header.digest(),
        },
        signers: Bitmap::of([MemberIndex::new(0)], 4),
        signature: Signature([0; 96]),
    };
    let base = BaseRow {
        block: header.block_ref(),
        result: ExecutionResult {
            state_root,
            ..ExecutionResult::default()
        },
    };
    let blocks = vec![BaseBlock {
        header,
        body: Vec::new(),
        certificate: Some(certificate),
    }];
    let context = BaseContext {
        blocks,
        ..BaseContext::default()
    };
    (base, context)
}

/// A line of `/proc/self/status`, in bytes; zero where there is none.
fn memory(name: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with(name));
    let kibibytes = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    kibibytes.unwrap_or(0) * 1024
}

fn folder_bytes(folder: &Path) -> Result<u64, Box<dyn Error>> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        bytes += entry?.metadata()?.len();
    }
    Ok(bytes)
}
