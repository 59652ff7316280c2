//! When the stages of an execution ended, by worker.

use skerry_execution::parallel::{Figures, Stage, Watch};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The stages in their order.
const STAGES: [Stage; 5] = [
    Stage::Plan,
    Stage::Group,
    Stage::Assign,
    Stage::Run,
    Stage::Merge,
];

const fn index_of(stage: Stage) -> usize {
    match stage {
        Stage::Plan => 0,
        Stage::Group => 1,
        Stage::Assign => 2,
        Stage::Run => 3,
        Stage::Merge => 4,
    }
}

/// Runs from its making to the end of the last stage.
pub(super) struct Clock {
    start: Instant,
    /// Nanoseconds from the start at which each worker ended each stage; 0: it did not. Whoever
    /// reads them has been told by other means that the execution is over.
    ends: Vec<[AtomicU64; STAGES.len()]>,
    figures: Mutex<Option<Figures>>,
}

/// What a clock has seen.
#[derive(Default)]
pub(super) struct Lap {
    /// From the call to the sorted changes and all receipts.
    pub(super) total: Duration,
    /// Length of each stage, from the end of the one before to the last worker's end.
    pub(super) stages: [Duration; STAGES.len()],
    /// What a worker waited for the last one at the ends of stages, on average.
    pub(super) waited: Duration,
    pub(super) figures: Option<Figures>,
}

impl Clock {
    /// Starts now.
    pub(super) fn start(workers: usize) -> Self {
        let mut ends = Vec::new();
        ends.resize_with(workers, Default::default);
        Self {
            ends,
            figures: Mutex::new(None),
            start: Instant::now(),
        }
    }

    /// What was seen; `None` when the execution never told of its end.
    pub(super) fn lap(self) -> Option<Lap> {
        let figures = self.figures.into_inner();
        let mut lap = Lap {
            figures: figures.unwrap_or_else(PoisonError::into_inner),
            ..Lap::default()
        };
        let mut before = 0;
        for (stage, length) in STAGES.into_iter().zip(&mut lap.stages) {
            let at = self.ends.iter().filter_map(|it| it.get(index_of(stage)));
            let ends: Vec<u64> = at
                .map(|end| end.load(Ordering::Relaxed))
                .filter(|end| *end > 0)
                .collect();
            // A stage of which nobody told took no time.
            let Some(last) = ends.iter().copied().max() else {
                continue;
            };
            *length = Duration::from_nanos(last.saturating_sub(before));
            let waited = ends
                .iter()
                .map(|end| last.saturating_sub(*end))
                .sum::<u64>();
            let count = u64::try_from(ends.len()).unwrap_or(u64::MAX);
            let mean = waited.checked_div(count).unwrap_or(0);
            lap.waited = lap.waited.saturating_add(Duration::from_nanos(mean));
            before = last;
        }
        let first = self.ends.first()?.get(index_of(Stage::Merge))?;
        let end = first.load(Ordering::Relaxed);
        lap.total = Duration::from_nanos(end);
        (end > 0).then_some(lap)
    }
}

impl Watch for Clock {
    fn ended(&self, worker: usize, stage: Stage) {
        let end = u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let slot = self.ends.get(worker).and_then(|it| it.get(index_of(stage)));
        if let Some(slot) = slot {
            slot.store(end.max(1), Ordering::Relaxed);
        }
    }

    fn planned(&self, figures: &Figures) {
        let mut held = self.figures.lock().unwrap_or_else(PoisonError::into_inner);
        *held = Some(*figures);
    }
}
