//! Threads for what may block, which the runtimes' own pools have no part in.
//!
//! What holds here:
//! - a job never waits for good while others block: at worst for a few times [`STALL`], after which there are
//!   more threads, up to the pool's limit;
//! - a burst of short jobs takes [`FEW`] threads, and one that watches over them;
//! - a thread that has had nothing to do for a while ([`IDLE`]) ends.

use std::{
    collections::VecDeque,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

type Job = Box<dyn FnOnce() + Send>;

/// How many threads run jobs as long as those do not block.
const FEW: usize = 4;

/// If no job has begun for so long while some wait, those that run are taken to block.
const STALL: Duration = Duration::from_millis(10);

/// How long a thread waits for work before it ends.
pub(crate) const IDLE: Duration = Duration::from_secs(5);

/// A pool of threads. Clones are the same pool.
#[derive(Clone)]
pub(crate) struct Pool(Arc<Shared>);

struct Shared {
    /// The threads' name.
    name: &'static str,
    /// How many jobs may run at once.
    limit: usize,
    /// How long a thread waits for work before it ends.
    idle: Duration,
    state: Mutex<State>,
    /// There is something to do for a thread that waits.
    work: Condvar,
}

struct State {
    queue: VecDeque<Job>,
    /// Threads that run a job.
    busy: usize,
    /// Threads that wait, or are about to look for a job.
    waiting: usize,
    /// How many may be busy for now.
    allowed: usize,
    /// When the last job was begun.
    begun: Instant,
}

/// What a thread is to do next.
enum Next {
    Run(Job),
    Wait(Duration),
}

impl Pool {
    /// A pool that runs up to `limit` jobs at once, at least one, and whose threads end after `idle` without work.
    pub(crate) fn new(name: &'static str, limit: usize, idle: Duration) -> Self {
        let limit = limit.max(1);
        let state = State {
            queue: VecDeque::new(),
            busy: 0,
            waiting: 0,
            allowed: FEW.min(limit),
            begun: Instant::now(),
        };
        let (state, work) = (Mutex::new(state), Condvar::new());
        Self(Arc::new(Shared { name, limit, idle, state, work }))
    }

    /// Runs `job`, on one of the pool's threads.
    pub(crate) fn run(&self, job: impl FnOnce() + Send + 'static) {
        let mut state = self.0.lock();
        state.queue.push_back(Box::new(job));
        self.0.staff(state);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sees to it that a thread looks after the jobs that wait.
    fn staff(self: &Arc<Self>, mut state: MutexGuard<'_, State>) {
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
        if let Err(error) = self.start() {
            // The threads that there are go on; if there are none, the next job tries again.
            self.lock().waiting -= 1;
            tracing::error!(%error, pool = self.name, "no thread can be started");
        }
    }

    fn start(self: &Arc<Self>) -> io::Result<()> {
        let shared = self.clone();
        thread::Builder::new().name(self.name.into()).spawn(move || shared.work())?;
        Ok(())
    }

    /// A thread, which counts as waiting when it begins.
    fn work(self: &Arc<Self>) {
        let mut state = self.lock();
        loop {
            match state.next(self) {
                Next::Run(job) => {
                    state.waiting -= 1;
                    state.busy += 1;
                    self.staff(state);
                    // The hook for panics has reported it.
                    let _ = catch_unwind(AssertUnwindSafe(job));
                    state = self.lock();
                    state.busy -= 1;
                    state.allowed = state.allowed.min(state.busy + FEW).min(self.limit);
                    if state.queue.is_empty() && state.waiting >= FEW {
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

impl State {
    fn next(&mut self, pool: &Shared) -> Next {
        if self.queue.is_empty() || self.busy >= pool.limit {
            return Next::Wait(pool.idle);
        }
        let now = Instant::now();
        if self.busy >= self.allowed {
            let stalled = now.saturating_duration_since(self.begun);
            if let Some(left) = STALL.checked_sub(stalled).filter(|left| !left.is_zero()) {
                return Next::Wait(left);
            }
            self.allowed = self.allowed.saturating_mul(2).min(pool.limit);
        }
        self.begun = now;
        self.queue.pop_front().map_or(Next::Wait(pool.idle), Next::Run)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);
    const SHORT: Duration = Duration::from_millis(50);

    /// Starts `count` jobs that block until the sender is dropped, and says when each has begun.
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
    fn jobs_that_block_hold_up_no_others() {
        let pool = Pool::new("test", usize::MAX, SHORT);
        let (open, begins) = block(&pool, 300);
        for number in 0..300 {
            begins.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("job {number} does not begin"));
        }
        let (done, end) = channel();
        pool.run(move || done.send(()).expect("somebody waits"));
        end.recv_timeout(PATIENCE).expect("a job behind those that block");
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
            ends.recv_timeout(PATIENCE).expect("the next job");
        }
        let most = *most.lock().unwrap_or_else(PoisonError::into_inner);
        // A machine that has other things to do may look stalled once or twice.
        assert!(most <= 8 * FEW, "{most} threads");
    }

    #[test]
    fn a_limit_is_kept() {
        let pool = Pool::new("test", 3, SHORT);
        let (open, begins) = block(&pool, 10);
        for _ in 0..3 {
            begins.recv_timeout(PATIENCE).expect("a job within the limit");
        }
        assert!(begins.recv_timeout(10 * STALL).is_err(), "a job beyond the limit");
        assert_eq!(threads(&pool), 3);
        drop(open);
        for _ in 3..10 {
            begins.recv_timeout(PATIENCE).expect("the jobs behind");
        }
    }

    #[test]
    fn threads_end_when_there_is_nothing_to_do() {
        let pool = Pool::new("test", usize::MAX, SHORT);
        let (open, begins) = block(&pool, 50);
        for _ in 0..50 {
            begins.recv_timeout(PATIENCE).expect("a job");
        }
        drop(open);
        let begun = Instant::now();
        while threads(&pool) > 0 {
            assert!(begun.elapsed() < PATIENCE, "{} threads are left", threads(&pool));
            thread::yield_now();
        }
        // And there are new ones when there is.
        let (done, end) = channel();
        pool.run(move || done.send(()).expect("somebody waits"));
        end.recv_timeout(PATIENCE).expect("a job");
    }
}
