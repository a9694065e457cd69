//! How to add a runtime: a handler for one that this project knows nothing of, and its tests.
//!
//! The runtime is a single thread that runs all tasks, as programs have one that they put together of
//! `async-executor`, `async-io` and their like. It uses nothing but what any crate can;
//! `docs/adding-a-runtime.md` goes through it.

use std::{
    future::{Future, pending},
    io,
    net::{SocketAddr, ToSocketAddrs},
    panic::catch_unwind,
    sync::LazyLock,
    thread,
    time::Duration,
};

use async_executor::Executor;
use async_io::Timer;
use async_net::TcpStream;
use blocking::unblock;
use zk_handler::Handler;

/// The runtime: tasks, and the thread that runs them.
static RUNTIME: LazyLock<Executor<'static>> = LazyLock::new(|| {
    // A task that panics ends alone: the thread goes on with the others.
    thread::spawn(|| {
        while catch_unwind(|| async_io::block_on(RUNTIME.run(pending::<()>()))).is_err() {}
    });
    Executor::new()
});

/// The handler. This one has no state, since there is one runtime; others hold a handle on theirs.
#[derive(Clone)]
struct SingleThread;

impl Handler for SingleThread {
    type Stream = TcpStream;

    fn name(&self) -> &'static str {
        "single-thread"
    }

    async fn connect(&self, address: SocketAddr) -> io::Result<TcpStream> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let host = host.to_owned();
        // The system's resolver blocks: not on the thread of the tasks.
        let addresses = unblock(move || (host.as_str(), port).to_socket_addrs()).await?;
        let addresses: Vec<_> = addresses.collect();
        if addresses.is_empty() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "host has no address"));
        }
        Ok(addresses)
    }

    fn sleep_until(&self, deadline: Duration) -> impl Future<Output = ()> + Send + 'static {
        let timer = Timer::after(deadline.saturating_sub(self.now()));
        async {
            timer.await;
        }
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        RUNTIME.spawn(task).detach();
    }

    fn dispatch(&self, job: impl FnOnce() + Send + 'static) {
        // To a pool that grows while jobs block.
        unblock(job).detach();
    }
}

zk_handler::conformance!(single_thread, SingleThread);
