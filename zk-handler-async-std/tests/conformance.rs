//! The conformance suite, and tests of which threads may block.

use std::sync::mpsc::channel;

use zk_handler::{Handler, conformance::works_while_the_pool_is_full};
use zk_handler_async_std::AsyncStdHandler;

zk_handler::conformance!(
    async_std,
    AsyncStdHandler,
    inside: |_, check| ::async_std::task::block_on(async { check() }),
);

/// A thread of the executor is marked once a task of the client has run on it.
#[test]
fn a_thread_that_runs_tasks_may_not_block() {
    let (say, said) = channel();
    AsyncStdHandler.spawn(async move {
        say.send(AsyncStdHandler.may_block()).expect("the receiver is alive");
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
