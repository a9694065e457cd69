//! Runs the `zk` ZooKeeper client on a plain thread: the program needs no async runtime.
//!
//! A [`ThreadHandler`] is one I/O thread, on which all of its tasks run. The thread and its inbox are in
//! `thread.rs`: tasks are all that others leave for it. Connections and timers, in `reactor.rs`, are within
//! reach of tasks alone. What may block, that is the user's callbacks and the resolution of names, goes to
//! threads apart, those of `zk-handler`.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod reactor;
mod thread;

use std::{future::Future, io, net::SocketAddr, sync::Arc, time::Duration};

use zk_handler::Handler;

pub use crate::reactor::Stream;
use crate::thread::Inbox;

/// An I/O thread, named `zk-io`.
///
/// Clones share it. Give each client a handler of its own, and each has its own thread; give many
/// clients clones of one handler, and they share one thread, which carries thousands of sessions.
///
/// The thread starts with the first task, and ends with the last clone and the last task. Should the
/// system refuse to start it, tasks are dropped without having run, and the next one tries again.
///
/// Connections and timers are for tasks. A connection belongs to the thread that makes it: to use it on
/// another, or to make one outside of tasks, is an error. Dropped elsewhere, it is closed, but its thread
/// keeps its notes on it for as long as it runs. A timer works in tasks of any `ThreadHandler`; to wait for
/// one elsewhere panics.
#[derive(Debug, Clone, Default)]
pub struct ThreadHandler {
    owner: Arc<Owner>,
}

/// What keeps the thread going: the handler's clones and its tasks own it, the thread does not.
#[derive(Debug, Default)]
struct Owner(Arc<Inbox>);

impl ThreadHandler {
    /// A new I/O thread.
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
        let (runnable, task) = async_task::spawn(task, move |runnable| inbox.put(runnable));
        runnable.schedule();
        task.detach();
    }
}
