//! [`PendingCall`], the token that the session carries for each request: it completes the call with the reply.

use std::sync::{Arc, Mutex, PoisonError};

use zk_handler::CallbackQueue;
use zk_proto::session::WatchedEvent;

use crate::{
    Error,
    cell::{Cell, Wakers},
    from_reply::{FromReply, ReplyResult},
};

/// A call that waits for its reply.
pub(crate) trait PendingCall: Send + Sync {
    /// Completes the call. Callbacks are added to `callback_queue`, and the wakers of waiting tasks to `wakers`.
    fn complete(&self, reply: ReplyResult, callback_queue: &CallbackQueue, wakers: &mut Wakers);

    /// Passes on what happened to the watch that the request has armed. Callbacks are added to `callback_queue`, and the
    /// wakers of waiting tasks to `wakers`.
    fn notify_watch(&self, _: WatchNotice, _callback_queue: &CallbackQueue, _wakers: &mut Wakers) {}
}

/// What happened to a watch.
pub(crate) enum WatchNotice {
    /// It has fired.
    Event(WatchedEvent),
    /// Events after the transaction `since` may be missing.
    Gap { since: i64 },
    /// It has ended with its session.
    Ended(Error),
}

/// A call whose result is made from the reply alone: its cell is all that it needs.
impl<T: FromReply + Send + 'static> PendingCall for Cell<T> {
    fn complete(&self, reply: ReplyResult, callback_queue: &CallbackQueue, wakers: &mut Wakers) {
        Self::complete(self, T::from_reply(reply), Some(callback_queue), wakers);
    }
}

/// A call whose result is made from the reply by a function.
pub(crate) struct MappedCall<T, F> {
    cell: Arc<Cell<T>>,
    map: Mutex<Option<F>>,
}

impl<T, F> MappedCall<T, F> {
    pub(crate) const fn new(cell: Arc<Cell<T>>, map: F) -> Self {
        Self { cell, map: Mutex::new(Some(map)) }
    }
}

impl<T, F> PendingCall for MappedCall<T, F>
where
    T: Send + 'static,
    F: FnOnce(ReplyResult) -> Result<T, Error> + Send,
{
    fn complete(&self, reply: ReplyResult, callback_queue: &CallbackQueue, wakers: &mut Wakers) {
        let map = self.map.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(map) = map {
            self.cell.complete(map(reply), Some(callback_queue), wakers);
        }
    }
}

/// A request whose reply nobody waits for.
pub(crate) struct IgnoredCall;

impl PendingCall for IgnoredCall {
    fn complete(&self, _: ReplyResult, _: &CallbackQueue, _: &mut Wakers) {}
}
