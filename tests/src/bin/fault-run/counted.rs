//! A handler that counts its tasks, so that one that is left over shows.

use std::{
    future::Future,
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use zk_client::Handler;

#[derive(Clone)]
pub(crate) struct Counted<H> {
    inner: H,
    alive: Arc<AtomicUsize>,
}

/// A task that lives.
struct Alive(Arc<AtomicUsize>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl<H> Counted<H> {
    pub(crate) fn new(inner: H) -> Self {
        Self { inner, alive: Arc::default() }
    }

    /// How many tasks have not ended.
    pub(crate) fn alive(&self) -> usize {
        self.alive.load(Ordering::Acquire)
    }
}

impl<H: Handler> Handler for Counted<H> {
    type Stream = H::Stream;

    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn now(&self) -> Duration {
        self.inner.now()
    }

    fn random(&self) -> u64 {
        self.inner.random()
    }

    fn connect(
        &self,
        address: SocketAddr,
    ) -> impl Future<Output = io::Result<Self::Stream>> + Send + '_ {
        self.inner.connect(address)
    }

    fn resolve(
        &self,
        host: &str,
        port: u16,
    ) -> impl Future<Output = io::Result<Vec<SocketAddr>>> + Send {
        self.inner.resolve(host, port)
    }

    fn sleep_until(&self, deadline: Duration) -> impl Future<Output = ()> + Send + 'static {
        self.inner.sleep_until(deadline)
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.alive.fetch_add(1, Ordering::AcqRel);
        let alive = Alive(self.alive.clone());
        self.inner.spawn(async move {
            let _alive = alive;
            task.await;
        });
    }

    fn dispatch(&self, job: impl FnOnce() + Send + 'static) {
        self.inner.dispatch(job);
    }

    fn may_block(&self) -> bool {
        self.inner.may_block()
    }
}
