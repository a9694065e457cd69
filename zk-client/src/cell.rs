//! [`Cell`], where a result is stored, with all that wait for it: wakers of tasks, blocked threads and callbacks.
//!
//! A cell is the only allocation that a request needs for itself. The driver completes it, and an
//! [`AsyncResult`](crate::AsyncResult), a [`Watch`](crate::Watch) or an [`Event`](crate::Event) reads it.

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use zk_handler::CallbackQueue;

use crate::Error;

/// Names a callback, for [`AsyncResult::remove_callback`](crate::AsyncResult::remove_callback).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallbackId(u64);

struct Callback<T> {
    id: CallbackId,
    function: SharedFunction<T>,
    /// Copies the value for this callback. A function pointer, so that `T: Clone` is needed only where there are
    /// callbacks.
    clone: fn(&Result<T, Error>) -> Result<T, Error>,
}

/// The function of a callback, until it is called or removed. While the callback is queued, the cell and the queue
/// share it.
type SharedFunction<T> = Arc<Mutex<Option<Function<T>>>>;

type Function<T> = Box<dyn FnOnce(Result<T, Error>) + Send>;

fn take_function<T>(function: &SharedFunction<T>) -> Option<Function<T>> {
    function.lock().unwrap_or_else(PoisonError::into_inner).take()
}

pub(crate) struct Cell<T> {
    state: Mutex<State<T>>,
    completed: Condvar,
}

struct State<T> {
    /// `None` before the result is set, and after it is taken.
    value: Option<Result<T, Error>>,
    is_complete: bool,
    wakers: Wakers,
    blocked_threads: usize,
    callbacks: Vec<Callback<T>>,
    last_callback: u64,
}

impl<T> Cell<T> {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                value: None,
                is_complete: false,
                wakers: Wakers::default(),
                blocked_threads: 0,
                callbacks: Vec::new(),
                last_callback: 0,
            }),
            completed: Condvar::new(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.lock().is_complete
    }

    /// Whether the result is stored here and `condition` is true of it.
    pub(crate) fn is_complete_and(
        &self,
        condition: impl FnOnce(&Result<T, Error>) -> bool,
    ) -> bool {
        self.lock().value.as_ref().is_some_and(condition)
    }

    /// Moves the result out of the cell. The cell must be complete.
    pub(crate) fn take(&self) -> Result<T, Error> {
        self.lock().take()
    }
}

impl<T: Send + 'static> Cell<T> {
    /// Sets the result and returns true. If the cell is complete already, does nothing and returns false.
    ///
    /// Callbacks are added to `callback_queue`; without one, they are called here. The wakers of waiting tasks are
    /// moved to `wakers`, to be woken when no lock is held.
    pub(crate) fn complete(
        &self,
        value: Result<T, Error>,
        callback_queue: Option<&CallbackQueue>,
        wakers: &mut Wakers,
    ) -> bool {
        let mut state = self.lock();
        if state.is_complete {
            return false;
        }
        for Callback { function, clone, .. } in &state.callbacks {
            queue(callback_queue, function.clone(), clone(&value));
        }
        state.value = Some(value);
        state.is_complete = true;
        wakers.append(&mut state.wakers);
        let has_blocked_threads = state.blocked_threads > 0;
        drop(state);
        if has_blocked_threads {
            self.completed.notify_all();
        }
        true
    }

    /// Blocks the thread until the cell is complete or `timeout` has passed. Returns whether it is complete.
    ///
    /// # Panics
    /// If the thread would block, and `callback_queue` says that this thread must not.
    #[track_caller]
    pub(crate) fn wait(
        &self,
        timeout: Option<Duration>,
        callback_queue: Option<&CallbackQueue>,
    ) -> bool {
        if self.is_complete() || timeout.is_some_and(|timeout| timeout.is_zero()) {
            return self.is_complete();
        }
        if let Some(callback_queue) = callback_queue {
            callback_queue.assert_may_block();
        }
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut state = self.lock();
        state.blocked_threads += 1;
        while !state.is_complete {
            state = match deadline {
                None => self.completed.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        break;
                    }
                    let waited = self.completed.wait_timeout(state, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        state.blocked_threads -= 1;
        state.is_complete
    }

    /// Polls for the result, and moves it out of the cell.
    pub(crate) fn poll_take(&self, context: &mut Context<'_>) -> Poll<Result<T, Error>> {
        let mut state = self.lock();
        if state.is_complete {
            return Poll::Ready(state.take());
        }
        state.wakers.register(context.waker());
        Poll::Pending
    }

    /// Removes a callback. Returns true if it was not called, and will not be.
    pub(crate) fn remove_callback(&self, id: CallbackId) -> bool {
        let removed = {
            let mut state = self.lock();
            let index = state.callbacks.iter().position(|callback| callback.id == id);
            index.map(|index| state.callbacks.remove(index).function)
        };
        // The function is dropped with no lock held: it may own anything.
        removed.is_some_and(|function| take_function(&function).is_some())
    }
}

impl<T: Clone + Send + 'static> Cell<T> {
    /// Polls for the result, and leaves it in the cell for others.
    pub(crate) fn poll_clone(&self, context: &mut Context<'_>) -> Poll<Result<T, Error>> {
        let mut state = self.lock();
        match &state.value {
            Some(value) => Poll::Ready(value.clone()),
            None => {
                state.wakers.register(context.waker());
                Poll::Pending
            }
        }
    }

    /// A copy of the result, if it is stored here.
    pub(crate) fn peek(&self) -> Option<Result<T, Error>> {
        self.lock().value.clone()
    }

    /// Adds a callback. It is queued now if the cell is complete, and otherwise when the cell completes.
    pub(crate) fn on_complete(
        &self,
        callback_queue: Option<&CallbackQueue>,
        callback: impl FnOnce(Result<T, Error>) + Send + 'static,
    ) -> CallbackId {
        let mut state = self.lock();
        state.last_callback += 1;
        let id = CallbackId(state.last_callback);
        let function: SharedFunction<T> = Arc::new(Mutex::new(Some(Box::new(callback))));
        state.callbacks.push(Callback { id, function: function.clone(), clone: Clone::clone });
        let value = state.value.clone();
        drop(state);
        if let Some(value) = value {
            queue(callback_queue, function, value);
        }
        id
    }
}

impl<T> State<T> {
    fn take(&mut self) -> Result<T, Error> {
        let taken = || Err(Error::invalid("the result was already taken"));
        self.value.take().unwrap_or_else(taken)
    }
}

/// Queues a call of `function` with `value`. A function that is removed before its turn is not called.
fn queue<T: Send + 'static>(
    callback_queue: Option<&CallbackQueue>,
    function: SharedFunction<T>,
    value: Result<T, Error>,
) {
    let job = move || {
        if let Some(function) = take_function(&function) {
            function(value);
        }
    };
    match callback_queue {
        Some(callback_queue) => callback_queue.push(job),
        None => job(),
    }
}

/// A set of wakers, with one of each task. The first needs no allocation.
#[derive(Default)]
pub(crate) struct Wakers {
    first: Option<Waker>,
    more: Vec<Waker>,
}

impl Wakers {
    pub(crate) fn register(&mut self, waker: &Waker) {
        match &mut self.first {
            None => self.first = Some(waker.clone()),
            Some(first) if first.will_wake(waker) => {}
            Some(_) if self.more.iter().any(|other| other.will_wake(waker)) => {}
            Some(_) => self.more.push(waker.clone()),
        }
    }

    /// Moves all wakers of `other` to this set. A waker is compared with the last one only: the results that one task
    /// waits for complete in a row.
    pub(crate) fn append(&mut self, other: &mut Self) {
        for waker in other.first.take().into_iter().chain(other.more.drain(..)) {
            let last = self.more.last().or(self.first.as_ref());
            match last {
                None => self.first = Some(waker),
                Some(last) if last.will_wake(&waker) => {}
                Some(_) => self.more.push(waker),
            }
        }
    }

    /// Wakes all tasks, and empties the set. Call it with no lock held.
    pub(crate) fn wake(&mut self) {
        if let Some(first) = self.first.take() {
            first.wake();
        }
        for waker in self.more.drain(..) {
            waker.wake();
        }
    }
}
