//! A connection, and what is known of its readiness.

use std::{
    future::poll_fn,
    io::{self, ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr},
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
};

use mio::{Token, event::Event, net::TcpStream};
use zk_handler::{AsyncRead, AsyncWrite};

use crate::io::{Io, lock};

/// A TCP connection of a [`ThreadHandler`](crate::ThreadHandler).
#[derive(Debug)]
pub struct Stream {
    io: Arc<Io>,
    socket: TcpStream,
    token: Token,
    readiness: Arc<Mutex<Readiness>>,
}

/// What the system has told of a socket, and what has been found since.
#[derive(Debug, Default)]
pub(crate) struct Readiness {
    read: Direction,
    write: Direction,
}

#[derive(Debug, Default)]
struct Direction {
    /// The next attempt may succeed. Otherwise the system will tell.
    ready: bool,
    /// The peer has hung up, or the connection has failed: the system will tell nothing more.
    closed: bool,
    waker: Option<Waker>,
}

impl Readiness {
    pub(crate) fn update(&mut self, event: &Event, wakers: &mut Vec<Waker>) {
        let failed = event.is_error();
        self.read.update(event.is_readable(), event.is_read_closed() || failed, wakers);
        self.write.update(event.is_writable(), event.is_write_closed() || failed, wakers);
    }
}

impl Direction {
    fn update(&mut self, ready: bool, closed: bool, wakers: &mut Vec<Waker>) {
        self.closed |= closed;
        self.ready |= ready || closed;
        if self.ready {
            wakers.extend(self.waker.take());
        }
    }

    /// Attempts `operation` on up to `wanted` bytes, unless it is known to be in vain.
    ///
    /// The system tells of readiness when it begins, so one has to go on until it ends: to the error
    /// "would block" or, where the system is known to keep to that, to an operation that does less than
    /// was wanted. The end of a stream is told along with the last bytes, though, and only once: after
    /// that, a short read proves nothing.
    fn attempt(
        &mut self,
        context: &Context<'_>,
        wanted: usize,
        mut operation: impl FnMut() -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        while self.ready {
            match operation() {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    (self.ready, self.closed) = (false, false);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Ok(done) if SHORT_MEANS_DONE && 0 < done && done < wanted => {
                    self.ready = self.closed;
                    return Poll::Ready(Ok(done));
                }
                result => return Poll::Ready(result),
            }
        }
        match &mut self.waker {
            Some(waker) => waker.clone_from(context.waker()),
            none => *none = Some(context.waker().clone()),
        }
        Poll::Pending
    }
}

/// Whether doing less than was wanted is as good as "would block": on epoll and kqueue it is.
const SHORT_MEANS_DONE: bool = cfg!(any(
    target_os = "linux",
    target_os = "android",
    target_os = "freebsd",
    target_vendor = "apple"
));

impl Stream {
    pub(crate) async fn connect(io: &Arc<Io>, address: SocketAddr) -> io::Result<Self> {
        let mut socket = TcpStream::connect(address)?;
        let (token, readiness) = io.register(&mut socket)?;
        let stream = Self { io: io.clone(), socket, token, readiness };
        poll_fn(|context| {
            let mut readiness = lock(&stream.readiness);
            readiness.write.attempt(context, 0, || match stream.socket.take_error()? {
                Some(error) => Err(error),
                None => match stream.socket.peer_addr() {
                    Err(error) if error.kind() == ErrorKind::NotConnected => {
                        Err(ErrorKind::WouldBlock.into())
                    }
                    peer => peer.map(|_| 0),
                },
            })
        })
        .await?;
        stream.socket.set_nodelay(true)?;
        Ok(stream)
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut readiness = lock(&self.readiness);
        readiness.read.attempt(context, buffer.len(), || (&self.socket).read(buffer))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut readiness = lock(&self.readiness);
        readiness.write.attempt(context, bytes.len(), || (&self.socket).write(bytes))
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
        self.io.deregister(&mut self.socket, self.token);
    }
}
