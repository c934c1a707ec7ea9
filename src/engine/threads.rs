//! A persistent pool of threads, owned by a session.
//!
//! Items next to each other work on memory near each other, and what one layer writes the next one reads. So each thread
//! starts with its share of neighbouring items, the same in every job of so many, and finds much of what it reads in its own
//! caches. Whoever is done with its share takes from those of the others.
//!
//! A layer may last less than the system needs to wake a thread, so a worker that has nothing to do spins for some tens
//! of microseconds, which bridges the gap between two layers, and then sleeps: an idle pool costs nothing.

use super::EngineError;
use std::{
    cell::UnsafeCell,
    hint,
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    thread::{self, JoinHandle},
};

/// Rounds of waiting before a worker sleeps; some tens of microseconds.
const SPINS: usize = 1000;

/// Runs the items of a job on several threads, the caller's among them.
pub(super) struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

type Work = dyn Fn(usize) + Sync;

/// All that the threads share. The job is open while `generation` is odd.
///
/// A worker enters (`inside += 1`), then looks whether a job is open, and only then touches it. The caller closes the job,
/// then waits until nobody is inside, and only then forgets or replaces it. Both orders are sequentially consistent, so a
/// worker that the caller does not see inside sees the job closed.
struct Shared {
    generation: AtomicUsize,
    inside: AtomicUsize,
    /// One for each thread: the next item of its share that nobody has taken, or past the share.
    next_items: Box<[CachePadded<AtomicUsize>]>,
    panicked: AtomicBool,
    stop: AtomicBool,
    /// One for each worker: is it asleep (or about to be)?
    asleep: Box<[AtomicBool]>,
    job: UnsafeCell<Job>,
}

/// On a cache line of its own, and on the neighbour that CPUs fetch with it: threads count often.
#[repr(align(128))]
struct CachePadded<T>(T);

#[derive(Clone, Copy)]
struct Job {
    work: *const Work,
    items: usize,
}

// SAFETY: `job` is the only part that is neither atomic nor immutable; who may touch it when is said above.
unsafe impl Sync for Shared {}
// SAFETY: as for `Sync`; the pointer in `job` is only followed while the job is open.
unsafe impl Send for Shared {}

impl Pool {
    /// A pool of `threads` threads, the caller of [`Pool::run`] being one of them.
    pub(super) fn new(threads: usize) -> Result<Self, EngineError> {
        fn nothing(_: usize) {}
        let count = threads - 1;
        let shared = Arc::new(Shared {
            generation: AtomicUsize::new(0),
            inside: AtomicUsize::new(count),
            next_items: (0..threads).map(|_| CachePadded(AtomicUsize::new(0))).collect(),
            panicked: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            asleep: (0..count).map(|_| AtomicBool::new(false)).collect(),
            job: UnsafeCell::new(Job { work: &nothing, items: 0 }),
        });
        let mut pool = Self { shared, workers: Vec::with_capacity(count) };
        for worker in 0..count {
            let shared = Arc::clone(&pool.shared);
            let builder = thread::Builder::new().name(format!("engine-{}", worker + 1));
            pool.workers.push(builder.spawn(move || shared.serve(worker)).map_err(EngineError::Spawn)?);
        }
        pool.shared.wait_until_empty(); // a thread that starts allocates, which no frame should
        Ok(pool)
    }

    /// Number of threads, the caller's among them.
    pub(super) fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Calls `work` once for each item, in no particular order, and returns when all calls have returned.
    ///
    /// # Panics
    /// If a call panics, after all others have returned.
    pub(super) fn run(&mut self, items: usize, work: &(dyn Fn(usize) + Sync)) {
        if self.workers.is_empty() || items <= 1 {
            (0..items).for_each(work);
            return;
        }
        let shared = &*self.shared;
        // SAFETY: only the lifetime changes. No worker follows the pointer after the wait below, which nothing skips.
        let work: *const Work = unsafe { std::mem::transmute::<&(dyn Fn(usize) + Sync), &'static Work>(work) };
        let job = Job { work, items };
        // SAFETY: the job is closed and nobody is inside: the last run waited for that.
        unsafe { *shared.job.get() = job };
        for (thread, next) in shared.next_items.iter().enumerate() {
            next.0.store(shared.share(thread, items).start, SeqCst);
        }
        shared.generation.fetch_add(1, SeqCst);
        for (asleep, worker) in shared.asleep.iter().zip(&self.workers) {
            if asleep.swap(false, SeqCst) {
                worker.thread().unpark();
            }
        }

        // SAFETY: `work` lives until this function returns.
        let result = catch_unwind(AssertUnwindSafe(|| unsafe { shared.take_items(job, 0) }));
        shared.generation.fetch_add(1, SeqCst);
        shared.wait_until_empty();
        if let Err(panic) = result {
            resume_unwind(panic);
        }
        assert!(!shared.panicked.swap(false, SeqCst), "a thread of the engine panicked");
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stop.store(true, SeqCst);
        for worker in self.workers.drain(..) {
            worker.thread().unpark();
            // A worker catches what its work throws, so it ends in peace.
            let _ = worker.join();
        }
    }
}

impl Shared {
    /// A worker's life. It counts as inside until it is here.
    fn serve(&self, worker: usize) {
        self.inside.fetch_sub(1, SeqCst);
        let mut done = 0;
        while let Some(generation) = self.wait_for_job(worker, done) {
            done = generation;
            self.inside.fetch_add(1, SeqCst);
            let now = self.generation.load(SeqCst);
            if is_open(now) {
                done = now;
                // SAFETY: this worker is inside and saw the job open, so the caller waits for it.
                let result = catch_unwind(AssertUnwindSafe(|| unsafe { self.take_items(*self.job.get(), worker + 1) }));
                if result.is_err() {
                    self.panicked.store(true, SeqCst);
                }
            }
            self.inside.fetch_sub(1, SeqCst);
        }
    }

    /// Waits until no worker is inside.
    fn wait_until_empty(&self) {
        let mut spins = 0;
        while self.inside.load(SeqCst) > 0 {
            pause(&mut spins, thread::yield_now);
        }
    }

    /// Waits for an open job other than the one done last; `None` at the end.
    fn wait_for_job(&self, worker: usize, done: usize) -> Option<usize> {
        let mut spins = 0;
        while !self.stop.load(SeqCst) {
            let generation = self.generation.load(SeqCst);
            if is_open(generation) && generation != done {
                return Some(generation);
            }
            pause(&mut spins, || self.sleep(worker, done));
        }
        None
    }

    /// Sleeps until a job opens. The flag is up before the last look, so whoever opens a job after it sees the flag.
    fn sleep(&self, worker: usize, done: usize) {
        self.asleep[worker].store(true, SeqCst);
        let generation = self.generation.load(SeqCst);
        let awaited = is_open(generation) && generation != done;
        if !awaited && !self.stop.load(SeqCst) {
            thread::park();
        }
        self.asleep[worker].store(false, SeqCst);
    }

    /// Takes items of the job until none is left, the thread's own share first.
    ///
    /// # Safety
    /// The job is open, or its `work` alive for another reason.
    unsafe fn take_items(&self, job: Job, thread: usize) {
        let threads = self.next_items.len();
        for share in (thread..threads).chain(0..thread) {
            let end = self.share(share, job.items).end;
            let next = &self.next_items[share].0;
            // Looking costs less than counting: at the end of a job most shares are done.
            while next.load(SeqCst) < end {
                let item = next.fetch_add(1, SeqCst);
                if item < end {
                    // SAFETY: alive, as promised.
                    unsafe { (*job.work)(item) };
                }
            }
        }
    }

    /// The items that a thread starts with.
    fn share(&self, thread: usize, items: usize) -> Range<usize> {
        let start = |thread| items * thread / self.next_items.len();
        start(thread)..start(thread + 1)
    }
}

fn is_open(generation: usize) -> bool {
    generation % 2 == 1
}

/// Spins a while, then does something cheaper.
fn pause(spins: &mut usize, otherwise: impl Fn()) {
    if *spins < SPINS {
        *spins += 1;
        hint::spin_loop();
    } else {
        otherwise();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        sync::{Mutex, atomic::AtomicU32},
        time::Duration,
    };

    #[test]
    fn every_item_runs_once_in_every_job() {
        for threads in 1..=4 {
            let mut pool = Pool::new(threads).unwrap();
            for items in (0..40).chain([1000; 50]) {
                let counts: Vec<_> = (0..items).map(|_| AtomicU32::new(0)).collect();
                pool.run(items, &|item| {
                    counts[item].fetch_add(1, SeqCst);
                });
                assert!(counts.iter().all(|count| count.load(SeqCst) == 1), "{threads} threads, {items} items");
            }
        }
    }

    #[test]
    fn a_thread_starts_with_its_share() {
        let mut pool = Pool::new(3).unwrap();
        for _ in 0..50 {
            // Nobody is done before all have begun, so each thread takes one item.
            let begun = AtomicUsize::new(0);
            let names = [const { Mutex::new(None) }; 3];
            pool.run(3, &|item| {
                *names[item].lock().unwrap() = Some(thread::current().name().unwrap_or_default().to_owned());
                begun.fetch_add(1, SeqCst);
                while begun.load(SeqCst) < 3 {
                    thread::yield_now();
                }
            });
            let [_, second, third] = names.map(|name| name.into_inner().unwrap().unwrap());
            assert_eq!([second, third], ["engine-1", "engine-2"]);
        }
    }

    #[test]
    fn workers_wake_after_sleeping() {
        let mut pool = Pool::new(3).unwrap();
        for _ in 0..5 {
            while !pool.shared.asleep.iter().all(|asleep| asleep.load(SeqCst)) {
                thread::yield_now();
            }
            // Each item waits for the others, so that it takes all three threads.
            let arrived = AtomicUsize::new(0);
            pool.run(3, &|_| {
                arrived.fetch_add(1, SeqCst);
                while arrived.load(SeqCst) < 3 {
                    thread::sleep(Duration::from_micros(50));
                }
            });
            assert_eq!(arrived.load(SeqCst), 3);
        }
    }

    #[test]
    fn a_panic_reaches_the_caller_and_leaves_the_pool_usable() {
        let mut pool = Pool::new(2).unwrap();
        let result = catch_unwind(AssertUnwindSafe(|| pool.run(100, &|item| assert_ne!(item, 57))));
        assert!(result.is_err());
        let sum = AtomicUsize::new(0);
        pool.run(100, &|item| {
            sum.fetch_add(item, SeqCst);
        });
        assert_eq!(sum.load(SeqCst), 99 * 50);
    }
}
