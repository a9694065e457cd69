//! How to add a runtime: a handler for one that this project knows nothing of, and its tests.
//!
//! The runtime is a single thread that runs all tasks, as programs have one that they put together of
//! `async-executor`, `async-io` and their like. It uses nothing but what any crate can;
//! `docs/adding-a-runtime.md` goes through it.

use std::{
    future::{Future, pending},
    io,
    net::SocketAddr,
    panic::catch_unwind,
    sync::LazyLock,
    thread,
    time::Duration,
};

use async_executor::Executor;
use async_io::Timer;
use async_net::TcpStream;
use zk_handler::{Handler, mark_task_thread};

/// The runtime: tasks, and the thread that runs them.
static RUNTIME: LazyLock<Executor<'static>> = LazyLock::new(|| {
    // A task that panics ends alone: the thread goes on with the others.
    thread::spawn(|| {
        // So that a call that blocks in a task panics instead of waiting for ever.
        mark_task_thread();
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

    fn sleep_until(&self, deadline: Duration) -> impl Future<Output = ()> + Send + 'static {
        let timer = Timer::after(deadline.saturating_sub(self.now()));
        async {
            timer.await;
        }
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        RUNTIME.spawn(task).detach();
    }
}

zk_handler::conformance!(single_thread, SingleThread);
