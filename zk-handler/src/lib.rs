//! The runtime interface of the `zk` ZooKeeper client: the [`Handler`] trait.
//!
//! A handler gives a client what it needs from a runtime: tasks, TCP connections, name resolution, timers, and threads
//! for callbacks. It knows nothing about ZooKeeper. The client is written once, generic over the handler, and runs on
//! any runtime that has one.
//!
//! **When to use this crate.** To run the client on tokio, smol, async-std or plain threads, you do not need it: choose
//! a feature of `zk-client`, which brings the handler (`zk-handler-tokio` and its siblings). To run the client on
//! another runtime, implement [`Handler`] for it and pass the handler to the client's `connect_on`. The module
//! `conformance`, behind the feature `conformance`, has the tests for your implementation.
//!
//! # A handler for another runtime
//!
//! This one is for an executor from the crate `async-executor` that some thread of the program runs:
//!
//! ```
//! use std::{future::Future, io, net::SocketAddr, sync::Arc, time::Duration};
//!
//! use async_executor::Executor;
//! use async_net::TcpStream;
//! use zk_handler::Handler;
//!
//! #[derive(Clone)]
//! struct ExecutorHandler(Arc<Executor<'static>>);
//!
//! impl Handler for ExecutorHandler {
//!     type Stream = TcpStream;
//!
//!     fn name(&self) -> &'static str {
//!         "async-executor"
//!     }
//!
//!     async fn connect(&self, address: SocketAddr) -> io::Result<TcpStream> {
//!         let stream = TcpStream::connect(address).await?;
//!         stream.set_nodelay(true)?;
//!         Ok(stream)
//!     }
//!
//!     fn sleep_until(&self, deadline: Duration) -> impl Future<Output = ()> + Send + 'static {
//!         let timer = async_io::Timer::after(deadline.saturating_sub(self.now()));
//!         async {
//!             timer.await;
//!         }
//!     }
//!
//!     fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
//!         self.0.spawn(task).detach();
//!     }
//! }
//! ```
//!
//! # What the client relies on
//!
//! - A task that was [`spawn`](Handler::spawn)ed runs to its end, although nothing waits for it. Tasks may be spawned
//!   from any thread.
//! - The futures of [`connect`](Handler::connect), [`resolve`](Handler::resolve) and
//!   [`sleep_until`](Handler::sleep_until) are only polled in spawned tasks. They never block a task, and they are
//!   cancel-safe: dropping one stops its work and leaves nothing behind.
//! - A job that was [`dispatch`](Handler::dispatch)ed is a callback of the user and may block for as long as it likes.
//!   It never holds up a task, and never prevents another job from running. Jobs need not run in order:
//!   [`CallbackQueue`] takes care of that.
//! - Neither name resolution nor callbacks depend on threads that the user can fill with other work, such as a runtime's
//!   pool for blocking calls. The defaults use threads of this crate ([`resolve`](resolve()),
//!   [`dispatch`](dispatch())).
//!
//! The conformance suite checks all of this.
//!
//! # Features
//!
//! - `conformance`: the conformance suite, for the tests of a handler. Off by default. A minor version may add, rename or
//!   remove tests.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod callback_queue;
mod clock;
#[cfg(feature = "conformance")]
pub mod conformance;
mod pool;
mod random;
mod resolver;
mod task_thread;

use std::{future::Future, io, net::SocketAddr, sync::LazyLock, time::Duration};

pub use callback_queue::CallbackQueue;
pub use futures_io::{AsyncRead, AsyncWrite};

use pool::{IDLE_TIMEOUT, Pool};

pub use clock::boottime;
pub use random::system_random;
pub use resolver::{Resolver, resolve};
pub use task_thread::{is_task_thread, mark_polling_threads, mark_task_thread};

/// A handle to a runtime that can carry a client. Clones refer to the same runtime.
///
/// See the [crate's documentation](crate) for an example, and for what the client relies on.
pub trait Handler: Clone + Send + Sync + 'static {
    /// A TCP connection. Dropping it closes the connection.
    ///
    /// `poll_close` shuts down the writing side only. If several tasks poll one stream, the last one is woken.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// The name of the runtime for logs and errors, such as `"tokio"`.
    fn name(&self) -> &'static str;

    /// Returns the current time of this handler's clock, as the time since a fixed origin.
    ///
    /// The clock never goes back, and is the same for all clones. The default is [`boottime`], which includes the time
    /// that the machine was suspended: the server counts it too when it expires sessions.
    fn now(&self) -> Duration {
        boottime()
    }

    /// Returns 64 random bits. The client uses them for unique ids, such as the one in the name of a lock's node, and
    /// for jitter.
    ///
    /// The default is [`system_random`], the operating system's secure source. Another source must be as good if ids
    /// are shared with other clients. A simulation returns reproducible numbers instead.
    fn random(&self) -> u64 {
        system_random()
    }

    /// Opens a TCP connection to `address`, with `TCP_NODELAY` set.
    ///
    /// There is no timeout: the client drops a future that takes too long.
    ///
    /// # Errors
    /// The error of the system, such as [`ConnectionRefused`](io::ErrorKind::ConnectionRefused).
    ///
    /// # Cancel safety
    /// This method is cancel-safe: if the future is dropped, the attempt ends, and no connection stays open.
    fn connect(
        &self,
        address: SocketAddr,
    ) -> impl Future<Output = io::Result<Self::Stream>> + Send + '_;

    /// Resolves `host` to socket addresses with `port`. `host` is a name, or an IP address without brackets. An IP
    /// address is resolved at once.
    ///
    /// The default is the function [`resolve`], which asks the system on threads of this crate. Another implementation
    /// must not use threads that the user can fill with other work: the client could then not reconnect.
    ///
    /// # Errors
    /// If the name cannot be resolved. The list of addresses is never empty.
    ///
    /// # Cancel safety
    /// This method is cancel-safe: if the future is dropped, its result is discarded.
    fn resolve(
        &self,
        host: &str,
        port: u16,
    ) -> impl Future<Output = io::Result<Vec<SocketAddr>>> + Send {
        resolve(host, port)
    }

    /// Waits until [`now`](Self::now) has reached `deadline`. The future is ready at once if it has already.
    ///
    /// `deadline` may be arbitrarily far in the past or in the future.
    ///
    /// # Cancel safety
    /// This method is cancel-safe: if the future is dropped, the timer is cancelled.
    fn sleep_until(&self, deadline: Duration) -> impl Future<Output = ()> + Send + 'static;

    /// Spawns a task that runs until it completes.
    ///
    /// May be called from any thread, inside or outside of the runtime. A panic ends the task and affects no other.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static);

    /// Runs `job`, which may block, on a thread that runs no tasks.
    ///
    /// May be called from any thread, inside or outside of the runtime. The default is the function [`dispatch`],
    /// which uses threads of this crate. If callbacks should run in the context of the runtime, enter it in the job.
    fn dispatch(&self, job: impl FnOnce() + Send + 'static) {
        dispatch(job);
    }

    /// Returns whether the calling thread may block until the client has a result.
    ///
    /// Returns false on a thread that runs tasks, as the client's own task may be among them and would then never run.
    /// A blocking call of the client panics if this returns false, unless it has its result already.
    ///
    /// The default returns false on the threads marked by [`mark_task_thread`] and [`mark_polling_threads`].
    #[track_caller]
    fn may_block(&self) -> bool {
        !is_task_thread()
    }
}

/// Runs `job`, which may block, on one of the threads for callbacks, named `zk-callback`.
///
/// All handlers of the process share these threads. Four of them run all jobs as long as the jobs are short. If no job
/// has started for 10 ms while some wait, their number doubles; there is no upper limit, since a callback may block
/// until another one has run. Each [`CallbackQueue`] occupies at most one thread, and a client has two queues. A thread
/// ends after 5 s without a job. These threads do not keep the process alive.
pub fn dispatch(job: impl FnOnce() + Send + 'static) {
    static CALLBACKS: LazyLock<Pool> =
        LazyLock::new(|| Pool::new("zk-callback", usize::MAX, IDLE_TIMEOUT));
    CALLBACKS.run(job);
}
