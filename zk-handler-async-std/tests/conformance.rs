//! What every handler must do.

use std::sync::mpsc::channel;

use zk_handler::{Handler, conformance::works_while_the_pool_is_full};
use zk_handler_async_std::AsyncStdHandler;

zk_handler::conformance!(
    async_std,
    AsyncStdHandler,
    inside: |_, check| ::async_std::task::block_on(async { check() }),
);

/// The threads of the executor are known once a task of the client has run on them.
#[test]
fn a_thread_that_runs_tasks_may_not_wait() {
    let (say, said) = channel();
    AsyncStdHandler.spawn(async move {
        say.send(AsyncStdHandler.may_block()).expect("somebody waits");
    });
    assert_eq!(said.recv(), Ok(false));
    assert!(::async_std::task::block_on(async { AsyncStdHandler.may_block() }));
    let blocking = ::async_std::task::spawn_blocking(|| AsyncStdHandler.may_block());
    assert!(::async_std::task::block_on(blocking));
}

#[test]
fn works_while_the_pool_of_blocking_threads_is_full() {
    works_while_the_pool_is_full(AsyncStdHandler, |job| {
        drop(::async_std::task::spawn_blocking(job))
    });
}
