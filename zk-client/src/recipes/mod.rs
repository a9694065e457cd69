//! What is built from calls and watches: locks, and watches that last.
//!
//! Recipes use the calls of a [`Client`], so they run on every runtime. A method that takes time returns an
//! [`AsyncResult`], and its work is done in a task of the client's runtime. Dropping the result stops the work and undoes
//! it. [`blocking::recipes`](crate::blocking::recipes) has the same recipes for threads.
//!
//! | | while the connection is lost (`SUSPENDED`) | when the session has expired (`LOST`) |
//! |---|---|---|
//! | [`Lock`], [`ReadLock`], [`WriteLock`] | the holder is told and still holds, for as long as [`is_held`](LockGuard::is_held) says for sure; a waiter waits on | the holder is told, and others get in; a waiter starts over at the end of the queue |
//! | [`Semaphore`] | the same | the same |
//! | [`DataWatch`], [`ChildrenWatch`] | silent; what changed meanwhile is told after it, as one change | they go on in the next session, and tell what has changed; unless [`allow_session_lost`](ChildrenWatchOptions::allow_session_lost) is off |
//! | [`patient_children_watch`] | waits on | begins again |
//!
//! All of them end with [`ConnectionClosed`](crate::ErrorKind::ConnectionClosed) when the client is stopped.

mod foreign;
mod held;
pub(crate) mod lock;
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

/// Deletes a node whose name nobody else uses. A session that is gone has taken it along.
async fn delete_own(client: &Client, path: &str) -> Result<(), Error> {
    match retry_transient(client, |zk| zk.delete(path, None)).await {
        Err(error) if is_no_node(&error) || is_over(&error) => Ok(()),
        result => result,
    }
}

/// [`delete_own`] in a task of its own, which goes on when its handle is dropped.
fn delete(client: &Client, path: String) -> AsyncResult<()> {
    let owner = client.clone();
    client.spawn(async move { delete_own(&owner, &path).await })
}

/// Whether an error says that the session is gone, with its nodes.
fn is_over(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::SessionExpired | ErrorKind::ConnectionClosed)
}

/// What those who made the nodes at `paths` call themselves; those that are gone are left out.
async fn identifiers(
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

/// A function that is called on the client's queue of watches, one call at a time, until `over`.
struct Callback<F> {
    client: Client,
    over: Event,
    call: Arc<Mutex<F>>,
}

impl<F> Callback<F> {
    fn new(client: &Client, over: Event, call: F) -> Self {
        Self { client: client.clone(), over, call: Arc::new(Mutex::new(call)) }
    }

    /// Calls it with `news`, waits until it is done, and returns its answer: whether it wants more. One
    /// that panics does.
    async fn tell<T: Send + 'static>(&self, news: T) -> bool
    where
        F: FnMut(T) -> bool + Send + 'static,
    {
        let told = Event::new();
        let more = Arc::new(AtomicBool::new(true));
        let (done, answer) = (SetOnDrop(told.clone()), more.clone());
        let (call, over) = (self.call.clone(), self.over.clone());
        self.client.inner().dispatcher.events.push(move || {
            // It is told when this ends, by a panic too.
            let _done = done;
            if !over.is_set() {
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
