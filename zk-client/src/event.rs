//! [`Event`], something that happens once and that many may wait for.

use std::{
    fmt,
    future::{Future, IntoFuture, poll_fn},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use zk_handler::CallbackQueue;

use crate::cell::{Cell, Wakers};

/// Something that happens once, and that any number of tasks and threads may wait for: kazoo's
/// `event_object`. Clones are the same event.
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
    /// Of the client that sets it.
    callback_queue: Option<CallbackQueue>,
}

impl Default for Event {
    fn default() -> Self {
        Self::new()
    }
}

impl Event {
    /// An event that has not happened.
    #[must_use]
    pub fn new() -> Self {
        Self { cell: Cell::new(), callback_queue: None }
    }

    /// An event that a client sets, whose waits are checked by `callback_queue`.
    pub(crate) fn set_on(callback_queue: CallbackQueue) -> Self {
        Self { cell: Cell::new(), callback_queue: Some(callback_queue) }
    }

    /// Now it has. Again is as good as once.
    pub fn set(&self) {
        let mut wakers = Wakers::default();
        self.cell.complete(Ok(()), None, &mut wakers);
        wakers.wake();
    }

    /// Whether it has happened.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.cell.is_complete()
    }

    /// Whether both are clones of one event.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.cell, &other.cell)
    }

    /// Blocks the thread until it happens, or `timeout` is over (`None`: for ever). Returns whether it
    /// has happened.
    ///
    /// # Panics
    /// As [`AsyncResult::get`](crate::AsyncResult::get), if it is an event that a client sets.
    #[track_caller]
    pub fn wait(&self, timeout: impl Into<Option<Duration>>) -> bool {
        self.cell.wait(timeout.into(), self.callback_queue.as_ref())
    }

    /// Completes when it happens.
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
