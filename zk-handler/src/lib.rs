//! What a ZooKeeper client needs from a runtime.
//!
//! A [`Handler`] is to this client what an `IHandler` is to kazoo: the one place that knows threads,
//! sockets and timers. It knows nothing of ZooKeeper. The client's driver is written once, generic over
//! it; `zk-handler-tokio` and its siblings implement it, each for one runtime, in a file or two.
//!
//! What the client relies on:
//! - [`spawn`](Handler::spawn)ed tasks run to their end without anybody waiting for them, and may be
//!   spawned from any thread;
//! - [`connect`](Handler::connect), [`resolve`](Handler::resolve) and
//!   [`sleep_until`](Handler::sleep_until) are called from within spawned tasks only, never block them,
//!   and stop what they do when they are dropped;
//! - [`dispatch`](Handler::dispatch)ed jobs are the user's callbacks: they may block for as long as they
//!   like without holding up any task, or any other job for good. Their order is not the handler's concern:
//!   [`CallbackQueue`] sees to it;
//! - none of it depends on threads that a user can fill. So names are looked up, and callbacks run, on threads
//!   of this crate ([`resolve`](resolve()), [`dispatch`](dispatch())), whatever the runtime.
//!
//! All of this, and more, is checked by the module `conformance`, behind the feature `unstable-conformance`, which any
//! handler can run with one line.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod callback_queue;
mod clock;
#[cfg(feature = "unstable-conformance")]
pub mod conformance;
mod pool;
mod random;
mod resolver;
mod task_thread;

use std::{future::Future, io, net::SocketAddr, sync::LazyLock, time::Duration};

pub use callback_queue::CallbackQueue;
pub use futures_io::{AsyncRead, AsyncWrite};

use pool::{IDLE, Pool};

pub use clock::boottime;
pub use random::system_random;
pub use resolver::{Resolver, resolve};
pub use task_thread::{is_task_thread, mark_polling_threads, mark_task_thread};

/// A runtime, as far as a client needs one. Clones are the same runtime.
pub trait Handler: Clone + Send + Sync + 'static {
    /// A connection. Dropping it closes it.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// The runtime's name, for logs: `"tokio"`.
    fn name(&self) -> &'static str;

    /// The time on this handler's clock, since an origin that does not move.
    ///
    /// The default goes on while the machine is suspended, as a session's life on the server does.
    fn now(&self) -> Duration {
        boottime()
    }

    /// Random bits. Unique ids, such as that of a lock's node, and jitter are made of them.
    ///
    /// The default is [`system_random`], the operating system's secure source. Another one must be as good
    /// wherever ids are shared with others; a simulation has its own, to replay a run.
    fn random(&self) -> u64 {
        system_random()
    }

    /// Opens a TCP connection, without Nagle's delay.
    fn connect(
        &self,
        address: SocketAddr,
    ) -> impl Future<Output = io::Result<Self::Stream>> + Send + '_;

    /// The addresses of `host`, which is a name or an IP address without brackets; at least one.
    ///
    /// The default is [`resolve`], which asks the system on threads of its own. Whatever does it must not
    /// depend on threads that a user can fill with work of theirs: a client without them could not come back.
    fn resolve(
        &self,
        host: &str,
        port: u16,
    ) -> impl Future<Output = io::Result<Vec<SocketAddr>>> + Send {
        resolve(host, port)
    }

    /// Completes when [`now`](Self::now) has reached `deadline`; at once when it has already.
    fn sleep_until(&self, deadline: Duration) -> impl Future<Output = ()> + Send + 'static;

    /// Runs `task` to its end.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static);

    /// Runs `job`, which may block, off the tasks.
    ///
    /// The default is [`dispatch`], which has threads of its own. Where callbacks count on being inside of the
    /// runtime, enter it in the job.
    fn dispatch(&self, job: impl FnOnce() + Send + 'static) {
        dispatch(job);
    }

    /// Whether the calling thread may wait for the client: false if that is known to keep tasks from running, among
    /// which may be the client's own. A call that would wait panics then, instead of waiting for ever. It is asked
    /// before a thread waits, and not if the result is there already.
    ///
    /// The default knows the threads that were marked ([`mark_task_thread`], [`mark_polling_threads`]).
    #[track_caller]
    fn may_block(&self) -> bool {
        !is_task_thread()
    }
}

/// Runs `job`, which may block, on one of the threads that all handlers of the process share for callbacks.
///
/// There is no fixed limit to them, as a callback may wait for another one, which must then be able to run. Each
/// [`CallbackQueue`] takes one thread at most, and only while it has something to run; a client has two lanes. As long as
/// callbacks are short, four threads serve them all: more are started only when no job has begun for 10 ms, and
/// one that has had nothing to do for 5 s ends. The threads are named `zk-callback`. They do not keep the
/// process from ending.
pub fn dispatch(job: impl FnOnce() + Send + 'static) {
    static CALLBACKS: LazyLock<Pool> = LazyLock::new(|| Pool::new("zk-callback", usize::MAX, IDLE));
    CALLBACKS.run(job);
}
