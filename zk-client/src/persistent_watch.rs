//! [`PersistentWatch`], a stream of all changes of a node or of a tree.

use std::{
    collections::VecDeque,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::Pin,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use zk_handler::CallbackQueue;
use zk_proto::{AddWatchMode, EventType, Ustring, session::WatchedEvent};

use crate::{
    Error,
    cell::Wakers,
    inner::{ClientInner, WatchId},
    pending_call::WatchNotice,
    watch::WatchTarget,
};

/// How many events a watch keeps for its reader by default.
const QUEUE_LIMIT: usize = 4_096;
/// How many bytes the paths of queued events may have, on average.
const PATH_BYTES_PER_EVENT: usize = 512;

/// What a persistent watch watches, and how many events it keeps, for [`Client::add_watch`](crate::Client::add_watch).
///
/// An [`AddWatchMode`] alone is enough for the defaults.
///
/// ```no_run
/// use zk_client::{AddWatchMode, AddWatchOptions};
///
/// # async fn example(zk: zk_client::Client) -> Result<(), zk_client::Error> {
/// let options = AddWatchOptions::new(AddWatchMode::PersistentRecursive).queue_limit(100);
/// let watch = zk.add_watch("/app", options).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "they do nothing by themselves: see `Client::add_watch`"]
pub struct AddWatchOptions {
    pub(crate) mode: AddWatchMode,
    queue_limit: usize,
}

impl AddWatchOptions {
    /// Options for a watch of this mode, with the defaults.
    pub const fn new(mode: AddWatchMode) -> Self {
        Self { mode, queue_limit: QUEUE_LIMIT }
    }

    /// Sets how many events are kept for a slow reader. If one more arrives, all of them are dropped, and
    /// [`Overflow`](PersistentWatchEvent::Overflow) takes their place. The default is 4,096; at least one is kept.
    ///
    /// So that memory is bounded, the same happens if the paths of the events have more than 512 bytes on average.
    pub const fn queue_limit(mut self, events: usize) -> Self {
        self.queue_limit = events;
        self
    }
}

impl From<AddWatchMode> for AddWatchOptions {
    fn from(mode: AddWatchMode) -> Self {
        Self::new(mode)
    }
}

/// An item of a [`PersistentWatch`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum PersistentWatchEvent {
    /// A node has changed. The path is relative to the chroot of the client that added the watch. The zxid is there if
    /// the server sends it (ZooKeeper 3.9 and later).
    Changed(WatchedEvent),
    /// Changes after the transaction `since` may be missing, because the connection was lost meanwhile, or because the
    /// server can miss changes at that moment. The watch goes on. Read again what you watch: the reads that you make
    /// from now on show what was missed, and later changes are reported.
    Gap {
        /// The zxid of the newest transaction of which no change is missing.
        since: i64,
    },
    /// The reader was too slow, and events were dropped, including gaps: all those that were not read before this one.
    /// The watch goes on. Read again what you watch, as for a gap.
    Overflow,
    /// The watch was removed, by [`remove_all_watches`](crate::Client::remove_all_watches) or by the server. This is the
    /// last item.
    Removed,
    /// The session of the watch has ended: it has expired
    /// ([`SessionExpired`](crate::ErrorKind::SessionExpired)), or the client was stopped
    /// ([`ConnectionClosed`](crate::ErrorKind::ConnectionClosed)). This is the last item. Add the watch again in the next
    /// session.
    Ended(Error),
}

impl PersistentWatchEvent {
    /// Whether it is the last item of its watch.
    #[must_use]
    pub const fn is_last(&self) -> bool {
        matches!(self, Self::Removed | Self::Ended(_))
    }

    /// Whether changes may be missing before this item, so that what is watched must be read again.
    #[must_use]
    pub const fn is_loss(&self) -> bool {
        matches!(self, Self::Gap { .. } | Self::Overflow)
    }
}

/// A persistent watch: a stream of all changes of a node, or of a node and all nodes below it, from
/// [`Client::add_watch`](crate::Client::add_watch).
///
/// The items are [`PersistentWatchEvent`]s. Every change is reported in order, and before the result of a later reply. If
/// changes may be missing, the stream says so: after a reconnect by [`Gap`](PersistentWatchEvent::Gap), and if the reader
/// is too slow by [`Overflow`](PersistentWatchEvent::Overflow). The last item says why the watch has ended.
///
/// Await [`next`](Self::next), use it as a [`Stream`](futures_core::Stream), block a thread on
/// [`next_blocking`](Self::next_blocking), or give it a callback with [`on_event`](Self::on_event). Clones are the same
/// stream: each item goes to one of them.
///
/// The watch is removed when its last clone is dropped. Watches of the same client on the same path and of the same mode
/// share one watch on the server. When the last of them is dropped, it is
/// [removed from the server](crate::ClientBuilder::unwatch_after), too.
///
/// ```no_run
/// use zk_client::{AddWatchMode, PersistentWatchEvent};
///
/// # async fn example(zk: zk_client::Client) -> Result<(), zk_client::Error> {
/// let mut watch = zk.add_watch("/app", AddWatchMode::PersistentRecursive).await?;
/// while let Some(event) = watch.next().await {
///     match event {
///         PersistentWatchEvent::Changed(event) => println!("{:?} {}", event.kind, event.path),
///         PersistentWatchEvent::Gap { .. } | PersistentWatchEvent::Overflow => {
///             println!("read all again");
///         }
///         last => println!("{last:?}"),
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use = "a watch is removed when it is dropped"]
pub struct PersistentWatch {
    armed: Arc<Armed>,
}

struct Armed {
    inner: Arc<ClientInner>,
    id: WatchId,
    queue: Arc<Queue>,
}

impl PersistentWatch {
    /// Waits for the next item. `None` after the last one.
    ///
    /// # Cancel safety
    /// This method is cancel-safe: if the future is dropped, no item is lost.
    #[expect(
        clippy::should_implement_trait,
        reason = "it returns a future, like `next` of streams"
    )]
    pub fn next(&mut self) -> impl Future<Output = Option<PersistentWatchEvent>> + Send + '_ {
        std::future::poll_fn(|context| self.armed.queue.poll(context))
    }

    /// Blocks the thread until the next item, and returns it. `None` after the last one.
    ///
    /// # Panics
    /// As [`AsyncResult::get`](crate::AsyncResult::get).
    #[track_caller]
    pub fn next_blocking(&mut self) -> Option<PersistentWatchEvent> {
        loop {
            self.wait(None);
            match self.armed.queue.lock().pop() {
                Popped::Nothing => {}
                Popped::Item(item) => return Some(item),
                Popped::End => return None,
            }
        }
    }

    /// Returns the next item, if there is one already. Does not block.
    pub fn try_next(&mut self) -> Option<PersistentWatchEvent> {
        match self.armed.queue.lock().pop() {
            Popped::Item(item) => Some(item),
            Popped::Nothing | Popped::End => None,
        }
    }

    /// Blocks the thread until there is an item or the watch has ended, or `timeout` has passed (`None`: no timeout).
    /// Returns false after a timeout.
    ///
    /// # Panics
    /// As [`AsyncResult::get`](crate::AsyncResult::get).
    #[track_caller]
    pub fn wait(&self, timeout: impl Into<Option<Duration>>) -> bool {
        let timeout = timeout.into();
        let would_block = !self.armed.queue.lock().is_ready();
        if would_block && timeout.is_none_or(|timeout| !timeout.is_zero()) {
            self.armed.inner.dispatcher.events.assert_may_block();
        }
        self.armed.queue.wait(timeout)
    }

    /// Calls `callback` with every item, until it returns false or the watch has ended. The last item is passed to it,
    /// too.
    ///
    /// Callbacks run in the callback queue of watches, one at a time. The watch stays until then, though this handle is
    /// consumed. A callback that panics is called again with the next item.
    pub fn on_event(self, callback: impl FnMut(PersistentWatchEvent) -> bool + Send + 'static) {
        let queue = self.armed.queue.clone();
        let callback_queue = self.armed.inner.dispatcher.events.clone();
        let reader = Reader { callback: Box::new(callback), _armed: self.armed };
        let replaced = {
            let mut queued = queue.lock();
            if queued.items.is_empty() && queued.has_ended {
                // The last item was taken by a clone.
                Some(reader)
            } else {
                queued.reader.replace(reader)
            }
        };
        // Dropped with no lock held: it may own anything.
        drop(replaced);
        queue.call_reader_later(&callback_queue);
    }
}

impl futures_core::Stream for PersistentWatch {
    type Item = PersistentWatchEvent;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.armed.queue.poll(context)
    }
}

impl Drop for Armed {
    fn drop(&mut self) {
        if !self.queue.lock().has_ended {
            self.inner.unwatch(self.id);
        }
    }
}

impl fmt::Debug for PersistentWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let queued = self.armed.queue.lock();
        f.debug_struct("PersistentWatch")
            .field("queued", &queued.items.len())
            .field("has_ended", &queued.has_ended)
            .finish()
    }
}

/// The items that were not read yet.
pub(crate) struct Queue {
    inner: Mutex<Queued>,
    more: Condvar,
    limit: usize,
}

struct Queued {
    items: VecDeque<PersistentWatchEvent>,
    /// The length of all paths of `items`.
    path_bytes: usize,
    /// Whether there is an overflow among the items. Then it is the only one, but for the last one: what follows is
    /// covered by what the reader reads after it.
    has_overflow: bool,
    /// Whether the last item was queued.
    has_ended: bool,
    wakers: Wakers,
    reader: Option<Reader>,
    /// Whether a call of the reader is queued or running.
    reader_is_due: bool,
}

/// A callback that reads the items.
struct Reader {
    callback: Box<dyn FnMut(PersistentWatchEvent) -> bool + Send>,
    /// Keeps the watch.
    _armed: Arc<Armed>,
}

enum Popped {
    Item(PersistentWatchEvent),
    Nothing,
    End,
}

impl Queued {
    fn is_ready(&self) -> bool {
        !self.items.is_empty() || self.has_ended
    }

    fn pop(&mut self) -> Popped {
        match self.items.pop_front() {
            Some(item) => {
                match &item {
                    PersistentWatchEvent::Changed(event) => self.path_bytes -= event.path.len(),
                    PersistentWatchEvent::Overflow => self.has_overflow = false,
                    _ => {}
                }
                Popped::Item(item)
            }
            None if self.has_ended => Popped::End,
            None => Popped::Nothing,
        }
    }

    /// Adds an item that is not the last one, unless the limit is reached.
    fn push(&mut self, item: PersistentWatchEvent, limit: usize) {
        if self.has_overflow {
            return;
        }
        let path_bytes = match &item {
            PersistentWatchEvent::Changed(event) => event.path.len(),
            _ => 0,
        };
        let all_bytes = self.path_bytes.saturating_add(path_bytes);
        if self.items.len() >= limit || all_bytes > limit.saturating_mul(PATH_BYTES_PER_EVENT) {
            self.items.clear();
            self.items.push_back(PersistentWatchEvent::Overflow);
            self.path_bytes = 0;
            self.has_overflow = true;
        } else {
            self.items.push_back(item);
            self.path_bytes = all_bytes;
        }
    }
}

impl Queue {
    pub(crate) fn new(options: AddWatchOptions) -> Arc<Self> {
        Arc::new(Self {
            inner: Mutex::new(Queued {
                items: VecDeque::new(),
                path_bytes: 0,
                has_overflow: false,
                has_ended: false,
                wakers: Wakers::default(),
                reader: None,
                reader_is_due: false,
            }),
            more: Condvar::new(),
            limit: options.queue_limit.max(1),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Queued> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, item: PersistentWatchEvent, wakers: &mut Wakers) {
        let mut queued = self.lock();
        if queued.has_ended {
            return;
        }
        if item.is_last() {
            queued.items.push_back(item);
            queued.has_ended = true;
        } else {
            queued.push(item, self.limit);
        }
        wakers.append(&mut queued.wakers);
        drop(queued);
        self.more.notify_all();
    }

    fn poll(&self, context: &mut Context<'_>) -> Poll<Option<PersistentWatchEvent>> {
        let mut queued = self.lock();
        match queued.pop() {
            Popped::Item(item) => Poll::Ready(Some(item)),
            Popped::End => Poll::Ready(None),
            Popped::Nothing => {
                queued.wakers.register(context.waker());
                Poll::Pending
            }
        }
    }

    fn wait(&self, timeout: Option<Duration>) -> bool {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut queued = self.lock();
        while !queued.is_ready() {
            queued = match deadline {
                None => self.more.wait(queued).unwrap_or_else(PoisonError::into_inner),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return false;
                    }
                    let waited = self.more.wait_timeout(queued, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        true
    }

    /// Queues a call of the reader, if there are items for it and no call is queued yet. So the callback queue holds at
    /// most one job of each watch.
    fn call_reader_later(self: &Arc<Self>, callback_queue: &CallbackQueue) {
        {
            let mut queued = self.lock();
            if queued.reader_is_due || queued.reader.is_none() || queued.items.is_empty() {
                return;
            }
            queued.reader_is_due = true;
        }
        let (queue, next) = (self.clone(), callback_queue.clone());
        callback_queue.push(move || queue.call_reader(&next));
    }

    /// Calls the reader with one item.
    fn call_reader(self: &Arc<Self>, callback_queue: &CallbackQueue) {
        let (mut reader, item) = {
            let mut queued = self.lock();
            queued.reader_is_due = false;
            // A clone may have taken the item.
            let Popped::Item(item) = queued.pop() else { return };
            let Some(reader) = queued.reader.take() else { return };
            queued.reader_is_due = true;
            (reader, item)
        };
        let is_last = item.is_last();
        let wants_more = catch_unwind(AssertUnwindSafe(|| (reader.callback)(item)));
        let goes_on = !is_last && !matches!(wants_more, Ok(false));
        {
            let mut queued = self.lock();
            queued.reader_is_due = false;
            if goes_on && queued.reader.is_none() {
                queued.reader = Some(reader);
            } else {
                drop(queued);
                // With no lock held: it may own anything.
                drop(reader);
            }
        }
        self.call_reader_later(callback_queue);
        if let Err(panic) = wants_more {
            resume_unwind(panic);
        }
    }
}

impl WatchTarget for Queue {
    type Handle = PersistentWatch;

    fn handle(self: Arc<Self>, inner: Arc<ClientInner>, id: WatchId) -> PersistentWatch {
        PersistentWatch { armed: Arc::new(Armed { inner, id, queue: self }) }
    }

    fn notify(
        self: &Arc<Self>,
        notice: WatchNotice,
        callback_queue: &CallbackQueue,
        wakers: &mut Wakers,
    ) {
        let item = match notice {
            WatchNotice::Event(event) if event.kind == EventType::PersistentWatchRemoved => {
                PersistentWatchEvent::Removed
            }
            WatchNotice::Event(mut event) => {
                // A copy, as the path may share a large buffer with other data that arrived.
                event.path = Ustring::from(&*event.path);
                PersistentWatchEvent::Changed(event)
            }
            WatchNotice::Gap { since } => PersistentWatchEvent::Gap { since },
            WatchNotice::Ended(error) => PersistentWatchEvent::Ended(error),
        };
        self.push(item, wakers);
        self.call_reader_later(callback_queue);
    }
}
