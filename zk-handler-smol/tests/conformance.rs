//! The conformance suite, and tests of which threads may block.

use std::sync::mpsc::channel;

use zk_handler::{Handler, conformance::works_while_the_pool_is_full};
use zk_handler_smol::SmolHandler;

zk_handler::conformance!(
    smol,
    SmolHandler,
    inside: |_, check| ::smol::block_on(async { check() }),
);

/// A thread of the executor is marked once a task of the client has run on it. This executor has one thread.
#[test]
fn a_thread_that_runs_tasks_may_not_block() {
    let (say, said) = channel();
    SmolHandler.spawn(async move { say.send(()).expect("the receiver is alive") });
    said.recv().expect("a task");
    assert!(!::smol::block_on(::smol::spawn(async { SmolHandler.may_block() })));
    assert!(::smol::block_on(async { SmolHandler.may_block() }));
    assert!(::smol::block_on(::smol::unblock(|| SmolHandler.may_block())));
}

#[test]
fn works_while_the_pool_of_blocking_threads_is_full() {
    works_while_the_pool_is_full(SmolHandler, |job| ::smol::unblock(job).detach());
}
