//! [`ResolverHandler`]: a handler that resolves host names with a function of the test.

use std::{future::Future, io, net::SocketAddr, time::Duration};

use zk_handler::{Handler, Resolver};

/// A handler that resolves host names with a given function instead of the system's resolver. The wrapped
/// handler does the rest.
#[derive(Debug, Clone)]
pub struct ResolverHandler<H> {
    handler: H,
    resolver: Resolver,
}

impl<H> ResolverHandler<H> {
    /// Wraps `handler`. `look_up` may block; the ports of the addresses that it returns are ignored.
    pub fn new(
        handler: H,
        look_up: impl Fn(&str) -> io::Result<Vec<SocketAddr>> + Send + Sync + 'static,
    ) -> Self {
        Self { handler, resolver: Resolver::new(look_up) }
    }
}

impl<H: Handler> Handler for ResolverHandler<H> {
    type Stream = H::Stream;

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
        self.handler.connect(address).await
    }

    fn resolve(
        &self,
        host: &str,
        port: u16,
    ) -> impl Future<Output = io::Result<Vec<SocketAddr>>> + Send {
        self.resolver.resolve(host, port)
    }

    fn sleep_until(&self, deadline: Duration) -> impl Future<Output = ()> + Send + 'static {
        self.handler.sleep_until(deadline)
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.handler.spawn(task);
    }

    fn dispatch(&self, job: impl FnOnce() + Send + 'static) {
        self.handler.dispatch(job);
    }

    fn may_block(&self) -> bool {
        self.handler.may_block()
    }
}
