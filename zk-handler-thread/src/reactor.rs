//! Connections and timers.
//!
//! What is known of them is at home on the I/O thread, where the tasks that use them run as well; so it
//! needs no lock.

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

/// The token of the alarm, which ends the thread's wait.
pub(crate) const ALARM: Token = Token(usize::MAX);

/// How long the thread waits at most: longer times may not fit into what the system takes.
const LONGEST: Duration = Duration::from_secs(3600);

/// Whether doing less than was wanted is as good as "would block": on epoll and kqueue it is.
const SHORT_MEANS_DONE: bool =
    cfg!(any(target_os = "linux", target_os = "freebsd", target_vendor = "apple"));

thread_local!(static REACTOR: RefCell<Option<Reactor>> = const { RefCell::new(None) });

/// The sockets and the timers of a thread.
pub(crate) struct Reactor {
    poll: mio::Poll,
    events: Events,
    sources: BTreeMap<Token, Source>,
    /// Those who sleep, by deadline. The number tells those with the same deadline apart.
    sleepers: BTreeMap<(Duration, usize), Waker>,
}

/// What is known of a socket.
struct Source {
    /// Whom to wake when the system tells that one can read. If nobody, it has told: an attempt may succeed.
    reader: Option<Waker>,
    /// The same for writing.
    writer: Option<Waker>,
    /// The peer has hung up, or the connection has failed: the system may tell nothing more.
    closed: bool,
}

/// Does `work` with the reactor of this thread. Wakers are for the caller to call, and to drop, afterwards:
/// both may lead back here.
pub(crate) fn with<T>(work: impl FnOnce(&mut Reactor) -> io::Result<T>) -> io::Result<T> {
    let done = REACTOR.try_with(|it| it.try_borrow_mut().ok()?.as_mut().map(work));
    done.ok().flatten().unwrap_or_else(|| Err(elsewhere()))
}

fn elsewhere() -> io::Error {
    io::Error::other("not on the I/O thread that this belongs to")
}

/// A number that no other connection or timer of the process has, whichever its thread.
fn number() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

impl Reactor {
    /// Gives this thread a reactor.
    pub(crate) fn start(poll: mio::Poll) {
        let events = Events::with_capacity(1024);
        let reactor = Self { poll, events, sources: BTreeMap::new(), sleepers: BTreeMap::new() };
        REACTOR.set(Some(reactor));
    }

    /// Finds out who is to be woken; if `idle`, waits until there is somebody or the alarm is raised.
    pub(crate) fn wait(&mut self, idle: bool, wakers: &mut Vec<Waker>) -> io::Result<()> {
        let mut timeout = if idle { LONGEST } else { Duration::ZERO };
        if let Some((&(deadline, _), _)) = self.sleepers.first_key_value() {
            timeout = timeout.min(deadline.saturating_sub(boottime()));
        }
        match self.poll.poll(&mut self.events, Some(timeout)) {
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        for event in &self.events {
            let Some(source) = self.sources.get_mut(&event.token()) else { continue };
            let closed = event.is_read_closed() || event.is_write_closed() || event.is_error();
            source.closed |= closed;
            if event.is_readable() || closed {
                wakers.extend(source.reader.take());
            }
            if event.is_writable() || closed {
                wakers.extend(source.writer.take());
            }
        }
        let now = boottime();
        while let Some(first) = self.sleepers.first_entry()
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
        let mut stream = Self { socket: TcpStream::connect(address)?, token: Token(number()) };
        with(|reactor| {
            let interest = Interest::READABLE | Interest::WRITABLE;
            reactor.poll.registry().register(&mut stream.socket, stream.token, interest)?;
            // When it is connected, or when that has failed, the system tells that one can write.
            let writer = Some(Waker::noop().clone());
            reactor.sources.insert(stream.token, Source { reader: None, writer, closed: false });
            Ok(())
        })?;
        let outcome = || stream.socket.take_error()?.map_or(Ok(0), Err);
        poll_fn(|context| stream.attempt(|it| &mut it.writer, context, 0, outcome)).await?;
        stream.socket.set_nodelay(true)?;
        Ok(stream)
    }

    /// Attempts `operation` on up to `wanted` bytes, unless it is known to be in vain.
    ///
    /// The system tells of readiness when it begins, so one has to go on until it ends: to the error
    /// "would block" or, where the system is known to keep to that, to an operation that does less than
    /// was wanted. Whoever gets so far is woken when it begins again. The end of a stream is told along
    /// with the last bytes, though, and only once: after that, a short read proves nothing.
    fn attempt(
        &self,
        whose: fn(&mut Source) -> &mut Option<Waker>,
        context: &Context<'_>,
        wanted: usize,
        operation: impl FnOnce() -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        let (result, _earlier_waker) = with(|reactor| {
            let source = reactor.sources.get_mut(&self.token).ok_or_else(elsewhere)?;
            let (closed, waker) = (source.closed, whose(source));
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
        self.attempt(|it| &mut it.reader, context, wanted, || (&self.socket).read(buffer))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.attempt(|it| &mut it.writer, context, bytes.len(), || (&self.socket).write(bytes))
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
            // Closing the socket does it as well.
            let _ = reactor.poll.registry().deregister(&mut self.socket);
            Ok(reactor.sources.remove(&self.token))
        });
    }
}

/// A place among the sleepers. It is given up when dropped.
struct Timer((Duration, usize));

/// Completes at `deadline`.
pub(crate) async fn sleep_until(deadline: Duration) {
    let timer = Timer((deadline, number()));
    poll_fn(|context| {
        if boottime() >= deadline {
            return Poll::Ready(());
        }
        let waker = context.waker().clone();
        let _earlier_waker = with(|reactor| Ok(reactor.sleepers.insert(timer.0, waker)))
            .expect("a timer is for tasks of a ThreadHandler");
        Poll::Pending
    })
    .await;
}

impl Drop for Timer {
    fn drop(&mut self) {
        let _waker = with(|reactor| Ok(reactor.sleepers.remove(&self.0)));
    }
}
