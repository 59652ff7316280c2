//! Latencies, processor time and memory of the network, and the machine's bound on signatures.

use serde::Serialize;
use skerry_types::crypto::ed25519::{self, SecretKey, Signature};
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Distinct keys in the batches that the bound is measured with.
const KEYS: u32 = 4_096;
/// For how long it is measured.
const MEASURE: Duration = Duration::from_millis(600);
/// Ticks of `/proc/…/stat` in a second, on every Linux of interest.
const TICKS_PER_SECOND: f64 = 100.0;
const PAGE_BYTES: u64 = 4_096;
const HTTP_TIMEOUT: Duration = Duration::from_secs(5);
const METRICS_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// A distribution of times.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Latency {
    /// How many.
    pub count: usize,
    /// Mean, in milliseconds.
    pub mean_ms: Option<f64>,
    /// Median.
    pub p50_ms: Option<f64>,
    /// 99 of 100 are not above it.
    pub p99_ms: Option<f64>,
    /// Largest.
    pub max_ms: Option<f64>,
}

impl Latency {
    /// Of times in microseconds.
    pub(super) fn of(mut micros: Vec<u64>) -> Self {
        micros.sort_unstable();
        let count = micros.len();
        let at = |percent: usize| {
            // Nearest rank.
            let rank = count
                .saturating_mul(percent)
                .div_ceil(100)
                .saturating_sub(1);
            micros.get(rank).map(|micros| float(*micros) / 1_000.0)
        };
        let sum: u64 = micros
            .iter()
            .fold(0, |sum, micros| sum.saturating_add(*micros));
        let mean_ms = (count > 0).then(|| float(sum) / 1_000.0 / size(count));
        Self {
            count,
            mean_ms,
            p50_ms: at(50),
            p99_ms: at(99),
            max_ms: at(100),
        }
    }
}

/// What the network's processes used during the load.
#[derive(Clone, Debug, Serialize)]
pub struct Usage {
    /// Processors busy on average, over all nodes; 0 where their processes cannot be seen.
    pub processors_used: f64,
    /// Processors busy on average in the process that offers the transfers and observes.
    pub load_processors_used: f64,
    /// Share of that time in the threads that check transactions' signatures; absent where the
    /// processes cannot be seen. Blocks with transactions that a node had not seen are checked in
    /// another thread, and not counted.
    pub signature_share: Option<f64>,
    /// The nodes' own counter of time in signatures, by the load's length. It is time on the clock,
    /// not of a processor: on a machine with more to do than processors it says too much.
    pub signature_clock: f64,
    /// Resident memory of all nodes at the end.
    pub resident_bytes: u64,
    /// The most that each has held since it was started, summed up.
    pub resident_bytes_max: u64,
    /// Synced writes of all nodes per second: of databases and vote logs.
    pub syncs_per_s: f64,
}

/// One look at the network.
pub(super) struct Sample {
    at: Instant,
    cpu_s: f64,
    load_cpu_s: f64,
    signature_cpu_s: f64,
    signature_s: f64,
    resident_bytes: u64,
    resident_bytes_max: u64,
    syncs: f64,
}

/// Looks at processes and counters; what does not answer counts as nothing.
pub(super) async fn sample(pids: &[u32], metrics: &[String]) -> Option<Sample> {
    if pids.is_empty() && metrics.is_empty() {
        return None;
    }
    let (mut signature_s, mut syncs) = (0.0, 0.0);
    for url in metrics {
        match http_get(url).await {
            Ok(text) => {
                signature_s += counter(&text, "skerry_signature_nanoseconds_total") / 1e9;
                syncs += counter(&text, "skerry_database_syncs_total");
                syncs += counter(&text, "skerry_vote_log_syncs_total");
            }
            Err(error) => tracing::warn!(url, %error, "no metrics"),
        }
    }
    let stat = |pid: &u32| cpu_of(Path::new(&format!("/proc/{pid}")));
    let cpu_s = pids
        .iter()
        .filter_map(stat)
        .map(|(_, seconds)| seconds)
        .sum();
    let load_cpu_s = cpu_of(Path::new("/proc/self")).map_or(0.0, |(_, seconds)| seconds);
    let signature_cpu_s = pids.iter().map(|pid| signature_cpu_of(*pid)).sum();
    let resident_bytes = pids.iter().filter_map(|pid| resident_of(*pid)).sum();
    let most = |pid: &u32| peak_bytes(Path::new(&format!("/proc/{pid}")));
    let resident_bytes_max = pids.iter().filter_map(most).sum();
    Some(Sample {
        at: Instant::now(),
        cpu_s,
        load_cpu_s,
        signature_cpu_s,
        signature_s,
        resident_bytes,
        resident_bytes_max,
        syncs,
    })
}

/// What lies between two looks.
pub(super) fn usage(before: Option<Sample>, after: Option<Sample>) -> Option<Usage> {
    let (before, after) = (before?, after?);
    let seconds = after
        .at
        .duration_since(before.at)
        .as_secs_f64()
        .max(f64::MIN_POSITIVE);
    let cpu_s = after.cpu_s - before.cpu_s;
    let signature_cpu_s = after.signature_cpu_s - before.signature_cpu_s;
    Some(Usage {
        processors_used: cpu_s / seconds,
        load_processors_used: (after.load_cpu_s - before.load_cpu_s) / seconds,
        signature_share: (cpu_s > 0.0).then(|| signature_cpu_s / cpu_s),
        signature_clock: (after.signature_s - before.signature_s) / seconds,
        resident_bytes: after.resident_bytes,
        resident_bytes_max: after.resident_bytes_max,
        syncs_per_s: (after.syncs - before.syncs) / seconds,
    })
}

/// Name and seconds of processor time so far of a process or thread, by its folder in `/proc`:
/// user and system, fields 14 and 15 of `stat`.
fn cpu_of(folder: &Path) -> Option<(String, f64)> {
    let text = std::fs::read_to_string(folder.join("stat")).ok()?;
    // The second field, the name, may hold anything but ends with the last parenthesis.
    let (head, rest) = text.rsplit_once(')')?;
    let (_, name) = head.split_once('(')?;
    let mut fields = rest.split_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((name.to_owned(), (user + system) / TICKS_PER_SECOND))
}

/// Seconds of processor time of a process's threads for signatures. Their names are cut off after
/// 15 bytes: `shard-6-63-sign…`.
fn signature_cpu_of(pid: u32) -> f64 {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else {
        return 0.0;
    };
    let threads = threads.filter_map(|thread| cpu_of(&thread.ok()?.path()));
    threads
        .filter(|(name, _)| name.contains("-sign"))
        .map(|(_, seconds)| seconds)
        .sum()
}

fn resident_of(pid: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let pages: u64 = text.split_whitespace().nth(1)?.parse().ok()?;
    pages.checked_mul(PAGE_BYTES)
}

/// Most memory that this process has held so far.
pub(super) fn own_peak_bytes() -> Option<u64> {
    peak_bytes(Path::new("/proc/self"))
}

/// Most memory that a process has held so far, by its folder in `/proc`.
fn peak_bytes(folder: &Path) -> Option<u64> {
    let text = std::fs::read_to_string(folder.join("status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    kilobytes.checked_mul(1_024)
}

/// Sum of a counter over all its labels.
fn counter(text: &str, name: &str) -> f64 {
    let own = |line: &&str| {
        line.strip_prefix(name)
            .is_some_and(|rest| rest.starts_with('{') || rest.starts_with(' '))
    };
    let value = |line: &str| line.rsplit(' ').next()?.parse::<f64>().ok();
    text.lines().filter(own).filter_map(value).sum()
}

/// The body of a small page. The servers here close when they are asked to.
async fn http_get(url: &str) -> std::io::Result<String> {
    let invalid =
        || std::io::Error::new(std::io::ErrorKind::InvalidInput, "not http://HOST:PORT/…");
    let rest = url.strip_prefix("http://").ok_or_else(invalid)?;
    let (host, path) = rest.split_once('/').unwrap_or((rest, "metrics"));
    let exchange = async {
        let mut stream = TcpStream::connect(host).await?;
        let request = format!("GET /{path} HTTP/1.0\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut reply = Vec::new();
        stream
            .take(METRICS_BYTES_MAX)
            .read_to_end(&mut reply)
            .await?;
        Ok::<_, std::io::Error>(reply)
    };
    let reply = tokio::time::timeout(HTTP_TIMEOUT, exchange).await??;
    Ok(String::from_utf8_lossy(&reply).into_owned())
}

/// Processors of this machine.
pub(super) fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get)
}

/// What the machine's checks of signatures allow: nothing final without one of each transfer by each
/// validator of its shard.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct SignatureBound {
    /// Signatures checked in a second by one processor, in batches of distinct keys, measured now.
    pub per_processor_s: f64,
    /// The same by all processors at once.
    pub all_processors_s: f64,
    /// Transfers that all processors could check for all validators of the shard.
    pub final_per_s: f64,
}

/// Measures the bound, for shards of so many validators on this machine.
pub(super) fn signature_bound(validators_per_shard: u16) -> SignatureBound {
    let batch = SignedBatch::make();
    let per_processor_s = signature_rate(&batch, 1);
    let all_processors_s = signature_rate(&batch, processors());
    SignatureBound {
        per_processor_s,
        all_processors_s,
        final_per_s: all_processors_s / f64::from(validators_per_shard.max(1)),
    }
}

/// Messages signed by distinct keys.
struct SignedBatch {
    keys: Vec<ed25519::PublicKey>,
    signed: Vec<([u8; 32], Signature)>,
}

impl SignedBatch {
    fn make() -> Self {
        let numbered = |fill: u8, number: u32| {
            let mut bytes = [fill; 32];
            for (to, from) in bytes.iter_mut().zip(number.to_le_bytes()) {
                *to = from;
            }
            bytes
        };
        let secrets: Vec<SecretKey> = (0..KEYS)
            .map(|number| SecretKey::from_seed(numbered(7, number)))
            .collect();
        let signed = (0_u32..).zip(&secrets).map(|(number, key)| {
            let message = numbered(0, number);
            (message, key.sign(&message))
        });
        Self {
            signed: signed.collect(),
            keys: secrets.iter().map(SecretKey::public_key).collect(),
        }
    }

    fn items(&self) -> Vec<ed25519::Item<'_>> {
        let items = self.keys.iter().zip(&self.signed);
        items
            .map(|(key, (message, signature))| ed25519::Item {
                key: *key,
                known: None,
                message,
                signature: *signature,
            })
            .collect()
    }
}

/// Signatures that so many threads check in a second, each in batches of its own.
fn signature_rate(batch: &SignedBatch, threads: usize) -> f64 {
    let items = batch.items();
    let start = Instant::now();
    let check = || {
        let mut checked = 0_usize;
        while start.elapsed() < MEASURE {
            checked = checked.saturating_add(ed25519::verify_batch(&items).len());
        }
        size(checked) / start.elapsed().as_secs_f64()
    };
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads.max(1)).map(|_| scope.spawn(check)).collect();
        let rates = running.into_iter().filter_map(|thread| thread.join().ok());
        rates.sum()
    })
}

/// A count as a float; counts here are far below 2^53.
#[expect(
    clippy::cast_precision_loss,
    reason = "counts of a run are far below 2^53"
)]
pub(super) fn float(count: u64) -> f64 {
    count as f64
}

/// [`float`] of a length.
pub(super) fn size(count: usize) -> f64 {
    float(u64::try_from(count).unwrap_or(u64::MAX))
}

/// One count's share of another.
pub(super) fn share(part: usize, whole: usize) -> f64 {
    size(part) / size(whole.max(1))
}

/// The whole part of a number, 0 below that.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float cast saturates, and below zero is zero"
)]
pub(super) fn whole(number: f64) -> usize {
    number.max(0.0) as usize
}

#[cfg(test)]
mod tests {
    use super::{Latency, counter, signature_bound};

    #[test]
    fn percentiles_are_nearest_ranks() {
        let latency = Latency::of((1..=1_000).rev().map(|n| n * 1_000).collect());
        assert_eq!(latency.count, 1_000);
        assert_eq!(latency.p50_ms, Some(500.0));
        assert_eq!(latency.p99_ms, Some(990.0));
        assert_eq!(latency.max_ms, Some(1_000.0));
    }

    #[test]
    fn nothing_measured_is_nothing() {
        assert_eq!(Latency::of(Vec::new()), Latency::default());
    }

    #[test]
    fn a_counter_sums_over_labels_and_not_over_names() {
        let text = "# HELP a b\na_total{chain=\"beacon\"} 3\na_total{chain=\"x\"} 4\n\
                    a_total_more 9\n";
        assert!((counter(text, "a_total") - 7.0).abs() < f64::EPSILON);
    }

    #[test]
    fn the_bound_is_shared_by_the_validators_of_a_shard() {
        let bound = signature_bound(4);
        assert!(bound.per_processor_s > 0.0);
        assert!((bound.final_per_s * 4.0 - bound.all_processors_s).abs() < 1.0);
    }
}
