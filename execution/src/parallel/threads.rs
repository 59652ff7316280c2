//! Threads and the few ways in which they wait for each other.
//!
//! All of it stands on flags that are raised once, so that a checker of schedules can put its own
//! in their place. Who waits looks at the flag again and again and lets others have the core in
//! between: what is waited for mostly takes less than to sleep and to be woken.

use super::WORKERS_MAX;
use crate::overlay::Entry;
use rayon::{ThreadPool, ThreadPoolBuilder};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

/// Where threads come from: the operating system, or a checker of schedules.
pub(crate) trait Platform {
    /// Its flag.
    type Flag: Flag;

    /// Runs `work` for each number below `count`, each on a thread of its own, the first on this
    /// one. Gives what each returned; where threads cannot be had, `None` for all. Where one gives
    /// `None` or panics, the alarm is raised.
    fn run_all<T: Send>(
        count: usize,
        alarm: &Alarm<Self>,
        work: impl Fn(usize) -> Option<T> + Sync,
    ) -> Vec<Option<T>>
    where
        Self: Sized;

    /// Lets others go on; `round` counts the calls of one wait.
    fn pause(round: u32);
}

/// Raised once, seen by all; what was done before it is raised is seen by who sees it raised.
pub(crate) trait Flag: Default + Send + Sync {
    /// Raises it.
    fn raise(&self);
    /// Whether it is raised.
    fn is_raised(&self) -> bool;
}

impl Flag for AtomicBool {
    fn raise(&self) {
        self.store(true, Ordering::Release);
    }

    fn is_raised(&self) -> bool {
        self.load(Ordering::Acquire)
    }
}

/// Raised when a worker will not go on, so that nobody waits for it.
pub(crate) struct Alarm<P: Platform>(P::Flag);

impl<P: Platform> Default for Alarm<P> {
    fn default() -> Self {
        Self(P::Flag::default())
    }
}

impl<P: Platform> Alarm<P> {
    /// Stops all who wait.
    pub(crate) fn raise(&self) {
        self.0.raise();
    }

    /// Raises the alarm when the thread panics while the guard lives.
    pub(crate) const fn guard(&self) -> Guard<'_, P> {
        Guard(self)
    }
}

/// See [`Alarm::guard`].
pub(crate) struct Guard<'a, P: Platform>(&'a Alarm<P>);

impl<P: Platform> Drop for Guard<'_, P> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.raise();
        }
    }
}

/// Waits for a flag; `None` when the alarm is raised instead.
fn wait<P: Platform>(flag: &P::Flag, alarm: &Alarm<P>) -> Option<()> {
    let mut round = 0_u32;
    while !flag.is_raised() {
        if alarm.0.is_raised() {
            return None;
        }
        P::pause(round);
        round = round.saturating_add(1);
    }
    Some(())
}

/// Lets nobody through before all are there.
pub(crate) struct Gate<P: Platform> {
    arrived: Vec<P::Flag>,
}

impl<P: Platform> Gate<P> {
    pub(crate) fn new(workers: usize) -> Self {
        Self {
            arrived: (0..workers).map(|_| P::Flag::default()).collect(),
        }
    }

    /// Arrives and waits for the others; `None` when the alarm is raised instead.
    pub(crate) fn pass(&self, worker: usize, alarm: &Alarm<P>) -> Option<()> {
        self.arrived.get(worker)?.raise();
        self.arrived
            .iter()
            .try_for_each(|flag| wait::<P>(flag, alarm))
    }
}

/// What one worker leaves for another.
pub(crate) struct Handover<P: Platform> {
    entries: Mutex<Vec<Entry>>,
    is_there: P::Flag,
}

impl<P: Platform> Default for Handover<P> {
    fn default() -> Self {
        Self {
            entries: Mutex::default(),
            is_there: P::Flag::default(),
        }
    }
}

impl<P: Platform> Handover<P> {
    /// Leaves it.
    pub(crate) fn give(&self, entries: Vec<Entry>) {
        // The lock is never waited for: it is taken once before the flag is raised and once after.
        *self.entries.lock().unwrap_or_else(PoisonError::into_inner) = entries;
        self.is_there.raise();
    }

    /// Waits for it and takes it; `None` when the alarm is raised instead.
    pub(crate) fn take(&self, alarm: &Alarm<P>) -> Option<Vec<Entry>> {
        wait::<P>(&self.is_there, alarm)?;
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        Some(std::mem::take(&mut entries))
    }
}

/// Threads of the operating system, kept from block to block: a new one has nothing in its caches
/// and no memory of its own.
pub(crate) struct Os;

/// Looks at a flag so often before it lets another thread have the core: some ten microseconds.
const SPINS: u32 = 256;
/// Threads that are kept; they sleep while there is nothing to do.
const KEPT: usize = WORKERS_MAX - 1;

/// The kept threads, for one block at a time: who waits in one of them for another needs it to run.
struct Kept {
    threads: ThreadPool,
    turn: Mutex<()>,
}

impl Kept {
    /// `None` when the system gives no threads.
    fn get() -> Option<&'static Self> {
        static KEPT_THREADS: OnceLock<Option<Kept>> = OnceLock::new();
        let start = || {
            let builder = ThreadPoolBuilder::new().num_threads(KEPT);
            let threads = builder.thread_name(|_| "execution".to_owned()).build();
            Some(Self {
                threads: threads.ok()?,
                turn: Mutex::new(()),
            })
        };
        KEPT_THREADS.get_or_init(start).as_ref()
    }
}

impl Platform for Os {
    type Flag = AtomicBool;

    fn run_all<T: Send>(
        count: usize,
        alarm: &Alarm<Self>,
        work: impl Fn(usize) -> Option<T> + Sync,
    ) -> Vec<Option<T>> {
        let guarded = |worker: usize| {
            let _guard = alarm.guard();
            let done = work(worker);
            if done.is_none() {
                alarm.raise();
            }
            done
        };
        if count <= 1 {
            return vec![guarded(0)];
        }
        // Who waits for the kept threads in a thread of another pool may be given other work there,
        // and that wait for these threads, too.
        let may_wait = count <= WORKERS_MAX && rayon::current_thread_index().is_none();
        let Some(kept) = Kept::get().filter(|_| may_wait) else {
            return (0..count).map(|_| None).collect();
        };
        let _turn = kept.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let mut done: Vec<Option<T>> = (0..count).map(|_| None).collect();
        let (guarded, mut places) = (&guarded, done.iter_mut().enumerate());
        let first = places.next();
        kept.threads.in_place_scope(|scope| {
            for (worker, place) in places {
                scope.spawn(move |_| *place = guarded(worker));
            }
            if let Some((worker, place)) = first {
                *place = guarded(worker);
            }
        });
        done
    }

    fn pause(round: u32) {
        if round < SPINS {
            std::hint::spin_loop();
        } else {
            std::thread::yield_now();
        }
    }
}
