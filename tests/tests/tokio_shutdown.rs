//! Clients whose tokio runtime is shut down before or after them.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use tokio::runtime::{Builder, Runtime};
use zk_client::{Client, ClientBuilder, CreateMode, OPEN_ACL_UNSAFE, SessionState, ThreadHandler};
use zk_handler_tokio::TokioHandler;
use zk_tests::shared_ensemble;

/// Shorter than the session timeout, after which the node would be deleted anyway.
const AT_ONCE: Duration = Duration::from_secs(5);
const SESSION_TIMEOUT: Duration = Duration::from_secs(20);

fn builder() -> ClientBuilder {
    Client::builder()
        .hosts(shared_ensemble().hosts())
        .session_timeout(SESSION_TIMEOUT)
        .default_acl(&OPEN_ACL_UNSAFE)
}

/// Creates an ephemeral node with a client on `runtime`, calls `end` with both, and waits until the node is
/// deleted.
fn ephemeral_goes(runtime: Runtime, end: fn(Runtime, Client)) {
    static NEXT: AtomicUsize = AtomicUsize::new(0);

    let path = format!("/tokio-end-{}", NEXT.fetch_add(1, Ordering::Relaxed));
    let witness = builder().connect_on(ThreadHandler::new()).get().expect("a session");
    let zk = runtime.block_on(async {
        let handler = TokioHandler::current().expect("a runtime");
        let zk = builder().connect_on(handler).await.expect("a session");
        zk.create(&path, b"", CreateMode::Ephemeral).await.expect("a node");
        zk
    });
    let (stat, watch) = witness.exists_and_watch(&path).get().expect("a watch");
    assert!(stat.is_some());
    end(runtime, zk);
    assert!(watch.wait(AT_ONCE), "the session lives on");
}

fn flavours() -> [Runtime; 2] {
    [Builder::new_multi_thread(), Builder::new_current_thread()]
        .map(|mut builder| builder.enable_all().build().expect("a runtime"))
}

#[test]
fn the_client_is_dropped_before_the_runtime() {
    for runtime in flavours() {
        ephemeral_goes(runtime, |runtime, zk| {
            drop(zk);
            drop(runtime);
        });
    }
}

#[test]
fn the_client_is_dropped_inside_the_runtime() {
    for runtime in flavours() {
        ephemeral_goes(runtime, |runtime, zk| {
            runtime.block_on(async { drop(zk) });
            drop(runtime);
        });
    }
}

#[test]
fn the_runtime_is_dropped_before_the_client() {
    for runtime in flavours() {
        ephemeral_goes(runtime, |runtime, zk| {
            let read = zk.exists("/");
            drop(runtime);
            // Waiting callers get an error, and later calls fail.
            assert!(read.wait(AT_ONCE), "a call hangs");
            assert_eq!(zk.state(), SessionState::Lost);
            assert!(zk.exists("/").get().is_err());
            assert!(zk.stop().get().is_ok());
            assert!(zk.start().get().is_err(), "there is no runtime to start it on");
        });
    }
}

#[test]
fn the_runtime_is_shut_down_in_the_background() {
    for runtime in flavours() {
        ephemeral_goes(runtime, |runtime, zk| {
            runtime.shutdown_background();
            drop(zk);
        });
    }
}
