//! A queue of callbacks that run one after the other, off the driver.

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, PoisonError},
};

use crate::Handler;

type Job = Box<dyn FnOnce() + Send>;

/// Runs callbacks in the order in which they were put in, one at a time, each to its end.
///
/// A lane takes a thread from the handler's [`dispatch`](Handler::dispatch) only while it has something
/// to run. A callback that panics is reported and the next one runs. Clones are the same lane.
///
/// kazoo has two such queues per client, for completions and for watches, so that neither holds up the
/// other.
#[derive(Clone)]
pub struct Lane {
    shared: Arc<Shared>,
}

struct Shared {
    name: &'static str,
    queue: Mutex<Queue>,
    runtime: Box<dyn Runtime>,
}

/// A handler without its type.
trait Runtime: Send + Sync {
    fn name(&self) -> &'static str;
    fn dispatch(&self, job: Job);
    #[track_caller]
    fn may_block(&self) -> bool;
}

impl<H: Handler> Runtime for H {
    fn name(&self) -> &'static str {
        Handler::name(self)
    }

    fn dispatch(&self, job: Job) {
        Handler::dispatch(self, job);
    }

    fn may_block(&self) -> bool {
        Handler::may_block(self)
    }
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    running: bool,
}

impl Lane {
    /// A lane on `handler`; `name` is for logs.
    pub fn new<H: Handler>(name: &'static str, handler: H) -> Self {
        let (queue, runtime) = (Mutex::default(), Box::new(handler));
        Self { shared: Arc::new(Shared { name, queue, runtime }) }
    }

    /// Puts `job` at the end of the queue.
    pub fn run(&self, job: impl FnOnce() + Send + 'static) {
        let mut queue = self.shared.lock();
        queue.jobs.push_back(Box::new(job));
        if !queue.running {
            queue.running = true;
            drop(queue);
            self.start();
        }
    }

    fn start(&self) {
        let worker = Worker(Some(self.shared.clone()));
        self.shared.runtime.dispatch(Box::new(move || worker.run()));
    }

    /// Sees to it that the calling thread may wait for what the lane's handler drives.
    ///
    /// # Panics
    /// If it must not: see [`Handler::may_block`].
    #[track_caller]
    pub fn assert_may_block(&self) {
        let runtime = &self.shared.runtime;
        assert!(
            runtime.may_block(),
            "a call that blocks was made on a thread that runs tasks of {}, where it could wait for ever: await \
             the result instead, or make the call in a thread, such as that of `spawn_blocking`, or in a callback",
            runtime.name(),
        );
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self) -> Option<Job> {
        let mut queue = self.lock();
        let job = queue.jobs.pop_front();
        queue.running = job.is_some();
        job
    }
}

/// What runs a lane's jobs. If the handler drops it unrun, as a runtime does that shuts down, the lane is
/// free to try again with the next job.
struct Worker(Option<Arc<Shared>>);

impl Worker {
    fn run(mut self) {
        let Some(lane) = self.0.take() else { return };
        while let Some(job) = lane.next() {
            if let Err(panic) = catch_unwind(AssertUnwindSafe(job)) {
                let text = panic
                    .downcast_ref::<&str>()
                    .copied()
                    .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
                    .unwrap_or("no message");
                tracing::error!(lane = lane.name, panic = text, "a callback panicked");
            }
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if let Some(lane) = self.0.take() {
            lane.lock().running = false;
        }
    }
}

impl std::fmt::Debug for Lane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Lane({})", self.shared.name)
    }
}
