//! What the clients are put before.

use std::{any::Any, env};

use zk_client::{Client, CreateMode, OPEN_ACL_UNSAFE};

use crate::stub::Stub;

/// The node that is read.
pub const PATH: &str = "/zk-benches-get";
/// How much data it has.
pub const DATA_LEN: usize = 100;

/// A node that the stub alone has, with a lot of data ...
pub const LARGE_PATH: &str = "/zk-benches-large";
/// ... of so many bytes.
pub const LARGE_LEN: usize = 60_000;

/// A server with the node to read; it goes when this is dropped.
#[derive(Debug)]
pub struct Server {
    /// For the table.
    pub name: &'static str,
    /// Where it is.
    pub hosts: String,
    _stub: Option<Stub>,
    _ensemble: Option<Box<dyn Any + Send>>,
}

impl Server {
    /// A stub that answers at once.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn stub() -> Self {
        let stub = Stub::start().expect("a stub server");
        let hosts = stub.address.to_string();
        Self { name: "stub", hosts, _stub: Some(stub), _ensemble: None }
    }

    /// ZooKeeper: that of `ZK_HOSTS`, or else the one that `start` starts, which has these `hosts`.
    ///
    /// # Panics
    /// When it does not start, or does not take the node.
    #[must_use]
    pub fn zookeeper<E: Send + 'static>(start: fn() -> E, hosts: fn(&E) -> String) -> Self {
        let (hosts, ensemble) = match env::var("ZK_HOSTS") {
            Ok(hosts) => (hosts, None),
            Err(_) => {
                let ensemble = start();
                (hosts(&ensemble), Some(Box::new(ensemble) as Box<dyn Any + Send>))
            }
        };
        let to = hosts.clone();
        crate::block_on(0, async move {
            let zk = Client::builder().hosts(to).default_acl(&OPEN_ACL_UNSAFE).connect();
            let zk = zk.await.expect("a session");
            zk.delete_recursive(PATH).await.expect("no node of an earlier run");
            zk.create(PATH, [b'x'; DATA_LEN], CreateMode::Persistent).await.expect("the node");
            zk.stop().await.expect("the end of the session");
        });
        Self { name: "ZooKeeper", hosts, _stub: None, _ensemble: ensemble }
    }
}
