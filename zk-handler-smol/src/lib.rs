//! Runs the `zk` ZooKeeper client on smol.
//!
//! Most programs do not use this crate directly: the feature `smol` of `zk-client` brings it. With the features of
//! several runtimes enabled, pass the handler to the client to choose this one:
//!
//! ```
//! let handler = zk_handler_smol::SmolHandler;
//! // Client::builder().hosts("zk1:2181").connect_on(handler)
//! ```
//!
//! Tasks run on smol's global executor. It starts by itself, works inside and outside of `smol::block_on`, and has one
//! thread, or as many as the environment variable `SMOL_THREADS` says.
#![cfg_attr(docsrs, feature(doc_cfg))]

use std::{future::Future, io, net::SocketAddr, time::Duration};

use smol::{Timer, net::TcpStream};
use zk_handler::{Handler, mark_polling_threads};

/// A handle to smol's global executor.
#[derive(Debug, Clone, Copy, Default)]
pub struct SmolHandler;

impl Handler for SmolHandler {
    type Stream = TcpStream;

    fn name(&self) -> &'static str {
        "smol"
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
        smol::spawn(mark_polling_threads(task)).detach();
    }
}
