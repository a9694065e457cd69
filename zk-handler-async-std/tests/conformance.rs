//! What every handler must do.

use zk_handler::conformance::works_while_the_pool_is_full;
use zk_handler_async_std::AsyncStdHandler;

zk_handler::conformance!(
    async_std,
    AsyncStdHandler,
    inside: |_, check| ::async_std::task::block_on(async { check() }),
);

#[test]
fn works_while_the_pool_of_blocking_threads_is_full() {
    works_while_the_pool_is_full(AsyncStdHandler, |job| {
        drop(::async_std::task::spawn_blocking(job))
    });
}
