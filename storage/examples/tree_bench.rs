//! Prints how fast the state tree is updated, proved and rebuilt, and how fast a synced commit of the
//! same changes is: `cargo run -p skerry-storage --example tree_bench [keys] [changes]`.

use skerry_storage::{Backend, Batch, Column, Durability, RocksBackend, SharedCache, TreeBuilder};
use skerry_types::crypto::hash::plain;
use skerry_types::ids::{Address, ModuleId};
use skerry_types::state::{ChangeSet, StateKey, StateRead, Value};
use std::time::{Duration, Instant};

/// Two keys of 100 bytes for each owner.
fn key(number: u64) -> StateKey {
    let owner = plain(&(number / 2).to_le_bytes());
    StateKey::new(
        Address::new(*owner.as_bytes()),
        ModuleId::new(2),
        (number % 2).to_le_bytes(),
    )
}

fn value(salt: u64) -> Value {
    Value::from([salt.to_le_bytes(); 13].concat())
}

fn changes(numbers: impl Iterator<Item = u64>, salt: u64) -> ChangeSet {
    numbers
        .map(|number| (key(number), Some(value(number ^ salt))))
        .collect()
}

/// Processor time of this thread, which a busy machine does not inflate; zero where the kernel does
/// not tell.
fn busy() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = text.split(' ').next().and_then(|field| field.parse().ok());
    Duration::from_nanos(nanoseconds.unwrap_or(0))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<u64>());
    let keys = arguments.next().transpose()?.unwrap_or(1_000_000);
    let count = arguments.next().transpose()?.unwrap_or(25_000);
    let all = changes(0..keys, 0);

    let start = Instant::now();
    let mut builder = TreeBuilder::new();
    for (key, value) in &all {
        if let Some(value) = value {
            builder.push(key.clone(), value.clone())?;
        }
    }
    let mut tree = builder.finish();
    let rate = keys as f64 / start.elapsed().as_secs_f64();
    println!(
        "rebuild      {keys} keys: {:.0?}, {rate:.0} keys/s",
        start.elapsed()
    );

    let folder = std::env::temp_dir().join(format!("tree_bench-{}", std::process::id()));
    let rocks = RocksBackend::open(&folder, &SharedCache::default())?;
    let (mut update, mut write, mut rounds) = (Vec::new(), Vec::new(), Vec::new());
    let mut spent = Duration::ZERO;
    for round in 0..20_u64 {
        let drawn = |n: u64| plain(&(round * count + n).to_le_bytes()).low_u64() % keys;
        let changes = changes((0..count).map(drawn), round + 1);
        let (start, before) = (Instant::now(), busy());
        let next = tree.apply(&changes);
        update.push(start.elapsed());
        spent += busy().saturating_sub(before);
        rounds.push(std::mem::replace(&mut tree, next));
        let start = Instant::now();
        let mut batch = Batch::new();
        for (key, value) in &changes {
            if let Some(value) = value {
                batch.put_shared(Column::State, key.to_bytes(), value.clone());
            }
        }
        rocks.write(batch, Durability::Synced)?;
        write.push(start.elapsed());
    }
    for (name, mut times) in [("root update", update), ("synced write", write)] {
        times.sort_unstable();
        let median = times.get(times.len() / 2).copied().unwrap_or_default();
        let rate = count as f64 / median.as_secs_f64();
        let worst = times.last().copied().unwrap_or_default();
        println!(
            "{name:12} {count} keys: median {median:.1?}, worst {worst:.1?}, {rate:.0} keys/s"
        );
    }

    println!("root update  processor time {:.1?} each", spent / 20);

    let start = Instant::now();
    let found = (0..count)
        .filter(|n| tree.get(&key(n * 37 % keys)).is_some())
        .count();
    println!(
        "read         {found} keys: {:.0?} each",
        start.elapsed() / u32::try_from(count)?
    );
    let start = Instant::now();
    let bytes: usize = (0..1000)
        .map(|n| borsh::to_vec(&tree.prove_key(&key(n * 991 % keys))).map_or(0, |p| p.len()))
        .sum();
    println!(
        "proof        {} bytes: {:.1?} each",
        bytes / 1000,
        start.elapsed() / 1000
    );
    let before = busy();
    let versions = rounds.len();
    drop(rounds);
    println!(
        "drop         {versions} versions: {:.1?} of processor time",
        busy() - before
    );
    drop(rocks);
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}
