//! Runs the `zk` ZooKeeper client on async-std.
//!
//! **async-std is no longer maintained; its authors recommend smol.** This crate is for programs that have not moved
//! yet. It passes the same tests as the other handlers. New programs should use `zk-handler-smol`.
//!
//! Most programs do not use this crate directly: the feature `async-std` of `zk-client` brings it. With the features of
//! several runtimes enabled, pass the handler to the client to choose this one:
//!
//! ```
//! let handler = zk_handler_async_std::AsyncStdHandler;
//! // Client::builder().hosts("zk1:2181").connect_on(handler)
//! ```
//!
//! Tasks run on async-std's global executor. It starts by itself, and works inside and outside of
//! `async_std::task::block_on`.
#![cfg_attr(docsrs, feature(doc_cfg))]

use std::{
    future::Future,
    io,
    net::{Shutdown, SocketAddr},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use async_std::{net::TcpStream, task};
use zk_handler::{AsyncRead, AsyncWrite, Handler, mark_polling_threads};

/// A handle to async-std's global executor.
#[derive(Debug, Clone, Copy, Default)]
pub struct AsyncStdHandler;

impl Handler for AsyncStdHandler {
    type Stream = Stream;

    fn name(&self) -> &'static str {
        "async-std"
    }

    async fn connect(&self, address: SocketAddr) -> io::Result<Stream> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Stream(stream))
    }

    fn sleep_until(&self, deadline: Duration) -> impl Future<Output = ()> + Send + 'static {
        task::sleep(deadline.saturating_sub(self.now()))
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        task::spawn(mark_polling_threads(task));
    }
}

/// An async-std TCP connection. Unlike that of `async_std::net::TcpStream`, its `poll_close` shuts down the writing
/// side.
#[derive(Debug)]
pub struct Stream(TcpStream);

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
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

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.0.shutdown(Shutdown::Write))
    }
}
