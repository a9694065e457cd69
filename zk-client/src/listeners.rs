//! Who is told when the session's state changes: callbacks and streams.

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

use zk_handler::Lane;
use zk_proto::session::State;

use crate::result::Wakers;

/// Names a listener, for [`Client::remove_listener`](crate::Client::remove_listener).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ListenerId(u64);

type Callback = Box<dyn FnMut(State) -> bool + Send>;

struct Listener {
    id: ListenerId,
    /// Taken while it runs; a lane runs one job at a time, so nobody finds it missing.
    callback: Mutex<Option<Callback>>,
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
        let listener = Listener { id, callback: Mutex::new(Some(callback)) };
        lock(&self.inner.callbacks).push(Arc::new(listener));
        id
    }

    pub(crate) fn remove(&self, id: ListenerId) -> bool {
        self.inner.remove(id)
    }

    pub(crate) fn stream(&self) -> States {
        let queue = Arc::<Queue>::default();
        let mut streams = lock(&self.inner.streams);
        streams.retain(|stream| stream.strong_count() > 0);
        streams.push(Arc::downgrade(&queue));
        States { queue }
    }

    /// Tells everybody who listens now. Streams have the state when this returns; callbacks are queued.
    pub(crate) fn tell(&self, state: State, lane: &Lane, wakers: &mut Wakers) {
        for queue in lock(&self.inner.streams).iter().filter_map(Weak::upgrade) {
            queue.push(state, wakers);
        }
        let listeners = lock(&self.inner.callbacks).clone();
        for listener in listeners {
            let inner = self.inner.clone();
            lane.run(move || inner.call(&listener, state));
        }
    }
}

impl Inner {
    fn call(&self, listener: &Listener, state: State) {
        let callback = lock(&listener.callback).take();
        let Some(mut callback) = callback else { return };
        match catch_unwind(AssertUnwindSafe(|| callback(state))) {
            Ok(true) => *lock(&listener.callback) = Some(callback),
            Ok(false) => {
                self.remove(listener.id);
            }
            Err(panic) => {
                *lock(&listener.callback) = Some(callback);
                std::panic::resume_unwind(panic);
            }
        }
    }

    fn remove(&self, id: ListenerId) -> bool {
        let mut callbacks = lock(&self.callbacks);
        let before = callbacks.len();
        callbacks.retain(|listener| listener.id != id);
        callbacks.len() < before
    }
}

/// The changes of a session's state, from the moment at which this was made: none missed, none twice.
///
/// It is a [`Stream`](futures_core::Stream) for async code, and [`next`](Self::next) blocks a thread.
/// It does not end; it goes on over stops and restarts of its client.
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
}

#[derive(Default)]
struct Queue {
    states: Mutex<(VecDeque<State>, Wakers)>,
    more: Condvar,
}

impl Queue {
    fn push(&self, state: State, wakers: &mut Wakers) {
        let mut states = lock(&self.states);
        states.0.push_back(state);
        wakers.append(&mut states.1);
        drop(states);
        self.more.notify_all();
    }
}

impl States {
    /// The next change, awaited. It is never `None`.
    pub fn changed(&mut self) -> impl Future<Output = Option<State>> + Send + '_ {
        std::future::poll_fn(|context| self.poll(context))
    }

    /// The next change; blocks the thread until there is one.
    #[expect(clippy::should_implement_trait, reason = "an iterator that blocks would surprise")]
    pub fn next(&mut self) -> State {
        let mut states = lock(&self.queue.states);
        loop {
            if let Some(state) = states.0.pop_front() {
                return state;
            }
            states = self.queue.more.wait(states).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The next change, if there was one already.
    pub fn try_next(&mut self) -> Option<State> {
        lock(&self.queue.states).0.pop_front()
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<State>> {
        let mut states = lock(&self.queue.states);
        match states.0.pop_front() {
            Some(state) => Poll::Ready(Some(state)),
            None => {
                states.1.register(context.waker());
                Poll::Pending
            }
        }
    }
}

impl futures_core::Stream for States {
    type Item = State;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<State>> {
        self.poll(context)
    }
}

impl fmt::Debug for States {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&lock(&self.queue.states).0).finish()
    }
}
