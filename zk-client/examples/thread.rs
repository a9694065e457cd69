//! Plain threads: `cargo run -p zk-client --no-default-features --features thread --example thread`.
//!
//! There is no runtime and no `.await`: every call blocks until its result is there. The client has an I/O thread of its own.
//! It talks to the ZooKeeper at `ZK_HOSTS`, or at 127.0.0.1:2181.
#![allow(clippy::print_stdout)]

use zk_client::{CreateOptions, Error, OPEN_ACL_UNSAFE, blocking::Client};

fn main() -> Result<(), Error> {
    let hosts = std::env::var("ZK_HOSTS").unwrap_or_else(|_| "127.0.0.1:2181".into());
    let zk = Client::builder().hosts(hosts).default_acl(&OPEN_ACL_UNSAFE).connect_blocking()?;
    zk.ensure_path("/examples/thread")?;
    let path = zk.create("/examples/thread/node-", b"hi", CreateOptions::ephemeral().sequence())?;
    let (data, stat) = zk.get(&path)?;
    println!("{path}: {data:?}, version {}", stat.version);

    // Watches and callbacks work as on every runtime.
    let (_, _, watch) = zk.get_and_watch(&path)?;
    zk.set(&path, b"ho", stat.version)?;
    println!("{:?}", watch.get()?.kind);

    // To have several calls in flight at once, make async calls and wait for them later.
    let gets: Vec<_> = (0..3).map(|_| zk.as_async().get(&path)).collect();
    for get in gets {
        println!("{:?}", get.get()?.0);
    }
    zk.delete_recursive("/examples")?;
    zk.stop()
}
