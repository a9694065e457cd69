//! [`Watch`], a one-shot watch, and the calls that arm one.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use zk_handler::CallbackQueue;
use zk_proto::{
    Chroot, Request,
    session::{Failure, WatchedEvent},
};

use crate::{
    AsyncResult, Error,
    cell::{Cell, Wakers},
    from_reply::ReplyResult,
    inner::{ClientInner, WatchId},
    pending_call::{PendingCall, WatchNotice},
};

/// A one-shot watch that a read has armed.
///
/// The watch survives reconnects, and fires once. Await it, block a thread on it, or give it a callback. If its session
/// ends first, the watch ends with an error: [`SessionExpired`](crate::ErrorKind::SessionExpired) or
/// [`ConnectionClosed`](crate::ErrorKind::ConnectionClosed).
///
/// The watch is removed when its last clone is dropped. If nobody else watches the same path in the same way, it is
/// [removed from the server](crate::ClientBuilder::unwatch_after) too.
///
/// # Cancel safety
/// To wait without losing the watch, as in a `select!`, poll it by reference (`&mut watch`) or poll a clone. No event is
/// lost: every clone gets it, even if it is polled later.
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
#[must_use = "a watch is removed when it is dropped"]
pub struct Watch {
    armed: Arc<Armed>,
}

struct Armed {
    inner: Arc<ClientInner>,
    id: WatchId,
    cell: Arc<Cell<WatchedEvent>>,
}

impl Watch {
    /// Calls `callback` with the event, once. If the session ends first, `callback` is not called: see
    /// [`on_result`](Self::on_result).
    ///
    /// Callbacks of watches run in a callback queue of the client, one at a time, in the order of the events. The watch
    /// stays armed until then, though this handle is consumed.
    pub fn on_event(self, callback: impl FnOnce(WatchedEvent) + Send + 'static) {
        self.on_result(|result| {
            if let Ok(event) = result {
                callback(event);
            }
        });
    }

    /// Calls `callback` with the event, or with the error if the session ends first. Otherwise as
    /// [`on_event`](Self::on_event).
    pub fn on_result(self, callback: impl FnOnce(Result<WatchedEvent, Error>) + Send + 'static) {
        let armed = self.armed.clone();
        self.armed.cell.on_complete(Some(&self.armed.inner.dispatcher.events), move |result| {
            // The watch is kept until its callback is called.
            drop(armed);
            callback(result);
        });
    }

    /// Whether the watch has fired, or ended with its session.
    #[must_use]
    pub fn ready(&self) -> bool {
        self.armed.cell.is_complete()
    }

    /// Returns the event, or the error, if the watch has fired or ended. Does not block.
    #[must_use]
    pub fn get_nowait(&self) -> Option<Result<WatchedEvent, Error>> {
        self.armed.cell.peek()
    }

    /// Blocks the thread until the watch fires or ends, or `timeout` has passed (`None`: no timeout). Returns whether the
    /// watch has fired or ended.
    ///
    /// # Panics
    /// As [`AsyncResult::get`].
    #[track_caller]
    pub fn wait(&self, timeout: impl Into<Option<Duration>>) -> bool {
        self.armed.cell.wait(timeout.into(), Some(&self.armed.inner.dispatcher.events))
    }

    /// Blocks the thread until the watch fires, and returns the event.
    ///
    /// # Errors
    /// If the session ends first.
    ///
    /// # Panics
    /// As [`AsyncResult::get`].
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
            self.inner.unwatch(self.id);
        }
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.ready() { "Watch(done)" } else { "Watch(armed)" })
    }
}

/// Where what happens to a watch goes.
pub(crate) trait WatchTarget: Send + Sync + 'static {
    /// The user's handle on the watch. The watch is removed when it is dropped.
    type Handle;

    /// Makes the handle, when the request that arms the watch was answered.
    fn handle(self: Arc<Self>, inner: Arc<ClientInner>, id: WatchId) -> Self::Handle;

    /// Takes what happened to the watch. Callbacks are added to `callback_queue`, and the wakers of waiting tasks to
    /// `wakers`.
    fn notify(
        self: &Arc<Self>,
        notice: WatchNotice,
        callback_queue: &CallbackQueue,
        wakers: &mut Wakers,
    );
}

impl WatchTarget for Cell<WatchedEvent> {
    type Handle = Watch;

    fn handle(self: Arc<Self>, inner: Arc<ClientInner>, id: WatchId) -> Watch {
        Watch { armed: Arc::new(Armed { inner, id, cell: self }) }
    }

    fn notify(
        self: &Arc<Self>,
        notice: WatchNotice,
        callback_queue: &CallbackQueue,
        wakers: &mut Wakers,
    ) {
        let result = match notice {
            WatchNotice::Event(event) => Ok(event),
            WatchNotice::Ended(error) => Err(error),
            // A one-shot watch has none: the server says on the next connection whether it has fired.
            WatchNotice::Gap { .. } => return,
        };
        self.complete(result, Some(callback_queue), wakers);
    }
}

impl ClientInner {
    /// Sends a request that arms a one-shot watch. `map` makes the result from the reply and the watch.
    pub(crate) fn call_watch<T>(
        self: &Arc<Self>,
        chroot: &Chroot,
        request: &Request<'_>,
        map: impl FnOnce(ReplyResult, Watch) -> Result<T, Error> + Send + 'static,
    ) -> AsyncResult<T>
    where
        T: Clone + Send + 'static,
    {
        self.call_watch_to(Cell::<WatchedEvent>::new(), chroot, request, map)
    }

    /// Sends a request that arms a watch for `target`. `map` makes the result from the reply and the watch.
    pub(crate) fn call_watch_to<W, T>(
        self: &Arc<Self>,
        target: Arc<W>,
        chroot: &Chroot,
        request: &Request<'_>,
        map: impl FnOnce(ReplyResult, W::Handle) -> Result<T, Error> + Send + 'static,
    ) -> AsyncResult<T>
    where
        W: WatchTarget,
        T: Clone + Send + 'static,
    {
        let cell = Cell::new();
        let call = Arc::new(WatchCall { waiting: Mutex::new(None), target });
        let submitted: Result<(), Box<Failure>> = self.with_lifecycle(|lifecycle, now| {
            let id = lifecycle.session.submit(now, chroot, request, call.clone())?;
            let id = Self::watch_id(lifecycle, id);
            call.set_waiting(WaitingForReply { cell: cell.clone(), map, inner: self.clone(), id });
            Ok(())
        });
        if let Err(failure) = submitted {
            self.complete(&cell, Err(failure.into()));
        }
        self.handle_of(cell)
    }
}

/// A call that arms a watch.
struct WatchCall<W, T, F> {
    /// Set from when the request is queued until its reply arrives. It must not be kept longer: the session keeps the
    /// call for as long as the watch is armed, and this owns the client.
    waiting: Mutex<Option<WaitingForReply<T, F>>>,
    target: Arc<W>,
}

struct WaitingForReply<T, F> {
    cell: Arc<Cell<T>>,
    map: F,
    inner: Arc<ClientInner>,
    id: WatchId,
}

impl<W, T, F> WatchCall<W, T, F> {
    fn set_waiting(&self, waiting: WaitingForReply<T, F>) {
        *self.waiting.lock().unwrap_or_else(PoisonError::into_inner) = Some(waiting);
    }
}

impl<W, T, F> PendingCall for WatchCall<W, T, F>
where
    W: WatchTarget,
    T: Send + 'static,
    F: FnOnce(ReplyResult, W::Handle) -> Result<T, Error> + Send,
{
    fn complete(&self, reply: ReplyResult, callback_queue: &CallbackQueue, wakers: &mut Wakers) {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(WaitingForReply { cell, map, inner, id }) = waiting {
            let watch = self.target.clone().handle(inner, id);
            cell.complete(map(reply, watch), Some(callback_queue), wakers);
        }
    }

    fn notify_watch(
        &self,
        notice: WatchNotice,
        callback_queue: &CallbackQueue,
        wakers: &mut Wakers,
    ) {
        self.target.notify(notice, callback_queue, wakers);
    }
}
