//! A pool of threads for jobs that may block. It is independent of the pools of the runtimes.
//!
//! Invariants:
//! - Jobs that block do not hold up others: if no job has started for [`STALL_TIMEOUT`] while some wait, more threads
//!   are started, up to the pool's limit.
//! - A burst of short jobs takes [`CORE_THREADS`] threads, and one more that watches for a stall.
//! - A thread ends after [`IDLE_TIMEOUT`] without a job.

use std::{
    collections::VecDeque,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

type Job = Box<dyn FnOnce() + Send>;

/// How many threads run jobs as long as no job blocks.
const CORE_THREADS: usize = 4;

/// If no job has started for this long while some wait, the running jobs are considered blocked.
const STALL_TIMEOUT: Duration = Duration::from_millis(10);

/// How long a thread waits for a job before it ends.
pub(crate) const IDLE_TIMEOUT: Duration = Duration::from_secs(5);

/// A pool of threads. Clones share the pool.
#[derive(Clone)]
pub(crate) struct Pool(Arc<PoolInner>);

struct PoolInner {
    /// The name of the threads.
    name: &'static str,
    /// How many jobs may run at once.
    limit: usize,
    /// How long a thread waits for a job before it ends.
    idle: Duration,
    state: Mutex<PoolState>,
    /// Wakes a waiting thread when there is a job for it.
    work: Condvar,
}

struct PoolState {
    queue: VecDeque<Job>,
    /// The number of threads that run a job.
    busy: usize,
    /// The number of threads that wait for a job, or are about to take one.
    waiting: usize,
    /// How many threads may be busy at present.
    allowed: usize,
    /// When the last job was started.
    last_start: Instant,
}

/// What a thread does next.
enum Next {
    Run(Job),
    Wait(Duration),
}

impl Pool {
    /// Creates a pool that runs up to `limit` jobs at once, but at least one. Its threads end after `idle` without a job.
    pub(crate) fn new(name: &'static str, limit: usize, idle: Duration) -> Self {
        let limit = limit.max(1);
        let state = PoolState {
            queue: VecDeque::new(),
            busy: 0,
            waiting: 0,
            allowed: CORE_THREADS.min(limit),
            last_start: Instant::now(),
        };
        let (state, work) = (Mutex::new(state), Condvar::new());
        Self(Arc::new(PoolInner { name, limit, idle, state, work }))
    }

    /// Runs `job` on one of the pool's threads.
    pub(crate) fn run(&self, job: impl FnOnce() + Send + 'static) {
        let mut state = self.0.lock();
        state.queue.push_back(Box::new(job));
        self.0.ensure_thread(state);
    }
}

impl PoolInner {
    fn lock(&self) -> MutexGuard<'_, PoolState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes or starts a thread, if there is a job for it.
    fn ensure_thread(self: &Arc<Self>, mut state: MutexGuard<'_, PoolState>) {
        if state.queue.is_empty() || state.busy >= self.limit {
            return;
        }
        if state.waiting > 0 {
            drop(state);
            self.work.notify_one();
            return;
        }
        state.waiting += 1;
        drop(state);
        if let Err(error) = self.start_thread() {
            // The other threads go on. If there are none, the next job tries again.
            self.lock().waiting -= 1;
            tracing::error!(%error, pool = self.name, "failed to start a thread");
        }
    }

    fn start_thread(self: &Arc<Self>) -> io::Result<()> {
        let inner = self.clone();
        thread::Builder::new().name(self.name.into()).spawn(move || inner.run_thread())?;
        Ok(())
    }

    /// The body of a thread, which counts as waiting when it starts.
    fn run_thread(self: &Arc<Self>) {
        let mut state = self.lock();
        loop {
            match state.next(self) {
                Next::Run(job) => {
                    state.waiting -= 1;
                    state.busy += 1;
                    self.ensure_thread(state);
                    // The panic hook has reported a panic.
                    let _ = catch_unwind(AssertUnwindSafe(job));
                    state = self.lock();
                    state.busy -= 1;
                    state.allowed = state.allowed.min(state.busy + CORE_THREADS).min(self.limit);
                    if state.queue.is_empty() && state.waiting >= CORE_THREADS {
                        return;
                    }
                    state.waiting += 1;
                }
                Next::Wait(time) => {
                    let waited = self.work.wait_timeout(state, time);
                    let (now, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
                    state = now;
                    if timeout.timed_out() && state.queue.is_empty() {
                        state.waiting -= 1;
                        return;
                    }
                }
            }
        }
    }
}

impl PoolState {
    fn next(&mut self, pool: &PoolInner) -> Next {
        if self.queue.is_empty() || self.busy >= pool.limit {
            return Next::Wait(pool.idle);
        }
        let now = Instant::now();
        if self.busy >= self.allowed {
            let stalled = now.saturating_duration_since(self.last_start);
            if let Some(left) = STALL_TIMEOUT.checked_sub(stalled).filter(|left| !left.is_zero()) {
                return Next::Wait(left);
            }
            self.allowed = self.allowed.saturating_mul(2).min(pool.limit);
        }
        self.last_start = now;
        self.queue.pop_front().map_or(Next::Wait(pool.idle), Next::Run)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(60);
    const SHORT: Duration = Duration::from_millis(50);

    /// Runs `count` jobs that block until the sender is dropped. The receiver gets a message when one starts.
    fn block(pool: &Pool, count: usize) -> (Sender<()>, Receiver<()>) {
        let (open, gate) = channel();
        let gate = Arc::new(Mutex::new(gate));
        let (begun, begins) = channel();
        for _ in 0..count {
            let (gate, begun) = (gate.clone(), begun.clone());
            pool.run(move || {
                let _ = begun.send(());
                let _ = gate.lock().unwrap_or_else(PoisonError::into_inner).recv();
            });
        }
        (open, begins)
    }

    fn threads(pool: &Pool) -> usize {
        let state = pool.0.lock();
        state.busy + state.waiting
    }

    #[test]
    fn blocked_jobs_do_not_hold_up_others() {
        let pool = Pool::new("test", usize::MAX, SHORT);
        let (open, begins) = block(&pool, 300);
        for number in 0..300 {
            begins.recv_timeout(TIMEOUT).unwrap_or_else(|_| panic!("job {number} did not start"));
        }
        let (done, end) = channel();
        pool.run(move || done.send(()).expect("the receiver is alive"));
        end.recv_timeout(TIMEOUT).expect("a job behind those that block");
        assert!(threads(&pool) <= 302, "{} threads", threads(&pool));
        drop(open);
    }

    #[test]
    fn short_jobs_share_a_few_threads() {
        let pool = Pool::new("test", usize::MAX, SHORT);
        let (done, ends) = channel();
        let most = Arc::new(Mutex::new(0));
        for _ in 0..10_000 {
            let (done, most, same) = (done.clone(), most.clone(), pool.clone());
            pool.run(move || {
                let mut most = most.lock().unwrap_or_else(PoisonError::into_inner);
                *most = threads(&same).max(*most);
                let _ = done.send(());
            });
        }
        for _ in 0..10_000 {
            ends.recv_timeout(TIMEOUT).expect("the next job");
        }
        let most = *most.lock().unwrap_or_else(PoisonError::into_inner);
        // On a busy machine, the pool may look stalled once or twice.
        assert!(most <= 8 * CORE_THREADS, "{most} threads");
    }

    #[test]
    fn the_limit_is_respected() {
        let pool = Pool::new("test", 3, SHORT);
        let (open, begins) = block(&pool, 10);
        for _ in 0..3 {
            begins.recv_timeout(TIMEOUT).expect("a job within the limit");
        }
        assert!(begins.recv_timeout(10 * STALL_TIMEOUT).is_err(), "a job beyond the limit");
        assert_eq!(threads(&pool), 3);
        drop(open);
        for _ in 3..10 {
            begins.recv_timeout(TIMEOUT).expect("the jobs behind");
        }
    }

    #[test]
    fn idle_threads_end() {
        let pool = Pool::new("test", usize::MAX, SHORT);
        let (open, begins) = block(&pool, 50);
        for _ in 0..50 {
            begins.recv_timeout(TIMEOUT).expect("a job");
        }
        drop(open);
        let begun = Instant::now();
        while threads(&pool) > 0 {
            assert!(begun.elapsed() < TIMEOUT, "{} threads are left", threads(&pool));
            thread::yield_now();
        }
        // The next job starts a new thread.
        let (done, end) = channel();
        pool.run(move || done.send(()).expect("the receiver is alive"));
        end.recv_timeout(TIMEOUT).expect("a job");
    }
}
