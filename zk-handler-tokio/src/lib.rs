//! Runs the `zk` ZooKeeper client on tokio, on the multi-thread or the current-thread runtime.
//!
//! Most programs do not use this crate directly: the default feature `tokio` of `zk-client` brings it, and a client runs
//! on the runtime in which it is created. Use it to choose another runtime:
//!
//! ```
//! let runtime = tokio::runtime::Runtime::new()?;
//! let handler = zk_handler_tokio::TokioHandler::new(runtime.handle().clone());
//! // Client::builder().hosts("zk1:2181").connect_on(handler)
//! # std::io::Result::Ok(())
//! ```
//!
//! Callbacks run on the threads of `zk-handler`, in the context of the runtime, so they may spawn tasks. Neither they nor
//! name resolution use the blocking threads of the runtime.
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

/// A handle to a tokio runtime, whose I/O and time drivers must be enabled.
#[derive(Debug, Clone)]
pub struct TokioHandler {
    runtime: Handle,
}

impl TokioHandler {
    /// Creates a handler for `runtime`. May be called inside or outside of the runtime.
    #[must_use]
    pub const fn new(runtime: Handle) -> Self {
        Self { runtime }
    }

    /// Creates a handler for the runtime in whose context the caller runs.
    ///
    /// # Errors
    /// If the caller is not in the context of a runtime.
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

    /// Runs the job in the context of the runtime, so that it may spawn tasks, but not on one of the runtime's blocking
    /// threads, as the user may have filled them.
    fn dispatch(&self, job: impl FnOnce() + Send + 'static) {
        let runtime = self.runtime.clone();
        zk_handler::dispatch(move || {
            let _inside = runtime.enter();
            job();
        });
    }

    /// Returns false where tokio's own blocking calls panic: in tasks and in `block_on`, on both kinds of runtime.
    /// Returns true in `spawn_blocking`, in `block_in_place` and in callbacks.
    fn may_block(&self) -> bool {
        static LOCK: RwLock<()> = RwLock::const_new(());

        // tokio offers no way to ask, so this tries: the lock is always free. Outside of any runtime, blocking is fine.
        Handle::try_current().is_err() || catch_unwind(|| drop(LOCK.blocking_read())).is_ok()
    }
}

/// A tokio TCP connection that implements the traits of `futures-io`.
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
