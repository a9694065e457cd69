//! The servers that the clients connect to.

use std::{any::Any, env, path::Path};

use zk_client::{Client, CreateMode, OPEN_ACL_UNSAFE};

use crate::stub::{Stub, ZOOKEEPER};

/// The znode that is read.
pub const PATH: &str = "/zk-benches-get";
/// The size of its data.
pub const DATA_LEN: usize = 100;

/// A znode with large data, which only the stub has.
pub const LARGE_PATH: &str = "/zk-benches-large";
/// The size of its data.
pub const LARGE_LEN: usize = 60_000;

/// A znode with larger data, which only the stub has.
pub const HUGE_PATH: &str = "/zk-benches-huge";
/// The size of its data.
pub const HUGE_LEN: usize = 100_000;

/// A server with the znode to read. Dropping it stops the server.
#[derive(Debug)]
pub struct Server {
    /// Its name in tables.
    pub name: &'static str,
    /// Its connect string.
    pub hosts: String,
    _stub: Option<Stub>,
    _ensemble: Option<Box<dyn Any + Send>>,
}

impl Server {
    /// Starts the stub, which answers at once.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn stub() -> Self {
        let stub = Stub::start(ZOOKEEPER, None).expect("a stub server");
        let hosts = stub.address.to_string();
        Self { name: "stub", hosts, _stub: Some(stub), _ensemble: None }
    }

    /// Starts the stub with TLS, by the certificate and the key in these files.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn stub_with_tls(chain: &Path, key: &Path) -> Self {
        let stub = Stub::start(ZOOKEEPER, Some((chain, key))).expect("a stub server");
        let hosts = stub.address.to_string();
        Self { name: "stub, TLS", hosts, _stub: Some(stub), _ensemble: None }
    }

    /// Connects to the ZooKeeper of `ZK_HOSTS`, or starts one by `start`, whose connect string `hosts` returns.
    ///
    /// # Panics
    /// If it does not start, or the znode cannot be created.
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
