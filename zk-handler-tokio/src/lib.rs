//! Runs the `zk` ZooKeeper client on tokio, in both of its flavours.
//!
//! Most users never see this crate: it is what `zk-client` takes with its default feature `tokio`.
#![cfg_attr(docsrs, feature(doc_cfg))]

use std::{
    future::Future,
    io,
    net::SocketAddr,
    panic::catch_unwind,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead as _, AsyncWrite as _, ReadBuf},
    net::TcpStream,
    runtime::Handle,
    sync::RwLock,
};
use zk_handler::{AsyncRead, AsyncWrite, Handler};

/// A tokio runtime. The runtime must have its I/O and time drivers enabled.
#[derive(Debug, Clone)]
pub struct TokioHandler {
    runtime: Handle,
}

impl TokioHandler {
    /// The runtime behind `runtime`, from inside or outside of it.
    #[must_use]
    pub const fn new(runtime: Handle) -> Self {
        Self { runtime }
    }

    /// The runtime that the caller runs in.
    ///
    /// # Errors
    /// When the caller runs in none.
    pub fn current() -> io::Result<Self> {
        Handle::try_current().map(Self::new).map_err(io::Error::other)
    }
}

impl Handler for TokioHandler {
    type Stream = Stream;

    fn name(&self) -> &'static str {
        "tokio"
    }

    async fn connect(&self, address: SocketAddr) -> io::Result<Stream> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Stream(stream))
    }

    fn sleep_until(&self, deadline: Duration) -> impl Future<Output = ()> + Send + 'static {
        tokio::time::sleep(deadline.saturating_sub(self.now()))
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.runtime.spawn(task);
    }

    /// The job is inside of the runtime: it may spawn tasks there. It does not take one of the runtime's blocking
    /// threads, which the user may have filled.
    fn dispatch(&self, job: impl FnOnce() + Send + 'static) {
        let runtime = self.runtime.clone();
        zk_handler::dispatch(move || {
            let _inside = runtime.enter();
            job();
        });
    }

    /// False wherever tokio's own calls that block panic: in tasks and in what `block_on` runs, whichever the flavour
    /// of the runtime. In `spawn_blocking`, in `block_in_place` and in callbacks they may be made.
    fn may_block(&self) -> bool {
        static LOCK: RwLock<()> = RwLock::const_new(());

        // There is no way to ask but to try; the lock is free. Threads outside of any runtime need not.
        Handle::try_current().is_err() || catch_unwind(|| drop(LOCK.blocking_read())).is_ok()
    }
}

/// A tokio TCP connection, seen through the traits of `futures-io`.
#[derive(Debug)]
pub struct Stream(TcpStream);

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(buffer);
        Pin::new(&mut self.0).poll_read(context, &mut buffer).map_ok(|()| buffer.filled().len())
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
