//! [`CallbackQueue`]: callbacks that run one after the other, off the tasks.

use std::{
    collections::VecDeque,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::Handler;

type Job = Box<dyn FnOnce() + Send>;

/// A queue that runs callbacks in the order in which they were pushed, one at a time, each to its end.
///
/// The queue takes a thread from the handler's [`dispatch`](Handler::dispatch) only while it has a callback to run.
/// A panic in a callback is logged, and the next callback runs. Callbacks that are in the queue run even if the last
/// clone of the queue is dropped.
///
/// Clones share one queue. A client has two: one for the results of its calls, one for watch events.
#[derive(Clone)]
pub struct CallbackQueue {
    inner: Arc<QueueInner>,
}

struct QueueInner {
    name: &'static str,
    state: Mutex<QueueState>,
    handler: Box<dyn ErasedHandler>,
}

#[derive(Default)]
struct QueueState {
    jobs: VecDeque<Job>,
    /// A worker was dispatched and has not ended.
    is_running: bool,
}

/// The methods of a [`Handler`] that a queue needs, without the handler's type.
trait ErasedHandler: Send + Sync {
    fn name(&self) -> &'static str;
    fn dispatch(&self, job: Job);
    #[track_caller]
    fn may_block(&self) -> bool;
}

impl<H: Handler> ErasedHandler for H {
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

impl CallbackQueue {
    /// Creates an empty queue on `handler`. The logs call it `name`.
    pub fn new<H: Handler>(name: &'static str, handler: H) -> Self {
        let (state, handler) = (Mutex::default(), Box::new(handler));
        Self { inner: Arc::new(QueueInner { name, state, handler }) }
    }

    /// Adds `job` at the end of the queue. Returns at once; never runs `job` on the calling thread.
    pub fn push(&self, job: impl FnOnce() + Send + 'static) {
        let mut state = self.inner.lock();
        state.jobs.push_back(Box::new(job));
        if !state.is_running {
            state.is_running = true;
            drop(state);
            self.start_worker();
        }
    }

    fn start_worker(&self) {
        let worker = Worker(Some(self.inner.clone()));
        self.inner.handler.dispatch(Box::new(move || worker.run()));
    }

    /// Checks that the calling thread may block on a result which the queue's handler produces.
    ///
    /// # Panics
    /// If [`Handler::may_block`] returns false on this thread.
    #[track_caller]
    pub fn assert_may_block(&self) {
        let handler = &self.inner.handler;
        assert!(
            handler.may_block(),
            "cannot block the current thread: it runs tasks of {}, and the call could wait forever; await the result \
             instead, or make the call on a thread for blocking work, such as one of `spawn_blocking`, or in a callback",
            handler.name(),
        );
    }
}

impl QueueInner {
    fn lock(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next_job(&self) -> Option<Job> {
        let mut state = self.lock();
        let job = state.jobs.pop_front();
        state.is_running = job.is_some();
        job
    }
}

/// Runs the jobs of a queue. A runtime that shuts down may drop it without running it; the next push then starts
/// another worker.
struct Worker(Option<Arc<QueueInner>>);

impl Worker {
    fn run(mut self) {
        let Some(queue) = self.0.take() else { return };
        while let Some(job) = queue.next_job() {
            if let Err(panic) = catch_unwind(AssertUnwindSafe(job)) {
                let message = panic
                    .downcast_ref::<&str>()
                    .copied()
                    .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
                    .unwrap_or("no message");
                tracing::error!(queue = queue.name, panic = message, "a callback panicked");
            }
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if let Some(queue) = self.0.take() {
            queue.lock().is_running = false;
        }
    }
}

impl fmt::Debug for CallbackQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CallbackQueue").field(&self.inner.name).finish()
    }
}
