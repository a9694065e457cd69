//! The listeners of a session's state: callbacks and streams.

use std::{
    collections::VecDeque,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use zk_handler::CallbackQueue;
use zk_proto::session::SessionState;

use crate::cell::Wakers;

/// Names a listener, for [`Client::remove_listener`](crate::Client::remove_listener).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ListenerId(u64);

type Callback = Box<dyn FnMut(SessionState) -> bool + Send>;

struct Listener {
    id: ListenerId,
    call: Mutex<Call>,
}

/// The callback of a listener, and whether it can be called.
enum Call {
    Idle(Callback),
    /// It is being called. A callback queue runs one job at a time, so that there is no second call.
    Running,
    /// The listener was removed: calls that are queued for it do nothing.
    Removed,
}

#[derive(Default)]
pub(crate) struct Listeners {
    inner: Arc<Inner>,
    last_id: AtomicU64,
}

#[derive(Default)]
struct Inner {
    callbacks: Mutex<Vec<Arc<Listener>>>,
    streams: Mutex<Vec<Weak<Queue>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Listeners {
    pub(crate) fn add(&self, callback: Callback) -> ListenerId {
        let id = ListenerId(self.last_id.fetch_add(1, Ordering::Relaxed));
        let listener = Listener { id, call: Mutex::new(Call::Idle(callback)) };
        lock(&self.inner.callbacks).push(Arc::new(listener));
        id
    }

    pub(crate) fn remove(&self, id: ListenerId) -> bool {
        self.inner.remove(id)
    }

    /// Makes a stream of the changes from now on. `callback_queue` is one of its client.
    pub(crate) fn stream(&self, callback_queue: CallbackQueue) -> States {
        let queue = Arc::<Queue>::default();
        let mut streams = lock(&self.inner.streams);
        streams.retain(|stream| stream.strong_count() > 0);
        streams.push(Arc::downgrade(&queue));
        States { queue, callback_queue }
    }

    /// Ends the streams that exist: no change follows.
    pub(crate) fn end_streams(&self, wakers: &mut Wakers) {
        for queue in lock(&self.inner.streams).drain(..).filter_map(|stream| stream.upgrade()) {
            queue.end(wakers);
        }
    }

    /// Notifies all listeners. When this returns, streams have the state, and callbacks are queued.
    pub(crate) fn notify(
        &self,
        state: SessionState,
        callback_queue: &CallbackQueue,
        wakers: &mut Wakers,
    ) {
        for queue in lock(&self.inner.streams).iter().filter_map(Weak::upgrade) {
            queue.push(state, wakers);
        }
        let listeners = lock(&self.inner.callbacks).clone();
        for listener in listeners {
            let inner = self.inner.clone();
            callback_queue.push(move || inner.call(&listener, state));
        }
    }
}

impl Drop for Listeners {
    fn drop(&mut self) {
        let mut wakers = Wakers::default();
        self.end_streams(&mut wakers);
        wakers.wake();
    }
}

impl Inner {
    fn call(&self, listener: &Listener, state: SessionState) {
        let Some(mut callback) = listener.take() else { return };
        let wants_more = catch_unwind(AssertUnwindSafe(|| callback(state)));
        // A callback that panics stays registered.
        if matches!(wants_more, Ok(false)) {
            self.remove(listener.id);
        }
        listener.put_back(callback);
        if let Err(panic) = wants_more {
            std::panic::resume_unwind(panic);
        }
    }

    fn remove(&self, id: ListenerId) -> bool {
        let removed = {
            let mut callbacks = lock(&self.callbacks);
            let at = callbacks.iter().position(|listener| listener.id == id);
            at.map(|at| callbacks.remove(at))
        };
        // The callback is dropped with no lock held: it may own anything.
        removed.is_some_and(|listener| {
            drop(std::mem::replace(&mut *lock(&listener.call), Call::Removed));
            true
        })
    }
}

impl Listener {
    /// Takes the callback to call it. `None` if it was removed.
    fn take(&self) -> Option<Callback> {
        let mut call = lock(&self.call);
        match std::mem::replace(&mut *call, Call::Running) {
            Call::Idle(callback) => Some(callback),
            other => {
                *call = other;
                None
            }
        }
    }

    /// Puts the callback back after a call. It is dropped if the listener was removed meanwhile.
    fn put_back(&self, callback: Callback) {
        let mut call = lock(&self.call);
        if matches!(*call, Call::Running) {
            *call = Call::Idle(callback);
        }
    }
}

/// A stream of the changes of a session's state, from [`Client::states`](crate::Client::states). It yields every change
/// since it was made, once.
///
/// It is a [`Stream`](futures_core::Stream). Without a stream library, await [`changed`](Self::changed). In a thread,
/// call [`next_blocking`](Self::next_blocking).
///
/// The stream ends when the client has stopped, after the change to [`SessionState::Lost`]: by
/// [`stop`](crate::Client::stop), the drop of the last client, refused credentials, a start that fails, or the end of
/// the runtime. A [`restart`](crate::Client::restart) does not end it. For a client that is started again after its end,
/// make a new stream before the start.
///
/// ```no_run
/// # async fn example(zk: zk_client::Client) {
/// let mut states = zk.states();
/// while let Some(state) = states.changed().await {
///     println!("{state}");
/// }
/// # }
/// ```
pub struct States {
    queue: Arc<Queue>,
    callback_queue: CallbackQueue,
}

#[derive(Default)]
struct Queue {
    inner: Mutex<Queued>,
    more: Condvar,
}

#[derive(Default)]
struct Queued {
    states: VecDeque<SessionState>,
    ended: bool,
    wakers: Wakers,
}

impl Queue {
    fn push(&self, state: SessionState, wakers: &mut Wakers) {
        self.change(wakers, |queued| queued.states.push_back(state));
    }

    fn would_wait(&self) -> bool {
        let queued = lock(&self.inner);
        queued.states.is_empty() && !queued.ended
    }

    fn end(&self, wakers: &mut Wakers) {
        self.change(wakers, |queued| queued.ended = true);
    }

    fn change(&self, wakers: &mut Wakers, change: impl FnOnce(&mut Queued)) {
        let mut queued = lock(&self.inner);
        change(&mut queued);
        wakers.append(&mut queued.wakers);
        drop(queued);
        self.more.notify_all();
    }
}

impl States {
    /// Waits for the next change. `None` if the client has stopped.
    ///
    /// # Cancel safety
    /// This method is cancel-safe: if the future is dropped, no change is lost.
    pub fn changed(&mut self) -> impl Future<Output = Option<SessionState>> + Send + '_ {
        std::future::poll_fn(|context| self.poll(context))
    }

    /// Blocks the thread until the next change, and returns it. `None` if the client has stopped.
    ///
    /// # Panics
    /// As [`AsyncResult::get`](crate::AsyncResult::get).
    #[track_caller]
    pub fn next_blocking(&mut self) -> Option<SessionState> {
        if self.queue.would_wait() {
            self.callback_queue.assert_may_block();
        }
        let mut queued = lock(&self.queue.inner);
        loop {
            if let Some(state) = queued.states.pop_front() {
                return Some(state);
            }
            if queued.ended {
                return None;
            }
            queued = self.queue.more.wait(queued).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Returns the next change, if there is one already. Does not block.
    pub fn try_next(&mut self) -> Option<SessionState> {
        lock(&self.queue.inner).states.pop_front()
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<SessionState>> {
        let mut queued = lock(&self.queue.inner);
        match queued.states.pop_front() {
            Some(state) => Poll::Ready(Some(state)),
            None if queued.ended => Poll::Ready(None),
            None => {
                queued.wakers.register(context.waker());
                Poll::Pending
            }
        }
    }
}

impl futures_core::Stream for States {
    type Item = SessionState;

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<SessionState>> {
        self.poll(context)
    }
}

impl fmt::Debug for States {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&lock(&self.queue.inner).states).finish()
    }
}
