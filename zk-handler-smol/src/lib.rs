//! Runs the `zk` ZooKeeper client on smol.
//!
//! Tasks run on smol's global executor, which is one thread unless the environment variable
//! `SMOL_THREADS` says otherwise; it need not be started and works from inside and outside of
//! `smol::block_on` alike.
#![cfg_attr(docsrs, feature(doc_cfg))]

use std::{future::Future, io, net::SocketAddr, time::Duration};

use smol::{Timer, net::TcpStream};
use zk_handler::{Handler, mark_polling_threads};

/// smol's global executor.
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
