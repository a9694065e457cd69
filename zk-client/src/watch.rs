//! [`Watch`], a one-shot watch that is armed.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use zk_proto::session::WatchedEvent;

use crate::{
    Error,
    cell::Cell,
    shared::{Shared, WatchId},
};

/// A one-shot watch that a read has armed.
///
/// It lives over reconnects, and fires once: await it, block on it, or give it a callback. When its
/// session ends it ends with an error instead, [`SessionExpired`](crate::ErrorKind::SessionExpired) or
/// [`ConnectionClosed`](crate::ErrorKind::ConnectionClosed). When the last clone is dropped the watch
/// is forgotten; once nobody else watches the same of its path, it is
/// [taken off the server](crate::ClientBuilder::unwatch_after), too.
///
/// ```no_run
/// # async fn example(zk: zk_client::Client) -> Result<(), zk_client::Error> {
/// let (data, _stat, watch) = zk.get_and_watch("/config").await?;
/// println!("now it is {data:?}");
/// let event = watch.await?;
/// println!("{:?} {}", event.kind, event.path);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use = "a watch is forgotten when it is dropped"]
pub struct Watch {
    armed: Arc<Armed>,
}

struct Armed {
    shared: Arc<Shared>,
    id: WatchId,
    cell: Arc<Cell<WatchedEvent>>,
}

impl Watch {
    pub(crate) fn new(shared: Arc<Shared>, id: WatchId, cell: Arc<Cell<WatchedEvent>>) -> Self {
        Self { armed: Arc::new(Armed { shared, id, cell }) }
    }

    /// Has `callback` called with the event, on the client's queue of watches: off the client's I/O, in
    /// the order of events, once. It is never called for the end of the session.
    pub fn on_event(self, callback: impl FnOnce(WatchedEvent) + Send + 'static) {
        self.on_result(|result| {
            if let Ok(event) = result {
                callback(event);
            }
        });
    }

    /// As [`on_event`](Self::on_event), and `callback` is also called for the end of the session, with the
    /// error that the watch ends with.
    pub fn on_result(self, callback: impl FnOnce(Result<WatchedEvent, Error>) + Send + 'static) {
        let armed = self.armed.clone();
        self.armed.cell.on_complete(Some(&self.armed.shared.events), move |result| {
            // The watch lives until its callback is called.
            drop(armed);
            callback(result);
        });
    }

    /// Whether it has fired, or ended with its session.
    #[must_use]
    pub fn ready(&self) -> bool {
        self.armed.cell.is_complete()
    }

    /// The event or the end, if it is there.
    #[must_use]
    pub fn get_nowait(&self) -> Option<Result<WatchedEvent, Error>> {
        self.armed.cell.peek()
    }

    /// Blocks the thread until it fires, or ends, or `timeout` is over (`None`: for ever). Returns
    /// whether it has.
    ///
    /// # Panics
    /// As [`AsyncResult::get`](crate::AsyncResult::get).
    #[track_caller]
    pub fn wait(&self, timeout: impl Into<Option<Duration>>) -> bool {
        self.armed.cell.wait(timeout.into(), Some(&self.armed.shared.events))
    }

    /// Blocks the thread until it fires, and returns the event.
    ///
    /// # Errors
    /// When the session ended first.
    ///
    /// # Panics
    /// As [`AsyncResult::get`](crate::AsyncResult::get).
    #[track_caller]
    pub fn get(self) -> Result<WatchedEvent, Error> {
        loop {
            self.wait(None);
            if let Some(event) = self.armed.cell.peek() {
                return event;
            }
        }
    }
}

impl Future for Watch {
    type Output = Result<WatchedEvent, Error>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.armed.cell.poll_clone(context)
    }
}

impl Drop for Armed {
    fn drop(&mut self) {
        if !self.cell.is_complete() {
            self.shared.unwatch(self.id);
        }
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.ready() { "Watch(done)" } else { "Watch(armed)" })
    }
}
