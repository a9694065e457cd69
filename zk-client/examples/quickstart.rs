//! The first steps with the client: `cargo run -p zk-client --example quickstart`.
//!
//! It talks to the ZooKeeper at `ZK_HOSTS`, or to a server in memory that it starts itself.
#![allow(clippy::print_stdout)]

use zk_client::{Client, CreateMode, CreateOptions, OPEN_ACL_UNSAFE};
use zk_server::TestServer;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = TestServer::start()?;
    let hosts = std::env::var("ZK_HOSTS").unwrap_or_else(|_| server.hosts());

    // Connect, and print every change of the session state.
    let zk = Client::builder().hosts(&hosts).default_acl(&OPEN_ACL_UNSAFE).build()?;
    zk.add_listener(|state| println!("listener:     the session is {state}"));
    zk.start().await?;
    println!("start:        {} is session {}", hosts, zk.session_id().ok_or("no session")?);

    // Create.
    zk.delete_recursive("/quickstart").await?;
    zk.ensure_path("/quickstart/favorite").await?;
    println!("ensure_path:  /quickstart/favorite");
    let path = zk.create("/quickstart/favorite/node", b"a value", CreateMode::Persistent).await?;
    println!("create:       {path}");
    let sequential = CreateOptions::ephemeral().sequence();
    let worker = zk.create("/quickstart/worker-", b"", sequential).await?;
    println!("create:       {worker}, gone with this session");

    // Read.
    let stat = zk.exists("/quickstart/favorite").await?.ok_or("it is gone")?;
    println!("exists:       /quickstart/favorite has {} child", stat.num_children);
    let (data, stat) = zk.get(&path).await?;
    println!("get:          {:?}, version {}", str::from_utf8(&data)?, stat.version);
    let mut children = zk.get_children("/quickstart").await?;
    children.sort();
    println!("get_children: {children:?}");

    // Watch, and change what is watched.
    let (_, _, watch) = zk.get_and_watch(&path).await?;
    let stat = zk.set(&path, b"some data", stat.version).await?;
    println!("set:          version {}", stat.version);
    let event = watch.await?;
    println!("watch:        {} {}", event.kind, event.path);

    // Several operations, all or none.
    let results = zk
        .transaction()
        .check(&path, stat.version)
        .create("/quickstart/node2", b"a value", CreateMode::Persistent)
        .set(&path, b"in a transaction", None)
        .commit()
        .await?;
    println!("transaction:  {:?}", results.committed()?);
    let results = zk.transaction().delete("/quickstart/node2", None).check(&path, 99).commit();
    if let Err(error) = results.await?.committed() {
        println!("transaction:  nothing was done: {error}");
    }

    // Delete.
    zk.delete_recursive("/quickstart").await?;
    println!("delete:       /quickstart and all below it");
    zk.stop().await?;
    println!("stop:         the session is {}", zk.state());
    Ok(())
}
