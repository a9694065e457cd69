//! Runs the `zk` ZooKeeper client on a plain thread: the program needs no async runtime.
//!
//! A [`ThreadHandler`] is one I/O thread, on which all of its tasks, sockets and timers are at home; it
//! is in `io.rs`, and a connection in `stream.rs`. What may block, that is the user's callbacks and the
//! resolution of names, goes to a pool of threads apart, that of the crate `blocking`, which grows with
//! what blocks and stays.

mod io;
mod stream;

use std::{
    future::Future,
    net::{SocketAddr, ToSocketAddrs},
    sync::Arc,
    time::Duration,
};

use blocking::unblock;
pub use stream::Stream;
use zk_handler::Handler;

use crate::io::{Io, Sleep};

/// An I/O thread, named `zk-io`.
///
/// Clones share it. Give each client a handler of its own, and each has its own thread; give many
/// clients clones of one handler, and they share one thread, which carries thousands of sessions.
///
/// The thread starts when it is first needed, and ends with the last clone and the last task. Should the
/// system refuse to start it, tasks are dropped without having run, and the next one tries again.
#[derive(Debug, Clone, Default)]
pub struct ThreadHandler {
    owner: Arc<Owner>,
}

/// What keeps the I/O thread going: the handler's clones and its tasks own it, the thread does not.
#[derive(Debug, Default)]
struct Owner {
    io: Arc<Io>,
}

impl ThreadHandler {
    /// A new I/O thread.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.io.stop();
    }
}

impl Handler for ThreadHandler {
    type Stream = Stream;

    fn name(&self) -> &'static str {
        "thread"
    }

    async fn connect(&self, address: SocketAddr) -> std::io::Result<Stream> {
        Stream::connect(&self.owner.io, address).await
    }

    async fn resolve(&self, host: &str, port: u16) -> std::io::Result<Vec<SocketAddr>> {
        if let Ok(address) = host.parse() {
            return Ok(vec![SocketAddr::new(address, port)]);
        }
        let host = host.to_owned();
        let addresses = unblock(move || (host.as_str(), port).to_socket_addrs()).await?;
        let addresses: Vec<_> = addresses.collect();
        if addresses.is_empty() {
            let kind = std::io::ErrorKind::NotFound;
            return Err(std::io::Error::new(kind, "host has no address"));
        }
        Ok(addresses)
    }

    fn sleep_until(&self, deadline: Duration) -> impl Future<Output = ()> + Send + 'static {
        Sleep::new(self.owner.io.clone(), deadline)
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        if self.owner.io.start().is_err() {
            return;
        }
        let owner = self.owner.clone();
        let task = async move {
            task.await;
            drop(owner);
        };
        let io = self.owner.io.clone();
        let (runnable, task) = async_task::spawn(task, move |runnable| io.schedule(runnable));
        runnable.schedule();
        task.detach();
    }

    fn dispatch(&self, job: impl FnOnce() + Send + 'static) {
        unblock(job).detach();
    }
}
