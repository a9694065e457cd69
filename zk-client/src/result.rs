//! [`AsyncResult`], the handle that every call returns, and [`Promise`], its counterpart for work that runs in a task.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use zk_handler::CallbackQueue;
use zk_proto::session::Outcome;

use crate::{
    CallbackId, Error, ErrorKind, Event,
    cell::{Cell, Wakers},
};

/// The handle of a call: its result, now or later.
///
/// The request was queued when the call returned; the handle only waits for the result. Await it on any runtime, block a
/// thread on it with [`get`](Self::get), give it a callback with [`on_complete`](Self::on_complete), or drop it.
///
/// ```no_run
/// # async fn example(zk: zk_client::Client) -> Result<(), zk_client::Error> {
/// let a = zk.get("/a"); // both requests are on their way now
/// let b = zk.get("/b");
/// let (data, stat) = a.await?; // in async code
/// let (data, stat) = b.get()?; // in a thread that may block
/// zk.get("/c").on_complete(|result| println!("{result:?}")); // called with the result
/// # Ok(())
/// # }
/// ```
///
/// # Order
/// Results complete in the order in which the server replied, and a watch fires before the results of later replies.
/// Callbacks of results run in that order too, one at a time, in a callback queue of the client.
///
/// # Cancel safety
/// Dropping the handle does not take back a request: the server may still apply it. Work of several requests, such as
/// [`create`](crate::Client::create) with `makepath`, also goes on. What may be given up is stopped and undone when its
/// handle is dropped or [cancelled](Self::cancel): the acquire of a lock or a lease, a [`Retry`](crate::Retry), a task of
/// [`spawn_cancellable`](crate::Client::spawn_cancellable).
///
/// To wait without giving up, as in a `select!`, poll the handle by reference (`&mut handle`): no result is lost.
#[doc(alias = "IAsyncResult")]
#[must_use = "the request is sent in any case, but its result is lost; `drop` the handle to say that this is intended"]
pub struct AsyncResult<T> {
    cell: Arc<Cell<T>>,
    callback_queue: Option<CallbackQueue>,
    /// The outcome that the error has if the call is given up before its result is known.
    outcome_if_given_up: Option<Outcome>,
    /// Set when the caller gives up, for work that stops then.
    abandon: Option<Event>,
}

impl<T: Clone + Send + 'static> AsyncResult<T> {
    /// `outcome_if_given_up` is `None` for what is not a request.
    pub(crate) fn new(
        cell: Arc<Cell<T>>,
        callback_queue: CallbackQueue,
        outcome_if_given_up: Option<Outcome>,
    ) -> Self {
        Self { cell, callback_queue: Some(callback_queue), outcome_if_given_up, abandon: None }
    }

    /// The handle of a request. If the caller gives up, the request may still be applied.
    pub(crate) fn of_request(cell: Arc<Cell<T>>, callback_queue: CallbackQueue) -> Self {
        Self::new(cell, callback_queue, Some(Outcome::Unknown))
    }

    /// A handle that is complete already.
    pub(crate) fn of(value: Result<T, Error>, callback_queue: Option<CallbackQueue>) -> Self {
        let cell = Cell::new();
        cell.complete(value, None, &mut Wakers::default());
        Self { cell, callback_queue, outcome_if_given_up: None, abandon: None }
    }

    /// Sets `abandon` when this handle is cancelled or dropped.
    pub(crate) fn abandoned_by(mut self, abandon: Event) -> Self {
        self.abandon = Some(abandon);
        self
    }

    /// Whether the call is complete, with a value or an error.
    #[must_use]
    pub fn ready(&self) -> bool {
        self.cell.is_complete()
    }

    /// Whether the call is complete with a value.
    #[must_use]
    pub fn successful(&self) -> bool {
        self.cell.is_complete_and(Result::is_ok)
    }

    /// Returns the value, if the call is complete with one.
    #[must_use]
    pub fn value(&self) -> Option<T> {
        self.get_nowait()?.ok()
    }

    /// Returns the error, if the call is complete with one.
    #[must_use]
    pub fn exception(&self) -> Option<Error> {
        self.get_nowait()?.err()
    }

    /// Returns the result, if the call is complete. Does not block.
    #[must_use]
    pub fn get_nowait(&self) -> Option<Result<T, Error>> {
        self.cell.peek()
    }

    /// Blocks the thread until the call is complete, and returns the result.
    ///
    /// Use it in threads and callbacks only. A task of an async runtime must await the handle instead: if it blocks, it
    /// may block the thread that the client needs.
    ///
    /// # Errors
    /// The error of the call.
    ///
    /// # Panics
    /// If the call is not complete, and the thread is known to run tasks of the client's runtime. On tokio, these are
    /// all threads of tasks and of `block_on`; on smol and async-std, threads that have run tasks of a client; with
    /// plain threads, the I/O thread.
    #[track_caller]
    pub fn get(self) -> Result<T, Error> {
        self.wait(None);
        self.cell.take()
    }

    /// Blocks the thread until the call is complete or `timeout` has passed, and returns the result.
    ///
    /// After a timeout the call goes on, and the handle can still be used.
    ///
    /// # Errors
    /// The error of the call; [`Timeout`](crate::ErrorKind::Timeout) if it is not complete in time.
    ///
    /// # Panics
    /// As [`get`](Self::get).
    #[track_caller]
    pub fn get_timeout(&self, timeout: Duration) -> Result<T, Error> {
        self.wait(timeout);
        let result = self.cell.peek();
        result.unwrap_or_else(|| Err(Error::timeout("the result", timeout)))
    }

    /// Blocks the thread until the call is complete or `timeout` has passed (`None`: no timeout). Returns whether the
    /// call is complete. It goes on in any case.
    ///
    /// # Panics
    /// As [`get`](Self::get).
    #[track_caller]
    pub fn wait(&self, timeout: impl Into<Option<Duration>>) -> bool {
        self.cell.wait(timeout.into(), self.callback_queue.as_ref())
    }

    /// # Panics
    /// If the thread must not block on the client.
    #[track_caller]
    pub(crate) fn assert_may_block(&self) {
        if let Some(callback_queue) = &self.callback_queue {
            callback_queue.assert_may_block();
        }
    }

    /// Adds a callback, which is called with the result once, when the call is complete; soon, if it is complete
    /// already.
    ///
    /// Callbacks run in the client's callback queue of results, one at a time. A callback may block, which delays later
    /// ones. Dropping the handle does not remove its callbacks.
    #[doc(alias = "rawlink")]
    pub fn on_complete(
        &self,
        callback: impl FnOnce(Result<T, Error>) + Send + 'static,
    ) -> CallbackId {
        self.cell.on_complete(self.callback_queue.as_ref(), callback)
    }

    /// Removes a callback, even if it is queued already. Returns true if it was not called yet; then it never is.
    #[doc(alias = "unlink")]
    pub fn remove_callback(&self, id: CallbackId) -> bool {
        self.cell.remove_callback(id)
    }

    /// Gives up: the call completes with [`Cancelled`](crate::ErrorKind::Cancelled). Returns false if it was complete
    /// already.
    ///
    /// A request may still be applied, so that the error's [`outcome`](Error::outcome) is
    /// [`Unknown`](Outcome::Unknown). What may be given up is stopped and undone: see
    /// [cancel safety](Self#cancel-safety).
    pub fn cancel(&self) -> bool {
        let mut wakers = Wakers::default();
        let cancelled = self.cell.complete(
            Err(Error::cancelled(self.outcome_if_given_up)),
            self.callback_queue.as_ref(),
            &mut wakers,
        );
        wakers.wake();
        if let Some(abandon) = &self.abandon {
            abandon.set();
        }
        cancelled
    }

    /// Whether the call was [cancelled](Self::cancel).
    #[must_use]
    pub fn cancelled(&self) -> bool {
        self.cell.is_complete_and(
            |result| matches!(result, Err(error) if error.kind() == ErrorKind::Cancelled),
        )
    }
}

/// Makes a handle that is complete already, to test code without a server. Its callbacks are called at once, by the
/// thread that adds them.
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
        f.write_str(if self.cell.is_complete_and(Result::is_ok) {
            "AsyncResult(ok)"
        } else if self.cell.is_complete_and(Result::is_err) {
            "AsyncResult(error)"
        } else if self.cell.is_complete() {
            "AsyncResult(taken)"
        } else {
            "AsyncResult(pending)"
        })
    }
}

/// Completes an [`AsyncResult`] from a task. If it is dropped first, as when the runtime shuts down, the call fails.
pub(crate) struct Promise<T: Clone + Send + 'static> {
    cell: Arc<Cell<T>>,
    callback_queue: CallbackQueue,
    outcome_if_given_up: Option<Outcome>,
}

impl<T: Clone + Send + 'static> Promise<T> {
    /// `outcome_if_given_up` as for [`AsyncResult::new`].
    pub(crate) fn new(
        callback_queue: CallbackQueue,
        outcome_if_given_up: Option<Outcome>,
    ) -> (Self, AsyncResult<T>) {
        let cell = Cell::new();
        let promise = Self {
            cell: cell.clone(),
            callback_queue: callback_queue.clone(),
            outcome_if_given_up,
        };
        (promise, AsyncResult::new(cell, callback_queue, outcome_if_given_up))
    }

    pub(crate) fn complete(self, value: Result<T, Error>) {
        self.set(value);
    }

    fn set(&self, value: Result<T, Error>) {
        let mut wakers = Wakers::default();
        self.cell.complete(value, Some(&self.callback_queue), &mut wakers);
        wakers.wake();
    }
}

impl<T: Clone + Send + 'static> Drop for Promise<T> {
    fn drop(&mut self) {
        let message = "the runtime dropped the task that works on this result";
        self.set(Err(Error::runtime(self.outcome_if_given_up, message)));
    }
}

#[cfg(all(test, feature = "thread"))]
mod tests {
    use super::*;

    #[test]
    fn a_call_that_is_given_up_has_the_outcome_of_its_promise() {
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
