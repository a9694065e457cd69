//! Recipes: locks, a semaphore, and watches that stay armed, built from the calls of a client.
//!
//! Recipes use the calls of a [`Client`], so they run on every runtime. A method that takes time returns an
//! [`AsyncResult`], and its work is done in a task of the client's runtime. Dropping the result stops the work and undoes
//! it. [`blocking::recipes`](crate::blocking::recipes) has the same recipes for threads.
//!
//! | | while the connection is lost (`SUSPENDED`) | when the session has expired (`LOST`) |
//! |---|---|---|
//! | [`Lock`], [`ReadLock`], [`WriteLock`] | the holder is notified. It keeps the lock while the session lives; [`is_held`](LockGuard::is_held) is false, because this cannot be known. Waiters go on waiting | the holder is notified, and has lost the lock. A waiter goes to the end of the queue |
//! | [`Semaphore`] | the same | the same |
//! | [`DataWatch`], [`ChildrenWatch`] | no notifications; all changes meanwhile are reported as one when the connection is back | they go on in the next session, and report what has changed, unless [`allow_session_lost`](ChildrenWatchOptions::allow_session_lost) is false |
//! | [`patient_children_watch`] | goes on waiting | starts again |
//!
//! All of them end with [`ConnectionClosed`](crate::ErrorKind::ConnectionClosed) when the client is stopped.

mod held_node;
pub(crate) mod lock;
mod other_clients;
mod running_tasks;
pub(crate) mod semaphore;
mod sequence;
pub(crate) mod watchers;

pub use lock::{Lock, LockGuard, LockOptions, ReadLock, WriteLock};
pub use semaphore::{Lease, Semaphore, SemaphoreOptions};
pub use watchers::{
    Children, ChildrenWatch, ChildrenWatchOptions, DataWatch, NodeData, Watcher,
    patient_children_watch,
};

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use crate::{
    AsyncResult, Client, Error, ErrorKind, Event, from_reply::is_no_node, retrying::retry_transient,
};

/// Deletes a node whose name is unique. If the session is gone, so is the node.
async fn delete_own(client: &Client, path: &str) -> Result<(), Error> {
    match retry_transient(client, |zk| zk.delete(path, None)).await {
        Err(error) if is_no_node(&error) || is_session_gone(&error) => Ok(()),
        result => result,
    }
}

/// Calls [`delete_own`] in a task, which goes on if the result is dropped.
fn delete(client: &Client, path: String) -> AsyncResult<()> {
    let owner = client.clone();
    client.spawn(async move { delete_own(&owner, &path).await })
}

/// Whether an error means that the session is gone, with its ephemeral nodes.
fn is_session_gone(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::SessionExpired | ErrorKind::ConnectionClosed)
}

/// Reads the identifiers that contenders have written to their nodes. Nodes that no longer exist are left out.
async fn read_identifiers(
    client: &Client,
    paths: impl Iterator<Item = String>,
) -> Result<Vec<String>, Error> {
    let reads: Vec<_> = paths.map(|path| client.get(path)).collect();
    let mut identifiers = Vec::new();
    for read in reads {
        match read.await {
            Ok((data, _)) => identifiers.push(String::from_utf8_lossy(&data).into_owned()),
            Err(error) if is_no_node(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(identifiers)
}

/// A function that is called on the client's callback queue for watches, one call at a time, until `ended` is set.
struct Callback<F> {
    client: Client,
    ended: Event,
    call: Arc<Mutex<F>>,
}

impl<F> Callback<F> {
    fn new(client: &Client, ended: Event, call: F) -> Self {
        Self { client: client.clone(), ended, call: Arc::new(Mutex::new(call)) }
    }

    /// Calls the function with `news`, waits for the end of the call, and returns what it returned: whether it wants to be
    /// called again. A call that panics counts as true.
    async fn call_with<T: Send + 'static>(&self, news: T) -> bool
    where
        F: FnMut(T) -> bool + Send + 'static,
    {
        let told = Event::new();
        let more = Arc::new(AtomicBool::new(true));
        let (done, answer) = (SetOnDrop(told.clone()), more.clone());
        let (call, ended) = (self.call.clone(), self.ended.clone());
        self.client.inner().dispatcher.events.push(move || {
            // Dropped when the call ends, also if it panics.
            let _done = done;
            if !ended.is_set() {
                let mut call = call.lock().unwrap_or_else(PoisonError::into_inner);
                answer.store(call(news), Ordering::Release);
            }
        });
        told.happened().await;
        more.load(Ordering::Acquire)
    }
}

struct SetOnDrop(Event);

impl Drop for SetOnDrop {
    fn drop(&mut self) {
        self.0.set();
    }
}
