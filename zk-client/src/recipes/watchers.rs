//! Watches that stay armed: [`DataWatch`], [`ChildrenWatch`] and their streams.
//!
//! A one-shot watch fires once and does not say what the node is like now. These recipes read the node again each time,
//! with a new watch, and report its state.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use zk_proto::{Ustring, records::Stat, session::WatchedEvent};

use crate::{
    AsyncResult, Client, Error, ErrorKind, Watch,
    cell::Wakers,
    from_reply::is_no_node,
    retrying::retry_transient,
    stop::{Stop, until_stopped},
};

use super::Callback;

/// The blocking forms of what waits for a result here, which `blocking.rs` re-exports.
pub(crate) mod blocking {
    use std::time::Duration;

    use crate::{Error, Ustring, Watch, client::blocking::Client};

    /// Waits until the children of a node have not changed for `boundary`, and returns their sorted names with a watch
    /// on the next change.
    ///
    /// # Errors
    /// As [`recipes::patient_children_watch`](super::patient_children_watch).
    ///
    /// # Panics
    /// As [`AsyncResult::get`](crate::AsyncResult::get).
    #[track_caller]
    pub fn patient_children_watch(
        client: &Client,
        path: impl Into<String>,
        boundary: Duration,
    ) -> Result<(Vec<Ustring>, Watch), Error> {
        super::patient_children_watch(client, path, boundary).get()
    }
}

/// The state of a node that a [`DataWatch`] reports.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct NodeData {
    /// The node's data and stat. `None` if the node does not exist.
    pub node: Option<(Bytes, Stat)>,
    /// Whether the node's data is null. It is empty in [`node`](Self::node) then.
    pub is_null: bool,
    /// The event after which the node was read. `None` the first time, and after the loss of a session.
    pub event: Option<WatchedEvent>,
}

/// The children of a node that a [`ChildrenWatch`] reports.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Children {
    /// The names of the children, sorted.
    pub names: Vec<Ustring>,
    /// The event after which the node was read. `None` the first time, and after the loss of a session.
    pub event: Option<WatchedEvent>,
}

/// What is watched: how to read it, and what counts as a change.
trait Subject: Clone + Send + Sync + 'static {
    type Snapshot: Clone + Send + 'static;

    /// The path.
    fn path(&self) -> &str;

    /// Reads the state and arms a watch.
    fn read(
        &self,
        client: &Client,
    ) -> impl Future<Output = Result<(Self::Snapshot, Watch), Error>> + Send;

    /// Whether `new` differs from the state that was reported last.
    fn differs(last: &Self::Snapshot, new: &Self::Snapshot) -> bool;

    /// Sets the event after which the state was read.
    fn set_event(snapshot: &mut Self::Snapshot, event: Option<WatchedEvent>);

    /// Whether the watch ends with its session.
    fn ends_with_session(&self) -> bool {
        false
    }
}

#[derive(Clone)]
struct DataOf {
    path: String,
}

impl Subject for DataOf {
    type Snapshot = NodeData;

    fn path(&self) -> &str {
        &self.path
    }

    async fn read(&self, client: &Client) -> Result<(NodeData, Watch), Error> {
        loop {
            match retry_transient(client, |zk| zk.get_nullable_and_watch(&self.path)).await {
                Ok((data, stat, watch)) => {
                    let is_null = data.is_none();
                    let node = Some((data.unwrap_or_default(), stat));
                    return Ok((NodeData { node, is_null, event: None }, watch));
                }
                Err(error) if is_no_node(&error) => {}
                Err(error) => return Err(error),
            }
            // The node does not exist. Watch for its creation, unless it has been created meanwhile.
            let (there, watch) =
                retry_transient(client, |zk| zk.exists_and_watch(&self.path)).await?;
            if there.is_none() {
                return Ok((NodeData { node: None, is_null: false, event: None }, watch));
            }
        }
    }

    fn differs(last: &NodeData, new: &NodeData) -> bool {
        let written = |snapshot: &NodeData| snapshot.node.as_ref().map(|(_, stat)| stat.mzxid);
        written(last) != written(new)
    }

    fn set_event(snapshot: &mut NodeData, event: Option<WatchedEvent>) {
        snapshot.event = event;
    }
}

#[derive(Clone)]
struct ChildrenOf {
    path: String,
    options: ChildrenWatchOptions,
}

impl Subject for ChildrenOf {
    type Snapshot = Children;

    fn path(&self) -> &str {
        &self.path
    }

    async fn read(&self, client: &Client) -> Result<(Children, Watch), Error> {
        let (mut names, _, watch) =
            retry_transient(client, |zk| zk.get_children_and_watch(&self.path)).await?;
        names.sort_unstable();
        Ok((Children { names, event: None }, watch))
    }

    fn differs(last: &Children, new: &Children) -> bool {
        last.names != new.names
    }

    fn set_event(snapshot: &mut Children, event: Option<WatchedEvent>) {
        snapshot.event = event;
    }

    fn ends_with_session(&self) -> bool {
        self.options.ends_with_session
    }
}

/// Options of a [`ChildrenWatch`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[must_use = "options do nothing by themselves: see `ChildrenWatch::with_options`"]
pub struct ChildrenWatchOptions {
    ends_with_session: bool,
}

impl ChildrenWatchOptions {
    /// Sets whether the watch goes on in the next session after its own has expired. The default is true.
    pub const fn allow_session_lost(mut self, allow: bool) -> Self {
        self.ends_with_session = !allow;
        self
    }
}

/// Where states are reported: a callback, or the slot of a stream.
trait Listener<T>: Send + Sync + 'static {
    /// Reports a state. Returns false if no more are wanted.
    fn tell(&self, snapshot: T) -> impl Future<Output = bool> + Send;
}

/// Reads, reports and waits for the watch, again and again.
async fn run<S: Subject, L: Listener<S::Snapshot>>(
    client: Client,
    subject: S,
    listener: Arc<L>,
    stop: Stop,
) -> Result<(), Error> {
    let mut last: Option<S::Snapshot> = None;
    let mut event = None;
    loop {
        let Some(read) = until_stopped(&stop, subject.read(&client)).await else { return Ok(()) };
        let watch = match read {
            Ok((mut snapshot, watch)) => {
                if last.as_ref().is_none_or(|last| S::differs(last, &snapshot)) {
                    last = Some(snapshot.clone());
                    S::set_event(&mut snapshot, event.take());
                    match until_stopped(&stop, listener.tell(snapshot)).await {
                        Some(true) => {}
                        Some(false) | None => return Ok(()),
                    }
                }
                watch
            }
            Err(error) if survives(&subject, &error) => continue,
            Err(error) => return Err(error),
        };
        event = match until_stopped(&stop, watch).await {
            Some(Ok(event)) => Some(event),
            Some(Err(error)) if survives(&subject, &error) => None,
            Some(Err(error)) => return Err(error),
            None => return Ok(()),
        };
    }
}

fn survives<S: Subject>(subject: &S, error: &Error) -> bool {
    error.kind() == ErrorKind::SessionExpired && !subject.ends_with_session()
}

impl<T, F> Listener<T> for Callback<F>
where
    T: Send + 'static,
    F: FnMut(T) -> bool + Send + 'static,
{
    async fn tell(&self, snapshot: T) -> bool {
        self.call_with(snapshot).await
    }
}

fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A watch on a node's data, whether or not the node exists. It ends when it is dropped.
///
/// ```no_run
/// # use zk_client::{Client, recipes::DataWatch};
/// # fn example(zk: Client) {
/// let watch = DataWatch::new(&zk, "/config", |news| {
///     match news.node {
///         Some((data, stat)) => println!("version {} is {data:?}", stat.version),
///         None => println!("there is no configuration"),
///     }
///     true // false ends the watch
/// });
/// # }
/// ```
///
/// # What is guaranteed
///
/// For this and [`ChildrenWatch`]:
///
/// - The current state is reported at once, and then every change that the client notices. A state that was
///   reported already is not reported again, neither after a reconnect nor in a new session.
/// - There is always a watch between one read and the next, so no change is missed.
/// - Several changes in a row may be reported as one. A slow callback gets the newest state; states do not queue
///   up.
/// - Callbacks run on the client's callback queue for watches, one at a time. A callback that panics is reported,
///   and is called again.
/// - After an expired session the watch goes on in the next one, unless configured otherwise. It ends when the
///   client is stopped or restarted.
pub struct DataWatch {
    running: AsyncResult<()>,
}

impl DataWatch {
    /// Calls `callback` with the state of the node at `path`: at once, and after every change, until it returns
    /// false.
    #[must_use = "the watch ends when it is dropped"]
    pub fn new(
        client: &Client,
        path: impl Into<String>,
        callback: impl FnMut(NodeData) -> bool + Send + 'static,
    ) -> Self {
        Self { running: call(client, DataOf { path: path.into() }, callback) }
    }

    /// Reports the same states as a stream.
    pub fn stream(client: &Client, path: impl Into<String>) -> Watcher<NodeData> {
        stream(client, DataOf { path: path.into() })
    }

    /// Returns the handle on the end of the watch. It completes when the callback has returned false, or with the
    /// error that ended the watch. Cancelling it ends the watch.
    pub const fn running(&self) -> &AsyncResult<()> {
        &self.running
    }
}

/// A watch on the names of a node's children. It ends when it is dropped.
///
/// The node must exist. If it is deleted, the watch ends with [`NoNode`](crate::ErrorCode::NoNode). The guarantees
/// are those of a [`DataWatch`].
///
/// ```no_run
/// # use zk_client::{Client, recipes::ChildrenWatch};
/// # fn example(zk: Client) {
/// let watch = ChildrenWatch::new(&zk, "/workers", |snapshot| {
///     println!("{} workers", snapshot.names.len());
///     true // false ends the watch
/// });
/// # }
/// ```
pub struct ChildrenWatch {
    running: AsyncResult<()>,
}

impl ChildrenWatch {
    /// Calls `callback` with the names of the children of `path`: at once, and after every change, until it returns
    /// false.
    #[must_use = "the watch ends when it is dropped"]
    pub fn new(
        client: &Client,
        path: impl Into<String>,
        callback: impl FnMut(Children) -> bool + Send + 'static,
    ) -> Self {
        Self::with_options(client, path, ChildrenWatchOptions::default(), callback)
    }

    /// Like [`new`](Self::new), with options.
    #[must_use = "the watch ends when it is dropped"]
    pub fn with_options(
        client: &Client,
        path: impl Into<String>,
        options: ChildrenWatchOptions,
        callback: impl FnMut(Children) -> bool + Send + 'static,
    ) -> Self {
        Self { running: call(client, ChildrenOf { path: path.into(), options }, callback) }
    }

    /// Reports the same states as a stream.
    pub fn stream(client: &Client, path: impl Into<String>) -> Watcher<Children> {
        Self::stream_with_options(client, path, ChildrenWatchOptions::default())
    }

    /// Like [`stream`](Self::stream), with options.
    pub fn stream_with_options(
        client: &Client,
        path: impl Into<String>,
        options: ChildrenWatchOptions,
    ) -> Watcher<Children> {
        stream(client, ChildrenOf { path: path.into(), options })
    }

    /// Returns the handle on the end of the watch. It completes when the callback has returned false, or with the
    /// error that ended the watch. Cancelling it ends the watch.
    pub const fn running(&self) -> &AsyncResult<()> {
        &self.running
    }
}

fn call<S: Subject>(
    client: &Client,
    subject: S,
    callback: impl FnMut(S::Snapshot) -> bool + Send + 'static,
) -> AsyncResult<()> {
    let runner = client.clone();
    client.spawn_cancellable(move |abandon| {
        let listener = Arc::new(Callback::new(&runner, abandon.clone(), callback));
        run(runner, subject, listener, Stop::on(abandon))
    })
}

fn stream<S: Subject>(client: &Client, subject: S) -> Watcher<S::Snapshot> {
    let slot = Arc::new(Slot::default());
    let (listener, ended) = (slot.clone(), slot.clone());
    let path = subject.path().to_owned();
    let runner = client.clone();
    let running = client.spawn_cancellable(move |abandon| async move {
        let result = run(runner, subject, listener, Stop::on(abandon)).await;
        ended.end(result.clone().err());
        result
    });
    Watcher { slot, path, running }
}

/// The newest state of a watched node, as a [`Stream`](futures_core::Stream).
///
/// In a task, await [`changed`](Self::changed), which needs no library of streams. In a thread, call
/// [`next_blocking`](Self::next_blocking). A state that was not taken before the next one came is skipped. The
/// watch ends when this is dropped.
///
/// ```no_run
/// # use zk_client::{Client, Error, recipes::DataWatch};
/// # async fn example(zk: Client) {
/// let mut config = DataWatch::stream(&zk, "/config");
/// while let Some(snapshot) = config.changed().await {
///     println!("{:?}", snapshot.node);
/// }
/// println!("it ended: {:?}", config.error());
/// # }
/// ```
pub struct Watcher<T> {
    slot: Arc<Slot<T>>,
    path: String,
    running: AsyncResult<()>,
}

struct Slot<T> {
    state: Mutex<SlotState<T>>,
    more: Condvar,
}

struct SlotState<T> {
    newest: Option<T>,
    skipped: u64,
    ended: bool,
    error: Option<Error>,
    wakers: Wakers,
}

impl<T> Default for Slot<T> {
    fn default() -> Self {
        let state = SlotState {
            newest: None,
            skipped: 0,
            ended: false,
            error: None,
            wakers: Wakers::default(),
        };
        Self { state: Mutex::new(state), more: Condvar::new() }
    }
}

impl<T> Slot<T> {
    fn change(&self, change: impl FnOnce(&mut SlotState<T>)) {
        let mut wakers = Wakers::default();
        let mut state = lock(&self.state);
        change(&mut state);
        wakers.append(&mut state.wakers);
        drop(state);
        wakers.wake();
        self.more.notify_all();
    }

    fn would_wait(&self) -> bool {
        let state = lock(&self.state);
        state.newest.is_none() && !state.ended
    }

    fn end(&self, error: Option<Error>) {
        self.change(|state| {
            state.ended = true;
            state.error = error;
        });
    }
}

impl<T: Send + 'static> Listener<T> for Slot<T> {
    async fn tell(&self, snapshot: T) -> bool {
        self.change(|state| {
            if state.newest.replace(snapshot).is_some() {
                state.skipped += 1;
            }
        });
        true
    }
}

impl<T> Watcher<T> {
    /// Waits for a state that was not taken yet, and returns the newest one. Returns `None` if the watch has ended.
    ///
    /// Cancel-safe: no state is lost if the future is dropped.
    pub fn changed(&mut self) -> impl Future<Output = Option<T>> + Send + '_
    where
        T: Send,
    {
        std::future::poll_fn(|context| self.poll(context))
    }

    /// Like [`changed`](Self::changed), and blocks the thread.
    ///
    /// # Panics
    /// As [`AsyncResult::get`].
    #[track_caller]
    pub fn next_blocking(&mut self) -> Option<T> {
        if self.slot.would_wait() {
            self.running.assert_may_block();
        }
        let mut state = lock(&self.slot.state);
        loop {
            if let Some(snapshot) = state.newest.take() {
                return Some(snapshot);
            }
            if state.ended {
                return None;
            }
            state = self.slot.more.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Returns how many states were replaced by a newer one before they were taken.
    #[must_use]
    pub fn skipped(&self) -> u64 {
        lock(&self.slot.state).skipped
    }

    /// Returns the error that ended the watch.
    #[must_use]
    pub fn error(&self) -> Option<Error> {
        lock(&self.slot.state).error.clone()
    }

    fn poll(&self, context: &Context<'_>) -> Poll<Option<T>> {
        let mut state = lock(&self.slot.state);
        match state.newest.take() {
            Some(snapshot) => Poll::Ready(Some(snapshot)),
            None if state.ended => Poll::Ready(None),
            None => {
                state.wakers.register(context.waker());
                Poll::Pending
            }
        }
    }
}

impl<T> futures_core::Stream for Watcher<T> {
    type Item = T;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        self.poll(context)
    }
}

/// Waits until the children of a node have not changed for `boundary`, and returns their sorted names with a watch
/// on the next change.
///
/// # Errors
/// [`NoNode`](crate::ErrorCode::NoNode) if the node does not exist or is deleted.
///
/// # Cancel safety
/// Dropping or cancelling the result ends the watch, and has no other effect.
pub fn patient_children_watch(
    client: &Client,
    path: impl Into<String>,
    boundary: Duration,
) -> AsyncResult<(Vec<Ustring>, Watch)> {
    let below = ChildrenOf { path: path.into(), options: ChildrenWatchOptions::default() };
    let caller = client.clone();
    client.spawn_cancellable(move |abandon| async move {
        loop {
            let round = Stop::on(abandon.clone());
            let (children, watch) = match until_stopped(&round, below.read(&caller)).await {
                Some(Err(error)) if survives(&below, &error) => continue,
                Some(read) => read?,
                None => return Err(Error::cancelled(None)),
            };
            let quiet = Stop::new(caller.inner(), abandon.clone(), Some(boundary));
            if until_stopped(&quiet, watch.clone()).await.is_none() {
                return if quiet.is_abandoned() {
                    Err(Error::cancelled(None))
                } else {
                    Ok((children.names, watch))
                };
            }
        }
    })
}

impl fmt::Debug for DataWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DataWatch({:?})", self.running)
    }
}

impl fmt::Debug for ChildrenWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChildrenWatch({:?})", self.running)
    }
}

impl<T> fmt::Debug for Watcher<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Watcher({}, {} skipped)", self.path, self.skipped())
    }
}
