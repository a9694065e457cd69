//! What is built from calls and watches: locks, and watches that last.
//!
//! Every recipe runs on the public API of [`Client`] alone, under every handler. Those that take time
//! return an [`AsyncResult`](crate::AsyncResult), whose work goes on in a task of the client's runtime:
//! await it, or wait for it in a thread; drop it, and the work is stopped and undone.

mod held;
mod lock;
mod semaphore;
mod watchers;

pub use lock::{Lock, LockGuard, LockOptions, ReadLock, WriteLock};
pub use semaphore::{Lease, Semaphore, SemaphoreOptions};
pub use watchers::{
    Children, ChildrenWatch, ChildrenWatchOptions, DataWatch, NodeData, Watcher,
    patient_children_watch,
};

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::{Mutex, PoisonError},
    task::Poll,
    time::Duration,
};

use crate::{Client, Error, ErrorCode, ErrorKind, Event};

/// When to stop a recipe's work: nobody wants its result any more, or it has taken too long.
struct Stop {
    abandoned: Event,
    timeout: Option<Duration>,
    timer: Mutex<Option<Pin<Box<dyn Future<Output = ()> + Send>>>>,
}

impl Stop {
    fn new(client: &Client, abandoned: Event, timeout: Option<Duration>) -> Self {
        let timer = timeout.map(|timeout| Box::pin(client.sleep(timeout)) as Pin<Box<_>>);
        Self { abandoned, timeout, timer: Mutex::new(timer) }
    }

    /// Never too late.
    fn on(abandoned: Event) -> Self {
        Self { abandoned, timeout: None, timer: Mutex::new(None) }
    }

    fn is_abandoned(&self) -> bool {
        self.abandoned.is_set()
    }

    /// Why work was stopped.
    fn error(&self, what: &str) -> Error {
        if self.is_abandoned() {
            Error::cancelled()
        } else {
            Error::timeout(what, self.timeout.unwrap_or_default())
        }
    }
}

/// What comes of `task`, or `None` when it is to stop first.
async fn unless<T>(stop: &Stop, task: impl Future<Output = T>) -> Option<T> {
    let mut task = pin!(task);
    let mut abandoned = pin!(stop.abandoned.happened());
    poll_fn(|context| {
        if let Poll::Ready(value) = task.as_mut().poll(context) {
            return Poll::Ready(Some(value));
        }
        if abandoned.as_mut().poll(context).is_ready() {
            return Poll::Ready(None);
        }
        let mut timer = stop.timer.lock().unwrap_or_else(PoisonError::into_inner);
        match timer.as_mut() {
            Some(timer) => timer.as_mut().poll(context).map(|()| None),
            None => Poll::Pending,
        }
    })
    .await
}

/// Whether a call failed for want of a connection, in a session that may live on.
fn is_connection_loss(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::ConnectionLoss | ErrorKind::QueueFull)
}

fn is_no_node(error: &Error) -> bool {
    error.code() == Some(ErrorCode::NoNode)
}

/// Makes a call that may be made twice, until the connection lasts long enough. A call waits for the next
/// connection by itself, so this does not spin.
async fn patiently<T, R>(mut call: impl FnMut() -> R) -> Result<T, Error>
where
    R: Future<Output = Result<T, Error>>,
{
    loop {
        match call().await {
            Err(error) if is_connection_loss(&error) => {}
            result => return result,
        }
    }
}

/// Deletes a node whose name nobody else uses. A session that is gone has taken it along.
async fn delete_own(client: &Client, path: &str) -> Result<(), Error> {
    match patiently(|| client.delete(path, None)).await {
        Err(error)
            if is_no_node(&error)
                || matches!(
                    error.kind(),
                    ErrorKind::SessionExpired | ErrorKind::ConnectionClosed
                ) =>
        {
            Ok(())
        }
        result => result,
    }
}
