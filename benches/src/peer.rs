//! The clients that are compared.

use std::future::Future;

use crate::{DATA_LEN, PATH};

/// A client. Clones share one connection.
pub trait Peer: Clone + Send + Sync + 'static {
    /// Its name in tables.
    const NAME: &'static str;

    /// Connects to `hosts`.
    fn connect(hosts: &str) -> impl Future<Output = Self> + Send;

    /// Sends a request for the data of the znode, and returns a future of the reply.
    fn get(&self) -> impl Future<Output = ()> + Send + 'static;
}

/// This workspace's client.
#[derive(Debug, Clone)]
pub struct Ours(pub zk_client::Client);

impl Peer for Ours {
    const NAME: &'static str = "zk-client";

    async fn connect(hosts: &str) -> Self {
        Self(zk_client::Client::connect(hosts).await.expect("a session"))
    }

    fn get(&self) -> impl Future<Output = ()> + Send + 'static {
        let reply = self.0.get(PATH);
        async {
            let (data, _) = reply.await.expect("the node's data");
            assert_eq!(data.len(), DATA_LEN);
        }
    }
}

/// The crate `zookeeper-client`.
#[derive(Debug, Clone)]
pub struct Theirs(zookeeper_client::Client);

impl Peer for Theirs {
    const NAME: &'static str = "zookeeper-client";

    async fn connect(hosts: &str) -> Self {
        Self(zookeeper_client::Client::connect(hosts).await.expect("a session"))
    }

    fn get(&self) -> impl Future<Output = ()> + Send + 'static {
        let reply = self.0.get_data(PATH);
        async {
            let (data, _) = reply.await.expect("the node's data");
            assert_eq!(data.len(), DATA_LEN);
        }
    }
}
