//! An example of a handler for another runtime, with its tests. `docs/adding-a-runtime.md` explains it.
//!
//! The runtime is a single thread that runs all tasks, made of `async-executor` and `async-io`. The handler only uses the
//! public API of this crate.

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

/// The runtime: an executor, and the thread that runs it.
static RUNTIME: LazyLock<Executor<'static>> = LazyLock::new(|| {
    // A panic ends only its task: the thread goes on with the others.
    thread::spawn(|| {
        // Makes a blocking call in a task panic instead of waiting forever.
        mark_task_thread();
        while catch_unwind(|| async_io::block_on(RUNTIME.run(pending::<()>()))).is_err() {}
    });
    Executor::new()
});

/// The handler. It has no state, since there is one runtime. Other handlers hold a handle to their runtime.
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
