//! The reactor: the sockets and timers of one I/O thread.
//!
//! It is stored in a thread-local variable, as the tasks that use it run on the same thread. It needs no lock.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    future::poll_fn,
    io::{self, ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr},
    pin::Pin,
    sync::atomic::{AtomicUsize, Ordering},
    task::{Context, Poll, Waker},
    time::Duration,
};

use mio::{Events, Interest, Token, net::TcpStream};
use zk_handler::{AsyncRead, AsyncWrite, boottime};

/// The token of the waker.
pub(crate) const WAKER: Token = Token(usize::MAX);

/// The longest time that the thread waits. The system may not accept longer ones.
const MAX_WAIT: Duration = Duration::from_secs(3600);

/// Whether a short read or write means that the next one would block. On epoll and kqueue it does.
const SHORT_MEANS_DONE: bool =
    cfg!(any(target_os = "linux", target_os = "freebsd", target_vendor = "apple"));

thread_local!(static REACTOR: RefCell<Option<Reactor>> = const { RefCell::new(None) });

/// The sockets and timers of a thread.
pub(crate) struct Reactor {
    poll: mio::Poll,
    events: Events,
    sources: BTreeMap<Token, Source>,
    /// The wakers of the timers by deadline. The id distinguishes timers with the same deadline.
    timers: BTreeMap<(Duration, usize), Waker>,
}

/// The readiness of a socket.
struct Source {
    /// The waker to call when the socket becomes readable. If `None`, it may be readable: a read is attempted.
    reader: Option<Waker>,
    /// The same for writing.
    writer: Option<Waker>,
    /// The peer has closed the connection, or it has failed. The system may report nothing more.
    is_closed: bool,
}

/// Calls `f` with the reactor of this thread. `f` must neither call nor drop a waker, as both may call this function
/// again; the caller does so afterwards.
pub(crate) fn with<T>(f: impl FnOnce(&mut Reactor) -> io::Result<T>) -> io::Result<T> {
    let done = REACTOR.try_with(|it| it.try_borrow_mut().ok()?.as_mut().map(f));
    done.ok().flatten().unwrap_or_else(|| Err(wrong_thread()))
}

fn wrong_thread() -> io::Error {
    io::Error::other(
        "a connection of a ThreadHandler was used outside of the I/O thread that it belongs to",
    )
}

/// An id for a connection or timer that is unique in the process.
fn unique_id() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

impl Reactor {
    /// Creates the reactor of the calling thread.
    pub(crate) fn start(poll: mio::Poll) {
        let events = Events::with_capacity(1024);
        let reactor = Self { poll, events, sources: BTreeMap::new(), timers: BTreeMap::new() };
        REACTOR.set(Some(reactor));
    }

    /// Collects the wakers of ready sockets and expired timers. If `idle`, waits until there is one, or until the thread
    /// is woken.
    pub(crate) fn wait(&mut self, idle: bool, wakers: &mut Vec<Waker>) -> io::Result<()> {
        let mut timeout = if idle { MAX_WAIT } else { Duration::ZERO };
        if let Some((&(deadline, _), _)) = self.timers.first_key_value() {
            timeout = timeout.min(deadline.saturating_sub(boottime()));
        }
        match self.poll.poll(&mut self.events, Some(timeout)) {
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        for event in &self.events {
            let Some(source) = self.sources.get_mut(&event.token()) else { continue };
            let closed = event.is_read_closed() || event.is_write_closed() || event.is_error();
            source.is_closed |= closed;
            if event.is_readable() || closed {
                wakers.extend(source.reader.take());
            }
            if event.is_writable() || closed {
                wakers.extend(source.writer.take());
            }
        }
        let now = boottime();
        while let Some(first) = self.timers.first_entry()
            && first.key().0 <= now
        {
            wakers.push(first.remove());
        }
        Ok(())
    }
}

/// A TCP connection of a [`ThreadHandler`](crate::ThreadHandler).
#[derive(Debug)]
pub struct Stream {
    socket: TcpStream,
    token: Token,
}

impl Stream {
    pub(crate) async fn connect(address: SocketAddr) -> io::Result<Self> {
        let mut stream = Self { socket: TcpStream::connect(address)?, token: Token(unique_id()) };
        with(|reactor| {
            let interest = Interest::READABLE | Interest::WRITABLE;
            reactor.poll.registry().register(&mut stream.socket, stream.token, interest)?;
            // The socket becomes writable when the connection is established or has failed.
            let writer = Some(Waker::noop().clone());
            reactor.sources.insert(stream.token, Source { reader: None, writer, is_closed: false });
            Ok(())
        })?;
        let connected = || stream.socket.take_error()?.map_or(Ok(0), Err);
        poll_fn(|context| stream.attempt(|source| &mut source.writer, context, 0, connected))
            .await?;
        stream.socket.set_nodelay(true)?;
        Ok(stream)
    }

    /// Attempts `operation` on up to `wanted` bytes, unless it would block.
    ///
    /// The system reports readiness when it begins (it is edge-triggered). The socket counts as ready until an operation
    /// would block or, if [`SHORT_MEANS_DONE`], has handled fewer bytes than wanted; the task is then woken when the
    /// socket becomes ready again. The end of the stream is reported along with the last bytes, and only once: after
    /// that, a short read does not mean that the next one would block.
    fn attempt(
        &self,
        waker_of: fn(&mut Source) -> &mut Option<Waker>,
        context: &Context<'_>,
        wanted: usize,
        operation: impl FnOnce() -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        let (result, _earlier_waker) = with(|reactor| {
            let source = reactor.sources.get_mut(&self.token).ok_or_else(wrong_thread)?;
            let (closed, waker) = (source.is_closed, waker_of(source));
            let result = match waker {
                None => operation(),
                Some(_) => Err(ErrorKind::WouldBlock.into()),
            };
            let over = match &result {
                Err(error) => error.kind() == ErrorKind::WouldBlock,
                Ok(done) => SHORT_MEANS_DONE && !closed && (1..wanted).contains(done),
            };
            Ok((result, std::mem::replace(waker, over.then(|| context.waker().clone()))))
        })?;
        match result {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Poll::Pending,
            result => Poll::Ready(result),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let wanted = buffer.len();
        self.attempt(|source| &mut source.reader, context, wanted, || (&self.socket).read(buffer))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.attempt(
            |source| &mut source.writer,
            context,
            bytes.len(),
            || (&self.socket).write(bytes),
        )
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.socket.shutdown(Shutdown::Write))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let _source = with(|reactor| {
            // If this fails: closing the socket deregisters it, too.
            let _ = reactor.poll.registry().deregister(&mut self.socket);
            Ok(reactor.sources.remove(&self.token))
        });
    }
}

/// An entry among the timers of the reactor. Dropping it removes the entry.
struct Timer((Duration, usize));

/// Completes at `deadline`. Cancel-safe: dropping the future removes the timer.
pub(crate) async fn sleep_until(deadline: Duration) {
    let timer = Timer((deadline, unique_id()));
    poll_fn(|context| {
        if boottime() >= deadline {
            return Poll::Ready(());
        }
        let waker = context.waker().clone();
        let _earlier_waker = with(|reactor| Ok(reactor.timers.insert(timer.0, waker)))
            .expect("a timer of a ThreadHandler only works in its tasks");
        Poll::Pending
    })
    .await;
}

impl Drop for Timer {
    fn drop(&mut self) {
        let _waker = with(|reactor| Ok(reactor.timers.remove(&self.0)));
    }
}
