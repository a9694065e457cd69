//! [`Event`], which is set once, and which many can wait for.

use std::{
    fmt,
    future::{Future, IntoFuture, poll_fn},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use zk_handler::CallbackQueue;

use crate::cell::{Cell, Wakers};

/// An event: it is set once, and any number of tasks and threads can wait for it. Clones are the same event.
///
/// Await the event itself or [`happened`](Self::happened), or block a thread with [`wait`](Self::wait). Waiting is
/// cancel-safe: a future that is dropped changes nothing.
///
/// ```
/// use zk_client::Event;
///
/// let event = Event::new();
/// let waiter = event.clone();
/// let thread = std::thread::spawn(move || waiter.wait(None));
/// event.set();
/// assert!(thread.join().unwrap() && event.is_set());
/// ```
#[derive(Clone)]
pub struct Event {
    cell: Arc<Cell<()>>,
    /// A callback queue of the client that sets the event: it knows which threads must not block.
    callback_queue: Option<CallbackQueue>,
}

impl Default for Event {
    fn default() -> Self {
        Self::new()
    }
}

impl Event {
    /// Makes an event that is not set.
    #[must_use]
    pub fn new() -> Self {
        Self { cell: Cell::new(), callback_queue: None }
    }

    /// An event that a client sets, whose waits are checked by `callback_queue`.
    pub(crate) fn of_client(callback_queue: CallbackQueue) -> Self {
        Self { cell: Cell::new(), callback_queue: Some(callback_queue) }
    }

    /// Sets the event, and wakes all that wait for it. Does nothing if it is set already.
    pub fn set(&self) {
        let mut wakers = Wakers::default();
        self.cell.complete(Ok(()), None, &mut wakers);
        wakers.wake();
    }

    /// Whether the event is set.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.cell.is_complete()
    }

    /// Whether both are clones of one event.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.cell, &other.cell)
    }

    /// Blocks the thread until the event is set or `timeout` has passed (`None`: no timeout). Returns whether it is set.
    ///
    /// # Panics
    /// If it is an event of a client: as [`AsyncResult::get`](crate::AsyncResult::get).
    #[track_caller]
    pub fn wait(&self, timeout: impl Into<Option<Duration>>) -> bool {
        self.cell.wait(timeout.into(), self.callback_queue.as_ref())
    }

    /// Waits until the event is set.
    pub fn happened(&self) -> impl Future<Output = ()> + Send + '_ {
        poll_fn(|context| self.cell.poll_clone(context).map(drop))
    }
}

impl IntoFuture for Event {
    type Output = ();
    type IntoFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { self.happened().await })
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_set() { "Event(set)" } else { "Event(unset)" })
    }
}
