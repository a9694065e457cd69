//! [`Counted`], a handler that knows what it has under way.

use std::{
    future::Future,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use zk_handler::{AsyncRead, AsyncWrite, Handler};

/// A handler that counts the tasks and connections of whoever was given it, to show that nothing is
/// left behind. The handler that it wraps does the work.
#[derive(Clone)]
pub(crate) struct Counted<H> {
    handler: H,
    tasks: Count,
    streams: Count,
    attempts: Count,
}

#[derive(Clone, Default)]
struct Count(Arc<AtomicUsize>);

/// One of what is counted, while it lives.
struct One(Count);

impl Count {
    fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn one(&self) -> One {
        self.add();
        One(self.clone())
    }

    fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for One {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl<H: Handler> Counted<H> {
    pub(crate) fn new(handler: H) -> Self {
        let [tasks, streams, attempts] = Default::default();
        Self { handler, tasks, streams, attempts }
    }

    /// The tasks that run, and the connections that are open.
    pub(crate) fn live(&self) -> (usize, usize) {
        (self.tasks.get(), self.streams.get())
    }

    /// The attempts to connect that were ever made.
    pub(crate) fn attempts(&self) -> usize {
        self.attempts.get()
    }
}

impl<H: Handler> Handler for Counted<H> {
    type Stream = Stream<H::Stream>;

    fn name(&self) -> &'static str {
        self.handler.name()
    }

    fn now(&self) -> Duration {
        self.handler.now()
    }

    fn random(&self) -> u64 {
        self.handler.random()
    }

    async fn connect(&self, address: SocketAddr) -> io::Result<Self::Stream> {
        self.attempts.add();
        let one = self.streams.one();
        let stream = self.handler.connect(address).await?;
        Ok(Stream { stream, _one: one })
    }

    fn resolve(
        &self,
        host: &str,
        port: u16,
    ) -> impl Future<Output = io::Result<Vec<SocketAddr>>> + Send {
        self.handler.resolve(host, port)
    }

    fn sleep_until(&self, deadline: Duration) -> impl Future<Output = ()> + Send + 'static {
        self.handler.sleep_until(deadline)
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let one = self.tasks.one();
        self.handler.spawn(async move {
            task.await;
            drop(one);
        });
    }

    fn dispatch(&self, job: impl FnOnce() + Send + 'static) {
        self.handler.dispatch(job);
    }

    fn may_block(&self) -> bool {
        self.handler.may_block()
    }
}

pub(crate) struct Stream<S> {
    stream: S,
    _one: One,
}

impl<S: AsyncRead + Unpin> AsyncRead for Stream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Stream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(context)
    }
}
