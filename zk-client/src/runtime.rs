//! A client's [`Handler`] without its type.
//!
//! [`Client`](crate::Client) is one type for all runtimes, so that it keeps its handler as a trait object.
//! The driver alone is generic over the handler: it is the hot path.

use std::{future::Future, io, pin::Pin, sync::Arc};

use zk_handler::Handler;
use zk_proto::{HostPort, Time};

use crate::{connect, transport::Transport};

/// A future on the heap, as a method of a trait object has to return it.
type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What a client needs of its handler outside of the driver.
pub(crate) trait ErasedHandler: Send + Sync {
    fn name(&self) -> &'static str;
    fn now(&self) -> Time;
    fn random(&self) -> u64;
    fn spawn(&self, task: BoxFuture<()>);
    fn sleep_until(&self, deadline: Time) -> BoxFuture<()>;

    /// Sends a four-letter word to `host` on a connection of its own.
    fn four_letter_word(
        &self,
        host: Arc<HostPort>,
        word: [u8; 4],
        deadline: Time,
    ) -> BoxFuture<io::Result<Vec<u8>>>;
}

pub(crate) fn erase(handler: impl Handler, transport: Transport) -> Box<dyn ErasedHandler> {
    Box::new(Erased(handler, transport))
}

struct Erased<H>(H, Transport);

impl<H: Handler> ErasedHandler for Erased<H> {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn now(&self) -> Time {
        Time::from_origin(self.0.now())
    }

    fn random(&self) -> u64 {
        self.0.random()
    }

    fn spawn(&self, task: BoxFuture<()>) {
        self.0.spawn(task);
    }

    fn sleep_until(&self, deadline: Time) -> BoxFuture<()> {
        Box::pin(self.0.sleep_until(deadline.since_origin()))
    }

    fn four_letter_word(
        &self,
        host: Arc<HostPort>,
        word: [u8; 4],
        deadline: Time,
    ) -> BoxFuture<io::Result<Vec<u8>>> {
        Box::pin(connect::four_letter_word(self.0.clone(), self.1.clone(), host, word, deadline))
    }
}
