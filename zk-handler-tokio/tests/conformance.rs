//! The conformance suite, on both kinds of tokio runtime, and tests of what only tokio has.

use std::{
    future::pending,
    sync::{LazyLock, mpsc::channel},
    thread,
    time::Duration,
};

use tokio::{
    runtime::{Builder, Handle, Runtime},
    task::JoinHandle,
};
use zk_handler::{Handler, conformance::works_while_the_pool_is_full};
use zk_handler_tokio::TokioHandler;

static MULTI_THREAD: LazyLock<Runtime> =
    LazyLock::new(|| Builder::new_multi_thread().enable_all().build().expect("a runtime"));

/// Runs on a thread of its own.
static CURRENT_THREAD: LazyLock<Handle> = LazyLock::new(|| {
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let handle = runtime.handle().clone();
    thread::spawn(move || runtime.block_on(pending::<()>()));
    handle
});

zk_handler::conformance!(
    multi_thread,
    TokioHandler::new(MULTI_THREAD.handle().clone()),
    inside: |_, check| MULTI_THREAD.block_on(async { check() }),
);

zk_handler::conformance!(
    current_thread,
    TokioHandler::new(CURRENT_THREAD.clone()),
    inside: |_, check| CURRENT_THREAD.block_on(async { check() }),
);

#[test]
fn works_while_the_pool_of_blocking_threads_is_full() {
    for mut builder in [Builder::new_multi_thread(), Builder::new_current_thread()] {
        let runtime = builder.max_blocking_threads(4).enable_all().build().expect("a runtime");
        let handle = runtime.handle().clone();
        thread::spawn(move || runtime.block_on(pending::<()>()));
        let handler = TokioHandler::new(handle.clone());
        works_while_the_pool_is_full(handler, |job| drop(handle.spawn_blocking(job)));
    }
}

/// Blocking is allowed where tokio's own blocking calls are: not in tasks, and not in `block_on`.
#[test]
fn a_thread_that_runs_tasks_may_not_block() {
    for (handle, block_in_place_works) in [(MULTI_THREAD.handle(), true), (&*CURRENT_THREAD, false)]
    {
        let handler = TokioHandler::new(handle.clone());
        let may_block = move || handler.may_block();
        let join = |task: JoinHandle<bool>| handle.block_on(task).expect("no panic");
        let inside = may_block.clone();
        assert!(!join(handle.spawn(async move { inside() })));
        let inside = may_block.clone();
        assert!(join(handle.spawn_blocking(inside)));
        if block_in_place_works {
            let inside = may_block.clone();
            assert!(join(handle.spawn(async move { tokio::task::block_in_place(inside) })));
        }
        assert!(!handle.block_on(async { may_block() }));
        let _inside = handle.enter();
        assert!(may_block());
    }
}

/// A callback may spawn tasks and block on them.
#[test]
fn callbacks_run_in_the_context_of_the_runtime() {
    for handle in [MULTI_THREAD.handle(), &*CURRENT_THREAD] {
        let (say, said) = channel();
        TokioHandler::new(handle.clone()).dispatch(move || {
            let task = tokio::spawn(async { 7 });
            say.send(Handle::current().block_on(task).expect("a task"))
                .expect("the receiver is alive");
        });
        assert_eq!(said.recv_timeout(Duration::from_secs(60)), Ok(7));
    }
}
