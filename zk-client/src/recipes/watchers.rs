//! Watches that last: [`DataWatch`], [`ChildrenWatch`] and their streams.
//!
//! A one-shot watch tells that something has changed, not what, and is gone then. These read again each
//! time, and tell what there is now.

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

/// What a [`DataWatch`] tells of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct NodeData {
    /// The node's data and stat; `None` while there is no node.
    pub node: Option<(Bytes, Stat)>,
    /// Whether there is a node whose data are null, which are empty in [`node`](Self::node).
    pub is_null: bool,
    /// What made it read again; `None` the first time and after a lost session.
    pub event: Option<WatchedEvent>,
}

/// What a [`ChildrenWatch`] tells of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Children {
    /// The names of the children, sorted.
    pub names: Vec<Ustring>,
    /// What made it read again; `None` the first time and after a lost session.
    pub event: Option<WatchedEvent>,
}

/// What is watched: how to read it, and when it has changed.
trait Subject: Clone + Send + Sync + 'static {
    type News: Clone + Send + 'static;

    /// The path.
    fn path(&self) -> &str;

    /// Reads, and leaves a watch.
    fn read(
        &self,
        client: &Client,
    ) -> impl Future<Output = Result<(Self::News, Watch), Error>> + Send;

    /// Whether `new` differs from what was told last.
    fn differs(last: &Self::News, new: &Self::News) -> bool;

    /// Says what made it read.
    fn because(news: &mut Self::News, event: Option<WatchedEvent>);

    /// Whether it ends with its session.
    fn ends_with_session(&self) -> bool {
        false
    }
}

#[derive(Clone)]
struct Data {
    path: String,
}

impl Subject for Data {
    type News = NodeData;

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
            // There is no node to watch; watch for it to come, if it has not come meanwhile.
            let (there, watch) =
                retry_transient(client, |zk| zk.exists_and_watch(&self.path)).await?;
            if there.is_none() {
                return Ok((NodeData { node: None, is_null: false, event: None }, watch));
            }
        }
    }

    fn differs(last: &NodeData, new: &NodeData) -> bool {
        let written = |news: &NodeData| news.node.as_ref().map(|(_, stat)| stat.mzxid);
        written(last) != written(new)
    }

    fn because(news: &mut NodeData, event: Option<WatchedEvent>) {
        news.event = event;
    }
}

#[derive(Clone)]
struct Below {
    path: String,
    options: ChildrenWatchOptions,
}

impl Subject for Below {
    type News = Children;

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

    fn because(news: &mut Children, event: Option<WatchedEvent>) {
        news.event = event;
    }

    fn ends_with_session(&self) -> bool {
        self.options.ends_with_session
    }
}

/// How a watch on children is to behave: kazoo's `allow_session_lost`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[must_use = "options do nothing by themselves: see `ChildrenWatch::with_options`"]
pub struct ChildrenWatchOptions {
    ends_with_session: bool,
}

impl ChildrenWatchOptions {
    /// Whether the watch goes on in the next session when its own has expired. Default true.
    pub const fn allow_session_lost(mut self, allow: bool) -> Self {
        self.ends_with_session = !allow;
        self
    }
}

/// Where news go: to a callback or to whoever polls.
trait Listener<T>: Send + Sync + 'static {
    /// Tells `news`; false when nobody wants more.
    fn tell(&self, news: T) -> impl Future<Output = bool> + Send;
}

/// Reads, tells, waits for the watch, over and over.
async fn run<S: Subject, L: Listener<S::News>>(
    client: Client,
    subject: S,
    listener: Arc<L>,
    stop: Stop,
) -> Result<(), Error> {
    let mut told: Option<S::News> = None;
    let mut event = None;
    loop {
        let Some(read) = until_stopped(&stop, subject.read(&client)).await else { return Ok(()) };
        let watch = match read {
            Ok((mut news, watch)) => {
                if told.as_ref().is_none_or(|told| S::differs(told, &news)) {
                    told = Some(news.clone());
                    S::because(&mut news, event.take());
                    match until_stopped(&stop, listener.tell(news)).await {
                        Some(true) => {}
                        Some(false) | None => return Ok(()),
                    }
                }
                watch
            }
            Err(error) if goes_on(&subject, &error) => continue,
            Err(error) => return Err(error),
        };
        event = match until_stopped(&stop, watch).await {
            Some(Ok(event)) => Some(event),
            Some(Err(error)) if goes_on(&subject, &error) => None,
            Some(Err(error)) => return Err(error),
            None => return Ok(()),
        };
    }
}

fn goes_on<S: Subject>(subject: &S, error: &Error) -> bool {
    error.kind() == ErrorKind::SessionExpired && !subject.ends_with_session()
}

impl<T, F> Listener<T> for Callback<F>
where
    T: Send + 'static,
    F: FnMut(T) -> bool + Send + 'static,
{
    async fn tell(&self, news: T) -> bool {
        self.tell(news).await
    }
}

fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The watch on a node's data, there or not: kazoo's `DataWatch`. It ends when it is dropped.
///
/// ```no_run
/// # use zk_client::{Client, recipes::DataWatch};
/// # fn example(zk: Client) {
/// let watch = DataWatch::new(&zk, "/config", |news| {
///     match news.node {
///         Some((data, stat)) => println!("version {} is {data:?}", stat.version),
///         None => println!("there is no configuration"),
///     }
///     true // false ends it
/// });
/// # }
/// ```
///
/// # What is guaranteed
///
/// Here and for a [`ChildrenWatch`]:
///
/// - they tell what there is at once, and then every change of which they hear; a state that is already
///   told is not told again, be it after a reconnect or in a new session;
/// - between a read and the next one there is always a watch, so no change goes by unnoticed;
/// - several changes in a row may be told as one: whoever is slow hears the newest state, and nothing
///   queues up;
/// - callbacks run on the client's queue of watches, one at a time. One that panics is reported, and goes
///   on being called;
/// - over an expired session they go on in the next one, unless told otherwise. They end when the client
///   is stopped or restarted.
pub struct DataWatch {
    running: AsyncResult<()>,
}

impl DataWatch {
    /// Calls `callback` with what is at `path`: at once, and with every change, until it returns false.
    #[must_use = "the watch ends when it is dropped"]
    pub fn new(
        client: &Client,
        path: impl Into<String>,
        callback: impl FnMut(NodeData) -> bool + Send + 'static,
    ) -> Self {
        Self { running: call(client, Data { path: path.into() }, callback) }
    }

    /// The same as a stream.
    pub fn stream(client: &Client, path: impl Into<String>) -> Watcher<NodeData> {
        stream(client, Data { path: path.into() })
    }

    /// The handle on its end: complete when the callback returned false, or with the error that ended it.
    /// Cancelling it ends the watch.
    pub const fn running(&self) -> &AsyncResult<()> {
        &self.running
    }
}

/// The watch on the names of a node's children: kazoo's `ChildrenWatch`. The node must be there; when it
/// is deleted, the watch ends with [`NoNode`](crate::ErrorCode::NoNode). It ends when it is dropped. The
/// guarantees are those of a [`DataWatch`].
///
/// ```no_run
/// # use zk_client::{Client, recipes::ChildrenWatch};
/// # fn example(zk: Client) {
/// let watch = ChildrenWatch::new(&zk, "/workers", |news| {
///     println!("{} workers", news.names.len());
///     true // false ends it
/// });
/// # }
/// ```
pub struct ChildrenWatch {
    running: AsyncResult<()>,
}

impl ChildrenWatch {
    /// Calls `callback` with the names of the children of `path`: at once, and with every change, until
    /// it returns false.
    #[must_use = "the watch ends when it is dropped"]
    pub fn new(
        client: &Client,
        path: impl Into<String>,
        callback: impl FnMut(Children) -> bool + Send + 'static,
    ) -> Self {
        Self::with_options(client, path, ChildrenWatchOptions::default(), callback)
    }

    /// As [`new`](Self::new), with options.
    #[must_use = "the watch ends when it is dropped"]
    pub fn with_options(
        client: &Client,
        path: impl Into<String>,
        options: ChildrenWatchOptions,
        callback: impl FnMut(Children) -> bool + Send + 'static,
    ) -> Self {
        Self { running: call(client, Below { path: path.into(), options }, callback) }
    }

    /// The same as a stream.
    pub fn stream(client: &Client, path: impl Into<String>) -> Watcher<Children> {
        Self::stream_with_options(client, path, ChildrenWatchOptions::default())
    }

    /// As [`stream`](Self::stream), with options.
    pub fn stream_with_options(
        client: &Client,
        path: impl Into<String>,
        options: ChildrenWatchOptions,
    ) -> Watcher<Children> {
        stream(client, Below { path: path.into(), options })
    }

    /// The handle on its end: complete when the callback returned false, or with the error that ended it.
    /// Cancelling it ends the watch.
    pub const fn running(&self) -> &AsyncResult<()> {
        &self.running
    }
}

fn call<S: Subject>(
    client: &Client,
    subject: S,
    callback: impl FnMut(S::News) -> bool + Send + 'static,
) -> AsyncResult<()> {
    let runner = client.clone();
    client.spawn_cancellable(move |abandon| {
        let listener = Arc::new(Callback::new(&runner, abandon.clone(), callback));
        run(runner, subject, listener, Stop::on(abandon))
    })
}

fn stream<S: Subject>(client: &Client, subject: S) -> Watcher<S::News> {
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

/// The newest state of what is watched, as a [`Stream`](futures_core::Stream). Without a library of
/// streams, await [`changed`](Self::changed); in a thread, call [`next_blocking`](Self::next_blocking).
/// A state that was not taken before the next one came is skipped. The watch ends when this is dropped.
///
/// ```no_run
/// # use zk_client::{Client, Error, recipes::DataWatch};
/// # async fn example(zk: Client) {
/// let mut config = DataWatch::stream(&zk, "/config");
/// while let Some(news) = config.changed().await {
///     println!("{:?}", news.node);
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
    async fn tell(&self, news: T) -> bool {
        self.change(|state| {
            if state.newest.replace(news).is_some() {
                state.skipped += 1;
            }
        });
        true
    }
}

impl<T> Watcher<T> {
    /// The newest state, once there is one that was not taken; `None` when the watch has ended.
    pub fn changed(&mut self) -> impl Future<Output = Option<T>> + Send + '_
    where
        T: Send,
    {
        std::future::poll_fn(|context| self.poll(context))
    }

    /// As [`changed`](Self::changed), and blocks the thread until then.
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
            if let Some(news) = state.newest.take() {
                return Some(news);
            }
            if state.ended {
                return None;
            }
            state = self.slot.more.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// How many states were replaced by a newer one before they were taken.
    #[must_use]
    pub fn skipped(&self) -> u64 {
        lock(&self.slot.state).skipped
    }

    /// What ended the watch.
    #[must_use]
    pub fn error(&self) -> Option<Error> {
        lock(&self.slot.state).error.clone()
    }

    fn poll(&self, context: &Context<'_>) -> Poll<Option<T>> {
        let mut state = lock(&self.slot.state);
        match state.newest.take() {
            Some(news) => Poll::Ready(Some(news)),
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

/// Waits until the children of a node have not changed for `boundary`, and returns their sorted names with
/// a watch on the next change: kazoo's `PatientChildrenWatch`.
///
/// # Errors
/// [`NoNode`](crate::ErrorCode::NoNode) when the node is missing or is deleted.
pub fn patient_children_watch(
    client: &Client,
    path: impl Into<String>,
    boundary: Duration,
) -> AsyncResult<(Vec<Ustring>, Watch)> {
    let below = Below { path: path.into(), options: ChildrenWatchOptions::default() };
    let caller = client.clone();
    client.spawn_cancellable(move |abandon| async move {
        loop {
            let round = Stop::on(abandon.clone());
            let (children, watch) = match until_stopped(&round, below.read(&caller)).await {
                Some(Err(error)) if goes_on(&below, &error) => continue,
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
