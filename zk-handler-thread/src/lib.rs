//! Runs the `zk` ZooKeeper client on a plain thread, for programs without an async runtime.
//!
//! Most programs do not use this crate directly: the feature `thread` of `zk-client` brings it. Use it to share one I/O
//! thread among many clients:
//!
//! ```ignore
//! let handler = zk_handler_thread::ThreadHandler::new();
//! let first = Client::builder().hosts("zk1:2181").build_on(handler.clone())?;
//! let second = Client::builder().hosts("zk2:2181").build_on(handler)?; // on the same thread
//! ```
//!
//! A [`ThreadHandler`] is one I/O thread that runs all its tasks. Callbacks and name resolution, which may block, run on
//! the threads of `zk-handler`.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod reactor;
mod thread;

use std::{future::Future, io, net::SocketAddr, sync::Arc, time::Duration};

use zk_handler::Handler;

pub use crate::reactor::Stream;
use crate::thread::Inbox;

/// A handle to an I/O thread, named `zk-io`, that runs tasks, connections and timers.
///
/// Clones share the thread, which can carry thousands of sessions. To give each client a thread of its own, create a
/// handler for each.
///
/// The thread starts with the first task. It ends when all clones are dropped and all tasks have ended. If the system
/// fails to start it, the task is dropped without running, and the next task tries again.
///
/// Connections and timers only work in tasks. A connection belongs to the thread that has opened it: using it on another
/// thread, or opening one outside of a task, is an error. Dropping it on another thread closes it, but its thread keeps
/// a small record of it. A timer works in the tasks of any `ThreadHandler`, and panics elsewhere.
#[derive(Debug, Clone, Default)]
pub struct ThreadHandler {
    owner: Arc<Owner>,
}

/// Keeps the thread running. The handler's clones and its tasks own it; the thread does not.
#[derive(Debug, Default)]
struct Owner(Arc<Inbox>);

impl ThreadHandler {
    /// Creates a handle to a new I/O thread.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.stop();
    }
}

impl Handler for ThreadHandler {
    type Stream = Stream;

    fn name(&self) -> &'static str {
        "thread"
    }

    async fn connect(&self, address: SocketAddr) -> io::Result<Stream> {
        Stream::connect(address).await
    }

    fn sleep_until(&self, deadline: Duration) -> impl Future<Output = ()> + Send + 'static {
        reactor::sleep_until(deadline)
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let (owner, inbox) = (self.owner.clone(), self.owner.0.clone());
        if inbox.start().is_err() {
            return;
        }
        let task = async move {
            task.await;
            drop(owner);
        };
        let (runnable, task) = async_task::spawn(task, move |runnable| inbox.push(runnable));
        runnable.schedule();
        task.detach();
    }
}
