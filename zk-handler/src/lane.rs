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
    dispatch: Box<dyn Fn(Job) + Send + Sync>,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    running: bool,
}

impl Lane {
    /// A lane on `handler`; `name` is for logs.
    pub fn new<H: Handler>(name: &'static str, handler: H) -> Self {
        let dispatch = Box::new(move |job| handler.dispatch(job));
        Self { shared: Arc::new(Shared { name, queue: Mutex::default(), dispatch }) }
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
        (self.shared.dispatch)(Box::new(move || worker.run()));
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
