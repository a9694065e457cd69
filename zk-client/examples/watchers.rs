//! Watches that stay armed: `cargo run -p zk-client --example watchers`.
//!
//! It talks to the ZooKeeper at `ZK_HOSTS`, or at 127.0.0.1:2181.
#![allow(clippy::print_stdout)]

use std::time::Duration;

use zk_client::{
    Client, CreateMode, Error, OPEN_ACL_UNSAFE,
    recipes::{ChildrenWatch, ChildrenWatchOptions, DataWatch, patient_children_watch},
};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let hosts = std::env::var("ZK_HOSTS").unwrap_or_else(|_| "127.0.0.1:2181".into());
    let zk = Client::builder().hosts(hosts).default_acl(&OPEN_ACL_UNSAFE).connect().await?;
    zk.ensure_path("/examples/workers").await?;

    // A callback, which is called at once and after every change.
    let config = DataWatch::new(&zk, "/examples/config", |news| {
        match news.node {
            Some((data, stat)) => println!("configuration {}: {data:?}", stat.version),
            None => println!("there is no configuration"),
        }
        true
    });
    // A stream, which returns the newest state.
    let options = ChildrenWatchOptions::default().allow_session_lost(false);
    let mut workers = ChildrenWatch::stream_with_options(&zk, "/examples/workers", options);

    zk.create("/examples/config", b"verbose", CreateMode::Ephemeral).await?;
    for _ in 0..3 {
        zk.create("/examples/workers/worker-", b"", CreateMode::EphemeralSequential).await?;
    }
    while let Some(news) = workers.changed().await {
        println!("{} workers: {:?}", news.names.len(), news.event.map(|event| event.kind));
        if news.names.len() >= 3 {
            break;
        }
    }

    let quiet = Duration::from_millis(500);
    let (workers, next_change) = patient_children_watch(&zk, "/examples/workers", quiet).await?;
    println!("{} workers for {quiet:?}; another change: {}", workers.len(), next_change.ready());
    drop(config); // ends the watch
    zk.stop().await
}
