//! [`AsyncResult`], the handle that every call returns.
//!
//! The cell behind a handle is all the memory that a request has of its own. The driver completes it;
//! one future, any number of blocked threads and any number of callbacks may wait on it.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use zk_handler::CallbackQueue;
use zk_proto::session::Outcome;

use crate::{Error, ErrorKind, Event};

/// The result of a call that was sent already: kazoo's `IAsyncResult`.
///
/// It can be awaited in any runtime, waited on without one, and given callbacks. It may also be
/// dropped: the request goes out all the same.
///
/// ```no_run
/// # async fn example(zk: zk_client::Client) -> Result<(), zk_client::Error> {
/// let a = zk.get("/a"); // both are on their way now
/// let b = zk.get("/b");
/// let (data, stat) = a.await?; // in async code
/// let (data, stat) = b.get()?; // in a thread that may block
/// zk.get("/c").on_complete(|result| println!("{result:?}")); // called when it is there
/// # Ok(())
/// # }
/// ```
///
/// What is delivered, and in which order: results are complete in the order in which the server
/// answered, and a watch's event before the results that the server sent after it. Callbacks of results
/// run in that order too, one at a time, on a queue of their own.
#[must_use = "the request is on its way, but its result is lost if nobody looks; `drop` it to say so"]
pub struct AsyncResult<T> {
    cell: Arc<Cell<T>>,
    callback_queue: Option<CallbackQueue>,
    /// The outcome of what is given up before its result is there.
    given_up: Option<Outcome>,
    /// Tells work that goes on in a task that nobody wants its result any more.
    abandon: Option<Event>,
}

/// Names a callback, for [`AsyncResult::remove_callback`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallbackId(u64);

/// A callback, and how to make a value for it: several may want one.
struct Callback<T> {
    id: CallbackId,
    call: Call<T>,
    clone: fn(&Result<T, Error>) -> Result<T, Error>,
}

type Function<T> = Box<dyn FnOnce(Result<T, Error>) + Send>;

/// What to call, until it is called or removed. While it is queued, its handle and the queue share it.
type Call<T> = Arc<Mutex<Option<Function<T>>>>;

fn take<T>(call: &Call<T>) -> Option<Function<T>> {
    call.lock().unwrap_or_else(PoisonError::into_inner).take()
}

pub(crate) struct Cell<T> {
    state: Mutex<State<T>>,
    done: Condvar,
}

struct State<T> {
    value: Option<Result<T, Error>>,
    complete: bool,
    wakers: Wakers,
    blocked: usize,
    callbacks: Vec<Callback<T>>,
    last_callback: u64,
}

impl<T> Cell<T> {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                value: None,
                complete: false,
                wakers: Wakers::default(),
                blocked: 0,
                callbacks: Vec::new(),
                last_callback: 0,
            }),
            done: Condvar::new(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.lock().complete
    }
}

impl<T: Send + 'static> Cell<T> {
    /// Sets the result; the first one counts. Callbacks go to `callback_queue`, wakers to `wakers`. Returns whether
    /// it was the first.
    pub(crate) fn complete(
        &self,
        value: Result<T, Error>,
        callback_queue: Option<&CallbackQueue>,
        wakers: &mut Wakers,
    ) -> bool {
        let mut state = self.lock();
        if state.complete {
            return false;
        }
        for Callback { call, clone, .. } in &state.callbacks {
            queue(callback_queue, call.clone(), clone(&value));
        }
        state.value = Some(value);
        state.complete = true;
        wakers.append(&mut state.wakers);
        let blocked = state.blocked > 0;
        drop(state);
        if blocked {
            self.done.notify_all();
        }
        true
    }

    /// Blocks the thread until the result is there, or `timeout` is over. Returns whether it is there.
    ///
    /// # Panics
    /// If that takes waiting, and `callback_queue` says that this thread must not.
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
        state.blocked += 1;
        while !state.complete {
            state = match deadline {
                None => self.done.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        break;
                    }
                    let waited = self.done.wait_timeout(state, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        state.blocked -= 1;
        state.complete
    }

    /// The result, taken out of the cell.
    fn poll_take(&self, context: &mut Context<'_>) -> Poll<Result<T, Error>> {
        let mut state = self.lock();
        if state.complete {
            return Poll::Ready(state.take());
        }
        state.wakers.register(context.waker());
        Poll::Pending
    }
}

impl<T: Clone + Send + 'static> Cell<T> {
    /// The result, left in the cell for others.
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

    pub(crate) fn peek(&self) -> Option<Result<T, Error>> {
        self.lock().value.clone()
    }

    pub(crate) fn on_complete(
        &self,
        callback_queue: Option<&CallbackQueue>,
        callback: impl FnOnce(Result<T, Error>) + Send + 'static,
    ) -> CallbackId {
        let mut state = self.lock();
        state.last_callback += 1;
        let id = CallbackId(state.last_callback);
        let call: Call<T> = Arc::new(Mutex::new(Some(Box::new(callback))));
        state.callbacks.push(Callback { id, call: call.clone(), clone: Clone::clone });
        let value = state.value.clone();
        drop(state);
        if let Some(value) = value {
            queue(callback_queue, call, value);
        }
        id
    }
}

impl<T> State<T> {
    fn take(&mut self) -> Result<T, Error> {
        self.value.take().unwrap_or_else(|| Err(Error::invalid("the result was taken before")))
    }
}

/// Has `call` called with `value`, if it is still there by then.
fn queue<T: Send + 'static>(
    callback_queue: Option<&CallbackQueue>,
    call: Call<T>,
    value: Result<T, Error>,
) {
    let job = move || {
        if let Some(call) = take(&call) {
            call(value);
        }
    };
    match callback_queue {
        Some(callback_queue) => callback_queue.push(job),
        None => job(),
    }
}

/// Wakers, each task's once. The first needs no memory of its own.
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

    /// Takes over all of `other`. A task that waits for many results has them complete in a row, so it
    /// is enough to compare with the last.
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

    /// Wakes them all. Call it with no lock held.
    pub(crate) fn wake(&mut self) {
        if let Some(first) = self.first.take() {
            first.wake();
        }
        for waker in self.more.drain(..) {
            waker.wake();
        }
    }
}

impl<T: Clone + Send + 'static> AsyncResult<T> {
    /// `given_up` is the outcome that it has if it is given up before its result is there; `None` if it is
    /// no request.
    pub(crate) fn new(
        cell: Arc<Cell<T>>,
        callback_queue: CallbackQueue,
        given_up: Option<Outcome>,
    ) -> Self {
        Self { cell, callback_queue: Some(callback_queue), given_up, abandon: None }
    }

    /// The result of a request. It goes out, or is out already, whoever gives it up.
    pub(crate) fn of_request(cell: Arc<Cell<T>>, callback_queue: CallbackQueue) -> Self {
        Self::new(cell, callback_queue, Some(Outcome::Unknown))
    }

    /// A result that is there already.
    pub(crate) fn of(value: Result<T, Error>, callback_queue: Option<CallbackQueue>) -> Self {
        let cell = Cell::new();
        cell.complete(value, None, &mut Wakers::default());
        Self { cell, callback_queue, given_up: None, abandon: None }
    }

    /// Has `abandon` set when this handle is cancelled or dropped before its result is there.
    pub(crate) fn abandoned_by(mut self, abandon: Event) -> Self {
        self.abandon = Some(abandon);
        self
    }

    /// Whether the result is there, good or bad.
    #[must_use]
    pub fn ready(&self) -> bool {
        self.cell.is_complete()
    }

    /// Whether the result is there and good.
    #[must_use]
    pub fn successful(&self) -> bool {
        matches!(self.cell.lock().value, Some(Ok(_)))
    }

    /// The value, if it is there and good.
    #[must_use]
    pub fn value(&self) -> Option<T> {
        self.get_nowait()?.ok()
    }

    /// The error, if it is there.
    #[must_use]
    pub fn exception(&self) -> Option<Error> {
        self.get_nowait()?.err()
    }

    /// The result, if it is there.
    #[must_use]
    pub fn get_nowait(&self) -> Option<Result<T, Error>> {
        self.cell.peek()
    }

    /// Blocks the thread until the result is there, and returns it.
    ///
    /// It is for threads and callbacks, not for tasks of an async runtime, where it may wait for ever: it blocks a
    /// thread that the client may need.
    ///
    /// # Errors
    /// The request's.
    ///
    /// # Panics
    /// If the result is not there yet, and the thread is known to run tasks of the client's runtime. On tokio that is
    /// known of all tasks, and of what `block_on` runs; on smol and async-std of threads on which the client has run;
    /// with plain threads, of the I/O thread.
    #[track_caller]
    pub fn get(self) -> Result<T, Error> {
        self.wait(None);
        self.cell.lock().take()
    }

    /// Blocks the thread until the result is there, and returns it; or fails when `timeout` is over first.
    /// The request goes on then, and the result can still be waited for.
    ///
    /// # Errors
    /// The request's, or [`Timeout`](crate::ErrorKind::Timeout).
    ///
    /// # Panics
    /// As [`get`](Self::get).
    #[track_caller]
    pub fn get_timeout(&self, timeout: Duration) -> Result<T, Error> {
        self.wait(timeout);
        let result = self.cell.peek();
        result.unwrap_or_else(|| Err(Error::timeout("the result", timeout)))
    }

    /// Blocks the thread until the result is there, or `timeout` is over (`None`: for ever). Returns
    /// whether it is there. The request goes on either way.
    ///
    /// # Panics
    /// As [`get`](Self::get).
    #[track_caller]
    pub fn wait(&self, timeout: impl Into<Option<Duration>>) -> bool {
        self.cell.wait(timeout.into(), self.callback_queue.as_ref())
    }

    /// # Panics
    /// Where a thread must not wait for the client.
    #[track_caller]
    pub(crate) fn assert_may_block(&self) {
        if let Some(callback_queue) = &self.callback_queue {
            callback_queue.assert_may_block();
        }
    }

    /// Has `callback` called with the result once that is there, on the client's queue of completions:
    /// off the client's I/O, in order, at once if the result is there already.
    ///
    /// The callback may block; then later ones wait. Dropping this handle does not remove it.
    #[doc(alias = "rawlink")]
    pub fn on_complete(
        &self,
        callback: impl FnOnce(Result<T, Error>) + Send + 'static,
    ) -> CallbackId {
        self.cell.on_complete(self.callback_queue.as_ref(), callback)
    }

    /// Gives up waiting: the result is [`Cancelled`](crate::ErrorKind::Cancelled), unless it was there
    /// already. Returns whether it was not.
    ///
    /// A request is done all the same, so that its [`outcome`](Error::outcome) is
    /// [`Unknown`](Outcome::Unknown); work that goes on, such as waiting for a lock, is stopped and undone.
    pub fn cancel(&self) -> bool {
        let mut wakers = Wakers::default();
        let cancelled = self.cell.complete(
            Err(Error::cancelled(self.given_up)),
            self.callback_queue.as_ref(),
            &mut wakers,
        );
        wakers.wake();
        if let Some(abandon) = &self.abandon {
            abandon.set();
        }
        cancelled
    }

    /// Whether it was [cancelled](Self::cancel).
    #[must_use]
    pub fn cancelled(&self) -> bool {
        let state = self.cell.lock();
        matches!(&state.value, Some(Err(error)) if error.kind() == ErrorKind::Cancelled)
    }

    /// Removes a callback that was not called yet, even if it is queued already; says whether it did.
    /// It is not called after that.
    #[doc(alias = "unlink")]
    pub fn remove_callback(&self, id: CallbackId) -> bool {
        let removed = {
            let mut state = self.cell.lock();
            let at = state.callbacks.iter().position(|callback| callback.id == id);
            at.map(|at| state.callbacks.remove(at).call)
        };
        // What the callback holds is dropped with no lock held.
        removed.is_some_and(|call| take(&call).is_some())
    }
}

/// A result that is there already, good or bad: for code that is tested without a server. Callbacks of it are
/// called at once, by the thread that adds them.
///
/// ```
/// use zk_client::{AsyncResult, Error, ErrorKind};
///
/// let good = AsyncResult::from(Ok(7));
/// let bad: AsyncResult<i32> = Err(Error::new(ErrorKind::ConnectionLoss, "as in a test")).into();
/// assert_eq!((good.get()?, bad.exception().map(|error| error.kind())), (7, Some(ErrorKind::ConnectionLoss)));
/// # Ok::<(), Error>(())
/// ```
impl<T: Clone + Send + 'static> From<Result<T, Error>> for AsyncResult<T> {
    fn from(result: Result<T, Error>) -> Self {
        Self::of(result, None)
    }
}

impl<T> Drop for AsyncResult<T> {
    fn drop(&mut self) {
        if let Some(abandon) = self.abandon.take() {
            abandon.set();
        }
    }
}

impl<T: Clone + Send + 'static> Future for AsyncResult<T> {
    type Output = Result<T, Error>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.cell.poll_take(context)
    }
}

impl<T> fmt::Debug for AsyncResult<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.cell.lock();
        f.write_str(match (&state.value, state.complete) {
            (Some(Ok(_)), _) => "AsyncResult(ok)",
            (Some(Err(_)), _) => "AsyncResult(error)",
            (None, true) => "AsyncResult(taken)",
            (None, false) => "AsyncResult(pending)",
        })
    }
}

/// The other end of an [`AsyncResult`] that is worked out by a task. Dropped unkept, as when the runtime
/// shuts down, it fails the result.
pub(crate) struct Promise<T: Clone + Send + 'static> {
    cell: Arc<Cell<T>>,
    callback_queue: CallbackQueue,
    given_up: Option<Outcome>,
}

impl<T: Clone + Send + 'static> Promise<T> {
    /// `given_up` as for [`AsyncResult::new`].
    pub(crate) fn new(
        callback_queue: CallbackQueue,
        given_up: Option<Outcome>,
    ) -> (Self, AsyncResult<T>) {
        let cell = Cell::new();
        let promise = Self { cell: cell.clone(), callback_queue: callback_queue.clone(), given_up };
        (promise, AsyncResult::new(cell, callback_queue, given_up))
    }

    pub(crate) fn keep(self, value: Result<T, Error>) {
        self.complete(value);
    }

    fn complete(&self, value: Result<T, Error>) {
        let mut wakers = Wakers::default();
        self.cell.complete(value, Some(&self.callback_queue), &mut wakers);
        wakers.wake();
    }
}

impl<T: Clone + Send + 'static> Drop for Promise<T> {
    fn drop(&mut self) {
        let why = "the runtime dropped the work behind this result";
        self.complete(Err(Error::runtime(self.given_up, why)));
    }
}

#[cfg(all(test, feature = "thread"))]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_up_has_the_outcome_that_it_was_given() {
        let callback_queue = || CallbackQueue::new("test", zk_handler_thread::ThreadHandler::new());
        for outcome in [Some(Outcome::Unknown), None] {
            let (promise, dropped) = Promise::<()>::new(callback_queue(), outcome);
            drop(promise);
            let error = dropped.get().unwrap_err();
            assert_eq!((error.kind(), error.outcome()), (ErrorKind::Runtime, outcome));
            let (_promise, cancelled) = Promise::<()>::new(callback_queue(), outcome);
            assert!(cancelled.cancel());
            let error = cancelled.get().unwrap_err();
            assert_eq!((error.kind(), error.outcome()), (ErrorKind::Cancelled, outcome));
        }
        let request = AsyncResult::<()>::of_request(Cell::new(), callback_queue());
        request.cancel();
        assert_eq!(request.get().unwrap_err().outcome(), Some(Outcome::Unknown));
    }
}
