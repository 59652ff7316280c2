//! Computation: done at once by the real code, answered when a machine might be done with it.
//!
//! A chain has four workers, as in the node: blocks, signatures of transactions, votes, words of
//! others.
//! Each does one job after the other; now and then one takes very long.

use crate::counts::Counts;
use crate::plan::{MILLI, Plan};
use crate::random::Random;
use skerry::chain::jobs::{Done, Job};
use skerry_types::codec::encode;

/// Which worker does a job.
pub const fn lane(job: &Job) -> usize {
    match job {
        Job::Validate(_) | Job::Execute(_) => 0,
        Job::Transactions(_) => 1,
        Job::Consensus { .. } => 2,
        Job::Inbound { .. } | Job::Link { .. } | Job::Evidence { .. } | Job::Ready { .. } => 3,
    }
}

/// When a worker that is busy until `busy` is done with its next job.
pub fn done_at(
    busy: &mut u64,
    now: u64,
    plan: &Plan,
    random: &mut Random,
    counts: &mut Counts,
) -> u64 {
    let most = plan.work_max;
    let mut takes = random.between(most.min(20), most);
    if now < plan.heal_at && random.chance(plan.slow_work) {
        counts.note("slow jobs");
        takes = random.between(20 * MILLI, 500 * MILLI);
    }
    *busy = now.max(*busy).saturating_add(takes);
    *busy
}

/// What a result says, for the trace.
pub fn describe(done: &Done) -> (&'static str, Vec<u8>) {
    match done {
        Done::Consensus { result, .. } => ("checked", format!("{:?}", result.id).into_bytes()),
        Done::Transactions { tag, results } => {
            let good = results.iter().filter(|result| result.is_ok()).count();
            (
                "transactions",
                format!("{tag} {good}/{}", results.len()).into_bytes(),
            )
        }
        Done::Validated { digest, result } => {
            let mut bytes = digest.as_bytes().to_vec();
            bytes.push(u8::from(result.is_ok()));
            ("validated", bytes)
        }
        Done::Executed(executed) => {
            let mut bytes = executed.block.digest.as_bytes().to_vec();
            bytes.extend(executed.result.state_root.as_bytes());
            ("executed", bytes)
        }
        Done::Word { word, proven } => {
            let mut bytes = word.as_bytes().to_vec();
            bytes.push(u8::from(proven.is_some()));
            ("word", bytes)
        }
        Done::Evidence(judged) => {
            let mut bytes = encode(&*judged.evidence);
            bytes.push(u8::from(judged.by.is_some()));
            ("evidence", bytes)
        }
    }
}
