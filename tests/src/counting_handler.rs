//! [`CountingHandler`]: a handler that counts its tasks and connections.

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

/// A handler that counts tasks and connections, so that a test can tell whether any are left. The wrapped
/// handler does the work.
#[derive(Debug, Clone)]
pub struct CountingHandler<H> {
    handler: H,
    tasks: Counter,
    connections: Counter,
    attempts: Counter,
}

#[derive(Debug, Clone, Default)]
struct Counter(Arc<AtomicUsize>);

/// Adds one to a counter until it is dropped.
#[derive(Debug)]
struct Counted(Counter);

impl Counter {
    fn add(&self) {
        self.0.fetch_add(1, Ordering::AcqRel);
    }

    fn counted(&self) -> Counted {
        self.add();
        Counted(self.clone())
    }

    fn get(&self) -> usize {
        self.0.load(Ordering::Acquire)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl<H: Handler> CountingHandler<H> {
    /// Wraps `handler`.
    pub fn new(handler: H) -> Self {
        let [tasks, connections, attempts] = Default::default();
        Self { handler, tasks, connections, attempts }
    }

    /// The number of tasks that have not ended.
    pub fn tasks(&self) -> usize {
        self.tasks.get()
    }

    /// The number of connections that are open or being opened.
    pub fn connections(&self) -> usize {
        self.connections.get()
    }

    /// The number of attempts to connect so far.
    pub fn attempts(&self) -> usize {
        self.attempts.get()
    }
}

impl<H: Handler> Handler for CountingHandler<H> {
    type Stream = CountedStream<H::Stream>;

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
        let counted = self.connections.counted();
        let stream = self.handler.connect(address).await?;
        Ok(CountedStream { stream, _counted: counted })
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
        let counted = self.tasks.counted();
        self.handler.spawn(async move {
            task.await;
            drop(counted);
        });
    }

    fn dispatch(&self, job: impl FnOnce() + Send + 'static) {
        self.handler.dispatch(job);
    }

    fn may_block(&self) -> bool {
        self.handler.may_block()
    }
}

/// A connection of a [`CountingHandler`].
#[derive(Debug)]
pub struct CountedStream<S> {
    stream: S,
    _counted: Counted,
}

impl<S: AsyncRead + Unpin> AsyncRead for CountedStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for CountedStream<S> {
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
