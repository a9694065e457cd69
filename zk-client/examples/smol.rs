//! smol: `cargo run -p zk-client --no-default-features --features smol --example smol`.
//!
//! It talks to the ZooKeeper at `ZK_HOSTS`, or at 127.0.0.1:2181.
#![allow(clippy::print_stdout)]

use zk_client::{Client, CreateOptions, Error, OPEN_ACL_UNSAFE, SmolHandler};

fn main() -> Result<(), Error> {
    smol::block_on(run())
}

async fn run() -> Result<(), Error> {
    let hosts = std::env::var("ZK_HOSTS").unwrap_or_else(|_| "127.0.0.1:2181".into());
    let zk = Client::builder().hosts(hosts).default_acl(&OPEN_ACL_UNSAFE);
    let zk = zk.connect_on(SmolHandler).await?;
    zk.ensure_path("/examples/smol").await?;
    let sequential = CreateOptions::ephemeral().sequence();
    let path = zk.create("/examples/smol/node-", b"hi", sequential).await?;
    let (data, stat) = zk.get(&path).await?;
    println!("{path}: {data:?}, version {}", stat.version);

    let (_, _, watch) = zk.get_and_watch(&path).await?;
    zk.set(&path, b"ho", stat.version).await?;
    println!("{:?}", watch.await?.kind);

    // Several calls in flight at once.
    let gets: Vec<_> = (0..3).map(|_| zk.get(&path)).collect();
    for get in gets {
        println!("{:?}", get.await?.0);
    }
    zk.delete_recursive("/examples").await?;
    zk.stop().await
}
