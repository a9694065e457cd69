//! A lock, and work that stops if the lock may be lost: `cargo run -p zk-client --example lock`. Start it twice.
//!
//! It talks to the ZooKeeper at `ZK_HOSTS`, or at 127.0.0.1:2181.
#![allow(clippy::print_stdout)]

use std::time::Duration;

use zk_client::{
    Client, Error, OPEN_ACL_UNSAFE,
    recipes::{Lock, LockOptions, ReadLock, WriteLock},
};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let hosts = std::env::var("ZK_HOSTS").unwrap_or_else(|_| "127.0.0.1:2181".into());
    let zk = Client::builder().hosts(hosts).default_acl(&OPEN_ACL_UNSAFE).connect().await?;
    zk.ensure_path("/examples/report").await?;

    let options = LockOptions::default().identifier(std::process::id().to_string());
    let lock = Lock::with_options(&zk, "/examples/lock", options);
    println!("held or waited for by {:?}", lock.contenders().await?);
    let guard = lock.acquire().await?;
    println!("held for certain for {:?}, token {}", guard.held_for(), guard.fencing_token());
    guard.on_change(|state| println!("the session of the lock is {state}"));

    // Work that stops if the lock may be lost.
    tokio::select! {
        () = guard.suspended() => println!("the connection is lost, and the lock may be lost, too"),
        () = tokio::time::sleep(Duration::from_secs(3)) => {
            // The servers apply this only if the lock is held at that time.
            let write = guard.transaction().set("/examples/report", b"mine", None);
            write.commit().await?.committed()?;
        }
    }
    guard.release().await?;

    // Readers share the lock. A writer has it alone.
    let readers = [ReadLock::new(&zk, "/examples/shared"), ReadLock::new(&zk, "/examples/shared")];
    for reader in &readers {
        println!("{:?}", reader.try_acquire().await?);
    }
    let writer = WriteLock::new(&zk, "/examples/shared");
    println!("{:?}", writer.acquire_timeout(Duration::from_secs(10)).await?);
    zk.stop().await
}
